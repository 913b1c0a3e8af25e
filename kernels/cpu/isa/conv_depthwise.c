/*
 * Depthwise convolution: every channel has a kernel of its own, so channels are lanes and a place
 * of the output is the sum over the taps of input vectors times weight vectors. There is little
 * arithmetic for the bytes it moves; what counts is that each input line is read while it is in the
 * first-level cache.
 *
 * Weights are packed [tap][channels padded]. A line is computed from left to right in groups of
 * neighbouring places, all channels of a group together; where windows reach into padding, at both
 * ends of a line, place by place over the taps that lie inside. Tap rows outside are left out.
 */
#include "kernels/cpu/isa/conv_last.h"

#define PLACES      (VECTOR_REGISTERS == 32 ? 12 : 8) /* sums in registers */
#define LINE_PLACES 128                               /* of a task */
#define ROWS_MAX    64                                /* tap rows, over two axes */

/* What one output line reads. */
struct line {
    const float *x[ROWS_MAX]; /* image lines */
    const float *w[ROWS_MAX]; /* their first tap's weights */
    size_t rows;
};

struct depthwise {
    const struct conv_run *run;
    size_t channels, padded;
    int64_t inner_begin, inner_end; /* places whose taps all lie inside, on the last axis */
    size_t parts;                   /* tasks of a line */
};

/* A few places by a vector of channels: taps [tap, tap_end) of every row. */
struct group {
    const struct line *line;
    int64_t at; /* floats: from an image line to the first place's tap 0 */
    int64_t tap, tap_end;
    size_t channel, lanes;
    size_t place; /* of the output */
};

INLINE vf load_lanes(const float *p, const bool whole, size_t lanes)
{
    return whole ? load(p) : load_some(p, lanes);
}

INLINE void sum_group(const struct depthwise *depthwise, const struct group *group,
                      const int places, const bool whole)
{
    const struct conv_run *run = depthwise->run;
    const struct md_window *window = &run->conv.window;
    const size_t lanes = group->lanes, y_pitch = run->y_pitch;
    const size_t apart = (size_t)window->stride[2] * run->x_pitch;
    const size_t tap_floats = (size_t)window->dilation[2] * run->x_pitch;
    vf sum[PLACES], start = {0};
    if (run->bias)
        start = load_lanes(run->bias + group->channel, whole, lanes);
#pragma GCC unroll 12
    for (int r = 0; r < places; r++)
        sum[r] = start;
    for (size_t row = 0; row < group->line->rows; row++) {
        const float *x = group->line->x[row] + group->at + (int64_t)group->channel +
                         group->tap * (int64_t)tap_floats;
        const float *w =
            group->line->w[row] + group->channel + (size_t)group->tap * depthwise->padded;
        for (int64_t tap = group->tap; tap < group->tap_end; tap++) {
            vf weight = *(const vf *)w;
#pragma GCC unroll 12
            for (int r = 0; r < places; r++)
                sum[r] += load_lanes(x + (size_t)r * apart, whole, lanes) * weight;
            x += tap_floats;
            w += depthwise->padded;
        }
    }
    float *y = run->y + group->place * y_pitch + group->channel;
    const float *z = run->z ? run->z + group->place * run->z_pitch + group->channel : NULL;
#pragma GCC unroll 12
    for (int r = 0; r < places; r++) {
        vf value = sum[r];
        if (z)
            value += load_lanes(z + (size_t)r * run->z_pitch, whole, lanes);
        value = conv_ended(run, value);
        if (whole)
            store(y + (size_t)r * y_pitch, value);
        else
            store_some(y + (size_t)r * y_pitch, value, lanes);
    }
}

INLINE void all_channels(const struct depthwise *depthwise, struct group *group, const int places)
{
    size_t channels = depthwise->channels;
    group->lanes = VL;
    for (group->channel = 0; group->channel + VL <= channels; group->channel += VL)
        sum_group(depthwise, group, places, true);
    group->lanes = channels - group->channel;
    if (group->lanes)
        sum_group(depthwise, group, places, false);
}

static void sum_places(const struct depthwise *depthwise, struct group *group, size_t places)
{
    switch (places) {
#define CASE(n)                                                                                    \
    case n:                                                                                        \
        all_channels(depthwise, group, n);                                                         \
        break;
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4)
        CASE(5)
        CASE(6)
        CASE(7)
        CASE(8)
#if VECTOR_REGISTERS == 32
        CASE(9)
        CASE(10)
        CASE(11)
        CASE(12)
#endif
#undef CASE
    default:
        break;
    }
    const struct conv_run *run = depthwise->run;
    conv_activate(run, run->y + group->place * run->y_pitch, run->y_pitch, places,
                  depthwise->channels);
}

/* Which taps of place j of an axis lie inside. */
static void inside(const struct md_window *window, int i, int64_t j, int64_t *begin, int64_t *end)
{
    int64_t first = j * window->stride[i] - window->before[i], apart = window->dilation[i];
    *begin = first < 0 ? (-first + apart - 1) / apart : 0;
    *end = first < window->in[i] ? (window->in[i] - 1 - first) / apart + 1 : 0;
    *end = *end > window->kernel[i] ? window->kernel[i] : *end;
}

/* Places [begin, end) of the line that begins at place `first`, all with the taps of their first.
 */
static void run_places(const struct depthwise *depthwise, const struct line *line, size_t first,
                       int64_t begin, int64_t end)
{
    const struct md_window *window = &depthwise->run->conv.window;
    struct group group = {.line = line};
    inside(window, 2, begin, &group.tap, &group.tap_end);
    int64_t groups = (end - begin + PLACES - 1) / PLACES;
    for (int64_t g = 0, at = begin; g < groups; g++) {
        int64_t next = begin + (end - begin) * (g + 1) / groups;
        group.at = (at * window->stride[2] - window->before[2]) * (int64_t)depthwise->run->x_pitch;
        group.place = first + (size_t)at;
        sum_places(depthwise, &group, (size_t)(next - at));
        at = next;
    }
}

/* The image lines under output line (depth, height) of an image. */
static void list_rows(const struct depthwise *depthwise, size_t image, int64_t depth,
                      int64_t height, struct line *line)
{
    const struct md_window *window = &depthwise->run->conv.window;
    int64_t a, a_end, b_begin, b_end;
    line->rows = 0;
    inside(window, 0, depth, &a, &a_end);
    inside(window, 1, height, &b_begin, &b_end);
    for (; a < a_end; a++)
        for (int64_t b = b_begin; b < b_end; b++) {
            int64_t deep = depth * window->stride[0] - window->before[0] + a * window->dilation[0];
            int64_t high = height * window->stride[1] - window->before[1] + b * window->dilation[1];
            size_t at = (image * (size_t)window->in[0] + (size_t)deep) * (size_t)window->in[1];
            at = (at + (size_t)high) * (size_t)window->in[2];
            line->x[line->rows] = depthwise->run->x + at * depthwise->run->x_pitch;
            line->w[line->rows++] =
                (const float *)depthwise->run->packed +
                (size_t)((a * window->kernel[1] + b) * window->kernel[2]) * depthwise->padded;
        }
}

static int64_t clamp(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

static void run_lines(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct depthwise *depthwise = context;
    const struct md_window *window = &depthwise->run->conv.window;
    const int64_t *out = window->out;
    for (size_t task = begin; task < end; task++) {
        size_t row = task / depthwise->parts, part = task % depthwise->parts;
        int64_t height = (int64_t)row % out[1], depth = (int64_t)row / out[1] % out[0];
        size_t image = row / (size_t)(out[0] * out[1]);
        struct line line;
        list_rows(depthwise, image, depth, height, &line);
        size_t first = row * (size_t)out[2];
        int64_t from = out[2] * (int64_t)part / (int64_t)depthwise->parts;
        int64_t to = out[2] * (int64_t)(part + 1) / (int64_t)depthwise->parts;
        int64_t inner = clamp(depthwise->inner_begin, from, to);
        int64_t inner_end = clamp(depthwise->inner_end, inner, to);
        for (int64_t j = from; j < inner; j++)
            run_places(depthwise, &line, first, j, j + 1);
        if (inner < inner_end)
            run_places(depthwise, &line, first, inner, inner_end);
        for (int64_t j = inner_end; j < to; j++)
            run_places(depthwise, &line, first, j, j + 1);
    }
}

static void depthwise_run(const struct conv_run *run)
{
    const struct md_window *window = &run->conv.window;
    const int64_t *out = window->out;
    struct depthwise depthwise = {
        .run = run, .channels = run->conv.channels, .padded = padded(run->conv.channels)};
    int64_t stride = window->stride[2], before = window->before[2];
    int64_t extent = (window->kernel[2] - 1) * window->dilation[2];
    int64_t last = window->in[2] - 1 - extent + before; /* first tap's latest place, padded */
    depthwise.inner_begin = (before + stride - 1) / stride;
    depthwise.inner_end = last < 0 ? 0 : last / stride + 1;
    depthwise.parts = (size_t)(out[2] + LINE_PLACES - 1) / LINE_PLACES;
    size_t lines = run->conv.batch * (size_t)(out[0] * out[1]) * depthwise.parts;
    size_t cost = (size_t)out[2] * vectors_of(depthwise.channels) * (run->conv.taps + 4) /
                  (depthwise.parts ? depthwise.parts : 1);
    md__parallel(run->pool, lines, md__grain(cost), run_lines, &depthwise);
}

static bool depthwise_can(const struct conv *conv)
{
    const int64_t *kernel = conv->window.kernel;
    return !conv->transposed && conv->group_channels == 1 && conv->group_outputs == 1 &&
           kernel[0] * kernel[1] <= ROWS_MAX && conv->channels > 1;
}

static size_t depthwise_packed_bytes(const struct conv *conv)
{
    return conv->taps * padded(conv->channels) * sizeof(float);
}

static bool depthwise_pack(const struct conv *conv, const float *weights, void *packed)
{
    float *to = packed;
    for (size_t tap = 0; tap < conv->taps; tap++, to += padded(conv->channels))
        for (size_t c = 0; c < conv->channels; c++)
            to[c] = weights[c * conv->taps + tap];
    return true;
}

const struct conv_algorithm md__conv_depthwise = {.name = "depthwise",
                                                  .can = depthwise_can,
                                                  .packed_bytes = depthwise_packed_bytes,
                                                  .pack = depthwise_pack,
                                                  .run = depthwise_run};
