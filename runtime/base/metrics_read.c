/* Metrics read back: sums over series, for rules that watch the runtime itself. */
#include "base/metrics_internal.h"

static struct md_family *find_family(struct md_metrics *metrics, const char *name)
{
    struct md_family *family = atomic_load(&metrics->first);
    while (family && strcmp(family->name, name) != 0)
        family = atomic_load(&family->next);
    return family;
}

/* Whether every label that is asked for has that value. */
static bool matches(const struct md_metric *metric, const char *const *labels,
                    const char *const *values, int label_count)
{
    const struct md_family *family = metric->family;
    for (int i = 0; i < label_count; i++) {
        int at = 0;
        while (at < family->label_count && strcmp(family->labels[at], labels[i]) != 0)
            at++;
        if (at == family->label_count || strcmp(metric->values[at], values[i]) != 0)
            return false;
    }
    return true;
}

static void add_series(struct md_metric_sum *sum, const struct md_metric *metric)
{
    for (int i = 0; sum->type == MD_HISTOGRAM && i <= sum->bound_count; i++)
        sum->buckets[i] += (double)md__bucket_count(metric, i);
    sum->value += md_metric_value(metric);
}

bool md_metrics_sum(struct md_metrics *metrics, const char *name, const char *const *labels,
                    const char *const *values, int label_count, struct md_metric_sum *sum)
{
    const struct md_family *family = find_family(metrics, name);
    bool found = false;
    memset(sum, 0, sizeof *sum);
    if (!family)
        return false;
    sum->type = family->type;
    sum->bound_count = family->type == MD_HISTOGRAM ? family->bound_count : 0;
    memcpy(sum->bounds, family->bounds, sizeof *sum->bounds * (size_t)sum->bound_count);
    for (const struct md_metric *metric = family->first; metric;
         metric = atomic_load(&metric->next)) {
        if (!atomic_load(&metric->is_used) || !matches(metric, labels, values, label_count))
            continue;
        add_series(sum, metric);
        found = true;
    }
    return found;
}

void md_collector_add(struct md_metrics *metrics, struct md_collector *collector)
{
    pthread_mutex_lock(&metrics->collecting);
    collector->next = metrics->collectors;
    metrics->collectors = collector;
    pthread_mutex_unlock(&metrics->collecting);
}

void md_collector_remove(struct md_metrics *metrics, struct md_collector *collector)
{
    pthread_mutex_lock(&metrics->collecting);
    struct md_collector **at = &metrics->collectors;
    while (*at && *at != collector)
        at = &(*at)->next;
    if (*at)
        *at = collector->next;
    pthread_mutex_unlock(&metrics->collecting);
}
