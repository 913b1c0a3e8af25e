/*
 * Winograd's convolution: for which layers it pays, and with which tiles; transforming and packing
 * their weights, in double; what the result errs by (winograd.c says what it is).
 */
#include <math.h>
#include <stdlib.h>

#include "kernels/cpu/isa/winograd.h"

#define ERROR_MAX 2e-5 /* of the largest output, on random inputs */

/* ---- Choosing -------------------------------------------------------------------------------- */

static bool winograd_can(const struct conv *conv)
{
    const struct md_window *window = &conv->window;
    for (int i = 0; i < 3; i++)
        if (window->kernel[i] != (i ? 3 : 1) || window->stride[i] != 1 || window->dilation[i] != 1)
            return false;
    return !conv->transposed && window->before[0] == 0 && window->after[0] == 0;
}

/*
 * What an output channel's share of one input channel costs, in products: weights that are read for
 * fewer than some 20 rows cost as much as 20; then the transforms. Measured: kernels/README.md.
 */
static double cost_of(const struct conv *conv, size_t m)
{
    double points = (double)points_of(m), tiles = (double)md__winograd_tiles(conv, m);
    double together = (double)conv_together(conv);
    double outputs = (double)conv->group_outputs * together;
    double transforms =
        (200 / outputs + 140 / ((double)conv->group_channels * together)) * points / 36;
    return 1.25 * points * fmax(tiles, 32) + tiles * transforms;
}

static double cost_of_sum(const struct conv *conv)
{
    const int64_t *out = conv->window.out;
    return 9 * fmax((double)conv->batch * (double)(out[0] * out[1] * out[2]), 32);
}

static size_t best_tile(const struct conv *conv)
{
    return cost_of(conv, 4) <= cost_of(conv, 2) ? 4 : 2;
}

static bool winograd_wants(const struct conv *conv)
{
    size_t together = conv_together(conv);
    return conv->group_channels * together >= 16 && conv->group_outputs * together >= 16 &&
           cost_of(conv, best_tile(conv)) < 0.9 * cost_of_sum(conv);
}

/* ---- Packing --------------------------------------------------------------------------------- */

/* Three taps, `stride` apart, to m + 2 points, for VL outputs. */
static void transform_taps(double (*g)[VL], size_t stride, double (*u)[VL], size_t u_stride, int m)
{
    const double a = sqrt(0.5), b = sqrt(2);
    for (size_t lane = 0; lane < VL; lane++) {
        double g0 = g[0][lane], g1 = g[stride][lane], g2 = g[2 * stride][lane];
        u[0][lane] = g0;
        u[(size_t)(m + 1) * u_stride][lane] = g2;
        if (m == 2) {
            u[u_stride][lane] = (g0 + g1 + g2) / 2;
            u[2 * u_stride][lane] = (g0 - g1 + g2) / 2;
            continue;
        }
        u[u_stride][lane] = (g0 + a * g1 + 0.5 * g2) / -1.5;
        u[2 * u_stride][lane] = (g0 - a * g1 + 0.5 * g2) / -1.5;
        u[3 * u_stride][lane] = (g0 + b * g1 + 2 * g2) / 6;
        u[4 * u_stride][lane] = (g0 - b * g1 + 2 * g2) / 6;
    }
}

/* Taps [3][3] to points [m + 2][m + 2]. */
static void transform_weights(double (*g)[VL], double (*u)[VL], int m)
{
    double half[POINTS_MAX * 3][VL];
    size_t points = (size_t)m + 2;
    for (size_t column = 0; column < 3; column++)
        transform_taps(g + column, 3, half + column, 3, m);
    for (size_t row = 0; row < points; row++)
        transform_taps(half + row * 3, 1, u + row * points, 1, m);
}

/* A vector of outputs from `first` on, for channel c of all; zeros for those of other groups. */
static void pack_vector(const struct conv *conv, const float *weights, size_t first, size_t lanes,
                        size_t c, float *to, size_t to_point, size_t m)
{
    double g[9][VL] = {{0}}, u[POINTS_MAX * POINTS_MAX][VL];
    size_t channels = conv->group_channels;
    for (size_t lane = 0; lane < lanes; lane++) {
        size_t output = first + lane, group = output / conv->group_outputs;
        for (size_t k = 0; k < 9 && c / channels == group; k++)
            g[k][lane] = weights[(output * channels + c % channels) * 9 + k];
    }
    transform_weights(g, u, (int)m);
    for (size_t k = 0; k < points_of(m); k++)
        for (size_t lane = 0; lane < VL; lane++)
            to[k * to_point + lane] = (float)u[k][lane];
}

static void pack_all(const struct conv *conv, struct winograd *made, const float *weights)
{
    size_t points = points_of(made->tile), channels = made->channels;
    float *panel = made->weights;
    for (size_t p = 0; p < made->groups * made->panels; p++) {
        size_t group = p / made->panels, begin = panel_begin(made->outputs, p % made->panels);
        size_t end = panel_begin(made->outputs, p % made->panels + 1), width = end - begin;
        for (size_t v = begin; v < end; v++) {
            size_t left = made->outputs - v * VL;
            for (size_t c = 0; c < channels; c++)
                pack_vector(conv, weights, group * made->outputs + v * VL, left < VL ? left : VL,
                            group * channels + c, panel + (c * width + v - begin) * VL,
                            channels * width * VL, made->tile);
        }
        panel += width * VL * points * channels;
    }
}

/* ---- Checking -------------------------------------------------------------------------------- */

/*
 * The largest error on one random tile, and the largest output, of four outputs a channel: those on
 * the diagonal, of which each axis sees every row of A.
 */
static void compare(const struct conv *conv, size_t m, const float *weights, const float *x,
                    const float *y, double *error, double *largest)
{
    size_t edge = m + 2, channels = conv->group_channels;
    for (size_t o = 0; o < conv->outputs; o++)
        for (size_t i = 0; i < m; i++) {
            const float *taps = weights + o * channels * 9;
            double sum = 0;
            for (size_t k = 0; k < 9; k++) {
                const float *pixel = x + ((i + k / 3) * edge + i + k % 3) * conv->channels +
                                     o / conv->group_outputs * channels;
                for (size_t c = 0; c < channels; c++)
                    sum += (double)pixel[c] * (double)taps[c * 9 + k];
            }
            double apart = fabs(sum - (double)y[i * (m + 1) * conv->outputs + o]);
            *largest = fmax(*largest, fabs(sum));
            *error = isfinite(apart) ? fmax(*error, apart) : INFINITY; /* fmax drops NaN */
        }
}

/* One tile of an image that is no larger. */
static struct conv single_tile(const struct conv *conv, int64_t m)
{
    struct conv made = *conv;
    made.batch = 1;
    made.threads = 1;
    made.window.in[0] = made.window.out[0] = 1;
    for (int i = 1; i < 3; i++) {
        made.window.in[i] = m + 2;
        made.window.out[i] = m;
        made.window.before[i] = made.window.after[i] = 0;
    }
    return made;
}

/* False also without memory: others need none. */
static bool check(const struct winograd *winograd, const struct conv *conv, const float *weights)
{
    size_t m = winograd->tile;
    struct conv_run run = {.conv = single_tile(conv, (int64_t)m),
                           .packed = winograd,
                           .x_pitch = conv->channels,
                           .y_pitch = conv->outputs};
    size_t x_count = round_up((m + 2) * (m + 2) * conv->channels, ALIGN_FLOATS);
    size_t y_count = round_up(m * m * conv->outputs, ALIGN_FLOATS);
    size_t scratch = round_up(md__winograd_scratch(&run.conv), 64);
    float *x = aligned_alloc(64, (x_count + y_count) * sizeof *x + scratch);
    if (!x)
        return false;
    uint32_t random = 1;
    for (size_t i = 0; i < x_count; i++) {
        random = random * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)random * 0x1p-31f;
    }
    run.x = x;
    run.y = x + x_count;
    run.scratch = run.y + y_count;
    md__winograd_run(&run);
    double error = 0, largest = 0;
    compare(conv, m, weights, x, run.y, &error, &largest);
    free(x);
    return isfinite(error) && error <= ERROR_MAX * largest;
}

/* ---- The algorithm --------------------------------------------------------------------------- */

static size_t winograd_bytes(const struct conv *conv)
{
    size_t together = conv_together(conv);
    size_t floats =
        padded(conv->group_outputs * together) * points_of(best_tile(conv)) * conv->channels;
    return sizeof(struct winograd) + floats * sizeof(float);
}

static bool winograd_pack(const struct conv *conv, const float *weights, void *packed)
{
    struct winograd *made = packed;
    size_t together = conv_together(conv);
    made->groups = conv->groups / together;
    made->channels = conv->group_channels * together;
    made->outputs = conv->group_outputs * together;
    made->tile = best_tile(conv);
    made->panels = panels_of(made->outputs);
    pack_all(conv, made, weights);
    return check(made, conv, weights);
}

const struct conv_algorithm md__conv_winograd = {.name = "winograd",
                                                 .can = winograd_can,
                                                 .wants = winograd_wants,
                                                 .packed_bytes = winograd_bytes,
                                                 .pack = winograd_pack,
                                                 .scratch = md__winograd_scratch,
                                                 .run = md__winograd_run};
