/*
 * Metrics: counters, gauges and histograms with labels, rendered as Prometheus text 0.0.4 or JSON.
 *
 * A family is declared once (name, help, type, label names); a series of it is looked up by label
 * values, and its handle can be kept for the life of the registry. Updates are lock-free; lookups
 * take a lock. Series per family are capped (1,000): past the cap a lookup returns the family's
 * overflow series, whose label values are "other". Names follow Prometheus: prefix moondial_, base
 * units (_seconds, _bytes), _total for counters.
 */
#ifndef MD_BASE_METRICS_H
#define MD_BASE_METRICS_H

#include <stdint.h>

#include "base/buffer.h"
#include "base/status.h"

#define MD_METRIC_LABELS_MAX 4

enum md_metric_type { MD_COUNTER, MD_GAUGE, MD_HISTOGRAM };

struct md_metrics; /* a registry */
struct md_family;
struct md_metric; /* one series */

/* The process-wide registry, made at first use. */
struct md_metrics *md_metrics_global(void);

/*
 * Declares a family or returns the one declared before under that name; NULL when the declaration
 * differs or a name is not legal. `labels` is a NULL-terminated list or NULL. `bounds` are a
 * histogram's ascending upper bounds (NULL: a default for seconds); +Inf is added.
 */
struct md_family *md_family_new(struct md_metrics *metrics, enum md_metric_type type,
                                const char *name, const char *help, const char *const *labels,
                                const double *bounds, int bound_count);

/*
 * The series for these label values (as many as the family has labels). Never NULL for a valid
 * family.
 */
struct md_metric *md_metric_get(struct md_family *family, const char *const *values);

void md_metric_add(struct md_metric *metric, double amount);    /* counter or gauge */
void md_metric_set(struct md_metric *metric, double value);     /* gauge */
void md_metric_observe(struct md_metric *metric, double value); /* histogram */
double md_metric_value(const struct md_metric *metric);         /* a histogram's count */

void md_metrics_render_prometheus(struct md_metrics *metrics, struct md_buffer *out);
void md_metrics_render_json(struct md_metrics *metrics, struct md_buffer *out);

#endif
