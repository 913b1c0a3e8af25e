/*
 * Ticks in the store. Frames are read a page at a time, copied while the store is locked and
 * decoded when it is not; names that repeat are decoded once.
 */
#include "alert/history.h"

#include <stdlib.h>
#include <string.h>

#include "alert/frame.h"
#include "store/store.h"

#define TICKS_PER_PAGE  32
#define EVENTS_PER_PAGE 256

/* ---- writing --------------------------------------------------------------------------------- */

enum md_status md_alert_history_put(struct md_store *store, const struct md_alert_tick *ticks,
                                    int count, const struct md_buffer *state, struct md_error *err)
{
    struct md_store_alert_tick *rows = calloc((size_t)count + 1, sizeof *rows);
    enum md_status status = MD_OK;
    if (!rows)
        return md_fail(err, MD_ERR_MEMORY, "no memory to keep %d ticks", count);
    for (int i = 0; status == MD_OK && i < count; i++) {
        struct md__frame_parts parts = {0};
        status = md__frame_split(ticks[i].frame->data, ticks[i].frame->length, &parts, err);
        rows[i] = (struct md_store_alert_tick){
            .time_ms = ticks[i].time_ms,
            .names = parts.names,
            .names_bytes = parts.names_bytes,
            .cells = parts.cells,
            .cells_bytes = parts.cells_bytes,
            .events = ticks[i].events,
            .event_count = ticks[i].event_count,
        };
    }
    if (status == MD_OK)
        status = md_store_put_alerts(store, rows, count, state->data, state->length, err);
    free(rows);
    return status;
}

enum md_status md_alert_history_state(struct md_store *store, void **state, size_t *bytes,
                                      struct md_error *err)
{
    return md_store_get_alert_state(store, state, bytes, err);
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* One page of ticks: their bytes one behind the other. */
struct page {
    struct md_buffer bytes;
    struct entry {
        int64_t time_ms;
        bool has_names; /* its names are not those of the tick before */
        size_t names_bytes, cells_bytes;
    } entries[TICKS_PER_PAGE];
    int count;
    int64_t names_id; /* the newest names that were copied, in this page or an earlier one */
};

static enum md_status copy_tick(void *context, const struct md_store_alert_tick *tick,
                                struct md_error *err)
{
    struct page *page = context;
    struct entry *entry = &page->entries[page->count++];
    *entry = (struct entry){.time_ms = tick->time_ms, .cells_bytes = tick->cells_bytes};
    if (page->names_id != tick->names_id) {
        entry->has_names = true;
        entry->names_bytes = tick->names_bytes;
        page->names_id = tick->names_id;
        md_buffer_append(&page->bytes, tick->names, tick->names_bytes);
    }
    md_buffer_append(&page->bytes, tick->cells, tick->cells_bytes);
    return md_buffer_check(&page->bytes, err);
}

struct frame_visitor {
    enum md_status (*visit)(void *, const struct md_alert_frame *, struct md_error *);
    void *context;
    struct md_alert_record record;
};

static enum md_status visit_page(const struct page *page, struct frame_visitor *visitor,
                                 struct md_error *err)
{
    enum md_status status = MD_OK;
    const char *at = page->bytes.data;
    for (int i = 0; status == MD_OK && i < page->count; i++) {
        const struct entry *entry = &page->entries[i];
        if (entry->has_names)
            status = md__frame_names(&visitor->record, at, entry->names_bytes, err);
        at += entry->names_bytes;
        if (status == MD_OK)
            status = md__frame_cells(&visitor->record, at, entry->cells_bytes, err);
        at += entry->cells_bytes;
        if (status != MD_OK)
            return md_error_context(err, "at %lld", (long long)entry->time_ms);
        status = visitor->visit(visitor->context, &visitor->record.frame, err);
    }
    return status;
}

enum md_status md_alert_history_frames(struct md_store *store, int64_t begin_ms, int64_t end_ms,
                                       enum md_status (*visit)(void *context,
                                                               const struct md_alert_frame *frame,
                                                               struct md_error *err),
                                       void *context, struct md_error *err)
{
    struct frame_visitor visitor = {.visit = visit, .context = context};
    struct page page = {.names_id = -1};
    enum md_status status;
    md_buffer_init(&page.bytes, 0);
    do {
        page.count = 0;
        md_buffer_clear(&page.bytes);
        status = md_store_read_alert_ticks(store, begin_ms, end_ms, TICKS_PER_PAGE, &page,
                                           copy_tick, err);
        if (status == MD_OK)
            status = visit_page(&page, &visitor, err);
        if (page.count > 0)
            begin_ms = page.entries[page.count - 1].time_ms + 1;
    } while (status == MD_OK && page.count == TICKS_PER_PAGE);
    md_alert_record_fini(&visitor.record);
    md_buffer_fini(&page.bytes);
    return status;
}

/* ---- events ---------------------------------------------------------------------------------- */

struct events {
    struct md_buffer text; /* JSON with its NUL, one behind the other */
    int64_t times_ms[EVENTS_PER_PAGE];
    int count;
    int64_t time_ms, id; /* of the last */
};

static enum md_status copy_event(void *context, const struct md_store_alert_event *event,
                                 struct md_error *err)
{
    struct events *events = context;
    events->times_ms[events->count++] = events->time_ms = event->time_ms;
    events->id = event->id;
    md_buffer_append(&events->text, event->text, strlen(event->text) + 1);
    return md_buffer_check(&events->text, err);
}

enum md_status md_alert_history_events(struct md_store *store, int64_t begin_ms, int64_t end_ms,
                                       enum md_status (*visit)(void *context, int64_t time_ms,
                                                               const char *json,
                                                               struct md_error *err),
                                       void *context, struct md_error *err)
{
    struct events events = {.time_ms = begin_ms};
    enum md_status status;
    md_buffer_init(&events.text, 0);
    do {
        events.count = 0;
        md_buffer_clear(&events.text);
        status = md_store_read_alert_events(store, events.time_ms, end_ms, events.id,
                                            EVENTS_PER_PAGE, &events, copy_event, err);
        const char *json = events.text.data;
        for (int i = 0; status == MD_OK && i < events.count; i++) {
            status = visit(context, events.times_ms[i], json, err);
            json += strlen(json) + 1;
        }
    } while (status == MD_OK && events.count == EVENTS_PER_PAGE);
    md_buffer_fini(&events.text);
    return status;
}
