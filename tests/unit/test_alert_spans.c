/*
 * Spans and their differences, from changes that the tests spell out: what is listed, what is only
 * counted, and which overlaps are one and the same alert.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "alert/spans.h"

#define MINUTE ((int64_t)60000)

/* "rule key column": fires from minute to minute (0: to the end), pending for so long before. */
struct alert {
    const char *rule, *key, *column, *severity;
    int64_t pending_min, fired_min, end_min;
};

static uint64_t fingerprint(const struct alert *alert)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    char text[128];

    snprintf(text, sizeof text, "%s %s %s %s", alert->rule, alert->key, alert->column,
             alert->severity);
    for (const char *at = text; *at != '\0'; at++) {
        hash = (hash ^ (unsigned char)*at) * UINT64_C(1099511628211);
    }
    return hash;
}

static void change(struct md_alert_spans *spans, const struct alert *alert, int64_t minute,
                   enum md_alert_state from, enum md_alert_state to)
{
    struct md_alert_change change = {
        .time_ms = minute * MINUTE,
        .active_ms =
            (alert->fired_min != 0 ? alert->fired_min - alert->pending_min : minute) * MINUTE,
        .from = from,
        .to = to,
        .fingerprint = fingerprint(alert),
        .rule = alert->rule,
        .severity = alert->severity != NULL ? alert->severity : "",
        .key = alert->key,
        .column = alert->column,
        .value = 90,
        .limit = 80};

    assert_int_equal(md_alert_spans_change(spans, &change, NULL), MD_OK);
}

static void collect(struct md_alert_spans *spans, int64_t since_min, const struct alert *alerts,
                    int count)
{
    md_alert_spans_init(spans, since_min * MINUTE);
    for (int i = 0; i < count; i++) {
        const struct alert *alert = &alerts[i];
        int64_t active_min = alert->fired_min - alert->pending_min;
        if (alert->pending_min > 0) {
            change(spans, alert, active_min, MD_ALERT_INACTIVE, MD_ALERT_PENDING);
            change(spans, alert, alert->fired_min, MD_ALERT_PENDING, MD_ALERT_FIRING);
        } else {
            change(spans, alert, alert->fired_min, MD_ALERT_INACTIVE, MD_ALERT_FIRING);
        }
        if (alert->end_min != 0) {
            change(spans, alert, alert->end_min, MD_ALERT_FIRING, MD_ALERT_INACTIVE);
        }
    }
    assert_int_equal(md_alert_spans_finish(spans, NULL), MD_OK);
}

static void lists_what_fired_in_the_period(void **state)
{
    const struct alert alerts[] = {
        {"cpu", "b", "x", "", 0, 130, 140},   {"cpu", "a", "x", "", 5, 120, 0},
        {"cpu", "early", "x", "", 0, 10, 90}, {"cpu", "over", "x", "", 0, 10, 101},
        {"cpu", "edge", "x", "", 0, 10, 100},
    };
    struct md_alert_spans spans;

    (void)state;
    collect(&spans, 100, alerts, 5);
    assert_int_equal(spans.count, 3);
    assert_string_equal(spans.items[0].subject->key, "a");
    assert_int_equal(spans.items[0].active_ms, 115 * MINUTE);
    assert_int_equal(spans.items[0].fired_ms, 120 * MINUTE);
    assert_int_equal(spans.items[0].end_ms, 0);
    assert_false(spans.items[0].before);
    assert_string_equal(spans.items[1].subject->key, "b");
    assert_int_equal(spans.items[1].end_ms, 140 * MINUTE);
    assert_string_equal(spans.items[2].subject->key, "over");
    assert_true(spans.items[2].before);
    md_alert_spans_fini(&spans);
}

static void counts_what_stayed_pending(void **state)
{
    const struct alert alert = {.rule = "cpu", .key = "a", .column = "x", .severity = ""};
    const struct alert other = {.rule = "disk", .key = "a", .column = "x", .severity = ""};
    struct md_alert_spans spans;

    (void)state;
    md_alert_spans_init(&spans, 100 * MINUTE);
    change(&spans, &alert, 50, MD_ALERT_INACTIVE, MD_ALERT_PENDING);
    change(&spans, &alert, 60, MD_ALERT_PENDING, MD_ALERT_INACTIVE); /* before the period */
    for (int64_t minute = 110; minute < 140; minute += 10) {
        change(&spans, &alert, minute, MD_ALERT_INACTIVE, MD_ALERT_PENDING);
        change(&spans, &alert, minute + 5, MD_ALERT_PENDING, MD_ALERT_INACTIVE);
    }
    change(&spans, &other, 150, MD_ALERT_INACTIVE, MD_ALERT_PENDING);
    assert_int_equal(md_alert_spans_finish(&spans, NULL), MD_OK);
    assert_int_equal(spans.count, 0);
    assert_int_equal(md_alert_spans_unfired(&spans, "cpu"), 3);
    assert_int_equal(md_alert_spans_unfired(&spans, "disk"), 1);
    assert_int_equal(md_alert_spans_unfired(&spans, NULL), 4);
    md_alert_spans_fini(&spans);
}

static void keeps_the_most_extreme_value(void **state)
{
    const struct alert alert = {"cpu", "a", "x", "", 0, 110, 0};
    struct md_alert_spans spans;

    (void)state;
    md_alert_spans_init(&spans, 100 * MINUTE);
    change(&spans, &alert, 110, MD_ALERT_INACTIVE, MD_ALERT_FIRING);
    md_alert_spans_value(&spans, fingerprint(&alert), 97, 80, false);
    md_alert_spans_value(&spans, fingerprint(&alert), NAN, NAN, false);
    md_alert_spans_value(&spans, fingerprint(&alert), 91, 85, false);
    md_alert_spans_value(&spans, 12345, 1000, 0, false); /* nobody's */
    assert_int_equal(md_alert_spans_finish(&spans, NULL), MD_OK);
    assert_true(spans.items[0].peak == 97);
    assert_true(spans.items[0].limit == 85);
    md_alert_spans_fini(&spans);

    md_alert_spans_init(&spans, 100 * MINUTE);
    change(&spans, &alert, 110, MD_ALERT_INACTIVE, MD_ALERT_FIRING);
    md_alert_spans_value(&spans, fingerprint(&alert), 12, 80, true);
    md_alert_spans_value(&spans, fingerprint(&alert), 20, 80, true);
    assert_int_equal(md_alert_spans_finish(&spans, NULL), MD_OK);
    assert_true(spans.items[0].peak == 12);
    md_alert_spans_fini(&spans);
}

/* A longer for_min sends a firing alert back to pending: that is the end of one span. */
static void ends_what_is_pending_again(void **state)
{
    const struct alert alert = {"cpu", "a", "x", "", 0, 110, 0};
    struct md_alert_spans spans;

    (void)state;
    md_alert_spans_init(&spans, 100 * MINUTE);
    change(&spans, &alert, 110, MD_ALERT_INACTIVE, MD_ALERT_FIRING);
    change(&spans, &alert, 120, MD_ALERT_FIRING, MD_ALERT_PENDING);
    change(&spans, &alert, 130, MD_ALERT_PENDING, MD_ALERT_FIRING);
    assert_int_equal(md_alert_spans_finish(&spans, NULL), MD_OK);
    assert_int_equal(spans.count, 2);
    assert_int_equal(spans.items[0].end_ms, 120 * MINUTE);
    assert_int_equal(spans.items[1].fired_ms, 130 * MINUTE);
    md_alert_spans_fini(&spans);
}

static void grows(void **state)
{
    struct md_alert_spans spans;
    char key[16];

    (void)state;
    md_alert_spans_init(&spans, 0);
    for (int i = 0; i < 3000; i++) {
        struct alert alert = {"cpu", key, "x", "", 0, 10 + i % 7, 0};
        snprintf(key, sizeof key, "s%04d", 2999 - i);
        change(&spans, &alert, 10 + i % 7, MD_ALERT_INACTIVE, MD_ALERT_FIRING);
    }
    assert_int_equal(md_alert_spans_finish(&spans, NULL), MD_OK);
    assert_int_equal(spans.count, 3000);
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "s%04d", i);
        assert_string_equal(spans.items[i].subject->key, key);
    }
    md_alert_spans_fini(&spans);
}

/* ---- differences ----------------------------------------------------------------------------- */

struct found {
    char text[1024];
};

static bool write_difference(void *context, const struct md_alert_difference *difference)
{
    struct found *found = context;
    const struct md_alert_span *span =
        difference->fresh != NULL ? difference->fresh : difference->old;
    size_t length = strlen(found->text);

    snprintf(found->text + length, sizeof found->text - length, "%s%s %s/%s %d:%d",
             length > 0 ? ", " : "", md_alert_difference_name(difference->kind),
             span->subject->rule, span->subject->key, difference->fresh_count,
             difference->old_count);
    return true;
}

static void expect(const struct alert *fresh, int fresh_count, const struct alert *old,
                   int old_count, const char *expected)
{
    struct md_alert_spans in_fresh, in_old;
    struct found found = {""};

    collect(&in_fresh, 100, fresh, fresh_count);
    collect(&in_old, 100, old, old_count);
    assert_true(md_alert_spans_compare(&in_fresh, &in_old, write_difference, &found));
    assert_string_equal(found.text, expected);
    md_alert_spans_fini(&in_fresh);
    md_alert_spans_fini(&in_old);
}

#define EXPECT(fresh, old, text)                                                                   \
    expect(fresh, sizeof(fresh) / sizeof(fresh)[0], old, sizeof(old) / sizeof(old)[0], text)

static void tells_added_gone_and_same(void **state)
{
    const struct alert fresh[] = {{"cpu", "a", "x", "", 0, 110, 120},
                                  {"cpu", "c", "x", "", 0, 110, 0},
                                  {"disk", "a", "x", "", 0, 110, 120}};
    const struct alert old[] = {{"cpu", "a", "x", "", 0, 110, 120},
                                {"cpu", "b", "x", "", 0, 110, 120},
                                {"cpu", "c", "x", "", 0, 110, 0}};

    (void)state;
    EXPECT(fresh, old, "same cpu/a 1:1, gone cpu/b 0:1, same cpu/c 1:1, added disk/a 1:0");
}

static void tells_other_times(void **state)
{
    const struct alert fresh[] = {{"cpu", "earlier", "x", "", 0, 110, 130},
                                  {"cpu", "goes on", "x", "", 0, 110, 0},
                                  {"cpu", "held", "x", "", 10, 120, 130},
                                  {"cpu", "severe", "x", "critical", 0, 110, 120}};
    const struct alert old[] = {{"cpu", "earlier", "x", "", 0, 115, 130},
                                {"cpu", "goes on", "x", "", 0, 110, 140},
                                {"cpu", "held", "x", "", 0, 110, 130},
                                {"cpu", "severe", "x", "warning", 0, 110, 120}};

    (void)state;
    EXPECT(fresh, old,
           "changed cpu/earlier 1:1, changed cpu/goes on 1:1, changed cpu/held 1:1, "
           "changed cpu/severe 1:1");
}

/* How long it was pending is no difference when it fires and ends at the same times. */
static void takes_firing_for_what_counts(void **state)
{
    const struct alert fresh[] = {{"cpu", "a", "x", "", 10, 120, 130}};
    const struct alert old[] = {{"cpu", "a", "x", "", 5, 120, 130}};

    (void)state;
    EXPECT(fresh, old, "same cpu/a 1:1");
}

static void joins_what_overlaps(void **state)
{
    const struct alert fresh[] = {{"cpu", "a", "x", "", 0, 110, 120},
                                  {"cpu", "a", "x", "", 0, 125, 135},
                                  {"cpu", "a", "x", "", 0, 200, 210}};
    const struct alert old[] = {{"cpu", "a", "x", "", 0, 110, 135},
                                {"cpu", "a", "x", "", 0, 300, 310}};

    (void)state;
    EXPECT(fresh, old, "changed cpu/a 2:1, added cpu/a 1:0, gone cpu/a 0:1");
}

/* Columns of one rule are alerts of their own. */
static void keeps_columns_apart(void **state)
{
    const struct alert fresh[] = {{"cpu", "a", "x", "", 0, 110, 120}};
    const struct alert old[] = {{"cpu", "a", "y", "", 0, 110, 120}};

    (void)state;
    EXPECT(fresh, old, "added cpu/a 1:0, gone cpu/a 0:1");
}

/* When exactly something began that fires already when the period begins is not known. */
static void forgives_beginnings_before_the_period(void **state)
{
    const struct alert fresh[] = {{"cpu", "a", "x", "", 0, 50, 120}};
    const struct alert old[] = {{"cpu", "a", "x", "", 0, 20, 120}};
    const struct alert late[] = {{"cpu", "a", "x", "", 0, 105, 120}};

    (void)state;
    EXPECT(fresh, old, "same cpu/a 1:1");
    EXPECT(late, old, "changed cpu/a 1:1");
}

static bool stop(void *context, const struct md_alert_difference *difference)
{
    (void)difference;
    ++*(int *)context;
    return false;
}

static void stops_when_told(void **state)
{
    const struct alert alerts[] = {{"cpu", "a", "x", "", 0, 110, 120},
                                   {"cpu", "b", "x", "", 0, 110, 120}};
    struct md_alert_spans spans, none;
    int visits = 0;

    (void)state;
    collect(&spans, 100, alerts, 2);
    collect(&none, 100, NULL, 0);
    assert_false(md_alert_spans_compare(&spans, &none, stop, &visits));
    assert_int_equal(visits, 1);
    md_alert_spans_fini(&spans);
    md_alert_spans_fini(&none);
}

static void refuses_too_many(void **state)
{
    struct md_alert_change fires = {.time_ms = MINUTE,
                                    .to = MD_ALERT_FIRING,
                                    .rule = "cpu",
                                    .severity = "",
                                    .key = "a",
                                    .column = "x"};
    struct md_alert_change ends = fires;
    enum md_status status = MD_OK;
    struct md_alert_spans spans;
    struct md_error err;

    (void)state;
    ends.to = MD_ALERT_INACTIVE;
    md_alert_spans_init(&spans, 0);
    for (int i = 0; i <= MD_ALERT_SPANS_MAX && status == MD_OK; i++) {
        fires.time_ms = (2 * i + 1) * MINUTE;
        ends.time_ms = (2 * i + 2) * MINUTE;
        assert_int_equal(md_alert_spans_change(&spans, &fires, &err), MD_OK);
        status = md_alert_spans_change(&spans, &ends, &err);
    }
    assert_int_equal(status, MD_ERR_TOO_LARGE);
    assert_non_null(strstr(err.text, "choose a shorter time"));
    md_alert_spans_fini(&spans);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_what_fired_in_the_period),
        cmocka_unit_test(counts_what_stayed_pending),
        cmocka_unit_test(keeps_the_most_extreme_value),
        cmocka_unit_test(ends_what_is_pending_again),
        cmocka_unit_test(grows),
        cmocka_unit_test(tells_added_gone_and_same),
        cmocka_unit_test(tells_other_times),
        cmocka_unit_test(takes_firing_for_what_counts),
        cmocka_unit_test(joins_what_overlaps),
        cmocka_unit_test(keeps_columns_apart),
        cmocka_unit_test(forgives_beginnings_before_the_period),
        cmocka_unit_test(stops_when_told),
        cmocka_unit_test(refuses_too_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
