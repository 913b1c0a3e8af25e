/*
 * A rehearsal as JSON, for commands, pages and routes. Times are UTC milliseconds.
 *
 *     since_ms, until_ms   the period          begin_ms  where its warm-up was to begin
 *     first_ms, last_ms    frames looked at, warm-up included; null: there were none
 *     frames, step_ms      in the period       gap_ms    of it without frames
 *     partial              why frames were left out, or null
 *     known                a digit for each piece of the timelines; 0: no frame
 *     totals               alerts: new, old; differences: same, changed, added, gone
 *     summary              all of it in one sentence
 *     rules[]              rule, severity, same, changed, added, gone, omitted,
 *                          differences[]: kind, key, metric, new[], old[] of spans
 *                          new, old: null, or what the rule did on that side:
 *                              alerts, before, unfired, firing_min, errors, error, timeline[],
 *                              watch, lacks[]: name, frames, absent, shorter
 *                              grades: null, or hit ... ungraded, caught, precision, recall,
 *                              lead_min_median
 *     plots[]              rule, key, metric, kind, begin_ms, end_ms, times_ms[], values[],
 *                          forecasts[]
 *
 * A span has active_ms, fired_ms, end_ms (null: it goes on), peak, limit, before.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "alert/rehearse_internal.h"
#include "base/json_out.h"

static const char *separator(const struct md_buffer *json)
{
    char last = json->length > 0 ? json->data[json->length - 1] : '{';

    return last == '[' || last == '{' ? "" : ",";
}

static void add_name(struct md_buffer *json, const char *name)
{
    md_buffer_printf(json, "%s\"%s\":", separator(json), name);
}

static void add_text(struct md_buffer *json, const char *name, const char *text)
{
    add_name(json, name);
    md_json_string(json, text, strlen(text));
}

static void add_int(struct md_buffer *json, const char *name, int64_t value)
{
    add_name(json, name);
    md_buffer_printf(json, "%" PRId64, value);
}

/* 0: there is no such time. */
static void add_time(struct md_buffer *json, const char *name, int64_t ms)
{
    add_name(json, name);
    if (ms == 0) {
        md_buffer_text(json, "null");
    } else {
        md_buffer_printf(json, "%" PRId64, ms);
    }
}

static void add_number(struct md_buffer *json, const char *name, double value, int decimals)
{
    add_name(json, name);
    md_json_f64_rounded(json, value, decimals);
}

/* ---- rules ----------------------------------------------------------------------------------- */

static void add_watch(struct md_buffer *json, const struct md_alert_rule *rule)
{
    static const char *const names[] = {"current", "forecast", "absent", "gauge", "function"};

    add_name(json, "watch");
    if (rule == NULL) {
        md_buffer_text(json, "null");
        return;
    }
    md_buffer_text(json, "{");
    add_text(json, "kind", names[rule->watch]);
    if (rule->watch == MD_ALERT_FORECAST) {
        add_number(json, "quantile", (double)rule->quantile, 4);
        add_number(json, "within_min", (double)rule->within_ms / 60000, 2);
    }
    md_buffer_text(json, "}");
}

static void add_lacks(struct md_buffer *json, const struct md_alert_rehearsal_rule *rule)
{
    add_name(json, "lacks");
    md_buffer_text(json, "[");
    for (int i = 0; i < rule->lack_count; i++) {
        const struct md_alert_lack *lack = &rule->lacks[i];
        if (lack->absent + lack->shorter > 0) {
            md_buffer_text(json, separator(json));
            md_buffer_text(json, "{");
            add_text(json, "name", lack->name);
            add_int(json, "frames", lack->frames);
            add_int(json, "absent", lack->absent);
            add_int(json, "shorter", lack->shorter);
            md_buffer_text(json, "}");
        }
    }
    md_buffer_text(json, "]");
}

static void add_grades(struct md_buffer *json, const struct md_alert_rehearsal_grades *grades)
{
    int64_t graded = 0;

    for (int i = 0; i < MD_ALERT_OUTCOMES; i++) {
        graded += grades->outcomes[i];
    }
    add_name(json, "grades");
    if (graded == 0) {
        md_buffer_text(json, "null");
        return;
    }
    md_buffer_text(json, "{");
    for (int i = 0; i < MD_ALERT_OUTCOMES; i++) {
        add_int(json, md_alert_outcome_name(i), grades->outcomes[i]);
    }
    add_int(json, "caught", grades->caught);
    add_number(json, "precision", grades->precision, 4);
    add_number(json, "recall", grades->recall, 4);
    add_number(json, "lead_min_median", grades->lead_min_median, 2);
    md_buffer_text(json, "}");
}

static void add_side(struct md_buffer *json, const char *name, int bins,
                     const struct md_alert_rehearsal_rule *rule)
{
    add_name(json, name);
    if (rule == NULL) {
        md_buffer_text(json, "null");
        return;
    }
    md_buffer_text(json, "{");
    add_int(json, "alerts", rule->alerts);
    add_int(json, "before", rule->before);
    add_int(json, "unfired", rule->unfired);
    add_number(json, "firing_min", (double)rule->firing_ms / 60000, 2);
    add_int(json, "errors", rule->errors);
    add_text(json, "error", rule->error);
    add_watch(json, rule->rule);
    add_lacks(json, rule);
    add_grades(json, &rule->grades);
    add_name(json, "timeline");
    md_buffer_text(json, "[");
    for (int i = 0; i < bins; i++) {
        md_buffer_printf(json, "%s%d", separator(json), rule->bins[i]);
    }
    md_buffer_text(json, "]}");
}

/* ---- differences ----------------------------------------------------------------------------- */

static void add_spans(struct md_buffer *json, const char *name, const struct md_alert_span *spans,
                      int count)
{
    add_name(json, name);
    md_buffer_text(json, "[");
    for (int i = 0; i < count; i++) {
        const struct md_alert_span *span = &spans[i];
        md_buffer_text(json, separator(json));
        md_buffer_text(json, "{");
        add_time(json, "active_ms", span->active_ms);
        add_time(json, "fired_ms", span->fired_ms);
        add_time(json, "end_ms", span->end_ms);
        add_name(json, "peak");
        md_json_f32(json, span->peak);
        add_name(json, "limit");
        md_json_f32(json, span->limit);
        add_text(json, "severity", span->subject->severity);
        add_name(json, "before");
        md_buffer_text(json, span->before ? "true}" : "false}");
    }
    md_buffer_text(json, "]");
}

static const struct md_alert_subject *subject_of(const struct md_alert_difference *difference)
{
    return (difference->fresh != NULL ? difference->fresh : difference->old)->subject;
}

static void add_difference(struct md_buffer *json, const struct md_alert_difference *difference)
{
    md_buffer_text(json, separator(json));
    md_buffer_text(json, "{");
    add_text(json, "kind", md_alert_difference_name(difference->kind));
    add_text(json, "key", subject_of(difference)->key);
    add_text(json, "metric", subject_of(difference)->column);
    add_spans(json, "new", difference->fresh, difference->fresh_count);
    add_spans(json, "old", difference->old, difference->old_count);
    md_buffer_text(json, "}");
}

static void add_differences(struct md_buffer *json, const struct md_alert_rehearsal_row *row,
                            const struct md_alert_report_options *options)
{
    int listed = 0, omitted = 0;

    add_name(json, "differences");
    md_buffer_text(json, "[");
    for (int i = 0; i < row->difference_count; i++) {
        if (row->differences[i].kind == MD_ALERT_SAME && !options->with_same) {
            continue;
        }
        if (listed < options->differences_max) {
            add_difference(json, &row->differences[i]);
            listed++;
        } else {
            omitted++;
        }
    }
    md_buffer_text(json, "]");
    add_int(json, "omitted", omitted);
}

static void add_row(struct md_buffer *json, const struct md_alert_rehearsal_row *row, int bins,
                    const struct md_alert_report_options *options)
{
    const struct md_alert_rehearsal_rule *rule = row->fresh != NULL ? row->fresh : row->old;

    md_buffer_text(json, separator(json));
    md_buffer_text(json, "{");
    add_text(json, "rule", rule->name);
    add_text(json, "severity", rule->severity);
    for (int i = 0; i < MD_ALERT_DIFFERENCES; i++) {
        add_int(json, md_alert_difference_name(i), row->counts[i]);
    }
    add_side(json, "new", bins, row->fresh);
    add_side(json, "old", bins, row->old);
    add_differences(json, row, options);
    md_buffer_text(json, "}");
}

static void add_totals(struct md_buffer *json, const struct md_alert_rehearsal *rehearsal)
{
    int64_t counts[MD_ALERT_DIFFERENCES] = {0};

    for (int i = 0; i < rehearsal->row_count; i++) {
        for (int k = 0; k < MD_ALERT_DIFFERENCES; k++) {
            counts[k] += rehearsal->rows[i].counts[k];
        }
    }
    add_name(json, "totals");
    md_buffer_text(json, "{");
    add_int(json, "new", rehearsal->fresh.spans.count);
    add_int(json, "old", rehearsal->old.spans.count);
    for (int i = 0; i < MD_ALERT_DIFFERENCES; i++) {
        add_int(json, md_alert_difference_name(i), counts[i]);
    }
    md_buffer_text(json, "}");
}

static void add_summary(struct md_buffer *json, const struct md_alert_rehearsal *rehearsal)
{
    char memory[512];
    struct md_buffer text;

    md_buffer_init_fixed(&text, memory, sizeof memory);
    md_alert_rehearsal_summary(rehearsal, &text);
    add_name(json, "summary");
    md_json_string(json, memory, text.length);
}

/* ---- plots ----------------------------------------------------------------------------------- */

static void add_floats(struct md_buffer *json, const char *name, const float *values, int count)
{
    add_name(json, name);
    md_buffer_text(json, "[");
    for (int i = 0; i < count; i++) {
        md_buffer_text(json, separator(json));
        md_json_f32(json, values[i]);
    }
    md_buffer_text(json, "]");
}

static void add_plot(struct md_buffer *json, const struct md_alert_plot *plot)
{
    const struct md_alert_subject *subject = subject_of(plot->difference);

    md_buffer_text(json, separator(json));
    md_buffer_text(json, "{");
    add_text(json, "rule", subject->rule);
    add_text(json, "key", subject->key);
    add_text(json, "metric", subject->column);
    add_text(json, "kind", md_alert_difference_name(plot->difference->kind));
    add_spans(json, "new", plot->difference->fresh, plot->difference->fresh_count);
    add_spans(json, "old", plot->difference->old, plot->difference->old_count);
    add_int(json, "begin_ms", plot->begin_ms);
    add_int(json, "end_ms", plot->end_ms);
    add_name(json, "times_ms");
    md_buffer_text(json, "[");
    for (int i = 0; i < plot->count; i++) {
        md_buffer_printf(json, "%s%" PRId64, separator(json), plot->times_ms[i]);
    }
    md_buffer_text(json, "]");
    add_floats(json, "values", plot->values, plot->count);
    add_floats(json, "forecasts", plot->forecasts, plot->count);
    md_buffer_text(json, "}");
}

static void add_plots(struct md_buffer *json, const struct md_alert_plots *plots)
{
    struct md_alert_plot plot;

    add_name(json, "plots");
    md_buffer_text(json, "[");
    for (int i = 0; i < md_alert_plots_count(plots); i++) {
        md_alert_plots_get(plots, i, &plot);
        add_plot(json, &plot);
    }
    md_buffer_text(json, "]");
}

/* ---- all together ---------------------------------------------------------------------------- */

static void add_period(struct md_buffer *json, const struct md_alert_rehearsal_result *result)
{
    add_int(json, "since_ms", result->since_ms);
    add_int(json, "until_ms", result->until_ms);
    add_int(json, "begin_ms", result->begin_ms);
    add_time(json, "first_ms", result->first_ms);
    add_time(json, "last_ms", result->last_ms);
    add_int(json, "frames", result->frames);
    add_int(json, "step_ms", result->step_ms);
    add_int(json, "gap_ms", result->gap_ms);
    add_name(json, "partial");
    if (result->partial != NULL) {
        md_json_string(json, result->partial, strlen(result->partial));
    } else {
        md_buffer_text(json, "null");
    }
    add_name(json, "known");
    md_buffer_text(json, "\"");
    for (int i = 0; i < result->bins; i++) {
        md_buffer_text(json, result->bins_known[i] ? "1" : "0");
    }
    md_buffer_text(json, "\"");
}

enum md_status md_alert_rehearsal_report(const struct md_alert_rehearsal *rehearsal,
                                         const struct md_alert_report_options *options,
                                         struct md_buffer *json, struct md_error *err)
{
    add_period(json, &rehearsal->result);
    add_totals(json, rehearsal);
    add_summary(json, rehearsal);
    add_name(json, "rules");
    md_buffer_text(json, "[");
    for (int i = 0; i < rehearsal->row_count; i++) {
        add_row(json, &rehearsal->rows[i], rehearsal->result.bins, options);
    }
    md_buffer_text(json, "]");
    if (options->plots != NULL) {
        add_plots(json, options->plots);
    }
    return md_buffer_check(json, err);
}
