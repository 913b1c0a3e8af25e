/*
 * What kernels on channels-last tensors [N, D.., C] share: vectors of channels with a tail.
 */
#ifndef MD_KERNELS_CPU_ISA_LAST_H
#define MD_KERNELS_CPU_ISA_LAST_H

#include "kernels/cpu/isa/vec.h"

/* The larger of both; a NaN in either comes through. */
INLINE vf vmax_nan(vf a, vf b)
{
    return choose(a != a, a, vmax(a, b));
}

/* [N, D.., C] as ONNX has it, which windows are worked out on. */
INLINE struct md_shape last_as_first(const struct md_shape *shape)
{
    struct md_shape made = *shape;
    int last = shape->rank - 1;
    for (int i = last; i > 1; i--)
        made.dim[i] = shape->dim[i - 1];
    made.dim[1] = shape->dim[last];
    return made;
}

/* Floats of a [N, D.., C] tensor: elements of D.., and C. */
INLINE size_t last_plane(const struct md_shape *shape)
{
    return md__span(shape, 1, shape->rank - 1);
}

INLINE size_t last_channels(const struct md_shape *shape)
{
    return (size_t)shape->dim[shape->rank - 1];
}

#endif
