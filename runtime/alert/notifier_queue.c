/*
 * Queues of messages in memory, and their copies in the store. Memory is what is sent from; the
 * store is written with each step and after each delivery, and read once, at the start.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "alert/notifier_internal.h"
#include "base/log.h"
#include "store/queue.h"

#define STATE "notify.state" /* among the small named values */

static const size_t state_bytes_max = (size_t)256 << 20;

/* ---- one queue ------------------------------------------------------------------------------- */

struct md__target *md__target_new(struct md_notifier *notifier, const char *name)
{
    struct md__target *target = calloc(1, sizeof *target);
    if (!target)
        return NULL;
    target->notifier = notifier;
    target->name = strdup(name);
    target->receiver_name = strdup(name);
    if (target->name && target->receiver_name)
        return target;
    md__target_delete(target);
    return NULL;
}

void md__target_delete(struct md__target *target)
{
    md__queue_clear(target);
    md_notify_config_unref(target->config);
    free(target->name);
    free(target->receiver_name);
    free(target);
}

enum md_status md__queue_add(struct md__target *target, const char *key, int64_t id,
                             int64_t made_ms, int alert_count, const char *body, size_t length,
                             struct md_error *err)
{
    struct md__message *message = malloc(sizeof *message + length + 1);
    if (!message)
        return md_fail(err, MD_ERR_MEMORY, "no memory for a message");
    *message = (struct md__message){
        .id = id, .made_ms = made_ms, .alert_count = alert_count, .length = length};
    size_t key_length = strnlen(key, sizeof message->key - 1);
    memcpy(message->key, key, key_length);
    message->key[key_length] = '\0';
    memcpy(message->body, body, length);
    message->body[length] = '\0';
    if (target->last)
        target->last->next = message;
    else
        target->first = message;
    target->last = message;
    target->count++;
    target->bytes += length;
    return MD_OK;
}

void md__queue_take(struct md__target *target, struct md__message *message)
{
    struct md__message *before = NULL;
    for (struct md__message *at = target->first; at != message; at = at->next)
        before = at;
    if (before)
        before->next = message->next;
    else
        target->first = message->next;
    if (target->last == message)
        target->last = before;
    target->count--;
    target->bytes -= message->length;
}

void md__queue_clear(struct md__target *target)
{
    while (target->first) {
        struct md__message *message = target->first;
        md__queue_take(target, message);
        free(message);
    }
}

/* The one that is being sent stays, whatever it is. */
int md__queue_cap(struct md__target *target)
{
    struct md_store *store = target->notifier->store;
    int dropped = 0;
    while (target->count > MD_NOTIFIER_QUEUE_MAX ||
           (target->bytes > MD_NOTIFIER_QUEUE_BYTES_MAX && target->count > 1)) {
        struct md__message *oldest = target->first;
        if (oldest->sending)
            oldest = oldest->next;
        if (!oldest)
            break;
        md__queue_take(target, oldest);
        if (store && oldest->stored)
            md_store_queue_remove(store, oldest->id, NULL);
        free(oldest);
        dropped++;
    }
    return dropped;
}

/* ---- the store ------------------------------------------------------------------------------- */

static struct md__target *find_or_make(struct md_notifier *notifier, const char *name)
{
    struct md__target **at = &notifier->targets;
    for (; *at; at = &(*at)->next)
        if (strcmp((*at)->name, name) == 0)
            return *at;
    *at = md__target_new(notifier, name);
    return *at;
}

static enum md_status load_one(void *context, const struct md_store_message *message,
                               struct md_error *err)
{
    struct md_notifier *notifier = context;
    struct md__target *target = find_or_make(notifier, message->target);
    if (!target)
        return md_fail(err, MD_ERR_MEMORY, "no memory for a queue");
    enum md_status status =
        md__queue_add(target, message->key, message->id, message->made_ms, message->alert_count,
                      message->bytes > 0 ? message->body : "", message->bytes, err);
    if (status != MD_OK)
        return status;
    target->last->stored = true;
    if (message->id >= notifier->next_id)
        notifier->next_id = message->id + 1;
    return MD_OK;
}

enum md_status md__queue_load(struct md_notifier *notifier, struct md_error *err)
{
    struct md_error why;
    char *state = NULL;
    size_t bytes = 0;
    if (!notifier->store)
        return MD_OK;
    enum md_status status = md_store_get_value(notifier->store, STATE, &state, &bytes, &why);
    if (status == MD_OK)
        status = md_notify_restore(notifier->notify, state, bytes, &why);
    free(state);
    if (status != MD_OK && status != MD_ERR_NOT_FOUND)
        md_log(MD_LOG_ERROR, "notify", "%s: silences and what was told are forgotten", why.text);
    if (status == MD_ERR_MEMORY)
        return md_fail(err, status, "%s", why.text);
    return md_store_queue_read(notifier->store, notifier, load_one, err);
}

/* The messages that the store lacks; NULL: no memory. */
static struct md_store_message *list_unstored(const struct md_notifier *notifier, int *count)
{
    int total = 0;
    for (const struct md__target *target = notifier->targets; target; target = target->next)
        total += target->count;
    struct md_store_message *list = calloc((size_t)total + 1, sizeof *list);
    *count = 0;
    for (const struct md__target *target = notifier->targets; list && target;
         target = target->next) {
        for (const struct md__message *message = target->first; message; message = message->next) {
            if (message->stored)
                continue;
            list[(*count)++] = (struct md_store_message){.id = message->id,
                                                         .target = target->name,
                                                         .key = message->key,
                                                         .made_ms = message->made_ms,
                                                         .alert_count = message->alert_count,
                                                         .body = message->body,
                                                         .bytes = message->length};
        }
    }
    return list;
}

void md__queue_save(struct md_notifier *notifier)
{
    struct md_buffer state;
    struct md_error err;
    int count = 0;
    if (!notifier->store) {
        notifier->unsaved = false;
        return;
    }
    md_buffer_init(&state, state_bytes_max);
    struct md_store_message *list = list_unstored(notifier, &count);
    enum md_status status = list ? md_notify_save(notifier->notify, &state, &err)
                                 : md_fail(&err, MD_ERR_MEMORY, "no memory to keep messages");
    if (status == MD_OK)
        status =
            md_store_queue_put(notifier->store, STATE, state.data, state.length, list, count, &err);
    for (struct md__target *target = notifier->targets; status == MD_OK && target;
         target = target->next)
        for (struct md__message *message = target->first; message; message = message->next)
            message->stored = true;
    if (status != MD_OK && !notifier->unsaved)
        md_log(MD_LOG_ERROR, "notify", "messages are kept in memory only: %s", err.text);
    notifier->unsaved = status != MD_OK;
    free(list);
    md_buffer_fini(&state);
}
