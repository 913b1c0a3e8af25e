/*
 * Quantised operators on every backend of this machine, in every way that it has of adding up
 * products of bytes (kernels/cpu/isa/int8.h), against the reference kernels. Sums are exact, so all
 * agree to the bit. Scales are powers of two where results are rounded: there float32, in which
 * fast kernels scale, and the reference's doubles have the same ties.
 */
#include "unit.h"

#include "kernels/cpu/cpu.h"
#include "op_body.h"
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

#define AND      ,
#define PADS_1   INTS("pads", 1, 1, 1, 1)
#define STRIDE_2 INTS("strides", 2, 2)
#define QCONV(name_, y_, attrs_, x_, x_zero_, w_, w_scale_, w_zero_, y_zero_, ...)                 \
    {                                                                                              \
        .name = "conv, " name_, .op = MD_OP_QLINEAR_CONV_LAST, .out = {y_}, .attrs = {attrs_},     \
        .in = {                                                                                    \
            x_,                                                                                    \
            SCALAR(MD_F32, 0x1p-5),                                                                \
            x_zero_,                                                                               \
            w_,                                                                                    \
            w_scale_,                                                                              \
            w_zero_,                                                                               \
            SCALAR(MD_F32, 0x1p1),                                                                 \
            y_zero_,                                                                               \
            ##__VA_ARGS__                                                                          \
        }                                                                                          \
    }
#define ONE_SCALE FIXED(MD_F32, 0x1p-3)
#define W_ZERO    FIXED(MD_I8, 0)
#define U8_ZERO   SCALAR(MD_U8, 117)
#define I8_ZERO   SCALAR(MD_I8, -11)

/* Against their bodies: channels-last convolutions (in place, by lines, gathered, depthwise), and
 * what the pass `quantized` makes. */
static const struct op_case fused[] = {
    QCONV("1x1", TENSOR(MD_U8, 2, 7, 9, 50), INTS("strides", 1, 1), U8(2, 7, 9, 24), U8_ZERO,
          I8_WEIGHT(50, 24, 1, 1), POWERS(50), W_ZERO, U8_ZERO, I32(50)),
    QCONV("1x1, odd channels", TENSOR(MD_U8, 2, 7, 9, 33), INTS("strides", 1, 1), U8(2, 7, 9, 23),
          U8_ZERO, I8_WEIGHT(33, 23, 1, 1), ONE_SCALE, W_ZERO, U8_ZERO),
    QCONV("1x1, stride 2", TENSOR(MD_U8, 2, 4, 5, 24), STRIDE_2, U8(2, 7, 9, 64), U8_ZERO,
          I8_WEIGHT(24, 64, 1, 1), POWERS(24), W_ZERO, U8_ZERO, I32(24)),
    QCONV("1x1, padded", TENSOR(MD_U8, 1, 5, 5, 8), PADS_1, U8(1, 3, 3, 16), U8_ZERO,
          I8_WEIGHT(8, 16, 1, 1), ONE_SCALE, W_ZERO, U8_ZERO),
    QCONV("1x1, one place", TENSOR(MD_I8, 1, 1, 1, 40), INTS("strides", 1, 1), U8(1, 1, 1, 300),
          U8_ZERO, I8_WEIGHT(40, 300, 1, 1), POWERS(40), W_ZERO, I8_ZERO),
    QCONV("3x3", TENSOR(MD_U8, 2, 9, 14, 40), PADS_1, U8(2, 9, 14, 32), U8_ZERO,
          I8_WEIGHT(40, 32, 3, 3), POWERS(40), W_ZERO, U8_ZERO, I32(40)),
    QCONV("3x3, int8, odd channels", TENSOR(MD_I8, 1, 7, 7, 17), PADS_1, I8(1, 7, 7, 19), I8_ZERO,
          I8_WEIGHT(17, 19, 3, 3), POWERS(17), W_ZERO, I8_ZERO, I32(17)),
    QCONV("3x3, weights with zero points", TENSOR(MD_U8, 1, 6, 5, 20), PADS_1, U8(1, 6, 5, 16),
          U8_ZERO, U8_WEIGHT(20, 16, 3, 3), ONE_SCALE, U8_WEIGHT(20), U8_ZERO, I32(20)),
    QCONV("3x3, few channels", TENSOR(MD_U8, 1, 6, 7, 20), PADS_1, U8(1, 6, 7, 5), U8_ZERO,
          I8_WEIGHT(20, 5, 3, 3), ONE_SCALE, W_ZERO, U8_ZERO, I32(20)),
    QCONV("3x3, stride 2", TENSOR(MD_U8, 2, 8, 7, 40), PADS_1 AND STRIDE_2, U8(2, 15, 14, 32),
          U8_ZERO, I8_WEIGHT(40, 32, 3, 3), POWERS(40), W_ZERO, U8_ZERO, I32(40)),
    QCONV("7x7, stride 2, 3 channels", TENSOR(MD_U8, 1, 16, 15, 64),
          INTS("pads", 3, 3, 3, 3) AND STRIDE_2, U8(1, 32, 30, 3), U8_ZERO, I8_WEIGHT(64, 3, 7, 7),
          POWERS(64), W_ZERO, U8_ZERO, I32(64)),
    QCONV("uneven padding, dilation of lines", TENSOR(MD_U8, 1, 9, 8, 9),
          INTS("pads", 3, 0, 2, 1) AND INTS("dilations", 2, 1), U8(1, 8, 9, 32), U8_ZERO,
          I8_WEIGHT(9, 32, 3, 3), ONE_SCALE, W_ZERO, U8_ZERO),
    QCONV("dilation", TENSOR(MD_U8, 1, 8, 9, 9),
          INTS("pads", 2, 3, 2, 3) AND INTS("dilations", 2, 3), U8(1, 8, 9, 32), U8_ZERO,
          I8_WEIGHT(9, 32, 3, 3), ONE_SCALE, W_ZERO, U8_ZERO),
    QCONV("groups", TENSOR(MD_U8, 1, 6, 7, 36), PADS_1 AND INT("group", 3), U8(1, 6, 7, 60),
          U8_ZERO, I8_WEIGHT(36, 20, 3, 3), POWERS(36), W_ZERO, U8_ZERO, I32(36)),
    QCONV("narrow groups", TENSOR(MD_U8, 1, 6, 7, 12), PADS_1 AND INT("group", 6), U8(1, 6, 7, 12),
          U8_ZERO, I8_WEIGHT(12, 2, 3, 3), POWERS(12), W_ZERO, U8_ZERO, I32(12)),
    QCONV("depthwise", TENSOR(MD_U8, 2, 6, 7, 35), PADS_1 AND INT("group", 35), U8(2, 6, 7, 35),
          U8_ZERO, I8_WEIGHT(35, 1, 3, 3), POWERS(35), W_ZERO, U8_ZERO, I32(35)),
    QCONV("depthwise, stride 2, int8", TENSOR(MD_I8, 1, 4, 4, 32),
          PADS_1 AND STRIDE_2 AND INT("group", 32), I8(1, 7, 8, 32), I8_ZERO,
          I8_WEIGHT(32, 1, 3, 3), POWERS(32), I8_WEIGHT(32), I8_ZERO),
    QCONV("depthwise 5x5, unsigned weights", TENSOR(MD_U8, 1, 8, 9, 20),
          INTS("pads", 2, 2, 2, 2) AND INT("group", 20), U8(1, 8, 9, 20), U8_ZERO,
          U8_WEIGHT(20, 1, 5, 5), ONE_SCALE, FIXED(MD_U8, 100), U8_ZERO, I32(20)),
    QCONV("one axis", TENSOR(MD_U8, 2, 40, 24), INTS("pads", 1, 1), U8(2, 40, 33), U8_ZERO,
          I8_WEIGHT(24, 33, 3), ONE_SCALE, W_ZERO, U8_ZERO, I32(24)),
    QCONV("three axes", TENSOR(MD_U8, 1, 4, 5, 6, 9), INTS("pads", 1, 1, 1, 1, 1, 1),
          U8(1, 4, 5, 6, 16), U8_ZERO, I8_WEIGHT(9, 16, 3, 3, 3), ONE_SCALE, W_ZERO, U8_ZERO),
    QCONV("many lines", TENSOR(MD_U8, 1, 70, 65, 32), PADS_1, U8(1, 70, 65, 64), U8_ZERO,
          I8_WEIGHT(32, 64, 3, 3), POWERS(32), W_ZERO, U8_ZERO, I32(32)),
    QCONV("no batch", TENSOR(MD_U8, 0, 7, 9, 16), PADS_1, U8(0, 7, 9, 16), U8_ZERO,
          I8_WEIGHT(16, 16, 3, 3), ONE_SCALE, W_ZERO, U8_ZERO),
    {.name = "conv integer",
     .op = MD_OP_CONV_INTEGER_LAST,
     .in = {U8(2, 7, 9, 24), I8_WEIGHT(21, 24, 3, 3), SCALAR(MD_U8, 200), I8_WEIGHT(21)},
     .out = {TENSOR(MD_I32, 2, 7, 9, 21)},
     .attrs = {PADS_1}},
    {.name = "conv integer, nothing but x and w",
     .op = MD_OP_CONV_INTEGER_LAST,
     .in = {U8(1, 7, 9, 4), U8_WEIGHT(5, 4, 2, 2)},
     .out = {TENSOR(MD_I32, 1, 6, 8, 5)}},
    {.name = "conv integer, depthwise",
     .op = MD_OP_CONV_INTEGER_LAST,
     .in = {U8(1, 7, 9, 21), I8_WEIGHT(21, 1, 3, 3), SCALAR(MD_U8, 200), FIXED(MD_I8, 3)},
     .out = {TENSOR(MD_I32, 1, 7, 9, 21)},
     .attrs = {PADS_1, INT("group", 21)}},
    {.name = "add",
     .op = MD_OP_QLINEAR_ADD,
     .in = {U8(3, 5, 33), SCALAR(MD_F32, 0x1p-3), U8_ZERO, I8(3, 5, 33), SCALAR(MD_F32, 0x1p-2),
            I8_ZERO, SCALAR(MD_F32, 0x1p-1), SCALAR(MD_U8, 90)},
     .out = {TENSOR(MD_U8, 3, 5, 33)}},
    {.name = "gemm",
     .op = MD_OP_QLINEAR_GEMM,
     .in = {U8(5, 70), SCALAR(MD_F32, 0x1p-4), U8_ZERO, I8_WEIGHT(70, 41), POWERS(41), W_ZERO,
            SCALAR(MD_F32, 0x1p1), SCALAR(MD_U8, 90), I32(41)},
     .out = {TENSOR(MD_U8, 5, 41)}},
    {.name = "gemm, turned",
     .op = MD_OP_QLINEAR_GEMM,
     .in = {I8(37, 64), SCALAR(MD_F32, 0x1p-4), I8_ZERO, I8_WEIGHT(41, 64), POWERS(41),
            I8_WEIGHT(41), SCALAR(MD_F32, 0x1p1), SCALAR(MD_I8, 90)},
     .out = {TENSOR(MD_I8, 37, 41)},
     .attrs = {INT("transB", 1)}},
    {.name = "max pool",
     .op = MD_OP_MAX_POOL_LAST,
     .in = {U8(2, 9, 8, 70)},
     .out = {TENSOR(MD_U8, 2, 5, 4, 70)},
     .attrs = {INTS("kernel_shape", 3, 3), PADS_1, STRIDE_2}},
    {.name = "max pool, int8",
     .op = MD_OP_MAX_POOL_LAST,
     .in = {I8(1, 9, 33)},
     .out = {TENSOR(MD_I8, 1, 8, 33)},
     .attrs = {INTS("kernel_shape", 2)}},
};

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
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            wrong += op_case_against_reference(&cases[i]);
    }
    md_cpu_int8_set_limit(MD_INT8_BEST);
    assert_int_equal(wrong, 0);
}

static void test_every_way_agrees_with_bodies(void **state)
{
    int wrong = 0;
    for (size_t i = 0; i < sizeof fused / sizeof *fused; i++) {
        struct op_run expected;
        op_run_init(&expected, &fused[i]);
        op_run_body(&expected);
        for (int limit = MD_INT8_WIDENED + 1; limit <= MD_INT8_BEST; limit++) {
            md_cpu_int8_set_limit((enum md_cpu_int8)limit);
            wrong += op_case_disagreements(&fused[i], &expected, false);
        }
        op_run_fini(&expected);
    }
    md_cpu_int8_set_limit(MD_INT8_BEST);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_way_agrees_with_the_reference),
        cmocka_unit_test(test_every_way_agrees_with_bodies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
