/*
 * Arena blocks form a list with the one in use at its head. A block is at least BLOCK_MIN bytes and
 * grows with what has been handed out (up to BLOCK_MAX), so a small header costs one block and a
 * large graph few. A request that does not fit opens a new block; what was left of the old one is
 * given up.
 */
#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 16, BLOCK_MIN = 4096, BLOCK_MAX = 1 << 20 };

struct md_arena_block {
    struct md_arena_block *next;
    size_t size; /* of data */
    size_t used;
    _Alignas(ALIGN) char data[];
};

void md_arena_init(struct md_arena *arena, size_t bytes_max)
{
    *arena = (struct md_arena){.bytes_max = bytes_max};
}

void md_arena_fini(struct md_arena *arena)
{
    while (arena->blocks) {
        struct md_arena_block *block = arena->blocks;
        arena->blocks = block->next;
        free(block);
    }
    *arena = (struct md_arena){.bytes_max = arena->bytes_max};
}

static struct md_arena_block *block_add(struct md_arena *arena, size_t size_min)
{
    size_t size = arena->used < BLOCK_MIN ? BLOCK_MIN : arena->used;
    if (size > BLOCK_MAX)
        size = BLOCK_MAX;
    if (size < size_min)
        size = size_min;
    struct md_arena_block *block = calloc(1, sizeof *block + size);
    if (!block)
        return NULL;
    block->size = size;
    block->next = arena->blocks;
    arena->blocks = block;
    return block;
}

void *md_arena_alloc(struct md_arena *arena, size_t size)
{
    size_t bytes_max = arena->bytes_max ? arena->bytes_max : SIZE_MAX / 2;
    if (size > SIZE_MAX / 2)
        return NULL;
    size = size == 0 ? ALIGN : (size + ALIGN - 1) / ALIGN * ALIGN;
    if (arena->used > bytes_max || size > bytes_max - arena->used)
        return NULL;
    struct md_arena_block *block = arena->blocks;
    if (!block || size > block->size - block->used)
        block = block_add(arena, size);
    if (!block)
        return NULL;
    void *memory = block->data + block->used;
    block->used += size;
    arena->used += size;
    return memory;
}

void *md_arena_array(struct md_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    return __builtin_mul_overflow(count, size, &bytes) ? NULL : md_arena_alloc(arena, bytes);
}

char *md_arena_strdup(struct md_arena *arena, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = md_arena_alloc(arena, size);
    return copy ? memcpy(copy, text, size) : NULL;
}
