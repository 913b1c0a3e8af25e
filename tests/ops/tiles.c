/*
 * Products of float32 on every instruction set against sums in double precision: what AMX's tiles
 * make of three parts of a number (tiles.h) is as exact as fused multiplications are.
 *
 * An error counts in units of 2^-24 of the sum of the terms' magnitudes, which is what a sum in
 * float32 may lose by rounding each of its terms.
 */
#include <math.h>
#include <string.h>

#include "unit.h"

#include "kernels/cpu/cpu.h"
#include "op_case.h"

/* Whole and ragged blocks of rows, chunks of inputs and pairs of vectors. */
enum { ROWS = 75, INPUTS = 117, COLUMNS = 83 };
#define UNITS_MAX 12.0

static const struct op_case product = {
    .name = "product",
    .op = MD_OP_LINEAR,
    .in = {F32(ROWS, INPUTS), WEIGHT(COLUMNS, INPUTS), WEIGHT(COLUMNS)},
    .out = {F32(ROWS, COLUMNS)},
};

/* Those that have a kernel: the reference runs a Linear's body. */
static int linear_backends(const struct md_backend **backends)
{
    int count = op_backends(backends), kept = 0;
    for (int b = 0; b < count; b++)
        if (backends[b]->kernels[MD_OP_LINEAR])
            backends[kept++] = backends[b];
    return kept;
}

static uint64_t state = 88172645463325252u;

static double uniform(double low, double high)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return low + (high - low) * (double)(state >> 11) * 0x1p-53;
}

static void fill_even(float *x, float *w)
{
    for (int i = 0; i < ROWS * INPUTS; i++)
        x[i] = (float)uniform(-2, 2);
    for (int i = 0; i < COLUMNS * INPUTS; i++)
        w[i] = (float)uniform(-2, 2);
}

static void fill_wide(float *x, float *w)
{
    for (int i = 0; i < ROWS * INPUTS; i++)
        x[i] = (float)(uniform(-1, 1) * exp2(uniform(-30, 30)));
    for (int i = 0; i < COLUMNS * INPUTS; i++)
        w[i] = (float)(uniform(-1, 1) * exp2(uniform(-30, 30)));
}

/* Neighbouring terms that are each other's negative, nearly. */
static void fill_cancelling(float *x, float *w)
{
    fill_even(x, w);
    for (int i = 0; i + 1 < ROWS * INPUTS; i += 2)
        x[i + 1] = x[i] * (float)uniform(1 - 1e-6, 1 + 1e-6);
    for (int i = 0; i + 1 < COLUMNS * INPUTS; i += 2)
        w[i + 1] = -w[i];
}

static void fill_zeros(float *x, float *w)
{
    fill_even(x, w);
    for (int i = 0; i < ROWS * INPUTS; i++)
        x[i] = i % 3 ? (i % 2 ? 0.0f : -0.0f) : x[i];
    for (int i = 0; i < COLUMNS * INPUTS; i++)
        w[i] = i % 5 ? w[i] : 0;
}

/* All 24 bits of a significand matter, and next to large numbers. */
static void fill_close_to_powers(float *x, float *w)
{
    for (int i = 0; i < ROWS * INPUTS; i++)
        x[i] = nextafterf((float)exp2((int)uniform(-9, 9)), i % 2 ? INFINITY : -INFINITY);
    for (int i = 0; i < COLUMNS * INPUTS; i++)
        w[i] = nextafterf((float)exp2((int)uniform(-9, 9)), i % 3 ? INFINITY : 0);
}

static double worst_error(const struct op_run *run)
{
    const float *x = run->in[0].data, *w = run->in[1].data, *bias = run->in[2].data;
    const float *y = run->out[0].data;
    double worst = 0;
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLUMNS; c++) {
            double sum = (double)bias[c], size = fabs(sum);
            for (int k = 0; k < INPUTS; k++) {
                double term = (double)x[r * INPUTS + k] * (double)w[c * INPUTS + k];
                sum += term;
                size += fabs(term);
            }
            double error = fabs((double)y[r * COLUMNS + c] - sum) / (size * 0x1p-24 + 1e-36);
            worst = error <= worst ? worst : error;
        }
    return worst;
}

static double error_of(const struct md_backend *backend, void (*fill)(float *x, float *w))
{
    struct md_error err;
    struct op_run run;
    op_run_init(&run, &product);
    state = 88172645463325252u;
    fill(run.in[0].data, run.in[1].data);
    op_run_refresh(&run);
    assert_int_equal(op_run_kernel(&run, backend->kernels[MD_OP_LINEAR], NULL, &err), OP_DONE);
    double worst = worst_error(&run);
    op_run_fini(&run);
    return worst;
}

static void test_errors_are_those_of_sums(void **unused)
{
    (void)unused;
    static const struct {
        const char *name;
        void (*fill)(float *x, float *w);
    } kinds[] = {{"even", fill_even},
                 {"wide", fill_wide},
                 {"cancelling", fill_cancelling},
                 {"zeros", fill_zeros},
                 {"close to powers of two", fill_close_to_powers}};
    const struct md_backend *backends[OP_BACKENDS_MAX];
    int count = linear_backends(backends);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int b = 0; b < count; b++) {
            double worst = error_of(backends[b], kinds[k].fill);
            print_message("%-22s %-13s %.2f units\n", kinds[k].name, backends[b]->name, worst);
            assert_true(worst <= UNITS_MAX);
        }
}

/* A NaN reaches its own row and no other; neither does an infinity, of which a NaN may become. */
static void test_what_is_not_finite_keeps_to_its_row(void **unused)
{
    (void)unused;
    const struct md_backend *backends[OP_BACKENDS_MAX];
    int count = linear_backends(backends);
    for (int b = 0; b < count; b++) {
        struct md_error err;
        struct op_run run;
        op_run_init(&run, &product);
        float *x = run.in[0].data;
        const float *y = run.out[0].data;
        fill_even(x, run.in[1].data);
        x[5 * INPUTS + 7] = NAN;
        x[40 * INPUTS + 116] = INFINITY;
        op_run_refresh(&run);
        assert_int_equal(op_run_kernel(&run, backends[b]->kernels[MD_OP_LINEAR], NULL, &err),
                         OP_DONE);
        for (int i = 0; i < ROWS * COLUMNS; i++)
            if (i / COLUMNS == 5)
                assert_true(isnan(y[i]));
            else
                assert_int_equal(isfinite(y[i]) != 0, i / COLUMNS != 40);
        op_run_fini(&run);
    }
}

/* Weights that cannot be cut into parts: infinite, or larger than the largest bfloat16. */
static void test_weights_that_have_no_parts(void **unused)
{
    (void)unused;
    const struct md_backend *backends[OP_BACKENDS_MAX];
    int count = linear_backends(backends);
    for (int b = 0; b < count; b++) {
        struct md_error err;
        struct op_run run;
        op_run_init(&run, &product);
        float *x = run.in[0].data, *w = run.in[1].data;
        for (int i = 0; i < ROWS * INPUTS; i++)
            x[i] = 1;
        memset(w, 0, COLUMNS * INPUTS * sizeof *w);
        w[3 * INPUTS + 9] = INFINITY;
        w[4 * INPUTS + 9] = 0x1.fffffep127f;
        op_run_refresh(&run);
        assert_int_equal(op_run_kernel(&run, backends[b]->kernels[MD_OP_LINEAR], NULL, &err),
                         OP_DONE);
        const float *y = run.out[0].data;
        assert_true(isinf(y[3]) && y[4] == 0x1.fffffep127f && isfinite(y[5]));
        op_run_fini(&run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_are_those_of_sums),
        cmocka_unit_test(test_what_is_not_finite_keeps_to_its_row),
        cmocka_unit_test(test_weights_that_have_no_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
