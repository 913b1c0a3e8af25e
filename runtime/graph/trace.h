/*
 * A trace: what every value of a graph is for concrete input shapes. Dtype, shape, and the contents
 * of those small values that follow from constants and shapes alone (Shape -> Gather -> Concat ->
 * Reshape chains, masks made from Range): they are computed here with the reference kernels, once,
 * and nodes that only make such values are never scheduled.
 *
 * A walk goes node by node. Where a rule asks for contents that no constant gives, or a size is the
 * kernel's to find, the planner stops and goes on once a run has shown them; the passes, which have
 * no run, skip what depends on them.
 */
#ifndef MD_GRAPH_TRACE_H
#define MD_GRAPH_TRACE_H

#include "graph/evaluate.h"

#define MD_KNOWN_VALUE_BYTES ((size_t)256 << 10) /* of one value made while planning */
#define MD_KNOWN_TOTAL_BYTES ((size_t)8 << 20)   /* of one plan */
#define MD_KNOWN_FLOPS       1e8                 /* spent on one plan */

/* Contents computed while tracing; the trace points at them. */
struct md_contents {
    struct md_tensor *tensors;
    int count, capacity;
    size_t bytes;
    struct md_plan_report spent;
};
void md__contents_fini(struct md_contents *contents);

struct md_trace {
    const struct md_graph *graph;
    const struct md_backend *reference;
    struct md_pool *pool;
    /* One per graph value, `known` set also for constants. dtype 0: nothing is known of it (yet).
     */
    struct md_value_info *values;
    struct md_node_room room; /* of the node at hand */
};

/* The sizes of a graph's symbols, from input shapes. `sizes` has graph->symbol_count places. */
enum md_status md__symbols_bind(const struct md_graph *graph, const struct md_shape *shapes,
                                int64_t *sizes, struct md_error *err);

/* Input shapes with every symbol at its sample size s, or at 2 s + 1 when `larger`. */
void md__sample_shapes(const struct md_graph *graph, bool larger, struct md_tensor *inputs);

/* Knows the graph's constants and nothing else. */
enum md_status md__trace_init(struct md_trace *trace, const struct md_graph *graph,
                              const struct md_backend *reference, struct md_pool *pool,
                              struct md_error *err);
void md__trace_fini(struct md_trace *trace);

/* Back to knowing no more of the value than the graph says. */
void md__trace_forget(struct md_trace *trace, int value);

/*
 * What the node makes. MD_ERR_PENDING: nothing is known of its outputs, and room.asked[i] is set
 * for the inputs whose contents would help (none: only running it helps). Outputs may hold
 * MD_DIM_DATA.
 */
enum md_status md__trace_node(struct md_trace *trace, const struct md_node *node,
                              struct md_contents *contents, struct md_error *err);

/*
 * Walks all nodes. inputs[i] belongs to graph input i: its shape, and its contents when data is
 * set; one of unknown rank or with a negative dimension is unknown. Values that follow from unknown
 * ones, or that only a run can tell, end with dtype 0, or with MD_DIM_DATA in their shapes.
 */
enum md_status md__trace_all(struct md_trace *trace, const struct md_tensor *inputs,
                             struct md_contents *contents, struct md_error *err);

/* The outputs of a control node, as far as tracing its bodies tells (trace_control.c). */
enum md_status md__trace_control(struct md_trace *trace, const struct md_node *node,
                                 struct md_error *err);

/* Dtype and every dimension are there. */
bool md__trace_sure(const struct md_trace *trace, int value);

/*
 * The tensors of a node's inputs as kernels see them while planning: dtype and shape, data only for
 * the graph's own constants; with `contents` also for values that the trace computed.
 */
void md__trace_inputs(const struct md_trace *trace, const struct md_node *node, bool contents,
                      struct md_tensor *in);

/* What the trace knows of a node's inputs and outputs, into arrays as long as the node's. */
void md__trace_infos(const struct md_trace *trace, const int *values, int count,
                     struct md_value_info *infos);

/* Every output's contents are in the trace: the node need not run. */
bool md__trace_knows(const struct md_trace *trace, const struct md_node *node);

#endif
