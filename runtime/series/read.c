/* Reading windows out of a table: what models and routes see. Readers share the lock. */
#include "series/internal.h"

#include <stdlib.h>
#include <string.h>

/* Locking needs a mutable table; reading does not change what callers can see. */
static const struct md_series *lock_read(const struct md_series *series)
{
    pthread_rwlock_rdlock(&((struct md_series *)series)->lock);
    return series;
}

static void unlock(const struct md_series *series)
{
    pthread_rwlock_unlock(&((struct md_series *)series)->lock);
}

int md_series_count(const struct md_series *series)
{
    lock_read(series);
    int count = series->count;
    unlock(series);
    return count;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **md_series_keys(const struct md_series *series, int *count)
{
    lock_read(series);
    size_t bytes = (size_t)series->count * sizeof(char *) + 1;
    for (int i = 0; i < series->count; i++)
        bytes += strlen(series->entities[i]->key) + 1;
    char **keys = malloc(bytes);
    char *text = (char *)(keys + series->count);
    for (int i = 0; keys && i < series->count; i++) {
        size_t length = strlen(series->entities[i]->key) + 1;
        keys[i] = memcpy(text, series->entities[i]->key, length);
        text += length;
    }
    *count = keys ? series->count : 0;
    unlock(series);
    if (keys)
        qsort(keys, (size_t)*count, sizeof *keys, compare_keys);
    return keys;
}

static enum md_status check_columns(const struct md_series *series, const int *columns, int count,
                                    struct md_error *err)
{
    for (int i = 0; i < count; i++)
        if (columns[i] < 0 || columns[i] >= series->options.column_count)
            return md_fail(err, MD_ERR_INVALID, "series '%s' has no column number %d",
                           series->options.name, columns[i]);
    return MD_OK;
}

/* Whether the columns follow each other in a step's cells. */
static bool is_run(const int *columns, int count)
{
    for (int c = 1; c < count; c++)
        if (columns[c] != columns[0] + c)
            return false;
    return count > 0;
}

/* Fills [steps][column_count] of one entity. */
static void read_entity(const struct md_series *series, const struct md__entity *entity,
                        int64_t end_step, int steps, const int *columns, int column_count,
                        float *out)
{
    bool run = is_run(columns, column_count);
    for (int i = 0; i < steps; i++, out += column_count) {
        int64_t step = end_step - steps + i;
        const float *cells =
            entity && md__step_kept(series, entity, step) ? md__cells(series, entity, step) : NULL;
        if (cells && run) {
            memcpy(out, cells + columns[0], (size_t)column_count * sizeof *out);
            continue;
        }
        for (int c = 0; c < column_count; c++)
            out[c] = cells ? cells[columns[c]] : NAN;
    }
}

enum md_status md_series_window(const struct md_series *series, const char *const *keys,
                                int key_count, int64_t end_ms, int steps, const int *columns,
                                int column_count, struct md_tensor *out, struct md_error *err)
{
    enum md_status status = check_columns(series, columns, column_count, err);
    if (status != MD_OK)
        return status;
    if (steps < 0 || steps > series->options.steps)
        return md_fail(err, MD_ERR_INVALID, "series '%s' keeps %d steps, asked for %d",
                       series->options.name, series->options.steps, steps);
    struct md_shape shape = {3, {key_count, steps, column_count}};
    status = md_tensor_new_unset(MD_F32, &shape, out, err);
    if (status != MD_OK)
        return status;
    float *cells = out->data;
    int64_t end_step = md__step_of(series, end_ms);
    lock_read(series);
    for (int i = 0; i < key_count; i++, cells += (size_t)steps * (size_t)column_count)
        read_entity(series, md__entity_find(series, keys[i]), end_step, steps, columns,
                    column_count, cells);
    unlock(series);
    return MD_OK;
}

enum md_status md_series_latest(const struct md_series *series, const char *const *keys,
                                int key_count, const int *columns, int column_count,
                                struct md_tensor *out, struct md_tensor *times,
                                struct md_error *err)
{
    enum md_status status = check_columns(series, columns, column_count, err);
    if (status != MD_OK)
        return status;
    status = md_tensor_new(MD_F32, &(struct md_shape){2, {key_count, column_count}}, out, err);
    if (status != MD_OK)
        return status;
    status = md_tensor_new(MD_I64, &(struct md_shape){1, {key_count}}, times, err);
    if (status != MD_OK) {
        md_tensor_unref(out);
        return status;
    }
    float *values = out->data;
    int64_t *when = times->data;
    lock_read(series);
    for (int i = 0; i < key_count; i++, values += column_count) {
        const struct md__entity *entity = md__entity_find(series, keys[i]);
        when[i] = entity ? entity->newest_ms : 0;
        for (int c = 0; c < column_count; c++)
            values[c] = entity ? entity->latest[columns[c]] : NAN;
    }
    unlock(series);
    return MD_OK;
}

static int history_length(const struct md_series *series, const struct md__entity *entity,
                          int64_t end_step, int steps)
{
    for (int64_t step = end_step - steps; step < end_step; step++)
        if (md__step_kept(series, entity, step))
            return (int)(end_step - step);
    return 0;
}

void md_series_lengths(const struct md_series *series, const char *const *keys, int key_count,
                       int64_t end_ms, int steps, int *lengths)
{
    int64_t end_step = md__step_of(series, end_ms);
    lock_read(series);
    for (int i = 0; i < key_count; i++) {
        const struct md__entity *entity = md__entity_find(series, keys[i]);
        lengths[i] = entity ? history_length(series, entity, end_step, steps) : 0;
    }
    unlock(series);
}

bool md_series_label(const struct md_series *series, const char *key, int label,
                     char text[MD_SERIES_KEY_BYTES])
{
    if (label < 0 || label >= series->options.label_count)
        return false;
    lock_read(series);
    const struct md__entity *entity = md__entity_find(series, key);
    bool known = entity && entity->labels[label];
    if (known) {
        strncpy(text, entity->labels[label], MD_SERIES_KEY_BYTES - 1);
        text[MD_SERIES_KEY_BYTES - 1] = '\0';
    }
    unlock(series);
    return known;
}
