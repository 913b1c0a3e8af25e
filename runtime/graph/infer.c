/* Helpers shared by the shape rules: broadcasting, axes, and lists of integers known while
 * planning. */
#include "graph/infer.h"

#include <stdio.h>
#include <string.h>

struct md_shape_text md__shape_text(const struct md_shape *shape)
{
    struct md_shape_text made;
    md_shape_text(shape, made.text, sizeof made.text);
    return made;
}

/* Merges `from` into `shape`, aligned at the last axis; false when a pair is neither equal nor 1.
 */
static bool merge(struct md_shape *shape, const struct md_shape *from)
{
    struct md_shape merged = shape->rank >= from->rank ? *shape : *from;
    for (int back = 1; back <= shape->rank && back <= from->rank; back++) {
        int64_t a = shape->dim[shape->rank - back], b = from->dim[from->rank - back];
        if (a != b && a != 1 && b != 1)
            return false;
        merged.dim[merged.rank - back] = a == 1 ? b : a;
    }
    *shape = merged;
    return true;
}

enum md_status md__infer_broadcast_shape(const struct md_value_info *in, int count,
                                         struct md_shape *shape, struct md_error *err)
{
    *shape = (struct md_shape){0};
    for (int i = 0; i < count; i++) {
        struct md_shape before = *shape;
        if (in[i].dtype && !merge(shape, &in[i].shape))
            return md_fail(err, MD_ERR_INVALID, "input %d of shape %s does not broadcast with %s",
                           i, MD_SHAPE(in[i]), md__shape_text(&before).text);
    }
    return MD_OK;
}

enum md_status md__infer_axis(int64_t axis, int rank, int *position, struct md_error *err)
{
    if (axis < -rank || axis >= rank)
        return md_fail(err, MD_ERR_INVALID, "axis %lld is outside a tensor of rank %d",
                       (long long)axis, rank);
    *position = (int)(axis < 0 ? axis + rank : axis);
    return MD_OK;
}

enum md_status md__infer_unknown(const struct md_value_info *in, int i, const char *what,
                                 struct md_error *err)
{
    if (in[i].asked)
        *in[i].asked = true;
    return md_fail(err, MD_ERR_PENDING, "%s (input %d) depends on data", what, i);
}

enum md_status md__infer_ints(const struct md_value_info *in, int i, const char *what,
                              int64_t *ints, int max, int *count, struct md_error *err)
{
    const struct md_value_info *info = &in[i];
    int64_t length = info->shape.rank == 0 ? 1 : info->shape.dim[0];
    if (info->dtype != MD_I64 && info->dtype != MD_I32)
        return md_fail(err, MD_ERR_INVALID, "%s (input %d) is %s, wanted int64", what, i,
                       md_dtype_name(info->dtype));
    if (info->shape.rank > 1 || length > max)
        return md_fail(err, MD_ERR_INVALID, "%s (input %d) has shape %s, wanted at most [%d]", what,
                       i, MD_SHAPE(*info), max);
    if (!info->known && length > 0)
        return md__infer_unknown(in, i, what, err);
    for (int k = 0; k < length; k++) {
        if (info->dtype == MD_I64)
            memcpy(&ints[k], (const char *)info->known + (size_t)k * 8, 8);
        else
            ints[k] = ((const int32_t *)info->known)[k];
    }
    *count = (int)length;
    return MD_OK;
}

enum md_status md__infer_axes(const struct md_node *node, const struct md_value_info *in,
                              int in_count, int i, int rank, unsigned *axes, bool *given,
                              struct md_error *err)
{
    int64_t list[MD_RANK_MAX];
    int count = 0;
    const struct md_attr *attr = md_node_attr(node, "axes");
    *axes = 0;
    if (md__has(in, in_count, i)) {
        enum md_status status = md__infer_ints(in, i, "axes", list, MD_RANK_MAX, &count, err);
        if (status)
            return status;
    } else if (attr && attr->type == MD_ATTR_INTS) {
        if (attr->count > MD_RANK_MAX)
            return md_fail(err, MD_ERR_INVALID, "axes names %d axes", attr->count);
        count = attr->count;
        memcpy(list, attr->ints, (size_t)count * sizeof *list);
    }
    for (int k = 0; k < count; k++) {
        int axis = 0;
        enum md_status status = md__infer_axis(list[k], rank, &axis, err);
        if (status)
            return status;
        if (*axes & 1u << axis)
            return md_fail(err, MD_ERR_INVALID, "axis %d is named twice", axis);
        *axes |= 1u << axis;
    }
    *given = count > 0;
    return MD_OK;
}

enum md_status md__infer_dtype(const struct md_value_info *in, int i, enum md_dtype dtype,
                               struct md_error *err)
{
    if (in[i].dtype == dtype)
        return MD_OK;
    return md_fail(err, MD_ERR_INVALID, "input %d is %s, wanted %s", i, md_dtype_name(in[i].dtype),
                   md_dtype_name(dtype));
}

enum md_status md__infer_is_float(const struct md_value_info *in, int i, struct md_error *err)
{
    enum md_dtype dtype = in[i].dtype;
    if (dtype == MD_F32 || dtype == MD_F16 || dtype == MD_F64 || dtype == MD_BF16)
        return MD_OK;
    return md_fail(err, MD_ERR_INVALID, "input %d is %s, wanted a float", i, md_dtype_name(dtype));
}

enum md_status md__infer_dtype_attr(const struct md_node *node, const char *name,
                                    enum md_dtype otherwise, enum md_dtype *dtype,
                                    struct md_error *err)
{
    int64_t number = md_node_int(node, name, (int64_t)otherwise);
    if (number < 0 || number > 64 || !md_dtype_bytes((enum md_dtype)number))
        return md_fail(err, MD_ERR_UNSUPPORTED, "attribute \"%s\" = %lld is no supported dtype",
                       name, (long long)number);
    *dtype = (enum md_dtype)number;
    return MD_OK;
}

enum md_status md__infer_expect(const struct md_value_info *in, int i, const char *what, int rank,
                                const int64_t *dim, struct md_error *err)
{
    struct md_shape wanted = md_shape_of(rank, dim);
    bool fits = in[i].shape.rank == rank;
    for (int k = 0; fits && k < rank; k++)
        fits = dim[k] == -1 || dim[k] == in[i].shape.dim[k];
    if (fits)
        return MD_OK;
    return md_fail(err, MD_ERR_INVALID, "%s (input %d) has shape %s, wanted %s", what, i,
                   MD_SHAPE(in[i]), md__shape_text(&wanted).text);
}
