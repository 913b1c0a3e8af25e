/*
 * Forecasts as they were made, one row a tick and target, for rehearsal and grading. Small named
 * values sit here too.
 *
 * Keys are stored newline-separated (a key holds no control characters), quantiles as float32,
 * values as float16.
 */
#include "store/internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

/* ---- writing --------------------------------------------------------------------------------- */

static enum md_status check_forecast(const struct md_store_forecast *f, struct md_error *err)
{
    const struct md_shape *shape = &f->values.shape;
    if (f->values.dtype != MD_F16 || shape->rank != 3 || shape->dim[0] != f->key_count ||
        shape->dim[2] != f->quantile_count)
        return md_fail(err, MD_ERR_INVALID,
                       "a forecast's values are float16 [%d keys, steps, %d quantiles]",
                       f->key_count, f->quantile_count);
    if (md_tensor_bytes(&f->values) > (64u << 20))
        return md_fail(err, MD_ERR_TOO_LARGE, "a forecast has at most 64 MiB");
    return MD_OK;
}

static enum md_status insert_forecast(struct md_store *store, const struct md_store_forecast *f,
                                      const struct md_buffer *keys, struct md_error *err)
{
    sqlite3_stmt *row = NULL;
    enum md_status status = md__store_prepare(store,
                                              "INSERT INTO forecast(model, target, made_at_ms, "
                                              "start_ms, step_ms, steps, quantiles, keys, "
                                              "data) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
                                              &row, err);
    if (status != MD_OK)
        return status;
    sqlite3_bind_text(row, 1, f->model, -1, SQLITE_STATIC);
    sqlite3_bind_text(row, 2, f->target, -1, SQLITE_STATIC);
    sqlite3_bind_int64(row, 3, f->made_at_ms);
    sqlite3_bind_int64(row, 4, f->start_ms);
    sqlite3_bind_int64(row, 5, f->step_ms);
    sqlite3_bind_int64(row, 6, f->values.shape.dim[1]);
    sqlite3_bind_blob(row, 7, f->quantiles, f->quantile_count * (int)sizeof(float), SQLITE_STATIC);
    sqlite3_bind_text(row, 8, keys->length ? keys->data : "", (int)keys->length, SQLITE_STATIC);
    sqlite3_bind_blob(row, 9, f->values.data, (int)md_tensor_bytes(&f->values), SQLITE_STATIC);
    status = md__store_step(store, row, err);
    sqlite3_finalize(row);
    return status;
}

enum md_status md_store_put_forecast(struct md_store *store,
                                     const struct md_store_forecast *forecast, struct md_error *err)
{
    struct md_buffer keys;
    enum md_status status = check_forecast(forecast, err);
    if (status != MD_OK)
        return status;
    md_buffer_init(&keys, 0);
    for (int i = 0; i < forecast->key_count; i++)
        md_buffer_printf(&keys, "%s\n", forecast->keys[i]);
    status = md_buffer_check(&keys, err);
    if (status == MD_OK)
        status = md__store_begin(store, err);
    if (status == MD_OK)
        status = md__store_end(store, insert_forecast(store, forecast, &keys, err), err);
    md_buffer_fini(&keys);
    return status;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Splits "a\nb\n" in place. Returns the number of keys. */
static int split_keys(char *text, const char **keys, int max)
{
    int count = 0;
    for (char *end; count < max && (end = strchr(text, '\n')); text = end + 1) {
        *end = '\0';
        keys[count++] = text;
    }
    return count;
}

static int count_lines(const char *text)
{
    int lines = 0;
    for (; *text; text++)
        lines += *text == '\n';
    return lines;
}

struct visitor {
    void *context;
    enum md_status (*visit)(void *, const struct md_store_forecast *, struct md_error *);
};

static enum md_status visit_row(sqlite3_stmt *row, const char *model, const char *target,
                                const struct visitor *visitor, struct md_error *err)
{
    struct md_store_forecast f = {.model = model, .target = target};
    char *text = strdup((const char *)sqlite3_column_text(row, 5));
    const char **keys = calloc(text ? (size_t)count_lines(text) + 1 : 1, sizeof *keys);
    enum md_status status = MD_OK;
    if (!text || !keys) {
        status = md_fail(err, MD_ERR_MEMORY, "no memory for a forecast");
        goto out;
    }
    f.key_count = split_keys(text, keys, count_lines(text));
    f.keys = keys;
    f.made_at_ms = sqlite3_column_int64(row, 0);
    f.start_ms = sqlite3_column_int64(row, 1);
    f.step_ms = sqlite3_column_int64(row, 2);
    f.quantiles = sqlite3_column_blob(row, 4);
    f.quantile_count = sqlite3_column_bytes(row, 4) / (int)sizeof(float);
    f.values.dtype = MD_F16;
    f.values.shape =
        (struct md_shape){3, {f.key_count, sqlite3_column_int64(row, 3), f.quantile_count}};
    f.values.data = (void *)sqlite3_column_blob(row, 6); /* borrowed during the call, read only */
    if (md_tensor_bytes(&f.values) != (size_t)sqlite3_column_bytes(row, 6))
        status = md_fail(err, MD_ERR_CORRUPT, "a stored forecast has the wrong size");
    else
        status = visitor->visit(visitor->context, &f, err);
out:
    free(keys);
    free(text);
    return status;
}

enum md_status md_store_read_forecasts(
    struct md_store *store, const char *model, const char *target, int64_t begin_ms, int64_t end_ms,
    void *context,
    enum md_status (*visit)(void *context, const struct md_store_forecast *forecast,
                            struct md_error *err),
    struct md_error *err)
{
    const struct visitor visitor = {context, visit};
    sqlite3_stmt *row = NULL;
    int code;
    pthread_mutex_lock(&store->lock);
    enum md_status status = md__store_prepare(
        store,
        "SELECT made_at_ms, start_ms, step_ms, steps, quantiles, keys, data FROM forecast WHERE "
        "model = "
        "? AND target = ? AND made_at_ms >= ? AND made_at_ms < ? ORDER BY made_at_ms, id",
        &row, err);
    if (status == MD_OK) {
        sqlite3_bind_text(row, 1, model, -1, SQLITE_STATIC);
        sqlite3_bind_text(row, 2, target, -1, SQLITE_STATIC);
        sqlite3_bind_int64(row, 3, begin_ms);
        sqlite3_bind_int64(row, 4, end_ms);
        while (status == MD_OK && (code = sqlite3_step(row)) != SQLITE_DONE)
            status = code == SQLITE_ROW ? visit_row(row, model, target, &visitor, err)
                                        : md__store_fail(store, "reading forecasts", err);
    }
    sqlite3_finalize(row);
    pthread_mutex_unlock(&store->lock);
    return status;
}

/* ---- small named values ---------------------------------------------------------------------- */

enum md_status md__store_insert_value(struct md_store *store, const char *name, const void *value,
                                      size_t bytes, struct md_error *err)
{
    sqlite3_stmt *row = NULL;
    enum md_status status =
        md__store_prepare(store, "INSERT OR REPLACE INTO value VALUES(?, ?)", &row, err);
    if (status != MD_OK)
        return status;
    sqlite3_bind_text(row, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_blob(row, 2, bytes ? value : "", (int)bytes, SQLITE_STATIC);
    status = md__store_step(store, row, err);
    sqlite3_finalize(row);
    return status;
}

enum md_status md_store_put_value(struct md_store *store, const char *name, const void *value,
                                  size_t bytes, struct md_error *err)
{
    if (bytes > (16u << 20))
        return md_fail(err, MD_ERR_TOO_LARGE, "the value '%s' has more than 16 MiB", name);
    enum md_status status = md__store_begin(store, err);
    if (status != MD_OK)
        return status;
    return md__store_end(store, md__store_insert_value(store, name, value, bytes, err), err);
}

static enum md_status copy_value(sqlite3_stmt *row, char **value, size_t *bytes,
                                 struct md_error *err)
{
    *bytes = (size_t)sqlite3_column_bytes(row, 0);
    *value = malloc(*bytes + 1);
    if (!*value)
        return md_fail(err, MD_ERR_MEMORY, "no memory for a value");
    if (*bytes)
        memcpy(*value, sqlite3_column_blob(row, 0), *bytes);
    (*value)[*bytes] = '\0';
    return MD_OK;
}

enum md_status md_store_get_value(struct md_store *store, const char *name, char **value,
                                  size_t *bytes, struct md_error *err)
{
    sqlite3_stmt *row = NULL;
    *value = NULL;
    *bytes = 0;
    pthread_mutex_lock(&store->lock);
    enum md_status status =
        md__store_prepare(store, "SELECT value FROM value WHERE name = ?", &row, err);
    if (status == MD_OK) {
        sqlite3_bind_text(row, 1, name, -1, SQLITE_STATIC);
        int code = sqlite3_step(row);
        if (code == SQLITE_ROW)
            status = copy_value(row, value, bytes, err);
        else if (code == SQLITE_DONE)
            status = md_fail(err, MD_ERR_NOT_FOUND, "no value '%s'", name);
        else
            status = md__store_fail(store, "reading a value", err);
    }
    sqlite3_finalize(row);
    pthread_mutex_unlock(&store->lock);
    return status;
}
