/*
 * Reference NonMaxSuppression and RoiAlign. Overlaps are worked out in float32, as in the
 * frameworks that export it: whether two boxes overlap just enough must come out the same.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/ref.h"

#define ROI_SAMPLES_MAX 4096 /* along one side of a cell */

struct box {
    float low[2], high[2];
};

/* Corners in any order, or centre and size. The two axes may be swapped: overlap does not care. */
static struct box box_of(const float *given, bool centered)
{
    struct box box;
    for (int a = 0; a < 2; a++) {
        float one = centered ? given[a] - given[2 + a] / 2 : given[a];
        float other = centered ? given[a] + given[2 + a] / 2 : given[2 + a];
        box.low[a] = fminf(one, other);
        box.high[a] = fmaxf(one, other);
    }
    return box;
}

static float area_of(const struct box *box)
{
    return (box->high[0] - box->low[0]) * (box->high[1] - box->low[1]);
}

/* Whether intersection over union passes the threshold; boxes without area overlap nothing. */
static bool overlaps(const struct box *a, const struct box *b, float threshold)
{
    float width[2];
    for (int i = 0; i < 2; i++) {
        width[i] = fminf(a->high[i], b->high[i]) - fmaxf(a->low[i], b->low[i]);
        if (width[i] <= 0)
            return false;
    }
    float inside = width[0] * width[1], area_a = area_of(a), area_b = area_of(b);
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

struct suppression {
    const float *boxes; /* of one batch element */
    size_t count;
    size_t most; /* to select of a class */
    float overlap_max, score_min;
    bool has_score_min, centered;
    int32_t *order; /* scratch */
};

/* Writes the boxes that one class keeps, best first; returns how many. */
static size_t select_class(const struct suppression *nms, const float *scores, int32_t *kept)
{
    size_t candidates = 0, selected = 0;
    for (size_t i = 0; i < nms->count; i++)
        if (!isnan(scores[i]) && (!nms->has_score_min || scores[i] > nms->score_min))
            nms->order[candidates++] = (int32_t)i;
    qsort_r(nms->order, candidates, sizeof *nms->order, by_score, (void *)(uintptr_t)scores);
    for (size_t i = 0; i < candidates && selected < nms->most; i++) {
        struct box box = box_of(nms->boxes + (size_t)nms->order[i] * 4, nms->centered);
        bool free_of_others = true;
        for (size_t k = 0; free_of_others && k < selected; k++) {
            struct box other = box_of(nms->boxes + (size_t)kept[k] * 4, nms->centered);
            free_of_others = !overlaps(&box, &other, nms->overlap_max);
        }
        if (free_of_others)
            kept[selected++] = nms->order[i];
    }
    return selected;
}

/* order of one class, what each class keeps, and how many those are */
static size_t nms_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                          int threads)
{
    (void)node, (void)in_count, (void)threads;
    size_t classes = md__span(&in[1].shape, 0, 2), boxes = (size_t)in[1].shape.dim[2];
    return (boxes + classes * boxes) * sizeof(int32_t) + (classes + 1) * sizeof(size_t);
}

static enum md_status nms_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *in = call->in;
    size_t classes = (size_t)in[1].shape.dim[1], boxes = (size_t)in[1].shape.dim[2];
    size_t lines = (size_t)in[1].shape.dim[0] * classes, total = 0;
    int64_t most = md__has(in, call->in_count, 2) ? md__get_int(&in[2], 0) : 0;
    size_t *counts = call->scratch;
    struct suppression nms = {.count = boxes,
                              .most = most > 0 ? (size_t)most : 0,
                              .overlap_max =
                                  md__has(in, call->in_count, 3) ? *(const float *)in[3].data : 0,
                              .has_score_min = md__has(in, call->in_count, 4),
                              .centered = md_node_int(call->node, "center_point_box", 0) != 0,
                              .order = (int32_t *)(counts + lines + 1)};
    int32_t *kept = nms.order + boxes;
    if (nms.has_score_min)
        nms.score_min = *(const float *)in[4].data;
    if (!(nms.overlap_max >= 0 && nms.overlap_max <= 1))
        return md_fail(err, MD_ERR_UNPROCESSABLE, "iou_threshold is %g", (double)nms.overlap_max);
    for (size_t line = 0; line < lines; line++) {
        nms.boxes = (const float *)in[0].data + line / classes * boxes * 4;
        counts[line] =
            select_class(&nms, (const float *)in[1].data + line * boxes, kept + line * boxes);
        total += counts[line];
    }
    struct md_shape shape = md_shape_of(2, (int64_t[]){(int64_t)total, 3});
    enum md_status status = md_kernel_output(call, 0, &shape, err);
    int64_t *out = call->out[0].data;
    for (size_t line = 0; !status && line < lines; line++)
        for (size_t k = 0; k < counts[line]; k++, out += 3) {
            out[0] = (int64_t)(line / classes);
            out[1] = (int64_t)(line % classes);
            out[2] = kept[line * boxes + k];
        }
    return status;
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
