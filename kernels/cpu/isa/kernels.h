/*
 * The fast kernels of one instruction set: which operator each serves, and its name, which carries
 * the instruction set. table.c puts them into a backend.
 */
#ifndef MD_KERNELS_CPU_ISA_KERNELS_H
#define MD_KERNELS_CPU_ISA_KERNELS_H

#include "kernels/cpu/isa/vec.h"

#define md__attention     MD_ISA_SYMBOL(md__attention)
#define md__binary        MD_ISA_SYMBOL(md__binary)
#define md__binary_of_two MD_ISA_SYMBOL(md__binary_of_two)
#define md__conv          MD_ISA_SYMBOL(md__conv)
#define md__conv_last     MD_ISA_SYMBOL(md__conv_last)
#define md__conv_pair     MD_ISA_SYMBOL(md__conv_pair)
#define md__fused_conv    MD_ISA_SYMBOL(md__fused_conv)
#define md__clip          MD_ISA_SYMBOL(md__clip)
#define md__chain         MD_ISA_SYMBOL(md__chain)
#define md__dot_attention MD_ISA_SYMBOL(md__dot_attention)
#define md__gated         MD_ISA_SYMBOL(md__gated)
#define md__gemm          MD_ISA_SYMBOL(md__gemm)
#define md__layer_norm    MD_ISA_SYMBOL(md__layer_norm)
#define md__linear        MD_ISA_SYMBOL(md__linear)
#define md__matmul        MD_ISA_SYMBOL(md__matmul)
#define md__recurrent     MD_ISA_SYMBOL(md__recurrent)
#define md__rotary        MD_ISA_SYMBOL(md__rotary)
#define md__selection     MD_ISA_SYMBOL(md__selection)
#define md__softmax       MD_ISA_SYMBOL(md__softmax)
#define md__unary         MD_ISA_SYMBOL(md__unary)
#define md__weighted_sum  MD_ISA_SYMBOL(md__weighted_sum)

extern const struct md_kernel md__chain, md__dot_attention, md__rotary;
extern const struct md_kernel md__attention, md__binary, md__binary_of_two, md__clip, md__conv,
    md__conv_last, md__conv_pair, md__fused_conv, md__gated, md__gemm, md__layer_norm, md__linear,
    md__matmul, md__recurrent, md__selection, md__softmax, md__unary, md__weighted_sum;

/* reductions, and operators on channels-last tensors */
#define md__global_pool_last MD_ISA_SYMBOL(md__global_pool_last)
#define md__norm_last        MD_ISA_SYMBOL(md__norm_last)
#define md__pool_last        MD_ISA_SYMBOL(md__pool_last)
#define md__reduce           MD_ISA_SYMBOL(md__reduce)
#define md__resize_last      MD_ISA_SYMBOL(md__resize_last)

extern const struct md_kernel md__global_pool_last, md__norm_last, md__pool_last, md__reduce,
    md__resize_last;

/* bytes: quantised operators */
#define md__dequantize       MD_ISA_SYMBOL(md__dequantize)
#define md__dynamic_quantize MD_ISA_SYMBOL(md__dynamic_quantize)
#define md__int8_add         MD_ISA_SYMBOL(md__int8_add)
#define md__int8_conv_last   MD_ISA_SYMBOL(md__int8_conv_last)
#define md__int8_dense       MD_ISA_SYMBOL(md__int8_dense)
#define md__int8_pool        MD_ISA_SYMBOL(md__int8_pool)
#define md__quantize         MD_ISA_SYMBOL(md__quantize)

extern const struct md_kernel md__dequantize, md__dynamic_quantize, md__int8_add,
    md__int8_conv_last, md__int8_dense, md__quantize;
/* MaxPoolLast of bytes: pool_last.c hands it on. */
enum md_status md__int8_pool(const struct md_kernel_call *call, struct md_error *err);

/* comparisons, choices, types */
#define md__cast    MD_ISA_SYMBOL(md__cast)
#define md__compare MD_ISA_SYMBOL(md__compare)
#define md__power   MD_ISA_SYMBOL(md__power)
#define md__where   MD_ISA_SYMBOL(md__where)

extern const struct md_kernel md__cast, md__compare, md__power, md__where;

/* detection */
#define md__non_max_suppression MD_ISA_SYMBOL(md__non_max_suppression)

extern const struct md_kernel md__non_max_suppression;

/* Those that are compiled for AMX too: CMakeLists.txt names their sources. */
#define MD__TILE_KERNELS(X)                                                                        \
    X(MATMUL, md__matmul)                                                                          \
    X(GEMM, md__gemm)                                                                              \
    X(LSTM, md__recurrent)                                                                         \
    X(RNN, md__recurrent)                                                                          \
    X(GRU, md__recurrent)                                                                          \
    X(LINEAR, md__linear)                                                                          \
    X(GATED_LINEAR_UNIT, md__linear)                                                               \
    X(RESAMPLE_NORM, md__gated)                                                                    \
    X(GATE_ADD_NORM, md__gated)                                                                    \
    X(GATED_RESIDUAL, md__gated)                                                                   \
    X(VARIABLE_SELECTION, md__selection)                                                           \
    X(INTERPRETABLE_ATTENTION, md__attention)

#define MD__ISA_KERNELS(X)                                                                         \
    X(CHAIN, md__chain)                                                                            \
    X(NON_MAX_SUPPRESSION, md__non_max_suppression)                                                \
    X(EQUAL, md__compare)                                                                          \
    X(LESS, md__compare)                                                                           \
    X(LESS_OR_EQUAL, md__compare)                                                                  \
    X(GREATER, md__compare)                                                                        \
    X(GREATER_OR_EQUAL, md__compare)                                                               \
    X(AND, md__compare)                                                                            \
    X(OR, md__compare)                                                                             \
    X(WHERE, md__where)                                                                            \
    X(CAST, md__cast)                                                                              \
    X(CAST_LIKE, md__cast)                                                                         \
    X(POW, md__power)                                                                              \
    X(ABS, md__unary)                                                                              \
    X(NEG, md__unary)                                                                              \
    X(EXP, md__unary)                                                                              \
    X(LOG, md__unary)                                                                              \
    X(ERF, md__unary)                                                                              \
    X(GELU, md__unary)                                                                             \
    X(SWISH, md__unary)                                                                            \
    X(MISH, md__unary)                                                                             \
    X(LEAKY_RELU, md__unary)                                                                       \
    X(HARD_SIGMOID, md__unary)                                                                     \
    X(HARD_SWISH, md__unary)                                                                       \
    X(CLIP, md__clip)                                                                              \
    X(SQRT, md__unary)                                                                             \
    X(RECIPROCAL, md__unary)                                                                       \
    X(SIGMOID, md__unary)                                                                          \
    X(TANH, md__unary)                                                                             \
    X(RELU, md__unary)                                                                             \
    X(ELU, md__unary)                                                                              \
    X(SOFTPLUS, md__unary)                                                                         \
    X(ADD, md__binary_of_two)                                                                      \
    X(SUB, md__binary_of_two)                                                                      \
    X(MUL, md__binary_of_two)                                                                      \
    X(DIV, md__binary_of_two)                                                                      \
    X(MIN, md__binary)                                                                             \
    X(MAX, md__binary)                                                                             \
    X(CONV, md__conv)                                                                              \
    X(CONV_LAST, md__conv_last)                                                                    \
    X(CONV_TRANSPOSE_LAST, md__conv_last)                                                          \
    X(CONV_PAIR_LAST, md__conv_pair)                                                               \
    X(FUSED_CONV, md__fused_conv)                                                                  \
    X(MATMUL, md__matmul)                                                                          \
    X(GEMM, md__gemm)                                                                              \
    X(LSTM, md__recurrent)                                                                         \
    X(RNN, md__recurrent)                                                                          \
    X(GRU, md__recurrent)                                                                          \
    X(ATTENTION, md__dot_attention)                                                                \
    X(ROTARY_EMBEDDING, md__rotary)                                                                \
    X(SOFTMAX, md__softmax)                                                                        \
    X(LAYER_NORM, md__layer_norm)                                                                  \
    X(RMS_NORM, md__layer_norm)                                                                    \
    X(LINEAR, md__linear)                                                                          \
    X(GATED_LINEAR_UNIT, md__linear)                                                               \
    X(RESAMPLE_NORM, md__gated)                                                                    \
    X(GATE_ADD_NORM, md__gated)                                                                    \
    X(GATED_RESIDUAL, md__gated)                                                                   \
    X(WEIGHTED_SUM, md__weighted_sum)                                                              \
    X(VARIABLE_SELECTION, md__selection)                                                           \
    X(INTERPRETABLE_ATTENTION, md__attention)                                                      \
    X(REDUCE_MAX, md__reduce)                                                                      \
    X(REDUCE_MEAN, md__reduce)                                                                     \
    X(REDUCE_MIN, md__reduce)                                                                      \
    X(REDUCE_SUM, md__reduce)                                                                      \
    X(MAX_POOL_LAST, md__pool_last)                                                                \
    X(AVERAGE_POOL_LAST, md__pool_last)                                                            \
    X(GLOBAL_MAX_POOL_LAST, md__global_pool_last)                                                  \
    X(GLOBAL_AVERAGE_POOL_LAST, md__global_pool_last)                                              \
    X(BATCH_NORM_LAST, md__norm_last)                                                              \
    X(INSTANCE_NORM_LAST, md__norm_last)                                                           \
    X(GROUP_NORM_LAST, md__norm_last)                                                              \
    X(RESIZE_LAST, md__resize_last)                                                                \
    X(QUANTIZE_LINEAR, md__quantize)                                                               \
    X(DEQUANTIZE_LINEAR, md__dequantize)                                                           \
    X(DYNAMIC_QUANTIZE_LINEAR, md__dynamic_quantize)                                               \
    X(MATMUL_INTEGER, md__int8_dense)                                                              \
    X(QLINEAR_MATMUL, md__int8_dense)                                                              \
    X(MATMUL_INTEGER_TO_FLOAT, md__int8_dense)                                                     \
    X(QLINEAR_ADD, md__int8_add)                                                                   \
    X(QLINEAR_CONV_LAST, md__int8_conv_last)                                                       \
    X(CONV_INTEGER_LAST, md__int8_conv_last)                                                       \
    X(QLINEAR_GEMM, md__int8_dense)

#endif
