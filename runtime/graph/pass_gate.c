/*
 * A gate that scales the channels of what a 1 x 1 convolution alone reads, as of squeeze and
 * excitation, goes into the convolution:
 *
 *     conv(x * gate), gate [N, 1.., C]      the fifth input of moondial.ConvLast
 *
 * Its kernel multiplies the places that it is about to read, so that the product is never stored.
 * Not where the weights are many: threads share them out then, and each would multiply all places.
 * Not for an accelerator either, whose convolutions take no gate.
 */
#include "graph/body.h"
#include "graph/rewrite.h"

#define OUTPUTS_MIN 16 /* fewer go two places a vector (conv_narrow.c) */
#define WEIGHTS_MAX ((int64_t)128 << 10)

/* One tap that reads each place where it writes, of all channels. */
static bool is_foldable(const struct md__rewrite *rewrite, const struct md_node *node)
{
    const struct md_tensor *w = md__rw_weights(rewrite, node->in[1]);
    if (!md__is_pointwise(w) || w->shape.rank < 3 || md__body_in(node, 4) != MD_NONE ||
        md_node_int(node, "group", 1) != 1 || !md__ints_all(node, "strides", 1) ||
        !md__ints_all(node, "pads", 0))
        return false;
    const int64_t *dim = w->shape.dim;
    return dim[0] >= OUTPUTS_MIN && dim[1] <= WEIGHTS_MAX / dim[0];
}

static bool is_gate(const struct md__rewrite *rewrite, int value, int rank, int64_t channels)
{
    if (md__rw_rank(rewrite, value) != rank || md__rw_dtype(rewrite, value) != MD_F32)
        return false;
    for (int i = 1; i < rank - 1; i++)
        if (md__rw_dim(rewrite, value, i) != 1)
            return false;
    return md__rw_dim(rewrite, value, rank - 1) == channels;
}

static enum md_status rule(struct md__rewrite *rewrite, int n, void *context, struct md_error *err)
{
    (void)context;
    const struct md_node *conv = &rewrite->graph->nodes[n];
    if (conv->op != MD_OP_CONV_LAST || rewrite->options->accelerator || !is_foldable(rewrite, conv))
        return MD_OK;
    const struct md_node *mul = md__rw_sole_maker(rewrite, conv->in[0]);
    const struct md_shape *w = &md__rw_weights(rewrite, conv->in[1])->shape;
    if (!mul || mul->op != MD_OP_MUL)
        return MD_OK;
    int side = is_gate(rewrite, mul->in[0], w->rank, w->dim[1]) ? 0 : 1, out;
    int gate = mul->in[side], x = mul->in[1 - side];
    if (!is_gate(rewrite, gate, w->rank, w->dim[1]) || !md__rw_alike(rewrite, x, conv->in[0]))
        return MD_OK;
    int in[] = {x, conv->in[1], md__body_in(conv, 2), md__body_in(conv, 3), gate};
    enum md_status status =
        md__rw_fused(rewrite, MD_OP_CONV_LAST, in, 5, conv->attrs, conv->attr_count, &out, err);
    if (!status && out != MD_NONE)
        md__rw_replace(rewrite, n, &out);
    return status;
}

enum md_status md__pass_gate(struct md_graph *graph, const struct md_executable_options *options,
                             struct md_pass_report *report, struct md_error *err)
{
    return md__rewrite_run(graph, options, report, rule, NULL, NULL, err);
}
