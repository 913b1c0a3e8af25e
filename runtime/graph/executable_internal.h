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
    char *packs_folder;            /* NULL: packs are not kept */
    struct md_digest packs_key;
    struct md__packs *packs;       /* NULL: there were none */
    struct md__control **controls; /* one per node, NULL where none; NULL when there are none */
    struct md_planner *planner;
    struct md_plan *roots; /* plans made for input shapes, the last used first */
    struct md_plan *last;  /* where the last run (or planning) ended */
    int plan_count;
    size_t plan_bytes;
    struct md_fact *facts; /* of the plan being looked for */
    struct md_tensor *tails;
    int tail_capacity;
    uint64_t uses;
    char *memory; /* the arena, then scratch */
    size_t memory_bytes;
    struct md_clock *clock;
    struct md_kept *kept;          /* NULL before the first run with windows */
    struct md__device *device;     /* NULL: there is none to use */
    bool device_on;                /* for the run or plan at hand */
    bool wants_workers;            /* the last run on the host had work for them */
    struct md_handover *handovers; /* that options point to */
    struct md_session *session;    /* of the run at hand */
    struct md_owner **files;       /* that constants are in: checked after each run */
    int file_count;
    bool profiling, guards;
    bool is_body; /* of a control node: its graph belongs to the outer one */
};

/* What one run and the runs nested in it share. */
struct md__run {
    const struct md_run_limits *limits; /* may be NULL */
    struct md_clock *clock;             /* may be NULL: then there is no deadline */
    struct md_tail tail;
    int64_t iterations_left; /* of all loops together */
};

/* MD_ERR_TIMEOUT, MD_ERR_CANCELLED, or MD_OK to go on. */
enum md_status md__run_check(const struct md__run *run, struct md_error *err);

/* ---- executable.c ---- */

/* md_executable_new for a body: the graph stays its owner's, also on failure. */
enum md_status md__executable_new_body(struct md_graph *graph,
                                       const struct md_executable_options *options,
                                       struct md_executable **executable, struct md_error *err);

/* Finds or makes the plan behind `parent` for executable->facts, with memory to run it. */
enum md_status md__executable_find(struct md_executable *executable, struct md_plan *parent,
                                   int fact_count, struct md_plan **plan, struct md_error *err);
struct md_fact md__input_fact(const struct md_graph *graph, int i, const struct md_shape *shape);

/* ---- executable_run.c ---- */

/* Whether these can be its inputs; then executable->facts are about them. */
enum md_status md__executable_check(const struct md_executable *executable,
                                    const struct md_tensor *inputs, struct md_error *err);
/* md_executable_run_within, inside another run. */
enum md_status md__executable_run(struct md_executable *executable, const struct md_tensor *inputs,
                                  int input_count, struct md_tensor *outputs, int output_count,
                                  struct md__run *run, struct md_error *err);

/* ---- executable_packs.c ---- */

/* Before the passes: what an earlier load packed, and a key for what this one packs. */
enum md_status md__executable_open_packs(struct md_executable *executable, struct md_error *err);
void md__executable_close_packs(struct md_executable *executable);
/* After the passes: what may not grow in packing gets the attribute "compact"; with low_memory,
 * constants move from the heap to files. */
enum md_status md__executable_bound_packs(struct md_executable *executable, struct md_error *err);

/* ---- plan_cache.c ---- */

/* A child of parent (NULL: a root) for these facts, or NULL. */
struct md_plan *md__plans_find(struct md_executable *executable, struct md_plan *parent,
                               const struct md_fact *facts, int fact_count);
/*
 * Links a new plan into the tree and lets the least recently used leaves go, but never the new
 * plan or what it stands on.
 */
void md__plans_keep(struct md_executable *executable, struct md_plan *plan);
void md__plans_delete(struct md_executable *executable);
/* The plan after this one when all are walked, parents first; NULL after the last. */
struct md_plan *md__plans_next(struct md_plan *plan);

/* ---- run.c ---- */

/* Points the steps' tensors at this run's memory. */
void md__plan_bind(struct md_plan *plan, const char *memory, const struct md_tensor *inputs,
                   const struct md_tensor *outputs, const struct md_tensor *tails);
/* Bytes that the step would keep for a window of its planned shapes. */
size_t md__step_kept_bytes(const struct md_plan *plan, const struct md_step *step);
enum md_status md__executable_run_steps(struct md_executable *executable, struct md_plan *plan,
                                        struct md__run *run, struct md_error *err);

/*
 * Checking mode, before the first plan: patterns lie between values and are verified after every
 * step; arena and scratch start as NaN. An overrun fails the run with MD_ERR_INTERNAL naming the
 * node.
 */
void md__executable_set_guards(struct md_executable *executable, bool on);

/* The plan at which the last run ended, or NULL. */
const struct md_plan *md__executable_last_plan(const struct md_executable *executable);

/* Bytes held for arena and scratch. */
size_t md__executable_memory(const struct md_executable *executable);

/* Plans held now. */
int md__executable_plan_count(const struct md_executable *executable);

#endif
