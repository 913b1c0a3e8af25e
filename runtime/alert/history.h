/*
 * The past of alerts: frames as they were evaluated, and what happened at them.
 *
 * A live tick goes through here, so that what is evaluated is what is kept: channels are rounded to
 * 16 bits between each entity's smallest and largest value (at most 1/131070 of that range away)
 * *before* rules see them, and values, keys and profiles are kept as they are. A frame of 100
 * servers, 14 columns, and an hour of one quantile of each takes about 50 KB; runs of equal numbers
 * take less. Names (keys, profiles, columns, gauges) are kept once as long as they repeat.
 *
 * Which channels are kept: those that a rule watches, up to its within_ms, and those that the app
 * names for rehearsals of rules to come.
 *
 * All reads work on a store of md_store_open_read too.
 */
#ifndef MD_ALERT_HISTORY_H
#define MD_ALERT_HISTORY_H

#include "alert/alert.h"

struct md_store;

#define MD_ALERT_STEPS_MAX       4096 /* of one channel */
#define MD_ALERT_FRAME_BYTES_MAX (256 << 20)

/* A frame with memory of its own, decoded or rounded. Zero it before the first use; it may be used
 * again and again, which keeps its memory. */
struct md_alert_record {
    struct md_alert_frame frame;
    void *memory;
    size_t bytes;
};
void md_alert_record_fini(struct md_alert_record *record);

/* Bytes that hold the frame, keys included, instead of what `bytes` held; and back, exactly. A
 * decoded frame equals what a second encoding and decoding of it would give. `known` becomes 0 or
 * 1. encode refuses keys that are not in byte order or twice (MD_ERR_INVALID); MD_ERR_CORRUPT of
 * decode names what is wrong, and leaves a record that may be used again only. */
enum md_status md_alert_frame_encode(const struct md_alert_frame *frame, struct md_buffer *bytes,
                                     struct md_error *err);
enum md_status md_alert_frame_decode(const void *bytes, size_t length,
                                     struct md_alert_record *record, struct md_error *err);

/* One finished tick: the frame, encoded, and its events (JSON, one each, as /alerts/history shows
 * them). */
struct md_alert_tick {
    int64_t time_ms;
    const struct md_buffer *frame;
    int event_count;
    const char *const *events;
};
/* Keeps ticks in their order, and the engine's state after the last of them, in one transaction. A
 * tick of a time that is kept already takes its place, events included: an engine that lost its
 * state began anew there. */
enum md_status md_alert_history_put(struct md_store *store, const struct md_alert_tick *ticks,
                                    int count, const struct md_buffer *state, struct md_error *err);
/* The newest engine state; MD_ERR_NOT_FOUND. *state is malloc'ed. */
enum md_status md_alert_history_state(struct md_store *store, void **state, size_t *bytes,
                                      struct md_error *err);
/* Frames with begin_ms <= time_ms < end_ms in order; `frame` is borrowed for the call. A failing
 * visit ends it. Does not hold the store's lock while visit runs. MD_ERR_CORRUPT: a frame cannot be
 * read, after all before it were visited. */
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
