/* Ticks on their way into the history: see backlog.h. */
#include "alert/backlog.h"

#include <stdlib.h>
#include <string.h>

#include "alert/history.h"
#include "base/log.h"

#define BYTES_MAX ((size_t)64 << 20)

static void entry_fini(struct md__alert_unkept *entry)
{
    md_buffer_fini(&entry->frame);
    md_buffer_fini(&entry->events);
}

/* Forgets the first `count` entries. */
static void forget(struct md__alert_backlog *backlog, int count)
{
    for (int i = 0; i < count; i++)
        entry_fini(&backlog->entries[i]);
    backlog->count -= count;
    if (backlog->count > 0)
        memmove(backlog->entries, backlog->entries + count,
                (size_t)backlog->count * sizeof *backlog->entries);
}

void md__alert_backlog_fini(struct md__alert_backlog *backlog)
{
    forget(backlog, backlog->count);
    free(backlog->entries);
    *backlog = (struct md__alert_backlog){0};
}

enum md_status md__alert_backlog_add(struct md__alert_backlog *backlog, int64_t time_ms,
                                     struct md_error *err)
{
    if (backlog->count == backlog->capacity) {
        int capacity = 2 * backlog->capacity + 4;
        struct md__alert_unkept *more = realloc(backlog->entries, (size_t)capacity * sizeof *more);
        if (!more)
            return md_fail(err, MD_ERR_MEMORY, "no memory for a tick of alerts");
        backlog->entries = more;
        backlog->capacity = capacity;
    }
    struct md__alert_unkept *entry = &backlog->entries[backlog->count++];
    *entry = (struct md__alert_unkept){.time_ms = time_ms};
    md_buffer_init(&entry->frame, 0);
    md_buffer_init(&entry->events, 0);
    return MD_OK;
}

struct md__alert_unkept *md__alert_backlog_newest(struct md__alert_backlog *backlog)
{
    return &backlog->entries[backlog->count - 1];
}

void md__alert_backlog_take_back(struct md__alert_backlog *backlog)
{
    entry_fini(&backlog->entries[--backlog->count]);
}

/* All as ticks, the events of all in one list behind them; NULL: no memory. */
static struct md_alert_tick *list(const struct md__alert_backlog *backlog)
{
    size_t count = (size_t)backlog->count, events = 0;
    for (size_t i = 0; i < count; i++)
        events += (size_t)backlog->entries[i].event_count;
    struct md_alert_tick *ticks = malloc(count * sizeof *ticks + events * sizeof(char *) + 1);
    const char **event = (const char **)(ticks + count);
    for (size_t i = 0; ticks && i < count; i++) {
        const struct md__alert_unkept *entry = &backlog->entries[i];
        const char *text = entry->events.data;
        ticks[i] = (struct md_alert_tick){entry->time_ms, &entry->frame, entry->event_count, event};
        for (int e = 0; e < entry->event_count; e++, text += strlen(text) + 1)
            *event++ = text;
    }
    return ticks;
}

/* Drops the oldest when all take too much memory. */
static void cap(struct md__alert_backlog *backlog)
{
    size_t bytes = 0;
    int first = backlog->count;
    while (first > 0 && bytes <= BYTES_MAX) {
        const struct md__alert_unkept *entry = &backlog->entries[--first];
        bytes += entry->frame.capacity + entry->events.capacity + sizeof *entry;
    }
    if (bytes <= BYTES_MAX)
        return;
    md_log(MD_LOG_WARN, "alert", "ticks of alerts lost to the history: %d", first + 1);
    forget(backlog, first + 1);
}

enum md_status md__alert_backlog_keep(struct md__alert_backlog *backlog, struct md_store *store,
                                      const struct md_buffer *state, struct md_error *err)
{
    struct md_alert_tick *ticks = list(backlog);
    enum md_status status = MD_OK;
    if (!ticks)
        status = md_fail(err, MD_ERR_MEMORY, "no memory to keep a tick of alerts");
    if (status == MD_OK)
        status = md_alert_history_put(store, ticks, backlog->count, state, err);
    free(ticks);
    if (status == MD_OK)
        forget(backlog, backlog->count);
    else
        cap(backlog);
    return status;
}
