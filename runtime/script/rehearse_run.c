/*
 * One rehearsal: the frames of the period from a connection of its own through both sides, what was
 * recorded beside them, and the report. The time that it may take is bounded; a frame that cannot
 * be read is stepped over and counted.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json_out.h"
#include "base/timestamp.h"
#include "script/rehearse_internal.h"
#include "store/store.h"

enum { DAMAGED_MAX = 1000, DIFFERENCES_MAX = 1000, PLOTS_MAX = 60 };

struct running {
    struct md__rehearse_run *run;
    struct md_store *store;
    struct md_alert_rehearsal *rehearsal;
    struct md_alert_plots *plots;
    int64_t since_ms, until_ms;
    int64_t first_ms, last_ms; /* of the history; 0: it is empty */
    int64_t begun_ns;
    int64_t seen_ms, step_ms; /* of the frame before */
    int damaged;
    bool is_late; /* the budget is spent */
};

/* ---- where the history begins and ends ------------------------------------------------------- */

static enum md_status take_time(void *context, const struct md_store_alert_tick *tick,
                                struct md_error *err)
{
    (void)err;
    *(int64_t *)context = tick->time_ms;
    return MD_OK;
}

/* The first tick at or after begin_ms; 0: there is none. */
static enum md_status next_tick(struct md_store *store, int64_t begin_ms, int64_t *time_ms,
                                struct md_error *err)
{
    *time_ms = 0;
    return md_store_read_alert_ticks(store, begin_ms, INT64_MAX, 1, time_ms, take_time, err);
}

/* Bisection over time: the store lists ticks forward only. */
static enum md_status last_tick(struct md_store *store, int64_t first_ms, int64_t *time_ms,
                                struct md_error *err)
{
    int64_t low_ms = first_ms, high_ms = first_ms + (INT64_C(1) << 45), found_ms;
    enum md_status status = MD_OK;
    while (status == MD_OK && low_ms < high_ms) {
        int64_t middle_ms = low_ms + (high_ms - low_ms + 1) / 2;
        status = next_tick(store, middle_ms, &found_ms, err);
        if (found_ms != 0)
            low_ms = found_ms;
        else
            high_ms = middle_ms - 1;
    }
    *time_ms = low_ms;
    return status;
}

static enum md_status find_ends(struct running *running, struct md_error *err)
{
    enum md_status status = next_tick(running->store, 0, &running->first_ms, err);
    if (status == MD_OK && running->first_ms != 0)
        status = last_tick(running->store, running->first_ms, &running->last_ms, err);
    return status;
}

/* ---- frames ---------------------------------------------------------------------------------- */

static enum md_status check_time(struct running *running, struct md_error *err)
{
    struct md__rehearse_run *run = running->run;
    if (run->cancelled != NULL && atomic_load(run->cancelled))
        return md_fail(err, MD_ERR_CANCELLED, "the rehearsal was cancelled");
    running->is_late = md_monotonic_ns(run->clock) - running->begun_ns > run->request->budget_ns;
    return running->is_late ? md_fail(err, MD_ERR_TIMEOUT, "the time is up") : MD_OK;
}

static enum md_status take_frame(void *context, const struct md_alert_frame *frame,
                                 struct md_error *err)
{
    struct running *running = context;
    enum md_status status = check_time(running, err);
    if (status != MD_OK)
        return status;
    running->seen_ms = frame->time_ms;
    running->step_ms = frame->step_ms;
    return running->plots != NULL ? md_alert_plots_frame(running->plots, frame, err)
                                  : md_alert_rehearsal_frame(running->rehearsal, frame, err);
}

/* All frames of a time that can be read, or as many as the budget allows. */
static enum md_status read_frames(struct running *running, int64_t begin_ms, int64_t end_ms,
                                  struct md_error *err)
{
    enum md_status status = MD_OK;
    running->seen_ms = 0;
    running->damaged = 0;
    while (begin_ms < end_ms) {
        status =
            md_alert_history_frames(running->store, begin_ms, end_ms, take_frame, running, err);
        if (status != MD_ERR_CORRUPT || ++running->damaged > DAMAGED_MAX)
            break;
        int64_t before_ms = running->seen_ms >= begin_ms ? running->seen_ms + 1 : begin_ms, bad_ms;
        status = next_tick(running->store, before_ms, &bad_ms, err);
        if (status != MD_OK || bad_ms == 0)
            break;
        begin_ms = bad_ms + 1;
    }
    return status == MD_ERR_TIMEOUT && running->is_late ? MD_OK : status;
}

/* What is fed: recorded alerts first, as far as they tell where frames must begin. */
static enum md_status feed(struct running *running, struct md_alert_rehearsal_options *options,
                           struct md_error *err)
{
    const struct md__rehearse_run *run = running->run;
    struct md__rehearse_recorded recorded = {
        .entity = options->entity_label, .rule = run->request->rule, .until_ms = running->since_ms};
    enum md_status status =
        md__rehearse_active(running->store, &recorded, &options->active_ms, err);
    if (status == MD_OK)
        status = md_alert_rehearsal_new(options, &running->rehearsal, err);
    if (status == MD_OK)
        status = read_frames(running, md_alert_rehearsal_begin_ms(running->rehearsal),
                             running->until_ms, err);
    recorded.until_ms = running->is_late ? running->seen_ms + 1 : running->until_ms;
    if (status == MD_OK && run->request->is_recorded)
        status = md__rehearse_record(running->store, running->rehearsal, &recorded, err);
    return status;
}

static enum md_status rehearse(struct running *running, struct md_error *err)
{
    const struct md__rehearse_run *run = running->run;
    const char *entity = md__rehearse_set_entity(run->fresh);
    if (entity == NULL && run->old != NULL)
        entity = md__rehearse_set_entity(run->old);
    struct md_alert_rehearsal_options options = {
        .entity_label = entity != NULL ? entity : "entity",
        .since_ms = running->since_ms,
        .until_ms = running->until_ms,
        .bins = run->request->bins,
        .fresh = {run->fresh->rules, &run->fresh->predicate},
        .is_recorded = run->request->is_recorded};
    if (run->old != NULL)
        options.old = (struct md_alert_rehearsal_side){run->old->rules, &run->old->predicate};
    char partial[160] = "", until[MD_TIMESTAMP_BYTES];
    enum md_status status = feed(running, &options, err);
    if (status == MD_OK && running->is_late) {
        md_timestamp_format(running->seen_ms, until);
        snprintf(partial, sizeof partial, "stopped after %.3g s, at the frame of %s",
                 (double)run->request->budget_ns / 1e9, until);
    }
    if (status == MD_OK)
        status =
            md_alert_rehearsal_finish(running->rehearsal, partial[0] != '\0' ? partial : NULL, err);
    return status;
}

static enum md_status draw(struct running *running, struct md_error *err)
{
    int64_t begin_ms, end_ms;
    int damaged = running->damaged;
    enum md_status status = md_alert_plots_new(running->rehearsal, PLOTS_MAX, &running->plots, err);
    if (status == MD_OK && md_alert_plots_period(running->plots, &begin_ms, &end_ms))
        status = read_frames(running, begin_ms, end_ms, err);
    running->damaged = damaged;
    return status;
}

/* ---- the report ------------------------------------------------------------------------------ */

static void add_time(struct md_buffer *json, const char *name, int64_t ms)
{
    md_buffer_printf(json, ",\"%s\":", name);
    if (ms == 0)
        md_buffer_text(json, "null");
    else
        md_buffer_printf(json, "%" PRId64, ms);
}

static enum md_status write_report(struct running *running, struct md_buffer *json,
                                   struct md_error *err)
{
    const struct md__rehearse_run *run = running->run;
    struct md_alert_report_options options = {.plots = running->plots,
                                              .differences_max = DIFFERENCES_MAX,
                                              .with_same = run->request->same};
    double ms = (double)(md_monotonic_ns(run->clock) - running->begun_ns) / 1e6;
    md_buffer_printf(json, "\"against\":\"%s\",\"damaged\":%d,\"ms\":%.1f",
                     run->request->is_recorded ? "recorded" : "live", running->damaged, ms);
    add_time(json, "history_begins_ms", running->first_ms);
    add_time(json, "history_ends_ms", running->last_ms);
    return md_alert_rehearsal_report(running->rehearsal, &options, json, err);
}

static enum md_status run_opened(struct running *running, struct md_buffer *report,
                                 struct md_buffer *sentence, struct md_error *err)
{
    struct md__rehearse_run *run = running->run;
    enum md_status status = find_ends(running, err);
    int64_t now_ms = run->now_ms != 0 ? run->now_ms : running->last_ms;
    if (status == MD_OK)
        status = md__rehearse_period(run->request, now_ms, run->zone, &running->since_ms,
                                     &running->until_ms, err);
    if (status == MD_OK)
        status = rehearse(running, err);
    if (status == MD_OK && run->request->plots)
        status = draw(running, err);
    if (status == MD_OK && report != NULL)
        status = write_report(running, report, err);
    if (status == MD_OK && sentence != NULL)
        md_alert_rehearsal_summary(running->rehearsal, sentence);
    md_alert_plots_delete(running->plots);
    md_alert_rehearsal_delete(running->rehearsal);
    return status;
}

enum md_status md__rehearse_run(struct md__rehearse_run *run, struct md_buffer *report,
                                struct md_buffer *sentence, struct md_error *err)
{
    struct running running = {.run = run, .begun_ns = md_monotonic_ns(run->clock)};
    if (run->state[0] == '\0')
        return md_fail(err, MD_ERR_NOT_FOUND,
                       "there is no history to rehearse with: no state folder is set");
    enum md_status status = md_store_open_read(run->state, &running.store, err);
    if (status == MD_OK) {
        status = run_opened(&running, report, sentence, err);
        md_store_close(running.store);
    }
    return status;
}
