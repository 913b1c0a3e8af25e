/* What a context has of NVIDIA's libraries: see libraries.h. */
#include "kernels/cuda/gpu/libraries.h"

#include <cuda_runtime_api.h>
#include <stdlib.h>
#include <string.h>

static int keep(struct md__cuda_libraries *libraries, const void *bytes, size_t count,
                void **memory)
{
    (void)libraries;
    cudaError_t error = cudaMalloc(memory, count);
    if (error != cudaSuccess)
        return (int)error;
    error = cudaMemcpy(*memory, bytes, count, cudaMemcpyHostToDevice);
    if (error != cudaSuccess) {
        cudaFree(*memory);
        *memory = NULL;
    }
    return (int)error;
}

static void drop(struct md__cuda_libraries *libraries, void *memory)
{
    (void)libraries;
    if (cudaFree(memory) != cudaSuccess)
        cudaGetLastError(); /* as in delete */
}

struct md__cuda_libraries *md__cuda_libraries_new(void)
{
    const char *wanted = getenv("MOONDIAL_CUDA_LIBRARIES");
    if (wanted && strcmp(wanted, "off") == 0) /* to see what they are worth */
        return NULL;
    struct md__gpu_libraries *made = calloc(1, sizeof *made);
    if (!made)
        return NULL;
    if (cudaMalloc(&made->workspace, MD__LIBRARY_WORKSPACE_BYTES) != cudaSuccess) {
        cudaGetLastError(); /* not the next call's */
        return &made->table;
    }
#if MD__WITH_CUBLASLT
    made->cublaslt = md__cublaslt_new();
    made->table.product = made->cublaslt ? md__cublaslt_product : NULL;
#endif
#if MD__WITH_CUDNN
    made->cudnn = md__cudnn_new();
    made->table.convolve = made->cudnn ? md__cudnn_convolve : NULL;
#endif
    made->table.keep = keep;
    made->table.drop = drop;
    return &made->table;
}

void md__cuda_libraries_delete(struct md__cuda_libraries *libraries)
{
    struct md__gpu_libraries *all = (struct md__gpu_libraries *)libraries;
    if (!all)
        return;
#if MD__WITH_CUDNN
    md__cudnn_delete(all->cudnn);
#endif
#if MD__WITH_CUBLASLT
    md__cublaslt_delete(all->cublaslt);
#endif
    if (cudaFree(all->workspace) != cudaSuccess)
        cudaGetLastError(); /* the context is lost: its memory is, too */
    free(all);
}
