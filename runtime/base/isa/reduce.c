/*
 * Folds: values of several runs at a time join what is known of each, a run a lane; see
 * base/reduce.h. No lane depends on another, and no sum on where a piece ends.
 */
#include <math.h>
#include <stdint.h>

#include "base/isa/isa.h"
#include "base/isa/vectors.h"

#define LANES (VECTOR_BYTES / 4)
#define WIDE  (LANES / 2)

typedef float floats __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef int32_t ints __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef float halves __attribute__((vector_size(VECTOR_BYTES / 2), may_alias));
typedef double doubles __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef int64_t longs __attribute__((vector_size(VECTOR_BYTES), may_alias));

/* ---- values of several runs ------------------------------------------------------------------ */

/* Lanes behind the last run are zero. */
INLINE floats load_floats(const float *from, ptrdiff_t runs, ptrdiff_t run_stride)
{
    floats x = {0};
#if defined(MD_ISA_avx512)
    if (run_stride == 1)
        return _mm512_maskz_loadu_ps((__mmask16)(runs < LANES ? (1 << runs) - 1 : -1), from);
#elif defined(MD_ISA_avx2)
    if (run_stride == 1 && runs >= LANES)
        return _mm256_loadu_ps(from);
#endif
    for (ptrdiff_t run = 0; run < LANES && run < runs; run++)
        x[run] = from[run * run_stride];
    return x;
}

#if defined(MD_ISA_avx512)
INLINE doubles load_doubles(const float *from, ptrdiff_t runs, ptrdiff_t run_stride)
{
    __mmask8 there = (__mmask8)(runs < WIDE ? (1 << runs) - 1 : -1);
    longs places = (longs){0, 1, 2, 3, 4, 5, 6, 7} * run_stride;
    if (run_stride == 1)
        return _mm512_cvtps_pd(_mm256_maskz_loadu_ps(there, from));
    return _mm512_cvtps_pd(
        _mm512_mask_i64gather_ps(_mm256_setzero_ps(), there, (__m512i)places, from, sizeof *from));
}
#else
INLINE doubles load_doubles(const float *from, ptrdiff_t runs, ptrdiff_t run_stride)
{
    halves x = {0};
#if defined(MD_ISA_avx2)
    if (run_stride == 1 && runs >= WIDE)
        return _mm256_cvtps_pd(_mm_loadu_ps(from));
#endif
    for (ptrdiff_t run = 0; run < WIDE && run < runs; run++)
        x[run] = from[run * run_stride];
    return __builtin_convertvector(x, doubles);
}
#endif

/* ---- sums ------------------------------------------------------------------------------------ */

/* x where the mask is set, else 0. */
INLINE doubles only(longs mask, doubles x)
{
    return (doubles)((longs)x & mask);
}

#define ONES ((doubles){0} + 1.0)

INLINE void join_values(doubles *sums, doubles x, double at, double option)
{
    (void)at, (void)option;
    sums[MD__FOLD_RESULT] += only(x == x, x);
    sums[MD__FOLD_MISSING] += only(x != x, ONES);
}

/* What is worked out of x is not joined with what x was worked out of. */
#if defined(__x86_64__)
#define APART(x) __asm__("" : "+x"(x))
#else
#define APART(x) __asm__("" : "+m"(x))
#endif

INLINE void join_squares(doubles *sums, doubles x, double at, double option)
{
    (void)at, (void)option;
    doubles apart = x - sums[MD__FOLD_MEAN], square = apart * apart;
    APART(square); /* two roundings on every processor */
    sums[MD__FOLD_RESULT] += only(square == square, square);
}

INLINE void join_last(doubles *sums, doubles x, double at, double option)
{
    (void)at, (void)option;
    longs missing = x != x;
    sums[MD__FOLD_RESULT] =
        (doubles)((longs)only(~missing, x) | (longs)only(missing, sums[MD__FOLD_RESULT]));
    sums[MD__FOLD_MISSING] += only(missing, ONES);
}

/* Products of a position and a float32 are exact: fused or not, they are added alike. */
INLINE void join_line(doubles *sums, doubles x, double at, double option)
{
    (void)option;
    doubles known = only(x == x, x), place = only(x == x, ONES) * at;
    sums[MD__FOLD_RESULT] += known;
    sums[MD__FOLD_MISSING] += only(x != x, ONES);
    sums[MD__FOLD_X] += place;
    sums[MD__FOLD_XX] += place * at;
    sums[MD__FOLD_XY] += known * at;
}

INLINE void join_finite(doubles *sums, doubles x, double at, double option)
{
    (void)at, (void)option;
    sums[MD__FOLD_RESULT] += only(x - x == 0, ONES);
}

INLINE void join_first(doubles *sums, doubles x, double at, double option)
{
    longs is_first = (x >= option) & (sums[MD__FOLD_RESULT] == 0);
    sums[MD__FOLD_RESULT] += only(is_first, ONES * (at + 1));
}

typedef void (*join_body)(doubles *sums, doubles x, double at, double option);

/* Lanes behind the last run join, too: there is room for them, and nobody looks. */
INLINE void fold_sums(struct md_reducing *reducing, const struct md_runs *values, join_body join)
{
    double at = (double)reducing->count, option = reducing->what.option;
    for (ptrdiff_t run = 0; run < values->runs; run += WIDE) {
        const float *from = values->data + run * values->run_stride;
        ptrdiff_t left = values->runs - run;
        doubles sums[MD_REDUCE_SUMS];
        for (int k = 0; k < MD_REDUCE_SUMS; k++)
            sums[k] = *(doubles *)&reducing->sums[k][run];
        for (ptrdiff_t i = 0; i < values->count; i++)
            join(sums, load_doubles(from + i * values->stride, left, values->run_stride),
                 at + (double)i, option);
        for (int k = 0; k < MD_REDUCE_SUMS; k++)
            *(doubles *)&reducing->sums[k][run] = sums[k];
    }
}

#define FOLD_SUMS(name)                                                                            \
    static void fold_##name(struct md_reducing *reducing, const struct md_runs *values)            \
    {                                                                                              \
        fold_sums(reducing, values, join_##name);                                                  \
    }
FOLD_SUMS(values)
FOLD_SUMS(squares)
FOLD_SUMS(last)
FOLD_SUMS(line)
FOLD_SUMS(finite)
FOLD_SUMS(first)

/* ---- extremes -------------------------------------------------------------------------------- */

INLINE floats larger(floats x, floats best)
{
#if defined(MD_ISA_avx512)
    return _mm512_max_ps(x, best);
#elif defined(MD_ISA_avx2)
    return _mm256_max_ps(x, best);
#else
    ints first = x > best;
    return (floats)(((ints)x & first) | ((ints)best & ~first));
#endif
}

/* sign 1: the largest, -1: the smallest. NaN is never larger. */
INLINE void fold_lanes(struct md_reducing *reducing, const struct md_runs *values, float sign)
{
    for (ptrdiff_t run = 0; run < values->runs; run += LANES) {
        const float *from = values->data + run * values->run_stride;
        ptrdiff_t left = values->runs - run;
        floats best = sign * *(floats *)&reducing->extreme.best[run];
        ints missing = *(ints *)&reducing->extreme.missing[run];
        for (ptrdiff_t i = 0; i < values->count; i++) {
            floats x = load_floats(from + i * values->stride, left, values->run_stride);
            best = larger(sign * x, best);
            missing -= x != x;
        }
        *(floats *)&reducing->extreme.best[run] = sign * best;
        *(ints *)&reducing->extreme.missing[run] = missing;
    }
}

/* A run without gaps has vectors of its own, unless a value is missing. */
INLINE void fold_rows(struct md_reducing *reducing, const struct md_runs *values, float sign)
{
    for (ptrdiff_t run = 0; run < values->runs; run++) {
        const float *row = values->data + run * values->run_stride;
        float *best = &reducing->extreme.best[run];
        float all = MD_ISA_SYMBOL(md__vector_extreme)(row, values->count, sign);
        if (sign * all > sign * *best)
            *best = all;
        for (ptrdiff_t i = 0; isnan(all) && i < values->count; i++) {
            *best = sign * row[i] > sign * *best ? row[i] : *best;
            reducing->extreme.missing[run] += isnan(row[i]) != 0;
        }
    }
}

INLINE void fold_extremes(struct md_reducing *reducing, const struct md_runs *values, float sign)
{
    if (values->stride == 1 && values->run_stride != 1 && values->count >= LANES)
        fold_rows(reducing, values, sign);
    else
        fold_lanes(reducing, values, sign);
}

static void fold_largest(struct md_reducing *reducing, const struct md_runs *values)
{
    fold_extremes(reducing, values, 1);
}

static void fold_smallest(struct md_reducing *reducing, const struct md_runs *values)
{
    fold_extremes(reducing, values, -1);
}

const md__fold_body MD_ISA_SYMBOL(md__folds)[MD__FOLD_COUNT] = {
    [MD__FOLD_VALUES] = fold_values,   [MD__FOLD_SQUARES] = fold_squares,
    [MD__FOLD_LAST] = fold_last,       [MD__FOLD_LINE] = fold_line,
    [MD__FOLD_FINITE] = fold_finite,   [MD__FOLD_FIRST] = fold_first,
    [MD__FOLD_LARGEST] = fold_largest, [MD__FOLD_SMALLEST] = fold_smallest,
};
