/* The bodies of base/vectors.h by instruction set, for who picks (base/vectors.c) and who tests. */
#ifndef MD_BASE_ISA_VECTORS_H
#define MD_BASE_ISA_VECTORS_H

#include "base/isa/reduce.h"
#include "base/vectors.h"

struct md__vector_table {
    float (*extreme)(const float *values, ptrdiff_t count, float sign);
    md_vector_body bodies[MD_VECTOR_COUNT];
    const md__fold_body *folds;
    void (*beside)(const struct md_beside *beside, float *out);
};

extern const struct md__vector_table md__vector_table_portable;
extern const struct md__vector_table md__vector_table_avx2;
extern const struct md__vector_table md__vector_table_avx512;

float md__vector_extreme_portable(const float *values, ptrdiff_t count, float sign);
float md__vector_extreme_avx2(const float *values, ptrdiff_t count, float sign);
float md__vector_extreme_avx512(const float *values, ptrdiff_t count, float sign);

void md__beside_portable(const struct md_beside *beside, float *out);
void md__beside_avx2(const struct md_beside *beside, float *out);
void md__beside_avx512(const struct md_beside *beside, float *out);

/* The tables that this processor can run, the fastest last; returns how many there are. */
enum { MD__VECTOR_TABLES_MAX = 3 };
int md__vector_tables(const struct md__vector_table *tables[MD__VECTOR_TABLES_MAX]);

#endif
