/*
 * The notifier's memory of alerts, and the step: take over what the snapshot says, find what is
 * suppressed, let each receiver's planner (notify_direct.c, notify_group.c) say what is due, forget
 * what nobody needs any more.
 */
#include "alert/notify.h"

#include <stdlib.h>
#include <string.h>

#include "alert/notify_internal.h"

#define NEXT_MS_MAX ((int64_t)60000)

/* ---- life ------------------------------------------------------------------------------------ */

enum md_status md_notify_new(struct md_notify **notify, struct md_error *err)
{
    *notify = calloc(1, sizeof **notify);
    return *notify ? MD_OK : md_fail(err, MD_ERR_MEMORY, "no memory for notifications");
}

void md__notify_group_fini(struct md__notify_group *group)
{
    free(group->key);
    free(group->members);
}

void md__notify_target_fini(struct md__notify_target *target)
{
    for (int i = 0; i < target->group_count; i++)
        md__notify_group_fini(&target->groups[i]);
    free(target->groups);
    free(target->marks);
    free(target->name);
}

void md_notify_delete(struct md_notify *notify)
{
    if (!notify)
        return;
    for (int i = 0; i < notify->record_count; i++)
        free(notify->records[i].memory);
    for (int i = 0; i < notify->target_count; i++)
        md__notify_target_fini(&notify->targets[i]);
    for (int i = 0; i < notify->silence_count; i++)
        md__notify_silenced_fini(&notify->silences[i]);
    free(notify->records);
    free(notify->targets);
    free(notify->silences);
    md_notify_config_unref(notify->config);
    free(notify);
}

static struct md__notify_target *find_target(struct md_notify *notify,
                                             const struct md_notify_receiver *receiver)
{
    for (int i = 0; i < notify->target_count; i++)
        if (notify->targets[i].name && strcmp(notify->targets[i].name, receiver->target) == 0 &&
            notify->targets[i].kind == receiver->kind)
            return &notify->targets[i];
    return NULL;
}

/* All names first: what fails then has changed nothing. */
static bool name_targets(const struct md_notify_settings *settings,
                         struct md__notify_target *targets)
{
    bool named = true;
    for (int i = 0; i < settings->receiver_count; i++) {
        targets[i].name = strdup(settings->receivers[i].target);
        targets[i].kind = settings->receivers[i].kind;
        named &= targets[i].name != NULL;
    }
    for (int i = 0; !named && i < settings->receiver_count; i++)
        free(targets[i].name);
    return named;
}

enum md_status md_notify_set_config(struct md_notify *notify, struct md_notify_config *config,
                                    struct md_error *err)
{
    const struct md_notify_settings *settings = &config->settings;
    struct md__notify_target *targets =
        calloc((size_t)settings->receiver_count + 1, sizeof *targets);
    if (!targets || !name_targets(settings, targets)) {
        free(targets);
        return md_fail(err, MD_ERR_MEMORY, "no memory for notifications");
    }
    for (int i = 0; i < settings->receiver_count; i++) {
        struct md__notify_target *before = find_target(notify, &settings->receivers[i]);
        if (!before)
            continue;
        free(targets[i].name);
        targets[i] = *before;
        *before = (struct md__notify_target){0};
    }
    for (int i = 0; i < notify->target_count; i++)
        md__notify_target_fini(&notify->targets[i]);
    free(notify->targets);
    notify->targets = targets;
    notify->target_count = settings->receiver_count;
    md_notify_config_ref(config);
    md_notify_config_unref(notify->config);
    notify->config = config;
    return MD_OK;
}

/* ---- records --------------------------------------------------------------------------------- */

bool md__notify_grow(void **array, int count, int *capacity, size_t size)
{
    if (count < *capacity)
        return true;
    int larger = *capacity > 0 ? *capacity * 2 : 8;
    void *grown = reallocarray(*array, (size_t)larger, size);
    if (!grown)
        return false;
    *array = grown;
    *capacity = larger;
    return true;
}

int md__notify_find(const struct md_notify *notify, uint64_t fingerprint)
{
    int low = 0, high = notify->record_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        uint64_t found = notify->records[middle].alert.fingerprint;
        if (found == fingerprint)
            return middle;
        if (found < fingerprint)
            low = middle + 1;
        else
            high = middle;
    }
    return -1 - low;
}

struct md__notify_record *md__notify_record(const struct md_notify *notify, uint64_t fingerprint)
{
    int index = md__notify_find(notify, fingerprint);
    return index >= 0 ? &notify->records[index] : NULL;
}

static size_t text_bytes(const struct md_alert_label *labels, int count)
{
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += strlen(labels[i].name) + strlen(labels[i].value) + 2;
    return bytes;
}

static void copy_labels(struct md_alert_label *to, const struct md_alert_label *from, int count,
                        char **text)
{
    for (int i = 0; i < count; i++) {
        to[i].name = *text;
        *text = stpcpy(*text, from[i].name) + 1;
        to[i].value = *text;
        *text = stpcpy(*text, from[i].value) + 1;
    }
}

bool md__notify_copy(const struct md_notify_alert *alert, struct md__notify_record *record)
{
    size_t count = (size_t)alert->label_count + (size_t)alert->annotation_count;
    size_t bytes = count * sizeof(struct md_alert_label) +
                   text_bytes(alert->labels, alert->label_count) +
                   text_bytes(alert->annotations, alert->annotation_count);
    struct md_alert_label *labels = malloc(bytes + 1);
    if (!labels)
        return false;
    char *text = (char *)(labels + count);
    copy_labels(labels, alert->labels, alert->label_count, &text);
    copy_labels(labels + alert->label_count, alert->annotations, alert->annotation_count, &text);
    record->alert = *alert;
    record->alert.labels = labels;
    record->alert.annotations = labels + alert->label_count;
    record->memory = labels;
    return true;
}

static bool same_texts(const struct md_alert_label *a, const struct md_alert_label *b, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(a[i].name, b[i].name) != 0 || strcmp(a[i].value, b[i].value) != 0)
            return false;
    return true;
}

static bool same(const struct md_notify_alert *a, const struct md_notify_alert *b)
{
    return a->fired_ms == b->fired_ms && a->resolved_ms == b->resolved_ms &&
           a->step_ms == b->step_ms && a->label_count == b->label_count &&
           a->annotation_count == b->annotation_count &&
           same_texts(a->labels, b->labels, a->label_count) &&
           same_texts(a->annotations, b->annotations, a->annotation_count);
}

static bool insert(struct md_notify *notify, const struct md_notify_alert *alert, int place)
{
    struct md__notify_record made = {.seen = true};
    if (!md__notify_grow((void **)&notify->records, notify->record_count, &notify->record_capacity,
                         sizeof *notify->records) ||
        !md__notify_copy(alert, &made))
        return false;
    memmove(&notify->records[place + 1], &notify->records[place],
            (size_t)(notify->record_count++ - place) * sizeof made);
    notify->records[place] = made;
    return true;
}

/* A resolved alert keeps the annotations that it had while it fired. */
static bool update(struct md_notify *notify, struct md__notify_record *record,
                   const struct md_notify_alert *alert)
{
    record->seen = true;
    if (same(&record->alert, alert))
        return true;
    notify->dirty = true;
    if (alert->resolved_ms != 0 && alert->fired_ms == record->alert.fired_ms) {
        record->alert.resolved_ms = alert->resolved_ms;
        return true;
    }
    struct md__notify_record made = *record;
    if (!md__notify_copy(alert, &made))
        return false;
    free(record->memory);
    *record = made;
    return true;
}

/* What was never seen firing and has resolved concerns nobody. */
static bool take(struct md_notify *notify, const struct md_notify_alert *alert)
{
    int place = md__notify_find(notify, alert->fingerprint);
    if (place >= 0)
        return update(notify, &notify->records[place], alert);
    if (alert->resolved_ms != 0)
        return true;
    notify->dirty = true;
    return insert(notify, alert, -1 - place);
}

static enum md_status take_all(struct md_notify *notify, int64_t now_ms,
                               const struct md_notify_alert *alerts, int count,
                               struct md_error *err)
{
    if (count < 0)
        return MD_OK;
    for (int i = 0; i < notify->record_count; i++)
        notify->records[i].seen = false;
    for (int i = 0; i < count; i++)
        if (!take(notify, &alerts[i]))
            return md_fail(err, MD_ERR_MEMORY, "no memory for notifications");
    for (int i = 0; i < notify->record_count; i++) {
        struct md__notify_record *record = &notify->records[i];
        if (!record->seen && record->alert.resolved_ms == 0) {
            record->alert.resolved_ms = now_ms;
            notify->dirty = true;
        }
    }
    return MD_OK;
}

/* Resolved so long ago that nobody is told again, and in no group that has yet to look. */
static void forget(struct md_notify *notify, int64_t now_ms)
{
    int kept = 0;
    for (int i = 0; i < notify->record_count; i++) {
        struct md__notify_record *record = &notify->records[i];
        bool over = record->alert.resolved_ms != 0 &&
                    now_ms - record->alert.resolved_ms >= MD_ALERT_RESOLVED_MS &&
                    !md__notify_is_grouped(notify, record->alert.fingerprint);
        if (over)
            free(record->memory);
        else
            notify->records[kept++] = *record;
    }
    notify->dirty |= kept < notify->record_count;
    notify->record_count = kept;
}

/* ---- the step -------------------------------------------------------------------------------- */

static bool is_grouped(enum md_notify_kind kind)
{
    return kind == MD_NOTIFY_WEBHOOK;
}

enum md_status md_notify_step(struct md_notify *notify, int64_t now_ms,
                              const struct md_notify_alert *alerts, int count,
                              const struct md_notify_sink *sink, bool *changed,
                              struct md_error *err)
{
    struct md__notify_plan plan = {notify, now_ms, sink, err};
    notify->dirty = false;
    enum md_status status = take_all(notify, now_ms, alerts, count, err);
    if (status == MD_OK && !md__notify_suppress(notify, now_ms))
        status = md_fail(err, MD_ERR_MEMORY, "no memory for notifications");
    for (int i = 0; i < notify->target_count && status == MD_OK; i++)
        status = is_grouped(notify->targets[i].kind) ? md__notify_grouped(&plan, i)
                                                     : md__notify_direct(&plan, i);
    if (status == MD_OK)
        forget(notify, now_ms);
    if (changed)
        *changed = notify->dirty;
    return status;
}

static void lower(int64_t *value, int64_t other)
{
    if (other < *value)
        *value = other;
}

int64_t md_notify_next_ms(const struct md_notify *notify, int64_t now_ms)
{
    int64_t next_ms = (now_ms / NEXT_MS_MAX + 1) * NEXT_MS_MAX; /* windows open on a minute */
    for (int i = 0; i < notify->silence_count; i++) {
        const struct md_notify_silence *silence = &notify->silences[i].silence;
        if (silence->starts_ms > now_ms)
            lower(&next_ms, silence->starts_ms);
        if (silence->ends_ms > now_ms)
            lower(&next_ms, silence->ends_ms);
    }
    for (int i = 0; i < notify->target_count; i++)
        lower(&next_ms, is_grouped(notify->targets[i].kind) ? md__notify_grouped_next(notify, i)
                                                            : md__notify_direct_next(notify, i));
    return next_ms;
}

bool md_notify_suppressed(const struct md_notify *notify, uint64_t fingerprint,
                          struct md_notify_suppression *why)
{
    const struct md__notify_record *record = md__notify_record(notify, fingerprint);
    if (!record || !record->is_suppressed)
        return false;
    *why = record->why;
    return true;
}

/* ---- messages -------------------------------------------------------------------------------- */

uint64_t md__notify_hash(uint64_t hash, const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text;; at++) {
        hash = (hash ^ *at) * 0x100000001b3ULL;
        if (*at == '\0')
            return hash;
    }
}

/* The number alone is unique while the memory lasts; target, group and time, should it be lost. */
void md__notify_key(struct md__notify_plan *plan, const char *target, const char *group,
                    char key[MD_NOTIFY_KEY_BYTES])
{
    uint64_t hash = md__notify_hash(md__notify_hash(MD__NOTIFY_HASH, target), group);
    struct md_buffer text;
    md_buffer_init_fixed(&text, key, MD_NOTIFY_KEY_BYTES);
    md_buffer_printf(&text, "%016llx-%lld-%lld", (unsigned long long)hash, (long long)plan->now_ms,
                     (long long)++plan->notify->sequence);
}

enum md_status md__notify_emit(struct md__notify_plan *plan, int receiver, const char *key,
                               struct md_buffer *body, int alert_count)
{
    enum md_status status = md_buffer_check(body, plan->err);
    if (status != MD_OK)
        return status;
    struct md_notify_message message = {.receiver = receiver,
                                        .key = key,
                                        .alert_count = alert_count,
                                        .body = body->data,
                                        .body_length = body->length};
    plan->notify->dirty = true;
    return plan->sink->message(plan->sink->context, &message, plan->err);
}
