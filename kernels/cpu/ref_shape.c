/*
 * Reference kernels that make values out of shapes and scalars: Shape, ConstantOfShape, Range,
 * EyeLike.
 */
#include <string.h>

#include "kernels/cpu/ref.h"

/* Shape's `start` may lie outside the rank (then it is clamped); the output's length already
 * accounts for `end`. */
static enum md_status shape_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_shape *shape = &call->in[0].shape;
    int64_t start = md_node_int(call->node, "start", 0);
    if (start < 0)
        start += shape->rank;
    if (start < 0)
        start = 0;
    size_t count = md__count(&call->out[0]);
    for (size_t i = 0; i < count; i++)
        ((int64_t *)call->out[0].data)[i] = shape->dim[(size_t)start + i];
    return MD_OK;
}

static enum md_status constant_of_shape_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_attr *value = md_node_attr(call->node, "value");
    const struct md_tensor *out = &call->out[0];
    size_t count = md__count(out), bytes = md_dtype_bytes(out->dtype);
    if (value == NULL || value->type != MD_ATTR_TENSOR) {
        if (count > 0)
            memset(out->data, 0, count * bytes);
        return MD_OK;
    }
    for (size_t i = 0; i < count; i++)
        memcpy((char *)out->data + i * bytes, value->tensor.data, bytes);
    return MD_OK;
}

/* start + i * delta: one rounding an element, where adding up delta would drift. Unsigned, because
 * i * delta may pass int64 where the sum does not. */
static enum md_status range_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_tensor *in = call->in, *out = &call->out[0];
    size_t count = md__count(out);
    for (size_t i = 0; i < count; i++) {
        if (md__dtype_is_float(out->dtype))
            md__set_float(out, i, md__get_float(&in[0], 0) + (double)i * md__get_float(&in[2], 0));
        else
            md__set_int(out, i, (int64_t)((uint64_t)md__get_int(&in[0], 0) +
                                          i * (uint64_t)md__get_int(&in[2], 0)));
    }
    return MD_OK;
}

/* Ones on diagonal k: columns ahead of rows. */
static enum md_status eye_like_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_tensor *out = &call->out[0];
    int64_t rows = out->shape.dim[0], columns = out->shape.dim[1];
    int64_t k = md_node_int(call->node, "k", 0);
    memset(out->data, 0, md__count(out) * md_dtype_bytes(out->dtype));
    for (int64_t row = 0; row < rows; row++)
        if (k >= -row && k < columns - row)
            md__set_int(out, (size_t)(row * columns + row + k), 1);
    return MD_OK;
}

const struct md_kernel md__ref_eye_like = {.run = eye_like_run};
const struct md_kernel md__ref_shape = {.run = shape_run};
const struct md_kernel md__ref_constant_of_shape = {.run = constant_of_shape_run};
const struct md_kernel md__ref_range = {.run = range_run};
