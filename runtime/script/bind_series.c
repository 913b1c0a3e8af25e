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
#include "script/config.h"
#include "script/tensor_object.h"
#include "series/persist.h"

#define MS_PER_S   1000.0
#define MS_PER_MIN 60000.0
#define VALUES_MAX 256 /* legal texts of one categorical column */

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

/* Strings of a Lua array, borrowed from it: an array in a userdata left on the stack. */
static const char **texts_check(lua_State *L, int table, int *count)
{
    *count = (int)lua_objlen(L, table);
    const char **texts = lua_newuserdata(L, ((size_t)*count + 1) * sizeof *texts);
    for (int i = 0; i < *count; i++) {
        lua_rawgeti(L, table, i + 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "entry %d must be a string", i + 1);
        texts[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    return texts;
}

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
    return texts_check(L, lua_gettop(L), count);
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
    const char **names = texts_check(L, lua_gettop(L), &count);
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

static void set_number(lua_State *L, const char *name, double number)
{
    lua_pushnumber(L, number);
    lua_setfield(L, -2, name);
}

static int series_stats(lua_State *L)
{
    const struct md_series *series = check_series(L);
    struct md_series_stats stats;
    md_series_get_stats(series, &stats);
    lua_newtable(L);
    set_number(L, "entities", stats.entities);
    set_number(L, "entities_max", md_series_options(series)->entities_max);
    set_number(L, "steps", md_series_options(series)->steps);
    set_number(L, "bytes", (double)stats.bytes);
    set_number(L, "samples", (double)stats.samples);
    set_number(L, "accepted_total", (double)stats.accepted);
    set_number(L, "rejected_total", (double)stats.rejected);
    set_number(L, "refused_entities_total", (double)stats.refused_entities);
    set_number(L, "unknown_fields_total", (double)stats.unknown_fields);
    set_number(L, "evicted_total", (double)stats.evicted);
    return 1;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void push_feed_result(lua_State *L, const struct md_feed_result *result)
{
    set_number(L, "accepted", (double)result->accepted);
    set_number(L, "rejected", (double)result->rejected);
    set_number(L, "ignored", (double)result->unknown_fields);
    lua_createtable(L, result->error_count, 0);
    for (int i = 0; i < result->error_count; i++) {
        lua_newtable(L);
        set_number(L, "index", (double)result->errors[i].index);
        lua_pushstring(L, result->errors[i].field);
        lua_setfield(L, -2, "field");
        lua_pushstring(L, result->errors[i].reason);
        lua_setfield(L, -2, "reason");
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
    md__check_acting(L, "series:feed");
    return feed_text(L, series, body, length);
}

static int series_clear(lua_State *L)
{
    struct md_series *series = check_series(L);
    md__check_acting(L, "series:clear");
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

/* ---- declaring ------------------------------------------------------------------------------- */

static enum md_column_kind column_kind(const char *name)
{
    return strcmp(name, "max") == 0    ? MD_COLUMN_MAX
           : strcmp(name, "last") == 0 ? MD_COLUMN_LAST
                                       : MD_COLUMN_MEAN;
}

/* The column description on top of the stack; its texts stay referenced from the app. */
static void read_column(lua_State *L, struct md_column *column)
{
    int index = lua_gettop(L);
    *column = (struct md_column){
        .name = md__field_string(L, index, "name", NULL),
        .kind = column_kind(md__field_string(L, index, "kind", "mean")),
        .min = (float)md__field_number(L, index, "min", -INFINITY),
        .max = (float)md__field_number(L, index, "max", INFINITY),
        .integer = md__field_bool(L, index, "integer", false),
    };
    lua_getfield(L, index, "values");
    if (!lua_isnil(L, -1)) {
        column->values = texts_check(L, lua_gettop(L), &column->value_count);
        if (column->value_count > VALUES_MAX)
            luaL_error(L, "column '%s' has more than %d values", column->name, VALUES_MAX);
    }
}

/* The fields of the description at index; columns and labels are filled by the caller. */
static void read_options(lua_State *L, int index, struct md_series_options *options)
{
    options->name = md__field_string(L, index, "name", NULL);
    options->key_field = md__field_string(L, index, "key", NULL);
    options->time_field = md__field_string(L, index, "time", NULL);
    options->step_ms = (int64_t)(md__field_number(L, index, "step_s", NAN) * MS_PER_S);
    options->steps = (int)md__field_int(L, index, "steps", INT64_MIN, 1, 100000);
    options->entities_max = (int)md__field_int(L, index, "entities_max", 1000, 1, 1000000);
    options->grace_ms = (int64_t)(md__field_number(L, index, "grace_s", 10) * MS_PER_S);
    options->late_max_ms = (int64_t)(md__field_number(L, index, "late_max_min", 60) * MS_PER_MIN);
    options->future_max_ms =
        (int64_t)(md__field_number(L, index, "future_max_min", 5) * MS_PER_MIN);
    options->evict_after_ms =
        (int64_t)(md__field_number(L, index, "evict_after_min", 1440) * MS_PER_MIN);
}

/* Makes the table that is described on top of the stack. */
static void declare_one(lua_State *L, struct md_script *script)
{
    struct md_series_options options = {.clock = script->clock, .timezone = script->timezone};
    struct md_column columns[MD_SERIES_COLUMNS_MAX];
    struct md_error err;
    int index = lua_gettop(L);
    read_options(L, index, &options);
    lua_getfield(L, index, "labels");
    options.label_fields = texts_check(L, lua_gettop(L), &options.label_count);
    lua_getfield(L, index, "columns");
    int list = lua_gettop(L);
    options.columns = columns;
    options.column_count = (int)lua_objlen(L, list);
    if (options.column_count > MD_SERIES_COLUMNS_MAX)
        luaL_error(L, "series '%s': at most %d columns", options.name, MD_SERIES_COLUMNS_MAX);
    luaL_checkstack(L, 4 * options.column_count + 8, "columns");
    for (int i = 0; i < options.column_count; i++) {
        lua_rawgeti(L, list, i + 1);
        read_column(L, &columns[i]);
    }
    if (script->series_count == MD_SCRIPT_SERIES_MAX)
        luaL_error(L, "at most %d series", MD_SCRIPT_SERIES_MAX);
    md__tensor_check_status(
        L, md_series_new(&options, &script->series[script->series_count].series, &err), &err);
    snprintf(script->series[script->series_count].name, sizeof script->series->name, "%s",
             options.name);
    script->series_count++;
    lua_settop(L, index);
}

static void declare(lua_State *L, struct md_script *script)
{
    int app = lua_gettop(L);
    if (script->series_count)
        return; /* a later generation finds them made */
    lua_getfield(L, app, "series");
    int count = (int)lua_objlen(L, -1);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, app + 1, i);
        declare_one(L, script);
        lua_pop(L, 1);
    }
    lua_settop(L, app);
}

static enum md_status declared(struct md_script *script, struct md_error *err)
{
    struct md_series *tables[MD_SCRIPT_SERIES_MAX];
    if (!script->store || !script->series_count)
        return MD_OK;
    for (int i = 0; i < script->series_count; i++) {
        tables[i] = script->series[i].series;
        enum md_status status =
            md_series_restore(tables[i], script->store, md_now_ms(script->clock), err);
        if (status != MD_OK)
            return md_error_context(err, "restoring series '%s'", script->series[i].name);
    }
    int interval_ms = (int)(md_config_number(script->config, "save_interval_s") * MS_PER_S);
    return md_saver_new(script->store, tables, script->series_count, interval_ms, &script->saver,
                        err);
}

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
                                               .declare = declare,
                                               .declared = declared,
                                               .housekeep = housekeep,
                                               .fini = fini};
