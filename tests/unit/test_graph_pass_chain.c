/* Elementwise operators that follow each other become chains. */
#include <string.h>

#include "unit.h"

#include "graph/chain.h"
#include "programs.h"

#define CHAIN "moondial.Chain"

static const struct program_case cases[] = {
    {"two operators", "x[2,n]; y = Exp(Neg(x)); -> y", "Exp 0 Neg 0 " CHAIN " 1"},
    {"numbers and rows", "x[2,n,4]; s{4}; t{1,4}; y = Add(Mul(x, s), Div(t, 2)); -> y",
     "Add 0 Mul 0 " CHAIN " 1"},
    {"both operands", "x[2,n]; z[2,n]; y = Mul(Tanh(x), Sigmoid(z)); -> y",
     "Mul 0 Tanh 0 Sigmoid 0 " CHAIN " 1"},
    {"an operand read twice within", "x[2,n]; y = Mul(x, Clip(Neg(x), 0, 0.5)); -> y",
     "Mul 0 Clip 0 Neg 0 " CHAIN " 1"},
    {"what is smaller stays outside", "x[2,n,4]; z[2,1,4]; y = Sub(Abs(x), Exp(Neg(z))); -> y",
     "Sub 0 Abs 0 Exp 0 " CHAIN " 2"},
    {"the activations' numbers",
     "x[2,n]; y = LeakyRelu(Elu(HardSigmoid(x, alpha=0.3, beta=0.1), alpha=2.0), alpha=0.5); -> y",
     "LeakyRelu 0 Elu 0 HardSigmoid 0 " CHAIN " 1"},
    {"a longer one is cut",
     "x[2,n]; a = Neg(Abs(Neg(Abs(Neg(Abs(Neg(Abs(Neg(x))))))))); "
     "y = Neg(Abs(Neg(Abs(Neg(Abs(Neg(Abs(Neg(Abs(a)))))))))); -> y",
     CHAIN " 2"},
};

static const struct program_case stay[] = {
    {"one alone", "x[2,n]; y = Exp(x); -> y", "Exp 1 " CHAIN " 0"},
    {"an output between them", "x[2,n]; z = Neg(x); y = Exp(z); -> y z", "Exp 1 " CHAIN " 0"},
    {"read elsewhere", "x[2,n]; z = Neg(x); y = Exp(z); w = ReduceSum(z); -> y w",
     "Exp 1 Neg 1 " CHAIN " 0"},
    {"a result that grows", "x[1,n]; z[3,n]; y = Add(Neg(x), z); -> y", "Add 1 Neg 1 " CHAIN " 0"},
    {"limits that a run brings",
     "x[2,n]; l[1]; m = ReduceSum(l, keepdims=0); "
     "y = Clip(Neg(x), m, 2); -> y",
     "Clip 1 Neg 1 " CHAIN " 0"},
};

static void test_chains_are_made(void **state)
{
    program_check_all(cases, sizeof cases / sizeof *cases, NULL, 1e-6);
}

static void test_others_stay(void **state)
{
    program_check_all(stay, sizeof stay / sizeof *stay, NULL, 1e-6);
}

static void test_it_can_be_off(void **state)
{
    program_check("x[2,n]; y = Exp(Neg(x)); -> y", "Exp 1 Neg 1 " CHAIN " 0", "chain", 1e-6);
    program_check("x[2,n]; y = Exp(Neg(x)); -> y", "Exp 1 Neg 1 " CHAIN " 0", "Chain", 1e-6);
}

/* A node with these lists is refused with this text; NULL: taken. */
static void check_read(const char *const *ops, int count, const int64_t *reads, int in_count,
                       const char *refusal)
{
    static const double numbers[2 * MD_CHAIN_OPS_MAX + 2];
    const struct md_attr attrs[] = {
        {.name = "ops", .type = MD_ATTR_STRINGS, .strings = ops, .count = count},
        {.name = "reads", .type = MD_ATTR_INTS, .ints = reads, .count = 2 * count},
        {.name = "numbers", .type = MD_ATTR_FLOATS, .floats = numbers, .count = 2 * count},
    };
    const struct md_node node = {
        .op = MD_OP_CHAIN, .in_count = in_count, .attrs = attrs, .attr_count = 3};
    struct md_chain chain;
    struct md_error err = {0};
    enum md_status status = md_chain_read(&node, &chain, &err);
    if (refusal == NULL)
        assert_int_equal(status, MD_OK);
    else if (!status || !strstr(err.text, refusal))
        fail_msg("wanted \"%s\", got %d \"%s\"", refusal, status, err.text);
}

static void test_bad_lists_are_refused(void **state)
{
    static const char *const ops[MD_CHAIN_OPS_MAX + 1] = {"Add", "Neg"};
    static const char *const other[] = {"Add", "MatMul"};
    check_read(ops, 2, (const int64_t[]){0, 1, -1, 0}, 2, NULL);
    check_read(ops, 0, (const int64_t[]){0}, 2, "it takes 1 to 16 operators");
    check_read(ops, MD_CHAIN_OPS_MAX + 1, (const int64_t[]){0}, 2, "it takes 1 to 16 operators");
    check_read(ops, 2, (const int64_t[]){0, 1, -1, 0}, MD_CHAIN_INPUTS_MAX + 1, "up to 8 inputs");
    check_read(other, 2, (const int64_t[]){0, 1, -1, 0}, 2, "no chain has MatMul");
    check_read(ops, 2, (const int64_t[]){0, 2, -1, 0}, 2, "operator 0 reads what is not there");
    check_read(ops, 2, (const int64_t[]){0, 1, -2, 0}, 2, "operator 1 reads what is not there");
    check_read(ops, 2, (const int64_t[]){0, INT64_MIN, -1, 0}, 2, "reads what is not there");
    check_read(ops, 2, (const int64_t[]){0, 0, -1, 0}, 2, "something in it is not read");
    check_read(ops, 2, (const int64_t[]){0, 1, 1, 0}, 2, "something in it is not read");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chains_are_made),
        cmocka_unit_test(test_others_stay),
        cmocka_unit_test(test_it_can_be_off),
        cmocka_unit_test(test_bad_lists_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
