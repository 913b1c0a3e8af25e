/*
 * Tasks: one coroutine run from its first instruction to its end, with waits in between.
 *
 *     md__task_run      `prepare` pushes the function and its arguments, which a coroutine runs to
 *                       its end; during every wait the state is given away
 *     md__task_end      undoes what the task still holds, whatever happened
 *
 * A task runs on md_stack_call's stack: its own thread may have too little of it.
 *
 * Only md__task_run lets the state go; otherwise the caller owns it. Everything that can raise runs
 * protected on the state's main thread: results of a wait are pushed there and moved over, because
 * an error on a coroutine that is not running has nobody to catch it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/blocking.h"
#include "base/log.h"
#include "base/span.h"
#include "base/stack.h"
#include "script/generation.h"

/* Values that a wait may push: what a yielded C function's frame is sure to have room for. */
enum { RESULTS_MAX = 8, WAITS_LATE_MAX = 8, TRACE_BYTES_MAX = 1024 };

/* How long a script may take to end once it is told to. */
static const int64_t obedience_ns = 2000000000;

/* What a task may leave behind before its state is cleaned: a big forecast would otherwise stay
 * until the collector's next cycle, in every state that has ever made one. */
static const int64_t worth_collecting = 16 << 20;

/* Lua objects of one task that the next should not have to collect: at least so many bytes, and
 * such a part of all there are. */
enum { LITTER_BYTES_MIN = 64 << 10, LITTER_SHARE = 8 };

/* ---- holds ----------------------------------------------------------------------------------- */

void md__hold(lua_State *L, struct md__hold *hold)
{
    struct md__task *task = md__state(L)->task;
    if (task == NULL)
        luaL_error(L, "only possible in a request, a timer or a tick");
    hold->next = task->holds;
    hold->previous = &task->holds;
    if (hold->next != NULL)
        hold->next->previous = &hold->next;
    task->holds = hold;
}

void md__unhold(struct md__hold *hold)
{
    if (hold->previous == NULL)
        return;
    *hold->previous = hold->next;
    if (hold->next != NULL)
        hold->next->previous = hold->previous;
    hold->previous = NULL;
    hold->next = NULL;
}

static void drop_wait(struct md__task *task)
{
    struct md_wait *wait = task->wait;
    task->wait = NULL;
    if (wait != NULL && wait->drop != NULL)
        wait->drop(wait);
}

/* ---- begin and end --------------------------------------------------------------------------- */

struct beginning {
    struct md__task *task;
    lua_CFunction prepare;
    void *argument;
};

/* Anchored in the registry under its own address until forget. */
static lua_State *new_coroutine(lua_State *L)
{
    lua_State *co = lua_newthread(L);
    lua_pushlightuserdata(L, co);
    lua_insert(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return co;
}

/* One that has run to its end, its task too, runs the next function like a new one. */
static lua_State *take_coroutine(lua_State *L)
{
    struct md__state *state = md__state(L);
    lua_State *co = state->idle;
    state->idle = NULL;
    return co != NULL ? co : new_coroutine(L);
}

static int begin(lua_State *L)
{
    struct beginning *beginning = lua_touserdata(L, 1);
    struct md__task *task = beginning->task;
    task->co = take_coroutine(L);
    lua_settop(L, 0);
    lua_pushlightuserdata(L, beginning->argument);
    int count = beginning->prepare(L);
    if (count > RESULTS_MAX)
        return luaL_error(L, "a task takes at most %d values", RESULTS_MAX);
    lua_xmove(L, task->co, count);
    task->arguments = count - 1; /* the function itself is not one */
    return 0;
}

/* From here to slice_end Lua runs, on the task's account. */
static void slice_begin(struct md__task *task)
{
    md__budget_begin_at(task->state, task->budget_ns, task->now_ns);
    task->lua_ns -= task->now_ns;
    md__state_slice_begin(task->state, task);
}

/* Notes when the task was stopped for its time, whatever it made of that. */
static void slice_end(struct md__task *task)
{
    struct md__state *state = task->state;
    task->now_ns = md_monotonic_ns(state->script->clock);
    md__state_slice_end(state);
    task->lua_ns += task->now_ns;
    task->stubborn |= state->expired && task->now_ns - state->budget_end_ns > obedience_ns;
    task->killed |= md__budget_end(state);
}

/* What says something about the script; that a row was not found does not. */
static enum md_status note_failure(struct md__task *task, enum md_status status)
{
    task->failed_memory |= status == MD_ERR_MEMORY;
    task->failed |= status == MD_ERR_MEMORY || status == MD_ERR_SCRIPT || status == MD_ERR_INTERNAL;
    return status;
}

static enum md_status fail_killed(struct md__task *task, struct md_error *err)
{
    const char *place = task->state->stopped_at;
    if (md__is_interrupted(task->state)) {
        md_fail(err, MD_ERR_CANCELLED, "%s%sinterrupted", place, place[0] != '\0' ? ": " : "");
        return note_failure(task, MD_ERR_CANCELLED);
    }
    md_fail(err, MD_ERR_SCRIPT, "%s%s%s of %d ms", place, place[0] != '\0' ? ": " : "",
            md__spent_text, (int)(task->budget_ns / 1000000));
    return note_failure(task, MD_ERR_SCRIPT);
}

/* ---- leaving Lua in the middle --------------------------------------------------------------- */

void md__state_escape(struct md__state *state)
{
    state->dead = true;
    longjmp(state->escape, 1);
}

static enum md_status fail_escaped(struct md__task *task, struct md_error *err)
{
    md_fail(err, MD_ERR_MEMORY, "not enough memory for the script, by far");
    return note_failure(task, MD_ERR_MEMORY);
}

/* Protected calls and resumptions of tasks, which return here even when they do not return. Slices
 * that follow each other share a reading of the clock. */
static int enter(struct md__task *task, int (*run)(struct md__task *task, void *argument),
                 void *argument)
{
    struct md__state *state = task->state;
    struct md__state *before = md__state_running(state);
    volatile int result = 0;
    if (task->now_ns == 0)
        task->now_ns = md_monotonic_ns(state->script->clock);
    int span = md_span_begin_at("lua", task->now_ns);
    slice_begin(task);
    state->can_escape = true;
    if (setjmp(state->escape) == 0)
        result = run(task, argument);
    state->can_escape = false;
    slice_end(task);
    md_span_end_at(span, task->now_ns);
    md__state_running(before);
    return result;
}

struct protected_call {
    lua_CFunction function;
    void *argument;
    struct md_error *err;
};

static int run_protected(struct md__task *task, void *argument)
{
    const struct protected_call *call = argument;
    return (int)md__protect(task->state, call->function, call->argument, call->err);
}

enum md_status md__task_protect(struct md__task *task, lua_CFunction function, void *argument,
                                struct md_error *err)
{
    struct protected_call call = {function, argument, err};
    enum md_status status = (enum md_status)enter(task, run_protected, &call);
    if (task->state->dead)
        return fail_escaped(task, err);
    if (task->killed)
        return fail_killed(task, err);
    return note_failure(task, status);
}

static int forget(lua_State *L)
{
    lua_pushnil(L);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return 0;
}

/* Keeps the task's coroutine for the next one, if nothing of the task is left in it. */
static void leave_coroutine(struct md__task *task)
{
    struct md__state *state = task->state;
    lua_State *co = task->co;
    if (co == NULL || state->dead)
        return;
    if (lua_status(co) == 0 && !task->failed && !task->killed && state->idle == NULL) {
        lua_settop(co, 0);
        state->idle = co;
    } else {
        md__protect_ours(state, forget, co);
    }
}

static void count(const struct md__task *task)
{
    bool killed = task->killed || task->failed_memory;
    if (killed)
        md__metric_killed(task->what, task->killed ? "time" : "memory");
    struct md__hook_stat *stat = task->stat;
    if (stat == NULL)
        return;
    atomic_fetch_add(&stat->calls, 1);
    if (task->failed)
        atomic_fetch_add(&stat->errors, 1);
    if (killed)
        atomic_fetch_add(&stat->kills, 1);
    atomic_fetch_add(&stat->lua_ns_total, task->lua_ns);
    md__hook_raise(&stat->lua_ns_max, task->lua_ns);
    md__hook_raise(&stat->bytes_peak, task->bytes_peak);
}

static bool has_littered(const struct md__task *task)
{
    const struct md__state *state = task->state;
    size_t heap = state->bytes_used - state->bytes_charged;
    return task->bytes > worth_collecting ||
           (task->allocated > LITTER_BYTES_MIN && task->allocated > heap / LITTER_SHARE);
}

/* What the task leaves behind. */
static void clean(struct md__task *task)
{
    struct md__state *state = task->state;
    if (task->stubborn)
        md__state_retire(state, "a script did not end when it had to");
    else if (task->killed || task->failed_memory || state->deep)
        md__state_recover(state);
    else if (state->pool != NULL)
        state->littered |= has_littered(task); /* the answer goes first */
    else if (task->bytes > worth_collecting)
        md__state_collect(state);
}

void md__task_end(struct md__task *task)
{
    drop_wait(task);
    while (task->holds != NULL) {
        struct md__hold *hold = task->holds;
        md__unhold(hold);
        hold->release(hold);
    }
    md__state_task_end(task->state, task);
    leave_coroutine(task);
    free(task->trace);
    count(task);
    clean(task);
}

/* ---- waiting --------------------------------------------------------------------------------- */

static const char *why_not_wait(lua_State *L, struct md__state *state)
{
    if (state->loading)
        return "cannot wait while loading";
    if (state->task == NULL)
        return "can wait only in a request, a timer or a tick";
    if (state->task->co != L)
        return "cannot wait inside a coroutine of the script's own";
    if (!md__stream_may_wait(state->task->stream))
        return "the stream is closed: its function must return";
    if (!lua_isyieldable(L))
        return "cannot wait inside a function that C code calls (string.gsub's, for example)";
    if (state->expired)
        return md__spent_text;
    return NULL;
}

/* A script that goes on waiting after its deadline, when each wait ends at once, would do so for
 * good: every slice between two waits is short. */
static bool is_overdue(struct md__state *state)
{
    struct md__task *task = state->task;
    return task->deadline_ns != 0 && md_monotonic_ns(state->script->clock) > task->deadline_ns &&
           ++task->waits_late > WAITS_LATE_MAX;
}

int md__wait_true(lua_State *L, struct md_wait *wait)
{
    (void)wait;
    lua_pushboolean(L, 1);
    return 1;
}

void md__wait_free(struct md_wait *wait)
{
    free(wait);
}

int md__yield(lua_State *L, struct md_wait *wait)
{
    struct md__state *state = md__state(L);
    const char *why = why_not_wait(L, state);
    if (why == NULL && is_overdue(state)) {
        state->expired = true;
        why = md__spent_text;
    }
    if (why != NULL) {
        if (wait->drop != NULL)
            wait->drop(wait);
        return luaL_error(L, "%s", why);
    }
    state->task->wait = wait;
    return lua_yield(L, 0);
}

struct finishing {
    struct md__task *task;
    bool failed;
    struct md_error failure;
};

static int finish(lua_State *L)
{
    struct finishing *finishing = lua_touserdata(L, 1);
    struct md__task *task = finishing->task;
    int count;
    if (finishing->failed)
        count = md__return_error(L, &finishing->failure);
    else
        count = task->wait->finish(L, task->wait);
    if (count > RESULTS_MAX)
        return luaL_error(L, "a wait gives at most %d values", RESULTS_MAX);
    lua_xmove(L, task->co, count);
    task->arguments = count;
    return 0;
}

static const int64_t interrupt_look_ns = 100000000;

/* Where somebody may interrupt, a wait is a row of short ones. */
static enum md_status block(struct md__task *task, struct md_error *err)
{
    struct md__state *state = task->state;
    struct md_wait *wait = task->wait;
    struct md_clock *clock = state->script->clock;
    if (state->interrupted == NULL || wait->once)
        return wait->block(wait, state->script, task->deadline_ns, err);
    for (;;) {
        int64_t until_ns = md_monotonic_ns(clock) + interrupt_look_ns;
        bool last = task->deadline_ns != 0 && task->deadline_ns <= until_ns;
        enum md_status status =
            wait->block(wait, state->script, last ? task->deadline_ns : until_ns, err);
        if (md__is_interrupted(state))
            return md_fail(err, MD_ERR_CANCELLED, "interrupted");
        if (status != MD_ERR_TIMEOUT || last || md_monotonic_ns(clock) < until_ns)
            return status;
    }
}

/* Leaves the state, waits and comes back; how the wait ended is in finishing. */
static enum md_status wait_outside(struct md__task *task, struct finishing *finishing,
                                   struct md_error *err)
{
    struct md__state *state = task->state;
    md__state_leave(state);
    md_blocking_begin();
    int span = md_span_begin("wait");
    finishing->failed = block(task, &finishing->failure) != MD_OK;
    md_span_next(span, "state");
    bool trusted = md__state_enter(state);
    task->now_ns = md_span_end(span);
    if (trusted)
        return MD_OK;
    return md_fail(err, MD_ERR_UNAVAILABLE, "%s: the Lua state that it ran on was given up",
                   task->what);
}

/* ---- running --------------------------------------------------------------------------------- */

static int trace(lua_State *L)
{
    struct md__task *task = lua_touserdata(L, 1);
    luaL_traceback(L, task->co, NULL, 0);
    const char *text = lua_tostring(L, -1);
    task->trace = strndup(text, TRACE_BYTES_MAX - 1);
    return 0;
}

static enum md_status take_failure(struct md__task *task, int lua_status, struct md_error *err)
{
    enum md_status status = note_failure(task, md__take_error(task->co, lua_status, err));
    if (!task->failed_memory)
        md__protect_ours(task->state, trace, task);
    return task->killed ? fail_killed(task, err) : status;
}

static enum md_status fail_yield(struct md__task *task, struct md_error *err)
{
    md_fail(err, MD_ERR_SCRIPT, "coroutine.yield outside of a coroutine");
    return note_failure(task, MD_ERR_SCRIPT);
}

/* Puts values on the coroutine and resumes it with them. */
struct slice {
    lua_CFunction push;
    void *argument;
    enum md_status status; /* of push */
    struct md_error *err;
};

static int run_slice(struct md__task *task, void *argument)
{
    struct slice *slice = argument;
    slice->status = md__protect(task->state, slice->push, slice->argument, slice->err);
    drop_wait(task);
    return slice->status == MD_OK ? lua_resume(task->co, task->arguments) : 0;
}

static enum md_status fail_slice(struct md__task *task, const struct slice *slice, int lua_status,
                                 struct md_error *err)
{
    if (task->state->dead)
        return fail_escaped(task, err);
    if (slice->status == MD_OK && lua_status != 0 && lua_status != LUA_YIELD)
        return take_failure(task, lua_status, err);
    if (task->killed) /* and it may have caught that */
        return fail_killed(task, err);
    return note_failure(task, slice->status);
}

enum md_status md__task_run(struct md__task *task, lua_CFunction prepare, void *argument,
                            struct md_error *err)
{
    struct beginning beginning = {task, prepare, argument};
    struct slice slice = {.push = begin, .argument = &beginning, .err = err};
    struct finishing finishing; /* large, and seldom used */
    finishing.task = task;
    for (;;) {
        int lua_status = enter(task, run_slice, &slice);
        enum md_status status = fail_slice(task, &slice, lua_status, err);
        if (status != MD_OK || lua_status == 0)
            return status;
        if (task->wait == NULL)
            return fail_yield(task, err);
        status = wait_outside(task, &finishing, err);
        if (status != MD_OK)
            return status;
        slice.push = finish;
        slice.argument = &finishing;
    }
}

/* One line: the stack's lines follow the message, innermost first. */
void md__task_log(struct md__task *task, const struct md_error *cause)
{
    md__metric_failed(task->what);
    for (char *at = task->trace; at != NULL && *at != '\0'; at++) {
        if (*at == '\n' || *at == '\t')
            *at = ' ';
    }
    char line[TRACE_BYTES_MAX + sizeof cause->text + 160];
    snprintf(line, sizeof line, "%s: %s%s%s", task->what, cause->text,
             task->trace != NULL ? " | " : "", task->trace != NULL ? task->trace : "");
    md__script_log(task->state->script, MD_LOG_ERROR, line);
}
