/*
 * Kernels that treat each row of the last axis alone: LayerNormalization, RMSNormalization,
 * Softmax, WeightedSum.
 */
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/math.h"
#include "kernels/cpu/isa/norm.h"
#include "kernels/cpu/isa/softmax.h"
#include "kernels/cpu/ref.h"

struct rows {
    const struct md_kernel_call *call;
    size_t count; /* features of a row */
    float epsilon;
};

/* ---- LayerNormalization, RMSNormalization ---------------------------------------------------- */

static void layer_norm_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct rows *rows = context;
    const struct md_kernel_call *call = rows->call;
    const float *x = call->in[0].data, *scale = call->in[1].data;
    const float *bias = md__has(call->in, call->in_count, 2) ? call->in[2].data : NULL;
    float *y = call->out[0].data;
    bool rms = call->node->op == MD_OP_RMS_NORM;
    for (size_t r = begin; r < end; r++) {
        size_t at = r * rows->count;
        if (rms)
            normalize_row_rms(x + at, scale, y + at, rows->count, rows->epsilon);
        else
            normalize_row(x + at, scale, bias, y + at, rows->count, rows->epsilon);
    }
}

static enum md_status layer_norm_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_shape *shape = &call->in[0].shape;
    int axis = md__axis(md_node_int(call->node, "axis", -1), shape->rank);
    struct rows rows = {.call = call,
                        .count = md__span(shape, axis, shape->rank),
                        .epsilon = (float)md_node_float(call->node, "epsilon", 1e-5)};
    md__parallel(call->pool, md__span(shape, 0, axis), md__grain(rows.count / 2 + 32),
                 layer_norm_some, &rows);
    return MD_OK;
}

/* Scale and bias cover a row; where they broadcast otherwise, the reference serves. */
static bool layer_norm_supports(const struct md_node *node, const struct md_tensor *in,
                                int in_count)
{
    int axis = md__axis(md_node_int(node, "axis", -1), in[0].shape.rank);
    if (axis == MD_NONE || node->out_count != 1 || !md__all_f32(node, in, in_count))
        return false;
    size_t count = md__span(&in[0].shape, axis, in[0].shape.rank);
    return md__count(&in[1]) == count && (!md__has(in, in_count, 2) || md__count(&in[2]) == count);
}

const struct md_kernel md__layer_norm = {
    .supports = layer_norm_supports, .run = layer_norm_run, .in_place = true};

/* ---- Softmax --------------------------------------------------------------------------------- */

static void softmax_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct rows *rows = context;
    const float *x = rows->call->in[0].data;
    float *y = rows->call->out[0].data;
    for (size_t r = begin; r < end; r++) {
        float *row = y + r * rows->count;
        float sum = exponentials(x + r * rows->count, row, rows->count);
        scale_row(row, 1 / sum, rows->count);
    }
}

/* Over another axis: up to VL lines side by side, one in a lane; their elements lie `inner` apart.
 */
struct columns {
    const float *x;
    float *y;
    size_t count, inner, groups; /* groups of VL lines cover `inner` */
};

INLINE void softmax_lanes(const float *x, float *y, const struct columns *columns, size_t lanes)
{
    size_t count = columns->count, step = columns->inner;
    vf max = splat(-INFINITY), sum = {0};
    for (size_t i = 0; i < count; i++)
        max = vmax(max, load_some(x + i * step, lanes));
    for (size_t i = 0; i < count; i++) {
        vf e = exp_negative(load_some(x + i * step, lanes) - max);
        store_some(y + i * step, e, lanes);
        sum += e;
    }
    for (size_t i = 0; i < count; i++)
        store_some(y + i * step, load_some(y + i * step, lanes) / sum, lanes);
}

static void softmax_columns(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct columns *columns = context;
    for (size_t g = begin; g < end; g++) {
        size_t first = g % columns->groups * VL, left = columns->inner - first;
        size_t at = g / columns->groups * columns->count * columns->inner + first;
        softmax_lanes(columns->x + at, columns->y + at, columns, left < VL ? left : VL);
    }
}

static enum md_status softmax_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_shape *shape = &call->in[0].shape;
    int axis = md__axis(md_node_int(call->node, "axis", -1), shape->rank);
    size_t outer = md__span(shape, 0, axis), inner = md__span(shape, axis + 1, shape->rank);
    struct rows rows = {.call = call, .count = (size_t)shape->dim[axis]};
    struct columns columns = {.x = call->in[0].data,
                              .y = call->out[0].data,
                              .count = rows.count,
                              .inner = inner,
                              .groups = (inner + VL - 1) / VL};
    if (inner == 1)
        md__parallel(call->pool, outer, md__grain(rows.count * 2 + 32), softmax_some, &rows);
    else
        md__parallel(call->pool, outer * columns.groups, md__grain(rows.count * 16),
                     softmax_columns, &columns);
    return MD_OK;
}

const struct md_kernel md__softmax = {
    .supports = md__all_f32, .run = softmax_run, .in_place = true};

/* ---- WeightedSum ----------------------------------------------------------------------------- */

#define SUMMED_MAX 4 /* vectors of a row summed at once, in registers */

/* Columns [column, column + width vectors) of one row. */
INLINE void sum_columns(const struct md_kernel_call *call, const float *weights, size_t row,
                        size_t column, size_t count, const int width)
{
    size_t at = row * count + column, left = count - column;
    vf sum[SUMMED_MAX] = {0};
    for (int k = 1; k < call->in_count; k++) {
        const float *from = (const float *)call->in[k].data + at;
        vf weight = splat(weights[k - 1]);
#pragma GCC unroll 4
        for (int v = 0; v < width; v++)
            sum[v] += weight * load_upto(from + (size_t)v * VL, left - (size_t)v * VL);
    }
    float *y = (float *)call->out[0].data + at;
#pragma GCC unroll 4
    for (int v = 0; v < width; v++)
        store_upto(y + (size_t)v * VL, sum[v], left - (size_t)v * VL);
}

static void weighted_sum_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct rows *rows = context;
    const struct md_kernel_call *call = rows->call;
    size_t count = rows->count, values = (size_t)call->in_count - 1;
    for (size_t r = begin; r < end; r++) {
        const float *weights = (const float *)call->in[0].data + r * values;
        size_t column = 0;
        for (; column + SUMMED_MAX * VL <= count; column += SUMMED_MAX * VL)
            sum_columns(call, weights, r, column, count, SUMMED_MAX);
        for (; column + 2 * VL <= count; column += 2 * VL)
            sum_columns(call, weights, r, column, count, 2);
        for (; column < count; column += VL)
            sum_columns(call, weights, r, column, count, 1);
    }
}

static enum md_status weighted_sum_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_shape *shape = &call->out[0].shape;
    struct rows rows = {.call = call, .count = (size_t)shape->dim[shape->rank - 1]};
    size_t cost = rows.count * (size_t)call->in_count / 4;
    md__parallel(call->pool, md__span(shape, 0, shape->rank - 1), md__grain(cost),
                 weighted_sum_some, &rows);
    return MD_OK;
}

const struct md_kernel md__weighted_sum = {.supports = md__all_f32, .run = weighted_sum_run};
