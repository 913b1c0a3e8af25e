/*
 * Sessions in device memory. A handover has two blocks: what the next run reads, and what it makes,
 * so that a run that fails, or that the CPU does again, still has its input. Both are outside of
 * the arena, whose addresses captured work knows: a run begins with moving what is lent to its
 * place there and ends with moving what it made out, neither of which is captured.
 *
 * Blocks come from a pool: sizes are rounded up to quarters of a power of two, so that what grows
 * by a row at a time moves rarely, and what a session gives back is the next one's. Beyond
 * session_bytes_max, or where the driver has none, a handover is the host's in that run.
 */
#include <stdlib.h>
#include <string.h>

#include "graph/device_internal.h"
#include "graph/session_internal.h"

#define BLOCK_MIN ((size_t)64 << 10)

/* ---- the pool ---- */

static size_t block_bytes(size_t bytes)
{
    size_t unit = BLOCK_MIN;
    while (unit < bytes / 4)
        unit *= 2;
    return (bytes + unit - 1) / unit * unit;
}

static void count_bytes(struct md__device *device, int64_t more)
{
    const struct md_accelerator_counts counts = {.session_bytes = more};
    md__accelerator_count(device->accelerator, &counts);
}

static void give_up(struct md__device *device, int at)
{
    struct md__session_block *spare = &device->spare_blocks[at];
    device->driver->release(md__accelerator_context(device->accelerator), spare->data);
    device->session_bytes -= spare->bytes;
    count_bytes(device, -(int64_t)spare->bytes);
    *spare = device->spare_blocks[--device->spare_count];
}

bool md__device_drop_blocks(struct md__device *device)
{
    bool any = device->spare_count > 0;
    while (device->spare_count > 0)
        give_up(device, device->spare_count - 1);
    return any;
}

static void give_back(struct md__device *device, struct md__session_block *block)
{
    if (block->data && device->spare_count == MD__SPARE_BLOCKS)
        give_up(device, 0);
    if (block->data)
        device->spare_blocks[device->spare_count++] = *block;
    *block = (struct md__session_block){0};
}

/* A block of at least so many bytes; false: there is none. */
static bool take(struct md__device *device, size_t bytes, struct md__session_block *block,
                 struct md_error *err)
{
    bytes = block_bytes(bytes ? bytes : 1);
    for (int i = 0; i < device->spare_count; i++)
        if (device->spare_blocks[i].bytes == bytes) {
            *block = device->spare_blocks[i];
            device->spare_blocks[i] = device->spare_blocks[--device->spare_count];
            return true;
        }
    while (device->spare_count > 0 && bytes > device->session_bytes_max - device->session_bytes)
        give_up(device, 0);
    if (bytes > device->session_bytes_max - device->session_bytes ||
        device->driver->allocate(md__accelerator_context(device->accelerator), bytes, &block->data,
                                 err)) {
        *block = (struct md__session_block){0};
        return false;
    }
    block->bytes = bytes;
    device->session_bytes += bytes;
    count_bytes(device, (int64_t)bytes);
    return true;
}

/* ---- before and after runs ---- */

static size_t border_bytes(const struct md__border *border)
{
    return border->count * md_dtype_bytes(border->storage);
}

void md__device_session_reserve(struct md_session *session, const struct md_plan *plan)
{
    const struct md__device_plan *own = plan->device;
    struct md__device *device = own->device;
    struct md_error err = {0};
    md__accelerator_lock(device->accelerator);
    for (int b = 0; b < own->border_count; b++) {
        const struct md__border *border = &own->borders[b];
        if (!border->late)
            continue;
        struct md__held *held = &session->held[border->handover];
        if (held->next.data && held->next.bytes < border_bytes(border))
            give_back(device, &held->next);
        held->taken = held->next.data || take(device, border_bytes(border), &held->next, &err);
    }
    md__accelerator_unlock(device->accelerator);
    if (err.code)
        md__accelerator_failed(device->accelerator, &err);
}

static enum md_status download(struct md__device *device, void *to, const void *from, size_t bytes,
                               struct md_error *err)
{
    enum md_status status = device->driver->download(device->stream, to, from, bytes, err);
    enum md_status ended = device->driver->stream_wait(device->stream, status ? NULL : err);
    return status ? status : ended;
}

/* A second time where the device is still good: contents are worth it. */
static enum md_status download_surely(struct md__device *device, void *to, const void *from,
                                      size_t bytes, struct md_error *err)
{
    md__accelerator_lock(device->accelerator);
    enum md_status status = download(device, to, from, bytes, err);
    bool again = status && !device->driver->lost(md__accelerator_context(device->accelerator));
    if (again)
        status = download(device, to, from, bytes, err);
    md__accelerator_unlock(device->accelerator);
    if (status || again)
        md__accelerator_failed(device->accelerator, err);
    return status;
}

static void widen(const uint16_t *from, enum md_dtype storage, size_t count, float *to)
{
    for (size_t i = 0; i < count; i++)
        to[i] = storage == MD_F16 ? md_f16_to_f32(from[i]) : md_bf16_to_f32(from[i]);
}

/* Into a tensor that has memory. */
static enum md_status fetch(struct md__device *device, const struct md__held *held,
                            struct md_tensor *whole, struct md_error *err)
{
    size_t count = md_tensor_count(whole), bytes = count * md_dtype_bytes(held->storage);
    struct md_error own = {0};
    bool narrow = held->storage != whole->dtype;
    void *piece = narrow ? malloc(bytes + 1) : NULL;
    if (narrow && !piece)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    enum md_status status =
        download_surely(device, narrow ? piece : whole->data, held->now.data, bytes, &own);
    if (status)
        status = md_fail(err, MD_ERR_UNAVAILABLE,
                         "what the session held was in the device's memory, which is lost; begin "
                         "again: %.120s",
                         own.text);
    else if (narrow)
        widen(piece, held->storage, count, whole->data);
    free(piece);
    return status;
}

enum md_status md__device_session_fetch(struct md_session *session, int k, struct md_error *err)
{
    struct md__held *held = &session->held[k];
    struct md_tensor whole = {0};
    enum md_status status = md_tensor_new(held->tensor.dtype, &held->tensor.shape, &whole, err);
    if (!status)
        status = fetch(session->executable->device, held, &whole, err);
    if (status)
        md_tensor_unref(&whole);
    if (!status || status == MD_ERR_UNAVAILABLE) { /* here, or nowhere */
        held->tensor = whole;
        held->there = false;
    }
    return status;
}

void md__device_session_fini(struct md_session *session)
{
    struct md__device *device = session->executable->device;
    if (!device)
        return;
    md__accelerator_lock(device->accelerator);
    for (int k = 0; k < session->count; k++) {
        give_back(device, &session->held[k].now);
        give_back(device, &session->held[k].next);
    }
    md__accelerator_unlock(device->accelerator);
}

void md__device_session_count(const struct md__device *device, int stayed, int travelled)
{
    const struct md_accelerator_counts counts = {.stayed = stayed, .travelled = travelled};
    md__accelerator_count(device->accelerator, &counts);
}

/* ---- in a run ---- */

enum md_status md__device_lend(const struct md__device *device, const struct md_plan *plan,
                               const struct md__border *border, struct md_error *err)
{
    const struct md_session *session = device->session;
    const struct md_device_driver *driver = device->driver;
    char *place = md__device_landing(device, plan->device, border);
    const struct md__held *held = session ? &session->held[border->handover] : NULL;
    if (held && held->lent && held->there)
        return driver->copy(device->stream, place, held->now.data, border_bytes(border), err);
    bool same = border->dtype == border->storage;
    void *arrives = same ? place : (char *)device->arena + plan->device->arena_bytes;
    enum md_status status =
        driver->upload(device->stream, arrives, md__device_staged(device, border),
                       border->count * md_dtype_bytes(border->dtype), err);
    if (!status && !same)
        status = driver->convert(device->stream, place, border->storage, arrives, border->dtype,
                                 border->count, err);
    return status;
}

bool md__device_takes(const struct md__device *device, const struct md__border *border)
{
    return border->late && device->session && device->session->held[border->handover].taken;
}

enum md_status md__device_hand_over(const struct md__device *device, const struct md_plan *plan,
                                    const struct md__border *border, struct md_error *err)
{
    const struct md_group *group = &plan->device->groups[border->device_group];
    return device->driver->copy(device->stream, device->session->held[border->handover].next.data,
                                group->data, border_bytes(border), err);
}
