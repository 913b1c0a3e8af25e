/*
 * Rehearsals one at a time, and the one that follows a change of rules by itself: on a thread of
 * its own that gives way to everything else, within a budget, with what it found in the log and in
 * /admin/scripts. Whoever asks for a rehearsal goes first: what runs by itself is dropped then,
 * and begun again afterwards.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/json_out.h"
#include "base/log.h"
#include "base/stack.h"
#include "base/timestamp.h"
#include "script/rehearse_internal.h"
#include "script/sources.h"

enum { NICE = 10 };

static const char request_text[] = "{\"since\":\"24h\",\"bins\":1,\"budget_s\":10}";

/* What a change was: texts and settings before and after. */
struct change {
    int number; /* of the new generation; 0: there is none */
    struct md_config *config, *old_config;
    struct md__sources *sources, *old_sources;
};

struct md__rehearser {
    struct md_script *script;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool has_thread, stopping;
    bool running;         /* a rehearsal, whoever asked */
    int waiting;          /* callers that want to be next */
    _Atomic bool dropped; /* the one that runs by itself is to end */
    struct change pending;
    /* The last one that ended: */
    int number; /* 0: none yet */
    int64_t at_ms;
    bool failed;
    char text[256];
};

static struct md__rehearser *rehearser_new(struct md_script *script)
{
    struct md__rehearser *rehearser = calloc(1, sizeof *rehearser);
    if (rehearser == NULL)
        return NULL;
    rehearser->script = script;
    pthread_mutex_init(&rehearser->lock, NULL);
    pthread_cond_init(&rehearser->changed, NULL);
    return rehearser;
}

/* The script's, made when it is first needed; NULL: out of memory. */
static struct md__rehearser *rehearser_of(struct md_script *script)
{
    pthread_mutex_lock(&script->lock);
    if (script->rehearser == NULL)
        script->rehearser = rehearser_new(script);
    struct md__rehearser *rehearser = script->rehearser;
    pthread_mutex_unlock(&script->lock);
    return rehearser;
}

static void forget(struct change *change)
{
    md_config_unref(change->config);
    md_config_unref(change->old_config);
    md__sources_unref(change->sources);
    md__sources_unref(change->old_sources);
    *change = (struct change){0};
}

/* ---- one at a time --------------------------------------------------------------------------- */

enum md_status md__rehearse_begin(struct md_script *script, struct md_error *err)
{
    struct md__rehearser *rehearser = rehearser_of(script);
    if (rehearser == NULL)
        return md_fail(err, MD_ERR_MEMORY, "no memory for a rehearsal");
    pthread_mutex_lock(&rehearser->lock);
    bool free = rehearser->waiting == 0 && !rehearser->stopping;
    if (free) {
        rehearser->waiting = 1;
        atomic_store(&rehearser->dropped, true);
        while (rehearser->running)
            pthread_cond_wait(&rehearser->changed, &rehearser->lock);
        rehearser->running = true;
    }
    pthread_mutex_unlock(&rehearser->lock);
    return free ? MD_OK
                : md_fail(err, MD_ERR_UNAVAILABLE, "another rehearsal is running; try again");
}

void md__rehearse_end(struct md_script *script)
{
    struct md__rehearser *rehearser = rehearser_of(script);
    pthread_mutex_lock(&rehearser->lock);
    rehearser->running = false;
    rehearser->waiting = 0;
    pthread_cond_broadcast(&rehearser->changed);
    pthread_mutex_unlock(&rehearser->lock);
}

/* ---- by itself ------------------------------------------------------------------------------- */

static enum md_status load_sets(struct md_script *script, const struct change *change,
                                struct md__rehearse_set *fresh, struct md__rehearse_set *old,
                                struct md_error *err)
{
    enum md_status status =
        md__rehearse_set_load(fresh, script, change->config, change->sources, NULL, err);
    if (status == MD_OK)
        status =
            md__rehearse_set_load(old, script, change->old_config, change->old_sources, NULL, err);
    return status;
}

/* text: one sentence. */
static enum md_status rehearse(struct md__rehearser *rehearser, const struct change *change,
                               struct md_buffer *text, struct md_error *err)
{
    struct md_script *script = rehearser->script;
    struct md_rehearse_call call = {.request = request_text, .length = sizeof request_text - 1};
    struct md__rehearse_set fresh = {.is_loaded = false}, old = {.is_loaded = false};
    struct md__rehearse_request request;
    struct md__rehearse_run run = {.request = &request,
                                   .fresh = &fresh,
                                   .old = &old,
                                   .clock = script->clock,
                                   .zone = script->timezone,
                                   .state = md_config_string(script->config, "state"),
                                   .now_ms = md_now_ms(script->clock),
                                   .cancelled = &rehearser->dropped};
    enum md_status status = md__rehearse_request_read(&call, &request, err);
    if (status == MD_OK)
        status = load_sets(script, change, &fresh, &old, err);
    if (status == MD_OK)
        status = md__rehearse_run(&run, NULL, text, err);
    md__rehearse_set_fini(&fresh);
    md__rehearse_set_fini(&old);
    md__rehearse_request_fini(&request);
    return status;
}

static void tell(struct md__rehearser *rehearser, const struct change *change,
                 enum md_status status, const char *text)
{
    if (status == MD_ERR_CANCELLED)
        return;
    pthread_mutex_lock(&rehearser->lock);
    rehearser->number = change->number;
    rehearser->at_ms = md_now_ms(rehearser->script->clock);
    rehearser->failed = status != MD_OK;
    snprintf(rehearser->text, sizeof rehearser->text, "%s", text);
    pthread_mutex_unlock(&rehearser->lock);
    md_log(status == MD_OK ? MD_LOG_INFO : MD_LOG_WARN, "script",
           "generation %d over the last 24 h: %s", change->number, text);
}

static void rehearse_change(struct md__rehearser *rehearser, const struct change *change)
{
    struct md_buffer text;
    struct md_error err;
    md_buffer_init(&text, 4096);
    enum md_status status = rehearse(rehearser, change, &text, &err);
    if (status == MD_OK)
        status = md_buffer_check(&text, &err);
    tell(rehearser, change, status, status == MD_OK ? text.data : err.text);
    md_buffer_fini(&text);
}

static void *work(void *context)
{
    struct md__rehearser *rehearser = context;
    md_stack_declare();
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
    pthread_mutex_lock(&rehearser->lock);
    while (!rehearser->stopping) {
        if (rehearser->pending.number == 0 || rehearser->running || rehearser->waiting > 0) {
            pthread_cond_wait(&rehearser->changed, &rehearser->lock);
            continue;
        }
        struct change change = rehearser->pending;
        rehearser->pending = (struct change){0};
        rehearser->running = true;
        atomic_store(&rehearser->dropped, false);
        pthread_mutex_unlock(&rehearser->lock);
        rehearse_change(rehearser, &change);
        pthread_mutex_lock(&rehearser->lock);
        if (atomic_load(&rehearser->dropped) && rehearser->pending.number == 0)
            rehearser->pending = change; /* it had to give way, and is still the newest */
        else
            forget(&change);
        rehearser->running = false;
        pthread_cond_broadcast(&rehearser->changed);
    }
    pthread_mutex_unlock(&rehearser->lock);
    return NULL;
}

static void begin_thread(struct md__rehearser *rehearser)
{
    pthread_attr_t attributes;
    if (rehearser->has_thread || pthread_attr_init(&attributes) != 0)
        return;
    pthread_attr_setstacksize(&attributes, MD_STACK_BYTES);
    rehearser->has_thread = pthread_create(&rehearser->thread, &attributes, work, rehearser) == 0;
    pthread_attr_destroy(&attributes);
}

static const struct md_alert_rules *rules_of(const struct md_generation *generation)
{
    return generation->alerts != NULL ? generation->alerts->rules : NULL;
}

static bool texts_differ(const struct md_generation *old, const struct md_generation *new)
{
    struct md_buffer names;
    md_buffer_init(&names, 0);
    md__sources_differences(new->sources, old->sources, &names);
    bool differ = names.length > 0 || md_buffer_check(&names, NULL) != MD_OK;
    md_buffer_fini(&names);
    return differ;
}

/* Functions are code: any changed file may have changed what they say. */
static bool differ(const struct md_generation *old, const struct md_generation *new)
{
    const struct md_alert_rules *rules = rules_of(new);
    if (!md__rehearse_rules_equal(rules_of(old), rules))
        return true;
    for (int i = 0; rules != NULL && i < md_alert_rules_count(rules); i++) {
        if (md_alert_rules_get(rules, i)->watch == MD_ALERT_FUNCTION)
            return texts_differ(old, new);
    }
    return false;
}

void md__rehearse_after_change(struct md_script *script, const struct md_generation *old,
                               const struct md_generation *new)
{
    if (md_config_string(script->config, "state")[0] == '\0' || !differ(old, new))
        return;
    struct md__rehearser *rehearser = rehearser_of(script);
    if (rehearser == NULL)
        return;
    pthread_mutex_lock(&rehearser->lock);
    atomic_store(&rehearser->dropped, true);
    forget(&rehearser->pending);
    rehearser->pending = (struct change){.number = new->number,
                                         .config = md_config_ref(new->config),
                                         .old_config = md_config_ref(old->config),
                                         .sources = md__sources_ref(new->sources),
                                         .old_sources = md__sources_ref(old->sources)};
    begin_thread(rehearser);
    pthread_cond_broadcast(&rehearser->changed);
    pthread_mutex_unlock(&rehearser->lock);
}

/* ---- what is shown, and the end -------------------------------------------------------------- */

void md__rehearse_state(struct md_script *script, struct md_buffer *json)
{
    struct md__rehearser *rehearser = rehearser_of(script);
    char at[MD_TIMESTAMP_BYTES];
    md_buffer_text(json, "\"rehearsal\":");
    if (rehearser == NULL) {
        md_buffer_text(json, "null");
        return;
    }
    pthread_mutex_lock(&rehearser->lock);
    if (rehearser->number == 0) {
        md_buffer_text(json, "null");
    } else {
        md_timestamp_format(rehearser->at_ms, at);
        md_buffer_printf(json, "{\"generation\":%d,\"at\":\"%s\",\"ok\":%s,\"summary\":",
                         rehearser->number, at, rehearser->failed ? "false" : "true");
        md_json_string(json, rehearser->text, strlen(rehearser->text));
        md_buffer_text(json, "}");
    }
    pthread_mutex_unlock(&rehearser->lock);
}

void md__rehearse_fini(struct md_script *script)
{
    struct md__rehearser *rehearser = script->rehearser;
    if (rehearser == NULL)
        return;
    pthread_mutex_lock(&rehearser->lock);
    rehearser->stopping = true;
    atomic_store(&rehearser->dropped, true);
    pthread_cond_broadcast(&rehearser->changed);
    pthread_mutex_unlock(&rehearser->lock);
    if (rehearser->has_thread)
        pthread_join(rehearser->thread, NULL);
    forget(&rehearser->pending);
    pthread_cond_destroy(&rehearser->changed);
    pthread_mutex_destroy(&rehearser->lock);
    free(rehearser);
    script->rehearser = NULL;
}
