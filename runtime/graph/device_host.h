/*
 * The host as a device: heap memory, and streams whose work is done when somebody waits for it, on
 * the thread that does, or recorded while a capture is open. It makes every path above a driver
 * run, placement, copies, captured plans, failures, on machines without an accelerator, with
 * whatever kernels it is given: a few plain ones in tests, or a device's own, compiled for the
 * host. For tests; nothing chooses it by itself.
 */
#ifndef MD_GRAPH_DEVICE_HOST_H
#define MD_GRAPH_DEVICE_HOST_H

#include "graph/device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A driver for these kernels (MD_OP_COUNT slots). */
void md_device_host_driver(struct md_device_driver *driver, const char *name,
                           const struct md_device_kernel *const *kernels);

/*
 * What a kernel's launch is here: runs work(arguments) in the stream's order, once, or each time
 * the capture is launched that is open. The arguments are copied.
 */
enum md_status md_device_host_do(struct md_device_stream *stream, void (*work)(const void *),
                                 const void *arguments, size_t bytes, struct md_error *err);

/* What a kernel here meets, bits of enum md_device_notice: for the driver's notices(), asked on
 * the same thread. */
void md_device_host_notice(unsigned bits);

/* Blocks of memory, streams, events and captures that are alive in the context: for leak checks. */
int md_device_host_alive(const struct md_device_context *context);

#ifdef __cplusplus
}
#endif

#endif
