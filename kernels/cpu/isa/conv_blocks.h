/*
 * How a direct convolution is laid out: its axes, the groups put together, and the blocks that
 * tasks compute (conv_direct.c runs them).
 */
#ifndef MD_KERNELS_CPU_ISA_CONV_BLOCKS_H
#define MD_KERNELS_CPU_ISA_CONV_BLOCKS_H

#include "kernels/cpu/isa/conv_tile.h"

#define TAP_ROWS_MAX 1024 /* of a kernel, over two axes */

/*
 * One axis: tap t of output place j lies at j * in_step + first + t * tap_apart of the input, is
 * number tap + t * tap_step of the kernel, and the place is number out + j * out_step of the
 * output.
 */
struct axis {
    int64_t taps, tap, tap_step;
    int64_t in, first, tap_apart, in_step;
    int64_t places, out, out_step;
};

struct direct {
    const struct conv_run *run;
    struct axis axis[3];
    size_t batch, groups, group_channels, group_outputs; /* groups put together */
    size_t vectors;                                      /* of a group's outputs */
    size_t vector_floats;                                /* of packed weights */
    const float *packed;                                 /* of this residue */
    bool patched;
    size_t tile_vectors, tile_places;
    size_t lines, columns, chunk; /* of a task: output lines, places in a line, vectors */
    size_t line_blocks, column_blocks, chunks;
    size_t rows;                     /* tap rows */
    size_t patch_width, patch_lines; /* places; lines for each tap of axis 0 */
    bool spread;                     /* patch lines are one for each tap row, not neighbours */
    size_t patch_floats, thread_bytes;
};

INLINE int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

INLINE int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

INLINE size_t ceil_div(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

INLINE size_t align64(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* Places that a line of `count` outputs reads. */
INLINE int64_t reach(const struct axis *axis, int64_t count)
{
    return (count - 1) * axis->in_step + larger(axis->taps - 1, 0) * axis->tap_apart + 1;
}

/* Nothing to compute: an empty batch, or a residue that no place has. */
INLINE bool is_empty(const struct direct *direct)
{
    const struct axis *axis = direct->axis;
    return !direct->batch || axis[0].places < 1 || axis[1].places < 1 || axis[2].places < 1;
}

#define md__direct_describe MD_ISA_SYMBOL(md__direct_describe)
/* Everything but `packed`, for one residue on each axis (0 of a convolution that is not
 * transposed). */
void md__direct_describe(const struct conv_run *run, const int64_t *residue, struct direct *direct);

/* The residues of an axis, and each in the order in which weights are packed. */
INLINE int64_t residues(const struct conv *conv, int i)
{
    return conv->transposed ? conv->window.stride[i] : 1;
}
#define EACH_RESIDUE(conv, residue)                                                                \
    for ((residue)[0] = 0; (residue)[0] < residues(conv, 0); (residue)[0]++)                       \
        for ((residue)[1] = 0; (residue)[1] < residues(conv, 1); (residue)[1]++)                   \
            for ((residue)[2] = 0; (residue)[2] < residues(conv, 2); (residue)[2]++)

#endif
