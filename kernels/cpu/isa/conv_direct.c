/*
 * Direct convolution, and transposed convolution as one direct convolution for each residue of
 * output places: strides, dilations, groups, one to three axes.
 *
 * A task is a block of output lines by a range of output channels. Its input comes from the image
 * itself, or, where windows reach into padding, from a patch: the block's input lines with zeros
 * left and right, copied once and read by every output channel. Tap rows above and below the image
 * are left out of the sums. Blocks are chosen so that a patch and one panel of weights share the
 * second-level cache; large weights are split over tasks rather than read by each.
 *
 * Groups narrower than a vector are put together: their weights become one block-diagonal matrix.
 */
#include "kernels/cpu/isa/conv_blocks.h"
#include "kernels/cpu/isa/last.h"

/* ---- packing --------------------------------------------------------------------------------- */

static size_t weight_at(const struct conv *conv, size_t output, size_t channel, size_t tap)
{
    size_t group = output / conv->group_outputs;
    if (conv->transposed)
        return ((group * conv->group_channels + channel) * conv->group_outputs +
                output % conv->group_outputs) *
                   conv->taps +
               tap;
    return (output * conv->group_channels + channel) * conv->taps + tap;
}

/* The packed weights of one tap: channels of a group put together by VL outputs. */
static void pack_tap(const struct conv *conv, const struct direct *direct, const float *weights,
                     size_t first, size_t lanes, size_t tap, float *to)
{
    size_t group = first / direct->group_outputs;
    for (size_t lane = 0; lane < lanes; lane++) {
        size_t output = first + lane, own = output / conv->group_outputs;
        size_t c = own * conv->group_channels - group * direct->group_channels;
        for (size_t k = 0; k < conv->group_channels; k++)
            to[(c + k) * VL + lane] = weights[weight_at(conv, output, k, tap)];
    }
}

static float *pack(const struct conv *conv, const struct direct *direct, const float *weights,
                   float *to)
{
    const struct axis *axis = direct->axis;
    const int64_t *kernel = conv->window.kernel;
    for (size_t g = 0; g < direct->groups; g++)
        for (size_t v = 0; v < direct->vectors; v++) {
            size_t left = direct->group_outputs - v * VL, lanes = left < VL ? left : VL;
            size_t first = g * direct->group_outputs + v * VL;
            for (int64_t a = 0; a < axis[0].taps; a++)
                for (int64_t b = 0; b < axis[1].taps; b++)
                    for (int64_t c = 0; c < axis[2].taps; c++, to += direct->group_channels * VL) {
                        int64_t tap = axis[0].tap + a * axis[0].tap_step;
                        tap = tap * kernel[1] + axis[1].tap + b * axis[1].tap_step;
                        tap = tap * kernel[2] + axis[2].tap + c * axis[2].tap_step;
                        pack_tap(conv, direct, weights, first, lanes, (size_t)tap, to);
                    }
        }
    return to;
}

static size_t direct_packed_bytes(const struct conv *conv)
{
    const struct conv_run run = {.conv = *conv};
    struct direct direct;
    int64_t residue[3];
    size_t floats = 0;
    EACH_RESIDUE(conv, residue)
    {
        md__direct_describe(&run, residue, &direct);
        floats += direct.groups * direct.vectors * direct.vector_floats;
    }
    return floats * sizeof(float);
}

static bool direct_pack(const struct conv *conv, const float *weights, void *packed)
{
    const struct conv_run run = {.conv = *conv};
    struct direct direct;
    int64_t residue[3];
    float *to = packed;
    EACH_RESIDUE(conv, residue)
    {
        md__direct_describe(&run, residue, &direct);
        to = pack(conv, &direct, weights, to);
    }
    return true;
}

/* ---- running --------------------------------------------------------------------------------- */

/* A task, and what its thread has for it. */
struct block {
    const float *image; /* the group's first channel of this batch element */
    const float *gate;  /* of the same; NULL: none */
    int64_t depth;      /* output place on axis 0 */
    int64_t line, lines, column, columns;
    float *patch;
    struct conv_line *list;
};

static void multiply_place(const float *x, const float *gate, size_t channels, float *to)
{
    for (size_t c = 0; c < channels; c += VL)
        store_upto(to + c, load_upto(x + c, channels - c) * load_upto(gate + c, channels - c),
                   channels - c);
}

/* Copies the part of an image line that lies under places [from, from + width), zeros around. */
static void copy_line(const struct direct *direct, const float *line, const float *gate,
                      int64_t from, float *to)
{
    size_t channels = direct->group_channels, pitch = direct->run->x_pitch;
    int64_t width = (int64_t)direct->patch_width, in = direct->axis[2].in;
    int64_t begin = smaller(larger(-from, 0), width);
    int64_t end = larger(begin, smaller(in - from, width));
    memset(to, 0, (size_t)begin * channels * sizeof *to);
    line += (from + begin) * (int64_t)pitch;
    float *at = to + (size_t)begin * channels;
    if (gate)
        for (int64_t i = begin; i < end; i++, at += channels, line += pitch)
            multiply_place(line, gate, channels, at);
    else if (channels == pitch)
        memcpy(at, line, (size_t)(end - begin) * channels * sizeof *to);
    else
        for (int64_t i = begin; i < end; i++, at += channels, line += pitch)
            for (size_t c = 0; c < channels; c += VL)
                store_upto(at + c, load_upto(line + c, channels - c), channels - c);
    memset(to + (size_t)end * channels, 0, (size_t)(width - end) * channels * sizeof *to);
}

static const float *image_line(const struct direct *direct, const struct block *block, int64_t a,
                               int64_t b)
{
    const struct axis *axis = direct->axis;
    return block->image + (a * axis[1].in + b) * axis[2].in * (int64_t)direct->run->x_pitch;
}

/* Where in the patch the image line of tap b under output line r lies. */
static size_t patch_line(const struct direct *direct, int64_t tap, int64_t line, int64_t a)
{
    const struct axis *axis = &direct->axis[1];
    int64_t at = direct->spread ? tap * (int64_t)direct->lines + line
                                : line * axis->in_step + tap * axis->tap_apart;
    return ((size_t)a * direct->patch_lines + (size_t)at) * direct->patch_width *
           direct->group_channels;
}

/* Fills the patch: each line once, however many taps read it. */
static void fill_patch(const struct direct *direct, const struct block *block)
{
    const struct axis *axis = direct->axis;
    int64_t from = block->column * axis[2].in_step + axis[2].first;
    for (int64_t a = 0; a < axis[0].taps; a++) {
        int64_t deep = block->depth * axis[0].in_step + axis[0].first + a * axis[0].tap_apart;
        if (deep < 0 || deep >= axis[0].in)
            continue;
        int64_t begin = block->line * axis[1].in_step + axis[1].first;
        if (!direct->spread) {
            int64_t count = reach(&axis[1], block->lines);
            for (int64_t i = larger(0, -begin); i < count && begin + i < axis[1].in; i++)
                copy_line(direct, image_line(direct, block, deep, begin + i), block->gate, from,
                          block->patch + ((size_t)a * direct->patch_lines + (size_t)i) *
                                             direct->patch_width * direct->group_channels);
            continue;
        }
        for (int64_t tap = 0; tap < axis[1].taps; tap++)
            for (int64_t r = 0; r < block->lines; r++) {
                int64_t at = begin + r * axis[1].in_step + tap * axis[1].tap_apart;
                if (at >= 0 && at < axis[1].in)
                    copy_line(direct, image_line(direct, block, deep, at), block->gate, from,
                              block->patch + patch_line(direct, tap, r, a));
            }
    }
}

/* The tap rows of each output line that fall on the image. */
static void list_lines(const struct direct *direct, const struct block *block)
{
    const struct axis *axis = direct->axis;
    size_t row_floats = (size_t)axis[2].taps * direct->group_channels * VL;
    int64_t column =
        (block->column * axis[2].in_step + axis[2].first) * (int64_t)direct->run->x_pitch;
    const float **x = (const float **)(block->list + direct->lines);
    size_t *w = (size_t *)(x + direct->lines * direct->rows);
    for (int64_t r = 0; r < block->lines; r++) {
        struct conv_line *line = &block->list[r];
        *line = (struct conv_line){x + (size_t)r * direct->rows, w + (size_t)r * direct->rows, 0};
        for (int64_t a = 0; a < axis[0].taps && axis[2].taps; a++) {
            int64_t deep = block->depth * axis[0].in_step + axis[0].first + a * axis[0].tap_apart;
            for (int64_t b = 0; b < axis[1].taps; b++) {
                int64_t at =
                    (block->line + r) * axis[1].in_step + axis[1].first + b * axis[1].tap_apart;
                if (deep < 0 || deep >= axis[0].in || at < 0 || at >= axis[1].in)
                    continue;
                line->x[line->rows] = direct->patched
                                          ? block->patch + patch_line(direct, b, r, a)
                                          : image_line(direct, block, deep, at) + column;
                line->w[line->rows++] = (size_t)(a * axis[1].taps + b) * row_floats;
            }
        }
    }
}

/* All tiles of a block for one panel of output vectors. */
static void run_panel(const struct direct *direct, const struct block *block, size_t image,
                      size_t group, size_t v, size_t vectors)
{
    const struct conv_run *run = direct->run;
    const struct axis *axis = direct->axis;
    const struct md_window *window = &run->conv.window;
    size_t first = group * direct->group_outputs + v * VL;
    size_t pitch = direct->patched ? direct->group_channels : run->x_pitch;
    bool joined = axis[2].tap_apart == 1 && pitch == direct->group_channels;
    bool flat = axis[2].places > window->out[2];
    struct conv_tile tile = {
        .x_stride = (size_t)axis[2].in_step * pitch * sizeof(float),
        .runs = joined ? 1 : (size_t)axis[2].taps,
        .run = joined ? (size_t)axis[2].taps * direct->group_channels : direct->group_channels,
        .step = (size_t)axis[2].tap_apart * pitch,
        .w = direct->packed + (group * direct->vectors + v) * direct->vector_floats,
        .w_stride = direct->vector_floats,
        .bias = run->bias ? run->bias + first : NULL,
        .y_stride = (size_t)axis[2].out_step * run->y_pitch,
        .z_stride = (size_t)axis[2].out_step * run->z_pitch,
        .columns = direct->group_outputs - v * VL};
    size_t tiles = ceil_div((size_t)block->columns, direct->tile_places);
    size_t all = tiles * (size_t)block->lines, step_lines = vectors * direct->vector_floats / VL;
    bool more = v + vectors < direct->vectors;
    const char *next = (const char *)(tile.w + (more ? vectors * direct->vector_floats : 0));
    size_t count = 0;
    tile.ahead_step = more ? 64 : 0;
    for (int64_t r = 0; r < block->lines; r++) {
        int64_t deep = axis[0].out + block->depth * axis[0].out_step;
        int64_t high = axis[1].out + (block->line + r) * axis[1].out_step;
        int64_t wide = axis[2].out + block->column * axis[2].out_step;
        int64_t width = flat ? axis[2].places : window->out[2];
        size_t line = image * (size_t)(flat ? 1 : window->out[0]) + (size_t)deep;
        line = line * (size_t)(flat ? 1 : window->out[1]) + (size_t)high;
        size_t own_line = flat ? 0 : run->y_line;
        size_t y_line = own_line ? own_line : (size_t)width * run->y_pitch;
        size_t z_line = own_line ? own_line : (size_t)width * run->z_pitch;
        size_t y = line * y_line + (size_t)wide * run->y_pitch + first;
        size_t z = line * z_line + (size_t)wide * run->z_pitch + first;
        tile.line = &block->list[r];
        for (size_t t = 0, done = 0; t < tiles; t++) {
            size_t end = (size_t)block->columns * (t + 1) / tiles;
            tile.x_offset = done * (size_t)axis[2].in_step * pitch;
            tile.y = run->y + y + done * tile.y_stride;
            tile.z = run->z ? run->z + z + done * tile.z_stride : NULL;
            tile.ahead = next + (more ? count++ * step_lines / all * 64 : 0);
            md__conv_tile(run, &tile, end - done, vectors);
            done = end;
        }
    }
}

static void run_tasks(void *context, size_t begin, size_t end, int thread)
{
    const struct direct *direct = context;
    const struct conv_run *run = direct->run;
    const struct axis *axis = direct->axis;
    char *memory = (char *)run->scratch + direct->thread_bytes * (size_t)thread;
    size_t image_floats = (size_t)(axis[0].in * axis[1].in * axis[2].in) * run->x_pitch;
    for (size_t task = begin; task < end; task++) {
        size_t at = task, chunk = at % direct->chunks;
        at /= direct->chunks;
        size_t group = at % direct->groups;
        at /= direct->groups;
        int64_t column = (int64_t)(at % direct->column_blocks * direct->columns);
        at /= direct->column_blocks;
        int64_t line = (int64_t)(at % direct->line_blocks * direct->lines);
        at /= direct->line_blocks;
        size_t depth = at % (size_t)axis[0].places, image = at / (size_t)axis[0].places;
        struct block block = {
            .image = run->x + image * image_floats + group * direct->group_channels,
            .gate = run->gate ? run->gate + image * run->gate_image + group * direct->group_channels
                              : NULL,
            .depth = (int64_t)depth,
            .line = line,
            .lines = smaller((int64_t)direct->lines, axis[1].places - line),
            .column = column,
            .columns = smaller((int64_t)direct->columns, axis[2].places - column),
            .patch = (float *)memory,
            .list = (struct conv_line *)(memory + align64(direct->patch_floats * sizeof(float)))};
        if (direct->patched)
            fill_patch(direct, &block);
        list_lines(direct, &block);
        size_t last = (chunk + 1) * direct->chunk;
        last = last < direct->vectors ? last : direct->vectors;
        for (size_t v = chunk * direct->chunk; v < last; v += direct->tile_vectors)
            run_panel(direct, &block, image, group, v,
                      last - v < direct->tile_vectors ? last - v : direct->tile_vectors);
    }
}

static void direct_run(const struct conv_run *run)
{
    const float *packed = run->packed;
    int64_t residue[3];
    EACH_RESIDUE(&run->conv, residue)
    {
        struct direct direct;
        md__direct_describe(run, residue, &direct);
        const struct axis *axis = direct.axis;
        direct.packed = packed;
        packed += direct.groups * direct.vectors * direct.vector_floats;
        if (is_empty(&direct))
            continue;
        size_t tasks = direct.batch * direct.groups * (size_t)axis[0].places * direct.line_blocks *
                       direct.column_blocks * direct.chunks;
        size_t work = direct.lines * direct.columns * direct.chunk;
        md__parallel(run->pool, tasks, md__grain(work * (direct.vector_floats / VL + 4)), run_tasks,
                     &direct);
    }
}

static size_t direct_scratch(const struct conv *conv)
{
    const struct conv_run run = {.conv = *conv};
    struct direct direct;
    int64_t residue[3];
    size_t most = 0;
    EACH_RESIDUE(conv, residue)
    {
        md__direct_describe(&run, residue, &direct);
        most = direct.thread_bytes > most ? direct.thread_bytes : most;
    }
    return most * (size_t)conv->threads;
}

static bool direct_can(const struct conv *conv)
{
    const int64_t *kernel = conv->window.kernel;
    return kernel[0] * kernel[1] <= TAP_ROWS_MAX && conv->taps <= (size_t)1 << 20;
}

const struct conv_algorithm md__conv_direct = {.name = "direct",
                                               .can = direct_can,
                                               .packed_bytes = direct_packed_bytes,
                                               .pack = direct_pack,
                                               .scratch = direct_scratch,
                                               .run = direct_run};
