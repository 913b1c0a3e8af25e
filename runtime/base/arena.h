/*
 * Arena: bump allocation for things that die together (a graph, a parsed header). Memory comes in
 * blocks under a byte cap; md_arena_fini frees all. Allocations are zeroed and aligned to 16 bytes.
 * Not thread-safe.
 */
#ifndef MD_BASE_ARENA_H
#define MD_BASE_ARENA_H

#include <stddef.h>

struct md_arena {
    struct md_arena_block *blocks;
    size_t used;      /* bytes handed out, all blocks */
    size_t bytes_max; /* 0: no cap */
};

void md_arena_init(struct md_arena *arena, size_t bytes_max);
void md_arena_fini(struct md_arena *arena);
void *md_arena_alloc(struct md_arena *arena, size_t size); /* NULL: out of memory or over the cap */
void *md_arena_array(struct md_arena *arena, size_t count, size_t size); /* overflow-checked */
char *md_arena_strdup(struct md_arena *arena, const char *text);

#endif
