/*
 * Branches that are decided: an If whose condition is a constant becomes the nodes of the branch
 * that it takes, among those around it. Exporters leave many of these behind; folding then goes on
 * through them, and plans need not stop there.
 */
#include <stdlib.h>
#include <string.h>

#include "graph/graph_internal.h"
#include "graph/pass.h"

/* The branch that the node will take whatever comes in; NULL when that is open. */
static const struct md_graph *taken_branch(const struct md_graph *graph, const struct md_node *node)
{
    if (node->op != MD_OP_IF)
        return NULL;
    const struct md_tensor *condition = &graph->values[node->in[0]].constant;
    if (!condition->data || condition->dtype != MD_BOOL || md_tensor_count(condition) != 1)
        return NULL;
    const struct md_attr *attr =
        md_node_attr(node, *(const uint8_t *)condition->data ? "then_branch" : "else_branch");
    if (!attr || attr->type != MD_ATTR_GRAPH || attr->graph->region_count ||
        attr->graph->input_count != node->in_count - 1 ||
        attr->graph->output_count < node->out_count)
        return NULL; /* making the executable will say what is wrong with it */
    return attr->graph;
}

/* A value of the graph for each value of the branch. */
static enum md_status map_values(struct md_graph *graph, const struct md_node *node,
                                 const struct md_graph *branch, int *map, struct md_error *err)
{
    enum md_status status = MD_OK;
    for (int v = 0; v < branch->value_count; v++)
        map[v] = MD_NONE;
    for (int i = 0; i < branch->input_count; i++)
        map[branch->inputs[i].value] = node->in[1 + i];
    for (int v = 0; !status && v < branch->value_count; v++) {
        const struct md_value *value = &branch->values[v];
        if (map[v] != MD_NONE)
            continue;
        status = value->constant.data
                     ? md_graph_constant(graph, value->name, &value->constant, &map[v], err)
                     : md__graph_value(graph, value->name, &map[v], err);
    }
    return status;
}

static int *map_ids(struct md_graph *graph, const int *ids, int count, const int *map)
{
    int *mapped = md_arena_array(&graph->arena, (size_t)count + 1, sizeof *mapped);
    for (int i = 0; mapped && i < count; i++)
        mapped[i] = ids[i] == MD_NONE ? MD_NONE : map[ids[i]];
    return mapped;
}

/* Writes the branch's nodes, then one that hands on each result, to `nodes`. */
static enum md_status expand(struct md_graph *graph, const struct md_node *node,
                             const struct md_graph *branch, struct md_node *nodes,
                             struct md_error *err)
{
    int *map = calloc((size_t)branch->value_count + 1, sizeof *map);
    enum md_status status = map ? map_values(graph, node, branch, map, err)
                                : md_fail(err, MD_ERR_MEMORY, "out of memory");
    for (int n = 0; !status && n < branch->node_count; n++) {
        const struct md_node *from = &branch->nodes[n];
        nodes[n] = *from; /* attributes and names stay in the branch, which lives as long */
        nodes[n].in = map_ids(graph, from->in, from->in_count, map);
        nodes[n].out = map_ids(graph, from->out, from->out_count, map);
        if (!nodes[n].in || !nodes[n].out)
            status = md_fail(err, MD_ERR_MEMORY, "out of memory");
    }
    for (int i = 0; !status && i < node->out_count; i++) {
        struct md_node *hand_on = &nodes[branch->node_count + i];
        *hand_on = (struct md_node){.op = MD_OP_IDENTITY,
                                    .name = node->name,
                                    .in = map_ids(graph, &branch->outputs[i].value, 1, map),
                                    .out = &node->out[i],
                                    .in_count = 1,
                                    .out_count = 1,
                                    .region = MD_NONE};
        if (!hand_on->in)
            status = md_fail(err, MD_ERR_MEMORY, "out of memory");
    }
    free(map);
    return status;
}

/* Nodes after all decided branches are in place; 0 when there are none, or too many. */
static int count_nodes(const struct md_graph *graph)
{
    int64_t count = 0;
    bool any = false;
    for (int n = 0; n < graph->node_count; n++) {
        const struct md_graph *branch = taken_branch(graph, &graph->nodes[n]);
        count += branch ? branch->node_count + graph->nodes[n].out_count : 1;
        any |= branch != NULL;
    }
    return any && count <= MD_GRAPH_NODES_MAX ? (int)count : 0;
}

static enum md_status put_in_place(struct md_graph *graph, int count, struct md_error *err)
{
    struct md_node *nodes = md_arena_array(&graph->arena, (size_t)count + 1, sizeof *nodes);
    enum md_status status = nodes ? MD_OK : md_fail(err, MD_ERR_MEMORY, "out of memory");
    int at = 0;
    for (int n = 0; !status && n < graph->node_count; n++) {
        const struct md_node *node = &graph->nodes[n];
        const struct md_graph *branch = taken_branch(graph, node);
        if (branch)
            status = expand(graph, node, branch, &nodes[at], err);
        else
            nodes[at] = *node;
        at += branch ? branch->node_count + node->out_count : 1;
    }
    if (status)
        return status;
    graph->nodes = nodes;
    graph->node_count = count;
    graph->node_capacity = count + 1;
    for (int n = 0; n < count; n++)
        for (int i = 0; i < nodes[n].out_count; i++)
            graph->values[nodes[n].out[i]].producer = n;
    return MD_OK;
}

enum md_status md__pass_branch(struct md_graph *graph, const struct md_executable_options *options,
                               struct md_pass_report *report, struct md_error *err)
{
    int count;
    enum md_status status = MD_OK;
    /* Regions are ranges of nodes; no front end makes both them and branches. */
    while (!status && !graph->region_count && (count = count_nodes(graph)) > 0) {
        status = put_in_place(graph, count, err);
        if (!status)
            status = md__pass_fold(graph, options, report, err); /* may decide further ones */
    }
    return status;
}
