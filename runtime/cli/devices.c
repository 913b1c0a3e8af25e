/*
 * --device: the CPU, or an accelerator beside it, and why not.
 *
 * `auto` takes the first GPU where there is one and otherwise the CPU, and keeps the reason; `cuda`
 * and `cuda:1` ask for a GPU, and fail without. The driver is looked for at $MOONDIAL_CUDA, beside
 * the binary, and where a package puts it.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"
#include "graph/device_load.h"

#define DRIVER "libmoondial_cuda.so"

/* The folder of the binary, without a slash at its end. */
static bool own_folder(char *path, size_t size)
{
    ssize_t length = readlink("/proc/self/exe", path, size - 1);
    char *slash;

    if (length <= 0) {
        return false;
    }
    path[length] = '\0';
    slash = strrchr(path, '/');
    if (slash == NULL) {
        return false;
    }
    *slash = '\0';
    return true;
}

static enum md_status load_driver(const struct md_device_driver **driver, struct md_error *err)
{
    const char *given = getenv("MOONDIAL_CUDA");
    char folder[PATH_MAX], beside[PATH_MAX + 64], packaged[PATH_MAX + 64];
    const char *paths[] = {beside, packaged, NULL};

    if (given != NULL && given[0] != '\0') {
        paths[0] = given;
        paths[1] = NULL;
    } else if (own_folder(folder, sizeof folder)) {
        snprintf(beside, sizeof beside, "%s/" DRIVER, folder);
        snprintf(packaged, sizeof packaged, "%s/../" MD_LIB_SUBDIR "/" DRIVER, folder);
    } else {
        paths[0] = NULL;
    }
    enum md_status status = md_device_load(paths, driver, err);
    if (status == MD_ERR_NOT_FOUND && given == NULL) {
        return md_fail(err, status,
                       DRIVER " is not beside the binary; where nvcc of CUDA 13 is, "
                              "`cmake --build --preset release --target moondial_cuda` builds it");
    }
    return status;
}

void md__cli_check_precision(const struct md__device_choice *device, enum md_precision precision)
{
    if (device->accelerator == NULL && precision != MD_PRECISION_AUTO &&
        precision != MD_PRECISION_F32) {
        md_log(MD_LOG_WARN, "device", "precision %s is for GPUs: the CPU computes in float32",
               md_precision_name(precision));
    }
}

/* "cuda" or "cuda:INDEX" */
static bool read_index(const char *device, int *index)
{
    char *end;
    long number = 0;

    if (strncmp(device, "cuda", 4) != 0) {
        return false;
    }
    if (device[4] == ':') {
        number = strtol(device + 5, &end, 10);
        if (end == device + 5 || *end != '\0' || number < 0 || number > 1023) {
            return false;
        }
    } else if (device[4] != '\0') {
        return false;
    }
    *index = (int)number;
    return true;
}

static enum md_status open_accelerator(int index, struct md_accelerator **accelerator,
                                       struct md_error *err)
{
    const struct md_device_driver *driver;
    enum md_status status = load_driver(&driver, err);

    return status == MD_OK ? md_accelerator_new(driver, index, accelerator, err) : status;
}

enum md_status md__cli_device(const char *device, struct md__device_choice *chosen,
                              struct md_error *err)
{
    struct md_error cause = {0};
    int index = 0;
    bool automatic = strcmp(device, "auto") == 0;

    *chosen = (struct md__device_choice){0};
    if (strcmp(device, "cpu") == 0) {
        snprintf(chosen->why, sizeof chosen->why, "asked for");
        return MD_OK;
    }
    if (!automatic && !read_index(device, &index)) {
        return md_fail(err, MD_ERR_INVALID,
                       "device \"%.32s\" is none of auto, cpu, cuda, cuda:INDEX", device);
    }
    if (open_accelerator(index, &chosen->accelerator, &cause) == MD_OK) {
        return MD_OK;
    }
    if (!automatic) {
        return md_fail(err, MD_ERR_INVALID, "device %s: %s", device, cause.text);
    }
    chosen->is_missed = cause.code != MD_ERR_NOT_FOUND;
    snprintf(chosen->why, sizeof chosen->why, "%s", cause.text);
    return MD_OK;
}
