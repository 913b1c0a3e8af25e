/*
 * Alerts are a function of frames and rules, and of nothing else: random nights, in which values
 * come and go, servers leave and change their profile, ticks are skipped and rules are edited, are
 * lived through by two engines. One lives on; the other is saved and begun anew before many ticks.
 * Events, grades and saved states must be the same, to the byte.
 *
 * And what any night must keep: no event without a change, no state but by the machine's arrows, no
 * instance over its rule's limit, every alert shown being pending, firing or lately resolved.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alert/grade.h"
#include "alerts.h"
#include "base/buffer.h"
#include "unit.h"

enum { NIGHTS = 30, TICKS = 150, RULE_SETS = 3, LIMIT = 4 };

static const char *const keys[] = {"db1", "db2", "web1", "web2", NULL};
static const char *const columns[] = {"cpu", "mem", NULL};
static const char *const profiles[] = {"", "database", "web"};
static struct md_error err;
static uint64_t seed;

static int draw(int below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (int)(seed >> 33) % below;
}

/* Sets differ in limits, hold times, labels, and in which rules there are. */
static struct md_alert_rules *new_rules(int set)
{
    static const float by_profile[] = {30, 70};
    static const struct md_alert_label own = {"team", "infra"};
    struct md_alert_rules *made;
    struct md_alert_rule rules[] = {
        alerts_rule("high", columns, 2, 50), alerts_rule("soon", columns, 2, 50),
        alerts_rule("silent", columns, 2, 0), alerts_rule("few", columns, 2, 40),
        alerts_rule("low", columns, 1, 10)};
    rules[0].for_ms = set * ALERTS_STEP_MS;
    rules[0].keep_firing_ms = 2 * ALERTS_STEP_MS;
    rules[0].limit = (struct md_alert_limit){50, 2, profiles + 1, by_profile};
    rules[0].clear.fallback = set == 1 ? NAN : 25;
    rules[1].watch = MD_ALERT_FORECAST;
    rules[1].quantile = 0.5f;
    rules[1].within_ms = 6 * ALERTS_STEP_MS;
    rules[1].no_data = MD_ALERT_NO_DATA_KEEP;
    rules[2].watch = MD_ALERT_ABSENT;
    rules[2].for_ms = 2 * ALERTS_STEP_MS;
    rules[2].labels = &own;
    rules[2].label_count = set == 2;
    rules[3].instances_max = LIMIT;
    rules[4].is_below = true;
    rules[4].no_data = MD_ALERT_NO_DATA_FIRE;
    assert_ok(md_alert_rules_new(rules, set == 0 ? 5 : 5 - set, &made, &err));
    return made;
}

static void shake(struct alerts_frame *frame, int minute)
{
    float *forecast = frame->forecasts[0];
    frame->frame.key_count = draw(20) ? 4 : 3;
    frame->frame.channel_count = draw(10) ? 1 : 0;
    alerts_frame_at(frame, minute);
    for (int k = 0; k < 4; k++) {
        if (!draw(40))
            frame->profiles[k] = profiles[draw(3)];
        for (int c = 0; c < 2; c++) {
            float before = isnan(frame->values[2 * k + c]) ? 40 : frame->values[2 * k + c];
            float now = before + (float)(draw(31) - 15);
            frame->values[2 * k + c] = !draw(12) ? NAN : fminf(fmaxf(now, 0), 100);
        }
        for (int s = 0; s < ALERTS_STEPS; s++)
            forecast[k * ALERTS_STEPS + s] = draw(15) ? (float)(draw(9) * 8 - 10) : NAN;
    }
}

/* ---- what is said ---------------------------------------------------------------------------- */

static void write_event(void *context, const struct md_alert_event *event)
{
    const struct md_alert *alert = event->alert;
    assert_int_not_equal(event->from, event->to);
    assert_int_equal(event->to, alert->state);
    assert_false(event->from == MD_ALERT_FIRING && event->to == MD_ALERT_PENDING);
    md_buffer_printf(context, "%s %s %s %s %d>%d %lld %lld %lld %a %d\n", alert->name, alert->key,
                     alert->column, alert->profile, event->from, event->to,
                     (long long)alert->active_ms, (long long)alert->fired_ms,
                     (long long)alert->resolved_ms, (double)alert->value, alert->lead_steps);
}

static void write_grade(void *context, const struct md_alert_grade *grade)
{
    md_buffer_printf(context, "%s %s %s %s %lld %lld\n", grade->rule, grade->key, grade->column,
                     md_alert_outcome_name(grade->outcome), (long long)grade->fired_ms,
                     (long long)grade->crossed_ms);
}

struct life {
    struct md_alert_engine *engine;
    struct md_buffer said, state;
};

static void begin(struct life *life)
{
    assert_ok(md_alert_engine_new("server", &life->engine, &err));
    md_buffer_init(&life->said, 0);
    md_buffer_init(&life->state, 0);
}

static void end(struct life *life)
{
    md_alert_engine_delete(life->engine);
    md_buffer_fini(&life->said);
    md_buffer_fini(&life->state);
}

static void live(struct life *life, const struct alerts_frame *frame)
{
    struct md_alert_sink sink = {&life->said, write_event, write_grade};
    assert_ok(md_alert_engine_tick(life->engine, &frame->frame, NULL, &sink, &err));
    md_buffer_clear(&life->state);
    assert_ok(md_alert_engine_save(life->engine, &life->state, &err));
}

static void begin_anew(struct life *life, struct md_alert_rules *rules)
{
    struct md_alert_engine *later;
    assert_ok(md_alert_engine_new("server", &later, &err));
    if (draw(2))
        md_alert_engine_set_rules(later, rules);
    assert_ok(md_alert_engine_restore(later, life->state.data, life->state.length, &err));
    md_alert_engine_set_rules(later, rules);
    md_alert_engine_delete(life->engine);
    life->engine = later;
}

struct shown {
    const struct md_alert_engine *engine;
    int few;
    uint64_t last; /* fingerprint */
};

static bool check_shown(void *context, const struct md_alert *alert)
{
    struct shown *shown = context;
    int64_t now_ms = md_alert_engine_time_ms(shown->engine);
    bool is_active = alert->state != MD_ALERT_INACTIVE;
    shown->few += is_active && strcmp(alert->name, "few") == 0;
    assert_true(alert->fingerprint != shown->last);
    shown->last = alert->fingerprint;
    if (is_active) {
        assert_true(alert->active_ms > 0 && alert->active_ms <= now_ms && alert->resolved_ms == 0);
        assert_int_equal(alert->fired_ms != 0, alert->state == MD_ALERT_FIRING);
    } else {
        assert_true(alert->resolved_ms > 0 && now_ms - alert->resolved_ms <= MD_ALERT_RESOLVED_MS);
    }
    return true;
}

static void assert_same(const struct md_buffer *one, const struct md_buffer *other)
{
    assert_int_equal(one->length, other->length);
    if (one->length)
        assert_memory_equal(one->data, other->data, one->length);
}

/* Returns how much was said. */
static size_t play(struct md_alert_rules *const *sets)
{
    static struct alerts_frame frame;
    struct md_alert_rules *used = sets[0];
    struct life one, other;
    int minute = 0;
    begin(&one);
    begin(&other);
    alerts_frame_init(&frame, keys, columns);
    alerts_frame_forecast(&frame, "cpu", 0.5f);
    for (int t = 0; t < TICKS; t++) {
        minute += !draw(25) ? 1 + draw(70) : 1;
        if (!draw(15) || t == 0) {
            used = draw(6) ? sets[draw(RULE_SETS)] : NULL;
            md_alert_engine_set_rules(one.engine, used);
            md_alert_engine_set_rules(other.engine, used);
        }
        if (t > 0 && !draw(3))
            begin_anew(&other, used);
        shake(&frame, minute);
        live(&one, &frame);
        live(&other, &frame);
        assert_same(&one.said, &other.said);
        assert_same(&one.state, &other.state);
        struct shown shown = {.engine = one.engine};
        md_alert_engine_visit(one.engine, check_shown, &shown);
        assert_true(shown.few <= LIMIT);
    }
    size_t said = one.said.length;
    end(&one);
    end(&other);
    return said;
}

static void restarts_change_nothing_of_any_night(void **state)
{
    struct md_alert_rules *sets[RULE_SETS];
    for (int s = 0; s < RULE_SETS; s++)
        sets[s] = new_rules(s);
    for (int night = 1; night <= NIGHTS; night++) {
        seed = 0x9e3779b97f4a7c15ull * (uint64_t)night;
        if (play(sets) < 1000)
            fail_msg("night %d was quiet", night);
    }
    for (int s = 0; s < RULE_SETS; s++)
        md_alert_rules_unref(sets[s]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restarts_change_nothing_of_any_night),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
