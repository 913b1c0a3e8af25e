/*
 * NonMaxSuppression: candidates are sorted by radix, and a box is compared with a vector of kept
 * ones at a time. What overlaps is decided by the reference's arithmetic, step by step: products
 * must not be contracted into sums, or boxes that overlap just enough would come out otherwise.
 */
#include "kernels/cpu/suppression.h"
#include "kernels/cpu/isa/kernels.h"

enum { DIGIT_BITS = 8, DIGITS = 32 / DIGIT_BITS, BUCKETS = 1 << DIGIT_BITS };

struct entry {
    uint32_t key; /* ascending: best score first */
    int32_t box;
};

/* What is kept, a lane a box; behind the last one come boxes without area. */
struct sides {
    float *low[2], *high[2], *area;
};

/* -0 and 0 are the same score. */
static uint32_t key_of(float score)
{
    union {
        float number;
        uint32_t bits;
    } as = {.number = score + 0.0f};
    if (as.bits == 0x80000000u)
        as.bits = 0;
    return as.bits & 0x80000000u ? as.bits : 0x7fffffffu - as.bits;
}

/* Stable, so that ties stay in the order of their indices. The result lies in `from` again. */
static void sort(struct entry *from, struct entry *to, size_t count)
{
    size_t places[DIGITS][BUCKETS];
    memset(places, 0, sizeof places);
    for (size_t i = 0; i < count; i++)
        for (int d = 0; d < DIGITS; d++)
            places[d][from[i].key >> (d * DIGIT_BITS) & (BUCKETS - 1)]++;
    for (int d = 0; d < DIGITS; d++) {
        for (size_t b = 0, sum = 0; b < BUCKETS; b++) {
            size_t here = places[d][b];
            places[d][b] = sum;
            sum += here;
        }
        for (size_t i = 0; i < count; i++)
            to[places[d][from[i].key >> (d * DIGIT_BITS) & (BUCKETS - 1)]++] = from[i];
        struct entry *swap = from;
        from = to;
        to = swap;
    }
}

/* Rounds here: what comes out cannot be contracted with what goes in. */
INLINE vf rounded(vf x)
{
#if defined(__x86_64__)
    __asm__("" : "+v"(x));
#else
    for (int lane = 0; lane < VL; lane++) {
        volatile float one = x[lane];
        x[lane] = one;
    }
#endif
    return x;
}

INLINE vf width(const struct sides *kept, size_t k, const struct md__box *box, int axis)
{
    vf high = vmin(load(kept->high[axis] + k), splat(box->high[axis]));
    return high - vmax(load(kept->low[axis] + k), splat(box->low[axis]));
}

/* Whether one of `count` kept boxes overlaps this one. */
static bool any_overlaps(const struct sides *kept, size_t count, const struct md__box *box,
                         float area, float threshold)
{
    for (size_t k = 0; k < count; k += VL) {
        vf w = width(kept, k, box, 0), h = width(kept, k, box, 1);
        vi both = (w > 0.0f) & (h > 0.0f);
        if (!any(both))
            continue;
        vf inside = rounded(w * h), other = load(kept->area + k);
        vf all = area + other - inside;
        if (any(both & (other > 0.0f) & (all > 0.0f) & (inside / all > threshold)))
            return true;
    }
    return false;
}

static void keep(const struct sides *kept, size_t k, const struct md__box *box, float area)
{
    if (k % VL == 0)
        store(kept->area + k, splat(0.0f));
    for (int a = 0; a < 2; a++) {
        kept->low[a][k] = box->low[a];
        kept->high[a][k] = box->high[a];
    }
    kept->area[k] = area;
}

/* Entries twice, then the sides: all of it for `count` boxes. */
static size_t work_bytes(const struct md_tensor *in)
{
    size_t count = (size_t)in[1].shape.dim[2];
    return md__align_up(2 * count * sizeof(struct entry) + 5 * padded(count) * sizeof(float) + 64);
}

static size_t search(const struct md__suppression *nms, const float *scores, int32_t *kept)
{
    struct entry *entries = nms->work;
    float *lanes = (float *)md__align_up((uintptr_t)(entries + 2 * nms->count));
    size_t stride = padded(nms->count), candidates = 0, selected = 0;
    const struct sides sides = {.low = {lanes, lanes + stride},
                                .high = {lanes + 2 * stride, lanes + 3 * stride},
                                .area = lanes + 4 * stride};
    for (size_t i = 0; i < nms->count; i++)
        if (md__is_candidate(nms, scores[i]))
            entries[candidates++] = (struct entry){key_of(scores[i]), (int32_t)i};
    sort(entries, entries + nms->count, candidates);
    for (size_t i = 0; i < candidates && selected < nms->most; i++) {
        struct md__box box = md__box_of(nms->boxes + (size_t)entries[i].box * 4, nms->centered);
        float area = md__box_area(&box);
        if (area > 0 && any_overlaps(&sides, selected, &box, area, nms->overlap_max))
            continue;
        keep(&sides, selected, &box, area);
        kept[selected++] = entries[i].box;
    }
    return selected;
}

static size_t nms_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                          int threads)
{
    (void)node, (void)in_count;
    return md__suppress_scratch(in, work_bytes(in), threads);
}

static enum md_status nms_run(const struct md_kernel_call *call, struct md_error *err)
{
    return md__suppress_run(call, search, work_bytes(call->in), err);
}

const struct md_kernel md__non_max_suppression = {.scratch_bytes = nms_scratch, .run = nms_run};
