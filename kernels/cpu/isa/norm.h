/*
 * Layer normalisation of one row, shared by LayerNormalization and the fused networks; and the one
 * by the root mean square alone.
 */
#ifndef MD_KERNELS_CPU_ISA_NORM_H
#define MD_KERNELS_CPU_ISA_NORM_H

#include "kernels/cpu/isa/vec.h"

#include <math.h>

INLINE vf load_row(const float *row, size_t at, size_t count)
{
    return at + VL <= count ? load(row + at) : load_some(row + at, count - at);
}

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
