/*
 * The vectorised exponentials hold the error bounds that kernels/cpu/isa/math.h states: in units in
 * the last place of the exact float result, over a sample of all finite floats of both signs, and
 * at the special values.
 */
#include <math.h>
#include <string.h>

#include "unit.h"

#include "op_case.h"

#define SAMPLES                                                                                    \
    (1 << 19) /* of 2^32 floats: every 8192nd, so every sign, exponent and 1024 mantissas */

struct bound {
    enum md_op op;
    const char *name;
    double (*exact)(double);
    double ulp_max;
    double tiny; /* results below this are only compared absolutely, to this */
};

static double exact_sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double exact_softplus(double x)
{
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

static double exact_elu(double x)
{
    return x > 0 ? x : expm1(x);
}

static double exact_gelu(double x)
{
    return isinf(x) ? (x > 0 ? x : 0) : x * erfc(-x / sqrt(2)) / 2;
}

static const struct bound bounds[] = {
    {MD_OP_EXP, "exp", exp, 1.5, 0},       {MD_OP_SIGMOID, "sigmoid", exact_sigmoid, 2.5, 1.3e-37},
    {MD_OP_TANH, "tanh", tanh, 3, 0},      {MD_OP_SOFTPLUS, "softplus", exact_softplus, 3, 0},
    {MD_OP_ELU, "elu", exact_elu, 1.5, 0}, {MD_OP_ERF, "erf", erf, 2.5, 0},
    {MD_OP_LOG, "log", log, 1.5, 0},       {MD_OP_GELU, "gelu", exact_gelu, 12, 3e-3},
};

/* The distance from `value` to the next larger float. */
static double ulp_of(double value)
{
    float at = fabsf((float)value);
    if (at == INFINITY)
        at = nextafterf(INFINITY, 0);
    return (double)nextafterf(at, INFINITY) - (double)at;
}

static double error_ulp(const struct bound *bound, float x, float y)
{
    double exact = bound->exact((double)x);
    if ((float)exact == y)
        return 0;
    if (fabs(exact) < bound->tiny)
        return fabs((double)y - exact) <= bound->tiny ? 0 : INFINITY;
    return fabs((double)y - exact) / ulp_of(exact);
}

static void check_bound(const struct bound *bound, const struct md_backend *backend)
{
    const struct op_case op_case = {
        .name = bound->name, .op = bound->op, .in = {F32(SAMPLES)}, .out = {F32(SAMPLES)}};
    struct md_error err;
    struct op_run run;
    op_run_init(&run, &op_case);
    float *x = run.in[0].data, *y = run.out[0].data;
    for (uint32_t i = 0; i < SAMPLES; i++) {
        uint32_t bits = i * 8192 + 4711;
        memcpy(&x[i], &bits, sizeof bits);
    }
    op_run_refresh(&run);
    assert_int_equal(op_run_kernel(&run, backend->kernels[bound->op], NULL, &err), OP_DONE);
    double worst = 0;
    float where = 0;
    for (int i = 0; i < SAMPLES; i++) {
        double error = isnan(bound->exact((double)x[i])) ? (isnan(y[i]) ? 0 : INFINITY)
                                                         : error_ulp(bound, x[i], y[i]);
        if (!(error <= worst)) {
            worst = error;
            where = x[i];
        }
    }
    print_message("%-9s %-13s at most %.2f ulp (at %.9g), bound %g\n", bound->name, backend->name,
                  worst, (double)where, bound->ulp_max);
    assert_true(worst <= bound->ulp_max);
    op_run_fini(&run);
}

static void test_errors_are_within_bounds(void **state)
{
    const struct md_backend *backends[OP_BACKENDS_MAX];
    int count = op_backends(backends);
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++)
        for (int b = 1; b < count; b++)
            check_bound(&bounds[i], backends[b]);
}

static void test_limits(void **state)
{
    static const struct {
        enum md_op op;
        double x, y;
    } limits[] = {
        {MD_OP_EXP, INFINITY, INFINITY},
        {MD_OP_EXP, -INFINITY, 0},
        {MD_OP_EXP, 0, 1},
        {MD_OP_EXP, 89, INFINITY},
        {MD_OP_EXP, -104, 0},
        {MD_OP_SIGMOID, INFINITY, 1},
        {MD_OP_SIGMOID, 0, 0.5},
        {MD_OP_TANH, INFINITY, 1},
        {MD_OP_TANH, -INFINITY, -1},
        {MD_OP_TANH, 0, 0},
        {MD_OP_ELU, -INFINITY, -1},
        {MD_OP_ELU, INFINITY, INFINITY},
        {MD_OP_ERF, INFINITY, 1},
        {MD_OP_ERF, -INFINITY, -1},
        {MD_OP_LOG, 0, -INFINITY},
        {MD_OP_LOG, 1, 0},
        {MD_OP_LOG, INFINITY, INFINITY},
        {MD_OP_GELU, INFINITY, INFINITY},
        {MD_OP_SWISH, INFINITY, INFINITY},
        {MD_OP_MISH, INFINITY, INFINITY},
        {MD_OP_HARD_SIGMOID, -INFINITY, 0},
        {MD_OP_HARD_SIGMOID, INFINITY, 1},
        {MD_OP_SOFTPLUS, INFINITY, INFINITY},
        {MD_OP_SOFTPLUS, -INFINITY, 0},
    };
    const struct md_backend *backends[OP_BACKENDS_MAX];
    int count = op_backends(backends);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        for (int b = 0; b < count; b++) {
            const struct op_case op_case = {.name = "limit",
                                            .op = limits[i].op,
                                            .in = {SCALAR(MD_F32, limits[i].x)},
                                            .out = {F32()}};
            struct md_error err;
            struct op_run run;
            op_run_init(&run, &op_case);
            assert_int_equal(op_run_kernel(&run, backends[b]->kernels[limits[i].op], NULL, &err),
                             OP_DONE);
            float y = *(float *)run.out[0].data;
            if ((double)y != limits[i].y)
                fail_msg("%s of %g on %s is %g", md_op_info(limits[i].op)->name, limits[i].x,
                         backends[b]->name, (double)y);
            op_run_fini(&run);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_are_within_bounds),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
