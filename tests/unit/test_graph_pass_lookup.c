/* Products of one-hot rows become lookups; others stay. Indices here reach beyond the table. */
#include "programs.h"
#include "unit.h"

#define INDEX "i = Cast(Mul(x, 3), to=7); "

static const struct program_case gone[] = {
    {"broadcast",
     "x[2,n,1]; w{5,3}; " INDEX "y = MatMul(Cast(Equal(i, [0,1,2,3,4]), to=1), w); -> y",
     "MatMul 0 Equal 0 Gather 1"},
    {"the other way round",
     "x[n,1]; w{4,7}; " INDEX "y = MatMul(Cast(Equal([0,1,2,3], i), to=1), w); -> y",
     "MatMul 0 Gather 1"},
    {"expanded, 32 bits",
     "x[2,4,1]; w{3,2}; i = Cast(Mul(x, 3), to=6);"
     " y = MatMul(Cast(Equal(Expand(i, [2,4,3]), Cast([0,1,2], to=6)), to=1), w); -> y",
     "MatMul 0 Expand 0 Gather 1"},
    {"with a bias",
     "x[2,n,1]; w{3,4}; b{4}; " INDEX
     "y = Relu(Add(MatMul(Cast(Equal(i, [0,1,2]), to=1), w), b)); -> y",
     "MatMul 0 moondial.Linear 0 Gather 1"},
};

static const struct program_case stay[] = {
    {"not from 0", "x[n,1]; w{3,2}; " INDEX "y = MatMul(Cast(Equal(i, [1,2,3]), to=1), w); -> y",
     "MatMul 1 Gather 0"},
    {"with a gap", "x[n,1]; w{3,2}; " INDEX "y = MatMul(Cast(Equal(i, [0,1,3]), to=1), w); -> y",
     "MatMul 1 Gather 0"},
    {"infinite weights",
     "x[n,1]; w{3,2}; " INDEX "y = MatMul(Cast(Equal(i, [0,1,2]), to=1), Div(w, 0)); -> y",
     "MatMul 1 Gather 0"},
    {"several hot ones",
     "x[n,3]; w{3,2}; " INDEX "y = MatMul(Cast(Equal(i, [0,1,2]), to=1), w); -> y",
     "MatMul 1 Gather 0"},
    {"expanded along another axis",
     "x[1,1]; w{3,2}; " INDEX "y = MatMul(Cast(Equal(Expand(i, [4,3]), [0,1,2]), to=1), w); -> y",
     "Gather 0"},
    {"read by somebody else",
     "x[n,1]; w{3,2}; " INDEX "e = Cast(Equal(i, [0,1,2]), to=1); y = MatMul(e, w); -> y e",
     "MatMul 1 Gather 0"},
};

static void one_hot_products_become_lookups(void **state)
{
    program_check_all(gone, sizeof gone / sizeof *gone, NULL, 1e-5);
}

static void other_products_stay(void **state)
{
    program_check_all(stay, sizeof stay / sizeof *stay, NULL, 1e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_hot_products_become_lookups),
        cmocka_unit_test(other_products_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
