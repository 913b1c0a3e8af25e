/*
 * LSTM, GRU and RNN by units, with all their attributes, made of dense products (linear.h).
 *
 * The products with x of many steps are one product, ahead of the steps. In a step each thread
 * computes some units of all rows: their products with h, then their cells; the next step begins
 * when all threads are done. A thread's share of the recurrent weights so stays in its second-level
 * cache from step to step (two threads keep the 4 MB of an LSTM of 512 units nearly there), which
 * is what a small batch needs; going by rows (recurrent.c) would read all weights again each step.
 *
 * Sums lie interleaved: vector v * gates + g holds gate g of the units v * VL ..; x and h have sums
 * of their own, each with its half of the bias. The original GRU multiplies r h, which needs r of
 * all units: its third gate is a product of its own, in a second phase of the step.
 *
 * Usual cells get weights scaled for their activations (sequence.h). Others take the sums as they
 * are through any of the eleven functions, with clip, peepholes and input_forget.
 */
#include <math.h>
#include <stdatomic.h>

#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/sequence.h"
#include "kernels/cpu/isa/steps.h"

#define AHEAD_ROWS   96                  /* of x multiplied at once, or more */
#define AHEAD_FLOATS ((size_t)512 << 10) /* of their sums, or less */
#define PARTS_MAX    64

/* ---- a run ----------------------------------------------------------------------------------- */

struct run {
    const struct packed_steps *p;
    struct sequence seq;
    struct md__rnn_activation activations[MD__RNN_ACTIVATIONS];
    float clip;
    bool input_forget, peeks;
    size_t vectors;           /* of units */
    size_t ahead;             /* steps whose x is multiplied at once */
    size_t step;              /* the one being run */
    bool resets;              /* its second phase */
    size_t unit_parts, parts; /* parts of the units, and those times parts of the rows */
    _Atomic uint64_t taken;   /* parts, in this phase */
    float *of_x[2];           /* sums of `ahead` steps, a direction each */
    float *of_h, *of_reset;   /* [direction][batch][side's columns] */
    float *h[2], *c, *reset;  /* [direction][batch][vectors * VL]; reset: r h */
};

/* Steps multiplied ahead: all of them where rows of one step lie at different times. */
static size_t steps_ahead(const struct md_node *node, size_t steps, size_t batch, size_t columns,
                          bool ragged)
{
    bool forward = strcmp(md_node_string(node, "direction", "forward"), "forward") == 0;
    if (md_node_int(node, "layout", 0) || (ragged && !forward) || batch == 0)
        return steps;
    size_t most = columns ? AHEAD_FLOATS / (batch * columns) : steps;
    size_t least = (AHEAD_ROWS + batch - 1) / batch;
    size_t ahead = most > least ? most : least;
    return ahead < steps ? ahead : steps;
}

struct room {
    size_t x, h, reset, state; /* floats of each of the run's arrays */
};

static struct room room_of(const struct packed_steps *p, size_t batch, size_t ahead)
{
    size_t rows = p->directions * batch;
    return (struct room){.x = ahead * batch * side_columns(p, OF_X),
                         .h = rows * side_columns(p, OF_H),
                         .reset = rows * side_columns(p, OF_RESET),
                         .state = rows * padded(p->units)};
}

size_t md__steps_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                         int threads)
{
    (void)threads;
    struct packed_steps p = md__steps_shape(node, in, in_count);
    bool batch_first = md_node_int(node, "layout", 0) != 0;
    size_t steps = (size_t)in[0].shape.dim[batch_first];
    size_t batch = (size_t)in[0].shape.dim[!batch_first];
    struct room room =
        room_of(&p, batch,
                steps_ahead(node, steps, batch, side_columns(&p, OF_X), md__has(in, in_count, 4)));
    size_t packed = md__steps_constant(in, in_count) ? 0 : (p.all_bytes + 63) / 64 * 64;
    return packed + (p.directions * room.x + room.h + room.reset + 4 * room.state) * sizeof(float);
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

/* ---- cells ----------------------------------------------------------------------------------- */

/* One vector of units of one row. */
struct cell {
    vf x[4], h[4]; /* sums */
    vf state, c;   /* before, then after */
};

INLINE vf function_of(const struct md__rnn_activation *how, vf x)
{
    vf alpha = splat((float)how->alpha), beta = splat((float)how->beta), zero = {0};
    switch (how->function) {
    case MD__RNN_RELU:
        return vmax(zero, x);
    case MD__RNN_TANH:
        return vtanh(x);
    case MD__RNN_SIGMOID:
        return vsigmoid(x);
    case MD__RNN_AFFINE:
        return alpha * x + beta;
    case MD__RNN_LEAKY_RELU:
        return choose(x >= 0.0f, x, alpha * x);
    case MD__RNN_THRESHOLDED_RELU:
        return choose(x > alpha, x, zero);
    case MD__RNN_SCALED_TANH:
        return alpha * vtanh(beta * x);
    case MD__RNN_HARD_SIGMOID:
        return vmin(splat(1.0f), vmax(zero, alpha * x + beta));
    case MD__RNN_ELU:
        return velu(x, alpha);
    case MD__RNN_SOFTSIGN:
        return x / (vabs(x) + 1.0f);
    default:
        return vsoftplus(x);
    }
}

INLINE vf apply(const struct run *run, size_t d, int which, vf x)
{
    const struct md__rnn_activation *of = run->activations;
    of += d * (run->p->gates == 1 ? 1 : run->p->gates - 1);
    return function_of(&of[which], vmin(splat(run->clip), vmax(splat(-run->clip), x)));
}

/* Peephole k (order i o f) of the vector's units times a cell state. */
INLINE vf peep(const struct run *run, size_t d, size_t k, size_t v, vf c)
{
    if (!run->peeks)
        return (vf){0};
    size_t units = run->p->units, left = units - v * VL;
    const float *from = (const float *)run->seq.call->in[7].data + (d * 3 + k) * units + v * VL;
    if (left < VL)
        return load_some(from, left) * c;
    return load(from) * c;
}

static void any_lstm(const struct run *run, size_t d, size_t v, struct cell *cell)
{
    vf i = cell->x[0] + cell->h[0] + peep(run, d, 0, v, cell->c);
    vf f = cell->x[2] + cell->h[2] + peep(run, d, 2, v, cell->c);
    i = apply(run, d, 0, i);
    f = apply(run, d, 0, f);
    if (run->input_forget)
        f = 1.0f - i;
    cell->c = f * cell->c + i * apply(run, d, 1, cell->x[3] + cell->h[3]);
    vf o = cell->x[1] + cell->h[1] + peep(run, d, 1, v, cell->c);
    cell->state = apply(run, d, 0, o) * function_of(&run->activations[d * 3 + 2], cell->c);
}

static void any_gru(const struct run *run, size_t d, struct cell *cell)
{
    vf z = apply(run, d, 0, cell->x[0] + cell->h[0]), n = cell->h[2];
    if (!run->p->original)
        n *= apply(run, d, 0, cell->x[1] + cell->h[1]);
    n = apply(run, d, 1, n + cell->x[2]);
    cell->state = n + z * (cell->state - n);
}

INLINE void usual_cell(const struct run *run, struct cell *cell)
{
    vf sum[1][4], n;
    if (run->p->gates == 1) {
        vf t = cell->x[0] + cell->h[0];
        powers_each(&t, 1);
        cell->state = vquotient(t - 1.0f, t + 1.0f);
        return;
    }
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++)
        sum[0][g] = cell->x[g] + cell->h[g];
    if (run->p->gates == 4) {
        lstm_cells(sum, &cell->c, &cell->state, 1);
        return;
    }
    if (!run->p->original) {
        sum[0][2] = cell->x[2];
        sum[0][3] = cell->h[2];
        gru_cells(sum, &cell->state, 1);
        return;
    }
    n = sum[0][2];
    powers_each(&n, 1);
    n = vquotient(n - 1.0f, n + 1.0f);
    cell->state -= n;
    gate_each(&cell->state, &sum[0][0], 1);
    cell->state += n;
}

/* The original GRU's r h of one vector of units. */
INLINE vf reset_state(const struct run *run, size_t d, const float *x, const float *h, vf state)
{
    vf r = load(x) + load(h);
    if (!run->p->usual)
        return apply(run, d, 0, r) * state;
    gate_each(&state, &r, 1);
    return state;
}

INLINE void store_units(float *to, vf value, size_t left)
{
    if (left >= VL)
        store(to, value);
    else
        store_some(to, value, left);
}

/* The cells of units [v, v_end) vectors of one row, from the sums of this step. */
static void run_cells(const struct run *run, size_t d, size_t row, size_t v, size_t v_end)
{
    const struct sequence *seq = &run->seq;
    const struct packed_steps *p = run->p;
    size_t at = d * seq->batch + row, wide = run->vectors * VL, gates = p->gates;
    size_t h_gates = side_gates(p, OF_H);
    const float *x = x_sums(run, d, row), *h = run->of_h + at * h_gates * wide;
    const float *before = run->h[run->step % 2] + at * wide;
    float *after = run->h[(run->step + 1) % 2] + at * wide, *c = run->c + at * wide;
    float *y = seq->call->out[0].data;
    if (y)
        y +=
            step_of(seq, d, row, run->step) * seq->y_step + row * seq->y_row + d * seq->y_direction;
    bool live = is_live(seq, row, run->step);
    for (; v < v_end; v++) {
        struct cell cell = {.state = load(before + v * VL)};
        if (!live) {
            store(after + v * VL, cell.state);
            if (y)
                store_units(y + v * VL, (vf){0}, p->units - v * VL);
            continue;
        }
        for (size_t g = 0; g < gates; g++)
            cell.x[g] = load(x + (v * gates + g) * VL);
        for (size_t g = 0; g < h_gates; g++)
            cell.h[g] = load(h + (v * h_gates + g) * VL);
        if (p->original)
            cell.h[2] = load(run->of_reset + at * wide + v * VL);
        if (gates == 4)
            cell.c = load(c + v * VL);
        if (p->usual)
            usual_cell(run, &cell);
        else if (gates == 4)
            any_lstm(run, d, v, &cell);
        else if (gates == 3)
            any_gru(run, d, &cell);
        else
            cell.state = apply(run, d, 0, cell.x[0] + cell.h[0]);
        if (gates == 4)
            store(c + v * VL, cell.c);
        store(after + v * VL, cell.state);
        if (y)
            store_units(y + v * VL, cell.state, p->units - v * VL);
    }
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* Some units of some rows. */
struct part {
    size_t v, v_end, row, row_end;
};

/* Units in whole panels, whatever the gates: PANEL vectors of each. */
static struct part part_of(const struct run *run, size_t i)
{
    size_t chunks = (run->vectors + PANEL - 1) / PANEL, row_parts = run->parts / run->unit_parts;
    size_t u = i % run->unit_parts, r = i / run->unit_parts, batch = run->seq.batch;
    struct part part = {.v = u * chunks / run->unit_parts * PANEL,
                        .v_end = (u + 1) * chunks / run->unit_parts * PANEL,
                        .row = r * batch / row_parts,
                        .row_end = (r + 1) * batch / row_parts};
    part.v_end = part.v_end < run->vectors ? part.v_end : run->vectors;
    return part;
}

/* sums = state * weights + bias for a part; without a state it is 0, and the sums are the bias. */
static void multiply_part(const struct run *run, const struct part *part, size_t d, enum side side,
                          const float *state, float *sums)
{
    struct packed packed = packed_side(run->p, d, side);
    size_t gates = side_gates(run->p, side), column = part->v * gates * VL;
    size_t at = d * run->seq.batch + part->row, rows = part->row_end - part->row;
    size_t count = (part->v_end - part->v) * gates * VL;
    float *y = sums + at * packed.columns + column;
    bool none =
        run->step == 0 && side == OF_H && !md__has(run->seq.call->in, run->seq.call->in_count, 5);
    for (size_t row = 0; none && row < rows; row++)
        memcpy(y + row * packed.columns, packed.bias + column, count * sizeof *y);
    if (none)
        return;
    struct product product = {.x = state + at * run->vectors * VL,
                              .x_stride = run->vectors * VL,
                              .rows = rows,
                              .y = y,
                              .y_stride = packed.columns,
                              .y_columns = count};
    size_t panel = column / (PANEL * VL);
    md__multiply_panels(&packed, &product, panel, panel + (count / VL + PANEL - 1) / PANEL);
}

static void run_part(const struct run *run, const struct part *part)
{
    for (size_t d = 0; d < run->seq.directions; d++) {
        if (run->resets)
            multiply_part(run, part, d, OF_RESET, run->reset, run->of_reset);
        else
            multiply_part(run, part, d, OF_H, run->h[run->step % 2], run->of_h);
        for (size_t row = part->row; row < part->row_end; row++) {
            if (!run->p->original || run->resets) {
                run_cells(run, d, row, part->v, part->v_end);
                continue;
            }
            size_t at = d * run->seq.batch + row, wide = run->vectors * VL;
            const float *x = x_sums(run, d, row), *h = run->of_h + at * 2 * wide;
            const float *state = run->h[run->step % 2] + at * wide;
            for (size_t v = part->v; v < part->v_end; v++)
                store(run->reset + at * wide + v * VL,
                      reset_state(run, d, x + (v * 3 + 1) * VL, h + (v * 2 + 1) * VL,
                                  load(state + v * VL)));
        }
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

/* As many parts as threads, of units while there are panels of them, and of rows beyond that. */
static void divide(struct run *run)
{
    struct md_pool *pool = run->seq.call->pool;
    size_t threads = pool ? (size_t)md_pool_threads(pool) : 1;
    size_t chunks = (run->vectors + PANEL - 1) / PANEL, rows = 1;
    threads = threads < PARTS_MAX ? threads : PARTS_MAX;
    run->unit_parts = threads < chunks ? threads : chunks;
    if (run->unit_parts)
        rows = threads / run->unit_parts;
    rows = rows < run->seq.batch ? rows : run->seq.batch;
    run->parts = run->unit_parts * rows;
}

static void place(struct run *run, float *memory)
{
    struct room room = room_of(run->p, run->seq.batch, run->ahead);
    for (size_t d = 0; d < run->seq.directions; d++, memory += room.x)
        run->of_x[d] = memory;
    run->of_h = memory;
    run->of_reset = run->of_h + room.h;
    run->h[0] = run->of_reset + room.reset;
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
        if (run->step % run->ahead == 0)
            multiply_ahead(run);
        run_phase(run, false);
        if (run->p->original)
            run_phase(run, true);
    }
    for (size_t d = 0; d < seq->directions; d++)
        store_states(seq, d, 0, seq->batch, wide, run->h[seq->steps % 2], run->c);
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
    md__rnn_read_activations(call->node, (int)run.seq.directions, run.activations);
    run.clip = (float)md_node_float(call->node, "clip", INFINITY);
    run.input_forget = md_node_int(call->node, "input_forget", 0) != 0;
    run.peeks = md__has(call->in, call->in_count, 7);
    run.vectors = vectors_of(run.seq.units);
    run.ahead = steps_ahead(call->node, run.seq.steps, run.seq.batch, side_columns(run.p, OF_X),
                            run.seq.lengths != NULL);
    divide(&run);
    place(&run, (float *)memory);
    run_sequence(&run);
    return MD_OK;
}
