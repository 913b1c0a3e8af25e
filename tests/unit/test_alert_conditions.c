/*
 * Conditions of alert rules over whole frames: profiles, columns, forecasts, silence, gauges,
 * functions, limits of instances; which alerts there are and what they are labelled.
 *
 * What is active after a tick is written as one line, in the order of md_alert_engine_visit:
 * "rule/key/column=value(lead)", with "?" behind it while it is pending.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alerts.h"
#include "base/buffer.h"
#include "unit.h"

static const char *const keys[] = {"db1", "db2", "web1", NULL};
static const char *const columns[] = {"cpu", "mem", "disk", NULL};
static const char *const cpu[] = {"cpu"};
static const char *const cpu_and_disk[] = {"disk", "cpu"};

struct fixture {
    struct alerts_frame frame;
    struct md_alert_engine *engine;
    struct md_buffer line;
};

static void begin(struct fixture *fixture)
{
    struct md_error err;
    alerts_frame_init(&fixture->frame, keys, columns);
    fixture->frame.profiles[0] = fixture->frame.profiles[1] = "database";
    for (int i = 0; i < 9; i++)
        fixture->frame.values[i] = 10;
    md_buffer_init(&fixture->line, 0);
    assert_ok(md_alert_engine_new("server", &fixture->engine, &err));
}

static void end(struct fixture *fixture)
{
    md_alert_engine_delete(fixture->engine);
    md_buffer_fini(&fixture->line);
}

static void use(struct fixture *fixture, const struct md_alert_rule *rules, int count)
{
    struct md_alert_rules *set;
    struct md_error err;
    assert_ok(md_alert_rules_new(rules, count, &set, &err));
    md_alert_engine_set_rules(fixture->engine, set);
    md_alert_rules_unref(set);
}

static bool write(void *context, const struct md_alert *alert)
{
    struct md_buffer *line = context;
    if (alert->state == MD_ALERT_INACTIVE)
        return true;
    md_buffer_printf(line, "%s%s/%s/%s=%g", line->length ? " " : "", alert->name, alert->key,
                     alert->column, (double)alert->value);
    if (alert->lead_steps)
        md_buffer_printf(line, "(%d)", alert->lead_steps);
    md_buffer_text(line, alert->state == MD_ALERT_PENDING ? "?" : "");
    return true;
}

static const char *tick_with(struct fixture *fixture, const struct md_alert_predicate *predicate)
{
    struct md_error err;
    fixture->frame.frame.time_ms += ALERTS_STEP_MS;
    assert_ok(md_alert_engine_tick(fixture->engine, &fixture->frame.frame, predicate, NULL, &err));
    md_buffer_clear(&fixture->line);
    md_buffer_text(&fixture->line, "");
    md_alert_engine_visit(fixture->engine, write, &fixture->line);
    return fixture->line.data ? fixture->line.data : "";
}

static const char *tick(struct fixture *fixture)
{
    return tick_with(fixture, NULL);
}

static const char *problem(struct fixture *fixture, int rule)
{
    static struct md_alert_rule_health health;
    md_alert_rule_health(fixture->engine, rule, &health);
    return health.error;
}

static void a_limit_may_differ_by_profile(void **state)
{
    static const char *const profiles[] = {"database", "cache"};
    static const float values[] = {50, 5};
    struct md_alert_rule rules[] = {alerts_rule("named", cpu, 1, NAN),
                                    alerts_rule("all", cpu, 1, 20)};
    struct fixture fixture;
    begin(&fixture);
    for (int r = 0; r < 2; r++) {
        rules[r].limit.profile_count = 2;
        rules[r].limit.profiles = profiles;
        rules[r].limit.values = values;
    }
    use(&fixture, rules, 2);
    alerts_frame_set(&fixture.frame, "db1", "cpu", 50);
    alerts_frame_set(&fixture.frame, "db2", "cpu", 49);
    alerts_frame_set(&fixture.frame, "web1", "cpu", 20); /* no profile: only the fallback is its */
    assert_string_equal(tick(&fixture), "named/db1/cpu=50 all/db1/cpu=50 all/web1/cpu=20");
    fixture.frame.profiles[0] = "cache"; /* another alert, for it is labelled otherwise */
    assert_string_equal(tick(&fixture), "named/db1/cpu=50 all/db1/cpu=50 all/web1/cpu=20");
    fixture.frame.profiles[0] = "unheard of";
    assert_string_equal(tick(&fixture), "all/db1/cpu=50 all/web1/cpu=20");
    end(&fixture);
}

static void clear_may_differ_by_profile(void **state)
{
    static const char *const profiles[] = {"database"};
    static const float values[] = {30};
    struct md_alert_rule rule = alerts_rule("high", cpu, 1, 40);
    struct fixture fixture;
    begin(&fixture);
    rule.clear = (struct md_alert_limit){NAN, 1, profiles, values};
    use(&fixture, &rule, 1);
    alerts_frame_set(&fixture.frame, "db1", "cpu", 45);
    alerts_frame_set(&fixture.frame, "web1", "cpu", 45);
    assert_string_equal(tick(&fixture), "high/db1/cpu=45 high/web1/cpu=45");
    alerts_frame_set(&fixture.frame, "db1", "cpu", 35);
    alerts_frame_set(&fixture.frame, "db2", "cpu", 35);
    alerts_frame_set(&fixture.frame, "web1", "cpu", 35);
    assert_string_equal(tick(&fixture), "high/db1/cpu=35");
    end(&fixture);
}

static void alerts_come_by_rule_key_and_column(void **state)
{
    struct md_alert_rule rules[] = {alerts_rule("low", cpu_and_disk, 2, 11),
                                    alerts_rule("high", cpu_and_disk, 2, 12)};
    struct fixture fixture;
    begin(&fixture);
    rules[0].is_below = true;
    use(&fixture, rules, 2);
    alerts_frame_set(&fixture.frame, "db2", "cpu", 12);
    alerts_frame_set(&fixture.frame, "db2", "disk", 11);
    alerts_frame_set(&fixture.frame, "db1", "disk", 11.5f);
    assert_string_equal(tick(&fixture),
                        "low/db1/cpu=10 low/db2/disk=11 low/web1/disk=10 low/web1/cpu=10 "
                        "high/db2/cpu=12");
    alerts_frame_set(&fixture.frame, "db1", "disk", 13);
    alerts_frame_set(&fixture.frame, "db1", "cpu", 14);
    assert_string_equal(tick(&fixture), "low/db2/disk=11 low/web1/disk=10 low/web1/cpu=10 "
                                        "high/db1/disk=13 high/db1/cpu=14 high/db2/cpu=12");
    end(&fixture);
}

static bool write_labels(void *context, const struct md_alert *alert)
{
    for (int i = 0; i < alert->label_count; i++)
        md_buffer_printf(context, "%s=%s ", alert->labels[i].name, alert->labels[i].value);
    md_buffer_printf(context, "%016llx", (unsigned long long)alert->fingerprint);
    return true;
}

static void labels_say_whose_alert_it_is(void **state)
{
    static const struct md_alert_label own[] = {
        {"team", "infra"}, {"server", "mine"}, {"empty", ""}, {"area", "south"}};
    struct md_alert_rule rule = alerts_rule("high", cpu, 1, 20);
    struct fixture fixture;
    begin(&fixture);
    rule.labels = own;
    rule.label_count = 4;
    use(&fixture, &rule, 1);
    alerts_frame_set(&fixture.frame, "db1", "cpu", 20);
    tick(&fixture);
    struct md_buffer text;
    md_buffer_init(&text, 0);
    md_alert_engine_visit(fixture.engine, write_labels, &text);
    /* The fingerprint is Alertmanager's of these labels: FNV-1a, 64 bits, of each name and value
     * with a byte 255 behind. Worked out by hand, in Python. */
    assert_string_equal(text.data, "alertname=high area=south metric=cpu profile=database "
                                   "server=db1 severity=warning team=infra 6d0a2877aec6d122");
    md_buffer_fini(&text);
    end(&fixture);
}

/* ---- forecasts ------------------------------------------------------------------------------- */

static struct md_alert_rule forecast_rule(float limit, int within_min)
{
    struct md_alert_rule rule = alerts_rule("soon", cpu, 1, limit);
    rule.watch = MD_ALERT_FORECAST;
    rule.quantile = 0.9f;
    rule.within_ms = within_min * 60000;
    return rule;
}

static void a_forecast_says_when(void **state)
{
    struct md_alert_rule rules[] = {forecast_rule(50, 5), forecast_rule(-50, 5)};
    struct fixture fixture;
    begin(&fixture);
    rules[1].name = "down";
    rules[1].is_below = true;
    use(&fixture, rules, 2);
    alerts_frame_forecast(&fixture.frame, "mem", 0.9f)[0] = 99; /* another column */
    alerts_frame_forecast(&fixture.frame, "cpu", 0.5f)[0] = 99; /* another quantile */
    float *values = alerts_frame_forecast(&fixture.frame, "cpu", 0.9f);
    for (int k = 0; k < 3; k++)
        for (int s = 0; s < ALERTS_STEPS; s++)
            values[k * ALERTS_STEPS + s] = (float)(10 * s + k); /* 50 at the sixth: too late */
    assert_string_equal(tick(&fixture), "");
    values[1 * ALERTS_STEPS + 4] = 70; /* the fifth is just in time */
    values[2 * ALERTS_STEPS + 1] = 50;
    values[2 * ALERTS_STEPS + 3] = 99;
    assert_string_equal(tick(&fixture), "soon/db2/cpu=70(5) soon/web1/cpu=50(2)");
    values[1 * ALERTS_STEPS + 0] = NAN;
    values[1 * ALERTS_STEPS + 1] = -50;
    assert_string_equal(tick(&fixture),
                        "soon/db2/cpu=70(5) soon/web1/cpu=50(2) down/db2/cpu=-50(2)");
    end(&fixture);
}

static void a_forecast_that_is_only_over_clear_says_no_time(void **state)
{
    struct md_alert_rule rule = forecast_rule(50, 5);
    struct fixture fixture;
    begin(&fixture);
    rule.clear.fallback = 40;
    use(&fixture, &rule, 1);
    float *values = alerts_frame_forecast(&fixture.frame, "cpu", 0.9f);
    values[2] = 55;
    assert_string_equal(tick(&fixture), "soon/db1/cpu=55(3)");
    values[2] = 45;
    values[4] = 44;
    assert_string_equal(tick(&fixture), "soon/db1/cpu=45");
    values[2] = values[4] = 39;
    assert_string_equal(tick(&fixture), "");
    end(&fixture);
}

static void without_a_forecast_nothing_is_known(void **state)
{
    struct md_alert_rule rules[] = {forecast_rule(50, 5), forecast_rule(50, 5)};
    struct fixture fixture;
    begin(&fixture);
    rules[1].name = "kept";
    rules[1].no_data = MD_ALERT_NO_DATA_KEEP;
    use(&fixture, rules, 2);
    alerts_frame_forecast(&fixture.frame, "cpu", 0.9f)[0] = 55;
    assert_string_equal(tick(&fixture), "soon/db1/cpu=55(1) kept/db1/cpu=55(1)");
    assert_string_equal(problem(&fixture, 0), "");
    fixture.frame.frame.channel_count = 0;
    assert_string_equal(tick(&fixture), "kept/db1/cpu=55(1)");
    assert_string_equal(problem(&fixture, 0), "there is no forecast of cpu at quantile 0.9");
    end(&fixture);
}

static void a_horizon_shorter_than_a_step_sees_nothing(void **state)
{
    struct md_alert_rule rule = forecast_rule(50, 1);
    struct fixture fixture;
    begin(&fixture);
    rule.within_ms = 59999;
    use(&fixture, &rule, 1);
    alerts_frame_forecast(&fixture.frame, "cpu", 0.9f)[0] = 55;
    assert_string_equal(tick(&fixture), "");
    assert_non_null(strstr(problem(&fixture, 0), "no step of the forecast of cpu is within"));
    end(&fixture);
}

/* ---- silence, gauges, functions -------------------------------------------------------------- */

static void absent_is_what_was_there_before(void **state)
{
    struct md_alert_rule rule = alerts_rule("silent", cpu_and_disk, 2, 0);
    struct fixture fixture;
    begin(&fixture);
    rule.watch = MD_ALERT_ABSENT;
    use(&fixture, &rule, 1);
    assert_string_equal(tick(&fixture), "");
    alerts_frame_set(&fixture.frame, "db1", "cpu", NAN);
    alerts_frame_set(&fixture.frame, "db2", "disk", NAN);
    alerts_frame_set(&fixture.frame, "db2", "mem", NAN);
    fixture.frame.known[3 + 2] = 0; /* db2 never sent its disk */
    assert_string_equal(tick(&fixture), "silent/db1/cpu=nan");
    alerts_frame_set(&fixture.frame, "db1", "cpu", 0);
    assert_string_equal(tick(&fixture), "");
    end(&fixture);
}

static void a_column_that_is_not_there_is_a_problem_and_no_data(void **state)
{
    static const char *const missing[] = {"cpu", "gpu"};
    struct md_alert_rule rules[] = {alerts_rule("high", missing, 2, 20),
                                    alerts_rule("fires", missing + 1, 1, 20)};
    struct fixture fixture;
    begin(&fixture);
    rules[1].no_data = MD_ALERT_NO_DATA_FIRE;
    use(&fixture, rules, 2);
    alerts_frame_set(&fixture.frame, "web1", "cpu", 20);
    assert_string_equal(tick(&fixture), "high/web1/cpu=20 fires/db1/gpu=nan fires/db2/gpu=nan "
                                        "fires/web1/gpu=nan");
    assert_string_equal(problem(&fixture, 0), "there is no column gpu");
    end(&fixture);
}

static void a_gauge_has_one_alert(void **state)
{
    struct md_alert_rule rule = alerts_rule("queue", NULL, 0, 50);
    struct fixture fixture;
    begin(&fixture);
    rule.watch = MD_ALERT_GAUGE;
    rule.gauge = "depth{model=\"tft\"}";
    rule.clear.fallback = 40;
    use(&fixture, &rule, 1);
    assert_string_equal(tick(&fixture), "");
    assert_string_equal(problem(&fixture, 0), "there is no gauge depth{model=\"tft\"}");
    fixture.frame.gauges[0] = (struct md_alert_gauge){"depth{model=\"other\"}", 99};
    fixture.frame.gauges[1] = (struct md_alert_gauge){"depth{model=\"tft\"}", 50};
    fixture.frame.frame.gauge_count = 2;
    assert_string_equal(tick(&fixture), "queue//=50");
    fixture.frame.gauges[1].value = 45;
    assert_string_equal(tick(&fixture), "queue//=45");
    fixture.frame.gauges[1].value = 39;
    assert_string_equal(tick(&fixture), "");
    assert_string_equal(problem(&fixture, 0), "");
    end(&fixture);
}

/* Function 7: over 20 by cpu and mem together; fails for a server called db2, or wholly. */
struct caller {
    bool fails_for_db2, fails;
};

static enum md_status evaluate(void *context, int function, const struct md_alert_frame *frame,
                               struct md_alert_verdict *verdicts, struct md_error *err)
{
    const struct caller *caller = context;
    assert_int_equal(function, 7);
    if (caller->fails)
        return md_fail(err, MD_ERR_SCRIPT, "alerts.lua:3: oh no");
    for (int k = 0; k < frame->key_count; k++) {
        const float *row = frame->values + k * frame->column_count;
        verdicts[k].value = row[0] + row[1];
        verdicts[k].holds = row[0] + row[1] > 20 ? MD_ALERT_YES : MD_ALERT_NO;
        if (caller->fails_for_db2 && strcmp(frame->keys[k], "db2") == 0)
            verdicts[k].holds = MD_ALERT_FAILED;
    }
    return MD_OK;
}

static void a_function_is_asked_and_may_fail(void **state)
{
    static const enum md_alert_no_data on_error[] = {MD_ALERT_NO_DATA_RESOLVE,
                                                     MD_ALERT_NO_DATA_KEEP, MD_ALERT_NO_DATA_FIRE};
    for (int p = 0; p < 3; p++) {
        struct md_alert_rule rule = alerts_rule("sum", NULL, 0, 0);
        struct caller caller = {0};
        struct md_alert_predicate predicate = {&caller, evaluate};
        struct fixture fixture;
        begin(&fixture);
        rule.watch = MD_ALERT_FUNCTION;
        rule.function = 7;
        rule.on_error = on_error[p];
        use(&fixture, &rule, 1);
        alerts_frame_set(&fixture.frame, "db2", "mem", 20.5f);
        alerts_frame_set(&fixture.frame, "web1", "cpu", 21);
        assert_string_equal(tick_with(&fixture, &predicate), "sum/db2/=30.5 sum/web1/=31");
        caller.fails_for_db2 = true;
        const char *after = tick_with(&fixture, &predicate);
        assert_string_equal(after, p == 0 ? "sum/web1/=31" : "sum/db2/=30.5 sum/web1/=31");
        assert_string_equal(problem(&fixture, 0), "failed for db2");
        caller.fails = true;
        after = tick_with(&fixture, &predicate);
        assert_int_equal(strstr(after, "web1") != NULL, p > 0);
        assert_int_equal(strstr(after, "db1") != NULL, p == 2);
        assert_string_equal(problem(&fixture, 0), "alerts.lua:3: oh no");
        tick_with(&fixture, NULL);
        assert_string_equal(problem(&fixture, 0), "nobody evaluates functions");
        end(&fixture);
    }
}

/* ---- limits of instances, events, frames ----------------------------------------------------- */

static void too_many_alerts_are_none(void **state)
{
    struct md_alert_rule rules[] = {alerts_rule("few", cpu, 1, 20), alerts_rule("any", cpu, 1, 20)};
    struct fixture fixture;
    begin(&fixture);
    rules[0].instances_max = 2;
    use(&fixture, rules, 2);
    alerts_frame_set(&fixture.frame, "db1", "cpu", 20);
    alerts_frame_set(&fixture.frame, "db2", "cpu", 20);
    assert_string_equal(tick(&fixture),
                        "few/db1/cpu=20 few/db2/cpu=20 any/db1/cpu=20 any/db2/cpu=20");
    alerts_frame_set(&fixture.frame, "web1", "cpu", 20);
    assert_string_equal(tick(&fixture), "any/db1/cpu=20 any/db2/cpu=20 any/web1/cpu=20");
    assert_string_equal(problem(&fixture, 0), "exceeded limit of 2 with 3 alerts");
    alerts_frame_set(&fixture.frame, "db1", "cpu", 19);
    assert_string_equal(tick(&fixture),
                        "few/db2/cpu=20 few/web1/cpu=20 any/db2/cpu=20 any/web1/cpu=20");
    assert_string_equal(problem(&fixture, 0), "");
    end(&fixture);
}

static void write_event(void *context, const struct md_alert_event *event)
{
    assert_int_equal(event->to, event->alert->state);
    md_buffer_printf(context, "%s:%c%c ", event->alert->key, ".PF"[event->from], ".PF"[event->to]);
}

static void events_tell_every_change_in_order(void **state)
{
    static const char *const wanted[] = {"web1:.P ", "db1:.P web1:PF ", "db1:P. web1:F. ", ""};
    static const float db1[] = {0, 30, 0, 0}, web1[] = {30, 30, 0, 0};
    struct md_alert_rule rule = alerts_rule("high", cpu, 1, 20);
    struct md_error err;
    struct fixture fixture;
    begin(&fixture);
    rule.for_ms = 60000;
    use(&fixture, &rule, 1);
    struct md_alert_sink sink = {.context = &fixture.line, .event = write_event};
    for (int t = 0; t < 4; t++) {
        alerts_frame_at(&fixture.frame, t);
        alerts_frame_set(&fixture.frame, "db1", "cpu", db1[t]);
        alerts_frame_set(&fixture.frame, "web1", "cpu", web1[t]);
        md_buffer_clear(&fixture.line);
        md_buffer_text(&fixture.line, "");
        assert_ok(md_alert_engine_tick(fixture.engine, &fixture.frame.frame, NULL, &sink, &err));
        assert_string_equal(fixture.line.data ? fixture.line.data : "", wanted[t]);
    }
    end(&fixture);
}

static void an_entity_that_leaves_takes_its_alerts_along(void **state)
{
    struct md_alert_rule rule = alerts_rule("high", cpu, 1, 20);
    struct fixture fixture;
    begin(&fixture);
    rule.no_data = MD_ALERT_NO_DATA_KEEP;
    use(&fixture, &rule, 1);
    alerts_frame_set(&fixture.frame, "web1", "cpu", 20);
    assert_string_equal(tick(&fixture), "high/web1/cpu=20");
    fixture.frame.frame.key_count = 2;
    assert_string_equal(tick(&fixture), "");
    end(&fixture);
}

static void wrong_frames_are_refused(void **state)
{
    struct md_alert_rule rule = alerts_rule("high", cpu, 1, 5);
    struct md_error err;
    struct fixture fixture;
    begin(&fixture);
    use(&fixture, &rule, 1);
    tick(&fixture);
    assert_true(md_alert_engine_time_ms(fixture.engine) == fixture.frame.frame.time_ms);
    assert_fails(MD_ERR_CONFLICT,
                 md_alert_engine_tick(fixture.engine, &fixture.frame.frame, NULL, NULL, &err));
    struct md_alert_frame frame = fixture.frame.frame;
    frame.time_ms += ALERTS_STEP_MS;
    frame.step_ms = 0;
    assert_fails(MD_ERR_INVALID, md_alert_engine_tick(fixture.engine, &frame, NULL, NULL, &err));
    frame.step_ms = ALERTS_STEP_MS;
    frame.time_ms = INT64_MAX;
    assert_fails(MD_ERR_INVALID, md_alert_engine_tick(fixture.engine, &frame, NULL, NULL, &err));
    frame.time_ms = fixture.frame.frame.time_ms + ALERTS_STEP_MS;
    frame.key_count = -1;
    assert_fails(MD_ERR_INVALID, md_alert_engine_tick(fixture.engine, &frame, NULL, NULL, &err));
    frame.key_count = 3;
    fixture.frame.keys[1] = "aa1";
    assert_fails(MD_ERR_INVALID, md_alert_engine_tick(fixture.engine, &frame, NULL, NULL, &err));
    assert_says("aa1 is out of order");
    assert_true(md_alert_engine_time_ms(fixture.engine) == fixture.frame.frame.time_ms);
    end(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_limit_may_differ_by_profile),
        cmocka_unit_test(clear_may_differ_by_profile),
        cmocka_unit_test(alerts_come_by_rule_key_and_column),
        cmocka_unit_test(labels_say_whose_alert_it_is),
        cmocka_unit_test(a_forecast_says_when),
        cmocka_unit_test(a_forecast_that_is_only_over_clear_says_no_time),
        cmocka_unit_test(without_a_forecast_nothing_is_known),
        cmocka_unit_test(a_horizon_shorter_than_a_step_sees_nothing),
        cmocka_unit_test(absent_is_what_was_there_before),
        cmocka_unit_test(a_column_that_is_not_there_is_a_problem_and_no_data),
        cmocka_unit_test(a_gauge_has_one_alert),
        cmocka_unit_test(a_function_is_asked_and_may_fail),
        cmocka_unit_test(too_many_alerts_are_none),
        cmocka_unit_test(events_tell_every_change_in_order),
        cmocka_unit_test(an_entity_that_leaves_takes_its_alerts_along),
        cmocka_unit_test(wrong_frames_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
