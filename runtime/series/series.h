/*
 * Series tables: for every entity (a server), a rolling window of resampled steps in columns.
 *
 * A step [t, t+s) holds one value per column: the mean of what arrived in it (MEAN), the largest
 * (MAX), or the newest (LAST, for categories). A step is visible to models once it is *closed*: its
 * end plus grace_ms has passed. Recent samples are kept raw for late_max_ms behind an entity's
 * newest one, so that late, repeated and out-of-order rows give exactly what ordered rows would
 * have given; older steps take appends and fill gaps, but are never silently rewritten.
 *
 * Memory is bounded: entities_max x (steps x columns + raw samples). Entities that send nothing for
 * evict_after_ms are forgotten. All functions are safe from any thread; readers share, writers
 * exclude (one lock a table). Entities are named by keys outside and by (slot, epoch) handles
 * inside; a handle of an evicted entity is stale.
 */
#ifndef MD_SERIES_SERIES_H
#define MD_SERIES_SERIES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/timezone.h"
#include "tensor/tensor.h"

#define MD_SERIES_KEY_BYTES   128 /* longest key or entity label, with its NUL */
#define MD_SERIES_COLUMNS_MAX 64
#define MD_SERIES_LABELS_MAX  4
#define MD_FEED_ERRORS_MAX    100

enum md_column_kind { MD_COLUMN_MEAN, MD_COLUMN_MAX, MD_COLUMN_LAST };

struct md_column {
    const char *name;
    enum md_column_kind kind;
    float min, max; /* inclusive legal range; NaN: no bound */
    const char *const
        *values; /* a categorical column's legal texts, stored as codes 0, 1, ...; NULL: numeric */
    int value_count;
    bool integer; /* informative: shown to clients */
};

/* Copied by md_series_new; strings too. */
struct md_series_options {
    const char *name;
    const char *key_field, *time_field; /* of a record: "server_name", "timestamp" */
    const char *const *label_fields;    /* texts kept per entity, the newest wins: "profile" */
    int label_count;
    const struct md_column *columns;
    int column_count;
    int64_t step_ms;
    int steps; /* window length */
    int entities_max;
    int64_t grace_ms, late_max_ms, future_max_ms, evict_after_ms;
    struct md_clock *clock;
    const struct md_timezone
        *timezone; /* for times without an offset; NULL: UTC; must outlive the table */
};

struct md_series;

enum md_status md_series_new(const struct md_series_options *options, struct md_series **series,
                             struct md_error *err);
void md_series_delete(struct md_series *series);
/* The copy that the table keeps, valid as long as it lives. */
const struct md_series_options *md_series_options(const struct md_series *series);
int md_series_column(const struct md_series *series, const char *name); /* -1: no such column */

/* The part of the options that may change while the table lives. */
struct md_series_limits {
    int64_t grace_ms, late_max_ms, future_max_ms, evict_after_ms;
    float min[MD_SERIES_COLUMNS_MAX], max[MD_SERIES_COLUMNS_MAX]; /* of the columns */
};
/* Holds for what comes from now on; what is in the table stays. */
void md_series_set_limits(struct md_series *series, const struct md_series_limits *limits);

/*
 * One record. values[column_count], NaN = absent. labels[label_count] or NULL; a NULL entry keeps
 * what is known. Refuses (MD_ERR_UNPROCESSABLE, the reason in err) times in the future or before
 * the window, steps that are too late to reopen, values out of range, and new entities past
 * entities_max (MD_ERR_UNAVAILABLE).
 */
enum md_status md_series_upsert(struct md_series *series, const char *key, int64_t time_ms,
                                const float *values, const char *const *labels,
                                struct md_error *err);

struct md_feed_error {
    int64_t index; /* of the record in the request */
    char field[48];
    char reason[128];
};
struct md_feed_result {
    int64_t accepted, rejected;
    int64_t
        unknown_fields; /* fields of accepted records that are neither columns, labels, key, time */
    int error_count;    /* the first MD_FEED_ERRORS_MAX rejections */
    struct md_feed_error errors[MD_FEED_ERRORS_MAX];
};

/*
 * A feed body: {"records": [{...}, ...]}. Not JSON: MD_ERR_INVALID with the position. Another
 * shape: MD_ERR_UNPROCESSABLE. Otherwise good records are kept and bad ones listed;
 * MD_ERR_UNPROCESSABLE when there were records and none was good
 * (`result` is filled all the same). An empty list is accepted = 0.
 */
enum md_status md_series_feed(struct md_series *series, const char *body, size_t length,
                              struct md_feed_result *result, struct md_error *err);

/* ---- reading -------------------------------------------------------------------------------- */

/* End of the newest closed step at time now_ms: steps are aligned to the epoch. */
int64_t md_series_closed_ms(const struct md_series *series, int64_t now_ms);

/* Counts changes to steps that were already closed; with closed_ms it says whether a forecast is
 * still current. */
uint64_t md_series_version(const struct md_series *series);

int md_series_count(const struct md_series *series);

/* The live entities in byte order of their keys, as a blob of `*count` pointers and their text:
 * free() it. NULL: no memory. */
char **md_series_keys(const struct md_series *series, int *count);

/*
 * out: [key_count, steps, column_count] float32, NaN where there is no data: the steps that end at
 * end_ms (rounded down to a step) and before. Unknown keys give rows of NaN. keys NULL is not
 * allowed; key_count may be 0.
 */
enum md_status md_series_window(const struct md_series *series, const char *const *keys,
                                int key_count, int64_t end_ms, int steps, const int *columns,
                                int column_count, struct md_tensor *out, struct md_error *err);

/*
 * The newest value of each column, closed or not: out [key_count, column_count] float32, NaN where
 * none is in the window; times [key_count] int64: when the entity last sent anything, 0 for unknown
 * keys.
 */
enum md_status md_series_latest(const struct md_series *series, const char *const *keys,
                                int key_count, const int *columns, int column_count,
                                struct md_tensor *out, struct md_tensor *times,
                                struct md_error *err);

/* lengths[i]: steps from the first one with data up to end_ms, at most `steps`; 0 for unknown keys
 * or no data. */
void md_series_lengths(const struct md_series *series, const char *const *keys, int key_count,
                       int64_t end_ms, int steps, int *lengths);

/* Copies the entity's label (index into label_fields); false when the entity or the label is
 * unknown. */
bool md_series_label(const struct md_series *series, const char *key, int label,
                     char text[MD_SERIES_KEY_BYTES]);

struct md_series_stats {
    int entities;
    size_t bytes;
    int64_t accepted, rejected, refused_entities, evicted,
        unknown_fields; /* since the process started */
    int64_t samples;    /* accepted, counting those restored: the age of the table */
};
void md_series_get_stats(const struct md_series *series, struct md_series_stats *stats);

/* Forgets entities whose newest record is older than evict_after_ms. Returns how many. */
int md_series_evict(struct md_series *series, int64_t now_ms);
void md_series_clear(struct md_series *series);

#endif
