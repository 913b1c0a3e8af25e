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

static bool all_constant(const struct md_graph *graph, const struct md_node *node)
{
    for (int i = 0; i < node->in_count; i++)
        if (node->in[i] != MD_NONE && !graph->values[node->in[i]].constant.data)
            return false;
    return true;
}

/* Computes the node; true when its outputs are constants now. */
static bool fold_node(struct md_graph *graph, const struct md_node *node,
                      const struct md_executable_options *options, struct md_node_room *room,
                      size_t *bytes)
{
    size_t most = FOLD_TOTAL_BYTES - *bytes;
    for (int i = 0; i < node->in_count; i++)
        room->in[i] =
            node->in[i] == MD_NONE ? (struct md_tensor){0} : graph->values[node->in[i]].constant;
    if (md__evaluate_node(options->reference, options->pool, node, room->in, room->in, room->out,
                          most < FOLD_VALUE_BYTES ? most : FOLD_VALUE_BYTES, NULL))
        return false;
    for (int i = 0; i < node->out_count; i++) {
        struct md_value *value = &graph->values[node->out[i]];
        value->constant = room->out[i];
        value->dtype = room->out[i].dtype;
        value->shape = room->out[i].shape;
        value->producer = MD_NONE;
        *bytes += md_tensor_bytes(&room->out[i]);
    }
    return true;
}

enum md_status md__pass_fold(struct md_graph *graph, const struct md_executable_options *options,
                             struct md_pass_report *report, struct md_error *err)
{
    struct md_node_room room = {0};
    size_t bytes = 0;
    bool *keep = calloc((size_t)graph->node_count + 1, sizeof *keep);
    enum md_status status =
        keep ? md__node_room_init(&room, graph, err) : md_fail(err, MD_ERR_MEMORY, "out of memory");
    if (status)
        goto out;
    for (int n = 0; n < graph->node_count; n++) {
        const struct md_node *node = &graph->nodes[n];
        keep[n] = !all_constant(graph, node) || !fold_node(graph, node, options, &room, &bytes);
        report->nodes_folded += !keep[n];
    }
    status = md__graph_compact(graph, keep, err);
out:
    md__node_room_fini(&room);
    free(keep);
    return status;
}
