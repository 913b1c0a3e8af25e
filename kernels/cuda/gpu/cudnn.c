/*
 * Convolutions by cuDNN: which plan for which shape.
 *
 * The first run of a shape, which is never captured, times the heuristic's first engines and keeps
 * the fastest whose result agrees with our own kernel's by norm; a shape where none does is our
 * kernel's from then on. Choices outlive the process (choices.h); one that is read from there is
 * checked in numbers all the same. While work is captured only what has been chosen runs.
 */
#include "kernels/cuda/gpu/libraries.h"

#if MD__WITH_CUDNN

#include "kernels/cuda/gpu/choices.h"
#include "kernels/cuda/gpu/cudnn.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY     "libcudnn.so.9"
#define CHOICES_MAX 512
#define NUMBERS     24
#define ERROR_F32   3e-5 /* engines that round to TF32 are off by ten times as much */
#define ERROR_F16   5e-3
#define ERROR_BF16  4e-2
#define TRIED_16    8    /* engines, of 16 bits; of float32 all: most of the first ones round */
#define CONFIG_NONE (-1) /* our own kernel does it better, or alone does it right */

/* What a plan is made for. */
struct key {
    int64_t numbers[NUMBERS];
};

struct choice {
    struct key key;
    struct md__cudnn_graph graph;
    cudnnBackendDescriptor_t plan; /* NULL: our own kernel */
};

struct md__cudnn {
    struct md__cudnn_calls calls;
    struct choice *choices[CHOICES_MAX];
    int choice_count;
    struct md__choices kept;
};

/* ---- the library ----------------------------------------------------------------------------- */

struct md__cudnn *md__cudnn_new(void)
{
    struct md__cudnn *made = calloc(1, sizeof *made);
    if (!made)
        return NULL;
    made->calls.library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    bool complete = made->calls.library != NULL;
#define X(name)                                                                                    \
    complete = complete && (made->calls.name =                                                     \
                                (__typeof__(&(name)))dlsym(made->calls.library, #name)) != NULL;
    MD__CUDNN_CALLS(X)
#undef X
    if (complete && made->calls.cudnnCreate(&made->calls.handle) == CUDNN_STATUS_SUCCESS) {
        md__choices_open(&made->kept, "cudnn", made->calls.cudnnGetVersion());
        return made;
    }
    md__cudnn_delete(made);
    return NULL;
}

static void choice_delete(const struct md__cudnn *nn, struct choice *choice)
{
    if (choice->plan)
        nn->calls.cudnnBackendDestroyDescriptor(choice->plan);
    md__cudnn_graph_fini(&nn->calls, &choice->graph);
    free(choice);
}

void md__cudnn_delete(struct md__cudnn *nn)
{
    if (!nn)
        return;
    while (nn->choice_count > 0)
        choice_delete(nn, nn->choices[--nn->choice_count]);
    if (nn->calls.handle)
        nn->calls.cudnnDestroy(nn->calls.handle);
    if (nn->calls.library)
        dlclose(nn->calls.library);
    free(nn);
}

/* ---- a choice -------------------------------------------------------------------------------- */

static bool is_aligned(const void *at)
{
    return (uintptr_t)at % 16 == 0;
}

/* What of p a plan does. Other functions than Relu are not in its graph; of float32 the sums alone,
 * as what fuses more rounds to TF32. */
static struct md__cuda_convolution part_of(const struct md__cuda_convolution *p)
{
    struct md__cuda_convolution part = *p;
    bool sums = p->storage == MD__CUDA_F32;
    if (sums)
        part.bias = part.z = NULL;
    if (sums || p->function != MD__CUDA_RELU)
        part.function = MD__CUDA_IDENTITY;
    return part;
}

/* What is left of it. */
static int finish(md__cuda_stream stream, const struct md__cuda_convolution *p,
                  const struct md__cuda_convolution *part)
{
    struct md__cuda_convolution rest = *p;
    rest.bias = part->bias ? NULL : p->bias;
    rest.z = part->z ? NULL : p->z;
    if (!rest.bias && !rest.z && part->function == p->function)
        return 0;
    return md__cuda_convolve_end(stream, &rest);
}

/* False: our own kernel's. Images, channels last and in units of 16 bytes. */
static bool key_of(const struct md__cuda_convolution *p, struct key *key)
{
    const struct md__cuda_window *w = &p->window;
    memset(key, 0, sizeof *key);
    const int64_t numbers[NUMBERS] = {
        p->storage,   p->batch,       p->channels,     p->outputs,   p->groups,
        w->in[1],     w->in[2],       w->kernel[1],    w->kernel[2], w->stride[1],
        w->stride[2], w->dilation[1], w->dilation[2],  w->before[1], w->before[2],
        w->after[1],  w->after[2],    p->bias != NULL, p->z != NULL, p->function == MD__CUDA_RELU};
    memcpy(key->numbers, numbers, sizeof numbers);
    int64_t unit = p->storage == MD__CUDA_F32 ? 4 : 8;
    return p->w_last && !p->transposed && p->x_channel == 1 && p->y_channel == 1 && w->in[0] == 1 &&
           w->kernel[0] == 1 && w->out[0] == 1 && p->channels / p->groups % unit == 0 &&
           p->outputs / p->groups % unit == 0 && is_aligned(p->x) && is_aligned(p->w_last) &&
           is_aligned(p->bias) && is_aligned(p->z) && is_aligned(p->y);
}

static cudnnStatus_t run_plan(struct md__gpu_libraries *all, const struct md__cudnn_graph *graph,
                              cudnnBackendDescriptor_t plan, const struct md__cuda_convolution *p,
                              void *y)
{
    return md__cudnn_execute(&all->cudnn->calls, graph, plan, p, y, all->workspace);
}

struct timing {
    struct md__gpu_libraries *all;
    const struct md__cudnn_graph *graph;
    cudnnBackendDescriptor_t plan;
    const struct md__cuda_convolution *p;
    void *y;
};

static bool run_timed(const void *context)
{
    const struct timing *timing = context;
    return run_plan(timing->all, timing->graph, timing->plan, timing->p, timing->y) ==
           CUDNN_STATUS_SUCCESS;
}

/* Room on the device and on the host for a result of ours and one of theirs. */
struct trial {
    void *ours, *theirs;
    float *numbers; /* both results as float32, on the host */
    void *wide;     /* a result as float32, on the device */
    int64_t count;
};

static bool trial_init(struct trial *trial, const struct md__cuda_convolution *p)
{
    *trial = (struct trial){.count = p->batch * p->outputs * p->out_places};
    size_t count = (size_t)trial->count;
    trial->numbers = malloc(2 * count * sizeof(float));
    size_t bytes = count * (p->storage == MD__CUDA_F32 ? 4 : 2);
    return trial->numbers && cudaMalloc(&trial->ours, bytes) == cudaSuccess &&
           cudaMalloc(&trial->theirs, bytes) == cudaSuccess &&
           cudaMalloc(&trial->wide, count * sizeof(float)) == cudaSuccess;
}

static void trial_fini(struct trial *trial)
{
    cudaFree(trial->ours);
    cudaFree(trial->theirs);
    cudaFree(trial->wide);
    free(trial->numbers);
    cudaGetLastError(); /* whatever this was, the next call's it is not */
}

static bool fetch(const struct trial *trial, cudaStream_t stream, int storage, const void *from,
                  float *to)
{
    size_t bytes = (size_t)trial->count * sizeof(float);
    return md__cuda_convert(stream, storage, MD__CUDA_F32, from, trial->wide, trial->count) == 0 &&
           cudaMemcpyAsync(to, trial->wide, bytes, cudaMemcpyDeviceToHost, stream) == cudaSuccess &&
           cudaStreamSynchronize(stream) == cudaSuccess;
}

/* Whether what lies in trial->theirs agrees with our own kernel's result. */
static bool agrees(const struct trial *trial, cudaStream_t stream,
                   const struct md__cuda_convolution *p)
{
    float *ours = trial->numbers, *theirs = trial->numbers + trial->count;
    double off = 0, norm = 0,
           bound = p->storage == MD__CUDA_F32   ? ERROR_F32
                   : p->storage == MD__CUDA_F16 ? ERROR_F16
                                                : ERROR_BF16;
    if (!fetch(trial, stream, p->storage, trial->ours, ours) ||
        !fetch(trial, stream, p->storage, trial->theirs, theirs))
        return false;
    for (int64_t i = 0; i < trial->count; i++) {
        double d = (double)theirs[i] - (double)ours[i];
        off += d * d;
        norm += (double)ours[i] * (double)ours[i];
    }
    return off <= bound * bound * norm || (off == 0 && norm == 0);
}

/* The plan of one engine when it runs in our workspace and is right. */
static cudnnBackendDescriptor_t try_config(struct md__gpu_libraries *all, cudaStream_t stream,
                                           const struct md__cudnn_graph *graph, int config,
                                           const struct md__cuda_convolution *p,
                                           const struct trial *trial, float *ms)
{
    cudnnBackendDescriptor_t plan = NULL;
    int64_t bytes = 0;
    if (md__cudnn_plan(&all->cudnn->calls, graph, config, &plan, &bytes))
        return NULL;
    *ms = INFINITY;
    const struct timing timing = {all, graph, plan, p, trial->theirs};
    if (bytes <= (int64_t)MD__LIBRARY_WORKSPACE_BYTES)
        *ms = md__choice_ms(stream, run_timed, &timing);
    if (*ms < INFINITY && agrees(trial, stream, p))
        return plan;
    all->cudnn->calls.cudnnBackendDestroyDescriptor(plan);
    return NULL;
}

/* Fills choice->plan; the number of the engine, or CONFIG_NONE. */
static int choose(struct md__gpu_libraries *all, cudaStream_t stream, struct choice *choice,
                  const struct md__cuda_convolution *p, int only)
{
    struct md__cuda_convolution own = *p;
    struct trial trial;
    float best = INFINITY, ms;
    int chosen = CONFIG_NONE;
    bool ready = trial_init(&trial, p);
    own.y = trial.ours;
    ready = ready && md__cuda_convolve(stream, &own) == 0 &&
            md__cudnn_graph_init(&all->cudnn->calls, p, &choice->graph) == CUDNN_STATUS_SUCCESS;
    int tried = p->storage == MD__CUDA_F32 ? MD__CUDNN_CONFIGS : TRIED_16;
    for (int i = 0; ready && i < tried && i < choice->graph.config_count; i++) {
        if (all->cudnn->kept.untimed && chosen != CONFIG_NONE)
            break;
        if (only >= 0 && i != only)
            continue;
        cudnnBackendDescriptor_t plan = try_config(all, stream, &choice->graph, i, p, &trial, &ms);
        if (!plan)
            continue;
        bool faster = ms < best;
        cudnnBackendDescriptor_t worse = faster ? choice->plan : plan;
        choice->plan = faster ? plan : choice->plan;
        best = faster ? ms : best;
        chosen = faster ? i : chosen;
        if (worse)
            all->cudnn->calls.cudnnBackendDestroyDescriptor(worse);
    }
    trial_fini(&trial);
    return chosen;
}

static struct choice *find(struct md__gpu_libraries *all, cudaStream_t stream,
                           const struct key *key, const struct md__cuda_convolution *p)
{
    struct md__cudnn *nn = all->cudnn;
    for (int i = 0; i < nn->choice_count; i++)
        if (memcmp(&nn->choices[i]->key, key, sizeof *key) == 0)
            return nn->choices[i];
    if (md__is_captured(stream) || nn->choice_count == CHOICES_MAX)
        return NULL;
    struct choice *made = calloc(1, sizeof *made);
    if (!made)
        return NULL;
    made->key = *key;
    int before = md__choices_recall(&nn->kept, key, sizeof *key), chosen = CONFIG_NONE;
    if (before != CONFIG_NONE)
        chosen = choose(all, stream, made, p, before);
    if (before == MD__CHOICE_NONE)
        md__choices_remember(&nn->kept, key, sizeof *key, chosen);
    nn->choices[nn->choice_count++] = made;
    return made;
}

int md__cudnn_convolve(struct md__cuda_libraries *libraries, md__cuda_stream stream,
                       const struct md__cuda_convolution *p)
{
    struct md__gpu_libraries *all = (struct md__gpu_libraries *)libraries;
    struct md__cuda_convolution part = part_of(p);
    struct key key;
    if (!key_of(&part, &key) ||
        all->cudnn->calls.cudnnSetStream(all->cudnn->calls.handle, (cudaStream_t)stream))
        return MD__CUDA_REFUSED;
    struct choice *choice = find(all, (cudaStream_t)stream, &key, &part);
    if (!choice || !choice->plan)
        return MD__CUDA_REFUSED;
    if (run_plan(all, &choice->graph, choice->plan, &part, p->y))
        return (int)cudaErrorLaunchFailure;
    return finish(stream, p, &part);
}

#endif
