/*
 * Reductions of float32 values to one number, of many runs of values side by side: one source
 * (isa/reduce.c), compiled for each instruction set.
 *
 * Values come a piece at a time, so that nobody has to hold all of them. NaN stands for "no value":
 * plain names pass it on, the nan* forms leave it out and give NaN where nothing is left. Sums run
 * in double, in the order of a run's values: every instruction set, and every way to cut the runs
 * into pieces, gives the same bits. Extremes give 0 for -0, which no order of values should tell
 * apart.
 */
#ifndef MD_BASE_REDUCE_H
#define MD_BASE_REDUCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The option of std and nanstd is how much less than their count the squares are divided by (ddof),
 * of first_at_least the threshold: the first position, from 1, of a value that reaches it, else 0.
 * slope: least squares over a value's position, missing values left out; NaN below two. nanlast:
 * the last value that is not missing.
 */
#define MD_SIMPLE_REDUCTIONS(X)                                                                    \
    X(sum)                                                                                         \
    X(nansum)                                                                                      \
    X(mean)                                                                                        \
    X(nanmean)                                                                                     \
    X(std)                                                                                         \
    X(nanstd)                                                                                      \
    X(amax)                                                                                        \
    X(nanmax)                                                                                      \
    X(amin)                                                                                        \
    X(nanmin)                                                                                      \
    X(nanlast)                                                                                     \
    X(slope)                                                                                       \
    X(count_finite)
#define MD_REDUCTIONS(X)                                                                           \
    MD_SIMPLE_REDUCTIONS(X)                                                                        \
    X(first_at_least)

struct md_reduction {
    enum {
#define X(name) MD_REDUCE_##name,
        MD_REDUCTIONS(X)
#undef X
    } op;
    double option;
};

/* The value i of a run is data[run * run_stride + i * stride]. */
struct md_runs {
    const float *data;
    ptrdiff_t runs, run_stride, count, stride;
};

enum { MD_REDUCE_RUNS_MAX = 128, MD_REDUCE_SUMS = 5 };

/* What is known of each run so far. */
struct md_reducing {
    struct md_reduction what;
    ptrdiff_t runs, count; /* count: of values so far */
    bool again;
    _Alignas(64) union {
        double sums[MD_REDUCE_SUMS][MD_REDUCE_RUNS_MAX];
        struct {
            float best[MD_REDUCE_RUNS_MAX];
            int32_t missing[MD_REDUCE_RUNS_MAX];
        } extreme;
    };
};

/* runs: at most MD_REDUCE_RUNS_MAX. */
void md_reduce_begin(struct md_reducing *reducing, const struct md_reduction *what, ptrdiff_t runs);
/* The next values of all runs. */
void md_reduce_add(struct md_reducing *reducing, const struct md_runs *values);
/* Whether all values are to be added once more: ask until the answer is no. */
bool md_reduce_again(struct md_reducing *reducing);
/* What run r has come to, in out[r * stride]. */
void md_reduce_end(const struct md_reducing *reducing, float *out, ptrdiff_t stride);
/* All of it, when all values are there: out[r]. */
void md_reduce(const struct md_reduction *what, const struct md_runs *values, float *out);

#endif
