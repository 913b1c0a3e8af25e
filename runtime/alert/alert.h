/*
 * Alerts on values and on forecasts of them: rules, what rules look at, and the state of each
 * alert.
 *
 * A *rule set* is a compiled, immutable list of rules. A *frame* is everything that rules may look
 * at at one tick: the closed step's values of all entities, forecasts made of them, gauges. The
 * *engine* holds alert instances (a rule x an entity x a column) and moves them on, one frame at a
 * time.
 *
 * Everything that happens is a function of the frames, in order, and of the rule sets: no clock is
 * read and nothing else is asked. That is what makes a rehearsal exact: the frames of the past,
 * kept as they were evaluated (history.h), give the alerts that were live. Notifying (notify.h)
 * stands apart and only reads.
 *
 * The state machine is that of Prometheus' alerting rules (rules/alerting.go as of 3.x):
 *
 *     inactive -> pending    the condition holds; active_ms is this tick
 *     pending  -> firing     it has held for for_ms (at once when 0, in the same tick)
 *     pending  -> inactive   it does not hold; forgotten
 *     firing   -> inactive   it has not held for keep_firing_ms (at once when 0): *resolved*, and
 *                            kept for MD_ALERT_RESOLVED_MS so that receivers hear of it
 *
 * and beyond it: hysteresis (clear), no data and errors as policies of the rule, a removed rule's
 * instances (resolved one tick later, taken up again when the rule comes back within
 * MD_ALERT_RESOLVED_MS), and time in which nothing was evaluated: an outage does not count towards
 * for_ms, and after one longer than MD_ALERT_OUTAGE_MS what was pending starts anew.
 *
 * Threads: a rule set is immutable and shared by references. An engine is used by one thread at a
 * time, except where a function says otherwise. Frames are borrowed for the call.
 */
#ifndef MD_ALERT_ALERT_H
#define MD_ALERT_ALERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/status.h"

#define MD_ALERT_RESOLVED_MS ((int64_t)15 * 60000)
#define MD_ALERT_OUTAGE_MS   ((int64_t)60 * 60000)
#define MD_ALERT_RULES_MAX   1000
#define MD_ALERT_LABELS_MAX  32

/* ---- rules ----------------------------------------------------------------------------------- */

enum md_alert_watch {
    MD_ALERT_CURRENT,  /* columns' values of the closed step */
    MD_ALERT_FORECAST, /* columns' forecasts: a quantile, up to within_ms ahead */
    MD_ALERT_ABSENT,   /* columns that were sent before and are not in the closed step */
    MD_ALERT_GAUGE,    /* a named number of the runtime: one instance, no entity */
    MD_ALERT_FUNCTION  /* a predicate of the caller's: one instance an entity */
};

/* What becomes of an instance for which there is nothing to compare (a NaN, no forecast). Of an
 * entity that left the frame altogether the condition does not hold, whatever the policy. */
enum md_alert_no_data {
    MD_ALERT_NO_DATA_RESOLVE, /* the condition does not hold: as Prometheus */
    MD_ALERT_NO_DATA_KEEP,    /* it stays in the state that it is in */
    MD_ALERT_NO_DATA_FIRE     /* the condition holds */
};

struct md_alert_label {
    const char *name, *value;
};

/* A number for each profile. */
struct md_alert_limit {
    float fallback; /* of profiles that are not named; NaN: none, the rule does not concern them */
    int profile_count;
    const char *const *profiles;
    const float *values;
};

struct md_alert_rule {
    const char *name;     /* label alertname */
    const char *severity; /* label severity; "" none */
    enum md_alert_watch watch;
    int column_count; /* CURRENT, FORECAST, ABSENT: at least 1; an instance each */
    const char *const *columns;
    float quantile;    /* FORECAST */
    int64_t within_ms; /* FORECAST: steps that begin no later than this after the closed step's end;
                          the forecast's first step is one step ahead */
    const char *gauge; /* GAUGE: the name in the frame */
    int function;      /* FUNCTION: the caller's number of it */
    bool is_below;     /* holds at or below the limit; otherwise at or above */
    struct md_alert_limit limit;
    struct md_alert_limit clear; /* once pending or firing, holds until the value is below
                                    (is_below: above) this; a fallback of NaN: the same as limit */
    int64_t for_ms, keep_firing_ms;
    int instances_max; /* Prometheus' `limit`: more active ones are an error of the rule, which
                          ends all its instances (what fired is resolved); 0: no limit */
    enum md_alert_no_data no_data;
    enum md_alert_no_data on_error; /* of a FUNCTION that fails: KEEP unless told otherwise */
    int label_count;
    const struct md_alert_label *labels; /* added to each alert's */
    int annotation_count;
    const struct md_alert_label *annotations; /* templates: see md_alert_annotate */
};

struct md_alert_rules;

/* Copies everything. Refuses (MD_ERR_INVALID, the rule and field named) duplicate names, label
 * names that are none of Prometheus', a FORECAST without within_ms, negative times, a clear on the
 * wrong side of its limit. */
enum md_status md_alert_rules_new(const struct md_alert_rule *rules, int count,
                                  struct md_alert_rules **set, struct md_error *err);
struct md_alert_rules *md_alert_rules_ref(struct md_alert_rules *set);
void md_alert_rules_unref(struct md_alert_rules *set);
int md_alert_rules_count(const struct md_alert_rules *set);
const struct md_alert_rule *md_alert_rules_get(const struct md_alert_rules *set, int index);
int md_alert_rules_find(const struct md_alert_rules *set, const char *name); /* -1: none */

/* ---- frames ---------------------------------------------------------------------------------- */

/* A forecast of one column at one quantile. */
struct md_alert_channel {
    const char *column;
    float quantile;
    int64_t step_ms; /* step i (from 0) is (i + 1) x step_ms ahead of the frame's time_ms */
    int steps;
    const float *values; /* [key_count, steps]; NaN: no forecast of this entity */
};

struct md_alert_gauge {
    const char *name; /* "moondial_queue_depth{model=\"tft\"}" */
    double value;
};

struct md_alert_frame {
    int64_t time_ms; /* the end of the closed step */
    int64_t step_ms; /* of the series */
    int key_count;
    const char *const *keys;     /* entities in byte order */
    const char *const *profiles; /* [key_count]; "" unknown */
    int column_count;
    const char *const *columns;
    const float *values; /* [key_count, column_count], NaN: nothing in this step */
    const unsigned char
        *known; /* [key_count, column_count]: 1 when the window has any value of it */
    int channel_count;
    const struct md_alert_channel *channels;
    int gauge_count;
    const struct md_alert_gauge *gauges;
};

/* ---- conditions ------------------------------------------------------------------------------ */

/* What a rule says of one entity and column at one frame. */
struct md_alert_verdict {
    enum { MD_ALERT_NO, MD_ALERT_YES, MD_ALERT_UNKNOWN, MD_ALERT_FAILED } holds;
    float value; /* what was compared: of a forecast, the value of its first step that crosses, or
                    the most extreme one */
    float limit; /* what it was compared with; NaN: none (absent, functions) */
    int32_t lead_steps; /* FORECAST: the first step that crosses, from 1; 0: none, or no forecast */
};

/* The caller's functions. Fills verdicts[frame->key_count]; a failure is one of the whole rule. */
struct md_alert_predicate {
    void *context;
    enum md_status (*evaluate)(void *context, int function, const struct md_alert_frame *frame,
                               struct md_alert_verdict *verdicts, struct md_error *err);
};

/* ---- alerts ---------------------------------------------------------------------------------- */

enum md_alert_state { MD_ALERT_INACTIVE, MD_ALERT_PENDING, MD_ALERT_FIRING };

/* An instance, as callers see it; borrowed until the engine's next change. */
struct md_alert {
    const struct md_alert_rule
        *rule; /* NULL: its rule was removed; name and severity remain below */
    const char *name, *severity;
    const char *key;    /* the entity; "" for gauges */
    const char *column; /* "" for gauges and functions */
    const char *profile;
    enum md_alert_state state;
    uint64_t fingerprint; /* of its labels, sorted: its identity */
    int64_t active_ms;    /* the tick since which the condition has held */
    int64_t fired_ms;     /* 0: never */
    int64_t resolved_ms;  /* 0: not */
    int64_t
        keep_since_ms; /* firing although the condition does not hold, since then; 0: it holds */
    float value, limit;
    int32_t lead_steps;
    int64_t step_ms;
    int label_count;
    const struct md_alert_label *labels; /* alertname, severity, the entity's, metric, profile, the
                                            rule's own; sorted by name */
};

/* A change of an instance, in the order in which they happened: by rule, key, column. Without a
 * hold time there is one event, inactive -> firing. */
struct md_alert_event {
    int64_t time_ms;
    enum md_alert_state from, to; /* firing -> inactive: resolved */
    const struct md_alert *alert;
};

/* How a forecast alert turned out; see grade.h. */
struct md_alert_grade;

struct md_alert_sink {
    void *context;
    void (*event)(void *context, const struct md_alert_event *event);
    void (*grade)(void *context, const struct md_alert_grade *grade); /* may be NULL */
};

struct md_alert_engine;

/* entity_label: the label that holds an entity's key ("server"). Without rules until set. */
enum md_status md_alert_engine_new(const char *entity_label, struct md_alert_engine **engine,
                                   struct md_error *err);
void md_alert_engine_delete(struct md_alert_engine *engine);
/* From the next tick on; takes a reference; NULL: none. Instances are matched by their labels,
 * whatever else has changed: a rule with another severity or label of its own makes other
 * instances, and those that were are a removed rule's. */
void md_alert_engine_set_rules(struct md_alert_engine *engine, struct md_alert_rules *rules);
/*
 * Evaluates all rules on a frame, which must be newer than the last (MD_ERR_CONFLICT). predicate
 * may be NULL when no rule has a function. A rule that fails is remembered (md_alert_rule_health)
 * and does not stop the others; only lack of memory fails the tick, which then changed nothing.
 */
enum md_status md_alert_engine_tick(struct md_alert_engine *engine,
                                    const struct md_alert_frame *frame,
                                    const struct md_alert_predicate *predicate,
                                    const struct md_alert_sink *sink, struct md_error *err);
int64_t
md_alert_engine_time_ms(const struct md_alert_engine *engine); /* of the last tick; 0: none */

/* All instances that are pending, firing, or lately resolved, by rule and key. A `visit` that is
 * false ends it. */
void md_alert_engine_visit(const struct md_alert_engine *engine,
                           bool (*visit)(void *context, const struct md_alert *alert),
                           void *context);

/* How a rule fared at the last tick. */
struct md_alert_rule_health {
    int pending, firing;
    char error[160]; /* "" */
};
void md_alert_rule_health(const struct md_alert_engine *engine, int rule,
                          struct md_alert_rule_health *health);

/* The whole state but the rules, as bytes that a later engine of any version can refuse or read. */
enum md_status md_alert_engine_save(const struct md_alert_engine *engine, struct md_buffer *bytes,
                                    struct md_error *err);
/* In place of what the engine holds but its rules, which may be set before or after.
 * MD_ERR_CORRUPT, MD_ERR_UNSUPPORTED (another version): the engine stays as it was. */
enum md_status md_alert_engine_restore(struct md_alert_engine *engine, const void *bytes,
                                       size_t length, struct md_error *err);

/*
 * Writes a template: {server} (or what the entity label is), {metric}, {profile}, {severity},
 * {value}, {limit}, {lead_min}, {active_min}, or any label by name; {value:.1f} formats a number
 * with C's flags, width and precision of f, e and g. "{{" and "}}" are a brace. The name of a label
 * that the alert does not have stays as it is written. md_alert_template_check names the mistake of
 * a template without running it.
 */
void md_alert_annotate(const struct md_alert *alert, const char *template, int64_t now_ms,
                       struct md_buffer *text);
enum md_status md_alert_template_check(const char *template, struct md_error *err);

#endif
