/*
 * A night of alerts for tests of what outlives the process: values and forecasts of a few servers
 * are a function of the minute and go up and down around the limits of two rules, so that something
 * happens at nearly every tick. State lies in a scratch folder.
 */
#ifndef MD_TESTS_ALERT_NIGHT_H
#define MD_TESTS_ALERT_NIGHT_H

#include "alert/live.h"
#include "alerts.h"
#include "store/store.h"

struct night {
    char *folder;
    struct md_alert_rules *rules; /* "high" of cpu and mem, "soon" of cpu's forecast, 5 minutes */
};

/* Set-up and tear-down of a cmocka test: *state is a struct night. */
int night_begin(void **state);
int night_end(void **state);
void night_fill(struct alerts_frame *frame, int minute);
struct md_store *night_store(const struct night *night);
/* Takes up what the store has; the rules are set. */
struct md_alert_live *night_live(const struct night *night, struct md_store *store);
enum md_status night_tick(struct md_alert_live *live, int minute, struct md_error *err);
/* The minute after the last tick. */
int night_next(struct md_alert_live *live);
/* How many frames are kept; they must begin at minute 0 and leave none out. */
int night_frames(struct md_store *store);
/* All events of the first minutes, a line each. */
struct md_buffer night_events(struct md_store *store, int minutes);

#endif
