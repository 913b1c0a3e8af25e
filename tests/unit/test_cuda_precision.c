/*
 * Precision auto on the emulated device: 16 bits where they do, bfloat16 for what outgrows float16,
 * float32 for what is off, decided by the first run of a storage; a precision by name is kept.
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

static void build(const char *program, enum md_precision asked)
{
    const struct md_executable_options options = {.backend = md_cpu_reference(),
                                                  .reference = md_cpu_reference(),
                                                  .pool = pool,
                                                  .accelerator = accelerator,
                                                  .precision = asked};
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

static const char *precision(void)
{
    static struct md_plan_report report;
    assert_int_equal(md_executable_report(executable, &report, &err), MD_OK);
    return report.precision;
}

static void check(const char *program, enum md_precision asked, float x, float wanted,
                  const char *settled)
{
    struct md_tensor out;
    build(program, asked);
    for (int times = 0; times < 3; times++) {
        assert_int_equal(run(&x, 1, &out), MD_OK);
        assert_true(fabsf(((const float *)out.data)[0] / wanted - 1) < 5e-3f);
        md_tensor_unref(&out);
        assert_string_equal(precision(), settled);
    }
    md_executable_delete(executable);
}

static void test_float16_is_kept_where_it_does(void **state)
{
    int64_t before = repeated();
    check("x[n]; a=Mul(x, 3.0); y=Sqrt(a); -> y", MD_PRECISION_AUTO, 12, 6, "fp16");
    assert_int_equal(repeated(), before);
}

static void test_what_outgrows_float16_is_bfloat16(void **state)
{
    int64_t before = repeated();
    check("x[n]; a=Mul(x, 400.0); b=Mul(a, 400.0); y=Reciprocal(b); -> y", MD_PRECISION_AUTO, 0.5f,
          1.0f / 80000, "bf16");
    assert_int_equal(repeated(), before + 1);
}

/* 2e-7 is three steps of float16, or four. */
static void test_what_is_off_is_float32(void **state)
{
    check("x[n]; a=Mul(x, 0.0001); b=Mul(a, 0.01); y=Sqrt(b); -> y", MD_PRECISION_AUTO, 0.2f,
          4.472136e-4f, "fp32");
}

/* A request far from those before it: answered by the CPU, and the model is wider from then on. */
static void test_a_late_number_widens_too(void **state)
{
    struct md_tensor out;
    build("x[n]; a=Mul(x, 400.0); b=Mul(a, 400.0); y=Reciprocal(b); -> y", MD_PRECISION_AUTO);
    const float given[] = {0.25f, 0.5f, 0.5f};
    const char *const wanted[] = {"fp16", NULL, "bf16"}; /* the CPU's plan tells of none */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(run(&given[i], 1, &out), MD_OK);
        assert_true(fabsf(((const float *)out.data)[0] * given[i] * 160000 - 1) < 5e-3f);
        md_tensor_unref(&out);
        if (wanted[i])
            assert_string_equal(precision(), wanted[i]);
    }
    md_executable_delete(executable);
}

static void test_a_precision_by_name_is_kept(void **state)
{
    struct md_tensor out;
    build("x[n]; a=Mul(x, 0.0001); b=Mul(a, 0.01); y=Sqrt(b); -> y", MD_PRECISION_F16);
    for (int times = 0; times < 2; times++) {
        assert_int_equal(run(&(const float){0.2f}, 1, &out), MD_OK);
        md_tensor_unref(&out);
        assert_string_equal(precision(), "fp16");
    }
    md_executable_delete(executable);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float16_is_kept_where_it_does),
        cmocka_unit_test(test_what_outgrows_float16_is_bfloat16),
        cmocka_unit_test(test_what_is_off_is_float32),
        cmocka_unit_test(test_a_late_number_widens_too),
        cmocka_unit_test(test_a_precision_by_name_is_kept),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
