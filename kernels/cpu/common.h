/*
 * What every CPU kernel needs: optional inputs, axes, walking a broadcast shape, scalars of any
 * dtype, and the loop over the pool.
 *
 * Reference and fast kernels share this page. Nothing here allocates.
 */
#ifndef MD_KERNELS_CPU_COMMON_H
#define MD_KERNELS_CPU_COMMON_H

#include "graph/backend.h"

/* Whether optional input i was given. */
static inline bool md__has(const struct md_tensor *in, int in_count, int i)
{
    return i < in_count && in[i].dtype != 0;
}
/* NULL when it was not. */
static inline const struct md_tensor *md__input(const struct md_kernel_call *call, int i)
{
    return md__has(call->in, call->in_count, i) ? &call->in[i] : NULL;
}
/* NULL when nobody wants it. */
static inline const struct md_tensor *md__output(const struct md_kernel_call *call, int i)
{
    return i < call->out_count && call->out[i].data ? &call->out[i] : NULL;
}

/* Elements in dimensions [begin, end). */
static inline size_t md__span(const struct md_shape *shape, int begin, int end)
{
    size_t count = 1;
    for (int i = begin; i < end; i++)
        count *= (size_t)shape->dim[i];
    return count;
}

static inline size_t md__count(const struct md_tensor *tensor)
{
    return md__span(&tensor->shape, 0, tensor->shape.rank);
}

/* The attribute or constant `axis` counted from the front; MD_NONE when it is outside the rank. */
static inline int md__axis(int64_t axis, int rank)
{
    if (axis < 0)
        axis += rank;
    return axis >= 0 && axis < rank ? (int)axis : MD_NONE;
}

/* Row-major element strides. */
void md__strides(const struct md_shape *shape, int64_t *stride);
/* Turns strides of dense lines of `row` elements into those of lines `pitch` apart; 0: dense. */
void md__strides_apart(int64_t *stride, int rank, int64_t row, size_t pitch);

/*
 * An odometer over `dim` that keeps an element offset into each of up to three tensors. An empty
 * shape has no first position: callers check their element count.
 */
struct md__walk {
    int rank;
    int64_t dim[MD_RANK_MAX], index[MD_RANK_MAX];
    int64_t stride[3][MD_RANK_MAX];
    int64_t at[3];
};
void md__walk_init(struct md__walk *walk, int rank, const int64_t *dim);
/* Lets slot `which` follow a tensor of `shape`, broadcast to the walk by ONNX's (NumPy's) rule. */
void md__walk_broadcast(struct md__walk *walk, int which, const struct md_shape *shape);
void md__walk_next(struct md__walk *walk);
/* Goes to the position with linear index i. */
void md__walk_seek(struct md__walk *walk, size_t i);
/* Merges neighbouring axes over which every slot advances as over one; at least one axis stays. */
void md__walk_merge(struct md__walk *walk);

/* Element i as a double or an int64, whatever the dtype; blocks.h says how it is converted. */
double md__get_float(const struct md_tensor *tensor, size_t i);
int64_t md__get_int(const struct md_tensor *tensor, size_t i);
void md__set_float(const struct md_tensor *tensor, size_t i, double value);
void md__set_int(const struct md_tensor *tensor, size_t i, int64_t value);
bool md__dtype_is_float(enum md_dtype dtype);

/* Rounded up to a multiple of 64: bytes, or an address. */
static inline size_t md__align_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* supports(): every given input is float32. */
bool md__all_f32(const struct md_node *node, const struct md_tensor *in, int in_count);
/* supports(): input 0 is of any float dtype. */
bool md__float_first(const struct md_node *node, const struct md_tensor *in, int in_count);

/* md_pool_run, or the plain loop when the work is one grain. */
void md__parallel(struct md_pool *pool, size_t count, size_t grain, md_pool_body body,
                  void *context);

/* Items a chunk should hold when each costs about `cost` simple operations: some 5 microseconds'
 * worth, as workers that spin join within one. */
static inline size_t md__grain(size_t cost)
{
    return cost >= 8192 ? 1 : 8192 / (cost ? cost : 1);
}

/* Whether a recurrent node asks for nothing beyond the defaults that our kernels implement. */
bool md__recurrent_is_plain(const struct md_node *node, const char *const *activations, int count);

#endif
