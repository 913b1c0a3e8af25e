/*
 * A fleet of series that goes through random ticks before a model that keeps windows: gaps, late
 * rows, other scalings, new and vanished servers, skipped ticks and batches of some servers only.
 */
#ifndef MD_TESTS_ROLLING_H
#define MD_TESTS_ROLLING_H

#include "graph/executable.h"
#include "kernels/cpu/cpu.h"
#include "script/builder.h"

#define ROLLING_ROOMY ((size_t)64 << 20)

enum {
    ROLLING_SERVERS = 7,
    ROLLING_STEPS = 1700, /* all that is ever fed */
    ROLLING_COLUMNS_MAX = 16,
    ROLLING_PORTS_MAX = 8
};

enum rolling_role { ROLLING_METRIC, ROLLING_KNOWN, ROLLING_STATIC, ROLLING_POSITION };

/* AS_BUILT, or as if nothing told the place in the window: rows are kept whole, and what was the
 * position is the calendar's. */
enum rolling_kind { ROLLING_AS_BUILT, ROLLING_WHOLE_ROWS };

struct rolling_fleet {
    enum rolling_role roles[ROLLING_COLUMNS_MAX];
    int width, codes; /* columns of x_reals, of x_categoricals */
    float metric[ROLLING_SERVERS][ROLLING_STEPS][ROLLING_COLUMNS_MAX];
    uint64_t key[ROLLING_SERVERS];
    float constant[ROLLING_SERVERS]; /* what its static columns show */
    int born[ROLLING_SERVERS];
    int newest; /* step */
};

struct rolling {
    struct md_model_builder builder;
    struct md_pool *pool;
    struct md_executable *executable;
    struct rolling_fleet *fleet;
    int window, future;
    uint64_t random;
};

struct rolling_batch {
    int servers[ROLLING_SERVERS], count;
    struct md_window windows[ROLLING_SERVERS];
    struct md_tensor inputs[ROLLING_PORTS_MAX];
};

/* `fixture` is a folder of tests/reference/tft. */
void rolling_begin(struct rolling *rolling, const char *fixture, enum rolling_kind kind,
                   enum md_cpu_isa isa, int window, size_t kept_bytes_max);
void rolling_end(struct rolling *rolling);
void rolling_tick(struct rolling *rolling);
/* All servers most of the time, else some of them in another order. */
void rolling_choose(struct rolling *rolling, struct rolling_batch *batch);
/* Inputs and windows of the servers that have been chosen; rolling_drop gives the inputs back. */
void rolling_inputs(struct rolling *rolling, struct rolling_batch *batch);
void rolling_drop(struct rolling_batch *batch);
/* The model's output; without windows nothing is kept nor used. */
struct md_tensor rolling_run(struct rolling *rolling, const struct rolling_batch *batch,
                             const struct md_windows *windows);

#endif
