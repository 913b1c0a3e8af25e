/*
 * Tasks: one coroutine run on a state, from its first instruction to its end: a request, a timer, a
 * tick. See task.c for how they run, internal.h for what scripts and bindings see of them.
 */
#ifndef MD_SCRIPT_TASK_H
#define MD_SCRIPT_TASK_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct md_wait;
struct md__hook_stat;
struct md__http_call;
struct md__state;
struct md__stream;

/* Something that must be undone when a task ends, however it ends. Lives in userdata or heap of its
 * owner. */
struct md__hold {
    void (*release)(struct md__hold *hold);
    struct md__hold *next;
    struct md__hold **previous;
};

struct md__task {
    /* Set by whoever begins it: */
    struct md__state *state;
    const char *what;                 /* "GET /risk/{server}", "timer poll": for messages */
    int64_t deadline_ns;              /* for everything; 0: none */
    int64_t budget_ns;                /* of Lua between two waits; 0: none */
    struct md__stream *stream;        /* the event stream that it writes, or NULL */
    const struct md__http_call *call; /* the request that it answers, or NULL */
    int64_t now_ns; /* when the next slice of Lua begins, where that is known; 0: ask the clock */
    /* Kept by task.c, beginning as zeroes: */
    lua_State *co;
    int arguments;        /* values on co for the next resume */
    int64_t bytes;        /* growth charged so far; frees count back */
    struct md_wait *wait; /* pending */
    struct md__hold *holds;
    struct md__hook_stat *stat; /* what is counted for its route or job; NULL: nothing */
    int64_t bytes_peak;
    size_t allocated;    /* bytes of all Lua objects that were made, however short they lived */
    size_t collect_left; /* when so few bytes are left, garbage is collected; 0: not known */
    int64_t lua_ns;      /* spent in Lua so far */
    bool failed, failed_memory;
    bool killed;    /* stopped for its time budget */
    bool stubborn;  /* and it took long to obey */
    bool waits;     /* begun, and not running now */
    int waits_late; /* that it began after its deadline */
    char *trace;    /* after a script error: the stack; NULL: none */
};

/*
 * See task.c. `prepare` runs protected with argument as light userdata 1, the only value of its
 * stack, and returns the function to run and its arguments, at most 8 values. MD_OK: the results
 * are all that is on task->co's stack.
 */
enum md_status md__task_run(struct md__task *task, lua_CFunction prepare, void *argument,
                            struct md_error *err);
/* md__protect on the task's state, under the task's budget and memory cap. */
enum md_status md__task_protect(struct md__task *task, lua_CFunction function, void *argument,
                                struct md_error *err);
void md__task_end(struct md__task *task);
/* Logs and counts a failure of the task, with its stack. */
void md__task_log(struct md__task *task, const struct md_error *cause);

/* Registers a hold with the running task; unregister when done early. Without a task: raises. */
void md__hold(lua_State *L, struct md__hold *hold);
void md__unhold(struct md__hold *hold);

#endif
