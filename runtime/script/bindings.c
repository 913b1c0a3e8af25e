/* The bindings of `moondial.native`, in the order in which they are made. */
#include "script/internal.h"

/* One row a file: bind_<name>.c, which defines md__binding_<name>. */
#define MD__BINDINGS(X)                                                                            \
    X(core)                                                                                        \
    X(dict)                                                                                        \
    X(fetch)                                                                                       \
    X(json)                                                                                        \
    X(rows)                                                                                        \
    X(metrics)                                                                                     \
    X(model)                                                                                       \
    X(device)                                                                                      \
    X(system)                                                                                      \
    X(tensor)                                                                                      \
    X(lazy)                                                                                        \
    X(columns)                                                                                     \
    X(graph)                                                                                       \
    X(series)                                                                                      \
    X(calendar)                                                                                    \
    X(forecasts)                                                                                   \
    X(alerts)                                                                                      \
    X(notify)                                                                                      \
    X(stream)                                                                                      \
    X(repl)                                                                                        \
    X(test)

#define X(name) extern const struct md__binding md__binding_##name;
MD__BINDINGS(X)
#undef X

const struct md__binding *const md__bindings[] = {
#define X(name) &md__binding_##name,
    MD__BINDINGS(X)
#undef X
        NULL,
};

void md__bind_all(lua_State *L)
{
    struct md_script *script = md__state(L)->script;
    for (int i = 0; md__bindings[i] != NULL; i++)
        md__bindings[i]->bind(L, script);
}

void md__bind_table(lua_State *L, const char *name, const luaL_Reg *functions)
{
    lua_getfield(L, -1, name);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_newtable(L);
    }
    luaL_register(L, NULL, functions);
    lua_setfield(L, -2, name);
}

void md__set_number(lua_State *L, const char *name, double number)
{
    lua_pushnumber(L, number);
    lua_setfield(L, -2, name);
}

void md__set_text(lua_State *L, const char *name, const char *text)
{
    lua_pushstring(L, text); /* nil for NULL: no field */
    lua_setfield(L, -2, name);
}
