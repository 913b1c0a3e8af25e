/*
 * Frames for tests of alerts: entities with some columns, filled by name, one minute a step.
 */
#ifndef MD_TESTS_ALERTS_H
#define MD_TESTS_ALERTS_H

#include "alert/alert.h"

#define ALERTS_STEP_MS  60000LL
#define ALERTS_START_MS 1767225600000LL /* 2026-01-01T00:00:00Z, minute 0 */

#define ALERTS_KEYS_MAX     64
#define ALERTS_COLUMNS_MAX  16
#define ALERTS_CHANNELS_MAX 16
#define ALERTS_STEPS        12

/* A frame and its memory. keys must be in byte order. */
struct alerts_frame {
    struct md_alert_frame frame;
    const char *keys[ALERTS_KEYS_MAX], *profiles[ALERTS_KEYS_MAX], *columns[ALERTS_COLUMNS_MAX];
    float values[ALERTS_KEYS_MAX * ALERTS_COLUMNS_MAX];
    unsigned char known[ALERTS_KEYS_MAX * ALERTS_COLUMNS_MAX];
    struct md_alert_channel channels[ALERTS_CHANNELS_MAX];
    float forecasts[ALERTS_CHANNELS_MAX][ALERTS_KEYS_MAX * ALERTS_STEPS];
    struct md_alert_gauge gauges[4];
};

/* Lists end with NULL. All values are NaN, all cells are known, at minute 0; no forecasts. */
void alerts_frame_init(struct alerts_frame *frame, const char *const *keys,
                       const char *const *columns);
void alerts_frame_at(struct alerts_frame *frame, int64_t minute);
/* Names that are not there fail the test. */
void alerts_frame_set(struct alerts_frame *frame, const char *key, const char *column, float value);
/* Adds a forecast of ALERTS_STEPS minutes, all NaN; returns its values, [keys, ALERTS_STEPS]. */
float *alerts_frame_forecast(struct alerts_frame *frame, const char *column, float quantile);

/* A rule of one column over a limit, for the rest as Prometheus does it. */
struct md_alert_rule alerts_rule(const char *name, const char *const *columns, int column_count,
                                 float limit);

#endif
