/*
 * Packing, and the product of rows with packed weights (linear.h).
 */
#include "kernels/cpu/isa/linear.h"

/* The column that lane 0 of packed vector v holds; *end is where that vector's columns end. */
static size_t column_of(size_t v, size_t columns, bool paired, size_t *end)
{
    size_t half = paired && v % 2 ? columns : 0;
    *end = half + columns;
    return half + (paired ? v / 2 : v) * VL;
}

struct packed md__pack(const struct unpacked *from, size_t inputs, size_t columns, bool paired,
                       float *memory)
{
    struct packed packed = packed_at(inputs, columns, paired, memory);
    memset(memory, 0, packed_floats(inputs, columns, paired) * sizeof *memory);
    for (size_t v = 0; from && v < packed.vectors; v++) {
        size_t end, column = column_of(v, columns, paired, &end);
        double gate = paired && v % 2 ? GATE_SCALE : 1;
        for (size_t lane = 0; lane < VL && column < end; lane++, column++) {
            const float *weight = from->weights + column * from->column_stride;
            for (size_t k = 0; k < inputs; k++)
                *packed_weight(&packed, k, v * VL + lane) =
                    (float)(weight[k * from->k_stride] * (from->scale * gate));
            if (from->bias)
                packed.bias[v * VL + lane] = (float)(from->bias[column] * gate);
        }
    }
    return packed;
}

INLINE void store_columns(float *y, size_t column, size_t columns, vf v)
{
    if (column + VL <= columns)
        store(y + column, v);
    else if (column < columns)
        store_some(y + column, v, columns - column);
}

INLINE vf load_columns(const float *from, size_t column, size_t columns)
{
    if (column + VL <= columns)
        return load(from + column);
    return column < columns ? load_some(from + column, columns - column) : (vf){0};
}

/* The GLU of a few rows whose values and gates alternate in `sum`. */
INLINE void store_gated(const struct product *p, vf sum[][PANEL], size_t column, float *y,
                        const int rows, const int pairs)
{
    vf value[GROUP], gate[GROUP];
    const int count = rows * pairs;
    EACH(count)
    {
        value[i] = sum[i / pairs][2 * (i % pairs)];
        gate[i] = sum[i / pairs][2 * (i % pairs) + 1];
    }
    gate_each(value, gate, count);
    EACH(count)
    store_columns(y + (size_t)(i / pairs) * p->y_stride, column + (size_t)(i % pairs) * VL,
                  p->y_columns, value[i]);
}

/* Rows [row, row + mr) of the product with the panel whose first vector is `first`. */
INLINE void multiply_tile(const struct packed *packed, const struct product *p, size_t row,
                          size_t first, const int mr, const int nv, const enum epilogue epilogue)
{
    vf sum[ROWS_MAX][PANEL];
#pragma GCC unroll 8
    for (int r = 0; r < mr; r++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++)
            sum[r][v] = load(packed->bias + (first + (size_t)v) * VL);

    const float *x = p->x + row * p->x_stride;
    const float *w = packed->weights + first * packed->inputs * VL;
    for (size_t k = 0; k < packed->inputs; k++, w += nv * VL) {
#pragma GCC unroll 8
        for (int r = 0; r < mr; r++) {
            vf input = splat(x[(size_t)r * p->x_stride + k]);
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++)
                sum[r][v] += input * *(const vf *)(w + v * VL);
        }
    }

    float *y = p->y + row * p->y_stride;
    if (epilogue == GLU) {
        const int together = nv == 4 && mr % 3 == 0 ? 3 : 1;
#pragma GCC unroll 8
        for (int r = 0; r < mr; r += together, y += (size_t)together * p->y_stride)
            store_gated(p, sum + r, first / 2 * VL, y, together, nv / 2);
        return;
    }
#pragma GCC unroll 8
    for (int r = 0; r < mr; r++, y += p->y_stride) {
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) {
            size_t column = (first + (size_t)v) * VL;
            vf out = sum[r][v];
            if (p->addend)
                out += load_columns(p->addend + (row + (size_t)r) * p->addend_stride, column,
                                    p->y_columns);
            store_columns(y, column, p->y_columns, epilogue == ELU ? velu_one(out) : out);
        }
    }
}

/* As many rows a tile as leave the accumulators in registers. */
#define TILE_ROWS(nv) ((nv) == PANEL ? 6 : ROWS_MAX)

/* Rows [row, end) by one panel of a width known when compiling. */
INLINE void multiply_panel(const struct packed *packed, const struct product *p, size_t row,
                           size_t end, size_t first, const int nv, const enum epilogue epilogue)
{
    const int rows = TILE_ROWS(nv);
    for (; row + (size_t)rows <= end; row += (size_t)rows)
        multiply_tile(packed, p, row, first, rows, nv, epilogue);
    for (; row + 2 <= end; row += 2)
        multiply_tile(packed, p, row, first, 2, nv, epilogue);
    if (row < end)
        multiply_tile(packed, p, row, first, 1, nv, epilogue);
}

/* What the panel that starts at `column` has stored, which still lies in L1. */
static void activate_panel(const struct product *p, size_t row, size_t end, size_t column)
{
    size_t left = p->y_columns - column, wide = PANEL * VL;
    md__activate(p->activation, p->y + row * p->y_stride + column, p->y_stride, end - row,
                 left < wide ? left : wide);
}

INLINE void multiply_block(const struct packed *packed, const struct product *p, size_t row,
                           size_t end, const enum epilogue epilogue)
{
    for (size_t first = 0; first < packed->vectors; first += PANEL) {
        size_t width = packed->vectors - first;
        if (width >= PANEL)
            multiply_panel(packed, p, row, end, first, PANEL, epilogue);
#if PANEL == 4
        else if (width == 3)
            multiply_panel(packed, p, row, end, first, 3, epilogue);
        else if (width == 2)
            multiply_panel(packed, p, row, end, first, 2, epilogue);
#endif
        else
            multiply_panel(packed, p, row, end, first, 1, epilogue);
        if (p->activation)
            activate_panel(p, row, end, first * VL);
    }
}

void md__multiply(const struct packed *packed, const struct product *p)
{
    for (size_t row = 0; row < p->rows; row += ROW_BLOCK) {
        size_t end = row + ROW_BLOCK < p->rows ? row + ROW_BLOCK : p->rows;
        switch (p->epilogue) {
        case ELU:
            multiply_block(packed, p, row, end, ELU);
            break;
        case GLU:
            multiply_block(packed, p, row, end, GLU);
            break;
        default:
            multiply_block(packed, p, row, end, PLAIN);
        }
    }
}

struct split_product {
    const struct packed *packed;
    const struct product *whole;
};

static void multiply_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct split_product *split = context;
    struct product part = product_rows(split->whole, begin, end - begin);
    md__multiply(split->packed, &part);
}

void md__multiply_parallel(struct md_pool *pool, const struct packed *packed,
                           const struct product *product)
{
    struct split_product split = {packed, product};
    size_t cost = packed->inputs * packed->vectors / 2 + packed->vectors * 8;
    size_t grain = (md__grain(cost) + ROW_BLOCK - 1) / ROW_BLOCK * ROW_BLOCK;
    md__parallel(pool, product->rows, grain, multiply_some, &split);
}
