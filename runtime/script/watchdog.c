/*
 * What happens to generations without anybody asking: one that fails too often soon after it came
 * is taken back, and streams of one that was replaced are closed when they have drained for long
 * enough. Judged where calls end, done on the housekeeping thread.
 */
#include "base/log.h"
#include "script/generation.h"

double md__error_rate(const struct md_generation *generation)
{
    int64_t calls = atomic_load(&generation->calls);
    return calls > 0 ? (double)atomic_load(&generation->errors) / (double)calls : 0;
}

/* Event streams of the generation before the current one; their clients come back to the new one.
 */
void md__close_streams(struct md_script *script)
{
    pthread_mutex_lock(&script->lock);
    const struct md_generation *retired = script->retired;
    pthread_mutex_unlock(&script->lock);
    if (retired != NULL) /* only compared with, in there: it may be gone */
        md_script_streams_close(script, retired, "the scripts have changed");
}

static bool fails_too_often(const struct md_generation *generation)
{
    const struct md_config *config = generation->config;
    double allowed = md_config_number(config, "rollback_error_pct") / 100;
    double window_s = md_config_number(config, "rollback_window_s");
    int64_t age_ns = md_monotonic_ns(generation->script->clock) - generation->served_ns;
    double rate = md__error_rate(generation);
    return allowed > 0 && (double)age_ns / 1e9 <= window_s &&
           atomic_load(&generation->calls) >= md_config_int(config, "rollback_calls_min") &&
           rate > allowed && rate > 2 * generation->error_rate_before;
}

void md__generation_count(struct md_generation *generation, bool failed)
{
    struct md_script *script = generation->script;
    atomic_fetch_add(&generation->calls, 1);
    if (!failed)
        return;
    atomic_fetch_add(&generation->errors, 1);
    if (!fails_too_often(generation))
        return;
    pthread_mutex_lock(&script->lock);
    if (script->current == generation && script->past_count > 0 &&
        !atomic_exchange(&script->rollback_due, true))
        pthread_cond_broadcast(&script->stopped);
    pthread_mutex_unlock(&script->lock);
}

void md__drain_streams(struct md_script *script)
{
    pthread_mutex_lock(&script->lock);
    bool late = script->retired != NULL && md__generation_expired(script->retired);
    pthread_mutex_unlock(&script->lock);
    if (late)
        md__close_streams(script);
}

void md__rollback_if_due(struct md_script *script)
{
    struct md_error err;
    if (!atomic_exchange(&script->rollback_due, false))
        return;
    struct md_generation *generation = md__generation_current(script);
    md_log(MD_LOG_ERROR, "script", "generation %d fails in %.0f %% of %lld calls: rolling back",
           generation->number, 100 * md__error_rate(generation),
           (long long)atomic_load(&generation->calls));
    md__generation_unref(generation);
    if (md_script_rollback(script, "errors", NULL, &err) != MD_OK)
        md_log(MD_LOG_ERROR, "script", "automatic rollback: %s", err.text);
}
