/* Copies of the engine's alerts for the notifier; see notifier.h. */
#include <stdlib.h>

#include "alert/notifier_internal.h"
#include "alert/notify_internal.h"

static const size_t text_bytes_max = (size_t)256 << 20, annotation_bytes_max = 16384;

enum md_status md_notify_snapshot_new(struct md_notify_snapshot **snapshot, struct md_error *err)
{
    *snapshot = calloc(1, sizeof **snapshot);
    if (!*snapshot)
        return md_fail(err, MD_ERR_MEMORY, "no memory for a snapshot of alerts");
    md_arena_init(&(*snapshot)->arena, text_bytes_max);
    return MD_OK;
}

void md_notify_snapshot_delete(struct md_notify_snapshot *snapshot)
{
    if (!snapshot)
        return;
    md_arena_fini(&snapshot->arena);
    free(snapshot->alerts);
    free(snapshot);
}

static const struct md_alert_label *copy_labels(struct md_arena *arena,
                                                const struct md_alert_label *labels, int count)
{
    struct md_alert_label *copy = md_arena_array(arena, (size_t)count + 1, sizeof *copy);
    for (int i = 0; copy && i < count; i++) {
        copy[i].name = md_arena_strdup(arena, labels[i].name);
        copy[i].value = md_arena_strdup(arena, labels[i].value);
        if (!copy[i].name || !copy[i].value)
            return NULL;
    }
    return copy;
}

static const struct md_alert_label *write_annotations(struct md_arena *arena,
                                                      const struct md_alert *alert, int64_t now_ms)
{
    int count = alert->rule ? alert->rule->annotation_count : 0;
    struct md_alert_label *copy = md_arena_array(arena, (size_t)count + 1, sizeof *copy);
    struct md_buffer text;
    md_buffer_init(&text, annotation_bytes_max);
    for (int i = 0; copy && i < count; i++) {
        const struct md_alert_label *annotation = &alert->rule->annotations[i];
        md_buffer_clear(&text);
        md_alert_annotate(alert, annotation->value, now_ms, &text);
        copy[i].name = md_arena_strdup(arena, annotation->name);
        copy[i].value = md_arena_strdup(arena, text.data ? text.data : "");
        if (!copy[i].name || !copy[i].value || text.failed == MD_ERR_MEMORY)
            copy = NULL;
    }
    md_buffer_fini(&text);
    return copy;
}

bool md_notify_snapshot_add(struct md_notify_snapshot *snapshot, const struct md_alert *alert,
                            int64_t now_ms)
{
    bool firing = alert->state == MD_ALERT_FIRING;
    if (!firing && !(alert->state == MD_ALERT_INACTIVE && alert->resolved_ms != 0))
        return true;
    if (!md__notify_grow((void **)&snapshot->alerts, snapshot->count, &snapshot->capacity,
                         sizeof *snapshot->alerts))
        return false;
    struct md_notify_alert copy = {
        .fingerprint = alert->fingerprint,
        .fired_ms = alert->fired_ms,
        .resolved_ms = firing ? 0 : alert->resolved_ms,
        .step_ms = alert->step_ms,
        .label_count = alert->label_count,
        .labels = copy_labels(&snapshot->arena, alert->labels, alert->label_count),
        .annotation_count = alert->rule ? alert->rule->annotation_count : 0,
        .annotations = write_annotations(&snapshot->arena, alert, now_ms),
    };
    if (!copy.labels || !copy.annotations)
        return false;
    snapshot->alerts[snapshot->count++] = copy;
    return true;
}
