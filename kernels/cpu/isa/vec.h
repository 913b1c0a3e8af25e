/*
 * Vectors of floats with GCC's vector extensions: what the kernels in this folder are written in.
 *
 * The folder is compiled once per instruction set (base/isa/isa.h); VL is the lanes of a vector
 * there. Only what the extensions cannot say (minimum, masked tails) uses intrinsics.
 */
#ifndef MD_KERNELS_CPU_ISA_VEC_H
#define MD_KERNELS_CPU_ISA_VEC_H

#include <stdint.h>
#include <string.h>

#include "base/isa/isa.h"
#include "kernels/cpu/common.h"

#define VL (VECTOR_BYTES / 4)

typedef float vf __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef int32_t vi __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef uint32_t vu __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef float vf_anywhere __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

/* Vectors, and floats after padding, that hold n floats. */
INLINE size_t vectors_of(size_t n)
{
    return (n + VL - 1) / VL;
}

INLINE size_t padded(size_t n)
{
    return vectors_of(n) * VL;
}

INLINE vf load(const float *p)
{
    return *(const vf_anywhere *)p;
}

INLINE void store(float *p, vf v)
{
    *(vf_anywhere *)p = v;
}

INLINE vf splat(float x)
{
    return x - (vf){0};
}

/* The first n < VL lanes; the others read as 0 and are not written. */
INLINE vf load_some(const float *p, size_t n)
{
#if defined(MD_ISA_avx512)
    return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
    vf v = {0};
    memcpy(&v, p, n * sizeof *p);
    return v;
#endif
}

INLINE void store_some(float *p, vf v, size_t n)
{
#if defined(MD_ISA_avx512)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#else
    memcpy(p, &v, n * sizeof *p);
#endif
}

/* The vector at p of `left` floats that there are, at least one. */
INLINE vf load_upto(const float *p, size_t left)
{
    return left >= VL ? load(p) : load_some(p, left);
}

INLINE void store_upto(float *p, vf v, size_t left)
{
    if (left >= VL)
        store(p, v);
    else
        store_some(p, v, left);
}

/* Of min and max, a NaN in the second operand comes through. */
INLINE vf vmin(vf a, vf b)
{
#if defined(MD_ISA_avx512)
    return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(MD_ISA_avx2)
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (vf)_mm_min_ps((__m128)a, (__m128)b);
#else
    vi less = a < b;
    return (vf)(((vi)a & less) | ((vi)b & ~less));
#endif
}

INLINE vf vmax(vf a, vf b)
{
#if defined(MD_ISA_avx512)
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(MD_ISA_avx2)
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (vf)_mm_max_ps((__m128)a, (__m128)b);
#else
    vi more = a > b;
    return (vf)(((vi)a & more) | ((vi)b & ~more));
#endif
}

INLINE vf vsqrt(vf x)
{
#if defined(MD_ISA_avx512)
    return (vf)_mm512_sqrt_ps((__m512)x);
#elif defined(MD_ISA_avx2)
    return (vf)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE2__)
    return (vf)_mm_sqrt_ps((__m128)x);
#else
    for (int lane = 0; lane < VL; lane++)
        x[lane] = __builtin_sqrtf(x[lane]);
    return x;
#endif
}

/*
 * a / b within one unit in the last place, for a finite and b from 2^-126 up; infinity divides as
 * 2^125 does. A 512-bit division keeps its unit busy for 16 cycles, an estimate with a correction
 * by the remainder takes four instructions; narrower divisions are quick enough.
 */
INLINE vf vquotient(vf a, vf b)
{
#if defined(MD_ISA_avx512)
    b = vmin(splat(0x1p125f), b);
    vf inverse = (vf)_mm512_rcp14_ps((__m512)b), q = a * inverse;
    /* The remainder must not be rounded twice, whatever the compiler contracts. */
    vf remainder = (vf)_mm512_fnmadd_ps((__m512)q, (__m512)b, (__m512)a);
    return (vf)_mm512_fmadd_ps((__m512)inverse, (__m512)remainder, (__m512)q);
#else
    return a / b;
#endif
}

/* 1 / sqrt(x) within two units in the last place, for normal x > 0. */
INLINE vf vrsqrt(vf x)
{
#if defined(MD_ISA_avx512)
    vf y = (vf)_mm512_rsqrt14_ps((__m512)x);
    return y + y * 0.5f * (1.0f - x * y * y);
#else
    return 1.0f / vsqrt(x);
#endif
}

/* mask lanes are all ones or all zeros, as comparisons make them. */
INLINE vf choose(vi mask, vf a, vf b)
{
    return (vf)(((vi)a & mask) | ((vi)b & ~mask));
}

/* Whether a lane of the mask is set. */
INLINE bool any(vi mask)
{
#if defined(MD_ISA_avx512)
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(MD_ISA_avx2)
    return _mm256_movemask_ps((__m256)mask) != 0;
#elif defined(__SSE2__)
    return _mm_movemask_ps((__m128)mask) != 0;
#else
    int32_t found = 0;
    for (int lane = 0; lane < VL; lane++)
        found |= mask[lane];
    return found != 0;
#endif
}

/* Ones in lanes below n, zeros elsewhere, as a mask. */
INLINE vi lanes_below(size_t n)
{
    vi index;
    for (int lane = 0; lane < VL; lane++)
        index[lane] = lane;
    return index < (int32_t)n;
}

INLINE vf vabs(vf x)
{
    return (vf)((vi)x & 0x7fffffff);
}

INLINE float horizontal_sum(vf v)
{
#if defined(MD_ISA_avx512)
    return _mm512_reduce_add_ps((__m512)v);
#else
    float sum = 0;
    for (int i = 0; i < VL / 2; i++)
        sum += v[i] + v[i + VL / 2];
    return sum;
#endif
}

INLINE float horizontal_max(vf v)
{
#if defined(MD_ISA_avx512)
    return _mm512_reduce_max_ps((__m512)v);
#else
    float max = v[0];
    for (int i = 1; i < VL; i++)
        max = v[i] > max ? v[i] : max;
    return max;
#endif
}

#endif
