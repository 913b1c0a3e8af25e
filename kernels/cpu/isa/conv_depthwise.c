/*
 * Depthwise convolution: every channel has a kernel of its own, so channels are lanes and a place
 * of the output is the sum over the taps of input vectors times weight vectors. There is little
 * arithmetic for the bytes it moves; what counts is that each input line is read while it is in the
 * first-level cache: a task goes down a strip of its lines with as many channels as fit there.
 *
 * Common kernels slide over a line (depthwise_slide.c). Others are summed in groups of places all
 * of whose taps lie inside; where windows reach into padding, at both ends of a line, place by
 * place over the taps that do. Tap rows outside are left out.
 */
#include "kernels/cpu/isa/conv_depthwise.h"

#define PLACES      (VECTOR_REGISTERS == 32 ? 12 : 8) /* sums in registers, unless they slide */
#define LINE_PLACES 128                               /* of a task */
#define LINES       32                                /* of a strip, at most */
#define ROWS_MAX    64                                /* tap rows, over two axes */
#define CACHE_BYTES ((size_t)32 << 10)                /* of input under a group of places */

INLINE vf load_lanes(const float *p, const bool whole, size_t lanes)
{
    return whole ? load(p) : load_some(p, lanes);
}

INLINE void sum_lanes(const struct depthwise *depthwise, const struct depthwise_group *group,
                      size_t channel, size_t lanes, const int places, const bool whole)
{
    const struct conv_run *run = depthwise->run;
    const struct depthwise_line *line = group->line;
    const struct md_window *window = &run->conv.window;
    const size_t apart = (size_t)window->stride[2] * run->x_pitch;
    const size_t tap_floats = (size_t)window->dilation[2] * run->x_pitch;
    const int64_t at = group->at * (int64_t)run->x_pitch + group->tap * (int64_t)tap_floats;
    vf sum[PLACES], start = {0};
    if (run->bias)
        start = load_lanes(run->bias + channel, whole, lanes);
#pragma GCC unroll 12
    for (int r = 0; r < places; r++)
        sum[r] = start;
    for (int64_t a = 0; a < line->planes; a++)
        for (int64_t b = 0; b < line->rows; b++) {
            const float *w, *x = tap_row(depthwise, line, a, b, &w) + at + (int64_t)channel;
            w += channel + (size_t)group->tap * depthwise->padded;
            for (int64_t tap = group->tap; tap < group->tap_end; tap++) {
                vf weight = *(const vf *)w;
#pragma GCC unroll 12
                for (int r = 0; r < places; r++)
                    sum[r] += load_lanes(x + (size_t)r * apart, whole, lanes) * weight;
                x += tap_floats;
                w += depthwise->padded;
            }
        }
    depthwise_finish(run, sum, line->first + (size_t)group->place, channel, places, whole, lanes);
}

INLINE void all_lanes(const struct depthwise *depthwise, const struct depthwise_group *group,
                      const int places)
{
    size_t channel = group->channel;
    for (; channel + VL <= group->channel_end; channel += VL)
        sum_lanes(depthwise, group, channel, VL, places, true);
    if (channel < group->channel_end)
        sum_lanes(depthwise, group, channel, group->channel_end - channel, places, false);
}

static void sum_places(const struct depthwise *depthwise, const struct depthwise_group *group,
                       size_t places)
{
    switch (places) {
#define CASE(n)                                                                                    \
    case n:                                                                                        \
        all_lanes(depthwise, group, n);                                                            \
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
}

/* What registers could not do, of a group's stored results. */
static void activate(const struct depthwise *depthwise, const struct depthwise_group *group,
                     size_t places)
{
    const struct conv_run *run = depthwise->run;
    size_t first = group->line->first + (size_t)group->place;
    conv_activate(run, run->y + first * run->y_pitch + group->channel, run->y_pitch, places,
                  group->channel_end - group->channel);
}

/* Which taps of place j of an axis lie inside. */
static void inside(const struct md_window *window, int i, int64_t j, int64_t *begin, int64_t *end)
{
    int64_t first = j * window->stride[i] - window->before[i], apart = window->dilation[i];
    *begin = first < 0 ? (-first + apart - 1) / apart : 0;
    *end = first < window->in[i] ? (window->in[i] - 1 - first) / apart + 1 : 0;
    *end = *end > window->kernel[i] ? window->kernel[i] : *end;
}

static int64_t clamp(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* Places [begin, end) of a line, all with the taps of their first. */
static void run_places(const struct depthwise *depthwise, const struct depthwise_line *line,
                       int64_t begin, int64_t end)
{
    const struct md_window *window = &depthwise->run->conv.window;
    struct depthwise_group group = {.line = line, .channel_end = depthwise->channels};
    inside(window, 2, begin, &group.tap, &group.tap_end);
    int64_t groups = (end - begin + PLACES - 1) / PLACES;
    group.place = begin;
    for (int64_t g = 0; g < groups; g++) {
        int64_t next = begin + (end - begin) * (g + 1) / groups;
        size_t places = (size_t)(next - group.place);
        group.at = group.place * window->stride[2] - window->before[2];
        sum_places(depthwise, &group, places);
        activate(depthwise, &group, places);
        group.place = next;
    }
}

/* Places [from, to) of a line, by what their windows reach. */
static void run_line(const struct depthwise *depthwise, const struct depthwise_line *line,
                     int64_t from, int64_t to)
{
    const struct md_window *window = &depthwise->run->conv.window;
    int64_t stride = window->stride[2], before = window->before[2];
    int64_t extent = (window->kernel[2] - 1) * window->dilation[2];
    int64_t last = window->in[2] - 1 - extent + before; /* first tap's latest place, padded */
    int64_t inner = clamp((before + stride - 1) / stride, from, to);
    int64_t inner_end = clamp(last < 0 ? 0 : last / stride + 1, inner, to);
    for (int64_t j = from; j < inner; j++)
        run_places(depthwise, line, j, j + 1);
    if (inner < inner_end)
        run_places(depthwise, line, inner, inner_end);
    for (int64_t j = inner_end; j < to; j++)
        run_places(depthwise, line, j, j + 1);
}

/* Places [from, to) of some lines: a group of places and the channels that fit the cache with what
 * is under them, down all lines. */
static void slide_strip(const struct depthwise *depthwise, const struct depthwise_line *lines,
                        size_t count, int64_t from, int64_t to)
{
    const struct md_window *window = &depthwise->run->conv.window;
    int64_t groups = (to - from + SLIDE_PLACES - 1) / SLIDE_PLACES;
    size_t under = (size_t)(SLIDE_PLACES * window->stride[2] + window->kernel[2]) *
                   (size_t)(window->kernel[0] * window->kernel[1]) * sizeof(vf);
    size_t vectors = vectors_of(depthwise->channels), fit = CACHE_BYTES / under;
    size_t blocks = (vectors + fit) / (fit + 1);
    struct depthwise_group group = {.place = from};
    for (int64_t g = 0; g < groups; g++) {
        int64_t next = from + (to - from) * (g + 1) / groups;
        size_t places = (size_t)(next - group.place);
        group.at = group.place * window->stride[2] - window->before[2];
        for (size_t b = 0; b < blocks; b++) {
            size_t end = vectors * (b + 1) / blocks * VL;
            size_t begin = vectors * b / blocks * VL, last = depthwise->channels - VL;
            group.channel = begin < last ? begin : last;
            group.channel_end = end < depthwise->channels ? end : depthwise->channels;
            for (size_t i = 0; i < count; i++) {
                group.line = &lines[i];
                md__depthwise_slide(depthwise, &group, places);
                activate(depthwise, &group, places);
            }
        }
        group.place = next;
    }
}

/* The tap rows under output line `row` of all images and depths. */
static struct depthwise_line line_of(const struct depthwise *depthwise, size_t row)
{
    const struct md_window *window = &depthwise->run->conv.window;
    int64_t height = (int64_t)row % window->out[1], plane = (int64_t)row / window->out[1];
    int64_t depth = plane % window->out[0], image = plane / window->out[0];
    int64_t a, a_end, b, b_end;
    inside(window, 0, depth, &a, &a_end);
    inside(window, 1, height, &b, &b_end);
    int64_t deep = depth * window->stride[0] - window->before[0] + a * window->dilation[0];
    int64_t high = height * window->stride[1] - window->before[1] + b * window->dilation[1];
    int64_t line = (image * window->in[0] + deep) * window->in[1] + high;
    return (struct depthwise_line){
        .x = depthwise->run->x + line * window->in[2] * (int64_t)depthwise->run->x_pitch,
        .w = (const float *)depthwise->run->packed +
             (a * window->kernel[1] + b) * (int64_t)depthwise->row_weights,
        .planes = a_end - a,
        .rows = b_end - b,
        .first = row * (size_t)window->out[2]};
}

static int64_t parts_of(const struct conv *conv)
{
    return (conv->window.out[2] + LINE_PLACES - 1) / LINE_PLACES;
}

/* Tasks are lines of the first part of their places, then those of the second... */
static void run_lines(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct depthwise *depthwise = context;
    const struct conv *conv = &depthwise->run->conv;
    const int64_t *out = conv->window.out;
    size_t all = conv->batch * (size_t)(out[0] * out[1]);
    int64_t parts = parts_of(conv);
    bool slides = md__depthwise_slides(conv);
    struct depthwise_line lines[LINES];
    for (size_t task = begin, count; task < end; task += count) {
        int64_t part = (int64_t)(task / all);
        int64_t from = out[2] * part / parts, to = out[2] * (part + 1) / parts;
        size_t row = task % all, left = end - task < all - row ? end - task : all - row;
        count = left < LINES ? left : LINES;
        for (size_t i = 0; i < count; i++)
            lines[i] = line_of(depthwise, row + i);
        if (slides)
            slide_strip(depthwise, lines, count, from, to);
        for (size_t i = 0; i < count && !slides; i++)
            run_line(depthwise, &lines[i], from, to);
    }
}

static void depthwise_run(const struct conv_run *run)
{
    const struct conv *conv = &run->conv;
    const struct md_window *window = &conv->window;
    int64_t line = window->in[2] * (int64_t)run->x_pitch;
    struct depthwise depthwise = {.run = run,
                                  .channels = conv->channels,
                                  .padded = padded(conv->channels),
                                  .plane_step = window->dilation[0] * window->in[1] * line,
                                  .row_step = window->dilation[1] * line,
                                  .row_weights =
                                      (size_t)window->kernel[2] * padded(conv->channels)};
    size_t lines = conv->batch * (size_t)(window->out[0] * window->out[1]);
    size_t parts = (size_t)parts_of(conv);
    size_t cost = (size_t)window->out[2] * vectors_of(conv->channels) * (conv->taps + 4) /
                  (parts ? parts : 1);
    md__parallel(run->pool, lines * parts, md__grain(cost), run_lines, &depthwise);
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
