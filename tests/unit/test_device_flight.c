/*
 * Runs ahead: what is announced begins before it is asked for, and gives what it would have given;
 * what goes wrong ahead is done again the ordinary way. On the device made of the reference's
 * kernels, failures on the emulated device (device_case.h) or on a GPU.
 */
#include <malloc.h>
#include <pthread.h>
#include <string.h>

#include "device_case.h"
#include "device_models.h"
#include "failing_driver.h"
#include "graph/executable_internal.h"
#include "graphs.h"
#include "unit.h"

#define PROGRAM "x[n,8]; w{8,6}; h=MatMul(x, w); y=Softmax(h, axis=-1); z=Exp(Neg(h)); -> y z"
#define OUTPUTS 2
#define RUNS    7
#define FLIGHTS 500 /* of each thread */

static struct md_error err;
static struct md_executable *other;

static int close_all(void **state)
{
    md_executable_delete(other);
    other = NULL;
    return models_drop(state);
}

/* "place": nothing is too small for the device. */
static struct md_executable_options options_for(enum md_precision precision)
{
    struct md_executable_options options = models_options(precision);
    options.passes_off = "place";
    return options;
}

static void build(const char *lacks, enum md_precision precision)
{
    models_build(PROGRAM, lacks, options_for(precision));
}

static void random_inputs(struct md_tensor *inputs, int count, int64_t rows)
{
    uint64_t series = 5;
    for (int i = 0; i < count; i++)
        inputs[i] = graphs_random(&series, 2, (const int64_t[]){rows, 8});
}

static void check_run(const struct md_tensor *in, double tolerance)
{
    struct md_tensor want[OUTPUTS], have[OUTPUTS];
    assert_ok(md_executable_run(models.plain, in, 1, want, OUTPUTS, &err));
    assert_ok(md_executable_run(models.placed, in, 1, have, OUTPUTS, &err));
    for (int i = 0; i < OUTPUTS; i++) {
        assert_true(md_shape_equal(&have[i].shape, &want[i].shape));
        assert_floats_close((const float *)have[i].data, (const float *)want[i].data,
                            md_tensor_count(&want[i]), tolerance, tolerance);
    }
    graphs_drop(want, OUTPUTS);
    graphs_drop(have, OUTPUTS);
}

/* Each run but the first is announced before the one ahead of it is asked for. */
static void run_announced(int64_t rows, double tolerance)
{
    struct md_tensor in[RUNS];
    random_inputs(in, RUNS, rows);
    for (int i = 0; i < RUNS; i++) {
        if (i + 1 < RUNS)
            md_executable_ahead(models.placed, &in[i + 1], 1);
        check_run(&in[i], tolerance);
    }
    graphs_drop(in, RUNS);
}

/* Two at a time are in the air. */
static void run_two_ahead(int64_t rows, double tolerance)
{
    struct md_tensor in[RUNS];
    random_inputs(in, RUNS, rows);
    check_run(&in[0], tolerance);
    md_executable_ahead(models.placed, &in[0], 1);
    for (int i = 0; i < RUNS; i++) {
        if (i + 1 < RUNS)
            md_executable_ahead(models.placed, &in[i + 1], 1);
        check_run(&in[i], tolerance);
    }
    graphs_drop(in, RUNS);
}

static void runs_that_are_announced_are_ahead(void **state)
{
    build(NULL, MD_PRECISION_F32);
    run_two_ahead(5, 1e-6);
    assert_int_equal(models_report().runs, RUNS + 1);
    assert_int_equal(models_report().ahead_runs, RUNS);
    assert_int_equal(models_report().captures, 2); /* one a slot */
    assert_int_equal(models_report().failed_runs, 0);
}

static void a_cold_plan_does_not_take_off(void **state)
{
    struct md_tensor in[1];
    build(NULL, MD_PRECISION_F32);
    random_inputs(in, 1, 3);
    md_executable_ahead(models.placed, in, 1);
    check_run(in, 1e-6);
    assert_int_equal(models_report().ahead_runs, 0);
    graphs_drop(in, 1);
}

static void narrow_storage_and_large_inputs_go_ahead(void **state)
{
    build(NULL, MD_PRECISION_F16);
    run_two_ahead(5, 5e-3);
    run_two_ahead(1 << 16, 5e-3); /* two megabytes, in pieces; slots grow */
    run_two_ahead(5, 5e-3);
    assert_int_equal(models_report().ahead_runs, 3 * RUNS);
    assert_int_equal(models_report().repeated_runs, 0);
}

static void what_the_host_has_a_part_in_stays(void **state)
{
    build("Neg", MD_PRECISION_F32);
    run_announced(5, 1e-6);
    assert_int_equal(models_report().ahead_runs, 0);
    assert_int_equal(models_report().runs, RUNS);
}

static void another_run_than_announced_is_right(void **state)
{
    struct md_tensor in[3];
    build(NULL, MD_PRECISION_F32);
    random_inputs(in, 3, 4);
    check_run(&in[0], 1e-6);
    md_executable_ahead(models.placed, &in[0], 1);
    md_executable_ahead(models.placed, &in[1], 1);
    check_run(&in[2], 1e-6);
    check_run(&in[1], 1e-6);
    assert_int_equal(models_report().ahead_runs, 0);
    md_executable_ahead(models.placed, &in[1], 1); /* and nobody asks: the teardown finds it */
    graphs_drop(in, 3);
}

static void more_than_two_are_not_taken(void **state)
{
    struct md_tensor in[4];
    build(NULL, MD_PRECISION_F32);
    random_inputs(in, 4, 4);
    check_run(&in[0], 1e-6);
    for (int i = 0; i < 4; i++)
        md_executable_ahead(models.placed, &in[i], 1);
    for (int i = 0; i < 4; i++)
        check_run(&in[i], 1e-6);
    assert_int_equal(models_report().ahead_runs, 2);
    graphs_drop(in, 4);
}

static void tensors_without_an_owner_stay(void **state)
{
    struct md_tensor in[1], lent;
    build(NULL, MD_PRECISION_F32);
    random_inputs(in, 1, 4);
    lent = in[0];
    lent.owner = NULL;
    check_run(&lent, 1e-6);
    md_executable_ahead(models.placed, &lent, 1);
    check_run(&lent, 1e-6);
    assert_int_equal(models_report().ahead_runs, 0);
    graphs_drop(in, 1);
}

static void numbers_out_of_range_are_found_again(void **state)
{
    struct md_tensor in[3];
    build(NULL, MD_PRECISION_F16);
    random_inputs(in, 3, 4);
    ((float *)in[1].data)[0] = 1e6f; /* float16 does not hold it */
    ((float *)in[2].data)[0] = 6e4f; /* nor what becomes of this one */
    check_run(&in[0], 5e-3);
    md_executable_ahead(models.placed, &in[1], 1);
    assert_int_equal(models_report().ahead_runs, 0);
    struct md_tensor want[OUTPUTS], have[OUTPUTS];
    for (int i = 1; i < 3; i++) {
        md_executable_ahead(models.placed, &in[i], 1);
        assert_ok(md_executable_run(models.plain, &in[i], 1, want, OUTPUTS, &err));
        assert_ok(md_executable_run(models.placed, &in[i], 1, have, OUTPUTS, &err));
        for (int k = 0; k < OUTPUTS; k++)
            assert_memory_equal(have[k].data, want[k].data, md_tensor_bytes(&want[k]));
        graphs_drop(want, OUTPUTS);
        graphs_drop(have, OUTPUTS);
    }
    assert_int_equal(models_report().repeated_runs, 2);
    graphs_drop(in, 3);
}

static void two_models_take_turns(void **state)
{
    struct md_tensor in[2], out[OUTPUTS];
    build(NULL, MD_PRECISION_F32);
    other = models_make(PROGRAM, options_for(MD_PRECISION_F32));
    random_inputs(in, 2, 4);
    check_run(&in[0], 1e-6);
    for (int i = 0; i < 4; i++) {
        md_executable_ahead(models.placed, &in[1], 1);
        assert_ok(md_executable_run(other, &in[0], 1, out, OUTPUTS, &err));
        graphs_drop(out, OUTPUTS);
        md_executable_ahead(other, &in[0], 1);
        check_run(&in[1], 1e-6);
    }
    assert_int_equal(models_report().ahead_runs, 4 + 3);
    graphs_drop(in, 2);
}

/* One of two threads, each with a model of its own; asserts are left to the main one. */
struct flyer {
    struct md_executable *executable;
    struct md_tensor *in, *want;
    int wrong;
};

static void *fly(void *argument)
{
    struct flyer *flyer = argument;
    struct md_tensor have[OUTPUTS];
    bool alone = md_pool_set_alone(true);
    for (int i = 0; i < FLIGHTS; i++) {
        md_executable_ahead(flyer->executable, flyer->in, 1);
        if (md_executable_run(flyer->executable, flyer->in, 1, have, OUTPUTS, NULL)) {
            flyer->wrong++;
            continue;
        }
        for (int k = 0; k < OUTPUTS; k++) {
            const struct md_tensor *want = &flyer->want[k];
            flyer->wrong += memcmp(have[k].data, want->data, md_tensor_bytes(want)) != 0;
        }
        graphs_drop(have, OUTPUTS);
    }
    md_pool_set_alone(alone);
    return NULL;
}

static void two_threads_take_turns(void **state)
{
    struct md_tensor in[2], want[2][OUTPUTS];
    pthread_t thread;
    build(NULL, MD_PRECISION_F32);
    other = models_make(PROGRAM, options_for(MD_PRECISION_F32));
    random_inputs(in, 2, 4);
    for (int i = 0; i < 2; i++)
        assert_ok(md_executable_run(models.plain, &in[i], 1, want[i], OUTPUTS, &err));
    struct flyer here = {models.placed, &in[0], want[0], 0}, there = {other, &in[1], want[1], 0};
    assert_int_equal(pthread_create(&thread, NULL, fly, &there), 0);
    fly(&here);
    pthread_join(thread, NULL);
    assert_int_equal(here.wrong + there.wrong, 0);
    assert_int_equal(models_report().runs, 2 * FLIGHTS);
    assert_int_equal(models_report().ahead_runs, 2 * (FLIGHTS - 1)); /* the first one warms up */
    graphs_drop(in, 2);
    graphs_drop(want[0], OUTPUTS);
    graphs_drop(want[1], OUTPUTS);
}

static bool walk(int n, enum md_status status, bool sticky)
{
    const struct md_device_driver *driver = failing_driver(device_case_driver());
    struct md_executable_options options = options_for(MD_PRECISION_F16);
    if (!models_build_failing(PROGRAM, options, driver, n, status, sticky))
        return true;
    run_two_ahead(5, 1e-2);
    return models_met_failure(n, sticky);
}

static struct models_walk walks = {walk, close_all};

/* The half of them ahead. */
static void run_many(const struct md_tensor *in, int runs)
{
    struct md_tensor out[OUTPUTS];
    for (int i = 0; i < runs; i++) {
        if (i % 4 == 0)
            assert_true(md_executable_ahead(models.placed, &in[0], 1) &&
                        md_executable_ahead(models.placed, &in[1], 1));
        assert_ok(md_executable_run(models.placed, &in[i % 2], 1, out, OUTPUTS, &err));
        graphs_drop(out, OUTPUTS);
    }
}

static void ten_thousand_runs_take_what_a_hundred_do(void **state)
{
    struct md_tensor in[2];
    models.plain = models_make(PROGRAM, options_for(MD_PRECISION_F16));
    models_open_device(failing_driver(device_case_driver()));
    models.placed = models_make(PROGRAM, options_for(MD_PRECISION_F16));
    random_inputs(in, 2, 2);
    check_run(&in[1], 1e-2);
    run_many(in, 100);
    int alive = failing_driver_alive();
    size_t heap = mallinfo2().uordblks, free_bytes = models_report().free_bytes;
    run_many(in, 9900);
    assert_int_equal(failing_driver_alive(), alive);
    if (free_bytes < SIZE_MAX / 2) /* a GPU's memory */
        assert_true(models_report().free_bytes >= free_bytes);
    else
        assert_int_equal(mallinfo2().uordblks, heap);
    assert_int_equal(models_report().runs, 10001);
    assert_int_equal(models_report().ahead_runs, 5000);
    check_run(&in[0], 1e-2);
    graphs_drop(in, 2);
}

#define device_test(f) cmocka_unit_test_teardown(f, close_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        device_test(runs_that_are_announced_are_ahead),
        device_test(a_cold_plan_does_not_take_off),
        device_test(narrow_storage_and_large_inputs_go_ahead),
        device_test(what_the_host_has_a_part_in_stays),
        device_test(another_run_than_announced_is_right),
        device_test(more_than_two_are_not_taken),
        device_test(tensors_without_an_owner_stay),
        device_test(numbers_out_of_range_are_found_again),
        device_test(two_models_take_turns),
        device_test(two_threads_take_turns),
        device_test(ten_thousand_runs_take_what_a_hundred_do),
        models_walk_test(models_any_call_may_fail, &walks),
        models_walk_test(models_any_call_may_find_no_memory, &walks),
        models_walk_test(models_any_call_may_be_the_last, &walks),
    };
    return cmocka_run_group_tests(tests, models_open, models_close);
}
