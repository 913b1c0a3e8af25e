/*
 * Products of bytes with exact int32 sums: what MatMulInteger, QLinearMatMul, QLinearConv and the
 * like are made of.
 *
 * A *place* is a row of a product or a pixel of a convolution; its terms are `runs` runs of `run`
 * neighbouring bytes. A run is cut into `chunks` equal chunks of at most 64 bytes, a multiple of 4;
 * what the last one has too much meets weights of zero, but is read: so whoever lays x out leaves
 * that much room. Weights are packed [panel of 16 columns][run][byte / 4][column][4], which is what
 * all three ways of summing want (int8_sums.c): widening to 16 bits, VNNI's dot product of four
 * bytes, AMX's tiles.
 *
 * Weights are int8 here and x is uint8; the other signs are theirs with the highest bit flipped,
 * which shifts the zero point by 128. With zero points a and b of x and w, sum((x - a)(w - b)) is
 * sum(x w) - a sum(w) - b sum(x) + n a b: the second and the last go into the number that a column
 * starts from, the third is only computed where some b is not 0. Sums wrap, as the standard's do.
 *
 * The instruction is not a fourth instruction set for the whole folder to be compiled for: it
 * concerns one loop, so that one has variants, and the processor's report chooses at start.
 */
#ifndef MD_KERNELS_CPU_ISA_INT8_H
#define MD_KERNELS_CPU_ISA_INT8_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa/vec.h"

#define PANEL_COLUMNS 16
#define BLOCK_PANELS  2
#define BLOCK_COLUMNS (PANEL_COLUMNS * BLOCK_PANELS)
#define BLOCK_PLACES  32
#define CHUNK_MAX     64

/* ---- packed weights: flat, a header before them ---- */

struct byte_terms {
    size_t runs, run, chunks, chunk;
};

struct byte_weights {
    struct byte_terms terms;
    size_t columns, panels, panel_bytes;
    bool has_zeros; /* some zero point is not 0 */
    /* int32 sums[panels * 16], int32 zeros[panels * 16], then the panels */
} __attribute__((aligned(64)));

/* Element i of run r of a column lies at column * by_column + r * by_run + i / inner * by_outer +
 * i % inner * by_inner. */
struct byte_source {
    const uint8_t *bytes;
    bool is_signed;
    const uint8_t *zeros; /* NULL, one, or one a column */
    size_t zero_count;
    size_t by_column, by_run, inner, by_outer, by_inner;
};

#define byte_terms_of      MD_ISA_SYMBOL(md__byte_terms_of)
#define byte_weights_bytes MD_ISA_SYMBOL(md__byte_weights_bytes)
#define byte_weights_pack  MD_ISA_SYMBOL(md__byte_weights_pack)
#define byte_start         MD_ISA_SYMBOL(md__byte_start)
#define byte_multiply      MD_ISA_SYMBOL(md__byte_multiply)
#define byte_summing       MD_ISA_SYMBOL(md__byte_summing)
#define byte_store         MD_ISA_SYMBOL(md__byte_store)

struct byte_terms byte_terms_of(size_t runs, size_t run);
/* Bytes of a run with what its last chunk has too much. */
INLINE size_t padded_run(const struct byte_terms *terms)
{
    return terms->chunks * terms->chunk;
}

/* Columns rounded up to whole panels. */
INLINE size_t byte_padded(size_t columns)
{
    return (columns + PANEL_COLUMNS - 1) / PANEL_COLUMNS * PANEL_COLUMNS;
}

INLINE int32_t *byte_column_sums(const struct byte_weights *weights)
{
    return (int32_t *)(uintptr_t)(weights + 1);
}

INLINE int32_t *byte_zeros(const struct byte_weights *weights)
{
    return byte_column_sums(weights) + weights->panels * PANEL_COLUMNS;
}

INLINE int8_t *byte_panels(const struct byte_weights *weights)
{
    return (int8_t *)(byte_zeros(weights) + weights->panels * PANEL_COLUMNS);
}

/* A multiple of 64. */
size_t byte_weights_bytes(const struct byte_terms *terms, size_t columns);
/* Into memory that is zeros. */
void byte_weights_pack(const struct byte_source *source, const struct byte_terms *terms,
                       size_t columns, struct byte_weights *weights);

/* ---- inputs ---- */

/* Input i, or NULL when it is absent or the operator has none in that role (-1). */
INLINE const struct md_tensor *byte_role(const struct md_tensor *in, int in_count, int i)
{
    return i >= 0 && md__has(in, in_count, i) ? &in[i] : NULL;
}

/* Number i of one each column, or the only one. */
INLINE float byte_number(const struct md_tensor *tensor, size_t i)
{
    return ((const float *)tensor->data)[md__count(tensor) > 1 ? i : 0];
}

/* ---- sums ---- */

struct byte_block {
    const uint8_t *x;   /* the first place */
    const size_t *runs; /* of each run: bytes from a place to it; NULL: the only one, 0 */
    size_t place;       /* bytes from a place to the next */
    bool is_signed;     /* x */
    const struct byte_weights *weights;
    size_t panel;  /* the first */
    int32_t *sums; /* [places][BLOCK_COLUMNS], aligned to 64 */
};

/* What a thread keeps between blocks: zeros at first, ended by `end` when that is there. */
struct byte_state {
    size_t places, chunk;
};

struct byte_summing {
    void (*sum)(const struct byte_block *block, size_t places, size_t panels,
                struct byte_state *state);
    void (*end)(struct byte_state *state);
    bool dots;         /* dot_bytes() may be used */
    bool takes_signed; /* adds int8 x as they are; otherwise their highest bit is flipped */
};
const struct byte_summing *byte_summing(void);

/* ---- results ---- */

struct byte_result {
    enum md_dtype dtype;  /* of y: int32, float32, uint8, int8 */
    const int32_t *start; /* of each column (byte_start) */
    const float *scale;   /* of each column; int32: none */
    const float *bias;    /* float32: added last; may be NULL */
    float low, high;      /* bytes: bounds of what is rounded, before the zero point is added */
    int32_t zero;         /* bytes */
    void *y;
};

struct byte_product {
    const struct byte_weights *weights;
    const uint8_t *x;
    const size_t *runs;
    size_t place;
    bool is_signed;
    const struct byte_result *result;
};

#define BYTE_SKIPPED SIZE_MAX

/* start[panels * 16] = what a column's sum begins with: bias and corrections. x_zero is x's as it
 * is stored, bias may be NULL. */
void byte_start(const struct byte_weights *weights, bool is_signed, int32_t x_zero,
                const int32_t *bias, int32_t *start);

/*
 * Places [0, places), of which place i's results go to element at[i] of y on (BYTE_SKIPPED:
 * nowhere), for panels [begin, end). At most BLOCK_PLACES places.
 */
void byte_multiply(const struct byte_product *product, const size_t *at, size_t places,
                   size_t begin, size_t end, struct byte_state *state);
/* The part after the sums: those of panels [panel, panel + panels). */
void byte_store(const struct byte_product *product, const int32_t *sums, const size_t *at,
                size_t places, size_t panel, size_t panels);

/* Bounds and zero point for results of a byte dtype. */
INLINE void byte_result_range(struct byte_result *result, enum md_dtype dtype, int32_t zero)
{
    result->dtype = dtype;
    result->zero = zero;
    result->low = (float)((dtype == MD_I8 ? -128 : 0) - zero);
    result->high = (float)((dtype == MD_I8 ? 127 : 255) - zero);
}

/* ---- vectors of integers and floats ---- */

typedef int32_t vi_anywhere __attribute__((vector_size(4 * VL), aligned(4), may_alias));

INLINE vi vi_load(const int32_t *p)
{
    return *(const vi_anywhere *)p;
}

INLINE vi vi_splat(int32_t x)
{
    return x - (vi){0};
}

INLINE vf vi_to_float(vi v)
{
    return __builtin_convertvector(v, vf);
}

/* To the nearest integer, ties to even, for |v| < 2^22. */
INLINE vi vf_round(vf v)
{
    return (vi)(v + 0x1.8p23f) - 0x4b400000;
}

/* sum + x w over the four bytes of each lane, x unsigned, w signed: one instruction of VNNI. */
INLINE vi dot_bytes(vi sum, vi x, vi w)
{
#if defined(MD_ISA_avx512)
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
#elif defined(MD_ISA_avx2)
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(x), "x"(w));
#else
    sum += x * w; /* never chosen */
#endif
    return sum;
}

/* Products of the 16-bit halves of each lane, added up. */
INLINE vi multiply_pairs(vi a, vi b)
{
#if defined(MD_ISA_avx512)
    return (vi)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(MD_ISA_avx2)
    return (vi)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (vi)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    return (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16);
#endif
}

/* Stores the low bytes of the first n lanes. */
INLINE void store_bytes(void *p, vi v, size_t n)
{
#if defined(MD_ISA_avx512)
    __mmask16 mask = (__mmask16)(n >= VL ? 0xffff : (1u << n) - 1);
    _mm512_mask_cvtepi32_storeu_epi8(p, mask, (__m512i)v);
#else
    typedef uint8_t bytes __attribute__((vector_size(VL), may_alias));
    bytes narrow = __builtin_convertvector(v & 0xff, bytes);
    memcpy(p, &narrow, n >= VL ? VL : n);
#endif
}

/* Widens VL bytes, or the first n < VL of them. */
INLINE vi load_bytes(const void *p, size_t n, bool is_signed)
{
#if defined(MD_ISA_avx512)
    __mmask16 mask = (__mmask16)(n >= VL ? 0xffff : (1u << n) - 1);
    __m128i narrow = _mm_maskz_loadu_epi8(mask, p);
    return is_signed ? (vi)_mm512_cvtepi8_epi32(narrow) : (vi)_mm512_cvtepu8_epi32(narrow);
#else
    typedef uint8_t bytes __attribute__((vector_size(VL), may_alias));
    typedef int8_t signed_bytes __attribute__((vector_size(VL), may_alias));
    bytes narrow = {0};
    memcpy(&narrow, p, n >= VL ? VL : n);
    return is_signed ? __builtin_convertvector((signed_bytes)narrow, vi)
                     : __builtin_convertvector(narrow, vi);
#endif
}

/* ---- what becomes of sums ---- */

/* Sums of `lanes` columns (VL or more: VL) from `column` on become elements of y from `at` on. */
INLINE void byte_store_vector(const struct byte_result *result, size_t at, size_t column, vi sum,
                              size_t lanes, const enum md_dtype dtype)
{
    if (dtype == MD_I32) {
        int32_t *y = (int32_t *)result->y + at;
        if (lanes >= VL)
            *(vi_anywhere *)y = sum;
        else
            memcpy(y, &sum, lanes * sizeof *y);
        return;
    }
    bool whole = lanes >= VL;
    const float *factors = result->scale + column;
    vf value = vi_to_float(sum) * (whole ? load(factors) : load_some(factors, lanes));
    if (dtype == MD_F32) {
        const float *bias = result->bias ? result->bias + column : NULL;
        float *y = (float *)result->y + at;
        if (bias)
            value += whole ? load(bias) : load_some(bias, lanes);
        if (whole)
            store(y, value);
        else
            store_some(y, value, lanes);
        return;
    }
    value = vmin(vmax(value, splat(result->low)), splat(result->high));
    store_bytes((uint8_t *)result->y + at, vf_round(value) + result->zero, lanes);
}

#endif
