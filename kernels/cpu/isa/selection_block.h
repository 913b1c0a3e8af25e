/*
 * One block of rows on its way through VariableSelection (graph/fused.md): scores, softmax and one
 * variable after another, with rows in lanes (lanes.h). selection.c runs all rows; selection_roll.c
 * encodes and selection_rows.c selects only what is not kept from the last run.
 */
#ifndef MD_KERNELS_CPU_ISA_SELECTION_BLOCK_H
#define MD_KERNELS_CPU_ISA_SELECTION_BLOCK_H

#include <stdatomic.h>

#include "kernels/cpu/isa/network.h"
#include "kernels/cpu/isa/selection.h"

#define SHARED_MAX 64 /* real variables that are looked at: bits of a word */

/* x as sequences of steps; without sharing one sequence, which is all rows. */
struct sharing {
    size_t sequences, steps, blocks; /* blocks: of LANE_ROWS steps, in a sequence */
    _Atomic uint64_t reals;          /* bit i: real variable i is the same in all sequences */
    float *encoded;                  /* of each shared real in turn, encoded_floats(): here
                                        [blocks][units][LANE_ROWS] */
};

struct selecting {
    const struct folded_selection *net;
    const struct md_kernel_call *call;
    struct sharing sharing;
    size_t columns;       /* of x */
    const float *context; /* products of the context rows, padded(hidden) apart; NULL: none */
    struct context_map map;
    float *scratch; /* per thread: block_floats() */
};

/* A block's buffers, all in lanes. */
struct block {
    size_t first, rows;
    const uint32_t *list; /* which rows; NULL: those from `first` on */
    float *seen;          /* [seen] embeddings, then reals */
    float *a, *b;         /* [tiled(hidden_max)] */
    float *skip;          /* [tiled(variables)], then addends of the context [hidden] */
    float *weights;       /* [tiled(variables)] */
    float *y, *sum;       /* [tiled(units)] */
};

INLINE size_t block_floats(const struct folded_selection *net)
{
    size_t wide = net->hidden > net->variables ? net->hidden : net->variables;
    return LANE_ROWS * (net->seen + 2 * tiled(net->hidden_max) + tiled(wide) +
                        tiled(net->variables) + 2 * tiled(net->units));
}

INLINE struct block block_at(const struct folded_selection *net, float *memory)
{
    size_t wide = net->hidden > net->variables ? net->hidden : net->variables;
    struct block block = {.seen = memory};
    block.a = feature(block.seen, net->seen);
    block.b = feature(block.a, tiled(net->hidden_max));
    block.skip = feature(block.b, tiled(net->hidden_max));
    block.weights = feature(block.skip, tiled(wide));
    block.y = feature(block.weights, tiled(net->variables));
    block.sum = feature(block.y, tiled(net->units));
    return block;
}

/* ---- rows to lanes and back ------------------------------------------------------------------ */

/* Which row of x lane r holds. */
INLINE size_t row_of(const struct block *block, size_t r)
{
    return block->list ? block->list[r] : block->first + r;
}

/* Feature k of `lanes` = column k of the block's rows, which lie `stride` floats apart from `from`
 * on; lanes past them get 0. */
INLINE void to_lanes(const float *from, size_t stride, const struct block *block, size_t features,
                     float *lanes)
{
    for (size_t k = 0; k < features; k++) {
        float *lane = feature(lanes, k);
        for (size_t r = 0; r < block->rows; r++)
            lane[r] = from[row_of(block, r) * stride + k];
        for (size_t r = block->rows; r < LANE_ROWS; r++)
            lane[r] = 0;
    }
}

/* Row r of what the block has summed. */
INLINE void put_row(const struct block *block, size_t r, size_t units, float *to)
{
    for (size_t u = 0; u < units; u++)
        to[u] = block->sum[u * LANE_ROWS + r];
}

INLINE void gather_seen(const struct selecting *selecting, const struct block *block)
{
    const struct folded_selection *net = selecting->net;
    float *at = block->seen;
    for (size_t i = 0; i < net->categoricals; i++) {
        const float *rows = selecting->call->in[md__selection_categorical((int)i)].data;
        to_lanes(rows, net->embedded[i], block, net->embedded[i], at);
        at = feature(at, net->embedded[i]);
    }
    const float *x = selecting->call->in[0].data;
    for (size_t i = 0; i < net->reals; i++, at = feature(at, 1))
        to_lanes(x + net->real[i].column, selecting->columns, block, 1, at);
}

/* ---- the scores ------------------------------------------------------------------------------ */

/* a += the products of the rows' contexts. */
INLINE void add_context(const struct selecting *selecting, const struct block *block)
{
    size_t hidden = selecting->net->hidden, wide = padded(hidden);
    for (size_t r = 0; r < block->rows; r++) {
        size_t row = row_of(block, r);
        const float *from =
            selecting->context + row / selecting->map.group % selecting->map.contexts * wide;
        for (size_t h = 0; h < hidden; h++)
            block->a[h * LANE_ROWS + r] += from[h];
    }
}

INLINE void elu_lanes(float *x, size_t features)
{
    for (size_t i = 0; i < features * LANE_ROWS; i += VL) {
        vf t = load(x + i);
        elu_each(&t, 1);
        store(x + i, t);
    }
}

/* x = LN(x) over its features. */
INLINE void normalize_lanes(float *x, size_t features, const float *gamma, const float *beta,
                            float epsilon, const int vectors)
{
    vf mean[LANE_VECTORS] = {0}, inverse[LANE_VECTORS];
    for (size_t k = 0; k < features; k++)
        for (int v = 0; v < vectors; v++)
            mean[v] += load(feature(x, k) + v * VL);
    for (int v = 0; v < vectors; v++)
        mean[v] /= (float)features;
    inverse_deviation(x, features, mean, epsilon, inverse, vectors);
    for (size_t k = 0; k < features; k++)
        for (int v = 0; v < vectors; v++) {
            float *at = feature(x, k) + v * VL;
            store(at, (load(at) - mean[v]) * inverse[v] * gamma[k] + beta[k]);
        }
}

INLINE void softmax_lanes(float *x, size_t features, const int vectors)
{
    vf max[LANE_VECTORS], sum[LANE_VECTORS] = {0};
    for (int v = 0; v < vectors; v++)
        max[v] = load(x + v * VL);
    for (size_t k = 1; k < features; k++)
        for (int v = 0; v < vectors; v++)
            max[v] = vmax(max[v], load(feature(x, k) + v * VL));
    for (size_t k = 0; k < features; k++)
        for (int v = 0; v < vectors; v++) {
            float *at = feature(x, k) + v * VL;
            vf e = exp_negative(load(at) - max[v]);
            store(at, e);
            sum[v] += e;
        }
    for (int v = 0; v < vectors; v++)
        sum[v] = 1.0f / sum[v];
    for (size_t k = 0; k < features; k++)
        for (int v = 0; v < vectors; v++) {
            float *at = feature(x, k) + v * VL;
            store(at, load(at) * sum[v]);
        }
}

/* y = the gated linear unit of fc2 (if any) of block->a, added to y. */
INLINE void add_gated(const struct dense *fc2, const struct dense *glu, const struct block *block,
                      float *y, vf total[LANE_VECTORS], const int vectors)
{
    if (fc2->outputs > 0)
        dense_lanes(fc2, block->a, block->b, vectors);
    add_glu_lanes(glu, fc2->outputs > 0 ? block->b : block->a, y, total, vectors);
}

/* block->weights: how much of each variable each row takes. */
INLINE void score(const struct selecting *selecting, const struct block *block, const int vectors)
{
    const struct folded_selection *net = selecting->net;
    vf total[LANE_VECTORS] = {0}; /* the norm below sums again, over the few variables */
    dense_lanes(&net->fc1, block->seen, block->a, vectors);
    if (selecting->context)
        add_context(selecting, block);
    elu_lanes(block->a, net->hidden);
    dense_lanes(&net->skip, block->seen, block->weights, vectors);
    if (net->skip_normed)
        normalize_lanes(block->weights, net->variables, net->skip_gamma, net->skip_beta,
                        net->epsilon, vectors);
    add_gated(&net->fc2, &net->glu, block, block->weights, total, vectors);
    normalize_lanes(block->weights, net->variables, net->gamma, net->beta, net->epsilon, vectors);
    softmax_lanes(block->weights, net->variables, vectors);
}

/* ---- the variables --------------------------------------------------------------------------- */

/* sum += weight * an encoded variable. */
INLINE void add_encoded(const float *y, const float *weight, size_t units, float *sum,
                        const int vectors)
{
    for (size_t u = 0; u < units; u++, y += LANE_ROWS, sum += LANE_ROWS)
        for (int v = 0; v < vectors; v++)
            store(sum + v * VL, load(sum + v * VL) + load(weight + v * VL) * load(y + v * VL));
}

INLINE void add_categorical(const struct selecting *selecting, const struct block *block, size_t i,
                            const int vectors)
{
    size_t units = selecting->net->units;
    const float *rows = selecting->call->in[md__selection_categorical((int)i) + 1].data;
    to_lanes(rows, units, block, units, block->y);
    add_encoded(block->y, feature(block->weights, i), units, block->sum, vectors);
}

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

/* sum += weight * LN(y), whose total over the features is given. */
INLINE void add_normalized(const struct folded_real *real, const float *y, const vf *total,
                           const float *weight, float epsilon, size_t units, float *sum,
                           const int vectors)
{
    vf mean[LANE_VECTORS], inverse[LANE_VECTORS], weights[LANE_VECTORS];
    for (int v = 0; v < vectors; v++)
        mean[v] = total[v] / (float)units;
    inverse_deviation(y, units, mean, epsilon, inverse, vectors);
    for (int v = 0; v < vectors; v++) {
        weights[v] = load(weight + v * VL);
        inverse[v] *= weights[v];
    }
    for (size_t u = 0; u < units; u++, y += LANE_ROWS, sum += LANE_ROWS) {
        vf gamma = splat(real->gamma[u]), beta = splat(real->beta[u]);
        for (int v = 0; v < vectors; v++) {
            vf normal = (load(y + v * VL) - mean[v]) * inverse[v];
            store(sum + v * VL, load(sum + v * VL) + normal * gamma + weights[v] * beta);
        }
    }
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
    add_gated(&real->fc2, &real->glu, block, block->y, total, vectors);
    add_normalized(real, block->y, total, weight, net->epsilon, net->units, sum, vectors);
}

/* ---- sharing --------------------------------------------------------------------------------- */

/* Floats of one shared real's encodings; also of [steps][padded(units)], as rolling has them. */
INLINE size_t encoded_floats(const struct folded_selection *net, size_t steps)
{
    return (steps + LANE_ROWS - 1) / LANE_ROWS * LANE_ROWS * padded(net->units);
}

/* Where shared real i is encoded; as many shared ones as have smaller numbers lie before it. */
INLINE float *encoded_at(const struct selecting *selecting, size_t i)
{
    const struct sharing *sharing = &selecting->sharing;
    uint64_t before = sharing->reals & (((uint64_t)1 << i) - 1);
    return sharing->encoded +
           (size_t)__builtin_popcountll(before) * encoded_floats(selecting->net, sharing->steps);
}

/* ---- the whole block ------------------------------------------------------------------------- */

INLINE void sum_vectors(const struct selecting *selecting, const struct block *block,
                        const int vectors)
{
    const struct folded_selection *net = selecting->net;
    gather_seen(selecting, block);
    score(selecting, block, vectors);
    memset(block->sum, 0, net->units * LANE_ROWS * sizeof *block->sum);
    for (size_t i = 0; i < net->categoricals; i++)
        add_categorical(selecting, block, i, vectors);
    for (size_t i = 0; i < net->reals; i++) {
        const float *weight = feature(block->weights, net->categoricals + i);
        if (i < SHARED_MAX && selecting->sharing.reals >> i & 1)
            add_encoded(encoded_at(selecting, i) +
                            block->first % selecting->sharing.steps * net->units,
                        weight, net->units, block->sum, vectors);
        else
            add_real(net, block, i, weight, block->sum, vectors);
    }
}

/* block->sum: the result for the block's rows. */
INLINE void sum_block(const struct selecting *selecting, const struct block *block)
{
    if (block->rows > 2 * VL)
        sum_vectors(selecting, block, 3);
    else if (block->rows > VL)
        sum_vectors(selecting, block, 2);
    else
        sum_vectors(selecting, block, 1);
}

/* ---- the files of the kernel ----------------------------------------------------------------- */

/* Where step `t` of a window lies in its ring. */
INLINE size_t md__roll_place(const struct md_kept_window *window, size_t steps, size_t t)
{
    int64_t first = window->first % (int64_t)steps;
    return ((size_t)(first < 0 ? first + (int64_t)steps : first) + t) % steps;
}

#define md__find_shared    MD_ISA_SYMBOL(md__find_shared)
#define md__roll_selection MD_ISA_SYMBOL(md__roll_selection)
#define md__roll_bytes     MD_ISA_SYMBOL(md__roll_bytes)
#define md__roll_scratch   MD_ISA_SYMBOL(md__roll_scratch)
#define md__keep_rows      MD_ISA_SYMBOL(md__keep_rows)
#define md__keep_bytes     MD_ISA_SYMBOL(md__keep_bytes)

/* selection.c: sequences, steps, blocks and, if `look` and where it is worth it, reals. */
void md__find_shared(struct selecting *selecting, bool look);

/*
 * selection_roll.c: the kernel where windows are kept. scratch: md__roll_scratch() bytes behind
 * what the call's scratch holds already. Bytes: of one window (backend.h); 0 where it does not
 * roll.
 */
void md__roll_selection(struct selecting *selecting, void *scratch);
size_t md__roll_bytes(const struct md_node *node, const struct md_tensor *in, int in_count);
size_t md__roll_scratch(const struct md_shape *x);

/* selection_rows.c: likewise, where whole rows are kept. Needs no more scratch. */
void md__keep_rows(struct selecting *selecting, void *scratch);
size_t md__keep_bytes(const struct md_node *node, const struct md_tensor *in, int in_count);

#endif
