/*
 * Poolings of channels-last tensors: MaxPool, AveragePool over up to three axes, and their global
 * forms. A window's pixels are found once; channels then pass in vectors.
 *
 * Global poolings of an image are split into chunks of pixels (of fixed size, so that the result
 * does not depend on the threads), whose results are put together in a second step.
 */
#include <math.h>

#include "graph/window.h"
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/last.h"
#include "kernels/cpu/ref.h"

#define TAPS_MAX     64 /* pixels that are collected in one go */
#define CHUNK_FLOATS ((size_t)16 << 10)

struct pooling {
    const struct md_kernel_call *call;
    struct md_window window; /* three axes */
    size_t channels, row;    /* row: channels, padded */
    size_t x_pitch, y_pitch; /* floats from pixel to pixel */
    bool average, count_padding;
    size_t plane, chunk, chunks; /* global: pixels of an image, of a chunk; chunks of an image */
};

/* Collects pixels at[0 .. count) into y; `more`: y holds what others gave. */
INLINE void collect(const float *const *at, size_t count, float *y, size_t channels, float factor,
                    const bool average, bool more)
{
    for (size_t c = 0; c < channels; c += VL) {
        size_t left = channels - c;
        vf result = more ? load_upto(y + c, left) : load_upto(at[0] + c, left);
        for (size_t k = more ? 0 : 1; k < count; k++) {
            vf x = load_upto(at[k] + c, left);
            if (average)
                result += x;
            else
                result = vmax_nan(x, result);
        }
        if (average)
            result *= factor;
        store_upto(y + c, result, left);
    }
}

/* Taps of axis i that lie inside for output o: [*begin, *end); how many lie on it or its padding.
 */
static int64_t taps_inside(const struct md_window *window, int i, int64_t o, int64_t *first,
                           int64_t *begin, int64_t *end)
{
    int64_t d = window->dilation[i], in = window->in[i], kernel = window->kernel[i];
    *first = o * window->stride[i] - window->before[i];
    *begin = *first < 0 ? (-*first + d - 1) / d : 0;
    *end = in > *first ? (in - *first - 1) / d + 1 : 0;
    *end = *end > kernel ? kernel : *end;
    int64_t all = (in + window->after[i] - *first - 1) / d + 1;
    return all > kernel ? kernel : all;
}

/* One output pixel, whose index on each axis is o, of the image at x. */
INLINE void pool_pixel(const struct pooling *pooling, const float *x, const int64_t *o, float *y,
                       const bool average)
{
    const struct md_window *window = &pooling->window;
    int64_t first[3], begin[3], end[3];
    const float *at[TAPS_MAX];
    size_t count = 0, padded_count = 1, inside = 1;
    bool more = false;
    for (int i = 0; i < 3; i++) {
        padded_count *= (size_t)taps_inside(window, i, o[i], &first[i], &begin[i], &end[i]);
        inside *= (size_t)(end[i] > begin[i] ? end[i] - begin[i] : 0);
    }
    float factor = 1 / (float)(pooling->count_padding ? padded_count : inside);
    for (int64_t a = begin[0]; a < end[0]; a++)
        for (int64_t b = begin[1]; b < end[1]; b++)
            for (int64_t c = begin[2]; c < end[2]; c++) {
                int64_t row = (first[0] + a * window->dilation[0]) * window->in[1] + first[1] +
                              b * window->dilation[1];
                int64_t pixel = row * window->in[2] + first[2] + c * window->dilation[2];
                at[count++] = x + (size_t)pixel * pooling->x_pitch;
                if (count == TAPS_MAX && inside > TAPS_MAX) {
                    inside -= count;
                    collect(at, count, y, pooling->channels, 1, average, more);
                    more = true;
                    count = 0;
                }
            }
    if (count)
        collect(at, count, y, pooling->channels, factor, average, more);
    for (size_t c = 0; !count && !more && c < pooling->channels; c++)
        y[c] = average ? NAN : -INFINITY; /* only padding */
}

/* Rows of the output: its last spatial axis. */
static void pool_rows(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct pooling *pooling = context;
    const int64_t *in = pooling->window.in, *out = pooling->window.out;
    size_t rows = (size_t)(out[0] * out[1]), image = (size_t)(in[0] * in[1] * in[2]);
    for (size_t r = begin; r < end; r++) {
        const float *x =
            (const float *)pooling->call->in[0].data + r / rows * image * pooling->x_pitch;
        float *y = (float *)pooling->call->out[0].data + r * (size_t)out[2] * pooling->y_pitch;
        int64_t o[3] = {(int64_t)(r % rows) / out[1], (int64_t)(r % rows) % out[1], 0};
        for (; o[2] < out[2]; o[2]++, y += pooling->y_pitch)
            if (pooling->average)
                pool_pixel(pooling, x, o, y, true);
            else
                pool_pixel(pooling, x, o, y, false);
    }
}

static bool pool_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    bool bytes = in[0].dtype == MD_U8 || in[0].dtype == MD_I8;
    return (bytes || md__all_f32(node, in, in_count)) && node->out_count <= 1 &&
           in[0].shape.rank <= 5;
}

static enum md_status pool_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct md_shape shape = last_as_first(&call->in[0].shape);
    struct md_window window;
    if (call->in[0].dtype != MD_F32)
        return md__int8_pool(call, err);
    enum md_status status = md__window_init(call->node, &shape, NULL, &window, err);
    if (status)
        return status;
    struct pooling pooling = {.call = call,
                              .window = md__window_widened(&window),
                              .channels = (size_t)shape.dim[1],
                              .average = call->node->op == MD_OP_AVERAGE_POOL_LAST,
                              .count_padding = md_node_int(call->node, "count_include_pad", 0)};
    pooling.x_pitch = md_kernel_pitch(call, 0, pooling.channels);
    pooling.y_pitch = md_kernel_pitch(call, 1, pooling.channels);
    const int64_t *out = pooling.window.out, *kernel = pooling.window.kernel;
    size_t cost = (size_t)(out[2] * kernel[0] * kernel[1] * kernel[2]) * pooling.channels / 8;
    md__parallel(call->pool, (size_t)(shape.dim[0] * out[0] * out[1]), md__grain(cost), pool_rows,
                 &pooling);
    return MD_OK;
}

const struct md_kernel md__pool_last = {
    .supports = pool_supports, .run = pool_run, .pitched = MD_PITCHED_IN(0) | MD_PITCHED_OUT};

/* ---- Global ---------------------------------------------------------------------------------- */

/* Sums or maxima of `count` rows of x; starts from the first. */
INLINE void collect_rows(const float *x, size_t count, size_t stride, float *y, size_t channels,
                         const bool average)
{
    for (size_t c = 0; c < channels; c += VL) {
        size_t left = channels - c;
        vf result = load_upto(x + c, left);
        for (size_t r = 1; r < count; r++) {
            vf value = load_upto(x + r * stride + c, left);
            if (average)
                result += value;
            else
                result = vmax_nan(value, result);
        }
        store_upto(y + c, result, left);
    }
}

static void pool_chunks(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct pooling *pooling = context;
    for (size_t task = begin; task < end; task++) {
        size_t image = task / pooling->chunks, first = task % pooling->chunks * pooling->chunk;
        size_t left = pooling->plane - first;
        const float *x = (const float *)pooling->call->in[0].data +
                         (image * pooling->plane + first) * pooling->x_pitch;
        float *y = (float *)pooling->call->scratch + task * pooling->row;
        size_t count = left < pooling->chunk ? left : pooling->chunk;
        if (pooling->average)
            collect_rows(x, count, pooling->x_pitch, y, pooling->channels, true);
        else
            collect_rows(x, count, pooling->x_pitch, y, pooling->channels, false);
    }
}

static struct pooling describe_global(const struct md_tensor *in)
{
    const struct md_shape *shape = &in[0].shape;
    struct pooling pooling = {.channels = last_channels(shape), .plane = last_plane(shape)};
    pooling.row = padded(pooling.channels);
    pooling.chunk = CHUNK_FLOATS / (pooling.row ? pooling.row : 1);
    pooling.chunk = pooling.chunk ? pooling.chunk : 1;
    pooling.chunks = (pooling.plane + pooling.chunk - 1) / pooling.chunk;
    return pooling;
}

static size_t global_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                             int threads)
{
    (void)node, (void)in_count, (void)threads;
    struct pooling pooling = describe_global(in);
    return (size_t)in[0].shape.dim[0] * pooling.chunks * pooling.row * sizeof(float);
}

static enum md_status global_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct pooling pooling = describe_global(call->in);
    pooling.call = call;
    pooling.x_pitch = md_kernel_pitch(call, 0, pooling.channels);
    pooling.average = call->node->op == MD_OP_GLOBAL_AVERAGE_POOL_LAST;
    size_t batch = (size_t)call->in[0].shape.dim[0], channels = pooling.channels;
    float *y = call->out[0].data;
    if (pooling.plane == 0) {
        for (size_t i = 0; i < batch * channels; i++)
            y[i] = pooling.average ? NAN : -INFINITY;
        return MD_OK;
    }
    md__parallel(call->pool, batch * pooling.chunks, md__grain(pooling.chunk * pooling.row / 8),
                 pool_chunks, &pooling);
    for (size_t image = 0; image < batch; image++, y += channels) {
        const float *x = (const float *)call->scratch + image * pooling.chunks * pooling.row;
        if (pooling.average)
            collect_rows(x, pooling.chunks, pooling.row, y, channels, true);
        else
            collect_rows(x, pooling.chunks, pooling.row, y, channels, false);
        for (size_t c = 0; pooling.average && c < channels; c++)
            y[c] /= (float)pooling.plane;
    }
    return MD_OK;
}

const struct md_kernel md__global_pool_last = {.supports = md__all_f32,
                                               .scratch_bytes = global_scratch,
                                               .run = global_run,
                                               .pitched = MD_PITCHED_IN(0)};
