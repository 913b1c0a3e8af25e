/*
 * What is worth its copies: products of many rows go to the device, a few small operators do not,
 * nor does a stretch between two operators of the host that saves less than it copies; and fused
 * operators that the device lacks stay written out, so that their primitives run there.
 */
#include "device_models.h"
#include "graphs.h"
#include "kernels/cpu/cpu.h"
#include "reference_device.h"
#include "unit.h"

/* Of some GPU behind some bus; what is tested lies far from where these decide. */
static const struct md_device_speed speed = {.flops = 1e13,
                                             .bytes = 1e12,
                                             .copy_bytes = 1e10,
                                             .step_s = 2e-6,
                                             .copy_s = 5e-6,
                                             .wait_s = 15e-6};
static struct md_error err;

/* One run of the program with symbols of this size on a device that lacks some operators; what it
 * gives must be what the host alone gives. */
static struct md_plan_report run(const char *program, const char *lacks, const char *passes_off,
                                 bool is_free, int64_t size)
{
    struct md_executable_options options = models_options(MD_PRECISION_F32);
    struct md_plan_report report;
    struct md_tensor in, want, have;
    uint64_t series = 7;
    options.backend = md_cpu_backend(MD_ISA_PORTABLE);
    options.passes_off = passes_off;
    models.plain = models_make(program, options);
    const struct md_device_driver *driver = reference_device(NULL, lacks);
    if (!is_free)
        reference_device_set_speed(&speed);
    models_open_device(driver);
    models.placed = models_make(program, options);
    const struct md_graph *graph = md_executable_graph(models.placed);
    struct md_shape shape = graph->values[graph->inputs[0].value].shape;
    for (int d = 0; d < shape.rank; d++)
        shape.dim[d] = shape.dim[d] < 0 ? size : shape.dim[d];
    in = graphs_random(&series, shape.rank, shape.dim);
    assert_ok(md_executable_run(models.plain, &in, 1, &want, 1, &err));
    for (int i = 0; i < 2; i++) { /* as it is, and captured */
        assert_ok(md_executable_run(models.placed, &in, 1, &have, 1, &err));
        assert_floats_close((const float *)have.data, (const float *)want.data,
                            md_tensor_count(&want), 1e-4, 1e-3);
        md_tensor_unref(&have);
    }
    md_tensor_unref(&in);
    md_tensor_unref(&want);
    assert_ok(md_executable_report(models.placed, &report, &err));
    return report;
}

#define SMALL "x[n,4]; a=Relu(x); b=Tanh(Mul(a, 0.25)); y=Softmax(b, axis=-1); -> y"
#define LARGE "x[n,64]; w{64,64}; v{64,64}; a=Relu(MatMul(x, w)); y=MatMul(a, v); -> y"

static void a_plan_that_copies_more_than_it_computes_stays(void **state)
{
    struct md_plan_report report = run(SMALL, NULL, NULL, false, 5);
    assert_int_equal(report.device_steps, 0);
    assert_int_equal(report.copies, 0);
    assert_int_equal(report.left_steps, 4);
}

static void unless_nothing_is_to_be_weighed(void **state)
{
    struct md_plan_report report = run(SMALL, NULL, "place", false, 5);
    assert_int_equal(report.device_steps, 4);
    assert_int_equal(report.left_steps, 0);
}

static void or_the_device_takes_no_time(void **state)
{
    assert_int_equal(run(SMALL, NULL, NULL, true, 5).device_steps, 4);
}

static void products_are_worth_their_copies(void **state)
{
    struct md_plan_report report = run(LARGE, "moondial.Linear", NULL, false, 1024);
    assert_int_equal(report.device_steps, 3);
    assert_int_equal(report.copies, 2);
    assert_int_equal(report.left_steps, 0);
}

static void but_not_of_one_row_of_the_same_model(void **state)
{
    assert_int_equal(run(LARGE, "moondial.Linear", NULL, false, 1).device_steps, 0);
}

/* Neg of [n, 1] between two Exps that the host has to do. */
#define BETWEEN                                                                                    \
    "x[n,256]; w{256,256}; v{256,256}; a=MatMul(x, w); r=ReduceMean(a, [-1]); b=Exp(r);"           \
    "c=Exp(Neg(b)); d=Add(a, c); y=MatMul(d, v); -> y"

static void a_small_stretch_between_two_of_the_host_stays(void **state)
{
    struct md_plan_report report = run(BETWEEN, "Exp", NULL, false, 256);
    assert_int_equal(report.left_steps, 1);
    assert_int_equal(report.device_steps, 4);
    assert_int_equal(report.copies, 4); /* x; r; c; y */
}

static void with_nothing_weighed_it_goes_there_and_back(void **state)
{
    struct md_plan_report report = run(BETWEEN, "Exp", "place", false, 256);
    assert_int_equal(report.left_steps, 0);
    assert_int_equal(report.device_steps, 5);
    assert_int_equal(report.copies, 6);
}

#define LINEAR "x[n,4]; w{4,3}; b{3}; y=Add(MatMul(x, w), b); -> y"

static void a_fused_operator_that_it_lacks_stays_written_out(void **state)
{
    /* This device has a kernel for it that takes no node: the operator is made, for the host. */
    assert_int_equal(run(LINEAR, NULL, NULL, true, 5).device_steps, 0);
    models_drop(NULL);
    struct md_plan_report report = run(LINEAR, "moondial.Linear", NULL, true, 5);
    assert_int_equal(report.device_steps, 2);
    assert_int_equal(report.copies, 2);
}

#define device_test(name) cmocka_unit_test_teardown(name, models_drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        device_test(a_plan_that_copies_more_than_it_computes_stays),
        device_test(unless_nothing_is_to_be_weighed),
        device_test(or_the_device_takes_no_time),
        device_test(products_are_worth_their_copies),
        device_test(but_not_of_one_row_of_the_same_model),
        device_test(a_small_stretch_between_two_of_the_host_stays),
        device_test(with_nothing_weighed_it_goes_there_and_back),
        device_test(a_fused_operator_that_it_lacks_stays_written_out),
    };
    return cmocka_run_group_tests(tests, models_open, models_close);
}
