/*
 * What goes between a run's host memory and the pinned staging area. Small values are copied to
 * staging before the work of a segment is handed over, and their uploads are part of that work.
 *
 * A large one goes *ahead*: piece by piece, each piece on its way, on a stream of its own, while
 * the host copies and checks the next. It arrives in a landing of its own behind the scratch,
 * because the place where the segment wants it may still be another's; the segment's stream waits
 * for the last piece and begins with moving it there. A capture holds the moving, not the upload.
 */
#include <string.h>

#include "graph/device_internal.h"

#define AHEAD_FROM  ((size_t)1 << 20) /* bytes: below, handing over costs more than it hides */
#define PIECE_BYTES ((size_t)512 << 10)

char *md__device_staged(const struct md__device *device, const struct md__border *border)
{
    return (char *)device->staging + border->offset;
}

char *md__device_landing(const struct md__device *device, const struct md__device_plan *own,
                         const struct md__border *border)
{
    return (char *)device->arena + own->arena_bytes + own->scratch_bytes + border->landing;
}

bool md__device_goes_ahead(size_t bytes)
{
    return bytes >= AHEAD_FROM;
}

enum md_status md__device_open_ahead(struct md__device *device, struct md_error *err)
{
    struct md_device_context *context = md__accelerator_context(device->accelerator);
    enum md_status status = MD_OK;
    if (!device->ahead)
        status = device->driver->stream_new(context, &device->ahead, err);
    if (status)
        device->ahead = NULL;
    if (!status && !device->arrived)
        status = device->driver->event_new(context, &device->arrived, err);
    if (status)
        device->arrived = NULL;
    return status;
}

void md__device_close_ahead(struct md__device *device)
{
    if (device->arrived)
        device->driver->event_delete(device->arrived);
    if (device->ahead)
        device->driver->stream_delete(device->ahead);
}

bool md__device_stage(const struct md__border *border, const char *from, size_t bytes, char *to)
{
    memcpy(to, from, bytes);
    if (border->dtype == border->storage)
        return true;
    float *numbers = (float *)(void *)to;
    bool holds = md__device_holds(border->storage, numbers, bytes / sizeof *numbers);
    md__device_lift_masks(border->storage, numbers, bytes / sizeof *numbers);
    return holds;
}

/* Bytes [begin, begin + bytes) of the value. */
static bool stage(const struct md__device *device, const struct md_plan *plan,
                  const struct md__border *border, size_t begin, size_t bytes)
{
    return md__device_stage(border, (const char *)plan->group_data[border->host_group] + begin,
                            bytes, md__device_staged(device, border) + begin);
}

static enum md_status send_ahead(const struct md__device *device, const struct md_plan *plan,
                                 const struct md__border *border, bool *holds, struct md_error *err)
{
    size_t bytes = border->count * md_dtype_bytes(border->dtype);
    char *landing = md__device_landing(device, plan->device, border);
    enum md_status status = MD_OK;
    for (size_t done = 0; !status && *holds && done < bytes; done += PIECE_BYTES) {
        size_t now = bytes - done < PIECE_BYTES ? bytes - done : PIECE_BYTES;
        *holds = stage(device, plan, border, done, now);
        status = device->driver->upload(device->ahead, landing + done,
                                        md__device_staged(device, border) + done, now, err);
    }
    return status ? md_error_context(err, "copying ahead to the device") : MD_OK;
}

enum md_status md__device_feed(const struct md__device *device, const struct md_plan *plan,
                               int begin, int end, bool alone, bool *holds, struct md_error *err)
{
    enum md_status status = MD_OK;
    bool waits = false;
    *holds = true;
    for (int s = begin; !status && *holds && s < end; s++) {
        if (plan->steps[s].side != MD_STEP_TO_DEVICE)
            continue;
        const struct md__border *border = &plan->device->borders[plan->steps[s].part];
        bool ahead = border->ahead && !alone;
        waits |= ahead;
        if (ahead)
            status = send_ahead(device, plan, border, holds, err);
        else if (border->count && plan->group_data[border->host_group])
            *holds = stage(device, plan, border, 0, border->count * md_dtype_bytes(border->dtype));
        if (border->lands && border->count && *holds)
            status = md__device_lend(device, plan, border, err);
    }
    if (!waits)
        return status;
    if (!status && *holds)
        status = device->driver->event_record(device->arrived, device->ahead, err);
    if (!status && *holds)
        status = device->driver->event_follow(device->arrived, device->stream, err);
    if (status || !*holds) /* nobody else waits for it, and it still reads staging */
        device->driver->stream_wait(device->ahead, NULL);
    return status;
}

void md__device_take(const struct md__device *device, const struct md_plan *plan, int begin,
                     int end)
{
    for (int s = begin; s < end; s++) {
        if (plan->steps[s].side != MD_STEP_TO_HOST)
            continue;
        const struct md__border *border = &plan->device->borders[plan->steps[s].part];
        if (border->count && !md__device_takes(device, border))
            memcpy((void *)(uintptr_t)plan->group_data[border->host_group],
                   md__device_staged(device, border),
                   border->count * md_dtype_bytes(border->dtype));
    }
}
