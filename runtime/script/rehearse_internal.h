/*
 * Inside a rehearsal.
 *
 *     rehearse_request.c     what is asked
 *     rehearse_set.c         a folder's rules and functions in a scratch state
 *     rehearse_run.c         frames through alert/rehearse.h, and the report
 *     rehearse_recorded.c    what was recorded, told to it
 *     rehearse.c             whose rules
 *     rehearse_background.c  one at a time; by itself, after a change of rules
 */
#ifndef MD_SCRIPT_REHEARSE_INTERNAL_H
#define MD_SCRIPT_REHEARSE_INTERNAL_H

#include "alert/rehearse.h"
#include "script/alerts.h"
#include "script/rehearse.h"

/* ---- requests -------------------------------------------------------------------------------- */

struct md__rehearse_request {
    struct json_t *root; /* texts below are its */
    const char *since, *until, *path, *rule;
    struct json_t *scripts; /* NULL: none */
    bool is_recorded, plots, same;
    int bins;
    int64_t budget_ns;
};
enum md_status md__rehearse_request_read(const struct md_rehearse_call *call,
                                         struct md__rehearse_request *request,
                                         struct md_error *err);
void md__rehearse_request_fini(struct md__rehearse_request *request);
/* since and until as times. */
enum md_status md__rehearse_period(const struct md__rehearse_request *request, int64_t now_ms,
                                   const struct md_timezone *zone, int64_t *since_ms,
                                   int64_t *until_ms, struct md_error *err);

/* ---- sets ------------------------------------------------------------------------------------ */

/* A folder's rules, loaded as `moondial check` loads it: nothing in it can act. */
struct md__rehearse_set {
    struct md_script script; /* a stand-in, so that nothing reaches the one that serves */
    struct md_generation generation;
    struct md__state *state;
    struct md__alert_caller caller;
    struct md_alert_predicate predicate;
    struct md_alert_rules *rules; /* NULL: none */
    bool is_loaded;
};
/* References to config and sources are taken. A zeroed set that was not loaded has no rules. */
enum md_status md__rehearse_set_load(struct md__rehearse_set *set, const struct md_script *owner,
                                     struct md_config *config, struct md__sources *sources,
                                     const char *rule, struct md_error *err);
void md__rehearse_set_fini(struct md__rehearse_set *set);
const char *md__rehearse_set_entity(const struct md__rehearse_set *set); /* NULL: no alerts */
/* The same rules, functions aside. */
bool md__rehearse_rules_equal(const struct md_alert_rules *left,
                              const struct md_alert_rules *right);

/* ---- running --------------------------------------------------------------------------------- */

struct md__rehearse_run {
    const struct md__rehearse_request *request;
    struct md__rehearse_set *fresh, *old;
    struct md_clock *clock;
    const struct md_timezone *zone;
    const char *state; /* the folder of the store */
    int64_t now_ms;    /* 0: where the history ends */
    const _Atomic bool *cancelled;
};
/* Appends members of the report, without braces, and one sentence; either may be NULL. */
enum md_status md__rehearse_run(struct md__rehearse_run *run, struct md_buffer *report,
                                struct md_buffer *sentence, struct md_error *err);
/* rehearse_recorded.c: tells a rehearsal what was recorded. */
struct md__rehearse_recorded {
    const char *entity; /* the label that names a key */
    const char *rule;   /* only this one; NULL: all */
    int64_t until_ms;
};
enum md_status md__rehearse_record(struct md_store *store, struct md_alert_rehearsal *rehearsal,
                                   const struct md__rehearse_recorded *recorded,
                                   struct md_error *err);

/* When the first of the alerts that were firing at until_ms had begun; 0: none was. */
enum md_status md__rehearse_active(struct md_store *store,
                                   const struct md__rehearse_recorded *recorded, int64_t *active_ms,
                                   struct md_error *err);

/* ---- one at a time, and by itself ------------------------------------------------------------ */

/* What runs by itself gives way; MD_ERR_UNAVAILABLE: somebody else's is running. */
enum md_status md__rehearse_begin(struct md_script *script, struct md_error *err);
void md__rehearse_end(struct md_script *script);

#endif
