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
    int64_t more = p.ids_are_first ? row % p.steps : 0, at = p.ids_are_first ? 0 : row;
    return more + (p.ids_are_wide ? static_cast<const int64_t *>(p.ids)[at]
                                  : static_cast<const int32_t *>(p.ids)[at]);
}

/* Number e of a head that begins at x, turned by a row of the tables; those from 2 half on stay. */
template <class T>
MD__DEVICE float turned(const T *x, int64_t e, int64_t half, bool interleaved, const T *cosine,
                        const T *sine)
{
    float value = md__load(&x[e]);
    if (e >= 2 * half)
        return value;
    int64_t pair = interleaved ? e / 2 : e % half;
    bool second = interleaved ? e % 2 != 0 : e >= half;
    int64_t other = interleaved ? e + (second ? -1 : 1) : e + (second ? -half : half);
    float c = md__load(&cosine[pair]), s = md__load(&sine[pair]), partner = md__load(&x[other]);
    return second ? partner * s + value * c : value * c - partner * s;
}

template <class T> static __global__ void rotary_kernel(struct md__cuda_rotary p, int64_t count)
{
    for (int64_t i = md__first(); i < count; i += md__stride()) {
        int64_t e = i % p.width, rest = i / p.width, h = rest % p.heads;
        int64_t t = rest / p.heads % p.steps, b = rest / p.heads / p.steps;
        int64_t base = b * p.at.batch + h * p.at.head + t * p.at.step;
        int64_t at = position(p, b * p.steps + t);
        float value = NAN; /* a position without a row */
        if (at >= 0 && at < p.positions)
            value = turned((const T *)p.x + base, e, p.half, p.interleaved,
                           (const T *)p.cosine + at * p.half, (const T *)p.sine + at * p.half);
        else if (e >= 2 * p.half)
            value = md__load((const T *)p.x + base + e);
        else
            md__note(MD__CUDA_OUTSIDE);
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

template <class T> static __global__ void cache_kernel(struct md__cuda_cache p)
{
    int64_t count = p.batch * p.heads * p.room * p.width;
    for (int64_t i = md__first(); i < count; i += md__stride()) {
        int64_t e = i % p.width, t = i / p.width % p.room, line = i / p.width / p.room;
        int64_t h = line % p.heads, b = line / p.heads, past = p.last[b] + 1 - p.steps;
        int64_t place = p.fresh ? past + t : t;
        float value = 0;
        if (past < 0 || past + p.steps > (p.half ? p.positions : INT64_MAX) ||
            (!p.fresh && (past > p.old_room || past + p.steps > p.room)))
            md__note(MD__CUDA_OUTSIDE);
        else if (place < past)
            value = md__load((const T *)p.old + (line * p.old_room + place) * p.width + e);
        else if (place < past + p.steps)
            value = turned((const T *)p.x + b * p.x_at.batch + h * p.x_at.head +
                               (place - past) * p.x_at.step,
                           e, p.half, p.interleaved, (const T *)p.cosine + place * p.half,
                           (const T *)p.sine + place * p.half);
        md__store((T *)p.y + i, value);
    }
}

int md__cuda_extend_cache(md__cuda_stream stream, const struct md__cuda_cache *p)
{
    int64_t count = p->batch * p->heads * p->room * p->width;
    if (count == 0)
        return 0;
    MD__BY_FLOAT(p->storage, return md__launch(stream, "cache", cache_kernel<T>,
                                               md__blocks(count, THREADS), dim3(THREADS), 0, *p))
}
