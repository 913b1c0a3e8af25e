/*
 * The recurrence of recurrent.c on AMX's tiles (tiles.h), for batches of some rows a thread.
 *
 * A thread's rows are groups of up to 16, which take turns: a group's step is a turn. Tiles hold
 * the rows as side a, x and h cut into parts, and the weights as side b; the four sums of 16 units
 * meet in memory, where the cells take them up. The products of the next turn come before the cells
 * of this one, whose first the processor begins meanwhile. Where a thread has one group only, whose
 * cells the next products of h wait for, those of x alone are done ahead. Finer turns of products
 * and cells cost more than they hide: for some 256 cycles after an instruction on tiles one of the
 * two vector units does not multiply.
 *
 * Inputs are paired as cells make them: of 32, k and k + 16 side by side.
 * Weights: [direction][unit block][chunk of x, then of h][column][part][tile]; a GRU's x has no
 * column 3, its h no column 2.
 */
#ifndef MD_KERNELS_CPU_ISA_RECURRENT_TILES_H
#define MD_KERNELS_CPU_ISA_RECURRENT_TILES_H

#include "kernels/cpu/isa/recurrent_rows.h"
#include "kernels/cpu/isa/tiles.h"

#if defined(MD_ISA_amx)

#define GROUP_ROWS   16 /* at most */
#define ROWS_MIN     4  /* fewer a group are better off in registers */
#define PANEL_FLOATS (PARTS * TILE_FLOATS)
#define SUMS         (4 * TILE_FLOATS) /* of a group, for one block of units */

INLINE size_t chunks_of(const struct packed_cells *packed)
{
    return tile_chunks(packed->inputs) + tile_chunks(packed->units);
}

INLINE size_t columns_of(const struct packed_cells *packed)
{
    return packed->gru ? 3 : 4;
}

INLINE size_t tile_block_floats(const struct packed_cells *packed)
{
    return chunks_of(packed) * columns_of(packed) * PANEL_FLOATS;
}

/* ---- packing --------------------------------------------------------------------------------- */

/* One row of weights, for x or for h, into lane `lane` of its block's column: chunks follow each
 * other `columns` panels apart. False when tiles cannot have it. */
static bool pack_lane(const float *weights, size_t width, double scale, size_t lane, size_t columns,
                      float *to)
{
    for (size_t k = 0; k < width; k++) {
        float weight = (float)(weights[k] * scale);
        size_t in = k % TILE_INPUTS, at = in % VL * 2 + in / VL;
        if (!may_cut(weight))
            return false;
        put_weight(weight, at, lane, true, to + k / TILE_INPUTS * columns * PANEL_FLOATS);
    }
    return true;
}

/* ---- panels: products of 32 inputs with the 16 weights of a column ----------------------------
 */

/* The panels of a turn that are to come: those of chunks [begin, end) of every block. */
struct panels {
    const float *weights, *bias; /* of the next panel, of its block */
    const float *x, *h;          /* parts */
    float *sums;                 /* of the block */
    size_t chunk, column, blocks;
    size_t begin, end, x_chunks, columns, skipped; /* floats of a block's other weights */
};

#define ADD_PANEL(sum)                                                                             \
    do {                                                                                           \
        if (first)                                                                                 \
            _tile_loadd(sum, from, apart);                                                         \
        _tile_loadd(7, weights, 64);                                                               \
        _tile_dpbf16ps(sum, 6, 7);                                                                 \
        _tile_dpbf16ps(sum, 5, 7);                                                                 \
        _tile_dpbf16ps(sum, 4, 7);                                                                 \
        _tile_loadd(7, weights + TILE_FLOATS, 64);                                                 \
        _tile_dpbf16ps(sum, 5, 7);                                                                 \
        _tile_dpbf16ps(sum, 4, 7);                                                                 \
        _tile_loadd(7, weights + 2 * TILE_FLOATS, 64);                                             \
        _tile_dpbf16ps(sum, 4, 7);                                                                 \
        if (last)                                                                                  \
            _tile_stored(sum, to, 64);                                                             \
    } while (0)

/* Sums are tiles 0 to 3, side a's parts 4 to 6, side b's pass through 7. */
INLINE void add_panel(struct panels *p, const bool gru)
{
    bool of_h = p->chunk >= p->x_chunks;
    bool first = p->chunk == p->begin, last = p->chunk + 1 == p->end;
    const float *weights = p->weights;
    size_t column = p->column;
    if (gru && column == 2) {
        column += of_h;
        first = first || p->chunk == p->x_chunks;
        last = last || p->chunk + 1 == p->x_chunks;
    }
    bool begun = p->begin > 0 && !(gru && column == 3);
    float *to = p->sums + column * TILE_FLOATS;
    const float *from = begun ? to : p->bias + column * VL;
    size_t apart = begun ? 64 : 0;
    __asm__ volatile("" : : : "memory"); /* GCC 12 does not know that tiles are loaded from it */
    if (p->column == 0) {
        const float *a =
            of_h ? p->h + (p->chunk - p->x_chunks) * PANEL_FLOATS : p->x + p->chunk * PANEL_FLOATS;
        _tile_loadd(4, a, 64);
        _tile_loadd(5, a + TILE_FLOATS, 64);
        _tile_loadd(6, a + 2 * TILE_FLOATS, 64);
    }
    switch (column) {
    case 0:
        ADD_PANEL(0);
        break;
    case 1:
        ADD_PANEL(1);
        break;
    case 2:
        ADD_PANEL(2);
        break;
    default:
        ADD_PANEL(3);
    }
    __asm__ volatile("" : : : "memory");
    p->weights += PANEL_FLOATS;
    if (++p->column < p->columns)
        return;
    p->column = 0;
    if (++p->chunk < p->end)
        return;
    p->chunk = p->begin;
    p->weights += p->skipped;
    p->bias += 4 * VL;
    p->sums += SUMS;
    p->blocks--;
}

INLINE void add_panels(struct panels panels, const bool gru)
{
    while (panels.blocks > 0)
        add_panel(&panels, gru);
}

/* ---- turns ----------------------------------------------------------------------------------- */

/* Groups of one direction through the whole sequence. Turns count all groups of a step, then those
 * of the next; what `[2]` have is of every other turn. */
struct turns {
    const struct recurrence *rec;
    size_t d, first, groups, x_chunks, h_chunks;
    float *sums[2], *x[2];
    float *h; /* parts: [group][chunk]; of a single group, twice */
};

struct turn {
    size_t at, step, row, rows;
};

INLINE struct turn turn_of(const struct turns *turns, size_t at)
{
    size_t group = turns->first + at % turns->groups;
    size_t row = group_begin(turns->rec, group);
    return (struct turn){at, at / turns->groups, row, group_begin(turns->rec, group + 1) - row};
}

/* Parts of h before a turn. */
INLINE float *h_parts(const struct turns *turns, size_t at)
{
    return turns->h +
           (turns->groups == 1 ? at % 2 : at % turns->groups) * turns->h_chunks * PANEL_FLOATS;
}

INLINE struct panels panels_of(const struct turns *turns, size_t at, bool of_x, bool of_h)
{
    const struct packed_cells *packed = turns->rec->packed;
    size_t block = turns->d * packed->blocks, columns = columns_of(packed);
    struct panels p = {.x = turns->x[at % 2],
                       .h = h_parts(turns, at),
                       .sums = turns->sums[at % 2],
                       .bias = packed->memory + bias_of(packed, block),
                       .blocks = packed->blocks,
                       .begin = of_x ? 0 : turns->x_chunks,
                       .end = turns->x_chunks + (of_h ? turns->h_chunks : 0),
                       .x_chunks = turns->x_chunks,
                       .columns = columns};
    p.chunk = p.begin;
    p.skipped = tile_block_floats(packed) - (p.end - p.begin) * columns * PANEL_FLOATS;
    p.weights = packed->memory + packed->tiles + block * tile_block_floats(packed) +
                p.begin * columns * PANEL_FLOATS;
    return p;
}

/* What the cells of turn `at` wait for, or the next ones, as far as it can be done. */
INLINE void multiply(const struct turns *turns, size_t at, const bool gru)
{
    bool next = at + 1 < turns->rec->seq.steps * turns->groups, single = turns->groups == 1;
    if (single)
        add_panels(panels_of(turns, at, false, true), gru);
    if (next)
        add_panels(panels_of(turns, at + 1, true, !single), gru);
}

/* ---- parts ----------------------------------------------------------------------------------- */

/* Of 32 inputs of a turn's rows [begin, end). */
INLINE void split_x(const struct turns *turns, const struct turn *turn, size_t chunk, size_t begin,
                    size_t end)
{
    const struct sequence *seq = &turns->rec->seq;
    const float *x = (const float *)seq->call->in[0].data + chunk * TILE_INPUTS;
    float *to = turns->x[turn->at % 2] + chunk * PANEL_FLOATS;
    size_t left = seq->inputs - chunk * TILE_INPUTS;
    for (size_t r = begin; r < end; r++) {
        size_t row = turn->row + r, when = step_of(seq, turns->d, row, turn->step);
        const float *from = x + when * seq->x_step + row * seq->x_row;
        vf odd = left > VL ? load_upto(from + VL, left - VL) : (vf){0};
        split_pair(load_upto(from, left), odd, to + r * VL);
    }
}

/* A block's share of the chunks of a turn's x, and a piece's share of its rows. */
INLINE void split_share(const struct turns *turns, const struct turn *turn, size_t block,
                        size_t blocks, size_t piece, size_t pieces)
{
    size_t begin = piece * turn->rows / pieces, end = (piece + 1) * turn->rows / pieces;
    if (turn->step < turns->rec->seq.steps)
        for (size_t chunk = block; chunk < turns->x_chunks; chunk += blocks)
            split_x(turns, turn, chunk, begin, end);
}

/* All of a turn's x. */
static void split_turn(const struct turns *turns, size_t at)
{
    struct turn turn = turn_of(turns, at);
    for (size_t chunk = 0; chunk < turns->x_chunks; chunk++)
        split_share(turns, &turn, chunk, turns->x_chunks, 0, 1);
}

INLINE float *states_of(const struct turns *turns, float *states, size_t row)
{
    const struct packed_cells *packed = turns->rec->packed;
    return states + (turns->d * turns->rec->seq.batch + row) * packed->blocks * VL;
}

/* The first parts of h of all groups. */
static void split_states(const struct turns *turns)
{
    size_t blocks = turns->rec->packed->blocks;
    for (size_t at = 0; at < turns->groups; at++) {
        struct turn turn = turn_of(turns, at);
        for (size_t r = 0; r < turn.rows; r++)
            for (size_t block = 0; block < blocks; block += 2) {
                const float *h = states_of(turns, turns->rec->h[0], turn.row + r) + block * VL;
                vf odd = block + 1 < blocks ? load(h + VL) : (vf){0};
                split_pair(load(h), odd, h_parts(turns, at) + block / 2 * PANEL_FLOATS + r * VL);
            }
    }
}

/* ---- cells ----------------------------------------------------------------------------------- */

/* Rows [r, r + rows) of a turn, one block of units, and the parts of the new h where the block
 * completes a chunk. */
INLINE void cell_rows(const struct turns *turns, const struct turn *turn, size_t block, size_t r,
                      const int rows, const bool gru)
{
    const struct recurrence *rec = turns->rec;
    size_t blocks = rec->packed->blocks, stride = blocks * VL, first = turn->row + r;
    size_t left = rec->packed->units - block * VL;
    const float *sums = turns->sums[turn->at % 2] + block * SUMS + r * VL;
    float *h_at = states_of(turns, rec->h[0], first) + block * VL;
    float *c_at = gru ? NULL : states_of(turns, rec->c, first) + block * VL;
    float *y = rec->seq.call->out[0].data;
    vf sum[GROUP][4], c[GROUP] = {{0}}, h[GROUP];
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int gate = 0; gate < 4; gate++)
            sum[i][gate] = *(const vf *)(sums + gate * TILE_FLOATS + i * VL);
    if (gru) {
        EACH(rows) h[i] = load(h_at + (size_t)i * stride);
        gru_cells(sum, h, rows);
    } else {
        EACH(rows) c[i] = load(c_at + (size_t)i * stride);
        lstm_cells(sum, c, h, rows);
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++) {
        size_t row = first + (size_t)i;
        bool live = is_live(&rec->seq, row, turn->step);
        if (!live)
            h[i] = load(h_at + (size_t)i * stride);
        else if (!gru)
            store(c_at + (size_t)i * stride, c[i]);
        store(h_at + (size_t)i * stride, h[i]);
        if (y == NULL)
            continue;
        size_t when = step_of(&rec->seq, turns->d, row, turn->step);
        float *to = y + when * rec->seq.y_step + row * rec->seq.y_row +
                    turns->d * rec->seq.y_direction + block * VL;
        store_upto(to, live ? h[i] : (vf){0}, left);
    }
    if (block % 2 == 1 || block + 1 == blocks) {
        float *to = h_parts(turns, turn->at + turns->groups) + block / 2 * PANEL_FLOATS + r * VL;
        for (int i = 0; i < rows; i++) {
            const float *pair = h_at + (size_t)i * stride;
            if (block % 2 == 1)
                split_pair(load(pair - VL), load(pair), to + i * VL);
            else
                split_pair(load(pair), (vf){0}, to + i * VL);
        }
    }
}

#define PIECE_ROWS 4 /* at most: chains enough */

INLINE void run_piece(const struct turns *turns, const struct turn *turn, size_t block, size_t r,
                      size_t rows, const bool gru)
{
    switch (rows) {
    case 1:
        cell_rows(turns, turn, block, r, 1, gru);
        break;
    case 2:
        cell_rows(turns, turn, block, r, 2, gru);
        break;
    case 3:
        cell_rows(turns, turn, block, r, 3, gru);
        break;
    default:
        cell_rows(turns, turn, block, r, 4, gru);
    }
}

/* Products, then the cells of turn `at`, and the parts of x of the turn after the next. */
INLINE void run_turn(const struct turns *turns, size_t at, const bool gru)
{
    struct turn turn = turn_of(turns, at), later = turn_of(turns, at + 2);
    size_t blocks = turns->rec->packed->blocks;
    size_t pieces = (turn.rows + PIECE_ROWS - 1) / PIECE_ROWS;
    multiply(turns, at, gru);
    for (size_t block = 0; block < blocks; block++)
        for (size_t piece = 0; piece < pieces; piece++) {
            size_t r = piece * turn.rows / pieces, end = (piece + 1) * turn.rows / pieces;
            run_piece(turns, &turn, block, r, end - r, gru);
            split_share(turns, &later, block, blocks, piece, pieces);
        }
}

/* ---- the sequence ---------------------------------------------------------------------------- */

/* Groups that share the batch evenly, as many for each thread; 0 when their rows would be few. */
static size_t tile_groups(const struct packed_cells *packed, size_t batch, size_t threads)
{
    size_t directions = packed->directions;
    size_t items = (batch + GROUP_ROWS - 1) / GROUP_ROWS * directions;
    items = (items + threads - 1) / threads * threads;
    size_t groups = (items + directions - 1) / directions;
    bool fits = packed->tiles > 0 && packed->inputs > 0;
    return fits && batch >= groups * ROWS_MIN ? groups : 0;
}

/* Floats of scratch: a thread's sums and parts of x, a group's parts of h, both twice. */
INLINE size_t turns_floats(const struct packed_cells *packed)
{
    return 2 * (packed->blocks * SUMS + tile_chunks(packed->inputs) * PANEL_FLOATS);
}

INLINE size_t group_floats(const struct packed_cells *packed)
{
    return 2 * tile_chunks(packed->units) * PANEL_FLOATS;
}

static size_t tiles_floats(const struct packed_cells *packed, size_t batch, size_t threads)
{
    size_t groups = tile_groups(packed, batch, threads);
    return groups == 0 ? 0
                       : threads * turns_floats(packed) +
                             groups * packed->directions * group_floats(packed);
}

static void run_turns(const struct turns *turns)
{
    size_t count = turns->rec->seq.steps * turns->groups;
    bool gru = turns->rec->packed->gru;
    split_states(turns);
    split_turn(turns, 0);
    split_turn(turns, 1);
    if (count > 0)
        add_panels(panels_of(turns, 0, true, turns->groups > 1), gru);
    for (size_t at = 0; at < count; at++)
        if (gru)
            run_turn(turns, at, true);
        else
            run_turn(turns, at, false);
}

/* Items are (direction, group), as in run_groups(). */
static void run_tiles(void *context, size_t begin, size_t end, int thread)
{
    const struct recurrence *rec = context;
    const struct packed_cells *packed = rec->packed;
    size_t stride = packed->blocks * VL, directions = packed->directions;
    struct turns turns = {.rec = rec,
                          .x_chunks = tile_chunks(packed->inputs),
                          .h_chunks = tile_chunks(packed->units)};
    float *own = rec->tiles + rec->groups * directions * group_floats(packed) +
                 (size_t)thread * turns_floats(packed);
    for (int i = 0; i < 2; i++) {
        turns.sums[i] = own + (size_t)i * packed->blocks * SUMS;
        turns.x[i] = own + 2 * packed->blocks * SUMS + (size_t)i * turns.x_chunks * PANEL_FLOATS;
    }
    tiles_begin_rows((rec->seq.batch + rec->groups - 1) / rec->groups);
    while (begin < end) {
        turns.d = begin / rec->groups;
        turns.first = begin % rec->groups;
        turns.groups = rec->groups - turns.first;
        turns.groups = end - begin < turns.groups ? end - begin : turns.groups;
        turns.h = rec->tiles + begin * group_floats(packed);
        size_t row = group_begin(rec, turns.first);
        size_t row_end = group_begin(rec, turns.first + turns.groups);
        load_states(&rec->seq, turns.d, row, row_end, stride, rec->h[0], rec->c);
        run_turns(&turns);
        store_states(&rec->seq, turns.d, row, row_end, stride, rec->h[0], rec->c);
        begin += turns.groups;
    }
    tiles_end();
}

#endif
#endif
