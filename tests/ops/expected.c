/*
 * The reference kernels, and the fast ones, against committed results of other libraries. Cases and
 * results are in expected*.inc, which make_expected*.py write.
 */
#include <math.h>
#include <string.h>

#include "unit.h"

#include "kernels/cpu/common.h"
#include "kernels/cpu/cpu.h"
#include "device_case.h"

struct expected {
    struct op_case op_case;
    const double *outputs[OP_OUTPUTS_MAX];
};

static const struct expected expected_cases[] = {
#include "expected.inc"
#include "expected_numeric.inc"
};

/* A run that was never run, with the committed outputs in place of computed ones. */
static void fill_expected(struct op_run *run, const struct expected *expected)
{
    op_run_init(run, &expected->op_case);
    for (int o = 0; o < run->out_count; o++)
        for (size_t i = 0; i < md__count(&run->out[o]); i++)
            md__set_float(&run->out[o], i, expected->outputs[o][i]);
}

static bool agrees(const struct expected *expected, const struct md_backend *backend,
                   struct md_pool *pool)
{
    struct md_error err = {.text = "refused"};
    struct op_run run, wanted;
    op_run_init(&run, &expected->op_case);
    fill_expected(&wanted, expected);
    const struct md_kernel *kernel = backend->kernels[expected->op_case.op];
    enum op_result result = op_run_kernel(&run, kernel, pool, &err);
    /* A fast backend leaves what it cannot do to the reference, which has no such choice. */
    bool refused = result == OP_REFUSED && backend != md_cpu_reference();
    bool agree =
        refused || (result == OP_DONE && op_outputs_agree(&run, &wanted, backend->name));
    if (result != OP_DONE && !refused)
        print_error("%s on %s: %s\n", expected->op_case.name, backend->name, err.text);
    op_run_fini(&run);
    op_run_fini(&wanted);
    return agree;
}

static void test_kernels_give_what_libraries_give(void **state)
{
    const struct md_backend *backends[OP_BACKENDS_MAX];
    int count = op_backends(backends), wrong = 0;
    struct md_error err;
    struct md_pool *pool;
    assert_ok(md_pool_new(3, 0, &pool, &err));
    for (size_t i = 0; i < sizeof expected_cases / sizeof *expected_cases; i++)
        for (int b = 0; b < count; b++)
            wrong += !agrees(&expected_cases[i], backends[b], b % 2 ? NULL : pool);
    for (size_t i = 0; i < sizeof expected_cases / sizeof *expected_cases; i++)
        wrong += op_device_differs(&expected_cases[i].op_case, expected_cases[i].outputs);
    op_device_report(270);
    md_pool_delete(pool);
    assert_int_equal(wrong, 0);
}

static enum op_result run_on(const struct md_backend *backend, const struct op_case *op_case,
                             struct md_error *err)
{
    struct op_run run;
    op_run_init(&run, op_case);
    enum op_result result = op_run_kernel(&run, backend->kernels[op_case->op], NULL, err);
    op_run_fini(&run);
    return result;
}

/* What data can get wrong ends in a status, on every backend. */
static const struct op_case bad[] = {
    {.name = "gather above",
     .op = MD_OP_GATHER,
     .in = {F32(3, 2), GIVEN(MD_I64, 3)},
     .out = {F32(1, 2)}},
    {.name = "gather below",
     .op = MD_OP_GATHER,
     .in = {F32(3, 2), GIVEN(MD_I64, 0, -4)},
     .out = {F32(2, 2)}},
    {.name = "axis outside",
     .op = MD_OP_CUM_SUM,
     .in = {F32(3, 2), SCALAR(MD_I64, 2)},
     .out = {F32(3, 2)}},
    {.name = "label above the classes",
     .op = MD_OP_SOFTMAX_CROSS_ENTROPY_LOSS,
     .in = {F32(2, 3), GIVEN(MD_I64, 0, 3)},
     .out = {F32()}},
    {.name = "length above the steps",
     .op = MD_OP_LSTM,
     .in = {F32(2, 1, 3), WEIGHT(1, 8, 3), WEIGHT(1, 8, 2), ABSENT, GIVEN(MD_I32, 3)},
     .out = {F32(2, 1, 1, 2)}},
    {.name = "length below zero",
     .op = MD_OP_LSTM,
     .in = {F32(2, 1, 3), WEIGHT(1, 8, 3), WEIGHT(1, 8, 2), ABSENT, GIVEN(MD_I32, -1)},
     .out = {F32(2, 1, 1, 2)}},
};

static void test_bad_data_fails(void **state)
{
    const struct md_backend *backends[OP_BACKENDS_MAX];
    int count = op_backends(backends);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (int b = 0; b < count; b++) {
            struct md_error err = {0};
            assert_int_equal(run_on(backends[b], &bad[i], &err), OP_FAILED);
            assert_int_equal(err.code, MD_ERR_UNPROCESSABLE);
        }
}

/* What we do not implement is refused while planning, not computed wrongly. */
static const struct op_case variants[] = {
    {.name = "matmul of bools",
     .op = MD_OP_MATMUL,
     .in = {TENSOR(MD_BOOL, 2, 2), TENSOR(MD_BOOL, 2, 2)},
     .out = {TENSOR(MD_BOOL, 2, 2)}},
    {.name = "gemm of integers by a half",
     .op = MD_OP_GEMM,
     .in = {TENSOR(MD_I32, 2, 2), TENSOR(MD_I32, 2, 2)},
     .out = {TENSOR(MD_I32, 2, 2)},
     .attrs = {FLOAT("alpha", 0.5)}},
    {.name = "sine of an integer",
     .op = MD_OP_SIN,
     .in = {TENSOR(MD_I32, 2)},
     .out = {TENSOR(MD_I32, 2)}},
    {.name = "sum of bools",
     .op = MD_OP_REDUCE_SUM,
     .in = {TENSOR(MD_BOOL, 2)},
     .out = {TENSOR(MD_BOOL, 1)}},
    {.name = "quantised division in integers",
     .op = MD_OP_QUANTIZE_LINEAR,
     .in = {F32(2), F32()},
     .out = {TENSOR(MD_U8, 2)},
     .attrs = {INT("precision", MD_I32)}},
};

static void test_unknown_variants_are_refused(void **state)
{
    const struct md_backend *backends[OP_BACKENDS_MAX];
    int count = op_backends(backends);
    struct md_error err;
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++)
        for (int b = 0; b < count; b++)
            assert_int_equal(run_on(backends[b], &variants[i], &err), OP_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels_give_what_libraries_give),
        cmocka_unit_test(test_bad_data_fails),
        cmocka_unit_test(test_unknown_variants_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
