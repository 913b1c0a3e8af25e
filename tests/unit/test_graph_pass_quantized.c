/* Quantised networks become operators on bytes. */
#include "programs.h"
#include "unit.h"

/* Levels of x and y; weights of one scale or one for each output. */
#define LEVELS                                                                                     \
    "zx{}u8; zy{}u8; zw{}i8; q = QuantizeLinear(x, 0.01, zx); d = DequantizeLinear(q, 0.01, zx); "
#define CONV                                                                                       \
    "x[2,3,n,6]; " LEVELS "wq{4,3,3,3}i8; w = DequantizeLinear(wq, 0.02, zw); "                    \
    "bq{4}i32; b = DequantizeLinear(bq, 0.0002); c = Conv(d, w, b, pads=[1,1,1,1]); "
#define GEMM                                                                                       \
    "x[5,7]; " LEVELS "wq{6,7}i8; w = DequantizeLinear(wq, 0.02, zw); "                            \
    "bq{6}i32; b = DequantizeLinear(bq, 0.0002); "
#define OUT  "y = DequantizeLinear(QuantizeLinear(c, 0.3, zy), 0.3, zy); -> y"
#define LAST "moondial.QLinearConvLast"
#define DYNAMIC                                                                                    \
    "x[3,5,8]; w{8,6}i8; zw{}i8; s{6}; q qs qz = DynamicQuantizeLinear(x); "                       \
    "m = Cast(MatMulInteger(q, w, qz, zw), to=1); "

static const struct program_case cases[] = {
    {"a convolution", CONV OUT, "Conv 0 " LAST " 1 QuantizeLinear 1 DequantizeLinear 1"},
    {"by channel",
     "x[1,8,6,6]; " LEVELS "wq{4,8,1,1}i8; z{4}i8; "
     "w = DequantizeLinear(wq, [0.02,0.01,0.03,0.04], z, axis=0); c = Conv(d, w); " OUT,
     LAST " 1 QuantizeLinear 1"},
    {"depthwise",
     "x[1,8,6,6]; " LEVELS "wq{8,1,3,3}i8; w = DequantizeLinear(wq, 0.02, zw); "
     "c = Conv(d, w, group=8, strides=[2,2]); " OUT,
     LAST " 1 QuantizeLinear 1"},
    {"a residual",
     CONV
     "e = DequantizeLinear(QuantizeLinear(c, 0.3, zy), 0.3, zy); "
     "f = Conv(d, w, pads=[1,1,1,1]); g = DequantizeLinear(QuantizeLinear(f, 0.2, zy), 0.2, zy); "
     "h = Add(e, g); y = DequantizeLinear(QuantizeLinear(h, 0.4, zx), 0.4, zx); -> y",
     LAST " 2 moondial.QLinearAdd 1 Add 0 QuantizeLinear 1"},
    {"a pool of the same levels",
     CONV
     "e = DequantizeLinear(QuantizeLinear(c, 0.3, zy), 0.3, zy); "
     "p = MaxPool(e, kernel_shape=[2,2]); y = DequantizeLinear(QuantizeLinear(p, 0.3, zy), 0.3, "
     "zy); -> y",
     LAST " 1 moondial.MaxPoolLast 1 QuantizeLinear 1 DequantizeLinear 1"},
    {"levels that stay",
     "x[5,7]; " LEVELS "y = DequantizeLinear(QuantizeLinear(d, 0.01, zx), 0.01, "
     "zx); -> y",
     "QuantizeLinear 1"},
    {"a relu that the range implies",
     CONV "z = QuantizeLinear(Relu(c), 0.3); y = DequantizeLinear(z, 0.3); -> y", LAST " 1 Relu 0"},
    {"a clip that the range implies",
     CONV "z = QuantizeLinear(Clip(c, 0, 6), 0.023); y = DequantizeLinear(z, 0.023); -> y",
     LAST " 1 Clip 0"},
    {"a product",
     "x[5,7]; " LEVELS "wq{7,6}i8; w = DequantizeLinear(wq, 0.02, zw); c = MatMul(d, w); " OUT,
     "QLinearMatMul 1 MatMul 0"},
    {"gemm", GEMM "c = Gemm(d, w, b, transB=1); " OUT, "moondial.QLinearGemm 1 Gemm 0"},
    {"dynamic", DYNAMIC "y = Mul(m, Mul(qs, s)); -> y",
     "com.microsoft.MatMulIntegerToFloat 1 MatMulInteger 0 Cast 0 Mul 0"},
    {"dynamic with a bias", DYNAMIC "b{6}; y = Add(b, Mul(m, Mul(qs, s))); -> y",
     "com.microsoft.MatMulIntegerToFloat 1 Add 0"},
};

static const struct program_case stay[] = {
    {"a relu that the range does not imply",
     "z{}i8; " CONV "h = QuantizeLinear(Relu(c), 0.3, z); y = DequantizeLinear(h, 0.3, z); -> y",
     LAST " 0"},
    {"a clip that the range does not imply",
     CONV "z = QuantizeLinear(Clip(c, 0, 6), 0.1); y = DequantizeLinear(z, 0.1); -> y", LAST " 0"},
    {"other levels",
     "x[5,7]; " LEVELS "y = DequantizeLinear(QuantizeLinear(d, 0.02, zx), 0.02, zx); "
     "-> y",
     "QuantizeLinear 2"},
    {"a pool of other levels",
     CONV
     "e = DequantizeLinear(QuantizeLinear(c, 0.3, zy), 0.3, zy); "
     "p = MaxPool(e, kernel_shape=[2,2]); y = DequantizeLinear(QuantizeLinear(p, 0.4, zy), 0.4, "
     "zy); -> y",
     LAST " 1 QuantizeLinear 2"},
    {"a bias of another scale",
     "x[2,3,n,6]; " LEVELS "wq{4,3,3,3}i8; w = DequantizeLinear(wq, 0.02, zw); bq{4}i32; "
     "b = DequantizeLinear(bq, 0.0003); c = Conv(d, w, b); " OUT,
     LAST " 0"},
    {"read elsewhere", CONV "z = Neg(c); y = QuantizeLinear(c, 0.3, zy); -> y z", LAST " 0"},
    {"a sum that broadcasts",
     "x[3,4]; a[4]; " LEVELS "e = DequantizeLinear(QuantizeLinear(a, 0.02, zy), 0.02, zy); "
     "c = Add(d, e); " OUT,
     "moondial.QLinearAdd 0"},
    {"scaled gemm", GEMM "c = Gemm(d, w, b, transB=1, alpha=2); " OUT, "moondial.QLinearGemm 0"},
    {"dynamic, scaled by another", DYNAMIC "t[3,5,6]; y = Mul(m, Mul(qs, t)); -> y",
     "com.microsoft.MatMulIntegerToFloat 0"},
};

/* A result may fall on the other side of a tie: a step of 0.3 in some hundred of them. */
static void test_bytes_are_used(void **state)
{
    program_check_all(cases, sizeof cases / sizeof *cases, NULL, 0.02);
}

static void test_others_stay(void **state)
{
    program_check_all(stay, sizeof stay / sizeof *stay, NULL, 0.02);
}

static void test_it_can_be_off(void **state)
{
    program_check(CONV OUT, "QuantizeLinear 2", "quantized", 0.02);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_are_used),
        cmocka_unit_test(test_others_stay),
        cmocka_unit_test(test_it_can_be_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
