/*
 * Live alerts go on where they were: after restarts, damage, a full disk and kills the history of a
 * night is that of an undisturbed one, without a gap or a repetition, and its frames give its
 * events once more.
 */
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "alert/history.h"
#include "alert_night.h"
#include "base/json_in.h"
#include "killed.h"
#include "scratch.h"
#include "unit.h"

/* What the history of an undisturbed night says. */
static struct md_buffer undisturbed(int minutes)
{
    struct md_error err;
    void *other;
    night_begin(&other);
    struct md_store *store = night_store(other);
    struct md_alert_live *live = night_live(other, store);
    for (int minute = 0; minute < minutes; minute++)
        assert_ok(night_tick(live, minute, &err));
    struct md_buffer lines = night_events(store, minutes);
    md_alert_live_delete(live);
    md_store_close(store);
    night_end(&other);
    return lines;
}

static void assert_night(struct md_store *store, int minutes)
{
    struct md_buffer is = night_events(store, minutes), wanted = undisturbed(minutes);
    assert_true(wanted.length > 0);
    assert_string_equal(is.data, wanted.data);
    md_buffer_fini(&is);
    md_buffer_fini(&wanted);
}

/* ---- restarts -------------------------------------------------------------------------------- */

static void restarts_change_nothing(void **state)
{
    const struct night *night = *state;
    struct md_error err;
    for (int minute = 0; minute < 100; minute++) {
        struct md_store *store = night_store(night);
        struct md_alert_live *live = night_live(night, store);
        assert_int_equal(night_next(live), minute);
        assert_ok(night_tick(live, minute, &err));
        md_alert_live_delete(live);
        md_store_close(store);
    }
    struct md_store *store = night_store(night);
    assert_night(store, 100);
    md_store_close(store);
}

static json_t *member(json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    if (!value)
        fail_msg("an event has no %s", name);
    return value;
}

struct replay {
    struct md_alert_engine *engine;
    struct md_buffer lines;
};

static void add_change(void *context, const struct md_alert_event *event)
{
    md_buffer_printf(context, "%lld %s %s %s %d %d %.9g\n", (long long)event->time_ms,
                     event->alert->name, event->alert->key, event->alert->column, (int)event->from,
                     (int)event->to, (double)event->alert->value);
}

static enum md_status replay_frame(void *context, const struct md_alert_frame *frame,
                                   struct md_error *err)
{
    struct replay *replay = context;
    const struct md_alert_sink sink = {&replay->lines, add_change, NULL};
    return md_alert_engine_tick(replay->engine, frame, NULL, &sink, err);
}

static const int states[] = {MD_ALERT_INACTIVE, MD_ALERT_PENDING, MD_ALERT_FIRING};

static int state_of(const char *name)
{
    return states[strcmp(name, "pending") == 0 ? 1 : strcmp(name, "firing") == 0 ? 2 : 0];
}

static enum md_status add_recorded(void *context, int64_t time_ms, const char *json,
                                   struct md_error *err)
{
    json_t *event;
    if (md_json_parse(json, strlen(json), &event, err) != MD_OK)
        return err->code;
    if (strcmp(json_string_value(member(event, "kind")), "alert") == 0)
        md_buffer_printf(context, "%lld %s %s %s %d %d %.9g\n", (long long)time_ms,
                         json_string_value(member(event, "rule")),
                         json_string_value(member(event, "server")),
                         json_string_value(member(event, "metric")),
                         state_of(json_string_value(member(event, "from"))),
                         state_of(json_string_value(member(event, "to"))),
                         (double)(float)json_number_value(member(event, "value")));
    json_decref(event);
    return MD_OK;
}

static void frames_give_the_events_that_were_live(void **state)
{
    const struct night *night = *state;
    struct md_error err;
    struct replay replay;
    struct md_buffer recorded;
    struct md_store *store = night_store(night);
    struct md_alert_live *live = night_live(night, store);
    for (int minute = 0; minute < 150; minute++) {
        if (minute == 70) {
            md_alert_live_delete(live);
            live = night_live(night, store);
        }
        assert_ok(night_tick(live, minute, &err));
    }
    md_buffer_init(&replay.lines, 0);
    md_buffer_init(&recorded, 0);
    assert_ok(md_alert_engine_new("server", &replay.engine, &err));
    md_alert_engine_set_rules(replay.engine, night->rules);
    assert_ok(md_alert_history_frames(store, 0, INT64_MAX, replay_frame, &replay, &err));
    assert_ok(md_alert_history_events(store, 0, INT64_MAX, add_recorded, &recorded, &err));
    assert_true(recorded.length > 1000);
    assert_string_equal(replay.lines.data, recorded.data);
    md_alert_engine_delete(replay.engine);
    md_buffer_fini(&replay.lines);
    md_buffer_fini(&recorded);
    md_alert_live_delete(live);
    md_store_close(store);
}

static void a_damaged_state_begins_anew(void **state)
{
    const struct night *night = *state;
    struct md_error err;
    struct md_store *store = night_store(night);
    struct md_alert_live *live = night_live(night, store);
    char text[256];
    for (int minute = 0; minute < 5; minute++)
        assert_ok(night_tick(live, minute, &err));
    md_alert_live_delete(live);
    assert_ok(md_store_put_value(store, "alerts.state", "rubbish", 7, &err));
    live = night_live(night, store);
    assert_int_equal(night_next(live), 0);
    assert_ok(night_tick(live, 4, &err)); /* the daemon ticks the newest step at its start */
    assert_false(md_alert_live_trouble(live, text, sizeof text));
    assert_int_equal(night_frames(store), 5);
    md_alert_live_delete(live);
    live = night_live(night, store);
    assert_int_equal(night_next(live), 5);
    md_alert_live_delete(live);
    md_store_close(store);
}

/* ---- trouble --------------------------------------------------------------------------------- */

static void run_sql(const struct night *night, const char *sql)
{
    char *path = scratch_path(night->folder, "moondial.db");
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_close(db);
    free(path);
}

static void count_call(void *context, int64_t time_ms)
{
    (void)time_ms;
    ++*(int *)context;
}

static void what_could_not_be_kept_is_kept_later(void **state)
{
    const struct night *night = *state;
    struct md_error err;
    char text[256];
    struct md_store *store = night_store(night);
    struct md_alert_live *live = night_live(night, store);
    int heard = 0;
    md_alert_live_listen(live, &(struct md_alert_listener){&heard, count_call});
    for (int minute = 0; minute < 30; minute++)
        assert_ok(night_tick(live, minute, &err));
    run_sql(night, "CREATE TRIGGER full BEFORE INSERT ON alert_tick BEGIN "
                   "SELECT RAISE(FAIL, 'disk is full'); END");
    for (int minute = 30; minute < 60; minute++) {
        assert_ok(night_tick(live, minute, &err));
        assert_true(md_alert_live_trouble(live, text, sizeof text));
        assert_non_null(strstr(text, "disk is full"));
    }
    assert_int_equal(heard, 60); /* alerts go on */
    assert_int_equal(night_frames(store), 30);
    run_sql(night, "DROP TRIGGER full");
    assert_ok(night_tick(live, 60, &err));
    assert_false(md_alert_live_trouble(live, text, sizeof text));
    assert_int_equal(night_frames(store), 61);
    assert_night(store, 61);
    md_alert_live_delete(live);
    md_store_close(store);
}

static enum md_status see_time(void *context, const struct md_alert_frame *frame,
                               struct md_error *err)
{
    int64_t *seen = context; /* how many, the last */
    assert_true(seen[0] == 0 || frame->time_ms == seen[1] + ALERTS_STEP_MS);
    seen[0]++;
    seen[1] = frame->time_ms;
    return MD_OK;
}

/* Frames of 7 MB, 20 of them, and a backlog of 64 MiB. */
static void a_backlog_has_an_end(void **state)
{
    enum { CHANNELS = 15, TICKS = 20 };
    static struct alerts_frame frame;
    struct md_error err;
    const struct night *night = *state;
    struct md_store *store = night_store(night);
    struct md_alert_live *live = night_live(night, store);
    int64_t seen[2] = {0};
    char names[ALERTS_KEYS_MAX][16];
    size_t floats = (size_t)ALERTS_KEYS_MAX * MD_ALERT_STEPS_MAX;
    float *forecast = malloc(floats * sizeof *forecast);
    assert_non_null(forecast);
    for (size_t i = 0; i < floats; i++)
        forecast[i] = (float)(i * 7919 % 65536);
    night_fill(&frame, 0);
    for (int k = 0; k < ALERTS_KEYS_MAX; k++) {
        snprintf(names[k], sizeof names[k], "k%03d", k);
        frame.keys[k] = names[k];
        frame.profiles[k] = "";
    }
    frame.frame.key_count = ALERTS_KEYS_MAX;
    frame.frame.channel_count = CHANNELS;
    for (int c = 0; c < CHANNELS; c++)
        frame.channels[c] =
            (struct md_alert_channel){"net", 0.5f, 1000, MD_ALERT_STEPS_MAX, forecast};
    assert_ok(md_alert_live_set_keep(live, 86400000, (float[]){0.5f}, 1, &err));
    run_sql(night, "CREATE TRIGGER full BEFORE INSERT ON alert_tick BEGIN "
                   "SELECT RAISE(FAIL, 'disk is full'); END");
    for (int minute = 0; minute < TICKS; minute++) {
        if (minute == TICKS - 1)
            run_sql(night, "DROP TRIGGER full");
        alerts_frame_at(&frame, minute);
        assert_ok(md_alert_live_tick(live, &frame.frame, NULL, &err));
    }
    assert_ok(md_alert_history_frames(store, 0, INT64_MAX, see_time, seen, &err));
    assert_true(seen[0] > 1 && seen[0] <= 10);
    assert_true(seen[1] == ALERTS_START_MS + (TICKS - 1) * ALERTS_STEP_MS); /* the oldest went */
    md_alert_live_delete(live);
    md_store_close(store);
    free(forecast);
}

static void an_orderly_end_tries_once_more(void **state)
{
    struct md_error err;
    const struct night *night = *state;
    struct md_store *store = night_store(night);
    struct md_alert_live *live = night_live(night, store);
    assert_ok(night_tick(live, 0, &err));
    run_sql(night, "CREATE TRIGGER full BEFORE INSERT ON alert_tick BEGIN "
                   "SELECT RAISE(FAIL, 'disk is full'); END");
    assert_ok(night_tick(live, 1, &err));
    assert_ok(night_tick(live, 2, &err));
    run_sql(night, "DROP TRIGGER full");
    md_alert_live_delete(live);
    assert_int_equal(night_frames(store), 3);
    live = night_live(night, store);
    assert_int_equal(night_next(live), 3);
    md_alert_live_delete(live);
    md_store_close(store);
}

static rlim_t limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    return before;
}

/* Files may grow to 256 KiB: the write-ahead log is full in the middle of a transaction. */
static void a_full_disk_stops_nothing(void **state)
{
    const struct night *night = *state;
    struct md_error err;
    char text[256];
    struct md_store *store = night_store(night);
    struct md_alert_live *live = night_live(night, store);
    int minute = 0, kept;
    signal(SIGXFSZ, SIG_IGN);
    rlim_t before = limit_files(256 << 10);
    while (minute < 2000 && !md_alert_live_trouble(live, text, sizeof text))
        assert_ok(night_tick(live, minute++, &err));
    assert_true(minute < 2000);
    kept = night_frames(store);
    assert_int_equal(kept, minute - 1);
    for (int more = 0; more < 10; more++)
        assert_ok(night_tick(live, minute++, &err));
    assert_true(md_alert_live_trouble(live, text, sizeof text));
    limit_files(before);
    assert_ok(night_tick(live, minute++, &err));
    assert_false(md_alert_live_trouble(live, text, sizeof text));
    assert_int_equal(night_frames(store), minute);
    assert_night(store, minute);
    md_alert_live_delete(live);
    md_store_close(store);
}

/* ---- kill -9 --------------------------------------------------------------------------------- */

static void live_on(const struct night *night, int told)
{
    struct md_error err;
    struct md_store *store = night_store(night);
    struct md_alert_live *live = night_live(night, store);
    for (int minute = night_next(live);; minute++)
        if (night_tick(live, minute, &err) != MD_OK || write(told, &minute, sizeof minute) < 0)
            _exit(1);
}

static void kills_lose_and_repeat_nothing(void **state)
{
    const struct night *night = *state;
    enum { KILLS = 25 };
    int next = 0;
    srandom(11);
    for (int life = 0; life < KILLS; life++) {
        int told[2];
        assert_int_equal(pipe(told), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(told[0]);
            live_on(night, told[1]);
        }
        close(told[1]);
        int last = kill_soon(child, told[0], (unsigned)(random() % 4000));
        close(told[0]);
        struct md_store *store = night_store(night);
        struct md_alert_live *live = night_live(night, store);
        next = night_next(live);
        assert_true(last >= 0 && next - 1 >= last && next - 1 <= last + 1);
        assert_int_equal(night_frames(store), next);
        md_alert_live_delete(live);
        md_store_close(store);
    }
    struct md_store *store = night_store(night);
    assert_night(store, next);
    md_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(restarts_change_nothing, night_begin, night_end),
        cmocka_unit_test_setup_teardown(frames_give_the_events_that_were_live, night_begin,
                                        night_end),
        cmocka_unit_test_setup_teardown(a_damaged_state_begins_anew, night_begin, night_end),
        cmocka_unit_test_setup_teardown(what_could_not_be_kept_is_kept_later, night_begin,
                                        night_end),
        cmocka_unit_test_setup_teardown(a_backlog_has_an_end, night_begin, night_end),
        cmocka_unit_test_setup_teardown(an_orderly_end_tries_once_more, night_begin, night_end),
        cmocka_unit_test_setup_teardown(a_full_disk_stops_nothing, night_begin, night_end),
        cmocka_unit_test_setup_teardown(kills_lose_and_repeat_nothing, night_begin, night_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
