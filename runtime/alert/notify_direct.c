/*
 * Direct receivers: each alert by itself, at once; to an Alertmanager again and again while it
 * fires and for 15 minutes after (Prometheus' needsSending). A mark says what was told of an alert;
 * with messages still under way nothing is repeated, since those tell it already.
 */
#include <stdlib.h>
#include <string.h>

#include "alert/notify_internal.h"

static const size_t body_bytes_max = (size_t)16 << 20;

static struct md__notify_mark *find_mark(const struct md__notify_target *target,
                                         uint64_t fingerprint, int *place)
{
    int low = 0, high = target->mark_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (target->marks[middle].fingerprint < fingerprint)
            low = middle + 1;
        else
            high = middle;
    }
    *place = low;
    return low < target->mark_count && target->marks[low].fingerprint == fingerprint
               ? &target->marks[low]
               : NULL;
}

/* After telling it; grows the list before anything is told. */
static bool set_mark(struct md__notify_target *target, const struct md_notify_alert *alert,
                     int64_t now_ms)
{
    int place;
    struct md__notify_mark *mark = find_mark(target, alert->fingerprint, &place);
    if (!mark) {
        if (!md__notify_grow((void **)&target->marks, target->mark_count, &target->mark_capacity,
                             sizeof *target->marks))
            return false;
        mark = &target->marks[place];
        memmove(mark + 1, mark, (size_t)(target->mark_count++ - place) * sizeof *mark);
    }
    *mark = (struct md__notify_mark){.fingerprint = alert->fingerprint,
                                     .fired_ms = alert->fired_ms,
                                     .sent_ms = now_ms,
                                     .resolved = alert->resolved_ms != 0};
    return true;
}

/* When it is to be told, as far as it was before; INT64_MAX: not again. */
static int64_t due_ms(const struct md_notify_receiver *receiver,
                      const struct md__notify_target *target,
                      const struct md__notify_record *record)
{
    int place;
    const struct md_notify_alert *alert = &record->alert;
    const struct md__notify_mark *mark = find_mark(target, alert->fingerprint, &place);
    bool told = mark && mark->fired_ms == alert->fired_ms;
    if (alert->resolved_ms != 0 ? !told || !receiver->send_resolved : record->is_suppressed)
        return INT64_MAX;
    if (!told || mark->resolved != (alert->resolved_ms != 0))
        return 0;
    if (receiver->kind != MD_NOTIFY_ALERTMANAGER)
        return INT64_MAX;
    int64_t again_ms = mark->sent_ms + receiver->resend_ms;
    bool over = alert->resolved_ms != 0 && again_ms >= alert->resolved_ms + MD_ALERT_RESOLVED_MS;
    return over ? INT64_MAX : again_ms;
}

static bool is_due(const struct md__notify_plan *plan, int receiver, bool repeats,
                   const struct md__notify_record *record)
{
    const struct md_notify_config *config = plan->notify->config;
    const struct md_notify_alert *alert = &record->alert;
    const struct md_notify_receiver *spec = &config->settings.receivers[receiver];
    int64_t at_ms = due_ms(spec, &plan->notify->targets[receiver], record);
    if (at_ms != INT64_MAX && at_ms - plan->now_ms > spec->resend_ms)
        at_ms = plan->now_ms; /* the clock was set back */
    return at_ms <= plan->now_ms && (at_ms == 0 || repeats) &&
           md_notify_matchers_match(config->match[receiver], alert->labels, alert->label_count);
}

static enum md_status send_batch(struct md__notify_plan *plan, int receiver,
                                 const struct md__notify_record *const *records, int count)
{
    const struct md_notify_config *config = plan->notify->config;
    const struct md_notify_receiver *spec = &config->settings.receivers[receiver];
    struct md__notify_target *target = &plan->notify->targets[receiver];
    char key[MD_NOTIFY_KEY_BYTES];
    struct md_buffer body;
    if (count == 0)
        return MD_OK;
    md_buffer_init(&body, body_bytes_max);
    md__notify_key(plan, spec->target, "", key);
    if (spec->kind == MD_NOTIFY_ALERTMANAGER)
        md__notify_body_alertmanager(&body, config, spec, records, count, plan->now_ms);
    else
        md__notify_body_lines(&body, config, spec, records, count, key);
    enum md_status status = md__notify_emit(plan, receiver, key, &body, count);
    for (int i = 0; i < count && status == MD_OK; i++)
        if (!set_mark(target, &records[i]->alert, plan->now_ms))
            status = md_fail(plan->err, MD_ERR_MEMORY, "no memory for notifications");
    md_buffer_fini(&body);
    return status;
}

/* Marks of alerts that are forgotten. */
static void drop_marks(const struct md_notify *notify, struct md__notify_target *target)
{
    int kept = 0;
    for (int i = 0; i < target->mark_count; i++)
        if (md__notify_find(notify, target->marks[i].fingerprint) >= 0)
            target->marks[kept++] = target->marks[i];
    target->mark_count = kept;
}

enum md_status md__notify_direct(struct md__notify_plan *plan, int receiver)
{
    const struct md_notify *notify = plan->notify;
    const struct md__notify_record *batch[MD_NOTIFY_BATCH];
    bool repeats = plan->sink->pending(plan->sink->context, receiver) == 0;
    enum md_status status = MD_OK;
    int count = 0;
    drop_marks(notify, &plan->notify->targets[receiver]);
    for (int i = 0; i < notify->record_count && status == MD_OK; i++) {
        if (!is_due(plan, receiver, repeats, &notify->records[i]))
            continue;
        batch[count++] = &notify->records[i];
        if (count < MD_NOTIFY_BATCH)
            continue;
        status = send_batch(plan, receiver, batch, count);
        count = 0;
    }
    return status == MD_OK ? send_batch(plan, receiver, batch, count) : status;
}

int64_t md__notify_direct_next(const struct md_notify *notify, int receiver)
{
    const struct md_notify_receiver *spec = &notify->config->settings.receivers[receiver];
    int64_t next_ms = INT64_MAX;
    for (int i = 0; i < notify->targets[receiver].mark_count; i++) {
        const struct md__notify_mark *mark = &notify->targets[receiver].marks[i];
        const struct md__notify_record *record = md__notify_record(notify, mark->fingerprint);
        int64_t at_ms = record ? due_ms(spec, &notify->targets[receiver], record) : INT64_MAX;
        if (at_ms < next_ms)
            next_ms = at_ms;
    }
    return next_ms;
}
