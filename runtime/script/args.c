/*
 * Fields of an options table as checked C values; see internal.h. Fields are read raw: a
 * metatable's __index could answer differently each time, and nothing would keep its answer alive.
 */
#include <math.h>

#include "script/internal.h"

/* Pushes the field; false (nothing pushed) when it is absent. */
static bool push_field(lua_State *L, int index, const char *name)
{
    index = index < 0 ? lua_gettop(L) + index + 1 : index;
    if (!lua_istable(L, index))
        luaL_error(L, "%s: a table with this field expected, got %s", name,
                   luaL_typename(L, index));
    lua_pushstring(L, name);
    lua_rawget(L, index);
    if (!lua_isnil(L, -1))
        return true;
    lua_pop(L, 1);
    return false;
}

static void fail_type(lua_State *L, const char *name, const char *expected)
{
    luaL_error(L, "%s: %s expected, got %s", name, expected, luaL_typename(L, -1));
}

const char *md__field_string(lua_State *L, int index, const char *name, const char *otherwise)
{
    if (!push_field(L, index, name)) {
        if (otherwise == NULL)
            luaL_error(L, "%s is missing", name);
        return otherwise;
    }
    if (lua_type(L, -1) != LUA_TSTRING)
        fail_type(L, name, "string");
    const char *text = lua_tostring(L, -1);
    lua_pop(L, 1); /* the table keeps it alive */
    return text;
}

double md__field_number(lua_State *L, int index, const char *name, double otherwise)
{
    if (!push_field(L, index, name)) {
        if (isnan(otherwise))
            luaL_error(L, "%s is missing", name);
        return otherwise;
    }
    if (lua_type(L, -1) != LUA_TNUMBER)
        fail_type(L, name, "number");
    double number = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return number;
}

int64_t md__field_int(lua_State *L, int index, const char *name, int64_t otherwise, int64_t min,
                      int64_t max)
{
    double number =
        md__field_number(L, index, name, otherwise == INT64_MIN ? NAN : (double)otherwise);
    if (!(number >= (double)min && number <= (double)max) || number != floor(number))
        luaL_error(L, "%s: %f is not an integer between %f and %f", name, number, (double)min,
                   (double)max);
    return (int64_t)number;
}

int64_t md__field_ms(lua_State *L, int index, const char *name, double otherwise)
{
    double ms = md__field_number(L, index, name, otherwise);
    if (!(fabs(ms) < MD__MS_MAX))
        luaL_error(L, "%s: not a time in milliseconds", name);
    return (int64_t)ms;
}

int64_t md__field_step_ms(lua_State *L, int index, const char *name)
{
    double seconds = md__field_number(L, index, name, NAN);
    if (!(seconds > 0 && seconds < 1e8))
        luaL_error(L, "%s: not a number of seconds", name);
    return (int64_t)(seconds * 1000);
}

bool md__field_table(lua_State *L, int index, const char *name)
{
    if (!push_field(L, index, name))
        return false;
    if (!lua_istable(L, -1))
        fail_type(L, name, "table");
    return true;
}

bool md__field_bool(lua_State *L, int index, const char *name, bool otherwise)
{
    if (!push_field(L, index, name))
        return otherwise;
    if (!lua_isboolean(L, -1))
        fail_type(L, name, "boolean");
    bool truth = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return truth;
}
