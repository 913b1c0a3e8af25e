/*
 * Vectorised exponentials and what follows from them.
 *
 * One polynomial carries them all. With x = n ln 2 + r, |r| <= ln 2 / 2:
 *     e^r - 1 = r + r^2 q(r)                   q of degree 4, relative error 1.4e-8
 *     e^x - 1 = 2^n (e^r - 1) + (2^n - 1)      keeps its relative precision near 0
 * Rounding to n uses the float whose last bit is worth 1 (1.5 * 2^23), whose low bits then are n.
 * The coefficients are weighted minimax fits (Lawson's iteration on 2,001 Chebyshev points).
 *
 * Errors against exact results, sampled over all floats (see tests/ops/math.c), in units
 * in the last place: exp 1.5 with subnormal results included, elu 1.5, sigmoid 2.5 where the result
 * is above 1.3e-37 (below, as much absolute), tanh 3, softplus 3. Infinities give their limits; NaN
 * gives NaN.
 */
#ifndef MD_KERNELS_CPU_ISA_MATH_H
#define MD_KERNELS_CPU_ISA_MATH_H

#include "kernels/cpu/isa/vec.h"

/* n in the low bits of `shifted`, and e^r - 1. |x| must be below 2^21. */
struct reduced {
    vf shifted, expm1;
};

#define ROUNDING_SHIFT 12582912.0f

INLINE struct reduced reduce_exponent(vf x)
{
    vf shifted = x * 1.44269504f + ROUNDING_SHIFT;
    vf n = shifted - ROUNDING_SHIFT;
    vf r = (x - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts, the first exact */
    vf q = r * 0x1.6bec04p-10f + 0x1.122784p-7f;
    q = q * r + 0x1.555674p-5f;
    q = q * r + 0x1.5554b0p-3f;
    q = q * r + 0x1.fffffep-2f;
    return (struct reduced){shifted, q * (r * r) + r};
}

/* 2^n for n in the low bits of `shifted`, -126 <= n <= 127. */
INLINE vf power_of_two(vf shifted)
{
    return (vf)(((vi)shifted << 23) + 0x3f800000);
}

/* e^x for -87 <= x <= 88: the cheap one. */
INLINE vf exp_bounded(vf x)
{
    struct reduced e = reduce_exponent(x);
    vf scale = power_of_two(e.shifted);
    return e.expm1 * scale + scale;
}

/* e^x for x <= 0, and 0 below -80: keeps a softmax clear of subnormals, which are slow to make. */
INLINE vf exp_negative(vf x)
{
    return choose(x < -80.0f, (vf){0}, exp_bounded(vmax(splat(-80.0f), x)));
}

INLINE vf expm1_bounded(vf x)
{
    struct reduced e = reduce_exponent(x);
    vf scale = power_of_two(e.shifted);
    return e.expm1 * scale + (scale - 1.0f);
}

/* e^x for every x: 2^n is applied in two halves, so that it may pass through the ends of range. */
INLINE vf vexp(vf x)
{
    x = vmin(splat(90.0f), vmax(splat(-105.0f), x));
    struct reduced e = reduce_exponent(x);
    vi n = (vi)e.shifted - (vi)splat(ROUNDING_SHIFT);
    vi half = n >> 1;
    vf first = (vf)((half + 127) << 23), second = (vf)((n - half + 127) << 23);
    return (e.expm1 * first + first) * second;
}

/* 1 + e^-x, at most 1 + e^85; sigmoid is its reciprocal. */
INLINE vf sigmoid_denominator(vf x)
{
    return exp_bounded(vmin(splat(85.0f), vmax(splat(-85.0f), -x))) + 1.0f;
}

INLINE vf vsigmoid(vf x)
{
    return 1.0f / sigmoid_denominator(x);
}

/* tanh x = t / (t + 2) with t = e^2x - 1; beyond |x| = 9.1 it is 1 to the last bit. */
INLINE vf tanh_numerator(vf x)
{
    return expm1_bounded(vmin(splat(18.2f), vmax(splat(-18.2f), x + x)));
}

INLINE vf vtanh(vf x)
{
    vf t = tanh_numerator(x);
    return t / (t + 2.0f);
}

/* x where x > 0, alpha (e^x - 1) elsewhere. */
INLINE vf velu(vf x, vf alpha)
{
    vf below = expm1_bounded(vmin(splat(0.0f), vmax(splat(-87.0f), x))) * alpha;
    return choose(x > 0.0f, x, below);
}

/* ELU with alpha 1 needs no blend: max(x, 0) + expm1(min(x, 0)). */
INLINE vf velu_one(vf x)
{
    vf below = expm1_bounded(vmin(splat(0.0f), vmax(splat(-87.0f), x)));
    return vmax(splat(0.0f), x) + below;
}

/* log(1 + u) for 0 <= u <= 1, by 2 atanh(s), s = u / (2 + u); fit error 5e-9. */
INLINE vf log1p_unit(vf u)
{
    vf s = u / (u + 2.0f), z = s * s;
    vf q = z * 0.14005994f + 0.14000903f;
    q = q * z + 0.20010764f;
    q = q * z + 0.33333208f;
    vf twice = s + s;
    return twice + twice * (z * q);
}

/* log(1 + e^x) = max(x, 0) + log(1 + e^-|x|). */
INLINE vf vsoftplus(vf x)
{
    return vmax(splat(0.0f), x) + log1p_unit(vexp(-vabs(x)));
}

#endif
