/*
 * Loading Lua files. They come from two folders only: `moondial` and `moondial.x` from the library,
 * everything else from the scripts folder, both through sources.h. Each file is run once per state,
 * in the one sandboxed environment, and chunk names are relative paths, so that messages read
 * "routes.lua:12: ...". Only text is accepted from a folder; the bytecode that states share is what
 * this file has made of it.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "script/internal.h"
#include "script/sources.h"

enum { MODULE_NAME_MAX = 128 };

static const size_t source_bytes_max = (size_t)4 << 20;
static const char library_prefix[] = "moondial";
static const char native_prefix[] = "moondial.native";

const char md__environment_key[] = "moondial.environment";
const char md__loaded_key[] = "moondial.loaded";

/*
 * Pushes the compiled text or a message. Text with checkpoints is what runs; messages come from the
 * text as it was written.
 */
int md__compile_text(lua_State *L, const char *text, size_t length, const char *chunk_name)
{
    struct md_buffer guarded;
    if (text[0] == LUA_SIGNATURE[0]) {
        lua_pushfstring(L, "%s: this is bytecode; only text is loaded", chunk_name + 1);
        return LUA_ERRSYNTAX;
    }
    int status = luaL_loadbufferx(L, text, length, chunk_name, "t");
    if (status != 0)
        return status;
    lua_pop(L, 1);
    md_buffer_init(&guarded, 4 * source_bytes_max);
    if (!md__checkpoint_insert(text, length, &guarded)) {
        md_buffer_fini(&guarded);
        lua_pushfstring(L, "%s: names that begin with md__ are taken", chunk_name + 1);
        return LUA_ERRSYNTAX;
    }
    status = md_buffer_check(&guarded, NULL) != MD_OK
                 ? LUA_ERRMEM
                 : luaL_loadbufferx(L, guarded.data, guarded.length, chunk_name, "t");
    md_buffer_fini(&guarded);
    return status;
}

static int append_code(lua_State *L, const void *data, size_t length, void *buffer)
{
    (void)L;
    md_buffer_append(buffer, data, length);
    return md_buffer_check(buffer, NULL) != MD_OK;
}

/* Keeps the function on top of the stack as bytecode: a matter of speed only. */
static void keep_code(lua_State *L, struct md__source *source)
{
    struct md_buffer code;
    md_buffer_init(&code, 4 * source_bytes_max);
    int top = lua_gettop(L);
    if (lua_dump(L, append_code, &code) == 0)
        md__source_set_code(source, code.data, code.length);
    lua_settop(L, top); /* a failure leaves its message */
    md_buffer_fini(&code);
}

static int push_source(lua_State *L, struct md__source *source)
{
    char chunk_name[MD__MODULE_FILE_MAX + 1];
    const struct md_blob *code = atomic_load(&source->code);
    snprintf(chunk_name, sizeof chunk_name, "@%s", source->name);
    if (code != NULL)
        return luaL_loadbufferx(L, code->data, code->length, chunk_name, "b");
    int status = md__compile_text(L, source->text, source->length, chunk_name);
    if (status == 0)
        keep_code(L, source);
    return status;
}

void md__compile(lua_State *L, struct md__sources *sources, const char *relative)
{
    struct md__source *source;
    struct md_error err;
    if (md__sources_get(sources, relative, &source, &err) != MD_OK)
        luaL_error(L, "%s", err.text);
    if (push_source(L, source) != 0)
        lua_error(L);
    lua_getfield(L, LUA_REGISTRYINDEX, md__environment_key);
    lua_setfenv(L, -2);
}

int md__load_file(lua_State *L, struct md__sources *sources, const char *relative)
{
    md__compile(L, sources, relative);
    lua_call(L, md__checkpoint_push(L), 1);
    return 1;
}

/* ---- require --------------------------------------------------------------------------------- */

static bool is_module_name(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > MODULE_NAME_MAX || name[0] == '.' || name[length - 1] == '.')
        return false;
    for (size_t i = 0; i < length; i++) {
        bool legal = isalnum((unsigned char)name[i]) || name[i] == '_' || name[i] == '.';
        if (!legal || (name[i] == '.' && name[i + 1] == '.'))
            return false;
    }
    return true;
}

static bool is_library(const char *name)
{
    size_t length = sizeof library_prefix - 1;
    return strncmp(name, library_prefix, length) == 0 &&
           (name[length] == '\0' || name[length] == '.');
}

/* "a.b" to "a/b.lua" or "a/b/init.lua", whichever there is. */
bool md__module_find(struct md__sources *sources, const char *name,
                     char relative[MD__MODULE_FILE_MAX])
{
    static const char *const endings[] = {".lua", "/init.lua"};
    struct md__source *source;
    for (int i = 0; i < 2; i++) {
        int length = snprintf(relative, MD__MODULE_FILE_MAX, "%s", name);
        for (int at = 0; at < length; at++) {
            if (relative[at] == '.')
                relative[at] = '/';
        }
        snprintf(relative + length, (size_t)(MD__MODULE_FILE_MAX - length), "%s", endings[i]);
        /* One that is there but cannot be read is found: loading it says what is wrong. */
        if (md__sources_get(sources, relative, &source, NULL) != MD_ERR_NOT_FOUND)
            return true;
    }
    return false;
}

void md__loaded_set(lua_State *L, const char *name)
{
    lua_getfield(L, LUA_REGISTRYINDEX, md__loaded_key);
    lua_insert(L, -2);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

/* While a module is being loaded its entry is this address. */
static char loading_mark;

static void load_module(lua_State *L, const char *name)
{
    const struct md__state *state = md__state(L);
    struct md__sources *sources = is_library(name) ? state->script->library : state->sources;
    char relative[MD__MODULE_FILE_MAX];
    if (sources == NULL || !md__module_find(sources, name, relative))
        luaL_error(L, "module '%s' not found: %s has no such file", name,
                   is_library(name) ? "Moondial's library" : "the scripts folder");
    bool requires = state->kind == MD__STATE_BUILDER || state->kind == MD__STATE_CHECK;
    if (!state->loading && !requires)
        luaL_error(L, "require '%s': not loaded yet; require it at the top of a file", name);
    lua_pushlightuserdata(L, &loading_mark);
    md__loaded_set(L, name);
    md__load_file(L, sources, relative);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
    }
    lua_pushvalue(L, -1);
    md__loaded_set(L, name);
}

/* The tables behind the library's own: what a script changes there would be changed for all. */
static bool is_native(const char *name)
{
    return strncmp(name, native_prefix, sizeof native_prefix - 1) == 0;
}

static bool is_called_by_library(lua_State *L)
{
    lua_Debug caller;
    for (int level = 1; lua_getstack(L, level, &caller); level++) {
        lua_getinfo(L, "S", &caller);
        if (caller.what[0] != 'C') /* pcall, coroutine.wrap: whoever called those */
            return strncmp(caller.source, "@moondial/", 10) == 0;
    }
    return false;
}

/* Later, a script's function that the library calls could hide behind it with a tail call. */
static bool is_time_for_natives(const struct md__state *state)
{
    return state->loading || state->kind == MD__STATE_BUILDER || state->kind == MD__STATE_CHECK;
}

int md__require(lua_State *L, const char *name)
{
    if (!is_module_name(name))
        return luaL_error(L, "require: \"%s\" is not a module name (letters, digits, _ and dots)",
                          name);
    if (is_native(name) && !(is_time_for_natives(md__state(L)) && is_called_by_library(L)))
        return luaL_error(L, "require '%s': for Moondial's own library only", name);
    lua_getfield(L, LUA_REGISTRYINDEX, md__loaded_key);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
    if (lua_touserdata(L, -1) == &loading_mark)
        return luaL_error(L, "require '%s': files require each other in a circle", name);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        load_module(L, name);
    }
    return 1;
}

int md__require_function(lua_State *L)
{
    return md__require(L, luaL_checkstring(L, 1));
}
