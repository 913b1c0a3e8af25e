/* Replaces the C library's allocator; see failing.h. */
#include "failing.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#if FAILING_AVAILABLE

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

static _Atomic long allocations_left = -1; /* before the one that fails; negative: none does */
static _Atomic long live_blocks;

static bool may_allocate(void)
{
    return atomic_load(&allocations_left) < 0 || atomic_fetch_sub(&allocations_left, 1) > 0;
}

static void *counted(void *memory)
{
    if (memory)
        atomic_fetch_add(&live_blocks, 1);
    return memory;
}

void *malloc(size_t size)
{
    return may_allocate() ? counted(__libc_malloc(size)) : NULL;
}

void *calloc(size_t count, size_t size)
{
    return may_allocate() ? counted(__libc_calloc(count, size)) : NULL;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return may_allocate() ? counted(__libc_memalign(alignment, size)) : NULL;
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    *memory = may_allocate() ? counted(__libc_memalign(alignment, size)) : NULL;
    return *memory ? 0 : ENOMEM;
}

void *realloc(void *memory, size_t size)
{
    if (!may_allocate())
        return NULL;
    void *moved = __libc_realloc(memory, size);
    return memory ? moved : counted(moved);
}

void free(void *memory)
{
    if (memory)
        atomic_fetch_sub(&live_blocks, 1);
    __libc_free(memory);
}

bool failing_run(enum md_status (*operation)(void), int allowed, enum md_status *status, long *kept)
{
    long before = live_blocks;
    atomic_store(&allocations_left, allowed);
    *status = operation();
    /* The one that failed counted past zero, and those after it succeeded again. */
    bool has_failed = atomic_exchange(&allocations_left, -1) < 0;
    *kept = live_blocks - before;
    return has_failed;
}

#else

bool failing_run(enum md_status (*operation)(void), int allowed, enum md_status *status, long *kept)
{
    (void)allowed;
    *status = operation();
    *kept = 0;
    return false;
}

#endif
