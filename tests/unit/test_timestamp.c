/* Timestamps and time zones: the forms feeds send, real zone rules, and dates that do not exist. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/timestamp.h"

#define HOUR_MS 3600000LL

static int64_t parsed(const char *text, const struct md_timezone *zone)
{
    int64_t ms = -1;
    struct md_error err = {0};
    if (md_timestamp_parse(text, zone, &ms, &err) != MD_OK)
        fail_msg("%s", err.text);
    return ms;
}

static void test_parses_common_forms(void **state)
{
    (void)state;
    const int64_t noon = 1768478400000; /* 2026-01-15T12:00:00Z, date -d @1768478400 */
    assert_int_equal(parsed("2026-01-15T12:00:00Z", NULL), noon);
    assert_int_equal(parsed("2026-01-15 12:00:00", NULL), noon);
    assert_int_equal(parsed("2026-01-15T12:00", NULL), noon);
    assert_int_equal(parsed("2026-01-15T14:00:00+02:00", NULL), noon);
    assert_int_equal(parsed("2026-01-15T06:30:00-0530", NULL), noon);
    assert_int_equal(parsed("2026-01-15T12:00:00.123456Z", NULL), noon + 123);
    assert_int_equal(parsed("2026-01-15", NULL), noon - 12 * HOUR_MS);
    assert_int_equal(parsed("1969-12-31T23:59:59.500Z", NULL), -500);
}

static void test_refuses_what_is_no_time(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "now",
                                      "2026-02-30",
                                      "2026-13-01",
                                      "2026-01-15T",
                                      "2026-01-15T25:00",
                                      "2026-1-5",
                                      "20260115",
                                      "2026-01-15T12:00:00+99:00",
                                      "2026-01-15T12:00:00Zjunk",
                                      "2026-01-15T12:60:00",
                                      "2023-02-29",
                                      "1768478400"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t ms;
        if (md_timestamp_parse(bad[i], NULL, &ms, NULL) != MD_ERR_INVALID)
            fail_msg("accepted '%s'", bad[i]);
    }
}

static void test_formats_and_parses_back(void **state)
{
    (void)state;
    for (int64_t ms = -4000000000000; ms < 8000000000000; ms += 123456789123) {
        char text[MD_TIMESTAMP_BYTES];
        md_timestamp_format(ms, text);
        assert_int_equal(parsed(text, NULL), ms);
    }
}

static void test_prague_keeps_its_summer_time(void **state)
{
    (void)state;
    struct md_timezone *prague;
    assert_int_equal(md_timezone_new("Europe/Prague", &prague, NULL), MD_OK);
    /* Clocks go forward 2026-03-29 01:00 UTC and back 2026-10-25 01:00 UTC; 2060 is past the table.
     */
    int64_t spring = parsed("2026-03-29T01:00:00Z", NULL),
            autumn = parsed("2026-10-25T01:00:00Z", NULL);
    assert_int_equal(md_timezone_offset_s(prague, spring - 1), 3600);
    assert_int_equal(md_timezone_offset_s(prague, spring), 7200);
    assert_int_equal(md_timezone_offset_s(prague, autumn - 1), 7200);
    assert_int_equal(md_timezone_offset_s(prague, autumn), 3600);
    assert_int_equal(md_timezone_offset_s(prague, parsed("2060-07-01T00:00:00Z", NULL)), 7200);
    assert_int_equal(md_timezone_offset_s(prague, parsed("2060-12-01T00:00:00Z", NULL)), 3600);
    assert_int_equal(parsed("2026-07-01T12:00:00", prague), parsed("2026-07-01T10:00:00Z", NULL));
    /* 02:30 happens twice in autumn: the earlier one, and never in spring: read as winter time. */
    assert_int_equal(parsed("2026-10-25T02:30:00", prague), parsed("2026-10-25T00:30:00Z", NULL));
    assert_int_equal(parsed("2026-03-29T02:30:00", prague), parsed("2026-03-29T01:30:00Z", NULL));
    md_timezone_delete(prague);
}

static void test_zones_south_and_fixed(void **state)
{
    (void)state;
    struct md_timezone *zone;
    assert_int_equal(md_timezone_new("Australia/Sydney", &zone, NULL), MD_OK);
    assert_int_equal(md_timezone_offset_s(zone, parsed("2055-01-10T00:00:00Z", NULL)), 11 * 3600);
    assert_int_equal(md_timezone_offset_s(zone, parsed("2055-07-10T00:00:00Z", NULL)), 10 * 3600);
    md_timezone_delete(zone);
    static const struct {
        const char *name;
        int offset_s;
    } fixed[] = {{"UTC", 0}, {"+02:00", 7200}, {"-0530", -19800}, {"+14", 50400}};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        assert_int_equal(md_timezone_new(fixed[i].name, &zone, NULL), MD_OK);
        assert_int_equal(md_timezone_offset_s(zone, 0), fixed[i].offset_s);
        md_timezone_delete(zone);
    }
}

static void test_refuses_bad_zone_names(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "+99", "Europe", "a b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct md_timezone *zone;
        assert_int_not_equal(md_timezone_new(bad[i], &zone, NULL), MD_OK);
        assert_null(zone);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parses_common_forms),
        cmocka_unit_test(test_refuses_what_is_no_time),
        cmocka_unit_test(test_formats_and_parses_back),
        cmocka_unit_test(test_prague_keeps_its_summer_time),
        cmocka_unit_test(test_zones_south_and_fixed),
        cmocka_unit_test(test_refuses_bad_zone_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
