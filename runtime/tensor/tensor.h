/*
 * Tensors: a dtype, a shape and contiguous row-major memory that an owner keeps alive.
 *
 * A view is a tensor that shares another's owner (a slice along the first axis, a reshape). Owners
 * are reference-counted and say how their memory is freed (heap, mapped file, arena of a plan).
 * Tensor structs are values: copy them with md_tensor_ref, drop them with md_tensor_unref. Contents
 * of shared owners are immutable by convention.
 */
#ifndef MD_TENSOR_TENSOR_H
#define MD_TENSOR_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define MD_RANK_MAX 8

/*
 * Columns: code, ONNX TensorProto number, bytes an element, our name, .npy descr (little-endian),
 * safetensors name.
 */
#define MD_DTYPES(X)                                                                               \
    X(MD_F32, 1, 4, "float32", "<f4", "F32")                                                       \
    X(MD_U8, 2, 1, "uint8", "|u1", "U8")                                                           \
    X(MD_I8, 3, 1, "int8", "|i1", "I8")                                                            \
    X(MD_U16, 4, 2, "uint16", "<u2", "U16")                                                        \
    X(MD_I16, 5, 2, "int16", "<i2", "I16")                                                         \
    X(MD_I32, 6, 4, "int32", "<i4", "I32")                                                         \
    X(MD_I64, 7, 8, "int64", "<i8", "I64")                                                         \
    X(MD_BOOL, 9, 1, "bool", "|b1", "BOOL")                                                        \
    X(MD_F16, 10, 2, "float16", "<f2", "F16")                                                      \
    X(MD_F64, 11, 8, "float64", "<f8", "F64")                                                      \
    X(MD_U32, 12, 4, "uint32", "<u4", "U32")                                                       \
    X(MD_U64, 13, 8, "uint64", "<u8", "U64")                                                       \
    X(MD_BF16, 16, 2, "bfloat16", "", "BF16")

enum md_dtype {
#define X(code, onnx, bytes, name, npy, safetensors) code = onnx,
    MD_DTYPES(X)
#undef X
};

size_t md_dtype_bytes(enum md_dtype dtype);     /* 0 for a number that is no dtype */
const char *md_dtype_name(enum md_dtype dtype); /* "?" likewise */
const char *md_dtype_npy(enum md_dtype dtype);  /* "" where NumPy has none */
bool md_dtype_from_npy(const char *text, size_t length, enum md_dtype *dtype);
bool md_dtype_from_safetensors(const char *text, enum md_dtype *dtype);

struct md_shape {
    int rank; /* 0 .. MD_RANK_MAX; rank 0 is a scalar */
    int64_t dim[MD_RANK_MAX];
};

/*
 * Element count; fails on negative dimensions, or when count * element_bytes would exceed SIZE_MAX
 * / 2.
 */
enum md_status md_shape_count(const struct md_shape *shape, size_t element_bytes, size_t *count,
                              struct md_error *err);
bool md_shape_equal(const struct md_shape *a, const struct md_shape *b);
struct md_shape md_shape_of(int rank, const int64_t *dim);
/* Writes "[2, 3]" ; negative dimensions show as "?". Returns text. */
const char *md_shape_text(const struct md_shape *shape, char *text, size_t size);

struct md_owner {
    _Atomic int refs;
    _Atomic bool frozen; /* others read it from now on: nobody writes any more */
    void (*release)(struct md_owner *owner); /* frees the memory and the owner itself */
    void *memory;
    size_t bytes;
};
struct md_owner *md_owner_ref(struct md_owner *owner);
void md_owner_unref(struct md_owner *owner); /* NULL is fine */

struct md_tensor {
    enum md_dtype dtype;
    struct md_shape shape;
    void *data; /* aligned to 64 bytes when we allocated it; to the element size otherwise */
    struct md_owner *owner; /* NULL: borrowed memory, valid as long as its lender says */
};
/*
 * data is NULL only in a cleared tensor, which has no elements; a tensor with a zero dimension has
 * data.
 */

/* Zeroed heap tensor with one reference. */
enum md_status md_tensor_new(enum md_dtype dtype, const struct md_shape *shape,
                             struct md_tensor *tensor, struct md_error *err);
/* Likewise, with whatever its memory held: for who writes every element. */
enum md_status md_tensor_new_unset(enum md_dtype dtype, const struct md_shape *shape,
                                   struct md_tensor *tensor, struct md_error *err);
/* A heap tensor with the same content, aligned to 64 bytes whatever the original's alignment. */
enum md_status md_tensor_copy(const struct md_tensor *tensor, struct md_tensor *copy,
                              struct md_error *err);
struct md_tensor md_tensor_ref(const struct md_tensor *tensor);
void md_tensor_unref(struct md_tensor *tensor); /* and clears it; a cleared tensor is fine */
void md_tensors_unref(struct md_tensor *tensors, int count);
size_t md_tensor_count(const struct md_tensor *tensor); /* elements */
size_t md_tensor_bytes(const struct md_tensor *tensor);
/* No element that is float32, float16 or bfloat16 is infinite or a NaN; others do not count. */
bool md_tensor_is_finite(const struct md_tensor *tensor);

/* Rows [begin, begin+count) of the first axis, sharing the owner (a new reference). */
enum md_status md_tensor_rows(const struct md_tensor *tensor, int64_t begin, int64_t count,
                              struct md_tensor *view, struct md_error *err);
/* Same memory under another shape of the same element count (a new reference). */
enum md_status md_tensor_reshape(const struct md_tensor *tensor, const struct md_shape *shape,
                                 struct md_tensor *view, struct md_error *err);

/*
 * The same numbers in another dtype: float16 or bfloat16 to float32 (exact), float32 to float16 or
 * bfloat16 (nearest, ties to even; overflow gives infinity). The same dtype shares the owner.
 * Anything else is MD_ERR_INVALID.
 */
enum md_status md_tensor_convert(const struct md_tensor *tensor, enum md_dtype dtype,
                                 struct md_tensor *converted, struct md_error *err);

float md_f16_to_f32(uint16_t bits);
uint16_t md_f32_to_f16(float value); /* round to nearest even */
float md_bf16_to_f32(uint16_t bits);
uint16_t md_f32_to_bf16(float value);

#endif
