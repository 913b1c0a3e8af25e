/*
 * The CUDA kernels, compiled for the host, behind the host driver, as a shared object like
 * libmoondial_cuda.so: MOONDIAL_CUDA names it in tests of the whole binary, for which --device cuda
 * is then this emulated device.
 *
 * MOONDIAL_EMULATED_FAIL=N lets allocation number N of device memory fail, and with it the device:
 * a sticky error.
 */
#include <stdlib.h>

#include "graph/device_host.h"
#include "kernels/cuda/kernels.h"

static struct md_device_driver host, driver;
static long allocations, fails_at = -1;
static bool is_lost;

static enum md_status allocate(struct md_device_context *context, size_t bytes, void **memory,
                               struct md_error *err)
{
    is_lost = is_lost || allocations++ == fails_at;
    *memory = NULL;
    return is_lost ? md_fail(err, MD_ERR_DEVICE, "the emulated device was told to fail")
                   : host.allocate(context, bytes, memory, err);
}

static bool lost(struct md_device_context *context)
{
    (void)context;
    return is_lost;
}

const struct md_device_driver *md_device_driver_table(void);

const struct md_device_driver *md_device_driver_table(void)
{
    const char *given = getenv("MOONDIAL_EMULATED_FAIL");
    fails_at = given ? atol(given) : -1;
    md_device_host_driver(&host, "emulated", md__cuda_kernels);
    driver = host;
    driver.allocate = allocate;
    driver.lost = lost;
    return &driver;
}
