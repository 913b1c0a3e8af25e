/*
 * Offsets for groups, online best fit. Free space is a list of holes sorted by offset, merged when
 * neighbours meet; the space past the last hole is unbounded until the end, where the total is
 * checked. Online placement sees the steps in order as a run does, needs no pairwise comparison of
 * lifetimes, and stays linear in groups times holes.
 */
#include "graph/plan.h"

#include <stdlib.h>
#include <string.h>

struct hole {
    size_t offset, bytes;
};

struct space {
    struct hole *holes; /* sorted, never adjacent */
    int count;
    size_t end; /* everything from here on is free */
};

static void remove_hole(struct space *space, int at)
{
    space->count--;
    memmove(&space->holes[at], &space->holes[at + 1],
            (size_t)(space->count - at) * sizeof *space->holes);
}

/* The offset of `bytes` free bytes; false when the end would pass bytes_max. */
static bool take(struct space *space, size_t bytes, size_t bytes_max, size_t *offset)
{
    int best = -1;
    for (int i = 0; i < space->count; i++)
        if (space->holes[i].bytes >= bytes &&
            (best < 0 || space->holes[i].bytes < space->holes[best].bytes))
            best = i;
    if (best >= 0) {
        *offset = space->holes[best].offset;
        space->holes[best].offset += bytes;
        space->holes[best].bytes -= bytes;
        if (space->holes[best].bytes == 0)
            remove_hole(space, best);
        return true;
    }
    /* Grow the end, from the hole that touches it when there is one. */
    int last = space->count - 1;
    bool touches = last >= 0 && space->holes[last].offset + space->holes[last].bytes == space->end;
    *offset = touches ? space->holes[last].offset : space->end;
    if (*offset > bytes_max || bytes > bytes_max - *offset)
        return false;
    if (touches)
        remove_hole(space, last);
    space->end = *offset + bytes;
    return true;
}

static void give_back(struct space *space, size_t offset, size_t bytes)
{
    int at = 0;
    while (at < space->count && space->holes[at].offset < offset)
        at++;
    memmove(&space->holes[at + 1], &space->holes[at],
            (size_t)(space->count - at) * sizeof *space->holes);
    space->holes[at] = (struct hole){offset, bytes};
    space->count++;
    if (at + 1 < space->count && offset + bytes == space->holes[at + 1].offset) {
        space->holes[at].bytes += space->holes[at + 1].bytes;
        remove_hole(space, at + 1);
    }
    if (at > 0 && space->holes[at - 1].offset + space->holes[at - 1].bytes == offset) {
        space->holes[at - 1].bytes += space->holes[at].bytes;
        remove_hole(space, at);
    }
}

/* Live groups as a binary heap on `end`, so that the dead are found without a walk over the living.
 */
struct live {
    int *heap;
    int count;
    const struct md_group *groups;
};

static void swap(int *a, int *b)
{
    int kept = *a;
    *a = *b;
    *b = kept;
}

static void live_push(struct live *live, int group)
{
    int at = live->count++;
    live->heap[at] = group;
    while (at > 0 && live->groups[live->heap[(at - 1) / 2]].end > live->groups[group].end) {
        swap(&live->heap[at], &live->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
}

static int live_pop(struct live *live)
{
    int top = live->heap[0], at = 0;
    live->heap[0] = live->heap[--live->count];
    for (;;) {
        int child = 2 * at + 1;
        if (child >= live->count)
            return top;
        if (child + 1 < live->count &&
            live->groups[live->heap[child + 1]].end < live->groups[live->heap[child]].end)
            child++;
        if (live->groups[live->heap[at]].end <= live->groups[live->heap[child]].end)
            return top;
        swap(&live->heap[at], &live->heap[child]);
        at = child;
    }
}

static size_t padded(const struct md_group *group, size_t guard_bytes)
{
    size_t bytes = group->bytes + guard_bytes;
    return (bytes + MD_PLAN_ALIGN - 1) / MD_PLAN_ALIGN * MD_PLAN_ALIGN;
}

static bool was_there(const struct md_group *group)
{
    return group->place == MD_PLACE_ARENA && group->begin < 0 && group->bytes > 0;
}

static int by_offset(const void *a, const void *b)
{
    size_t x = (*(const struct md_group *const *)a)->offset;
    size_t y = (*(const struct md_group *const *)b)->offset;
    return (x > y) - (x < y);
}

/* Takes the places of groups that were there before; the gaps between them become holes. */
static enum md_status keep_places(struct md_group *groups, int count, size_t guard_bytes,
                                  struct space *space, struct live *live, struct md_error *err)
{
    const struct md_group **kept = calloc((size_t)count + 1, sizeof *kept);
    size_t kept_count = 0;
    if (!kept)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    for (int g = 0; g < count; g++) {
        if (!was_there(&groups[g]))
            continue;
        kept[kept_count++] = &groups[g];
        live_push(live, g);
    }
    qsort(kept, kept_count, sizeof *kept, by_offset);
    for (size_t k = 0; k < kept_count; k++) {
        if (kept[k]->offset > space->end)
            give_back(space, space->end, kept[k]->offset - space->end);
        space->end = kept[k]->offset + padded(kept[k], guard_bytes);
    }
    free(kept);
    return MD_OK;
}

static enum md_status place_groups(struct md_group *groups, int count, size_t guard_bytes,
                                   size_t bytes_max, struct space *space, struct live *live,
                                   struct md_error *err)
{
    for (int g = 0; g < count; g++) {
        struct md_group *group = &groups[g];
        if (group->place != MD_PLACE_ARENA || group->bytes == 0 || was_there(group))
            continue;
        while (live->count && groups[live->heap[0]].end < group->begin) {
            const struct md_group *dead = &groups[live_pop(live)];
            give_back(space, dead->offset, padded(dead, guard_bytes));
        }
        if (group->bytes > bytes_max ||
            !take(space, padded(group, guard_bytes), bytes_max, &group->offset))
            return md_fail(err, MD_ERR_TOO_LARGE,
                           "plan needs more than %zu bytes (a value of %zu bytes does not fit)",
                           bytes_max, group->bytes);
        live_push(live, g);
    }
    return MD_OK;
}

enum md_status md__plan_memory(struct md_group *groups, int count, size_t guard_bytes,
                               size_t bytes_max, size_t *arena_bytes, struct md_error *err)
{
    struct space space = {calloc((size_t)count + 1, sizeof *space.holes), 0, 0};
    struct live live = {calloc((size_t)count + 1, sizeof *live.heap), 0, groups};
    enum md_status status = MD_OK;
    if (!space.holes || !live.heap)
        status = md_fail(err, MD_ERR_MEMORY, "out of memory");
    else
        status = keep_places(groups, count, guard_bytes, &space, &live, err);
    if (!status)
        status = place_groups(groups, count, guard_bytes, bytes_max, &space, &live, err);
    *arena_bytes = space.end;
    free(space.holes);
    free(live.heap);
    return status;
}
