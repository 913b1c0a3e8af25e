/*
 * Winograd's convolution of 3 x 3 taps, stride 1, on channels-last images, an algorithm of
 * conv_last.h: a tile of m x m outputs costs (m + 2)^2 products of channels where the sum over taps
 * costs 9 m^2: 2.25 times fewer for m = 2, 4 times for m = 4.
 *
 * output tile = A' [sum over channels of (G g G') * (B' d B)] A, with d the (m + 2)^2 inputs of the
 * tile and g the taps (winograd_transform.h). For m = 4 the polynomials are interpolated at 0,
 * +-1/sqrt(2), +-sqrt(2) and infinity: no transform scales much up or down, so that results err
 * about twice as much as a plain float32 sum does (with the usual 0, +-1, +-2, ten times as much).
 * Weights are transformed in double; what comes of it is compared with the exact sum on random
 * inputs, and refused where it errs more than ERROR_MAX of the largest output.
 *
 * Order of work. A task takes a block of tiles and some panels of output channels. It transforms
 * the block's inputs to [point][tile][channel], which stays in the second-level cache; for each
 * panel, the products of all points go to [point][tile][panel] and from there through A to the
 * output, with bias, residual and activation. So transformed outputs never leave the core.
 * Strides between points are odd multiples of 64 bytes: a tile's points are written and read
 * together, and would otherwise share one set of the first-level cache.
 */
#include "kernels/cpu/isa/winograd.h"
#include "kernels/cpu/isa/last.h"
#include "kernels/cpu/isa/winograd_transform.h"

#define INPUT_FLOATS ((size_t)320 << 10) /* of transformed inputs that a block aims at */
#define BLOCK_MIN    48                  /* tiles that weights are read for, if there are as many */
#define BLOCK_MAX    192
#define AHEAD_MIN    2048 /* floats from weights in use to those that are asked for */

struct job {
    const struct winograd *winograd;
    const struct conv_run *run;
    size_t height, width, out_height, out_width;
    int64_t top, left;    /* padding before the first row and column */
    size_t rows, columns; /* of tiles in an image */
    size_t tiles, block;  /* in all; of a task */
    size_t parts;         /* that the panels are split into */
    size_t x_row;         /* floats of one tile's channels in transformed inputs */
    size_t x_point, y_point, scratch_floats;
};

/* ---- Inputs ---------------------------------------------------------------------------------- */

/* The vector of channels c of the pixels at[i * edge + j], of `left` that there are, to all points.
 */
INLINE void transform_patch(const float *const *at, size_t c, size_t left, float *to,
                            size_t to_point, const int m)
{
    const int edge = m + 2;
    vf half[POINTS_MAX][POINTS_MAX];
#pragma GCC unroll 6
    for (int i = 0; i < edge; i++) {
        vf d[POINTS_MAX];
#pragma GCC unroll 6
        for (int j = 0; j < edge; j++)
            d[j] = load_upto(at[i * edge + j] + c, left);
        transform_input(d, half[i], m);
    }
#pragma GCC unroll 6
    for (int j = 0; j < edge; j++) {
        vf d[POINTS_MAX], t[POINTS_MAX];
#pragma GCC unroll 6
        for (int i = 0; i < edge; i++)
            d[i] = half[i][j];
        transform_input(d, t, m);
#pragma GCC unroll 6
        for (int i = 0; i < edge; i++)
            store(to + (size_t)(i * edge + j) * to_point, t[i]);
    }
}

/* Where the pixels of a tile's patch lie; `zeros` outside of the image. */
INLINE void find_patch(const struct job *job, size_t tile, const float *zeros, const float **at,
                       const int m)
{
    size_t image = tile / (job->rows * job->columns), place = tile % (job->rows * job->columns);
    int64_t top = (int64_t)(place / job->columns) * m - job->top;
    int64_t left = (int64_t)(place % job->columns) * m - job->left;
    int64_t height = (int64_t)job->height, width = (int64_t)job->width;
    size_t pitch = job->run->x_pitch;
    const float *x = job->run->x + image * job->height * job->width * pitch;
    for (int i = 0; i < m + 2; i++)
        for (int j = 0; j < m + 2; j++) {
            int64_t row = top + i, column = left + j;
            bool inside = row >= 0 && row < height && column >= 0 && column < width;
            at[i * (m + 2) + j] = inside ? x + (size_t)(row * width + column) * pitch : zeros;
        }
}

/* Channels [from, end) of a block. */
INLINE void transform_inputs(const struct job *job, size_t begin, size_t count, size_t from,
                             size_t end, const float *zeros, float *to, const int m)
{
    size_t whole = from + (end - from) / VL * VL;
    for (size_t i = 0; i < count; i++, to += job->x_row) {
        const float *at[POINTS_MAX * POINTS_MAX];
        find_patch(job, begin + i, zeros, at, m);
        for (size_t c = from; c < whole; c += VL)
            transform_patch(at, c, VL, to + c, job->x_point, m);
        if (whole < end)
            transform_patch(at, whole, end - whole, to + whole, job->x_point, m);
    }
}

/* ---- Products -------------------------------------------------------------------------------- */

/*
 * mr rows of one point by one panel. Between two runs of a network its other layers take the
 * caches, so weights come from afar: those of the next point are asked for meanwhile.
 */
INLINE void multiply_tile(const float *x, size_t x_stride, size_t channels, const float *w,
                          float *y, const int mr, const int nv)
{
    vf sum[12][PANEL] = {0};
    size_t point = channels * (size_t)nv * VL;
    const char *ahead = (const char *)w + (point > AHEAD_MIN ? point : AHEAD_MIN) * sizeof *w;
    for (size_t c = 0; c < channels; c++, w += nv * VL, ahead += nv * VL * sizeof *w) {
#pragma GCC unroll 4
        for (int v = 0; v < nv && mr > 4; v++)
            __builtin_prefetch(ahead + v * VL * (int)sizeof *w, 0, 2);
#pragma GCC unroll 12
        for (int r = 0; r < mr; r++) {
            vf input = splat(x[(size_t)r * x_stride + c]);
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++)
                sum[r][v] += input * *(const vf *)(w + v * VL);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < mr; r++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++)
            store(y + (r * nv + v) * VL, sum[r][v]);
}

/* As many rows as leave the sums in registers. */
#define TILE_ROWS(nv) (PANEL == 4 ? ((nv) == 4 ? 6 : (nv) == 3 ? 8 : 12) : (nv) == 2 ? 6 : 8)

INLINE void multiply_panel(const float *x, size_t x_stride, size_t rows, size_t channels,
                           const float *w, float *y, const int nv)
{
    const int mr = TILE_ROWS(nv);
    size_t row = 0;
    for (; row + (size_t)mr <= rows; row += (size_t)mr)
        multiply_tile(x + row * x_stride, x_stride, channels, w, y + row * (size_t)nv * VL, mr, nv);
    for (; row + 4 <= rows; row += 4)
        multiply_tile(x + row * x_stride, x_stride, channels, w, y + row * (size_t)nv * VL, 4, nv);
    for (; row < rows; row++)
        multiply_tile(x + row * x_stride, x_stride, channels, w, y + row * (size_t)nv * VL, 1, nv);
}

/* All points of a block by one panel of `width` vectors. */
static void multiply_points(const struct job *job, const float *x, size_t count, const float *w,
                            size_t width, float *y)
{
    size_t channels = job->winograd->channels, points = points_of(job->winograd->tile);
    for (size_t k = 0; k < points; k++) {
        switch (width) {
#if PANEL == 4
        case 4:
            multiply_panel(x, job->x_row, count, channels, w, y, 4);
            break;
        case 3:
            multiply_panel(x, job->x_row, count, channels, w, y, 3);
            break;
#endif
        case 2:
            multiply_panel(x, job->x_row, count, channels, w, y, 2);
            break;
        default:
            multiply_panel(x, job->x_row, count, channels, w, y, 1);
        }
        x += job->x_point;
        y += job->y_point;
        w += channels * width * VL;
    }
}

/* ---- Outputs --------------------------------------------------------------------------------- */

/* Where one tile's outputs go: `rows` x `columns` of them lie inside of the image. */
struct place {
    size_t at; /* pixel index of the first */
    size_t rows, columns;
};

INLINE struct place place_of(const struct job *job, size_t tile, const int m)
{
    size_t image = tile / (job->rows * job->columns), place = tile % (job->rows * job->columns);
    size_t row = place / job->columns * (size_t)m, column = place % job->columns * (size_t)m;
    size_t below = job->out_height - row, right = job->out_width - column;
    return (struct place){.at = (image * job->out_height + row) * job->out_width + column,
                          .rows = below < (size_t)m ? below : (size_t)m,
                          .columns = right < (size_t)m ? right : (size_t)m};
}

/* A vector of output channels of one tile, from the products of all points. */
INLINE void transform_points(const struct job *job, const float *from, vf y[4][4], const int m)
{
    const int edge = m + 2;
    vf half[4][POINTS_MAX];
#pragma GCC unroll 6
    for (int j = 0; j < edge; j++) {
        vf t[POINTS_MAX], part[4];
#pragma GCC unroll 6
        for (int i = 0; i < edge; i++)
            t[i] = load(from + (size_t)(i * edge + j) * job->y_point);
        transform_output(t, part, m);
#pragma GCC unroll 4
        for (int i = 0; i < m; i++)
            half[i][j] = part[i];
    }
#pragma GCC unroll 4
    for (int i = 0; i < m; i++)
        transform_output(half[i], y[i], m);
}

/* Stores one output with what follows the sum; `left` channels are there. */
INLINE void store_output(const struct conv_run *run, size_t place, size_t channel, vf out,
                         size_t left)
{
    if (run->z)
        out += load_upto(run->z + place * run->z_pitch + channel, left);
    store_upto(run->y + place * run->y_pitch + channel, conv_ended(run, out), left);
}

INLINE void transform_tile(const struct job *job, const float *from, const struct place *place,
                           size_t channel, vf bias, size_t left, const int m)
{
    vf y[4][4];
    transform_points(job, from, y, m);
    if (place->rows == (size_t)m && place->columns == (size_t)m) {
#pragma GCC unroll 4
        for (int i = 0; i < m; i++)
#pragma GCC unroll 4
            for (int j = 0; j < m; j++)
                store_output(job->run, place->at + (size_t)i * job->out_width + (size_t)j, channel,
                             y[i][j] + bias, left);
        return;
    }
    for (size_t i = 0; i < place->rows; i++)
        for (size_t j = 0; j < place->columns; j++)
            store_output(job->run, place->at + i * job->out_width + j, channel, y[i][j] + bias,
                         left);
}

/* The outputs of a block in one panel, `columns` from channel `first` on. */
INLINE void transform_outputs(const struct job *job, const float *from, size_t begin, size_t count,
                              size_t first, size_t columns, const int m)
{
    const struct conv_run *run = job->run;
    size_t width = vectors_of(columns);
    vf bias[PANEL] = {0};
    for (size_t v = 0; run->bias && v < width; v++)
        bias[v] = load_upto(run->bias + first + v * VL, columns - v * VL);
    for (size_t i = 0; i < count; i++, from += width * VL) {
        struct place place = place_of(job, begin + i, m);
        for (size_t v = 0; v < width; v++) {
            transform_tile(job, from + v * VL, &place, first + v * VL, bias[v], columns - v * VL,
                           m);
        }
        for (size_t r = 0; r < place.rows; r++)
            conv_activate(run, run->y + (place.at + r * job->out_width) * run->y_pitch + first,
                          run->y_pitch, place.columns, columns);
    }
}

/* ---- Blocks ---------------------------------------------------------------------------------- */

INLINE void run_block(const struct job *job, size_t task, float *memory, const int m)
{
    const struct winograd *winograd = job->winograd;
    size_t part = task % job->parts, begin = task / job->parts * job->block;
    size_t count = job->tiles - begin < job->block ? job->tiles - begin : job->block;
    size_t points = points_of((size_t)m);
    float *zeros = memory, *x = zeros + job->x_row, *y = x + points * job->x_point;
    memset(zeros, 0, job->x_row * sizeof *zeros);
    size_t panels = winograd->panels, channels = winograd->channels, outputs = winograd->outputs;
    size_t panel = winograd->groups * panels * part / job->parts;
    size_t panel_end = winograd->groups * panels * (part + 1) / job->parts;
    transform_inputs(job, begin, count, panel / panels * channels,
                     (panel_end + panels - 1) / panels * channels, zeros, x, m);
    for (; panel < panel_end; panel++) {
        size_t group = panel / panels, first = panel_begin(outputs, panel % panels);
        size_t next = panel_begin(outputs, panel % panels + 1);
        size_t end = next * VL < outputs ? next * VL : outputs;
        const float *weights =
            winograd->weights + (group * vectors_of(outputs) + first) * VL * points * channels;
        multiply_points(job, x + group * channels, count, weights, next - first, y);
        transform_outputs(job, y, begin, count, group * outputs + first * VL, end - first * VL, m);
    }
}

static void run_tasks(void *context, size_t begin, size_t end, int thread)
{
    const struct job *job = context;
    float *memory = (float *)job->run->scratch + job->scratch_floats * (size_t)thread;
    for (size_t task = begin; task < end; task++)
        if (job->winograd->tile == 4)
            run_block(job, task, memory, 4);
        else
            run_block(job, task, memory, 2);
}

/*
 * Splits the work: blocks that fill the cache, as many as keep the threads equally busy; few tiles
 * are split by panels instead, each part with transformed inputs of its own.
 */
static struct job plan(const struct conv *conv, size_t m)
{
    const struct md_window *window = &conv->window;
    struct job job = {.height = (size_t)window->in[1],
                      .width = (size_t)window->in[2],
                      .out_height = (size_t)window->out[1],
                      .out_width = (size_t)window->out[2],
                      .top = window->before[1],
                      .left = window->before[2],
                      .parts = 1,
                      .x_row = round_up(conv->channels, ALIGN_FLOATS)};
    size_t threads = (size_t)conv->threads, together = conv_together(conv);
    size_t panels = conv->groups / together * panels_of(conv->group_outputs * together);
    job.rows = (job.out_height + m - 1) / m;
    job.columns = (job.out_width + m - 1) / m;
    job.tiles = conv->batch * (size_t)window->in[0] * job.rows * job.columns;
    size_t limit = INPUT_FLOATS / (points_of(m) * job.x_row) / 12 * 12;
    limit = limit < BLOCK_MIN ? BLOCK_MIN : limit > BLOCK_MAX ? BLOCK_MAX : limit;
    size_t blocks = (job.tiles + limit - 1) / limit, even = round_up(blocks, threads);
    if (blocks < 4 * threads && even && job.tiles / even >= BLOCK_MIN / 2)
        blocks = even;
    if (blocks < threads)
        job.parts = threads < panels ? threads : panels;
    job.block = blocks ? round_up((job.tiles + blocks - 1) / blocks, 4) : 4;
    job.x_point = round_up(job.block * job.x_row, ALIGN_FLOATS) | ALIGN_FLOATS;
    job.y_point = round_up(job.block * PANEL * VL, ALIGN_FLOATS) | ALIGN_FLOATS;
    job.scratch_floats = job.x_row + points_of(m) * (job.x_point + job.y_point);
    return job;
}

void md__winograd_run(const struct conv_run *run)
{
    const struct winograd *winograd = run->packed;
    struct job job = plan(&run->conv, winograd->tile);
    job.winograd = winograd;
    job.run = run;
    size_t tasks = (job.tiles + job.block - 1) / job.block * job.parts;
    md__parallel(run->pool, tasks, 1, run_tasks, &job);
}

size_t md__winograd_scratch(const struct conv *conv)
{
    size_t small = plan(conv, 2).scratch_floats, large = plan(conv, 4).scratch_floats;
    return (size_t)conv->threads * sizeof(float) * (small > large ? small : large);
}

size_t md__winograd_tiles(const struct conv *conv, size_t m)
{
    return plan(conv, m).tiles;
}
