/*
 * Traces and the rings that keep them. A slot of a ring has a flag that whoever copies in or out
 * holds for the time of the copy; a writer that finds it held drops its trace rather than wait.
 */
#include "base/span.h"

#include "base/stage.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>

_Thread_local struct md_stages md_stages;

/* ---- stages ---------------------------------------------------------------------------------- */

static pthread_mutex_t threads_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t threads_once = PTHREAD_ONCE_INIT;
static pthread_key_t threads_key;
static struct md_stages *threads;

static void thread_ends(void *argument)
{
    struct md_stages *stages = argument;
    pthread_mutex_lock(&threads_lock);
    *stages->previous = stages->next;
    if (stages->next != NULL)
        stages->next->previous = stages->previous;
    stages->known = false;
    pthread_mutex_unlock(&threads_lock);
}

static void make_threads_key(void)
{
    pthread_key_create(&threads_key, thread_ends);
}

void md__stages_know(struct md_stages *stages)
{
    pthread_once(&threads_once, make_threads_key);
    if (pthread_setspecific(threads_key, stages) != 0)
        return; /* nobody would take it out of the list */
    pthread_mutex_lock(&threads_lock);
    stages->next = threads;
    stages->previous = &threads;
    if (threads != NULL)
        threads->previous = &stages->next;
    threads = stages;
    stages->known = true;
    pthread_mutex_unlock(&threads_lock);
}

void md_stages_visit(void (*visit)(struct md_stages *stages, void *context), void *context)
{
    pthread_mutex_lock(&threads_lock);
    for (struct md_stages *stages = threads; stages != NULL; stages = stages->next)
        visit(stages, context);
    pthread_mutex_unlock(&threads_lock);
}

int md__span_open(struct md_trace *trace, const char *name, int depth, int64_t now_ns)
{
    if (trace->count == MD_TRACE_SPANS_MAX) {
        trace->cut = true;
        return -1;
    }
    trace->spans[trace->count] = (struct md_span){.name = name, .depth = depth, .begin_ns = now_ns};
    return trace->count++;
}

void md_stages_borrow(struct md_stages *owner)
{
    int depth = md__stages_depth(owner);
    int count = depth < MD_SPAN_DEPTH_MAX ? depth : MD_SPAN_DEPTH_MAX;
    for (int i = 0; i < count; i++) {
        atomic_store(&md_stages.levels[i].name, atomic_load(&owner->levels[i].name));
        md_stages.levels[i].span = owner->levels[i].span;
    }
    md_stages.trace = owner->trace;
    md__stages_set_depth(&md_stages, depth);
    atomic_store(&owner->lent, true);
}

void md_stages_give_back(struct md_stages *owner)
{
    md_stages.trace = NULL;
    md__stages_set_depth(&md_stages, 0);
    atomic_store(&owner->lent, false);
}

int md_stage_begin(const char *name)
{
    return md_span_begin(name);
}

void md_stage_end(int level)
{
    md_span_end(level);
}

void md__span_close(struct md_stages *stages, int level, int64_t now_ns)
{
    int depth = md__stages_depth(stages);
    int top = depth < MD_SPAN_DEPTH_MAX ? depth : MD_SPAN_DEPTH_MAX;
    for (; level < top; level++) {
        int span = stages->levels[level].span;
        if (span >= 0)
            stages->trace->spans[span].end_ns = now_ns;
    }
}

void md_span_mark(const char *name, int64_t begin_ns, int64_t end_ns)
{
    struct md_trace *trace = md_stages.trace;
    if (trace == NULL)
        return;
    if (trace->count == MD_TRACE_SPANS_MAX) {
        trace->cut = true;
        return;
    }
    trace->spans[trace->count++] = (struct md_span){.name = name,
                                                    .depth = md__stages_depth(&md_stages),
                                                    .begin_ns = begin_ns,
                                                    .end_ns = end_ns};
}

/* ---- rings ----------------------------------------------------------------------------------- */

struct slot {
    atomic_flag held;
    struct md_trace trace; /* id 0: empty */
};

struct ring {
    struct slot *slots;
    unsigned size;
    _Atomic unsigned next;
};

static struct slot recent_slots[MD_TRACE_RECENT_MAX], slow_slots[MD_TRACE_SLOW_MAX];
static struct ring recent = {.slots = recent_slots, .size = MD_TRACE_RECENT_MAX};
static struct ring slow = {.slots = slow_slots, .size = MD_TRACE_SLOW_MAX};

static bool hold(struct slot *slot)
{
    return !atomic_flag_test_and_set_explicit(&slot->held, memory_order_acquire);
}

static void let_go(struct slot *slot)
{
    atomic_flag_clear_explicit(&slot->held, memory_order_release);
}

static void copy_trace(struct md_trace *to, const struct md_trace *from)
{
    memcpy(to, from,
           offsetof(struct md_trace, spans) + (size_t)from->count * sizeof from->spans[0]);
}

static void keep(struct ring *ring, const struct md_trace *trace)
{
    struct slot *slot = &ring->slots[atomic_fetch_add(&ring->next, 1) % ring->size];
    if (!hold(slot))
        return;
    copy_trace(&slot->trace, trace);
    let_go(slot);
}

void md_trace_begin(struct md_trace *trace, uint64_t id, struct md_clock *clock, int64_t begin_ns)
{
    trace->id = id;
    trace->clock = clock;
    trace->begin_ms = md_now_ms(clock);
    trace->begin_ns = begin_ns;
    trace->end_ns = 0;
    trace->status = 0;
    trace->count = 0;
    trace->cut = false;
    trace->what[0] = '\0';
    md_stages.trace = trace;
    md__stages_set_depth(&md_stages, 0);
}

/* snprintf would take a tenth of all that a trace costs. */
static void set_what(struct md_trace *trace, const char *method, const char *path)
{
    char *end = memccpy(trace->what, method, '\0', sizeof trace->what);
    if (end != NULL) {
        size_t room = (size_t)(trace->what + sizeof trace->what - end);
        end[-1] = ' ';
        memccpy(end, path, '\0', room);
    }
    trace->what[sizeof trace->what - 1] = '\0';
}

void md_trace_end(struct md_trace *trace, int64_t end_ns, const char *method, const char *path,
                  int status)
{
    trace->end_ns = end_ns;
    md__span_close(&md_stages, 0, end_ns);
    md__stages_set_depth(&md_stages, 0);
    md_stages.trace = NULL;
    trace->status = status;
    set_what(trace, method, path);
    keep(&recent, trace);
    if (status >= 500 || trace->end_ns - trace->begin_ns >= MD_TRACE_SLOW_NS)
        keep(&slow, trace);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static bool take(struct slot *slot, uint64_t id, struct md_trace *copy)
{
    if (!hold(slot)) /* being written: too new to be asked for */
        return false;
    bool found = slot->trace.id != 0 && (id == 0 || slot->trace.id == id);
    if (found)
        copy_trace(copy, &slot->trace);
    let_go(slot);
    return found;
}

static bool find(struct ring *ring, uint64_t id, struct md_trace *copy)
{
    for (unsigned i = 0; i < ring->size; i++) {
        if (take(&ring->slots[i], id, copy))
            return true;
    }
    return false;
}

bool md_trace_find(uint64_t id, struct md_trace *copy)
{
    return id != 0 && (find(&recent, id, copy) || find(&slow, id, copy));
}

int md_trace_recent(struct md_trace *copies, int max, bool only_slow)
{
    struct ring *ring = only_slow ? &slow : &recent;
    unsigned next = atomic_load(&ring->next);
    int count = 0;
    for (unsigned i = 1; i <= ring->size && count < max; i++)
        count += take(&ring->slots[(next - i) % ring->size], 0, &copies[count]);
    return count;
}
