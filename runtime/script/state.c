/*
 * One Lua state: its life, protected calls, and what becomes of it after a failure. Its memory is
 * in memory.c.
 *
 * Compiled code runs only while there is plenty of memory. LuaJIT 2.1 up to 2023 breaks its stack
 * when memory runs out in a compiled trace (in the interpreter it raises a clean error), so a state
 * is *interpreted* while files load, and from the checkpoint on that finds its Lua objects large
 * beside what is left. When memory still runs out where it may be a trace, by one huge step, the
 * task leaves Lua by a longjmp to where it was resumed; the state is dead then: nothing enters it
 * again, its large blocks are freed and its small ones are lost.
 */
#include <luajit.h>
#include <stdlib.h>
#include <string.h>

#include "script/generation.h"

/* Of what a sweep has left: where the collector begins again. */
enum { SWEPT_PCT = 300 };

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

static int run_protected(lua_State *L);

/* Before the first md__protect. */
static int open_runner(lua_State *L)
{
    lua_pushcfunction(L, run_protected);
    md__state(L)->runner = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
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
    state->L = lua_newstate(md__allocate, state);
    if (state->L == NULL || lua_cpcall(state->L, open_runner, NULL) != 0) {
        md__state_delete(state);
        return md_fail(err, MD_ERR_MEMORY, "cannot create a Lua state");
    }
    enum md_status status = md__protect(state, open_state, NULL, err);
    set_limits(state);
    md__state_interpret(state, true); /* until a task runs: loading, building, checking */
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
    if (state->L != NULL && !state->dead)
        lua_close(state->L);
    md__allocate_end(state);
    free(state);
}

/* ---- protected calls ------------------------------------------------------------------------- */

/* lua_cpcall would make a closure for each call; this one is made once. */
static int run_protected(lua_State *L)
{
    const struct md__state *state = md__state(L);
    lua_pushlightuserdata(L, state->argument);
    return state->function(L);
}

enum md_status md__protect(struct md__state *state, lua_CFunction function, void *argument,
                           struct md_error *err)
{
    lua_State *L = state->L;
    if (state->dead)
        return md_fail(err, MD_ERR_MEMORY, "the Lua state is no more");
    int top = lua_gettop(L);
    struct md__state *before = md__state_running(state);
    state->function = function;
    state->argument = argument;
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->runner);
    int lua_status = lua_pcall(L, 0, 0, 0);
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
    md__state_relieve(L);
    return 0;
}

void md__state_collect(struct md__state *state)
{
    state->gc_debt = 0;
    md__protect_ours(state, collect, NULL);
}

static int sweep(lua_State *L)
{
    md__state_relieve(L);
    int before = lua_gc(L, LUA_GCSETPAUSE, SWEPT_PCT);
    lua_gc(L, LUA_GCRESTART, -1); /* with that from here on */
    lua_gc(L, LUA_GCSETPAUSE, before);
    return 0;
}

void md__state_sweep(struct md__state *state)
{
    state->gc_debt = 0;
    state->littered = false;
    md__protect_ours(state, sweep, NULL);
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

void md__state_interpret(struct md__state *state, bool on)
{
    if (state->interpreted == on || state->dead)
        return;
    state->interpreted = on;
    luaJIT_setmode(state->L, 0, LUAJIT_MODE_ENGINE | (on ? LUAJIT_MODE_OFF : LUAJIT_MODE_ON));
    if (on) /* or traces that there are would still run */
        luaJIT_setmode(state->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_FLUSH);
}

void md__state_recover(struct md__state *state)
{
    if (state->pool == NULL || md__state_is_retired(state))
        return;
    if (state->dead) {
        md__state_retire(state, "its memory ran out in compiled code");
        return;
    }
    md__state_interpret(state, true); /* traces keep closures alive that they have met */
    md__state_collect(state);
    size_t known = state->bytes_base + state->waiting_bytes;
    if (md__protect(state, probe, NULL, NULL) != MD_OK)
        md__state_retire(state, "it cannot run anything any more");
    else if (state->bytes_used > known && state->bytes_used - known > state->bytes_max / 2)
        md__state_retire(state, "its scripts keep more than half of its memory");
}
