/* What metrics.c keeps and metrics_text.c renders; see metrics.c for the rules. */
#ifndef MD_BASE_METRICS_INTERNAL_H
#define MD_BASE_METRICS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/arena.h"
#include "base/metrics.h"

enum { MD__METRIC_CHAINS = 64 };

struct md_metric {
    struct md_family *family;
    struct md_metric *chained;      /* next in its hash chain; set before publication */
    struct md_metric *_Atomic next; /* next of the family, for rendering */
    _Atomic bool is_used;           /* false: an overflow series nobody has needed */
    _Atomic uint64_t bits;          /* the value, or a histogram's sum */
    _Atomic uint64_t *buckets;      /* histogram: bound_count + 1, not cumulative */
    const char *values[MD_METRIC_LABELS_MAX];
};

struct md_family {
    struct md_metrics *metrics;
    struct md_family *_Atomic next;
    enum md_metric_type type;
    const char *name;
    const char *help;
    int label_count;
    const char *labels[MD_METRIC_LABELS_MAX];
    int bound_count;
    double bounds[MD_METRIC_BOUNDS_MAX];
    struct md_metric *overflow;
    struct md_metric *first;
    struct md_metric *last;
    int series_count;
    struct md_metric *_Atomic chains[MD__METRIC_CHAINS];
};

struct md_metrics {
    pthread_mutex_t lock;
    struct md_arena arena;
    struct md_family *_Atomic first;
    struct md_family *last;
    pthread_mutex_t collecting; /* guards the collectors, and is held while they are asked */
    struct md_collector *collectors;
};

static inline double md__double_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline double md__number(const struct md_metric *metric)
{
    return md__double_of(atomic_load_explicit(&metric->bits, memory_order_relaxed));
}

static inline uint64_t md__bucket_count(const struct md_metric *metric, int bucket)
{
    return atomic_load_explicit(&metric->buckets[bucket], memory_order_relaxed);
}

#endif
