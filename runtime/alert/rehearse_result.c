/*
 * The end of a rehearsal: spans become counts and timelines of their rules, grades become shares,
 * and the rules of both sides are paired by name.
 */
#include "alert/rehearse_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct md__rehearsal_tally *find_tally(const struct md__rehearsal_side *side,
                                              const char *name)
{
    for (int i = 0; i < side->count; i++) {
        if (strcmp(side->tallies[i].row.name, name) == 0) {
            return &side->tallies[i];
        }
    }
    return NULL;
}

static enum md_status add_tally(struct md__rehearsal_side *side, const char *name,
                                const char *severity, struct md_error *err)
{
    struct md__rehearsal_tally *more =
        realloc(side->tallies, (size_t)(side->count + 1) * sizeof *more);

    if (more == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "no memory for a rehearsal");
    }
    side->tallies = more;
    more[side->count] = (struct md__rehearsal_tally){0};
    if (!md__rehearsal_tally_init(&more[side->count++], name, severity, 0,
                                  side->rehearsal->result.bins)) {
        return md_fail(err, MD_ERR_MEMORY, "no memory for a rehearsal");
    }
    for (int i = 0; i < side->count; i++) { /* they may have moved */
        more[i].row.error = more[i].error;
    }
    return MD_OK;
}

/* The rules of a record are not known, only what they did: all that did something, and those of the
 * fresh side, which did nothing otherwise. */
static enum md_status add_recorded(struct md_alert_rehearsal *rehearsal, struct md_error *err)
{
    const struct md__rehearsal_side *fresh = &rehearsal->fresh;
    struct md__rehearsal_side *old = &rehearsal->old;
    enum md_status status = MD_OK;

    for (int i = 0; i < fresh->count && status == MD_OK; i++) {
        const struct md_alert_rehearsal_rule *row = &fresh->tallies[i].row;
        if (find_tally(old, row->name) == NULL) {
            status = add_tally(old, row->name, row->severity, err);
        }
    }
    for (int i = 0; i < old->spans.count && status == MD_OK; i++) {
        const struct md_alert_subject *subject = old->spans.items[i].subject;
        if (find_tally(old, subject->rule) == NULL) {
            status = add_tally(old, subject->rule, subject->severity, err);
        }
    }
    return status;
}

static void add_span(struct md__rehearsal_side *side, const struct md_alert_span *span)
{
    const struct md_alert_rehearsal_result *result = &side->rehearsal->result;
    struct md__rehearsal_tally *tally = find_tally(side, span->subject->rule);
    int64_t begin_ms = md__larger(span->fired_ms, result->since_ms);
    int64_t end_ms = span->end_ms != 0 ? span->end_ms : result->last_ms + result->step_ms;

    end_ms = md__larger(md__smaller(end_ms, result->until_ms), begin_ms + 1);
    tally->row.alerts++;
    tally->row.before += span->before;
    tally->row.firing_ms += end_ms - begin_ms;
    for (int i = md__rehearsal_bin(result, begin_ms); i <= md__rehearsal_bin(result, end_ms - 1);
         i++) {
        tally->bins[i]++;
    }
}

static int compare_floats(const void *left, const void *right)
{
    float a = *(const float *)left, b = *(const float *)right;

    return (a > b) - (a < b);
}

static void add_caught(const struct md__rehearsal_side *side, struct md__rehearsal_tally *tally)
{
    struct md_alert_quality quality;

    if (side->engine != NULL) {
        md_alert_quality_get(side->engine, tally->row.name, &quality);
        tally->row.grades.caught = quality.caught - tally->caught_before;
    }
}

static void add_grades(struct md__rehearsal_tally *tally)
{
    struct md_alert_rehearsal_grades *grades = &tally->row.grades;
    const int64_t *outcomes = grades->outcomes;
    int64_t crossed = outcomes[MD_ALERT_HIT] + outcomes[MD_ALERT_EARLY] + outcomes[MD_ALERT_LATE];
    int64_t alerts = crossed + outcomes[MD_ALERT_FALSE];
    int64_t crossings = grades->caught + outcomes[MD_ALERT_MISSED];
    int count = tally->lead_count;

    grades->precision = alerts > 0 ? (double)crossed / (double)alerts : NAN;
    grades->recall = crossings > 0 ? (double)grades->caught / (double)crossings : NAN;
    grades->lead_min_median = NAN;
    if (count > 0) {
        qsort(tally->leads_min, (size_t)count, sizeof *tally->leads_min, compare_floats);
        grades->lead_min_median =
            ((double)tally->leads_min[(count - 1) / 2] + (double)tally->leads_min[count / 2]) / 2;
    }
}

static enum md_status finish_side(struct md__rehearsal_side *side, struct md_error *err)
{
    enum md_status status = md_alert_spans_finish(&side->spans, err);

    if (status == MD_OK && side->is_recorded) {
        status = add_recorded(side->rehearsal, err);
    }
    if (status != MD_OK) {
        return status;
    }
    for (int i = 0; i < side->spans.count; i++) {
        add_span(side, &side->spans.items[i]);
    }
    for (int i = 0; i < side->count; i++) {
        struct md__rehearsal_tally *tally = &side->tallies[i];
        tally->row.unfired = md_alert_spans_unfired(&side->spans, tally->row.name);
        add_caught(side, tally);
        add_grades(tally);
    }
    return MD_OK;
}

/* ---- differences ----------------------------------------------------------------------------- */

static bool take_difference(void *context, const struct md_alert_difference *difference)
{
    struct md_alert_rehearsal *rehearsal = context;

    if (rehearsal->difference_count == rehearsal->difference_capacity) {
        int capacity = rehearsal->difference_count > 0 ? 2 * rehearsal->difference_count : 64;
        struct md_alert_difference *more =
            realloc(rehearsal->differences, (size_t)capacity * sizeof *more);
        if (more == NULL) {
            return false;
        }
        rehearsal->differences = more;
        rehearsal->difference_capacity = capacity;
    }
    rehearsal->differences[rehearsal->difference_count++] = *difference;
    return true;
}

static const char *rule_of(const struct md_alert_difference *difference)
{
    return (difference->fresh != NULL ? difference->fresh : difference->old)->subject->rule;
}

/* Those of a rule stand together. */
static void give_differences(const struct md_alert_rehearsal *rehearsal,
                             struct md_alert_rehearsal_row *row, const char *name)
{
    int i = 0;

    while (i < rehearsal->difference_count &&
           strcmp(rule_of(&rehearsal->differences[i]), name) != 0) {
        i++;
    }
    row->differences = rehearsal->differences + i;
    for (;
         i < rehearsal->difference_count && strcmp(rule_of(&rehearsal->differences[i]), name) == 0;
         i++) {
        row->counts[rehearsal->differences[i].kind]++;
        row->difference_count++;
    }
}

static void add_row(struct md_alert_rehearsal *rehearsal, const struct md__rehearsal_tally *fresh,
                    const struct md__rehearsal_tally *old)
{
    struct md_alert_rehearsal_row *row = &rehearsal->rows[rehearsal->row_count++];

    row->fresh = fresh != NULL ? &fresh->row : NULL;
    row->old = old != NULL ? &old->row : NULL;
    give_differences(rehearsal, row, (fresh != NULL ? fresh : old)->row.name);
}

static enum md_status make_rows(struct md_alert_rehearsal *rehearsal, struct md_error *err)
{
    const struct md__rehearsal_side *fresh = &rehearsal->fresh, *old = &rehearsal->old;

    rehearsal->rows = calloc((size_t)(fresh->count + old->count) + 1, sizeof *rehearsal->rows);
    if (rehearsal->rows == NULL ||
        !md_alert_spans_compare(&fresh->spans, &old->spans, take_difference, rehearsal)) {
        return md_fail(err, MD_ERR_MEMORY, "no memory for a rehearsal");
    }
    for (int i = 0; i < fresh->count; i++) {
        add_row(rehearsal, &fresh->tallies[i], find_tally(old, fresh->tallies[i].row.name));
    }
    for (int i = 0; i < old->count; i++) {
        if (find_tally(fresh, old->tallies[i].row.name) == NULL) {
            add_row(rehearsal, NULL, &old->tallies[i]);
        }
    }
    return MD_OK;
}

enum md_status md_alert_rehearsal_finish(struct md_alert_rehearsal *rehearsal, const char *partial,
                                         struct md_error *err)
{
    struct md_alert_rehearsal_result *result = &rehearsal->result;
    enum md_status status;

    if (partial != NULL) {
        snprintf(rehearsal->partial, sizeof rehearsal->partial, "%s", partial);
        result->partial = rehearsal->partial;
    }
    status = finish_side(&rehearsal->fresh, err);
    if (status == MD_OK) {
        status = finish_side(&rehearsal->old, err);
    }
    return status == MD_OK ? make_rows(rehearsal, err) : status;
}

void md_alert_rehearsal_result(const struct md_alert_rehearsal *rehearsal,
                               struct md_alert_rehearsal_result *result)
{
    *result = rehearsal->result;
}

int md_alert_rehearsal_rows(const struct md_alert_rehearsal *rehearsal)
{
    return rehearsal->row_count;
}

const struct md_alert_rehearsal_row *
md_alert_rehearsal_row(const struct md_alert_rehearsal *rehearsal, int index)
{
    return &rehearsal->rows[index];
}
