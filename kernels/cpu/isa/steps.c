/*
 * LSTM, GRU and RNN by units, with all their attributes, made of dense products (linear.h).
 *
 * The products with x of many steps are one product, ahead of the steps; a batch of enough rows has
 * each step's with its products with h. In a step each thread computes some units of all rows, a
 * chunk of PANEL vectors after the other: products with h, then cells, whose sums so never leave
 * the second-level cache. The next step begins when all threads are done. A thread's share of the
 * recurrent weights stays in that cache from step to step, which is what a small batch needs; going
 * by rows (recurrent.c) would read all weights again each step. Every other step goes through the
 * chunks backwards: of a share that is too large, as of 4 MB for two threads, what was read last is
 * still there.
 *
 * Sums lie interleaved: vector v * gates + g holds gate g of the units v * VL ..; x and h have sums
 * of their own, each with its half of the bias. The original GRU multiplies r h, which needs r of
 * all units: its third gate is a product of its own, in a second phase of the step, for which the
 * sums of the first are kept.
 */
#include <math.h>
#include <stdatomic.h>

#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/steps_cells.h"

#define AHEAD_ROWS   96                  /* of x multiplied at once, or more */
#define AHEAD_FLOATS ((size_t)512 << 10) /* of their sums, or less */
#define PARTS_MAX    64

/* ---- a run ----------------------------------------------------------------------------------- */

struct run {
    const struct packed_steps *p;
    struct sequence seq;
    struct cells cells;
    size_t vectors, chunks;   /* of units, and PANEL of these */
    size_t ahead;             /* steps whose x is multiplied at once */
    bool joined;              /* ... each step's with its chunks instead */
    bool from_zero;           /* the first state is 0 */
    size_t step;              /* the one being run */
    bool resets;              /* its second phase */
    size_t unit_parts, parts; /* parts of the units, and those times parts of the rows */
    _Atomic uint64_t taken;   /* parts, in this phase */
    float *of_x[2];           /* sums of `ahead` steps, a direction each */
    float *of_chunk[SIDES];   /* [slot][batch][side's columns of a chunk]: see chunk_sums */
    float *h[2], *c, *reset;  /* [direction][batch][vectors * VL]; reset: r h */
};

static size_t chunks_of(const struct packed_steps *p)
{
    return (vectors_of(p->units) + PANEL - 1) / PANEL;
}

/* Parts of the units: each a number of chunks. */
static size_t unit_parts_of(const struct packed_steps *p, size_t threads)
{
    size_t chunks = chunks_of(p);
    threads = threads < PARTS_MAX ? threads : PARTS_MAX;
    return threads < chunks ? threads : chunks;
}

/* What steps multiply with x: `ahead` of them at once, or each its own chunk by chunk. */
struct plan {
    size_t ahead;
    bool joined;
};

/* All steps at once where rows of one step lie at different times. */
static struct plan plan_of(const struct md_node *node, const struct packed_steps *p, size_t steps,
                           size_t batch, bool ragged)
{
    bool forward = strcmp(md_node_string(node, "direction", "forward"), "forward") == 0;
    size_t columns = side_columns(p, OF_X);
    if (md_node_int(node, "layout", 0) || (ragged && !forward) || batch == 0)
        return (struct plan){.ahead = steps};
    if (batch >= AHEAD_ROWS && !p->original)
        return (struct plan){.ahead = 1, .joined = true};
    size_t most = columns ? AHEAD_FLOATS / (batch * columns) : steps;
    size_t least = (AHEAD_ROWS + batch - 1) / batch;
    size_t ahead = most > least ? most : least;
    return (struct plan){.ahead = ahead < steps ? ahead : steps};
}

struct room {
    size_t x, chunk[SIDES], state; /* floats of each of the run's arrays */
};

INLINE size_t chunk_columns(const struct packed_steps *p, enum side side)
{
    return side_gates(p, side) * PANEL * VL;
}

static struct room room_of(const struct packed_steps *p, size_t batch, const struct plan *plan,
                           size_t unit_parts)
{
    size_t kept = p->original ? p->directions * chunks_of(p) : unit_parts;
    return (struct room){
        .x = plan->joined ? 0 : plan->ahead * batch * side_columns(p, OF_X),
        .chunk = {[OF_X] = plan->joined ? unit_parts * batch * chunk_columns(p, OF_X) : 0,
                  [OF_H] = kept * batch * chunk_columns(p, OF_H),
                  [OF_RESET] = unit_parts * batch * chunk_columns(p, OF_RESET)},
        .state = p->directions * batch * padded(p->units)};
}

size_t md__steps_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                         int threads)
{
    struct packed_steps p = md__steps_shape(node, in, in_count);
    bool batch_first = md_node_int(node, "layout", 0) != 0;
    size_t steps = (size_t)in[0].shape.dim[batch_first];
    size_t batch = (size_t)in[0].shape.dim[!batch_first];
    struct plan plan = plan_of(node, &p, steps, batch, md__has(in, in_count, 4));
    struct room room = room_of(&p, batch, &plan, unit_parts_of(&p, (size_t)threads));
    size_t packed = md__steps_constant(in, in_count) ? 0 : (p.all_bytes + 63) / 64 * 64;
    size_t floats = p.directions * room.x + 4 * room.state;
    for (int side = 0; side < SIDES; side++)
        floats += room.chunk[side];
    return packed + floats * sizeof(float);
}

/* Where the sums of x for `row` at this step lie. */
INLINE const float *x_sums(const struct run *run, size_t d, size_t row)
{
    const struct sequence *seq = &run->seq;
    size_t columns = side_columns(run->p, OF_X), when = step_of(seq, d, row, run->step);
    if (run->ahead == seq->steps)
        return run->of_x[d] +
               (seq->batch_first ? row * seq->steps + when : when * seq->batch + row) * columns;
    return run->of_x[d] + (run->step % run->ahead * seq->batch + row) * columns;
}

/* The product of x with its weights for the steps from this one on. */
static void multiply_ahead(struct run *run)
{
    const struct sequence *seq = &run->seq;
    bool all = run->ahead == seq->steps;
    size_t left = seq->steps - run->step, steps = left < run->ahead ? left : run->ahead;
    for (size_t d = 0; d < seq->directions; d++) {
        struct packed packed = packed_side(run->p, d, OF_X);
        /* Backwards step by step, so that the sums lie in the order in which they are wanted. */
        size_t pieces = all || !runs_back(seq, d) ? 1 : steps;
        for (size_t i = 0; i < pieces; i++) {
            size_t when = all                                    ? 0
                          : pieces == steps && runs_back(seq, d) ? seq->steps - 1 - run->step - i
                                                                 : run->step;
            struct product product = {.x = (const float *)seq->call->in[0].data +
                                           when * seq->batch * seq->inputs,
                                      .x_stride = seq->inputs,
                                      .rows = steps / pieces * seq->batch,
                                      .y = run->of_x[d] + i * seq->batch * packed.columns,
                                      .y_stride = packed.columns,
                                      .y_columns = packed.columns};
            md__multiply_parallel(seq->call->pool, &packed, &product);
        }
    }
}

/* ---- a chunk of units in one row ----------------------------------------------------------- */

/* Some units of some rows; u: which part of the units they belong to. */
struct part {
    size_t u, v, v_end, row, row_end;
};

/* A chunk's sums with x, h and r h in one row, from its first vector on. */
struct sums {
    const float *x, *h, *reset;
};

/* The cells of a chunk in one row. */
static void run_cells(const struct run *run, const struct part *chunk, size_t d, size_t row,
                      const struct sums *sums)
{
    const struct sequence *seq = &run->seq;
    const struct packed_steps *p = run->p;
    size_t at = d * seq->batch + row, wide = run->vectors * VL, gates = p->gates;
    size_t h_gates = side_gates(p, OF_H);
    const float *before = run->h[run->step % 2] + at * wide;
    float *after = run->h[(run->step + 1) % 2] + at * wide, *c = run->c + at * wide;
    float *y = seq->call->out[0].data;
    if (y)
        y +=
            step_of(seq, d, row, run->step) * seq->y_step + row * seq->y_row + d * seq->y_direction;
    bool live = is_live(seq, row, run->step);
    for (size_t v = chunk->v; v < chunk->v_end; v++) {
        struct cell cell = {.state = load(before + v * VL)};
        size_t i = v - chunk->v;
        if (!live) {
            store(after + v * VL, cell.state);
            if (y)
                store_upto(y + v * VL, (vf){0}, p->units - v * VL);
            continue;
        }
        for (size_t g = 0; g < gates; g++)
            cell.x[g] = load(sums->x + (i * gates + g) * VL);
        for (size_t g = 0; g < h_gates; g++)
            cell.h[g] = load(sums->h + (i * h_gates + g) * VL);
        if (p->original)
            cell.h[2] = load(sums->reset + i * VL);
        if (gates == 4)
            cell.c = load(c + v * VL);
        run_cell(&run->cells, d, v, &cell);
        if (gates == 4)
            store(c + v * VL, cell.c);
        store(after + v * VL, cell.state);
        if (y)
            store_upto(y + v * VL, cell.state, p->units - v * VL);
    }
}

/* The original GRU's r h of a chunk in one row. */
static void reset_states(const struct run *run, const struct part *chunk, size_t d, size_t row,
                         const struct sums *sums)
{
    size_t at = (d * run->seq.batch + row) * run->vectors * VL;
    for (size_t v = chunk->v; v < chunk->v_end; v++) {
        size_t i = v - chunk->v;
        store(run->reset + at + v * VL,
              reset_state(&run->cells, d, sums->x + (i * 3 + 1) * VL, sums->h + (i * 2 + 1) * VL,
                          load(run->h[run->step % 2] + at + v * VL)));
    }
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* Units in whole chunks. */
static struct part part_of(const struct run *run, size_t i)
{
    size_t row_parts = run->parts / run->unit_parts, batch = run->seq.batch;
    size_t u = i % run->unit_parts, r = i / run->unit_parts;
    struct part part = {.u = u,
                        .v = u * run->chunks / run->unit_parts * PANEL,
                        .v_end = (u + 1) * run->chunks / run->unit_parts * PANEL,
                        .row = r * batch / row_parts,
                        .row_end = (r + 1) * batch / row_parts};
    part.v_end = part.v_end < run->vectors ? part.v_end : run->vectors;
    return part;
}

/*
 * Where a chunk's sums begin, of its first row: all chunks of a part use the same memory, but for
 * those that the original GRU wants again in its second phase.
 */
static float *chunk_sums(const struct run *run, const struct part *chunk, size_t d, enum side side)
{
    bool kept = run->p->original && side == OF_H;
    size_t slot = kept ? d * run->chunks + chunk->v / PANEL : chunk->u;
    return run->of_chunk[side] + (slot * run->seq.batch + chunk->row) * chunk_columns(run->p, side);
}

/* What a side of the product reads of the part's first row. */
static struct product product_of(const struct run *run, const struct part *part, size_t d,
                                 enum side side)
{
    const struct sequence *seq = &run->seq;
    size_t at = d * seq->batch + part->row, wide = run->vectors * VL;
    struct product product = {.x = (side == OF_H ? run->h[run->step % 2] : run->reset) + at * wide,
                              .x_stride = wide,
                              .rows = part->row_end - part->row};
    if (side == OF_X) {
        product.x_stride = seq->x_row;
        product.x = (const float *)seq->call->in[0].data +
                    step_of(seq, d, part->row, run->step) * seq->x_step + part->row * seq->x_row;
    }
    return product;
}

/* A chunk's sums: bias and product, or the bias alone of a state that is 0. */
static const float *multiply_chunk(const struct run *run, const struct part *chunk, size_t d,
                                   enum side side)
{
    struct packed packed = packed_side(run->p, d, side);
    size_t gates = side_gates(run->p, side), column = chunk->v * gates * VL;
    size_t count = (chunk->v_end - chunk->v) * gates * VL, stride = chunk_columns(run->p, side);
    float *y = chunk_sums(run, chunk, d, side);
    if (run->step == 0 && side == OF_H && run->from_zero) {
        for (size_t row = 0; row < chunk->row_end - chunk->row; row++)
            memcpy(y + row * stride, packed.bias + column, count * sizeof *y);
        return y;
    }
    struct product product = product_of(run, chunk, d, side);
    product.y = y;
    product.y_stride = stride;
    product.y_columns = count;
    size_t panel = column / (PANEL * VL);
    md__multiply_panels(&packed, &product, panel, panel + (count / VL + PANEL - 1) / PANEL);
    return y;
}

static void run_chunk(const struct run *run, const struct part *chunk, size_t d)
{
    const struct packed_steps *p = run->p;
    size_t x_stride = chunk_columns(p, OF_X), h_stride = chunk_columns(p, OF_H);
    const float *x = run->joined ? multiply_chunk(run, chunk, d, OF_X) : NULL;
    const float *reset = run->resets ? multiply_chunk(run, chunk, d, OF_RESET) : NULL;
    const float *h =
        run->resets ? chunk_sums(run, chunk, d, OF_H) : multiply_chunk(run, chunk, d, OF_H);
    for (size_t row = chunk->row, i = 0; row < chunk->row_end; row++, i++) {
        struct sums sums = {.x = x ? x + i * x_stride
                                   : x_sums(run, d, row) + chunk->v * p->gates * VL,
                            .h = h + i * h_stride,
                            .reset = reset ? reset + i * PANEL * VL : NULL};
        if (p->original && !run->resets)
            reset_states(run, chunk, d, row, &sums);
        else
            run_cells(run, chunk, d, row, &sums);
    }
}

/* All chunks of a part, in both directions, forwards and backwards in turn. */
static void run_part(const struct run *run, const struct part *part)
{
    size_t chunks = (part->v_end - part->v + PANEL - 1) / PANEL;
    size_t all = chunks * run->seq.directions;
    for (size_t i = 0; i < all; i++) {
        size_t at = run->step % 2 ? all - 1 - i : i;
        struct part chunk = *part;
        chunk.v = part->v + at % chunks * PANEL;
        chunk.v_end = part->v_end - chunk.v < PANEL ? part->v_end : chunk.v + PANEL;
        run_chunk(run, &chunk, at / chunks);
    }
}

/*
 * Each item is one part, whichever: a thread prefers the one that it had in the step before, whose
 * weights it still holds.
 */
static void run_some(void *context, size_t begin, size_t end, int thread)
{
    struct run *run = context;
    for (; begin < end; begin++) {
        size_t mine = (size_t)thread % run->parts;
        uint64_t bit = (uint64_t)1 << mine;
        while (atomic_fetch_or(&run->taken, bit) & bit) {
            mine = (mine + 1) % run->parts;
            bit = (uint64_t)1 << mine;
        }
        struct part part = part_of(run, mine);
        run_part(run, &part);
    }
}

static void run_phase(struct run *run, bool resets)
{
    run->resets = resets;
    atomic_store(&run->taken, 0);
    md__parallel(run->seq.call->pool, run->parts, 1, run_some, run);
}

/* As many parts as threads, of units while there are chunks of them, and of rows beyond that. */
static void divide(struct run *run)
{
    struct md_pool *pool = run->seq.call->pool;
    size_t threads = pool ? (size_t)md_pool_threads(pool) : 1, rows = 1;
    threads = threads < PARTS_MAX ? threads : PARTS_MAX;
    run->chunks = chunks_of(run->p);
    run->unit_parts = unit_parts_of(run->p, threads);
    if (run->unit_parts)
        rows = threads / run->unit_parts;
    rows = rows < run->seq.batch ? rows : run->seq.batch;
    run->parts = run->unit_parts * rows;
}

static void place(struct run *run, const struct plan *plan, float *memory)
{
    struct room room = room_of(run->p, run->seq.batch, plan, run->unit_parts);
    for (size_t d = 0; d < run->seq.directions; d++, memory += room.x)
        run->of_x[d] = memory;
    for (int side = 0; side < SIDES; memory += room.chunk[side++])
        run->of_chunk[side] = memory;
    run->h[0] = memory;
    run->h[1] = run->h[0] + room.state;
    run->c = run->h[1] + room.state;
    run->reset = run->c + room.state;
}

static void run_sequence(struct run *run)
{
    const struct sequence *seq = &run->seq;
    size_t wide = run->vectors * VL;
    for (size_t d = 0; d < seq->directions; d++)
        load_states(seq, d, 0, seq->batch, wide, run->h[0], run->c);
    for (run->step = 0; run->step < seq->steps; run->step++) {
        if (!run->joined && run->step % run->ahead == 0)
            multiply_ahead(run);
        run_phase(run, false);
        if (run->p->original)
            run_phase(run, true);
    }
    for (size_t d = 0; d < seq->directions; d++)
        store_states(seq, d, 0, seq->batch, wide, run->h[seq->steps % 2], run->c);
}

static void read_cells(struct run *run)
{
    const struct md_kernel_call *call = run->seq.call;
    struct cells *cells = &run->cells;
    *cells = (struct cells){.p = run->p,
                            .call = call,
                            .clip = (float)md_node_float(call->node, "clip", INFINITY),
                            .input_forget = md_node_int(call->node, "input_forget", 0) != 0,
                            .peeks = md__has(call->in, call->in_count, 7)};
    md__rnn_read_activations(call->node, (int)run->seq.directions, cells->activations);
}

enum md_status md__steps_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct run run = {.p = call->prepared, .seq = sequence_of(call)};
    enum md_status status = check_lengths(&run.seq, err);
    if (status != MD_OK || run.seq.batch == 0 || run.seq.units == 0)
        return status;
    char *memory = call->scratch;
    if (run.p == NULL) {
        struct packed_steps *packed = call->scratch;
        *packed = md__steps_shape(call->node, call->in, call->in_count);
        md__steps_pack(packed, call->in, call->in_count);
        memory += (packed->all_bytes + 63) / 64 * 64;
        run.p = packed;
    }
    read_cells(&run);
    run.vectors = vectors_of(run.seq.units);
    struct plan plan =
        plan_of(call->node, run.p, run.seq.steps, run.seq.batch, run.seq.lengths != NULL);
    run.ahead = plan.ahead;
    run.joined = plan.joined;
    run.from_zero = starts_at_zero(&run.seq);
    divide(&run);
    place(&run, &plan, (float *)memory);
    run_sequence(&run);
    return MD_OK;
}
