/*
 * From nodes to launches: what the tables of device kernels (ops_*.c) have in common.
 *
 * A supports() here says no to every storage and attribute that the launcher behind it lacks; the
 * node then runs on the CPU. It never says yes to a mixture of float storages: one T runs through a
 * kernel.
 */
#ifndef MD_KERNELS_CUDA_OPS_H
#define MD_KERNELS_CUDA_OPS_H

#include "kernels/cpu/common.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/quantize.h"

/* The stream that launchers take; in the emulation, the device stream itself. */
md__cuda_stream md__cuda_stream_of(struct md_device_stream *stream);
/* cuBLASLt and cuDNN of a context (gpu/libraries.h); NULL: own kernels only. */
struct md__cuda_libraries;
struct md__cuda_libraries *md__cuda_libraries_of(struct md_device_context *context);

/* Whether an optional input or output is there. */
static inline bool md__given(const struct md_device_value *values, int count, int i)
{
    return i < count && values[i].dtype != 0;
}

/* NULL: an absent optional input. */
static inline const void *md__data(const struct md_device_call *call, int i)
{
    return md__given(call->in, call->in_count, i) ? call->in[i].data : NULL;
}

static inline int64_t md__elements(const struct md_device_value *value)
{
    return (int64_t)md__span(&value->shape, 0, value->shape.rank);
}

static inline bool md__is_byte(enum md_dtype dtype)
{
    return dtype == MD_U8 || dtype == MD_I8;
}

static inline bool md__is_float_storage(enum md_dtype storage)
{
    return storage == MD_F32 || storage == MD_F16 || storage == MD_BF16;
}

/* Whether all given values are of one float storage. */
bool md__one_float(const struct md_device_value *in, int in_count,
                   const struct md_device_value *out, int out_count);

/* supports() of whatever has floats only. */
bool md__floats_only(const struct md_node *node, const struct md_device_value *in, int in_count,
                     const struct md_device_value *out, int out_count);

/* Turns what a launcher returned into a status. */
enum md_status md__launched(int error, struct md_error *err);

/* The map of `shape` into `count` tensors that broadcast to it. */
void md__map_broadcast(struct md__cuda_map *map, const struct md_shape *shape,
                       const struct md_device_value *const *tensors, int count);
/* Drops axes of 1 and merges neighbours over which all of the first `count` tensors go on alike. */
void md__map_merge(struct md__cuda_map *map, int count);

/* A shape as ONNX has it: with `last`, of a channels-last tensor. */
struct md_shape md__device_first(const struct md_shape *shape, bool last);

/* Element i of a known integer input (int32 or int64). */
int64_t md__known_int(const struct md_device_value *value, int64_t i);

/* How an operator of functions.cuh is called there; false: it is none of them. */
bool md__cuda_function_of(enum md_op op, enum md__cuda_function *function);

/* What attributes `activation` and `activation_params` of a fused node ask for. */
void md__activation_read(const struct md_node *node, enum md__cuda_function *function, float *a,
                         float *b);

/* Input i as a side of a product, less the zero points that input `zeros` has. */
struct md__cuda_byte_side md__byte_side_of(const struct md_device_call *call, int i, int zeros);

/* x [.., I] by a weight [O, I] (not turned: [I, O]), and bias [O] or NULL, into y. */
struct md__cuda_product md__linear_of(const struct md_device_value *x,
                                      const struct md_device_value *weight, bool turned,
                                      const void *bias, void *y);
enum md_status md__product_enqueue(const struct md_device_call *call,
                                   struct md__cuda_product *product, struct md_error *err);

#endif
