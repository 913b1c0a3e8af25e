/*
 * Nodes of reductions: reduce.cu.
 */
#include "kernels/cuda/ops.h"

static bool is_int(enum md_dtype dtype)
{
    return dtype == MD_I64 || dtype == MD_I32;
}

static enum md__cuda_reduction reduction_of(enum md_op op)
{
    switch (op) {
    case MD_OP_REDUCE_MEAN:
        return MD__CUDA_REDUCE_MEAN;
    case MD_OP_REDUCE_MAX:
        return MD__CUDA_REDUCE_MAX;
    case MD_OP_REDUCE_MIN:
        return MD__CUDA_REDUCE_MIN;
    case MD_OP_REDUCE_PROD:
        return MD__CUDA_REDUCE_PROD;
    case MD_OP_REDUCE_L1:
        return MD__CUDA_REDUCE_L1;
    case MD_OP_REDUCE_L2:
        return MD__CUDA_REDUCE_L2;
    case MD_OP_REDUCE_SUM_SQUARE:
        return MD__CUDA_REDUCE_SUM_SQUARE;
    case MD_OP_REDUCE_LOG_SUM:
        return MD__CUDA_REDUCE_LOG_SUM;
    case MD_OP_REDUCE_LOG_SUM_EXP:
        return MD__CUDA_REDUCE_LOG_SUM_EXP;
    default:
        return MD__CUDA_REDUCE_SUM;
    }
}

/* Integers where nothing is rounded; the extremes of none of them are left to the CPU. */
static bool reduce_supports(const struct md_node *node, const struct md_device_value *in,
                            int in_count, const struct md_device_value *out, int out_count)
{
    enum md__cuda_reduction kind = reduction_of(node->op);
    (void)in_count, (void)out_count;
    if (is_int(in[0].dtype))
        return md__elements(&in[0]) > 0 && out[0].dtype == in[0].dtype &&
               kind != MD__CUDA_REDUCE_L2 && kind < MD__CUDA_REDUCE_LOG_SUM;
    return md__is_float_storage(in[0].storage) && out[0].storage == in[0].storage;
}

static enum md_status reduced_axes(const struct md_device_call *call, bool *reduced,
                                   struct md_error *err)
{
    int rank = call->in[0].shape.rank;
    bool given = md__given(call->in, call->in_count, 1);
    int64_t count = given ? md__elements(&call->in[1]) : 0;
    bool all = count == 0 && !md_node_int(call->node, "noop_with_empty_axes", 0);
    for (int i = 0; i < rank; i++)
        reduced[i] = all;
    for (int64_t i = 0; i < count; i++) {
        int axis = md__axis(md__known_int(&call->in[1], i), rank);
        if (axis == MD_NONE)
            return md_fail(err, MD_ERR_INVALID, "axis outside rank %d", rank);
        reduced[axis] = true;
    }
    return MD_OK;
}

static enum md_status reduce_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_shape *shape = &call->in[0].shape;
    struct md__cuda_map kept = {.rank = shape->rank}, inside = {.rank = shape->rank};
    bool reduced[MD_RANK_MAX];
    enum md_status status = reduced_axes(call, reduced, err);
    if (status)
        return status;
    md__strides(shape, kept.stride[0]);
    md__strides(shape, inside.stride[0]);
    for (int i = 0; i < shape->rank; i++) {
        kept.dim[i] = reduced[i] ? 1 : shape->dim[i];
        inside.dim[i] = reduced[i] ? shape->dim[i] : 1;
    }
    md__map_merge(&kept, 1);
    md__map_merge(&inside, 1);
    return md__launched(md__cuda_reduce(md__cuda_stream_of(call->stream), (int)call->in[0].storage,
                                        reduction_of(call->node->op), &kept, &inside,
                                        call->in[0].data, call->out[0].data),
                        err);
}

const struct md_device_kernel md__cuda_op_reduce = {
    .supports = reduce_supports, .enqueue = reduce_enqueue, .host_inputs = 1u << 1};

/* ---- along one axis -------------------------------------------------------------------------- */

struct axis {
    int64_t outer, n, inner;
};

static struct axis axis_of(const struct md_shape *shape, int axis)
{
    return (struct axis){(int64_t)md__span(shape, 0, axis), shape->dim[axis],
                         (int64_t)md__span(shape, axis + 1, shape->rank)};
}

static bool arg_supports(const struct md_node *node, const struct md_device_value *in, int in_count,
                         const struct md_device_value *out, int out_count)
{
    (void)in_count, (void)out, (void)out_count;
    return (is_int(in[0].dtype) || md__is_float_storage(in[0].storage)) &&
           md__axis(md_node_int(node, "axis", 0), in[0].shape.rank) != MD_NONE;
}

static enum md_status arg_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_shape *shape = &call->in[0].shape;
    struct axis a = axis_of(shape, md__axis(md_node_int(call->node, "axis", 0), shape->rank));
    return md__launched(md__cuda_arg(md__cuda_stream_of(call->stream), (int)call->in[0].storage,
                                     call->node->op == MD_OP_ARG_MIN,
                                     md_node_int(call->node, "select_last_index", 0) != 0,
                                     call->in[0].data, call->out[0].data, a.outer, a.n, a.inner),
                        err);
}

const struct md_device_kernel md__cuda_op_arg = {.supports = arg_supports, .enqueue = arg_enqueue};

static bool running_supports(const struct md_node *node, const struct md_device_value *in,
                             int in_count, const struct md_device_value *out, int out_count)
{
    (void)node, (void)in_count, (void)out_count;
    return in[0].shape.rank > 0 && (in[0].dtype == MD_I64 || (md__is_float_storage(in[0].storage) &&
                                                              out[0].storage == in[0].storage));
}

static enum md_status running_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_shape *shape = &call->in[0].shape;
    int axis = md__axis(md__known_int(&call->in[1], 0), shape->rank);
    if (axis == MD_NONE)
        return md_fail(err, MD_ERR_UNPROCESSABLE, "axis outside rank %d", shape->rank);
    struct axis a = axis_of(shape, axis);
    return md__launched(md__cuda_running(md__cuda_stream_of(call->stream), (int)call->in[0].storage,
                                         call->node->op == MD_OP_CUM_PROD,
                                         md_node_int(call->node, "exclusive", 0) != 0,
                                         md_node_int(call->node, "reverse", 0) != 0,
                                         call->in[0].data, call->out[0].data, a.outer, a.n,
                                         a.inner),
                        err);
}

const struct md_device_kernel md__cuda_op_running = {
    .supports = running_supports, .enqueue = running_enqueue, .host_inputs = 1u << 1};

#define TOP_K_MAX 64 /* a thread goes through its line once for each */

static bool top_k_supports(const struct md_node *node, const struct md_device_value *in,
                           int in_count, const struct md_device_value *out, int out_count)
{
    (void)in_count, (void)out_count;
    int axis = md__axis(md_node_int(node, "axis", -1), in[0].shape.rank);
    return axis != MD_NONE && md__is_float_storage(in[0].storage) &&
           out[0].shape.dim[axis] <= TOP_K_MAX;
}

static enum md_status top_k_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_shape *shape = &call->in[0].shape;
    int axis = md__axis(md_node_int(call->node, "axis", -1), shape->rank);
    struct axis a = axis_of(shape, axis);
    bool indices = call->out_count > 1 && call->out[1].dtype;
    return md__launched(md__cuda_top_k(md__cuda_stream_of(call->stream), (int)call->in[0].storage,
                                       md_node_int(call->node, "largest", 1) != 0, call->in[0].data,
                                       call->out[0].data, indices ? call->out[1].data : NULL,
                                       a.outer, a.n, a.inner, call->out[0].shape.dim[axis]),
                        err);
}

const struct md_device_kernel md__cuda_op_top_k = {
    .supports = top_k_supports, .enqueue = top_k_enqueue, .host_inputs = 1u << 1};
