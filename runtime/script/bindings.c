/* The bindings of `moondial.native`, in the order in which they are made. One row a file. */
#include "script/internal.h"

extern const struct md__binding md__binding_json, md__binding_tensor, md__binding_graph;

const struct md__binding *const md__bindings[] = {
    &md__binding_json,
    &md__binding_tensor,
    &md__binding_graph,
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
