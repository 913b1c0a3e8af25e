/* The engine's own metrics, declared once for the process. */
#include "base/metrics.h"

#include <string.h>

#include "script/internal.h"

static struct md_family *failures, *kills, *replacements, *runs, *skips, *durations;
static struct md_family *reloads, *rollbacks;
static struct md_metric *lua_bytes, *refusals;
static struct md_metric *generation, *generations_live, *reload_ok, *reload_seconds;

static struct md_family *declare(enum md_metric_type type, const char *name, const char *help,
                                 const char *label)
{
    const char *const labels[] = {label, NULL};
    return md_family_new(md_metrics_global(), type, name, help, label != NULL ? labels : NULL, NULL,
                         0);
}

static struct md_family *kill_family(void)
{
    static const char *const labels[] = {"task", "reason", NULL};
    return md_family_new(md_metrics_global(), MD_COUNTER, "moondial_script_kills_total",
                         "Handlers, timers and ticks that were stopped for time or memory", labels,
                         NULL, 0);
}

static void declare_all(void)
{
    failures = declare(MD_COUNTER, "moondial_script_errors_total",
                       "Handlers, timers and ticks that failed", "task");
    kills = kill_family();
    replacements = declare(MD_COUNTER, "moondial_lua_states_replaced_total",
                           "Lua states that were given up and built anew", "reason");
    runs = declare(MD_COUNTER, "moondial_job_runs_total", "Runs of timers and ticks", "job");
    skips = declare(MD_COUNTER, "moondial_job_skips_total",
                    "Runs of timers and ticks that came too late and were left out", "job");
    durations = declare(MD_HISTOGRAM, "moondial_job_seconds", "Time of one run of a job", "job");
    lua_bytes = md_metric_get(declare(MD_GAUGE, "moondial_lua_bytes",
                                      "Memory of the Lua states for requests, with tensors", NULL),
                              NULL);
    refusals = md_metric_get(declare(MD_COUNTER, "moondial_lua_refusals_total",
                                     "Requests that found no free Lua state in time", NULL),
                             NULL);
}

static void declare_generations(void)
{
    generation = md_metric_get(declare(MD_GAUGE, "moondial_script_generation",
                                       "The generation of scripts that serves", NULL),
                               NULL);
    generations_live =
        md_metric_get(declare(MD_GAUGE, "moondial_script_generations_live",
                              "Generations with requests, jobs or in the making", NULL),
                      NULL);
    reloads = declare(MD_COUNTER, "moondial_script_reloads_total",
                      "Changes of scripts, rollbacks among them, by result", "result");
    rollbacks = declare(MD_COUNTER, "moondial_script_rollbacks_total",
                        "Returns to earlier scripts, by cause", "cause");
    reload_ok = md_metric_get(declare(MD_GAUGE, "moondial_script_last_reload_ok",
                                      "1 when the last change of scripts succeeded", NULL),
                              NULL);
    reload_seconds = md_metric_get(declare(MD_HISTOGRAM, "moondial_script_reload_seconds",
                                           "Time to build and swap in a generation", NULL),
                                   NULL);
    md_metric_set(reload_ok, 1);
}

static void declare_everything(void)
{
    declare_all();
    declare_generations();
}

static void ready(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, declare_everything);
}

void md__metric_failed(const char *task)
{
    ready();
    md_metric_add(md_metric_get(failures, &task), 1);
}

void md__metric_killed(const char *task, const char *reason)
{
    const char *const values[] = {task, reason};
    ready();
    md_metric_add(md_metric_get(kills, values), 1);
}

void md__metric_replaced(const char *reason)
{
    ready();
    md_metric_add(md_metric_get(replacements, &reason), 1);
}

void md__metric_job(const char *job, double seconds)
{
    ready();
    md_metric_add(md_metric_get(runs, &job), 1);
    md_metric_observe(md_metric_get(durations, &job), seconds);
}

void md__metric_skipped(const char *job, int64_t count)
{
    ready();
    md_metric_add(md_metric_get(skips, &job), (double)count);
}

void md__metric_lua_bytes(int64_t change)
{
    ready();
    md_metric_add(lua_bytes, (double)change);
}

void md__metric_refused(void)
{
    ready();
    md_metric_add(refusals, 1);
}

void md__metric_generations(int live, int current)
{
    ready();
    md_metric_set(generations_live, live);
    if (current > 0)
        md_metric_set(generation, current);
}

void md__metric_reload(const char *result, double seconds)
{
    ready();
    md_metric_add(md_metric_get(reloads, &result), 1);
    if (strcmp(result, "unchanged") == 0)
        return;
    md_metric_set(reload_ok, strcmp(result, "ok") == 0);
    md_metric_observe(reload_seconds, seconds);
}

void md__metric_rollback(const char *cause)
{
    ready();
    md_metric_add(md_metric_get(rollbacks, &cause), 1);
}
