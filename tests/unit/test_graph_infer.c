/*
 * Shape rules, each with good and bad cases, one line a case:
 *
 *     Op  attr=1 list=(1,0)  f[2,3] i[2]{4,5} -  ->  f[4,5]            two outputs: f[1] f[2]
 *     Op  f[2] f[3]  !  part of the error's text
 *
 * f: float32, i: int64, I: int32, b: bool, d: float64, B: uint8, c: int8;
 * {..} are contents known while planning; - is an absent input.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/evaluate.h"
#include "unit.h"

static struct md_error err;

static const char *const cases[] = {
    /* elementwise */
    "Relu f[2,3] -> f[2,3]",
    "Not b[2] -> b[2]",
    "Not f[2] ! input 0 is float32, wanted bool",
    "Cast to=7 f[2] -> i[2]",
    "Cast to=8 f[2] ! \"to\" = 8",
    "Cast f[2] ! \"to\" = 0",
    "Clip f[2] - f[] -> f[2]",
    "Clip f[2] f[3] ! wanted a scalar",
    "Clip f[2] d[] ! input 1 is float64",
    "Add f[2,3] f[3] -> f[2,3]",
    "Add f[2,1,4] f[5,1] -> f[2,5,4]",
    "Add f[0,3] f[1,3] -> f[0,3]",
    "Add f[] f[] -> f[]",
    "Add f[2,3] f[2] ! input 1 of shape [2] does not broadcast with [2, 3]",
    "Add f[0] f[2] ! does not broadcast",
    "Add f[2] i[2] ! input 1 is int64, wanted float32",
    "Pow f[2] i[] -> f[2]",
    "Max f[2] f[1] f[3,1] -> f[3,2]",
    "Less f[2] f[3,1] -> b[3,2]",
    "And b[2] b[] -> b[2]",
    "And b[2] f[2] ! input 1",
    "Where b[2,1] f[3] f[] -> f[2,3]",
    "Where f[2] f[2] f[2] ! input 0 is float32, wanted bool",
    "Where b[2] f[2] i[2] ! input 2 is int64",
    "Gelu approximate=tanh f[2] -> f[2]",
    "Gelu approximate=erf f[2] ! approximate \"erf\" is not supported",
    "IsInf f[2,3] -> b[2,3]",
    "CastLike f[2,3] i[] -> i[2,3]",
    "BitCast to=7 d[2] -> i[2]",
    "BitCast to=6 d[2] ! differ in width",
    "Mod fmod=1 f[2] f[1] -> f[2]",
    "Mod fmod=2 f[2] f[1] ! \"fmod\" = 2 is neither 0 nor 1",
    "PRelu f[2,3] f[3] -> f[2,3]",
    "PRelu f[3] f[2,3] ! slope of shape [2, 3] does not broadcast to [3]",
    "SwiGLU f[2,3] f[2,3] -> f[2,3]",
    "SwiGLU f[2,3] f[3] ! differ in shape",
    "BitShift direction=LEFT i[2] i[] -> i[2]",
    "BitShift direction=UP i[2] i[] ! direction \"UP\" is not supported",
    "BitShift i[2] i[] ! no attribute \"direction\"",
#include "infer_numeric_cases.inc"
    /* products */
    "MatMul f[2,3] f[3,4] -> f[2,4]",
    "MatMul f[5,2,3] f[3,4] -> f[5,2,4]",
    "MatMul f[5,1,2,3] f[6,3,4] -> f[5,6,2,4]",
    "MatMul f[3] f[3,4] -> f[4]",
    "MatMul f[2,3] f[3] -> f[2]",
    "MatMul f[3] f[3] -> f[]",
    "MatMul f[2,3] f[4,4] ! inner dimensions of [2, 3] and [4, 4] differ",
    "MatMul f[2,2,3] f[3,3,4] ! does not broadcast",
    "MatMul f[] f[3] ! scalar",
    "MatMul f[2,3] d[3,4] ! input 1 is float64",
    "Gemm f[2,3] f[3,4] -> f[2,4]",
    "Gemm transA=1 transB=1 f[3,2] f[4,3] f[4] -> f[2,4]",
    "Gemm f[2,3] f[4,3] ! inner dimensions",
    "Gemm f[2,3] f[3,4] f[3] ! does not broadcast",
    "Gemm f[1,3] f[3,1] f[2,2] ! input 2 of shape [2, 2] does not broadcast to [1, 1]",
    "Gemm f[3] f[3,4] ! not both matrices",
    /* recurrences */
    "LSTM hidden_size=5 f[7,2,3] f[1,20,3] f[1,20,5] -> f[7,1,2,5] f[1,2,5] f[1,2,5]",
    "LSTM layout=1 f[2,7,3] f[1,20,3] f[1,20,5] f[1,40] I[2] f[2,1,5] f[2,1,5] -> f[2,7,1,5]",
    "LSTM direction=bidirectional f[7,2,3] f[2,20,3] f[2,20,5] -> f[7,2,2,5] f[2,2,5]",
    "LSTM f[0,2,3] f[1,20,3] f[1,20,5] -> f[0,1,2,5]",
    "LSTM f[7,2,3] f[1,20,4] f[1,20,5] ! W (input 1) has shape [1, 20, 4], wanted [1, 20, 3]",
    "LSTM f[7,2,3] f[1,20,3] f[1,15,5] ! R (input 2)",
    "LSTM f[7,2,3] f[1,20,3] f[1,20,5] f[1,20] ! B (input 3)",
    "LSTM f[7,2,3] f[1,20,3] f[1,20,5] - i[2] ! input 4 is int64, wanted int32",
    "LSTM f[7,2,3] f[1,20,3] f[1,20,5] - I[3] ! sequence_lens",
    "LSTM f[7,2,3] f[1,20,3] f[1,20,5] - - f[1,3,5] ! initial_h",
    "LSTM direction=sideways f[7,2,3] f[1,20,3] f[1,20,5] ! sideways",
    "LSTM hidden_size=6 f[7,2,3] f[1,20,3] f[1,20,5] ! hidden_size",
    "LSTM f[2,3] f[1,20,3] f[1,20,5] ! X (input 0)",
    "GRU f[7,2,3] f[1,15,3] f[1,15,5] -> f[7,1,2,5] f[1,2,5]",
    "GRU f[7,2,3] f[1,20,3] f[1,20,5] ! W (input 1) has shape [1, 20, 3], wanted [1, 15, 3]",
    /* normalisation and reductions */
    "Softmax axis=-2 f[2,3] -> f[2,3]",
    "Softmax axis=2 f[2,3] ! axis 2 is outside a tensor of rank 2",
    "LayerNormalization f[2,3] f[3] f[3] -> f[2,3]",
    "LayerNormalization axis=0 f[2,3] f[2,3] -> f[2,3]",
    "LayerNormalization f[2,3] f[2] ! does not broadcast with [2, 3]",
    "ReduceSum f[2,3,4] -> f[1,1,1]",
    "ReduceSum keepdims=0 f[2,3,4] i[2]{0,-1} -> f[3]",
    "ReduceMean axes=(1) f[2,3,4] -> f[2,1,4]",
    "ReduceSum noop_with_empty_axes=1 f[2,3] -> f[2,3]",
    "ReduceSum f[2,3] i[1]{2} ! axis 2 is outside",
    "ReduceSum f[2,3] i[2]{1,-1} ! axis 1 is named twice",
    "ReduceSum f[2,3] i[1] ! axes (input 1) depends on data",
    /* shapes */
    "Reshape f[2,3] i[1]{6} -> f[6]",
    "Reshape f[2,3,4] i[2]{0,-1} -> f[2,12]",
    "Reshape f[0,4] i[3]{0,2,-1} -> f[0,2,2]",
    "Reshape f[0,4] i[2]{-1,4} -> f[0,4]",
    "Reshape allowzero=1 f[0,4] i[2]{4,0} -> f[4,0]",
    "Reshape f[1] i[0]{} -> f[]",
    "Reshape f[2,3] i[1]{5} ! cannot reshape [2, 3] to [5]",
    "Reshape f[2,3] i[2]{-1,-1} ! dimension -1",
    "Reshape f[2,3] i[2]{4,-1} ! cannot reshape",
    "Reshape f[2,3] i[2]{-2,3} ! dimension -2",
    "Reshape f[2,3] i[3]{2,3,0} ! copies dimension 2",
    "Reshape f[2,3] i[2]{4611686018427387904,8} ! cannot reshape",
    "Reshape f[2,3] i[1] ! depends on data",
    "Reshape f[2,3] f[1] ! shape (input 1) is float32",
    "Reshape f[2,3] i[2,2]{6,1,1,1} ! wanted at most",
    "Reshape f[6] i[9]{1,1,1,1,1,1,1,1,6} ! wanted at most [8]",
    "Squeeze f[1,2,1] -> f[2]",
    "Squeeze f[1,2,1] i[1]{-1} -> f[1,2]",
    "Squeeze axes=(0) f[1,2,1] -> f[2,1]",
    "Squeeze f[1,2] i[1]{1} ! axis 1 of [1, 2] is not 1",
    "Unsqueeze f[2] i[2]{0,-1} -> f[1,2,1]",
    "Unsqueeze f[2] i[1]{3} ! axis 3 is outside",
    "Unsqueeze f[1,1,1,1,1,1,1,1] i[1]{0} ! makes rank 9",
    "Transpose f[2,3,4] -> f[4,3,2]",
    "Transpose perm=(1,0,2) f[2,3,4] -> f[3,2,4]",
    "Transpose perm=(1,1,2) f[2,3,4] ! no permutation",
    "Transpose perm=(1,0) f[2,3,4] ! does not list the 3 axes",
    "Shape f[2,3,4] -> i[3]",
    "Shape start=1 end=-1 f[2,3,4] -> i[1]",
    "Shape start=5 f[2,3] -> i[0]",
    "ConstantOfShape i[2]{2,3} -> f[2,3]",
    "ConstantOfShape i[1]{-2} ! dimension -2",
    "ConstantOfShape i[2] ! depends on data",
    "Range i[]{2} i[]{11} i[]{3} -> i[3]",
    "Range i[]{5} i[]{2} i[]{1} -> i[0]",
    "Range i[]{5} i[]{2} i[]{-2} -> i[2]",
    "Range i[]{5} i[]{2} i[]{0} ! has no size",
    "Range i[] i[]{2} i[]{1} ! a bound (input 0) depends on data",
    "Range i[2]{1,2} i[]{2} i[]{1} ! wanted one element",
    "Range b[] b[] b[] ! wanted one numeric dtype",
    "Expand f[3,1] i[3]{2,1,4} -> f[2,3,4]",
    "Expand f[3] i[1]{2} ! does not broadcast",
    "Expand f[1] i[1]{-1} ! dimension -1",
    /* movement */
    "Concat axis=1 f[2,3] f[2,0] f[2,4] -> f[2,7]",
    "Concat axis=-2 f[2,3] f[1,3] -> f[3,3]",
    "Concat f[2,3] ! no attribute",
    "Concat axis=0 f[2,3] f[2,4] ! input 1 of shape [2, 4] does not join [2, 3] at axis 0",
    "Concat axis=0 f[2,3] f[2] ! does not join",
    "Concat axis=0 f[2] i[2] ! input 1 is int64",
    "Concat axis=0 f[] f[] ! axis 0 is outside a tensor of rank 0",
    "Concat axis=0 f[9223372036854775807,0] f[1,0] ! more than fits",
    "Split axis=1 num_outputs=2 f[2,5] -> f[2,3] f[2,2]",
    "Split axis=1 f[2,5] i[2]{1,4} -> f[2,1] f[2,4]",
    "Split axis=0 split=(2,0) f[2,5] -> f[2,5] f[0,5]",
    "Split num_outputs=3 f[4] -> f[2] f[2] f[0]",
    "Split num_outputs=3 f[4] ! num_outputs differs from its 1 outputs",
    "Split f[5] i[1]{4} ! do not add up",
    "Split f[5] i[2]{4,1} ! wanted at most [1]",
    "Split f[5] i[1]{-1} ! do not add up",
    "Slice f[10,4] i[1]{2} i[1]{5} -> f[3,4]",
    "Slice f[10,4] i[1]{-3} i[1]{9223372036854775807} i[1]{1} -> f[10,3]",
    "Slice f[10] i[1]{0} i[1]{10} i[1]{0} i[1]{3} -> f[4]",
    "Slice f[10] i[1]{-1} i[1]{-11} i[1]{0} i[1]{-1} -> f[10]",
    "Slice f[10] i[1]{8} i[1]{2} i[1]{0} i[1]{-4} -> f[2]",
    "Slice f[10] i[1]{5} i[1]{5} -> f[0]",
    "Slice f[10] i[1]{-9223372036854775808} i[1]{99} i[1]{0} i[1]{-9223372036854775808} -> f[0]",
    "Slice f[10] i[1]{99} i[1]{-99} i[1]{0} i[1]{-9223372036854775808} -> f[1]",
    "Slice f[10] i[1]{0} i[1]{9} i[1]{0} i[1]{0} ! step of axis 0 is 0",
    "Slice f[10,2] i[2]{0,0} i[2]{1,1} i[2]{0,-2} ! named twice",
    "Slice f[10] i[1]{0} i[2]{1,1} ! ends lists 2 axes, starts 1",
    "Slice f[10] i[1] i[1]{1} ! depends on data",
    "Gather f[5,4] i[2,3] -> f[2,3,4]",
    "Gather axis=-1 f[5,4] I[] -> f[5]",
    "Gather axis=2 f[5,4] i[1] ! axis 2 is outside",
    "Gather f[5,4] f[1] ! indices (input 1) are float32",
    "Gather f[1,1,1,1,1] i[1,1,1,1,1] ! makes rank 9",
#include "graph_infer_onnx.inc"
    /* fused */
    "moondial.Linear f[7,2,3] f[5,3] f[5] -> f[7,2,5]",
    "moondial.Linear f[0,3] f[5,3] -> f[0,5]",
    "moondial.Linear f[2,3] f[3,5] ! weight (input 1) has shape [3, 5], wanted [?, 3]",
    "moondial.Linear f[2,3] f[5,3] f[4] ! bias",
    "moondial.Linear f[] f[5,3] ! x (input 0) is a scalar",
    "moondial.Linear activation=Relu f[2,3] f[5,3] -> f[2,5]",
    "moondial.Linear activation=Sine f[2,3] f[5,3] ! activation Sine is not known",
    "moondial.Linear activation=Clip f[2,3] f[5,3] ! does not list 2 numbers",
    "moondial.Linear f[2,3] f[5,3] - f[2,5] -> f[2,5]",
    "moondial.Linear f[2,3] f[5,3] - f[5] ! z (input 3) has shape [5], wanted [2, 5]",
    "moondial.Linear d[2,3] d[5,3] ! input 0 is float64",
    "moondial.GatedLinearUnit f[2,3] f[8,3] f[8] -> f[2,4]",
    "moondial.GatedLinearUnit f[2,3] f[7,3] ! two halves",
    "moondial.ResampleNorm input_size=3 f[2,3] f[5] f[5] f[5] -> f[2,5]",
    "moondial.ResampleNorm f[2,5] f[5] f[5] -> f[2,5]",
    "moondial.ResampleNorm f[2,3] f[5] f[5] ! other features",
    "moondial.ResampleNorm f[2,5] f[5] f[4] ! beta",
    "moondial.GateAddNorm f[2,3] f[2,4] f[8,3] f[8] f[4] f[4] -> f[2,4]",
    "moondial.GateAddNorm f[2,3] f[1,4] f[8,3] f[8] f[4] f[4] ! skip",
    "moondial.GateAddNorm f[2,3] f[2,4] f[8,3] f[8] f[4] f[4] f[3] ! skip_gate",
    "moondial.VariableSelection categoricals=1 columns=(3) f[2,9,4] f[2,8] f[2] f[2,2] f[2] "
    "f[4,2] f[4] f[2] f[2] f[2,1,3] f[2,3] "
    "f[2] f[2] f[2] f[2,9,3] f[2,9,6] "
    "f[5,1] f[5] f[5,5] f[5] f[5,5] f[5] f[12,5] f[12] f[6] f[6] f[6] f[6] f[6] -> f[2,9,6]",
    "moondial.VariableSelection categoricals=1 columns=(3) f[2,9,4] f[2,8] f[2] f[2,2] f[2] "
    "f[4,2] f[4] f[2] f[2] - - "
    "f[2] f[2] f[2] f[2,9,3] f[2,9,6] "
    "f[5,2] f[5] f[5,5] f[5] f[5,5] f[5] f[12,5] f[12] f[6] f[6] f[6] f[6] f[6] ! prescaler weight",
    "moondial.VariableSelection categoricals=1 columns=(4) f[2,9,4] f[2,8] f[2] f[2,2] f[2] "
    "f[4,2] f[4] f[2] f[2] - - "
    "f[2] f[2] f[2] f[2,9,3] f[2,9,6] "
    "f[5,1] f[5] f[5,5] f[5] f[5,5] f[5] f[12,5] f[12] f[6] f[6] f[6] f[6] f[6] ! has no column 4",
    "moondial.VariableSelection categoricals=1 columns=(3) f[2,9,4] f[2,8] f[2] f[2,2] f[2] "
    "f[4,2] f[4] f[2] f[2] - - "
    "f[2] f[2] f[2] f[2,9,3] f[2,8,6] "
    "f[5,1] f[5] f[5,5] f[5] f[5,5] f[5] f[12,5] f[12] f[6] f[6] f[6] f[6] f[6] ! encoded",
    "moondial.VariableSelection categoricals=0 columns=(3) f[2,9,4] f[2,8] f[2] f[2,2] f[2] "
    "f[4,2] f[4] f[2] f[2] - - "
    "f[2] f[2] f[2] f[2,9,3] f[2,9,6] "
    "f[5,1] f[5] f[5,5] f[5] f[5,5] f[5] f[12,5] f[12] f[6] f[6] f[6] f[6] f[6] ! do not fit "
    "29 inputs",
    "moondial.VariableSelection categoricals=1 columns=(3) f[2,9,4] f[2,8] f[2] f[2,2] f[2] "
    "f[4,2] f[4] f[2] f[2] f[3,1,3] f[2,3] "
    "f[2] f[2] f[2] f[2,9,3] f[2,9,6] "
    "f[5,1] f[5] f[5,5] f[5] f[5,5] f[5] f[12,5] f[12] f[6] f[6] f[6] f[6] f[6] ! context "
    "does not fit",
    "moondial.GatedResidualNetwork f[2,3] f[5,3] f[5] f[5,5] f[5] f[6,5] f[6] f[3] f[3] -> f[2,3]",
    "moondial.GatedResidualNetwork f[2,9,3] f[5,3] f[5] f[5,5] f[5] f[6,5] f[6] f[3] f[3] "
    "f[2,1,7] f[5,7] -> f[2,9,3]",
    "moondial.GatedResidualNetwork f[2,4] f[5,4] f[5] f[5,5] f[5] f[6,5] f[6] f[3] f[3] - - "
    "f[3] f[3] f[3] -> f[2,3]",
    "moondial.GatedResidualNetwork f[2,4] f[5,4] f[5] f[5,5] f[5] f[6,5] f[6] f[3] f[3] "
    "! no resample parameters, but 4 input and 3 output",
    "moondial.GatedResidualNetwork f[2,3] f[5,3] f[5] f[5,5] f[5] f[6,5] f[6] f[3] f[3] "
    "f[2,7] ! come together",
    "moondial.GatedResidualNetwork f[2,9,3] f[5,3] f[5] f[5,5] f[5] f[6,5] f[6] f[3] f[3] "
    "f[3,1,7] f[5,7] ! context of shape [3, 1, 7]",
    "moondial.GatedResidualNetwork f[2,3] f[5,4] f[5] f[5,5] f[5] f[6,5] f[6] f[3] f[3] "
    "! fc1_weight",
    "moondial.WeightedSum f[2,3] f[2,4] f[2,4] f[2,4] -> f[2,4]",
    "moondial.WeightedSum f[2,3] f[2,4] f[2,4] ! do not weigh 2",
    "moondial.WeightedSum f[2,2] f[2,4] f[1,4] ! v (input 2)",
    "moondial.InterpretableAttention heads=2 head_size=3 f[5,7,6] f[5,9,6] f[5,9,4] b[1,7,9] "
    "-> f[5,7,4]",
    "moondial.InterpretableAttention heads=2 head_size=3 f[5,7,6] f[5,9,6] f[5,9,4] b[5,7,8] "
    "! mask of shape",
    "moondial.InterpretableAttention heads=2 head_size=2 f[5,7,6] f[5,9,6] f[5,9,4] ! q (input 0)",
    "moondial.InterpretableAttention f[5,7,6] f[5,9,6] f[5,9,4] ! must be positive",
    /* results that no memory could hold */
    "Mul f[4294967296,1] f[1,4294967296] ! ",
    "Expand f[1] i[2]{4611686018427387904,4611686018427387904} ! ",
};

enum { MEMBERS_MAX = 40 };

/* One parsed tensor; contents in storage of its own. */
struct member {
    struct md_value_info info;
    int64_t contents[16];
};

struct parsed {
    struct md_node node;
    struct md_attr attrs[4];
    int64_t lists[4][8];
    char words[6][32];
    struct member members[MEMBERS_MAX];
    struct md_value_info in[MEMBERS_MAX], out[8];
    int in_count, out_count;
    const char *error;
    char strings[4][16]; /* of an attribute that lists some */
    const char *listed[4];
};

static int64_t number(const char **at)
{
    char *end;
    int64_t value = strtoll(*at, &end, 10);
    assert_true(end != *at);
    *at = end;
    return value;
}

/* Numbers between *at and `close`, separated by commas. */
static int list(const char **at, char close, int64_t *values)
{
    int count = 0;
    while (**at != close) {
        values[count++] = number(at);
        *at += **at == ',';
    }
    (*at)++;
    return count;
}

static struct md_value_info tensor(const char **at, struct member *member)
{
    static const char letters[] = "fiIbdBc";
    static const enum md_dtype dtypes[] = {MD_F32, MD_I64, MD_I32, MD_BOOL, MD_F64, MD_U8, MD_I8};
    struct md_value_info *info = &member->info;
    const char *letter = strchr(letters, **at);
    assert_true(letter && (*at)[1] == '[');
    info->dtype = dtypes[letter - letters];
    *at += 2;
    info->shape.rank = list(at, ']', member->contents);
    assert_true(info->shape.rank <= MD_RANK_MAX);
    memcpy(info->shape.dim, member->contents, (size_t)info->shape.rank * sizeof(int64_t));
    if (**at == '{') {
        (*at)++;
        list(at, '}', member->contents);
        info->known = member->contents;
    }
    return *info;
}

static void attribute(struct parsed *parsed, const char **at, const char *equals)
{
    int k = parsed->node.attr_count++;
    struct md_attr *attr = &parsed->attrs[k];
    snprintf(parsed->words[k], sizeof parsed->words[k], "%.*s", (int)(equals - *at), *at);
    attr->name = parsed->words[k];
    *at = equals + 1;
    if (**at == '(' && isalpha((unsigned char)(*at)[1])) {
        attr->type = MD_ATTR_STRINGS;
        for ((*at)++; isalpha((unsigned char)**at); *at += (*at)[strcspn(*at, ",)")] != '\0') {
            size_t length = strcspn(*at, ",)");
            char *made = parsed->strings[attr->count];
            snprintf(made, sizeof parsed->strings[0], "%.*s", (int)length, *at);
            parsed->listed[attr->count++] = made;
            *at += length;
        }
        attr->strings = parsed->listed;
    } else if (**at == '(') {
        (*at)++;
        attr->type = MD_ATTR_INTS;
        attr->count = list(at, ')', parsed->lists[k]);
        attr->ints = parsed->lists[k];
    } else if (isalpha((unsigned char)**at) || **at == '.') {
        attr->type = MD_ATTR_STRING;
        size_t length = strcspn(*at, " ");
        snprintf(parsed->words[5], sizeof parsed->words[5], "%.*s", (int)length, *at);
        attr->s = parsed->words[5];
        *at += length;
    } else {
        attr->type = MD_ATTR_INT;
        attr->i = number(at);
    }
}

static void parse(const char *text, struct parsed *parsed)
{
    memset(parsed, 0, sizeof *parsed);
    bool after_arrow = false;
    size_t length = strcspn(text, " ");
    char op[64];
    snprintf(op, sizeof op, "%.*s", (int)length, text);
    assert_ok(md_op_find(op, &parsed->node.op, &err));
    for (const char *at = text + length; *at;) {
        size_t word = strcspn(at, " ");
        const char *equals = memchr(at, '=', word);
        if (*at == ' ') {
            at++;
        } else if (*at == '!') {
            parsed->error = at + 2;
            break;
        } else if (strncmp(at, "->", 2) == 0) {
            after_arrow = true;
            at += 2;
        } else if (*at == '-') {
            parsed->in_count++;
            at++;
        } else if (equals) {
            attribute(parsed, &at, equals);
        } else {
            struct member *member = &parsed->members[parsed->in_count + parsed->out_count];
            struct md_value_info made = tensor(&at, member);
            if (after_arrow)
                parsed->out[parsed->out_count++] = made;
            else
                parsed->in[parsed->in_count++] = made;
        }
    }
    parsed->node.name = "";
    parsed->node.attrs = parsed->attrs;
    parsed->node.in_count = parsed->in_count;
    parsed->node.out_count = parsed->out_count ? parsed->out_count : 1;
}

static void rules_give_what_the_table_says(void **state)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct parsed parsed;
        struct md_value_info out[8];
        parse(cases[i], &parsed);
        err = (struct md_error){0};
        enum md_status status = md__infer_node(&parsed.node, parsed.in, out, &err);
        if (parsed.error) {
            if (!status || !strstr(err.text, parsed.error))
                fail_msg("%s\n  gave: %s", cases[i], status ? err.text : "no error");
            continue;
        }
        if (status)
            fail_msg("%s\n  gave: %s", cases[i], err.text);
        for (int k = 0; k < parsed.out_count; k++) {
            char text[96];
            if (out[k].dtype != parsed.out[k].dtype ||
                !md_shape_equal(&out[k].shape, &parsed.out[k].shape))
                fail_msg("%s\n  gave output %d: %s %s", cases[i], k, md_dtype_name(out[k].dtype),
                         md_shape_text(&out[k].shape, text, sizeof text));
        }
    }
}

static void every_operator_has_a_good_and_a_bad_case(void **state)
{
    for (int op = 0; op < MD_OP_COUNT; op++) {
        const struct md_op_info *info = md_op_info((enum md_op)op);
        int good = 0, bad = 0;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct parsed parsed;
            parse(cases[i], &parsed);
            /* Operators of one rule stand for each other. */
            if (md_op_info(parsed.node.op)->infer != info->infer)
                continue;
            good += parsed.error == NULL;
            bad += parsed.error != NULL;
        }
        if (md_op_is_control((enum md_op)op))
            continue; /* nothing is known before its body ran */
        bool cannot_fail = info->infer == md_infer_same || info->infer == md_infer_shape ||
                           info->infer == md_infer_test || info->infer == md_infer_size ||
                           info->infer == md_infer_non_zero || info->infer == md_infer_cast_like;
        if (!good || (!bad && !cannot_fail && info->infer != md_infer_compare))
            fail_msg("%s has %d good and %d bad cases", info->name, good, bad);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_give_what_the_table_says),
        cmocka_unit_test(every_operator_has_a_good_and_a_bad_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
