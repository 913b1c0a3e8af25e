/*
 * What only kernels meet while work runs, on the emulated device: numbers that outgrow float16 in
 * the middle of a model whose outputs are finite all the same, and indices outside their axis. The
 * run is done again by the CPU, which gives the right numbers, or says what is wrong.
 */
#include <math.h>
#include <string.h>

#include "graph/accelerator.h"
#include "graph/device_host.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cuda/kernels.h"
#include "programs.h"
#include "unit.h"

static struct md_error err;
static struct md_pool *pool;
static struct md_accelerator *accelerator;
static struct md_executable *executable;

static int open_device(void **state)
{
    static struct md_device_driver driver;
    md_device_host_driver(&driver, "emulated", md__cuda_kernels);
    return md_pool_new(1, 0, &pool, &err) || md_accelerator_new(&driver, 0, &accelerator, &err);
}

static int close_device(void **state)
{
    md_accelerator_delete(accelerator);
    md_pool_delete(pool);
    return 0;
}

static void build(const char *program)
{
    const struct md_executable_options options = {.backend = md_cpu_reference(),
                                                  .reference = md_cpu_reference(),
                                                  .pool = pool,
                                                  .accelerator = accelerator,
                                                  .precision = MD_PRECISION_F16};
    assert_int_equal(md_executable_new(program_graph(program), &options, &executable, &err), MD_OK);
}

static enum md_status run(const float *x, int64_t count, struct md_tensor *out)
{
    struct md_tensor in;
    const struct md_shape shape = {1, {count}};
    assert_int_equal(md_tensor_new(MD_F32, &shape, &in, &err), MD_OK);
    memcpy(in.data, x, (size_t)count * sizeof *x);
    enum md_status status = md_executable_run(executable, &in, 1, out, 1, &err);
    md_tensor_unref(&in);
    return status;
}

static int64_t repeated(void)
{
    struct md_accelerator_report report;
    md_accelerator_report(accelerator, &report);
    assert_int_equal(report.failed_runs, 0);
    return (int64_t)report.repeated_runs;
}

/* 0.5 * 400 * 400 does not fit, and what Reciprocal makes of infinity looks like any number. */
static void test_hidden_overflow_is_computed_again(void **state)
{
    struct md_tensor out;
    build("x[n]; a=Mul(x, 400.0); b=Mul(a, 400.0); y=Reciprocal(b); -> y");
    for (int times = 0; times < 3; times++) { /* cold, warm, captured */
        int64_t before = repeated();
        assert_int_equal(run((const float[]){0.5f, 0.25f}, 2, &out), MD_OK);
        assert_true(fabsf(((const float *)out.data)[0] * 80000 - 1) < 1e-6f);
        md_tensor_unref(&out);
        assert_int_equal(repeated(), before + 1);
        assert_int_equal(run((const float[]){0.125f, -0.25f}, 2, &out), MD_OK);
        md_tensor_unref(&out);
        assert_int_equal(repeated(), before + 1);
    }
    md_executable_delete(executable);
}

/* The NaN that is read outside leaves no trace in an output of integers. */
static void test_index_outside_is_the_models_error(void **state)
{
    struct md_tensor out;
    build("x[n]; i=Cast(x, to=7); g=Gather([1.5,0.5,2.5], i, axis=0); "
          "y=Cast(Greater(g, 2.0), to=6); -> y");
    for (int times = 0; times < 3; times++) {
        int64_t before = repeated();
        assert_int_equal(run((const float[]){0, 2, -3}, 3, &out), MD_OK);
        assert_int_equal(((const int32_t *)out.data)[1], 1);
        assert_int_equal(((const int32_t *)out.data)[2], 0);
        md_tensor_unref(&out);
        assert_int_equal(repeated(), before);
        assert_int_equal(run((const float[]){0, 3, 1}, 3, &out), MD_ERR_UNPROCESSABLE);
        assert_non_null(strstr(err.text, "Gather"));
        assert_int_equal(repeated(), before + 1);
    }
    md_executable_delete(executable);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hidden_overflow_is_computed_again),
        cmocka_unit_test(test_index_outside_is_the_models_error),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
