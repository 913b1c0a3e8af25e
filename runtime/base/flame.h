/*
 * Flame graphs: counted stacks as a self-contained SVG picture. Each box is a frame, as wide as the
 * share of the samples that have it, standing on its caller; its title (shown on hover) has the
 * numbers.
 */
#ifndef MD_BASE_FLAME_H
#define MD_BASE_FLAME_H

#include <stdint.h>

#include "base/buffer.h"

struct md_flame_stack {
    const char *text; /* frames from the root, separated by semicolons; UTF-8 or nearly */
    uint64_t count;
};

/* stacks: in the order of strcmp. interval_ms: what one sample stands for. */
void md_flame_svg(const struct md_flame_stack *stacks, int count, double interval_ms,
                  struct md_buffer *out);

#endif
