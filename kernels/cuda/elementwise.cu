/*
 * Elementwise operators: one input, two with broadcasting, comparisons, Where, Clip.
 *
 * All of them are bound by memory. Contiguous tensors go by 16 bytes a thread; broadcast ones by a
 * map of merged axes, whose divisions are in 32 bits wherever the output has fewer than 2^31
 * elements. The function is an argument, not a template parameter: the branch on it is the same for
 * every thread, and one kernel a storage keeps the library small.
 */
#include <type_traits>

#include "kernels/cuda/functions.cuh"
#include "kernels/cuda/map.cuh"

#define THREADS 256

template <class T> struct alignas(16) pack {
    static constexpr int count = 16 / sizeof(T);
    T x[count];
};

/* ---- one input ------------------------------------------------------------------------------- */

template <class T>
static __global__ void unary_kernel(enum md__cuda_function function, float a, float b, const T *x,
                                    T *y, int64_t count)
{
    constexpr int width = pack<T>::count;
    int64_t packs = count / width;
    for (int64_t i = md__first(); i < packs; i += md__stride()) {
        pack<T> some = reinterpret_cast<const pack<T> *>(x)[i];
        for (int k = 0; k < width; k++)
            md__store(&some.x[k], md__function(function, md__load(&some.x[k]), a, b));
        reinterpret_cast<pack<T> *>(y)[i] = some;
    }
    for (int64_t i = packs * width + md__first(); i < count; i += md__stride())
        md__store(&y[i], md__function(function, md__load(&x[i]), a, b));
}

template <class T>
static __global__ void unary_plain_kernel(enum md__cuda_function function, float a, float b,
                                          const T *x, T *y, int64_t count)
{
    for (int64_t i = md__first(); i < count; i += md__stride())
        md__store(&y[i], md__function(function, md__load(&x[i]), a, b));
}

static bool aligned(const void *x)
{
    return (uintptr_t)x % 16 == 0;
}

int md__cuda_unary(md__cuda_stream stream, int storage, enum md__cuda_function function, float a,
                   float b, const void *x, void *y, int64_t count)
{
    if (count == 0)
        return 0;
    bool wide = aligned(x) && aligned(y);
    MD__BY_FLOAT(storage, {
        auto kernel = wide ? unary_kernel<T> : unary_plain_kernel<T>;
        dim3 grid = md__blocks(count, (int64_t)THREADS * (wide ? pack<T>::count : 1));
        return md__launch(stream, "unary", kernel, grid, dim3(THREADS), 0, function, a, b,
                          (const T *)x, (T *)y, count);
    })
}

template <class T> MD__DEVICE T negated(T x)
{
    using U = typename std::make_unsigned<T>::type;
    return (T)(0 - (U)x); /* wraps */
}

template <class T>
static __global__ void unary_int_kernel(enum md__cuda_function function, const T *x, T *y,
                                        int64_t count)
{
    for (int64_t i = md__first(); i < count; i += md__stride()) {
        T value = x[i];
        if (function == MD__CUDA_NEG || (function == MD__CUDA_ABS && value < 0))
            value = negated(value);
        else if (function == MD__CUDA_RELU)
            value = value < 0 ? 0 : value;
        else if (function == MD__CUDA_SIGN)
            value = value < 0 ? -1 : value != 0;
        y[i] = value;
    }
}

int md__cuda_unary_int(md__cuda_stream stream, int storage, enum md__cuda_function function,
                       const void *x, void *y, int64_t count)
{
    if (count == 0)
        return 0;
    dim3 grid = md__blocks(count, THREADS);
    if (storage == MD__CUDA_I64)
        return md__launch(stream, "unary_int", unary_int_kernel<int64_t>, grid, dim3(THREADS), 0,
                          function, (const int64_t *)x, (int64_t *)y, count);
    if (storage == MD__CUDA_I32)
        return md__launch(stream, "unary_int", unary_int_kernel<int32_t>, grid, dim3(THREADS), 0,
                          function, (const int32_t *)x, (int32_t *)y, count);
    return MD__CUDA_REFUSED;
}

static __global__ void not_kernel(const uint8_t *x, uint8_t *y, int64_t count)
{
    for (int64_t i = md__first(); i < count; i += md__stride())
        y[i] = !x[i];
}

int md__cuda_not(md__cuda_stream stream, const void *x, void *y, int64_t count)
{
    if (count == 0)
        return 0;
    return md__launch(stream, "not", not_kernel, md__blocks(count, THREADS), dim3(THREADS), 0,
                      (const uint8_t *)x, (uint8_t *)y, count);
}

template <class T>
static __global__ void test_kernel(bool nan, bool negative, bool positive, const T *x, uint8_t *y,
                                   int64_t count)
{
    for (int64_t i = md__first(); i < count; i += md__stride()) {
        float value = md__load(&x[i]);
        bool infinite = fabsf(value) == INFINITY && (value < 0 ? negative : positive);
        y[i] = nan ? value != value : infinite;
    }
}

int md__cuda_test(md__cuda_stream stream, int storage, bool nan, bool negative, bool positive,
                  const void *x, void *y, int64_t count)
{
    if (count == 0)
        return 0;
    MD__BY_FLOAT(storage, return md__launch(stream, "test", test_kernel<T>,
                                            md__blocks(count, THREADS), dim3(THREADS), 0, nan,
                                            negative, positive, (const T *)x, (uint8_t *)y, count))
}

/* Min(max, Max(x, min)): when min > max, max wins; a NaN stays. */
template <class T>
static __global__ void clip_kernel(const T *x, const T *low, const T *high, T *y, int64_t count)
{
    float least = low ? md__load(low) : -INFINITY, most = high ? md__load(high) : INFINITY;
    for (int64_t i = md__first(); i < count; i += md__stride())
        md__store(&y[i], md__clamped(md__load(&x[i]), least, most));
}

template <class T>
static __global__ void clip_int_kernel(const T *x, const T *low, const T *high, T *y, int64_t count)
{
    for (int64_t i = md__first(); i < count; i += md__stride()) {
        T value = x[i];
        value = low && value < *low ? *low : value;
        y[i] = high && value > *high ? *high : value;
    }
}

template <class T>
static int clip_int(md__cuda_stream stream, const void *x, const void *low, const void *high,
                    void *y, int64_t count)
{
    return md__launch(stream, "clip_int", clip_int_kernel<T>, md__blocks(count, THREADS),
                      dim3(THREADS), 0, (const T *)x, (const T *)low, (const T *)high, (T *)y,
                      count);
}

int md__cuda_clip(md__cuda_stream stream, int storage, const void *x, const void *low,
                  const void *high, void *y, int64_t count)
{
    if (count == 0)
        return 0;
    if (storage == MD__CUDA_I64)
        return clip_int<int64_t>(stream, x, low, high, y, count);
    if (storage == MD__CUDA_I32)
        return clip_int<int32_t>(stream, x, low, high, y, count);
    MD__BY_FLOAT(storage,
                 return md__launch(stream, "clip", clip_kernel<T>, md__blocks(count, THREADS),
                                   dim3(THREADS), 0, (const T *)x, (const T *)low, (const T *)high,
                                   (T *)y, count))
}

/* ---- through a map --------------------------------------------------------------------------- */

/* The remainder with the sign of b; a multiple of b gives a zero with that sign. */
MD__DEVICE float floor_mod(float a, float b)
{
    float rest = fmodf(a, b);
    if (rest == 0)
        return copysignf(0.0f, b);
    return (rest < 0) != (b < 0) ? rest + b : rest;
}

MD__DEVICE float pair_of(enum md__cuda_pair pair, float a, float b, float alpha)
{
    switch (pair) {
    case MD__CUDA_PAIR_ADD:
        return a + b;
    case MD__CUDA_PAIR_SUB:
        return a - b;
    case MD__CUDA_PAIR_MUL:
        return a * b;
    case MD__CUDA_PAIR_DIV:
        return a / b;
    case MD__CUDA_PAIR_POW:
        return b == 2.0f ? a * a : powf(a, b);
    case MD__CUDA_PAIR_MIN:
        return a < b || a != a ? a : b;
    case MD__CUDA_PAIR_MAX:
        return a > b || a != a ? a : b;
    case MD__CUDA_PAIR_PRELU:
        return a < 0 ? a * b : a;
    case MD__CUDA_PAIR_SWIGLU:
        return a * md__sigmoid(alpha * a) * b;
    case MD__CUDA_PAIR_MOD:
        return floor_mod(a, b);
    case MD__CUDA_PAIR_FMOD:
        return fmodf(a, b);
    default:
        return a;
    }
}

/* The remainder with the sign of b. */
template <class T> MD__DEVICE T turned_rest(T rest, T b)
{
    if constexpr (std::is_signed<T>::value)
        return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
    return rest;
}

/* Wraps; division by zero gives 0, -1 wraps, as on the CPU. */
template <class T> MD__DEVICE T int_pair_of(enum md__cuda_pair pair, T a, T b)
{
    using U = typename std::make_unsigned<T>::type;
    T rest = b == 0 || b == (T)-1 ? 0 : a % b;
    switch (pair) {
    case MD__CUDA_PAIR_ADD:
        return (T)((U)a + (U)b);
    case MD__CUDA_PAIR_SUB:
        return (T)((U)a - (U)b);
    case MD__CUDA_PAIR_MUL:
        return (T)((U)a * (U)b);
    case MD__CUDA_PAIR_DIV:
        return b == 0 ? 0 : b == (T)-1 ? (T)(0 - (U)a) : a / b;
    case MD__CUDA_PAIR_MIN:
        return a < b ? a : b;
    case MD__CUDA_PAIR_MAX:
        return a > b ? a : b;
    case MD__CUDA_PAIR_MOD:
        return turned_rest(rest, b);
    case MD__CUDA_PAIR_FMOD:
        return rest;
    case MD__CUDA_PAIR_AND:
        return a & b;
    case MD__CUDA_PAIR_OR:
        return a | b;
    case MD__CUDA_PAIR_XOR:
        return a ^ b;
    default:
        return a;
    }
}

template <class T>
static __global__ void binary_kernel(enum md__cuda_pair pair, float alpha, float scale,
                                     struct md__cuda_map map, const T *a, const T *b, T *y)
{
    for (int64_t i = md__first(); i < map.count; i += md__stride()) {
        int64_t at[2];
        md__locate(map, i, at);
        md__store(&y[i], scale * pair_of(pair, md__load(&a[at[0]]), md__load(&b[at[1]]), alpha));
    }
}

/* Both inputs have the output's shape and lie at multiples of 16 bytes. */
template <class T>
static __global__ void binary_same_kernel(enum md__cuda_pair pair, float alpha, float scale,
                                          int64_t count, const T *a, const T *b, T *y)
{
    constexpr int width = pack<T>::count;
    int64_t packs = count / width;
    for (int64_t i = md__first(); i < packs; i += md__stride()) {
        pack<T> left = reinterpret_cast<const pack<T> *>(a)[i];
        pack<T> right = reinterpret_cast<const pack<T> *>(b)[i];
        for (int k = 0; k < width; k++)
            md__store(&left.x[k],
                      scale * pair_of(pair, md__load(&left.x[k]), md__load(&right.x[k]), alpha));
        reinterpret_cast<pack<T> *>(y)[i] = left;
    }
    for (int64_t i = packs * width + md__first(); i < count; i += md__stride())
        md__store(&y[i], scale * pair_of(pair, md__load(&a[i]), md__load(&b[i]), alpha));
}

template <class T>
static __global__ void binary_int_kernel(enum md__cuda_pair pair, struct md__cuda_map map,
                                         const T *a, const T *b, T *y)
{
    for (int64_t i = md__first(); i < map.count; i += md__stride()) {
        int64_t at[2];
        md__locate(map, i, at);
        y[i] = int_pair_of(pair, a[at[0]], b[at[1]]);
    }
}

template <class T>
static int binary_int(md__cuda_stream stream, enum md__cuda_pair pair,
                      const struct md__cuda_map *map, const void *a, const void *b, void *y)
{
    return md__launch(stream, "binary_int", binary_int_kernel<T>, md__blocks(map->count, THREADS),
                      dim3(THREADS), 0, pair, *map, (const T *)a, (const T *)b, (T *)y);
}

static bool same(const struct md__cuda_map *map, const void *a, const void *b, const void *y)
{
    return map->rank == 1 && map->stride[0][0] == 1 && map->stride[1][0] == 1 && aligned(a) &&
           aligned(b) && aligned(y);
}

int md__cuda_binary(md__cuda_stream stream, int storage, enum md__cuda_pair pair, float alpha,
                    float scale, const struct md__cuda_map *map, const void *a, const void *b,
                    void *y)
{
    if (map->count == 0)
        return 0;
    if (storage == MD__CUDA_I64)
        return binary_int<int64_t>(stream, pair, map, a, b, y);
    if (storage == MD__CUDA_I32)
        return binary_int<int32_t>(stream, pair, map, a, b, y);
    if (storage == MD__CUDA_BOOL)
        return binary_int<uint8_t>(stream, pair, map, a, b, y);
    MD__BY_FLOAT(storage, {
        if (same(map, a, b, y))
            return md__launch(stream, "binary_same", binary_same_kernel<T>,
                              md__blocks(map->count, (int64_t)THREADS * pack<T>::count),
                              dim3(THREADS), 0, pair, alpha, scale, map->count, (const T *)a,
                              (const T *)b, (T *)y);
        return md__launch(stream, "binary", binary_kernel<T>, md__blocks(map->count, THREADS),
                          dim3(THREADS), 0, pair, alpha, scale, *map, (const T *)a, (const T *)b,
                          (T *)y);
    })
}

template <class V> MD__DEVICE bool compared(enum md__cuda_pair pair, V a, V b)
{
    switch (pair) {
    case MD__CUDA_PAIR_EQUAL:
        return a == b;
    case MD__CUDA_PAIR_LESS:
        return a < b;
    case MD__CUDA_PAIR_LESS_OR_EQUAL:
        return a <= b;
    case MD__CUDA_PAIR_GREATER:
        return a > b;
    default:
        return a >= b;
    }
}

template <class T>
static __global__ void compare_kernel(enum md__cuda_pair pair, struct md__cuda_map map, const T *a,
                                      const T *b, uint8_t *y)
{
    for (int64_t i = md__first(); i < map.count; i += md__stride()) {
        int64_t at[2];
        md__locate(map, i, at);
        y[i] = compared(pair, md__load(&a[at[0]]), md__load(&b[at[1]]));
    }
}

template <class T>
static int compare(md__cuda_stream stream, enum md__cuda_pair pair, const struct md__cuda_map *map,
                   const void *a, const void *b, void *y)
{
    return md__launch(stream, "compare", compare_kernel<T>, md__blocks(map->count, THREADS),
                      dim3(THREADS), 0, pair, *map, (const T *)a, (const T *)b, (uint8_t *)y);
}

int md__cuda_compare(md__cuda_stream stream, int storage, enum md__cuda_pair pair,
                     const struct md__cuda_map *map, const void *a, const void *b, void *y)
{
    if (map->count == 0)
        return 0;
    switch (storage) {
    case MD__CUDA_I64:
        return compare<int64_t>(stream, pair, map, a, b, y);
    case MD__CUDA_I32:
        return compare<int32_t>(stream, pair, map, a, b, y);
    case MD__CUDA_BOOL:
        return compare<uint8_t>(stream, pair, map, a, b, y);
    }
    MD__BY_FLOAT(storage, return compare<T>(stream, pair, map, a, b, y))
}

template <class T>
static __global__ void where_kernel(struct md__cuda_map map, const uint8_t *condition, const T *a,
                                    const T *b, T *y)
{
    for (int64_t i = md__first(); i < map.count; i += md__stride()) {
        int64_t at[3];
        md__locate(map, i, at);
        y[i] = condition[at[0]] ? a[at[1]] : b[at[2]];
    }
}

int md__cuda_where(md__cuda_stream stream, int bytes, const struct md__cuda_map *map,
                   const void *condition, const void *a, const void *b, void *y)
{
    if (map->count == 0)
        return 0;
    MD__BY_BYTES(bytes,
                 return md__launch(stream, "where", where_kernel<T>,
                                   md__blocks(map->count, THREADS), dim3(THREADS), 0, *map,
                                   (const uint8_t *)condition, (const T *)a, (const T *)b, (T *)y))
}
