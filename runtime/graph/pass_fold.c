/*
 * Constant folding: a node whose inputs are all constants is computed once, by the reference
 * kernels, and its outputs become constants. Transposed weights, concatenated heads and sigmoids of
 * parameters vanish this way.
 *
 * A cap keeps a small file from unfolding into gigabytes: larger results stay computed at run time.
 * A node that cannot be computed (no kernel, wrong shapes) also stays, so that its error appears
 * where it belongs, in planning.
 */
#include <stdlib.h>

#include "graph/evaluate.h"
#include "graph/pass.h"

#define FOLD_VALUE_BYTES ((size_t)64 << 20)
#define FOLD_TOTAL_BYTES ((size_t)1 << 30)
#define FOLD_FLOPS       1e9 /* of the whole graph: a second or two of reference kernels */

struct folding {
    struct md_graph *graph;
    const struct md_executable_options *options;
    struct md_node_room room;
    struct md_plan_report spent;
    size_t bytes;
};

static bool all_constant(const struct md_graph *graph, const struct md_node *node)
{
    for (int i = 0; i < node->in_count; i++)
        if (node->in[i] != MD_NONE && !graph->values[node->in[i]].constant.data)
            return false;
    return true;
}

/* Shows the node's inputs to the room and says whether computing it stays within the limits. */
static bool affordable(struct folding *folding, const struct md_node *node)
{
    struct md_node_room *room = &folding->room;
    struct md_plan_report cost = folding->spent;
    for (int i = 0; i < node->in_count; i++) {
        int v = node->in[i];
        room->in[i] = v == MD_NONE ? (struct md_tensor){0} : folding->graph->values[v].constant;
        room->in_info[i] = (struct md_value_info){
            .dtype = room->in[i].dtype, .shape = room->in[i].shape, .known = room->in[i].data};
    }
    if (md__infer_node(node, room->in_info, room->out_info, NULL))
        return false;
    md__node_cost(node, room->in_info, room->out_info, &cost);
    if (cost.flops > FOLD_FLOPS)
        return false;
    folding->spent = cost;
    return true;
}

/* Computes the node; true when its outputs are constants now. */
static bool fold_node(struct folding *folding, const struct md_node *node)
{
    const struct md_executable_options *options = folding->options;
    struct md_graph *graph = folding->graph;
    struct md_node_room *room = &folding->room;
    size_t most = FOLD_TOTAL_BYTES - folding->bytes;
    if (!affordable(folding, node) ||
        md__evaluate_node(options->reference, options->pool, node, room->in, room->in, room->out,
                          most < FOLD_VALUE_BYTES ? most : FOLD_VALUE_BYTES, NULL))
        return false;
    for (int i = 0; i < node->out_count; i++) {
        struct md_value *value = &graph->values[node->out[i]];
        value->constant = room->out[i];
        value->dtype = room->out[i].dtype;
        value->shape = room->out[i].shape;
        value->producer = MD_NONE;
        folding->bytes += md_tensor_bytes(&room->out[i]);
    }
    return true;
}

enum md_status md__pass_fold(struct md_graph *graph, const struct md_executable_options *options,
                             struct md_pass_report *report, struct md_error *err)
{
    struct folding folding = {.graph = graph, .options = options};
    bool *keep = calloc((size_t)graph->node_count + 1, sizeof *keep);
    enum md_status status = keep ? md__node_room_init(&folding.room, graph, err)
                                 : md_fail(err, MD_ERR_MEMORY, "out of memory");
    if (status)
        goto out;
    for (int n = 0; n < graph->node_count; n++) {
        const struct md_node *node = &graph->nodes[n];
        keep[n] = !all_constant(graph, node) || !fold_node(&folding, node);
        report->nodes_folded += !keep[n];
    }
    status = md__graph_compact(graph, keep, err);
out:
    md__node_room_fini(&folding.room);
    free(keep);
    return status;
}
