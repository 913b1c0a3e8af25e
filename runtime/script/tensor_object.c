/*
 * Tensor objects: their memory, their elements, how they are shared between states and written as
 * JSON.
 */
#include "script/tensor_object.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_out.h"

/* ---- objects --------------------------------------------------------------------------------- */

struct md__tensor_object *md__tensor_object_new(lua_State *L)
{
    return md__object_new(L, &md__tensor_class, sizeof(struct md__tensor_object));
}

struct md_tensor *md__tensor_check(lua_State *L, int index)
{
    struct md__tensor_object *object = md__object_check(L, index, &md__tensor_class);
    return &object->tensor;
}

struct md_tensor *md__tensor_test(lua_State *L, int index)
{
    struct md__tensor_object *object = md__object_test(L, index, &md__tensor_class);
    return object ? &object->tensor : NULL;
}

void md__tensor_check_status(lua_State *L, enum md_status status, const struct md_error *err)
{
    if (status != MD_OK)
        luaL_error(L, "%s", err->text);
}

typedef enum md_status (*tensor_maker)(enum md_dtype dtype, const struct md_shape *shape,
                                       struct md_tensor *tensor, struct md_error *err);

static struct md_tensor *make(lua_State *L, enum md_dtype dtype, const struct md_shape *shape,
                              tensor_maker maker)
{
    struct md_error err;
    size_t count;
    md__tensor_check_status(L, md_shape_count(shape, md_dtype_bytes(dtype), &count, &err), &err);
    struct md__tensor_object *object = md__tensor_object_new(L);
    size_t bytes = count * md_dtype_bytes(dtype);
    md__charge(L, bytes); /* first: a cap that is hit costs no memory */
    object->charged = bytes;
    md__tensor_check_status(L, maker(dtype, shape, &object->tensor, &err), &err);
    object->writable = true;
    return &object->tensor;
}

struct md_tensor *md__tensor_make(lua_State *L, enum md_dtype dtype, const struct md_shape *shape)
{
    return make(L, dtype, shape, md_tensor_new);
}

struct md_tensor *md__tensor_make_unset(lua_State *L, enum md_dtype dtype,
                                        const struct md_shape *shape)
{
    return make(L, dtype, shape, md_tensor_new_unset);
}

int md__tensor_gc(lua_State *L)
{
    struct md__tensor_object *object = md__object_check(L, 1, &md__tensor_class);
    if (object->charged)
        md__uncharge(L, object->charged);
    object->charged = 0;
    md_tensor_unref(&object->tensor);
    return 0;
}

/* ---- elements -------------------------------------------------------------------------------- */

double md__element_get(const struct md_tensor *tensor, size_t at)
{
    double value = 0;
    switch (tensor->dtype) {
    case MD_F32:
        value = (double)((const float *)tensor->data)[at];
        break;
    case MD_F64:
        value = ((const double *)tensor->data)[at];
        break;
    case MD_F16:
        value = (double)md_f16_to_f32(((const uint16_t *)tensor->data)[at]);
        break;
    case MD_BF16:
        value = (double)md_bf16_to_f32(((const uint16_t *)tensor->data)[at]);
        break;
    case MD_I8:
        value = ((const int8_t *)tensor->data)[at];
        break;
    case MD_U8:
        value = ((const uint8_t *)tensor->data)[at];
        break;
    case MD_BOOL:
        value = ((const uint8_t *)tensor->data)[at] != 0;
        break;
    case MD_I16:
        value = ((const int16_t *)tensor->data)[at];
        break;
    case MD_U16:
        value = ((const uint16_t *)tensor->data)[at];
        break;
    case MD_I32:
        value = ((const int32_t *)tensor->data)[at];
        break;
    case MD_U32:
        value = ((const uint32_t *)tensor->data)[at];
        break;
    case MD_I64:
        value = (double)((const int64_t *)tensor->data)[at];
        break;
    case MD_U64:
        value = (double)((const uint64_t *)tensor->data)[at];
        break;
    }
    return isnan(value) ? (double)NAN : value; /* one payload only */
}

/* Integers saturate; NaN becomes 0 in them. */
static int64_t to_integer(double value, int64_t min, int64_t max)
{
    if (isnan(value))
        return 0;
    if (value <= (double)min)
        return min;
    return value >= (double)max ? max : (int64_t)value;
}

void md__element_set(struct md_tensor *tensor, size_t at, double value)
{
    switch (tensor->dtype) {
    case MD_F32:
        ((float *)tensor->data)[at] = (float)value;
        break;
    case MD_F64:
        ((double *)tensor->data)[at] = value;
        break;
    case MD_F16:
        ((uint16_t *)tensor->data)[at] = md_f32_to_f16((float)value);
        break;
    case MD_BF16:
        ((uint16_t *)tensor->data)[at] = md_f32_to_bf16((float)value);
        break;
    case MD_I8:
        ((int8_t *)tensor->data)[at] = (int8_t)to_integer(value, INT8_MIN, INT8_MAX);
        break;
    case MD_U8:
        ((uint8_t *)tensor->data)[at] = (uint8_t)to_integer(value, 0, UINT8_MAX);
        break;
    case MD_BOOL:
        ((uint8_t *)tensor->data)[at] = value != 0;
        break;
    case MD_I16:
        ((int16_t *)tensor->data)[at] = (int16_t)to_integer(value, INT16_MIN, INT16_MAX);
        break;
    case MD_U16:
        ((uint16_t *)tensor->data)[at] = (uint16_t)to_integer(value, 0, UINT16_MAX);
        break;
    case MD_I32:
        ((int32_t *)tensor->data)[at] = (int32_t)to_integer(value, INT32_MIN, INT32_MAX);
        break;
    case MD_U32:
        ((uint32_t *)tensor->data)[at] = (uint32_t)to_integer(value, 0, UINT32_MAX);
        break;
    case MD_I64:
        ((int64_t *)tensor->data)[at] = to_integer(value, INT64_MIN, INT64_MAX);
        break;
    case MD_U64:
        ((uint64_t *)tensor->data)[at] = value < 9223372036854775808.0 || isnan(value)
                                             ? (uint64_t)to_integer(value, 0, INT64_MAX)
                                         : value < 18446744073709551616.0 ? (uint64_t)value
                                                                          : UINT64_MAX;
        break;
    }
}

/* ---- sharing --------------------------------------------------------------------------------- */

void md__tensor_freeze(struct md_tensor *tensor)
{
    if (tensor->owner)
        atomic_store(&tensor->owner->frozen, true);
}

static void *share_tensor(lua_State *L, int index)
{
    struct md__tensor_object *object = md__object_check(L, index, &md__tensor_class);
    struct md_tensor *shared = malloc(sizeof *shared);
    if (!shared)
        luaL_error(L, "not enough memory");
    *shared = md_tensor_ref(&object->tensor);
    md__tensor_freeze(shared);
    return shared;
}

static void push_shared(lua_State *L, void *shared)
{
    struct md__tensor_object *object = md__tensor_object_new(L);
    object->tensor = md_tensor_ref(shared);
}

static void release_shared(void *shared)
{
    md_tensor_unref(shared);
    free(shared);
}

static size_t shared_bytes(const void *shared)
{
    return sizeof(struct md_tensor) + md_tensor_bytes(shared);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

/* Integers beyond 2^53 keep all their digits: they are ids and hashes. */
static void encode_element(const struct md_tensor *tensor, size_t at, int decimals,
                           struct md_buffer *out)
{
    if (tensor->dtype == MD_I64)
        md_buffer_printf(out, "%" PRId64, ((const int64_t *)tensor->data)[at]);
    else if (tensor->dtype == MD_U64)
        md_buffer_printf(out, "%" PRIu64, ((const uint64_t *)tensor->data)[at]);
    else
        md__json_write_number(out, md__element_get(tensor, at), decimals);
}

/* `count` elements from `at` on, with commas between. */
static void encode_elements(const struct md_tensor *tensor, size_t at, size_t count, int decimals,
                            struct md_buffer *out)
{
    if (tensor->dtype == MD_F32) {
        md_json_f32s(out, (const float *)tensor->data + at, count, decimals);
        return;
    }
    for (size_t i = at; i < at + count && !out->failed; i++) {
        if (i > at)
            md_buffer_append(out, ",", 1);
        encode_element(tensor, i, decimals, out);
    }
}

/* From axis `axis` on; returns behind the last element. */
static size_t encode_axis(const struct md_tensor *tensor, int axis, size_t at, int decimals,
                          struct md_buffer *out)
{
    size_t count = axis < tensor->shape.rank ? (size_t)tensor->shape.dim[axis] : 1;
    bool is_inner = axis + 1 >= tensor->shape.rank;
    if (axis < tensor->shape.rank)
        md_buffer_append(out, "[", 1);
    if (is_inner)
        encode_elements(tensor, at, count, decimals, out);
    for (size_t i = 0; !is_inner && i < count && !out->failed; i++) {
        if (i > 0)
            md_buffer_append(out, ",", 1);
        at = encode_axis(tensor, axis + 1, at, decimals, out);
    }
    if (axis < tensor->shape.rank)
        md_buffer_append(out, "]", 1);
    return is_inner ? at + count : at;
}

void md__tensor_encode(const struct md_tensor *tensor, int axes, size_t index, int decimals,
                       struct md_buffer *out)
{
    size_t count = 1;
    for (int axis = axes; axis < tensor->shape.rank; axis++)
        count *= (size_t)tensor->shape.dim[axis];
    encode_axis(tensor, axes, index * count, decimals, out);
}

static enum md_status encode_tensor(lua_State *L, int index, int decimals, struct md_buffer *out,
                                    struct md_error *err)
{
    (void)err;
    md__tensor_encode(md__tensor_test(L, index), 0, 0, decimals, out);
    return MD_OK; /* the writer checks the buffer */
}

/* ---- the class ------------------------------------------------------------------------------- */

const struct md__class md__tensor_class = {
    .name = "tensor",
    .methods = md__tensor_methods,
    .share = share_tensor,
    .push = push_shared,
    .release = release_shared,
    .bytes = shared_bytes,
    .encode = encode_tensor,
};
