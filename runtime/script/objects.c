/*
 * Userdata of our own classes. The metatable holds its class as light userdata under a private key,
 * so that md__object_class needs no registry lookup and no script can fake a class (metatables are
 * protected and scripts have no debug library).
 */
#include <string.h>

#include "script/internal.h"

/* The key's address is its identity. */
static char class_key;

static void set_methods(lua_State *L, const struct md__class *class)
{
    for (const luaL_Reg *method = class->methods; method != NULL && method->name != NULL;
         method++) {
        bool meta = strncmp(method->name, "__", 2) == 0;
        lua_pushcfunction(L, method->func);
        lua_setfield(L, meta ? -3 : -2, method->name);
    }
}

void md__class_new(lua_State *L, const struct md__class *class)
{
    lua_pushlightuserdata(L, (void *)class);
    lua_newtable(L); /* metatable */
    lua_newtable(L); /* methods */
    set_methods(L, class);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_pop(L, 1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pushlightuserdata(L, &class_key);
    lua_pushlightuserdata(L, (void *)class);
    lua_rawset(L, -3);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

void md__class_push_methods(lua_State *L, const struct md__class *class)
{
    lua_pushlightuserdata(L, (void *)class);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_getfield(L, -1, "__index");
    lua_remove(L, -2);
}

void md__class_extend(lua_State *L, const struct md__class *class, const luaL_Reg *methods)
{
    md__class_push_methods(L, class);
    luaL_register(L, NULL, methods);
    lua_pop(L, 1);
}

void *md__object_new(lua_State *L, const struct md__class *class, size_t size)
{
    void *object = lua_newuserdata(L, size);
    memset(object, 0, size);
    lua_pushlightuserdata(L, (void *)class);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_setmetatable(L, -2);
    return object;
}

const struct md__class *md__object_class(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
        return NULL;
    lua_pushlightuserdata(L, &class_key);
    lua_rawget(L, -2);
    const struct md__class *class = lua_touserdata(L, -1);
    lua_pop(L, 2);
    return class;
}

void *md__object_test(lua_State *L, int index, const struct md__class *class)
{
    return md__object_class(L, index) == class ? lua_touserdata(L, index) : NULL;
}

void *md__object_check(lua_State *L, int index, const struct md__class *class)
{
    void *object = md__object_test(L, index, class);
    if (object == NULL)
        luaL_typerror(L, index, class->name);
    return object;
}

/* ---- scratch buffers ------------------------------------------------------------------------- */

static int collect_scratch(lua_State *L)
{
    md_buffer_fini(lua_touserdata(L, 1));
    return 0;
}

static const luaL_Reg scratch_methods[] = {{"__gc", collect_scratch}, {NULL, NULL}};
static const struct md__class scratch_class = {.name = "scratch", .methods = scratch_methods};

struct md_buffer *md__scratch(lua_State *L, size_t bytes_max)
{
    struct md_buffer *buffer = md__object_new(L, &scratch_class, sizeof *buffer);
    md_buffer_init(buffer, bytes_max);
    return buffer;
}

void md__objects_open(lua_State *L)
{
    md__class_new(L, &scratch_class);
}
