/*
 * The table: its entities, the checks every record passes, and the books it keeps.
 *
 * Entities sit in a plain array and are found through an open-addressing hash of their keys. They
 * are removed only by eviction and clearing, which rebuild the hash: simpler than tombstones, and
 * rare.
 */
#include "series/internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- making and freeing ---------------------------------------------------------------------- */

static const char *const *copy_texts(struct md_arena *arena, const char *const *texts, int count)
{
    const char **copy = md_arena_array(arena, (size_t)(count > 0 ? count : 1), sizeof *copy);
    for (int i = 0; copy && i < count; i++)
        if (!(copy[i] = md_arena_strdup(arena, texts[i])))
            return NULL;
    return copy;
}

static bool copy_columns(struct md_arena *arena, struct md_series_options *options)
{
    struct md_column *copy = md_arena_array(arena, (size_t)options->column_count, sizeof *copy);
    for (int i = 0; copy && i < options->column_count; i++) {
        copy[i] = options->columns[i];
        copy[i].name = md_arena_strdup(arena, options->columns[i].name);
        if (!copy[i].name)
            return false;
        if (copy[i].values && !(copy[i].values = copy_texts(arena, options->columns[i].values,
                                                            options->columns[i].value_count)))
            return false;
    }
    options->columns = copy;
    return copy != NULL;
}

static bool copy_options(struct md_series *series, const struct md_series_options *options)
{
    struct md_series_options *own = &series->options;
    *own = *options;
    own->name = md_arena_strdup(&series->arena, options->name);
    own->key_field = md_arena_strdup(&series->arena, options->key_field);
    own->time_field = md_arena_strdup(&series->arena, options->time_field);
    own->label_fields = copy_texts(&series->arena, options->label_fields, options->label_count);
    return own->name && own->key_field && own->time_field && own->label_fields &&
           copy_columns(&series->arena, own);
}

static enum md_status check_options(const struct md_series_options *o, struct md_error *err)
{
    if (o->column_count < 1 || o->column_count > MD_SERIES_COLUMNS_MAX)
        return md_fail(err, MD_ERR_INVALID, "series '%s' needs 1 to %d columns", o->name,
                       MD_SERIES_COLUMNS_MAX);
    if (o->label_count < 0 || o->label_count > MD_SERIES_LABELS_MAX)
        return md_fail(err, MD_ERR_INVALID, "series '%s' may have at most %d labels", o->name,
                       MD_SERIES_LABELS_MAX);
    if (o->step_ms < 100 || o->step_ms > 7 * 86400000LL)
        return md_fail(err, MD_ERR_INVALID, "series '%s': a step lasts 0.1 s to 7 days", o->name);
    if (o->steps < 1 || o->steps > 100000 || o->entities_max < 1 || o->entities_max > 1000000)
        return md_fail(err, MD_ERR_INVALID,
                       "series '%s': 1 to 100,000 steps, 1 to 1,000,000 entities", o->name);
    if (o->grace_ms < 0 || o->late_max_ms < 0 || o->future_max_ms < 0 || o->evict_after_ms < 0)
        return md_fail(err, MD_ERR_INVALID, "series '%s': a duration is negative", o->name);
    return MD_OK;
}

enum md_status md_series_new(const struct md_series_options *options, struct md_series **series,
                             struct md_error *err)
{
    *series = NULL;
    enum md_status status = check_options(options, err);
    if (status != MD_OK)
        return status;
    struct md_series *made = calloc(1, sizeof *made);
    if (!made)
        return md_fail(err, MD_ERR_MEMORY, "no memory for series '%s'", options->name);
    md_arena_init(&made->arena, 0);
    pthread_rwlock_init(&made->lock, NULL);
    made->index_size = 2;
    while (made->index_size < 2 * options->entities_max)
        made->index_size *= 2;
    made->entities = calloc((size_t)options->entities_max, sizeof *made->entities);
    made->index = calloc((size_t)made->index_size, sizeof *made->index);
    if (!made->entities || !made->index || !copy_options(made, options)) {
        md_series_delete(made);
        return md_fail(err, MD_ERR_MEMORY, "no memory for series '%s'", options->name);
    }
    *series = made;
    return MD_OK;
}

static void delete_entity(struct md__entity *entity)
{
    md__entity_fini(entity);
    free(entity);
}

void md_series_delete(struct md_series *series)
{
    if (!series)
        return;
    for (int i = 0; i < series->count; i++)
        delete_entity(series->entities[i]);
    free(series->entities);
    free(series->index);
    md_arena_fini(&series->arena);
    pthread_rwlock_destroy(&series->lock);
    free(series);
}

const struct md_series_options *md_series_options(const struct md_series *series)
{
    return &series->options;
}

int md_series_column(const struct md_series *series, const char *name)
{
    for (int i = 0; i < series->options.column_count; i++)
        if (strcmp(series->options.columns[i].name, name) == 0)
            return i;
    return -1;
}

void md_series_set_limits(struct md_series *series, const struct md_series_limits *limits)
{
    pthread_rwlock_wrlock(&series->lock);
    struct md_series_options *options = &series->options;
    struct md_column *columns = (struct md_column *)(uintptr_t)options->columns; /* our copy */
    options->grace_ms = limits->grace_ms;
    options->late_max_ms = limits->late_max_ms;
    options->future_max_ms = limits->future_max_ms;
    options->evict_after_ms = limits->evict_after_ms;
    for (int c = 0; c < options->column_count; c++) {
        columns[c].min = limits->min[c];
        columns[c].max = limits->max[c];
    }
    pthread_rwlock_unlock(&series->lock);
}

/* ---- the set of entities --------------------------------------------------------------------- */

static uint32_t hash_key(const char *key)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (const unsigned char *p = (const unsigned char *)key; *p; p++)
        hash = (hash ^ *p) * 16777619u;
    return hash;
}

/* Where the key is in the index, or the free place where it would go. */
static int probe(const struct md_series *series, const char *key)
{
    int mask = series->index_size - 1, at = (int)(hash_key(key) & (uint32_t)mask);
    while (series->index[at] && strcmp(series->entities[series->index[at] - 1]->key, key) != 0)
        at = (at + 1) & mask;
    return at;
}

struct md__entity *md__entity_find(const struct md_series *series, const char *key)
{
    int number = series->index[probe(series, key)];
    return number ? series->entities[number - 1] : NULL;
}

bool md__has_control(const char *text)
{
    while (*text && (unsigned char)*text >= 0x20 && *text != 0x7f)
        text++;
    return *text != '\0';
}

static enum md_status check_key(const char *key, struct md_error *err)
{
    size_t length = strlen(key);
    if (length == 0 || length >= MD_SERIES_KEY_BYTES)
        return md_fail(err, MD_ERR_UNPROCESSABLE, "a name has 1 to %d bytes",
                       MD_SERIES_KEY_BYTES - 1);
    if (md__has_control(key))
        return md_fail(err, MD_ERR_UNPROCESSABLE, "a name holds no control characters");
    return MD_OK;
}

static struct md__entity *make_entity(struct md_series *series, const char *key,
                                      struct md_error *err)
{
    if (check_key(key, err) != MD_OK)
        return NULL;
    if (series->count == series->options.entities_max) {
        series->stats.refused_entities++;
        md_fail(err, MD_ERR_UNAVAILABLE, "the limit of %d entities is reached",
                series->options.entities_max);
        return NULL;
    }
    struct md__entity *entity = malloc(sizeof *entity);
    if (!entity || md__entity_init(series, entity, err) != MD_OK) {
        free(entity);
        md_fail(err, MD_ERR_MEMORY, "no memory for another entity");
        return NULL;
    }
    if (!(entity->key = strdup(key))) {
        delete_entity(entity);
        md_fail(err, MD_ERR_MEMORY, "no memory for another entity");
        return NULL;
    }
    return entity;
}

struct md__entity *md__entity_get(struct md_series *series, const char *key, struct md_error *err)
{
    int at = probe(series, key);
    if (series->index[at])
        return series->entities[series->index[at] - 1];
    struct md__entity *entity = make_entity(series, key, err);
    if (entity) {
        series->entities[series->count++] = entity;
        series->index[at] = series->count;
    }
    return entity;
}

bool md__entity_set_label(struct md__entity *entity, int label, const char *text)
{
    if (entity->labels[label] && strcmp(entity->labels[label], text) == 0)
        return true;
    char *copy = strndup(text, MD_SERIES_KEY_BYTES - 1);
    if (!copy)
        return false;
    free(entity->labels[label]);
    entity->labels[label] = copy;
    entity->any_dirty = true;
    return true;
}

static void rebuild_index(struct md_series *series)
{
    memset(series->index, 0, (size_t)series->index_size * sizeof *series->index);
    for (int i = 0; i < series->count; i++)
        series->index[probe(series, series->entities[i]->key)] = i + 1;
}

/* Removes the entities whose newest sample is older than limit_ms. */
static int remove_older(struct md_series *series, int64_t limit_ms)
{
    int kept = 0, removed = 0;
    for (int i = 0; i < series->count; i++) {
        if (series->entities[i]->newest_ms < limit_ms) {
            delete_entity(series->entities[i]);
            removed++;
        } else {
            series->entities[kept++] = series->entities[i];
        }
    }
    series->count = kept;
    if (removed) {
        rebuild_index(series);
        series->version++;
    }
    return removed;
}

int md_series_evict(struct md_series *series, int64_t now_ms)
{
    pthread_rwlock_wrlock(&series->lock);
    int removed = remove_older(series, now_ms - series->options.evict_after_ms);
    series->stats.evicted += removed;
    pthread_rwlock_unlock(&series->lock);
    return removed;
}

void md_series_clear(struct md_series *series)
{
    pthread_rwlock_wrlock(&series->lock);
    remove_older(series, INT64_MAX);
    pthread_rwlock_unlock(&series->lock);
}

/* ---- taking records in ----------------------------------------------------------------------- */

enum md_status md__series_check_time(const struct md_series *series, int64_t time_ms,
                                     int64_t now_ms, struct md_error *err)
{
    const struct md_series_options *o = &series->options;
    if (time_ms > now_ms + o->future_max_ms)
        return md_fail(err, MD_ERR_UNPROCESSABLE, "%lld s in the future",
                       (long long)((time_ms - now_ms) / 1000));
    if (md__step_of(series, time_ms) <= md__step_of(series, now_ms) - o->steps)
        return md_fail(err, MD_ERR_UNPROCESSABLE, "older than the window of %d steps", o->steps);
    return MD_OK;
}

int md__series_check_values(const struct md_series *series, const float *values,
                            struct md_error *err)
{
    for (int c = 0; c < series->options.column_count; c++) {
        const struct md_column *column = &series->options.columns[c];
        if (values[c] < column->min || values[c] > column->max || isinf(values[c])) {
            md_fail(err, MD_ERR_UNPROCESSABLE, "%g is outside %g to %g", (double)values[c],
                    (double)column->min, (double)column->max);
            return c;
        }
    }
    return -1;
}

enum md_status md__series_add(struct md_series *series, const char *key, int64_t time_ms,
                              const float *values, const char *const *labels, int64_t now_ms,
                              struct md_error *err)
{
    enum md_status status = md__series_check_time(series, time_ms, now_ms, err);
    if (status != MD_OK)
        return status;
    struct md_error failure = {.code = MD_ERR_MEMORY};
    struct md__entity *entity = md__entity_get(series, key, &failure);
    if (!entity)
        return md_fail(err, failure.code, "%s", failure.text);
    int64_t changed_step;
    struct md__sample sample = {time_ms, values};
    bool newest = time_ms >= entity->newest_ms;
    status = md__entity_add(series, entity, &sample, &changed_step, err);
    if (status != MD_OK)
        return status;
    for (int i = 0; newest && labels && i < series->options.label_count; i++)
        if (labels[i] && !md__entity_set_label(entity, i, labels[i]))
            return md_fail(err, MD_ERR_MEMORY, "no memory for a label");
    int64_t step_ms = series->options.step_ms, grace_ms = series->options.grace_ms;
    if (changed_step != MD__NO_STEP && (changed_step + 1) * step_ms + grace_ms <= now_ms)
        series->version++;
    return MD_OK;
}

enum md_status md_series_upsert(struct md_series *series, const char *key, int64_t time_ms,
                                const float *values, const char *const *labels,
                                struct md_error *err)
{
    enum md_status status = MD_ERR_UNPROCESSABLE;
    pthread_rwlock_wrlock(&series->lock);
    if (md__series_check_values(series, values, err) < 0)
        status = md__series_add(series, key, time_ms, values, labels,
                                md_now_ms(series->options.clock), err);
    series->stats.accepted += status == MD_OK;
    series->stats.samples += status == MD_OK;
    series->stats.rejected += status != MD_OK;
    pthread_rwlock_unlock(&series->lock);
    return status;
}

/* ---- books ----------------------------------------------------------------------------------- */

uint64_t md_series_version(const struct md_series *series)
{
    return atomic_load(&((struct md_series *)series)->version);
}

int64_t md_series_closed_ms(const struct md_series *series, int64_t now_ms)
{
    struct md_series *shared = (struct md_series *)series;
    pthread_rwlock_rdlock(&shared->lock);
    int64_t grace_ms = series->options.grace_ms;
    pthread_rwlock_unlock(&shared->lock);
    return md__step_of(series, now_ms - grace_ms) * series->options.step_ms;
}

void md_series_get_stats(const struct md_series *series, struct md_series_stats *stats)
{
    struct md_series *shared = (struct md_series *)series;
    pthread_rwlock_rdlock(&shared->lock);
    *stats = series->stats;
    stats->entities = series->count;
    stats->bytes = (size_t)series->index_size * sizeof *series->index +
                   (size_t)series->options.entities_max * sizeof *series->entities;
    for (int i = 0; i < series->count; i++)
        stats->bytes += md__entity_bytes(series, series->entities[i]);
    pthread_rwlock_unlock(&shared->lock);
}
