/*
 * md.series: the tables that the app declares, as objects. They are made when the app has been
 * loaded, filled from the store when the engine starts, and saved in the background until it ends.
 *
 * Reading copies out of the table into new tensors, so scripts never look at memory that a feed is
 * changing. Tables live as long as the engine; the objects only point at them.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "script/series_declare.h"
#include "script/tensor_object.h"
#include "series/persist.h"


struct series_object {
    struct md_series *series;
};

static const struct md__class series_class;

static struct md_series *check_series(lua_State *L)
{
    struct series_object *object = md__object_check(L, 1, &series_class);
    return object->series;
}

static int series_find(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    struct md_script *script = md__state(L)->script;
    md__check_acting(L, "md.series");
    for (int i = 0; i < script->series_count; i++) {
        if (strcmp(script->series[i].name, name) != 0)
            continue;
        struct series_object *object = md__object_new(L, &series_class, sizeof *object);
        object->series = script->series[i].series;
        return 1;
    }
    return luaL_error(L, "app.lua declares no series '%s'", name);
}

/* ---- arguments ------------------------------------------------------------------------------- */

/* Pushes an array of all keys of the table. */
static void push_keys(lua_State *L, const struct md_series *series)
{
    int count;
    struct md_buffer *owner = md__scratch(L, 0); /* frees the keys, also when Lua raises below */
    char **keys = md_series_keys(series, &count);
    owner->data = (char *)keys;
    if (!keys)
        luaL_error(L, "not enough memory");
    lua_createtable(L, count, 0);
    for (int i = 0; i < count; i++) {
        lua_pushstring(L, keys[i]);
        lua_rawseti(L, -2, i + 1);
    }
}

/* Field keys of the options at index 2, or all keys. The array stays on the stack. */
static const char **keys_check(lua_State *L, const struct md_series *series, int *count)
{
    luaL_checktype(L, 2, LUA_TTABLE);
    if (!md__field_table(L, 2, "keys"))
        push_keys(L, series);
    return md__texts_check(L, lua_gettop(L), count);
}

/* Field columns as numbers, or all columns. */
static int columns_check(lua_State *L, const struct md_series *series, int *columns)
{
    const struct md_series_options *options = md_series_options(series);
    int count;
    if (!md__field_table(L, 2, "columns")) {
        for (int i = 0; i < options->column_count; i++)
            columns[i] = i;
        return options->column_count;
    }
    const char **names = md__texts_check(L, lua_gettop(L), &count);
    if (count > MD_SERIES_COLUMNS_MAX)
        luaL_error(L, "columns: at most %d", MD_SERIES_COLUMNS_MAX);
    for (int i = 0; i < count; i++)
        if ((columns[i] = md_series_column(series, names[i])) < 0)
            luaL_error(L, "columns: series '%s' has no '%s'", options->name, names[i]);
    return count;
}

static int64_t now_closed_ms(lua_State *L, const struct md_series *series)
{
    return md_series_closed_ms(series, md_now_ms(md__state(L)->script->clock));
}

/* Field end_ms; by default the end of the newest closed step. */
static int64_t end_check(lua_State *L, const struct md_series *series)
{
    return md__field_ms(L, 2, "end_ms", (double)now_closed_ms(L, series));
}

/* ---- reading --------------------------------------------------------------------------------- */

static int series_keys(lua_State *L)
{
    push_keys(L, check_series(L));
    return 1;
}

static int series_count(lua_State *L)
{
    lua_pushinteger(L, md_series_count(check_series(L)));
    return 1;
}

/* series:window { keys =, steps =, columns =, end_ms = } -> tensor [keys, steps, columns], start_ms
 */
static int series_window(lua_State *L)
{
    struct md_series *series = check_series(L);
    const struct md_series_options *options = md_series_options(series);
    int columns[MD_SERIES_COLUMNS_MAX], key_count;
    const char **keys = keys_check(L, series, &key_count);
    int column_count = columns_check(L, series, columns);
    int steps = (int)md__field_int(L, 2, "steps", options->steps, 0, options->steps);
    int64_t end_ms = end_check(L, series);
    struct md__tensor_object *out = md__tensor_object_new(L);
    struct md_error err;
    size_t bytes = (size_t)key_count * (size_t)steps * (size_t)column_count * sizeof(float);
    md__charge(L, bytes);
    out->charged = bytes;
    out->writable = true;
    md__tensor_check_status(L,
                            md_series_window(series, keys, key_count, end_ms, steps, columns,
                                             column_count, &out->tensor, &err),
                            &err);
    lua_pushnumber(L, (lua_Number)(end_ms - (int64_t)steps * options->step_ms));
    return 2;
}

/* series:latest { keys =, columns = } -> tensor [keys, columns], times int64 [keys] */
static int series_latest(lua_State *L)
{
    struct md_series *series = check_series(L);
    int columns[MD_SERIES_COLUMNS_MAX], key_count;
    const char **keys = keys_check(L, series, &key_count);
    int column_count = columns_check(L, series, columns);
    struct md__tensor_object *values = md__tensor_object_new(L);
    struct md__tensor_object *times = md__tensor_object_new(L);
    struct md_error err;
    md__tensor_check_status(L,
                            md_series_latest(series, keys, key_count, columns, column_count,
                                             &values->tensor, &times->tensor, &err),
                            &err);
    return 2;
}

/* series:lengths { keys =, steps =, end_ms = } -> array: steps since the first one with data */
static int series_lengths(lua_State *L)
{
    struct md_series *series = check_series(L);
    const struct md_series_options *options = md_series_options(series);
    int key_count;
    const char **keys = keys_check(L, series, &key_count);
    int steps = (int)md__field_int(L, 2, "steps", options->steps, 0, options->steps);
    int *lengths = lua_newuserdata(L, ((size_t)key_count + 1) * sizeof *lengths);
    md_series_lengths(series, keys, key_count, end_check(L, series), steps, lengths);
    lua_createtable(L, key_count, 0);
    for (int i = 0; i < key_count; i++) {
        lua_pushinteger(L, lengths[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* series:label(key, name) -> string or nil */
static int series_label(lua_State *L)
{
    const struct md_series *series = check_series(L);
    const struct md_series_options *options = md_series_options(series);
    const char *key = luaL_checkstring(L, 2), *name = luaL_checkstring(L, 3);
    char text[MD_SERIES_KEY_BYTES];
    for (int i = 0; i < options->label_count; i++) {
        if (strcmp(options->label_fields[i], name) != 0)
            continue;
        if (!md_series_label(series, key, i, text))
            return 0;
        lua_pushstring(L, text);
        return 1;
    }
    return luaL_error(L, "series '%s' has no label '%s'", options->name, name);
}

static int series_version(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)md_series_version(check_series(L)));
    return 1;
}

static int series_closed_ms(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)now_closed_ms(L, check_series(L)));
    return 1;
}

static int series_stats(lua_State *L)
{
    const struct md_series *series = check_series(L);
    struct md_series_stats stats;
    md_series_get_stats(series, &stats);
    lua_newtable(L);
    md__set_number(L, "entities", stats.entities);
    md__set_number(L, "entities_max", md_series_options(series)->entities_max);
    md__set_number(L, "steps", md_series_options(series)->steps);
    md__set_number(L, "bytes", (double)stats.bytes);
    md__set_number(L, "samples", (double)stats.samples);
    md__set_number(L, "accepted_total", (double)stats.accepted);
    md__set_number(L, "rejected_total", (double)stats.rejected);
    md__set_number(L, "refused_entities_total", (double)stats.refused_entities);
    md__set_number(L, "unknown_fields_total", (double)stats.unknown_fields);
    md__set_number(L, "evicted_total", (double)stats.evicted);
    return 1;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void push_feed_result(lua_State *L, const struct md_feed_result *result)
{
    md__set_number(L, "accepted", (double)result->accepted);
    md__set_number(L, "rejected", (double)result->rejected);
    md__set_number(L, "ignored", (double)result->unknown_fields);
    lua_createtable(L, result->error_count, 0);
    for (int i = 0; i < result->error_count; i++) {
        lua_newtable(L);
        md__set_number(L, "index", (double)result->errors[i].index);
        md__set_text(L, "field", result->errors[i].field);
        md__set_text(L, "reason", result->errors[i].reason);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "errors");
}

/*
 * series:feed(body) -> { accepted, rejected, ignored, errors } or nil, err. When no record was
 * usable, err has these fields as well.
 */
static int feed_text(lua_State *L, struct md_series *series, const char *body, size_t length)
{
    struct md_feed_result *result = lua_newuserdata(L, sizeof *result);
    struct md_error err;
    if (md_series_feed(series, body, length, result, &err) == MD_OK) {
        lua_newtable(L);
        push_feed_result(L, result);
        return 1;
    }
    lua_pushnil(L);
    md__push_error(L, &err);
    if (result->rejected)
        push_feed_result(L, result);
    return 2;
}

static int series_feed(lua_State *L)
{
    struct md_series *series = check_series(L);
    size_t length;
    const char *body = luaL_checklstring(L, 2, &length);
    md__check_changing(L, "series:feed");
    return feed_text(L, series, body, length);
}

static int series_clear(lua_State *L)
{
    struct md_series *series = check_series(L);
    md__check_changing(L, "series:clear");
    md_series_clear(series);
    return 0;
}

static const luaL_Reg series_methods[] = {
    {"keys", series_keys},       {"count", series_count},     {"window", series_window},
    {"latest", series_latest},   {"lengths", series_lengths}, {"label", series_label},
    {"version", series_version}, {"stats", series_stats},     {"closed_ms", series_closed_ms},
    {"feed", series_feed},       {"clear", series_clear},     {NULL, NULL},
};
static const struct md__class series_class = {.name = "series", .methods = series_methods};

/* ---- the binding ----------------------------------------------------------------------------- */

/* Forgets entities that went silent; with or without a store. */
static void housekeep(struct md_script *script, int64_t now_ms)
{
    for (int i = 0; i < script->series_count; i++) {
        int evicted = md_series_evict(script->series[i].series, now_ms);
        if (evicted)
            md_log(MD_LOG_INFO, "series", "%s: forgot %d silent entities", script->series[i].name,
                   evicted);
    }
}

static void fini(struct md_script *script)
{
    md_saver_delete(script->saver);
    script->saver = NULL;
    for (int i = 0; i < script->series_count; i++)
        md_series_delete(script->series[i].series);
    md__series_settle(script, false, NULL);
    script->series_count = 0;
}

static void bind(lua_State *L, struct md_script *script)
{
    (void)script;
    md__class_new(L, &series_class);
    lua_pushcfunction(L, series_find);
    lua_setfield(L, -2, "series");
}

const struct md__binding md__binding_series = {.name = "series",
                                               .bind = bind,
                                               .declare = md__series_declare,
                                               .settle = md__series_settle,
                                               .housekeep = housekeep,
                                               .fini = fini};
