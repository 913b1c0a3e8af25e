/*
 * A generation: one loaded version of the scripts folder. Its app description is read once into C
 * (routes, timers, models, health fields); each of its Lua states has loaded the same files and
 * keeps the functions under the same positions of its own app table.
 *
 * References: the script's `current`, every match, the scheduler. The last one closes the states.
 * A reload makes another generation and swaps `current` (reload.c); what began on the old one ends
 * on the old one. The texts and the configuration that a generation was made of outlive it in the
 * history, which is what a rollback builds from.
 */
#ifndef MD_SCRIPT_GENERATION_H
#define MD_SCRIPT_GENERATION_H

#include "script/hooks.h"
#include "script/internal.h"
#include "script/sources.h"
#include "serve/serve.h"

#define MD__ROUTE_SEGMENTS_MAX 16

struct md__alerts;

struct md__segment {
    const char *text; /* literal, or the name of a parameter */
    bool is_param;
};

struct md__route {
    struct md_route_info info; /* first: a match points at it */
    struct md__hook_stat stat;
    struct md__segment segments[MD__ROUTE_SEGMENTS_MAX];
    int segment_count;
};

enum md__job_kind { MD__JOB_START, MD__JOB_TIMER, MD__JOB_TICK };

/* What the scheduler runs. */
struct md__job {
    enum md__job_kind kind;
    const char *name; /* "timer poll" */
    int index;        /* among app.timers, 1 .. */
    int64_t every_ms; /* a tick's step */
    int64_t grace_ms;
    struct md__hook_stat stat;
};

struct md__model_entry {
    const char *name;
    const char *path;  /* whole: declared ones begin in the scripts folder, or with a slash */
    const char *given; /* as it is declared */
    bool optional;
    struct md_model_profile profile;
};

struct md_generation {
    _Atomic int refs;
    int number;
    struct md_script *script;
    struct md_config *config;    /* as it was when the generation was made */
    struct md__sources *sources; /* of the scripts folder; sealed before it serves */
    char reason[16];             /* "start", "watch", "admin" ... */
    int64_t made_ms;
    _Atomic int64_t served_ns, retired_ns; /* monotonic; 0: not yet */
    _Atomic int64_t calls, errors;         /* of all hooks */
    double error_rate_before;              /* of the generation that it replaced */
    struct md_arena arena;                 /* all text below */
    const char *name, *version;
    const char *health;       /* `"service":"x","running":true` or "" */
    struct md__route *routes; /* most specific first */
    int route_count;
    struct md__job *jobs;
    int job_count;
    struct md__model_entry *models;
    int model_count;
    struct md__alerts *alerts; /* alerts.h; NULL: it declares none */
    struct md__pool *pool;
    int64_t budget_ns, state_wait_ns; /* of a request, from config */
};

/* What a generation is made of. */
struct md__making {
    int number;
    const char *reason;
    struct md_config *config;    /* a reference is taken */
    struct md__sources *sources; /* likewise */
};

/* Compiles, validates, fills the pool. Afterwards the bindings' declarations are pending: settle
 * them with md__generation_settle. */
enum md_status md__generation_new(struct md_script *script, const struct md__making *making,
                                  struct md_generation **generation, struct md_error *err);
enum md_status md__generation_settle(struct md_script *script, bool accepted, struct md_error *err);
struct md_generation *md__generation_ref(struct md_generation *generation);
void md__generation_unref(struct md_generation *generation);
/* The current one, with a reference. */
struct md_generation *md__generation_current(struct md_script *script);
/* It was replaced longer ago than drain_ms_max: what waits in it gives up. */
bool md__generation_expired(const struct md_generation *generation);

/* A further state that has loaded the same files: for the scheduler. */
enum md_status md__generation_state(struct md_generation *generation, enum md__state_kind kind,
                                    struct md__state **state, struct md_error *err);

/* ---- scheduler.c ----------------------------------------------------------------------------- */

/* Makes the state of a generation's jobs and the thread that will begin them; nothing runs yet. */
enum md_status md__scheduler_new(struct md_generation *generation, struct md__scheduler **scheduler,
                                 struct md_error *err);
/* Begins. Takes over `before` (may be NULL): its jobs finish what they are at and end, those of the
 * same name and interval hand their schedule over. */
void md__scheduler_start(struct md__scheduler *scheduler, struct md__scheduler *before);
/* Ends after the jobs in progress. NULL is fine. */
void md__scheduler_delete(struct md__scheduler *scheduler);

/* For tests, of a scheduler that is never started: it begins, says when its next job is due (never:
 * INT64_MAX), runs what is due by the clock. Jobs run on the calling thread and have ended.
 * md__scheduler_protect is md__protect on its state. */
enum md_status md__scheduler_protect(struct md__scheduler *scheduler, lua_CFunction function,
                                     struct md_error *err);
void md__scheduler_begin_by_hand(struct md__scheduler *scheduler);
int64_t md__scheduler_due_ms(const struct md__scheduler *scheduler);
void md__scheduler_run_due(struct md__scheduler *scheduler);

/* ---- job.c ----------------------------------------------------------------------------------- */

#define MD__JOB_FAILURE_MAX 256

/* How the run before has failed, "": it did not; so that a failure is logged once. */
struct md__job_failures {
    char job[MD__JOB_FAILURE_MAX], alerts[MD__JOB_FAILURE_MAX];
};

struct md__job_run {
    struct md_generation *generation;
    struct md__pool *pool;
    struct md__job *job;
    int64_t now_ms;
    int64_t closed_ms; /* a tick: the end of the step */
    int64_t skipped;
};
void md__job_run(const struct md__job_run *run, struct md__job_failures *known);

/* ---- models.c -------------------------------------------------------------------------------- */

/* Loads a model beside what serves, and says in /health when it cannot be; publishes it, taking
 * over the reference. */
enum md_status md__model_stage(struct md_script *script, const struct md__model_entry *entry,
                               struct md_model **model, struct md_error *err);
enum md_status md__model_commit(struct md_script *script, struct md_model *model,
                                struct md_error *err);
/* Both. */
enum md_status md__model_load(struct md_script *script, const struct md__model_entry *entry,
                              struct md_error *err);
/* What the current generation declares of the model; zeros when nothing. */
struct md_model_profile md__model_profile(struct md_script *script, const char *name);
/* NULL: the generation declares no such model. */
const struct md__model_entry *md__model_declared(const struct md_generation *generation,
                                                 const char *name);
/* Unloads what a generation that has ended declares and the current one does not. */
void md__models_leave(const struct md_generation *generation);
/* The real path of what somebody calls `path` (PATH_MAX bytes), which must lie below the folder's
 * models/. */
enum md_status md__model_resolve(const struct md_script *script, const char *path, char *resolved,
                                 struct md_error *err);

/* ---- reload.c -------------------------------------------------------------------------------- */

void md__past_clear(struct md_script *script);

/* ---- rehearse_background.c ------------------------------------------------------------------- */

/* After a swap: rehearses the new alert rules beside the old ones if they differ. Never blocks. */
void md__rehearse_after_change(struct md_script *script, const struct md_generation *old,
                               const struct md_generation *new);
/* Appends `"rehearsal":...`: what the last one said, or null. */
void md__rehearse_state(struct md_script *script, struct md_buffer *json);
/* Ends what runs by itself, and waits for it. */
void md__rehearse_fini(struct md_script *script);

/* ---- watchdog.c ------------------------------------------------------------------------------ */

/* Counts a call of any hook; asks for a rollback when too many fail after a change. */
void md__generation_count(struct md_generation *generation, bool failed);
double md__error_rate(const struct md_generation *generation); /* failed calls of all, 0 to 1 */
/* Closes the streams of the generation before the current one; their clients come back to it. */
void md__close_streams(struct md_script *script);
/* On the housekeeping thread: what is due of rollbacks and streams. */
void md__rollback_if_due(struct md_script *script);
void md__drain_streams(struct md_script *script);

/* app.c: loads app.lua in this state and anchors its description; raises. */
int md__app_load(lua_State *L);
/* Pushes the handler of the route with this index, from 1 on. */
void md__app_push_handler(lua_State *L, int index);
/* Pushes app[list][index].run, or app[list].run for index 0; raises. */
void md__app_push_function(lua_State *L, const char *list, int index);
/* Reads the description into the generation; its argument is the generation. */
int md__app_read(lua_State *L);
extern const char md__app_key[]; /* registry */

/* route.c */
void md__routes_sort(struct md__route *routes, int count);
/* Splits the pattern; false when it is not one. text is the arena's copy and is cut up. */
bool md__route_parse(struct md__route *route, char *text);
enum md_status md__routes_match(const struct md__route *routes, int count, const char *method,
                                const char *path, struct md_match *match, struct md_error *err);

/* pool.c */
enum md_status md__pool_new(struct md__state **states, int count, int tasks_max,
                            struct md__pool **pool, struct md_error *err);
void md__pool_delete(struct md__pool *pool); /* and its states */
/* A state for a new task; MD_ERR_UNAVAILABLE when none is free within the time (negative: without
 * limit) and by the deadline (0: none). */
enum md_status md__pool_take(struct md__pool *pool, int64_t timeout_ns, int64_t deadline_ns,
                             struct md__state **state, struct md_error *err);
void md__pool_give(struct md__state *state); /* the task has ended */
struct md__pool_load {
    int states, busy, tasks, returning;
};
struct md__pool_load md__pool_look(struct md__pool *pool);

/* http.c: a request as a Lua table, results as a response. */
struct md__http_call {
    const struct md_match *match;
    const struct md_request *request;
    struct md_response *response;
    struct md__task *task;
    const void *table; /* the Lua table that stands for the request */
    bool streams;      /* the handler returned an event stream: md__stream_run is next */
};
/* Completes the table at index if it stands for the running request: for those who want all of its
 * fields. False: not enough memory. Never raises. */
bool md__http_complete(lua_State *L, int index);
void md__http_open(lua_State *L);   /* once per state */
int md__http_prepare(lua_State *L); /* task prepare; argument: a struct md__http_call */
int md__http_finish(lua_State *L);  /* protected; the same argument */

/* bind_stream.c: event streams. */
struct md__stream {
    const struct md_generation *generation;
    const struct md_stream_writer *writer;
    void *context;
    int waits_closed; /* that its function began after it was closed */
    struct md__stream *next, **previous;
};
extern const struct md__class md__stream_class;
/* Is the value at index an event stream? Then its function is kept for md__stream_run. */
bool md__stream_take(lua_State *L, int index, struct md__http_call *call);
/* Sends the stream, from its head to its end; the handler's task has ended. */
void md__stream_run(struct md__http_call *call);
enum md_status md__stream_sleep(struct md__stream *stream, int64_t ns, struct md_error *err);
/* False when the function of a closed stream goes on waiting. */
bool md__stream_may_wait(struct md__stream *stream);

#endif
