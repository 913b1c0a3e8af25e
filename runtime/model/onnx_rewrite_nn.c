/* Rewrites of operators whose arithmetic changed: normalisation, softmax, old broadcasting. */
#include <string.h>

#include "model/onnx_rewrite.h"

/* Opsets before 7: the second operand lies at an axis of the first, or at its end. */
MD__ONNX_REWRITE(md__onnx_broadcast_1)
{
    const struct md_attr *axis = md__onnx_attr(call, "axis");
    bool aligned = md__onnx_attr_int(call, "broadcast", 0) && axis && axis->type == MD_ATTR_INT;
    int64_t at = aligned ? axis->i : 0;
    md__onnx_drop_attr(call, "broadcast");
    md__onnx_drop_attr(call, "axis");
    if (!aligned || call->in_count != 2)
        return MD_OK;
    return md__onnx_align(call, &call->in[1], call->in[0], at, err);
}

/* Opsets before 7: one slope for all, or one for each channel. */
MD__ONNX_REWRITE(md__onnx_prelu_1)
{
    const struct md_tensor *slope = md__onnx_constant(call, md__onnx_input(call, 1));
    if (call->in_count != 2 || (slope && md_tensor_count(slope) == 1))
        return MD_OK;
    return md__onnx_align(call, &call->in[1], call->in[0], 1, err);
}

static bool asks_for_more_outputs(const struct md__onnx_call *call)
{
    bool more = false;
    for (int i = 1; i < call->out_count; i++)
        more |= call->node->outputs[i][0] != '\0';
    return more;
}

MD__ONNX_REWRITE(md__onnx_dropout_1)
{
    bool training = call->opset < 7 && !md__onnx_attr_int(call, "is_test", 0);
    if (training && md__onnx_attr_float(call, "ratio", 0.5) != 0)
        return md_fail(err, MD_ERR_UNSUPPORTED, "Dropout with \"is_test\" 0 is for training");
    md__onnx_drop_attr(call, "is_test");
    md__onnx_drop_attr(call, "ratio");
    return MD_OK;
}

/* Scale, bias, mean and variance of the shape of a sample, not one number for each channel. */
static enum md_status normalize_each(struct md__onnx_call *call, struct md_error *err)
{
    int pair[2], at = MD_NONE, deviation = MD_NONE;
    double epsilon = md__onnx_attr_float(call, "epsilon", 1e-5f);
    enum md_status status =
        md__onnx_op(call, "Sub", (int[]){call->in[0], call->in[3]}, 2, &at, err);
    pair[0] = call->in[4];
    if (!status)
        status = md__onnx_scalar(call, epsilon, call->in[4], &pair[1], err);
    if (!status)
        status = md__onnx_op(call, "Add", pair, 2, &deviation, err);
    if (!status)
        status = md__onnx_op(call, "Sqrt", &deviation, 1, &deviation, err);
    if (!status)
        status = md__onnx_op(call, "Div", (int[]){at, deviation}, 2, &at, err);
    if (!status)
        status = md__onnx_op(call, "Mul", (int[]){at, call->in[1]}, 2, &at, err);
    if (!status)
        status = md__onnx_op(call, "Add", (int[]){at, call->in[2]}, 2, &call->out[0], err);
    call->done = true;
    return status;
}

MD__ONNX_REWRITE(md__onnx_batch_norm_1)
{
    bool each = !md__onnx_attr_int(call, "spatial", 1);
    if (asks_for_more_outputs(call))
        return md_fail(err, MD_ERR_UNSUPPORTED,
                       "BatchNormalization with statistics as outputs "
                       "is for training");
    call->out_count = 1;
    md__onnx_drop_attr(call, "spatial");
    md__onnx_drop_attr(call, "is_test");
    return each && call->in_count == 5 ? normalize_each(call, err) : MD_OK;
}

/* Scale and bias were one number for each group; the newest has one for each channel. */
static enum md_status spread(struct md__onnx_call *call, int *value, int target,
                             struct md_error *err)
{
    int pair[2] = {*value, MD_NONE};
    enum md_status status = md__onnx_ints(call, (int64_t[]){1}, 1, &pair[1], err);
    if (!status)
        status = md__onnx_op(call, "Unsqueeze", pair, 2, &pair[0], err);
    pair[1] = target;
    if (!status)
        status = md__onnx_op(call, "Expand", pair, 2, &pair[0], err);
    if (!status)
        status = md__onnx_ints(call, (int64_t[]){-1}, 1, &pair[1], err);
    return status ? status : md__onnx_op(call, "Reshape", pair, 2, value, err);
}

MD__ONNX_REWRITE(md__onnx_group_norm_18)
{
    int64_t groups = md__onnx_attr_int(call, "num_groups", 0);
    const struct md_attr ends[] = {{.name = "start", .type = MD_ATTR_INT, .i = 1},
                                   {.name = "end", .type = MD_ATTR_INT, .i = 2}};
    int pair[2] = {MD_NONE, MD_NONE}, channels = MD_NONE, target = MD_NONE;
    if (groups < 1 || call->in_count != 3)
        return md_fail(err, MD_ERR_CORRUPT, "has %d inputs and \"num_groups\" %lld", call->in_count,
                       (long long)groups);
    enum md_status status = md__onnx_emit(call, "Shape", call->in, 1, ends, 2, &channels, 1, err);
    pair[0] = channels;
    if (!status)
        status = md__onnx_ints(call, &groups, 1, &pair[1], err);
    int count = pair[1];
    if (!status)
        status = md__onnx_op(call, "Div", pair, 2, &target, err);
    pair[0] = count, pair[1] = target;
    if (!status)
        status = md__onnx_op_int(call, "Concat", pair, 2, "axis", 0, &target, err);
    if (!status)
        status = spread(call, &call->in[1], target, err);
    return status ? status : spread(call, &call->in[2], target, err);
}

/* -1 when it is not known while reading. */
static int rank_of(const struct md__onnx_call *call, int value)
{
    const struct md_value *info = &call->scope->body->graph->values[value];
    return value >= 0 && info->producer == MD_NONE ? info->shape.rank : -1;
}

/* Softmax, LogSoftmax and Hardmax saw a matrix: the dimensions before `axis`, and the others. */
MD__ONNX_REWRITE(md__onnx_softmax_1)
{
    int64_t axis = md__onnx_attr_int(call, "axis", 1);
    int shape = MD_NONE, at = MD_NONE;
    if (call->in_count != 1)
        return md_fail(err, MD_ERR_CORRUPT, "has %d inputs, not 1", call->in_count);
    if (axis == -1 || axis + 1 == rank_of(call, call->in[0])) {
        md__onnx_put_int(call, "axis", -1);
        return MD_OK;
    }
    enum md_status status = md__onnx_op(call, "Shape", call->in, 1, &shape, err);
    if (!status)
        status = md__onnx_op_int(call, "Flatten", call->in, 1, "axis", axis, &at, err);
    if (!status)
        status = md__onnx_op_int(call, call->op, &at, 1, "axis", -1, &at, err);
    if (!status)
        status = md__onnx_op(call, "Reshape", (int[]){at, shape}, 2, &call->out[0], err);
    call->done = true;
    return status;
}
