/*
 * How busy the GPU is, told by NVML, the library of NVIDIA's driver. It is looked up while running,
 * because machines without the driver lack it, and so is its header: the few functions are declared
 * here as NVML's reference documents them. Whatever it does not tell is -1.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/gpu/context.h"

#define LIBRARY      "libnvidia-ml.so.1"
#define CLOCK_SM     1
#define CLOCK_MEMORY 2
#define SENSOR_GPU   0

struct utilization {
    unsigned gpu, memory; /* percent */
};

struct memory {
    unsigned long long total, free, used;
};

struct md__nvml {
    void *library, *device;
    int (*shutdown)(void);
    int (*utilization)(void *device, struct utilization *utilization);
    int (*memory)(void *device, struct memory *memory);
    int (*clock)(void *device, int type, unsigned *mhz);
    int (*temperature)(void *device, int sensor, unsigned *celsius);
    int (*power)(void *device, unsigned *milliwatts);
};

/* NULL where the library lacks it. */
static void find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
}

static bool start(struct md__nvml *nvml, const char *pci_address)
{
    int (*init)(void) = NULL;
    int (*handle)(const char *pci_address, void **device) = NULL;
    find(nvml->library, "nvmlInit_v2", &init);
    find(nvml->library, "nvmlDeviceGetHandleByPciBusId_v2", &handle);
    find(nvml->library, "nvmlShutdown", &nvml->shutdown);
    find(nvml->library, "nvmlDeviceGetUtilizationRates", &nvml->utilization);
    find(nvml->library, "nvmlDeviceGetMemoryInfo", &nvml->memory);
    find(nvml->library, "nvmlDeviceGetClockInfo", &nvml->clock);
    find(nvml->library, "nvmlDeviceGetTemperature", &nvml->temperature);
    find(nvml->library, "nvmlDeviceGetPowerUsage", &nvml->power);
    if (!init || !handle || !nvml->shutdown || init() != 0)
        return false;
    if (handle(pci_address, &nvml->device) == 0)
        return true;
    nvml->shutdown();
    return false;
}

struct md__nvml *md__nvml_new(const char *pci_address)
{
    struct md__nvml *nvml = calloc(1, sizeof *nvml);
    if (!nvml)
        return NULL;
    nvml->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (nvml->library && start(nvml, pci_address))
        return nvml;
    if (nvml->library)
        dlclose(nvml->library);
    free(nvml);
    return NULL;
}

void md__nvml_delete(struct md__nvml *nvml)
{
    if (!nvml)
        return;
    nvml->shutdown();
    dlclose(nvml->library);
    free(nvml);
}

void md__nvml_usage(const struct md__nvml *nvml, struct md_device_usage *usage)
{
    struct utilization busy;
    struct memory memory;
    unsigned number;
    *usage = (struct md_device_usage){-1, -1, -1, -1, -1, -1, -1};
    if (!nvml)
        return;
    if (nvml->utilization && nvml->utilization(nvml->device, &busy) == 0) {
        usage->busy_pct = busy.gpu;
        usage->memory_busy_pct = busy.memory;
    }
    if (nvml->memory && nvml->memory(nvml->device, &memory) == 0)
        usage->memory_used_bytes = (double)memory.used;
    if (nvml->clock && nvml->clock(nvml->device, CLOCK_SM, &number) == 0)
        usage->clock_mhz = number;
    if (nvml->clock && nvml->clock(nvml->device, CLOCK_MEMORY, &number) == 0)
        usage->memory_clock_mhz = number;
    if (nvml->power && nvml->power(nvml->device, &number) == 0)
        usage->power_w = (double)number / 1e3;
    if (nvml->temperature && nvml->temperature(nvml->device, SENSOR_GPU, &number) == 0)
        usage->temperature_c = number;
}
