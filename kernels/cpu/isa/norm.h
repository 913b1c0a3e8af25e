/*
 * Layer normalisation of one row, for LayerNormalization, and of some rows at a time, for the fused
 * networks; and the one by the root mean square alone.
 */
#ifndef MD_KERNELS_CPU_ISA_NORM_H
#define MD_KERNELS_CPU_ISA_NORM_H

#include "kernels/cpu/isa/vec.h"

#include <math.h>

/*
 * y = (x - mean) / sqrt(variance + epsilon) * gamma + beta over `count` features, in two passes
 * over x (the mean first, then squares of differences, which do not cancel). x may be y.
 * beta may be NULL. Reads and writes exactly `count` floats of each.
 */
INLINE void normalize_row(const float *x, const float *gamma, const float *beta, float *y,
                          size_t count, float epsilon)
{
    size_t whole = count / VL * VL, rest = count - whole;
    vf sum = rest ? load_some(x + whole, rest) : (vf){0};
    for (size_t i = 0; i < whole; i += VL)
        sum += load(x + i);
    float mean = horizontal_sum(sum) / (float)count;
    vf squares = {0};
    if (rest) {
        vf difference = load_some(x + whole, rest) - mean;
        squares = choose(lanes_below(rest), difference * difference, (vf){0});
    }
    for (size_t i = 0; i < whole; i += VL) {
        vf difference = load(x + i) - mean;
        squares += difference * difference;
    }
    float factor = 1.0f / sqrtf(horizontal_sum(squares) / (float)count + epsilon);
    for (size_t i = 0; i < whole; i += VL) {
        vf out = (load(x + i) - mean) * (load(gamma + i) * factor);
        if (beta)
            out += load(beta + i);
        store(y + i, out);
    }
    if (rest) {
        vf out = (load_some(x + whole, rest) - mean) * (load_some(gamma + whole, rest) * factor);
        if (beta)
            out += load_some(beta + whole, rest);
        store_some(y + whole, out, rest);
    }
}

/* Lane i of every four lanes: what the same four of the i-th vector add up to. */
INLINE vf sum_fours(vf a, vf b, vf c, vf d)
{
#if defined(MD_ISA_avx512)
#define PICK(x, y, which) ((vf)_mm512_shuffle_ps((__m512)(x), (__m512)(y), which))
#elif defined(MD_ISA_avx2)
#define PICK(x, y, which) ((vf)_mm256_shuffle_ps((__m256)(x), (__m256)(y), which))
#elif defined(__SSE2__)
#define PICK(x, y, which) ((vf)_mm_shuffle_ps((__m128)(x), (__m128)(y), which))
#endif
#if defined(PICK)
    vf ab = PICK(a, b, 0x44) + PICK(a, b, 0xee), cd = PICK(c, d, 0x44) + PICK(c, d, 0xee);
    return PICK(ab, cd, 0x88) + PICK(ab, cd, 0xdd);
#undef PICK
#else
    return (vf){horizontal_sum(a), horizontal_sum(b), horizontal_sum(c), horizontal_sum(d)};
#endif
}

/* Lane 4 q + i: what lanes i of all fours of the q-th vector add up to. */
INLINE vf join_fours(const vf *x)
{
#if defined(MD_ISA_avx512)
#define PICK(x, y, which) ((vf)_mm512_shuffle_f32x4((__m512)(x), (__m512)(y), which))
    vf ab = PICK(x[0], x[1], 0x44) + PICK(x[0], x[1], 0xee);
    vf cd = PICK(x[2], x[3], 0x44) + PICK(x[2], x[3], 0xee);
    return PICK(ab, cd, 0x88) + PICK(ab, cd, 0xdd);
#undef PICK
#elif defined(MD_ISA_avx2)
    return (vf)_mm256_permute2f128_ps((__m256)x[0], (__m256)x[1], 0x20) +
           (vf)_mm256_permute2f128_ps((__m256)x[0], (__m256)x[1], 0x31);
#else
    return x[0];
#endif
}

#define EACH_OF_FOUR _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)

INLINE vf add_term(vf sum, vf v, bool squared)
{
    if (squared)
        v *= v;
    return sum + v;
}

/*
 * Lane r: the sum of row r, or with `mean` that of the squares of its differences from mean[r].
 * Rows are 1 to VL; lanes behind them mean nothing.
 */
INLINE vf sum_rows(const float *x, size_t stride, size_t rows, size_t count, const float *mean)
{
    size_t whole = count / VL * VL, rest = count - whole;
    vf fours[VL / 4] = {{0}};
    for (size_t first = 0; first < rows; first += 4) {
        vf sum[4] = {{0}};
        const float *row[4];
        float middle[4];
        EACH_OF_FOUR
        {
            size_t r = first + (size_t)i < rows ? first + (size_t)i : rows - 1;
            row[i] = x + r * stride;
            middle[i] = mean ? mean[r] : 0;
        }
        for (size_t k = 0; k < whole; k += VL)
            EACH_OF_FOUR sum[i] = add_term(sum[i], load(row[i] + k) - middle[i], mean != NULL);
        if (rest)
            EACH_OF_FOUR
            {
                vf v = load_some(row[i] + whole, rest) - middle[i];
                sum[i] = add_term(sum[i], choose(lanes_below(rest), v, (vf){0}), mean != NULL);
            }
        fours[first / 4] = sum_fours(sum[0], sum[1], sum[2], sum[3]);
    }
    return join_fours(fours);
}

/*
 * normalize_row for up to VL rows. What their vectors add up to is found for all of them at once:
 * row by row the sums across a vector, one after the other, would take longer than all the rest.
 */
INLINE void normalize_rows(const float *x, size_t x_stride, const float *gamma, const float *beta,
                           float *y, size_t y_stride, size_t rows, size_t count, float epsilon)
{
    float mean[VL], factor[VL];
    store(mean, sum_rows(x, x_stride, rows, count, NULL) / (float)count);
    vf variance = sum_rows(x, x_stride, rows, count, mean) / (float)count;
    store(factor, 1.0f / vsqrt(variance + epsilon));
    size_t whole = count / VL * VL, rest = count - whole;
    for (size_t k = 0; k < whole; k += VL) {
        vf scale = load(gamma + k), shift = load(beta + k);
#pragma GCC unroll 2
        for (size_t r = 0; r < rows; r++)
            store(y + r * y_stride + k,
                  (load(x + r * x_stride + k) - mean[r]) * factor[r] * scale + shift);
    }
    if (rest == 0)
        return;
    vf scale = load_some(gamma + whole, rest), shift = load_some(beta + whole, rest);
#pragma GCC unroll 2
    for (size_t r = 0; r < rows; r++)
        store_some(y + r * y_stride + whole,
                   (load_some(x + r * x_stride + whole, rest) - mean[r]) * factor[r] * scale +
                       shift,
                   rest);
}

/* y = x / sqrt(mean of squares + epsilon) * gamma, likewise. */
INLINE void normalize_row_rms(const float *x, const float *gamma, float *y, size_t count,
                              float epsilon)
{
    size_t whole = count / VL * VL, rest = count - whole;
    vf squares = rest ? load_some(x + whole, rest) : (vf){0};
    squares *= squares;
    for (size_t i = 0; i < whole; i += VL)
        squares += load(x + i) * load(x + i);
    float factor = 1.0f / sqrtf(horizontal_sum(squares) / (float)count + epsilon);
    for (size_t i = 0; i < whole; i += VL)
        store(y + i, load(x + i) * (load(gamma + i) * factor));
    if (rest)
        store_some(y + whole,
                   load_some(x + whole, rest) * (load_some(gamma + whole, rest) * factor), rest);
}

#endif
