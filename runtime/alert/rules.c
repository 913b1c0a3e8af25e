/*
 * Rule sets: everything that could be wrong with a rule is found here, once, so that evaluating
 * one needs no checks. A set owns a copy of all its strings and numbers in one arena and never
 * changes.
 *
 * A rule's *identity* (name, severity, its own labels) is what its instances are matched by when
 * rules change: an edit of a limit or a hold time goes on with the instances there are, an edit of
 * a label makes others of them, as it does for Prometheus.
 */
#include "alert/internal.h"

#include <limits.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define NAME_BYTES_MAX 200

uint64_t md__alert_hash(uint64_t hash, const char *text)
{
    const uint64_t prime = 1099511628211ull;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * prime;
    return (hash ^ 0xff) * prime;
}

uint64_t md__alert_rule_identity(const char *name, const char *severity,
                                 const struct md_alert_label *labels, int label_count)
{
    uint64_t hash = md__alert_hash(md__alert_hash(MD__HASH_SEED, name), severity);
    uint64_t sum = 0; /* labels are a set: their order does not matter */
    for (int i = 0; i < label_count; i++)
        sum += md__alert_hash(md__alert_hash(MD__HASH_SEED, labels[i].name), labels[i].value);
    return hash ^ (sum * 0x9e3779b97f4a7c15ull);
}

bool md__alert_label_is_valid(const char *name)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    static const char rest[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    return *name && strchr(first, *name) && strspn(name, rest) == strlen(name) &&
           strncmp(name, "__", 2) != 0;
}

bool md__alert_label_is_reserved(const char *name)
{
    static const char *const reserved[] = {"alertname", "metric", "profile", "severity"};
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        if (strcmp(name, reserved[i]) == 0)
            return true;
    return false;
}

bool md__alert_crosses(float value, float limit, bool is_below)
{
    return is_below ? value <= limit : value >= limit;
}

float md__alert_limit_of(const struct md_alert_limit *limit, const char *profile)
{
    for (int i = 0; i < limit->profile_count; i++)
        if (strcmp(limit->profiles[i], profile) == 0)
            return limit->values[i];
    return limit->fallback;
}

static bool has_columns(const struct md_alert_rule *rule)
{
    return rule->watch == MD_ALERT_CURRENT || rule->watch == MD_ALERT_FORECAST ||
           rule->watch == MD_ALERT_ABSENT;
}

static bool has_limit(const struct md_alert_rule *rule)
{
    return rule->watch == MD_ALERT_CURRENT || rule->watch == MD_ALERT_FORECAST ||
           rule->watch == MD_ALERT_GAUGE;
}

int md__alert_rule_columns(const struct md_alert_rule *rule)
{
    return has_columns(rule) ? rule->column_count : 1;
}

/* ---- checking -------------------------------------------------------------------------------- */

/* Text that may become a label's value: UTF-8 without control characters. */
static bool is_text(const char *text, size_t bytes_max)
{
    size_t length = text ? strlen(text) : 0;
    if (!text || length > bytes_max)
        return false;
    for (size_t at = 0, size; at < length; at += size) {
        size = md_utf8_sequence(text + at, length - at);
        if (size == 0 || (unsigned char)text[at] < 0x20 || text[at] == 0x7f)
            return false;
    }
    return true;
}

static bool is_repeated(const char *const *texts, int index)
{
    for (int i = 0; i < index; i++)
        if (strcmp(texts[i], texts[index]) == 0)
            return true;
    return false;
}

static enum md_status check_columns(const struct md_alert_rule *rule, struct md_error *err)
{
    if (!has_columns(rule))
        return MD_OK;
    if (rule->column_count < 1)
        return md_fail(err, MD_ERR_INVALID, "watch: names no column");
    for (int i = 0; i < rule->column_count; i++) {
        if (!is_text(rule->columns[i], NAME_BYTES_MAX) || !*rule->columns[i])
            return md_fail(err, MD_ERR_INVALID, "watch: column %d has no proper name", i + 1);
        if (is_repeated(rule->columns, i))
            return md_fail(err, MD_ERR_INVALID, "watch: names %.60s twice", rule->columns[i]);
    }
    return MD_OK;
}

static enum md_status check_watch(const struct md_alert_rule *rule, struct md_error *err)
{
    if ((unsigned)rule->watch > MD_ALERT_FUNCTION)
        return md_fail(err, MD_ERR_INVALID, "watch: is none of the kinds there are");
    if (rule->watch == MD_ALERT_FORECAST) {
        if (!(rule->quantile > 0 && rule->quantile < 1))
            return md_fail(err, MD_ERR_INVALID, "quantile: must lie between 0 and 1");
        if (rule->within_ms <= 0 || rule->within_ms > MD__SPAN_MS_MAX)
            return md_fail(err, MD_ERR_INVALID,
                           "within_min: a forecast needs how far to look, at most ten years");
    }
    if (rule->watch == MD_ALERT_GAUGE && (!rule->gauge || !*rule->gauge))
        return md_fail(err, MD_ERR_INVALID, "watch: names no gauge");
    if (rule->watch == MD_ALERT_FUNCTION && rule->function < 0)
        return md_fail(err, MD_ERR_INVALID, "when: has no function");
    return check_columns(rule, err);
}

static enum md_status check_limit(const struct md_alert_limit *limit, const char *field,
                                  struct md_error *err)
{
    if (limit->profile_count < 0 || isinf(limit->fallback))
        return md_fail(err, MD_ERR_INVALID, "%s: must be a finite number", field);
    for (int i = 0; i < limit->profile_count; i++) {
        if (!is_text(limit->profiles[i], NAME_BYTES_MAX) || !isfinite(limit->values[i]))
            return md_fail(err, MD_ERR_INVALID, "%s: of profile %d must be a finite number", field,
                           i + 1);
        if (is_repeated(limit->profiles, i))
            return md_fail(err, MD_ERR_INVALID, "%s: names profile %.60s twice", field,
                           limit->profiles[i]);
    }
    return MD_OK;
}

/* clear of one profile; a NaN of either says nothing. */
static enum md_status check_clear_of(const struct md_alert_rule *rule, const char *profile,
                                     struct md_error *err)
{
    float limit = profile ? md__alert_limit_of(&rule->limit, profile) : rule->limit.fallback;
    float clear = profile ? md__alert_limit_of(&rule->clear, profile) : rule->clear.fallback;
    if (rule->is_below ? clear < limit : clear > limit)
        return md_fail(err, MD_ERR_INVALID,
                       "%s: %g of %.60s is on the wrong side of the limit, which is %g",
                       rule->is_below ? "clear_above" : "clear_below", (double)clear,
                       profile ? profile : "the default", (double)limit);
    return MD_OK;
}

static enum md_status check_limits(const struct md_alert_rule *rule, struct md_error *err)
{
    if (!has_limit(rule))
        return MD_OK;
    const char *field = rule->is_below ? "below" : "above";
    const char *clear_field = rule->is_below ? "clear_above" : "clear_below";
    enum md_status status = check_limit(&rule->limit, field, err);
    if (status == MD_OK)
        status = check_limit(&rule->clear, clear_field, err);
    bool is_gauge = rule->watch == MD_ALERT_GAUGE;
    if (status == MD_OK && isnan(rule->limit.fallback) &&
        (is_gauge || rule->limit.profile_count == 0))
        status = md_fail(err, MD_ERR_INVALID, "%s: there is no limit", field);
    if (status == MD_OK)
        status = check_clear_of(rule, NULL, err);
    for (int i = 0; status == MD_OK && i < rule->limit.profile_count; i++)
        status = check_clear_of(rule, rule->limit.profiles[i], err);
    for (int i = 0; status == MD_OK && i < rule->clear.profile_count; i++)
        status = check_clear_of(rule, rule->clear.profiles[i], err);
    return status;
}

static enum md_status check_labels(const struct md_alert_rule *rule, struct md_error *err)
{
    if (rule->label_count < 0 || rule->label_count > MD_ALERT_LABELS_MAX)
        return md_fail(err, MD_ERR_INVALID, "labels: at most %d", MD_ALERT_LABELS_MAX);
    for (int i = 0; i < rule->label_count; i++) {
        const struct md_alert_label *label = &rule->labels[i];
        if (!label->name || !md__alert_label_is_valid(label->name))
            return md_fail(err, MD_ERR_INVALID, "labels: '%.60s' is no label name",
                           label->name ? label->name : "");
        if (md__alert_label_is_reserved(label->name))
            return md_fail(err, MD_ERR_INVALID, "labels: %s is given by the alert itself",
                           label->name);
        if (!is_text(label->value, SIZE_MAX))
            return md_fail(err, MD_ERR_INVALID, "labels: %.60s is no proper text", label->name);
        for (int other = 0; other < i; other++)
            if (strcmp(rule->labels[other].name, label->name) == 0)
                return md_fail(err, MD_ERR_INVALID, "labels: %.60s is there twice", label->name);
    }
    return MD_OK;
}

static enum md_status check_annotations(const struct md_alert_rule *rule, struct md_error *err)
{
    if (rule->annotation_count < 0 || rule->annotation_count > MD_ALERT_LABELS_MAX)
        return md_fail(err, MD_ERR_INVALID, "annotations: at most %d", MD_ALERT_LABELS_MAX);
    for (int i = 0; i < rule->annotation_count; i++) {
        const struct md_alert_label *annotation = &rule->annotations[i];
        if (!annotation->name || !md__alert_label_is_valid(annotation->name))
            return md_fail(err, MD_ERR_INVALID, "annotations: '%.60s' is no label name",
                           annotation->name ? annotation->name : "");
        if (!annotation->value)
            return md_fail(err, MD_ERR_INVALID, "%.60s: must be a text", annotation->name);
        if (md_alert_template_check(annotation->value, err) != MD_OK)
            return md_error_context(err, "%.60s", annotation->name);
        for (int other = 0; other < i; other++)
            if (strcmp(rule->annotations[other].name, annotation->name) == 0)
                return md_fail(err, MD_ERR_INVALID, "annotations: %.60s is there twice",
                               annotation->name);
    }
    return MD_OK;
}

static enum md_status check_rule(const struct md_alert_rule *rule, struct md_error *err)
{
    if (!is_text(rule->severity, NAME_BYTES_MAX))
        return md_fail(err, MD_ERR_INVALID, "severity: must be a text of at most %d bytes",
                       NAME_BYTES_MAX);
    if (rule->for_ms < 0 || rule->for_ms > MD__SPAN_MS_MAX)
        return md_fail(err, MD_ERR_INVALID, "for_min: must lie between 0 and ten years");
    if (rule->keep_firing_ms < 0 || rule->keep_firing_ms > MD__SPAN_MS_MAX)
        return md_fail(err, MD_ERR_INVALID, "keep_firing_min: must lie between 0 and ten years");
    if (rule->instances_max < 0)
        return md_fail(err, MD_ERR_INVALID, "limit: must not be negative");
    if ((unsigned)rule->no_data > MD_ALERT_NO_DATA_FIRE)
        return md_fail(err, MD_ERR_INVALID, "no_data: is none of resolve, keep, fire");
    if ((unsigned)rule->on_error > MD_ALERT_NO_DATA_FIRE)
        return md_fail(err, MD_ERR_INVALID, "on_error: is none of resolve, keep, fire");
    enum md_status status = check_watch(rule, err);
    if (status == MD_OK)
        status = check_limits(rule, err);
    if (status == MD_OK)
        status = check_labels(rule, err);
    return status ? status : check_annotations(rule, err);
}

/* ---- copying --------------------------------------------------------------------------------- */

/* A NULL stays one; failed: there was no memory. */
static const char *copy_text(struct md_arena *arena, const char *text, bool *failed)
{
    char *copy = text ? md_arena_strdup(arena, text) : NULL;
    *failed |= text && !copy;
    return copy;
}

static const char *const *copy_texts(struct md_arena *arena, const char *const *texts, int count,
                                     bool *failed)
{
    const char **copy = md_arena_array(arena, (size_t)count + 1, sizeof *copy);
    *failed |= !copy;
    for (int i = 0; copy && i < count; i++)
        copy[i] = copy_text(arena, texts[i], failed);
    return copy;
}

static const struct md_alert_label *
copy_labels(struct md_arena *arena, const struct md_alert_label *labels, int count, bool *failed)
{
    struct md_alert_label *copy = md_arena_array(arena, (size_t)count + 1, sizeof *copy);
    *failed |= !copy;
    for (int i = 0; copy && i < count; i++) {
        copy[i].name = copy_text(arena, labels[i].name, failed);
        copy[i].value = copy_text(arena, labels[i].value, failed);
    }
    return copy;
}

static void copy_limit(struct md_arena *arena, struct md_alert_limit *limit, bool *failed)
{
    float *values = md_arena_array(arena, (size_t)limit->profile_count + 1, sizeof *values);
    *failed |= !values;
    if (values && limit->profile_count > 0)
        memcpy(values, limit->values, (size_t)limit->profile_count * sizeof *values);
    limit->values = values;
    limit->profiles = copy_texts(arena, limit->profiles, limit->profile_count, failed);
}

static const struct md_alert_limit no_limit = {.fallback = NAN};

static bool copy_rule(struct md_arena *arena, const struct md_alert_rule *rule,
                      struct md_alert_rule *copy)
{
    bool failed = false;
    *copy = *rule;
    if (!has_columns(copy))
        copy->column_count = 0;
    if (!has_limit(copy))
        copy->limit = copy->clear = no_limit;
    copy->name = copy_text(arena, rule->name, &failed);
    copy->severity = copy_text(arena, rule->severity, &failed);
    copy->gauge = copy_text(arena, rule->gauge, &failed);
    copy->columns = copy_texts(arena, rule->columns, copy->column_count, &failed);
    copy->labels = copy_labels(arena, rule->labels, rule->label_count, &failed);
    copy->annotations = copy_labels(arena, rule->annotations, rule->annotation_count, &failed);
    copy_limit(arena, &copy->limit, &failed);
    copy_limit(arena, &copy->clear, &failed);
    return !failed;
}

static int compare_names(const void *left, const void *right, void *rules)
{
    const struct md_alert_rule *all = rules;
    int by_name = strcmp(all[*(const int *)left].name, all[*(const int *)right].name);
    return by_name ? by_name : *(const int *)left - *(const int *)right;
}

static enum md_status index_names(struct md_alert_rules *set, struct md_error *err)
{
    for (int i = 0; i < set->count; i++) {
        const struct md_alert_rule *rule = &set->rules[i];
        set->by_name[i] = i;
        set->identities[i] =
            md__alert_rule_identity(rule->name, rule->severity, rule->labels, rule->label_count);
    }
    qsort_r(set->by_name, (size_t)set->count, sizeof *set->by_name, compare_names, set->rules);
    for (int i = 1; i < set->count; i++) {
        const char *name = set->rules[set->by_name[i]].name;
        if (strcmp(name, set->rules[set->by_name[i - 1]].name) == 0)
            return md_fail(err, MD_ERR_INVALID, "rule %.100s: name: there are two of it", name);
    }
    return MD_OK;
}

static enum md_status add_rule(struct md_alert_rules *set, const struct md_alert_rule *rule,
                               struct md_error *err)
{
    if (!is_text(rule->name, NAME_BYTES_MAX) || !*rule->name)
        return md_fail(err, MD_ERR_INVALID,
                       "rule %d: name: must be a text of 1 to %d bytes in one line", set->count + 1,
                       NAME_BYTES_MAX);
    enum md_status status = check_rule(rule, err);
    if (status != MD_OK)
        return md_error_context(err, "rule %.100s", rule->name);
    if (!copy_rule(&set->arena, rule, &set->rules[set->count]))
        return md_fail(err, MD_ERR_MEMORY, "rule %.100s: out of memory", rule->name);
    set->count++;
    return MD_OK;
}

enum md_status md_alert_rules_new(const struct md_alert_rule *rules, int count,
                                  struct md_alert_rules **set, struct md_error *err)
{
    if (count < 0 || count > MD_ALERT_RULES_MAX)
        return md_fail(err, MD_ERR_INVALID, "%d alert rules: at most %d", count,
                       MD_ALERT_RULES_MAX);
    struct md_alert_rules *made = calloc(1, sizeof *made);
    if (!made)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    made->refs = 1;
    md_arena_init(&made->arena, 0);
    size_t slots = (size_t)count + 1;
    made->rules = md_arena_array(&made->arena, slots, sizeof *made->rules);
    made->identities = md_arena_array(&made->arena, slots, sizeof *made->identities);
    made->by_name = md_arena_array(&made->arena, slots, sizeof *made->by_name);
    enum md_status status = MD_OK;
    if (!made->rules || !made->identities || !made->by_name)
        status = md_fail(err, MD_ERR_MEMORY, "out of memory");
    for (int i = 0; status == MD_OK && i < count; i++)
        status = add_rule(made, &rules[i], err);
    if (status == MD_OK)
        status = index_names(made, err);
    if (status != MD_OK)
        md_alert_rules_unref(made);
    else
        *set = made;
    return status;
}

struct md_alert_rules *md_alert_rules_ref(struct md_alert_rules *set)
{
    atomic_fetch_add(&set->refs, 1);
    return set;
}

void md_alert_rules_unref(struct md_alert_rules *set)
{
    if (set && atomic_fetch_sub(&set->refs, 1) == 1) {
        md_arena_fini(&set->arena);
        free(set);
    }
}

int md_alert_rules_count(const struct md_alert_rules *set)
{
    return set->count;
}

const struct md_alert_rule *md_alert_rules_get(const struct md_alert_rules *set, int index)
{
    return &set->rules[index];
}

int md_alert_rules_find(const struct md_alert_rules *set, const char *name)
{
    int low = 0, high = set->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        int order = strcmp(set->rules[set->by_name[middle]].name, name);
        if (order == 0)
            return set->by_name[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}
