/*
 * TensorProto to tensors; see onnx_tensor.h. A tensor keeps its data in one of three places:
 * raw_data (little-endian, as we have it in memory), a typed list of the wire format, or a range of
 * another file. The number of elements must agree with the dimensions in each.
 */
#include "model/onnx_tensor.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/mapping.h"

enum md_status md__onnx_dtype(int64_t number, enum md_dtype *dtype, struct md_error *err)
{
    static const char *const names[] = {
        [8] = "string",          [14] = "complex64",      [15] = "complex128",
        [17] = "float8e4m3fn",   [18] = "float8e4m3fnuz", [19] = "float8e5m2",
        [20] = "float8e5m2fnuz", [21] = "uint4",          [22] = "int4",
        [23] = "float4e2m1",     [24] = "float8e8m0",     [25] = "uint2",
        [26] = "int2",           [27] = "float6e2m3",     [28] = "float6e3m2"};
    if (number > 0 && number < 64 && md_dtype_bytes((enum md_dtype)number)) {
        *dtype = (enum md_dtype)number;
        return MD_OK;
    }
    if (number > 0 && number < (int64_t)(sizeof names / sizeof *names) && names[number])
        return md_fail(err, MD_ERR_UNSUPPORTED, "type %s is not supported", names[number]);
    if (number <= 0)
        return md_fail(err, MD_ERR_CORRUPT, "has no type");
    return md_fail(err, MD_ERR_UNSUPPORTED, "type number %" PRId64 " is not known", number);
}

static enum md_status read_shape(const int64_t *dims, size_t count, struct md_shape *shape,
                                 struct md_error *err)
{
    if (count > MD_RANK_MAX)
        return md_fail(err, MD_ERR_UNSUPPORTED, "has %zu dimensions; %d are supported", count,
                       MD_RANK_MAX);
    shape->rank = (int)count;
    for (size_t i = 0; i < count; i++) {
        if (dims[i] < 0)
            return md_fail(err, MD_ERR_CORRUPT, "dimension %zu is %" PRId64, i, dims[i]);
        shape->dim[i] = dims[i];
    }
    return MD_OK;
}

static enum md_status byte_count(const struct md_tensor *tensor, size_t *bytes,
                                 struct md_error *err)
{
    size_t size = md_dtype_bytes(tensor->dtype);
    enum md_status status = md_shape_count(&tensor->shape, size, bytes, err);
    *bytes *= size;
    return status;
}

static enum md_status reserve(struct md__onnx_files *files, size_t bytes, struct md_error *err)
{
    if (bytes > files->copied_max || files->copied > files->copied_max - bytes)
        return md_fail(err, MD_ERR_TOO_LARGE, "tensors that need copies take more than %zu bytes",
                       files->copied_max);
    files->copied += bytes;
    return MD_OK;
}

/* ---- bytes as they are ---- */

/* Booleans are bytes of 0 or 1 to every kernel, so anything else becomes 1. */
static bool has_odd_bools(const struct md_tensor *tensor, size_t bytes)
{
    const uint8_t *at = tensor->data;
    if (tensor->dtype != MD_BOOL)
        return false;
    for (size_t i = 0; i < bytes; i++)
        if (at[i] > 1)
            return true;
    return false;
}

static enum md_status take_bytes(struct md__onnx_files *files, const uint8_t *at, size_t available,
                                 struct md_owner *owner, struct md_tensor *tensor,
                                 struct md_error *err)
{
    size_t bytes = 0;
    char text[128];
    struct md_tensor view = *tensor;
    enum md_status status = byte_count(tensor, &bytes, err);
    if (status)
        return status;
    if (bytes != available)
        return md_fail(err, MD_ERR_CORRUPT, "%s %s takes %zu bytes, but has %zu",
                       md_dtype_name(tensor->dtype),
                       md_shape_text(&tensor->shape, text, sizeof text), bytes, available);
    view.data = (uint8_t *)(uintptr_t)at; /* read only by contract: contents of owners */
    view.owner = owner;
    bool odd = has_odd_bools(&view, bytes);
    if (!odd && owner && (uintptr_t)at % md_dtype_bytes(view.dtype) == 0) {
        *tensor = md_tensor_ref(&view);
        return MD_OK;
    }
    status = reserve(files, bytes, err);
    if (!status)
        status = md_tensor_copy(&view, tensor, err);
    md_tensor_forget(&view);
    for (size_t i = 0; !status && odd && i < bytes; i++)
        ((uint8_t *)tensor->data)[i] = ((uint8_t *)tensor->data)[i] != 0;
    return status;
}

/* ---- typed lists ---- */

struct fill {
    uint8_t *at;
    size_t size; /* of an element */
    bool is_bool;
};

/* The low bytes of each number: int32_data also holds the bits of narrower types and halves. */
static void push(void *context, uint64_t bits)
{
    struct fill *fill = context;
    if (fill->is_bool)
        bits = bits != 0;
    memcpy(fill->at, &bits, fill->size);
    fill->at += fill->size;
}

static enum md_status take_list(struct md__onnx_files *files, const struct md__onnx_tensor *source,
                                struct md_tensor *tensor, struct md_error *err)
{
    uint32_t field = 5; /* int32_data */
    enum md__wire_type type = MD__WIRE_VARINT;
    size_t count = 0, listed = 0, size = md_dtype_bytes(tensor->dtype);
    if (tensor->dtype == MD_F32) {
        field = 4;
        type = MD__WIRE_FIXED32;
    } else if (tensor->dtype == MD_F64) {
        field = 10;
        type = MD__WIRE_FIXED64;
    } else if (tensor->dtype == MD_I64) {
        field = 7;
    } else if (tensor->dtype == MD_U32 || tensor->dtype == MD_U64) {
        field = 11;
    }
    enum md_status status = md_shape_count(&tensor->shape, size, &count, err);
    if (!status)
        status = md__wire_numbers_count(source->all, field, type, &listed, err);
    if (!status && listed != count)
        status = md_fail(err, MD_ERR_CORRUPT, "has %zu numbers for %zu elements", listed, count);
    struct md_shape shape = tensor->shape;
    if (!status)
        status = reserve(files, count * size, err);
    if (!status)
        status = md_tensor_new(tensor->dtype, &shape, tensor, err);
    if (status)
        return status;
    struct fill fill = {tensor->data, size, tensor->dtype == MD_BOOL};
    status = md__wire_numbers(source->all, field, type, push, &fill, err);
    if (status)
        md_tensor_unref(tensor);
    return status;
}

/* ---- other files ---- */

static enum md_status read_number(const struct md__onnx_entry *entry, uint64_t *number,
                                  struct md_error *err)
{
    char *end = NULL;
    errno = 0;
    *number = strtoull(entry->value, &end, 10);
    if (entry->value[0] < '0' || entry->value[0] > '9' || *end != '\0' || errno != 0)
        return md_fail(err, MD_ERR_CORRUPT, "external data: %.20s is \"%.60s\"", entry->key,
                       entry->value);
    return MD_OK;
}

static enum md_status take_external(struct md__onnx_files *files,
                                    const struct md__onnx_tensor *source, struct md_tensor *tensor,
                                    struct md_error *err)
{
    const char *location = "";
    uint64_t offset = 0, length = UINT64_MAX;
    struct md_owner *owner = NULL;
    size_t bytes = 0;
    enum md_status status = byte_count(tensor, &bytes, err);
    for (size_t i = 0; !status && i < source->external_count; i++) {
        const struct md__onnx_entry *entry = &source->external[i];
        if (strcmp(entry->key, "location") == 0)
            location = entry->value;
        else if (strcmp(entry->key, "offset") == 0)
            status = read_number(entry, &offset, err);
        else if (strcmp(entry->key, "length") == 0)
            status = read_number(entry, &length, err);
    }
    if (!status)
        status = md__onnx_external(files, location, &owner, err);
    if (status)
        return status;
    if (length == UINT64_MAX)
        length = bytes;
    if (offset > owner->bytes || length > owner->bytes - offset)
        return md_fail(err, MD_ERR_CORRUPT,
                       "external data: bytes %" PRIu64 " to %" PRIu64
                       " are not within the %zu of \"%.60s\"",
                       offset, offset + length, owner->bytes, location);
    return take_bytes(files, (const uint8_t *)owner->memory + offset, (size_t)length, owner, tensor,
                      err);
}

enum md_status md__onnx_tensor_read(struct md__onnx_files *files,
                                    const struct md__onnx_tensor *source, struct md_tensor *tensor,
                                    struct md_error *err)
{
    struct md_tensor made = {0};
    enum md_status status = md__onnx_dtype(source->data_type, &made.dtype, err);
    *tensor = made;
    if (!status)
        status = read_shape(source->dims, source->dim_count, &made.shape, err);
    if (!status && source->is_segment)
        status = md_fail(err, MD_ERR_UNSUPPORTED, "is stored in segments");
    if (status)
        return md_error_context(err, "tensor \"%.80s\"", source->name);
    if (source->location == 1)
        status = take_external(files, source, &made, err);
    else if (source->has_raw)
        status = take_bytes(files, source->raw.at, (size_t)(source->raw.end - source->raw.at),
                            files->model, &made, err);
    else
        status = take_list(files, source, &made, err);
    if (status)
        return md_error_context(err, "tensor \"%.80s\"", source->name);
    *tensor = made;
    return MD_OK;
}

/* ---- sparse ---- */

/* Where entry i of the values goes: its index is linear, or one number an axis. */
static enum md_status place(const struct md_tensor *indices, const struct md_shape *shape,
                            size_t count, size_t i, size_t *at, struct md_error *err)
{
    const int64_t *index = indices->data;
    size_t linear = 0;
    if (indices->shape.rank == 1) {
        if (index[i] < 0 || (uint64_t)index[i] >= count)
            return md_fail(err, MD_ERR_CORRUPT, "index %" PRId64 " is outside %zu elements",
                           index[i], count);
        *at = (size_t)index[i];
        return MD_OK;
    }
    for (int axis = 0; axis < shape->rank; axis++) {
        int64_t part = index[i * (size_t)shape->rank + (size_t)axis];
        if (part < 0 || part >= shape->dim[axis])
            return md_fail(err, MD_ERR_CORRUPT, "index %" PRId64 " is outside axis %d", part, axis);
        linear = linear * (size_t)shape->dim[axis] + (size_t)part;
    }
    *at = linear;
    return MD_OK;
}

static enum md_status check_sparse(const struct md_tensor *values, const struct md_tensor *indices,
                                   const struct md_shape *shape, struct md_error *err)
{
    const struct md_shape *index = &indices->shape;
    bool fits = values->shape.rank == 1 && indices->dtype == MD_I64 &&
                (index->rank == 1 || (index->rank == 2 && index->dim[1] == shape->rank)) &&
                index->dim[0] == values->shape.dim[0];
    return fits ? MD_OK : md_fail(err, MD_ERR_CORRUPT, "values and indices do not fit together");
}

static enum md_status scatter(const struct md_tensor *values, const struct md_tensor *indices,
                              struct md_tensor *dense, struct md_error *err)
{
    size_t size = md_dtype_bytes(dense->dtype), count = md_tensor_count(dense);
    enum md_status status = MD_OK;
    for (size_t i = 0; !status && i < md_tensor_count(values); i++) {
        size_t at = 0;
        status = place(indices, &dense->shape, count, i, &at, err);
        if (!status)
            memcpy((char *)dense->data + at * size, (const char *)values->data + i * size, size);
    }
    return status;
}

enum md_status md__onnx_sparse_read(struct md__onnx_files *files,
                                    const struct md__onnx_sparse *source, struct md_tensor *tensor,
                                    struct md_error *err)
{
    struct md_tensor values = {0}, indices = {0}, dense = {0};
    struct md_shape shape;
    size_t bytes = 0;
    enum md_status status = md__onnx_tensor_read(files, &source->values, &values, err);
    if (!status)
        status = md__onnx_tensor_read(files, &source->indices, &indices, err);
    dense.dtype = values.dtype;
    if (!status)
        status = read_shape(source->dims, source->dim_count, &dense.shape, err);
    if (!status)
        status = check_sparse(&values, &indices, &dense.shape, err);
    if (!status)
        status = byte_count(&dense, &bytes, err);
    if (!status)
        status = reserve(files, bytes, err);
    shape = dense.shape;
    if (!status)
        status = md_tensor_new(values.dtype, &shape, &dense, err);
    if (!status) {
        status = scatter(&values, &indices, &dense, err);
        if (status)
            md_tensor_unref(&dense);
    }
    md_tensor_unref(&values);
    md_tensor_unref(&indices);
    if (status)
        return md_error_context(err, "sparse tensor \"%.80s\"", source->values.name);
    *tensor = dense;
    return MD_OK;
}
