/*
 * Windows that slide: poolings over up to three spatial axes, in either layout, and LRN over
 * channels. One thread a result, neighbouring threads what lies side by side. Sums are float32.
 */
#include "kernels/cuda/device.cuh"

/* The window of one output place along an axis: taps on the input, and those on its padding, too.
 */
struct span {
    int64_t first, begin, end, padded;
};

MD__DEVICE struct span span_of(const struct md__cuda_window &w, int i, int64_t o)
{
    int64_t d = w.dilation[i], first = o * w.stride[i] - w.before[i];
    int64_t begin = first < 0 ? (-first + d - 1) / d : 0;
    int64_t end = w.in[i] > first ? (w.in[i] - first - 1) / d + 1 : 0;
    int64_t padded = (w.in[i] + w.after[i] - first - 1) / d + 1;
    end = end > w.kernel[i] ? w.kernel[i] : end;
    return {first, begin, end, padded > w.kernel[i] ? w.kernel[i] : padded};
}

MD__DEVICE float collected(enum md__cuda_pool kind, float sum, float x, float p)
{
    switch (kind) {
    case MD__CUDA_POOL_MAX:
        return md__larger()(x, sum);
    case MD__CUDA_POOL_AVERAGE:
        return sum + x;
    default:
        return sum + (p == 2.0f ? x * x : p == 1.0f ? fabsf(x) : powf(fabsf(x), p));
    }
}

/* Of the largest, counted through the whole tensor. */
MD__DEVICE int64_t index_of(const struct md__cuda_pooling &p, int64_t plane, int64_t at)
{
    const struct md__cuda_window &w = p.window;
    if (p.by_columns && at >= 0)
        at = at / (w.in[1] * w.in[2]) +
             w.in[0] * (at / w.in[2] % w.in[1] + w.in[1] * (at % w.in[2]));
    return plane * p.in_places + at;
}

template <class T> static __global__ void pool_kernel(struct md__cuda_pooling p)
{
    int64_t count = p.batch * p.channels * p.out_places;
    const struct md__cuda_window &w = p.window;
    for (int64_t i = md__first(); i < count; i += md__stride()) {
        int64_t c = i / p.y_channel % p.channels, place = i / p.y_place % p.out_places;
        const T *x = (const T *)p.x + i / (p.channels * p.out_places) * p.channels * p.in_places +
                     c * p.x_channel;
        struct span s[3];
        int64_t padded = 1, inside = 0, best = -1;
        for (int axis = 2; axis >= 0; axis--) {
            s[axis] = span_of(w, axis, place % w.out[axis]);
            place /= w.out[axis];
            padded *= s[axis].padded;
        }
        /* A window on padding alone gives the least number there is, of bytes, too. */
        float sum = p.kind == MD__CUDA_POOL_MAX ? -INFINITY : 0.0f;
        for (int64_t a = s[0].begin; a < s[0].end; a++)
            for (int64_t b = s[1].begin; b < s[1].end; b++)
                for (int64_t k = s[2].begin; k < s[2].end; k++, inside++) {
                    int64_t at = s[0].first + a * w.dilation[0];
                    at = at * w.in[1] + s[1].first + b * w.dilation[1];
                    at = at * w.in[2] + s[2].first + k * w.dilation[2];
                    float value = md__load(&x[at * p.x_place]);
                    best = best < 0 || value > sum || (value != value && sum == sum) ? at : best;
                    sum = collected(p.kind, sum, value, p.p);
                }
        if (p.kind == MD__CUDA_POOL_AVERAGE)
            sum /= (float)(p.count_padding ? padded : inside);
        else if (p.kind == MD__CUDA_POOL_LP)
            sum = p.p == 2.0f ? sqrtf(sum) : powf(sum, 1.0f / p.p);
        if (p.indices)
            p.indices[i] = index_of(p, i / p.out_places, best);
        md__store((T *)p.y + i, sum);
    }
}

int md__cuda_pool(md__cuda_stream stream, const struct md__cuda_pooling *p)
{
    int64_t count = p->batch * p->channels * p->out_places;
    if (count == 0)
        return 0;
    dim3 grid = md__blocks(count, 128), block(128);
    if (p->storage == MD__CUDA_U8)
        return md__launch(stream, "pool", pool_kernel<uint8_t>, grid, block, 0, *p);
    if (p->storage == MD__CUDA_I8)
        return md__launch(stream, "pool", pool_kernel<int8_t>, grid, block, 0, *p);
    MD__BY_FLOAT(p->storage, return md__launch(stream, "pool", pool_kernel<T>, grid, block, 0, *p))
}

template <class T> static __global__ void lrn_kernel(struct md__cuda_lrn p)
{
    for (int64_t i = md__first(); i < p.count; i += md__stride()) {
        int64_t c = i / p.places % p.channels;
        int64_t low = c < p.before ? -c : -p.before;
        int64_t high = c + p.after < p.channels ? p.after : p.channels - 1 - c;
        const T *x = (const T *)p.x + i;
        float squares = 0;
        for (int64_t k = low; k <= high; k++) {
            float other = md__load(&x[k * p.places]);
            squares += other * other;
        }
        md__store((T *)p.y + i, md__load(x) / powf(p.bias + p.alpha * squares, p.beta));
    }
}

int md__cuda_lrn(md__cuda_stream stream, const struct md__cuda_lrn *p)
{
    if (p->count == 0)
        return 0;
    MD__BY_FLOAT(p->storage, return md__launch(stream, "lrn", lrn_kernel<T>,
                                               md__blocks(p->count, 128), dim3(128), 0, *p))
}
