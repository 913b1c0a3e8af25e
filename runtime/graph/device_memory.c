/*
 * What an executable holds on a device: weights in their storage dtype, converted once; one arena
 * with scratch behind it and one pinned staging area, each as large as the largest plan that ran.
 *
 * Memory is taken when a plan first runs, not while planning, and never while work is captured.
 * Where arena or staging move, every plan finds out by the generation, binds its addresses anew and
 * captures again.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "graph/device_internal.h"
#include "graph/pass.h"

#define F16_MAX     65504.0f
#define MASK_FROM   (-1e8f)     /* and below: what masks add to scores, no measure of anything */
#define MASK_MIN    (-30000.0f) /* does the same: e to that is 0, and sums of two are in range */
#define CHUNK_BYTES ((size_t)4 << 20)
#define BF16_FROM   8 /* compute capability that has bfloat16 */

/* ---- precision ---- */

enum md_dtype md__device_storage(const struct md__device *device, int value, enum md_dtype dtype)
{
    return dtype == MD_F32 && device && !device->unrounded[value] ? device->storage : dtype;
}

const char *md__device_precision(const struct md__device *device)
{
    if (!device)
        return NULL;
    return md_precision_name(device->storage == MD_F16    ? MD_PRECISION_F16
                             : device->storage == MD_BF16 ? MD_PRECISION_BF16
                                                          : MD_PRECISION_F32);
}

bool md__device_holds(enum md_dtype storage, const float *data, size_t count)
{
    unsigned out = 0;
    for (size_t i = 0; storage == MD_F16 && i < count; i++)
        out |= (data[i] > F16_MAX && data[i] < INFINITY) ||
               (data[i] < -F16_MAX && data[i] > MASK_FROM);
    return !out;
}

void md__device_lift_masks(enum md_dtype storage, float *data, size_t count)
{
    for (size_t i = 0; storage == MD_F16 && i < count; i++)
        data[i] = data[i] <= MASK_FROM && data[i] > -INFINITY ? MASK_MIN : data[i];
}

enum md_dtype md__device_wide(const struct md__device *device)
{
    return md__accelerator_info(device->accelerator)->major >= BF16_FROM ? MD_BF16 : MD_F32;
}

static enum md_dtype choose_storage(const struct md_graph *graph, enum md_precision precision,
                                    const struct md_device_info *info)
{
    enum md_dtype wide = info->major >= BF16_FROM ? MD_BF16 : MD_F32;
    if (precision == MD_PRECISION_F32)
        return MD_F32;
    if (precision == MD_PRECISION_BF16)
        return wide;
    for (int v = 0; precision == MD_PRECISION_AUTO && v < graph->value_count; v++) {
        const struct md_tensor *constant = &graph->values[v].constant;
        if (constant->data && constant->dtype == MD_F32 &&
            !md__device_holds(MD_F16, constant->data, md_tensor_count(constant)))
            return wide;
    }
    return MD_F16;
}

/* ---- birth and end ---- */

static enum md_status make(struct md__device *device, const struct md_executable_options *options,
                           struct md_error *err)
{
    const struct md_graph *graph = device->graph;
    device->weights = calloc((size_t)graph->value_count + 1, sizeof *device->weights);
    device->prepared = calloc((size_t)graph->node_count + 1, sizeof *device->prepared);
    device->unrounded = calloc((size_t)graph->value_count + 1, sizeof *device->unrounded);
    if (!device->weights || !device->prepared || !device->unrounded)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    enum md_status status = md__device_find_unrounded(device, options, err);
    md__accelerator_lock(device->accelerator);
    if (!status)
        status = device->driver->stream_new(md__accelerator_context(device->accelerator),
                                            &device->stream, err);
    md__accelerator_unlock(device->accelerator);
    return status;
}

enum md_status md__device_new(struct md_executable *executable, const char *passes_off,
                              struct md_error *err)
{
    const struct md_executable_options *options = &executable->options;
    struct md_error own = {0};
    if (!options->accelerator || !md_accelerator_usable(options->accelerator))
        return MD_OK;
    struct md__device *device = calloc(1, sizeof *device);
    if (!device)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    device->accelerator = options->accelerator;
    device->driver = md__accelerator_driver(options->accelerator);
    device->graph = executable->graph;
    device->captures = !options->captures_off;
    device->weighs = !md__is_listed(passes_off, "place");
    device->generation = 1;
    device->session_bytes_max = options->session_bytes_max
                                    ? options->session_bytes_max
                                    : md__accelerator_info(options->accelerator)->memory_bytes / 4;
    device->storage = choose_storage(executable->graph, options->precision,
                                     md__accelerator_info(options->accelerator));
    if (make(device, options, &own)) {
        md__accelerator_failed(options->accelerator, &own);
        md__device_delete(device);
        return MD_OK;
    }
    device->tries = options->precision == MD_PRECISION_AUTO && device->storage != MD_F32;
    executable->device = device;
    return MD_OK;
}

static void count_memory(struct md__device *device, int64_t weights, int64_t arena, int64_t pinned)
{
    const struct md_accelerator_counts more = {
        .weight_bytes = weights, .arena_bytes = arena, .pinned_bytes = pinned};
    md__accelerator_count(device->accelerator, &more);
}

static void drop_prepared(struct md__device *device)
{
    struct md_device_context *context = md__accelerator_context(device->accelerator);
    for (int n = 0; device->prepared && n < device->graph->node_count; n++) {
        const struct md_device_kernel *kernel = device->driver->kernels[device->graph->nodes[n].op];
        if (device->prepared[n].data && kernel->unprepare)
            kernel->unprepare(context, device->prepared[n].data);
        count_memory(device, -(int64_t)device->prepared[n].bytes, 0, 0);
        device->prepared[n] = (struct md__device_block){0};
    }
}

static void drop_weights(struct md__device *device)
{
    struct md_device_context *context = md__accelerator_context(device->accelerator);
    for (int v = 0; device->weights && v < device->graph->value_count; v++) {
        device->driver->release(context, device->weights[v].data);
        count_memory(device, -(int64_t)device->weights[v].bytes, 0, 0);
        device->weights[v] = (struct md__device_block){0};
    }
}

void md__device_restore(struct md__device *device, enum md_dtype storage)
{
    md__accelerator_lock(device->accelerator);
    drop_prepared(device);
    drop_weights(device);
    md__accelerator_unlock(device->accelerator);
    device->storage = storage;
}

void md__device_delete(struct md__device *device)
{
    if (!device)
        return;
    struct md_device_context *context = md__accelerator_context(device->accelerator);
    md__accelerator_lock(device->accelerator);
    drop_prepared(device);
    drop_weights(device);
    md__device_drop_blocks(device);
    md__device_flights_delete(device);
    device->driver->release(context, device->arena);
    device->driver->unpin(context, device->staging);
    md__device_close_ahead(device);
    device->driver->stream_delete(device->stream);
    md__accelerator_unlock(device->accelerator);
    count_memory(device, 0, -(int64_t)device->arena_bytes, -(int64_t)device->staging_bytes);
    free(device->weights);
    free(device->unrounded);
    free(device->prepared);
    free(device);
}

void md__device_drop_slot(struct md__device_plan *plan, int at)
{
    for (int i = 0; i < plan->segment_count; i++) {
        if (plan->segments[i].in_slot[at])
            plan->device->driver->capture_delete(plan->segments[i].in_slot[at]);
        plan->segments[i].in_slot[at] = NULL;
    }
}

static void drop_captures(struct md__device_plan *plan)
{
    for (int at = 0; at < MD__FLIGHTS; at++)
        md__device_drop_slot(plan, at);
    for (int i = 0; i < plan->segment_count; i++) {
        if (plan->segments[i].capture)
            plan->device->driver->capture_delete(plan->segments[i].capture);
        plan->segments[i].capture = NULL;
        plan->segments[i].warm = false;
    }
}

void md__device_plan_fini(struct md__device_plan *plan)
{
    if (!plan)
        return;
    md__accelerator_lock(plan->device->accelerator);
    drop_captures(plan);
    md__accelerator_unlock(plan->device->accelerator);
}

/* ---- weights ---- */

static void narrow(const float *from, size_t count, enum md_dtype dtype, uint16_t *to)
{
    for (size_t i = 0; i < count; i++) {
        float x = from[i];
        md__device_lift_masks(dtype, &x, 1);
        to[i] = dtype == MD_BF16                ? md_f32_to_bf16(x)
                : x > F16_MAX && x < INFINITY   ? md_f32_to_f16(F16_MAX)
                : x < -F16_MAX && x > -INFINITY ? md_f32_to_f16(-F16_MAX)
                                                : md_f32_to_f16(x);
    }
}

/* Float32 in its storage dtype, a piece at a time. */
static enum md_status upload_narrowed(struct md__device *device, const struct md_tensor *tensor,
                                      char *to, struct md_error *err)
{
    size_t count = md_tensor_count(tensor), each = CHUNK_BYTES / 2;
    uint16_t *piece = malloc(2 * (count < each ? count : each) + 1);
    enum md_status status = piece ? MD_OK : md_fail(err, MD_ERR_MEMORY, "out of memory");
    for (size_t done = 0; !status && done < count; done += each) {
        size_t now = count - done < each ? count - done : each;
        narrow((const float *)tensor->data + done, now, device->storage, piece);
        status = device->driver->upload(device->stream, to + 2 * done, piece, 2 * now, err);
        if (!status)
            status = device->driver->stream_wait(device->stream, err);
    }
    free(piece);
    return status;
}

static enum md_status upload_weight(struct md__device *device, int value, struct md_error *err)
{
    const struct md_tensor *tensor = &device->graph->values[value].constant;
    struct md__device_block *weight = &device->weights[value];
    size_t bytes =
        md_tensor_count(tensor) * md_dtype_bytes(md__device_storage(device, value, tensor->dtype));
    if (weight->there)
        return MD_OK;
    enum md_status status = device->driver->allocate(md__accelerator_context(device->accelerator),
                                                     bytes ? bytes : 1, &weight->data, err);
    if (status)
        return status;
    if (tensor->dtype != md__device_storage(device, value, tensor->dtype)) {
        status = upload_narrowed(device, tensor, weight->data, err);
    } else {
        status = device->driver->upload(device->stream, weight->data, tensor->data, bytes, err);
        if (!status)
            status = device->driver->stream_wait(device->stream, err);
    }
    if (status) {
        device->driver->release(md__accelerator_context(device->accelerator), weight->data);
        *weight = (struct md__device_block){0};
        return status;
    }
    weight->bytes = bytes;
    weight->there = true;
    count_memory(device, (int64_t)bytes, 0, 0);
    return MD_OK;
}

static enum md_status prepare(struct md__device *device, const struct md_plan *plan,
                              const struct md_step *step, struct md_error *err)
{
    const struct md__device_work *work = &plan->device->works[step->part];
    struct md__device_block *made = &device->prepared[step->node - device->graph->nodes];
    if (!work->kernel->prepare || made->there)
        return MD_OK;
    enum md_status status = work->kernel->prepare(
        md__accelerator_context(device->accelerator), step->node,
        &plan->device->values[work->first], step->node->in_count, &made->data, &made->bytes, err);
    char text[160];
    if (status)
        return md_error_context(err, "%s", md__node_text(step->node, text, sizeof text));
    made->there = true;
    count_memory(device, (int64_t)made->bytes, 0, 0);
    return MD_OK;
}

/* ---- arena, staging, addresses ---- */

/* The old block goes first: the peak is the larger of the two, not their sum. */
static enum md_status grow(struct md__device *device, size_t bytes, bool pinned,
                           struct md_error *err)
{
    const struct md_device_driver *driver = device->driver;
    struct md_device_context *context = md__accelerator_context(device->accelerator);
    void **memory = pinned ? &device->staging : &device->arena;
    size_t *held = pinned ? &device->staging_bytes : &device->arena_bytes;
    int64_t before = (int64_t)*held;
    if (bytes <= *held && *memory)
        return MD_OK;
    bytes = bytes ? bytes : 1;
    device->generation++;
    (pinned ? driver->unpin : driver->release)(context, *memory);
    *memory = NULL;
    *held = 0;
    enum md_status status = (pinned ? driver->pin : driver->allocate)(context, bytes, memory, err);
    if (status == MD_ERR_MEMORY) {
        bool blocks = !pinned && md__device_drop_blocks(device);
        if (md__device_flights_yield(device) || blocks)
            status = (pinned ? driver->pin : driver->allocate)(context, bytes, memory, err);
    }
    if (status)
        *memory = NULL;
    else
        *held = bytes;
    int64_t more = (int64_t)*held - before;
    count_memory(device, 0, pinned ? 0 : more, pinned ? more : 0);
    return status;
}

static void *group_address(const struct md__device *device, const struct md__device_plan *plan,
                           const struct md_group *group)
{
    size_t before = group->place == MD_PLACE_INPUT ? plan->arena_bytes + plan->scratch_bytes : 0;
    return group->place == MD_PLACE_CONSTANT ? device->weights[group->index].data
                                             : (char *)device->arena + before + group->offset;
}

static void bind(struct md__device *device, struct md__device_plan *plan)
{
    drop_captures(plan);
    for (int i = 0; i < plan->group_count; i++)
        plan->groups[i].data = group_address(device, plan, &plan->groups[i]);
    for (int i = 0; i < plan->value_count; i++)
        plan->values[i].data = plan->value_groups[i] == MD_NONE
                                   ? NULL
                                   : (void *)(uintptr_t)plan->groups[plan->value_groups[i]].data;
    plan->generation = device->generation;
}

enum md_status md__device_ready(struct md__device *device, struct md_plan *plan,
                                struct md_error *err)
{
    struct md__device_plan *own = plan->device;
    enum md_status status = MD_OK;
    if (own->generation == device->generation)
        return MD_OK;
    for (int i = 0; !status && i < own->group_count; i++)
        if (own->groups[i].place == MD_PLACE_CONSTANT)
            status = upload_weight(device, own->groups[i].index, err);
    for (int s = 0; !status && s < plan->step_count; s++)
        if (plan->steps[s].side == MD_STEP_DEVICE)
            status = prepare(device, plan, &plan->steps[s], err);
    if (!status)
        status =
            grow(device, own->arena_bytes + own->scratch_bytes + own->landing_bytes, false, err);
    if (!status && own->landing_bytes)
        status = md__device_open_ahead(device, err);
    if (!status)
        status = grow(device, own->staging_bytes, true, err);
    if (!status)
        bind(device, own);
    return status;
}
