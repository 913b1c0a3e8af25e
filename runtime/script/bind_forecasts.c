/*
 * md.forecasts.put: keeps what a tick forecast, for rehearsal and grading. Written to the store as
 * float16 while the Lua state serves others.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "script/tensor_object.h"
#include "store/store.h"

#define QUANTILES_MAX 64

/* Owns copies of everything, because the state goes on while it is written. */
struct put_wait {
    struct md_wait base;
    struct md_store_forecast forecast;
    struct md_tensor values; /* as the script gave them */
    char *text;              /* model, target and keys */
    const char **keys;
    float quantiles[QUANTILES_MAX];
};

static enum md_status put_block(struct md_wait *wait, struct md_script *script, int64_t deadline_ns,
                                struct md_error *err)
{
    struct put_wait *put = (struct put_wait *)wait;
    (void)deadline_ns;
    enum md_status status = md_tensor_convert(&put->values, MD_F16, &put->forecast.values, err);
    return status == MD_OK ? md_store_put_forecast(script->store, &put->forecast, err) : status;
}

static void put_drop(struct md_wait *wait)
{
    struct put_wait *put = (struct put_wait *)wait;
    md_tensor_unref(&put->values);
    md_tensor_unref(&put->forecast.values);
    free(put->text);
    free(put->keys);
    free(put);
}

/* Everything that may raise, while the wait does not exist yet. Returns the bytes of text needed.
 */
static size_t check_arguments(lua_State *L, struct put_wait *put)
{
    struct md_store_forecast *f = &put->forecast;
    luaL_checktype(L, 1, LUA_TTABLE);
    size_t bytes = strlen(md__field_string(L, 1, "model", NULL)) + 1;
    bytes += strlen(md__field_string(L, 1, "target", NULL)) + 1;
    f->made_at_ms = md__field_ms(L, 1, "made_at_ms", NAN);
    f->start_ms = md__field_ms(L, 1, "start_ms", NAN);
    f->step_ms = md__field_step_ms(L, 1, "step_s");
    if (!md__field_table(L, 1, "quantiles"))
        luaL_error(L, "quantiles is missing");
    f->quantile_count = (int)lua_objlen(L, -1);
    if (f->quantile_count > QUANTILES_MAX)
        luaL_error(L, "quantiles: at most %d", QUANTILES_MAX);
    for (int i = 0; i < f->quantile_count; i++) {
        lua_rawgeti(L, -1, i + 1);
        put->quantiles[i] = (float)luaL_checknumber(L, -1);
        lua_pop(L, 1);
    }
    if (!md__field_table(L, 1, "keys"))
        luaL_error(L, "keys is missing");
    f->key_count = (int)lua_objlen(L, -1);
    for (int i = 0; i < f->key_count; i++) {
        lua_rawgeti(L, -1, i + 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "keys: entry %d must be a string", i + 1);
        bytes += lua_objlen(L, -1) + 1;
        lua_pop(L, 1);
    }
    return bytes;
}

static const char *copy_text(char **text, const char *from)
{
    char *copy = *text;
    size_t bytes = strlen(from) + 1;
    memcpy(copy, from, bytes);
    *text += bytes;
    return copy;
}

/* Nothing here raises: all was checked. */
static void copy_texts(lua_State *L, struct put_wait *put)
{
    struct md_store_forecast *f = &put->forecast;
    char *text = put->text;
    f->model = copy_text(&text, md__field_string(L, 1, "model", NULL));
    f->target = copy_text(&text, md__field_string(L, 1, "target", NULL));
    md__field_table(L, 1, "keys");
    for (int i = 0; i < f->key_count; i++) {
        lua_rawgeti(L, -1, i + 1);
        put->keys[i] = copy_text(&text, lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    f->keys = put->keys;
    f->quantiles = put->quantiles;
}

/* md.forecasts.put { model =, target =, made_at_ms =, start_ms =, step_s =, keys =, quantiles =,
 * values = } */
static int forecasts_put(lua_State *L)
{
    struct put_wait checked = {
        .base = {.block = put_block, .finish = md__wait_true, .drop = put_drop}};
    md__check_changing(L, "md.forecasts.put");
    size_t bytes = check_arguments(L, &checked);
    lua_getfield(L, 1, "values");
    struct md_tensor *values = md__tensor_check(L, -1);
    if (!md__state(L)->script->store) { /* nothing outlives this process: nothing to keep */
        lua_pushboolean(L, 1);
        return 1;
    }
    struct put_wait *put = malloc(sizeof *put);
    if (put) {
        *put = checked;
        put->text = malloc(bytes);
        put->keys = calloc((size_t)checked.forecast.key_count + 1, sizeof *put->keys);
    }
    if (!put || !put->text || !put->keys) {
        if (put)
            put_drop(&put->base);
        return luaL_error(L, "not enough memory");
    }
    put->values = md_tensor_ref(values);
    copy_texts(L, put);
    return md__yield(L, &put->base);
}

static void bind(lua_State *L, struct md_script *script)
{
    static const luaL_Reg functions[] = {{"put", forecasts_put}, {NULL, NULL}};
    (void)script;
    md__bind_table(L, "forecasts", functions);
}

const struct md__binding md__binding_forecasts = {.name = "forecasts", .bind = bind};
