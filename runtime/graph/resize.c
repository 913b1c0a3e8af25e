/* Geometry of Resize: see resize.h. */
#include "graph/resize.h"

#include <math.h>

#include "graph/infer.h"

static enum md_status resized_axes(const struct md_node *node, int rank, int *axes, int *count,
                                   struct md_error *err)
{
    const struct md_attr *attr = md_node_attr(node, "axes");
    unsigned seen = 0;
    *count = attr ? attr->count : rank;
    if (attr && (attr->type != MD_ATTR_INTS || attr->count > rank))
        return md_fail(err, MD_ERR_INVALID, "attribute axes names %d axes of %d", attr->count,
                       rank);
    for (int k = 0; k < *count; k++) {
        enum md_status status = md__infer_axis(attr ? attr->ints[k] : k, rank, &axes[k], err);
        if (status)
            return status;
        if (seen & 1u << axes[k])
            return md_fail(err, MD_ERR_INVALID, "axis %d is named twice", axes[k]);
        seen |= 1u << axes[k];
    }
    return MD_OK;
}

/* One scale for all axes, the smallest or the largest that was asked for. */
static enum md_status keep_aspect(const struct md_resize_lists *lists, const int *axes, bool larger,
                                  struct md_resize *resize, struct md_error *err)
{
    double scale = larger ? 0 : INFINITY;
    for (int k = 0; k < lists->size_count; k++) {
        double own = lists->sizes[k] / (double)resize->axes[axes[k]].in;
        scale = larger ? fmax(scale, own) : fmin(scale, own);
    }
    for (int k = 0; k < lists->size_count; k++) {
        struct md_resize_axis *axis = &resize->axes[axes[k]];
        if (!(scale * (double)axis->in < 1e15))
            return md_fail(err, MD_ERR_INVALID, "axis %d of %lld cannot grow by %g", axes[k],
                           (long long)axis->in, scale);
        axis->scale = scale;
        axis->out = (int64_t)floor(scale * (double)axis->in + 0.5);
    }
    return MD_OK;
}

static enum md_status set_lengths(const struct md_resize_lists *lists, const int *axes, int policy,
                                  struct md_resize *resize, struct md_error *err)
{
    int count = lists->size_count ? lists->size_count : lists->scale_count;
    for (int k = 0; k < count; k++) {
        struct md_resize_axis *axis = &resize->axes[axes[k]];
        axis->used = true;
        axis->scale = lists->size_count ? lists->sizes[k] / (double)axis->in : lists->scales[k];
        double length =
            lists->size_count ? lists->sizes[k] : floor((double)axis->in * lists->scales[k]);
        if (!(length >= 0 && length < 1e15) || !(axis->scale > 0 || length == 0) ||
            (axis->in == 0 && length > 0))
            return md_fail(err, MD_ERR_INVALID, "axis %d of %lld cannot become %g", axes[k],
                           (long long)axis->in, length);
        axis->out = (int64_t)length;
        if (lists->roi_count) {
            axis->begin = lists->roi[k];
            axis->end = lists->roi[k + lists->roi_count / 2];
        }
    }
    if (policy != 0 && lists->size_count)
        return keep_aspect(lists, axes, policy == 2, resize, err);
    return MD_OK;
}

/* Corners are aligned with the last element that there is, not with where it would lie. */
static void use_whole_lengths(struct md_resize *resize)
{
    for (int i = 0; i < resize->rank && resize->coordinates == MD_RESIZE_ALIGN_CORNERS; i++) {
        struct md_resize_axis *axis = &resize->axes[i];
        if (axis->used && axis->in > 0)
            axis->scale = (double)axis->out / (double)axis->in;
    }
}

enum md_status md__resize_init(const struct md_node *node, const struct md_shape *shape,
                               const struct md_resize_lists *lists, struct md_resize *resize,
                               struct md_error *err)
{
    static const char *const coordinates[] = {
        "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel",   "align_corners",
        "asymmetric", "tf_crop_and_resize",   "tf_half_pixel_for_nn", NULL};
    static const char *const policies[] = {"stretch", "not_larger", "not_smaller", NULL};
    int axes[MD_RANK_MAX], count = 0, policy = 0, chosen = 0;
    *resize = (struct md_resize){.rank = shape->rank};
    enum md_status status = resized_axes(node, shape->rank, axes, &count, err);
    if (!status)
        status = md__infer_choice(node, "coordinate_transformation_mode", "half_pixel", coordinates,
                                  &chosen, err);
    if (!status)
        status =
            md__infer_choice(node, "keep_aspect_ratio_policy", "stretch", policies, &policy, err);
    if (status)
        return status;
    resize->coordinates = (enum md_resize_coordinates)chosen;
    int given = lists->size_count ? lists->size_count : lists->scale_count;
    bool crop = resize->coordinates == MD_RESIZE_CROP;
    if ((lists->size_count > 0) == (lists->scale_count > 0) || given != count ||
        (crop && lists->roi_count != 2 * count))
        return md_fail(err, MD_ERR_INVALID,
                       "has %d scales, %d sizes and %d roi numbers for %d axes", lists->scale_count,
                       lists->size_count, lists->roi_count, count);
    for (int i = 0; i < shape->rank; i++)
        resize->axes[i] = (struct md_resize_axis){
            .in = shape->dim[i], .out = shape->dim[i], .scale = 1, .end = 1};
    struct md_resize_lists own = *lists;
    own.roi_count = crop ? own.roi_count : 0;
    status = set_lengths(&own, axes, policy, resize, err);
    if (!status && md_node_int(node, "moondial.whole_lengths", 0))
        use_whole_lengths(resize);
    return status;
}

double md__resize_source(const struct md_resize *resize, int axis, int64_t i)
{
    const struct md_resize_axis *a = &resize->axes[axis];
    double x = (double)i, in = (double)a->in, length = a->scale * in; /* before rounding down */
    double half = (x + 0.5) / a->scale - 0.5;
    switch (resize->coordinates) {
    case MD_RESIZE_HALF_PIXEL_SYMMETRIC:
        return in / 2 * (1 - (double)a->out / length) + half;
    case MD_RESIZE_PYTORCH_HALF_PIXEL:
        return a->out > 1 ? half : 0;
    case MD_RESIZE_ALIGN_CORNERS:
        return length == 1 || a->out == 1 ? 0 : x * (in - 1) / (length - 1);
    case MD_RESIZE_ASYMMETRIC:
        return x / a->scale;
    case MD_RESIZE_CROP:
        if (a->out > 1)
            return a->begin * (in - 1) + x * (a->end - a->begin) * (in - 1) / (length - 1);
        return 0.5 * (a->begin + a->end) * (in - 1);
    case MD_RESIZE_HALF_PIXEL_NN:
        return (x + 0.5) / a->scale;
    default:
        return half;
    }
}
