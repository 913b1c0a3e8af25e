/*
 * Sessions: what one run makes and the next one reads stays on the device, or travels where it
 * cannot, and either way is what a caller would have handed on itself. On the device made of the
 * reference's kernels (reference_device.h), and without one; failures also on the emulated device
 * (device_case.h), or on a GPU.
 */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "device_case.h"
#include "device_models.h"
#include "failing_driver.h"
#include "graph/executable_internal.h"
#include "graphs.h"
#include "programs.h"
#include "reference_device.h"
#include "unit.h"

/* A recurrent state, and a window of which each run drops the first row for a new one. */
#define PROGRAM                                                                                    \
    "x[n,4]; s[n,4]; w[n,6,4]; h=Tanh(Add(Mul(s, [0.5,0.25,-0.5,1.0]), x));"                       \
    "r=Unsqueeze(x, [1]); t=Slice(w, [1], [6], [1]); u=Concat(t, r, axis=1);"                      \
    "m=ReduceMean(u, [1], keepdims=0); y=Add(h, m); -> y h u"
#define INPUTS  3
#define OUTPUTS 3
#define ROWS    2
#define RUNS    6

static const struct md_handover handovers[] = {{.output = 1, .input = 1},
                                               {.output = 2, .input = 2}};

static struct md_error err;
static struct md_session *session;

static int close_all(void **state)
{
    md_session_delete(session);
    session = NULL;
    return models_drop(state);
}

static struct md_executable_options options_for(enum md_precision precision)
{
    struct md_executable_options options = models_options(precision);
    options.handovers = handovers;
    options.handover_count = 2;
    return options;
}

static void build(const char *lacks, enum md_precision precision)
{
    models_build(PROGRAM, lacks, options_for(precision));
    assert_ok(md_session_new(models.placed, &session, &err));
}

static void random_inputs(struct md_tensor *in, int64_t rows)
{
    uint64_t series = 11;
    in[0] = graphs_random(&series, 2, (const int64_t[]){rows, 4});
    in[1] = graphs_random(&series, 2, (const int64_t[]){rows, 4});
    in[2] = graphs_random(&series, 3, (const int64_t[]){rows, 6, 4});
}

static void first_inputs(struct md_tensor *in)
{
    random_inputs(in, ROWS);
}

static enum md_status run_session(const struct md_tensor *in, struct md_tensor *out)
{
    const struct md_run_limits limits = {.session = session};
    return md_executable_run_within(models.placed, in, INPUTS, out, OUTPUTS, &limits, &err);
}

/* One run of both: plain gets back what it made last, the session is asked for it from the second
 * run on. `own` is what plain is given, and becomes what it is given next. */
static enum md_status step(struct md_tensor *own, bool first, double tolerance)
{
    struct md_tensor want[OUTPUTS], have[OUTPUTS], in[INPUTS] = {own[0]};
    if (first)
        memcpy(in, own, sizeof in);
    enum md_status status = run_session(in, have);
    if (status)
        return status;
    assert_ok(md_executable_run(models.plain, own, INPUTS, want, OUTPUTS, &err));
    assert_floats_close((const float *)have[0].data, (const float *)want[0].data,
                        md_tensor_count(&want[0]), tolerance, tolerance);
    for (int i = 1; i < OUTPUTS; i++) {
        assert_null(have[i].data);
        assert_true(md_shape_equal(&have[i].shape, &want[i].shape));
        assert_int_equal(have[i].dtype, want[i].dtype);
        md_tensor_unref(&own[i]);
        own[i] = want[i];
    }
    md_tensor_unref(&want[0]);
    graphs_drop(have, OUTPUTS);
    return MD_OK;
}

/* RUNS of them; how many failed because there was nothing left to go on from. */
static int generate(double tolerance)
{
    struct md_tensor own[INPUTS];
    int lost = 0;
    first_inputs(own);
    for (int i = 0; i < RUNS; i++) {
        enum md_status status = step(own, i == 0, tolerance);
        if (status == MD_ERR_UNAVAILABLE) {
            lost++;
            status = step(own, true, tolerance); /* begins again */
        }
        assert_int_equal(status, MD_OK);
    }
    graphs_drop(own, INPUTS);
    return lost;
}

/* ---- where it stays ---- */

static void what_is_handed_over_stays_on_the_device(void **state)
{
    build(NULL, MD_PRECISION_F32);
    assert_int_equal(generate(1e-6), 0);
    assert_int_equal(models_report().stayed, 2 * RUNS);
    assert_int_equal(models_report().travelled, 0);
    assert_int_equal(models_report().captures, 1);
    assert_int_equal(models_report().launches, RUNS - 1);
    struct md_session_report held;
    md_session_report(session, &held);
    assert_int_equal(held.host_bytes, 0);
    assert_true(held.device_bytes > 0);
    assert_int_equal(held.device_bytes, models_report().session_bytes);
}

static void it_is_as_precise_as_its_storage(void **state)
{
    build(NULL, MD_PRECISION_F16);
    assert_int_equal(generate(5e-3), 0);
    assert_int_equal(models_report().stayed, 2 * RUNS);
}

static void a_precision_that_is_tried_travels_until_it_is_settled(void **state)
{
    build(NULL, MD_PRECISION_AUTO);
    assert_int_equal(generate(1e-2), 0);
    assert_int_equal(models_report().travelled, 2);
    assert_int_equal(models_report().stayed, 2 * (RUNS - 1));
}

static void what_the_host_reads_comes_home(void **state)
{
    build("Slice", MD_PRECISION_F32); /* the window is the host's to cut, the state is not */
    assert_int_equal(generate(1e-6), 0);
    assert_int_equal(models_report().stayed, 2 * RUNS);
    close_all(state);
    build("Concat", MD_PRECISION_F32); /* the host makes the window: it never was there */
    assert_int_equal(generate(1e-6), 0);
    assert_int_equal(models_report().stayed, RUNS);
    assert_int_equal(models_report().travelled, RUNS);
}

static void without_a_device_it_is_the_hosts(void **state)
{
    models.plain = models_make(PROGRAM, options_for(MD_PRECISION_AUTO));
    models.placed = models_make(PROGRAM, options_for(MD_PRECISION_AUTO));
    assert_ok(md_session_new(models.placed, &session, &err));
    assert_int_equal(generate(0), 0);
    struct md_session_report held;
    md_session_report(session, &held);
    assert_int_equal(held.host_bytes, ROWS * (4 + 24) * sizeof(float));
    assert_int_equal(held.device_bytes, 0);
}

static void steps_that_are_timed_hand_over_as_well(void **state)
{
    build(NULL, MD_PRECISION_F32);
    md_executable_set_clock(models.placed, md_clock_system());
    md_executable_set_profiling(models.placed, true);
    assert_int_equal(generate(1e-6), 0);
    assert_int_equal(models_report().stayed, 2 * RUNS);
}

/* ---- the pool ---- */

static void a_full_pool_lets_it_travel(void **state)
{
    struct md_executable_options options = options_for(MD_PRECISION_F32);
    options.session_bytes_max = 3 << 16; /* three blocks of the four */
    models_build(PROGRAM, NULL, options);
    assert_ok(md_session_new(models.placed, &session, &err));
    assert_int_equal(generate(1e-6), 0);
    assert_true(models_report().stayed > 0 && models_report().travelled > 0);
    assert_int_equal(models_report().stayed + models_report().travelled, 2 * RUNS);
    assert_true(models_report().session_bytes <= 3 << 16);
    assert_int_equal(models_report().failed_runs, 0);
}

static void what_a_session_gives_back_is_the_next_ones(void **state)
{
    build(NULL, MD_PRECISION_F32);
    generate(1e-6);
    size_t bytes = models_report().session_bytes;
    int alive = reference_device_alive();
    for (int i = 0; i < 10; i++) {
        md_session_delete(session);
        assert_ok(md_session_new(models.placed, &session, &err));
        generate(1e-6);
    }
    assert_int_equal(models_report().session_bytes, bytes);
    assert_int_equal(reference_device_alive(), alive);
}

/* ---- bad use ---- */

static void what_nobody_gave_is_missed(void **state)
{
    struct md_tensor own[INPUTS], in[INPUTS] = {{0}}, out[OUTPUTS];
    build(NULL, MD_PRECISION_F32);
    first_inputs(own);
    in[0] = own[0];
    assert_int_equal(run_session(in, out), MD_ERR_INVALID);
    assert_non_null(strstr(err.text, "the session has none"));
    const struct md_run_limits none = {0};
    assert_int_equal(md_executable_run_within(models.placed, in, INPUTS, out, OUTPUTS, &none, &err),
                     MD_ERR_INVALID);
    graphs_drop(own, INPUTS);
}

/* What a session that is gone has lent is no other run's. */
static void a_run_without_one_may_follow(void **state)
{
    struct md_tensor own[INPUTS], want[OUTPUTS], have[OUTPUTS];
    build(NULL, MD_PRECISION_F32);
    assert_int_equal(generate(1e-6), 0);
    md_session_delete(session);
    session = NULL;
    first_inputs(own);
    assert_ok(md_executable_run(models.plain, own, INPUTS, want, OUTPUTS, &err));
    assert_ok(md_executable_run(models.placed, own, INPUTS, have, OUTPUTS, &err));
    for (int i = 0; i < OUTPUTS; i++)
        assert_floats_close((const float *)have[i].data, (const float *)want[i].data,
                            md_tensor_count(&want[i]), 1e-6, 1e-6);
    graphs_drop(own, INPUTS);
    graphs_drop(want, OUTPUTS);
    graphs_drop(have, OUTPUTS);
}

static void a_run_that_fails_leaves_it_as_it_was(void **state)
{
    struct md_tensor own[INPUTS], bad[INPUTS] = {{0}}, out[OUTPUTS];
    uint64_t series = 3;
    build(NULL, MD_PRECISION_F32);
    first_inputs(own);
    assert_ok(step(own, true, 1e-6));
    bad[0] = graphs_random(&series, 2, (const int64_t[]){ROWS, 5});
    assert_int_not_equal(run_session(bad, out), MD_OK);
    assert_ok(step(own, false, 1e-6));
    graphs_drop(own, INPUTS);
    md_tensor_unref(&bad[0]);
}

static void handovers_that_make_no_sense_are_refused(void **state)
{
    const struct md_handover wrong[][2] = {{{3, 1}, {2, 2}}, {{1, -1}, {2, 2}}, {{1, 1}, {1, 2}}};
    for (int i = 0; i < 3; i++) {
        struct md_executable_options options = options_for(MD_PRECISION_F32);
        options.handovers = wrong[i];
        options.pool = models.pool;
        assert_int_equal(md_executable_new(program_graph(PROGRAM), &options, &models.placed, &err),
                         MD_ERR_INVALID);
    }
}

static void a_session_is_one_models(void **state)
{
    struct md_tensor own[INPUTS], out[OUTPUTS];
    build(NULL, MD_PRECISION_F32);
    first_inputs(own);
    const struct md_run_limits limits = {.session = session};
    assert_int_equal(
        md_executable_run_within(models.plain, own, INPUTS, out, OUTPUTS, &limits, &err),
        MD_ERR_INVALID);
    graphs_drop(own, INPUTS);
}

/* ---- failures ---- */

static bool walk(int n, enum md_status status, bool sticky)
{
    const struct md_device_driver *driver = failing_driver(device_case_driver());
    struct md_executable_options options = options_for(MD_PRECISION_F16);
    if (!models_build_failing(PROGRAM, options, driver, n, status, sticky))
        return true;
    assert_ok(md_session_new(models.placed, &session, &err));
    int lost = generate(1e-2);
    assert_true(lost <= (sticky ? 1 : 0)); /* a device that lives gives its contents back */
    return models_met_failure(n, sticky);
}

static struct models_walk walks = {walk, close_all};

/* A larger batch than before, for which call n finds no memory, once; what is left of a session
 * that ended goes first. True: so it went, and the device ran it all the same. */
static bool makes_room(int n)
{
    build(NULL, MD_PRECISION_F32);
    generate(1e-6);
    md_session_delete(session);
    session = NULL;
    assert_true(models_report().session_bytes > 0);
    struct md_tensor in[INPUTS], out[OUTPUTS];
    random_inputs(in, 16 * ROWS);
    failing_driver_at(n, MD_ERR_MEMORY, false);
    assert_ok(md_executable_run(models.placed, in, INPUTS, out, OUTPUTS, &err));
    graphs_drop(in, INPUTS);
    graphs_drop(out, OUTPUTS);
    return models_report().session_bytes == 0 && models_report().memory_runs == 0;
}

static void what_no_session_has_makes_room(void **state)
{
    int made = 0;
    md_log_set_level(MD_LOG_OFF);
    for (int n = 0; n < 12; n++) {
        made += makes_room(n);
        close_all(state);
    }
    assert_true(made > 0);
}

#define device_test(f) cmocka_unit_test_teardown(f, close_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        device_test(what_is_handed_over_stays_on_the_device),
        device_test(it_is_as_precise_as_its_storage),
        device_test(a_precision_that_is_tried_travels_until_it_is_settled),
        device_test(what_the_host_reads_comes_home),
        device_test(without_a_device_it_is_the_hosts),
        device_test(steps_that_are_timed_hand_over_as_well),
        device_test(a_full_pool_lets_it_travel),
        device_test(what_a_session_gives_back_is_the_next_ones),
        device_test(what_no_session_has_makes_room),
        device_test(what_nobody_gave_is_missed),
        device_test(a_run_without_one_may_follow),
        device_test(a_run_that_fails_leaves_it_as_it_was),
        device_test(handovers_that_make_no_sense_are_refused),
        device_test(a_session_is_one_models),
        models_walk_test(models_any_call_may_fail, &walks),
        models_walk_test(models_any_call_may_find_no_memory, &walks),
        models_walk_test(models_any_call_may_be_the_last, &walks),
    };
    return cmocka_run_group_tests(tests, models_open, models_close);
}
