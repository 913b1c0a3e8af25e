/*
 * Spans: alerts as stretches of time, collected from the events of an engine or of the past, and
 * what differs between two collections.
 *
 * A span begins when its condition holds (pending), fires, and ends when it is resolved. Only those
 * that fired within the period are listed; those that stayed pending are counted. What had begun
 * before the period is listed as `before`: it is known to fire, its beginning only as far as the
 * frames before the period go.
 *
 * Two collections are compared by what operators call the same alert: rule, entity and column.
 * Spans of one such subject that overlap (from pending to end) are one *difference*: so an alert
 * that a new rule cuts in two is a change, not an alert gone and two added.
 */
#ifndef MD_ALERT_SPANS_H
#define MD_ALERT_SPANS_H

#include "alert/alert.h"
#include "base/arena.h"

#define MD_ALERT_SPANS_MAX 200000

/* Whose span it is. */
struct md_alert_subject {
    uint64_t fingerprint;
    const char *rule, *severity, *key, *column;
    int64_t unfired; /* times that it was pending within the period and did not fire */
};

struct md_alert_span {
    const struct md_alert_subject *subject;
    int64_t active_ms; /* pending since */
    int64_t fired_ms;
    int64_t end_ms; /* resolved; 0: it still fires at the end of the period */
    float peak,
        limit;   /* the most extreme value while it was active, and the limit then; NaN: none */
    bool before; /* fired before the period begins */
};

/* A change of state, whoever tells it. Texts are borrowed. */
struct md_alert_change {
    int64_t time_ms, active_ms;
    enum md_alert_state from, to;
    uint64_t fingerprint;
    const char *rule, *severity, *key, *column;
    float value, limit;
    bool is_below;
};

struct md_alert_spans {
    int64_t since_ms;
    struct md_arena arena;
    struct md_alert_span *items; /* by end until sorted */
    int count, capacity;
    struct md__span_slot **slots; /* a table of open ones and subjects, by fingerprint */
    size_t slot_count, slot_capacity;
};

void md_alert_spans_init(struct md_alert_spans *spans, int64_t since_ms);
void md_alert_spans_fini(struct md_alert_spans *spans);

/* Changes come in order of time. MD_ERR_TOO_LARGE: more than MD_ALERT_SPANS_MAX spans. */
enum md_status md_alert_spans_change(struct md_alert_spans *spans,
                                     const struct md_alert_change *change, struct md_error *err);
/* What an active alert is compared with now; nothing when it is not known. */
void md_alert_spans_value(struct md_alert_spans *spans, uint64_t fingerprint, float value,
                          float limit, bool is_below);
/* After the last change: what is open is listed too; then all are sorted by rule, key, column and
 * time. */
enum md_status md_alert_spans_finish(struct md_alert_spans *spans, struct md_error *err);
/* Times that alerts of a rule (NULL: of any) were pending and did not fire. */
int64_t md_alert_spans_unfired(const struct md_alert_spans *spans, const char *rule);

enum md_alert_difference_kind {
    MD_ALERT_SAME,    /* fires and ends at the same times */
    MD_ALERT_CHANGED, /* at other times, or with another severity */
    MD_ALERT_ADDED,   /* in the new ones only */
    MD_ALERT_GONE,    /* in the old ones only */
    MD_ALERT_DIFFERENCES
};
const char *md_alert_difference_name(enum md_alert_difference_kind kind);

struct md_alert_difference {
    enum md_alert_difference_kind kind;
    const struct md_alert_span *fresh, *old; /* the first of each; NULL: none */
    int fresh_count, old_count;              /* that follow one another there */
};
/* Both are finished; differences come by rule, key, column and time. A `visit` that is false ends
 * it, and is the answer. */
bool md_alert_spans_compare(const struct md_alert_spans *fresh, const struct md_alert_spans *old,
                            bool (*visit)(void *context, const struct md_alert_difference *),
                            void *context);

#endif
