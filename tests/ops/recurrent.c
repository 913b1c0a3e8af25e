/*
 * LSTM, GRU and RNN with every attribute on every instruction set against the reference kernels:
 * sizes that go by rows and by units, several panels of units, steps multiplied ahead in pieces.
 */
#include <math.h>
#include <string.h>

#include "unit.h"

#include "device_case.h"
#include "kernels/cpu/cpu.h"

#define BOTH   STRING("direction", "bidirectional")
#define RAGGED GIVEN(MD_I32, 9, 0, 3, 1, 9, 8, 7, 2)

#define RAGGED_OF(rows)                                                                            \
    {                                                                                              \
        .dtype = MD_I32, .shape = S(rows), .fill = OP_VALUES, .values = lengths, .value_count = 8  \
    }
#define SMALL(...)                                                                                 \
    {                                                                                              \
        .dtype = MD_F32, .shape = S(__VA_ARGS__), .fill = OP_SMALL, .constant = true               \
    }
#define ZEROS(...)                                                                                 \
    {                                                                                              \
        .dtype = MD_F32, .shape = S(__VA_ARGS__), .fill = OP_VALUES, .values = zero,               \
        .value_count = 1                                                                           \
    }
#define LSTM(name_, d, t, b, i, h, ...)                                                            \
    {                                                                                              \
        .name = name_, .op = MD_OP_LSTM,                                                           \
        .in = {F32(t, b, i), SMALL(d, 4 * (h), i), SMALL(d, 4 * (h), h), SMALL(d, 8 * (h)),        \
               ##__VA_ARGS__},                                                                     \
        .out = {F32(t, d, b, h), F32(d, b, h), F32(d, b, h)}, .absolute = 1e-5, .relative = 1e-5
#define GRU(name_, d, t, b, i, h, ...)                                                             \
    {                                                                                              \
        .name = name_, .op = MD_OP_GRU,                                                            \
        .in = {F32(t, b, i), SMALL(d, 3 * (h), i), SMALL(d, 3 * (h), h), SMALL(d, 6 * (h)),        \
               ##__VA_ARGS__},                                                                     \
        .out = {F32(t, d, b, h), F32(d, b, h)}, .absolute = 1e-5, .relative = 1e-5
#define RNN(name_, d, t, b, i, h, ...)                                                             \
    {                                                                                              \
        .name = name_, .op = MD_OP_RNN,                                                            \
        .in = {F32(t, b, i), SMALL(d, h, i), SMALL(d, h, h), SMALL(d, 2 * (h)), ##__VA_ARGS__},    \
        .out = {F32(t, d, b, h), F32(d, b, h)}, .absolute = 1e-5, .relative = 1e-5
#define GAPS(name_, id, gates, h)                                                                  \
    {                                                                                              \
        .name = name_ ", rows with a NaN", .op = MD_OP_##id,                                       \
        .in = {{.dtype = MD_F32,                                                                   \
                .shape = S(3, 9, 3),                                                               \
                .fill = OP_VALUES,                                                                 \
                .values = gaps,                                                                    \
                .value_count = sizeof gaps / sizeof *gaps},                                        \
               SMALL(1, (gates) * (h), 3),                                                         \
               SMALL(1, (gates) * (h), h),                                                         \
               SMALL(1, 2 * (gates) * (h))},                                                       \
        .out = {F32(3, 1, 9, h), F32(1, 9, h)}, .absolute = 1e-5, .relative = 1e-5
#define END }

static const double zero[] = {0}, lengths[] = {9, 0, 3, 1, 9, 8, 7, 2};
static const double gaps[] = {0.5, -1, 0.25, 2, -0.5, 0.125, -2, 1, NAN, 0.75, -0.25, 1.5, -0.75};

static const struct op_case cases[] = {
    LSTM("lstm of many units", 1, 5, 3, 19, 300) END,
    LSTM("lstm of many units, ragged, both directions", 2, 9, 8, 7, 200, RAGGED, F32(2, 8, 200),
         F32(2, 8, 200)),
    .attrs = {BOTH} END,
    LSTM("lstm, x multiplied in pieces", 1, 25, 40, 19, 130),
    .attrs = {FLOAT("clip", 0.9)} END,
    LSTM("lstm, backwards, x multiplied in pieces", 1, 25, 40, 19, 130),
    .attrs = {FLOAT("clip", 0.9), STRING("direction", "reverse")} END,
    LSTM("lstm, both ways, x multiplied in pieces", 2, 33, 21, 9, 130),
    .attrs = {FLOAT("clip", 0.9), BOTH} END,
    LSTM("lstm of many rows, both directions", 2, 5, 101, 9, 130),
    .attrs = {FLOAT("clip", 0.9), BOTH} END,
    LSTM("lstm of many rows, backwards", 1, 4, 97, 9, 70),
    .attrs = {FLOAT("clip", 0.9), STRING("direction", "reverse")} END,
    LSTM("lstm of many units from zeros", 2, 3, 5, 19, 290, ABSENT, ZEROS(2, 5, 290),
         F32(2, 5, 290)),
    .attrs = {BOTH} END,
    LSTM("lstm of few units from zeros", 2, 3, 5, 19, 29, ABSENT, ZEROS(2, 5, 29), F32(2, 5, 29)),
    .attrs = {BOTH} END,
    LSTM("lstm, peepholes, both directions", 2, 4, 5, 7, 37, ABSENT, F32(2, 5, 37), F32(2, 5, 37),
         SMALL(2, 111)),
    .attrs = {BOTH} END,
    LSTM("lstm, input_forget", 1, 4, 5, 7, 37),
    .attrs = {INT("input_forget", 1)} END,
    LSTM("lstm, other activations, ragged", 2, 9, 8, 7, 21, RAGGED),
    .attrs = {BOTH,
              STRINGS("activations", "HardSigmoid", "Affine", "ScaledTanh", "Sigmoid", "Softsign",
                      "Elu"),
              FLOATS("activation_alpha", 0.3, 0.8, 0.9, 0.7),
              FLOATS("activation_beta", 0.4, 0.1, 0.6), FLOAT("clip", 2)} END,
    {.name = "lstm, everything computed, batch first",
     .op = MD_OP_LSTM,
     .in = {F32(5, 4, 7), F32(1, 84, 7), F32(1, 84, 21), F32(1, 168), GIVEN(MD_I32, 4, 0, 3, 1, 2)},
     .out = {F32(5, 4, 1, 21), F32(5, 1, 21), F32(5, 1, 21)},
     .attrs = {INT("layout", 1), STRING("direction", "reverse")},
     .absolute = 1e-5,
     .relative = 1e-5},
    GRU("gru of many units, reset after", 1, 5, 7, 19, 300),
    .attrs = {INT("linear_before_reset", 1)} END,
    GRU("gru of one row and many units", 1, 5, 1, 300, 300),
    .attrs = {INT("linear_before_reset", 1)} END,
    GRU("gru of many rows, reset after, ragged", 1, 9, 104, 7, 280, RAGGED_OF(104)),
    .attrs = {INT("linear_before_reset", 1)} END,
    GRU("gru of many rows", 1, 3, 98, 7, 70) END,
    GRU("gru of few units from zeros", 1, 4, 9, 7, 33, ABSENT, ZEROS(1, 9, 33)),
    .attrs = {INT("linear_before_reset", 1)} END,
    GRU("gru of many units", 2, 9, 8, 7, 145, RAGGED, F32(2, 8, 145)),
    .attrs = {BOTH} END,
    GRU("gru, other activations", 1, 6, 8, 7, 35, ABSENT, F32(1, 8, 35)),
    .attrs = {STRINGS("activations", "LeakyRelu", "Softplus"), FLOATS("activation_alpha", 0.2),
              FLOAT("clip", 1.5)} END,
    GRU("gru, reset after, other activations", 2, 9, 8, 7, 35, RAGGED),
    .attrs = {INT("linear_before_reset", 1), BOTH, FLOATS("activation_alpha", 0.2, 0.3),
              STRINGS("activations", "Sigmoid", "Tanh", "ThresholdedRelu", "Relu")} END,
    RNN("rnn", 1, 9, 8, 7, 21, RAGGED) END,
    RNN("rnn of many units", 2, 9, 8, 7, 210, RAGGED, F32(2, 8, 210)),
    .attrs = {BOTH} END,
    RNN("rnn, Relu and Elu", 2, 3, 8, 7, 21),
    .attrs = {BOTH, STRINGS("activations", "Relu", "Elu"), FLOATS("activation_alpha", 0.5)} END,
    RNN("rnn of one input and one unit", 1, 5, 2, 1, 1) END,
    LSTM("lstm of a group of rows", 1, 9, 16, 32, 32) END,
    LSTM("lstm of a group and a row", 1, 7, 17, 5, 48, ABSENT, F32(1, 17, 48), F32(1, 17, 48)) END,
    LSTM("lstm of two groups, ragged, both directions", 2, 9, 33, 70, 29, RAGGED_OF(33),
         F32(2, 33, 29), F32(2, 33, 29)),
    .attrs = {BOTH} END,
    LSTM("lstm of several groups, backwards, ragged", 1, 9, 101, 33, 17, RAGGED_OF(101)),
    .attrs = {STRING("direction", "reverse")} END,
    LSTM("lstm of many rows and units", 1, 5, 50, 40, 128) END,
    LSTM("lstm of few rows and many units, ragged", 1, 9, 13, 20, 80, RAGGED_OF(13)) END,
    LSTM("lstm of a group without inputs", 1, 5, 16, 0, 20) END,
    LSTM("lstm of a group, one step", 2, 1, 16, 3, 1),
    .attrs = {BOTH} END,
    GRU("gru of a group of rows", 1, 9, 16, 32, 32),
    .attrs = {INT("linear_before_reset", 1)} END,
    GRU("gru of groups without inputs", 1, 5, 40, 0, 20),
    .attrs = {INT("linear_before_reset", 1)} END,
    GRU("gru of two groups, ragged, both directions", 2, 9, 33, 70, 29, RAGGED_OF(33),
        F32(2, 33, 29)),
    .attrs = {INT("linear_before_reset", 1), BOTH} END,
    GRU("gru of several groups, ragged", 1, 9, 101, 33, 50, RAGGED_OF(101), F32(1, 101, 50)),
    .attrs = {INT("linear_before_reset", 1)} END,
    GRU("gru of few rows and many units", 1, 9, 13, 20, 80, ABSENT, F32(1, 13, 80)),
    .attrs = {INT("linear_before_reset", 1)} END,
    GAPS("lstm", LSTM, 4, 21) END,
    GAPS("lstm of many units", LSTM, 4, 130),
    .attrs = {FLOAT("clip", 0.9)} END,
    GAPS("gru, reset after", GRU, 3, 21),
    .attrs = {INT("linear_before_reset", 1)} END,
    GAPS("rnn, Relu", RNN, 1, 21),
    .attrs = {STRINGS("activations", "Relu")} END,
    GAPS("rnn, HardSigmoid", RNN, 1, 21),
    .attrs = {STRINGS("activations", "HardSigmoid")} END,
};

static void test_all_attributes_on_all_instruction_sets(void **state)
{
    int wrong = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        wrong += op_case_against_reference(&cases[i]);
    op_device_report(9);
    assert_int_equal(wrong, 0);
}

static void test_a_length_beyond_the_steps_fails(void **state)
{
    const struct op_case bad = {
        .name = "rnn, too long",
        .op = MD_OP_RNN,
        .in = {F32(3, 2, 5), SMALL(1, 6, 5), SMALL(1, 6, 6), ABSENT, GIVEN(MD_I32, 3, 4)},
        .out = {F32(3, 1, 2, 6), F32(1, 2, 6)}};
    struct md_error err;
    struct op_run run;
    op_run_init(&run, &bad);
    const struct md_backend *best = md_cpu_backend(MD_ISA_BEST);
    assert_int_equal(op_run_kernel(&run, best->kernels[MD_OP_RNN], NULL, &err), OP_FAILED);
    assert_non_null(strstr(err.text, "sequence length 4"));
    op_run_fini(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_attributes_on_all_instruction_sets),
        cmocka_unit_test(test_a_length_beyond_the_steps_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
