/*
 * LSTM, the whole recurrence in one kernel.
 *
 * Threads own disjoint batch rows for the entire sequence, so there is no barrier anywhere. A tile
 * is a few rows by one block of VL units with all four gates: the products with x and with h
 * accumulate in the same registers, the gates are activated there, and c and h are written once.
 * Weights: [direction][unit block][k = inputs, then units][gate i o f c][VL], zero-padded; h and c
 * live in scratch, padded to whole vectors, h twice (before and after the step).
 *
 * Within a thread the order is step, unit block, tile of rows: a block's weights stay in L1 while
 * the rows pass by.
 */
#include <stdlib.h>

#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/math.h"
#include "kernels/cpu/ref.h"

#define TILE_MAX (VECTOR_REGISTERS == 32 ? 6 : 3)

struct packed_lstm {
    size_t inputs, units, blocks, directions;
    float *bias; /* [direction][block][gate][VL] */
    float memory[] __attribute__((aligned(64)));
};

struct lstm {
    const struct packed_lstm *packed;
    const struct md_kernel_call *call;
    const struct md_tensor *lengths; /* NULL: all full */
    size_t steps, shortest;          /* every row is live for `shortest` steps */
    size_t batch, groups;            /* groups of up to TILE_MAX rows share the batch evenly */
    size_t x_step, x_row, y_step, y_row, y_direction, state_row, state_direction; /* in floats */
    float *h[2], *c; /* [direction][batch][blocks * VL] */
    bool reverse;
};

INLINE size_t block_floats(const struct packed_lstm *packed)
{
    return (packed->inputs + packed->units) * 4 * VL;
}

/* ---- packing --------------------------------------------------------------------------------- */

static void pack_block(const struct packed_lstm *packed, const struct md_tensor *in, int in_count,
                       size_t d, size_t block)
{
    size_t units = packed->units, inputs = packed->inputs, gates = 4 * units;
    const float *w = (const float *)in[1].data + d * gates * inputs;
    const float *r = (const float *)in[2].data + d * gates * units;
    const float *b = md__has(in, in_count, 3) ? (const float *)in[3].data + d * 2 * gates : NULL;
    size_t at = d * packed->blocks + block;
    float *to = (float *)packed->memory + at * block_floats(packed);
    for (size_t gate = 0; gate < 4; gate++)
        for (size_t lane = 0; lane < VL && block * VL + lane < units; lane++) {
            size_t row = gate * units + block * VL + lane, column = gate * VL + lane;
            for (size_t k = 0; k < inputs; k++)
                to[k * 4 * VL + column] = w[row * inputs + k];
            for (size_t k = 0; k < units; k++)
                to[(inputs + k) * 4 * VL + column] = r[row * units + k];
            if (b)
                packed->bias[at * 4 * VL + column] = b[row] + b[gates + row];
        }
}

/* Weights must be constant and there may be no peepholes; the rest is left to the reference. */
static enum md_status lstm_prepare(const struct md_node *node, const struct md_tensor *in,
                                   int in_count, void **prepared, size_t *bytes,
                                   struct md_error *err)
{
    bool has_bias = md__has(in, in_count, 3);
    if (in[1].data == NULL || in[2].data == NULL || (has_bias && in[3].data == NULL) ||
        md__has(in, in_count, 7))
        return MD_OK;
    struct packed_lstm shape = {.inputs = (size_t)in[1].shape.dim[2],
                                .units = (size_t)in[2].shape.dim[2],
                                .directions = (size_t)in[1].shape.dim[0]};
    shape.blocks = vectors_of(shape.units);
    size_t all = shape.directions * shape.blocks;
    size_t floats = all * (block_floats(&shape) + 4 * VL);
    size_t size = (sizeof shape + floats * sizeof(float) + 63) / 64 * 64;
    struct packed_lstm *packed = aligned_alloc(64, size);
    if (packed == NULL)
        return md_fail(err, MD_ERR_MEMORY, "%s: packing weights: out of memory", node->name);
    memset(packed, 0, size);
    *packed = shape;
    packed->bias = packed->memory + all * block_floats(&shape);
    for (size_t d = 0; d < shape.directions; d++)
        for (size_t block = 0; block < shape.blocks; block++)
            pack_block(packed, in, in_count, d, block);
    *prepared = packed;
    *bytes = size;
    return MD_OK;
}

/* ---- one step of one tile -------------------------------------------------------------------- */

struct tile {
    const float *x[TILE_MAX]; /* rows of x at this step */
    const float *h;           /* states before it; rows are h_stride apart */
    size_t h_stride;
    const float *weights, *bias; /* of the unit block */
};

/* The four gates before activation. Few rows would wait for each other's sums, so they get two
 * sets. */
INLINE void lstm_gates(const struct packed_lstm *packed, const struct tile *tile, const int rows,
                       vf sum[TILE_MAX][4])
{
    const int sets = rows <= 2 ? 2 : 1;
    size_t inputs = packed->inputs, units = packed->units;
    size_t together = sets == 1 ? 0 : inputs < units ? inputs : units;
    const float *wx = tile->weights, *wh = wx + inputs * 4 * VL;
    vf second[2][4] = {0};
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int gate = 0; gate < 4; gate++)
            sum[r][gate] = *(const vf *)(tile->bias + gate * VL);

#define ACCUMULATE(into, weights, value)                                                           \
    do {                                                                                           \
        _Pragma("GCC unroll 6") for (int r = 0; r < rows; r++)                                     \
        {                                                                                          \
            vf input = splat(value);                                                               \
            _Pragma("GCC unroll 4") for (int gate = 0; gate < 4; gate++) into[r][gate] +=          \
                input * *(const vf *)((weights) + (k * 4 + (size_t)gate) * VL);                    \
        }                                                                                          \
    } while (0)

    if (sets == 2)
        for (size_t k = 0; k < together; k++) {
            ACCUMULATE(sum, wx, tile->x[r][k]);
            ACCUMULATE(second, wh, tile->h[(size_t)r * tile->h_stride + k]);
        }
    for (size_t k = together; k < inputs; k++)
        ACCUMULATE(sum, wx, tile->x[r][k]);
    for (size_t k = together; k < units; k++)
        ACCUMULATE(sum, wh, tile->h[(size_t)r * tile->h_stride + k]);
#undef ACCUMULATE

    if (sets == 2)
#pragma GCC unroll 2
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int gate = 0; gate < 4; gate++)
                sum[r][gate] += second[r][gate];
}

/* c = sigmoid(f) c + sigmoid(i) tanh(g);  h = sigmoid(o) tanh(c): quotients share their division.
 */
INLINE vf lstm_cell(const vf gates[4], float *c_at)
{
    vf g = tanh_numerator(gates[3]);
    vf c = load(c_at) / sigmoid_denominator(gates[2]) +
           g / ((g + 2.0f) * sigmoid_denominator(gates[0]));
    store(c_at, c);
    vf t = tanh_numerator(c);
    return t / ((t + 2.0f) * sigmoid_denominator(gates[1]));
}

static int64_t length_of(const struct lstm *lstm, size_t row)
{
    return lstm->lengths ? md__get_int(lstm->lengths, row) : (int64_t)lstm->steps;
}

/* The step of x and y that `row` is at: reversed rows start at their last real one. */
INLINE size_t step_of(const struct lstm *lstm, size_t d, size_t row, size_t step)
{
    if (!lstm->reverse && d == 0)
        return step;
    size_t length = (size_t)length_of(lstm, row);
    return step < length ? length - 1 - step : step;
}

INLINE void lstm_tile(const struct lstm *lstm, size_t d, size_t first, size_t block, size_t step,
                      const int rows)
{
    const struct packed_lstm *packed = lstm->packed;
    size_t stride = packed->blocks * VL, state = (d * lstm->batch + first) * stride;
    size_t at = d * packed->blocks + block;
    const float *x = lstm->call->in[0].data;
    float *y = lstm->call->out[0].data, *h_after = lstm->h[(step + 1) % 2] + state + block * VL;
    struct tile tile = {.h = lstm->h[step % 2] + state,
                        .h_stride = stride,
                        .weights = packed->memory + at * block_floats(packed),
                        .bias = packed->bias + at * 4 * VL};
    size_t when[TILE_MAX];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        when[r] = step_of(lstm, d, first + (size_t)r, step);
        tile.x[r] = x + when[r] * lstm->x_step + (first + (size_t)r) * lstm->x_row;
    }
    vf sum[TILE_MAX][4];
    lstm_gates(packed, &tile, rows, sum);

    size_t left = packed->units - block * VL;
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        size_t row = first + (size_t)r;
        bool live = step < lstm->shortest || (int64_t)step < length_of(lstm, row);
        float *c = lstm->c + state + (size_t)r * stride + block * VL;
        vf h = live ? lstm_cell(sum[r], c) : load(tile.h + (size_t)r * stride + block * VL);
        store(h_after + (size_t)r * stride, h);
        if (y == NULL)
            continue;
        float *to =
            y + when[r] * lstm->y_step + row * lstm->y_row + d * lstm->y_direction + block * VL;
        vf shown = live ? h : (vf){0};
        if (left >= VL)
            store(to, shown);
        else
            store_some(to, shown, left);
    }
}

/* ---- the sequence ---------------------------------------------------------------------------- */

static void load_states(const struct lstm *lstm, size_t d, size_t begin, size_t end)
{
    const struct md_kernel_call *call = lstm->call;
    size_t units = lstm->packed->units, stride = lstm->packed->blocks * VL;
    for (size_t row = begin; row < end; row++) {
        size_t to = (d * lstm->batch + row) * stride;
        size_t from = d * lstm->state_direction + row * lstm->state_row;
        for (int which = 0; which < 2; which++) {
            float *state = (which ? lstm->c : lstm->h[0]) + to;
            memset(state, 0, stride * sizeof *state);
            if (md__has(call->in, call->in_count, 5 + which))
                memcpy(state, (const float *)call->in[5 + which].data + from,
                       units * sizeof *state);
        }
    }
}

static void store_states(const struct lstm *lstm, size_t d, size_t begin, size_t end)
{
    const struct md_kernel_call *call = lstm->call;
    size_t units = lstm->packed->units, stride = lstm->packed->blocks * VL;
    const float *state[] = {lstm->h[lstm->steps % 2], lstm->c};
    for (int which = 0; which < 2; which++) {
        float *to = call->out_count > 1 + which ? call->out[1 + which].data : NULL;
        for (size_t row = begin; to && row < end; row++)
            memcpy(to + d * lstm->state_direction + row * lstm->state_row,
                   state[which] + (d * lstm->batch + row) * stride, units * sizeof *to);
    }
}

static size_t group_begin(const struct lstm *lstm, size_t group)
{
    return group * lstm->batch / lstm->groups;
}

static void run_step(const struct lstm *lstm, size_t d, size_t begin, size_t end, size_t block,
                     size_t step)
{
    for (size_t group = begin; group < end; group++) {
        size_t first = group_begin(lstm, group);
        switch (group_begin(lstm, group + 1) - first) {
        case 1:
            lstm_tile(lstm, d, first, block, step, 1);
            break;
        case 2:
            lstm_tile(lstm, d, first, block, step, 2);
            break;
        case 3:
            lstm_tile(lstm, d, first, block, step, 3);
            break;
#if VECTOR_REGISTERS == 32
        case 4:
            lstm_tile(lstm, d, first, block, step, 4);
            break;
        case 5:
            lstm_tile(lstm, d, first, block, step, 5);
            break;
        case 6:
            lstm_tile(lstm, d, first, block, step, 6);
            break;
#endif
        }
    }
}

/* Items are (direction, group): runs those of one direction through the whole sequence together. */
static void run_groups(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct lstm *lstm = context;
    while (begin < end) {
        size_t d = begin / lstm->groups, first = begin % lstm->groups;
        size_t last = end - begin < lstm->groups - first ? first + end - begin : lstm->groups;
        size_t row = group_begin(lstm, first), row_end = group_begin(lstm, last);
        load_states(lstm, d, row, row_end);
        for (size_t step = 0; step < lstm->steps; step++)
            for (size_t block = 0; block < lstm->packed->blocks; block++)
                run_step(lstm, d, first, last, block, step);
        store_states(lstm, d, row, row_end);
        begin += last - first;
    }
}

/* Enough groups for every thread, equally many for each, none above TILE_MAX rows. */
static size_t group_count(size_t batch, size_t threads)
{
    size_t groups = (batch + TILE_MAX - 1) / TILE_MAX;
    groups = (groups + threads - 1) / threads * threads;
    return groups < batch ? groups : batch;
}

static enum md_status check_lengths(struct lstm *lstm, struct md_error *err)
{
    lstm->shortest = lstm->steps;
    for (size_t row = 0; lstm->lengths && row < lstm->batch; row++) {
        int64_t length = md__get_int(lstm->lengths, row);
        if (length < 0 || length > (int64_t)lstm->steps)
            return md_fail(err, MD_ERR_UNPROCESSABLE, "%s: sequence length %lld is outside 0..%zu",
                           lstm->call->node->name, (long long)length, lstm->steps);
        lstm->shortest = (size_t)length < lstm->shortest ? (size_t)length : lstm->shortest;
    }
    return MD_OK;
}

static struct lstm describe(const struct md_kernel_call *call)
{
    const struct packed_lstm *packed = call->prepared;
    size_t units = packed->units, directions = packed->directions;
    bool batch_first = md_node_int(call->node, "layout", 0);
    struct lstm lstm = {.packed = packed,
                        .call = call,
                        .steps = (size_t)call->in[0].shape.dim[batch_first],
                        .batch = (size_t)call->in[0].shape.dim[!batch_first]};
    if (md__has(call->in, call->in_count, 4))
        lstm.lengths = &call->in[4];
    lstm.reverse = strcmp(md_node_string(call->node, "direction", "forward"), "reverse") == 0;
    lstm.x_step = batch_first ? packed->inputs : lstm.batch * packed->inputs;
    lstm.x_row = batch_first ? lstm.steps * packed->inputs : packed->inputs;
    lstm.y_step = directions * units * (batch_first ? 1 : lstm.batch);
    lstm.y_row = units * (batch_first ? lstm.steps * directions : 1);
    lstm.y_direction = units * (batch_first ? 1 : lstm.batch);
    lstm.state_row = units * (batch_first ? directions : 1);
    lstm.state_direction = lstm.y_direction;
    size_t floats = directions * lstm.batch * packed->blocks * VL;
    lstm.h[0] = call->scratch;
    lstm.h[1] = lstm.h[0] + floats;
    lstm.c = lstm.h[1] + floats;
    return lstm;
}

static enum md_status lstm_run(const struct md_kernel_call *call, struct md_error *err)
{
    if (call->prepared == NULL)
        return md__ref_lstm.run(call, err);
    struct lstm lstm = describe(call);
    enum md_status status = check_lengths(&lstm, err);
    if (status != MD_OK || lstm.batch == 0)
        return status;
    size_t threads = call->pool ? (size_t)md_pool_threads(call->pool) : 1;
    lstm.groups = group_count(lstm.batch, threads);
    size_t items = lstm.packed->directions * lstm.groups;
    md__parallel(call->pool, items, (items + threads - 1) / threads, run_groups, &lstm);
    return MD_OK;
}

static bool lstm_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    return md__ref_lstm.supports(node, in, in_count);
}

static size_t lstm_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                           int threads)
{
    size_t plain = md__ref_lstm.scratch_bytes(node, in, in_count, threads);
    size_t batch = (size_t)in[0].shape.dim[!md_node_int(node, "layout", 0)];
    size_t states = (size_t)in[1].shape.dim[0] * batch * padded((size_t)in[2].shape.dim[2]);
    size_t fast = 3 * states * sizeof(float);
    return plain > fast ? plain : fast;
}

const struct md_kernel md__lstm = {.supports = lstm_supports,
                                   .prepare = lstm_prepare,
                                   .prepared_free = free,
                                   .scratch_bytes = lstm_scratch,
                                   .run = lstm_run};
