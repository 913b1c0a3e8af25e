/*
 * Every primitive operator on every backend of this machine against the reference kernels, with one
 * thread and with three, over odd shapes. What the reference kernels themselves say is checked
 * against other libraries in expected.c.
 */
#include <stdio.h>
#include <string.h>

#include "unit.h"

#include "op_case.h"

#define ELEMENTWISE(name_, id, fill_, absolute_, relative_)                                        \
    {                                                                                              \
        .name = name_, .op = MD_OP_##id, .in = {FILLED(MD_F32, fill_, 7, 13)},                     \
        .out = {F32(7, 13)}, .absolute = absolute_, .relative = relative_                          \
    }

#define BINARY(name_, id, a_, b_, y_)                                                              \
    {                                                                                              \
        .name = name_, .op = MD_OP_##id, .in = {a_, b_}, .out = {y_}, .relative = 2e-7             \
    }

static const struct op_case cases[] = {
    ELEMENTWISE("abs", ABS, OP_WIDE, 0, 0),
    ELEMENTWISE("neg", NEG, OP_WIDE, 0, 0),
    ELEMENTWISE("exp", EXP, OP_WIDE, 2e-45, 4e-7),
    ELEMENTWISE("sqrt", SQRT, OP_POSITIVE, 0, 1e-7),
    ELEMENTWISE("log", LOG, OP_WIDE, 0, 2e-7),
    ELEMENTWISE("gelu", GELU, OP_RANDOM, 1e-7, 1e-6),
    ELEMENTWISE("swish", SWISH, OP_RANDOM, 0, 1e-6),
    ELEMENTWISE("mish", MISH, OP_RANDOM, 0, 1e-6),
    ELEMENTWISE("leaky relu", LEAKY_RELU, OP_WIDE, 0, 1e-7),
    ELEMENTWISE("hard sigmoid", HARD_SIGMOID, OP_WIDE, 1e-7, 2e-7),
    ELEMENTWISE("hard swish", HARD_SWISH, OP_RANDOM, 3e-7, 3e-7),
    {.name = "gelu by tanh",
     .op = MD_OP_GELU,
     .in = {F32(7, 13)},
     .out = {F32(7, 13)},
     .attrs = {STRING("approximate", "tanh")},
     .absolute = 1e-7,
     .relative = 1e-6},
    {.name = "clip",
     .op = MD_OP_CLIP,
     .in = {FILLED(MD_F32, OP_WIDE, 7, 13), SCALAR(MD_F32, -0.5), SCALAR(MD_F32, 1)},
     .out = {F32(7, 13)}},
    {.name = "clip, only above",
     .op = MD_OP_CLIP,
     .in = {FILLED(MD_F32, OP_WIDE, 7, 13), ABSENT, SCALAR(MD_F32, 1)},
     .out = {F32(7, 13)}},
    ELEMENTWISE("reciprocal", RECIPROCAL, OP_WIDE, 2e-38, 2e-7),
    ELEMENTWISE("sigmoid", SIGMOID, OP_WIDE, 2e-37, 5e-7),
    ELEMENTWISE("tanh", TANH, OP_WIDE, 0, 7e-7),
    ELEMENTWISE("relu", RELU, OP_WIDE, 0, 0),
    ELEMENTWISE("softplus", SOFTPLUS, OP_WIDE, 2e-45, 6e-7),
    ELEMENTWISE("erf", ERF, OP_WIDE, 0, 3e-7),
    {.name = "elu",
     .op = MD_OP_ELU,
     .in = {FILLED(MD_F32, OP_WIDE, 7, 13)},
     .out = {F32(7, 13)},
     .attrs = {FLOAT("alpha", 0.7)},
     .relative = 5e-7},
    {.name = "neg int64", .op = MD_OP_NEG, .in = {TENSOR(MD_I64, 5)}, .out = {TENSOR(MD_I64, 5)}},
    {.name = "tanh of a scalar", .op = MD_OP_TANH, .in = {F32()}, .out = {F32()}, .relative = 7e-7},
    {.name = "exp of nothing", .op = MD_OP_EXP, .in = {F32(0, 4)}, .out = {F32(0, 4)}},
    {.name = "exp over many chunks",
     .op = MD_OP_EXP,
     .in = {F32(50001)},
     .out = {F32(50001)},
     .relative = 4e-7},

    BINARY("add", ADD, F32(3, 5, 7), F32(3, 5, 7), F32(3, 5, 7)),
    BINARY("add a row", ADD, F32(3, 5, 7), F32(7), F32(3, 5, 7)),
    BINARY("add to a row", ADD, F32(7), F32(3, 5, 7), F32(3, 5, 7)),
    BINARY("sub a column", SUB, F32(3, 5, 19), F32(3, 5, 1), F32(3, 5, 19)),
    BINARY("sub from a column", SUB, F32(3, 5, 1), F32(3, 5, 19), F32(3, 5, 19)),
    BINARY("mul middle axis", MUL, F32(3, 1, 17), F32(3, 5, 17), F32(3, 5, 17)),
    BINARY("mul outer product", MUL, F32(9, 1), F32(1, 33), F32(9, 33)),
    BINARY("mul by a scalar", MUL, F32(6, 6), F32(), F32(6, 6)),
    BINARY("div", DIV, F32(4, 1, 5), FILLED(MD_F32, OP_POSITIVE, 2, 1), F32(4, 2, 5)),
    BINARY("min", MIN, FILLED(MD_F32, OP_WIDE, 40), FILLED(MD_F32, OP_WIDE, 3, 40), F32(3, 40)),
    BINARY("max", MAX, FILLED(MD_F32, OP_WIDE, 3, 40), FILLED(MD_F32, OP_WIDE, 40), F32(3, 40)),
    BINARY("add of nothing", ADD, F32(0, 3), F32(3), F32(0, 3)),
    BINARY("add over many chunks", ADD, F32(300, 200), F32(300, 1), F32(300, 200)),
    BINARY("add int64", ADD, TENSOR(MD_I64, 4, 3), TENSOR(MD_I64, 3), TENSOR(MD_I64, 4, 3)),
    BINARY("pow", POW, FILLED(MD_F32, OP_POSITIVE, 9), F32(), F32(9)),
    {.name = "max of three",
     .op = MD_OP_MAX,
     .in = {F32(4), F32(3, 1), F32(3, 4)},
     .out = {F32(3, 4)}},
    {.name = "less", .op = MD_OP_LESS, .in = {F32(5, 6), F32(6)}, .out = {TENSOR(MD_BOOL, 5, 6)}},
    {.name = "where",
     .op = MD_OP_WHERE,
     .in = {TENSOR(MD_BOOL, 5, 1), F32(5, 6), F32()},
     .out = {F32(5, 6)}},

    {.name = "matmul constant",
     .op = MD_OP_MATMUL,
     .in = {F32(3, 11, 37), WEIGHT(37, 29)},
     .out = {F32(3, 11, 29)},
     .absolute = 2e-5},
    {.name = "matmul constant, wide",
     .op = MD_OP_MATMUL,
     .in = {F32(103, 40), WEIGHT(40, 133)},
     .out = {F32(103, 133)},
     .absolute = 2e-5},
    {.name = "matmul computed, shared",
     .op = MD_OP_MATMUL,
     .in = {F32(2, 7, 9), F32(9, 50)},
     .out = {F32(2, 7, 50)},
     .absolute = 1e-5},
    {.name = "matmul batched",
     .op = MD_OP_MATMUL,
     .in = {F32(5, 1, 8, 6), F32(3, 6, 18)},
     .out = {F32(5, 3, 8, 18)},
     .absolute = 1e-5},
    {.name = "matmul vector on the left",
     .op = MD_OP_MATMUL,
     .in = {F32(6), F32(3, 6, 4)},
     .out = {F32(3, 4)},
     .absolute = 1e-5},
    {.name = "matmul vector on the right",
     .op = MD_OP_MATMUL,
     .in = {F32(3, 4, 6), F32(6)},
     .out = {F32(3, 4)},
     .absolute = 1e-5},
    {.name = "matmul over nothing",
     .op = MD_OP_MATMUL,
     .in = {F32(3, 0), WEIGHT(0, 4)},
     .out = {F32(3, 4)}},
    {.name = "gemm",
     .op = MD_OP_GEMM,
     .in = {F32(13, 21), WEIGHT(35, 21), WEIGHT(35)},
     .out = {F32(13, 35)},
     .attrs = {INT("transB", 1), FLOAT("alpha", 0.5), FLOAT("beta", -2)},
     .absolute = 2e-5},
    {.name = "gemm, no bias",
     .op = MD_OP_GEMM,
     .in = {F32(1, 21), WEIGHT(21, 5)},
     .out = {F32(1, 5)},
     .absolute = 2e-5},
    {.name = "gemm, scalar bias",
     .op = MD_OP_GEMM,
     .in = {F32(4, 21), WEIGHT(21, 5), WEIGHT(1)},
     .out = {F32(4, 5)},
     .absolute = 2e-5},
    {.name = "gemm, column bias",
     .op = MD_OP_GEMM,
     .in = {F32(5, 21), WEIGHT(21, 5), WEIGHT(5, 1)},
     .out = {F32(5, 5)},
     .absolute = 2e-5},
    {.name = "gemm, all turned and computed",
     .op = MD_OP_GEMM,
     .in = {F32(21, 4), F32(5, 21), F32(4, 5)},
     .out = {F32(4, 5)},
     .attrs = {INT("transA", 1), INT("transB", 1)},
     .absolute = 2e-5},

    {.name = "softmax",
     .op = MD_OP_SOFTMAX,
     .in = {F32(3, 5, 37)},
     .out = {F32(3, 5, 37)},
     .absolute = 1e-7},
    {.name = "softmax of one",
     .op = MD_OP_SOFTMAX,
     .in = {F32(5, 1)},
     .out = {F32(5, 1)},
     .absolute = 1e-7},
    {.name = "softmax, inner axis",
     .op = MD_OP_SOFTMAX,
     .in = {F32(3, 5, 4)},
     .out = {F32(3, 5, 4)},
     .attrs = {INT("axis", -2)},
     .absolute = 1e-7},
    {.name = "softmax, wide inner axis",
     .op = MD_OP_SOFTMAX,
     .in = {F32(3, 5, 45)},
     .out = {F32(3, 5, 45)},
     .attrs = {INT("axis", 1)},
     .absolute = 3e-7},
    {.name = "layer norm",
     .op = MD_OP_LAYER_NORM,
     .in = {F32(6, 37), WEIGHT(37), WEIGHT(37)},
     .out = {F32(6, 37)},
     .absolute = 3e-6},
    {.name = "layer norm over two axes, no bias",
     .op = MD_OP_LAYER_NORM,
     .in = {F32(6, 4, 4), WEIGHT(4, 4)},
     .out = {F32(6, 4, 4)},
     .attrs = {INT("axis", 1), FLOAT("epsilon", 0.1)},
     .absolute = 3e-6},
    {.name = "reduce mean",
     .op = MD_OP_REDUCE_MEAN,
     .in = {F32(3, 4, 5), GIVEN(MD_I64, 0, -1)},
     .out = {F32(1, 4, 1)},
     .absolute = 1e-6},
    {.name = "reduce sum, all",
     .op = MD_OP_REDUCE_SUM,
     .in = {F32(3, 4, 5)},
     .out = {F32()},
     .attrs = {INT("keepdims", 0)},
     .absolute = 1e-5},

    {.name = "reshape",
     .op = MD_OP_RESHAPE,
     .in = {F32(3, 4), GIVEN(MD_I64, 2, 6)},
     .out = {F32(2, 6)}},
    {.name = "transpose",
     .op = MD_OP_TRANSPOSE,
     .in = {F32(3, 4, 5)},
     .out = {F32(5, 3, 4)},
     .attrs = {INTS("perm", 2, 0, 1)}},
    {.name = "transpose, reversed",
     .op = MD_OP_TRANSPOSE,
     .in = {TENSOR(MD_I64, 3, 4)},
     .out = {TENSOR(MD_I64, 4, 3)}},
    {.name = "transpose inner kept",
     .op = MD_OP_TRANSPOSE,
     .in = {F32(3, 40, 17)},
     .out = {F32(40, 3, 17)},
     .attrs = {INTS("perm", 1, 0, 2)}},
    {.name = "transpose, many chunks",
     .op = MD_OP_TRANSPOSE,
     .in = {F32(300, 301)},
     .out = {F32(301, 300)}},
    {.name = "concat",
     .op = MD_OP_CONCAT,
     .in = {F32(2, 3, 4), F32(2, 1, 4), F32(2, 0, 4)},
     .out = {F32(2, 4, 4)},
     .attrs = {INT("axis", 1)}},
    {.name = "concat single features",
     .op = MD_OP_CONCAT,
     .in = {F32(50, 1), F32(50, 1), F32(50, 3)},
     .out = {F32(50, 5)},
     .attrs = {INT("axis", -1)}},
    {.name = "split",
     .op = MD_OP_SPLIT,
     .in = {TENSOR(MD_BOOL, 3, 7), GIVEN(MD_I64, 1, 4, 2)},
     .out = {TENSOR(MD_BOOL, 3, 1), TENSOR(MD_BOOL, 3, 4), TENSOR(MD_BOOL, 3, 2)},
     .attrs = {INT("axis", 1)}},
    {.name = "slice",
     .op = MD_OP_SLICE,
     .in = {F32(5, 9), GIVEN(MD_I64, 3), GIVEN(MD_I64, 4), GIVEN(MD_I64, 1)},
     .out = {F32(5, 1)}},
    {.name = "slice, backwards and clamped",
     .op = MD_OP_SLICE,
     .in = {F32(5, 9), GIVEN(MD_I64, -1, 100), GIVEN(MD_I64, -6, -100), GIVEN(MD_I64, 0, 1),
            GIVEN(MD_I64, -2, -3)},
     .out = {F32(3, 3)}},
    {.name = "slice, nothing left",
     .op = MD_OP_SLICE,
     .in = {F32(5, 9), GIVEN(MD_I64, 4), GIVEN(MD_I64, 4)},
     .out = {F32(0, 9)}},
    {.name = "gather rows",
     .op = MD_OP_GATHER,
     .in = {F32(5, 3), GIVEN(MD_I64, 4, 0, -1, -5, 2)},
     .out = {F32(5, 3)}},
    {.name = "gather one column",
     .op = MD_OP_GATHER,
     .in = {F32(5, 3), SCALAR(MD_I32, -1)},
     .out = {F32(5)},
     .attrs = {INT("axis", 1)}},
    {.name = "gather columns",
     .op = MD_OP_GATHER,
     .in = {TENSOR(MD_I64, 5, 3), GIVEN(MD_I32, 2, 0)},
     .out = {TENSOR(MD_I64, 5, 2)},
     .attrs = {INT("axis", -1)}},
    {.name = "expand",
     .op = MD_OP_EXPAND,
     .in = {F32(3, 1, 2), GIVEN(MD_I64, 2, 1, 4, 1)},
     .out = {F32(2, 3, 4, 2)}},
    {.name = "expand a row",
     .op = MD_OP_EXPAND,
     .in = {F32(1, 19), GIVEN(MD_I64, 40, 19)},
     .out = {F32(40, 19)}},

#define LSTM_OUT(d, t, b, h)                                                                       \
    {                                                                                              \
        F32(t, d, b, h), F32(d, b, h), F32(d, b, h)                                                \
    }
    {.name = "softmax of nothing", .op = MD_OP_SOFTMAX, .in = {F32(3, 0)}, .out = {F32(3, 0)}},
    {.name = "layer norm of no rows",
     .op = MD_OP_LAYER_NORM,
     .in = {F32(0, 5), WEIGHT(5), WEIGHT(5)},
     .out = {F32(0, 5)}},
    {.name = "transpose of nothing",
     .op = MD_OP_TRANSPOSE,
     .in = {F32(3, 0, 2)},
     .out = {F32(2, 0, 3)}},
    {.name = "concat of nothing",
     .op = MD_OP_CONCAT,
     .in = {F32(0, 2), F32(0, 3)},
     .out = {F32(0, 5)},
     .attrs = {INT("axis", 1)}},
    {.name = "gather of no indices",
     .op = MD_OP_GATHER,
     .in = {F32(5, 3), TENSOR(MD_I64, 0)},
     .out = {F32(0, 3)}},
    {.name = "transpose of a scalar", .op = MD_OP_TRANSPOSE, .in = {F32()}, .out = {F32()}},
    {.name = "lstm of no rows",
     .op = MD_OP_LSTM,
     .in = {F32(4, 0, 5), WEIGHT(1, 24, 5), WEIGHT(1, 24, 6)},
     .out = LSTM_OUT(1, 4, 0, 6)},
    {.name = "lstm",
     .op = MD_OP_LSTM,
     .in = {F32(9, 13, 7), WEIGHT(1, 76, 7), WEIGHT(1, 76, 19), WEIGHT(1, 152)},
     .out = LSTM_OUT(1, 9, 13, 19),
     .absolute = 5e-6},
    {.name = "lstm, one row, more inputs than units",
     .op = MD_OP_LSTM,
     .in = {F32(9, 1, 27), WEIGHT(1, 76, 27), WEIGHT(1, 76, 19)},
     .out = LSTM_OUT(1, 9, 1, 19),
     .absolute = 5e-6},
    {.name = "lstm, states given, two rows",
     .op = MD_OP_LSTM,
     .in = {F32(9, 2, 7), WEIGHT(1, 76, 7), WEIGHT(1, 76, 19), ABSENT, ABSENT, F32(1, 2, 19),
            F32(1, 2, 19)},
     .out = LSTM_OUT(1, 9, 2, 19),
     .absolute = 5e-6},
    {.name = "lstm, ragged, both directions",
     .op = MD_OP_LSTM,
     .in = {F32(9, 8, 7), WEIGHT(2, 76, 7), WEIGHT(2, 76, 19), WEIGHT(2, 152),
            GIVEN(MD_I32, 9, 0, 3, 1, 9, 8, 7, 2), F32(2, 8, 19), F32(2, 8, 19)},
     .out = LSTM_OUT(2, 9, 8, 19),
     .attrs = {STRING("direction", "bidirectional")},
     .absolute = 5e-6},
    {.name = "lstm, ragged, reverse, batch first",
     .op = MD_OP_LSTM,
     .in = {F32(7, 9, 5), WEIGHT(1, 128, 5), WEIGHT(1, 128, 32), WEIGHT(1, 256),
            GIVEN(MD_I32, 9, 0, 3, 1, 9, 8, 7), F32(7, 1, 32), F32(7, 1, 32)},
     .out = {F32(7, 9, 1, 32), F32(7, 1, 32), F32(7, 1, 32)},
     .attrs = {STRING("direction", "reverse"), INT("layout", 1)},
     .absolute = 5e-6},
    {.name = "lstm, both directions, batch first",
     .op = MD_OP_LSTM,
     .in = {F32(31, 4, 5), WEIGHT(2, 128, 5), WEIGHT(2, 128, 32), WEIGHT(2, 256), ABSENT,
            F32(31, 2, 32), F32(31, 2, 32)},
     .out = {F32(31, 4, 2, 32), F32(31, 2, 32), F32(31, 2, 32)},
     .attrs = {STRING("direction", "bidirectional"), INT("layout", 1)},
     .absolute = 2e-5},
    {.name = "lstm, peepholes",
     .op = MD_OP_LSTM,
     .in = {F32(3, 2, 5), WEIGHT(1, 24, 5), WEIGHT(1, 24, 6), ABSENT, ABSENT, ABSENT, ABSENT,
            WEIGHT(1, 18)},
     .out = LSTM_OUT(1, 3, 2, 6),
     .absolute = 5e-6},
    {.name = "lstm, weights computed, only the last states",
     .op = MD_OP_LSTM,
     .in = {F32(3, 2, 5), F32(1, 24, 5), F32(1, 24, 6)},
     .out = LSTM_OUT(1, 3, 2, 6),
     .absolute = 5e-6},
    {.name = "lstm over no steps",
     .op = MD_OP_LSTM,
     .in = {F32(0, 2, 5), WEIGHT(1, 24, 5), WEIGHT(1, 24, 6)},
     .out = LSTM_OUT(1, 0, 2, 6)},
    {.name = "gru, reset after, ragged, both directions",
     .op = MD_OP_GRU,
     .in = {F32(9, 8, 7), WEIGHT(2, 57, 7), WEIGHT(2, 57, 19), WEIGHT(2, 114),
            GIVEN(MD_I32, 9, 0, 3, 1, 9, 8, 7, 2), F32(2, 8, 19)},
     .out = {F32(9, 2, 8, 19), F32(2, 8, 19)},
     .attrs = {STRING("direction", "bidirectional"), INT("linear_before_reset", 1)},
     .absolute = 2e-5},
    {.name = "gru, reset after, batch first, one row",
     .op = MD_OP_GRU,
     .in = {F32(1, 9, 27), WEIGHT(1, 96, 27), WEIGHT(1, 96, 32)},
     .out = {F32(1, 9, 1, 32), F32(1, 1, 32)},
     .attrs = {INT("layout", 1), INT("linear_before_reset", 1)},
     .absolute = 2e-5},
    {.name = "gru",
     .op = MD_OP_GRU,
     .in = {F32(5, 3, 7), WEIGHT(1, 33, 7), WEIGHT(1, 33, 11), WEIGHT(1, 66)},
     .out = {F32(5, 1, 3, 11), F32(1, 3, 11)},
     .absolute = 5e-6},
};

static int run_case(const struct op_case *op_case)
{
    const struct md_backend *backends[OP_BACKENDS_MAX];
    op_backends(backends);
    struct md_error err = {.text = "refused"};
    struct op_run expected;
    op_run_init(&expected, op_case);
    const struct md_kernel *reference = backends[0]->kernels[op_case->op];
    if (op_run_kernel(&expected, reference, NULL, &err) != OP_DONE)
        fail_msg("%s on the reference: %s", op_case->name, err.text);
    int wrong = op_case_disagreements(op_case, &expected, true);
    op_run_fini(&expected);
    return wrong;
}

static void test_fast_agrees_with_reference(void **state)
{
    int wrong = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        wrong += run_case(&cases[i]);
    assert_int_equal(wrong, 0);
}

static void test_every_primitive_has_a_reference_kernel(void **state)
{
    const struct md_backend *backends[OP_BACKENDS_MAX];
    op_backends(backends);
    for (int op = 0; op < MD_OP_COUNT; op++)
        if (!md_op_info((enum md_op)op)->body && !md_op_is_control((enum md_op)op))
            assert_non_null(backends[0]->kernels[op]);
}

/* Not a check: shows which operators have a kernel of their own where. */
static void test_print_support(void **state)
{
    const struct md_backend *backends[OP_BACKENDS_MAX];
    int count = op_backends(backends);
    print_message("%-34s", "operator");
    for (int b = 0; b < count; b++)
        print_message(" %-13s", backends[b]->name);
    for (int op = 0; op < MD_OP_COUNT; op++) {
        print_message("\n%-34s", md_op_info((enum md_op)op)->name);
        for (int b = 0; b < count; b++) {
            const struct md_kernel *kernel = backends[b]->kernels[op];
            bool own = kernel && (b == 0 || kernel != backends[0]->kernels[op]);
            print_message(" %-13s", own ? "own" : kernel ? "reference" : "-");
        }
    }
    print_message("\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fast_agrees_with_reference),
        cmocka_unit_test(test_every_primitive_has_a_reference_kernel),
        cmocka_unit_test(test_print_support),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
