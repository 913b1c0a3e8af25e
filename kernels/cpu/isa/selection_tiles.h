/*
 * The networks of VariableSelection on a block of rows, products on tiles (lanes_tiles.h).
 *
 * A step is 16 values and their gates for all rows of the block: four tiles of sums. Its products
 * are begun before the gates of the step before are computed, whose sums lie in memory by then, be
 * it the next variable's, whose inputs are split meanwhile. That hides latencies, not work: a
 * product of tiles keeps port 5 for its 16 cycles, which vectors share.
 */
#ifndef MD_KERNELS_CPU_ISA_SELECTION_TILES_H
#define MD_KERNELS_CPU_ISA_SELECTION_TILES_H

#include "kernels/cpu/isa/selection_block.h"

/* ---- gated linear units ---------------------------------------------------------------------- */

INLINE void begin_step(const struct dense *glu, size_t step, const float *parts, const int vectors)
{
    multiply_tiles(glu, 2 * step, parts, true, vectors);
}

INLINE void end_step(const struct block *block, const int vectors)
{
    store_sums(block->sums, LANE_ROWS, true, vectors > 1);
}

/* What values are added to: y itself, or of a real variable a line (selection.h). */
struct skip {
    const struct folded_real *real; /* NULL: y itself */
    vf scaled[LANE_VECTORS], scale[LANE_VECTORS];
};

/* y[f ..] = skip + the gated sums f .. of a step, `features` of them, which are units u .. */
INLINE void add_some(const float *sums, size_t u, const struct skip *skip, float *y,
                     vf total[LANE_VECTORS], const int features, const int vectors)
{
    vf value[3 * LANE_VECTORS], gate[3 * LANE_VECTORS];
    const int count = features * vectors;
    EACH(count)
    {
        const float *at = sums + i / vectors * LANE_ROWS + i % vectors * VL;
        value[i] = load(at);
        gate[i] = load(at + VL * LANE_ROWS);
    }
    gate_each(value, gate, count);
    EACH(count)
    {
        const size_t f = (size_t)(i / vectors), v = (size_t)(i % vectors);
        float *at = y + f * LANE_ROWS + v * VL;
        if (skip->real)
            value[i] += skip->scaled[v] * skip->real->p[u + f] +
                        (skip->scale[v] * skip->real->q[u + f] + skip->real->r[u + f]);
        else
            value[i] += load(at);
        store(at, value[i]);
        total[v] += value[i];
    }
}

/* The gated sums of a step added to the skip; total gets the sums over features. */
INLINE void add_step(const struct block *block, size_t step, size_t units, const struct skip *skip,
                     float *y, vf total[LANE_VECTORS], const int vectors)
{
    size_t u = step * VL, end = u + VL < units ? u + VL : units;
    const float *sums = block->sums;
    for (; u + 3 <= end; u += 3, sums += 3 * LANE_ROWS)
        add_some(sums, u, skip, feature(y, u), total, 3, vectors);
    for (; u < end; u++, sums += LANE_ROWS)
        add_some(sums, u, skip, feature(y, u), total, 1, vectors);
}

/* ---- splitting ------------------------------------------------------------------------------- */

/* The parts of ELU(x), or of x itself. */
INLINE void split_features(const float *x, size_t inputs, bool elu, float *parts, const int vectors)
{
    size_t apart = lane_parts(inputs);
    for (int v = 0; v < vectors; v++, x += VL, parts += apart) {
        size_t k = 0;
        for (; k < inputs; k += 2) {
            vf t[2] = {load(x + k * LANE_ROWS), {0}};
            if (k + 1 < inputs)
                t[1] = load(x + (k + 1) * LANE_ROWS);
            if (elu)
                elu_each(t, 2);
            put_pair(t[0], t[1], k, inputs, parts);
        }
        put_no_more(k, inputs, parts);
    }
}

/* Features h, h + 1, .. of the first layer of a real variable, for one vector of rows. */
INLINE void split_first(const struct folded_real *real, vf x, size_t h, float *parts,
                        const int count)
{
    vf t[GROUP];
    EACH(count) t[i] = x * real->slope[h + (size_t)i] + real->offset[h + (size_t)i];
    elu_each(t, count);
#pragma GCC unroll 3
    for (int i = 0; i < count; i += 2)
        put_pair(t[i], t[i + 1], h + (size_t)i, real->hidden, parts);
}

INLINE void split_real(const struct folded_real *real, const float *x, float *parts,
                       const int vectors)
{
    size_t hidden = real->hidden, apart = lane_parts(hidden);
    for (int v = 0; v < vectors; v++, parts += apart) {
        vf in = load(x + v * VL);
        size_t h = 0;
        for (; h + GROUP <= hidden; h += GROUP)
            split_first(real, in, h, parts, GROUP);
        for (; h < hidden; h += 2) /* weights are padded */
            split_first(real, in, h, parts, 2);
        put_no_more(h, hidden, parts);
    }
}

/* parts of ELU(a), or of fc2 of it. */
INLINE void split_hidden(const struct dense *fc2, const struct block *block, size_t hidden,
                         float *parts, const int vectors)
{
    split_features(block->a, hidden, true, parts, vectors);
    if (fc2->outputs == 0)
        return;
    dense_tiles(fc2, parts, block->b, vectors);
    split_features(block->b, fc2->outputs, false, parts, vectors);
}

/* ---- the scores ------------------------------------------------------------------------------ */

/* block->weights: how much of each variable each row takes. */
INLINE void score(const struct selecting *selecting, const struct block *block, struct ahead *ahead,
                  const int vectors)
{
    const struct folded_selection *net = selecting->net;
    const struct skip itself = {.real = NULL};
    size_t steps = vectors_of(net->variables);
    vf total[LANE_VECTORS] = {0}; /* the norm below sums again, over the few variables */
    split_features(block->seen, net->seen, false, block->parts[0], vectors);
    dense_tiles(&net->fc1, block->parts[0], block->a, vectors);
    dense_tiles(&net->skip, block->parts[0], block->weights, vectors);
    if (selecting->context)
        add_context(selecting, block);
    ask(ahead, ASKED * TILE_INPUTS);
    split_hidden(&net->fc2, block, net->hidden, block->parts[1], vectors);
    ask(ahead, ASKED * TILE_INPUTS);
    begin_step(&net->glu, 0, block->parts[1], vectors);
    if (net->skip_normed)
        normalize_lanes(block->weights, net->variables, net->skip_gamma, net->skip_beta,
                        net->epsilon, vectors);
    for (size_t step = 0; step < steps; step++) {
        end_step(block, vectors);
        if (step + 1 < steps)
            begin_step(&net->glu, step + 1, block->parts[1], vectors);
        add_step(block, step, net->variables, &itself, block->weights, total, vectors);
    }
    normalize_lanes(block->weights, net->variables, net->gamma, net->beta, net->epsilon, vectors);
    softmax_lanes(block->weights, net->variables, vectors);
}

/* ---- the variables --------------------------------------------------------------------------- */

INLINE struct skip skip_of(const struct folded_real *real, const float *x, float epsilon,
                           const int vectors)
{
    struct skip skip = {.real = real};
    for (int v = 0; v < vectors; v++) {
        vf shifted = load(x + v * VL) + real->shift;
        skip.scale[v] = splat(1.0f);
        if (real->normed)
            skip.scale[v] = vrsqrt(shifted * shifted * real->a + (real->d + epsilon));
        skip.scaled[v] = shifted * skip.scale[v];
    }
    return skip;
}

/* Real variables on their way, and where their numbers and weights lie. */
struct passing {
    const struct folded_selection *net;
    const struct block *block;
    uint64_t left_out;    /* shared ones */
    const float *weights; /* of the first */
    size_t first, end;
    float *sum;
};

/* The next variable from i on, or the end. */
INLINE size_t next_real(const struct passing *passing, size_t i)
{
    while (i < passing->end && i < SHARED_MAX && passing->left_out >> i & 1)
        i++;
    return i;
}

INLINE const float *seen_real(const struct passing *passing, size_t i)
{
    const struct folded_selection *net = passing->net;
    return feature(passing->block->seen, net->seen - net->reals + i);
}

/* Splits what variable i's GLU reads; `late`: with an fc2 before, which takes the tiles. */
INLINE void prepare_real(const struct passing *passing, size_t i, float *parts, bool late,
                         const int vectors)
{
    const struct folded_real *real = &passing->net->real[i];
    if (i >= passing->end || (real->fc2.outputs > 0) != late)
        return;
    split_real(real, seen_real(passing, i), parts, vectors);
    if (!late)
        return;
    dense_tiles(&real->fc2, parts, passing->block->b, vectors);
    split_features(passing->block->b, real->fc2.outputs, false, parts, vectors);
}

/* Steps of variable i, whose first is begun; begins that of variable `next`. */
INLINE void pass_real(const struct passing *passing, size_t i, size_t next, float *const parts[2],
                      const int vectors)
{
    const struct folded_selection *net = passing->net;
    const struct folded_real *real = &net->real[i];
    const struct block *block = passing->block;
    size_t units = net->units, steps = vectors_of(units);
    struct skip skip = skip_of(real, seen_real(passing, i), net->epsilon, vectors);
    vf total[LANE_VECTORS] = {0};
    for (size_t step = 0; step < steps; step++) {
        end_step(block, vectors);
        if (step + 1 < steps) {
            begin_step(&real->glu, step + 1, parts[0], vectors);
        } else if (next < passing->end) {
            prepare_real(passing, next, parts[1], true, vectors);
            begin_step(&net->real[next].glu, 0, parts[1], vectors);
            prepare_real(passing, next_real(passing, next + 1), parts[0], false, vectors);
        }
        add_step(block, step, units, &skip, block->y, total, vectors);
    }
    add_normalized(real, block->y, total, passing->weights + (i - passing->first) * LANE_ROWS,
                   net->epsilon, units, passing->sum, vectors);
}

/* sum += weight * each real variable on its way. */
INLINE void pass_reals(const struct passing *passing, const int vectors)
{
    float *parts[2] = {passing->block->parts[0], passing->block->parts[1]};
    size_t i = next_real(passing, passing->first);
    if (i >= passing->end)
        return;
    prepare_real(passing, i, parts[0], false, vectors);
    prepare_real(passing, i, parts[0], true, vectors);
    begin_step(&passing->net->real[i].glu, 0, parts[0], vectors);
    prepare_real(passing, next_real(passing, i + 1), parts[1], false, vectors);
    while (i < passing->end) {
        size_t next = next_real(passing, i + 1);
        pass_real(passing, i, next, parts, vectors);
        float *other = parts[1];
        parts[1] = parts[0];
        parts[0] = other;
        i = next;
    }
}

/* sum += weight * the encoded real variable i. */
INLINE void add_real(const struct folded_selection *net, const struct block *block, size_t i,
                     const float *weight, float *sum, const int vectors)
{
    const struct passing passing = {
        .net = net, .block = block, .weights = weight, .first = i, .end = i + 1, .sum = sum};
    pass_reals(&passing, vectors);
}

/* sum += weight * each real variable that is not shared. */
INLINE void add_reals(const struct selecting *selecting, const struct block *block,
                      const int vectors)
{
    const struct folded_selection *net = selecting->net;
    const struct passing passing = {.net = net,
                                    .block = block,
                                    .left_out = selecting->sharing.reals,
                                    .weights = feature(block->weights, net->categoricals),
                                    .end = net->reals,
                                    .sum = block->sum};
    pass_reals(&passing, vectors);
}

#endif
