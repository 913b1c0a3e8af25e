/*
 * Which operator runs on which device kernel: one row an operator, the families in their files.
 */
#ifndef MD_KERNELS_CUDA_OPS_TABLE_H
#define MD_KERNELS_CUDA_OPS_TABLE_H

#include "graph/device.h"

/* ops_elementwise.c */
extern const struct md_device_kernel md__cuda_op_unary, md__cuda_op_not_bool, md__cuda_op_test,
    md__cuda_op_clip, md__cuda_op_cast, md__cuda_op_binary, md__cuda_op_compare, md__cuda_op_where;

#define MD__CUDA_ROW(id, kernel) [MD_OP_##id] = &md__cuda_op_##kernel,

#define MD__CUDA_TABLE                                                                             \
    MD__CUDA_ROW(ABS, unary)                                                                       \
    MD__CUDA_ROW(ACOS, unary)                                                                      \
    MD__CUDA_ROW(ACOSH, unary)                                                                     \
    MD__CUDA_ROW(ASIN, unary)                                                                      \
    MD__CUDA_ROW(ASINH, unary)                                                                     \
    MD__CUDA_ROW(ATAN, unary)                                                                      \
    MD__CUDA_ROW(ATANH, unary)                                                                     \
    MD__CUDA_ROW(CEIL, unary)                                                                      \
    MD__CUDA_ROW(CELU, unary)                                                                      \
    MD__CUDA_ROW(COS, unary)                                                                       \
    MD__CUDA_ROW(COSH, unary)                                                                      \
    MD__CUDA_ROW(ELU, unary)                                                                       \
    MD__CUDA_ROW(ERF, unary)                                                                       \
    MD__CUDA_ROW(EXP, unary)                                                                       \
    MD__CUDA_ROW(FLOOR, unary)                                                                     \
    MD__CUDA_ROW(GELU, unary)                                                                      \
    MD__CUDA_ROW(HARD_SIGMOID, unary)                                                              \
    MD__CUDA_ROW(HARD_SWISH, unary)                                                                \
    MD__CUDA_ROW(LEAKY_RELU, unary)                                                                \
    MD__CUDA_ROW(LOG, unary)                                                                       \
    MD__CUDA_ROW(MISH, unary)                                                                      \
    MD__CUDA_ROW(NEG, unary)                                                                       \
    MD__CUDA_ROW(RECIPROCAL, unary)                                                                \
    MD__CUDA_ROW(RELU, unary)                                                                      \
    MD__CUDA_ROW(ROUND, unary)                                                                     \
    MD__CUDA_ROW(SELU, unary)                                                                      \
    MD__CUDA_ROW(SHRINK, unary)                                                                    \
    MD__CUDA_ROW(SIGMOID, unary)                                                                   \
    MD__CUDA_ROW(SIGN, unary)                                                                      \
    MD__CUDA_ROW(SIN, unary)                                                                       \
    MD__CUDA_ROW(SINH, unary)                                                                      \
    MD__CUDA_ROW(SOFTPLUS, unary)                                                                  \
    MD__CUDA_ROW(SOFTSIGN, unary)                                                                  \
    MD__CUDA_ROW(SQRT, unary)                                                                      \
    MD__CUDA_ROW(SWISH, unary)                                                                     \
    MD__CUDA_ROW(TAN, unary)                                                                       \
    MD__CUDA_ROW(TANH, unary)                                                                      \
    MD__CUDA_ROW(THRESHOLDED_RELU, unary)                                                          \
    MD__CUDA_ROW(NOT, not_bool)                                                                    \
    MD__CUDA_ROW(IS_INF, test)                                                                     \
    MD__CUDA_ROW(IS_NAN, test)                                                                     \
    MD__CUDA_ROW(CLIP, clip)                                                                       \
    MD__CUDA_ROW(CAST, cast)                                                                       \
    MD__CUDA_ROW(CAST_LIKE, cast)                                                                  \
    MD__CUDA_ROW(ADD, binary)                                                                      \
    MD__CUDA_ROW(SUB, binary)                                                                      \
    MD__CUDA_ROW(MUL, binary)                                                                      \
    MD__CUDA_ROW(DIV, binary)                                                                      \
    MD__CUDA_ROW(POW, binary)                                                                      \
    MD__CUDA_ROW(MIN, binary)                                                                      \
    MD__CUDA_ROW(MAX, binary)                                                                      \
    MD__CUDA_ROW(SUM, binary)                                                                      \
    MD__CUDA_ROW(MEAN, binary)                                                                     \
    MD__CUDA_ROW(MOD, binary)                                                                      \
    MD__CUDA_ROW(PRELU, binary)                                                                    \
    MD__CUDA_ROW(SWIGLU, binary)                                                                   \
    MD__CUDA_ROW(AND, binary)                                                                      \
    MD__CUDA_ROW(OR, binary)                                                                       \
    MD__CUDA_ROW(XOR, binary)                                                                      \
    MD__CUDA_ROW(BITWISE_AND, binary)                                                              \
    MD__CUDA_ROW(BITWISE_OR, binary)                                                               \
    MD__CUDA_ROW(BITWISE_XOR, binary)                                                              \
    MD__CUDA_ROW(EQUAL, compare)                                                                   \
    MD__CUDA_ROW(LESS, compare)                                                                    \
    MD__CUDA_ROW(LESS_OR_EQUAL, compare)                                                           \
    MD__CUDA_ROW(GREATER, compare)                                                                 \
    MD__CUDA_ROW(GREATER_OR_EQUAL, compare)                                                        \
    MD__CUDA_ROW(WHERE, where)

#endif
