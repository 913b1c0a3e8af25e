/*
 * Elementwise arithmetic on tensors, with NumPy's broadcasting. Results are float32; operands of
 * other types are read as float32 first.
 *
 * NaN stands for "no value": arithmetic passes it on, min, max and clip keep it when it is the
 * first operand, comparisons with it are false. One walk serves every operator: up to three
 * operands, each with a stride per axis (0 where it is broadcast), the last axis in a tight loop.
 */
#include <math.h>
#include <string.h>

#include "script/tensor_object.h"

#define OPERANDS_MAX 3

/* An operand as float32 data; numbers live in `scalar`. */
struct operand {
    const float *data;
    struct md_shape shape;
    float scalar;
};

struct walk {
    struct md_shape shape; /* of the result */
    int64_t stride[OPERANDS_MAX][MD_RANK_MAX];
    int operands;
};

/* ---- operands -------------------------------------------------------------------------------- */

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

static void operand_check(lua_State *L, int index, struct operand *operand)
{
    if (lua_type(L, index) == LUA_TNUMBER) {
        operand->scalar = (float)lua_tonumber(L, index);
        operand->data = &operand->scalar;
        operand->shape.rank = 0;
        return;
    }
    const struct md_tensor *tensor = as_float(L, index);
    operand->data = tensor->data;
    operand->shape = tensor->shape;
}

/* The dimension of `shape` that meets axis `axis` of a result of rank `rank`. */
static int64_t aligned_dim(const struct md_shape *shape, int rank, int axis)
{
    int own = axis - (rank - shape->rank);
    return own < 0 ? 1 : shape->dim[own];
}

static void broadcast_shape(lua_State *L, const struct operand *operands, int count,
                            struct md_shape *shape)
{
    shape->rank = 0;
    for (int i = 0; i < count; i++)
        shape->rank = operands[i].shape.rank > shape->rank ? operands[i].shape.rank : shape->rank;
    for (int axis = 0; axis < shape->rank; axis++) {
        shape->dim[axis] = 1;
        for (int i = 0; i < count; i++) {
            int64_t dim = aligned_dim(&operands[i].shape, shape->rank, axis);
            if (dim != 1 && shape->dim[axis] != 1 && dim != shape->dim[axis])
                luaL_error(L, "shapes do not fit: dimension %d is %d and %d", axis + 1,
                           (int)shape->dim[axis], (int)dim);
            shape->dim[axis] = dim != 1 ? dim : shape->dim[axis];
        }
    }
}

static void walk_init(lua_State *L, struct walk *walk, const struct operand *operands, int count)
{
    walk->operands = count;
    broadcast_shape(L, operands, count, &walk->shape);
    for (int i = 0; i < count; i++) {
        int64_t stride = 1;
        for (int axis = walk->shape.rank - 1; axis >= 0; axis--) {
            int64_t dim = aligned_dim(&operands[i].shape, walk->shape.rank, axis);
            walk->stride[i][axis] = dim == 1 ? 0 : stride;
            stride *= dim;
        }
    }
}

/* ---- the walk -------------------------------------------------------------------------------- */

/* One run along the last axis: out[i] from operands at in[k] + i * stride[k]. */
typedef void (*run_body)(float *restrict out, const float *const *in, const int64_t *stride,
                         int64_t count);

/*
 * Neighbouring axes that every operand crosses evenly become one, and those of length 1 go: a run
 * is then as long as it can be, also in [servers, steps, 1]. Not for empty walks, whose dimensions
 * may have a product beyond all numbers.
 */
static void walk_merge(struct walk *walk)
{
    int kept = 0;
    for (int axis = 0; axis < walk->shape.rank; axis++) {
        int64_t dim = walk->shape.dim[axis];
        if (dim == 1)
            continue;
        bool joins = kept > 0;
        for (int k = 0; k < walk->operands && joins; k++)
            joins = walk->stride[k][kept - 1] == walk->stride[k][axis] * dim;
        if (!joins)
            walk->shape.dim[kept++] = 1;
        walk->shape.dim[kept - 1] *= dim;
        for (int k = 0; k < walk->operands; k++)
            walk->stride[k][kept - 1] = walk->stride[k][axis];
    }
    walk->shape.rank = kept;
}

static void walk_run(struct walk *walk, const struct operand *operands, float *out, run_body body)
{
    int64_t index[MD_RANK_MAX] = {0}, stride[OPERANDS_MAX] = {0};
    const float *in[OPERANDS_MAX];
    size_t total;
    if (md_shape_count(&walk->shape, 1, &total, NULL) != MD_OK || total == 0)
        return;
    walk_merge(walk);
    int rank = walk->shape.rank, last = rank - 1;
    int64_t inner = rank ? walk->shape.dim[last] : 1;
    for (int k = 0; k < walk->operands; k++) {
        in[k] = operands[k].data;
        stride[k] = rank ? walk->stride[k][last] : 0;
    }
    for (size_t done = 0; done < total; done += (size_t)inner) {
        body(out + done, in, stride, inner);
        for (int axis = last - 1; axis >= 0; axis--) { /* like an odometer */
            for (int k = 0; k < walk->operands; k++)
                in[k] += walk->stride[k][axis];
            if (++index[axis] < walk->shape.dim[axis])
                break;
            for (int k = 0; k < walk->operands; k++)
                in[k] -= walk->stride[k][axis] * index[axis];
            index[axis] = 0;
        }
    }
}

/* Runs body over stack arguments 1 .. count and pushes the result. */
static int elementwise(lua_State *L, int count, run_body body)
{
    struct operand operands[OPERANDS_MAX];
    struct walk walk;
    lua_settop(L, count); /* conversions are pushed behind the arguments */
    md__tensor_check(L, 1);
    for (int i = 0; i < count; i++)
        operand_check(L, i + 1, &operands[i]);
    walk_init(L, &walk, operands, count);
    struct md_tensor *result = md__tensor_make_unset(L, MD_F32, &walk.shape);
    walk_run(&walk, operands, result->data, body);
    return 1;
}

/* ---- operators ------------------------------------------------------------------------------- */

/*
 * A run whose operands stand still or go on by one, as all but transposed ones do, is worth a loop
 * of its own: the compiler makes vectors of it.
 */
#define BINARY_LOOP(step_a, step_b, expression)                                                    \
    for (int64_t i = 0; i < count; i++) {                                                          \
        float a = in[0][i * (step_a)], b = in[1][i * (step_b)];                                    \
        out[i] = (expression);                                                                     \
    }

#define BINARY(name, expression)                                                                   \
    static void name##_run(float *restrict out, const float *const *in, const int64_t *stride,     \
                           int64_t count)                                                          \
    {                                                                                              \
        if (stride[0] == 1 && stride[1] == 1)                                                      \
            BINARY_LOOP(1, 1, expression)                                                          \
        else if (stride[0] == 1 && stride[1] == 0)                                                 \
            BINARY_LOOP(1, 0, expression)                                                          \
        else if (stride[0] == 0 && stride[1] == 1)                                                 \
            BINARY_LOOP(0, 1, expression)                                                          \
        else                                                                                       \
            BINARY_LOOP(stride[0], stride[1], expression)                                          \
    }                                                                                              \
    static int tensor_##name(lua_State *L)                                                         \
    {                                                                                              \
        return elementwise(L, 2, name##_run);                                                      \
    }

BINARY(add, a + b)
BINARY(sub, a - b)
BINARY(mul, a *b)
BINARY(div, a / b)
BINARY(pow, powf(a, b))
BINARY(min, b < a ? b : a)
BINARY(max, b > a ? b : a)
BINARY(ge, a >= b ? 1.0f : 0.0f)
BINARY(gt, a > b ? 1.0f : 0.0f)
BINARY(le, a <= b ? 1.0f : 0.0f)
BINARY(lt, a < b ? 1.0f : 0.0f)
BINARY(eq, a == b ? 1.0f : 0.0f)

#define UNARY_LOOP(step, expression)                                                               \
    for (int64_t i = 0; i < count; i++) {                                                          \
        float a = in[0][i * (step)];                                                               \
        out[i] = (expression);                                                                     \
    }

#define UNARY(name, expression)                                                                    \
    static void name##_run(float *restrict out, const float *const *in, const int64_t *stride,     \
                           int64_t count)                                                          \
    {                                                                                              \
        if (stride[0] == 1)                                                                        \
            UNARY_LOOP(1, expression)                                                              \
        else                                                                                       \
            UNARY_LOOP(stride[0], expression)                                                      \
    }                                                                                              \
    static int tensor_##name(lua_State *L)                                                         \
    {                                                                                              \
        return elementwise(L, 1, name##_run);                                                      \
    }

/* floorf without a call, which baseline x86-64 needs: numbers from 2^23 on are whole already. */
static inline float whole_below(float a)
{
    float size = fabsf(a), nearest = (size + 0x1p23f) - 0x1p23f;
    float whole = copysignf(nearest, a);
    whole = whole > a ? whole - 1.0f : whole;
    return size < 0x1p23f ? copysignf(whole, a) : a;
}

UNARY(exp, expf(a))
UNARY(log, logf(a))
UNARY(sqrt, sqrtf(a))
UNARY(abs, fabsf(a))
UNARY(neg, -a)
UNARY(floor, whole_below(a))
UNARY(isnan, isnan(a) ? 1.0f : 0.0f)

/* condition:where(a, b): a where the condition is neither 0 nor NaN. */
static void where_run(float *restrict out, const float *const *in, const int64_t *stride,
                      int64_t count)
{
    if (stride[0] == 0) { /* all of one, or all of the other */
        int chosen = in[0][0] != 0.0f && !isnan(in[0][0]) ? 1 : 2;
        const float *from = in[chosen];
        int64_t step = stride[chosen];
        for (int64_t i = 0; i < count; i++)
            out[i] = from[i * step];
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        float condition = in[0][i * stride[0]];
        bool chosen = condition != 0.0f && !isnan(condition);
        out[i] = chosen ? in[1][i * stride[1]] : in[2][i * stride[2]];
    }
}

static int tensor_where(lua_State *L)
{
    return elementwise(L, 3, where_run);
}

/* tensor:clip(low, high) */
static void clip_run(float *out, const float *const *in, const int64_t *stride, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        float a = in[0][i * stride[0]], low = in[1][i * stride[1]], high = in[2][i * stride[2]];
        a = a < low ? low : a;
        out[i] = a > high ? high : a;
    }
}

static int tensor_clip(lua_State *L)
{
    return elementwise(L, 3, clip_run);
}

/* tensor:round([decimals]): half away from zero, in double, then to the nearest float32. */
static int tensor_round(lua_State *L)
{
    int decimals = luaL_optint(L, 2, 0);
    const struct md_tensor *tensor = as_float(L, 1);
    luaL_argcheck(L, decimals >= 0 && decimals <= 9, 2, "decimals are 0 to 9");
    double scale = pow(10, decimals);
    struct md_tensor *result = md__tensor_make_unset(L, MD_F32, &tensor->shape);
    const float *in = tensor->data;
    size_t count = md_tensor_count(tensor);
    for (size_t i = 0; i < count; i++)
        ((float *)result->data)[i] = (float)(round((double)in[i] * scale) / scale);
    return 1;
}

enum { GRADES_MAX = 64 };

struct grade {
    double limit;
    float worth;
};

/* The list of { limit, worth } at index 2, highest limit first. */
static int grades_check(lua_State *L, struct grade *grades)
{
    luaL_checktype(L, 2, LUA_TTABLE);
    int count = (int)lua_objlen(L, 2);
    luaL_argcheck(L, count <= GRADES_MAX, 2, "has more than 64 grades");
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, 2, i + 1);
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

/* tensor:grade { { limit, number }, ... }: the number beside the first limit that is reached, 0
 * where none is or where there is no value. */
static int tensor_grade(lua_State *L)
{
    struct grade grades[GRADES_MAX];
    lua_settop(L, 2);
    int grade_count = grades_check(L, grades);
    const struct md_tensor *tensor = as_float(L, 1);
    struct md_tensor *result = md__tensor_make(L, MD_F32, &tensor->shape);
    const float *in = tensor->data;
    float *out = result->data;
    size_t count = md_tensor_count(tensor);
    for (int k = grade_count - 1; k >= 0; k--) /* the highest comes last and stays */
        for (size_t i = 0; i < count; i++)
            out[i] = (double)in[i] >= grades[k].limit ? grades[k].worth : out[i];
    return 1;
}

const luaL_Reg md__tensor_math_methods[] = {
    {"add", tensor_add},     {"sub", tensor_sub},     {"mul", tensor_mul},
    {"div", tensor_div},     {"pow", tensor_pow},     {"min", tensor_min},
    {"max", tensor_max},     {"ge", tensor_ge},       {"gt", tensor_gt},
    {"le", tensor_le},       {"lt", tensor_lt},       {"eq", tensor_eq},
    {"exp", tensor_exp},     {"log", tensor_log},     {"abs", tensor_abs},
    {"sqrt", tensor_sqrt},   {"neg", tensor_neg},     {"floor", tensor_floor},
    {"isnan", tensor_isnan}, {"where", tensor_where}, {"clip", tensor_clip},
    {"round", tensor_round}, {"grade", tensor_grade}, {NULL, NULL},
};
