/*
 * Constant folding: a node whose inputs are all constants is computed once, by the reference
 * kernels, and its outputs become constants. Transposed weights, concatenated heads and sigmoids of
 * parameters vanish this way.
 *
 * Caps keep a small file from unfolding into gigabytes: results much larger than what they are made
 * from (ConstantOfShape, Expand, Tile) stay computed at run time.
 * A node that cannot be computed (no kernel, wrong shapes) also stays, so that its error appears
 * where it belongs, in planning.
 */
#include <stdlib.h>

#include "graph/evaluate.h"
#include "graph/pass.h"

#define FOLD_TOTAL_BYTES ((size_t)1 << 30)
/*
 * A result may be this many times as large as what it is made from (bytes become floats), and this
 * much more (masks, tables of positions).
 */
#define FOLD_GROWTH     4
#define FOLD_FREE_BYTES ((size_t)1 << 20)
#define FOLD_GROWN_BYTES                                                                           \
    ((size_t)256 << 20) /* of all results that are larger than their inputs                        \
                         */
#define FOLD_FLOPS 1e9  /* of the whole graph: a second or two of reference kernels */

struct folding {
    struct md_graph *graph;
    const struct md_executable_options *options;
    struct md_node_room room;
    struct md_plan_report spent;
    size_t bytes, grown_bytes;
};

static bool all_constant(const struct md_graph *graph, const struct md_node *node)
{
    if (md_op_is_random(node->op))
        return false;
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
    if (cost.flops > FOLD_FLOPS || !md__node_is_cheap(node, room->in_info, room->out_info))
        return false;
    folding->spent = cost;
    return true;
}

/* The input under another shape: it can share its memory. */
static bool renames(enum md_op op)
{
    return op == MD_OP_IDENTITY || op == MD_OP_RESHAPE || op == MD_OP_FLATTEN ||
           op == MD_OP_SQUEEZE || op == MD_OP_UNSQUEEZE;
}

/* Results in room->out; false when the node is to be left as it is. */
static bool compute(struct folding *folding, const struct md_node *node)
{
    const struct md_executable_options *options = folding->options;
    struct md_node_room *room = &folding->room;
    size_t given = 0, made = 0, most = FOLD_TOTAL_BYTES - folding->bytes;
    if (renames(node->op)) {
        room->out[0] = md_tensor_ref(&room->in[0]);
        room->out[0].shape = room->out_info[0].shape;
        return true;
    }
    for (int i = 0; i < node->in_count; i++)
        given += md_tensor_bytes(&room->in[i]);
    size_t own = given < FOLD_TOTAL_BYTES ? given * FOLD_GROWTH + FOLD_FREE_BYTES : most;
    if (md__evaluate_node(options->reference, options->pool, node, room->in, room->in, room->out,
                          own < most ? own : most, NULL))
        return false;
    for (int i = 0; i < node->out_count; i++)
        made += md_tensor_bytes(&room->out[i]);
    size_t grown = made > given ? made - given : 0;
    if (grown > FOLD_GROWN_BYTES - folding->grown_bytes) {
        md_tensors_unref(room->out, node->out_count);
        return false;
    }
    folding->grown_bytes += grown;
    folding->bytes += made;
    return true;
}

/* True when the node's outputs are constants now. */
static bool fold_node(struct folding *folding, const struct md_node *node)
{
    struct md_graph *graph = folding->graph;
    struct md_node_room *room = &folding->room;
    if (!affordable(folding, node) || !compute(folding, node))
        return false;
    for (int i = 0; i < node->out_count; i++) {
        struct md_value *value = &graph->values[node->out[i]];
        value->constant = room->out[i];
        value->dtype = room->out[i].dtype;
        value->shape = room->out[i].shape;
        value->producer = MD_NONE;
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
