/*
 * What both ways of running a recurrence share (recurrent.c by rows, steps.c by units): where the
 * rows of x, y and of the states lie in either layout, ragged lengths, the reverse direction, and
 * the cells whose activations are the usual ones.
 */
#ifndef MD_KERNELS_CPU_ISA_SEQUENCE_H
#define MD_KERNELS_CPU_ISA_SEQUENCE_H

#include "kernels/cpu/isa/math.h"
#include "kernels/cpu/recurrent.h"

struct sequence {
    const struct md_kernel_call *call;
    const struct md_tensor *lengths; /* NULL: all full */
    size_t steps, shortest;          /* every row is live for `shortest` steps */
    size_t batch, inputs, units, directions;
    size_t x_step, x_row, y_step, y_row, y_direction, state_row, state_direction; /* in floats */
    bool reverse, batch_first;
};

INLINE struct sequence sequence_of(const struct md_kernel_call *call)
{
    const struct md_tensor *in = call->in;
    bool batch_first = md_node_int(call->node, "layout", 0) != 0;
    struct sequence seq = {.call = call,
                           .lengths = md__input(call, 4),
                           .steps = (size_t)in[0].shape.dim[batch_first],
                           .batch = (size_t)in[0].shape.dim[!batch_first],
                           .inputs = (size_t)in[1].shape.dim[2],
                           .units = (size_t)in[2].shape.dim[2],
                           .directions = (size_t)in[1].shape.dim[0]};
    size_t units = seq.units, directions = seq.directions;
    seq.batch_first = batch_first;
    seq.reverse = strcmp(md_node_string(call->node, "direction", "forward"), "reverse") == 0;
    seq.x_step = batch_first ? seq.inputs : seq.batch * seq.inputs;
    seq.x_row = batch_first ? seq.steps * seq.inputs : seq.inputs;
    seq.y_step = directions * units * (batch_first ? 1 : seq.batch);
    seq.y_row = units * (batch_first ? seq.steps * directions : 1);
    seq.y_direction = units * (batch_first ? 1 : seq.batch);
    seq.state_row = units * (batch_first ? directions : 1);
    seq.state_direction = seq.y_direction;
    return seq;
}

INLINE enum md_status check_lengths(struct sequence *seq, struct md_error *err)
{
    seq->shortest = seq->steps;
    for (size_t row = 0; seq->lengths && row < seq->batch; row++) {
        int64_t length = md__get_int(seq->lengths, row);
        if (length < 0 || length > (int64_t)seq->steps)
            return md_fail(err, MD_ERR_UNPROCESSABLE, "sequence length %lld is outside 0..%zu",
                           (long long)length, seq->steps);
        seq->shortest = (size_t)length < seq->shortest ? (size_t)length : seq->shortest;
    }
    return MD_OK;
}

INLINE int64_t length_of(const struct sequence *seq, size_t row)
{
    return seq->lengths ? md__get_int(seq->lengths, row) : (int64_t)seq->steps;
}

/* Whether a row is before its end at this step. */
INLINE bool is_live(const struct sequence *seq, size_t row, size_t step)
{
    return step < seq->shortest || (int64_t)step < length_of(seq, row);
}

INLINE bool runs_back(const struct sequence *seq, size_t d)
{
    return seq->reverse || d == 1;
}

/* The step of x and y that `row` is at: reversed rows start at their last real one. */
INLINE size_t step_of(const struct sequence *seq, size_t d, size_t row, size_t step)
{
    if (!runs_back(seq, d))
        return step;
    size_t length = (size_t)length_of(seq, row);
    return step < length ? length - 1 - step : step;
}

/* No initial h, or one of zeros, as exporters write it: its products are 0. */
INLINE bool starts_at_zero(const struct sequence *seq)
{
    const struct md_tensor *first = md__input(seq->call, 5);
    size_t count = first ? seq->directions * seq->batch * seq->units : 0;
    const uint32_t *bits = first ? first->data : NULL;
    uint32_t any = 0;
    for (size_t i = 0; i < count; i++)
        any |= bits[i] << 1; /* without the sign */
    return any == 0;
}

/* Rows [begin, end) of the initial h and c of one direction; rows of h and c are `stride` apart. */
INLINE void load_states(const struct sequence *seq, size_t d, size_t begin, size_t end,
                        size_t stride, float *h, float *c)
{
    const struct md_kernel_call *call = seq->call;
    for (size_t row = begin; row < end; row++) {
        size_t to = (d * seq->batch + row) * stride;
        size_t from = d * seq->state_direction + row * seq->state_row;
        for (int which = 0; which < 2; which++) {
            float *state = (which ? c : h) + to;
            memset(state, 0, stride * sizeof *state);
            if (md__has(call->in, call->in_count, 5 + which))
                memcpy(state, (const float *)call->in[5 + which].data + from,
                       seq->units * sizeof *state);
        }
    }
}

INLINE void store_states(const struct sequence *seq, size_t d, size_t begin, size_t end,
                         size_t stride, const float *h, const float *c)
{
    const struct md_kernel_call *call = seq->call;
    const float *state[] = {h, c};
    for (int which = 0; which < 2; which++) {
        float *to = call->out_count > 1 + which ? call->out[1 + which].data : NULL;
        for (size_t row = begin; to && row < end; row++)
            memcpy(to + d * seq->state_direction + row * seq->state_row,
                   state[which] + (d * seq->batch + row) * stride, seq->units * sizeof *to);
    }
}

/* ---- cells ----------------------------------------------------------------------------------- */

/* c = sigmoid(f) c + sigmoid(i) tanh(g);  h = sigmoid(o) tanh(c): quotients share their division.
 * Sums come scaled for their activations; c is the state before, and after. */
INLINE void lstm_cells(vf sum[][4], vf *c, vf *h, const int rows)
{
    vf a[GROUP], b[GROUP];
    EACH(rows) a[i] = sum[i][2];
    powers_each(a, rows);
    EACH(rows) a[i] += 1.0f;
    quotient_each(c, a, rows);
    EACH(rows) a[i] = sum[i][0];
    EACH(rows) b[i] = sum[i][3];
    powers_each(a, rows);
    powers_each(b, rows);
    EACH(rows) a[i] = (a[i] + 1.0f) * (b[i] + 1.0f);
    EACH(rows) b[i] -= 1.0f;
    quotient_each(b, a, rows);
    EACH(rows) c[i] += b[i];
    EACH(rows) a[i] = sum[i][1];
    EACH(rows) h[i] = c[i] * (float)TANH_SCALE;
    powers_each(a, rows);
    powers_each(h, rows);
    EACH(rows) a[i] = (a[i] + 1.0f) * (h[i] + 1.0f);
    EACH(rows) h[i] -= 1.0f;
    quotient_each(h, a, rows);
}

/* h = (1 - z) n + z h with n = tanh(n_x + r n_h) */
INLINE void gru_cells(vf sum[][4], vf *h, const int rows)
{
    vf n[GROUP], below[GROUP];
    EACH(rows) n[i] = sum[i][3];
    EACH(rows) below[i] = sum[i][1];
    gate_each(n, below, rows);
    EACH(rows) n[i] += sum[i][2];
    powers_each(n, rows);
    EACH(rows) below[i] = n[i] + 1.0f;
    EACH(rows) n[i] -= 1.0f;
    quotient_each(n, below, rows);
    EACH(rows) h[i] -= n[i];
    EACH(rows) below[i] = sum[i][0];
    gate_each(h, below, rows);
    EACH(rows) h[i] += n[i];
}

#endif
