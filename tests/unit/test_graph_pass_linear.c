/* What follows a product by a constant matrix goes into moondial.Linear. */
#include "programs.h"
#include "unit.h"

#define X      "x[2,n,6]; w{6,8}; b{8}; "
#define LINEAR "moondial.Linear"

static const struct program_case cases[] = {
    {"a bias", X "y = Add(MatMul(x, w), b); -> y", "MatMul 0 Add 0 " LINEAR " 1"},
    {"a bias first", X "y = Add(b, MatMul(x, w)); -> y", "MatMul 0 Add 0 " LINEAR " 1"},
    {"a bias of more axes", "x[2,n,6]; w{6,8}; b{1,1,8}; y = Add(MatMul(x, w), b); -> y",
     "MatMul 0 Add 0 " LINEAR " 1"},
    {"a vector", "x[6]; w{6,8}; b{8}; y = Add(MatMul(x, w), b); -> y", LINEAR " 1"},
    {"a factor for each column", X "s{8}; z[2,n,8]; y = Add(z, Mul(Add(MatMul(x, w), b), s)); -> y",
     "Mul 0 Add 0 " LINEAR " 1"},
    {"factors of rows",
     "x[n,6]; w{8,6}; b{8}; s{1,8}; y = Relu(Mul(s, Gemm(x, w, b, transB=1))); -> y",
     "Mul 0 Relu 0 " LINEAR " 1"},
    {"factors without a bias", X "s{8}; y = Mul(MatMul(x, w), s); -> y", "Mul 0 " LINEAR " 1"},
    {"a residual", X "z[2,n,8]; y = Add(z, Add(MatMul(x, w), b)); -> y", "Add 0 " LINEAR " 1"},
    {"a residual without a bias", X "z[2,n,8]; y = Add(MatMul(x, w), z); -> y", LINEAR " 1 Add 0"},
    {"two products", X "v{6,8}; y = Add(MatMul(x, w), MatMul(x, v)); -> y",
     LINEAR " 1 MatMul 1 Add 0"},
    {"an activation", X "y = Relu(Add(MatMul(x, w), b)); -> y", "Relu 0 " LINEAR " 1"},
    {"an activation alone", X "y = Gelu(MatMul(x, w)); -> y", "Gelu 0 " LINEAR " 1"},
    {"all of it", X "z[2,n,8]; y = Swish(Add(Add(MatMul(x, w), b), z)); -> y",
     "Add 0 Swish 0 " LINEAR " 1"},
    {"gemm", "x[n,6]; w{8,6}; b{8}; y = Tanh(Gemm(x, w, b, transB=1)); -> y",
     "Tanh 0 Gemm 0 " LINEAR " 1"},
    {"gemm the other way", "x[n,6]; w{6,8}; b{1,8}; y = LeakyRelu(Gemm(x, w, b)); -> y",
     "LeakyRelu 0 Gemm 0 " LINEAR " 1"},
    {"a row of them", X "v{8,4}; y = MatMul(Relu(Add(MatMul(x, w), b)), v); -> y",
     "Relu 0 Add 0 " LINEAR " 1 MatMul 1"},
};

static const struct program_case stay[] = {
    {"a product alone", X "y = MatMul(x, w); -> y", "MatMul 1"},
    {"factors of rows of the result", "x[2,3,6]; w{6,8}; s{3,1}; y = Mul(MatMul(x, w), s); -> y",
     "MatMul 1 Mul 1"},
    {"factors behind an activation", X "s{8}; y = Mul(Relu(Add(MatMul(x, w), b)), s); -> y",
     "Mul 1 " LINEAR " 1"},
    {"read elsewhere", X "m = MatMul(x, w); y = Add(m, b); z = Neg(m); -> y z", "MatMul 1 Add 1"},
    {"a bias that is no row", "x[2,3,6]; w{6,8}; b{3,1}; y = Add(MatMul(x, w), b); -> y",
     "MatMul 1 Add 1"},
    {"a number", X "y = Add(MatMul(x, w), 2); -> y", "MatMul 1 Add 1"},
    {"after an activation", X "z[2,n,8]; y = Add(Relu(Add(MatMul(x, w), b)), z); -> y",
     "Add 1 " LINEAR " 1"},
    {"computed weights", "x[2,n,6]; w[6,8]; b{8}; y = Add(MatMul(x, w), b); -> y",
     "MatMul 1 Add 1"},
    {"many matrices", "x[2,n,6]; w{2,6,8}; b{8}; y = Add(MatMul(x, w), b); -> y", "MatMul 1 Add 1"},
    {"a scaled gemm", "x[n,6]; w{6,8}; b{8}; y = Relu(Gemm(x, w, b, alpha=0.5)); -> y",
     "Gemm 1 Relu 1"},
    {"a turned gemm", "x[6,n]; w{6,8}; y = Relu(Gemm(x, w, transA=1)); -> y", "Gemm 1 Relu 1"},
    {"a residual that broadcasts", X "z[1,1,8]; y = Add(MatMul(x, w), z); -> y", "MatMul 1 Add 1"},
};

static void what_follows_goes_in(void **state)
{
    program_check_all(cases, sizeof cases / sizeof *cases, NULL, 1e-5);
}

static void what_others_need_stays(void **state)
{
    program_check_all(stay, sizeof stay / sizeof *stay, NULL, 1e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_follows_goes_in),
        cmocka_unit_test(what_others_need_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
