/*
 * A fixed pool of states for requests. A state is *busy* while a thread runs Lua on it and has
 * *tasks* that began on it and have not ended; a task that waits leaves its state to others and
 * comes back to the same one. New tasks go to the idle state with the fewest tasks, and leave a
 * state alone that somebody wants back: a request that has begun goes before one that has not.
 */
#include <stdlib.h>

#include "base/wait.h"
#include "script/generation.h"

struct md__seat {
    struct md__state *state;
    pthread_cond_t idle; /* for tasks that come back */
    bool busy;
    int tasks;
    int returning; /* threads that wait for `idle` */
    int64_t bytes; /* of the state when it was last given back: what the metric knows */
};

struct md__pool {
    pthread_mutex_t lock;
    pthread_cond_t free; /* for new tasks */
    struct md__seat *seats;
    int count;
    int tasks_max; /* per state */
};

static void count_bytes(struct md__seat *seat, int64_t bytes)
{
    md__metric_lua_bytes(bytes - seat->bytes);
    seat->bytes = bytes;
}

enum md_status md__pool_new(struct md__state **states, int count, int tasks_max,
                            struct md__pool **result, struct md_error *err)
{
    struct md__pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL || (pool->seats = calloc((size_t)count, sizeof *pool->seats)) == NULL) {
        free(pool);
        return md_fail(err, MD_ERR_MEMORY, "no memory for the pool of Lua states");
    }
    pthread_mutex_init(&pool->lock, NULL);
    md_cond_init(&pool->free);
    pool->count = count;
    pool->tasks_max = tasks_max;
    for (int i = 0; i < count; i++) {
        pool->seats[i].state = states[i];
        md_cond_init(&pool->seats[i].idle);
        count_bytes(&pool->seats[i], (int64_t)states[i]->bytes_used);
        states[i]->pool = pool;
        states[i]->seat = &pool->seats[i];
    }
    *result = pool;
    return MD_OK;
}

void md__pool_delete(struct md__pool *pool)
{
    if (pool == NULL)
        return;
    for (int i = 0; i < pool->count; i++) {
        count_bytes(&pool->seats[i], 0);
        md__state_delete(pool->seats[i].state);
        pthread_cond_destroy(&pool->seats[i].idle);
    }
    pthread_cond_destroy(&pool->free);
    pthread_mutex_destroy(&pool->lock);
    free(pool->seats);
    free(pool);
}

int md__pool_size(const struct md__pool *pool)
{
    return pool->count;
}

static struct md__seat *best_seat(struct md__pool *pool)
{
    struct md__seat *best = NULL;
    for (int i = 0; i < pool->count; i++) {
        struct md__seat *seat = &pool->seats[i];
        bool open = !seat->busy && seat->returning == 0 && seat->tasks < pool->tasks_max;
        if (open && (best == NULL || seat->tasks < best->tasks))
            best = seat;
    }
    return best;
}

enum md_status md__pool_take(struct md__pool *pool, int64_t timeout_ns, struct md__state **state,
                             struct md_error *err)
{
    struct md_clock *clock = pool->seats[0].state->script->clock;
    int64_t end_ns = md_monotonic_ns(clock) + timeout_ns, left_ns = timeout_ns;
    struct md__seat *seat;
    pthread_mutex_lock(&pool->lock);
    while ((seat = best_seat(pool)) == NULL && (timeout_ns < 0 || left_ns > 0) &&
           md_cond_wait_ns(&pool->free, &pool->lock, left_ns))
        left_ns = timeout_ns < 0 ? timeout_ns : end_ns - md_monotonic_ns(clock);
    if (seat == NULL)
        seat = best_seat(pool);
    if (seat != NULL) {
        seat->busy = true;
        seat->tasks++;
    }
    pthread_mutex_unlock(&pool->lock);
    if (seat == NULL) {
        md__metric_refused();
        return md_fail(err, MD_ERR_UNAVAILABLE, "all %d Lua states are busy", pool->count);
    }
    *state = seat->state;
    return MD_OK;
}

/* With the lock held: whoever waits for this state is told. */
static void make_idle(struct md__pool *pool, struct md__seat *seat)
{
    count_bytes(seat, (int64_t)seat->state->bytes_used);
    seat->busy = false;
    if (seat->returning > 0)
        pthread_cond_signal(&seat->idle);
    else
        pthread_cond_signal(&pool->free);
}

void md__pool_give(struct md__state *state)
{
    struct md__pool *pool = state->pool;
    pthread_mutex_lock(&pool->lock);
    state->seat->tasks--;
    make_idle(pool, state->seat);
    pthread_mutex_unlock(&pool->lock);
}

void md__state_leave(struct md__state *state)
{
    struct md__pool *pool = state->pool;
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    make_idle(pool, state->seat);
    pthread_mutex_unlock(&pool->lock);
}

void md__state_enter(struct md__state *state)
{
    struct md__pool *pool = state->pool;
    struct md__seat *seat = state->seat;
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    seat->returning++;
    while (seat->busy)
        pthread_cond_wait(&seat->idle, &pool->lock);
    seat->returning--;
    seat->busy = true;
    pthread_mutex_unlock(&pool->lock);
}
