/*
 * A graph: values and the nodes that make them, in the order in which they were added (which is a
 * valid execution order, because a node can only use values that exist).
 *
 * Front ends (the ONNX reader, model families in Lua) build one with the functions below; passes
 * rewrite it; the planner reads it. The structs are public to be read. Everything in a graph lives
 * in its arena and dies with it; constants hold references to their tensors' owners, so weights
 * stay in the mapped file.
 *
 * Dimensions of graph inputs may be symbols (md_graph_symbol): negative numbers which a plan binds
 * to sizes; or an input's whole shape is unknown (MD_RANK_UNKNOWN) until a run brings it. A
 * *region* is a contiguous run of nodes that writes one fused operator out as primitives; the
 * lowering pass may replace it by the operator. Adding a fused operator with
 * md_graph_node opens a region, runs the operator's body, and closes it.
 */
#ifndef MD_GRAPH_GRAPH_H
#define MD_GRAPH_GRAPH_H

#include <stdint.h>

#include "base/arena.h"
#include "graph/ops.h"

#define MD_GRAPH_NODES_MAX 100000
#define MD_GRAPH_DEPTH_MAX 32   /* graphs inside graphs */
#define MD_NONE            (-1) /* an absent optional input; no region */
#define MD_RANK_UNKNOWN    (-1) /* of a graph input: any rank and any sizes, known in each run */

enum md_attr_type {
    MD_ATTR_INT,
    MD_ATTR_FLOAT,
    MD_ATTR_STRING,
    MD_ATTR_INTS,
    MD_ATTR_FLOATS,
    MD_ATTR_STRINGS,
    MD_ATTR_TENSOR,
    MD_ATTR_GRAPH
};

struct md_attr {
    const char *name;
    enum md_attr_type type;
    int64_t i;
    double f;
    const char *s;
    const int64_t *ints;
    const double *floats;
    const char *const *strings;
    int count; /* of ints, floats or strings */
    struct md_tensor tensor;
    /*
     * A body of a control operator. md_graph_node takes it over when it succeeds: it dies with the
     * graph that the node was added to. No graph may contain itself or be given twice.
     */
    struct md_graph *graph;
};

struct md_value {
    const char *name; /* "" when nobody named it */
    /* of inputs and constants; others learn theirs when planned (0 until then) */
    enum md_dtype dtype;
    struct md_shape shape;     /* likewise; an input's may hold symbols */
    struct md_tensor constant; /* data == NULL: not a constant */
    int producer;              /* node index; MD_NONE for inputs and constants */
};

struct md_node {
    enum md_op op;
    const char *name; /* for messages: "lstm_encoder", "" when unnamed */
    const int *in;    /* value ids or MD_NONE */
    const int *out;
    int in_count, out_count;
    const struct md_attr *attrs;
    int attr_count;
    int region; /* innermost region, or MD_NONE */
};

struct md_region {
    enum md_op op; /* the fused operator that this run of nodes spells out */
    /* the operator as it was asked for: inputs, attributes; outputs are the body's results */
    struct md_node fused;
    int node_begin, node_end; /* nodes [begin, end) */
    int parent;               /* enclosing region, or MD_NONE */
};

struct md_port {
    const char *name;
    int value;
};

struct md_graph {
    struct md_arena arena;
    const char *name;
    struct md_value *values;
    struct md_node *nodes;
    struct md_region *regions;
    struct md_port *inputs, *outputs;
    const char **symbols; /* symbol k is dimension -(k + 2) */
    /* a small typical size of each, for numeric checks at load (default 3) */
    int64_t *symbol_samples;
    int value_count, node_count, region_count, input_count, output_count, symbol_count;
    int value_capacity, node_capacity, region_capacity, input_capacity, output_capacity,
        symbol_capacity;
    int region_open;          /* innermost open region while building, or MD_NONE */
    struct md_graph **bodies; /* graphs of attributes, owned */
    int body_count, body_capacity;
    int depth; /* 0: no bodies; else one more than the deepest of them */
};

enum md_status md_graph_new(const char *name, struct md_graph **graph, struct md_error *err);
void md_graph_delete(struct md_graph *graph);

/* The dimension that stands for the symbol `name` (made at first use). sample: see symbol_samples;
 * 0 keeps it. */
enum md_status md_graph_symbol(struct md_graph *graph, const char *name, int64_t sample,
                               int64_t *dim, struct md_error *err);
enum md_status md_graph_input(struct md_graph *graph, const char *name, enum md_dtype dtype,
                              const struct md_shape *shape, int *value, struct md_error *err);
/* Takes a reference of its own to the tensor's owner. Borrowed tensors (owner NULL) are copied. */
enum md_status md_graph_constant(struct md_graph *graph, const char *name,
                                 const struct md_tensor *tensor, int *value, struct md_error *err);
/*
 * Adds a node; attributes, names and ids are copied. Checks operator name, input count, ids.
 * outputs[] receives output_count new value ids.
 */
enum md_status md_graph_node(struct md_graph *graph, const char *op_name, const char *name,
                             const int *inputs, int input_count, const struct md_attr *attrs,
                             int attr_count, int *outputs, int output_count, struct md_error *err);
enum md_status md_graph_output(struct md_graph *graph, const char *name, int value,
                               struct md_error *err);

/* Attribute access with defaults; the type is checked where it is used, a wrong type yields the
 * default. */
const struct md_attr *md_node_attr(const struct md_node *node, const char *name);
int64_t md_node_int(const struct md_node *node, const char *name, int64_t otherwise);
/* Number i of a list; `otherwise` also where the list is shorter. */
int64_t md_node_ints_at(const struct md_node *node, const char *name, int i, int64_t otherwise);
double md_node_float(const struct md_node *node, const char *name, double otherwise);
const char *md_node_string(const struct md_node *node, const char *name, const char *otherwise);

#endif
