/*
 * Shape rules of convolutions: Conv, ConvTranspose, ConvInteger, QLinearConv, DeformConv,
 * CausalConvWithState.
 */
#include "graph/infer.h"
#include "graph/window.h"

/* Input i, when present, has the one axis [channels]. */
static enum md_status expect_bias(const struct md_value_info *in, int in_count, int i,
                                  enum md_dtype dtype, int64_t channels, struct md_error *err)
{
    if (!md__has(in, in_count, i))
        return MD_OK;
    enum md_status status = md__infer_dtype(in, i, dtype, err);
    return status ? status : md__infer_expect(in, i, "bias", 1, &channels, err);
}

/* Input x, weights w: [out / turned: in, per group, kernel...]. Checks channels, gives the output's
 * shape. */
static enum md_status convolved(const struct md_node *node, const struct md_value_info *in, int x,
                                int w, bool turned, struct md_shape *made, struct md_error *err)
{
    const struct md_shape *data = &in[x].shape, *weights = &in[w].shape;
    struct md_window window;
    int64_t groups = md_node_int(node, "group", 1);
    if (data->rank != weights->rank || data->rank < 3)
        return md_fail(err, MD_ERR_INVALID, "input of shape %s and weights of %s do not convolve",
                       MD_SHAPE(in[x]), MD_SHAPE(in[w]));
    int64_t channels = data->dim[1], out = weights->dim[turned ? 1 : 0];
    bool fits = groups > 0 && channels % groups == 0;
    fits = fits && (turned ? weights->dim[0] == channels
                           : out % groups == 0 && weights->dim[1] == channels / groups);
    if (!fits || (turned && __builtin_mul_overflow(out, groups, &out)))
        return md_fail(err, MD_ERR_INVALID,
                       "input of shape %s and weights of %s do not convolve in %lld groups",
                       MD_SHAPE(in[x]), MD_SHAPE(in[w]), (long long)groups);
    enum md_status status = turned ? md__window_init_transposed(node, data, weights, &window, err)
                                   : md__window_init(node, data, weights, &window, err);
    *made = *data;
    made->dim[1] = out;
    for (int i = 0; !status && i < window.axes; i++)
        made->dim[2 + i] = window.out[i];
    return status;
}

static enum md_status infer_float_conv(const struct md_node *node, const struct md_value_info *in,
                                       int in_count, struct md_value_info *out, bool turned,
                                       struct md_error *err)
{
    enum md_status status = md__infer_dtype(in, 1, in[0].dtype, err);
    if (!status)
        status = convolved(node, in, 0, 1, turned, &out[0].shape, err);
    out[0].dtype = in[0].dtype;
    return status ? status : expect_bias(in, in_count, 2, in[0].dtype, out[0].shape.dim[1], err);
}

MD_INFER_RULE(md_infer_conv)
{
    (void)out_count;
    return infer_float_conv(node, in, in_count, out, false, err);
}

MD_INFER_RULE(md_infer_conv_transpose)
{
    (void)out_count;
    return infer_float_conv(node, in, in_count, out, true, err);
}

static enum md_status bytes_of_input(const struct md_value_info *in, int i, struct md_error *err)
{
    if (in[i].dtype == MD_U8 || in[i].dtype == MD_I8)
        return MD_OK;
    return md_fail(err, MD_ERR_INVALID, "input %d is %s, wanted uint8 or int8", i,
                   md_dtype_name(in[i].dtype));
}

/* A zero point or scale of `dtype`: one number, or one for each of `channels`. */
static enum md_status expect_levels(const struct md_value_info *in, int in_count, int i,
                                    enum md_dtype dtype, int64_t channels, struct md_error *err)
{
    if (!md__has(in, in_count, i))
        return MD_OK;
    enum md_status status = md__infer_dtype(in, i, dtype, err);
    const struct md_shape *shape = &in[i].shape;
    bool one = shape->rank == 0 || (shape->rank == 1 && shape->dim[0] == 1);
    if (status || one || (shape->rank == 1 && shape->dim[0] == channels))
        return status;
    return md_fail(err, MD_ERR_INVALID, "input %d has shape %s, wanted one number%s", i,
                   MD_SHAPE(in[i]), channels == 1 ? "" : " or one a channel");
}

MD_INFER_RULE(md_infer_conv_integer)
{
    (void)out_count;
    enum md_status status = bytes_of_input(in, 0, err);
    if (!status)
        status = bytes_of_input(in, 1, err);
    if (!status)
        status = convolved(node, in, 0, 1, false, &out[0].shape, err);
    if (!status)
        status = expect_levels(in, in_count, 2, in[0].dtype, 1, err);
    if (!status)
        status = expect_levels(in, in_count, 3, in[1].dtype, out[0].shape.dim[1], err);
    out[0].dtype = MD_I32;
    return status;
}

/* x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias */
MD_INFER_RULE(md_infer_qlinear_conv)
{
    (void)out_count;
    enum md_status status = MD_OK;
    for (int i = 0; !status && i < 8; i++)
        if (i == 0 || i == 3 || i == 7)
            status = bytes_of_input(in, i, err);
    if (!status)
        status = convolved(node, in, 0, 3, false, &out[0].shape, err);
    if (status)
        return status;
    int64_t channels = out[0].shape.dim[1];
    const enum md_dtype dtypes[] = {0,      MD_F32,      in[0].dtype, 0,
                                    MD_F32, in[3].dtype, MD_F32,      in[7].dtype};
    for (int i = 1; !status && i < 8; i++)
        if (i != 3)
            status =
                expect_levels(in, in_count, i, dtypes[i], i == 4 || i == 5 ? channels : 1, err);
    out[0].dtype = in[7].dtype;
    return status ? status : expect_bias(in, in_count, 8, MD_I32, channels, err);
}

/* X, W, offset, bias, mask */
MD_INFER_RULE(md_infer_deform_conv)
{
    enum md_status status = MD_OK;
    const struct md_value_info pair[] = {in[0], in[1], in_count > 3 ? in[3] : in[0]};
    for (int i = 1; !status && i < in_count; i++)
        if (md__has(in, in_count, i))
            status = md__infer_dtype(in, i, in[0].dtype, err);
    if (!status && in[0].shape.rank != 4)
        status = md_fail(err, MD_ERR_UNSUPPORTED, "has input of rank %d, supported is 4",
                         in[0].shape.rank);
    bool biased = md__has(in, in_count, 3);
    if (!status)
        status = md_infer_conv(node, pair, biased ? 3 : 2, out, out_count, err);
    if (status)
        return status;
    int64_t groups = md_node_int(node, "offset_group", 1), taps = 0;
    const struct md_shape *w = &in[1].shape, *y = &out[0].shape;
    if (groups < 1 || groups > 1 << 24 || in[0].shape.dim[1] % groups != 0 ||
        __builtin_mul_overflow(w->dim[2] * groups, w->dim[3], &taps) || taps > INT64_MAX / 2)
        return md_fail(err, MD_ERR_INVALID, "offset_group %lld does not fit %s", (long long)groups,
                       MD_SHAPE(in[0]));
    const int64_t offsets[] = {y->dim[0], 2 * taps, y->dim[2], y->dim[3]};
    const int64_t masks[] = {y->dim[0], taps, y->dim[2], y->dim[3]};
    status = md__infer_expect(in, 2, "offset", 4, offsets, err);
    if (!status && md__has(in, in_count, 4))
        status = md__infer_expect(in, 4, "mask", 4, masks, err);
    return status;
}

/* input [B, C, L], weight [C, 1, k], bias [C], past_state [B, C, k - 1] */
MD_INFER_RULE(md_infer_causal_conv)
{
    static const char *const activations[] = {"none", "silu", "swish", NULL};
    int activation;
    const int64_t any[] = {-1, -1, -1};
    enum md_status status =
        md__infer_choice(node, "activation", "none", activations, &activation, err);
    for (int i = 1; !status && i < in_count; i++)
        if (md__has(in, in_count, i))
            status = md__infer_dtype(in, i, in[0].dtype, err);
    if (!status)
        status = md__infer_expect(in, 0, "input", 3, any, err);
    if (status)
        return status;
    const int64_t *x = in[0].shape.dim;
    const int64_t weight[] = {x[1], 1, -1};
    if ((status = md__infer_expect(in, 1, "weight", 3, weight, err)))
        return status;
    const int64_t state[] = {x[0], x[1], in[1].shape.dim[2] - 1};
    if (state[2] < 0)
        return md_fail(err, MD_ERR_INVALID, "weight of shape %s has no taps", MD_SHAPE(in[1]));
    status = expect_bias(in, in_count, 2, in[0].dtype, x[1], err);
    if (!status && md__has(in, in_count, 3))
        status = md__infer_expect(in, 3, "past_state", 3, state, err);
    for (int i = 0; i < out_count; i++) {
        out[i].dtype = in[0].dtype;
        out[i].shape = i == 0 ? in[0].shape : md_shape_of(3, state);
    }
    return status;
}
