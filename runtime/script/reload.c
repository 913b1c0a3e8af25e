/*
 * Changing the scripts of a running engine: reload and rollback. When a change is taken back by
 * itself is judged in watchdog.c.
 *
 * A change builds the next generation beside the one that serves, on the calling thread: compile,
 * validate, the folder's fast tests, changed models, declared tables; only then is `current`
 * swapped, under the lock that every new request takes for a moment. A failure anywhere before
 * leaves the old generation as it is. One change at a time (script->reloading), and at most two
 * generations live: a change waits until requests and jobs of the one before the last have ended,
 * for as long as they may drain, and is refused when they have not.
 *
 * Rollback builds from the texts and settings kept of earlier generations. It needs no disk and
 * touches no data; what is on disk stays broken, which /health says until a reload succeeds. A
 * reload of what serves already makes no step to go back by: after a save that the watch has taken
 * up, `moondial reload` or the prompt's :write load the same once more.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_out.h"
#include "base/log.h"
#include "base/stack.h"
#include "base/wait.h"
#include "script/generation.h"
#include "script/test_internal.h"
#include "serve/serve.h"

static const char subject[] = "scripts"; /* of /health's reasons */

/* One change on its way. */
struct change {
    struct md_script *script;
    struct md__making making;
    struct md_generation *old, *generation;
    struct md__scheduler *scheduler;
    struct md_model *models[MD_SERVE_MODELS_MAX]; /* loaded for it, not seen yet */
    int model_count;
    bool is_rollback;
    int back_to; /* of a rollback: the generation that comes back */
    int64_t begun_ns;
    struct md_buffer held; /* settings that wait for a restart */
    enum md_status status;
    struct md_error *err;
};

/* ---- what a rollback goes back to ------------------------------------------------------------ */

static void drop_past(struct md__past *past)
{
    md_config_unref(past->config);
    md__sources_unref(past->sources);
}

static void forget_refused(struct md_script *script)
{
    drop_past(&script->refused);
    script->refused = (struct md__past){0};
}

void md__past_clear(struct md_script *script)
{
    while (script->past_count > 0)
        drop_past(&script->past[--script->past_count]);
    forget_refused(script);
}

static struct md__past past_of(const struct md_generation *generation)
{
    return (struct md__past){generation->number, md_config_ref(generation->config),
                             md__sources_ref(generation->sources)};
}

/* The new generation has the texts and settings of the one that serves. */
static bool is_repeated(const struct change *change)
{
    const struct md_generation *old = change->old, *new = change->generation;
    struct md_buffer names;
    md_buffer_init(&names, 0);
    md__sources_differences(new->sources, old->sources, &names);
    bool same = names.length == 0 && md_buffer_check(&names, NULL) == MD_OK &&
                md_config_equal(new->config, old->config);
    md_buffer_fini(&names);
    return same;
}

/* With the lock held. After a rollback what was left is remembered as refused: files that are
 * still the same on disk are not taken up again by themselves. */
static void remember(struct md_script *script, const struct change *change, bool repeated)
{
    forget_refused(script);
    if (change->is_rollback) {
        drop_past(&script->past[--script->past_count]);
        script->refused = past_of(change->old);
        return;
    }
    if (repeated)
        return;
    if (script->past_count == MD__PAST_MAX) {
        drop_past(&script->past[0]);
        memmove(script->past, script->past + 1, (MD__PAST_MAX - 1) * sizeof script->past[0]);
        script->past_count--;
    }
    script->past[script->past_count++] = past_of(change->old);
}

/* ---- the stages ------------------------------------------------------------------------------ */

/* Waits for the generation before the current one to end. Its requests may finish; a stream could
 * go on for hours, and must make room. */
static enum md_status wait_drained(struct md_script *script, struct md_error *err)
{
    md__close_streams(script);
    int64_t drain_ns = md_config_int(script->config, "drain_ms_max") * 1000000;
    int64_t end_ns = md_monotonic_ns(script->clock) + drain_ns, left_ns = drain_ns;
    bool in_time = true;
    pthread_mutex_lock(&script->lock);
    while (script->generations_live > 1 && !script->stopping && in_time && left_ns > 0) {
        in_time = md_cond_wait_ns(&script->stopped, &script->lock, left_ns);
        left_ns = end_ns - md_monotonic_ns(script->clock);
    }
    bool stopping = script->stopping, drained = script->generations_live <= 1;
    pthread_mutex_unlock(&script->lock);
    if (stopping)
        return md_fail(err, MD_ERR_UNAVAILABLE, "the daemon ends");
    if (!drained)
        return md_fail(err, MD_ERR_UNAVAILABLE,
                       "requests that began before the last change of scripts are still running; "
                       "try again");
    return MD_OK;
}

static bool is_same_model(const struct md__model_entry *a, const struct md__model_entry *b)
{
    return strcmp(a->path, b->path) == 0 && a->profile.has_precision == b->profile.has_precision &&
           a->profile.precision == b->profile.precision &&
           a->profile.batch_max == b->profile.batch_max &&
           a->profile.accelerator_batch_max == b->profile.accelerator_batch_max;
}

/* Declared models that are new, or whose declaration differs, are loaded before the scripts that
 * need them serve, and published with them. An optional one may fail. */
static enum md_status load_models(struct change *change)
{
    const struct md_generation *generation = change->generation;
    if (change->script->scheduler == NULL) /* not started: models have not been loaded at all */
        return MD_OK;
    if (generation->model_count > MD_SERVE_MODELS_MAX)
        return md_fail(change->err, MD_ERR_SCRIPT, "app.lua: models: more than %d",
                       MD_SERVE_MODELS_MAX);
    for (int i = 0; i < generation->model_count; i++) {
        const struct md__model_entry *model = &generation->models[i];
        const struct md__model_entry *before = md__model_declared(change->old, model->name);
        if (before != NULL && is_same_model(before, model))
            continue;
        struct md_model **staged = &change->models[change->model_count];
        enum md_status status = md__model_stage(change->script, model, staged, change->err);
        change->model_count += status == MD_OK;
        if (status != MD_OK && !model->optional)
            return status;
    }
    return MD_OK;
}

static void publish_models(const struct change *change)
{
    struct md_error err;
    for (int i = 0; i < change->model_count; i++) {
        if (md__model_commit(change->script, change->models[i], &err) != MD_OK)
            md_log(MD_LOG_ERROR, "script", "%s", err.text);
    }
}

/* Everything that runs Lua, on a stack that is large enough for it. */
static void build(void *context)
{
    struct change *change = context;
    struct md_script *script = change->script;
    change->status = md__generation_new(script, &change->making, &change->generation, change->err);
    if (change->status != MD_OK)
        return;
    if (!change->is_rollback) /* what it goes back to has served before */
        change->status = md__test_fast(change->generation, change->err);
    if (change->status == MD_OK)
        change->status = load_models(change);
    if (change->status == MD_OK && script->scheduler != NULL)
        change->status = md__scheduler_new(change->generation, &change->scheduler, change->err);
    struct md_error *err = change->status == MD_OK ? change->err : NULL;
    md__sources_seal(change->making.sources);
    enum md_status settled = md__generation_settle(script, change->status == MD_OK, err);
    if (change->status == MD_OK)
        change->status = settled;
}

/* Cannot fail: from here on the new generation serves. */
static void swap(struct change *change)
{
    struct md_script *script = change->script;
    struct md_generation *old = change->old, *new = change->generation;
    struct md__scheduler *scheduler_before = script->scheduler;
    bool repeated = is_repeated(change);
    publish_models(change);
    new->error_rate_before = repeated ? old->error_rate_before : md__error_rate(old);
    pthread_mutex_lock(&script->lock);
    atomic_store(&new->served_ns, md_monotonic_ns(script->clock));
    atomic_store(&old->retired_ns, md_monotonic_ns(script->clock));
    script->current = new;
    script->retired = old;
    md__metric_generations(script->generations_live, new->number);
    script->numbers = new->number;
    atomic_store(&script->rollback_due, false);
    remember(script, change, repeated);
    pthread_cond_broadcast(&script->stopped);
    pthread_mutex_unlock(&script->lock);
    if (change->scheduler != NULL) {
        script->scheduler = change->scheduler;
        md__scheduler_start(change->scheduler, scheduler_before);
    }
    if (strcmp(md_config_string(old->config, "log_level"),
               md_config_string(new->config, "log_level")) != 0) {
        enum md_log_level level;
        if (md_log_level_parse(md_config_string(new->config, "log_level"), &level, NULL) == MD_OK)
            md_log_set_level(level);
    }
    md__generation_unref(old); /* the engine's reference; change->old still holds one */
}

/* ---- what is told of it ---------------------------------------------------------------------- */

static void note_result(struct change *change, bool failed)
{
    struct md_script *script = change->script;
    double seconds = (double)(md_monotonic_ns(script->clock) - change->begun_ns) / 1e9;
    pthread_mutex_lock(&script->lock);
    struct md__reload_result *last = &script->last;
    last->failed = failed;
    last->at_ms = md_now_ms(script->clock);
    last->seconds = seconds;
    last->attempts++;
    last->failures += failed;
    snprintf(last->reason, sizeof last->reason, "%s", change->making.reason);
    snprintf(last->text, sizeof last->text, "%s", failed ? change->err->text : "");
    pthread_mutex_unlock(&script->lock);
    md__metric_reload(failed ? "failed" : "ok", seconds);
}

static void tell_failure(struct change *change)
{
    char reason[320];
    md_log(MD_LOG_ERROR, "script", "%s refused (generation %d goes on): %s",
           change->is_rollback ? "rollback" : "reload", change->old->number, change->err->text);
    snprintf(reason, sizeof reason, "%s refused, generation %d goes on: %.240s",
             change->is_rollback ? "rollback" : "reload", change->old->number, change->err->text);
    md__degraded_set(change->script, subject, reason);
}

/* What /health says of a change that worked; "" when there is nothing to say. */
static void write_held(const struct change *change, char *reason, size_t size)
{
    const char *held = change->held.data != NULL ? change->held.data : "";
    const char *title = held[0] != '\0' ? "settings that wait for a restart: " : "";
    snprintf(reason, size, "%s%.240s", title, held);
}

static void tell_success(struct change *change, double ms)
{
    char reason[320];
    if (change->is_rollback)
        snprintf(reason, sizeof reason,
                 "scripts are rolled back to those of generation %d (%s); the files on disk are "
                 "those of generation %d: a restart or reload would load them",
                 change->back_to, change->making.reason, change->old->number);
    else
        write_held(change, reason, sizeof reason);
    md__degraded_set(change->script, subject, reason[0] != '\0' ? reason : NULL);
    md_log(change->is_rollback ? MD_LOG_WARN : MD_LOG_INFO, "script",
           "generation %d serves (%s, %.0f ms)%s%s", change->generation->number,
           change->making.reason, ms, reason[0] != '\0' ? ": " : "", reason);
}

static void write_report(struct change *change, double ms, struct md_buffer *json)
{
    const char *held = change->held.data != NULL ? change->held.data : "";
    if (json == NULL)
        return;
    md_buffer_printf(json, "{\"ok\":true,\"generation\":%d,\"before\":%d,\"reason\":\"%s\",",
                     change->generation->number, change->old->number, change->making.reason);
    md_buffer_printf(json, "\"ms\":%.1f,\"changed\":[", ms);
    md__sources_differences(change->generation->sources, change->old->sources, json);
    md_buffer_text(json, "],\"needs_restart\":");
    md_json_string(json, held, strlen(held));
    md_buffer_text(json, "}");
}

/* ---- the change ------------------------------------------------------------------------------ */

/* The rest once `making` is filled; takes its references over. */
static enum md_status carry_out(struct change *change, struct md_buffer *report)
{
    struct md_script *script = change->script;
    struct md_error unused;
    change->err = change->err != NULL ? change->err : &unused;
    change->status =
        md_stack_call(build, change, change->err) == MD_OK ? change->status : change->err->code;
    bool failed = change->status != MD_OK;
    double ms = (double)(md_monotonic_ns(script->clock) - change->begun_ns) / 1e6;
    if (failed) {
        md__scheduler_delete(change->scheduler);
        md__generation_unref(change->generation);
        while (change->model_count > 0)
            md_model_unref(change->models[--change->model_count]);
        tell_failure(change);
    } else {
        swap(change);
        tell_success(change, ms);
        write_report(change, ms, report);
        md__rehearse_after_change(script, change->old, change->generation);
    }
    note_result(change, failed);
    return change->status;
}

static void end(struct change *change)
{
    md_config_unref(change->making.config);
    md__sources_unref(change->making.sources);
    md__generation_unref(change->old);
    md_buffer_fini(&change->held);
}

static enum md_status begin(struct md_script *script, const char *reason, struct change *change,
                            struct md_error *err)
{
    *change = (struct change){.script = script, .err = err, .status = MD_ERR_INTERNAL};
    md_buffer_init(&change->held, 4096);
    change->making.reason = reason;
    change->begun_ns = md_monotonic_ns(script->clock);
    enum md_status status = wait_drained(script, err);
    if (status != MD_OK)
        return status;
    change->old = md__generation_current(script);
    change->making.number = script->numbers + 1;
    return MD_OK;
}

static bool is_on_disk(const struct change *change, const struct md_config *config,
                       struct md__sources *sources)
{
    return md_config_equal(change->making.config, config) && md__sources_current(sources);
}

/* The files are what serves; a mistake in them, or what was taken back, has been undone. */
static void tell_unchanged(struct change *change)
{
    struct md_script *script = change->script;
    char reason[320];
    if (!script->last.failed && script->refused.sources == NULL) {
        md__metric_reload("unchanged", 0);
        return;
    }
    pthread_mutex_lock(&script->lock);
    forget_refused(script);
    pthread_mutex_unlock(&script->lock);
    write_held(change, reason, sizeof reason);
    md__degraded_set(script, subject, reason[0] != '\0' ? reason : NULL);
    md_log(MD_LOG_INFO, "script", "the files are those of generation %d again, which serves",
           change->old->number);
    note_result(change, false);
}

/* Of a watch only: the files and settings are those of the current generation, or those it was
 * taken back from. */
static bool is_unchanged(struct change *change)
{
    const struct md__past *refused = &change->script->refused;
    if (is_on_disk(change, change->old->config, change->old->sources)) {
        tell_unchanged(change);
        return true;
    }
    if (refused->sources == NULL || !is_on_disk(change, refused->config, refused->sources))
        return false;
    md__metric_reload("unchanged", 0);
    return true;
}

static enum md_status reload(struct change *change, struct md_buffer *report)
{
    struct md_script *script = change->script;
    struct md_error *err = change->err;
    enum md_status status =
        md_config_reload(change->old->config, &change->making.config, &change->held, err);
    if (status == MD_OK && strcmp(change->making.reason, "watch") == 0 && is_unchanged(change)) {
        if (report != NULL)
            md_buffer_printf(report, "{\"ok\":true,\"generation\":%d,\"unchanged\":true}",
                             change->old->number);
        return MD_OK;
    }
    if (status == MD_OK) {
        change->making.sources = md__sources_new(script->dir, true);
        if (change->making.sources == NULL)
            status = md_fail(err, MD_ERR_MEMORY, "no memory to read the scripts");
        else
            md__sources_inherit(change->making.sources, change->old->sources);
    }
    if (status != MD_OK) {
        tell_failure(change);
        note_result(change, true);
        return status;
    }
    return carry_out(change, report);
}

static enum md_status roll_back(struct change *change, struct md_buffer *report)
{
    struct md_script *script = change->script;
    if (script->past_count == 0)
        return md_fail(change->err, MD_ERR_CONFLICT,
                       "there is no earlier generation to roll back to");
    const struct md__past *past = &script->past[script->past_count - 1];
    change->is_rollback = true;
    change->making.config = md_config_ref(past->config);
    change->making.sources = md__sources_ref(past->sources);
    change->back_to = past->number;
    enum md_status status = carry_out(change, report);
    if (status == MD_OK)
        md__metric_rollback(change->making.reason);
    return status;
}

/* One change at a time, from its beginning to what is left when it has been carried out or not. */
static enum md_status make_change(struct md_script *script, const char *reason,
                                  enum md_status (*carry)(struct change *, struct md_buffer *),
                                  struct md_buffer *report, struct md_error *err)
{
    struct change change;
    struct md_error unused;
    pthread_mutex_lock(&script->reloading);
    enum md_status status = begin(script, reason, &change, err != NULL ? err : &unused);
    if (status == MD_OK)
        status = carry(&change, report);
    end(&change);
    pthread_mutex_unlock(&script->reloading);
    return status;
}

enum md_status md_script_reload(struct md_script *script, const char *reason,
                                struct md_buffer *report_json, struct md_error *err)
{
    return make_change(script, reason, reload, report_json, err);
}

enum md_status md_script_rollback(struct md_script *script, const char *reason,
                                  struct md_buffer *report_json, struct md_error *err)
{
    return make_change(script, reason, roll_back, report_json, err);
}
