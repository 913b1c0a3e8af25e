/*
 * What the live engine did, as the history has it (alert/event_json.h), told to a rehearsal. It is
 * read from its beginning on: an alert that has been firing for days is known by nothing else.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_in.h"
#include "script/rehearse_internal.h"

struct telling {
    const struct md__rehearse_recorded *recorded;
    struct md_alert_rehearsal *rehearsal; /* who is told; NULL: spans */
    struct md_alert_spans *spans;
};

static const char *text_of(const json_t *event, const char *name)
{
    const char *text = json_string_value(json_object_get(event, name));
    return text != NULL ? text : "";
}

static float number_of(const json_t *event, const char *name)
{
    const json_t *number = json_object_get(event, name);
    return json_is_number(number) ? (float)json_number_value(number) : NAN;
}

static enum md_alert_state state_of(const json_t *event, const char *name)
{
    const char *text = text_of(event, name);
    return strcmp(text, "firing") == 0    ? MD_ALERT_FIRING
           : strcmp(text, "pending") == 0 ? MD_ALERT_PENDING
                                          : MD_ALERT_INACTIVE;
}

static enum md_status tell(const struct telling *telling, int64_t time_ms, const json_t *event,
                           struct md_error *err)
{
    const struct md__rehearse_recorded *recorded = telling->recorded;
    struct md_alert_change change = {
        .time_ms = time_ms,
        .active_ms = json_integer_value(json_object_get(event, "active_ms")),
        .from = state_of(event, "from"),
        .to = state_of(event, "to"),
        .fingerprint = strtoull(text_of(event, "fingerprint"), NULL, 16),
        .rule = text_of(event, "rule"),
        .severity = text_of(event, "severity"),
        .key = text_of(event, recorded->entity),
        .column = text_of(event, "metric"),
        .value = number_of(event, "value"),
        .limit = number_of(event, "limit"),
        .is_below = number_of(event, "value") < number_of(event, "limit")};
    bool wanted = strcmp(text_of(event, "kind"), "alert") == 0 &&
                  (recorded->rule == NULL || strcmp(recorded->rule, change.rule) == 0);
    if (!wanted)
        return MD_OK;
    return telling->rehearsal != NULL ? md_alert_rehearsal_record(telling->rehearsal, &change, err)
                                      : md_alert_spans_change(telling->spans, &change, err);
}

static enum md_status take_event(void *context, int64_t time_ms, const char *text,
                                 struct md_error *err)
{
    json_t *event = NULL;
    enum md_status status = md_json_parse(text, strlen(text), &event, err);
    if (status != MD_OK)
        return md_error_context(err, "an event of the history");
    status = tell(context, time_ms, event, err);
    json_decref(event);
    return status;
}

enum md_status md__rehearse_record(struct md_store *store, struct md_alert_rehearsal *rehearsal,
                                   const struct md__rehearse_recorded *recorded,
                                   struct md_error *err)
{
    struct telling telling = {.recorded = recorded, .rehearsal = rehearsal};
    return md_alert_history_events(store, 0, recorded->until_ms, take_event, &telling, err);
}

enum md_status md__rehearse_active(struct md_store *store,
                                   const struct md__rehearse_recorded *recorded, int64_t *active_ms,
                                   struct md_error *err)
{
    struct md_alert_spans spans;
    struct telling telling = {.recorded = recorded, .spans = &spans};
    md_alert_spans_init(&spans, recorded->until_ms);
    enum md_status status =
        md_alert_history_events(store, 0, recorded->until_ms, take_event, &telling, err);
    if (status == MD_OK)
        status = md_alert_spans_finish(&spans, err);
    *active_ms = 0;
    for (int i = 0; i < spans.count; i++) {
        if (*active_ms == 0 || spans.items[i].active_ms < *active_ms)
            *active_ms = spans.items[i].active_ms;
    }
    md_alert_spans_fini(&spans);
    return status;
}
