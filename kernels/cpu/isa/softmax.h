/*
 * The pieces of a softmax over one row, shared by Softmax and attention.
 */
#ifndef MD_KERNELS_CPU_ISA_SOFTMAX_H
#define MD_KERNELS_CPU_ISA_SOFTMAX_H

#include "kernels/cpu/isa/math.h"

#include <math.h>

INLINE float row_max(const float *x, size_t count)
{
    size_t whole = count / VL * VL;
    vf max = splat(-INFINITY);
    for (size_t i = 0; i < whole; i += VL)
        max = vmax(max, load(x + i));
    float result = horizontal_max(max);
    for (size_t i = whole; i < count; i++)
        result = x[i] > result ? x[i] : result;
    return result;
}

/* y = e^(x - max), returns the sum; y may be x. */
INLINE float exponentials(const float *x, float *y, size_t count)
{
    float max = row_max(x, count);
    size_t whole = count / VL * VL, rest = count - whole;
    vf sum = {0};
    for (size_t i = 0; i < whole; i += VL) {
        vf e = exp_negative(load(x + i) - max);
        store(y + i, e);
        sum += e;
    }
    float total = horizontal_sum(sum);
    if (rest) { /* lanes behind the row hold 0, which may be far above its maximum */
        vf below = load_some(x + whole, rest) - max;
        vf e = exp_negative(choose(below > 0.0f, (vf){0}, below));
        store_some(y + whole, e, rest);
        for (size_t i = 0; i < rest; i++)
            total += e[i];
    }
    return total;
}

INLINE void scale_row(float *y, float factor, size_t count)
{
    size_t whole = count / VL * VL, rest = count - whole;
    for (size_t i = 0; i < whole; i += VL)
        store(y + i, load(y + i) * factor);
    if (rest)
        store_some(y + whole, load_some(y + whole, rest) * factor, rest);
}

#endif
