#include "alerts.h"

#include <math.h>
#include <string.h>

#include "unit.h"

void alerts_frame_init(struct alerts_frame *frame, const char *const *keys,
                       const char *const *columns)
{
    struct md_alert_frame *plain = &frame->frame;
    memset(frame, 0, sizeof *frame);
    for (; keys[plain->key_count]; plain->key_count++) {
        assert_true(plain->key_count < ALERTS_KEYS_MAX);
        frame->keys[plain->key_count] = keys[plain->key_count];
        frame->profiles[plain->key_count] = "";
    }
    for (; columns[plain->column_count]; plain->column_count++) {
        assert_true(plain->column_count < ALERTS_COLUMNS_MAX);
        frame->columns[plain->column_count] = columns[plain->column_count];
    }
    for (int i = 0; i < plain->key_count * plain->column_count; i++) {
        frame->values[i] = NAN;
        frame->known[i] = 1;
    }
    plain->step_ms = ALERTS_STEP_MS;
    plain->keys = frame->keys;
    plain->profiles = frame->profiles;
    plain->columns = frame->columns;
    plain->values = frame->values;
    plain->known = frame->known;
    plain->channels = frame->channels;
    plain->gauges = frame->gauges;
    alerts_frame_at(frame, 0);
}

void alerts_frame_at(struct alerts_frame *frame, int64_t minute)
{
    frame->frame.time_ms = ALERTS_START_MS + minute * ALERTS_STEP_MS;
}

static int find(const char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    fail_msg("the frame has no %s", name);
    return 0;
}

void alerts_frame_set(struct alerts_frame *frame, const char *key, const char *column, float value)
{
    const struct md_alert_frame *plain = &frame->frame;
    int row = find(plain->keys, plain->key_count, key);
    int place = find(plain->columns, plain->column_count, column);
    frame->values[row * plain->column_count + place] = value;
}

float *alerts_frame_forecast(struct alerts_frame *frame, const char *column, float quantile)
{
    int index = frame->frame.channel_count++;
    assert_true(index < ALERTS_CHANNELS_MAX);
    float *values = frame->forecasts[index];
    for (int i = 0; i < frame->frame.key_count * ALERTS_STEPS; i++)
        values[i] = NAN;
    frame->channels[index] = (struct md_alert_channel){.column = column,
                                                       .quantile = quantile,
                                                       .step_ms = ALERTS_STEP_MS,
                                                       .steps = ALERTS_STEPS,
                                                       .values = values};
    return values;
}

struct md_alert_rule alerts_rule(const char *name, const char *const *columns, int column_count,
                                 float limit)
{
    return (struct md_alert_rule){.name = name,
                                  .severity = "warning",
                                  .watch = MD_ALERT_CURRENT,
                                  .column_count = column_count,
                                  .columns = columns,
                                  .limit = {.fallback = limit},
                                  .clear = {.fallback = NAN},
                                  .on_error = MD_ALERT_NO_DATA_KEEP};
}
