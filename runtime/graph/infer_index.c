/*
 * Shape rules of operators that pick or place elements by index: GatherElements, GatherND, the
 * scatters, Tile, ReverseSequence, OneHot, TopK, Trilu.
 *
 * The rules check everything that shapes can get wrong; what indices can get wrong is the kernels'
 * business.
 */
#include "graph/infer.h"

static enum md_status integers(const struct md_value_info *in, int i, const char *what,
                               struct md_error *err)
{
    if (in[i].dtype == MD_I64 || in[i].dtype == MD_I32)
        return MD_OK;
    return md_fail(err, MD_ERR_INVALID, "%s (input %d) are %s, wanted int64 or int32", what, i,
                   md_dtype_name(in[i].dtype));
}

static void as_input(const struct md_value_info *in, struct md_value_info *out)
{
    out->dtype = in->dtype;
    out->shape = in->shape;
}

MD_INFER_RULE(md_infer_gather_elements)
{
    (void)in_count, (void)out_count;
    int axis;
    enum md_status status =
        md__infer_axis(md_node_int(node, "axis", 0), in[0].shape.rank, &axis, err);
    if (!status)
        status = integers(in, 1, "indices", err);
    if (status)
        return status;
    bool fits = in[1].shape.rank == in[0].shape.rank;
    for (int i = 0; fits && i < in[0].shape.rank; i++)
        fits = i == axis || in[1].shape.dim[i] <= in[0].shape.dim[i];
    if (!fits)
        return md_fail(err, MD_ERR_INVALID, "indices of shape %s do not fit data of shape %s",
                       MD_SHAPE(in[1]), MD_SHAPE(in[0]));
    out[0].dtype = in[0].dtype;
    out[0].shape = in[1].shape;
    return MD_OK;
}

/* Splits the indices' last axis off: each of its rows names the first *depth axes of data, after
 * `batch` common ones. */
static enum md_status index_depth(const struct md_value_info *in, int64_t batch, int *depth,
                                  struct md_error *err)
{
    const struct md_shape *data = &in[0].shape, *index = &in[1].shape;
    enum md_status status = integers(in, 1, "indices", err);
    if (status)
        return status;
    if (data->rank < 1 || index->rank < 1)
        return md_fail(err, MD_ERR_INVALID, "data of shape %s or indices of shape %s are scalars",
                       MD_SHAPE(in[0]), MD_SHAPE(in[1]));
    if (batch < 0 || batch >= index->rank || batch >= data->rank)
        return md_fail(err, MD_ERR_INVALID, "batch_dims %lld is outside data of shape %s",
                       (long long)batch, MD_SHAPE(in[0]));
    int64_t last = index->dim[index->rank - 1];
    if (last < 0 || last > data->rank - batch)
        return md_fail(err, MD_ERR_INVALID, "indices of shape %s name more axes than %s has",
                       MD_SHAPE(in[1]), MD_SHAPE(in[0]));
    *depth = (int)last;
    return MD_OK;
}

/* index[0 : -1] ++ data[from :] */
static enum md_status sliced_shape(const struct md_value_info *in, int from, struct md_shape *made,
                                   struct md_error *err)
{
    const struct md_shape *data = &in[0].shape, *index = &in[1].shape;
    int rank = index->rank - 1 + data->rank - from;
    if (rank > MD_RANK_MAX)
        return md_fail(err, MD_ERR_UNSUPPORTED, "makes rank %d, allowed are %d", rank, MD_RANK_MAX);
    *made = (struct md_shape){0};
    for (int i = 0; i < index->rank - 1; i++)
        made->dim[made->rank++] = index->dim[i];
    for (int i = from; i < data->rank; i++)
        made->dim[made->rank++] = data->dim[i];
    return MD_OK;
}

MD_INFER_RULE(md_infer_gather_nd)
{
    (void)in_count, (void)out_count;
    int depth = 0;
    int64_t batch = md_node_int(node, "batch_dims", 0);
    enum md_status status = index_depth(in, batch, &depth, err);
    if (status)
        return status;
    for (int i = 0; i < batch; i++)
        if (in[0].shape.dim[i] != in[1].shape.dim[i])
            return md_fail(err, MD_ERR_INVALID, "batch axes of %s and %s differ", MD_SHAPE(in[0]),
                           MD_SHAPE(in[1]));
    out[0].dtype = in[0].dtype;
    return sliced_shape(in, (int)batch + depth, &out[0].shape, err);
}

static const char *const reductions[] = {"none", "add", "mul", "max", "min", NULL};

MD_INFER_RULE(md_infer_scatter_elements)
{
    (void)in_count, (void)out_count;
    int axis, reduction;
    const struct md_shape *data = &in[0].shape, *index = &in[1].shape;
    enum md_status status = md__infer_axis(md_node_int(node, "axis", 0), data->rank, &axis, err);
    if (!status)
        status = integers(in, 1, "indices", err);
    if (!status)
        status = md__infer_dtype(in, 2, in[0].dtype, err);
    if (!status)
        status = md__infer_choice(node, "reduction", "none", reductions, &reduction, err);
    if (!status)
        status = md__infer_expect(in, 2, "updates", index->rank, index->dim, err);
    if (status)
        return status;
    bool fits = index->rank == data->rank;
    for (int i = 0; fits && i < data->rank; i++)
        fits = i == axis || index->dim[i] <= data->dim[i];
    if (!fits)
        return md_fail(err, MD_ERR_INVALID, "indices of shape %s do not fit data of shape %s",
                       MD_SHAPE(in[1]), MD_SHAPE(in[0]));
    as_input(&in[0], &out[0]);
    return MD_OK;
}

MD_INFER_RULE(md_infer_scatter_nd)
{
    (void)in_count, (void)out_count;
    int depth = 0, reduction;
    struct md_shape updates;
    enum md_status status = index_depth(in, 0, &depth, err);
    if (!status)
        status = sliced_shape(in, depth, &updates, err);
    if (!status)
        status = md__infer_dtype(in, 2, in[0].dtype, err);
    if (!status)
        status = md__infer_expect(in, 2, "updates", updates.rank, updates.dim, err);
    if (!status)
        status = md__infer_choice(node, "reduction", "none", reductions, &reduction, err);
    if (!status)
        as_input(&in[0], &out[0]);
    return status;
}

MD_INFER_RULE(md_infer_tensor_scatter)
{
    (void)out_count;
    static const char *const modes[] = {"linear", "circular", NULL};
    int axis, mode;
    const struct md_shape *cache = &in[0].shape;
    enum md_status status = md__infer_axis(md_node_int(node, "axis", -2), cache->rank, &axis, err);
    if (!status)
        status = md__infer_dtype(in, 1, in[0].dtype, err);
    if (!status)
        status = md__infer_choice(node, "mode", "linear", modes, &mode, err);
    if (status)
        return status;
    if (axis == 0)
        return md_fail(err, MD_ERR_INVALID, "axis names the batch");
    struct md_shape wanted = *cache;
    wanted.dim[axis] = -1;
    status = md__infer_expect(in, 1, "update", wanted.rank, wanted.dim, err);
    if (!status && in[1].shape.dim[axis] > cache->dim[axis])
        status = md_fail(err, MD_ERR_INVALID, "update of shape %s is longer than the cache of %s",
                         MD_SHAPE(in[1]), MD_SHAPE(in[0]));
    if (!status && md__has(in, in_count, 2)) {
        status = integers(in, 2, "write_indices", err);
        if (!status)
            status = md__infer_expect(in, 2, "write_indices", 1, cache->dim, err);
    }
    if (!status)
        as_input(&in[0], &out[0]);
    return status;
}

MD_INFER_RULE(md_infer_tile)
{
    (void)node, (void)in_count, (void)out_count;
    int64_t repeats[MD_RANK_MAX];
    int count;
    enum md_status status = md__infer_ints(in, 1, "repeats", repeats, MD_RANK_MAX, &count, err);
    if (status)
        return status;
    if (count != in[0].shape.rank)
        return md_fail(err, MD_ERR_INVALID, "repeats lists %d axes of %s", count, MD_SHAPE(in[0]));
    as_input(&in[0], &out[0]);
    for (int i = 0; i < count; i++)
        if (repeats[i] < 0 ||
            __builtin_mul_overflow(out[0].shape.dim[i], repeats[i], &out[0].shape.dim[i]))
            return md_fail(err, MD_ERR_INVALID, "repeats axis %d of %s %lld times", i,
                           MD_SHAPE(in[0]), (long long)repeats[i]);
    return MD_OK;
}

MD_INFER_RULE(md_infer_reverse_sequence)
{
    (void)in_count, (void)out_count;
    int64_t time = md_node_int(node, "time_axis", 0), batch = md_node_int(node, "batch_axis", 1);
    if (in[0].shape.rank < 2 || time == batch || time < 0 || time > 1 || batch < 0 || batch > 1)
        return md_fail(err, MD_ERR_INVALID, "time_axis %lld and batch_axis %lld are not 0 and 1",
                       (long long)time, (long long)batch);
    enum md_status status = integers(in, 1, "sequence_lens", err);
    if (!status)
        status = md__infer_expect(in, 1, "sequence_lens", 1, &in[0].shape.dim[batch], err);
    if (!status)
        as_input(&in[0], &out[0]);
    return status;
}

MD_INFER_RULE(md_infer_one_hot)
{
    (void)in_count, (void)out_count;
    int axis;
    int64_t depth = 0;
    const struct md_shape *index = &in[0].shape;
    enum md_status status =
        md__infer_axis(md_node_int(node, "axis", -1), index->rank + 1, &axis, err);
    if (!status)
        status = md__infer_scalar(in, 1, "depth", &depth, err);
    if (!status)
        status = md__infer_expect(in, 2, "values", 1, (int64_t[]){2}, err);
    if (status)
        return status;
    if (index->rank + 1 > MD_RANK_MAX || depth < 0)
        return md_fail(err, depth < 0 ? MD_ERR_INVALID : MD_ERR_UNSUPPORTED,
                       "makes rank %d and depth %lld", index->rank + 1, (long long)depth);
    out[0].dtype = in[2].dtype;
    out[0].shape.rank = index->rank + 1;
    for (int i = 0, from = 0; i <= index->rank; i++)
        out[0].shape.dim[i] = i == axis ? depth : index->dim[from++];
    return MD_OK;
}

MD_INFER_RULE(md_infer_top_k)
{
    (void)in_count;
    int axis;
    int64_t k = 0;
    enum md_status status =
        md__infer_axis(md_node_int(node, "axis", -1), in[0].shape.rank, &axis, err);
    if (!status)
        status = md__infer_scalar(in, 1, "K", &k, err);
    if (status)
        return status;
    if (k < 0 || k > in[0].shape.dim[axis])
        return md_fail(err, MD_ERR_INVALID, "K is %lld, axis %d of %s is shorter", (long long)k,
                       axis, MD_SHAPE(in[0]));
    for (int i = 0; i < out_count; i++) {
        as_input(&in[0], &out[i]);
        out[i].dtype = i == 0 ? in[0].dtype : MD_I64;
        out[i].shape.dim[axis] = k;
    }
    return MD_OK;
}

MD_INFER_RULE(md_infer_trilu)
{
    (void)node, (void)out_count;
    if (in[0].shape.rank < 2)
        return md_fail(err, MD_ERR_INVALID, "input of shape %s is no matrix", MD_SHAPE(in[0]));
    if (md__has(in, in_count, 1)) {
        enum md_status status = integers(in, 1, "k", err);
        if (status)
            return status;
        if (in[1].shape.rank > 1 || (in[1].shape.rank == 1 && in[1].shape.dim[0] != 1))
            return md_fail(err, MD_ERR_INVALID, "k has shape %s", MD_SHAPE(in[1]));
    }
    as_input(&in[0], &out[0]);
    return MD_OK;
}
