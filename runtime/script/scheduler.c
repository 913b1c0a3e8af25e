/*
 * Timers and ticks. One state that no request uses, and a thread for each job: a job that waits
 * leaves the state to the others, so files may keep what belongs to all timers in a local.
 *
 * Everything is aligned to wall time: a timer of 5 s runs at :00, :05, ...; a tick runs when the
 * clock has passed the end of a step by its grace. What is late by a whole interval is skipped and
 * counted, never caught up. The clock is asked at least four times a second, so that a clock that
 * jumps (or a manual one) is followed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/stack.h"
#include "script/generation.h"
#include "serve/serve.h"

static const int64_t look_ns = 250000000;

struct worker {
    struct md_script *script;
    const struct md__job *job; /* NULL: the main thread */
    pthread_t thread;
    bool started;
    int64_t last_ms; /* the interval that ran last ended then */
    int64_t skipped;
    char last_error[256];
};

struct md__scheduler {
    struct md_generation *generation;
    struct md__pool *pool;  /* of one state */
    struct worker *workers; /* one per job, and the main one last */
    int count;
};

/* ---- one run of a job ------------------------------------------------------------------------ */

struct run {
    struct worker *worker;
    int64_t now_ms;
};

static void set_number(lua_State *L, const char *name, int64_t value)
{
    lua_pushnumber(L, (double)value);
    lua_setfield(L, -2, name);
}

/* The function and its one argument: what is known about this run. */
static int prepare(lua_State *L)
{
    static const char *const lists[] = {
        [MD__JOB_START] = "on_start", [MD__JOB_TIMER] = "timers", [MD__JOB_TICK] = "on_tick"};
    const struct run *run = lua_touserdata(L, 1);
    const struct md__job *job = run->worker->job;
    md__app_push_function(L, lists[job->kind], job->index);
    lua_createtable(L, 0, 4);
    set_number(L, "now_ms", run->now_ms);
    set_number(L, "skipped", run->worker->skipped);
    if (job->kind == MD__JOB_TICK) {
        set_number(L, "closed_ms", run->worker->last_ms);
        set_number(L, "step_ms", job->every_ms);
    }
    return 2;
}

/* A failure is logged when it is a new one, and so is its end. */
static void report(struct worker *worker, struct md__task *task, enum md_status status,
                   const struct md_error *err)
{
    bool failed_before = worker->last_error[0] != '\0';
    if (status != MD_OK && strcmp(worker->last_error, err->text) != 0) {
        md__task_log(task, err);
        snprintf(worker->last_error, sizeof worker->last_error, "%s", err->text);
    } else if (status == MD_OK && failed_before) {
        md_log(MD_LOG_INFO, "script", "%s works again", task->what);
        worker->last_error[0] = '\0';
    }
    char reason[320];
    snprintf(reason, sizeof reason, "%s failed: %s", task->what, worker->last_error);
    md__degraded_set(worker->script, task->what, status != MD_OK ? reason : NULL);
}

static void run_on_stack(void *context)
{
    struct run *run = context;
    struct worker *worker = run->worker;
    struct md_script *script = worker->script;
    struct md__task task = {.what = worker->job->name};
    struct md_error err;
    if (md__pool_take(script->scheduler->pool, -1, &task.state, &err) != MD_OK)
        return;
    task.budget_ns = md_config_int(script->config, "job_budget_ms") * 1000000;
    enum md_status status = md__task_begin(&task, prepare, run, &err);
    if (status == MD_OK)
        status = md__task_run(&task, &err);
    report(worker, &task, status, &err);
    md__task_end(&task);
    md__pool_give(task.state);
}

static void run_job(struct worker *worker, int64_t now_ms)
{
    struct run run = {worker, now_ms};
    struct md_error err;
    struct md_clock *clock = worker->script->clock;
    int64_t begun_ns = md_monotonic_ns(clock);
    if (md_stack_call(run_on_stack, &run, &err) != MD_OK)
        md_log(MD_LOG_ERROR, "script", "%s: %s", worker->job->name, err.text);
    md__metric_job(worker->job->name, (double)(md_monotonic_ns(clock) - begun_ns) / 1e9);
}

/* ---- when ------------------------------------------------------------------------------------ */

/* The end of the newest interval that is over; for a tick, by its grace. */
static int64_t closed_ms(const struct md__job *job, int64_t now_ms)
{
    int64_t shifted = now_ms - job->grace_ms;
    int64_t index = shifted / job->every_ms - (shifted % job->every_ms < 0);
    return index * job->every_ms;
}

/* Runs the job whenever an interval ends, until the engine stops. */
static void repeat(struct worker *worker)
{
    struct md_script *script = worker->script;
    const struct md__job *job = worker->job;
    worker->last_ms = closed_ms(job, md_now_ms(script->clock));
    for (;;) {
        int64_t now_ms = md_now_ms(script->clock);
        int64_t due_ms = worker->last_ms + job->every_ms + job->grace_ms;
        int64_t left_ns = (due_ms - now_ms) * 1000000;
        if (left_ns > 0) {
            if (!md__script_sleep(script, left_ns < look_ns ? left_ns : look_ns))
                return;
            continue;
        }
        int64_t ended_ms = closed_ms(job, now_ms);
        int64_t lost = (ended_ms - worker->last_ms) / job->every_ms - 1;
        if (lost > 0)
            md__metric_skipped(job->name, lost);
        worker->skipped += lost;
        worker->last_ms = ended_ms;
        run_job(worker, now_ms);
    }
}

static void *timer_main(void *context)
{
    repeat(context);
    return NULL;
}

/* ---- the main thread ------------------------------------------------------------------------- */

static void load_model(struct md_script *script, const struct md__model_entry *model)
{
    char path[4096], subject[96], reason[320];
    struct md_error err = {0};
    snprintf(path, sizeof path, "%s/%s", script->dir, model->path);
    snprintf(subject, sizeof subject, "model %.64s", model->name);
    enum md_status status = script->serve != NULL
                                ? md_serve_load(script->serve, model->name, path, &err)
                                : md_fail(&err, MD_ERR_UNAVAILABLE, "models are not served");
    snprintf(reason, sizeof reason, "%s is not loaded: %.200s", subject, err.text);
    md__degraded_set(script, subject, status != MD_OK ? reason : NULL);
    if (status != MD_OK)
        md_log(model->optional ? MD_LOG_WARN : MD_LOG_ERROR, "script", "%s", reason);
}

static void start_timers(struct md__scheduler *scheduler)
{
    for (int i = 0; i < scheduler->count - 1; i++) {
        struct worker *worker = &scheduler->workers[i];
        if (worker->job->kind == MD__JOB_TIMER)
            worker->started = pthread_create(&worker->thread, NULL, timer_main, worker) == 0;
    }
}

static void run_kind(struct md__scheduler *scheduler, enum md__job_kind kind,
                     void (*run)(struct worker *worker))
{
    for (int i = 0; i < scheduler->count - 1; i++) {
        if (scheduler->workers[i].job->kind == kind)
            run(&scheduler->workers[i]);
    }
}

static void run_once(struct worker *worker)
{
    run_job(worker, md_now_ms(worker->script->clock));
}

/* Models, on_start, then we have begun; then the ticks. */
static void *main_thread(void *context)
{
    struct worker *self = context;
    struct md_script *script = self->script;
    struct md__scheduler *scheduler = script->scheduler;
    struct md_generation *generation = scheduler->generation;
    for (int i = 0; i < generation->model_count; i++)
        load_model(script, &generation->models[i]);
    run_kind(scheduler, MD__JOB_START, run_once);
    atomic_store(&script->begun, true);
    start_timers(scheduler);
    run_kind(scheduler, MD__JOB_TICK, repeat);
    return NULL;
}

/* Calls every binding's housekeep about once a second. */
static void *housekeeping_main(void *context)
{
    struct md_script *script = context;
    while (md__script_sleep(script, 4 * look_ns)) {
        for (int i = 0; md__bindings[i] != NULL; i++) {
            if (md__bindings[i]->housekeep != NULL)
                md__bindings[i]->housekeep(script, md_now_ms(script->clock));
        }
    }
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static enum md_status scheduler_new(struct md_script *script, struct md__scheduler **result,
                                    struct md_error *err)
{
    struct md__scheduler *scheduler = calloc(1, sizeof *scheduler);
    struct md__state *state = NULL;
    if (scheduler == NULL)
        return md_fail(err, MD_ERR_MEMORY, "no memory for the scheduler");
    scheduler->generation = md__generation_current(script);
    const struct md_generation *generation = scheduler->generation;
    scheduler->count = generation->job_count + 1;
    scheduler->workers = calloc((size_t)scheduler->count, sizeof *scheduler->workers);
    enum md_status status =
        scheduler->workers == NULL
            ? md_fail(err, MD_ERR_MEMORY, "no memory for the scheduler")
            : md__generation_state(scheduler->generation, MD__STATE_SCHEDULER, &state, err);
    if (status == MD_OK)
        status = md__pool_new(&state, 1, scheduler->count, &scheduler->pool, err);
    for (int i = 0; status == MD_OK && i < scheduler->count; i++) {
        scheduler->workers[i].script = script;
        scheduler->workers[i].job = i < generation->job_count ? &generation->jobs[i] : NULL;
    }
    *result = scheduler;
    return status;
}

static void scheduler_delete(struct md__scheduler *scheduler)
{
    if (scheduler == NULL)
        return;
    md__pool_delete(scheduler->pool);
    md__generation_unref(scheduler->generation);
    free(scheduler->workers);
    free(scheduler);
}

enum md_status md_script_start(struct md_script *script, struct md_error *err)
{
    enum md_status status = scheduler_new(script, &script->scheduler, err);
    if (status != MD_OK) {
        scheduler_delete(script->scheduler);
        script->scheduler = NULL;
        return status;
    }
    struct md__scheduler *scheduler = script->scheduler;
    struct worker *self = &scheduler->workers[scheduler->count - 1];
    self->started = pthread_create(&self->thread, NULL, main_thread, self) == 0;
    script->housekeeping =
        pthread_create(&script->housekeeper, NULL, housekeeping_main, script) == 0;
    if (self->started && script->housekeeping)
        return MD_OK;
    md_script_stop(script);
    return md_fail(err, MD_ERR_MEMORY, "cannot start the scheduler's threads");
}

void md_script_stop(struct md_script *script)
{
    struct md__scheduler *scheduler = script->scheduler;
    atomic_store(&script->begun, false);
    pthread_mutex_lock(&script->lock);
    script->stopping = true;
    pthread_cond_broadcast(&script->stopped);
    pthread_mutex_unlock(&script->lock);
    if (scheduler == NULL)
        return;
    /* The main one first, which starts the others. */
    for (int i = scheduler->count - 1; i >= 0; i--) {
        if (scheduler->workers[i].started)
            pthread_join(scheduler->workers[i].thread, NULL);
    }
    if (script->housekeeping)
        pthread_join(script->housekeeper, NULL);
    script->housekeeping = false;
    script->scheduler = NULL;
    scheduler_delete(scheduler);
}
