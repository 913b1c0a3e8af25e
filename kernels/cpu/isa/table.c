/*
 * Puts the fast kernels of this instruction set over the reference ones (cpu.c asks for it).
 */
#include "kernels/cpu/isa/table.h"
#include "kernels/cpu/isa/kernels.h"

void MD_ISA_SYMBOL(md__fill)(struct md_backend *backend)
{
#define X(id, kernel) backend->kernels[MD_OP_##id] = &(kernel);
#if defined(MD_ISA_amx)
    MD__TILE_KERNELS(X)
#else
    MD__ISA_KERNELS(X)
#endif
#undef X
}
