/*
 * Depthwise sums of neighbouring places with neighbouring taps: an input vector is loaded once and
 * meets all taps of a row, whose weights stay in registers with the sums. Positions that lie in
 * padding are left out, which only the first and last of a group need to ask about.
 */
#include "kernels/cpu/isa/conv_depthwise.h"

#define TAPS_MAX 7

/* One tap row: positions [begin, end) of those under the group lie on the image. */
INLINE void add_row(vf *sum, const float *x, const float *w, size_t pitch, size_t padded,
                    int64_t begin, int64_t end, const int places, const int taps, const int stride)
{
    const int extent = (places - 1) * stride + taps;
    vf weight[TAPS_MAX];
#pragma GCC unroll 7
    for (int t = 0; t < taps; t++)
        weight[t] = load(w + (size_t)t * padded);
#pragma GCC unroll 40
    for (int p = 0; p < extent; p++, x += pitch) {
        if ((p < taps - 1 && p < begin) || (p > extent - taps && p >= end))
            continue;
        vf in = load(x);
#pragma GCC unroll 7
        for (int t = 0; t < taps; t++)
            if (p >= t && (p - t) % stride == 0 && (p - t) / stride < places)
                sum[(p - t) / stride] += in * weight[t];
    }
}

INLINE void slide(const struct depthwise *depthwise, const struct depthwise_group *group,
                  const int places, const int taps, const int stride)
{
    const struct conv_run *run = depthwise->run;
    const struct depthwise_line *line = group->line;
    const size_t pitch = run->x_pitch;
    const int64_t begin = -group->at, end = run->conv.window.in[2] - group->at;
    for (size_t c = group->channel; c < group->channel_end; c += VL) {
        size_t channel = c + VL <= depthwise->channels ? c : depthwise->channels - VL;
        vf sum[SLIDE_PLACES], start = {0};
        if (run->bias)
            start = load(run->bias + channel);
#pragma GCC unroll 14
        for (int r = 0; r < places; r++)
            sum[r] = start;
        for (int64_t a = 0; a < line->planes; a++)
            for (int64_t b = 0; b < line->rows; b++) {
                const float *w, *x = tap_row(depthwise, line, a, b, &w);
                add_row(sum, x + group->at * (int64_t)pitch + channel, w + channel, pitch,
                        depthwise->padded, begin, end, places, taps, stride);
            }
        depthwise_finish(run, sum, line->first + (size_t)group->place, channel, places, true, VL);
    }
}

#define SLIDE(places, taps, stride)                                                                \
    static void slide_##places##_##taps##_##stride(const struct depthwise *depthwise,              \
                                                   const struct depthwise_group *group)            \
    {                                                                                              \
        slide(depthwise, group, places, taps, stride);                                             \
    }
#define UP_TO_8(X, t, s)                                                                           \
    X(1, t, s) X(2, t, s) X(3, t, s) X(4, t, s) X(5, t, s) X(6, t, s) X(7, t, s) X(8, t, s)
#if VECTOR_REGISTERS == 32
#define ALL_PLACES(X, t, s)                                                                        \
    UP_TO_8(X, t, s)                                                                               \
    X(9, t, s) X(10, t, s) X(11, t, s) X(12, t, s) X(13, t, s) X(14, t, s)
#else
#define ALL_PLACES(X, t, s) UP_TO_8(X, t, s)
#endif

ALL_PLACES(SLIDE, 3, 1)
ALL_PLACES(SLIDE, 3, 2)
ALL_PLACES(SLIDE, 5, 1)
ALL_PLACES(SLIDE, 5, 2)
ALL_PLACES(SLIDE, 7, 1)

typedef void (*slide_function)(const struct depthwise *, const struct depthwise_group *);
#define NAME(places, taps, stride) [places] = slide_##places##_##taps##_##stride,
static const slide_function functions[TAPS_MAX / 2 + 1][3][SLIDE_PLACES + 1] = {
    [1] = {[1] = {ALL_PLACES(NAME, 3, 1)}, [2] = {ALL_PLACES(NAME, 3, 2)}},
    [2] = {[1] = {ALL_PLACES(NAME, 5, 1)}, [2] = {ALL_PLACES(NAME, 5, 2)}},
    [3] = {[1] = {ALL_PLACES(NAME, 7, 1)}},
};

/* NULL: none. */
static const slide_function *functions_of(const struct md_window *window)
{
    int64_t taps = window->kernel[2], stride = window->stride[2];
    if (taps < 3 || taps > TAPS_MAX || taps % 2 == 0 || stride > 2 ||
        !functions[taps / 2][stride][1])
        return NULL;
    return functions[taps / 2][stride];
}

bool md__depthwise_slides(const struct conv *conv)
{
    const struct md_window *window = &conv->window;
    int64_t taps = window->kernel[2], before = window->before[2];
    int64_t after = (window->out[2] - 1) * window->stride[2] - before + taps - window->in[2];
    return conv->channels >= VL && window->dilation[2] == 1 && before >= 0 && before < taps &&
           after < taps && functions_of(window);
}

void md__depthwise_slide(const struct depthwise *depthwise, const struct depthwise_group *group,
                         size_t places)
{
    functions_of(&depthwise->run->conv.window)[places](depthwise, group);
}
