/*
 * Rewrites of operators whose attributes became inputs, or got another name or spelling.
 */
#include <string.h>

#include "model/onnx_rewrite.h"

/* An empty list means what no list means: all axes. */
MD__ONNX_REWRITE(md__onnx_axes_to_input)
{
    const struct md_attr *axes = md__onnx_attr(call, "axes");
    if (axes && axes->count == 0)
        md__onnx_drop_attr(call, "axes");
    return md__onnx_ints_to_input(call, "axes", 1, err);
}

MD__ONNX_REWRITE(md__onnx_reshape_1)
{
    return md__onnx_ints_to_input(call, "shape", 1, err);
}

MD__ONNX_REWRITE(md__onnx_slice_1)
{
    enum md_status status = md__onnx_ints_to_input(call, "starts", 1, err);
    if (!status)
        status = md__onnx_ints_to_input(call, "ends", 2, err);
    return status ? status : md__onnx_ints_to_input(call, "axes", 3, err);
}

/* Before opset 18 the number of outputs said how many parts are meant. */
MD__ONNX_REWRITE(md__onnx_split_1)
{
    enum md_status status = md__onnx_ints_to_input(call, "split", 1, err);
    if (!status && md__onnx_input(call, 1) == MD_NONE)
        md__onnx_put_int(call, "num_outputs", call->out_count);
    return status;
}

MD__ONNX_REWRITE(md__onnx_topk_1)
{
    int k = MD_NONE;
    const struct md_attr *attr = md__onnx_attr(call, "k");
    if (!attr || attr->type != MD_ATTR_INT)
        return md_fail(err, MD_ERR_CORRUPT, "has no attribute \"k\"");
    enum md_status status = md__onnx_ints(call, &attr->i, 1, &k, err);
    md__onnx_drop_attr(call, "k");
    if (!status)
        md__onnx_put_input(call, 1, k);
    return status;
}

/* A number that was an attribute, as an input of the type of the data. */
static enum md_status number_to_input(struct md__onnx_call *call, const char *name, int i,
                                      struct md_error *err)
{
    int value = MD_NONE;
    if (!md__onnx_attr(call, name))
        return MD_OK;
    double number = md__onnx_attr_float(call, name, 0);
    md__onnx_drop_attr(call, name);
    enum md_status status = md__onnx_scalar(call, number, md__onnx_input(call, 0), &value, err);
    if (!status)
        md__onnx_put_input(call, i, value);
    return status;
}

MD__ONNX_REWRITE(md__onnx_pad_1)
{
    enum md_status status = md__onnx_ints_to_input(call, "paddings", 1, err);
    if (!status)
        status = md__onnx_ints_to_input(call, "pads", 1, err);
    return status ? status : number_to_input(call, "value", 2, err);
}

MD__ONNX_REWRITE(md__onnx_clip_1)
{
    enum md_status status = number_to_input(call, "min", 1, err);
    return status ? status : number_to_input(call, "max", 2, err);
}

MD__ONNX_REWRITE(md__onnx_dft_17)
{
    int axis = MD_NONE;
    int64_t number = md__onnx_attr_int(call, "axis", 1);
    enum md_status status = md__onnx_int(call, number, &axis, err);
    md__onnx_drop_attr(call, "axis");
    if (!status)
        md__onnx_put_input(call, 2, axis);
    return status;
}

/* The type was a name. */
MD__ONNX_REWRITE(md__onnx_cast_1)
{
    static const char *const names[] = {
        "UNDEFINED", "FLOAT", "UINT8",   "INT8",   "UINT16", "INT16",  "INT32",     "INT64",
        "STRING",    "BOOL",  "FLOAT16", "DOUBLE", "UINT32", "UINT64", "COMPLEX64", "COMPLEX128"};
    const char *to = md__onnx_attr_text(call, "to", NULL);
    for (size_t i = 0; to && i < sizeof names / sizeof *names; i++) {
        if (strcmp(to, names[i]) == 0) {
            md__onnx_put_int(call, "to", (int64_t)i);
            return MD_OK;
        }
    }
    return md_fail(err, MD_ERR_CORRUPT, "the type to cast to is \"%.40s\"", to ? to : "");
}

MD__ONNX_REWRITE(md__onnx_concat_1)
{
    (void)err;
    if (!md__onnx_attr(call, "axis"))
        md__onnx_put_int(call, "axis", 1);
    return MD_OK;
}

/* The order of the norm was a float. */
MD__ONNX_REWRITE(md__onnx_lp_pool_1)
{
    double p = md__onnx_attr_float(call, "p", 2);
    if (p != (double)(int)p)
        return md_fail(err, MD_ERR_UNSUPPORTED, "attribute \"p\" is %g", p);
    md__onnx_put_int(call, "p", (int64_t)p);
    return MD_OK;
}

MD__ONNX_REWRITE(md__onnx_recurrent_1)
{
    (void)err;
    md__onnx_drop_attr(call, "output_sequence");
    return MD_OK;
}

MD__ONNX_REWRITE(md__onnx_gemm_1)
{
    (void)err;
    md__onnx_drop_attr(call, "broadcast");
    return MD_OK;
}

MD__ONNX_REWRITE(md__onnx_selu_1)
{
    (void)err;
    md__onnx_put_float(call, "alpha", md__onnx_attr_float(call, "alpha", 1.6732));
    md__onnx_put_float(call, "gamma", md__onnx_attr_float(call, "gamma", 1.0507));
    return MD_OK;
}

MD__ONNX_REWRITE(md__onnx_grid_sample_16)
{
    (void)err;
    const char *mode = md__onnx_attr_text(call, "mode", "bilinear");
    if (strcmp(mode, "bilinear") == 0)
        md__onnx_put_text(call, "mode", "linear");
    else if (strcmp(mode, "bicubic") == 0)
        md__onnx_put_text(call, "mode", "cubic");
    return MD_OK;
}

MD__ONNX_REWRITE(md__onnx_roi_align_10)
{
    (void)err;
    md__onnx_put_text(call, "coordinate_transformation_mode", "output_half_pixel");
    return MD_OK;
}

MD__ONNX_REWRITE(md__onnx_scatter_9)
{
    (void)err;
    call->op = "ScatterElements";
    return MD_OK;
}

MD__ONNX_REWRITE(md__onnx_tile_1)
{
    if (call->in_count > 2)
        return md_fail(err, MD_ERR_UNSUPPORTED, "Tile of opset 1, with an axis, is not supported");
    return MD_OK;
}
