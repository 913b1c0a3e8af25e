/*
 * Rehearsals beside what was recorded, and how they are told: that rehearsing the rules that were
 * live gives exactly what they did is tested over random frames with holes and outages.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_in.h"
#include "rehearsals.h"
#include "unit.h"

/* ---- what was recorded ----------------------------------------------------------------------- */

struct recording {
    struct md_alert_rehearsal *rehearsal;
    int changes;
};

static void record(void *context, const struct md_alert_event *event)
{
    struct recording *recording = context;
    const struct md_alert *alert = event->alert;
    struct md_alert_change change = {event->time_ms,  alert->active_ms,   event->from,
                                     event->to,       alert->fingerprint, alert->name,
                                     alert->severity, alert->key,         alert->column,
                                     alert->value,    alert->limit,       false};

    assert_int_equal(md_alert_rehearsal_record(recording->rehearsal, &change, NULL), MD_OK);
    recording->changes++;
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Values that wander, holes, and now and then an outage. */
static bool make_frame(struct alerts_frame *frame, uint32_t *seed, int64_t *minute, float *walk)
{
    static const char *const keys[] = {"a", "b", "c", NULL};

    *minute += next_random(seed) % 50 == 0 ? 1 + next_random(seed) % 90 : 1;
    alerts_frame_at(frame, *minute);
    for (int k = 0; k < 3; k++) {
        for (int c = 0; c < 2; c++) {
            float *value = &walk[k * 2 + c];
            *value += (float)(next_random(seed) % 201) / 100 - 1;
            *value = fminf(fmaxf(*value, 0), 10);
            alerts_frame_set(frame, keys[k], rehearsals_columns[c],
                             next_random(seed) % 20 == 0 ? NAN : *value);
        }
    }
    return *minute < 2000;
}

static int make_rules(struct md_alert_rule *rules)
{
    rules[0] = alerts_rule("high", rehearsals_columns, 2, 7);
    rules[1] = alerts_rule("held", rehearsals_columns, 2, 6);
    rules[1].for_ms = 4 * MINUTE;
    rules[1].keep_firing_ms = 7 * MINUTE;
    rules[2] = alerts_rule("steady", rehearsals_columns, 1, 8);
    rules[2].clear.fallback = 5;
    rules[2].no_data = MD_ALERT_NO_DATA_KEEP;
    rules[3] = alerts_rule("few", rehearsals_columns, 2, 5);
    rules[3].instances_max = 4;
    return 4;
}

/* What the live engine did, and the rehearsal of its rules over its frames: the same, always. */
static void equals_what_was_live(void **state)
{
    struct md_alert_rule list[4];
    struct md_alert_rules *rules = rehearsals_compile(list, make_rules(list));
    static const char *const keys[] = {"a", "b", "c", NULL};
    struct alerts_frame *frame = malloc(sizeof *frame);

    (void)state;
    assert_non_null(frame);
    for (uint32_t seed = 1; seed <= 20; seed++) {
        uint32_t random = seed;
        int64_t minute = 0;
        float walk[6] = {5, 5, 5, 5, 5, 5};
        struct md_alert_engine *live;
        struct recording recording = {NULL, 0};
        struct md_alert_sink sink = {.context = &recording, .event = record};
        struct md_alert_rehearsal_options options = {.entity_label = "server",
                                                     .since_ms = rehearsals_at(1600),
                                                     .until_ms = rehearsals_at(2000),
                                                     .bins = 100,
                                                     .fresh = {.rules = rules},
                                                     .is_recorded = true};
        assert_int_equal(md_alert_rehearsal_new(&options, &recording.rehearsal, NULL), MD_OK);
        assert_int_equal(md_alert_engine_new("server", &live, NULL), MD_OK);
        md_alert_engine_set_rules(live, rules);
        alerts_frame_init(frame, keys, rehearsals_columns);
        while (make_frame(frame, &random, &minute, walk)) {
            assert_int_equal(md_alert_engine_tick(live, &frame->frame, NULL, &sink, NULL), MD_OK);
            if (frame->frame.time_ms >= md_alert_rehearsal_begin_ms(recording.rehearsal)) {
                rehearsals_feed(recording.rehearsal, frame);
            }
        }
        rehearsals_finish(recording.rehearsal);
        int same = 0;
        for (int i = 0; i < md_alert_rehearsal_rows(recording.rehearsal); i++) {
            const struct md_alert_rehearsal_row *row =
                md_alert_rehearsal_row(recording.rehearsal, i);
            assert_int_equal(row->counts[MD_ALERT_ADDED], 0);
            assert_int_equal(row->counts[MD_ALERT_GONE], 0);
            assert_int_equal(row->counts[MD_ALERT_CHANGED], 0);
            same += row->counts[MD_ALERT_SAME];
        }
        assert_true(same > 5);
        assert_true(recording.changes > same);
        md_alert_engine_delete(live);
        md_alert_rehearsal_delete(recording.rehearsal);
    }
    free(frame);
    md_alert_rules_unref(rules);
}

/* Rules that are not there any more are known by what they did. */
static void lists_recorded_rules(void **state)
{
    struct md_alert_rehearsal_options options = {.entity_label = "server",
                                                 .since_ms = rehearsals_at(0),
                                                 .until_ms = rehearsals_at(REHEARSALS_DAY),
                                                 .bins = 10,
                                                 .is_recorded = true};
    struct md_alert_change change = {.time_ms = rehearsals_at(3),
                                     .active_ms = rehearsals_at(3),
                                     .to = MD_ALERT_FIRING,
                                     .fingerprint = 7,
                                     .rule = "gone",
                                     .severity = "critical",
                                     .key = "pp01",
                                     .column = "cpu"};
    struct md_alert_rehearsal *rehearsal;

    (void)state;
    assert_int_equal(md_alert_rehearsal_new(&options, &rehearsal, NULL), MD_OK);
    rehearsals_feed_values(rehearsal, 0, rehearsals_day, REHEARSALS_DAY);
    assert_int_equal(md_alert_rehearsal_record(rehearsal, &change, NULL), MD_OK);
    rehearsals_finish(rehearsal);
    const struct md_alert_rehearsal_row *row = rehearsals_row(rehearsal, "gone");
    assert_null(row->fresh);
    assert_null(row->old->rule);
    assert_string_equal(row->old->severity, "critical");
    assert_int_equal(row->old->alerts, 1);
    assert_int_equal(row->old->firing_ms, (REHEARSALS_DAY - 3) * MINUTE);
    assert_int_equal(row->counts[MD_ALERT_GONE], 1);
    md_alert_rehearsal_delete(rehearsal);
}

/* ---- the report and plots -------------------------------------------------------------------- */

static json_t *member(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);

    if (value == NULL) {
        fail_msg("the report has no %s", name);
    }
    return value;
}

static json_t *report_of(const struct md_alert_rehearsal *rehearsal,
                         const struct md_alert_report_options *options)
{
    struct md_buffer text;
    struct md_error err;
    json_t *report = NULL;

    md_buffer_init(&text, 0);
    md_buffer_text(&text, "{");
    assert_int_equal(md_alert_rehearsal_report(rehearsal, options, &text, &err), MD_OK);
    md_buffer_text(&text, "}");
    if (md_json_parse(text.data, text.length, &report, &err) != MD_OK) {
        fail_msg("%s: %s", err.text, text.data);
    }
    md_buffer_fini(&text);
    return report;
}

static void reports(void **state)
{
    struct md_alert_rule fresh = rehearsals_rule("cpu \"x\"", 8),
                         old = rehearsals_rule("cpu \"x\"", 5);
    struct md_alert_rehearsal *rehearsal = rehearsals_begin(
        rehearsals_compile(&fresh, 1), rehearsals_compile(&old, 1), 0, REHEARSALS_DAY);
    struct md_alert_report_options options = {.differences_max = 1};

    (void)state;
    rehearsals_feed_values(rehearsal, 0, rehearsals_day, REHEARSALS_DAY);
    rehearsals_finish(rehearsal);
    json_t *report = report_of(rehearsal, &options);
    json_t *rule = json_array_get(member(report, "rules"), 0);
    json_t *difference = json_array_get(member(rule, "differences"), 0);
    json_t *span = json_array_get(member(difference, "new"), 0);
    assert_string_equal(json_string_value(member(rule, "rule")), "cpu \"x\"");
    assert_int_equal(json_integer_value(member(member(report, "totals"), "new")), 2);
    assert_int_equal(json_integer_value(member(member(report, "totals"), "gone")), 1);
    assert_int_equal(json_integer_value(member(rule, "omitted")), 1);
    assert_string_equal(json_string_value(member(difference, "kind")), "changed");
    assert_string_equal(json_string_value(member(difference, "key")), "pp01");
    assert_int_equal(json_integer_value(member(span, "fired_ms")), rehearsals_at(4));
    assert_true(json_number_value(member(span, "peak")) == 9);
    assert_string_equal(json_string_value(member(report, "known")), "1111111111");
    assert_int_equal(json_array_size(member(member(rule, "old"), "timeline")), 10);
    assert_true(json_is_null(member(report, "partial")));
    json_decref(report);
    options = (struct md_alert_report_options){.differences_max = 100, .with_same = true};
    report = report_of(rehearsal, &options);
    rule = json_array_get(member(report, "rules"), 0);
    assert_int_equal(json_array_size(member(rule, "differences")), 3);
    json_decref(report);
    md_alert_rehearsal_delete(rehearsal);
}

static void feed_plots(struct md_alert_plots *plots)
{
    static const char *const keys[] = {"pp01", NULL};
    struct alerts_frame *frame = malloc(sizeof *frame);

    assert_non_null(frame);
    alerts_frame_init(frame, keys, rehearsals_columns);
    for (int i = 0; i < REHEARSALS_DAY; i++) {
        alerts_frame_at(frame, i);
        alerts_frame_set(frame, "pp01", "cpu", rehearsals_day[i]);
        assert_int_equal(md_alert_plots_frame(plots, &frame->frame, NULL), MD_OK);
    }
    free(frame);
}

static void plots_what_differs(void **state)
{
    struct md_alert_rule fresh = rehearsals_rule("cpu", 8), old = rehearsals_rule("cpu", 5);
    struct md_alert_rehearsal *rehearsal = rehearsals_begin(
        rehearsals_compile(&fresh, 1), rehearsals_compile(&old, 1), 0, REHEARSALS_DAY);
    struct md_alert_plots *plots;
    struct md_alert_plot plot;
    int64_t begin_ms, end_ms;

    (void)state;
    rehearsals_feed_values(rehearsal, 0, rehearsals_day, REHEARSALS_DAY);
    rehearsals_finish(rehearsal);
    assert_int_equal(md_alert_plots_new(rehearsal, 10, &plots, NULL), MD_OK);
    assert_int_equal(md_alert_plots_count(plots), 2);
    assert_true(md_alert_plots_period(plots, &begin_ms, &end_ms));
    assert_int_equal(begin_ms, rehearsals_at(2) - 3600000);
    feed_plots(plots);
    md_alert_plots_get(plots, 0, &plot);
    assert_int_equal(plot.difference->kind, MD_ALERT_CHANGED);
    assert_int_equal(plot.count, REHEARSALS_DAY);
    assert_int_equal(plot.times_ms[4], rehearsals_at(4));
    assert_true(plot.values[4] == 9);
    assert_true(isnan(plot.forecasts[4]));
    struct md_alert_report_options options = {.plots = plots, .differences_max = 10};
    json_t *report = report_of(rehearsal, &options);
    assert_int_equal(json_array_size(member(report, "plots")), 2);
    json_decref(report);
    md_alert_plots_delete(plots);
    md_alert_rehearsal_delete(rehearsal);
}

static void draws_no_more_than_asked(void **state)
{
    struct md_alert_rule rules[] = {rehearsals_rule("one", 5), rehearsals_rule("two", 5)};
    struct md_alert_rehearsal *rehearsal =
        rehearsals_begin(rehearsals_compile(rules, 2), NULL, 0, REHEARSALS_DAY);
    struct md_alert_plots *plots;

    (void)state;
    rehearsals_feed_values(rehearsal, 0, rehearsals_day, REHEARSALS_DAY);
    rehearsals_finish(rehearsal);
    assert_int_equal(md_alert_plots_new(rehearsal, 4, &plots, NULL), MD_OK);
    assert_int_equal(md_alert_plots_count(plots), 4);
    md_alert_plots_delete(plots);
    assert_int_equal(md_alert_plots_new(rehearsal, 0, &plots, NULL), MD_OK);
    assert_int_equal(md_alert_plots_count(plots), 0);
    md_alert_plots_delete(plots);
    md_alert_rehearsal_delete(rehearsal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_what_was_live),
        cmocka_unit_test(lists_recorded_rules),
        cmocka_unit_test(reports),
        cmocka_unit_test(plots_what_differs),
        cmocka_unit_test(draws_no_more_than_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
