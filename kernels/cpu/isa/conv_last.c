/*
 * ConvLast and ConvTransposeLast: the table of algorithms, in order of preference, and what they
 * share (conv_last.h).
 *
 * Which one runs is decided when weights are packed, for the sizes of the first plan. Scratch is
 * asked for without the packed weights at hand, so it is what the hungriest of those that can run
 * would need.
 */
#include "kernels/cpu/isa/conv_last.h"

#include <math.h>
#include <string.h>

#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/last.h"

static const struct conv_algorithm *const algorithms[] = {
    &md__conv_depthwise,
    &md__conv_winograd,
    &md__conv_narrow,
    &md__conv_direct,
};
#define ALGORITHMS (sizeof algorithms / sizeof *algorithms)

/* Before the packed weights: whose they are. */
union prepared {
    char name[16];
    char room[64];
};

bool md__conv_describe(const struct md_node *node, const struct md_tensor *in, int threads,
                       struct conv *conv)
{
    const struct md_shape x = last_as_first(&in[0].shape), *w = &in[1].shape;
    struct md_window window;
    *conv = (struct conv){.transposed = node->op == MD_OP_CONV_TRANSPOSE_LAST, .threads = threads};
    if (conv->transposed ? md__window_init_transposed(node, &x, w, &window, NULL)
                         : md__window_init(node, &x, w, &window, NULL))
        return false;
    conv->window = md__window_widened(&window);
    conv->gated = node->in_count > 4 && in[4].dtype;
    conv->groups = (size_t)md_node_int(node, "group", 1);
    conv->batch = (size_t)x.dim[0];
    conv->channels = (size_t)x.dim[1];
    conv->outputs = (size_t)w->dim[conv->transposed ? 1 : 0];
    conv->outputs *= conv->transposed ? conv->groups : 1;
    conv->group_channels = conv->channels / conv->groups;
    conv->group_outputs = conv->outputs / conv->groups;
    conv->taps = md__span(w, 2, w->rank);
    return true;
}

bool md__conv_outline(const struct md_node *node, const struct md_shape *w, struct conv *conv)
{
    *conv = (struct conv){.transposed = node->op == MD_OP_CONV_TRANSPOSE_LAST,
                          .groups = (size_t)md_node_int(node, "group", 1)};
    if (conv->groups < 1 || w->rank < 3 || w->rank > 5)
        return false;
    conv->taps = md__span(w, 2, w->rank);
    for (int i = 0; i < 3; i++)
        conv->window.kernel[i] = i < 5 - w->rank ? 1 : w->dim[w->rank - 3 + i];
    size_t a = (size_t)w->dim[0], b = (size_t)w->dim[1];
    conv->channels = conv->transposed ? a : b * conv->groups;
    conv->outputs = conv->transposed ? b * conv->groups : a;
    conv->group_channels = conv->channels / conv->groups;
    conv->group_outputs = conv->outputs / conv->groups;
    return true;
}

static bool can(const struct conv_algorithm *algorithm, const struct conv *conv)
{
    return algorithm->can(conv) && (!conv->gated || algorithm == &md__conv_direct);
}

/* Constant weights with something in them, and a window of up to three axes. */
static bool last_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    struct conv conv;
    const struct md_shape *w = &in[1].shape;
    if (!md__all_f32(node, in, in_count) || in[1].data == NULL || w->rank != in[0].shape.rank ||
        md__count(&in[1]) == 0 || !md__conv_outline(node, w, &conv))
        return false;
    for (size_t i = 0; i < ALGORITHMS; i++)
        if (can(algorithms[i], &conv))
            return true;
    return false;
}

/* Whether packed weights take much more than the weights, beyond what padding adds. */
static bool grows(const struct conv_algorithm *algorithm, const struct conv *conv,
                  const struct md_tensor *weights)
{
    return algorithm->packed_bytes(conv) > 3 * md_tensor_bytes(weights) / 2 + 65536;
}

static enum md_status last_prepare(const struct md_node *node, const struct md_tensor *in,
                                   int in_count, void **made, size_t *bytes, struct md_error *err)
{
    (void)in_count;
    struct conv conv;
    bool compact = md_node_int(node, "compact", 0);
    if (!md__conv_describe(node, in, 1, &conv))
        return md_fail(err, MD_ERR_INTERNAL, "window does not fit");
    for (size_t i = 0; i < ALGORITHMS; i++) {
        const struct conv_algorithm *algorithm = algorithms[i];
        if (!can(algorithm, &conv) || (algorithm->wants && !algorithm->wants(&conv)))
            continue;
        if (compact && grows(algorithm, &conv, &in[1]) && i + 1 < ALGORITHMS)
            continue;
        *bytes = sizeof(union prepared) + algorithm->packed_bytes(&conv);
        union prepared *prepared = md_prepared_new(*bytes);
        if (!prepared)
            return md_fail(err, MD_ERR_MEMORY, "out of memory");
        strncpy(prepared->name, algorithm->name, sizeof prepared->name - 1);
        *made = prepared;
        if (algorithm->pack(&conv, in[1].data, prepared + 1))
            return MD_OK;
        md_prepared_delete(prepared, *bytes);
        *made = NULL;
    }
    return md_fail(err, MD_ERR_INTERNAL, "no algorithm for this convolution");
}

/* NULL: the weights were packed for none of ours. */
static const struct conv_algorithm *algorithm_of(const union prepared *prepared)
{
    for (size_t i = 0; prepared && i < ALGORITHMS; i++)
        if (strcmp(algorithms[i]->name, prepared->name) == 0)
            return algorithms[i];
    return NULL;
}

static size_t last_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                           int threads)
{
    (void)in_count;
    struct conv conv;
    size_t most = 0;
    if (!md__conv_describe(node, in, threads, &conv))
        return 0;
    for (size_t i = 0; i < ALGORITHMS; i++) {
        bool asks = can(algorithms[i], &conv) && algorithms[i]->scratch;
        size_t bytes = asks ? algorithms[i]->scratch(&conv) : 0;
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* Relu and Clip clamp, HardSwish is not much more; the others, and what they end with, follow the
 * store. */
void md__conv_read_activation(const struct md_node *node, struct conv_run *run)
{
    run->after = md_activation_of(node);
    run->clamps = run->after.op == MD_OP_RELU || run->after.op == MD_OP_CLIP;
    run->low = run->after.op == MD_OP_CLIP ? (float)run->after.a : 0;
    run->high = run->after.op == MD_OP_CLIP ? (float)run->after.b : INFINITY;
    run->hard_swishes = run->after.op == MD_OP_HARD_SWISH;
    if (!run->clamps && !run->hard_swishes && run->after.op != MD_OP_IDENTITY)
        return;
    run->shifts = run->after.shifts;
    run->scale = (float)run->after.scale;
    run->shift = (float)run->after.shift;
    run->after = (struct md_activation){.op = MD_OP_IDENTITY};
}

static enum md_status last_run(const struct md_kernel_call *call, struct md_error *err)
{
    const union prepared *prepared = call->prepared;
    const struct conv_algorithm *algorithm = algorithm_of(prepared);
    const struct md_tensor *bias = md__input(call, 2), *z = md__input(call, 3);
    const struct md_tensor *gate = md__input(call, 4);
    struct conv_run run = {.packed = prepared + 1,
                           .x = call->in[0].data,
                           .bias = bias ? bias->data : NULL,
                           .z = z ? z->data : NULL,
                           .gate = gate ? gate->data : NULL,
                           .gate_image =
                               gate && gate->shape.dim[0] > 1 ? last_channels(&gate->shape) : 0,
                           .y = call->out[0].data,
                           .scratch = call->scratch,
                           .pool = call->pool};
    if (!algorithm || !md__conv_describe(call->node, call->in,
                                         call->pool ? md_pool_threads(call->pool) : 1, &run.conv))
        return md_fail(err, MD_ERR_INTERNAL, "weights are not packed");
    run.x_pitch = md_kernel_pitch(call, 0, run.conv.channels);
    run.z_pitch = z ? md_kernel_pitch(call, 3, run.conv.outputs) : run.conv.outputs;
    run.y_pitch = md_kernel_pitch(call, call->in_count, run.conv.outputs);
    md__conv_read_activation(call->node, &run);
    algorithm->run(&run);
    return MD_OK;
}

const struct md_kernel md__conv_last = {.supports = last_supports,
                                        .prepare = last_prepare,
                                        .scratch_bytes = last_scratch,
                                        .run = last_run,
                                        .pitched =
                                            MD_PITCHED_IN(0) | MD_PITCHED_IN(3) | MD_PITCHED_OUT};
