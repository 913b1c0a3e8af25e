/*
 * The CPU backend, float32. The reference holds one plain kernel an operator, written to be read; a
 * backend of an instruction set starts from it and replaces slots with fast kernels. One source
 * (kernels/cpu/isa/) is compiled for each instruction set.
 */
#ifndef MD_KERNELS_CPU_H
#define MD_KERNELS_CPU_H

#include "graph/backend.h"

/* AMX: AVX-512 with products on tiles, of float32 as exact as others (isa/tiles.h). */
enum md_cpu_isa { MD_ISA_PORTABLE, MD_ISA_AVX2, MD_ISA_AVX512, MD_ISA_AMX, MD_ISA_BEST };

const struct md_backend *md_cpu_reference(void);

/* Ways of adding up products of bytes, slowest first (isa/int8.h); all give the same sums. */
enum md_cpu_int8 { MD_INT8_WIDENED, MD_INT8_DOT, MD_INT8_TILES, MD_INT8_BEST };

/* NULL when this processor lacks the instruction set. MD_ISA_BEST never fails. */
const struct md_backend *md_cpu_backend(enum md_cpu_isa isa);

/* Whether this process may use AMX's tiles; asks Linux for it, which wants that before the first
 * use, since a thread's tiles take 8 KB. */
bool md_cpu_may_use_tiles(void);

/* For tests: only the ways below the limit are used from now on, BEST: whatever the processor has.
 * Not while a kernel runs. */
void md_cpu_int8_set_limit(enum md_cpu_int8 limit);
enum md_cpu_int8 md_cpu_int8_limit(void);

#endif
