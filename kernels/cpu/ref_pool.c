/*
 * Reference poolings over up to three spatial axes: MaxPool (with indices), AveragePool, LpPool,
 * their global forms, MaxUnpool, MaxRoiPool. Planes (one channel of one batch element) are split
 * over the pool; statistics are doubles, in which every dtype that pools is exact.
 */
#include <math.h>
#include <string.h>

#include "graph/window.h"
#include "kernels/cpu/ref.h"

enum kind { POOL_MAX, POOL_AVERAGE, POOL_LP };

struct pooling {
    const struct md_kernel_call *call;
    struct md_window window; /* three axes */
    enum kind kind;
    double p;
    bool count_padding, column_major;
};

/* What one window has collected so far. */
struct window_sum {
    double sum, max;
    int64_t max_at; /* in the plane */
    size_t count;
};

/* Taps of axis i that fall on the input, and how many fall on it or on its padding. */
static int64_t taps(const struct md_window *window, int i, int64_t o, int64_t *begin, int64_t *end,
                    int64_t *first)
{
    int64_t d = window->dilation[i], in = window->in[i], kernel = window->kernel[i];
    *first = o * window->stride[i] - window->before[i];
    *begin = *first < 0 ? (-*first + d - 1) / d : 0;
    *end = in > *first ? (in - *first - 1) / d + 1 : 0;
    *end = *end > kernel ? kernel : *end;
    int64_t padded = (in + window->after[i] - *first - 1) / d + 1;
    return padded > kernel ? kernel : padded;
}

static inline void collect(struct window_sum *sum, double x, int64_t at, const enum kind kind,
                           double p)
{
    if (kind == POOL_AVERAGE)
        sum->sum += x;
    else if (kind == POOL_LP)
        sum->sum += p == 2 ? x * x : p == 1 ? fabs(x) : pow(fabs(x), p);
    else if (sum->max_at < 0 || x > sum->max || (isnan(x) && !isnan(sum->max))) {
        sum->max = x;
        sum->max_at = at;
    }
}

static inline __attribute__((always_inline)) struct window_sum
pool_window(const struct pooling *pooling, size_t base, const int64_t *o, const enum kind kind)
{
    const struct md_window *window = &pooling->window;
    const struct md_tensor *x = &pooling->call->in[0];
    const float *floats = x->dtype == MD_F32 ? x->data : NULL;
    int64_t begin[3], end[3], first[3];
    struct window_sum sum = {.max_at = -1, .count = 1};
    size_t inside = 1;
    for (int i = 0; i < 3; i++) {
        sum.count *= (size_t)taps(window, i, o[i], &begin[i], &end[i], &first[i]);
        inside *= (size_t)(end[i] > begin[i] ? end[i] - begin[i] : 0);
    }
    for (int64_t a = begin[0]; a < end[0]; a++)
        for (int64_t b = begin[1]; b < end[1]; b++) {
            int64_t row = (first[0] + a * window->dilation[0]) * window->in[1] + first[1] +
                          b * window->dilation[1];
            for (int64_t c = begin[2]; c < end[2]; c++) {
                int64_t at = row * window->in[2] + first[2] + c * window->dilation[2];
                size_t i = base + (size_t)at;
                collect(&sum, floats ? (double)floats[i] : md__get_float(x, i), at, kind,
                        pooling->p);
            }
        }
    if (!pooling->count_padding)
        sum.count = inside;
    return sum;
}

/* MaxPool counts through the whole tensor; within a plane by columns when storage_order is 1. */
static int64_t index_of_max(const struct pooling *pooling, size_t base, int64_t at)
{
    const int64_t *in = pooling->window.in;
    if (!pooling->column_major || at < 0)
        return (int64_t)base + at;
    int64_t c = at % in[2], b = at / in[2] % in[1], a = at / in[2] / in[1];
    return (int64_t)base + a + in[0] * (b + in[1] * c);
}

static void store_window(const struct pooling *pooling, size_t base, size_t to,
                         const struct window_sum *sum)
{
    const struct md_kernel_call *call = pooling->call;
    double result = sum->max;
    if (pooling->kind == POOL_AVERAGE)
        result = sum->sum / (double)sum->count;
    else if (pooling->kind == POOL_LP)
        result = pooling->p == 2 ? sqrt(sum->sum) : pow(sum->sum, 1 / pooling->p);
    else if (sum->max_at < 0) /* only padding */
        result = md__dtype_is_float(call->out[0].dtype) ? -INFINITY
                 : call->out[0].dtype == MD_I8          ? -128
                                                        : 0;
    md__set_float(&call->out[0], to, result);
    if (call->out_count > 1)
        ((int64_t *)call->out[1].data)[to] = index_of_max(pooling, base, sum->max_at);
}

static void pool_planes(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct pooling *pooling = context;
    const int64_t *in = pooling->window.in, *out = pooling->window.out;
    size_t in_plane = (size_t)(in[0] * in[1] * in[2]), to = (size_t)(out[0] * out[1] * out[2]);
    to *= begin;
    for (size_t plane = begin; plane < end; plane++) {
        size_t base = plane * in_plane;
        int64_t o[3];
        for (o[0] = 0; o[0] < out[0]; o[0]++)
            for (o[1] = 0; o[1] < out[1]; o[1]++)
                for (o[2] = 0; o[2] < out[2]; o[2]++, to++) {
                    struct window_sum sum = pooling->kind == POOL_MAX
                                                ? pool_window(pooling, base, o, POOL_MAX)
                                            : pooling->kind == POOL_AVERAGE
                                                ? pool_window(pooling, base, o, POOL_AVERAGE)
                                                : pool_window(pooling, base, o, POOL_LP);
                    store_window(pooling, base, to, &sum);
                }
    }
}

static enum md_status pool_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_node *node = call->node;
    enum md_op op = node->op;
    struct md_window window;
    bool global = op == MD_OP_GLOBAL_AVERAGE_POOL || op == MD_OP_GLOBAL_MAX_POOL ||
                  op == MD_OP_GLOBAL_LP_POOL;
    struct pooling pooling = {.call = call,
                              .kind = op == MD_OP_LP_POOL || op == MD_OP_GLOBAL_LP_POOL ? POOL_LP
                                      : op == MD_OP_AVERAGE_POOL || op == MD_OP_GLOBAL_AVERAGE_POOL
                                          ? POOL_AVERAGE
                                          : POOL_MAX,
                              .p = (double)md_node_int(node, "p", 2),
                              .count_padding = md_node_int(node, "count_include_pad", 0) != 0,
                              .column_major = md_node_int(node, "storage_order", 0) != 0};
    if (global) {
        md__window_init_global(&call->in[0].shape, &window);
    } else {
        enum md_status status = md__window_init(node, &call->in[0].shape, NULL, &window, err);
        if (status)
            return status;
    }
    pooling.window = md__window_widened(&window);
    size_t cost = md__span(&call->out[0].shape, 2, call->out[0].shape.rank) * 4;
    for (int i = 0; i < 3; i++)
        cost *= (size_t)pooling.window.kernel[i];
    md__parallel(call->pool, md__span(&call->in[0].shape, 0, 2), md__grain(cost), pool_planes,
                 &pooling);
    return MD_OK;
}

/* ---- MaxUnpool ------------------------------------------------------------------------------- */

/* The shape that the pooling was given: what indices count through. */
static struct md_shape unpooled_shape(const struct md_node *node, const struct md_shape *x)
{
    const struct md_attr *kernel = md_node_attr(node, "kernel_shape");
    const struct md_attr *strides = md_node_attr(node, "strides"),
                         *pads = md_node_attr(node, "pads");
    struct md_shape shape = *x;
    int axes = x->rank - 2;
    for (int i = 0; i < axes; i++) {
        int64_t padding = pads ? pads->ints[i] + pads->ints[i + axes] : 0;
        shape.dim[2 + i] =
            (x->dim[2 + i] - 1) * (strides ? strides->ints[i] : 1) - padding + kernel->ints[i];
    }
    return shape;
}

/* Where element `index` of a tensor of shape `from` lies in one of shape `to`; -1: outside. */
static int64_t moved_index(int64_t index, const struct md_shape *from, const struct md_shape *to)
{
    int64_t at = 0, step = 1;
    for (int i = to->rank - 1; i >= 0; i--) {
        if (from->dim[i] == 0 || index % from->dim[i] >= to->dim[i])
            return -1;
        at += index % from->dim[i] * step;
        index /= from->dim[i];
        step *= to->dim[i];
    }
    return index == 0 ? at : -1;
}

static enum md_status max_unpool_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *x = &call->in[0], *y = &call->out[0];
    size_t bytes = md_dtype_bytes(x->dtype), count = md__count(x);
    const int64_t *indices = call->in[1].data;
    struct md_shape from = unpooled_shape(call->node, &x->shape);
    memset(y->data, 0, md__count(y) * bytes);
    for (size_t i = 0; i < count; i++) {
        int64_t at = indices[i] < 0 ? -1 : moved_index(indices[i], &from, &y->shape);
        if (at < 0)
            return md_fail(err, MD_ERR_UNPROCESSABLE, "index %lld is outside the output",
                           (long long)indices[i]);
        memcpy((char *)y->data + (size_t)at * bytes, (const char *)x->data + i * bytes, bytes);
    }
    return MD_OK;
}

/* ---- MaxRoiPool ------------------------------------------------------------------------------ */

/* Where cell i of `cells` begins or ends in a region of `size` from `start`, within [0, limit]. */
static int64_t cell_edge(double start, double size, int64_t i, int64_t cells, bool upper,
                         int64_t limit)
{
    double at = (double)i * size / (double)cells;
    at = (upper ? ceil(at) : floor(at)) + start;
    return at < 0 ? 0 : at > (double)limit ? limit : (int64_t)at;
}

static double roi_max(const struct md_tensor *x, size_t plane, const double *roi,
                      const int64_t *cell, const int64_t *cells)
{
    int64_t low[2], high[2];
    double max = -INFINITY;
    for (int a = 0; a < 2; a++) {
        double start = roi[2 - a], size = fmax(roi[4 - a] - start + 1, 1);
        low[a] = cell_edge(start, size, cell[a], cells[a], false, x->shape.dim[2 + a]);
        high[a] = cell_edge(start, size, cell[a] + 1, cells[a], true, x->shape.dim[2 + a]);
    }
    for (int64_t i = low[0]; i < high[0]; i++)
        for (int64_t j = low[1]; j < high[1]; j++)
            max = fmax(max, md__get_float(x, (plane * (size_t)x->shape.dim[2] + (size_t)i) *
                                                     (size_t)x->shape.dim[3] +
                                                 (size_t)j));
    return max == -INFINITY ? 0 : max;
}

/* Each region is [batch element, x1, y1, x2, y2], in pixels before spatial_scale. */
static enum md_status max_roi_pool_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *x = &call->in[0], *y = &call->out[0];
    const int64_t *cells = y->shape.dim + 2, channels = y->shape.dim[1];
    float scale = (float)md_node_float(call->node, "spatial_scale", 1); /* ties as others round */
    size_t at = 0;
    for (size_t r = 0; r < (size_t)y->shape.dim[0]; r++) {
        double roi[5] = {md__get_float(&call->in[1], r * 5)};
        if (!(roi[0] >= 0 && roi[0] < (double)x->shape.dim[0]))
            return md_fail(err, MD_ERR_UNPROCESSABLE, "a region is in image %g, which is not there",
                           roi[0]);
        for (size_t k = 1; k < 5; k++)
            roi[k] = roundf((float)md__get_float(&call->in[1], r * 5 + k) * scale);
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = 0; i < cells[0] * cells[1]; i++)
                md__set_float(y, at++,
                              roi_max(x, (size_t)((int64_t)roi[0] * channels + c), roi,
                                      (int64_t[]){i / cells[1], i % cells[1]}, cells));
    }
    return MD_OK;
}

const struct md_kernel md__ref_pool = {.run = pool_run};
const struct md_kernel md__ref_max_unpool = {.run = max_unpool_run};
const struct md_kernel md__ref_max_roi_pool = {.run = max_roi_pool_run};
