/*
 * Ticks of alerts: what rules saw (names and cells, opaque here), what happened, and the state of
 * the engine after the newest tick.
 *
 * A tick is kept whole or not at all, so the state always belongs to the newest tick that is kept.
 * Names seldom change from tick to tick and are kept once, found again by their contents. Reads
 * give a page at a time: a reader of a month must not keep the daemon's other writers waiting.
 */
#include "store/internal.h"

#include <limits.h>

#define STATE "alerts.state" /* among the small named values */

/* ---- writing --------------------------------------------------------------------------------- */

struct writer {
    struct md_store *store;
    sqlite3_stmt *names, *tick, *clear, *event;
};

static enum md_status put_names(struct writer *writer, const struct md_store_alert_tick *tick,
                                int64_t *id, struct md_error *err)
{
    enum md_status status = MD_OK;
    sqlite3_bind_blob(writer->names, 1, tick->names, (int)tick->names_bytes, SQLITE_STATIC);
    if (sqlite3_step(writer->names) == SQLITE_ROW)
        *id = sqlite3_column_int64(writer->names, 0);
    else
        status = md__store_fail(writer->store, "saving names of alerts", err);
    sqlite3_reset(writer->names);
    return status;
}

static enum md_status put_tick(struct writer *writer, const struct md_store_alert_tick *tick,
                               struct md_error *err)
{
    int64_t names = 0;
    enum md_status status = put_names(writer, tick, &names, err);
    if (status != MD_OK)
        return status;
    sqlite3_bind_int64(writer->tick, 1, tick->time_ms);
    sqlite3_bind_int64(writer->tick, 2, names);
    sqlite3_bind_blob(writer->tick, 3, tick->cells, (int)tick->cells_bytes, SQLITE_STATIC);
    status = md__store_step(writer->store, writer->tick, err);
    sqlite3_bind_int64(writer->clear, 1, tick->time_ms);
    if (status == MD_OK)
        status = md__store_step(writer->store, writer->clear, err);
    sqlite3_bind_int64(writer->event, 1, tick->time_ms);
    for (int i = 0; status == MD_OK && i < tick->event_count; i++) {
        sqlite3_bind_text(writer->event, 2, tick->events[i], -1, SQLITE_STATIC);
        status = md__store_step(writer->store, writer->event, err);
    }
    return status;
}

static enum md_status put_all(struct writer *writer, const struct md_store_alert_tick *ticks,
                              int count, struct md_error *err)
{
    static const char names[] = "INSERT INTO alert_names(names) VALUES(?) ON CONFLICT(names) "
                                "DO UPDATE SET names = names RETURNING id";
    static const char tick[] = "INSERT OR REPLACE INTO alert_tick VALUES(?, ?, ?)";
    static const char clear[] = "DELETE FROM alert_event WHERE time_ms = ?";
    static const char event[] = "INSERT INTO alert_event(time_ms, text) VALUES(?, ?)";
    enum md_status status = md__store_prepare(writer->store, names, &writer->names, err);
    if (status == MD_OK)
        status = md__store_prepare(writer->store, tick, &writer->tick, err);
    if (status == MD_OK)
        status = md__store_prepare(writer->store, clear, &writer->clear, err);
    if (status == MD_OK)
        status = md__store_prepare(writer->store, event, &writer->event, err);
    for (int i = 0; status == MD_OK && i < count; i++)
        status = put_tick(writer, &ticks[i], err);
    return status;
}

enum md_status md_store_put_alerts(struct md_store *store, const struct md_store_alert_tick *ticks,
                                   int count, const void *state, size_t state_bytes,
                                   struct md_error *err)
{
    struct writer writer = {.store = store};
    for (int i = 0; i < count; i++)
        if (ticks[i].names_bytes > INT_MAX || ticks[i].cells_bytes > INT_MAX)
            return md_fail(err, MD_ERR_TOO_LARGE, "a tick of alerts is too large to be kept");
    if (state_bytes > INT_MAX)
        return md_fail(err, MD_ERR_TOO_LARGE, "the state of alerts is too large to be kept");
    enum md_status status = md__store_begin(store, err);
    if (status != MD_OK)
        return status;
    status = put_all(&writer, ticks, count, err);
    sqlite3_finalize(writer.names);
    sqlite3_finalize(writer.tick);
    sqlite3_finalize(writer.clear);
    sqlite3_finalize(writer.event);
    if (status == MD_OK)
        status = md__store_insert_value(store, STATE, state, state_bytes, err);
    return md__store_end(store, status, err);
}

/* ---- reading --------------------------------------------------------------------------------- */

enum md_status md_store_get_alert_state(struct md_store *store, void **state, size_t *bytes,
                                        struct md_error *err)
{
    char *value;
    enum md_status status = md_store_get_value(store, STATE, &value, bytes, err);
    *state = value;
    return status;
}

/* Runs `sql` with three numbers and max; `row` is called for each row. */
struct page {
    const char *sql, *what;
    int64_t numbers[3];
    int max;
    void *context;
    enum md_status (*row)(const struct page *page, sqlite3_stmt *row, struct md_error *err);
    union {
        enum md_status (*tick)(void *, const struct md_store_alert_tick *, struct md_error *);
        enum md_status (*event)(void *, const struct md_store_alert_event *, struct md_error *);
    } visit;
};

static enum md_status read_page(struct md_store *store, const struct page *page,
                                struct md_error *err)
{
    sqlite3_stmt *row = NULL;
    int code;
    pthread_mutex_lock(&store->lock);
    enum md_status status = md__store_prepare(store, page->sql, &row, err);
    if (status == MD_OK) {
        for (int i = 0; i < 3; i++)
            sqlite3_bind_int64(row, i + 1, page->numbers[i]);
        sqlite3_bind_int(row, 4, page->max);
        while (status == MD_OK && (code = sqlite3_step(row)) != SQLITE_DONE)
            status = code == SQLITE_ROW ? page->row(page, row, err)
                                        : md__store_fail(store, page->what, err);
    }
    sqlite3_finalize(row);
    pthread_mutex_unlock(&store->lock);
    return status;
}

static enum md_status visit_tick(const struct page *page, sqlite3_stmt *row, struct md_error *err)
{
    const struct md_store_alert_tick tick = {
        .time_ms = sqlite3_column_int64(row, 0),
        .names_id = sqlite3_column_int64(row, 1),
        .names = sqlite3_column_blob(row, 2),
        .names_bytes = (size_t)sqlite3_column_bytes(row, 2),
        .cells = sqlite3_column_blob(row, 3),
        .cells_bytes = (size_t)sqlite3_column_bytes(row, 3),
    };
    return page->visit.tick(page->context, &tick, err);
}

enum md_status md_store_read_alert_ticks(
    struct md_store *store, int64_t begin_ms, int64_t end_ms, int max, void *context,
    enum md_status (*visit)(void *context, const struct md_store_alert_tick *tick,
                            struct md_error *err),
    struct md_error *err)
{
    const struct page page = {
        .sql = "SELECT t.time_ms, t.names, n.names, t.cells FROM alert_tick t "
               "JOIN alert_names n ON n.id = t.names "
               "WHERE t.time_ms >= ?1 AND t.time_ms < ?2 ORDER BY t.time_ms LIMIT ?4",
        .what = "reading frames of alerts",
        .numbers = {begin_ms, end_ms},
        .max = max,
        .context = context,
        .row = visit_tick,
        .visit.tick = visit,
    };
    return read_page(store, &page, err);
}

static enum md_status visit_event(const struct page *page, sqlite3_stmt *row, struct md_error *err)
{
    const struct md_store_alert_event event = {
        .id = sqlite3_column_int64(row, 0),
        .time_ms = sqlite3_column_int64(row, 1),
        .text = (const char *)sqlite3_column_text(row, 2),
    };
    return page->visit.event(page->context, &event, err);
}

enum md_status md_store_read_alert_events(
    struct md_store *store, int64_t begin_ms, int64_t end_ms, int64_t after, int max, void *context,
    enum md_status (*visit)(void *context, const struct md_store_alert_event *event,
                            struct md_error *err),
    struct md_error *err)
{
    const struct page page = {
        .sql = "SELECT id, time_ms, text FROM alert_event WHERE (time_ms, id) > (?1, ?3) "
               "AND time_ms < ?2 ORDER BY time_ms, id LIMIT ?4",
        .what = "reading events of alerts",
        .numbers = {begin_ms, end_ms, after},
        .max = max,
        .context = context,
        .row = visit_event,
        .visit.event = visit,
    };
    return read_page(store, &page, err);
}
