/*
 * Loading Lua files. They come from two folders only: `moondial` and `moondial.x` from the library,
 * everything else from the scripts folder. Each file is run once per state, in the one sandboxed
 * environment, and chunk names are relative paths, so that messages read "routes.lua:12: ...". Only
 * text is loaded, never bytecode.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "script/internal.h"

enum { MODULE_NAME_MAX = 128, PATH_BYTES = 4096 };

static const size_t source_bytes_max = (size_t)4 << 20;
static const char library_prefix[] = "moondial";
static const char native_prefix[] = "moondial.native";

const char md__environment_key[] = "moondial.environment";
const char md__loaded_key[] = "moondial.loaded";

/*
 * Pushes the compiled text or a message. Text with checkpoints is what runs; messages come from the
 * text as it was written.
 */
static int compile_text(lua_State *L, const struct md_buffer *source, const char *chunk_name)
{
    struct md_buffer guarded;
    const char *text = source->data != NULL ? source->data : "";
    if (text[0] == LUA_SIGNATURE[0]) {
        lua_pushfstring(L, "%s: this is bytecode; only text is loaded", chunk_name + 1);
        return LUA_ERRSYNTAX;
    }
    int status = luaL_loadbufferx(L, text, source->length, chunk_name, "t");
    if (status != 0)
        return status;
    lua_pop(L, 1);
    md_buffer_init(&guarded, 4 * source_bytes_max);
    if (!md__checkpoint_insert(text, source->length, &guarded)) {
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

/* Nothing raises in here while the source is held, but want of memory for a message. */
static int compile_file(lua_State *L, const char *path, const char *chunk_name)
{
    struct md_error err;
    struct md_buffer source;
    md_buffer_init(&source, source_bytes_max);
    if (md_file_read(path, source_bytes_max, &source, &err) != MD_OK) {
        md_buffer_fini(&source);
        lua_pushstring(L, err.text);
        return LUA_ERRFILE;
    }
    int status = compile_text(L, &source, chunk_name);
    md_buffer_fini(&source);
    return status;
}

void md__compile(lua_State *L, const char *folder, const char *relative)
{
    char path[PATH_BYTES], chunk_name[MD__MODULE_FILE_MAX + 1];
    snprintf(path, sizeof path, "%s/%s", folder, relative);
    snprintf(chunk_name, sizeof chunk_name, "@%s", relative);
    if (compile_file(L, path, chunk_name) != 0)
        lua_error(L);
    lua_getfield(L, LUA_REGISTRYINDEX, md__environment_key);
    lua_setfenv(L, -2);
}

int md__load_file(lua_State *L, const char *folder, const char *relative)
{
    md__compile(L, folder, relative);
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

/* "a.b" to "a/b.lua" or "a/b/init.lua", whichever exists below folder. */
bool md__module_find(const char *folder, const char *name, char relative[MD__MODULE_FILE_MAX])
{
    static const char *const endings[] = {".lua", "/init.lua"};
    char path[PATH_BYTES];
    for (int i = 0; i < 2; i++) {
        int length = snprintf(relative, MD__MODULE_FILE_MAX, "%s", name);
        for (int at = 0; at < length; at++) {
            if (relative[at] == '.')
                relative[at] = '/';
        }
        snprintf(relative + length, (size_t)(MD__MODULE_FILE_MAX - length), "%s", endings[i]);
        snprintf(path, sizeof path, "%s/%s", folder, relative);
        if (access(path, R_OK) == 0)
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
    const struct md_script *script = md__state(L)->script;
    const char *folder = is_library(name) ? script->lib_dir : script->dir;
    char relative[MD__MODULE_FILE_MAX];
    if (!md__module_find(folder, name, relative))
        luaL_error(L, "module '%s' not found: %s has no such file", name,
                   is_library(name) ? "Moondial's library" : "the scripts folder");
    if (!md__state(L)->loading && md__state(L)->kind != MD__STATE_BUILDER)
        luaL_error(L, "require '%s': not loaded yet; require it at the top of a file", name);
    lua_pushlightuserdata(L, &loading_mark);
    md__loaded_set(L, name);
    md__compile(L, folder, relative);
    lua_call(L, md__checkpoint_push(L), 1);
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
    if (!lua_getstack(L, 1, &caller) || !lua_getinfo(L, "S", &caller))
        return true; /* C */
    return caller.what[0] == 'C' || strncmp(caller.source, "@moondial/", 10) == 0;
}

int md__require(lua_State *L, const char *name)
{
    if (!is_module_name(name))
        return luaL_error(L, "require: \"%s\" is not a module name (letters, digits, _ and dots)",
                          name);
    if (is_native(name) && !is_called_by_library(L))
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
