/*
 * Metrics. Families and series only ever get added, under the registry's lock, and are published by
 * release stores into linked lists; so lookups that hit, updates and rendering read without a lock.
 * Memory comes from one arena per registry.
 *
 * A series' number is a double kept as bits in an atomic word, added to by compare-and-swap. A
 * histogram's buckets are plain counters and its count is their sum, so `_count` always equals the
 * +Inf bucket, whatever is observed meanwhile.
 */
#include "base/metrics.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/metrics_internal.h"
#include "base/utf8.h"

enum { VALUE_BYTES_MAX = 128, REGISTRY_BYTES_MAX = 64 << 20 };

/* Label values made fit to store and compare. */
struct key {
    char values[MD_METRIC_LABELS_MAX][VALUE_BYTES_MAX + 1];
    unsigned hash;
};

/* ---- registries ---- */

struct md_metrics *md_metrics_global(void)
{
    static struct md_metrics global = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                       .collecting = PTHREAD_MUTEX_INITIALIZER,
                                       .arena = {.bytes_max = REGISTRY_BYTES_MAX}};
    return &global;
}

struct md_metrics *md_metrics_new(void)
{
    struct md_metrics *metrics = calloc(1, sizeof *metrics);
    if (!metrics)
        return NULL;
    pthread_mutex_init(&metrics->lock, NULL);
    pthread_mutex_init(&metrics->collecting, NULL);
    md_arena_init(&metrics->arena, REGISTRY_BYTES_MAX);
    return metrics;
}

void md_metrics_delete(struct md_metrics *metrics)
{
    if (!metrics)
        return;
    md_arena_fini(&metrics->arena);
    pthread_mutex_destroy(&metrics->lock);
    pthread_mutex_destroy(&metrics->collecting);
    free(metrics);
}

/* ---- label values ---- */

static void fit_value(const char *value, char fitted[VALUE_BYTES_MAX + 1])
{
    size_t length = value ? strlen(value) : 0;
    size_t used = 0;
    for (size_t i = 0; i < length;) {
        size_t step = md_utf8_sequence(value + i, length - i);
        if (used + (step ? step : 1) > VALUE_BYTES_MAX)
            break;
        if (step)
            memcpy(fitted + used, value + i, step);
        else
            fitted[used] = '?';
        used += step ? step : 1;
        i += step ? step : 1;
    }
    fitted[used] = '\0';
}

/* FNV-1a, each value with its NUL. */
static void make_key(const struct md_family *family, const char *const *values, struct key *key)
{
    key->hash = 2166136261u;
    for (int i = 0; i < family->label_count; i++) {
        fit_value(values ? values[i] : NULL, key->values[i]);
        const char *c = key->values[i];
        do
            key->hash = (key->hash ^ (unsigned char)*c) * 16777619u;
        while (*c++);
    }
}

/* ---- series ---- */

static bool has_values(const struct md_metric *metric, const struct key *key)
{
    for (int i = 0; i < metric->family->label_count; i++)
        if (strcmp(metric->values[i], key->values[i]) != 0)
            return false;
    return true;
}

static struct md_metric *find_series(struct md_family *family, const struct key *key)
{
    struct md_metric *metric = atomic_load(&family->chains[key->hash % MD__METRIC_CHAINS]);
    while (metric && !has_values(metric, key))
        metric = metric->chained;
    return metric;
}

static struct md_metric *new_series(struct md_family *family, const struct key *key)
{
    struct md_arena *arena = &family->metrics->arena;
    struct md_metric *metric = md_arena_alloc(arena, sizeof *metric);
    if (!metric)
        return NULL;
    metric->family = family;
    for (int i = 0; i < family->label_count; i++) {
        metric->values[i] = md_arena_strdup(arena, key->values[i]);
        if (!metric->values[i])
            return NULL;
    }
    if (family->type == MD_HISTOGRAM) {
        size_t buckets = (size_t)family->bound_count + 1;
        metric->buckets = md_arena_array(arena, buckets, sizeof *metric->buckets);
        if (!metric->buckets)
            return NULL;
    }
    return metric;
}

/* Under the lock. */
static struct md_metric *add_series(struct md_family *family, const struct key *key)
{
    struct md_metric *metric = new_series(family, key);
    if (!metric)
        return NULL;
    struct md_metric *_Atomic *chain = &family->chains[key->hash % MD__METRIC_CHAINS];
    metric->chained = atomic_load(chain);
    atomic_store(chain, metric);
    if (family->last)
        atomic_store(&family->last->next, metric);
    else
        family->first = metric;
    family->last = metric;
    family->series_count++;
    return metric;
}

struct md_metric *md_metric_get(struct md_family *family, const char *const *values)
{
    if (!family)
        return NULL;
    struct key key;
    make_key(family, values, &key);
    struct md_metric *metric = find_series(family, &key);
    if (!metric) {
        pthread_mutex_lock(&family->metrics->lock);
        metric = find_series(family, &key); /* another thread may have added it */
        if (!metric && family->series_count <= MD_METRIC_SERIES_MAX)
            metric = add_series(family, &key);
        pthread_mutex_unlock(&family->metrics->lock);
    }
    if (!metric)
        metric = family->overflow;
    if (!atomic_load_explicit(&metric->is_used, memory_order_relaxed))
        atomic_store(&metric->is_used, true);
    return metric;
}

/* ---- families ---- */

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Colons are legal in the format but reserved for recording rules. */
static bool is_name(const char *name)
{
    if (!name || !is_letter(*name))
        return false;
    while (is_letter(*name) || (*name >= '0' && *name <= '9'))
        name++;
    return *name == '\0';
}

static bool is_label(const char *label, enum md_metric_type type)
{
    return is_name(label) && strncmp(label, "__", 2) != 0 &&
           !(type == MD_HISTOGRAM && strcmp(label, "le") == 0);
}

static bool take_labels(struct md_family *family, const char *const *labels)
{
    for (; labels && labels[family->label_count]; family->label_count++) {
        const char *label = labels[family->label_count];
        if (family->label_count == MD_METRIC_LABELS_MAX || !is_label(label, family->type))
            return false;
        for (int i = 0; i < family->label_count; i++)
            if (strcmp(labels[i], label) == 0)
                return false;
        family->labels[family->label_count] = label;
    }
    return true;
}

static bool take_bounds(struct md_family *family, const double *bounds, int count)
{
    static const double seconds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                     0.25,  0.5,    1,     2.5,  5,     10};
    if (family->type != MD_HISTOGRAM)
        return true;
    if (!bounds) {
        bounds = seconds;
        count = sizeof seconds / sizeof *seconds;
    }
    if (count < 1 || count > MD_METRIC_BOUNDS_MAX)
        return false;
    for (int i = 0; i < count; i++)
        if (!isfinite(bounds[i]) || (i > 0 && bounds[i] <= bounds[i - 1]))
            return false;
    memcpy(family->bounds, bounds, sizeof *bounds * (size_t)count);
    family->bound_count = count;
    return true;
}

/* `name` is one of the samples that histogram `family` renders. */
static bool is_sample_of(const char *name, const struct md_family *family)
{
    static const char *const suffixes[] = {"_bucket", "_sum", "_count"};
    size_t length = strlen(family->name);
    if (family->type != MD_HISTOGRAM || strncmp(name, family->name, length) != 0)
        return false;
    for (int i = 0; i < 3; i++)
        if (strcmp(name + length, suffixes[i]) == 0)
            return true;
    return false;
}

static bool is_same_declaration(const struct md_family *a, const struct md_family *b)
{
    if (a->type != b->type || a->label_count != b->label_count || a->bound_count != b->bound_count)
        return false;
    for (int i = 0; i < a->label_count; i++)
        if (strcmp(a->labels[i], b->labels[i]) != 0)
            return false;
    return memcmp(a->bounds, b->bounds, sizeof *a->bounds * (size_t)a->bound_count) == 0;
}

/* Copies the declaration's texts and makes the overflow series. NULL: out of memory. */
static struct md_family *keep_family(struct md_metrics *metrics, const struct md_family *declared)
{
    struct md_arena *arena = &metrics->arena;
    struct md_family *family = md_arena_alloc(arena, sizeof *family);
    if (!family)
        return NULL;
    memcpy(family, declared, sizeof *family);
    family->name = md_arena_strdup(arena, declared->name);
    family->help = md_arena_strdup(arena, declared->help ? declared->help : "");
    if (!family->name || !family->help)
        return NULL;
    for (int i = 0; i < family->label_count; i++) {
        family->labels[i] = md_arena_strdup(arena, declared->labels[i]);
        if (!family->labels[i])
            return NULL;
    }
    static const char *const other[] = {"other", "other", "other", "other"};
    struct key key;
    make_key(family, other, &key);
    family->overflow = add_series(family, &key);
    return family->overflow ? family : NULL;
}

/* Under the lock. */
static struct md_family *declare(struct md_metrics *metrics, const struct md_family *declared)
{
    struct md_family *known = atomic_load(&metrics->first);
    for (; known; known = atomic_load(&known->next)) {
        if (strcmp(known->name, declared->name) == 0)
            return is_same_declaration(known, declared) ? known : NULL;
        if (is_sample_of(known->name, declared) || is_sample_of(declared->name, known))
            return NULL;
    }
    struct md_family *family = keep_family(metrics, declared);
    if (!family)
        return NULL;
    atomic_store(metrics->last ? &metrics->last->next : &metrics->first, family);
    metrics->last = family;
    return family;
}

struct md_family *md_family_new(struct md_metrics *metrics, enum md_metric_type type,
                                const char *name, const char *help, const char *const *labels,
                                const double *bounds, int bound_count)
{
    struct md_family declared = {.metrics = metrics, .type = type, .name = name, .help = help};
    if (!is_name(name) || !take_labels(&declared, labels) ||
        !take_bounds(&declared, bounds, bound_count))
        return NULL;
    pthread_mutex_lock(&metrics->lock);
    struct md_family *family = declare(metrics, &declared);
    pthread_mutex_unlock(&metrics->lock);
    if (family && family->label_count == 0)
        md_metric_get(family, NULL); /* its series is there, and 0, before anything happens */
    return family;
}

/* ---- updates ---- */

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void add(_Atomic uint64_t *bits, double amount)
{
    uint64_t before = atomic_load_explicit(bits, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(bits, &before,
                                                  bits_of(md__double_of(before) + amount),
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

void md_metric_add(struct md_metric *metric, double amount)
{
    if (!metric || isnan(amount) || metric->family->type == MD_HISTOGRAM ||
        (metric->family->type == MD_COUNTER && amount < 0))
        return;
    add(&metric->bits, amount);
}

void md_metric_set(struct md_metric *metric, double value)
{
    if (metric && !isnan(value) && metric->family->type != MD_HISTOGRAM)
        atomic_store_explicit(&metric->bits, bits_of(value), memory_order_relaxed);
}

void md_metric_observe(struct md_metric *metric, double value)
{
    if (!metric || isnan(value) || metric->family->type != MD_HISTOGRAM)
        return;
    const struct md_family *family = metric->family;
    int bucket = 0;
    while (bucket < family->bound_count && value > family->bounds[bucket])
        bucket++;
    atomic_fetch_add_explicit(&metric->buckets[bucket], 1, memory_order_relaxed);
    add(&metric->bits, value);
}

double md_metric_value(const struct md_metric *metric)
{
    if (!metric)
        return 0;
    if (metric->family->type != MD_HISTOGRAM)
        return md__number(metric);
    uint64_t count = 0;
    for (int i = 0; i <= metric->family->bound_count; i++)
        count += md__bucket_count(metric, i);
    return (double)count;
}
