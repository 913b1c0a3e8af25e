/*
 * Nodes whose indices lie in device memory: index.cu. A scatter first copies its data, unless it
 * already lies there.
 */
#include <string.h>

#include "kernels/cuda/index.h"
#include "kernels/cuda/ops.h"

/* Updates that are compared with each other in a reduction: more are the CPU's. */
#define REDUCED_MAX 65536

static bool is_index(const struct md_device_value *value)
{
    return value->dtype == MD_I64 || value->dtype == MD_I32;
}

static bool moves(const struct md_device_value *from, const struct md_device_value *to)
{
    return from->storage == to->storage && md_dtype_bytes(to->storage) != 0;
}

static enum md__cuda_scatter scatter_of(const struct md_node *node)
{
    static const char *const names[] = {"none", "add", "mul", "max", "min"};
    const char *asked = md_node_string(node, "reduction", "none");
    int how = 0;
    while (how < MD__CUDA_SCATTER_MIN && strcmp(asked, names[how]) != 0)
        how++;
    return (enum md__cuda_scatter)how;
}

static bool reduces(const struct md_node *node, const struct md_device_value *in)
{
    const struct md_shape *ids = &in[1].shape;
    int axis = md__axis(md_node_int(node, "axis", 0), ids->rank);
    int64_t count = node->op == MD_OP_SCATTER_ND ? (int64_t)md__span(ids, 0, ids->rank - 1)
                    : axis != MD_NONE            ? ids->dim[axis]
                                                 : INT64_MAX;
    return count <= REDUCED_MAX && (md__is_float_storage(in[0].storage) || is_index(&in[0]));
}

static bool index_supports(const struct md_node *node, const struct md_device_value *in,
                           int in_count, const struct md_device_value *out, int out_count)
{
    (void)out_count;
    bool moved =
        in[0].storage == out[0].storage && (in_count < 3 || in[2].storage == in[0].storage);
    return moved && is_index(&in[1]) && in[1].shape.rank > 0 && in[0].storage != MD_F64 &&
           in[0].storage != MD_U64 && md_dtype_bytes(in[0].storage) != 0 &&
           (scatter_of(node) == MD__CUDA_SCATTER_NONE || reduces(node, in));
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
                                        scatter_of(call->node), &slices, call->in[2].data,
                                        call->out[0].data);
    return md__launched(error, err);
}

const struct md_device_kernel md__cuda_op_scatter_nd = {
    .supports = index_supports, .enqueue = scatter_nd_enqueue, .in_place = true};

static enum md_status scatter_elements_enqueue(const struct md_device_call *call,
                                               struct md_error *err)
{
    const struct md_shape *shape = &call->in[0].shape, *indices = &call->in[1].shape;
    int axis = md__axis(md_node_int(call->node, "axis", 0), shape->rank);
    struct md__cuda_lines lines = {.index_storage = (int)call->in[1].storage,
                                   .map = {.rank = indices->rank}};
    if (axis == MD_NONE)
        return md_fail(err, MD_ERR_INVALID, "axis outside rank %d", shape->rank);
    for (int i = 0; i < indices->rank; i++)
        lines.map.dim[i] = indices->dim[i];
    md__strides(shape, lines.map.stride[0]);
    lines.axis_stride = lines.map.stride[0][axis];
    lines.map.stride[0][axis] = 0;
    md__map_merge(&lines.map, 1);
    lines.n = shape->dim[axis];
    lines.count = indices->dim[axis];
    lines.inner = (int64_t)md__span(indices, axis + 1, indices->rank);
    int error = copy_data(call);
    if (!error)
        error = md__cuda_scatter_elements(md__cuda_stream_of(call->stream),
                                          (int)call->in[0].storage, scatter_of(call->node), &lines,
                                          call->in[2].data, call->in[1].data, call->out[0].data);
    return md__launched(error, err);
}

const struct md_device_kernel md__cuda_op_scatter_elements = {
    .supports = index_supports, .enqueue = scatter_elements_enqueue, .in_place = true};

/* ---- TensorScatter --------------------------------------------------------------------------- */

static struct md__cuda_cache_fill cache_fill_of(const struct md_node *node,
                                                const struct md_device_value *in, int in_count)
{
    const struct md_shape *cache = &in[0].shape;
    int axis = md__axis(md_node_int(node, "axis", -2), cache->rank);
    if (axis == MD_NONE || axis == 0)
        return (struct md__cuda_cache_fill){0};
    return (struct md__cuda_cache_fill){
        .circular = strcmp(md_node_string(node, "mode", "linear"), "circular") == 0,
        .outer = (int64_t)md__span(cache, 0, axis),
        .per_batch = (int64_t)md__span(cache, 1, axis),
        .length = in[1].shape.dim[axis],
        .most = cache->dim[axis],
        .run = (int64_t)md__span(cache, axis + 1, cache->rank),
        .begins = md__given(in, in_count, 2) ? in[2].data : NULL};
}

static bool fill_cache_supports(const struct md_node *node, const struct md_device_value *in,
                                int in_count, const struct md_device_value *out, int out_count)
{
    struct md__cuda_cache_fill fill = cache_fill_of(node, in, in_count);
    (void)out_count;
    return fill.per_batch > 0 && fill.length <= fill.most && moves(&in[0], &out[0]) &&
           moves(&in[1], &out[0]) && (!md__given(in, in_count, 2) || in[2].dtype == MD_I64);
}

static enum md_status fill_cache_enqueue(const struct md_device_call *call, struct md_error *err)
{
    struct md__cuda_cache_fill fill = cache_fill_of(call->node, call->in, call->in_count);
    int error = copy_data(call);
    if (!error)
        error = md__cuda_fill_cache(md__cuda_stream_of(call->stream),
                                    (int)md_dtype_bytes(call->in[0].storage), &fill,
                                    call->in[1].data, call->out[0].data);
    return md__launched(error, err);
}

const struct md_device_kernel md__cuda_op_fill_cache = {
    .supports = fill_cache_supports, .enqueue = fill_cache_enqueue, .in_place = true};

/* ---- OneHot, ReverseSequence, MaxUnpool ------------------------------------------------------ */

/* The depth is in the output's shape. */
static bool one_hot_supports(const struct md_node *node, const struct md_device_value *in,
                             int in_count, const struct md_device_value *out, int out_count)
{
    (void)node, (void)in_count, (void)out_count;
    return is_index(&in[0]) && moves(&in[2], &out[0]);
}

static enum md_status one_hot_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_shape *y = &call->out[0].shape;
    int axis = md__axis(md_node_int(call->node, "axis", -1), y->rank);
    if (axis == MD_NONE)
        return md_fail(err, MD_ERR_INVALID, "axis outside rank %d", y->rank);
    return md__launched(
        md__cuda_one_hot(
            md__cuda_stream_of(call->stream), (int)md_dtype_bytes(call->out[0].storage),
            (int)call->in[0].storage, call->in[0].data, call->in[2].data, call->out[0].data,
            (int64_t)md__span(y, 0, axis), y->dim[axis], (int64_t)md__span(y, axis + 1, y->rank)),
        err);
}

const struct md_device_kernel md__cuda_op_one_hot = {
    .supports = one_hot_supports, .enqueue = one_hot_enqueue, .host_inputs = 2};

static bool reverse_supports(const struct md_node *node, const struct md_device_value *in,
                             int in_count, const struct md_device_value *out, int out_count)
{
    (void)in_count, (void)out_count;
    return (md_node_int(node, "time_axis", 0) & ~1) == 0 && in[0].shape.rank >= 2 &&
           in[1].dtype == MD_I64 && moves(&in[0], &out[0]);
}

static enum md_status reverse_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_shape *x = &call->in[0].shape;
    return md__launched(md__cuda_reverse(md__cuda_stream_of(call->stream),
                                         (int)md_dtype_bytes(call->in[0].storage),
                                         (int)md_node_int(call->node, "time_axis", 0),
                                         call->in[0].data, call->in[1].data, call->out[0].data,
                                         x->dim[0], x->dim[1], (int64_t)md__span(x, 2, x->rank)),
                        err);
}

const struct md_device_kernel md__cuda_op_reverse = {.supports = reverse_supports,
                                                     .enqueue = reverse_enqueue};

static bool unpool_supports(const struct md_node *node, const struct md_device_value *in,
                            int in_count, const struct md_device_value *out, int out_count)
{
    const struct md_attr *kernel = md_node_attr(node, "kernel_shape");
    (void)in_count, (void)out_count;
    return kernel && kernel->count == in[0].shape.rank - 2 && in[1].dtype == MD_I64 &&
           moves(&in[0], &out[0]);
}

/* Indices count in what the windows span; an output_shape asked for may be more or less. */
static enum md_status unpool_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_shape *x = &call->in[0].shape, *y = &call->out[0].shape;
    const struct md_attr *kernel = md_node_attr(call->node, "kernel_shape"),
                         *strides = md_node_attr(call->node, "strides"),
                         *pads = md_node_attr(call->node, "pads");
    struct md__cuda_unpooling unpooling = {.bytes = (int)md_dtype_bytes(call->in[0].storage),
                                           .rank = x->rank,
                                           .count = md__elements(&call->in[0]),
                                           .y_count = md__elements(&call->out[0]),
                                           .x = call->in[0].data,
                                           .indices = call->in[1].data,
                                           .y = call->out[0].data};
    for (int i = 0; i < x->rank; i++) {
        int k = i - 2;
        unpooling.from[i] = unpooling.to[i] = y->dim[i];
        if (k >= 0)
            unpooling.from[i] = (x->dim[i] - 1) * (strides ? strides->ints[k] : 1) -
                                (pads ? pads->ints[k] + pads->ints[k + kernel->count] : 0) +
                                kernel->ints[k];
        if (unpooling.from[i] < 1)
            return md_fail(err, MD_ERR_UNPROCESSABLE, "windows span nothing");
    }
    return md__launched(md__cuda_unpool(md__cuda_stream_of(call->stream), &unpooling), err);
}

const struct md_device_kernel md__cuda_op_unpool = {
    .supports = unpool_supports, .enqueue = unpool_enqueue, .host_inputs = 4};
