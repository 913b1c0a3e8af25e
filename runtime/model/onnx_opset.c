/*
 * Older forms of operators, as one table: a row for each operator and range of opsets whose nodes
 * differ from those of the newest. Opsets that only widened the types, or added attributes with
 * defaults, need no row. The rewrites are in onnx_rewrite_*.c, by family.
 *
 * Sources: the changelog of the operators (https://onnx.ai/onnx/operators/), each version's page.
 */
#include "model/onnx_rewrite.h"

#include <string.h>

struct row {
    const char *op;
    int opset_min, opset_max;
    md__onnx_rewrite_fn rewrite;
};

static const struct row rows[] = {
    {"ReduceL1", 1, 17, md__onnx_axes_to_input},
};

enum md_status md__onnx_modernise(struct md__onnx_call *call, struct md_error *err)
{
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
