/*
 * A plan: one graph made concrete for one set of input shapes. Steps in execution order with their
 * kernels, and a place for every value.
 *
 * Values that share memory form a *group*: a value, its views (Reshape, ...), and results computed
 * in place over it. A group lies in the caller's input, in a constant, in the arena at a fixed
 * offset, or directly in a tensor that the run returns. Groups alive at the same time never
 * overlap. A run only patches data pointers into the steps' tensors.
 */
#ifndef MD_GRAPH_PLAN_H
#define MD_GRAPH_PLAN_H

#include "graph/trace.h"

#define MD_PLAN_ALIGN 64

/* Packed weights of a node under one kernel; a node rarely has more than one. Owned by the
 * executable. */
struct md_prepared {
    const struct md_kernel *kernel;
    void *data;
    size_t bytes;
    struct md_prepared *next;
};

enum md_place { MD_PLACE_ARENA, MD_PLACE_INPUT, MD_PLACE_OUTPUT, MD_PLACE_CONSTANT };

struct md_group {
    enum md_place place;
    int index;        /* input or output number */
    const void *data; /* of a constant */
    int begin, end;   /* first and last step (inclusive) that touch it */
    size_t bytes;
    size_t offset; /* in the arena */
};

struct md_step {
    const struct md_node *node;
    const struct md_kernel *kernel;
    const void *prepared;
    int first; /* its inputs, then its outputs, in plan->tensors */
    int64_t total_ns, runs;
};

/* A graph output that no step writes in place: copied after the last step. */
struct md_output_copy {
    int output, group;
};

struct md_plan {
    struct md_arena memory;  /* the arrays below */
    struct md_shape *shapes; /* of the inputs: the key */
    struct md_step *steps;
    struct md_tensor *tensors; /* arguments of all steps */
    int *tensor_groups;        /* MD_NONE: absent */
    struct md_group *groups;
    const void **group_data;   /* patched by each run */
    struct md_tensor *outputs; /* dtype and shape of each graph output */
    struct md_output_copy *copies;
    int step_count, tensor_count, group_count, output_count, copy_count;
    struct md_trace trace; /* owns contents computed while planning */
    size_t arena_bytes, scratch_bytes;
    struct md_plan_report report;
    uint64_t last_used;
};

/* What planning needs of its executable. */
struct md_plan_context {
    const struct md_graph *graph;
    const struct md_executable_options *options;
    struct md_prepared **prepared; /* one list per node; grows */
    bool guards; /* space and patterns between groups, checked after every step: for tests */
};

enum md_status md__plan_new(const struct md_plan_context *context, const struct md_shape *shapes,
                            struct md_plan **plan, struct md_error *err);
void md__plan_delete(struct md_plan *plan);

/*
 * Gives every arena group an offset (plan_memory.c): walks the steps, takes the smallest hole that
 * fits or grows the end, frees what has died. Groups are sorted by `begin`. MD_ERR_TOO_LARGE when
 * more than bytes_max are needed; nothing of that size is ever allocated.
 */
enum md_status md__plan_memory(struct md_group *groups, int count, size_t guard_bytes,
                               size_t bytes_max, size_t *arena_bytes, struct md_error *err);

#endif
