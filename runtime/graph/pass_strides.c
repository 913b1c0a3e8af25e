/*
 * Of a convolution whose results are only read at every other place, only those places are
 * computed. Residual networks of the first kind end each stage so: both the shortcut and the first
 * convolution of the next stage are 1 x 1 with strides of 2.
 *
 *     conv(relu(conv(x) + z), strides s)      conv(relu(conv(x, strides s) + z at s))
 *
 * where every reader is 1 x 1 with the same strides, without padding. A residual is read at those
 * places by a MaxPool of one place. What was a convolution of 1 x 1 has strides itself then, and
 * passes them on to the one before; so does such a MaxPool. Exact.
 */
#include <string.h>

#include "graph/body.h"
#include "graph/rewrite.h"

enum { ATTRS_MAX = 16, AXES_MAX = MD_RANK_MAX, KNOWN_MAX = 16 };

/* Values that were computed at every other place for a reader, for the next reader; the latest. */
struct strided {
    int from[KNOWN_MAX], to[KNOWN_MAX];
    int count;
};

static bool is_conv(const struct md_node *node)
{
    return node->op == MD_OP_CONV || node->op == MD_OP_FUSED_CONV;
}

/* One place wide on all axes. */
static bool reads_one_place(const struct md__rewrite *rewrite, const struct md_node *node)
{
    if (is_conv(node))
        return md__is_pointwise(md__rw_weights(rewrite, node->in[1]));
    return node->op == MD_OP_MAX_POOL && node->out_count == 1 &&
           md_node_attr(node, "kernel_shape") && md__ints_all(node, "kernel_shape", 1) &&
           md_node_int(node, "ceil_mode", 0) == 0;
}

/* The strides of a node that reads every other place and no others; NULL: it does not. */
static const struct md_attr *skips(const struct md__rewrite *rewrite, const struct md_node *node)
{
    bool apart = false;
    const struct md_attr *strides = md_node_attr(node, "strides");
    for (int i = 0; strides && i < strides->count; i++)
        apart |= strides->ints[i] > 1;
    return apart && strides->count <= AXES_MAX && md__is_unpadded(node) &&
                   reads_one_place(rewrite, node)
               ? strides
               : NULL;
}

static bool same_ints(const struct md_attr *a, const struct md_attr *b)
{
    return a->count == b->count &&
           memcmp(a->ints, b->ints, (size_t)a->count * sizeof *a->ints) == 0;
}

/* Every reader of the value skips by these strides. */
static bool all_skip(const struct md__rewrite *rewrite, int value, const struct md_attr *strides)
{
    int found = 0;
    for (int n = 0; n < rewrite->first_added; n++) {
        const struct md_node *node = &rewrite->graph->nodes[n];
        int read = rewrite->keep[n] && node->in_count ? node->in[0] : MD_NONE;
        while (read != MD_NONE && rewrite->renamed[read] != read)
            read = rewrite->renamed[read];
        if (read == MD_NONE || read != value)
            continue;
        const struct md_attr *own = skips(rewrite, node);
        if (!own || !same_ints(own, strides))
            return false;
        found++;
    }
    return found == rewrite->readers[value];
}

/* The convolution again, of these inputs, with these strides. */
static enum md_status put_conv(struct md__rewrite *rewrite, const struct md_node *conv,
                               const int *in, const struct md_attr *strides, int *out,
                               struct md_error *err)
{
    struct md_attr attrs[ATTRS_MAX + 1];
    int count = 0;
    for (int i = 0; i < conv->attr_count; i++)
        if (strcmp(conv->attrs[i].name, "strides") != 0)
            attrs[count++] = conv->attrs[i];
    attrs[count++] = *strides;
    return md__rw_node(rewrite, md_op_info(conv->op)->name, in, conv->in_count, attrs, count, out,
                       1, err);
}

/* The maker's result at every other place. */
static enum md_status put_maker(struct md__rewrite *rewrite, const struct md_node *maker,
                                const struct md_attr *by, int *out, struct md_error *err)
{
    const struct md_attr *own = md_node_attr(maker, "strides");
    int64_t ones[AXES_MAX], steps[AXES_MAX];
    int in[4] = {MD_NONE, MD_NONE, MD_NONE, MD_NONE};
    for (int i = 0; i < by->count; i++) {
        ones[i] = 1;
        steps[i] = by->ints[i] * (own && i < own->count ? own->ints[i] : 1);
    }
    memcpy(in, maker->in, (size_t)maker->in_count * sizeof *in);
    enum md_status status = MD_OK;
    if (in[3] != MD_NONE) {
        const struct md_attr attrs[] = {MD_INTS_ATTR("kernel_shape", ones, by->count),
                                        MD_INTS_ATTR("strides", by->ints, by->count)};
        status = md__rw_node(rewrite, "MaxPool", &maker->in[3], 1, attrs, 2, &in[3], 1, err);
    }
    const struct md_attr strides = MD_INTS_ATTR("strides", steps, by->count);
    return status ? status : put_conv(rewrite, maker, in, &strides, out, err);
}

/* What the value is at every other place, when that is all its readers want; else MD_NONE. */
static enum md_status find_strided(struct md__rewrite *rewrite, int value, const struct md_attr *by,
                                   struct strided *known, int *found, struct md_error *err)
{
    int seen = known->count < KNOWN_MAX ? known->count : KNOWN_MAX;
    for (int i = 0; i < seen; i++)
        if (known->from[i] == value) {
            *found = known->to[i];
            return MD_OK;
        }
    const struct md_node *node = md__rw_maker(rewrite, value, MD_OP_CONV);
    node = node ? node : md__rw_maker(rewrite, value, MD_OP_FUSED_CONV);
    if (!node || node->in_count > 4 || node->attr_count > ATTRS_MAX ||
        !md__pads_are_numbers(node) || !md__rw_weights(rewrite, node->in[1]) ||
        !all_skip(rewrite, value, by))
        return MD_OK;
    const struct md_node maker = *node;
    enum md_status status = put_maker(rewrite, &maker, by, found, err);
    known->from[known->count % KNOWN_MAX] = value;
    known->to[known->count++ % KNOWN_MAX] = *found;
    return status;
}

static enum md_status rule(struct md__rewrite *rewrite, int n, void *context, struct md_error *err)
{
    const struct md_node node = rewrite->graph->nodes[n];
    const struct md_attr *by = skips(rewrite, &node);
    if (!by || node.in_count > 4 || node.attr_count > ATTRS_MAX)
        return MD_OK;
    int in[4], out, found = MD_NONE;
    enum md_status status = find_strided(rewrite, node.in[0], by, context, &found, err);
    if (status || found == MD_NONE)
        return status;
    out = found;
    if (is_conv(&node)) {
        int64_t ones[AXES_MAX];
        for (int i = 0; i < by->count; i++)
            ones[i] = 1;
        const struct md_attr strides = MD_INTS_ATTR("strides", ones, by->count);
        memcpy(in, node.in, (size_t)node.in_count * sizeof *in);
        in[0] = found;
        status = put_conv(rewrite, &node, in, &strides, &out, err);
    }
    if (!status && !md__rw_replace(rewrite, n, &out))
        *(struct strided *)context = (struct strided){.count = 0};
    return status;
}

enum md_status md__pass_strides(struct md_graph *graph, const struct md_executable_options *options,
                                struct md_pass_report *report, struct md_error *err)
{
    enum md_status status = MD_OK;
    for (int count = 1; !status && count > 0;) {
        struct strided known = {.count = 0};
        status = md__rewrite_run(graph, options, report, rule, &known, &count, err);
    }
    return status;
}
