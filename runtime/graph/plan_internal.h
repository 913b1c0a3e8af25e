/* The planner's state, shared by the files that trace (plan.c) and that place (plan_place.c). */
#ifndef MD_GRAPH_PLAN_INTERNAL_H
#define MD_GRAPH_PLAN_INTERNAL_H

#include "graph/graph_internal.h"
#include "graph/plan.h"

/* Where a value lies inside of another one: `root` is no slice itself. */
struct md_slice {
    int root;      /* MD_NONE: it is no slice */
    size_t offset; /* bytes */
    size_t pitch;  /* elements from line to line of the last axis; 0: dense */
};

struct md_planner {
    /* Of the graph, once. */
    int *last_read;  /* last node that reads the value; -1: none */
    bool *is_output; /* of the graph */
    /* Of the plan being made; one place per value, at rest between plans. */
    struct md_trace trace;
    int *last; /* last node here that reads it or a view of it; node_count: it outlives the plan */
    int *groups;        /* MD_NONE while it has none */
    int *device_groups; /* likewise, in plan->device */
    struct md_slice *slices;
    const struct md_plan_context *context;
    const struct md_graph *graph;
    struct md_plan *plan;
    struct md_error *err;
};

/* Everything about memory, once the nodes of the plan are traced. */
enum md_status md__plan_place(struct md_planner *planner);

/* Bytes of a value; 0 while its size is unknown. */
size_t md__plan_value_bytes(const struct md_planner *planner, int value);

/* The steps for node n: none, a view, or a kernel's. */
enum md_status md__plan_add_node(struct md_planner *planner, int n);

/* The node's outputs have a size that only running it tells. */
bool md__plan_node_is_open(const struct md_planner *planner, const struct md_node *node);

/* Output 0 is input 0 under another shape. */
bool md__plan_is_view(const struct md_trace *trace, const struct md_node *node);

/* The value's group; contents that are known get one at first need. MD_NONE: it has none. */
int md__plan_group(struct md_planner *planner, int value);
int md__plan_add_group(struct md_planner *planner, int value, struct md_group group);

/* plan_slices.c: chooses slices, once the last uses are known. */
void md__plan_slices(struct md_planner *planner);
/* The group of a value that node n makes, the one of its root where it is a slice. */
int md__plan_place_output(struct md_planner *planner, int value, int n);
/* A Concat or Split that has nothing to copy: its values get their groups. */
bool md__plan_is_joined(struct md_planner *planner, int n);

/* Adds what the step costs to it and to the plan's report. */
void md__plan_count_cost(struct md_planner *planner, struct md_step *step);

#endif
