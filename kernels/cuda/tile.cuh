/*
 * The product by tiles in shared memory that matrix.cu, conv.cu and quantize.cu are made of: four
 * by four results in a thread's registers, sums as float32 or, of bytes, int32. They differ in how
 * a term is loaded and in what is done with a sum.
 */
#ifndef MD_CUDA_TILE_CUH
#define MD_CUDA_TILE_CUH

#include "kernels/cuda/functions.cuh"

#define SIDE  4  /* results a thread has in each direction */
#define DEPTH 16 /* terms in shared memory at a time */

/* Threads of a block, and blocks. */
static inline dim3 tile_block(int tile)
{
    return dim3((unsigned)(tile / SIDE * (tile / SIDE)));
}
static inline dim3 tile_grid(int tile, int64_t rows, int64_t columns, int64_t others)
{
    return dim3((unsigned)((rows + tile - 1) / tile), (unsigned)((columns + tile - 1) / tile),
                (unsigned)(others < 65535 ? others : 65535));
}

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

/*
 * The tile of blockIdx.x and y. A Problem has rows, inner, columns; left(row, k) and right(k,
 * column), asked for inside of these alone; left_along and right_along, whether neighbouring
 * threads should load along k, as it lies in memory, or across it; finish(row, column, sum).
 */
template <int TILE, class N, class Problem> MD__DEVICE void tile_product(const Problem &p)
{
    __shared__ N left[DEPTH][TILE + 1], right[DEPTH][TILE + 1];
    int64_t row = (int64_t)blockIdx.x * TILE, column = (int64_t)blockIdx.y * TILE;
    int across = (int)threadIdx.x % (TILE / SIDE), down = (int)threadIdx.x / (TILE / SIDE);
    N sums[SIDE][SIDE] = {{0}};
    for (int64_t k0 = 0; k0 < p.inner; k0 += DEPTH) {
        for (int i = (int)threadIdx.x; i < DEPTH * TILE; i += TILE / SIDE * (TILE / SIDE)) {
            int ka = p.left_along ? i % DEPTH : i / TILE, r = p.left_along ? i / DEPTH : i % TILE;
            int kb = p.right_along ? i % DEPTH : i / TILE, c = p.right_along ? i / DEPTH : i % TILE;
            left[ka][r] = row + r < p.rows && k0 + ka < p.inner ? p.left(row + r, k0 + ka) : N(0);
            right[kb][c] =
                column + c < p.columns && k0 + kb < p.inner ? p.right(k0 + kb, column + c) : N(0);
        }
        __syncthreads();
        add_products<TILE>(left, right, down, across, sums);
        __syncthreads();
    }
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            int64_t r = row + down * SIDE + i, c = column + across * SIDE + j;
            if (r < p.rows && c < p.columns)
                p.finish(r, c, sums[i][j]);
        }
}

#endif
