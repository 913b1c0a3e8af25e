/*
 * One entity's window: how a sample becomes part of a step.
 *
 * In order, a step's cells are folded up sample by sample. A sample that arrives late or again, but
 * within the raw range, is put where it belongs among the raw samples and its step is folded up
 * anew, so that the result is the one which ordered, unrepeated samples would have given, to the
 * last bit. Older steps have no raw samples any more: they take appends (newer than what they
 * have), their only sample again, or their first sample; the rest is refused.
 */
#include "series/internal.h"

#include <stdlib.h>
#include <string.h>

enum md_status md__entity_init(const struct md_series *series, struct md__entity *entity,
                               struct md_error *err)
{
    size_t steps = (size_t)series->options.steps, columns = (size_t)series->options.column_count;
    memset(entity, 0, sizeof *entity);
    entity->newest_ms = INT64_MIN;
    entity->newest_step = MD__NO_STEP;
    entity->raw_from_step = MD__NO_STEP;
    entity->cells = malloc(steps * columns * sizeof *entity->cells);
    entity->counts = calloc(steps * columns, sizeof *entity->counts);
    entity->last_ms = malloc(steps * sizeof *entity->last_ms);
    entity->dirty = calloc(steps, sizeof *entity->dirty);
    entity->latest = malloc(columns * sizeof *entity->latest);
    if (!entity->cells || !entity->counts || !entity->last_ms || !entity->dirty ||
        !entity->latest) {
        md__entity_fini(entity);
        return md_fail(err, MD_ERR_MEMORY, "no memory for another entity");
    }
    for (size_t i = 0; i < columns; i++)
        entity->latest[i] = NAN;
    for (size_t i = 0; i < steps; i++)
        entity->last_ms[i] = -1;
    return MD_OK;
}

void md__entity_fini(struct md__entity *entity)
{
    free(entity->key);
    for (int i = 0; i < MD_SERIES_LABELS_MAX; i++)
        free(entity->labels[i]);
    free(entity->cells);
    free(entity->counts);
    free(entity->last_ms);
    free(entity->dirty);
    free(entity->latest);
    free(entity->raw_ms);
    free(entity->raw);
    memset(entity, 0, sizeof *entity);
}

size_t md__entity_bytes(const struct md_series *series, const struct md__entity *entity)
{
    size_t steps = (size_t)series->options.steps, columns = (size_t)series->options.column_count;
    return sizeof *entity + steps * (columns * 6 + 5) + columns * 4 +
           (size_t)entity->raw_capacity * (8 + columns * 4);
}

/* ---- steps ---------------------------------------------------------------------------------- */

static void clear_step(const struct md_series *series, struct md__entity *entity, int64_t step)
{
    int slot = md__slot(series, step);
    size_t columns = (size_t)series->options.column_count;
    float *cells = entity->cells + (size_t)slot * columns;
    for (size_t i = 0; i < columns; i++)
        cells[i] = NAN;
    memset(entity->counts + (size_t)slot * columns, 0, columns * sizeof *entity->counts);
    entity->last_ms[slot] = -1;
    entity->dirty[slot] = false;
}

void md__entity_advance(const struct md_series *series, struct md__entity *entity, int64_t step)
{
    int64_t steps = series->options.steps;
    int64_t from = step - steps + 1;
    if (entity->newest_step != MD__NO_STEP) {
        if (step <= entity->newest_step)
            return;
        if (entity->newest_step + 1 > from)
            from = entity->newest_step + 1;
    }
    for (int64_t s = from; s <= step; s++)
        clear_step(series, entity, s);
    entity->newest_step = step;
}

/* Folds one more value into a cell. The order of the samples decides the rounding, nothing else. */
static void fold_value(enum md_column_kind kind, float value, float *cell, uint16_t *count)
{
    if (*count == 0 || kind == MD_COLUMN_LAST)
        *cell = value;
    else if (kind == MD_COLUMN_MAX)
        *cell = value > *cell ? value : *cell;
    else
        *cell += (value - *cell) / (float)(*count + 1);
    if (*count < UINT16_MAX)
        (*count)++;
}

static void fold_sample(const struct md_series *series, struct md__entity *entity, int64_t step,
                        const struct md__sample *sample)
{
    int slot = md__slot(series, step), columns = series->options.column_count;
    float *cells = entity->cells + (size_t)slot * (size_t)columns;
    uint16_t *counts = entity->counts + (size_t)slot * (size_t)columns;
    for (int c = 0; c < columns; c++)
        if (!isnan(sample->values[c]))
            fold_value(series->options.columns[c].kind, sample->values[c], &cells[c], &counts[c]);
    entity->last_ms[slot] = (int32_t)(sample->time_ms - step * series->options.step_ms);
    entity->dirty[slot] = true;
    entity->any_dirty = true;
}

/* ---- raw samples ---------------------------------------------------------------------------- */

/* Number of raw samples older than time_ms. */
static int raw_position(const struct md__entity *entity, int64_t time_ms)
{
    int low = 0, high = entity->raw_count;
    if (high && entity->raw_ms[high - 1] < time_ms) /* the usual case: it is the newest */
        return high;
    while (low < high) {
        int middle = (low + high) / 2;
        if (entity->raw_ms[middle] < time_ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Forgets raw samples of steps before `step`. */
static void raw_drop_before(const struct md_series *series, struct md__entity *entity, int64_t step)
{
    if (step <= entity->raw_from_step)
        return;
    size_t columns = (size_t)series->options.column_count;
    int drop = raw_position(entity, step * series->options.step_ms);
    int keep = entity->raw_count - drop;
    if (keep > 0) { /* before the first sample there is no memory to move */
        memmove(entity->raw_ms, entity->raw_ms + drop, (size_t)keep * sizeof *entity->raw_ms);
        memmove(entity->raw, entity->raw + (size_t)drop * columns,
                (size_t)keep * columns * sizeof *entity->raw);
    }
    entity->raw_count = keep;
    entity->raw_from_step = step;
}

static bool raw_grow(const struct md_series *series, struct md__entity *entity)
{
    int capacity = entity->raw_capacity ? entity->raw_capacity * 2 : 8;
    size_t columns = (size_t)series->options.column_count;
    int64_t *times = realloc(entity->raw_ms, (size_t)capacity * sizeof *times);
    if (!times)
        return false;
    entity->raw_ms = times;
    float *values = realloc(entity->raw, (size_t)capacity * columns * sizeof *values);
    if (!values)
        return false;
    entity->raw = values;
    entity->raw_capacity = capacity;
    return true;
}

/* Room for one more; when the cap is reached the oldest step gives up its raw samples. */
static bool raw_make_room(const struct md_series *series, struct md__entity *entity)
{
    if (entity->raw_count == MD__RAW_SAMPLES_MAX)
        raw_drop_before(series, entity, md__step_of(series, entity->raw_ms[0]) + 1);
    return entity->raw_count < entity->raw_capacity || raw_grow(series, entity);
}

static void raw_insert(const struct md_series *series, struct md__entity *entity, int at,
                       const struct md__sample *sample)
{
    size_t columns = (size_t)series->options.column_count;
    bool repeated = at < entity->raw_count && entity->raw_ms[at] == sample->time_ms;
    if (!repeated) {
        size_t tail = (size_t)(entity->raw_count - at);
        memmove(entity->raw_ms + at + 1, entity->raw_ms + at, tail * sizeof *entity->raw_ms);
        memmove(entity->raw + (size_t)(at + 1) * columns, entity->raw + (size_t)at * columns,
                tail * columns * sizeof *entity->raw);
        entity->raw_count++;
    }
    entity->raw_ms[at] = sample->time_ms;
    memcpy(entity->raw + (size_t)at * columns, sample->values, columns * sizeof *entity->raw);
}

/* Folds a step up again from its raw samples. */
static void refold_step(const struct md_series *series, struct md__entity *entity, int64_t step)
{
    size_t columns = (size_t)series->options.column_count;
    int64_t begin_ms = step * series->options.step_ms, end_ms = begin_ms + series->options.step_ms;
    clear_step(series, entity, step);
    for (int i = raw_position(entity, begin_ms);
         i < entity->raw_count && entity->raw_ms[i] < end_ms; i++) {
        struct md__sample sample = {entity->raw_ms[i], entity->raw + (size_t)i * columns};
        fold_sample(series, entity, step, &sample);
    }
}

/* ---- taking a sample in --------------------------------------------------------------------- */

static void note_latest(const struct md_series *series, struct md__entity *entity,
                        const struct md__sample *sample)
{
    if (sample->time_ms < entity->newest_ms)
        return;
    entity->newest_ms = sample->time_ms;
    for (int c = 0; c < series->options.column_count; c++)
        if (!isnan(sample->values[c]))
            entity->latest[c] = sample->values[c];
}

/* A step within the raw range. */
static enum md_status add_raw(const struct md_series *series, struct md__entity *entity,
                              int64_t step, const struct md__sample *sample, struct md_error *err)
{
    if (!raw_make_room(series, entity))
        return md_fail(err, MD_ERR_MEMORY, "no memory for another sample");
    if (step < entity->raw_from_step) { /* making room took this very step's samples */
        fold_sample(series, entity, step, sample);
        return MD_OK;
    }
    int at = raw_position(entity, sample->time_ms);
    bool newest = at == entity->raw_count;
    raw_insert(series, entity, at, sample);
    if (newest)
        fold_sample(series, entity, step, sample);
    else
        refold_step(series, entity, step);
    return MD_OK;
}

static bool single_sample(const struct md_series *series, const struct md__entity *entity,
                          int64_t step)
{
    const uint16_t *counts =
        entity->counts + (size_t)md__slot(series, step) * (size_t)series->options.column_count;
    for (int c = 0; c < series->options.column_count; c++)
        if (counts[c] > 1)
            return false;
    return true;
}

static bool same_cells(const struct md_series *series, const struct md__entity *entity,
                       int64_t step, const float *values)
{
    const float *cells = md__cells(series, entity, step);
    for (int c = 0; c < series->options.column_count; c++)
        if (!(cells[c] == values[c] || (isnan(cells[c]) && isnan(values[c]))))
            return false;
    return true;
}

/* A step whose raw samples are gone. *changed is cleared when the sample says nothing new. */
static enum md_status add_old(const struct md_series *series, struct md__entity *entity,
                              int64_t step, const struct md__sample *sample, bool *changed,
                              struct md_error *err)
{
    int32_t last_ms = entity->last_ms[md__slot(series, step)];
    int32_t offset_ms = (int32_t)(sample->time_ms - step * series->options.step_ms);
    if (offset_ms > last_ms) {
        fold_sample(series, entity, step, sample);
        return MD_OK;
    }
    if (offset_ms < last_ms)
        return md_fail(err, MD_ERR_UNPROCESSABLE,
                       "too late: newer values of its step came more than %lld s ago",
                       (long long)(series->options.late_max_ms / 1000));
    *changed =
        single_sample(series, entity, step) && !same_cells(series, entity, step, sample->values);
    if (*changed) {
        clear_step(series, entity, step);
        fold_sample(series, entity, step, sample);
    }
    return MD_OK;
}

enum md_status md__entity_add(const struct md_series *series, struct md__entity *entity,
                              const struct md__sample *sample, int64_t *changed_step,
                              struct md_error *err)
{
    int64_t step = md__step_of(series, sample->time_ms);
    *changed_step = MD__NO_STEP;
    if (entity->newest_step != MD__NO_STEP && step <= entity->newest_step - series->options.steps)
        return md_fail(err, MD_ERR_UNPROCESSABLE, "older than the window of %d steps",
                       series->options.steps);
    md__entity_advance(series, entity, step);
    note_latest(series, entity, sample);
    raw_drop_before(series, entity,
                    md__step_of(series, entity->newest_ms - series->options.late_max_ms));
    bool changed = true;
    enum md_status status = step >= entity->raw_from_step
                                ? add_raw(series, entity, step, sample, err)
                                : add_old(series, entity, step, sample, &changed, err);
    if (status == MD_OK && changed)
        *changed_step = step;
    return status;
}
