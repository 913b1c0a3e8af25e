/*
 * Rewrites of older operator forms (onnx_opset.c says which apply when), and the tools that they
 * are written with. A rewrite changes a call in place: its operator, inputs, attributes; or it adds
 * all nodes itself, fills out[] and sets `done`.
 */
#ifndef MD_MODEL_ONNX_REWRITE_H
#define MD_MODEL_ONNX_REWRITE_H

#include "model/onnx_build.h"

typedef enum md_status (*md__onnx_rewrite_fn)(struct md__onnx_call *call, struct md_error *err);

#define MD__ONNX_REWRITE(name) enum md_status name(struct md__onnx_call *call, struct md_error *err)

/* ---- tools (onnx_rewrite.c) ---- */

const struct md_attr *md__onnx_attr(const struct md__onnx_call *call, const char *name);
int64_t md__onnx_attr_int(const struct md__onnx_call *call, const char *name, int64_t otherwise);
double md__onnx_attr_float(const struct md__onnx_call *call, const char *name, double otherwise);
const char *md__onnx_attr_text(const struct md__onnx_call *call, const char *name,
                               const char *otherwise);
/* These change the call; at most MD__ONNX_ROOM attributes and inputs may be added. */
void md__onnx_drop_attr(struct md__onnx_call *call, const char *name);
void md__onnx_put_int(struct md__onnx_call *call, const char *name, int64_t value);
void md__onnx_put_float(struct md__onnx_call *call, const char *name, double value);
void md__onnx_put_text(struct md__onnx_call *call, const char *name, const char *value);
/* Input i becomes `value`; the ones before it that the call lacks become absent. */
void md__onnx_put_input(struct md__onnx_call *call, int i, int value);
/* Input i, MD_NONE when the call lacks it. */
int md__onnx_input(const struct md__onnx_call *call, int i);

/* A 1-D int64 constant. */
enum md_status md__onnx_ints(struct md__onnx_call *call, const int64_t *ints, int count, int *value,
                             struct md_error *err);
/* An int64 scalar. */
enum md_status md__onnx_int(struct md__onnx_call *call, int64_t number, int *value,
                            struct md_error *err);
/* A scalar of the type of `like`. */
enum md_status md__onnx_scalar(struct md__onnx_call *call, double number, int like, int *value,
                               struct md_error *err);
/* A node with one output and no attributes, or one int attribute. */
enum md_status md__onnx_op(struct md__onnx_call *call, const char *op, const int *in, int in_count,
                           int *value, struct md_error *err);
enum md_status md__onnx_op_int(struct md__onnx_call *call, const char *op, const int *in,
                               int in_count, const char *attr, int64_t number, int *value,
                               struct md_error *err);
/* The value's constant contents, or NULL. */
const struct md_tensor *md__onnx_constant(const struct md__onnx_call *call, int value);
/* Moves the attribute `name`, a list of integers, to input i; does nothing when it is absent. */
enum md_status md__onnx_ints_to_input(struct md__onnx_call *call, const char *name, int i,
                                      struct md_error *err);
/*
 * The value as the last-but-`axis` dimensions of `of`: what opsets before 7 mean by "broadcast" at
 * an axis. Adds as many dimensions of 1 behind as that takes.
 */
enum md_status md__onnx_align(struct md__onnx_call *call, int *value, int of, int64_t axis,
                              struct md_error *err);

/* ---- onnx_rewrite_inputs.c; the number is the first opset of the form ---- */

MD__ONNX_REWRITE(md__onnx_axes_to_input); /* Reduce*, Squeeze, Unsqueeze */
MD__ONNX_REWRITE(md__onnx_reshape_1);
MD__ONNX_REWRITE(md__onnx_slice_1);
MD__ONNX_REWRITE(md__onnx_split_1);
MD__ONNX_REWRITE(md__onnx_topk_1);
MD__ONNX_REWRITE(md__onnx_pad_1);
MD__ONNX_REWRITE(md__onnx_clip_1);
MD__ONNX_REWRITE(md__onnx_dft_17);
MD__ONNX_REWRITE(md__onnx_cast_1);
MD__ONNX_REWRITE(md__onnx_concat_1);
MD__ONNX_REWRITE(md__onnx_lp_pool_1);
MD__ONNX_REWRITE(md__onnx_recurrent_1);
MD__ONNX_REWRITE(md__onnx_gemm_1);
MD__ONNX_REWRITE(md__onnx_selu_1);
MD__ONNX_REWRITE(md__onnx_grid_sample_16);
MD__ONNX_REWRITE(md__onnx_roi_align_10);
MD__ONNX_REWRITE(md__onnx_scatter_9);
MD__ONNX_REWRITE(md__onnx_tile_1);

/* ---- onnx_rewrite_resize.c ---- */

MD__ONNX_REWRITE(md__onnx_resize_10);
MD__ONNX_REWRITE(md__onnx_resize_11);
MD__ONNX_REWRITE(md__onnx_upsample);

/* ---- onnx_rewrite_nn.c ---- */

MD__ONNX_REWRITE(md__onnx_broadcast_1);
MD__ONNX_REWRITE(md__onnx_prelu_1);
MD__ONNX_REWRITE(md__onnx_dropout_1);
MD__ONNX_REWRITE(md__onnx_batch_norm_1);
MD__ONNX_REWRITE(md__onnx_group_norm_18);
MD__ONNX_REWRITE(md__onnx_softmax_1);

/* ---- onnx_rewrite_quantized.c: operators of com.microsoft ---- */

MD__ONNX_REWRITE(md__onnx_qgemm);
MD__ONNX_REWRITE(md__onnx_qlinear_add);
MD__ONNX_REWRITE(md__onnx_qlinear_average_pool);
MD__ONNX_REWRITE(md__onnx_qlinear_concat);
MD__ONNX_REWRITE(md__onnx_qlinear_global_average_pool);
MD__ONNX_REWRITE(md__onnx_qlinear_leaky_relu);
MD__ONNX_REWRITE(md__onnx_qlinear_mul);
MD__ONNX_REWRITE(md__onnx_qlinear_sigmoid);
MD__ONNX_REWRITE(md__onnx_qlinear_softmax);
MD__ONNX_REWRITE(md__onnx_microsoft_dequantize);
MD__ONNX_REWRITE(md__onnx_microsoft_quantize);

#endif
