/* Inside the notifier's pure part: its records, and what its files share. See notify.h. */
#ifndef MD_ALERT_NOTIFY_INTERNAL_H
#define MD_ALERT_NOTIFY_INTERNAL_H

#include "alert/notify.h"
#include "base/arena.h"
#include "base/timezone.h"

/* ---- settings, compiled (notify_config.c) ---------------------------------------------------- */

struct md_notify_config {
    _Atomic int refs;
    struct md_arena arena;
    struct md_notify_settings settings;           /* copies in the arena */
    struct md_notify_matchers **match;            /* of receivers */
    struct md_notify_matchers **source, **target; /* of inhibitions */
    struct md_notify_matchers **window;
    struct md_timezone **zones; /* of windows */
};

/* ---- memory ---------------------------------------------------------------------------------- */

/* An alert as it was last seen, with texts of its own. */
struct md__notify_record {
    struct md_notify_alert alert;
    void *memory; /* what the alert's pointers point into */
    bool seen;    /* by the step in progress */
    bool is_suppressed;
    struct md_notify_suppression why;
};

/* What a direct receiver was told. */
struct md__notify_mark {
    uint64_t fingerprint;
    int64_t fired_ms; /* which firing of it */
    int64_t sent_ms;
    bool resolved; /* its end as well */
};

struct md__notify_member {
    uint64_t fingerprint;
    bool told;  /* the receiver heard that it fires, and not yet that it ended */
    bool noted; /* it was among the firing ones of the last message */
    bool fits;  /* this step found that it belongs here; not kept */
};

struct md__notify_group {
    char *key;           /* as Alertmanager writes it: {}/{severity="critical"}:{alertname="x"} */
    uint64_t hash;       /* of the key */
    int64_t next_ms;     /* its next look */
    int64_t notified_ms; /* its last message; 0: none */
    bool has_flushed;
    int count, capacity;
    struct md__notify_member *members;
};

struct md__notify_target {
    char *name; /* md_notify_receiver.target */
    enum md_notify_kind kind;
    int mark_count, mark_capacity;
    struct md__notify_mark *marks; /* by fingerprint */
    int group_count, group_capacity;
    struct md__notify_group *groups;
};

struct md__notify_silenced {
    struct md_notify_silence silence;
    struct md_notify_matchers *matchers;
    char *author, *comment;
};

struct md_notify {
    struct md_notify_config *config;
    int record_count, record_capacity;
    struct md__notify_record *records; /* by fingerprint */
    int target_count;
    struct md__notify_target *targets; /* with a config: in the order of its receivers */
    int silence_count, silence_capacity;
    struct md__notify_silenced *silences; /* oldest first */
    int64_t sequence;                     /* of messages and silences */
    bool dirty;                           /* the memory has changed since the step began */
};

/* Makes room for one more element; false: no memory. */
bool md__notify_grow(void **array, int count, int *capacity, size_t size);
/* Where a record is, or would be (-1 - index). */
int md__notify_find(const struct md_notify *notify, uint64_t fingerprint);
struct md__notify_record *md__notify_record(const struct md_notify *notify, uint64_t fingerprint);
/* A record with copies of everything. */
bool md__notify_copy(const struct md_notify_alert *alert, struct md__notify_record *record);
void md__notify_target_fini(struct md__notify_target *target);
void md__notify_group_fini(struct md__notify_group *group);
void md__notify_silenced_fini(struct md__notify_silenced *silenced);
/* The value of a label, "" when there is none. */
const char *md__notify_label(const struct md_alert_label *labels, int count, const char *name);
/* FNV-1a, 64 bits, over text and its end; begins with MD__NOTIFY_HASH. */
#define MD__NOTIFY_HASH 0xcbf29ce484222325ULL
uint64_t md__notify_hash(uint64_t hash, const char *text);

/* ---- suppression (notify_suppress.c) --------------------------------------------------------- */

/* Finds for every record what suppresses it now; false: no memory. */
bool md__notify_suppress(struct md_notify *notify, int64_t now_ms);

/* ---- messages -------------------------------------------------------------------------------- */

/* The step in progress. */
struct md__notify_plan {
    struct md_notify *notify;
    int64_t now_ms;
    const struct md_notify_sink *sink;
    struct md_error *err;
};

/* notify_direct.c, notify_group.c: what is due for one receiver; its next time. */
enum md_status md__notify_direct(struct md__notify_plan *plan, int receiver);
int64_t md__notify_direct_next(const struct md_notify *notify, int receiver);
enum md_status md__notify_grouped(struct md__notify_plan *plan, int receiver);
int64_t md__notify_grouped_next(const struct md_notify *notify, int receiver);
/* Is it a member of any group? */
bool md__notify_is_grouped(const struct md_notify *notify, uint64_t fingerprint);

/* notify_body.c: the texts. `records` in the order in which they are to stand there. */
void md__notify_body_alertmanager(struct md_buffer *out, const struct md_notify_config *config,
                                  const struct md_notify_receiver *receiver,
                                  const struct md__notify_record *const *records, int count,
                                  int64_t now_ms);
void md__notify_body_lines(struct md_buffer *out, const struct md_notify_config *config,
                           const struct md_notify_receiver *receiver,
                           const struct md__notify_record *const *records, int count,
                           const char *key);
void md__notify_body_webhook(struct md_buffer *out, const struct md_notify_config *config,
                             const struct md_notify_receiver *receiver, const char *group_key,
                             const struct md__notify_record *const *records, int count,
                             int truncated);
/* Which labels group this alert for the receiver. */
int md__notify_group_labels(const struct md_notify_receiver *receiver,
                            const struct md_notify_alert *alert, struct md_alert_label *labels,
                            int size);
/* Hands a finished body to the sink under a new key. */
enum md_status md__notify_emit(struct md__notify_plan *plan, int receiver, const char *key,
                               struct md_buffer *body, int alert_count);
void md__notify_key(struct md__notify_plan *plan, const char *target, const char *group,
                    char key[MD_NOTIFY_KEY_BYTES]);

#endif
