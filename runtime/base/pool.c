/*
 * Thread pool. All coordination goes through one 64-bit word, `state`:
 *
 *     bits 63..32  generation: which run this is
 *     bit  31      OPEN: workers may join this run
 *     bit  30      CALLER_WAITS: the last worker to leave must wake the caller
 *     bits 15..0   workers that have joined and not yet left
 *
 * A run writes the job, then publishes generation + OPEN. A worker joins by a compare-and-swap that
 * raises the count while OPEN is set, takes chunks until none is left, and lowers the count. The
 * caller takes chunks too, then clears OPEN and waits for the count to reach zero. So the job is
 * written only while nobody reads it, a worker that wakes late simply finds the run closed, and no
 * run waits for a sleeping thread to wake.
 *
 * Each thread begins with a part of its own, the same in every run of as many chunks, and helps
 * with the others' only then: what it wrote in one run lies in its cache when the next one reads
 * it.
 *
 * The caller keeps the workers off the processor that it runs on: in a virtual machine, where the
 * kernel takes a halted processor for one that the host has taken away, it wakes a worker beside
 * the caller, and moves it only after many milliseconds; all that time the pool is no faster than
 * one thread. They may run there again while the caller sleeps. Where threads may run is what was
 * said last from outside, and is asked again whenever the caller has moved.
 *
 * Waking a sleeper takes 20 to 30 us, a look of one that spins 0.1. So while the pool is held, that
 * is, while work comes in a row, nobody sleeps before HELD_SPIN_NS have passed without any, and who
 * sleeps can be woken to wait like that for the first.
 *
 * With fewer processors than threads a spinner would be in the way of work, and where others want
 * the processors one that is told where to run waits for them. So neither applies for CROWDED_NS
 * after either has been seen; the latter is where a worker keeps the caller for over HELD_SPIN_NS.
 *
 * Sleep is the usual pair: a worker announces itself in `sleepers` and then looks at `state` again;
 * the caller publishes `state` and then looks at `sleepers`. Both are sequentially consistent, so
 * one of the two sees the other.
 */
#include "base/pool.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/clock.h"

#define GENERATION   ((uint64_t)1 << 32)
#define OPEN         ((uint64_t)1 << 31)
#define CALLER_WAITS ((uint64_t)1 << 30)
#define JOINED_MASK  ((uint64_t)0xFFFF)

enum {
    THREADS_MAX = 1024,
    CHUNKS_PER_THREAD = 4, /* enough to even out unequal threads, few enough to keep chunks large */
    SPINS_PER_LOOK = 32,   /* pauses between two looks at the clock */
    HELD_SPIN_NS = 2000000,
    CROWDED_NS = 100000000,
};

/* The chunks of a run that one thread takes first; two lines each, because they come in pairs. */
struct share {
    _Alignas(128) _Atomic size_t next;
    size_t end;
};

struct worker {
    struct md_pool *pool;
    pthread_t handle;
    int thread;
    int64_t
        busy_ns; /* from joining to leaving, of all runs; its own to write while it has joined */
};

struct md_pool {
    /* The job: written by the caller between runs, read by those who joined. */
    md_pool_body body;
    void *context;
    size_t count;
    size_t chunk, extra, chunks; /* chunk i begins at i * chunk + i * extra / chunks */

    _Alignas(64) _Atomic uint64_t state;
    _Alignas(64) _Atomic int sleepers;
    _Atomic bool stop;
    _Atomic int holders;
    _Atomic unsigned wakings; /* without work */

    pthread_mutex_t lock; /* guards no data: it orders sleeping and waking */
    pthread_cond_t work_ready;
    pthread_cond_t workers_left;
    int64_t spin_ns;
    cpu_set_t cpus;     /* where workers may run, but for the caller's processor */
    cpu_set_t cpus_set; /* where they were told to run last */
    int avoided_cpu;    /* the caller's, or -1 */
    _Atomic int64_t crowded_until_ns;
    int started;
    int threads;
    struct share *shares;    /* one a thread, behind the workers */
    struct worker workers[]; /* threads - 1 */
};

static void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Work is there for a worker that has last seen generation `seen`, or the pool is closing. */
static bool has_news(struct md_pool *pool, uint64_t seen)
{
    uint64_t state = atomic_load(&pool->state);
    return ((state & OPEN) && state / GENERATION != seen) || atomic_load(&pool->stop);
}

static bool all_left(struct md_pool *pool)
{
    return (atomic_load(&pool->state) & JOINED_MASK) == 0;
}

static bool is_crowded(struct md_pool *pool, int64_t now_ns)
{
    return now_ns < atomic_load_explicit(&pool->crowded_until_ns, memory_order_relaxed);
}

static void note_crowd(struct md_pool *pool)
{
    atomic_store_explicit(&pool->crowded_until_ns, md__spin_ns() + CROWDED_NS,
                          memory_order_relaxed);
}

/* How long to spin before sleeping. */
static int64_t patience_ns(struct md_pool *pool, int64_t now_ns)
{
    bool held = atomic_load_explicit(&pool->holders, memory_order_relaxed) > 0;
    bool patient = held && pool->spin_ns > 0 && !is_crowded(pool, now_ns);
    return patient && pool->spin_ns < HELD_SPIN_NS ? HELD_SPIN_NS : pool->spin_ns;
}

/*
 * Real time on purpose: spinning trades processor time for latency, whatever clock the product runs
 * on.
 */
static bool spin_for_news(struct md_pool *pool, uint64_t seen)
{
    if (pool->spin_ns == 0)
        return has_news(pool, seen);
    int64_t begin_ns = md__spin_ns(), now_ns;
    do {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (has_news(pool, seen))
                return true;
            pause_cpu();
        }
        now_ns = md__spin_ns();
    } while (now_ns - begin_ns < patience_ns(pool, now_ns));
    return false;
}

static void wait_for_news(struct md_pool *pool, uint64_t seen)
{
    if (spin_for_news(pool, seen))
        return;
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1);
    unsigned wakings = atomic_load(&pool->wakings);
    while (!has_news(pool, seen) && atomic_load(&pool->wakings) == wakings)
        pthread_cond_wait(&pool->work_ready, &pool->lock);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
}

/* Where a chunk begins, or all of them end. */
static size_t chunk_begin(const struct md_pool *pool, size_t index)
{
    return index == pool->chunks ? pool->count
                                 : index * pool->chunk + index * pool->extra / pool->chunks;
}

static void work(struct md_pool *pool, int thread)
{
    for (int i = 0; i < pool->threads; i++) {
        struct share *share = &pool->shares[(thread + i) % pool->threads];
        while (atomic_load_explicit(&share->next, memory_order_relaxed) < share->end) {
            size_t index = atomic_fetch_add_explicit(&share->next, 1, memory_order_relaxed);
            if (index >= share->end)
                break;
            pool->body(pool->context, chunk_begin(pool, index), chunk_begin(pool, index + 1),
                       thread);
        }
    }
}

/* Joins the open run, if there is still one. Sets *seen to its generation. */
static bool join(struct md_pool *pool, uint64_t *seen)
{
    uint64_t state = atomic_load(&pool->state);
    do {
        if (!(state & OPEN) || state / GENERATION == *seen)
            return false;
    } while (!atomic_compare_exchange_weak(&pool->state, &state, state + 1));
    *seen = state / GENERATION;
    return true;
}

static void leave(struct md_pool *pool)
{
    uint64_t before = atomic_fetch_sub(&pool->state, 1);
    if ((before & JOINED_MASK) == 1 && (before & CALLER_WAITS)) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_signal(&pool->workers_left);
        pthread_mutex_unlock(&pool->lock);
    }
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct md_pool *pool = worker->pool;
    uint64_t seen = 0;
    while (!atomic_load(&pool->stop)) {
        if (join(pool, &seen)) {
            int64_t begin_ns = md__spin_ns();
            work(pool, worker->thread);
            worker->busy_ns += md__spin_ns() - begin_ns;
            leave(pool);
        } else {
            wait_for_news(pool, seen);
        }
    }
    return NULL;
}

static void deal_chunks(struct md_pool *pool)
{
    size_t threads = (size_t)pool->threads, chunks = pool->chunks, begin = 0;
    for (size_t t = 0; t < threads; t++) {
        struct share *share = &pool->shares[t];
        atomic_store_explicit(&share->next, begin, memory_order_relaxed);
        begin += chunks / threads + (t < chunks % threads);
        share->end = begin;
    }
}

static void wake_workers(struct md_pool *pool, size_t wanted)
{
    if (atomic_load(&pool->sleepers) == 0)
        return;
    pthread_mutex_lock(&pool->lock);
    if (wanted >= (size_t)pool->started)
        pthread_cond_broadcast(&pool->work_ready);
    else
        for (size_t i = 0; i < wanted; i++)
            pthread_cond_signal(&pool->work_ready);
    pthread_mutex_unlock(&pool->lock);
}

/* Keeps the workers off a processor, or off none (-1). */
static void avoid_cpu(struct md_pool *pool, int cpu)
{
    cpu_set_t now;
    if (cpu == pool->avoided_cpu)
        return;
    pool->avoided_cpu = cpu;
    if (pthread_getaffinity_np(pool->workers[0].handle, sizeof now, &now) == 0 &&
        !CPU_EQUAL(&now, &pool->cpus_set))
        pool->cpus = pool->cpus_set = now; /* somebody else's word */
    if (CPU_COUNT(&pool->cpus) < pool->threads) {
        note_crowd(pool);
        return;
    }
    pool->cpus_set = pool->cpus;
    if (cpu >= 0)
        CPU_CLR((size_t)cpu, &pool->cpus_set);
    for (int i = 0; i < pool->started; i++) /* where it may not be done, nothing is lost but time */
        (void)pthread_setaffinity_np(pool->workers[i].handle, sizeof pool->cpus_set,
                                     &pool->cpus_set);
}

static void sleep_until_left(struct md_pool *pool)
{
    avoid_cpu(pool, -1);
    atomic_fetch_or(&pool->state, CALLER_WAITS);
    pthread_mutex_lock(&pool->lock);
    while (!all_left(pool))
        pthread_cond_wait(&pool->workers_left, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

static void wait_for_workers(struct md_pool *pool)
{
    int64_t begin_ns = md__spin_ns(), now_ns = begin_ns;
    while (!all_left(pool) && now_ns - begin_ns < patience_ns(pool, now_ns)) {
        pause_cpu();
        now_ns = md__spin_ns();
    }
    if (all_left(pool))
        return;
    sleep_until_left(pool);
    if (md__spin_ns() - begin_ns > HELD_SPIN_NS)
        note_crowd(pool);
}

/*
 * Cuts [0, count) into chunks of at least `grain` items (the last one of fewer, where there is not
 * one for each thread). Otherwise chunks differ by one item at most, and unless that is all they
 * have, each thread begins with as many: 28 items in chunks of 4 would keep one of two for 16.
 */
static void cut_chunks(struct md_pool *pool, size_t count, size_t grain)
{
    size_t threads = (size_t)pool->threads, most = threads * CHUNKS_PER_THREAD;
    size_t fit = count / (grain > 0 ? grain : 1), chunks = fit < most ? fit : most;
    pool->count = count;
    if (chunks < threads) {
        pool->chunk = grain > 0 ? grain : 1;
        pool->extra = 0;
        pool->chunks = (count - 1) / pool->chunk + 1;
        return;
    }
    if (chunks < count)
        chunks -= chunks % threads;
    pool->chunk = count / chunks;
    pool->extra = count % chunks;
    pool->chunks = chunks;
}

static _Thread_local bool is_alone;

bool md_pool_set_alone(bool alone)
{
    bool before = is_alone;
    is_alone = alone;
    return before;
}

void md_pool_hold(struct md_pool *pool)
{
    atomic_fetch_add(&pool->holders, is_alone ? 0 : 1);
}

void md_pool_release(struct md_pool *pool)
{
    atomic_fetch_sub(&pool->holders, is_alone ? 0 : 1);
}

void md_pool_wake(struct md_pool *pool)
{
    if (is_alone || pool->spin_ns == 0 || atomic_load(&pool->sleepers) == 0 ||
        is_crowded(pool, md__spin_ns()))
        return;
    avoid_cpu(pool, sched_getcpu());
    atomic_fetch_add(&pool->wakings, 1);
    wake_workers(pool, (size_t)pool->started);
}

uint64_t md_pool_runs(const struct md_pool *pool)
{
    return atomic_load(&pool->state) / GENERATION;
}

int64_t md_pool_busy_ns(const struct md_pool *pool)
{
    int64_t total_ns = 0;
    for (int i = 0; i < pool->started; i++)
        total_ns += pool->workers[i].busy_ns;
    return total_ns;
}

void md_pool_run(struct md_pool *pool, size_t count, size_t grain, md_pool_body body, void *context)
{
    if (count == 0)
        return;
    if (pool->threads == 1 || count <= grain || count == 1 || is_alone) {
        body(context, 0, count, 0);
        return;
    }
    uint64_t state = atomic_load(&pool->state);
    assert((state & (OPEN | JOINED_MASK)) == 0); /* one run at a time */
    avoid_cpu(pool, is_crowded(pool, md__spin_ns()) ? -1 : sched_getcpu());
    pool->body = body;
    pool->context = context;
    cut_chunks(pool, count, grain);
    deal_chunks(pool);
    atomic_store(&pool->state, (state / GENERATION + 1) * GENERATION | OPEN);

    wake_workers(pool, pool->chunks - 1);
    work(pool, 0);
    atomic_fetch_and(&pool->state, ~OPEN);
    wait_for_workers(pool);
}

/*
 * Workers leave signals to the main thread, which knows how to drain; crashes stay where they
 * happen.
 */
static int start_worker(struct worker *worker)
{
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
        sigdelset(&blocked, crashes[i]);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    int failure = pthread_create(&worker->handle, NULL, worker_main, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failure;
}

enum md_status md_pool_new(int threads, int spin_us, struct md_pool **pool_out,
                           struct md_error *err)
{
    *pool_out = NULL;
    if (threads < 1 || threads > THREADS_MAX || spin_us < 0)
        return md_fail(err, MD_ERR_INVALID,
                       "a pool has 1 to %d threads and spins 0 us or more, not %d and %d",
                       THREADS_MAX, threads, spin_us);
    size_t size = sizeof(struct md_pool) + sizeof(struct worker) * (size_t)(threads - 1);
    size = (size + 127) / 128 * 128;
    struct md_pool *pool = aligned_alloc(128, size + sizeof(struct share) * (size_t)threads);
    if (!pool)
        return md_fail(err, MD_ERR_MEMORY, "out of memory for a pool of %d threads", threads);
    *pool = (struct md_pool){.threads = threads,
                             .spin_ns = (int64_t)spin_us * 1000,
                             .avoided_cpu = -1,
                             .shares = (struct share *)((char *)pool + size)};
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work_ready, NULL);
    pthread_cond_init(&pool->workers_left, NULL);
    for (int i = 0; i < threads - 1; i++) {
        pool->workers[i] = (struct worker){.pool = pool, .thread = i + 1};
        int failure = start_worker(&pool->workers[i]);
        if (failure) {
            md_pool_delete(pool);
            return md_fail(err, MD_ERR_UNAVAILABLE, "cannot start thread %d of %d (error %d)",
                           i + 2, threads, failure);
        }
        pool->started++;
    }
    *pool_out = pool;
    return MD_OK;
}

void md_pool_delete(struct md_pool *pool)
{
    if (!pool)
        return;
    atomic_store(&pool->stop, true);
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->work_ready);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->started; i++)
        pthread_join(pool->workers[i].handle, NULL);
    pthread_cond_destroy(&pool->workers_left);
    pthread_cond_destroy(&pool->work_ready);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

int md_pool_threads(const struct md_pool *pool)
{
    return pool->threads;
}
