/*
 * Rehearsals over frames that the tests make: a minute a step, one or a few servers. What is
 * counted, what differs, what frames lack, what is refused.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rehearsals.h"
#include "unit.h"

static void expect_summary(const struct md_alert_rehearsal *rehearsal, const char *expected)
{
    struct md_buffer text;

    md_buffer_init(&text, 0);
    md_alert_rehearsal_summary(rehearsal, &text);
    assert_string_equal(text.data, expected);
    md_buffer_fini(&text);
}

/* ---- counts and differences ------------------------------------------------------------------ */

static void compares_two_sets(void **state)
{
    struct md_alert_rule fresh[] = {rehearsals_rule("cpu", 8), rehearsals_rule("new", 5)};
    struct md_alert_rule old[] = {rehearsals_rule("cpu", 5), rehearsals_rule("removed", 5)};
    struct md_alert_rehearsal *rehearsal = rehearsals_begin(
        rehearsals_compile(fresh, 2), rehearsals_compile(old, 2), 0, REHEARSALS_DAY);
    const struct md_alert_rehearsal_row *row;

    (void)state;
    rehearsals_feed_values(rehearsal, 0, rehearsals_day, REHEARSALS_DAY);
    rehearsals_finish(rehearsal);
    assert_int_equal(md_alert_rehearsal_rows(rehearsal), 3);
    row = rehearsals_row(rehearsal, "cpu");
    assert_int_equal(row->fresh->alerts, 2);
    assert_int_equal(row->old->alerts, 3);
    assert_int_equal(row->fresh->firing_ms, 4 * MINUTE);
    assert_int_equal(row->counts[MD_ALERT_CHANGED], 1); /* 4 - 6 instead of 2 - 7 */
    assert_int_equal(row->counts[MD_ALERT_GONE], 1);
    assert_int_equal(row->counts[MD_ALERT_SAME], 1);
    assert_int_equal(row->difference_count, 3);
    assert_int_equal(row->differences[0].kind, MD_ALERT_CHANGED);
    assert_int_equal(row->differences[0].fresh->fired_ms, rehearsals_at(4));
    assert_int_equal(row->differences[0].old->fired_ms, rehearsals_at(2));
    assert_true(row->differences[0].fresh->peak == 9);
    assert_true(row->differences[0].fresh->limit == 8);
    row = rehearsals_row(rehearsal, "new");
    assert_null(row->old);
    assert_int_equal(row->counts[MD_ALERT_ADDED], 3);
    row = rehearsals_row(rehearsal, "removed");
    assert_null(row->fresh);
    assert_int_equal(row->counts[MD_ALERT_GONE], 3);
    expect_summary(rehearsal, "5 alerts instead of 6: 3 added, 4 gone, 1 changed, 1 the same.");
    md_alert_rehearsal_delete(rehearsal);
}

static void counts_what_only_was_pending(void **state)
{
    struct md_alert_rule rule = rehearsals_rule("cpu", 5);

    (void)state;
    rule.for_ms = 3 * MINUTE;
    struct md_alert_rehearsal *rehearsal =
        rehearsals_begin(rehearsals_compile(&rule, 1), NULL, 0, REHEARSALS_DAY);
    rehearsals_feed_values(rehearsal, 0, rehearsals_day, REHEARSALS_DAY);
    rehearsals_finish(rehearsal);
    const struct md_alert_rehearsal_row *row = rehearsals_row(rehearsal, "cpu");
    assert_int_equal(row->fresh->alerts, 1);
    assert_int_equal(row->fresh->unfired, 2);
    assert_int_equal(row->differences[0].fresh->active_ms, rehearsals_at(2));
    assert_int_equal(row->differences[0].fresh->fired_ms, rehearsals_at(5));
    md_alert_rehearsal_delete(rehearsal);
}

/* The holds of rules reach into what was before the period. */
static void knows_what_fired_before(void **state)
{
    struct md_alert_rule rule = rehearsals_rule("cpu", 5);
    float values[200];

    (void)state;
    rule.for_ms = 20 * MINUTE;
    for (int i = 0; i < 200; i++) {
        values[i] = i < 150 ? 9 : 1;
    }
    struct md_alert_rehearsal *rehearsal =
        rehearsals_begin(rehearsals_compile(&rule, 1), rehearsals_compile(&rule, 1), 100, 200);
    assert_int_equal(md_alert_rehearsal_begin_ms(rehearsal), rehearsals_at(20));
    rehearsals_feed_values(rehearsal, 20, values + 20, 180);
    rehearsals_finish(rehearsal);
    const struct md_alert_rehearsal_row *row = rehearsals_row(rehearsal, "cpu");
    assert_int_equal(row->fresh->alerts, 1);
    assert_int_equal(row->fresh->before, 1);
    assert_int_equal(row->fresh->firing_ms, 50 * MINUTE);
    assert_int_equal(row->counts[MD_ALERT_SAME], 1);
    expect_summary(rehearsal, "1 alert, the same as before.");
    md_alert_rehearsal_delete(rehearsal);
}

/* Hysteresis may hold for long: there the warm-up takes a day more. */
static void warms_up_longer_for_a_clear_limit(void **state)
{
    struct md_alert_rule rule = rehearsals_rule("cpu", 5);

    (void)state;
    rule.clear.fallback = 3;
    struct md_alert_rehearsal *rehearsal =
        rehearsals_begin(rehearsals_compile(&rule, 1), NULL, 0, 10);
    assert_int_equal(md_alert_rehearsal_begin_ms(rehearsal), rehearsals_at(-25 * 60));
    md_alert_rehearsal_delete(rehearsal);
}

static void draws_timelines(void **state)
{
    struct md_alert_rule rule = rehearsals_rule("cpu", 5);
    struct md_alert_rehearsal *rehearsal =
        rehearsals_begin(rehearsals_compile(&rule, 1), NULL, 0, REHEARSALS_DAY);
    struct md_alert_rehearsal_result result;
    static const int expected[10] = {0, 1, 1, 1, 1, 1, 1, 0, 0, 0}; /* 2-7, 9-10, 11-13 */

    (void)state;
    rehearsals_feed_values(rehearsal, 0, rehearsals_day,
                           REHEARSALS_DAY - 4); /* 16 - 20 is not there */
    rehearsals_finish(rehearsal);
    assert_memory_equal(rehearsals_row(rehearsal, "cpu")->fresh->bins, expected, sizeof expected);
    md_alert_rehearsal_result(rehearsal, &result);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(result.bins_known[i], i < 8);
    }
    md_alert_rehearsal_delete(rehearsal);
}

static void measures_gaps(void **state)
{
    static const float values[] = {1, 1, -1, -1, -1, 1, 1, 1, 1, 1};
    struct md_alert_rule rule = rehearsals_rule("cpu", 5);
    struct md_alert_rehearsal *rehearsal =
        rehearsals_begin(rehearsals_compile(&rule, 1), NULL, 0, 10);
    struct md_alert_rehearsal_result result;

    (void)state;
    rehearsals_feed_values(rehearsal, 0, values, 10);
    rehearsals_finish(rehearsal);
    md_alert_rehearsal_result(rehearsal, &result);
    assert_int_equal(result.frames, 7);
    assert_int_equal(result.gap_ms, 3 * MINUTE);
    assert_int_equal(result.first_ms, rehearsals_at(0));
    assert_int_equal(result.last_ms, rehearsals_at(9));
    md_alert_rehearsal_delete(rehearsal);
}

static void says_so_when_there_is_nothing(void **state)
{
    struct md_alert_rule rule = rehearsals_rule("cpu", 5);
    struct md_alert_rehearsal *rehearsal =
        rehearsals_begin(rehearsals_compile(&rule, 1), NULL, 0, 10);

    (void)state;
    rehearsals_finish(rehearsal);
    expect_summary(rehearsal, "No frame of this time was kept, so nothing can be said.");
    md_alert_rehearsal_delete(rehearsal);
}

static void tells_of_what_was_left_out(void **state)
{
    struct md_alert_rule rule = rehearsals_rule("cpu", 50);
    struct md_alert_rehearsal *rehearsal =
        rehearsals_begin(rehearsals_compile(&rule, 1), rehearsals_compile(&rule, 1), 0, 100);

    (void)state;
    rehearsals_feed_values(rehearsal, 0, rehearsals_day, REHEARSALS_DAY);
    assert_int_equal(md_alert_rehearsal_finish(rehearsal, "the time is up", NULL), MD_OK);
    expect_summary(rehearsal,
                   "No alert, as before. Not all of the time was looked at: the time is up.");
    md_alert_rehearsal_delete(rehearsal);
}

/* ---- what frames lack ------------------------------------------------------------------------ */

static void tells_what_frames_lack(void **state)
{
    static const char *const keys[] = {"pp01", NULL}, *const other[] = {"disk", NULL};
    struct md_alert_rule rules[] = {rehearsals_rule("cpu", 5),     rehearsals_rule("disk", 5),
                                    rehearsals_rule("p50", 5),     rehearsals_rule("p90", 5),
                                    rehearsals_rule("further", 5), rehearsals_rule("queue", 5)};
    struct alerts_frame *frame = malloc(sizeof *frame);

    (void)state;
    assert_non_null(frame);
    rules[1].columns = other;
    for (int i = 2; i < 5; i++) {
        rules[i].watch = MD_ALERT_FORECAST;
        rules[i].quantile = i == 3 ? 0.9f : 0.5f;
        rules[i].within_ms = (i == 4 ? 60 : 12) * MINUTE;
    }
    rules[5].watch = MD_ALERT_GAUGE;
    rules[5].gauge = "moondial_queue_depth";
    rules[5].column_count = 0;
    struct md_alert_rehearsal *rehearsal =
        rehearsals_begin(rehearsals_compile(rules, 6), NULL, 0, 10);
    alerts_frame_init(frame, keys, rehearsals_columns);
    alerts_frame_forecast(frame, "cpu", 0.5f);
    for (int minute = 0; minute < 10; minute++) {
        alerts_frame_at(frame, minute);
        frame->gauges[0] = (struct md_alert_gauge){"moondial_queue_depth", 1};
        frame->frame.gauge_count = minute < 4 ? 0 : 1;
        rehearsals_feed(rehearsal, frame);
    }
    free(frame);
    rehearsals_finish(rehearsal);
    static const struct {
        const char *rule;
        int absent, shorter;
    } expected[] = {{"cpu", 0, 0},  {"disk", 10, 0},    {"p50", 0, 0},
                    {"p90", 10, 0}, {"further", 0, 10}, {"queue", 4, 0}};
    for (int i = 0; i < 6; i++) {
        const struct md_alert_rehearsal_rule *rule =
            rehearsals_row(rehearsal, expected[i].rule)->fresh;
        assert_int_equal(rule->lack_count, 1);
        assert_int_equal(rule->lacks[0].frames, 10);
        assert_int_equal(rule->lacks[0].absent, expected[i].absent);
        assert_int_equal(rule->lacks[0].shorter, expected[i].shorter);
        assert_int_equal(rule->errors, 0);
    }
    expect_summary(rehearsal,
                   "No alert, as before. 4 rules watch what the history does not always have.");
    md_alert_rehearsal_delete(rehearsal);
}

static enum md_status fail_always(void *context, int function, const struct md_alert_frame *frame,
                                  struct md_alert_verdict *verdicts, struct md_error *err)
{
    (void)context;
    (void)function;
    (void)frame;
    (void)verdicts;
    return md_fail(err, MD_ERR_SCRIPT, "alerts.lua:3: no such thing");
}

static void counts_failures_of_functions(void **state)
{
    struct md_alert_predicate predicate = {.evaluate = fail_always};
    struct md_alert_rule rule = rehearsals_rule("odd", NAN);
    struct md_alert_rehearsal *rehearsal;

    (void)state;
    rule.watch = MD_ALERT_FUNCTION;
    rule.column_count = 0;
    struct md_alert_rules *rules = rehearsals_compile(&rule, 1);
    struct md_alert_rehearsal_options options = {.entity_label = "server",
                                                 .since_ms = rehearsals_at(0),
                                                 .until_ms = rehearsals_at(5),
                                                 .bins = 5,
                                                 .fresh = {rules, &predicate}};
    assert_int_equal(md_alert_rehearsal_new(&options, &rehearsal, NULL), MD_OK);
    md_alert_rules_unref(rules);
    rehearsals_feed_values(rehearsal, 0, rehearsals_day, 5);
    rehearsals_finish(rehearsal);
    assert_int_equal(rehearsals_row(rehearsal, "odd")->fresh->errors, 5);
    assert_non_null(strstr(rehearsals_row(rehearsal, "odd")->fresh->error, "alerts.lua:3"));
    expect_summary(rehearsal, "No alert, as before. 1 rule failed.");
    md_alert_rehearsal_delete(rehearsal);
}

/* ---- grades ---------------------------------------------------------------------------------- */

/* A forecast of 10 from `first` steps ahead on. */
static void forecast(float *values, int first)
{
    for (int i = 0; i < ALERTS_STEPS; i++) {
        values[i] = i + 1 >= first ? 10 : 1;
    }
}

static void grades_what_fired_in_the_period(void **state)
{
    static const char *const keys[] = {"pp01", NULL};
    struct alerts_frame *frame = malloc(sizeof *frame);
    struct md_alert_rule rule = rehearsals_rule("ahead", 5);

    (void)state;
    assert_non_null(frame);
    rule.watch = MD_ALERT_FORECAST;
    rule.quantile = 0.5f;
    rule.within_ms = 10 * MINUTE;
    struct md_alert_rehearsal *rehearsal =
        rehearsals_begin(rehearsals_compile(&rule, 1), NULL, 100, 300);
    alerts_frame_init(frame, keys, rehearsals_columns);
    float *ahead = alerts_frame_forecast(frame, "cpu", 0.5f);
    for (int minute = 30; minute < 300; minute++) {
        /* Crossings at 60, 140 and 180; forecasts of the first two, and of one that never comes. */
        bool crossed = minute == 60 || minute == 140 || minute == 180;
        int first = minute >= 54 && minute < 60     ? 60 - minute
                    : minute >= 134 && minute < 140 ? 140 - minute
                    : minute == 220                 ? 6
                                                    : ALERTS_STEPS + 1;
        alerts_frame_at(frame, minute);
        alerts_frame_set(frame, "pp01", "cpu", crossed ? 9 : 1);
        forecast(ahead, first);
        rehearsals_feed(rehearsal, frame);
    }
    free(frame);
    rehearsals_finish(rehearsal);
    const struct md_alert_rehearsal_grades *grades =
        &rehearsals_row(rehearsal, "ahead")->fresh->grades;
    assert_int_equal(grades->outcomes[MD_ALERT_HIT], 1);
    assert_int_equal(grades->outcomes[MD_ALERT_FALSE], 1);
    assert_int_equal(grades->outcomes[MD_ALERT_MISSED], 1);
    assert_int_equal(grades->caught, 1);
    assert_true(grades->precision == 0.5);
    assert_true(grades->recall == 0.5);
    assert_true(grades->lead_min_median == 6);
    md_alert_rehearsal_delete(rehearsal);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void refuses_bad_periods(void **state)
{
    struct md_alert_rehearsal_options options = {.entity_label = "server",
                                                 .since_ms = rehearsals_at(5),
                                                 .until_ms = rehearsals_at(5),
                                                 .bins = 10};
    struct md_alert_rehearsal *rehearsal = NULL;
    struct md_error err;

    (void)state;
    assert_int_equal(md_alert_rehearsal_new(&options, &rehearsal, &err), MD_ERR_INVALID);
    options.until_ms = rehearsals_at(6);
    options.bins = 0;
    assert_int_equal(md_alert_rehearsal_new(&options, &rehearsal, &err), MD_ERR_INVALID);
    options.bins = MD_ALERT_REHEARSE_BINS_MAX + 1;
    assert_int_equal(md_alert_rehearsal_new(&options, &rehearsal, &err), MD_ERR_INVALID);
    assert_null(rehearsal);
}

static void refuses_frames_that_go_back(void **state)
{
    static const char *const keys[] = {"pp01", NULL};
    struct md_alert_rule rule = rehearsals_rule("cpu", 5);
    struct md_alert_rehearsal *rehearsal =
        rehearsals_begin(rehearsals_compile(&rule, 1), NULL, 0, 10);
    struct alerts_frame *frame = malloc(sizeof *frame);
    struct md_error err;

    (void)state;
    assert_non_null(frame);
    alerts_frame_init(frame, keys, rehearsals_columns);
    alerts_frame_at(frame, 5);
    rehearsals_feed(rehearsal, frame);
    alerts_frame_at(frame, 4);
    assert_int_equal(md_alert_rehearsal_frame(rehearsal, &frame->frame, &err), MD_ERR_CONFLICT);
    free(frame);
    md_alert_rehearsal_delete(rehearsal);
}

static void refuses_a_record_beside_rules(void **state)
{
    struct md_alert_rule rule = rehearsals_rule("cpu", 5);
    struct md_alert_rehearsal *rehearsal =
        rehearsals_begin(rehearsals_compile(&rule, 1), NULL, 0, 10);
    struct md_alert_change change = {.time_ms = rehearsals_at(3), .to = MD_ALERT_FIRING};

    assert_int_equal(md_alert_rehearsal_record(rehearsal, &change, NULL), MD_ERR_INVALID);
    md_alert_rehearsal_delete(rehearsal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compares_two_sets),
        cmocka_unit_test(counts_what_only_was_pending),
        cmocka_unit_test(knows_what_fired_before),
        cmocka_unit_test(warms_up_longer_for_a_clear_limit),
        cmocka_unit_test(draws_timelines),
        cmocka_unit_test(measures_gaps),
        cmocka_unit_test(says_so_when_there_is_nothing),
        cmocka_unit_test(tells_of_what_was_left_out),
        cmocka_unit_test(tells_what_frames_lack),
        cmocka_unit_test(counts_failures_of_functions),
        cmocka_unit_test(grades_what_fired_in_the_period),
        cmocka_unit_test(refuses_bad_periods),
        cmocka_unit_test(refuses_frames_that_go_back),
        cmocka_unit_test(refuses_a_record_beside_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
