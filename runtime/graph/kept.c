/* The memory of kept windows: a hash table from (node, key) to a mapping of its own; see kept.h. */
#include "graph/kept.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct entry {
    uint64_t key;
    int node;
    int64_t tick;
    uint64_t run;  /* the last that used it */
    uint64_t made; /* the run that its memory is from */
    size_t bytes;
    void *memory; /* NULL: an empty place */
};

struct md_kept {
    struct entry *entries; /* open addressing; at most half full */
    size_t places, used;
    uint64_t run;
    int64_t tick;
    struct md_kept_windows taken;
    struct md_kept_window *windows;
    int window_room;
    struct md_kept_report report;
};

uint64_t md_window_key(const char *text)
{
    uint64_t hash = 14695981039346656037u;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 1099511628211u;
    return hash;
}

struct md_kept *md__kept_new(size_t bytes_max)
{
    struct md_kept *kept = calloc(1, sizeof *kept);
    if (kept)
        kept->report.bytes_max = bytes_max;
    return kept;
}

static void drop(struct md_kept *kept, struct entry *entry)
{
    munmap(entry->memory, entry->bytes);
    entry->memory = NULL;
    kept->report.bytes -= entry->bytes;
    kept->used--;
}

void md__kept_delete(struct md_kept *kept)
{
    for (size_t i = 0; kept && i < kept->places; i++)
        if (kept->entries[i].memory)
            drop(kept, &kept->entries[i]);
    if (kept) {
        free(kept->entries);
        free(kept->windows);
    }
    free(kept);
}

/* Where the entry is, or where it would go. */
static struct entry *place_of(const struct md_kept *kept, int node, uint64_t key)
{
    uint64_t hash = (key ^ ((uint64_t)node << 32)) * 0x9e3779b97f4a7c15u;
    size_t at = (size_t)(hash >> 32) & (kept->places - 1);
    while (kept->entries[at].memory &&
           (kept->entries[at].key != key || kept->entries[at].node != node))
        at = (at + 1) & (kept->places - 1);
    return &kept->entries[at];
}

struct ticks {
    int64_t oldest, newest;
};

static const struct ticks all_ticks = {INT64_MIN, INT64_MAX};

/* Makes the table anew for `more` entries, without those of other ticks. */
static bool rebuild(struct md_kept *kept, size_t more, struct ticks ticks)
{
    struct md_kept made = {.places = 64};
    while (made.places < 2 * (kept->used + more))
        made.places *= 2;
    made.entries = calloc(made.places, sizeof *made.entries);
    if (!made.entries)
        return false;
    for (size_t i = 0; i < kept->places; i++) {
        struct entry *entry = &kept->entries[i];
        if (entry->memory && (entry->tick < ticks.oldest || entry->tick > ticks.newest))
            drop(kept, entry);
        else if (entry->memory)
            *place_of(&made, entry->node, entry->key) = *entry;
    }
    free(kept->entries);
    kept->entries = made.entries;
    kept->places = made.places;
    return true;
}

static bool room_for(struct md_kept *kept, size_t count)
{
    if ((int)count > kept->window_room) {
        struct md_kept_window *larger = realloc(kept->windows, count * sizeof *larger);
        if (!larger)
            return false;
        kept->windows = larger;
        kept->window_room = (int)count;
    }
    return kept->places >= 2 * (kept->used + count) || rebuild(kept, count, all_ticks);
}

static bool fill(struct md_kept *kept, struct entry *entry, size_t bytes)
{
    if (entry->memory && entry->bytes == bytes)
        return true;
    size_t before = entry->memory ? entry->bytes : 0;
    if (kept->report.bytes - before + bytes > kept->report.bytes_max)
        return false;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    if (entry->memory)
        drop(kept, entry);
    entry->memory = memory;
    entry->bytes = bytes;
    entry->made = kept->run;
    kept->report.bytes += bytes;
    kept->used++;
    return true;
}

/* Whether all would have room, before any takes of it. */
static bool fits(const struct md_kept *kept, int node, const struct md_windows *windows,
                 size_t bytes)
{
    size_t total = kept->report.bytes;
    for (int i = 0; i < windows->count && total <= kept->report.bytes_max; i++) {
        const struct entry *entry = place_of(kept, node, windows->each[i].key);
        total += bytes - (entry->memory ? entry->bytes : 0);
    }
    return total <= kept->report.bytes_max;
}

/* A run that is to be a full one leaves nothing of its own. */
static void give_back(struct md_kept *kept)
{
    for (size_t i = 0; i < kept->places; i++)
        if (kept->entries[i].memory && kept->entries[i].made == kept->run)
            drop(kept, &kept->entries[i]);
    rebuild(kept, 0, all_ticks); /* searches end at an empty place */
}

/* False: a key came twice, or there is no room. */
static bool take_all(struct md_kept *kept, int node, const struct md_windows *windows, size_t bytes)
{
    for (int i = 0; i < windows->count; i++) {
        struct entry *entry = place_of(kept, node, windows->each[i].key);
        if ((entry->memory && entry->run == kept->run) || !fill(kept, entry, bytes))
            return false;
        entry->key = windows->each[i].key;
        entry->node = node;
        entry->tick = windows->tick;
        entry->run = kept->run;
        kept->windows[i] = (struct md_kept_window){entry->memory, windows->each[i].first};
    }
    return true;
}

/* Once a tick, and after one that was wrong: what is further from it than may be is idle. */
static void drop_idle(struct md_kept *kept, const struct md_windows *windows)
{
    int64_t tick = windows->tick, idle = MD_KEPT_IDLE_TICKS;
    if (tick <= kept->tick && tick >= kept->tick - idle)
        return;
    kept->tick = tick;
    rebuild(kept, (size_t)windows->count, (struct ticks){tick - idle, tick + idle});
}

struct md_kept_windows *md__kept_take(struct md_kept *kept, int node,
                                      const struct md_windows *windows, size_t bytes)
{
    kept->run++;
    drop_idle(kept, windows);
    bytes = (bytes + 4095) / 4096 * 4096;
    bool done = room_for(kept, (size_t)windows->count) && fits(kept, node, windows, bytes);
    if (done && !take_all(kept, node, windows, bytes)) {
        give_back(kept);
        done = false;
    }
    if (!done) {
        kept->report.runs_full++;
        return NULL;
    }
    kept->taken.windows = kept->windows;
    kept->taken.count = windows->count;
    kept->taken.rows = kept->taken.computed = 0;
    return &kept->taken;
}

void md__kept_done(struct md_kept *kept)
{
    kept->report.rows_kept += kept->taken.rows;
    kept->report.rows_computed += kept->taken.computed;
    kept->report.runs_kept++;
}

void md__kept_report(const struct md_kept *kept, struct md_kept_report *report)
{
    *report = kept->report;
    report->windows = (int)kept->used;
}
