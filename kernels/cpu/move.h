/*
 * Moving elements between two strided layouts: what Transpose, Concat, Split, Slice, Expand and
 * Gather with one index all are.
 */
#ifndef MD_KERNELS_CPU_MOVE_H
#define MD_KERNELS_CPU_MOVE_H

#include "kernels/cpu/common.h"

/*
 * Element walk.at[0] of `from` goes to element walk.at[1] of `to`, over the whole walk. The walk
 * may be in any order and have any strides, as long as no two positions share a target.
 */
struct md__move {
    struct md__walk walk;
    const char *from;
    char *to;
    size_t bytes; /* of an element */
};

/* Merges axes, then copies runs (or single elements) over the pool. Alters the walk. */
void md__move_run(struct md__move *move, struct md_pool *pool);

/* move.c */
extern const struct md_kernel md__transpose, md__concat, md__split, md__slice, md__expand, md__copy;
/* gather.c */
extern const struct md_kernel md__gather;

#endif
