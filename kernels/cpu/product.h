/*
 * The dense product of any dtype, for the reference kernels: batches of A [rows, inner] times
 * B [inner, columns], with optional zero points taken off first, a tile of columns at a time.
 *
 * A tile of B is gathered once as doubles (or as int64s, which wrap like any narrower integer),
 * then meets one row of A after another; each finished piece of a row goes to `finish`, which
 * scales, adds and stores it. Work is split over matrices, tiles and chunks of rows.
 */
#ifndef MD_KERNELS_CPU_PRODUCT_H
#define MD_KERNELS_CPU_PRODUCT_H

#include "kernels/cpu/common.h"

#define MD__TILE 16 /* columns: as many sums stay in registers */

/* `count` neighbouring results of one row; one of the two pointers is set. */
struct md__sums {
    size_t matrix, row, column, count;
    double *real;
    int64_t *integer;
};

struct md__operand {
    const struct md_tensor *tensor;
    int64_t row, column; /* element strides */
    size_t matrix;       /* elements of one matrix */
    /* optional: one zero point, or one a row of A or a column of B, or those of each matrix */
    const struct md_tensor *zero;
};

struct md__product {
    struct md__operand a, b;
    size_t rows, inner, columns, matrices;
    struct md__walk batch; /* slots 0 and 1: which matrix of a and b */
    bool real;             /* doubles, not int64s */
    void (*finish)(void *context, const struct md__sums *sums);
    void *context;
    double *scratch; /* md__product_scratch() bytes */
};

/* Sets up NumPy's matmul: vectors gain an axis, leading dimensions broadcast to those of out. */
void md__product_matmul(struct md__product *product, const struct md_tensor *a,
                        const struct md_tensor *b, const struct md_tensor *out);
size_t md__product_scratch(size_t inner, int threads);
void md__product_run(const struct md__product *product, struct md_pool *pool);
/* Index of the value of row or column `i` in a tensor of one value, one an `i`, or one an `i` of
 * each matrix. */
size_t md__product_which(const struct md_tensor *tensor, size_t matrix, size_t i, size_t count);

#endif
