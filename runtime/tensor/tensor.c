/* Data types, shapes, owners and tensors; see tensor.h. */
#include "tensor/tensor.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64, ZEROED_MAX = 768 };

static const struct {
    size_t bytes;
    const char *name;
    const char *npy;
    const char *safetensors;
} dtypes[] = {
#define X(code, onnx, bytes, name, npy, safetensors) [onnx] = {bytes, name, npy, safetensors},
    MD_DTYPES(X)
#undef X
};
enum { DTYPE_LIMIT = sizeof dtypes / sizeof *dtypes };

static bool is_dtype(int number)
{
    return number >= 0 && number < DTYPE_LIMIT && dtypes[number].bytes > 0;
}

size_t md_dtype_bytes(enum md_dtype dtype)
{
    return is_dtype((int)dtype) ? dtypes[dtype].bytes : 0;
}

const char *md_dtype_name(enum md_dtype dtype)
{
    return is_dtype((int)dtype) ? dtypes[dtype].name : "?";
}

const char *md_dtype_npy(enum md_dtype dtype)
{
    return is_dtype((int)dtype) ? dtypes[dtype].npy : "";
}

bool md_dtype_from_npy(const char *text, size_t length, enum md_dtype *dtype)
{
    for (int i = 0; i < DTYPE_LIMIT; i++) {
        if (is_dtype(i) && length > 0 && strlen(dtypes[i].npy) == length &&
            memcmp(text, dtypes[i].npy, length) == 0) {
            *dtype = (enum md_dtype)i;
            return true;
        }
    }
    return false;
}

bool md_dtype_from_safetensors(const char *text, enum md_dtype *dtype)
{
    for (int i = 0; i < DTYPE_LIMIT; i++) {
        if (is_dtype(i) && strcmp(text, dtypes[i].safetensors) == 0) {
            *dtype = (enum md_dtype)i;
            return true;
        }
    }
    return false;
}

enum md_status md_shape_count(const struct md_shape *shape, size_t element_bytes, size_t *count,
                              struct md_error *err)
{
    if (shape->rank < 0 || shape->rank > MD_RANK_MAX)
        return md_fail(err, MD_ERR_INVALID, "rank %d is not within 0 to %d", shape->rank,
                       MD_RANK_MAX);
    size_t bytes_max = SIZE_MAX / 2;
    size_t count_max = bytes_max / (element_bytes ? element_bytes : 1);
    size_t product = 1;
    bool empty = false;
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dim[i] < 0)
            return md_fail(err, MD_ERR_INVALID, "dimension %d is negative (%lld)", i,
                           (long long)shape->dim[i]);
        empty = empty || shape->dim[i] == 0;
    }
    for (int i = 0; i < shape->rank && !empty; i++)
        if (__builtin_mul_overflow(product, (size_t)shape->dim[i], &product) || product > count_max)
            return md_fail(err, MD_ERR_TOO_LARGE, "the shape's size exceeds the address space");
    *count = empty ? 0 : product;
    return MD_OK;
}

bool md_shape_equal(const struct md_shape *a, const struct md_shape *b)
{
    return a->rank == b->rank && memcmp(a->dim, b->dim, sizeof a->dim[0] * (size_t)a->rank) == 0;
}

struct md_shape md_shape_of(int rank, const int64_t *dim)
{
    assert(rank >= 0 && rank <= MD_RANK_MAX);
    struct md_shape shape = {.rank = rank};
    if (rank > 0)
        memcpy(shape.dim, dim, sizeof *dim * (size_t)rank);
    return shape;
}

const char *md_shape_text(const struct md_shape *shape, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < shape->rank && used < size; i++) {
        const char *separator = i > 0 ? ", " : "";
        used += (size_t)(shape->dim[i] < 0 ? snprintf(text + used, size - used, "%s?", separator)
                                           : snprintf(text + used, size - used, "%s%lld", separator,
                                                      (long long)shape->dim[i]));
    }
    if (used < size)
        snprintf(text + used, size - used, "]");
    return text;
}

struct md_owner *md_owner_ref(struct md_owner *owner)
{
    if (owner)
        atomic_fetch_add_explicit(&owner->refs, 1, memory_order_relaxed);
    return owner;
}

void md_owner_unref(struct md_owner *owner)
{
    if (owner && atomic_fetch_sub_explicit(&owner->refs, 1, memory_order_acq_rel) == 1)
        owner->release(owner);
}

static void release_heap(struct md_owner *owner)
{
    free(owner);
}

static enum md_status new_tensor(enum md_dtype dtype, const struct md_shape *shape, bool zeroed,
                                 struct md_tensor *tensor, struct md_error *err)
{
    *tensor = (struct md_tensor){0};
    size_t element_bytes = md_dtype_bytes(dtype);
    if (element_bytes == 0)
        return md_fail(err, MD_ERR_INVALID, "%d is not a data type", (int)dtype);
    size_t count = 0;
    enum md_status status = md_shape_count(shape, element_bytes, &count, err);
    if (status)
        return status;
    /*
     * One block for owner and data; calloc leaves large ones to the kernel's zero pages until they
     * are touched, but does without the blocks that the C library keeps of small sizes.
     */
    size_t bytes = count * element_bytes;
    size_t all = sizeof(struct md_owner) + bytes + ALIGN;
    bool by_us = zeroed && bytes <= ZEROED_MAX;
    struct md_owner *owner = zeroed && !by_us ? calloc(1, all) : malloc(all);
    if (!owner)
        return md_fail(err, MD_ERR_MEMORY, "out of memory for a tensor of %zu bytes", bytes);
    if (by_us)
        memset(owner, 0, all);
    *owner = (struct md_owner){0};
    uintptr_t data = ((uintptr_t)(owner + 1) + ALIGN - 1) / ALIGN * ALIGN;
    atomic_init(&owner->refs, 1);
    owner->release = release_heap;
    owner->memory = (char *)owner + (data - (uintptr_t)owner);
    owner->bytes = bytes;
    *tensor =
        (struct md_tensor){.dtype = dtype, .shape = *shape, .data = owner->memory, .owner = owner};
    return MD_OK;
}

enum md_status md_tensor_new(enum md_dtype dtype, const struct md_shape *shape,
                             struct md_tensor *tensor, struct md_error *err)
{
    return new_tensor(dtype, shape, true, tensor, err);
}

enum md_status md_tensor_new_unset(enum md_dtype dtype, const struct md_shape *shape,
                                   struct md_tensor *tensor, struct md_error *err)
{
    return new_tensor(dtype, shape, false, tensor, err);
}

struct md_tensor md_tensor_ref(const struct md_tensor *tensor)
{
    md_owner_ref(tensor->owner);
    return *tensor;
}

void md_tensor_unref(struct md_tensor *tensor)
{
    md_owner_unref(tensor->owner);
    *tensor = (struct md_tensor){0};
}

void md_tensors_unref(struct md_tensor *tensors, int count)
{
    for (int i = 0; i < count; i++)
        md_tensor_unref(&tensors[i]);
}

static size_t product(const struct md_shape *shape, int first_axis)
{
    size_t count = 1;
    for (int i = first_axis; i < shape->rank; i++)
        count *= (size_t)shape->dim[i];
    return count;
}

size_t md_tensor_count(const struct md_tensor *tensor)
{
    return tensor->data ? product(&tensor->shape, 0) : 0;
}

size_t md_tensor_bytes(const struct md_tensor *tensor)
{
    return md_tensor_count(tensor) * md_dtype_bytes(tensor->dtype);
}

bool md_tensor_is_finite(const struct md_tensor *tensor)
{
    size_t count = md_tensor_count(tensor);
    const uint16_t *half = tensor->data;
    const float *single = tensor->data;
    unsigned odd = 0; /* not left early, so that the loops are vectorised */
    if (tensor->dtype == MD_F32)
        for (size_t i = 0; i < count; i++)
            odd |= !isfinite(single[i]);
    else if (tensor->dtype == MD_F16)
        for (size_t i = 0; i < count; i++)
            odd |= (half[i] & 0x7c00) == 0x7c00;
    else if (tensor->dtype == MD_BF16)
        for (size_t i = 0; i < count; i++)
            odd |= (half[i] & 0x7f80) == 0x7f80;
    return !odd;
}

enum md_status md_tensor_copy(const struct md_tensor *tensor, struct md_tensor *copy,
                              struct md_error *err)
{
    struct md_tensor result;
    enum md_status status = md_tensor_new(tensor->dtype, &tensor->shape, &result, err);
    if (status)
        return status;
    if (tensor->data)
        memcpy(result.data, tensor->data, md_tensor_bytes(tensor));
    *copy = result;
    return MD_OK;
}

enum md_status md_tensor_rows(const struct md_tensor *tensor, int64_t begin, int64_t count,
                              struct md_tensor *view, struct md_error *err)
{
    if (tensor->shape.rank == 0)
        return md_fail(err, MD_ERR_INVALID, "a scalar has no rows");
    int64_t rows = tensor->shape.dim[0];
    if (begin < 0 || count < 0 || begin > rows || count > rows - begin)
        return md_fail(err, MD_ERR_INVALID, "%lld rows from row %lld are not within %lld rows",
                       (long long)count, (long long)begin, (long long)rows);
    struct md_tensor slice = md_tensor_ref(tensor);
    slice.shape.dim[0] = count;
    size_t row_bytes = product(&tensor->shape, 1) * md_dtype_bytes(tensor->dtype);
    slice.data = (char *)tensor->data + (size_t)begin * row_bytes;
    *view = slice;
    return MD_OK;
}

enum md_status md_tensor_reshape(const struct md_tensor *tensor, const struct md_shape *shape,
                                 struct md_tensor *view, struct md_error *err)
{
    size_t count = 0;
    enum md_status status = md_shape_count(shape, md_dtype_bytes(tensor->dtype), &count, err);
    if (status)
        return status;
    if (count != md_tensor_count(tensor)) {
        char from[128], to[128];
        return md_fail(err, MD_ERR_INVALID, "cannot reshape %s to %s",
                       md_shape_text(&tensor->shape, from, sizeof from),
                       md_shape_text(shape, to, sizeof to));
    }
    struct md_tensor reshaped = md_tensor_ref(tensor);
    reshaped.shape = *shape;
    *view = reshaped;
    return MD_OK;
}
