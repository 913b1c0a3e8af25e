/*
 * md.model(name): predict, start, info, loaded. md.models: list, load (scan: bind_model_scan.c). A
 * handle is only a name, so that it can be made at the top of a file and always means the current
 * version.
 */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script/bind_model_scan.h"
#include "script/generation.h"
#include "script/tensor_object.h"
#include "serve/serve.h"

enum { PORTS_MAX = 128 };

static const char infos_key[] = "moondial.models"; /* registry: name to { version, info } */

struct model {
    char name[MD_SERVE_NAME_MAX];
};

static const struct md__class model_class, prediction_class;

/* ---- finding --------------------------------------------------------------------------------- */

static enum md_status find_model(lua_State *L, const char *name, struct md_model **model,
                                 struct md_error *err)
{
    const struct md__state *state = md__state(L);
    struct md_serve *serve = state->script->serve;
    if (serve == NULL)
        return md_fail(err, MD_ERR_UNAVAILABLE, "this process serves no models");
    enum md_status status = md_serve_model(serve, name, model, err);
    bool declared = state->generation != NULL && md__model_declared(state->generation, name);
    if (status == MD_ERR_NOT_FOUND && declared)
        return md_fail(err, MD_ERR_UNAVAILABLE, "model \"%s\" is not loaded", name);
    return status;
}

static int model_loaded(lua_State *L)
{
    struct md_model *found = NULL;
    const struct model *model = md__object_check(L, 1, &model_class);
    md__check_acting(L, "md.model");
    lua_pushboolean(L, find_model(L, model->name, &found, NULL) == MD_OK);
    md_model_unref(found);
    return 1;
}

/* ---- info ------------------------------------------------------------------------------------ */

/* { name, dtype, shape = { "batch", 288, 20 } }; no shape: any */
static void push_port(lua_State *L, const struct md_model *model, const struct md_model_port *port)
{
    lua_createtable(L, 0, 3);
    md__set_text(L, "name", port->name);
    md__set_text(L, "dtype", md_dtype_name(port->dtype));
    if (port->shape.rank < 0)
        return;
    lua_createtable(L, port->shape.rank, 0);
    for (int i = 0; i < port->shape.rank; i++) {
        if (port->shape.dim[i] < 0)
            lua_pushstring(L, md_model_symbol(model, port->shape.dim[i]));
        else
            lua_pushnumber(L, (double)port->shape.dim[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "shape");
}

static void set_ports(lua_State *L, const char *field, const struct md_model *model, int count,
                      const struct md_model_port *(*port)(const struct md_model *model, int index))
{
    lua_createtable(L, count, 0);
    for (int i = 0; i < count; i++) {
        push_port(L, model, port(model, i));
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, field);
}

static void set_config(lua_State *L, const char *text)
{
    struct md_error err;
    if (md__json_read(L, text, strlen(text), &err) != MD_OK)
        luaL_error(L, "config.json: %s", err.text);
    lua_setfield(L, -2, "config");
}

static void push_info(lua_State *L, const struct md_model *model)
{
    lua_createtable(L, 0, 12);
    md__set_text(L, "name", md_model_name(model));
    md__set_text(L, "path", md_model_path(model));
    md__set_text(L, "backend", md_model_backend(model));
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "loaded");
    md__set_number(L, "version", (double)md_model_generation(model));
    md__set_number(L, "loaded_at_ms", (double)md_model_loaded_at_ms(model));
    md__set_number(L, "parameters", (double)md_model_parameters(model));
    md__set_number(L, "batch_max", (double)md_model_batch_max(md__state(L)->script->serve, model));
    set_config(L, md_model_config(model));
    set_ports(L, "inputs", model, md_model_input_count(model), md_model_input);
    set_ports(L, "outputs", model, md_model_output_count(model), md_model_output);
}

/* Pushes what is remembered under name in this state when it is of this version, else nil. */
static void push_remembered(lua_State *L, const struct md_model *model)
{
    luaL_getmetatable(L, infos_key);
    lua_getfield(L, -1, md_model_name(model));
    if (lua_istable(L, -1)) {
        lua_getfield(L, -1, "version");
        bool current = lua_tonumber(L, -1) == (double)md_model_generation(model);
        lua_pop(L, 1);
        if (!current) {
            lua_pop(L, 1);
            lua_pushnil(L);
        }
    }
    lua_remove(L, -2);
}

/* The light userdata in argument 1 is the model. A config of a megabyte is decoded once a state. */
static int push_info_once(lua_State *L)
{
    const struct md_model *model = lua_touserdata(L, 1);
    push_remembered(L, model);
    if (!lua_isnil(L, -1))
        return 1;
    push_info(L, model);
    luaL_getmetatable(L, infos_key);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, md_model_name(model));
    lua_pop(L, 1);
    return 1;
}

/* Pushes the info of a model and drops the reference, also when it raises. */
static void push_info_and_drop(lua_State *L, struct md_model *model)
{
    lua_pushcfunction(L, push_info_once);
    lua_pushlightuserdata(L, model);
    int status = lua_pcall(L, 1, 1, 0);
    md_model_unref(model);
    if (status != 0)
        lua_error(L);
}

/* Treat the table as read-only: it is kept until the next version. */
static int model_info(lua_State *L)
{
    struct md_error err;
    struct md_model *found;
    const struct model *model = md__object_check(L, 1, &model_class);
    md__check_acting(L, "md.model");
    if (find_model(L, model->name, &found, &err) != MD_OK)
        return md__return_error(L, &err);
    push_info_and_drop(L, found);
    return 1;
}

/* ---- predict --------------------------------------------------------------------------------- */

struct predicting {
    struct md_wait wait;
    struct md_model *model;
    struct md_call *call;
};

static enum md_status predict_block(struct md_wait *wait, struct md_script *script,
                                    int64_t deadline_ns, struct md_error *err)
{
    const struct predicting *predicting = (struct predicting *)wait;
    int64_t timeout_ns = -1;
    if (deadline_ns != 0) {
        timeout_ns = deadline_ns - md_monotonic_ns(script->clock);
        timeout_ns = timeout_ns > 0 ? timeout_ns : 0;
    }
    return md_call_wait(predicting->call, timeout_ns, err);
}

/* { output name = tensor } */
static int predict_finish(lua_State *L, struct md_wait *wait)
{
    const struct predicting *predicting = (struct predicting *)wait;
    int count = md_model_output_count(predicting->model);
    lua_createtable(L, 0, count);
    for (int i = 0; i < count; i++) {
        const struct md_tensor *output = md_call_output(predicting->call, i);
        struct md__tensor_object *object = md__tensor_object_new(L);
        size_t bytes = md_tensor_bytes(output);
        md__charge(L, bytes);
        object->charged = bytes;
        object->tensor = md_tensor_ref(output);
        lua_setfield(L, -2, md_model_output(predicting->model, i)->name);
    }
    return 1;
}

static void predict_drop(struct md_wait *wait)
{
    struct predicting *predicting = (struct predicting *)wait;
    if (predicting->call != NULL)
        md_call_unref(predicting->call);
    md_model_unref(predicting->model);
    free(predicting);
}

/* The table in argument 2 as ports; its strings and tensors stay where they are. Raises. */
static int check_inputs(lua_State *L, struct md_port_tensor *ports)
{
    int count = 0;
    luaL_checktype(L, 2, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1), count++) {
        struct md_tensor *tensor = md__tensor_test(L, -1);
        if (lua_type(L, -2) != LUA_TSTRING || tensor == NULL)
            luaL_error(L, "predict: inputs are { name = tensor }");
        if (count == PORTS_MAX)
            luaL_error(L, "predict: more than %d inputs", PORTS_MAX);
        md__tensor_freeze(tensor); /* the executor may read it while the script goes on */
        ports[count] = (struct md_port_tensor){lua_tostring(L, -2), *tensor};
    }
    return count;
}

/* The number of a step, or of steps, at index. Raises. */
static int64_t steps_check(lua_State *L, int index, const char *what)
{
    double steps = lua_tonumber(L, index);
    if (lua_type(L, index) != LUA_TNUMBER || !(fabs(steps) <= 0x1p53))
        luaL_error(L, "predict: %s", what);
    return (int64_t)steps;
}

/*
 * { keys = { "ppdb001", ... }, lengths = { 288, ... }, step = number of the newest step } in
 * argument 3: whose windows the rows are. False when there is none. Raises.
 */
static bool check_windows(lua_State *L, struct md_windows *windows)
{
    if (lua_isnoneornil(L, 3))
        return false;
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_getfield(L, 3, "step");
    windows->tick = steps_check(L, -1, "step is a number of steps");
    lua_getfield(L, 3, "keys");
    lua_getfield(L, 3, "lengths");
    int keys = lua_gettop(L) - 1, lengths = keys + 1;
    if (!lua_istable(L, keys) || !lua_istable(L, lengths) ||
        lua_objlen(L, keys) != lua_objlen(L, lengths))
        luaL_error(L, "predict: windows are { keys = {...}, lengths = {...}, step = }, a key and "
                      "a length for each row");
    windows->count = (int)lua_objlen(L, keys);
    struct md_window *each = lua_newuserdata(L, ((size_t)windows->count + 1) * sizeof *each);
    for (int i = 0; i < windows->count; i++) {
        lua_rawgeti(L, keys, i + 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "predict: keys are strings");
        lua_rawgeti(L, lengths, i + 1);
        each[i].key = md_window_key(lua_tostring(L, -2));
        each[i].first = windows->tick - steps_check(L, -1, "lengths are numbers of steps");
        lua_pop(L, 2);
    }
    windows->each = each;
    return true;
}

/* Queues what arguments 2 and 3 ask for; NULL: why not is in err. Raises. */
static struct predicting *submit(lua_State *L, struct md_error *err)
{
    struct md_port_tensor ports[PORTS_MAX];
    struct md_windows windows;
    const struct model *model = md__object_check(L, 1, &model_class);
    md__check_acting(L, "md.model.predict");
    int count = check_inputs(L, ports);
    bool rolls = check_windows(L, &windows);
    struct md__state *state = md__state(L);
    int64_t deadline_ns = state->task != NULL ? state->task->deadline_ns : 0;
    struct predicting *predicting = calloc(1, sizeof *predicting);
    if (predicting == NULL)
        luaL_error(L, "not enough memory");
    predicting->wait =
        (struct md_wait){.block = predict_block, .finish = predict_finish, .drop = predict_drop};
    enum md_status status = find_model(L, model->name, &predicting->model, err);
    if (status == MD_OK)
        status =
            md_serve_submit_rolling(state->script->serve, predicting->model, ports, count,
                                    rolls ? &windows : NULL, deadline_ns, &predicting->call, err);
    if (status == MD_OK)
        return predicting;
    predict_drop(&predicting->wait);
    return NULL;
}

/* (inputs [, windows]) -> outputs | nil, err */
static int model_predict(lua_State *L)
{
    struct md_error err;
    struct predicting *predicting = submit(L, &err);
    return predicting != NULL ? md__yield(L, &predicting->wait) : md__return_error(L, &err);
}

/* ---- predictions that go on beside the script ------------------------------------------------ */

struct prediction {
    struct md__hold hold;
    struct predicting *predicting; /* NULL once somebody waits for it */
};

static void prediction_release(struct md__hold *hold)
{
    struct prediction *prediction = (struct prediction *)hold;
    if (prediction->predicting != NULL)
        predict_drop(&prediction->predicting->wait);
    prediction->predicting = NULL;
}

static int prediction_gc(lua_State *L)
{
    struct prediction *prediction = lua_touserdata(L, 1);
    md__unhold(&prediction->hold);
    prediction_release(&prediction->hold);
    return 0;
}

/* (inputs [, windows]) -> prediction | nil, err: what predict gives, when its `wait` is called. A
 * task that ends before cancels it. */
static int model_start(lua_State *L)
{
    struct md_error err;
    lua_settop(L, 3);
    struct prediction *prediction = md__object_new(L, &prediction_class, sizeof *prediction);
    md__hold(L, &prediction->hold);
    prediction->hold.release = prediction_release;
    prediction->predicting = submit(L, &err);
    if (prediction->predicting == NULL)
        return md__return_error(L, &err);
    lua_pushvalue(L, 4);
    return 1;
}

/* prediction:wait() -> outputs | nil, err; once. */
static int prediction_wait(lua_State *L)
{
    struct prediction *prediction = md__object_check(L, 1, &prediction_class);
    struct predicting *predicting = prediction->predicting;
    luaL_argcheck(L, predicting != NULL, 1, "somebody has waited for it");
    md__unhold(&prediction->hold);
    prediction->predicting = NULL;
    return md__yield(L, &predicting->wait);
}

/* ---- md.models ------------------------------------------------------------------------------- */

static int models_list(lua_State *L)
{
    struct md_model *models[MD_SERVE_MODELS_MAX];
    struct md_serve *serve = md__state(L)->script->serve;
    md__check_acting(L, "md.models.list");
    lua_newtable(L);
    luaL_checkstack(L, 4, "md.models");
    int count = serve != NULL ? md_serve_models(serve, models, MD_SERVE_MODELS_MAX) : 0;
    if (count > MD_SERVE_MODELS_MAX)
        count = MD_SERVE_MODELS_MAX;
    int failed = 0;
    for (int i = 0; i < count; i++) {
        if (failed == 0) {
            lua_pushcfunction(L, push_info_once);
            lua_pushlightuserdata(L, models[i]);
            failed = lua_pcall(L, 1, 1, 0);
        }
        md_model_unref(models[i]);
        if (failed == 0)
            lua_rawseti(L, -2, i + 1);
    }
    return failed == 0 ? 1 : lua_error(L);
}

struct loading {
    struct md_wait wait;
    char name[MD_SERVE_NAME_MAX];
    char path[PATH_MAX];
    struct md_model *model;
};

static enum md_status load_block(struct md_wait *wait, struct md_script *script,
                                 int64_t deadline_ns, struct md_error *err)
{
    struct loading *loading = (struct loading *)wait;
    (void)deadline_ns; /* a model that is being built is built to its end */
    const struct md_model_profile profile = md__model_profile(script, loading->name);
    enum md_status status =
        md_serve_load(script->serve, loading->name, loading->path, &profile, err);
    if (status != MD_OK)
        return status;
    char subject[sizeof loading->name + 8];
    snprintf(subject, sizeof subject, "model %s", loading->name);
    md__degraded_set(script, subject, NULL);
    return md_serve_model(script->serve, loading->name, &loading->model, err);
}

static int load_finish(lua_State *L, struct md_wait *wait)
{
    push_info_and_drop(L, md_model_ref(((struct loading *)wait)->model));
    return 1;
}

static void load_drop(struct md_wait *wait)
{
    md_model_unref(((struct loading *)wait)->model);
    free(wait);
}

/* (name, path) -> info | nil, err */
static int models_load(lua_State *L)
{
    struct md_error err;
    const char *name = luaL_checkstring(L, 1), *path = luaL_checkstring(L, 2);
    struct md_script *script = md__state(L)->script;
    md__check_changing(L, "md.models.load");
    luaL_argcheck(L, strlen(name) < MD_SERVE_NAME_MAX, 1, "a name of at most 63 bytes");
    struct loading *loading = calloc(1, sizeof *loading);
    if (loading == NULL)
        return luaL_error(L, "not enough memory");
    loading->wait = (struct md_wait){.block = load_block, .finish = load_finish, .drop = load_drop};
    snprintf(loading->name, sizeof loading->name, "%s", name);
    enum md_status status = script->serve != NULL
                                ? md__model_resolve(script, path, loading->path, &err)
                                : md_fail(&err, MD_ERR_UNAVAILABLE, "models are not served");
    if (status == MD_OK)
        return md__yield(L, &loading->wait);
    load_drop(&loading->wait);
    return md__return_error(L, &err);
}

/* ---- the binding ----------------------------------------------------------------------------- */

static const luaL_Reg model_methods[] = {{"predict", model_predict},
                                         {"start", model_start},
                                         {"info", model_info},
                                         {"loaded", model_loaded},
                                         {NULL, NULL}};
static const luaL_Reg prediction_methods[] = {
    {"__gc", prediction_gc}, {"wait", prediction_wait}, {NULL, NULL}};

static const struct md__class model_class = {.name = "model", .methods = model_methods};
static const struct md__class prediction_class = {.name = "prediction",
                                                  .methods = prediction_methods};

static int model_new(lua_State *L)
{
    size_t length;
    const char *name = luaL_checklstring(L, 1, &length);
    luaL_argcheck(L, length > 0 && length < MD_SERVE_NAME_MAX, 1, "a name of 1 to 63 bytes");
    struct model *model = md__object_new(L, &model_class, sizeof *model);
    snprintf(model->name, sizeof model->name, "%s", name);
    return 1;
}

static void bind(lua_State *L, struct md_script *script)
{
    static const luaL_Reg functions[] = {{"model", model_new}, {NULL, NULL}};
    static const luaL_Reg models[] = {
        {"list", models_list}, {"load", models_load}, {"scan", md__models_scan}, {NULL, NULL}};
    (void)script;
    md__class_new(L, &model_class);
    md__class_new(L, &prediction_class);
    luaL_newmetatable(L, infos_key);
    lua_pop(L, 1);
    luaL_register(L, NULL, functions);
    md__bind_table(L, "models", models);
}

const struct md__binding md__binding_model = {.name = "model", .bind = bind};
