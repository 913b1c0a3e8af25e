/*
 * The geometry of Resize: what each axis is scaled by, how long it becomes, and where an output
 * position lies in the input. Formulas: https://onnx.ai/onnx/operators/onnx__Resize.html.
 *
 * Rule and kernel read the same inputs through here, so that they cannot disagree.
 */
#ifndef MD_GRAPH_RESIZE_H
#define MD_GRAPH_RESIZE_H

#include "graph/graph.h"

enum md_resize_coordinates {
    MD_RESIZE_HALF_PIXEL,
    MD_RESIZE_HALF_PIXEL_SYMMETRIC,
    MD_RESIZE_PYTORCH_HALF_PIXEL,
    MD_RESIZE_ALIGN_CORNERS,
    MD_RESIZE_ASYMMETRIC,
    MD_RESIZE_CROP,         /* tf_crop_and_resize */
    MD_RESIZE_HALF_PIXEL_NN /* tf_half_pixel_for_nn, of opset 11 */
};

struct md_resize_axis {
    int64_t in, out;
    double scale, begin, end; /* begin, end: of roi, as shares of the axis */
    bool used;                /* false: the axis keeps its elements */
};

struct md_resize {
    enum md_resize_coordinates coordinates;
    int rank;
    struct md_resize_axis axes[MD_RANK_MAX];
};

/* The lists of numbers that a Resize is given; a count of 0: absent. */
struct md_resize_lists {
    double roi[2 * MD_RANK_MAX], scales[MD_RANK_MAX], sizes[MD_RANK_MAX];
    int roi_count, scale_count, size_count;
};

/*
 * The attribute moondial.whole_lengths, which the ONNX reader sets in files of PyTorch, makes
 * "align_corners" spread over the output's whole length whatever the scale.
 */
enum md_status md__resize_init(const struct md_node *node, const struct md_shape *shape,
                               const struct md_resize_lists *lists, struct md_resize *resize,
                               struct md_error *err);
/* The position in the input that output element i of an axis shows. */
double md__resize_source(const struct md_resize *resize, int axis, int64_t i);

#endif
