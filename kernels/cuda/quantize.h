/*
 * The launchers of quantize.cu, under the rules of launch.h.
 */
#ifndef MD_KERNELS_CUDA_QUANTIZE_H
#define MD_KERNELS_CUDA_QUANTIZE_H

#include "kernels/cuda/launch.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Scales and zero points: one (count 1); one an index of an axis of `axis` elements, `inner` apart;
 * or one a `block` of it. scales NULL: `scale`; zeros NULL: 0. */
struct md__cuda_levels {
    int64_t count, axis, inner, block;
    float scale;
    const void *scales, *zeros; /* of the floats' storage, of the bytes' */
};
/* to: U8, I8. */
int md__cuda_quantize(md__cuda_stream stream, int storage, int to,
                      const struct md__cuda_levels *levels, const void *x, void *y, int64_t count);
/* from: U8, I8, I32. */
int md__cuda_dequantize(md__cuda_stream stream, int from, int storage,
                        const struct md__cuda_levels *levels, const void *x, void *y,
                        int64_t count);
#define MD__CUDA_RANGES 64
/* ranges: scratch of 2 MD__CUDA_RANGES floats. y, zero: U8; scale: as x. */
int md__cuda_dynamic_quantize(md__cuda_stream stream, int storage, const void *x, int64_t count,
                              float *ranges, void *y, void *scale, void *zero);

struct md__cuda_byte_side {
    bool is_signed;
    int64_t zero_count;        /* 1, or one a row of a, a column of b */
    const void *bytes, *zeros; /* zeros NULL: 0 */
};
/* a [rows, inner] less its zero points by b [inner, columns] less its own: int32 sums (storage I32)
 * or, in a float storage, these times a_scale [1] and b_scale, plus bias [columns] or NULL. */
struct md__cuda_byte_product {
    int storage;
    int64_t rows, inner, columns, b_scale_count;
    struct md__cuda_byte_side a, b;
    const void *a_scale, *b_scale, *bias;
    void *y;
};
int md__cuda_byte_product(md__cuda_stream stream, const struct md__cuda_byte_product *product);

/*
 * y = x [rows, inner] b + bias, b [inner, columns] in 2, 4 or 8 bits: of each column blocks of
 * `block` numbers, each with a scale, packed from the lowest bits on. Zero points: none (zeros
 * NULL: the middle), packed likewise, a column's in bytes of its own, or of the storage.
 */
struct md__cuda_packed_product {
    int storage, bits;
    bool packed_zeros;
    int64_t rows, inner, columns, block;
    const uint8_t *packed;
    const void *x, *scales, *zeros, *bias;
    void *y;
};
int md__cuda_packed_product(md__cuda_stream stream, const struct md__cuda_packed_product *product);

#ifdef __cplusplus
}
#endif
#endif
