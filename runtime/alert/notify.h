/*
 * Who hears of which alert, and when: a function of the alerts, the settings, and the time.
 *
 * A `struct md_notify` is fed with snapshots of the firing and lately resolved alerts and gives
 * messages. It reads no clock, sends nothing and touches no disk: notifier.h does that around it.
 * Its whole memory (what was told to whom, groups, silences) can be saved and restored, and is
 * meant to be kept together with the messages, in one transaction: then a crash neither loses a
 * message nor makes a second one for the same event.
 *
 * Suppression. An alert is *silenced* (a silence with an expiry and an author matches), in
 * *maintenance* (a weekly window is open and matches), or *inhibited* (a firing alert matches a
 * rule's source, this one its target, and the `equal` labels agree; alerts that match both sides do
 * not inhibit each other, so none inhibits itself). A suppressed alert is not sent. Its resolution
 * is sent, suppressed or not, exactly when its firing was: nothing stays open at a receiver.
 *
 * Receivers come in two ways:
 *
 *   direct (Alertmanager, file, stdout): an alert is told at once, and its resolution. To an
 *     Alertmanager everything is told again every resend_ms, resolutions for 15 minutes, as
 *     Prometheus does (rules/alerting.go, needsSending; rules/manager.go, SendAlerts).
 *   grouped (webhook): alerts with the same `group_by` labels share messages, as in Alertmanager
 *     (dispatch, aggrGroup; notify, DedupStage): the first group_wait_ms after the group began,
 *     further ones when something has changed, looked at every group_interval_ms, and unchanged
 *     ones again after repeat_ms.
 *
 * Not safe for several threads at a time. Times are UTC milliseconds.
 */
#ifndef MD_ALERT_NOTIFY_H
#define MD_ALERT_NOTIFY_H

#include "alert/alert.h"

#define MD_NOTIFY_RECEIVERS_MAX 64
#define MD_NOTIFY_SILENCES_MAX  1000
#define MD_NOTIFY_BATCH         64 /* alerts of one direct message */
/* An ended silence is kept so long, for people to see. */
#define MD_NOTIFY_SILENCE_KEEP_MS ((int64_t)5 * 86400000)
#define MD_NOTIFY_ID_BYTES        24
#define MD_NOTIFY_KEY_BYTES       64

/* ---- matchers -------------------------------------------------------------------------------- */

/*
 * Label tests, all of which must hold: { "server", "~pp.*" }. Texts: "x" or "=x" equal, "!x" not
 * equal, "~x" an anchored POSIX extended regular expression without {} and back-references (so
 * that no pattern costs more than its length times the value's), "!~x" its opposite. A label that
 * an alert does not have is "".
 */
struct md_notify_matchers;

enum md_status md_notify_matchers_new(const struct md_alert_label *texts, int count,
                                      struct md_notify_matchers **matchers, struct md_error *err);
void md_notify_matchers_delete(struct md_notify_matchers *matchers);
/* NULL matches everything. */
bool md_notify_matchers_match(const struct md_notify_matchers *matchers,
                              const struct md_alert_label *labels, int count);
int md_notify_matchers_count(const struct md_notify_matchers *matchers);
/* As they were given; borrowed. */
struct md_alert_label md_notify_matchers_text(const struct md_notify_matchers *matchers, int index);

/* ---- settings -------------------------------------------------------------------------------- */

enum md_notify_kind { MD_NOTIFY_ALERTMANAGER, MD_NOTIFY_WEBHOOK, MD_NOTIFY_FILE, MD_NOTIFY_STDOUT };

struct md_notify_match {
    int count;
    const struct md_alert_label *texts;
};

struct md_notify_receiver {
    const char *name;   /* for people, metrics, and the webhook's field "receiver" */
    const char *target; /* unique: what queue and memory belong to; an Alertmanager receiver of
                           several URLs is several targets of one name */
    enum md_notify_kind kind;
    const char *url;  /* Alertmanager: without /api/v2/alerts; FILE: the path */
    int header_count; /* "Name: value" */
    const char *const *headers;
    int timeout_ms;               /* of one attempt */
    struct md_notify_match match; /* only these alerts */
    bool send_resolved;
    int64_t resend_ms;           /* ALERTMANAGER */
    int group_by_count;          /* WEBHOOK; none: one group for all */
    const char *const *group_by; /* "..." alone: each alert by itself */
    int64_t group_wait_ms, group_interval_ms, repeat_ms;
    int alerts_max; /* WEBHOOK: in one message; what is over it is counted in truncatedAlerts; 0:
                       all */
};

struct md_notify_inhibition {
    struct md_notify_match source, target;
    int equal_count;
    const char *const *equal;
};

/*
 * Every week, on each day of `days` by the wall clock of its zone: from from_min to to_min (minutes
 * of the day, 1440 its end); when to_min <= from_min, to the next day's to_min. A time that a
 * change of clocks skips is the moment of the change, one that comes twice the first of the two.
 */
struct md_notify_window {
    const char *name;
    unsigned days; /* bit 0: Monday */
    int from_min, to_min;
    const char *timezone; /* base/timezone.h */
    struct md_notify_match match;
};

struct md_notify_settings {
    int receiver_count;
    const struct md_notify_receiver *receivers;
    int inhibition_count;
    const struct md_notify_inhibition *inhibitions;
    int window_count;
    const struct md_notify_window *windows;
    const char *external_url; /* where people reach this service; "" */
};

struct md_notify_config;

/* Copies and checks; a mistake names its place ("receivers[2]: ..."). */
enum md_status md_notify_config_new(const struct md_notify_settings *settings,
                                    struct md_notify_config **config, struct md_error *err);
struct md_notify_config *md_notify_config_ref(struct md_notify_config *config);
void md_notify_config_unref(struct md_notify_config *config);
/* As they were given, for as long as the config lives. */
const struct md_notify_settings *md_notify_config_settings(const struct md_notify_config *config);
/* The window's latest opening at or before a moment: [begin_ms, end_ms) when it is open then. */
bool md_notify_window_open(const struct md_notify_config *config, int window, int64_t at_ms,
                           int64_t *begin_ms, int64_t *end_ms);

/* ---- alerts in, messages out ----------------------------------------------------------------- */

/* A firing or resolved alert. Labels sorted by name, at least alertname. */
struct md_notify_alert {
    uint64_t fingerprint;
    int64_t fired_ms, resolved_ms; /* resolved_ms 0: firing */
    int64_t step_ms;               /* how often it is evaluated */
    int label_count, annotation_count;
    const struct md_alert_label *labels, *annotations;
};

struct md_notify_message {
    int receiver;    /* in the config */
    const char *key; /* idempotency key: no other message ever has it */
    int alert_count;
    const char *body; /* JSON, of FILE and STDOUT an object a line */
    size_t body_length;
};

struct md_notify_sink {
    void *context;
    /* How many messages to this receiver have not been delivered yet: with any, nothing that was
     * told before is told again. */
    int (*pending)(void *context, int receiver);
    /* Takes a message (borrowed). */
    enum md_status (*message)(void *context, const struct md_notify_message *message,
                              struct md_error *err);
};

struct md_notify;

enum md_status md_notify_new(struct md_notify **notify, struct md_error *err);
void md_notify_delete(struct md_notify *notify);
/* Takes a reference. What was told to targets that are no longer there is forgotten. */
enum md_status md_notify_set_config(struct md_notify *notify, struct md_notify_config *config,
                                    struct md_error *err);
/*
 * All alerts that fire or have resolved lately, at now_ms; a count of -1: they are as they were at
 * the last step. One that fired before and is not among them counts as resolved now. `changed` (may
 * be NULL): the memory is another one afterwards. After a failure (memory, a sink that refuses)
 * some alerts may not have been told; the next step does.
 */
enum md_status md_notify_step(struct md_notify *notify, int64_t now_ms,
                              const struct md_notify_alert *alerts, int count,
                              const struct md_notify_sink *sink, bool *changed,
                              struct md_error *err);
/* When the next step is due if no alert changes; at most a minute ahead. */
int64_t md_notify_next_ms(const struct md_notify *notify, int64_t now_ms);

/* Why an alert was not sent, as of the last step. */
struct md_notify_suppression {
    char silenced_by[MD_NOTIFY_ID_BYTES]; /* a silence's id; "" */
    uint64_t inhibited_by;                /* a fingerprint; 0 */
    char maintenance[64];                 /* a window's name; "" */
};
/* False: nothing suppresses it. */
bool md_notify_suppressed(const struct md_notify *notify, uint64_t fingerprint,
                          struct md_notify_suppression *why);

/* ---- silences -------------------------------------------------------------------------------- */

struct md_notify_silence {
    char id[MD_NOTIFY_ID_BYTES];
    const struct md_notify_matchers *matchers;
    int64_t starts_ms, ends_ms, updated_ms;
    const char *author, *comment;
};

/*
 * Adds one; takes the matchers over when it succeeds. MD_ERR_UNPROCESSABLE: no matcher, or only
 * such that match everything; an end that is not after both the start and now. MD_ERR_TOO_LARGE:
 * too many.
 */
enum md_status md_notify_silence_add(struct md_notify *notify, struct md_notify_silence *silence,
                                     int64_t now_ms, struct md_error *err);
/* Ends it now. MD_ERR_NOT_FOUND; MD_ERR_CONFLICT: it has ended before. */
enum md_status md_notify_silence_expire(struct md_notify *notify, const char *id, int64_t now_ms,
                                        struct md_error *err);
/* Newest first. A `visit` that is false ends it. */
void md_notify_silence_visit(const struct md_notify *notify,
                             bool (*visit)(void *context, const struct md_notify_silence *silence),
                             void *context);

/* ---- memory ---------------------------------------------------------------------------------- */

enum md_status md_notify_save(const struct md_notify *notify, struct md_buffer *bytes,
                              struct md_error *err);
/* Into a new one, before its config is set. MD_ERR_CORRUPT: it stays empty. */
enum md_status md_notify_restore(struct md_notify *notify, const void *bytes, size_t length,
                                 struct md_error *err);

#endif
