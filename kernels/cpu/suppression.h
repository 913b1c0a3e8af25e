/*
 * What NonMaxSuppression is but for the search: boxes, limits, one class after another, the list of
 * what is kept. The reference and the fast kernels bring their own search for one class.
 *
 * Overlaps are worked out in float32, each step rounded, as in the frameworks that export it:
 * whether two boxes overlap just enough must come out the same.
 */
#ifndef MD_KERNELS_CPU_SUPPRESSION_H
#define MD_KERNELS_CPU_SUPPRESSION_H

#include <math.h>

#include "kernels/cpu/common.h"

struct md__suppression {
    const float *boxes; /* [count, 4], of one batch element */
    size_t count;
    size_t most; /* to select of a class */
    float overlap_max, score_min;
    bool has_score_min, centered;
    void *work; /* of this search alone, aligned to 64 bytes */
};

/* Writes the boxes that one class keeps, best first, ties by index; returns how many. */
typedef size_t (*md__suppress)(const struct md__suppression *nms, const float *scores,
                               int32_t *kept);

struct md__box {
    float low[2], high[2];
};

/* Corners in any order, or centre and size. The two axes may be swapped: overlap does not care. */
static inline struct md__box md__box_of(const float *given, bool centered)
{
    struct md__box box;
    for (int a = 0; a < 2; a++) {
        float one = centered ? given[a] - given[2 + a] / 2 : given[a];
        float other = centered ? given[a] + given[2 + a] / 2 : given[2 + a];
        box.low[a] = fminf(one, other);
        box.high[a] = fmaxf(one, other);
    }
    return box;
}

static inline float md__box_area(const struct md__box *box)
{
    return (box->high[0] - box->low[0]) * (box->high[1] - box->low[1]);
}

/* NaN scores take no part. */
static inline bool md__is_candidate(const struct md__suppression *nms, float score)
{
    return !isnan(score) && (!nms->has_score_min || score > nms->score_min);
}

/* Runs the search over all classes; `work_bytes` as in md__suppress_scratch. */
enum md_status md__suppress_run(const struct md_kernel_call *call, md__suppress search,
                                size_t work_bytes, struct md_error *err);
/* Scratch for `threads` searches that take work_bytes each, a multiple of 64. */
size_t md__suppress_scratch(const struct md_tensor *in, size_t work_bytes, int threads);

#endif
