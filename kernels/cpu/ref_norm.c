/*
 * Reference Softmax, LayerNormalization and the reductions; all statistics in double.
 */
#include <math.h>

#include "kernels/cpu/ref.h"

/* One line of `count` elements, `step` apart, so that any axis works. */
static void softmax_line(const float *in, float *out, size_t count, size_t step)
{
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < count; i++)
        max = fmax(max, (double)in[i * step]);
    for (size_t i = 0; i < count; i++)
        sum += exp((double)in[i * step] - max);
    for (size_t i = 0; i < count; i++)
        out[i * step] = (float)(exp((double)in[i * step] - max) / sum);
}

static enum md_status softmax_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_shape *shape = &call->in[0].shape;
    int axis = md__axis(md_node_int(call->node, "axis", -1), shape->rank);
    if (axis == MD_NONE)
        return md_fail(err, MD_ERR_INVALID, "Softmax %s: axis outside rank %d", call->node->name,
                       shape->rank);
    size_t outer = md__span(shape, 0, axis), count = (size_t)shape->dim[axis];
    size_t inner = md__span(shape, axis + 1, shape->rank);
    for (size_t o = 0; o < outer; o++)
        for (size_t i = 0; i < inner; i++) {
            size_t at = o * count * inner + i;
            softmax_line((const float *)call->in[0].data + at, (float *)call->out[0].data + at,
                         count, inner);
        }
    return MD_OK;
}

static void layer_norm_row(const float *in, const float *scale, const float *bias, float *out,
                           size_t count, double epsilon)
{
    double mean = 0, variance = 0;
    for (size_t i = 0; i < count; i++)
        mean += (double)in[i];
    mean /= (double)count;
    for (size_t i = 0; i < count; i++)
        variance += ((double)in[i] - mean) * ((double)in[i] - mean);
    double factor = 1 / sqrt(variance / (double)count + epsilon);
    for (size_t i = 0; i < count; i++) {
        double shift = bias ? (double)bias[i] : 0;
        out[i] = (float)(((double)in[i] - mean) * factor * (double)scale[i] + shift);
    }
}

/* Scale and bias must cover the normalised axes exactly; ONNX would also let them broadcast. */
static bool layer_norm_supports(const struct md_node *node, const struct md_tensor *in,
                                int in_count)
{
    int axis = md__axis(md_node_int(node, "axis", -1), in[0].shape.rank);
    if (axis == MD_NONE || !md__all_f32(node, in, in_count))
        return false;
    size_t count = md__span(&in[0].shape, axis, in[0].shape.rank);
    return md__count(&in[1]) == count && (!md__has(in, in_count, 2) || md__count(&in[2]) == count);
}

static enum md_status layer_norm_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_shape *shape = &call->in[0].shape;
    int axis = md__axis(md_node_int(call->node, "axis", -1), shape->rank);
    double epsilon = md_node_float(call->node, "epsilon", 1e-5);
    size_t rows = md__span(shape, 0, axis), count = md__span(shape, axis, shape->rank);
    const float *in = call->in[0].data, *scale = call->in[1].data;
    const float *bias = md__has(call->in, call->in_count, 2) ? call->in[2].data : NULL;
    float *out = call->out[0].data;
    for (size_t r = 0; r < rows; r++)
        layer_norm_row(in + r * count, scale, bias, out + r * count, count, epsilon);
    return MD_OK;
}

/* Marks the axes that the node reduces: input 1, or all when it is absent or empty and
 * noop_with_empty_axes is 0. */
static enum md_status reduced_axes(const struct md_kernel_call *call, bool *reduced,
                                   struct md_error *err)
{
    int rank = call->in[0].shape.rank;
    size_t count = md__has(call->in, call->in_count, 1) ? md__count(&call->in[1]) : 0;
    bool all = count == 0 && !md_node_int(call->node, "noop_with_empty_axes", 0);
    for (int i = 0; i < rank; i++)
        reduced[i] = all;
    for (size_t i = 0; i < count; i++) {
        int axis = md__axis(md__get_int(&call->in[1], i), rank);
        if (axis == MD_NONE)
            return md_fail(err, MD_ERR_INVALID, "reduction %s: axis outside rank %d",
                           call->node->name, rank);
        reduced[axis] = true;
    }
    return MD_OK;
}

static double reduce_floats(enum md_op op, const struct md_tensor *in, size_t base,
                            struct md__walk walk, size_t count)
{
    double sum = 0, max = -INFINITY, min = INFINITY;
    for (size_t i = 0; i < count; i++, md__walk_next(&walk)) {
        double x = md__get_float(in, base + (size_t)walk.at[0]);
        sum += x;
        max = x > max || isnan(x) ? x : max;
        min = x < min || isnan(x) ? x : min;
    }
    switch (op) {
    case MD_OP_REDUCE_SUM:
        return sum;
    case MD_OP_REDUCE_MEAN:
        return sum / (double)count;
    default:
        return op == MD_OP_REDUCE_MAX ? max : min;
    }
}

static int64_t reduce_integers(enum md_op op, const struct md_tensor *in, size_t base,
                               struct md__walk walk, size_t count)
{
    uint64_t sum = 0;
    int64_t max = INT64_MIN, min = INT64_MAX;
    for (size_t i = 0; i < count; i++, md__walk_next(&walk)) {
        int64_t x = md__get_int(in, base + (size_t)walk.at[0]);
        sum += (uint64_t)x;
        max = x > max ? x : max;
        min = x < min ? x : min;
    }
    switch (op) {
    case MD_OP_REDUCE_SUM:
        return (int64_t)sum;
    case MD_OP_REDUCE_MEAN:
        return count ? (int64_t)sum / (int64_t)count : 0;
    default:
        return op == MD_OP_REDUCE_MAX ? max : min;
    }
}

static enum md_status reduce_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *in = &call->in[0], *out = &call->out[0];
    bool reduced[MD_RANK_MAX];
    enum md_status status = reduced_axes(call, reduced, err);
    if (status != MD_OK)
        return status;

    /* Two odometers over the input: `kept` moves to the next result, `inside` over what goes into
     * one. */
    int64_t stride[MD_RANK_MAX], kept_dim[MD_RANK_MAX], inside_dim[MD_RANK_MAX];
    md__strides(&in->shape, stride);
    for (int i = 0; i < in->shape.rank; i++) {
        kept_dim[i] = reduced[i] ? 1 : in->shape.dim[i];
        inside_dim[i] = reduced[i] ? in->shape.dim[i] : 1;
    }
    struct md__walk kept, inside;
    md__walk_init(&kept, in->shape.rank, kept_dim);
    md__walk_init(&inside, in->shape.rank, inside_dim);
    size_t results = md__count(out), count = 1;
    for (int i = 0; i < in->shape.rank; i++) {
        kept.stride[0][i] = inside.stride[0][i] = stride[i];
        count *= (size_t)inside_dim[i];
    }
    for (size_t r = 0; r < results; r++, md__walk_next(&kept)) {
        size_t base = (size_t)kept.at[0];
        if (md__dtype_is_float(in->dtype))
            md__set_float(out, r, reduce_floats(call->node->op, in, base, inside, count));
        else
            md__set_int(out, r, reduce_integers(call->node->op, in, base, inside, count));
    }
    return MD_OK;
}

const struct md_kernel md__ref_softmax = {
    .supports = md__all_f32, .run = softmax_run, .in_place = true};
const struct md_kernel md__ref_layer_norm = {
    .supports = layer_norm_supports, .run = layer_norm_run, .in_place = true};
const struct md_kernel md__ref_reduce = {.run = reduce_run};
