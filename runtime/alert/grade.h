/*
 * Grades: how forecast alerts turned out.
 *
 * When a forecast alert begins to fire, it says that the limit will be crossed at
 * fired_ms + lead_steps x step_ms. Once the rule's horizon (within_ms) has passed since fired_ms,
 * it is graded by the first frame at or after fired_ms whose closed value of the column crosses the
 * limit (values as they were evaluated, like everything in the engine):
 *
 *     hit      within +- max(1 step, 20 % of the lead) of the predicted time
 *     early    later than that, still within the horizon: the alert was early
 *     late     sooner than that
 *     false    not at all
 *     missed   (no alert) a crossing, from below the limit, that no firing alert of this rule,
 * entity and column preceded within the horizon; one a crossing
 *
 * A frame that is missing (an outage) grades nothing: alerts whose horizon an outage of more than
 * one step touches before they were crossed, or two steps without a value, are dropped as ungraded
 * and counted as such.
 *
 * Precision = (hit + early + late) / (hit + early + late + false), of alerts. Recall = caught /
 * (caught + missed), of crossings: one is caught when an alert preceded it, whatever became of that
 * alert's own grade, and so counts once however often alerts fired before it.
 */
#ifndef MD_ALERT_GRADE_H
#define MD_ALERT_GRADE_H

#include "alert/alert.h"

enum md_alert_outcome {
    MD_ALERT_HIT,
    MD_ALERT_EARLY,
    MD_ALERT_LATE,
    MD_ALERT_FALSE,
    MD_ALERT_MISSED,
    MD_ALERT_UNGRADED, /* unknown: data are missing */
    MD_ALERT_OUTCOMES
};

struct md_alert_grade {
    const char *rule, *key, *column;
    enum md_alert_outcome outcome;
    int64_t graded_ms;
    int64_t fired_ms;     /* 0: missed */
    int64_t predicted_ms; /* 0: missed */
    int64_t crossed_ms;   /* 0: false */
    int64_t lead_ms;      /* crossed_ms - fired_ms, 0 for missed and false */
};

const char *md_alert_outcome_name(enum md_alert_outcome outcome);

/* Sums of one rule since its engine began (kept across restarts by save and restore). */
struct md_alert_quality {
    int64_t outcomes[MD_ALERT_OUTCOMES];
    int64_t caught;           /* crossings that an alert preceded */
    double precision, recall; /* NaN: nothing to tell */
    double lead_min_median;   /* of the newest 200 that were crossed; NaN: none */
    int64_t open;             /* fired, not yet graded */
};
void md_alert_quality_get(const struct md_alert_engine *engine, const char *rule,
                          struct md_alert_quality *quality);

#endif
