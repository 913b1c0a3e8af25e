/*
 * Shape rules of the operators on channels-last tensors: the rule of the ONNX operator that each
 * stands for, on shapes turned to where ONNX has the channels, and what it gives turned back.
 */
#include <string.h>

#include "graph/activation.h"
#include "graph/conv_pair.h"
#include "graph/infer.h"

#define INPUTS_MAX 9

/* [N, D.., C] as [N, C, D..], or back. */
static struct md_shape turned(const struct md_shape *shape, bool to_last)
{
    struct md_shape made = *shape;
    int last = shape->rank - 1;
    if (last < 2)
        return made;
    made.dim[to_last ? last : 1] = shape->dim[to_last ? 1 : last];
    for (int i = 2; i <= last; i++)
        made.dim[to_last ? i - 1 : i] = shape->dim[to_last ? i : i - 1];
    return made;
}

enum md_status md__infer_last(const struct md_node *node, const struct md_value_info *in,
                              int in_count, struct md_value_info *out, int out_count,
                              unsigned inputs, md_infer_rule rule, struct md_error *err)
{
    struct md_value_info first[INPUTS_MAX];
    memset(first, 0, sizeof first);
    for (int i = 0; i < in_count && i < INPUTS_MAX; i++) {
        first[i] = in[i];
        if (inputs >> i & 1)
            first[i].shape = turned(&in[i].shape, false);
    }
    enum md_status status = rule(node, first, in_count, out, out_count, err);
    for (int i = 0; !status && i < out_count; i++)
        out[i].shape = turned(&out[i].shape, true);
    return status;
}

/* A number for each channel of x, [N or 1, 1.., C]. */
static enum md_status expect_gate(const struct md_value_info *in, int i, struct md_error *err)
{
    struct md_shape wanted = in[0].shape;
    for (int k = 0; k < wanted.rank - 1; k++)
        if (k > 0 || (in[i].shape.rank > 0 && in[i].shape.dim[0] == 1))
            wanted.dim[k] = 1;
    enum md_status status = md__infer_dtype(in, i, MD_F32, err);
    return status ? status : md__infer_expect(in, i, "gate", wanted.rank, wanted.dim, err);
}

/* X, W, B?, Z?, gate? */
MD_INFER_RULE(md_infer_conv_last)
{
    enum md_status status = md__infer_dtype(in, 0, MD_F32, err);
    if (!status && md__has(in, in_count, 4))
        status = expect_gate(in, 4, err);
    return status ? status
                  : md__infer_last(node, in, in_count < 4 ? in_count : 4, out, out_count,
                                   1u << 0 | 1u << 3, md_infer_fused_conv, err);
}

/* X, W1, B1, W2, B2? */
MD_INFER_RULE(md_infer_conv_pair_last)
{
    struct md_conv_pair pair;
    struct md_value_info second[3] = {{0}};
    md_conv_pair_split(node, &pair);
    enum md_status status = md_infer_conv_last(&pair.node[0], in, 3, second, 1, err);
    second[1] = in[3];
    if (in_count > 4)
        second[2] = in[4];
    return status ? status
                  : md_infer_conv_last(&pair.node[1], second, pair.node[1].in_count, out, out_count,
                                       err);
}

/* X, W, B? */
MD_INFER_RULE(md_infer_conv_transpose_last)
{
    enum md_status status = md__infer_dtype(in, 0, MD_F32, err);
    return status ? status
                  : md__infer_last(node, in, in_count, out, out_count, 1u << 0,
                                   md_infer_conv_transpose, err);
}

/* x, its scale and zero point, weights as ONNX has them, ...: as QLinearConv */
MD_INFER_RULE(md_infer_qlinear_conv_last)
{
    return md__infer_last(node, in, in_count, out, out_count, 1u << 0, md_infer_qlinear_conv, err);
}

MD_INFER_RULE(md_infer_conv_integer_last)
{
    return md__infer_last(node, in, in_count, out, out_count, 1u << 0, md_infer_conv_integer, err);
}

/* Bytes have maxima, too. */
MD_INFER_RULE(md_infer_pool_last)
{
    bool bytes = in[0].dtype == MD_U8 || in[0].dtype == MD_I8;
    enum md_status status = MD_OK;
    if (node->op != MD_OP_MAX_POOL_LAST || !bytes)
        status = md__infer_dtype(in, 0, MD_F32, err);
    return status ? status
                  : md__infer_last(node, in, in_count, out, out_count, 1u << 0, md_infer_pool, err);
}

MD_INFER_RULE(md_infer_global_pool_last)
{
    enum md_status status = md__infer_dtype(in, 0, MD_F32, err);
    return status ? status
                  : md__infer_last(node, in, in_count, out, out_count, 1u << 0,
                                   md_infer_global_pool, err);
}

/* What `rule` gives for the inputs before z, and z like it; an activation. */
static enum md_status infer_tail(const struct md_node *node, const struct md_value_info *in,
                                 int in_count, struct md_value_info *out, int out_count,
                                 md_infer_rule rule, struct md_error *err)
{
    struct md_activation activation;
    int z = md__last_residual(node->op);
    enum md_status status = md_activation_read(node, &activation, err);
    if (!status)
        status = md__infer_dtype(in, 0, MD_F32, err);
    if (!status)
        status = md__infer_last(node, in, in_count < z ? in_count : z, out, out_count, 1u << 0,
                                rule, err);
    if (status || !md__has(in, in_count, z))
        return status;
    status = md__infer_dtype(in, z, MD_F32, err);
    return status ? status : md__infer_expect(in, z, "z", out[0].shape.rank, out[0].shape.dim, err);
}

/* X, scale, B, (mean, variance,) z? */
MD_INFER_RULE(md_infer_norm_last)
{
    return infer_tail(node, in, in_count, out, out_count,
                      node->op == MD_OP_BATCH_NORM_LAST ? md_infer_batch_norm : md_infer_group_norm,
                      err);
}

/* X, roi?, scales?, sizes?, z? */
MD_INFER_RULE(md_infer_resize_last)
{
    return infer_tail(node, in, in_count, out, out_count, md_infer_resize, err);
}
