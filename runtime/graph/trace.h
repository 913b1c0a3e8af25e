/*
 * A trace: what every value of a graph is for concrete input shapes. Dtype, shape, and the contents
 * of those small values that follow from constants and shapes alone (Shape -> Gather -> Concat ->
 * Reshape chains, masks made from Range): they are computed here with the reference kernels, once,
 * and nodes that only make such values are never scheduled.
 */
#ifndef MD_GRAPH_TRACE_H
#define MD_GRAPH_TRACE_H

#include "graph/evaluate.h"

#define MD_KNOWN_VALUE_BYTES ((size_t)256 << 10) /* of one value made while planning */
#define MD_KNOWN_TOTAL_BYTES ((size_t)8 << 20)   /* of one plan */
#define MD_KNOWN_FLOPS       1e8                 /* spent on one plan */

struct md_trace {
    struct md_value_info *values; /* one per graph value; `known` set also for constants */
    struct md_tensor *known;      /* owned results; data NULL where there is none */
    size_t known_bytes;
    struct md_plan_report spent; /* on contents */
    int value_count;
};

/* The sizes of a graph's symbols, from input shapes. `sizes` has graph->symbol_count places. */
enum md_status md__symbols_bind(const struct md_graph *graph, const struct md_shape *shapes,
                                int64_t *sizes, struct md_error *err);

/* Input shapes with every symbol at its sample size s, or at 2 s + 1 when `larger`. */
void md__sample_shapes(const struct md_graph *graph, bool larger, struct md_shape *shapes);

/* shapes[i] belongs to graph input i and is concrete. On failure the trace is empty. */
enum md_status md__trace_init(struct md_trace *trace, const struct md_graph *graph,
                              const struct md_shape *shapes, const struct md_backend *reference,
                              struct md_pool *pool, struct md_error *err);
void md__trace_fini(struct md_trace *trace);

/*
 * The tensors of a node's inputs as kernels see them while planning: dtype and shape, data only for
 * the graph's own constants; with `contents` also for values that the trace computed.
 */
void md__trace_inputs(const struct md_trace *trace, const struct md_graph *graph,
                      const struct md_node *node, bool contents, struct md_tensor *in);

/* What the trace knows of a node's inputs and outputs, into arrays as long as the node's. */
void md__trace_infos(const struct md_trace *trace, const int *values, int count,
                     struct md_value_info *infos);

/* Every output's contents are in the trace: the node need not run. */
bool md__trace_knows(const struct md_trace *trace, const struct md_node *node);

#endif
