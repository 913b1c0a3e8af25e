/*
 * Running what a plan has on the device. A segment is fed into pinned staging, put on the stream or
 * launched as a whole once captured, waited for, and what it gives is taken out of staging: between
 * feeding and waiting the host decides nothing, so the same capture serves every run of its shapes.
 *
 * The first run of a segment is not captured: libraries load code and choose algorithms in it,
 * which a capture would not take.
 */
#include "base/log.h"
#include "base/stage.h"
#include "graph/device_internal.h"

#define FAILURES_MAX 3 /* runs in a row, then the CPU has the model for good */

/* What went ahead is there but for the last move. */
static enum md_status copy_out(const struct md__device *device, const struct md__device_plan *own,
                               const struct md__border *border, bool alone, struct md_error *err)
{
    const struct md_device_driver *driver = device->driver;
    void *there = (void *)(uintptr_t)own->groups[border->device_group].data, *arrives = there;
    size_t bytes = border->count * md_dtype_bytes(border->dtype);
    bool same = border->dtype == border->storage;
    enum md_status status = MD_OK;
    if (border->ahead)
        arrives = md__device_landing(device, own, border);
    else if (!same)
        arrives = (char *)device->arena + own->arena_bytes;
    if (alone || !border->ahead)
        status =
            driver->upload(device->stream, arrives, md__device_staged(device, border), bytes, err);
    if (!status && !same)
        status = driver->convert(device->stream, there, border->storage, arrives, border->dtype,
                                 border->count, err);
    else if (!status && arrives != there)
        status = driver->copy(device->stream, there, arrives, bytes, err);
    return status ? md_error_context(err, "copying to the device") : MD_OK;
}

static enum md_status copy_home(const struct md__device *device, const struct md__device_plan *own,
                                const struct md__border *border, struct md_error *err)
{
    const struct md_device_driver *driver = device->driver;
    void *there = (void *)(uintptr_t)own->groups[border->device_group].data, *leaves = there;
    size_t bytes = border->count * md_dtype_bytes(border->dtype);
    enum md_status status = MD_OK;
    if (border->dtype != border->storage) {
        leaves = (char *)device->arena + own->arena_bytes;
        status = driver->convert(device->stream, leaves, border->dtype, there, border->storage,
                                 border->count, err);
    }
    if (!status)
        status =
            driver->download(device->stream, md__device_staged(device, border), leaves, bytes, err);
    return status ? md_error_context(err, "copying from the device") : MD_OK;
}

static enum md_status enqueue_copy(const struct md__device *device,
                                   const struct md__device_plan *own, const struct md_step *step,
                                   bool alone, struct md_error *err)
{
    const struct md__border *border = &own->borders[step->part];
    if (border->count == 0 || border->lands || border->late)
        return MD_OK;
    return step->side == MD_STEP_TO_DEVICE ? copy_out(device, own, border, alone, err)
                                           : copy_home(device, own, border, err);
}

enum md_status md__device_enqueue_work(struct md__device *device, const struct md__device_plan *own,
                                       const struct md_step *step, struct md_error *err)
{
    const struct md__device_work *work = &own->works[step->part];
    const struct md_node *node = step->node;
    const struct md_device_value *in = &own->values[work->first];
    const struct md_device_call call = {.node = node,
                                        .in = in,
                                        .out = in + node->in_count,
                                        .in_count = node->in_count,
                                        .out_count = node->out_count,
                                        .scratch = (char *)device->arena + own->arena_bytes,
                                        .prepared =
                                            device->prepared[node - device->graph->nodes].data,
                                        .context = md__accelerator_context(device->accelerator),
                                        .stream = device->stream};
    char text[160];
    enum md_status status = work->kernel->enqueue(&call, err);
    return status ? md_error_context(err, "%s", md__node_text(node, text, sizeof text)) : MD_OK;
}

static enum md_status enqueue(struct md__device *device, const struct md_plan *plan, int begin,
                              int end, bool alone, struct md_error *err)
{
    enum md_status status = MD_OK;
    for (int s = begin; !status && s < end; s++) {
        const struct md_step *step = &plan->steps[s];
        status = step->side == MD_STEP_DEVICE
                     ? md__device_enqueue_work(device, plan->device, step, err)
                     : enqueue_copy(device, plan->device, step, alone, err);
    }
    return status;
}

/* What leaves after the work, by ways that differ from run to run: no capture holds it. */
static enum md_status enqueue_late(const struct md__device *device, const struct md_plan *plan,
                                   int begin, int end, struct md_error *err)
{
    enum md_status status = MD_OK;
    for (int s = begin; !status && s < end; s++) {
        if (plan->steps[s].side != MD_STEP_TO_HOST)
            continue;
        const struct md__border *border = &plan->device->borders[plan->steps[s].part];
        if (!border->late || border->count == 0)
            continue;
        status = md__device_takes(device, border) ? md__device_hand_over(device, plan, border, err)
                                                  : copy_home(device, plan->device, border, err);
    }
    return status;
}

enum md_status md__device_capture_end(struct md__device *device, enum md_status status,
                                      struct md_device_capture **capture, struct md_error *err)
{
    const struct md_device_driver *driver = device->driver;
    struct md_device_capture *made = NULL;
    enum md_status ended = driver->capture_end(device->stream, &made, status ? NULL : err);
    if (status && !ended && made)
        driver->capture_delete(made);
    *capture = status || ended ? NULL : made;
    const struct md_accelerator_counts one = {.captures = *capture != NULL};
    md__accelerator_count(device->accelerator, &one);
    return status ? status : ended;
}

static enum md_status capture(struct md__device *device, const struct md_plan *plan,
                              struct md__segment *segment, struct md_error *err)
{
    enum md_status status = device->driver->capture_begin(device->stream, err);
    if (status)
        return status;
    status = enqueue(device, plan, segment->begin, segment->end, false, err);
    return md__device_capture_end(device, status, &segment->capture, err);
}

static enum md_status launch(struct md__device *device, const struct md_plan *plan,
                             struct md__segment *segment, struct md_error *err)
{
    enum md_status status = segment->capture ? MD_OK : capture(device, plan, segment, err);
    if (!status)
        status = device->driver->capture_launch(segment->capture, device->stream, err);
    const struct md_accelerator_counts one = {.launches = !status};
    md__accelerator_count(device->accelerator, &one);
    return status;
}

unsigned md__device_notices(const struct md__device *device)
{
    return device->driver->notices
               ? device->driver->notices(md__accelerator_context(device->accelerator))
               : 0;
}

/* The work is done; whether its results mean anything. */
static enum md_status heed(struct md__device *device, struct md_error *err)
{
    unsigned met = md__device_notices(device);
    device->narrow = met != 0;
    device->outgrown = met & MD_DEVICE_OVERFLOW;
    return met ? md_fail(err, MD_ERR_DEVICE,
                         met & MD_DEVICE_OUTSIDE ? "an index outside its axis"
                                                 : "numbers beyond the range of float16")
               : MD_OK;
}

static struct md__segment *segment_at(const struct md_plan *plan, int s)
{
    struct md__segment *segment = plan->device->segments;
    while (s < segment->begin || s >= segment->end)
        segment++;
    return segment;
}

enum md_status md__device_run(struct md_executable *executable, struct md_plan *plan, int s,
                              bool alone, int *next, struct md_error *err)
{
    struct md__device *device = executable->device;
    struct md__segment *segment = segment_at(plan, s);
    int end = alone ? s + 1 : segment->end, span = md_stage_begin("device");
    device->used = true;
    md__accelerator_lock(device->accelerator);
    md__device_quiet(device);
    enum md_status status = md__device_ready(device, plan, err);
    md__device_notices(device); /* what a run that failed has left */
    bool holds = true;
    if (!status)
        status = md__device_feed(device, plan, s, end, alone, &holds, err);
    if (!status && !holds) {
        device->narrow = device->outgrown = true;
        status = md_fail(err, MD_ERR_DEVICE, "numbers beyond the range of float16");
    }
    if (!status) {
        bool whole = !alone && device->captures && segment->warm;
        status =
            whole ? launch(device, plan, segment, err) : enqueue(device, plan, s, end, alone, err);
    }
    if (!status)
        status = enqueue_late(device, plan, s, end, err);
    /* After a failure, too: what was put on the stream before still uses the memory. */
    if (device->stream) {
        enum md_status ended = device->driver->stream_wait(device->stream, status ? NULL : err);
        status = status ? status : ended;
    }
    if (!status)
        status = heed(device, err);
    if (!status)
        md__device_take(device, plan, s, end);
    md__accelerator_unlock(device->accelerator);
    md_stage_end(span);
    segment->warm |= !status && !alone;
    device->failed = status;
    *next = end;
    return status;
}

/* ---- what becomes of a run ---- */

bool md__device_begin(struct md_executable *executable)
{
    struct md__device *device = executable->device;
    if (!device || device->off || executable->guards || !md_accelerator_usable(device->accelerator))
        return false;
    device->used = device->narrow = device->outgrown = false;
    device->failed = MD_OK;
    return true;
}

bool md__device_wants_float32(const struct md_executable *executable,
                              const struct md_tensor *outputs)
{
    for (int i = 0; executable->device->storage != MD_F32 && i < executable->graph->output_count;
         i++)
        if (outputs[i].data && !md_tensor_is_finite(&outputs[i]))
            return true;
    return false;
}

static void note_failure(struct md_executable *executable, const struct md_error *err)
{
    struct md__device *device = executable->device;
    bool memory = device->failed == MD_ERR_MEMORY;
    const struct md_accelerator_counts one = {.memory_runs = memory, .failed_runs = !memory};
    md__accelerator_count(device->accelerator, &one);
    md__accelerator_failed(device->accelerator, err);
    if (memory || ++device->failures < FAILURES_MAX)
        return;
    device->off = true;
    md_log(MD_LOG_ERROR, "device", "%s: %d runs in a row failed, the CPU takes over: %s",
           executable->graph->name, FAILURES_MAX, err->text);
}

bool md__device_wants_cpu(struct md_executable *executable, enum md_status status,
                          const struct md_run_limits *limits, const struct md_tensor *outputs,
                          const struct md_error *err)
{
    struct md__device *device = executable->device;
    if (status && !device->failed)
        return false; /* the model's own, or the caller's */
    if (status && device->failed == MD_ERR_MEMORY && limits && limits->small_first)
        return false;
    if (status && !device->narrow) {
        note_failure(executable, err);
        return true;
    }
    device->failures = 0;
    if (!device->used)
        return false;
    bool again = device->narrow || md__device_wants_float32(executable, outputs);
    const struct md_accelerator_counts one = {.runs = !again, .repeated_runs = again};
    md__accelerator_count(device->accelerator, &one);
    return again;
}
