/*
 * The sums of a block of places by two panels of columns, in the ways that processors offer.
 *
 * Widening takes the even and the odd bytes of each column apart, as 16-bit numbers that the
 * instruction for pairs of those multiplies and adds: nothing saturates, unlike the one that takes
 * unsigned by signed bytes at once. VNNI does four bytes in one exact instruction. AMX multiplies
 * tiles of 16 places by 16 columns, over a chunk; both are newer than the instruction set that this
 * file is compiled for, so they stand as assembly or in functions with a target of their own, and
 * are chosen by what the processor reports.
 */
#include <pthread.h>

#include "kernels/cpu/isa/int8.h"

#define PANEL_VECTORS (PANEL_COLUMNS / VL)
#define SUM_PLACES    (VECTOR_REGISTERS == 32 ? 8 : VL == 8 ? 4 : 2) /* summed in registers */

typedef int16_t vs __attribute__((vector_size(4 * VL), may_alias));

/* ---- widening -------------------------------------------------------------------------------- */

/* sum + x w over four bytes a lane, x the same in all. */
INLINE vi add_widened(vi sum, int32_t x, vi even, vi odd)
{
    sum += multiply_pairs(vi_splat(x & 0x00ff00ff), even);
    return sum + multiply_pairs(vi_splat((int32_t)((uint32_t)x >> 8) & 0x00ff00ff), odd);
}

/* ---- that or VNNI: a few places by one panel
 * --------------------------------------------------------- */

INLINE void sum_places(const struct byte_block *block, size_t first, size_t panel,
                       const size_t places, const bool dot)
{
    const struct byte_weights *weights = block->weights;
    const struct byte_terms *terms = &weights->terms;
    const int8_t *w = byte_panels(weights) + (block->panel + panel) * weights->panel_bytes;
    const int32_t flip = block->is_signed ? (int32_t)0x80808080 : 0;
    vi sum[SUM_PLACES][PANEL_VECTORS];
    memset(sum, 0, sizeof sum);
    for (size_t run = 0; run < terms->runs; run++) {
        const uint8_t *x = block->x + first * block->place + (block->runs ? block->runs[run] : 0);
        for (size_t i = 0; i < padded_run(terms); i += 4, w += 4 * PANEL_COLUMNS) {
#pragma GCC unroll 4
            for (size_t v = 0; v < PANEL_VECTORS; v++) {
                vi four = *(const vi *)(w + v * 4 * VL);
                vi even = (vi)((vs)four << 8 >> 8), odd = (vi)((vs)four >> 8);
#pragma GCC unroll 8
                for (size_t r = 0; r < places; r++) {
                    int32_t bytes;
                    memcpy(&bytes, x + r * block->place + i, 4);
                    bytes ^= flip;
                    sum[r][v] = dot ? dot_bytes(sum[r][v], vi_splat(bytes), four)
                                    : add_widened(sum[r][v], bytes, even, odd);
                }
            }
        }
    }
#pragma GCC unroll 8
    for (size_t r = 0; r < places; r++)
#pragma GCC unroll 4
        for (size_t v = 0; v < PANEL_VECTORS; v++)
            *(vi *)(block->sums + (first + r) * BLOCK_COLUMNS + panel * PANEL_COLUMNS + v * VL) =
                sum[r][v];
}

INLINE void sum_block(const struct byte_block *block, size_t places, size_t panels, const bool dot)
{
    for (size_t panel = 0; panel < panels; panel++) {
        size_t first = 0;
        for (; first + SUM_PLACES <= places; first += SUM_PLACES)
            sum_places(block, first, panel, SUM_PLACES, dot);
        for (; first + 2 <= places; first += 2)
            sum_places(block, first, panel, 2, dot);
        if (first < places)
            sum_places(block, first, panel, 1, dot);
    }
}

static void sum_widened(const struct byte_block *block, size_t places, size_t panels,
                        struct byte_state *state)
{
    (void)state;
    sum_block(block, places, panels, false);
}

static const struct byte_summing widened = {.sum = sum_widened};

#if defined(MD_ISA_avx512) || defined(MD_ISA_avx2)

static void sum_dot(const struct byte_block *block, size_t places, size_t panels,
                    struct byte_state *state)
{
    (void)state;
    sum_block(block, places, panels, true);
}

static const struct byte_summing dot = {.sum = sum_dot, .dots = true};

#endif

/* ---- AMX ------------------------------------------------------------------------------------- */

#if defined(MD_ISA_avx512)

#define TILES __attribute__((target("amx-tile,amx-int8")))

/* Tiles 0 to 3 are sums, 4 and 5 places, 6 and 7 weights. */
static TILES void shape_tiles(size_t places, size_t chunk, struct byte_state *state)
{
    struct {
        uint8_t palette, start, zeros[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } __attribute__((aligned(64))) shape = {.palette = 1};
    size_t upper = places < 16 ? places : 16, lower = places < 16 ? 16 : places - 16;
    for (int i = 0; i < 4; i++) {
        shape.bytes[i] = 64;
        shape.rows[i] = (uint8_t)(i < 2 ? upper : lower ? lower : 16);
    }
    for (int i = 0; i < 2; i++) {
        shape.bytes[4 + i] = (uint16_t)chunk;
        shape.rows[4 + i] = shape.rows[2 * i];
        shape.bytes[6 + i] = 64;
        shape.rows[6 + i] = (uint8_t)(chunk / 4);
    }
    __asm__ volatile("" : : "r"(&shape) : "memory");
    _tile_loadconfig(&shape);
    state->places = places;
    state->chunk = chunk;
}

#define ADD_TILES(multiply)                                                                        \
    for (size_t run = 0; run < terms->runs; run++) {                                               \
        const uint8_t *x = block->x + (block->runs ? block->runs[run] : 0);                        \
        for (size_t c = 0; c < terms->chunks; c++, x += terms->chunk, w += terms->chunk * 16) {    \
            _tile_loadd(4, x, block->place);                                                       \
            _tile_loadd(6, w, 64);                                                                 \
            multiply(0, 4, 6);                                                                     \
            if (panels > 1) {                                                                      \
                _tile_loadd(7, w + weights->panel_bytes, 64);                                      \
                multiply(1, 4, 7);                                                                 \
            }                                                                                      \
            if (places > 16) {                                                                     \
                _tile_loadd(5, x + 16 * block->place, block->place);                               \
                multiply(2, 5, 6);                                                                 \
                if (panels > 1)                                                                    \
                    multiply(3, 5, 7);                                                             \
            }                                                                                      \
        }                                                                                          \
    }

static TILES void sum_tiles(const struct byte_block *block, size_t places, size_t panels,
                            struct byte_state *state)
{
    const struct byte_weights *weights = block->weights;
    const struct byte_terms *terms = &weights->terms;
    const int8_t *w = byte_panels(weights) + block->panel * weights->panel_bytes;
    const size_t row = BLOCK_COLUMNS * sizeof *block->sums;
    if (state->places != places || state->chunk != terms->chunk)
        shape_tiles(places, terms->chunk, state);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (block->is_signed)
        ADD_TILES(_tile_dpbssd)
    else
        ADD_TILES(_tile_dpbusd)
    _tile_stored(0, block->sums, row);
    if (panels > 1)
        _tile_stored(1, block->sums + PANEL_COLUMNS, row);
    if (places > 16) {
        _tile_stored(2, block->sums + 16 * BLOCK_COLUMNS, row);
        if (panels > 1)
            _tile_stored(3, block->sums + 16 * BLOCK_COLUMNS + PANEL_COLUMNS, row);
    }
}

static TILES void end_tiles(struct byte_state *state)
{
    if (state->chunk)
        _tile_release();
    *state = (struct byte_state){0};
}

static const struct byte_summing tiles = {
    .sum = sum_tiles, .end = end_tiles, .dots = true, .takes_signed = true};

#endif

/* ---- which ----------------------------------------------------------------------------------- */

static const struct byte_summing *ways[MD_INT8_BEST];
static pthread_once_t ways_once = PTHREAD_ONCE_INIT;

static void find_ways(void)
{
    ways[MD_INT8_WIDENED] = &widened;
#if defined(MD_ISA_avx512)
    if (__builtin_cpu_supports("avx512vnni"))
        ways[MD_INT8_DOT] = &dot;
    if (__builtin_cpu_supports("amx-int8") && md_cpu_may_use_tiles())
        ways[MD_INT8_TILES] = &tiles;
#elif defined(MD_ISA_avx2)
    if (__builtin_cpu_supports("avxvnni"))
        ways[MD_INT8_DOT] = &dot;
#endif
}

const struct byte_summing *byte_summing(void)
{
    pthread_once(&ways_once, find_ways);
    const struct byte_summing *best = NULL;
    for (enum md_cpu_int8 way = 0; way < md_cpu_int8_limit(); way++)
        best = ways[way] ? ways[way] : best;
    return best ? best : &widened;
}
