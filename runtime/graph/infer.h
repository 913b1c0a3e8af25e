/*
 * Shape and dtype rules, one per group of operators, as ONNX defines them, on concrete shapes.
 *
 * The planner calls a rule with everything it knows about a node's inputs and gets the outputs'
 * dtypes and shapes, or an error that says what is wrong with which input; the planner prefixes
 * operator and node name. Rules never write `known`. Rules leave the check of an output's total
 * size to the planner, but never overflow on the way.
 */
#ifndef MD_GRAPH_INFER_H
#define MD_GRAPH_INFER_H

#include "graph/graph.h"

#define MD_INFER_RULE(name)                                                                        \
    enum md_status name(const struct md_node *node, const struct md_value_info *in, int in_count,  \
                        struct md_value_info *out, int out_count, struct md_error *err)

/* infer_elementwise.c */
MD_INFER_RULE(md_infer_same);
MD_INFER_RULE(md_infer_gelu);
MD_INFER_RULE(md_infer_test);
MD_INFER_RULE(md_infer_cast);
MD_INFER_RULE(md_infer_cast_like);
MD_INFER_RULE(md_infer_bit_cast);
MD_INFER_RULE(md_infer_clip);
MD_INFER_RULE(md_infer_broadcast);
MD_INFER_RULE(md_infer_mod);
MD_INFER_RULE(md_infer_prelu);
MD_INFER_RULE(md_infer_swiglu);
MD_INFER_RULE(md_infer_bit_shift);
MD_INFER_RULE(md_infer_compare);
MD_INFER_RULE(md_infer_logical);
MD_INFER_RULE(md_infer_where);
MD_INFER_RULE(md_infer_expand);
/* infer_matrix.c */
MD_INFER_RULE(md_infer_matmul);
MD_INFER_RULE(md_infer_gemm);
MD_INFER_RULE(md_infer_det);
MD_INFER_RULE(md_infer_einsum);
/* infer_reduce.c */
MD_INFER_RULE(md_infer_softmax);
MD_INFER_RULE(md_infer_lp_normalization);
MD_INFER_RULE(md_infer_cumulative);
MD_INFER_RULE(md_infer_reduce);
MD_INFER_RULE(md_infer_arg);
MD_INFER_RULE(md_infer_loss);
/* infer_signal.c */
MD_INFER_RULE(md_infer_window);
MD_INFER_RULE(md_infer_dft);
MD_INFER_RULE(md_infer_stft);
MD_INFER_RULE(md_infer_mel_weight_matrix);
MD_INFER_RULE(md_infer_eye_like);
MD_INFER_RULE(md_infer_random);
MD_INFER_RULE(md_infer_random_like);
MD_INFER_RULE(md_infer_multinomial);
/* infer_quantized.c */
MD_INFER_RULE(md_infer_quantize);
MD_INFER_RULE(md_infer_dequantize);
MD_INFER_RULE(md_infer_dynamic_quantize);
MD_INFER_RULE(md_infer_matmul_integer);
MD_INFER_RULE(md_infer_qlinear_matmul);
MD_INFER_RULE(md_infer_qlinear_add);
MD_INFER_RULE(md_infer_qlinear_gemm);
/* infer_shape.c */
MD_INFER_RULE(md_infer_reshape);
MD_INFER_RULE(md_infer_squeeze);
MD_INFER_RULE(md_infer_unsqueeze);
MD_INFER_RULE(md_infer_transpose);
MD_INFER_RULE(md_infer_shape);
MD_INFER_RULE(md_infer_constant_of_shape);
MD_INFER_RULE(md_infer_range);
/* infer_movement.c */
MD_INFER_RULE(md_infer_concat);
MD_INFER_RULE(md_infer_split);
MD_INFER_RULE(md_infer_slice);
MD_INFER_RULE(md_infer_gather);
/* infer_control.c */
MD_INFER_RULE(md_infer_control);
/* infer_index.c */
MD_INFER_RULE(md_infer_gather_elements);
MD_INFER_RULE(md_infer_gather_nd);
MD_INFER_RULE(md_infer_scatter_elements);
MD_INFER_RULE(md_infer_scatter_nd);
MD_INFER_RULE(md_infer_tensor_scatter);
MD_INFER_RULE(md_infer_tile);
MD_INFER_RULE(md_infer_reverse_sequence);
MD_INFER_RULE(md_infer_one_hot);
MD_INFER_RULE(md_infer_top_k);
MD_INFER_RULE(md_infer_trilu);
/* infer_select.c */
MD_INFER_RULE(md_infer_non_zero);
MD_INFER_RULE(md_infer_compress);
MD_INFER_RULE(md_infer_unique);
MD_INFER_RULE(md_infer_non_max_suppression);
/* infer_norm.c */
MD_INFER_RULE(md_infer_layer_norm);
MD_INFER_RULE(md_infer_skip_norm);
MD_INFER_RULE(md_infer_embed_norm);
MD_INFER_RULE(md_infer_batch_norm);
MD_INFER_RULE(md_infer_group_norm);
MD_INFER_RULE(md_infer_lrn);
MD_INFER_RULE(md_infer_mean_variance);
/* infer_vision.c */
MD_INFER_RULE(md_infer_resize);
MD_INFER_RULE(md_infer_grid_sample);
MD_INFER_RULE(md_infer_affine_grid);
MD_INFER_RULE(md_infer_roi_align);
/* infer_attention.c */
MD_INFER_RULE(md_infer_attention);
MD_INFER_RULE(md_infer_rotary);
MD_INFER_RULE(md_infer_linear_attention);
/* infer_recurrent.c */
MD_INFER_RULE(md_infer_rnn);
MD_INFER_RULE(md_infer_lstm);
MD_INFER_RULE(md_infer_gru);
/* infer_contrib_attention.c */
MD_INFER_RULE(md_infer_ms_attention);
MD_INFER_RULE(md_infer_multi_head);
MD_INFER_RULE(md_infer_group_query);
MD_INFER_RULE(md_infer_ms_rotary);
/* infer_contrib.c */
MD_INFER_RULE(md_infer_fused_matmul);
MD_INFER_RULE(md_infer_bias_gelu);
MD_INFER_RULE(md_infer_fused_conv);
MD_INFER_RULE(md_infer_quantized_matmul);
MD_INFER_RULE(md_infer_matmul_nbits);
/* infer_conv.c */
MD_INFER_RULE(md_infer_conv);
MD_INFER_RULE(md_infer_conv_transpose);
MD_INFER_RULE(md_infer_conv_integer);
MD_INFER_RULE(md_infer_qlinear_conv);
MD_INFER_RULE(md_infer_deform_conv);
MD_INFER_RULE(md_infer_causal_conv);
/* infer_pool.c */
MD_INFER_RULE(md_infer_pool);
MD_INFER_RULE(md_infer_global_pool);
MD_INFER_RULE(md_infer_max_unpool);
MD_INFER_RULE(md_infer_max_roi_pool);
/* infer_layout.c */
MD_INFER_RULE(md_infer_flatten);
MD_INFER_RULE(md_infer_size);
MD_INFER_RULE(md_infer_depth_to_space);
MD_INFER_RULE(md_infer_space_to_depth);
MD_INFER_RULE(md_infer_pad);
MD_INFER_RULE(md_infer_center_crop_pad);
MD_INFER_RULE(md_infer_col2im);
MD_INFER_RULE(md_infer_dropout);
/* infer_fused.c */
MD_INFER_RULE(md_infer_chain); /* chain.c */
MD_INFER_RULE(md_infer_linear);
MD_INFER_RULE(md_infer_glu);
MD_INFER_RULE(md_infer_resample_norm);
MD_INFER_RULE(md_infer_gate_add_norm);
MD_INFER_RULE(md_infer_gated_residual);
MD_INFER_RULE(md_infer_weighted_sum);
MD_INFER_RULE(md_infer_interpretable_attention);
/* infer_selection.c */
MD_INFER_RULE(md_infer_selection);

/* infer_last.c */
MD_INFER_RULE(md_infer_conv_last);
MD_INFER_RULE(md_infer_conv_pair_last);
MD_INFER_RULE(md_infer_conv_transpose_last);
MD_INFER_RULE(md_infer_pool_last);
MD_INFER_RULE(md_infer_qlinear_conv_last);
MD_INFER_RULE(md_infer_conv_integer_last);
MD_INFER_RULE(md_infer_global_pool_last);
MD_INFER_RULE(md_infer_norm_last);
MD_INFER_RULE(md_infer_resize_last);

/*
 * `rule` for an operator on channels-last tensors: bit i of `inputs` says that input i is one, as
 * all outputs are.
 */
enum md_status md__infer_last(const struct md_node *node, const struct md_value_info *in,
                              int in_count, struct md_value_info *out, int out_count,
                              unsigned inputs, md_infer_rule rule, struct md_error *err);

/* ---- helpers of the rules (infer.c) ---- */

#define MD_SHAPE_TEXT_MAX 96
/* Message-sized text of an input's shape, for use inside one expression. */
struct md_shape_text {
    char text[MD_SHAPE_TEXT_MAX];
};
struct md_shape_text md__shape_text(const struct md_shape *shape);
#define MD_SHAPE(info) (md__shape_text(&(info).shape).text)

/* True when input i is there. */
static inline bool md__has(const struct md_value_info *in, int in_count, int i)
{
    return i < in_count && in[i].dtype != 0;
}

/* The shape of NumPy's matmul of inputs a and b. */
enum md_status md__infer_matmul_shape(const struct md_value_info *in, int a, int b,
                                      struct md_shape *shape, struct md_error *err);

/* NumPy broadcasting of the `count` present inputs; in[i] of dtype 0 are skipped. */
enum md_status md__infer_broadcast_shape(const struct md_value_info *in, int count,
                                         struct md_shape *shape, struct md_error *err);

/* Turns a negative axis into its position; `rank` axes exist. */
enum md_status md__infer_axis(int64_t axis, int rank, int *position, struct md_error *err);

/*
 * What a rule returns when the contents of input i decide and in[i].known is NULL: MD_ERR_PENDING.
 * The planner then plans up to this node, runs that, and asks again with the contents. A rule may
 * ask for any input; it never guesses.
 */
enum md_status md__infer_unknown(const struct md_value_info *in, int i, const char *what,
                                 struct md_error *err);

/*
 * The integers in input i (int64 or int32, rank 0 or 1); MD_ERR_PENDING while they are unknown. At
 * most `max`.
 */
enum md_status md__infer_ints(const struct md_value_info *in, int i, const char *what,
                              int64_t *ints, int max, int *count, struct md_error *err);

/*
 * Axes from input i when present, else from the attribute "axes", as a bit set over `rank` axes.
 * *given says whether there were any. Duplicates are refused.
 */
enum md_status md__infer_axes(const struct md_node *node, const struct md_value_info *in,
                              int in_count, int i, int rank, unsigned *axes, bool *given,
                              struct md_error *err);

/* ---- what attributes and small inputs say (infer_read.c) ---- */

/* Which of `choices` (NULL at the end) the string attribute names; MD_ERR_UNSUPPORTED otherwise. */
enum md_status md__infer_choice(const struct md_node *node, const char *attribute,
                                const char *otherwise, const char *const *choices, int *choice,
                                struct md_error *err);
/* The attribute's `count` numbers, each at least `least` and within 32 bits; absent: all
 * `otherwise`. */
enum md_status md__infer_numbers(const struct md_node *node, const char *name, int count,
                                 int64_t otherwise, int64_t least, int64_t *list,
                                 struct md_error *err);
/* The one element of input i, of any dtype, whose contents must be known. */
enum md_status md__infer_scalar(const struct md_value_info *in, int i, const char *what,
                                int64_t *value, struct md_error *err);
enum md_status md__infer_float(const struct md_value_info *in, int i, const char *what,
                               double *value, struct md_error *err);
/* Axes from input i in their order, or all axes when it is absent. */
enum md_status md__infer_axis_list(const struct md_value_info *in, int in_count, int i, int rank,
                                   int *axes, int *count, struct md_error *err);

enum md_status md__infer_dtype(const struct md_value_info *in, int i, enum md_dtype dtype,
                               struct md_error *err);
/* Input i is of a float dtype. */
enum md_status md__infer_is_float(const struct md_value_info *in, int i, struct md_error *err);
/* The dtype that the integer attribute `name` gives as ONNX's number; `otherwise` when absent. */
enum md_status md__infer_dtype_attr(const struct md_node *node, const char *name,
                                    enum md_dtype otherwise, enum md_dtype *dtype,
                                    struct md_error *err);
/* Input i must have exactly this shape; `dim` values of -1 accept anything. */
enum md_status md__infer_expect(const struct md_value_info *in, int i, const char *what, int rank,
                                const int64_t *dim, struct md_error *err);

#endif
