/* What a context has of NVIDIA's libraries: see libraries.h. */
#include "kernels/cuda/gpu/libraries.h"

#include <cuda_runtime_api.h>
#include <stdlib.h>
#include <string.h>

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
    made->cublaslt = md__cublaslt_new();
    made->table.product = made->cublaslt ? md__cublaslt_product : NULL;
    return &made->table;
}

void md__cuda_libraries_delete(struct md__cuda_libraries *libraries)
{
    struct md__gpu_libraries *all = (struct md__gpu_libraries *)libraries;
    if (!all)
        return;
    md__cublaslt_delete(all->cublaslt);
    if (cudaFree(all->workspace) != cudaSuccess)
        cudaGetLastError(); /* the context is lost: its memory is, too */
    free(all);
}
