/*
 * The inner step of a tiled product: what conv.cu and matrix.cu do once the tiles of both sides lie
 * in shared memory, as float32 or, in quantize.cu, int32. They differ in how they load them and in
 * what they store.
 */
#ifndef MD_CUDA_TILE_CUH
#define MD_CUDA_TILE_CUH

#include "kernels/cuda/functions.cuh"

#define SIDE  4  /* results a thread has in each direction */
#define DEPTH 16 /* terms in shared memory at a time */

/* Adds DEPTH terms to a thread's results: rows from down * SIDE, columns from across * SIDE on. A
 * line has an element more than the tile, against bank conflicts. */
template <int TILE, class N>
MD__DEVICE void add_products(const N (&left)[DEPTH][TILE + 1], const N (&right)[DEPTH][TILE + 1],
                             int down, int across, N (&sums)[SIDE][SIDE])
{
    for (int k = 0; k < DEPTH; k++)
        for (int i = 0; i < SIDE; i++)
            for (int j = 0; j < SIDE; j++)
                sums[i][j] += left[k][down * SIDE + i] * right[k][across * SIDE + j];
}

#endif
