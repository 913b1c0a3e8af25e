/*
 * Nodes between floats and bytes: quantize.cu. Networks that were quantised in full are written out
 * in DequantizeLinear, float operators and QuantizeLinear for a device (pass_dequantized.c).
 *
 * A scale that is known goes along with the launch as it is; one in device memory has been rounded
 * to the storage of floats.
 */
#include "kernels/cuda/ops.h"

/* Of x and whether its levels, inputs 1 and 2, agree with each other and with `bytes`. */
static bool levels_of(const struct md_node *node, const struct md_device_value *in, int in_count,
                      enum md_dtype bytes, struct md__cuda_levels *levels)
{
    const struct md_shape *shape = &in[0].shape;
    bool zeros = md__given(in, in_count, 2), one = md__elements(&in[1]) == 1;
    int axis = md__axis(md_node_int(node, "axis", 1), shape->rank);
    *levels = (struct md__cuda_levels){.count = md__elements(&in[1]), .inner = 1, .axis = 1};
    if (zeros && (in[2].dtype != bytes || md__elements(&in[2]) != levels->count))
        return false;
    if (!one && axis == MD_NONE)
        return false;
    if (!one) {
        levels->axis = shape->dim[axis];
        levels->inner = (int64_t)md__span(shape, axis + 1, shape->rank);
        levels->block = md_node_int(node, "block_size", 0);
    }
    if (one && in[1].known && in[1].dtype == MD_F32)
        levels->scale = *(const float *)in[1].known;
    else
        levels->scales = in[1].data;
    levels->zeros = zeros ? in[2].data : NULL;
    return true;
}

static bool quantize_supports(const struct md_node *node, const struct md_device_value *in,
                              int in_count, const struct md_device_value *out, int out_count)
{
    struct md__cuda_levels levels;
    int64_t precision = md_node_int(node, "precision", 0);
    (void)out_count;
    return md__is_byte(out[0].dtype) && in[0].dtype == MD_F32 && in[1].dtype == MD_F32 &&
           (precision == 0 || precision == MD_F32) &&
           levels_of(node, in, in_count, out[0].dtype, &levels);
}

/* From in[0] to out[0]; zero points are of the bytes' dtype. */
static enum md_status levels_enqueue(const struct md_device_call *call, bool to_bytes,
                                     struct md_error *err)
{
    const struct md_device_value *x = &call->in[0], *y = &call->out[0];
    md__cuda_stream stream = md__cuda_stream_of(call->stream);
    struct md__cuda_levels levels;
    levels_of(call->node, call->in, call->in_count, to_bytes ? y->dtype : x->dtype, &levels);
    return md__launched(
        (to_bytes ? md__cuda_quantize : md__cuda_dequantize)(
            stream, (int)x->storage, (int)y->storage, &levels, x->data, y->data, md__elements(y)),
        err);
}

static enum md_status quantize_enqueue(const struct md_device_call *call, struct md_error *err)
{
    return levels_enqueue(call, true, err);
}

const struct md_device_kernel md__cuda_op_quantize = {.supports = quantize_supports,
                                                      .enqueue = quantize_enqueue};

static bool dequantize_supports(const struct md_node *node, const struct md_device_value *in,
                                int in_count, const struct md_device_value *out, int out_count)
{
    struct md__cuda_levels levels;
    (void)out_count;
    return (md__is_byte(in[0].dtype) || in[0].dtype == MD_I32) && in[1].dtype == MD_F32 &&
           out[0].dtype == MD_F32 && levels_of(node, in, in_count, in[0].dtype, &levels);
}

static enum md_status dequantize_enqueue(const struct md_device_call *call, struct md_error *err)
{
    return levels_enqueue(call, false, err);
}

const struct md_device_kernel md__cuda_op_dequantize = {.supports = dequantize_supports,
                                                        .enqueue = dequantize_enqueue};

static size_t ranges_bytes(const struct md_node *node, const struct md_device_value *in,
                           int in_count, const struct md_device_value *out, int out_count)
{
    (void)node, (void)in, (void)in_count, (void)out, (void)out_count;
    return 2 * MD__CUDA_RANGES * sizeof(float);
}

static enum md_status dynamic_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_device_value *out = call->out;
    return md__launched(md__cuda_dynamic_quantize(md__cuda_stream_of(call->stream),
                                                  (int)call->in[0].storage, call->in[0].data,
                                                  md__elements(&call->in[0]), call->scratch,
                                                  out[0].data, out[1].data, out[2].data),
                        err);
}

const struct md_device_kernel md__cuda_op_dynamic_quantize = {.scratch_bytes = ranges_bytes,
                                                              .enqueue = dynamic_enqueue};

/* ---- products: all rows of a by one matrix b ------------------------------------------------- */

static bool is_scaled(const struct md_node *node)
{
    return node->op == MD_OP_MATMUL_INTEGER_TO_FLOAT;
}

static bool zeros_fit(const struct md_device_value *in, int in_count, int i, enum md_dtype dtype,
                      int64_t lines)
{
    if (!md__given(in, in_count, i))
        return true;
    int64_t count = md__elements(&in[i]);
    return in[i].dtype == dtype && (count == 1 || count == lines);
}

static bool product_supports(const struct md_node *node, const struct md_device_value *in,
                             int in_count, const struct md_device_value *out, int out_count)
{
    const struct md_shape *a = &in[0].shape, *b = &in[1].shape;
    int first = is_scaled(node) ? 4 : 2; /* of the zero points */
    (void)out, (void)out_count;
    if (!md__is_byte(in[0].dtype) || !md__is_byte(in[1].dtype) || a->rank < 2 || b->rank != 2)
        return false;
    if (is_scaled(node) && (md__elements(&in[2]) != 1 ||
                            (md__elements(&in[3]) != 1 && md__elements(&in[3]) != b->dim[1])))
        return false;
    int64_t rows = a->rank == 2 ? a->dim[0] : 1; /* of more matrices: one for all */
    return zeros_fit(in, in_count, first, in[0].dtype, rows) &&
           zeros_fit(in, in_count, first + 1, in[1].dtype, b->dim[1]);
}

struct md__cuda_byte_side md__byte_side_of(const struct md_device_call *call, int i, int zeros)
{
    bool given = md__given(call->in, call->in_count, zeros);
    return (struct md__cuda_byte_side){.is_signed = call->in[i].dtype == MD_I8,
                                       .bytes = call->in[i].data,
                                       .zeros = given ? call->in[zeros].data : NULL,
                                       .zero_count = given ? md__elements(&call->in[zeros]) : 0};
}

static enum md_status product_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_shape *a = &call->in[0].shape, *b = &call->in[1].shape;
    bool scaled = is_scaled(call->node);
    struct md__cuda_byte_product product = {.storage = (int)call->out[0].storage,
                                            .rows = (int64_t)md__span(a, 0, a->rank - 1),
                                            .inner = b->dim[0],
                                            .columns = b->dim[1],
                                            .a = md__byte_side_of(call, 0, scaled ? 4 : 2),
                                            .b = md__byte_side_of(call, 1, scaled ? 5 : 3),
                                            .y = call->out[0].data};
    if (scaled) {
        product.a_scale = call->in[2].data;
        product.b_scale = call->in[3].data;
        product.b_scale_count = md__elements(&call->in[3]);
        product.bias = md__data(call, 6);
    }
    return md__launched(md__cuda_byte_product(md__cuda_stream_of(call->stream), &product), err);
}

const struct md_device_kernel md__cuda_op_byte_product = {.supports = product_supports,
                                                          .enqueue = product_enqueue};

/* ---- DynamicQuantizeMatMul: x, b, b_scale, b_zero?, bias? -------------------------------------
 */

static bool dynamic_product_supports(const struct md_node *node, const struct md_device_value *in,
                                     int in_count, const struct md_device_value *out, int out_count)
{
    int64_t columns = in[1].shape.rank == 2 ? in[1].shape.dim[1] : 0;
    int64_t scales = md__elements(&in[2]);
    (void)node, (void)out_count;
    return md__is_byte(in[1].dtype) && in[0].shape.rank >= 2 && in[1].shape.rank == 2 &&
           md__is_float_storage(in[0].storage) && in[2].storage == in[0].storage &&
           out[0].storage == in[0].storage && (scales == 1 || scales == columns) &&
           zeros_fit(in, in_count, 3, in[1].dtype, columns) &&
           (!md__given(in, in_count, 4) || in[4].storage == in[0].storage);
}

/* The ranges, the scale and the zero point of x before its bytes. */
static size_t dynamic_product_scratch(const struct md_node *node, const struct md_device_value *in,
                                      int in_count, const struct md_device_value *out,
                                      int out_count)
{
    return ranges_bytes(node, in, in_count, out, out_count) + 16 + (size_t)md__elements(&in[0]);
}

static enum md_status dynamic_product_enqueue(const struct md_device_call *call,
                                              struct md_error *err)
{
    const struct md_device_value *x = &call->in[0];
    md__cuda_stream stream = md__cuda_stream_of(call->stream);
    char *scale = (char *)call->scratch + 2 * MD__CUDA_RANGES * sizeof(float), *zero = scale + 8;
    char *bytes = scale + 16;
    struct md__cuda_byte_product product = {.storage = (int)call->out[0].storage,
                                            .rows =
                                                (int64_t)md__span(&x->shape, 0, x->shape.rank - 1),
                                            .inner = call->in[1].shape.dim[0],
                                            .columns = call->in[1].shape.dim[1],
                                            .a = {.bytes = bytes, .zeros = zero, .zero_count = 1},
                                            .b = md__byte_side_of(call, 1, 3),
                                            .a_scale = scale,
                                            .b_scale = call->in[2].data,
                                            .b_scale_count = md__elements(&call->in[2]),
                                            .bias = md__data(call, 4),
                                            .y = call->out[0].data};
    int error = md__cuda_dynamic_quantize(stream, (int)x->storage, x->data, md__elements(x),
                                          call->scratch, bytes, scale, zero);
    return md__launched(error ? error : md__cuda_byte_product(stream, &product), err);
}

const struct md_device_kernel md__cuda_op_dynamic_product = {.supports = dynamic_product_supports,
                                                             .scratch_bytes =
                                                                 dynamic_product_scratch,
                                                             .enqueue = dynamic_product_enqueue};

/* ---- MatMulNBits: x, packed, scales, zeros?, groups (none), bias? -----------------------------
 */

static bool packed_supports(const struct md_node *node, const struct md_device_value *in,
                            int in_count, const struct md_device_value *out, int out_count)
{
    bool zeros = md__given(in, in_count, 3), bias = md__given(in, in_count, 5);
    (void)node, (void)out_count;
    return md__is_float_storage(out[0].storage) && in[0].storage == out[0].storage &&
           in[2].storage == out[0].storage && (!bias || in[5].storage == out[0].storage) &&
           (!zeros || in[3].dtype == MD_U8 || in[3].storage == out[0].storage);
}

static enum md_status packed_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_node *node = call->node;
    struct md__cuda_packed_product product = {.storage = (int)call->out[0].storage,
                                              .bits = (int)md_node_int(node, "bits", 4),
                                              .inner = md_node_int(node, "K", 1),
                                              .columns = md_node_int(node, "N", 1),
                                              .block = md_node_int(node, "block_size", 1),
                                              .packed = call->in[1].data,
                                              .x = call->in[0].data,
                                              .scales = call->in[2].data,
                                              .zeros = md__data(call, 3),
                                              .bias = md__data(call, 5),
                                              .y = call->out[0].data};
    product.rows = md__elements(&call->in[0]) / product.inner;
    product.packed_zeros = product.zeros && call->in[3].dtype == MD_U8;
    return md__launched(md__cuda_packed_product(md__cuda_stream_of(call->stream), &product), err);
}

const struct md_device_kernel md__cuda_op_packed_product = {.supports = packed_supports,
                                                            .enqueue = packed_enqueue};
