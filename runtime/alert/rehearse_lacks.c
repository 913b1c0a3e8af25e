/*
 * What rules watch and frames do not have: a column, a gauge, a quantile, a horizon. A rule that
 * looks at what was never kept would say nothing, and its silence would look like peace.
 */
#include "alert/internal.h"
#include "alert/rehearse_internal.h"

#include <string.h>

static bool is_here(const struct md_alert_frame *frame, const struct md_alert_rule *rule,
                    const char *name, int at)
{
    switch (rule->watch) {
    case MD_ALERT_FORECAST:
        return at < frame->channel_count &&
               md__alert_is_same_quantile(frame->channels[at].quantile, rule->quantile) &&
               strcmp(frame->channels[at].column, name) == 0;
    case MD_ALERT_GAUGE:
        return at < frame->gauge_count && strcmp(frame->gauges[at].name, name) == 0;
    default:
        return at < frame->column_count && strcmp(frame->columns[at], name) == 0;
    }
}

static int places(const struct md_alert_frame *frame, const struct md_alert_rule *rule)
{
    switch (rule->watch) {
    case MD_ALERT_FORECAST:
        return frame->channel_count;
    case MD_ALERT_GAUGE:
        return frame->gauge_count;
    default:
        return frame->column_count;
    }
}

/* Where it is, looked for first where it was; -1: nowhere. */
static int find(const struct md_alert_frame *frame, const struct md_alert_rule *rule,
                const char *name, int hint)
{
    int count = places(frame, rule);

    if (is_here(frame, rule, name, hint)) {
        return hint;
    }
    for (int i = 0; i < count; i++) {
        if (is_here(frame, rule, name, i)) {
            return i;
        }
    }
    return -1;
}

bool md__rehearsal_look_for_lacks(struct md__rehearsal_tally *tally,
                                  const struct md_alert_frame *frame)
{
    const struct md_alert_rule *rule = tally->row.rule;
    bool lacked = false;

    for (int i = 0; i < tally->row.lack_count; i++) {
        struct md_alert_lack *lack = &tally->lacks[i];
        int at = find(frame, rule, lack->name, tally->hints[i]);
        lack->frames++;
        if (at < 0) {
            lack->absent++;
            lacked = true;
            continue;
        }
        tally->hints[i] = at;
        if (rule->watch == MD_ALERT_FORECAST &&
            frame->channels[at].steps < rule->within_ms / frame->channels[at].step_ms) {
            lack->shorter++;
        }
    }
    return lacked;
}
