/*
 * The live alerts: what a tick keeps of a frame and of what happened, and who hears of it. See
 * test_alert_lasting.c for restarts and trouble.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "alert/history.h"
#include "alert_night.h"
#include "base/json_in.h"
#include "failing.h"
#include "unit.h"

/* ---- what a tick keeps ----------------------------------------------------------------------- */

static enum md_status look_at_frame(void *context, const struct md_alert_frame *frame,
                                    struct md_error *err)
{
    struct alerts_frame *wanted = context;
    assert_int_equal(frame->key_count, 4);
    assert_floats_close(frame->values, wanted->values, 8, 0, 0);
    assert_int_equal(frame->channel_count, 1); /* mem is not watched */
    assert_string_equal(frame->channels[0].column, "cpu");
    assert_int_equal(frame->channels[0].steps, 5); /* nor is what lies beyond 5 minutes */
    for (int k = 0; k < 4; k++)
        assert_floats_close(frame->channels[0].values + k * 5,
                            wanted->forecasts[0] + k * ALERTS_STEPS, 5, 80.0 / 131070, 0);
    return MD_OK;
}

static void a_tick_keeps_what_rules_saw(void **state)
{
    const struct night *night = *state;
    struct md_error err;
    struct alerts_frame frame;
    struct md_store *store = night_store(night);
    struct md_alert_live *live = night_live(night, store);
    night_fill(&frame, 0);
    assert_ok(md_alert_live_tick(live, &frame.frame, NULL, &err));
    assert_ok(md_alert_history_frames(store, 0, INT64_MAX, look_at_frame, &frame, &err));
    assert_fails(MD_ERR_CONFLICT, night_tick(live, 0, &err));
    assert_non_null(strstr(err.text, "alerts wait until the clock is there"));
    assert_int_equal(night_frames(store), 1);
    md_alert_live_delete(live);
    md_store_close(store);
}

static enum md_status look_at_kept(void *context, const struct md_alert_frame *frame,
                                   struct md_error *err)
{
    assert_int_equal(frame->channel_count, 2);
    assert_int_equal(frame->channels[0].steps, 5); /* watched farther than kept */
    assert_string_equal(frame->channels[1].column, "mem");
    assert_int_equal(frame->channels[1].steps, 3);
    return MD_OK;
}

static void channels_may_be_kept_for_later_rules(void **state)
{
    const struct night *night = *state;
    struct md_error err;
    struct md_store *store = night_store(night);
    struct md_alert_live *live;
    int64_t within_ms;
    const float quantiles[] = {0.9f, 0.5f};
    const struct md_alert_live_options options = {.entity_label = "server",
                                                  .store = store,
                                                  .keep_within_ms = 3 * ALERTS_STEP_MS,
                                                  .keep_quantiles = quantiles,
                                                  .keep_quantile_count = 2};
    assert_ok(md_alert_live_new(&options, &live, &err));
    assert_false(md_alert_live_wants(live, "cpu", 0.1f, &within_ms));
    assert_true(md_alert_live_wants(live, "cpu", 0.5f, &within_ms));
    assert_true(within_ms == 3 * ALERTS_STEP_MS);
    md_alert_live_set_rules(live, night->rules);
    assert_true(md_alert_live_wants(live, "cpu", 0.5f, &within_ms));
    assert_true(within_ms == 5 * ALERTS_STEP_MS);
    assert_true(md_alert_live_wants(live, "net", 0.9f, &within_ms));
    assert_true(within_ms == 3 * ALERTS_STEP_MS);
    assert_ok(night_tick(live, 0, &err));
    assert_ok(md_alert_history_frames(store, 0, INT64_MAX, look_at_kept, NULL, &err));
    md_alert_live_delete(live);
    md_store_close(store);
}

static json_t *member(json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    if (!value)
        fail_msg("an event has no %s", name);
    return value;
}

static enum md_status look_at_event(void *context, int64_t time_ms, const char *json,
                                    struct md_error *err)
{
    json_t *event;
    if (md_json_parse(json, strlen(json), &event, err) != MD_OK)
        return err->code;
    bool is_alert = strcmp(json_string_value(member(event, "kind")), "alert") == 0;
    assert_true(json_integer_value(member(event, "time_ms")) == time_ms);
    json_string_value(member(event, "server"));
    if (is_alert && strcmp(json_string_value(member(event, "to")), "firing") == 0 &&
        strcmp(json_string_value(member(event, "rule")), "high") == 0) {
        ++*(int *)context;
        assert_string_equal(json_string_value(member(event, "from")), "pending");
        assert_true(json_integer_value(member(event, "active_ms")) == time_ms - 2 * ALERTS_STEP_MS);
        assert_true(json_integer_value(member(event, "fired_ms")) == time_ms);
        assert_int_equal(strlen(json_string_value(member(event, "fingerprint"))), 16);
        assert_string_equal(json_string_value(member(member(event, "labels"), "alertname")),
                            "high");
        assert_non_null(
            strstr(json_string_value(member(member(event, "annotations"), "summary")), " is at "));
    }
    json_decref(event);
    return MD_OK;
}

static void events_are_json(void **state)
{
    const struct night *night = *state;
    struct md_error err;
    struct md_store *store = night_store(night);
    struct md_alert_live *live = night_live(night, store);
    int fired = 0;
    for (int minute = 0; minute < 60; minute++)
        assert_ok(night_tick(live, minute, &err));
    assert_ok(md_alert_history_events(store, 0, INT64_MAX, look_at_event, &fired, &err));
    assert_true(fired > 5);
    struct md_buffer lines = night_events(store, 60);
    assert_non_null(strstr(lines.data, "\"to\":\"resolved\""));
    assert_non_null(strstr(lines.data, "\"kind\":\"grade\""));
    md_buffer_fini(&lines);
    md_alert_live_delete(live);
    md_store_close(store);
}

struct heard {
    struct md_alert_live *live;
    int count;
    int64_t time_ms;
};

static void hear(void *context, int64_t time_ms)
{
    struct heard *heard = context;
    heard->count++;
    heard->time_ms = time_ms;
    assert_true(md_alert_live_time_ms(heard->live) == time_ms); /* no lock is held */
}

static void it_works_without_a_store(void **state)
{
    const struct night *night = *state;
    struct md_error err;
    char text[64];
    struct md_alert_live *live = night_live(night, NULL);
    struct heard heard = {.live = live};
    md_alert_live_listen(live, &(struct md_alert_listener){&heard, hear});
    for (int minute = 0; minute < 20; minute++)
        assert_ok(night_tick(live, minute, &err));
    assert_int_equal(heard.count, 20);
    assert_false(md_alert_live_trouble(live, text, sizeof text));
    md_alert_live_delete(live);
}

/* ---- several threads ------------------------------------------------------------------------- */

struct onlooker {
    const struct night *night;
    struct md_alert_live *live;
    _Atomic bool stop;
    int64_t seen;
};

static bool add_labels(void *context, const struct md_alert *alert)
{
    *(int64_t *)context += alert->label_count;
    return true;
}

/* What routes and reloads do meanwhile. */
static void *look(void *context)
{
    struct onlooker *onlooker = context;
    struct md_alert_rule_health health;
    struct md_alert_quality quality;
    int64_t within_ms;
    char text[64];
    while (!atomic_load(&onlooker->stop)) {
        md_alert_live_visit(onlooker->live, add_labels, &onlooker->seen);
        md_alert_live_health(onlooker->live, 0, &health);
        md_alert_live_quality(onlooker->live, "soon", &quality);
        md_alert_live_wants(onlooker->live, "cpu", 0.5f, &within_ms);
        md_alert_live_trouble(onlooker->live, text, sizeof text);
        struct md_alert_rules *rules = md_alert_live_rules(onlooker->live);
        md_alert_live_set_rules(onlooker->live, rules ? NULL : onlooker->night->rules);
        md_alert_rules_unref(rules);
    }
    return NULL;
}

static void others_may_look_while_it_ticks(void **state)
{
    struct md_error err;
    const struct night *night = *state;
    struct md_store *store = night_store(night);
    struct onlooker onlooker = {.night = night, .live = night_live(night, store)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, look, &onlooker), 0);
    for (int minute = 0; minute < 100; minute++)
        assert_ok(night_tick(onlooker.live, minute, &err));
    atomic_store(&onlooker.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(night_frames(store), 100);
    md_alert_live_delete(onlooker.live);
    md_store_close(store);
}

/* ---- without memory -------------------------------------------------------------------------- */

#if FAILING_AVAILABLE
static struct night *failing_night;

/* Rounds, evaluates, saves, and takes apart what it has rounded. */
static enum md_status two_ticks(void)
{
    struct md_error err;
    struct md_alert_live *live;
    const float quantiles[] = {0.9f};
    const struct md_alert_live_options options = {.entity_label = "server",
                                                  .keep_within_ms = ALERTS_STEP_MS,
                                                  .keep_quantiles = quantiles,
                                                  .keep_quantile_count = 1};
    enum md_status status = md_alert_live_new(&options, &live, &err);
    if (status != MD_OK)
        return status;
    md_alert_live_set_rules(live, failing_night->rules);
    status = night_tick(live, 3, &err);
    if (status == MD_OK)
        status = night_tick(live, 4, &err);
    if (status != MD_OK && night_tick(live, 5, &err) != MD_OK) /* goes on */
        status = MD_ERR_INTERNAL;
    md_alert_live_delete(live);
    return status;
}
#endif

static void a_tick_without_memory_was_none(void **state)
{
#if FAILING_AVAILABLE
    enum md_status status;
    long kept;
    int failures = 0;
    failing_night = *state;
    for (int allowed = 0; failing_run(two_ticks, allowed, &status, &kept); allowed++) {
        assert_int_equal(kept, 0);
        assert_true(status == MD_ERR_MEMORY || status == MD_OK); /* OK: only an event's text */
        failures += status == MD_ERR_MEMORY;
    }
    assert_int_equal(status, MD_OK);
    assert_true(failures > 20);
#else
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_tick_keeps_what_rules_saw, night_begin, night_end),
        cmocka_unit_test_setup_teardown(channels_may_be_kept_for_later_rules, night_begin,
                                        night_end),
        cmocka_unit_test_setup_teardown(events_are_json, night_begin, night_end),
        cmocka_unit_test_setup_teardown(it_works_without_a_store, night_begin, night_end),
        cmocka_unit_test_setup_teardown(others_may_look_while_it_ticks, night_begin, night_end),
        cmocka_unit_test_setup_teardown(a_tick_without_memory_was_none, night_begin, night_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
