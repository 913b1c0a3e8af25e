/*
 * Resize, nearest and linear: where each position of an axis looks is worked out once in double, as
 * on the CPU, into a table; then each element is blended from at most eight.
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

static __global__ void table_kernel(struct md__cuda_resize p)
{
    for (int k = 0; k < p.rank; k++) {
        const struct md__cuda_resize_axis &a = p.axes[k];
        for (int64_t i = md__first(); a.used && i < a.out; i += md__stride()) {
            double x = source(p, a, i);
            bool region = fabs(x) < 1e15;
            bool outside = !region || (p.coordinates == MD__CUDA_RESIZE_CROP &&
                                       (x < 0 || x > (double)a.in - 1));
            double low = region ? (p.linear ? floor(x) : rounded(p.nearest, x)) : 0;
            struct md__cuda_resize_source *to = &p.table[a.table + i];
            to->low = clamped(low, a.in);
            to->high = clamped(low + p.linear, a.in);
            to->share = p.linear && region ? (float)(x - low) : 0.0f;
            to->outside = outside;
        }
    }
}

template <class T> static __global__ void resize_kernel(struct md__cuda_resize p)
{
    for (int64_t i = md__first(); i < p.count; i += md__stride()) {
        int64_t rest = i, base = 0, step[3] = {0, 0, 0};
        float share[3] = {0, 0, 0}, value = 0;
        int used = 0;
        bool outside = false;
        for (int k = p.rank - 1; k >= 0; k--) {
            const struct md__cuda_resize_axis &a = p.axes[k];
            int64_t at = rest % a.out;
            rest /= a.out;
            if (!a.used) {
                base += at * a.stride;
                continue;
            }
            const struct md__cuda_resize_source *from = &p.table[a.table + at];
            base += from->low * a.stride;
            step[used] = (from->high - from->low) * a.stride;
            outside = outside || from->outside;
            share[used++] = from->share;
        }
        for (int corner = 0; corner < (p.linear ? 1 << used : 1); corner++) {
            float part = 1;
            int64_t at = base;
            for (int k = 0; k < used; k++) {
                bool high = corner >> k & 1;
                part *= high ? share[k] : 1.0f - share[k];
                at += high ? step[k] : 0;
            }
            if (part != 0)
                value += part * md__load((const T *)p.x + at);
        }
        value = outside ? p.extrapolation : value;
        value += p.z ? md__load((const T *)p.z + i) : 0.0f;
        md__store((T *)p.y + i, md__function(p.function, value, p.function_a, p.function_b));
    }
}

int md__cuda_resize(md__cuda_stream stream, const struct md__cuda_resize *p)
{
    if (p->count == 0)
        return 0;
    int error = md__launch(stream, "resize_table", table_kernel, dim3(8), dim3(128), 0, *p);
    if (error)
        return error;
    MD__BY_FLOAT(p->storage, return md__launch(stream, "resize", resize_kernel<T>,
                                               md__blocks(p->count, 256), dim3(256), 0, *p))
}
