/*
 * The CUDA kernels beneath a driver that fails on call n, n from the first call to the last: each
 * answer is right, because the CPU gives it; the failure is told; nothing is left behind; and many
 * runs take no more than a few. On the emulated device, or with MOONDIAL_DEVICE_LIBRARY set to the
 * path of libmoondial_cuda.so on the GPU. (test_device.c walks through more programs, on a device
 * made of the reference's kernels.)
 */
#include "device_case.h"
#include "device_models.h"
#include "failing_driver.h"
#include "graphs.h"
#include "kernels/cuda/kernels.h"
#include "unit.h"

/* Products, rows, a pool and a convolution; float64, which is the CPU's, parts it in two. */
#define PROGRAM                                                                                    \
    "x[n,8,6,6]; k{8,8,3,3}; b{8}; w{8,12}; a=Relu(Conv(x, k, b, pads=[1,1,1,1]));"                \
    "p=GlobalAveragePool(a); f=Flatten(p, axis=1); m=Cast(Neg(Cast(f, to=11)), to=1);"             \
    "h=MatMul(m, w); y=Softmax(h, axis=-1); -> y"
#define ERROR_MAX 1e-2 /* of the norm, in float16 */
#define ROWS      3

static struct md_error err;
static struct md_tensor in, want;

static struct md_executable *make(void)
{
    struct md_executable_options options = models_options(MD_PRECISION_F16);
    options.passes_off = "place"; /* a GPU would leave so little work to the CPU */
    return models_make(PROGRAM, options);
}

static int prepare(void **state)
{
    uint64_t series = 7;
    const int64_t dim[] = {ROWS, 8, 6, 6};
    if (models_open(state))
        return -1;
    struct md_executable *plain = make();
    in = graphs_random(&series, 4, dim);
    enum md_status status = md_executable_run(plain, &in, 1, &want, 1, &err);
    md_executable_delete(plain);
    return status;
}

static int finish(void **state)
{
    md_tensor_unref(&in);
    md_tensor_unref(&want);
    return models_close(state);
}

static void run_once(void)
{
    struct md_tensor have;
    double off = 0, norm = 0;
    assert_ok(md_executable_run(models.placed, &in, 1, &have, 1, &err));
    assert_true(md_shape_equal(&have.shape, &want.shape));
    for (size_t i = 0; i < md_tensor_count(&want); i++) {
        double right = ((const float *)want.data)[i], got = ((const float *)have.data)[i];
        off += (got - right) * (got - right);
        norm += right * right;
    }
    md_tensor_unref(&have);
    assert_true(off <= ERROR_MAX * ERROR_MAX * norm);
}

/* Opening, loading, a cold run and three warm ones; whether there was a call n. */
static bool walk(int n, enum md_status status, bool sticky)
{
    const struct md_device_driver *driver = failing_driver(device_case_driver());
    if (!models_open_failing(driver, n, status, sticky))
        return true;
    models.placed = make();
    for (int i = 0; i < 4; i++)
        run_once();
    return models_met_failure(n, sticky);
}

static struct models_walk walks = {walk, models_drop};

/* 10,000 on a GPU; the emulation's fibers take their time. */
static void many_runs_take_what_a_few_do(void **state)
{
    bool emulated = device_case_driver()->kernels == md__cuda_kernels;
    int runs = emulated ? 500 : 10000, few = 10;
    size_t free_bytes = 0;
    int alive = 0;
    models_open_device(failing_driver(device_case_driver()));
    models.placed = make();
    for (int i = 0; i < runs; i++) {
        run_once();
        if (i == few) {
            alive = failing_driver_alive();
            free_bytes = models_report().free_bytes;
        }
    }
    assert_int_equal(failing_driver_alive(), alive);
    assert_int_equal(models_report().runs, runs);
    assert_int_equal(models_report().captures, 2);
    assert_int_equal(models_report().launches, 2 * (runs - 1));
    assert_true(models_report().free_bytes >= free_bytes);
}

#define device_test(f) cmocka_unit_test_teardown(f, models_drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        models_walk_test(models_any_call_may_fail, &walks),
        models_walk_test(models_any_call_may_find_no_memory, &walks),
        models_walk_test(models_any_call_may_be_the_last, &walks),
        device_test(many_runs_take_what_a_few_do),
    };
    return cmocka_run_group_tests(tests, prepare, finish);
}
