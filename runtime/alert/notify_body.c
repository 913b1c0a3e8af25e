/*
 * What receivers get to read.
 *
 * Alertmanager: the list that POST /api/v2/alerts takes (api/v2/openapi.yaml, postableAlerts), with
 * the times of Prometheus: startsAt when it fired, endsAt of a firing one as far ahead as four
 * missed resends or evaluations, so that it ends by itself should we fall silent. Webhook: version
 * 4 of Alertmanager's body (notify/webhook, template.Data). File and standard output: the webhook's
 * alert object with the receiver's name and the key, a line each.
 */
#include <string.h>

#include "alert/notify_internal.h"
#include "base/json_out.h"
#include "base/timestamp.h"

static void write_text(struct md_buffer *out, const char *text)
{
    md_json_string(out, text, strlen(text));
}

static void write_time(struct md_buffer *out, const char *name, int64_t ms)
{
    char text[MD_TIMESTAMP_BYTES];
    md_timestamp_format(ms, text);
    md_buffer_printf(out, ",\"%s\":\"%s\"", name, text);
}

static void write_labels(struct md_buffer *out, const char *name,
                         const struct md_alert_label *labels, int count)
{
    md_buffer_printf(out, "\"%s\":{", name);
    for (int i = 0; i < count; i++) {
        md_buffer_text(out, i > 0 ? "," : "");
        write_text(out, labels[i].name);
        md_buffer_text(out, ":");
        write_text(out, labels[i].value);
    }
    md_buffer_text(out, "}");
}

/* Where the alert can be looked at; nothing without an address of ours. */
static void write_generator(struct md_buffer *out, const struct md_notify_config *config)
{
    const char *base = config->settings.external_url;
    struct md_buffer url;
    char memory[600];
    md_buffer_init_fixed(&url, memory, sizeof memory);
    if (base && *base)
        md_buffer_printf(&url, "%s/alerts/active", base);
    md_buffer_text(out, ",\"generatorURL\":");
    md_json_string(out, memory, url.length);
}

void md__notify_body_alertmanager(struct md_buffer *out, const struct md_notify_config *config,
                                  const struct md_notify_receiver *receiver,
                                  const struct md__notify_record *const *records, int count,
                                  int64_t now_ms)
{
    md_buffer_text(out, "[");
    for (int i = 0; i < count; i++) {
        const struct md_notify_alert *alert = &records[i]->alert;
        int64_t pace_ms =
            alert->step_ms > receiver->resend_ms ? alert->step_ms : receiver->resend_ms;
        md_buffer_text(out, i > 0 ? ",{" : "{");
        write_labels(out, "labels", alert->labels, alert->label_count);
        md_buffer_text(out, ",");
        write_labels(out, "annotations", alert->annotations, alert->annotation_count);
        write_time(out, "startsAt", alert->fired_ms);
        write_time(out, "endsAt",
                   alert->resolved_ms != 0 ? alert->resolved_ms : now_ms + 4 * pace_ms);
        write_generator(out, config);
        md_buffer_text(out, "}");
    }
    md_buffer_text(out, "]");
}

/* The members of one alert, without the braces. */
static void write_alert(struct md_buffer *out, const struct md_notify_config *config,
                        const struct md_notify_alert *alert)
{
    md_buffer_printf(out, "\"status\":\"%s\",", alert->resolved_ms != 0 ? "resolved" : "firing");
    write_labels(out, "labels", alert->labels, alert->label_count);
    md_buffer_text(out, ",");
    write_labels(out, "annotations", alert->annotations, alert->annotation_count);
    write_time(out, "startsAt", alert->fired_ms);
    if (alert->resolved_ms != 0)
        write_time(out, "endsAt", alert->resolved_ms);
    else
        md_buffer_text(out, ",\"endsAt\":\"0001-01-01T00:00:00Z\""); /* not ended: Go's zero time */
    write_generator(out, config);
    md_buffer_printf(out, ",\"fingerprint\":\"%016llx\"", (unsigned long long)alert->fingerprint);
}

void md__notify_body_lines(struct md_buffer *out, const struct md_notify_config *config,
                           const struct md_notify_receiver *receiver,
                           const struct md__notify_record *const *records, int count,
                           const char *key)
{
    for (int i = 0; i < count; i++) {
        md_buffer_text(out, "{\"receiver\":");
        write_text(out, receiver->name);
        md_buffer_printf(out, ",\"key\":\"%s\",", key);
        write_alert(out, config, &records[i]->alert);
        md_buffer_text(out, "}\n");
    }
}

/* ---- webhook --------------------------------------------------------------------------------- */

static const struct md_alert_label *labels_of(const struct md_notify_alert *alert, bool annotations,
                                              int *count)
{
    *count = annotations ? alert->annotation_count : alert->label_count;
    return annotations ? alert->annotations : alert->labels;
}

static bool all_have(const struct md__notify_record *const *records, int count, bool annotations,
                     const struct md_alert_label *wanted)
{
    for (int i = 1; i < count; i++) {
        int label_count;
        const struct md_alert_label *labels =
            labels_of(&records[i]->alert, annotations, &label_count);
        int at = 0;
        while (at < label_count && strcmp(labels[at].name, wanted->name) != 0)
            at++;
        if (at == label_count || strcmp(labels[at].value, wanted->value) != 0)
            return false;
    }
    return true;
}

/* What all of them have in common. */
static void write_common(struct md_buffer *out, const char *name,
                         const struct md__notify_record *const *records, int count,
                         bool annotations)
{
    int label_count;
    const struct md_alert_label *labels = labels_of(&records[0]->alert, annotations, &label_count);
    bool first = true;
    md_buffer_printf(out, ",\"%s\":{", name);
    for (int i = 0; i < label_count; i++) {
        if (!all_have(records, count, annotations, &labels[i]))
            continue;
        md_buffer_text(out, first ? "" : ",");
        write_text(out, labels[i].name);
        md_buffer_text(out, ":");
        write_text(out, labels[i].value);
        first = false;
    }
    md_buffer_text(out, "}");
}

void md__notify_body_webhook(struct md_buffer *out, const struct md_notify_config *config,
                             const struct md_notify_receiver *receiver, const char *group_key,
                             const struct md__notify_record *const *records, int count,
                             int truncated)
{
    const char *external_url = config->settings.external_url;
    struct md_alert_label group[2 * MD_ALERT_LABELS_MAX];
    int group_count =
        md__notify_group_labels(receiver, &records[0]->alert, group, 2 * MD_ALERT_LABELS_MAX);
    bool firing = false;
    for (int i = 0; i < count; i++)
        firing |= records[i]->alert.resolved_ms == 0;
    md_buffer_text(out, "{\"version\":\"4\",\"groupKey\":");
    write_text(out, group_key);
    md_buffer_printf(out, ",\"truncatedAlerts\":%d,\"status\":\"%s\",\"receiver\":", truncated,
                     firing ? "firing" : "resolved");
    write_text(out, receiver->name);
    md_buffer_text(out, ",");
    write_labels(out, "groupLabels", group, group_count);
    write_common(out, "commonLabels", records, count, false);
    write_common(out, "commonAnnotations", records, count, true);
    md_buffer_text(out, ",\"externalURL\":");
    write_text(out, external_url ? external_url : "");
    md_buffer_text(out, ",\"alerts\":[");
    for (int i = 0; i < count; i++) {
        md_buffer_text(out, i > 0 ? ",{" : "{");
        write_alert(out, config, &records[i]->alert);
        md_buffer_text(out, "}");
    }
    md_buffer_text(out, "]}");
}
