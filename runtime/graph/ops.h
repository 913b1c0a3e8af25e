/*
 * The operator table: one row an operator. Backends fill sparse tables indexed by these ids, and
 * "is it supported" and "what runs it" are read from the same slot.
 *
 * Primitive operators carry ONNX names and semantics (https://onnx.ai/onnx/operators/, newest opset
 * unless a comment says otherwise). Fused operators live in the "moondial" domain; their row names
 * a *body*: a function that writes the operator as primitives. The body is the operator's
 * specification, its reference and its fallback.
 *
 * Columns: id, name, inputs min, inputs max (-1: any number), outputs min, outputs max, shape rule,
 * body.
 */
#ifndef MD_GRAPH_OPS_H
#define MD_GRAPH_OPS_H

#include <stdbool.h>

#include "tensor/tensor.h"

struct md_graph;
struct md_node;

#define MD_OPS(X)                                                                                  \
    /* elementwise, one input */                                                                   \
    X(IDENTITY, "Identity", 1, 1, 1, 1, md_infer_same, NULL)                                       \
    X(ABS, "Abs", 1, 1, 1, 1, md_infer_same, NULL)                                                 \
    X(ACOS, "Acos", 1, 1, 1, 1, md_infer_same, NULL)                                               \
    X(ACOSH, "Acosh", 1, 1, 1, 1, md_infer_same, NULL)                                             \
    X(ASIN, "Asin", 1, 1, 1, 1, md_infer_same, NULL)                                               \
    X(ASINH, "Asinh", 1, 1, 1, 1, md_infer_same, NULL)                                             \
    X(ATAN, "Atan", 1, 1, 1, 1, md_infer_same, NULL)                                               \
    X(ATANH, "Atanh", 1, 1, 1, 1, md_infer_same, NULL)                                             \
    X(BITWISE_NOT, "BitwiseNot", 1, 1, 1, 1, md_infer_same, NULL)                                  \
    X(CEIL, "Ceil", 1, 1, 1, 1, md_infer_same, NULL)                                               \
    X(CELU, "Celu", 1, 1, 1, 1, md_infer_same, NULL)                                               \
    X(COS, "Cos", 1, 1, 1, 1, md_infer_same, NULL)                                                 \
    X(COSH, "Cosh", 1, 1, 1, 1, md_infer_same, NULL)                                               \
    X(ELU, "Elu", 1, 1, 1, 1, md_infer_same, NULL)                                                 \
    X(ERF, "Erf", 1, 1, 1, 1, md_infer_same, NULL)                                                 \
    X(EXP, "Exp", 1, 1, 1, 1, md_infer_same, NULL)                                                 \
    X(FLOOR, "Floor", 1, 1, 1, 1, md_infer_same, NULL)                                             \
    X(GELU, "Gelu", 1, 1, 1, 1, md_infer_gelu, NULL)                                               \
    X(HARD_SIGMOID, "HardSigmoid", 1, 1, 1, 1, md_infer_same, NULL)                                \
    X(HARD_SWISH, "HardSwish", 1, 1, 1, 1, md_infer_same, NULL)                                    \
    X(IS_INF, "IsInf", 1, 1, 1, 1, md_infer_test, NULL)                                            \
    X(IS_NAN, "IsNaN", 1, 1, 1, 1, md_infer_test, NULL)                                            \
    X(LEAKY_RELU, "LeakyRelu", 1, 1, 1, 1, md_infer_same, NULL)                                    \
    X(LOG, "Log", 1, 1, 1, 1, md_infer_same, NULL)                                                 \
    X(MISH, "Mish", 1, 1, 1, 1, md_infer_same, NULL)                                               \
    X(NEG, "Neg", 1, 1, 1, 1, md_infer_same, NULL)                                                 \
    X(NOT, "Not", 1, 1, 1, 1, md_infer_logical, NULL)                                              \
    X(RECIPROCAL, "Reciprocal", 1, 1, 1, 1, md_infer_same, NULL)                                   \
    X(RELU, "Relu", 1, 1, 1, 1, md_infer_same, NULL)                                               \
    X(ROUND, "Round", 1, 1, 1, 1, md_infer_same, NULL)                                             \
    X(SELU, "Selu", 1, 1, 1, 1, md_infer_same, NULL)                                               \
    X(SHRINK, "Shrink", 1, 1, 1, 1, md_infer_same, NULL)                                           \
    X(SIGMOID, "Sigmoid", 1, 1, 1, 1, md_infer_same, NULL)                                         \
    X(SIGN, "Sign", 1, 1, 1, 1, md_infer_same, NULL)                                               \
    X(SIN, "Sin", 1, 1, 1, 1, md_infer_same, NULL)                                                 \
    X(SINH, "Sinh", 1, 1, 1, 1, md_infer_same, NULL)                                               \
    X(SOFTPLUS, "Softplus", 1, 1, 1, 1, md_infer_same, NULL)                                       \
    X(SOFTSIGN, "Softsign", 1, 1, 1, 1, md_infer_same, NULL)                                       \
    X(SQRT, "Sqrt", 1, 1, 1, 1, md_infer_same, NULL)                                               \
    X(SWISH, "Swish", 1, 1, 1, 1, md_infer_same, NULL)                                             \
    X(TAN, "Tan", 1, 1, 1, 1, md_infer_same, NULL)                                                 \
    X(TANH, "Tanh", 1, 1, 1, 1, md_infer_same, NULL)                                               \
    X(THRESHOLDED_RELU, "ThresholdedRelu", 1, 1, 1, 1, md_infer_same, NULL)                        \
    X(CLIP, "Clip", 1, 3, 1, 1, md_infer_clip, NULL)                                               \
    X(CAST, "Cast", 1, 1, 1, 1, md_infer_cast, NULL)                                               \
    X(CAST_LIKE, "CastLike", 2, 2, 1, 1, md_infer_cast_like, NULL)                                 \
    X(BIT_CAST, "BitCast", 1, 1, 1, 1, md_infer_bit_cast, NULL)                                    \
    /* elementwise with broadcasting */                                                            \
    X(ADD, "Add", 2, 2, 1, 1, md_infer_broadcast, NULL)                                            \
    X(SUB, "Sub", 2, 2, 1, 1, md_infer_broadcast, NULL)                                            \
    X(MUL, "Mul", 2, 2, 1, 1, md_infer_broadcast, NULL)                                            \
    X(DIV, "Div", 2, 2, 1, 1, md_infer_broadcast, NULL)                                            \
    X(POW, "Pow", 2, 2, 1, 1, md_infer_broadcast, NULL)                                            \
    X(MOD, "Mod", 2, 2, 1, 1, md_infer_mod, NULL)                                                  \
    X(PRELU, "PRelu", 2, 2, 1, 1, md_infer_prelu, NULL)                                            \
    X(SWIGLU, "SwiGLU", 2, 2, 1, 1, md_infer_swiglu, NULL)                                         \
    X(MIN, "Min", 1, -1, 1, 1, md_infer_broadcast, NULL)                                           \
    X(MAX, "Max", 1, -1, 1, 1, md_infer_broadcast, NULL)                                           \
    X(SUM, "Sum", 1, -1, 1, 1, md_infer_broadcast, NULL)                                           \
    X(MEAN, "Mean", 1, -1, 1, 1, md_infer_broadcast, NULL)                                         \
    X(BITWISE_AND, "BitwiseAnd", 2, 2, 1, 1, md_infer_broadcast, NULL)                             \
    X(BITWISE_OR, "BitwiseOr", 2, 2, 1, 1, md_infer_broadcast, NULL)                               \
    X(BITWISE_XOR, "BitwiseXor", 2, 2, 1, 1, md_infer_broadcast, NULL)                             \
    X(BIT_SHIFT, "BitShift", 2, 2, 1, 1, md_infer_bit_shift, NULL)                                 \
    X(EQUAL, "Equal", 2, 2, 1, 1, md_infer_compare, NULL)                                          \
    X(LESS, "Less", 2, 2, 1, 1, md_infer_compare, NULL)                                            \
    X(LESS_OR_EQUAL, "LessOrEqual", 2, 2, 1, 1, md_infer_compare, NULL)                            \
    X(GREATER, "Greater", 2, 2, 1, 1, md_infer_compare, NULL)                                      \
    X(GREATER_OR_EQUAL, "GreaterOrEqual", 2, 2, 1, 1, md_infer_compare, NULL)                      \
    X(AND, "And", 2, 2, 1, 1, md_infer_logical, NULL)                                              \
    X(OR, "Or", 2, 2, 1, 1, md_infer_logical, NULL)                                                \
    X(XOR, "Xor", 2, 2, 1, 1, md_infer_logical, NULL)                                              \
    X(WHERE, "Where", 3, 3, 1, 1, md_infer_where, NULL)                                            \
    /* matrices, recurrences, normalisation */                                                     \
    X(MATMUL, "MatMul", 2, 2, 1, 1, md_infer_matmul, NULL)                                         \
    X(GEMM, "Gemm", 2, 3, 1, 1, md_infer_gemm, NULL)                                               \
    X(DET, "Det", 1, 1, 1, 1, md_infer_det, NULL)                                                  \
    X(EINSUM, "Einsum", 1, -1, 1, 1, md_infer_einsum, NULL)                                        \
    X(RNN, "RNN", 3, 6, 1, 2, md_infer_rnn, NULL)                                                  \
    X(LSTM, "LSTM", 3, 8, 1, 3, md_infer_lstm, NULL)                                               \
    X(GRU, "GRU", 3, 6, 1, 2, md_infer_gru, NULL)                                                  \
    /* quantised */                                                                                \
    X(QUANTIZE_LINEAR, "QuantizeLinear", 2, 3, 1, 1, md_infer_quantize, NULL)                      \
    X(DEQUANTIZE_LINEAR, "DequantizeLinear", 2, 3, 1, 1, md_infer_dequantize, NULL)                \
    X(DYNAMIC_QUANTIZE_LINEAR, "DynamicQuantizeLinear", 1, 1, 3, 3, md_infer_dynamic_quantize,     \
      NULL)                                                                                        \
    X(MATMUL_INTEGER, "MatMulInteger", 2, 4, 1, 1, md_infer_matmul_integer, NULL)                  \
    X(QLINEAR_MATMUL, "QLinearMatMul", 8, 8, 1, 1, md_infer_qlinear_matmul, NULL)                  \
    /* along axes */                                                                               \
    X(REDUCE_L1, "ReduceL1", 1, 2, 1, 1, md_infer_reduce, NULL)                                    \
    X(REDUCE_L2, "ReduceL2", 1, 2, 1, 1, md_infer_reduce, NULL)                                    \
    X(REDUCE_LOG_SUM, "ReduceLogSum", 1, 2, 1, 1, md_infer_reduce, NULL)                           \
    X(REDUCE_LOG_SUM_EXP, "ReduceLogSumExp", 1, 2, 1, 1, md_infer_reduce, NULL)                    \
    X(REDUCE_MAX, "ReduceMax", 1, 2, 1, 1, md_infer_reduce, NULL)                                  \
    X(REDUCE_MEAN, "ReduceMean", 1, 2, 1, 1, md_infer_reduce, NULL)                                \
    X(REDUCE_MIN, "ReduceMin", 1, 2, 1, 1, md_infer_reduce, NULL)                                  \
    X(REDUCE_PROD, "ReduceProd", 1, 2, 1, 1, md_infer_reduce, NULL)                                \
    X(REDUCE_SUM, "ReduceSum", 1, 2, 1, 1, md_infer_reduce, NULL)                                  \
    X(REDUCE_SUM_SQUARE, "ReduceSumSquare", 1, 2, 1, 1, md_infer_reduce, NULL)                     \
    X(ARG_MAX, "ArgMax", 1, 1, 1, 1, md_infer_arg, NULL)                                           \
    X(ARG_MIN, "ArgMin", 1, 1, 1, 1, md_infer_arg, NULL)                                           \
    X(SOFTMAX, "Softmax", 1, 1, 1, 1, md_infer_softmax, NULL)                                      \
    X(LOG_SOFTMAX, "LogSoftmax", 1, 1, 1, 1, md_infer_softmax, NULL)                               \
    X(HARDMAX, "Hardmax", 1, 1, 1, 1, md_infer_softmax, NULL)                                      \
    X(LP_NORMALIZATION, "LpNormalization", 1, 1, 1, 1, md_infer_lp_normalization, NULL)            \
    X(CUM_SUM, "CumSum", 2, 2, 1, 1, md_infer_cumulative, NULL)                                    \
    X(CUM_PROD, "CumProd", 2, 2, 1, 1, md_infer_cumulative, NULL)                                  \
    X(NEGATIVE_LOG_LIKELIHOOD_LOSS, "NegativeLogLikelihoodLoss", 2, 3, 1, 1, md_infer_loss, NULL)  \
    X(SOFTMAX_CROSS_ENTROPY_LOSS, "SoftmaxCrossEntropyLoss", 2, 3, 1, 2, md_infer_loss, NULL)      \
    /* com.microsoft: fused, quantised */                                                          \
    X(FUSED_MATMUL, "com.microsoft.FusedMatMul", 2, 2, 1, 1, md_infer_fused_matmul, NULL)          \
    X(BIAS_GELU, "com.microsoft.BiasGelu", 2, 2, 1, 1, md_infer_bias_gelu, NULL)                   \
    X(FAST_GELU, "com.microsoft.FastGelu", 1, 2, 1, 1, md_infer_bias_gelu, NULL)                   \
    X(QUICK_GELU, "com.microsoft.QuickGelu", 1, 1, 1, 1, md_infer_bias_gelu, NULL)                 \
    X(FUSED_CONV, "com.microsoft.FusedConv", 2, 4, 1, 1, md_infer_fused_conv, NULL)                \
    X(DYNAMIC_QUANTIZE_MATMUL, "com.microsoft.DynamicQuantizeMatMul", 3, 5, 1, 1,                  \
      md_infer_quantized_matmul, NULL)                                                             \
    X(MATMUL_INTEGER_TO_FLOAT, "com.microsoft.MatMulIntegerToFloat", 4, 7, 1, 1,                   \
      md_infer_quantized_matmul, NULL)                                                             \
    X(MATMUL_NBITS, "com.microsoft.MatMulNBits", 3, 6, 1, 1, md_infer_matmul_nbits, NULL)          \
    /* com.microsoft: attention */                                                                 \
    X(MS_ATTENTION, "com.microsoft.Attention", 2, 7, 1, 2, md_infer_ms_attention, NULL)            \
    X(MS_QATTENTION, "com.microsoft.QAttention", 5, 9, 1, 2, md_infer_ms_attention, NULL)          \
    X(MULTI_HEAD_ATTENTION, "com.microsoft.MultiHeadAttention", 1, 10, 1, 4, md_infer_multi_head,  \
      NULL)                                                                                        \
    X(GROUP_QUERY_ATTENTION, "com.microsoft.GroupQueryAttention", 7, 14, 1, 3,                     \
      md_infer_group_query, NULL)                                                                  \
    X(MS_ROTARY_EMBEDDING, "com.microsoft.RotaryEmbedding", 4, 4, 1, 1, md_infer_ms_rotary, NULL)  \
    /* attention */                                                                                \
    X(ATTENTION, "Attention", 3, 7, 1, 4, md_infer_attention, NULL)                                \
    X(ROTARY_EMBEDDING, "RotaryEmbedding", 3, 4, 1, 1, md_infer_rotary, NULL)                      \
    X(LINEAR_ATTENTION, "LinearAttention", 3, 6, 1, 2, md_infer_linear_attention, NULL)            \
    /* images */                                                                                   \
    X(RESIZE, "Resize", 1, 4, 1, 1, md_infer_resize, NULL)                                         \
    X(GRID_SAMPLE, "GridSample", 2, 2, 1, 1, md_infer_grid_sample, NULL)                           \
    X(AFFINE_GRID, "AffineGrid", 2, 2, 1, 1, md_infer_affine_grid, NULL)                           \
    X(ROI_ALIGN, "RoiAlign", 3, 3, 1, 1, md_infer_roi_align, NULL)                                 \
    /* normalisation */                                                                            \
    X(LAYER_NORM, "LayerNormalization", 2, 3, 1, 3, md_infer_layer_norm, NULL)                     \
    X(RMS_NORM, "RMSNormalization", 2, 2, 1, 1, md_infer_layer_norm, NULL)                         \
    X(SIMPLIFIED_LAYER_NORM, "SimplifiedLayerNormalization", 2, 2, 1, 2, md_infer_layer_norm,      \
      NULL)                                                                                        \
    X(SKIP_LAYER_NORM, "com.microsoft.SkipLayerNormalization", 3, 5, 1, 4, md_infer_skip_norm,     \
      NULL)                                                                                        \
    X(SKIP_SIMPLIFIED_NORM, "com.microsoft.SkipSimplifiedLayerNormalization", 3, 4, 1, 4,          \
      md_infer_skip_norm, NULL)                                                                    \
    X(EMBED_LAYER_NORM, "com.microsoft.EmbedLayerNormalization", 7, 9, 1, 3, md_infer_embed_norm,  \
      NULL)                                                                                        \
    X(BATCH_NORM, "BatchNormalization", 5, 5, 1, 3, md_infer_batch_norm, NULL)                     \
    X(INSTANCE_NORM, "InstanceNormalization", 3, 3, 1, 1, md_infer_group_norm, NULL)               \
    X(GROUP_NORM, "GroupNormalization", 3, 3, 1, 1, md_infer_group_norm, NULL)                     \
    X(LRN, "LRN", 1, 1, 1, 1, md_infer_lrn, NULL)                                                  \
    X(MEAN_VARIANCE_NORM, "MeanVarianceNormalization", 1, 1, 1, 1, md_infer_mean_variance, NULL)   \
    /* convolution and pooling */                                                                  \
    X(CONV, "Conv", 2, 3, 1, 1, md_infer_conv, NULL)                                               \
    X(CONV_TRANSPOSE, "ConvTranspose", 2, 3, 1, 1, md_infer_conv_transpose, NULL)                  \
    X(CONV_INTEGER, "ConvInteger", 2, 4, 1, 1, md_infer_conv_integer, NULL)                        \
    X(QLINEAR_CONV, "QLinearConv", 8, 9, 1, 1, md_infer_qlinear_conv, NULL)                        \
    X(DEFORM_CONV, "DeformConv", 3, 5, 1, 1, md_infer_deform_conv, NULL)                           \
    X(CAUSAL_CONV, "CausalConvWithState", 2, 4, 1, 2, md_infer_causal_conv, NULL)                  \
    X(MAX_POOL, "MaxPool", 1, 1, 1, 2, md_infer_pool, NULL)                                        \
    X(AVERAGE_POOL, "AveragePool", 1, 1, 1, 1, md_infer_pool, NULL)                                \
    X(LP_POOL, "LpPool", 1, 1, 1, 1, md_infer_pool, NULL)                                          \
    X(GLOBAL_MAX_POOL, "GlobalMaxPool", 1, 1, 1, 1, md_infer_global_pool, NULL)                    \
    X(GLOBAL_AVERAGE_POOL, "GlobalAveragePool", 1, 1, 1, 1, md_infer_global_pool, NULL)            \
    X(GLOBAL_LP_POOL, "GlobalLpPool", 1, 1, 1, 1, md_infer_global_pool, NULL)                      \
    X(MAX_UNPOOL, "MaxUnpool", 2, 3, 1, 1, md_infer_max_unpool, NULL)                              \
    X(MAX_ROI_POOL, "MaxRoiPool", 2, 2, 1, 1, md_infer_max_roi_pool, NULL)                         \
    /* shape and movement */                                                                       \
    X(RESHAPE, "Reshape", 2, 2, 1, 1, md_infer_reshape, NULL)                                      \
    X(SQUEEZE, "Squeeze", 1, 2, 1, 1, md_infer_squeeze, NULL)                                      \
    X(UNSQUEEZE, "Unsqueeze", 2, 2, 1, 1, md_infer_unsqueeze, NULL)                                \
    X(TRANSPOSE, "Transpose", 1, 1, 1, 1, md_infer_transpose, NULL)                                \
    X(CONCAT, "Concat", 1, -1, 1, 1, md_infer_concat, NULL)                                        \
    X(SPLIT, "Split", 1, 2, 1, -1, md_infer_split, NULL)                                           \
    X(SLICE, "Slice", 3, 5, 1, 1, md_infer_slice, NULL)                                            \
    X(GATHER, "Gather", 2, 2, 1, 1, md_infer_gather, NULL)                                         \
    X(EXPAND, "Expand", 2, 2, 1, 1, md_infer_expand, NULL)                                         \
    X(SHAPE, "Shape", 1, 1, 1, 1, md_infer_shape, NULL)                                            \
    X(CONSTANT_OF_SHAPE, "ConstantOfShape", 1, 1, 1, 1, md_infer_constant_of_shape, NULL)          \
    X(RANGE, "Range", 3, 3, 1, 1, md_infer_range, NULL)                                            \
    X(EYE_LIKE, "EyeLike", 1, 1, 1, 1, md_infer_eye_like, NULL)                                    \
    /* random numbers */                                                                           \
    X(RANDOM_NORMAL, "RandomNormal", 0, 0, 1, 1, md_infer_random, NULL)                            \
    X(RANDOM_NORMAL_LIKE, "RandomNormalLike", 1, 1, 1, 1, md_infer_random_like, NULL)              \
    X(RANDOM_UNIFORM, "RandomUniform", 0, 0, 1, 1, md_infer_random, NULL)                          \
    X(RANDOM_UNIFORM_LIKE, "RandomUniformLike", 1, 1, 1, 1, md_infer_random_like, NULL)            \
    X(BERNOULLI, "Bernoulli", 1, 1, 1, 1, md_infer_random_like, NULL)                              \
    X(MULTINOMIAL, "Multinomial", 1, 1, 1, 1, md_infer_multinomial, NULL)                          \
    /* signals */                                                                                  \
    X(DFT, "DFT", 1, 3, 1, 1, md_infer_dft, NULL)                                                  \
    X(STFT, "STFT", 2, 4, 1, 1, md_infer_stft, NULL)                                               \
    X(HANN_WINDOW, "HannWindow", 1, 1, 1, 1, md_infer_window, NULL)                                \
    X(HAMMING_WINDOW, "HammingWindow", 1, 1, 1, 1, md_infer_window, NULL)                          \
    X(BLACKMAN_WINDOW, "BlackmanWindow", 1, 1, 1, 1, md_infer_window, NULL)                        \
    X(MEL_WEIGHT_MATRIX, "MelWeightMatrix", 5, 5, 1, 1, md_infer_mel_weight_matrix, NULL)          \
    /* control: run by the executable (control.c), their bodies are attributes */                  \
    X(IF, "If", 1, -1, 1, -1, md_infer_control, NULL)                                              \
    X(LOOP, "Loop", 2, -1, 1, -1, md_infer_control, NULL)                                          \
    X(SCAN, "Scan", 1, -1, 1, -1, md_infer_control, NULL)                                          \
    X(FLATTEN, "Flatten", 1, 1, 1, 1, md_infer_flatten, NULL)                                      \
    X(SIZE, "Size", 1, 1, 1, 1, md_infer_size, NULL)                                               \
    X(DEPTH_TO_SPACE, "DepthToSpace", 1, 1, 1, 1, md_infer_depth_to_space, NULL)                   \
    X(SPACE_TO_DEPTH, "SpaceToDepth", 1, 1, 1, 1, md_infer_space_to_depth, NULL)                   \
    X(PAD, "Pad", 2, 4, 1, 1, md_infer_pad, NULL)                                                  \
    X(CENTER_CROP_PAD, "CenterCropPad", 2, 2, 1, 1, md_infer_center_crop_pad, NULL)                \
    X(COL2IM, "Col2Im", 3, 3, 1, 1, md_infer_col2im, NULL)                                         \
    X(DROPOUT, "Dropout", 1, 3, 1, 2, md_infer_dropout, NULL)                                      \
    /* by index */                                                                                 \
    X(GATHER_ELEMENTS, "GatherElements", 2, 2, 1, 1, md_infer_gather_elements, NULL)               \
    X(GATHER_ND, "GatherND", 2, 2, 1, 1, md_infer_gather_nd, NULL)                                 \
    X(SCATTER_ELEMENTS, "ScatterElements", 3, 3, 1, 1, md_infer_scatter_elements, NULL)            \
    X(SCATTER_ND, "ScatterND", 3, 3, 1, 1, md_infer_scatter_nd, NULL)                              \
    X(TENSOR_SCATTER, "TensorScatter", 2, 3, 1, 1, md_infer_tensor_scatter, NULL)                  \
    X(TILE, "Tile", 2, 2, 1, 1, md_infer_tile, NULL)                                               \
    X(REVERSE_SEQUENCE, "ReverseSequence", 2, 2, 1, 1, md_infer_reverse_sequence, NULL)            \
    X(ONE_HOT, "OneHot", 3, 3, 1, 1, md_infer_one_hot, NULL)                                       \
    X(TOP_K, "TopK", 2, 2, 1, 2, md_infer_top_k, NULL)                                             \
    X(TRILU, "Trilu", 1, 2, 1, 1, md_infer_trilu, NULL)                                            \
    X(NON_ZERO, "NonZero", 1, 1, 1, 1, md_infer_non_zero, NULL)                                    \
    X(COMPRESS, "Compress", 2, 2, 1, 1, md_infer_compress, NULL)                                   \
    X(UNIQUE, "Unique", 1, 1, 1, 4, md_infer_unique, NULL)                                         \
    X(NON_MAX_SUPPRESSION, "NonMaxSuppression", 2, 5, 1, 1, md_infer_non_max_suppression, NULL)    \
    /* fused, domain moondial: specified in fused.md, written out in body_*.c */                   \
    X(LINEAR, "moondial.Linear", 2, 4, 1, 1, md_infer_linear, md_body_linear)                      \
    X(GATED_LINEAR_UNIT, "moondial.GatedLinearUnit", 2, 3, 1, 1, md_infer_glu, md_body_glu)        \
    X(RESAMPLE_NORM, "moondial.ResampleNorm", 3, 4, 1, 1, md_infer_resample_norm,                  \
      md_body_resample_norm)                                                                       \
    X(GATE_ADD_NORM, "moondial.GateAddNorm", 6, 7, 1, 1, md_infer_gate_add_norm,                   \
      md_body_gate_add_norm)                                                                       \
    X(GATED_RESIDUAL, "moondial.GatedResidualNetwork", 9, 14, 1, 1, md_infer_gated_residual,       \
      md_body_gated_residual)                                                                      \
    X(WEIGHTED_SUM, "moondial.WeightedSum", 2, -1, 1, 1, md_infer_weighted_sum,                    \
      md_body_weighted_sum)                                                                        \
    X(VARIABLE_SELECTION, "moondial.VariableSelection", 9, 4096, 1, 1, md_infer_selection,         \
      md_body_selection)                                                                           \
    X(INTERPRETABLE_ATTENTION, "moondial.InterpretableAttention", 3, 4, 1, 1,                      \
      md_infer_interpretable_attention, md_body_interpretable_attention)                           \
    X(CHAIN, "moondial.Chain", 1, 8, 1, 1, md_infer_chain, md_body_chain)                          \
    /* on channels-last tensors: body_last.c */                                                    \
    X(CONV_LAST, "moondial.ConvLast", 2, 5, 1, 1, md_infer_conv_last, md_body_conv_last)           \
    X(CONV_PAIR_LAST, "moondial.ConvPairLast", 4, 5, 1, 1, md_infer_conv_pair_last,                \
      md_body_conv_pair_last)                                                                      \
    X(CONV_TRANSPOSE_LAST, "moondial.ConvTransposeLast", 2, 3, 1, 1, md_infer_conv_transpose_last, \
      md_body_conv_last)                                                                           \
    X(MAX_POOL_LAST, "moondial.MaxPoolLast", 1, 1, 1, 1, md_infer_pool_last, md_body_tail_last)    \
    X(AVERAGE_POOL_LAST, "moondial.AveragePoolLast", 1, 1, 1, 1, md_infer_pool_last,               \
      md_body_tail_last)                                                                           \
    X(GLOBAL_MAX_POOL_LAST, "moondial.GlobalMaxPoolLast", 1, 1, 1, 1, md_infer_global_pool_last,   \
      md_body_tail_last)                                                                           \
    X(GLOBAL_AVERAGE_POOL_LAST, "moondial.GlobalAveragePoolLast", 1, 1, 1, 1,                      \
      md_infer_global_pool_last, md_body_tail_last)                                                \
    X(BATCH_NORM_LAST, "moondial.BatchNormalizationLast", 5, 6, 1, 1, md_infer_norm_last,          \
      md_body_tail_last)                                                                           \
    X(INSTANCE_NORM_LAST, "moondial.InstanceNormalizationLast", 3, 4, 1, 1, md_infer_norm_last,    \
      md_body_tail_last)                                                                           \
    X(GROUP_NORM_LAST, "moondial.GroupNormalizationLast", 3, 4, 1, 1, md_infer_norm_last,          \
      md_body_tail_last)                                                                           \
    X(RESIZE_LAST, "moondial.ResizeLast", 1, 5, 1, 1, md_infer_resize_last, md_body_tail_last)     \
    X(QLINEAR_CONV_LAST, "moondial.QLinearConvLast", 8, 9, 1, 1, md_infer_qlinear_conv_last,       \
      md_body_tail_last)                                                                           \
    X(CONV_INTEGER_LAST, "moondial.ConvIntegerLast", 2, 4, 1, 1, md_infer_conv_integer_last,       \
      md_body_tail_last)                                                                           \
    /* quantised: body_quantized.c */                                                              \
    X(QLINEAR_ADD, "moondial.QLinearAdd", 8, 8, 1, 1, md_infer_qlinear_add, md_body_qlinear_add)   \
    X(QLINEAR_GEMM, "moondial.QLinearGemm", 8, 9, 1, 1, md_infer_qlinear_gemm,                     \
      md_body_qlinear_gemm)

enum md_op {
#define X(id, ...) MD_OP_##id,
    MD_OPS(X)
#undef X
        MD_OP_COUNT
};

/* What a shape rule sees of one input or output. */
struct md_value_info {
    enum md_dtype dtype;   /* 0: an optional input that is absent */
    struct md_shape shape; /* concrete; outputs alone may hold MD_DIM_DATA */
    const void *known;     /* the contents, when they are known while planning; else NULL */
    bool *asked;           /* md__infer_unknown sets it; may be NULL */
};

/* A dimension of an output that only the kernel learns (NonZero, ...): see md_kernel_output. */
#define MD_DIM_DATA (-1)

/* A shape rule fills out[]; it must fail with a message naming the node's problem, never read
 * outside in[]. */
typedef enum md_status (*md_infer_rule)(const struct md_node *node, const struct md_value_info *in,
                                        int in_count, struct md_value_info *out, int out_count,
                                        struct md_error *err);

/* Writes the fused operator `node` (its inputs and attributes) as primitives into graph; outputs[]
 * receives value ids. */
typedef enum md_status (*md_op_body)(struct md_graph *graph, const struct md_node *node,
                                     int *outputs, struct md_error *err);

struct md_op_info {
    const char *name;
    int in_min, in_max, out_min, out_max;
    md_infer_rule infer;
    md_op_body body; /* NULL for primitives */
};

const struct md_op_info *md_op_info(enum md_op op);
/* If, Loop, Scan: no backend has them, the executable runs their bodies. */
bool md_op_is_control(enum md_op op);
/* Gives other numbers each time: never computed ahead of a run. */
bool md_op_is_random(enum md_op op);
/* MD_ERR_UNSUPPORTED names the operator. */
enum md_status md_op_find(const char *name, enum md_op *op, struct md_error *err);

#endif
