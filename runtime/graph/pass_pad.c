/*
 * Zeros that a Pad puts around what only a convolution reads become the convolution's own padding:
 *
 *     Conv(Pad(x))           constant 0, spatial axes only, nothing cut: into `pads`
 *
 * Causal convolutions are exported so. Kernels read x in place then, instead of a padded copy of
 * it. Paddings that other nodes read as well stay for them.
 */
#include <string.h>

#include "graph/body.h"
#include "graph/rewrite.h"

enum { ATTRS_MAX = 32, SPATIAL_MAX = 3, CELLS_MAX = 1 << 20 };

/* Cells before and behind each axis, when the node is such a Pad of a tensor of this rank. */
static bool read_pads(const struct md__rewrite *rewrite, const struct md_node *pad, int rank,
                      int64_t *pads)
{
    int64_t listed[2 * MD_RANK_MAX], axes[MD_RANK_MAX];
    double value = 0;
    int named = md__body_in(pad, 3) != MD_NONE ? pad->in[3] : MD_NONE;
    int count = md__rw_ints(rewrite, md__body_in(pad, 1), listed, 2 * MD_RANK_MAX);
    int axis_count = named == MD_NONE ? rank : md__rw_ints(rewrite, named, axes, MD_RANK_MAX);
    bool zeros = md__body_in(pad, 2) == MD_NONE || md__rw_number(rewrite, pad->in[2], &value);
    if (strcmp(md_node_string(pad, "mode", "constant"), "constant") != 0 || !zeros || value != 0 ||
        axis_count < 0 || count != 2 * axis_count)
        return false;
    memset(pads, 0, 2 * (size_t)rank * sizeof *pads);
    for (int k = 0; k < axis_count; k++) {
        int64_t axis = named == MD_NONE ? k : axes[k] < 0 ? axes[k] + rank : axes[k];
        if (axis < 0 || axis >= rank)
            return false;
        pads[axis] = listed[k];
        pads[rank + axis] = listed[k + axis_count];
    }
    return true;
}

/* Adds them to what the convolution pads already: begins, then ends of its spatial axes. */
static bool add_pads(const struct md_node *conv, int rank, const int64_t *pads, int64_t *sum)
{
    const struct md_attr *own = md_node_attr(conv, "pads");
    const char *automatic = md_node_string(conv, "auto_pad", "NOTSET");
    bool good = md__pads_are_numbers(conv), counts = strcmp(automatic, "NOTSET") == 0;
    int axes = rank - 2;
    good = good && (!own || (own->type == MD_ATTR_INTS && own->count == 2 * axes));
    for (int i = 0; good && i < 2 * rank; i++) {
        int axis = i % rank, side = i / rank, at = side * axes + axis - 2;
        good = pads[i] >= 0 && pads[i] <= (axis < 2 ? 0 : CELLS_MAX);
        if (good && axis >= 2) {
            int64_t before = own && counts ? own->ints[at] : 0;
            good = before >= 0 && before <= CELLS_MAX;
            sum[at] = pads[i] + before;
        }
    }
    return good;
}

static enum md_status rule(struct md__rewrite *rewrite, int n, void *context, struct md_error *err)
{
    (void)context;
    const struct md_node conv = rewrite->graph->nodes[n];
    int64_t pads[2 * MD_RANK_MAX], sum[2 * SPATIAL_MAX];
    struct md_attr attrs[ATTRS_MAX + 1];
    int in[3], attr_count = 0, out;
    if (conv.op != MD_OP_CONV || conv.in_count > 3 || conv.attr_count > ATTRS_MAX)
        return MD_OK;
    int rank = md__rw_rank(rewrite, conv.in[0]);
    const struct md_node *pad = md__rw_maker(rewrite, conv.in[0], MD_OP_PAD);
    if (!pad || rank < 3 || rank > 2 + SPATIAL_MAX || !read_pads(rewrite, pad, rank, pads) ||
        !add_pads(&conv, rank, pads, sum))
        return MD_OK;
    for (int i = 0; i < conv.in_count; i++)
        in[i] = i == 0 ? pad->in[0] : conv.in[i];
    for (int i = 0; i < conv.attr_count; i++)
        if (strcmp(conv.attrs[i].name, "pads") != 0 && strcmp(conv.attrs[i].name, "auto_pad") != 0)
            attrs[attr_count++] = conv.attrs[i];
    attrs[attr_count++] = MD_INTS_ATTR("pads", sum, 2 * (rank - 2));
    enum md_status status =
        md__rw_node(rewrite, "Conv", in, conv.in_count, attrs, attr_count, &out, 1, err);
    if (!status)
        md__rw_replace(rewrite, n, &out);
    return status;
}

enum md_status md__pass_pad(struct md_graph *graph, const struct md_executable_options *options,
                            struct md_pass_report *report, struct md_error *err)
{
    return md__rewrite_run(graph, options, report, rule, NULL, NULL, err);
}
