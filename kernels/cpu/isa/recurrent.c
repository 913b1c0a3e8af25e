/*
 * LSTM and GRU by rows: what the second-level cache can hold of weights, with the usual cells.
 * Everything else goes by units (steps.c).
 *
 * Threads own disjoint batch rows for the entire sequence, so there is no barrier anywhere. A tile
 * is a few rows by one block of VL units with all gates: the products with x and with h accumulate
 * in the same registers, the gates are activated there, and the states are written once.
 * Weights: [direction][unit block][k = inputs, then units][column][VL], zero-padded; h and c live
 * in scratch, padded to whole vectors, h twice (before and after the step).
 *
 * There are always four columns of sums. An LSTM's are its gates i o f c. A GRU whose reset comes
 * after the product (linear_before_reset, what PyTorch has) keeps the two products of its third
 * gate apart: z, r, n from x, n from h; a quarter of its packed weights are zeros, which nobody
 * reads. Weights and biases are packed multiplied by what their activation wants (GATE_SCALE,
 * TANH_SCALE).
 *
 * Within a thread the order is step, unit block, tile of rows: a block's weights stay in L1 while
 * the rows pass by.
 */

#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/recurrent_rows.h"
#include "kernels/cpu/isa/recurrent_tiles.h"
#include "kernels/cpu/isa/steps.h"

#define TILE_MAX (VECTOR_REGISTERS == 32 ? 6 : 3)

/* ---- packing --------------------------------------------------------------------------------- */

/* Where a gate's weights for x, or for h, are summed. */
static size_t column_of(const struct packed_cells *packed, size_t gate, bool of_state)
{
    return packed->gru && gate == 2 && of_state ? 3 : gate;
}

/* What the gate's activation wants its sum multiplied by; the last gate has a tanh. */
static double gate_scale(const struct packed_cells *packed, size_t gate)
{
    return gate == (packed->gru ? 2 : 3) ? TANH_SCALE : GATE_SCALE;
}

/* One gate of one unit block: its columns of `weights` (rows of `width`) go to k = 0 .. width - 1.
 */
static void pack_gate(const float *weights, size_t width, size_t row, size_t lanes, double scale,
                      float *to)
{
    for (size_t lane = 0; lane < lanes; lane++)
        for (size_t k = 0; k < width; k++)
            to[k * 4 * VL + lane] = (float)(weights[(row + lane) * width + k] * scale);
}

static void pack_block(const struct packed_cells *packed, const struct md_tensor *in, int in_count,
                       size_t d, size_t block)
{
    size_t units = packed->units, inputs = packed->inputs, gates = packed->gru ? 3 : 4;
    const float *w = (const float *)in[1].data + d * gates * units * inputs;
    const float *r = (const float *)in[2].data + d * gates * units * units;
    const float *b = md__has(in, in_count, 3) ? in[3].data : NULL;
    size_t at = d * packed->blocks + block, left = units - block * VL;
    float *memory = (float *)(uintptr_t)packed->memory, *to = memory + at * block_floats(packed);
    float *bias = memory + bias_of(packed, at);
    for (size_t gate = 0; gate < gates; gate++) {
        size_t row = gate * units + block * VL, lanes = left < VL ? left : VL;
        size_t x_column = column_of(packed, gate, false) * VL;
        size_t h_column = column_of(packed, gate, true) * VL;
        double scale = gate_scale(packed, gate);
        pack_gate(w, inputs, row, lanes, scale, to + x_column);
        pack_gate(r, units, row, lanes, scale, to + inputs * 4 * VL + h_column);
        for (size_t lane = 0; b && lane < lanes; lane++) {
            const float *of_x = b + d * 2 * gates * units + row, *of_h = of_x + gates * units;
            bias[x_column + lane] += (float)(of_x[lane] * scale);
            bias[h_column + lane] += (float)(of_h[lane] * scale);
        }
    }
}

/* Weights above this do not stay in the second-level cache, through which rows would drag them. */
#define ROWS_BYTES_MAX ((size_t)1 << 20)

/* Constant weights, few of them, and the cells of this file. */
static bool goes_by_rows(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    if (node->op == MD_OP_RNN || !md__steps_usual(node, in, in_count) ||
        (node->op == MD_OP_GRU && !md_node_int(node, "linear_before_reset", 0)) ||
        !md__steps_constant(in, in_count))
        return false;
    size_t units = (size_t)in[2].shape.dim[2], inputs = (size_t)in[1].shape.dim[2];
    return (inputs + units) * 4 * padded(units) * sizeof(float) <= ROWS_BYTES_MAX;
}

static struct packed_cells shape_of(const struct md_node *node, const struct md_tensor *in)
{
    size_t units = (size_t)in[2].shape.dim[2];
    return (struct packed_cells){.rows = true,
                                 .gru = node->op == MD_OP_GRU,
                                 .inputs = (size_t)in[1].shape.dim[2],
                                 .units = units,
                                 .blocks = vectors_of(units),
                                 .directions = (size_t)in[1].shape.dim[0]};
}

#if defined(MD_ISA_amx)

/* False when some weight is not for tiles. */
static bool pack_tiles(struct packed_cells *packed, const struct md_tensor *in)
{
    size_t columns = columns_of(packed), x_chunks = tile_chunks(packed->inputs);
    const float *w = in[1].data, *r = in[2].data; /* [direction][gate][unit][inputs] */
    float *to = packed->memory + packed->tiles;
    for (size_t d = 0; d < packed->directions; d++)
        for (size_t unit = 0; unit < packed->units; unit++)
            for (size_t gate = 0; gate < columns; gate++) {
                size_t row = (d * columns + gate) * packed->units + unit;
                size_t block = d * packed->blocks + unit / VL;
                float *panel = to + block * tile_block_floats(packed) + gate * PANEL_FLOATS;
                double scale = gate_scale(packed, gate);
                if (!pack_lane(w + row * packed->inputs, packed->inputs, scale, unit % VL, columns,
                               panel) ||
                    !pack_lane(r + row * packed->units, packed->units, scale, unit % VL, columns,
                               panel + x_chunks * columns * PANEL_FLOATS))
                    return false;
            }
    return true;
}

#endif

static enum md_status recurrent_prepare(const struct md_node *node, const struct md_tensor *in,
                                        int in_count, void **prepared, size_t *bytes,
                                        struct md_error *err)
{
    if (!goes_by_rows(node, in, in_count))
        return md__steps_prepare(node, in, in_count, prepared, bytes, err);
    struct packed_cells shape = shape_of(node, in);
    size_t floats = bias_of(&shape, shape.directions * shape.blocks);
#if defined(MD_ISA_amx)
    shape.tiles = floats;
    floats += shape.directions * shape.blocks * tile_block_floats(&shape);
#endif
    size_t size = (sizeof shape + floats * sizeof(float) + 63) / 64 * 64;
    struct packed_cells *packed = md_prepared_new(size);
    if (packed == NULL)
        return md_fail(err, MD_ERR_MEMORY, "packing weights: out of memory");
    *packed = shape;
    for (size_t d = 0; d < shape.directions; d++)
        for (size_t block = 0; block < shape.blocks; block++)
            pack_block(packed, in, in_count, d, block);
#if defined(MD_ISA_amx)
    if (!pack_tiles(packed, in))
        packed->tiles = 0;
#endif
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

/* The four gates before activation, of `units` units' state. Few rows would wait for each other's
 * sums, so they get two sets. */
INLINE void sum_gates(size_t inputs, size_t units, const struct tile *tile, const int rows,
                      const bool gru, vf sum[TILE_MAX][4])
{
    const int sets = rows <= 2 ? 2 : 1, not_of_x = gru ? 3 : -1, not_of_h = gru ? 2 : -1;
    size_t together = sets == 1 ? 0 : inputs < units ? inputs : units;
    const float *wx = tile->weights, *wh = wx + inputs * 4 * VL;
    vf second[2][4] = {0};
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int gate = 0; gate < 4; gate++)
            sum[r][gate] = *(const vf *)(tile->bias + gate * VL);

#define ACCUMULATE(into, weights, value, without)                                                  \
    do {                                                                                           \
        _Pragma("GCC unroll 6") for (int r = 0; r < rows; r++)                                     \
        {                                                                                          \
            vf input = splat(value);                                                               \
            _Pragma("GCC unroll 4") for (int gate = 0; gate < 4; gate++) if (gate != (without))    \
                into[r][gate] += input * *(const vf *)((weights) + (k * 4 + (size_t)gate) * VL);   \
        }                                                                                          \
    } while (0)

    if (sets == 2)
        for (size_t k = 0; k < together; k++) {
            ACCUMULATE(sum, wx, tile->x[r][k], not_of_x);
            ACCUMULATE(second, wh, tile->h[(size_t)r * tile->h_stride + k], not_of_h);
        }
    for (size_t k = together; k < inputs; k++)
        ACCUMULATE(sum, wx, tile->x[r][k], not_of_x);
    for (size_t k = together; k < units; k++)
        ACCUMULATE(sum, wh, tile->h[(size_t)r * tile->h_stride + k], not_of_h);
#undef ACCUMULATE

    if (sets == 2)
#pragma GCC unroll 2
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int gate = 0; gate < 4; gate++)
                sum[r][gate] += second[r][gate];
}

INLINE void cell_tile(const struct recurrence *rec, size_t d, size_t first, size_t block,
                      size_t step, const int rows, const bool gru)
{
    const struct packed_cells *packed = rec->packed;
    size_t stride = packed->blocks * VL, state = (d * rec->seq.batch + first) * stride;
    size_t at = d * packed->blocks + block;
    const float *x = rec->seq.call->in[0].data;
    float *y = rec->seq.call->out[0].data, *h_after = rec->h[(step + 1) % 2] + state + block * VL;
    struct tile tile = {.h = rec->h[step % 2] + state,
                        .h_stride = stride,
                        .weights = packed->memory + at * block_floats(packed),
                        .bias = packed->memory + bias_of(packed, at)};
    size_t when[TILE_MAX];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        when[r] = step_of(&rec->seq, d, first + (size_t)r, step);
        tile.x[r] = x + when[r] * rec->seq.x_step + (first + (size_t)r) * rec->seq.x_row;
    }
    vf sum[TILE_MAX][4];
    size_t units = step == 0 && rec->from_zero ? 0 : packed->units;
    sum_gates(packed->inputs, units, &tile, rows, gru, sum);

    size_t left = packed->units - block * VL;
    float *c_at = gru ? NULL : rec->c + state + block * VL;
    vf c[TILE_MAX] = {{0}}, h[TILE_MAX];
    if (gru) {
        EACH(rows) h[i] = load(tile.h + (size_t)i * stride + block * VL);
        gru_cells(sum, h, rows);
    } else {
        EACH(rows) c[i] = load(c_at + (size_t)i * stride);
        lstm_cells(sum, c, h, rows);
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        size_t row = first + (size_t)r;
        bool live = is_live(&rec->seq, row, step);
        if (!live)
            h[r] = load(tile.h + (size_t)r * stride + block * VL);
        else if (!gru)
            store(c_at + (size_t)r * stride, c[r]);
        store(h_after + (size_t)r * stride, h[r]);
        if (y == NULL)
            continue;
        float *to = y + when[r] * rec->seq.y_step + row * rec->seq.y_row +
                    d * rec->seq.y_direction + block * VL;
        vf shown = live ? h[r] : (vf){0};
        if (left >= VL)
            store(to, shown);
        else
            store_some(to, shown, left);
    }
}

/* ---- the sequence ---------------------------------------------------------------------------- */

INLINE void run_rows(const struct recurrence *rec, size_t d, size_t first, size_t block,
                     size_t step, const int rows)
{
    if (rec->packed->gru)
        cell_tile(rec, d, first, block, step, rows, true);
    else
        cell_tile(rec, d, first, block, step, rows, false);
}

static void run_step(const struct recurrence *rec, size_t d, size_t begin, size_t end, size_t block,
                     size_t step)
{
    for (size_t group = begin; group < end; group++) {
        size_t first = group_begin(rec, group);
        switch (group_begin(rec, group + 1) - first) {
        case 1:
            run_rows(rec, d, first, block, step, 1);
            break;
        case 2:
            run_rows(rec, d, first, block, step, 2);
            break;
        case 3:
            run_rows(rec, d, first, block, step, 3);
            break;
#if VECTOR_REGISTERS == 32
        case 4:
            run_rows(rec, d, first, block, step, 4);
            break;
        case 5:
            run_rows(rec, d, first, block, step, 5);
            break;
        case 6:
            run_rows(rec, d, first, block, step, 6);
            break;
#endif
        }
    }
}

/* Items are (direction, group): runs those of one direction through the whole sequence together. */
static void run_groups(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct recurrence *rec = context;
    size_t stride = rec->packed->blocks * VL;
    while (begin < end) {
        size_t d = begin / rec->groups, first = begin % rec->groups;
        size_t last = end - begin < rec->groups - first ? first + end - begin : rec->groups;
        size_t row = group_begin(rec, first), row_end = group_begin(rec, last);
        load_states(&rec->seq, d, row, row_end, stride, rec->h[0], rec->c);
        for (size_t step = 0; step < rec->seq.steps; step++)
            for (size_t block = 0; block < rec->packed->blocks; block++)
                run_step(rec, d, first, last, block, step);
        store_states(&rec->seq, d, row, row_end, stride, rec->h[rec->seq.steps % 2], rec->c);
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

/* What prepare() packed for this file, or computed weights and unusual cells for steps.c. */
static enum md_status recurrent_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct packed_cells *packed = call->prepared;
    if (packed == NULL || !packed->rows)
        return md__steps_run(call, err);
    struct recurrence rec = {.packed = packed, .seq = sequence_of(call)};
    enum md_status status = check_lengths(&rec.seq, err);
    if (status != MD_OK || rec.seq.batch == 0)
        return status;
    size_t floats = packed->directions * rec.seq.batch * packed->blocks * VL;
    rec.h[0] = call->scratch;
    rec.h[1] = rec.h[0] + floats;
    rec.c = rec.h[1] + floats;
    rec.from_zero = starts_at_zero(&rec.seq);
    size_t threads = call->pool ? (size_t)md_pool_threads(call->pool) : 1;
    md_pool_body body = run_groups;
    rec.groups = 0;
#if defined(MD_ISA_amx)
    rec.tiles = rec.c + floats;
    rec.groups = tile_groups(packed, rec.seq.batch, threads);
    body = rec.groups > 0 ? run_tiles : run_groups;
#endif
    if (rec.groups == 0)
        rec.groups = group_count(rec.seq.batch, threads);
    size_t items = packed->directions * rec.groups;
    md__parallel(call->pool, items, (items + threads - 1) / threads, body, &rec);
    return MD_OK;
}

static bool recurrent_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    (void)node;
    for (int i = 0; i < in_count; i++)
        if (i != 4 && in[i].dtype != 0 && in[i].dtype != MD_F32)
            return false;
    return true;
}

static size_t recurrent_scratch(const struct md_node *node, const struct md_tensor *in,
                                int in_count, int threads)
{
    size_t batch = (size_t)in[0].shape.dim[!md_node_int(node, "layout", 0)];
    size_t states = (size_t)in[1].shape.dim[0] * batch * padded((size_t)in[2].shape.dim[2]);
    if (!goes_by_rows(node, in, in_count))
        return md__steps_scratch(node, in, in_count, threads);
    size_t floats = 3 * states;
#if defined(MD_ISA_amx)
    struct packed_cells shape = shape_of(node, in);
    shape.tiles = 1;
    floats += tiles_floats(&shape, batch, (size_t)threads);
#endif
    return floats * sizeof(float);
}

const struct md_kernel md__recurrent = {.supports = recurrent_supports,
                                        .prepare = recurrent_prepare,
                                        .scratch_bytes = recurrent_scratch,
                                        .run = recurrent_run};
