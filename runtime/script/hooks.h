/*
 * What is counted for each hook: a route, a timer, a tick. Owned by whoever names the hook (its
 * generation); filled by task.c through md__task.stat as tasks of the hook run, from any thread.
 */
#ifndef MD_SCRIPT_HOOKS_H
#define MD_SCRIPT_HOOKS_H

#include <stdatomic.h>
#include <stdint.h>

struct md__hook_stat {
    _Atomic uint64_t calls;
    _Atomic uint64_t errors; /* the calls that failed, kills included */
    _Atomic uint64_t kills;  /* stopped for time or memory */
    _Atomic int64_t lua_ns_total, lua_ns_max; /* time in Lua, without waits */
    _Atomic int64_t bytes_peak;               /* the most that one call has held */
};

/* Raises a maximum that several threads raise. */
static inline void md__hook_raise(_Atomic int64_t *maximum, int64_t value)
{
    int64_t known = atomic_load_explicit(maximum, memory_order_relaxed);
    while (value > known && !atomic_compare_exchange_weak(maximum, &known, value)) {
    }
}

#endif
