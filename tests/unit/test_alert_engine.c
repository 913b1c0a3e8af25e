/*
 * The state machine of alerts, as a table of scenarios (alert_scenarios.inc). A restart after every
 * tick must change nothing, so every scenario runs a second time with one.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alerts.h"
#include "unit.h"

struct scenario {
    const char *name;
    int for_min, keep_firing_min;
    float clear; /* 0: none */
    enum md_alert_no_data no_data;
    const char *values, *states;
};

static const struct scenario scenarios[] = {
#include "alert_scenarios.inc"
};

struct night {
    const struct scenario *scenario;
    struct md_alert_engine *engine;
    struct md_alert_rules *rules, *other_rules;
    struct md_alert_rules *used;
    struct alerts_frame frame;
    int minute;
};

static const char *const keys[] = {"web1", NULL};
static const char *const columns[] = {"cpu", NULL};

static struct md_alert_rules *new_rules(const struct scenario *scenario, float limit)
{
    struct md_alert_rules *rules;
    struct md_error err;
    struct md_alert_rule rule = alerts_rule("high", columns, 1, limit);
    rule.for_ms = scenario->for_min * 60000;
    rule.keep_firing_ms = scenario->keep_firing_min * 60000;
    rule.no_data = scenario->no_data;
    if (scenario->clear > 0)
        rule.clear.fallback = scenario->clear;
    assert_ok(md_alert_rules_new(&rule, 1, &rules, &err));
    return rules;
}

static struct md_alert_engine *new_engine(void)
{
    struct md_alert_engine *engine;
    struct md_error err;
    assert_ok(md_alert_engine_new("server", &engine, &err));
    return engine;
}

static void restart(struct night *night)
{
    struct md_buffer bytes;
    struct md_error err;
    struct md_alert_engine *later = new_engine();
    md_buffer_init(&bytes, 0);
    assert_ok(md_alert_engine_save(night->engine, &bytes, &err));
    assert_ok(md_alert_engine_restore(later, bytes.data, bytes.length, &err));
    md_alert_engine_set_rules(later, night->used);
    md_alert_engine_delete(night->engine);
    night->engine = later;
    md_buffer_fini(&bytes);
}

static void use(struct night *night, struct md_alert_rules *rules)
{
    night->used = rules;
    md_alert_engine_set_rules(night->engine, rules);
}

static bool remember(void *context, const struct md_alert *alert)
{
    assert_null(*(const struct md_alert **)context); /* there is one at most */
    *(const struct md_alert **)context = alert;
    return true;
}

static int minute_of(int64_t time_ms)
{
    return (int)((time_ms - ALERTS_START_MS) / 60000);
}

/* wanted: as in `states`, up to its space. */
static void check_state(const struct night *night, const char *wanted)
{
    const struct md_alert *alert = NULL;
    md_alert_engine_visit(night->engine, remember, &alert);
    bool is_resolved = alert && alert->state == MD_ALERT_INACTIVE;
    char letter = !alert ? '.' : is_resolved ? 'R' : "?PF"[alert->state];
    int64_t since_ms = !alert ? 0 : is_resolved ? alert->resolved_ms : alert->active_ms;
    if (letter != *wanted || (wanted[1] == '@' && minute_of(since_ms) != atoi(wanted + 2)))
        fail_msg("%s: after minute %d it is %c@%d, not %.*s", night->scenario->name, night->minute,
                 letter, alert ? minute_of(since_ms) : 0, (int)strcspn(wanted, " "), wanted);
}

/* One word of `values`; whether it was a tick. */
static bool act(struct night *night, const char *word)
{
    struct md_error err;
    if (*word == '+')
        night->minute += atoi(word + 1);
    else if (*word == '-')
        use(night, NULL);
    else if (*word == '=')
        use(night, night->rules);
    else if (*word == '*')
        use(night, night->other_rules);
    else if (*word == '!')
        restart(night);
    else {
        alerts_frame_at(&night->frame, ++night->minute);
        alerts_frame_set(&night->frame, "web1", "cpu", *word == '_' ? NAN : strtof(word, NULL));
        assert_ok(md_alert_engine_tick(night->engine, &night->frame.frame, NULL, NULL, &err));
        return true;
    }
    return false;
}

static const char *next_word(const char *at)
{
    at += strcspn(at, " ");
    return at + strspn(at, " ");
}

static void play(const struct scenario *scenario, bool restarts)
{
    struct night night = {.scenario = scenario, .minute = -1};
    const char *wanted = scenario->states;
    night.engine = new_engine();
    night.rules = new_rules(scenario, 5);
    night.other_rules = new_rules(scenario, 50);
    alerts_frame_init(&night.frame, keys, columns);
    use(&night, night.rules);
    for (const char *word = scenario->values; *word; word = next_word(word)) {
        if (!act(&night, word))
            continue;
        assert_true(*wanted != '\0');
        check_state(&night, wanted);
        wanted = next_word(wanted);
        if (restarts)
            restart(&night);
    }
    assert_true(*wanted == '\0');
    md_alert_engine_delete(night.engine);
    md_alert_rules_unref(night.rules);
    md_alert_rules_unref(night.other_rules);
}

static void every_scenario_goes_as_it_says(void **state)
{
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++)
        play(&scenarios[i], false);
}

static void a_restart_after_every_tick_changes_nothing(void **state)
{
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++)
        play(&scenarios[i], true);
}

static bool count_active(void *context, const struct md_alert *alert)
{
    *(int *)context += alert->state != MD_ALERT_INACTIVE;
    return true;
}

/* Its clear is a number for everyone, its limit no longer one for this server. */
static void a_rule_that_no_longer_concerns_a_server_lets_go(void **state)
{
    static const char *const profiles[] = {"database"};
    static const float values[] = {5};
    struct md_alert_rule rule = alerts_rule("high", columns, 1, 5);
    struct md_alert_engine *engine = new_engine();
    struct md_error err;
    struct alerts_frame frame;
    alerts_frame_init(&frame, keys, columns);
    alerts_frame_set(&frame, "web1", "cpu", 9);
    rule.clear.fallback = 3;
    for (int tick = 0; tick < 2; tick++) {
        struct md_alert_rules *rules;
        int active = 0;
        if (tick == 1)
            rule.limit = (struct md_alert_limit){NAN, 1, profiles, values};
        assert_ok(md_alert_rules_new(&rule, 1, &rules, &err));
        md_alert_engine_set_rules(engine, rules);
        md_alert_rules_unref(rules);
        alerts_frame_at(&frame, tick);
        assert_ok(md_alert_engine_tick(engine, &frame.frame, NULL, NULL, &err));
        md_alert_engine_visit(engine, count_active, &active);
        assert_int_equal(active, tick == 0);
    }
    md_alert_engine_delete(engine);
}

static void an_entity_label_must_be_one(void **state)
{
    static const char *const bad[] = {"", "a b", "__x", "1a", "metric", "alertname"};
    struct md_alert_engine *engine;
    struct md_error err;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_fails(MD_ERR_INVALID, md_alert_engine_new(bad[i], &engine, &err));
    md_alert_engine_delete(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_scenario_goes_as_it_says),
        cmocka_unit_test(a_restart_after_every_tick_changes_nothing),
        cmocka_unit_test(a_rule_that_no_longer_concerns_a_server_lets_go),
        cmocka_unit_test(an_entity_label_must_be_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
