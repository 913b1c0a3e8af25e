/*
 * The past of alerts: frames as they were evaluated, and what happened at them.
 *
 * A live tick goes through here, so that what is evaluated is what is kept: channels are rounded to
 * 16 bits between each entity's smallest and largest value (at most 1/131070 of that range away)
 * *before* rules see them, and values, keys and profiles are kept as they are. A frame of 100
 * servers, 14 columns, and an hour of one quantile of each takes about 50 KB; runs of equal numbers
 * take less.
 *
 * Which channels are kept: those that a rule watches, up to its within_ms, and those that the app
 * names for rehearsals of rules to come.
 */
#ifndef MD_ALERT_HISTORY_H
#define MD_ALERT_HISTORY_H

#include "alert/alert.h"

struct md_store;

/* A frame with memory of its own, decoded or rounded. Zero it before the first use; it may be used
 * again and again, which keeps its memory. */
struct md_alert_record {
    struct md_alert_frame frame;
    void *memory;
    size_t bytes;
};
void md_alert_record_fini(struct md_alert_record *record);

/* Bytes that hold the frame, keys included; and back, exactly. A decoded frame equals
 * what a second encoding and decoding of it would give. MD_ERR_CORRUPT names what is wrong. */
enum md_status md_alert_frame_encode(const struct md_alert_frame *frame, struct md_buffer *bytes,
                                     struct md_error *err);
enum md_status md_alert_frame_decode(const void *bytes, size_t length,
                                     struct md_alert_record *record, struct md_error *err);

/* One finished tick, in one transaction: the frame, the engine's state, its events (JSON, one each,
 * as /alerts/history shows them). */
struct md_alert_tick {
    int64_t time_ms;
    const struct md_buffer *frame, *state;
    int event_count;
    const char *const *events;
};
enum md_status md_alert_history_put(struct md_store *store, const struct md_alert_tick *tick,
                                    struct md_error *err);
/* The newest engine state; MD_ERR_NOT_FOUND. *state is malloc'ed. */
enum md_status md_alert_history_state(struct md_store *store, void **state, size_t *bytes,
                                      struct md_error *err);
/* Frames with begin_ms <= time_ms < end_ms in order; `frame` is borrowed for the call. A failing
 * visit ends it. Does not hold the store's lock while visit runs. */
enum md_status md_alert_history_frames(struct md_store *store, int64_t begin_ms, int64_t end_ms,
                                       enum md_status (*visit)(void *context,
                                                               const struct md_alert_frame *frame,
                                                               struct md_error *err),
                                       void *context, struct md_error *err);
/* Events likewise. */
enum md_status md_alert_history_events(struct md_store *store, int64_t begin_ms, int64_t end_ms,
                                       enum md_status (*visit)(void *context, int64_t time_ms,
                                                               const char *json,
                                                               struct md_error *err),
                                       void *context, struct md_error *err);

#endif
