/* Shape rules of operators that rename dimensions without moving data, or that make tensors from
 * shapes. */
#include "graph/infer.h"

#include <math.h>

/* Elements of a shape, or -1 when they do not fit an int64. */
static int64_t count_elements(const struct md_shape *shape)
{
    size_t count;
    return md_shape_count(shape, 1, &count, NULL) ? -1 : (int64_t)count;
}

MD_INFER_RULE(md_infer_reshape)
{
    (void)in_count, (void)out_count;
    const struct md_shape *from = &in[0].shape;
    struct md_shape to = {0}, wanted;
    int unknown = -1;
    bool zero_is_zero = md_node_int(node, "allowzero", 0) != 0;
    enum md_status status = md__infer_ints(in, 1, "shape", to.dim, MD_RANK_MAX, &to.rank, err);
    if (status)
        return status;
    wanted = to;
    /* Copied dimensions cancel, so that -1 has an answer beside a copied dimension of 0. */
    struct md_shape rest = *from, others = {.rank = to.rank};
    for (int i = 0; i < to.rank; i++) {
        others.dim[i] = to.dim[i];
        if (to.dim[i] == 0 && !zero_is_zero) {
            if (i >= from->rank)
                return md_fail(err, MD_ERR_INVALID, "shape copies dimension %d of %s", i,
                               MD_SHAPE(in[0]));
            to.dim[i] = from->dim[i];
            rest.dim[i] = others.dim[i] = 1;
        } else if (to.dim[i] == -1 && unknown < 0) {
            others.dim[unknown = i] = 1;
        } else if (to.dim[i] < 0) {
            return md_fail(err, MD_ERR_INVALID, "shape asks for dimension %lld",
                           (long long)to.dim[i]);
        }
    }
    int64_t have = count_elements(&rest), divisor = count_elements(&others);
    if (unknown >= 0) /* 0 / 0: any size would do */
        to.dim[unknown] = divisor > 0 && have % divisor == 0 ? have / divisor : 0;
    if (have < 0 || count_elements(&to) != count_elements(from))
        return md_fail(err, MD_ERR_INVALID, "cannot reshape %s to %s", MD_SHAPE(in[0]),
                       md__shape_text(&wanted).text);
    out[0].dtype = in[0].dtype;
    out[0].shape = to;
    return MD_OK;
}

MD_INFER_RULE(md_infer_squeeze)
{
    (void)out_count;
    unsigned axes;
    bool given;
    const struct md_shape *from = &in[0].shape;
    enum md_status status = md__infer_axes(node, in, in_count, 1, from->rank, &axes, &given, err);
    if (status)
        return status;
    out[0].dtype = in[0].dtype;
    out[0].shape.rank = 0;
    for (int i = 0; i < from->rank; i++) {
        bool drop = given ? axes >> i & 1 : from->dim[i] == 1;
        if (drop && from->dim[i] != 1)
            return md_fail(err, MD_ERR_INVALID, "axis %d of %s is not 1", i, MD_SHAPE(in[0]));
        if (!drop)
            out[0].shape.dim[out[0].shape.rank++] = from->dim[i];
    }
    return MD_OK;
}

MD_INFER_RULE(md_infer_unsqueeze)
{
    (void)in_count, (void)out_count;
    unsigned axes;
    bool given;
    int64_t list[MD_RANK_MAX];
    int added = 0, taken = 0;
    const struct md_shape *from = &in[0].shape;
    enum md_status status = md__infer_ints(in, 1, "axes", list, MD_RANK_MAX, &added, err);
    if (status)
        return status;
    int rank = from->rank + added;
    if (rank > MD_RANK_MAX)
        return md_fail(err, MD_ERR_UNSUPPORTED, "makes rank %d, allowed are %d", rank, MD_RANK_MAX);
    if ((status = md__infer_axes(node, in, 2, 1, rank, &axes, &given, err)))
        return status;
    out[0].dtype = in[0].dtype;
    out[0].shape.rank = rank;
    for (int i = 0; i < rank; i++)
        out[0].shape.dim[i] = axes >> i & 1 ? 1 : from->dim[taken++];
    return MD_OK;
}

MD_INFER_RULE(md_infer_transpose)
{
    (void)in_count, (void)out_count;
    const struct md_attr *perm = md_node_attr(node, "perm");
    const struct md_shape *from = &in[0].shape;
    unsigned seen = 0;
    if (perm && (perm->type != MD_ATTR_INTS || perm->count != from->rank))
        return md_fail(err, MD_ERR_INVALID, "perm does not list the %d axes of %s", from->rank,
                       MD_SHAPE(in[0]));
    out[0].dtype = in[0].dtype;
    out[0].shape.rank = from->rank;
    for (int i = 0; i < from->rank; i++) {
        int64_t axis = perm ? perm->ints[i] : from->rank - 1 - i;
        if (axis < 0 || axis >= from->rank || (seen & 1u << axis))
            return md_fail(err, MD_ERR_INVALID, "perm is no permutation of %d axes", from->rank);
        seen |= 1u << axis;
        out[0].shape.dim[i] = from->dim[axis];
    }
    return MD_OK;
}

/* Shape's attributes start and end clamp like a Python slice. */
MD_INFER_RULE(md_infer_shape)
{
    (void)in_count, (void)out_count, (void)err;
    int64_t rank = in[0].shape.rank;
    int64_t begin = md_node_int(node, "start", 0), end = md_node_int(node, "end", rank);
    begin = begin < 0 ? begin + rank : begin;
    end = end < 0 ? end + rank : end;
    begin = begin < 0 ? 0 : begin > rank ? rank : begin;
    end = end < begin ? begin : end > rank ? rank : end;
    out[0].dtype = MD_I64;
    out[0].shape = md_shape_of(1, &(int64_t){end - begin});
    return MD_OK;
}

MD_INFER_RULE(md_infer_constant_of_shape)
{
    (void)in_count, (void)out_count;
    const struct md_attr *value = md_node_attr(node, "value");
    enum md_status status =
        md__infer_ints(in, 0, "shape", out[0].shape.dim, MD_RANK_MAX, &out[0].shape.rank, err);
    if (status)
        return status;
    for (int i = 0; i < out[0].shape.rank; i++)
        if (out[0].shape.dim[i] < 0)
            return md_fail(err, MD_ERR_INVALID, "shape asks for dimension %lld",
                           (long long)out[0].shape.dim[i]);
    if (value && (value->type != MD_ATTR_TENSOR || md_tensor_count(&value->tensor) != 1))
        return md_fail(err, MD_ERR_INVALID, "attribute \"value\" is not one element");
    out[0].dtype = value ? value->tensor.dtype : MD_F32;
    return MD_OK;
}

MD_INFER_RULE(md_infer_range)
{
    (void)node, (void)in_count, (void)out_count;
    double v[3];
    if (in[0].dtype == MD_BOOL)
        return md_fail(err, MD_ERR_INVALID, "input 0 is bool, wanted one numeric dtype");
    for (int i = 0; i < 3; i++) {
        enum md_status status = md__infer_dtype(in, i, in[0].dtype, err);
        if (!status)
            status = md__infer_float(in, i, "a bound", &v[i], err);
        if (status)
            return status;
    }
    double count = ceil((v[1] - v[0]) / v[2]);
    if (v[2] == 0 || !(fabs(count) < 9e15))
        return md_fail(err, MD_ERR_INVALID, "range from %g to %g by %g has no size", v[0], v[1],
                       v[2]);
    out[0].dtype = in[0].dtype;
    out[0].shape = md_shape_of(1, &(int64_t){count > 0 ? (int64_t)count : 0});
    return MD_OK;
}
