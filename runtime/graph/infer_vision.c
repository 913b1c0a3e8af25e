/*
 * Shape rules of Resize, GridSample, AffineGrid, RoiAlign.
 */
#include "graph/infer.h"
#include "graph/resize.h"

static enum md_status floats(const struct md_value_info *in, int in_count, int i, const char *what,
                             double *list, int max, int *count, struct md_error *err)
{
    *count = 0;
    if (!md__has(in, in_count, i) || (in[i].shape.rank == 1 && in[i].shape.dim[0] == 0))
        return MD_OK;
    if (in[i].shape.rank != 1 || in[i].shape.dim[0] > max)
        return md_fail(err, MD_ERR_INVALID, "%s (input %d) has shape %s", what, i, MD_SHAPE(in[i]));
    if (!in[i].known)
        return md__infer_unknown(in, i, what, err);
    size_t step = md_dtype_bytes(in[i].dtype);
    *count = (int)in[i].shape.dim[0];
    for (int k = 0; k < *count; k++) {
        const struct md_value_info one = {.dtype = in[i].dtype,
                                          .known = (const char *)in[i].known + (size_t)k * step};
        enum md_status status = md__infer_float(&one, 0, what, &list[k], err);
        if (status)
            return status;
    }
    return MD_OK;
}

static enum md_status check_modes(const struct md_node *node, struct md_error *err)
{
    static const char *const modes[] = {"nearest", "linear", "cubic", NULL};
    static const char *const nearest[] = {"round_prefer_floor", "round_prefer_ceil", "floor",
                                          "ceil", NULL};
    int chosen;
    enum md_status status = md__infer_choice(node, "mode", "nearest", modes, &chosen, err);
    if (!status)
        status = md__infer_choice(node, "nearest_mode", nearest[0], nearest, &chosen, err);
    return status;
}

/* X, roi?, scales?, sizes? */
MD_INFER_RULE(md_infer_resize)
{
    (void)out_count;
    struct md_resize_lists lists;
    struct md_resize resize;
    enum md_status status = check_modes(node, err);
    if (!status)
        status = floats(in, in_count, 1, "roi", lists.roi, 2 * MD_RANK_MAX, &lists.roi_count, err);
    if (!status)
        status =
            floats(in, in_count, 2, "scales", lists.scales, MD_RANK_MAX, &lists.scale_count, err);
    if (!status)
        status = floats(in, in_count, 3, "sizes", lists.sizes, MD_RANK_MAX, &lists.size_count, err);
    if (!status)
        status = md__resize_init(node, &in[0].shape, &lists, &resize, err);
    if (status)
        return status;
    out[0].dtype = in[0].dtype;
    out[0].shape.rank = resize.rank;
    for (int i = 0; i < resize.rank; i++)
        out[0].shape.dim[i] = resize.axes[i].out;
    return MD_OK;
}

/* X [n, c, in...], grid [n, out..., axes] */
MD_INFER_RULE(md_infer_grid_sample)
{
    (void)in_count, (void)out_count;
    static const char *const modes[] = {"linear", "nearest", "cubic", NULL};
    static const char *const paddings[] = {"zeros", "border", "reflection", NULL};
    const struct md_shape *x = &in[0].shape, *grid = &in[1].shape;
    int chosen;
    enum md_status status = md__infer_choice(node, "mode", "linear", modes, &chosen, err);
    if (!status)
        status = md__infer_choice(node, "padding_mode", "zeros", paddings, &chosen, err);
    if (status)
        return status;
    if (x->rank < 3 || x->rank > 5)
        return md_fail(err, MD_ERR_UNSUPPORTED, "has %d spatial axes, supported are 1 to 3",
                       x->rank - 2);
    if (grid->rank != x->rank || grid->dim[0] != x->dim[0] ||
        grid->dim[grid->rank - 1] != x->rank - 2)
        return md_fail(err, MD_ERR_INVALID, "grid of shape %s does not sample %s", MD_SHAPE(in[1]),
                       MD_SHAPE(in[0]));
    out[0].dtype = in[0].dtype;
    out[0].shape = *x;
    for (int i = 2; i < x->rank; i++)
        out[0].shape.dim[i] = grid->dim[i - 1];
    return MD_OK;
}

/* theta [n, axes, axes + 1], size (n, c, out...) -> [n, out..., axes] */
MD_INFER_RULE(md_infer_affine_grid)
{
    (void)node, (void)in_count, (void)out_count;
    int64_t size[MD_RANK_MAX];
    int count;
    enum md_status status = md__infer_ints(in, 1, "size", size, MD_RANK_MAX, &count, err);
    if (status)
        return status;
    int64_t axes = count - 2;
    if (axes != 2 && axes != 3)
        return md_fail(err, MD_ERR_INVALID, "size lists %d numbers, wanted 4 or 5", count);
    const int64_t theta[] = {size[0], axes, axes + 1};
    if ((status = md__infer_expect(in, 0, "theta", 3, theta, err)))
        return status;
    out[0].dtype = in[0].dtype;
    out[0].shape.rank = (int)axes + 2;
    out[0].shape.dim[0] = size[0];
    for (int i = 0; i < axes; i++)
        if ((out[0].shape.dim[1 + i] = size[2 + i]) < 0)
            return md_fail(err, MD_ERR_INVALID, "size asks for dimension %lld",
                           (long long)size[2 + i]);
    out[0].shape.dim[axes + 1] = axes;
    return MD_OK;
}

/* X [n, c, h, w], rois [k, 4], batch indices [k] */
MD_INFER_RULE(md_infer_roi_align)
{
    (void)in_count, (void)out_count;
    static const char *const modes[] = {"avg", "max", NULL};
    static const char *const coordinates[] = {"half_pixel", "output_half_pixel", NULL};
    int chosen;
    int64_t height = md_node_int(node, "output_height", 1);
    int64_t width = md_node_int(node, "output_width", 1);
    enum md_status status = md__infer_choice(node, "mode", "avg", modes, &chosen, err);
    if (!status)
        status = md__infer_choice(node, "coordinate_transformation_mode", "half_pixel", coordinates,
                                  &chosen, err);
    if (!status)
        status = md__infer_dtype(in, 1, in[0].dtype, err);
    if (!status)
        status = md__infer_expect(in, 0, "X", 4, (int64_t[]){-1, -1, -1, -1}, err);
    if (!status)
        status = md__infer_expect(in, 1, "rois", 2, (int64_t[]){-1, 4}, err);
    if (!status)
        status = md__infer_expect(in, 2, "batch_indices", 1, in[1].shape.dim, err);
    if (!status && (height < 1 || width < 1 || height > 1 << 24 || width > 1 << 24 ||
                    md_node_int(node, "sampling_ratio", 0) < 0))
        status = md_fail(err, MD_ERR_INVALID, "output of %lld by %lld or negative sampling_ratio",
                         (long long)height, (long long)width);
    out[0].dtype = in[0].dtype;
    out[0].shape =
        md_shape_of(4, (int64_t[]){in[1].shape.dim[0], in[0].shape.dim[1], height, width});
    return status;
}
