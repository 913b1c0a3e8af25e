/*
 * Store: durable state in one SQLite database (WAL) in a state folder that one daemon at a time may
 * hold.
 *
 * It keeps the steps of series tables, the forecasts that were made, what alerts saw and did at
 * each tick, and small named values. All calls block on disk, are safe from any thread (one lock),
 * and belong on background threads. A failure (full disk, read-only, damage) is a status; the store
 * remembers it (md_store_trouble) so that health can say so, and later calls try again. The schema
 * has a version: older databases are copied aside and migrated forward in one transaction, newer
 * ones refused.
 */
#ifndef MD_STORE_STORE_H
#define MD_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "tensor/tensor.h"

struct md_store;

struct md_store_options {
    struct md_clock *clock;
    int64_t retention_ms; /* forecasts, steps and ticks of alerts older than this are dropped
                             (default 30 days when 0) */
    int64_t bytes_max; /* cap of the database file; the oldest of all go first (default 2 GiB when
                          0) */
};

/* Makes the folder when missing. MD_ERR_CONFLICT names the process that holds it. */
enum md_status md_store_open(const char *folder, const struct md_store_options *options,
                             struct md_store **store, struct md_error *err);
/*
 * Opens the store of a folder, which a daemon may hold, for reading only: calls that write fail
 * with MD_ERR_CONFLICT. Sees each transaction of the daemon as soon as it has ended.
 * MD_ERR_NOT_FOUND: there is none; MD_ERR_CONFLICT: of another schema, and nothing is migrated.
 */
enum md_status md_store_open_read(const char *folder, struct md_store **store,
                                  struct md_error *err);
void md_store_close(struct md_store *store);
/* Copies the latest failure's text; false when the last write went well. */
bool md_store_trouble(struct md_store *store, char *text, size_t size);
int64_t md_store_bytes(struct md_store *store);

/* ---- steps of series tables ---- */

/* One step of one entity. `cells` is opaque to the store; end_ms decides its age. */
struct md_store_step {
    int entity;   /* number in the list given beside it */
    int64_t step; /* absolute step number */
    int64_t end_ms;
    const void *cells;
    size_t bytes;
};
/* labels: opaque text, see series/persist.c. */
struct md_store_entity {
    const char *key;
    const char *labels;
};
/* Upserts all in one transaction. `owner` is the series table's name. */
enum md_status md_store_put_steps(struct md_store *store, const char *owner,
                                  const struct md_store_entity *entities, int entity_count,
                                  const struct md_store_step *steps, int step_count,
                                  struct md_error *err);
/* Calls entity() for each entity, then step() for each of its steps >= first_step in ascending
 * order. A non-OK answer stops. */
struct md_store_reader {
    void *context;
    enum md_status (*entity)(void *context, const char *key, const char *labels,
                             struct md_error *err);
    enum md_status (*step)(void *context, int64_t step, const void *cells, size_t bytes,
                           struct md_error *err);
};
enum md_status md_store_read_steps(struct md_store *store, const char *owner, int64_t first_step,
                                   const struct md_store_reader *reader, struct md_error *err);
/* ---- forecasts ---- */

/* What one tick forecast for one target: values [key_count, steps, quantile_count] float16. */
struct md_store_forecast {
    const char *model, *target;
    int64_t made_at_ms, start_ms, step_ms; /* start: beginning of the first forecast step */
    const char *const *keys;
    int key_count;
    const float *quantiles;
    int quantile_count;
    struct md_tensor values;
};
enum md_status md_store_put_forecast(struct md_store *store,
                                     const struct md_store_forecast *forecast,
                                     struct md_error *err);
/* Forecasts with begin_ms <= made_at_ms < end_ms in order of making; `forecast` is valid during the
 * call. */
enum md_status md_store_read_forecasts(
    struct md_store *store, const char *model, const char *target, int64_t begin_ms, int64_t end_ms,
    void *context,
    enum md_status (*visit)(void *context, const struct md_store_forecast *forecast,
                            struct md_error *err),
    struct md_error *err);

/* ---- alerts ---- */

/* What alerts saw and did at one tick. names and cells are opaque to the store (alert/frame.h);
 * equal names of several ticks are kept once. */
struct md_store_alert_tick {
    int64_t time_ms;
    const void *names, *cells;
    size_t names_bytes, cells_bytes;
    int64_t names_id;          /* when read: equal for equal names */
    const char *const *events; /* when written */
    int event_count;
};
/* Keeps the ticks and the state after them in one transaction. A tick of a time that is kept
 * already takes its place: somebody began anew there. */
enum md_status md_store_put_alerts(struct md_store *store, const struct md_store_alert_tick *ticks,
                                   int count, const void *state, size_t state_bytes,
                                   struct md_error *err);
/* *state is malloc'ed; MD_ERR_NOT_FOUND. */
enum md_status md_store_get_alert_state(struct md_store *store, void **state, size_t *bytes,
                                        struct md_error *err);
/* The first `max` ticks with begin_ms <= time_ms < end_ms, in order; `tick` is valid during the
 * call. */
enum md_status md_store_read_alert_ticks(
    struct md_store *store, int64_t begin_ms, int64_t end_ms, int max, void *context,
    enum md_status (*visit)(void *context, const struct md_store_alert_tick *tick,
                            struct md_error *err),
    struct md_error *err);
/* The first `max` events with begin_ms <= time_ms < end_ms, by time and in the order in which they
 * were put; of those at begin_ms only such with an id above `after`: to go on after an event, give
 * its time_ms and id. */
struct md_store_alert_event {
    int64_t id, time_ms;
    const char *text;
};
enum md_status md_store_read_alert_events(
    struct md_store *store, int64_t begin_ms, int64_t end_ms, int64_t after, int max, void *context,
    enum md_status (*visit)(void *context, const struct md_store_alert_event *event,
                            struct md_error *err),
    struct md_error *err);

/* ---- small named values ---- */

enum md_status md_store_put_value(struct md_store *store, const char *name, const void *value,
                                  size_t bytes, struct md_error *err);
/* *value is malloc'ed and NUL-terminated; MD_ERR_NOT_FOUND. */
enum md_status md_store_get_value(struct md_store *store, const char *name, char **value,
                                  size_t *bytes, struct md_error *err);

/* Drops what is past retention or over the byte cap. The daemon calls it every few minutes. */
enum md_status md_store_trim(struct md_store *store, struct md_error *err);

#endif
