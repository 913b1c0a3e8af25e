/* md.now_ms, md.config, md.log, md.sleep, md.time: what every script needs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/timestamp.h"
#include "script/config_internal.h"
#include "script/generation.h"

enum { SLEEP_S_MAX = 86400 };

/* ---- time ------------------------------------------------------------------------------------ */

static int now_ms(lua_State *L)
{
    lua_pushnumber(L, (double)md_now_ms(md__state(L)->script->clock));
    return 1;
}

/* Which version of the scripts this is: for what must be made anew when they change. */
static int generation(lua_State *L)
{
    const struct md_generation *own = md__state(L)->generation;
    lua_pushinteger(L, own != NULL ? own->number : 0);
    return 1;
}

static int64_t check_ms(lua_State *L, int index)
{
    lua_Number ms = luaL_checknumber(L, index);
    luaL_argcheck(L, fabs(ms) < MD__MS_MAX, index, "not a time in milliseconds");
    return (int64_t)floor(ms);
}

static int time_iso(lua_State *L)
{
    char text[MD_TIMESTAMP_BYTES];
    md_timestamp_format(check_ms(L, 1), text);
    lua_pushstring(L, text);
    return 1;
}

/* Without an offset in the text the time is local to config.timezone. */
static int time_parse(lua_State *L)
{
    int64_t ms;
    struct md_error err;
    const char *text = luaL_checkstring(L, 1);
    if (md_timestamp_parse(text, md__state(L)->script->timezone, &ms, &err) != MD_OK)
        return md__return_error(L, &err);
    lua_pushnumber(L, (double)ms);
    return 1;
}

/* Local civil time; day_of_week counts from Monday = 0. */
static int time_civil(lua_State *L)
{
    struct md_civil civil;
    int64_t ms = check_ms(L, 1);
    int offset_s = md_timezone_offset_s(md__state(L)->script->timezone, ms);
    md_civil_from_ms(ms + (int64_t)offset_s * 1000, &civil);
    lua_createtable(L, 0, 9);
    md__set_number(L, "year", civil.year);
    md__set_number(L, "month", civil.month);
    md__set_number(L, "day", civil.day);
    md__set_number(L, "hour", civil.hour);
    md__set_number(L, "minute", civil.minute);
    md__set_number(L, "second", civil.second);
    md__set_number(L, "millisecond", civil.millisecond);
    md__set_number(L, "day_of_week", civil.weekday);
    md__set_number(L, "offset_s", offset_s);
    return 1;
}

static const luaL_Reg time_functions[] = {
    {"iso", time_iso}, {"parse", time_parse}, {"civil", time_civil}, {NULL, NULL}};

/* ---- log ------------------------------------------------------------------------------------- */

/* Upvalues: the level, string.format. With one argument the text is taken as it is. */
static int log_line(lua_State *L)
{
    enum md_log_level level = (enum md_log_level)lua_tointeger(L, lua_upvalueindex(1));
    luaL_checkstring(L, 1);
    if (level < md_log_get_level())
        return 0;
    int count = lua_gettop(L);
    if (count > 1) {
        lua_pushvalue(L, lua_upvalueindex(2));
        lua_insert(L, 1);
        lua_call(L, count, 1);
    }
    md__script_log(md__state(L)->script, level, lua_tostring(L, 1));
    return 0;
}

static void bind_log(lua_State *L)
{
    static const struct {
        const char *name;
        enum md_log_level level;
    } levels[] = {{"debug", MD_LOG_DEBUG},
                  {"info", MD_LOG_INFO},
                  {"warn", MD_LOG_WARN},
                  {"error", MD_LOG_ERROR}};
    lua_newtable(L);
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        lua_pushinteger(L, levels[i].level);
        lua_getglobal(L, "string");
        lua_getfield(L, -1, "format");
        lua_remove(L, -2);
        lua_pushcclosure(L, log_line, 2);
        lua_setfield(L, -2, levels[i].name);
    }
    lua_setfield(L, -2, "log");
}

/* ---- config ---------------------------------------------------------------------------------- */

/* Upvalue: the config, or NULL. */
static int no_such_key(lua_State *L)
{
    const struct md_config *config = lua_touserdata(L, lua_upvalueindex(1));
    bool is_name = lua_type(L, 2) == LUA_TSTRING;
    const char *name = is_name ? lua_tostring(L, 2) : luaL_typename(L, 2);
    const struct md__key *meant = config && is_name ? md__config_nearest(config, name) : NULL;

    if (meant != NULL)
        return luaL_error(L, "md.config has no '%s' (did you mean '%s'?)", name, meant->name);
    return luaL_error(L, "md.config has no '%s' (declare it in config.lua)", name);
}

/* The table behind md.config; init.lua freezes it like all the others. */
static void bind_config(lua_State *L)
{
    const struct md_config *config = md__state(L)->config;
    if (config != NULL)
        md__json_push(L, md__config_values(config));
    else
        lua_newtable(L); /* a model is built without a service */
    lua_createtable(L, 0, 1);
    lua_pushlightuserdata(L, (void *)config);
    lua_pushcclosure(L, no_such_key, 1);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "config");
}

/* ---- sleep ----------------------------------------------------------------------------------- */

struct sleeping {
    struct md_wait wait;
    const struct md_generation *generation;
    int64_t until_ns;
    struct md__stream *stream; /* whose end ends the sleep; NULL: none */
};

static enum md_status sleep_block(struct md_wait *wait, struct md_script *script,
                                  int64_t deadline_ns, struct md_error *err)
{
    const struct sleeping *sleeping = (struct sleeping *)wait;
    struct md__stream *stream = sleeping->stream;
    int64_t ns = sleeping->until_ns - md_monotonic_ns(script->clock);
    ns = ns > 0 ? ns : 0;
    bool late = false;
    if (stream != NULL)
        return md__stream_sleep(stream, ns, err);
    if (deadline_ns != 0) {
        int64_t left = deadline_ns - md_monotonic_ns(script->clock);
        late = left < ns;
        ns = late ? left : ns;
    }
    if (!md__script_sleep(script, sleeping->generation, ns))
        return md_fail(err, MD_ERR_UNAVAILABLE, "the daemon ends, or has newer scripts");
    return late ? md_fail(err, MD_ERR_TIMEOUT, "slept until the deadline") : MD_OK;
}

/* Returns true, or nil and an error when the deadline or the end of the process came first. */
static int md_sleep(lua_State *L)
{
    lua_Number seconds = luaL_checknumber(L, 1);
    luaL_argcheck(L, seconds >= 0 && seconds <= SLEEP_S_MAX, 1, "0 to 86400 seconds");
    struct md__state *state = md__state(L);
    md__check_acting(L, "md.sleep");
    struct sleeping *sleeping = malloc(sizeof *sleeping);
    if (sleeping == NULL)
        return luaL_error(L, "not enough memory");
    *sleeping =
        (struct sleeping){{.block = sleep_block, .finish = md__wait_true, .drop = md__wait_free},
                          state->generation,
                          md_monotonic_ns(state->script->clock) + (int64_t)(seconds * 1e9),
                          state->task != NULL ? state->task->stream : NULL};
    return md__yield(L, &sleeping->wait);
}

/* ---- for the library --------------------------------------------------------------------------
 */

/* The text of a file of the scripts folder, to find lines of mistakes in; nil: there is none. */
static int source(lua_State *L)
{
    struct md__source *found;
    struct md__sources *sources = md__state(L)->sources;
    const char *name = luaL_checkstring(L, 1);
    if (sources == NULL || md__sources_get(sources, name, &found, NULL) != MD_OK)
        return 0;
    lua_pushlstring(L, found->text, found->length);
    return 1;
}

/* The file of the scripts folder that has returned this table, "alerts.lua"; nil: none. */
static int file_of(lua_State *L)
{
    char relative[MD__MODULE_FILE_MAX];
    struct md__sources *sources = md__state(L)->sources;
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, md__loaded_key);
    for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1)) {
        if (!lua_rawequal(L, 1, -1) || lua_type(L, -2) != LUA_TSTRING)
            continue;
        if (sources == NULL || !md__module_find(sources, lua_tostring(L, -2), relative))
            return 0;
        lua_pushstring(L, relative);
        return 1;
    }
    return 0;
}

/* ---- the binding ----------------------------------------------------------------------------- */

static void bind(lua_State *L, struct md_script *script)
{
    (void)script;
    static const luaL_Reg functions[] = {{"now_ms", now_ms},
                                         {"sleep", md_sleep},
                                         {"source", source},
                                         {"file_of", file_of},
                                         {"generation", generation},
                                         {NULL, NULL}};
    luaL_register(L, NULL, functions);
    md__bind_table(L, "time", time_functions);
    bind_log(L);
    bind_config(L);
}

static enum md_status start(struct md_script *script, struct md_error *err)
{
    return md_timezone_new(md_config_string(script->config, "timezone"), &script->timezone, err);
}

static void fini(struct md_script *script)
{
    md_timezone_delete(script->timezone);
}

const struct md__binding md__binding_core = {
    .name = "core", .bind = bind, .start = start, .fini = fini};
