/* Inside the notifier at work: see notifier.h. */
#ifndef MD_ALERT_NOTIFIER_INTERNAL_H
#define MD_ALERT_NOTIFIER_INTERNAL_H

#include <pthread.h>

#include "alert/notifier.h"
#include "base/arena.h"
#include "base/metrics.h"

struct md_notify_snapshot {
    struct md_arena arena;
    int count, capacity;
    struct md_notify_alert *alerts;
};

struct md__message {
    struct md__message *next;
    int64_t id;
    char key[MD_NOTIFY_KEY_BYTES];
    int64_t made_ms;
    int alert_count;
    bool stored;  /* the store has it */
    bool sending; /* its target's thread is at it */
    size_t length;
    char body[];
};

/* One queue and its thread. */
struct md__target {
    struct md__target *next;
    struct md_notifier *notifier;
    char *name;          /* md_notify_receiver.target */
    char *receiver_name; /* for logs and metrics */
    enum md_notify_kind kind;
    struct md_notify_config *config; /* a reference of its own; NULL: not yet in any */
    int receiver;                    /* in config */
    pthread_t thread;
    bool has_thread;
    _Atomic bool stop;
    struct md__message *first, *last;
    int count;
    size_t bytes;
    int attempts;             /* that have failed since the last one that did not */
    int64_t retry_ns;         /* the next attempt, not before */
    int64_t failing_since_ns; /* 0: not failing */
    char failure[200];
};

struct md_notifier {
    struct md_clock *clock;
    struct md_store *store; /* may be NULL */
    pthread_mutex_t lock;   /* guards what follows */
    pthread_cond_t changed; /* messages, settings, news, the end */
    struct md_notify *notify;
    struct md_notify_config *config;
    struct md_notify_snapshot *news; /* not yet looked at */
    struct md__target *targets;      /* in the order of the receivers, once there is a config */
    struct md__target *ended;        /* whose threads are to be joined */
    int64_t next_id;
    int64_t next_ms; /* when to step although nothing happens */
    bool due;        /* step as soon as possible */
    bool unsaved;    /* the store lacks something */
    bool held;       /* its thread takes no step: somebody moves the clock */
    bool stopping;
    pthread_t thread;
    bool has_thread;
};

/* ---- notifier_queue.c ------------------------------------------------------------------------ */

/* A message at the end of a queue. */
enum md_status md__queue_add(struct md__target *target, const char *key, int64_t id,
                             int64_t made_ms, int alert_count, const char *body, size_t length,
                             struct md_error *err);
/* Drops the oldest until the caps hold; returns how many. */
int md__queue_cap(struct md__target *target);
/* Takes it out of the queue; the caller frees it. */
void md__queue_take(struct md__target *target, struct md__message *message);
void md__queue_clear(struct md__target *target);
/* What the store has: queues without threads, and the memory. */
enum md_status md__queue_load(struct md_notifier *notifier, struct md_error *err);
/* Memory and messages that the store lacks, in one transaction. */
void md__queue_save(struct md_notifier *notifier);

struct md__target *md__target_new(struct md_notifier *notifier, const char *name);
void md__target_delete(struct md__target *target);

/* ---- notifier_send.c ------------------------------------------------------------------------- */

/* The thread of a target; ends once target->stop. */
void *md__target_main(void *target);

/* ---- notifier_metrics.c ---------------------------------------------------------------------- */

void md__notifier_count(const char *receiver, const char *outcome, double amount);
void md__notifier_length(const char *receiver, int length);
void md__notifier_took(const char *receiver, double seconds);

#endif
