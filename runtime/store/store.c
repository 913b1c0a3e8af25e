/*
 * The store's life: opening, the folder's lock, trouble, trimming.
 *
 * synchronous=NORMAL with a write-ahead log: a killed process loses no committed transaction; a
 * power failure may lose the last few, which is the interval that the configuration names anyway.
 */
#include "store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define RETENTION_MS_DEFAULT (30LL * 86400000)
#define BYTES_MAX_DEFAULT    (2LL << 30)

/* ---- opening --------------------------------------------------------------------------------- */

static enum md_status make_folder(const char *folder, struct md_error *err)
{
    char path[512];
    if (snprintf(path, sizeof path, "%s", folder) >= (int)sizeof path)
        return md_fail(err, MD_ERR_INVALID, "the state folder's name is too long");
    for (char *p = path + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        mkdir(path, 0755);
        *p = '/';
    }
    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        return md_fail(err, MD_ERR_IO, "cannot make %s: %s", path, strerror(errno));
    return MD_OK;
}

/* Holds FOLDER/lock as long as the descriptor is open; the file names the holder for people to
 * read. */
static enum md_status lock_folder(struct md_store *store, const char *folder, struct md_error *err)
{
    char path[600], holder[32] = "";
    snprintf(path, sizeof path, "%s/lock", folder);
    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (store->lock_fd < 0)
        return md_fail(err, MD_ERR_IO, "cannot open %s: %s", path, strerror(errno));
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        ssize_t got = read(store->lock_fd, holder, sizeof holder - 1);
        holder[got > 0 ? strcspn(holder, "\n") : 0] = '\0';
        return md_fail(err, MD_ERR_CONFLICT, "%s is in use by another moondial (process %s)",
                       folder, *holder ? holder : "unknown");
    }
    int length = snprintf(holder, sizeof holder, "%d\n", (int)getpid());
    if (ftruncate(store->lock_fd, 0) != 0 || pwrite(store->lock_fd, holder, (size_t)length, 0) < 0)
        md_log(MD_LOG_WARN, "store", "cannot write %s: %s", path, strerror(errno));
    return MD_OK;
}

static enum md_status open_connection(struct md_store *store, int flags, struct md_error *err)
{
    if (sqlite3_open_v2(store->path, &store->db, flags, NULL) != SQLITE_OK) {
        if (!store->db)
            return md_fail(err, MD_ERR_MEMORY, "no memory for %s", store->path);
        return md__store_fail(store, "opening", err);
    }
    sqlite3_busy_timeout(store->db, 2000);
    return MD_OK;
}

static enum md_status open_database(struct md_store *store, struct md_error *err)
{
    enum md_status status = open_connection(
        store, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, err);
    if (status == MD_OK)
        status = md__store_exec(store,
                                "PRAGMA auto_vacuum = INCREMENTAL;"
                                "PRAGMA journal_mode = WAL;"
                                "PRAGMA synchronous = NORMAL;"
                                "PRAGMA temp_store = MEMORY",
                                err);
    return status == MD_OK ? md__store_migrate(store, err) : status;
}

static struct md_store *new_store(const char *folder, struct md_error *err)
{
    struct md_store *made = calloc(1, sizeof *made);
    if (!made) {
        md_fail(err, MD_ERR_MEMORY, "no memory for the store");
        return NULL;
    }
    pthread_mutex_init(&made->lock, NULL);
    made->lock_fd = -1;
    snprintf(made->path, sizeof made->path, "%s/moondial.db", folder);
    return made;
}

enum md_status md_store_open(const char *folder, const struct md_store_options *options,
                             struct md_store **store, struct md_error *err)
{
    *store = NULL;
    enum md_status status = make_folder(folder, err);
    if (status != MD_OK)
        return status;
    struct md_store *made = new_store(folder, err);
    if (!made)
        return MD_ERR_MEMORY;
    made->options = *options;
    if (!made->options.retention_ms)
        made->options.retention_ms = RETENTION_MS_DEFAULT;
    if (!made->options.bytes_max)
        made->options.bytes_max = BYTES_MAX_DEFAULT;
    status = lock_folder(made, folder, err);
    if (status == MD_OK)
        status = open_database(made, err);
    if (status != MD_OK) {
        md_store_close(made);
        return status;
    }
    *store = made;
    return MD_OK;
}

/* SQLite opens lazily: only the first read tells whether the file is a database. */
static enum md_status open_to_read(struct md_store *store, struct md_error *err)
{
    struct stat info;
    if (stat(store->path, &info) != 0)
        return md_fail(err, errno == ENOENT || errno == ENOTDIR ? MD_ERR_NOT_FOUND : MD_ERR_IO,
                       "no state at %s: %s", store->path, strerror(errno));
    enum md_status status = open_connection(store, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, err);
    return status == MD_OK ? md__store_check_schema(store, err) : status;
}

enum md_status md_store_open_read(const char *folder, struct md_store **store, struct md_error *err)
{
    *store = NULL;
    struct md_store *made = new_store(folder, err);
    if (!made)
        return MD_ERR_MEMORY;
    made->read_only = true;
    enum md_status status = open_to_read(made, err);
    if (status != MD_OK) {
        md_store_close(made);
        return status;
    }
    *store = made;
    return MD_OK;
}

void md_store_close(struct md_store *store)
{
    if (!store)
        return;
    sqlite3_close(store->db);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

/* ---- state of health ------------------------------------------------------------------------- */

bool md_store_trouble(struct md_store *store, char *text, size_t size)
{
    pthread_mutex_lock(&store->lock);
    bool trouble = store->trouble[0] != '\0';
    if (trouble)
        snprintf(text, size, "%s", store->trouble);
    pthread_mutex_unlock(&store->lock);
    return trouble;
}

static int64_t read_number(struct md_store *store, const char *sql)
{
    sqlite3_stmt *statement;
    int64_t number = 0;
    if (md__store_prepare(store, sql, &statement, NULL) != MD_OK)
        return 0;
    if (sqlite3_step(statement) == SQLITE_ROW)
        number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

/* Bytes in use: free pages inside the file do not count. */
static int64_t used_bytes(struct md_store *store)
{
    int64_t pages = read_number(store, "PRAGMA page_count");
    return (pages - read_number(store, "PRAGMA freelist_count")) *
           read_number(store, "PRAGMA page_size");
}

int64_t md_store_bytes(struct md_store *store)
{
    pthread_mutex_lock(&store->lock);
    int64_t bytes = used_bytes(store);
    pthread_mutex_unlock(&store->lock);
    return bytes;
}

/* ---- trimming -------------------------------------------------------------------------------- */

static enum md_status delete_before(struct md_store *store, const char *sql, int64_t limit_ms,
                                    struct md_error *err)
{
    sqlite3_stmt *statement;
    enum md_status status = md__store_prepare(store, sql, &statement, err);
    if (status != MD_OK)
        return status;
    sqlite3_bind_int64(statement, 1, limit_ms);
    status = md__store_step(store, statement, err);
    sqlite3_finalize(statement);
    return status;
}

static enum md_status drop_before(struct md_store *store, int64_t limit_ms, struct md_error *err)
{
    enum md_status status =
        delete_before(store, "DELETE FROM forecast WHERE made_at_ms < ?", limit_ms, err);
    if (status == MD_OK)
        status = delete_before(store, "DELETE FROM step WHERE end_ms < ?", limit_ms, err);
    if (status == MD_OK)
        status = delete_before(store, "DELETE FROM alert_tick WHERE time_ms < ?", limit_ms, err);
    if (status == MD_OK)
        status = delete_before(store, "DELETE FROM alert_event WHERE time_ms < ?", limit_ms, err);
    return status;
}

/* The end of the oldest tenth of the time that is kept; 0 when nothing is. */
static const char tenth_ms[] =
    "SELECT min(at) + (max(at) - min(at)) / 10 + 1 FROM ("
    "SELECT min(made_at_ms) AS at FROM forecast UNION ALL SELECT max(made_at_ms) FROM forecast "
    "UNION ALL SELECT min(end_ms) FROM step UNION ALL SELECT max(end_ms) FROM step "
    "UNION ALL SELECT min(time_ms) FROM alert_tick UNION ALL SELECT max(time_ms) FROM alert_tick "
    "UNION ALL SELECT min(time_ms) FROM alert_event "
    "UNION ALL SELECT max(time_ms) FROM alert_event)";

/* Drops the oldest of all, a tenth of the time at once, until the rest fits. */
static enum md_status shrink(struct md_store *store, struct md_error *err)
{
    enum md_status status = MD_OK;
    int64_t limit_ms;
    while (status == MD_OK && used_bytes(store) > store->options.bytes_max &&
           (limit_ms = read_number(store, tenth_ms)) != 0)
        status = drop_before(store, limit_ms, err);
    return status;
}

enum md_status md_store_trim(struct md_store *store, struct md_error *err)
{
    enum md_status status = md__store_begin(store, err);
    if (status != MD_OK)
        return status;
    int64_t limit_ms = md_now_ms(store->options.clock) - store->options.retention_ms;
    status = drop_before(store, limit_ms, err);
    if (status == MD_OK)
        status = shrink(store, err);
    if (status == MD_OK)
        status = md__store_exec(store,
                                "DELETE FROM entity WHERE NOT EXISTS "
                                "(SELECT 1 FROM step WHERE step.entity = entity.id);"
                                "DELETE FROM alert_names WHERE NOT EXISTS "
                                "(SELECT 1 FROM alert_tick WHERE names = alert_names.id)",
                                err);
    status = md__store_end(store, status, err);
    if (status == MD_OK) {
        pthread_mutex_lock(&store->lock);
        status = md__store_exec(store, "PRAGMA incremental_vacuum(1000)", err);
        pthread_mutex_unlock(&store->lock);
    }
    return status;
}
