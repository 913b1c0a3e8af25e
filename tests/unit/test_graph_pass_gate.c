/* Gates of squeeze and excitation go into the 1 x 1 convolutions behind them. */
#include "programs.h"
#include "unit.h"

#define PARTS                                                                                      \
    "x[2,8,6,7]; a{32,8,1,1}; b{32,32,1,1}; m = Relu(Conv(x, a)); "                                \
    "g = Sigmoid(Conv(GlobalAveragePool(m), b)); "
#define CONV "moondial.ConvLast"

static const struct program_case cases[] = {
    {"a gate, bias and residual",
     PARTS "w{24,32,1,1}; c{24}; z[2,24,6,7]; o = Add(Conv(Mul(m, g), w, c), z); -> o",
     CONV " 3 Mul 0 Add 0"},
    {"the other way round, an activation", PARTS "w{24,32,1,1}; o = Relu(Conv(Mul(g, m), w)); -> o",
     CONV " 3 Mul 0 Relu 0"},
};

static const struct program_case stay[] = {
    {"read elsewhere", PARTS "w{24,32,1,1}; s = Mul(m, g); o = Conv(s, w); p = Neg(s); -> o p",
     CONV " 3 Mul 1"},
    {"a window", PARTS "w{24,32,3,3}; o = Conv(Mul(m, g), w); -> o", CONV " 3 Mul 1"},
    {"a stride", PARTS "w{24,32,1,1}; o = Conv(Mul(m, g), w, strides=[2,2]); -> o",
     CONV " 3 Mul 1"},
    {"groups", PARTS "w{24,16,1,1}; o = Conv(Mul(m, g), w, group=2); -> o", CONV " 3 Mul 1"},
    {"few outputs", PARTS "w{3,32,1,1}; o = Conv(Mul(m, g), w); -> o", CONV " 3 Mul 1"},
    {"two maps", PARTS "w{24,32,1,1}; y[2,32,6,7]; o = Conv(Mul(m, y), w); -> o", CONV " 2 Mul 1"},
};

static void test_gates_go_into_convolutions(void **state)
{
    program_check_all(cases, sizeof cases / sizeof *cases, NULL, 2e-5);
}

static void test_others_stay(void **state)
{
    program_check_all(stay, sizeof stay / sizeof *stay, NULL, 2e-5);
}

static void test_it_can_be_switched_off(void **state)
{
    program_check(PARTS "w{24,32,1,1}; o = Conv(Mul(m, g), w); -> o", CONV " 3 Mul 1", "gate",
                  2e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gates_go_into_convolutions),
        cmocka_unit_test(test_others_stay),
        cmocka_unit_test(test_it_can_be_switched_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
