/*
 * The launchers of attention.cu and rotary.cu, under the rules of launch.h.
 */
#ifndef MD_KERNELS_CUDA_ATTENTION_H
#define MD_KERNELS_CUDA_ATTENTION_H

#include "kernels/cuda/launch.h"

#ifdef __cplusplus
extern "C" {
#endif

struct md__cuda_heads {
    int64_t batch, head, step; /* element strides; a head's numbers follow each other */
};
/* v_width at most 256. mask (bool: true is seen; or float storage, added) may be NULL; keys from
 * mask_keys on are hidden. left, right: keys seen before and behind a query's own place; -1: all.
 */
struct md__cuda_attention {
    int storage;
    bool mask_is_bool;
    int64_t batch, heads, kv_heads, queries, keys, width, v_width;
    struct md__cuda_heads q_at, k_at, v_at, y_at;
    int64_t mask_stride[4], mask_keys, left, right;
    float scale, softcap; /* softcap 0: none */
    const void *q, *k, *v, *mask;
    void *y;
};
int md__cuda_attention(md__cuda_stream stream, const struct md__cuda_attention *attention);

/* rotary.cu: tables [positions, half]; ids [batch, steps] (NULL: the tables have a row for each of
 * them); numbers of a head from 2 half on stay. */
struct md__cuda_rotary {
    int storage;
    bool interleaved, ids_are_wide;
    int64_t batch, heads, steps, width, half, positions;
    struct md__cuda_heads at; /* of x and y */
    const void *x, *cosine, *sine, *ids;
    void *y;
};
int md__cuda_rotary(md__cuda_stream stream, const struct md__cuda_rotary *rotary);

/* moondial.InterpretableAttention: 4 heads * keys bytes of shared memory. */
struct md__cuda_shared_attention {
    int storage;
    bool causal;
    int64_t batch, queries, keys, heads, size, v_width, mask_batch, mask_query;
    float scale, mask_bias;
    const void *q, *k, *v;
    const uint8_t *mask; /* NULL: none */
    void *y;
};
int md__cuda_shared_attention(md__cuda_stream stream,
                              const struct md__cuda_shared_attention *attention);

#ifdef __cplusplus
}
#endif
#endif
