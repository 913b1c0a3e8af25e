/*
 * A block of rows through all of VariableSelection: scores, softmax and one variable after another.
 * selection.c runs all rows; selection_roll.c encodes and selection_rows.c selects only what is not
 * kept from the last run.
 */
#ifndef MD_KERNELS_CPU_ISA_SELECTION_WHOLE_H
#define MD_KERNELS_CPU_ISA_SELECTION_WHOLE_H

#if defined(MD_ISA_amx)
#include "kernels/cpu/isa/selection_tiles.h"
#else
#include "kernels/cpu/isa/selection_lanes.h"
#endif

/* ---- the whole block ------------------------------------------------------------------------- */

INLINE void sum_vectors(const struct selecting *selecting, const struct block *block,
                        const int vectors)
{
    const struct folded_selection *net = selecting->net;
    gather_seen(selecting, block);
    score(selecting, block, NULL, vectors);
    memset(block->sum, 0, net->units * LANE_ROWS * sizeof *block->sum);
    for (size_t i = 0; i < net->categoricals; i++)
        add_categorical(selecting, block, i, vectors);
    for (size_t i = 0; i < net->reals; i++)
        if (is_shared(selecting, i))
            add_encoded(
                encoded_at(selecting, i) + block->first % selecting->sharing.steps * net->units,
                feature(block->weights, net->categoricals + i), net->units, block->sum, vectors);
    add_reals(selecting, block, vectors);
}

/* block->sum: the result for the block's rows. */
INLINE void sum_block(const struct selecting *selecting, const struct block *block)
{
    if (LANE_VECTORS > 2 && block->rows > 2 * VL)
        sum_vectors(selecting, block, LANE_VECTORS);
    else if (block->rows > VL)
        sum_vectors(selecting, block, 2);
    else
        sum_vectors(selecting, block, 1);
}

/* ---- the files of the kernel ----------------------------------------------------------------- */

/* Where step `t` of a window lies in its ring. */
INLINE size_t md__roll_place(const struct md_kept_window *window, size_t steps, size_t t)
{
    int64_t first = window->first % (int64_t)steps;
    return ((size_t)(first < 0 ? first + (int64_t)steps : first) + t) % steps;
}

#define md__find_shared    MD_ISA_SYMBOL(md__find_shared)
#define md__roll_selection MD_ISA_SYMBOL(md__roll_selection)
#define md__roll_bytes     MD_ISA_SYMBOL(md__roll_bytes)
#define md__roll_scratch   MD_ISA_SYMBOL(md__roll_scratch)
#define md__keep_rows      MD_ISA_SYMBOL(md__keep_rows)
#define md__keep_bytes     MD_ISA_SYMBOL(md__keep_bytes)

/* selection.c: sequences, steps, blocks and, if `look` and where it is worth it, reals. */
void md__find_shared(struct selecting *selecting, bool look);

/*
 * selection_roll.c: the kernel where windows are kept. scratch: md__roll_scratch() bytes behind
 * what the call's scratch holds already. Bytes: of one window (backend.h); 0 where it does not
 * roll.
 */
void md__roll_selection(struct selecting *selecting, void *scratch);
size_t md__roll_bytes(const struct md_node *node, const struct md_tensor *in, int in_count);
size_t md__roll_scratch(const struct md_shape *x);

/* selection_rows.c: likewise, where whole rows are kept. Needs no more scratch. */
void md__keep_rows(struct selecting *selecting, void *scratch);
size_t md__keep_bytes(const struct md_node *node, const struct md_tensor *in, int in_count);

#endif
