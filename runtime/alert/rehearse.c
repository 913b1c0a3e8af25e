/*
 * Feeding two sides with the frames of the past; see rehearse.h. A side's tallies have the order of
 * its rules. What is made of it all at the end is in rehearse_result.c.
 */
#include "alert/rehearse_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- making ---------------------------------------------------------------------------------- */

static int watched_count(const struct md_alert_rule *rule)
{
    if (rule->watch == MD_ALERT_FUNCTION) {
        return 0;
    }
    return rule->watch == MD_ALERT_GAUGE ? 1 : rule->column_count;
}

bool md__rehearsal_tally_init(struct md__rehearsal_tally *tally, const char *name,
                              const char *severity, int watched, int bins)
{
    tally->bins = calloc((size_t)bins, sizeof *tally->bins);
    tally->lacks = calloc((size_t)watched + 1, sizeof *tally->lacks);
    tally->hints = calloc((size_t)watched + 1, sizeof *tally->hints);
    tally->row = (struct md_alert_rehearsal_rule){.name = name,
                                                  .severity = severity,
                                                  .error = tally->error,
                                                  .bins = tally->bins,
                                                  .lacks = tally->lacks,
                                                  .lack_count = watched};
    return tally->bins != NULL && tally->lacks != NULL && tally->hints != NULL;
}

static enum md_status make_tallies(struct md__rehearsal_side *side, int bins, struct md_error *err)
{
    int count = side->rules != NULL ? md_alert_rules_count(side->rules) : 0;

    side->tallies = calloc((size_t)count + 1, sizeof *side->tallies);
    if (side->tallies == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "no memory for a rehearsal");
    }
    for (int i = 0; i < count; i++) {
        const struct md_alert_rule *rule = md_alert_rules_get(side->rules, i);
        struct md__rehearsal_tally *tally = &side->tallies[side->count++];
        if (!md__rehearsal_tally_init(tally, rule->name, rule->severity, watched_count(rule),
                                      bins)) {
            return md_fail(err, MD_ERR_MEMORY, "no memory for a rehearsal");
        }
        tally->row.rule = rule;
        for (int k = 0; k < tally->row.lack_count; k++) {
            tally->lacks[k].name = rule->watch == MD_ALERT_GAUGE ? rule->gauge : rule->columns[k];
        }
    }
    return MD_OK;
}

static enum md_status init_side(struct md__rehearsal_side *side,
                                struct md_alert_rehearsal *rehearsal,
                                const struct md_alert_rehearsal_side *wanted,
                                const struct md_alert_rehearsal_options *options, bool evaluates,
                                struct md_error *err)
{
    enum md_status status;

    side->rehearsal = rehearsal;
    side->is_recorded = !evaluates;
    side->rules = wanted->rules != NULL ? md_alert_rules_ref(wanted->rules) : NULL;
    side->predicate = wanted->predicate;
    md_alert_spans_init(&side->spans, options->since_ms);
    status = make_tallies(side, options->bins, err);
    if (status == MD_OK && evaluates && side->rules != NULL) {
        status = md_alert_engine_new(options->entity_label, &side->engine, err);
    }
    if (status == MD_OK && side->engine != NULL) {
        md_alert_engine_set_rules(side->engine, side->rules);
    }
    return status;
}

static void fini_side(struct md__rehearsal_side *side)
{
    for (int i = 0; i < side->count; i++) {
        free(side->tallies[i].lacks);
        free(side->tallies[i].hints);
        free(side->tallies[i].bins);
        free(side->tallies[i].leads_min);
    }
    free(side->tallies);
    md_alert_spans_fini(&side->spans);
    if (side->engine != NULL) {
        md_alert_engine_delete(side->engine);
    }
    if (side->rules != NULL) {
        md_alert_rules_unref(side->rules);
    }
}

static const int64_t hour_ms = 3600000;

static int64_t warm_up_ms(const struct md_alert_rules *rules)
{
    int64_t ms = 0;

    for (int i = 0; rules != NULL && i < md_alert_rules_count(rules); i++) {
        const struct md_alert_rule *rule = md_alert_rules_get(rules, i);
        int64_t held_ms =
            md__larger(md__larger(rule->for_ms, rule->keep_firing_ms), rule->within_ms);
        bool has_clear = !isnan(rule->clear.fallback) || rule->clear.profile_count > 0;
        ms = md__larger(ms, held_ms + hour_ms + (has_clear ? 24 * hour_ms : 0));
    }
    return ms;
}

static int64_t begin_ms(const struct md_alert_rehearsal_options *options)
{
    int64_t ms = options->since_ms -
                 md__larger(warm_up_ms(options->fresh.rules), warm_up_ms(options->old.rules));

    /* An hour, so that it is seen to begin whatever the step is. */
    return options->active_ms != 0 ? md__smaller(ms, options->active_ms - hour_ms) : ms;
}

static enum md_status check(const struct md_alert_rehearsal_options *options, struct md_error *err)
{
    if (options->until_ms <= options->since_ms) {
        return md_fail(err, MD_ERR_INVALID, "a rehearsal must begin before it ends");
    }
    if (options->bins < 1 || options->bins > MD_ALERT_REHEARSE_BINS_MAX) {
        return md_fail(err, MD_ERR_INVALID, "a timeline has 1 to %d pieces",
                       MD_ALERT_REHEARSE_BINS_MAX);
    }
    return MD_OK;
}

enum md_status md_alert_rehearsal_new(const struct md_alert_rehearsal_options *options,
                                      struct md_alert_rehearsal **result, struct md_error *err)
{
    struct md_alert_rehearsal *rehearsal;
    enum md_status status = check(options, err);

    if (status != MD_OK) {
        return status;
    }
    rehearsal = calloc(1, sizeof *rehearsal);
    if (rehearsal == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "no memory for a rehearsal");
    }
    rehearsal->bins_known = calloc((size_t)options->bins, 1);
    rehearsal->result = (struct md_alert_rehearsal_result){.since_ms = options->since_ms,
                                                           .until_ms = options->until_ms,
                                                           .begin_ms = begin_ms(options),
                                                           .bins = options->bins,
                                                           .bins_known = rehearsal->bins_known,
                                                           .fresh = &rehearsal->fresh.spans,
                                                           .old = &rehearsal->old.spans};
    status = rehearsal->bins_known != NULL
                 ? MD_OK
                 : md_fail(err, MD_ERR_MEMORY, "no memory for a rehearsal");
    if (status == MD_OK) {
        status = init_side(&rehearsal->fresh, rehearsal, &options->fresh, options, true, err);
    }
    if (status == MD_OK) {
        status = init_side(&rehearsal->old, rehearsal, &options->old, options,
                           !options->is_recorded, err);
    }
    if (status != MD_OK) {
        md_alert_rehearsal_delete(rehearsal);
        return status;
    }
    *result = rehearsal;
    return MD_OK;
}

void md_alert_rehearsal_delete(struct md_alert_rehearsal *rehearsal)
{
    if (rehearsal != NULL) {
        fini_side(&rehearsal->fresh);
        fini_side(&rehearsal->old);
        free(rehearsal->bins_known);
        free(rehearsal->rows);
        free(rehearsal->differences);
        free(rehearsal);
    }
}

int64_t md_alert_rehearsal_begin_ms(const struct md_alert_rehearsal *rehearsal)
{
    return rehearsal->result.begin_ms;
}

/* ---- what engines say ------------------------------------------------------------------------ */

static void on_event(void *context, const struct md_alert_event *event)
{
    struct md__rehearsal_side *side = context;
    const struct md_alert *alert = event->alert;
    struct md_alert_change change = {.time_ms = event->time_ms,
                                     .active_ms = alert->active_ms,
                                     .from = event->from,
                                     .to = event->to,
                                     .fingerprint = alert->fingerprint,
                                     .rule = alert->name,
                                     .severity = alert->severity,
                                     .key = alert->key,
                                     .column = alert->column,
                                     .value = alert->value,
                                     .limit = alert->limit,
                                     .is_below = alert->rule != NULL && alert->rule->is_below};

    if (side->status == MD_OK) {
        side->status = md_alert_spans_change(&side->spans, &change, &side->err);
    }
}

static bool on_active(void *context, const struct md_alert *alert)
{
    struct md__rehearsal_side *side = context;

    if (alert->state != MD_ALERT_INACTIVE) {
        md_alert_spans_value(&side->spans, alert->fingerprint, alert->value, alert->limit,
                             alert->rule != NULL && alert->rule->is_below);
    }
    return true;
}

static bool keep_lead(struct md__rehearsal_tally *tally, int64_t lead_ms)
{
    if (tally->lead_count == tally->lead_capacity) {
        int capacity = tally->lead_capacity > 0 ? tally->lead_capacity * 2 : 32;
        float *leads = realloc(tally->leads_min, (size_t)capacity * sizeof *leads);
        if (leads == NULL) {
            return false;
        }
        tally->leads_min = leads;
        tally->lead_capacity = capacity;
    }
    tally->leads_min[tally->lead_count++] = (float)lead_ms / 60000;
    return true;
}

static void on_grade(void *context, const struct md_alert_grade *grade)
{
    struct md__rehearsal_side *side = context;
    int rule = md_alert_rules_find(side->rules, grade->rule);
    int64_t begun_ms = grade->fired_ms != 0 ? grade->fired_ms : grade->crossed_ms;

    if (rule < 0 || begun_ms < side->rehearsal->result.since_ms) {
        return;
    }
    side->tallies[rule].row.grades.outcomes[grade->outcome]++;
    if (grade->fired_ms != 0 && grade->crossed_ms != 0 && side->status == MD_OK &&
        !keep_lead(&side->tallies[rule], grade->lead_ms)) {
        side->status = md_fail(&side->err, MD_ERR_MEMORY, "no memory for grades");
    }
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* A rule that fails for want of what it watches is told of as such. */
static void look_at_rules(struct md__rehearsal_side *side, const struct md_alert_frame *frame)
{
    struct md_alert_rule_health health;

    for (int i = 0; i < side->count; i++) {
        struct md__rehearsal_tally *tally = &side->tallies[i];
        bool lacked = md__rehearsal_look_for_lacks(tally, frame);
        md_alert_rule_health(side->engine, i, &health);
        if (!lacked && health.error[0] != '\0') {
            tally->row.errors++;
            memcpy(tally->error, health.error, sizeof tally->error);
        }
    }
}

/* Grades before the period are not of it; those of crossings caught are only known as a sum. */
static void note_caught(struct md__rehearsal_side *side)
{
    struct md_alert_quality quality;

    for (int i = 0; i < side->count; i++) {
        md_alert_quality_get(side->engine, side->tallies[i].row.name, &quality);
        side->tallies[i].caught_before = quality.caught;
    }
}

static enum md_status run_side(struct md__rehearsal_side *side, const struct md_alert_frame *frame,
                               struct md_error *err)
{
    struct md_alert_sink sink = {.context = side, .event = on_event, .grade = on_grade};
    enum md_status status;

    if (side->engine == NULL) {
        return MD_OK;
    }
    if (frame->time_ms >= side->rehearsal->result.since_ms &&
        md_alert_engine_time_ms(side->engine) < side->rehearsal->result.since_ms) {
        note_caught(side);
    }
    status = md_alert_engine_tick(side->engine, frame, side->predicate, &sink, err);
    if (status == MD_OK && side->status != MD_OK) {
        status = side->status;
        if (err != NULL) {
            *err = side->err;
        }
    }
    if (status != MD_OK) {
        return status;
    }
    md_alert_engine_visit(side->engine, on_active, side);
    if (frame->time_ms >= side->rehearsal->result.since_ms) {
        look_at_rules(side, frame);
    }
    return MD_OK;
}

int md__rehearsal_bin(const struct md_alert_rehearsal_result *result, int64_t ms)
{
    double share = (double)(ms - result->since_ms) / (double)(result->until_ms - result->since_ms);
    int bin = (int)floor(fmin(fmax(share, 0), 1) * result->bins);

    return bin < result->bins ? bin : result->bins - 1;
}

static void note_time(struct md_alert_rehearsal *rehearsal, const struct md_alert_frame *frame)
{
    struct md_alert_rehearsal_result *result = &rehearsal->result;
    int64_t expected_ms = result->last_ms != 0 ? result->last_ms + frame->step_ms : frame->time_ms;

    if (result->first_ms == 0) {
        result->first_ms = frame->time_ms;
        expected_ms = result->since_ms;
    }
    result->last_ms = frame->time_ms;
    result->step_ms = frame->step_ms;
    if (frame->time_ms < result->since_ms) {
        return;
    }
    result->frames++;
    /* Up to a step late is a late tick, not a gap. */
    if (frame->time_ms - md__larger(expected_ms, result->since_ms) > frame->step_ms) {
        result->gap_ms += frame->time_ms - md__larger(expected_ms, result->since_ms);
    }
    for (int i = md__rehearsal_bin(result, frame->time_ms);
         i <= md__rehearsal_bin(result, frame->time_ms + frame->step_ms - 1); i++) {
        rehearsal->bins_known[i] = 1;
    }
}

enum md_status md_alert_rehearsal_frame(struct md_alert_rehearsal *rehearsal,
                                        const struct md_alert_frame *frame, struct md_error *err)
{
    enum md_status status = run_side(&rehearsal->fresh, frame, err);

    if (status == MD_OK) {
        status = run_side(&rehearsal->old, frame, err);
    }
    if (status == MD_OK) {
        note_time(rehearsal, frame);
    }
    return status;
}

enum md_status md_alert_rehearsal_record(struct md_alert_rehearsal *rehearsal,
                                         const struct md_alert_change *change, struct md_error *err)
{
    if (!rehearsal->old.is_recorded) {
        return md_fail(err, MD_ERR_INVALID,
                       "this rehearsal compares with rules, not with a record");
    }
    return md_alert_spans_change(&rehearsal->old.spans, change, err);
}
