/* The bodies of base/vectors.h by instruction set, for who picks (base/vectors.c) and who tests. */
#ifndef MD_BASE_ISA_VECTORS_H
#define MD_BASE_ISA_VECTORS_H

#include "base/vectors.h"

extern const md_vector_body md__vector_bodies_portable[MD_VECTOR_COUNT];
extern const md_vector_body md__vector_bodies_avx2[MD_VECTOR_COUNT];
extern const md_vector_body md__vector_bodies_avx512[MD_VECTOR_COUNT];

/* The tables that this processor can run, the fastest last; returns how many there are. */
enum { MD__VECTOR_TABLES_MAX = 3 };
int md__vector_tables(const md_vector_body *tables[MD__VECTOR_TABLES_MAX]);

#endif
