/*
 * Shape rules of operators that lay elements out anew: Flatten, Size, DepthToSpace, SpaceToDepth,
 * Pad, CenterCropPad, Col2Im, Dropout.
 */
#include "graph/infer.h"

static int64_t product(const struct md_shape *shape, int begin, int end, bool *overflow)
{
    int64_t count = 1;
    for (int i = begin; i < end; i++)
        *overflow |= __builtin_mul_overflow(count, shape->dim[i], &count);
    return count;
}

MD_INFER_RULE(md_infer_flatten)
{
    (void)in_count, (void)out_count;
    const struct md_shape *from = &in[0].shape;
    int64_t axis = md_node_int(node, "axis", 1);
    bool overflow = false;
    axis = axis < 0 ? axis + from->rank : axis;
    if (axis < 0 || axis > from->rank)
        return md_fail(err, MD_ERR_INVALID, "axis %lld is outside a tensor of rank %d",
                       (long long)axis, from->rank);
    out[0].dtype = in[0].dtype;
    out[0].shape.rank = 2;
    out[0].shape.dim[0] = product(from, 0, (int)axis, &overflow);
    out[0].shape.dim[1] = product(from, (int)axis, from->rank, &overflow);
    return overflow ? md_fail(err, MD_ERR_TOO_LARGE, "flattens %s", MD_SHAPE(in[0])) : MD_OK;
}

MD_INFER_RULE(md_infer_size)
{
    (void)node, (void)in, (void)in_count, (void)out_count, (void)err;
    out[0].dtype = MD_I64;
    out[0].shape.rank = 0;
    return MD_OK;
}

static enum md_status infer_blocks(const struct md_node *node, const struct md_value_info *in,
                                   struct md_value_info *out, bool to_space, struct md_error *err)
{
    static const char *const modes[] = {"DCR", "CRD", NULL};
    int mode;
    int64_t block = md_node_int(node, "blocksize", 0);
    const struct md_shape *from = &in[0].shape;
    enum md_status status = md__infer_choice(node, "mode", "DCR", modes, &mode, err);
    if (status)
        return status;
    if (from->rank != 4 || block < 1 || block > 1 << 20)
        return md_fail(err, MD_ERR_INVALID, "blocks of %lld do not fit %s", (long long)block,
                       MD_SHAPE(in[0]));
    out[0].dtype = in[0].dtype;
    out[0].shape = *from;
    int64_t *dim = out[0].shape.dim;
    bool overflow = false;
    if (to_space) {
        overflow |= __builtin_mul_overflow(dim[2], block, &dim[2]);
        overflow |= __builtin_mul_overflow(dim[3], block, &dim[3]);
        overflow |= dim[1] % (block * block) != 0;
        dim[1] /= block * block;
    } else {
        overflow |= dim[2] % block != 0 || dim[3] % block != 0;
        overflow |= __builtin_mul_overflow(dim[1], block * block, &dim[1]);
        dim[2] /= block;
        dim[3] /= block;
    }
    return overflow ? md_fail(err, MD_ERR_INVALID, "blocks of %lld do not fit %s", (long long)block,
                              MD_SHAPE(in[0]))
                    : MD_OK;
}

MD_INFER_RULE(md_infer_depth_to_space)
{
    (void)in_count, (void)out_count;
    return infer_blocks(node, in, out, true, err);
}

MD_INFER_RULE(md_infer_space_to_depth)
{
    (void)in_count, (void)out_count;
    return infer_blocks(node, in, out, false, err);
}

MD_INFER_RULE(md_infer_pad)
{
    (void)out_count;
    static const char *const modes[] = {"constant", "reflect", "edge", "wrap", NULL};
    int mode, axes[MD_RANK_MAX], axis_count, count;
    int64_t pads[2 * MD_RANK_MAX];
    enum md_status status = md__infer_choice(node, "mode", "constant", modes, &mode, err);
    if (!status)
        status = md__infer_axis_list(in, in_count, 3, in[0].shape.rank, axes, &axis_count, err);
    if (!status)
        status = md__infer_ints(in, 1, "pads", pads, 2 * MD_RANK_MAX, &count, err);
    if (!status && md__has(in, in_count, 2))
        status = md__infer_dtype(in, 2, in[0].dtype, err);
    if (status)
        return status;
    if (count != 2 * axis_count)
        return md_fail(err, MD_ERR_INVALID, "pads lists %d numbers for %d axes", count, axis_count);
    out[0].dtype = in[0].dtype;
    out[0].shape = in[0].shape;
    for (int k = 0; k < axis_count; k++) {
        int64_t *dim = &out[0].shape.dim[axes[k]], begin = pads[k], end = pads[k + axis_count];
        bool within = begin >= -*dim && end >= -*dim; /* else the sum may overflow */
        int64_t kept = within ? *dim + (begin < 0 ? begin : 0) + (end < 0 ? end : 0) : -1;
        if (kept < 0)
            return md_fail(err, MD_ERR_INVALID, "pads cut more than axis %d of %s", axes[k],
                           MD_SHAPE(in[0]));
        if (__builtin_add_overflow(*dim, begin, dim) || __builtin_add_overflow(*dim, end, dim))
            return md_fail(err, MD_ERR_TOO_LARGE, "pads axis %d beyond any size", axes[k]);
        if (mode != 0 && kept == 0 && *dim > 0)
            return md_fail(err, MD_ERR_INVALID, "has nothing to pad axis %d of %s with", axes[k],
                           MD_SHAPE(in[0]));
    }
    return MD_OK;
}

MD_INFER_RULE(md_infer_center_crop_pad)
{
    (void)in_count, (void)out_count;
    const struct md_attr *attr = md_node_attr(node, "axes");
    int64_t wanted[MD_RANK_MAX];
    int count, axis, rank = in[0].shape.rank;
    enum md_status status = md__infer_ints(in, 1, "shape", wanted, MD_RANK_MAX, &count, err);
    if (status)
        return status;
    if (count != (attr ? attr->count : rank))
        return md_fail(err, MD_ERR_INVALID, "shape lists %d sizes for the axes of %s", count,
                       MD_SHAPE(in[0]));
    out[0].dtype = in[0].dtype;
    out[0].shape = in[0].shape;
    for (int k = 0; k < count; k++) {
        if ((status = md__infer_axis(attr ? attr->ints[k] : k, rank, &axis, err)))
            return status;
        if (wanted[k] < 0)
            return md_fail(err, MD_ERR_INVALID, "shape asks for dimension %lld",
                           (long long)wanted[k]);
        out[0].shape.dim[axis] = wanted[k];
    }
    return MD_OK;
}

MD_INFER_RULE(md_infer_col2im)
{
    (void)in_count, (void)out_count;
    int64_t image[MD_RANK_MAX], block[MD_RANK_MAX], stride[MD_RANK_MAX], dilation[MD_RANK_MAX];
    int64_t pads[2 * MD_RANK_MAX], columns = 1, positions = 1;
    int axes, blocks;
    enum md_status status =
        md__infer_ints(in, 1, "image_shape", image, MD_RANK_MAX - 2, &axes, err);
    if (!status)
        status = md__infer_ints(in, 2, "block_shape", block, MD_RANK_MAX - 2, &blocks, err);
    if (!status)
        status = md__infer_numbers(node, "strides", axes, 1, 1, stride, err);
    if (!status)
        status = md__infer_numbers(node, "dilations", axes, 1, 1, dilation, err);
    if (!status)
        status = md__infer_numbers(node, "pads", 2 * axes, 0, 0, pads, err);
    if (status)
        return status;
    bool bad = blocks != axes || in[0].shape.rank != 3;
    for (int i = 0; !bad && i < axes; i++) {
        bad = image[i] < 1 || image[i] > INT32_MAX || block[i] < 1 || block[i] > INT32_MAX;
        int64_t reach = bad ? 0 : dilation[i] * (block[i] - 1) + 1; /* sizes that fit in 32 bits */
        int64_t space = bad ? -1 : image[i] + pads[i] + pads[i + axes] - reach;
        bad = space < 0 || __builtin_mul_overflow(columns, block[i], &columns) ||
              __builtin_mul_overflow(positions, space / stride[i] + 1, &positions);
    }
    if (bad || in[0].shape.dim[1] % columns != 0 || in[0].shape.dim[2] != positions)
        return md_fail(err, MD_ERR_INVALID,
                       "input of shape %s does not hold the blocks of that image", MD_SHAPE(in[0]));
    out[0].dtype = in[0].dtype;
    out[0].shape.rank = 2 + axes;
    out[0].shape.dim[0] = in[0].shape.dim[0];
    out[0].shape.dim[1] = in[0].shape.dim[1] / columns;
    for (int i = 0; i < axes; i++)
        out[0].shape.dim[2 + i] = image[i];
    return MD_OK;
}

/* Only inference: with training_mode, a ratio other than 0 draws random numbers. */
MD_INFER_RULE(md_infer_dropout)
{
    int64_t training = 0;
    double ratio = 0.5;
    enum md_status status = MD_OK;
    if (md__has(in, in_count, 2))
        status = md__infer_scalar(in, 2, "training_mode", &training, err);
    if (!status && training && md__has(in, in_count, 1))
        status = md__infer_float(in, 1, "ratio", &ratio, err);
    (void)node;
    if (status)
        return status;
    if (training && ratio != 0)
        return md_fail(err, MD_ERR_UNSUPPORTED, "training_mode 1 is not supported");
    for (int i = 0; i < out_count; i++) {
        out[i].dtype = i == 0 ? in[0].dtype : MD_BOOL;
        out[i].shape = in[0].shape;
    }
    return MD_OK;
}
