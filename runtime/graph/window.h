/*
 * The geometry of windows that slide over spatial axes: convolutions and poolings. Shape rules and
 * kernels read the same attributes through here, so that they cannot disagree.
 *
 * Tensors are [batch, channels, spatial...]. Formulas:
 * https://onnx.ai/onnx/operators/onnx__Conv.html, onnx__ConvTranspose.html, onnx__MaxPool.html.
 */
#ifndef MD_GRAPH_WINDOW_H
#define MD_GRAPH_WINDOW_H

#include "graph/graph.h"

#define MD_WINDOW_AXES_MAX 3

/* Element (tap k, output o) lies at o * stride - before + k * dilation of the input. */
struct md_window {
    int axes;
    int64_t in[MD_WINDOW_AXES_MAX], out[MD_WINDOW_AXES_MAX], kernel[MD_WINDOW_AXES_MAX];
    int64_t stride[MD_WINDOW_AXES_MAX], dilation[MD_WINDOW_AXES_MAX];
    int64_t before[MD_WINDOW_AXES_MAX], after[MD_WINDOW_AXES_MAX]; /* padding */
};

/* weights: [.., .., kernel...] of a convolution, whose kernel_shape must agree; NULL: a pooling,
 * which may have ceil_mode. */
enum md_status md__window_init(const struct md_node *node, const struct md_shape *x,
                               const struct md_shape *weights, struct md_window *window,
                               struct md_error *err);
/* Of a ConvTranspose: in and out change places in the formula above. */
enum md_status md__window_init_transposed(const struct md_node *node, const struct md_shape *x,
                                          const struct md_shape *weights, struct md_window *window,
                                          struct md_error *err);
/* The whole of the spatial axes at once, merged into one. */
void md__window_init_global(const struct md_shape *x, struct md_window *window);
/* With leading axes of 1, so that there are always MD_WINDOW_AXES_MAX. */
struct md_window md__window_widened(const struct md_window *window);

#endif
