/*
 * What the files of graph/ share beneath the public headers: pieces of the builder that the passes
 * use too.
 */
#ifndef MD_GRAPH_GRAPH_INTERNAL_H
#define MD_GRAPH_GRAPH_INTERNAL_H

#include "graph/graph.h"

/* A graph's own structures (not its weights) may use this much. */
#define MD_GRAPH_BYTES_MAX     ((size_t)1 << 30)
#define MD_GRAPH_SYMBOL_SAMPLE 3
/* The dimension of symbol k, and back. */
#define MD_SYMBOL_DIM(k)     (-((int64_t)(k) + 2))
#define MD_SYMBOL_INDEX(dim) ((int)(-(dim)-2))

/* A value that some node is to make. */
enum md_status md__graph_value(struct md_graph *graph, const char *name, int *value,
                               struct md_error *err);

/* Appends the node as it is, unchecked: its ids and attributes live in the graph already. */
enum md_status md__graph_append(struct md_graph *graph, const struct md_node *node,
                                struct md_error *err);

/* Everything of a node but its operator and outputs, copied into the graph. */
enum md_status md__graph_node_copy(struct md_graph *graph, const char *name, const int *inputs,
                                   int in_count, const struct md_attr *attrs, int attr_count,
                                   struct md_node *node, struct md_error *err);

enum md_status md__attr_copy(struct md_arena *arena, const struct md_attr *from, struct md_attr *to,
                             struct md_error *err);

/*
 * Like md_shape_count in bytes, but a dimension of 0 does not excuse the others: kernels multiply
 * dimensions and walk over rows, so [2^60, 0] is refused although it has no elements.
 */
enum md_status md__shape_bytes(const struct md_shape *shape, enum md_dtype dtype, size_t *bytes,
                               struct md_error *err);

/* "Add \"encoder\"" for messages. Returns text. */
const char *md__node_text(const struct md_node *node, char *text, size_t size);

#endif
