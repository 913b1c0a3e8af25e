/* Graphs in tests: building with failures that end the test, and the slow way to run one. */
#ifndef MD_TESTS_GRAPHS_H
#define MD_TESTS_GRAPHS_H

#include "graph/executable.h"

struct md_graph *graphs_new(const char *name);
int graphs_any(struct md_graph *graph, const char *name, enum md_dtype dtype); /* any rank */
int graphs_input(struct md_graph *graph, const char *name, enum md_dtype dtype, int rank,
                 const int64_t *dim);
int graphs_floats(struct md_graph *graph, int rank, const int64_t *dim, const float *data);
int graphs_ints(struct md_graph *graph, int count, const int64_t *data); /* rank 1 */
int graphs_int(struct md_graph *graph, int64_t value);                   /* a scalar */
int64_t graphs_symbol(struct md_graph *graph, const char *name, int64_t sample);
void graphs_output(struct md_graph *graph, const char *name, int value);

/* One node with one output and no attributes, or with them. */
int graphs_node_with(struct md_graph *graph, const char *op, const int *in, int in_count,
                     const struct md_attr *attrs, int attr_count);
#define graphs_node(graph, op, ...)                                                                \
    graphs_node_with(graph, op, (const int[]){__VA_ARGS__},                                        \
                     (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int)), NULL, 0)
struct md_attr graphs_attr_int(const char *name, int64_t value);
struct md_attr graphs_attr_ints(const char *name, int count, const int64_t *values);

struct md_attr graphs_attr_graph(const char *name, struct md_graph *body);
/* If, Loop or Scan: the last `captured` of its inputs are values that bodies capture. */
void graphs_control(struct md_graph *graph, const char *op, const int *in, int in_count,
                    const struct md_attr *attrs, int attr_count, int captured, int *out,
                    int out_count);

/* A new float32 tensor with values from a fixed pseudo-random series; state advances. */
struct md_tensor graphs_random(uint64_t *state, int rank, const int64_t *dim);
void graphs_drop(struct md_tensor *tensors, int count); /* one reference of each */
uint64_t graphs_next(uint64_t *state);

/*
 * Runs every node of the graph on its own, each result in memory of its own: what planned execution
 * must equal. outputs[] receives new tensors. Gives the first failure.
 */
enum md_status graphs_run_slowly(const struct md_graph *graph, const struct md_backend *backend,
                                 struct md_pool *pool, const struct md_tensor *inputs,
                                 struct md_tensor *outputs, struct md_error *err);

#endif
