/*
 * What the two ways of running a recurrence by rows share (recurrent.c in registers,
 * recurrent_tiles.h on AMX's tiles): packed weights, states, and how rows are grouped.
 */
#ifndef MD_KERNELS_CPU_ISA_RECURRENT_ROWS_H
#define MD_KERNELS_CPU_ISA_RECURRENT_ROWS_H

#include "kernels/cpu/isa/sequence.h"

/* Flat (backend.h): weights by direction and block, then biases [direction][block][column][VL],
 * then AMX's weights. */
struct packed_cells {
    bool rows; /* always: what steps.c packs begins with a false */
    bool gru;
    size_t inputs, units, blocks, directions;
    size_t tiles; /* where AMX's weights are; 0: nowhere */
    float memory[] __attribute__((aligned(64)));
};

struct recurrence {
    const struct packed_cells *packed;
    struct sequence seq;
    size_t groups;   /* of up to TILE_MAX rows, or GROUP_ROWS; they share the batch evenly */
    bool from_zero;  /* the first state is 0 */
    float *h[2], *c; /* [direction][batch][blocks * VL]; on tiles h[0] only */
    float *tiles;    /* their scratch */
};

INLINE size_t block_floats(const struct packed_cells *packed)
{
    return (packed->inputs + packed->units) * 4 * VL;
}

/* Of unit block `at`, counted over all directions. */
INLINE size_t bias_of(const struct packed_cells *packed, size_t at)
{
    return packed->directions * packed->blocks * block_floats(packed) + at * 4 * VL;
}

INLINE size_t group_begin(const struct recurrence *rec, size_t group)
{
    return group * rec->seq.batch / rec->groups;
}

#endif
