/*
 * Columns that lie side by side, step by step; see base/vectors.h.
 *
 * A piece of as many columns as a vector has lanes goes through all steps: what is known of each
 * column stays in registers. Steps are read again for the next piece, from the cache.
 */
#include <stdint.h>
#include <string.h>

#include "base/isa/isa.h"
#include "base/isa/vectors.h"

#define LANES (VECTOR_BYTES / 4)

typedef float floats __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef int32_t ints __attribute__((vector_size(VECTOR_BYTES), may_alias));

/* The lanes that stand for columns. */
struct lanes {
    int count;
#if defined(MD_ISA_avx512)
    __mmask16 mask;
#elif defined(MD_ISA_avx2)
    __m256i mask;
#endif
};

INLINE struct lanes lanes_of(int count)
{
    struct lanes lanes = {.count = count};
#if defined(MD_ISA_avx512)
    lanes.mask = (__mmask16)((1U << count) - 1);
#elif defined(MD_ISA_avx2)
    lanes.mask = (__m256i)((ints){0, 1, 2, 3, 4, 5, 6, 7} < count);
#endif
    return lanes;
}

/* Lanes behind the last column are zero. */
INLINE floats load(const float *from, struct lanes lanes)
{
#if defined(MD_ISA_avx512)
    return _mm512_maskz_loadu_ps(lanes.mask, from);
#elif defined(MD_ISA_avx2)
    return _mm256_maskload_ps(from, lanes.mask);
#else
    floats x = {0};
    if (lanes.count == LANES)
        memcpy(&x, from, sizeof x);
    for (int lane = 0; lane < lanes.count && lanes.count < LANES; lane++)
        x[lane] = from[lane];
    return x;
#endif
}

INLINE void store(float *to, floats x, struct lanes lanes)
{
#if defined(MD_ISA_avx512)
    _mm512_mask_storeu_ps(to, lanes.mask, x);
#elif defined(MD_ISA_avx2)
    _mm256_maskstore_ps(to, lanes.mask, x);
#else
    if (lanes.count == LANES)
        memcpy(to, &x, sizeof x);
    for (int lane = 0; lane < lanes.count && lanes.count < LANES; lane++)
        to[lane] = x[lane];
#endif
}

/* x, but `instead` where it is missing. */
INLINE floats known_of(floats x, floats instead)
{
    ints missing = x != x;
    return (floats)(((ints)instead & missing) | ((ints)x & ~missing));
}

INLINE void fill_piece(const struct md_beside *beside, int first, struct lanes lanes, float *out,
                       bool forward)
{
    const float *from = beside->from + first;
    floats last = load(beside->last + first, lanes), sub = load(beside->sub + first, lanes);
    floats div = load(beside->div + first, lanes), absent = load(beside->absent + first, lanes);
    out += first;
    for (int64_t step = 0; step < beside->steps; step++, from += beside->step_stride) {
        floats x = known_of(load(from, lanes), last);
        if (forward)
            last = x;
        if (step < beside->skip)
            continue;
        store(out, known_of((x - sub) / div, absent), lanes);
        out += beside->out_stride;
    }
}

void MD_ISA_SYMBOL(md__beside)(const struct md_beside *beside, float *out)
{
    for (int first = 0; first < beside->count; first += LANES) {
        struct lanes lanes =
            lanes_of(beside->count - first < LANES ? beside->count - first : LANES);
        if (beside->forward)
            fill_piece(beside, first, lanes, out, true);
        else
            fill_piece(beside, first, lanes, out, false);
    }
}
