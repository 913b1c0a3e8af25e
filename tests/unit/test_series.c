/*
 * Series tables: resampling, the rules for late and repeated rows, windows, limits.
 *
 * The central property: whatever order samples arrive in, and however often, as long as they are
 * inside late_max_ms the window is to the bit what ordered, single samples give.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "series/series.h"
#include "unit.h"

#define STEP_MS  60000LL
#define START_MS (1767225600000LL) /* 2026-01-01T00:00:00Z, a multiple of STEP_MS */
#define STEPS    32

static const char *const states[] = {"healthy", "busy", "down"};
static const struct md_column columns[] = {
    {.name = "cpu", .kind = MD_COLUMN_MEAN, .min = 0, .max = 100},
    {.name = "errors", .kind = MD_COLUMN_MAX, .min = 0, .max = INFINITY},
    {.name = "status",
     .kind = MD_COLUMN_LAST,
     .min = NAN,
     .max = NAN,
     .values = states,
     .value_count = 3},
};
static const char *const label_fields[] = {"profile"};

static struct md_clock_manual time_now;

static struct md_series *new_table(int entities_max)
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
        .steps = STEPS,
        .entities_max = entities_max,
        .grace_ms = 5000,
        .late_max_ms = 10 * STEP_MS,
        .future_max_ms = 30000,
        .evict_after_ms = 24 * STEP_MS,
        .clock = &time_now.base,
    };
    struct md_series *series;
    struct md_error err;
    md_clock_manual_init(&time_now, START_MS);
    assert_ok(md_series_new(&options, &series, &err));
    return series;
}

static enum md_status put(struct md_series *series, const char *key, int64_t time_ms, float cpu,
                          float errors, float status, struct md_error *err)
{
    return md_series_upsert(series, key, time_ms, (float[]){cpu, errors, status}, NULL, err);
}

/* [steps][3] of one key, ending at end_ms. */
static struct md_tensor window(struct md_series *series, const char *key, int64_t end_ms, int steps)
{
    struct md_tensor out;
    struct md_error err;
    assert_ok(md_series_window(series, &key, 1, end_ms, steps, (int[]){0, 1, 2}, 3, &out, &err));
    return out;
}

static void a_step_holds_mean_max_and_last(void **state)
{
    (void)state;
    struct md_series *series = new_table(4);
    struct md_error err;
    md_clock_manual_set(&time_now, START_MS + 3 * STEP_MS);
    assert_ok(put(series, "a", START_MS, 10, 1, 0, &err));
    assert_ok(put(series, "a", START_MS + 20000, 20, 7, 2, &err));
    assert_ok(put(series, "a", START_MS + 59999, 60, 3, 1, &err));
    assert_ok(put(series, "a", START_MS + 2 * STEP_MS, 50, NAN, NAN, &err));
    struct md_tensor out = window(series, "a", START_MS + 3 * STEP_MS, 4);
    const float expected[] = {NAN, NAN, NAN, 30, 7, 1, NAN, NAN, NAN, 50, NAN, NAN};
    assert_floats_close((float *)out.data, expected, 12, 1e-5, 0);
    md_tensor_unref(&out);
    md_series_delete(series);
}

struct sample {
    int64_t time_ms;
    float cpu, errors;
};

/* Feeds `count` samples in the given order, some twice, and compares with the ordered table. */
static void any_order_gives_the_same_window(void **state)
{
    (void)state;
    enum { COUNT = 100 };
    struct sample samples[COUNT];
    struct md_error err;
    srand(7);
    for (int i = 0; i < COUNT; i++)
        samples[i] = (struct sample){START_MS + i * 5000 + rand() % 1000,
                                     (float)(rand() % 1000) / 10.0f, (float)(rand() % 50)};
    struct md_series *ordered = new_table(4), *mixed = new_table(4);
    md_clock_manual_set(&time_now, START_MS + COUNT * 5000);
    for (int i = 0; i < COUNT; i++)
        assert_ok(
            put(ordered, "a", samples[i].time_ms, samples[i].cpu, samples[i].errors, 0, &err));
    for (int i = COUNT - 1; i > 0; i--) {
        int j = rand() % (i + 1);
        struct sample swap = samples[i];
        samples[i] = samples[j], samples[j] = swap;
    }
    for (int i = 0; i < COUNT; i++) {
        struct sample *again = &samples[rand() % (i + 1)];
        /* A wrong first version, then the right one: the newest upsert of a moment counts. */
        assert_ok(put(mixed, "a", samples[i].time_ms, 99, 49, 1, &err));
        assert_ok(put(mixed, "a", samples[i].time_ms, samples[i].cpu, samples[i].errors, 0, &err));
        assert_ok(put(mixed, "a", again->time_ms, again->cpu, again->errors, 0, &err));
    }
    struct md_tensor a = window(ordered, "a", START_MS + 9 * STEP_MS, 10);
    struct md_tensor b = window(mixed, "a", START_MS + 9 * STEP_MS, 10);
    assert_floats_close((float *)b.data, (float *)a.data, 30, 0, 0);
    md_tensor_unref(&a);
    md_tensor_unref(&b);
    md_series_delete(ordered);
    md_series_delete(mixed);
}

static void old_steps_take_appends_and_gaps_only(void **state)
{
    (void)state;
    struct md_series *series = new_table(4);
    struct md_error err;
    int64_t late = START_MS + 20 * STEP_MS;
    md_clock_manual_set(&time_now, late + STEP_MS);
    assert_ok(put(series, "a", START_MS + 30000, 10, 1, 0, &err));
    assert_ok(put(series, "a", late, 50, 1, 0, &err)); /* the first step is now past late_max_ms */
    uint64_t version = md_series_version(series);
    assert_fails(MD_ERR_UNPROCESSABLE, put(series, "a", START_MS + 10000, 90, 1, 0, &err));
    assert_says("too late");
    assert_int_equal(md_series_version(series), version);
    assert_ok(put(series, "a", START_MS + 30000, 10, 1, 0, &err)); /* repeated: nothing new */
    assert_int_equal(md_series_version(series), version);
    assert_ok(put(series, "a", START_MS + 30000, 12, 1, 0, &err)); /* corrected */
    assert_int_equal(md_series_version(series), version + 1);
    assert_ok(put(series, "a", START_MS + 40000, 20, 1, 0, &err));       /* appended */
    assert_ok(put(series, "a", START_MS + 3 * STEP_MS, 70, 1, 0, &err)); /* a gap filled */
    struct md_tensor out = window(series, "a", START_MS + 4 * STEP_MS, 4);
    const float *cells = out.data;
    assert_floats_close(&cells[0], ((float[]){16}), 1, 1e-5, 0);
    assert_true(isnan(cells[3]) && isnan(cells[6]));
    assert_floats_close(&cells[9], ((float[]){70}), 1, 0, 0);
    md_tensor_unref(&out);
    md_series_delete(series);
}

static void the_window_rolls_and_forgets(void **state)
{
    (void)state;
    struct md_series *series = new_table(4);
    struct md_error err;
    for (int i = 0; i < 3 * STEPS; i++) {
        md_clock_manual_set(&time_now, START_MS + i * STEP_MS + 1000);
        if (i % 7 != 3)
            assert_ok(put(series, "a", START_MS + i * STEP_MS, (float)i, 0, 0, &err));
    }
    struct md_tensor out = window(series, "a", START_MS + 3 * STEPS * STEP_MS, STEPS);
    for (int i = 0; i < STEPS; i++) {
        float expected = (2 * STEPS + i) % 7 == 3 ? NAN : (float)(2 * STEPS + i);
        assert_floats_close((float *)out.data + 3 * i, &expected, 1, 0, 0);
    }
    md_tensor_unref(&out);
    assert_fails(MD_ERR_UNPROCESSABLE, put(series, "a", START_MS + STEPS * STEP_MS, 1, 1, 0, &err));
    assert_says("older than the window");
    md_series_delete(series);
}

static void closed_steps_and_versions(void **state)
{
    (void)state;
    struct md_series *series = new_table(4);
    struct md_error err;
    assert_int_equal(md_series_closed_ms(series, START_MS + STEP_MS + 4999), START_MS);
    assert_int_equal(md_series_closed_ms(series, START_MS + STEP_MS + 5000), START_MS + STEP_MS);
    md_clock_manual_set(&time_now, START_MS + STEP_MS + 1000);
    assert_ok(put(series, "a", START_MS + 1000, 1, 1, 0, &err));
    assert_int_equal(md_series_version(series), 0); /* still within its grace */
    md_clock_manual_set(&time_now, START_MS + STEP_MS + 5000);
    assert_ok(put(series, "a", START_MS + 2000, 2, 1, 0, &err));
    assert_int_equal(md_series_version(series), 1);
    md_series_delete(series);
}

static void limits_are_kept(void **state)
{
    (void)state;
    struct md_series *series = new_table(2);
    struct md_error err;
    assert_fails(MD_ERR_UNPROCESSABLE, put(series, "a", START_MS + 31000, 1, 1, 0, &err));
    assert_says("in the future");
    assert_fails(MD_ERR_UNPROCESSABLE, put(series, "a", START_MS - STEPS * STEP_MS, 1, 1, 0, &err));
    assert_fails(MD_ERR_UNPROCESSABLE, put(series, "a", START_MS, 101, 1, 0, &err));
    assert_fails(MD_ERR_UNPROCESSABLE, put(series, "a", START_MS, 1, INFINITY, 0, &err));
    assert_fails(MD_ERR_UNPROCESSABLE, put(series, "", START_MS, 1, 1, 0, &err));
    assert_fails(MD_ERR_UNPROCESSABLE, put(series, "a\nb", START_MS, 1, 1, 0, &err));
    assert_int_equal(md_series_count(series), 0);
    assert_ok(put(series, "a", START_MS, 1, 1, 0, &err));
    assert_ok(put(series, "b", START_MS, 1, 1, 0, &err));
    assert_fails(MD_ERR_UNAVAILABLE, put(series, "c", START_MS, 1, 1, 0, &err));
    struct md_series_stats stats;
    md_series_get_stats(series, &stats);
    assert_int_equal(stats.accepted, 2);
    assert_int_equal(stats.rejected, 7);
    assert_int_equal(stats.refused_entities, 1);
    md_series_delete(series);
}

static void silent_entities_are_forgotten(void **state)
{
    (void)state;
    struct md_series *series = new_table(64);
    struct md_error err;
    md_clock_manual_set(&time_now, START_MS + 25 * STEP_MS);
    char key[16];
    for (int i = 0; i < 64; i++) {
        snprintf(key, sizeof key, "s%d", i);
        assert_ok(put(series, key, START_MS + (i % 2 ? 25 : 0) * STEP_MS, 1, 1, 0, &err));
    }
    assert_int_equal(md_series_evict(series, START_MS + 25 * STEP_MS), 32);
    int count;
    char **keys = md_series_keys(series, &count);
    assert_int_equal(count, 32);
    for (int i = 0; i < count; i++) {
        assert_true(atoi(keys[i] + 1) % 2 == 1);
        assert_true(i == 0 || strcmp(keys[i - 1], keys[i]) < 0);
    }
    free(keys);
    int length;
    md_series_lengths(series, (const char *[]){"s0"}, 1, START_MS + 26 * STEP_MS, 8, &length);
    assert_int_equal(length, 0);
    assert_ok(put(series, "s0", START_MS + 25 * STEP_MS, 3, 1, 0, &err)); /* welcome back */
    md_series_lengths(series, (const char *[]){"s0"}, 1, START_MS + 26 * STEP_MS, 8, &length);
    assert_int_equal(length, 1);
    md_series_delete(series);
}

static void latest_values_and_labels(void **state)
{
    (void)state;
    struct md_series *series = new_table(2);
    struct md_error err;
    md_clock_manual_set(&time_now, START_MS + 2 * STEP_MS);
    const char *database = "database", *web = "web";
    assert_ok(
        md_series_upsert(series, "a", START_MS + STEP_MS, (float[]){5, 6, 1}, &database, &err));
    assert_ok(
        md_series_upsert(series, "a", START_MS + STEP_MS + 5, (float[]){7, NAN, NAN}, NULL, &err));
    assert_ok(md_series_upsert(series, "a", START_MS, (float[]){1, 1, 0}, &web, &err)); /* late */
    const char *keys[] = {"a", "nobody"};
    struct md_tensor values, times;
    assert_ok(md_series_latest(series, keys, 2, (int[]){0, 1, 2}, 3, &values, &times, &err));
    const float expected[] = {7, 6, 1, NAN, NAN, NAN};
    assert_floats_close((float *)values.data, expected, 6, 0, 0);
    assert_int_equal(((int64_t *)times.data)[0], START_MS + STEP_MS + 5);
    assert_int_equal(((int64_t *)times.data)[1], 0);
    md_tensor_unref(&values);
    md_tensor_unref(&times);
    char text[MD_SERIES_KEY_BYTES];
    assert_true(md_series_label(series, "a", 0, text));
    assert_string_equal(text, "database");
    assert_false(md_series_label(series, "nobody", 0, text));
    assert_false(md_series_label(series, "a", 1, text));
    md_series_delete(series);
}

static void many_samples_in_one_step_stay_bounded(void **state)
{
    (void)state;
    struct md_series *series = new_table(1);
    struct md_error err;
    md_clock_manual_set(&time_now, START_MS + STEP_MS);
    double sum = 0;
    for (int i = 0; i < 6000; i++) {
        assert_ok(put(series, "a", START_MS + i * 10, (float)(i % 100), 0, 0, &err));
        sum += i % 100;
    }
    struct md_tensor out = window(series, "a", START_MS + STEP_MS, 1);
    assert_true(fabs(((float *)out.data)[0] - sum / 6000) < 0.01);
    md_tensor_unref(&out);
    struct md_series_stats stats;
    md_series_get_stats(series, &stats);
    assert_true(stats.bytes < 200000);
    md_series_delete(series);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_holds_mean_max_and_last),
        cmocka_unit_test(any_order_gives_the_same_window),
        cmocka_unit_test(old_steps_take_appends_and_gaps_only),
        cmocka_unit_test(the_window_rolls_and_forgets),
        cmocka_unit_test(closed_steps_and_versions),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(silent_entities_are_forgotten),
        cmocka_unit_test(latest_values_and_labels),
        cmocka_unit_test(many_samples_in_one_step_stay_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
