/*
 * The driver for NVIDIA GPUs: md_device_driver (runtime/graph/device.h) over the CUDA runtime.
 *
 * The runtime is linked in statically and looks for libcuda.so itself, so this object loads on
 * machines without a driver and says so when it is asked for devices. Every call is checked; the
 * calling thread is bound to the context's GPU wherever CUDA looks at that (making memory, streams
 * and events), because several GPUs may be in use.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/gpu/context.h"
#include "kernels/cuda/gpu/libraries.h"

#define MAJOR_MIN 7 /* sm_75: older GPUs lack the FP16 products that kernels are compiled for */
#define MINOR_MIN 5

/* ---- errors ---- */

/* What the CUDA manual calls errors after which the process must be ended and launched anew. */
static bool is_sticky(cudaError_t error)
{
    switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorAssert:
    case cudaErrorContextIsDestroyed:
    case cudaErrorDevicesUnavailable:
    case cudaErrorMpsConnectionFailed:
    case cudaErrorUnknown:
        return true;
    default:
        return false;
    }
}

enum md_status md__gpu_check(struct md_device_context *context, cudaError_t error, const char *what,
                             struct md_error *err)
{
    int name = (int)strcspn(what, "(");
    if (error == cudaSuccess)
        return MD_OK;
    cudaGetLastError(); /* so that the next check does not find it again */
    if (context && is_sticky(error))
        context->lost = true;
    return md_fail(err, error == cudaErrorMemoryAllocation ? MD_ERR_MEMORY : MD_ERR_DEVICE,
                   "%.*s: %s", name, what, cudaGetErrorString(error));
}

static enum md_status out_of_memory(struct md_error *err)
{
    return md_fail(err, MD_ERR_MEMORY, "out of memory");
}

static enum md_status bind(struct md_device_context *context, struct md_error *err)
{
    return md__gpu_call(context, cudaSetDevice(context->index), err);
}

/* ---- devices ---- */

static enum md_status gpu_count(int *count, struct md_error *err)
{
    int version = 0;
    *count = 0;
    cudaError_t error = cudaGetDeviceCount(count);
    cudaGetLastError();
    if (error == cudaSuccess && *count > 0)
        return MD_OK;
    if (error == cudaSuccess || error == cudaErrorNoDevice)
        return md_fail(err, MD_ERR_UNAVAILABLE, "no NVIDIA GPU");
    if (error == cudaErrorInsufficientDriver && cudaDriverGetVersion(&version) == cudaSuccess &&
        version > 0)
        return md_fail(err, MD_ERR_UNAVAILABLE,
                       "the NVIDIA driver is too old: it knows CUDA %d.%d, CUDA %d.%d is needed",
                       version / 1000, version % 1000 / 10, CUDART_VERSION / 1000,
                       CUDART_VERSION % 1000 / 10);
    if (error == cudaErrorInsufficientDriver)
        return md_fail(err, MD_ERR_UNAVAILABLE, "no NVIDIA driver");
    return md_fail(err, MD_ERR_UNAVAILABLE, "no NVIDIA GPU answers: %s", cudaGetErrorString(error));
}

static double attribute(int index, enum cudaDeviceAttr which)
{
    int value = 0;
    return cudaDeviceGetAttribute(&value, which, index) == cudaSuccess ? value : 0;
}

/*
 * Arithmetic and memory from what the GPU says of itself: multiply-adds of float32 in each lane of
 * each multiprocessor, two transfers a clock of its bus. Copies and waiting as PCIe 3 would have
 * them, which is the slowest there is: a start, nobody has measured it.
 */
static struct md_device_speed guess_speed(int index, int multiprocessors)
{
    const double lanes = 128, khz = 1e3, unknown_flops = 4e12, unknown_bytes = 200e9;
    double clock = khz * attribute(index, cudaDevAttrClockRate);
    double memory = 2 * khz * attribute(index, cudaDevAttrMemoryClockRate) / 8 *
                    attribute(index, cudaDevAttrGlobalMemoryBusWidth);
    double flops = 2 * lanes * multiprocessors * clock;
    return (struct md_device_speed){.flops = flops > 0 ? flops : unknown_flops,
                                    .bytes = memory > 0 ? memory : unknown_bytes,
                                    .copy_bytes = 12e9,
                                    .step_s = 2e-6,
                                    .copy_s = 5e-6,
                                    .wait_s = 15e-6};
}

static enum md_status describe(struct md_device_context *context, struct md_error *err)
{
    struct md_device_info *info = &context->info;
    struct cudaDeviceProp properties;
    int driver = 0, runtime = 0;
    enum md_status status =
        md__gpu_call(context, cudaGetDeviceProperties(&properties, context->index), err);
    if (status)
        return status;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    snprintf(info->name, sizeof info->name, "%.90s", properties.name);
    snprintf(info->version, sizeof info->version, "driver for CUDA %d.%d, runtime %d.%d",
             driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    info->index = context->index;
    info->major = properties.major;
    info->minor = properties.minor;
    info->memory_bytes = properties.totalGlobalMem;
    info->speed = guess_speed(context->index, properties.multiProcessorCount);
    if (info->major > MAJOR_MIN || (info->major == MAJOR_MIN && info->minor >= MINOR_MIN))
        return MD_OK;
    return md_fail(err, MD_ERR_UNAVAILABLE,
                   "%s is too old: compute capability %d.%d, %d.%d is needed", info->name,
                   info->major, info->minor, MAJOR_MIN, MINOR_MIN);
}

/* Memory of the host that kernels write to: rarely, so that it costs them nothing. */
static enum md_status notices_init(struct md_device_context *context, struct md_error *err)
{
    size_t bytes = MD__CUDA_NOTICES * sizeof *context->notices;
    void *memory = NULL, *seen = NULL;
    enum md_status status =
        md__gpu_call(context, cudaHostAlloc(&memory, bytes, cudaHostAllocMapped), err);
    context->notices = memory;
    if (!status)
        status = md__gpu_call(context, cudaHostGetDevicePointer(&seen, memory, 0), err);
    if (status)
        return status;
    memset(memory, 0, bytes);
    return md__gpu_check(context, (cudaError_t)md__cuda_notices_at(seen), "notices", err);
}

static void notices_fini(struct md_device_context *context)
{
    if (!context->notices)
        return;
    md__cuda_notices_at(NULL);
    md__gpu_call(context, cudaFreeHost(context->notices), NULL);
}

/* Nothing is written while there is nothing: a kernel may be about to. */
static unsigned gpu_notices(struct md_device_context *context)
{
    volatile unsigned *words = context->notices;
    unsigned bits = (words[MD__CUDA_OVERFLOW] ? MD_DEVICE_OVERFLOW : 0) |
                    (words[MD__CUDA_OUTSIDE] ? MD_DEVICE_OUTSIDE : 0);
    if (bits)
        words[MD__CUDA_OVERFLOW] = words[MD__CUDA_OUTSIDE] = 0;
    return bits;
}

static void gpu_close(struct md_device_context *context)
{
    if (!context->lost) {
        md__cuda_libraries_delete(context->libraries);
        notices_fini(context);
    }
    md__nvml_delete(context->nvml);
    free(context);
}

static enum md_status gpu_open(int index, struct md_device_context **opened, struct md_error *err)
{
    struct md_device_context *context = calloc(1, sizeof *context);
    *opened = NULL;
    if (!context)
        return out_of_memory(err);
    context->index = index;
    enum md_status status = bind(context, err);
    if (!status)
        status = describe(context, err);
    if (!status)
        status = notices_init(context, err);
    if (status) {
        gpu_close(context);
        return status;
    }
    char address[32];
    if (cudaDeviceGetPCIBusId(address, (int)sizeof address, index) == cudaSuccess)
        context->nvml = md__nvml_new(address);
    context->libraries = md__cuda_libraries_new();
    *opened = context;
    return MD_OK;
}

static void gpu_info(struct md_device_context *context, struct md_device_info *info)
{
    *info = context->info;
}

static bool gpu_lost(struct md_device_context *context)
{
    return context->lost;
}

/* ---- memory ---- */

static enum md_status gpu_allocate(struct md_device_context *context, size_t bytes, void **memory,
                                   struct md_error *err)
{
    enum md_status status = bind(context, err);
    *memory = NULL;
    if (!status)
        status = md__gpu_call(context, cudaMalloc(memory, bytes ? bytes : 1), err);
    return status == MD_ERR_MEMORY ? md_error_context(err, "%zu bytes", bytes) : status;
}

static void gpu_release(struct md_device_context *context, void *memory)
{
    if (memory)
        md__gpu_call(context, cudaFree(memory), NULL);
}

static enum md_status gpu_pin(struct md_device_context *context, size_t bytes, void **memory,
                              struct md_error *err)
{
    enum md_status status = bind(context, err);
    *memory = NULL;
    return status ? status
                  : md__gpu_call(context, cudaHostAlloc(memory, bytes ? bytes : 1, 0), err);
}

static void gpu_unpin(struct md_device_context *context, void *memory)
{
    if (memory)
        md__gpu_call(context, cudaFreeHost(memory), NULL);
}

static enum md_status gpu_memory(struct md_device_context *context, size_t *free_bytes,
                                 size_t *total_bytes, struct md_error *err)
{
    enum md_status status = bind(context, err);
    return status ? status : md__gpu_call(context, cudaMemGetInfo(free_bytes, total_bytes), err);
}

static void gpu_usage(struct md_device_context *context, struct md_device_usage *usage)
{
    md__nvml_usage(context->nvml, usage);
}

/* ---- streams, events ---- */

static enum md_status gpu_stream_new(struct md_device_context *context,
                                     struct md_device_stream **stream, struct md_error *err)
{
    enum md_status status = bind(context, err);
    *stream = NULL;
    if (status)
        return status;
    struct md_device_stream *made = calloc(1, sizeof *made);
    if (!made)
        return out_of_memory(err);
    made->context = context;
    status =
        md__gpu_call(context, cudaStreamCreateWithFlags(&made->stream, cudaStreamNonBlocking), err);
    if (status)
        free(made);
    else
        *stream = made;
    return status;
}

static void gpu_stream_delete(struct md_device_stream *stream)
{
    if (stream)
        md__gpu_call(stream->context, cudaStreamDestroy(stream->stream), NULL);
    free(stream);
}

static enum md_status gpu_stream_wait(struct md_device_stream *stream, struct md_error *err)
{
    return md__gpu_call(stream->context, cudaStreamSynchronize(stream->stream), err);
}

static enum md_status gpu_event_new(struct md_device_context *context,
                                    struct md_device_event **event, struct md_error *err)
{
    enum md_status status = bind(context, err);
    *event = NULL;
    if (status)
        return status;
    struct md_device_event *made = calloc(1, sizeof *made);
    if (!made)
        return out_of_memory(err);
    made->context = context;
    status = md__gpu_call(context, cudaEventCreate(&made->event), err);
    if (status)
        free(made);
    else
        *event = made;
    return status;
}

static void gpu_event_delete(struct md_device_event *event)
{
    if (event)
        md__gpu_call(event->context, cudaEventDestroy(event->event), NULL);
    free(event);
}

static enum md_status gpu_event_record(struct md_device_event *event,
                                       struct md_device_stream *stream, struct md_error *err)
{
    return md__gpu_call(stream->context, cudaEventRecord(event->event, stream->stream), err);
}

static enum md_status gpu_event_follow(struct md_device_event *event,
                                       struct md_device_stream *stream, struct md_error *err)
{
    return md__gpu_call(stream->context, cudaStreamWaitEvent(stream->stream, event->event, 0), err);
}

static enum md_status gpu_event_elapsed(struct md_device_event *from, struct md_device_event *to,
                                        int64_t *elapsed_ns, struct md_error *err)
{
    float milliseconds = 0;
    enum md_status status =
        md__gpu_call(to->context, cudaEventElapsedTime(&milliseconds, from->event, to->event), err);
    *elapsed_ns = (int64_t)((double)milliseconds * 1e6);
    return status;
}

/* ---- copies ---- */

static enum md_status move(struct md_device_stream *stream, void *to, const void *from,
                           size_t bytes, enum cudaMemcpyKind kind, struct md_error *err)
{
    return bytes ? md__gpu_call(stream->context,
                                cudaMemcpyAsync(to, from, bytes, kind, stream->stream), err)
                 : MD_OK;
}

static enum md_status gpu_upload(struct md_device_stream *stream, void *to, const void *from,
                                 size_t bytes, struct md_error *err)
{
    return move(stream, to, from, bytes, cudaMemcpyHostToDevice, err);
}

static enum md_status gpu_download(struct md_device_stream *stream, void *to, const void *from,
                                   size_t bytes, struct md_error *err)
{
    return move(stream, to, from, bytes, cudaMemcpyDeviceToHost, err);
}

static enum md_status gpu_copy(struct md_device_stream *stream, void *to, const void *from,
                               size_t bytes, struct md_error *err)
{
    return move(stream, to, from, bytes, cudaMemcpyDeviceToDevice, err);
}

static enum md_status gpu_fill(struct md_device_stream *stream, void *to, int byte, size_t bytes,
                               struct md_error *err)
{
    return bytes ? md__gpu_call(stream->context, cudaMemsetAsync(to, byte, bytes, stream->stream),
                                err)
                 : MD_OK;
}

static enum md_status gpu_convert(struct md_device_stream *stream, void *to, enum md_dtype to_dtype,
                                  const void *from, enum md_dtype from_dtype, size_t count,
                                  struct md_error *err)
{
    return md__launched(md__cuda_cast(md__cuda_stream_of(stream), (int)from_dtype, (int)to_dtype,
                                      from, to, (int64_t)count),
                        err);
}

/* ---- captures ---- */

/* Of this thread only: other threads may load models meanwhile. */
static enum md_status gpu_capture_begin(struct md_device_stream *stream, struct md_error *err)
{
    return md__gpu_call(stream->context,
                        cudaStreamBeginCapture(stream->stream, cudaStreamCaptureModeThreadLocal),
                        err);
}

static enum md_status gpu_capture_end(struct md_device_stream *stream,
                                      struct md_device_capture **capture, struct md_error *err)
{
    struct md_device_context *context = stream->context;
    cudaGraph_t recorded = NULL;
    *capture = NULL;
    enum md_status status =
        md__gpu_call(context, cudaStreamEndCapture(stream->stream, &recorded), err);
    if (status || !recorded)
        return status ? status : md_fail(err, MD_ERR_DEVICE, "nothing was captured");
    struct md_device_capture *made = calloc(1, sizeof *made);
    if (made) {
        made->context = context;
        status = md__gpu_call(context, cudaGraphInstantiate(&made->work, recorded, 0), err);
    } else {
        status = out_of_memory(err);
    }
    md__gpu_call(context, cudaGraphDestroy(recorded), NULL);
    if (status)
        free(made);
    else
        *capture = made;
    return status;
}

static enum md_status gpu_capture_launch(struct md_device_capture *capture,
                                         struct md_device_stream *stream, struct md_error *err)
{
    return md__gpu_call(stream->context, cudaGraphLaunch(capture->work, stream->stream), err);
}

static void gpu_capture_delete(struct md_device_capture *capture)
{
    if (capture)
        md__gpu_call(capture->context, cudaGraphExecDestroy(capture->work), NULL);
    free(capture);
}

/* ---- what kernels ask for ---- */

md__cuda_stream md__cuda_stream_of(struct md_device_stream *stream)
{
    return stream->stream;
}

struct md__cuda_libraries *md__cuda_libraries_of(struct md_device_context *context)
{
    return context->libraries;
}

/* ---- the table ---- */

static const struct md_device_driver driver = {
    .abi = MD_DEVICE_ABI,
    .op_count = MD_OP_COUNT,
    .name = "cuda",
    .kernels = md__cuda_kernels,
    .count = gpu_count,
    .open = gpu_open,
    .close = gpu_close,
    .info = gpu_info,
    .lost = gpu_lost,
    .allocate = gpu_allocate,
    .release = gpu_release,
    .pin = gpu_pin,
    .unpin = gpu_unpin,
    .memory = gpu_memory,
    .notices = gpu_notices,
    .usage = gpu_usage,
    .stream_new = gpu_stream_new,
    .stream_delete = gpu_stream_delete,
    .stream_wait = gpu_stream_wait,
    .event_new = gpu_event_new,
    .event_delete = gpu_event_delete,
    .event_record = gpu_event_record,
    .event_follow = gpu_event_follow,
    .event_elapsed = gpu_event_elapsed,
    .upload = gpu_upload,
    .download = gpu_download,
    .copy = gpu_copy,
    .fill = gpu_fill,
    .convert = gpu_convert,
    .capture_begin = gpu_capture_begin,
    .capture_end = gpu_capture_end,
    .capture_launch = gpu_capture_launch,
    .capture_delete = gpu_capture_delete,
};

__attribute__((visibility("default"))) const struct md_device_driver *md_device_driver_table(void);

const struct md_device_driver *md_device_driver_table(void)
{
    return &driver;
}
