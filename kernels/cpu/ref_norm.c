/*
 * Reference LayerNormalization; all statistics in double.
 */
#include <math.h>

#include "kernels/cpu/ref.h"

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

const struct md_kernel md__ref_layer_norm = {
    .supports = layer_norm_supports, .run = layer_norm_run, .in_place = true};
