/*
 * Operator cases on a device: the CUDA kernels, compiled for the host (kernels/cuda/emulate.h);
 * with MOONDIAL_DEVICE_LIBRARY set to the path of libmoondial_cuda.so, on the GPU.
 */
#ifndef MD_TESTS_DEVICE_CASE_H
#define MD_TESTS_DEVICE_CASE_H

#include "graph/device.h"
#include "op_case.h"

/* The emulated device, or the driver that MOONDIAL_DEVICE_LIBRARY names: tests/gpu/run does. */
const struct md_device_driver *device_case_driver(void);

/*
 * Runs the case on the emulated device with floats stored as `precision`. The work is done once on
 * inputs that hold anything, captured before they are on the device, so that nothing can have
 * looked at them, and launched twice (under AddressSanitizer once). OP_REFUSED: there is no kernel,
 * or it says no. Buffers lie between guard bytes (under AddressSanitizer: alone); inputs must come
 * back unchanged.
 */
enum op_result op_run_device(struct op_run *run, enum md_dtype precision, struct md_error *err);

/*
 * The case in float32 against `expected` with the case's tolerance, and in float16 and bfloat16
 * (not under AddressSanitizer) by norm. How many of the three disagree; each is printed. What is
 * refused agrees.
 */
int op_device_disagreements(const struct op_case *op_case, const struct op_run *expected);

/* The same against committed numbers of each output. */
int op_device_differs(const struct op_case *op_case, const double *const *outputs);

/* Prints how many cases ran and were refused in this process; fails below `least` that ran. */
void op_device_report(int least);

#endif
