/*
 * One node at a time: infer its outputs, choose its kernel, or run it on tensors of its own.
 * Constant folding, the evaluation of shape arithmetic while planning, the numeric check of fused
 * kernels, and tests stand on this.
 */
#ifndef MD_GRAPH_EVALUATE_H
#define MD_GRAPH_EVALUATE_H

#include "graph/backend.h"
#include "graph/executable.h"
#include "graph/infer.h"

/* Runs the shape rule and checks what it made: dtypes, ranks, sizes that fit memory. Errors name
 * the node. */
enum md_status md__infer_node(const struct md_node *node, const struct md_value_info *in,
                              struct md_value_info *out, struct md_error *err);

/* No dimension is MD_DIM_DATA. */
bool md__shape_is_planned(const struct md_shape *shape);

/* The kernel in this backend that accepts the node, or NULL. Tensors as while planning (backend.h).
 */
const struct md_kernel *md__kernel_find(const struct md_backend *backend,
                                        const struct md_node *node, const struct md_tensor *in);

/*
 * Infers, prepares and runs one node. out[] receives out_count new heap tensors whose bytes
 * together stay under bytes_max, else MD_ERR_TOO_LARGE before anything is allocated. `in` holds
 * data for every present input; `shown` is what the kernel would see of them while planning (data
 * of constants only), so that it takes the path it will take then.
 */
enum md_status md__evaluate_node(const struct md_backend *backend, struct md_pool *pool,
                                 const struct md_node *node, const struct md_tensor *in,
                                 const struct md_tensor *shown, struct md_tensor *out,
                                 size_t bytes_max, struct md_error *err);

/* Room for the inputs and outputs of any node of a graph, so that walks over it allocate once. */
struct md_node_room {
    struct md_value_info *in_info, *out_info;
    struct md_tensor *in, *shown, *out;
    bool *asked; /* one per input */
};
enum md_status md__node_room_init(struct md_node_room *room, const struct md_graph *graph,
                                  struct md_error *err);
void md__node_room_fini(struct md_node_room *room);

/* What a node costs: see struct md_plan_report. Adds to the three counters. */
void md__node_cost(const struct md_node *node, const struct md_value_info *in,
                   const struct md_value_info *out, struct md_plan_report *report);

/* Few enough operations, as far as md__node_cost does not tell, to compute ahead of a run. */
bool md__node_is_cheap(const struct md_node *node, const struct md_value_info *in,
                       const struct md_value_info *out);

#endif
