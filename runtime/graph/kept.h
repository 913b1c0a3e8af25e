/*
 * Kept windows: what the runs of an executable leave behind for the next ones, so that a forecast
 * at every step computes anew only what changed since the last.
 *
 * A caller that forecasts the same series again and again says whose window each row of its batch
 * is, and which step that begins with. A kernel whose work for a step depends on that step's inputs
 * alone (md_kernel.kept_bytes) then keeps the results in memory of that window's own, a ring over
 * steps. Nobody has to say what changed: the kernel keeps the inputs beside the results and
 * compares all bits. A late row, a gap that was filled, another scaling, a wrong step number or two
 * series of one key cost time, never correctness; and another model is another executable.
 *
 * Memory is bounded by bytes_max. What was not seen for MD_KEPT_IDLE_TICKS steps goes, also what
 * was seen at a step that turns out to lie ahead; beyond the cap nothing that is still in use is
 * dropped for others (all would miss in turn): runs that do not fit are computed in full, counted,
 * and keep nothing. One thread at a time, as with the executable.
 */
#ifndef MD_GRAPH_KEPT_H
#define MD_GRAPH_KEPT_H

#include "graph/backend.h"

#define MD_KEPT_IDLE_TICKS 12

struct md_window {
    uint64_t key;  /* of the series; two in one run need different ones, or nothing is kept */
    int64_t first; /* number of the step in its first row, on a scale that all runs share */
};

/* The key of a series that a text names: FNV-1a, 64 bits. */
uint64_t md_window_key(const char *text);

/* The windows of one run, in the order of its batch. */
struct md_windows {
    const struct md_window *each;
    int count;
    int64_t tick; /* number of the newest step: what tells idle windows */
};

struct md_kept_report {
    size_t bytes, bytes_max;
    int windows;
    /* Over all runs. Rows: (window, step) of a kernel's, or encodings of one variable there. */
    int64_t rows_kept, rows_computed;
    int64_t runs_kept, runs_full; /* full: no room for their windows, or a key that came twice */
};

struct md_kept;

struct md_kept *md__kept_new(size_t bytes_max); /* NULL: no memory */
void md__kept_delete(struct md_kept *kept);
/*
 * Memory of `bytes` bytes for each window, for the node of this number, until the next call. NULL:
 * there is none for all of them, so the run is a full one. Windows of other sizes start anew.
 */
struct md_kept_windows *md__kept_take(struct md_kept *kept, int node,
                                      const struct md_windows *windows, size_t bytes);
/* After the kernel: adds up what it counted. */
void md__kept_done(struct md_kept *kept);
void md__kept_report(const struct md_kept *kept, struct md_kept_report *report);

#endif
