/*
 * Where the time of a request goes: *stages*, named by constant strings, nested.
 *
 *     int span = md_span_begin("lua");
 *     ...
 *     md_span_end(span);        also ends whatever was begun inside and left by a longjmp
 *
 * Two readers. A *trace* is one request's stages with times; while a thread has one
 * (md_trace_begin) every stage is written into it, and when it ends it goes into a bounded ring of
 * recent requests, from which it can be asked for by id. The *stage stack* of a thread is kept even
 * without a trace: a thread that takes a profile (profile.h) reads it to learn what is done.
 *
 * Cost: without a trace two stores to thread-local memory, with one a reading of the clock at each
 * end. The clock is dearer than all the rest, so where one stage begins as another ends the reading
 * is passed on (md_span_begin_at, md_span_end_at). Nothing allocates, locks or fails; what is over
 * a bound is left out, and the trace says so.
 */
#ifndef MD_BASE_SPAN_H
#define MD_BASE_SPAN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

#define MD_SPAN_DEPTH_MAX   16
#define MD_TRACE_SPANS_MAX  24
#define MD_TRACE_RECENT_MAX 512 /* traces that are kept, and of those that were slow or failed: */
#define MD_TRACE_SLOW_MAX   64
#define MD_TRACE_SLOW_NS    INT64_C(250000000)

struct md_span {
    const char *name;         /* static */
    int depth;                /* 0: of the request itself */
    int64_t begin_ns, end_ns; /* of the trace's clock; end_ns 0: it never ended */
};

struct md_trace {
    uint64_t id;
    struct md_clock *clock;
    int64_t begin_ms;         /* wall time */
    int64_t begin_ns, end_ns; /* monotonic */
    int status;               /* HTTP */
    int count;
    bool cut; /* there were more than MD_TRACE_SPANS_MAX spans */
    char what[100];
    struct md_span spans[MD_TRACE_SPANS_MAX]; /* in the order of their beginnings */
};

/* What the calling thread is doing. Other threads read depth, then the names below it. */
struct md_stages {
    struct md_trace *trace; /* NULL: times are not wanted */
    _Atomic bool wanted;    /* the profiler asks for what lies below: profile.h */
    _Atomic bool lent;      /* another thread goes on with them: stack.c */
    bool known;             /* in the list of md_stages_visit */
    struct md_stages *next, **previous;
    _Atomic int depth; /* may exceed MD_SPAN_DEPTH_MAX: those stages have no names */
    struct {
        const char *_Atomic name;
        int span; /* in trace; -1: none */
    } levels[MD_SPAN_DEPTH_MAX];
};
extern _Thread_local struct md_stages md_stages;

/*
 * From here on the thread's stages belong to this request; the trace is the caller's memory, which
 * must stay until md_trace_end. begin_ns: when it began by this clock.
 */
void md_trace_begin(struct md_trace *trace, uint64_t id, struct md_clock *clock, int64_t begin_ns);
/* A request that waits for its client has no thread: its trace leaves this one, between stages, and
 * enters the one that goes on. */
static inline void md_trace_leave(void);
static inline void md_trace_enter(struct md_trace *trace);
/* Ends it, which happened at end_ns, and keeps a copy for md_trace_find. */
void md_trace_end(struct md_trace *trace, int64_t end_ns, const char *method, const char *path,
                  int status);

/* Copies of what is kept, from any thread. */
bool md_trace_find(uint64_t id, struct md_trace *copy);
/* Newest first; returns how many, at most max. slow: only those that were slow or failed. */
int md_trace_recent(struct md_trace *copies, int max, bool slow);

/* This thread goes on with the stages of one that waits for it, until md_stages_give_back. */
void md_stages_borrow(struct md_stages *owner);
void md_stages_give_back(struct md_stages *owner);

/* Calls visit for every thread that has had a stage and has not ended. No thread ends meanwhile. */
void md_stages_visit(void (*visit)(struct md_stages *stages, void *context), void *context);
void md__stages_know(struct md_stages *stages);

int md__span_open(struct md_trace *trace, const char *name, int depth, int64_t now_ns);
/* Ends what is begun at level and deeper. */
void md__span_close(struct md_stages *stages, int level, int64_t now_ns);

static inline int md__stages_depth(const struct md_stages *stages)
{
    return atomic_load_explicit(&stages->depth, memory_order_acquire);
}

/* Whoever sees the depth sees the names below it. */
static inline void md__stages_set_depth(struct md_stages *stages, int depth)
{
    atomic_store_explicit(&stages->depth, depth, memory_order_release);
}

/* Begins a stage inside the present one; now_ns is what the trace's clock shows. */
static inline int md_span_begin_at(const char *name, int64_t now_ns)
{
    struct md_stages *stages = &md_stages;
    int level = md__stages_depth(stages);
    if (!stages->known)
        md__stages_know(stages);
    if (level < MD_SPAN_DEPTH_MAX) {
        atomic_store_explicit(&stages->levels[level].name, name, memory_order_relaxed);
        stages->levels[level].span =
            stages->trace != NULL ? md__span_open(stages->trace, name, level, now_ns) : -1;
    }
    md__stages_set_depth(stages, level + 1);
    return level;
}

static inline void md_trace_leave(void)
{
    md_stages.trace = NULL;
    md__stages_set_depth(&md_stages, 0);
}

static inline void md_trace_enter(struct md_trace *trace)
{
    md__stages_set_depth(&md_stages, 0);
    md_stages.trace = trace;
}

static inline void md_span_end_at(int level, int64_t now_ns)
{
    struct md_stages *stages = &md_stages;
    if (stages->trace != NULL)
        md__span_close(stages, level, now_ns);
    md__stages_set_depth(stages, level);
}

static inline int64_t md__span_now(void)
{
    return md_stages.trace != NULL ? md_monotonic_ns(md_stages.trace->clock) : 0;
}

static inline int md_span_begin(const char *name)
{
    return md_span_begin_at(name, md__span_now());
}

/* Returns when; 0 without a trace. */
static inline int64_t md_span_end(int level)
{
    int64_t now_ns = md__span_now();
    md_span_end_at(level, now_ns);
    return now_ns;
}

/* Ends this stage and begins another in its place. */
static inline void md_span_next(int level, const char *name)
{
    md_span_begin_at(name, md_span_end(level));
}

/* A stage inside the present one that was measured elsewhere: another thread ran it. */
void md_span_mark(const char *name, int64_t begin_ns, int64_t end_ns);

#endif
