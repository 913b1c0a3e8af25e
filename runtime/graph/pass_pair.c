/*
 * A convolution that a depthwise one alone reads becomes one operator with it where what lies
 * between them is too large for a core's cache:
 *
 *     depthwise(conv(x))          moondial.ConvPairLast, activations of both included
 *
 * Both end without a residual, the first has a bias. Not where the first adds up many terms: then
 * its multiplications, some of which are made twice, hide what memory takes; so do exponentials of
 * its activation. Nor where it would go by Winograd's method, which saves more.
 */
#include <string.h>

#include "graph/body.h"
#include "graph/conv_pair.h"
#include "graph/rewrite.h"

#define TERMS_MAX         40                   /* of a sum of the first */
#define MIDDLE_FLOATS_MIN ((int64_t)256 << 10) /* of one run; 1 MB */

static bool is_conv(const struct md__rewrite *rewrite, const struct md_node *node)
{
    const struct md_tensor *w =
        node && node->op == MD_OP_CONV_LAST ? md__rw_weights(rewrite, node->in[1]) : NULL;
    return w && w->shape.rank == 4 && md__body_in(node, 3) == MD_NONE &&
           md__body_in(node, 4) == MD_NONE;
}

static bool is_depthwise(const struct md__rewrite *rewrite, const struct md_node *node)
{
    const struct md_shape *w = &md__rw_weights(rewrite, node->in[1])->shape;
    return w->dim[1] == 1 && md_node_int(node, "group", 1) == w->dim[0] && w->dim[0] > 1;
}

static bool suits_winograd(const struct md__rewrite *rewrite, const struct md_node *node)
{
    const struct md_shape *w = &md__rw_weights(rewrite, node->in[1])->shape;
    const struct md_attr *strides = md_node_attr(node, "strides");
    bool apart = strides && strides->count == 2 && (strides->ints[0] > 1 || strides->ints[1] > 1);
    return w->dim[2] == 3 && w->dim[3] == 3 && !apart && w->dim[0] >= 16 && w->dim[1] >= 16;
}

static bool is_long(const struct md__rewrite *rewrite, const struct md_node *node)
{
    const struct md_shape *w = &md__rw_weights(rewrite, node->in[1])->shape;
    return w->dim[1] * w->dim[2] * w->dim[3] > TERMS_MAX;
}

static bool is_costly(const struct md_node *node)
{
    static const char *const cheap[] = {"", "Relu", "Clip", "HardSwish", "LeakyRelu"};
    for (size_t i = 0; i < sizeof cheap / sizeof *cheap; i++)
        if (strcmp(md_node_string(node, "activation", ""), cheap[i]) == 0)
            return false;
    return true;
}

/* A batch whose size is free counts as one. */
static bool is_large(const struct md__rewrite *rewrite, int value)
{
    int64_t floats = 1;
    for (int i = 0; i < 4; i++) {
        int64_t dim = md__rw_dim(rewrite, value, i);
        if (i > 0 && dim < 0)
            return false;
        if (dim > 0 && __builtin_mul_overflow(floats, dim, &floats))
            return true;
    }
    return floats >= MIDDLE_FLOATS_MIN;
}

static enum md_status rule(struct md__rewrite *rewrite, int n, void *context, struct md_error *err)
{
    (void)context;
    const struct md_node *second = &rewrite->graph->nodes[n];
    if (!is_conv(rewrite, second) || !is_depthwise(rewrite, second))
        return MD_OK;
    const struct md_node *first = md__rw_sole_maker(rewrite, second->in[0]);
    if (!is_conv(rewrite, first) || is_depthwise(rewrite, first) ||
        md__body_in(first, 2) == MD_NONE || suits_winograd(rewrite, first) ||
        is_long(rewrite, first) || is_costly(first) || !is_large(rewrite, second->in[0]))
        return MD_OK;
    struct md_attr attrs[2 * MD_CONV_PAIR_ATTRS_MAX];
    int count = md_conv_pair_join(first, second, attrs), out;
    int in[] = {first->in[0], first->in[1], first->in[2], second->in[1], md__body_in(second, 2)};
    if (count < 0)
        return MD_OK;
    enum md_status status =
        md__rw_fused(rewrite, MD_OP_CONV_PAIR_LAST, in, 5, attrs, count, &out, err);
    if (!status && out != MD_NONE)
        md__rw_replace(rewrite, n, &out);
    return status;
}

enum md_status md__pass_pair(struct md_graph *graph, const struct md_executable_options *options,
                             struct md_pass_report *report, struct md_error *err)
{
    return md__rewrite_run(graph, options, report, rule, NULL, NULL, err);
}
