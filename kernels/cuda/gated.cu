/*
 * The TFT's gated networks: what comes after their products. One row is a block's work: gate,
 * resampled skip with its own norm, sum and norm, all in float32 between one load and one store.
 */
#include "kernels/cuda/functions.cuh"

/* Feature o of a row of `from` features stretched linearly to `to`, corners aligned. */
template <class T> MD__DEVICE float stretched(const T *row, int64_t from, int64_t to, int64_t o)
{
    if (from == to)
        return md__load(&row[o]);
    if (to == 1 || from == 1)
        return md__load(&row[0]);
    int64_t at = o * (from - 1) / (to - 1), rest = o * (from - 1) % (to - 1);
    float low = md__load(&row[at]), share = (float)rest / (float)(to - 1);
    return rest == 0 ? low : low + share * (md__load(&row[at + 1]) - low);
}

/* The skip's feature o before any norm. */
template <class T>
MD__DEVICE float skipped(const struct md__cuda_gate_norm &p, int64_t row, int64_t o)
{
    float x = stretched((const T *)p.skip + row * p.skip_row, p.skip_columns, p.columns, o);
    return p.skip_gate ? x * 2.0f * md__sigmoid(md__load((const T *)p.skip_gate + o)) : x;
}

/* Mean and inverse deviation of `columns` numbers that a thread of each gives. */
MD__DEVICE void moments(const float *x, int64_t columns, float epsilon, float *mean, float *inverse)
{
    float sum = 0, square = 0;
    for (int64_t o = threadIdx.x; o < columns; o += blockDim.x)
        sum += x[o];
    *mean = md__block_all(sum, md__plus()) / (float)columns;
    for (int64_t o = threadIdx.x; o < columns; o += blockDim.x)
        square += (x[o] - *mean) * (x[o] - *mean);
    *inverse = rsqrtf(md__block_all(square, md__plus()) / (float)columns + epsilon);
}

template <class T> static __global__ void gate_norm_kernel(struct md__cuda_gate_norm p)
{
    MD__SHARED(float, x);
    float mean, inverse;
    for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
        for (int64_t o = threadIdx.x; o < p.columns; o += blockDim.x)
            x[o] = skipped<T>(p, row, o);
        if (p.skip_gamma) {
            moments(x, p.columns, p.epsilon, &mean, &inverse);
            for (int64_t o = threadIdx.x; o < p.columns; o += blockDim.x)
                x[o] = (x[o] - mean) * inverse * md__load((const T *)p.skip_gamma + o) +
                       md__load((const T *)p.skip_beta + o);
        }
        for (int64_t o = threadIdx.x; p.gated && o < p.columns; o += blockDim.x) {
            const T *gated = (const T *)p.gated + row * 2 * p.columns + o;
            x[o] += md__load(gated) * md__sigmoid(md__load(gated + p.columns));
        }
        moments(x, p.columns, p.epsilon, &mean, &inverse);
        for (int64_t o = threadIdx.x; o < p.columns; o += blockDim.x)
            md__store((T *)p.y + row * p.columns + o,
                      (x[o] - mean) * inverse * md__load((const T *)p.gamma + o) +
                          md__load((const T *)p.beta + o));
        /* each thread reads and writes its own features of x: no barrier is needed */
    }
}

int md__cuda_gate_norm(md__cuda_stream stream, const struct md__cuda_gate_norm *p)
{
    if (p->rows * p->columns == 0)
        return 0;
    MD__BY_FLOAT(p->storage,
                 return md__launch(stream, "gate_norm", gate_norm_kernel<T>, md__blocks(p->rows, 1),
                                   dim3(md__row_threads(p->columns)),
                                   sizeof(float) * (size_t)p->columns, *p))
}

/* ---- sums with weights ----------------------------------------------------------------------- */

template <class T> static __global__ void weighted_sum_kernel(struct md__cuda_weighted_sum p)
{
    int64_t count = p.rows * p.columns;
    for (int64_t i = md__first(); i < count; i += md__stride()) {
        float sum = p.more ? md__load((const T *)p.y + i) : 0.0f;
        const T *weights = (const T *)p.weights + i / p.columns * p.weights_row;
        for (int k = 0; k < p.values_count; k++)
            sum += md__load(&weights[k]) * md__load((const T *)p.values[k] + i);
        md__store((T *)p.y + i, sum);
    }
}

int md__cuda_weighted_sum(md__cuda_stream stream, const struct md__cuda_weighted_sum *p)
{
    int64_t count = p->rows * p->columns;
    if (count == 0)
        return 0;
    MD__BY_FLOAT(p->storage, return md__launch(stream, "weighted_sum", weighted_sum_kernel<T>,
                                               md__blocks(count, 256), dim3(256), 0, *p))
}
