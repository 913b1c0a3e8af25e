/*
 * Older forms of operators, as one table: a row for each operator and range of opsets whose nodes
 * differ from those of the newest. Opsets that only widened the types, or added attributes with
 * defaults, need no row. The rewrites are in onnx_rewrite_*.c, by family.
 *
 * Sources: the changelog of the operators (https://onnx.ai/onnx/operators/), each version's page.
 */
#include "model/onnx_rewrite.h"

#include <string.h>

enum { NEWEST = MD__ONNX_OPSET_MAX };

struct row {
    const char *op;
    int opset_min, opset_max;
    md__onnx_rewrite_fn rewrite;
};

static const struct row rows[] = {
    {"Add", 1, 6, md__onnx_broadcast_1},
    {"And", 1, 6, md__onnx_broadcast_1},
    {"BatchNormalization", 1, 13, md__onnx_batch_norm_1},
    {"Cast", 1, 5, md__onnx_cast_1},
    {"Clip", 1, 10, md__onnx_clip_1},
    {"Concat", 1, 3, md__onnx_concat_1},
    {"DFT", 17, 19, md__onnx_dft_17},
    {"Div", 1, 6, md__onnx_broadcast_1},
    {"Dropout", 1, 11, md__onnx_dropout_1},
    {"Equal", 1, 6, md__onnx_broadcast_1},
    {"GRU", 1, 6, md__onnx_recurrent_1},
    {"Gemm", 1, 6, md__onnx_gemm_1},
    {"GlobalLpPool", 1, 1, md__onnx_lp_pool_1},
    {"Greater", 1, 6, md__onnx_broadcast_1},
    {"GridSample", 16, 19, md__onnx_grid_sample_16},
    {"GroupNormalization", 18, 20, md__onnx_group_norm_18},
    {"Hardmax", 1, 12, md__onnx_softmax_1},
    {"LSTM", 1, 6, md__onnx_recurrent_1},
    {"Less", 1, 6, md__onnx_broadcast_1},
    {"LogSoftmax", 1, 12, md__onnx_softmax_1},
    {"LpPool", 1, 1, md__onnx_lp_pool_1},
    {"Mul", 1, 6, md__onnx_broadcast_1},
    {"Or", 1, 6, md__onnx_broadcast_1},
    {"PRelu", 1, 6, md__onnx_prelu_1},
    {"Pad", 1, 10, md__onnx_pad_1},
    {"Pow", 1, 6, md__onnx_broadcast_1},
    {"RNN", 1, 6, md__onnx_recurrent_1},
    {"ReduceL1", 1, 17, md__onnx_axes_to_input},
    {"ReduceL2", 1, 17, md__onnx_axes_to_input},
    {"ReduceLogSum", 1, 17, md__onnx_axes_to_input},
    {"ReduceLogSumExp", 1, 17, md__onnx_axes_to_input},
    {"ReduceMax", 1, 17, md__onnx_axes_to_input},
    {"ReduceMean", 1, 17, md__onnx_axes_to_input},
    {"ReduceMin", 1, 17, md__onnx_axes_to_input},
    {"ReduceProd", 1, 17, md__onnx_axes_to_input},
    {"ReduceSum", 1, 12, md__onnx_axes_to_input},
    {"ReduceSumSquare", 1, 17, md__onnx_axes_to_input},
    {"Reshape", 1, 4, md__onnx_reshape_1},
    {"Resize", 10, 10, md__onnx_resize_10},
    {"Resize", 11, NEWEST, md__onnx_resize_11},
    {"RoiAlign", 10, 15, md__onnx_roi_align_10},
    {"Scatter", 9, NEWEST, md__onnx_scatter_9},
    {"Selu", 1, 5, md__onnx_selu_1},
    {"Slice", 1, 9, md__onnx_slice_1},
    {"Softmax", 1, 12, md__onnx_softmax_1},
    {"Split", 1, 17, md__onnx_split_1},
    {"Squeeze", 1, 12, md__onnx_axes_to_input},
    {"Sub", 1, 6, md__onnx_broadcast_1},
    {"Tile", 1, 5, md__onnx_tile_1},
    {"TopK", 1, 9, md__onnx_topk_1},
    {"Unsqueeze", 1, 12, md__onnx_axes_to_input},
    {"Upsample", 1, NEWEST, md__onnx_upsample},
    {"Xor", 1, 6, md__onnx_broadcast_1},
};

/* Operators of com.microsoft that are written with the standard's. */
static const struct row microsoft_rows[] = {
    {"DequantizeLinear", 1, NEWEST, md__onnx_microsoft_dequantize},
    {"QGemm", 1, NEWEST, md__onnx_qgemm},
    {"QLinearAdd", 1, NEWEST, md__onnx_qlinear_add},
    {"QLinearAveragePool", 1, NEWEST, md__onnx_qlinear_average_pool},
    {"QLinearConcat", 1, NEWEST, md__onnx_qlinear_concat},
    {"QLinearGlobalAveragePool", 1, NEWEST, md__onnx_qlinear_global_average_pool},
    {"QLinearLeakyRelu", 1, NEWEST, md__onnx_qlinear_leaky_relu},
    {"QLinearMul", 1, NEWEST, md__onnx_qlinear_mul},
    {"QLinearSigmoid", 1, NEWEST, md__onnx_qlinear_sigmoid},
    {"QLinearSoftmax", 1, NEWEST, md__onnx_qlinear_softmax},
    {"QuantizeLinear", 1, NEWEST, md__onnx_microsoft_quantize},
};

static enum md_status rewrite_microsoft(struct md__onnx_call *call, struct md_error *err)
{
    for (size_t i = 0; i < sizeof microsoft_rows / sizeof *microsoft_rows; i++)
        if (strcmp(call->node->op_type, microsoft_rows[i].op) == 0)
            return microsoft_rows[i].rewrite(call, err);
    return MD_OK;
}

enum md_status md__onnx_modernise(struct md__onnx_call *call, struct md_error *err)
{
    if (strcmp(call->node->domain, "com.microsoft") == 0)
        return rewrite_microsoft(call, err);
    if (call->node->domain[0])
        return MD_OK;
    if (call->opset < 6) /* a hint of the first opsets, about memory */
        md__onnx_drop_attr(call, "consumed_inputs");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        if (call->opset >= row->opset_min && call->opset <= row->opset_max &&
            strcmp(call->node->op_type, row->op) == 0)
            return row->rewrite(call, err);
    }
    return MD_OK;
}
