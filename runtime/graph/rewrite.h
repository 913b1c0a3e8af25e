/*
 * Rewriting a graph, for passes. A pass gives a *rule*; md__rewrite shows it every node outside
 * regions, in order, with its inputs as earlier rewrites have left them. A rule that likes what
 * ends at the node adds nodes (md__rw_node: they will stand just before it) and says which values
 * take the place of the node's outputs (md__rw_replace). Nodes that only served what was replaced
 * go.
 *
 * What a rule knows of values beyond constants are *facts*: dtypes and shapes traced at several
 * unlike sizes of the graph's symbols. "Equal" and "this dimension is 4" mean: in every trace. Of a
 * graph without symbols that is a proof; where sizes are free it is only very likely, so what would
 * give wrong numbers silently if it did not hold should stand on constants, dtypes and ranks. A
 * replacement whose dtype or shape differs from what it replaces in any trace is refused.
 */
#ifndef MD_GRAPH_REWRITE_H
#define MD_GRAPH_REWRITE_H

#include "graph/pass.h"
#include "graph/trace.h"

#define MD_REWRITE_TRACES 4

/* What the passes of one graph know of its values; made at first need, freed by md__passes_run. */
struct md__facts {
    struct md_trace traces[MD_REWRITE_TRACES];
    struct md_contents contents[MD_REWRITE_TRACES];
    int count;
    int seen;     /* values that the traces know as much of as the graph says, or more */
    int capacity; /* values that they have room for */
    int widest;   /* inputs or outputs of a node that they have room for */
};
enum md_status md__facts_new(const struct md_graph *graph,
                             const struct md_executable_options *options, struct md__facts **facts,
                             struct md_error *err);
void md__facts_delete(struct md__facts *facts);
/* Takes in values that were added since, some of them constants. */
enum md_status md__facts_grow(struct md__facts *facts, const struct md_graph *graph,
                              struct md_error *err);
/* What a new node makes; stays unknown where its rule cannot tell. */
enum md_status md__facts_learn(struct md__facts *facts, const struct md_graph *graph,
                               const struct md_node *node, struct md_error *err);
/* What trace t knows of the value; NULL unless dtype and shape are known. */
const struct md_value_info *md__facts_of(const struct md__facts *facts, int t, int value);

/* No symbols and no unknown ranks: one trace says all there is to say. */
bool md__sizes_are_fixed(const struct md_graph *graph);

struct md__rewrite {
    struct md_graph *graph;
    const struct md_executable_options *options;
    struct md__facts *facts;
    int *readers; /* of each value: nodes, once for each input, and outputs of the graph */
    int *renamed; /* of each value: what stands for it now; itself if nothing else does */
    bool *keep;   /* of each node */
    int *place;   /* of each added node: the node that it stands before */
    int value_capacity, node_capacity;
    int first_added; /* nodes from here on were added */
    int at;          /* the node that the rule looks at */
    int refused;     /* nodes added before it this time, in case the rule changes its mind */
    int count;       /* replacements made */
};

/* Looks at node n (its inputs are up to date), perhaps replaces it. MD_OK also when it did not. */
typedef enum md_status (*md__rule)(struct md__rewrite *rewrite, int n, void *context,
                                   struct md_error *err);

/* Applies the rule to all nodes, once. *count (may be NULL) gets the number of replacements. */
enum md_status md__rewrite_run(struct md_graph *graph, const struct md_executable_options *options,
                               struct md_pass_report *report, md__rule rule, void *context,
                               int *count, struct md_error *err);

/* ---- what is there; values are given as ids, MD_NONE is never made, read or known ---- */

/* The node that makes the value, if it has this operator and lies outside regions; else NULL.
 * Pointers to nodes last until the next md__rw_node. */
const struct md_node *md__rw_maker(const struct md__rewrite *rewrite, int value, enum md_op op);
/* Nobody reads it but one input of one node. */
bool md__rw_sole(const struct md__rewrite *rewrite, int value);
/* The node outside regions that makes the value for one reader alone; else NULL. */
const struct md_node *md__rw_sole_maker(const struct md__rewrite *rewrite, int value);

enum md_dtype md__rw_dtype(const struct md__rewrite *rewrite, int value); /* 0: unknown */
int md__rw_rank(const struct md__rewrite *rewrite, int value);            /* -1: unknown */
/* One dimension, negative axes from the end; -1: unknown, or another size in another trace. */
int64_t md__rw_dim(const struct md__rewrite *rewrite, int value, int axis);
/* The same known shape. */
bool md__rw_same_shape(const struct md__rewrite *rewrite, int a, int b);
/* Dtype and shape are known and the same. */
bool md__rw_alike(const struct md__rewrite *rewrite, int a, int b);

/* A constant of the graph, or NULL. */
const struct md_tensor *md__rw_constant(const struct md__rewrite *rewrite, int value);
/* A float32 constant, or NULL. */
const struct md_tensor *md__rw_weights(const struct md__rewrite *rewrite, int value);
/* A constant of any numeric dtype whose elements, one or more, all equal *number. */
bool md__rw_number(const struct md__rewrite *rewrite, int value, double *number);
/* A constant list of integers of at most `max`: their count; -1 otherwise. */
int md__rw_ints(const struct md__rewrite *rewrite, int value, int64_t *ints, int max);

/*
 * The node is an activation that fused operators can end with (activation.h): its name, and *count
 * numbers for the attribute activation_params. NULL otherwise.
 */
const char *md__rw_activation(const struct md__rewrite *rewrite, const struct md_node *node,
                              double numbers[2], int *count);

/* ---- what convolutions and poolings are like ---- */

/* Weights of a convolution, one place wide on all spatial axes; NULL is not. */
bool md__is_pointwise(const struct md_tensor *weights);
/* The attribute's integers all equal `number`, or it is absent. */
bool md__ints_all(const struct md_node *node, const char *name, int64_t number);
/* Padding does not follow from sizes: it stays right when strides change. */
bool md__pads_are_numbers(const struct md_node *node);
/* They are numbers, and all of them 0. */
bool md__is_unpadded(const struct md_node *node);

/* ---- what is to be there ---- */

/* Adds a node before the one looked at; outputs[] receives its values. */
enum md_status md__rw_node(struct md__rewrite *rewrite, const char *op, const int *in, int in_count,
                           const struct md_attr *attrs, int attr_count, int *outputs,
                           int output_count, struct md_error *err);
/*
 * Adds a fused operator as one node, without its body; *output is MD_NONE when the backend has no
 * kernel that takes it, it is switched off by name, or an accelerator lacks it.
 */
enum md_status md__rw_fused(struct md__rewrite *rewrite, enum md_op op, const int *in, int in_count,
                            const struct md_attr *attrs, int attr_count, int *output,
                            struct md_error *err);
/* Adds a constant; takes a reference of its own (md_graph_constant). */
enum md_status md__rw_add_constant(struct md__rewrite *rewrite, const struct md_tensor *tensor,
                                   int *value, struct md_error *err);
/* Adds a list of int64. */
enum md_status md__rw_add_ints(struct md__rewrite *rewrite, const int64_t *ints, int count,
                               int *value, struct md_error *err);
/* *value = Reshape(*value, dims) */
enum md_status md__rw_reshape(struct md__rewrite *rewrite, const int64_t *dims, int rank,
                              int *value, struct md_error *err);
/* *value = what lies from begin to before end of an axis of *value */
enum md_status md__rw_slice(struct md__rewrite *rewrite, int64_t begin, int64_t end, int64_t axis,
                            int *value, struct md_error *err);
/*
 * The outputs of node n are these values from now on (MD_NONE: for one that nobody reads). Refused,
 * and all nodes added at this node dropped, when dtype or shape would differ: false.
 */
bool md__rw_replace(struct md__rewrite *rewrite, int n, const int *values);
/* Drops what was added at this node. */
void md__rw_undo(struct md__rewrite *rewrite);

/* The rule of pass_linear.c, for what stands behind products once transposes are gone. */
enum md_status md__linear_rule(struct md__rewrite *rewrite, int n, void *context,
                               struct md_error *err);

/* The backend has a kernel for the operator that is its own, not the reference's. */
static inline bool md__has_own_kernel(const struct md_executable_options *options, enum md_op op)
{
    const struct md_kernel *kernel = options->backend->kernels[op];
    return kernel && (options->backend == options->reference ||
                      kernel != options->reference->kernels[op]);
}

#define MD_INT_ATTR(title, value) ((struct md_attr){.name = title, .type = MD_ATTR_INT, .i = value})
#define MD_FLOAT_ATTR(title, value)                                                                \
    ((struct md_attr){.name = title, .type = MD_ATTR_FLOAT, .f = value})
#define MD_STRING_ATTR(title, value)                                                               \
    ((struct md_attr){.name = title, .type = MD_ATTR_STRING, .s = value})
#define MD_INTS_ATTR(title, values, number)                                                        \
    ((struct md_attr){.name = title, .type = MD_ATTR_INTS, .ints = values, .count = number})
#define MD_FLOATS_ATTR(title, values, number)                                                      \
    ((struct md_attr){.name = title, .type = MD_ATTR_FLOATS, .floats = values, .count = number})

/* What md__rw_activation found, as attributes of a fused operator; how many: 0 without a name. */
static inline int md__rw_activation_attrs(const char *name, const double *numbers, int count,
                                          struct md_attr attrs[2])
{
    if (!name)
        return 0;
    attrs[0] = MD_STRING_ATTR("activation", name);
    if (count)
        attrs[1] = MD_FLOATS_ATTR("activation_params", numbers, count);
    return count ? 2 : 1;
}

#endif
