/*
 * Reference RNN, GRU and LSTM (ONNX) in every float dtype, double inside, with any activations.
 *
 * Sequences may be ragged: past sequence_lens the outputs Y are zero and Y_h, Y_c hold the state
 * after the last real step. The reverse direction starts at the last real step, not in the padding.
 *
 * Gate order, as in ONNX: LSTM i o f c, GRU z r h.
 */
#include <math.h>
#include <string.h>
#include <strings.h>

#include "kernels/cpu/blocks.h"
#include "kernels/cpu/recurrent.h"
#include "kernels/cpu/ref.h"

/* Each but the first two is an operator, too; alpha and beta: defaults; NAN: it takes none. */
static const struct {
    const char *name;
    enum md_op op;
    double alpha, beta;
} functions[MD__RNN_FUNCTIONS] = {
    [MD__RNN_AFFINE] = {"Affine", .alpha = 1, .beta = 0},
    [MD__RNN_SCALED_TANH] = {"ScaledTanh", .alpha = 1, .beta = 1},
    [MD__RNN_RELU] = {"Relu", MD_OP_RELU, NAN, NAN},
    [MD__RNN_TANH] = {"Tanh", MD_OP_TANH, NAN, NAN},
    [MD__RNN_SIGMOID] = {"Sigmoid", MD_OP_SIGMOID, NAN, NAN},
    [MD__RNN_LEAKY_RELU] = {"LeakyRelu", MD_OP_LEAKY_RELU, 0.01, NAN},
    [MD__RNN_THRESHOLDED_RELU] = {"ThresholdedRelu", MD_OP_THRESHOLDED_RELU, 1, NAN},
    [MD__RNN_HARD_SIGMOID] = {"HardSigmoid", MD_OP_HARD_SIGMOID, 0.2, 0.5},
    [MD__RNN_ELU] = {"Elu", MD_OP_ELU, 1, NAN},
    [MD__RNN_SOFTSIGN] = {"Softsign", MD_OP_SOFTSIGN, NAN, NAN},
    [MD__RNN_SOFTPLUS] = {"Softplus", MD_OP_SOFTPLUS, NAN, NAN}};

struct recurrence {
    size_t steps, batch, inputs, units, directions, gates;
    const struct md_tensor *x, *w, *r, *b, *h0, *c0, *peephole, *lengths; /* NULL: absent */
    const struct md_tensor *y, *y_h, *y_c;
    struct md__rnn_activation activations[MD__RNN_ACTIVATIONS];
    double clip;       /* INFINITY: none */
    bool batch_first;  /* layout 1: x [batch, steps, ..], states [batch, directions, ..] */
    bool reset_after;  /* GRU's linear_before_reset */
    bool input_forget; /* LSTM's f is 1 - i */
    double *gate, *h, *c, *x_row, *w_row; /* scratch of one row */
};

/* What one cell sees: the first rows of its direction's weights, and its activations. */
struct cell {
    size_t weight_row, bias, peephole;
    const struct md__rnn_activation *activations;
};

static double activate(const struct md__rnn_activation *how, double x)
{
    if (how->function == MD__RNN_AFFINE)
        return how->alpha * x + how->beta;
    if (how->function == MD__RNN_SCALED_TANH)
        return how->alpha * tanh(how->beta * x);
    const struct md__unary_parameters with = {how->alpha, how->beta};
    return md__unary_function_of(functions[how->function].op, false)(x, &with);
}

/* The function numbered `k` of the direction, of an input within the clip. */
static double apply(const struct recurrence *rec, const struct cell *cell, int k, double x)
{
    return activate(&cell->activations[k], md__clamped(x, -rec->clip, rec->clip));
}

static double dot(const struct recurrence *rec, const struct md_tensor *weights, size_t row,
                  const double *x, size_t count)
{
    double sum = 0;
    md__load_floats(weights, row * count, 1, count, rec->w_row);
    for (size_t i = 0; i < count; i++)
        sum += rec->w_row[i] * x[i];
    return sum;
}

static double from_input(const struct recurrence *rec, const struct cell *cell, size_t row)
{
    double bias = rec->b ? md__get_float(rec->b, cell->bias + row) : 0;
    return dot(rec, rec->w, cell->weight_row + row, rec->x_row, rec->inputs) + bias;
}

static double state_bias(const struct recurrence *rec, const struct cell *cell, size_t row)
{
    return rec->b ? md__get_float(rec->b, cell->bias + rec->gates * rec->units + row) : 0;
}

static double from_state(const struct recurrence *rec, const struct cell *cell, size_t row)
{
    return dot(rec, rec->r, cell->weight_row + row, rec->h, rec->units) +
           state_bias(rec, cell, row);
}

/* Peephole number k (order i o f) of unit u times a cell state. */
static double peep(const struct recurrence *rec, const struct cell *cell, size_t k, size_t u,
                   double c)
{
    return rec->peephole ? md__get_float(rec->peephole, cell->peephole + k * rec->units + u) * c
                         : 0;
}

static void rnn_step(const struct recurrence *rec, const struct cell *cell)
{
    for (size_t u = 0; u < rec->units; u++)
        rec->gate[u] = from_input(rec, cell, u) + from_state(rec, cell, u);
    for (size_t u = 0; u < rec->units; u++)
        rec->h[u] = apply(rec, cell, 0, rec->gate[u]);
}

static void lstm_step(const struct recurrence *rec, const struct cell *cell)
{
    size_t units = rec->units;
    for (size_t row = 0; row < 4 * units; row++)
        rec->gate[row] = from_input(rec, cell, row) + from_state(rec, cell, row);
    for (size_t u = 0; u < units; u++) {
        double i = rec->gate[u], o = rec->gate[units + u];
        double f = rec->gate[2 * units + u], g = rec->gate[3 * units + u];
        double before = rec->c[u];
        i = apply(rec, cell, 0, i + peep(rec, cell, 0, u, before));
        f = rec->input_forget ? 1 - i : apply(rec, cell, 0, f + peep(rec, cell, 2, u, before));
        rec->c[u] = f * before + i * apply(rec, cell, 1, g);
        o = apply(rec, cell, 0, o + peep(rec, cell, 1, u, rec->c[u]));
        rec->h[u] = o * activate(&cell->activations[2], rec->c[u]);
    }
}

static void gru_step(const struct recurrence *rec, const struct cell *cell)
{
    size_t units = rec->units;
    double *z = rec->gate, *r = rec->gate + units, *n = rec->gate + 2 * units;
    for (size_t row = 0; row < 2 * units; row++)
        rec->gate[row] =
            apply(rec, cell, 0, from_input(rec, cell, row) + from_state(rec, cell, row));
    for (size_t u = 0; u < units; u++) /* c is free in a GRU: it holds r * h */
        rec->c[u] = r[u] * rec->h[u];
    for (size_t u = 0; u < units; u++) {
        size_t row = 2 * units + u;
        double state = rec->reset_after ? r[u] * from_state(rec, cell, row)
                                        : dot(rec, rec->r, cell->weight_row + row, rec->c, units) +
                                              state_bias(rec, cell, row);
        n[u] = apply(rec, cell, 1, from_input(rec, cell, row) + state);
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

static void load_state(const struct md_tensor *from, size_t at, size_t units, double *to)
{
    memset(to, 0, units * sizeof *to);
    if (from)
        md__load_floats(from, at, 1, units, to);
}

/* One sequence of one direction, from its initial state to its last real step. */
static void run_sequence(const struct recurrence *rec, size_t d, size_t row, bool reverse,
                         size_t length)
{
    size_t units = rec->units, state = state_row(rec, d, row) * units;
    size_t weight_rows = rec->gates * units;
    struct cell cell = {.weight_row = d * weight_rows,
                        .bias = d * 2 * weight_rows,
                        .peephole = d * 3 * units,
                        .activations =
                            rec->activations + d * (rec->gates == 1 ? 1 : rec->gates - 1)};
    load_state(rec->h0, state, units, rec->h);
    load_state(rec->c0, state, units, rec->c);
    for (size_t step = 0; step < rec->steps; step++) {
        size_t t = reverse && step < length ? length - 1 - step : step;
        if (step < length) {
            md__load_floats(rec->x, x_row(rec, t, row) * rec->inputs, 1, rec->inputs, rec->x_row);
            if (rec->gates == 4)
                lstm_step(rec, &cell);
            else if (rec->gates == 3)
                gru_step(rec, &cell);
            else
                rnn_step(rec, &cell);
        }
        size_t at = y_row(rec, t, d, row) * units;
        if (rec->y && step < length)
            md__store_floats(rec->y, at, 1, units, rec->h);
        for (size_t u = 0; rec->y && step >= length && u < units; u++)
            md__set_float(rec->y, at + u, 0);
    }
    if (rec->y_h)
        md__store_floats(rec->y_h, state, 1, units, rec->h);
    if (rec->y_c)
        md__store_floats(rec->y_c, state, 1, units, rec->c);
}

/* ---- attributes ------------------------------------------------------------------------------ */

/* The next of the listed values; *next counts them. */
static double listed(const struct md_attr *list, int *next, double otherwise)
{
    if (isnan(otherwise) || !list || list->type != MD_ATTR_FLOATS || *next >= list->count)
        return otherwise;
    return list->floats[(*next)++];
}

/* alphas and betas are consumed in order by the functions that take one. */
void md__rnn_read_activations(const struct md_node *node, int directions,
                              struct md__rnn_activation *made)
{
    static const enum md__rnn_function usual[] = {MD__RNN_SIGMOID, MD__RNN_TANH, MD__RNN_TANH};
    const struct md_attr *names = md_node_attr(node, "activations");
    int each = md__rnn_activations(node), alphas = 0, betas = 0;
    for (int i = 0; i < each * directions; i++, made++) {
        int found = each == 1 ? MD__RNN_TANH : usual[i % each];
        for (int k = 0; names && i < names->count && k < MD__RNN_FUNCTIONS; k++)
            if (strcasecmp(names->strings[i], functions[k].name) == 0)
                found = k;
        made->function = (enum md__rnn_function)found;
        made->alpha =
            listed(md_node_attr(node, "activation_alpha"), &alphas, functions[found].alpha);
        made->beta = listed(md_node_attr(node, "activation_beta"), &betas, functions[found].beta);
    }
}

static void describe(struct recurrence *rec, const struct md_kernel_call *call)
{
    const struct md_shape *x = &call->in[0].shape, *w = &call->in[1].shape;
    rec->gates = md__rnn_gates(call->node);
    rec->batch_first = md_node_int(call->node, "layout", 0) != 0;
    rec->steps = (size_t)x->dim[rec->batch_first];
    rec->batch = (size_t)x->dim[!rec->batch_first];
    rec->inputs = (size_t)x->dim[2];
    rec->directions = (size_t)w->dim[0];
    rec->units = (size_t)w->dim[1] / rec->gates;
    rec->reset_after = md_node_int(call->node, "linear_before_reset", 0) != 0;
    rec->input_forget = md_node_int(call->node, "input_forget", 0) != 0;
    rec->clip = md_node_float(call->node, "clip", INFINITY);
    rec->x = &call->in[0];
    rec->w = &call->in[1];
    rec->r = &call->in[2];
    rec->b = md__input(call, 3);
    rec->lengths = md__input(call, 4);
    rec->h0 = md__input(call, 5);
    rec->c0 = rec->gates == 4 ? md__input(call, 6) : NULL;
    rec->peephole = rec->gates == 4 ? md__input(call, 7) : NULL;
    rec->y = md__output(call, 0);
    rec->y_h = md__output(call, 1);
    rec->y_c = md__output(call, 2);
    rec->gate = call->scratch;
    rec->h = rec->gate + rec->gates * rec->units;
    rec->c = rec->h + rec->units;
    rec->x_row = rec->c + rec->units;
    rec->w_row = rec->x_row + rec->inputs;
    md__rnn_read_activations(call->node, (int)rec->directions, rec->activations);
}

static enum md_status recurrent_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct recurrence rec = {0};
    describe(&rec, call);
    bool reverse = strcmp(md_node_string(call->node, "direction", "forward"), "reverse") == 0;
    for (size_t row = 0; row < rec.batch; row++) {
        int64_t length = rec.lengths ? md__get_int(rec.lengths, row) : (int64_t)rec.steps;
        if (length < 0 || length > (int64_t)rec.steps)
            return md_fail(err, MD_ERR_UNPROCESSABLE, "sequence length %lld is outside 0..%zu",
                           (long long)length, rec.steps);
        for (size_t d = 0; d < rec.directions; d++)
            run_sequence(&rec, d, row, reverse || d == 1, (size_t)length);
    }
    return MD_OK;
}

/* gates, h and c of one row; a row of x; a row of either weights */
static size_t recurrent_scratch(const struct md_node *node, const struct md_tensor *in,
                                int in_count, int threads)
{
    (void)in_count, (void)threads;
    size_t gates = md__rnn_gates(node), units = (size_t)in[1].shape.dim[1] / gates;
    size_t inputs = (size_t)in[0].shape.dim[2];
    return ((gates + 2) * units + inputs + (inputs > units ? inputs : units)) * sizeof(double);
}

const struct md_kernel md__ref_recurrent = {.scratch_bytes = recurrent_scratch,
                                            .run = recurrent_run};
