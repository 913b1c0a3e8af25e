/*
 * Nodes that work on lines and of norms: rows.cu.
 */
#include "graph/activation.h"
#include "graph/body.h"
#include "kernels/cuda/index.h"
#include "kernels/cuda/ops.h"

/* ---- along an axis --------------------------------------------------------------------------- */

static enum md__cuda_line line_of(const struct md_node *node)
{
    switch (node->op) {
    case MD_OP_SOFTMAX:
        return MD__CUDA_LINE_SOFTMAX;
    case MD_OP_LOG_SOFTMAX:
        return MD__CUDA_LINE_LOG_SOFTMAX;
    case MD_OP_HARDMAX:
        return MD__CUDA_LINE_HARDMAX;
    default:
        return md_node_int(node, "p", 2) == 1 ? MD__CUDA_LINE_L1 : MD__CUDA_LINE_L2;
    }
}

static bool line_supports(const struct md_node *node, const struct md_device_value *in,
                          int in_count, const struct md_device_value *out, int out_count)
{
    return md__one_float(in, in_count, out, out_count) &&
           md__axis(md_node_int(node, "axis", -1), in[0].shape.rank) != MD_NONE;
}

static enum md_status line_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_shape *shape = &call->in[0].shape;
    int axis = md__axis(md_node_int(call->node, "axis", -1), shape->rank);
    return md__launched(md__cuda_lines(md__cuda_stream_of(call->stream), (int)call->in[0].storage,
                                       line_of(call->node), call->in[0].data, call->out[0].data,
                                       (int64_t)md__span(shape, 0, axis), shape->dim[axis],
                                       (int64_t)md__span(shape, axis + 1, shape->rank)),
                        err);
}

const struct md_device_kernel md__cuda_op_line = {
    .supports = line_supports, .enqueue = line_enqueue, .in_place = true};

/* ---- norms of rows --------------------------------------------------------------------------- */

static int norm_axis(const struct md_node *node, const struct md_shape *shape)
{
    bool skip = node->op == MD_OP_SKIP_LAYER_NORM || node->op == MD_OP_SKIP_SIMPLIFIED_NORM;
    return md__axis(skip ? -1 : md_node_int(node, "axis", -1), shape->rank);
}

/* Scale, shift and addend are whole rows, what broadcasts otherwise is left to the CPU. */
static bool row_norm_supports(const struct md_node *node, const struct md_device_value *in,
                              int in_count, const struct md_device_value *out, int out_count)
{
    int axis = norm_axis(node, &in[0].shape);
    if (axis == MD_NONE || !md__one_float(in, in_count, out, out_count))
        return false;
    bool skip = node->op == MD_OP_SKIP_LAYER_NORM || node->op == MD_OP_SKIP_SIMPLIFIED_NORM;
    int64_t n = (int64_t)md__span(&in[0].shape, axis, in[0].shape.rank);
    int64_t all = md__elements(&in[0]);
    for (int i = skip ? 2 : 1; i < in_count; i++)
        if (in[i].dtype && md__elements(&in[i]) != n)
            return false;
    if (!skip)
        return true;
    int64_t skipped = md__elements(&in[1]);
    return skipped > 0 && skipped % n == 0 && all % skipped == 0;
}

static void *result(const struct md_device_call *call, int i)
{
    return i >= 0 && i < call->out_count && call->out[i].dtype ? call->out[i].data : NULL;
}

static struct md__cuda_row_norm row_norm_of(const struct md_device_call *call)
{
    const struct md_shape *shape = &call->in[0].shape;
    int axis = norm_axis(call->node, shape);
    int64_t n = (int64_t)md__span(shape, axis, shape->rank);
    return (struct md__cuda_row_norm){.storage = (int)call->in[0].storage,
                                      .rows = (int64_t)md__span(shape, 0, axis),
                                      .n = n,
                                      .residual_rows = 1,
                                      .addend_rows = 1,
                                      .scale_n = n,
                                      .shift_n = n,
                                      .x = call->in[0].data,
                                      .y = call->out[0].data};
}

static enum md_status layer_norm_enqueue(const struct md_device_call *call, struct md_error *err)
{
    enum md_op op = call->node->op;
    struct md__cuda_row_norm norm = row_norm_of(call);
    norm.centred = op == MD_OP_LAYER_NORM;
    norm.epsilon = (float)md_node_float(call->node, "epsilon", 1e-5);
    norm.scale = md__data(call, 1);
    norm.shift = norm.centred ? md__data(call, 2) : NULL;
    norm.mean = norm.centred ? result(call, 1) : NULL;
    norm.inverse = result(call, norm.centred ? 2 : op == MD_OP_RMS_NORM ? -1 : 1);
    return md__launched(md__cuda_row_norm(md__cuda_stream_of(call->stream), &norm), err);
}

const struct md_device_kernel md__cuda_op_layer_norm = {
    .supports = row_norm_supports, .enqueue = layer_norm_enqueue, .in_place = true};

static enum md_status skip_norm_enqueue(const struct md_device_call *call, struct md_error *err)
{
    struct md__cuda_row_norm norm = row_norm_of(call);
    norm.centred = call->node->op == MD_OP_SKIP_LAYER_NORM;
    norm.epsilon = (float)md_node_float(call->node, "epsilon", 1e-12f);
    norm.residual = md__data(call, 1);
    norm.residual_rows = md__elements(&call->in[1]) / norm.n;
    norm.scale = md__data(call, 2);
    norm.shift = norm.centred ? md__data(call, 3) : NULL;
    norm.addend = md__data(call, norm.centred ? 4 : 3);
    norm.mean = result(call, 1);
    norm.inverse = result(call, 2);
    norm.sum = result(call, 3);
    return md__launched(md__cuda_row_norm(md__cuda_stream_of(call->stream), &norm), err);
}

const struct md_device_kernel md__cuda_op_skip_norm = {.supports = row_norm_supports,
                                                       .enqueue = skip_norm_enqueue};

/* ---- EmbedLayerNormalization ----------------------------------------------------------------- */

/* Inputs: ids, segments?, words, positions, segment table?, gamma, beta, mask?, position ids? */

/* Rows of a table at ids, into scratch. */
static enum md_status look_up(const struct md_device_call *call, int table, int ids, char *to,
                              struct md_error *err)
{
    const struct md_device_value *rows = &call->in[table];
    return md__launched(md__cuda_gather(md__cuda_stream_of(call->stream), (int)rows->storage,
                                        (int)call->in[ids].storage, rows->data, call->in[ids].data,
                                        to, 1, rows->shape.dim[0], rows->shape.dim[1],
                                        md__elements(&call->in[ids])),
                        err);
}

static bool embed_supports(const struct md_node *node, const struct md_device_value *in,
                           int in_count, const struct md_device_value *out, int out_count)
{
    const int floats[] = {2, 3, 4, 5, 6}, ids[] = {0, 1, 7, 8};
    bool segments = md__given(in, in_count, 4), fits = out[0].storage == in[2].storage;
    (void)node;
    for (int i = 0; i < 5; i++)
        fits = fits &&
               (!md__given(in, in_count, floats[i]) || in[floats[i]].storage == out[0].storage);
    for (int i = 0; i < 4; i++)
        fits = fits && (!md__given(in, in_count, ids[i]) || in[ids[i]].dtype == MD_I32);
    return fits && md__is_float_storage(out[0].storage) && segments == md__given(in, in_count, 1) &&
           in[3].shape.dim[0] >= in[0].shape.dim[1] &&
           (out_count < 3 || out[2].dtype == 0 || out[2].storage == out[0].storage);
}

static size_t embed_scratch(const struct md_node *node, const struct md_device_value *in,
                            int in_count, const struct md_device_value *out, int out_count)
{
    (void)node, (void)in, (void)in_count, (void)out_count;
    return 3 * (size_t)md__elements(&out[0]) * md_dtype_bytes(out[0].storage);
}

static enum md_status embed_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_device_value *y = &call->out[0];
    size_t bytes = (size_t)md__elements(y) * md_dtype_bytes(y->storage);
    char *words = call->scratch, *positions = words + bytes, *segments = positions + bytes;
    bool placed = md__given(call->in, call->in_count, 8);
    const struct md_shape *ids = &call->in[0].shape;
    struct md__cuda_row_norm norm = {.storage = (int)y->storage,
                                     .centred = true,
                                     .rows = md__elements(&call->in[0]),
                                     .n = y->shape.dim[2],
                                     .scale_n = y->shape.dim[2],
                                     .shift_n = y->shape.dim[2],
                                     .epsilon = (float)md_node_float(call->node, "epsilon", 1e-12f),
                                     .x = words,
                                     .residual = placed ? positions : call->in[3].data,
                                     .residual_rows =
                                         placed ? md__elements(&call->in[8]) : ids->dim[1],
                                     .addend = md__data(call, 4) ? segments : NULL,
                                     .addend_rows = md__elements(&call->in[0]),
                                     .scale = call->in[5].data,
                                     .shift = call->in[6].data,
                                     .y = y->data,
                                     .sum = result(call, 2)};
    enum md_status status = look_up(call, 2, 0, words, err);
    if (!status && placed)
        status = look_up(call, 3, 8, positions, err);
    if (!status && norm.addend)
        status = look_up(call, 4, 1, segments, err);
    if (!status)
        status = md__launched(md__cuda_row_norm(md__cuda_stream_of(call->stream), &norm), err);
    if (!status && result(call, 1))
        status =
            md__launched(md__cuda_count_ones(md__cuda_stream_of(call->stream), md__data(call, 7),
                                             result(call, 1), ids->dim[0], ids->dim[1]),
                         err);
    return status;
}

const struct md_device_kernel md__cuda_op_embed_norm = {
    .supports = embed_supports, .scratch_bytes = embed_scratch, .enqueue = embed_enqueue};

/* ---- norms over places ----------------------------------------------------------------------- */

static bool is_last(enum md_op op)
{
    return op == MD_OP_BATCH_NORM_LAST || op == MD_OP_INSTANCE_NORM_LAST ||
           op == MD_OP_GROUP_NORM_LAST;
}

static bool is_batch_norm(enum md_op op)
{
    return op == MD_OP_BATCH_NORM || op == MD_OP_BATCH_NORM_LAST;
}

static struct md__cuda_place_norm place_norm_of(const struct md_node *node,
                                                const struct md_device_value *in)
{
    const struct md_shape *shape = &in[0].shape;
    bool last = is_last(node->op);
    int64_t channels = shape->rank > 1 ? shape->dim[last ? shape->rank - 1 : 1] : 1;
    struct md__cuda_place_norm norm = {
        .storage = (int)in[0].storage,
        .last = last,
        .batch = shape->dim[0],
        .channels = channels,
        .places = (int64_t)md__span(shape, last ? 1 : 2, last ? shape->rank - 1 : shape->rank),
        .groups = channels,
        .epsilon = (float)md_node_float(node, "epsilon", 1e-5)};
    if (node->op == MD_OP_GROUP_NORM || node->op == MD_OP_GROUP_NORM_LAST)
        norm.groups = md_node_int(node, "num_groups", 1);
    /* pieces enough for some hundred blocks, long enough to be worth one */
    int64_t least = last ? 32 : 1024;
    int64_t wanted = norm.batch < 512 ? 512 / (norm.batch > 0 ? norm.batch : 1) : 1;
    norm.piece = (norm.places + wanted - 1) / wanted;
    norm.piece = norm.piece < least ? least : norm.piece;
    norm.pieces = (norm.places + norm.piece - 1) / norm.piece;
    return norm;
}

static bool place_norm_supports(const struct md_node *node, const struct md_device_value *in,
                                int in_count, const struct md_device_value *out, int out_count)
{
    return in[0].shape.rank > 1 && out_count == 1 && !md_node_int(node, "training_mode", 0) &&
           md__one_float(in, in_count, out, out_count);
}

static size_t moments_bytes(const struct md__cuda_place_norm *norm)
{
    return 2 * sizeof(float) * (size_t)(norm->batch * norm->pieces * norm->channels);
}

static size_t place_norm_scratch(const struct md_node *node, const struct md_device_value *in,
                                 int in_count, const struct md_device_value *out, int out_count)
{
    (void)in_count, (void)out, (void)out_count;
    struct md__cuda_place_norm norm = place_norm_of(node, in);
    return moments_bytes(&norm) + 3 * sizeof(float) * (size_t)(norm.batch * norm.channels);
}

static enum md_status place_norm_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_node *node = call->node;
    struct md__cuda_place_norm norm = place_norm_of(node, call->in);
    norm.x = call->in[0].data;
    norm.scale = call->in[1].data;
    norm.shift = call->in[2].data;
    if (is_batch_norm(node->op)) {
        norm.mean = call->in[3].data;
        norm.variance = call->in[4].data;
    }
    if (is_last(node->op)) {
        norm.z = md__data(call, md__last_residual(node->op));
        md__activation_read(node, &norm.function, &norm.function_a, &norm.function_b);
    }
    norm.y = call->out[0].data;
    norm.moments = call->scratch;
    norm.factors = (float *)((char *)call->scratch + moments_bytes(&norm));
    return md__launched(md__cuda_place_norm(md__cuda_stream_of(call->stream), &norm), err);
}

const struct md_device_kernel md__cuda_op_place_norm = {.supports = place_norm_supports,
                                                        .scratch_bytes = place_norm_scratch,
                                                        .enqueue = place_norm_enqueue};
