/*
 * Thread pool: splits one loop over a fixed set of threads, without allocation per call.
 *
 * The caller takes part in the work, so a pool of n threads has n-1 workers; a pool of 1 has none
 * and runs the body inline. One md_pool_run at a time per pool: an executor owns its pool (but see
 * md_pool_set_alone). Bodies must not call md_pool_run on the same pool.
 */
#ifndef MD_BASE_POOL_H
#define MD_BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct md_pool;

/* Runs items [begin, end) on thread number `thread` (0 .. threads-1). */
typedef void (*md_pool_body)(void *context, size_t begin, size_t end, int thread);

/*
 * threads >= 1; `spin_us` workers spin that long for the next call before they sleep (0: sleep at
 * once). Workers are kept off the processor of the thread that calls md_pool_run while it works, as
 * long as there are as many processors as threads.
 */
enum md_status md_pool_new(int threads, int spin_us, struct md_pool **pool, struct md_error *err);
void md_pool_delete(struct md_pool *pool);
int md_pool_threads(const struct md_pool *pool);

/*
 * Splits [0, count) into chunks of at least `grain` items, but perhaps the last, handed out
 * dynamically; returns when all are done.
 */
void md_pool_run(struct md_pool *pool, size_t count, size_t grain, md_pool_body body,
                 void *context);

/*
 * Between these two, calls of md_pool_run follow one another closely: workers of a pool that spins
 * at all then spin for up to 2 ms for the next one. Any thread, any number of times; from a thread
 * that is alone they do nothing.
 */
void md_pool_hold(struct md_pool *pool);
void md_pool_release(struct md_pool *pool);

/*
 * Wakes workers that sleep, so that they already spin when the first work of a pool that is held
 * comes; costs some microseconds. For the thread that calls md_pool_run next; nothing from one that
 * is alone.
 */
void md_pool_wake(struct md_pool *pool);

/* How many calls of md_pool_run have asked for workers so far, modulo 2^32. */
uint64_t md_pool_runs(const struct md_pool *pool);

/* How long workers have been in runs so far, all of them together; to be asked between two runs. */
int64_t md_pool_busy_ns(const struct md_pool *pool);

/*
 * While alone, calls of md_pool_run from this thread run their whole body inline, as thread 0, and
 * leave the workers to others: so background work may use a pool that somebody else is running.
 * Returns what it was before.
 */
bool md_pool_set_alone(bool alone);

#endif
