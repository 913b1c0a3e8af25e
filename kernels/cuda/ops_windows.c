/*
 * Nodes whose windows slide over places: convolutions and poolings in both layouts, conv.cu and
 * pool.cu. Global poolings are reductions.
 */
#include <stdlib.h>
#include <string.h>

#include "graph/window.h"
#include "kernels/cuda/libraries.h"
#include "kernels/cuda/ops.h"

struct md_shape md__device_first(const struct md_shape *shape, bool last)
{
    struct md_shape made = *shape;
    if (!last || shape->rank < 3)
        return made;
    made.dim[1] = shape->dim[shape->rank - 1];
    for (int i = 2; i < shape->rank; i++)
        made.dim[i] = shape->dim[i - 1];
    return made;
}

static struct md__cuda_window plain_window(const struct md_window *narrow)
{
    struct md_window wide = md__window_widened(narrow);
    struct md__cuda_window window;
    memcpy(window.in, wide.in, sizeof window.in);
    memcpy(window.out, wide.out, sizeof window.out);
    memcpy(window.kernel, wide.kernel, sizeof window.kernel);
    memcpy(window.stride, wide.stride, sizeof window.stride);
    memcpy(window.dilation, wide.dilation, sizeof window.dilation);
    memcpy(window.before, wide.before, sizeof window.before);
    memcpy(window.after, wide.after, sizeof window.after);
    return window;
}

static int64_t product_of(const int64_t *numbers)
{
    return numbers[0] * numbers[1] * numbers[2];
}

/* ---- convolutions ---------------------------------------------------------------------------- */

static bool conv_is_last(enum md_op op)
{
    return op == MD_OP_CONV_LAST || op == MD_OP_CONV_TRANSPOSE_LAST;
}

static bool is_transposed(enum md_op op)
{
    return op == MD_OP_CONV_TRANSPOSE || op == MD_OP_CONV_TRANSPOSE_LAST;
}

static bool conv_supports(const struct md_node *node, const struct md_device_value *in,
                          int in_count, const struct md_device_value *out, int out_count)
{
    return in[0].shape.rank >= 3 && in[0].shape.rank <= 2 + MD_WINDOW_AXES_MAX &&
           !md_node_attr(node, "output_scale") && !md__given(in, in_count, 4) &&
           md__one_float(in, in_count, out, out_count);
}

static enum md_status conv_init(const struct md_device_call *call,
                                struct md__cuda_convolution *conv, struct md_error *err)
{
    const struct md_node *node = call->node;
    bool last = conv_is_last(node->op), transposed = is_transposed(node->op);
    struct md_shape x = md__device_first(&call->in[0].shape, last);
    struct md_shape y = md__device_first(&call->out[0].shape, last);
    struct md_window window;
    enum md_status status = (transposed ? md__window_init_transposed : md__window_init)(
        node, &x, &call->in[1].shape, &window, err);
    if (status)
        return status;
    *conv = (struct md__cuda_convolution){.storage = (int)call->in[0].storage,
                                          .transposed = transposed,
                                          .batch = x.dim[0],
                                          .channels = x.dim[1],
                                          .outputs = y.dim[1],
                                          .groups = md_node_int(node, "group", 1),
                                          .window = plain_window(&window),
                                          .x = call->in[0].data,
                                          .w = call->in[1].data,
                                          .bias = md__data(call, 2),
                                          .y = call->out[0].data};
    conv->taps = product_of(conv->window.kernel);
    conv->in_places = product_of(conv->window.in);
    conv->out_places = product_of(conv->window.out);
    conv->x_channel = last ? 1 : conv->in_places;
    conv->x_place = last ? conv->channels : 1;
    conv->y_channel = last ? 1 : conv->out_places;
    conv->y_place = last ? conv->outputs : 1;
    if (node->op == MD_OP_CONV_LAST || node->op == MD_OP_FUSED_CONV) {
        conv->z = md__data(call, 3);
        md__activation_read(node, &conv->function, &conv->function_a, &conv->function_b);
    }
    return MD_OK;
}

/* A zero point of x, and one or one an output of w. */
static bool conv_bytes_supports(const struct md_node *node, const struct md_device_value *in,
                                int in_count, const struct md_device_value *out, int out_count)
{
    (void)node, (void)out, (void)out_count;
    for (int i = 2; i < 4; i++)
        if (md__given(in, in_count, i) &&
            (in[i].dtype != in[i - 2].dtype ||
             (md__elements(&in[i]) != 1 && (i == 2 || md__elements(&in[3]) != in[1].shape.dim[0]))))
            return false;
    return md__is_byte(in[0].dtype) && md__is_byte(in[1].dtype) && in[0].shape.rank >= 3 &&
           in[0].shape.rank <= 2 + MD_WINDOW_AXES_MAX;
}

static enum md_status conv_bytes_enqueue(const struct md_device_call *call, struct md_error *err)
{
    struct md__cuda_convolution conv;
    enum md_status status = conv_init(call, &conv, err);
    if (status)
        return status;
    conv.bias = NULL; /* input 2 is a zero point here */
    struct md__cuda_byte_levels levels = {
        .x_is_signed = call->in[0].dtype == MD_I8,
        .w_is_signed = call->in[1].dtype == MD_I8,
        .w_zero_count = md__given(call->in, call->in_count, 3) ? md__elements(&call->in[3]) : 1,
        .x_zero = md__data(call, 2),
        .w_zero = md__data(call, 3)};
    return md__launched(md__cuda_convolve_bytes(md__cuda_stream_of(call->stream), &conv, &levels),
                        err);
}

const struct md_device_kernel md__cuda_op_conv_bytes = {.supports = conv_bytes_supports,
                                                        .enqueue = conv_bytes_enqueue};

/* DeformConv: x, weights, offsets, bias?, mask? */
static bool deform_supports(const struct md_node *node, const struct md_device_value *in,
                            int in_count, const struct md_device_value *out, int out_count)
{
    return in[0].shape.rank == 4 && md_node_int(node, "group", 1) <= 65535 &&
           md__one_float(in, in_count, out, out_count);
}

static enum md_status deform_enqueue(const struct md_device_call *call, struct md_error *err)
{
    struct md__cuda_convolution conv;
    struct md__cuda_deformation deformation = {.groups = md_node_int(call->node, "offset_group", 1),
                                               .offsets = call->in[2].data,
                                               .mask = md__data(call, 4)};
    enum md_status status = conv_init(call, &conv, err);
    if (status)
        return status;
    conv.bias = md__data(call, 3); /* input 2 is the offsets here */
    return md__launched(
        md__cuda_convolve_deformed(md__cuda_stream_of(call->stream), &conv, &deformation), err);
}

const struct md_device_kernel md__cuda_op_deform = {.supports = deform_supports,
                                                    .enqueue = deform_enqueue};

static enum md_status conv_enqueue(const struct md_device_call *call, struct md_error *err)
{
    struct md__cuda_libraries *libraries = md__cuda_libraries_of(call->context);
    struct md__cuda_convolution conv;
    int error = MD__CUDA_REFUSED;
    enum md_status status = conv_init(call, &conv, err);
    if (status)
        return status;
    conv.w_last = call->prepared;
    md__cuda_stream stream = md__cuda_stream_of(call->stream);
    if (libraries && libraries->convolve)
        error = libraries->convolve(libraries, stream, &conv);
    if (error == MD__CUDA_REFUSED)
        error = md__cuda_convolve(stream, &conv);
    return md__launched(error, err);
}

/* Weights [outputs, channels of a group, taps] as [outputs, taps, channels], as they are stored. */
static void turn_weights(const struct md_device_value *w, void *turned)
{
    const struct md_tensor from = {.dtype = w->dtype, .shape = w->shape, .data = (void *)w->known};
    const struct md_tensor to = {.dtype = w->storage, .shape = w->shape, .data = turned};
    size_t outputs = (size_t)w->shape.dim[0], channels = (size_t)w->shape.dim[1];
    size_t taps = md__span(&w->shape, 2, w->shape.rank), at = 0;
    for (size_t m = 0; m < outputs; m++)
        for (size_t tap = 0; tap < taps; tap++)
            for (size_t c = 0; c < channels; c++)
                md__set_float(&to, at++, md__get_float(&from, (m * channels + c) * taps + tap));
}

/* What the library reads of constant weights; without the library nothing. */
static enum md_status conv_prepare(struct md_device_context *context, const struct md_node *node,
                                   const struct md_device_value *in, int in_count, void **prepared,
                                   size_t *bytes, struct md_error *err)
{
    struct md__cuda_libraries *libraries = md__cuda_libraries_of(context);
    (void)in_count;
    *prepared = NULL;
    *bytes = 0;
    if (!libraries || !libraries->convolve || node->op != MD_OP_CONV_LAST ||
        !md__is_float_storage(in[1].storage) || !in[1].known)
        return MD_OK;
    size_t whole = (size_t)md__elements(&in[1]) * md_dtype_bytes(in[1].storage);
    void *turned = malloc(whole + 1);
    if (!turned)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    turn_weights(&in[1], turned);
    int error = libraries->keep(libraries, turned, whole, prepared);
    free(turned);
    *bytes = whole;
    return md__launched(error, err);
}

static void conv_unprepare(struct md_device_context *context, void *prepared)
{
    struct md__cuda_libraries *libraries = md__cuda_libraries_of(context);
    if (libraries && libraries->drop && prepared)
        libraries->drop(libraries, prepared);
}

const struct md_device_kernel md__cuda_op_conv = {.supports = conv_supports,
                                                  .prepare = conv_prepare,
                                                  .unprepare = conv_unprepare,
                                                  .enqueue = conv_enqueue};

/* ---- poolings -------------------------------------------------------------------------------- */

static bool pool_is_last(enum md_op op)
{
    return op == MD_OP_MAX_POOL_LAST || op == MD_OP_AVERAGE_POOL_LAST ||
           op == MD_OP_GLOBAL_MAX_POOL_LAST || op == MD_OP_GLOBAL_AVERAGE_POOL_LAST;
}

static enum md__cuda_pool pool_of(enum md_op op)
{
    return op == MD_OP_MAX_POOL || op == MD_OP_MAX_POOL_LAST ? MD__CUDA_POOL_MAX
           : op == MD_OP_LP_POOL                             ? MD__CUDA_POOL_LP
                                                             : MD__CUDA_POOL_AVERAGE;
}

/* Averages of bytes are left to the CPU. */
static bool pool_supports(const struct md_node *node, const struct md_device_value *in,
                          int in_count, const struct md_device_value *out, int out_count)
{
    bool bytes = md__is_byte(in[0].dtype) && pool_of(node->op) == MD__CUDA_POOL_MAX;
    return in[0].shape.rank >= 3 && in[0].shape.rank <= 2 + MD_WINDOW_AXES_MAX &&
           (out_count == 1 || !pool_is_last(node->op)) &&
           (bytes || md__one_float(in, in_count, out, 1));
}

static enum md_status pool_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_node *node = call->node;
    bool last = pool_is_last(node->op);
    struct md_shape x = md__device_first(&call->in[0].shape, last);
    struct md_window window;
    enum md_status status = md__window_init(node, &x, NULL, &window, err);
    if (status)
        return status;
    struct md__cuda_pooling pool = {.storage = (int)call->in[0].storage,
                                    .kind = pool_of(node->op),
                                    .count_padding = md_node_int(node, "count_include_pad", 0) != 0,
                                    .p = (float)md_node_int(node, "p", 2),
                                    .batch = x.dim[0],
                                    .channels = x.dim[1],
                                    .window = plain_window(&window),
                                    .x = call->in[0].data,
                                    .y = call->out[0].data,
                                    .by_columns = md_node_int(node, "storage_order", 0) != 0};
    if (call->out_count > 1 && call->out[1].dtype)
        pool.indices = call->out[1].data;
    pool.in_places = product_of(pool.window.in);
    pool.out_places = product_of(pool.window.out);
    pool.x_channel = last ? 1 : pool.in_places;
    pool.y_channel = last ? 1 : pool.out_places;
    pool.x_place = pool.y_place = last ? pool.channels : 1;
    return md__launched(md__cuda_pool(md__cuda_stream_of(call->stream), &pool), err);
}

const struct md_device_kernel md__cuda_op_pool = {.supports = pool_supports,
                                                  .enqueue = pool_enqueue};

static bool global_kind(const struct md_node *node, enum md__cuda_reduction *kind)
{
    int64_t p = md_node_int(node, "p", 2);
    switch (node->op) {
    case MD_OP_GLOBAL_MAX_POOL:
    case MD_OP_GLOBAL_MAX_POOL_LAST:
        *kind = MD__CUDA_REDUCE_MAX;
        return true;
    case MD_OP_GLOBAL_LP_POOL:
        *kind = p == 1 ? MD__CUDA_REDUCE_L1 : MD__CUDA_REDUCE_L2;
        return p == 1 || p == 2;
    default:
        *kind = MD__CUDA_REDUCE_MEAN;
        return true;
    }
}

static bool global_supports(const struct md_node *node, const struct md_device_value *in,
                            int in_count, const struct md_device_value *out, int out_count)
{
    enum md__cuda_reduction kind;
    return global_kind(node, &kind) && in[0].shape.rank >= 2 &&
           md__one_float(in, in_count, out, out_count);
}

static enum md_status global_enqueue(const struct md_device_call *call, struct md_error *err)
{
    (void)err;
    const struct md_shape *shape = &call->in[0].shape;
    bool last = pool_is_last(call->node->op);
    enum md__cuda_reduction kind;
    global_kind(call->node, &kind);
    int64_t channels = shape->dim[last ? shape->rank - 1 : 1];
    int64_t places = last ? (int64_t)md__span(shape, 1, shape->rank - 1)
                          : (int64_t)md__span(shape, 2, shape->rank);
    struct md__cuda_map kept = {.rank = 2,
                                .dim = {shape->dim[0], channels},
                                .stride = {{channels * places, last ? 1 : places}}};
    struct md__cuda_map inside = {.rank = 1, .dim = {places}, .stride = {{last ? channels : 1}}};
    md__map_merge(&kept, 1);
    md__map_merge(&inside, 1);
    return md__launched(md__cuda_reduce(md__cuda_stream_of(call->stream), (int)call->in[0].storage,
                                        kind, &kept, &inside, call->in[0].data, call->out[0].data),
                        err);
}

const struct md_device_kernel md__cuda_op_global_pool = {.supports = global_supports,
                                                         .enqueue = global_enqueue};
