/*
 * A plan: a run of nodes of one graph made concrete for what is known before it. Steps in execution
 * order with their kernels, and a place for every value.
 *
 * Most graphs have one plan for each set of input shapes, which covers all nodes. A plan ends
 * earlier where a rule needs contents that only a run knows, or after a node whose results have a
 * size that only running it tells. What comes next is planned as a *child*, made for the *facts*
 * that the run has found (those contents, or those shapes), and kept: plans form a tree, its roots
 * are made for input shapes, and a run walks from a root to a plan that reaches the last node.
 *
 * Values that share memory form a *group*: a value, its views (Reshape, ...), results computed
 * in place over it, and *slices* of it (plan_slices.c). A group lies in the caller's input, in a
 * constant, in the arena at a fixed offset, directly in a tensor that the run returns, or in the
 * *tail*: tensors of their own, made while running because no plan knew their size. Groups alive at
 * the same time never overlap. A child leaves groups that outlive its parent where they are. A run
 * only patches data pointers into the steps' tensors.
 */
#ifndef MD_GRAPH_PLAN_H
#define MD_GRAPH_PLAN_H

#include "graph/packs.h"
#include "graph/trace.h"

#define MD_PLAN_ALIGN 64

/* Packed weights of a node under one kernel; a node rarely has more than one. Owned by the
 * executable. */
struct md_prepared {
    const struct md_kernel *kernel;
    void *data;
    size_t bytes;
    struct md_digest key; /* of a flat one, when packs are kept */
    bool kept, mapped;    /* the file of packs has it; it lies there */
    struct md_prepared *next;
};

enum md_place { MD_PLACE_ARENA, MD_PLACE_INPUT, MD_PLACE_OUTPUT, MD_PLACE_CONSTANT, MD_PLACE_TAIL };

struct md_group {
    enum md_place place;
    int index;        /* input, output or tail number */
    const void *data; /* of a constant */
    /* First and last node (inclusive) that touch it; begin < 0: it was there before this plan. */
    int begin, end;
    size_t bytes;
    size_t offset; /* in the arena */
};

struct md_step {
    const struct md_node *node; /* of a copy: the one that it is for, or the last before it */
    enum md_step_side side;
    int part; /* of a step that is not the host's: where its own part is in plan->device */
    const struct md_kernel *kernel; /* NULL: a control operator, or not the host's */
    const void *prepared;
    int first; /* its inputs, then its outputs, in plan->tensors */
    int64_t total_ns, fastest_ns, runs;
    int64_t helped_ns; /* by the pool's other threads, all together */
    struct md_step_cost cost;
};

/* A graph output whose value is known in this plan. `copied`: the group to copy it from after the
 * last step, or MD_NONE when steps write it in place. */
struct md_result {
    int output;
    struct md_tensor tensor; /* dtype and shape */
    int copied;
};

/* What a plan was made for: a value's dtype and shape, and its contents when data is set. */
struct md_fact {
    int value;
    struct md_tensor tensor;
};

/* A value that is read after the end of its plan. */
struct md_live {
    int value, kept;
    struct md_value_info info;
};

enum md_stop {
    MD_STOP_END,      /* nothing is left to plan */
    MD_STOP_CONTENTS, /* the node after the last one needs contents */
    MD_STOP_OUTPUT    /* the last step makes outputs of a size that no plan knows */
};

/* What the child's facts are to be about: contents in a group, or an output of the last step. */
struct md_want {
    int value;
    int at;              /* group, or index into plan->tensors */
    enum md_dtype dtype; /* of an output that a kernel makes; a control node's is open as well */
};

struct md_plan {
    struct md_arena memory;                   /* the arrays below */
    struct md_plan *parent, *children, *next; /* next: the parent's next child, or the next root */
    struct md_fact *facts;                    /* the key; a root's are its inputs, in their order */
    struct md_step *steps;
    struct md_tensor *tensors; /* arguments of all steps */
    int *tensor_groups;        /* MD_NONE: absent, or made by the kernel */
    size_t *tensor_offsets;    /* bytes into the group */
    size_t *tensor_pitches;    /* backend.h: pitch */
    struct md_group *groups;
    const void **group_data; /* patched by each run */
    struct md_result *results;
    struct md_want *wants;
    struct md_live *lives;
    struct md_group *kept; /* groups that lives are in */
    int *done_tails;       /* tail numbers that nobody reads after this plan */
    int node_begin, node_end;
    int depth; /* plans before it */
    int fact_count, step_count, tensor_count, group_count, result_count, want_count, live_count,
        kept_count, done_tail_count;
    int tail_count;                 /* tail numbers given out by it and its ancestors */
    struct md__device_plan *device; /* NULL: all its steps are the host's (device_internal.h) */
    enum md_stop stop;
    struct md_contents contents; /* computed while planning */
    size_t arena_bytes, scratch_bytes;
    struct md_plan_report report;
    uint64_t last_used;
};

/* What planning needs of its executable. */
struct md_plan_context {
    const struct md_graph *graph;
    const struct md_executable_options *options;
    struct md_prepared **prepared; /* one list per node; grows */
    struct md__packs *packs;       /* what an earlier load packed; may be NULL */
    bool guards; /* space and patterns between groups, checked after every step: for tests */
    struct md__device *device; /* takes the nodes that it can; NULL: there is none to use */
};

/* Working memory of planning, one per executable. */
struct md_planner;
enum md_status md__planner_new(const struct md_plan_context *context, struct md_planner **planner,
                               struct md_error *err);
void md__planner_delete(struct md_planner *planner);

/*
 * The plan from where `parent` ended (NULL: from the inputs) for these facts, which are copied,
 * contents included. The child is not linked to its parent's list yet, but must not outlive it.
 */
enum md_status md__plan_new(struct md_planner *planner, const struct md_plan_context *context,
                            struct md_plan *parent, const struct md_fact *facts, int fact_count,
                            struct md_plan **plan, struct md_error *err);
void md__plan_delete(struct md_plan *plan);
/* What the plan itself takes. */
size_t md__plan_bytes(const struct md_plan *plan);

/*
 * Gives every arena group an offset (plan_memory.c): walks the steps, takes the smallest hole that
 * fits or grows the end, frees what has died. Groups are sorted by `begin`; those that were there
 * before (begin < 0) keep their offsets. MD_ERR_TOO_LARGE when more than bytes_max are needed;
 * nothing of that size is ever allocated.
 */
enum md_status md__plan_memory(struct md_group *groups, int count, size_t guard_bytes,
                               size_t bytes_max, size_t *arena_bytes, struct md_error *err);

#endif
