/*
 * One function per instruction set that replaces slots of a backend by its fast kernels.
 */
#ifndef MD_KERNELS_CPU_ISA_TABLE_H
#define MD_KERNELS_CPU_ISA_TABLE_H

#include "graph/backend.h"

void md__fill_portable(struct md_backend *backend);
void md__fill_avx2(struct md_backend *backend);
void md__fill_avx512(struct md_backend *backend);
/* Over those of avx512: the kernels that multiply on tiles. */
void md__fill_amx(struct md_backend *backend);

#endif
