/* See reference_device.h. One driver at a time: its tables are static. */
#include "reference_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "failing_driver.h"
#include "graph/device_host.h"
#include "graph/evaluate.h"
#include "graph/pass.h"
#include "kernels/cpu/cpu.h"

#define BYTES_MAX ((size_t)1 << 30)

static struct md_device_driver host, driver;
static struct md_device_kernel kernels[MD_OP_COUNT];
static const struct md_device_kernel *table[MD_OP_COUNT];
static size_t bytes_max;
static struct md_device_speed told_speed;

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
    return md_device_host_do(call->stream, evaluate, &work, sizeof work, err);
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

/* ---- the driver ---- */

void reference_device_fail(int n, enum md_status status, bool sticky)
{
    failing_driver_at(n, status, sticky);
}

int reference_device_calls(void)
{
    return failing_driver_calls();
}

int reference_device_alive(void)
{
    return failing_driver_alive();
}

static void tell(struct md_device_context *context, struct md_device_info *info)
{
    host.info(context, info);
    info->memory_bytes = bytes_max;
    info->speed = told_speed;
}

static enum md_status allocate(struct md_device_context *context, size_t bytes, void **memory,
                               struct md_error *err)
{
    if (bytes > bytes_max)
        return md_fail(err, MD_ERR_MEMORY, "the device has no %zu bytes", bytes);
    return host.allocate(context, bytes, memory, err);
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
    driver.info = tell;
    driver.allocate = allocate;
    bytes_max = SIZE_MAX / 2;
    told_speed = (struct md_device_speed){0};
    return failing_driver(&driver);
}
