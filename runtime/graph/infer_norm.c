/*
 * Shape rules of normalisations: of rows (Layer, RMS, Skip, Embed) and of channels (Batch,
 * Instance, Group, LRN, MeanVariance).
 */
#include "graph/infer.h"

/* Input i broadcasts to input 0 without making it larger. */
static enum md_status broadcasts(const struct md_value_info *in, int in_count, int i,
                                 const char *what, struct md_error *err)
{
    if (!md__has(in, in_count, i))
        return MD_OK;
    struct md_value_info pair[] = {in[0], in[i]};
    struct md_shape both;
    enum md_status status = md__infer_broadcast_shape(pair, 2, &both, err);
    if (!status && !md_shape_equal(&both, &in[0].shape))
        status = md_fail(err, MD_ERR_INVALID, "%s (input %d) of shape %s does not broadcast to %s",
                         what, i, MD_SHAPE(in[i]), MD_SHAPE(in[0]));
    return status;
}

/* The input with every axis from `axis` on reduced to 1, of the dtype that stash_type names. */
static enum md_status statistic(const struct md_node *node, const struct md_value_info *in,
                                int axis, struct md_value_info *out, struct md_error *err)
{
    int64_t type = md_node_int(node, "stash_type", MD_F32);
    if (type != MD_F32 && type != MD_F64 && type != MD_BF16 && type != MD_F16)
        return md_fail(err, MD_ERR_UNSUPPORTED, "attribute stash_type %lld is no float dtype",
                       (long long)type);
    out->dtype = (enum md_dtype)type;
    out->shape = in[0].shape;
    for (int i = axis; i < in[0].shape.rank; i++)
        out->shape.dim[i] = 1;
    return MD_OK;
}

MD_INFER_RULE(md_infer_layer_norm)
{
    int axis;
    struct md_value_info stash;
    enum md_status status =
        md__infer_axis(md_node_int(node, "axis", -1), in[0].shape.rank, &axis, err);
    if (!status)
        status = md__infer_is_float(in, 0, err);
    if (!status)
        status = statistic(node, in, axis, &stash, err); /* stash_type is checked, used or not */
    for (int i = 1; !status && i < in_count; i++) {
        if (!md__has(in, in_count, i))
            continue;
        bool own = node->op == MD_OP_RMS_NORM; /* the scale may have a dtype of its own */
        status = own ? md__infer_is_float(in, i, err) : md__infer_dtype(in, i, in[0].dtype, err);
        if (!status)
            status = broadcasts(in, in_count, i, i == 1 ? "scale" : "bias", err);
    }
    if (status)
        return status;
    for (int i = 1; i < out_count; i++)
        out[i] = stash;
    out[0].dtype = node->op == MD_OP_RMS_NORM ? in[1].dtype : in[0].dtype;
    out[0].shape = in[0].shape;
    return MD_OK;
}

/* input, skip, gamma, (beta unless simplified,) bias -> output, mean, inverse deviation, sum */
MD_INFER_RULE(md_infer_skip_norm)
{
    const struct md_shape *shape = &in[0].shape;
    enum md_status status = md__infer_is_float(in, 0, err);
    if (!status && shape->rank < 2)
        status = md_fail(err, MD_ERR_INVALID, "input of shape %s has no rows", MD_SHAPE(in[0]));
    for (int i = 1; !status && i < in_count; i++) {
        if (!md__has(in, in_count, i))
            continue;
        status = md__infer_dtype(in, i, in[0].dtype, err);
        if (!status && i > 1)
            status = md__infer_expect(in, i, "parameter", 1, &shape->dim[shape->rank - 1], err);
        if (!status)
            status = broadcasts(in, in_count, i, "skip", err);
    }
    for (int i = 0; !status && i < out_count; i++) {
        out[i].dtype = in[0].dtype;
        out[i].shape = *shape;
        if (i == 1 || i == 2)
            status = statistic(node, in, shape->rank - 1, &out[i], err);
    }
    return status;
}

static enum md_status ids(const struct md_value_info *in, int in_count, int i,
                          const struct md_shape *shape, struct md_error *err)
{
    if (!md__has(in, in_count, i))
        return MD_OK;
    if (in[i].dtype != MD_I32 && in[i].dtype != MD_I64)
        return md_fail(err, MD_ERR_INVALID, "input %d is %s, wanted int32", i,
                       md_dtype_name(in[i].dtype));
    bool shared = i == 8 && in[i].shape.rank == 2 && in[i].shape.dim[0] == 1;
    const int64_t dim[] = {shared ? 1 : shape->dim[0], shape->dim[1]};
    return md__infer_expect(in, i, "ids", 2, dim, err);
}

/* ids, segments?, words, positions, segment table?, gamma, beta, mask?, position ids? */
MD_INFER_RULE(md_infer_embed_norm)
{
    (void)node;
    const struct md_shape *shape = &in[0].shape;
    enum md_status status = md__infer_expect(in, 0, "ids", 2, (int64_t[]){-1, -1}, err);
    if (!status)
        status = md__infer_expect(in, 2, "words", 2, (int64_t[]){-1, -1}, err);
    for (int i = 0; !status && i < in_count; i++)
        if (i < 2 || i > 6)
            status = ids(in, in_count, i, shape, err);
    if (!status && md__has(in, in_count, 1) && !md__has(in, in_count, 4))
        status = md_fail(err, MD_ERR_INVALID, "has segments, but no table of them");
    const int64_t width = in[2].shape.dim[1], table[] = {-1, width};
    for (int i = 2; !status && i < 7; i++) {
        if (!md__has(in, in_count, i))
            continue;
        status = md__infer_dtype(in, i, in[2].dtype, err);
        if (!status)
            status = md__infer_expect(in, i, "table", i < 5 ? 2 : 1, i < 5 ? table : &width, err);
    }
    if (!status)
        status = md__infer_is_float(in, 2, err);
    for (int i = 0; !status && i < out_count; i++) {
        out[i].dtype = i == 1 ? MD_I32 : in[2].dtype;
        out[i].shape = i == 1 ? md_shape_of(1, shape->dim)
                              : md_shape_of(3, (int64_t[]){shape->dim[0], shape->dim[1], width});
    }
    return status;
}

/* Inputs [first, in_count) are lists of one number a channel. */
static enum md_status per_channel(const struct md_value_info *in, int in_count, int first,
                                  struct md_error *err)
{
    if (in[0].shape.rank < 1)
        return md_fail(err, MD_ERR_INVALID, "input is a scalar");
    const int64_t channels = in[0].shape.rank > 1 ? in[0].shape.dim[1] : 1;
    enum md_status status = md__infer_is_float(in, 0, err);
    for (int i = first; !status && i < in_count; i++) {
        status = md__infer_is_float(in, i, err);
        if (!status)
            status = md__infer_expect(in, i, "channels", 1, &channels, err);
    }
    return status;
}

MD_INFER_RULE(md_infer_batch_norm)
{
    enum md_status status = per_channel(in, in_count, 1, err);
    bool training = md_node_int(node, "training_mode", 0) != 0;
    if (!status && out_count > 1 && !training)
        status = md_fail(err, MD_ERR_INVALID, "has %d outputs, but training_mode 0", out_count);
    for (int i = 0; !status && i < out_count; i++) {
        out[i].dtype = in[i == 0 ? 0 : i + 2].dtype;
        out[i].shape = in[i == 0 ? 0 : i + 2].shape;
    }
    return status;
}

MD_INFER_RULE(md_infer_group_norm)
{
    (void)out_count;
    enum md_status status = per_channel(in, in_count, 1, err);
    int64_t groups = md_node_int(node, "num_groups", 1);
    if (!status && (groups < 1 || in[0].shape.rank < 2 || in[0].shape.dim[1] % groups != 0))
        status = md_fail(err, MD_ERR_INVALID, "num_groups %lld does not divide the channels of %s",
                         (long long)groups, MD_SHAPE(in[0]));
    out[0].dtype = in[0].dtype;
    out[0].shape = in[0].shape;
    return status;
}

MD_INFER_RULE(md_infer_lrn)
{
    (void)in_count, (void)out_count;
    int64_t size = md_node_int(node, "size", 0);
    enum md_status status = per_channel(in, 1, 1, err);
    if (!status && (size < 1 || size > INT32_MAX || in[0].shape.rank < 2))
        status = md_fail(err, MD_ERR_INVALID, "size %lld or input of shape %s is not for channels",
                         (long long)size, MD_SHAPE(in[0]));
    out[0].dtype = in[0].dtype;
    out[0].shape = in[0].shape;
    return status;
}

MD_INFER_RULE(md_infer_mean_variance)
{
    (void)in_count, (void)out_count;
    static const int64_t usual[] = {0, 2, 3};
    const struct md_attr *attr = md_node_attr(node, "axes");
    int axis;
    enum md_status status = md__infer_is_float(in, 0, err);
    for (int i = 0; !status && i < (attr ? attr->count : 3); i++)
        status = md__infer_axis(attr && attr->type == MD_ATTR_INTS ? attr->ints[i] : usual[i % 3],
                                in[0].shape.rank, &axis, err);
    out[0].dtype = in[0].dtype;
    out[0].shape = in[0].shape;
    return status;
}
