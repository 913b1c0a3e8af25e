/*
 * SQLite behind a few functions with our errors: running statements, transactions under the store's
 * lock. A failure is remembered as the store's trouble until a transaction succeeds.
 */
#include <stdio.h>

#include "base/log.h"
#include "store/internal.h"

enum md_status md__store_fail(struct md_store *store, const char *doing, struct md_error *err)
{
    int code = sqlite3_errcode(store->db);
    bool first = store->trouble[0] == '\0';
    snprintf(store->trouble, sizeof store->trouble, "%s: %s", doing, sqlite3_errmsg(store->db));
    if (first)
        md_log(MD_LOG_ERROR, "store", "%s", store->trouble);
    return md_fail(err,
                   code == SQLITE_CORRUPT || code == SQLITE_NOTADB ? MD_ERR_CORRUPT : MD_ERR_IO,
                   "%s: %s", store->path, store->trouble);
}

enum md_status md__store_exec(struct md_store *store, const char *sql, struct md_error *err)
{
    if (sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return MD_OK;
    char doing[48];
    snprintf(doing, sizeof doing, "%.40s", sql);
    return md__store_fail(store, doing, err);
}

enum md_status md__store_prepare(struct md_store *store, const char *sql, sqlite3_stmt **statement,
                                 struct md_error *err)
{
    if (sqlite3_prepare_v2(store->db, sql, -1, statement, NULL) == SQLITE_OK)
        return MD_OK;
    return md__store_fail(store, "preparing", err);
}

enum md_status md__store_step(struct md_store *store, sqlite3_stmt *statement, struct md_error *err)
{
    int code = sqlite3_step(statement);
    sqlite3_reset(statement);
    return code == SQLITE_DONE || code == SQLITE_ROW ? MD_OK
                                                     : md__store_fail(store, "writing", err);
}

enum md_status md__store_begin(struct md_store *store, struct md_error *err)
{
    if (store->read_only)
        return md_fail(err, MD_ERR_CONFLICT, "%s was opened for reading only", store->path);
    pthread_mutex_lock(&store->lock);
    enum md_status status = md__store_exec(store, "BEGIN IMMEDIATE", err);
    if (status != MD_OK)
        pthread_mutex_unlock(&store->lock);
    return status;
}

enum md_status md__store_end(struct md_store *store, enum md_status status, struct md_error *err)
{
    if (status == MD_OK)
        status = md__store_exec(store, "COMMIT", err);
    if (status == MD_OK)
        store->trouble[0] = '\0';
    else if (!sqlite3_get_autocommit(store->db))
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    pthread_mutex_unlock(&store->lock);
    return status;
}
