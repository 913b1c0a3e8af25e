/*
 * The transforms of winograd.h along one axis, for VL channels at a time, and the one of the
 * weights, in double. `m` is known when compiling: 2 or 4.
 *
 * For m = 4 with points 0, +-a, +-b, infinity, a = 1/sqrt(2), b = sqrt(2): row p of B' holds the
 * coefficients of M(x) / (x - p), M(x) = x (x^2 - a^2) (x^2 - b^2), that of infinity those of M;
 * row p of G is [1, p, p^2] over the product of the differences between p and the other points,
 * column p of A' is [1, p, p^2, p^3]. For m = 2 the points are 0, +-1 and infinity.
 */
#ifndef MD_KERNELS_CPU_ISA_WINOGRAD_TRANSFORM_H
#define MD_KERNELS_CPU_ISA_WINOGRAD_TRANSFORM_H

#include "kernels/cpu/isa/vec.h"

#define POINT_A 0.70710678f
#define POINT_B 1.41421356f

/* m + 2 inputs to as many points. */
INLINE void transform_input(const vf *d, vf *t, const int m)
{
    if (m == 2) {
        t[0] = d[0] - d[2];
        t[1] = d[1] + d[2];
        t[2] = d[2] - d[1];
        t[3] = d[3] - d[1];
        return;
    }
    vf even_a = d[4] - 2.0f * d[2], odd_a = d[3] - 2.0f * d[1];
    vf even_b = d[4] - 0.5f * d[2], odd_b = d[3] - 0.5f * d[1];
    t[0] = d[0] + d[4] - 2.5f * d[2];
    t[1] = even_a + POINT_A * odd_a;
    t[2] = even_a - POINT_A * odd_a;
    t[3] = even_b + POINT_B * odd_b;
    t[4] = even_b - POINT_B * odd_b;
    t[5] = d[1] + d[5] - 2.5f * d[3];
}

/* m + 2 points to m outputs. */
INLINE void transform_output(const vf *t, vf *y, const int m)
{
    if (m == 2) {
        y[0] = t[0] + t[1] + t[2];
        y[1] = t[1] - t[2] + t[3];
        return;
    }
    vf even_a = t[1] + t[2], odd_a = POINT_A * (t[1] - t[2]);
    vf even_b = t[3] + t[4], odd_b = POINT_B * (t[3] - t[4]);
    y[0] = t[0] + even_a + even_b;
    y[1] = odd_a + odd_b;
    y[2] = 0.5f * even_a + 2.0f * even_b;
    y[3] = t[5] + 0.5f * odd_a + 2.0f * odd_b;
}

#endif
