/*
 * Timers and ticks. One state that no request uses, and a thread for each job: a job that waits
 * leaves the state to the others, so files may keep what belongs to all timers in a local.
 *
 * Everything is aligned to wall time: a timer of 5 s runs at :00, :05, ...; a tick runs when the
 * clock has passed the end of a step by its grace. What is late by a whole interval is skipped and
 * counted, never caught up, except that a tick which a crash has kept from evaluating its alerts
 * is run again at the start. The clock is asked at least four times a second, so that a clock that
 * jumps (or a manual one) is followed.
 *
 * Each generation has a scheduler of its own, and at a reload one takes over from the other: jobs
 * of the old one finish the run that they are at and begin no other. A job of the same name and
 * interval goes on where its predecessor ended, and not before that: no interval is run twice or
 * lost, and no job ever runs beside itself.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/wait.h"
#include "script/alerts.h"
#include "script/notify.h"
#include "script/watch.h"

static const int64_t look_ns = 250000000;

struct worker {
    struct md__scheduler *scheduler;
    struct md__job *job;
    struct worker *before; /* whose schedule it takes over; NULL: nobody's */
    bool succeeded;        /* somebody takes over this one's */
    pthread_t thread;
    bool started;
    int64_t last_ms; /* the interval that ran last ended then */
    int64_t skipped;
    int64_t looked_ms; /* nothing was due then */
    int64_t idle_ms;   /* the same, for others to see: under script->lock */
    struct md__job_failures known;
};

struct md__scheduler {
    struct md_script *script;
    struct md_generation *generation;
    struct md__pool *pool; /* of one state */
    struct worker *workers;
    int count;
    pthread_t main;
    /* Under script->lock: */
    bool begun, ending;
    int adopted; /* workers that have taken over from another scheduler's */
    struct md__scheduler *before;
};

static void run_job(struct worker *worker, int64_t now_ms)
{
    struct md__scheduler *scheduler = worker->scheduler;
    struct md__job_run run = {.generation = scheduler->generation,
                              .pool = scheduler->pool,
                              .job = worker->job,
                              .now_ms = now_ms,
                              .closed_ms = worker->last_ms,
                              .skipped = worker->skipped};
    md__job_run(&run, &worker->known);
}

/* ---- when ------------------------------------------------------------------------------------ */

/* The end of the newest interval that is over; for a tick, by its grace. */
static int64_t closed_ms(const struct md__job *job, int64_t now_ms)
{
    int64_t shifted = now_ms - job->grace_ms;
    int64_t index = shifted / job->every_ms - (shifted % job->every_ms < 0);
    return index * job->every_ms;
}

/* Waits a little; false when this scheduler's jobs end. */
static bool rest(struct worker *worker, int64_t ns)
{
    struct md__scheduler *scheduler = worker->scheduler;
    struct md_script *script = scheduler->script;
    pthread_mutex_lock(&script->lock);
    worker->idle_ms = worker->looked_ms;
    if (!script->stopping && !scheduler->ending)
        md_cond_wait_ns(&script->stopped, &script->lock, ns < look_ns ? ns : look_ns);
    bool goes_on = !script->stopping && !scheduler->ending;
    pthread_mutex_unlock(&script->lock);
    return goes_on;
}

static int64_t due_ms(const struct worker *worker)
{
    return worker->last_ms + worker->job->every_ms + worker->job->grace_ms;
}

/* Runs the job when an interval has ended; else says how long until one does. */
static int64_t run_when_due(struct worker *worker)
{
    const struct md__job *job = worker->job;
    int64_t now_ms = md_now_ms(worker->scheduler->script->clock);
    int64_t left_ns = (due_ms(worker) - now_ms) * 1000000;
    if (left_ns > 0) {
        worker->looked_ms = now_ms;
        return left_ns;
    }
    int64_t ended_ms = closed_ms(job, now_ms);
    int64_t lost = (ended_ms - worker->last_ms) / job->every_ms - 1;
    if (lost > 0)
        md__metric_skipped(job->name, lost);
    worker->skipped += lost;
    worker->last_ms = ended_ms;
    run_job(worker, now_ms);
    return 0;
}

/* Runs the job whenever an interval ends, until the scheduler does. */
static void repeat(struct worker *worker)
{
    int64_t left_ns = 0;
    while (rest(worker, left_ns))
        left_ns = run_when_due(worker);
}

/* ---- taking over ----------------------------------------------------------------------------- */

/* Waits for the predecessor's last run and goes on from there. */
static void adopt(struct worker *worker)
{
    struct worker *before = worker->before;
    struct md_script *script = worker->scheduler->script;
    if (before == NULL)
        return;
    if (before->started)
        pthread_join(before->thread, NULL);
    worker->last_ms = before->last_ms;
    worker->skipped = before->skipped;
    worker->known = before->known;
    pthread_mutex_lock(&script->lock);
    worker->scheduler->adopted++;
    pthread_cond_broadcast(&script->stopped);
    pthread_mutex_unlock(&script->lock);
}

static void *job_thread(void *context)
{
    struct worker *worker = context;
    adopt(worker);
    repeat(worker);
    return NULL;
}

static bool is_same_job(const struct md__job *a, const struct md__job *b)
{
    return a->kind == b->kind && a->kind != MD__JOB_START && strcmp(a->name, b->name) == 0 &&
           a->every_ms == b->every_ms && a->grace_ms == b->grace_ms;
}

static int match_workers(struct md__scheduler *scheduler, struct md__scheduler *before)
{
    int matched = 0;
    for (int i = 0; i < scheduler->count; i++) {
        struct worker *worker = &scheduler->workers[i];
        for (int k = 0; k < before->count && worker->before == NULL; k++) {
            struct worker *candidate = &before->workers[k];
            if (!candidate->succeeded && is_same_job(worker->job, candidate->job)) {
                worker->before = candidate;
                candidate->succeeded = true;
                matched++;
            }
        }
    }
    return matched;
}

static void scheduler_free(struct md__scheduler *scheduler)
{
    md__pool_delete(scheduler->pool);
    md__generation_unref(scheduler->generation);
    free(scheduler->workers);
    free(scheduler);
}

/* The jobs that end with the scheduler before: joined here, and no longer a reason to worry. */
static void end_before(struct md__scheduler *scheduler, int matched)
{
    struct md__scheduler *before = scheduler->before;
    struct md_script *script = scheduler->script;
    for (int i = 0; i < before->count; i++) {
        struct worker *worker = &before->workers[i];
        if (worker->succeeded)
            continue;
        if (worker->started)
            pthread_join(worker->thread, NULL);
        md__degraded_set(script, worker->job->name, NULL);
    }
    pthread_mutex_lock(&script->lock);
    while (scheduler->adopted < matched)
        pthread_cond_wait(&script->stopped, &script->lock);
    scheduler->before = NULL;
    pthread_mutex_unlock(&script->lock);
    scheduler_free(before);
}

/* ---- the main thread ------------------------------------------------------------------------- */

static void start_jobs(struct md__scheduler *scheduler)
{
    for (int i = 0; i < scheduler->count; i++) {
        struct worker *worker = &scheduler->workers[i];
        if (worker->job->kind == MD__JOB_START)
            continue;
        worker->started = pthread_create(&worker->thread, NULL, job_thread, worker) == 0;
        if (worker->started)
            continue;
        md_log(MD_LOG_ERROR, "script", "%s: no thread to run it", worker->job->name);
        adopt(worker);
    }
}

static void run_on_start(struct md__scheduler *scheduler)
{
    for (int i = 0; i < scheduler->count; i++) {
        struct worker *worker = &scheduler->workers[i];
        if (worker->job->kind == MD__JOB_START)
            run_job(worker, md_now_ms(scheduler->script->clock));
    }
}

/* False: it never comes to that. */
static bool wait_to_begin(struct md__scheduler *scheduler)
{
    struct md_script *script = scheduler->script;
    pthread_mutex_lock(&script->lock);
    while (!scheduler->begun && !scheduler->ending)
        pthread_cond_wait(&script->stopped, &script->lock);
    bool begun = scheduler->begun;
    pthread_mutex_unlock(&script->lock);
    return begun;
}

/* Schedules begin before anybody hears that we have: who moves the clock then is followed. */
static void begin_schedules(struct md__scheduler *scheduler)
{
    int64_t now_ms = md_now_ms(scheduler->script->clock);
    for (int i = 0; i < scheduler->count; i++) {
        struct worker *worker = &scheduler->workers[i];
        const struct md__job *job = worker->job;
        if (job->kind == MD__JOB_START || worker->before != NULL)
            continue;
        worker->last_ms = closed_ms(job, now_ms);
        if (job->kind == MD__JOB_TICK &&
            md__alerts_owed(scheduler->generation, worker->last_ms, job->every_ms))
            worker->last_ms -= job->every_ms;
    }
}

/* Models (a reload has loaded its own before), on_start, then we have begun; then the jobs. */
static void *main_thread(void *context)
{
    struct md__scheduler *scheduler = context;
    struct md_script *script = scheduler->script;
    const struct md_generation *generation = scheduler->generation;
    int matched = 0;
    if (!wait_to_begin(scheduler))
        return NULL;
    if (scheduler->before != NULL) {
        pthread_join(scheduler->before->main, NULL);
        matched = match_workers(scheduler, scheduler->before);
    } else {
        for (int i = 0; i < generation->model_count; i++)
            md__model_load(script, &generation->models[i], NULL);
    }
    run_on_start(scheduler);
    begin_schedules(scheduler);
    if (!atomic_load(&script->stopping))
        atomic_store(&script->begun, true);
    start_jobs(scheduler);
    if (scheduler->before != NULL)
        end_before(scheduler, matched);
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static enum md_status fill(struct md__scheduler *scheduler, struct md_error *err)
{
    struct md_generation *generation = scheduler->generation;
    struct md__state *state = NULL;
    scheduler->count = generation->job_count;
    scheduler->workers = calloc((size_t)scheduler->count + 1, sizeof *scheduler->workers);
    if (scheduler->workers == NULL)
        return md_fail(err, MD_ERR_MEMORY, "no memory for the scheduler");
    enum md_status status = md__generation_state(generation, MD__STATE_SCHEDULER, &state, err);
    if (status == MD_OK)
        status = md__pool_new(&state, 1, scheduler->count + 1, &scheduler->pool, err);
    if (status != MD_OK)
        md__state_delete(state);
    for (int i = 0; i < scheduler->count; i++)
        scheduler->workers[i] =
            (struct worker){.scheduler = scheduler, .job = &generation->jobs[i]};
    if (status == MD_OK && pthread_create(&scheduler->main, NULL, main_thread, scheduler) != 0)
        status = md_fail(err, MD_ERR_MEMORY, "cannot start the scheduler's thread");
    return status;
}

enum md_status md__scheduler_new(struct md_generation *generation, struct md__scheduler **result,
                                 struct md_error *err)
{
    struct md__scheduler *scheduler = calloc(1, sizeof *scheduler);
    if (scheduler == NULL)
        return md_fail(err, MD_ERR_MEMORY, "no memory for the scheduler");
    scheduler->script = generation->script;
    scheduler->generation = md__generation_ref(generation);
    enum md_status status = fill(scheduler, err);
    if (status != MD_OK) {
        scheduler_free(scheduler);
        return status;
    }
    *result = scheduler;
    return MD_OK;
}

void md__scheduler_start(struct md__scheduler *scheduler, struct md__scheduler *before)
{
    struct md_script *script = scheduler->script;
    pthread_mutex_lock(&script->lock);
    scheduler->before = before;
    scheduler->begun = true;
    if (before != NULL)
        before->ending = true;
    pthread_cond_broadcast(&script->stopped);
    pthread_mutex_unlock(&script->lock);
}

void md__scheduler_delete(struct md__scheduler *scheduler)
{
    if (scheduler == NULL)
        return;
    struct md_script *script = scheduler->script;
    pthread_mutex_lock(&script->lock);
    scheduler->ending = true;
    pthread_cond_broadcast(&script->stopped);
    pthread_mutex_unlock(&script->lock);
    pthread_join(scheduler->main, NULL); /* first: it starts the others */
    for (int i = 0; i < scheduler->count; i++) {
        if (scheduler->workers[i].started)
            pthread_join(scheduler->workers[i].thread, NULL);
    }
    scheduler_free(scheduler);
}

/* ---- a clock that somebody sets -------------------------------------------------------------- */

static bool has_caught_up(const struct md__scheduler *scheduler, int64_t now_ms)
{
    for (int i = 0; scheduler != NULL && i < scheduler->count; i++) {
        const struct worker *worker = &scheduler->workers[i];
        if (worker->job->kind != MD__JOB_START && worker->idle_ms < now_ms)
            return false;
    }
    return true;
}

static enum md_status catch_up(struct md_script *script, int64_t timeout_ns, struct md_error *err)
{
    static const int64_t poll_ns = 2000000;
    int64_t now_ms = md_now_ms(script->clock);
    int64_t end_ns = md_monotonic_ns(script->clock) + timeout_ns;
    bool done = false, late = false;
    pthread_mutex_lock(&script->reloading); /* the scheduler stays */
    pthread_mutex_lock(&script->lock);
    pthread_cond_broadcast(&script->stopped);
    while (!done && !late && !script->stopping) {
        done = atomic_load(&script->begun) && has_caught_up(script->scheduler, now_ms);
        if (!done)
            md_cond_wait_ns(&script->stopped, &script->lock, poll_ns);
        late = md_monotonic_ns(script->clock) > end_ns;
    }
    pthread_mutex_unlock(&script->lock);
    pthread_mutex_unlock(&script->reloading);
    return done ? MD_OK : md_fail(err, MD_ERR_TIMEOUT, "timers or ticks are still running");
}

enum md_status md_script_advance(struct md_script *script, struct md_clock_standing *clock,
                                 int64_t now_ms, int64_t timeout_ns, struct md_error *err)
{
    md__notify_hold(script);
    md_clock_standing_set(clock, now_ms);
    enum md_status status = catch_up(script, timeout_ns, err);
    md__notify_release(script);
    return status;
}

/* ---- by hand --------------------------------------------------------------------------------- */

enum md_status md__scheduler_protect(struct md__scheduler *scheduler, lua_CFunction function,
                                     struct md_error *err)
{
    struct md__state *state;
    enum md_status status = md__pool_take(scheduler->pool, -1, 0, &state, err);
    if (status != MD_OK)
        return status;
    status = md__protect(state, function, NULL, err);
    md__pool_give(state);
    return status;
}

void md__scheduler_begin_by_hand(struct md__scheduler *scheduler)
{
    run_on_start(scheduler);
    begin_schedules(scheduler);
    atomic_store(&scheduler->script->begun, true);
}

int64_t md__scheduler_due_ms(const struct md__scheduler *scheduler)
{
    int64_t first_ms = INT64_MAX;
    for (int i = 0; i < scheduler->count; i++) {
        const struct worker *worker = &scheduler->workers[i];
        if (worker->job->kind != MD__JOB_START && due_ms(worker) < first_ms)
            first_ms = due_ms(worker);
    }
    return first_ms;
}

void md__scheduler_run_due(struct md__scheduler *scheduler)
{
    for (int i = 0; i < scheduler->count; i++) {
        if (scheduler->workers[i].job->kind != MD__JOB_START)
            run_when_due(&scheduler->workers[i]);
    }
}
