/* Register tiles of direct convolutions (conv_tile.h): one function a size. */
#include "kernels/cpu/isa/conv_tile.h"

/*
 * Addresses of places: a pointer to every third of them, and the stride as an index of one or two;
 * a pointer to each would not fit the registers.
 */
#define PLACES_APART 3
#define FETCHED_SUMS 256 /* terms of a sum from which on fetching results ahead pays */
#define POINTERS     ((TILE_PLACES_MAX + PLACES_APART - 1) / PLACES_APART)

INLINE const char *add_run(vf sum[][TILE_VECTORS_MAX], const char *x, size_t stride, const float *w,
                           size_t w_stride, size_t run, const char *ahead, size_t ahead_step,
                           const int places, const int vectors)
{
    const char *at[POINTERS];
#pragma GCC unroll 5
    for (int p = 0; p < (places + PLACES_APART - 1) / PLACES_APART; p++)
        at[p] = x + (size_t)(p * PLACES_APART) * stride;
    for (size_t c = 0; c < run; c++, w += VL) {
        vf weight[TILE_VECTORS_MAX];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            weight[v] = *(const vf *)(w + (size_t)v * w_stride);
#pragma GCC unroll 14
        for (int r = 0; r < places; r++) {
            vf in =
                splat(*(const float *)(at[r / PLACES_APART] + (size_t)(r % PLACES_APART) * stride));
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sum[r][v] += in * weight[v];
        }
#pragma GCC unroll 5
        for (int p = 0; p < (places + PLACES_APART - 1) / PLACES_APART; p++)
            at[p] += sizeof(float);
        __builtin_prefetch(ahead, 0, 2);
        ahead += ahead_step;
    }
    return ahead;
}

INLINE void finish(const struct conv_run *run, const struct conv_tile *tile,
                   vf sum[][TILE_VECTORS_MAX], const int places, const int vectors)
{
#pragma GCC unroll 14
    for (int r = 0; r < places; r++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            size_t at = (size_t)r * tile->y_stride + (size_t)v * VL;
            size_t columns = tile->columns - (size_t)v * VL;
            vf value = sum[r][v];
            if (tile->z)
                value +=
                    load_upto(tile->z + (size_t)r * tile->z_stride + (size_t)v * VL, columns);
            value = conv_ended(run, value);
            if (columns >= VL)
                store(tile->y + at, value);
            else
                store_some(tile->y + at, value, columns);
        }
    }
}

/* Where results go, and what is added to them, is wanted in the cache when the sums are done. */
INLINE void fetch_results(const struct conv_tile *tile, const int places, const int vectors)
{
#pragma GCC unroll 14
    for (int r = 0; r < places; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            __builtin_prefetch(tile->y + (size_t)r * tile->y_stride + (size_t)v * VL, 1, 3);
            if (tile->z)
                __builtin_prefetch(tile->z + (size_t)r * tile->z_stride + (size_t)v * VL, 0, 3);
        }
}

INLINE void sum_tile(const struct conv_run *run, const struct conv_tile *tile, const int places,
                     const int vectors)
{
    vf sum[TILE_PLACES_MAX][TILE_VECTORS_MAX];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        vf start = {0};
        if (tile->bias)
            start = load_upto(tile->bias + v * VL, tile->columns - (size_t)v * VL);
#pragma GCC unroll 14
        for (int r = 0; r < places; r++)
            sum[r][v] = start;
    }
    const struct conv_line *line = tile->line;
    const char *ahead = tile->ahead;
    if (line->rows * tile->runs * tile->run >= FETCHED_SUMS)
        fetch_results(tile, places, vectors);
    for (size_t row = 0; row < line->rows; row++) {
        const float *x = line->x[row] + tile->x_offset, *w = tile->w + line->w[row];
        for (size_t i = 0; i < tile->runs; i++, x += tile->step, w += tile->run * VL)
            ahead = add_run(sum, (const char *)x, tile->x_stride, w, tile->w_stride, tile->run,
                            ahead, tile->ahead_step, places, vectors);
    }
    finish(run, tile, sum, places, vectors);
}

#define TILE(places, vectors)                                                                      \
    static void tile_##places##_##vectors(const struct conv_run *run,                              \
                                          const struct conv_tile *tile)                            \
    {                                                                                              \
        sum_tile(run, tile, places, vectors);                                                      \
    }
#define UP_TO_3(X, v)  X(1, v) X(2, v) X(3, v)
#define UP_TO_4(X, v)  UP_TO_3(X, v) X(4, v)
#define UP_TO_6(X, v)  UP_TO_4(X, v) X(5, v) X(6, v)
#define UP_TO_7(X, v)  UP_TO_6(X, v) X(7, v)
#define UP_TO_9(X, v)  UP_TO_7(X, v) X(8, v) X(9, v)
#define UP_TO_12(X, v) UP_TO_9(X, v) X(10, v) X(11, v) X(12, v)
#define UP_TO_14(X, v) UP_TO_12(X, v) X(13, v) X(14, v)

#if VECTOR_REGISTERS == 32
#define TILES_1(X) UP_TO_14(X, 1)
#define TILES_2(X) UP_TO_14(X, 2)
#define TILES_3(X) UP_TO_9(X, 3)
#define TILES_4(X) UP_TO_7(X, 4)
#else
#define TILES_1(X) UP_TO_12(X, 1)
#define TILES_2(X) UP_TO_6(X, 2)
#define TILES_3(X) UP_TO_4(X, 3)
#define TILES_4(X)
#endif

TILES_1(TILE)
TILES_2(TILE)
TILES_3(TILE)
TILES_4(TILE)

void md__conv_tile(const struct conv_run *run, const struct conv_tile *tile, size_t places,
                   size_t vectors)
{
    typedef void (*tile_function)(const struct conv_run *, const struct conv_tile *);
#define NAME(places_, vectors_) [places_] = tile_##places_##_##vectors_,
    static const tile_function tiles[][TILE_PLACES_MAX + 1] = {
        {0}, {TILES_1(NAME)}, {TILES_2(NAME)}, {TILES_3(NAME)}, {TILES_4(NAME)}};
    tiles[vectors][places](run, tile);
    size_t columns = tile->columns < vectors * VL ? tile->columns : vectors * VL;
    conv_activate(run, tile->y, tile->y_stride, places, columns);
}
