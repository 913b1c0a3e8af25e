/*
 * What a script can see. Its globals are an empty table whose reads fall through to a table of
 * chosen names and whose writes raise, so that a misspelt name is an error with file and line in
 * either direction. There is no io, no os but time, no ffi, debug, jit, package, getfenv or
 * setfenv, no bytecode in or out, and no way to the real tables behind the frozen ones: the
 * metatable of strings is protected, rawset is absent, and every library is handed out frozen. How
 * files are found and loaded is in modules.c.
 */
#include <lualib.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "script/generation.h"

enum {
    DATE_BYTES = 256,
    COLLECT_AT_PCT = 150 /* of what the last collection left: memory before speed */
};

static const size_t repeat_bytes_max = (size_t)64 << 20;
static const char globals_key[] = "moondial.globals"; /* registry: the table behind the globals */

/* ---- frozen tables --------------------------------------------------------------------------- */

static int refuse_write(lua_State *L)
{
    return luaL_error(L, "assignment to undeclared variable '%s' (use local)",
                      lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2));
}

static int refuse_read(lua_State *L)
{
    return luaL_error(L, "undeclared variable '%s'",
                      lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2));
}

static int refuse_change(lua_State *L)
{
    return luaL_error(L, "this table is read-only: cannot set '%s'",
                      lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2));
}

/* Replaces the table on top of the stack by a read-only face of it. */
static void freeze(lua_State *L, lua_CFunction on_write)
{
    lua_newtable(L);
    lua_createtable(L, 0, 3);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, on_write);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_remove(L, -2);
}

/* A face that freeze made: table.insert and its kin would write through it. */
static int is_frozen(lua_State *L)
{
    bool frozen = false;
    if (lua_getmetatable(L, 1)) {
        lua_getfield(L, -1, "__newindex");
        lua_CFunction on_write = lua_tocfunction(L, -1);
        frozen = on_write == refuse_change || on_write == refuse_write;
    }
    lua_pushboolean(L, frozen);
    return 1;
}

static int freeze_function(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    freeze(L, refuse_change);
    return 1;
}

/* ---- replaced library functions -------------------------------------------------------------- */

/* Library functions whose results may be huge stay out of compiled code (see state.c): what calls
 * them is C. Upvalue: the library's own. */
static int call_original(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

static int string_rep(lua_State *L)
{
    size_t length, separator = 0;
    luaL_checklstring(L, 1, &length);
    lua_Number times = luaL_checknumber(L, 2);
    if (!lua_isnoneornil(L, 3))
        luaL_checklstring(L, 3, &separator);
    if (times > 0 && times * (double)(length + separator) > (double)repeat_bytes_max)
        return luaL_error(L, "string.rep: the result would exceed %d bytes", (int)repeat_bytes_max);
    md__spend(L, 1);
    return call_original(L);
}

static int table_concat(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    md__spend(L, (double)lua_objlen(L, 1));
    return call_original(L);
}

static int string_format(lua_State *L)
{
    md__spend(L, 1);
    return call_original(L);
}

static int os_time(lua_State *L)
{
    struct md_script *script = md__state(L)->script;
    if (lua_isnoneornil(L, 1)) {
        lua_pushnumber(L, floor((double)md_now_ms(script->clock) / 1000));
        return 1;
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    struct md_civil civil = {
        .year = (int)md__field_int(L, 1, "year", INT64_MIN, 1, 9999),
        .month = (int)md__field_int(L, 1, "month", INT64_MIN, 1, 12),
        .day = (int)md__field_int(L, 1, "day", INT64_MIN, 1, 31),
        .hour = (int)md__field_int(L, 1, "hour", 12, 0, 23),
        .minute = (int)md__field_int(L, 1, "min", 0, 0, 59),
        .second = (int)md__field_int(L, 1, "sec", 0, 0, 60),
    };
    lua_pushnumber(L, (double)(md_civil_to_ms(&civil) / 1000));
    return 1;
}

static int push_date_table(lua_State *L, const struct tm *date)
{
    lua_createtable(L, 0, 9);
    md__set_number(L, "year", date->tm_year + 1900);
    md__set_number(L, "month", date->tm_mon + 1);
    md__set_number(L, "day", date->tm_mday);
    md__set_number(L, "hour", date->tm_hour);
    md__set_number(L, "min", date->tm_min);
    md__set_number(L, "sec", date->tm_sec);
    md__set_number(L, "wday", date->tm_wday + 1);
    md__set_number(L, "yday", date->tm_yday + 1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "isdst");
    return 1;
}

/* Dates are UTC: what is local is a matter of md.config.timezone, which md.time knows about. */
static int os_date(lua_State *L)
{
    struct md_script *script = md__state(L)->script;
    const char *format = luaL_optstring(L, 1, "%c");
    double now_s = floor((double)md_now_ms(script->clock) / 1000);
    double seconds = luaL_optnumber(L, 2, now_s);
    luaL_argcheck(L, fabs(seconds) < 1e11, 2, "time out of range");
    struct md_civil civil, new_year = {.month = 1, .day = 1};
    md_civil_from_ms((int64_t)seconds * 1000, &civil);
    new_year.year = civil.year;
    struct tm date = {
        .tm_year = civil.year - 1900,
        .tm_mon = civil.month - 1,
        .tm_mday = civil.day,
        .tm_hour = civil.hour,
        .tm_min = civil.minute,
        .tm_sec = civil.second,
        .tm_wday = (civil.weekday + 1) % 7,
        .tm_yday = (int)(((int64_t)seconds * 1000 - md_civil_to_ms(&new_year)) / 86400000),
        .tm_zone = "UTC",
    };
    format += *format == '!';
    if (strcmp(format, "*t") == 0)
        return push_date_table(L, &date);
    char text[DATE_BYTES];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* strftime cannot write past its buffer */
    lua_pushlstring(L, text, strftime(text, sizeof text, format, &date));
#pragma GCC diagnostic pop
    return 1;
}

static int os_clock(lua_State *L)
{
    lua_pushnumber(L, (double)md_monotonic_ns(md__state(L)->script->clock) / 1e9);
    return 1;
}

static int os_difftime(lua_State *L)
{
    lua_pushnumber(L, luaL_checknumber(L, 1) - luaL_optnumber(L, 2, 0));
    return 1;
}

/* A task's own coroutine belongs to the engine: to its script it is nothing, like the main thread
 * of plain Lua, or another request could resume it. */
static int coroutine_running(lua_State *L)
{
    const struct md__task *task = md__state(L)->task;
    if ((task != NULL && task->co == L) || lua_pushthread(L))
        lua_pushnil(L);
    return 1;
}

/* print(...) is a line of the log. */
static int script_print(lua_State *L)
{
    int count = lua_gettop(L);
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    for (int i = 1; i <= count; i++) {
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_pushvalue(L, i);
        lua_call(L, 1, 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            return luaL_error(L, "'tostring' must return a string to 'print'");
        if (i > 1) {
            lua_pushliteral(L, "\t");
            lua_insert(L, -2);
            lua_concat(L, 2);
        }
        luaL_addvalue(&text);
    }
    luaL_pushresult(&text);
    md__script_log(md__state(L)->script, MD_LOG_INFO, lua_tostring(L, -1));
    return 0;
}

/* ---- the environment ------------------------------------------------------------------------- */

static const char *const plain_globals[] = {
    "assert", "error",    "getmetatable", "ipairs", "next",         "pairs",
    "pcall",  "rawequal", "rawget",       "select", "setmetatable", "tonumber",
    "unpack", "type",     "tostring",     "xpcall", "_VERSION",     NULL};

static const luaL_Reg os_functions[] = {{"time", os_time},
                                        {"date", os_date},
                                        {"clock", os_clock},
                                        {"difftime", os_difftime},
                                        {NULL, NULL}};

/* Stack: the source of names, the target. Both stay. */
static void copy_names(lua_State *L, const char *const *names)
{
    for (; *names != NULL; names++) {
        lua_getfield(L, -2, *names);
        lua_setfield(L, -2, *names);
    }
}

static void copy_library(lua_State *L, const char *name)
{
    lua_getglobal(L, name);
    freeze(L, refuse_change);
    lua_setfield(L, -2, name);
}

/* Adds the fields of the table on top of the stack to the global table of this name. */
static void extend_library(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    lua_getglobal(L, name);
    for (lua_pushnil(L); lua_next(L, -3) != 0;) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_settable(L, -4);
    }
    lua_pop(L, 2);
}

/* lua/moondial/standard.lua, which sees the real globals. */
static void open_safe(lua_State *L)
{
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    lua_setfield(L, LUA_REGISTRYINDEX, md__environment_key);
    lua_createtable(L, 0, 3);
    md__checkpoint_push(L);
    lua_setfield(L, -3, "stop");
    lua_setfield(L, -2, "budget");
    lua_pushcfunction(L, is_frozen);
    lua_setfield(L, -2, "is_frozen");
    lua_setglobal(L, "limits");
    md__load_file(L, md__state(L)->script->library, "moondial/standard.lua");
    extend_library(L, "table");
    lua_getfield(L, -1, "tostring");
    lua_setglobal(L, "tostring");
    lua_pop(L, 1);
}

static void remove_names(lua_State *L, const char *library, const char *const *names)
{
    lua_getglobal(L, library);
    for (; *names != NULL; names++) {
        lua_pushnil(L);
        lua_setfield(L, -2, *names);
    }
    lua_pop(L, 1);
}

/* Puts `function` before the field of the table on top of the stack. */
static void put_before(lua_State *L, const char *name, lua_CFunction function)
{
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, function, 1);
    lua_setfield(L, -2, name);
}

/* Method calls on strings see the same table, whose metatable nobody gets to see. */
static void open_string(lua_State *L)
{
    lua_getglobal(L, "table");
    put_before(L, "concat", table_concat);
    lua_pop(L, 1);
    lua_getglobal(L, "string");
    put_before(L, "rep", string_rep);
    put_before(L, "format", string_format);
    md__strings_open(L);
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 3);
}

static void open_coroutine(lua_State *L)
{
    lua_getglobal(L, "coroutine");
    lua_pushcfunction(L, coroutine_running);
    lua_setfield(L, -2, "running");
    lua_pop(L, 1);
}

static void open_libraries(lua_State *L)
{
    static const luaL_Reg libraries[] = {{"", luaopen_base},
                                         {LUA_TABLIBNAME, luaopen_table},
                                         {LUA_STRLIBNAME, luaopen_string},
                                         {LUA_MATHLIBNAME, luaopen_math},
                                         {LUA_BITLIBNAME, luaopen_bit},
                                         {LUA_JITLIBNAME, luaopen_jit},
                                         {NULL, NULL}};
    for (const luaL_Reg *library = libraries; library->name != NULL; library++) {
        lua_pushcfunction(L, library->func);
        lua_pushstring(L, library->name);
        lua_call(L, 1, 0);
    }
}

/*
 * Compiling a loop, with its branches, vain attempts and changes of the code's protection, takes as
 * long as thousands of rounds in the interpreter: it is worth it for who has had as many. LuaJIT
 * itself would begin after 56, in the middle of the first requests that loop over a fleet.
 */
static void set_compiler(lua_State *L)
{
    lua_getglobal(L, LUA_JITLIBNAME);
    lua_getfield(L, -1, "opt");
    lua_getfield(L, -1, "start");
    lua_pushliteral(L, "hotloop=4000");
    lua_pushliteral(L, "hotexit=100"); /* of a branch that its trace does not have; 254 at most */
    lua_call(L, 2, 0);
    lua_pop(L, 2);
}

/* Fills the table on top of the stack, the one behind the frozen globals. */
static void fill_globals(lua_State *L)
{
    static const char *const no_string[] = {"dump", NULL};
    static const char *const no_table[] = {"foreach", "foreachi", "getn", "maxn", NULL};
    open_safe(L);
    remove_names(L, "string", no_string);
    remove_names(L, "table", no_table);
    open_string(L);
    open_coroutine(L);
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    lua_insert(L, -2);
    copy_names(L, plain_globals);
    lua_remove(L, -2);
    copy_library(L, "string");
    copy_library(L, "table");
    copy_library(L, "math");
    copy_library(L, "bit");
    copy_library(L, "coroutine");
    lua_newtable(L);
    luaL_register(L, NULL, os_functions);
    freeze(L, refuse_change);
    lua_setfield(L, -2, "os");
    lua_getglobal(L, "tostring");
    lua_pushcclosure(L, script_print, 1);
    lua_setfield(L, -2, "print");
    lua_pushcfunction(L, md__require_function);
    lua_setfield(L, -2, "require");
}

void md__push_globals(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, globals_key);
}

void md__sandbox_open(lua_State *L)
{
    lua_gc(L, LUA_GCSETPAUSE, COLLECT_AT_PCT);
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, md__loaded_key);
    open_libraries(L);
    set_compiler(L);
    md__checkpoint_open(L);
    md__errors_open(L);
    md__objects_open(L);
    md__http_open(L);
    lua_newtable(L);
    fill_globals(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, globals_key);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, refuse_read);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    freeze(L, refuse_write);
    lua_setfield(L, LUA_REGISTRYINDEX, md__environment_key);
    lua_newtable(L);
    lua_pushcfunction(L, freeze_function);
    lua_setfield(L, -2, "freeze");
    md__bind_all(L);
    md__loaded_set(L, "moondial.native");
}
