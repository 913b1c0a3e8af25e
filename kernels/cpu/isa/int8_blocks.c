/*
 * Convolutions of bytes as products of places by packed weights: blocks of places for the threads,
 * and how the terms of a place are found.
 *
 *   lines    strides of 1: a patch holds the input lines of a block of output lines with the zero
 *            point around them, so that a run is the taps of a kernel row and neighbouring places
 *            are one pixel apart, also from the end of a line to the next. The few places between
 *            lines are computed and dropped: tiles want many places at one distance.
 *   in place a 1 x 1 kernel that moves in steps of 1 reads the tensor as a matrix of places.
 *   gather   otherwise the terms of each place are copied side by side.
 *
 * Which it is depends on attributes and weights alone (in place is a matter of the run: both it
 * and gather read weights of one run). Padding holds the zero point of x, which is what ONNX means
 * by zeros, so that corrections are the same for all places.
 */
#include "kernels/cpu/isa/int8_conv.h"

#define BLOCK_BYTES ((size_t)128 << 10) /* of a patch or gathered terms */
#define SLACK       64                  /* bytes behind them that may be read */
#define RUN_MIN     32                  /* bytes of a kernel row, for lines */

static bool has_strides(const struct byte_conv *conv)
{
    const int64_t *stride = conv->window.stride;
    return stride[0] != 1 || stride[1] != 1 || stride[2] != 1;
}

static bool by_lines(const struct byte_conv *conv)
{
    const struct md_window *window = &conv->window;
    return conv->taps > 1 && !has_strides(conv) && window->dilation[2] == 1 &&
           (size_t)window->kernel[2] * conv->group_channels >= RUN_MIN;
}

static bool in_place(const struct byte_conv *conv, const struct byte_terms *terms)
{
    const int64_t *in = conv->window.in, *out = conv->window.out;
    bool padded = in[0] != out[0] || in[1] != out[1] || in[2] != out[2];
    const int64_t *before = conv->window.before;
    padded |= before[0] != 0 || before[1] != 0 || before[2] != 0;
    return conv->taps == 1 && conv->groups == 1 && !has_strides(conv) && !padded &&
           padded_run(terms) == terms->run;
}

struct byte_terms byte_conv_terms(const struct byte_conv *conv)
{
    size_t row = (size_t)conv->window.kernel[2] * conv->group_channels;
    if (by_lines(conv))
        return byte_terms_of((size_t)(conv->window.kernel[0] * conv->window.kernel[1]), row);
    return byte_terms_of(1, conv->taps * conv->group_channels);
}

struct blocks {
    const struct byte_conv_run *run;
    struct byte_terms terms;
    bool lines, in_place;
    size_t weight_bytes;  /* of a group's packed weights */
    size_t columns;       /* of a group, padded: what `start` and scales have */
    size_t image_places;  /* out */
    size_t count, height; /* blocks of an image (by lines: of a plane), places or lines of one */
    size_t chunks, pairs; /* tasks that share a block; pairs of panels */
    size_t width, deep;   /* by lines: places of a patch line, lines for a tap of axis 0 */
    size_t *runs;
    size_t thread_bytes;
    char *memory;
};

static size_t divided(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

static size_t at_least_one(size_t n)
{
    return n ? n : 1;
}

/* Lines or places in a block: as many as fit, in blocks of one size, some for every thread. */
static void size_blocks(struct blocks *blocks, size_t all, size_t most, size_t step, int threads)
{
    size_t wanted = 2 * (size_t)threads;
    blocks->count = at_least_one(divided(all, at_least_one(most)));
    if (blocks->count < wanted && all >= 4 * wanted * step)
        blocks->count = wanted;
    blocks->height = at_least_one(divided(divided(all, blocks->count), step) * step);
    blocks->count = divided(all, blocks->height);
}

static void describe_blocks(const struct byte_conv_run *run, struct blocks *blocks)
{
    const struct byte_conv *conv = &run->conv;
    const struct md_window *window = &conv->window;
    const int64_t *out = window->out, *kernel = window->kernel;
    *blocks = (struct blocks){.run = run, .terms = byte_conv_terms(conv), .lines = by_lines(conv)};
    blocks->in_place = in_place(conv, &blocks->terms);
    blocks->weight_bytes = byte_weights_bytes(&blocks->terms, conv->group_outputs);
    blocks->columns = byte_padded(conv->group_outputs);
    blocks->pairs = divided(blocks->columns, BLOCK_COLUMNS);
    blocks->image_places = (size_t)(out[0] * out[1] * out[2]);
    size_t place = padded_run(&blocks->terms), bytes = 0;
    if (blocks->lines) {
        size_t reach = (size_t)((kernel[1] - 1) * window->dilation[1]);
        blocks->width = (size_t)(out[2] + kernel[2] - 1);
        size_t line = blocks->width * conv->group_channels * (size_t)kernel[0];
        size_t most = BLOCK_BYTES / at_least_one(line);
        size_blocks(blocks, (size_t)out[1], most > 2 * reach ? most - reach : reach + 1, 1,
                    run->threads);
        blocks->deep = blocks->height + reach;
        bytes = blocks->deep * line;
    } else {
        size_blocks(blocks, blocks->image_places, BLOCK_BYTES / place, BLOCK_PLACES, run->threads);
        size_t line = out[2] ? (size_t)((out[2] - 1) * window->stride[2] + kernel[2]) : 0;
        bytes = byte_aligned(blocks->height * place + SLACK) + line * conv->group_channels;
        bytes = blocks->in_place ? 0 : bytes;
    }
    size_t tasks = conv->batch * conv->groups * blocks->count;
    tasks *= blocks->lines ? (size_t)out[0] : 1;
    blocks->chunks = at_least_one(divided(2 * (size_t)run->threads, at_least_one(tasks)));
    blocks->chunks = blocks->chunks < blocks->pairs ? blocks->chunks : at_least_one(blocks->pairs);
    blocks->thread_bytes = byte_aligned(bytes + SLACK);
}

/* memcpy of a few bytes: in pieces that may overlap. */
INLINE void copy_bytes(uint8_t *to, const uint8_t *from, size_t count)
{
    if (count >= 16) {
        for (size_t i = 0; i + 16 <= count; i += 16)
            memcpy(to + i, from + i, 16);
        memcpy(to + count - 16, from + count - 16, 16);
    } else if (count >= 8) {
        memcpy(to, from, 8);
        memcpy(to + count - 8, from + count - 8, 8);
    } else {
        for (size_t i = 0; i < count; i++)
            to[i] = from[i];
    }
}

/* `places` neighbouring pixels of a group from column `from` on: those outside are the zero point.
 */
static void copy_pixels(const struct byte_conv_run *run, const uint8_t *line, int64_t from,
                        size_t places, uint8_t *to)
{
    const struct byte_conv *conv = &run->conv;
    int64_t in = conv->window.in[2], count = (int64_t)places;
    size_t each = conv->group_channels;
    int64_t begin = from < 0 ? -from : 0, end = in - from;
    begin = begin < count ? begin : count;
    end = end < begin ? begin : end < count ? end : count;
    memset(to, run->x_zero, (size_t)begin * each);
    const uint8_t *x = line + (from + begin) * (int64_t)conv->channels;
    if (conv->groups == 1)
        memcpy(to + (size_t)begin * each, x, (size_t)(end - begin) * each);
    else
        for (int64_t i = begin; i < end; i++, x += conv->channels)
            memcpy(to + (size_t)i * each, x, each);
    memset(to + (size_t)end * each, run->x_zero, (size_t)(count - end) * each);
}

static bool is_inside(const struct md_window *window, int axis, int64_t at)
{
    return at >= 0 && at < window->in[axis];
}

static const uint8_t *input_line(const struct byte_conv_run *run, size_t image, size_t group,
                                 int64_t a, int64_t b)
{
    const struct byte_conv *conv = &run->conv;
    const int64_t *in = conv->window.in;
    size_t line = (image * (size_t)in[0] + (size_t)a) * (size_t)in[1] + (size_t)b;
    return run->x + line * (size_t)in[2] * conv->channels + group * conv->group_channels;
}

/* By lines: the input lines under output lines [line, line + lines) at `depth`. */
static void fill_patch(const struct blocks *blocks, size_t image, size_t group, size_t depth,
                       size_t line, size_t lines, uint8_t *to)
{
    const struct byte_conv_run *run = blocks->run;
    const struct md_window *window = &run->conv.window;
    size_t bytes = blocks->width * run->conv.group_channels;
    size_t count = lines + blocks->deep - blocks->height;
    for (int64_t a = 0; a < window->kernel[0]; a++) {
        int64_t deep = (int64_t)depth - window->before[0] + a * window->dilation[0];
        uint8_t *at = to + (size_t)a * blocks->deep * bytes;
        for (size_t i = 0; i < count; i++, at += bytes) {
            int64_t high = (int64_t)(line + i) - window->before[1];
            if (is_inside(window, 0, deep) && is_inside(window, 1, high))
                copy_pixels(run, input_line(run, image, group, deep, high), -window->before[2],
                            blocks->width, at);
            else
                memset(at, run->x_zero, bytes);
        }
    }
}

/* A run of bytes for each place: from `x`, `x_step` apart, to `to`, `apart`. */
INLINE void spread_runs(const uint8_t *x, size_t x_step, size_t bytes, size_t count, uint8_t *to,
                        size_t apart)
{
    if (bytes >= 16 && bytes <= 32) {
        for (size_t i = 0; i < count; i++, x += x_step, to += apart) {
            memcpy(to, x, 16);
            memcpy(to + bytes - 16, x + bytes - 16, 16);
        }
        return;
    }
    for (size_t i = 0; i < count; i++, x += x_step, to += apart)
        copy_bytes(to, x, bytes);
}

/*
 * The terms of one kernel row for `count` places of an output line from `first` on, `apart` bytes
 * from place to place; the row's input line is NULL outside the image. Where the taps lie side by
 * side, `padded` gets the part of the line that the places see, with the zero point around it.
 */
static void gather_row(const struct byte_conv_run *run, const uint8_t *line, int64_t first,
                       size_t count, uint8_t *to, size_t apart, uint8_t *padded)
{
    const struct byte_conv *conv = &run->conv;
    const struct md_window *window = &conv->window;
    size_t each = conv->group_channels, row = (size_t)window->kernel[2] * each;
    int64_t at = first * window->stride[2] - window->before[2], step = window->stride[2];
    if (line && window->dilation[2] == 1) {
        size_t width = (count - 1) * (size_t)step + (size_t)window->kernel[2];
        copy_pixels(run, line, at, width, padded);
        spread_runs(padded, (size_t)step * each, row, count, to, apart);
        return;
    }
    for (size_t i = 0; i < count; i++, to += apart, at += step) {
        if (!line)
            memset(to, run->x_zero, row);
        for (int64_t c = 0; line && c < window->kernel[2]; c++)
            copy_pixels(run, line, at + c * window->dilation[2], 1, to + (size_t)c * each);
    }
}

/* Places of one output line (depth, high), from `wide` on. */
static void gather_line(const struct blocks *blocks, size_t image, size_t group, int64_t depth,
                        int64_t height, int64_t wide, size_t count, uint8_t *to, uint8_t *padded)
{
    const struct byte_conv_run *run = blocks->run;
    const struct md_window *window = &run->conv.window;
    size_t row = (size_t)window->kernel[2] * run->conv.group_channels;
    for (int64_t a = 0; a < window->kernel[0]; a++)
        for (int64_t b = 0; b < window->kernel[1]; b++, to += row) {
            int64_t i = depth * window->stride[0] - window->before[0] + a * window->dilation[0];
            int64_t j = height * window->stride[1] - window->before[1] + b * window->dilation[1];
            bool inside = is_inside(window, 0, i) && is_inside(window, 1, j);
            gather_row(run, inside ? input_line(run, image, group, i, j) : NULL, wide, count, to,
                       padded_run(&blocks->terms), padded);
        }
}

static void gather(const struct blocks *blocks, size_t image, size_t group, size_t first,
                   size_t count, uint8_t *to)
{
    const int64_t *out = blocks->run->conv.window.out;
    uint8_t *padded = to + byte_aligned(blocks->height * padded_run(&blocks->terms) + SLACK);
    while (count > 0) {
        int64_t at = (int64_t)first, wide = at % out[2];
        size_t some = (size_t)(out[2] - wide);
        some = some < count ? some : count;
        gather_line(blocks, image, group, at / (out[1] * out[2]), at / out[2] % out[1], wide, some,
                    to, padded);
        to += some * padded_run(&blocks->terms);
        first += some;
        count -= some;
    }
}

/* ---- tasks ----------------------------------------------------------------------------------- */

struct task {
    size_t image, group, depth, first, count; /* first, count: lines or places */
    struct byte_product product;
    size_t y;      /* of the first place, in places of the output */
    size_t places; /* with those between lines */
};

/* Results of places [from, from + count) of a task. */
static void locate(const struct blocks *blocks, const struct task *task, size_t from, size_t count,
                   size_t *at)
{
    const struct byte_conv *conv = &blocks->run->conv;
    size_t wide = (size_t)conv->window.out[2], shift = task->group * conv->group_outputs;
    size_t line = blocks->lines ? from / blocks->width : 0;
    size_t column = blocks->lines ? from % blocks->width : from;
    for (size_t i = 0; i < count; i++, column++) {
        if (blocks->lines && column == blocks->width) {
            column = 0;
            line++;
        }
        bool skipped = blocks->lines && column >= wide;
        at[i] = skipped ? BYTE_SKIPPED : (task->y + line * wide + column) * conv->outputs + shift;
    }
}

static void prepare_task(const struct blocks *blocks, struct task *task, uint8_t *memory)
{
    const struct byte_conv_run *run = blocks->run;
    const struct byte_conv *conv = &run->conv;
    const int64_t *out = conv->window.out;
    struct byte_product *product = &task->product;
    product->place = padded_run(&blocks->terms);
    product->x = memory;
    if (blocks->lines) {
        fill_patch(blocks, task->image, task->group, task->depth, task->first, task->count, memory);
        product->place = conv->group_channels;
        product->runs = blocks->runs;
        size_t line = (task->image * (size_t)out[0] + task->depth) * (size_t)out[1] + task->first;
        task->y = line * (size_t)out[2];
        task->places = (task->count - 1) * blocks->width + (size_t)out[2];
        return;
    }
    task->y = task->image * blocks->image_places + task->first;
    task->places = task->count;
    if (blocks->in_place)
        product->x = run->x + task->y * conv->channels;
    else
        gather(blocks, task->image, task->group, task->first, task->count, memory);
}

static void run_task(const struct blocks *blocks, struct task *task, size_t begin, size_t end,
                     struct byte_state *state)
{
    size_t panels = task->product.weights->panels;
    for (size_t pair = begin; pair < end; pair++)
        for (size_t from = 0; from < task->places; from += BLOCK_PLACES) {
            size_t at[BLOCK_PLACES], count = task->places - from;
            size_t last = (pair + 1) * BLOCK_PANELS;
            count = count < BLOCK_PLACES ? count : BLOCK_PLACES;
            struct byte_product product = task->product;
            product.x += from * product.place;
            locate(blocks, task, from, count, at);
            byte_multiply(&product, at, count, pair * BLOCK_PANELS, last < panels ? last : panels,
                          state);
        }
}

static void run_tasks(void *context, size_t begin, size_t end, int thread)
{
    const struct blocks *blocks = context;
    const struct byte_conv_run *run = blocks->run;
    const struct byte_conv *conv = &run->conv;
    uint8_t *memory = (uint8_t *)blocks->memory + blocks->thread_bytes * (size_t)thread;
    size_t all = blocks->lines ? (size_t)conv->window.out[1] : blocks->image_places;
    size_t depths = blocks->lines ? (size_t)conv->window.out[0] : 1;
    struct byte_state state = {0};
    struct byte_result result = run->result;
    for (size_t i = begin; i < end; i++) {
        size_t at = i / blocks->chunks, chunk = i % blocks->chunks;
        struct task task = {.first = at % blocks->count * blocks->height};
        at /= blocks->count;
        task.depth = at % depths;
        at /= depths;
        task.group = at % conv->groups;
        task.image = at / conv->groups;
        task.count = all - task.first < blocks->height ? all - task.first : blocks->height;
        result.start = run->result.start + task.group * blocks->columns;
        result.scale = run->result.scale + task.group * blocks->columns;
        task.product = (struct byte_product){
            .weights = (const struct byte_weights *)((const char *)run->packed +
                                                     task.group * blocks->weight_bytes),
            .is_signed = run->is_signed,
            .result = &result};
        prepare_task(blocks, &task, memory);
        run_task(blocks, &task, blocks->pairs * chunk / blocks->chunks,
                 blocks->pairs * (chunk + 1) / blocks->chunks, &state);
    }
    if (byte_summing()->end)
        byte_summing()->end(&state);
}

void byte_blocks_run(const struct byte_conv_run *run)
{
    struct blocks blocks;
    describe_blocks(run, &blocks);
    const struct byte_conv *conv = &run->conv;
    const struct md_window *window = &conv->window;
    blocks.runs = run->scratch;
    blocks.memory = (char *)run->scratch + byte_aligned(blocks.terms.runs * sizeof(size_t));
    for (size_t i = 0; i < blocks.terms.runs; i++) {
        size_t a = i / (size_t)window->kernel[1], b = i % (size_t)window->kernel[1];
        blocks.runs[i] = (a * blocks.deep + b * (size_t)window->dilation[1]) * blocks.width *
                         conv->group_channels;
    }
    size_t tasks = conv->batch * conv->groups * blocks.count * blocks.chunks;
    tasks *= blocks.lines ? (size_t)window->out[0] : 1;
    if (blocks.image_places)
        md__parallel(run->pool, tasks, 1, run_tasks, &blocks);
}

size_t byte_blocks_scratch(const struct byte_conv_run *run)
{
    struct blocks blocks;
    describe_blocks(run, &blocks);
    return byte_aligned(blocks.terms.runs * sizeof(size_t)) +
           blocks.thread_bytes * (size_t)run->threads;
}
