/*
 * Bytes that stand for floats: QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear, and
 * products of bytes with exact int32 sums. A quotient is rounded to nearest, ties to even, then the
 * zero point is added and the sum saturated; NaN gives the zero point.
 */
#include "kernels/cuda/quantize.h"
#include "kernels/cuda/tile.cuh"

#define THREADS 256
#define TILE    32

/* ---- levels ---------------------------------------------------------------------------------- */

/* Which of the levels element i has. */
MD__DEVICE int64_t level_of(const struct md__cuda_levels &p, int64_t i)
{
    int64_t line = i / p.inner;
    if (p.count == 1)
        return 0;
    if (p.block == 0)
        return line % p.axis;
    int64_t blocks = (p.axis + p.block - 1) / p.block;
    return (line / p.axis * blocks + line % p.axis / p.block) * p.inner + i % p.inner;
}

template <class S> MD__DEVICE float scale_of(const struct md__cuda_levels &p, int64_t level)
{
    return p.scales ? md__load((const S *)p.scales + level) : p.scale;
}

template <class Q> MD__DEVICE int32_t zero_of(const struct md__cuda_levels &p, int64_t level)
{
    return p.zeros ? (int32_t)md__load((const Q *)p.zeros + level) : 0;
}

template <class Q> MD__DEVICE Q saturated(float x, int32_t zero)
{
    const float low = Q(-1) < Q(0) ? -128.0f : 0.0f, high = low + 255.0f;
    float y = x == x ? rintf(x) + (float)zero : (float)zero;
    return (Q)(int32_t)(y < low ? low : y > high ? high : y);
}

template <class T, class Q>
static __global__ void quantize_kernel(struct md__cuda_levels p, const T *x, Q *y, int64_t n)
{
    for (int64_t i = md__first(); i < n; i += md__stride()) {
        int64_t level = level_of(p, i);
        y[i] = saturated<Q>(md__load(&x[i]) / scale_of<T>(p, level), zero_of<Q>(p, level));
    }
}

template <class T, class Q>
static __global__ void dequantize_kernel(struct md__cuda_levels p, const Q *x, T *y, int64_t n)
{
    for (int64_t i = md__first(); i < n; i += md__stride()) {
        int64_t level = level_of(p, i);
        float whole = (float)((int64_t)md__load(&x[i]) - zero_of<Q>(p, level));
        md__store(&y[i], whole * scale_of<T>(p, level));
    }
}

int md__cuda_quantize(md__cuda_stream stream, int storage, int to, const struct md__cuda_levels *p,
                      const void *x, void *y, int64_t n)
{
    dim3 grid = md__blocks(n, THREADS), block(THREADS);
    if (n == 0)
        return 0;
    MD__BY_FLOAT(storage, {
        if (to == MD__CUDA_I8)
            return md__launch(stream, "quantize", quantize_kernel<T, int8_t>, grid, block, 0, *p,
                              (const T *)x, (int8_t *)y, n);
        return to == MD__CUDA_U8 ? md__launch(stream, "quantize", quantize_kernel<T, uint8_t>, grid,
                                              block, 0, *p, (const T *)x, (uint8_t *)y, n)
                                 : MD__CUDA_REFUSED;
    })
}

int md__cuda_dequantize(md__cuda_stream stream, int from, int storage,
                        const struct md__cuda_levels *p, const void *x, void *y, int64_t n)
{
    dim3 grid = md__blocks(n, THREADS), block(THREADS);
    if (n == 0)
        return 0;
    MD__BY_FLOAT(storage, {
        if (from == MD__CUDA_I8)
            return md__launch(stream, "dequantize", dequantize_kernel<T, int8_t>, grid, block, 0,
                              *p, (const int8_t *)x, (T *)y, n);
        if (from == MD__CUDA_I32)
            return md__launch(stream, "dequantize", dequantize_kernel<T, int32_t>, grid, block, 0,
                              *p, (const int32_t *)x, (T *)y, n);
        return from == MD__CUDA_U8 ? md__launch(stream, "dequantize", dequantize_kernel<T, uint8_t>,
                                                grid, block, 0, *p, (const uint8_t *)x, (T *)y, n)
                                   : MD__CUDA_REFUSED;
    })
}

/* ---- DynamicQuantizeLinear: the range of all, in pieces that each block puts together -------- */

template <class T> static __global__ void range_kernel(const T *x, int64_t n, float *ranges)
{
    float low = 0, high = 0; /* the range includes 0 */
    for (int64_t i = md__first(); i < n; i += md__stride()) {
        float value = md__load(&x[i]);
        low = value < low ? value : low;
        high = value > high ? value : high;
    }
    low = -md__block_all(-low, md__larger());
    high = md__block_all(high, md__larger());
    if (threadIdx.x == 0) {
        ranges[2 * blockIdx.x] = low;
        ranges[2 * blockIdx.x + 1] = high;
    }
}

template <class T>
static __global__ void dynamic_kernel(const T *x, int64_t n, const float *ranges, int pieces,
                                      uint8_t *y, T *scale_to, uint8_t *zero_to)
{
    float low = 0, high = 0;
    for (int i = 0; i < pieces; i++) {
        low = ranges[2 * i] < low ? ranges[2 * i] : low;
        high = ranges[2 * i + 1] > high ? ranges[2 * i + 1] : high;
    }
    float scale = (high == low ? 1.0f : high - low) / 255.0f;
    uint8_t zero = saturated<uint8_t>(-low / scale, 0);
    for (int64_t i = md__first(); i < n; i += md__stride())
        y[i] = saturated<uint8_t>(md__load(&x[i]) / scale, zero);
    if (md__first() == 0) {
        md__store(scale_to, scale);
        *zero_to = zero;
    }
}

int md__cuda_dynamic_quantize(md__cuda_stream stream, int storage, const void *x, int64_t n,
                              float *ranges, void *y, void *scale, void *zero)
{
    int64_t wanted = (n + 4 * THREADS - 1) / (4 * THREADS);
    int pieces = (int)(wanted < 1 ? 1 : wanted > MD__CUDA_RANGES ? MD__CUDA_RANGES : wanted);
    MD__BY_FLOAT(storage, {
        int error = md__launch(stream, "range", range_kernel<T>, dim3((unsigned)pieces),
                               dim3(THREADS), 0, (const T *)x, n, ranges);
        return error ? error
                     : md__launch(stream, "dynamic_quantize", dynamic_kernel<T>,
                                  md__blocks(n ? n : 1, THREADS), dim3(THREADS), 0, (const T *)x, n,
                                  (const float *)ranges, pieces, (uint8_t *)y, (T *)scale,
                                  (uint8_t *)zero);
    })
}

/* ---- products -------------------------------------------------------------------------------- */

MD__DEVICE int32_t zero_at(const struct md__cuda_byte_side &side, int64_t line)
{
    return side.zeros ? md__byte_at(side.zeros, side.is_signed, side.zero_count == 1 ? 0 : line)
                      : 0;
}

/* Bytes of b are read along; of a, too. */
template <class T> struct byte_problem {
    const struct md__cuda_byte_product &p;
    int64_t rows, inner, columns;
    bool left_along, right_along;

    MD__DEVICE_MEMBER int32_t left(int64_t row, int64_t k) const
    {
        return md__byte_at(p.a.bytes, p.a.is_signed, row * inner + k) - zero_at(p.a, row);
    }
    MD__DEVICE_MEMBER int32_t right(int64_t k, int64_t column) const
    {
        return md__byte_at(p.b.bytes, p.b.is_signed, k * columns + column) - zero_at(p.b, column);
    }
    MD__DEVICE_MEMBER void finish(int64_t row, int64_t column, int32_t sum) const
    {
        int64_t at = row * columns + column;
        if (p.storage == MD__CUDA_I32) {
            ((int32_t *)p.y)[at] = sum;
            return;
        }
        float value = (float)sum * md__load((const T *)p.a_scale) *
                      md__load((const T *)p.b_scale + (p.b_scale_count == 1 ? 0 : column));
        value += p.bias ? md__load((const T *)p.bias + column) : 0.0f;
        md__store((T *)p.y + at, value);
    }
};

template <class T> static __global__ void byte_product_kernel(struct md__cuda_byte_product p)
{
    tile_product<TILE, int32_t>(byte_problem<T>{p, p.rows, p.inner, p.columns, true, false});
}

int md__cuda_byte_product(md__cuda_stream stream, const struct md__cuda_byte_product *p)
{
    if (p->rows == 0 || p->columns == 0)
        return 0;
    dim3 grid = tile_grid(TILE, p->rows, p->columns, 1), block = tile_block(TILE);
    if (p->storage == MD__CUDA_I32)
        return md__launch(stream, "byte_product", byte_product_kernel<float>, grid, block, 0, *p);
    MD__BY_FLOAT(p->storage, return md__launch(stream, "byte_product", byte_product_kernel<T>, grid,
                                               block, 0, *p))
}

/* ---- by packed weights ----------------------------------------------------------------------- */

MD__DEVICE float unpacked(const uint8_t *bytes, int64_t i, int bits)
{
    int64_t each = 8 / bits;
    return (float)((bytes[i / each] >> (i % each * bits)) & ((1 << bits) - 1));
}

template <class T> struct packed_problem {
    const struct md__cuda_packed_product &p;
    int64_t rows, inner, columns, blocks;
    bool left_along, right_along;

    MD__DEVICE_MEMBER float left(int64_t row, int64_t k) const
    {
        return md__load((const T *)p.x + row * inner + k);
    }
    MD__DEVICE_MEMBER float zero(int64_t column, int64_t block) const
    {
        if (!p.zeros)
            return (float)(1 << (p.bits - 1));
        if (!p.packed_zeros)
            return md__load((const T *)p.zeros + column * blocks + block);
        int64_t bytes = (blocks * p.bits + 7) / 8;
        return unpacked((const uint8_t *)p.zeros + column * bytes, block, p.bits);
    }
    MD__DEVICE_MEMBER float right(int64_t k, int64_t column) const
    {
        int64_t block = k / p.block, at = column * blocks + block;
        float level = unpacked(p.packed + at * (p.block * p.bits / 8), k % p.block, p.bits);
        return (level - zero(column, block)) * md__load((const T *)p.scales + at);
    }
    MD__DEVICE_MEMBER void finish(int64_t row, int64_t column, float sum) const
    {
        sum += p.bias ? md__load((const T *)p.bias + column) : 0.0f;
        md__store((T *)p.y + row * columns + column, sum);
    }
};

template <class T> static __global__ void packed_product_kernel(struct md__cuda_packed_product p)
{
    tile_product<TILE, float>(packed_problem<T>{p, p.rows, p.inner, p.columns,
                                                (p.inner + p.block - 1) / p.block, true, true});
}

int md__cuda_packed_product(md__cuda_stream stream, const struct md__cuda_packed_product *p)
{
    if (p->rows == 0 || p->columns == 0)
        return 0;
    MD__BY_FLOAT(p->storage, return md__launch(stream, "packed_product", packed_product_kernel<T>,
                                               tile_grid(TILE, p->rows, p->columns, 1),
                                               tile_block(TILE), 0, *p))
}
