/*
 * The order of nodes. The format asks for one in which each node finds its inputs, but files in the
 * wild break it, so an order is looked for (Kahn's algorithm) when the file's own does not do; only
 * a cycle is refused.
 */
#include <string.h>

#include "model/onnx_build.h"

struct edge {
    int waiter, next; /* next: index of the producer's next edge, or -1 */
};

struct sorter {
    struct md__onnx_scope makers; /* names of outputs; value: the node's index */
    const struct md__onnx_node *nodes;
    int count;
    int *waits; /* by node: edges that lead to it */
    int *first; /* by node: its first edge, or -1 */
    struct edge *edges;
    int edge_count, edge_capacity;
    bool as_is; /* every edge leads on in the file */
};

static enum md_status add_edge(struct sorter *sorter, int maker, int waiter, struct md_error *err)
{
    if (sorter->edge_count == sorter->edge_capacity) {
        int larger = sorter->edge_capacity ? sorter->edge_capacity * 2 : 256;
        struct edge *copy = larger > INT32_MAX / 4 ? NULL
                                                   : md_arena_array(&sorter->makers.reader->arena,
                                                                    (size_t)larger, sizeof *copy);
        if (!copy)
            return md__onnx_no_memory(err);
        if (sorter->edge_count)
            memcpy(copy, sorter->edges, (size_t)sorter->edge_count * sizeof *copy);
        sorter->edges = copy;
        sorter->edge_capacity = larger;
    }
    sorter->edges[sorter->edge_count] = (struct edge){waiter, sorter->first[maker]};
    sorter->first[maker] = sorter->edge_count++;
    sorter->waits[waiter]++;
    sorter->as_is &= maker < waiter;
    return MD_OK;
}

/* Names that a subgraph makes itself hide those around it. */
static enum md_status note_own_names(struct md__onnx_scope *own, const struct md__onnx_graph *graph,
                                     struct md_error *err)
{
    enum md_status status = MD_OK;
    for (size_t i = 0; !status && i < graph->input_count; i++)
        if (!md__onnx_bound(own, graph->inputs[i].name))
            status = md__onnx_bind(own, graph->inputs[i].name, 0, err);
    for (size_t i = 0; !status && i < graph->initializer_count; i++)
        if (!md__onnx_bound(own, graph->initializers[i].name))
            status = md__onnx_bind(own, graph->initializers[i].name, 0, err);
    for (size_t i = 0; i < graph->node_count; i++)
        for (size_t k = 0; !status && k < graph->nodes[i].output_count; k++)
            if (!md__onnx_bound(own, graph->nodes[i].outputs[k]))
                status = md__onnx_bind(own, graph->nodes[i].outputs[k], 0, err);
    return status;
}

/* The waiter uses a name within the subgraphs whose own names are `own` (outermost: NULL). */
static enum md_status use(struct sorter *sorter, int waiter, const struct md__onnx_scope *own,
                          const char *name, struct md_error *err)
{
    int maker = MD_NONE;
    for (const struct md__onnx_scope *scope = own; scope; scope = scope->outer)
        if (md__onnx_bound(scope, name))
            return MD_OK;
    if (!name[0] || !md__onnx_bound(&sorter->makers, name))
        return MD_OK;
    enum md_status status = md__onnx_find(&sorter->makers, name, &maker, err);
    return status ? status : add_edge(sorter, maker, waiter, err);
}

static enum md_status use_inputs(struct sorter *sorter, int waiter, struct md__onnx_scope *own,
                                 const struct md__onnx_node *node, struct md_error *err);

static enum md_status use_graph(struct sorter *sorter, int waiter, struct md__onnx_scope *outer,
                                const struct md__onnx_graph *graph, struct md_error *err)
{
    struct md__onnx_scope own = {.reader = sorter->makers.reader, .outer = outer};
    enum md_status status = note_own_names(&own, graph, err);
    for (size_t i = 0; !status && i < graph->node_count; i++)
        status = use_inputs(sorter, waiter, &own, &graph->nodes[i], err);
    for (size_t i = 0; !status && i < graph->output_count; i++)
        status = use(sorter, waiter, &own, graph->outputs[i].name, err);
    return status;
}

static enum md_status use_inputs(struct sorter *sorter, int waiter, struct md__onnx_scope *own,
                                 const struct md__onnx_node *node, struct md_error *err)
{
    enum md_status status = MD_OK;
    for (size_t i = 0; !status && i < node->input_count; i++)
        status = use(sorter, waiter, own, node->inputs[i], err);
    for (size_t i = 0; !status && i < node->attr_count; i++)
        if (node->attrs[i].graph)
            status = use_graph(sorter, waiter, own, node->attrs[i].graph, err);
    return status;
}

/* Nodes without waits first, then those that they set free. */
static enum md_status make_order(struct sorter *sorter, int *order, struct md_error *err)
{
    int done = 0, ready = 0;
    for (int i = 0; i < sorter->count; i++)
        if (!sorter->waits[i])
            order[ready++] = i;
    for (; done < ready; done++)
        for (int e = sorter->first[order[done]]; e >= 0; e = sorter->edges[e].next)
            if (--sorter->waits[sorter->edges[e].waiter] == 0)
                order[ready++] = sorter->edges[e].waiter;
    if (ready == sorter->count)
        return MD_OK;
    int stuck = 0;
    while (!sorter->waits[stuck])
        stuck++;
    const struct md__onnx_node *node = &sorter->nodes[stuck];
    return md_fail(err, MD_ERR_CORRUPT, "%.60s \"%.60s\" waits for itself: the graph has a cycle",
                   node->op_type,
                   node->name[0] || !node->output_count ? node->name : node->outputs[0]);
}

static enum md_status note_makers(struct sorter *sorter, struct md_error *err)
{
    enum md_status status = MD_OK;
    for (int i = 0; i < sorter->count; i++) {
        const struct md__onnx_node *node = &sorter->nodes[i];
        sorter->first[i] = -1;
        for (size_t k = 0; !status && k < node->output_count; k++)
            if (node->outputs[k][0])
                status = md__onnx_bind(&sorter->makers, node->outputs[k], i, err);
    }
    return status;
}

enum md_status md__onnx_sort(struct md__onnx_reader *reader, const struct md__onnx_node *nodes,
                             size_t count, const int **order, struct md_error *err)
{
    struct sorter sorter = {
        .makers.reader = reader, .nodes = nodes, .count = (int)count, .as_is = true};
    *order = NULL;
    if (count > MD_GRAPH_NODES_MAX)
        return md_fail(err, MD_ERR_TOO_LARGE, "a graph has %zu nodes; the limit is %d", count,
                       MD_GRAPH_NODES_MAX);
    int *numbers = md_arena_array(&reader->arena, 3 * count, sizeof *numbers);
    if (!numbers)
        return md__onnx_no_memory(err);
    sorter.waits = numbers;
    sorter.first = numbers + count;
    enum md_status status = note_makers(&sorter, err);
    for (int i = 0; !status && i < sorter.count; i++)
        status = use_inputs(&sorter, i, NULL, &nodes[i], err);
    if (status || sorter.as_is)
        return status;
    *order = numbers + 2 * count;
    return make_order(&sorter, numbers + 2 * count, err);
}
