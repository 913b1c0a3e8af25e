/*
 * Out of memory during a rehearsal: each allocation fails in turn; the rehearsal fails with that
 * status, or goes through, and gives back all that it took.
 */
#include <math.h>
#include <string.h>

#include "failing.h"
#include "rehearsals.h"
#include "unit.h"

static struct alerts_frame frame;
static float (*forecast)[ALERTS_STEPS];

/* An alert of each rule that comes and goes; a forecast that is a hit. */
static void make_frame(int minute)
{
    alerts_frame_at(&frame, minute);
    alerts_frame_set(&frame, "pp01", "cpu", rehearsals_day[minute]);
    alerts_frame_set(&frame, "pp01", "mem", rehearsals_day[REHEARSALS_DAY - 1 - minute]);
    for (int i = 0; i < ALERTS_STEPS; i++) {
        forecast[0][i] = minute + 1 + i < REHEARSALS_DAY ? rehearsals_day[minute + 1 + i] : 0;
    }
}

static bool recorded; /* beside a record; otherwise beside other rules */

static enum md_status make_rules(struct md_alert_rules **rules, float limit)
{
    struct md_alert_rule list[3] = {rehearsals_rule("cpu", limit), rehearsals_rule("both", limit),
                                    rehearsals_rule("soon", limit)};

    list[1].column_count = 2;
    list[2].watch = MD_ALERT_FORECAST;
    list[2].quantile = 0.5f;
    list[2].within_ms = 3 * MINUTE;
    return md_alert_rules_new(list, 3, rules, NULL);
}

static enum md_status feed_all(struct md_alert_rehearsal *rehearsal)
{
    struct md_alert_change change = {.time_ms = rehearsals_at(3),
                                     .active_ms = rehearsals_at(3),
                                     .to = MD_ALERT_FIRING,
                                     .fingerprint = 7,
                                     .rule = "gone",
                                     .severity = "",
                                     .key = "pp01",
                                     .column = "cpu"};
    enum md_status status = MD_OK;

    for (int minute = 0; minute < REHEARSALS_DAY && status == MD_OK; minute++) {
        make_frame(minute);
        status = md_alert_rehearsal_frame(rehearsal, &frame.frame, NULL);
    }
    if (status == MD_OK && recorded) {
        status = md_alert_rehearsal_record(rehearsal, &change, NULL);
    }
    return status == MD_OK ? md_alert_rehearsal_finish(rehearsal, "half", NULL) : status;
}

static enum md_status tell(const struct md_alert_rehearsal *rehearsal)
{
    struct md_alert_report_options options = {.differences_max = 10, .with_same = true};
    struct md_alert_plots *plots = NULL;
    struct md_buffer text;
    enum md_status status = md_alert_plots_new(rehearsal, 10, &plots, NULL);

    md_buffer_init(&text, 0);
    for (int minute = 0; minute < REHEARSALS_DAY && status == MD_OK; minute++) {
        make_frame(minute);
        status = md_alert_plots_frame(plots, &frame.frame, NULL);
    }
    options.plots = plots;
    if (status == MD_OK) {
        status = md_alert_rehearsal_report(rehearsal, &options, &text, NULL);
    }
    md_alert_plots_delete(plots);
    md_buffer_fini(&text);
    return status;
}

static enum md_status rehearse(void)
{
    struct md_alert_rules *fresh = NULL, *old = NULL;
    struct md_alert_rehearsal *rehearsal = NULL;
    enum md_status status = make_rules(&fresh, 8);

    if (status == MD_OK) {
        status = make_rules(&old, 5);
    }
    if (status == MD_OK) {
        struct md_alert_rehearsal_options options = {.entity_label = "server",
                                                     .since_ms = rehearsals_at(0),
                                                     .until_ms = rehearsals_at(REHEARSALS_DAY),
                                                     .bins = 10,
                                                     .fresh = {.rules = fresh},
                                                     .old = {.rules = recorded ? NULL : old},
                                                     .is_recorded = recorded};
        status = md_alert_rehearsal_new(&options, &rehearsal, NULL);
    }
    if (status == MD_OK) {
        status = feed_all(rehearsal);
    }
    if (status == MD_OK) {
        status = tell(rehearsal);
    }
    md_alert_rehearsal_delete(rehearsal);
    md_alert_rules_unref(fresh);
    md_alert_rules_unref(old);
    return status;
}

static void fails_cleanly(bool against_record)
{
    static const char *const keys[] = {"pp01", NULL};
    enum md_status status = MD_OK;
    long kept = 0;
    int failed = 0;

    if (!FAILING_AVAILABLE) {
        skip();
    }
    recorded = against_record;
    alerts_frame_init(&frame, keys, rehearsals_columns);
    forecast = (float(*)[ALERTS_STEPS])alerts_frame_forecast(&frame, "cpu", 0.5f);
    assert_int_equal(rehearse(), MD_OK); /* what libraries keep once is there */
    for (int allowed = 0; failing_run(rehearse, allowed, &status, &kept); allowed++) {
        assert_true(status == MD_OK || status == MD_ERR_MEMORY);
        assert_int_equal(kept, 0);
        failed += status == MD_ERR_MEMORY;
    }
    assert_true(failed > 50);
    assert_int_equal(status, MD_OK);
}

static void fails_cleanly_beside_rules(void **state)
{
    (void)state;
    fails_cleanly(false);
}

static void fails_cleanly_beside_a_record(void **state)
{
    (void)state;
    fails_cleanly(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fails_cleanly_beside_rules),
        cmocka_unit_test(fails_cleanly_beside_a_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
