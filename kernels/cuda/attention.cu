/*
 * Attention: softmax(scale q k + mask) v, and the TFT's form of it, whose heads share their values.
 *
 * Plain attention: a warp does a query. It meets 32 keys at a time, a lane each, keeps the largest
 * score and the sum so far, and rescales when a larger one comes, so scores are never in memory.
 * What is hidden is left out, not given a number that 16 bits might not hold. Everything between
 * load and store is float32.
 */
#include "kernels/cuda/attention.h"
#include "kernels/cuda/functions.cuh"

#define WARPS     4   /* queries of a block */
#define WIDTH_MAX 256 /* of a head's values */
#define OWN       (WIDTH_MAX / MD__WARP)

/* ---- any heads ------------------------------------------------------------------------------- */

template <class T>
MD__DEVICE const T *head(const void *x, const struct md__cuda_heads &h, int64_t b, int64_t head)
{
    return (const T *)x + b * h.batch + head * h.head;
}

/* Valid keys of a batch element. */
MD__DEVICE int64_t length_of(const struct md__cuda_attention &p, int64_t b)
{
    int64_t length = p.lengths_are_wide ? static_cast<const int64_t *>(p.lengths)[b]
                                        : static_cast<const int32_t *>(p.lengths)[b];
    return length + p.lengths_more;
}

MD__DEVICE bool is_filtered(const struct md__cuda_attention &p, int64_t b, int64_t i, int64_t j)
{
    switch (p.key_mask_kind) {
    case MD__CUDA_KEYS_BEFORE:
        return j >= p.key_mask[b];
    case MD__CUDA_KEYS_BETWEEN:
        return j >= p.key_mask[b] || j < p.key_mask[p.batch + b];
    case MD__CUDA_KEYS_EACH:
        return p.key_mask[b * p.keys + j] == 0;
    case MD__CUDA_KEYS_PAIRS:
        return p.key_mask[(b * p.queries + i) * p.keys + j] == 0;
    default:
        return false;
    }
}

/* What is added to the score of key j, and whether it is seen at all. */
template <class T>
MD__DEVICE bool seen(const struct md__cuda_attention &p, int64_t b, int64_t h, int64_t i, int64_t j,
                     float *bias)
{
    int64_t length = p.lengths ? length_of(p, b) : p.keys, at;
    int64_t ahead = j - i - (p.lengths ? length - p.queries : p.past);
    *bias = 0;
    if (j >= length || j >= p.keys || (p.right >= 0 && ahead > p.right) ||
        (p.left >= 0 && -ahead > p.left))
        return false;
    *bias = is_filtered(p, b, i, j) ? p.filter : 0.0f;
    if (!p.mask)
        return true;
    if (j >= p.mask_keys)
        return false;
    at = b * p.mask_stride[0] + h * p.mask_stride[1] + i * p.mask_stride[2] + j * p.mask_stride[3];
    if (p.mask_is_bool)
        return ((const uint8_t *)p.mask)[at] != 0;
    *bias += md__load((const T *)p.mask + at);
    return *bias != -INFINITY;
}

template <class T> static __global__ void attention_kernel(struct md__cuda_attention p)
{
    MD__SHARED(float, memory);
    int lane = (int)threadIdx.x % MD__WARP, warp = (int)threadIdx.x / MD__WARP;
    int64_t i = (int64_t)blockIdx.x * WARPS + warp, h = blockIdx.y;
    float *q = memory + warp * p.width;
    if (i >= p.queries)
        return;
    for (int64_t b = blockIdx.z; b < p.batch; b += gridDim.z) {
        const T *from = head<T>(p.q, p.q_at, b, h) + i * p.q_at.step;
        const T *keys = head<T>(p.k, p.k_at, b, h / (p.heads / p.kv_heads));
        const T *values = head<T>(p.v, p.v_at, b, h / (p.heads / p.kv_heads));
        float most = -INFINITY, sum = 0, out[OWN] = {0};
        if (p.lengths && (length_of(p, b) < 0 || length_of(p, b) > p.keys))
            md__note(MD__CUDA_OUTSIDE);
        for (int64_t e = lane; e < p.width; e += MD__WARP)
            q[e] = md__load(&from[e]) * p.scale;
        __syncwarp();
        for (int64_t j0 = 0; j0 < p.keys; j0 += MD__WARP) {
            float score = -INFINITY, bias;
            if (seen<T>(p, b, h, i, j0 + lane, &bias)) {
                const T *k = keys + (j0 + lane) * p.k_at.step;
                score = 0;
                for (int64_t e = 0; e < p.width; e++)
                    score += q[e] * md__load(&k[e]);
                score = (p.softcap > 0 ? p.softcap * tanhf(score / p.softcap) : score) + bias;
            }
            float top = md__larger()(most, md__warp_all(score, md__larger()));
            if (top == -INFINITY)
                continue; /* nothing seen so far: alike in all lanes */
            float keep = expf(most - top), share = score == -INFINITY ? 0 : expf(score - top);
            sum = sum * keep + md__warp_all(share, md__plus());
            most = top;
            for (int k = 0; k < OWN; k++)
                out[k] *= keep;
            for (int l = 0; l < MD__WARP && j0 + l < p.keys; l++) {
                float part = __shfl_sync(MD__ALL, share, l);
                const T *v = values + (j0 + l) * p.v_at.step;
                for (int k = 0; part != 0 && k < OWN && k * MD__WARP + lane < p.v_width; k++)
                    out[k] += part * md__load(&v[k * MD__WARP + lane]);
            }
        }
        T *y = (T *)p.y + b * p.y_at.batch + h * p.y_at.head + i * p.y_at.step;
        for (int k = 0; k < OWN && k * MD__WARP + lane < p.v_width; k++)
            md__store(&y[k * MD__WARP + lane], sum == 0 ? 0.0f : out[k] / sum);
        __syncwarp();
    }
}

int md__cuda_attention(md__cuda_stream stream, const struct md__cuda_attention *p)
{
    if (p->batch * p->heads * p->queries == 0)
        return 0;
    if (p->v_width > WIDTH_MAX || p->heads > 65535)
        return MD__CUDA_REFUSED;
    dim3 grid((unsigned)((p->queries + WARPS - 1) / WARPS), (unsigned)p->heads,
              (unsigned)(p->batch < 65535 ? p->batch : 65535));
    size_t bytes = WARPS * sizeof(float) * (size_t)p->width;
    MD__BY_FLOAT(p->storage, return md__launch(stream, "attention", attention_kernel<T>, grid,
                                               dim3(WARPS * MD__WARP), bytes, *p))
}

/* ---- heads that share their values ----------------------------------------------------------- */

/* Whether the query does not see the key: its score is then p.mask_bias. */
MD__DEVICE bool hidden(const struct md__cuda_shared_attention &p, int64_t b, int64_t i, int64_t j)
{
    int64_t past = p.causal ? p.keys - p.queries : p.keys;
    if (j >= past)
        return j - past >= i;
    return p.mask && p.mask[b * p.mask_batch + i * p.mask_query + j];
}

/* A warp does a head's shares, into shared memory; then they are averaged and multiplied once. */
template <class T>
static __global__ void shared_attention_kernel(struct md__cuda_shared_attention p)
{
    MD__SHARED(float, shares); /* [heads, keys] */
    int lane = (int)threadIdx.x % MD__WARP, warp = (int)threadIdx.x / MD__WARP;
    int warps = (int)blockDim.x / MD__WARP;
    int64_t i = blockIdx.x, b = blockIdx.y, row = p.heads * p.size;
    const T *q = (const T *)p.q + (b * p.queries + i) * row;
    const T *k = (const T *)p.k + b * p.keys * row;
    for (int64_t h = warp; h < p.heads; h += warps) {
        float most = -INFINITY, sum = 0, *own = shares + h * p.keys;
        for (int64_t j = lane; j < p.keys; j += MD__WARP) {
            float score = 0;
            for (int64_t e = 0; e < p.size; e++)
                score += md__load(&q[h * p.size + e]) * md__load(&k[j * row + h * p.size + e]);
            own[j] = hidden(p, b, i, j) ? p.mask_bias : score * p.scale;
            most = md__larger()(own[j], most);
        }
        most = md__warp_all(most, md__larger());
        for (int64_t j = lane; j < p.keys; j += MD__WARP)
            sum += own[j] = expf(own[j] - most);
        sum = md__warp_all(sum, md__plus()) * (float)p.heads;
        for (int64_t j = lane; j < p.keys; j += MD__WARP)
            own[j] /= sum;
    }
    __syncthreads();
    for (int64_t j = threadIdx.x; j < p.keys; j += blockDim.x)
        for (int64_t h = 1; h < p.heads; h++)
            shares[j] += shares[h * p.keys + j];
    __syncthreads();
    for (int64_t e = threadIdx.x; e < p.v_width; e += blockDim.x) {
        const T *v = (const T *)p.v + b * p.keys * p.v_width + e;
        float out = 0;
        for (int64_t j = 0; j < p.keys; j++)
            out += shares[j] * md__load(&v[j * p.v_width]);
        md__store((T *)p.y + (b * p.queries + i) * p.v_width + e, out);
    }
}

int md__cuda_shared_attention(md__cuda_stream stream, const struct md__cuda_shared_attention *p)
{
    if (p->batch * p->queries * p->v_width == 0)
        return 0;
    if (p->batch > 65535)
        return MD__CUDA_REFUSED;
    size_t bytes = sizeof(float) * (size_t)(p->heads * p->keys);
    dim3 grid((unsigned)p->queries, (unsigned)p->batch);
    MD__BY_FLOAT(p->storage,
                 return md__launch(stream, "shared_attention", shared_attention_kernel<T>, grid,
                                   dim3(WARPS * MD__WARP), bytes, *p))
}
