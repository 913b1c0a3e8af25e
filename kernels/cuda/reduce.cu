/*
 * Reductions over any axes, ArgMax and ArgMin, running sums, TopK.
 *
 * Two maps say where the elements of a result lie: `kept` leads to its first one, `inside` through
 * all of them. A warp or block takes a result whose elements follow each other, a thread one whose
 * neighbours' elements do. Sums are float32, of integers 64 bits.
 */
#include "kernels/cuda/map.cuh"

MD__DEVICE float start_of(enum md__cuda_reduction kind)
{
    return kind == MD__CUDA_REDUCE_MAX    ? -INFINITY
           : kind == MD__CUDA_REDUCE_MIN  ? INFINITY
           : kind == MD__CUDA_REDUCE_PROD ? 1.0f
                                          : 0.0f;
}

/* An element, ready to be joined with others. */
MD__DEVICE float taken(enum md__cuda_reduction kind, float x, float shift)
{
    switch (kind) {
    case MD__CUDA_REDUCE_L1:
        return fabsf(x);
    case MD__CUDA_REDUCE_L2:
    case MD__CUDA_REDUCE_SUM_SQUARE:
        return x * x;
    case MD__CUDA_REDUCE_LOG_SUM_EXP:
        return expf(x - shift);
    default:
        return x;
    }
}

struct joins {
    enum md__cuda_reduction kind;
    __device__ float operator()(float a, float b) const
    {
        switch (kind) {
        case MD__CUDA_REDUCE_MAX:
            return a > b || a != a ? a : b;
        case MD__CUDA_REDUCE_MIN:
            return a < b || a != a ? a : b;
        case MD__CUDA_REDUCE_PROD:
            return a * b;
        default:
            return a + b;
        }
    }
};

MD__DEVICE float ended(enum md__cuda_reduction kind, float total, float shift, int64_t n)
{
    switch (kind) {
    case MD__CUDA_REDUCE_MEAN:
        return total / (float)n;
    case MD__CUDA_REDUCE_L2:
        return sqrtf(total);
    case MD__CUDA_REDUCE_LOG_SUM:
        return logf(total);
    case MD__CUDA_REDUCE_LOG_SUM_EXP:
        return shift + logf(total);
    default:
        return total;
    }
}

/* The largest decides alone when it is infinite: inf - inf would not. */
MD__DEVICE bool decides(float shift)
{
    return fabsf(shift) == INFINITY || shift != shift;
}

template <class T>
static __global__ void reduce_block_kernel(enum md__cuda_reduction kind, struct md__cuda_map kept,
                                           struct md__cuda_map inside, const T *x, T *y)
{
    for (int64_t r = blockIdx.x; r < kept.count; r += gridDim.x) {
        const T *from = x + md__place(kept, r);
        float shift = 0, total = start_of(kind);
        if (kind == MD__CUDA_REDUCE_LOG_SUM_EXP) {
            shift = -INFINITY;
            for (int64_t i = threadIdx.x; i < inside.count; i += blockDim.x)
                shift = md__larger()(md__load(from + md__place(inside, i)), shift);
            shift = md__block_all(shift, md__larger());
        }
        for (int64_t i = threadIdx.x; i < inside.count; i += blockDim.x)
            total = joins{kind}(taken(kind, md__load(from + md__place(inside, i)), shift), total);
        total = md__block_all(total, joins{kind});
        if (threadIdx.x == 0)
            md__store(&y[r], kind == MD__CUDA_REDUCE_LOG_SUM_EXP && decides(shift)
                                 ? shift
                                 : ended(kind, total, shift, inside.count));
    }
}

template <class T>
static __global__ void reduce_thread_kernel(enum md__cuda_reduction kind, struct md__cuda_map kept,
                                            struct md__cuda_map inside, const T *x, T *y)
{
    for (int64_t r = md__first(); r < kept.count; r += md__stride()) {
        const T *from = x + md__place(kept, r);
        float shift = 0, total = start_of(kind);
        if (kind == MD__CUDA_REDUCE_LOG_SUM_EXP) {
            shift = -INFINITY;
            for (int64_t i = 0; i < inside.count; i++)
                shift = md__larger()(md__load(from + md__place(inside, i)), shift);
        }
        for (int64_t i = 0; i < inside.count; i++)
            total = joins{kind}(taken(kind, md__load(from + md__place(inside, i)), shift), total);
        md__store(&y[r], kind == MD__CUDA_REDUCE_LOG_SUM_EXP && decides(shift)
                             ? shift
                             : ended(kind, total, shift, inside.count));
    }
}

template <class T>
static __global__ void reduce_int_kernel(enum md__cuda_reduction kind, struct md__cuda_map kept,
                                         struct md__cuda_map inside, const T *x, T *y)
{
    for (int64_t r = md__first(); r < kept.count; r += md__stride()) {
        const T *from = x + md__place(kept, r);
        uint64_t total = kind == MD__CUDA_REDUCE_PROD;
        T most = inside.count ? *from : 0, least = most;
        for (int64_t i = 0; i < inside.count; i++) {
            T value = from[md__place(inside, i)];
            uint64_t wide = (uint64_t)(int64_t)value;
            most = value > most ? value : most;
            least = value < least ? value : least;
            wide = kind == MD__CUDA_REDUCE_L1 && value < 0 ? 0 - wide : wide;
            wide = kind == MD__CUDA_REDUCE_SUM_SQUARE ? wide * wide : wide;
            total = kind == MD__CUDA_REDUCE_PROD ? total * wide : total + wide;
        }
        if (kind == MD__CUDA_REDUCE_MEAN && inside.count)
            total = (uint64_t)((int64_t)total / inside.count);
        y[r] = kind == MD__CUDA_REDUCE_MAX ? most : kind == MD__CUDA_REDUCE_MIN ? least : (T)total;
    }
}

template <class T>
static int reduce_int(md__cuda_stream stream, enum md__cuda_reduction kind,
                      const struct md__cuda_map *kept, const struct md__cuda_map *inside,
                      const void *x, void *y)
{
    return md__launch(stream, "reduce_int", reduce_int_kernel<T>, md__blocks(kept->count, 128),
                      dim3(128), 0, kind, *kept, *inside, (const T *)x, (T *)y);
}

int md__cuda_reduce(md__cuda_stream stream, int storage, enum md__cuda_reduction kind,
                    const struct md__cuda_map *kept, const struct md__cuda_map *inside,
                    const void *x, void *y)
{
    if (kept->count == 0)
        return 0;
    if (storage == MD__CUDA_I64)
        return reduce_int<int64_t>(stream, kind, kept, inside, x, y);
    if (storage == MD__CUDA_I32)
        return reduce_int<int32_t>(stream, kind, kept, inside, x, y);
    bool along = inside->stride[0][inside->rank - 1] == 1 || kept->count < 1024;
    MD__BY_FLOAT(storage, {
        if (along && inside->count > 16)
            return md__launch(stream, "reduce_block", reduce_block_kernel<T>,
                              md__blocks(kept->count, 1), dim3(md__row_threads(inside->count)), 0,
                              kind, *kept, *inside, (const T *)x, (T *)y);
        return md__launch(stream, "reduce_thread", reduce_thread_kernel<T>,
                          md__blocks(kept->count, 128), dim3(128), 0, kind, *kept, *inside,
                          (const T *)x, (T *)y);
    })
}

/* ---- ArgMax, ArgMin -------------------------------------------------------------------------- */

/* A NaN is the most and the least: the first one is found. */
template <class V> MD__DEVICE bool beats(V a, V b, bool least, bool last)
{
    if (a != a || b != b)
        return a != a && (b == b || last);
    return least ? (last ? a <= b : a < b) : (last ? a >= b : a > b);
}

template <class T>
static __global__ void arg_kernel(bool least, bool last, const T *x, int64_t *y, int64_t lines,
                                  int64_t n, int64_t inner)
{
    for (int64_t l = md__first(); l < lines; l += md__stride()) {
        const T *line = x + l / inner * n * inner + l % inner;
        int64_t best = 0;
        auto found = md__load(line);
        for (int64_t i = 1; i < n; i++) {
            auto value = md__load(line + i * inner);
            if (beats(value, found, least, last)) {
                best = i;
                found = value;
            }
        }
        y[l] = best;
    }
}

template <class T>
static int arg(md__cuda_stream stream, bool least, bool last, const void *x, void *y, int64_t lines,
               int64_t n, int64_t inner)
{
    return md__launch(stream, "arg", arg_kernel<T>, md__blocks(lines, 128), dim3(128), 0, least,
                      last, (const T *)x, (int64_t *)y, lines, n, inner);
}

int md__cuda_arg(md__cuda_stream stream, int storage, bool least, bool last, const void *x, void *y,
                 int64_t outer, int64_t n, int64_t inner)
{
    int64_t lines = outer * inner;
    if (lines == 0 || n == 0)
        return 0;
    if (storage == MD__CUDA_I64)
        return arg<int64_t>(stream, least, last, x, y, lines, n, inner);
    if (storage == MD__CUDA_I32)
        return arg<int32_t>(stream, least, last, x, y, lines, n, inner);
    MD__BY_FLOAT(storage, return arg<T>(stream, least, last, x, y, lines, n, inner))
}

/* ---- running sums and products --------------------------------------------------------------- */

template <class T>
static __global__ void running_kernel(bool product, bool exclusive, bool reverse, const T *x, T *y,
                                      int64_t lines, int64_t n, int64_t inner)
{
    for (int64_t l = md__first(); l < lines; l += md__stride()) {
        int64_t base = l / inner * n * inner + l % inner;
        float total = product ? 1.0f : 0.0f;
        for (int64_t k = 0; k < n; k++) {
            int64_t at = base + (reverse ? n - 1 - k : k) * inner;
            float value = md__load(&x[at]), before = total;
            total = product ? total * value : total + value;
            md__store(&y[at], exclusive ? before : total);
        }
    }
}

static __global__ void running_int_kernel(bool product, bool exclusive, bool reverse,
                                          const int64_t *x, int64_t *y, int64_t lines, int64_t n,
                                          int64_t inner)
{
    for (int64_t l = md__first(); l < lines; l += md__stride()) {
        int64_t base = l / inner * n * inner + l % inner;
        uint64_t total = product;
        for (int64_t k = 0; k < n; k++) {
            int64_t at = base + (reverse ? n - 1 - k : k) * inner;
            uint64_t value = (uint64_t)x[at], before = total;
            total = product ? total * value : total + value;
            y[at] = (int64_t)(exclusive ? before : total);
        }
    }
}

int md__cuda_running(md__cuda_stream stream, int storage, bool product, bool exclusive,
                     bool reverse, const void *x, void *y, int64_t outer, int64_t n, int64_t inner)
{
    int64_t lines = outer * inner;
    if (lines * n == 0)
        return 0;
    dim3 grid = md__blocks(lines, 128);
    if (storage == MD__CUDA_I64)
        return md__launch(stream, "running_int", running_int_kernel, grid, dim3(128), 0, product,
                          exclusive, reverse, (const int64_t *)x, (int64_t *)y, lines, n, inner);
    MD__BY_FLOAT(storage, return md__launch(stream, "running", running_kernel<T>, grid, dim3(128),
                                            0, product, exclusive, reverse, (const T *)x, (T *)y,
                                            lines, n, inner))
}

/* ---- TopK ------------------------------------------------------------------------------------ */

/* Whether (a, i) comes before (b, j): the lower index wins among equals, a NaN counts as largest.
 */
MD__DEVICE bool before(float a, int64_t i, float b, int64_t j, bool largest)
{
    bool a_nan = a != a, b_nan = b != b;
    if (a == b || (a_nan && b_nan))
        return i < j;
    bool above = a_nan || (!b_nan && a > b);
    return above == largest;
}

/* One thread a line: the best after the last one found, k times. */
template <class T>
static __global__ void top_k_kernel(bool largest, const T *x, T *y, int64_t *at, int64_t lines,
                                    int64_t n, int64_t inner, int64_t k)
{
    for (int64_t l = md__first(); l < lines; l += md__stride()) {
        const T *line = x + l / inner * n * inner + l % inner;
        int64_t place = l / inner * k * inner + l % inner, found = -1;
        float value = 0;
        for (int64_t r = 0; r < k; r++, place += inner) {
            int64_t best = -1;
            float most = 0;
            for (int64_t i = 0; i < n; i++) {
                float now = md__load(line + i * inner);
                bool left = found < 0 || before(value, found, now, i, largest);
                if (left && (best < 0 || before(now, i, most, best, largest))) {
                    best = i;
                    most = now;
                }
            }
            found = best;
            value = most;
            if (y)
                md__store(&y[place], most);
            if (at)
                at[place] = best;
        }
    }
}

int md__cuda_top_k(md__cuda_stream stream, int storage, bool largest, const void *x, void *y,
                   void *at, int64_t outer, int64_t n, int64_t inner, int64_t k)
{
    int64_t lines = outer * inner;
    if (lines * k == 0)
        return 0;
    MD__BY_FLOAT(storage, return md__launch(stream, "top_k", top_k_kernel<T>, md__blocks(lines, 64),
                                            dim3(64), 0, largest, (const T *)x, (T *)y,
                                            (int64_t *)at, lines, n, inner, k))
}
