/*
 * What the driver's files share: a context is one GPU, opened by the CUDA runtime's primary
 * context, and what went wrong in it for good.
 */
#ifndef MD_KERNELS_CUDA_GPU_CONTEXT_H
#define MD_KERNELS_CUDA_GPU_CONTEXT_H

#include <cuda_runtime_api.h>

#include "kernels/cuda/ops.h"

struct md_device_context {
    int index; /* among CUDA's devices */
    struct md_device_info info;
    struct md__cuda_libraries *libraries; /* NULL: own kernels only */
    struct md__nvml *nvml;                /* NULL: it does not tell */
    unsigned *notices; /* pinned: kernels write it, the host reads it */
    bool lost;
};

struct md_device_stream {
    struct md_device_context *context;
    cudaStream_t stream;
};

struct md_device_event {
    struct md_device_context *context;
    cudaEvent_t event;
};

struct md_device_capture {
    struct md_device_context *context;
    cudaGraphExec_t work;
};

/*
 * The one way in which a call is checked. Errors are MD_ERR_MEMORY where memory is full, otherwise
 * MD_ERR_DEVICE; after a sticky one the context is lost. `what` names the call.
 */
enum md_status md__gpu_check(struct md_device_context *context, cudaError_t error, const char *what,
                             struct md_error *err);

/* nvml.c: what NVML tells of the GPU with this PCI address; NULL where it is not installed. */
struct md__nvml *md__nvml_new(const char *pci_address);
void md__nvml_delete(struct md__nvml *nvml);
void md__nvml_usage(const struct md__nvml *nvml, struct md_device_usage *usage); /* NULL is fine */

#define md__gpu_call(context, call, err) md__gpu_check(context, call, #call, err)

#endif
