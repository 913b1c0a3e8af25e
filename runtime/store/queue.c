/* Messages that wait for delivery; see queue.h. */
#include "store/queue.h"

#include "store/internal.h"

static enum md_status put_value(struct md_store *store, const char *name, const void *value,
                                size_t bytes, struct md_error *err)
{
    sqlite3_stmt *statement;
    enum md_status status =
        md__store_prepare(store, "INSERT OR REPLACE INTO value VALUES(?, ?)", &statement, err);
    if (status != MD_OK)
        return status;
    sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_blob64(statement, 2, value, bytes, SQLITE_STATIC);
    status = md__store_step(store, statement, err);
    sqlite3_finalize(statement);
    return status;
}

static enum md_status put_messages(struct md_store *store, const struct md_store_message *messages,
                                   int count, struct md_error *err)
{
    sqlite3_stmt *statement;
    enum md_status status = md__store_prepare(
        store, "INSERT OR REPLACE INTO message VALUES(?, ?, ?, ?, ?, ?)", &statement, err);
    if (status != MD_OK)
        return status;
    for (int i = 0; i < count && status == MD_OK; i++) {
        sqlite3_bind_int64(statement, 1, messages[i].id);
        sqlite3_bind_text(statement, 2, messages[i].target, -1, SQLITE_STATIC);
        sqlite3_bind_text(statement, 3, messages[i].key, -1, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 4, messages[i].made_ms);
        sqlite3_bind_int(statement, 5, messages[i].alert_count);
        sqlite3_bind_blob64(statement, 6, messages[i].body, messages[i].bytes, SQLITE_STATIC);
        status = md__store_step(store, statement, err);
    }
    sqlite3_finalize(statement);
    return status;
}

enum md_status md_store_queue_put(struct md_store *store, const char *name, const void *value,
                                  size_t value_bytes, const struct md_store_message *messages,
                                  int count, struct md_error *err)
{
    enum md_status status = md__store_begin(store, err);
    if (status != MD_OK)
        return status;
    if (name)
        status = put_value(store, name, value, value_bytes, err);
    if (status == MD_OK && count > 0)
        status = put_messages(store, messages, count, err);
    return md__store_end(store, status, err);
}

enum md_status md_store_queue_remove(struct md_store *store, int64_t id, struct md_error *err)
{
    sqlite3_stmt *statement;
    enum md_status status = md__store_begin(store, err);
    if (status != MD_OK)
        return status;
    status = md__store_prepare(store, "DELETE FROM message WHERE id = ?", &statement, err);
    if (status == MD_OK) {
        sqlite3_bind_int64(statement, 1, id);
        status = md__store_step(store, statement, err);
        sqlite3_finalize(statement);
    }
    return md__store_end(store, status, err);
}

enum md_status md_store_queue_drop(struct md_store *store, const char *target, struct md_error *err)
{
    sqlite3_stmt *statement;
    enum md_status status = md__store_begin(store, err);
    if (status != MD_OK)
        return status;
    status = md__store_prepare(store, "DELETE FROM message WHERE target = ?", &statement, err);
    if (status == MD_OK) {
        sqlite3_bind_text(statement, 1, target, -1, SQLITE_STATIC);
        status = md__store_step(store, statement, err);
        sqlite3_finalize(statement);
    }
    return md__store_end(store, status, err);
}

static struct md_store_message read_row(sqlite3_stmt *row)
{
    return (struct md_store_message){
        .id = sqlite3_column_int64(row, 0),
        .target = (const char *)sqlite3_column_text(row, 1),
        .key = (const char *)sqlite3_column_text(row, 2),
        .made_ms = sqlite3_column_int64(row, 3),
        .alert_count = sqlite3_column_int(row, 4),
        .body = sqlite3_column_blob(row, 5),
        .bytes = (size_t)sqlite3_column_bytes(row, 5),
    };
}

enum md_status md_store_queue_read(struct md_store *store, void *context,
                                   enum md_status (*visit)(void *context,
                                                           const struct md_store_message *message,
                                                           struct md_error *err),
                                   struct md_error *err)
{
    sqlite3_stmt *row = NULL;
    int code;
    pthread_mutex_lock(&store->lock);
    enum md_status status = md__store_prepare(
        store, "SELECT id, target, key, made_ms, alerts, body FROM message ORDER BY id", &row, err);
    while (status == MD_OK && (code = sqlite3_step(row)) != SQLITE_DONE) {
        if (code != SQLITE_ROW) {
            status = md__store_fail(store, "reading messages", err);
            break;
        }
        struct md_store_message message = read_row(row);
        status = message.target && message.key
                     ? visit(context, &message, err)
                     : md_fail(err, MD_ERR_CORRUPT, "%s: a message without a key", store->path);
    }
    sqlite3_finalize(row);
    pthread_mutex_unlock(&store->lock);
    return status;
}
