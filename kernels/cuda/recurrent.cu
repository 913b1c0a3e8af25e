/*
 * LSTM, GRU and RNN with their usual activations: the whole recurrence in one launch.
 *
 * x has been multiplied by its weights for all steps before (matrix.cu), and the recurrent weights
 * turned, so that neighbouring threads, which are neighbouring units, read side by side. A block
 * keeps some rows of the batch: states in shared memory as float32, a weight is read once for all
 * of them. Nothing waits for other blocks. Ragged sequences: outputs past the end are 0, states are
 * the last real ones; the reverse direction starts at the last real step.
 */
#include "kernels/cuda/functions.cuh"

#define ROWS 4 /* of the batch, in a block */

/* What thread-local code of a step needs. */
struct place {
    int64_t row, direction; /* the block's first row */
    const float *h;
    float *next, *c;
};

template <class T>
MD__DEVICE float bias_of(const struct md__cuda_recurrent &p, int64_t direction, int64_t row)
{
    return p.bias ? md__load((const T *)p.bias + direction * 2 * p.gates * p.units + row) : 0.0f;
}

/* Sums of gate rows [first, first + GATES) of unit u over `from`, for each row of the block. */
template <class T, int GATES>
MD__DEVICE void recur(const struct md__cuda_recurrent &p, int64_t direction, int64_t first,
                      int64_t u, const float *from, float (&sums)[GATES][ROWS])
{
    int64_t width = p.gates * p.units;
    const T *weights = (const T *)p.turned + direction * p.units * width + first * p.units + u;
    for (int g = 0; g < GATES; g++)
        for (int r = 0; r < ROWS; r++)
            sums[g][r] = 0;
    for (int64_t k = 0; k < p.units; k++)
        for (int g = 0; g < GATES; g++) {
            float w = md__load(&weights[k * width + g * p.units]);
            for (int r = 0; r < ROWS; r++)
                sums[g][r] += w * from[r * p.units + k];
        }
}

/* The part of gate row g of unit u that comes from the input at step t. */
template <class T>
MD__DEVICE float from_input(const struct md__cuda_recurrent &p, int64_t direction, int64_t row,
                            int64_t t, int64_t g, int64_t u)
{
    int64_t width = p.gates * p.units, at = p.batch_first ? row * p.steps + t : t * p.batch + row;
    return md__load((const T *)p.projected + (direction * p.steps * p.batch + at) * width +
                    g * p.units + u) +
           bias_of<T>(p, direction, g * p.units + u);
}

template <class T>
MD__DEVICE void lstm_unit(const struct md__cuda_recurrent &p, const place &at, const int64_t *t,
                          int64_t u)
{
    float sums[4][ROWS], gate[4];
    recur<T, 4>(p, at.direction, 0, u, at.h, sums);
    for (int r = 0; r < ROWS; r++) {
        if (t[r] < 0)
            continue;
        for (int g = 0; g < 4; g++)
            gate[g] = sums[g][r] + bias_of<T>(p, at.direction, (4 + g) * p.units + u) +
                      from_input<T>(p, at.direction, at.row + r, t[r], g, u);
        float *c = &at.c[r * p.units + u];
        *c = md__sigmoid(gate[2]) * *c + md__sigmoid(gate[0]) * tanhf(gate[3]);
        at.next[r * p.units + u] = md__sigmoid(gate[1]) * tanhf(*c);
    }
}

/* With the reset after the product. */
template <class T>
MD__DEVICE void gru_unit(const struct md__cuda_recurrent &p, const place &at, const int64_t *t,
                         int64_t u)
{
    float sums[3][ROWS];
    recur<T, 3>(p, at.direction, 0, u, at.h, sums);
    for (int r = 0; r < ROWS; r++) {
        if (t[r] < 0)
            continue;
        float state[3], input[3];
        for (int g = 0; g < 3; g++) {
            state[g] = sums[g][r] + bias_of<T>(p, at.direction, (3 + g) * p.units + u);
            input[g] = from_input<T>(p, at.direction, at.row + r, t[r], g, u);
        }
        float z = md__sigmoid(input[0] + state[0]), reset = md__sigmoid(input[1] + state[1]);
        float n = tanhf(input[2] + reset * state[2]);
        at.next[r * p.units + u] = (1 - z) * n + z * at.h[r * p.units + u];
    }
}

/* With the reset before it, in two goes: first z (into `next`) and r h (into c, which is free). */
template <class T>
MD__DEVICE void gru_reset_unit(const struct md__cuda_recurrent &p, const place &at,
                               const int64_t *t, int64_t u)
{
    float sums[2][ROWS];
    recur<T, 2>(p, at.direction, 0, u, at.h, sums);
    for (int r = 0; r < ROWS; r++) {
        if (t[r] < 0)
            continue;
        float gate[2];
        for (int g = 0; g < 2; g++)
            gate[g] = md__sigmoid(sums[g][r] + bias_of<T>(p, at.direction, (3 + g) * p.units + u) +
                                  from_input<T>(p, at.direction, at.row + r, t[r], g, u));
        at.next[r * p.units + u] = gate[0];
        at.c[r * p.units + u] = gate[1] * at.h[r * p.units + u];
    }
}

template <class T>
MD__DEVICE void gru_new_unit(const struct md__cuda_recurrent &p, const place &at, const int64_t *t,
                             int64_t u)
{
    float sums[1][ROWS];
    recur<T, 1>(p, at.direction, 2, u, at.c, sums);
    for (int r = 0; r < ROWS; r++) {
        if (t[r] < 0)
            continue;
        float state = sums[0][r] + bias_of<T>(p, at.direction, 5 * p.units + u);
        float n = tanhf(from_input<T>(p, at.direction, at.row + r, t[r], 2, u) + state);
        float z = at.next[r * p.units + u];
        at.next[r * p.units + u] = (1 - z) * n + z * at.h[r * p.units + u];
    }
}

template <class T>
MD__DEVICE void rnn_unit(const struct md__cuda_recurrent &p, const place &at, const int64_t *t,
                         int64_t u)
{
    float sums[1][ROWS];
    recur<T, 1>(p, at.direction, 0, u, at.h, sums);
    for (int r = 0; r < ROWS; r++)
        if (t[r] >= 0)
            at.next[r * p.units + u] =
                tanhf(sums[0][r] + bias_of<T>(p, at.direction, p.units + u) +
                      from_input<T>(p, at.direction, at.row + r, t[r], 0, u));
}

template <class T>
MD__DEVICE void step(const struct md__cuda_recurrent &p, const place &at, const int64_t *t)
{
    for (int64_t u = threadIdx.x; u < p.units; u += blockDim.x) {
        if (p.gates == 4)
            lstm_unit<T>(p, at, t, u);
        else if (p.gates == 1)
            rnn_unit<T>(p, at, t, u);
        else if (p.reset_after)
            gru_unit<T>(p, at, t, u);
        else
            gru_reset_unit<T>(p, at, t, u);
    }
    __syncthreads();
    if (p.gates != 3 || p.reset_after)
        return;
    for (int64_t u = threadIdx.x; u < p.units; u += blockDim.x)
        gru_new_unit<T>(p, at, t, u);
    __syncthreads();
}

MD__DEVICE int64_t state_at(const struct md__cuda_recurrent &p, int64_t direction, int64_t row)
{
    return (p.batch_first ? row * p.directions + direction : direction * p.batch + row) * p.units;
}

MD__DEVICE int64_t y_at(const struct md__cuda_recurrent &p, int64_t t, int64_t direction,
                        int64_t row)
{
    return p.batch_first ? ((row * p.steps + t) * p.directions + direction) * p.units
                         : ((t * p.directions + direction) * p.batch + row) * p.units;
}

/* A length outside of what there is counts as the nearest one. */
MD__DEVICE int64_t length_of(const struct md__cuda_recurrent &p, int64_t row)
{
    if (row >= p.batch)
        return 0;
    int64_t length = p.lengths ? p.lengths[row] : p.steps;
    return length < 0 ? 0 : length > p.steps ? p.steps : length;
}

/* Copies states between memory (NULL: zeros) and the block. */
template <class T>
MD__DEVICE void load_states(const struct md__cuda_recurrent &p, const place &at, const void *from,
                            float *to)
{
    for (int64_t i = threadIdx.x; i < ROWS * p.units; i += blockDim.x) {
        int64_t row = at.row + i / p.units;
        to[i] = from && row < p.batch
                    ? md__load((const T *)from + state_at(p, at.direction, row) + i % p.units)
                    : 0.0f;
    }
}

template <class T>
MD__DEVICE void store_states(const struct md__cuda_recurrent &p, const place &at, const float *from,
                             void *to)
{
    for (int64_t i = threadIdx.x; to && i < ROWS * p.units; i += blockDim.x) {
        int64_t row = at.row + i / p.units;
        if (row < p.batch)
            md__store((T *)to + state_at(p, at.direction, row) + i % p.units, from[i]);
    }
}

template <class T> static __global__ void recurrent_kernel(struct md__cuda_recurrent p)
{
    MD__SHARED(float, memory);
    float *h = memory, *next = h + ROWS * p.units;
    place at = {(int64_t)blockIdx.x * ROWS, blockIdx.y, h, next, next + ROWS * p.units};
    bool reverse = p.reverse || at.direction == 1;
    int64_t length[ROWS], t[ROWS];
    for (int r = 0; r < ROWS; r++)
        length[r] = length_of(p, at.row + r);
    load_states<T>(p, at, p.h0, h);
    load_states<T>(p, at, p.c0, at.c);
    __syncthreads();
    for (int64_t now = 0; now < p.steps; now++) {
        for (int r = 0; r < ROWS; r++)
            t[r] = now >= length[r] ? -1 : reverse ? length[r] - 1 - now : now;
        step<T>(p, at, t);
        for (int64_t i = threadIdx.x; i < ROWS * p.units; i += blockDim.x) {
            int64_t r = i / p.units, u = i % p.units;
            float value = t[r] < 0 ? 0.0f : next[i];
            h[i] = t[r] < 0 ? h[i] : value;
            if (p.y && at.row + r < p.batch)
                md__store((T *)p.y + y_at(p, t[r] < 0 ? now : t[r], at.direction, at.row + r) + u,
                          value);
        }
        __syncthreads();
    }
    store_states<T>(p, at, h, p.y_h);
    store_states<T>(p, at, at.c, p.y_c);
}

int md__cuda_recurrent(md__cuda_stream stream, const struct md__cuda_recurrent *p)
{
    if (p->batch == 0 || p->units == 0)
        return 0;
    unsigned threads = p->units >= 256 ? 256 : (unsigned)(p->units + 31) / 32 * 32;
    dim3 grid((unsigned)((p->batch + ROWS - 1) / ROWS), (unsigned)p->directions);
    size_t bytes = 3 * sizeof(float) * ROWS * (size_t)p->units;
    MD__BY_FLOAT(p->storage, return md__launch(stream, "recurrent", recurrent_kernel<T>, grid,
                                               dim3(threads), bytes, *p))
}
