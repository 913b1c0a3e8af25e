/* What is only read in part is only computed in part; what others read, or sizes decide, stays. */
#include "programs.h"
#include "unit.h"

#define CAUSAL "pads=[4,0], dilations=[2]"

/* In these a Slice is left of an input at most: what is asked for is Slices of what is computed. */
static const struct program_case moved[] = {
    {"the last step of a convolution",
     "x[2,3,9]; w{4,3,3}; y = Slice(Conv(x, w, pads=[1,1]), [-1], [99], [2]); -> y",
     "Slice 1 Conv 0"},
    {"one step of dilated ones",
     "x[2,3,11]; w{4,3,3}; v{4,4,3}; b{4};"
     " h = Relu(Conv(x, w, b, " CAUSAL ")); y = Slice(Conv(h, v, " CAUSAL "), [7], [8], [2]); -> y",
     "Slice 1 Conv 0 Relu 0"},
    {"every other step, with strides",
     "x[1,3,31]; w{4,3,3}; y = Slice(Conv(x, w, strides=[2], pads=[2,1]), [1], [12], [2], [3]);"
     " -> y",
     "Conv 0"},
    {"most steps", "x[1,2,9]; w{4,2,3}; y = Slice(Conv(x, w, pads=[2,2]), [0], [-2], [2]); -> y",
     "Slice 0"},
    {"rows of a picture",
     "x[1,3,8,7]; w{4,3,3,3}; y = Slice(Sigmoid(Conv(x, w, pads=[1,1,1,1])), [2], [5], [2]); -> y",
     "Sigmoid 0"},
    {"a residual",
     "x[1,4,10]; z[1,4,10]; w{4,4,3};"
     " y = Slice(Relu(Add(Conv(x, w, pads=[1,1]), z)), [9], [10], [-1]); -> y",
     "Slice 2"},
    {"the first token",
     "x[2,7,6]; w{6,5}; b{5}; s{5}; c{5};"
     " y = Gather(LayerNormalization(Add(MatMul(x, w), b), s, c), Squeeze([0]), axis=1); -> y",
     "Gather 0 Slice 1 Squeeze 1"},
    {"the last one but one, as a list",
     "x[2,7,6]; w{6,5}; y = Gather(MatMul(x, w), [-2], axis=1); -> y",
     "Gather 0 Slice 1 Squeeze 0"},
    {"a block whose input two read",
     "x[2,7,6]; u{6,6}; w{6,9}; v{9,6};"
     " h = MatMul(x, u); t = MatMul(Relu(MatMul(h, w)), v); y = Slice(Add(h, t), [3], [4], [1]);"
     " -> y",
     "Slice 1"},
    {"operands that broadcast",
     "x[2,7,6]; w{6,5}; b{7,1}; c{1,1,1};"
     " y = Slice(Add(Mul(MatMul(x, w), b), c), [1], [3], [1]); -> y",
     "Slice 2"},
};

static const struct program_case stay[] = {
    {"of channels", "x[1,3,9]; w{4,3,3}; y = Slice(Conv(x, w), [1], [2], [1]); -> y", "Slice 1"},
    {"read as a whole, too",
     "x[1,3,9]; w{4,3,3}; h = Conv(x, w); y = Slice(h, [1], [2], [2]);"
     " -> y h",
     "Slice 1"},
    {"of a free size", "x[1,3,n]; w{4,3,1}; y = Slice(Conv(x, w), [-1], [99], [2]); -> y",
     "Slice 1"},
    {"of the axis that is summed", "x[2,6]; w{6,5}; y = Slice(MatMul(x, w), [1], [2], [1]); -> y",
     "Slice 1"},
    {"of what a norm mixes",
     "x[2,6]; s{6}; w{5,6}; y = Slice(LayerNormalization(MatMul(x,"
     " Transpose(w, perm=[1,0])), [1.0]), [1], [2], [1]); -> y",
     "Slice 1"},
    {"backwards", "x[1,3,9]; w{4,3,3}; y = Slice(Conv(x, w), [-1], [-9], [2], [-1]); -> y",
     "Slice 1"},
    {"nothing but elementwise", "x[2,9]; y = Slice(Relu(x), [1], [3], [1]); -> y", "Slice 1"},
    {"by a list", "x[1,3,9]; w{4,3,3}; y = Gather(Conv(x, w), [1,0], axis=2); -> y", "Gather 1"},
};

static void parts_move_up(void **state)
{
    program_check_all(moved, sizeof moved / sizeof *moved, NULL, 1e-5);
}

static void other_slices_stay(void **state)
{
    program_check_all(stay, sizeof stay / sizeof *stay, NULL, 1e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_move_up),
        cmocka_unit_test(other_slices_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
