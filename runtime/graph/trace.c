/* Symbols bound to sizes, then one walk over the nodes in order. */
#include "graph/trace.h"

#include <stdlib.h>
#include <string.h>

#include "graph/graph_internal.h"

/* The name of the first input before (i, d) that has this dimension: for the message of a conflict.
 */
static const char *first_user(const struct md_graph *graph, int64_t dim)
{
    for (int i = 0; i < graph->input_count; i++) {
        const struct md_shape *shape = &graph->values[graph->inputs[i].value].shape;
        for (int d = 0; d < shape->rank; d++)
            if (shape->dim[d] == dim)
                return graph->inputs[i].name;
    }
    return "?";
}

static enum md_status bind_input(const struct md_graph *graph, int i, const struct md_shape *shape,
                                 int64_t *sizes, struct md_error *err)
{
    const char *name = graph->inputs[i].name;
    const struct md_shape *declared = &graph->values[graph->inputs[i].value].shape;
    if (shape->rank < 0 || shape->rank > MD_RANK_MAX)
        return md_fail(err, MD_ERR_INVALID, "input \"%.60s\" has rank %d, allowed are 0 to %d",
                       name, shape->rank, MD_RANK_MAX);
    bool any = declared->rank == MD_RANK_UNKNOWN;
    if (!any && shape->rank != declared->rank)
        return md_fail(err, MD_ERR_INVALID, "input \"%.60s\" has rank %d, wanted %d", name,
                       shape->rank, declared->rank);
    for (int d = 0; d < shape->rank; d++) {
        int64_t want = any ? shape->dim[d] : declared->dim[d], have = shape->dim[d];
        if (have < 0)
            return md_fail(err, MD_ERR_INVALID, "input \"%.60s\" has dimension %lld", name,
                           (long long)have);
        if (want >= 0 && want != have)
            return md_fail(err, MD_ERR_INVALID,
                           "input \"%.60s\": dimension %d is %lld, wanted %lld", name, d,
                           (long long)have, (long long)want);
        if (want >= 0)
            continue;
        int64_t *size = &sizes[MD_SYMBOL_INDEX(want)];
        if (*size < 0)
            *size = have;
        if (*size != have)
            return md_fail(err, MD_ERR_INVALID,
                           "input \"%.60s\" has %s = %lld, but input \"%.60s\" has %lld", name,
                           graph->symbols[MD_SYMBOL_INDEX(want)], (long long)have,
                           first_user(graph, want), (long long)*size);
    }
    return MD_OK;
}

enum md_status md__symbols_bind(const struct md_graph *graph, const struct md_shape *shapes,
                                int64_t *sizes, struct md_error *err)
{
    enum md_status status = MD_OK;
    for (int k = 0; k < graph->symbol_count; k++)
        sizes[k] = -1;
    for (int i = 0; !status && i < graph->input_count; i++)
        status = bind_input(graph, i, &shapes[i], sizes, err);
    return status;
}

void md__sample_shapes(const struct md_graph *graph, bool larger, struct md_shape *shapes)
{
    for (int i = 0; i < graph->input_count; i++) {
        shapes[i] = graph->values[graph->inputs[i].value].shape;
        for (int d = 0; d < shapes[i].rank; d++) {
            if (shapes[i].dim[d] >= 0)
                continue;
            int64_t sample = graph->symbol_samples[MD_SYMBOL_INDEX(shapes[i].dim[d])];
            shapes[i].dim[d] = larger ? 2 * sample + 1 : sample;
        }
    }
}

void md__trace_inputs(const struct md_trace *trace, const struct md_graph *graph,
                      const struct md_node *node, bool contents, struct md_tensor *in)
{
    for (int i = 0; i < node->in_count; i++) {
        int value = node->in[i];
        in[i] = (struct md_tensor){0};
        if (value == MD_NONE)
            continue;
        in[i].dtype = trace->values[value].dtype;
        in[i].shape = trace->values[value].shape;
        in[i].data = contents ? (void *)(uintptr_t)trace->values[value].known
                              : graph->values[value].constant.data;
    }
}

void md__trace_infos(const struct md_trace *trace, const int *values, int count,
                     struct md_value_info *infos)
{
    for (int i = 0; i < count; i++)
        infos[i] = values[i] == MD_NONE ? (struct md_value_info){0} : trace->values[values[i]];
}

bool md__trace_knows(const struct md_trace *trace, const struct md_node *node)
{
    for (int i = 0; i < node->out_count; i++)
        if (!trace->values[node->out[i]].known)
            return false;
    return true;
}

/* Shape reads no contents, so its input may be unknown; its kernel only looks at the shape. */
static bool inputs_known(const struct md_trace *trace, const struct md_node *node)
{
    for (int i = 0; i < node->in_count && node->op != MD_OP_SHAPE; i++)
        if (node->in[i] != MD_NONE && !trace->values[node->in[i]].known)
            return false;
    return true;
}

/* Contents are computed while planning only as long as they are small and cheap. */
static bool within_limits(const struct md_trace *trace, const struct md_node *node,
                          const struct md_node_room *room)
{
    size_t bytes = trace->known_bytes;
    struct md_plan_report cost = trace->spent;
    for (int i = 0; i < node->out_count; i++) {
        size_t own = 0;
        if (md__shape_bytes(&room->out_info[i].shape, room->out_info[i].dtype, &own, NULL) ||
            own > MD_KNOWN_VALUE_BYTES)
            return false;
        bytes += own;
    }
    md__node_cost(node, room->in_info, room->out_info, &cost);
    return bytes <= MD_KNOWN_TOTAL_BYTES && cost.flops <= MD_KNOWN_FLOPS;
}

static enum md_status compute(struct md_trace *trace, const struct md_graph *graph,
                              const struct md_node *node, struct md_node_room *room,
                              const struct md_backend *reference, struct md_pool *pool,
                              struct md_error *err)
{
    static const char shape_only[1]; /* stands for the contents that Shape does not read */
    md__trace_inputs(trace, graph, node, true, room->in);
    if (node->op == MD_OP_SHAPE && !room->in[0].data)
        room->in[0].data = (void *)(uintptr_t)shape_only;
    /* A reference without this kernel leaves the node to be scheduled. */
    if (!md__kernel_find(reference, node, room->in))
        return MD_OK;
    enum md_status status = md__evaluate_node(reference, pool, node, room->in, room->in, room->out,
                                              MD_KNOWN_TOTAL_BYTES, err);
    if (status)
        return status;
    for (int i = 0; i < node->out_count; i++) {
        trace->known[node->out[i]] = room->out[i];
        trace->values[node->out[i]].known = room->out[i].data;
        trace->known_bytes += md_tensor_bytes(&room->out[i]);
    }
    return MD_OK;
}

static enum md_status trace_node(struct md_trace *trace, const struct md_graph *graph,
                                 const struct md_node *node, struct md_node_room *room,
                                 const struct md_backend *reference, struct md_pool *pool,
                                 struct md_error *err)
{
    md__trace_infos(trace, node->in, node->in_count, room->in_info);
    enum md_status status = md__infer_node(node, room->in_info, room->out_info, err);
    if (status == MD_ERR_PENDING)
        return md_fail(err, MD_ERR_UNSUPPORTED, "%s", err ? err->text : "");
    for (int i = 0; !status && i < node->out_count; i++)
        if (!md__shape_is_planned(&room->out_info[i].shape))
            status = md_fail(err, MD_ERR_UNSUPPORTED, "%s: the size of its result depends on data",
                             md_op_info(node->op)->name);
    if (status)
        return status;
    for (int i = 0; i < node->out_count; i++) {
        trace->values[node->out[i]] = room->out_info[i];
        trace->values[node->out[i]].known = NULL;
    }
    if (!inputs_known(trace, node) || !within_limits(trace, node, room))
        return MD_OK;
    md__node_cost(node, room->in_info, room->out_info, &trace->spent);
    return compute(trace, graph, node, room, reference, pool, err);
}

enum md_status md__trace_init(struct md_trace *trace, const struct md_graph *graph,
                              const struct md_shape *shapes, const struct md_backend *reference,
                              struct md_pool *pool, struct md_error *err)
{
    struct md_node_room room = {0};
    size_t count = (size_t)graph->value_count;
    *trace = (struct md_trace){.value_count = graph->value_count};
    trace->values = calloc(count + 1, sizeof *trace->values);
    trace->known = calloc(count + 1, sizeof *trace->known);
    enum md_status status = md__node_room_init(&room, graph, err);
    if (!status && (!trace->values || !trace->known))
        status = md_fail(err, MD_ERR_MEMORY, "out of memory");
    if (status)
        goto out;
    for (int v = 0; v < graph->value_count; v++)
        if (graph->values[v].constant.data)
            trace->values[v] = (struct md_value_info){.dtype = graph->values[v].dtype,
                                                      .shape = graph->values[v].shape,
                                                      .known = graph->values[v].constant.data};
    for (int i = 0; i < graph->input_count; i++)
        trace->values[graph->inputs[i].value] = (struct md_value_info){
            .dtype = graph->values[graph->inputs[i].value].dtype, .shape = shapes[i]};
    for (int i = 0; !status && i < graph->input_count; i++) {
        size_t bytes;
        status =
            md__shape_bytes(&shapes[i], trace->values[graph->inputs[i].value].dtype, &bytes, err);
        if (status)
            md_error_context(err, "input \"%.60s\"", graph->inputs[i].name);
    }
    for (int n = 0; !status && n < graph->node_count; n++)
        status = trace_node(trace, graph, &graph->nodes[n], &room, reference, pool, err);
out:
    md__node_room_fini(&room);
    if (status)
        md__trace_fini(trace);
    return status;
}

void md__trace_fini(struct md_trace *trace)
{
    for (int v = 0; trace->known && v < trace->value_count; v++)
        md_tensor_unref(&trace->known[v]);
    free(trace->known);
    free(trace->values);
    *trace = (struct md_trace){0};
}
