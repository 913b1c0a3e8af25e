/*
 * Blocks: how reference kernels stay short and serve every dtype. A kernel gathers a few hundred
 * elements as doubles or int64s, works on those in plain loops, and stores the results, rounded
 * once to the output's dtype. The switch over dtypes is paid once a block.
 *
 * Integers travel as int64 bit patterns, so uint64 is exact: what depends on the sign looks at the
 * dtype. Storing an integer keeps its low bits (two's complement); storing a double as an integer
 * truncates it and saturates at the bounds of 64 bits; NaN gives 0.
 */
#ifndef MD_KERNELS_CPU_BLOCKS_H
#define MD_KERNELS_CPU_BLOCKS_H

#include "kernels/cpu/common.h"

#define MD__BLOCK 512

/* A tensor as an output's shape sees it: broadcast by NumPy's rule. */
struct md__view {
    const struct md_tensor *tensor;
    struct md__walk walk; /* merged; its last axis is the plain loop */
};
void md__view_init(struct md__view *view, const struct md_tensor *tensor,
                   const struct md_shape *shape);
/* Elements [begin, begin + count) of the broadcast view, in row-major order. */
void md__view_floats(const struct md__view *view, size_t begin, size_t count, double *to);
void md__view_ints(const struct md__view *view, size_t begin, size_t count, int64_t *to);

/* Elements at, at + step, ... of a tensor; step 0 repeats one, a negative one runs backwards. */
void md__load_floats(const struct md_tensor *tensor, size_t at, int64_t step, size_t count,
                     double *to);
void md__load_ints(const struct md_tensor *tensor, size_t at, int64_t step, size_t count,
                   int64_t *to);
void md__store_floats(const struct md_tensor *tensor, size_t at, int64_t step, size_t count,
                      const double *from);
void md__store_ints(const struct md_tensor *tensor, size_t at, int64_t step, size_t count,
                    const int64_t *from);

/* Rounds doubles to what a float dtype holds; those stay as they are that it holds. */
void md__round_floats(enum md_dtype dtype, size_t count, double *x);

/* a < b of two integers that travel as int64. */
static inline bool md__int_less(int64_t a, int64_t b, enum md_dtype dtype)
{
    return dtype == MD_U64 ? (uint64_t)a < (uint64_t)b : a < b;
}

/* The least and the greatest value of an integer dtype, or of bool. */
int64_t md__int_min(enum md_dtype dtype);
int64_t md__int_max(enum md_dtype dtype);

#endif
