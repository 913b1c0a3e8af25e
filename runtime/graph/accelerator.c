/*
 * Two locks: one for the device, held while work is handed over and waited for; one for what the
 * report tells, held for a few instructions, with or without the first and never the other way
 * round.
 */
#include "graph/accelerator.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

struct md_accelerator {
    const struct md_device_driver *driver;
    struct md_device_context *context;
    struct md_device_info info;
    struct md__device *flying; /* under device */
    pthread_mutex_t device, facts;
    _Atomic bool lost;
    struct md_accelerator_counts counts; /* under facts, as is failure */
    char failure[256];
};

static const char *const precisions[] = {"auto", "fp32", "fp16", "bf16"};

const char *md_precision_name(enum md_precision precision)
{
    size_t at = (size_t)precision;
    return at < sizeof precisions / sizeof precisions[0] ? precisions[at] : "?";
}

enum md_status md_precision_parse(const char *name, enum md_precision *precision,
                                  struct md_error *err)
{
    for (size_t i = 0; i < sizeof precisions / sizeof precisions[0]; i++)
        if (strcmp(name, precisions[i]) == 0) {
            *precision = (enum md_precision)i;
            return MD_OK;
        }
    return md_fail(err, MD_ERR_INVALID, "precision \"%.32s\" is none of auto, fp32, fp16, bf16",
                   name);
}

static enum md_status check_driver(const struct md_device_driver *driver, struct md_error *err)
{
    if (driver->abi != MD_DEVICE_ABI || driver->op_count != MD_OP_COUNT)
        return md_fail(err, MD_ERR_UNSUPPORTED,
                       "the driver was built for another version: interface %d with %d operators, "
                       "wanted %d with %d",
                       driver->abi, driver->op_count, MD_DEVICE_ABI, MD_OP_COUNT);
    return MD_OK;
}

enum md_status md_accelerator_new(const struct md_device_driver *driver, int index,
                                  struct md_accelerator **accelerator, struct md_error *err)
{
    int count = 0;
    *accelerator = NULL;
    enum md_status status = check_driver(driver, err);
    if (!status)
        status = driver->count(&count, err);
    if (!status && (index < 0 || index >= count))
        status = md_fail(err, MD_ERR_UNAVAILABLE, "%s has %d device%s, there is no number %d",
                         driver->name, count, count == 1 ? "" : "s", index);
    if (status)
        return status;
    struct md_accelerator *made = calloc(1, sizeof *made);
    if (!made)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    made->driver = driver;
    status = driver->open(index, &made->context, err);
    if (status) {
        free(made);
        return status;
    }
    driver->info(made->context, &made->info);
    pthread_mutex_init(&made->device, NULL);
    pthread_mutex_init(&made->facts, NULL);
    *accelerator = made;
    return MD_OK;
}

void md_accelerator_delete(struct md_accelerator *accelerator)
{
    if (!accelerator)
        return;
    accelerator->driver->close(accelerator->context);
    pthread_mutex_destroy(&accelerator->device);
    pthread_mutex_destroy(&accelerator->facts);
    free(accelerator);
}

bool md_accelerator_usable(const struct md_accelerator *accelerator)
{
    return !accelerator->lost;
}

void md_accelerator_report(struct md_accelerator *accelerator, struct md_accelerator_report *report)
{
    *report = (struct md_accelerator_report){.driver = accelerator->driver->name,
                                             .info = accelerator->info,
                                             .usable = md_accelerator_usable(accelerator)};
    if (report->usable) {
        md__accelerator_lock(accelerator);
        if (accelerator->driver->memory(accelerator->context, &report->free_bytes,
                                        &report->total_bytes, NULL))
            report->free_bytes = report->total_bytes = 0;
        md__accelerator_unlock(accelerator);
    }
    pthread_mutex_lock(&accelerator->facts);
    const struct md_accelerator_counts *counts = &accelerator->counts;
    snprintf(report->failure, sizeof report->failure, "%s", accelerator->failure);
    report->runs = counts->runs;
    report->launches = counts->launches;
    report->captures = counts->captures;
    report->failed_runs = counts->failed_runs;
    report->memory_runs = counts->memory_runs;
    report->repeated_runs = counts->repeated_runs;
    report->ahead_runs = counts->ahead_runs;
    report->stayed = counts->stayed;
    report->travelled = counts->travelled;
    report->session_bytes = (size_t)counts->session_bytes;
    report->weight_bytes = (size_t)counts->weight_bytes;
    report->arena_bytes = (size_t)counts->arena_bytes;
    report->pinned_bytes = (size_t)counts->pinned_bytes;
    pthread_mutex_unlock(&accelerator->facts);
}

void md_accelerator_usage(struct md_accelerator *accelerator, struct md_device_usage *usage)
{
    md__accelerator_lock(accelerator);
    accelerator->driver->usage(accelerator->context, usage);
    md__accelerator_unlock(accelerator);
}

const struct md_device_driver *md__accelerator_driver(const struct md_accelerator *accelerator)
{
    return accelerator->driver;
}

struct md_device_context *md__accelerator_context(struct md_accelerator *accelerator)
{
    return accelerator->context;
}

const struct md_device_info *md__accelerator_info(const struct md_accelerator *accelerator)
{
    return &accelerator->info;
}

struct md__device *md__accelerator_flying(const struct md_accelerator *accelerator)
{
    return accelerator->flying;
}

void md__accelerator_set_flying(struct md_accelerator *accelerator, struct md__device *device)
{
    accelerator->flying = device;
}

void md__accelerator_lock(struct md_accelerator *accelerator)
{
    pthread_mutex_lock(&accelerator->device);
}

void md__accelerator_unlock(struct md_accelerator *accelerator)
{
    pthread_mutex_unlock(&accelerator->device);
}

void md__accelerator_count(struct md_accelerator *accelerator,
                           const struct md_accelerator_counts *more)
{
    pthread_mutex_lock(&accelerator->facts);
    struct md_accelerator_counts *counts = &accelerator->counts;
    counts->runs += more->runs;
    counts->launches += more->launches;
    counts->captures += more->captures;
    counts->failed_runs += more->failed_runs;
    counts->memory_runs += more->memory_runs;
    counts->repeated_runs += more->repeated_runs;
    counts->ahead_runs += more->ahead_runs;
    counts->stayed += more->stayed;
    counts->travelled += more->travelled;
    counts->session_bytes += more->session_bytes;
    counts->weight_bytes += more->weight_bytes;
    counts->arena_bytes += more->arena_bytes;
    counts->pinned_bytes += more->pinned_bytes;
    pthread_mutex_unlock(&accelerator->facts);
}

void md__accelerator_failed(struct md_accelerator *accelerator, const struct md_error *err)
{
    bool lost = accelerator->driver->lost(accelerator->context);
    pthread_mutex_lock(&accelerator->facts);
    bool first = accelerator->failure[0] == '\0', newly_lost = lost && !accelerator->lost;
    snprintf(accelerator->failure, sizeof accelerator->failure, "%s", err->text);
    accelerator->lost = accelerator->lost || lost;
    pthread_mutex_unlock(&accelerator->facts);
    if (newly_lost)
        md_log(MD_LOG_ERROR, "device", "%s cannot be used any more, the CPU takes over: %s",
               accelerator->info.name, err->text);
    else if (first)
        md_log(MD_LOG_WARN, "device", "%s failed, the CPU steps in: %s", accelerator->info.name,
               err->text);
}
