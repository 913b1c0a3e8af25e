/*
 * Metrics: counters, gauges and histograms with labels, rendered as Prometheus text 0.0.4 or JSON.
 *
 * A family is declared once (name, help, type, label names); a series of it is looked up by label
 * values, and its handle can be kept for the life of the registry. Updates take no lock and do not
 * allocate; neither does a lookup of a series that exists, and rendering does not block either,
 * but for what collectors do. Series per family are capped (1,000): past the cap a lookup returns
 * the family's overflow series, whose label values are "other". A family without labels has its one
 * series, 0, from its declaration on.
 *
 * Names follow Prometheus: prefix moondial_, base units (_seconds, _bytes), _total for counters.
 * All functions are safe from any thread.
 */
#ifndef MD_BASE_METRICS_H
#define MD_BASE_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/status.h"

#define MD_METRIC_LABELS_MAX 4
#define MD_METRIC_BOUNDS_MAX 64
#define MD_METRIC_SERIES_MAX 1000 /* per family */

enum md_metric_type { MD_COUNTER, MD_GAUGE, MD_HISTOGRAM };

struct md_metric_label {
    const char *name, *value;
};

struct md_metrics; /* a registry */
struct md_family;
struct md_metric; /* one series */

/* The process-wide registry. */
struct md_metrics *md_metrics_global(void);

/*
 * Registries of one's own, for tests; NULL when out of memory. delete frees all families and
 * series.
 */
struct md_metrics *md_metrics_new(void);
void md_metrics_delete(struct md_metrics *metrics);

/*
 * Declares a family or returns the one declared before under that name; NULL when type, labels or
 * bounds differ from before, when a name is not legal or taken by a histogram's samples, or when
 * memory ran out. `labels` is a NULL-terminated list or NULL. `bounds` are a histogram's strictly
 * ascending finite upper bounds, at most MD_METRIC_BOUNDS_MAX (NULL: a default for seconds); +Inf
 * is added.
 */
struct md_family *md_family_new(struct md_metrics *metrics, enum md_metric_type type,
                                const char *name, const char *help, const char *const *labels,
                                const double *bounds, int bound_count);

/*
 * The series for these label values (as many as the family has labels). Never NULL for a valid
 * family; NULL for NULL. A value counts by its first 128 bytes; what is not UTF-8 in it becomes
 * '?'.
 */
struct md_metric *md_metric_get(struct md_family *family, const char *const *values);

/*
 * Updates that a type does not have, of NaN, or of a NULL series do nothing: a number that is wrong
 * once must not spoil a sum for ever, nor a mistake in a script stop the process.
 */
void md_metric_add(struct md_metric *metric, double amount); /* counter (amount >= 0) or gauge */
void md_metric_set(struct md_metric *metric, double value); /* gauge; counter of an outside total */
void md_metric_observe(struct md_metric *metric, double value); /* histogram */
double md_metric_value(const struct md_metric *metric);         /* a histogram's count */

/* What the series of a family add up to. */
struct md_metric_sum {
    enum md_metric_type type;
    double value;    /* of a histogram: how many observations */
    int bound_count; /* of a histogram */
    double bounds[MD_METRIC_BOUNDS_MAX];
    double buckets[MD_METRIC_BOUNDS_MAX + 1]; /* not cumulative */
};
/* Sums the series whose labels have these values, all of them when label_count is 0. False: there
 * is no such family, label or series. */
bool md_metrics_sum(struct md_metrics *metrics, const char *name, const char *const *labels,
                    const char *const *values, int label_count, struct md_metric_sum *sum);

/*
 * A gauge family whose series come and go: they are asked for whenever metrics are rendered.
 * `collect` calls emit once a series, with as many labels as it likes, and must not use this file.
 */
typedef void (*md_metric_emit)(void *sink, const struct md_metric_label *labels, int label_count,
                               double value);
struct md_collector {
    const char *name, *help;
    void (*collect)(void *context, md_metric_emit emit, void *sink);
    void *context;
    struct md_collector *next; /* the registry's */
};
/* Borrows the collector until it is removed, which waits for rendering to end. */
void md_collector_add(struct md_metrics *metrics, struct md_collector *collector);
void md_collector_remove(struct md_metrics *metrics, struct md_collector *collector);

/* Families appear in the order of their declaration, series in that of their first lookup. */
void md_metrics_render_prometheus(struct md_metrics *metrics, struct md_buffer *out);
/*
 * {"NAME": {"type", "help", "series": [{"labels": {..}, "value"}]}}; a histogram's series has
 * "count", "sum" and "buckets": [{"le", "count"}], cumulative, the last "le" being "+Inf".
 */
void md_metrics_render_json(struct md_metrics *metrics, struct md_buffer *out);

#endif
