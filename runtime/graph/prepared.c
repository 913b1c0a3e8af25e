/* Memory of packed weights: see backend.h. */
#include <stdlib.h>
#include <string.h>

#include "graph/backend.h"

#define ALIGN 64

void *md_prepared_new(size_t bytes)
{
    if (bytes > SIZE_MAX - ALIGN)
        return NULL;
    size_t rounded = (bytes / ALIGN + 1) * ALIGN;
    void *block = aligned_alloc(ALIGN, rounded);
    return block ? memset(block, 0, rounded) : NULL;
}

void md_prepared_delete(void *block, size_t bytes)
{
    (void)bytes;
    free(block);
}

void md_kernel_unprepare(const struct md_kernel *kernel, void *prepared, size_t bytes)
{
    if (prepared && kernel->prepared_free)
        kernel->prepared_free(prepared);
    else
        md_prepared_delete(prepared, bytes);
}
