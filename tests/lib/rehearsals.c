#include "rehearsals.h"

#include <stdlib.h>
#include <string.h>

#include "unit.h"

const float rehearsals_day[REHEARSALS_DAY] = {1, 1, 6, 6, 9, 9, 6, 1, 1, 6,
                                              1, 9, 9, 1, 1, 1, 1, 1, 1, 1};

const char *const rehearsals_columns[] = {"cpu", "mem", NULL};

int64_t rehearsals_at(int64_t minute)
{
    return ALERTS_START_MS + minute * ALERTS_STEP_MS;
}

struct md_alert_rules *rehearsals_compile(const struct md_alert_rule *rules, int count)
{
    struct md_alert_rules *set = NULL;
    struct md_error err;

    if (md_alert_rules_new(rules, count, &set, &err) != MD_OK) {
        fail_msg("%s", err.text);
    }
    return set;
}

struct md_alert_rule rehearsals_rule(const char *name, float limit)
{
    return alerts_rule(name, rehearsals_columns, 1, limit);
}

/* The period [since, until) in minutes. */
struct md_alert_rehearsal *rehearsals_begin(struct md_alert_rules *fresh,
                                            struct md_alert_rules *old, int64_t since,
                                            int64_t until)
{
    struct md_alert_rehearsal_options options = {.entity_label = "server",
                                                 .since_ms = rehearsals_at(since),
                                                 .until_ms = rehearsals_at(until),
                                                 .bins = 10,
                                                 .fresh = {.rules = fresh},
                                                 .old = {.rules = old}};
    struct md_alert_rehearsal *rehearsal = NULL;

    assert_int_equal(md_alert_rehearsal_new(&options, &rehearsal, NULL), MD_OK);
    md_alert_rules_unref(fresh);
    md_alert_rules_unref(old);
    return rehearsal;
}

void rehearsals_feed(struct md_alert_rehearsal *rehearsal, const struct alerts_frame *frame)
{
    struct md_error err;

    if (md_alert_rehearsal_frame(rehearsal, &frame->frame, &err) != MD_OK) {
        fail_msg("%s", err.text);
    }
}

/* One server, one column: a number a minute; negative: no frame. */
void rehearsals_feed_values(struct md_alert_rehearsal *rehearsal, int64_t minute,
                            const float *values, int count)
{
    static const char *const keys[] = {"pp01", NULL};
    struct alerts_frame *frame = malloc(sizeof *frame);

    assert_non_null(frame);
    alerts_frame_init(frame, keys, rehearsals_columns);
    for (int i = 0; i < count; i++) {
        alerts_frame_at(frame, minute + i);
        alerts_frame_set(frame, "pp01", "cpu", values[i]);
        if (values[i] >= 0) {
            rehearsals_feed(rehearsal, frame);
        }
    }
    free(frame);
}

void rehearsals_finish(struct md_alert_rehearsal *rehearsal)
{
    assert_int_equal(md_alert_rehearsal_finish(rehearsal, NULL, NULL), MD_OK);
}

const struct md_alert_rehearsal_row *rehearsals_row(const struct md_alert_rehearsal *rehearsal,
                                                    const char *name)
{
    for (int i = 0; i < md_alert_rehearsal_rows(rehearsal); i++) {
        const struct md_alert_rehearsal_row *row = md_alert_rehearsal_row(rehearsal, i);
        if (strcmp((row->fresh != NULL ? row->fresh : row->old)->name, name) == 0) {
            return row;
        }
    }
    fail_msg("there is no row of %s", name);
    return NULL;
}
