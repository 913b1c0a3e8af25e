/*
 * The CPU backend, float32. The reference holds one plain kernel an operator, written to be read; a
 * backend of an instruction set starts from it and replaces slots with fast kernels. One source
 * (kernels/cpu/isa/) is compiled for each instruction set.
 */
#ifndef MD_KERNELS_CPU_H
#define MD_KERNELS_CPU_H

#include "graph/backend.h"

enum md_cpu_isa { MD_ISA_PORTABLE, MD_ISA_AVX2, MD_ISA_AVX512, MD_ISA_BEST };

const struct md_backend *md_cpu_reference(void);

/* NULL when this processor lacks the instruction set. MD_ISA_BEST never fails. */
const struct md_backend *md_cpu_backend(enum md_cpu_isa isa);

#endif
