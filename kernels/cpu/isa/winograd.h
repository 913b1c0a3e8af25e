/*
 * Winograd's convolution, between its files: winograd.c runs it, winograd_pack.c chooses, packs and
 * checks the weights.
 */
#ifndef MD_KERNELS_CPU_ISA_WINOGRAD_H
#define MD_KERNELS_CPU_ISA_WINOGRAD_H

#include "kernels/cpu/isa/conv_last.h"

#define PANEL        (VECTOR_REGISTERS / 8) /* vectors, at most */
#define POINTS_MAX   6                      /* of a tile along one axis */
#define ALIGN_FLOATS 16

/*
 * The weights of one convolution, transformed: [group][panel][point][channel][vector][VL]. Groups
 * narrower than a vector are put together, block-diagonally.
 */
struct winograd {
    size_t groups, channels, outputs; /* channels and outputs of a group */
    size_t tile;                      /* m: 2 or 4 */
    size_t panels; /* of a group's outputs, whose widths in vectors differ by one at most */
    float weights[] __attribute__((aligned(64)));
};

/* An even number beyond one, which two threads share evenly when there are few tiles. */
INLINE size_t panels_of(size_t outputs)
{
    size_t panels = (vectors_of(outputs) + PANEL - 1) / PANEL;
    return panels > 1 ? panels + panels % 2 : panels;
}

/* The first vector of panel p; that of panel `panels` is the number of vectors. */
INLINE size_t panel_begin(size_t outputs, size_t p)
{
    return vectors_of(outputs) * p / panels_of(outputs);
}

INLINE size_t points_of(size_t tile)
{
    return (tile + 2) * (tile + 2);
}

INLINE size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

#define md__winograd_tiles MD_ISA_SYMBOL(md__winograd_tiles)
/* Tiles of m x m that the output has. */
size_t md__winograd_tiles(const struct conv *conv, size_t m);

#define md__winograd_scratch MD_ISA_SYMBOL(md__winograd_scratch)
size_t md__winograd_scratch(const struct conv *conv);

#define md__winograd_run MD_ISA_SYMBOL(md__winograd_run)
void md__winograd_run(const struct conv_run *run);

#endif
