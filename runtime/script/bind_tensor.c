/*
 * md.tensor: making tensors, looking at elements, views. Arithmetic and reductions are in the
 * bind_tensor_*.c files beside.
 *
 * Indices are 1-based, as everywhere in Lua. Functions are pure: they return new tensors or views;
 * only :set writes, and only into a tensor that was made by the script itself.
 */
#include <math.h>
#include <string.h>

#include "script/tensor_object.h"

/* ---- arguments ------------------------------------------------------------------------------- */

struct md_shape md__shape_check(lua_State *L, int index)
{
    struct md_shape shape = {0};
    luaL_checktype(L, index, LUA_TTABLE);
    size_t rank = lua_objlen(L, index);
    double product = 1; /* of what is not zero: strides of empty tensors must not overflow either */
    if (rank > MD_RANK_MAX)
        luaL_argerror(L, index, "a tensor has at most 8 dimensions");
    for (size_t i = 0; i < rank; i++) {
        lua_rawgeti(L, index, (int)i + 1);
        double dim = lua_tonumber(L, -1);
        if (!lua_isnumber(L, -1) || dim != floor(dim) || dim < 0 || dim > 1e15)
            luaL_argerror(L, index, "dimensions are whole numbers from 0");
        product *= dim > 0 ? dim : 1;
        if (product > 1e15)
            luaL_argerror(L, index, "the dimensions exceed the address space");
        shape.dim[shape.rank++] = (int64_t)dim;
        lua_pop(L, 1);
    }
    return shape;
}

enum md_dtype md__dtype_check(lua_State *L, int index)
{
    const char *name = luaL_optstring(L, index, "float32");
#define X(code, onnx, bytes, text, npy, safetensors)                                               \
    if (strcmp(name, text) == 0)                                                                   \
        return code;
    MD_DTYPES(X)
#undef X
    luaL_argerror(L, index, lua_pushfstring(L, "'%s' is not a tensor type", name));
    return 0;
}

int md__axis_check(lua_State *L, const struct md_tensor *tensor, int index)
{
    int axis = luaL_checkint(L, index);
    luaL_argcheck(L, axis >= 1 && axis <= tensor->shape.rank, index, "no such dimension");
    return axis - 1;
}

/* The flat position of the indices at stack positions first ... first + rank - 1; raises out of
 * bounds. */
static size_t position_check(lua_State *L, const struct md_tensor *tensor, int first)
{
    size_t at = 0;
    for (int axis = 0; axis < tensor->shape.rank; axis++) {
        double index = luaL_checknumber(L, first + axis);
        int64_t dim = tensor->shape.dim[axis];
        if (!(index >= 1 && index <= (double)dim) || index != floor(index))
            luaL_argerror(L, first + axis,
                          lua_pushfstring(L, "index %f is outside 1 to %d", index, (int)dim));
        at = at * (size_t)dim + (size_t)index - 1;
    }
    return at;
}

/* ---- making ---------------------------------------------------------------------------------- */

static int tensor_full(lua_State *L)
{
    struct md_shape shape = md__shape_check(L, 1);
    double value = luaL_checknumber(L, 2);
    struct md_tensor *tensor = md__tensor_make(L, md__dtype_check(L, 3), &shape);
    size_t count = md_tensor_count(tensor);
    for (size_t i = 0; value != 0 && i < count; i++)
        md__element_set(tensor, i, value);
    return 1;
}

static int tensor_zeros(lua_State *L)
{
    struct md_shape shape = md__shape_check(L, 1);
    md__tensor_make(L, md__dtype_check(L, 2), &shape);
    return 1;
}

/* The shape of a nested table, read off its first elements. */
static struct md_shape nested_shape(lua_State *L, int index)
{
    struct md_shape shape = {0};
    lua_pushvalue(L, index);
    while (lua_istable(L, -1)) {
        if (shape.rank == MD_RANK_MAX)
            luaL_argerror(L, index, "a tensor has at most 8 dimensions");
        shape.dim[shape.rank++] = (int64_t)lua_objlen(L, -1);
        if (lua_objlen(L, -1) == 0)
            break;
        lua_rawgeti(L, -1, 1);
        lua_remove(L, -2);
    }
    lua_pop(L, 1);
    return shape;
}

/* Writes the table (or number) on top of the stack into the tensor from *at; false when it is
 * ragged. */
static bool fill_nested(lua_State *L, struct md_tensor *tensor, int axis, size_t *at)
{
    if (axis == tensor->shape.rank) {
        if (lua_type(L, -1) != LUA_TNUMBER && !lua_isboolean(L, -1))
            return false;
        double value = lua_isboolean(L, -1) ? lua_toboolean(L, -1) : lua_tonumber(L, -1);
        md__element_set(tensor, (*at)++, value);
        return true;
    }
    if (!lua_istable(L, -1) || (int64_t)lua_objlen(L, -1) != tensor->shape.dim[axis])
        return false;
    bool good = true;
    for (int i = 1; good && i <= (int)tensor->shape.dim[axis]; i++) {
        lua_rawgeti(L, -1, i);
        good = fill_nested(L, tensor, axis + 1, at);
        lua_pop(L, 1);
    }
    return good;
}

static int tensor_from(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    enum md_dtype dtype = md__dtype_check(L, 2);
    struct md_shape shape = nested_shape(L, 1);
    size_t at = 0;
    struct md_tensor *tensor = md__tensor_make(L, dtype, &shape);
    luaL_checkstack(L, MD_RANK_MAX + 4, "nested tables");
    lua_pushvalue(L, 1);
    if (!fill_nested(L, tensor, 0, &at))
        luaL_argerror(L, 1, "must be numbers, or tables of equal length of them");
    lua_pop(L, 1);
    return 1;
}

/* md.tensor.look_up(list, numbers [, otherwise]): the number that a table gives for each element of
 * a list, NaN (or `otherwise`) for those that it does not have. */
static int tensor_look_up(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TTABLE);
    float otherwise = (float)luaL_optnumber(L, 3, NAN);
    lua_settop(L, 2);
    struct md_shape shape = {1, {(int64_t)lua_objlen(L, 1)}};
    float *out = md__tensor_make_unset(L, MD_F32, &shape)->data;
    for (int i = 0; i < (int)shape.dim[0]; i++) {
        lua_rawgeti(L, 1, i + 1);
        lua_rawget(L, 2);
        int type = lua_type(L, -1);
        if (type != LUA_TNIL && type != LUA_TNUMBER)
            luaL_argerror(L, 2, "must hold numbers");
        out[i] = type == LUA_TNIL ? otherwise : (float)lua_tonumber(L, -1);
        lua_settop(L, 3); /* the result */
    }
    return 1;
}

/* ---- looking --------------------------------------------------------------------------------- */

static int tensor_shape(lua_State *L)
{
    const struct md_tensor *tensor = md__tensor_check(L, 1);
    lua_createtable(L, tensor->shape.rank, 0);
    for (int i = 0; i < tensor->shape.rank; i++) {
        lua_pushnumber(L, (lua_Number)tensor->shape.dim[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static int tensor_dim(lua_State *L)
{
    const struct md_tensor *tensor = md__tensor_check(L, 1);
    int axis = luaL_checkint(L, 2);
    luaL_argcheck(L, axis >= 1 && axis <= tensor->shape.rank, 2, "no such dimension");
    lua_pushnumber(L, (lua_Number)tensor->shape.dim[axis - 1]);
    return 1;
}

static int tensor_rank(lua_State *L)
{
    lua_pushinteger(L, md__tensor_check(L, 1)->shape.rank);
    return 1;
}

static int tensor_dtype(lua_State *L)
{
    lua_pushstring(L, md_dtype_name(md__tensor_check(L, 1)->dtype));
    return 1;
}

static int tensor_length(lua_State *L)
{
    const struct md_tensor *tensor = md__tensor_check(L, 1);
    lua_pushnumber(L, tensor->shape.rank ? (lua_Number)tensor->shape.dim[0] : 0);
    return 1;
}

static int tensor_get(lua_State *L)
{
    const struct md_tensor *tensor = md__tensor_check(L, 1);
    lua_pushnumber(L, md__element_get(tensor, position_check(L, tensor, 2)));
    return 1;
}

static int tensor_set(lua_State *L)
{
    struct md__tensor_object *object = md__object_check(L, 1, &md__tensor_class);
    size_t at = position_check(L, &object->tensor, 2);
    double value = luaL_checknumber(L, 2 + object->tensor.shape.rank);
    if (!object->writable || atomic_load(&object->tensor.owner->frozen))
        luaL_argerror(L, 1, "this tensor is shared and cannot be written");
    md__element_set(&object->tensor, at, value);
    lua_settop(L, 1);
    return 1;
}

static void push_nested(lua_State *L, const struct md_tensor *tensor, int axis, size_t *at)
{
    if (axis == tensor->shape.rank) {
        lua_pushnumber(L, md__element_get(tensor, (*at)++));
        return;
    }
    int count = (int)tensor->shape.dim[axis];
    bool is_last = axis + 1 == tensor->shape.rank; /* most of the calls, were they made */
    lua_createtable(L, count, 0);
    for (int i = 1; i <= count; i++) {
        if (is_last)
            lua_pushnumber(L, md__element_get(tensor, (*at)++));
        else
            push_nested(L, tensor, axis + 1, at);
        lua_rawseti(L, -2, i);
    }
}

static int tensor_totable(lua_State *L)
{
    size_t at = 0;
    luaL_checkstack(L, MD_RANK_MAX + 4, "nested tables");
    push_nested(L, md__tensor_check(L, 1), 0, &at);
    return 1;
}

/* "tensor float32 [2, 3]" */
static int tensor_tostring(lua_State *L)
{
    const struct md_tensor *tensor = md__tensor_check(L, 1);
    char shape[160];
    lua_pushfstring(L, "tensor %s %s", md_dtype_name(tensor->dtype),
                    md_shape_text(&tensor->shape, shape, sizeof shape));
    return 1;
}

/* ---- views ----------------------------------------------------------------------------------- */

/* Pushes an empty object for a view of the tensor at stack index 1. It keeps that tensor, which
 * answers for the memory; views of what a script may write stay writable. */
static struct md_tensor *push_view(lua_State *L)
{
    struct md__tensor_object *source = md__object_check(L, 1, &md__tensor_class);
    struct md__tensor_object *view = md__tensor_object_new(L);
    view->writable = source->writable;
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    lua_setfenv(L, -2);
    return &view->tensor;
}

static int tensor_rows(lua_State *L)
{
    const struct md_tensor *tensor = md__tensor_check(L, 1);
    int64_t first = (int64_t)luaL_checknumber(L, 2), last = (int64_t)luaL_checknumber(L, 3);
    luaL_argcheck(L, tensor->shape.rank >= 1, 1, "a scalar has no rows");
    luaL_argcheck(L, first >= 1 && first <= last + 1 && last <= tensor->shape.dim[0], 2,
                  "rows outside the tensor");
    struct md_error err;
    md__tensor_check_status(
        L, md_tensor_rows(tensor, first - 1, last - first + 1, push_view(L), &err), &err);
    return 1;
}

static int tensor_row(lua_State *L)
{
    const struct md_tensor *tensor = md__tensor_check(L, 1);
    int64_t index = (int64_t)luaL_checknumber(L, 2);
    luaL_argcheck(L, tensor->shape.rank >= 1, 1, "a scalar has no rows");
    luaL_argcheck(L, index >= 1 && index <= tensor->shape.dim[0], 2, "no such row");
    struct md_tensor *view = push_view(L);
    struct md_error err;
    md__tensor_check_status(L, md_tensor_rows(tensor, index - 1, 1, view, &err), &err);
    view->shape = md_shape_of(view->shape.rank - 1, tensor->shape.dim + 1);
    return 1;
}

static int tensor_reshape(lua_State *L)
{
    const struct md_tensor *tensor = md__tensor_check(L, 1);
    struct md_shape shape = md__shape_check(L, 2);
    struct md_error err;
    md__tensor_check_status(L, md_tensor_reshape(tensor, &shape, push_view(L), &err), &err);
    return 1;
}

/* ---- the binding ----------------------------------------------------------------------------- */

const luaL_Reg md__tensor_methods[] = {
    {"shape", tensor_shape},     {"dim", tensor_dim},
    {"rank", tensor_rank},       {"dtype", tensor_dtype},
    {"get", tensor_get},         {"set", tensor_set},
    {"totable", tensor_totable}, {"row", tensor_row},
    {"rows", tensor_rows},       {"reshape", tensor_reshape},
    {"__len", tensor_length},    {"__tostring", tensor_tostring},
    {"__gc", md__tensor_gc},     {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"zeros", tensor_zeros},     {"full", tensor_full}, {"from", tensor_from},
    {"look_up", tensor_look_up}, {NULL, NULL},
};

static void bind(lua_State *L, struct md_script *script)
{
    (void)script;
    md__class_new(L, &md__tensor_class);
    md__class_extend(L, &md__tensor_class, md__tensor_math_methods);
    md__class_extend(L, &md__tensor_class, md__tensor_grade_methods);
    md__class_extend(L, &md__tensor_class, md__tensor_reduce_methods);
    md__class_extend(L, &md__tensor_class, md__tensor_scan_methods);
    md__class_extend(L, &md__tensor_class, md__tensor_move_methods);
    md__bind_table(L, "tensor", functions);
    md__bind_table(L, "tensor", md__tensor_move_functions);
}

const struct md__binding md__binding_tensor = {.name = "tensor", .bind = bind};
