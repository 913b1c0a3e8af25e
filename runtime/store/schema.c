/*
 * The schema and its history. SQLite's user_version is the schema's version; migrations[v] leads
 * from v to v + 1. A step, once released, never changes: add another one.
 */
#include "store/internal.h"

#include <stdio.h>
#include <unistd.h>

#include "base/log.h"

static const char *const migrations[] = {
    /* 0 -> 1. step.cells is opaque (series/persist.c); forecast.keys is newline-separated, .data
       float16. */
    "CREATE TABLE value(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE entity(id INTEGER PRIMARY KEY, owner TEXT NOT NULL, key TEXT NOT NULL,"
    " labels TEXT NOT NULL, UNIQUE(owner, key));"
    "CREATE TABLE step(entity INTEGER NOT NULL, step INTEGER NOT NULL, end_ms INTEGER NOT NULL,"
    " cells BLOB NOT NULL, PRIMARY KEY(entity, step)) WITHOUT ROWID;"
    "CREATE INDEX step_by_age ON step(end_ms);"
    "CREATE TABLE forecast(id INTEGER PRIMARY KEY, model TEXT NOT NULL, target TEXT NOT NULL,"
    " made_at_ms INTEGER NOT NULL, start_ms INTEGER NOT NULL, step_ms INTEGER NOT NULL,"
    " steps INTEGER NOT NULL, quantiles BLOB NOT NULL, keys TEXT NOT NULL, data BLOB NOT NULL);"
    "CREATE INDEX forecast_by_time ON forecast(made_at_ms);",
    /* 1 -> 2. What alerts saw at each tick (alert/frame.h) and what happened then (JSON). */
    "CREATE TABLE alert_names(id INTEGER PRIMARY KEY, names BLOB NOT NULL UNIQUE);"
    "CREATE TABLE alert_tick(time_ms INTEGER PRIMARY KEY, names INTEGER NOT NULL,"
    " cells BLOB NOT NULL);"
    "CREATE INDEX alert_tick_by_names ON alert_tick(names);"
    "CREATE TABLE alert_event(id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL,"
    " text TEXT NOT NULL);"
    "CREATE INDEX alert_event_by_time ON alert_event(time_ms);",
    /* 2 -> 3. Messages that have not been delivered, in the order of their numbers. */
    "CREATE TABLE message(id INTEGER PRIMARY KEY, target TEXT NOT NULL, key TEXT NOT NULL,"
    " made_ms INTEGER NOT NULL, alerts INTEGER NOT NULL, body BLOB NOT NULL);",
};
#define SCHEMA_VERSION ((int)(sizeof migrations / sizeof *migrations))

static enum md_status read_version(struct md_store *store, int *version, struct md_error *err)
{
    sqlite3_stmt *statement;
    enum md_status status = md__store_prepare(store, "PRAGMA user_version", &statement, err);
    if (status != MD_OK)
        return status;
    if (sqlite3_step(statement) == SQLITE_ROW)
        *version = sqlite3_column_int(statement, 0);
    else
        status = md__store_fail(store, "reading the schema version", err);
    sqlite3_finalize(statement);
    return status;
}

/* A consistent copy beside the database, made by SQLite itself. */
static enum md_status back_up(struct md_store *store, int version, struct md_error *err)
{
    char path[600], sql[700];
    snprintf(path, sizeof path, "%s.schema%d.bak", store->path, version);
    unlink(path);
    sqlite3_snprintf(sizeof sql, sql, "VACUUM INTO %Q", path);
    enum md_status status = md__store_exec(store, sql, err);
    if (status == MD_OK)
        md_log(MD_LOG_INFO, "store", "kept a copy of schema %d as %s", version, path);
    return status;
}

static enum md_status migrate_from(struct md_store *store, int version, struct md_error *err)
{
    enum md_status status = md__store_exec(store, "BEGIN IMMEDIATE", err);
    if (status != MD_OK)
        return status;
    for (int v = version; status == MD_OK && v < SCHEMA_VERSION; v++)
        status = md__store_exec(store, migrations[v], err);
    if (status == MD_OK) {
        char sql[64];
        snprintf(sql, sizeof sql, "PRAGMA user_version = %d", SCHEMA_VERSION);
        status = md__store_exec(store, sql, err);
    }
    if (status == MD_OK)
        return md__store_exec(store, "COMMIT", err);
    md__store_exec(store, "ROLLBACK", NULL);
    return status;
}

static enum md_status refuse_newer(const struct md_store *store, int version, struct md_error *err)
{
    return md_fail(err, MD_ERR_CONFLICT,
                   "%s was written by a newer moondial (schema %d, this one knows %d)", store->path,
                   version, SCHEMA_VERSION);
}

enum md_status md__store_check_schema(struct md_store *store, struct md_error *err)
{
    int version = 0;
    enum md_status status = read_version(store, &version, err);
    if (status != MD_OK || version == SCHEMA_VERSION)
        return status;
    if (version > SCHEMA_VERSION)
        return refuse_newer(store, version, err);
    return md_fail(
        err, MD_ERR_CONFLICT,
        "%s was written by an older moondial (schema %d, not %d); a daemon that opens it "
        "brings it up to date",
        store->path, version, SCHEMA_VERSION);
}

enum md_status md__store_migrate(struct md_store *store, struct md_error *err)
{
    int version = 0;
    enum md_status status = read_version(store, &version, err);
    if (status != MD_OK || version == SCHEMA_VERSION)
        return status;
    if (version > SCHEMA_VERSION)
        return refuse_newer(store, version, err);
    if (version > 0)
        status = back_up(store, version, err);
    return status == MD_OK ? migrate_from(store, version, err) : status;
}
