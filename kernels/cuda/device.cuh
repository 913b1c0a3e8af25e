/*
 * What all kernels share: CUDA or its emulation, loads and stores of every float storage as
 * float32, checked launches, reductions within a block.
 *
 * Kernels read elements through md__load and write through md__store only, so that one template
 * serves float32, float16 and bfloat16; sums and statistics are float32 in registers.
 */
#ifndef MD_KERNELS_CUDA_DEVICE_CUH
#define MD_KERNELS_CUDA_DEVICE_CUH

#include <math.h>

#include "kernels/cuda/launch.h"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
/* Shared memory whose size the launch gives. */
#define MD__SHARED(type, name)                                                                     \
    extern __shared__ __align__(16) unsigned char md__dynamic[];                                   \
    type *name = reinterpret_cast<type *>(md__dynamic)
#else
#include "kernels/cuda/emulate.h"
#define MD__SHARED(type, name) type *name = reinterpret_cast<type *>(md__emulated.shared)
#endif

#define MD__WARP        32
#define MD__ALL         0xffffffffu
#define MD__HOST_DEVICE __host__ __device__ static __forceinline__
#define MD__DEVICE      __device__ static __forceinline__
#define MD__DEVICE_MEMBER __device__ __forceinline__

/* ---- notices --------------------------------------------------------------------------------- */

#ifdef __CUDACC__
/* Device code is not linked across files, so each has a pointer of its own, which the list of
 * launch.cu knows how to set. */
struct md__notice_unit {
    int (*set)(unsigned *words);
    md__notice_unit *next;
    explicit md__notice_unit(int (*set_)(unsigned *words));
};
static __device__ unsigned *md__notice_words;
static int md__notice_set(unsigned *words)
{
    return (int)cudaMemcpyToSymbol(md__notice_words, &words, sizeof words);
}
static md__notice_unit md__this_unit(md__notice_set);

MD__DEVICE void md__note(enum md__cuda_notice notice)
{
    if (md__notice_words)
        static_cast<volatile unsigned *>(md__notice_words)[notice] = 1;
}
#else
MD__DEVICE void md__note(enum md__cuda_notice notice)
{
    md_device_host_notice(1u << notice);
}
#endif

/* ---- elements -------------------------------------------------------------------------------- */

MD__DEVICE float md__load(const float *x)
{
    return *x;
}
MD__DEVICE float md__load(const __half *x)
{
    return __half2float(*x);
}
MD__DEVICE float md__load(const __nv_bfloat16 *x)
{
    return __bfloat162float(*x);
}
MD__DEVICE int64_t md__load(const int64_t *x)
{
    return *x;
}
MD__DEVICE int32_t md__load(const int32_t *x)
{
    return *x;
}
MD__DEVICE uint8_t md__load(const uint8_t *x)
{
    return *x;
}
MD__DEVICE int8_t md__load(const int8_t *x)
{
    return *x;
}
/* Byte i as it is, or with its sign. */
MD__DEVICE int32_t md__byte_at(const void *bytes, bool is_signed, int64_t i)
{
    return is_signed ? static_cast<const int8_t *>(bytes)[i]
                     : static_cast<const uint8_t *>(bytes)[i];
}
MD__DEVICE void md__store(float *y, float value)
{
    *y = value;
}
MD__DEVICE void md__store(__half *y, float value)
{
    if (fabsf(value) >= 65520.0f && fabsf(value) < INFINITY) /* rounds to infinity */
        md__note(MD__CUDA_OVERFLOW);
    *y = __float2half_rn(value);
}
MD__DEVICE void md__store(__nv_bfloat16 *y, float value)
{
    *y = __float2bfloat16_rn(value);
}
MD__DEVICE void md__store(int64_t *y, int64_t value)
{
    *y = value;
}
MD__DEVICE void md__store(int32_t *y, int32_t value)
{
    *y = value;
}
/* Whole numbers, which float32 holds; what is below the least byte becomes it. */
MD__DEVICE void md__store(uint8_t *y, float value)
{
    *y = (uint8_t)(value < 0.0f ? 0.0f : value);
}
MD__DEVICE void md__store(int8_t *y, float value)
{
    *y = (int8_t)(value < -128.0f ? -128.0f : value);
}

/* Runs the statement with T as the type of a float storage; leaves the function otherwise. */
#define MD__BY_FLOAT(storage, ...)                                                                 \
    switch (storage) {                                                                             \
    case MD__CUDA_F32: {                                                                           \
        using T = float;                                                                           \
        __VA_ARGS__;                                                                               \
    }                                                                                              \
    case MD__CUDA_F16: {                                                                           \
        using T = __half;                                                                          \
        __VA_ARGS__;                                                                               \
    }                                                                                              \
    case MD__CUDA_BF16: {                                                                          \
        using T = __nv_bfloat16;                                                                   \
        __VA_ARGS__;                                                                               \
    }                                                                                              \
    default:                                                                                       \
        return MD__CUDA_REFUSED;                                                                   \
    }

/* Likewise with T as an unsigned integer of `bytes` bytes, for what only moves. */
#define MD__BY_BYTES(bytes, ...)                                                                   \
    switch (bytes) {                                                                               \
    case 1: {                                                                                      \
        using T = uint8_t;                                                                         \
        __VA_ARGS__;                                                                               \
    }                                                                                              \
    case 2: {                                                                                      \
        using T = uint16_t;                                                                        \
        __VA_ARGS__;                                                                               \
    }                                                                                              \
    case 4: {                                                                                      \
        using T = uint32_t;                                                                        \
        __VA_ARGS__;                                                                               \
    }                                                                                              \
    case 8: {                                                                                      \
        using T = uint64_t;                                                                        \
        __VA_ARGS__;                                                                               \
    }                                                                                              \
    default:                                                                                       \
        return MD__CUDA_REFUSED;                                                                   \
    }

/* Bytes of an element, of whatever storage launch.h names; 1 for others. */
static inline int md__storage_bytes(int storage)
{
    switch (storage) {
    case MD__CUDA_F32:
    case MD__CUDA_I32:
        return 4;
    case MD__CUDA_F16:
    case MD__CUDA_BF16:
        return 2;
    case MD__CUDA_I64:
        return 8;
    default:
        return 1;
    }
}

/* The bits that stand for an element that is not there: a NaN, or 0. */
static inline uint64_t md__nothing_of(int storage)
{
    return storage == MD__CUDA_F32    ? 0x7fc00000u
           : storage == MD__CUDA_F16  ? 0x7e00u
           : storage == MD__CUDA_BF16 ? 0x7fc0u
                                      : 0;
}

/* ---- filters --------------------------------------------------------------------------------- */

/* What a point at distance x >= 0 counts in cubic interpolation; a: the kernel's parameter. */
MD__DEVICE float md__cubic(float x, float a)
{
    return x <= 1  ? ((a + 2) * x - (a + 3)) * x * x + 1
           : x < 2 ? (((x - 5) * x + 8) * x - 4) * a
                   : 0.0f;
}

/* ---- launches -------------------------------------------------------------------------------- */

/* launch.cu: notes the launch; false where no GPU takes its geometry. */
bool md__launch_note(const char *kernel, dim3 grid, dim3 block, size_t shared_bytes);
bool md__launch_is_noted_only(void);

/* More dynamic shared memory than a kernel has without being asked for. */
#define MD__SHARED_BYTES_PLAIN (48u << 10)

#ifdef __CUDACC__
template <class... Parameters, class... Arguments>
static int md__launch(md__cuda_stream stream, const char *name, void (*kernel)(Parameters...),
                      dim3 grid, dim3 block, size_t shared_bytes, Arguments... arguments)
{
    if (!md__launch_note(name, grid, block, shared_bytes))
        return (int)cudaErrorInvalidConfiguration;
    if (md__launch_is_noted_only())
        return 0;
    if (shared_bytes > MD__SHARED_BYTES_PLAIN) {
        cudaError_t error = cudaFuncSetAttribute(
            kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes);
        if (error != cudaSuccess)
            return (int)error;
    }
    kernel<<<grid, block, shared_bytes, (cudaStream_t)stream>>>((Parameters)arguments...);
    return (int)cudaGetLastError();
}
#else
template <class... Parameters, class... Arguments>
static int md__launch(md__cuda_stream stream, const char *name, void (*kernel)(Parameters...),
                      dim3 grid, dim3 block, size_t shared_bytes, Arguments... arguments)
{
    if (!md__launch_note(name, grid, block, shared_bytes))
        return 9; /* cudaErrorInvalidConfiguration */
    if (md__launch_is_noted_only())
        return 0;
    auto thread = [=]() { kernel((Parameters)arguments...); };
    return md__emulated_launch(
        stream, grid, block, shared_bytes,
        [](const void *context) { (*static_cast<const decltype(thread) *>(context))(); }, &thread,
        sizeof thread);
}
#endif

/* Blocks for `count` items, `per_block` in each; kernels go on by md__stride() where a grid is
 * smaller than what it has to do. */
static inline dim3 md__blocks(int64_t count, int64_t per_block)
{
    int64_t blocks = (count + per_block - 1) / per_block;
    return dim3((unsigned)(blocks < (1 << 20) ? blocks : 1 << 20));
}

MD__DEVICE int64_t md__first()
{
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}
MD__DEVICE int64_t md__stride()
{
    return (int64_t)gridDim.x * blockDim.x;
}

/* ---- reductions ------------------------------------------------------------------------------ */

struct md__plus {
    __device__ float operator()(float a, float b) const
    {
        return a + b;
    }
};
/* A NaN on either side gives NaN. */
struct md__larger {
    __device__ float operator()(float a, float b) const
    {
        return a > b || a != a ? a : b;
    }
};

/* Every lane of the warp gets the result. */
template <class Join> __device__ static inline float md__warp_all(float value, Join join)
{
    for (int lanes = MD__WARP / 2; lanes > 0; lanes /= 2)
        value = join(value, __shfl_xor_sync(MD__ALL, value, lanes));
    return value;
}

/* Every thread of the block gets the result; blockDim.x is a multiple of 32, y and z are 1. Safe to
 * call again at once. */
template <class Join> __device__ static inline float md__block_all(float value, Join join)
{
    __shared__ float warps[32];
    int warp = (int)threadIdx.x / MD__WARP, count = (int)blockDim.x / MD__WARP;
    value = md__warp_all(value, join);
    if (count == 1)
        return value;
    if (threadIdx.x % MD__WARP == 0)
        warps[warp] = value;
    __syncthreads();
    value = warps[0];
    for (int i = 1; i < count; i++)
        value = join(value, warps[i]);
    __syncthreads();
    return value;
}

/* Threads for a row of n: a multiple of 32, up to 256. */
static inline unsigned md__row_threads(int64_t n)
{
    return n <= 64 ? 32 : n <= 512 ? 128 : 256;
}

#endif
