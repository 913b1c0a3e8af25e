/* Operators that change nothing go; those that look like it stay. */
#include "programs.h"
#include "unit.h"

static const struct program_case gone[] = {
    {"x", "x[2,n]; y = Relu(Identity(Identity(x))); -> y", "Identity 0 Relu 1"},
    {"dropout", "x[2,n]; y = Relu(Dropout(Abs(x))); -> y", "Dropout 0"},
    {"cast", "x[2,n]; y = Relu(Cast(x, to=1)); -> y", "Cast 0"},
    {"reshape", "x[2,n]; y = Relu(Reshape(x, [0, -1])); -> y", "Reshape 0"},
    {"one", "x[2,n]; y = Neg(Mul(Div(x, 1), [1.0])); -> y", "Mul 0 Div 0"},
    {"zero", "x[2,n]; y = Neg(Sub(Add(0, x), 0)); -> y", "Add 0 Sub 0"},
    {"power", "x[2,n]; y = Neg(Pow(Abs(x), 1)); -> y", "Pow 0"},
    {"pad", "x[2,n]; y = Neg(Pad(x, [0,0,0,0])); -> y", "Pad 0"},
    {"slice", "x[2,n]; y = Neg(Slice(x, [0], [2147483647], [1])); -> y", "Slice 0"},
    {"squeeze", "x[2,3]; y = Neg(Squeeze(x)); -> y", "Squeeze 0"},
    {"fixed", "x[2,3]; y = Neg(Slice(Expand(x, [2,3]), [0], [2], [0])); -> y", "Slice 0 Expand 0"},
    {"concat", "x[2,n]; y = Neg(Concat(x, axis=1)); -> y", "Concat 0"},
    {"transpose", "x[2,n]; y = Neg(Transpose(x, perm=[0,1])); -> y", "Transpose 0"},
    {"from shapes", "x[2,3]; y = Mul(x, Cast(Slice(Shape(x), [1], [2]), to=1)); -> y", "Shape 0"},
    {"an output is an input", "x[2,n]; y = Identity(x); -> y x y", "Identity 0"},
    {"of a constant", "x[2]; w{2}; y = Identity(w); z = Identity(Add(x, y)); -> z y", "Identity 0"},
};

static const struct program_case stay[] = {
    {"a dropout whose mask is read", "x[2,n]; y m = Dropout(x); -> y m", "Dropout 1"},
    {"a real cast", "x[2,n]; y = Cast(x, to=7); -> y", "Cast 1"},
    {"another shape", "x[2,n]; y = Neg(Reshape(x, [-1, 2])); -> y", "Reshape 1"},
    {"a one that broadcasts", "x[2,n]; y = Mul(x, Reshape([1.0], [1,1,1])); -> y", "Mul 1"},
    {"ones that broadcast", "x[2,1]; y = Mul(x, [1.0, 1.0, 1.0]); -> y", "Mul 1"},
    {"one over x", "x[2,n]; y = Div(1, x); -> y", "Div 1"},
    {"zero less x", "x[2,n]; y = Sub(0, x); -> y", "Sub 1"},
    {"one to the x", "x[2,n]; y = Pow(1, x); -> y", "Pow 1"},
    {"backwards", "x[2,3]; y = Slice(x, [-1], [-9], [1], [-1]); -> y", "Slice 1"},
    {"whole only by chance", "x[2,n]; y = Slice(x, [0], [3], [1]); -> y", "Slice 1"},
    {"cutting", "x[2,n]; y = Slice(x, [1], [2147483647], [1]); -> y", "Slice 1"},
    {"moved on by a pad", "x[2,3]; y = Pad(x, [0,1,0,-1]); -> y", "Pad 1"},
    {"a squeeze of what may be 1", "x[n,3]; y = Neg(Squeeze(x)); -> y", "Squeeze 1"},
    {"of two", "x[2,n]; y = Concat(x, x, axis=1); -> y", "Concat 1"},
};

static void what_changes_nothing_goes(void **state)
{
    program_check_all(gone, sizeof gone / sizeof *gone, NULL, 0);
}

static void what_changes_something_stays(void **state)
{
    program_check_all(stay, sizeof stay / sizeof *stay, NULL, 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_changes_nothing_goes),
        cmocka_unit_test(what_changes_something_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
