/*
 * Quantised operators of the domain com.microsoft, which ONNX Runtime's quantiser writes
 * ("QOperator" format): each is its operator between a DequantizeLinear of every operand and a
 * QuantizeLinear of the result, as its documentation defines it (docs/ContribOperators.md).
 * QuantizeLinear and DequantizeLinear of that domain are the standard's.
 */
#include "model/onnx_rewrite.h"

#include <string.h>

/* The operand whose value, scale and zero point are inputs i, i + 1, i + 2; axis: of the scales. */
static enum md_status dequantise(struct md__onnx_call *call, int i, int64_t axis, int *value,
                                 struct md_error *err)
{
    const int in[3] = {md__onnx_input(call, i), md__onnx_input(call, i + 1),
                       md__onnx_input(call, i + 2)};
    if (in[0] == MD_NONE || in[1] == MD_NONE)
        return md_fail(err, MD_ERR_CORRUPT, "lacks input %d or its scale", i);
    return md__onnx_op_int(call, "DequantizeLinear", in, in[2] == MD_NONE ? 2 : 3, "axis", axis,
                           value, err);
}

/* The result: `value` by scale input i and zero point input i + 1, in the dtype of input `like`. */
static enum md_status quantise(struct md__onnx_call *call, int value, int i, int like,
                               struct md_error *err)
{
    const int in[3] = {value, md__onnx_input(call, i), md__onnx_input(call, i + 1)};
    enum md_dtype dtype = md__onnx_dtype_of(call->scope->body, md__onnx_input(call, like));
    if (in[1] == MD_NONE)
        return md_fail(err, MD_ERR_CORRUPT, "lacks the scale of its result");
    call->done = true;
    if (in[2] != MD_NONE)
        return md__onnx_op(call, "QuantizeLinear", in, 3, &call->out[0], err);
    return md__onnx_op_int(call, "QuantizeLinear", in, 2, "output_dtype", (int64_t)dtype,
                           &call->out[0], err);
}

/* The operator itself on floats, with the call's attributes. */
static enum md_status apply(struct md__onnx_call *call, const char *op, const int *in, int in_count,
                            int *value, struct md_error *err)
{
    return md__onnx_emit(call, op, in, in_count, call->attrs, call->attr_count, value, 1, err);
}

static enum md_status of_one(struct md__onnx_call *call, const char *op, struct md_error *err)
{
    int x = MD_NONE, y = MD_NONE;
    enum md_status status = MD_OK;
    if (md__onnx_attr_int(call, "channels_last", 0) != 0)
        return md_fail(err, MD_ERR_UNSUPPORTED, "attribute \"channels_last\" of %.60s", call->op);
    md__onnx_drop_attr(call, "channels_last");
    status = dequantise(call, 0, 1, &x, err);
    if (!status)
        status = apply(call, op, &x, 1, &y, err);
    return status ? status : quantise(call, y, 3, 0, err);
}

static enum md_status of_two(struct md__onnx_call *call, const char *op, struct md_error *err)
{
    int pair[2] = {MD_NONE, MD_NONE}, y = MD_NONE;
    enum md_status status = dequantise(call, 0, 1, &pair[0], err);
    if (!status)
        status = dequantise(call, 3, 1, &pair[1], err);
    if (!status)
        status = apply(call, op, pair, 2, &y, err);
    return status ? status : quantise(call, y, 6, 0, err);
}

MD__ONNX_REWRITE(md__onnx_qlinear_add)
{
    return of_two(call, "Add", err);
}

MD__ONNX_REWRITE(md__onnx_qlinear_mul)
{
    return of_two(call, "Mul", err);
}

MD__ONNX_REWRITE(md__onnx_qlinear_sigmoid)
{
    return of_one(call, "Sigmoid", err);
}

MD__ONNX_REWRITE(md__onnx_qlinear_leaky_relu)
{
    return of_one(call, "LeakyRelu", err);
}

MD__ONNX_REWRITE(md__onnx_qlinear_average_pool)
{
    return of_one(call, "AveragePool", err);
}

MD__ONNX_REWRITE(md__onnx_qlinear_global_average_pool)
{
    return of_one(call, "GlobalAveragePool", err);
}

/* The attribute "opset" says which Softmax is meant; before 13 it flattened. */
MD__ONNX_REWRITE(md__onnx_qlinear_softmax)
{
    int64_t axis = md__onnx_attr_int(call, "axis", -1);
    if (md__onnx_attr_int(call, "opset", 13) < 13 && axis != -1)
        return md_fail(err, MD_ERR_UNSUPPORTED, "QLinearSoftmax of opset 12 along axis %d",
                       (int)axis);
    md__onnx_drop_attr(call, "opset");
    return of_one(call, "Softmax", err);
}

/* Inputs: scale and zero point of the result, then three of each operand. */
MD__ONNX_REWRITE(md__onnx_qlinear_concat)
{
    enum { OPERANDS_MAX = 64 };
    int parts[OPERANDS_MAX], count = 0, y = MD_NONE;
    if (call->in_count < 5 || (call->in_count - 2) % 3 != 0)
        return md_fail(err, MD_ERR_CORRUPT, "has %d inputs", call->in_count);
    if (call->in_count - 2 > 3 * OPERANDS_MAX)
        return md_fail(err, MD_ERR_UNSUPPORTED, "QLinearConcat of more than %d operands",
                       OPERANDS_MAX);
    for (int i = 2; i < call->in_count; i += 3) {
        enum md_status status = dequantise(call, i, 1, &parts[count++], err);
        if (status)
            return status;
    }
    enum md_status status = apply(call, "Concat", parts, count, &y, err);
    return status ? status : quantise(call, y, 0, 2, err);
}

/* C, in int32, counts in steps of alpha * a_scale * b_scale. */
static enum md_status add_steps(struct md__onnx_call *call, double alpha, int *value,
                                struct md_error *err)
{
    int scale = MD_NONE, factor = MD_NONE, c = MD_NONE;
    enum md_status status = md__onnx_op(
        call, "Mul", (int[]){md__onnx_input(call, 1), md__onnx_input(call, 4)}, 2, &scale, err);
    if (!status)
        status = md__onnx_scalar(call, alpha, scale, &factor, err);
    if (!status)
        status = md__onnx_op(call, "Mul", (int[]){scale, factor}, 2, &scale, err);
    if (!status)
        status = md__onnx_op(call, "CastLike", (int[]){md__onnx_input(call, 6), scale}, 2, &c, err);
    if (!status)
        status = md__onnx_op(call, "Mul", (int[]){c, scale}, 2, &c, err);
    return status ? status : md__onnx_op(call, "Add", (int[]){*value, c}, 2, value, err);
}

/* Inputs: A and B with scale and zero point each, C?, then scale? and zero point? of the result,
 * which is float without them. */
MD__ONNX_REWRITE(md__onnx_qgemm)
{
    double alpha = md__onnx_attr_float(call, "alpha", 1);
    int pair[2] = {MD_NONE, MD_NONE}, y = MD_NONE;
    bool turned = md__onnx_attr_int(call, "transB", 0) != 0;
    enum md_status status = dequantise(call, 0, 0, &pair[0], err);
    if (!status)
        status = dequantise(call, 3, turned ? 0 : 1, &pair[1], err);
    if (!status)
        status = apply(call, "Gemm", pair, 2, &y, err);
    if (!status && md__onnx_input(call, 6) != MD_NONE)
        status = add_steps(call, alpha, &y, err);
    if (status)
        return status;
    if (md__onnx_input(call, 7) != MD_NONE)
        return quantise(call, y, 7, 0, err);
    call->out[0] = y;
    call->done = true;
    return MD_OK;
}

MD__ONNX_REWRITE(md__onnx_microsoft_quantize)
{
    (void)err;
    call->op = "QuantizeLinear";
    return MD_OK;
}

MD__ONNX_REWRITE(md__onnx_microsoft_dequantize)
{
    (void)err;
    call->op = "DequantizeLinear";
    return MD_OK;
}
