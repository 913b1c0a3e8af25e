/*
 * The networks of VariableSelection on a block of rows, products in registers. selection_tiles.h
 * has them on tiles.
 */
#ifndef MD_KERNELS_CPU_ISA_SELECTION_LANES_H
#define MD_KERNELS_CPU_ISA_SELECTION_LANES_H

#include "kernels/cpu/isa/selection_block.h"

/* ---- the scores ------------------------------------------------------------------------------ */

/* y = the gated linear unit of fc2 (if any) of block->a, added to y. */
INLINE void add_gated(const struct dense *fc2, const struct dense *glu, const struct block *block,
                      float *y, vf total[LANE_VECTORS], struct ahead *ahead, const int vectors)
{
    if (fc2->outputs > 0)
        dense_lanes(fc2, block->a, block->b, ahead, vectors);
    add_glu_lanes(glu, fc2->outputs > 0 ? block->b : block->a, y, total, ahead, vectors);
}

/* block->weights: how much of each variable each row takes. */
INLINE void score(const struct selecting *selecting, const struct block *block, struct ahead *ahead,
                  const int vectors)
{
    const struct folded_selection *net = selecting->net;
    vf total[LANE_VECTORS] = {0}; /* the norm below sums again, over the few variables */
    dense_lanes(&net->fc1, block->seen, block->a, ahead, vectors);
    if (selecting->context)
        add_context(selecting, block);
    elu_lanes(block->a, net->hidden);
    dense_lanes(&net->skip, block->seen, block->weights, ahead, vectors);
    if (net->skip_normed)
        normalize_lanes(block->weights, net->variables, net->skip_gamma, net->skip_beta,
                        net->epsilon, vectors);
    add_gated(&net->fc2, &net->glu, block, block->weights, total, ahead, vectors);
    normalize_lanes(block->weights, net->variables, net->gamma, net->beta, net->epsilon, vectors);
    softmax_lanes(block->weights, net->variables, vectors);
}

/* ---- the variables --------------------------------------------------------------------------- */

/* y = the skip of a real variable. */
INLINE void skip_of(const struct folded_real *real, const float *x, float epsilon, size_t units,
                    float *y, const int vectors)
{
    vf scaled[LANE_VECTORS], scale[LANE_VECTORS];
    for (int v = 0; v < vectors; v++) {
        vf shifted = load(x + v * VL) + real->shift;
        scale[v] = splat(1.0f);
        if (real->normed)
            scale[v] = vrsqrt(shifted * shifted * real->a + (real->d + epsilon));
        scaled[v] = shifted * scale[v];
    }
    for (size_t u = 0; u < units; u++, y += LANE_ROWS)
        for (int v = 0; v < vectors; v++)
            store(y + v * VL, scaled[v] * real->p[u] + (scale[v] * real->q[u] + real->r[u]));
}

/* Features h and h + 1 of the first layer. */
INLINE void first_features(const struct folded_real *real, const float *x, size_t h, float *a,
                           const int vectors)
{
    vf t[2 * LANE_VECTORS];
    const int count = 2 * vectors;
    EACH(count)
    t[i] = load(x + i % vectors * VL) * real->slope[h + (size_t)(i / vectors)] +
           real->offset[h + (size_t)(i / vectors)];
    elu_each(t, count);
    EACH(count) store(feature(a, h + (size_t)(i / vectors)) + i % vectors * VL, t[i]);
}

/* sum += weight * the encoded real variable i. */
INLINE void add_real(const struct folded_selection *net, const struct block *block, size_t i,
                     const float *weight, float *sum, const int vectors)
{
    const struct folded_real *real = &net->real[i];
    const float *x = feature(block->seen, net->seen - net->reals + i);
    vf total[LANE_VECTORS] = {0};
    for (size_t h = 0; h < real->hidden; h += 2) /* padded: tiled(hidden) is even */
        first_features(real, x, h, block->a, vectors);
    skip_of(real, x, net->epsilon, net->units, block->y, vectors);
    add_gated(&real->fc2, &real->glu, block, block->y, total, NULL, vectors);
    add_normalized(real, block->y, total, weight, net->epsilon, net->units, sum, vectors);
}

/* sum += weight * each real variable that is not shared. */
INLINE void add_reals(const struct selecting *selecting, const struct block *block,
                      const int vectors)
{
    const struct folded_selection *net = selecting->net;
    for (size_t i = 0; i < net->reals; i++)
        if (!is_shared(selecting, i))
            add_real(net, block, i, feature(block->weights, net->categoricals + i), block->sum,
                     vectors);
}

#endif
