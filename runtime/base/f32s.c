/* Picks the vectors that write many numbers; see isa/numbers.h. */
#include <stdatomic.h>

#include "base/f64text.h"
#include "base/isa/numbers.h"

int md__f32s_writers(md__f32s_writer *writers)
{
    int count = 0;
    writers[count++] = md__f32s_text_portable;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        writers[count++] = md__f32s_text_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        writers[count++] = md__f32s_text_avx512;
#endif
    return count;
}

/* Whoever comes first finds out; all find the same. */
static _Atomic(md__f32s_writer) fastest;

char *md_f32s_text(const float *values, size_t count, int decimals, char *text)
{
    md__f32s_writer writer = atomic_load_explicit(&fastest, memory_order_relaxed);
    if (writer == NULL) {
        md__f32s_writer writers[MD__F32S_WRITERS_MAX];
        writer = writers[md__f32s_writers(writers) - 1];
        atomic_store_explicit(&fastest, writer, memory_order_relaxed);
    }
    return writer(values, count, decimals, text);
}
