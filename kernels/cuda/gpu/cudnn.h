/*
 * cuDNN's graphs of one context: a convolution of channels-last images with bias, residual and Relu
 * as one plan. cudnn_graph.c writes graphs down and makes plans of them, cudnn.c chooses and keeps.
 */
#ifndef MD_KERNELS_CUDA_GPU_CUDNN_H
#define MD_KERNELS_CUDA_GPU_CUDNN_H

#include <cudnn.h>

#include "kernels/cuda/launch.h"

#define MD__CUDNN_CALLS(X)                                                                         \
    X(cudnnBackendCreateDescriptor)                                                                \
    X(cudnnBackendDestroyDescriptor)                                                               \
    X(cudnnBackendExecute)                                                                         \
    X(cudnnBackendFinalize)                                                                        \
    X(cudnnBackendGetAttribute)                                                                    \
    X(cudnnBackendSetAttribute)                                                                    \
    X(cudnnCreate)                                                                                 \
    X(cudnnDestroy)                                                                                \
    X(cudnnGetVersion)                                                                             \
    X(cudnnSetStream)

/* The library as it was found while running. */
struct md__cudnn_calls {
    void *library;
    cudnnHandle_t handle;
#define X(name) __typeof__(&(name)) name;
    MD__CUDNN_CALLS(X)
#undef X
};

enum { MD__CUDNN_X, MD__CUDNN_W, MD__CUDNN_BIAS, MD__CUDNN_Z, MD__CUDNN_Y, MD__CUDNN_PORTS };
#define MD__CUDNN_PARTS   64
#define MD__CUDNN_CONFIGS 24 /* of the heuristic's, the first ones */

/* A graph: every descriptor that was made for it, in order. Zeroed is empty. */
struct md__cudnn_graph {
    cudnnBackendDescriptor_t parts[MD__CUDNN_PARTS], configs[MD__CUDNN_CONFIGS];
    int part_count, config_count;
    bool has[MD__CUDNN_PORTS]; /* which ports it reads or writes */
};

/* The convolution and the engines that the heuristic has for it, best first. Relu is part of it,
 * other functions are not. */
cudnnStatus_t md__cudnn_graph_init(const struct md__cudnn_calls *calls,
                                   const struct md__cuda_convolution *p,
                                   struct md__cudnn_graph *graph);
void md__cudnn_graph_fini(const struct md__cudnn_calls *calls, struct md__cudnn_graph *graph);
/* A plan of engine `config`; the caller destroys it. */
cudnnStatus_t md__cudnn_plan(const struct md__cudnn_calls *calls,
                             const struct md__cudnn_graph *graph, int config,
                             cudnnBackendDescriptor_t *plan, int64_t *workspace_bytes);
cudnnStatus_t md__cudnn_execute(const struct md__cudnn_calls *calls,
                                const struct md__cudnn_graph *graph, cudnnBackendDescriptor_t plan,
                                const struct md__cuda_convolution *p, void *y, void *workspace);

#endif
