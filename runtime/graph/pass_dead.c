/*
 * Dead code: nodes that no output needs are dropped, and constants that no remaining node reads
 * give their memory back. Regions have served their purpose by now and go too: their fused nodes
 * must not keep weights alive.
 */
#include <stdlib.h>

#include "graph/pass.h"

enum md_status md__pass_dead(struct md_graph *graph, const struct md_executable_options *options,
                             struct md_pass_report *report, struct md_error *err)
{
    (void)options;
    bool *needed = calloc((size_t)graph->value_count + 1, sizeof *needed);
    bool *keep = calloc((size_t)graph->node_count + 1, sizeof *keep);
    enum md_status status = MD_OK;
    if (!needed || !keep) {
        status = md_fail(err, MD_ERR_MEMORY, "out of memory");
        goto out;
    }
    for (int i = 0; i < graph->output_count; i++)
        needed[graph->outputs[i].value] = true;
    for (int n = graph->node_count - 1; n >= 0; n--) {
        const struct md_node *node = &graph->nodes[n];
        for (int i = 0; i < node->out_count; i++)
            keep[n] |= needed[node->out[i]];
        for (int i = 0; keep[n] && i < node->in_count; i++)
            if (node->in[i] != MD_NONE)
                needed[node->in[i]] = true;
        report->nodes_dead += !keep[n];
    }
    for (int v = 0; v < graph->value_count; v++)
        if (!needed[v])
            md_tensor_unref(&graph->values[v].constant);
    graph->region_count = 0;
    for (int n = 0; n < graph->node_count; n++)
        graph->nodes[n].region = MD_NONE;
    status = md__graph_compact(graph, keep, err);
out:
    free(needed);
    free(keep);
    return status;
}
