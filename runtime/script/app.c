/*
 * From the app description (what app.lua returned, checked and completed by lua/moondial/app.lua)
 * to C: routes, jobs, models, health. Functions stay in Lua: every state has loaded the same files,
 * so "routes, 7, run" names the same function in each.
 */
#include <math.h>
#include <string.h>

#include "base/json_out.h"
#include "script/alerts.h"

enum { LIST_MAX = 1000, EVERY_MS_MAX = 86400000 };

const char md__app_key[] = "moondial.app";

/* The handlers alone, by the index of their routes: looked up for each request. */
static int list_handlers(lua_State *L)
{
    lua_getfield(L, -1, "routes");
    int count = (int)lua_objlen(L, -1);
    lua_createtable(L, count, 0);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, -2, i);
        lua_getfield(L, -1, "run");
        lua_rawseti(L, -3, i);
        lua_pop(L, 1);
    }
    int handlers = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pop(L, 1);
    return handlers;
}

int md__app_load(lua_State *L)
{
    struct md__state *state = md__state(L);
    state->loading = true;
    md__require(L, "moondial");
    md__require(L, "app");
    if (!lua_istable(L, -1))
        return luaL_error(L, "app.lua: must return md.app { ... }, got %s", luaL_typename(L, -1));
    lua_getfield(L, -1, "is_app");
    if (!lua_toboolean(L, -1))
        return luaL_error(L, "app.lua: must return md.app { ... }, got a plain table");
    lua_pop(L, 1);
    state->handlers = list_handlers(L);
    lua_setfield(L, LUA_REGISTRYINDEX, md__app_key);
    state->loading = false;
    return 0;
}

void md__app_push_handler(lua_State *L, int index)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, md__state(L)->handlers);
    lua_rawgeti(L, -1, index);
    lua_remove(L, -2);
}

void md__app_push_function(lua_State *L, const char *list, int index)
{
    lua_getfield(L, LUA_REGISTRYINDEX, md__app_key);
    lua_getfield(L, -1, list);
    if (index > 0) {
        lua_rawgeti(L, -1, index);
        lua_remove(L, -2);
    }
    lua_getfield(L, -1, "run");
    luaL_checktype(L, -1, LUA_TFUNCTION);
    lua_replace(L, -3);
    lua_pop(L, 1);
}

/* ---- reading --------------------------------------------------------------------------------- */

static const char *keep(lua_State *L, struct md_generation *generation, const char *text)
{
    const char *copy = md_arena_strdup(&generation->arena, text);
    if (copy == NULL)
        luaL_error(L, "no memory for the app description");
    return copy;
}

static void *keep_array(lua_State *L, struct md_generation *generation, size_t count, size_t size)
{
    void *array = md_arena_array(&generation->arena, count > 0 ? count : 1, size);
    if (array == NULL)
        luaL_error(L, "no memory for the app description");
    return array;
}

/* Pushes app[field] and returns its length. */
static int push_list(lua_State *L, const char *field)
{
    lua_getfield(L, -1, field);
    int count = (int)lua_objlen(L, -1);
    if (count > LIST_MAX)
        luaL_error(L, "app.lua: more than %d %s", LIST_MAX, field);
    return count;
}

static void read_route(lua_State *L, struct md_generation *generation, struct md__route *route,
                       int index)
{
    struct md_route_info *info = &route->info;
    info->method = keep(L, generation, md__field_string(L, -1, "method", NULL));
    info->pattern = keep(L, generation, md__field_string(L, -1, "pattern", NULL));
    info->summary = keep(L, generation, md__field_string(L, -1, "summary", ""));
    info->needs_key = md__field_bool(L, -1, "key", true);
    info->admin = md__field_bool(L, -1, "admin", false);
    info->rate_per_min = (int)md__field_int(L, -1, "rate_per_min", 0, 0, 1000000000);
    info->body_bytes_max = (size_t)md__field_int(L, -1, "body_bytes_max", 0, 0, (int64_t)1 << 40);
    info->index = index;
    if (!md__route_parse(route, (char *)keep(L, generation, info->pattern)))
        luaL_error(L, "app.lua: \"%s\" is no route pattern", info->pattern);
}

static void read_routes(lua_State *L, struct md_generation *generation)
{
    int count = push_list(L, "routes");
    generation->routes = keep_array(L, generation, (size_t)count, sizeof *generation->routes);
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, -1, i + 1);
        read_route(L, generation, &generation->routes[i], i);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    generation->route_count = count;
    md__routes_sort(generation->routes, count);
}

static int64_t read_ms(lua_State *L, const char *field, double otherwise)
{
    double seconds = md__field_number(L, -1, field, otherwise);
    if (!(seconds >= 0 && seconds * 1000 <= EVERY_MS_MAX))
        luaL_error(L, "app.lua: %s must be between 0 and 86400", field);
    return (int64_t)llround(seconds * 1000);
}

static void add_job(lua_State *L, struct md_generation *generation, enum md__job_kind kind,
                    int index, const char *name)
{
    struct md__job *job = &generation->jobs[generation->job_count++];
    *job = (struct md__job){.kind = kind, .index = index, .name = keep(L, generation, name)};
    if (kind == MD__JOB_TIMER)
        job->every_ms = read_ms(L, "every_s", NAN);
    if (kind == MD__JOB_TICK) {
        job->every_ms = read_ms(L, "step_s", NAN);
        job->grace_ms = read_ms(L, "grace_s", 0);
    }
    if (kind != MD__JOB_START && job->every_ms < 1)
        luaL_error(L, "app.lua: %s: the interval must be positive", name);
}

static void read_single(lua_State *L, struct md_generation *generation, const char *field,
                        enum md__job_kind kind, const char *name)
{
    lua_getfield(L, -1, field);
    if (lua_istable(L, -1))
        add_job(L, generation, kind, 0, name);
    lua_pop(L, 1);
}

static void read_jobs(lua_State *L, struct md_generation *generation)
{
    int count = push_list(L, "timers");
    generation->jobs = keep_array(L, generation, (size_t)count + 2, sizeof *generation->jobs);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, -1, i);
        lua_pushfstring(L, "timer %s", md__field_string(L, -1, "name", NULL));
        const char *name = lua_tostring(L, -1);
        lua_insert(L, -2);
        add_job(L, generation, MD__JOB_TIMER, i, name);
        lua_pop(L, 2);
    }
    lua_pop(L, 1);
    read_single(L, generation, "on_tick", MD__JOB_TICK, "tick");
    read_single(L, generation, "on_start", MD__JOB_START, "on_start");
}

/* What the declaration on top of the stack says of how the model is to run. */
static void read_profile(lua_State *L, struct md_model_profile *profile)
{
    struct md_error err;
    const char *precision = md__field_string(L, -1, "precision", "");
    profile->has_precision = precision[0] != '\0';
    if (profile->has_precision && md_precision_parse(precision, &profile->precision, &err) != MD_OK)
        luaL_error(L, "app.lua: models: %s", err.text);
    profile->batch_max = (int)md__field_int(L, -1, "batch_max", 0, 0, INT_MAX);
    profile->accelerator_batch_max = (int)md__field_int(L, -1, "gpu_batch_max", 0, 0, INT_MAX);
}

static void read_models(lua_State *L, struct md_generation *generation)
{
    int count = push_list(L, "models");
    generation->models = keep_array(L, generation, (size_t)count, sizeof *generation->models);
    for (int i = 0; i < count; i++) {
        struct md__model_entry *model = &generation->models[i];
        lua_rawgeti(L, -1, i + 1);
        model->name = keep(L, generation, md__field_string(L, -1, "name", NULL));
        model->given = keep(L, generation, md__field_string(L, -1, "path", NULL));
        model->path = model->given;
        if (model->given[0] != '/') {
            lua_pushfstring(L, "%s/%s", generation->script->dir, model->given);
            model->path = keep(L, generation, lua_tostring(L, -1));
            lua_pop(L, 1);
        }
        model->optional = md__field_bool(L, -1, "optional", false);
        read_profile(L, &model->profile);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    generation->model_count = count;
}

/* The members without braces, to be put beside others. */
static void read_health(lua_State *L, struct md_generation *generation)
{
    struct md_buffer text;
    struct md_error err;
    md_buffer_init(&text, 1 << 16);
    lua_getfield(L, -1, "health");
    enum md_status status = md__json_write(L, -1, -1, &text, &err);
    lua_pop(L, 1);
    if (status == MD_OK && text.length >= 2) {
        text.data[text.length - 1] = '\0';
        generation->health = md_arena_strdup(&generation->arena, text.data + 1);
    }
    md_buffer_fini(&text);
    if (status != MD_OK || generation->health == NULL)
        luaL_error(L, "app.lua: health: %s", status != MD_OK ? err.text : "no memory");
}

int md__app_read(lua_State *L)
{
    struct md_generation *generation = lua_touserdata(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, md__app_key);
    generation->name = keep(L, generation, md__field_string(L, -1, "name", NULL));
    generation->version = keep(L, generation, md__field_string(L, -1, "version", ""));
    read_health(L, generation);
    read_routes(L, generation);
    read_jobs(L, generation);
    read_models(L, generation);
    md__alerts_read(L, generation);
    return 0;
}
