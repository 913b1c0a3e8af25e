/*
 * Rotary embeddings: pairs of a head's numbers turned by angles that a table holds for each
 * position. One thread a number of the output; what lies behind the turned part is copied.
 */
#include "kernels/cuda/attention.h"
#include "kernels/cuda/device.cuh"

#define THREADS 256

MD__DEVICE int64_t position(const struct md__cuda_rotary &p, int64_t row)
{
    if (!p.ids)
        return row; /* the tables have a row for each step of each batch element */
    return p.ids_are_wide ? static_cast<const int64_t *>(p.ids)[row]
                          : static_cast<const int32_t *>(p.ids)[row];
}

template <class T> static __global__ void rotary_kernel(struct md__cuda_rotary p, int64_t count)
{
    const T *x = (const T *)p.x;
    int64_t half = p.half;
    for (int64_t i = md__first(); i < count; i += md__stride()) {
        int64_t e = i % p.width, rest = i / p.width, h = rest % p.heads;
        int64_t t = rest / p.heads % p.steps, b = rest / p.heads / p.steps;
        int64_t base = b * p.at.batch + h * p.at.head + t * p.at.step;
        int64_t at = position(p, b * p.steps + t);
        float value = md__load(&x[base + e]);
        if (e < 2 * half && at >= 0 && at < p.positions) {
            int64_t pair = p.interleaved ? e / 2 : e % half;
            bool second = p.interleaved ? e % 2 != 0 : e >= half;
            int64_t other = p.interleaved ? e + (second ? -1 : 1) : e + (second ? -half : half);
            float cosine = md__load((const T *)p.cosine + at * half + pair);
            float sine = md__load((const T *)p.sine + at * half + pair);
            float partner = md__load(&x[base + other]);
            value = second ? partner * sine + value * cosine : value * cosine - partner * sine;
        } else if (e < 2 * half) {
            value = NAN; /* a position without a row */
        }
        md__store((T *)p.y + base + e, value);
    }
}

int md__cuda_rotary(md__cuda_stream stream, const struct md__cuda_rotary *p)
{
    int64_t count = p->batch * p->heads * p->steps * p->width;
    if (count == 0)
        return 0;
    MD__BY_FLOAT(p->storage,
                 return md__launch(stream, "rotary", rotary_kernel<T>, md__blocks(count, THREADS),
                                   dim3(THREADS), 0, *p, count))
}
