/*
 * QLinearConvLast and ConvIntegerLast: convolutions of bytes on channels-last tensors, as products
 * of places by packed weights (int8.h), with the same rescaling as there. int8_blocks.c finds the
 * terms of a place, int8_depthwise.c does what is no product.
 */
#include "kernels/cpu/isa/int8_conv.h"
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/last.h"

/* Which input is what; -1: there is none. */
struct roles {
    int w, x_scale, x_zero, w_scale, w_zero, y_scale, y_zero, bias;
};

static struct roles roles_of(enum md_op op)
{
    return op == MD_OP_CONV_INTEGER_LAST ? (struct roles){1, -1, 2, -1, 3, -1, -1, -1}
                                         : (struct roles){3, 1, 2, 4, 5, 6, 7, 8};
}

/* ---- what there is to compute ---------------------------------------------------------------- */

static bool describe(const struct md_node *node, const struct md_tensor *in, struct byte_conv *conv)
{
    const struct md_shape x = last_as_first(&in[0].shape);
    const struct md_shape *w = &in[roles_of(node->op).w].shape;
    struct md_window window;
    if (md__window_init(node, &x, w, &window, NULL))
        return false;
    *conv = (struct byte_conv){.window = md__window_widened(&window),
                               .batch = (size_t)x.dim[0],
                               .channels = (size_t)x.dim[1],
                               .outputs = (size_t)w->dim[0],
                               .taps = md__span(w, 2, w->rank),
                               .groups = (size_t)md_node_int(node, "group", 1)};
    conv->group_channels = conv->channels / conv->groups;
    conv->group_outputs = conv->outputs / conv->groups;
    return true;
}

/* ---- packing --------------------------------------------------------------------------------- */

static bool conv_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    const struct roles roles = roles_of(node->op);
    const struct md_tensor *w = &in[roles.w], *w_zero = byte_role(in, in_count, roles.w_zero);
    return w->data && w->shape.rank >= 3 && w->shape.rank <= 5 && md__count(w) > 0 &&
           w->shape.rank == in[0].shape.rank && (!w_zero || w_zero->data);
}

/* The weights of a group, [outputs][channels][taps] in memory. */
static struct byte_source source_of(const struct byte_conv *conv, const struct md_tensor *w,
                                    const struct md_tensor *zeros, size_t group)
{
    size_t first = group * conv->group_outputs, each = conv->group_channels * conv->taps;
    struct byte_source source = {.bytes = (const uint8_t *)w->data + first * each,
                                 .is_signed = w->dtype == MD_I8,
                                 .by_column = each,
                                 .by_run = (size_t)conv->window.kernel[2],
                                 .inner = conv->group_channels,
                                 .by_outer = 1,
                                 .by_inner = conv->taps};
    if (zeros) {
        source.zero_count = md__count(zeros);
        source.zeros = (const uint8_t *)zeros->data + (source.zero_count > 1 ? first : 0);
    }
    return source;
}

static enum md_status conv_prepare(const struct md_node *node, const struct md_tensor *in,
                                   int in_count, void **prepared, size_t *bytes,
                                   struct md_error *err)
{
    struct byte_conv conv;
    const struct roles roles = roles_of(node->op);
    const struct md_tensor *w = &in[roles.w], *zeros = byte_role(in, in_count, roles.w_zero);
    if (!describe(node, in, &conv))
        return md_fail(err, MD_ERR_INTERNAL, "window does not fit");
    const struct byte_terms terms = byte_conv_terms(&conv);
    size_t each = byte_weights_bytes(&terms, conv.group_outputs);
    *bytes = byte_depthwise_can(&conv) ? byte_depthwise_bytes(&conv) : each * conv.groups;
    *prepared = md_prepared_new(*bytes);
    if (!*prepared)
        return md_fail(err, MD_ERR_MEMORY, "packing weights: out of memory");
    if (byte_depthwise_can(&conv)) {
        const struct byte_source source = source_of(&conv, w, zeros, 0);
        byte_depthwise_pack(&conv, &source, *prepared);
        return MD_OK;
    }
    for (size_t group = 0; group < conv.groups; group++) {
        const struct byte_source source = source_of(&conv, w, zeros, group);
        byte_weights_pack(&source, &terms, conv.group_outputs,
                          (struct byte_weights *)((char *)*prepared + group * each));
    }
    return MD_OK;
}

/* ---- the kernel ------------------------------------------------------------------------------ */

/* Bytes of column numbers: where results start, and factors. */
static size_t numbers_bytes(const struct byte_conv *conv)
{
    size_t columns = byte_depthwise_can(conv) ? byte_padded(conv->outputs)
                                              : byte_padded(conv->group_outputs) * conv->groups;
    return 2 * columns * sizeof(float);
}

static size_t conv_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                           int threads)
{
    (void)in_count;
    struct byte_conv_run run = {.threads = threads};
    if (!describe(node, in, &run.conv))
        return 0;
    size_t numbers = byte_aligned(numbers_bytes(&run.conv));
    if (byte_depthwise_can(&run.conv))
        return numbers + byte_depthwise_scratch(&run.conv);
    return numbers + byte_blocks_scratch(&run);
}

/* Starts and factors of all columns, groups one after the other. */
static void fill_numbers(const struct md_kernel_call *call, const struct byte_conv_run *run,
                         int32_t *start, float *scale)
{
    const struct byte_conv *conv = &run->conv;
    const struct roles roles = roles_of(call->node->op);
    const struct md_tensor *in = call->in, *bias = byte_role(in, call->in_count, roles.bias);
    bool depthwise = byte_depthwise_can(conv);
    size_t columns = byte_padded(conv->group_outputs);
    const struct byte_terms terms = byte_conv_terms(conv);
    size_t each = byte_weights_bytes(&terms, conv->group_outputs);
    if (depthwise)
        byte_depthwise_start(run, bias ? bias->data : NULL, start);
    for (size_t group = 0; !depthwise && group < conv->groups; group++)
        byte_start((const struct byte_weights *)((const char *)run->packed + group * each),
                   run->is_signed, run->is_signed ? (int8_t)run->x_zero : run->x_zero,
                   bias ? (const int32_t *)bias->data + group * conv->group_outputs : NULL,
                   start + group * columns);
    for (size_t i = 0; roles.x_scale >= 0 && i < conv->outputs; i++) {
        size_t at = depthwise ? i : i / conv->group_outputs * columns + i % conv->group_outputs;
        scale[at] = byte_number(&in[roles.x_scale], 0) * byte_number(&in[roles.w_scale], i) /
                    byte_number(&in[roles.y_scale], 0);
    }
}

static enum md_status conv_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct roles roles = roles_of(call->node->op);
    const struct md_tensor *x_zero = byte_role(call->in, call->in_count, roles.x_zero);
    struct byte_conv_run run = {.packed = call->prepared,
                                .x = call->in[0].data,
                                .is_signed = call->in[0].dtype == MD_I8,
                                .x_zero = x_zero ? *(const uint8_t *)x_zero->data : 0,
                                .result = {.dtype = MD_I32},
                                .pool = call->pool,
                                .threads = call->pool ? md_pool_threads(call->pool) : 1};
    if (!call->prepared || !describe(call->node, call->in, &run.conv))
        return md_fail(err, MD_ERR_INTERNAL, "weights are not packed");
    size_t bytes = numbers_bytes(&run.conv);
    int32_t *start = call->scratch;
    float *scale = (float *)((char *)call->scratch + bytes / 2);
    fill_numbers(call, &run, start, scale);
    run.scratch = (char *)call->scratch + byte_aligned(bytes);
    if (roles.y_zero >= 0)
        byte_result_range(&run.result, call->out[0].dtype,
                          (int32_t)md__get_int(&call->in[roles.y_zero], 0));
    run.result.start = start;
    run.result.scale = scale;
    run.result.y = call->out[0].data;
    if (byte_depthwise_can(&run.conv))
        byte_depthwise_run(&run);
    else
        byte_blocks_run(&run);
    return MD_OK;
}

const struct md_kernel md__int8_conv_last = {.supports = conv_supports,
                                             .prepare = conv_prepare,
                                             .scratch_bytes = conv_scratch,
                                             .run = conv_run};
