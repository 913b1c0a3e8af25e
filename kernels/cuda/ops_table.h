/*
 * Which operator runs on which device kernel: one row an operator, the families in their files.
 */
#ifndef MD_KERNELS_CUDA_OPS_TABLE_H
#define MD_KERNELS_CUDA_OPS_TABLE_H

#include "graph/device.h"

/* ops_elementwise.c */
extern const struct md_device_kernel md__cuda_op_unary, md__cuda_op_not_bool, md__cuda_op_test,
    md__cuda_op_clip, md__cuda_op_cast, md__cuda_op_binary, md__cuda_op_compare, md__cuda_op_where,
    md__cuda_op_bias_gelu;

/* ops_matrix.c */
extern const struct md_device_kernel md__cuda_op_matmul, md__cuda_op_gemm, md__cuda_op_linear,
    md__cuda_op_glu;
/* ops_einsum.c */
extern const struct md_device_kernel md__cuda_op_einsum;
/* ops_rows.c */
extern const struct md_device_kernel md__cuda_op_line, md__cuda_op_layer_norm,
    md__cuda_op_skip_norm, md__cuda_op_place_norm, md__cuda_op_embed_norm;
/* ops_reduce.c */
extern const struct md_device_kernel md__cuda_op_reduce, md__cuda_op_arg, md__cuda_op_running,
    md__cuda_op_top_k;
/* ops_move.c */
extern const struct md_device_kernel md__cuda_op_copy, md__cuda_op_transpose, md__cuda_op_expand,
    md__cuda_op_slice, md__cuda_op_concat, md__cuda_op_split, md__cuda_op_tile, md__cuda_op_depth,
    md__cuda_op_gather, md__cuda_op_gather_elements, md__cuda_op_pad, md__cuda_op_trilu;

/* ops_windows.c */
extern const struct md_device_kernel md__cuda_op_conv, md__cuda_op_pool, md__cuda_op_global_pool,
    md__cuda_op_conv_bytes, md__cuda_op_deform;
/* ops_resize.c, ops_sample.c */
extern const struct md_device_kernel md__cuda_op_resize, md__cuda_op_sample, md__cuda_op_region,
    md__cuda_op_lrn;

/* ops_recurrent.c, ops_attention.c */
extern const struct md_device_kernel md__cuda_op_recurrent, md__cuda_op_attention,
    md__cuda_op_shared_attention, md__cuda_op_rotary;
/* ops_gated.c */
extern const struct md_device_kernel md__cuda_op_gated_residual, md__cuda_op_gate_add_norm,
    md__cuda_op_resample_norm, md__cuda_op_weighted_sum, md__cuda_op_selection;

/* ops_contrib.c */
extern const struct md_device_kernel md__cuda_op_ms_attention, md__cuda_op_multi_head,
    md__cuda_op_group_query, md__cuda_op_ms_rotary;
/* ops_index.c */
extern const struct md_device_kernel md__cuda_op_gather_nd, md__cuda_op_scatter_nd,
    md__cuda_op_scatter_elements, md__cuda_op_one_hot, md__cuda_op_reverse, md__cuda_op_unpool,
    md__cuda_op_fill_cache;

/* ops_quantized.c */
extern const struct md_device_kernel md__cuda_op_quantize, md__cuda_op_dequantize,
    md__cuda_op_dynamic_quantize, md__cuda_op_byte_product, md__cuda_op_dynamic_product,
    md__cuda_op_packed_product;

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
    MD__CUDA_ROW(WHERE, where) \
    MD__CUDA_ROW(MATMUL, matmul) \
    MD__CUDA_ROW(FUSED_MATMUL, matmul) \
    MD__CUDA_ROW(BIAS_GELU, bias_gelu) \
    MD__CUDA_ROW(FAST_GELU, bias_gelu) \
    MD__CUDA_ROW(QUICK_GELU, bias_gelu) \
    MD__CUDA_ROW(GEMM, gemm) \
    MD__CUDA_ROW(LINEAR, linear) \
    MD__CUDA_ROW(GATED_LINEAR_UNIT, glu) \
    MD__CUDA_ROW(SOFTMAX, line) \
    MD__CUDA_ROW(LOG_SOFTMAX, line) \
    MD__CUDA_ROW(HARDMAX, line) \
    MD__CUDA_ROW(LP_NORMALIZATION, line) \
    MD__CUDA_ROW(LAYER_NORM, layer_norm) \
    MD__CUDA_ROW(RMS_NORM, layer_norm) \
    MD__CUDA_ROW(SIMPLIFIED_LAYER_NORM, layer_norm) \
    MD__CUDA_ROW(SKIP_LAYER_NORM, skip_norm) \
    MD__CUDA_ROW(SKIP_SIMPLIFIED_NORM, skip_norm) \
    MD__CUDA_ROW(BATCH_NORM, place_norm) \
    MD__CUDA_ROW(INSTANCE_NORM, place_norm) \
    MD__CUDA_ROW(GROUP_NORM, place_norm) \
    MD__CUDA_ROW(BATCH_NORM_LAST, place_norm) \
    MD__CUDA_ROW(INSTANCE_NORM_LAST, place_norm) \
    MD__CUDA_ROW(GROUP_NORM_LAST, place_norm) \
    MD__CUDA_ROW(REDUCE_L1, reduce) \
    MD__CUDA_ROW(REDUCE_L2, reduce) \
    MD__CUDA_ROW(REDUCE_LOG_SUM, reduce) \
    MD__CUDA_ROW(REDUCE_LOG_SUM_EXP, reduce) \
    MD__CUDA_ROW(REDUCE_MAX, reduce) \
    MD__CUDA_ROW(REDUCE_MEAN, reduce) \
    MD__CUDA_ROW(REDUCE_MIN, reduce) \
    MD__CUDA_ROW(REDUCE_PROD, reduce) \
    MD__CUDA_ROW(REDUCE_SUM, reduce) \
    MD__CUDA_ROW(REDUCE_SUM_SQUARE, reduce) \
    MD__CUDA_ROW(ARG_MAX, arg) \
    MD__CUDA_ROW(ARG_MIN, arg) \
    MD__CUDA_ROW(CUM_SUM, running) \
    MD__CUDA_ROW(CUM_PROD, running) \
    MD__CUDA_ROW(TOP_K, top_k) \
    MD__CUDA_ROW(IDENTITY, copy) \
    MD__CUDA_ROW(RESHAPE, copy) \
    MD__CUDA_ROW(SQUEEZE, copy) \
    MD__CUDA_ROW(UNSQUEEZE, copy) \
    MD__CUDA_ROW(FLATTEN, copy) \
    MD__CUDA_ROW(TRANSPOSE, transpose) \
    MD__CUDA_ROW(EXPAND, expand) \
    MD__CUDA_ROW(SLICE, slice) \
    MD__CUDA_ROW(CONCAT, concat) \
    MD__CUDA_ROW(SPLIT, split) \
    MD__CUDA_ROW(TILE, tile) \
    MD__CUDA_ROW(DEPTH_TO_SPACE, depth) \
    MD__CUDA_ROW(SPACE_TO_DEPTH, depth) \
    MD__CUDA_ROW(GATHER, gather) \
    MD__CUDA_ROW(GATHER_ELEMENTS, gather_elements) \
    MD__CUDA_ROW(PAD, pad) \
    MD__CUDA_ROW(TRILU, trilu) \
    MD__CUDA_ROW(CONV, conv) \
    MD__CUDA_ROW(CONV_LAST, conv) \
    MD__CUDA_ROW(CONV_TRANSPOSE, conv) \
    MD__CUDA_ROW(CONV_TRANSPOSE_LAST, conv) \
    MD__CUDA_ROW(FUSED_CONV, conv) \
    MD__CUDA_ROW(MAX_POOL, pool) \
    MD__CUDA_ROW(AVERAGE_POOL, pool) \
    MD__CUDA_ROW(LP_POOL, pool) \
    MD__CUDA_ROW(MAX_POOL_LAST, pool) \
    MD__CUDA_ROW(AVERAGE_POOL_LAST, pool) \
    MD__CUDA_ROW(GLOBAL_MAX_POOL, global_pool) \
    MD__CUDA_ROW(GLOBAL_AVERAGE_POOL, global_pool) \
    MD__CUDA_ROW(GLOBAL_LP_POOL, global_pool) \
    MD__CUDA_ROW(GLOBAL_MAX_POOL_LAST, global_pool) \
    MD__CUDA_ROW(GLOBAL_AVERAGE_POOL_LAST, global_pool) \
    MD__CUDA_ROW(RESIZE, resize) \
    MD__CUDA_ROW(RESIZE_LAST, resize) \
    MD__CUDA_ROW(LSTM, recurrent) \
    MD__CUDA_ROW(GRU, recurrent) \
    MD__CUDA_ROW(RNN, recurrent) \
    MD__CUDA_ROW(ATTENTION, attention) \
    MD__CUDA_ROW(MS_ATTENTION, ms_attention) \
    MD__CUDA_ROW(MS_QATTENTION, ms_attention) \
    MD__CUDA_ROW(MULTI_HEAD_ATTENTION, multi_head) \
    MD__CUDA_ROW(GROUP_QUERY_ATTENTION, group_query) \
    MD__CUDA_ROW(MS_ROTARY_EMBEDDING, ms_rotary) \
    MD__CUDA_ROW(INTERPRETABLE_ATTENTION, shared_attention) \
    MD__CUDA_ROW(GATED_RESIDUAL, gated_residual) \
    MD__CUDA_ROW(GATE_ADD_NORM, gate_add_norm) \
    MD__CUDA_ROW(RESAMPLE_NORM, resample_norm) \
    MD__CUDA_ROW(WEIGHTED_SUM, weighted_sum) \
    MD__CUDA_ROW(VARIABLE_SELECTION, selection) \
    MD__CUDA_ROW(ROTARY_EMBEDDING, rotary) \
    MD__CUDA_ROW(QUANTIZE_LINEAR, quantize) \
    MD__CUDA_ROW(DEQUANTIZE_LINEAR, dequantize) \
    MD__CUDA_ROW(DYNAMIC_QUANTIZE_LINEAR, dynamic_quantize) \
    MD__CUDA_ROW(MATMUL_INTEGER, byte_product) \
    MD__CUDA_ROW(MATMUL_INTEGER_TO_FLOAT, byte_product) \
    MD__CUDA_ROW(GATHER_ND, gather_nd) \
    MD__CUDA_ROW(SCATTER_ND, scatter_nd) \
    MD__CUDA_ROW(SCATTER_ELEMENTS, scatter_elements) \
    MD__CUDA_ROW(ONE_HOT, one_hot) \
    MD__CUDA_ROW(REVERSE_SEQUENCE, reverse) \
    MD__CUDA_ROW(MAX_UNPOOL, unpool) \
    MD__CUDA_ROW(GRID_SAMPLE, sample) \
    MD__CUDA_ROW(ROI_ALIGN, region) \
    MD__CUDA_ROW(LRN, lrn) \
    MD__CUDA_ROW(CONV_INTEGER, conv_bytes) \
    MD__CUDA_ROW(DEFORM_CONV, deform) \
    MD__CUDA_ROW(EINSUM, einsum) \
    MD__CUDA_ROW(TENSOR_SCATTER, fill_cache) \
    MD__CUDA_ROW(EMBED_LAYER_NORM, embed_norm) \
    MD__CUDA_ROW(DYNAMIC_QUANTIZE_MATMUL, dynamic_product) \
    MD__CUDA_ROW(MATMUL_NBITS, packed_product)

#endif
