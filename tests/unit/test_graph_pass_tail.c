/* What follows norms and Resize between convolutions goes into them. */
#include "programs.h"
#include "unit.h"

#define CONV                                                                                       \
    "x[2,3,n,6]; w{4,3,3,3}; s{4}; t{4}; c = Conv(x, w, pads=[1,1,1,1]); "                         \
    "d = InstanceNormalization(c, s, t); "
#define NORM "moondial.InstanceNormalizationLast"

static const struct program_case cases[] = {
    {"relu", CONV "y = Relu(d); -> y", "Relu 0 " NORM " 1"},
    {"clip", CONV "y = Clip(d, -1, 0.25); -> y", "Clip 0 " NORM " 1"},
    {"a residual", CONV "y = Relu(Add(c, d)); -> y", "Relu 0 Add 0 " NORM " 1"},
    {"of two norms", CONV "y = Relu(Add(InstanceNormalization(c, t, s), d)); -> y",
     "Relu 0 Add 0 " NORM " 2"},
    {"three of them",
     CONV "e = InstanceNormalization(c, t, s); f = InstanceNormalization(c, s, s); "
          "y = Relu(Add(Add(d, e), f)); -> y",
     "Relu 0 Add 0 " NORM " 3"},
    {"groups", CONV "y = LeakyRelu(GroupNormalization(c, s, t, num_groups=2), alpha=0.2); -> y",
     "LeakyRelu 0 moondial.GroupNormalizationLast 1"},
    {"pools and a scaled image",
     CONV "y = Relu(Add(c, Resize(MaxPool(d, kernel_shape=[1,2], strides=[1,2]), _, "
          "[1.0,1.0,1.0,2.0], mode='linear'))); -> y",
     "Relu 0 Add 0 moondial.MaxPoolLast 1 moondial.ResizeLast 1"},
    {"a product between transposes",
     CONV
     "w2{4,4}; b2{4}; f{4,1,1}; p = Transpose(c, perm=[0,2,3,1]); "
     "q = Transpose(Add(MatMul(p, w2), b2), perm=[0,3,1,2]); y = Relu(Add(Mul(q, f), c)); -> y",
     "Mul 0 Add 0 Relu 0 moondial.Linear 1"},
    {"numbers behind an activation",
     "x[2,3,n,6]; w{4,3,3,3}; y = Add(Mul(HardSwish(Conv(x, w)), 0.75), -2); -> y",
     "Mul 0 Add 0 moondial.ConvLast 1"},
    {"one number after the other",
     "x[2,3,n,6]; w{4,3,3,3}; y = Mul(3, Add(1, Mul(2, Relu(Conv(x, w))))); -> y",
     "Mul 0 Add 0 moondial.ConvLast 1"},
};

static const struct program_case stay[] = {
    {"an activation behind numbers",
     "x[2,3,n,6]; w{4,3,3,3}; y = Relu(Add(Relu(Conv(x, w)), -1)); -> y",
     "Add 0 Relu 1 moondial.ConvLast 1"},
    {"a number for each channel",
     "x[2,3,n,6]; w{4,3,3,3}; s{4,1,1}; y = Mul(Relu(Conv(x, w)), s); -> y",
     "Mul 1 moondial.ConvLast 1"},
    {"an output", CONV "y = Relu(d); -> y d", "Relu 1 " NORM " 1"},
    {"read elsewhere", CONV "y = Relu(d); z = Neg(d); -> y z", "Relu 1 " NORM " 1"},
    {"an activation already", CONV "y = Sigmoid(Relu(d)); -> y", "Relu 0 Sigmoid 1 " NORM " 1"},
    {"a sum that broadcasts", CONV "z[1,4,1,1]; y = Add(d, z); -> y", "Add 1 " NORM " 1"},
};

static void test_tails_go_in(void **state)
{
    program_check_all(cases, sizeof cases / sizeof *cases, NULL, 2e-5);
}

static void test_others_stay(void **state)
{
    program_check_all(stay, sizeof stay / sizeof *stay, NULL, 2e-5);
}

static void test_it_can_be_off(void **state)
{
    program_check(CONV "y = Relu(d); -> y", "Relu 1 " NORM " 1", "tail", 2e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tails_go_in),
        cmocka_unit_test(test_others_stay),
        cmocka_unit_test(test_it_can_be_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
