/*
 * Nodes of Resize: resize.cu. The geometry is what runtime/graph/resize.h makes of the node.
 */
#include <string.h>

#include "graph/body.h"
#include "graph/resize.h"
#include "kernels/cuda/ops.h"

_Static_assert((int)MD__CUDA_RESIZE_HALF_PIXEL_NN == (int)MD_RESIZE_HALF_PIXEL_NN &&
                   (int)MD__CUDA_RESIZE_CROP == (int)MD_RESIZE_CROP,
               "launch.h numbers coordinates as resize.h does");

#define AXES_MAX 3

static double known_number(const struct md_device_value *value, int64_t i)
{
    struct md_tensor tensor = {
        .dtype = value->dtype, .shape = value->shape, .data = (void *)value->known};
    return md__get_float(&tensor, (size_t)i);
}

static void read_list(const struct md_device_value *in, int in_count, int i, double *list,
                      int *count)
{
    bool known = md__given(in, in_count, i) && in[i].known;
    *count = known ? (int)md__elements(&in[i]) : 0;
    for (int k = 0; k < *count && k < MD_RANK_MAX; k++)
        list[k] = known_number(&in[i], k);
}

/* Axes as ONNX has them; those of a channels-last tensor are turned. */
static enum md_status geometry(const struct md_node *node, const struct md_device_value *in,
                               int in_count, struct md_resize *resize, struct md_error *err)
{
    struct md_resize_lists lists;
    const struct md_shape shape = md__device_first(&in[0].shape, node->op == MD_OP_RESIZE_LAST);
    read_list(in, in_count, 1, lists.roi, &lists.roi_count);
    read_list(in, in_count, 2, lists.scales, &lists.scale_count);
    read_list(in, in_count, 3, lists.sizes, &lists.size_count);
    if (lists.roi_count > MD_RANK_MAX)
        return md_fail(err, MD_ERR_UNSUPPORTED, "has a roi of many axes");
    return md__resize_init(node, &shape, &lists, resize, err);
}

/* Which axis of the geometry is axis i of the tensor. */
static int turned(const struct md_node *node, int rank, int i)
{
    if (node->op != MD_OP_RESIZE_LAST || i == 0)
        return i;
    return i == rank - 1 ? 1 : i + 1;
}

/* Whether axis i moves anything: a Resize to sizes names all of them. */
static bool is_used(const struct md_resize *resize, int i)
{
    const struct md_resize_axis *axis = &resize->axes[i];
    bool same = axis->in == axis->out && axis->scale == 1 &&
                resize->coordinates != MD_RESIZE_CROP &&
                resize->coordinates != MD_RESIZE_HALF_PIXEL_NN;
    return axis->used && !same;
}

static int64_t table_entries(const struct md_resize *resize, int *used)
{
    int64_t entries = 0;
    *used = 0;
    for (int i = 0; i < resize->rank; i++)
        if (is_used(resize, i)) {
            entries += resize->axes[i].out;
            (*used)++;
        }
    return entries;
}

static bool resize_supports(const struct md_node *node, const struct md_device_value *in,
                            int in_count, const struct md_device_value *out, int out_count)
{
    struct md_resize resize;
    int used;
    int residual = md__last_residual(node->op);
    const struct md_device_value floats[2] = {
        in[0], residual > 0 && md__given(in, in_count, residual) ? in[residual] : in[0]};
    if (in[0].shape.rank < 1 || !md__one_float(floats, 2, out, out_count) ||
        geometry(node, in, in_count, &resize, NULL) != MD_OK)
        return false;
    table_entries(&resize, &used);
    return used <= AXES_MAX;
}

static size_t resize_scratch(const struct md_node *node, const struct md_device_value *in,
                             int in_count, const struct md_device_value *out, int out_count)
{
    struct md_resize resize;
    int used;
    (void)out, (void)out_count;
    if (geometry(node, in, in_count, &resize, NULL) != MD_OK)
        return 0;
    return (size_t)table_entries(&resize, &used) * sizeof(struct md__cuda_resize_source);
}

static enum md__cuda_nearest nearest_of(const struct md_node *node)
{
    const char *name = md_node_string(node, "nearest_mode", "round_prefer_floor");
    return strcmp(name, "round_prefer_ceil") == 0 ? MD__CUDA_NEAREST_ROUND_CEIL
           : strcmp(name, "floor") == 0           ? MD__CUDA_NEAREST_FLOOR
           : strcmp(name, "ceil") == 0            ? MD__CUDA_NEAREST_CEIL
                                                  : MD__CUDA_NEAREST_ROUND_FLOOR;
}

/* Filters of cubic ones, and of linear ones that are spread out or cut at the border. */
static void set_filter(const struct md_node *node, struct md__cuda_resize *resize)
{
    bool nearest = strcmp(md_node_string(node, "mode", "nearest"), "nearest") == 0;
    bool antialias = md_node_int(node, "antialias", 0) != 0;
    resize->exclude_outside = md_node_int(node, "exclude_outside", 0) != 0;
    resize->cubic = !nearest && !resize->linear;
    resize->normed = antialias || resize->exclude_outside;
    resize->filtered = !nearest && (resize->cubic || resize->normed);
    resize->cubic_a = (float)md_node_float(node, "cubic_coeff_a", -0.75);
    for (int i = 0; i < resize->rank; i++) {
        double scale = resize->axes[i].scale;
        resize->axes[i].filter = antialias && scale < 1 ? scale : 1;
    }
}

static enum md_status resize_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_node *node = call->node;
    struct md_resize geo;
    enum md_status status = geometry(node, call->in, call->in_count, &geo, err);
    if (status)
        return status;
    struct md__cuda_resize resize = {
        .storage = (int)call->in[0].storage,
        .rank = geo.rank,
        .linear = strcmp(md_node_string(node, "mode", "nearest"), "linear") == 0,
        .coordinates = (enum md__cuda_coordinates)geo.coordinates,
        .nearest = nearest_of(node),
        .extrapolation = (float)md_node_float(node, "extrapolation_value", 0),
        .count = md__elements(&call->out[0]),
        .table = call->scratch,
        .x = call->in[0].data,
        .y = call->out[0].data};
    int64_t stride[MD_RANK_MAX], entries = 0;
    md__strides(&call->in[0].shape, stride);
    for (int i = 0; i < geo.rank; i++) {
        int axis = turned(node, geo.rank, i);
        const struct md_resize_axis *from = &geo.axes[axis];
        resize.axes[i] = (struct md__cuda_resize_axis){.in = from->in,
                                                       .out = from->out,
                                                       .stride = stride[i],
                                                       .scale = from->scale,
                                                       .begin = from->begin,
                                                       .end = from->end,
                                                       .used = is_used(&geo, axis),
                                                       .table = entries};
        entries += is_used(&geo, axis) ? from->out : 0;
    }
    set_filter(node, &resize);
    if (node->op == MD_OP_RESIZE_LAST) {
        resize.z = md__data(call, md__last_residual(node->op));
        md__activation_read(node, &resize.function, &resize.function_a, &resize.function_b);
    }
    return md__launched(md__cuda_resize(md__cuda_stream_of(call->stream), &resize), err);
}

const struct md_device_kernel md__cuda_op_resize = {.supports = resize_supports,
                                                    .scratch_bytes = resize_scratch,
                                                    .enqueue = resize_enqueue,
                                                    .host_inputs = 0xe};
