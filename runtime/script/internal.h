/*
 * Inside script/: Lua states, tasks, waiting, and how a binding file takes part.
 *
 * State. One lua_State with its own allocator and byte cap, used by one thread at a time.
 * md__state(L) finds it from any coroutine. Task. One coroutine run on a state: a request, a timer,
 * a tick. While Lua runs, state->task is the running one and memory growth is charged to it;
 * `moondial.native` functions find their deadline there.
 *
 * A binding file. bind_<name>.c defines one `struct md__binding` and has a row in bindings.c. Its
 * functions take everything as checked arguments (misuse raises with luaL_argerror and friends) and
 * return `nil, err` for what can go wrong in operation (md__return_error). Functions that act on
 * the world begin with md__check_acting(L, "md.name").
 *
 * Memory. luaL_error, lua_push* and any allocation may longjmp: own no C memory across them unless
 * a userdata or md__hold keeps it. C memory that Lua objects keep alive is charged (md__charge) and
 * counts against the same caps.
 *
 * Waiting. A function that must block fills a struct md_wait and ends with `return md__yield(L,
 * wait)`. The engine gives the state away, calls block on the connection thread, takes the state
 * back, calls finish to push the results, and resumes the script.
 */
#ifndef MD_SCRIPT_INTERNAL_H
#define MD_SCRIPT_INTERNAL_H

#include <lauxlib.h>
#include <lua.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>

#include "base/log.h"
#include "script/hooks.h"
#include "script/limits.h"
#include "script/script.h"
#include "script/task.h"

struct json_t;
struct md_saver;
struct md_series;
struct md_timezone;
struct md__pool;
struct md__seat;
struct md__sources;
struct md__dicts;
struct md__writers;
struct md__rehearser;
struct md__scheduler;
struct md__stream;
struct md__watcher;
struct md_repl;
struct md__test;
struct md_alert_live;
struct md__alerting;
struct md__notifying;

#define MD_SCRIPT_SERIES_MAX 8

/* ---- the engine, its states and tasks -------------------------------------------------------- */

#define MD__DEGRADED_MAX 32

struct md__degraded {
    char subject[64]; /* "": free */
    char reason[320];
};

/* What an earlier generation was made of. */
#define MD__PAST_MAX 4
struct md__past {
    int number;
    struct md_config *config;
    struct md__sources *sources;
};

/* How a change of scripts ended, for those who ask later. */
struct md__reload_result {
    bool failed;
    char reason[16];
    char text[256]; /* why it failed, "" */
    int64_t at_ms;
    double seconds;
    int attempts, failures; /* since the start */
};

struct md_script {
    char *dir, *lib_dir;
    struct md__sources *library; /* lib_dir's files, the same for all generations */
    struct md_clock *clock;
    struct md_config *config;
    struct md_serve *serve;
    struct md_store *store;
    struct md_timezone *timezone; /* of config.timezone; the core binding's, others borrow it */
    int64_t started_ms;
    pthread_mutex_t lock;   /* guards what follows, down to the series */
    pthread_cond_t stopped; /* also broadcast when generations change hands */
    _Atomic bool stopping;
    _Atomic int64_t end_ns; /* what is still running then is stopped; 0: not yet known */
    struct md_generation *current;
    struct md_generation *retired;      /* the one before, while it lives; no reference */
    int generations_live;               /* being built, current, draining: at most two */
    struct md__past past[MD__PAST_MAX]; /* newest last: what a rollback goes back to */
    int past_count;
    struct md__past refused;       /* what the last rollback took back; sources NULL: nothing */
    int numbers;                   /* given to generations so far; under reloading */
    pthread_mutex_t reloading;     /* one change of generations at a time; taken before lock */
    _Atomic bool rollback_due;     /* the current generation's errors exceed its rate */
    struct md__reload_result last; /* how the last change of scripts ended */
    struct md__stream *streams;    /* open ones, under lock */
    struct md__dicts *dicts;
    int threads;                 /* that one answer may be written by */
    struct md__writers *writers; /* they: writers.h */
    struct md__scheduler *scheduler;
    struct md__watcher *watcher; /* NULL: nobody watches the folder */
    pthread_t housekeeper;
    bool housekeeping;
    struct md__degraded degraded[MD__DEGRADED_MAX]; /* under lock */
    _Atomic int64_t log_second;                     /* of the monotonic clock: log.c */
    _Atomic int log_lines, log_dropped;
    _Atomic bool begun; /* models were loaded or given up, on_start is done */
    /* Tables are only ever added, by the series binding's settle; the first series_count are
     * constant. Those behind them are the generation's that is being built. */
    struct {
        char name[64];
        struct md_series *series;
        struct md_series_limits *wanted; /* by the generation that is being built; or NULL */
    } series[MD_SCRIPT_SERIES_MAX];
    _Atomic int series_count;
    int series_pending;
    struct md_saver *saver; /* writes the series to the store; NULL without one */
    struct md__rehearser *rehearser; /* rehearsals of alert rules; NULL: none yet */
    /* Made by the alerts binding's settle, for the first generation that declares alerts. */
    struct md_alert_live *_Atomic alerts;
    struct md__alerting *alerting;   /* what goes with it: alerts.h */
    struct md__notifying *notifying; /* who is told of them: notify.h */
};

/* Small blocks that were freed lately, of one class of sizes: memory.c. */
#define MD__FREED_CLASSES 32
struct md__freed {
    void **blocks; /* the one freed last is taken first */
    size_t count;
};

enum md__state_kind {
    MD__STATE_REQUEST,   /* of a pool */
    MD__STATE_SCHEDULER, /* timers, ticks */
    MD__STATE_BUILDER,   /* model families */
    MD__STATE_CHECK,     /* moondial check: never acts */
    MD__STATE_REPL,      /* of one session: repl.h */
    MD__STATE_TEST       /* of policy tests: test.h */
};

struct md__state {
    lua_State *L;
    struct md_script *script;
    struct md_generation *generation; /* outlives the state; NULL: a builder's */
    const struct md_config *config;   /* the generation's; NULL: none */
    struct md__sources *sources;      /* of the scripts folder, the generation's; NULL: none */
    enum md__state_kind kind;
    bool loading;     /* files are being loaded: acting calls raise */
    bool closing;     /* lua_close runs: nothing is refused any more */
    bool ours;        /* likewise, while we run something small of our own */
    bool dead;        /* left in the middle: not to be entered again */
    bool interpreted; /* nothing is compiled now */
    bool littered;    /* worth a collection as soon as nobody waits for it: pool.c */
    bool can_escape;  /* escape is where the running task was resumed */
    jmp_buf escape;
    struct md__block *blocks;                  /* large ones: memory.c */
    struct md__freed freed[MD__FREED_CLASSES]; /* small ones, to be used again */
    int runner;                                /* of md__protect, and */
    int handlers;                              /* the handlers of the routes by index, and */
    int request_class;                         /* the metatable of requests, and */
    int request_completer;                     /* what reads all of one: in the registry */
    lua_State *idle;           /* a coroutine for the next task; NULL: it makes one */
    size_t bytes_used;         /* Lua heap and charges */
    size_t bytes_max;          /* cap of the whole state */
    size_t bytes_charged;      /* the part of bytes_used that C objects hold */
    size_t gc_debt;            /* charged since the last collector step for it */
    size_t bytes_base;         /* when its files had been loaded */
    size_t task_bytes_max;     /* cap of one task's growth */
    int tasks_max;             /* that it may have at a time; see memory.c on reserves */
    size_t reserve_bytes;      /* of each of them */
    size_t waiting_bytes;      /* charged to tasks that do not run now */
    size_t waiting_kept;       /* the part of it that lies within their reserves */
    size_t collect_at;         /* bytes_used that call for a collection */
    struct md__task *task;     /* running now, or NULL */
    int64_t budget_end_ns;     /* Lua is stopped after this; 0: no limit */
    int64_t looked_ns;         /* when limits.c last looked at the clock */
    uint32_t work;             /* units of work since then */
    uint32_t look_at;          /* the next look comes at so many */
    uintptr_t stack_low;       /* of the thread that runs it: base/stack.h */
    bool expired;              /* a look has found the budget spent */
    bool pressed;              /* memory runs short: collect at the next checkpoint */
    bool deep;                 /* the C stack was nearly used up */
    char stopped_at[80];       /* "routes.lua:12", where it was stopped first */
    lua_CFunction function;    /* what md__protect is about to call, */
    void *argument;            /* and with what */
    struct md__pool *pool;     /* NULL: not pooled, one thread owns it */
    struct md__seat *seat;     /* its place in the pool */
    struct md_repl *repl;      /* whose state it is; NULL: of no session */
    struct md__test *test;     /* the service that its cases have; NULL: none */
    _Atomic bool *interrupted; /* Lua and waits are to end; NULL: nobody can ask for that */
};

static inline bool md__is_interrupted(const struct md__state *state)
{
    return state->interrupted != NULL && atomic_load(state->interrupted);
}

static inline struct md__state *md__state(lua_State *L)
{
    void *state;
    lua_getallocf(L, &state);
    return state;
}

/* Sleeps real time; false when the engine is being stopped, or the generation (may be NULL) has
 * been replaced for longer than it may drain. */
bool md__script_sleep(struct md_script *script, const struct md_generation *generation, int64_t ns);

/* A line of the log on behalf of a script; lines that come too fast are counted instead. */
void md__script_log(struct md_script *script, enum md_log_level level, const char *text);

/* Says why a subject ("model tft") impairs the service, or with NULL that it no longer does. True:
 * that is news. */
bool md__degraded_set(struct md_script *script, const char *subject, const char *reason);

/* A fresh state with the sandboxed environment and every binding, no script loaded. generation is
 * borrowed; NULL: the state sees the library only. Thread-compatible. */
enum md_status md__state_new(struct md_script *script, struct md_generation *generation,
                             enum md__state_kind kind, struct md__state **state,
                             struct md_error *err);
void md__state_delete(struct md__state *state);
void md__state_collect(struct md__state *state); /* a full collection, protected */
/* Likewise, and gives the next tasks room: the collector leaves them alone until the heap has grown
 * to several times what is left. */
void md__state_sweep(struct md__state *state);
/* Gives a pooled state to others while its task waits, and gets it back; nothing for other kinds.
 */
void md__state_leave(struct md__state *state);
/* False: it was retired meanwhile. The caller has it all the same, to end its task. */
bool md__state_enter(struct md__state *state);
/* Takes a pooled state, which the caller has, out of service and has another one built in its
 * place; its tasks end with MD_ERR_UNAVAILABLE when they come back to it. */
void md__state_retire(struct md__state *state, const char *reason);
bool md__state_is_retired(struct md__state *state);
/* Around what runs on a task's account; and when the task is over. */
void md__state_slice_begin(struct md__state *state, struct md__task *task);
void md__state_slice_end(struct md__state *state);
void md__state_task_end(struct md__state *state, struct md__task *task);
/* A pooled state has so many tasks at a time. */
void md__state_share(struct md__state *state, int tasks_max);
/* memory.c: the allocator of every state, and its end, when Lua is not to free anything more. */
void *md__allocate(void *context, void *memory, size_t old_size, size_t new_size);
void md__allocate_end(struct md__state *state);
/* Whether Lua is interpreted rather than compiled. */
void md__state_interpret(struct md__state *state, bool on);
/* Leaves Lua for good, to where the running task was resumed: see state.c. */
_Noreturn void md__state_escape(struct md__state *state);
/* A full collection, and what follows from it: when the next one is due. */
void md__state_relieve(lua_State *L);
/* After a task was stopped: cleans up, and retires the state when that does not help. */
void md__state_recover(struct md__state *state);

/*
 * Runs function(L) protected, with argument as light userdata 1, on the state's main thread; turns
 * a raised error into a status (MD_ERR_SCRIPT, MD_ERR_MEMORY, or what an error table says).
 */
enum md_status md__protect(struct md__state *state, lua_CFunction function, void *argument,
                           struct md_error *err);

/* Likewise for what must not fail for want of a few bytes: no cap holds meanwhile. */
enum md_status md__protect_ours(struct md__state *state, lua_CFunction function, void *argument);

/* Opening a state (sandbox.c, modules.c, errors.c, bindings.c). */
void md__sandbox_open(lua_State *L);
void md__strings_open(lua_State *L); /* adds find, match, gmatch, gsub to the table on top */
void md__errors_open(lua_State *L);
void md__objects_open(lua_State *L);
void md__bind_all(lua_State *L);
void md__loaded_set(lua_State *L, const char *name); /* require(name) gives the popped value */
int md__require_function(lua_State *L);
extern const char md__environment_key[], md__loaded_key[]; /* in the registry */
/* checkpoint.c: declares the checkpoint in a new state; pushes what every chunk gets as its first
 * two arguments; writes a source text with checkpoints (false: it uses names that begin with md__,
 * which are taken). */
void md__checkpoint_open(lua_State *L);
int md__checkpoint_push(lua_State *L);
bool md__checkpoint_insert(const char *text, size_t length, struct md_buffer *out);
/* Pushes the compiled text, or a message when the result is not 0. */
int md__compile_text(lua_State *L, const char *text, size_t length, const char *chunk_name);
/* Pushes the compiled file, not yet run; raises. */
void md__compile(lua_State *L, struct md__sources *sources, const char *relative);
/* The file of a module, "a/b.lua" or "a/b/init.lua", whichever there is. */
#define MD__MODULE_FILE_MAX 144
bool md__module_find(struct md__sources *sources, const char *name,
                     char relative[MD__MODULE_FILE_MAX]);
/* Pushes the table of the names that scripts can see. */
void md__push_globals(lua_State *L);

/* `moondial.models.gru`, `features`: pushes the module's value, loading its file once; raises. The
 * state's require. */
int md__require(lua_State *L, const char *name);
/* Runs one file and pushes its one result; raises. */
int md__load_file(lua_State *L, struct md__sources *sources, const char *relative);

/* ---- metrics (metrics.c) --------------------------------------------------------------------- */

void md__metric_failed(const char *task);
void md__metric_killed(const char *task, const char *reason);
void md__metric_replaced(const char *reason);
void md__metric_job(const char *job, double seconds);
void md__metric_skipped(const char *job, int64_t count);
void md__metric_lua_bytes(int64_t change);
void md__metric_refused(void);
void md__metric_generations(int live, int current);
void md__metric_reload(const char *result, double seconds); /* "ok", "failed", "unchanged" */
void md__metric_rollback(const char *cause);

/* ---- errors ---------------------------------------------------------------------------------- */

/* Pushes { code = "NOT_FOUND", status = 404, detail = "..." } with a __tostring. */
void md__push_error(lua_State *L, const struct md_error *err);
/* Pushes nil and the error table: `return md__return_error(L, &err);` */
int md__return_error(lua_State *L, const struct md_error *err);
/* Raises "NAME: not while loading" when files are being loaded. */
void md__check_acting(lua_State *L, const char *name);
/* The same for what changes live data, which a session of the REPL must allow first. */
void md__check_changing(lua_State *L, const char *name);
/* In a session that must not change anything? */
bool md__is_private(lua_State *L);
/* Turns the error value on top of the stack (a string, an error table, anything) into err, and pops
 * it. Never raises. */
enum md_status md__take_error(lua_State *L, int lua_status, struct md_error *err);

/* ---- memory ---------------------------------------------------------------------------------- */

/*
 * Charges C memory that a Lua object is about to keep; collects garbage first when a cap is near,
 * raises "not enough memory" when it stays over one. Uncharge in __gc. Both also drive the
 * collector.
 */
void md__charge(lua_State *L, size_t bytes);
void md__uncharge(lua_State *L, size_t bytes);

/* ---- waiting --------------------------------------------------------------------------------- */

struct md_wait {
    /*
     * Blocks until there is a result, the deadline (md_monotonic_ns; 0: none) passes
     * (MD_ERR_TIMEOUT) or it fails. Runs without the state: must not touch Lua. A failure reaches
     * the script as `nil, err`, and finish is not called.
     */
    enum md_status (*block)(struct md_wait *wait, struct md_script *script, int64_t deadline_ns,
                            struct md_error *err);
    /* Pushes the results on L (which is not the coroutine); returns their count, at most 8. May
     * raise. */
    int (*finish)(lua_State *L, struct md_wait *wait);
    /* Releases the wait; called exactly once, last, from any thread that owns the state. */
    void (*drop)(struct md_wait *wait);
    bool once; /* block cannot be called again after MD_ERR_TIMEOUT, to wait on */
};
int md__wait_true(lua_State *L, struct md_wait *wait); /* a finish: true */
void md__wait_free(struct md_wait *wait);              /* a drop: free */

/*
 * Ends a C function that has to wait. Owns the wait from here on, also when it raises (called while
 * loading, or inside a coroutine of the script's own or a C callback such as table.sort, which
 * cannot be left).
 */
int md__yield(lua_State *L, struct md_wait *wait);

/* ---- userdata -------------------------------------------------------------------------------- */

/*
 * A class of userdata. Those with `share` can be put into md.dict and travel between states: share
 * makes a reference to the C object which any thread may hold, push makes a userdata around one.
 */
struct md__class {
    const char *name;                         /* "tensor": for messages */
    const luaL_Reg *methods;                  /* and metamethods, whose names begin with "__" */
    void *(*share)(lua_State *L, int index);  /* a new reference; NULL: cannot be shared */
    void (*push)(lua_State *L, void *object); /* takes its own reference; may raise */
    void (*release)(void *object);            /* drops a reference; any thread */
    size_t (*bytes)(const void *object);      /* what holding it costs */
    /* Appends JSON; decimals < 0: shortest that reads back. NULL: cannot be encoded. May not raise.
     */
    enum md_status (*encode)(lua_State *L, int index, int decimals, struct md_buffer *out,
                             struct md_error *err);
};

/* Makes the metatable of a class in this state: from a binding's bind. */
void md__class_new(lua_State *L, const struct md__class *class);
/* Pushes its methods, for a library file in Lua to add to. */
void md__class_push_methods(lua_State *L, const struct md__class *class);
/* Adds more methods to a class made before in this state. */
void md__class_extend(lua_State *L, const struct md__class *class, const luaL_Reg *methods);
/* A new userdata of size bytes, zeroed, on top of the stack, with the class's metatable. */
void *md__object_new(lua_State *L, const struct md__class *class, size_t size);
/* The userdata at index when it is of this class; raises a type error naming the class. */
void *md__object_check(lua_State *L, int index, const struct md__class *class);
/* Likewise, NULL when it is not. */
void *md__object_test(lua_State *L, int index, const struct md__class *class);
/* The class of the value at index, NULL for what is no object of ours. */
const struct md__class *md__object_class(lua_State *L, int index);

/* Pushes a buffer that the collector frees, for text that is built where errors may be raised. */
struct md_buffer *md__scratch(lua_State *L, size_t bytes_max);

extern const struct md__class
    md__blob_class; /* md.json.blob: share, push and release are those of struct md_blob */

/* ---- JSON ------------------------------------------------------------------------------------ */

/* Appends the value at index as JSON (json_out.c). Never raises. decimals < 0: shortest that reads
 * back. */
enum md_status md__json_write(lua_State *L, int index, int decimals, struct md_buffer *out,
                              struct md_error *err);
/* Parses text (UTF-8, strict) and pushes the value; nothing is pushed on failure. Raises only for
 * memory. */
enum md_status md__json_read(lua_State *L, const char *text, size_t length, struct md_error *err);
/* Pushes a parsed value: objects and arrays as tables; may raise. */
void md__json_push(lua_State *L, struct json_t *value);
/* A number as the writer writes it. */
void md__json_write_number(struct md_buffer *out, double number, int decimals);
extern const char md__json_array_class[]; /* the metatable of marked arrays, in the registry */
/* Pushes md.json.null, which stands for null in what md__json_read makes. */
void md__json_push_null(lua_State *L);

/* ---- bindings -------------------------------------------------------------------------------- */

struct md__binding {
    const char *name;
    /* Once per state: adds functions to the table on top of the stack, which becomes
     * `moondial.native`. */
    void (*bind)(lua_State *L, struct md_script *script);
    /*
     * Once per generation, on its first state, with the validated app description on top of the
     * stack (see lua/moondial/app.lua); may raise, and must not change what the generation before
     * sees. NULL: nothing to declare. Not called by `moondial check`.
     */
    void (*declare)(lua_State *L, struct md_script *script);
    /* Once after each declare: what was declared becomes true just before the generation serves, or
     * (accepted is false) is forgotten; may fail only when accepted. May be NULL. */
    enum md_status (*settle)(struct md_script *script, bool accepted, struct md_error *err);
    /* Once: before the first file is loaded; at the end. May be NULL. */
    enum md_status (*start)(struct md_script *script, struct md_error *err);
    /* About once a second while the engine runs, on a thread of its own. May be NULL. */
    void (*housekeep)(struct md_script *script, int64_t now_ms);
    void (*fini)(struct md_script *script);
};

extern const struct md__binding *const md__bindings[]; /* NULL-terminated: bindings.c */

/* Adds functions to the table at the top of the stack under field `name` (a new table when absent):
 * md.NAME.f */
void md__bind_table(lua_State *L, const char *name, const luaL_Reg *functions);
/* Sets field `name` of the table at the top of the stack; a text that is NULL sets none. */
void md__set_number(lua_State *L, const char *name, double number);
void md__set_text(lua_State *L, const char *name, const char *text);

/* The configuration as one JSON object, borrowed (config.c). */
struct json_t *md__config_values(const struct md_config *config);

/* ---- arguments (args.c): all raise with the argument's position and what was expected ----------
 */

/* Field `name` of the options table at index. The number and text of the wrong-type error name the
 * field. */
const char *md__field_string(lua_State *L, int index, const char *name, const char *otherwise);
double md__field_number(lua_State *L, int index, const char *name, double otherwise);
int64_t md__field_int(lua_State *L, int index, const char *name, int64_t otherwise, int64_t min,
                      int64_t max);
bool md__field_bool(lua_State *L, int index, const char *name, bool otherwise);
/* A time, within 30,000 years of 1970; the length of a step, given in seconds. */
#define MD__MS_MAX 1e15
int64_t md__field_ms(lua_State *L, int index, const char *name, double otherwise);
int64_t md__field_step_ms(lua_State *L, int index, const char *name);
/* Pushes the table; false (nothing pushed) when it is absent. */
bool md__field_table(lua_State *L, int index, const char *name);
/* Required variants: otherwise NULL for strings; NaN for numbers means "raise when absent". */

#endif
