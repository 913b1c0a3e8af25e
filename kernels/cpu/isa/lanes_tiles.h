/*
 * The dense layers of lanes.h on AMX's tiles (tiles.h): weights are side a, 16 outputs a tile, rows
 * in lanes side b, a vector of rows a tile, so that sums come out with rows in lanes again.
 *
 * Weights lie [tile of outputs][chunk][part][16][32], of a GLU a tile of values before that of
 * their gates; biases, with which sums begin, [tile of outputs][16][VL], splat.
 *
 * Where 16 inputs or fewer are left over for the last chunk, each number takes two places: a
 * vector's parts lie low, high, middle, 8 lines each, so that two tiles, (low, high) and (high,
 * middle), overlap; with weights (high, low), (middle, high) and (high, middle) three products add
 * up what takes six otherwise.
 */
#ifndef MD_KERNELS_CPU_ISA_LANES_TILES_H
#define MD_KERNELS_CPU_ISA_LANES_TILES_H

#include "kernels/cpu/isa/lanes.h"
#include "kernels/cpu/isa/tiles.h"

#define HALF_INPUTS  (TILE_INPUTS / 2)
#define HALF_FLOATS  (TILE_FLOATS / 2)
#define CHUNK_FLOATS (PARTS * TILE_FLOATS)

/* Chunks that are multiplied whole; half a one may follow. */
INLINE size_t whole_chunks(size_t inputs)
{
    return (inputs + TILE_INPUTS - HALF_INPUTS - 1) / TILE_INPUTS;
}

INLINE bool half_follows(size_t inputs)
{
    return whole_chunks(inputs) < tile_chunks(inputs);
}

/* Floats that the parts of a vector of rows take. */
INLINE size_t lane_parts(size_t inputs)
{
    return whole_chunks(inputs) * CHUNK_FLOATS + (half_follows(inputs) ? PARTS * HALF_FLOATS : 0);
}

INLINE void lanes_begin(void)
{
    tiles_begin();
}

INLINE void lanes_end(void)
{
    tiles_end();
}

/* ---- packing --------------------------------------------------------------------------------- */

INLINE size_t output_tile(size_t o, bool gated, bool gate)
{
    return gated ? o / VL * 2 + gate : o / VL;
}

/* Weight k of a half chunk for row r. */
INLINE void put_half(float weight, size_t k, size_t r, float *to)
{
    uint16_t *tile = (uint16_t *)to + r * TILE_INPUTS + k;
    uint16_t high = cut_nearest(&weight), middle = cut_nearest(&weight);
    tile[0] = high;
    tile[HALF_INPUTS] = cut_nearest(&weight);
    tile += 2 * TILE_FLOATS;
    tile[0] = middle;
    tile[HALF_INPUTS] = high;
    tile += 2 * TILE_FLOATS;
    tile[0] = high;
    tile[HALF_INPUTS] = middle;
}

INLINE void put_dense_weight(struct dense *dense, size_t k, size_t o, bool gated, bool gate,
                             float weight)
{
    size_t chunk = k / TILE_INPUTS;
    float *to = dense->weights + output_tile(o, gated, gate) * parts_floats(dense->inputs);
    if (!may_cut(weight))
        weight = __builtin_nanf("");
    if (chunk < whole_chunks(dense->inputs))
        put_weight(weight, k, o % VL, false, to);
    else
        put_half(weight, k % TILE_INPUTS, o % VL, to + chunk * CHUNK_FLOATS);
}

INLINE void put_dense_bias(struct dense *dense, size_t o, bool gated, bool gate, float bias)
{
    store(dense->bias + output_tile(o, gated, gate) * TILE_FLOATS + o % VL * VL, splat(bias));
}

INLINE size_t dense_weights(size_t inputs, size_t outputs, bool gated)
{
    return vectors_of(outputs) * parts_floats(inputs) << gated;
}

INLINE size_t dense_biases(size_t outputs, bool gated)
{
    return vectors_of(outputs) * TILE_FLOATS << gated;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* The upper halves of `even` and `odd`, number by number. */
INLINE void store_uppers(float *to, vf even, vf odd)
{
    const vu upper = {0x0302, 0x0706, 0x0b0a, 0x0f0e, 0x0302, 0x0706, 0x0b0a, 0x0f0e,
                      0x0302, 0x0706, 0x0b0a, 0x0f0e, 0x0302, 0x0706, 0x0b0a, 0x0f0e};
    *(__m512i *)(void *)to =
        _mm512_mask_shuffle_epi8((__m512i)odd, 0x3333333333333333, (__m512i)even, (__m512i)upper);
}

/* The parts of inputs k (even) and k + 1 of a vector of rows into lane_parts(inputs). */
INLINE void put_pair(vf even, vf odd, size_t k, size_t inputs, float *to)
{
    bool whole = k / TILE_INPUTS < whole_chunks(inputs);
    to += k / TILE_INPUTS * CHUNK_FLOATS + k % TILE_INPUTS / 2 * VL;
    float *high = whole ? to : to + HALF_FLOATS, *low = whole ? to + 2 * TILE_FLOATS : to;
    store_uppers(high, even, odd);
    cut(&even);
    cut(&odd);
    store_uppers(high + (whole ? TILE_FLOATS : HALF_FLOATS), even, odd);
    cut(&even);
    cut(&odd);
    store_uppers(low, even, odd);
}

/* Inputs that there are not, from the even number k on: zeros. */
INLINE void put_no_more(size_t k, size_t inputs, float *to)
{
    size_t all = tile_chunks(inputs) * TILE_INPUTS - (half_follows(inputs) ? HALF_INPUTS : 0);
    for (; k < all; k += 2)
        put_pair((vf){0}, (vf){0}, k, inputs, to);
}

/* ---- products -------------------------------------------------------------------------------- */

INLINE void add_half(const float *a, size_t a_lower, const float *b, size_t b_right,
                     const bool lower, const bool right)
{
    load_b(b, b_right, right); /* low, high */
    load_a(a, a_lower, lower);
    add_loaded(lower, right);
    load_b(b + HALF_FLOATS, b_right, right); /* high, middle */
    for (int part = 1; part < PARTS; part++) {
        load_a(a + part * TILE_FLOATS, a_lower, lower);
        add_loaded(lower, right);
    }
}

/* Begins tiles of sums 0 to 3: those of output tile `first` and, if `lower`, the next one, for one
 * or two vectors of rows. */
INLINE void multiply_tiles(const struct dense *dense, size_t first, const float *parts,
                           const bool lower, const int vectors)
{
    size_t inputs = dense->inputs, a_lower = parts_floats(inputs), b_right = lane_parts(inputs);
    size_t whole = whole_chunks(inputs);
    const float *a = dense->weights + first * a_lower, *bias = dense->bias + first * TILE_FLOATS;
    const bool right = vectors > 1;
    __asm__ volatile("" : : : "memory"); /* as in add_products() */
    _tile_loadd(0, bias, 64);
    if (right)
        _tile_loadd(1, bias, 64);
    if (lower)
        _tile_loadd(2, bias + TILE_FLOATS, 64);
    if (lower && right)
        _tile_loadd(3, bias + TILE_FLOATS, 64);
    add_products(a, a_lower, parts, b_right, whole, lower, right, NULL, NULL);
    if (half_follows(inputs))
        add_half(a + whole * CHUNK_FLOATS, a_lower, parts + whole * CHUNK_FLOATS, b_right, lower,
                 right);
}

/* y = dense(x), whose parts are given. y has room for tiled(outputs) features. */
INLINE void dense_tiles(const struct dense *dense, const float *parts, float *y, const int vectors)
{
    size_t tiles = vectors_of(dense->outputs), t = 0;
    for (; t + 2 <= tiles; t += 2) {
        multiply_tiles(dense, t, parts, true, vectors);
        store_sums(feature(y, t * VL), LANE_ROWS, true, vectors > 1);
    }
    if (t < tiles) {
        multiply_tiles(dense, t, parts, false, vectors);
        store_sums(feature(y, t * VL), LANE_ROWS, false, vectors > 1);
    }
}

#endif
