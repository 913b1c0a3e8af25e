/* 1 x 1 convolutions over resized images work before they are resized. */
#include "programs.h"
#include "unit.h"

/* Channels last is off, so that convolutions can be counted by their ONNX names. */
#define PARTS                                                                                      \
    "x[1,5,8,12]; y[1,128,4,6]; z[1,130,2,3]; v[1,6,4,6]; "                                        \
    "r = Resize(y, _, [1.0,1.0,2.0,2.0], mode='linear'); "                                         \
    "s = Resize(z, _, [1.0,1.0,4.0,4.0], mode='linear', "                                          \
    "coordinate_transformation_mode='align_corners'); t = Resize(v, _, [1.0,1.0,2.0,2.0]); "
#define FUSED "com.microsoft.FusedConv"

static const struct program_case cases[] = {
    {"two parts, bias and activation",
     PARTS "w{9,269,1,1}; b{9}; o = Relu(Conv(Concat(x, r, s, t, axis=1), w, b)); -> o",
     "Conv 2 Resize 3 Concat 1 " FUSED " 1"},
    {"one part beside another", PARTS "w{9,133,1,1}; o = Conv(Concat(r, x, axis=1), w); -> o",
     "Conv 1 Resize 1 Concat 0 " FUSED " 1"},
};

static const struct program_case stay[] = {
    {"few channels", PARTS "w{9,11,1,1}; o = Conv(Concat(t, x, axis=1), w); -> o",
     "Conv 1 Concat 1 " FUSED " 0"},
    {"nothing else", PARTS "w{9,258,1,1}; o = Conv(Concat(r, s, axis=1), w); -> o",
     "Conv 1 Concat 1 " FUSED " 0"},
    {"a window", PARTS "w{9,133,3,3}; o = Conv(Concat(r, x, axis=1), w); -> o",
     "Conv 1 Concat 1 " FUSED " 0"},
    {"padding", PARTS "w{9,133,1,1}; o = Conv(Concat(r, x, axis=1), w, pads=[1,1,1,1]); -> o",
     "Conv 1 Concat 1 " FUSED " 0"},
    {"read elsewhere", PARTS "w{9,133,1,1}; o = Conv(Concat(r, x, axis=1), w); p = Neg(r); -> o p",
     "Conv 1 Concat 1 " FUSED " 0"},
    {"along another axis",
     "y[1,128,4,6]; x[1,128,8,12]; r = Resize(y, _, [1.0,1.0,2.0,2.0]); w{9,128,1,1}; "
     "o = Conv(Concat(r, x, axis=2), w); -> o",
     "Conv 1 Concat 1 " FUSED " 0"},
    {"channels resized as well",
     "y[1,64,4,6]; x[1,5,8,12]; r = Resize(y, _, [1.0,2.0,2.0,2.0]); w{9,133,1,1}; "
     "o = Conv(Concat(r, x, axis=1), w); -> o",
     "Conv 1 Concat 1 " FUSED " 0"},
};

static void test_heads_are_split(void **state)
{
    program_check_all(cases, sizeof cases / sizeof *cases, "channels_last", 2e-5);
}

static void test_others_stay(void **state)
{
    program_check_all(stay, sizeof stay / sizeof *stay, "channels_last", 2e-5);
}

static void test_with_channels_last(void **state)
{
    program_check(PARTS "w{9,269,1,1}; b{9}; o = Relu(Conv(Concat(x, r, s, t, axis=1), w, b)); "
                        "-> o",
                  "Add 0 moondial.ConvLast 3 moondial.ResizeLast 2", NULL, 2e-5);
    program_check(PARTS "w{9,133,1,1}; o = Conv(Concat(r, x, axis=1), w); -> o",
                  "moondial.ConvLast 1", "resized", 2e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads_are_split),
        cmocka_unit_test(test_others_stay),
        cmocka_unit_test(test_with_channels_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
