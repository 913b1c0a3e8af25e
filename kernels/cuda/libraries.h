/*
 * NVIDIA's libraries behind plain functions: a table that a context may have, each function of
 * which may be missing or refuse what it is given (MD__CUDA_REFUSED); our own kernel then runs. On
 * a GPU gpu/libraries.c fills it from what it finds while running, tests fill it as they like.
 */
#ifndef MD_KERNELS_CUDA_LIBRARIES_H
#define MD_KERNELS_CUDA_LIBRARIES_H

#include "kernels/cuda/launch.h"

struct md__cuda_libraries {
    /* Work of these is on `stream` when they return 0; like launchers they neither wait nor
     * allocate device memory. */
    int (*product)(struct md__cuda_libraries *libraries, md__cuda_stream stream,
                   const struct md__cuda_product *product);
    int (*convolve)(struct md__cuda_libraries *libraries, md__cuda_stream stream,
                    const struct md__cuda_convolution *convolution);
    /* Bytes from the host as device memory, before anything runs; a cudaError on failure. */
    int (*keep)(struct md__cuda_libraries *libraries, const void *bytes, size_t count,
                void **memory);
    void (*drop)(struct md__cuda_libraries *libraries, void *memory);
};

#endif
