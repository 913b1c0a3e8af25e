/*
 * Resize and its ancestors. Upsample and the first Resize had one rule, which the newest spells as
 * coordinate_transformation_mode "asymmetric" with a rounding of its own; and where the newest has
 * absent inputs, opset 11 had empty tensors.
 */
#include <string.h>

#include "model/onnx_rewrite.h"

static bool is_empty(const struct md__onnx_call *call, int i)
{
    const struct md_tensor *tensor = md__onnx_constant(call, md__onnx_input(call, i));
    return tensor && md_tensor_count(tensor) == 0;
}

/*
 * With "align_corners" the standard's tests spread the coordinates over length x scale, PyTorch
 * over the output's whole length. Its exporters write a scale all the same, so their files say
 * which is meant by who made them.
 */
static bool is_of_pytorch(const struct md__onnx_call *call)
{
    const char *producer = call->scope->reader->model.producer;
    return producer && strcmp(producer, "pytorch") == 0;
}

MD__ONNX_REWRITE(md__onnx_resize_11)
{
    (void)err;
    if (is_of_pytorch(call))
        md__onnx_put_int(call, "moondial.whole_lengths", 1);
    for (int i = 1; i < call->in_count; i++)
        if (is_empty(call, i))
            call->in[i] = MD_NONE;
    while (call->in_count > 1 && call->in[call->in_count - 1] == MD_NONE)
        call->in_count--;
    return MD_OK;
}

static void make_resize(struct md__onnx_call *call, int scales, const char *nearest_mode)
{
    const char *mode = md__onnx_attr_text(call, "mode", "nearest");
    bool is_linear = strcmp(mode, "linear") == 0 || strcmp(mode, "bilinear") == 0;
    md__onnx_put_text(call, "mode", is_linear ? "linear" : mode);
    md__onnx_put_text(call, "coordinate_transformation_mode", "asymmetric");
    md__onnx_put_text(call, "nearest_mode", nearest_mode);
    call->in_count = 1;
    md__onnx_put_input(call, 2, scales);
    call->op = "Resize";
}

static enum md_status upsample_scales(struct md__onnx_call *call, int *scales, struct md_error *err)
{
    float numbers[MD_RANK_MAX] = {1, 1};
    struct md_tensor tensor = {.dtype = MD_F32, .shape = {.rank = 1, .dim = {4}}, .data = numbers};
    const struct md_attr *list = md__onnx_attr(call, "scales");
    if (md__onnx_input(call, 1) != MD_NONE) {
        *scales = call->in[1];
        return MD_OK;
    }
    if (list && (list->type != MD_ATTR_FLOATS || list->count > MD_RANK_MAX))
        return md_fail(err, MD_ERR_CORRUPT, "attribute \"scales\" is no list of scales");
    if (list)
        tensor.shape.dim[0] = list->count;
    for (int i = 0; list && i < list->count; i++)
        numbers[i] = (float)list->floats[i];
    if (!list) { /* opset 1 */
        numbers[2] = (float)md__onnx_attr_float(call, "height_scale", 1);
        numbers[3] = (float)md__onnx_attr_float(call, "width_scale", 1);
    }
    return md__onnx_add_constant(call->scope, "", &tensor, scales, err);
}

MD__ONNX_REWRITE(md__onnx_upsample)
{
    int scales = MD_NONE;
    enum md_status status = upsample_scales(call, &scales, err);
    if (status)
        return status;
    md__onnx_drop_attr(call, "scales");
    md__onnx_drop_attr(call, "height_scale");
    md__onnx_drop_attr(call, "width_scale");
    make_resize(call, scales, "floor");
    return MD_OK;
}

/*
 * Opset 10 does not say how "nearest" rounds. Its tests, and ONNX Runtime after them, round down
 * when enlarging and up when shrinking.
 */
MD__ONNX_REWRITE(md__onnx_resize_10)
{
    int scales = md__onnx_input(call, 1);
    const struct md_tensor *tensor = md__onnx_constant(call, scales);
    bool nearest = strcmp(md__onnx_attr_text(call, "mode", "nearest"), "nearest") == 0;
    bool smaller = false, larger = false;
    if (nearest && (!tensor || tensor->dtype != MD_F32))
        return md_fail(err, MD_ERR_UNSUPPORTED,
                       "Resize of opset 10 to the nearest, with scales that are no constant");
    for (size_t i = 0; nearest && i < md_tensor_count(tensor); i++) {
        smaller |= ((const float *)tensor->data)[i] < 1;
        larger |= ((const float *)tensor->data)[i] > 1;
    }
    if (smaller && larger)
        return md_fail(err, MD_ERR_UNSUPPORTED,
                       "Resize of opset 10 to the nearest, both larger and smaller");
    make_resize(call, scales, smaller ? "ceil" : "floor");
    return MD_OK;
}
