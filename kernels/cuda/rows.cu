/*
 * What works on lines: Softmax and its kin along an axis, norms of rows, the moments and the affine
 * end of norms over places.
 *
 * Statistics are float32: a mean, then squares around it, never a difference of large sums. Norms
 * over places (InstanceNormalization, GroupNormalization) go in three launches: moments of pieces
 * of each channel, so that few channels still fill a GPU; mean, factor and addend of each channel
 * and batch element from them; the result, with residual and activation.
 */
#include "kernels/cuda/functions.cuh"

/* ---- Softmax, LogSoftmax, Hardmax, LpNormalization --------------------------------------------
 */

template <class T>
static __global__ void softmax_rows_kernel(enum md__cuda_line kind, const T *x, T *y, int64_t lines,
                                           int64_t n)
{
    for (int64_t l = blockIdx.x; l < lines; l += gridDim.x) {
        const T *row = x + l * n;
        float most = -INFINITY, sum = 0;
        for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
            most = md__larger()(md__load(&row[i]), most);
        most = md__block_all(most, md__larger());
        for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
            sum += expf(md__load(&row[i]) - most);
        sum = md__block_all(sum, md__plus());
        float inverse = 1.0f / sum, logarithm = logf(sum);
        for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
            float value = md__load(&row[i]) - most;
            md__store(&y[l * n + i],
                      kind == MD__CUDA_LINE_SOFTMAX ? expf(value) * inverse : value - logarithm);
        }
    }
}

/* One thread a line: neighbouring lines lie side by side. */
template <class T>
static __global__ void lines_kernel(enum md__cuda_line kind, const T *x, T *y, int64_t lines,
                                    int64_t n, int64_t inner)
{
    for (int64_t l = md__first(); l < lines; l += md__stride()) {
        int64_t base = l / inner * n * inner + l % inner, best = 0;
        float most = -INFINITY, sum = 0, norm = 0;
        for (int64_t i = 0; i < n; i++) {
            float value = md__load(&x[base + i * inner]);
            best = i > 0 && value > most ? i : best;
            most = md__larger()(value, most);
            norm += kind == MD__CUDA_LINE_L1 ? fabsf(value) : value * value;
        }
        if (kind == MD__CUDA_LINE_SOFTMAX || kind == MD__CUDA_LINE_LOG_SOFTMAX)
            for (int64_t i = 0; i < n; i++)
                sum += expf(md__load(&x[base + i * inner]) - most);
        norm = kind == MD__CUDA_LINE_L2 ? sqrtf(norm) : norm;
        for (int64_t i = 0; i < n; i++) {
            float value = md__load(&x[base + i * inner]);
            switch (kind) {
            case MD__CUDA_LINE_SOFTMAX:
                value = expf(value - most) / sum;
                break;
            case MD__CUDA_LINE_LOG_SOFTMAX:
                value = value - most - logf(sum);
                break;
            case MD__CUDA_LINE_HARDMAX:
                value = i == best;
                break;
            default:
                value = norm == 0 ? 0 : value / norm;
            }
            md__store(&y[base + i * inner], value);
        }
    }
}

int md__cuda_lines(md__cuda_stream stream, int storage, enum md__cuda_line kind, const void *x,
                   void *y, int64_t outer, int64_t n, int64_t inner)
{
    int64_t lines = outer * inner;
    if (lines * n == 0)
        return 0;
    bool softmax = kind == MD__CUDA_LINE_SOFTMAX || kind == MD__CUDA_LINE_LOG_SOFTMAX;
    MD__BY_FLOAT(storage, {
        if (softmax && inner == 1)
            return md__launch(stream, "softmax_rows", softmax_rows_kernel<T>, md__blocks(lines, 1),
                              dim3(md__row_threads(n)), 0, kind, (const T *)x, (T *)y, lines, n);
        return md__launch(stream, "lines", lines_kernel<T>, md__blocks(lines, 128), dim3(128), 0,
                          kind, (const T *)x, (T *)y, lines, n, inner);
    })
}

/* ---- norms of rows --------------------------------------------------------------------------- */

/* The row's element i after residual and addend. */
template <class T>
MD__DEVICE float summed(const struct md__cuda_row_norm &p, int64_t row, int64_t i)
{
    float value = md__load((const T *)p.x + row * p.n + i);
    if (p.residual)
        value += md__load((const T *)p.residual + (row % p.residual_rows) * p.n + i);
    if (p.addend)
        value += md__load((const T *)p.addend + (row % p.addend_rows) * p.n + i);
    return value;
}

template <class T> static __global__ void row_norm_kernel(struct md__cuda_row_norm p)
{
    for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
        float mean = 0, square = 0;
        for (int64_t i = threadIdx.x; p.centred && i < p.n; i += blockDim.x)
            mean += summed<T>(p, row, i);
        if (p.centred)
            mean = md__block_all(mean, md__plus()) / (float)p.n;
        for (int64_t i = threadIdx.x; i < p.n; i += blockDim.x) {
            float value = summed<T>(p, row, i) - mean;
            square += value * value;
        }
        square = md__block_all(square, md__plus());
        float inverse = rsqrtf(square / (float)p.n + p.epsilon);
        for (int64_t i = threadIdx.x; i < p.n; i += blockDim.x) {
            float whole = summed<T>(p, row, i), value = (whole - mean) * inverse;
            value *= p.scale ? md__load((const T *)p.scale + i % p.scale_n) : 1.0f;
            value += p.shift ? md__load((const T *)p.shift + i % p.shift_n) : 0.0f;
            if (p.sum)
                md__store((T *)p.sum + row * p.n + i, whole);
            md__store((T *)p.y + row * p.n + i, value);
        }
        if (p.mean && threadIdx.x == 0)
            md__store((T *)p.mean + row, mean);
        if (p.inverse && threadIdx.x == 0)
            md__store((T *)p.inverse + row, inverse);
    }
}

int md__cuda_row_norm(md__cuda_stream stream, const struct md__cuda_row_norm *p)
{
    if (p->rows * p->n == 0)
        return 0;
    MD__BY_FLOAT(p->storage,
                 return md__launch(stream, "row_norm", row_norm_kernel<T>, md__blocks(p->rows, 1),
                                   dim3(md__row_threads(p->n)), 0, *p))
}

/* ---- norms over places ----------------------------------------------------------------------- */

/* Where channel c of place i of batch element n lies. */
MD__DEVICE int64_t place(const struct md__cuda_place_norm &p, int64_t n, int64_t c, int64_t i)
{
    return p.last ? (n * p.places + i) * p.channels + c : (n * p.channels + c) * p.places + i;
}

/* Mean and sum of squares around it, of places [begin, end) of one channel: two passes in float32,
 * whose second one finds its numbers in the cache. Channels of a piece are spread over threads when
 * they lie side by side; else the places are. */
template <class T> static __global__ void moments_last_kernel(struct md__cuda_place_norm p)
{
    int64_t piece = blockIdx.x, n = blockIdx.y;
    int64_t begin = piece * p.piece, end = begin + p.piece < p.places ? begin + p.piece : p.places;
    const T *x = (const T *)p.x;
    for (int64_t c = threadIdx.x; c < p.channels; c += blockDim.x) {
        float mean = 0, square = 0;
        for (int64_t i = begin; i < end; i++)
            mean += md__load(&x[place(p, n, c, i)]);
        mean /= (float)(end - begin);
        for (int64_t i = begin; i < end; i++) {
            float value = md__load(&x[place(p, n, c, i)]) - mean;
            square += value * value;
        }
        float *moments = p.moments + 2 * ((n * p.pieces + piece) * p.channels + c);
        moments[0] = mean;
        moments[1] = square;
    }
}

template <class T> static __global__ void moments_first_kernel(struct md__cuda_place_norm p)
{
    int64_t piece = blockIdx.x, n = blockIdx.y;
    int64_t begin = piece * p.piece, end = begin + p.piece < p.places ? begin + p.piece : p.places;
    const T *x = (const T *)p.x;
    for (int64_t c = blockIdx.z; c < p.channels; c += gridDim.z) {
        float mean = 0, square = 0;
        for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x)
            mean += md__load(&x[place(p, n, c, i)]);
        mean = md__block_all(mean, md__plus()) / (float)(end - begin);
        for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
            float value = md__load(&x[place(p, n, c, i)]) - mean;
            square += value * value;
        }
        square = md__block_all(square, md__plus());
        float *moments = p.moments + 2 * ((n * p.pieces + piece) * p.channels + c);
        if (threadIdx.x == 0) {
            moments[0] = mean;
            moments[1] = square;
        }
    }
}

/* Chan's way to put moments of pieces together: https://doi.org/10.1080/00031305.1983.10483115 */
MD__DEVICE void join_moments(float *count, float *mean, float *square, float other_count,
                             float other_mean, float other_square)
{
    float whole = *count + other_count, delta = other_mean - *mean;
    *mean += delta * (other_count / whole);
    *square += other_square + delta * delta * (*count * other_count / whole);
    *count = whole;
}

/* One thread a group and batch element: pieces are few. */
template <class T> static __global__ void factors_kernel(struct md__cuda_place_norm p)
{
    int64_t width = p.channels / p.groups;
    for (int64_t at = md__first(); at < p.batch * p.groups; at += md__stride()) {
        int64_t n = at / p.groups, first = at % p.groups * width;
        float count = 0, mean = 0, square = 0;
        for (int64_t piece = 0; piece < p.pieces; piece++)
            for (int64_t c = first; c < first + width; c++) {
                int64_t left = p.places - piece * p.piece;
                const float *moments = p.moments + 2 * ((n * p.pieces + piece) * p.channels + c);
                join_moments(&count, &mean, &square, (float)(left < p.piece ? left : p.piece),
                             moments[0], moments[1]);
            }
        float inverse = rsqrtf(square / count + p.epsilon);
        for (int64_t c = first; c < first + width; c++) {
            float *factors = p.factors + 3 * (n * p.channels + c);
            factors[0] = mean;
            factors[1] = inverse * md__load((const T *)p.scale + c);
            factors[2] = md__load((const T *)p.shift + c);
        }
    }
}

/* Given mean and variance: BatchNormalization. */
template <class T> static __global__ void given_factors_kernel(struct md__cuda_place_norm p)
{
    for (int64_t c = md__first(); c < p.channels; c += md__stride()) {
        float inverse = rsqrtf(md__load((const T *)p.variance + c) + p.epsilon);
        p.factors[3 * c] = md__load((const T *)p.mean + c);
        p.factors[3 * c + 1] = inverse * md__load((const T *)p.scale + c);
        p.factors[3 * c + 2] = md__load((const T *)p.shift + c);
    }
}

template <class T> static __global__ void affine_kernel(struct md__cuda_place_norm p, int64_t count)
{
    for (int64_t i = md__first(); i < count; i += md__stride()) {
        int64_t c = p.last ? i % p.channels : i / p.places % p.channels;
        int64_t n = i / (p.places * p.channels);
        const float *factors = p.factors + 3 * (p.mean ? c : n * p.channels + c);
        float value = (md__load((const T *)p.x + i) - factors[0]) * factors[1] + factors[2];
        value += p.z ? md__load((const T *)p.z + i) : 0.0f;
        md__store((T *)p.y + i, md__function(p.function, value, p.function_a, p.function_b));
    }
}

template <class T>
static int place_factors(md__cuda_stream stream, const struct md__cuda_place_norm &p)
{
    if (p.mean)
        return md__launch(stream, "given_factors", given_factors_kernel<T>,
                          md__blocks(p.channels, 128), dim3(128), 0, p);
    if (p.pieces > 0x7fffffff || p.batch > 65535)
        return MD__CUDA_REFUSED;
    int64_t channels = p.channels < 65535 ? p.channels : 65535;
    dim3 grid((unsigned)p.pieces, (unsigned)p.batch, p.last ? 1 : (unsigned)channels);
    int error =
        md__launch(stream, "moments", p.last ? moments_last_kernel<T> : moments_first_kernel<T>,
                   grid, dim3(128), 0, p);
    if (error)
        return error;
    return md__launch(stream, "factors", factors_kernel<T>, md__blocks(p.batch * p.groups, 64),
                      dim3(64), 0, p);
}

int md__cuda_place_norm(md__cuda_stream stream, const struct md__cuda_place_norm *p)
{
    int64_t count = p->batch * p->channels * p->places;
    if (count == 0)
        return 0;
    MD__BY_FLOAT(p->storage, {
        int error = place_factors<T>(stream, *p);
        return error ? error
                     : md__launch(stream, "affine", affine_kernel<T>, md__blocks(count, 256),
                                  dim3(256), 0, *p, count);
    })
}
