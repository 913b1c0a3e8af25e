/*
 * Axes, groups and blocks of direct convolutions (conv_blocks.h).
 *
 * Blocks are chosen so that a patch of input and one panel of weights share the second-level cache,
 * and so that every thread finds a few; large weights are split over tasks rather than read by
 * each. Panels go one by one through the places of a block, of which each fills a part of a page:
 * so a single line of places is cut where its results would leave the cache before they are whole.
 */
#include "kernels/cpu/isa/conv_blocks.h"

#define PATCH_FLOATS   ((size_t)128 << 10) /* about; one line is always possible */
#define HEAVY_WEIGHTS  ((size_t)128 << 10) /* floats of a group: split outputs before lines */
#define RESULT_FLOATS  (32 << 10) /* of a task's places in one line: results, and what they add */
#define TASKS_A_THREAD 4
#define CONFLICT_BYTES 4096 /* places so far apart share one set of the first-level cache */

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/*
 * Of a transposed window, the output places o for which o + before leaves `residue` when divided by
 * the stride: they meet the taps whose k * dilation does. Taps run backwards, so that the input
 * places that they read run forwards.
 */
static struct axis axis_of(const struct conv *conv, int i, int64_t residue)
{
    const struct md_window *w = &conv->window;
    int64_t stride = w->stride[i], dilation = w->dilation[i];
    if (!conv->transposed)
        return (struct axis){.taps = w->kernel[i],
                             .tap_step = 1,
                             .in = w->in[i],
                             .first = -w->before[i],
                             .tap_apart = dilation,
                             .in_step = stride,
                             .places = w->out[i],
                             .out_step = 1};
    struct axis axis = {.in = w->in[i], .in_step = 1, .out_step = stride};
    int64_t step = stride / common_divisor(stride, dilation), tap = 0;
    while (tap < step && tap * dilation % stride != residue)
        tap++;
    axis.tap_step = -step;
    axis.tap_apart = step * dilation / stride;
    axis.taps = tap < step && tap < w->kernel[i] ? (w->kernel[i] - 1 - tap) / step + 1 : 0;
    axis.tap = tap + (axis.taps - 1) * step;
    axis.out = ((residue - w->before[i]) % stride + stride) % stride;
    axis.places = axis.out < w->out[i] ? (w->out[i] - 1 - axis.out) / stride + 1 : 0;
    if (axis.taps)
        axis.first = (axis.out + w->before[i] - axis.tap * dilation) / stride;
    return axis;
}

/* One tap that reads each place where it writes: all places are one line, those of all images where
 * no gate tells images apart. */
static void flatten(struct direct *direct)
{
    struct axis *axis = direct->axis;
    int64_t places = (int64_t)direct->batch;
    if (direct->run->conv.gated) /* by a gate an image */
        places = 1;
    for (int i = 0; i < 3; i++) {
        if (axis[i].taps != 1 || axis[i].first != 0 || axis[i].in_step != 1 ||
            axis[i].out_step != 1 || axis[i].in != axis[i].places)
            return;
        places *= axis[i].places;
    }
    direct->batch = direct->run->conv.gated ? direct->batch : 1;
    axis[0].in = axis[0].places = axis[1].in = axis[1].places = 1;
    axis[2].in = axis[2].places = places;
}

/*
 * Lines of one place, as a kernel of [k, 1] finds in a tensor [N, H, 1, C]: a tile would hold one
 * place. Its lines, which lie one behind the other as places do, become the places of one line.
 */
static void lay_down(struct direct *direct)
{
    struct axis *axis = direct->axis, line = axis[1];
    bool narrow = axis[2].taps == 1 && axis[2].in == 1 && axis[2].places == 1 && axis[2].first == 0;
    bool shallow = axis[0].in == 1 && axis[0].places == 1;
    if (direct->run->conv.transposed || !narrow || !shallow || line.places <= 1)
        return;
    axis[1] = axis[2];
    axis[2] = line;
}

/* Cost of a line of n places, in cycles for each tap and channel: products, loads, latency. */
static double line_cost(size_t n, size_t vectors, size_t wide, size_t most)
{
    size_t tiles = ceil_div(n, most), places = ceil_div(n, tiles);
    double cost = 0;
    for (size_t v = 0; v < vectors; v += wide) {
        size_t some = vectors - v < wide ? vectors - v : wide;
        double products = (double)(places * some) / 2, loads = (double)(places + some) / 2;
        double cycles = products > loads ? products : loads;
        cost += (double)tiles * ((cycles > 4 ? cycles : 4) + 0.1 * (double)some);
    }
    return cost;
}

static void choose_tile(struct direct *direct)
{
    size_t columns = (size_t)direct->axis[2].places, vectors = direct->vectors;
    size_t pitch = direct->patched ? direct->group_channels : direct->run->conv.channels;
    bool conflict = (size_t)direct->axis[2].in_step * pitch * sizeof(float) % CONFLICT_BYTES == 0;
    double best = 1e300;
    for (size_t wide = 1; wide <= TILE_VECTORS_MAX; wide++) {
        size_t most = tile_places(wide);
        most = conflict && most > 8 ? 8 : most;
        if (wide > vectors)
            break;
        double cost = line_cost(columns, vectors, wide, most);
        if (cost >= best)
            continue;
        best = cost;
        direct->tile_vectors = wide;
        direct->tile_places = ceil_div(columns, ceil_div(columns, most));
    }
}

/* For zeros around it, or to hold what a gate leaves of it. */
static bool needs_patch(const struct direct *direct)
{
    const struct axis *axis = &direct->axis[2];
    bool outside = axis->first < 0 || axis->first + reach(axis, axis->places) > axis->in;
    return direct->run->conv.gated || (axis->taps > 0 && outside);
}

/* How many lines, columns and vectors make a task. */
static void choose_blocks(struct direct *direct)
{
    const struct axis *axis = direct->axis;
    size_t threads = (size_t)direct->run->conv.threads, wide = direct->tile_vectors;
    size_t lines = (size_t)axis[1].places, columns = (size_t)axis[2].places;
    size_t tasks = threads > 1 ? threads * TASKS_A_THREAD : 1;
    size_t place = direct->group_channels * (size_t)axis[2].in_step; /* input floats of a place */
    size_t room = PATCH_FLOATS / (place * (size_t)larger(axis[0].taps * axis[1].taps, 1));
    bool heavy = direct->vectors * direct->vector_floats > HEAVY_WEIGHTS;
    if (lines == 1 && !heavy)
        room = (size_t)smaller((int64_t)room, RESULT_FLOATS / (int64_t)direct->group_outputs);
    room = room / direct->tile_places * direct->tile_places;
    direct->columns = columns < room               ? columns
                      : room > direct->tile_places ? room
                                                   : direct->tile_places;
    direct->column_blocks = ceil_div(columns, direct->columns);
    place *= direct->groups; /* all groups read their part of the same lines, one by one */
    room = PATCH_FLOATS * (heavy ? 2 : 1) /
           (place * direct->columns * (size_t)larger(axis[0].taps, 1) * (size_t)axis[1].in_step);
    direct->lines = room < 1 ? 1 : room < lines ? room : lines;
    size_t outer = direct->batch * direct->groups * (size_t)axis[0].places * direct->column_blocks;
    size_t panels = ceil_div(direct->vectors, wide);
    direct->chunks = 1;
    if (heavy && threads > 1)
        while (direct->chunks < 2 * threads && direct->chunks * 2 <= panels)
            direct->chunks *= 2;
    while (!heavy && direct->lines > 1 && outer * ceil_div(lines, direct->lines) < tasks)
        direct->lines = (direct->lines + 1) / 2;
    bool gated = direct->run->conv.gated; /* each chunk would make the patch again */
    while (outer * ceil_div(lines, direct->lines) * direct->chunks < tasks &&
           direct->chunks * 2 <= panels && !gated)
        direct->chunks *= 2;
    if (outer * ceil_div(lines, direct->lines) * direct->chunks < tasks && lines == 1 &&
        direct->batch * direct->groups == 1) { /* few outputs of many places */
        size_t parts = ceil_div(tasks, direct->chunks),
               tiles = ceil_div(columns, direct->tile_places);
        direct->columns = ceil_div(tiles, parts) * direct->tile_places;
        direct->column_blocks = ceil_div(columns, direct->columns);
    }
    direct->chunk = ceil_div(panels, direct->chunks) * wide;
    direct->chunks = ceil_div(direct->vectors, direct->chunk);
    direct->line_blocks = ceil_div(lines, direct->lines);
}

void md__direct_describe(const struct conv_run *run, const int64_t *residue, struct direct *direct)
{
    const struct conv *conv = &run->conv;
    size_t together = conv_together(conv);
    *direct = (struct direct){.run = run,
                              .batch = conv->batch,
                              .groups = conv->groups / together,
                              .group_channels = conv->group_channels * together,
                              .group_outputs = conv->group_outputs * together};
    for (int i = 0; i < 3; i++)
        direct->axis[i] = axis_of(conv, i, residue[i]);
    const struct axis *axis = direct->axis;
    lay_down(direct);
    direct->vectors = vectors_of(direct->group_outputs);
    direct->rows = (size_t)(axis[0].taps * axis[1].taps);
    direct->vector_floats = direct->rows * (size_t)axis[2].taps * direct->group_channels * VL;
    flatten(direct);
    direct->patched = needs_patch(direct);
    if (is_empty(direct))
        return;
    choose_tile(direct);
    choose_blocks(direct);
    int64_t together_lines = reach(&axis[1], (int64_t)direct->lines);
    direct->spread = together_lines > axis[1].taps * (int64_t)direct->lines;
    direct->patch_lines =
        (size_t)(direct->spread ? axis[1].taps * (int64_t)direct->lines : together_lines);
    direct->patch_width = (size_t)reach(&axis[2], (int64_t)direct->columns);
    if (direct->patched)
        direct->patch_floats = (size_t)axis[0].taps * direct->patch_lines * direct->patch_width *
                               direct->group_channels;
    direct->thread_bytes =
        align64(direct->patch_floats * sizeof(float)) +
        align64(direct->lines *
                (sizeof(struct conv_line) + direct->rows * (sizeof(float *) + sizeof(size_t))));
}
