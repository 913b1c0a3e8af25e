/*
 * Memory of packed weights: see backend.h. Blocks of some size lie in regions that the kernel may
 * back with huge pages, because products stream weights and would wait for the translation of
 * addresses. A region starts at a multiple of its size, hands out what it has once, and goes when
 * its last block does. Small blocks, and all under a sanitizer that watches the heap, come from
 * the heap.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "graph/backend.h"

#define ALIGN        ((size_t)64)
#define HUGE         ((size_t)2 << 20)
#define REGION_BYTES ((size_t)32 << 20)
#define LARGE_MIN    (REGION_BYTES / 4) /* has pages of its own */
#if defined(__SANITIZE_ADDRESS__)
#define POOLED_MIN SIZE_MAX
#else
#define POOLED_MIN ((size_t)64 << 10)
#endif

struct region {
    size_t used;
    int blocks;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct region *current;

static size_t rounded(size_t bytes, size_t to)
{
    return (bytes + to - 1) / to * to;
}

/* Zeroed pages at a multiple of `align`, huge if the system likes; NULL without memory. */
static void *map_pages(size_t bytes, size_t align)
{
    char *memory =
        mmap(NULL, bytes + align, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    char *begin = (char *)rounded((uintptr_t)memory, align), *end = begin + bytes;
    if (begin > memory)
        munmap(memory, (size_t)(begin - memory));
    if (memory + bytes + align > end)
        munmap(end, (size_t)(memory + align - begin));
    madvise(begin, bytes, MADV_HUGEPAGE);
    return begin;
}

/* From the region at hand, or a new one. */
static void *take(size_t bytes)
{
    void *block = NULL;
    pthread_mutex_lock(&lock);
    if (!current || current->used + bytes > REGION_BYTES) {
        struct region *region = map_pages(REGION_BYTES, REGION_BYTES);
        if (region) {
            region->used = ALIGN;
            current = region;
        }
    }
    if (current && current->used + bytes <= REGION_BYTES) {
        block = (char *)current + current->used;
        current->used += bytes;
        current->blocks++;
    }
    pthread_mutex_unlock(&lock);
    return block;
}

static void give_back(void *block)
{
    struct region *region = (struct region *)((uintptr_t)block / REGION_BYTES * REGION_BYTES);
    pthread_mutex_lock(&lock);
    if (--region->blocks == 0) {
        if (region == current)
            current = NULL;
        munmap(region, REGION_BYTES);
    }
    pthread_mutex_unlock(&lock);
}

void *md_prepared_new(size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return NULL;
    if (bytes >= POOLED_MIN)
        return bytes >= LARGE_MIN ? map_pages(rounded(bytes, HUGE), HUGE)
                                  : take(rounded(bytes, ALIGN));
    size_t whole = rounded(bytes + 1, ALIGN);
    void *block = aligned_alloc(ALIGN, whole);
    return block ? memset(block, 0, whole) : NULL;
}

void md_prepared_delete(void *block, size_t bytes)
{
    if (!block || bytes < POOLED_MIN)
        free(block);
    else if (bytes >= LARGE_MIN)
        munmap(block, rounded(bytes, HUGE));
    else
        give_back(block);
}

void md_kernel_unprepare(const struct md_kernel *kernel, void *prepared, size_t bytes)
{
    if (prepared && kernel->prepared_free)
        kernel->prepared_free(prepared);
    else
        md_prepared_delete(prepared, bytes);
}
