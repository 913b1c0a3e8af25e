/*
 * Alerts between Lua and the engine (alert/): what a generation declares, what a tick is made of.
 *
 *     alert_rules.c    app.alerts, read once a generation: compiled rules, gauges, what to keep
 *     alert_frame.c    a frame from the series, the app's forecasts and the gauges
 *     alert_gauges.c   numbers of the metrics' registry, as rates and quantiles since the last tick
 *     alert_judge.c    the functions of rules, called once an entity
 *     alert_tick.c     one evaluation: on the scheduler's task, right after on_tick
 *     alert_show.c     instances, rules and qualities as JSON and as metrics
 *     bind_alerts.c    md.alerts
 *
 * Rules change hands with the tick: the engine has those of the generation whose tick ran last, and
 * the functions that a tick calls are always of the same generation as its rules. The engine
 * itself lives from the first generation that declares alerts to the end (script->alerts).
 */
#ifndef MD_SCRIPT_ALERTS_H
#define MD_SCRIPT_ALERTS_H

#include "alert/alert.h"
#include "alert/history.h"
#include "alert/live.h"
#include "base/arena.h"
#include "base/metrics.h"
#include "script/generation.h"
#include "tensor/tensor.h"

#define MD__ALERT_QUANTILES_MAX 32

/* A number of the metrics' registry that a rule watches. */
struct md__gauge {
    const char *text; /* its name in frames */
    const char *name;
    int label_count;
    const char *const *labels, *const *values;
    float quantile; /* of a histogram; NaN: the number itself, of a counter its rate */
};

/* app.alerts of one generation; all memory but the rules is the generation's. */
struct md__alerts {
    const char *series, *entity;
    struct md_alert_rules *rules;
    int function_count; /* of rules: app.alerts.functions */
    int gauge_count;
    struct md__gauge *gauges;
    int64_t keep_within_ms;
    float keep_quantiles[MD__ALERT_QUANTILES_MAX];
    int keep_quantile_count;
};

/* What lives as long as the script engine, beside the alert engine. */
struct md__alerting {
    char entity[64]; /* the label that names a key, since the alert engine was made */
    const struct md__alerts *wanted; /* by the generation that is being built */
    struct md_collector collector;   /* of ALERTS; its context is NULL while it is not registered */
    struct md__gauge_memory *gauges; /* the tick's */
};

/* With the app on top of the stack: fills generation->alerts, NULL when there are none; raises. */
void md__alerts_read(lua_State *L, struct md_generation *generation);
void md__alerts_release(struct md_generation *generation);

/* ---- frames ---------------------------------------------------------------------------------- */

/* A frame with everything that it points to, and what the functions said of it. */
struct md__alert_input {
    _Atomic int refs;
    struct md_arena arena;
    char **keys;
    struct md_tensor values, latest, times;
    struct md_alert_frame frame;
    struct md_alert_record rounded;     /* what functions look at, when there are any */
    struct md_alert_verdict **verdicts; /* [function][key] */
    const char **failures;              /* [function], NULL: it ran */
    struct md_generation *generation;   /* a reference */
    char trouble[192];                  /* of the app's profile function */
};
void md__alert_input_unref(struct md__alert_input *input);
/* Memory that the input holds; raises when there is none. */
void *md__alert_input_take(lua_State *L, struct md__alert_input *input, size_t count, size_t size);

/* native.alert_frame(closed_ms, forecasts, profile) */
int md__alert_frame(lua_State *L);
struct md__alert_input *md__alert_input_check(lua_State *L, int index);
extern const struct md__class md__alert_frame_class;

/* The numbers now, and what they were at the tick before. One thread at a time. */
struct md__gauge_memory;
double md__gauge_read(struct md__gauge_memory **memory, const struct md__gauge *gauge,
                      int64_t now_ms);
void md__gauge_memory_delete(struct md__gauge_memory *memory);

/* ---- functions ------------------------------------------------------------------------------- */

/*
 * A predicate that calls the functions of the app that L's state has loaded (live ticks, rehearsal,
 * tests). Each function has budget_ns for all entities of a frame; what it raises, runs over or
 * runs out of memory with is a failure of its rule. Valid as long as `caller`; used on the thread
 * that has the state.
 */
struct md__alert_caller {
    lua_State *L;
    int64_t budget_ns;
};
struct md_alert_predicate md__alert_predicate(struct md__alert_caller *caller);

/* ---- ticks ----------------------------------------------------------------------------------- */

/* Whether a crash has cut off the evaluation of the newest step: that of the step before was kept,
 * and something has been sent in this one. */
bool md__alerts_owed(const struct md_generation *generation, int64_t closed_ms, int64_t step_ms);
/* From the prepare of a task that evaluates the generation's rules: pushes what it runs. */
int md__alerts_prepare(lua_State *L, int64_t closed_ms, int64_t step_ms, int64_t now_ms);
int md__alert_tick(lua_State *L);    /* native.alert_tick(frame) */
int md__alert_wants(lua_State *L);   /* native.alert_wants(column, quantile) -> minutes or nil */
int md__alert_trouble(lua_State *L); /* native.alert_trouble(text or nil) */

/* ---- what is shown --------------------------------------------------------------------------- */

/* Appends {"rule", ...} of an instance: the members of md.alerts.active's entries. */
void md__alert_json(const struct md_alert *alert, int64_t now_ms, struct md_buffer *json);
/* "firing", "pending", "resolved" */
const char *md__alert_state_name(const struct md_alert *alert);
/* live may be NULL. */
void md__alert_rules_json(struct md_alert_live *live, const struct md_alert_rules *rules,
                          struct md_buffer *json);
void md__alert_quality_json(struct md_alert_live *live, const struct md_alert_rules *rules,
                            struct md_buffer *json);
/* After a tick: what /health and /metrics say of it. */
void md__alerts_tell(struct md_script *script, const struct md_alert_rules *rules, double seconds);
/* ALERTS in /metrics, as long as the engine lives. */
void md__alerts_expose(struct md_script *script);
void md__alerts_unexpose(struct md_script *script);

#endif
