/* Shape rules of signal processing, and of operators that make tensors from scalars, from random
 * numbers, or like another. */
#include "graph/infer.h"

/* The one element of input i as a size: not negative. */
static enum md_status read_size(const struct md_value_info *in, int i, const char *what,
                                int64_t *size, struct md_error *err)
{
    enum md_status status = md__infer_scalar(in, i, what, size, err);
    if (!status && *size < 0)
        status = md_fail(err, MD_ERR_INVALID, "%s (input %d) is %lld", what, i, (long long)*size);
    return status;
}

MD_INFER_RULE(md_infer_window)
{
    (void)in_count, (void)out_count;
    int64_t size;
    enum md_status status =
        md__infer_dtype_attr(node, "output_datatype", MD_F32, &out[0].dtype, err);
    if (!status)
        status = read_size(in, 0, "size", &size, err);
    if (!status)
        out[0].shape = md_shape_of(1, &size);
    return status;
}

/* The length of a transform of `have` values: input 1, or what follows from the input. */
static enum md_status dft_length(const struct md_value_info *in, int in_count, int64_t have,
                                 bool halved, int64_t *length, struct md_error *err)
{
    *length = halved ? 2 * (have - 1) : have;
    if (md__has(in, in_count, 1))
        return read_size(in, 1, "dft_length", length, err);
    return *length >= 0 ? MD_OK : md_fail(err, MD_ERR_INVALID, "the axis is empty");
}

MD_INFER_RULE(md_infer_dft)
{
    (void)out_count;
    const struct md_shape *shape = &in[0].shape;
    bool onesided = md_node_int(node, "onesided", 0) != 0;
    bool inverse = md_node_int(node, "inverse", 0) != 0;
    int64_t axis = -2, length, parts = shape->rank ? shape->dim[shape->rank - 1] : 0;
    int place = 0;
    enum md_status status = MD_OK;
    if (md__has(in, in_count, 2))
        status = md__infer_scalar(in, 2, "axis", &axis, err);
    if (!status)
        status = md__infer_axis(axis, shape->rank, &place, err);
    if (!status && (place == shape->rank - 1 || (parts != 1 && parts != 2)))
        status =
            md_fail(err, MD_ERR_INVALID, "cannot transform axis %d of %s", place, MD_SHAPE(in[0]));
    if (!status && onesided && parts != (inverse ? 2 : 1))
        status = md_fail(err, MD_ERR_INVALID, "onesided with input of shape %s", MD_SHAPE(in[0]));
    if (!status)
        status = dft_length(in, in_count, shape->dim[place], onesided && inverse, &length, err);
    if (status)
        return status;
    out[0].dtype = in[0].dtype;
    out[0].shape = *shape;
    out[0].shape.dim[place] = onesided && !inverse ? length / 2 + 1 : length;
    out[0].shape.dim[shape->rank - 1] = onesided && inverse ? 1 : 2;
    return MD_OK;
}

/* Inputs: signal [batch, length, 1 or 2], frame_step, window?, frame_length?. PyTorch's exporter
 * leaves out the last axis of a real signal. */
MD_INFER_RULE(md_infer_stft)
{
    (void)out_count;
    const int64_t any[3] = {-1, -1, -1};
    int64_t step = 0, length = 0;
    bool windowed = md__has(in, in_count, 2);
    int rank = in[0].shape.rank == 2 ? 2 : 3;
    enum md_status status = md__infer_expect(in, 0, "signal", rank, any, err);
    if (!status)
        status = read_size(in, 1, "frame_step", &step, err);
    if (!status && windowed)
        status = md__infer_dtype(in, 2, in[0].dtype, err);
    if (!status && windowed)
        status = md__infer_expect(in, 2, "window", 1, any, err);
    if (status)
        return status;
    length = windowed ? in[2].shape.dim[0] : in[0].shape.dim[1];
    if (md__has(in, in_count, 3))
        status = read_size(in, 3, "frame_length", &length, err);
    if (!status && windowed)
        status = md__infer_expect(in, 2, "window", 1, &length, err);
    if (status)
        return status;
    if (step < 1 || length < 1 || length > in[0].shape.dim[1] ||
        (rank == 3 && in[0].shape.dim[2] != 1 && in[0].shape.dim[2] != 2))
        return md_fail(err, MD_ERR_INVALID, "cannot cut frames of %lld every %lld from %s",
                       (long long)length, (long long)step, MD_SHAPE(in[0]));
    bool onesided = md_node_int(node, "onesided", 1) != 0;
    const int64_t dims[4] = {in[0].shape.dim[0], (in[0].shape.dim[1] - length) / step + 1,
                             onesided ? length / 2 + 1 : length, 2};
    out[0].dtype = in[0].dtype;
    out[0].shape = md_shape_of(4, dims);
    return MD_OK;
}

/* Inputs: num_mel_bins, dft_length, sample_rate, lower and upper edge in Hz. */
MD_INFER_RULE(md_infer_mel_weight_matrix)
{
    (void)in_count, (void)out_count;
    int64_t bins = 0, length = 0;
    enum md_status status =
        md__infer_dtype_attr(node, "output_datatype", MD_F32, &out[0].dtype, err);
    if (!status)
        status = read_size(in, 0, "num_mel_bins", &bins, err);
    if (!status)
        status = read_size(in, 1, "dft_length", &length, err);
    const int64_t dims[2] = {length / 2 + 1, bins};
    out[0].shape = md_shape_of(2, dims);
    return status;
}

MD_INFER_RULE(md_infer_eye_like)
{
    (void)in_count, (void)out_count;
    out[0].shape = in[0].shape;
    if (in[0].shape.rank != 2)
        return md_fail(err, MD_ERR_INVALID, "input of shape %s is no matrix", MD_SHAPE(in[0]));
    return md__infer_dtype_attr(node, "dtype", in[0].dtype, &out[0].dtype, err);
}

/* RandomNormal and RandomUniform: shape and dtype are attributes. */
MD_INFER_RULE(md_infer_random)
{
    (void)in, (void)in_count, (void)out_count;
    const struct md_attr *shape = md_node_attr(node, "shape");
    if (!shape || shape->type != MD_ATTR_INTS || shape->count > MD_RANK_MAX)
        return md_fail(err, MD_ERR_INVALID, "attribute \"shape\" is missing or too long");
    for (int i = 0; i < shape->count; i++)
        if (shape->ints[i] < 0)
            return md_fail(err, MD_ERR_INVALID, "shape asks for dimension %lld",
                           (long long)shape->ints[i]);
    out[0].shape = md_shape_of(shape->count, shape->ints);
    return md__infer_dtype_attr(node, "dtype", MD_F32, &out[0].dtype, err);
}

MD_INFER_RULE(md_infer_random_like)
{
    (void)in_count, (void)out_count;
    out[0].shape = in[0].shape;
    return md__infer_dtype_attr(node, "dtype", in[0].dtype, &out[0].dtype, err);
}

MD_INFER_RULE(md_infer_multinomial)
{
    (void)in_count, (void)out_count;
    int64_t samples = md_node_int(node, "sample_size", 1);
    const struct md_shape *shape = &in[0].shape;
    if (shape->rank != 2 || shape->dim[1] == 0 || samples < 0)
        return md_fail(err, MD_ERR_INVALID, "cannot draw %lld samples from %s", (long long)samples,
                       MD_SHAPE(in[0]));
    const int64_t dims[2] = {shape->dim[0], samples};
    out[0].shape = md_shape_of(2, dims);
    return md__infer_dtype_attr(node, "dtype", MD_I32, &out[0].dtype, err);
}
