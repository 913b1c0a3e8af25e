/*
 * One run of a job: its function as a task on the scheduler's state, and after a tick's the rules
 * of alerts, as a task of their own, so that a tick that fails or runs over its budget does not
 * keep them from being evaluated.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/stack.h"
#include "script/alerts.h"

/* One of the two tasks. */
struct part {
    const struct md__job_run *run;
    const char *what;
    lua_CFunction prepare;
    struct md__hook_stat *stat;
    char *known; /* MD__JOB_FAILURE_MAX bytes */
};

/* The function and its one argument: what is known about this run. */
static int prepare(lua_State *L)
{
    static const char *const lists[] = {
        [MD__JOB_START] = "on_start", [MD__JOB_TIMER] = "timers", [MD__JOB_TICK] = "on_tick"};
    const struct part *part = lua_touserdata(L, 1);
    const struct md__job_run *run = part->run;
    md__app_push_function(L, lists[run->job->kind], run->job->index);
    lua_createtable(L, 0, 4);
    md__set_number(L, "now_ms", (double)run->now_ms);
    md__set_number(L, "skipped", (double)run->skipped);
    if (run->job->kind == MD__JOB_START) {
        md__set_text(L, "reason", run->generation->reason);
    }
    if (run->job->kind == MD__JOB_TICK) {
        md__set_number(L, "closed_ms", (double)run->closed_ms);
        md__set_number(L, "step_ms", (double)run->job->every_ms);
    }
    return 2;
}

static int prepare_alerts(lua_State *L)
{
    const struct part *part = lua_touserdata(L, 1);
    const struct md__job_run *run = part->run;
    return md__alerts_prepare(L, run->closed_ms, run->job->every_ms, run->now_ms);
}

/* A failure is logged when it is a new one, and so is its end. */
static void report(const struct part *part, struct md__task *task, enum md_status status,
                   const struct md_error *err)
{
    bool failed_before = part->known[0] != '\0';
    if (status != MD_OK && strcmp(part->known, err->text) != 0) {
        md__task_log(task, err);
        snprintf(part->known, MD__JOB_FAILURE_MAX, "%s", err->text);
    } else if (status == MD_OK && failed_before) {
        md_log(MD_LOG_INFO, "script", "%s works again", task->what);
        part->known[0] = '\0';
    }
    char reason[320];
    snprintf(reason, sizeof reason, "%s failed: %s", task->what, part->known);
    md__degraded_set(part->run->generation->script, task->what, status != MD_OK ? reason : NULL);
}

static void run_on_stack(void *context)
{
    const struct part *part = context;
    const struct md__job_run *run = part->run;
    struct md__task task = {.what = part->what, .stat = part->stat};
    struct md_error err;
    if (md__pool_take(run->pool, -1, 0, &task.state, &err) != MD_OK)
        return;
    task.budget_ns = md_config_int(run->generation->config, "job_budget_ms") * 1000000;
    enum md_status status = md__task_run(&task, part->prepare, context, &err);
    report(part, &task, status, &err);
    md__generation_count(run->generation, status != MD_OK);
    md__task_end(&task);
    md__pool_give(task.state);
}

static void run_part(struct part *part)
{
    struct md_error err;
    struct md_clock *clock = part->run->generation->script->clock;
    int64_t begun_ns = md_monotonic_ns(clock);
    if (md_stack_call(run_on_stack, part, &err) != MD_OK)
        md_log(MD_LOG_ERROR, "script", "%s: %s", part->what, err.text);
    md__metric_job(part->what, (double)(md_monotonic_ns(clock) - begun_ns) / 1e9);
}

void md__job_run(const struct md__job_run *run, struct md__job_failures *known)
{
    struct part own = {run, run->job->name, prepare, &run->job->stat, known->job};
    struct part alerts = {run, "alerts", prepare_alerts, NULL, known->alerts};
    run_part(&own);
    if (run->job->kind == MD__JOB_TICK && run->generation->alerts != NULL)
        run_part(&alerts);
}
