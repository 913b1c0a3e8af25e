/*
 * Ticks of alerts in the store: order, names kept once, pages, trimming, reading beside a daemon,
 * migration, and a writer that is killed.
 */
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "alert/history.h"
#include "killed.h"
#include "scratch.h"
#include "store/store.h"
#include "unit.h"

#define STEP_MS  300000LL
#define START_MS 1767225600000LL

static struct md_clock_manual time_now;
static char *folder;

static int set_up(void **state)
{
    folder = scratch_new();
    md_clock_manual_init(&time_now, START_MS);
    return 0;
}

static int tear_down(void **state)
{
    scratch_delete(folder);
    return 0;
}

static struct md_store *open_store(int64_t bytes_max)
{
    struct md_store *store;
    struct md_error err;
    struct md_store_options options = {.clock = &time_now.base, .bytes_max = bytes_max};
    assert_ok(md_store_open(folder, &options, &store, &err));
    return store;
}

static void run_sql(const char *sql)
{
    char *path = scratch_path(folder, "moondial.db");
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_close(db);
    free(path);
}

static int64_t ask_sql(const char *sql)
{
    char *path = scratch_path(folder, "moondial.db");
    sqlite3 *db;
    sqlite3_stmt *row;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &row, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(row), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(row, 0);
    sqlite3_finalize(row);
    sqlite3_close(db);
    free(path);
    return number;
}

/* ---- ticks ----------------------------------------------------------------------------------- */

/* Tick i: its values, events and state tell i; every 50th has a key more. */
static enum md_status put_tick(struct md_store *store, int i, struct md_error *err)
{
    static const char *const keys[] = {"a", "b", "c"}, *const profiles[] = {"", "x", ""};
    static const char *const columns[] = {"cpu"};
    static const unsigned char known[] = {1, 1, 1};
    const float values[] = {(float)i, NAN, 1};
    const struct md_alert_frame frame = {.time_ms = START_MS + i * STEP_MS,
                                         .step_ms = STEP_MS,
                                         .key_count = i % 50 == 49 ? 3 : 2,
                                         .keys = keys,
                                         .profiles = profiles,
                                         .column_count = 1,
                                         .columns = columns,
                                         .values = values,
                                         .known = known};
    char first[32], second[32];
    const char *events[] = {first, second};
    struct md_buffer bytes, state;
    md_buffer_init(&bytes, 0);
    md_buffer_init(&state, 0);
    snprintf(first, sizeof first, "{\"i\":%d}", i);
    snprintf(second, sizeof second, "{\"i\":%d,\"b\":2}", i);
    md_buffer_printf(&state, "state %d", i);
    enum md_status status = md_alert_frame_encode(&frame, &bytes, err);
    const struct md_alert_tick tick = {frame.time_ms, &bytes, i % 3, events};
    if (status == MD_OK)
        status = md_alert_history_put(store, &tick, 1, &state, err);
    md_buffer_fini(&bytes);
    md_buffer_fini(&state);
    return status;
}

struct seen {
    int count, first, last, last_event, events;
};

static enum md_status see_frame(void *context, const struct md_alert_frame *frame,
                                struct md_error *err)
{
    struct seen *seen = context;
    int i = (int)((frame->time_ms - START_MS) / STEP_MS);
    if (seen->count++ == 0)
        seen->first = i;
    else
        assert_int_equal(i, seen->last + 1);
    seen->last = i;
    assert_int_equal(frame->key_count, i % 50 == 49 ? 3 : 2);
    assert_string_equal(frame->keys[frame->key_count - 1], i % 50 == 49 ? "c" : "b");
    assert_string_equal(frame->profiles[1], "x");
    assert_true(frame->values[0] == (float)i && isnan(frame->values[1]));
    return MD_OK;
}

static enum md_status see_event(void *context, int64_t time_ms, const char *json,
                                struct md_error *err)
{
    struct seen *seen = context;
    char wanted[32];
    int i = (int)((time_ms - START_MS) / STEP_MS);
    bool second = i == seen->last_event;
    assert_true(second || i > seen->last_event);
    assert_true(i % 3 == 2 || !second);
    snprintf(wanted, sizeof wanted, second ? "{\"i\":%d,\"b\":2}" : "{\"i\":%d}", i);
    assert_string_equal(json, wanted);
    seen->last_event = i;
    seen->events++;
    return MD_OK;
}

static struct seen look(struct md_store *store, int begin, int end)
{
    struct seen seen = {.last_event = -1};
    struct md_error err;
    int64_t begin_ms = START_MS + begin * STEP_MS, end_ms = START_MS + end * STEP_MS;
    assert_ok(md_alert_history_frames(store, begin_ms, end_ms, see_frame, &seen, &err));
    assert_ok(md_alert_history_events(store, begin_ms, end_ms, see_event, &seen, &err));
    return seen;
}

/* The number in the newest state; -1: none. */
static int kept_state(struct md_store *store)
{
    struct md_error err;
    void *state;
    size_t bytes;
    int number = -1;
    enum md_status status = md_alert_history_state(store, &state, &bytes, &err);
    assert_true(status == MD_OK || status == MD_ERR_NOT_FOUND);
    assert_true(status != MD_OK || sscanf(state, "state %d", &number) == 1);
    free(state);
    return number;
}

static void ticks_come_back_in_order(void **state)
{
    enum { TICKS = 1000 };
    struct md_error err;
    struct md_store *store = open_store(0);
    assert_int_equal(kept_state(store), -1);
    for (int i = 0; i < TICKS; i++)
        assert_ok(put_tick(store, i, &err));
    md_store_close(store);
    store = open_store(0);
    struct seen seen = look(store, 0, TICKS);
    assert_int_equal(seen.count, TICKS);
    assert_int_equal(seen.events, TICKS - 1);
    seen = look(store, 17, 64 + 17); /* whole pages, and no more */
    assert_int_equal(seen.first, 17);
    assert_int_equal(seen.count, 64);
    assert_int_equal(look(store, TICKS, TICKS + 9).count, 0);
    assert_int_equal(kept_state(store), TICKS - 1);
    md_store_close(store);
    assert_int_equal(ask_sql("SELECT count(*) FROM alert_names"), 2);
}

static void a_tick_takes_the_place_of_one_of_its_time(void **state)
{
    struct md_error err;
    struct md_store *store = open_store(0);
    assert_ok(put_tick(store, 5, &err));
    assert_ok(put_tick(store, 6, &err));
    assert_ok(put_tick(store, 5, &err));
    assert_int_equal(kept_state(store), 5);
    struct seen seen = look(store, 0, 9);
    assert_int_equal(seen.count, 2);
    assert_int_equal(seen.events, 2); /* those of 5, once */
    md_store_close(store);
}

static enum md_status put_piece(struct md_store *store, struct md_error *err)
{
    struct md_buffer state, piece;
    md_buffer_init(&state, 0);
    md_buffer_init(&piece, 0);
    md_buffer_text(&piece, "abc"); /* no frame */
    const struct md_alert_tick ticks[] = {{START_MS, &piece, 0, NULL}};
    enum md_status status = md_alert_history_put(store, ticks, 1, &state, err);
    md_buffer_fini(&state);
    md_buffer_fini(&piece);
    return status;
}

static void nothing_of_a_failed_put_is_kept(void **state)
{
    struct md_error err;
    struct md_store *store = open_store(0);
    char text[256];
    assert_ok(put_tick(store, 1, &err));
    assert_fails(MD_ERR_CORRUPT, put_piece(store, &err));
    run_sql("CREATE TRIGGER full BEFORE INSERT ON alert_event WHEN new.text LIKE '%b%' "
            "BEGIN SELECT RAISE(FAIL, 'disk is full'); END");
    assert_fails(MD_ERR_IO, put_tick(store, 2, &err)); /* its second event */
    assert_says("disk is full");
    assert_true(md_store_trouble(store, text, sizeof text));
    assert_int_equal(kept_state(store), 1);
    struct seen seen = look(store, 0, 9);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.events, 1);
    run_sql("DROP TRIGGER full");
    assert_ok(put_tick(store, 2, &err));
    assert_int_equal(look(store, 0, 9).events, 3);
    md_store_close(store);
}

static enum md_status stop_at_third(void *context, const struct md_alert_frame *frame,
                                    struct md_error *err)
{
    return ++*(int *)context == 3 ? md_fail(err, MD_ERR_CANCELLED, "enough") : MD_OK;
}

static enum md_status write_meanwhile(void *context, const struct md_alert_frame *frame,
                                      struct md_error *err)
{
    return md_store_put_value(context, "x", "y", 1, err);
}

static void a_visit_may_end_it_and_may_use_the_store(void **state)
{
    struct md_error err;
    struct md_store *store = open_store(0);
    int count = 0;
    for (int i = 0; i < 5; i++)
        assert_ok(put_tick(store, i, &err));
    assert_fails(MD_ERR_CANCELLED,
                 md_alert_history_frames(store, 0, INT64_MAX, stop_at_third, &count, &err));
    assert_int_equal(count, 3);
    assert_ok(md_alert_history_frames(store, 0, INT64_MAX, write_meanwhile, store, &err));
    md_store_close(store);
}

static void damage_in_a_tick_is_named(void **state)
{
    struct md_error err;
    struct md_store *store = open_store(0);
    struct seen seen = {0};
    for (int i = 0; i < 5; i++)
        assert_ok(put_tick(store, i, &err));
    run_sql("UPDATE alert_tick SET cells = x'00' WHERE time_ms = (SELECT max(time_ms) FROM "
            "alert_tick)");
    assert_fails(MD_ERR_CORRUPT,
                 md_alert_history_frames(store, 0, INT64_MAX, see_frame, &seen, &err));
    assert_says("at 1767226800000");
    assert_int_equal(seen.count, 4);
    run_sql("UPDATE alert_names SET names = x''");
    assert_fails(MD_ERR_CORRUPT,
                 md_alert_history_frames(store, 0, INT64_MAX, see_frame, &seen, &err));
    md_store_close(store);
}

/* ---- trimming -------------------------------------------------------------------------------- */

static void trimming_keeps_retention_and_cap(void **state)
{
    struct md_error err;
    struct md_store *store = open_store(300000);
    for (int i = 0; i < 3000; i++)
        assert_ok(put_tick(store, i, &err));
    assert_true(md_store_bytes(store) > 300000);
    assert_ok(md_store_trim(store, &err));
    assert_true(md_store_bytes(store) <= 300000);
    struct seen seen = look(store, 0, 3000);
    assert_true(seen.count > 100 && seen.count < 3000);
    assert_true(seen.events > 100 && seen.events < 3000);
    assert_int_equal(seen.last, 2999); /* the oldest went */
    md_clock_manual_set(&time_now, START_MS + 2998 * STEP_MS + 30 * 86400000LL);
    assert_ok(md_store_trim(store, &err));
    seen = look(store, 0, 3000);
    assert_int_equal(seen.first, 2998);
    assert_int_equal(seen.count, 2);
    assert_int_equal(kept_state(store), 2999);
    md_store_close(store);
    assert_int_equal(ask_sql("SELECT count(*) FROM alert_names"), 2);
    assert_int_equal(ask_sql("SELECT count(*) FROM alert_event WHERE time_ms < 1767225600000 + "
                             "2998 * 300000"),
                     0);
}

/* ---- reading beside a daemon ----------------------------------------------------------------- */

static void a_held_store_can_be_read(void **state)
{
    struct md_error err;
    struct md_store *reader, *store = open_store(0);
    char text[64];
    assert_ok(put_tick(store, 0, &err));
    assert_ok(md_store_open_read(folder, &reader, &err));
    assert_int_equal(look(reader, 0, 9).count, 1);
    assert_ok(put_tick(store, 1, &err)); /* is seen at once */
    assert_int_equal(look(reader, 0, 9).count, 2);
    assert_int_equal(kept_state(reader), 1);
    assert_fails(MD_ERR_CONFLICT, put_tick(reader, 2, &err));
    assert_says("reading only");
    assert_fails(MD_ERR_CONFLICT, md_store_put_value(reader, "x", "y", 1, &err));
    assert_fails(MD_ERR_CONFLICT, md_store_trim(reader, &err));
    assert_false(md_store_trouble(reader, text, sizeof text));
    md_store_close(store);
    assert_int_equal(look(reader, 0, 9).count, 2);
    md_store_close(reader);
    assert_ok(md_store_open_read(folder, &reader, &err)); /* nobody holds it */
    assert_int_equal(look(reader, 0, 9).count, 2);
    store = open_store(0); /* a reader is in no daemon's way */
    assert_ok(put_tick(store, 2, &err));
    assert_int_equal(look(reader, 0, 9).count, 3);
    md_store_close(reader);
    md_store_close(store);
}

static void readers_refuse_what_they_do_not_know(void **state)
{
    struct md_error err;
    struct md_store *store, *reader;
    assert_fails(MD_ERR_NOT_FOUND, md_store_open_read(folder, &reader, &err));
    assert_fails(MD_ERR_NOT_FOUND, md_store_open_read("/nowhere/at/all", &reader, &err));
    store = open_store(0);
    md_store_close(store);
    int64_t version = ask_sql("SELECT * FROM pragma_user_version");
    run_sql("PRAGMA user_version = 999");
    assert_fails(MD_ERR_CONFLICT, md_store_open_read(folder, &reader, &err));
    assert_says("newer moondial");
    run_sql("PRAGMA user_version = 1");
    assert_fails(MD_ERR_CONFLICT, md_store_open_read(folder, &reader, &err));
    assert_says("older moondial");
    assert_int_equal(ask_sql("SELECT * FROM pragma_user_version"), 1);
    assert_true(version > 1);
    char *path = scratch_path(folder, "moondial.db");
    scratch_write(path, "this is not a database at all, is it", 36);
    assert_fails(MD_ERR_CORRUPT, md_store_open_read(folder, &reader, &err));
    free(path);
}

static void the_first_schema_is_migrated(void **state)
{
    struct md_error err;
    struct md_store *store = open_store(0);
    char *value, *copy = scratch_path(folder, "moondial.db.schema1.bak");
    size_t bytes;
    assert_ok(md_store_put_value(store, "x", "kept", 4, &err));
    md_store_close(store);
    run_sql("DROP TABLE alert_names; DROP TABLE alert_tick; DROP TABLE alert_event;"
            "DROP TABLE message;"
            "PRAGMA user_version = 1");
    store = open_store(0);
    assert_ok(md_store_get_value(store, "x", &value, &bytes, &err));
    assert_string_equal(value, "kept");
    assert_ok(put_tick(store, 0, &err));
    assert_int_equal(access(copy, F_OK), 0);
    md_store_close(store);
    free(value);
    free(copy);
}

/* ---- kill -9 --------------------------------------------------------------------------------- */

/* A daemon's life: goes on from the newest tick that was kept. Tells each tick that was kept. */
static void live(int told)
{
    struct md_error err;
    struct md_store *store = open_store(0);
    for (int i = kept_state(store) + 1;; i++)
        if (put_tick(store, i, &err) != MD_OK || write(told, &i, sizeof i) != sizeof i)
            _exit(1);
}

static void killed_writers_lose_and_repeat_nothing(void **state)
{
    enum { KILLS = 20 };
    srandom(7);
    for (int life = 0; life < KILLS; life++) {
        int told[2];
        assert_int_equal(pipe(told), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(told[0]);
            live(told[1]);
        }
        close(told[1]);
        int last = kill_soon(child, told[0], (unsigned)(random() % 4000));
        close(told[0]);
        struct md_store *store = open_store(0);
        int kept = kept_state(store);
        assert_true(last >= 0 && kept >= last && kept <= last + 1);
        struct seen seen = look(store, 0, kept + 100);
        assert_int_equal(seen.count, kept + 1); /* see_frame: without a gap */
        assert_int_equal(seen.events, (kept + 1) / 3 * 3 + (kept % 3 == 1));
        md_store_close(store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ticks_come_back_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_tick_takes_the_place_of_one_of_its_time, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(nothing_of_a_failed_put_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_visit_may_end_it_and_may_use_the_store, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(damage_in_a_tick_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(trimming_keeps_retention_and_cap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_held_store_can_be_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(readers_refuse_what_they_do_not_know, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_first_schema_is_migrated, set_up, tear_down),
        cmocka_unit_test_setup_teardown(killed_writers_lose_and_repeat_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
