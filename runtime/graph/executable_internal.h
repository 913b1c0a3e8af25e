/* The executable's own state, shared by the files that make and run it, and by tests. */
#ifndef MD_GRAPH_EXECUTABLE_INTERNAL_H
#define MD_GRAPH_EXECUTABLE_INTERNAL_H

#include "graph/pass.h"
#include "graph/plan.h"

struct md_executable {
    struct md_graph *graph;
    struct md_executable_options options;
    struct md_pass_report passes;
    struct md_prepared **prepared; /* one list per node */
    struct md_plan **plans;
    struct md_plan *last;
    struct md_shape *shapes; /* of the inputs of the run at hand */
    int plan_count;
    uint64_t uses;
    char *memory; /* the arena, then scratch */
    size_t memory_bytes;
    struct md_clock *clock;
    bool profiling, guards;
};

/* Points the steps' tensors at this run's memory. */
void md__plan_bind(struct md_plan *plan, const char *memory, const struct md_tensor *inputs,
                   const struct md_tensor *outputs);
enum md_status md__executable_run_steps(struct md_executable *executable, struct md_plan *plan,
                                        struct md_error *err);

/*
 * Checking mode, before the first plan: patterns lie between values and are verified after every
 * step; arena and scratch start as NaN. An overrun fails the run with MD_ERR_INTERNAL naming the
 * node.
 */
void md__executable_set_guards(struct md_executable *executable, bool on);

/* The plan of the last planned shapes, or NULL. */
const struct md_plan *md__executable_last_plan(const struct md_executable *executable);

/* Bytes held for arena and scratch. */
size_t md__executable_memory(const struct md_executable *executable);

/* Plans held now. */
int md__executable_plan_count(const struct md_executable *executable);

#endif
