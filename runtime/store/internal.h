/* Inside the store: one connection, one lock, and the small helpers around SQLite's C interface. */
#ifndef MD_STORE_INTERNAL_H
#define MD_STORE_INTERNAL_H

#include <pthread.h>
#include <sqlite3.h>

#include "store/store.h"

struct md_store {
    sqlite3 *db;
    int lock_fd;
    pthread_mutex_t lock;
    struct md_store_options options;
    char trouble[256]; /* the latest failure; "" when the last write went well */
    char path[512];
    bool read_only;
};

/* ---- sqlite.c ---- */

/* A failed SQLite call as a status; remembers it as the store's trouble. */
enum md_status md__store_fail(struct md_store *store, const char *doing, struct md_error *err);
enum md_status md__store_exec(struct md_store *store, const char *sql, struct md_error *err);
enum md_status md__store_prepare(struct md_store *store, const char *sql, sqlite3_stmt **statement,
                                 struct md_error *err);
/* Runs a statement that returns no rows, and resets it. */
enum md_status md__store_step(struct md_store *store, sqlite3_stmt *statement,
                              struct md_error *err);

/* Lock, BEGIN (MD_ERR_CONFLICT when the store was opened for reading); then COMMIT or, when status
 * is a failure, ROLLBACK; unlock. end returns the final status. */
enum md_status md__store_begin(struct md_store *store, struct md_error *err);
enum md_status md__store_end(struct md_store *store, enum md_status status, struct md_error *err);

/* ---- schema.c ---- */

/* Creates or migrates; refuses a schema from the future. */
enum md_status md__store_migrate(struct md_store *store, struct md_error *err);
/* Refuses every schema but the present one. */
enum md_status md__store_check_schema(struct md_store *store, struct md_error *err);

/* ---- forecasts.c ---- */

/* A small named value, within a transaction that has begun. */
enum md_status md__store_insert_value(struct md_store *store, const char *name, const void *value,
                                      size_t bytes, struct md_error *err);

#endif
