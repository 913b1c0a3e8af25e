/* What the files of a rehearsal share; see rehearse.h. */
#ifndef MD_ALERT_REHEARSE_INTERNAL_H
#define MD_ALERT_REHEARSE_INTERNAL_H

#include "alert/rehearse.h"

/* What is added up for one rule. */
struct md__rehearsal_tally {
    struct md_alert_rehearsal_rule row;
    struct md_alert_lack *lacks;
    int *hints; /* where each lack's column or gauge was in the frame before */
    int *bins;
    char error[160];
    int64_t caught_before; /* crossings that were caught before the period */
    float *leads_min;
    int lead_count, lead_capacity;
};

struct md__rehearsal_side {
    struct md_alert_rehearsal *rehearsal;
    struct md_alert_rules *rules;
    const struct md_alert_predicate *predicate;
    struct md_alert_engine *engine; /* NULL: what was recorded, or nothing */
    bool is_recorded;
    struct md_alert_spans spans;
    struct md__rehearsal_tally *tallies;
    int count;
    enum md_status status; /* of what the sink could not say */
    struct md_error err;
};

struct md_alert_rehearsal {
    struct md__rehearsal_side fresh, old;
    struct md_alert_rehearsal_result result;
    unsigned char *bins_known;
    char partial[160];
    struct md_alert_rehearsal_row *rows;
    int row_count;
    struct md_alert_difference *differences;
    int difference_count, difference_capacity;
};

static inline int64_t md__larger(int64_t left, int64_t right)
{
    return left > right ? left : right;
}

static inline int64_t md__smaller(int64_t left, int64_t right)
{
    return left < right ? left : right;
}

/* Whoever owns the tally frees its lists, also after false: out of memory. */
bool md__rehearsal_tally_init(struct md__rehearsal_tally *tally, const char *name,
                              const char *severity, int watched, int bins);
/* The piece of the period that holds this moment, clipped to the period. */
int md__rehearsal_bin(const struct md_alert_rehearsal_result *result, int64_t ms);
/* rehearse_lacks.c: counts what the rule watches and this frame does not have; true: something. */
bool md__rehearsal_look_for_lacks(struct md__rehearsal_tally *tally,
                                  const struct md_alert_frame *frame);

#endif
