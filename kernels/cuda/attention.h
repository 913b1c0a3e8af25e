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
/* What `key_mask`, int32, says of keys as com.microsoft has it; the score of one that it hides gets
 * `filter` added. */
enum md__cuda_key_mask {
    MD__CUDA_KEYS_ALL,
    MD__CUDA_KEYS_BEFORE,  /* [batch]: of these the first */
    MD__CUDA_KEYS_BETWEEN, /* [2, batch]: where they end, then where they begin */
    MD__CUDA_KEYS_EACH,    /* [batch, keys]: not 0 */
    MD__CUDA_KEYS_PAIRS    /* [batch, queries, keys] */
};

/*
 * v_width at most 256. mask (bool: true is seen; or float storage, added) may be NULL; keys from
 * mask_keys on are hidden. The first query's own place is key `past`; or, with lengths [batch] of
 * valid keys, each lengths_more larger, the last query's is the last of them. left, right: keys
 * seen before and behind a query's own place; -1: all.
 */
struct md__cuda_attention {
    int storage;
    bool mask_is_bool, lengths_are_wide;
    int64_t batch, heads, kv_heads, queries, keys, width, v_width;
    struct md__cuda_heads q_at, k_at, v_at, y_at;
    int64_t mask_stride[4], mask_keys, left, right, past, lengths_more;
    float scale, softcap, filter; /* softcap 0: none */
    enum md__cuda_key_mask key_mask_kind;
    const void *q, *k, *v, *mask, *lengths;
    const int32_t *key_mask;
    void *y;
};
int md__cuda_attention(md__cuda_stream stream, const struct md__cuda_attention *attention);

/* rotary.cu: tables [positions, half]; ids [batch, steps] (NULL: the tables have a row for each of
 * them), or the first step's alone; numbers of a head from 2 half on stay. */
struct md__cuda_rotary {
    int storage;
    bool interleaved, ids_are_wide, ids_are_first;
    int64_t batch, heads, steps, width, half, positions;
    struct md__cuda_heads at; /* of x and y */
    const void *x, *cosine, *sine, *ids;
    void *y;
};
int md__cuda_rotary(md__cuda_stream stream, const struct md__cuda_rotary *rotary);

/*
 * y [batch, heads, room, width]: old ones [batch, heads, old_room, width], new ones [batch, heads,
 * steps, width] at x_at behind them, rotated (half 0: not) by the row of their place, then zeros.
 * last [batch] is the place of each element's last new one. fresh: y has the new ones alone, and
 * room is steps.
 */
struct md__cuda_cache {
    int storage;
    bool interleaved, fresh;
    int64_t batch, heads, room, old_room, steps, width, half, positions;
    struct md__cuda_heads x_at;
    const void *x, *old, *cosine, *sine;
    const int32_t *last;
    void *y;
};
int md__cuda_extend_cache(md__cuda_stream stream, const struct md__cuda_cache *cache);

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
