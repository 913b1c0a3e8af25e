/*
 * The notifier at work: a struct md_notify behind a lock, a thread that steps it when alerts change
 * or something is due, and for each target a queue with a thread of its own, so that a slow
 * receiver delays nobody but itself.
 *
 * What a step decides is kept in one transaction: its messages and the memory of having made them.
 * Only then are they sent, oldest first, until the receiver takes them: a message is sent at least
 * once, always under the same key, however often the process dies. An attempt that fails (no
 * connection, no answer in time, 429, 5xx) is made again after a pause that doubles up to a minute,
 * or when the answer says so (Retry-After); any other 4xx drops the message with a line in the log.
 * A queue holds so many messages and bytes; what is over it goes, oldest first, and is counted.
 * Without a store, or while the store fails, all of this is true until the process ends.
 *
 * Texts of logs and errors name receivers, never URLs.
 *
 * Metrics: moondial_notifications_total{receiver,outcome} with outcome sent, failed (an attempt),
 * rejected, overflow or removed (messages dropped); moondial_notification_queue_length{receiver};
 * moondial_notification_attempt_seconds{receiver}.
 *
 * All functions are safe from any thread.
 */
#ifndef MD_ALERT_NOTIFIER_H
#define MD_ALERT_NOTIFIER_H

#include "alert/notify.h"
#include "base/clock.h"

#define MD_NOTIFIER_QUEUE_MAX       10000
#define MD_NOTIFIER_QUEUE_BYTES_MAX ((size_t)64 << 20)

struct md_store;
struct md_notifier;

/* ---- alerts on their way from the engine ----------------------------------------------------- */

/* Copies of alerts. */
struct md_notify_snapshot;

enum md_status md_notify_snapshot_new(struct md_notify_snapshot **snapshot, struct md_error *err);
void md_notify_snapshot_delete(struct md_notify_snapshot *snapshot);
/* For md_alert_live_visit: firing and resolved alerts are copied, their annotations written out as
 * of now_ms; others are left out. False: no memory, the snapshot is of no use. */
bool md_notify_snapshot_add(struct md_notify_snapshot *snapshot, const struct md_alert *alert,
                            int64_t now_ms);

/* ---- life ------------------------------------------------------------------------------------ */

/* store may be NULL. Takes up what it has of an earlier process. */
enum md_status md_notifier_new(struct md_clock *clock, struct md_store *store,
                               struct md_notifier **notifier, struct md_error *err);
/* Ends an attempt in progress within about a second; what is not delivered stays in the store. */
void md_notifier_delete(struct md_notifier *notifier);
/* A reference is taken. Queues of targets that are gone, or of another kind now, are dropped. The
 * first one lets the threads begin. */
enum md_status md_notifier_set_config(struct md_notifier *notifier, struct md_notify_config *config,
                                      struct md_error *err);
/* All alerts as they are now, after each tick and once at the start. Takes the snapshot over, and
 * steps before it returns, which may write to the disk. */
void md_notifier_feed(struct md_notifier *notifier, struct md_notify_snapshot *snapshot);
/*
 * For whoever moves a clock that stands otherwise. Between the two only snapshots make it step, so
 * that what is due by the new time is decided after the ticks of that time, never before them;
 * release takes that step before it returns, so that the clock never passes over it.
 */
void md_notifier_hold(struct md_notifier *notifier);
void md_notifier_release(struct md_notifier *notifier);

/* ---- looking and silencing ------------------------------------------------------------------- */

/* As md_notify_silence_add and _expire, kept before they return. */
enum md_status md_notifier_silence_add(struct md_notifier *notifier,
                                       struct md_notify_silence *silence, struct md_error *err);
enum md_status md_notifier_silence_expire(struct md_notifier *notifier, const char *id,
                                          struct md_error *err);
/* Under the lock: visit must be short. */
void md_notifier_silence_visit(struct md_notifier *notifier,
                               bool (*visit)(void *context,
                                             const struct md_notify_silence *silence),
                               void *context);
bool md_notifier_suppressed(struct md_notifier *notifier, uint64_t fingerprint,
                            struct md_notify_suppression *why);

struct md_notifier_status {
    const char *receiver, *target;
    int queued;
    int64_t failing_ms;  /* for how long no attempt has succeeded; 0: the last one did */
    const char *failure; /* what was wrong with the last attempt; "" */
};
/* Under the lock: visit must be short. */
void md_notifier_visit(struct md_notifier *notifier,
                       void (*visit)(void *context, const struct md_notifier_status *status),
                       void *context);

/* The pause before attempt `attempts` + 1: 1 s doubled each time up to 60 s, of which the second
 * half is chance (by seed). */
int64_t md_notifier_pause_ms(int attempts, uint64_t seed);

#endif
