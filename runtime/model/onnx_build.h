/*
 * From ONNX messages to graphs: what the files of the reader share.
 *
 * A *scope* is a set of names: the model's graph, a subgraph in an attribute, or one expansion of a
 * function. Scopes of functions add nodes to the graph of their caller; a subgraph has a graph of
 * its own (a *body*) and may use names of the scopes around it: such a value becomes an input of
 * the body, appended in the order of first use, and is remembered as a capture; a constant is
 * simply repeated. Everything lives in the reader's arena, but for the graphs.
 *
 * A *call* is one node on its way into a graph: value ids instead of names, attributes resolved.
 * The rewrites of onnx_opset.c change it in place, or add the nodes themselves and set `done`.
 */
#ifndef MD_MODEL_ONNX_BUILD_H
#define MD_MODEL_ONNX_BUILD_H

#include "graph/graph.h"
#include "model/onnx_tensor.h"

#define MD__ONNX_OPSET_MAX 28 /* of the domain ai.onnx */
#define MD__ONNX_IR_MAX    14
#define MD__ONNX_ROOM      8 /* inputs and attributes that rewrites may add to a call */

struct md__onnx_reader;

struct md__onnx_body {
    struct md_graph *graph;
    enum md_dtype *dtypes; /* by value; 0: not known before a run */
    int dtype_capacity;
};

/* A function at work: its call's attributes, for references from inside. */
struct md__onnx_frame {
    const struct md__onnx_function *function;
    const struct md__onnx_attr *attrs;
    size_t attr_count;
    const struct md__onnx_frame *caller; /* the function that this call stands in, or NULL */
};

struct md__onnx_name {
    const char *name;
    int value;
};

struct md__onnx_scope {
    struct md__onnx_reader *reader;
    struct md__onnx_body *body;
    struct md__onnx_scope *outer; /* of a subgraph, whose names may be used too; else NULL */
    const struct md__onnx_frame *frame;
    const struct md__onnx_opset *opsets;
    size_t opset_count;
    struct md__onnx_name *names; /* open addressing; a free place has no name */
    size_t name_count, name_capacity;
    int *captures; /* values of the outer scope's graph, in the order of the body's inputs */
    int capture_count, capture_capacity;
};

struct md__onnx_reader {
    struct md_arena arena;
    struct md__onnx_files files;
    struct md__onnx_model model;
    struct md__onnx_scope functions; /* names; value: the first function with it */
    int *function_next;              /* by function: the next of its name, or MD_NONE */
    int visits;                      /* nodes so far, those of expanded functions included */
    int depth;                       /* of subgraphs and functions within each other */
};

struct md__onnx_call {
    struct md__onnx_scope *scope;
    const struct md__onnx_node *node;
    const char *op;   /* "Add", "com.microsoft.Gelu" */
    const char *name; /* the node's, or that of its first output */
    int64_t opset;    /* of the operator's domain */
    int *in, *out;
    int in_count, out_count;
    struct md_attr *attrs;
    int attr_count;
    bool done; /* out[] is filled; nothing is left to add */
};

/* ---- names and values (onnx_scope.c) ---- */

/* Around the work on a subgraph or a function: MD_ERR_TOO_LARGE when they nest too deep. */
enum md_status md__onnx_enter(struct md__onnx_reader *reader, struct md_error *err);
void md__onnx_leave(struct md__onnx_reader *reader);

/* Binds a name that the scope does not have yet; MD_ERR_CORRUPT when it has. */
enum md_status md__onnx_bind(struct md__onnx_scope *scope, const char *name, int value,
                             struct md_error *err);
/* True when the scope itself has the name. */
bool md__onnx_bound(const struct md__onnx_scope *scope, const char *name);
/* The value of a name, here or around; "" is MD_NONE. Captures when needed. */
enum md_status md__onnx_find(struct md__onnx_scope *scope, const char *name, int *value,
                             struct md_error *err);
/* Makes the body's input for a value of the outer scope. */
enum md_status md__onnx_capture(struct md__onnx_scope *scope, const char *name, int outer_value,
                                struct md_error *err);
/* The version of a domain that the scope imports. */
enum md_status md__onnx_version(const struct md__onnx_scope *scope, const char *domain,
                                int64_t *version, struct md_error *err);

/* ---- dtypes (onnx_dtype.c) ---- */

/* 0 when it is not known. */
enum md_dtype md__onnx_dtype_of(const struct md__onnx_body *body, int value);
enum md_status md__onnx_note_dtype(struct md__onnx_reader *reader, struct md__onnx_body *body,
                                   int value, enum md_dtype dtype, struct md_error *err);
/* The same for the outputs of an operator that is no control flow. */
enum md_status md__onnx_note_outputs(struct md__onnx_call *call, const char *op, const int *in,
                                     int in_count, const struct md_attr *attrs, int attr_count,
                                     const int *out, int out_count, struct md_error *err);

/* ---- graphs (onnx_graph.c) ---- */

/* Initialisers, nodes and outputs; the graph's inputs must be there already. */
enum md_status md__onnx_build_graph(struct md__onnx_scope *scope,
                                    const struct md__onnx_graph *source, struct md_error *err);
/* Without the outputs. */
enum md_status md__onnx_build_contents(struct md__onnx_scope *scope,
                                       const struct md__onnx_graph *source, struct md_error *err);
/* Nodes in an order in which each finds its inputs. */
enum md_status md__onnx_build_nodes(struct md__onnx_scope *scope, const struct md__onnx_node *nodes,
                                    size_t count, struct md_error *err);
/*
 * An order of the nodes in which each comes after those whose outputs it uses, itself or in a graph
 * among its attributes (onnx_sort.c). *order is NULL when that of the file will do; a cycle is
 * MD_ERR_CORRUPT.
 */
enum md_status md__onnx_sort(struct md__onnx_reader *reader, const struct md__onnx_node *nodes,
                             size_t count, const int **order, struct md_error *err);
enum md_status md__onnx_add_constant(struct md__onnx_scope *scope, const char *name,
                                     const struct md_tensor *tensor, int *value,
                                     struct md_error *err);

/* ---- nodes (onnx_node.c) ---- */

/* "name:types" of each attribute of a standard operator (onnx_attrs.c); NULL: there is none. */
const char *md__onnx_attrs_of(const char *op);

enum md_status md__onnx_build_node(struct md__onnx_scope *scope, const struct md__onnx_node *node,
                                   struct md_error *err);
/* Adds an operator of the newest opset to the graph of the call. */
enum md_status md__onnx_emit(struct md__onnx_call *call, const char *op, const int *in,
                             int in_count, const struct md_attr *attrs, int attr_count, int *out,
                             int out_count, struct md_error *err);

/* ---- functions (onnx_function.c) ---- */

enum md_status md__onnx_index_functions(struct md__onnx_reader *reader, struct md_error *err);
/* The model-local function that the node calls, or NULL. */
const struct md__onnx_function *md__onnx_function(struct md__onnx_reader *reader,
                                                  const struct md__onnx_node *node);
enum md_status md__onnx_expand(struct md__onnx_scope *scope, const struct md__onnx_node *node,
                               const struct md__onnx_function *function, struct md_error *err);
/*
 * The node's attributes with references replaced by what the calling node gave; those that it left
 * out are dropped.
 */
enum md_status md__onnx_resolve_attrs(struct md__onnx_scope *scope,
                                      const struct md__onnx_node *node,
                                      const struct md__onnx_attr **attrs, size_t *count,
                                      struct md_error *err);

/* ---- control flow (onnx_control.c) ---- */

/* True for If, Loop and Scan. */
bool md__onnx_is_control(const struct md__onnx_call *call);
/* Builds the bodies, appends captures to the call's inputs and adds the node. */
enum md_status md__onnx_control(struct md__onnx_call *call, const struct md__onnx_attr *attrs,
                                size_t attr_count, struct md_error *err);

/* Attention that graphs change, as plain nodes (onnx_flex.c). */
bool md__onnx_is_flex_attention(const struct md__onnx_call *call);
enum md_status md__onnx_flex_attention(struct md__onnx_call *call,
                                       const struct md__onnx_attr *attrs, size_t attr_count,
                                       struct md_error *err);
/* A Scan of opset 8, outputs bound (onnx_scan8.c). */
enum md_status md__onnx_scan_8(struct md__onnx_call *call, const struct md__onnx_attr *attrs,
                               size_t attr_count, struct md_error *err);

/* ---- older forms (onnx_opset.c) ---- */

/* Turns the call into the newest opset's form. */
enum md_status md__onnx_modernise(struct md__onnx_call *call, struct md_error *err);

static inline enum md_status md__onnx_no_memory(struct md_error *err)
{
    return md_fail(err, MD_ERR_TOO_LARGE, "the model's structure does not fit in memory");
}

#endif
