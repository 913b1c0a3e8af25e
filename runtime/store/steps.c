/* Steps of series tables: upserting what changed, reading a window back. */
#include "store/internal.h"

#include <stdlib.h>

/* ---- writing --------------------------------------------------------------------------------- */

struct writer {
    struct md_store *store;
    sqlite3_stmt *entity, *step;
};

static enum md_status put_entity(struct writer *writer, const char *owner,
                                 const struct md_store_entity *entity, int64_t *id,
                                 struct md_error *err)
{
    enum md_status status = MD_OK;
    sqlite3_bind_text(writer->entity, 1, owner, -1, SQLITE_STATIC);
    sqlite3_bind_text(writer->entity, 2, entity->key, -1, SQLITE_STATIC);
    sqlite3_bind_text(writer->entity, 3, entity->labels, -1, SQLITE_STATIC);
    if (sqlite3_step(writer->entity) == SQLITE_ROW)
        *id = sqlite3_column_int64(writer->entity, 0);
    else
        status = md__store_fail(writer->store, "saving an entity", err);
    sqlite3_reset(writer->entity);
    return status;
}

static enum md_status put_step(struct writer *writer, int64_t id, const struct md_store_step *step,
                               struct md_error *err)
{
    sqlite3_bind_int64(writer->step, 1, id);
    sqlite3_bind_int64(writer->step, 2, step->step);
    sqlite3_bind_int64(writer->step, 3, step->end_ms);
    sqlite3_bind_blob(writer->step, 4, step->cells, (int)step->bytes, SQLITE_STATIC);
    return md__store_step(writer->store, writer->step, err);
}

static enum md_status put_all(struct writer *writer, const char *owner,
                              const struct md_store_entity *entities, int entity_count,
                              const struct md_store_step *steps, int step_count, int64_t *ids,
                              struct md_error *err)
{
    enum md_status status = md__store_prepare(
        writer->store,
        "INSERT INTO entity(owner, key, labels) VALUES(?, ?, ?) ON CONFLICT(owner, "
        "key) DO UPDATE SET labels = excluded.labels RETURNING id",
        &writer->entity, err);
    if (status == MD_OK)
        status = md__store_prepare(writer->store, "INSERT OR REPLACE INTO step VALUES(?, ?, ?, ?)",
                                   &writer->step, err);
    for (int i = 0; status == MD_OK && i < entity_count; i++)
        status = put_entity(writer, owner, &entities[i], &ids[i], err);
    for (int i = 0; status == MD_OK && i < step_count; i++)
        status = put_step(writer, ids[steps[i].entity], &steps[i], err);
    return status;
}

enum md_status md_store_put_steps(struct md_store *store, const char *owner,
                                  const struct md_store_entity *entities, int entity_count,
                                  const struct md_store_step *steps, int step_count,
                                  struct md_error *err)
{
    struct writer writer = {.store = store};
    int64_t *ids = calloc((size_t)entity_count + 1, sizeof *ids);
    if (!ids)
        return md_fail(err, MD_ERR_MEMORY, "no memory to save %d entities", entity_count);
    enum md_status status = md__store_begin(store, err);
    if (status == MD_OK) {
        status = put_all(&writer, owner, entities, entity_count, steps, step_count, ids, err);
        sqlite3_finalize(writer.entity);
        sqlite3_finalize(writer.step);
        status = md__store_end(store, status, err);
    }
    free(ids);
    return status;
}

/* ---- reading --------------------------------------------------------------------------------- */

static enum md_status visit_row(sqlite3_stmt *row, int64_t *entity,
                                const struct md_store_reader *reader, struct md_error *err)
{
    if (sqlite3_column_int64(row, 0) != *entity) {
        *entity = sqlite3_column_int64(row, 0);
        enum md_status status =
            reader->entity(reader->context, (const char *)sqlite3_column_text(row, 1),
                           (const char *)sqlite3_column_text(row, 2), err);
        if (status != MD_OK)
            return status;
    }
    return reader->step(reader->context, sqlite3_column_int64(row, 3), sqlite3_column_blob(row, 4),
                        (size_t)sqlite3_column_bytes(row, 4), err);
}

enum md_status md_store_read_steps(struct md_store *store, const char *owner, int64_t first_step,
                                   const struct md_store_reader *reader, struct md_error *err)
{
    sqlite3_stmt *row = NULL;
    int64_t entity = -1;
    int code;
    pthread_mutex_lock(&store->lock);
    enum md_status status = md__store_prepare(
        store,
        "SELECT e.id, e.key, e.labels, s.step, s.cells FROM entity e JOIN step s ON "
        "s.entity = e.id WHERE e.owner = ? AND s.step >= ? ORDER BY e.id, s.step",
        &row, err);
    if (status == MD_OK) {
        sqlite3_bind_text(row, 1, owner, -1, SQLITE_STATIC);
        sqlite3_bind_int64(row, 2, first_step);
        while (status == MD_OK && (code = sqlite3_step(row)) != SQLITE_DONE)
            status = code == SQLITE_ROW ? visit_row(row, &entity, reader, err)
                                        : md__store_fail(store, "reading steps", err);
    }
    sqlite3_finalize(row);
    pthread_mutex_unlock(&store->lock);
    return status;
}
