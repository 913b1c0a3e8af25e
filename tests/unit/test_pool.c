/*
 * Thread pool: every item once, on the threads it has, under every mixture of sizes, sleeping and
 * spinning.
 */
#include <dirent.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/pool.h"
#include "unit.h"

enum { ITEMS_MAX = 4096, THREADS = 4 };

struct tally {
    _Atomic unsigned char seen[ITEMS_MAX];
    _Atomic int bad_thread;
    _Atomic int calls;
    size_t grain;
    size_t count;
};

static void count_items(void *context, size_t begin, size_t end, int thread)
{
    struct tally *tally = context;
    atomic_fetch_add(&tally->calls, 1);
    if (thread < 0 || thread >= THREADS || begin >= end ||
        (end - begin < tally->grain && end != tally->count))
        atomic_fetch_add(&tally->bad_thread, 1);
    for (size_t i = begin; i < end; i++)
        atomic_fetch_add(&tally->seen[i], 1);
}

static void run_and_check(struct md_pool *pool, size_t count, size_t grain)
{
    static struct tally tally;
    memset(&tally, 0, sizeof tally);
    tally.count = count;
    tally.grain = grain;
    md_pool_run(pool, count, grain, count_items, &tally);
    assert_int_equal(tally.bad_thread, 0);
    assert_int_equal(tally.calls == 0, count == 0);
    for (size_t i = 0; i < ITEMS_MAX; i++)
        assert_int_equal(tally.seen[i], i < count);
}

static void every_item_runs_once(void **state)
{
    struct md_error err;
    static const size_t counts[] = {0, 1, 2, 3, 7, 63, 64, 65, 1000, ITEMS_MAX};
    static const size_t grains[] = {0, 1, 2, 10, 64, 5000};
    for (int spin_us = 0; spin_us <= 50; spin_us += 50) {
        struct md_pool *pool;
        assert_ok(md_pool_new(THREADS, spin_us, &pool, &err));
        assert_int_equal(md_pool_threads(pool), THREADS);
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
            for (size_t g = 0; g < sizeof grains / sizeof *grains; g++)
                run_and_check(pool, counts[c], grains[g]);
        md_pool_delete(pool);
    }
}

/*
 * Short runs back to back, where workers join late, find the run closed, or are on their way to
 * sleep.
 */
static void many_short_runs(void **state)
{
    struct md_error err;
    struct md_pool *pool;
    assert_ok(md_pool_new(THREADS, 5, &pool, &err));
    for (size_t i = 0; i < 2000; i++) {
        run_and_check(pool, 2 + i % 9, 1);
        if (i % 97 == 0)
            usleep(100);
    }
    md_pool_delete(pool);
}

struct meeting {
    _Atomic int arrived;
    _Atomic int threads_seen;
    _Atomic int elsewhere;
};

/*
 * Each chunk waits until all THREADS threads are in one at the same time: only real threads can do
 * that.
 */
static void meet(void *context, size_t begin, size_t end, int thread)
{
    struct meeting *meeting = context;
    atomic_fetch_or(&meeting->threads_seen, 1 << thread);
    atomic_fetch_add(&meeting->elsewhere, begin != (size_t)thread);
    atomic_fetch_add(&meeting->arrived, 1);
    while (atomic_load(&meeting->arrived) < THREADS)
        usleep(50);
}

static void all_threads_work_at_once(void **state)
{
    struct md_error err;
    struct md_pool *pool;
    assert_ok(md_pool_new(THREADS, 0, &pool, &err));
    for (int i = 0; i < 20; i++) {
        struct meeting meeting = {0};
        md_pool_run(pool, THREADS, 1, meet, &meeting);
        assert_int_equal(meeting.threads_seen, (1 << THREADS) - 1);
        assert_int_equal(meeting.elsewhere, 0); /* each begins with its own part */
    }
    md_pool_delete(pool);
}

static void add_up(void *context, size_t begin, size_t end, int thread)
{
    *(size_t *)context += end - begin;
}

static void a_pool_of_one_runs_inline(void **state)
{
    struct md_error err;
    struct md_pool *pool;
    assert_ok(md_pool_new(1, 100, &pool, &err));
    size_t total = 0;
    md_pool_run(pool, SIZE_MAX, 1, add_up, &total);
    assert_true(total == SIZE_MAX);
    md_pool_delete(pool);
}

/* Within a body of the pool's own run, where another run would otherwise be a mistake. */
static void run_alone(void *context, size_t begin, size_t end, int thread)
{
    size_t total = 0;
    bool before = md_pool_set_alone(true);
    md_pool_run(context, SIZE_MAX, 1, add_up, &total);
    assert_true(total == SIZE_MAX);
    assert_true(md_pool_set_alone(before));
}

static void alone_it_is_free_for_others(void **state)
{
    struct md_error err;
    struct md_pool *pool;
    assert_ok(md_pool_new(THREADS, 0, &pool, &err));
    md_pool_run(pool, 1000, 1, run_alone, pool);
    assert_false(md_pool_set_alone(false));
    md_pool_delete(pool);
}

static void count_huge(void *context, size_t begin, size_t end, int thread)
{
    atomic_fetch_add((_Atomic size_t *)context, end - begin);
}

static void the_largest_count_does_not_overflow(void **state)
{
    struct md_error err;
    struct md_pool *pool;
    assert_ok(md_pool_new(THREADS, 0, &pool, &err));
    static const size_t grains[] = {1, SIZE_MAX / 2, SIZE_MAX - 1};
    for (size_t i = 0; i < 3; i++) {
        _Atomic size_t total = 0;
        md_pool_run(pool, SIZE_MAX, grains[i], count_huge, &total);
        assert_true(total == SIZE_MAX);
    }
    md_pool_delete(pool);
}

static int process_threads(void)
{
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *entry = readdir(tasks); entry; entry = readdir(tasks))
        count += entry->d_name[0] != '.';
    closedir(tasks);
    return count;
}

static void a_pool_has_the_threads_it_says(void **state)
{
    struct md_error err;
    struct md_pool *pool;
    int before = process_threads();
    assert_ok(md_pool_new(THREADS, 0, &pool, &err));
    assert_int_equal(process_threads(), before + THREADS - 1);
    run_and_check(pool, 100, 1);
    assert_int_equal(process_threads(), before + THREADS - 1);
    md_pool_delete(pool);
    md_pool_delete(NULL);
    /* The kernel drops a joined thread from /proc a moment after the join. */
    for (int tries = 0; process_threads() != before && tries < 1000; tries++)
        usleep(1000);
    assert_int_equal(process_threads(), before);
}

struct places {
    _Atomic int arrived;
    int cpu[2];
    pid_t id[2];
    cpu_set_t allowed; /* to the worker */
    bool worker_is_last;
};

/* Both threads of a pool of two note where they run. */
static void note_place(void *context, size_t begin, size_t end, int thread)
{
    struct places *places = context;
    atomic_fetch_add(&places->arrived, 1);
    while (atomic_load(&places->arrived) < 2)
        usleep(50);
    places->cpu[thread] = sched_getcpu();
    places->id[thread] = gettid();
    if (thread == 1)
        (void)sched_getaffinity(0, sizeof places->allowed, &places->allowed);
    if (thread == 1 && places->worker_is_last)
        usleep(100000);
}

/* Where both threads of a pool of two are when the caller may run on one processor only. */
static struct places places_beside(struct md_pool *pool, int cpu, bool worker_is_last)
{
    cpu_set_t before, one;
    CPU_ZERO(&one);
    CPU_SET((size_t)cpu, &one);
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    struct places places = {.worker_is_last = worker_is_last};
    md_pool_run(pool, 2, 1, note_place, &places);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_int_equal(places.cpu[0], cpu);
    return places;
}

/* A pool of two that has run once; skips where there is one processor. The last one comes back. */
static struct md_pool *new_pair(int spin_us, cpu_set_t *cpus, int *last)
{
    struct md_error err;
    struct md_pool *pool;
    assert_int_equal(sched_getaffinity(0, sizeof *cpus, cpus), 0);
    if (CPU_COUNT(cpus) < 2)
        skip();
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        *last = CPU_ISSET((size_t)cpu, cpus) ? cpu : *last;
    assert_ok(md_pool_new(2, spin_us, &pool, &err));
    run_and_check(pool, 1000, 1);
    return pool;
}

static void workers_keep_off_the_callers_processor(void **state)
{
    cpu_set_t cpus;
    int last = -1;
    struct md_pool *pool = new_pair(500000, &cpus, &last);
    for (int cpu = 0; cpu <= last; cpu++) {
        bool apart = !CPU_ISSET((size_t)cpu, &cpus);
        for (int tries = 0; tries < 20 && !apart; tries++) { /* not while others want processors */
            struct places places = places_beside(pool, cpu, false);
            assert_true(CPU_EQUAL(&places.allowed, &cpus) || !CPU_ISSET(cpu, &places.allowed));
            apart = !CPU_ISSET(cpu, &places.allowed);
            usleep(apart ? 0 : 150000);
        }
        assert_true(apart);
    }
    md_pool_delete(pool);
}

static void workers_may_run_anywhere_while_the_caller_sleeps(void **state)
{
    cpu_set_t cpus, now;
    int last = -1;
    struct md_pool *pool = new_pair(0, &cpus, &last);
    struct places places = places_beside(pool, last, true);
    assert_int_equal(sched_getaffinity(places.id[1], sizeof now, &now), 0);
    assert_true(CPU_EQUAL(&now, &cpus));
    md_pool_delete(pool);
}

static void workers_stay_where_somebody_else_put_them(void **state)
{
    cpu_set_t cpus, one, now;
    int last = -1;
    struct md_pool *pool = new_pair(0, &cpus, &last);
    pid_t worker = places_beside(pool, last, false).id[1];
    CPU_ZERO(&one);
    CPU_SET((size_t)last, &one);
    assert_int_equal(sched_setaffinity(worker, sizeof one, &one), 0);
    for (int cpu = 0; cpu <= last; cpu++) {
        if (!CPU_ISSET((size_t)cpu, &cpus))
            continue;
        assert_int_equal(places_beside(pool, cpu, false).cpu[1], last);
        assert_int_equal(sched_getaffinity(worker, sizeof now, &now), 0);
        assert_true(CPU_EQUAL(&now, &one));
    }
    md_pool_delete(pool);
}

/* Threads of this process that are running or want to, but for this one. */
static int others_awake(void)
{
    int awake = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *entry = readdir(tasks); entry; entry = readdir(tasks)) {
        char path[300], state = 'S';
        snprintf(path, sizeof path, "/proc/self/task/%s/stat", entry->d_name);
        FILE *file = entry->d_name[0] != '.' ? fopen(path, "r") : NULL;
        if (file) {
            assert_int_equal(fscanf(file, "%*d (%*[^)]) %c", &state), 1);
            fclose(file);
        }
        awake += state == 'R';
    }
    closedir(tasks);
    return awake - 1;
}

static void a_pool_without_work_sleeps_even_while_held(void **state)
{
    struct md_error err;
    struct md_pool *pool;
    assert_ok(md_pool_new(THREADS, 50, &pool, &err));
    md_pool_hold(pool);
    md_pool_hold(pool);
    for (int round = 0; round < 3; round++) {
        run_and_check(pool, 1000, 1);
        for (int tries = 0; others_awake() > 0 && tries < 5000; tries++)
            usleep(1000);
        assert_int_equal(others_awake(), 0);
        if (round < 2)
            md_pool_release(pool);
    }
    md_pool_delete(pool);
}

static void sleepers_can_be_woken_without_work(void **state)
{
    struct md_error err;
    struct md_pool *pool;
    bool woken = false;
    assert_ok(md_pool_new(THREADS, 50, &pool, &err));
    md_pool_hold(pool);
    for (int tries = 0; tries < 1000 && !woken; tries++) { /* not while others want processors */
        uint64_t runs = md_pool_runs(pool);
        while (others_awake() > 0)
            usleep(1000);
        md_pool_wake(pool);
        woken = others_awake() > 0;
        assert_int_equal(md_pool_runs(pool), runs);
        run_and_check(pool, 1000, 1);
        assert_int_equal(md_pool_runs(pool), runs + 1);
    }
    assert_true(woken);
    md_pool_delete(pool);
}

static void a_pool_knows_how_long_its_workers_were_busy(void **state)
{
    struct md_error err;
    struct md_pool *pool;
    assert_ok(md_pool_new(THREADS, 0, &pool, &err));
    struct meeting meeting = {0};
    assert_int_equal(md_pool_busy_ns(pool), 0);
    md_pool_run(pool, THREADS, 1, meet, &meeting);
    assert_true(md_pool_busy_ns(pool) > 0);
    md_pool_delete(pool);
}

struct sizes {
    _Atomic size_t least, most;
    _Atomic int chunks;
};

static void note_size(void *context, size_t begin, size_t end, int thread)
{
    struct sizes *sizes = context;
    size_t size = end - begin, least = sizes->least, most = sizes->most;
    while (size < least && !atomic_compare_exchange_weak(&sizes->least, &least, size))
        ;
    while (size > most && !atomic_compare_exchange_weak(&sizes->most, &most, size))
        ;
    atomic_fetch_add(&sizes->chunks, 1);
}

static void threads_get_as_many_chunks_of_one_size(void **state)
{
    static const size_t works[][2] = {{28, 1},    {17, 1},    {57, 2},     {1000, 1},
                                      {1000, 33}, {1000, 90}, {1000, 250}, {7, 1}};
    struct md_error err;
    struct md_pool *pool;
    assert_ok(md_pool_new(THREADS, 0, &pool, &err));
    for (size_t i = 0; i < sizeof works / sizeof *works; i++) {
        struct sizes sizes = {.least = SIZE_MAX};
        md_pool_run(pool, works[i][0], works[i][1], note_size, &sizes);
        assert_true(sizes.most - sizes.least <= 1);
        assert_true(sizes.least >= works[i][1]);
        assert_true(sizes.chunks >= THREADS);
        assert_true(sizes.chunks % THREADS == 0 || sizes.most == 1);
    }
    md_pool_delete(pool);
}

static void bad_sizes_are_refused(void **state)
{
    struct md_error err;
    struct md_pool *pool;
    assert_fails(MD_ERR_INVALID, md_pool_new(0, 0, &pool, &err));
    assert_null(pool);
    assert_fails(MD_ERR_INVALID, md_pool_new(-3, 0, &pool, &err));
    assert_fails(MD_ERR_INVALID, md_pool_new(100000, 0, &pool, &err));
    assert_fails(MD_ERR_INVALID, md_pool_new(2, -1, &pool, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_runs_once),
        cmocka_unit_test(many_short_runs),
        cmocka_unit_test(all_threads_work_at_once),
        cmocka_unit_test(a_pool_of_one_runs_inline),
        cmocka_unit_test(alone_it_is_free_for_others),
        cmocka_unit_test(the_largest_count_does_not_overflow),
        cmocka_unit_test(a_pool_has_the_threads_it_says),
        cmocka_unit_test(workers_keep_off_the_callers_processor),
        cmocka_unit_test(workers_may_run_anywhere_while_the_caller_sleeps),
        cmocka_unit_test(workers_stay_where_somebody_else_put_them),
        cmocka_unit_test(a_pool_without_work_sleeps_even_while_held),
        cmocka_unit_test(sleepers_can_be_woken_without_work),
        cmocka_unit_test(a_pool_knows_how_long_its_workers_were_busy),
        cmocka_unit_test(threads_get_as_many_chunks_of_one_size),
        cmocka_unit_test(bad_sizes_are_refused),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
