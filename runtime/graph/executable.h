/*
 * An executable: a graph made ready for one backend. It owns the graph after passes, the packed
 * weights, an LRU of plans (one per concrete set of input shapes, under a byte cap; more where
 * shapes depend on data) and one arena that the plans share.
 *
 * Making one runs the passes (pass.h lists them), among them the lowering of regions to fused
 * kernels, each checked numerically against its body on random inputs at the symbols' sample sizes.
 * One thread at a time may run an executable.
 */
#ifndef MD_GRAPH_EXECUTABLE_H
#define MD_GRAPH_EXECUTABLE_H

#include "base/buffer.h"
#include "graph/accelerator.h"
#include "graph/backend.h"
#include "graph/kept.h"
#include "graph/session.h"

struct md_executable;

struct md_executable_options {
    const struct md_backend *backend; /* what to run on */
    /* primitives for folding, numeric checks and operators backend lacks */
    const struct md_backend *reference;
    struct md_pool *pool; /* lent; must outlive the executable */
    /* a plan that needs a larger arena is refused before it is made (default 4 GiB) */
    size_t plan_bytes_max;
    /* likewise the tensors whose size only running tells, all that live at once (default:
     * plan_bytes_max) */
    size_t tail_bytes_max;
    int64_t iterations_max; /* of all loops of one run (default 2^24) */
    int plans_max;          /* LRU length (default 16) */
    size_t kept_bytes_max;  /* of kept windows, see kept.h; 0: none are */
    /*
     * comma list of passes to leave out ("fold,lower"), and of fused operators to leave written
     * out as primitives ("VariableSelection"): md_executable_pass_name lists them. NULL: all run
     */
    const char *passes_off;
    /* where packed weights are kept for the next load of the same graph (packs.h), and at most how
     * many bytes (default 2 GiB); NULL: nowhere */
    const char *packs_folder;
    size_t packs_bytes_max;
    /*
     * how many bytes packed weights of convolutions may take beyond those of the weights: a faster
     * algorithm may want several times as many (default: as many as all constants, and 64 MiB)
     */
    size_t prepack_bytes_max;
    /* slower and smaller: packed weights do not grow, and those that they were made of move from
     * memory to a file */
    bool low_memory;
    struct md_accelerator *accelerator; /* lent: takes the nodes that it can; NULL: there is none */
    enum md_precision precision;        /* of float32 on it (default auto) */
    bool captures_off;                  /* its steps are handed over one by one in each run */
    const struct md_handover *handovers; /* what sessions hand on (session.h); copied */
    int handover_count;
    size_t session_bytes_max; /* of the accelerator's memory (default: a quarter of it) */
};

/* What passes_off may name: i from 0 on, passes before operators; NULL past the last. */
const char *md_executable_pass_name(int i);

/* Takes the graph over, also on failure. MD_ERR_UNSUPPORTED names the operator that no backend
 * has. */
enum md_status md_executable_new(struct md_graph *graph,
                                 const struct md_executable_options *options,
                                 struct md_executable **executable, struct md_error *err);
void md_executable_delete(struct md_executable *executable);
const struct md_graph *md_executable_graph(const struct md_executable *executable);

/*
 * One inference. inputs[i] belongs to graph input i: dtype and rank must match, symbols must agree
 * among inputs. outputs[i] receives a new tensor (own reference) for graph output i. Fails cleanly
 * on any mismatch.
 */
enum md_status md_executable_run(struct md_executable *executable, const struct md_tensor *inputs,
                                 int input_count, struct md_tensor *outputs, int output_count,
                                 struct md_error *err);

/* When a run must end although it has not finished. */
struct md_run_limits {
    int64_t deadline_ns;           /* of the executable's clock's monotonic side; 0: none */
    const _Atomic bool *cancelled; /* NULL: nobody cancels */
    /* Whose windows the rows of the batch are, so that kernels may keep what will not change
     * (kept.h). NULL: nothing is kept, nothing kept is used. */
    const struct md_windows *windows;
    /* Whose run it is, where the model hands things over. NULL: nobody's, all inputs are given and
     * all outputs come back. */
    struct md_session *session;
    /* Where the accelerator's memory does not hold these shapes: MD_ERR_MEMORY, for who has smaller
     * ones to try first, instead of a run on the CPU. */
    bool small_first;
};

/*
 * The same within limits, which are looked at between the plans of a run and between the iterations
 * of its loops: MD_ERR_TIMEOUT, MD_ERR_CANCELLED. A deadline needs set_clock.
 */
enum md_status md_executable_run_within(struct md_executable *executable,
                                        const struct md_tensor *inputs, int input_count,
                                        struct md_tensor *outputs, int output_count,
                                        const struct md_run_limits *limits, struct md_error *err);

/*
 * Begins the run of these inputs before it is asked for, where that can be: on an accelerator, by a
 * plan that has run there as a whole, with tensors that have an owner, and two at a time at the
 * most; false: it is not begun. Runs are then asked for in this order, with the same tensors, and
 * take what is there: results of one travel while the next is computed. When another run comes
 * first, all that was begun is forgotten. Nobody changes the tensors meanwhile, which are kept
 * until then.
 */
bool md_executable_ahead(struct md_executable *executable, const struct md_tensor *inputs,
                         int input_count);
/* How many runs have begun and were not asked for yet. */
int md_executable_ahead_count(const struct md_executable *executable);

/*
 * Makes (or finds) the plan for these input shapes without running; for warm-up and inspection. A
 * model whose shapes depend on data is planned as far as that is possible.
 */
enum md_status md_executable_plan(struct md_executable *executable, const struct md_shape *shapes,
                                  int input_count, struct md_error *err);

/*
 * Writes what has been packed so far to packs_folder, unless it came from there or is not worth a
 * file. Call it when the model has answered once. A failure costs the next load time, nothing else.
 */
enum md_status md_executable_keep_packs(struct md_executable *executable, struct md_error *err);

/*
 * What outputs would be, without running: inputs[i] has dtype and shape, where rank -1 or dimension
 * -1 is unknown, and data where its contents are known (NULL: not). outputs[i] gets dtype (0:
 * unknown) and shape (rank or dimensions -1: unknown, because they depend on data) and no data.
 */
enum md_status md_executable_infer(const struct md_executable *executable,
                                   const struct md_tensor *inputs, int input_count,
                                   struct md_tensor *outputs, int output_count,
                                   struct md_error *err);

/* What the last run cost, or the last planned shapes. */
struct md_plan_report {
    size_t arena_bytes, constant_bytes, prepared_bytes, scratch_bytes;
    size_t kept_bytes; /* of prepared_bytes, from packs_folder */
    double flops;      /* multiplies and adds counted apart, of matrix and recurrent operators */
    double bytes;      /* inputs, outputs and weights of every step, once */
    double transcendentals; /* exp, tanh, sigmoid, ... evaluations */
    int steps, fused_steps;
    int device_steps, copies;          /* of steps: on the device; between it and the host */
    int left_steps;                    /* of the host's: the device could, but not worth it */
    size_t device_bytes, pinned_bytes; /* its arena with scratch; what copies go through */
    const char *precision;             /* of float32 on the device: "fp16"; NULL: there is none */
    int splits;                        /* where planning had to wait for what the run found */
    /* Fused operators: in use; outermost ones left as primitives; kernels refused for wrong
     * numbers; networks whose fc2 went into the next product (of all that were asked for). */
    int regions_lowered, regions_kept, regions_disagreed, networks_composed;
};
enum md_status md_executable_report(struct md_executable *executable, struct md_plan_report *report,
                                    struct md_error *err);

/* What rolling has cost and spared; all 0 before the first run with windows. */
void md_executable_kept(const struct md_executable *executable, struct md_kept_report *report);
/* Bytes that one window of these inputs would have kept, in the last plan; 0: the model does not
 * roll. */
size_t md_executable_window_bytes(const struct md_executable *executable);

/* Per-step times since profiling was switched on, of the last planned shapes. */
void md_executable_set_profiling(struct md_executable *executable, bool on);
/* As in md_plan_report, of one step. */
struct md_step_cost {
    double flops, bytes, transcendentals;
};
enum md_step_side { MD_STEP_HOST, MD_STEP_DEVICE, MD_STEP_TO_DEVICE, MD_STEP_TO_HOST };
struct md_step_time {
    const struct md_node *node; /* valid as long as the executable; of copies: see plan.h */
    enum md_step_side side;
    const struct md_kernel *kernel; /* NULL: control flow, run by the executable itself; or not the
                                       host's */
    int64_t total_ns, fastest_ns;   /* of all runs, of the fastest */
    int64_t helped_ns;              /* the pool's threads but the first were in it, all together */
    int64_t runs;
    struct md_step_cost cost;
};
/* Writes up to `max` rows for the last plan, returns how many there are. Needs a monotonic clock:
 * see set_clock. */
int md_executable_profile(const struct md_executable *executable, struct md_step_time *rows,
                          int max);
struct md_clock;
void md_executable_set_clock(struct md_executable *executable, struct md_clock *clock);

#endif
