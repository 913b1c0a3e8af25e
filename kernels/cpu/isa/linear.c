/*
 * Packing, and the product of rows with packed weights (linear.h).
 */
#include "kernels/cpu/isa/linear.h"
#include "kernels/cpu/isa/linear_store.h"
#include "kernels/cpu/isa/tile_blocks.h"

/* The column that lane 0 of packed vector v holds; *end is where that vector's columns end. */
static size_t column_of(size_t v, size_t columns, bool paired, size_t *end)
{
    size_t half = paired && v % 2 ? columns : 0;
    *end = half + columns;
    return half + (paired ? v / 2 : v) * VL;
}

/* A whole vector for each k where the columns lie side by side. */
static void pack_beside(const struct unpacked *from, size_t inputs, size_t column, size_t lanes,
                        float scale, float *to, size_t step)
{
    const float *weight = from->weights + column;
    for (size_t k = 0; k < inputs; k++, weight += from->k_stride, to += step) {
        vf v = lanes == VL ? load(weight) : load_some(weight, lanes);
        *(vf *)to = v * scale;
    }
}

/* Lane by lane, a few inputs at a time so that what is written stays in L1. */
static void pack_apart(const struct unpacked *from, size_t inputs, size_t column, size_t lanes,
                       float scale, float *to, size_t step)
{
    for (size_t k = 0; k < inputs; k += VL) {
        size_t end = k + VL < inputs ? k + VL : inputs;
        for (size_t lane = 0; lane < lanes; lane++) {
            const float *weight = from->weights + (column + lane) * from->column_stride;
            for (size_t i = k; i < end; i++)
                to[i * step + lane] = weight[i * from->k_stride] * scale;
        }
        for (size_t lane = lanes; lane < VL; lane++)
            for (size_t i = k; i < end; i++)
                to[i * step + lane] = 0;
    }
}

void md__pack_vector(const struct packed *packed, size_t v, const struct unpacked *from,
                     size_t column, size_t lanes, double scale)
{
    size_t width = packed->vectors - v / PANEL * PANEL;
    (from->column_stride == 1 ? pack_beside : pack_apart)(
        from, packed->inputs, column, lanes, (float)(from->scale * scale),
        packed_weight(packed, 0, v * VL), (width < PANEL ? width : PANEL) * VL);
    for (size_t lane = 0; lane < VL; lane++)
        packed->bias[v * VL + lane] =
            from->bias && lane < lanes ? (float)(from->bias[column + lane] * scale) : 0;
}

struct packed md__pack(const struct unpacked *from, size_t inputs, size_t columns, bool paired,
                       float *memory)
{
    struct packed packed = packed_at(inputs, columns, paired, memory);
    if (from == NULL)
        memset(memory, 0, packed_floats(inputs, columns, paired) * sizeof *memory);
    for (size_t v = 0; from && v < packed.vectors; v++) {
        size_t end, column = column_of(v, columns, paired, &end);
        md__pack_vector(&packed, v, from, column, end - column < VL ? end - column : VL,
                        paired && v % 2 ? GATE_SCALE : 1);
    }
    return packed;
}

/* What of a product is computed at a time. */
struct block {
    size_t row, end;       /* rows */
    size_t k, k_end;       /* inputs */
    size_t first_column;   /* of all the weights' columns, where y and the addend begin */
    bool starts, finishes; /* the sums */
    bool fetches;          /* the panel after the one at hand is far away */
};

/* sum += rows of x times one input of a panel. */
INLINE void sum_input(const float *x, size_t x_stride, const float *w, vf sum[ROWS_MAX][PANEL],
                      const int mr, const int nv)
{
#pragma GCC unroll 8
    for (int r = 0; r < mr; r++) {
        vf input = splat(x[(size_t)r * x_stride]);
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++)
            sum[r][v] += input * *(const vf *)(w + v * VL);
    }
}

/*
 * sum += rows of x times inputs [k, k_end) of a panel. Meanwhile asks for the lines at `ahead`,
 * which the next panel begins with: so many for every AHEAD_INPUTS inputs.
 */
#define AHEAD_INPUTS 8
#define LINE_FLOATS  16

INLINE void sum_inputs(const float *x, size_t x_stride, const float *w, size_t inputs,
                       vf sum[ROWS_MAX][PANEL], const int mr, const int nv, const float *ahead,
                       size_t lines)
{
    size_t k = 0;
    for (; lines && k + AHEAD_INPUTS <= inputs; k += AHEAD_INPUTS) {
        for (size_t line = 0; line < lines; line++, ahead += LINE_FLOATS)
            __builtin_prefetch(ahead, 0, 2);
        for (size_t i = 0; i < AHEAD_INPUTS; i++, w += nv * VL)
            sum_input(x + k + i, x_stride, w, sum, mr, nv);
    }
    for (; k < inputs; k++, w += nv * VL)
        sum_input(x + k, x_stride, w, sum, mr, nv);
}

/* One row would wait for its own sums: even and odd inputs get sums of their own. */
INLINE void sum_inputs_of_one(const float *x, const float *w, size_t inputs,
                              vf sum[ROWS_MAX][PANEL], const int nv)
{
    vf odd[PANEL] = {{0}};
    size_t k = 0;
    for (; k + 2 <= inputs; k += 2, w += 2 * nv * VL)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) {
            sum[0][v] += splat(x[k]) * *(const vf *)(w + v * VL);
            odd[v] += splat(x[k + 1]) * *(const vf *)(w + (nv + v) * VL);
        }
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++) {
        if (k < inputs)
            sum[0][v] += splat(x[k]) * *(const vf *)(w + v * VL);
        sum[0][v] += odd[v];
    }
}

/* What the tile below this one starts with comes from a far cache when rows are long: ask now. */
INLINE void ask_ahead(const struct product *p, const float *x, const float *y, const int mr,
                      const int nv)
{
#pragma GCC unroll 8
    for (size_t r = (size_t)mr; r < 2 * (size_t)mr; r++) {
        __builtin_prefetch(x + r * p->x_stride);
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++)
            __builtin_prefetch(y + r * p->y_stride + v * VL, 1);
    }
}

/* Rows [row, row + mr) of a block with the panel whose first vector is `first`. */
INLINE void multiply_tile(const struct packed *packed, const struct product *p,
                          const struct block *block, size_t row, size_t first, const int mr,
                          const int nv, const enum epilogue epilogue, const float *ahead,
                          size_t lines)
{
    vf sum[ROWS_MAX][PANEL];
    size_t at = first * VL - block->first_column;
    float *y = p->y + row * p->y_stride;
    if (block->starts) {
#pragma GCC unroll 8
        for (int r = 0; r < mr; r++)
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++)
                sum[r][v] = load(packed->bias + (first + (size_t)v) * VL);
    } else {
#pragma GCC unroll 8
        for (int r = 0; r < mr; r++)
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++)
                sum[r][v] =
                    load_columns(y + (size_t)r * p->y_stride, at + (size_t)v * VL, p->y_columns);
    }

    const float *x = p->x + row * p->x_stride + block->k;
    if (mr > 2)
        ask_ahead(p, x, y + at, mr, nv);
    const float *w = packed->weights + (first * packed->inputs + block->k * nv) * VL;
    if (mr == 1)
        sum_inputs_of_one(x, w, block->k_end - block->k, sum, nv);
    else
        sum_inputs(x, p->x_stride, w, block->k_end - block->k, sum, mr, nv, ahead, lines);

    if (p->addend && block->finishes)
        add_rows(sum, p->addend + row * p->addend_stride, p->addend_stride, at, p->y_columns, mr,
                 nv);
    if (epilogue == PLAIN || !block->finishes)
        store_rows(sum, y, p->y_stride, at, p->y_columns, mr, nv);
    else {
        vf sums[ROWS_MAX * PANEL];
        lay_down(sum, sums, mr, nv);
        if (epilogue == ELU)
            elu_tile(sums, y, p->y_stride, at, p->y_columns, mr, nv);
        else
            gate_tile(sums, y, p->y_stride, at / 2, p->y_columns, mr, nv / 2);
    }
}

/* As many rows a tile as leave the accumulators in registers. */
#define TILE_ROWS(nv) ((nv) == PANEL ? 6 : ROWS_MAX)

/*
 * Weights stay in the second-level cache for no longer than one layer of a network, so the first
 * tile of each panel would wait for a far cache or for memory. Tiles ask for the next panel while
 * they compute, each for its share.
 */
struct ahead {
    const float *at, *end;
    size_t step, lines; /* floats that a tile asks for; lines for every AHEAD_INPUTS inputs */
};
enum { LINES_MAX = 4 };

INLINE struct ahead next_panel(const struct packed *packed, const struct block *block, size_t first,
                               size_t tiles)
{
    size_t next = first + PANEL, inputs = block->k_end - block->k, left = packed->vectors - next;
    if (!block->fetches || next >= packed->vectors || tiles == 0)
        return (struct ahead){0};
    size_t width = left < PANEL ? left : PANEL, floats = inputs * width * VL;
    size_t lines = (floats - 1) / (inputs / AHEAD_INPUTS * LINE_FLOATS * tiles + 1) + 1;
    struct ahead ahead = {
        .at = packed->weights + (next * packed->inputs + block->k * width) * VL,
        .lines = lines < LINES_MAX ? lines : LINES_MAX,
    };
    ahead.end = ahead.at + floats;
    ahead.step = inputs / AHEAD_INPUTS * LINE_FLOATS * ahead.lines;
    return ahead;
}

/* The rows of a block by one panel of a width known when compiling. */
INLINE void multiply_panel(const struct packed *packed, const struct product *p,
                           const struct block *block, size_t first, const int nv,
                           const enum epilogue epilogue)
{
    const int rows = TILE_ROWS(nv);
    size_t row = block->row, end = block->end;
    struct ahead ahead = next_panel(packed, block, first, (end - row) / (size_t)rows);
    for (; row + (size_t)rows <= end; row += (size_t)rows, ahead.at += ahead.step)
        multiply_tile(packed, p, block, row, first, rows, nv, epilogue, ahead.at,
                      ahead.at < ahead.end ? ahead.lines : 0);
    if (row + 4 <= end) {
        multiply_tile(packed, p, block, row, first, 4, nv, epilogue, NULL, 0);
        row += 4;
    }
    for (; row + 2 <= end; row += 2)
        multiply_tile(packed, p, block, row, first, 2, nv, epilogue, NULL, 0);
    if (row < end)
        multiply_tile(packed, p, block, row, first, 1, nv, epilogue, NULL, 0);
}

/* What the panel that starts at `column` of y has stored, which is still in a near cache. */
static void activate_panel(const struct product *p, const struct block *block, size_t column)
{
    size_t left = p->y_columns - column, wide = PANEL * VL;
    if (column < p->y_columns)
        md__activate(p->activation, p->y + block->row * p->y_stride + column, p->y_stride,
                     block->end - block->row, left < wide ? left : wide);
}

INLINE void multiply_block(const struct packed *packed, const struct product *p,
                           const struct block *block, size_t first, size_t end,
                           const enum epilogue epilogue)
{
    for (; first < end; first += PANEL) {
        size_t width = packed->vectors - first;
        if (width >= PANEL)
            multiply_panel(packed, p, block, first, PANEL, epilogue);
#if PANEL == 4
        else if (width == 3)
            multiply_panel(packed, p, block, first, 3, epilogue);
        else if (width == 2)
            multiply_panel(packed, p, block, first, 2, epilogue);
#endif
        else
            multiply_panel(packed, p, block, first, 1, epilogue);
        if (p->activation && block->finishes)
            activate_panel(p, block, first * VL - block->first_column);
    }
}

static void multiply_kind(const struct packed *packed, const struct product *p,
                          const struct block *block, size_t first, size_t end)
{
    switch (p->epilogue) {
    case ELU:
        multiply_block(packed, p, block, first, end, ELU);
        break;
    case GLU:
        multiply_block(packed, p, block, first, end, GLU);
        break;
    default:
        multiply_block(packed, p, block, first, end, PLAIN);
    }
}

/* Weights above this many floats leave no room beside them in the second-level cache. */
#define FAR_FLOATS ((size_t)256 << 10)

void md__multiply_panels(const struct packed *packed, const struct product *p, size_t begin,
                         size_t end)
{
    size_t first = begin * PANEL, last = end * PANEL, inputs = packed->inputs;
    last = last < packed->vectors ? last : packed->vectors;
    bool cut = inputs > INPUT_BLOCK && p->epilogue != GLU;
    bool far = cut || inputs * packed->vectors * VL > FAR_FLOATS;
    size_t rows = far ? LONG_ROW_BLOCK : ROW_BLOCK;
    struct block block = {.first_column = first * VL};
#if defined(MD_ISA_amx)
    if (packed->tiles && p->rows >= FEW_ROWS)
        block.end = md__multiply_tiles(packed, p, first, last);
#endif
    for (block.row = block.end; block.row < p->rows; block.row = block.end) {
        block.end = block.row + rows < p->rows ? block.row + rows : p->rows;
        block.fetches = far || block.row == 0;
        block.k = 0;
        do {
            block.k_end = cut && inputs - block.k > INPUT_BLOCK ? block.k + INPUT_BLOCK : inputs;
            block.starts = block.k == 0;
            block.finishes = block.k_end == inputs;
            multiply_kind(packed, p, &block, first, last);
            block.k = block.k_end;
        } while (block.k < inputs);
    }
}

static size_t panels_of(const struct packed *packed)
{
    return (packed->vectors + PANEL - 1) / PANEL;
}

void md__multiply(const struct packed *packed, const struct product *p)
{
    md__multiply_panels(packed, p, 0, panels_of(packed));
}

struct split_product {
    const struct packed *packed;
    const struct product *whole;
};

/* Items are blocks of rows, whose bounds decide which rows make a tile: never the thread count. (On
 * AMX it does decide whether the last few rows go on tiles or not.) */
static void multiply_rows(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct split_product *split = context;
    size_t row = begin * ROW_BLOCK, last = end * ROW_BLOCK, rows = split->whole->rows;
    struct product part = product_rows(split->whole, row, (last < rows ? last : rows) - row);
    md__multiply(split->packed, &part);
}

static void multiply_columns(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct split_product *split = context;
    struct product part = *split->whole;
    size_t column = begin * PANEL * VL >> split->packed->paired;
    part.y += column;
    part.addend = part.addend ? part.addend + column : NULL;
    part.y_columns -= column;
    md__multiply_panels(split->packed, &part, begin, end);
}

/* Items are CELL_ROWS rows of one panel, panel after panel. */
#define CELL_ROWS (ROW_BLOCK / 2)

static void multiply_cells(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct split_product *split = context;
    size_t rows = split->whole->rows, blocks = (rows + CELL_ROWS - 1) / CELL_ROWS;
    while (begin < end) {
        size_t panel = begin / blocks, first = begin % blocks;
        size_t some = end - begin < blocks - first ? end - begin : blocks - first;
        size_t row = first * CELL_ROWS, last = (first + some) * CELL_ROWS;
        struct product part = product_rows(split->whole, row, (last < rows ? last : rows) - row);
        size_t column = panel * PANEL * VL >> split->packed->paired;
        part.y += column;
        part.addend = part.addend ? part.addend + column : NULL;
        part.y_columns -= column;
        md__multiply_panels(split->packed, &part, panel, panel + 1);
        begin += some;
    }
}

/* How much longer than all threads' even share the busiest takes, with `pieces` of equal size that
 * cover `whole` of them. */
static double unevenness(double whole, size_t pieces, size_t threads)
{
    return (double)((pieces + threads - 1) / threads) * (double)threads / whole;
}

enum split { SPLIT_ROWS, SPLIT_PANELS, SPLIT_CELLS };

/*
 * Rows or panels? Whichever leaves no thread idle at the end; and else what leaves each thread the
 * smaller part to read that it does not share. Both, when neither goes well with the threads.
 */
static enum split split_of(const struct packed *packed, size_t rows, size_t threads)
{
    size_t panels = panels_of(packed), blocks = (rows + ROW_BLOCK - 1) / ROW_BLOCK;
    double cells = (double)rows / CELL_ROWS * (double)packed->vectors / PANEL;
    double by_rows = unevenness((double)rows / ROW_BLOCK, blocks, threads);
    double by_panels = unevenness((double)packed->vectors / PANEL, panels, threads);
    double by_cells = unevenness(cells, (size_t)(cells + 1), threads);
    if (rows < ROW_BLOCK / 2)
        return panels > 1 ? SPLIT_PANELS : SPLIT_ROWS;
    if (by_cells * 1.05 < by_rows && by_cells * 1.05 < by_panels)
        return SPLIT_CELLS;
    if (by_panels > by_rows * 1.05 || by_rows > by_panels * 1.05)
        return by_panels < by_rows ? SPLIT_PANELS : SPLIT_ROWS;
    return packed->vectors * VL > rows ? SPLIT_PANELS : SPLIT_ROWS;
}

void md__multiply_parallel(struct md_pool *pool, const struct packed *packed,
                           const struct product *product)
{
    struct split_product split = {packed, product};
    size_t threads = pool ? (size_t)md_pool_threads(pool) : 1, panels = panels_of(packed);
    enum split how = threads > 1 ? split_of(packed, product->rows, threads) : SPLIT_ROWS;
    if (how == SPLIT_CELLS) {
        size_t cost = CELL_ROWS * (packed->inputs * PANEL / 2 + PANEL * 8);
        size_t cells = (product->rows + CELL_ROWS - 1) / CELL_ROWS * panels;
        md__parallel(pool, cells, md__grain(cost), multiply_cells, &split);
        return;
    }
    if (how == SPLIT_PANELS) {
        size_t cost = product->rows * (packed->inputs * PANEL / 2 + PANEL * 8);
        size_t reading = packed->inputs * PANEL * VL / 3; /* from the third-level cache */
        cost = cost > reading ? cost : reading;
        md__parallel(pool, panels, md__grain(cost), multiply_columns, &split);
        return;
    }
    size_t cost = (packed->inputs * packed->vectors / 2 + packed->vectors * 8) * ROW_BLOCK;
    size_t blocks = (product->rows + ROW_BLOCK - 1) / ROW_BLOCK;
    md__parallel(pool, blocks, md__grain(cost), multiply_rows, &split);
}
