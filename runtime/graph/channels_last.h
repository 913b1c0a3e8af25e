/*
 * What the pass channels_last knows of operators: read by that one file, and added to by whoever
 * gives an operator a kernel for channels-last tensors. A new row of `swaps` needs an operator in
 * ops.h whose shape rule goes through md__infer_last (infer.h) and whose body turns its inputs with
 * md__emit_turned (body.h).
 */
#ifndef MD_GRAPH_CHANNELS_LAST_H
#define MD_GRAPH_CHANNELS_LAST_H

#include "graph/ops.h"

/* Operators with a channels-last operator of the same inputs and attributes. */
static const struct swap {
    enum md_op op, last;
    unsigned inputs; /* bit i: input i has channels, and is channels-last there */
    bool leads;      /* changes whatever comes before it */
} swaps[] = {
    {MD_OP_CONV, MD_OP_CONV_LAST, 1u << 0, true},
    {MD_OP_FUSED_CONV, MD_OP_CONV_LAST, 1u << 0 | 1u << 3, true},
    {MD_OP_CONV_TRANSPOSE, MD_OP_CONV_TRANSPOSE_LAST, 1u << 0, true},
    {MD_OP_QLINEAR_CONV, MD_OP_QLINEAR_CONV_LAST, 1u << 0, true},
    {MD_OP_CONV_INTEGER, MD_OP_CONV_INTEGER_LAST, 1u << 0, true},
    {MD_OP_MAX_POOL, MD_OP_MAX_POOL_LAST, 1u << 0, false},
    {MD_OP_AVERAGE_POOL, MD_OP_AVERAGE_POOL_LAST, 1u << 0, false},
    {MD_OP_GLOBAL_MAX_POOL, MD_OP_GLOBAL_MAX_POOL_LAST, 1u << 0, false},
    {MD_OP_GLOBAL_AVERAGE_POOL, MD_OP_GLOBAL_AVERAGE_POOL_LAST, 1u << 0, false},
    {MD_OP_BATCH_NORM, MD_OP_BATCH_NORM_LAST, 1u << 0, false},
    {MD_OP_INSTANCE_NORM, MD_OP_INSTANCE_NORM_LAST, 1u << 0, false},
    {MD_OP_GROUP_NORM, MD_OP_GROUP_NORM_LAST, 1u << 0, false},
    {MD_OP_RESIZE, MD_OP_RESIZE_LAST, 1u << 0, false},
};

/* Elementwise: every input of the rank of the output is turned, scalars stay. */
static const enum md_op elementwise[] = {
    /* clang-format off */
    MD_OP_IDENTITY, MD_OP_ABS,          MD_OP_CEIL,       MD_OP_CELU,  MD_OP_COS,
    MD_OP_ELU,      MD_OP_ERF,          MD_OP_EXP,        MD_OP_FLOOR, MD_OP_GELU,
    MD_OP_LOG,      MD_OP_HARD_SIGMOID, MD_OP_HARD_SWISH, MD_OP_MISH,  MD_OP_LEAKY_RELU,
    MD_OP_NEG,      MD_OP_RECIPROCAL,   MD_OP_RELU,       MD_OP_ROUND, MD_OP_SELU,
    MD_OP_SIGMOID,  MD_OP_SIGN,         MD_OP_SIN,        MD_OP_SQRT,  MD_OP_SOFTPLUS,
    MD_OP_SOFTSIGN, MD_OP_SWISH,        MD_OP_TANH,       MD_OP_CLIP,  MD_OP_THRESHOLDED_RELU,
    MD_OP_ADD,      MD_OP_SUB,          MD_OP_MUL,        MD_OP_DIV,   MD_OP_POW,
    MD_OP_PRELU,    MD_OP_MIN,          MD_OP_MAX,        MD_OP_SUM,   MD_OP_MEAN,
    MD_OP_WHERE,    MD_OP_CAST,
    MD_OP_QLINEAR_ADD, MD_OP_QUANTIZE_LINEAR, MD_OP_DEQUANTIZE_LINEAR, /* of one scale for all */
    /* clang-format on */
};

#endif
