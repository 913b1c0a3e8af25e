/*
 * What the kernels of gated residual networks share: memory for packed weights, the learnt gate and
 * the interpolation of a skip, and which row of context a row of x reads.
 */
#ifndef MD_KERNELS_CPU_ISA_NETWORK_H
#define MD_KERNELS_CPU_ISA_NETWORK_H

#include <math.h>

#include "kernels/cpu/isa/linear.h"

/* Hands out the memory of a network, or only counts when there is none yet. */
struct packing {
    float *memory;
    size_t used;
};

INLINE float *take(struct packing *packing, size_t floats)
{
    float *at = packing->memory ? packing->memory + packing->used : NULL;
    packing->used += padded(floats);
    return at;
}

/* 2 sigmoid(gate), the learnt factor of a skip. */
INLINE float gate_factor(const struct md_tensor *gate, size_t i)
{
    return gate ? 2 / (1 + expf(-((const float *)gate->data)[i])) : 1;
}

/* Feature o of interp(x; outputs) is (1 - share) x[low] + share x[high] (graph/fused.md). */
struct stretch {
    size_t low, high;
    double share;
};

INLINE struct stretch stretch_of(size_t o, size_t inputs, size_t outputs)
{
    double step = outputs > 1 ? (double)(inputs - 1) / (double)(outputs - 1) : 0;
    double position = inputs == outputs ? (double)o : step * (double)o;
    size_t low = (size_t)position < inputs - 1 ? (size_t)position : inputs - 1;
    return (struct stretch){low, low + 1 < inputs ? low + 1 : low, position - (double)low};
}

INLINE const struct md_tensor *optional(const struct md_tensor *in, int in_count, int i)
{
    return md__has(in, in_count, i) ? &in[i] : NULL;
}

INLINE size_t last(const struct md_tensor *tensor)
{
    return (size_t)tensor->shape.dim[tensor->shape.rank - 1];
}

/*
 * How rows of x find their row of context: `group` neighbouring rows share one, as [B, 1, C] does
 * for [B, T, I]; then contexts repeat after `contexts` of them. False when the axes interleave
 * otherwise.
 */
struct context_map {
    size_t group, contexts;
};

INLINE bool map_context(const struct md_shape *x, const struct md_shape *context,
                        struct context_map *map)
{
    if (context->rank != x->rank)
        return false;
    int axis = x->rank - 2;
    map->group = map->contexts = 1;
    for (; axis >= 0 && context->dim[axis] == 1; axis--)
        map->group *= (size_t)x->dim[axis];
    for (; axis >= 0 && context->dim[axis] == x->dim[axis]; axis--)
        map->contexts *= (size_t)x->dim[axis];
    for (; axis >= 0 && context->dim[axis] == 1; axis--)
        ;
    return axis < 0;
}

/*
 * The products of the context rows (input 9) with `weights`, before the rows of x need them: into
 * *scratch, which moves on behind them, padded(weights->columns) apart. *products points there.
 */
INLINE enum md_status multiply_context(const struct md_kernel_call *call,
                                       const struct packed *weights, struct context_map *map,
                                       float **scratch, const float **products,
                                       struct md_error *err)
{
    if (!map_context(&call->in[0].shape, &call->in[9].shape, map))
        return md_fail(err, MD_ERR_UNPROCESSABLE, "context does not broadcast over rows");
    size_t wide = padded(weights->columns);
    struct product product = {.x = call->in[9].data,
                              .x_stride = weights->inputs,
                              .rows = map->contexts,
                              .y = *scratch,
                              .y_stride = wide,
                              .y_columns = wide};
    md__multiply_parallel(call->pool, weights, &product);
    *products = *scratch;
    *scratch += map->contexts * wide;
    return MD_OK;
}

#endif
