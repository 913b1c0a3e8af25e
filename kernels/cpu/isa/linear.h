/*
 * The dense product that every matrix kernel here is made of: rows of x times packed weights, with
 * what follows the product (bias, a context term, ELU, the gate of a GLU) done while the result is
 * still in registers.
 *
 * Packing. Columns are grouped in vectors of VL, vectors in panels of up to PANEL; a panel stores
 * for each input k its vectors side by side: [panel][k][vector][VL], zero-padded. A tile of up to
 * ROWS_MAX rows by one panel accumulates in registers (24 of 32, or 12 of 16).
 *
 * Blocking. Long sums are cut every INPUT_BLOCK inputs: what was summed waits in y, and that piece
 * of a panel serves LONG_ROW_BLOCK rows from the second-level cache. Cutting changes no result: a
 * sum's order stays k = 0, 1, 2, ... (a single row alone adds even and odd inputs apart).
 * For a GLU the columns are interleaved by vector, value 0, gate 0, value 1, gate 1, ..., so that a
 * value and its gate meet in one tile; weights and biases of gates are multiplied by GATE_SCALE.
 */
#ifndef MD_KERNELS_CPU_ISA_LINEAR_H
#define MD_KERNELS_CPU_ISA_LINEAR_H

#include "kernels/cpu/isa/activation.h"
#include "kernels/cpu/isa/math.h"
#include "kernels/cpu/isa/tiles.h"

#define PANEL    (VECTOR_REGISTERS / 8)
#define ROWS_MAX 8
/* Rows of x that pass through all panels together: small enough to stay in L1. A multiple of 6
 * and 8. */
#define ROW_BLOCK 48
/* Inputs summed at a time, and rows that then pass together: a multiple of ROW_BLOCK. */
#define INPUT_BLOCK    512
#define LONG_ROW_BLOCK 192

struct packed {
    size_t inputs;
    size_t columns; /* floats of a result row: half the weights' columns for a GLU */
    size_t vectors; /* of weights */
    bool paired;    /* interleaved for a GLU */
    float *bias;    /* vectors * VL, in packed order */
    float *weights;
    float *tiles; /* the same for AMX's tiles: [vector][chunk][part], tiles.h; NULL: none */
};

/* Where the weights come from: element (k, column) is at weights[k * k_stride + column *
 * column_stride]. */
struct unpacked {
    const float *weights, *bias; /* bias may be NULL */
    size_t k_stride, column_stride;
    float scale; /* multiplies weights, not bias */
};

enum epilogue { PLAIN, ELU, GLU }; /* ELU: of sums times ELU_SCALE (math.h) */

/* y = epilogue(x * packed + bias + addend), row by row. */
struct product {
    const float *x;
    size_t x_stride, rows;
    const float *addend;  /* NULL, or rows of packed->columns (not for a GLU) */
    size_t addend_stride; /* 0: the same for all rows */
    float *y;
    size_t y_stride;
    size_t y_columns; /* floats that may be written in a row: columns, or more up to the padding */
    enum epilogue epilogue;
    const struct md_activation *activation; /* comes last; NULL: none */
};

/* Floats that `weights` needs; bias needs vectors * VL. */
INLINE size_t packed_floats(size_t inputs, size_t columns, bool paired)
{
    size_t vectors = vectors_of(columns) << paired;
    return (inputs + 1) * vectors * VL;
}

/* Where bias and weights lie in memory that md__pack filled. */
INLINE struct packed packed_at(size_t inputs, size_t columns, bool paired, float *memory)
{
    struct packed packed = {.inputs = inputs,
                            .columns = columns,
                            .vectors = vectors_of(columns) << paired,
                            .paired = paired,
                            .bias = memory};
    packed.weights = memory + packed.vectors * VL;
    return packed;
}

#define md__pack MD_ISA_SYMBOL(md__pack)
/*
 * Lays weights out at `memory` (packed_floats floats, aligned to 64) and describes them. Without
 * `from` all are 0.
 */
struct packed md__pack(const struct unpacked *from, size_t inputs, size_t columns, bool paired,
                       float *memory);

/*
 * Weights that AMX's tiles multiply in less time than vectors, which lie in memory a second time
 * for them, half as large again: 96 cycles for 16 rows, a vector of columns and a chunk of inputs
 * against half a cycle for a row, a vector and an input. All of them stay in the second-level
 * cache.
 */
#define TILED_CHUNKS  16
#define TILED_WEIGHTS ((size_t)256 << 10)

INLINE bool may_tile(size_t inputs, size_t columns)
{
    return inputs > 0 && inputs <= TILED_CHUNKS * 32 && inputs * padded(columns) <= TILED_WEIGHTS;
}

/* Floats that md__pack_tiles needs. */
INLINE size_t tiled_floats_of(size_t inputs, size_t columns, bool paired)
{
#if defined(MD_ISA_amx)
    return (vectors_of(columns) << paired) * parts_floats(inputs);
#else
    (void)inputs;
    (void)columns;
    (void)paired;
    return 0;
#endif
}

/* The same; 0 where vectors are as quick. */
INLINE size_t tiled_floats(size_t inputs, size_t columns, bool paired)
{
    size_t vectors = vectors_of(columns) << paired, chunks = (inputs + 31) / 32;
    bool pays = vectors && (96 + 160 / vectors) * chunks + 16 < 8 * inputs;
    if (!pays || !may_tile(inputs, columns << paired))
        return 0;
    return tiled_floats_of(inputs, columns, paired);
}

#if defined(MD_ISA_amx)
#define md__pack_tiles MD_ISA_SYMBOL(md__pack_tiles)
/* Lays the packed weights out for tiles as well, at `memory` (tiled_floats floats, aligned to 64);
 * false: there are some that cannot be cut into parts, and vectors multiply as before. */
bool md__pack_tiles(struct packed *packed, float *memory);

#define md__multiply_tiles MD_ISA_SYMBOL(md__multiply_tiles)
/* Vectors [first, last) of the columns for the first rows of a product with packed->tiles; how many
 * rows. y points to the first column. */
size_t md__multiply_tiles(const struct packed *packed, const struct product *p, size_t first,
                          size_t last);
#else
INLINE bool md__pack_tiles(struct packed *packed, float *memory)
{
    (void)packed;
    (void)memory;
    return false;
}
#endif

#define md__pack_vector MD_ISA_SYMBOL(md__pack_vector)
/* Packed vector v alone: `lanes` columns of `from` starting at `column`, times `scale`. */
void md__pack_vector(const struct packed *packed, size_t v, const struct unpacked *from,
                     size_t column, size_t lanes, double scale);

/* Where the weight of input k lies for a packed column: v * VL + lane of packed vector v. */
INLINE float *packed_weight(const struct packed *packed, size_t k, size_t column)
{
    size_t v = column / VL, panel = v / PANEL, left = packed->vectors - panel * PANEL;
    size_t width = left > PANEL ? PANEL : left;
    return packed->weights + (panel * PANEL * packed->inputs + k * width + v % PANEL) * VL +
           column % VL;
}

#define md__multiply MD_ISA_SYMBOL(md__multiply)
void md__multiply(const struct packed *packed, const struct product *product);

#define md__multiply_panels MD_ISA_SYMBOL(md__multiply_panels)
/* Only the columns of panels [begin, end), of PANEL vectors each; y points to the first column. */
void md__multiply_panels(const struct packed *packed, const struct product *product, size_t begin,
                         size_t end);

#define md__multiply_parallel MD_ISA_SYMBOL(md__multiply_parallel)
/* The same with the rows, or the panels, split over the pool. */
void md__multiply_parallel(struct md_pool *pool, const struct packed *packed,
                           const struct product *product);

/* The part of a product that starts at row `begin` and has `rows` rows. */
INLINE struct product product_rows(const struct product *whole, size_t begin, size_t rows)
{
    struct product part = *whole;
    part.x += begin * part.x_stride;
    part.y += begin * part.y_stride;
    if (part.addend)
        part.addend += begin * part.addend_stride;
    part.rows = rows;
    return part;
}

#endif
