/*
 * Alert instances: what they are made of, where they are found, in which order they are shown.
 *
 * An instance is one piece of memory: the record, its labels, their strings. It outlives its rule.
 * Two ways lead to one: a hash table, for the tick that has a rule, a column and a key in hand; and
 * one ordered list (rule, key, column), in which everything that happens in a tick happens, so that
 * equal frames give equal events in an equal order.
 *
 * The fingerprint is what Alertmanager computes of the same labels (FNV-1a over the sorted names
 * and values), so that an alert has one name here and there.
 */
#include "alert/internal.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

uint64_t md__alert_key_hash(const char *key, const char *profile)
{
    return md__alert_hash(md__alert_hash(MD__HASH_SEED, key), profile);
}

uint64_t md__alert_identity_hash(uint64_t rule_identity, const char *column, uint64_t key_hash)
{
    uint64_t hash = md__alert_hash(rule_identity, column) ^ key_hash;
    hash = (hash ^ hash >> 29) * 0xbf58476d1ce4e5b9ull;
    return hash ^ hash >> 32;
}

/* ---- making one ------------------------------------------------------------------------------ */

static int compare_labels(const void *left, const void *right)
{
    const struct md_alert_label *a = left, *b = right;
    return strcmp(a->name, b->name);
}

static const char *keep(char **at, const char *text)
{
    size_t size = strlen(text) + 1;
    char *kept = memcpy(*at, text, size);
    *at += size;
    return kept;
}

static void add_label(struct md_alert *alert, struct md_alert_label *labels, const char *name,
                      const char *value)
{
    if (*value)
        labels[alert->label_count++] = (struct md_alert_label){name, value};
}

static size_t strings_size(const struct md__alert_identity *identity)
{
    size_t size = strlen(identity->name) + strlen(identity->severity) + strlen(identity->key) +
                  strlen(identity->column) + strlen(identity->profile) + 5;
    for (int i = 0; i < identity->label_count; i++)
        size += strlen(identity->labels[i].name) + strlen(identity->labels[i].value) + 2;
    return size;
}

static void make_labels(struct md__alert_instance *instance,
                        const struct md__alert_identity *identity, const char *entity_label,
                        char *strings)
{
    struct md_alert *alert = &instance->alert;
    struct md_alert_label *labels = instance->labels;
    add_label(alert, labels, "alertname", alert->name);
    add_label(alert, labels, "severity", alert->severity);
    add_label(alert, labels, "metric", alert->column);
    add_label(alert, labels, "profile", alert->profile);
    add_label(alert, labels, entity_label, alert->key);
    for (int i = 0; i < identity->label_count; i++) {
        const struct md_alert_label *own = &identity->labels[i];
        if (strcmp(own->name, entity_label) == 0 && *alert->key)
            continue; /* whose alert it is comes first */
        const char *name = keep(&strings, own->name);
        add_label(alert, labels, name, keep(&strings, own->value));
    }
    qsort(labels, (size_t)alert->label_count, sizeof *labels, compare_labels);
    alert->fingerprint = MD__HASH_SEED;
    for (int i = 0; i < alert->label_count; i++) {
        alert->fingerprint = md__alert_hash(alert->fingerprint, labels[i].name);
        alert->fingerprint = md__alert_hash(alert->fingerprint, labels[i].value);
    }
}

struct md__alert_instance *md__alert_instance_new(const struct md__alert_identity *identity,
                                                  const char *entity_label)
{
    size_t label_max = 5 + (size_t)identity->label_count;
    size_t labels_size = label_max * sizeof(struct md_alert_label);
    struct md__alert_instance *instance =
        calloc(1, sizeof *instance + labels_size + strings_size(identity));
    if (!instance)
        return NULL;
    char *strings = (char *)instance->labels + labels_size;
    struct md_alert *alert = &instance->alert;
    alert->name = keep(&strings, identity->name);
    alert->severity = keep(&strings, identity->severity);
    alert->key = keep(&strings, identity->key);
    alert->column = keep(&strings, identity->column);
    alert->profile = keep(&strings, identity->profile);
    alert->value = alert->limit = NAN;
    alert->labels = instance->labels;
    make_labels(instance, identity, entity_label, strings);
    instance->rule = -1;
    instance->rule_identity = identity->rule;
    instance->identity = md__alert_identity_hash(
        identity->rule, identity->column, md__alert_key_hash(identity->key, identity->profile));
    return instance;
}

void md__alert_instance_show(struct md__alert_instance *instance)
{
    instance->alert.state = instance->life.state;
    instance->alert.active_ms = instance->life.active_ms;
    instance->alert.fired_ms = instance->life.fired_ms;
    instance->alert.resolved_ms = instance->life.resolved_ms;
    instance->alert.keep_since_ms = instance->life.keep_since_ms;
}

/* ---- the table ------------------------------------------------------------------------------- */

static struct md__alert_instance **bucket_of(const struct md__alert_table *table, uint64_t identity)
{
    return &table->buckets[identity & (uint64_t)(table->bucket_count - 1)];
}

static bool is_made_of(const struct md_alert *alert, const struct md__alert_identity *made_of)
{
    return strcmp(alert->key, made_of->key) == 0 && strcmp(alert->column, made_of->column) == 0 &&
           strcmp(alert->profile, made_of->profile) == 0 && strcmp(alert->name, made_of->name) == 0;
}

struct md__alert_instance *md__alert_table_find(const struct md__alert_table *table, uint64_t hash,
                                                const struct md__alert_identity *made_of)
{
    struct md__alert_instance *at = table->bucket_count > 0 ? *bucket_of(table, hash) : NULL;
    while (at && (at->identity != hash || !is_made_of(&at->alert, made_of)))
        at = at->chained;
    return at;
}

static void chain(struct md__alert_table *table, struct md__alert_instance *instance)
{
    struct md__alert_instance **bucket = bucket_of(table, instance->identity);
    instance->chained = *bucket;
    *bucket = instance;
}

static bool grow_buckets(struct md__alert_table *table, int wanted)
{
    int count = table->bucket_count > 0 ? table->bucket_count : 64;
    while (count < wanted && count < INT_MAX / 2)
        count *= 2;
    if (count == table->bucket_count)
        return true;
    struct md__alert_instance **buckets = calloc((size_t)count, sizeof *buckets);
    if (!buckets)
        return false;
    free(table->buckets);
    table->buckets = buckets;
    table->bucket_count = count;
    for (int i = 0; i < table->count; i++)
        chain(table, table->ordered[i]);
    return true;
}

bool md__alert_table_reserve(struct md__alert_table *table, int extra)
{
    if (extra > INT_MAX / 4 - table->count)
        return false;
    int wanted = table->count + extra;
    if (wanted > table->capacity) {
        int capacity = wanted + wanted / 2 + 16;
        struct md__alert_instance **ordered =
            realloc(table->ordered, (size_t)capacity * sizeof *ordered);
        if (!ordered)
            return false;
        table->ordered = ordered;
        table->capacity = capacity;
    }
    return grow_buckets(table, wanted);
}

static int compare_instances(const void *left, const void *right)
{
    const struct md__alert_instance *a = *(struct md__alert_instance *const *)left;
    const struct md__alert_instance *b = *(struct md__alert_instance *const *)right;
    if (a->rule != b->rule)
        return (unsigned)a->rule < (unsigned)b->rule ? -1 : 1; /* -1, removed, comes last */
    int order = a->rule < 0 ? strcmp(a->alert.name, b->alert.name) : 0;
    if (order == 0)
        order = strcmp(a->alert.key, b->alert.key);
    if (order == 0)
        order = a->ordinal - b->ordinal;
    if (order == 0)
        order = strcmp(a->alert.column, b->alert.column);
    return order ? order : (a->identity > b->identity) - (a->identity < b->identity);
}

void md__alert_table_sort(struct md__alert_table *table)
{
    if (table->count > 1)
        qsort(table->ordered, (size_t)table->count, sizeof(struct md__alert_instance *),
              compare_instances);
}

void md__alert_table_add(struct md__alert_table *table, struct md__alert_instance **fresh,
                         int count)
{
    if (count == 0)
        return;
    qsort(fresh, (size_t)count, sizeof(struct md__alert_instance *), compare_instances);
    int old = table->count - 1, new = count - 1;
    table->count += count;
    for (int at = table->count - 1; new >= 0; at--) {
        bool old_is_later = old >= 0 && compare_instances(&table->ordered[old], &fresh[new]) > 0;
        table->ordered[at] = old_is_later ? table->ordered[old--] : fresh[new --];
    }
    for (int i = 0; i < count; i++)
        chain(table, fresh[i]);
}

void md__alert_table_append(struct md__alert_table *table, struct md__alert_instance *instance)
{
    table->ordered[table->count++] = instance;
    chain(table, instance);
}

static void unchain(struct md__alert_table *table, struct md__alert_instance *instance)
{
    struct md__alert_instance **at = bucket_of(table, instance->identity);
    while (*at != instance)
        at = &(*at)->chained;
    *at = instance->chained;
}

void md__alert_table_sweep(struct md__alert_table *table,
                           bool (*is_over)(const struct md__alert_instance *instance,
                                           int64_t time_ms),
                           int64_t time_ms)
{
    int kept = 0;
    for (int i = 0; i < table->count; i++) {
        struct md__alert_instance *instance = table->ordered[i];
        if (is_over(instance, time_ms)) {
            unchain(table, instance);
            free(instance);
        } else {
            table->ordered[kept++] = instance;
        }
    }
    table->count = kept;
}

void md__alert_table_fini(struct md__alert_table *table)
{
    for (int i = 0; i < table->count; i++)
        free(table->ordered[i]);
    free(table->ordered);
    free(table->buckets);
    *table = (struct md__alert_table){0};
}
