/* Picks the instruction set of elementwise arithmetic; see vectors.h. */
#include "base/vectors.h"

#include <stdatomic.h>

#include "base/isa/vectors.h"

static const int operands[MD_VECTOR_COUNT] = {
#define X(name, count) count,
    MD_VECTOR_ALL_OPS(X)
#undef X
};

int md_vector_operands(enum md_vector_op op)
{
    return operands[op];
}

int md__vector_tables(const struct md__vector_table *tables[MD__VECTOR_TABLES_MAX])
{
    int count = 0;
    tables[count++] = &md__vector_table_portable;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        tables[count++] = &md__vector_table_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        tables[count++] = &md__vector_table_avx512;
#endif
    return count;
}

/* Whoever comes first finds out; all find the same. */
static const struct md__vector_table *_Atomic found;

static const struct md__vector_table *fastest(void)
{
    const struct md__vector_table *table = atomic_load_explicit(&found, memory_order_relaxed);
    if (table == NULL) {
        const struct md__vector_table *tables[MD__VECTOR_TABLES_MAX];
        table = tables[md__vector_tables(tables) - 1];
        atomic_store_explicit(&found, table, memory_order_relaxed);
    }
    return table;
}

md_vector_body md_vector_body_of(enum md_vector_op op)
{
    return fastest()->bodies[op];
}

float md_vector_extreme(const float *values, ptrdiff_t count, float sign)
{
    return fastest()->extreme(values, count, sign);
}

void md_beside(const struct md_beside *beside, float *out)
{
    fastest()->beside(beside, out);
}

const md__fold_body *md__folds(void)
{
    return fastest()->folds;
}
