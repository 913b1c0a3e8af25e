/* Events and grades as JSON; see event_json.h. */
#include "alert/event_json.h"

#include <inttypes.h>
#include <string.h>

#include "base/json_out.h"

static void put_text(struct md_buffer *out, const char *name, const char *text)
{
    md_buffer_text(out, ",");
    md_json_string(out, name, strlen(name));
    md_buffer_text(out, ":");
    md_json_string(out, text, strlen(text));
}

static void put_time(struct md_buffer *out, const char *name, int64_t time_ms)
{
    md_buffer_printf(out, ",\"%s\":%" PRId64, name, time_ms);
}

static void put_number(struct md_buffer *out, const char *name, float value)
{
    md_buffer_printf(out, ",\"%s\":", name);
    md_json_f32(out, value);
}

static void put_minutes(struct md_buffer *out, const char *name, int64_t ms)
{
    md_buffer_printf(out, ",\"%s\":", name);
    md_json_f64_rounded(out, (double)ms / 60000, 3);
}

static void put_pair(struct md_buffer *out, int index, const char *name, const char *value)
{
    md_buffer_text(out, index > 0 ? "," : "");
    md_json_string(out, name, strlen(name));
    md_buffer_text(out, ":");
    md_json_string(out, value, strlen(value));
}

void md__alert_texts_json(const struct md_alert *alert, int64_t now_ms, struct md_buffer *out)
{
    md_buffer_text(out, "\"labels\":{");
    for (int i = 0; i < alert->label_count; i++)
        put_pair(out, i, alert->labels[i].name, alert->labels[i].value);
    md_buffer_text(out, "},\"annotations\":{");
    struct md_buffer text;
    md_buffer_init(&text, 0);
    for (int i = 0; alert->rule && i < alert->rule->annotation_count; i++) {
        const struct md_alert_label *annotation = &alert->rule->annotations[i];
        md_buffer_clear(&text);
        md_alert_annotate(alert, annotation->value, now_ms, &text);
        put_pair(out, i, annotation->name, text.length > 0 ? text.data : "");
    }
    md_buffer_fini(&text);
    md_buffer_text(out, "}");
}

/* What became of it; what fired and is inactive is resolved. */
static const char *state_name(enum md_alert_state from, enum md_alert_state state)
{
    switch (state) {
    case MD_ALERT_PENDING:
        return "pending";
    case MD_ALERT_FIRING:
        return "firing";
    default:
        return from == MD_ALERT_FIRING ? "resolved" : "inactive";
    }
}

void md__alert_event_json(const struct md_alert_event *event, const char *entity_label,
                          struct md_buffer *out)
{
    const struct md_alert *alert = event->alert;
    md_buffer_printf(out, "{\"kind\":\"alert\",\"time_ms\":%" PRId64, event->time_ms);
    put_text(out, "rule", alert->name);
    put_text(out, "severity", alert->severity);
    put_text(out, entity_label, alert->key);
    put_text(out, "metric", alert->column);
    put_text(out, "profile", alert->profile);
    put_text(out, "from", state_name(MD_ALERT_INACTIVE, event->from));
    put_text(out, "to", state_name(event->from, event->to));
    put_number(out, "value", alert->value);
    put_number(out, "limit", alert->limit);
    put_minutes(out, "lead_min", alert->lead_steps * alert->step_ms);
    put_time(out, "active_ms", alert->active_ms);
    put_time(out, "fired_ms", alert->fired_ms);
    put_time(out, "resolved_ms", alert->resolved_ms);
    md_buffer_printf(out, ",\"fingerprint\":\"%016" PRIx64 "\"", alert->fingerprint);
    md_buffer_text(out, ",");
    md__alert_texts_json(alert, event->time_ms, out);
    md_buffer_text(out, "}");
}

void md__alert_grade_json(const struct md_alert_grade *grade, const char *entity_label,
                          struct md_buffer *out)
{
    md_buffer_printf(out, "{\"kind\":\"grade\",\"time_ms\":%" PRId64, grade->graded_ms);
    put_text(out, "rule", grade->rule);
    put_text(out, entity_label, grade->key);
    put_text(out, "metric", grade->column);
    put_text(out, "outcome", md_alert_outcome_name(grade->outcome));
    put_time(out, "fired_ms", grade->fired_ms);
    put_time(out, "predicted_ms", grade->predicted_ms);
    put_time(out, "crossed_ms", grade->crossed_ms);
    put_minutes(out, "lead_min", grade->lead_ms);
    md_buffer_text(out, "}");
}
