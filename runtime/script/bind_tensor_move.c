/*
 * Moving elements: slices, selections, transposes, joins, conversions; any element type. Results
 * are new tensors (`:rows`, `:row` and `:reshape` in bind_tensor.c are the views).
 */
#include <math.h>
#include <string.h>

#include "script/tensor_object.h"

/* Bytes of one index of the axis (everything behind it), and how many outer blocks there are: none
 * when there is nothing to move. */
struct blocks {
    int64_t outer;
    size_t bytes;
};

static struct blocks blocks_at(const struct md_tensor *tensor, int axis)
{
    struct blocks blocks = {1, md_dtype_bytes(tensor->dtype)};
    for (int i = 0; i < axis; i++)
        blocks.outer *= tensor->shape.dim[i];
    for (int i = axis + 1; i < tensor->shape.rank; i++)
        blocks.bytes *= (size_t)tensor->shape.dim[i];
    blocks.outer = blocks.bytes ? blocks.outer : 0;
    return blocks;
}

/* Copies count runs of bytes, each a step behind the one before. Columns of single values are
 * common and not worth a call each. */
static void copy_runs(char *to, size_t to_step, const char *from, size_t from_step, size_t bytes,
                      int64_t count)
{
    if (bytes == sizeof(float)) {
        for (int64_t i = 0; i < count; i++)
            memcpy(to + (size_t)i * to_step, from + (size_t)i * from_step, sizeof(float));
        return;
    }
    for (int64_t i = 0; bytes && i < count; i++)
        memcpy(to + (size_t)i * to_step, from + (size_t)i * from_step, bytes);
}

/* tensor:slice(axis, first, last): 1-based, last included; last = first - 1 is empty. */
static int tensor_slice(lua_State *L)
{
    const struct md_tensor *tensor = md__tensor_check(L, 1);
    int axis = md__axis_check(L, tensor, 2);
    int64_t dim = tensor->shape.dim[axis];
    int64_t first = (int64_t)luaL_checknumber(L, 3), last = (int64_t)luaL_checknumber(L, 4);
    luaL_argcheck(L, first >= 1 && first <= last + 1 && last <= dim, 3, "outside the dimension");
    struct md_shape shape = tensor->shape;
    shape.dim[axis] = last - first + 1;
    struct blocks blocks = blocks_at(tensor, axis);
    struct md_tensor *result = md__tensor_make_unset(L, tensor->dtype, &shape);
    size_t run = (size_t)shape.dim[axis] * blocks.bytes;
    const char *from = (const char *)tensor->data + (run ? (size_t)(first - 1) * blocks.bytes : 0);
    copy_runs(result->data, run, from, (size_t)dim * blocks.bytes, run, blocks.outer);
    return 1;
}

/* tensor:select(axis, { indices }) */
static int tensor_select(lua_State *L)
{
    const struct md_tensor *tensor = md__tensor_check(L, 1);
    int axis = md__axis_check(L, tensor, 2);
    luaL_checktype(L, 3, LUA_TTABLE);
    int64_t dim = tensor->shape.dim[axis], count = (int64_t)lua_objlen(L, 3);
    struct md_shape shape = tensor->shape;
    shape.dim[axis] = count;
    struct blocks blocks = blocks_at(tensor, axis);
    struct md_tensor *result = md__tensor_make_unset(L, tensor->dtype, &shape);
    for (int64_t i = 0; i < count; i++) {
        lua_rawgeti(L, 3, (int)i + 1);
        int64_t from = (int64_t)lua_tonumber(L, -1);
        lua_pop(L, 1);
        luaL_argcheck(L, from >= 1 && from <= dim, 3, "an index is outside the dimension");
        for (int64_t o = 0; o < blocks.outer; o++)
            memcpy((char *)result->data + (size_t)(o * count + i) * blocks.bytes,
                   (const char *)tensor->data + (size_t)(o * dim + from - 1) * blocks.bytes,
                   blocks.bytes);
    }
    return 1;
}

/* One run of elements of `bytes` each, at places that are so many elements apart. */
static void move_run(char *restrict to, int64_t to_stride, const char *restrict from,
                     int64_t from_stride, int64_t count, size_t bytes)
{
    if (bytes == sizeof(float)) {
        for (int64_t i = 0; i < count; i++)
            memcpy(to + i * to_stride * 4, from + i * from_stride * 4, 4);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        memcpy(to + i * to_stride * (int64_t)bytes, from + i * from_stride * (int64_t)bytes, bytes);
}

/* A plane of elements, rows x count: by its rows, or by its columns where those are longer and
 * stand row by row in the source. */
static void gather_plane(char *to, const char *from, int64_t row_stride, int64_t stride,
                         int64_t rows, int64_t count, size_t bytes)
{
    int64_t size = (int64_t)bytes;
    if (row_stride == 1 && rows > count) {
        for (int64_t i = 0; i < count; i++)
            move_run(to + i * size, count, from + i * stride * size, 1, rows, bytes);
        return;
    }
    for (int64_t row = 0; row < rows; row++)
        move_run(to + row * count * size, 1, from + row * row_stride * size, stride, count, bytes);
}

/* Copies elements into result in its order; stride[axis] is how far the source moves per index. */
static void gather_strided(const struct md_tensor *source, const int64_t *stride,
                           struct md_tensor *result)
{
    size_t bytes = md_dtype_bytes(source->dtype), count = md_tensor_count(result);
    int64_t index[MD_RANK_MAX] = {0}, at = 0;
    int last = result->shape.rank - 1;
    while (last > 0 && result->shape.dim[last] == 1) /* planes as large as they can be */
        last--;
    int64_t run = last >= 0 ? result->shape.dim[last] : 1;
    int64_t rows = last >= 1 ? result->shape.dim[last - 1] : 1;
    for (size_t i = 0; i < count; i += (size_t)(rows * run)) {
        gather_plane(
            (char *)result->data + i * bytes, (const char *)source->data + at * (int64_t)bytes,
            last >= 1 ? stride[last - 1] : 0, last >= 0 ? stride[last] : 0, rows, run, bytes);
        for (int axis = last - 2; axis >= 0; axis--) {
            at += stride[axis];
            if (++index[axis] < result->shape.dim[axis])
                break;
            at -= stride[axis] * index[axis];
            index[axis] = 0;
        }
    }
}

static void strides_of(const struct md_shape *shape, int64_t *stride)
{
    int64_t step = 1;
    for (int axis = shape->rank - 1; axis >= 0; axis--) {
        stride[axis] = step;
        step *= shape->dim[axis];
    }
}

/* tensor:transpose { 2, 1, 3 }: axis i of the result is axis order[i] of the tensor. */
static int tensor_transpose(lua_State *L)
{
    const struct md_tensor *tensor = md__tensor_check(L, 1);
    int64_t own[MD_RANK_MAX], stride[MD_RANK_MAX];
    struct md_shape order = md__shape_check(L, 2), shape = tensor->shape;
    unsigned seen = 0;
    luaL_argcheck(L, order.rank == shape.rank, 2, "needs one entry per dimension");
    strides_of(&tensor->shape, own);
    for (int i = 0; i < order.rank; i++) {
        int64_t axis = order.dim[i] - 1;
        luaL_argcheck(L, axis >= 0 && axis < shape.rank && !(seen & 1u << axis), 2,
                      "must name every dimension once");
        seen |= 1u << axis;
        shape.dim[i] = tensor->shape.dim[axis];
        stride[i] = own[axis];
    }
    struct md_tensor *result = md__tensor_make_unset(L, tensor->dtype, &shape);
    gather_strided(tensor, stride, result);
    return 1;
}

/* tensor:expand { ... }: dimensions of 1 are repeated; missing ones are added in front. */
static int tensor_expand(lua_State *L)
{
    const struct md_tensor *tensor = md__tensor_check(L, 1);
    struct md_shape shape = md__shape_check(L, 2);
    int64_t own[MD_RANK_MAX], stride[MD_RANK_MAX];
    int missing = shape.rank - tensor->shape.rank;
    luaL_argcheck(L, missing >= 0, 2, "has fewer dimensions than the tensor");
    strides_of(&tensor->shape, own);
    for (int axis = 0; axis < shape.rank; axis++) {
        int64_t dim = axis < missing ? 1 : tensor->shape.dim[axis - missing];
        luaL_argcheck(L, dim == 1 || dim == shape.dim[axis], 2, "only dimensions of 1 can grow");
        stride[axis] = dim == 1 ? 0 : own[axis - missing];
    }
    struct md_tensor *result = md__tensor_make_unset(L, tensor->dtype, &shape);
    gather_strided(tensor, stride, result);
    return 1;
}

/* tensor:astype "int64": integers are cut towards zero and saturate; NaN becomes 0. */
static int tensor_astype(lua_State *L)
{
    const struct md_tensor *tensor = md__tensor_check(L, 1);
    luaL_checkstring(L, 2);
    struct md_tensor *result = md__tensor_make(L, md__dtype_check(L, 2), &tensor->shape);
    size_t count = md_tensor_count(tensor);
    for (size_t i = 0; i < count; i++)
        md__element_set(result, i, md__element_get(tensor, i));
    return 1;
}

/* ---- making from others ---------------------------------------------------------------------- */

/* Tensor i (from 1) of the list at index 1; borrowed from the list. */
static const struct md_tensor *listed(lua_State *L, int i)
{
    lua_rawgeti(L, 1, i);
    const struct md_tensor *tensor = md__tensor_test(L, -1);
    if (!tensor)
        luaL_argerror(L, 1, lua_pushfstring(L, "entry %d is not a tensor", i));
    lua_pop(L, 1);
    return tensor;
}

static struct md_shape joined_shape(lua_State *L, int count, int axis)
{
    const struct md_tensor *first = listed(L, 1);
    struct md_shape shape = first->shape;
    for (int i = 2; i <= count; i++) {
        const struct md_tensor *tensor = listed(L, i);
        struct md_shape like = tensor->shape;
        int64_t dim = like.rank > axis ? like.dim[axis] : 0;
        if (like.rank > axis)
            like.dim[axis] = first->shape.dim[axis];
        if (tensor->dtype != first->dtype || !md_shape_equal(&like, &first->shape))
            luaL_argerror(L, 1, lua_pushfstring(L, "entry %d does not fit the first", i));
        shape.dim[axis] += dim;
    }
    return shape;
}

/* Rows that all parts are copied into before the next ones: they stay in the cache meanwhile. */
enum { ROWS_AT_A_TIME = 256 };

/* Rows `first` to `first + rows` of the result, from all tensors of the list. */
static void join_rows(lua_State *L, int count, int axis, struct md_tensor *result, int64_t first,
                      int64_t rows)
{
    struct blocks blocks = blocks_at(result, axis);
    size_t row = (size_t)result->shape.dim[axis] * blocks.bytes;
    char *to = (char *)result->data + (size_t)first * row;
    for (int i = 1; i <= count; i++) {
        const struct md_tensor *tensor = listed(L, i);
        size_t run = (size_t)tensor->shape.dim[axis] * blocks.bytes;
        copy_runs(to, row, (const char *)tensor->data + (size_t)first * run, run, run, rows);
        to += run;
    }
}

/* md.tensor.concat({ t, ... }, axis) */
static int tensor_concat(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    int count = (int)lua_objlen(L, 1);
    luaL_argcheck(L, count > 0, 1, "nothing to join");
    int axis = md__axis_check(L, listed(L, 1), 2);
    struct md_shape shape = joined_shape(L, count, axis);
    struct md_tensor *result = md__tensor_make_unset(L, listed(L, 1)->dtype, &shape);
    int64_t outer = blocks_at(result, axis).outer;
    for (int64_t first = 0; first < outer; first += ROWS_AT_A_TIME)
        join_rows(L, count, axis, result, first,
                  outer - first < ROWS_AT_A_TIME ? outer - first : ROWS_AT_A_TIME);
    return 1;
}

/* md.tensor.stack { t, ... }: equal shapes along a new first axis. */
static int tensor_stack(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    int count = (int)lua_objlen(L, 1);
    luaL_argcheck(L, count > 0, 1, "nothing to stack");
    const struct md_tensor *first = listed(L, 1);
    luaL_argcheck(L, first->shape.rank < MD_RANK_MAX, 1, "too many dimensions");
    struct md_shape shape = {first->shape.rank + 1, {count}};
    memcpy(shape.dim + 1, first->shape.dim, (size_t)first->shape.rank * sizeof *shape.dim);
    struct md_tensor *result = md__tensor_make_unset(L, first->dtype, &shape);
    size_t bytes = md_tensor_bytes(first);
    for (int i = 1; i <= count; i++) {
        const struct md_tensor *tensor = listed(L, i);
        if (tensor->dtype != first->dtype || !md_shape_equal(&tensor->shape, &first->shape))
            luaL_argerror(L, 1, lua_pushfstring(L, "entry %d does not fit the first", i));
        if (bytes)
            memcpy((char *)result->data + (size_t)(i - 1) * bytes, tensor->data, bytes);
    }
    return 1;
}

/* md.tensor.range(first, last): whole steps of 1, both ends included. */
static int tensor_range(lua_State *L)
{
    double first = luaL_checknumber(L, 1), last = luaL_checknumber(L, 2);
    luaL_argcheck(L, last - first < 1e9 && isfinite(first), 2, "too long");
    struct md_shape shape = {1, {last < first ? 0 : (int64_t)floor(last - first) + 1}};
    struct md_tensor *result = md__tensor_make(L, MD_F32, &shape);
    for (int64_t i = 0; i < shape.dim[0]; i++)
        ((float *)result->data)[i] = (float)(first + (double)i);
    return 1;
}

const luaL_Reg md__tensor_move_methods[] = {
    {"slice", tensor_slice},   {"select", tensor_select}, {"transpose", tensor_transpose},
    {"expand", tensor_expand}, {"astype", tensor_astype}, {NULL, NULL},
};
const luaL_Reg md__tensor_move_functions[] = {
    {"concat", tensor_concat}, {"stack", tensor_stack}, {"range", tensor_range}, {NULL, NULL}};
