/*
 * One block of rows on its way through VariableSelection (graph/fused.md), with rows in lanes
 * (lanes.h): its buffers, and what networks do there that takes no product.
 */
#ifndef MD_KERNELS_CPU_ISA_SELECTION_BLOCK_H
#define MD_KERNELS_CPU_ISA_SELECTION_BLOCK_H

#include <stdatomic.h>

#include "kernels/cpu/isa/network.h"
#include "kernels/cpu/isa/selection.h"
#if defined(MD_ISA_amx)
#include "kernels/cpu/isa/lanes_tiles.h"
#endif

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

#if defined(MD_ISA_amx)
/* As many features as the parts of any layer's inputs take the room of. */
INLINE size_t parts_features(const struct folded_selection *net)
{
    size_t widest = net->seen > net->hidden_max ? net->seen : net->hidden_max;
    return tile_chunks(widest) * CHUNK_FLOATS / VL;
}
#endif

/* A block's buffers, all in lanes. */
struct block {
    size_t first, rows;
    const uint32_t *list; /* which rows; NULL: those from `first` on */
    float *seen;          /* [seen] embeddings, then reals */
    float *a, *b;         /* [tiled(hidden_max)] */
    float *weights;       /* [tiled(variables)] */
    float *y, *sum;       /* [tiled(units)] */
#if defined(MD_ISA_amx)
    float *parts[2]; /* [parts_features()] of what layers read */
    float *sums;     /* [2 * VL] values and their gates */
#endif
};

/* Features of all buffers. */
INLINE size_t block_features(const struct folded_selection *net)
{
    size_t features =
        net->seen + 2 * tiled(net->hidden_max) + tiled(net->variables) + 2 * tiled(net->units);
#if defined(MD_ISA_amx)
    features += 2 * (parts_features(net) + VL);
#endif
    return features;
}

INLINE size_t block_floats(const struct folded_selection *net)
{
    return LANE_ROWS * block_features(net);
}

INLINE struct block block_at(const struct folded_selection *net, float *memory)
{
    struct block block = {.seen = memory};
    block.a = feature(block.seen, net->seen);
    block.b = feature(block.a, tiled(net->hidden_max));
    block.weights = feature(block.b, tiled(net->hidden_max));
    block.y = feature(block.weights, tiled(net->variables));
    block.sum = feature(block.y, tiled(net->units));
#if defined(MD_ISA_amx)
    block.parts[0] = feature(block.sum, tiled(net->units));
    block.parts[1] = feature(block.parts[0], parts_features(net));
    block.sums = feature(block.parts[1], parts_features(net));
#endif
    return block;
}

/* ---- rows to lanes and back ------------------------------------------------------------------ */

/* Which row of x lane r holds. */
INLINE size_t row_of(const struct block *block, size_t r)
{
    return block->list ? block->list[r] : block->first + r;
}

/* Whether the block's rows follow each other, so that offsets from the first one stay small. */
INLINE bool may_gather(const struct block *block, size_t stride)
{
#if defined(MD_ISA_avx512)
    return !block->list && stride < INT32_MAX / LANE_ROWS;
#else
    (void)block, (void)stride;
    return false;
#endif
}

/* to_lanes() of rows that may_gather(). */
INLINE void gather_lanes(const float *from, size_t stride, const struct block *block,
                         size_t features, float *lanes)
{
#if defined(MD_ISA_avx512)
    vi at;
    for (int lane = 0; lane < VL; lane++)
        at[lane] = lane * (int32_t)stride;
    from += block->first * stride;
    for (size_t r = 0; r < LANE_ROWS; r += VL, from += VL * stride) {
        size_t left = block->rows > r ? block->rows - r : 0;
        __mmask16 some = (__mmask16)(left < VL ? (1u << left) - 1 : 0xffff);
        for (size_t k = 0; k < features; k++)
            store(feature(lanes, k) + r, (vf)_mm512_mask_i32gather_ps(_mm512_setzero_ps(), some,
                                                                      (__m512i)at, from + k, 4));
    }
#else
    (void)from, (void)stride, (void)block, (void)features, (void)lanes;
#endif
}

/* Feature k of `lanes` = column k of the block's rows, which lie `stride` floats apart from `from`
 * on; lanes past them get 0. */
INLINE void to_lanes(const float *from, size_t stride, const struct block *block, size_t features,
                     float *lanes)
{
    if (may_gather(block, stride)) {
        gather_lanes(from, stride, block, features, lanes);
        return;
    }
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

/* The products of a row's context. */
INLINE const float *context_row(const struct selecting *selecting, size_t row)
{
    const struct context_map *map = &selecting->map;
    return selecting->context + row / map->group % map->contexts * padded(selecting->net->hidden);
}

/* a += the products of the rows' contexts. */
INLINE void add_context(const struct selecting *selecting, const struct block *block)
{
    size_t hidden = selecting->net->hidden, last_row = block->first + block->rows - 1;
    if (!block->list && block->first / selecting->map.group == last_row / selecting->map.group) {
        const float *from = context_row(selecting, block->first);
        for (size_t h = 0; h < hidden; h++) /* the same for all rows */
            for (float *at = feature(block->a, h); at < feature(block->a, h + 1); at += VL)
                store(at, load(at) + from[h]);
        return;
    }
    for (size_t r = 0; r < block->rows; r++) {
        const float *from = context_row(selecting, row_of(block, r));
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

/* ---- sharing --------------------------------------------------------------------------------- */

/* Floats of one shared real's encodings; also of [steps][padded(units)], as rolling has them. */
INLINE size_t encoded_floats(const struct folded_selection *net, size_t steps)
{
    return (steps + LANE_ROWS - 1) / LANE_ROWS * LANE_ROWS * padded(net->units);
}

INLINE bool is_shared(const struct selecting *selecting, size_t i)
{
    return i < SHARED_MAX && selecting->sharing.reals >> i & 1;
}

/* Where shared real i is encoded; as many shared ones as have smaller numbers lie before it. */
INLINE float *encoded_at(const struct selecting *selecting, size_t i)
{
    const struct sharing *sharing = &selecting->sharing;
    uint64_t before = sharing->reals & (((uint64_t)1 << i) - 1);
    return sharing->encoded +
           (size_t)__builtin_popcountll(before) * encoded_floats(selecting->net, sharing->steps);
}

#endif
