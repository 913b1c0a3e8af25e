/*
 * The operators that CUDA devices have: one table, the same for GPUs and for the emulated device.
 */
#ifndef MD_KERNELS_CUDA_KERNELS_H
#define MD_KERNELS_CUDA_KERNELS_H

#include "graph/device.h"

extern const struct md_device_kernel *const md__cuda_kernels[MD_OP_COUNT];

#endif
