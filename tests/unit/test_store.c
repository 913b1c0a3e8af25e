/* The store and the way of series tables through it: locks, schema, damage, restoring, forecasts,
 * trimming. */
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "scratch.h"
#include "series/persist.h"
#include "unit.h"

#define STEP_MS  300000LL
#define START_MS 1767225600000LL

static struct md_clock_manual time_now;
static char *folder;

static int set_up(void **state)
{
    (void)state;
    folder = scratch_new();
    md_clock_manual_init(&time_now, START_MS);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
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
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    free(path);
}

static void one_daemon_holds_the_folder(void **state)
{
    (void)state;
    struct md_store *store = open_store(0), *second;
    struct md_error err;
    struct md_store_options options = {.clock = &time_now.base};
    assert_fails(MD_ERR_CONFLICT, md_store_open(folder, &options, &second, &err));
    char pid[32];
    snprintf(pid, sizeof pid, "process %d", (int)getpid());
    assert_says(pid);
    md_store_close(store);
    assert_ok(md_store_open(folder, &options, &second, &err));
    md_store_close(second);
}

static void newer_schemas_and_damage_are_refused(void **state)
{
    (void)state;
    struct md_store *store = open_store(0);
    struct md_error err;
    struct md_store_options options = {.clock = &time_now.base};
    md_store_close(store);
    run_sql("PRAGMA user_version = 999");
    assert_fails(MD_ERR_CONFLICT, md_store_open(folder, &options, &store, &err));
    assert_says("newer moondial");
    char *path = scratch_path(folder, "moondial.db");
    scratch_write(path, "this is not a database at all, is it", 36);
    assert_fails(MD_ERR_CORRUPT, md_store_open(folder, &options, &store, &err));
    free(path);
}

static void values_come_back(void **state)
{
    (void)state;
    struct md_store *store = open_store(0);
    struct md_error err;
    char *value;
    size_t bytes;
    assert_fails(MD_ERR_NOT_FOUND, md_store_get_value(store, "x", &value, &bytes, &err));
    assert_ok(md_store_put_value(store, "x", "one\0two", 7, &err));
    assert_ok(md_store_put_value(store, "empty", NULL, 0, &err));
    md_store_close(store);
    store = open_store(0);
    assert_ok(md_store_get_value(store, "x", &value, &bytes, &err));
    assert_int_equal(bytes, 7);
    assert_memory_equal(value, "one\0two", 8);
    free(value);
    assert_ok(md_store_get_value(store, "empty", &value, &bytes, &err));
    assert_int_equal(bytes, 0);
    free(value);
    md_store_close(store);
}

/* ---- series through the store ---------------------------------------------------------------- */

static const char *const states[] = {"healthy", "busy"}, *const fewer_states[] = {"healthy"};
static const char *const label_fields[] = {"profile"};
#define STATUS(list, count)                                                                        \
    {                                                                                              \
        .name = "status", .kind = MD_COLUMN_LAST, .min = NAN, .max = NAN, .values = list,          \
        .value_count = count                                                                       \
    }
#define NUMBER(text)                                                                               \
    {                                                                                              \
        .name = text, .kind = MD_COLUMN_MEAN, .min = NAN, .max = NAN                               \
    }
static const struct md_column before[] = {NUMBER("cpu"), NUMBER("memory"), STATUS(states, 2)};
static const struct md_column after[] = {NUMBER("disk"), STATUS(fewer_states, 1), NUMBER("cpu")};

static struct md_series *new_table(const struct md_column *columns, int steps, int entities_max)
{
    struct md_series_options options = {
        .name = "servers",
        .key_field = "server",
        .time_field = "at",
        .label_fields = label_fields,
        .label_count = 1,
        .columns = columns,
        .column_count = 3,
        .step_ms = STEP_MS,
        .steps = steps,
        .entities_max = entities_max,
        .late_max_ms = STEP_MS,
        .evict_after_ms = 30 * 86400000LL,
        .clock = &time_now.base,
    };
    struct md_series *series;
    struct md_error err;
    assert_ok(md_series_new(&options, &series, &err));
    return series;
}

static void fill(struct md_series *series, int entities, int steps)
{
    const char *profile = "database";
    struct md_error err;
    md_clock_manual_set(&time_now, START_MS + steps * STEP_MS);
    for (int e = 0; e < entities; e++)
        for (int s = 0; s < steps; s++) {
            char key[16];
            snprintf(key, sizeof key, "s%d", e);
            assert_ok(md_series_upsert(series, key, START_MS + s * STEP_MS + 7,
                                       (float[]){(float)s, s % 3 ? (float)e : NAN, (float)(s % 2)},
                                       &profile, &err));
        }
}

static struct md_tensor read_all(struct md_series *series, const char *key, int steps)
{
    struct md_tensor out;
    struct md_error err;
    assert_ok(md_series_window(series, &key, 1, START_MS + steps * STEP_MS, steps, (int[]){0, 1, 2},
                               3, &out, &err));
    return out;
}

static void a_table_comes_back(void **state)
{
    (void)state;
    struct md_error err;
    struct md_store *store = open_store(0);
    struct md_series *saved = new_table(before, 301, 500), *restored = new_table(before, 301, 500);
    assert_ok(md_series_restore(saved, store, START_MS, &err));
    fill(saved, 500, 300);
    assert_ok(md_series_save(saved, store, &err));
    md_store_close(store);
    store = open_store(0);
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    assert_ok(md_series_restore(restored, store, md_now_ms(&time_now.base), &err));
    clock_gettime(CLOCK_MONOTONIC, &end);
    print_message("restored 500 x 300 steps in %.0f ms\n",
                  (double)(end.tv_sec - begin.tv_sec) * 1e3 +
                      (double)(end.tv_nsec - begin.tv_nsec) / 1e6);
    assert_int_equal(md_series_count(restored), 500);
    for (int e = 0; e < 500; e += 83) {
        char key[16], label[MD_SERIES_KEY_BYTES];
        snprintf(key, sizeof key, "s%d", e);
        struct md_tensor a = read_all(saved, key, 299), b = read_all(restored, key, 299);
        assert_floats_close((float *)b.data, (float *)a.data, 299 * 3, 0, 0);
        md_tensor_unref(&a);
        md_tensor_unref(&b);
        assert_true(md_series_label(restored, key, 0, label));
        assert_string_equal(label, "database");
    }
    md_series_delete(saved);
    md_series_delete(restored);
    md_store_close(store);
}

static void columns_may_change_between_runs(void **state)
{
    (void)state;
    struct md_error err;
    struct md_store *store = open_store(0);
    struct md_series *first = new_table(before, 20, 4), *second = new_table(after, 20, 4);
    assert_ok(md_series_restore(first, store, START_MS, &err));
    fill(first, 2, 10);
    assert_ok(md_series_save(first, store, &err));
    assert_ok(md_series_restore(second, store, md_now_ms(&time_now.base), &err));
    struct md_tensor out = read_all(second, "s1", 10);
    for (int s = 0; s < 10; s++) /* disk is new, status has other values now, cpu moved */
        assert_floats_close((float *)out.data + 3 * s, ((float[]){NAN, NAN, (float)s}), 3, 0, 0);
    md_tensor_unref(&out);
    assert_ok(
        md_series_upsert(second, "s1", START_MS + 10 * STEP_MS, (float[]){1, 0, 2}, NULL, &err));
    assert_ok(md_series_save(second, store, &err));
    struct md_series *third = new_table(after, 20, 4); /* rows of both layouts */
    assert_ok(md_series_restore(third, store, md_now_ms(&time_now.base), &err));
    out = read_all(third, "s1", 11);
    assert_floats_close((float *)out.data + 30, ((float[]){1, 0, 2}), 3, 0, 0);
    assert_floats_close((float *)out.data + 27, ((float[]){NAN, NAN, 9}), 3, 0, 0);
    md_tensor_unref(&out);
    md_series_delete(first);
    md_series_delete(second);
    md_series_delete(third);
    md_store_close(store);
}

static void only_changes_are_saved_and_failures_are_repeated(void **state)
{
    (void)state;
    struct md_error err;
    char text[256];
    struct md_store *store = open_store(0);
    struct md_series *series = new_table(before, 20, 4), *restored = new_table(before, 20, 4);
    assert_ok(md_series_restore(series, store, START_MS, &err));
    fill(series, 1, 5);
    run_sql(
        "CREATE TRIGGER full BEFORE INSERT ON step BEGIN SELECT RAISE(FAIL, 'disk is full'); END");
    assert_fails(MD_ERR_IO, md_series_save(series, store, &err));
    assert_says("disk is full");
    assert_true(md_store_trouble(store, text, sizeof text));
    run_sql("DROP TRIGGER full");
    assert_ok(md_series_save(series, store, &err));
    assert_false(md_store_trouble(store, text, sizeof text));
    run_sql("DELETE FROM step");
    assert_ok(md_series_save(series, store, &err)); /* nothing changed: nothing written */
    assert_ok(md_series_restore(restored, store, md_now_ms(&time_now.base), &err));
    assert_int_equal(md_series_count(restored), 0);
    md_series_delete(series);
    md_series_delete(restored);
    md_store_close(store);
}

static void the_saver_saves_before_it_ends(void **state)
{
    (void)state;
    struct md_error err;
    struct md_store *store = open_store(0);
    struct md_series *series = new_table(before, 20, 4), *restored = new_table(before, 20, 4);
    struct md_saver *saver;
    assert_ok(md_series_restore(series, store, START_MS, &err));
    assert_ok(md_saver_new(store, &series, 1, 60000, &saver, &err));
    fill(series, 3, 5);
    md_saver_delete(saver);
    assert_ok(md_series_restore(restored, store, md_now_ms(&time_now.base), &err));
    assert_int_equal(md_series_count(restored), 3);
    md_series_delete(series);
    md_series_delete(restored);
    md_store_close(store);
}

/* ---- forecasts ------------------------------------------------------------------------------- */

static enum md_status put_forecast(struct md_store *store, int64_t made_at_ms, uint16_t first,
                                   struct md_error *err)
{
    static const char *const keys[] = {"a", "b"};
    static const float quantiles[] = {0.1f, 0.5f, 0.9f};
    uint16_t data[2 * 96 * 3] = {first};
    struct md_store_forecast forecast = {
        .model = "tft",
        .target = "cpu",
        .made_at_ms = made_at_ms,
        .start_ms = made_at_ms + 1,
        .step_ms = STEP_MS,
        .keys = keys,
        .key_count = 2,
        .quantiles = quantiles,
        .quantile_count = 3,
        .values = {.dtype = MD_F16, .shape = {3, {2, 96, 3}}, .data = data},
    };
    return md_store_put_forecast(store, &forecast, err);
}

struct seen {
    int count;
    int64_t last_ms;
};

static enum md_status see(void *context, const struct md_store_forecast *forecast,
                          struct md_error *err)
{
    struct seen *seen = context;
    (void)err;
    seen->count++;
    assert_true(forecast->made_at_ms > seen->last_ms);
    seen->last_ms = forecast->made_at_ms;
    assert_int_equal(forecast->key_count, 2);
    assert_string_equal(forecast->keys[1], "b");
    assert_true(forecast->quantiles[2] == 0.9f);
    assert_int_equal(forecast->values.shape.dim[1], 96);
    assert_int_equal(*(const uint16_t *)forecast->values.data, forecast->made_at_ms % 1000);
    return MD_OK;
}

static void forecasts_come_back_in_order(void **state)
{
    (void)state;
    struct md_error err;
    struct md_store *store = open_store(0);
    for (int i = 5; i > 0; i--)
        assert_ok(put_forecast(store, START_MS + i, (uint16_t)i, &err));
    struct seen seen = {0};
    assert_ok(
        md_store_read_forecasts(store, "tft", "cpu", START_MS + 2, START_MS + 5, &seen, see, &err));
    assert_int_equal(seen.count, 3);
    struct md_store_forecast wrong = {.model = "x", .target = "y", .key_count = 1};
    assert_fails(MD_ERR_INVALID, md_store_put_forecast(store, &wrong, &err));
    md_store_close(store);
}

static void trimming_keeps_retention_and_cap(void **state)
{
    (void)state;
    struct md_error err;
    struct md_store *store = open_store(400000);
    for (int i = 1; i <= 900; i++)
        assert_ok(put_forecast(store, START_MS + i, (uint16_t)i, &err));
    assert_true(md_store_bytes(store) > 400000);
    assert_ok(md_store_trim(store, &err));
    assert_true(md_store_bytes(store) <= 400000);
    struct seen seen = {0};
    assert_ok(md_store_read_forecasts(store, "tft", "cpu", 0, INT64_MAX, &seen, see, &err));
    assert_true(seen.count > 10 && seen.count < 900);
    assert_int_equal(seen.last_ms, START_MS + 900); /* the oldest went */
    md_clock_manual_set(&time_now, START_MS + 31 * 86400000LL);
    assert_ok(md_store_trim(store, &err));
    seen = (struct seen){0};
    assert_ok(md_store_read_forecasts(store, "tft", "cpu", 0, INT64_MAX, &seen, see, &err));
    assert_int_equal(seen.count, 0);
    md_store_close(store);
}

static enum md_status count_steps(void *context, int64_t step, const void *cells, size_t bytes,
                                  struct md_error *err)
{
    (void)cells, (void)bytes, (void)err;
    int64_t *seen = context;
    seen[0]++;
    seen[1] = step;
    return MD_OK;
}

static enum md_status count_entity(void *context, const char *key, const char *labels,
                                   struct md_error *err)
{
    (void)key, (void)labels, (void)err;
    ((int64_t *)context)[2]++;
    return MD_OK;
}

/* Steps alone may pass the cap: then forecasts must not pay for all of it. */
static void the_cap_holds_for_steps_too(void **state)
{
    (void)state;
    enum { STEPS = 8000 };
    static const char cells[100];
    static struct md_store_step steps[STEPS];
    const struct md_store_entity entities[] = {{"old", ""}, {"busy", ""}};
    struct md_error err;
    struct md_store *store = open_store(400000);
    for (int i = 0; i < STEPS; i++)
        steps[i] = (struct md_store_step){i > 0, i, START_MS + i, cells, sizeof cells};
    assert_ok(md_store_put_steps(store, "servers", entities, 2, steps, STEPS, &err));
    assert_ok(put_forecast(store, START_MS + STEPS, STEPS % 1000, &err));
    assert_true(md_store_bytes(store) > 400000);
    assert_ok(md_store_trim(store, &err));
    assert_true(md_store_bytes(store) <= 400000);
    int64_t seen[3] = {0};
    const struct md_store_reader reader = {seen, count_entity, count_steps};
    assert_ok(md_store_read_steps(store, "servers", 0, &reader, &err));
    assert_true(seen[0] > 500 && seen[0] < STEPS);
    assert_int_equal(seen[1], STEPS - 1); /* the oldest went, */
    assert_int_equal(seen[2], 1);
    struct seen forecasts = {0};
    assert_ok(md_store_read_forecasts(store, "tft", "cpu", 0, INT64_MAX, &forecasts, see, &err));
    assert_int_equal(forecasts.count, 1); /* not what was of no weight */
    md_store_close(store);
    run_sql("CREATE TABLE proof(x CHECK(x = 1)); INSERT INTO proof SELECT count(*) FROM entity");
}

/* Steps of a clock that ran ahead would make the entity refuse the present as too old. */
static void steps_from_the_future_stay_out(void **state)
{
    (void)state;
    struct md_error err;
    struct md_store *store = open_store(0);
    struct md_series *first = new_table(before, 20, 10), *second = new_table(before, 20, 10);
    assert_ok(md_series_restore(first, store, START_MS, &err));
    fill(first, 1, 15);
    md_clock_manual_set(&time_now, START_MS + 100 * STEP_MS);
    assert_ok(
        md_series_upsert(first, "s0", START_MS + 100 * STEP_MS, (float[]){1, 1, 1}, NULL, &err));
    assert_ok(md_series_save(first, store, &err));
    md_clock_manual_set(&time_now, START_MS + 15 * STEP_MS);
    assert_ok(md_series_restore(second, store, md_now_ms(&time_now.base), &err));
    assert_ok(
        md_series_upsert(second, "s0", START_MS + 15 * STEP_MS, (float[]){1, 1, 1}, NULL, &err));
    md_series_delete(first);
    md_series_delete(second);
    md_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_daemon_holds_the_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(newer_schemas_and_damage_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(values_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_table_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(columns_may_change_between_runs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_changes_are_saved_and_failures_are_repeated, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_saver_saves_before_it_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(forecasts_come_back_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(trimming_keeps_retention_and_cap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_cap_holds_for_steps_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(steps_from_the_future_stay_out, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
