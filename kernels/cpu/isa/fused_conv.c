/*
 * com.microsoft.FusedConv on the convolution of conv.c: the addend and the activation are applied
 * to stored results, plane by plane. Runs of convolutions do better with channels last
 * (conv_last.c); this one is for what stays outside.
 */
#include "kernels/cpu/isa/activation.h"
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/ref.h"

#define BLOCK ((size_t)4096) /* floats: results and addend stay in the first-level cache */

struct ending {
    struct md_activation activation;
    const float *z; /* may be NULL */
    float *y;
    size_t count;
};

static void end_blocks(void *context, size_t begin, size_t end, int thread)
{
    const struct ending *ending = context;
    (void)thread;
    for (size_t block = begin; block < end; block++) {
        size_t at = block * BLOCK, count = ending->count - at;
        float *y = ending->y + at;
        count = count < BLOCK ? count : BLOCK;
        for (size_t i = 0; ending->z && i < count; i++)
            y[i] += ending->z[at + i];
        md__activate(&ending->activation, y, count, 1, count);
    }
}

static size_t fused_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                            int threads)
{
    return md__conv.scratch_bytes(node, in, in_count < 3 ? in_count : 3, threads);
}

static enum md_status fused_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct md_kernel_call plain = *call;
    plain.in_count = call->in_count < 3 ? call->in_count : 3;
    enum md_status status = md__conv.run(&plain, err);
    struct ending ending = {.activation = md_activation_of(call->node),
                            .z = md__has(call->in, call->in_count, 3) ? call->in[3].data : NULL,
                            .y = call->out[0].data,
                            .count = md__count(&call->out[0])};
    if (status || (!md_activation_acts(&ending.activation) && !ending.z))
        return status;
    md__parallel(call->pool, (ending.count + BLOCK - 1) / BLOCK, 4, end_blocks, &ending);
    return MD_OK;
}

const struct md_kernel md__fused_conv = {
    .supports = md__all_f32, .scratch_bytes = fused_scratch, .run = fused_run};
