/*
 * What sources that are compiled once per instruction set begin with: the files of this folder and
 * of kernels/cpu/isa.
 *
 * MD_ISA names the set. Everything public that such a file defines goes through MD_ISA_SYMBOL, so
 * that the compilations live side by side in one library; everything else is static.
 */
#ifndef MD_BASE_ISA_ISA_H
#define MD_BASE_ISA_ISA_H

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define MD_ISA_JOIN(name, isa)   name##_##isa
#define MD_ISA_EXPAND(name, isa) MD_ISA_JOIN(name, isa)
#define MD_ISA_SYMBOL(name)      MD_ISA_EXPAND(name, MD_ISA)

#if defined(MD_ISA_avx512)
#define VECTOR_BYTES     64
#define VECTOR_REGISTERS 32
#elif defined(MD_ISA_avx2)
#define VECTOR_BYTES     32
#define VECTOR_REGISTERS 16
#else
#define VECTOR_BYTES     16
#define VECTOR_REGISTERS 16
#endif

#define INLINE static inline __attribute__((always_inline, unused))

#endif
