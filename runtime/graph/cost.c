/*
 * What a node costs, counted from shapes: multiply and add apart (FLOP = 2 MAC) of products and
 * recurrences, bytes touched once, and evaluations of exp, tanh and the like. Elementwise
 * arithmetic is left out of the FLOP: it is memory traffic, which the bytes already count.
 */
#include "graph/conv_pair.h"
#include "graph/einsum.h"
#include "graph/evaluate.h"
#include "graph/selection.h"

/* Operators whose work is no simple function of their sizes are computed ahead up to here. */
#define HEAVY_ELEMENTS_MAX 8192

static double elements(const struct md_value_info *info)
{
    double count = 1;
    for (int i = 0; i < info->shape.rank; i++)
        count *= (double)info->shape.dim[i];
    return info->dtype ? count : 0;
}

static double last_dim(const struct md_value_info *info)
{
    return info->shape.rank ? (double)info->shape.dim[info->shape.rank - 1] : 1;
}

static double rows(const struct md_value_info *info)
{
    double features = last_dim(info);
    return features > 0 ? elements(info) / features : 0;
}

static double bytes_of(const struct md_value_info *info)
{
    return elements(info) * (double)md_dtype_bytes(info->dtype);
}

/* gates: 4 of an LSTM, 3 of a GRU; activations per unit and step likewise. */
static void recurrent_cost(const struct md_value_info *in, double gates, double activations,
                           struct md_plan_report *report)
{
    double row_steps = rows(&in[0]), directions = (double)in[2].shape.dim[0];
    double hidden = last_dim(&in[2]), features = last_dim(&in[0]);
    report->flops += 2 * row_steps * directions * gates * hidden * (features + hidden);
    report->transcendentals += row_steps * directions * hidden * activations;
}

static void gated_residual_cost(const struct md_node *node, const struct md_value_info *in,
                                const struct md_value_info *out, struct md_plan_report *report)
{
    double count = rows(&in[0]), hidden = (double)in[1].shape.dim[0];
    double weights = elements(&in[1]) + elements(&in[3]) + elements(&in[5]);
    report->flops += 2 * count * weights;
    if (node->in_count > 10 && in[9].dtype)
        report->flops += 2 * rows(&in[9]) * elements(&in[10]);
    report->transcendentals += count * hidden + elements(out);
}

/* What the networks of VariableSelection cost once scalars need no prescaler: see fused.md. */
static void selection_cost(const struct md_node *node, const struct md_value_info *in,
                           const struct md_value_info *out, struct md_plan_report *report)
{
    struct md_selection selection;
    double count = rows(&in[0]), weights = 0, activations = 0;
    if (!md__selection_of(node, &selection))
        return;
    double variables = (double)(selection.reals + selection.categoricals);
    double hidden = elements(&in[2]), inputs = (double)selection.reals;
    for (int i = 0; i < selection.categoricals; i++)
        inputs += last_dim(&in[md__selection_categorical(i)]);
    for (int i = 0; i < selection.reals; i++) {
        const struct md_value_info *real = &in[md__selection_real(&selection, i)];
        weights += elements(&real[MD_REAL_FC1 + 1]) + elements(&real[MD_REAL_FC2]) +
                   elements(&real[MD_REAL_GLU]);
        activations += elements(&real[MD_REAL_FC1 + 1]) + last_dim(out);
    }
    weights += inputs * (hidden + variables) + elements(&in[3]) + elements(&in[5]);
    report->flops += 2 * count * (weights + variables * last_dim(out));
    report->transcendentals += count * (activations + hidden + 2 * variables);
    if (node->in_count > 10 && in[9].dtype)
        report->flops += 2 * rows(&in[9]) * elements(&in[10]);
}

static void attention_cost(const struct md_node *node, const struct md_value_info *in,
                           const struct md_value_info *out, struct md_plan_report *report)
{
    double keys = (double)in[1].shape.dim[1], heads = (double)md_node_int(node, "heads", 1);
    report->flops += 2 * elements(&in[0]) * keys + 2 * elements(out) * keys;
    report->transcendentals += rows(&in[0]) * keys * heads;
}

/* All products of one multiply and one add: the sizes of all labels multiplied. */
static void einsum_cost(const struct md_node *node, const struct md_value_info *in,
                        struct md_plan_report *report)
{
    const struct md_shape *shapes[MD__EINSUM_OPERANDS_MAX];
    struct md__einsum einsum;
    double products = 1;
    for (int i = 0; i < node->in_count && i < MD__EINSUM_OPERANDS_MAX; i++)
        shapes[i] = &in[i].shape;
    if (md__einsum_parse(md_node_string(node, "equation", ""), shapes, node->in_count, &einsum,
                         NULL))
        return; /* the shape rule said why */
    for (int i = 0; i < einsum.labels; i++)
        products *= (double)einsum.dim[i];
    report->flops += products * 2 * (node->in_count > 1 ? node->in_count - 1 : 0);
}

/* Evaluations of exp and the like for each element of an elementwise operator's result. */
static int transcendentals_of(enum md_op op)
{
    static const enum md_op one[] = {
        MD_OP_ACOS,   MD_OP_ACOSH,      MD_OP_ASIN,  MD_OP_ASINH, MD_OP_ATAN, MD_OP_ATANH,
        MD_OP_CELU,   MD_OP_COS,        MD_OP_COSH,  MD_OP_ELU,   MD_OP_ERF,  MD_OP_EXP,
        MD_OP_GELU,   MD_OP_LOG,        MD_OP_MISH,  MD_OP_POW,   MD_OP_SELU, MD_OP_SIGMOID,
        MD_OP_SIN,    MD_OP_SINH,       MD_OP_SWISH, MD_OP_TAN,   MD_OP_TANH, MD_OP_SOFTMAX,
        MD_OP_SWIGLU, MD_OP_LOG_SOFTMAX};
    for (size_t i = 0; i < sizeof one / sizeof *one; i++)
        if (one[i] == op)
            return 1;
    return op == MD_OP_SOFTPLUS ? 2 : 0;
}

static void conv_pair_cost(const struct md_node *node, const struct md_value_info *in,
                           const struct md_value_info *out, struct md_plan_report *report)
{
    struct md_conv_pair pair;
    struct md_value_info between = {0};
    md_conv_pair_split(node, &pair);
    if (md_infer_conv_last(&pair.node[0], in, 3, &between, 1, NULL))
        return; /* the shape rule said why */
    report->flops += 2 * elements(&between) * elements(&in[1]) / (double)in[1].shape.dim[0];
    report->flops += 2 * elements(out) * elements(&in[3]) / (double)in[3].shape.dim[0];
}

static void operator_cost(const struct md_node *node, const struct md_value_info *in,
                          const struct md_value_info *out, struct md_plan_report *report)
{
    switch (node->op) {
    case MD_OP_MATMUL:
    case MD_OP_MATMUL_INTEGER:
    case MD_OP_QLINEAR_MATMUL:
    case MD_OP_QLINEAR_GEMM:
    case MD_OP_MATMUL_INTEGER_TO_FLOAT:
        report->flops += 2 * elements(out) * last_dim(&in[0]);
        break;
    case MD_OP_QLINEAR_CONV:
    case MD_OP_QLINEAR_CONV_LAST:
        report->flops += 2 * elements(out) * elements(&in[3]) / (double)in[3].shape.dim[0];
        break;
    case MD_OP_GEMM:
        report->flops +=
            2 * elements(out) * (double)in[0].shape.dim[md_node_int(node, "transA", 0) ? 0 : 1];
        break;
    case MD_OP_EINSUM:
        einsum_cost(node, in, report);
        break;
    case MD_OP_CONV:
    case MD_OP_FUSED_CONV:
    case MD_OP_CONV_LAST:
    case MD_OP_CONV_INTEGER:
    case MD_OP_CONV_INTEGER_LAST:
        report->flops += 2 * elements(out) * elements(&in[1]) / (double)in[1].shape.dim[0];
        break;
    case MD_OP_CONV_PAIR_LAST:
        conv_pair_cost(node, in, out, report);
        break;
    case MD_OP_CONV_TRANSPOSE:
    case MD_OP_CONV_TRANSPOSE_LAST:
        report->flops += 2 * elements(&in[0]) * elements(&in[1]) / (double)in[1].shape.dim[0];
        break;
    case MD_OP_LINEAR:
        report->flops += 2 * rows(&in[0]) * elements(&in[1]);
        break;
    case MD_OP_GATED_LINEAR_UNIT:
        report->flops += 2 * rows(&in[0]) * elements(&in[1]);
        report->transcendentals += elements(out);
        break;
    case MD_OP_GATE_ADD_NORM:
        report->flops += 2 * rows(&in[0]) * elements(&in[2]);
        report->transcendentals += elements(out);
        break;
    case MD_OP_GATED_RESIDUAL:
        gated_residual_cost(node, in, out, report);
        break;
    case MD_OP_WEIGHTED_SUM:
        report->flops += 2 * elements(out) * last_dim(&in[0]);
        break;
    case MD_OP_VARIABLE_SELECTION:
        selection_cost(node, in, out, report);
        break;
    case MD_OP_INTERPRETABLE_ATTENTION:
        attention_cost(node, in, out, report);
        break;
    case MD_OP_LSTM:
        recurrent_cost(in, 4, 5, report);
        break;
    case MD_OP_GRU:
        recurrent_cost(in, 3, 3, report);
        break;
    default:
        break;
    }
}

void md__node_cost(const struct md_node *node, const struct md_value_info *in,
                   const struct md_value_info *out, struct md_plan_report *report)
{
    operator_cost(node, in, out, report);
    report->transcendentals += transcendentals_of(node->op) * elements(out);
    for (int i = 0; i < node->in_count; i++)
        report->bytes += bytes_of(&in[i]);
    for (int i = 0; i < node->out_count; i++)
        report->bytes += bytes_of(&out[i]);
}

bool md__node_is_cheap(const struct md_node *node, const struct md_value_info *in,
                       const struct md_value_info *out)
{
    static const enum md_op heavy[] = {MD_OP_DET,
                                       MD_OP_LSTM,
                                       MD_OP_GRU,
                                       MD_OP_ATTENTION,
                                       MD_OP_RESIZE,
                                       MD_OP_GRID_SAMPLE,
                                       MD_OP_ROI_ALIGN,
                                       MD_OP_LINEAR_ATTENTION,
                                       MD_OP_LRN,
                                       MD_OP_MAX_POOL,
                                       MD_OP_AVERAGE_POOL,
                                       MD_OP_DEFORM_CONV,
                                       MD_OP_LP_POOL,
                                       MD_OP_MAX_ROI_POOL,
                                       MD_OP_CAUSAL_CONV,
                                       MD_OP_CONV_INTEGER,
                                       MD_OP_QLINEAR_CONV,
                                       MD_OP_UNIQUE,
                                       MD_OP_CONV_TRANSPOSE,
                                       MD_OP_NON_MAX_SUPPRESSION,
                                       MD_OP_DFT,
                                       MD_OP_STFT,
                                       MD_OP_TOP_K};
    double most = 0;
    for (size_t i = 0; i < sizeof heavy / sizeof *heavy; i++)
        most = heavy[i] == node->op ? HEAVY_ELEMENTS_MAX : most;
    for (int i = 0; most > 0 && i < node->in_count; i++)
        most -= elements(&in[i]);
    for (int i = 0; most > 0 && i < node->out_count; i++)
        most -= md__shape_is_planned(&out[i].shape) ? elements(&out[i]) : 0;
    return most >= 0;
}
