/*
 * The innermost part of direct convolutions: a tile of neighbouring output places by a few vectors
 * of output channels, summed in registers over all taps and input channels.
 *
 * Weights are packed a vector of outputs at a time, [vector][tap][channel][VL], so that a tile may
 * be any number of vectors wide: each reads its own stream. Places are a constant number of bytes
 * apart in the input; what a tap row reads of one place is a number of runs, which are contiguous.
 */
#ifndef MD_KERNELS_CPU_ISA_CONV_TILE_H
#define MD_KERNELS_CPU_ISA_CONV_TILE_H

#include "kernels/cpu/isa/conv_last.h"

/* Of a tile of n vectors, at most so many places: sums, weights and one input fill the registers.
 */
#define TILE_VECTORS_MAX (VECTOR_REGISTERS == 32 ? 4 : 3)
#define TILE_PLACES_MAX  14
INLINE size_t tile_places(size_t vectors)
{
    static const size_t many[] = {0, 14, 14, 9, 7}, few[] = {0, 12, 6, 4, 0};
    return VECTOR_REGISTERS == 32 ? many[vectors] : few[vectors];
}

/* What the places of one output line read: tap rows, in the order of the weights. */
struct conv_line {
    const float **x; /* each row's first element of place 0 */
    size_t *w;       /* floats into a packed vector */
    size_t rows;
};

struct conv_tile {
    const struct conv_line *line;
    size_t x_offset;        /* floats: of the tile's first place */
    size_t x_stride;        /* bytes from place to place */
    size_t runs, run, step; /* of a row: runs of `run` floats, `step` floats apart */
    const float *w;         /* the first vector's packed weights */
    size_t w_stride;        /* floats from vector to vector */
    const float *bias, *z;  /* of the first vector; NULL: none */
    float *y;
    size_t y_stride, z_stride; /* floats from place to place */
    size_t columns;            /* of y from here on in this group */
    const char *ahead; /* fetched into the second-level cache meanwhile, a line at a time... */
    size_t ahead_step; /* ...or 0: nothing is */
};

#define md__conv_tile MD_ISA_SYMBOL(md__conv_tile)
void md__conv_tile(const struct conv_run *run, const struct conv_tile *tile, size_t places,
                   size_t vectors);

#endif
