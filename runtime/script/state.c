/*
 * One Lua state: its allocator with byte caps, charges for C memory, and protected calls.
 *
 * Every byte of Lua memory passes allocate(), which refuses growth over the state's cap or, while a
 * task runs, over the task's; LuaJIT then raises a clean "not enough memory" and the state stays
 * usable. A task is charged what grows while it runs and credited what is freed meanwhile, whoever
 * made it: over a request that is close to the truth, and it needs no header per object.
 *
 * Reserves. A quarter of a state's memory is kept for its tasks in equal parts: however much others
 * hold while they wait, each task, also one that has yet to begin, can have its part.
 *
 * The collector knows nothing of C memory behind userdata. md__charge counts it against the same
 * caps, and runs the collector when the charges since the last time are worth it or a cap is near.
 */
#include <luajit.h>
#include <stdlib.h>
#include <string.h>

#include "script/generation.h"

/* Charged growth that makes a full collection worth its milliseconds. */
static const size_t gc_debt_max = (size_t)16 << 20;

enum { BYTES_PER_UNIT = 256 }; /* what is allocated and filled while one unit of work is done */
static const size_t large_bytes = (size_t)64 << 10;
static const size_t collect_gap_min = (size_t)64 << 10;

/* ---- allocation ------------------------------------------------------------------------------ */

/* Large growth counts as work, and there is none for a script whose time is up: it ends even where
 * no checkpoint comes. */
static bool is_late(struct md__state *state, size_t growth)
{
    state->work += (uint32_t)(growth / BYTES_PER_UNIT);
    return growth >= large_bytes && md__is_spent(state, 0);
}

static size_t reserve(const struct md__state *state)
{
    return state->tasks_max > 0 ? state->bytes_max / 4 / (size_t)state->tasks_max : 0;
}

/* What the running task must leave to others. */
static size_t kept_for_others(const struct md__state *state)
{
    if (state->tasks_max == 0)
        return 0;
    size_t all = reserve(state) * (size_t)(state->tasks_max - 1);
    return all > state->waiting_kept ? all - state->waiting_kept : 0;
}

/* How much more the running task may use. */
static size_t left_for_task(const struct md__state *state)
{
    const struct md__task *task = state->task;
    int64_t own = (int64_t)state->task_bytes_max - task->bytes;
    int64_t kept = (int64_t)reserve(state) - task->bytes;
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
        if (task->bytes + (int64_t)growth > (int64_t)reserve(state))
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

/* When three quarters of what is left are used, it is time to see what of it is garbage. */
void md__state_plan_collection(struct md__state *state)
{
    size_t left = left_for_task(state);
    state->pressed = false;
    state->collect_at = left > collect_gap_min ? state->bytes_used + left / 4 * 3 : SIZE_MAX;
}

void md__state_slice_begin(struct md__state *state, struct md__task *task)
{
    size_t bytes = task->bytes > 0 ? (size_t)task->bytes : 0;
    size_t kept = bytes < reserve(state) ? bytes : reserve(state);
    state->waiting_bytes -= task->waits ? bytes : 0;
    state->waiting_kept -= task->waits ? kept : 0;
    task->waits = false;
    state->task = task;
    md__state_plan_collection(state);
}

void md__state_slice_end(struct md__state *state, bool ended)
{
    struct md__task *task = state->task;
    size_t bytes = task->bytes > 0 ? (size_t)task->bytes : 0;
    size_t kept = bytes < reserve(state) ? bytes : reserve(state);
    state->task = NULL;
    task->waits = !ended;
    state->waiting_bytes += task->waits ? bytes : 0;
    state->waiting_kept += task->waits ? kept : 0;
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

static void *allocate(void *context, void *memory, size_t old_size, size_t new_size)
{
    struct md__state *state = context;
    if (new_size == 0) {
        free(memory);
        account(state, -(int64_t)old_size);
        return NULL;
    }
    if (new_size > old_size && is_over(state, new_size - old_size))
        return NULL;
    void *moved = realloc(memory, new_size);
    if (moved != NULL)
        account(state, (int64_t)new_size - (int64_t)old_size);
    return moved;
}

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

/* ---- life ------------------------------------------------------------------------------------ */

static int open_state(lua_State *L)
{
    md__sandbox_open(L);
    return 0;
}

/* A model family runs without a service, hence without its configuration. */
#define BUILDER_BYTES_MAX (256u << 20)

static void set_limits(struct md__state *state)
{
    const struct md_config *config = state->config;
    if (config == NULL) {
        state->bytes_max = state->task_bytes_max = BUILDER_BYTES_MAX;
        return;
    }
    if (state->kind == MD__STATE_REPL) {
        state->bytes_max = state->task_bytes_max = (size_t)md_config_int(config, "repl_bytes_max");
        return;
    }
    state->bytes_max = (size_t)md_config_int(config, "state_bytes_max");
    state->task_bytes_max = (size_t)md_config_int(config, "request_bytes_max");
}

enum md_status md__state_new(struct md_script *script, struct md_generation *generation,
                             enum md__state_kind kind, struct md__state **result,
                             struct md_error *err)
{
    struct md__state *state = calloc(1, sizeof *state);
    if (state == NULL)
        return md_fail(err, MD_ERR_MEMORY, "no memory for a Lua state");
    state->script = script;
    state->generation = generation;
    state->config = generation != NULL ? generation->config : NULL;
    state->sources = generation != NULL ? generation->sources : NULL;
    state->kind = kind;
    /* The caps are for scripts: LuaJIT does not always bear to run out of memory while it starts.
     */
    state->bytes_max = SIZE_MAX / 2;
    state->L = lua_newstate(allocate, state);
    if (state->L == NULL) {
        free(state);
        return md_fail(err, MD_ERR_MEMORY, "cannot create a Lua state");
    }
    enum md_status status = md__protect(state, open_state, NULL, err);
    set_limits(state);
    if (status != MD_OK) {
        md__state_delete(state);
        return status;
    }
    *result = state;
    return MD_OK;
}

void md__state_delete(struct md__state *state)
{
    if (state == NULL)
        return;
    state->closing = true;
    lua_close(state->L);
    free(state);
}

/* ---- protected calls ------------------------------------------------------------------------- */

enum md_status md__protect(struct md__state *state, lua_CFunction function, void *argument,
                           struct md_error *err)
{
    lua_State *L = state->L;
    int top = lua_gettop(L);
    struct md__state *before = md__state_running(state);
    int lua_status = lua_cpcall(L, function, argument);
    md__state_running(before);
    if (lua_status == 0)
        return MD_OK;
    enum md_status status = md__take_error(L, lua_status, err);
    lua_settop(L, top);
    return status;
}

enum md_status md__protect_ours(struct md__state *state, lua_CFunction function, void *argument)
{
    state->ours = true; /* even lua_cpcall allocates */
    enum md_status status = md__protect(state, function, argument, NULL);
    state->ours = false;
    return status;
}

static int collect(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

void md__state_collect(struct md__state *state)
{
    state->gc_debt = 0;
    md__protect_ours(state, collect, NULL);
}

/* ---- after a failure ------------------------------------------------------------------------- */

/* Does what any request needs: memory, a coroutine, a compiled function. */
static int probe(lua_State *L)
{
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    for (int i = 0; i < 4096; i++)
        luaL_addlstring(&text, "0123456789abcdef", 16);
    luaL_pushresult(&text);
    lua_State *co = lua_newthread(L);
    lua_getglobal(co, "tostring"); /* ours: lua/moondial/standard.lua */
    lua_pushinteger(co, 42);
    if (lua_resume(co, 1) != 0 || strcmp(luaL_checkstring(co, -1), "42") != 0)
        return luaL_error(L, "no coroutine runs");
    return 0;
}

/* Compiled traces keep closures alive that they have met, with all that these hold. */
static int flush(lua_State *L)
{
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_FLUSH);
    return 0;
}

void md__state_recover(struct md__state *state)
{
    if (state->pool == NULL || md__state_is_retired(state))
        return;
    md__protect_ours(state, flush, NULL);
    md__state_collect(state);
    size_t known = state->bytes_base + state->waiting_bytes;
    if (md__protect(state, probe, NULL, NULL) != MD_OK)
        md__state_retire(state, "it cannot run anything any more");
    else if (state->bytes_used > known && state->bytes_used - known > state->bytes_max / 2)
        md__state_retire(state, "its scripts keep more than half of its memory");
}
