/* Shape rules of what works along axes: reductions, positions of extremes, running sums, softmax
 * and its kin, losses. */
#include "graph/infer.h"

#include <string.h>

MD_INFER_RULE(md_infer_softmax)
{
    int axis;
    enum md_status status =
        md__infer_axis(md_node_int(node, "axis", -1), in[0].shape.rank, &axis, err);
    return status ? status : md_infer_same(node, in, in_count, out, out_count, err);
}

MD_INFER_RULE(md_infer_lp_normalization)
{
    int64_t p = md_node_int(node, "p", 2);
    if (p != 1 && p != 2)
        return md_fail(err, MD_ERR_UNSUPPORTED, "attribute \"p\" = %lld is neither 1 nor 2",
                       (long long)p);
    return md_infer_softmax(node, in, in_count, out, out_count, err);
}

/* The axis of a running sum does not decide the shape: unless it is known, the kernel checks it. */
MD_INFER_RULE(md_infer_cumulative)
{
    int64_t given = 0;
    int count = 1, axis;
    if (in[1].known) {
        enum md_status status = md__infer_ints(in, 1, "axis", &given, 1, &count, err);
        if (!status)
            status = md__infer_axis(given, in[0].shape.rank, &axis, err);
        if (status)
            return status;
    }
    if (count != 1 || (in[1].dtype != MD_I64 && in[1].dtype != MD_I32))
        return md_fail(err, MD_ERR_INVALID, "axis (input 1) is no integer");
    return md_infer_same(node, in, in_count, out, out_count, err);
}

/* What is left of `from` without the axes of a bit set, or with 1 in their place. */
static struct md_shape reduced_shape(const struct md_shape *from, unsigned axes, bool keep)
{
    struct md_shape to = {0};
    for (int i = 0; i < from->rank; i++) {
        bool reduced = axes >> i & 1;
        if (!reduced || keep)
            to.dim[to.rank++] = reduced ? 1 : from->dim[i];
    }
    return to;
}

MD_INFER_RULE(md_infer_reduce)
{
    (void)out_count;
    unsigned axes;
    bool given;
    enum md_status status =
        md__infer_axes(node, in, in_count, 1, in[0].shape.rank, &axes, &given, err);
    if (status)
        return status;
    if (!given && md_node_int(node, "noop_with_empty_axes", 0) == 0)
        axes = ~0u;
    out[0].dtype = in[0].dtype;
    out[0].shape = reduced_shape(&in[0].shape, axes, md_node_int(node, "keepdims", 1) != 0);
    return MD_OK;
}

MD_INFER_RULE(md_infer_arg)
{
    (void)in_count, (void)out_count;
    int axis;
    enum md_status status =
        md__infer_axis(md_node_int(node, "axis", 0), in[0].shape.rank, &axis, err);
    if (status)
        return status;
    if (in[0].shape.dim[axis] == 0)
        return md_fail(err, MD_ERR_INVALID, "axis %d of %s is empty and has no extreme", axis,
                       MD_SHAPE(in[0]));
    out[0].dtype = MD_I64;
    out[0].shape = reduced_shape(&in[0].shape, 1u << axis, md_node_int(node, "keepdims", 1) != 0);
    return MD_OK;
}

/* Both losses: [N, C, d1, ..] scores, [N, d1, ..] labels, [C] weights. Output 1, if asked for,
 * holds the logarithms of the probabilities. */
MD_INFER_RULE(md_infer_loss)
{
    int word;
    const struct md_shape *scores = &in[0].shape;
    enum md_status status = md__infer_choice(
        node, "reduction", "mean", (const char *const[]){"mean", "sum", "none", NULL}, &word, err);
    if (status)
        return status;
    if (scores->rank < 2)
        return md_fail(err, MD_ERR_INVALID, "scores of shape %s have no classes", MD_SHAPE(in[0]));
    struct md_shape labels = reduced_shape(scores, 1u << 1, false);
    status = md__infer_expect(in, 1, "labels", labels.rank, labels.dim, err);
    if (!status && in[1].dtype != MD_I64)
        status = md__infer_dtype(in, 1, MD_I32, err);
    if (!status && md__has(in, in_count, 2))
        status = md__infer_dtype(in, 2, in[0].dtype, err);
    if (!status && md__has(in, in_count, 2))
        status = md__infer_expect(in, 2, "weights", 1, &scores->dim[1], err);
    for (int i = 0; !status && i < out_count; i++)
        out[i].dtype = in[0].dtype;
    out[0].shape = word == 2 ? labels : (struct md_shape){0};
    if (out_count > 1)
        out[1].shape = *scores;
    return status;
}
