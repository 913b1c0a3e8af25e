/*
 * Resize: where each position of an axis looks is worked out once in double, as on the CPU, into a
 * table; then each element is blended, nearest and linear from at most eight, cubic ones and those
 * with antialiasing from as many as their filters have taps.
 */
#include "kernels/cuda/functions.cuh"

/* Position i of an axis, in the input; runtime/graph/resize.c says where the formulas are from. */
MD__DEVICE double source(const struct md__cuda_resize &p, const struct md__cuda_resize_axis &a,
                         int64_t i)
{
    double x = (double)i, in = (double)a.in, length = a.scale * in;
    double half = (x + 0.5) / a.scale - 0.5;
    switch (p.coordinates) {
    case MD__CUDA_RESIZE_HALF_PIXEL_SYMMETRIC:
        return in / 2 * (1 - (double)a.out / length) + half;
    case MD__CUDA_RESIZE_PYTORCH_HALF_PIXEL:
        return a.out > 1 ? half : 0;
    case MD__CUDA_RESIZE_ALIGN_CORNERS:
        return length == 1 || a.out == 1 ? 0 : x * (in - 1) / (length - 1);
    case MD__CUDA_RESIZE_ASYMMETRIC:
        return x / a.scale;
    case MD__CUDA_RESIZE_CROP:
        if (a.out > 1)
            return a.begin * (in - 1) + x * (a.end - a.begin) * (in - 1) / (length - 1);
        return 0.5 * (a.begin + a.end) * (in - 1);
    case MD__CUDA_RESIZE_HALF_PIXEL_NN:
        return (x + 0.5) / a.scale;
    default:
        return half;
    }
}

MD__DEVICE double rounded(enum md__cuda_nearest nearest, double x)
{
    switch (nearest) {
    case MD__CUDA_NEAREST_FLOOR:
        return floor(x);
    case MD__CUDA_NEAREST_CEIL:
        return ceil(x);
    case MD__CUDA_NEAREST_ROUND_CEIL:
        return floor(x + 0.5);
    default:
        return ceil(x - 0.5);
    }
}

MD__DEVICE int64_t clamped(double at, int64_t n)
{
    return at <= 0 ? 0 : at >= (double)n ? n - 1 : (int64_t)at;
}

/* What a tap at `at`, `distance` from the place, counts. */
MD__DEVICE float weight(const struct md__cuda_resize &p, const struct md__cuda_resize_axis &a,
                        double distance, int64_t at)
{
    float x = (float)(fabs(distance) * a.filter);
    if (p.exclude_outside && (at < 0 || at >= a.in))
        return 0;
    if (p.cubic)
        return md__cubic(x, p.cubic_a);
    return x < 1 ? 1 - x : 0.0f;
}

MD__DEVICE void put_filter(const struct md__cuda_resize &p, const struct md__cuda_resize_axis &a,
                           double x, struct md__cuda_resize_source *to)
{
    double reach = floor(-(p.cubic ? 2 : 1) / a.filter) + 1, left = floor(x) + reach;
    to->low = (int64_t)left;
    to->high = to->low + 2 - 2 * (int64_t)reach;
    to->share = (float)(x - left);
    to->norm = 1;
    if (!p.normed)
        return;
    float sum = 0;
    for (int64_t at = to->low; at < to->high; at++)
        sum += weight(p, a, (double)(at - to->low) - (x - left), at);
    to->norm = sum;
}

static __global__ void table_kernel(struct md__cuda_resize p)
{
    for (int k = 0; k < p.rank; k++) {
        const struct md__cuda_resize_axis &a = p.axes[k];
        for (int64_t i = md__first(); a.used && i < a.out; i += md__stride()) {
            double x = source(p, a, i);
            bool region = fabs(x) < 1e15;
            struct md__cuda_resize_source *to = &p.table[a.table + i];
            to->outside = !region || (p.coordinates == MD__CUDA_RESIZE_CROP &&
                                      (x < 0 || x > (double)a.in - 1));
            if (p.filtered) {
                put_filter(p, a, region ? x : 0, to);
                continue;
            }
            double low = region ? (p.linear ? floor(x) : rounded(p.nearest, x)) : 0;
            to->low = clamped(low, a.in);
            to->high = clamped(low + p.linear, a.in);
            to->share = p.linear && region ? (float)(x - low) : 0.0f;
        }
    }
}

/* Element i of y from its value without what is added to it and applied. */
template <class T> MD__DEVICE void finish(const struct md__cuda_resize &p, int64_t i, float value)
{
    value += p.z ? md__load((const T *)p.z + i) : 0.0f;
    md__store((T *)p.y + i, md__function(p.function, value, p.function_a, p.function_b));
}

/* Where element i of y begins along the axes that stay; take(k, source) is told of the others. */
template <class Take>
MD__DEVICE int64_t split(const struct md__cuda_resize &p, int64_t i, Take take)
{
    int64_t base = 0;
    for (int k = p.rank - 1; k >= 0; k--) {
        const struct md__cuda_resize_axis &a = p.axes[k];
        int64_t at = i % a.out;
        i /= a.out;
        if (a.used)
            take(k, p.table[a.table + at]);
        else
            base += at * a.stride;
    }
    return base;
}

template <class T> static __global__ void filter_kernel(struct md__cuda_resize p)
{
    for (int64_t i = md__first(); i < p.count; i += md__stride()) {
        int64_t all = 1, count[3];
        const struct md__cuda_resize_source *from[3];
        int axis[3], used = 0;
        bool outside = false;
        float value = 0;
        int64_t base = split(p, i, [&](int k, const struct md__cuda_resize_source &source) {
            from[used] = &source;
            outside = outside || source.outside;
            count[used] = source.high - source.low;
            all *= count[used];
            axis[used++] = k;
        });
        for (int64_t tap = 0; !outside && tap < all; tap++) {
            int64_t left = tap, at = base;
            float part = 1;
            for (int k = 0; k < used; k++, left /= count[k - 1]) {
                const struct md__cuda_resize_axis &a = p.axes[axis[k]];
                int64_t j = left % count[k], element = from[k]->low + j;
                part *= weight(p, a, (double)j - from[k]->share, element) / from[k]->norm;
                at += (element < 0 ? 0 : element >= a.in ? a.in - 1 : element) * a.stride;
            }
            if (part != 0)
                value += part * md__load((const T *)p.x + at);
        }
        finish<T>(p, i, outside ? p.extrapolation : value);
    }
}

template <class T> static __global__ void resize_kernel(struct md__cuda_resize p)
{
    for (int64_t i = md__first(); i < p.count; i += md__stride()) {
        int64_t low = 0, step[3] = {0, 0, 0};
        float share[3] = {0, 0, 0}, value = 0;
        int used = 0;
        bool outside = false;
        int64_t base = split(p, i, [&](int k, const struct md__cuda_resize_source &source) {
            int64_t stride = p.axes[k].stride;
            low += source.low * stride;
            step[used] = (source.high - source.low) * stride;
            outside = outside || source.outside;
            share[used++] = source.share;
        });
        for (int corner = 0; corner < (p.linear ? 1 << used : 1); corner++) {
            float part = 1;
            int64_t at = base + low;
            for (int k = 0; k < used; k++) {
                bool high = corner >> k & 1;
                part *= high ? share[k] : 1.0f - share[k];
                at += high ? step[k] : 0;
            }
            if (part != 0)
                value += part * md__load((const T *)p.x + at);
        }
        finish<T>(p, i, outside ? p.extrapolation : value);
    }
}

int md__cuda_resize(md__cuda_stream stream, const struct md__cuda_resize *p)
{
    if (p->count == 0)
        return 0;
    int error = md__launch(stream, "resize_table", table_kernel, dim3(8), dim3(128), 0, *p);
    if (error)
        return error;
    MD__BY_FLOAT(p->storage, {
        auto kernel = p->filtered ? filter_kernel<T> : resize_kernel<T>;
        return md__launch(stream, "resize", kernel, md__blocks(p->count, 256), dim3(256), 0, *p);
    })
}
