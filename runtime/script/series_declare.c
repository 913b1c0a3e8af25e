/*
 * Series tables from app.lua: made when a generation declares them for the first time, kept when a
 * later one declares them alike, refused when it would need another table under the same name. New
 * tables wait until their generation is about to serve.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script/config.h"
#include "script/series_declare.h"
#include "script/tensor_object.h"
#include "series/persist.h"

#define MS_PER_S   1000.0
#define MS_PER_MIN 60000.0
#define VALUES_MAX 256 /* legal texts of one categorical column */

const char **md__texts_check(lua_State *L, int table, int *count)
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
        column->values = md__texts_check(L, lua_gettop(L), &column->value_count);
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

/* Why the table that exists cannot become the one that is wanted, NULL when it can. */
static const char *incompatible(const struct md_series_options *have,
                                const struct md_series_options *want)
{
    if (have->step_ms != want->step_ms)
        return "step_s";
    if (have->steps != want->steps)
        return "steps";
    if (have->entities_max != want->entities_max)
        return "entities_max";
    if (strcmp(have->key_field, want->key_field) != 0)
        return "key";
    if (strcmp(have->time_field, want->time_field) != 0)
        return "time";
    if (have->column_count != want->column_count)
        return "the number of columns";
    if (have->label_count != want->label_count)
        return "the number of labels";
    for (int i = 0; i < have->label_count; i++) {
        if (strcmp(have->label_fields[i], want->label_fields[i]) != 0)
            return have->label_fields[i];
    }
    for (int i = 0; i < have->column_count; i++) {
        const struct md_column *a = &have->columns[i], *b = &want->columns[i];
        bool same =
            strcmp(a->name, b->name) == 0 && a->kind == b->kind && a->value_count == b->value_count;
        for (int k = 0; same && k < a->value_count; k++)
            same = strcmp(a->values[k], b->values[k]) == 0;
        if (!same)
            return a->name;
    }
    return NULL;
}

/* -1: there is none yet. */
static int find_table(const struct md_script *script, const char *name)
{
    for (int i = 0; i < script->series_count; i++) {
        if (strcmp(script->series[i].name, name) == 0)
            return i;
    }
    return -1;
}

/* What may change in a table that stays, kept until the generation is settled. */
static void want_limits(lua_State *L, struct md_script *script, int table,
                        const struct md_series_options *options)
{
    struct md_series_limits *limits = calloc(1, sizeof *limits);
    if (limits == NULL)
        luaL_error(L, "not enough memory");
    limits->grace_ms = options->grace_ms;
    limits->late_max_ms = options->late_max_ms;
    limits->future_max_ms = options->future_max_ms;
    limits->evict_after_ms = options->evict_after_ms;
    for (int c = 0; c < options->column_count; c++) {
        limits->min[c] = options->columns[c].min;
        limits->max[c] = options->columns[c].max;
    }
    free(script->series[table].wanted);
    script->series[table].wanted = limits;
}

/* A new table waits behind the others until it is settled whether the generation serves. */
static void add_table(lua_State *L, struct md_script *script,
                      const struct md_series_options *options)
{
    struct md_error err;
    int slot = script->series_count + script->series_pending;
    if (slot == MD_SCRIPT_SERIES_MAX)
        luaL_error(L, "at most %d series", MD_SCRIPT_SERIES_MAX);
    md__tensor_check_status(L, md_series_new(options, &script->series[slot].series, &err), &err);
    snprintf(script->series[slot].name, sizeof script->series->name, "%s", options->name);
    script->series_pending++;
}

/* Makes the table that is described on top of the stack, or sees that it is the one there is. */
static void declare_one(lua_State *L, struct md_script *script)
{
    struct md_series_options options = {.clock = script->clock, .timezone = script->timezone};
    struct md_column columns[MD_SERIES_COLUMNS_MAX];
    int index = lua_gettop(L);
    read_options(L, index, &options);
    lua_getfield(L, index, "labels");
    options.label_fields = md__texts_check(L, lua_gettop(L), &options.label_count);
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
    int table = find_table(script, options.name);
    if (table < 0) {
        add_table(L, script, &options);
    } else {
        const char *problem =
            incompatible(md_series_options(script->series[table].series), &options);
        if (problem != NULL)
            luaL_error(L, "app.lua: series.%s: %s cannot change while the daemon runs: restart it",
                       options.name, problem);
        want_limits(L, script, table, &options);
    }
    lua_settop(L, index);
}

void md__series_declare(lua_State *L, struct md_script *script)
{
    int app = lua_gettop(L);
    lua_getfield(L, app, "series");
    int count = (int)lua_objlen(L, -1);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, app + 1, i);
        declare_one(L, script);
        lua_pop(L, 1);
    }
    lua_settop(L, app);
}

static void drop_pending(struct md_script *script)
{
    while (script->series_pending > 0)
        md_series_delete(script->series[script->series_count + --script->series_pending].series);
}

/* The saver knows its tables from its beginning: with new ones there is a new saver. */
static enum md_status save_all(struct md_script *script, int count, struct md_error *err)
{
    struct md_series *tables[MD_SCRIPT_SERIES_MAX];
    int interval_ms = (int)(md_config_number(script->config, "save_interval_s") * MS_PER_S);
    for (int i = 0; i < count; i++)
        tables[i] = script->series[i].series;
    md_saver_delete(script->saver);
    script->saver = NULL;
    return md_saver_new(script->store, tables, count, interval_ms, &script->saver, err);
}

static void settle_limits(struct md_script *script, bool accepted)
{
    for (int i = 0; i < script->series_count; i++) {
        struct md_series_limits *wanted = script->series[i].wanted;
        script->series[i].wanted = NULL;
        if (wanted != NULL && accepted)
            md_series_set_limits(script->series[i].series, wanted);
        free(wanted);
    }
}

/* New tables are filled from the store and become visible; the others get their new limits. */
enum md_status md__series_settle(struct md_script *script, bool accepted, struct md_error *err)
{
    int begin = script->series_count, end = begin + script->series_pending;
    enum md_status status = MD_OK;
    for (int i = begin; accepted && script->store && i < end && status == MD_OK; i++) {
        status = md_series_restore(script->series[i].series, script->store,
                                   md_now_ms(script->clock), err);
        if (status != MD_OK)
            md_error_context(err, "restoring series '%s'", script->series[i].name);
    }
    if (status == MD_OK && accepted && script->store && end > begin)
        status = save_all(script, end, err);
    settle_limits(script, accepted && status == MD_OK);
    if (status != MD_OK || !accepted) {
        drop_pending(script);
        return status;
    }
    script->series_pending = 0;
    script->series_count = end;
    return MD_OK;
}
