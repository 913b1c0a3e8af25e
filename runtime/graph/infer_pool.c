/*
 * Shape rules of poolings: MaxPool, AveragePool, LpPool, their global forms, MaxUnpool, MaxRoiPool.
 */
#include "graph/infer.h"
#include "graph/window.h"

MD_INFER_RULE(md_infer_pool)
{
    (void)in_count;
    struct md_window window;
    enum md_status status = md__window_init(node, &in[0].shape, NULL, &window, err);
    if (!status && md_node_int(node, "p", 2) < 1)
        status = md_fail(err, MD_ERR_INVALID, "attribute p is %lld",
                         (long long)md_node_int(node, "p", 2));
    for (int i = 0; !status && i < out_count; i++) {
        out[i].dtype = i == 0 ? in[0].dtype : MD_I64;
        out[i].shape = in[0].shape;
        for (int a = 0; a < window.axes; a++)
            out[i].shape.dim[2 + a] = window.out[a];
    }
    return status;
}

MD_INFER_RULE(md_infer_global_pool)
{
    (void)in_count, (void)out_count;
    out[0].dtype = in[0].dtype;
    out[0].shape = in[0].shape;
    if (in[0].shape.rank < 3 || md_node_int(node, "p", 2) < 1)
        return md_fail(err, MD_ERR_INVALID,
                       "input of shape %s has no spatial axes, or p is below 1", MD_SHAPE(in[0]));
    for (int i = 2; i < in[0].shape.rank; i++)
        out[0].shape.dim[i] = 1;
    return MD_OK;
}

/* The shape that a MaxPool with these attributes was given, if nothing was cut off. */
MD_INFER_RULE(md_infer_max_unpool)
{
    (void)out_count;
    int64_t asked[MD_RANK_MAX], kernel[MD_RANK_MAX], stride[MD_RANK_MAX], pads[2 * MD_RANK_MAX];
    int count, axes = in[0].shape.rank - 2;
    if (axes < 1 || !md_node_attr(node, "kernel_shape"))
        return md_fail(err, MD_ERR_INVALID, "input of shape %s or kernel_shape is not for it",
                       MD_SHAPE(in[0]));
    enum md_status status = md__infer_dtype(in, 1, MD_I64, err);
    if (!status)
        status = md__infer_expect(in, 1, "I", in[0].shape.rank, in[0].shape.dim, err);
    if (!status)
        status = md__infer_numbers(node, "kernel_shape", axes, 1, 1, kernel, err);
    if (!status)
        status = md__infer_numbers(node, "strides", axes, 1, 1, stride, err);
    if (!status)
        status = md__infer_numbers(node, "pads", 2 * axes, 0, 0, pads, err);
    out[0].dtype = in[0].dtype;
    out[0].shape = in[0].shape;
    for (int i = 0; !status && i < axes; i++) {
        int64_t *dim = &out[0].shape.dim[2 + i];
        if (*dim > INT64_MAX / 4 / stride[i])
            return md_fail(err, MD_ERR_TOO_LARGE, "axis %d is too long", i + 2);
        *dim = (*dim - 1) * stride[i] - pads[i] - pads[i + axes] + kernel[i];
        if (*dim < 0)
            return md_fail(err, MD_ERR_INVALID, "pads leave nothing of axis %d", i + 2);
    }
    if (status || !md__has(in, in_count, 2))
        return status;
    status = md__infer_ints(in, 2, "output_shape", asked, MD_RANK_MAX, &count, err);
    if (status)
        return status;
    for (int i = 0; i < count; i++)
        if (asked[i] < 0 || count != in[0].shape.rank)
            return md_fail(err, MD_ERR_INVALID, "output_shape does not list %d sizes",
                           in[0].shape.rank);
    out[0].shape = md_shape_of(count, asked);
    return count == in[0].shape.rank
               ? MD_OK
               : md_fail(err, MD_ERR_INVALID, "output_shape does not list %d sizes",
                         in[0].shape.rank);
}

MD_INFER_RULE(md_infer_max_roi_pool)
{
    (void)in_count, (void)out_count;
    int64_t pooled[2];
    if (!md_node_attr(node, "pooled_shape"))
        return md_fail(err, MD_ERR_INVALID, "has no attribute \"pooled_shape\"");
    enum md_status status = md__infer_dtype(in, 1, in[0].dtype, err);
    if (!status)
        status = md__infer_expect(in, 0, "X", 4, (int64_t[]){-1, -1, -1, -1}, err);
    if (!status)
        status = md__infer_expect(in, 1, "rois", 2, (int64_t[]){-1, 5}, err);
    if (!status)
        status = md__infer_numbers(node, "pooled_shape", 2, 1, 1, pooled, err);
    const int64_t dim[] = {in[1].shape.dim[0], in[0].shape.dim[1], status ? 0 : pooled[0],
                           status ? 0 : pooled[1]};
    out[0].dtype = in[0].dtype;
    out[0].shape = md_shape_of(4, dim);
    return status;
}
