/* What is written out becomes the operator that it is; what only resembles it does not. */
#include "programs.h"
#include "unit.h"

#define MEAN(x) "ReduceMean(" x ", [-1])"
#define NORM    "m = " MEAN("x") "; d = Sub(x, m); v = " MEAN("Pow(d, 2)") "; "
#define GROUPS                                                                                     \
    "r = Reshape(x, [0,2,-1]); i = InstanceNormalization(r, [1.0,1.0], [0.0,0.0], epsilon=0.01); "

static const struct program_case cases[] = {
    {"gelu", "x[2,n]; y = Mul(Mul(x, 0.5), Add(Erf(Div(x, 1.41421354)), 1)); -> y",
     "Gelu 1 Erf 0 Mul 0"},
    {"gelu, half last", "x[2,n]; y = Mul(Mul(x, Add(Erf(Div(x, 1.41421354)), 1)), 0.5); -> y",
     "Gelu 1 Erf 0 Mul 0 Add 0"},
    {"gelu, half first", "x[2,n]; y = Mul(Mul(0.5, Add(1, Erf(Mul(x, 0.70710677)))), x); -> y",
     "Gelu 1 Erf 0"},
    {"gelu by tanh",
     "x[2,n]; y = Mul(Mul(0.5, x), Add(1, Tanh(Mul(0.79788458, Add(x, Mul(Pow(x, 3), "
     "0.044715)))))); -> y",
     "Gelu 1 Tanh 0 Pow 0 Mul 0"},
    {"gelu by tanh, x three times",
     "x[2,n]; y = Mul(Mul(0.5, x), Add(1, Tanh(Mul(0.79788458, Add(x, "
     "Mul(Mul(Mul(x, x), x), 0.044715)))))); -> y",
     "Gelu 1 Tanh 0 Mul 0"},
    {"swish", "x[2,n]; y = Mul(Sigmoid(x), x); -> y", "Swish 1 Sigmoid 0"},
    {"swish with a slope", "x[2,n]; y = Mul(x, Sigmoid(Mul(1.702, x))); -> y", "Swish 1 Sigmoid 0"},
    {"swish written out", "x[2,n]; y = Div(x, Add(1, Exp(Neg(x)))); -> y", "Swish 1 Exp 0"},
    {"a gated one", "x[2,n]; z[2,n]; y = Mul(Mul(x, Sigmoid(x)), z); -> y",
     "Swish 1 Sigmoid 0 Mul 1"},
    {"sigmoid", "x[2,n]; y = Reciprocal(Add(Exp(Neg(x)), 1)); -> y", "Sigmoid 1 Exp 0"},
    {"mish", "x[2,n]; y = Mul(x, Tanh(Softplus(x))); -> y", "Mish 1"},
    {"hard swish", "x[2,n]; y = Div(Mul(x, Clip(Add(x, 3), 0, 6)), 6); -> y", "HardSwish 1 Clip 0"},
    {"hard swish by parts", "x[2,n]; y = Mul(x, Div(Clip(Add(x, 3), 0, 6), 6)); -> y",
     "HardSwish 1 Clip 0 HardSigmoid 0"},
    {"hard swish by its gate", "x[2,n]; y = Mul(x, HardSigmoid(x, alpha=0.16666667)); -> y",
     "HardSwish 1"},
    {"a layer norm",
     "x[2,n,8]; g{8}; b{8}; " NORM "y = Add(Mul(Div(d, Sqrt(Add(v, 0.01))), g), b); -> y",
     "LayerNormalization 1 ReduceMean 0 Add 0 Mul 0"},
    {"without scale and shift", "x[2,n,8]; " NORM "y = Div(d, Sqrt(Add(v, 0.01))); -> y",
     "LayerNormalization 1 ReduceMean 0"},
    {"squared by itself",
     "x[2,n,8]; g{1,1,8}; m = " MEAN("x") "; d = Sub(x, m); v = " MEAN(
         "Mul(d, d)") "; y = Mul(Mul(d, Reciprocal(Sqrt(Add(v, 0.01)))), g); -> y",
     "LayerNormalization 1 ReduceMean 0 Mul 0"},
    {"by a power", "x[2,n,8]; " NORM "y = Div(d, Pow(Add(v, 0.01), 0.5)); -> y",
     "LayerNormalization 1 Pow 0"},
    {"a global mean", "x[2,3,n,4]; y = ReduceMean(x, [2,-1]); -> y",
     "GlobalAveragePool 1 ReduceMean 0"},
    {"a global mean that goes", "x[2,3,n,4]; y = ReduceMean(x, [3,2], keepdims=0); -> y",
     "GlobalAveragePool 1 ReduceMean 0"},
    {"a global maximum", "x[2,3,n,2,2]; y = ReduceMax(x, [2,3,4]); -> y",
     "GlobalMaxPool 1 ReduceMax 0"},
    {"an rms norm",
     "x[2,n,8]; g{8}; v = ReduceMean(Pow(x, 2), [-1]); y = Mul(g, Mul(x, Div(1, Sqrt(Add(v, "
     "0.01))))); -> y",
     "RMSNormalization 1 Mul 0 Pow 0 Sqrt 0"},
    {"an rms norm by a power",
     "x[2,n,8]; v = ReduceMean(Pow(x, 2), [-1]); y = Mul(x, Pow(Add(v, 0.01), -0.5)); "
     "-> y",
     "RMSNormalization 1 Mul 0 Pow 0"},
    {"instance norm with a scale",
     "x[2,4,n]; g{4,1}; b{1,4,1}; y = Add(Mul(InstanceNormalization(x, [1.0,1.0,"
     "1.0,1.0], [0.0,0.0,0.0,0.0]), g), b); -> y",
     "InstanceNormalization 1 Mul 0 Add 0"},
    {"group norm",
     "x[2,4,n,3]; g{4,1,1}; b{4,1,1}; " GROUPS "y = Add(Mul(Reshape(i, Shape(x)), g), b); -> y",
     "GroupNormalization 1 InstanceNormalization 0 Mul 0 Add 0"},
};

static const struct program_case stay[] = {
    {"a mean over one axis", "x[2,3,n,4]; y = ReduceMean(x, [2]); -> y", "GlobalAveragePool 0"},
    {"a mean over channels", "x[2,3,n,4]; y = ReduceMean(x, [1,2,3]); -> y", "GlobalAveragePool 0"},
    {"a mean over everything", "x[2,3,n,4]; y = ReduceMean(x, [1,2]); -> y", "GlobalAveragePool 0"},
    {"another constant", "x[2,n]; y = Mul(Mul(x, 0.5), Add(Erf(Div(x, 1.4)), 1)); -> y", "Gelu 0"},
    {"another half", "x[2,n]; y = Mul(Mul(x, 0.6), Add(Erf(Div(x, 1.41421354)), 1)); -> y",
     "Gelu 0"},
    {"no half", "x[2,n]; y = Mul(x, Add(Erf(Div(x, 1.41421354)), 1)); -> y", "Gelu 0"},
    {"another value", "x[2,n]; z[2,n]; y = Mul(z, Sigmoid(x)); -> y", "Swish 0 Sigmoid 1"},
    {"a slope that is a tensor", "x[2,n]; w{2,1}; y = Mul(x, Sigmoid(Mul(w, x))); -> y", "Swish 0"},
    {"another gate", "x[2,n]; y = Mul(x, HardSigmoid(x, alpha=0.2)); -> y", "HardSwish 0"},
    {"another shift of the gate",
     "x[2,n]; y = Mul(x, HardSigmoid(x, alpha=0.16666667, beta=0.4)); -> y", "HardSwish 0"},
    {"another clip", "x[2,n]; y = Div(Mul(x, Clip(Add(x, 3), 0, 5)), 6); -> y",
     "HardSwish 0 Clip 1"},
    {"over another axis",
     "x[2,n,8]; m = ReduceMean(x, [1]); d = Sub(x, m); v = ReduceMean(Pow(d, 2), "
     "[1]); y = Div(d, Sqrt(Add(v, 0.01))); -> y",
     "LayerNormalization 0"},
    {"a mean that goes",
     "x[8,8,8]; m = ReduceMean(x, [-1], keepdims=0); d = Sub(x, m); v = "
     "ReduceMean(Pow(d, 2), [-1]); y = Div(d, Sqrt(Add(v, 0.01))); -> y",
     "LayerNormalization 0"},
    {"a cube",
     "x[2,n,8]; m = " MEAN("x") "; d = Sub(x, m); v = " MEAN(
         "Pow(d, 4)") "; y = Div(d, Sqrt(Add(v, 0.01))); -> y",
     "LayerNormalization 0"},
    {"a scale over rows", "x[2,8,8]; g{8,1}; " NORM "y = Mul(Div(d, Sqrt(Add(v, 0.01))), g); -> y",
     "LayerNormalization 1 Mul 1"},
    {"a free width", "x[2,n]; " NORM "y = Div(d, Sqrt(Add(v, 0.01))); -> y",
     "LayerNormalization 0"},
    {"groups across the batch",
     "x[2,4,n,3]; r = Reshape(x, [1,2,-1]); i = InstanceNormalization(r, [1.0,1.0], "
     "[0.0,0.0]); y = Reshape(i, Shape(x)); -> y",
     "GroupNormalization 0 InstanceNormalization 1"},
};

/* Intermediate values that others read, or that are outputs, still come out. */
static const struct program_case shared[] = {
    {"read elsewhere", "x[2,n]; s = Sigmoid(x); y = Mul(x, s); z = Neg(s); -> y z", "Sigmoid 1"},
    {"an output",
     "x[2,n,8]; g{8}; " NORM "u = Div(d, Sqrt(Add(v, 0.01))); y = Mul(u, g); -> y u d v", ""},
};

static void written_out_operators_are_found(void **state)
{
    program_check_all(cases, sizeof cases / sizeof *cases, "chain", 2e-5);
}

static void what_resembles_them_stays(void **state)
{
    program_check_all(stay, sizeof stay / sizeof *stay, "chain", 2e-5);
}

static void shared_values_are_still_made(void **state)
{
    program_check_all(shared, sizeof shared / sizeof *shared, "chain", 2e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_out_operators_are_found),
        cmocka_unit_test(what_resembles_them_stays),
        cmocka_unit_test(shared_values_are_still_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
