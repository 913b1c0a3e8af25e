/*
 * Reductions and scans of tensors along one axis. The axis disappears from the result; without an
 * axis the whole tensor becomes a number. Of a lazy tensor the last axis is reduced, tile by tile.
 *
 * Plain names pass NaN on (one missing value makes the mean missing); the nan* forms leave missing
 * values out and give NaN where nothing is left. Sums run in double.
 */
#include <math.h>
#include <string.h>

#include "base/vectors.h"
#include "script/tensor_object.h"

enum { BYTES_PER_UNIT = 64 }; /* reduced while one unit of work is done */

/* A run of values along the axis: base[i * stride], i = 0 .. count - 1. */
struct run {
    const float *base;
    int64_t count, stride;
};

/* option: ddof, or whatever the reduction takes; NaN means missing. */
typedef float (*reduce_body)(const struct run *run, double option);

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

static int reduce_all(lua_State *L, const struct md_tensor *tensor, reduce_body body, double option)
{
    struct run run = {tensor->data, (int64_t)md_tensor_count(tensor), 1};
    double value = (double)body(&run, option);
    lua_pushnumber(L, isnan(value) ? (double)NAN : value);
    return 1;
}

struct reduction {
    reduce_body body;
    double option;
};

static float reduce_some(const float *values, int64_t stride, int64_t count, const void *context)
{
    const struct reduction *reduction = context;
    struct run run = {values, count, stride};
    return reduction->body(&run, reduction->option);
}

/* tensor:name([axis [, option]]) */
static int reduce(lua_State *L, reduce_body body, double option)
{
    if (md__lazy_test(L, 1) != NULL) {
        struct reduction reduction = {body, option};
        return md__lazy_push_reduced(L, reduce_some, &reduction);
    }
    const struct md_tensor *tensor = float_check(L, 1);
    md__spend(L, (double)md_tensor_bytes(tensor) / BYTES_PER_UNIT);
    if (lua_isnoneornil(L, 2))
        return reduce_all(L, tensor, body, option);
    int axis = md__axis_check(L, tensor, 2);
    struct md_shape shape = tensor->shape;
    for (int i = axis; i + 1 < shape.rank; i++)
        shape.dim[i] = shape.dim[i + 1];
    shape.rank--;
    struct split split = split_at(&tensor->shape, axis);
    struct md_tensor *result = md__tensor_make_unset(L, MD_F32, &shape);
    float *out = result->data;
    for (int64_t o = 0; o < split.outer; o++)
        for (int64_t i = 0; i < split.inner; i++) {
            struct run run = {(const float *)tensor->data + o * split.count * split.inner + i,
                              split.count, split.inner};
            *out++ = body(&run, option);
        }
    return 1;
}

/* ---- reductions ------------------------------------------------------------------------------ */

struct moments {
    double sum;
    int64_t finite, missing;
};

static struct moments sum_run(const struct run *run)
{
    struct moments moments = {0};
    for (int64_t i = 0; i < run->count; i++)
        moments.sum += (double)run->base[i * run->stride];
    moments.finite = run->count;
    if (!isnan(moments.sum))
        return moments;
    moments = (struct moments){0}; /* something is missing: once more, with care */
    for (int64_t i = 0; i < run->count; i++) {
        float value = run->base[i * run->stride];
        moments.missing += isnan(value);
        moments.finite += !isnan(value);
        moments.sum += isnan(value) ? 0 : (double)value;
    }
    return moments;
}

static float sum_body(const struct run *run, double skip_nan)
{
    struct moments moments = sum_run(run);
    return moments.missing && skip_nan == 0 ? NAN : (float)moments.sum;
}

static float mean_body(const struct run *run, double skip_nan)
{
    struct moments moments = sum_run(run);
    if ((moments.missing && skip_nan == 0) || moments.finite == 0)
        return NAN;
    return (float)(moments.sum / (double)moments.finite);
}

/* ddof below 0: -1 - ddof, leaving missing values out. */
static float std_body(const struct run *run, double option)
{
    bool skip_nan = option < 0;
    double ddof = skip_nan ? -1 - option : option, sum = 0;
    struct moments moments = sum_run(run);
    if ((moments.missing && !skip_nan) || (double)moments.finite <= ddof)
        return NAN;
    double mean = moments.sum / (double)moments.finite;
    for (int64_t i = 0; i < run->count; i++) {
        double apart = (double)run->base[i * run->stride] - mean;
        sum += isnan(apart) ? 0 : apart * apart;
    }
    return (float)sqrt(sum / ((double)moments.finite - ddof));
}

enum { NEIGHBOURS_MIN = 16 }; /* worth vectors */

/* sign 1: largest, -1: smallest; 2 and -2 leave missing values out. */
static float extreme_body(const struct run *run, double option)
{
    if (run->stride == 1 && run->count >= NEIGHBOURS_MIN && fabs(option) <= 1)
        return md_vector_extreme(run->base, run->count, (float)option);
    float sign = option > 0 ? 1.0f : -1.0f, best = NAN;
    bool skip_nan = fabs(option) > 1;
    for (int64_t i = 0; i < run->count; i++) {
        float value = run->base[i * run->stride];
        if (isnan(value) && !skip_nan)
            return NAN;
        if (!isnan(value) && (isnan(best) || sign * value > sign * best))
            best = value;
    }
    return best;
}

static float count_body(const struct run *run, double option)
{
    (void)option;
    int64_t count = 0;
    for (int64_t i = 0; i < run->count; i++)
        count += isfinite(run->base[i * run->stride]) != 0;
    return (float)count;
}

/* Least squares over (i, value): cov(i, value) / var(i), missing values left out; NaN below two. */
static float slope_body(const struct run *run, double option)
{
    (void)option;
    double n = 0, sum_x = 0, sum_y = 0, sum_xx = 0, sum_xy = 0;
    for (int64_t i = 0; i < run->count; i++) {
        double x = (double)i, y = (double)run->base[i * run->stride];
        if (isnan(y))
            continue;
        n += 1, sum_x += x, sum_y += y, sum_xx += x * x, sum_xy += x * y;
    }
    return n < 2 ? NAN : (float)((n * sum_xy - sum_x * sum_y) / (n * sum_xx - sum_x * sum_x));
}

/* The first position (from 1) whose value is at least the threshold; 0 when none is. */
static float first_body(const struct run *run, double threshold)
{
    for (int64_t i = 0; i < run->count; i++)
        if ((double)run->base[i * run->stride] >= threshold)
            return (float)(i + 1);
    return 0;
}

static int tensor_sum(lua_State *L)
{
    return reduce(L, sum_body, 0);
}
static int tensor_nansum(lua_State *L)
{
    return reduce(L, sum_body, 1);
}
static int tensor_mean(lua_State *L)
{
    return reduce(L, mean_body, 0);
}
static int tensor_nanmean(lua_State *L)
{
    return reduce(L, mean_body, 1);
}
static int tensor_std(lua_State *L)
{
    return reduce(L, std_body, luaL_optnumber(L, 3, 0));
}
static int tensor_nanstd(lua_State *L)
{
    return reduce(L, std_body, -1 - luaL_optnumber(L, 3, 0));
}
static int tensor_amax(lua_State *L)
{
    return reduce(L, extreme_body, 1);
}
static int tensor_nanmax(lua_State *L)
{
    return reduce(L, extreme_body, 2);
}
static int tensor_amin(lua_State *L)
{
    return reduce(L, extreme_body, -1);
}
static int tensor_nanmin(lua_State *L)
{
    return reduce(L, extreme_body, -2);
}
static int tensor_count_finite(lua_State *L)
{
    return reduce(L, count_body, 0);
}
static int tensor_slope(lua_State *L)
{
    return reduce(L, slope_body, 0);
}

/* tensor:first_at_least(threshold [, axis]) */
static int tensor_first_at_least(lua_State *L)
{
    double threshold = luaL_checknumber(L, 2);
    lua_remove(L, 2);
    return reduce(L, first_body, threshold);
}

/* ---- scans ----------------------------------------------------------------------------------- */

static float first_value(const struct run *run)
{
    for (int64_t i = 0; i < run->count; i++)
        if (!isnan(run->base[i * run->stride]))
            return run->base[i * run->stride];
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
        for (int64_t i = 0; i < split.inner; i++) {
            struct run run = {in + i, split.count, split.inner};
            out[i] = has_initial ? initial : first_value(&run);
        }
        fill_rows(in, out, split.count, split.inner);
    }
    return 1;
}

/* Those of lazy tensors, too. */
const luaL_Reg md__tensor_reduce_methods[] = {
    {"sum", tensor_sum},
    {"nansum", tensor_nansum},
    {"mean", tensor_mean},
    {"nanmean", tensor_nanmean},
    {"std", tensor_std},
    {"nanstd", tensor_nanstd},
    {"amax", tensor_amax},
    {"nanmax", tensor_nanmax},
    {"amin", tensor_amin},
    {"nanmin", tensor_nanmin},
    {"slope", tensor_slope},
    {"count_finite", tensor_count_finite},
    {"first_at_least", tensor_first_at_least},
    {NULL, NULL},
};
const luaL_Reg md__tensor_scan_methods[] = {{"fill_forward", tensor_fill_forward}, {NULL, NULL}};
