/* Of what is only read at every other place, only those places are computed. */
#include "programs.h"
#include "unit.h"

/* Channels last is off, so that operators can be counted by their ONNX names. */
#define FUSED "com.microsoft.FusedConv"
#define START "x[2,5,9,12]; u{6,5,3,3}; v{7,6,1,1}; b{7}; "
#define READ  "w{9,7,1,1}; o = Conv(t, w, strides=[2,2]); -> o"

static const struct program_case cases[] = {
    {"a stage of a residual network, its last sum and two readers",
     "x[2,5,9,12]; k{7,5,1,1}; z = Relu(Conv(x, k)); u{6,7,3,3}; v{7,6,1,1}; b{7}; "
     "y = Relu(Conv(z, u, pads=[1,1,1,1])); t = Relu(Add(Conv(y, v, b), z)); "
     "w{9,7,1,1}; r{4,7,1,1}; o = Conv(t, w, strides=[2,2]); "
     "p = Relu(Conv(t, r, strides=[2,2])); -> o p",
     "MaxPool 1 Conv 1 " FUSED " 4"},
    {"a residual that a convolution makes for it alone",
     START "y = Relu(Conv(x, u, pads=[1,1,1,1])); k{7,5,1,1}; "
           "t = Relu(Add(Conv(y, v, b), Conv(x, k))); " READ,
     "MaxPool 0 Conv 2 " FUSED " 2"},
    {"strides on top of strides, groups, dilation",
     "x[1,6,13,20]; u{6,3,3,2}; t = Conv(x, u, strides=[2,1], dilations=[1,2], group=2, "
     "pads=[2,1,0,3]); w{9,6,1,1}; o = Conv(t, w, strides=[1,3]); -> o",
     "Conv 2"},
    {"one axis, a free size",
     "x[n,5,31]; u{6,5,4}; t = Relu(Conv(x, u)); w{9,6,1}; "
     "o = Conv(t, w, strides=[2]); -> o",
     "Conv 1 " FUSED " 1"},
    {"read by a pool of one place",
     "x[1,5,9,12]; u{6,5,3,3}; t = Conv(x, u); "
     "o = Neg(MaxPool(t, kernel_shape=[1,1], strides=[2,2])); -> o",
     "MaxPool 0 Conv 1"},
    {"a residual that others read whole",
     START "t = Relu(Conv(Conv(x, u), v)); k{7,7,1,1}; y = Add(Conv(t, k), t); s = Conv(t, k, b); "
           "w{9,7,1,1}; o = Conv(y, w, strides=[2,2]); -> o s",
     "MaxPool 1"},
};

#define STAYS "x[1,5,9,12]; u{7,5,3,3}; t = Relu(Conv(x, u)); w{9,7,1,1}; "

static const struct program_case stay[] = {
    {"another reader", STAYS "o = Conv(t, w, strides=[2,2]); p = Neg(t); -> o p",
     "Neg 1 Conv 1 " FUSED " 1"},
    {"an output", STAYS "o = Conv(t, w, strides=[2,2]); -> o t", "Conv 1 " FUSED " 1"},
    {"other strides", STAYS "o = Conv(t, w, strides=[2,2]); p = Conv(t, w, strides=[2,1]); -> o p",
     "Conv 2"},
    {"a window", STAYS "k{9,7,1,2}; o = Conv(t, k, strides=[2,2]); -> o", "Conv 1"},
    {"padding", STAYS "o = Conv(t, w, strides=[2,2], pads=[1,1,0,0]); -> o", "Conv 1"},
    {"padding by rule",
     "x[1,5,9,12]; u{7,5,3,3}; t = Conv(x, u, auto_pad='SAME_UPPER'); w{9,7,1,1}; "
     "o = Conv(t, w, strides=[2,2]); -> o",
     "Conv 2"},
};

static void test_places_are_left_out(void **state)
{
    program_check_all(cases, sizeof cases / sizeof *cases, "channels_last", 2e-5);
}

static void test_places_that_are_read_stay(void **state)
{
    program_check_all(stay, sizeof stay / sizeof *stay, "channels_last", 2e-5);
}

static void test_with_channels_last(void **state)
{
    program_check(cases[0].program, "moondial.ConvLast 5 moondial.MaxPoolLast 1 MaxPool 0", NULL,
                  2e-5);
    program_check(cases[0].program, "moondial.ConvLast 5 moondial.MaxPoolLast 0", "strides", 2e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places_are_left_out),
        cmocka_unit_test(test_places_that_are_read_stay),
        cmocka_unit_test(test_with_channels_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
