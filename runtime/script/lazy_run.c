/*
 * Working formulas out; see lazy.h.
 *
 * All values are cut into planes, which lazy_plane.c works out. Leaves are read where they lie,
 * with a stride per axis (0 where one value stands for many).
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "script/lazy_program.h"

enum {
    ALIGN = 64,  /* a vector never crosses a line of the cache */
    TILE = 1024, /* values of a register: four kilobytes */
    PACKED_MAX = 8,
    ROWS_MIN = 4,            /* worth being worked out side by side */
    ROW_VALUES_MIN = 32,     /* worth being worked out one behind the other */
    WORK_ALONE_MAX = 1000000 /* not worth a second thread */
};
_Static_assert((int)TILE >= (int)MD__BOUND_VALUES, "registers hold the bounds of rows");

/* ---- walks ----------------------------------------------------------------------------------- */

/* How all values are cut into tiles: planes of `rows` x `count` values, along the last two axes of
 * `shape`. */
struct walk {
    const struct md__program *program;
    struct md_shape shape; /* with axes that are walked as one */
    int64_t (*stride)[MD_RANK_MAX];
    int64_t line_stride[MD_RANK_MAX]; /* of rows, by axes in front of the last */
    bool turned;                      /* planes are worked out as count x rows */
    int64_t tile_rows, tile_count;    /* of a whole tile */
    int64_t row_tiles, count_tiles, tiles;
    float *registers;
    float *out;
    const struct md_reduction *reduction; /* NULL: out takes the values */
};

/*
 * Neighbouring axes that every leaf crosses evenly become one, and those of length 1 go: a plane is
 * then as large as it can be, also in [servers, steps, 1]. The last `apart` axes stay. Not for
 * empty walks, whose dimensions may have a product beyond all numbers.
 */
static void merge_axes(struct walk *walk, int apart)
{
    int kept = 0, rank = walk->shape.rank, leaf_count = walk->program->leaf_count;
    for (int axis = 0; axis < rank; axis++) {
        int64_t dim = walk->shape.dim[axis];
        bool is_apart = axis >= rank - apart;
        if (dim == 1 && !is_apart)
            continue;
        bool joins = kept > 0 && !is_apart;
        for (int k = 0; k < leaf_count && joins; k++)
            joins = walk->stride[k][kept - 1] == walk->stride[k][axis] * dim;
        if (!joins)
            walk->shape.dim[kept++] = 1;
        walk->shape.dim[kept - 1] *= dim;
        for (int k = 0; k < leaf_count; k++)
            walk->stride[k][kept - 1] = walk->stride[k][axis];
    }
    walk->shape.rank = kept;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t dim_from_end(const struct walk *walk, int from_end)
{
    int axis = walk->shape.rank - from_end;
    return axis >= 0 ? walk->shape.dim[axis] : 1;
}

static void swap(int64_t *values, int a, int b)
{
    int64_t value = values[a];
    values[a] = values[b];
    values[b] = value;
}

/*
 * Reductions take planes of rows along the longest axis: what differs along the others (a condition
 * by metric) stands still within a plane. They are turned, so that the values of many rows lie side
 * by side, unless there are only a few.
 */
static void choose_planes(struct walk *walk)
{
    int rank = walk->shape.rank, longest = 0;
    if (walk->reduction == NULL || rank < 2)
        return;
    for (int axis = 1; axis < rank - 1; axis++)
        longest = walk->shape.dim[axis] > walk->shape.dim[longest] ? axis : longest;
    walk->turned = walk->shape.dim[longest] >= ROWS_MIN;
    swap(walk->shape.dim, longest, rank - 2);
    swap(walk->line_stride, longest, rank - 2);
    for (int k = 0; k < walk->program->leaf_count; k++)
        swap(walk->stride[k], longest, rank - 2);
}

static void plan_tiles(struct walk *walk)
{
    int64_t lines = 1;
    for (int axis = walk->shape.rank - 2; axis >= 0; axis--) {
        walk->line_stride[axis] = lines;
        lines *= walk->shape.dim[axis];
    }
    choose_planes(walk);
    int64_t count = dim_from_end(walk, 1), rows = dim_from_end(walk, 2);
    bool is_plain = walk->program->step_count <= 1; /* nothing lies in between */
    walk->tile_count = smaller(count, TILE);
    walk->tile_rows = walk->tile_count < count ? 1 : smaller(rows, TILE / smaller(count, TILE));
    if (walk->reduction != NULL) {
        walk->tile_rows = smaller(rows, walk->turned ? MD_REDUCE_RUNS_MAX : 1);
    } else if (is_plain) {
        walk->tile_count = count;
        walk->tile_rows = rows;
    }
    walk->row_tiles = (rows + walk->tile_rows - 1) / walk->tile_rows;
    walk->count_tiles =
        walk->reduction != NULL ? 1 : (count + walk->tile_count - 1) / walk->tile_count;
    walk->tiles = lines / rows * walk->row_tiles * walk->count_tiles;
}

/* Where the leaves are at a place of the outer axes, row and column. Returns which row of all it
 * is. */
static int64_t place_leaves(const struct walk *walk, int64_t outer, int64_t row, int64_t column,
                            struct md_plane *leaves)
{
    int64_t at[MD_RANK_MAX], line = 0;
    int rank = walk->shape.rank;
    for (int axis = rank - 3; axis >= 0; axis--) {
        at[axis] = outer % walk->shape.dim[axis];
        outer /= walk->shape.dim[axis];
        line += at[axis] * walk->line_stride[axis];
    }
    for (int k = 0; k < walk->program->leaf_count; k++) {
        const int64_t *stride = walk->stride[k];
        struct md_plane *leaf = &leaves[k];
        leaf->stride = rank >= 1 ? (ptrdiff_t)stride[rank - 1] : 0;
        leaf->row_stride = rank >= 2 ? (ptrdiff_t)stride[rank - 2] : 0;
        leaf->data = md__leaf_data(&walk->program->leaves[k]) + row * leaf->row_stride +
                     column * leaf->stride;
        for (int axis = 0; axis < rank - 2; axis++)
            leaf->data += at[axis] * stride[axis];
    }
    return rank >= 2 ? line + row * walk->line_stride[rank - 2] : 0;
}

/* Where values are worked out, behind the registers; room for packed leaves follows. */
static float *values_at(const struct walk *walk, float *registers)
{
    return registers + (size_t)walk->program->register_count * TILE;
}

/* Rows and columns change places. A leaf that is the same for all values of a row, but not for all
 * rows, is brought together first, in one of PACKED_MAX places of TILE values; returns whether
 * there was one for all. */
static bool turn_leaves(const struct walk *walk, struct md_plane *leaves, int64_t rows,
                        float *registers)
{
    float *packed = values_at(walk, registers) + TILE, *end = packed + PACKED_MAX * TILE;
    bool fit = true;
    for (int k = 0; k < walk->program->leaf_count; k++) {
        struct md_plane leaf = {leaves[k].data, leaves[k].stride, leaves[k].row_stride};
        bool to_pack = leaf.row_stride == 0 && leaf.stride != 0;
        fit = fit && (!to_pack || packed < end);
        if (to_pack && packed < end) {
            md_vector_body_of(MD_VECTOR_copy)(packed, &leaf, 1, rows);
            leaf = (struct md_plane){packed, 0, 1};
            packed += TILE;
        }
        leaves[k] = leaf;
    }
    return fit;
}

/* Values of each row, worked out some at a time, join what the rows come to. */
static void reduce_planes(const struct walk *walk, const struct md_plane *leaves,
                          const int8_t *picks, bool turned, int64_t rows, int64_t count,
                          float *registers, struct md_reducing *reducing)
{
    float *values = values_at(walk, registers);
    struct md_plane at[MD__LEAVES_MAX];
    memcpy(at, leaves, (size_t)walk->program->leaf_count * sizeof *at);
    for (int64_t done = 0; done < count; done += TILE / rows) {
        int64_t part = smaller(TILE / rows, count - done);
        struct md_runs runs = {values, rows, turned ? 1 : part, part, turned ? rows : 1};
        md__program_run(walk->program, at, picks, turned ? part : rows, turned ? rows : part,
                        registers, TILE, values);
        md_reduce_add(reducing, &runs);
        for (int k = 0; k < walk->program->leaf_count; k++)
            at[k].data += part * (turned ? at[k].row_stride : at[k].stride);
    }
}

/* Whole rows, whose results are out_stride apart. What is there already is not copied. */
static void reduce_rows(const struct walk *walk, const struct md_plane *leaves, const int8_t *picks,
                        bool turned, int64_t rows, int64_t count, float *out, int64_t out_stride,
                        float *registers)
{
    const struct md_plane *leaf = turned ? NULL : md__program_leaf(walk->program, leaves, picks);
    struct md_reducing reducing;
    md_reduce_begin(&reducing, walk->reduction, rows);
    do {
        if (leaf != NULL) {
            struct md_runs runs = {leaf->data, rows, leaf->row_stride, count, leaf->stride};
            md_reduce_add(&reducing, &runs);
        } else {
            reduce_planes(walk, leaves, picks, turned, rows, count, registers, &reducing);
        }
    } while (md_reduce_again(&reducing));
    md_reduce_end(&reducing, out, out_stride);
}

/* Rows one behind the other, as many at a time as fill the registers; moves the leaves on. */
static void reduce_in_turn(const struct walk *walk, struct md_plane *leaves, const int8_t *picks,
                           int64_t rows, int64_t count, float *out, int64_t out_stride,
                           float *registers)
{
    bool is_leaf = md__program_leaf(walk->program, leaves, picks) != NULL;
    int64_t at_once = is_leaf ? rows : smaller(rows, count < TILE ? TILE / count : 1);
    for (int64_t row = 0; row < rows; row += at_once) {
        reduce_rows(walk, leaves, picks, false, smaller(at_once, rows - row), count,
                    out + row * out_stride, out_stride, registers);
        for (int k = 0; k < walk->program->leaf_count; k++)
            leaves[k].data += at_once * leaves[k].row_stride;
    }
}

/* Turned rows whose leaves are packed, one behind the other where there are fewer of them than of
 * their values. */
static void reduce_packed(const struct walk *walk, const struct md_plane *leaves,
                          const int8_t *picks, int64_t rows, int64_t count, float *out,
                          float *registers)
{
    struct md_plane back[MD__LEAVES_MAX];
    if (rows >= count) {
        reduce_rows(walk, leaves, picks, true, rows, count, out, 1, registers);
        return;
    }
    for (int k = 0; k < walk->program->leaf_count; k++)
        back[k] = (struct md_plane){leaves[k].data, leaves[k].stride, leaves[k].row_stride};
    reduce_in_turn(walk, back, picks, rows, count, out, 1, registers);
}

/* Likewise of turned rows, whose leaves are packed: extremes that stand at an end are not looked
 * for. False: there is nothing to be said of these rows. */
static bool reduce_by_ends(const struct walk *walk, struct md_plane *leaves, const int8_t *picks,
                           int64_t rows, int64_t count, float *out, int64_t out_stride,
                           float *registers)
{
    float best[MD_REDUCE_RUNS_MAX], sign = walk->reduction->op == MD_REDUCE_amax ? 1 : -1;
    bool known[MD_REDUCE_RUNS_MAX];
    int64_t open[MD_REDUCE_RUNS_MAX], open_count = 0;
    if (!md__program_extremes(walk->program, leaves, picks, rows, count, sign, registers, TILE,
                              values_at(walk, registers), best, known))
        return false;
    for (int64_t row = 0; row < rows; row++) {
        out[row * out_stride] = best[row];
        open[open_count] = row;
        open_count += !known[row];
    }
    for (int k = 0; k < walk->program->leaf_count; k++) {
        if (leaves[k].row_stride != 0 || leaves[k].stride != 1)
            continue; /* not packed: the same for all rows, or not read */
        float *packed = registers + (leaves[k].data - registers);
        for (int64_t i = 0; i < open_count; i++)
            packed[i] = packed[open[i]];
    }
    if (open_count > 0)
        reduce_packed(walk, leaves, picks, open_count, count, best, registers);
    for (int64_t i = 0; i < open_count; i++)
        out[open[i] * out_stride] = best[i];
    return true;
}

/* Whether a leaf that is read lies row by row: turned, its values would be far apart. */
static bool lies_in_rows(const struct md__program *program, const struct md_plane *leaves,
                         const int8_t *picks)
{
    bool found = false;
    for (int i = 0; i < program->step_count; i++)
        for (int k = 0; k < program->steps[i].operands; k++) {
            int value = program->steps[i].in[k];
            bool is_read = value < 0 && (picks[i] == 0 || picks[i] == k);
            if (is_read && leaves[~value].stride == 1)
                found |= leaves[~value].row_stride != 0 && leaves[~value].row_stride != 1;
        }
    return found;
}

/* All rows of a tile: turned, or as many at a time as fill the registers. */
static void reduce_tile(const struct walk *walk, struct md_plane *leaves, const int8_t *picks,
                        int64_t rows, int64_t count, int64_t line, float *registers)
{
    int rank = walk->shape.rank, op = walk->reduction->op;
    int64_t out_stride = rank >= 2 ? walk->line_stride[rank - 2] : 0;
    float *out = walk->out + line;
    bool is_long = count >= ROW_VALUES_MIN,
         is_leaf = md__program_leaf(walk->program, leaves, picks);
    bool in_rows = is_long && lies_in_rows(walk->program, leaves, picks);
    if (walk->turned && !is_leaf && !in_rows) {
        bool by_ends = turn_leaves(walk, leaves, rows, registers) && is_long &&
                       (op == MD_REDUCE_amax || op == MD_REDUCE_amin);
        if (!by_ends ||
            !reduce_by_ends(walk, leaves, picks, rows, count, out, out_stride, registers))
            reduce_rows(walk, leaves, picks, true, rows, count, out, out_stride, registers);
        return;
    }
    reduce_in_turn(walk, leaves, picks, rows, count, out, out_stride, registers);
}

static void run_tile(const struct walk *walk, int64_t tile, float *registers)
{
    struct md_plane leaves[MD__LEAVES_MAX];
    int8_t picks[MD__STEPS_MAX];
    int64_t rows_all = dim_from_end(walk, 2), count_all = dim_from_end(walk, 1);
    int64_t inner = walk->row_tiles * walk->count_tiles;
    int64_t row = tile % inner / walk->count_tiles * walk->tile_rows;
    int64_t column = tile % walk->count_tiles * walk->tile_count;
    int64_t rows = smaller(walk->tile_rows, rows_all - row);
    int64_t count = smaller(walk->tile_count, count_all - column);
    int64_t line = place_leaves(walk, tile / inner, row, column, leaves);
    md__program_pick(walk->program, leaves, picks);
    if (walk->reduction != NULL)
        reduce_tile(walk, leaves, picks, rows, count_all, line, registers);
    else
        md__program_run(walk->program, leaves, picks, rows, count, registers, TILE,
                        walk->out + line * count_all + column);
}

static size_t registers_of_thread(const struct walk *walk)
{
    int beside = walk->reduction == NULL ? 0 : walk->turned ? 1 + PACKED_MAX : 1;
    return (size_t)(walk->program->register_count + beside) * TILE;
}

static void run_tiles(void *context, size_t begin, size_t end, int thread)
{
    struct walk *walk = context;
    float *registers = walk->registers + (size_t)thread * registers_of_thread(walk);
    for (size_t tile = begin; tile < end; tile++)
        run_tile(walk, (int64_t)tile, registers);
}

static void walk_init(struct walk *walk, const struct md__program *program,
                      int64_t (*stride)[MD_RANK_MAX], int apart)
{
    walk->program = program;
    walk->shape = program->shape;
    walk->stride = stride;
    for (int k = 0; k < program->leaf_count; k++)
        memcpy(stride[k], program->leaves[k].stride, sizeof *stride);
    merge_axes(walk, apart);
}

static enum md_status walk_run(struct walk *walk, struct md_pool *pool, struct md_error *err)
{
    bool alone =
        pool == NULL ||
        (double)md__program_count(walk->program) * walk->program->step_count < WORK_ALONE_MAX;
    int threads = alone ? 1 : md_pool_threads(pool);
    plan_tiles(walk);
    size_t size = (size_t)threads * registers_of_thread(walk) * sizeof(float);
    walk->registers = aligned_alloc(ALIGN, size > 0 ? size : ALIGN);
    if (walk->registers == NULL)
        return md_fail(err, MD_ERR_MEMORY, "out of memory for a lazy tensor");
    if (alone)
        run_tiles(walk, 0, (size_t)walk->tiles, 0);
    else
        md_pool_run(pool, (size_t)walk->tiles, 1 + (size_t)walk->tiles / 64, run_tiles, walk);
    free(walk->registers);
    return MD_OK;
}

enum md_status md__apply(enum md_vector_op op, const struct md__operand *operands,
                         const struct md_shape *shape, float *out, struct md_error *err)
{
    struct md__leaf leaves[MD_VECTOR_OPERANDS_MAX];
    struct md__step step = md__step_of(op);
    int64_t stride[MD_VECTOR_OPERANDS_MAX][MD_RANK_MAX];
    struct md__program program = {
        .shape = *shape, .leaves = leaves, .steps = &step, .step_count = 1};
    struct walk walk = {.out = out};
    for (int k = 0; k < md_vector_operands(op); k++) {
        enum md_status status = md__program_add(&program, &operands[k], &step.in[k], err);
        if (status != MD_OK)
            return status;
    }
    if (md__program_count(&program) == 0)
        return MD_OK;
    walk_init(&walk, &program, stride, 0);
    plan_tiles(&walk);
    run_tiles(&walk, 0, (size_t)walk.tiles, 0);
    return MD_OK;
}

enum md_status md__lazy_compute(const struct md__lazy *lazy, struct md_pool *pool, float *out,
                                struct md_error *err)
{
    int64_t stride[MD__LEAVES_MAX][MD_RANK_MAX];
    struct walk walk = {.out = out};
    if (md__program_count(&lazy->program) == 0)
        return MD_OK;
    walk_init(&walk, &lazy->program, stride, 0);
    return walk_run(&walk, pool, err);
}

/* Rows without values, as many as there are. */
static void reduce_nothing(const struct md_shape *shape, const struct md_reduction *what,
                           float *out)
{
    struct md_shape rows = *shape;
    size_t count;
    rows.rank--;
    if (shape->dim[rows.rank] > 0 || md_shape_count(&rows, sizeof(float), &count, NULL) != MD_OK)
        return;
    for (size_t row = 0; row < count; row++)
        md_reduce(what, &(struct md_runs){.runs = 1}, out + row);
}

enum md_status md__lazy_reduce(const struct md__lazy *lazy, struct md_pool *pool,
                               const struct md_reduction *what, float *out, struct md_error *err)
{
    const struct md_shape *shape = &lazy->program.shape;
    int64_t stride[MD__LEAVES_MAX][MD_RANK_MAX];
    struct walk walk = {.out = out, .reduction = what};
    assert(shape->rank > 0);
    if (md__program_count(&lazy->program) == 0) {
        reduce_nothing(shape, what, out);
        return MD_OK;
    }
    walk_init(&walk, &lazy->program, stride, 1);
    return walk_run(&walk, pool, err);
}
