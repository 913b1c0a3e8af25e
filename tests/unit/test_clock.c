/* Manual clocks, and civil time against known dates and against itself. */
#include <string.h>

#include "base/clock.h"
#include "unit.h"

#define DAY_MS INT64_C(86400000)

static void a_manual_clock_stands_still_until_told(void **state)
{
    struct md_clock_manual clock;
    md_clock_manual_init(&clock, 1000);
    assert_int_equal(md_now_ms(&clock.base), 1000);
    assert_int_equal(md_now_ms(&clock.base), 1000);
    md_clock_manual_set(&clock, 2500);
    assert_int_equal(md_now_ms(&clock.base), 2500);
    assert_int_equal(md_monotonic_ns(&clock.base), INT64_C(2500000000));
}

static void a_paced_clock_runs_faster_or_stands(void **state)
{
    struct md_clock_manual real;
    struct md_clock_paced fast;
    struct md_clock_standing still;
    md_clock_manual_init(&real, 1000000);
    md_clock_paced_init(&fast, &real.base, 1000000, 60.0);
    md_clock_standing_init(&still, &real.base, 42);
    assert_int_equal(md_now_ms(&fast.base), 1000000);
    md_clock_manual_set(&real, 1000500);
    assert_int_equal(md_now_ms(&fast.base), 1030000);
    assert_int_equal(md_monotonic_ns(&fast.base), md_monotonic_ns(&real.base));
    assert_int_equal(md_now_ms(&still.base), 42);
    assert_int_equal(md_monotonic_ns(&still.base), md_monotonic_ns(&real.base));
    md_clock_standing_set(&still, 43);
    assert_int_equal(md_now_ms(&still.base), 43);
}

static void the_system_clock_moves_forward(void **state)
{
    struct md_clock *clock = md_clock_system();
    int64_t before = md_monotonic_ns(clock);
    assert_true(md_monotonic_ns(clock) >= before);
    assert_true(md_now_ms(clock) > INT64_C(1600000000000));
}

static const struct {
    int64_t ms;
    struct md_civil civil;
} dates[] = {
    {0, {1970, 1, 1, 0, 0, 0, 0, 3}},
    {-1, {1969, 12, 31, 23, 59, 59, 999, 2}},
    {INT64_C(951782400000), {2000, 2, 29, 0, 0, 0, 0, 1}},
    {INT64_C(1709251199999), {2024, 2, 29, 23, 59, 59, 999, 3}},
    {INT64_C(1795260600123), {2026, 11, 21, 11, 30, 0, 123, 5}},
    {INT64_C(4107542400000), {2100, 3, 1, 0, 0, 0, 0, 0}},
    {INT64_C(-62135596800000), {1, 1, 1, 0, 0, 0, 0, 0}},
    {INT64_C(253402300799999), {9999, 12, 31, 23, 59, 59, 999, 4}},
};

static void known_dates_convert_both_ways(void **state)
{
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        struct md_civil civil;
        md_civil_from_ms(dates[i].ms, &civil);
        assert_memory_equal(&civil, &dates[i].civil, sizeof civil);
        assert_int_equal(md_civil_to_ms(&dates[i].civil), dates[i].ms);
    }
}

/* 800 years of days: each follows the one before, and comes back. */
static void every_day_follows_the_one_before(void **state)
{
    struct md_civil before;
    md_civil_from_ms(-150000 * DAY_MS, &before);
    for (int64_t day = -149999; day <= 150000; day++) {
        struct md_civil now;
        md_civil_from_ms(day * DAY_MS, &now);
        assert_int_equal(md_civil_to_ms(&now), day * DAY_MS);
        assert_int_equal(now.weekday, (before.weekday + 1) % 7);
        if (now.day != 1)
            assert_int_equal(now.day, before.day + 1);
        else
            assert_true(before.day >= 28 && now.month == before.month % 12 + 1);
        before = now;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_manual_clock_stands_still_until_told),
        cmocka_unit_test(a_paced_clock_runs_faster_or_stands),
        cmocka_unit_test(the_system_clock_moves_forward),
        cmocka_unit_test(known_dates_convert_both_ways),
        cmocka_unit_test(every_day_follows_the_one_before),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
