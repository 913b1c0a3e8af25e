/*
 * The memory of one Lua state. Every byte passes md__allocate, which refuses growth over the
 * state's cap or, while a task runs, over the task's; LuaJIT then raises a clean "not enough
 * memory" and the state stays usable. A task is charged what grows while it runs and credited what
 * is freed meanwhile, whoever made it: over a request that is close to the truth, and it needs no
 * header per object.
 *
 * Reserves. A quarter of a state's memory is kept for its tasks in equal parts: however much others
 * hold while they wait, each task, also one that has yet to begin, can have its part.
 *
 * The collector knows nothing of C memory behind userdata. md__charge counts it against the same
 * caps, and runs the collector when the charges since the last time are worth it or a cap is near;
 * what a request leaves behind is collected when it has been answered (pool.c).
 * For Lua's own memory limits.c runs it at the next checkpoint once the mark that
 * plan_collection sets is passed.
 *
 * Large blocks are in a list, so that a state which is given up in the middle (state.c) can still
 * give most of its memory back. Of small ones each state keeps a few that were freed: what one
 * request leaves behind serves the next, without the C library's bookkeeping.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unwind.h>

#include "script/internal.h"

/* Charged growth that makes a full collection worth its milliseconds, of which a request waits for
 * each one. */
static const size_t gc_debt_max = (size_t)16 << 20;

enum { BYTES_PER_UNIT = 256 }; /* what is allocated and filled while one unit of work is done */
static const size_t large_bytes = (size_t)64 << 10;
/* Size classes of small blocks, and how much a state keeps of each: two megabytes of all at most.
 * The collector frees in bursts, what hundreds of requests have left. */
enum {
    CLASS_BYTES = 16,
    SMALL_BYTES_MAX = CLASS_BYTES * MD__FREED_CLASSES,
    FREED_BYTES_MAX = 65536,
    AHEAD = 4 /* blocks that are brought into the cache before they are asked for */
};
/* After the end of its budget compiled code has so long to reach a checkpoint. */
static const int64_t patience_ns = 1000000000;
static const size_t collect_gap_min = (size_t)64 << 10;

/* ---- compiled code --------------------------------------------------------------------------- */

/* A frame whose code belongs to no file is a compiled trace. */
static _Unwind_Reason_Code look_at_frame(struct _Unwind_Context *context, void *found)
{
    Dl_info file;
    uintptr_t place = _Unwind_GetIP(context);
    *(bool *)found = place != 0 && dladdr((void *)(place - 1), &file) == 0;
    return *(bool *)found ? _URC_END_OF_STACK : _URC_NO_REASON;
}

/* Whether a trace asks for memory now. A trace calls nothing that could run Lua below it, so one
 * that is on this thread's stack is the one that runs. Takes microseconds. */
static bool is_in_trace(const struct md__state *state)
{
    bool found = false;
    if (!state->interpreted)
        _Unwind_Backtrace(look_at_frame, &found);
    return found;
}

/* ---- caps ------------------------------------------------------------------------------------ */

/* Large growth counts as work, and there is none for a script whose time is up: it ends even where
 * no checkpoint comes. */
static bool is_late(struct md__state *state, size_t growth)
{
    state->work += (uint32_t)(growth / BYTES_PER_UNIT);
    if (growth < large_bytes || !md__is_spent(state, 0))
        return false;
    return state->looked_ns - state->budget_end_ns > patience_ns || !is_in_trace(state);
}

void md__state_share(struct md__state *state, int tasks_max)
{
    state->tasks_max = tasks_max;
    state->reserve_bytes = state->bytes_max / 4 / (size_t)tasks_max;
}

/* What the running task must leave to others. */
static size_t kept_for_others(const struct md__state *state)
{
    if (state->tasks_max == 0)
        return 0;
    size_t all = state->reserve_bytes * (size_t)(state->tasks_max - 1);
    return all > state->waiting_kept ? all - state->waiting_kept : 0;
}

/* How much more the running task may use. */
static size_t left_for_task(const struct md__state *state)
{
    const struct md__task *task = state->task;
    int64_t own = (int64_t)state->task_bytes_max - task->bytes;
    int64_t kept = (int64_t)state->reserve_bytes - task->bytes;
    int64_t left = (int64_t)(state->bytes_max - kept_for_others(state));
    left -= (int64_t)state->bytes_used;
    left = left > kept ? left : kept;
    left = left < own ? left : own;
    return left > 0 ? (size_t)left : 0;
}

/* Garbage is to be collected at the next checkpoint. */
static void press(struct md__state *state)
{
    state->pressed = true;
    state->work = state->look_at;
}

/* A task gets its reserve whatever is in use, and more as long as there is. */
static bool is_over_caps(const struct md__state *state, size_t growth)
{
    const struct md__task *task = state->task;
    size_t most = state->bytes_max;
    if (task != NULL) {
        if (growth > state->task_bytes_max ||
            task->bytes > (int64_t)(state->task_bytes_max - growth))
            return true;
        if (task->bytes + (int64_t)growth > (int64_t)state->reserve_bytes)
            most -= kept_for_others(state);
    }
    return growth > most || state->bytes_used > most - growth;
}

static bool is_over(struct md__state *state, size_t growth)
{
    if (state->closing || state->ours)
        return false;
    if (is_late(state, growth))
        return true;
    bool over = is_over_caps(state, growth);
    if (state->task != NULL && (over || state->bytes_used + growth > state->collect_at))
        press(state);
    return over;
}

static size_t heap(const struct md__state *state)
{
    return state->bytes_used - state->bytes_charged;
}

/* One step of compiled code may well ask for as much again as there is, or twice that. */
static bool is_tight(const struct md__state *state, size_t left)
{
    return left / 3 < heap(state) + collect_gap_min;
}

/*
 * Plans when to look what is garbage: compiled code, before memory gets tight (and when it is, code
 * is no longer compiled); the interpreter, when three quarters of what the task may use are used,
 * and after each collection when half of what that left are.
 */
static void plan_collection(struct md__state *state)
{
    struct md__task *task = state->task;
    size_t left = left_for_task(state), step;
    md__state_interpret(state, is_tight(state, left));
    if (task->collect_left == 0)
        task->collect_left = left / 4;
    if (left <= collect_gap_min)
        step = SIZE_MAX / 2; /* too late */
    else if (!state->interpreted)
        step = (left - 3 * heap(state)) / 4;
    else
        step = left > task->collect_left ? left - task->collect_left : 0;
    state->collect_at = state->bytes_used + step;
}

void md__state_relieve(lua_State *L)
{
    struct md__state *state = md__state(L);
    state->pressed = false;
    lua_gc(L, LUA_GCCOLLECT, 0);
    if (state->task == NULL)
        return;
    size_t left = left_for_task(state);
    if (left / 2 < state->task->collect_left)
        state->task->collect_left = left / 2;
    plan_collection(state);
}

/* What a task holds counts while it does not run, from the end of one slice to the next. */
static void set_waiting(struct md__state *state, struct md__task *task, bool waits)
{
    size_t bytes = task->bytes > 0 ? (size_t)task->bytes : 0;
    size_t kept = bytes < state->reserve_bytes ? bytes : state->reserve_bytes;
    if (task->waits == waits)
        return;
    task->waits = waits;
    state->waiting_bytes = waits ? state->waiting_bytes + bytes : state->waiting_bytes - bytes;
    state->waiting_kept = waits ? state->waiting_kept + kept : state->waiting_kept - kept;
}

void md__state_slice_begin(struct md__state *state, struct md__task *task)
{
    set_waiting(state, task, false);
    state->task = task;
    if (state->pressed) /* and no checkpoint came */
        md__state_collect(state);
    plan_collection(state);
}

void md__state_slice_end(struct md__state *state)
{
    set_waiting(state, state->task, true);
    state->task = NULL;
}

void md__state_task_end(struct md__state *state, struct md__task *task)
{
    set_waiting(state, task, false);
}

static void account(struct md__state *state, int64_t change)
{
    struct md__task *task = state->task;
    state->bytes_used = (size_t)((int64_t)state->bytes_used + change);
    if (task == NULL)
        return;
    task->bytes += change;
    if (task->bytes > task->bytes_peak)
        task->bytes_peak = task->bytes;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* In front of a large block; its size keeps what follows aligned. */
struct md__block {
    struct md__block *next, **previous;
};

static void *link_block(struct md__state *state, struct md__block *block)
{
    if (block == NULL)
        return NULL;
    block->next = state->blocks;
    block->previous = &state->blocks;
    if (block->next != NULL)
        block->next->previous = &block->next;
    state->blocks = block;
    return block + 1;
}

static struct md__block *unlink_block(void *memory)
{
    struct md__block *block = (struct md__block *)memory - 1;
    *block->previous = block->next;
    if (block->next != NULL)
        block->next->previous = block->previous;
    return block;
}

static size_t class_of(size_t size)
{
    return (size - 1) / CLASS_BYTES;
}

static size_t class_bytes(size_t size)
{
    return (class_of(size) + 1) * CLASS_BYTES;
}

static void *take(struct md__state *state, size_t size)
{
    if (size >= large_bytes)
        return link_block(state, malloc(sizeof(struct md__block) + size));
    if (size > SMALL_BYTES_MAX)
        return malloc(size);
    struct md__freed *freed = &state->freed[class_of(size)];
    if (freed->count == 0)
        return malloc(class_bytes(size));
    freed->count--;
    if (freed->count >= AHEAD)
        __builtin_prefetch(freed->blocks[freed->count - AHEAD], 1);
    return freed->blocks[freed->count];
}

static bool keep_block(struct md__freed *freed, void *memory, size_t size)
{
    size_t count_max = FREED_BYTES_MAX / class_bytes(size);
    if (freed->blocks == NULL)
        freed->blocks = malloc(count_max * sizeof *freed->blocks);
    if (freed->blocks == NULL || freed->count == count_max)
        return false;
    freed->blocks[freed->count++] = memory;
    return true;
}

static void release(struct md__state *state, void *memory, size_t size)
{
    if (size >= large_bytes)
        free(unlink_block(memory));
    else if (size > SMALL_BYTES_MAX || !keep_block(&state->freed[class_of(size)], memory, size))
        free(memory);
}

/* NULL leaves the old block as it was. */
static void *resize(struct md__state *state, void *memory, size_t old_size, size_t new_size)
{
    bool plain = old_size > SMALL_BYTES_MAX && new_size > SMALL_BYTES_MAX;
    if (plain && old_size < large_bytes && new_size < large_bytes)
        return realloc(memory, new_size);
    void *moved = take(state, new_size);
    if (moved == NULL || old_size == 0)
        return moved;
    memcpy(moved, memory, old_size < new_size ? old_size : new_size);
    release(state, memory, old_size);
    return moved;
}

void *md__allocate(void *context, void *memory, size_t old_size, size_t new_size)
{
    struct md__state *state = context;
    if (new_size == 0) {
        if (old_size > 0)
            release(state, memory, old_size);
        account(state, -(int64_t)old_size);
        return NULL;
    }
    void *moved = NULL;
    if (new_size <= old_size || !is_over(state, new_size - old_size))
        moved = resize(state, memory, old_size, new_size);
    if (moved != NULL) {
        account(state, (int64_t)new_size - (int64_t)old_size);
        if (state->task != NULL && new_size > old_size)
            state->task->allocated += new_size - old_size;
    }
    if (moved == NULL && state->can_escape && is_in_trace(state))
        md__state_escape(state);
    return moved;
}

void md__allocate_end(struct md__state *state)
{
    while (state->blocks != NULL)
        free(unlink_block(state->blocks + 1));
    for (int i = 0; i < MD__FREED_CLASSES; i++) {
        for (size_t k = 0; k < state->freed[i].count; k++)
            free(state->freed[i].blocks[k]);
        free(state->freed[i].blocks);
        state->freed[i] = (struct md__freed){0};
    }
}

/* ---- charges --------------------------------------------------------------------------------- */

static void fail_memory(lua_State *L, const struct md__state *state, size_t bytes)
{
    struct md_error err;
    md_fail(&err, MD_ERR_MEMORY,
            "not enough memory: %.1f MB more, with %.1f MB in use of %.1f MB for a request and "
            "%.1f MB for all",
            (double)bytes / 1e6, (double)state->bytes_used / 1e6,
            (double)state->task_bytes_max / 1e6, (double)state->bytes_max / 1e6);
    md__push_error(L, &err);
    lua_error(L);
}

void md__charge(lua_State *L, size_t bytes)
{
    struct md__state *state = md__state(L);
    md__spend(L, (double)bytes / BYTES_PER_UNIT);
    bool worth = state->gc_debt > gc_debt_max && state->gc_debt > state->bytes_charged / 2;
    if (worth || is_over(state, bytes)) {
        state->gc_debt = 0;
        lua_gc(L, LUA_GCCOLLECT, 0);
    }
    if (is_over(state, bytes))
        fail_memory(L, state, bytes);
    state->gc_debt += bytes;
    state->bytes_charged += bytes;
    account(state, (int64_t)bytes);
}

void md__uncharge(lua_State *L, size_t bytes)
{
    struct md__state *state = md__state(L);
    state->bytes_charged -= bytes;
    account(state, -(int64_t)bytes);
}
