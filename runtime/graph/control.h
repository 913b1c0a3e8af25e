/*
 * Control operators: If, Loop and Scan, whose bodies are graphs in attributes.
 *
 * Each body is an executable of its own, made when the outer one is, on the same backend and pool.
 * Values of the outer graph that a body uses are inputs like any other, listed last: the INT
 * attribute "moondial.captured" counts them. Their tensors are lent, not copied. What a control
 * operator makes goes into the tail of the run.
 */
#ifndef MD_GRAPH_CONTROL_H
#define MD_GRAPH_CONTROL_H

#include "graph/executable_internal.h"

/* If: then and else. Loop and Scan: their body. */
#define MD_BODIES_MAX 2

struct md__control {
    struct md_executable *bodies[MD_BODIES_MAX];
    /* Of Loop and Scan: values carried from one iteration to the next, and outputs that collect one
     * slice of each iteration. Of Scan: inputs that give one slice to each. */
    int carried, collected, scanned;
    int captured;
    int iteration_rank, condition_rank; /* as Loop's body declares them: 0 or 1 */
};

/* Makes the bodies of every control node; part of making an executable, after its passes. */
enum md_status md__controls_new(struct md_executable *executable, const char *passes_off,
                                struct md_error *err);
void md__controls_delete(struct md_executable *executable);

/* A call of a control node; out[] is new tensors' to be, counted in run->tail. */
struct md__control_call {
    const struct md_node *node;
    struct md__control *control;
    const struct md_tensor *in;
    struct md_tensor *out;
    bool guards;
    struct md__run *run;
};
enum md_status md__control_run(const struct md__control_call *call, struct md_error *err);

/* control_loop.c */
enum md_status md__loop_run(const struct md__control_call *call, struct md_error *err);
enum md_status md__scan_run(const struct md__control_call *call, struct md_error *err);

/* ---- shared by them ---- */

/* Runs a body; its outputs are counted in the tail. */
enum md_status md__body_run(const struct md__control_call *call, int body,
                            const struct md_tensor *in, int in_count, struct md_tensor *out,
                            struct md_error *err);
/* Drops a tensor that is counted in the tail. */
void md__tail_drop(struct md__run *run, struct md_tensor *tensor);
/* Counts `bytes` more; MD_ERR_TOO_LARGE. */
enum md_status md__tail_take(struct md__run *run, size_t bytes, struct md_error *err);
/* The one element of a tensor, which must be of this dtype. */
enum md_status md__control_scalar(const struct md_tensor *tensor, enum md_dtype dtype,
                                  const char *what, void *value, struct md_error *err);

#endif
