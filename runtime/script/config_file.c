/*
 * config.lua and --config files. They run in a bare Lua state of their own: no library, no JIT, an
 * instruction limit. A file is data, with arithmetic where that reads better (8 * 2^20).
 */
#include <ctype.h>
#include <lauxlib.h>
#include <lua.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "script/config_internal.h"

enum { DATA_DEPTH_MAX = 16, INSTRUCTIONS_MAX = 1000000 };

static const size_t source_bytes_max = (size_t)1 << 20;

static json_t *json_of_lua(lua_State *L, int index, int depth);

/* Adds a value or, when it is NULL, drops the whole collection. */
static json_t *array_of_lua(lua_State *L, int index, int depth)
{
    json_t *array = json_array();
    int count = (int)lua_objlen(L, index);
    for (int i = 1; i <= count && array != NULL; i++) {
        lua_rawgeti(L, index, i);
        if (json_array_append_new(array, json_of_lua(L, lua_gettop(L), depth + 1)) != 0) {
            json_decref(array);
            array = NULL;
        }
        lua_pop(L, 1);
    }
    return array;
}

static json_t *object_of_lua(lua_State *L, int index, int depth)
{
    json_t *object = json_object();
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
        json_t *value = name != NULL ? json_of_lua(L, lua_gettop(L), depth + 1) : NULL;
        if (name == NULL || json_object_set_new(object, name, value) != 0) {
            json_decref(object);
            lua_pop(L, 2);
            return NULL;
        }
    }
    return object;
}

/* NULL for what is no data: functions, NaN, cycles. */
static json_t *json_of_lua(lua_State *L, int index, int depth)
{
    if (depth > DATA_DEPTH_MAX || !lua_checkstack(L, 8))
        return NULL;
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        return json_boolean(lua_toboolean(L, index));
    case LUA_TNUMBER:
        return isfinite(lua_tonumber(L, index)) ? md__config_number(lua_tonumber(L, index)) : NULL;
    case LUA_TSTRING:
        return json_string(lua_tostring(L, index));
    case LUA_TTABLE:
        return lua_objlen(L, index) > 0 ? array_of_lua(L, index, depth)
                                        : object_of_lua(L, index, depth);
    default:
        return NULL;
    }
}

static void too_long(lua_State *L, lua_Debug *debug)
{
    (void)debug;
    luaL_error(L, "does not come to an end");
}

/* Runs the file; the value of its one result or NULL with err set. */
static json_t *run_data_file(lua_State *L, const struct md_buffer *source, const char *chunk_name,
                             struct md_error *err)
{
    lua_sethook(L, too_long, LUA_MASKCOUNT, INSTRUCTIONS_MAX);
    const char *text = source->data != NULL ? source->data : "";
    if (luaL_loadbufferx(L, text, source->length, chunk_name, "t") != 0 ||
        lua_pcall(L, 0, 1, 0) != 0) {
        const char *message = lua_tostring(L, -1);
        md_fail(err, MD_ERR_SCRIPT, "%s", message != NULL ? message : "error");
        return NULL;
    }
    if (!lua_istable(L, -1)) {
        md_fail(err, MD_ERR_SCRIPT, "%s: must return a table of settings", chunk_name + 1);
        return NULL;
    }
    json_t *data = object_of_lua(L, lua_gettop(L), 0);
    if (data == NULL)
        md_fail(err, MD_ERR_SCRIPT,
                "%s: only names with booleans, finite numbers, strings and tables of them",
                chunk_name + 1);
    return data;
}

/* Appends the file's text to source. */
static json_t *read_data_file(const char *path, const char *chunk_name, struct md_buffer *source,
                              struct md_error *err)
{
    json_t *data = NULL;
    lua_State *L = luaL_newstate();
    if (L == NULL)
        md_fail(err, MD_ERR_MEMORY, "no memory for a Lua state");
    else if (md_file_read(path, source_bytes_max, source, err) == MD_OK)
        data = run_data_file(L, source, chunk_name, err);
    if (L != NULL)
        lua_close(L);
    return data;
}

static bool is_name_byte(char byte)
{
    return isalnum((unsigned char)byte) || byte == '_';
}

/* The line where `name =` stands, 0 when it is not written so. */
static int line_of(const char *text, const char *name)
{
    size_t length = strlen(name);
    int line = 1;
    for (const char *at = text; at != NULL && *at != '\0'; at++) {
        line += *at == '\n';
        bool begins = (at == text || !is_name_byte(at[-1])) && strncmp(at, name, length) == 0;
        if (begins && at[length + strspn(at + length, " \t")] == '=')
            return line;
    }
    return 0;
}

/* `declares`: the file may bring new keys (config.lua), or not (--config). */
static enum md_status apply_one(struct md_config *config, const char *name, json_t *value,
                                const char *origin, bool declares, struct md_error *err)
{
    struct md__key *key = md__config_find(config, name);
    if (key != NULL)
        return md__config_set(key, json_incref(value), origin, err);
    if (declares)
        return md__config_add(config, name, json_incref(value), origin, err);
    const struct md__key *meant = md__config_nearest(config, name);
    return md_fail(err, MD_ERR_INVALID, "%s: unknown key \"%.64s\"%s%s%s", origin, name,
                   meant != NULL ? " (did you mean \"" : "", meant != NULL ? meant->name : "",
                   meant != NULL ? "\"?)" : "");
}

/* "config.lua: port must be ..." becomes "config.lua:3: port must be ...". */
static void add_line(struct md_error *err, const char *origin, const char *text, const char *name)
{
    struct md_error told = *err;
    size_t length = strlen(origin);
    int line = line_of(text, name);
    bool has_origin = strncmp(told.text, origin, length) == 0;
    if (line > 0)
        md_fail(err, told.code, "%s:%d: %s", origin, line,
                has_origin ? told.text + length + strspn(told.text + length, ": ") : told.text);
}

static enum md_status apply_data(struct md_config *config, json_t *data,
                                 const struct md_buffer *source, const char *origin, bool declares,
                                 struct md_error *err)
{
    const char *name;
    json_t *value;
    struct md_error cause;
    json_object_foreach(data, name, value)
    {
        enum md_status status = apply_one(config, name, value, origin, declares, &cause);
        if (status == MD_OK)
            continue;
        add_line(&cause, origin, source->data, name);
        return md_fail(err, status, "%s", cause.text);
    }
    return MD_OK;
}

static enum md_status apply_file(struct md_config *config, const char *path, const char *origin,
                                 bool declares, struct md_error *err)
{
    char chunk_name[200];
    snprintf(chunk_name, sizeof chunk_name, "@%s", origin);
    struct md_buffer source;
    md_buffer_init(&source, source_bytes_max);
    struct md_error cause = {0};
    enum md_status status;
    json_t *data = read_data_file(path, chunk_name, &source, &cause);
    if (data == NULL)
        status = md_fail(err, cause.code, "%s", cause.text);
    else
        status = apply_data(config, data, &source, origin, declares, err);
    json_decref(data);
    md_buffer_fini(&source);
    return status;
}

enum md_status md__config_apply_folder(struct md_config *config, const char *dir,
                                       struct md_error *err)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/config.lua", dir) >= (int)sizeof path)
        return md_fail(err, MD_ERR_INVALID, "the path of the scripts folder is too long");
    struct md_error missing;
    enum md_status status = apply_file(config, path, "config.lua", true, &missing);
    if (status == MD_OK || status == MD_ERR_NOT_FOUND)
        return MD_OK;
    return md_fail(err, status, "%s", missing.text);
}

enum md_status md__config_apply_file(struct md_config *config,
                                     const struct md_config_options *options, struct md_error *err)
{
    const char *file = options->file;
    for (int at = 0; at < options->argc; at++)
        md__config_is_file_flag(options, &at, &file);
    return file != NULL ? apply_file(config, file, file, false, err) : MD_OK;
}
