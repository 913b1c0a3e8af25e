/*
 * Of what is only read in part, only that part is computed: a Slice or a Gather of one index moves
 * up through convolutions, products, norms and elementwise operators.
 *
 *     Conv(x)[.., -1:] = Conv'(x[.., first:last:step])     with the padding that the part meets
 *     Linear(x)[:, 0]  = Linear(x[:, 0])                   likewise MatMul by a matrix, norms
 *
 * A temporal network that is asked for its last step, or a classifier for its first token, need
 * little of their last layers. What others read as well is sliced where it is; two slices of the
 * same kind are one, which may then move on in another round.
 *
 * Sizes decide which padding is left, so graphs with free sizes stay as they are.
 */
#include <string.h>

#include "graph/body.h"
#include "graph/channels_last.h"
#include "graph/rewrite.h"

enum {
    INPUTS_MAX = 8,
    ATTRS_MAX = 32,
    DEPTH_MAX = 64,
    MEMO_MAX = 64,
    ROUNDS_MAX = 8,
    AXES_MAX = 3
};

/* Positions start, start + step, ... along one axis. */
struct part {
    int axis;
    int64_t start, step, count;
};

struct context {
    struct md__rewrite *rewrite;
    struct md_error *err;
    struct {
        int value, made;
        struct part part;
    } memo[MEMO_MAX]; /* slices of this round */
    int memo_count, depth;
    bool gained; /* something costly became smaller */
};

static enum md_status cut(struct context *context, int value, struct part part, int *made);

static bool is_whole(const struct context *context, int value, const struct part *part)
{
    return part->start == 0 && part->step == 1 &&
           part->count == md__rw_dim(context->rewrite, value, part->axis);
}

static bool is_same(const struct part *a, const struct part *b)
{
    return a->axis == b->axis && a->start == b->start && a->step == b->step && a->count == b->count;
}

static enum md_status add_int(struct context *context, int64_t number, int *value)
{
    return md__rw_add_ints(context->rewrite, &number, 1, value, context->err);
}

static enum md_status slice(struct context *context, int value, const struct part *part, int *made)
{
    for (int i = 0; i < context->memo_count; i++)
        if (context->memo[i].value == value && is_same(&context->memo[i].part, part)) {
            *made = context->memo[i].made;
            return MD_OK;
        }
    int64_t end = part->start + (part->count - 1) * part->step + 1;
    const int64_t numbers[] = {part->start, end, part->axis, part->step};
    int in[5] = {value};
    enum md_status status = MD_OK;
    for (int i = 0; !status && i < 4; i++)
        status = add_int(context, numbers[i], &in[1 + i]);
    if (!status)
        status = md__rw_node(context->rewrite, "Slice", in, 5, NULL, 0, made, 1, context->err);
    if (!status && context->memo_count < MEMO_MAX) {
        int i = context->memo_count++;
        context->memo[i].value = value;
        context->memo[i].made = *made;
        context->memo[i].part = *part;
    }
    return status;
}

/* ---- through one node: inputs are cut, then the node stands there anew ---- */

static enum md_status put(struct context *context, const struct md_node *node, const int *in,
                          const struct md_attr *attrs, int attr_count, int *made)
{
    if (md_op_info(node->op)->body)
        return md__rw_fused(context->rewrite, node->op, in, node->in_count, attrs, attr_count, made,
                            context->err);
    return md__rw_node(context->rewrite, md_op_info(node->op)->name, in, node->in_count, attrs,
                       attr_count, made, 1, context->err);
}

/* Cuts the inputs of the mask, which have the output's sizes along the axis. */
static enum md_status cut_inputs(struct context *context, const struct md_node *node,
                                 struct part part, unsigned mask, int *in)
{
    enum md_status status = MD_OK;
    for (int i = 0; i < node->in_count; i++)
        in[i] = node->in[i];
    for (int i = 0; !status && i < node->in_count; i++)
        if (in[i] != MD_NONE && mask & 1u << i)
            status = cut(context, node->in[i], part, &in[i]);
    return status;
}

/* Operands of fewer axes, or of size 1, are left to broadcast. */
static enum md_status cut_elementwise(struct context *context, const struct md_node *node,
                                      struct part part, int *made)
{
    const struct md__rewrite *rewrite = context->rewrite;
    int in[INPUTS_MAX], rank = md__rw_rank(rewrite, node->out[0]);
    int64_t size = md__rw_dim(rewrite, node->out[0], part.axis);
    enum md_status status = MD_OK;
    for (int i = 0; !status && i < node->in_count; i++) {
        in[i] = node->in[i];
        int own = in[i] == MD_NONE ? -1 : md__rw_rank(rewrite, in[i]);
        struct part there = part;
        there.axis -= rank - own;
        int64_t dim = own < 0 || there.axis < 0 ? 1 : md__rw_dim(rewrite, in[i], there.axis);
        if (dim == size && dim != 1)
            status = cut(context, node->in[i], there, &in[i]);
    }
    return status ? status : put(context, node, in, node->attrs, node->attr_count, made);
}

struct conv_axis {
    int64_t kernel, stride, dilation, before;
};

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/*
 * What the part needs of the input, and the convolution over it: taps and strides are counted in
 * the part's own steps. False: nothing but padding.
 */
static bool cut_axis(const struct conv_axis *axis, const struct part *part, int64_t size,
                     struct part *input, struct conv_axis *made, int64_t *after)
{
    int64_t hop = part->step * axis->stride;
    int64_t step = part->count == 1    ? axis->kernel == 1 ? 1 : axis->dilation
                   : axis->kernel == 1 ? hop
                                       : common_divisor(hop, axis->dilation);
    int64_t low = part->start * axis->stride - axis->before;
    int64_t span = (part->count - 1) * hop + (axis->kernel - 1) * axis->dilation;
    int64_t first = low < 0 ? (-low + step - 1) / step : 0, last = span / step;
    if (low > size - 1 || low + first * step > size - 1)
        return false;
    int64_t inside = (size - 1 - low) / step;
    *after = inside < last ? last - inside : 0;
    *input = (struct part){.axis = part->axis,
                           .start = low + first * step,
                           .step = step,
                           .count = last - *after - first + 1};
    *made = (struct conv_axis){.kernel = axis->kernel,
                               .stride = part->count == 1 ? 1 : hop / step,
                               .dilation = axis->kernel == 1 ? 1 : axis->dilation / step,
                               .before = first};
    return input->count > 0;
}

static enum md_status cut_conv(struct context *context, const struct md_node *node,
                               struct part part, int *made)
{
    const struct md__rewrite *rewrite = context->rewrite;
    struct md_attr attrs[ATTRS_MAX + 3];
    int64_t pads[2 * AXES_MAX], strides[AXES_MAX], dilations[AXES_MAX], after = 0;
    int axes = md__rw_rank(rewrite, node->out[0]) - 2, k = part.axis - 2, count = 0;
    int in[INPUTS_MAX];
    const char *automatic = md_node_string(node, "auto_pad", "NOTSET");
    bool notset = strcmp(automatic, "NOTSET") == 0;
    *made = MD_NONE;
    if (axes < 1 || axes > AXES_MAX || k < 0 || (!notset && strcmp(automatic, "VALID") != 0))
        return MD_OK;
    for (int i = 0; i < axes; i++) {
        strides[i] = md_node_ints_at(node, "strides", i, 1);
        dilations[i] = md_node_ints_at(node, "dilations", i, 1);
        pads[i] = notset ? md_node_ints_at(node, "pads", i, 0) : 0;
        pads[axes + i] = notset ? md_node_ints_at(node, "pads", axes + i, 0) : 0;
    }
    int64_t kernel = md__rw_dim(rewrite, node->in[1], part.axis);
    int64_t size = md__rw_dim(rewrite, node->in[0], part.axis);
    const struct conv_axis axis = {kernel, strides[k], dilations[k], pads[k]};
    struct conv_axis own;
    struct part input;
    if (kernel < 1 || size < 1 || !cut_axis(&axis, &part, size, &input, &own, &after))
        return MD_OK;
    strides[k] = own.stride;
    dilations[k] = own.dilation;
    pads[k] = own.before;
    pads[axes + k] = after;
    for (int i = 0; i < node->attr_count; i++)
        if (strcmp(node->attrs[i].name, "pads") != 0 &&
            strcmp(node->attrs[i].name, "auto_pad") != 0 &&
            strcmp(node->attrs[i].name, "strides") != 0 &&
            strcmp(node->attrs[i].name, "dilations") != 0)
            attrs[count++] = node->attrs[i];
    attrs[count++] = MD_INTS_ATTR("strides", strides, axes);
    attrs[count++] = MD_INTS_ATTR("dilations", dilations, axes);
    attrs[count++] = MD_INTS_ATTR("pads", pads, 2 * axes);
    enum md_status status = cut_inputs(context, node, part, 1u << 3, in);
    if (!status)
        status = cut(context, node->in[0], input, &in[0]);
    return status ? status : put(context, node, in, attrs, count, made);
}

static bool is_elementwise(enum md_op op)
{
    for (size_t i = 0; i < sizeof elementwise / sizeof *elementwise; i++)
        if (elementwise[i] == op)
            return true;
    return false;
}

/* Inputs to cut along with the output, in products and norms, which only mix the last axes. */
static unsigned cut_mask(const struct md__rewrite *rewrite, const struct md_node *node, int axis)
{
    int rank = md__rw_rank(rewrite, node->out[0]), first = rank - 1;
    bool norm = node->op == MD_OP_LAYER_NORM || node->op == MD_OP_RMS_NORM;
    if (md__rw_rank(rewrite, node->in[0]) != rank)
        return 0;
    if (norm) {
        first = (int)md_node_int(node, "axis", -1);
        first += first < 0 ? rank : 0;
        for (int i = 1; i < node->in_count; i++)
            if (node->in[i] != MD_NONE && md__rw_rank(rewrite, node->in[i]) > rank - first)
                return 0;
    } else if (md__rw_rank(rewrite, node->in[1]) != 2)
        return 0;
    return axis < first ? 1u << 0 | (node->op == MD_OP_LINEAR ? 1u << 3 : 0) : 0;
}

/* The node with its output cut; MD_NONE in *made: it cannot be. */
static enum md_status cut_through(struct context *context, const struct md_node *node,
                                  struct part part, int *made)
{
    int in[INPUTS_MAX];
    bool conv = node->op == MD_OP_CONV || node->op == MD_OP_FUSED_CONV;
    *made = MD_NONE;
    if (node->out_count != 1 || node->in_count > INPUTS_MAX || node->attr_count > ATTRS_MAX)
        return MD_OK;
    if (is_elementwise(node->op))
        return cut_elementwise(context, node, part, made);
    if (conv) {
        enum md_status status = cut_conv(context, node, part, made);
        context->gained |= !status && *made != MD_NONE;
        return status;
    }
    bool product = node->op == MD_OP_LINEAR || node->op == MD_OP_MATMUL;
    if (!product && node->op != MD_OP_LAYER_NORM && node->op != MD_OP_RMS_NORM)
        return MD_OK;
    unsigned mask = cut_mask(context->rewrite, node, part.axis);
    if (!mask)
        return MD_OK;
    enum md_status status = cut_inputs(context, node, part, mask, in);
    if (!status)
        status = put(context, node, in, node->attrs, node->attr_count, made);
    context->gained |= !status && product && *made != MD_NONE;
    return status;
}

/* The part of the value: of what makes it, where nobody else reads it, or a slice of it. */
static enum md_status cut(struct context *context, int value, struct part part, int *made)
{
    const struct md_node *maker = md__rw_sole_maker(context->rewrite, value);
    enum md_status status = MD_OK;
    *made = value;
    if (is_whole(context, value, &part))
        return MD_OK;
    *made = MD_NONE;
    if (maker && context->depth < DEPTH_MAX) {
        const struct md_node node = *maker;
        context->depth++;
        status = cut_through(context, &node, part, made);
        context->depth--;
    }
    return !status && *made == MD_NONE ? slice(context, value, &part, made) : status;
}

/* ---- the pass ---- */

static bool one_int(const struct md__rewrite *rewrite, const struct md_node *node, int i,
                    int64_t *number)
{
    int value = md__body_in(node, i);
    return value == MD_NONE || md__rw_ints(rewrite, value, number, 1) == 1;
}

/* A Slice of one axis going up, or a Gather of one number. */
static bool read_part(const struct md__rewrite *rewrite, const struct md_node *node,
                      struct part *part)
{
    int rank = md__rw_rank(rewrite, node->in[0]);
    int64_t start = 0, end = 0, axis = 0, step = 1;
    bool gathers = node->op == MD_OP_GATHER, good = one_int(rewrite, node, 1, &start);
    const struct md_tensor *index = md__rw_constant(rewrite, node->in[1]);
    if (gathers) {
        axis = md_node_int(node, "axis", 0);
        good =
            index && md_tensor_count(index) == 1 && index->shape.rank < 2 && index->dtype == MD_I64;
        start = good ? *(const int64_t *)index->data : 0;
    } else
        good = good && one_int(rewrite, node, 2, &end) && one_int(rewrite, node, 3, &axis) &&
               one_int(rewrite, node, 4, &step);
    axis += axis < 0 ? rank : 0;
    if (!good || axis < 0 || axis >= rank || step < 1 || step > INT32_MAX)
        return false;
    int64_t size = md__rw_dim(rewrite, node->in[0], (int)axis);
    start += start < 0 ? size : 0;
    start = start < 0 ? 0 : start;
    end = gathers ? start + 1 : end < 0 ? end + size : end > size ? size : end;
    part->axis = (int)axis;
    part->start = start;
    part->step = step;
    part->count = end > start ? (end - start + step - 1) / step : 0;
    return size > 0 && end <= size && part->count > 0 && part->count < size;
}

static enum md_status rule(struct md__rewrite *rewrite, int n, void *pass, struct md_error *err)
{
    struct context *context = pass;
    const struct md_node node = rewrite->graph->nodes[n];
    struct part part;
    int made, before = context->memo_count;
    if ((node.op != MD_OP_SLICE && node.op != MD_OP_GATHER) || rewrite->facts->count != 1 ||
        !md__rw_sole_maker(rewrite, node.in[0]) || !read_part(rewrite, &node, &part))
        return MD_OK;
    context->rewrite = rewrite;
    context->err = err;
    context->gained = false;
    enum md_status status = cut(context, node.in[0], part, &made);
    bool drops = node.op == MD_OP_GATHER && md__rw_rank(rewrite, node.in[1]) == 0;
    if (!status && context->gained && drops) {
        int in[2] = {made};
        status = add_int(context, part.axis, &in[1]);
        if (!status)
            status = md__rw_node(rewrite, "Squeeze", in, 2, NULL, 0, &made, 1, err);
    }
    bool done = !status && context->gained && md__rw_replace(rewrite, n, &made);
    if (!status && !context->gained)
        md__rw_undo(rewrite);
    if (!done)
        context->memo_count = before;
    return status;
}

enum md_status md__pass_slice(struct md_graph *graph, const struct md_executable_options *options,
                              struct md_pass_report *report, struct md_error *err)
{
    enum md_status status = MD_OK;
    int count = md__sizes_are_fixed(graph);
    for (int round = 0; !status && count && round < ROUNDS_MAX; round++) {
        struct context context = {0};
        status = md__rewrite_run(graph, options, report, rule, &context, &count, err);
    }
    return status;
}
