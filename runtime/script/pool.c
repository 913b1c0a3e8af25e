/*
 * A fixed pool of states for requests. A state is *busy* while a thread runs Lua on it and has
 * *tasks* that began on it and have not ended; a task that waits leaves its state to others and
 * comes back to the same one. New tasks go to the idle state with the fewest tasks, of equals to
 * the one that this thread had last, which its core's caches know; and they leave a state alone
 * that somebody wants back: a request that has begun goes before one that has not.
 *
 * A state on which a request has left a lot is *littered*: a thread of its own collects that once
 * the state is idle, when the answer has been read, so that the next such request need not. It
 * yields to those that answer: what they would have to wait for is another state.
 *
 * A state that cannot be trusted any more is *retired*: it loses its place to an empty seat, which
 * a builder thread fills with a fresh state of the same generation, away from any request. The old
 * seat lives on outside of the pool until its tasks have come back, been told to end, and gone.
 */
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/blocking.h"
#include "base/log.h"
#include "base/wait.h"
#include "script/generation.h"

/* The metric of memory follows a state in steps of so many bytes. */
static const int64_t bytes_step = 65536;

/* Between two attempts to build a state. */
static const int64_t retry_ns = 1000000000;

/* The sweeper waits so long for the answer to be written and read. */
static const int64_t answer_ns = 5000000;

/* How much the sweeper gives way, as nice(1) has it. */
enum { SWEEPER_NICE = 10 };

struct md__seat {
    struct md__state *state; /* NULL: to be built */
    pthread_cond_t idle;     /* for tasks that come back */
    bool busy, retired;
    int tasks;
    int returning;  /* threads that wait for `idle` */
    int64_t bytes;  /* of the state when it was last given back: what the metric knows */
    char after[64]; /* what lies there may be another core's */
};

struct md__pool {
    pthread_mutex_t lock;
    pthread_cond_t free;   /* for new tasks */
    pthread_cond_t closed; /* for the builder */
    pthread_cond_t litter; /* for the sweeper */
    struct md__seat **seats;
    int count;
    int tasks_max; /* per state */
    struct md_clock *clock;
    struct md_generation *generation; /* owns the pool */
    enum md__state_kind kind;
    int missing; /* seats without a state */
    pthread_t builder, sweeper;
    bool building, builder_started, sweeper_started, closing;
};

static void count_bytes(struct md__seat *seat, int64_t bytes)
{
    md__metric_lua_bytes(bytes - seat->bytes);
    seat->bytes = bytes;
}

/* ---- seats ----------------------------------------------------------------------------------- */

static struct md__seat *seat_new(void)
{
    struct md__seat *seat = calloc(1, sizeof *seat);
    if (seat != NULL)
        md_cond_init(&seat->idle);
    return seat;
}

static void seat_fill(struct md__pool *pool, struct md__seat *seat, struct md__state *state)
{
    seat->state = state;
    count_bytes(seat, (int64_t)state->bytes_used);
    state->pool = pool;
    state->seat = seat;
    md__state_share(state, pool->tasks_max);
}

static void seat_delete(struct md__seat *seat)
{
    if (seat == NULL)
        return;
    count_bytes(seat, 0);
    md__state_delete(seat->state);
    pthread_cond_destroy(&seat->idle);
    free(seat);
}

/* ---- life ------------------------------------------------------------------------------------ */

enum md_status md__pool_new(struct md__state **states, int count, int tasks_max,
                            struct md__pool **result, struct md_error *err)
{
    struct md__pool *pool = calloc(1, sizeof *pool);
    bool complete = pool != NULL && (pool->seats = calloc((size_t)count, sizeof *pool->seats));
    for (int i = 0; i < count && complete; i++)
        complete = (pool->seats[i] = seat_new()) != NULL;
    if (!complete) {
        for (int i = 0; pool != NULL && pool->seats != NULL && i < count; i++)
            seat_delete(pool->seats[i]);
        free(pool != NULL ? pool->seats : NULL);
        free(pool);
        return md_fail(err, MD_ERR_MEMORY, "no memory for the pool of Lua states");
    }
    pthread_mutex_init(&pool->lock, NULL);
    md_cond_init(&pool->free);
    md_cond_init(&pool->closed);
    md_cond_init(&pool->litter);
    pool->count = count;
    pool->tasks_max = tasks_max;
    pool->clock = states[0]->script->clock;
    pool->generation = states[0]->generation;
    pool->kind = states[0]->kind;
    for (int i = 0; i < count; i++)
        seat_fill(pool, pool->seats[i], states[i]);
    *result = pool;
    return MD_OK;
}

void md__pool_delete(struct md__pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->closed);
    pthread_cond_broadcast(&pool->litter);
    pthread_mutex_unlock(&pool->lock);
    if (pool->builder_started)
        pthread_join(pool->builder, NULL);
    if (pool->sweeper_started)
        pthread_join(pool->sweeper, NULL);
    for (int i = 0; i < pool->count; i++)
        seat_delete(pool->seats[i]);
    pthread_cond_destroy(&pool->litter);
    pthread_cond_destroy(&pool->closed);
    pthread_cond_destroy(&pool->free);
    pthread_mutex_destroy(&pool->lock);
    free(pool->seats);
    free(pool);
}

struct md__pool_load md__pool_look(struct md__pool *pool)
{
    struct md__pool_load load = {.states = pool->count};
    pthread_mutex_lock(&pool->lock);
    for (int i = 0; i < pool->count; i++) {
        load.busy += pool->seats[i]->busy;
        load.tasks += pool->seats[i]->tasks;
        load.returning += pool->seats[i]->returning;
    }
    pthread_mutex_unlock(&pool->lock);
    return load;
}

/* ---- taking and giving ----------------------------------------------------------------------- */

/* Where this thread sat last, in whichever pool. */
static _Thread_local int last_place;

static bool is_open(const struct md__pool *pool, const struct md__seat *seat)
{
    return seat->state != NULL && !seat->busy && seat->returning == 0 &&
           seat->tasks < pool->tasks_max;
}

static bool is_better(const struct md__seat *seat, const struct md__seat *other)
{
    return seat->tasks != other->tasks ? seat->tasks < other->tasks : seat->bytes < other->bytes;
}

static struct md__seat *best_seat(struct md__pool *pool)
{
    int last = last_place < pool->count ? last_place : 0;
    struct md__seat *best = pool->seats[last];
    if (is_open(pool, best) && best->tasks == 0)
        return best;
    best = NULL;
    for (int i = 0; i < pool->count; i++) {
        struct md__seat *seat = pool->seats[i];
        if (is_open(pool, seat) && (best == NULL || is_better(seat, best))) {
            best = seat;
            last_place = i;
        }
    }
    return best;
}

/* With the lock held: waits for a seat until end_ns (INT64_MAX: without limit). */
static struct md__seat *await_seat(struct md__pool *pool, int64_t end_ns)
{
    struct md__seat *seat;
    bool in_time = true;
    md_blocking_begin();
    while ((seat = best_seat(pool)) == NULL && in_time) {
        int64_t left_ns = end_ns == INT64_MAX ? -1 : end_ns - md_monotonic_ns(pool->clock);
        in_time = end_ns == INT64_MAX || left_ns > 0;
        if (in_time)
            md_cond_wait_ns(&pool->free, &pool->lock, left_ns);
    }
    return seat;
}

static int64_t earlier(int64_t deadline_ns, int64_t end_ns)
{
    return deadline_ns != 0 && deadline_ns < end_ns ? deadline_ns : end_ns;
}

enum md_status md__pool_take(struct md__pool *pool, int64_t timeout_ns, int64_t deadline_ns,
                             struct md__state **state, struct md_error *err)
{
    pthread_mutex_lock(&pool->lock);
    struct md__seat *seat = best_seat(pool);
    if (seat == NULL) {
        int64_t end_ns = timeout_ns < 0 ? INT64_MAX : md_monotonic_ns(pool->clock) + timeout_ns;
        seat = await_seat(pool, earlier(deadline_ns, end_ns));
    }
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
    int64_t bytes = (int64_t)seat->state->bytes_used;
    if (!seat->retired && llabs(bytes - seat->bytes) >= bytes_step)
        count_bytes(seat, bytes);
    seat->busy = false;
    if (seat->returning > 0)
        pthread_cond_signal(&seat->idle);
    else
        pthread_cond_signal(&pool->free);
}

static void wake_sweeper(struct md__pool *pool);

void md__pool_give(struct md__state *state)
{
    struct md__pool *pool = state->pool;
    struct md__seat *seat = state->seat;
    pthread_mutex_lock(&pool->lock);
    seat->tasks--;
    make_idle(pool, seat);
    if (state->littered && !seat->retired)
        wake_sweeper(pool);
    bool gone = seat->retired && seat->tasks == 0;
    pthread_mutex_unlock(&pool->lock);
    if (gone)
        seat_delete(seat);
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

bool md__state_enter(struct md__state *state)
{
    struct md__pool *pool = state->pool;
    struct md__seat *seat = state->seat;
    if (pool == NULL)
        return true;
    pthread_mutex_lock(&pool->lock);
    seat->returning++;
    while (seat->busy)
        pthread_cond_wait(&seat->idle, &pool->lock);
    seat->returning--;
    seat->busy = true;
    bool retired = seat->retired;
    pthread_mutex_unlock(&pool->lock);
    return !retired;
}

/* ---- sweeping -------------------------------------------------------------------------------- */

static struct md__seat *littered_seat(const struct md__pool *pool)
{
    for (int i = 0; i < pool->count; i++) {
        struct md__seat *seat = pool->seats[i];
        if (seat->state != NULL && !seat->busy && seat->returning == 0 && seat->state->littered)
            return seat;
    }
    return NULL;
}

/* With the lock held, which it lets go meanwhile. */
static void sweep(struct md__pool *pool, struct md__seat *seat)
{
    seat->busy = true;
    pthread_mutex_unlock(&pool->lock);
    md__state_sweep(seat->state);
    pthread_mutex_lock(&pool->lock);
    make_idle(pool, seat);
}

static void *sweeper_main(void *context)
{
    struct md__pool *pool = context;
    struct md__seat *seat;
    setpriority(PRIO_PROCESS, (id_t)gettid(), SWEEPER_NICE); /* of this thread alone, on Linux */
    pthread_mutex_lock(&pool->lock);
    while (!pool->closing) {
        if ((seat = littered_seat(pool)) != NULL) {
            sweep(pool, seat);
            continue;
        }
        pthread_cond_wait(&pool->litter, &pool->lock);
        if (!pool->closing)
            md_cond_wait_ns(&pool->closed, &pool->lock, answer_ns);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* With the lock held. Without a sweeper the state is collected when it has taken on enough. */
static void wake_sweeper(struct md__pool *pool)
{
    if (!pool->sweeper_started && !pool->closing)
        pool->sweeper_started = pthread_create(&pool->sweeper, NULL, sweeper_main, pool) == 0;
    pthread_cond_signal(&pool->litter);
}

/* ---- replacing ------------------------------------------------------------------------------- */

/* With the lock held, which it lets go meanwhile. False: it could not be built. */
static bool build_one(struct md__pool *pool)
{
    struct md__state *state = NULL;
    struct md_error err;
    pthread_mutex_unlock(&pool->lock);
    enum md_status status = md__generation_state(pool->generation, pool->kind, &state, &err);
    if (status != MD_OK)
        md_log(MD_LOG_ERROR, "script", "cannot build a Lua state: %s", err.text);
    pthread_mutex_lock(&pool->lock);
    for (int i = 0; status == MD_OK && i < pool->count; i++) {
        if (pool->seats[i]->state != NULL)
            continue;
        seat_fill(pool, pool->seats[i], state);
        pool->missing--;
        pthread_cond_broadcast(&pool->free);
        return true;
    }
    return false;
}

static void *builder_main(void *context)
{
    struct md__pool *pool = context;
    pthread_mutex_lock(&pool->lock);
    while (pool->missing > 0 && !pool->closing) {
        if (!build_one(pool) && !pool->closing)
            md_cond_wait_ns(&pool->closed, &pool->lock, retry_ns);
    }
    pool->building = false;
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* With the lock held: somebody builds what is missing. A builder that is done is joined first,
 * which takes no time. */
static void start_builder(struct md__pool *pool)
{
    if (pool->building || pool->closing)
        return;
    if (pool->builder_started)
        pthread_join(pool->builder, NULL);
    pool->builder_started = pthread_create(&pool->builder, NULL, builder_main, pool) == 0;
    pool->building = pool->builder_started;
}

bool md__state_is_retired(struct md__state *state)
{
    struct md__pool *pool = state->pool;
    if (pool == NULL)
        return false;
    pthread_mutex_lock(&pool->lock);
    bool retired = state->seat->retired;
    pthread_mutex_unlock(&pool->lock);
    return retired;
}

void md__state_retire(struct md__state *state, const char *reason)
{
    struct md__pool *pool = state->pool;
    struct md__seat *fresh = pool != NULL ? seat_new() : NULL;
    if (fresh == NULL)
        return; /* not pooled, or no memory: it serves on as well as it can */
    pthread_mutex_lock(&pool->lock);
    for (int i = 0; i < pool->count; i++) {
        if (pool->seats[i] != state->seat)
            continue;
        pool->seats[i] = fresh;
        fresh = NULL;
        pool->missing++;
        state->seat->retired = true;
        count_bytes(state->seat, 0);
        start_builder(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    if (fresh == NULL) {
        md__metric_replaced(reason);
        md_log(MD_LOG_WARN, "script", "a Lua state is replaced: %s", reason);
    }
    seat_delete(fresh);
}
