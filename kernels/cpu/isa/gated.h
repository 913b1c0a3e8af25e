/*
 * What runs a GatedResidualNetwork, GateAddNorm or ResampleNorm: its packed weights and one call
 * (gated.c; on AMX's tiles gated_tiles.c).
 */
#ifndef MD_KERNELS_CPU_ISA_GATED_H
#define MD_KERNELS_CPU_ISA_GATED_H

#include "kernels/cpu/isa/network.h"
#include "kernels/cpu/isa/norm.h"

/* What a node's weights are, whichever of the three operators it is. An absent part has 0 vectors.
 */
struct network {
    struct packed fc1, fc2, context, glu, resample;
    size_t inputs, hidden, outputs;
    float *gamma, *beta, *resample_gamma, *resample_beta;
    float *skip_factor; /* of GateAddNorm; NULL: 1 */
    float epsilon;
    bool tiled; /* all products run on AMX's tiles (gated_tiles.c), but for the context's */
    float memory[] __attribute__((aligned(64)));
};

struct gated_call {
    const struct network *net;
    const struct md_kernel_call *call;
    const float *x, *skip; /* skip of GateAddNorm */
    float *y;
    const float *context; /* products of the context rows, padded(hidden) apart; NULL: none */
    struct context_map map;
    float *scratch; /* per thread: thread_floats() of gated.c */
};

static __attribute__((noinline, unused)) void
normalize_block(const float *x, size_t x_stride, const float *gamma, const float *beta, float *y,
                size_t y_stride, size_t rows, size_t count, float epsilon)
{
    for (size_t r = 0; r < rows; r += VL)
        normalize_rows(x + r * x_stride, x_stride, gamma, beta, y + r * y_stride, y_stride,
                       rows - r < VL ? rows - r : VL, count, epsilon);
}

#if defined(MD_ISA_amx)
#define md__gated_tiles MD_ISA_SYMBOL(md__gated_tiles)
/* The first rows of `rows` from `begin`, of a network that is `tiled`; how many. Scratch is as
 * large as md__gated_tiles_floats says, and aligned to 64. */
size_t md__gated_tiles(const struct gated_call *gated, size_t begin, size_t rows, float *scratch);

#define md__gated_tiles_floats MD_ISA_SYMBOL(md__gated_tiles_floats)
size_t md__gated_tiles_floats(size_t inputs, size_t hidden, size_t outputs);
#endif

#endif
