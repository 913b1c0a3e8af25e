/*
 * GatedResidualNetwork, GateAddNorm and ResampleNorm on AMX's tiles (tile_blocks.h).
 *
 * Two groups of 32 rows take turns: while the tiles multiply a layer for one of them, vectors do
 * what follows the other's, and write its results as the parts that the next layer reads. The norms
 * and the parts of the rows that come next run beside products as well.
 */
#include "kernels/cpu/isa/gated.h"
#include "kernels/cpu/isa/tile_blocks.h"

#if defined(MD_ISA_amx)

#define GROUPS 2

struct rows_group {
    size_t row, rows;  /* of the call */
    float *parts[2];   /* of what a layer reads, and of what it makes */
    float *out, *skip; /* rows padded(outputs) apart */
    const float *context[BLOCK_ROWS];
};

struct tiled_run {
    const struct gated_call *gated;
    struct queue queue;
    struct rows_group groups[GROUPS];
    int count, which; /* groups with rows; whose turn it is of sums */
    float sums[2][BLOCK_ROWS * 2 * VL] __attribute__((aligned(64)));
};

static size_t group_floats(size_t inputs, size_t hidden, size_t outputs)
{
    size_t wide = inputs > hidden ? inputs : hidden;
    return 4 * parts_floats(wide) + 2 * BLOCK_ROWS * padded(outputs);
}

size_t md__gated_tiles_floats(size_t inputs, size_t hidden, size_t outputs)
{
    bool fits = inputs <= TILED_CHUNKS * TILE_INPUTS && hidden <= TILED_CHUNKS * TILE_INPUTS;
    return fits ? GROUPS * group_floats(inputs, hidden, outputs) : 0;
}

/* ---- what follows a layer: some rows of a block of sums, [row][2][VL] ------------------------ */

/* Which rows a step has: the last ones are done twice, when they are no whole STEP_ROWS. */
INLINE size_t rows_of_step(const struct task *task, size_t step)
{
    size_t first = step * STEP_ROWS;
    return first + STEP_ROWS <= task->rows ? first : task->rows - STEP_ROWS;
}

/* The line of row r in parts whose lower half begins `stride` floats behind the upper one. */
INLINE float *line_of(const struct task *task, size_t r)
{
    return task->to + r / 16 * task->to_stride + r % 16 * VL;
}

/* fc1: the context's products, ELU, parts. `inputs` says how many vectors there are. */
static void elu_step(const struct task *task, size_t step)
{
    const struct rows_group *group = task->context;
    size_t first = rows_of_step(task, step);
    const vf *sums = (const vf *)task->from + 2 * first;
    for (size_t r = first; r < first + STEP_ROWS; r += GROUP / 2, sums += GROUP) {
        vf x[GROUP];
        EACH(GROUP) x[i] = sums[i];
        if (task->inputs == 1)
            x[1] = x[3] = x[5] = (vf){0};
        for (size_t k = 0; group->context[0] && k < GROUP / 2; k++)
            for (size_t v = 0; v < task->inputs; v++)
                x[2 * k + v] += load(group->context[r + k] + task->column + v * VL);
        elu_each(x, GROUP);
        for (size_t k = 0; k < GROUP / 2; k++)
            split_pair(x[2 * k], x[2 * k + 1], line_of(task, r + k));
    }
}

/* fc2: parts. */
static void parts_step(const struct task *task, size_t step)
{
    size_t first = rows_of_step(task, step);
    const vf *sums = (const vf *)task->from + 2 * first;
    for (size_t r = first; r < first + STEP_ROWS; r++, sums += 2)
        split_pair(sums[0], task->inputs == 1 ? (vf){0} : sums[1], line_of(task, r));
}

/* Values and gates become results, to which the skip is added. */
static void gate_step(const struct task *task, size_t step)
{
    const struct network *net = task->context;
    size_t first = rows_of_step(task, step), column = task->column, left = net->outputs - column;
    const vf *sums = (const vf *)task->from + 2 * first;
    vf value[GROUP], gate[GROUP];
    EACH(GROUP)
    {
        value[i] = sums[2 * i];
        gate[i] = sums[2 * i + 1];
    }
    gate_each(value, gate, GROUP);
    vf factor = net->skip_factor ? load(net->skip_factor + column) : splat(1);
    const float *skip = task->skip + first * task->from_stride + column;
    float *to = task->to + first * task->to_stride + column;
    EACH(GROUP)
    store(to + (size_t)i * task->to_stride,
          value[i] + load_upto(skip + (size_t)i * task->from_stride, left) * factor);
}

/* A vector of rows to their norm. */
INLINE void norm_rows(const struct task *task, size_t step, const float *gamma, const float *beta)
{
    const struct network *net = task->context;
    size_t row = step * VL, left = task->rows - row, wide = padded(net->outputs);
    normalize_block(task->from + row * wide, wide, gamma, beta, task->to + row * task->to_stride,
                    task->to_stride, left < VL ? left : VL, net->outputs, net->epsilon);
}

static void norm_step(const struct task *task, size_t step)
{
    const struct network *net = task->context;
    norm_rows(task, step, net->gamma, net->beta);
}

static void resample_norm_step(const struct task *task, size_t step)
{
    const struct network *net = task->context;
    norm_rows(task, step, net->resample_gamma, net->resample_beta);
}

/* ---- layers ---------------------------------------------------------------------------------- */

/* Columns [v, v + 2) of a layer for a group, whose results go to `sums`. */
static size_t multiply_pair(struct tiled_run *run, const struct packed *packed,
                            const struct rows_group *group, int side, size_t v, float *sums,
                            size_t stride)
{
    size_t vectors = packed->vectors - v < 2 ? 1 : 2;
    struct tile_block block = {.a = group->parts[side],
                               .b = packed->tiles + v * parts_floats(packed->inputs),
                               .bias = packed->bias + v * VL,
                               .chunks = tile_chunks(packed->inputs),
                               .sums = sums,
                               .stride = stride};
    multiply_some(&block, group->rows, vectors, &run->queue);
    return vectors;
}

static struct task *follow(struct tiled_run *run, void (*step)(const struct task *, size_t),
                           const struct rows_group *group, size_t column)
{
    struct task *task = enqueue(&run->queue, step, (group->rows + STEP_ROWS - 1) / STEP_ROWS);
    task->from = run->sums[run->which];
    task->rows = group->rows;
    task->column = column;
    run->which ^= 1;
    return task;
}

/* A layer whose results are the parts that the next one reads: from parts[side] to the others. */
static void inner_layer(struct tiled_run *run, const struct packed *packed, int side,
                        void (*step)(const struct task *, size_t))
{
    for (int g = 0; g < run->count; g++) {
        struct rows_group *group = &run->groups[g];
        for (size_t v = 0; v < packed->vectors; v += 2) {
            size_t vectors =
                multiply_pair(run, packed, group, side, v, run->sums[run->which], 2 * VL);
            struct task *task = follow(run, step, group, v * VL);
            task->context = group;
            task->inputs = vectors;
            task->to = group->parts[!side] + v / 2 * PARTS * TILE_FLOATS;
            task->to_stride = parts_floats(packed->columns);
        }
    }
    if (run->count == 1)
        run_queue(&run->queue);
}

static void queue_norm(struct tiled_run *run, void (*step)(const struct task *, size_t),
                       const struct rows_group *group, const float *from, float *to, size_t stride)
{
    struct task *norm = enqueue(&run->queue, step, (group->rows + VL - 1) / VL);
    norm->context = run->gated->net;
    norm->rows = group->rows;
    norm->from = from;
    norm->to = to;
    norm->to_stride = stride;
}

/* The rows a block further on, into the parts that this block does not need any more. */
static void queue_next(struct tiled_run *run, const struct rows_group *group, int side, size_t end)
{
    const struct network *net = run->gated->net;
    size_t row = group->row + GROUPS * BLOCK_ROWS, left = end > row ? end - row : 0;
    if (left)
        enqueue_split(&run->queue, run->gated->x + row * net->inputs, net->inputs,
                      left < BLOCK_ROWS ? left : BLOCK_ROWS, net->inputs, group->parts[side]);
}

/* The resampling of parts[side], to y where nothing follows it. */
static void resample_layer(struct tiled_run *run, int side, size_t end)
{
    const struct network *net = run->gated->net;
    size_t wide = padded(net->outputs);
    bool last = net->glu.vectors == 0;
    for (int g = 0; g < run->count; g++) {
        const struct rows_group *group = &run->groups[g];
        if (last)
            queue_next(run, group, !side, end);
        for (size_t v = 0; v < net->resample.vectors; v += 2)
            multiply_pair(run, &net->resample, group, side, v, group->skip + v * VL, wide);
        queue_norm(run, resample_norm_step, group, group->skip,
                   last ? run->gated->y + group->row * net->outputs : group->skip,
                   last ? net->outputs : wide);
    }
}

/* The GLU of parts[side], the skip and the norm. */
static void last_layer(struct tiled_run *run, int side, size_t end)
{
    const struct gated_call *gated = run->gated;
    const struct network *net = gated->net;
    for (int g = 0; g < run->count; g++) {
        const struct rows_group *group = &run->groups[g];
        const float *skip = gated->skip ? gated->skip : gated->x;
        queue_next(run, group, !side, end);
        for (size_t v = 0; v < net->glu.vectors; v += 2) {
            multiply_pair(run, &net->glu, group, side, v, run->sums[run->which], 2 * VL);
            struct task *task = follow(run, gate_step, group, v / 2 * VL);
            task->context = net;
            task->skip = net->resample.vectors ? group->skip : skip + group->row * net->outputs;
            task->from_stride = net->resample.vectors ? padded(net->outputs) : net->outputs;
            task->to = group->out;
            task->to_stride = padded(net->outputs);
        }
        queue_norm(run, norm_step, group, group->out, gated->y + group->row * net->outputs,
                   net->outputs);
    }
}

/* Where each row finds its context's product. */
static void find_contexts(const struct gated_call *gated, struct rows_group *group)
{
    const struct context_map *map = &gated->map;
    group->context[0] = NULL;
    if (gated->context == NULL)
        return;
    size_t wide = padded(gated->net->hidden), within = group->row % map->group;
    size_t context = group->row / map->group % map->contexts;
    for (size_t r = 0; r < group->rows; r++) {
        group->context[r] = gated->context + context * wide;
        if (++within == map->group) {
            within = 0;
            context = context + 1 < map->contexts ? context + 1 : 0;
        }
    }
}

/* One block, whose x has its parts in parts[side]; where those of the next block are. */
static int run_block(struct tiled_run *run, int side, size_t end)
{
    const struct network *net = run->gated->net;
    if (net->fc1.vectors) {
        inner_layer(run, &net->fc1, side, elu_step);
        if (net->resample.vectors)
            resample_layer(run, side, end);
        side = !side;
        if (net->fc2.vectors) {
            inner_layer(run, &net->fc2, side, parts_step);
            side = !side;
        }
    } else if (net->resample.vectors)
        resample_layer(run, side, end);
    if (net->glu.vectors)
        last_layer(run, side, end);
    return !side;
}

static void place_groups(struct tiled_run *run, float *scratch)
{
    const struct network *net = run->gated->net;
    size_t wide = net->inputs > net->hidden ? net->inputs : net->hidden;
    for (int g = 0; g < GROUPS; g++) {
        struct rows_group *group = &run->groups[g];
        group->parts[0] = scratch;
        group->parts[1] = group->parts[0] + 2 * parts_floats(wide);
        group->out = group->parts[1] + 2 * parts_floats(wide);
        group->skip = group->out + BLOCK_ROWS * padded(net->outputs);
        scratch += group_floats(net->inputs, net->hidden, net->outputs);
    }
}

size_t md__gated_tiles(const struct gated_call *gated, size_t begin, size_t rows, float *scratch)
{
    struct tiled_run run;
    size_t end = begin + rows_on_tiles(rows);
    int side = 0;
    run.gated = gated;
    run.queue.first = run.queue.end = run.which = 0;
    run.queue.steps = 0;
    if (end == begin)
        return 0;
    place_groups(&run, scratch);
    tiles_begin();
    for (size_t row = begin; row < end; row += GROUPS * BLOCK_ROWS) {
        run.count = 0;
        for (size_t at = row; run.count < GROUPS && at < end; at += BLOCK_ROWS) {
            struct rows_group *group = &run.groups[run.count++];
            group->row = at;
            group->rows = end - at < BLOCK_ROWS ? end - at : BLOCK_ROWS;
            find_contexts(gated, group);
            if (row == begin)
                enqueue_split(&run.queue, gated->x + at * gated->net->inputs, gated->net->inputs,
                              group->rows, gated->net->inputs, group->parts[0]);
        }
        if (row == begin)
            run_queue(&run.queue);
        side = run_block(&run, side, end);
    }
    run_queue(&run.queue);
    tiles_end();
    return end - begin;
}

#endif
