/*
 * Messages that wait for delivery, and the memory of whoever makes them, in one database: both are
 * written in one transaction, so that after a crash a message is there exactly when its maker knows
 * of it. All calls block on the disk and are safe from any thread.
 */
#ifndef MD_STORE_QUEUE_H
#define MD_STORE_QUEUE_H

#include "store/store.h"

struct md_store_message {
    int64_t id; /* the caller's: ascending in the order of making */
    const char *target, *key;
    int64_t made_ms;
    int alert_count;
    const void *body;
    size_t bytes;
};

/* Adds messages (those that are there already are replaced) and sets the small named value `name`
 * (NULL: no value). */
enum md_status md_store_queue_put(struct md_store *store, const char *name, const void *value,
                                  size_t value_bytes, const struct md_store_message *messages,
                                  int count, struct md_error *err);
/* One message; all of a target. Neither minds when there is none. */
enum md_status md_store_queue_remove(struct md_store *store, int64_t id, struct md_error *err);
enum md_status md_store_queue_drop(struct md_store *store, const char *target,
                                   struct md_error *err);
/* All, in the order of making; borrowed for the call, which holds the store's lock. A failing visit
 * ends it. */
enum md_status md_store_queue_read(struct md_store *store, void *context,
                                   enum md_status (*visit)(void *context,
                                                           const struct md_store_message *message,
                                                           struct md_error *err),
                                   struct md_error *err);

#endif
