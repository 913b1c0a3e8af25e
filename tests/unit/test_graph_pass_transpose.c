/* Transposes sink, meet and vanish; what they cannot pass keeps them. */
#include "programs.h"
#include "unit.h"

#define LAST  "perm=[0,2,3,1]"
#define FIRST "perm=[0,3,1,2]"

static const struct program_case cases[] = {
    {"two that undo each other",
     "x[2,3,n,4]; y = Transpose(Transpose(x, " LAST "), " FIRST "); -> y", "Transpose 0"},
    {"two that do not", "x[2,3,n,4]; y = Transpose(Transpose(x, " LAST "), " LAST "); -> y",
     "Transpose 1"},
    {"without perm", "x[2,n]; y = Transpose(Abs(Transpose(x))); -> y", "Transpose 0 Abs 1"},
    {"one input", "x[2,n,4,3]; y = Transpose(Relu(Transpose(x, " FIRST ")), " LAST "); -> y",
     "Transpose 0 Relu 1"},
    {"a sum",
     "x[2,n,4,3]; z[2,n,4,3]; y = Transpose(Relu(Add(Transpose(x, " FIRST "), "
     "Transpose(z, " FIRST "))), " LAST "); -> y",
     "Transpose 0"},
    {"a residual",
     "x[2,n,4,3]; a = Transpose(x, " FIRST "); b = Relu(a); c = Add(b, a); "
     "y = Transpose(c, " LAST "); -> y",
     "Transpose 0"},
    {"constants",
     "x[2,n,4,3]; w{3,1,1}; v{1,3,1,1}; y = Transpose(Mul(Add(Transpose(x, " FIRST "), "
     "w), Div(v, 2)), " LAST "); -> y",
     "Transpose 0"},
    {"a whole constant",
     "x[2,5,4,3]; w{3,5,4}; y = Transpose(Add(Transpose(x, " FIRST "), w), " LAST "); -> y",
     "Transpose 0"},
    {"a gate",
     "x[2,n,4,3]; a = Transpose(x, " FIRST "); g = Sigmoid(ReduceSum(a, [2,3])); "
     "y = Transpose(Mul(a, g), " LAST "); -> y",
     "Transpose 0"},
    {"clipping", "x[2,n,4,3]; y = Transpose(Clip(Transpose(x, " FIRST "), 0, 0.5), " LAST "); -> y",
     "Transpose 0 Clip 1"},
    {"a concat",
     "x[2,n,4,3]; z[2,n,4,5]; y = Transpose(Concat(Transpose(x, " FIRST "), Transpose(z, " FIRST
     "), axis=1), " LAST "); -> y",
     "Transpose 0 Concat 1"},
    {"a concat with a constant",
     "x[2,5,4,3]; w{2,1,5,4}; y = Transpose(Concat(w, Transpose(x, " FIRST "), axis=-3), " LAST
     "); -> y",
     "Transpose 0 Concat 1"},
    {"a split",
     "x[2,n,4,6]; a b = Split(Transpose(x, " FIRST "), axis=1); y = Transpose(Mul(a, b), " LAST
     "); -> y",
     "Transpose 0 Split 1"},
    {"a slice",
     "x[2,n,4,6]; y = Transpose(Slice(Transpose(x, " FIRST "), [1,0], [4,2], [1,-1]), " LAST
     "); -> y",
     "Transpose 0 Slice 1"},
    {"a slice of the first axes",
     "x[2,n,4,6]; y = Transpose(Slice(Transpose(x, " FIRST "), [0,2], [1,5]), " LAST "); -> y",
     "Transpose 0 Slice 1"},
    {"padding",
     "x[2,n,4,3]; y = Transpose(Pad(Transpose(x, " FIRST "), [0,0,1,2,0,1,0,3]), " LAST "); -> y",
     "Transpose 0 Pad 1"},
    {"padding some axes",
     "x[2,n,4,3]; y = Transpose(Pad(Transpose(x, " FIRST "), [1,2], 0.5, [-1]), " LAST "); -> y",
     "Transpose 0 Pad 1"},
    {"a softmax",
     "x[2,n,4,3]; y = Transpose(Softmax(Transpose(x, " FIRST "), axis=1), " LAST "); -> y",
     "Transpose 0 Softmax 1"},
    {"a reduction", "x[2,n,4,3]; y = ReduceMin(Transpose(x, " FIRST "), [2,3], keepdims=0); -> y",
     "Transpose 0 ReduceMin 1"},
    {"a reduction that leaves a turn",
     "x[2,n,4,3]; y = ReduceSum(Transpose(x, " FIRST "), [3], keepdims=0); -> y",
     "Transpose 1 ReduceSum 1"},
    {"a long way",
     "x[2,n,4,3]; a = Relu(Transpose(x, " FIRST ")); b = Sigmoid(Mul(a, 3)); "
     "y = Add(Transpose(b, " LAST "), x); -> y",
     "Transpose 0"},
    {"between convolutions",
     "x[1,8,n,6]; w{8,8,3,3}; v{8,8,1,1}; c = Conv(x, w, pads=[1,1,1,1]); e = "
     "Conv(ReduceMean(c, [2,3]), v); p = Pad(Mul(c, Sigmoid(e)), [0,0,1,1,0,0,"
     "1,1]); y = Conv(p, w); -> y",
     "Transpose 2 moondial.ConvLast 3"},
    {"two readers", "x[2,n,4,3]; a = Transpose(x, " FIRST "); y = Relu(a); -> y a", "Transpose 2"},
    {"more than one use", "x[2,n,4,3]; a = Transpose(x, " FIRST "); y = Mul(a, a); -> y",
     "Transpose 1 Mul 1"},
};

static const struct program_case stay[] = {
    {"a stranger", "x[2,n,4,3]; z[2,3,n,4]; y = Add(Transpose(x, " FIRST "), z); -> y",
     "Transpose 1"},
    {"another turn",
     "x[2,3,3,3]; z[2,3,3,3]; y = Add(Transpose(x, " FIRST "), Transpose(z, " LAST ")); -> y",
     "Transpose 2"},
    {"broadcasting grows", "x[2,3]; w{5,3,2}; y = Add(Transpose(x), w); -> y", "Transpose 1"},
    {"a product", "x[2,n,4,3]; w{4,5}; y = MatMul(Transpose(x, " FIRST "), w); -> y",
     "Transpose 1"},
    {"a reshape", "x[2,n,4,3]; y = Reshape(Transpose(x, " FIRST "), [2, -1]); -> y", "Transpose 1"},
    {"all axes", "x[2,n,4,3]; y = ReduceSum(Transpose(x, " FIRST "), keepdims=0); -> y",
     "ReduceSum 1"},
};

static void transposes_vanish(void **state)
{
    program_check_all(cases, sizeof cases / sizeof *cases, NULL, 1e-5);
}

static void transposes_stay(void **state)
{
    program_check_all(stay, sizeof stay / sizeof *stay, NULL, 1e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transposes_vanish),
        cmocka_unit_test(transposes_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
