/* Rehearsals in tests: failures end the test. Minutes count from that of alerts.h. */
#ifndef MD_TESTS_REHEARSALS_H
#define MD_TESTS_REHEARSALS_H

#include "alert/rehearse.h"
#include "alerts.h"

#define MINUTE         ALERTS_STEP_MS
#define REHEARSALS_DAY 20

extern const char *const rehearsals_columns[]; /* cpu, mem */
/* Over 5 at 2 - 7, 9 - 10 and 11 - 13; over 8 at 4 - 6 and 11 - 13. */
extern const float rehearsals_day[REHEARSALS_DAY];

int64_t rehearsals_at(int64_t minute);
struct md_alert_rules *rehearsals_compile(const struct md_alert_rule *rules, int count);
struct md_alert_rule rehearsals_rule(const char *name, float limit); /* of cpu */
/* The period [since, until) in minutes; takes the references to the rules over. */
struct md_alert_rehearsal *rehearsals_begin(struct md_alert_rules *fresh,
                                            struct md_alert_rules *old, int64_t since,
                                            int64_t until);
void rehearsals_feed(struct md_alert_rehearsal *rehearsal, const struct alerts_frame *frame);
/* One server, one column: a number a minute; negative: no frame. */
void rehearsals_feed_values(struct md_alert_rehearsal *rehearsal, int64_t minute,
                            const float *values, int count);
void rehearsals_finish(struct md_alert_rehearsal *rehearsal);
const struct md_alert_rehearsal_row *rehearsals_row(const struct md_alert_rehearsal *rehearsal,
                                                    const char *name);

#endif
