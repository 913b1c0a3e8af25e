/*
 * The live alerts of a daemon: one engine behind a lock, fed with rounded frames, its state and
 * every tick kept in the store.
 *
 * A tick is: round the frame (history.h) -> engine -> one transaction (frame, state, events) -> the
 * listener. A crash before the transaction makes it as if the tick had not been; the next start
 * goes on from the last one that was kept. When the store fails (a full disk), alerts go on in
 * memory, the failure is returned by md_alert_live_trouble, and the next tick that can be kept
 * brings along those that could not.
 *
 * Events in the history are JSON objects: "kind" ("alert" or "grade"), "time_ms", "rule", the
 * entity's label, "metric", and for alerts "severity", "profile", "from", "to" ("pending",
 * "firing", "resolved", "inactive"), "value", "limit", "lead_min", "active_ms", "fired_ms",
 * "resolved_ms", "fingerprint" (16 hexadecimal digits), "labels", "annotations"; for grades
 * "outcome", "fired_ms", "predicted_ms", "crossed_ms", "lead_min".
 *
 * All functions are safe from any thread; tick blocks on the disk, the others for an evaluation at
 * most. While a tick is being written they already show it: who tells the world of alerts does so
 * from the listener.
 */
#ifndef MD_ALERT_LIVE_H
#define MD_ALERT_LIVE_H

#include "alert/alert.h"
#include "alert/grade.h"

struct md_store;
struct md_alert_live;

/* Called after a tick has been kept, or could not be, without any lock, on the tick's thread. */
struct md_alert_listener {
    void *context;
    void (*ticked)(void *context, int64_t time_ms);
};

struct md_alert_live_options {
    const char *entity_label; /* "server" */
    struct md_store *store;   /* may be NULL: nothing outlives the process, nothing to rehearse */
    int64_t keep_within_ms;   /* channels are kept at least so far ahead ... */
    const float *keep_quantiles; /* ... at these quantiles, whether a rule watches them or not */
    int keep_quantile_count;
};

/* Takes up the state that the store has; damage there is logged and begins anew. */
enum md_status md_alert_live_new(const struct md_alert_live_options *options,
                                 struct md_alert_live **live, struct md_error *err);
void md_alert_live_delete(struct md_alert_live *live);
void md_alert_live_listen(struct md_alert_live *live, const struct md_alert_listener *listener);
void md_alert_live_set_rules(struct md_alert_live *live, struct md_alert_rules *rules);
/* What is kept from the next tick on, instead of what the options said. */
enum md_status md_alert_live_set_keep(struct md_alert_live *live, int64_t within_ms,
                                      const float *quantiles, int quantile_count,
                                      struct md_error *err);
struct md_alert_rules *
md_alert_live_rules(struct md_alert_live *live); /* a reference; may be NULL */
/* Which channels of a frame a tick would look at or keep: so that nobody prepares others. */
bool md_alert_live_wants(struct md_alert_live *live, const char *column, float quantile,
                         int64_t *within_ms);
/*
 * predicate runs on this thread, within the lock. The frame's channels are cut to those that are
 * wanted; predicate and channels must be made for the rules that are set: set them on this thread.
 * MD_ERR_CONFLICT: not newer than the last tick (after a restart: it had been kept). MD_OK although
 * it could not be kept: see md_alert_live_trouble.
 */
enum md_status md_alert_live_tick(struct md_alert_live *live, const struct md_alert_frame *frame,
                                  const struct md_alert_predicate *predicate, struct md_error *err);
int64_t md_alert_live_time_ms(struct md_alert_live *live);
/* Under the lock: visit must be short and call nothing of this file. */
void md_alert_live_visit(struct md_alert_live *live,
                         bool (*visit)(void *context, const struct md_alert *alert), void *context);
void md_alert_live_health(struct md_alert_live *live, int rule,
                          struct md_alert_rule_health *health);
void md_alert_live_quality(struct md_alert_live *live, const char *rule,
                           struct md_alert_quality *quality);
/* Copies why the last tick could not be kept; false: it was. */
bool md_alert_live_trouble(struct md_alert_live *live, char *text, size_t size);

#endif
