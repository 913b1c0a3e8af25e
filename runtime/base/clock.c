/*
 * Clocks and civil time; see clock.h. This is the one file that asks the operating system what time
 * it is.
 */
#include "base/clock.h"

#include <stdatomic.h>
#include <time.h>

enum { MS_PER_DAY = 86400000, DAYS_PER_ERA = 146097, YEARS_PER_ERA = 400 };

/* Days from 0000-03-01, where Hinnant's eras begin, to 1970-01-01. */
enum { ERA_TO_UNIX_DAYS = 719468 };

static int64_t system_ns(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t system_wall_ms(struct md_clock *clock)
{
    (void)clock;
    return system_ns(CLOCK_REALTIME) / 1000000;
}

static int64_t system_monotonic_ns(struct md_clock *clock)
{
    (void)clock;
    return system_ns(CLOCK_MONOTONIC);
}

int64_t md__spin_ns(void)
{
    return system_ns(CLOCK_MONOTONIC);
}

int64_t md__thread_cpu_ns(void)
{
    return system_ns(CLOCK_THREAD_CPUTIME_ID);
}

struct md_clock *md_clock_system(void)
{
    static struct md_clock clock = {system_wall_ms, system_monotonic_ns};
    return &clock;
}

static int64_t manual_wall_ms(struct md_clock *clock)
{
    return atomic_load(&((struct md_clock_manual *)clock)->now_ms);
}

static int64_t manual_monotonic_ns(struct md_clock *clock)
{
    return manual_wall_ms(clock) * 1000000;
}

void md_clock_manual_init(struct md_clock_manual *clock, int64_t now_ms)
{
    clock->base = (struct md_clock){manual_wall_ms, manual_monotonic_ns};
    atomic_init(&clock->now_ms, now_ms);
}

void md_clock_manual_set(struct md_clock_manual *clock, int64_t now_ms)
{
    atomic_store(&clock->now_ms, now_ms);
}

static int64_t standing_wall_ms(struct md_clock *clock)
{
    return atomic_load(&((struct md_clock_standing *)clock)->now_ms);
}

static int64_t standing_monotonic_ns(struct md_clock *clock)
{
    return md_monotonic_ns(((struct md_clock_standing *)clock)->real);
}

void md_clock_standing_init(struct md_clock_standing *clock, struct md_clock *real, int64_t now_ms)
{
    clock->base = (struct md_clock){standing_wall_ms, standing_monotonic_ns};
    clock->real = real;
    atomic_init(&clock->now_ms, now_ms);
}

void md_clock_standing_set(struct md_clock_standing *clock, int64_t now_ms)
{
    atomic_store(&clock->now_ms, now_ms);
}

static int64_t paced_wall_ms(struct md_clock *clock)
{
    const struct md_clock_paced *paced = (const struct md_clock_paced *)clock;
    int64_t passed_ms = md_now_ms(paced->real) - paced->origin_ms;
    return paced->origin_ms + (int64_t)((double)passed_ms * paced->speed);
}

static int64_t paced_monotonic_ns(struct md_clock *clock)
{
    return md_monotonic_ns(((struct md_clock_paced *)clock)->real);
}

void md_clock_paced_init(struct md_clock_paced *clock, struct md_clock *real, int64_t origin_ms,
                         double speed)
{
    *clock = (struct md_clock_paced){{paced_wall_ms, paced_monotonic_ns}, real, origin_ms, speed};
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

void md_civil_from_ms(int64_t utc_ms, struct md_civil *civil)
{
    int64_t days = floor_div(utc_ms, MS_PER_DAY);
    int rest = (int)(utc_ms - days * MS_PER_DAY);
    civil->millisecond = rest % 1000;
    civil->second = rest / 1000 % 60;
    civil->minute = rest / 60000 % 60;
    civil->hour = rest / 3600000;
    /* 1970-01-01 was a Thursday, 3 when Monday is 0. */
    civil->weekday = (int)(((days + 3) % 7 + 7) % 7);

    days += ERA_TO_UNIX_DAYS;
    int64_t era = floor_div(days, DAYS_PER_ERA);
    int day_of_era = (int)(days - era * DAYS_PER_ERA);
    int year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int month_from_march = (5 * day_of_year + 2) / 153;
    civil->day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    civil->month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    civil->year = (int)(era * YEARS_PER_ERA) + year_of_era + (civil->month <= 2);
}

int64_t md_civil_to_ms(const struct md_civil *civil)
{
    int64_t year = (int64_t)civil->year - (civil->month <= 2);
    int64_t era = floor_div(year, YEARS_PER_ERA);
    int64_t year_of_era = year - era * YEARS_PER_ERA;
    int month_from_march = civil->month > 2 ? civil->month - 3 : civil->month + 9;
    int64_t day_of_year = (153 * month_from_march + 2) / 5 + civil->day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    int64_t days = era * DAYS_PER_ERA + day_of_era - ERA_TO_UNIX_DAYS;
    int64_t seconds = ((days * 24 + civil->hour) * 60 + civil->minute) * 60 + civil->second;
    return seconds * 1000 + civil->millisecond;
}
