/*
 * Nodes of GridSample and RoiAlign: sample.cu; and of LRN: pool.cu.
 */
#include <string.h>

#include "kernels/cuda/ops.h"
#include "kernels/cuda/sample.h"

#define SAMPLES_MAX 4096 /* along one side of a cell, as on the CPU */

static bool sample_supports(const struct md_node *node, const struct md_device_value *in,
                            int in_count, const struct md_device_value *out, int out_count)
{
    (void)node;
    return in[0].shape.rank >= 3 && in[0].shape.rank <= 5 && md__elements(&in[0]) > 0 &&
           md__one_float(in, in_count, out, out_count);
}

static enum md_status sample_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_shape *x = &call->in[0].shape;
    const char *mode = md_node_string(call->node, "mode", "linear");
    const char *padding = md_node_string(call->node, "padding_mode", "zeros");
    struct md__cuda_sampling sampling = {
        .storage = (int)call->in[0].storage,
        .axes = x->rank - 2,
        .method = strcmp(mode, "nearest") == 0 ? MD__CUDA_SAMPLE_NEAREST
                  : strcmp(mode, "cubic") == 0 ? MD__CUDA_SAMPLE_CUBIC
                                               : MD__CUDA_SAMPLE_LINEAR,
        .border = strcmp(padding, "border") == 0       ? MD__CUDA_BORDER_EDGE
                  : strcmp(padding, "reflection") == 0 ? MD__CUDA_BORDER_REFLECT
                                                       : MD__CUDA_BORDER_ZEROS,
        .corners = md_node_int(call->node, "align_corners", 0) != 0,
        .batch = x->dim[0],
        .channels = x->dim[1],
        .places = (int64_t)md__span(&call->out[0].shape, 2, call->out[0].shape.rank),
        .x = call->in[0].data,
        .grid = call->in[1].data,
        .y = call->out[0].data};
    for (int axis = 0; axis < sampling.axes; axis++)
        sampling.length[axis] = x->dim[2 + axis];
    return md__launched(md__cuda_sample(md__cuda_stream_of(call->stream), &sampling), err);
}

const struct md_device_kernel md__cuda_op_sample = {.supports = sample_supports,
                                                    .enqueue = sample_enqueue};

static bool region_supports(const struct md_node *node, const struct md_device_value *in,
                            int in_count, const struct md_device_value *out, int out_count)
{
    (void)in_count;
    return md_node_int(node, "sampling_ratio", 0) <= SAMPLES_MAX && md__elements(&in[0]) > 0 &&
           in[2].dtype == MD_I64 && md__one_float(in, 2, out, out_count);
}

static enum md_status region_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_node *node = call->node;
    const int64_t *x = call->in[0].shape.dim, *y = call->out[0].shape.dim;
    struct md__cuda_regions regions = {
        .storage = (int)call->in[0].storage,
        .largest = strcmp(md_node_string(node, "mode", "avg"), "max") == 0,
        .half_pixel = strcmp(md_node_string(node, "coordinate_transformation_mode", "half_pixel"),
                             "half_pixel") == 0,
        .count = y[0],
        .images = x[0],
        .channels = x[1],
        .length = {x[2], x[3]},
        .cells = {y[2], y[3]},
        .ratio = md_node_int(node, "sampling_ratio", 0),
        .samples_max = SAMPLES_MAX,
        .scale = md_node_float(node, "spatial_scale", 1),
        .x = call->in[0].data,
        .regions = call->in[1].data,
        .image_of = call->in[2].data,
        .y = call->out[0].data};
    return md__launched(md__cuda_region_align(md__cuda_stream_of(call->stream), &regions), err);
}

const struct md_device_kernel md__cuda_op_region = {.supports = region_supports,
                                                    .enqueue = region_enqueue};

static enum md_status lrn_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_node *node = call->node;
    const struct md_shape *x = &call->in[0].shape;
    int64_t size = md_node_int(node, "size", 1);
    struct md__cuda_lrn lrn = {
        .storage = (int)call->in[0].storage,
        .channels = x->rank > 1 ? x->dim[1] : 1,
        .places = (int64_t)md__span(x, 2, x->rank),
        .count = md__elements(&call->in[0]),
        .before = (size - 1) / 2,
        .after = size / 2,
        .alpha = (float)(md_node_float(node, "alpha", 1e-4f) / (double)(size ? size : 1)),
        .beta = (float)md_node_float(node, "beta", 0.75),
        .bias = (float)md_node_float(node, "bias", 1),
        .x = call->in[0].data,
        .y = call->out[0].data};
    return md__launched(md__cuda_lrn(md__cuda_stream_of(call->stream), &lrn), err);
}

const struct md_device_kernel md__cuda_op_lrn = {.supports = md__floats_only,
                                                 .enqueue = lrn_enqueue};
