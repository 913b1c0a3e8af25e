/*
 * Elementwise operators on part of a tensor: what elementwise.c runs over whole tensors, and
 * chain.c over tiles.
 */
#ifndef MD_KERNELS_CPU_ISA_ELEMENTWISE_H
#define MD_KERNELS_CPU_ISA_ELEMENTWISE_H

#include "graph/activation.h"
#include "kernels/cpu/common.h"
#include "kernels/cpu/isa/vec.h"

struct unary {
    enum md_op op;
    const float *x;
    float *y;
    float a, b; /* the operator's attributes, in the order of ref_unary.c */
};

struct binary {
    enum md_op op;
    const float *a, *b;
    float *y;
    size_t first[3];    /* elements that a, b and y begin with: 0 but where they hold a tile */
    size_t inner;       /* length of the plain loop */
    int a_step, b_step; /* 0 or 1 */
    struct md__walk outer;
};

#define md__unary_of        MD_ISA_SYMBOL(md__unary_of)
#define md__unary_elements  MD_ISA_SYMBOL(md__unary_elements)
#define md__binary_shapes   MD_ISA_SYMBOL(md__binary_shapes)
#define md__binary_elements MD_ISA_SYMBOL(md__binary_elements)

/* Without tensors. */
struct unary md__unary_of(const struct md_activation *activation);
void md__unary_elements(const struct unary *unary, size_t begin, size_t end);

/* How the operands lie over the result, which has elements. `pitch`: of a, b and y as backend.h has
 * it; NULL: all are dense. */
void md__binary_shapes(struct binary *binary, const struct md_shape *a, const struct md_shape *b,
                       const struct md_shape *y, const size_t *pitch);
/* Elements [begin, end) of the result. */
void md__binary_elements(const struct binary *binary, size_t begin, size_t end);

#endif
