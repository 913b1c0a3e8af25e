/*
 * Conditions, by column: what a rule says of every entity at one frame.
 *
 * A frame has its values by entity. For a tick they are turned round once, [column][entity], so
 * that a rule walks over them in one direction, beside an array of each entity's limit, which is
 * resolved once for a rule and not once for a column. The inner loops (scan_*) are branch-free and
 * only say yes, no or unknown in a byte an entity; compilers make vector code of them. What was
 * compared with what, and which step crosses first, is worked out afterwards for the few that
 * matter (md__alert_source_judge). A limit of NaN, of a rule that does not concern an entity, needs
 * no branch either: nothing compares with it.
 */
#include "alert/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the frame ------------------------------------------------------------------------------- */

static enum md_status check_frame(const struct md_alert_frame *frame, struct md_error *err)
{
    if (frame->time_ms <= 0 || frame->time_ms > MD__TIME_MS_MAX || frame->step_ms <= 0 ||
        frame->step_ms > MD__SPAN_MS_MAX || frame->key_count < 0 || frame->column_count < 0 ||
        frame->channel_count < 0 || frame->gauge_count < 0)
        return md_fail(err, MD_ERR_INVALID, "alert frame: a time or a count is out of range");
    for (int i = 1; i < frame->key_count; i++)
        if (strcmp(frame->keys[i - 1], frame->keys[i]) >= 0)
            return md_fail(err, MD_ERR_INVALID, "alert frame: %.100s is out of order",
                           frame->keys[i]);
    for (int i = 0; i < frame->channel_count; i++)
        if (frame->channels[i].step_ms <= 0 || frame->channels[i].steps < 0)
            return md_fail(err, MD_ERR_INVALID, "alert frame: a channel's steps are out of range");
    return MD_OK;
}

/* Numbers the profiles in the order of their first appearance. slots: a power of two, twice as
 * many as keys; -1: free. */
static void number_profiles(struct md__alert_view *view, int *slots, unsigned slot_count)
{
    const struct md_alert_frame *frame = view->frame;
    for (unsigned i = 0; i < slot_count; i++)
        slots[i] = -1;
    for (int k = 0; k < frame->key_count; k++) {
        const char *profile = frame->profiles[k];
        unsigned at = (unsigned)md__alert_hash(MD__HASH_SEED, profile) & (slot_count - 1);
        while (slots[at] >= 0 && strcmp(view->profiles[slots[at]], profile) != 0)
            at = (at + 1) & (slot_count - 1);
        if (slots[at] < 0) {
            slots[at] = view->profile_count;
            view->profiles[view->profile_count++] = profile;
        }
        view->profile_of[k] = slots[at];
        view->key_hashes[k] = md__alert_key_hash(frame->keys[k], profile);
    }
}

static void turn_round(struct md__alert_view *view)
{
    const struct md_alert_frame *frame = view->frame;
    size_t keys = (size_t)frame->key_count, columns = (size_t)frame->column_count;
    for (size_t k = 0; k < keys; k++)
        for (size_t c = 0; c < columns; c++) {
            view->values[c * keys + k] = frame->values[k * columns + c];
            view->known[c * keys + k] = frame->known[k * columns + c];
        }
}

enum md_status md__alert_view_init(struct md__alert_view *view, const struct md_alert_frame *frame,
                                   struct md_arena *arena, struct md_error *err)
{
    enum md_status status = check_frame(frame, err);
    if (status != MD_OK)
        return status;
    size_t keys = (size_t)frame->key_count, columns = (size_t)frame->column_count;
    unsigned slot_count = 2;
    while (slot_count < 2 * keys)
        slot_count *= 2;
    *view = (struct md__alert_view){.frame = frame, .arena = arena};
    view->values = md_arena_array(arena, keys * columns + 1, sizeof *view->values);
    view->known = md_arena_array(arena, keys * columns + 1, 1);
    view->profile_of = md_arena_array(arena, keys + 1, sizeof *view->profile_of);
    view->profiles = md_arena_array(arena, keys + 1, sizeof *view->profiles);
    view->key_hashes = md_arena_array(arena, keys + 1, sizeof *view->key_hashes);
    view->of_profile = md_arena_array(arena, keys + 1, sizeof *view->of_profile);
    int *slots = md_arena_array(arena, slot_count, sizeof *slots);
    if (!view->values || !view->known || !view->profile_of || !view->profiles ||
        !view->key_hashes || !view->of_profile || !slots)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    number_profiles(view, slots, slot_count);
    turn_round(view);
    return MD_OK;
}

int md__alert_frame_key(const struct md_alert_frame *frame, const char *key)
{
    int low = 0, high = frame->key_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        int order = strcmp(frame->keys[middle], key);
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

int md__alert_frame_column(const struct md_alert_frame *frame, const char *column)
{
    for (int c = 0; c < frame->column_count; c++)
        if (strcmp(frame->columns[c], column) == 0)
            return c;
    return -1;
}

void md__alert_limits(const struct md__alert_view *view, const struct md_alert_limit *limit,
                      float *limits)
{
    for (int p = 0; p < view->profile_count; p++)
        view->of_profile[p] = md__alert_limit_of(limit, view->profiles[p]);
    for (int k = 0; k < view->frame->key_count; k++)
        limits[k] = view->of_profile[view->profile_of[k]];
}

/* ---- sources --------------------------------------------------------------------------------- */

static void bind_column(const struct md__alert_view *view, struct md__alert_source *source,
                        char *problem, size_t problem_size)
{
    int column = md__alert_frame_column(view->frame, source->column);
    if (column < 0) {
        snprintf(problem, problem_size, "there is no column %.80s", source->column);
        return;
    }
    size_t begin = (size_t)column * (size_t)view->frame->key_count;
    source->values = view->values + begin;
    source->known = view->known + begin;
    source->stride = source->steps = 1;
}

bool md__alert_is_same_quantile(float left, float right)
{
    return fabsf(left - right) < 1e-4f;
}

static void bind_forecast(const struct md__alert_view *view, struct md__alert_source *source,
                          char *problem, size_t problem_size)
{
    const struct md_alert_rule *rule = source->rule;
    for (int i = 0; i < view->frame->channel_count; i++) {
        const struct md_alert_channel *channel = &view->frame->channels[i];
        if (strcmp(channel->column, source->column) != 0 ||
            !md__alert_is_same_quantile(channel->quantile, rule->quantile))
            continue;
        int64_t steps = rule->within_ms / channel->step_ms;
        source->step_ms = channel->step_ms;
        source->steps = steps < channel->steps ? (int)steps : channel->steps;
        source->stride = channel->steps;
        if (source->steps > 0)
            source->values = channel->values;
        else
            snprintf(problem, problem_size, "no step of the forecast of %.80s is within %g min",
                     source->column, (double)rule->within_ms / 60000);
        return;
    }
    snprintf(problem, problem_size, "there is no forecast of %.80s at quantile %g", source->column,
             (double)rule->quantile);
}

static void bind_gauge(const struct md__alert_view *view, struct md__alert_source *source,
                       char *problem, size_t problem_size)
{
    source->key_count = 1;
    source->stride = source->steps = 1;
    source->limits = &source->rule->limit.fallback;
    for (int i = 0; i < view->frame->gauge_count; i++)
        if (strcmp(view->frame->gauges[i].name, source->rule->gauge) == 0) {
            source->gauge = (float)view->frame->gauges[i].value;
            source->values = &source->gauge;
            return;
        }
    snprintf(problem, problem_size, "there is no gauge %.100s", source->rule->gauge);
}

void md__alert_source_bind(const struct md__alert_view *view, const struct md_alert_rule *rule,
                           int ordinal, const float *limits, struct md__alert_source *source,
                           char *problem, size_t problem_size)
{
    problem[0] = '\0';
    *source = (struct md__alert_source){.rule = rule,
                                        .column = "",
                                        .key_count = view->frame->key_count,
                                        .limits = limits,
                                        .step_ms = view->frame->step_ms};
    if (ordinal < rule->column_count)
        source->column = rule->columns[ordinal];
    switch (rule->watch) {
    case MD_ALERT_CURRENT:
    case MD_ALERT_ABSENT:
        bind_column(view, source, problem, problem_size);
        break;
    case MD_ALERT_FORECAST:
        bind_forecast(view, source, problem, problem_size);
        break;
    case MD_ALERT_GAUGE:
        bind_gauge(view, source, problem, problem_size);
        break;
    case MD_ALERT_FUNCTION:
        break; /* verdicts come from the caller */
    }
}

/* ---- scanning -------------------------------------------------------------------------------- */

/* In each: a NaN limit equals nothing, itself included, and so gives MD__CODE_NO. */

static void scan_above(const float *restrict values, const float *restrict limits, int count,
                       unsigned char *restrict codes)
{
    for (int k = 0; k < count; k++) {
        int over = values[k] >= limits[k];
        int unknown = (values[k] != values[k]) & (limits[k] == limits[k]);
        codes[k] = (unsigned char)(over | unknown << 1);
    }
}

static void scan_below(const float *restrict values, const float *restrict limits, int count,
                       unsigned char *restrict codes)
{
    for (int k = 0; k < count; k++) {
        int under = values[k] <= limits[k];
        int unknown = (values[k] != values[k]) & (limits[k] == limits[k]);
        codes[k] = (unsigned char)(under | unknown << 1);
    }
}

/* Any step of a row that crosses; unknown when no step has a value. */
static void scan_rows(const struct md__alert_source *source, unsigned char *restrict codes)
{
    bool is_below = source->rule->is_below;
    for (int k = 0; k < source->key_count; k++) {
        const float *restrict row = source->values + (size_t)k * (size_t)source->stride;
        float limit = source->limits[k];
        int crosses = 0, has_value = 0;
        if (is_below) {
            for (int s = 0; s < source->steps; s++) {
                crosses |= row[s] <= limit;
                has_value |= row[s] == row[s];
            }
        } else {
            for (int s = 0; s < source->steps; s++) {
                crosses |= row[s] >= limit;
                has_value |= row[s] == row[s];
            }
        }
        codes[k] = (unsigned char)(crosses | (!has_value & (limit == limit)) << 1);
    }
}

static void scan_absent(const float *restrict values, const unsigned char *restrict known,
                        int count, unsigned char *restrict codes)
{
    for (int k = 0; k < count; k++)
        codes[k] = (unsigned char)((values[k] != values[k]) & (known[k] != 0));
}

static void scan_verdicts(const struct md__alert_source *source, unsigned char *codes)
{
    for (int k = 0; k < source->key_count; k++) {
        const struct md_alert_verdict *verdict = &source->verdicts[k];
        codes[k] = verdict->holds == MD_ALERT_NO    ? MD__CODE_NO
                   : verdict->holds == MD_ALERT_YES ? MD__CODE_YES
                                                    : MD__CODE_UNKNOWN;
    }
}

/* Nothing to look at: unknown for whom the rule concerns, and nobody is absent. */
static void scan_nothing(const struct md__alert_source *source, unsigned char *codes)
{
    bool is_absent = source->rule->watch == MD_ALERT_ABSENT;
    for (int k = 0; k < source->key_count; k++)
        codes[k] = is_absent || isnan(source->limits[k]) ? MD__CODE_NO : MD__CODE_UNKNOWN;
}

void md__alert_source_scan(const struct md__alert_source *source, unsigned char *codes)
{
    if (source->rule->watch == MD_ALERT_FUNCTION)
        scan_verdicts(source, codes);
    else if (!source->values)
        scan_nothing(source, codes);
    else if (source->rule->watch == MD_ALERT_ABSENT)
        scan_absent(source->values, source->known, source->key_count, codes);
    else if (source->rule->watch == MD_ALERT_FORECAST)
        scan_rows(source, codes);
    else if (source->rule->is_below)
        scan_below(source->values, source->limits, source->key_count, codes);
    else
        scan_above(source->values, source->limits, source->key_count, codes);
}

/* ---- judging --------------------------------------------------------------------------------- */

/* One row: its first step that crosses; else its most extreme value, and whether that is still
 * over `clear`. */
static void judge_row(const float *row, int steps, bool is_below, float clear,
                      struct md_alert_verdict *verdict)
{
    float extreme = NAN;
    for (int s = 0; s < steps; s++) {
        if (md__alert_crosses(row[s], verdict->limit, is_below)) {
            verdict->holds = MD_ALERT_YES;
            verdict->value = row[s];
            verdict->lead_steps = s + 1;
            return;
        }
        if (isnan(extreme) || (is_below ? row[s] < extreme : row[s] > extreme))
            extreme = row[s];
    }
    verdict->value = extreme;
    if (isnan(extreme))
        verdict->holds = isnan(verdict->limit) ? MD_ALERT_NO : MD_ALERT_UNKNOWN;
    else if (md__alert_crosses(extreme, clear, is_below))
        verdict->holds = MD_ALERT_YES;
}

void md__alert_source_judge(const struct md__alert_source *source, int key, const char *profile,
                            bool is_active, struct md_alert_verdict *verdict)
{
    const struct md_alert_rule *rule = source->rule;
    *verdict = (struct md_alert_verdict){.holds = MD_ALERT_NO, .value = NAN, .limit = NAN};
    if (rule->watch == MD_ALERT_FUNCTION) {
        *verdict = source->verdicts[key];
        return;
    }
    if (rule->watch == MD_ALERT_ABSENT) {
        bool is_absent = source->values && isnan(source->values[key]) && source->known[key];
        verdict->holds = is_absent ? MD_ALERT_YES : MD_ALERT_NO;
        return;
    }
    verdict->limit = source->limits[key];
    bool has_clear = is_active && !isnan(verdict->limit);
    float clear = has_clear ? md__alert_limit_of(&rule->clear, profile) : NAN;
    if (source->values)
        judge_row(source->values + (size_t)key * (size_t)source->stride, source->steps,
                  rule->is_below, clear, verdict);
    else if (!isnan(verdict->limit))
        verdict->holds = MD_ALERT_UNKNOWN;
    if (rule->watch != MD_ALERT_FORECAST)
        verdict->lead_steps = 0;
}
