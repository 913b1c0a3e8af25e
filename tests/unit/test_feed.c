/* Feed bodies: what is refused as a whole, what costs one record, and what is only counted. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "series/series.h"
#include "unit.h"

static const char *const states[] = {"healthy", "busy"};
static const struct md_column columns[] = {
    {.name = "cpu", .kind = MD_COLUMN_MEAN, .min = 0, .max = 100},
    {.name = "status",
     .kind = MD_COLUMN_LAST,
     .min = NAN,
     .max = NAN,
     .values = states,
     .value_count = 2},
};
static const char *const label_fields[] = {"profile"};
static struct md_clock_manual time_now;
static struct md_series *series;
static struct md_feed_result result;

static int set_up(void **state)
{
    (void)state;
    md_clock_manual_init(&time_now, 1767225600000LL); /* 2026-01-01T00:00:00Z */
    struct md_series_options options = {
        .name = "servers",
        .key_field = "server_name",
        .time_field = "timestamp",
        .label_fields = label_fields,
        .label_count = 1,
        .columns = columns,
        .column_count = 2,
        .step_ms = 60000,
        .steps = 60,
        .entities_max = 10,
        .future_max_ms = 1000,
        .late_max_ms = 600000,
        .evict_after_ms = 86400000,
        .clock = &time_now.base,
    };
    return md_series_new(&options, &series, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    md_series_delete(series);
    return 0;
}

static enum md_status feed(const char *body, struct md_error *err)
{
    return md_series_feed(series, body, strlen(body), &result, err);
}

#define GOOD "{\"server_name\": \"a\", \"timestamp\": \"2025-12-31T23:59:00Z\", \"cpu\": 5}"

static void whole_bodies_are_refused(void **state)
{
    (void)state;
    struct md_error err;
    static const char *const not_json[] = {"", "{\"records\": [" GOOD "]",
                                           "{\"records\": [{\"cpu\": NaN}]}",
                                           "{\"records\": [{\"cpu\": 1e400}]}", "records"};
    for (size_t i = 0; i < sizeof not_json / sizeof *not_json; i++) {
        assert_fails(MD_ERR_INVALID, feed(not_json[i], &err));
        assert_says("byte");
    }
    static const char *const wrong_shape[] = {"[]", "{}", "{\"records\": {}}", "{\"records\": 5}",
                                              "7"};
    for (size_t i = 0; i < sizeof wrong_shape / sizeof *wrong_shape; i++)
        assert_fails(MD_ERR_UNPROCESSABLE, feed(wrong_shape[i], &err));
    assert_int_equal(md_series_count(series), 0);
}

static void an_empty_list_is_fine(void **state)
{
    (void)state;
    struct md_error err;
    assert_ok(feed("{\"records\": []}", &err));
    assert_int_equal(result.accepted + result.rejected, 0);
}

static void good_records_survive_bad_neighbours(void **state)
{
    (void)state;
    struct md_error err;
    static const struct {
        const char *record, *field, *reason;
    } bad[] = {
        {"5", "", "object"},
        {"{\"timestamp\": \"2025-12-31T23:59:00Z\"}", "server_name", "string"},
        {"{\"server_name\": 7, \"timestamp\": \"2025-12-31T23:59:00Z\"}", "server_name", "string"},
        {"{\"server_name\": \"\", \"timestamp\": \"2025-12-31T23:59:00Z\"}", "server_name", "1 to"},
        {"{\"server_name\": \"a\"}", "timestamp", "missing"},
        {"{\"server_name\": \"a\", \"timestamp\": \"yesterday\"}", "timestamp", "ISO 8601"},
        {"{\"server_name\": \"a\", \"timestamp\": \"2026-01-01T01:00:00Z\"}", "timestamp",
         "future"},
        {"{\"server_name\": \"a\", \"timestamp\": \"2025-12-31T20:00:00Z\"}", "timestamp", "older"},
        {"{\"server_name\": \"a\", \"timestamp\": \"2025-12-31T23:59:00Z\", \"cpu\": 101}", "cpu",
         "outside"},
        {"{\"server_name\": \"a\", \"timestamp\": \"2025-12-31T23:59:00Z\", \"cpu\": \"5\"}", "cpu",
         "number"},
        {"{\"server_name\": \"a\", \"timestamp\": \"2025-12-31T23:59:00Z\", \"cpu\": true}", "cpu",
         "number"},
        {"{\"server_name\": \"a\", \"timestamp\": \"2025-12-31T23:59:00Z\", \"status\": \"odd\"}",
         "status", "odd"},
        {"{\"server_name\": \"a\", \"timestamp\": \"2025-12-31T23:59:00Z\", \"profile\": 1}",
         "profile", "string"},
        {"{\"server_name\": \"a\", \"timestamp\": \"2025-12-31T23:59:00Z\", "
         "\"profile\": \"web\\nidle\"}",
         "profile", "control"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char body[512];
        snprintf(body, sizeof body, "{\"records\": [" GOOD ", %s, " GOOD "]}", bad[i].record);
        assert_ok(feed(body, &err));
        assert_int_equal(result.accepted, 2);
        assert_int_equal(result.rejected, 1);
        assert_int_equal(result.errors[0].index, 1);
        assert_string_equal(result.errors[0].field, bad[i].field);
        if (!strstr(result.errors[0].reason, bad[i].reason))
            fail_msg("'%s' does not say '%s'", result.errors[0].reason, bad[i].reason);
        snprintf(body, sizeof body, "{\"records\": [%s]}", bad[i].record);
        assert_fails(MD_ERR_UNPROCESSABLE, feed(body, &err));
        assert_int_equal(result.error_count, 1);
    }
}

static void unknown_fields_are_counted_and_nulls_are_absent(void **state)
{
    (void)state;
    struct md_error err;
    assert_ok(
        feed("{\"records\": [{\"server_name\": \"a\", \"timestamp\": 1767225540, \"cpu\": null,"
             " \"status\": \"busy\", \"profile\": \"web\", \"notes\": \"x\", \"other\": [1]}]}",
             &err));
    assert_int_equal(result.unknown_fields, 2);
    struct md_tensor values, times;
    assert_ok(md_series_latest(series, (const char *[]){"a"}, 1, (int[]){0, 1}, 2, &values, &times,
                               &err));
    assert_true(isnan(((float *)values.data)[0]));
    assert_true(((float *)values.data)[1] == 1.0f);
    md_tensor_unref(&values);
    md_tensor_unref(&times);
}

static void a_flood_of_servers_stops_at_the_limit(void **state)
{
    (void)state;
    struct md_error err;
    size_t size = 10000 * 80 + 100, used = 0;
    char *body = malloc(size);
    used += (size_t)snprintf(body, size, "{\"records\": [");
    for (int i = 0; i < 10000; i++)
        used += (size_t)snprintf(
            body + used, size - used,
            "%s{\"server_name\": \"s%d\", \"timestamp\": 1767225540, \"cpu\": 1}", i ? "," : "", i);
    snprintf(body + used, size - used, "]}");
    assert_ok(feed(body, &err));
    assert_int_equal(result.accepted, 10);
    assert_int_equal(result.rejected, 9990);
    assert_int_equal(result.error_count, MD_FEED_ERRORS_MAX);
    assert_string_equal(result.errors[0].field, "server_name");
    assert_non_null(strstr(result.errors[0].reason, "limit of 10"));
    free(body);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    const char *body = "{\"records\": [" GOOD "]}";
    for (size_t length = 0; length < strlen(body); length++) {
        struct md_error err;
        char *copy = malloc(length + 1); /* exact size, so that sanitizers see any read beyond */
        memcpy(copy, body, length);
        if (md_series_feed(series, copy, length, &result, &err) != MD_ERR_INVALID)
            fail_msg("accepted %zu bytes", length);
        free(copy);
    }
}

/* ---- the plain way and the general one ------------------------------------------------------- */

struct outcome {
    enum md_status status;
    struct md_feed_result result;
    float cells[3][4 * 2];
    float latest[3][2];
    char labels[3][MD_SERIES_KEY_BYTES];
};

/* Everything that a body leaves in a table of its own. */
static void feed_fresh(const char *body, struct outcome *outcome)
{
    static const char *const keys[] = {"a", "b", "c"};
    static const int both[] = {0, 1};
    struct md_error err;
    memset(outcome, 0, sizeof *outcome);
    md_series_clear(series);
    outcome->status = md_series_feed(series, body, strlen(body), &outcome->result, &err);
    for (int i = 0; i < 3; i++) {
        struct md_tensor window;
        assert_ok(
            md_series_window(series, &keys[i], 1, 1767225600000LL, 4, both, 2, &window, &err));
        memcpy(outcome->cells[i], window.data, sizeof outcome->cells[i]);
        md_tensor_unref(&window);
        md_series_label(series, keys[i], 0, outcome->labels[i]);
    }
}

/* The same body as only the general way reads it: with another key in front. */
static void check_both_ways(const char *body)
{
    char general[2048];
    struct outcome plain, other;
    if (body[0] != '{')
        return;
    snprintf(general, sizeof general, "{\"other\": 0, %s", body + 1);
    feed_fresh(body, &plain);
    feed_fresh(general, &other);
    if (memcmp(&plain, &other, sizeof plain) != 0)
        fail_msg("read in two ways: %s", body);
}

#define AT(name, seconds)                                                                          \
    "{\"server_name\":\"" name "\",\"timestamp\":\"2025-12-31T23:59:" seconds "Z\","

static const char *const bodies[] = {
    "{\"records\":[" AT("a", "00") "\"cpu\":5}," AT("b",
                                                    "00") "\"cpu\":6.25,\"status\":\"busy\"}]}",
    "{\n\"records\" :\t[ " AT("a", "01") " \"cpu\" : 0.1 , \"profile\" : \"x\" } ] } ",
    "{\"records\":[" AT("a", "00") "\"cpu\":36.29999923706055,\"more\":1,\"note\":\"n\"}]}",
    "{\"records\":[" AT("c", "59") "\"cpu\":-0,\"profile\":null,\"status\":null,\"x\":null}]}",
    "{\"records\":[" AT("c", "59") "\"cpu\":-0.0,\"status\":\"healthy\"}]}",
    "{\"records\":[" AT("a", "00") "\"cpu\":1e1}," AT("a", "02") "\"cpu\":101}]}",
    "{\"records\":[" AT("a", "00") "\"cpu\":007}]}",
    "{\"records\":[" AT("a", "00") "\"cpu\":12345678901234567890}]}",
    "{\"records\":[" AT("a", "00") "\"cpu\":0.00000000000000000000000000001}]}",
    "{\"records\":[" AT("a", "00") "\"cpu\":5,\"cpu\":6}]}",
    "{\"records\":[" AT("a", "00") "\"x\":5,\"x\":6}]}",
    "{\"records\":[" AT("a", "00") "\"server_name\":\"b\"}]}",
    "{\"records\":[" AT("a\\u0062", "00") "\"cpu\":5}]}",
    "{\"records\":[" AT("\xC3\xA9", "00") "\"cpu\":5}]}",
    "{\"records\":[" AT("a", "99") "\"cpu\":5}," AT("b", "00") "\"cpu\":5}]}",
    "{\"records\":[{\"server_name\":\"a\",\"timestamp\":1767225540,\"cpu\":4}]}",
    "{\"records\":[{\"server_name\":\"a\",\"cpu\":4}," AT("b", "00") "\"cpu\":true}]}",
    "{\"records\":[" AT("a", "00") "\"cpu\":5}],\"records\":[]}",
    "{\"records\":[" AT("a", "00") "\"cpu\":5},]}",
    "{\"records\":[" AT("a", "00") "\"cpu\":5}]}}",
    "{\"records\":[" AT("a", "00") "\"cpu\":1e400}," AT("b", "00") "\"cpu\":-1e-400}]}",
    "{\"records\":[" AT("a", "00") "\"cpu\":NaN}]}",
    "{\"records\":[" AT("a", "00") "\"cpu\":\"NaN\"}," AT("b", "00") "\"cpu\":7}]}",
    "{\"records\":[" AT("a", "00") "\"x\":[[[[{\"cpu\":1}]]]],\"cpu\":{}}]}",
    "{\"records\":[" AT("a", "00") "\"x\":true,\"y\":false,\"cpu\":99.99999999999999}]}",
    "{\"records\":[" AT("a", "00") "\"cpu\":1,\"\\u0063pu\":2}]}",
    "{\"records\":[" AT("a", "00") "\"cpu\":100.00000000000001}," AT("b", "00") "\"cpu\":3}]}",
    "{\"records\":[{\"timestamp\":\"2025-12-31T23:59:00+00:00\",\"server_name\":\"\"},"
    "{\"server_name\":\"b\",\"timestamp\":\"2025-12-31 23:59\",\"profile\":\"\"}]}",
    "{\"records\":[[],null,7,\"a\",{}," AT("a", "00") "\"cpu\":8}]}",
    "{\"records\":{},\"cpu\":0}",
    "{\"records\":[" AT("c", "00") "\"1\":1,\"2\":1,\"3\":1,\"4\":1,\"5\":1,\"6\":1,\"7\":1,"
                                   "\"8\":1,\"9\":1,\"cpu\":1}]}",
};

static void both_ways_read_the_same(void **state)
{
    static const char pieces[] = "{}[]\",:\\0159.-eEnul tb\x01\x7f\xC3 /";
    char body[1024];
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        check_both_ways(bodies[i]);
        for (int round = 0; round < 600; round++) {
            size_t length = strlen(strcpy(body, bodies[i]));
            for (int change = 0; change <= round % 3; change++)
                body[1 + unit_random() % (length - 1)] =
                    pieces[unit_random() % (sizeof pieces - 1)];
            check_both_ways(body);
        }
    }
}

/* More records than the plain way takes, and as many as it takes. */
static void long_bodies_are_read_alike(void **state)
{
    (void)state;
    for (int count = 16000; count <= 17000; count += 1000) {
        struct md_buffer body;
        struct md_error err;
        md_buffer_init(&body, 0);
        md_buffer_text(&body, "{\"records\":[");
        for (int i = 0; i < count; i++)
            md_buffer_text(&body, i > 0 ? "," GOOD : GOOD);
        md_buffer_text(&body, "]}");
        assert_ok(md_series_feed(series, body.data, body.length, &result, &err));
        assert_int_equal(result.accepted, count);
        md_buffer_fini(&body);
    }
}

/* ---- limits that change meanwhile ------------------------------------------------------------ */

enum { LIMIT_CHANGES = 2000 };

/* As a reload of scripts does: 50 to 100 may or may not be too much. */
static void *change_limits(void *context)
{
    (void)context;
    struct md_series_limits limits = {
        .future_max_ms = 1000, .late_max_ms = 600000, .evict_after_ms = 86400000};
    limits.min[1] = limits.max[1] = NAN;
    for (int i = 0; i < LIMIT_CHANGES; i++) {
        limits.max[0] = i % 2 ? 100 : 50;
        md_series_set_limits(series, &limits);
    }
    return NULL;
}

/* The thread sanitizer has a say here, too. */
static void limits_may_change_while_records_come(void **state)
{
    (void)state;
    const char *body = "{\"records\":[" AT("a", "00") "\"cpu\":75}]}";
    struct md_error err;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, change_limits, NULL), 0);
    for (int i = 0; i < LIMIT_CHANGES; i++)
        if (feed(body, &err) != MD_OK)
            assert_string_equal(result.errors[0].field, "cpu");
    pthread_join(thread, NULL);
    assert_ok(feed(body, &err));
    assert_int_equal(feed("{\"records\":[" AT("a", "00") "\"cpu\":101}]}", &err),
                     MD_ERR_UNPROCESSABLE);
    assert_string_equal(result.errors[0].field, "cpu");
    assert_string_equal(result.errors[0].reason, "101 is outside 0 to 100");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whole_bodies_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_list_is_fine, set_up, tear_down),
        cmocka_unit_test_setup_teardown(good_records_survive_bad_neighbours, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unknown_fields_are_counted_and_nulls_are_absent, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_flood_of_servers_stops_at_the_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_truncation_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(both_ways_read_the_same, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_bodies_are_read_alike, set_up, tear_down),
        cmocka_unit_test_setup_teardown(limits_may_change_while_records_come, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
