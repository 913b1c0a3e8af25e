/*
 * Elementwise arithmetic on planes of float32: one source (isa/vectors.c), compiled for each
 * instruction set.
 *
 * NaN stands for "no value": arithmetic passes it on, min, max and clip keep it when it is the
 * first operand, comparisons with it are false. Every instruction set gives the same bits.
 */
#ifndef MD_BASE_VECTORS_H
#define MD_BASE_VECTORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MD_VECTOR_OPERANDS_MAX = 3 };

/*
 * X(name, operands):
 *   ge ... eq, isnan   1 where true, else 0
 *   where              the second operand where the first is neither 0 nor NaN, else the third
 *   clip               the first, not below the second nor above the third
 *   round              to the nearest multiple of 1 / second, half away from zero, in double
 */
#define MD_VECTOR_OPS(X)                                                                           \
    X(add, 2)                                                                                      \
    X(sub, 2)                                                                                      \
    X(mul, 2)                                                                                      \
    X(div, 2)                                                                                      \
    X(pow, 2)                                                                                      \
    X(min, 2)                                                                                      \
    X(max, 2)                                                                                      \
    X(ge, 2)                                                                                       \
    X(gt, 2)                                                                                       \
    X(le, 2)                                                                                       \
    X(lt, 2)                                                                                       \
    X(eq, 2)                                                                                       \
    X(exp, 1)                                                                                      \
    X(log, 1)                                                                                      \
    X(sqrt, 1)                                                                                     \
    X(abs, 1)                                                                                      \
    X(neg, 1)                                                                                      \
    X(floor, 1)                                                                                    \
    X(isnan, 1)                                                                                    \
    X(round, 2)                                                                                    \
    X(where, 3)                                                                                    \
    X(clip, 3)
/* With one that scripts do not need. */
#define MD_VECTOR_ALL_OPS(X)                                                                       \
    MD_VECTOR_OPS(X)                                                                               \
    X(copy, 1)

enum md_vector_op {
#define X(name, operands) MD_VECTOR_##name,
    MD_VECTOR_ALL_OPS(X)
#undef X
        MD_VECTOR_COUNT
};

/* The value at (row, i) is data[row * row_stride + i * stride]; strides of 0 repeat a value. */
struct md_plane {
    const float *data;
    ptrdiff_t row_stride, stride;
};

/* Fills out [rows x count], which lies apart from the operands. */
typedef void (*md_vector_body)(float *restrict out, const struct md_plane *in, ptrdiff_t rows,
                               ptrdiff_t count);

int md_vector_operands(enum md_vector_op op);
/* The fastest that this processor can run. */
md_vector_body md_vector_body_of(enum md_vector_op op);

/* The largest (sign 1) or smallest (-1) of some values: NaN when one is, infinite when there are
 * none. */
float md_vector_extreme(const float *values, ptrdiff_t count, float sign);

/*
 * Columns that lie side by side: step i of column k is from[i * step_stride + k]. A missing value
 * is what `last` holds, or with `forward` the one before it; then `sub` is subtracted and the rest
 * divided by `div`, and what is still missing becomes `absent`.
 */
struct md_beside {
    const float *from;
    ptrdiff_t step_stride, out_stride;
    int64_t steps, skip; /* skip: of the steps, so many at the beginning are not written */
    int count;           /* of columns */
    bool forward;
    const float *last, *sub, *div, *absent; /* of each column */
};
/* Writes the steps, out_stride apart; out lies apart from all the others. */
void md_beside(const struct md_beside *beside, float *out);

#endif
