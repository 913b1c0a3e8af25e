/*
 * Every fused operator on every instruction set against its body: the primitives that specify it,
 * run on the reference kernels. Odd sizes, with and without each optional input.
 */
#include <math.h>
#include <string.h>

#include "unit.h"

#include "graph/evaluate.h"
#include "kernels/cpu/cpu.h"
#include "device_case.h"
#include "op_body.h"
#include "op_case.h"

/* Inputs 1 to 8 of a GatedResidualNetwork I -> H -> O. */
#define GRN_WEIGHTS(I, H, O)                                                                       \
    WEIGHT(H, I), WEIGHT(H), WEIGHT(H, H), WEIGHT(H), WEIGHT(2 * (O), H), WEIGHT(2 * (O)),         \
        WEIGHT(O), WEIGHT(O)
/* The same after fc2 has gone into the GLU. */
#define COMPOSED_WEIGHTS(I, H, O)                                                                  \
    WEIGHT(H, I), WEIGHT(H), ABSENT, ABSENT, WEIGHT(2 * (O), H), WEIGHT(2 * (O)), WEIGHT(O),       \
        WEIGHT(O)
#define NO_CONTEXT ABSENT, ABSENT
#define GRN(name_, y_, ...)                                                                        \
    {                                                                                              \
        .name = name_, .op = MD_OP_GATED_RESIDUAL, .in = {__VA_ARGS__}, .out = {y_},               \
        .absolute = 1e-4, .relative = 1e-5                                                         \
    }

/* A real variable of VariableSelection: S prescaled features, M hidden, H units. */
#define REAL(S, M, H)          WEIGHT(S, 1), WEIGHT(S), GRN_WEIGHTS(S, M, H)
#define COMPOSED_REAL(S, M, H) WEIGHT(S, 1), WEIGHT(S), COMPOSED_WEIGHTS(S, M, H)
#define RESAMPLE(O)            WEIGHT(O), WEIGHT(O), WEIGHT(O)
#define SELECTION(name_, y_, categoricals_, columns_, ...)                                         \
    {                                                                                              \
        .name = name_, .op = MD_OP_VARIABLE_SELECTION, .in = {__VA_ARGS__}, .out = {y_},           \
        .attrs = {INT("categoricals", categoricals_), columns_}, .absolute = 1e-4,                 \
        .relative = 1e-5                                                                           \
    }

/* A Linear whose last vector of columns is cut, with an activation. */
#define NO_NUMBERS INT("unused", 0)
#define ACTIVATED(name_, activation_, numbers_)                                                    \
    {                                                                                              \
        .name = name_, .op = MD_OP_LINEAR, .in = {F32(53, 9), WEIGHT(75, 9), WEIGHT(75)},          \
        .out = {F32(53, 75)}, .attrs = {STRING("activation", activation_), numbers_},              \
        .absolute = 2e-5                                                                           \
    }

static const struct op_case cases[] = {
    {.name = "linear",
     .op = MD_OP_LINEAR,
     .in = {F32(3, 7, 13), WEIGHT(37, 13), WEIGHT(37)},
     .out = {F32(3, 7, 37)},
     .absolute = 1e-5},
    {.name = "linear from one feature, no bias",
     .op = MD_OP_LINEAR,
     .in = {F32(105, 1), WEIGHT(16, 1)},
     .out = {F32(105, 16)},
     .absolute = 1e-5},
    {.name = "linear of one row",
     .op = MD_OP_LINEAR,
     .in = {F32(50), WEIGHT(3, 50), WEIGHT(3)},
     .out = {F32(3)},
     .absolute = 2e-5},
    {.name = "linear of no rows",
     .op = MD_OP_LINEAR,
     .in = {F32(0, 5), WEIGHT(3, 5), WEIGHT(3)},
     .out = {F32(0, 3)}},
    {.name = "linear, many rows and columns",
     .op = MD_OP_LINEAR,
     .in = {F32(1000, 33), WEIGHT(131, 33), WEIGHT(131)},
     .out = {F32(1000, 131)},
     .absolute = 2e-5},
    ACTIVATED("linear, Relu", "Relu", NO_NUMBERS),
    ACTIVATED("linear, Sigmoid", "Sigmoid", NO_NUMBERS),
    ACTIVATED("linear, Tanh", "Tanh", NO_NUMBERS),
    ACTIVATED("linear, HardSwish", "HardSwish", NO_NUMBERS),
    ACTIVATED("linear, Mish", "Mish", NO_NUMBERS),
    ACTIVATED("linear, LeakyRelu", "LeakyRelu", FLOATS("activation_params", 0.3)),
    ACTIVATED("linear, Elu", "Elu", FLOATS("activation_params", 0.7)),
    ACTIVATED("linear, Swish", "Swish", FLOATS("activation_params", 1.5)),
    ACTIVATED("linear, HardSigmoid", "HardSigmoid", FLOATS("activation_params", 0.3, 0.4)),
    ACTIVATED("linear, Clip", "Clip", FLOATS("activation_params", -0.25, 0.5)),
    ACTIVATED("linear, Gelu", "Gelu", NO_NUMBERS),
    ACTIVATED("linear, Gelu by tanh", "Gelu", FLOATS("activation_params", 1)),
    ACTIVATED("linear, LeakyRelu as it is", "LeakyRelu", NO_NUMBERS),
    {.name = "linear, z",
     .op = MD_OP_LINEAR,
     .in = {F32(5, 11, 21), WEIGHT(83, 21), WEIGHT(83), F32(5, 11, 83)},
     .out = {F32(5, 11, 83)},
     .absolute = 2e-5},
    {.name = "linear of long sums, z, Sigmoid",
     .op = MD_OP_LINEAR,
     .in = {F32(203, 601), WEIGHT(147, 601), WEIGHT(147), F32(203, 147)},
     .out = {F32(203, 147)},
     .attrs = {STRING("activation", "Sigmoid")},
     .absolute = 2e-4,
     .relative = 1e-5},
    {.name = "linear of long sums, one row",
     .op = MD_OP_LINEAR,
     .in = {F32(1, 1023), WEIGHT(259, 1023), WEIGHT(259)},
     .out = {F32(1, 259)},
     .absolute = 2e-4,
     .relative = 1e-5},
    {.name = "linear of long sums, few rows",
     .op = MD_OP_LINEAR,
     .in = {F32(11, 514), WEIGHT(259, 514), WEIGHT(259)},
     .out = {F32(11, 259)},
     .absolute = 2e-4,
     .relative = 1e-5},
    {.name = "linear, z and Relu, no bias",
     .op = MD_OP_LINEAR,
     .in = {F32(55, 21), WEIGHT(7, 21), ABSENT, F32(55, 7)},
     .out = {F32(55, 7)},
     .attrs = {STRING("activation", "Relu")},
     .absolute = 2e-5},
    {.name = "glu",
     .op = MD_OP_GATED_LINEAR_UNIT,
     .in = {F32(3, 7, 13), WEIGHT(38, 13), WEIGHT(38)},
     .out = {F32(3, 7, 19)},
     .absolute = 2e-5},
    {.name = "glu, no bias, wide",
     .op = MD_OP_GATED_LINEAR_UNIT,
     .in = {F32(55, 13), WEIGHT(164, 13)},
     .out = {F32(55, 82)},
     .absolute = 2e-5},
    {.name = "resample norm, up",
     .op = MD_OP_RESAMPLE_NORM,
     .in = {F32(3, 7, 13), WEIGHT(37), WEIGHT(37), WEIGHT(37)},
     .out = {F32(3, 7, 37)},
     .attrs = {INT("input_size", 13)},
     .absolute = 2e-5,
     .relative = 1e-5},
    {.name = "resample norm, down, no gate",
     .op = MD_OP_RESAMPLE_NORM,
     .in = {F32(61, 37), WEIGHT(13), WEIGHT(13)},
     .out = {F32(61, 13)},
     .attrs = {INT("input_size", 37), FLOAT("epsilon", 0.01)},
     .absolute = 2e-5},
    {.name = "resample norm, same size",
     .op = MD_OP_RESAMPLE_NORM,
     .in = {F32(61, 16), WEIGHT(16), WEIGHT(16), WEIGHT(16)},
     .out = {F32(61, 16)},
     .absolute = 2e-5,
     .relative = 1e-5},
    {.name = "resample norm to one feature",
     .op = MD_OP_RESAMPLE_NORM,
     .in = {F32(6, 5), WEIGHT(1), WEIGHT(1)},
     .out = {F32(6, 1)},
     .attrs = {INT("input_size", 5)},
     .absolute = 2e-5},
    {.name = "gate, add, norm",
     .op = MD_OP_GATE_ADD_NORM,
     .in = {F32(3, 20, 13), F32(3, 20, 32), WEIGHT(64, 13), WEIGHT(64), WEIGHT(32), WEIGHT(32)},
     .out = {F32(3, 20, 32)},
     .absolute = 2e-5,
     .relative = 1e-5},
    {.name = "gate, add, norm with a skip gate",
     .op = MD_OP_GATE_ADD_NORM,
     .in = {F32(59, 13), F32(59, 19), WEIGHT(38, 13), WEIGHT(38), WEIGHT(19), WEIGHT(19),
            WEIGHT(19)},
     .out = {F32(59, 19)},
     .absolute = 2e-5,
     .relative = 1e-5},
    GRN("grn", F32(3, 50, 32), F32(3, 50, 32), GRN_WEIGHTS(32, 32, 32)),
    GRN("grn, odd hidden", F32(11, 19), F32(11, 19), GRN_WEIGHTS(19, 23, 19)),
    GRN("grn, resampled", F32(3, 50, 32), F32(3, 50, 16), GRN_WEIGHTS(16, 32, 32), NO_CONTEXT,
        WEIGHT(32), WEIGHT(32), WEIGHT(32)),
    GRN("grn, resampled down, no gate", F32(3, 5, 19), F32(3, 5, 304), GRN_WEIGHTS(304, 19, 19),
        NO_CONTEXT, WEIGHT(19), WEIGHT(19)),
    GRN("grn, context per batch element", F32(3, 50, 32), F32(3, 50, 32), GRN_WEIGHTS(32, 32, 32),
        F32(3, 1, 7), WEIGHT(32, 7)),
    GRN("grn, context per row, resampled", F32(2, 60, 19), F32(2, 60, 5), GRN_WEIGHTS(5, 8, 19),
        F32(2, 60, 7), WEIGHT(8, 7), WEIGHT(19), WEIGHT(19), WEIGHT(19)),
    GRN("grn, one context for all", F32(2, 60, 8), F32(2, 60, 8), GRN_WEIGHTS(8, 8, 8),
        F32(1, 1, 7), WEIGHT(8, 7)),
    GRN("grn, contexts repeat over the batch", F32(4, 60, 8), F32(4, 60, 8), GRN_WEIGHTS(8, 8, 8),
        F32(1, 60, 7), WEIGHT(8, 7)),
    GRN("grn, context of single steps", F32(9, 1, 8), F32(9, 1, 8), GRN_WEIGHTS(8, 8, 8),
        F32(9, 1, 7), WEIGHT(8, 7)),
    {.name = "grn, wide contexts",
     .op = MD_OP_GATED_RESIDUAL,
     .in = {F32(75, 1, 32), GRN_WEIGHTS(32, 32, 32), F32(75, 1, 1100), WEIGHT(32, 1100)},
     .out = {F32(75, 1, 32)},
     .absolute = 1e-3,
     .relative = 1e-5},
    GRN("grn of no rows, with context", F32(0, 4, 8), F32(0, 4, 8), GRN_WEIGHTS(8, 8, 8),
        F32(0, 1, 7), WEIGHT(8, 7)),
    GRN("grn, composed", F32(3, 50, 19), F32(3, 50, 19), COMPOSED_WEIGHTS(19, 23, 19)),
    GRN("grn, composed, context, resampled", F32(2, 60, 19), F32(2, 60, 5),
        COMPOSED_WEIGHTS(5, 8, 19), F32(2, 1, 7), WEIGHT(8, 7), WEIGHT(19), WEIGHT(19), WEIGHT(19)),
    GRN("grn of no rows", F32(0, 4, 8), F32(0, 4, 8), GRN_WEIGHTS(8, 8, 8)),
    {.name = "weighted sum",
     .op = MD_OP_WEIGHTED_SUM,
     .in = {F32(4, 9, 3), F32(4, 9, 37), F32(4, 9, 37), F32(4, 9, 37)},
     .out = {F32(4, 9, 37)},
     .absolute = 5e-6},
    {.name = "weighted sum of one, wide",
     .op = MD_OP_WEIGHTED_SUM,
     .in = {F32(700, 1), F32(700, 100)},
     .out = {F32(700, 100)},
     .absolute = 5e-6},
    SELECTION("selection of two reals", F32(3, 50, 32), 0, INTS("columns", 2, 0), F32(3, 50, 4),
              GRN_WEIGHTS(32, 2, 2), F32(3, 1, 7), WEIGHT(2, 7), RESAMPLE(2), REAL(16, 16, 32),
              RESAMPLE(32), REAL(16, 16, 32), RESAMPLE(32)),
    SELECTION("selection with a categorical, odd sizes", F32(2, 37, 19), 1, INTS("columns", 0, 2),
              F32(2, 37, 3), GRN_WEIGHTS(64, 3, 3), NO_CONTEXT, RESAMPLE(3), F32(2, 37, 5),
              F32(2, 37, 19), REAL(19, 19, 19), ABSENT, ABSENT, ABSENT, REAL(40, 19, 19),
              WEIGHT(19), WEIGHT(19)),
    SELECTION("selection whose scores need no resampling", F32(5, 8), 0, INTS("columns", 2, 0, 1),
              F32(5, 3), GRN_WEIGHTS(3, 3, 3), NO_CONTEXT, ABSENT, ABSENT, ABSENT, REAL(1, 1, 8),
              RESAMPLE(8), REAL(1, 1, 8), RESAMPLE(8), REAL(1, 1, 8), RESAMPLE(8)),
    SELECTION("selection of a wide real, many rows", F32(211, 70), 2, INTS("columns", 0),
              F32(211, 1), GRN_WEIGHTS(14, 3, 3), F32(211, 4), WEIGHT(3, 4), RESAMPLE(3),
              F32(211, 1), F32(211, 70), F32(211, 3), F32(211, 70), REAL(10, 33, 70), RESAMPLE(70)),
    SELECTION("selection, composed in part", F32(2, 37, 19), 1, INTS("columns", 0, 2),
              F32(2, 37, 3), COMPOSED_WEIGHTS(64, 3, 3), NO_CONTEXT, RESAMPLE(3), F32(2, 37, 5),
              F32(2, 37, 19), COMPOSED_REAL(19, 19, 19), ABSENT, ABSENT, ABSENT, REAL(40, 19, 19),
              WEIGHT(19), WEIGHT(19)),
    SELECTION("selection among wide reals", F32(3, 27, 32), 0, INTS("columns", 2, 0), F32(3, 27, 4),
              COMPOSED_WEIGHTS(32, 2, 2), F32(3, 1, 7), WEIGHT(2, 7), RESAMPLE(2),
              COMPOSED_REAL(16, 32, 32), RESAMPLE(32), COMPOSED_REAL(16, 32, 32), RESAMPLE(32)),
    SELECTION("selection among wide reals, odd sizes", F32(2, 37, 20), 1, INTS("columns", 0, 2, 1),
              F32(2, 37, 3), GRN_WEIGHTS(44, 20, 4), NO_CONTEXT, RESAMPLE(4), F32(2, 37, 5),
              F32(2, 37, 20), COMPOSED_REAL(9, 49, 20), RESAMPLE(20), COMPOSED_REAL(10, 21, 20),
              RESAMPLE(20), REAL(20, 39, 20), RESAMPLE(20)),
    SELECTION("selection among the widest reals", F32(53, 128), 0, INTS("columns", 1, 0),
              F32(53, 2), COMPOSED_WEIGHTS(80, 35, 2), NO_CONTEXT, RESAMPLE(2),
              COMPOSED_REAL(64, 64, 128), RESAMPLE(128), COMPOSED_REAL(16, 48, 128),
              RESAMPLE(128)),
    SELECTION("selection of one row, wide reals", F32(1, 33), 0, INTS("columns", 0, 1),
              F32(1, 2), COMPOSED_WEIGHTS(4, 2, 2), NO_CONTEXT, RESAMPLE(2),
              COMPOSED_REAL(2, 40, 33), RESAMPLE(33), REAL(2, 33, 33), RESAMPLE(33)),
    SELECTION("selection of no rows", F32(0, 9, 8), 0, INTS("columns", 0, 1), F32(0, 9, 2),
              GRN_WEIGHTS(4, 2, 2), F32(0, 1, 3), WEIGHT(2, 3), RESAMPLE(2), REAL(2, 2, 8),
              RESAMPLE(8), REAL(2, 2, 8), RESAMPLE(8)),
    {.name = "attention",
     .op = MD_OP_INTERPRETABLE_ATTENTION,
     .in = {F32(3, 21, 12), F32(3, 45, 12), F32(3, 45, 5)},
     .out = {F32(3, 21, 5)},
     .attrs = {INT("heads", 4), INT("head_size", 3)},
     .absolute = 5e-6},
    {.name = "attention, narrow heads, many queries",
     .op = MD_OP_INTERPRETABLE_ATTENTION,
     .in = {F32(3, 39, 32), F32(3, 67, 32), F32(3, 67, 4), TENSOR(MD_BOOL, 3, 39, 67)},
     .out = {F32(3, 39, 4)},
     .attrs = {INT("heads", 8), INT("head_size", 4)},
     .absolute = 5e-6},
    {.name = "attention, narrow heads, no mask",
     .op = MD_OP_INTERPRETABLE_ATTENTION,
     .in = {F32(2, 6, 8), F32(2, 37, 8), F32(2, 37, 2)},
     .out = {F32(2, 6, 2)},
     .attrs = {INT("heads", 2), INT("head_size", 4)},
     .absolute = 5e-6},
    {.name = "attention, narrow heads, some scores large",
     .op = MD_OP_INTERPRETABLE_ATTENTION,
     .in = {F32(3, 20, 8), F32(3, 37, 8), F32(3, 37, 4), TENSOR(MD_BOOL, 3, 1, 37)},
     .out = {F32(3, 20, 4)},
     .attrs = {INT("heads", 2), INT("head_size", 4), FLOAT("scale", 9)},
     .absolute = 5e-5},
    {.name = "attention, narrow heads, a mask that only lowers",
     .op = MD_OP_INTERPRETABLE_ATTENTION,
     .in = {F32(3, 20, 8), F32(3, 37, 8), F32(3, 37, 4), TENSOR(MD_BOOL, 3, 20, 37)},
     .out = {F32(3, 20, 4)},
     .attrs = {INT("heads", 2), INT("head_size", 4), FLOAT("mask_bias", -2)},
     .absolute = 5e-6},
    {.name = "attention, causal",
     .op = MD_OP_INTERPRETABLE_ATTENTION,
     .in = {F32(3, 19, 8), F32(3, 50, 8), F32(3, 50, 4), TENSOR(MD_BOOL, 3, 1, 31)},
     .out = {F32(3, 19, 4)},
     .attrs = {INT("heads", 2), INT("head_size", 4), INT("causal", 1)},
     .absolute = 5e-6},
    {.name = "attention, causal without a past, wide",
     .op = MD_OP_INTERPRETABLE_ATTENTION,
     .in = {F32(2, 9, 12), F32(2, 9, 12), F32(2, 9, 7)},
     .out = {F32(2, 9, 7)},
     .attrs = {INT("heads", 4), INT("head_size", 3), INT("causal", 1)},
     .absolute = 5e-6},
    {.name = "attention, causal, a mask that only lowers",
     .op = MD_OP_INTERPRETABLE_ATTENTION,
     .in = {F32(2, 9, 8), F32(2, 30, 8), F32(2, 30, 4), TENSOR(MD_BOOL, 1, 9, 21)},
     .out = {F32(2, 9, 4)},
     .attrs = {INT("heads", 2), INT("head_size", 4), INT("causal", 1), FLOAT("mask_bias", -2)},
     .absolute = 5e-6},
    {.name = "attention of no queries",
     .op = MD_OP_INTERPRETABLE_ATTENTION,
     .in = {F32(3, 0, 12), F32(3, 45, 12), F32(3, 45, 5)},
     .out = {F32(3, 0, 5)},
     .attrs = {INT("heads", 4), INT("head_size", 3)}},
    {.name = "attention, mask of each element",
     .op = MD_OP_INTERPRETABLE_ATTENTION,
     .in = {F32(3, 5, 8), F32(3, 16, 8), F32(3, 16, 8), TENSOR(MD_BOOL, 3, 5, 16)},
     .out = {F32(3, 5, 8)},
     .attrs = {INT("heads", 1), INT("head_size", 8), FLOAT("scale", 0.7)},
     .absolute = 5e-6},
    {.name = "attention, mask of queries",
     .op = MD_OP_INTERPRETABLE_ATTENTION,
     .in = {F32(3, 5, 8), F32(3, 17, 8), F32(3, 17, 3), TENSOR(MD_BOOL, 1, 5, 17)},
     .out = {F32(3, 5, 3)},
     .attrs = {INT("heads", 2), INT("head_size", 4)},
     .absolute = 5e-6},
    {.name = "attention, mask of batch, all hidden",
     .op = MD_OP_INTERPRETABLE_ATTENTION,
     .in = {F32(2, 5, 8),
            F32(2, 3, 8),
            F32(2, 3, 3),
            {.dtype = MD_BOOL,
             .shape = S(2, 1, 3),
             .fill = OP_VALUES,
             .values = (const double[]){1, 1, 1, 0, 1, 0},
             .value_count = 6}},
     .out = {F32(2, 5, 3)},
     .attrs = {INT("heads", 2), INT("head_size", 4)},
     .absolute = 5e-6},
    {.name = "attention, heads without a pair, one value, queries left over",
     .op = MD_OP_INTERPRETABLE_ATTENTION,
     .in = {F32(2, 19, 15), F32(2, 34, 15), F32(2, 34, 1), TENSOR(MD_BOOL, 2, 19, 34)},
     .out = {F32(2, 19, 1)},
     .attrs = {INT("heads", 3), INT("head_size", 5)},
     .absolute = 5e-6},
    {.name = "attention, a large score before a hidden key that is no number",
     .op = MD_OP_INTERPRETABLE_ATTENTION,
     .in = {FILLED(MD_F32, OP_POSITIVE, 1, 4, 1),
            {.dtype = MD_F32,
             .shape = S(1, 33, 1),
             .fill = OP_VALUES,
             .values = (const double[33]){[0] = 3000, [16] = NAN},
             .value_count = 33},
            F32(1, 33, 2),
            {.dtype = MD_BOOL,
             .shape = S(1, 1, 33),
             .fill = OP_VALUES,
             .values = (const double[33]){[16] = 1},
             .value_count = 33}},
     .out = {F32(1, 4, 2)},
     .attrs = {INT("heads", 1), INT("head_size", 1)},
     .absolute = 5e-6},
#include "fused_chain.inc"
#include "fused_last.inc"

#include "fused_tail.inc"
};

/* ---- the comparison -------------------------------------------------------------------------- */

static void test_kernels_agree_with_bodies(void **state)
{
    int wrong = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct op_run expected;
        op_run_init(&expected, &cases[i]);
        op_run_body(&expected);
        wrong += op_case_disagreements(&cases[i], &expected, false);
        op_run_fini(&expected);
    }
    op_device_report(100);
    assert_int_equal(wrong, 0);
}

/* Rows of x shorter than a vector, and of several. */
#define SHARED(name, width, ...)                                                                   \
    SELECTION(name, F32(5, 101, 19), 1, INTS("columns", __VA_ARGS__), F32(5, 101, width),          \
              COMPOSED_WEIGHTS(20, 4, 4), F32(5, 1, 7), WEIGHT(4, 7), RESAMPLE(4), F32(5, 101, 5), \
              F32(5, 101, 19), COMPOSED_REAL(5, 4, 19), RESAMPLE(19), REAL(5, 5, 19),              \
              RESAMPLE(19), REAL(5, 5, 19), RESAMPLE(19))

static const struct op_case shared_narrow = SHARED("selection of shared columns", 4, 3, 0, 1);
static const struct op_case shared_wide = SHARED("selection, wide rows", 37, 36, 0, 20);
static const struct op_case shared_reals =
    SELECTION("selection of wide shared reals", F32(5, 101, 20), 1, INTS("columns", 3, 0, 1),
              F32(5, 101, 4), COMPOSED_WEIGHTS(20, 4, 4), F32(5, 1, 7), WEIGHT(4, 7), RESAMPLE(4),
              F32(5, 101, 5), F32(5, 101, 20), COMPOSED_REAL(5, 34, 20), RESAMPLE(20),
              REAL(5, 32, 20), RESAMPLE(20), COMPOSED_REAL(5, 50, 20), RESAMPLE(20));

/* Columns that all sequences have in common, those of the first being the others' as well. */
static void share_columns(const struct op_case *shared, size_t width)
{
    const struct md_backend *backends[OP_BACKENDS_MAX];
    int count = op_backends(backends);
    struct md_error err;
    struct md_pool *pool = NULL;
    assert_ok(md_pool_new(3, 0, &pool, &err));
    /* all columns, one, none; and one that differs in the last step of the last sequence */
    for (int way = 0; way < 4; way++)
        for (int b = 1; b < count; b++) {
            struct op_case own = *shared;
            own.attrs[2] = (struct md_attr)INT("share", 1);
            struct op_run run, expected;
            op_run_init(&expected, shared);
            op_run_init(&run, &own);
            for (size_t row = 0; row < 5 * 101; row++)
                for (size_t column = 0; column < (way % 3 == 0 ? width : way == 1); column++)
                    ((float *)run.in[0].data)[row * width + column] =
                        ((float *)run.in[0].data)[row % 101 * width + column];
            if (way == 3)
                ((float *)run.in[0].data)[5 * 101 * width - 1] += 1;
            memcpy(expected.in[0].data, run.in[0].data, md_tensor_bytes(&run.in[0]));
            op_run_refresh(&run);
            op_run_refresh(&expected);
            op_run_body(&expected);
            assert_int_equal(op_run_kernel(&run, backends[b]->kernels[own.op], pool, &err),
                             OP_DONE);
            assert_true(op_outputs_agree(&run, &expected, backends[b]->name));
            op_run_fini(&run);
            op_run_fini(&expected);
        }
    md_pool_delete(pool);
}

static void test_selection_shares(void **state)
{
    (void)state;
    share_columns(&shared_narrow, 4);
    share_columns(&shared_wide, 37);
    share_columns(&shared_reals, 4);
}

static void test_computed_weights_are_refused(void **state)
{
    const struct op_case computed = {.name = "linear, computed weight",
                                     .op = MD_OP_LINEAR,
                                     .in = {F32(3, 4), F32(5, 4)},
                                     .out = {F32(3, 5)}};
    struct md_error err;
    struct op_run run;
    op_run_init(&run, &computed);
    const struct md_backend *best = md_cpu_backend(MD_ISA_BEST);
    assert_int_equal(op_run_kernel(&run, best->kernels[MD_OP_LINEAR], NULL, &err), OP_REFUSED);
    op_run_fini(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels_agree_with_bodies),
        cmocka_unit_test(test_selection_shares),
        cmocka_unit_test(test_computed_weights_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
