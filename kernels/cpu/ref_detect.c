/*
 * Reference NonMaxSuppression (suppression.h) and RoiAlign.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/ref.h"
#include "kernels/cpu/suppression.h"

#define ROI_SAMPLES_MAX 4096 /* along one side of a cell */

/* Whether intersection over union passes the threshold; boxes without area overlap nothing. */
static bool overlaps(const struct md__box *a, const struct md__box *b, float threshold)
{
    float width[2];
    for (int i = 0; i < 2; i++) {
        width[i] = fminf(a->high[i], b->high[i]) - fmaxf(a->low[i], b->low[i]);
        if (width[i] <= 0)
            return false;
    }
    float inside = width[0] * width[1], area_a = md__box_area(a), area_b = md__box_area(b);
    float all = area_a + area_b - inside;
    return area_a > 0 && area_b > 0 && all > 0 && inside / all > threshold;
}

static int by_score(const void *a, const void *b, void *context)
{
    const float *scores = context;
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    if (scores[i] != scores[j])
        return scores[i] > scores[j] ? -1 : 1;
    return (i > j) - (i < j);
}

static size_t select_class(const struct md__suppression *nms, const float *scores, int32_t *kept)
{
    size_t candidates = 0, selected = 0;
    int32_t *order = nms->work;
    for (size_t i = 0; i < nms->count; i++)
        if (md__is_candidate(nms, scores[i]))
            order[candidates++] = (int32_t)i;
    qsort_r(order, candidates, sizeof *order, by_score, (void *)(uintptr_t)scores);
    for (size_t i = 0; i < candidates && selected < nms->most; i++) {
        struct md__box box = md__box_of(nms->boxes + (size_t)order[i] * 4, nms->centered);
        bool free_of_others = true;
        for (size_t k = 0; free_of_others && k < selected; k++) {
            struct md__box other = md__box_of(nms->boxes + (size_t)kept[k] * 4, nms->centered);
            free_of_others = !overlaps(&box, &other, nms->overlap_max);
        }
        if (free_of_others)
            kept[selected++] = order[i];
    }
    return selected;
}

static size_t work_bytes(const struct md_tensor *in)
{
    return md__align_up((size_t)in[1].shape.dim[2] * sizeof(int32_t));
}

static size_t nms_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                          int threads)
{
    (void)node, (void)in_count;
    return md__suppress_scratch(in, work_bytes(in), threads);
}

static enum md_status nms_run(const struct md_kernel_call *call, struct md_error *err)
{
    return md__suppress_run(call, select_class, work_bytes(call->in), err);
}

const struct md_kernel md__ref_non_max_suppression = {.scratch_bytes = nms_scratch, .run = nms_run};

/* ---- RoiAlign -------------------------------------------------------------------------------- */

struct roi {
    double start[2], cell[2]; /* rows, columns */
    int64_t samples[2];       /* of a cell */
    bool max;
};

/* Between four elements; `largest` takes the largest of the four parts instead of their sum. */
static double roi_sample(const struct md_tensor *x, size_t plane, const double *place, bool largest)
{
    double part[2], value = largest ? -INFINITY : 0;
    int64_t low[2], high[2];
    for (int a = 0; a < 2; a++) {
        int64_t length = x->shape.dim[2 + a];
        if (!(place[a] >= -1 && place[a] <= (double)length))
            return 0;
        double at = fmax(place[a], 0);
        low[a] = (int64_t)at;
        if (low[a] >= length - 1) {
            low[a] = high[a] = length - 1;
            at = (double)low[a];
        } else
            high[a] = low[a] + 1;
        part[a] = at - (double)low[a];
    }
    for (int k = 0; k < 4; k++) {
        int64_t row = k & 2 ? high[0] : low[0], column = k & 1 ? high[1] : low[1];
        double share = (k & 2 ? part[0] : 1 - part[0]) * (k & 1 ? part[1] : 1 - part[1]);
        double one = share * md__get_float(x, (plane * (size_t)x->shape.dim[2] + (size_t)row) *
                                                      (size_t)x->shape.dim[3] +
                                                  (size_t)column);
        value = largest ? fmax(value, one) : value + one;
    }
    return value;
}

static double roi_cell(const struct md_tensor *x, size_t plane, const struct roi *roi,
                       const int64_t *cell)
{
    double result = roi->max ? -INFINITY : 0;
    for (int64_t i = 0; i < roi->samples[0]; i++)
        for (int64_t j = 0; j < roi->samples[1]; j++) {
            const int64_t k[] = {i, j};
            double place[2];
            for (int a = 0; a < 2; a++)
                place[a] = roi->start[a] +
                           roi->cell[a] *
                               ((double)cell[a] + ((double)k[a] + 0.5) / (double)roi->samples[a]);
            double one = roi_sample(x, plane, place, roi->max);
            result = roi->max ? fmax(result, one) : result + one;
        }
    return roi->max ? result : result / (double)(roi->samples[0] * roi->samples[1]);
}

/* Corners x1, y1, x2, y2 become cells of the output. */
static struct roi roi_of(const struct md_kernel_call *call, size_t r)
{
    bool half = strcmp(md_node_string(call->node, "coordinate_transformation_mode", "half_pixel"),
                       "half_pixel") == 0;
    double scale = md_node_float(call->node, "spatial_scale", 1), offset = half ? 0.5 : 0;
    int64_t ratio = md_node_int(call->node, "sampling_ratio", 0);
    struct roi roi = {.max = strcmp(md_node_string(call->node, "mode", "avg"), "max") == 0};
    for (size_t a = 0; a < 2; a++) {
        double low = md__get_float(&call->in[1], r * 4 + 1 - a) * scale - offset;
        double high = md__get_float(&call->in[1], r * 4 + 3 - a) * scale - offset;
        double size = half ? high - low : fmax(high - low, 1);
        roi.start[a] = low;
        roi.cell[a] = size / (double)call->out[0].shape.dim[2 + a];
        double needed = ceil(roi.cell[a]);
        roi.samples[a] = ratio > 0                   ? ratio
                         : !(needed >= 1)            ? 1
                         : needed <= ROI_SAMPLES_MAX ? (int64_t)needed
                                                     : ROI_SAMPLES_MAX + 1;
    }
    return roi;
}

static enum md_status roi_align_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *x = &call->in[0], *y = &call->out[0];
    int64_t channels = y->shape.dim[1], width = y->shape.dim[3], cells = y->shape.dim[2] * width;
    size_t at = 0;
    for (size_t r = 0; r < (size_t)y->shape.dim[0]; r++) {
        int64_t image = md__get_int(&call->in[2], r);
        struct roi roi = roi_of(call, r);
        if (image < 0 || image >= x->shape.dim[0] || x->shape.dim[2] == 0 || x->shape.dim[3] == 0)
            return md_fail(err, MD_ERR_UNPROCESSABLE,
                           "a region is in image %lld, which is not there", (long long)image);
        if (roi.samples[0] > ROI_SAMPLES_MAX || roi.samples[1] > ROI_SAMPLES_MAX)
            return md_fail(err, MD_ERR_UNPROCESSABLE, "a cell takes over %d samples",
                           ROI_SAMPLES_MAX);
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = 0; i < cells; i++)
                md__set_float(y, at++,
                              roi_cell(x, (size_t)(image * channels + c), &roi,
                                       (int64_t[]){i / width, i % width}));
    }
    return MD_OK;
}

const struct md_kernel md__ref_roi_align = {.run = roi_align_run};
