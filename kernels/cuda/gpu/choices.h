/*
 * What timing has found, kept beyond the process: for each GPU and version of a library a file of
 * text in ~/.cache/moondial (or $XDG_CACHE_HOME), a line a question, with the hash of what was
 * asked and the number of the answer. A file that cannot be read or written costs time only.
 *
 * MOONDIAL_CUDA_LIBRARIES=untimed: nothing is timed, so that nothing is kept either.
 */
#ifndef MD_KERNELS_CUDA_GPU_CHOICES_H
#define MD_KERNELS_CUDA_GPU_CHOICES_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MD__CHOICES_MAX 4096
#define MD__CHOICE_NONE (-2) /* nobody has asked yet; answers are -1 and more */

struct md__choices {
    struct {
        uint64_t hash;
        int number;
    } kept[MD__CHOICES_MAX]; /* a ring: the file's last lines */
    int count;               /* lines of the file */
    bool untimed;            /* the first that is right does, to see what timing is worth */
    char path[512];          /* "": answers are not kept */
};

/* For this library on the current device; the zeroed struct becomes what the file holds. */
void md__choices_open(struct md__choices *choices, const char *library, size_t version);
/* What was answered last for these bytes, or MD__CHOICE_NONE. Two questions of one hash only cost
 * an answer that is not the best: whoever asks checks what it gets. */
int md__choices_recall(const struct md__choices *choices, const void *key, size_t bytes);
void md__choices_remember(const struct md__choices *choices, const void *key, size_t bytes,
                          int number);

/* Nothing may be timed, kept or waited for while work is captured. */
bool md__is_captured(cudaStream_t stream);
/* Milliseconds of a few runs after a first one, which the stream is waited for; infinite when one
 * fails. */
float md__choice_ms(cudaStream_t stream, bool (*run)(const void *context), const void *context);

#endif
