/* See reference_device.h. One driver at a time: its tables are static. */
#include "reference_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/device_host.h"
#include "graph/evaluate.h"
#include "graph/pass.h"
#include "kernels/cpu/cpu.h"

#define BYTES_MAX ((size_t)1 << 30)

static struct md_device_driver host, driver;
static struct md_device_kernel kernels[MD_OP_COUNT];
static const struct md_device_kernel *table[MD_OP_COUNT];
static struct md_device_context *opened;
static size_t bytes_max;
static struct md_device_speed told_speed;

static struct {
    int calls, at;
    enum md_status status;
    bool sticky, lost;
} failing = {.at = -1};

void reference_device_fail(int n, enum md_status status, bool sticky)
{
    failing.calls = 0;
    failing.at = n;
    failing.status = status;
    failing.sticky = sticky;
    failing.lost = false;
}

int reference_device_calls(void)
{
    return failing.calls;
}

static enum md_status count_call(struct md_error *err)
{
    int call = failing.calls++;
    if (failing.lost)
        return md_fail(err, MD_ERR_DEVICE, "the device was lost before call %d", call);
    if (call != failing.at)
        return MD_OK;
    failing.lost = failing.sticky;
    return md_fail(err, failing.status, "call %d was told to fail", call);
}

/* ---- kernels ---- */

struct evaluation {
    const struct md_node *node;
    const struct md_device_value *in, *out;
};

static struct md_tensor as_tensor(const struct md_device_value *value)
{
    struct md_error err;
    struct md_tensor stored = {.dtype = value->storage, .shape = value->shape, .data = value->data};
    struct md_tensor tensor = {0};
    if (!value->data && value->known)
        stored = (struct md_tensor){
            .dtype = value->dtype, .shape = value->shape, .data = (void *)(uintptr_t)value->known};
    if (stored.data &&
        (stored.dtype == value->dtype ? md_tensor_copy(&stored, &tensor, &err)
                                      : md_tensor_convert(&stored, value->dtype, &tensor, &err)))
        abort();
    return tensor;
}

/* What a launched kernel does. A failure here is a bug of the test. */
static void evaluate(const void *arguments)
{
    const struct evaluation *work = arguments;
    const struct md_node *node = work->node;
    struct md_error err;
    struct md_pool *pool;
    struct md_tensor in[64] = {0}, out[64] = {0};
    if (node->in_count > 64 || node->out_count > 64 || md_pool_new(1, 0, &pool, &err))
        abort();
    for (int i = 0; i < node->in_count; i++)
        in[i] = as_tensor(&work->in[i]);
    if (md__evaluate_node(md_cpu_reference(), pool, node, in, in, out, BYTES_MAX, &err)) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    for (int i = 0; i < node->out_count; i++) {
        struct md_tensor stored;
        if (md_tensor_convert(&out[i], work->out[i].storage, &stored, &err))
            abort();
        memcpy(work->out[i].data, stored.data, md_tensor_bytes(&stored));
        md_tensor_unref(&stored);
        md_tensor_unref(&out[i]);
    }
    for (int i = 0; i < node->in_count; i++)
        md_tensor_unref(&in[i]);
    md_pool_delete(pool);
}

static enum md_status enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct evaluation work = {call->node, call->in, call->out};
    enum md_status status = count_call(err);
    return status ? status : md_device_host_do(call->stream, evaluate, &work, sizeof work, err);
}

static bool supports(const struct md_node *node, const struct md_device_value *in, int in_count,
                     const struct md_device_value *out, int out_count)
{
    struct md_tensor shown[64] = {0};
    if (in_count > 64 || out_count > 64)
        return false;
    for (int i = 0; i < in_count; i++)
        if (in[i].dtype)
            shown[i] = (struct md_tensor){
                .dtype = in[i].dtype, .shape = in[i].shape, .data = (void *)(uintptr_t)in[i].known};
    return out[0].dtype && md__kernel_find(md_cpu_reference(), node, shown) != NULL;
}

/* ---- the driver's calls, counted ---- */

static enum md_status count_devices(int *count, struct md_error *err)
{
    enum md_status status = count_call(err);
    return status ? status : host.count(count, err);
}

static enum md_status open_device(int index, struct md_device_context **context,
                                  struct md_error *err)
{
    enum md_status status = count_call(err);
    status = status ? status : host.open(index, context, err);
    opened = status ? NULL : *context;
    return status;
}

static int alive_at_close;

static void close_device(struct md_device_context *context)
{
    alive_at_close = md_device_host_alive(context);
    opened = NULL;
    host.close(context);
}

int reference_device_alive(void)
{
    return opened ? md_device_host_alive(opened) : alive_at_close;
}

static void tell(struct md_device_context *context, struct md_device_info *info)
{
    host.info(context, info);
    info->memory_bytes = bytes_max;
    info->speed = told_speed;
}

static bool is_lost(struct md_device_context *context)
{
    (void)context;
    return failing.lost;
}

static enum md_status allocate(struct md_device_context *context, size_t bytes, void **memory,
                               struct md_error *err)
{
    enum md_status status = count_call(err);
    if (!status && bytes > bytes_max)
        status = md_fail(err, MD_ERR_MEMORY, "the device has no %zu bytes", bytes);
    return status ? status : host.allocate(context, bytes, memory, err);
}

static enum md_status pin(struct md_device_context *context, size_t bytes, void **memory,
                          struct md_error *err)
{
    enum md_status status = count_call(err);
    return status ? status : host.pin(context, bytes, memory, err);
}

static enum md_status stream_new(struct md_device_context *context,
                                 struct md_device_stream **stream, struct md_error *err)
{
    enum md_status status = count_call(err);
    return status ? status : host.stream_new(context, stream, err);
}

static enum md_status stream_wait(struct md_device_stream *stream, struct md_error *err)
{
    enum md_status status = count_call(err);
    return status ? status : host.stream_wait(stream, err);
}

static enum md_status upload(struct md_device_stream *stream, void *to, const void *from,
                             size_t bytes, struct md_error *err)
{
    enum md_status status = count_call(err);
    return status ? status : host.upload(stream, to, from, bytes, err);
}

static enum md_status download(struct md_device_stream *stream, void *to, const void *from,
                               size_t bytes, struct md_error *err)
{
    enum md_status status = count_call(err);
    return status ? status : host.download(stream, to, from, bytes, err);
}

static enum md_status convert(struct md_device_stream *stream, void *to, enum md_dtype to_dtype,
                              const void *from, enum md_dtype from_dtype, size_t count,
                              struct md_error *err)
{
    enum md_status status = count_call(err);
    return status ? status : host.convert(stream, to, to_dtype, from, from_dtype, count, err);
}

static enum md_status capture_begin(struct md_device_stream *stream, struct md_error *err)
{
    enum md_status status = count_call(err);
    return status ? status : host.capture_begin(stream, err);
}

/* Also when it fails, the capture is over. */
static enum md_status capture_end(struct md_device_stream *stream,
                                  struct md_device_capture **capture, struct md_error *err)
{
    enum md_status status = count_call(err), ended = host.capture_end(stream, capture, err);
    if (status && !ended)
        host.capture_delete(*capture);
    return status ? status : ended;
}

static enum md_status capture_launch(struct md_device_capture *capture,
                                     struct md_device_stream *stream, struct md_error *err)
{
    enum md_status status = count_call(err);
    return status ? status : host.capture_launch(capture, stream, err);
}

void reference_device_set_bytes(size_t bytes)
{
    bytes_max = bytes;
}

void reference_device_set_speed(const struct md_device_speed *speed)
{
    told_speed = *speed;
}

const struct md_device_driver *reference_device(const char *ops, const char *lacks)
{
    for (enum md_op op = 0; op < MD_OP_COUNT; op++) {
        const char *name = md_op_info(op)->name;
        bool has = !md_op_is_control(op) && (!ops || md__is_listed(ops, name)) &&
                   !(lacks && md__is_listed(lacks, name));
        kernels[op] = (struct md_device_kernel){.supports = supports, .enqueue = enqueue};
        table[op] = has ? &kernels[op] : NULL;
    }
    kernels[MD_OP_SLICE].host_inputs = 0x1e;
    kernels[MD_OP_RELU].in_place = kernels[MD_OP_EXP].in_place = true;
    md_device_host_driver(&host, "reference", table);
    driver = host;
    driver.count = count_devices;
    driver.open = open_device;
    driver.close = close_device;
    driver.info = tell;
    driver.lost = is_lost;
    driver.allocate = allocate;
    driver.pin = pin;
    driver.stream_new = stream_new;
    driver.stream_wait = stream_wait;
    driver.upload = upload;
    driver.download = download;
    driver.convert = convert;
    driver.capture_begin = capture_begin;
    driver.capture_end = capture_end;
    driver.capture_launch = capture_launch;
    bytes_max = SIZE_MAX / 2;
    told_speed = (struct md_device_speed){0};
    reference_device_fail(-1, MD_OK, false);
    return &driver;
}
