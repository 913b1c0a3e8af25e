/*
 * The product of rows with packed weights (linear.h) on AMX's tiles, block by block
 * (tile_blocks.h).
 */
#include "kernels/cpu/isa/linear.h"
#include "kernels/cpu/isa/tile_blocks.h"

#if defined(MD_ISA_amx)

#include "kernels/cpu/isa/linear_store.h"

bool md__pack_tiles(struct packed *packed, float *memory)
{
    size_t inputs = packed->inputs, one = parts_floats(inputs), columns = packed->vectors * VL;
    memset(memory, 0, packed->vectors * one * sizeof *memory);
    for (size_t column = 0; column < columns; column++)
        for (size_t k = 0; k < inputs; k++) {
            float weight = *packed_weight(packed, k, column);
            if (!may_cut(weight))
                return false;
            put_weight(weight, place_of_input(k), column % VL, true, memory + column / VL * one);
        }
    packed->tiles = memory;
    return true;
}

/* ---- epilogues ------------------------------------------------------------------------------- */

/* STEP_ROWS rows of a block's sums, [row][vector], become rows of a product's y. */
static void finish_rows(const struct task *task, size_t i, const int nv)
{
    const struct product *p = task->context;
    size_t first = i * STEP_ROWS, left = task->rows - first, at = task->column;
    int rows = left < STEP_ROWS ? (int)left : STEP_ROWS;
    vf *sums = (vf *)(uintptr_t)task->from + first * (size_t)nv;
    size_t row = task->row + first, column = p->epilogue == GLU ? at / 2 : at;
    float *y = p->y + row * p->y_stride;
    const float *addend = p->addend ? p->addend + row * p->addend_stride : NULL;
    for (int r = 0; addend && r < rows; r++, addend += p->addend_stride)
        for (int v = 0; v < nv; v++)
            sums[r * nv + v] += load_columns(addend, at + (size_t)v * VL, p->y_columns);
    if (p->epilogue == ELU)
        elu_tile(sums, y, p->y_stride, at, p->y_columns, rows, nv);
    else if (p->epilogue == GLU)
        gate_tile(sums, y, p->y_stride, column, p->y_columns, rows, nv / 2);
    else
        store_laid_down(sums, y, p->y_stride, at, p->y_columns, rows, nv);
    size_t columns = p->y_columns > column ? p->y_columns - column : 0, wide = (size_t)nv * VL;
    if (p->activation && columns)
        md__activate(p->activation, y + column, p->y_stride, (size_t)rows,
                     columns < wide ? columns : wide);
}

static void finish_two(const struct task *task, size_t i)
{
    finish_rows(task, i, 2);
}

static void finish_one(const struct task *task, size_t i)
{
    finish_rows(task, i, 1);
}

/* Sums that nothing happens to are stored where they belong. */
static bool goes_straight(const struct product *p, size_t rows, size_t column, size_t vectors)
{
    return p->epilogue == PLAIN && !p->addend && !p->activation && rows % 16 == 0 &&
           column + vectors * VL <= p->y_columns;
}

/* Vectors [v, v + vectors) of the columns for rows [row, row + rows), whose parts are at `a`. */
static void multiply_two(const struct packed *packed, const struct product *p, size_t row,
                         size_t rows, size_t v, size_t vectors, size_t column, const float *a,
                         float *sums, struct queue *queue)
{
    struct tile_block block = {.a = a,
                               .b = packed->tiles + v * parts_floats(packed->inputs),
                               .bias = packed->bias + v * VL,
                               .chunks = tile_chunks(packed->inputs),
                               .sums = sums,
                               .stride = vectors * VL};
    bool straight = goes_straight(p, rows, column, vectors);
    if (straight) {
        block.sums = p->y + row * p->y_stride + column;
        block.stride = p->y_stride;
    }
    multiply_some(&block, rows, vectors, queue);
    if (straight)
        return;
    struct task *finish =
        enqueue(queue, vectors > 1 ? finish_two : finish_one, (rows + STEP_ROWS - 1) / STEP_ROWS);
    finish->context = p;
    finish->from = sums;
    finish->row = row;
    finish->rows = rows;
    finish->column = column;
}

size_t md__multiply_tiles(const struct packed *packed, const struct product *p, size_t first,
                          size_t last)
{
    float parts[2][2 * TILED_CHUNKS * PARTS * TILE_FLOATS] __attribute__((aligned(64)));
    float sums[2][BLOCK_ROWS * 2 * VL] __attribute__((aligned(64)));
    size_t rows = rows_on_tiles(p->rows), inputs = packed->inputs;
    if (rows == 0)
        return 0;
    struct queue queue = {.first = 0};
    tiles_begin();
    enqueue_split(&queue, p->x, p->x_stride, rows < BLOCK_ROWS ? rows : BLOCK_ROWS, inputs,
                  parts[0]);
    run_queue(&queue);
    int which = 0, side = 0;
    for (size_t row = 0; row < rows; row += BLOCK_ROWS, side ^= 1) {
        size_t left = rows - row, some = left < BLOCK_ROWS ? left : BLOCK_ROWS;
        for (size_t v = first; v < last; v += 2, which ^= 1) {
            left -= v + 2 >= last ? some : 0;
            if (v + 2 >= last && left)
                enqueue_split(&queue, p->x + (row + BLOCK_ROWS) * p->x_stride, p->x_stride,
                              left < BLOCK_ROWS ? left : BLOCK_ROWS, inputs, parts[side ^ 1]);
            multiply_two(packed, p, row, some, v, last - v < 2 ? 1 : 2, (v - first) * VL,
                         parts[side], sums[which], &queue);
        }
    }
    run_queue(&queue);
    tiles_end();
    return rows;
}

#endif
