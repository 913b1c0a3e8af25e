/*
 * What a recurrence's cells make of their sums (steps.c): usual ones, whose sums come scaled for
 * their activations (sequence.h), and any others through the eleven functions, with clip, peepholes
 * and input_forget.
 */
#ifndef MD_KERNELS_CPU_ISA_STEPS_CELLS_H
#define MD_KERNELS_CPU_ISA_STEPS_CELLS_H

#include "kernels/cpu/isa/sequence.h"
#include "kernels/cpu/isa/steps.h"

struct cells {
    const struct packed_steps *p;
    const struct md_kernel_call *call;
    struct md__rnn_activation activations[MD__RNN_ACTIVATIONS];
    float clip;
    bool input_forget, peeks;
};

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

INLINE vf apply(const struct cells *cells, size_t d, int which, vf x)
{
    const struct md__rnn_activation *of = cells->activations;
    of += d * (cells->p->gates == 1 ? 1 : cells->p->gates - 1);
    return function_of(&of[which], vmin(splat(cells->clip), vmax(splat(-cells->clip), x)));
}

/* Peephole k (order i o f) of the vector's units times a cell state. */
INLINE vf peep(const struct cells *cells, size_t d, size_t k, size_t v, vf c)
{
    if (!cells->peeks)
        return (vf){0};
    size_t units = cells->p->units, left = units - v * VL;
    const float *from = (const float *)cells->call->in[7].data + (d * 3 + k) * units + v * VL;
    if (left < VL)
        return load_some(from, left) * c;
    return load(from) * c;
}

INLINE void any_lstm(const struct cells *cells, size_t d, size_t v, struct cell *cell)
{
    vf i = cell->x[0] + cell->h[0] + peep(cells, d, 0, v, cell->c);
    vf f = cell->x[2] + cell->h[2] + peep(cells, d, 2, v, cell->c);
    i = apply(cells, d, 0, i);
    f = apply(cells, d, 0, f);
    if (cells->input_forget)
        f = 1.0f - i;
    cell->c = f * cell->c + i * apply(cells, d, 1, cell->x[3] + cell->h[3]);
    vf o = cell->x[1] + cell->h[1] + peep(cells, d, 1, v, cell->c);
    cell->state = apply(cells, d, 0, o) * function_of(&cells->activations[d * 3 + 2], cell->c);
}

INLINE void any_gru(const struct cells *cells, size_t d, struct cell *cell)
{
    vf z = apply(cells, d, 0, cell->x[0] + cell->h[0]), n = cell->h[2];
    if (!cells->p->original)
        n *= apply(cells, d, 0, cell->x[1] + cell->h[1]);
    n = apply(cells, d, 1, n + cell->x[2]);
    cell->state = n + z * (cell->state - n);
}

INLINE void usual_cell(const struct cells *cells, struct cell *cell)
{
    vf sum[1][4], n;
    if (cells->p->gates == 1) {
        vf t = cell->x[0] + cell->h[0];
        powers_each(&t, 1);
        cell->state = vquotient(t - 1.0f, t + 1.0f);
        return;
    }
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++)
        sum[0][g] = cell->x[g] + cell->h[g];
    if (cells->p->gates == 4) {
        lstm_cells(sum, &cell->c, &cell->state, 1);
        return;
    }
    if (!cells->p->original) {
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
INLINE vf reset_state(const struct cells *cells, size_t d, const float *x, const float *h, vf state)
{
    vf r = load(x) + load(h);
    if (!cells->p->usual)
        return apply(cells, d, 0, r) * state;
    gate_each(&state, &r, 1);
    return state;
}

/* One vector of units, the v-th of direction d, from the sums of this step. */
INLINE void run_cell(const struct cells *cells, size_t d, size_t v, struct cell *cell)
{
    if (cells->p->usual)
        usual_cell(cells, cell);
    else if (cells->p->gates == 4)
        any_lstm(cells, d, v, cell);
    else if (cells->p->gates == 3)
        any_gru(cells, d, cell);
    else
        cell->state = apply(cells, d, 0, cell->x[0] + cell->h[0]);
}

#endif
