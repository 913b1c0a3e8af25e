/* Appended to, never rewritten, so that processes need not know of each other; the last line of a
 * hash counts. */
#include "kernels/cuda/gpu/choices.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TIMED_RUNS 5

static void set_path(struct md__choices *choices, const char *library, size_t version)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    struct cudaDeviceProp properties;
    int device = 0;
    char folder[256], name[64];
    if (cudaGetDevice(&device) || cudaGetDeviceProperties(&properties, device))
        return;
    if (cache && *cache)
        snprintf(folder, sizeof folder, "%.200s/moondial", cache);
    else if (home && *home)
        snprintf(folder, sizeof folder, "%.200s/.cache/moondial", home);
    else
        return;
    snprintf(name, sizeof name, "%.60s", properties.name);
    for (char *at = name; *at; at++)
        *at = *at == ' ' || *at == '/' ? '-' : *at;
    mkdir(folder, 0700); /* where it cannot be made, the file cannot either */
    snprintf(choices->path, sizeof choices->path, "%s/%.32s-%zu-%s.txt", folder, library, version,
             name);
}

void md__choices_open(struct md__choices *choices, const char *library, size_t version)
{
    const char *wanted = getenv("MOONDIAL_CUDA_LIBRARIES");
    unsigned long long hash;
    int number;
    choices->untimed = wanted && strcmp(wanted, "untimed") == 0;
    if (choices->untimed)
        return;
    set_path(choices, library, version);
    FILE *file = choices->path[0] ? fopen(choices->path, "r") : NULL;
    for (; file && fscanf(file, "%llx %d", &hash, &number) == 2; choices->count++) {
        choices->kept[choices->count % MD__CHOICES_MAX].hash = hash;
        choices->kept[choices->count % MD__CHOICES_MAX].number = number;
    }
    if (file)
        fclose(file);
}

/* FNV-1a. */
static uint64_t hash_of(const void *key, size_t bytes)
{
    const unsigned char *at = key;
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ at[i]) * 1099511628211u;
    return hash;
}

int md__choices_recall(const struct md__choices *choices, const void *key, size_t bytes)
{
    uint64_t hash = hash_of(key, bytes);
    for (int i = choices->count - 1; i >= 0 && i >= choices->count - MD__CHOICES_MAX; i--)
        if (choices->kept[i % MD__CHOICES_MAX].hash == hash)
            return choices->kept[i % MD__CHOICES_MAX].number;
    return MD__CHOICE_NONE;
}

void md__choices_remember(const struct md__choices *choices, const void *key, size_t bytes,
                          int number)
{
    FILE *file = choices->path[0] ? fopen(choices->path, "a") : NULL;
    if (!file)
        return;
    fprintf(file, "%016llx %d\n", (unsigned long long)hash_of(key, bytes), number);
    fclose(file);
}

bool md__is_captured(cudaStream_t stream)
{
    enum cudaStreamCaptureStatus status = cudaStreamCaptureStatusActive;
    return cudaStreamIsCapturing(stream, &status) != cudaSuccess ||
           status != cudaStreamCaptureStatusNone;
}

float md__choice_ms(cudaStream_t stream, bool (*run)(const void *context), const void *context)
{
    cudaEvent_t begin = NULL, end = NULL;
    float ms = INFINITY;
    bool ran = cudaEventCreate(&begin) == cudaSuccess && cudaEventCreate(&end) == cudaSuccess &&
               run(context) && cudaEventRecord(begin, stream) == cudaSuccess;
    for (int i = 0; i < TIMED_RUNS && ran; i++)
        ran = run(context);
    if (ran)
        ran = cudaEventRecord(end, stream) == cudaSuccess &&
              cudaEventSynchronize(end) == cudaSuccess &&
              cudaEventElapsedTime(&ms, begin, end) == cudaSuccess;
    if (begin)
        cudaEventDestroy(begin);
    if (end)
        cudaEventDestroy(end);
    return ran ? ms : INFINITY;
}
