/*
 * Nodes of GatherND, ScatterND and ScatterElements without a reduction: index.cu. A scatter first
 * copies its data, unless it already lies there.
 */
#include <string.h>

#include "kernels/cuda/ops.h"

static bool is_index(const struct md_device_value *value)
{
    return value->dtype == MD_I64 || value->dtype == MD_I32;
}

static bool index_supports(const struct md_node *node, const struct md_device_value *in,
                           int in_count, const struct md_device_value *out, int out_count)
{
    (void)out_count;
    bool moved =
        in[0].storage == out[0].storage && (in_count < 3 || in[2].storage == in[0].storage);
    return moved && is_index(&in[1]) && in[1].shape.rank > 0 && in[0].storage != MD_F64 &&
           in[0].storage != MD_U64 && md_dtype_bytes(in[0].storage) != 0 &&
           strcmp(md_node_string(node, "reduction", "none"), "none") == 0;
}

static struct md__cuda_slices slices_of(const struct md_device_call *call)
{
    const struct md_shape *data = &call->in[0].shape, *indices = &call->in[1].shape;
    int batch =
        call->node->op == MD_OP_SCATTER_ND ? 0 : (int)md_node_int(call->node, "batch_dims", 0);
    int depth = (int)indices->dim[indices->rank - 1];
    int64_t stride[MD_RANK_MAX];
    struct md__cuda_slices slices = {.depth = depth,
                                     .ids_are_wide = call->in[1].dtype == MD_I64,
                                     .rows = (int64_t)md__span(indices, 0, indices->rank - 1),
                                     .slice = (int64_t)md__span(data, batch + depth, data->rank),
                                     .batches = (int64_t)md__span(data, 0, batch),
                                     .batch_stride = (int64_t)md__span(data, batch, data->rank),
                                     .ids = call->in[1].data};
    md__strides(data, stride);
    for (int k = 0; k < depth; k++) {
        slices.dim[k] = data->dim[batch + k];
        slices.stride[k] = stride[batch + k];
    }
    return slices;
}

static int copy_data(const struct md_device_call *call)
{
    struct md__cuda_map map = {.rank = 1,
                               .count = md__elements(&call->out[0]),
                               .dim = {md__elements(&call->out[0])},
                               .stride = {{1}, {1}}};
    if (call->in[0].data == call->out[0].data)
        return 0;
    return md__cuda_move(md__cuda_stream_of(call->stream), (int)md_dtype_bytes(call->in[0].storage),
                         &map, call->in[0].data, call->out[0].data);
}

static enum md_status gather_nd_enqueue(const struct md_device_call *call, struct md_error *err)
{
    struct md__cuda_slices slices = slices_of(call);
    return md__launched(md__cuda_gather_slices(md__cuda_stream_of(call->stream),
                                               (int)call->in[0].storage, &slices, call->in[0].data,
                                               call->out[0].data),
                        err);
}

const struct md_device_kernel md__cuda_op_gather_nd = {.supports = index_supports,
                                                       .enqueue = gather_nd_enqueue};

static enum md_status scatter_nd_enqueue(const struct md_device_call *call, struct md_error *err)
{
    struct md__cuda_slices slices = slices_of(call);
    int error = copy_data(call);
    if (!error)
        error = md__cuda_scatter_slices(md__cuda_stream_of(call->stream), (int)call->in[0].storage,
                                        &slices, call->in[2].data, call->out[0].data);
    return md__launched(error, err);
}

const struct md_device_kernel md__cuda_op_scatter_nd = {
    .supports = index_supports, .enqueue = scatter_nd_enqueue, .in_place = true};

static enum md_status scatter_elements_enqueue(const struct md_device_call *call,
                                               struct md_error *err)
{
    const struct md_shape *shape = &call->in[0].shape, *indices = &call->in[1].shape;
    int axis = md__axis(md_node_int(call->node, "axis", 0), shape->rank);
    struct md__cuda_map map = {.rank = indices->rank};
    int error = copy_data(call);
    if (axis == MD_NONE)
        return md_fail(err, MD_ERR_INVALID, "axis outside rank %d", shape->rank);
    for (int i = 0; i < indices->rank; i++)
        map.dim[i] = indices->dim[i];
    md__strides(shape, map.stride[0]);
    int64_t step = map.stride[0][axis];
    map.stride[0][axis] = 0;
    md__map_merge(&map, 1);
    if (!error)
        error = md__cuda_scatter_elements(
            md__cuda_stream_of(call->stream), (int)call->in[0].storage, (int)call->in[1].storage,
            &map, call->in[2].data, call->in[1].data, call->out[0].data, shape->dim[axis], step);
    return md__launched(error, err);
}

const struct md_device_kernel md__cuda_op_scatter_elements = {
    .supports = index_supports, .enqueue = scatter_elements_enqueue, .in_place = true};
