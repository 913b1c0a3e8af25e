/*
 * Batches on an accelerator: padded to buckets, halved where its memory does not hold them, left to
 * the CPU where not even one row fits; every answer is the CPU's but for rounding.
 */
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "programs.h"
#include "reference_device.h"
#include "serve/internal.h"
#include "unit.h"

#define WIDTH 16

static struct md_error err;
static struct md_accelerator *accelerator;
static struct md_serve *serve;
static struct md_model *model;

/* y = 3 x + 0.5 on a device with so much memory. */
static void start(size_t bytes)
{
    const struct md_device_driver *driver = reference_device(NULL, NULL);
    reference_device_set_bytes(bytes);
    assert_ok(md_accelerator_new(driver, 0, &accelerator, &err));
    const struct md_serve_options options = {.clock = md_clock_system(),
                                             .backend = md_cpu_reference(),
                                             .reference = md_cpu_reference(),
                                             .threads = 1,
                                             .batch_max = 64,
                                             .accelerator = accelerator};
    assert_ok(md_serve_new(&options, &serve, &err));
    struct md_graph *graph = program_graph("x[batch,16]; a=Mul(x, 3.0); y=Add(a, 0.5); -> y");
    assert_ok(md_serve_publish(serve, "line", "memory", graph, "{}", &err));
    assert_ok(md_serve_model(serve, "line", &model, &err));
}

static int stop(void **state)
{
    md_model_unref(model);
    md_serve_delete(serve);
    md_accelerator_delete(accelerator);
    return reference_device_alive();
}

static void predict(int64_t rows)
{
    const struct md_shape shape = {2, {rows, WIDTH}};
    struct md_tensor x;
    struct md_call *call;
    assert_ok(md_tensor_new(MD_F32, &shape, &x, &err));
    for (size_t i = 0; i < md_tensor_count(&x); i++)
        ((float *)x.data)[i] = (float)(i % 512);
    const struct md_port_tensor input = {NULL, x};
    assert_ok(md_serve_submit(serve, model, &input, 1, 0, &call, &err));
    assert_ok(md_call_wait(call, -1, &err));
    const struct md_tensor *y = md_call_output(call, 0);
    assert_true(md_shape_equal(&y->shape, &shape));
    for (size_t i = 0; i < md_tensor_count(&x); i++) {
        float want = 3 * ((float *)x.data)[i] + 0.5f, have = ((float *)y->data)[i];
        assert_true(have >= want - 1 && have <= want + 1); /* of up to 1534, in float16 */
    }
    md_call_unref(call);
    md_tensor_unref(&x);
}

static struct md_accelerator_report report(void)
{
    struct md_accelerator_report told;
    md_accelerator_report(accelerator, &told);
    return told;
}

static void buckets_are_few(void **state)
{
    const struct {
        int64_t rows, bucket;
    } cases[] = {{1, 1}, {2, 2}, {3, 4}, {5, 8}, {8, 8}, {9, 16}, {20, 24}, {64, 64}, {65, 96}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(md__batch_bucket(cases[i].rows), cases[i].bucket);
}

static void sizes_of_one_bucket_share_what_is_captured(void **state)
{
    start(SIZE_MAX / 2);
    for (int64_t rows = 9; rows <= 16; rows++)
        predict(rows);
    int64_t captures = report().captures;
    for (int64_t rows = 9; rows <= 16; rows++)
        predict(rows);
    assert_int_equal(report().captures, captures);
    assert_int_equal(report().failed_runs + report().memory_runs + report().repeated_runs, 0);
    struct md_serve_device device;
    md_serve_device(serve, &device);
    assert_string_equal(device.runs, "reference");
    assert_string_equal(device.why, "");
}

static void a_batch_beyond_the_memory_runs_in_halves(void **state)
{
    start(3000);
    int64_t before = report().runs;
    predict(64);
    assert_int_equal(model->fitting_rows, 16);
    assert_int_equal(report().runs - before, 4);
    assert_int_equal(report().memory_runs, 0);
    predict(40);
    assert_int_equal(report().runs - before, 7);
}

static void rows_that_do_not_fit_alone_run_on_the_cpu(void **state)
{
    start(300);
    predict(2);
    assert_int_equal(report().runs, 0);
    assert_true(report().memory_runs > 0);
    assert_true(report().usable);
}

static void pieces_of_a_call_begin_ahead(void **state)
{
    start(SIZE_MAX / 2);
    predict(5 * 64);
    int64_t before = report().ahead_runs;
    predict(5 * 64 + 8); /* the last piece has another size */
    assert_int_equal(report().ahead_runs - before, 5);
    assert_int_equal(report().failed_runs + report().memory_runs + report().repeated_runs, 0);
}

#define device_test(f) cmocka_unit_test_teardown(f, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_are_few),
        device_test(sizes_of_one_bucket_share_what_is_captured),
        device_test(pieces_of_a_call_begin_ahead),
        device_test(a_batch_beyond_the_memory_runs_in_halves),
        device_test(rows_that_do_not_fit_alone_run_on_the_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
