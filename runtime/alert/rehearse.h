/*
 * Rehearsals: what rules would have done over frames of the past, beside what other rules, or the
 * live daemon, did.
 *
 * Two sides see each frame once: the *fresh* rules, which somebody is about to let serve, and the
 * *old* ones: the rules that serve now, or, without rules, what was recorded when it happened. Each
 * side has an engine of its own, so that the times of a rehearsal are those that the live engine
 * would have had, holds, hysteresis and outages included.
 *
 * The period is [since_ms, until_ms). An engine begins empty; what was firing already when the
 * period begins is known because frames are fed from md_alert_rehearsal_begin_ms on: an hour and
 * the longest time of any rule before, a day more when a rule has a clear limit of its own, and no
 * later than what fired live when the period began had begun.
 *
 * What rules watch and the frames do not hold (a column, a quantile, a horizon) is counted per rule
 * and column, so that no answer passes for "no alert".
 *
 * One thread at a time. No clock is read: whoever feeds the frames bounds the time that it takes.
 */
#ifndef MD_ALERT_REHEARSE_H
#define MD_ALERT_REHEARSE_H

#include "alert/alert.h"
#include "alert/grade.h"
#include "alert/spans.h"

#define MD_ALERT_REHEARSE_BINS_MAX 2000

struct md_alert_rehearsal_side {
    struct md_alert_rules *rules;               /* a reference is taken; NULL: none */
    const struct md_alert_predicate *predicate; /* outlives the rehearsal; may be NULL */
};

struct md_alert_rehearsal_options {
    const char *entity_label; /* "server" */
    int64_t since_ms, until_ms;
    int64_t active_ms; /* of what fired at since_ms, as far as is known, the first; 0: nothing */
    int bins; /* of timelines: the period in so many pieces; 1 to MD_ALERT_REHEARSE_BINS_MAX */
    struct md_alert_rehearsal_side fresh, old;
    bool is_recorded; /* the old side is what md_alert_rehearsal_record tells; its rules may be NULL
                       */
};

struct md_alert_rehearsal;

enum md_status md_alert_rehearsal_new(const struct md_alert_rehearsal_options *options,
                                      struct md_alert_rehearsal **rehearsal, struct md_error *err);
void md_alert_rehearsal_delete(struct md_alert_rehearsal *rehearsal); /* NULL is fine */
/* Where frames should begin. */
int64_t md_alert_rehearsal_begin_ms(const struct md_alert_rehearsal *rehearsal);
/* Frames come in order of time. */
enum md_status md_alert_rehearsal_frame(struct md_alert_rehearsal *rehearsal,
                                        const struct md_alert_frame *frame, struct md_error *err);
/* What the live engine did, in order of time, from as early as it is known. */
enum md_status md_alert_rehearsal_record(struct md_alert_rehearsal *rehearsal,
                                         const struct md_alert_change *change,
                                         struct md_error *err);
/* After the last frame. partial: why frames that there are were left out, copied; NULL: none. */
enum md_status md_alert_rehearsal_finish(struct md_alert_rehearsal *rehearsal, const char *partial,
                                         struct md_error *err);

/* ---- the result ------------------------------------------------------------------------------ */

/* What a rule watches and frames of the period did not have. */
struct md_alert_lack {
    const char *name;        /* the column or gauge */
    int64_t frames;          /* looked at */
    int64_t absent, shorter; /* without it at all; with a horizon shorter than the rule's */
};

struct md_alert_rehearsal_grades {
    int64_t outcomes[MD_ALERT_OUTCOMES]; /* of alerts that fired, and crossings, in the period */
    int64_t caught;                      /* crossings that an alert preceded */
    double precision, recall, lead_min_median; /* NaN: nothing to tell */
};

/* One rule on one side. Borrowed from the rehearsal. */
struct md_alert_rehearsal_rule {
    const struct md_alert_rule *rule; /* NULL: only what was recorded of it is known */
    const char *name, *severity;
    int alerts;        /* spans that fire in the period */
    int before;        /* of them, those that fired already when it begins */
    int64_t unfired;   /* pending, then not any more */
    int64_t firing_ms; /* all spans together, within the period */
    int64_t errors;    /* frames at which the rule failed */
    const char *error; /* the last failure, "" */
    const int *bins;   /* alerts that fired at some time in each piece of the period */
    struct md_alert_rehearsal_grades grades;
    int lack_count; /* columns or the gauge, also those that nothing was lacking of */
    const struct md_alert_lack *lacks;
};

struct md_alert_rehearsal_result {
    int64_t since_ms, until_ms, begin_ms; /* as asked, and where frames were asked from */
    int64_t first_ms, last_ms;            /* frames that there were, warm-up included; 0: none */
    int64_t frames;                       /* of the period */
    int64_t step_ms;                      /* of the last frame */
    int64_t gap_ms; /* of the period between two frames, or before the first: nothing is known */
    const char *partial; /* NULL: all frames were looked at */
    int bins;
    const unsigned char *bins_known; /* 1: a frame covers some of the piece */
    const struct md_alert_spans *fresh, *old;
};

void md_alert_rehearsal_result(const struct md_alert_rehearsal *rehearsal,
                               struct md_alert_rehearsal_result *result);

/* A rule of either side, and what differs. */
struct md_alert_rehearsal_row {
    const struct md_alert_rehearsal_rule *fresh, *old; /* NULL: that side does not have it */
    int counts[MD_ALERT_DIFFERENCES];
    const struct md_alert_difference *differences; /* by key, column and time */
    int difference_count;
};
/* How many there are: rules of the fresh side in its order, then those of the old one only. */
int md_alert_rehearsal_rows(const struct md_alert_rehearsal *rehearsal);
const struct md_alert_rehearsal_row *
md_alert_rehearsal_row(const struct md_alert_rehearsal *rehearsal, int index);

/* ---- plots (rehearse_plots.c) ---------------------------------------------------------------- */

/* What was watched around each alert that differs, for people to look at. A second pass. */
struct md_alert_plots;

struct md_alert_plot {
    const struct md_alert_rehearsal_row *row;
    const struct md_alert_difference *difference;
    int64_t begin_ms, end_ms;
    int count;
    const int64_t *times_ms;
    const float *values;    /* of the column; NaN: none */
    const float *forecasts; /* the most extreme one within the rule's horizon; NaN: none */
};

enum md_status md_alert_plots_new(const struct md_alert_rehearsal *rehearsal, int plots_max,
                                  struct md_alert_plots **plots, struct md_error *err);
void md_alert_plots_delete(struct md_alert_plots *plots); /* NULL is fine */
/* The times whose frames are of use; false: none are. */
bool md_alert_plots_period(const struct md_alert_plots *plots, int64_t *begin_ms, int64_t *end_ms);
enum md_status md_alert_plots_frame(struct md_alert_plots *plots,
                                    const struct md_alert_frame *frame, struct md_error *err);
int md_alert_plots_count(const struct md_alert_plots *plots);
void md_alert_plots_get(const struct md_alert_plots *plots, int index, struct md_alert_plot *plot);

/* ---- the report (rehearse_report.c) ---------------------------------------------------------- */

struct md_alert_report_options {
    const struct md_alert_plots *plots; /* may be NULL */
    int differences_max;                /* listed per rule; the rest is counted */
    bool with_same;                     /* list what is the same, too */
};
/* Appends members of a JSON object that is begun already, without its braces; which, is described
 * there. */
enum md_status md_alert_rehearsal_report(const struct md_alert_rehearsal *rehearsal,
                                         const struct md_alert_report_options *options,
                                         struct md_buffer *json, struct md_error *err);

/* One sentence: "12 alerts instead of 15: 1 added, 4 gone, 2 at other times." */
void md_alert_rehearsal_summary(const struct md_alert_rehearsal *rehearsal, struct md_buffer *text);

#endif
