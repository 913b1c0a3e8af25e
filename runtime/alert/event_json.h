/* What happened to alerts as JSON objects, one each, as the history keeps and /alerts/history shows
 * them. `kind` tells "alert" from "grade"; times are UTC milliseconds, 0 for never. */
#ifndef MD_ALERT_EVENT_JSON_H
#define MD_ALERT_EVENT_JSON_H

#include "alert/grade.h"

/* Annotations are written as they are at the event. entity_label names the field of the key. */
void md__alert_event_json(const struct md_alert_event *event, const char *entity_label,
                          struct md_buffer *out);
void md__alert_grade_json(const struct md_alert_grade *grade, const char *entity_label,
                          struct md_buffer *out);
/* The members "labels" and "annotations"; what an alert of a removed rule said is not known. */
void md__alert_texts_json(const struct md_alert *alert, int64_t now_ms, struct md_buffer *out);

#endif
