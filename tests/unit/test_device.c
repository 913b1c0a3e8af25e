/*
 * Plans on a device: what runs where and what is copied, precision, captures, data that shapes
 * follow, outputs that are not finite, memory that does not suffice, and a driver that fails at any
 * of its calls. The device is the reference's kernels behind the host driver.
 */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "device_models.h"
#include "graph/executable_internal.h"
#include "graphs.h"
#include "reference_device.h"
#include "unit.h"

static struct md_error err;

static struct md_executable *make(const char *program, enum md_precision precision)
{
    return models_make(program, models_options(precision));
}

static void build(const char *program, const char *lacks, enum md_precision precision)
{
    models_build(program, lacks, models_options(precision));
}

static void inputs_of(const struct md_graph *graph, int64_t size, struct md_tensor *in)
{
    uint64_t series = 7;
    for (int i = 0; i < graph->input_count; i++) {
        struct md_shape shape = graph->values[graph->inputs[i].value].shape;
        for (int d = 0; d < shape.rank; d++)
            shape.dim[d] = shape.dim[d] < 0 ? size : shape.dim[d];
        in[i] = graphs_random(&series, shape.rank, shape.dim);
    }
}

static double largest_of(const struct md_tensor *tensor)
{
    double largest = 0;
    for (size_t i = 0; i < md_tensor_count(tensor); i++)
        largest = fmax(largest, fabs((double)((const float *)tensor->data)[i]));
    return largest;
}

static void compare(const struct md_tensor *want, const struct md_tensor *have, double tolerance)
{
    assert_int_equal(want->dtype, have->dtype);
    assert_true(md_shape_equal(&want->shape, &have->shape));
    if (want->dtype != MD_F32) {
        assert_memory_equal(want->data, have->data, md_tensor_bytes(want));
        return;
    }
    assert_floats_close((const float *)have->data, (const float *)want->data, md_tensor_count(want),
                        tolerance * largest_of(want), tolerance);
}

static void run_both(int64_t size, double tolerance)
{
    const struct md_graph *graph = md_executable_graph(models.plain);
    int in_count = graph->input_count, out_count = graph->output_count;
    struct md_tensor in[8], want[8], have[8];
    inputs_of(graph, size, in);
    assert_ok(md_executable_run(models.plain, in, in_count, want, out_count, &err));
    assert_ok(md_executable_run(models.placed, in, in_count, have, out_count, &err));
    for (int i = 0; i < out_count; i++)
        compare(&want[i], &have[i], tolerance);
    graphs_drop(want, out_count);
    graphs_drop(have, out_count);
    graphs_drop(in, in_count);
}

static struct md_plan_report plan_report(void)
{
    struct md_plan_report report;
    assert_ok(md_executable_report(models.placed, &report, &err));
    return report;
}

#define CHAIN                                                                                      \
    "x[n,4]; w{4,4}; v{4,3}; a=Relu(MatMul(x, w)); b=Exp(Mul(a, 0.25)); y=MatMul(b, v);"           \
    "z=Softmax(y, axis=-1); -> y z"

static void everything_on_the_device_needs_copies_at_the_ends_only(void **state)
{
    build(CHAIN, NULL, MD_PRECISION_F16);
    run_both(5, 5e-3);
    struct md_plan_report report = plan_report();
    assert_int_equal(report.device_steps, 6);
    assert_int_equal(report.copies, 3); /* x; y, z */
    assert_string_equal(report.precision, "fp16");
    assert_int_equal(report.arena_bytes, 0);
    assert_true(report.device_bytes > 0 && report.pinned_bytes > 0);
    assert_int_equal(models_report().weight_bytes, (16 + 12) * 2 + 2);
}

static void what_the_device_lacks_runs_on_the_host_between_copies(void **state)
{
    build(CHAIN, "Exp", MD_PRECISION_F16);
    run_both(5, 5e-3);
    struct md_plan_report report = plan_report();
    assert_int_equal(report.device_steps, 5);
    assert_int_equal(report.copies, 5);
    struct md_step_time rows[16];
    int count = md_executable_profile(models.placed, rows, 16), sides[4] = {0};
    for (int i = 0; i < count; i++)
        sides[rows[i].side]++;
    assert_int_equal(sides[MD_STEP_HOST], 1);
    assert_int_equal(sides[MD_STEP_TO_DEVICE], 2);
    assert_int_equal(sides[MD_STEP_TO_HOST], 3);
}

static void a_value_is_copied_once_whoever_reads_it(void **state)
{
    build("x[n,4]; a=Relu(x); b=Exp(a); c=Exp(Neg(a)); d=Add(b, c); e=Mul(d, a); -> e", "Exp",
          MD_PRECISION_F16);
    run_both(3, 5e-3);
    assert_int_equal(plan_report().copies, 1 + 2 + 2 + 1); /* x; a, -a; b, c; e */
}

static void nothing_on_the_device_is_the_plan_of_the_host(void **state)
{
    models.plain = make(CHAIN, MD_PRECISION_AUTO);
    models_open_device(reference_device("Tan", NULL));
    models.placed = make(CHAIN, MD_PRECISION_AUTO);
    run_both(5, 0);
    assert_int_equal(plan_report().device_steps, 0);
    assert_int_equal(plan_report().copies, 0);
    assert_int_equal(models_report().runs, 0);
}

static void float32_gives_what_the_host_gives(void **state)
{
    build(CHAIN, "Exp", MD_PRECISION_F32);
    run_both(5, 0);
    run_both(5, 0);
    run_both(9, 0);
    assert_string_equal(plan_report().precision, "fp32");
}

static void views_and_results_lie_where_they_were_made(void **state)
{
    build("x[n,4]; a=Relu(x); b=Reshape(a, [-1]); c=Exp(b); d=Reshape(c, [-1,2]); e=Neg(d);"
          "f=Identity(x); -> b d e a f",
          "Exp", MD_PRECISION_F16);
    run_both(6, 5e-3);
    run_both(6, 5e-3);
}

static void inputs_that_shape_the_work_stay_on_the_host(void **state)
{
    build("x[n,6]; a=Relu(x); y=Slice(a, [1], [5], [1], [2]); z=Neg(y); -> z", NULL,
          MD_PRECISION_F16);
    run_both(4, 5e-3);
    assert_int_equal(plan_report().copies, 2);
    assert_int_equal(models_report().weight_bytes, 0);
}

static void a_segment_is_captured_once_warm(void **state)
{
    build(CHAIN, NULL, MD_PRECISION_F16);
    for (int i = 0; i < 3; i++)
        run_both(5, 5e-3);
    assert_int_equal(models_report().captures, 1);
    assert_int_equal(models_report().launches, 2);
    run_both(64, 5e-3); /* the arena moves */
    run_both(5, 5e-3);
    run_both(5, 5e-3);
    assert_int_equal(models_report().captures, 2);
    assert_int_equal(models_report().runs, 6);
    assert_int_equal(models_report().failed_runs, 0);
}

static void captures_may_be_left_out(void **state)
{
    models.plain = make(CHAIN, MD_PRECISION_F16);
    models_open_device(reference_device(NULL, NULL));
    struct md_executable_options options = models_options(MD_PRECISION_AUTO);
    options.captures_off = true;
    models.placed = models_make(CHAIN, options);
    for (int i = 0; i < 3; i++)
        run_both(5, 5e-3);
    assert_int_equal(models_report().captures, 0);
    assert_int_equal(models_report().runs, 3);
}

static void steps_are_timed_one_by_one(void **state)
{
    build(CHAIN, "Exp", MD_PRECISION_F16);
    md_executable_set_clock(models.placed, md_clock_system());
    run_both(5, 5e-3);
    md_executable_set_profiling(models.placed, true);
    run_both(5, 5e-3);
    struct md_step_time rows[16];
    int count = md_executable_profile(models.placed, rows, 16);
    for (int i = 0; i < count; i++)
        assert_int_equal(rows[i].runs, 1);
}

static void weights_out_of_range_make_it_bfloat16(void **state)
{
    build("x[n,4]; y=Mul(x, [100000.0, 2.0, 3.0, 4.0]); -> y", NULL, MD_PRECISION_AUTO);
    run_both(5, 1e-2);
    assert_string_equal(plan_report().precision, "bf16");
}

static void masks_fit_into_float16(void **state)
{
    build("x[n,4]; s=Add(x, [0.0, -1000000000.0, 0.0, -300000000.0]); y=Softmax(s, axis=-1); -> y",
          NULL, MD_PRECISION_AUTO);
    run_both(5, 5e-3);
    assert_string_equal(plan_report().precision, "fp16");
    assert_int_equal(models_report().repeated_runs, 0);
}

static void an_output_that_overflows_is_computed_again(void **state)
{
    build("x[n,4]; a=Mul(x, 5000.0); b=Mul(a, 5000.0); y=Mul(b, 0.0001); -> y", NULL,
          MD_PRECISION_F16);
    run_both(5, 0);
    run_both(5, 0);
    assert_int_equal(models_report().repeated_runs, 2);
    assert_int_equal(models_report().runs, 0);
}

static void an_input_out_of_range_is_left_to_float32(void **state)
{
    build("x[n,4]; b=Mul(x, 0.0001); y=Sigmoid(b); -> y", NULL, MD_PRECISION_F16);
    struct md_tensor in, want, have;
    assert_ok(md_tensor_new(MD_F32, &(const struct md_shape){2, {1, 4}}, &in, &err));
    const float given[] = {1, 70000, -200000, 3};
    memcpy(in.data, given, sizeof given);
    assert_ok(md_executable_run(models.plain, &in, 1, &want, 1, &err));
    assert_ok(md_executable_run(models.placed, &in, 1, &have, 1, &err));
    compare(&want, &have, 0);
    assert_int_equal(models_report().repeated_runs, 1);
    assert_int_equal(models_report().failed_runs, 0);
    md_tensor_unref(&in);
    md_tensor_unref(&want);
    md_tensor_unref(&have);
}

static void masks_among_inputs_fit_into_float16(void **state)
{
    build("x[n,4]; y=Softmax(x, axis=-1); -> y", NULL, MD_PRECISION_F16);
    struct md_tensor in, want, have;
    assert_ok(md_tensor_new(MD_F32, &(const struct md_shape){2, {1, 4}}, &in, &err));
    const float given[] = {1, -3.4e38f, -INFINITY, -1e9f};
    memcpy(in.data, given, sizeof given);
    assert_ok(md_executable_run(models.plain, &in, 1, &want, 1, &err));
    assert_ok(md_executable_run(models.placed, &in, 1, &have, 1, &err));
    compare(&want, &have, 0);
    assert_int_equal(models_report().runs, 1);
    md_tensor_unref(&in);
    md_tensor_unref(&want);
    md_tensor_unref(&have);
}

/* 1.6 MB of x, 0.8 of y and z. */
static void large_inputs_go_ahead(void **state)
{
    build(CHAIN, NULL, MD_PRECISION_F16);
    for (int i = 0; i < 3; i++)
        run_both(100000, 5e-3);
    assert_int_equal(models_report().runs, 3);
    assert_int_equal(models_report().captures, 1);
    assert_int_equal(models_report().launches, 2);
    run_both(5, 5e-3);
    struct md_step_time rows[16];
    assert_true(md_executable_profile(models.placed, rows, 16) > 0);
    md_executable_delete(models.placed);
    models.placed = make(CHAIN, MD_PRECISION_F32);
    for (int i = 0; i < 3; i++)
        run_both(100000, 1e-6);
    assert_int_equal(models_report().runs, 4 + 3);
}

/* Each of their calls may fail, and the first number may be out of range. */
static void large_inputs_may_fail_on_their_way(void **state)
{
    bool more = true;
    int n = 0;
    for (; more; n++) {
        build("x[n,4]; y=Relu(x); -> y", NULL, n % 2 ? MD_PRECISION_F16 : MD_PRECISION_F32);
        reference_device_fail(n / 2, MD_ERR_DEVICE, false);
        md_log_set_level(MD_LOG_OFF);
        for (int i = 0; i < 3; i++)
            run_both(70000, 5e-3);
        more = reference_device_calls() > n / 2;
        assert_int_equal(models_report().failure[0] != '\0', more);
        assert_int_equal(models_drop(NULL), 0);
    }
    assert_true(n > 20);
}

static void shapes_that_follow_data_split_the_plan(void **state)
{
    build("x[n,4]; a=Exp(x); i=NonZero(Relu(a)); b=Neg(a); t=Transpose(i); g=GatherND(b, t);"
          "y=Mul(g, 2.0); -> y b",
          NULL, MD_PRECISION_F16);
    run_both(5, 5e-3);
    run_both(5, 5e-3);
    run_both(3, 5e-3);
    assert_true(models_report().runs == 3);
}

static void memory_that_does_not_suffice_leaves_it_to_the_cpu(void **state)
{
    models.plain = make(CHAIN, MD_PRECISION_F16);
    models_open_device(reference_device(NULL, NULL));
    md_accelerator_delete(models.accelerator);
    reference_device_set_bytes(8192);
    models_open_device(reference_device(NULL, NULL));
    models.placed = make(CHAIN, MD_PRECISION_F16);
    reference_device_set_bytes(8192);
    run_both(5, 5e-3);
    assert_int_equal(models_report().runs, 1);
    run_both(1000, 0);
    assert_int_equal(models_report().memory_runs, 1);
    run_both(5, 5e-3);
    assert_int_equal(models_report().runs, 2);
    assert_true(models_report().usable);
}

static void who_has_smaller_batches_is_told_first(void **state)
{
    build(CHAIN, NULL, MD_PRECISION_F16);
    reference_device_set_bytes(8192);
    const struct md_run_limits limits = {.small_first = true};
    const struct md_graph *graph = md_executable_graph(models.placed);
    struct md_tensor in[1], out[2];
    inputs_of(graph, 1000, in);
    assert_fails(MD_ERR_MEMORY,
                 md_executable_run_within(models.placed, in, 1, out, 2, &limits, &err));
    assert_int_equal(models_report().memory_runs, 0);
    md_tensor_unref(&in[0]);
    run_both(5, 5e-3);
}

static void a_driver_of_another_version_is_refused(void **state)
{
    struct md_device_driver other = *reference_device(NULL, NULL);
    other.op_count--;
    assert_fails(MD_ERR_UNSUPPORTED, md_accelerator_new(&other, 0, &models.accelerator, &err));
    assert_says("another version");
    assert_fails(MD_ERR_UNAVAILABLE,
                 md_accelerator_new(reference_device(NULL, NULL), 3, &models.accelerator, &err));
    assert_says("no number 3");
}

/*
 * Opening, loading, a cold and two warm runs of two shapes, with call n failing: each run's answer
 * is right, and a failure was told. Returns whether there was a call n.
 */
static bool walk(int n, enum md_status status, bool sticky)
{
    const struct md_device_driver *driver = reference_device(NULL, "Neg");
    struct md_executable_options options = models_options(MD_PRECISION_F16);
    if (!models_build_failing(CHAIN, options, driver, n, status, sticky)) {
        assert_true(n < 2);
        return true;
    }
    for (int i = 0; i < 3; i++)
        run_both(5, 5e-3);
    run_both(9, 5e-3);
    run_both(9, 5e-3);
    bool reached = models_met_failure(n, sticky);
    if (reached && !sticky)
        assert_true(models_report().runs >= 4 || n == 2); /* without a stream there is no device */
    return reached;
}

static struct models_walk walks = {walk, models_drop};

#define device_test(f) cmocka_unit_test_teardown(f, models_drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        device_test(everything_on_the_device_needs_copies_at_the_ends_only),
        device_test(what_the_device_lacks_runs_on_the_host_between_copies),
        device_test(a_value_is_copied_once_whoever_reads_it),
        device_test(nothing_on_the_device_is_the_plan_of_the_host),
        device_test(float32_gives_what_the_host_gives),
        device_test(views_and_results_lie_where_they_were_made),
        device_test(inputs_that_shape_the_work_stay_on_the_host),
        device_test(a_segment_is_captured_once_warm),
        device_test(captures_may_be_left_out),
        device_test(steps_are_timed_one_by_one),
        device_test(weights_out_of_range_make_it_bfloat16),
        device_test(masks_fit_into_float16),
        device_test(an_output_that_overflows_is_computed_again),
        device_test(an_input_out_of_range_is_left_to_float32),
        device_test(masks_among_inputs_fit_into_float16),
        device_test(large_inputs_go_ahead),
        device_test(large_inputs_may_fail_on_their_way),
        device_test(shapes_that_follow_data_split_the_plan),
        device_test(memory_that_does_not_suffice_leaves_it_to_the_cpu),
        device_test(who_has_smaller_batches_is_told_first),
        device_test(a_driver_of_another_version_is_refused),
        models_walk_test(models_any_call_may_fail, &walks),
        models_walk_test(models_any_call_may_find_no_memory, &walks),
        models_walk_test(models_any_call_may_be_the_last, &walks),
    };
    return cmocka_run_group_tests(tests, models_open, models_close);
}
