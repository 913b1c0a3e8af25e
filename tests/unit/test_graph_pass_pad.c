/* Zeros around what a convolution reads become its own padding; other paddings stay. */
#include "programs.h"
#include "unit.h"

static const struct program_case gone[] = {
    {"causal", "x[2,3,n]; w{4,3,3}; y = Conv(Pad(x, [0,0,2,0,0,0]), w); -> y", "Pad 0"},
    {"on top of the own",
     "x[1,3,n,7]; w{4,3,3,3}; b{4};"
     " y = Conv(Pad(x, [0,0,1,0,0,0,0,3], 0), w, b, pads=[0,1,2,1], strides=[2,1]); -> y",
     "Pad 0"},
    {"axes named", "x[1,3,n,7]; w{4,3,3,3}; y = Conv(Pad(x, [1,2], 0, [-1]), w); -> y", "Pad 0"},
    {"valid",
     "x[1,4,n]; w{4,1,2}; y = Conv(Pad(x, [0,0,3,0,0,3]), w, auto_pad='VALID', group=4,"
     " dilations=[2]); -> y",
     "Pad 0"},
    {"read by two",
     "x[1,3,n]; w{4,3,3}; v{2,3,1}; p = Pad(x, [0,0,2,0,0,1]);"
     " y = Conv(p, w); z = Conv(p, v); -> y z",
     "Pad 0"},
    {"before an activation", "x[1,3,n]; w{4,3,3}; y = Relu(Conv(Pad(x, [0,0,2,0,0,0]), w)); -> y",
     "Pad 0"},
};

static const struct program_case stay[] = {
    {"another number", "x[1,3,n]; w{4,3,3}; y = Conv(Pad(x, [0,0,2,0,0,0], 0.5), w); -> y",
     "Pad 1"},
    {"a mirror", "x[1,3,n]; w{4,3,3}; y = Conv(Pad(x, [0,0,2,0,0,0], mode='reflect'), w); -> y",
     "Pad 1"},
    {"of channels", "x[1,2,n]; w{4,3,2}; y = Conv(Pad(x, [0,1,0,0,0,0]), w); -> y", "Pad 1"},
    {"a cut", "x[1,3,n]; w{4,3,2}; y = Conv(Pad(x, [0,0,2,0,0,-1]), w); -> y", "Pad 1"},
    {"as long as the input",
     "x[1,3,n]; w{4,3,3};"
     " y = Conv(Pad(x, [0,0,2,0,0,0]), w, auto_pad='SAME_UPPER', strides=[2]); -> y",
     "Pad 1"},
    {"into a product", "x[n,5]; w{9,3}; y = MatMul(Pad(x, [0,0,0,4]), w); -> y", "Pad 1"},
    {"an output as well", "x[1,3,n]; w{4,3,3}; p = Pad(x, [0,0,2,0,0,0]); y = Conv(p, w); -> y p",
     "Pad 1"},
};

static void zeros_become_padding(void **state)
{
    program_check_all(gone, sizeof gone / sizeof *gone, NULL, 1e-5);
}

static void other_paddings_stay(void **state)
{
    program_check_all(stay, sizeof stay / sizeof *stay, NULL, 1e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zeros_become_padding),
        cmocka_unit_test(other_paddings_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
