/*
 * Walking a map of launch.h: where position i lies in each of its tensors. Divisions are in 32 bits
 * wherever there are fewer than 2^31 positions.
 */
#ifndef MD_CUDA_MAP_CUH
#define MD_CUDA_MAP_CUH

#include "kernels/cuda/device.cuh"

template <int N, class I>
MD__DEVICE void md__locate_in(const struct md__cuda_map &map, I i, int64_t (&at)[N])
{
    for (int k = 0; k < N; k++)
        at[k] = 0;
    for (int axis = map.rank - 1; axis >= 0; axis--) {
        I dim = (I)map.dim[axis], rest = i / dim, index = i - rest * dim;
        for (int k = 0; k < N; k++)
            at[k] += (int64_t)index * map.stride[k][axis];
        i = rest;
    }
}

/* In each of the first N tensors. */
template <int N>
MD__DEVICE void md__locate(const struct md__cuda_map &map, int64_t i, int64_t (&at)[N])
{
    if (map.rank == 1) {
        for (int k = 0; k < N; k++)
            at[k] = i * map.stride[k][0];
    } else if (map.count <= 0x7fffffff) {
        md__locate_in(map, (uint32_t)i, at);
    } else {
        md__locate_in(map, i, at);
    }
}

/* In the first one. */
MD__DEVICE int64_t md__place(const struct md__cuda_map &map, int64_t i)
{
    int64_t at[1];
    md__locate(map, i, at);
    return at[0];
}

#endif
