/*
 * native.engine { keys, profiles, columns, step_ms, start_ms }: an alert engine of a test's own
 * with the rules of the state's generation, and engine:tick({ values, known, channels, gauges },
 * show), which closes one more step and, when `show` is true, returns all alerts as
 * md.alerts.active shows them.
 *
 * Nothing here is live, so a tick that raises half-way leaves nothing behind but garbage: the
 * engine and the memory of its frames belong to one userdata.
 */
#include "script/bind_test_engine.h"

#include <math.h>
#include <string.h>

#include "script/alerts.h"

enum { LIST_MAX = 100000, CELLS_MAX = 10000000 };

static const size_t frame_bytes_max = (size_t)64 << 20, json_bytes_max = (size_t)16 << 20;

struct engine {
    struct md_alert_engine *alerts;
    struct md_arena names, frame; /* of all ticks; of this one */
    struct md_alert_frame shape;  /* what all frames have in common */
};

static int engine_tick(lua_State *L);

static int engine_gc(lua_State *L);

static const luaL_Reg engine_methods[] = {{"tick", engine_tick}, {"__gc", engine_gc}, {NULL, NULL}};
static const struct md__class engine_class = {.name = "engine", .methods = engine_methods};

static int engine_gc(lua_State *L)
{
    struct engine *engine = md__object_check(L, 1, &engine_class);
    md_alert_engine_delete(engine->alerts);
    engine->alerts = NULL;
    md_arena_fini(&engine->names);
    md_arena_fini(&engine->frame);
    return 0;
}

static const struct md__alerts *alerts_of(lua_State *L)
{
    const struct md_generation *generation = md__state(L)->generation;
    if (generation == NULL || generation->alerts == NULL)
        luaL_error(L, "app.lua has no alerts");
    return generation->alerts;
}

/* ---- reading tables -------------------------------------------------------------------------- */

static void *take(lua_State *L, struct md_arena *arena, size_t count, size_t size)
{
    void *memory = md_arena_array(arena, count > 0 ? count : 1, size);
    if (memory == NULL)
        luaL_error(L, "not enough memory for a frame");
    return memory;
}

static const char *take_text(lua_State *L, struct md_arena *arena, const char *text)
{
    const char *copy = md_arena_strdup(arena, text);
    if (copy == NULL)
        luaL_error(L, "not enough memory for a frame");
    return copy;
}

/* Pushes a list of the table at index; its length. */
static int push_list(lua_State *L, int index, const char *name)
{
    lua_getfield(L, index, name);
    if (!lua_istable(L, -1))
        luaL_error(L, "'%s' must be a list", name);
    size_t count = lua_objlen(L, -1);
    if (count > CELLS_MAX)
        luaL_error(L, "'%s' is too long", name);
    return (int)count;
}

static const char *const *read_texts(lua_State *L, struct md_arena *arena, int index,
                                     const char *name, int *count)
{
    *count = push_list(L, index, name);
    luaL_argcheck(L, *count <= LIST_MAX, index, "too many names");
    const char **texts = take(L, arena, (size_t)*count, sizeof *texts);
    for (int i = 0; i < *count; i++) {
        lua_rawgeti(L, -1, i + 1);
        texts[i] = take_text(L, arena, luaL_checkstring(L, -1));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return texts;
}

/* Exactly `count` numbers. */
static const float *read_numbers(lua_State *L, struct md_arena *arena, int index, const char *name,
                                 size_t count)
{
    if ((size_t)push_list(L, index, name) != count)
        luaL_error(L, "'%s' must hold %d numbers", name, (int)count);
    float *numbers = take(L, arena, count, sizeof *numbers);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        numbers[i] = (float)lua_tonumber(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return numbers;
}

static const unsigned char *read_known(lua_State *L, struct md_arena *arena, int index,
                                       size_t count)
{
    if ((size_t)push_list(L, index, "known") != count)
        luaL_error(L, "'known' must hold %d booleans", (int)count);
    unsigned char *known = take(L, arena, count, 1);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        known[i] = (unsigned char)lua_toboolean(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return known;
}

static void read_channels(lua_State *L, struct engine *engine, struct md_alert_frame *frame)
{
    int count = push_list(L, 2, "channels");
    struct md_alert_channel *channels = take(L, &engine->frame, (size_t)count, sizeof *channels);
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, -1, i + 1);
        int entry = lua_gettop(L);
        int steps = (int)md__field_int(L, entry, "steps", 0, 1, LIST_MAX);
        channels[i].column =
            take_text(L, &engine->frame, md__field_string(L, entry, "column", NULL));
        channels[i].quantile = (float)md__field_number(L, entry, "quantile", NAN);
        channels[i].step_ms = frame->step_ms;
        channels[i].steps = steps;
        channels[i].values = read_numbers(L, &engine->frame, entry, "values",
                                          (size_t)frame->key_count * (size_t)steps);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    frame->channels = channels;
    frame->channel_count = count;
}

static void read_gauges(lua_State *L, struct engine *engine, struct md_alert_frame *frame)
{
    int count = push_list(L, 2, "gauges");
    struct md_alert_gauge *gauges = take(L, &engine->frame, (size_t)count, sizeof *gauges);
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, -1, i + 1);
        gauges[i].name = take_text(L, &engine->frame, md__field_string(L, -1, "name", NULL));
        gauges[i].value = md__field_number(L, -1, "value", NAN);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    frame->gauges = gauges;
    frame->gauge_count = count;
}

/* ---- the engine ------------------------------------------------------------------------------ */

static int engine_new(lua_State *L)
{
    const struct md__alerts *alerts = alerts_of(L);
    struct md_error err;
    luaL_checktype(L, 1, LUA_TTABLE);
    struct engine *engine = md__object_new(L, &engine_class, sizeof *engine);
    md_arena_init(&engine->names, frame_bytes_max);
    md_arena_init(&engine->frame, frame_bytes_max);
    struct md_alert_frame *shape = &engine->shape;
    int profiles;
    shape->time_ms = md__field_ms(L, 1, "start_ms", NAN);
    shape->step_ms = (int64_t)md__field_number(L, 1, "step_ms", NAN);
    shape->keys = read_texts(L, &engine->names, 1, "keys", &shape->key_count);
    shape->profiles = read_texts(L, &engine->names, 1, "profiles", &profiles);
    shape->columns = read_texts(L, &engine->names, 1, "columns", &shape->column_count);
    luaL_argcheck(L, profiles == shape->key_count, 1, "a profile for each key");
    luaL_argcheck(L, shape->step_ms > 0, 1, "step_ms must be positive");
    if (md_alert_engine_new(alerts->entity, &engine->alerts, &err) != MD_OK)
        return luaL_error(L, "%s", err.text);
    md_alert_engine_set_rules(engine->alerts, alerts->rules);
    return 1;
}

struct showing {
    struct md_buffer *json;
    int64_t now_ms;
};

static bool show(void *context, const struct md_alert *alert)
{
    struct showing *showing = context;
    md_buffer_text(showing->json, showing->json->length > 1 ? "," : "");
    md__alert_json(alert, showing->now_ms, showing->json);
    return true;
}

static int push_alerts(lua_State *L, struct engine *engine)
{
    struct md_error err;
    struct showing showing = {md__scratch(L, json_bytes_max), engine->shape.time_ms};
    md_buffer_text(showing.json, "[");
    md_alert_engine_visit(engine->alerts, show, &showing);
    md_buffer_text(showing.json, "]");
    if (md_buffer_check(showing.json, &err) != MD_OK ||
        md__json_read(L, showing.json->data, showing.json->length, &err) != MD_OK)
        return luaL_error(L, "%s", err.text);
    return 1;
}

/* A rule that fails would otherwise look like one that has nothing to say. */
static void check_health(lua_State *L, const struct engine *engine,
                         const struct md_alert_rules *rules)
{
    struct md_alert_rule_health health;
    for (int i = 0; i < md_alert_rules_count(rules); i++) {
        md_alert_rule_health(engine->alerts, i, &health);
        if (health.error[0] != '\0')
            luaL_error(L, "rule %s: %s", md_alert_rules_get(rules, i)->name, health.error);
    }
}

static int engine_tick(lua_State *L)
{
    struct engine *engine = md__object_check(L, 1, &engine_class);
    const struct md__alerts *alerts = alerts_of(L);
    const struct md_config *config = md__state(L)->config;
    struct md__alert_caller caller = {
        .L = L, .budget_ns = md_config_int(config, "alert_rule_budget_ms") * 1000000};
    struct md_error err;
    luaL_checktype(L, 2, LUA_TTABLE);
    md_arena_fini(&engine->frame);
    md_arena_init(&engine->frame, frame_bytes_max);
    engine->shape.time_ms += engine->shape.step_ms;
    struct md_alert_frame frame = engine->shape;
    size_t cells = (size_t)frame.key_count * (size_t)frame.column_count;
    frame.values = read_numbers(L, &engine->frame, 2, "values", cells);
    frame.known = read_known(L, &engine->frame, 2, cells);
    read_channels(L, engine, &frame);
    read_gauges(L, engine, &frame);
    struct md_alert_predicate predicate = md__alert_predicate(&caller);
    if (md_alert_engine_tick(engine->alerts, &frame, &predicate, NULL, &err) != MD_OK)
        return luaL_error(L, "%s", err.text);
    check_health(L, engine, alerts->rules);
    return lua_toboolean(L, 3) ? push_alerts(L, engine) : 0;
}

/* entity() -> the label that names a key: "server" */
static int entity(lua_State *L)
{
    lua_pushstring(L, alerts_of(L)->entity);
    return 1;
}

static const luaL_Reg functions[] = {{"engine", engine_new}, {"entity", entity}, {NULL, NULL}};

void md__test_engine_open(lua_State *L)
{
    md__class_new(L, &engine_class);
}

void md__test_engine_bind(lua_State *L)
{
    luaL_register(L, NULL, functions);
}
