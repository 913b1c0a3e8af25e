/* What follows a convolution goes into it, unless somebody else needs what lies between. */
#include "programs.h"
#include "unit.h"

#define CONV  "x[2,3,n,6]; w{4,3,3,3}; b{4}; c = Conv(x, w, b, pads=[1,1,1,1]); "
#define FUSED "com.microsoft.FusedConv"

static const struct program_case cases[] = {
    {"a norm",
     CONV "s{4}; t{4}; m{4}; y = BatchNormalization(c, s, t, m, [0.5, 1.5, 2.5, 0.1]); -> y",
     "BatchNormalization 0 Conv 1"},
    {"without a bias",
     "x[2,3,n,6]; w{4,3,1,1}; s{4}; t{4}; m{4}; y = BatchNormalization(Conv(x, w), s, "
     "t, m, [0.5, 1.5, 2.5, 0.1], epsilon=0.1); -> y",
     "BatchNormalization 0 Conv 1"},
    {"groups",
     "x[2,4,n,6]; w{6,2,3,3}; s{6}; t{6}; m{6}; y = BatchNormalization(Conv(x, w, group=2), s, "
     "t, m, [0.5, 1.5, 2.5, 0.1, 1.0, 2.0]); -> y",
     "BatchNormalization 0 Conv 1"},
    {"transposed",
     "x[2,4,n,6]; w{4,3,3,3}; s{6}; t{6}; m{6}; y = BatchNormalization(ConvTranspose(x, w, "
     "group=2, strides=[2,2]), s, t, m, [0.5, 1.5, 2.5, 0.1, 1.0, 2.0]); -> y",
     "BatchNormalization 0 ConvTranspose 1"},
    {"before",
     "x[2,4,n,6]; w{6,2,3,3}; b{6}; s{4}; t{4}; m{4}; y = Conv(BatchNormalization(x, s, t, m, "
     "[0.5, 1.5, 2.5, 0.1]), w, b, group=2); -> y",
     "BatchNormalization 0 Conv 1"},
    {"one axis",
     "x[2,3,n]; w{4,3,3}; s{4}; t{4}; m{4}; y = Relu(BatchNormalization(Conv(x, w), s, t, m, "
     "[0.5, 1.5, 2.5, 0.1])); -> y",
     "BatchNormalization 0 Relu 0 " FUSED " 1"},
    {"scale and shift", CONV "s{4,1,1}; t{1,4,1,1}; y = Sub(Add(t, Mul(Div(c, 3), s)), 0.5); -> y",
     "Mul 0 Add 0 Div 0 Sub 0 Conv 1"},
    {"relu", CONV "y = Relu(c); -> y", "Relu 0 " FUSED " 1"},
    {"leaky", CONV "y = LeakyRelu(c, alpha=0.3); -> y", "LeakyRelu 0 " FUSED " 1"},
    {"sigmoid", CONV "y = Sigmoid(c); -> y", "Sigmoid 0 " FUSED " 1"},
    {"tanh", CONV "y = Tanh(c); -> y", "Tanh 0 " FUSED " 1"},
    {"clip", CONV "y = Clip(c, 0, 0.25); -> y", "Clip 0 " FUSED " 1"},
    {"half a clip", CONV "y = Clip(c, _, 0.25); -> y", "Clip 0 " FUSED " 1"},
    {"hard sigmoid", CONV "y = HardSigmoid(c, alpha=0.25); -> y", "HardSigmoid 0 " FUSED " 1"},
    {"hard swish", CONV "y = HardSwish(c); -> y", "HardSwish 0 " FUSED " 1"},
    {"swish", CONV "y = Swish(c, alpha=1.5); -> y", "Swish 0 " FUSED " 1"},
    {"mish", CONV "y = Mish(c); -> y", "Mish 0 " FUSED " 1"},
    {"elu", CONV "y = Elu(c, alpha=0.5); -> y", "Elu 0 " FUSED " 1"},
    {"gelu", CONV "y = Gelu(c); -> y", "Gelu 0 " FUSED " 1"},
    {"gelu by tanh", CONV "y = Gelu(c, approximate='tanh'); -> y", "Gelu 0 " FUSED " 1"},
    {"a residual", CONV "z[2,4,n,6]; y = Relu(Add(z, c)); -> y", "Relu 0 Add 0 " FUSED " 1"},
    {"of two convolutions", CONV "d = Conv(x, w, pads=[1,1,1,1]); y = Relu(Add(c, d)); -> y",
     "Relu 0 Add 0 Conv 1 " FUSED " 1"},
    {"all of it",
     CONV "s{4}; t{4}; m{4}; z[2,4,n,6]; y = Relu(Add(BatchNormalization(c, s, t, m, [0.5, "
          "1.5, 2.5, 0.1]), z)); -> y",
     "Relu 0 Add 0 BatchNormalization 0 " FUSED " 1"},
    {"an end and a beginning", CONV "w2{2,4,1,1}; y = Relu(Conv(Relu(c), w2)); -> y",
     "Relu 0 " FUSED " 2"},
};

static const struct program_case stay[] = {
    {"read elsewhere", CONV "y = Relu(c); z = Neg(c); -> y z", "Relu 1 Conv 1"},
    {"an output", CONV "y = Relu(c); -> y c", "Relu 1 Conv 1"},
    {"after an activation", CONV "d = Relu(c); z[2,4,n,6]; y = Add(d, z); -> y",
     "Add 1 " FUSED " 1"},
    {"two activations", CONV "y = Sigmoid(Relu(c)); -> y", "Sigmoid 1 " FUSED " 1"},
    {"scaled after an activation", CONV "y = Mul(Relu(c), 3); -> y", "Mul 1 " FUSED " 1"},
    {"a residual that broadcasts", CONV "z[2,4,1,1]; y = Add(c, z); -> y", "Add 1 Conv 1"},
    {"broadcasting up", CONV "z[2,2,4,n,6]; y = Add(c, z); -> y", "Add 1 Conv 1"},
    {"over the last axis", CONV "s{6}; y = Mul(c, s); -> y", "Mul 1 Conv 1"},
    {"taken from a number", CONV "y = Sub(2, c); -> y", "Sub 1 Conv 1"},
    {"computed weights", "x[1,3,n,6]; w[4,3,3,3]; y = Mul(Conv(x, w), 2); -> y", "Mul 1 Conv 1"},
    {"a norm before padding",
     "x[2,3,n,6]; w{4,3,3,3}; s{3}; t{3}; m{3}; y = Conv(BatchNormalization(x, "
     "s, t, m, [0.5, 1.5, 2.5]), w, pads=[1,1,1,1]); -> y",
     "BatchNormalization 1 Conv 1"},
    {"a computed norm",
     CONV "s[4]; t{4}; m{4}; y = BatchNormalization(c, s, t, m, [0.5, 1.5, 2.5, 0.1]); "
          "-> y",
     "BatchNormalization 1 Conv 1"},
    {"a bound that is computed", CONV "h[]; y = Clip(c, _, h); -> y", "Clip 1 Conv 1"},
};

static void what_follows_goes_in(void **state)
{
    program_check_all(cases, sizeof cases / sizeof *cases, "channels_last", 1e-5);
}

static void what_others_need_stays(void **state)
{
    program_check_all(stay, sizeof stay / sizeof *stay, "channels_last", 1e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_follows_goes_in),
        cmocka_unit_test(what_others_need_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
