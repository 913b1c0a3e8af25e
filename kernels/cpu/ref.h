/*
 * The reference kernels: one plain kernel an operator (or a family of them), written to be read.
 * They define what the fast kernels are tested against, run whatever a faster backend lacks, and
 * fold constants.
 *
 * Sums run in double precision, integers are exact; elementwise and matrix kernels split their work
 * over the pool. Kernels that serve several operators look at node->op.
 */
#ifndef MD_KERNELS_CPU_REF_H
#define MD_KERNELS_CPU_REF_H

#include "kernels/cpu/common.h"

/* ref_unary.c */
extern const struct md_kernel md__ref_unary; /* Abs .. ThresholdedRelu */
extern const struct md_kernel md__ref_clip;
/* The node's float attributes, or their defaults, in the order of the operator's row. */
void md__unary_read_parameters(const struct md_node *node, double *a, double *b);
/* An operator's function on floats, for operators that end in it; NULL: it has none. `by_tanh`:
 * of Gelu, its approximation. */
struct md__unary_parameters {
    double a, b;
};
typedef double (*md__unary_function)(double x, const struct md__unary_parameters *with);
md__unary_function md__unary_function_of(enum md_op op, bool by_tanh);

/* A NaN comes through. */
static inline double md__clamped(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

/* Cubic convolution's weight (R. Keys, 1981) at a distance x from 0 to 2. A NaN comes through. */
static inline double md__cubic_weight(double x, double a)
{
    return x <= 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : (((x - 5) * x + 8) * x - 4) * a;
}

/* ref_cast.c */
extern const struct md_kernel md__ref_cast; /* also CastLike */
extern const struct md_kernel md__ref_bit_cast;
/* ref_broadcast.c */
extern const struct md_kernel md__ref_binary; /* Add .. Xor */
extern const struct md_kernel md__ref_where;
extern const struct md_kernel md__ref_expand;
/* ref_matrix.c */
extern const struct md_kernel md__ref_matmul;
extern const struct md_kernel md__ref_gemm;
extern const struct md_kernel md__ref_det;
/* ref_einsum.c */
extern const struct md_kernel md__ref_einsum;
/* ref_quantized.c */
extern const struct md_kernel md__ref_quantize;
extern const struct md_kernel md__ref_dequantize;
extern const struct md_kernel md__ref_dynamic_quantize;
extern const struct md_kernel md__ref_matmul_integer;
extern const struct md_kernel md__ref_qlinear_matmul;
/* ref_recurrent.c */
extern const struct md_kernel md__ref_recurrent; /* RNN, GRU, LSTM */
/* ref_norm.c */
extern const struct md_kernel md__ref_layer_norm; /* and RMS, Simplified */
extern const struct md_kernel md__ref_skip_norm;
extern const struct md_kernel md__ref_embed_norm;
/* ref_batch_norm.c */
extern const struct md_kernel md__ref_batch_norm;
extern const struct md_kernel md__ref_group_norm; /* also InstanceNormalization */
extern const struct md_kernel md__ref_lrn;
extern const struct md_kernel md__ref_mean_variance;
/* ref_reduce.c */
extern const struct md_kernel md__ref_reduce; /* ReduceL1 .. ReduceSumSquare */
/* ref_lines.c */
extern const struct md_kernel md__ref_lines; /* Softmax .. CumProd */
extern const struct md_kernel md__ref_arg;   /* ArgMax, ArgMin */
/* ref_loss.c */
extern const struct md_kernel md__ref_loss;
/* ref_movement.c */
extern const struct md_kernel md__ref_copy; /* Identity, Reshape, Squeeze, Unsqueeze */
extern const struct md_kernel md__ref_transpose;
extern const struct md_kernel md__ref_concat;
extern const struct md_kernel md__ref_split;
extern const struct md_kernel md__ref_slice;
/* Where a Slice's first element lies, and its element strides; `base` starts as 0. */
enum md_status md__slice_strides(const struct md_kernel_call *call, int64_t *base, int64_t *stride,
                                 struct md_error *err);
extern const struct md_kernel md__ref_gather;
/* ref_shape.c */
extern const struct md_kernel md__ref_shape;
extern const struct md_kernel md__ref_constant_of_shape;
extern const struct md_kernel md__ref_range;
extern const struct md_kernel md__ref_eye_like;
/* ref_random.c */
extern const struct md_kernel md__ref_random; /* RandomNormal .. RandomUniformLike */
extern const struct md_kernel md__ref_bernoulli;
extern const struct md_kernel md__ref_multinomial;
/* ref_signal.c */
extern const struct md_kernel md__ref_dft;
extern const struct md_kernel md__ref_stft;
extern const struct md_kernel md__ref_window;
extern const struct md_kernel md__ref_mel_weight_matrix;
/* ref_conv.c */
extern const struct md_kernel md__ref_conv; /* also ConvTranspose */
extern const struct md_kernel md__ref_conv_integer;
extern const struct md_kernel md__ref_qlinear_conv;
extern const struct md_kernel md__ref_causal_conv;
/* ref_resize.c */
extern const struct md_kernel md__ref_resize;
/* ref_grid.c */
extern const struct md_kernel md__ref_grid_sample;
extern const struct md_kernel md__ref_affine_grid;
/* ref_attention.c */
extern const struct md_kernel md__ref_attention;
extern const struct md_kernel md__ref_rotary;
extern const struct md_kernel md__ref_linear_attention;
/* Turns pairs (i, half + i), or (2 i, 2 i + 1) when interleaved; y may be x. */
void md__rotate(const double *x, double *y, const double *cosine, const double *sine, size_t half,
                bool interleaved);
/* ref_contrib_attention.c */
extern const struct md_kernel md__ref_ms_attention; /* also QAttention */
extern const struct md_kernel md__ref_multi_head;
/* ref_contrib_group.c */
extern const struct md_kernel md__ref_group_query;
extern const struct md_kernel md__ref_ms_rotary;
/* ref_contrib.c */
extern const struct md_kernel md__ref_fused_matmul;
extern const struct md_kernel md__ref_bias_gelu; /* also FastGelu, QuickGelu */
extern const struct md_kernel md__ref_fused_conv;
extern const struct md_kernel md__ref_quantized_matmul;
extern const struct md_kernel md__ref_matmul_nbits;
/* ref_deform.c */
extern const struct md_kernel md__ref_deform_conv;
/* ref_pool.c */
extern const struct md_kernel md__ref_pool; /* and the global forms */
extern const struct md_kernel md__ref_max_unpool;
extern const struct md_kernel md__ref_max_roi_pool;
/* ref_layout.c, ref_pad.c */
extern const struct md_kernel md__ref_size;
extern const struct md_kernel md__ref_blocks; /* DepthToSpace, SpaceToDepth */
extern const struct md_kernel md__ref_pad;
extern const struct md_kernel md__ref_center_crop_pad;
extern const struct md_kernel md__ref_col2im;
extern const struct md_kernel md__ref_dropout;
extern const struct md_kernel md__ref_tile;
extern const struct md_kernel md__ref_trilu;
/* ref_index.c */
extern const struct md_kernel md__ref_gather_elements;
extern const struct md_kernel md__ref_gather_nd;
extern const struct md_kernel md__ref_scatter_elements;
extern const struct md_kernel md__ref_scatter_nd;
extern const struct md_kernel md__ref_tensor_scatter;
extern const struct md_kernel md__ref_reverse_sequence;
extern const struct md_kernel md__ref_one_hot;
/* ref_select.c */
extern const struct md_kernel md__ref_top_k;
extern const struct md_kernel md__ref_non_zero;
extern const struct md_kernel md__ref_compress;
extern const struct md_kernel md__ref_unique;
/* ref_detect.c */
extern const struct md_kernel md__ref_non_max_suppression;
extern const struct md_kernel md__ref_roi_align;

/* Which axes of input 0 a reduction takes: reduced[axis]. */
enum md_status md__reduced_axes(const struct md_kernel_call *call, bool *reduced,
                                struct md_error *err);

#endif
