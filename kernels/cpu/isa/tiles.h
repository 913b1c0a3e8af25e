/*
 * Products of float32 on AMX's tiles, which multiply bfloat16 and sum in float32.
 *
 * The 24 bits of a float32's significand are cut into three bfloat16 of 8 bits, whose sum it is:
 * its parts. Of the nine products of two numbers' parts six are added up, small ones first; the
 * three left out (middle by low, low by middle, low by low) are below 2^-22 of the whole, where
 * weights are cut to the nearest and x towards 0. So sums are as exact as those of fused
 * multiplications, at 16 / 6 of their speed. Parts below 2^-126 count as 0, an infinite x gives
 * NaN.
 *
 * A tile holds 16 rows of 64 bytes. One product adds to 16 x 16 sums those of 32 inputs: tile a has
 * the inputs of a row side by side, [16][32]; tile b the inputs two by two, [16][16 columns][2].
 * Sums are tiles 0 (upper left), 1 (upper right), 2 and 3 (lower); a's are tiles 4 and 5, b's 6 and
 * 7. Inputs that are no multiple of 32 are filled up with zeros.
 *
 * Only in sources that are compiled as `amx` (CMakeLists.txt), for processes that
 * md_cpu_may_use_tiles().
 */
#ifndef MD_KERNELS_CPU_ISA_TILES_H
#define MD_KERNELS_CPU_ISA_TILES_H

#include "kernels/cpu/isa/vec.h"

#if defined(MD_ISA_amx)

#define TILE_INPUTS 32
#define TILE_FLOATS 256 /* 1 KB: what a tile of parts or of sums takes */
#define PARTS       3   /* high, middle, low */

/* The tiles' shape and tilecfg's layout: Intel's manual, volume 1, chapter 18. */
struct tile_shape {
    uint8_t palette, start, zeros[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} __attribute__((aligned(64)));

/* Before a thread's first product; tiles_end() after its last one, so that a switch to another
 * thread does not save 8 KB. */
INLINE void tiles_begin(void)
{
    static const struct tile_shape whole = {
        .palette = 1,
        .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
        .rows = {16, 16, 16, 16, 16, 16, 16, 16},
    };
    __asm__ volatile("" : : "r"(&whole) : "memory"); /* GCC 12 forgets that it is read */
    _tile_loadconfig(&whole);
}

/* The same for products of fewer rows, which take less time: tile 7 alone is for side b. */
INLINE void tiles_begin_rows(size_t rows)
{
    struct tile_shape shape = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        shape.row_bytes[tile] = 64;
        shape.rows[tile] = tile < 7 ? (uint8_t)rows : 16;
    }
    __asm__ volatile("" : : "r"(&shape) : "memory");
    _tile_loadconfig(&shape);
}

INLINE void tiles_end(void)
{
    _tile_release();
}

INLINE size_t tile_chunks(size_t inputs)
{
    return (inputs + TILE_INPUTS - 1) / TILE_INPUTS;
}

/* Floats that the parts of 16 rows, or of 16 columns, take. */
INLINE size_t parts_floats(size_t inputs)
{
    return tile_chunks(inputs) * PARTS * TILE_FLOATS;
}

/* x without what is below its upper 8 bits, which stay in x; towards 0. */
INLINE vf cut(vf *x)
{
    vf upper = (vf)((vi)*x & (int32_t)0xffff0000);
    *x -= upper;
    return upper;
}

/* ---- parts of activations -------------------------------------------------------------------- */

/* The parts of two inputs of 16 columns, or of two vectors of a row, number by number side by side:
 * a line of each part's tile. */
INLINE void split_pair(vf even, vf odd, float *to)
{
#pragma GCC unroll 3
    for (int part = 0; part < PARTS; part++, to += TILE_FLOATS) {
        vu low = (vu)even >> 16, high = (vu)odd & 0xffff0000;
        *(vu *)to = low | high;
        cut(&even);
        cut(&odd);
    }
}

/* ---- weights, while loading a model: either side --------------------------------------------- */

/* The nearest bfloat16 of a finite number, which is taken off it. */
INLINE uint16_t cut_nearest(float *x)
{
    uint32_t bits;
    memcpy(&bits, x, sizeof bits);
    bits += 0x7fff + (bits >> 16 & 1);
    bits &= 0xffff0000;
    float upper;
    memcpy(&upper, &bits, sizeof upper);
    *x -= upper;
    return (uint16_t)(bits >> 16);
}

/* Weight of input k for row r of side a, or for column r of side b, into tiles that were zeros. */
INLINE void put_weight(float weight, size_t k, size_t r, bool side_b, float *to)
{
    uint16_t *tile = (uint16_t *)(to + k / TILE_INPUTS * PARTS * TILE_FLOATS);
    size_t in = k % TILE_INPUTS, at = side_b ? in / 2 * 32 + r * 2 + in % 2 : r * 32 + in;
    for (int part = 0; part < PARTS; part++, tile += 2 * TILE_FLOATS)
        tile[at] = cut_nearest(&weight);
}

/* Cut to three parts a weight must be finite, and far from the largest. */
INLINE bool may_cut(float weight)
{
    return __builtin_fabsf(weight) < 0x1p127f;
}

/* ---- products -------------------------------------------------------------------------------- */

/* Tiles of a part: of a's upper 16 rows, and `lower` ones `a_lower` floats behind. */
INLINE void load_a(const float *a, size_t a_lower, const bool lower)
{
    _tile_loadd(4, a, 64);
    if (lower)
        _tile_loadd(5, a + a_lower, 64);
}

/* Of b's left 16 columns, and `right` ones `b_right` floats behind. */
INLINE void load_b(const float *b, size_t b_right, const bool right)
{
    _tile_loadd(6, b, 64);
    if (right)
        _tile_loadd(7, b + b_right, 64);
}

/* Sums += a b of what is loaded. */
INLINE void add_loaded(const bool lower, const bool right)
{
    _tile_dpbf16ps(0, 4, 6);
    if (right)
        _tile_dpbf16ps(1, 4, 7);
    if (lower)
        _tile_dpbf16ps(2, 5, 6);
    if (lower && right)
        _tile_dpbf16ps(3, 5, 7);
}

/*
 * Sums += a b over `chunks` chunks of inputs, all six products. From part to part only one side is
 * loaded anew. meanwhile(context), if any, is run behind each product.
 */
INLINE void add_products(const float *a, size_t a_lower, const float *b, size_t b_right,
                         size_t chunks, const bool lower, const bool right,
                         void (*const meanwhile)(void *), void *context)
{
    static const struct {
        int side_b, part;
    } loads[] = {{0, 2}, {1, 0}, {0, 1}, {1, 1}, {0, 0}, {1, 2}, {1, 0}};
    __asm__ volatile("" : : : "memory"); /* GCC 12 does not know that tiles are loaded from it */
    for (size_t c = 0; c < chunks; c++, a += PARTS * TILE_FLOATS, b += PARTS * TILE_FLOATS)
#pragma GCC unroll 7
        for (int i = 0; i < 7; i++) {
            if (loads[i].side_b)
                load_b(b + loads[i].part * TILE_FLOATS, b_right, right);
            else
                load_a(a + loads[i].part * TILE_FLOATS, a_lower, lower);
            if (i == 0)
                continue;
            add_loaded(lower, right);
            if (meanwhile)
                meanwhile(context);
        }
}

/* Sums to [rows][stride floats]: upper left at y, the right 16 columns beside, the lower 16 rows
 * below. */
INLINE void store_sums(float *y, size_t stride, const bool lower, const bool right)
{
    size_t bytes = stride * sizeof *y;
    _tile_stored(0, y, bytes);
    if (right)
        _tile_stored(1, y + VL, bytes);
    if (lower)
        _tile_stored(2, y + 16 * stride, bytes);
    if (lower && right)
        _tile_stored(3, y + 16 * stride + VL, bytes);
}

#endif
#endif
