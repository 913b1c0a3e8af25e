/*
 * Bodies of the quantised operators that the pass `quantized` makes where ONNX has none: the
 * float32 operator between a DequantizeLinear of each operand and a QuantizeLinear of the result.
 */
#include "graph/body.h"

/* Operand i with its scale and zero point behind it. */
static int dequantized(struct md_emit *emit, const struct md_node *node, int i, int axis)
{
    return md__emit_node(emit, "DequantizeLinear",
                         MD__IDS(node->in[i], node->in[i + 1], node->in[i + 2]),
                         MD__ATTRS(MD__INT("axis", axis)));
}

static int quantized(struct md_emit *emit, const struct md_node *node, int value)
{
    return md__emit_node(emit, "QuantizeLinear", MD__IDS(value, node->in[6], node->in[7]), NULL, 0);
}

MD_BODY(md_body_qlinear_add)
{
    struct md_emit emit = {graph, node->name, err, MD_OK};
    int a = dequantized(&emit, node, 0, 0), b = dequantized(&emit, node, 3, 0);
    outputs[0] = quantized(&emit, node, md__emit_node(&emit, "Add", MD__IDS(a, b), NULL, 0));
    return emit.status;
}

/* The levels of a bias are the products of those of a and b. */
MD_BODY(md_body_qlinear_gemm)
{
    struct md_emit emit = {graph, node->name, err, MD_OK};
    bool turned = md_node_int(node, "transB", 0);
    int a = dequantized(&emit, node, 0, 0), b = dequantized(&emit, node, 3, turned ? 0 : 1);
    int bias = md__body_in(node, 8);
    if (bias != MD_NONE) {
        int scale = md__emit_node(&emit, "Mul", MD__IDS(node->in[1], node->in[4]), NULL, 0);
        bias = md__emit_node(&emit, "Cast", MD__IDS(bias), MD__ATTRS(MD__INT("to", MD_F32)));
        bias = md__emit_node(&emit, "Mul", MD__IDS(bias, scale), NULL, 0);
    }
    int y = md__emit_node(&emit, "Gemm", MD__IDS(a, b, bias), MD__ATTRS(MD__INT("transB", turned)));
    outputs[0] = quantized(&emit, node, y);
    return emit.status;
}
