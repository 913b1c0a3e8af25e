/*
 * cuBLASLt and cuDNN of one context. Both are looked for while running: a machine with a GPU and
 * without them runs our own kernels. One stream at a time may use what is made here: they share a
 * workspace.
 */
#ifndef MD_KERNELS_CUDA_GPU_LIBRARIES_H
#define MD_KERNELS_CUDA_GPU_LIBRARIES_H

#include "kernels/cuda/libraries.h"

/* What this was built with; without its header a library is never looked for. */
#if __has_include(<cublasLt.h>)
#define MD__WITH_CUBLASLT 1
#else
#define MD__WITH_CUBLASLT 0
#endif
#if __has_include(<cudnn.h>)
#define MD__WITH_CUDNN 1
#else
#define MD__WITH_CUDNN 0
#endif

/* Given to the libraries, which then allocate nothing while work is captured. */
#define MD__LIBRARY_WORKSPACE_BYTES ((size_t)32 << 20)

struct md__cublaslt;
struct md__cudnn;

struct md__gpu_libraries {
    struct md__cuda_libraries table; /* first: the context hands this out */
    void *workspace;
    struct md__cublaslt *cublaslt; /* NULL: not there */
    struct md__cudnn *cudnn;       /* likewise */
};

/* The device is the current one. Never fails: what cannot be had is missing from the table; NULL
 * without memory for the table itself. */
struct md__cuda_libraries *md__cuda_libraries_new(void);
void md__cuda_libraries_delete(struct md__cuda_libraries *libraries); /* NULL is fine */

/* cublaslt.c */
struct md__cublaslt *md__cublaslt_new(void);
void md__cublaslt_delete(struct md__cublaslt *cublaslt);
int md__cublaslt_product(struct md__cuda_libraries *libraries, md__cuda_stream stream,
                         const struct md__cuda_product *product);

/* cudnn.c */
struct md__cudnn *md__cudnn_new(void);
void md__cudnn_delete(struct md__cudnn *cudnn);
int md__cudnn_convolve(struct md__cuda_libraries *libraries, md__cuda_stream stream,
                       const struct md__cuda_convolution *convolution);

#endif
