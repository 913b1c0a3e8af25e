/*
 * Elementwise arithmetic on tensors, with NumPy's broadcasting; base/vectors.h says what each
 * operator does. Results are float32; operands of other types are read as float32 first. With a
 * lazy tensor among the operands the result is one, too, and nothing is worked out yet.
 */
#include <math.h>
#include <string.h>

#include "script/tensor_object.h"

/* The tensor at index as float32: itself, or a converted copy left on the stack. */
static const struct md_tensor *as_float(lua_State *L, int index)
{
    const struct md_tensor *tensor = md__tensor_check(L, index);
    if (tensor->dtype == MD_F32)
        return tensor;
    struct md_tensor *copy = md__tensor_make(L, MD_F32, &tensor->shape);
    size_t count = md_tensor_count(tensor);
    for (size_t i = 0; i < count; i++)
        ((float *)copy->data)[i] = (float)md__element_get(tensor, i);
    return copy;
}

struct md__operand md__operand_check(lua_State *L, int index)
{
    struct md__operand operand = {NULL, NULL, 0};
    if (lua_type(L, index) == LUA_TNUMBER)
        operand.number = (float)lua_tonumber(L, index);
    else if ((operand.lazy = md__lazy_test(L, index)) == NULL)
        operand.tensor = as_float(L, index);
    return operand;
}

/* Pushes `op` of the stack's arguments 1 to `count`. */
static int elementwise(lua_State *L, enum md_vector_op op, int count)
{
    struct md__operand operands[MD_VECTOR_OPERANDS_MAX];
    const struct md_shape *shapes[MD_VECTOR_OPERANDS_MAX];
    static const struct md_shape scalar;
    struct md_shape shape;
    struct md_error err;
    lua_settop(L, count); /* conversions are pushed behind the arguments */
    if (lua_type(L, 1) == LUA_TNUMBER)
        md__tensor_check(L, 1);
    for (int i = 0; i < count; i++) {
        operands[i] = md__operand_check(L, i + 1);
        if (operands[i].lazy != NULL)
            return md__lazy_push(L, op, count);
        shapes[i] = operands[i].tensor != NULL ? &operands[i].tensor->shape : &scalar;
    }
    md__tensor_check_status(L, md__broadcast(shapes, count, &shape, &err), &err);
    struct md_tensor *result = md__tensor_make_unset(L, MD_F32, &shape);
    md__tensor_check_status(L, md__apply(op, operands, &shape, result->data, &err), &err);
    return 1;
}

#define X(name, operands)                                                                          \
    static int tensor_##name(lua_State *L)                                                         \
    {                                                                                              \
        return elementwise(L, MD_VECTOR_##name, operands);                                         \
    }
MD_VECTOR_OPS(X)
#undef X

/* tensor:round([decimals]): half away from zero, in double, then to the nearest float32. */
static int tensor_round_decimals(lua_State *L)
{
    int decimals = luaL_optint(L, 2, 0);
    luaL_argcheck(L, decimals >= 0 && decimals <= 9, 2, "decimals are 0 to 9");
    lua_settop(L, 1);
    lua_pushnumber(L, pow(10, decimals)); /* a float32, too */
    return tensor_round(L);
}

/* ---- grades ---------------------------------------------------------------------------------- */

enum { GRADES_MAX = 64 };

struct grade {
    double limit;
    float worth;
};

/* The least float32 that reaches a limit. */
static float least_from(double limit)
{
    float least = (float)limit;
    return (double)least < limit ? nextafterf(least, INFINITY) : least;
}

static void grade_values(const float *restrict in, float *restrict out, int64_t count,
                         const struct grade *grade)
{
    float least = least_from(grade->limit), worth = grade->worth;
    for (int64_t i = 0; i < count; i++)
        out[i] = in[i] >= least ? worth : out[i];
}

/* The list of { limit, worth } on top of the stack, highest limit first. */
static int grades_check(lua_State *L, struct grade *grades)
{
    luaL_argcheck(L, lua_istable(L, -1), 2, "is a list of such lists, one for each index");
    int list = lua_gettop(L), count = (int)lua_objlen(L, list);
    luaL_argcheck(L, count <= GRADES_MAX, 2, "has more than 64 grades");
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, list, i + 1);
        luaL_argcheck(L, lua_istable(L, -1), 2, "is a list of { limit, number }");
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
        luaL_argcheck(L, lua_isnumber(L, -1) && lua_isnumber(L, -2), 2,
                      "is a list of { limit, number }");
        grades[i] = (struct grade){lua_tonumber(L, -2), (float)lua_tonumber(L, -1)};
        luaL_argcheck(L, i == 0 || grades[i].limit < grades[i - 1].limit, 2,
                      "has the highest limit first");
        lua_pop(L, 3);
    }
    return count;
}

/* `runs` runs of `count` values, each a step behind the one before. */
static void grade_runs(const float *in, float *out, int64_t runs, int64_t step, int64_t count,
                       const struct grade *grades, int grade_count)
{
    for (int64_t run = 0; run < runs; run++)
        for (int k = grade_count - 1; k >= 0; k--) /* the highest comes last and stays */
            grade_values(in + run * step, out + run * step, count, &grades[k]);
}

/* tensor:grade({ { limit, number }, ... }): the number beside the first limit that is reached, 0
 * where none is or where there is no value. tensor:grade({ list, ... }, axis): a list for each
 * index of an axis. */
static int tensor_grade(lua_State *L)
{
    struct grade grades[GRADES_MAX];
    lua_settop(L, 3);
    luaL_checktype(L, 2, LUA_TTABLE);
    const struct md_tensor *tensor = as_float(L, 1);
    const struct md_shape *shape = &tensor->shape;
    bool by_axis = !lua_isnil(L, 3);
    int axis = by_axis ? md__axis_check(L, tensor, 3) : 0;
    int64_t dim = by_axis ? shape->dim[axis] : 1, inner = 1, total = 1;
    luaL_argcheck(L, !by_axis || (int64_t)lua_objlen(L, 2) == dim, 2,
                  "needs a list for each index of the axis");
    for (int i = 0; i < shape->rank; i++) {
        inner *= by_axis && i > axis ? shape->dim[i] : 1;
        total *= shape->dim[i];
    }
    inner = by_axis ? inner : total;
    struct md_tensor *result = md__tensor_make(L, MD_F32, shape);
    for (int64_t index = 0; index < dim && total > 0; index++) {
        if (by_axis)
            lua_rawgeti(L, 2, (int)index + 1);
        else
            lua_pushvalue(L, 2);
        int count = grades_check(L, grades);
        grade_runs((const float *)tensor->data + index * inner,
                   (float *)result->data + index * inner, total / dim / inner, dim * inner, inner,
                   grades, count);
        lua_pop(L, 1);
    }
    return 1;
}

/* Those of lazy tensors, too. */
const luaL_Reg md__tensor_math_methods[] = {
    {"add", tensor_add},
    {"sub", tensor_sub},
    {"mul", tensor_mul},
    {"div", tensor_div},
    {"pow", tensor_pow},
    {"min", tensor_min},
    {"max", tensor_max},
    {"ge", tensor_ge},
    {"gt", tensor_gt},
    {"le", tensor_le},
    {"lt", tensor_lt},
    {"eq", tensor_eq},
    {"exp", tensor_exp},
    {"log", tensor_log},
    {"abs", tensor_abs},
    {"sqrt", tensor_sqrt},
    {"neg", tensor_neg},
    {"floor", tensor_floor},
    {"isnan", tensor_isnan},
    {"where", tensor_where},
    {"clip", tensor_clip},
    {"round", tensor_round_decimals},
    {NULL, NULL},
};
const luaL_Reg md__tensor_grade_methods[] = {{"grade", tensor_grade}, {NULL, NULL}};
