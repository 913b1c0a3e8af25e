/*
 * Ticks on their way into the history: normally one, for the moment of its transaction. What could
 * not be kept waits here and goes into the next transaction, oldest first, so that a disk that was
 * full for a while leaves no gap. There is a cap on bytes; past it the oldest ticks are dropped.
 * The engine's state that goes with them is only ever that after the newest.
 *
 * One thread at a time.
 */
#ifndef MD_ALERT_BACKLOG_H
#define MD_ALERT_BACKLOG_H

#include "base/buffer.h"

struct md_store;

/* A tick that is not kept yet. */
struct md__alert_unkept {
    int64_t time_ms;
    struct md_buffer frame;
    struct md_buffer events; /* JSON with its NUL, one behind the other */
    int event_count;
};

struct md__alert_backlog { /* begins as zeros */
    struct md__alert_unkept *entries;
    int count, capacity;
};

void md__alert_backlog_fini(struct md__alert_backlog *backlog);
/* A tick without anything in it. */
enum md_status md__alert_backlog_add(struct md__alert_backlog *backlog, int64_t time_ms,
                                     struct md_error *err);
/* Borrowed until the next call of add. */
struct md__alert_unkept *md__alert_backlog_newest(struct md__alert_backlog *backlog);
/* The newest was none. */
void md__alert_backlog_take_back(struct md__alert_backlog *backlog);
/* Keeps all of it in one transaction, after which it is empty. */
enum md_status md__alert_backlog_keep(struct md__alert_backlog *backlog, struct md_store *store,
                                      const struct md_buffer *state, struct md_error *err);

#endif
