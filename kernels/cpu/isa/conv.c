/*
 * Float32 Conv on the dense product of linear.h: weights [outputs, inputs * taps] times patches of
 * the input, which are laid out as packed columns (im2col) for one tile of output positions at a
 * time and stay in the second-level cache while all output channels of a group pass.
 *
 * A task is one tile of one group of one batch element, or a part of its output channels when there
 * are fewer tiles than threads.
 */
#include "graph/window.h"
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/linear.h"
#include "kernels/cpu/ref.h"

#define TILE_FLOATS ((size_t)128 << 10) /* of patches in one tile */
#define TILE_PANELS 16                  /* at most */

struct conv {
    const struct md_kernel_call *call;
    struct md_window window; /* three axes */
    size_t groups, group_channels, group_outputs;
    size_t taps, inputs; /* of a kernel; taps * group_channels */
    size_t x_plane, positions;
    size_t tile, tiles; /* positions of a tile; tiles of a plane */
    size_t parts;       /* of the output channels */
    size_t scratch;     /* floats a thread */
};

static size_t tile_positions(size_t inputs, size_t positions)
{
    size_t panels = TILE_FLOATS / (inputs * PANEL * VL), needed = vectors_of(positions);
    panels = panels < 1 ? 1 : panels > TILE_PANELS ? TILE_PANELS : panels;
    needed = (needed + PANEL - 1) / PANEL;
    return (panels < needed ? panels : needed) * PANEL * VL;
}

static bool describe(struct conv *conv, const struct md_node *node, const struct md_tensor *in)
{
    struct md_window window;
    if (md__window_init(node, &in[0].shape, &in[1].shape, &window, NULL))
        return false;
    conv->window = md__window_widened(&window);
    conv->groups = (size_t)md_node_int(node, "group", 1);
    conv->group_channels = (size_t)in[1].shape.dim[1];
    conv->group_outputs = (size_t)in[1].shape.dim[0] / conv->groups;
    conv->taps = md__span(&in[1].shape, 2, in[1].shape.rank);
    conv->inputs = conv->taps * conv->group_channels;
    conv->x_plane = md__span(&in[0].shape, 2, in[0].shape.rank);
    conv->positions = 1;
    for (int i = 0; i < 3; i++)
        conv->positions *= (size_t)conv->window.out[i];
    conv->tile = tile_positions(conv->inputs ? conv->inputs : 1, conv->positions);
    conv->tiles = (conv->positions + conv->tile - 1) / conv->tile;
    conv->scratch = packed_floats(conv->inputs, conv->tile, false);
    return true;
}

/* One run of `count` neighbours in the last axis: x at first, first + stride, ...; zeros outside.
 */
static void copy_run(float *to, const float *row, int64_t first, int64_t stride, size_t count,
                     int64_t width)
{
    if (stride == 1 && first >= 0 && first + (int64_t)count <= width) {
        memcpy(to, row + first, count * sizeof *to);
        return;
    }
    for (size_t i = 0; i < count; i++, first += stride)
        to[i] = first >= 0 && first < width ? row[first] : 0;
}

/*
 * What tap (a, b, c) reads of `plane` for output positions [begin, begin + count). Positions of one
 * output row are neighbours.
 */
static void patch_row(const struct conv *conv, const float *plane, const int64_t *tap, size_t begin,
                      size_t count, float *to)
{
    const struct md_window *window = &conv->window;
    size_t width = (size_t)window->out[2];
    for (size_t done = 0, run; done < count; done += run) {
        size_t at = begin + done, row = at / width, column = at % width;
        run = width - column < count - done ? width - column : count - done;
        int64_t o[2] = {(int64_t)row / window->out[1], (int64_t)row % window->out[1]}, in[2];
        bool inside = true;
        for (int i = 0; i < 2; i++) {
            in[i] = o[i] * window->stride[i] - window->before[i] + tap[i] * window->dilation[i];
            inside = inside && in[i] >= 0 && in[i] < window->in[i];
        }
        if (!inside) {
            memset(to + done, 0, run * sizeof *to);
            continue;
        }
        copy_run(to + done, plane + (in[0] * window->in[1] + in[1]) * window->in[2],
                 (int64_t)column * window->stride[2] - window->before[2] +
                     tap[2] * window->dilation[2],
                 window->stride[2], run, window->in[2]);
    }
}

/* Lays out the patches of positions [begin, begin + count) of one group, panel by panel. */
static void pack_patches(const struct conv *conv, const float *x, size_t begin, size_t count,
                         struct packed *packed)
{
    const int64_t *kernel = conv->window.kernel;
    for (size_t v = 0; v < packed->vectors; v += PANEL) {
        size_t width = packed->vectors - v < PANEL ? packed->vectors - v : PANEL;
        size_t first = v * VL, some = count - first < width * VL ? count - first : width * VL;
        float *to = packed->weights + v * packed->inputs * VL;
        for (size_t c = 0; c < conv->group_channels; c++)
            for (size_t k = 0; k < conv->taps; k++, to += width * VL) {
                const int64_t tap[] = {(int64_t)k / kernel[2] / kernel[1],
                                       (int64_t)k / kernel[2] % kernel[1], (int64_t)k % kernel[2]};
                patch_row(conv, x + c * conv->x_plane, tap, begin + first, some, to);
                memset(to + some, 0, (width * VL - some) * sizeof *to);
            }
    }
}

static void add_bias(const float *bias, float *y, size_t y_stride, size_t rows, size_t columns)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < columns; i++)
            y[r * y_stride + i] += bias[r];
}

static void run_tasks(void *context, size_t begin, size_t end, int thread)
{
    const struct conv *conv = context;
    const struct md_kernel_call *call = conv->call;
    float *memory = (float *)call->scratch + conv->scratch * (size_t)thread;
    for (size_t task = begin; task < end; task++) {
        size_t part = task % conv->parts, tile = task / conv->parts % conv->tiles;
        size_t image = task / conv->parts / conv->tiles; /* batch element and group */
        size_t group = image % conv->groups, at = tile * conv->tile;
        size_t count = conv->positions - at < conv->tile ? conv->positions - at : conv->tile;
        size_t row = conv->group_outputs * part / conv->parts;
        size_t row_end = conv->group_outputs * (part + 1) / conv->parts;
        struct packed packed = {.inputs = conv->inputs,
                                .columns = count,
                                .vectors = vectors_of(count),
                                .bias = memory,
                                .weights = memory + vectors_of(count) * VL};
        memset(packed.bias, 0, packed.vectors * VL * sizeof(float));
        pack_patches(conv,
                     (const float *)call->in[0].data + image * conv->group_channels * conv->x_plane,
                     at, count, &packed);
        size_t first = group * conv->group_outputs + row;
        float *y =
            (float *)call->out[0].data + (image * conv->group_outputs + row) * conv->positions + at;
        struct product product = {.x = (const float *)call->in[1].data + first * conv->inputs,
                                  .x_stride = conv->inputs,
                                  .rows = row_end - row,
                                  .y = y,
                                  .y_stride = conv->positions,
                                  .y_columns = count};
        md__multiply(&packed, &product);
        if (md__has(call->in, call->in_count, 2))
            add_bias((const float *)call->in[2].data + first, y, conv->positions, row_end - row,
                     count);
    }
}

static size_t conv_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                           int threads)
{
    (void)in_count;
    struct conv conv;
    return describe(&conv, node, in) ? conv.scratch * (size_t)threads * sizeof(float) : 0;
}

static enum md_status conv_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct conv conv = {.call = call};
    if (!describe(&conv, call->node, call->in))
        return md_fail(err, MD_ERR_INTERNAL, "window does not fit");
    conv.call = call;
    size_t images = (size_t)call->in[0].shape.dim[0] * conv.groups;
    size_t threads = call->pool ? (size_t)md_pool_threads(call->pool) : 1;
    conv.parts = 1;
    while (threads > 1 && images * conv.tiles * conv.parts < 2 * threads &&
           conv.group_outputs / (2 * conv.parts) >= ROW_BLOCK)
        conv.parts *= 2;
    size_t cost = conv.inputs * conv.tile * (conv.group_outputs / conv.parts + 2) / VL;
    md__parallel(call->pool, images * conv.tiles * conv.parts, md__grain(cost), run_tasks, &conv);
    return MD_OK;
}

const struct md_kernel md__conv = {
    .supports = md__all_f32, .scratch_bytes = conv_scratch, .run = conv_run};
