/*
 * Clock: the only source of time below cli/. Wall time is UTC milliseconds since 1970; monotonic
 * time is nanoseconds from an arbitrary origin, for durations and deadlines. Tests, simulation and
 * rehearsal pass a manual clock.
 */
#ifndef MD_BASE_CLOCK_H
#define MD_BASE_CLOCK_H

#include <stdint.h>

struct md_clock {
    int64_t (*wall_ms)(struct md_clock *clock);
    int64_t (*monotonic_ns)(struct md_clock *clock);
};

/* The operating system's clock: a constant object, made available to cli/ and tests only. */
struct md_clock *md_clock_system(void);

/* Real time, for base/ to bound a busy wait with; never a time that a result may depend on. */
int64_t md__spin_ns(void);

/* What this thread has computed, from any origin: to bound work by, however busy the machine is. */
int64_t md__thread_cpu_ns(void);

/*
 * A clock that stands still until told: for tests and rehearsal. Setting it is safe from any
 * thread.
 */
struct md_clock_manual {
    struct md_clock base;
    _Atomic int64_t now_ms;
};
void md_clock_manual_init(struct md_clock_manual *clock, int64_t now_ms);
void md_clock_manual_set(struct md_clock_manual *clock, int64_t now_ms);

/*
 * Likewise for wall time; durations, and with them budgets and deadlines, stay real: for a whole
 * service whose time somebody else moves on.
 */
struct md_clock_standing {
    struct md_clock base;
    struct md_clock *real;
    _Atomic int64_t now_ms;
};
void md_clock_standing_init(struct md_clock_standing *clock, struct md_clock *real, int64_t now_ms);
void md_clock_standing_set(struct md_clock_standing *clock, int64_t now_ms);

/*
 * A clock whose wall time runs `speed` times as fast as another's, from the moment when that one
 * shows origin_ms: for simulated fleets (speed 60, processes with the same origin agree). Durations
 * stay real. Constant after init.
 */
struct md_clock_paced {
    struct md_clock base;
    struct md_clock *real;
    int64_t origin_ms;
    double speed;
};
void md_clock_paced_init(struct md_clock_paced *clock, struct md_clock *real, int64_t origin_ms,
                         double speed);

static inline int64_t md_now_ms(struct md_clock *clock)
{
    return clock->wall_ms(clock);
}
static inline int64_t md_monotonic_ns(struct md_clock *clock)
{
    return clock->monotonic_ns(clock);
}

/*
 * Civil time without the OS: proleptic Gregorian, UTC (Howard Hinnant's days-from-civil arithmetic,
 * chrono- compatible low-level date algorithms).
 */
struct md_civil {
    int year, month, day;     /* month 1-12, day 1-31 */
    int hour, minute, second; /* 0-23, 0-59, 0-59 */
    int millisecond;          /* 0-999 */
    int weekday;              /* 0 = Monday */
};
void md_civil_from_ms(int64_t utc_ms, struct md_civil *civil);
/* weekday is not read; fields must be in range, and the year within 200 million of zero. */
int64_t md_civil_to_ms(const struct md_civil *civil);

#endif
