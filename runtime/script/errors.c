/*
 * Errors across the border: a status of ours becomes a table { code, status, detail } that scripts
 * can read, return and raise; whatever a script raises becomes a status again.
 */
#include <string.h>

#include "script/repl_internal.h"

static const char error_class[] = "moondial.error";
static const char no_memory[] = "not enough memory"; /* LuaJIT's own words */

static int error_text(lua_State *L)
{
    lua_getfield(L, 1, "detail");
    return 1;
}

void md__errors_open(lua_State *L)
{
    luaL_newmetatable(L, error_class);
    lua_pushcfunction(L, error_text);
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pushliteral(L, "code"); /* anchored for raw_text */
    lua_rawseti(L, -2, 1);
    lua_pushliteral(L, "detail");
    lua_rawseti(L, -2, 2);
    lua_pop(L, 1);
}

void md__push_error(lua_State *L, const struct md_error *err)
{
    lua_createtable(L, 0, 3);
    md__set_text(L, "code", md_status_name(err->code));
    md__set_number(L, "status", md_status_http(err->code));
    md__set_text(L, "detail", err->text);
    luaL_getmetatable(L, error_class);
    lua_setmetatable(L, -2);
}

int md__return_error(lua_State *L, const struct md_error *err)
{
    lua_pushnil(L);
    md__push_error(L, err);
    return 2;
}

void md__check_acting(lua_State *L, const char *name)
{
    const struct md__state *state = md__state(L);
    if (state->loading)
        luaL_error(L, "%s: not while loading", name);
    if (state->kind == MD__STATE_BUILDER || state->kind == MD__STATE_CHECK)
        luaL_error(L, "%s: not while a model is built or a folder checked", name);
}

bool md__is_private(lua_State *L)
{
    const struct md_repl *repl = md__state(L)->repl;
    return repl != NULL && !repl->live;
}

void md__check_changing(lua_State *L, const char *name)
{
    md__check_acting(L, name);
    if (md__is_private(L))
        luaL_error(L, "%s changes live data: allow it to this session with :live on", name);
}

static enum md_status code_by_name(const char *name)
{
    for (int code = MD_OK + 1; code < MD_STATUS_COUNT; code++) {
        if (strcmp(md_status_name((enum md_status)code), name) == 0)
            return (enum md_status)code;
    }
    return MD_ERR_SCRIPT;
}

/*
 * Outside of a protected call nothing may allocate: pushing a field's name does not, because
 * md__errors_open has anchored the strings.
 */
static const char *raw_text(lua_State *L, int index, const char *field)
{
    lua_pushstring(L, field);
    lua_rawget(L, index);
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    lua_pop(L, 1); /* the table keeps it alive */
    return text;
}

static enum md_status take_table(lua_State *L, int index, struct md_error *err)
{
    const char *code = raw_text(L, index, "code");
    const char *detail = raw_text(L, index, "detail");
    if (detail == NULL)
        return md_fail(err, MD_ERR_SCRIPT, "a table without a detail field was raised");
    return md_fail(err, code != NULL ? code_by_name(code) : MD_ERR_SCRIPT, "%s", detail);
}

/* An error is one line: where the text breaks, it goes on after a semicolon. */
static enum md_status take_text(const char *text, struct md_error *err)
{
    char line[2 * sizeof err->text];
    size_t used = 0;
    for (; *text != '\0' && used < sizeof line - 2; text++) {
        line[used++] = *text == '\n' ? ';' : *text;
        if (*text == '\n')
            line[used++] = ' ';
    }
    line[used] = '\0';
    return md_fail(err, MD_ERR_SCRIPT, "%s", line);
}

enum md_status md__take_error(lua_State *L, int lua_status, struct md_error *err)
{
    enum md_status status;
    int top = lua_gettop(L);
    /* A pcall on the way makes a string of it. */
    bool is_memory = lua_status == LUA_ERRMEM || (lua_type(L, top) == LUA_TSTRING &&
                                                  strcmp(lua_tostring(L, top), no_memory) == 0);
    if (is_memory)
        status = md_fail(err, MD_ERR_MEMORY,
                         "not enough memory for the script (see "
                         "request_bytes_max and state_bytes_max)");
    else if (lua_type(L, top) == LUA_TSTRING)
        status = take_text(lua_tostring(L, top), err);
    else if (lua_type(L, top) == LUA_TTABLE)
        status = take_table(L, top, err);
    else
        status = md_fail(err, MD_ERR_SCRIPT, "a %s was raised", luaL_typename(L, top));
    lua_settop(L, top - 1);
    return status;
}
