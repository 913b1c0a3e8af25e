/*
 * What was watched around alerts that differ: a second pass over the frames near them. At most a
 * few alerts of each rule are drawn, so that a noisy rule leaves room for the others.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "alert/internal.h"
#include "alert/rehearse_internal.h"

enum { PLOTS_PER_RULE_MAX = 6 };

static const int64_t margin_ms = 3600000, length_ms_max = 86400000;

struct plot {
    struct md_alert_plot face;
    const struct md_alert_rule *rule;
    const char *key, *column;
    int64_t *times_ms;
    float *values, *forecasts;
    int capacity;
};

struct md_alert_plots {
    struct plot *items;
    int count;
};

/* ---- choosing -------------------------------------------------------------------------------- */

static void frame_plot(struct plot *plot)
{
    const struct md_alert_difference *difference = plot->face.difference;
    int64_t begin_ms = INT64_MAX, end_ms = 0;

    for (int i = 0; i < difference->fresh_count + difference->old_count; i++) {
        const struct md_alert_span *span = i < difference->fresh_count
                                               ? &difference->fresh[i]
                                               : &difference->old[i - difference->fresh_count];
        begin_ms = md__smaller(begin_ms, span->active_ms);
        end_ms = md__larger(end_ms, span->end_ms != 0 ? span->end_ms : INT64_MAX - margin_ms);
    }
    plot->face.begin_ms = begin_ms - margin_ms;
    plot->face.end_ms = md__smaller(end_ms + margin_ms, begin_ms + length_ms_max);
}

static void choose(struct md_alert_plots *plots, const struct md_alert_rehearsal_row *row,
                   int plots_max)
{
    const struct md_alert_rule *rule = row->fresh != NULL && row->fresh->rule != NULL
                                           ? row->fresh->rule
                                       : row->old != NULL ? row->old->rule
                                                          : NULL;
    int chosen = 0;

    if (rule == NULL || rule->watch == MD_ALERT_GAUGE || rule->watch == MD_ALERT_FUNCTION) {
        return;
    }
    for (int i = 0;
         i < row->difference_count && chosen < PLOTS_PER_RULE_MAX && plots->count < plots_max;
         i++) {
        const struct md_alert_difference *difference = &row->differences[i];
        const struct md_alert_subject *subject =
            (difference->fresh != NULL ? difference->fresh : difference->old)->subject;
        if (difference->kind != MD_ALERT_SAME) {
            struct plot *plot = &plots->items[plots->count++];
            plot->face.row = row;
            plot->face.difference = difference;
            plot->rule = rule;
            plot->key = subject->key;
            plot->column = subject->column;
            frame_plot(plot);
            chosen++;
        }
    }
}

enum md_status md_alert_plots_new(const struct md_alert_rehearsal *rehearsal, int plots_max,
                                  struct md_alert_plots **result, struct md_error *err)
{
    struct md_alert_plots *plots = calloc(1, sizeof *plots);

    if (plots != NULL) {
        plots->items = calloc((size_t)plots_max + 1, sizeof *plots->items);
    }
    if (plots == NULL || plots->items == NULL) {
        free(plots);
        return md_fail(err, MD_ERR_MEMORY, "no memory for plots");
    }
    for (int i = 0; i < rehearsal->row_count; i++) {
        choose(plots, &rehearsal->rows[i], plots_max);
    }
    *result = plots;
    return MD_OK;
}

void md_alert_plots_delete(struct md_alert_plots *plots)
{
    if (plots == NULL) {
        return;
    }
    for (int i = 0; i < plots->count; i++) {
        free(plots->items[i].times_ms);
        free(plots->items[i].values);
        free(plots->items[i].forecasts);
    }
    free(plots->items);
    free(plots);
}

bool md_alert_plots_period(const struct md_alert_plots *plots, int64_t *begin_ms, int64_t *end_ms)
{
    *begin_ms = INT64_MAX;
    *end_ms = 0;
    for (int i = 0; i < plots->count; i++) {
        *begin_ms = md__smaller(*begin_ms, plots->items[i].face.begin_ms);
        *end_ms = md__larger(*end_ms, plots->items[i].face.end_ms);
    }
    return plots->count > 0;
}

/* ---- frames ---------------------------------------------------------------------------------- */

static int find_text(const char *const *texts, int count, const char *text)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(texts[i], text) == 0) {
            return i;
        }
    }
    return -1;
}

static float extreme(const struct md_alert_channel *channel, int key,
                     const struct md_alert_rule *rule)
{
    const float *values = channel->values + (size_t)key * (size_t)channel->steps;
    float found = NAN;

    for (int i = 0; i < channel->steps && (i + 1) * channel->step_ms <= rule->within_ms; i++) {
        if (isnan(found) || (rule->is_below ? values[i] < found : values[i] > found)) {
            found = values[i];
        }
    }
    return found;
}

static float forecast_of(const struct plot *plot, const struct md_alert_frame *frame, int key)
{
    for (int i = 0; plot->rule->watch == MD_ALERT_FORECAST && i < frame->channel_count; i++) {
        const struct md_alert_channel *channel = &frame->channels[i];
        if (md__alert_is_same_quantile(channel->quantile, plot->rule->quantile) &&
            strcmp(channel->column, plot->column) == 0) {
            return extreme(channel, key, plot->rule);
        }
    }
    return NAN;
}

static bool grow(struct plot *plot)
{
    int capacity = plot->capacity > 0 ? plot->capacity * 2 : 128;
    int64_t *times_ms = realloc(plot->times_ms, (size_t)capacity * sizeof *times_ms);

    plot->times_ms = times_ms != NULL ? times_ms : plot->times_ms;
    float *values = realloc(plot->values, (size_t)capacity * sizeof *values);
    plot->values = values != NULL ? values : plot->values;
    float *forecasts = realloc(plot->forecasts, (size_t)capacity * sizeof *forecasts);
    plot->forecasts = forecasts != NULL ? forecasts : plot->forecasts;
    if (times_ms == NULL || values == NULL || forecasts == NULL) {
        return false;
    }
    plot->capacity = capacity;
    return true;
}

static bool add_point(struct plot *plot, const struct md_alert_frame *frame)
{
    int key = find_text(frame->keys, frame->key_count, plot->key);
    int column = find_text(frame->columns, frame->column_count, plot->column);
    int at = plot->face.count;

    if (at == plot->capacity && !grow(plot)) {
        return false;
    }
    plot->times_ms[at] = frame->time_ms;
    plot->values[at] =
        key >= 0 && column >= 0
            ? frame->values[(size_t)key * (size_t)frame->column_count + (size_t)column]
            : NAN;
    plot->forecasts[at] = key >= 0 ? forecast_of(plot, frame, key) : NAN;
    plot->face.count++;
    return true;
}

enum md_status md_alert_plots_frame(struct md_alert_plots *plots,
                                    const struct md_alert_frame *frame, struct md_error *err)
{
    for (int i = 0; i < plots->count; i++) {
        struct plot *plot = &plots->items[i];
        if (frame->time_ms >= plot->face.begin_ms && frame->time_ms < plot->face.end_ms &&
            !add_point(plot, frame)) {
            return md_fail(err, MD_ERR_MEMORY, "no memory for plots");
        }
    }
    return MD_OK;
}

int md_alert_plots_count(const struct md_alert_plots *plots)
{
    return plots->count;
}

void md_alert_plots_get(const struct md_alert_plots *plots, int index, struct md_alert_plot *plot)
{
    *plot = plots->items[index].face;
    plot->times_ms = plots->items[index].times_ms;
    plot->values = plots->items[index].values;
    plot->forecasts = plots->items[index].forecasts;
}
