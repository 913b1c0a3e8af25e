/*
 * Tensors that are worked out when they are read: an elementwise formula over some tensors, run a
 * tile at a time, so that what lies between its steps stays in a core's cache, and only what is
 * asked for is worked out. Arithmetic, broadcasting and NaN are those of the tensors' own
 * (base/vectors.h), to the bit. Nothing here knows Lua.
 *
 * A formula is a flat list of steps over leaves (views of float32 tensors, or numbers); equal
 * leaves and equal steps are there once. It owns references to its tensors, never changes, and may
 * be read by many threads.
 */
#ifndef MD_SCRIPT_LAZY_H
#define MD_SCRIPT_LAZY_H

#include "base/buffer.h"
#include "base/pool.h"
#include "base/reduce.h"
#include "base/vectors.h"
#include "tensor/tensor.h"

struct md__lazy;

/* What meets in one operation: a formula, a float32 tensor, or with neither a number. */
struct md__operand {
    const struct md__lazy *lazy;
    const struct md_tensor *tensor;
    float number;
};

/* NumPy's broadcasting; MD_ERR_INVALID says which dimension does not fit. */
enum md_status md__broadcast(const struct md_shape *const *shapes, int count,
                             struct md_shape *shape, struct md_error *err);

/* `op` of tensors and numbers, at once: out holds as many values as the broadcast `shape` has. */
enum md_status md__apply(enum md_vector_op op, const struct md__operand *operands,
                         const struct md_shape *shape, float *out, struct md_error *err);

/* The formula that is a float32 tensor itself. */
enum md_status md__lazy_of(const struct md_tensor *tensor, struct md__lazy **lazy,
                           struct md_error *err);
/* A formula: `op` of its operands. MD_ERR_TOO_LARGE when it has too many steps or tensors. */
enum md_status md__lazy_new(enum md_vector_op op, const struct md__operand *operands,
                            struct md__lazy **lazy, struct md_error *err);
struct md__lazy *md__lazy_ref(struct md__lazy *lazy);
void md__lazy_unref(struct md__lazy *lazy); /* NULL is fine */

const struct md_shape *md__lazy_shape(const struct md__lazy *lazy);
/* Of the tensors that it keeps. */
size_t md__lazy_bytes(const struct md__lazy *lazy);
/* Of working out everything: values times steps. */
double md__lazy_work(const struct md__lazy *lazy);

/* Indices [first, first + count) of an axis; within it (the caller's assertion). */
enum md_status md__lazy_slice(const struct md__lazy *lazy, int axis, int64_t first, int64_t count,
                              struct md__lazy **slice, struct md_error *err);
/* The listed indices of an axis, from 0; within it (the caller's assertion). */
enum md_status md__lazy_select(const struct md__lazy *lazy, int axis, const int64_t *indices,
                               int64_t count, struct md__lazy **selected, struct md_error *err);

/* All values in the order of a tensor's, on the threads of `pool` (NULL: on this one). */
enum md_status md__lazy_compute(const struct md__lazy *lazy, struct md_pool *pool, float *out,
                                struct md_error *err);

/* One number for each row along the last axis, of which there must be one. */
enum md_status md__lazy_reduce(const struct md__lazy *lazy, struct md_pool *pool,
                               const struct md_reduction *what, float *out, struct md_error *err);

/* As md__tensor_encode. */
void md__lazy_encode(const struct md__lazy *lazy, int axes, size_t index, int decimals,
                     struct md_buffer *out);

#endif
