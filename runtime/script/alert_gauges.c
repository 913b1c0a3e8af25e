/*
 * Numbers of the runtime that rules watch. A gauge is its value; a counter is how much it rises a
 * second, and a histogram's quantile is of what was observed, since the tick before: the first tick
 * after a start has neither. Within a bucket observations count as evenly spread, as in Prometheus'
 * histogram_quantile; those above the last bound count as that bound.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "script/alerts.h"

struct md__gauge_memory {
    struct md__gauge_memory *next;
    char *text;
    int64_t time_ms;
    struct md_metric_sum sum;
};

static struct md__gauge_memory *remember(struct md__gauge_memory **memory, const char *text)
{
    struct md__gauge_memory *found = *memory;
    while (found != NULL && strcmp(found->text, text) != 0)
        found = found->next;
    if (found != NULL)
        return found;
    found = calloc(1, sizeof *found);
    if (found == NULL || (found->text = strdup(text)) == NULL) {
        free(found);
        return NULL;
    }
    found->next = *memory;
    *memory = found;
    return found;
}

/* The quantile of what came between two sums; NaN when nothing did. */
static double quantile_between(const struct md_metric_sum *now, const struct md_metric_sum *before,
                               double quantile)
{
    double total = 0, reached = 0;
    for (int i = 0; i <= now->bound_count; i++)
        total += now->buckets[i] - before->buckets[i];
    if (!(total > 0) || now->bound_count == 0)
        return NAN;
    double rank = quantile * total;
    for (int i = 0; i < now->bound_count; i++) {
        double count = now->buckets[i] - before->buckets[i];
        double low = i > 0 ? now->bounds[i - 1] : now->bounds[0] > 0 ? 0 : now->bounds[0];
        if (count > 0 && reached + count >= rank)
            return low + (now->bounds[i] - low) * (rank - reached) / count;
        reached += count;
    }
    return now->bounds[now->bound_count - 1];
}

static double read_since(const struct md__gauge_memory *before, const struct md__gauge *gauge,
                         const struct md_metric_sum *sum, int64_t now_ms)
{
    double seconds = (double)(now_ms - before->time_ms) / 1000;
    if (before->time_ms == 0 || seconds <= 0 || before->sum.type != sum->type)
        return NAN;
    if (sum->type == MD_HISTOGRAM && !isnan(gauge->quantile))
        return quantile_between(sum, &before->sum, gauge->quantile);
    return (sum->value - before->sum.value) / seconds;
}

double md__gauge_read(struct md__gauge_memory **memory, const struct md__gauge *gauge,
                      int64_t now_ms)
{
    struct md_metric_sum sum;
    if (!md_metrics_sum(md_metrics_global(), gauge->name, gauge->labels, gauge->values,
                        gauge->label_count, &sum))
        return NAN;
    if (sum.type == MD_GAUGE)
        return sum.value;
    struct md__gauge_memory *before = remember(memory, gauge->text);
    if (before == NULL)
        return NAN;
    double value = read_since(before, gauge, &sum, now_ms);
    before->time_ms = now_ms;
    before->sum = sum;
    return value;
}

void md__gauge_memory_delete(struct md__gauge_memory *memory)
{
    while (memory != NULL) {
        struct md__gauge_memory *next = memory->next;
        free(memory->text);
        free(memory);
        memory = next;
    }
}
