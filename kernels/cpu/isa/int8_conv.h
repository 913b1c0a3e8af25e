/*
 * Convolutions of bytes on channels-last tensors: what moondial.QLinearConvLast and
 * moondial.ConvIntegerLast have in common with their depthwise form.
 */
#ifndef MD_KERNELS_CPU_ISA_INT8_CONV_H
#define MD_KERNELS_CPU_ISA_INT8_CONV_H

#include "graph/window.h"
#include "kernels/cpu/isa/int8.h"

struct byte_conv {
    struct md_window window; /* three axes */
    size_t batch, channels, outputs, taps;
    size_t groups, group_channels, group_outputs;
};

struct byte_conv_run {
    struct byte_conv conv;
    const void *packed;
    const uint8_t *x;
    bool is_signed;
    uint8_t x_zero;            /* as it is stored */
    struct byte_result result; /* start: of all outputs, in the order of the packed columns */
    void *scratch;
    struct md_pool *pool;
    int threads;
};

/* ---- products: int8_blocks.c ---- */

#define byte_conv_terms     MD_ISA_SYMBOL(md__byte_conv_terms)
#define byte_blocks_scratch MD_ISA_SYMBOL(md__byte_blocks_scratch)
#define byte_blocks_run     MD_ISA_SYMBOL(md__byte_blocks_run)

/* How weights are packed, a group after the other: a matter of attributes and weights alone. */
struct byte_terms byte_conv_terms(const struct byte_conv *conv);
size_t byte_blocks_scratch(const struct byte_conv_run *run);
void byte_blocks_run(const struct byte_conv_run *run);

/* ---- depthwise: int8_depthwise.c ---- */

#define byte_depthwise_can     MD_ISA_SYMBOL(md__byte_depthwise_can)
#define byte_depthwise_bytes   MD_ISA_SYMBOL(md__byte_depthwise_bytes)
#define byte_depthwise_pack    MD_ISA_SYMBOL(md__byte_depthwise_pack)
#define byte_depthwise_start   MD_ISA_SYMBOL(md__byte_depthwise_start)
#define byte_depthwise_scratch MD_ISA_SYMBOL(md__byte_depthwise_scratch)
#define byte_depthwise_run     MD_ISA_SYMBOL(md__byte_depthwise_run)

bool byte_depthwise_can(const struct byte_conv *conv);
size_t byte_depthwise_bytes(const struct byte_conv *conv);
/* source: a column is a channel, its terms are the taps. */
void byte_depthwise_pack(const struct byte_conv *conv, const struct byte_source *source, void *to);
void byte_depthwise_start(const struct byte_conv_run *run, const int32_t *bias, int32_t *start);
size_t byte_depthwise_scratch(const struct byte_conv *conv);
void byte_depthwise_run(const struct byte_conv_run *run);

INLINE size_t byte_aligned(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

#endif
