/*
 * Cast between all storages: through float32, or 64 bits, which every other type passes without
 * loss. And what puts values of a graph into another storage.
 */
#include "kernels/cuda/device.cuh"

#define THREADS 256

/* Towards 0 and into 64 bits, NaN to 0; the type's low bits are taken of that. */
MD__DEVICE int64_t whole(float x)
{
    if (!(x == x))
        return 0;
    if (x >= 9223372036854775808.0f)
        return INT64_MAX;
    return x <= -9223372036854775808.0f ? INT64_MIN : (int64_t)x;
}
MD__DEVICE int64_t whole(int64_t x)
{
    return x;
}

/* V: float or int64_t, what every other type passes through without loss. */
template <class V> MD__DEVICE void store_as(int to, void *y, int64_t i, V value)
{
    switch (to) {
    case MD__CUDA_F32:
        static_cast<float *>(y)[i] = (float)value;
        break;
    case MD__CUDA_F16:
        md__store(&static_cast<__half *>(y)[i], (float)value);
        break;
    case MD__CUDA_BF16:
        md__store(&static_cast<__nv_bfloat16 *>(y)[i], (float)value);
        break;
    case MD__CUDA_I64:
        static_cast<int64_t *>(y)[i] = whole(value);
        break;
    case MD__CUDA_I32:
        static_cast<int32_t *>(y)[i] = (int32_t)whole(value);
        break;
    case MD__CUDA_BOOL:
        static_cast<uint8_t *>(y)[i] = value != 0;
        break;
    default:
        static_cast<uint8_t *>(y)[i] = (uint8_t)whole(value); /* U8 and I8 */
    }
}

template <class T, class V>
static __global__ void cast_kernel(int to, const T *x, void *y, int64_t count)
{
    for (int64_t i = md__first(); i < count; i += md__stride())
        store_as(to, y, i, (V)md__load(&x[i]));
}

template <class T, class V>
static int cast(md__cuda_stream stream, int to, const void *x, void *y, int64_t count)
{
    return md__launch(stream, "cast", cast_kernel<T, V>, md__blocks(count, THREADS), dim3(THREADS),
                      0, to, (const T *)x, y, count);
}

static bool is_storage(int storage)
{
    return storage == MD__CUDA_F32 || storage == MD__CUDA_F16 || storage == MD__CUDA_BF16 ||
           storage == MD__CUDA_I64 || storage == MD__CUDA_I32 || storage == MD__CUDA_BOOL ||
           storage == MD__CUDA_U8 || storage == MD__CUDA_I8;
}

int md__cuda_cast(md__cuda_stream stream, int from, int to, const void *x, void *y, int64_t count)
{
    if (count == 0)
        return 0;
    if (!is_storage(to))
        return MD__CUDA_REFUSED;
    switch (from) {
    case MD__CUDA_I64:
        return cast<int64_t, int64_t>(stream, to, x, y, count);
    case MD__CUDA_I32:
        return cast<int32_t, int64_t>(stream, to, x, y, count);
    case MD__CUDA_U8:
    case MD__CUDA_BOOL:
        return cast<uint8_t, int64_t>(stream, to, x, y, count);
    case MD__CUDA_I8:
        return cast<int8_t, int64_t>(stream, to, x, y, count);
    }
    MD__BY_FLOAT(from, return cast<T, float>(stream, to, x, y, count))
}

/* ---- between float storages ------------------------------------------------------------------ */

#define F16_MAX 65504.0f

template <class T, class U>
static __global__ void convert_kernel(bool narrow, const T *x, U *y, int64_t count)
{
    for (int64_t i = md__first(); i < count; i += md__stride()) {
        float value = md__load(&x[i]);
        if (narrow && fabsf(value) > F16_MAX && fabsf(value) != INFINITY)
            value = copysignf(F16_MAX, value);
        md__store(&y[i], value);
    }
}

template <class From>
static int convert(md__cuda_stream stream, int to, const From *x, void *y, int64_t count)
{
    MD__BY_FLOAT(to, return md__launch(stream, "convert", convert_kernel<From, T>,
                                       md__blocks(count, THREADS), dim3(THREADS), 0,
                                       to == MD__CUDA_F16, x, (T *)y, count))
}

int md__cuda_convert(md__cuda_stream stream, int from, int to, const void *x, void *y,
                     int64_t count)
{
    if (count == 0)
        return 0;
    MD__BY_FLOAT(from, return convert<T>(stream, to, (const T *)x, y, count))
}
