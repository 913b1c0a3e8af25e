/*
 * Products on AMX's tiles (tiles.h) beside other work: blocks of up to 32 rows by two vectors of
 * columns, and what else there is to do while the tiles multiply.
 *
 * A block's products take 384 cycles a chunk and no instruction of vectors, so the vectors' work
 * (the epilogue of the block before, the parts of the rows that come next) is cut into small steps,
 * which are run between the products: in the order of the program, because only some hundred
 * instructions wait for their turn at once. What is queued before a block is done after it.
 *
 * Measured: while tiles multiply, additions and logic still find both vector ports, but fused
 * multiplications, minima and maxima only one. So half of the products' time is hidden, not all.
 */
#ifndef MD_KERNELS_CPU_ISA_TILE_BLOCKS_H
#define MD_KERNELS_CPU_ISA_TILE_BLOCKS_H

#include "kernels/cpu/isa/tiles.h"

#if defined(MD_ISA_amx)

#define BLOCK_ROWS 32
#define STEP_ROWS  6 /* of an epilogue: whole GROUPs of vectors (math.h) */
#define PART_ROWS  8 /* cut into parts in a step */
#define FEW_ROWS   8 /* below, vectors multiply in less time */

#define OCCASIONAL static __attribute__((noinline, unused))

/* ---- work of the vectors --------------------------------------------------------------------- */

/* Steps [at, end) of something, which finds what it needs behind `context`. */
struct task {
    void (*step)(const struct task *task, size_t i);
    size_t at, end;
    const void *context;
    const float *from, *skip;
    float *to;
    size_t from_stride, to_stride;
    size_t row, rows, column, inputs;
};

#define TASKS_MAX 8

struct queue {
    struct task tasks[TASKS_MAX];
    int first, end;
    size_t steps; /* that wait */
};

OCCASIONAL void run_step(struct queue *queue)
{
    struct task *task = &queue->tasks[queue->first];
    task->step(task, task->at++);
    queue->steps--;
    if (task->at == task->end)
        queue->first++;
}

INLINE void run_queue(struct queue *queue)
{
    while (queue->steps)
        run_step(queue);
    queue->first = queue->end = 0;
}

/*
 * Room for a task, whose fields the caller sets one by one: what is copied as a whole waits until
 * its fields have been stored, that is for all products before it.
 */
INLINE struct task *enqueue(struct queue *queue, void (*step)(const struct task *, size_t),
                            size_t steps)
{
    if (queue->end == TASKS_MAX)
        run_queue(queue);
    struct task *task = &queue->tasks[queue->end++];
    task->step = step;
    task->at = 0;
    task->end = steps;
    queue->steps += steps;
    return task;
}

/* ---- parts of x ------------------------------------------------------------------------------ */

/*
 * Two vectors of a row lie in a line of parts without a permutation across lanes when inputs i and
 * i + 16 of a chunk make a pair: where weights of input k go.
 */
INLINE size_t place_of_input(size_t k)
{
    size_t in = k % TILE_INPUTS;
    return k - in + in % VL * 2 + in / VL;
}

/* Rows of a chunk, from a task's row x stride. Steps pass through all rows of a chunk first. */
OCCASIONAL void split_step(const struct task *task, size_t i)
{
    size_t groups = (task->rows + PART_ROWS - 1) / PART_ROWS, chunk = i / groups;
    size_t row = i % groups * PART_ROWS, k = chunk * TILE_INPUTS, left = task->inputs - k;
    size_t end = row + PART_ROWS < task->rows ? row + PART_ROWS : task->rows;
    float *to = task->to + row / 16 * parts_floats(task->inputs) + row % 16 * VL +
                chunk * PARTS * TILE_FLOATS;
    const float *from = task->from + row * task->from_stride + k;
    if (left >= TILE_INPUTS)
        for (; row < end; row++, from += task->from_stride, to += VL)
            split_pair(load(from), load(from + VL), to);
    else
        for (; row < end; row++, from += task->from_stride, to += VL)
            split_pair(load_upto(from, left), left > VL ? load_some(from + VL, left - VL) : (vf){0},
                       to);
}

/* The parts of `rows` <= BLOCK_ROWS rows of x into `to`: 2 * parts_floats(inputs). */
INLINE void enqueue_split(struct queue *queue, const float *x, size_t stride, size_t rows,
                          size_t inputs, float *to)
{
    size_t steps = (rows + PART_ROWS - 1) / PART_ROWS * tile_chunks(inputs);
    struct task *task = enqueue(queue, split_step, steps);
    task->from = x;
    task->from_stride = stride;
    task->rows = rows;
    task->inputs = inputs;
    task->to = to;
}

/* ---- products -------------------------------------------------------------------------------- */

/* Sums of up to 32 rows and one or two vectors of columns beside each other, each with its bias. */
struct tile_block {
    const float *a, *b, *bias;
    size_t chunks;
    float *sums;
    size_t stride; /* floats from row to row of the sums */
};

/* Runs its share of what waits, `slots` of them all of it. */
struct share {
    struct queue *queue;
    size_t steps, slots, due;
};

INLINE void run_share(void *context)
{
    struct share *share = context;
    for (share->due += share->steps; share->due >= share->slots; share->due -= share->slots)
        run_step(share->queue);
}

INLINE void multiply_on_tiles(const struct tile_block *p, struct queue *queue, const bool lower,
                              const bool right)
{
    const size_t behind = p->chunks * PARTS * TILE_FLOATS;
    struct share share = {queue, queue->steps, 6 * p->chunks, 0};
    __asm__ volatile("" : : : "memory"); /* as in add_products() */
    _tile_loadd(0, p->bias, 0);
    if (right)
        _tile_loadd(1, p->bias + VL, 0);
    if (lower)
        _tile_loadd(2, p->bias, 0);
    if (lower && right)
        _tile_loadd(3, p->bias + VL, 0);
    add_products(p->a, behind, p->b, behind, p->chunks, lower, right, run_share, &share);
    store_sums(p->sums, p->stride, lower, right);
    __asm__ volatile("" : : : "memory");
}

/* One block, and what waits. Rows are more than 16, or the lower half is left out. */
OCCASIONAL void multiply_some(const struct tile_block *p, size_t rows, size_t vectors,
                              struct queue *queue)
{
    if (rows > 16 && vectors > 1)
        multiply_on_tiles(p, queue, true, true);
    else if (rows > 16)
        multiply_on_tiles(p, queue, true, false);
    else if (vectors > 1)
        multiply_on_tiles(p, queue, false, true);
    else
        multiply_on_tiles(p, queue, false, false);
    run_queue(queue);
}

/* Rows of so many that tiles multiply; the last few are quicker without. */
INLINE size_t rows_on_tiles(size_t rows)
{
    return rows - (rows % BLOCK_ROWS < FEW_ROWS ? rows % BLOCK_ROWS : 0);
}

#endif
#endif
