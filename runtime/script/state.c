/*
 * One Lua state: its allocator with byte caps, charges for C memory, and protected calls.
 *
 * Every byte of Lua memory passes allocate(), which refuses growth over the state's cap or, while a
 * task runs, over the task's; LuaJIT then raises a clean "not enough memory" and the state stays
 * usable. A task is charged what grows while it runs and credited what is freed meanwhile, whoever
 * made it: over a request that is close to the truth, and it needs no header per object.
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

/* ---- allocation ------------------------------------------------------------------------------ */

/* Large growth counts as work, and there is none for a script whose time is up: it ends even where
 * no checkpoint comes. */
static bool is_late(struct md__state *state, size_t growth)
{
    state->work += (uint32_t)(growth / BYTES_PER_UNIT);
    return growth >= large_bytes && md__is_spent(state, 0);
}

static bool is_over(struct md__state *state, size_t growth)
{
    const struct md__task *task = state->task;
    if (state->closing)
        return false;
    if (is_late(state, growth))
        return true;
    if (growth > state->bytes_max || state->bytes_used > state->bytes_max - growth)
        return true;
    return task != NULL && task->bytes + (int64_t)growth > (int64_t)state->task_bytes_max;
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

static int collect(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

void md__state_collect(struct md__state *state)
{
    state->gc_debt = 0;
    md__protect(state, collect, NULL, NULL);
}
