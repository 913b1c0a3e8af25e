/* A convolution and the depthwise one behind it become one operator. */
#include "programs.h"
#include "unit.h"

/* 64 x 64 x 80 lie between them: more than a megabyte. */
#define WIDE      "x[1,5,64,64]; w{80,5,1,1}; v{80,1,3,3}; b{80}; "
#define EXPAND    WIDE "c = Relu(Conv(x, w, b)); "
#define DEPTHWISE "Conv(c, v, pads=[1,1,1,1], group=80)"
#define PAIR      "moondial.ConvPairLast"
#define LAST      "moondial.ConvLast"

static const struct program_case cases[] = {
    {"both with what follows", EXPAND "y = Clip(" DEPTHWISE ", -1, 0.25); -> y",
     "Relu 0 Clip 0 " LAST " 0 " PAIR " 1"},
    {"the last bare", EXPAND "y = " DEPTHWISE "; -> y", LAST " 0 " PAIR " 1"},
    {"the first of stride 2",
     "x[1,3,160,160]; w{64,3,3,3}; v{64,1,3,3}; b{64}; c = Conv(x, w, b, pads=[1,1,1,1], "
     "strides=[2,2]); "
     "y = Sigmoid(Conv(c, v, pads=[1,1,1,1], group=64, strides=[2,2])); -> y",
     LAST " 0 " PAIR " 1"},
};

static const struct program_case stay[] = {
    {"an output", EXPAND "y = " DEPTHWISE "; -> y c", LAST " 2 " PAIR " 0"},
    {"little between them",
     "x[1,5,16,16]; w{80,5,1,1}; v{80,1,3,3}; b{80}; y = Conv(Conv(x, w, b), v, group=80); -> y",
     LAST " 2 " PAIR " 0"},
    {"no bias", WIDE "c = Conv(x, w); y = " DEPTHWISE "; -> y", LAST " 2 " PAIR " 0"},
    {"a residual between them",
     WIDE "z[1,80,64,64]; c = Add(Conv(x, w, b), z); y = " DEPTHWISE "; -> y",
     LAST " 2 " PAIR " 0"},
    {"long sums",
     "x[1,41,64,64]; w{80,41,1,1}; v{80,1,3,3}; b{80}; y = Conv(Conv(x, w, b), v, group=80); -> y",
     LAST " 2 " PAIR " 0"},
    {"an activation that costs", WIDE "y = Conv(Swish(Conv(x, w, b)), v, group=80); -> y",
     LAST " 2 " PAIR " 0"},
    {"two groups", EXPAND "d{80,40,3,3}; y = Conv(c, d, group=2); -> y", LAST " 2 " PAIR " 0"},
    {"sizes that are free",
     "x[1,5,h,w]; k{80,5,1,1}; v{80,1,3,3}; b{80}; y = Conv(Conv(x, k, b), v, group=80); -> y",
     LAST " 2 " PAIR " 0"},
};

static void test_pairs_are_made(void **state)
{
    program_check_all(cases, sizeof cases / sizeof *cases, NULL, 2e-5);
}

static void test_others_stay(void **state)
{
    program_check_all(stay, sizeof stay / sizeof *stay, NULL, 2e-5);
}

static void test_it_can_be_off(void **state)
{
    program_check(EXPAND "y = " DEPTHWISE "; -> y", LAST " 2 " PAIR " 0", "pair", 2e-5);
    program_check(EXPAND "y = " DEPTHWISE "; -> y", LAST " 2 " PAIR " 0", "ConvPairLast", 2e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs_are_made),
        cmocka_unit_test(test_others_stay),
        cmocka_unit_test(test_it_can_be_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
