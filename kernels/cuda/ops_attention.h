/*
 * What nodes of attention have in common: heads in tensors of either layout, and caches in front of
 * keys and values.
 */
#ifndef MD_KERNELS_CUDA_OPS_ATTENTION_H
#define MD_KERNELS_CUDA_OPS_ATTENTION_H

#include "kernels/cuda/attention.h"
#include "kernels/cuda/ops.h"

#define MD__HEAD_WIDTH_MAX 256 /* of values, in attention.cu */

/* Queries, keys or values. */
struct md__side {
    const void *data;
    int64_t heads, steps, width;
    struct md__cuda_heads at;
    const void *past; /* [batch, heads, past_steps, width] before them */
    int64_t past_steps;
    void *joined; /* where both go, one behind the other; NULL: there is nothing before */
};

/* [batch, heads, steps, width], or [batch, steps, heads * width]. */
struct md__side md__side_of(const struct md_device_value *value, int64_t heads);
/* Columns from `first` on of rows [batch, steps, columns] of `storage`. */
struct md__side md__side_columns(const void *rows, enum md_dtype storage, int64_t steps,
                                 int64_t columns, int64_t first, int64_t heads, int64_t width);
/* Bytes of what joined points to, a multiple of 256. */
size_t md__side_bytes(const struct md__side *side, int64_t batch, enum md_dtype storage);
/* Puts past and new ones together; the side is then all of them. */
enum md_status md__side_join(const struct md_device_call *call, struct md__side *side,
                             int64_t batch, struct md_error *err);
/* Without scale, masks and windows. */
struct md__cuda_attention md__attention_of(enum md_dtype storage, int64_t batch,
                                           const struct md__side *q, const struct md__side *k,
                                           const struct md__side *v, const struct md__side *y);
/* A mask that broadcasts to [batch, heads, queries, keys]. */
void md__attention_mask(struct md__cuda_attention *attention, const struct md_device_value *mask);

#endif
