/*
 * A frame: everything that rules may look at at one tick, gathered into memory of its own, so that
 * the Lua state can serve others while it is evaluated and kept.
 *
 *     native.alert_frame(closed_ms, forecasts, profile) -> frame
 *
 * forecasts is a list of { column =, quantile =, step_s =, keys =, values = tensor [keys, steps] }.
 * Several may speak of one column and quantile, each for other keys. What no rule looks at, and
 * nobody wants kept, is not even copied.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script/alerts.h"
#include "script/tensor_object.h"
#include "series/series.h"

enum { CHANNELS_MAX = 256, STEPS_MAX = 100000 };

static const size_t frame_bytes_max = (size_t)256 << 20;

struct frame_object {
    struct md__alert_input *input;
};

struct md__alert_input *md__alert_input_check(lua_State *L, int index)
{
    struct frame_object *object = md__object_check(L, index, &md__alert_frame_class);
    if (object->input == NULL)
        luaL_error(L, "an alert frame that was never filled");
    return object->input;
}

void md__alert_input_unref(struct md__alert_input *input)
{
    if (input == NULL || atomic_fetch_sub(&input->refs, 1) != 1)
        return;
    md_tensor_unref(&input->values);
    md_tensor_unref(&input->latest);
    md_tensor_unref(&input->times);
    md_alert_record_fini(&input->rounded);
    md_arena_fini(&input->arena);
    free(input->keys);
    md__generation_unref(input->generation);
    free(input);
}

static int frame_gc(lua_State *L)
{
    struct frame_object *object = lua_touserdata(L, 1);
    md__alert_input_unref(object->input);
    object->input = NULL;
    return 0;
}

static const luaL_Reg frame_methods[] = {{"__gc", frame_gc}, {NULL, NULL}};
const struct md__class md__alert_frame_class = {.name = "alert frame", .methods = frame_methods};

void *md__alert_input_take(lua_State *L, struct md__alert_input *input, size_t count, size_t size)
{
    void *memory = md_arena_array(&input->arena, count > 0 ? count : 1, size);
    if (memory == NULL)
        luaL_error(L, "not enough memory for a frame of alerts");
    return memory;
}

static const char *copy(lua_State *L, struct md__alert_input *input, const char *text)
{
    const char *copied = md_arena_strdup(&input->arena, text);
    if (copied == NULL)
        luaL_error(L, "not enough memory for a frame of alerts");
    return copied;
}

/* ---- values ---------------------------------------------------------------------------------- */

static struct md_series *find_series(const struct md_script *script, const char *name)
{
    for (int i = 0; i < script->series_count; i++) {
        if (strcmp(script->series[i].name, name) == 0)
            return script->series[i].series;
    }
    return NULL;
}

bool md__alerts_owed(const struct md_generation *generation, int64_t closed_ms, int64_t step_ms)
{
    const struct md_script *script = generation->script;
    struct md_alert_live *live = atomic_load(&script->alerts);
    if (live == NULL || generation->alerts == NULL ||
        md_alert_live_time_ms(live) != closed_ms - step_ms)
        return false;
    const struct md_series *series = find_series(script, generation->alerts->series);
    int count = 0, has_values = 0;
    char **keys = series != NULL ? md_series_keys(series, &count) : NULL;
    for (int i = 0; keys != NULL && !has_values && i < count; i++)
        md_series_lengths(series, (const char *const *)&keys[i], 1, closed_ms, 1, &has_values);
    free(keys);
    return has_values > 0;
}

/* The closed step of every entity, and which columns it has ever sent. */
static void read_values(lua_State *L, struct md__alert_input *input, const struct md_series *series)
{
    const struct md_series_options *options = md_series_options(series);
    struct md_alert_frame *frame = &input->frame;
    struct md_error err;
    int columns[MD_SERIES_COLUMNS_MAX], count = options->column_count;
    const char **names = md__alert_input_take(L, input, (size_t)count, sizeof *names);
    for (int c = 0; c < count; c++) {
        columns[c] = c;
        names[c] = options->columns[c].name;
    }
    input->keys = md_series_keys(series, &frame->key_count);
    if (input->keys == NULL)
        luaL_error(L, "not enough memory for a frame of alerts");
    frame->keys = (const char *const *)input->keys;
    frame->columns = names;
    frame->column_count = count;
    frame->step_ms = options->step_ms;
    md__tensor_check_status(L,
                            md_series_window(series, frame->keys, frame->key_count, frame->time_ms,
                                             1, columns, count, &input->values, &err),
                            &err);
    md__tensor_check_status(L,
                            md_series_latest(series, frame->keys, frame->key_count, columns, count,
                                             &input->latest, &input->times, &err),
                            &err);
    size_t cells = (size_t)frame->key_count * (size_t)count;
    unsigned char *known = md__alert_input_take(L, input, cells, 1);
    const float *latest = input->latest.data;
    for (size_t i = 0; i < cells; i++)
        known[i] = !isnan(latest[i]);
    frame->values = input->values.data;
    frame->known = known;
}

/* ---- profiles -------------------------------------------------------------------------------- */

static int label_index(const struct md_series_options *options)
{
    for (int i = 0; i < options->label_count; i++) {
        if (strcmp(options->label_fields[i], "profile") == 0)
            return i;
    }
    return -1;
}

/* What the app's function (stack slot 3) makes of an entity; the label where it fails. */
static const char *ask_profile(lua_State *L, struct md__alert_input *input, const char *key,
                               const char *label)
{
    lua_pushvalue(L, 3);
    lua_pushstring(L, key);
    if (label[0] != '\0')
        lua_pushstring(L, label);
    else
        lua_pushnil(L);
    const char *profile = label;
    if (lua_pcall(L, 2, 1, 0) != 0) {
        struct md_error err;
        md__take_error(L, LUA_ERRRUN, &err);
        snprintf(input->trouble, sizeof input->trouble, "alerts.profile fails: %.160s", err.text);
        lua_pushnil(L);
    } else if (lua_type(L, -1) == LUA_TSTRING) {
        profile = lua_tostring(L, -1);
    }
    return profile; /* its text stays on the stack */
}

static void read_profiles(lua_State *L, struct md__alert_input *input,
                          const struct md_series *series)
{
    struct md_alert_frame *frame = &input->frame;
    int label = label_index(md_series_options(series));
    const char **profiles =
        md__alert_input_take(L, input, (size_t)frame->key_count, sizeof *profiles);
    for (int k = 0; k < frame->key_count; k++) {
        char text[MD_SERIES_KEY_BYTES];
        int top = lua_gettop(L);
        if (!md_series_label(series, frame->keys[k], label, text))
            text[0] = '\0';
        const char *profile = text;
        if (lua_isfunction(L, 3))
            profile = ask_profile(L, input, frame->keys[k], text);
        /* Neighbours are often of one kind. */
        profiles[k] = k > 0 && strcmp(profiles[k - 1], profile) == 0 ? profiles[k - 1]
                                                                     : copy(L, input, profile);
        lua_settop(L, top);
    }
    frame->profiles = profiles;
}

/* ---- forecasts ------------------------------------------------------------------------------- */

/* One entry of the list, on top of the stack. */
struct entry {
    const char *column;
    float quantile;
    int64_t step_ms;
    const struct md_tensor *values;
    int64_t keys, steps;
};

/* Leaves the list of its keys on the stack. */
static struct entry entry_check(lua_State *L, int index)
{
    struct entry entry = {.column = md__field_string(L, -1, "column", NULL),
                          .quantile = (float)md__field_number(L, -1, "quantile", NAN),
                          .step_ms = md__field_step_ms(L, -1, "step_s")};
    lua_getfield(L, -1, "values");
    entry.values = md__tensor_test(L, -1);
    lua_pop(L, 1); /* the entry keeps it */
    if (entry.values == NULL || entry.values->shape.rank != 2 || entry.values->dtype != MD_F32)
        luaL_error(L, "forecasts[%d]: values must be a float32 tensor [keys, steps]", index);
    if (!md__field_table(L, -1, "keys"))
        luaL_error(L, "forecasts[%d]: keys is missing", index);
    entry.keys = entry.values->shape.dim[0];
    entry.steps = entry.values->shape.dim[1];
    if (entry.keys != (int64_t)lua_objlen(L, -1))
        luaL_error(L, "forecasts[%d]: %d keys, but values of %d", index, (int)lua_objlen(L, -1),
                   (int)entry.keys);
    return entry;
}

/* Steps of the entry that anybody looks at; 0: none. */
static int steps_wanted(struct md_alert_live *live, const struct entry *entry)
{
    int64_t within_ms = 0;
    if (!md_alert_live_wants(live, entry->column, entry->quantile, &within_ms))
        return 0;
    int64_t steps = within_ms / entry->step_ms;
    steps = steps < entry->steps ? steps : entry->steps;
    return (int)(steps < STEPS_MAX ? steps : STEPS_MAX);
}

static struct md_alert_channel *channel_of(lua_State *L, struct md__alert_input *input,
                                           const struct entry *entry, int index)
{
    struct md_alert_channel *channels = (struct md_alert_channel *)input->frame.channels;
    int count = input->frame.channel_count;
    for (int i = 0; i < count; i++) {
        if (fabsf(channels[i].quantile - entry->quantile) > 1e-6f ||
            strcmp(channels[i].column, entry->column) != 0)
            continue;
        if (channels[i].step_ms != entry->step_ms)
            luaL_error(L, "forecasts[%d]: %s has another step_s before", index, entry->column);
        return &channels[i];
    }
    if (count == CHANNELS_MAX)
        luaL_error(L, "more than %d forecasts of different columns and quantiles", CHANNELS_MAX);
    channels[count] = (struct md_alert_channel){.column = copy(L, input, entry->column),
                                                .quantile = entry->quantile,
                                                .step_ms = entry->step_ms};
    input->frame.channel_count++;
    return &channels[count];
}

static int compare_keys(const void *wanted, const void *candidate)
{
    return strcmp(wanted, *(const char *const *)candidate);
}

/* Entities that the frame does not have came after its keys were read. */
static void copy_rows(lua_State *L, const struct md_alert_frame *frame,
                      const struct md_alert_channel *channel, const struct entry *entry)
{
    float *values = (float *)channel->values;
    const float *rows = entry->values->data;
    int64_t steps = entry->steps < channel->steps ? entry->steps : channel->steps;
    for (int64_t i = 0; i < entry->keys; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        const char *key = lua_tostring(L, -1);
        const char *const *found = key != NULL ? bsearch(key, frame->keys, (size_t)frame->key_count,
                                                         sizeof *frame->keys, compare_keys)
                                               : NULL;
        lua_pop(L, 1);
        if (found != NULL)
            memcpy(values + (found - frame->keys) * channel->steps, rows + i * entry->steps,
                   (size_t)steps * sizeof *values);
    }
}

static void make_room(lua_State *L, struct md__alert_input *input)
{
    struct md_alert_frame *frame = &input->frame;
    struct md_alert_channel *channels = (struct md_alert_channel *)frame->channels;
    for (int i = 0; i < frame->channel_count; i++) {
        size_t count = (size_t)frame->key_count * (size_t)channels[i].steps;
        float *values = md__alert_input_take(L, input, count, sizeof *values);
        for (size_t k = 0; k < count; k++)
            values[k] = NAN;
        channels[i].values = values;
    }
}

/* Twice over the list: for the sizes, then for the values. */
static void read_forecasts(lua_State *L, struct md__alert_input *input, struct md_alert_live *live)
{
    int count = (int)lua_objlen(L, 2);
    input->frame.channels =
        md__alert_input_take(L, input, CHANNELS_MAX, sizeof *input->frame.channels);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 1; i <= count; i++) {
            int top = lua_gettop(L);
            lua_rawgeti(L, 2, i);
            struct entry entry = entry_check(L, i);
            int steps = steps_wanted(live, &entry);
            if (steps > 0) {
                struct md_alert_channel *channel = channel_of(L, input, &entry, i);
                if (pass == 0)
                    channel->steps = steps > channel->steps ? steps : channel->steps;
                else
                    copy_rows(L, &input->frame, channel, &entry);
            }
            lua_settop(L, top);
        }
        if (pass == 0)
            make_room(L, input);
    }
}

/* ---- all together ---------------------------------------------------------------------------- */

static void read_gauges(lua_State *L, struct md__alert_input *input, struct md_script *script)
{
    const struct md__alerts *alerts = input->generation->alerts;
    struct md_alert_gauge *gauges =
        md__alert_input_take(L, input, (size_t)alerts->gauge_count, sizeof *gauges);
    int64_t now_ms = md_now_ms(script->clock);
    for (int i = 0; i < alerts->gauge_count; i++) {
        gauges[i].name = alerts->gauges[i].text;
        gauges[i].value = md__gauge_read(&script->alerting->gauges, &alerts->gauges[i], now_ms);
    }
    input->frame.gauges = gauges;
    input->frame.gauge_count = alerts->gauge_count;
}

int md__alert_frame(lua_State *L)
{
    struct md__state *state = md__state(L);
    struct md_script *script = state->script;
    lua_settop(L, 3);
    luaL_checktype(L, 2, LUA_TTABLE);
    md__check_acting(L, "native.alert_frame");
    struct md_alert_live *live = atomic_load(&script->alerts);
    if (state->generation == NULL || state->generation->alerts == NULL || live == NULL)
        return luaL_error(L, "the app declares no alerts");
    struct frame_object *object = md__object_new(L, &md__alert_frame_class, sizeof *object);
    struct md__alert_input *input = calloc(1, sizeof *input);
    if (input == NULL)
        return luaL_error(L, "not enough memory for a frame of alerts");
    atomic_init(&input->refs, 1);
    object->input = input;
    md_arena_init(&input->arena, frame_bytes_max);
    input->generation = md__generation_ref(state->generation);
    input->frame.time_ms = (int64_t)luaL_checknumber(L, 1);
    const char *name = input->generation->alerts->series;
    const struct md_series *series = find_series(script, name);
    if (series == NULL)
        return luaL_error(L, "alerts: there is no series '%s'", name);
    read_values(L, input, series);
    read_profiles(L, input, series);
    read_forecasts(L, input, live);
    read_gauges(L, input, script);
    return 1;
}
