/*
 * md.graph for model families: the graph builder and the weights file as objects of a builder
 * state. lua/moondial/graph.lua makes them pleasant to use.
 *
 * Both objects borrow what they work on and are emptied when the build ends, so one that a family
 * keeps is merely useless. Mistakes raise with the family's file and line, because they are
 * mistakes in the family or its config.json.
 */
#include "script/bind_graph.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"
#include "script/tensor_object.h"

#define ATTRS_MAX  32
#define INPUTS_MAX 512

struct graph_object {
    struct md_graph *graph;
};

struct weights_object {
    struct md_safetensors *file;
    bool *used; /* of each tensor; owned by who pushed the object */
};

static void raise(lua_State *L, enum md_status status, const struct md_error *err)
{
    if (status == MD_OK)
        return;
    md__push_error(L, err);
    lua_error(L);
}

/* ---- the graph ------------------------------------------------------------------------------- */

static const struct md__class graph_class;

static struct md_graph *check_graph(lua_State *L)
{
    struct graph_object *object = md__object_check(L, 1, &graph_class);
    if (!object->graph)
        luaL_error(L, "this graph has been built");
    return object->graph;
}

static int graph_symbol(lua_State *L)
{
    int64_t dim;
    struct md_error err;
    raise(L,
          md_graph_symbol(check_graph(L), luaL_checkstring(L, 2), luaL_checkint(L, 3), &dim, &err),
          &err);
    lua_pushnumber(L, (lua_Number)dim);
    return 1;
}

static int graph_input(lua_State *L)
{
    struct md_graph *graph = check_graph(L);
    struct md_shape shape = {0};
    struct md_error err;
    int value;
    luaL_checktype(L, 4, LUA_TTABLE);
    if (lua_objlen(L, 4) > MD_RANK_MAX)
        luaL_argerror(L, 4, "a tensor has at most 8 dimensions");
    for (; shape.rank < (int)lua_objlen(L, 4); shape.rank++) {
        lua_rawgeti(L, 4, shape.rank + 1);
        shape.dim[shape.rank] = (int64_t)luaL_checknumber(L, -1);
        lua_pop(L, 1);
    }
    raise(
        L,
        md_graph_input(graph, luaL_checkstring(L, 2), md__dtype_check(L, 3), &shape, &value, &err),
        &err);
    lua_pushinteger(L, value);
    return 1;
}

static int graph_constant(lua_State *L)
{
    struct md_error err;
    int value;
    raise(L,
          md_graph_constant(check_graph(L), luaL_checkstring(L, 3), md__tensor_check(L, 2), &value,
                            &err),
          &err);
    lua_pushinteger(L, value);
    return 1;
}

static int graph_output(lua_State *L)
{
    struct md_error err;
    raise(L, md_graph_output(check_graph(L), luaL_checkstring(L, 2), luaL_checkint(L, 3), &err),
          &err);
    return 0;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

/* An array of numbers at the top of the stack as INTS; memory is a userdata left on the stack. */
static void read_ints(lua_State *L, struct md_attr *attr)
{
    int count = (int)lua_objlen(L, -1);
    int64_t *ints = lua_newuserdata(L, ((size_t)count + 1) * sizeof *ints);
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, -2, i + 1);
        double number = lua_tonumber(L, -1);
        if (!lua_isnumber(L, -1) || number != floor(number))
            luaL_error(L, "attribute '%s' must hold whole numbers", attr->name);
        ints[i] = (int64_t)number;
        lua_pop(L, 1);
    }
    attr->type = MD_ATTR_INTS;
    attr->ints = ints;
    attr->count = count;
}

/* { float = x } is a float attribute, any other table an array. Leaves what it needs on the stack.
 */
static void read_table(lua_State *L, struct md_attr *attr)
{
    lua_getfield(L, -1, "float");
    if (lua_isnumber(L, -1)) {
        attr->type = MD_ATTR_FLOAT;
        attr->f = lua_tonumber(L, -1);
        return;
    }
    lua_pop(L, 1);
    read_ints(L, attr);
}

/* The attribute value on top of the stack. */
static void read_attr(lua_State *L, struct md_attr *attr)
{
    const struct md_tensor *tensor = md__tensor_test(L, -1);
    if (tensor) {
        attr->type = MD_ATTR_TENSOR;
        attr->tensor = *tensor;
        return;
    }
    switch (lua_type(L, -1)) {
    case LUA_TNUMBER:
        attr->f = lua_tonumber(L, -1);
        attr->i = (int64_t)attr->f;
        attr->type = attr->f == floor(attr->f) ? MD_ATTR_INT : MD_ATTR_FLOAT;
        break;
    case LUA_TSTRING:
        attr->type = MD_ATTR_STRING;
        attr->s = lua_tostring(L, -1);
        break;
    case LUA_TTABLE:
        read_table(L, attr);
        break;
    default:
        luaL_error(L, "attribute '%s' cannot be a %s", attr->name, luaL_typename(L, -1));
    }
}

/* Reads the table at index; the values stay on the stack while the attributes are in use. */
static int read_attrs(lua_State *L, int index, struct md_attr *attrs)
{
    int count = 0;
    luaL_checktype(L, index, LUA_TTABLE);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        if (count == ATTRS_MAX || lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "attributes are at most %d named values", ATTRS_MAX);
        luaL_checkstack(L, 8, "attributes");
        memset(&attrs[count], 0, sizeof attrs[count]);
        attrs[count].name = lua_tostring(L, -2);
        lua_pushvalue(L, -2); /* the key for lua_next, on top of what read_attr leaves behind */
        lua_insert(L, -2);
        read_attr(L, &attrs[count++]);
        /* key, key, value [, more]: bring a copy of the key to the top */
        lua_pushstring(L, attrs[count - 1].name);
    }
    return count;
}

/* graph:node(op, name, inputs, attributes, output_count) -> value ids */
static int graph_node(lua_State *L)
{
    struct md_graph *graph = check_graph(L);
    const char *op = luaL_checkstring(L, 2), *name = luaL_checkstring(L, 3);
    int outputs_wanted = luaL_checkint(L, 6), inputs[INPUTS_MAX], outputs[64];
    struct md_attr attrs[ATTRS_MAX];
    struct md_error err;
    luaL_checktype(L, 4, LUA_TTABLE);
    size_t input_count = lua_objlen(L, 4);
    luaL_argcheck(L, input_count <= INPUTS_MAX, 4, "too many inputs");
    luaL_argcheck(L, outputs_wanted >= 1 && outputs_wanted <= 64, 6, "1 to 64 outputs");
    for (size_t i = 0; i < input_count; i++) {
        lua_rawgeti(L, 4, (int)i + 1);
        inputs[i] = luaL_checkint(L, -1);
        lua_pop(L, 1);
    }
    int attr_count = read_attrs(L, 5, attrs);
    raise(L,
          md_graph_node(graph, op, name, inputs, (int)input_count, attrs, attr_count, outputs,
                        outputs_wanted, &err),
          &err);
    luaL_checkstack(L, outputs_wanted, "outputs");
    for (int i = 0; i < outputs_wanted; i++)
        lua_pushinteger(L, outputs[i]);
    return outputs_wanted;
}

static int graph_dtype(lua_State *L)
{
    lua_pushinteger(L, md__dtype_check(L, 1));
    return 1;
}

static const luaL_Reg graph_methods[] = {
    {"symbol", graph_symbol}, {"input", graph_input}, {"constant", graph_constant},
    {"output", graph_output}, {"node", graph_node},   {NULL, NULL},
};
static const struct md__class graph_class = {.name = "graph", .methods = graph_methods};

/* ---- weights --------------------------------------------------------------------------------- */

static const struct md__class weights_class;

static struct weights_object *check_weights(lua_State *L)
{
    struct weights_object *object = md__object_check(L, 1, &weights_class);
    if (!object->file)
        luaL_error(L, "these weights have been closed");
    return object;
}

static size_t index_of(const struct md_safetensors *file, const char *name)
{
    size_t count = md_safetensors_count(file);
    for (size_t i = 0; i < count; i++)
        if (strcmp(md_safetensors_name(file, i), name) == 0)
            return i;
    return count;
}

static void check_shape(lua_State *L, const char *name, const struct md_tensor *tensor)
{
    struct md_shape wanted = md__shape_check(L, 3);
    char have[160], want[160];
    struct md_error err;
    if (md_shape_equal(&tensor->shape, &wanted))
        return;
    raise(L,
          md_fail(&err, MD_ERR_CORRUPT, "tensor '%s' has shape %s, not %s", name,
                  md_shape_text(&tensor->shape, have, sizeof have),
                  md_shape_text(&wanted, want, sizeof want)),
          &err);
}

/* A training that diverged leaves NaN, and every answer would be NaN. */
static void check_numbers(lua_State *L, const char *name, const struct md_tensor *tensor)
{
    const float *values = tensor->data;
    size_t count = tensor->dtype == MD_F32 ? md_tensor_count(tensor) : 0;
    struct md_error err;
    for (size_t i = 0; i < count; i++)
        if (isnan(values[i]))
            raise(L, md_fail(&err, MD_ERR_CORRUPT, "tensor '%s' is NaN at element %zu", name, i),
                  &err);
}

/* weights:get(name [, shape]) -> tensor */
static int weights_get(lua_State *L)
{
    struct weights_object *object = check_weights(L);
    const char *name = luaL_checkstring(L, 2);
    struct md_error err;
    size_t at = index_of(object->file, name);
    if (at == md_safetensors_count(object->file))
        raise(L, md_fail(&err, MD_ERR_CORRUPT, "tensor '%s' is missing", name), &err);
    struct md__tensor_object *view = md__tensor_object_new(L);
    raise(L, md_safetensors_get(object->file, name, &view->tensor, &err), &err);
    if (!lua_isnoneornil(L, 3))
        check_shape(L, name, &view->tensor);
    check_numbers(L, name, &view->tensor);
    object->used[at] = true;
    return 1;
}

static int weights_has(lua_State *L)
{
    struct weights_object *object = check_weights(L);
    lua_pushboolean(L, index_of(object->file, luaL_checkstring(L, 2)) <
                           md_safetensors_count(object->file));
    return 1;
}

static int weights_names(lua_State *L)
{
    struct weights_object *object = check_weights(L);
    size_t count = md_safetensors_count(object->file);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_pushstring(L, md_safetensors_name(object->file, i));
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

static const luaL_Reg weights_methods[] = {
    {"get", weights_get}, {"has", weights_has}, {"names", weights_names}, {NULL, NULL}};
static const struct md__class weights_class = {.name = "weights", .methods = weights_methods};

/* ---- for builder.c -------------------------------------------------------------------------- */

void md__graph_push(lua_State *L, struct md_graph *graph)
{
    struct graph_object *object = md__object_new(L, &graph_class, sizeof *object);
    object->graph = graph;
}

void md__weights_push(lua_State *L, struct md_safetensors *file, bool *used)
{
    struct weights_object *object = md__object_new(L, &weights_class, sizeof *object);
    object->file = file;
    object->used = used;
}

static void bind(lua_State *L, struct md_script *script)
{
    static const luaL_Reg functions[] = {{"dtype", graph_dtype}, {NULL, NULL}};
    (void)script;
    md__class_new(L, &graph_class);
    md__class_new(L, &weights_class);
    md__bind_table(L, "graph", functions);
}

const struct md__binding md__binding_graph = {.name = "graph", .bind = bind};
