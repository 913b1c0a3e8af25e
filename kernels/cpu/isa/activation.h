/*
 * Activations at the end of fused kernels: applied to what a kernel has just stored, a tile that
 * still lies in L1. One pass over it costs less than a copy of every tile for every activation.
 */
#ifndef MD_KERNELS_CPU_ISA_ACTIVATION_H
#define MD_KERNELS_CPU_ISA_ACTIVATION_H

#include "graph/activation.h"
#include "kernels/cpu/isa/vec.h"

#if defined(MD_ISA_amx)
#define md__activate md__activate_avx512 /* no product in there */
#else
#define md__activate MD_ISA_SYMBOL(md__activate)
#endif
/* On the first `columns` floats of each of `rows` rows, `stride` apart; nothing for IDENTITY. */
void md__activate(const struct md_activation *activation, float *y, size_t stride, size_t rows,
                  size_t columns);

#endif
