/* Shape rules of operators that gather, cut and join. */
#include "graph/infer.h"

MD_INFER_RULE(md_infer_concat)
{
    (void)out_count;
    int axis;
    if (!md_node_attr(node, "axis"))
        return md_fail(err, MD_ERR_INVALID, "has no attribute \"axis\"");
    enum md_status status =
        md__infer_axis(md_node_int(node, "axis", 0), in[0].shape.rank, &axis, err);
    if (status)
        return status;
    struct md_shape joined = in[0].shape;
    for (int i = 1; i < in_count; i++) {
        struct md_shape others = in[i].shape;
        if ((status = md__infer_dtype(in, i, in[0].dtype, err)))
            return status;
        if (others.rank == joined.rank)
            others.dim[axis] = joined.dim[axis];
        if (!md_shape_equal(&others, &joined))
            return md_fail(err, MD_ERR_INVALID, "input %d of shape %s does not join %s at axis %d",
                           i, MD_SHAPE(in[i]), MD_SHAPE(in[0]), axis);
        if (__builtin_add_overflow(joined.dim[axis], in[i].shape.dim[axis], &joined.dim[axis]))
            return md_fail(err, MD_ERR_TOO_LARGE, "joins more than fits a dimension");
    }
    out[0].dtype = in[0].dtype;
    out[0].shape = joined;
    return MD_OK;
}

/* Sizes from input 1, else the attribute of older opsets, else equal parts with a smaller last one.
 */
MD_INFER_RULE(md_infer_split)
{
    int axis, count = 0;
    int64_t left, sizes[256];
    const struct md_attr *attr = md_node_attr(node, "split");
    enum md_status status =
        md__infer_axis(md_node_int(node, "axis", 0), in[0].shape.rank, &axis, err);
    if (status)
        return status;
    left = in[0].shape.dim[axis];
    int64_t part = left / out_count + (left % out_count != 0);
    if (out_count > 256)
        return md_fail(err, MD_ERR_UNSUPPORTED, "has %d outputs, allowed are 256", out_count);
    if (md__has(in, in_count, 1)) {
        if ((status = md__infer_ints(in, 1, "split", sizes, out_count, &count, err)))
            return status;
    } else {
        count = attr && attr->type == MD_ATTR_INTS ? attr->count : out_count;
        if (md_node_int(node, "num_outputs", out_count) != out_count)
            return md_fail(err, MD_ERR_INVALID, "num_outputs differs from its %d outputs",
                           out_count);
    }
    if (count != out_count)
        return md_fail(err, MD_ERR_INVALID, "lists %d sizes for %d outputs", count, out_count);
    for (int i = 0; i < out_count; i++) {
        int64_t size = part < left ? part : left;
        if (md__has(in, in_count, 1))
            size = sizes[i];
        else if (attr && attr->type == MD_ATTR_INTS)
            size = attr->ints[i];
        if (size < 0 || size > left)
            return md_fail(err, MD_ERR_INVALID, "its sizes do not add up to axis %d of %s", axis,
                           MD_SHAPE(in[0]));
        out[i].dtype = in[0].dtype;
        out[i].shape = in[0].shape;
        out[i].shape.dim[axis] = size;
        left -= size;
    }
    return left == 0 ? MD_OK
                     : md_fail(err, MD_ERR_INVALID, "its sizes do not add up to axis %d of %s",
                               axis, MD_SHAPE(in[0]));
}

/* The number of elements start, start+step, ... before end, with ONNX's clamping. */
static int64_t slice_length(int64_t dim, int64_t start, int64_t end, int64_t step)
{
    start = start < 0 && start >= -dim ? start + dim : start;
    end = end < 0 && end >= -dim ? end + dim : end;
    if (step > 0) {
        start = start < 0 ? 0 : start > dim ? dim : start;
        end = end < 0 ? 0 : end > dim ? dim : end;
        return end > start ? (end - start - 1) / step + 1 : 0;
    }
    start = start > dim - 1 ? dim - 1 : start < 0 ? 0 : start; /* not -1, which is NumPy's */
    end = end < -1 ? -1 : end > dim - 1 ? dim - 1 : end;
    /* -(start - end - 1) / step without negating the smallest integer */
    return start > end ? -((start - end - 1) / step) + 1 : 0;
}

MD_INFER_RULE(md_infer_slice)
{
    (void)node, (void)out_count;
    static const char *const names[] = {"data", "starts", "ends", "axes", "steps"};
    int64_t lists[5][MD_RANK_MAX];
    int counts[5] = {0};
    unsigned seen = 0;
    for (int i = 1; i < 5; i++) {
        counts[i] = counts[1];
        enum md_status status =
            md__has(in, in_count, i)
                ? md__infer_ints(in, i, names[i], lists[i], MD_RANK_MAX, &counts[i], err)
                : MD_OK;
        if (status)
            return status;
        if (counts[i] != counts[1])
            return md_fail(err, MD_ERR_INVALID, "%s lists %d axes, starts %d", names[i], counts[i],
                           counts[1]);
    }
    out[0].dtype = in[0].dtype;
    out[0].shape = in[0].shape;
    for (int k = 0; k < counts[1]; k++) {
        int axis;
        int64_t step = md__has(in, in_count, 4) ? lists[4][k] : 1;
        enum md_status status = md__infer_axis(md__has(in, in_count, 3) ? lists[3][k] : k,
                                               in[0].shape.rank, &axis, err);
        if (status)
            return status;
        if (step == 0 || (seen & 1u << axis))
            return md_fail(err, MD_ERR_INVALID,
                           step ? "axis %d is named twice" : "step of axis %d is 0", axis);
        seen |= 1u << axis;
        out[0].shape.dim[axis] =
            slice_length(in[0].shape.dim[axis], lists[1][k], lists[2][k], step);
    }
    return MD_OK;
}

MD_INFER_RULE(md_infer_gather)
{
    (void)in_count, (void)out_count;
    int axis;
    const struct md_shape *data = &in[0].shape, *index = &in[1].shape;
    enum md_status status = md__infer_axis(md_node_int(node, "axis", 0), data->rank, &axis, err);
    if (status)
        return status;
    if (in[1].dtype != MD_I64 && in[1].dtype != MD_I32)
        return md_fail(err, MD_ERR_INVALID, "indices (input 1) are %s, wanted int64",
                       md_dtype_name(in[1].dtype));
    if (data->rank + index->rank - 1 > MD_RANK_MAX)
        return md_fail(err, MD_ERR_UNSUPPORTED, "makes rank %d, allowed are %d",
                       data->rank + index->rank - 1, MD_RANK_MAX);
    struct md_shape made = {0};
    for (int i = 0; i < axis; i++)
        made.dim[made.rank++] = data->dim[i];
    for (int i = 0; i < index->rank; i++)
        made.dim[made.rank++] = index->dim[i];
    for (int i = axis + 1; i < data->rank; i++)
        made.dim[made.rank++] = data->dim[i];
    out[0].dtype = in[0].dtype;
    out[0].shape = made;
    return MD_OK;
}
