/*
 * What lua/moondial/repl.lua can do that no other script can: compile text, see the loaded modules,
 * ask where a function was written, replace a file for this session, write one to the folder.
 * require "moondial.native_repl"; only states of the REPL have it, and only the library may.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "script/generation.h"
#include "script/repl_internal.h"

static const size_t file_bytes_max = (size_t)4 << 20;

static struct md_repl *session(lua_State *L)
{
    return md__state(L)->repl;
}

/* ---- code ------------------------------------------------------------------------------------ */

/* compile(text, name, environment) -> chunk, to be called with checkpoints() | nil, message */
static int compile(lua_State *L)
{
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length), *name = luaL_checkstring(L, 2);
    luaL_checktype(L, 3, LUA_TTABLE);
    if (md__compile_text(L, text, length, name) != 0) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    lua_pushvalue(L, 3);
    lua_setfenv(L, -2);
    return 1;
}

/* checkpoints() -> the two values that every compiled chunk takes */
static int checkpoints(lua_State *L)
{
    return md__checkpoint_push(L);
}

/* modules() -> { name = value } of all that is loaded */
static int modules(lua_State *L)
{
    lua_newtable(L);
    lua_getfield(L, LUA_REGISTRYINDEX, md__loaded_key);
    for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1)) {
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, 1);
    }
    lua_settop(L, 1);
    return 1;
}

static int app(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, md__app_key);
    return 1;
}

static int globals(lua_State *L)
{
    md__push_globals(L);
    return 1;
}

/* where(function) -> file, first line, last line | nothing for one written in C */
static int where(lua_State *L)
{
    lua_Debug about;
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_getinfo(L, ">S", &about);
    if (about.what[0] == 'C')
        return 0;
    lua_pushstring(L, about.source[0] == '@' ? about.source + 1 : about.short_src);
    lua_pushinteger(L, about.linedefined);
    lua_pushinteger(L, about.lastlinedefined);
    return 3;
}

/* class(value) -> "tensor" | nothing for what is no object of ours */
static int class(lua_State *L)
{
    const struct md__class *found = md__object_class(L, 1);
    if (found == NULL)
        return 0;
    lua_pushstring(L, found->name);
    return 1;
}

/* methods(value) -> the table of an object's methods, or nothing */
static int methods(lua_State *L)
{
    if (md__object_class(L, 1) == NULL)
        return 0;
    md__class_push_methods(L, md__object_class(L, 1));
    return 1;
}

/* behind(table) -> what the read-only face of a frozen table hides, else the table itself */
static int behind(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (!lua_getmetatable(L, 1))
        return 1;
    lua_pushliteral(L, "__metatable");
    lua_rawget(L, 2);
    lua_pushliteral(L, "__index");
    lua_rawget(L, 2);
    bool frozen = lua_isboolean(L, 3) && lua_istable(L, 4);
    lua_pushvalue(L, frozen ? 4 : 1);
    return 1;
}

static int print(lua_State *L)
{
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    const struct md_repl_output *output = session(L)->output;
    if (output != NULL && output->print != NULL)
        output->print(output->context, text, length);
    return 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* A file of the scripts folder that a module can have: no way out of the folder. */
static const char *check_file(lua_State *L, int index)
{
    const char *name = luaL_checkstring(L, index);
    size_t length = strlen(name);
    bool legal = length > 4 && length < MD__MODULE_FILE_MAX && name[0] != '/' && name[0] != '.' &&
                 strstr(name, "/.") == NULL && strcmp(name + length - 4, ".lua") == 0;
    luaL_argcheck(L, legal, index, "the name of a Lua file of the scripts folder");
    return name;
}

static int push_path(lua_State *L, const char *name)
{
    lua_pushfstring(L, "%s/%s", md__state(L)->script->dir, name);
    return lua_gettop(L);
}

/* on_disk(file) -> text | nil, err */
static int on_disk(lua_State *L)
{
    struct md_error err;
    const char *name = check_file(L, 1);
    int path = push_path(L, name);
    struct md_buffer *text = md__scratch(L, file_bytes_max);
    if (md_file_read(lua_tostring(L, path), file_bytes_max, text, &err) != MD_OK)
        return md__return_error(L, &err);
    lua_pushlstring(L, text->data != NULL ? text->data : "", text->length);
    return 1;
}

/* changed() -> { file = this session's text } */
static int changed(lua_State *L)
{
    const struct md_repl *repl = session(L);
    lua_newtable(L);
    for (int i = 0; i < repl->file_count; i++) {
        lua_pushlstring(L, repl->files[i].text, repl->files[i].length);
        lua_setfield(L, -2, repl->files[i].name);
    }
    return 1;
}

/* stage(file, text | nil): the session's text of the file from the end of this request on */
static int stage(lua_State *L)
{
    size_t length = 0;
    const char *name = check_file(L, 1);
    const char *text = luaL_optlstring(L, 2, NULL, &length);
    struct md__repl_file *staged = &session(L)->staged;
    char *copy = text != NULL ? malloc(length + 1) : NULL;
    if (text != NULL && copy == NULL)
        return luaL_error(L, "not enough memory");
    if (text != NULL)
        memcpy(copy, text, length + 1);
    free(staged->text);
    memset(staged->name, 0, sizeof staged->name);
    memcpy(staged->name, name, strlen(name));
    staged->text = copy;
    staged->length = length;
    return 0;
}

static int reset(lua_State *L)
{
    session(L)->reset = true;
    return 0;
}

/* Follows links, so that a link stays one; keeps the mode. */
static enum md_status replace_file(const char *path, const struct md_file_part *part,
                                   struct md_error *err)
{
    char real[PATH_MAX];
    struct stat before;
    if (realpath(path, real) == NULL || stat(real, &before) != 0)
        return md_fail(err, MD_ERR_NOT_FOUND, "%.200s cannot be found", path);
    enum md_status status = md_file_replace(real, part, 1, err);
    if (status == MD_OK && chmod(real, before.st_mode & 07777) != 0)
        return md_fail(err, MD_ERR_IO, "%.200s: its mode could not be kept", path);
    return status;
}

/* write(file, text): into the scripts folder, whole or not at all -> true | nil, err */
static int write_file(lua_State *L)
{
    struct md_error err;
    const char *name = check_file(L, 1);
    struct md_file_part part;
    part.data = luaL_checklstring(L, 2, &part.length);
    int path = push_path(L, name);
    if (replace_file(lua_tostring(L, path), &part, &err) != MD_OK)
        return md__return_error(L, &err);
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- the session ----------------------------------------------------------------------------- */

/* carry(name, value) -> whether the variable can live on in another state */
static int carry(lua_State *L)
{
    struct md_repl *repl = session(L);
    const char *name = luaL_checkstring(L, 1);
    struct md__value *value;
    bool possible = repl->carried_count < MD__REPL_CARRIED_MAX &&
                    strlen(name) < MD__REPL_NAME_MAX &&
                    md__value_new(L, 2, md__state(L)->bytes_max, &value, NULL) == MD_OK;
    if (possible) {
        strcpy(repl->carried[repl->carried_count].name, name);
        repl->carried[repl->carried_count++].value = value;
    }
    lua_pushboolean(L, possible);
    return 1;
}

static int carried(lua_State *L)
{
    const struct md_repl *repl = session(L);
    lua_newtable(L);
    for (int i = 0; i < repl->carried_count; i++) {
        md__value_push(L, repl->carried[i].value);
        lua_setfield(L, -2, repl->carried[i].name);
    }
    return 1;
}

/* live([on]) -> whether calls may change live data */
static int live(lua_State *L)
{
    struct md_repl *repl = session(L);
    if (!lua_isnoneornil(L, 1))
        repl->live = lua_toboolean(L, 1);
    lua_pushboolean(L, repl->live);
    return 1;
}

/* compare(code): evaluates it with the files on disk, then asks again with "before" */
static int compare(lua_State *L)
{
    struct md_repl *repl = session(L);
    char *code = strdup(luaL_checkstring(L, 1));
    if (code == NULL)
        return luaL_error(L, "not enough memory");
    free(repl->compare);
    repl->compare = code;
    return 0;
}

/* generations() -> the session's, the one that serves now */
static int generations(lua_State *L)
{
    struct md_generation *current = md__generation_current(md__state(L)->script);
    int number = current->number;
    md__generation_unref(current);
    lua_pushinteger(L, session(L)->world->generation.number);
    lua_pushinteger(L, number);
    return 2;
}

/* trouble() -> why the session has what serves instead of what is on disk, or nothing */
static int trouble(lua_State *L)
{
    const struct md_repl *repl = session(L);
    if (repl->trouble[0] == '\0')
        return 0;
    lua_pushstring(L, repl->trouble);
    return 1;
}

static const luaL_Reg functions[] = {
    {"compile", compile},  {"trouble", trouble}, {"checkpoints", checkpoints},
    {"modules", modules},  {"app", app},         {"globals", globals},
    {"where", where},      {"class", class},     {"behind", behind},
    {"methods", methods},  {"print", print},     {"on_disk", on_disk},
    {"changed", changed},  {"stage", stage},     {"reset", reset},
    {"write", write_file}, {"carry", carry},     {"carried", carried},
    {"live", live},        {"compare", compare}, {"generations", generations},
    {NULL, NULL}};

static void bind(lua_State *L, struct md_script *script)
{
    (void)script;
    if (md__state(L)->kind != MD__STATE_REPL)
        return;
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    md__repl_look_bind(L);
    md__loaded_set(L, "moondial.native_repl");
}

const struct md__binding md__binding_repl = {.name = "repl", .bind = bind};
