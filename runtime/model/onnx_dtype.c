/*
 * Types of values while reading. Shapes wait for the plan, but two things need a type at once: a
 * value that a subgraph captures, and a constant that a rewrite puts beside a value of the model.
 * Most operators give the type of their first input; the table lists the others.
 */
#include <string.h>

#include "model/onnx_build.h"

enum { NO_INPUT = -1 };

/* The attribute when the node has it, else the type of the input when it is there, else `fixed`. */
struct rule {
    const char *op;
    int output; /* and those after it, up to the next row of the operator */
    const char *attr;
    int input;
    enum md_dtype fixed;
};

static const struct rule rules[] = {
    {"And", 0, NULL, NO_INPUT, MD_BOOL},
    {"ArgMax", 0, NULL, NO_INPUT, MD_I64},
    {"ArgMin", 0, NULL, NO_INPUT, MD_I64},
    {"BatchNormalization", 1, NULL, 3, 0},
    {"Bernoulli", 0, "dtype", 0, 0},
    {"BitCast", 0, "to", NO_INPUT, 0},
    {"BlackmanWindow", 0, "output_datatype", NO_INPUT, MD_F32},
    {"Cast", 0, "to", NO_INPUT, 0},
    {"CastLike", 0, NULL, 1, 0},
    {"ConstantOfShape", 0, "value", NO_INPUT, MD_F32},
    {"ConvInteger", 0, NULL, NO_INPUT, MD_I32},
    {"DequantizeLinear", 0, "output_dtype", 1, 0},
    {"Dropout", 1, NULL, NO_INPUT, MD_BOOL},
    {"DynamicQuantizeLinear", 0, NULL, NO_INPUT, MD_U8},
    {"DynamicQuantizeLinear", 1, NULL, NO_INPUT, MD_F32},
    {"DynamicQuantizeLinear", 2, NULL, NO_INPUT, MD_U8},
    {"Equal", 0, NULL, NO_INPUT, MD_BOOL},
    {"EyeLike", 0, "dtype", 0, 0},
    {"Greater", 0, NULL, NO_INPUT, MD_BOOL},
    {"GreaterOrEqual", 0, NULL, NO_INPUT, MD_BOOL},
    {"HammingWindow", 0, "output_datatype", NO_INPUT, MD_F32},
    {"HannWindow", 0, "output_datatype", NO_INPUT, MD_F32},
    {"IsInf", 0, NULL, NO_INPUT, MD_BOOL},
    {"IsNaN", 0, NULL, NO_INPUT, MD_BOOL},
    {"LayerNormalization", 1, "stash_type", NO_INPUT, MD_F32},
    {"Less", 0, NULL, NO_INPUT, MD_BOOL},
    {"LessOrEqual", 0, NULL, NO_INPUT, MD_BOOL},
    {"MatMulInteger", 0, NULL, NO_INPUT, MD_I32},
    {"MaxPool", 1, NULL, NO_INPUT, MD_I64},
    {"MelWeightMatrix", 0, "output_datatype", NO_INPUT, MD_F32},
    {"Multinomial", 0, "dtype", NO_INPUT, MD_I32},
    {"NonMaxSuppression", 0, NULL, NO_INPUT, MD_I64},
    {"NonZero", 0, NULL, NO_INPUT, MD_I64},
    {"Not", 0, NULL, NO_INPUT, MD_BOOL},
    {"OneHot", 0, NULL, 2, 0},
    {"Or", 0, NULL, NO_INPUT, MD_BOOL},
    {"QLinearConv", 0, NULL, 7, 0},
    {"QLinearMatMul", 0, NULL, 7, 0},
    {"QuantizeLinear", 0, "output_dtype", 2, MD_U8},
    {"RandomNormal", 0, "dtype", NO_INPUT, MD_F32},
    {"RandomNormalLike", 0, "dtype", 0, 0},
    {"RandomUniform", 0, "dtype", NO_INPUT, MD_F32},
    {"RandomUniformLike", 0, "dtype", 0, 0},
    {"Shape", 0, NULL, NO_INPUT, MD_I64},
    {"Size", 0, NULL, NO_INPUT, MD_I64},
    {"TopK", 1, NULL, NO_INPUT, MD_I64},
    {"Unique", 1, NULL, NO_INPUT, MD_I64},
    {"Where", 0, NULL, 1, 0},
    {"Xor", 0, NULL, NO_INPUT, MD_BOOL},
    {"com.microsoft.DequantizeLinear", 0, NULL, 1, 0},
    {"com.microsoft.EmbedLayerNormalization", 0, NULL, 2, 0},
    {"com.microsoft.EmbedLayerNormalization", 1, NULL, NO_INPUT, MD_I32},
    {"com.microsoft.MatMulIntegerToFloat", 0, NULL, 2, 0},
    {"com.microsoft.QAttention", 0, NULL, 3, 0},
    {"com.microsoft.QuantizeLinear", 0, NULL, 2, MD_U8},
};

enum md_dtype md__onnx_dtype_of(const struct md__onnx_body *body, int value)
{
    return value >= 0 && value < body->dtype_capacity ? body->dtypes[value] : 0;
}

enum md_status md__onnx_note_dtype(struct md__onnx_reader *reader, struct md__onnx_body *body,
                                   int value, enum md_dtype dtype, struct md_error *err)
{
    if (value >= body->dtype_capacity) {
        int larger = value < 32 ? 64 : value * 2;
        enum md_dtype *copy = md_arena_array(&reader->arena, (size_t)larger, sizeof *copy);
        if (!copy)
            return md__onnx_no_memory(err);
        if (body->dtype_capacity)
            memcpy(copy, body->dtypes, (size_t)body->dtype_capacity * sizeof *copy);
        body->dtypes = copy;
        body->dtype_capacity = larger;
    }
    body->dtypes[value] = dtype;
    return MD_OK;
}

static const struct rule *find_rule(const char *op, int output)
{
    static const struct rule otherwise = {"", 0, NULL, 0, 0};
    const struct rule *found = &otherwise;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].output <= output && strcmp(rules[i].op, op) == 0)
            found = &rules[i];
    return found;
}

static enum md_dtype attr_dtype(const char *name, const struct md_attr *attrs, int count)
{
    for (int i = 0; name && i < count; i++) {
        if (strcmp(attrs[i].name, name) != 0)
            continue;
        if (attrs[i].type == MD_ATTR_TENSOR)
            return attrs[i].tensor.dtype;
        if (attrs[i].type == MD_ATTR_INT && attrs[i].i > 0 && attrs[i].i < 64 &&
            md_dtype_bytes((enum md_dtype)attrs[i].i))
            return (enum md_dtype)attrs[i].i;
    }
    return 0;
}

enum md_status md__onnx_note_outputs(struct md__onnx_call *call, const char *op, const int *in,
                                     int in_count, const struct md_attr *attrs, int attr_count,
                                     const int *out, int out_count, struct md_error *err)
{
    struct md__onnx_body *body = call->scope->body;
    enum md_status status = MD_OK;
    for (int i = 0; !status && i < out_count; i++) {
        const struct rule *rule = find_rule(op, i);
        enum md_dtype dtype = attr_dtype(rule->attr, attrs, attr_count);
        if (!dtype && rule->input >= 0 && rule->input < in_count)
            dtype = md__onnx_dtype_of(body, in[rule->input]);
        if (!dtype)
            dtype = rule->fixed;
        status = md__onnx_note_dtype(call->scope->reader, body, out[i], dtype, err);
    }
    return status;
}
