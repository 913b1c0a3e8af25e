/*
 * The notifier's life: its settings, the thread that steps, silences. Sending is in
 * notifier_send.c, keeping in notifier_queue.c.
 *
 * One lock guards everything. A step and its transaction happen under it: a message is in its queue
 * exactly when the memory knows of it, in the process as in the store. Nobody sends under it.
 */
#include "alert/notifier.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "alert/notifier_internal.h"
#include "base/log.h"
#include "base/wait.h"
#include "store/queue.h"

#define STEP_MS_MIN ((int64_t)1000)

static const int64_t look_ns = 250000000;

/* ---- the step -------------------------------------------------------------------------------- */

static struct md__target *target_of(struct md_notifier *notifier, int receiver)
{
    struct md__target *target = notifier->targets;
    while (target && target->receiver != receiver)
        target = target->next;
    return target;
}

static int pending(void *context, int receiver)
{
    const struct md__target *target = target_of(context, receiver);
    return target ? target->count : 0;
}

static enum md_status take(void *context, const struct md_notify_message *message,
                           struct md_error *err)
{
    struct md_notifier *notifier = context;
    struct md__target *target = target_of(notifier, message->receiver);
    return md__queue_add(target, message->key, notifier->next_id++, md_now_ms(notifier->clock),
                         message->alert_count, message->body, message->body_length, err);
}

static void cap_queues(struct md_notifier *notifier)
{
    for (struct md__target *target = notifier->targets; target; target = target->next) {
        int dropped = md__queue_cap(target);
        md__notifier_length(target->receiver_name, target->count);
        if (dropped == 0)
            continue;
        md__notifier_count(target->receiver_name, "overflow", dropped);
        md_log(MD_LOG_WARN, "notify", "receiver %s: too many messages wait, dropped the oldest %d",
               target->receiver_name, dropped);
    }
}

static void step(struct md_notifier *notifier)
{
    struct md_notify_sink sink = {notifier, pending, take};
    struct md_notify_snapshot *news = notifier->news;
    struct md_error err;
    bool changed = false;
    int64_t now_ms = md_now_ms(notifier->clock);
    notifier->news = NULL;
    notifier->due = false;
    enum md_status status = md_notify_step(notifier->notify, now_ms, news ? news->alerts : NULL,
                                           news ? news->count : -1, &sink, &changed, &err);
    md_notify_snapshot_delete(news);
    if (status != MD_OK)
        md_log(MD_LOG_ERROR, "notify", "some alerts are not told yet: %s", err.text);
    if (changed || notifier->unsaved)
        md__queue_save(notifier);
    cap_queues(notifier);
    notifier->next_ms = md_notify_next_ms(notifier->notify, now_ms);
    if (notifier->next_ms < now_ms + STEP_MS_MIN) /* due, but held up by what waits */
        notifier->next_ms = now_ms + STEP_MS_MIN;
    pthread_cond_broadcast(&notifier->changed);
}

/* With the lock; joins without it. */
static void join_ended(struct md_notifier *notifier)
{
    while (notifier->ended) {
        struct md__target *target = notifier->ended;
        notifier->ended = target->next;
        pthread_mutex_unlock(&notifier->lock);
        if (target->has_thread)
            pthread_join(target->thread, NULL);
        md__target_delete(target);
        pthread_mutex_lock(&notifier->lock);
    }
}

static bool is_due(const struct md_notifier *notifier)
{
    return notifier->due || notifier->news || md_now_ms(notifier->clock) >= notifier->next_ms;
}

static void *step_main(void *context)
{
    struct md_notifier *notifier = context;
    pthread_mutex_lock(&notifier->lock);
    while (!notifier->stopping) {
        join_ended(notifier);
        if (notifier->stopping)
            break;
        if (!notifier->held && is_due(notifier))
            step(notifier);
        if (notifier->held || (!notifier->due && !notifier->news))
            md_cond_wait_ns(&notifier->changed, &notifier->lock, look_ns);
    }
    pthread_mutex_unlock(&notifier->lock);
    return NULL;
}

void md_notifier_hold(struct md_notifier *notifier)
{
    pthread_mutex_lock(&notifier->lock);
    notifier->held = true;
    pthread_mutex_unlock(&notifier->lock);
}

void md_notifier_release(struct md_notifier *notifier)
{
    pthread_mutex_lock(&notifier->lock);
    notifier->held = false;
    if (notifier->config && is_due(notifier))
        step(notifier);
    pthread_mutex_unlock(&notifier->lock);
}

void md_notifier_feed(struct md_notifier *notifier, struct md_notify_snapshot *snapshot)
{
    pthread_mutex_lock(&notifier->lock);
    md_notify_snapshot_delete(notifier->news);
    notifier->news = snapshot;
    if (notifier->config) /* at once: the next tick may end what this one began */
        step(notifier);
    pthread_mutex_unlock(&notifier->lock);
}

/* ---- settings -------------------------------------------------------------------------------- */

/* Its queue is dropped here, its thread ends soon. */
static void end_target(struct md_notifier *notifier, struct md__target *target)
{
    if (target->count > 0)
        md_log(MD_LOG_WARN, "notify",
               "receiver %s is gone, its undelivered messages are dropped: %d",
               target->receiver_name, target->count);
    md__notifier_count(target->receiver_name, "removed", target->count);
    md__notifier_length(target->receiver_name, 0);
    if (notifier->store)
        md_store_queue_drop(notifier->store, target->name, NULL);
    atomic_store(&target->stop, true);
    target->next = notifier->ended;
    notifier->ended = target;
}

static struct md__target *take_target(struct md_notifier *notifier,
                                      const struct md_notify_receiver *receiver)
{
    for (struct md__target **at = &notifier->targets; *at; at = &(*at)->next) {
        struct md__target *target = *at;
        bool same_kind = target->config == NULL || target->kind == receiver->kind;
        if (strcmp(target->name, receiver->target) != 0 || !same_kind)
            continue;
        *at = target->next;
        return target;
    }
    return NULL;
}

/* What may fail: targets and names for all receivers. Nothing has changed on failure. */
static enum md_status prepare(struct md_notifier *notifier,
                              const struct md_notify_settings *settings, struct md__target **fresh,
                              char **names, struct md_error *err)
{
    bool failed = false;
    for (int i = 0; i < settings->receiver_count; i++) {
        fresh[i] = md__target_new(notifier, settings->receivers[i].target);
        names[i] = strdup(settings->receivers[i].name);
        failed |= !fresh[i] || !names[i];
    }
    for (int i = 0; failed && i < settings->receiver_count; i++) {
        if (fresh[i])
            md__target_delete(fresh[i]);
        free(names[i]);
    }
    return failed ? md_fail(err, MD_ERR_MEMORY, "no memory for receivers") : MD_OK;
}

static void start_thread(struct md__target *target)
{
    if (!target->has_thread)
        target->has_thread = pthread_create(&target->thread, NULL, md__target_main, target) == 0;
    if (!target->has_thread)
        md_log(MD_LOG_ERROR, "notify", "receiver %s: no thread to send from",
               target->receiver_name);
}

/* Puts the targets into the order of the receivers, those that are known with their queues. */
static void arrange(struct md_notifier *notifier, struct md_notify_config *config,
                    struct md__target **fresh, char **names)
{
    const struct md_notify_settings *settings = md_notify_config_settings(config);
    struct md__target *arranged = NULL, **end = &arranged;
    for (int i = 0; i < settings->receiver_count; i++) {
        struct md__target *known = take_target(notifier, &settings->receivers[i]);
        struct md__target *target = known ? known : fresh[i];
        if (known)
            md__target_delete(fresh[i]);
        free(target->receiver_name);
        target->receiver_name = names[i];
        target->kind = settings->receivers[i].kind;
        target->receiver = i;
        md_notify_config_unref(target->config);
        target->config = md_notify_config_ref(config);
        target->retry_ns = 0; /* it may work now */
        target->next = NULL;
        *end = target;
        end = &target->next;
    }
    while (notifier->targets) {
        struct md__target *gone = notifier->targets;
        notifier->targets = gone->next;
        end_target(notifier, gone);
    }
    notifier->targets = arranged;
    for (struct md__target *target = arranged; target; target = target->next)
        start_thread(target);
}

enum md_status md_notifier_set_config(struct md_notifier *notifier, struct md_notify_config *config,
                                      struct md_error *err)
{
    struct md__target *fresh[MD_NOTIFY_RECEIVERS_MAX];
    char *names[MD_NOTIFY_RECEIVERS_MAX];
    const struct md_notify_settings *settings = md_notify_config_settings(config);
    enum md_status status = prepare(notifier, settings, fresh, names, err);
    if (status != MD_OK)
        return status;
    pthread_mutex_lock(&notifier->lock);
    status = md_notify_set_config(notifier->notify, config, err);
    if (status == MD_OK) {
        arrange(notifier, config, fresh, names);
        md_notify_config_unref(notifier->config);
        notifier->config = md_notify_config_ref(config);
        step(notifier); /* what was fed before, as long as it is news */
        if (!notifier->has_thread)
            notifier->has_thread =
                pthread_create(&notifier->thread, NULL, step_main, notifier) == 0;
        if (!notifier->has_thread)
            status = md_fail(err, MD_ERR_MEMORY, "cannot start the notifier's thread");
    } else {
        for (int i = 0; i < settings->receiver_count; i++) {
            md__target_delete(fresh[i]);
            free(names[i]);
        }
    }
    pthread_cond_broadcast(&notifier->changed);
    pthread_mutex_unlock(&notifier->lock);
    return status;
}

/* ---- life ------------------------------------------------------------------------------------ */

enum md_status md_notifier_new(struct md_clock *clock, struct md_store *store,
                               struct md_notifier **result, struct md_error *err)
{
    struct md_notifier *notifier = calloc(1, sizeof *notifier);
    if (!notifier)
        return md_fail(err, MD_ERR_MEMORY, "no memory for the notifier");
    notifier->clock = clock;
    notifier->store = store;
    notifier->next_id = 1;
    pthread_mutex_init(&notifier->lock, NULL);
    md_cond_init(&notifier->changed);
    enum md_status status = md_notify_new(&notifier->notify, err);
    if (status == MD_OK)
        status = md__queue_load(notifier, err);
    if (status != MD_OK) {
        md_notifier_delete(notifier);
        return status;
    }
    *result = notifier;
    return MD_OK;
}

static int stop_targets(struct md_notifier *notifier)
{
    int waiting = 0;
    while (notifier->targets) {
        struct md__target *target = notifier->targets;
        notifier->targets = target->next;
        waiting += target->count;
        atomic_store(&target->stop, true);
        target->next = notifier->ended;
        notifier->ended = target;
    }
    return waiting;
}

void md_notifier_delete(struct md_notifier *notifier)
{
    if (!notifier)
        return;
    pthread_mutex_lock(&notifier->lock);
    notifier->stopping = true;
    int waiting = stop_targets(notifier);
    pthread_cond_broadcast(&notifier->changed);
    pthread_mutex_unlock(&notifier->lock);
    if (notifier->has_thread)
        pthread_join(notifier->thread, NULL);
    pthread_mutex_lock(&notifier->lock);
    join_ended(notifier);
    pthread_mutex_unlock(&notifier->lock);
    if (waiting > 0 && notifier->store)
        md_log(MD_LOG_INFO, "notify", "undelivered messages kept for the next start: %d", waiting);
    else if (waiting > 0)
        md_log(MD_LOG_WARN, "notify", "messages lost for want of a state folder: %d", waiting);
    md_notify_snapshot_delete(notifier->news);
    md_notify_delete(notifier->notify);
    md_notify_config_unref(notifier->config);
    pthread_cond_destroy(&notifier->changed);
    pthread_mutex_destroy(&notifier->lock);
    free(notifier);
}

/* ---- looking and silencing ------------------------------------------------------------------- */

/* A change of the silences that is kept, and holds at once. */
static void changed(struct md_notifier *notifier)
{
    md__queue_save(notifier);
    notifier->due = true;
    pthread_cond_broadcast(&notifier->changed);
}

enum md_status md_notifier_silence_add(struct md_notifier *notifier,
                                       struct md_notify_silence *silence, struct md_error *err)
{
    pthread_mutex_lock(&notifier->lock);
    enum md_status status =
        md_notify_silence_add(notifier->notify, silence, md_now_ms(notifier->clock), err);
    if (status == MD_OK)
        changed(notifier);
    pthread_mutex_unlock(&notifier->lock);
    return status;
}

enum md_status md_notifier_silence_expire(struct md_notifier *notifier, const char *id,
                                          struct md_error *err)
{
    pthread_mutex_lock(&notifier->lock);
    enum md_status status =
        md_notify_silence_expire(notifier->notify, id, md_now_ms(notifier->clock), err);
    if (status == MD_OK)
        changed(notifier);
    pthread_mutex_unlock(&notifier->lock);
    return status;
}

void md_notifier_silence_visit(struct md_notifier *notifier,
                               bool (*visit)(void *context,
                                             const struct md_notify_silence *silence),
                               void *context)
{
    pthread_mutex_lock(&notifier->lock);
    md_notify_silence_visit(notifier->notify, visit, context);
    pthread_mutex_unlock(&notifier->lock);
}

bool md_notifier_suppressed(struct md_notifier *notifier, uint64_t fingerprint,
                            struct md_notify_suppression *why)
{
    pthread_mutex_lock(&notifier->lock);
    bool suppressed = md_notify_suppressed(notifier->notify, fingerprint, why);
    pthread_mutex_unlock(&notifier->lock);
    return suppressed;
}

void md_notifier_visit(struct md_notifier *notifier,
                       void (*visit)(void *context, const struct md_notifier_status *status),
                       void *context)
{
    pthread_mutex_lock(&notifier->lock);
    int64_t now_ns = md_monotonic_ns(notifier->clock);
    for (const struct md__target *target = notifier->targets; target; target = target->next) {
        struct md_notifier_status status = {
            .receiver = target->receiver_name,
            .target = target->name,
            .queued = target->count,
            .failing_ms =
                target->failing_since_ns != 0 ? (now_ns - target->failing_since_ns) / 1000000 : 0,
            .failure = target->failure,
        };
        visit(context, &status);
    }
    pthread_mutex_unlock(&notifier->lock);
}
