/*
 * The part of CUDA C++ that our kernels use, for an ordinary C++ compiler: every .cu file here is
 * compiled by nvcc for GPUs and by g++ with this page for tests on machines that have none.
 *
 * A block runs after the other, its threads as fibers. One fiber takes thread after thread as long
 * as none of them waits, so a kernel without barriers is a plain loop; a thread that waits keeps
 * its fiber, and another one goes on with the rest. __syncthreads() lets a block's threads go when
 * all that have not ended are there, a shuffle those of its mask in the warp. Threads that wait for
 * different things for ever, or for lanes that have ended, end the process: a bug of the kernel.
 * Shared memory of a size given at launch is a block of exactly that size (AddressSanitizer sees
 * what is read beyond), filled with NaNs before each block.
 *
 * Order of threads is fixed here and is not on a GPU: a missing barrier may go unseen. Arithmetic
 * is the host's, in float as written; functions like expf differ from CUDA's in the last places.
 */
#ifndef MD_KERNELS_CUDA_EMULATE_H
#define MD_KERNELS_CUDA_EMULATE_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __shared__      static thread_local
#define __launch_bounds__(n)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};

/* What a thread sees of itself; emulate.cpp switches it. */
struct md__lane {
    dim3 index;
    unsigned number; /* in the block */
    unsigned turn;   /* of its shuffles */
    int waits;
    unsigned mask;
};
struct md__block {
    md__lane *self;
    dim3 grid, size, index;
    unsigned char *shared;
    uint64_t slots[2][1024];
};
extern thread_local md__block md__emulated;

#define threadIdx (md__emulated.self->index)
#define blockIdx  (md__emulated.index)
#define blockDim  (md__emulated.size)
#define gridDim   (md__emulated.grid)

/* Ends the launch with an error when the threads cannot all come. */
void md__emulated_wait(bool whole_block, unsigned mask);

static inline void __syncthreads()
{
    md__emulated_wait(true, 0);
}

static inline void __syncwarp(unsigned mask = 0xffffffffu)
{
    md__emulated_wait(false, mask);
}

template <class T> static inline T md__emulated_exchange(unsigned mask, T value, unsigned from)
{
    static_assert(sizeof(T) <= sizeof(uint64_t), "a shuffle moves at most 8 bytes");
    md__lane *self = md__emulated.self;
    uint64_t *slots = md__emulated.slots[self->turn++ % 2];
    memcpy(&slots[self->number], &value, sizeof value);
    md__emulated_wait(false, mask);
    memcpy(&value, &slots[self->number / 32 * 32 + from % 32], sizeof value);
    return value;
}

template <class T> static inline T __shfl_xor_sync(unsigned mask, T value, int lanes)
{
    return md__emulated_exchange(mask, value, md__emulated.self->number % 32 ^ (unsigned)lanes);
}

template <class T> static inline T __shfl_sync(unsigned mask, T value, int lane)
{
    return md__emulated_exchange(mask, value, (unsigned)lane);
}

template <class T> static inline T atomicAdd(T *at, T value)
{
    T was = *at;
    *at = was + value;
    return was;
}

/* ---- numbers of 16 bits: nearest, ties to even ----------------------------------------------- */

struct __half {
    uint16_t bits;
};
struct __nv_bfloat16 {
    uint16_t bits;
};

extern "C" {
float md_f16_to_f32(uint16_t bits);
uint16_t md_f32_to_f16(float value);
float md_bf16_to_f32(uint16_t bits);
uint16_t md_f32_to_bf16(float value);
void md_device_host_notice(unsigned bits);
}

static inline float __half2float(__half x)
{
    return md_f16_to_f32(x.bits);
}
static inline __half __float2half_rn(float x)
{
    return __half{md_f32_to_f16(x)};
}
static inline float __bfloat162float(__nv_bfloat16 x)
{
    return md_bf16_to_f32(x.bits);
}
static inline __nv_bfloat16 __float2bfloat16_rn(float x)
{
    return __nv_bfloat16{md_f32_to_bf16(x)};
}

static inline float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}

/* ---- launches -------------------------------------------------------------------------------- */

/*
 * Puts thread(context) for every thread of the grid on `stream`, a device stream of device_host.h;
 * NULL: runs it now. The context, of `bytes` bytes, is copied. 0, or the number of a CUDA error.
 */
int md__emulated_launch(void *stream, dim3 grid, dim3 block, size_t shared_bytes,
                        void (*thread)(const void *), const void *context, size_t bytes);

#endif
