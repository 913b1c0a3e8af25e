/*
 * Recurrences by units (steps.c), called from recurrent.c for what it does not do by rows.
 */
#ifndef MD_KERNELS_CPU_ISA_STEPS_H
#define MD_KERNELS_CPU_ISA_STEPS_H

#include "kernels/cpu/isa/linear.h"

#define md__steps_constant MD_ISA_SYMBOL(md__steps_constant)
#define md__steps_usual    MD_ISA_SYMBOL(md__steps_usual)
#define md__steps_prepare  MD_ISA_SYMBOL(md__steps_prepare)
#define md__steps_scratch  MD_ISA_SYMBOL(md__steps_scratch)
#define md__steps_pack     MD_ISA_SYMBOL(md__steps_pack)
#define md__steps_shape    MD_ISA_SYMBOL(md__steps_shape)
#define md__steps_run      MD_ISA_SYMBOL(md__steps_run)

/* Weights and biases are known. */
bool md__steps_constant(const struct md_tensor *in, int in_count);
/* Default activations and nothing between a sum and its activation. */
bool md__steps_usual(const struct md_node *node, const struct md_tensor *in, int in_count);

/* The functions of a kernel (backend.h); what prepare packs begins with a false. */
enum md_status md__steps_prepare(const struct md_node *node, const struct md_tensor *in,
                                 int in_count, void **prepared, size_t *bytes,
                                 struct md_error *err);
size_t md__steps_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                         int threads);
enum md_status md__steps_run(const struct md_kernel_call *call, struct md_error *err);

/* ---- what prepare packs: between steps_pack.c and steps.c ------------------------------------ */

enum side { OF_X, OF_H, OF_RESET, SIDES }; /* OF_RESET: the original GRU's product with r h */

/* Flat: behind it, for each direction, the packed products of its sides. */
struct packed_steps {
    bool rows;            /* never: recurrent.c packs otherwise */
    bool usual, original; /* original: a GRU that resets before the product */
    size_t inputs, units, directions, gates;
    size_t all_bytes;
    float memory[] __attribute__((aligned(64)));
};

INLINE size_t side_gates(const struct packed_steps *p, enum side side)
{
    return side == OF_X || !p->original ? (side == OF_RESET ? 0 : p->gates)
                                        : (side == OF_H ? 2 : 1);
}

INLINE size_t side_inputs(const struct packed_steps *p, enum side side)
{
    return side == OF_X ? p->inputs : p->units;
}

INLINE size_t side_columns(const struct packed_steps *p, enum side side)
{
    return side_gates(p, side) * padded(p->units);
}

INLINE size_t side_floats(const struct packed_steps *p, enum side side)
{
    return padded(packed_floats(side_inputs(p, side), side_columns(p, side), false));
}

INLINE size_t direction_floats(const struct packed_steps *p)
{
    return side_floats(p, OF_X) + side_floats(p, OF_H) + side_floats(p, OF_RESET);
}

INLINE struct packed packed_side(const struct packed_steps *p, size_t d, enum side side)
{
    size_t at = d * direction_floats(p);
    for (int before = 0; before < (int)side; before++)
        at += side_floats(p, (enum side)before);
    return packed_at(side_inputs(p, side), side_columns(p, side), false,
                     (float *)(uintptr_t)p->memory + at);
}

/* Everything of it but the memory, which takes all_bytes in all. */
struct packed_steps md__steps_shape(const struct md_node *node, const struct md_tensor *in,
                                    int in_count);
void md__steps_pack(struct packed_steps *p, const struct md_tensor *in, int in_count);

#endif
