/*
 * Quantised operators on every backend of this machine, in every way that it has of adding up
 * products of bytes (kernels/cpu/isa/int8.h), against the reference kernels. Sums are exact, so all
 * agree to the bit. Scales are powers of two where results are rounded: there float32, in which
 * fast kernels scale, and the reference's doubles have the same ties.
 */
#include "unit.h"

#include "kernels/cpu/cpu.h"
#include "op_case.h"

/* Bytes of the whole range: prime in number, so that rows and columns see them in other orders. */
#define U8_NUMBERS 255, 0, 128, 127, 3, 200, 77, 1, 254, 129, 90, 13, 255, 255, 31, 0, 169, 64, 250
#define I8_NUMBERS -128, 127, 0, -1, 1, 100, -77, 33, -128, 127, 127, -5, 64, -100, 9, -128, 50
#define BYTES(type, numbers, fixed, ...)                                                           \
    {                                                                                              \
        .dtype = type, .fill = OP_VALUES, .constant = fixed, .shape = S(__VA_ARGS__),              \
        .values = (const double[]){numbers},                                                       \
        .value_count = sizeof((double[]){numbers}) / sizeof(double)                                \
    }
#define U8(...)        BYTES(MD_U8, U8_NUMBERS, false, __VA_ARGS__)
#define I8(...)        BYTES(MD_I8, I8_NUMBERS, false, __VA_ARGS__)
#define U8_WEIGHT(...) BYTES(MD_U8, U8_NUMBERS, true, __VA_ARGS__)
#define I8_WEIGHT(...) BYTES(MD_I8, I8_NUMBERS, true, __VA_ARGS__)
#define FIXED(type, value)                                                                         \
    {                                                                                              \
        .dtype = type, .fill = OP_VALUES, .constant = true, .values = (const double[]){value},     \
        .value_count = 1                                                                           \
    }
#define POWERS(...)                                                                                \
    {                                                                                              \
        .dtype = MD_F32, .fill = OP_VALUES, .constant = true, .shape = S(__VA_ARGS__),             \
        .values = (const double[]){0x1p-5, 0x1p-6, 0x1p-4, 0x1p-7, 0x1p-5}, .value_count = 5       \
    }
#define I32(...)                                                                                   \
    {                                                                                              \
        .dtype = MD_I32, .fill = OP_VALUES, .constant = true, .shape = S(__VA_ARGS__),             \
        .values = (const double[]){-3000, 4100, 17, -900, 0, 20000, -1}, .value_count = 7          \
    }

#define INTEGER_MATMUL(name_, a_, b_, a_zero_, b_zero_, ...)                                       \
    {                                                                                              \
        .name = name_, .op = MD_OP_MATMUL_INTEGER, .in = {a_, b_, a_zero_, b_zero_}, .out = {      \
            TENSOR(MD_I32, __VA_ARGS__)                                                            \
        }                                                                                          \
    }

static const struct op_case cases[] = {
    /* every remainder of places, columns and terms, all four kinds of signs */
    INTEGER_MATMUL("u8 s8", U8(7, 33), I8_WEIGHT(33, 21), FIXED(MD_U8, 130), ABSENT, 7, 21),
    INTEGER_MATMUL("s8 s8", I8(33, 64), I8_WEIGHT(64, 32), SCALAR(MD_I8, -7), FIXED(MD_I8, 5), 33,
                   32),
    INTEGER_MATMUL("u8 u8", U8(35, 65), U8_WEIGHT(65, 33), SCALAR(MD_U8, 255), FIXED(MD_U8, 128),
                   35, 33),
    INTEGER_MATMUL("u8 u8 without zero points", U8(17, 40), U8_WEIGHT(40, 16), ABSENT, ABSENT, 17,
                   16),
    INTEGER_MATMUL("s8 u8 by column", I8(3, 5, 129), U8_WEIGHT(129, 50), SCALAR(MD_I8, 127),
                   U8_WEIGHT(50), 3, 5, 50),
    INTEGER_MATMUL("one row", U8(1, 300), I8_WEIGHT(300, 70), SCALAR(MD_U8, 3), ABSENT, 1, 70),
    INTEGER_MATMUL("a vector", U8(30), I8_WEIGHT(30, 20), SCALAR(MD_U8, 3), ABSENT, 20),
    INTEGER_MATMUL("one term", U8(40, 1), I8_WEIGHT(1, 5), ABSENT, ABSENT, 40, 5),
    INTEGER_MATMUL("long sums", U8(2, 9000), I8_WEIGHT(9000, 3), SCALAR(MD_U8, 9), ABSENT, 2, 3),
    INTEGER_MATMUL("many rows", U8(300, 48), I8_WEIGHT(48, 100), SCALAR(MD_U8, 9), ABSENT, 300,
                   100),
    INTEGER_MATMUL("nothing", U8(0, 4), I8_WEIGHT(4, 3), ABSENT, ABSENT, 0, 3),
    INTEGER_MATMUL("zero points by row", U8(6, 20), I8_WEIGHT(20, 5), U8(6), ABSENT, 6, 5),
    INTEGER_MATMUL("computed right side", U8(6, 20), I8(20, 5), SCALAR(MD_U8, 3), ABSENT, 6, 5),
    {.name = "qlinear matmul",
     .op = MD_OP_QLINEAR_MATMUL,
     .in = {U8(37, 50), SCALAR(MD_F32, 0x1p-4), SCALAR(MD_U8, 120), I8_WEIGHT(50, 37),
            FIXED(MD_F32, 0x1p-3), FIXED(MD_I8, 0), SCALAR(MD_F32, 0x1p1), SCALAR(MD_U8, 100)},
     .out = {TENSOR(MD_U8, 37, 37)}},
    {.name = "qlinear matmul by column, int8",
     .op = MD_OP_QLINEAR_MATMUL,
     .in = {I8(2, 9, 24), SCALAR(MD_F32, 0x1p-4), SCALAR(MD_I8, 3), I8_WEIGHT(24, 40), POWERS(40),
            I8_WEIGHT(40), SCALAR(MD_F32, 0x1p1), SCALAR(MD_I8, -10)},
     .out = {TENSOR(MD_I8, 2, 9, 40)}},
    {.name = "to float32",
     .op = MD_OP_MATMUL_INTEGER_TO_FLOAT,
     .in = {U8(3, 11, 40), I8_WEIGHT(40, 19), SCALAR(MD_F32, 0.02), POWERS(19), SCALAR(MD_U8, 120),
            ABSENT, F32(19)},
     .out = {F32(3, 11, 19)},
     .relative = 1e-6,
     .absolute = 1e-5},
    {.name = "to float32, plain",
     .op = MD_OP_MATMUL_INTEGER_TO_FLOAT,
     .in = {I8(33, 16), U8_WEIGHT(16, 32), SCALAR(MD_F32, 0.5), SCALAR(MD_F32, 0.25)},
     .out = {F32(33, 32)},
     .relative = 1e-6},

    {.name = "quantise",
     .op = MD_OP_QUANTIZE_LINEAR,
     .in = {F32(3, 7, 19), SCALAR(MD_F32, 0.013), SCALAR(MD_U8, 117)},
     .out = {TENSOR(MD_U8, 3, 7, 19)}},
    {.name = "quantise anything",
     .op = MD_OP_QUANTIZE_LINEAR,
     .in = {FILLED(MD_F32, OP_WIDE, 5, 29), SCALAR(MD_F32, 0.25), SCALAR(MD_I8, -3)},
     .out = {TENSOR(MD_I8, 5, 29)}},
    {.name = "quantise ties",
     .op = MD_OP_QUANTIZE_LINEAR,
     .in = {GIVEN(MD_F32, 0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.5, 128.5, -128.5, 300, -300),
            SCALAR(MD_F32, 1)},
     .out = {TENSOR(MD_U8, 11)}},
    {.name = "quantise along the last axis",
     .op = MD_OP_QUANTIZE_LINEAR,
     .in = {F32(9, 37), FILLED(MD_F32, OP_POSITIVE, 37), U8(37)},
     .out = {TENSOR(MD_U8, 9, 37)}},
    {.name = "quantise along a middle axis",
     .op = MD_OP_QUANTIZE_LINEAR,
     .in = {F32(4, 5, 9), FILLED(MD_F32, OP_POSITIVE, 5), I8(5)},
     .out = {TENSOR(MD_I8, 4, 5, 9)},
     .attrs = {INT("axis", -2)}},
    {.name = "dequantise",
     .op = MD_OP_DEQUANTIZE_LINEAR,
     .in = {U8(7, 41), SCALAR(MD_F32, 0.7), SCALAR(MD_U8, 99)},
     .out = {F32(7, 41)},
     .relative = 1e-7},
    {.name = "dequantise along the first axis",
     .op = MD_OP_DEQUANTIZE_LINEAR,
     .in = {I8(5, 3, 7), FILLED(MD_F32, OP_POSITIVE, 5)},
     .out = {F32(5, 3, 7)},
     .attrs = {INT("axis", 0)},
     .relative = 1e-7},
    {.name = "dequantise along the last axis",
     .op = MD_OP_DEQUANTIZE_LINEAR,
     .in = {I8(5, 3, 37), FILLED(MD_F32, OP_POSITIVE, 37), I8(37)},
     .out = {F32(5, 3, 37)},
     .attrs = {INT("axis", 2)},
     .relative = 1e-7},
    {.name = "dequantise nothing",
     .op = MD_OP_DEQUANTIZE_LINEAR,
     .in = {U8(0, 3), SCALAR(MD_F32, 0.7)},
     .out = {F32(0, 3)}},
    {.name = "dynamically",
     .op = MD_OP_DYNAMIC_QUANTIZE_LINEAR,
     .in = {F32(33, 200)},
     .out = {TENSOR(MD_U8, 33, 200), F32(), TENSOR(MD_U8)}},
    {.name = "dynamically, all above 0",
     .op = MD_OP_DYNAMIC_QUANTIZE_LINEAR,
     .in = {FILLED(MD_F32, OP_POSITIVE, 17)},
     .out = {TENSOR(MD_U8, 17), F32(), TENSOR(MD_U8)}},
    {.name = "dynamically, nothing",
     .op = MD_OP_DYNAMIC_QUANTIZE_LINEAR,
     .in = {F32(0)},
     .out = {TENSOR(MD_U8, 0), F32(), TENSOR(MD_U8)}},
};

static void test_every_way_agrees_with_the_reference(void **state)
{
    int wrong = 0;
    for (int limit = MD_INT8_WIDENED + 1; limit <= MD_INT8_BEST; limit++) {
        md_cpu_int8_set_limit((enum md_cpu_int8)limit);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            int own = op_case_against_reference(&cases[i]);
            if (own)
                print_message("... below way %d\n", limit);
            wrong += own;
        }
    }
    md_cpu_int8_set_limit(MD_INT8_BEST);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_way_agrees_with_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
