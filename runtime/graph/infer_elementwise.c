/* Shape rules of elementwise operators: the same shape, or NumPy broadcasting. */
#include "graph/infer.h"

MD_INFER_RULE(md_infer_same)
{
    (void)node, (void)in_count, (void)out_count, (void)err;
    out[0].dtype = in[0].dtype;
    out[0].shape = in[0].shape;
    return MD_OK;
}

MD_INFER_RULE(md_infer_gelu)
{
    int word;
    enum md_status status = md__infer_choice(
        node, "approximate", "none", (const char *const[]){"none", "tanh", NULL}, &word, err);
    return status ? status : md_infer_same(node, in, in_count, out, out_count, err);
}

MD_INFER_RULE(md_infer_test)
{
    enum md_status status = md_infer_same(node, in, in_count, out, out_count, err);
    out[0].dtype = MD_BOOL;
    return status;
}

MD_INFER_RULE(md_infer_cast)
{
    (void)in_count, (void)out_count;
    out[0].shape = in[0].shape;
    return md__infer_dtype_attr(node, "to", (enum md_dtype)0, &out[0].dtype, err);
}

MD_INFER_RULE(md_infer_cast_like)
{
    (void)node, (void)in_count, (void)out_count, (void)err;
    out[0].shape = in[0].shape;
    out[0].dtype = in[1].dtype;
    return MD_OK;
}

MD_INFER_RULE(md_infer_bit_cast)
{
    enum md_status status = md_infer_cast(node, in, in_count, out, out_count, err);
    if (!status && md_dtype_bytes(out[0].dtype) != md_dtype_bytes(in[0].dtype))
        status = md_fail(err, MD_ERR_INVALID, "%s and %s differ in width",
                         md_dtype_name(in[0].dtype), md_dtype_name(out[0].dtype));
    return status;
}

MD_INFER_RULE(md_infer_clip)
{
    (void)node, (void)out_count;
    for (int i = 1; i < in_count; i++) {
        if (!md__has(in, in_count, i))
            continue;
        enum md_status status = md__infer_dtype(in, i, in[0].dtype, err);
        if (status)
            return status;
        if (in[i].shape.rank > 1 || (in[i].shape.rank == 1 && in[i].shape.dim[0] != 1))
            return md_fail(err, MD_ERR_INVALID, "bound (input %d) has shape %s, wanted a scalar", i,
                           MD_SHAPE(in[i]));
    }
    out[0].dtype = in[0].dtype;
    out[0].shape = in[0].shape;
    return MD_OK;
}

MD_INFER_RULE(md_infer_broadcast)
{
    (void)out_count;
    /* Pow alone may mix dtypes: the result has the base's. */
    for (int i = 1; i < in_count && node->op != MD_OP_POW; i++) {
        enum md_status status = md__infer_dtype(in, i, in[0].dtype, err);
        if (status)
            return status;
    }
    out[0].dtype = in[0].dtype;
    return md__infer_broadcast_shape(in, in_count, &out[0].shape, err);
}

MD_INFER_RULE(md_infer_mod)
{
    int64_t fmod = md_node_int(node, "fmod", 0);
    if (fmod != 0 && fmod != 1)
        return md_fail(err, MD_ERR_INVALID, "attribute \"fmod\" = %lld is neither 0 nor 1",
                       (long long)fmod);
    return md_infer_broadcast(node, in, in_count, out, out_count, err);
}

/* The slope broadcasts to X, never the other way. */
MD_INFER_RULE(md_infer_prelu)
{
    enum md_status status = md_infer_broadcast(node, in, in_count, out, out_count, err);
    if (!status && !md_shape_equal(&out[0].shape, &in[0].shape))
        status = md_fail(err, MD_ERR_INVALID, "slope of shape %s does not broadcast to %s",
                         MD_SHAPE(in[1]), MD_SHAPE(in[0]));
    return status;
}

MD_INFER_RULE(md_infer_swiglu)
{
    if (!md_shape_equal(&in[0].shape, &in[1].shape))
        return md_fail(err, MD_ERR_INVALID, "inputs %s and %s differ in shape", MD_SHAPE(in[0]),
                       MD_SHAPE(in[1]));
    return md_infer_broadcast(node, in, in_count, out, out_count, err);
}

MD_INFER_RULE(md_infer_bit_shift)
{
    int word;
    if (!md_node_attr(node, "direction"))
        return md_fail(err, MD_ERR_INVALID, "has no attribute \"direction\"");
    enum md_status status = md__infer_choice(
        node, "direction", "", (const char *const[]){"LEFT", "RIGHT", NULL}, &word, err);
    return status ? status : md_infer_broadcast(node, in, in_count, out, out_count, err);
}

MD_INFER_RULE(md_infer_compare)
{
    enum md_status status = md_infer_broadcast(node, in, in_count, out, out_count, err);
    out[0].dtype = MD_BOOL;
    return status;
}

MD_INFER_RULE(md_infer_logical)
{
    for (int i = 0; i < in_count; i++) {
        enum md_status status = md__infer_dtype(in, i, MD_BOOL, err);
        if (status)
            return status;
    }
    return md_infer_broadcast(node, in, in_count, out, out_count, err);
}

MD_INFER_RULE(md_infer_where)
{
    (void)node, (void)in_count, (void)out_count;
    enum md_status status = md__infer_dtype(in, 0, MD_BOOL, err);
    if (!status)
        status = md__infer_dtype(in, 2, in[1].dtype, err);
    if (status)
        return status;
    out[0].dtype = in[1].dtype;
    return md__infer_broadcast_shape(in, 3, &out[0].shape, err);
}

MD_INFER_RULE(md_infer_expand)
{
    (void)node, (void)in_count, (void)out_count;
    struct md_value_info pair[2] = {in[0], {.dtype = in[0].dtype}};
    enum md_status status =
        md__infer_ints(in, 1, "shape", pair[1].shape.dim, MD_RANK_MAX, &pair[1].shape.rank, err);
    if (status)
        return status;
    for (int i = 0; i < pair[1].shape.rank; i++)
        if (pair[1].shape.dim[i] < 0)
            return md_fail(err, MD_ERR_INVALID, "shape asks for dimension %lld",
                           (long long)pair[1].shape.dim[i]);
    out[0].dtype = in[0].dtype;
    return md__infer_broadcast_shape(pair, 2, &out[0].shape, err);
}
