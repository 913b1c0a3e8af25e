/*
 * Reference Resize over any axes: nearest by moving elements, linear and cubic (with antialiasing,
 * outside weights excluded, extrapolation) by weighted sums in double.
 *
 * Output columns are worked on in chunks: the taps of a chunk are worked out once and then used by
 * every row, rows being split over the pool. A tap list is at most 4 weights, or a formula when
 * antialiasing makes it longer.
 */
#include <math.h>
#include <string.h>

#include "graph/resize.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/ref.h"

#define CHUNK 256

enum method { NEAREST, LINEAR, CUBIC };

/* What one output position of an axis reads: elements first, first + 1, ... of the input. */
struct tap {
    int64_t first, count;
    double place;    /* of the position, from `first` */
    double norm;     /* divides the weights */
    double known[4]; /* the weights, of a list that short */
    bool outside;    /* of the input: the extrapolation value */
};

struct resizing {
    const struct md_kernel_call *call;
    struct md_resize resize;
    enum method method;
    int nearest; /* round_prefer_floor, round_prefer_ceil, floor, ceil */
    bool antialias, exclude_outside;
    double cubic_a, extrapolation;
    int64_t stride[MD_RANK_MAX];
    int64_t column, columns; /* the chunk of the last axis */
    struct tap taps[CHUNK];
};

/* How far apart taps count as: antialiasing widens the filter by the reduction. */
static double filter_scale(const struct resizing *all, int axis)
{
    return all->antialias ? fmin(all->resize.axes[axis].scale, 1) : 1;
}

static double weight(const struct resizing *all, int axis, const struct tap *tap, int64_t k)
{
    int64_t at = tap->first + k;
    if (all->exclude_outside && (at < 0 || at >= all->resize.axes[axis].in))
        return 0;
    double x = fabs((double)k - tap->place) * filter_scale(all, axis);
    if (all->method == LINEAR)
        return x < 1 ? (1 - x) / tap->norm : 0;
    return x < 2 ? md__cubic_weight(x, all->cubic_a) / tap->norm : 0;
}

static inline double known_weight(const struct resizing *all, int axis, const struct tap *tap,
                                  int64_t k)
{
    return tap->count <= 4 ? tap->known[k] : weight(all, axis, tap, k);
}

static struct tap nearest_tap(const struct resizing *all, double x)
{
    double floored = floor(x), at = all->nearest == 2   ? floored
                                    : all->nearest == 3 ? ceil(x)
                                    : all->nearest == 0 ? ceil(x - 0.5)
                                                        : floor(x + 0.5);
    return (struct tap){.first = (int64_t)at, .count = 1, .norm = 1};
}

static struct tap tap_of(const struct resizing *all, int axis, int64_t i)
{
    const struct md_resize_axis *a = &all->resize.axes[axis];
    if (!a->used)
        return (struct tap){.first = i, .count = 1, .norm = 1, .known = {1}};
    double x = md__resize_source(&all->resize, axis, i);
    bool outside = all->resize.coordinates == MD_RESIZE_CROP && (x < 0 || x > (double)a->in - 1);
    if (!(fabs(x) < 1e15)) { /* a region that is no region */
        outside = true;
        x = 0;
    }
    struct tap tap = nearest_tap(all, x);
    if (all->method != NEAREST) {
        double reach = (all->method == CUBIC ? 2 : 1) / filter_scale(all, axis);
        double left = floor(x) + floor(-reach) + 1;
        tap = (struct tap){.first = (int64_t)left,
                           .count = 2 - 2 * (int64_t)(floor(-reach) + 1),
                           .place = x - left,
                           .norm = 1};
        double sum = 0;
        for (int64_t k = 0; k < tap.count; k++)
            sum += weight(all, axis, &tap, k);
        if (all->antialias || all->exclude_outside)
            tap.norm = sum;
    }
    for (int64_t k = 0; k < tap.count && k < 4; k++)
        tap.known[k] = all->method == NEAREST ? 1 : weight(all, axis, &tap, k);
    tap.outside = outside;
    return tap;
}

static int64_t clamped(int64_t i, int64_t length)
{
    return i < 0 ? 0 : i >= length ? length - 1 : i;
}

/* Adds `share` times the chunk of the input row that starts at `base`. */
static void add_row(const struct resizing *all, int64_t base, double share, double *sums)
{
    const struct md_tensor *x = &all->call->in[0];
    const float *floats = x->dtype == MD_F32 ? x->data : NULL;
    int last = all->resize.rank - 1;
    int64_t length = all->resize.axes[last].in;
    for (int64_t i = 0; i < all->columns; i++) {
        const struct tap *tap = &all->taps[i];
        double sum = 0;
        for (int64_t k = 0; k < tap->count; k++) {
            double part = known_weight(all, last, tap, k);
            size_t at = (size_t)(base + clamped(tap->first + k, length));
            if (part != 0)
                sum += part * (floats ? (double)floats[at] : md__get_float(x, at));
        }
        sums[i] += share * sum;
    }
}

/* Goes through the taps of the outer axes, from `axis` on. */
static void add_rows(const struct resizing *all, const struct tap *outer, int axis, int64_t base,
                     double share, double *sums)
{
    if (axis == all->resize.rank - 1) {
        add_row(all, base, share, sums);
        return;
    }
    const struct tap *tap = &outer[axis];
    for (int64_t k = 0; k < tap->count; k++) {
        double part = known_weight(all, axis, tap, k);
        int64_t at = clamped(tap->first + k, all->resize.axes[axis].in);
        if (part != 0)
            add_rows(all, outer, axis + 1, base + at * all->stride[axis], share * part, sums);
    }
}

/* Integers are cut towards zero, within their range. */
static void store_sums(const struct md_tensor *y, size_t at, size_t count, double *sums)
{
    for (size_t i = 0; !md__dtype_is_float(y->dtype) && i < count; i++) {
        double low = (double)md__int_min(y->dtype), high = (double)md__int_max(y->dtype);
        sums[i] = fmin(fmax(sums[i], low), high);
    }
    md__store_floats(y, at, 1, count, sums);
}

/* Nearest: one element, whatever its type. */
static void move_row(const struct resizing *all, int64_t base, size_t at)
{
    const struct md_tensor *x = &all->call->in[0], *y = &all->call->out[0];
    size_t bytes = md_dtype_bytes(x->dtype);
    int64_t length = all->resize.axes[all->resize.rank - 1].in;
    for (int64_t i = 0; i < all->columns; i++)
        memcpy((char *)y->data + (at + (size_t)i) * bytes,
               (const char *)x->data + (size_t)(base + clamped(all->taps[i].first, length)) * bytes,
               bytes);
}

/* Rows [begin, end) of the output, the columns of one chunk. */
static void resize_rows(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct resizing *all = context;
    const struct md_tensor *y = &all->call->out[0];
    int last = all->resize.rank - 1;
    size_t width = (size_t)y->shape.dim[last], columns = (size_t)all->columns;
    struct tap outer[MD_RANK_MAX];
    double sums[CHUNK];
    struct md__walk walk;
    md__walk_init(&walk, last, y->shape.dim);
    md__walk_seek(&walk, begin);
    for (size_t row = begin; row < end; row++, md__walk_next(&walk)) {
        size_t at = row * width + (size_t)all->column;
        bool outside = false;
        int64_t base = 0;
        for (int a = 0; a < last; a++) {
            outer[a] = tap_of(all, a, walk.index[a]);
            outside = outside || outer[a].outside;
            base += clamped(outer[a].first, all->resize.axes[a].in) * all->stride[a];
        }
        if (all->method == NEAREST) {
            move_row(all, base, at);
        } else {
            memset(sums, 0, columns * sizeof *sums);
            add_rows(all, outer, 0, 0, 1, sums);
            store_sums(y, at, columns, sums);
        }
        for (size_t i = 0; i < columns; i++)
            if (outside || all->taps[i].outside)
                md__set_float(y, at + i, all->extrapolation);
    }
}

static void read_list(const struct md_kernel_call *call, int i, double *list, int *count)
{
    *count = md__has(call->in, call->in_count, i) ? (int)md__count(&call->in[i]) : 0;
    for (int k = 0; k < *count; k++)
        list[k] = md__get_float(&call->in[i], (size_t)k);
}

static enum md_status resize_run(const struct md_kernel_call *call, struct md_error *err)
{
    static const char *const nearest[] = {"round_prefer_floor", "round_prefer_ceil", "floor",
                                          "ceil"};
    const struct md_node *node = call->node;
    const char *mode = md_node_string(node, "mode", "nearest");
    const char *rounding = md_node_string(node, "nearest_mode", nearest[0]);
    struct md_resize_lists lists;
    struct resizing all = {.call = call,
                           .method = strcmp(mode, "linear") == 0  ? LINEAR
                                     : strcmp(mode, "cubic") == 0 ? CUBIC
                                                                  : NEAREST,
                           .antialias = md_node_int(node, "antialias", 0) != 0,
                           .exclude_outside = md_node_int(node, "exclude_outside", 0) != 0,
                           .cubic_a = md_node_float(node, "cubic_coeff_a", -0.75),
                           .extrapolation = md_node_float(node, "extrapolation_value", 0)};
    while (all.nearest < 3 && strcmp(rounding, nearest[all.nearest]) != 0)
        all.nearest++;
    if (call->in[0].shape.rank == 0) {
        memcpy(call->out[0].data, call->in[0].data, md_dtype_bytes(call->in[0].dtype));
        return MD_OK;
    }
    read_list(call, 1, lists.roi, &lists.roi_count);
    read_list(call, 2, lists.scales, &lists.scale_count);
    read_list(call, 3, lists.sizes, &lists.size_count);
    enum md_status status = md__resize_init(node, &call->in[0].shape, &lists, &all.resize, err);
    if (status)
        return status;
    md__strides(&call->in[0].shape, all.stride);
    int last = all.resize.rank - 1;
    int64_t width = all.resize.axes[last].out;
    size_t rows = md__span(&call->out[0].shape, 0, last);
    for (all.column = 0; all.column < width; all.column += CHUNK) {
        all.columns = width - all.column < CHUNK ? width - all.column : CHUNK;
        for (int64_t i = 0; i < all.columns; i++)
            all.taps[i] = tap_of(&all, last, all.column + i);
        md__parallel(call->pool, rows, md__grain((size_t)all.columns * 32), resize_rows, &all);
    }
    return MD_OK;
}

const struct md_kernel md__ref_resize = {.run = resize_run};
