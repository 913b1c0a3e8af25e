/*
 * Channels last: convolutions and what lies between them work on tensors [N, D.., C], where the
 * channels of one place lie side by side. ONNX has [N, C, D..].
 *
 * One walk over the nodes. A value may exist in either form, and is turned when somebody first
 * needs the form that is not there; so transposes stand only where runs begin and end, and pairs
 * that would undo each other never arise. Three tables (channels_last.h) say what has a form for
 * channels last: operators that have an operator of their own there (`swaps`), elementwise ones,
 * and those whose axes just have to be renamed (channels_last_axes.c). Convolutions lead, they
 * always change; the others follow when what they read is there already. A Transpose of the graph
 * that turns a value one way or the other becomes another name for it.
 *
 * Runs after lowering: regions have served their purpose and are forgotten. Ranks and dtypes come
 * from a trace at sample sizes; kernels must not look at more than those, weights and attributes.
 */
#include <stdlib.h>
#include <string.h>

#include "graph/body.h"
#include "graph/channels_last.h"
#include "graph/channels_last_internal.h"
#include "graph/graph_internal.h"
#include "graph/rewrite.h"

#define CONSTANT_BYTES_MAX ((size_t)1 << 30)
#define TRIES              3

static bool is_elementwise(enum md_op op)
{
    bool found = false;
    for (size_t i = 0; i < sizeof elementwise / sizeof *elementwise; i++)
        found |= elementwise[i] == op;
    return found;
}

static int stands_for(const struct turning *turning, int value)
{ /* new values stand for themselves */
    return value >= 0 && value < turning->count ? turning->same[value] : value;
}

int md__turning_rank(const struct turning *turning, int value)
{
    const struct md_value_info *info = &turning->trace.values[value];
    return md__trace_sure(&turning->trace, value) ? info->shape.rank : -1;
}

enum md_status md__turning_append(struct turning *turning, const struct md_node *node,
                                  struct md_error *err)
{
    struct md_node own = *node;
    int *in = md_arena_array(&turning->graph->arena, (size_t)node->in_count + 1, sizeof *in);
    if (!in)
        return md_fail(err, MD_ERR_MEMORY, "graph is too large");
    for (int i = 0; i < node->in_count; i++)
        in[i] = stands_for(turning, node->in[i]);
    own.in = in;
    own.region = MD_NONE;
    return md__graph_append(turning->graph, &own, err);
}

static enum md_status add_transpose(struct turning *turning, const char *name, int from, int to,
                                    int rank, bool to_last, struct md_error *err)
{
    struct md_arena *arena = &turning->graph->arena;
    struct md_attr *attr = md_arena_array(arena, 1, sizeof *attr);
    int64_t *perm = md_arena_array(arena, (size_t)rank, sizeof *perm);
    int *ids = md_arena_array(arena, 2, sizeof *ids);
    if (!attr || !perm || !ids)
        return md_fail(err, MD_ERR_MEMORY, "graph is too large");
    md__layout_perm(rank, to_last, perm);
    *attr = (struct md_attr)MD__INTS("perm", rank, perm);
    ids[0] = from;
    ids[1] = to;
    const struct md_node node = {.op = MD_OP_TRANSPOSE,
                                 .name = name,
                                 .in = ids,
                                 .in_count = 1,
                                 .out = ids + 1,
                                 .out_count = 1,
                                 .attrs = attr,
                                 .attr_count = 1};
    return md__turning_append(turning, &node, err);
}

/* A constant turned here and now; one of fewer axes gets leading ones. */
static enum md_status turn_constant(struct turning *turning, int value, int rank, int *turned,
                                    struct md_error *err)
{
    struct md_tensor wide = turning->graph->values[value].constant, made = {0};
    int64_t perm[MD_RANK_MAX];
    int lead = rank - wide.shape.rank;
    for (int i = rank - 1; i >= 0; i--)
        wide.shape.dim[i] = i < lead ? 1 : wide.shape.dim[i - lead];
    wide.shape.rank = rank;
    md__layout_perm(rank, true, perm);
    const struct md_attr attr = MD__INTS("perm", rank, perm);
    const struct md_node node = {.op = MD_OP_TRANSPOSE,
                                 .name = "",
                                 .in = &value,
                                 .in_count = 1,
                                 .out = &value,
                                 .out_count = 1,
                                 .attrs = &attr,
                                 .attr_count = 1};
    enum md_status status = md__evaluate_node(turning->options->reference, turning->options->pool,
                                              &node, &wide, &wide, &made, CONSTANT_BYTES_MAX, err);
    if (!status)
        status = md_graph_constant(turning->graph, "", &made, turned, err);
    md_tensor_unref(&made);
    return status;
}

/* The value with channels last. */
static enum md_status need_last(struct turning *turning, int value, int rank, int *turned,
                                struct md_error *err)
{
    struct md_graph *graph = turning->graph;
    if (graph->values[value].constant.data)
        return turn_constant(turning, value, rank, turned, err);
    enum md_status status = MD_OK;
    if (turning->last[value] == MD_NONE) {
        status = md__graph_value(graph, "", &turning->last[value], err);
        if (!status)
            status = add_transpose(turning, graph->values[value].name, value, turning->last[value],
                                   rank, true, err);
    }
    *turned = turning->last[value];
    return status;
}

static enum md_status need_first(struct turning *turning, int value, struct md_error *err)
{
    if (value == MD_NONE || value >= turning->count || turning->first[value])
        return MD_OK;
    turning->first[value] = true;
    return add_transpose(turning, turning->graph->values[value].name, turning->last[value], value,
                         md__turning_rank(turning, value), false, err);
}

/* Outputs that exist with channels last only, from now on. */
static enum md_status put_outputs(struct turning *turning, struct md_node *node,
                                  struct md_error *err)
{
    enum md_status status = MD_OK;
    int *out = md_arena_array(&turning->graph->arena, (size_t)node->out_count, sizeof *out);
    if (!out)
        return md_fail(err, MD_ERR_MEMORY, "graph is too large");
    for (int i = 0; !status && i < node->out_count; i++) {
        const char *name = turning->graph->values[node->out[i]].name;
        status = md__graph_value(turning->graph, name, &out[i], err);
        turning->last[node->out[i]] = out[i];
        turning->first[node->out[i]] = false;
    }
    node->out = out;
    return status;
}

enum md_status md__turning_read(struct turning *turning, struct md_node *node, int rank,
                                unsigned inputs, struct md_error *err)
{
    enum md_status status = MD_OK;
    int *in = md_arena_array(&turning->graph->arena, (size_t)node->in_count + 1, sizeof *in);
    if (!in)
        return md_fail(err, MD_ERR_MEMORY, "graph is too large");
    for (int i = 0; !status && i < node->in_count; i++) {
        int value = node->in[i];
        bool turned = value != MD_NONE && (i < 32 ? inputs >> i & 1 : inputs == ~0u);
        in[i] = value;
        status =
            turned ? need_last(turning, value, rank, &in[i], err) : need_first(turning, value, err);
    }
    node->in = in;
    return status;
}

enum md_status md__turning_put(struct turning *turning, const struct md_node *node, int rank,
                               unsigned inputs, struct md_error *err)
{
    struct md_node own = *node;
    enum md_status status = md__turning_read(turning, &own, rank, inputs, err);
    if (!status)
        status = put_outputs(turning, &own, err);
    return status ? status : md__turning_append(turning, &own, err);
}

static struct md_shape turned_shape(const struct md_shape *shape)
{
    struct md_shape made = *shape;
    int64_t perm[MD_RANK_MAX];
    md__layout_perm(shape->rank, true, perm);
    for (int i = 0; i < shape->rank; i++)
        made.dim[i] = shape->dim[perm[i]];
    return made;
}

bool md__turning_has_kernel(struct turning *turning, const struct md_node *node, unsigned inputs)
{
    const struct md_executable_options *options = turning->options;
    if (!options->backend->kernels[node->op] ||
        md__is_listed(options->passes_off, strchr(md_op_info(node->op)->name, '.') + 1))
        return false;
    md__trace_inputs(&turning->trace, node, false, turning->in);
    for (int i = 0; i < node->in_count; i++) {
        if (node->in[i] != MD_NONE && !md__trace_sure(&turning->trace, node->in[i]))
            return false;
        if (node->in[i] != MD_NONE && (inputs >> i & 1))
            turning->in[i].shape = turned_shape(&turning->in[i].shape);
    }
    return md__kernel_find(options->backend, node, turning->in) != NULL;
}

bool md__turning_follows(const struct turning *turning, const struct md_node *node)
{
    for (int i = 0; i < node->in_count; i++)
        if (node->in[i] != MD_NONE && !turning->first[node->in[i]])
            return true;
    return false;
}

static enum md_status try_swap(struct turning *turning, const struct md_node *node, bool *done,
                               struct md_error *err)
{
    for (size_t i = 0; i < sizeof swaps / sizeof *swaps; i++) {
        const struct swap *swap = &swaps[i];
        if (swap->op != node->op || !(swap->leads || md__turning_follows(turning, node)))
            continue;
        struct md_node own = *node;
        own.op = swap->last;
        int rank = md__turning_rank(turning, node->in[0]);
        if (rank < 3 || !md__turning_has_kernel(turning, &own, swap->inputs))
            continue;
        *done = true;
        return md__turning_put(turning, &own, rank, swap->inputs, err);
    }
    return MD_OK;
}

/* All inputs are of this rank, or constants: small ones of fewer axes and scalars. */
static bool inputs_fit(const struct turning *turning, const struct md_node *node, int rank,
                       unsigned *turned)
{
    bool levels = node->op == MD_OP_QUANTIZE_LINEAR || node->op == MD_OP_DEQUANTIZE_LINEAR;
    *turned = 0;
    for (int i = 0; i < node->in_count; i++) {
        int value = node->in[i];
        if (value == MD_NONE)
            continue;
        const struct md_tensor *constant = &turning->graph->values[value].constant;
        int own = constant->data ? constant->shape.rank : md__turning_rank(turning, value);
        if (own == 0 || (constant->data && md_tensor_count(constant) == 1 && own <= rank))
            continue;
        if (levels && i > 0) /* along an axis, which the attribute names */
            return false;
        if (i >= 31 || (own != rank && !(constant->data && own > 0 && own < rank)))
            return false;
        *turned |= 1u << i;
    }
    return true;
}

static enum md_status try_elementwise(struct turning *turning, const struct md_node *node,
                                      bool *done, struct md_error *err)
{
    unsigned turned;
    int rank = md__turning_rank(turning, node->out[0]);
    if (!is_elementwise(node->op) || rank < 3 || !md__turning_follows(turning, node) ||
        !inputs_fit(turning, node, rank, &turned))
        return MD_OK;
    *done = true;
    return md__turning_put(turning, node, rank, turned, err);
}

/* A Transpose that only turns a value, which has that form already. */
static void try_transpose(struct turning *turning, const struct md_node *node, bool *done)
{
    const struct md_attr *attr = md_node_attr(node, "perm");
    int rank = md__turning_rank(turning, node->in[0]), value = node->in[0];
    int64_t perm[MD_RANK_MAX];
    if (node->op != MD_OP_TRANSPOSE || !attr || rank < 3 || attr->count != rank)
        return;
    md__layout_perm(rank, true, perm);
    bool to_last = memcmp(perm, attr->ints, (size_t)rank * sizeof *perm) == 0;
    md__layout_perm(rank, false, perm);
    bool to_first = memcmp(perm, attr->ints, (size_t)rank * sizeof *perm) == 0;
    if (to_last && turning->last[value] != MD_NONE) {
        turning->same[node->out[0]] = stands_for(turning, turning->last[value]);
        *done = true;
    } else if (to_first && turning->first[value]) {
        turning->last[node->out[0]] = value;
        turning->first[node->out[0]] = false;
        *done = true;
    } else if (to_last && turning->first[value]) {
        turning->last[value] = node->out[0]; /* from here on */
    }
}

/* The node as it is. */
static enum md_status put_first(struct turning *turning, const struct md_node *node,
                                struct md_error *err)
{
    enum md_status status = MD_OK;
    for (int i = 0; !status && i < node->in_count; i++)
        status = need_first(turning, node->in[i], err);
    return status ? status : md__turning_append(turning, node, err);
}

static enum md_status turn_node(struct turning *turning, const struct md_node *node,
                                struct md_error *err)
{
    bool done = false;
    try_transpose(turning, node, &done);
    enum md_status status = done ? MD_OK : try_swap(turning, node, &done, err);
    if (!status && !done)
        status = try_elementwise(turning, node, &done, err);
    if (!status && !done)
        status = md__turn_along_axes(turning, node, &done, err);
    return status || done ? status : put_first(turning, node, err);
}

static enum md_status turn_graph(struct turning *turning, struct md_error *err)
{
    struct md_graph *graph = turning->graph;
    const struct md_node *nodes = graph->nodes; /* stay where they are, in the arena */
    int count = graph->node_count;
    enum md_status status = MD_OK;
    graph->nodes = NULL;
    graph->node_count = graph->node_capacity = graph->region_count = 0;
    graph->region_open = MD_NONE;
    for (int n = 0; !status && n < count; n++)
        status = turn_node(turning, &nodes[n], err);
    for (int i = 0; !status && i < graph->output_count; i++) {
        int *value = &graph->outputs[i].value;
        status = need_first(turning, *value, err);
        *value = stands_for(turning, *value);
    }
    return status;
}

/* Sizes of symbols for the nth try: samples, then such that many a deep network accepts. */
static void sizes_for(const struct md_graph *graph, int n, struct md_tensor *inputs)
{
    md__sample_shapes(graph, false, inputs);
    for (int i = 0; n > 0 && i < graph->input_count; i++) {
        const struct md_shape *declared = &graph->values[graph->inputs[i].value].shape;
        for (int d = 0; d < declared->rank; d++)
            if (declared->dim[d] < 0)
                inputs[i].shape.dim[d] = n == 1 ? 64 : 1;
    }
}

/* *known: whether there are sizes that the graph can have. */
static enum md_status trace_graph(struct turning *turning, bool *known, struct md_error *err)
{
    const struct md_executable_options *options = turning->options;
    struct md_graph *graph = turning->graph;
    struct md_tensor *inputs = calloc((size_t)graph->input_count + 1, sizeof *inputs);
    enum md_status status = inputs ? MD_OK : md_fail(err, MD_ERR_MEMORY, "out of memory");
    *known = false;
    for (int n = 0; !status && !*known && n < TRIES; n++) {
        sizes_for(graph, n, inputs);
        status = md__trace_init(&turning->trace, graph, options->reference, options->pool, err);
        if (status)
            break;
        struct md_error cause;
        status = md__trace_all(&turning->trace, inputs, &turning->contents, &cause);
        *known = !status;
        if (*known)
            break;
        md__trace_fini(&turning->trace);
        md__contents_fini(&turning->contents);
        status = status == MD_ERR_MEMORY ? md_fail(err, status, "%s", cause.text) : MD_OK;
    }
    free(inputs);
    return status;
}

static bool has_leader(const struct turning *turning)
{
    const struct md_graph *graph = turning->graph;
    for (int n = 0; n < graph->node_count; n++)
        for (size_t i = 0; i < sizeof swaps / sizeof *swaps; i++)
            if (swaps[i].leads && swaps[i].op == graph->nodes[n].op &&
                turning->options->backend->kernels[swaps[i].last])
                return true;
    return false;
}

static enum md_status make_room(struct turning *turning, struct md_error *err)
{
    size_t count = (size_t)turning->graph->value_count + 1, inputs = 1;
    for (int n = 0; n < turning->graph->node_count; n++)
        if ((size_t)turning->graph->nodes[n].in_count > inputs)
            inputs = (size_t)turning->graph->nodes[n].in_count;
    turning->count = turning->graph->value_count;
    turning->last = malloc(count * sizeof *turning->last);
    turning->first = malloc(count * sizeof *turning->first);
    turning->same = malloc(count * sizeof *turning->same);
    turning->in = calloc(inputs, sizeof *turning->in);
    if (!turning->last || !turning->first || !turning->same || !turning->in)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    for (int v = 0; v < turning->count; v++) {
        turning->last[v] = MD_NONE;
        turning->first[v] = true;
        turning->same[v] = v;
    }
    return MD_OK;
}

enum md_status md__pass_channels_last(struct md_graph *graph,
                                      const struct md_executable_options *options,
                                      struct md_pass_report *report, struct md_error *err)
{
    struct turning turning = {.graph = graph, .options = options};
    bool known = false;
    if (!has_leader(&turning))
        return MD_OK;
    enum md_status status = make_room(&turning, err);
    if (!status)
        status = trace_graph(&turning, &known, err);
    if (!status && known)
        status = turn_graph(&turning, err);
    if (known) {
        md__trace_fini(&turning.trace);
        md__contents_fini(&turning.contents);
        md__facts_delete(report->facts); /* they know nothing of what is new */
        report->facts = NULL;
    }
    free(turning.in);
    free(turning.same);
    free(turning.first);
    free(turning.last);
    return status;
}
