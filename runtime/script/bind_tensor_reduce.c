/*
 * Reductions (base/reduce.h) and scans of tensors along one axis. The axis disappears from the
 * result; without an axis the whole tensor becomes a number. Of a lazy tensor the last axis is
 * reduced, tile by tile.
 */
#include <math.h>
#include <string.h>

#include "base/reduce.h"
#include "script/tensor_object.h"

enum { BYTES_PER_UNIT = 64 }; /* reduced while one unit of work is done */

static const struct md_tensor *float_check(lua_State *L, int index)
{
    const struct md_tensor *tensor = md__tensor_check(L, index);
    if (tensor->dtype != MD_F32)
        luaL_argerror(L, index, "must be a float32 tensor: use :astype 'float32'");
    return tensor;
}

/* outer x count x inner around the axis (0-based). */
struct split {
    int64_t outer, count, inner;
};

static struct split split_at(const struct md_shape *shape, int axis)
{
    struct split split = {1, shape->dim[axis], 1};
    for (int i = 0; i < axis; i++)
        split.outer *= shape->dim[i];
    for (int i = axis + 1; i < shape->rank; i++)
        split.inner *= shape->dim[i];
    split.outer = split.inner ? split.outer : 0; /* nothing to walk over */
    return split;
}

/* What the runs of a tensor around an axis come to. */
static void reduce_axis(const struct md_reduction *what, const float *values,
                        const struct split *split, float *out)
{
    /* Runs that lie side by side are those of one outer index, or whole rows. */
    bool rows = split->inner == 1;
    ptrdiff_t runs = rows ? split->outer : split->inner, step = rows ? split->count : 1;
    for (ptrdiff_t o = 0; o < (rows ? 1 : split->outer); o++)
        for (ptrdiff_t run = 0; run < runs; run += MD_REDUCE_RUNS_MAX) {
            ptrdiff_t left = runs - run;
            struct md_runs some = {values + o * split->count * split->inner + run * step,
                                   left < MD_REDUCE_RUNS_MAX ? left : MD_REDUCE_RUNS_MAX, step,
                                   split->count, split->inner};
            md_reduce(what, &some, out + o * runs + run);
        }
}

/* tensor:name([axis [, option]]) */
static int reduce(lua_State *L, int op, double option)
{
    struct md_reduction what = {op, option};
    if (md__lazy_test(L, 1) != NULL)
        return md__lazy_push_reduced(L, &what);
    const struct md_tensor *tensor = float_check(L, 1);
    md__spend(L, (double)md_tensor_bytes(tensor) / BYTES_PER_UNIT);
    if (lua_isnoneornil(L, 2)) {
        struct split all = {1, (int64_t)md_tensor_count(tensor), 1};
        float value;
        reduce_axis(&what, tensor->data, &all, &value);
        lua_pushnumber(L, isnan(value) ? (double)NAN : (double)value);
        return 1;
    }
    int axis = md__axis_check(L, tensor, 2);
    struct md_shape shape = tensor->shape;
    for (int i = axis; i + 1 < shape.rank; i++)
        shape.dim[i] = shape.dim[i + 1];
    shape.rank--;
    struct split split = split_at(&tensor->shape, axis);
    struct md_tensor *result = md__tensor_make_unset(L, MD_F32, &shape);
    reduce_axis(&what, tensor->data, &split, result->data);
    return 1;
}

/* Of std and nanstd: how much less than the count the squares are divided by; of the others, none.
 */
#define X(name)                                                                                    \
    static int tensor_##name(lua_State *L)                                                         \
    {                                                                                              \
        return reduce(L, MD_REDUCE_##name, luaL_optnumber(L, 3, 0));                               \
    }
MD_SIMPLE_REDUCTIONS(X)
#undef X

/* tensor:first_at_least(threshold [, axis]) */
static int tensor_first_at_least(lua_State *L)
{
    double threshold = luaL_checknumber(L, 2);
    lua_remove(L, 2);
    return reduce(L, MD_REDUCE_first_at_least, threshold);
}

/* ---- ranks ----------------------------------------------------------------------------------- */

enum { TOP_MAX = 1000 };

/* Where a value belongs among `kept` places, whose values fall: behind those that equal it. */
static int rank_of(float value, const float *values, const int64_t *places, int kept)
{
    int first = 0;
    while (first < kept) {
        int middle = (first + kept) / 2;
        if (values[places[middle]] >= value)
            first = middle + 1;
        else
            kept = middle;
    }
    return first;
}

/* tensor:top(count): a list of where the highest values stand, highest first, equal ones in their
 * order; missing ones are left out. */
static int tensor_top(lua_State *L)
{
    int64_t places[TOP_MAX + 1];
    const struct md_tensor *tensor = float_check(L, 1);
    lua_Integer most = luaL_checkinteger(L, 2);
    int kept = 0;
    luaL_argcheck(L, tensor->shape.rank == 1, 1, "must have one dimension");
    luaL_argcheck(L, most >= 0 && most <= TOP_MAX, 2, "must be from 0 to 1000");
    md__spend(L, (double)md_tensor_bytes(tensor) / BYTES_PER_UNIT);
    const float *values = tensor->data;
    for (int64_t i = 0; i < tensor->shape.dim[0] && most > 0; i++) {
        if (isnan(values[i]) || (kept == most && !(values[i] > values[places[kept - 1]])))
            continue;
        int rank = rank_of(values[i], values, places, kept);
        memmove(places + rank + 1, places + rank, (size_t)(kept - rank) * sizeof *places);
        places[rank] = i;
        kept = kept < most ? kept + 1 : kept; /* or the last goes */
    }
    lua_createtable(L, kept, 0);
    for (int i = 0; i < kept; i++) {
        lua_pushnumber(L, (lua_Number)places[i] + 1);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* ---- scans ----------------------------------------------------------------------------------- */

/* Of `count` values, each `stride` behind the one before. */
static float first_value(const float *values, int64_t count, int64_t stride)
{
    for (int64_t i = 0; i < count; i++)
        if (!isnan(values[i * stride]))
            return values[i * stride];
    return NAN;
}

/* Rows of `inner` values, `count` of them: each takes what it lacks from the one before. */
static void fill_rows(const float *restrict in, float *restrict out, int64_t count, int64_t inner)
{
    for (int64_t i = 0; i < inner; i++) /* the first takes what is there in front of it */
        out[i] = isnan(in[i]) ? out[i] : in[i];
    for (int64_t row = 1; row < count; row++) {
        const float *before = out + (row - 1) * inner;
        for (int64_t i = 0; i < inner; i++) {
            float value = in[row * inner + i];
            out[row * inner + i] = isnan(value) ? before[i] : value;
        }
    }
}

/*
 * tensor:fill_forward(axis [, initial]): missing values take the one before them. Those at the
 * beginning take `initial`, or the first value that there is.
 */
static int tensor_fill_forward(lua_State *L)
{
    const struct md_tensor *tensor = float_check(L, 1);
    int axis = md__axis_check(L, tensor, 2);
    bool has_initial = !lua_isnoneornil(L, 3);
    float initial = (float)luaL_optnumber(L, 3, 0);
    struct split split = split_at(&tensor->shape, axis);
    struct md_tensor *result = md__tensor_make_unset(L, MD_F32, &tensor->shape);
    for (int64_t o = 0; o < split.outer && split.count > 0; o++) {
        const float *in = (const float *)tensor->data + o * split.count * split.inner;
        float *out = (float *)result->data + o * split.count * split.inner;
        for (int64_t i = 0; i < split.inner; i++)
            out[i] = has_initial ? initial : first_value(in + i, split.count, split.inner);
        fill_rows(in, out, split.count, split.inner);
    }
    return 1;
}

/* Those of lazy tensors, too. */
const luaL_Reg md__tensor_reduce_methods[] = {
#define X(name) {#name, tensor_##name},
    MD_REDUCTIONS(X)
#undef X
        {NULL, NULL},
};
const luaL_Reg md__tensor_scan_methods[] = {
    {"fill_forward", tensor_fill_forward}, {"top", tensor_top}, {NULL, NULL}};
