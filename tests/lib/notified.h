/*
 * Alerts, receivers and moments for tests of the notifier's pure part.
 *
 *     struct fleet f;
 *     fleet_begin(&f, &fleet_hook, 1);
 *     fleet_fires(&f, "cpu", "a");                   // at f.now_ms
 *     assert_string_equal(fleet_step(&f, T0 + 30000), "hook: cpu@a /");
 *     fleet_end(&f);
 *
 * What a step told is written as "receiver: firing alerts / resolved ones", messages separated by
 * "; ". A name that begins with w is a warning, others are critical. No key may come twice.
 */
#ifndef MD_TESTS_NOTIFIED_H
#define MD_TESTS_NOTIFIED_H

#include "alert/notify.h"
#include "base/json_in.h"

#define T0     1767225600000LL /* 2026-01-01T00:00:00Z */
#define MINUTE 60000LL

enum { FLEET_ALERTS_MAX = 200, FLEET_TOLD_BYTES = 8192, FLEET_KEYS_MAX = 400 };

struct fleet {
    struct md_notify *notify;
    struct md_notify_config *config;
    int64_t now_ms;
    struct md_notify_alert alerts[FLEET_ALERTS_MAX];
    char texts[FLEET_ALERTS_MAX][2][40];
    struct md_alert_label labels[FLEET_ALERTS_MAX][4];
    struct md_alert_label notes[FLEET_ALERTS_MAX][1];
    int count;
    int pending;                 /* what the sink says */
    bool refuses;                /* the sink takes nothing */
    char told[FLEET_TOLD_BYTES]; /* since it was last asked for */
    char keys[FLEET_KEYS_MAX][MD_NOTIFY_KEY_BYTES];
    int key_count;
    json_t *body;  /* of the last message; of a file's, its first line */
    bool restarts; /* before every step, from what was saved */
};

struct md_notify_alert *fleet_alert(struct fleet *fleet, const char *name, const char *server);
void fleet_fires(struct fleet *fleet, const char *name, const char *server);
void fleet_resolves(struct fleet *fleet, const char *name, const char *server);

extern const struct md_alert_label fleet_critical[1]; /* severity = "critical" */
/* A webhook by alertname: 30 s, 5 min, 240 min; an Alertmanager: 60 s; a file. */
extern const struct md_notify_receiver fleet_hook, fleet_manager, fleet_lines;

void fleet_begin(struct fleet *fleet, const struct md_notify_receiver *receivers, int count);
void fleet_configure(struct fleet *fleet, const struct md_notify_settings *settings);
/* Silences the alerts whose label matches the text from one moment to another; its id to `id`. */
void fleet_silence(struct fleet *fleet, const char *label, const char *text, int64_t from_ms,
                   int64_t to_ms, char id[MD_NOTIFY_ID_BYTES]);
/* Saves, and goes on with what was saved. */
void fleet_restart(struct fleet *fleet);
struct md_notify_sink fleet_sink(struct fleet *fleet);
/* A step at this moment; what it told. */
const char *fleet_step(struct fleet *fleet, int64_t now_ms);
/* All steps that are due by then, each when it is: "30 s hook: cpu@a / | 930 s ...". */
void fleet_run(struct fleet *fleet, int64_t until_ms, char all[FLEET_TOLD_BYTES]);
const char *fleet_label(const json_t *alert, const char *name);
void fleet_end(struct fleet *fleet);

#endif
