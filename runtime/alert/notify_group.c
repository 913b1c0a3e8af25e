/*
 * Grouped receivers, after Alertmanager's aggregation groups. A group begins with its first firing
 * alert that is sent at all, looks after group_wait_ms (at once when that alert has fired for
 * longer) and from then on every group_interval_ms. A look makes a message when
 *
 *     an alert fires that the last message did not name as firing, or
 *     nothing fires any more of what was told, or
 *     something told has resolved (send_resolved), or
 *     repeat_ms have passed since the last message.
 *
 * What has resolved leaves the group with that look; an empty group ends.
 */
#include <stdlib.h>
#include <string.h>

#include "alert/notify_internal.h"
#include "base/json_out.h"

static const size_t body_bytes_max = (size_t)16 << 20, key_bytes_max = (size_t)64 << 10;

static enum md_status no_memory(struct md__notify_plan *plan)
{
    return md_fail(plan->err, MD_ERR_MEMORY, "no memory for notifications");
}

/* ---- which group ----------------------------------------------------------------------------- */

static bool is_one_each(const struct md_notify_receiver *receiver)
{
    return receiver->group_by_count == 1 && strcmp(receiver->group_by[0], "...") == 0;
}

int md__notify_group_labels(const struct md_notify_receiver *receiver,
                            const struct md_notify_alert *alert, struct md_alert_label *labels,
                            int size)
{
    int count = 0;
    for (int i = 0; i < alert->label_count && count < size; i++) {
        bool wanted = is_one_each(receiver);
        for (int k = 0; k < receiver->group_by_count && !wanted; k++)
            wanted = strcmp(receiver->group_by[k], alert->labels[i].name) == 0;
        if (wanted)
            labels[count++] = alert->labels[i];
    }
    return count;
}

static void write_matcher(struct md_buffer *key, const struct md_alert_label *matcher)
{
    const char *text = matcher->value;
    const char *operator= * text == '!' ? (text[1] == '~' ? "!~" : "!=")
    : * text == '~'                     ? "=~"
                                        : "=";
    text += *text == '!';
    text += *text == '~' || (*text == '=' && matcher->value[0] != '!');
    md_buffer_printf(key, "%s%s", matcher->name, operator);
    md_json_string(key, text, strlen(text));
}

/* {}/{severity="critical"}:{alertname="x"} */
static void write_key(struct md_buffer *key, const struct md_notify_receiver *receiver,
                      const struct md_alert_label *labels, int count)
{
    md_buffer_text(key, receiver->match.count > 0 ? "{}/{" : "{}");
    for (int i = 0; i < receiver->match.count; i++) {
        md_buffer_text(key, i > 0 ? "," : "");
        write_matcher(key, &receiver->match.texts[i]);
    }
    md_buffer_text(key, receiver->match.count > 0 ? "}:{" : ":{");
    for (int i = 0; i < count; i++) {
        md_buffer_printf(key, "%s%s=", i > 0 ? ", " : "", labels[i].name);
        md_json_string(key, labels[i].value, strlen(labels[i].value));
    }
    md_buffer_text(key, "}");
}

/* ---- members --------------------------------------------------------------------------------- */

static struct md__notify_member *find_member(const struct md__notify_group *group,
                                             uint64_t fingerprint)
{
    for (int i = 0; i < group->count; i++)
        if (group->members[i].fingerprint == fingerprint)
            return &group->members[i];
    return NULL;
}

bool md__notify_is_grouped(const struct md_notify *notify, uint64_t fingerprint)
{
    for (int i = 0; i < notify->target_count; i++)
        for (int k = 0; k < notify->targets[i].group_count; k++)
            if (find_member(&notify->targets[i].groups[k], fingerprint))
                return true;
    return false;
}

static struct md__notify_group *get_group(struct md__notify_plan *plan,
                                          struct md__notify_target *target, const char *key,
                                          int64_t wait_ms)
{
    uint64_t hash = md__notify_hash(MD__NOTIFY_HASH, key);
    for (int i = 0; i < target->group_count; i++)
        if (target->groups[i].hash == hash && strcmp(target->groups[i].key, key) == 0)
            return &target->groups[i];
    if (!md__notify_grow((void **)&target->groups, target->group_count, &target->group_capacity,
                         sizeof *target->groups))
        return NULL;
    struct md__notify_group *group = &target->groups[target->group_count];
    *group = (struct md__notify_group){
        .key = strdup(key), .hash = hash, .next_ms = plan->now_ms + wait_ms};
    target->group_count += group->key != NULL;
    return group->key ? group : NULL;
}

static enum md_status join(struct md__notify_plan *plan, int receiver,
                           const struct md__notify_record *record)
{
    const struct md_notify_receiver *spec = &plan->notify->config->settings.receivers[receiver];
    struct md_alert_label labels[2 * MD_ALERT_LABELS_MAX];
    struct md_buffer key;
    md_buffer_init(&key, key_bytes_max);
    int count = md__notify_group_labels(spec, &record->alert, labels, 2 * MD_ALERT_LABELS_MAX);
    write_key(&key, spec, labels, count);
    struct md__notify_group *group = NULL;
    if (!key.failed)
        group = get_group(plan, &plan->notify->targets[receiver], key.data, spec->group_wait_ms);
    md_buffer_fini(&key);
    if (!group)
        return no_memory(plan);
    struct md__notify_member *member = find_member(group, record->alert.fingerprint);
    if (member) {
        member->fits = true;
        return MD_OK;
    }
    if (!md__notify_grow((void **)&group->members, group->count, &group->capacity,
                         sizeof *group->members))
        return no_memory(plan);
    group->members[group->count++] =
        (struct md__notify_member){.fingerprint = record->alert.fingerprint, .fits = true};
    plan->notify->dirty = true;
    if (!group->has_flushed && record->alert.fired_ms + spec->group_wait_ms < plan->now_ms)
        group->next_ms = plan->now_ms;
    return MD_OK;
}

/* Firing alerts that another setting of groups or matchers has put elsewhere. */
static void leave(const struct md_notify *notify, struct md__notify_group *group)
{
    int kept = 0;
    for (int i = 0; i < group->count; i++) {
        struct md__notify_member member = group->members[i];
        const struct md__notify_record *record = md__notify_record(notify, member.fingerprint);
        if (member.fits || !record || record->alert.resolved_ms != 0 || record->is_suppressed)
            group->members[kept++] = member;
    }
    group->count = kept;
}

static void clear_fits(struct md__notify_target *target)
{
    for (int i = 0; i < target->group_count; i++)
        for (int k = 0; k < target->groups[i].count; k++)
            target->groups[i].members[k].fits = false;
}

static enum md_status join_all(struct md__notify_plan *plan, int receiver)
{
    const struct md_notify *notify = plan->notify;
    struct md__notify_target *target = &plan->notify->targets[receiver];
    clear_fits(target);
    const struct md_notify_matchers *match = notify->config->match[receiver];
    enum md_status status = MD_OK;
    for (int i = 0; i < notify->record_count && status == MD_OK; i++) {
        const struct md__notify_record *record = &notify->records[i];
        const struct md_notify_alert *alert = &record->alert;
        if (alert->resolved_ms == 0 && !record->is_suppressed &&
            md_notify_matchers_match(match, alert->labels, alert->label_count))
            status = join(plan, receiver, record);
    }
    for (int i = 0; i < target->group_count && status == MD_OK; i++)
        leave(notify, &target->groups[i]);
    return status;
}

/* ---- a look ---------------------------------------------------------------------------------- */

struct look {
    const struct md__notify_record **records; /* to be told: firing ones, then resolved ones */
    int firing, resolved;
    bool is_new; /* something fires that was not noted */
};

/* Longest first; of equal ones the order stays the same. */
static int by_age(const void *a, const void *b)
{
    const struct md_notify_alert *first = &(*(const struct md__notify_record *const *)a)->alert;
    const struct md_notify_alert *second = &(*(const struct md__notify_record *const *)b)->alert;
    if (first->fired_ms != second->fired_ms)
        return first->fired_ms < second->fired_ms ? -1 : 1;
    return first->fingerprint < second->fingerprint ? -1 : 1;
}

static bool is_over(const struct md__notify_record *record)
{
    return !record || record->alert.resolved_ms != 0;
}

static void collect(const struct md_notify *notify, const struct md__notify_group *group,
                    struct look *look)
{
    int resolved = 0;
    for (int i = 0; i < group->count; i++) {
        const struct md__notify_member *member = &group->members[i];
        const struct md__notify_record *record = md__notify_record(notify, member->fingerprint);
        if (is_over(record) || record->is_suppressed)
            continue;
        look->records[look->firing++] = record;
        look->is_new |= !member->noted;
    }
    for (int i = 0; i < group->count; i++) {
        const struct md__notify_member *member = &group->members[i];
        const struct md__notify_record *record = md__notify_record(notify, member->fingerprint);
        if (record && is_over(record) && member->told)
            look->records[look->firing + resolved++] = record;
    }
    look->resolved = resolved;
    qsort(look->records, (size_t)look->firing, sizeof *look->records, by_age);
    qsort(look->records + look->firing, (size_t)resolved, sizeof *look->records, by_age);
}

static bool is_worth_telling(const struct md__notify_plan *plan, int receiver,
                             const struct md__notify_group *group, const struct look *look)
{
    const struct md_notify_receiver *spec = &plan->notify->config->settings.receivers[receiver];
    if (look->firing == 0)
        return look->resolved > 0;
    if (look->is_new || (spec->send_resolved && look->resolved > 0))
        return true;
    return group->notified_ms + spec->repeat_ms <= plan->now_ms &&
           plan->sink->pending(plan->sink->context, receiver) == 0;
}

static enum md_status tell(struct md__notify_plan *plan, int receiver,
                           const struct md__notify_group *group, const struct look *look)
{
    const struct md_notify_config *config = plan->notify->config;
    const struct md_notify_receiver *spec = &config->settings.receivers[receiver];
    int count = look->firing + (spec->send_resolved ? look->resolved : 0);
    int told = spec->alerts_max > 0 && count > spec->alerts_max ? spec->alerts_max : count;
    char key[MD_NOTIFY_KEY_BYTES];
    struct md_buffer body;
    if (count == 0)
        return MD_OK;
    md_buffer_init(&body, body_bytes_max);
    md__notify_key(plan, spec->target, group->key, key);
    md__notify_body_webhook(&body, config, spec, group->key, look->records, told, count - told);
    enum md_status status = md__notify_emit(plan, receiver, key, &body, count);
    md_buffer_fini(&body);
    return status;
}

static void note(const struct md__notify_plan *plan, struct md__notify_group *group)
{
    for (int i = 0; i < group->count; i++) {
        struct md__notify_member *member = &group->members[i];
        const struct md__notify_record *record =
            md__notify_record(plan->notify, member->fingerprint);
        member->noted = !is_over(record) && !record->is_suppressed;
        member->told |= member->noted;
    }
    group->notified_ms = plan->now_ms;
}

static void drop_members(const struct md_notify *notify, struct md__notify_group *group)
{
    int kept = 0;
    for (int i = 0; i < group->count; i++)
        if (!is_over(md__notify_record(notify, group->members[i].fingerprint)))
            group->members[kept++] = group->members[i];
    group->count = kept;
}

static enum md_status flush(struct md__notify_plan *plan, int receiver,
                            struct md__notify_group *group)
{
    const struct md_notify_receiver *spec = &plan->notify->config->settings.receivers[receiver];
    struct look look = {.records = calloc((size_t)group->count + 1, sizeof *look.records)};
    enum md_status status = MD_OK;
    if (!look.records)
        return no_memory(plan);
    collect(plan->notify, group, &look);
    if (is_worth_telling(plan, receiver, group, &look)) {
        status = tell(plan, receiver, group, &look);
        if (status == MD_OK)
            note(plan, group);
    }
    free(look.records);
    if (status != MD_OK)
        return status;
    drop_members(plan->notify, group);
    group->has_flushed = true;
    group->next_ms = plan->now_ms + spec->group_interval_ms;
    plan->notify->dirty = true;
    return MD_OK;
}

/* Also when the clock was set back, which would put it off for as long. */
static bool is_due(const struct md__notify_plan *plan, int receiver,
                   const struct md__notify_group *group)
{
    const struct md_notify_receiver *spec = &plan->notify->config->settings.receivers[receiver];
    int64_t left_ms = group->next_ms - plan->now_ms;
    return left_ms <= 0 || (left_ms > spec->group_wait_ms && left_ms > spec->group_interval_ms);
}

enum md_status md__notify_grouped(struct md__notify_plan *plan, int receiver)
{
    struct md__notify_target *target = &plan->notify->targets[receiver];
    enum md_status status = join_all(plan, receiver);
    int kept = 0, index = 0;
    for (; index < target->group_count && status == MD_OK; index++) {
        struct md__notify_group *group = &target->groups[index];
        if (group->count > 0 && is_due(plan, receiver, group))
            status = flush(plan, receiver, group);
        if (group->count == 0)
            md__notify_group_fini(group);
        else
            target->groups[kept++] = *group;
    }
    for (; index < target->group_count; index++)
        target->groups[kept++] = target->groups[index];
    target->group_count = kept;
    return status;
}

int64_t md__notify_grouped_next(const struct md_notify *notify, int receiver)
{
    int64_t next_ms = INT64_MAX;
    for (int i = 0; i < notify->targets[receiver].group_count; i++)
        if (notify->targets[receiver].groups[i].next_ms < next_ms)
            next_ms = notify->targets[receiver].groups[i].next_ms;
    return next_ms;
}
