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
 * is above 1.3e-37 (below, as much absolute), tanh 3, softplus 3, erf 2.5, log 1.5, GELU 12 where
 * it is above 0.003. Infinities give their limits; NaN gives NaN.
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
    return (vf)(((vu)shifted << 23) + 0x3f800000);
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

/*
 * Activations take several vectors step by step. Chains of 20 dependent instructions, one after
 * another, fill the processor's scheduler before it has seen enough of them to keep its units busy;
 * KEEP_TOGETHER stops the compiler, which likes to finish one vector before it starts the next. It
 * also keeps a product apart from a sum behind it, in a group of any size: else rounding, and with
 * it a row's last bit, would depend on how many rows go together.
 */
#define GROUP       6
#define EACH(count) _Pragma("GCC unroll 6") for (int i = 0; i < (count); i++)
#if defined(MD_ISA_avx512)
#define KEEP_TOGETHER(x, count)                                                                    \
    do {                                                                                           \
        if ((count) == GROUP)                                                                      \
            __asm__(""                                                                             \
                    : "+v"((x)[0]), "+v"((x)[1]), "+v"((x)[2]), "+v"((x)[3]), "+v"((x)[4]),        \
                      "+v"((x)[5]));                                                               \
        else                                                                                       \
            EACH(count) __asm__("" : "+v"((x)[i]));                                                \
    } while (0)
#else
#define KEEP_TOGETHER(x, count) ((void)0) /* 16 registers cannot hold a group */
#endif

/* A step of Horner's scheme: p = p x + coefficient. Not a function: the compiler would allocate
 * registers in other ways where it is inlined. */
#define HORNER_EACH(p, x, coefficient, count)                                                      \
    do {                                                                                           \
        EACH(count)(p)[i] = (p)[i] * (x)[i] + (coefficient);                                       \
        KEEP_TOGETHER(p, count);                                                                   \
    } while (0)

/*
 * 2^x for -126 <= x <= 126: no subnormals, which are slow to make. x is rounded to a multiple of
 * 2^-EXP2_BITS by adding EXP2_SHIFT, whose last bit is worth that: what is left over goes to a
 * polynomial, a minimax fit of a relative error below 7e-8, and the low bits of the sum say the
 * power of the multiple. Where lanes can look a fraction's power up in registers, more bits make
 * the polynomial shorter. The table's entries lack what the fraction adds, shifted, to the
 * mantissa; the fourth of eight is rounded down, which with the polynomial's error is nearer. A
 * NaN's power means nothing, but as it is multiplied by, the NaN stays.
 */
#if defined(MD_ISA_avx512)
#define EXP2_BITS  5
#define EXP2_SHIFT 0x1.8p18f
#elif defined(MD_ISA_avx2)
#define EXP2_BITS  3
#define EXP2_SHIFT 0x1.8p20f
#else
#define EXP2_BITS  0
#define EXP2_SHIFT (ROUNDING_SHIFT + 127.0f) /* leaves n + 127: 2^n by a shift alone */
#endif

INLINE vf exp2_power(vf shifted)
{
    vu power = (vu)shifted << (23 - EXP2_BITS);
#if defined(MD_ISA_avx512)
    const vu low = {0x3f800000, 0x3f7ecd87, 0x3f7daac3, 0x3f7c980f, 0x3f7b95c2, 0x3f7aa43a,
                    0x3f79c3d3, 0x3f78f4f0, 0x3f7837f0, 0x3f778d3a, 0x3f76f532, 0x3f767043,
                    0x3f75fed7, 0x3f75a15b, 0x3f75583f, 0x3f7523f6};
    const vu high = {0x3f7504f3, 0x3f74fbaf, 0x3f7508a4, 0x3f752c4d, 0x3f75672a, 0x3f75b9be,
                     0x3f76248c, 0x3f76a81e, 0x3f7744fd, 0x3f77fbb8, 0x3f78ccdf, 0x3f79b907,
                     0x3f7ac0c7, 0x3f7be4ba, 0x3f7d257d, 0x3f7e83b3};
    power += (vu)_mm512_permutex2var_epi32((__m512i)low, (__m512i)shifted, (__m512i)high);
#elif defined(MD_ISA_avx2)
    const vu table = {0x3f800000, 0x3f7b95c2, 0x3f7837f0, 0x3f75fed6,
                      0x3f7504f3, 0x3f75672a, 0x3f7744fd, 0x3f7ac0c7};
    power += (vu)_mm256_permutevar8x32_epi32((__m256i)table, (__m256i)shifted);
#endif
    return (vf)power;
}

INLINE void exp2_each(vf *x, const int count)
{
    vf shifted[GROUP], p[GROUP];
    EACH(count) shifted[i] = x[i] + EXP2_SHIFT;
    KEEP_TOGETHER(shifted, count);
    EACH(count) x[i] -= shifted[i] - EXP2_SHIFT;
    KEEP_TOGETHER(x, count);
#if EXP2_BITS == 5
    EACH(count) p[i] = x[i] * 0x1.ebfaf4p-3f + 0x1.62e584p-1f;
    KEEP_TOGETHER(p, count);
    HORNER_EACH(p, x, 1.0f, count);
#elif EXP2_BITS == 3
    EACH(count) p[i] = x[i] * 0x1.c6a5a2p-5f + 0x1.ec0f92p-3f;
    HORNER_EACH(p, x, 0x1.62e432p-1f, count);
    HORNER_EACH(p, x, 1.0f, count);
#else
    EACH(count) p[i] = x[i] * 0x1.5c08e4p-10f + 0x1.3d0c52p-7f;
    HORNER_EACH(p, x, 0x1.c6b6e4p-5f, count);
    HORNER_EACH(p, x, 0x1.ebf918p-3f, count);
    HORNER_EACH(p, x, 0x1.62e428p-1f, count);
    HORNER_EACH(p, x, 0x1.000002p+0f, count);
#endif
    EACH(count) x[i] = p[i] * exp2_power(shifted[i]);
    KEEP_TOGETHER(x, count);
}

INLINE vf exp2_bounded(vf x)
{
    exp2_each(&x, 1);
    return x;
}

/* a = vquotient(a, b) */
INLINE void quotient_each(vf *a, vf *b, const int count)
{
#if defined(MD_ISA_avx512)
    vf inverse[GROUP], q[GROUP];
    EACH(count) inverse[i] = (vf)_mm512_rcp14_ps((__m512)b[i]);
    KEEP_TOGETHER(inverse, count);
    EACH(count) q[i] = a[i] * inverse[i];
    KEEP_TOGETHER(q, count);
    EACH(count) a[i] = (vf)_mm512_fnmadd_ps((__m512)q[i], (__m512)b[i], (__m512)a[i]);
    KEEP_TOGETHER(a, count);
    EACH(count) a[i] = q[i] + inverse[i] * a[i];
#else
    EACH(count) a[i] /= b[i];
#endif
}

/* b = 1 / b within two units in the last place, for 2^-126 <= b <= 2^126. */
INLINE void reciprocal_each(vf *b, const int count)
{
#if defined(MD_ISA_avx512)
    vf inverse[GROUP];
    EACH(count) inverse[i] = (vf)_mm512_rcp14_ps((__m512)b[i]);
    KEEP_TOGETHER(inverse, count);
    EACH(count) b[i] = (vf)_mm512_fnmadd_ps((__m512)inverse[i], (__m512)b[i], (__m512)splat(2.0f));
    KEEP_TOGETHER(b, count);
    EACH(count) b[i] *= inverse[i];
#else
    EACH(count) b[i] = 1.0f / b[i];
#endif
}

/*
 * Activations whose input comes multiplied by a constant, which weights take in when they are
 * packed. Their errors are a few 2^-24 of 1, not of the result: next to 0 and in a sigmoid's tail
 * they have fewer digits than vsigmoid() and velu(), as sums of products had before them.
 */
#define GATE_SCALE (-1.4426950408889634) /* sigmoid(x) from x * GATE_SCALE */
#define ELU_SCALE  1.4426950408889634    /* ELU(x) from x * ELU_SCALE */
#define TANH_SCALE 2.8853900817779268    /* tanh(x) from x * TANH_SCALE */

/*
 * e^-x for t = x * GATE_SCALE, e^2x for t = x * TANH_SCALE, at most 2^60: sigmoid(x) = 1 / (1 +
 * e^-x) and tanh(x) = (e^2x - 1) / (e^2x + 1). 2^60 is as good as infinity there, and two of them
 * and more may be multiplied.
 */
INLINE void powers_each(vf *t, const int count)
{
    EACH(count) t[i] = vmin(splat(60.0f), vmax(splat(-126.0f), t[i]));
    exp2_each(t, count);
}

/* value = value * sigmoid(x) for gate = x * GATE_SCALE, which is lost. */
INLINE void gate_each(vf *value, vf *gate, const int count)
{
    powers_each(gate, count);
    EACH(count) gate[i] += 1.0f;
    quotient_each(value, gate, count);
}

/* ELU(x) for t = x * ELU_SCALE. */
INLINE void elu_each(vf *t, const int count)
{
    vf below[GROUP];
    EACH(count) below[i] = vmin(splat(0.0f), vmax(splat(-126.0f), t[i]));
    exp2_each(below, count);
    EACH(count) t[i] = vmax(splat(0.0f), t[i]) * 0.69314718f + (below[i] - 1.0f);
}

/*
 * GELU, x times the normal distribution's share below x. With z = |x| and R(z) = erfc(z / sqrt 2) /
 * 2 e^(z^2 / 2), which is smooth and has no zero, both signs are one formula without cancellation:
 *     max(x, 0) - z e^(-z^2 / 2) R(z)
 * R is a polynomial in u = 1 / (1 + z / 4), a weighted minimax fit of relative error 4.5e-8 (1 +
 * 0.36 z^2): farther out the exponential's argument has been rounded more. Below -12.9 it is 0.
 */
INLINE void gelu_each(vf *x, const int count)
{
    vf z[GROUP], e[GROUP], u[GROUP], p[GROUP];
    EACH(count) z[i] = vmin(splat(12.9f), vabs(x[i]));
    EACH(count) e[i] = z[i] * z[i] * -0.72134752f;
    KEEP_TOGETHER(e, count);
    exp2_each(e, count);
    EACH(count) u[i] = z[i] * 0.25f + 1.0f;
    KEEP_TOGETHER(u, count);
    reciprocal_each(u, count);
    EACH(count) p[i] = u[i] * -0x1.906426p-4f + 0x1.7c36c2p-2f;
    KEEP_TOGETHER(p, count);
    HORNER_EACH(p, u, -0x1.4eb0d2p-2f, count);
    HORNER_EACH(p, u, 0x1.6280c2p-2f, count);
    HORNER_EACH(p, u, -0x1.07f670p-6f, count);
    HORNER_EACH(p, u, 0x1.041c70p-3f, count);
    HORNER_EACH(p, u, 0x1.892946p-4f, count);
    HORNER_EACH(p, u, 0x1.c9a9a6p-13f, count);
    EACH(count) e[i] = e[i] * p[i] * z[i];
    EACH(count) x[i] = choose(x[i] < -12.9f, (vf){0}, vmax(splat(0.0f), x[i]) - e[i]);
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
    return vquotient(splat(1.0f), sigmoid_denominator(x));
}

/* tanh x = t / (t + 2) with t = e^2x - 1; beyond |x| = 9.1 it is 1 to the last bit. */
INLINE vf tanh_numerator(vf x)
{
    return expm1_bounded(vmin(splat(18.2f), vmax(splat(-18.2f), x + x)));
}

INLINE vf vtanh(vf x)
{
    vf t = tanh_numerator(x);
    return vquotient(t, t + 2.0f);
}

/* x where x > 0, alpha (e^x - 1) elsewhere. */
INLINE vf velu(vf x, vf alpha)
{
    vf below = expm1_bounded(vmin(splat(0.0f), vmax(splat(-87.0f), x))) * alpha;
    return choose(x > 0.0f, x, below);
}

/* log(1 + u) for 0 <= u <= 1, by 2 atanh(s), s = u / (2 + u); fit error 5e-9. Squares of what is
 * far too small to matter are left out: numbers below the normal ones take 100 times as long. */
INLINE vf log1p_unit(vf u)
{
    vf s = u / (u + 2.0f), square = choose(u < 1e-8f, (vf){0}, s), z = square * square;
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

/* x sigmoid(factor x); below e^-85 it is 0, whatever x is. */
INLINE vf vswish(vf x, vf factor)
{
    vf inside = x * factor;
    return choose(inside < -85.0f, (vf){0}, x * vsigmoid(inside));
}

/* x tanh(log(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2). */
INLINE vf vmish(vf x)
{
    vf e = exp_bounded(vmin(splat(20.0f), vmax(splat(-85.0f), x)));
    vf n = e * (e + 2.0f);
    return choose(x < -85.0f, (vf){0}, x * (n / (n + 2.0f)));
}

/* erf x = x p(x^2) for |x| <= 1; fit error 1.3e-9. */
INLINE vf erf_near(vf x)
{
    vf z = x * x;
    vf p = z * 0x1.496bf8p-14f + -0x1.a3f7bap-11f;
    p = p * z + 0x1.5405d0p-8f;
    p = p * z + -0x1.b7f912p-6f;
    p = p * z + 0x1.ce2cf8p-4f;
    p = p * z + -0x1.81273ep-2f;
    p = p * z + 0x1.20dd74p+0f;
    return p * x;
}

/* erfc z = u e^(p(u) - z^2) with u = 1 / (1 + z / 2), for 1 <= z; fit error 2.7e-8; 0 from 9.2 on,
 * where float32 ends. */
INLINE vf erfc_far(vf z)
{
    vf held = vmin(splat(9.2f), z), u = 1.0f / (held * 0.5f + 1.0f);
    vf p = u * -0x1.5481f0p-3f + 0x1.6edf7cp-1f;
    p = p * u + -0x1.000928p+0f;
    p = p * u + 0x1.86c424p-2f;
    p = p * u + -0x1.0cca42p-4f;
    p = p * u + 0x1.9c99acp-2f;
    p = p * u + 0x1.fe89ccp-1f;
    p = p * u + -0x1.43f092p+0f;
    vf e = exp_bounded(vmax(splat(-87.0f), p - held * held)) * u;
    return choose(z > 9.2f, (vf){0}, e);
}

INLINE vf verf(vf x)
{
    vf size = vabs(x), far = 1.0f - erfc_far(vmax(splat(1.0f), size));
    return choose(size < 1.0f, erf_near(x), choose(x < 0.0f, -far, far));
}

/* x / 2 (1 + tanh t) = x sigmoid(2 t), t = sqrt(2 / pi) (x + 0.044715 x^3): 2 t / x. */
INLINE vf gelu_tanh_factor(vf x)
{
    return (x * x * 0.044715f + 1.0f) * 1.59576912f;
}

INLINE vf vgelu_tanh(vf x)
{
    vf held = vmin(splat(16.0f), vmax(splat(-16.0f), x));
    return vswish(x, gelu_tanh_factor(held));
}

/* x = 2^k m, m in [sqrt 1/2, sqrt 2): k ln 2 + f - f^2 / 2 + f^3 p(f), f = m - 1; fit error 8e-10.
 */
INLINE vf vlog(vf x)
{
    vi small = x < 0x1p-126f;
    vi bits = (vi)((vu)choose(small, x * 0x1p23f, x) - 0x3f3504f3u); /* wraps for x < 0 */
    vi k = bits >> 23;
    vf m = (vf)((bits & 0x7fffff) + 0x3f3504f3), f = m - 1.0f, ff = f * f;
    vf n = __builtin_convertvector(k, vf) - choose(small, splat(23.0f), (vf){0});
    vf p = f * 0x1.14573ep-4f + -0x1.de3bf8p-4f;
    p = p * f + 0x1.e6f08cp-4f;
    p = p * f + -0x1.fc220ep-4f;
    p = p * f + 0x1.233766p-3f;
    p = p * f + -0x1.555c4ep-3f;
    p = p * f + 0x1.99a4b6p-3f;
    p = p * f + -0x1.000006p-2f;
    p = p * f + 0x1.555548p-2f;
    vf rest = p * (ff * f) + (n * -2.12194440e-4f - ff * 0.5f);
    vf y = n * 0.693359375f + (f + rest);
    y = choose(x == 0.0f, splat(-__builtin_inff()), y);
    y = choose(x < __builtin_inff(), y, x); /* infinity and NaN stay */
    return choose(x < 0.0f, splat(__builtin_nanf("")), y);
}

#endif
