/*
 * Starting and ending an engine: its scheduler, and the housekeeping of every binding about once a
 * second, on a thread of its own.
 */
#include "base/wait.h"
#include "script/generation.h"
#include "script/watch.h"

static const int64_t second_ns = 1000000000;

/* About a second, or until a rollback is due; false when the engine ends. */
static bool sleep_unless_due(struct md_script *script)
{
    pthread_mutex_lock(&script->lock);
    if (!script->stopping && !atomic_load(&script->rollback_due))
        md_cond_wait_ns(&script->stopped, &script->lock, second_ns);
    bool stopping = script->stopping;
    pthread_mutex_unlock(&script->lock);
    return !stopping;
}

static void keep_house(struct md_script *script)
{
    for (int i = 0; md__bindings[i] != NULL; i++) {
        if (md__bindings[i]->housekeep != NULL)
            md__bindings[i]->housekeep(script, md_now_ms(script->clock));
    }
}

/* About once a second. */
static void *housekeeping_main(void *context)
{
    struct md_script *script = context;
    while (sleep_unless_due(script)) {
        md__rollback_if_due(script);
        md__drain_streams(script);
        keep_house(script);
    }
    return NULL;
}

enum md_status md_script_start(struct md_script *script, struct md_error *err)
{
    pthread_mutex_lock(&script->reloading);
    struct md_generation *generation = md__generation_current(script);
    enum md_status status = md__scheduler_new(generation, &script->scheduler, err);
    md__generation_unref(generation);
    if (status == MD_OK) {
        keep_house(script); /* who is told of alerts must know of those there are before a tick */
        script->housekeeping =
            pthread_create(&script->housekeeper, NULL, housekeeping_main, script) == 0;
        if (!script->housekeeping)
            status = md_fail(err, MD_ERR_MEMORY, "cannot start the housekeeper's thread");
    }
    if (status == MD_OK)
        md__scheduler_start(script->scheduler, NULL);
    pthread_mutex_unlock(&script->reloading);
    return status;
}

void md_script_stop(struct md_script *script)
{
    int64_t drain_ns = md_config_int(script->config, "drain_ms_max") * 1000000;
    atomic_store(&script->begun, false);
    atomic_store(&script->end_ns, md_monotonic_ns(script->clock) + drain_ns);
    pthread_mutex_lock(&script->lock);
    script->stopping = true;
    pthread_cond_broadcast(&script->stopped);
    pthread_mutex_unlock(&script->lock);
    md__watcher_stop(script->watcher);
    if (script->housekeeping)
        pthread_join(script->housekeeper, NULL);
    script->housekeeping = false;
    pthread_mutex_lock(&script->reloading); /* a reload in progress ends first */
    struct md__scheduler *scheduler = script->scheduler;
    script->scheduler = NULL;
    pthread_mutex_unlock(&script->reloading);
    md__scheduler_delete(scheduler);
}
