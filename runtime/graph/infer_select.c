/*
 * Shape rules of operators whose outputs' sizes depend on values: NonZero, Compress, Unique,
 * NonMaxSuppression.
 */
#include "graph/infer.h"

MD_INFER_RULE(md_infer_non_zero)
{
    (void)node, (void)in_count, (void)out_count, (void)err;
    out[0].dtype = MD_I64;
    out[0].shape = md_shape_of(2, (int64_t[]){in[0].shape.rank, MD_DIM_DATA});
    return MD_OK;
}

/* The input with `axis` of unknown length, or a list of unknown length when there is no axis. */
static enum md_status some_slices(const struct md_node *node, const struct md_value_info *in,
                                  struct md_value_info *out, struct md_error *err)
{
    int axis = 0;
    out[0].dtype = in[0].dtype;
    out[0].shape = in[0].shape;
    if (!md_node_attr(node, "axis")) {
        out[0].shape.rank = 1;
    } else {
        enum md_status status =
            md__infer_axis(md_node_int(node, "axis", 0), in[0].shape.rank, &axis, err);
        if (status)
            return status;
    }
    out[0].shape.dim[axis] = MD_DIM_DATA;
    return MD_OK;
}

MD_INFER_RULE(md_infer_compress)
{
    (void)in_count, (void)out_count;
    enum md_status status = md__infer_dtype(in, 1, MD_BOOL, err);
    if (!status)
        status = md__infer_expect(in, 1, "condition", 1, (int64_t[]){-1}, err);
    return status ? status : some_slices(node, in, out, err);
}

MD_INFER_RULE(md_infer_unique)
{
    (void)in_count;
    int axis = 0;
    size_t count;
    enum md_status status = some_slices(node, in, out, err);
    if (!status)
        status = md_shape_count(&in[0].shape, 1, &count, err);
    if (status)
        return status;
    if (md_node_attr(node, "axis")) {
        status = md__infer_axis(md_node_int(node, "axis", 0), in[0].shape.rank, &axis, err);
        count = status ? 0 : (size_t)in[0].shape.dim[axis];
    }
    for (int i = 1; i < out_count; i++) {
        out[i].dtype = MD_I64;
        out[i].shape = md_shape_of(1, &(int64_t){i == 2 ? (int64_t)count : MD_DIM_DATA});
    }
    return status;
}

MD_INFER_RULE(md_infer_non_max_suppression)
{
    (void)node, (void)out_count;
    const int64_t boxes[] = {-1, -1, 4};
    enum md_status status = md__infer_dtype(in, 0, MD_F32, err);
    if (!status)
        status = md__infer_dtype(in, 1, MD_F32, err);
    if (!status)
        status = md__infer_expect(in, 0, "boxes", 3, boxes, err);
    if (!status) {
        const int64_t scores[] = {in[0].shape.dim[0], -1, in[0].shape.dim[1]};
        status = md__infer_expect(in, 1, "scores", 3, scores, err);
    }
    for (int i = 2; !status && i < in_count; i++) {
        if (!md__has(in, in_count, i))
            continue;
        status = md__infer_dtype(in, i, i == 2 ? MD_I64 : MD_F32, err);
        bool one = in[i].shape.rank == 0 || (in[i].shape.rank == 1 && in[i].shape.dim[0] == 1);
        if (!status && !one)
            status = md_fail(err, MD_ERR_INVALID, "input %d has shape %s, wanted one number", i,
                             MD_SHAPE(in[i]));
    }
    out[0].dtype = MD_I64;
    out[0].shape = md_shape_of(2, (int64_t[]){MD_DIM_DATA, 3});
    return status;
}
