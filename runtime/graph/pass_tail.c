/*
 * What follows a channels-last operator goes into it, where it ends with a residual and an
 * activation (md__last_residual): norms and Resize, and convolutions that pass_conv.c could not
 * see. Products whose Transposes have gone take in what pass_linear.c would have given them.
 *
 *     op(x) + z             z of the same shape: the operator's last input
 *     activation(op(x) + z) its attribute (activation.h lists which)
 *     .. * a + b            numbers, after a convolution's activation: attributes as well
 *
 * A sum of two such operators is the later one's, so that the other's result is there. Nobody else
 * may read what lies between.
 */
#include <string.h>

#include "graph/body.h"
#include "graph/rewrite.h"

enum { INPUTS_MAX = 6, ATTRS_MAX = 16 };

/* The operator that alone makes the value for one reader alone, and has no activation yet. */
static const struct md_node *find_open(const struct md__rewrite *rewrite, int value)
{
    const struct md_node *node = md__rw_sole_maker(rewrite, value);
    bool open = node && md__last_residual(node->op) != MD_NONE &&
                md_node_string(node, "activation", "")[0] == '\0' && node->in_count <= INPUTS_MAX &&
                node->attr_count <= ATTRS_MAX;
    return open ? node : NULL;
}

static bool has_residual(const struct md_node *node)
{
    return md__body_in(node, md__last_residual(node->op)) != MD_NONE;
}

/* Node n becomes `node`, with z where it is not MD_NONE and an activation when `name` is given. */
static enum md_status put(struct md__rewrite *rewrite, int n, struct md_node node, int z,
                          const char *name, const double *numbers, int count, struct md_error *err)
{
    struct md_attr attrs[ATTRS_MAX + 2];
    int in[INPUTS_MAX], attr_count = 0, in_count = node.in_count, out;
    int residual = md__last_residual(node.op);
    for (int i = 0; i < INPUTS_MAX; i++)
        in[i] = md__body_in(&node, i);
    if (z != MD_NONE) {
        in[residual] = z;
        in_count = residual + 1;
    }
    for (int i = 0; i < node.attr_count; i++)
        attrs[attr_count++] = node.attrs[i];
    attr_count += md__rw_activation_attrs(name, numbers, count, attrs + attr_count);
    enum md_status status =
        md__rw_fused(rewrite, node.op, in, in_count, attrs, attr_count, &out, err);
    if (!status && out != MD_NONE)
        md__rw_replace(rewrite, n, &out);
    return status;
}

/*
 * One number multiplied or added behind a convolution's activation. Its attributes say all of it;
 * what they were is multiplied as well.
 */
static enum md_status shift(struct md__rewrite *rewrite, int n, bool *done, struct md_error *err)
{
    const struct md_node *node = &rewrite->graph->nodes[n];
    struct md_attr attrs[ATTRS_MAX + 2];
    double number;
    int side = md__rw_number(rewrite, node->in[0], &number) ? 1 : 0, attr_count = 0, out;
    int x = node->in[side], constant = node->in[1 - side];
    const struct md_node *conv = md__rw_sole_maker(rewrite, x);
    if (rewrite->options->accelerator || !md__rw_weights(rewrite, constant) ||
        !md__rw_number(rewrite, constant, &number) || !md__rw_alike(rewrite, x, node->out[0]) ||
        !conv || conv->op != MD_OP_CONV_LAST || conv->attr_count > ATTRS_MAX ||
        md_node_string(conv, "activation", "")[0] == '\0')
        return MD_OK;
    double factor = md_node_float(conv, "output_scale", 1);
    double sum = md_node_float(conv, "output_shift", 0);
    factor = node->op == MD_OP_MUL ? factor * number : factor;
    sum = node->op == MD_OP_MUL ? sum * number : sum + number;
    for (int i = 0; i < conv->attr_count; i++)
        if (strncmp(conv->attrs[i].name, "output_s", 8) != 0)
            attrs[attr_count++] = conv->attrs[i];
    attrs[attr_count++] = MD_FLOAT_ATTR("output_scale", factor);
    attrs[attr_count++] = MD_FLOAT_ATTR("output_shift", sum);
    enum md_status status =
        md__rw_fused(rewrite, conv->op, conv->in, conv->in_count, attrs, attr_count, &out, err);
    *done = !status && out != MD_NONE && md__rw_replace(rewrite, n, &out);
    return status;
}

static enum md_status rule(struct md__rewrite *rewrite, int n, void *context, struct md_error *err)
{
    (void)context;
    enum md_op op = rewrite->graph->nodes[n].op;
    double numbers[2];
    int count;
    bool done = false;
    int before = rewrite->count;
    enum md_status linear = md__is_listed(rewrite->options->passes_off, "linear")
                                ? MD_OK
                                : md__linear_rule(rewrite, n, NULL, err);
    if (linear || rewrite->count > before)
        return linear;
    enum md_status status =
        op == MD_OP_ADD || op == MD_OP_MUL ? shift(rewrite, n, &done, err) : MD_OK;
    if (status || done)
        return status;
    const struct md_node *node = &rewrite->graph->nodes[n], *open;
    if (node->op == MD_OP_ADD && md__rw_alike(rewrite, node->in[0], node->in[1])) {
        const struct md_node *a = find_open(rewrite, node->in[0]);
        const struct md_node *b = find_open(rewrite, node->in[1]);
        a = a && !has_residual(a) ? a : NULL;
        b = b && !has_residual(b) ? b : NULL;
        bool second = b && (!a || b > a);
        if (!a && !b)
            return MD_OK;
        return put(rewrite, n, second ? *b : *a, node->in[second ? 0 : 1], NULL, NULL, 0, err);
    }
    const char *name = md__rw_activation(rewrite, node, numbers, &count);
    if (!name || md__rw_dtype(rewrite, node->in[0]) != MD_F32)
        return MD_OK;
    open = find_open(rewrite, node->in[0]);
    return open ? put(rewrite, n, *open, MD_NONE, name, numbers, count, err) : MD_OK;
}

enum md_status md__pass_tail(struct md_graph *graph, const struct md_executable_options *options,
                             struct md_pass_report *report, struct md_error *err)
{
    return md__rewrite_run(graph, options, report, rule, NULL, NULL, err);
}
