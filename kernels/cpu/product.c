/*
 * The dense product of any dtype: see product.h.
 */
#include "kernels/cpu/product.h"

#include "kernels/cpu/blocks.h"

#define ROW_CHUNK 128 /* rows that share one gathered tile */

void md__product_matmul(struct md__product *product, const struct md_tensor *a,
                        const struct md_tensor *b, const struct md_tensor *out)
{
    struct md_shape left = a->shape, right = b->shape;
    product->inner = (size_t)left.dim[left.rank - 1];
    product->rows = left.rank > 1 ? (size_t)left.dim[left.rank - 2] : 1;
    product->columns = right.rank > 1 ? (size_t)right.dim[right.rank - 1] : 1;
    product->a.tensor = a;
    product->a.row = (int64_t)product->inner;
    product->a.column = product->b.column = 1;
    product->a.matrix = product->rows * product->inner;
    product->b.tensor = b;
    product->b.row = (int64_t)product->columns;
    product->b.matrix = product->inner * product->columns;
    int lead = out->shape.rank - (left.rank > 1) - (right.rank > 1);
    left.rank = left.rank > 2 ? left.rank - 2 : 0;
    right.rank = right.rank > 2 ? right.rank - 2 : 0;
    md__walk_init(&product->batch, lead, out->shape.dim);
    md__walk_broadcast(&product->batch, 0, &left);
    md__walk_broadcast(&product->batch, 1, &right);
    product->matrices = md__span(&out->shape, 0, lead);
}

size_t md__product_scratch(size_t inner, int threads)
{
    return inner * (MD__TILE + 1) * sizeof(double) * (size_t)threads;
}

size_t md__product_which(const struct md_tensor *tensor, size_t matrix, size_t i, size_t count)
{
    size_t given = md__count(tensor);
    return given == 1 ? 0 : given > count ? matrix * count + i : i;
}

/* One piece of work: some rows of one matrix against one tile. */
struct piece {
    const struct md__product *product;
    size_t matrix, a_matrix, b_matrix; /* of the result; of each operand */
    size_t column, width;
    double *tile, *row; /* [inner][MD__TILE], [inner]; int64s when the product is not real */
};

static void gather(const struct md__operand *operand, size_t at, int64_t step, size_t count,
                   bool real, void *to)
{
    if (real)
        md__load_floats(operand->tensor, at, step, count, to);
    else
        md__load_ints(operand->tensor, at, step, count, to);
}

static void take_off(double *line, size_t n, int64_t zero, bool real)
{
    if (real)
        line[n] -= (double)zero;
    else
        ((int64_t *)line)[n] -= zero;
}

static void gather_tile(const struct piece *piece)
{
    const struct md__product *product = piece->product;
    const struct md__operand *b = &product->b;
    int64_t zero[MD__TILE] = {0};
    for (size_t n = 0; b->zero && n < piece->width; n++)
        zero[n] = md__get_int(b->zero, md__product_which(b->zero, piece->b_matrix,
                                                         piece->column + n, product->columns));
    for (size_t k = 0; k < product->inner; k++) {
        int64_t at = (int64_t)(piece->b_matrix * b->matrix) + (int64_t)k * b->row +
                     (int64_t)piece->column * b->column;
        double *line = piece->tile + k * MD__TILE;
        gather(b, (size_t)at, b->column, piece->width, product->real, line);
        for (size_t n = 0; b->zero && n < piece->width; n++)
            take_off(line, n, zero[n], product->real);
        for (size_t n = piece->width; n < MD__TILE; n++)
            line[n] = 0; /* the bits of int64 0, too */
    }
}

static void gather_row(const struct piece *piece, size_t m)
{
    const struct md__product *product = piece->product;
    const struct md__operand *a = &product->a;
    int64_t at = (int64_t)(piece->a_matrix * a->matrix) + (int64_t)m * a->row;
    gather(a, (size_t)at, a->column, product->inner, product->real, piece->row);
    if (!a->zero)
        return;
    int64_t zero =
        md__get_int(a->zero, md__product_which(a->zero, piece->a_matrix, m, product->rows));
    for (size_t k = 0; k < product->inner; k++)
        take_off(piece->row, k, zero, product->real);
}

/* A tile's sums as vectors, which stay in registers. Wider ones where the processor has them: the
 * same additions in the same order, and never fused, so that results are the same everywhere. */
typedef double lanes __attribute__((vector_size(32), aligned(8)));
enum { LANES = sizeof(lanes) / sizeof(double), VECTORS = MD__TILE / LANES };

/* Sanitizers do not survive the resolver that picks one at start. */
#if defined(__x86_64__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) &&                \
    !defined(__SANITIZE_THREAD__)
__attribute__((target_clones("avx2", "default")))
#endif
static void
sum_real(const double *restrict row, const double *restrict tile, size_t inner,
         double *restrict out)
{
    lanes sum[VECTORS] = {{0}};
    for (size_t k = 0; k < inner; k++) {
        const lanes *line = (const lanes *)(tile + k * MD__TILE);
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            sum[v] += row[k] * line[v];
    }
    for (int v = 0; v < VECTORS; v++)
        ((lanes *)out)[v] = sum[v];
}

static void sum_integer(const int64_t *restrict row, const int64_t *restrict tile, size_t inner,
                        int64_t *restrict out)
{
    uint64_t sum[MD__TILE] = {0};
    for (size_t k = 0; k < inner; k++)
        for (int n = 0; n < MD__TILE; n++)
            sum[n] += (uint64_t)row[k] * (uint64_t)tile[k * MD__TILE + (size_t)n];
    for (int n = 0; n < MD__TILE; n++)
        out[n] = (int64_t)sum[n];
}

static void multiply_rows(const struct piece *piece, size_t begin, size_t end)
{
    const struct md__product *product = piece->product;
    double real[MD__TILE];
    int64_t integer[MD__TILE];
    struct md__sums sums = {.matrix = piece->matrix,
                            .column = piece->column,
                            .count = piece->width,
                            .real = product->real ? real : NULL,
                            .integer = product->real ? NULL : integer};
    for (sums.row = begin; sums.row < end; sums.row++) {
        gather_row(piece, sums.row);
        if (product->real)
            sum_real(piece->row, piece->tile, product->inner, real);
        else
            sum_integer((const int64_t *)piece->row, (const int64_t *)piece->tile, product->inner,
                        integer);
        product->finish(product->context, &sums);
    }
}

static size_t divided_up(size_t count, size_t by)
{
    return (count + by - 1) / by;
}

/* Items count row chunks fastest, then tiles, then matrices; a tile is kept while it serves. */
static void product_some(void *context, size_t begin, size_t end, int thread)
{
    const struct md__product *product = context;
    size_t chunks = divided_up(product->rows, ROW_CHUNK);
    size_t tiles = divided_up(product->columns, MD__TILE);
    struct piece piece = {.product = product};
    piece.tile = product->scratch + (size_t)thread * product->inner * (MD__TILE + 1);
    piece.row = piece.tile + product->inner * MD__TILE;
    for (size_t i = begin; i < end; i++) {
        size_t chunk = i % chunks, tile = i / chunks % tiles;
        if (i == begin || chunk == 0) {
            struct md__walk batch = product->batch;
            piece.matrix = i / chunks / tiles;
            md__walk_seek(&batch, piece.matrix);
            piece.a_matrix = (size_t)batch.at[0];
            piece.b_matrix = (size_t)batch.at[1];
            piece.column = tile * MD__TILE;
            size_t left = product->columns - piece.column;
            piece.width = left < MD__TILE ? left : MD__TILE;
            gather_tile(&piece);
        }
        size_t last = (chunk + 1) * ROW_CHUNK;
        multiply_rows(&piece, chunk * ROW_CHUNK, last < product->rows ? last : product->rows);
    }
}

void md__product_run(const struct md__product *product, struct md_pool *pool)
{
    size_t chunks = divided_up(product->rows, ROW_CHUNK);
    size_t items = product->matrices * divided_up(product->columns, MD__TILE) * chunks;
    size_t rows = product->rows < ROW_CHUNK ? product->rows : ROW_CHUNK;
    struct md__product shared = *product;
    md__parallel(pool, items, md__grain(rows * product->inner * 8), product_some, &shared);
}
