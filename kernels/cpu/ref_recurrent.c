/*
 * Reference LSTM and GRU (ONNX), float32 in and out, double inside.
 *
 * Sequences may be ragged: past sequence_lens the outputs Y are zero and Y_h, Y_c hold the state
 * after the last real step. The reverse direction starts at the last real step, not in the padding.
 *
 * Gate order, as in ONNX: LSTM i o f c, GRU z r h.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/ref.h"

struct recurrence {
    size_t steps, batch, inputs, units, directions, gates;
    const float *x, *w, *r, *b;
    const float *h0, *c0, *peephole;
    const struct md_tensor *lengths; /* NULL: all full */
    float *y, *y_h, *y_c;            /* NULL: not asked for */
    bool batch_first;     /* layout 1: x [batch, steps, ..], states [batch, directions, ..] */
    bool reset_after;     /* GRU's linear_before_reset */
    double *gate, *h, *c; /* scratch of one row: gates * units, units, units */
};

/* What one cell sees: its row of x, and the weights of its direction. */
struct cell {
    const float *x, *w, *r, *b, *peephole;
};

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static const float *input(const struct md_kernel_call *call, int i)
{
    return md__has(call->in, call->in_count, i) ? call->in[i].data : NULL;
}

static float *output(const struct md_kernel_call *call, int i)
{
    return i < call->out_count ? call->out[i].data : NULL;
}

static double dot_float(const float *w, const float *x, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)w[i] * (double)x[i];
    return sum;
}

static double dot_state(const float *r, const double *h, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)r[i] * h[i];
    return sum;
}

static double bias(const struct recurrence *rec, const struct cell *cell, size_t row, bool of_state)
{
    size_t rows = rec->gates * rec->units;
    return cell->b ? (double)cell->b[row + (of_state ? rows : 0)] : 0;
}

static void lstm_step(const struct recurrence *rec, const struct cell *cell)
{
    size_t units = rec->units;
    for (size_t row = 0; row < 4 * units; row++)
        rec->gate[row] = dot_float(cell->w + row * rec->inputs, cell->x, rec->inputs) +
                         dot_state(cell->r + row * units, rec->h, units) +
                         bias(rec, cell, row, false) + bias(rec, cell, row, true);
    const float *p = cell->peephole; /* order i o f */
    for (size_t u = 0; u < units; u++) {
        double i = rec->gate[u], o = rec->gate[units + u];
        double f = rec->gate[2 * units + u], g = rec->gate[3 * units + u];
        double before = rec->c[u];
        i = sigmoid(p ? i + (double)p[u] * before : i);
        f = sigmoid(p ? f + (double)p[2 * units + u] * before : f);
        rec->c[u] = f * before + i * tanh(g);
        o = sigmoid(p ? o + (double)p[units + u] * rec->c[u] : o);
        rec->h[u] = o * tanh(rec->c[u]);
    }
}

static void gru_step(const struct recurrence *rec, const struct cell *cell)
{
    size_t units = rec->units;
    double *z = rec->gate, *r = rec->gate + units, *n = rec->gate + 2 * units;
    for (size_t row = 0; row < 2 * units; row++)
        rec->gate[row] = sigmoid(dot_float(cell->w + row * rec->inputs, cell->x, rec->inputs) +
                                 dot_state(cell->r + row * units, rec->h, units) +
                                 bias(rec, cell, row, false) + bias(rec, cell, row, true));
    for (size_t u = 0; u < units; u++) /* c is free in a GRU: it holds r * h */
        rec->c[u] = r[u] * rec->h[u];
    for (size_t u = 0; u < units; u++) {
        size_t row = 2 * units + u;
        double wx = dot_float(cell->w + row * rec->inputs, cell->x, rec->inputs) +
                    bias(rec, cell, row, false);
        const float *weights = cell->r + row * units;
        double from_state = bias(rec, cell, row, true);
        if (rec->reset_after)
            from_state = r[u] * (dot_state(weights, rec->h, units) + from_state);
        else
            from_state += dot_state(weights, rec->c, units);
        n[u] = tanh(wx + from_state);
    }
    for (size_t u = 0; u < units; u++)
        rec->h[u] = (1 - z[u]) * n[u] + z[u] * rec->h[u];
}

/* Rows of x, of y and of the states, in either layout. */
static size_t x_row(const struct recurrence *rec, size_t t, size_t row)
{
    return rec->batch_first ? row * rec->steps + t : t * rec->batch + row;
}

static size_t y_row(const struct recurrence *rec, size_t t, size_t d, size_t row)
{
    if (rec->batch_first)
        return (row * rec->steps + t) * rec->directions + d;
    return (t * rec->directions + d) * rec->batch + row;
}

static size_t state_row(const struct recurrence *rec, size_t d, size_t row)
{
    return rec->batch_first ? row * rec->directions + d : d * rec->batch + row;
}

/* One sequence of one direction, from its initial state to its last real step. */
static void run_sequence(const struct recurrence *rec, size_t d, size_t row, bool reverse,
                         size_t length)
{
    size_t units = rec->units, state = state_row(rec, d, row) * units;
    size_t weight_rows = rec->gates * units;
    struct cell cell = {.w = rec->w + d * weight_rows * rec->inputs,
                        .r = rec->r + d * weight_rows * units,
                        .b = rec->b ? rec->b + d * 2 * weight_rows : NULL,
                        .peephole = rec->peephole ? rec->peephole + d * 3 * units : NULL};
    for (size_t u = 0; u < units; u++) {
        rec->h[u] = rec->h0 ? (double)rec->h0[state + u] : 0;
        rec->c[u] = rec->c0 ? (double)rec->c0[state + u] : 0;
    }
    for (size_t step = 0; step < rec->steps; step++) {
        size_t t = reverse && step < length ? length - 1 - step : step;
        float *y = rec->y ? rec->y + y_row(rec, t, d, row) * units : NULL;
        if (step < length) {
            cell.x = rec->x + x_row(rec, t, row) * rec->inputs;
            if (rec->gates == 4)
                lstm_step(rec, &cell);
            else
                gru_step(rec, &cell);
        }
        for (size_t u = 0; y && u < units; u++)
            y[u] = step < length ? (float)rec->h[u] : 0;
    }
    for (size_t u = 0; u < units; u++) {
        if (rec->y_h)
            rec->y_h[state + u] = (float)rec->h[u];
        if (rec->y_c)
            rec->y_c[state + u] = (float)rec->c[u];
    }
}

static enum md_status run_all(struct recurrence *rec, const struct md_kernel_call *call,
                              struct md_error *err)
{
    const struct md_shape *x = &call->in[0].shape, *w = &call->in[1].shape;
    rec->batch_first = md_node_int(call->node, "layout", 0);
    rec->steps = (size_t)x->dim[rec->batch_first];
    rec->batch = (size_t)x->dim[!rec->batch_first];
    rec->inputs = (size_t)x->dim[2];
    rec->directions = (size_t)w->dim[0];
    rec->units = (size_t)w->dim[1] / rec->gates;
    rec->x = call->in[0].data;
    rec->w = call->in[1].data;
    rec->r = call->in[2].data;
    rec->b = input(call, 3);
    rec->lengths = md__has(call->in, call->in_count, 4) ? &call->in[4] : NULL;
    rec->h0 = input(call, 5);
    rec->y = output(call, 0);
    rec->y_h = output(call, 1);
    rec->y_c = output(call, 2);
    rec->gate = call->scratch;
    rec->h = rec->gate + rec->gates * rec->units;
    rec->c = rec->h + rec->units;

    const char *direction = md_node_string(call->node, "direction", "forward");
    bool reverse = strcmp(direction, "reverse") == 0;
    for (size_t row = 0; row < rec->batch; row++) {
        int64_t length = rec->lengths ? md__get_int(rec->lengths, row) : (int64_t)rec->steps;
        if (length < 0 || length > (int64_t)rec->steps)
            return md_fail(err, MD_ERR_UNPROCESSABLE, "%s: sequence length %lld is outside 0..%zu",
                           call->node->name, (long long)length, rec->steps);
        for (size_t d = 0; d < rec->directions; d++)
            run_sequence(rec, d, row, reverse || d == 1, (size_t)length);
    }
    return MD_OK;
}

static bool floats_but_lengths(const struct md_tensor *in, int in_count)
{
    for (int i = 0; i < in_count; i++)
        if (in[i].dtype != 0 && (in[i].dtype == MD_F32) == (i == 4))
            return false;
    return true;
}

static bool lstm_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    static const char *const activations[] = {"Sigmoid", "Tanh", "Tanh"};
    return floats_but_lengths(in, in_count) && md__recurrent_is_plain(node, activations, 3);
}

static enum md_status lstm_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct recurrence rec = {.gates = 4, .c0 = input(call, 6), .peephole = input(call, 7)};
    return run_all(&rec, call, err);
}

static bool gru_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    static const char *const activations[] = {"Sigmoid", "Tanh"};
    return floats_but_lengths(in, in_count) && md__recurrent_is_plain(node, activations, 2);
}

static enum md_status gru_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct recurrence rec = {.gates = 3,
                             .reset_after = md_node_int(call->node, "linear_before_reset", 0)};
    return run_all(&rec, call, err);
}

/* gates, h and c of one row */
static size_t recurrent_scratch(const struct md_node *node, const struct md_tensor *in,
                                int in_count, int threads)
{
    (void)in_count;
    (void)threads;
    size_t gates = node->op == MD_OP_LSTM ? 4 : 3;
    return (gates + 2) * ((size_t)in[1].shape.dim[1] / gates) * sizeof(double);
}

const struct md_kernel md__ref_lstm = {
    .supports = lstm_supports, .scratch_bytes = recurrent_scratch, .run = lstm_run};
const struct md_kernel md__ref_gru = {
    .supports = gru_supports, .scratch_bytes = recurrent_scratch, .run = gru_run};
