/* What the files of the pass channels_last share: the walk's state, and how nodes are put. */
#ifndef MD_GRAPH_CHANNELS_LAST_INTERNAL_H
#define MD_GRAPH_CHANNELS_LAST_INTERNAL_H

#include "graph/pass.h"
#include "graph/trace.h"

struct turning {
    struct md_graph *graph;
    const struct md_executable_options *options;
    struct md_trace trace;
    struct md_contents contents;
    struct md_tensor *in; /* of the node at hand */
    /* of each value that the graph had: */
    int *last;   /* the value that is it with channels last, or MD_NONE */
    bool *first; /* exists as the graph had it */
    int *same;   /* what its readers read: itself, but for results of Transposes left out */
    int count;
};

/* Of a value that the graph had; -1: unknown. */
int md__turning_rank(const struct turning *turning, int value);
/* Whether some input is there with channels last and not as the graph had it. */
bool md__turning_follows(const struct turning *turning, const struct md_node *node);

/* Whether the backend has a kernel for the node as it would be, with those inputs turned. */
bool md__turning_has_kernel(struct turning *turning, const struct md_node *node, unsigned inputs);
/* The node reads the inputs of the bit set `inputs` with channels last, the others as they were. */
enum md_status md__turning_read(struct turning *turning, struct md_node *node, int rank,
                                unsigned inputs, struct md_error *err);
/* Appends a node whose outputs exist as values already. */
enum md_status md__turning_append(struct turning *turning, const struct md_node *node,
                                  struct md_error *err);
/* Appends the node with those inputs turned, its outputs too. */
enum md_status md__turning_put(struct turning *turning, const struct md_node *node, int rank,
                               unsigned inputs, struct md_error *err);

/* ---- channels_last_axes.c: operators whose axes are renamed; sets *done if this was one ---- */
enum md_status md__turn_along_axes(struct turning *turning, const struct md_node *node, bool *done,
                                   struct md_error *err);

#endif
