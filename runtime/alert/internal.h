/*
 * What the files of the engine share.
 *
 *   rules.c      rule sets: checked, copied, found by name
 *   evaluate.c   a frame as columns; what a rule says of each entity
 *   life.c       the state machine: one instance, one tick
 *   instances.c  instances: identity, labels, the table and its order
 *   engine.c     the tick: plan everything that may fail, then commit
 *   grade.c      how forecasts turned out
 *   state.c      the engine as bytes
 *   annotate.c   templates
 */
#ifndef MD_ALERT_INTERNAL_H
#define MD_ALERT_INTERNAL_H

#include "alert/alert.h"
#include "alert/grade.h"
#include "base/arena.h"
#include "base/bytes.h"

/* ---- rules.c --------------------------------------------------------------------------------- */

struct md_alert_rules {
    _Atomic int refs;
    int count;
    struct md_alert_rule *rules;
    uint64_t *identities; /* [count]: hash of name, severity and the rule's own labels */
    int *by_name;         /* [count]: indices in the order of the names */
    struct md_arena arena;
};

#define MD__HASH_SEED 14695981039346656037ull
/* FNV-1a over the text and one separator that no UTF-8 text holds. */
uint64_t md__alert_hash(uint64_t hash, const char *text);
uint64_t md__alert_rule_identity(const char *name, const char *severity,
                                 const struct md_alert_label *labels, int label_count);
bool md__alert_label_is_valid(const char *name);
/* Names that the engine gives itself: alertname, metric, profile, severity. */
bool md__alert_label_is_reserved(const char *name);
bool md__alert_crosses(float value, float limit, bool is_below);
float md__alert_limit_of(const struct md_alert_limit *limit, const char *profile);
/* An instance each: 1 for gauges and functions. */
int md__alert_rule_columns(const struct md_alert_rule *rule);

/* ---- evaluate.c ------------------------------------------------------------------------------ */

/* Quantiles that print the same are the same: 0.1 of a script, 0.1f of a model. */
bool md__alert_is_same_quantile(float left, float right);

/* A frame made ready: values by column, profiles numbered. Lives in an arena, for one tick. */
struct md__alert_view {
    const struct md_alert_frame *frame;
    struct md_arena *arena;
    float *values;        /* [column][key] */
    unsigned char *known; /* [column][key] */
    int *profile_of;      /* [key]: index in profiles */
    int profile_count;
    const char **profiles;
    uint64_t *key_hashes; /* [key], profile included */
    float *of_profile;    /* [profile]: scratch of md__alert_limits */
};

/* What one rule looks at for one of its columns. */
struct md__alert_source {
    const struct md_alert_rule *rule;
    const char *column;
    int key_count;
    const float *values; /* [key_count, stride]; NULL: nothing there, all unknown */
    int stride;
    int steps; /* of each row, from its begin */
    const unsigned char *known;
    const struct md_alert_verdict *verdicts; /* FUNCTION */
    const float *limits;                     /* [key_count] */
    int64_t step_ms;                         /* of the forecast, or of the series */
    float gauge;
};

enum md__alert_code { MD__CODE_NO = 0, MD__CODE_YES = 1, MD__CODE_UNKNOWN = 2 };

enum md_status md__alert_view_init(struct md__alert_view *view, const struct md_alert_frame *frame,
                                   struct md_arena *arena, struct md_error *err);
int md__alert_frame_key(const struct md_alert_frame *frame, const char *key);       /* -1: none */
int md__alert_frame_column(const struct md_alert_frame *frame, const char *column); /* -1: none */
/* The limit of each key: limits[key_count]. */
void md__alert_limits(const struct md__alert_view *view, const struct md_alert_limit *limit,
                      float *limits);
/* problem: receives what is missing, "" when nothing. */
void md__alert_source_bind(const struct md__alert_view *view, const struct md_alert_rule *rule,
                           int ordinal, const float *limits, struct md__alert_source *source,
                           char *problem, size_t problem_size);
/* codes[key_count]: what may concern the engine; MD__CODE_UNKNOWN stands for failures, too. */
void md__alert_source_scan(const struct md__alert_source *source, unsigned char *codes);
/* is_active: pending or firing so far, so that the rule's `clear` counts. */
void md__alert_source_judge(const struct md__alert_source *source, int key, const char *profile,
                            bool is_active, struct md_alert_verdict *verdict);

/* ---- life.c ---------------------------------------------------------------------------------- */

enum md__alert_decision {
    MD__DECISION_LOST,  /* the condition does not hold */
    MD__DECISION_HOLDS, /* it does */
    MD__DECISION_STAYS, /* nobody knows: as it was */
    MD__DECISION_GONE,  /* its rule was removed */
    MD__DECISION_END    /* it ends at once: over the rule's limit, or of another profile now */
};

/* The part of an instance that the state machine moves. */
struct md__alert_life {
    enum md_alert_state state;
    int64_t active_ms, fired_ms, resolved_ms, keep_since_ms;
    enum md_alert_state away_state; /* of a removed rule's instance: as it was ... */
    int64_t away_ms;                /* ... when it was removed; 0: it is not */
};

/* One tick, as one instance sees it. */
struct md__alert_moment {
    int64_t time_ms;
    int64_t
        lost_ms; /* before it, in which nothing was evaluated; 0: the last tick was a step ago */
    int64_t for_ms, keep_firing_ms; /* of the rule */
};

/* Pending or firing, or it would be if its rule had not been removed. */
bool md__alert_life_is_active(const struct md__alert_life *life);
struct md__alert_life md__alert_life_next(struct md__alert_life life,
                                          enum md__alert_decision decision,
                                          const struct md__alert_moment *moment);

/* ---- instances.c ----------------------------------------------------------------------------- */

struct md__alert_instance {
    struct md_alert alert; /* as callers see it; its state and times are copies of life's */
    struct md__alert_life life;
    uint64_t identity; /* of the rule's identity, the column, key and profile */
    uint64_t rule_identity;
    int rule;          /* index in the engine's set; -1: removed */
    int ordinal;       /* of the column in the rule */
    int64_t firing_ms; /* the last tick at which it was firing; 0: never */
    struct md__alert_instance *chained;
    /* within a tick: */
    bool is_judged;
    enum md__alert_decision decision;
    struct md_alert_verdict verdict;
    int64_t step_ms;
    struct md__alert_life next;
    struct md_alert_label labels[]; /* then the strings */
};

/* What an instance is made of. */
struct md__alert_identity {
    const char *name, *severity, *key, *column, *profile;
    const struct md_alert_label *labels; /* the rule's own */
    int label_count;
    uint64_t rule; /* md__alert_rule_identity */
};

struct md__alert_table {
    struct md__alert_instance **ordered; /* by rule, key, column; those of removed rules last */
    int count, capacity;
    struct md__alert_instance **buckets; /* a power of two of them */
    int bucket_count;
};

uint64_t md__alert_key_hash(const char *key, const char *profile);
uint64_t md__alert_identity_hash(uint64_t rule_identity, const char *column, uint64_t key_hash);
/* In no table yet: free() it. NULL: out of memory. entity_label must outlive it. */
struct md__alert_instance *md__alert_instance_new(const struct md__alert_identity *identity,
                                                  const char *entity_label);
/* As callers see it, from life. */
void md__alert_instance_show(struct md__alert_instance *instance);
/* hash: md__alert_identity_hash of what it is made of. */
struct md__alert_instance *md__alert_table_find(const struct md__alert_table *table, uint64_t hash,
                                                const struct md__alert_identity *made_of);
/* Room for `extra` more, so that md__alert_table_add cannot fail. */
bool md__alert_table_reserve(struct md__alert_table *table, int extra);
/* Sorts `fresh` and takes them over. */
void md__alert_table_add(struct md__alert_table *table, struct md__alert_instance **fresh,
                         int count);
/* Takes one over, at the end, wherever it belongs; table_reserve went before. */
void md__alert_table_append(struct md__alert_table *table, struct md__alert_instance *instance);
void md__alert_table_sort(struct md__alert_table *table);
/* Frees those that `is_over`. */
void md__alert_table_sweep(struct md__alert_table *table,
                           bool (*is_over)(const struct md__alert_instance *instance,
                                           int64_t time_ms),
                           int64_t time_ms);
void md__alert_table_fini(struct md__alert_table *table);

/* ---- grade.c --------------------------------------------------------------------------------- */

#define MD__LEADS_MAX 200
#define MD__COUNT_MAX ((int64_t)1 << 53)

/* What is known of one rule, by name. */
struct md__alert_score {
    char *rule;
    int64_t outcomes[MD_ALERT_OUTCOMES];
    int64_t caught; /* crossings that an alert preceded; like all counts, at most COUNT_MAX */
    int64_t leads_ms[MD__LEADS_MAX];
    int lead_count, lead_next;
};

/* An alert that fired and is not graded yet. */
struct md__alert_open {
    struct md__alert_open *next;
    int64_t fired_ms, predicted_ms, within_ms, step_ms;
    int64_t crossed_ms; /* 0: not yet */
    int missing;        /* frames without a value */
    float limit;
    bool is_below;
    const char *rule, *key, *column;
    char text[];
};

/* The values before this tick's, of the columns that forecast rules watch. */
struct md__alert_past {
    struct md_arena arena;
    int key_count, column_count;
    const char **keys, **columns;
    float *values; /* [column][key] */
};

struct md__alert_grades {
    struct md__alert_open *open; /* in the order of firing */
    struct md__alert_score **scores;
    int score_count, score_capacity;
    struct md__alert_past past;
};

/* A value that went over a limit at this tick. */
struct md__alert_crossing {
    struct md__alert_crossing *next;
    int rule, ordinal, key;
};

/* What grading will do at the end of a tick: all its memory. */
struct md__alert_grading {
    struct md__alert_past next;
    float *before; /* [frame column][key]: the value before; NaN: unknown */
    struct md__alert_crossing *crossings, **crossings_end;
    struct md__alert_open *fired, **fired_end;
};

/* One tick: `view`, `rules` of the engine (may be NULL), the time before it that nobody watched. */
enum md_status md__alert_grading_begin(struct md__alert_grading *grading,
                                       struct md__alert_grades *grades,
                                       const struct md__alert_view *view,
                                       const struct md_alert_rules *rules, int64_t lost_ms,
                                       struct md_error *err);
enum md_status md__alert_grading_rule(struct md__alert_grading *grading,
                                      const struct md__alert_view *view,
                                      const struct md_alert_rules *rules, int rule,
                                      const float *limits, struct md_error *err);
enum md_status md__alert_grading_fires(struct md__alert_grading *grading,
                                       const struct md__alert_instance *instance,
                                       const struct md_alert_rule *rule, int64_t time_ms,
                                       struct md_error *err);
void md__alert_grading_abandon(struct md__alert_grading *grading);
void md__alert_grading_commit(struct md__alert_grading *grading, struct md_alert_engine *engine,
                              const struct md__alert_view *view, int64_t lost_ms,
                              const struct md_alert_sink *sink);
/* NULL: out of memory. */
struct md__alert_score *md__alert_score_of(struct md__alert_grades *grades, const char *rule);
struct md__alert_open *md__alert_open_new(const char *rule, const char *key, const char *column);
void md__alert_grades_fini(struct md__alert_grades *grades);

/* ---- engine.c -------------------------------------------------------------------------------- */

/* No frame and no stored state is later; times up to here add up without overflow. */
#define MD__TIME_MS_MAX ((int64_t)1 << 53)
#define MD__SPAN_MS_MAX ((int64_t)3660 * 86400000)

struct md_alert_engine {
    char *entity_label;
    struct md_alert_rules *rules; /* NULL: none */
    int64_t time_ms;
    struct md__alert_table table;
    struct md_alert_rule_health *health; /* [health_count]: of the last tick's rules */
    int health_count;
    struct md__alert_grades grades;
};

/* Finds the rule of each instance anew, and their order. */
void md__alert_engine_match(struct md_alert_engine *engine);

#endif
