/*
 * Pass `dequantized`, for accelerators: QLinearConv and QLinearMatMul are written out as the float
 * operator between a DequantizeLinear of each operand and a QuantizeLinear of the result, their
 * definition. Constant weights fold into floats afterwards; the product is then one of 16-bit
 * floats, which such a device is made for.
 */
#include "graph/body.h"
#include "graph/rewrite.h"

/* One level for all. */
static bool is_single(const struct md__rewrite *rewrite, int value)
{
    double number;
    return md__rw_rank(rewrite, value) == 0 || md__rw_number(rewrite, value, &number) ||
           (md__rw_rank(rewrite, value) == 1 && md__rw_dim(rewrite, value, 0) == 1);
}

/* Operand i, its scale and its zero point, as floats; levels along `axis` where there are many. */
static enum md_status floats_of(struct md__rewrite *rewrite, const struct md_node *node, int i,
                                int axis, int *value, struct md_error *err)
{
    const struct md_attr along = MD_INT_ATTR("axis", axis);
    const int in[] = {node->in[i], node->in[i + 1], node->in[i + 2]};
    return md__rw_node(rewrite, "DequantizeLinear", in, 3, &along, 1, value, 1, err);
}

/* The steps of a bias are the products of those of x and w. */
static enum md_status bias_of(struct md__rewrite *rewrite, const struct md_node *node, int *value,
                              struct md_error *err)
{
    const struct md_attr to = MD_INT_ATTR("to", MD_F32);
    int whole, scale;
    *value = MD_NONE;
    if (md__body_in(node, 8) == MD_NONE)
        return MD_OK;
    enum md_status status = md__rw_node(rewrite, "Cast", &node->in[8], 1, &to, 1, &whole, 1, err);
    if (!status)
        status = md__rw_node(rewrite, "Mul", (const int[]){node->in[1], node->in[4]}, 2, NULL, 0,
                             &scale, 1, err);
    return status ? status
                  : md__rw_node(rewrite, "Mul", (const int[]){whole, scale}, 2, NULL, 0, value, 1,
                                err);
}

static enum md_status write_out(struct md__rewrite *rewrite, int n, struct md_error *err)
{
    const struct md_node node = rewrite->graph->nodes[n];
    bool conv = node.op == MD_OP_QLINEAR_CONV;
    int x, w, bias = MD_NONE, y, result;
    if (!is_single(rewrite, node.in[1]) || !is_single(rewrite, node.in[2]) ||
        (!conv && !is_single(rewrite, node.in[4]) && md__rw_rank(rewrite, node.in[3]) != 2))
        return MD_OK;
    enum md_status status = floats_of(rewrite, &node, 0, 0, &x, err);
    if (!status)
        status = floats_of(rewrite, &node, 3, conv ? 0 : 1, &w, err);
    if (!status && conv)
        status = bias_of(rewrite, &node, &bias, err);
    if (!status)
        status = md__rw_node(rewrite, conv ? "Conv" : "MatMul", (const int[]){x, w, bias},
                             bias == MD_NONE ? 2 : 3, conv ? node.attrs : NULL,
                             conv ? node.attr_count : 0, &y, 1, err);
    if (!status)
        status = md__rw_node(rewrite, "QuantizeLinear", (const int[]){y, node.in[6], node.in[7]}, 3,
                             NULL, 0, &result, 1, err);
    if (!status)
        md__rw_replace(rewrite, n, &result);
    return status;
}

static enum md_status rule(struct md__rewrite *rewrite, int n, void *context, struct md_error *err)
{
    enum md_op op = rewrite->graph->nodes[n].op;
    (void)context;
    return op == MD_OP_QLINEAR_CONV || op == MD_OP_QLINEAR_MATMUL ? write_out(rewrite, n, err)
                                                                  : MD_OK;
}

enum md_status md__pass_dequantized(struct md_graph *graph,
                                    const struct md_executable_options *options,
                                    struct md_pass_report *report, struct md_error *err)
{
    if (!md__device_lacks(options, MD_OP_QLINEAR_CONV))
        return MD_OK;
    return md__rewrite_run(graph, options, report, rule, NULL, NULL, err);
}
