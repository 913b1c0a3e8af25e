/*
 * Runs that begin before they are asked for (md_executable_ahead). While the device computes one,
 * the host stages the next and its inputs travel; what the one gives travels home while the next is
 * computed. Three streams: inputs, work, results; events lead from each to the next.
 *
 * There are two slots, a ring: pinned staging, and device memory of the same layout, `moving`,
 * which copies arrive in and leave from, so that the arena may be the next run's already. What is
 * captured for a slot begins with moving inputs to their places and ends with moving results out;
 * it holds no copy to or from the host.
 *
 * Only a plan that has run before, all of it on the device, takes off. Whatever goes wrong in the
 * air, a failed call, a number out of range, an index outside, other inputs than those announced:
 * all that is in the air is waited for and forgotten, and the run is done the ordinary way, which
 * knows what to do then.
 */
#include <stdlib.h>
#include <string.h>

#include "graph/device_internal.h"

#define PIECE_BYTES ((size_t)512 << 10)

struct slot {
    char *staging, *moving;
    size_t bytes;
    uint64_t generation; /* goes up when they move */
    struct md_device_stream *home;
    struct md_device_event *arrived, *computed;
    struct md_tensor *inputs; /* references, of the run in the air */
    struct md_plan *plan;
};

struct md__flights {
    struct slot slots[MD__FLIGHTS];
    int first, count; /* in the air */
    bool suspect;     /* a notice was seen that may be theirs; under the lock while in the air */
    bool off;         /* a call failed here: no run takes off any more */
};

/* ---- slots ---- */

static void slot_fini(struct md__device *device, struct slot *slot)
{
    const struct md_device_driver *driver = device->driver;
    struct md_device_context *context = md__accelerator_context(device->accelerator);
    driver->unpin(context, slot->staging);
    driver->release(context, slot->moving);
    if (slot->home)
        driver->stream_delete(slot->home);
    if (slot->arrived)
        driver->event_delete(slot->arrived);
    if (slot->computed)
        driver->event_delete(slot->computed);
    free(slot->inputs);
    const struct md_accelerator_counts less = {.arena_bytes = -(int64_t)slot->bytes,
                                               .pinned_bytes = -(int64_t)slot->bytes};
    md__accelerator_count(device->accelerator, &less);
    *slot = (struct slot){.generation = slot->generation};
}

static enum md_status slot_init(struct md__device *device, struct slot *slot, size_t bytes,
                                struct md_error *err)
{
    const struct md_device_driver *driver = device->driver;
    struct md_device_context *context = md__accelerator_context(device->accelerator);
    void *memory = NULL;
    slot->inputs = calloc((size_t)device->graph->input_count + 1, sizeof *slot->inputs);
    enum md_status status = slot->inputs ? MD_OK : md_fail(err, MD_ERR_MEMORY, "out of memory");
    if (!status)
        status = driver->stream_new(context, &slot->home, err);
    slot->home = status ? NULL : slot->home;
    if (!status)
        status = driver->event_new(context, &slot->arrived, err);
    slot->arrived = status ? NULL : slot->arrived;
    if (!status)
        status = driver->event_new(context, &slot->computed, err);
    slot->computed = status ? NULL : slot->computed;
    if (!status)
        status = driver->pin(context, bytes, &memory, err);
    slot->staging = status ? NULL : memory;
    if (!status)
        status = driver->allocate(context, bytes, &memory, err);
    slot->moving = status ? NULL : memory;
    if (status) {
        slot_fini(device, slot);
        return status;
    }
    slot->bytes = bytes;
    const struct md_accelerator_counts more = {.arena_bytes = (int64_t)bytes,
                                               .pinned_bytes = (int64_t)bytes};
    md__accelerator_count(device->accelerator, &more);
    return MD_OK;
}

/* Memory for the plan's copies, in a slot that is not in the air. */
static enum md_status make_room(struct md__device *device, struct slot *slot, size_t bytes,
                                struct md_error *err)
{
    if (slot->bytes >= bytes && slot->inputs)
        return MD_OK;
    slot_fini(device, slot);
    slot->generation++;
    return slot_init(device, slot, bytes ? bytes : 1, err);
}

/* ---- which plans ---- */

static const struct md__border *border_of(const struct md_plan *plan, int s)
{
    return &plan->device->borders[plan->steps[s].part];
}

/* One captured stretch from inputs to outputs, which has run. */
static bool can_fly(const struct md__device *device, const struct md_plan *plan)
{
    const struct md__device_plan *own = plan->device;
    if (!own || own->generation != device->generation || plan->stop != MD_STOP_END ||
        own->segment_count != 1 || own->segments->begin != 0 ||
        own->segments->end != plan->step_count || !own->segments->warm ||
        plan->result_count != device->graph->output_count)
        return false;
    for (int i = 0; i < plan->result_count; i++)
        if (plan->results[i].copied != MD_NONE)
            return false;
    for (int s = 0; s < plan->step_count; s++) {
        if (plan->steps[s].side == MD_STEP_DEVICE)
            continue;
        enum md_place place = plan->groups[border_of(plan, s)->host_group].place;
        bool fits = plan->steps[s].side == MD_STEP_TO_HOST
                        ? place == MD_PLACE_OUTPUT
                        : place == MD_PLACE_INPUT || place == MD_PLACE_CONSTANT;
        if (!fits)
            return false;
    }
    return true;
}

/* ---- departure ---- */

static enum md_status send(const struct md__device *device, const struct slot *slot,
                           const struct md_plan *plan, const struct md__border *border, bool *holds,
                           struct md_error *err)
{
    const struct md_group *group = &plan->groups[border->host_group];
    const char *from =
        group->place == MD_PLACE_INPUT ? slot->inputs[group->index].data : group->data;
    size_t bytes = border->count * md_dtype_bytes(border->dtype);
    enum md_status status = MD_OK;
    for (size_t done = 0; !status && *holds && done < bytes; done += PIECE_BYTES) {
        size_t now = bytes - done < PIECE_BYTES ? bytes - done : PIECE_BYTES;
        char *staged = slot->staging + border->offset + done;
        *holds = md__device_stage(border, from + done, now, staged);
        status = device->driver->upload(device->ahead, slot->moving + border->offset + done, staged,
                                        now, err);
    }
    return status;
}

/* Between `moving`, as the host sees it, and the value's place. */
static enum md_status move(const struct md__device *device, const struct slot *slot,
                           const struct md_plan *plan, int s, struct md_error *err)
{
    const struct md_device_driver *driver = device->driver;
    const struct md__border *border = border_of(plan, s);
    void *there = (void *)(uintptr_t)plan->device->groups[border->device_group].data;
    void *moving = slot->moving + border->offset;
    bool out = plan->steps[s].side == MD_STEP_TO_HOST;
    void *to = out ? moving : there, *from = out ? there : moving;
    if (border->count == 0)
        return MD_OK;
    if (border->dtype == border->storage)
        return driver->copy(device->stream, to, from, border->count * md_dtype_bytes(border->dtype),
                            err);
    return driver->convert(device->stream, to, out ? border->dtype : border->storage, from,
                           out ? border->storage : border->dtype, border->count, err);
}

static enum md_status capture(struct md__device *device, const struct slot *slot,
                              const struct md_plan *plan, struct md_device_capture **capture,
                              struct md_error *err)
{
    enum md_status status = device->driver->capture_begin(device->stream, err);
    if (status)
        return status;
    for (int s = 0; !status && s < plan->step_count; s++)
        status = plan->steps[s].side == MD_STEP_DEVICE
                     ? md__device_enqueue_work(device, plan->device, &plan->steps[s], err)
                     : move(device, slot, plan, s, err);
    return md__device_capture_end(device, status, capture, err);
}

static enum md_status send_home(const struct md__device *device, const struct slot *slot,
                                const struct md_plan *plan, struct md_error *err)
{
    const struct md_device_driver *driver = device->driver;
    enum md_status status = driver->event_record(slot->computed, device->stream, err);
    if (!status)
        status = driver->event_follow(slot->computed, slot->home, err);
    for (int s = 0; !status && s < plan->step_count; s++) {
        const struct md__border *border = border_of(plan, s);
        if (plan->steps[s].side == MD_STEP_TO_HOST && border->count > 0)
            status = driver->download(slot->home, slot->staging + border->offset,
                                      slot->moving + border->offset,
                                      border->count * md_dtype_bytes(border->dtype), err);
    }
    return status;
}

static enum md_status depart(struct md__device *device, int at, struct md_plan *plan, bool *holds,
                             struct md_error *err)
{
    const struct md_device_driver *driver = device->driver;
    const struct slot *slot = &device->flights->slots[at];
    struct md_device_capture **captured = &plan->device->segments->in_slot[at];
    enum md_status status = MD_OK;
    *holds = true;
    for (int s = 0; !status && *holds && s < plan->step_count; s++)
        if (plan->steps[s].side == MD_STEP_TO_DEVICE)
            status = send(device, slot, plan, border_of(plan, s), holds, err);
    if (status || !*holds)
        return status;
    if (!*captured)
        status = capture(device, slot, plan, captured, err);
    if (!status)
        status = driver->event_record(slot->arrived, device->ahead, err);
    if (!status)
        status = driver->event_follow(slot->arrived, device->stream, err);
    if (!status)
        status = driver->capture_launch(*captured, device->stream, err);
    return status ? status : send_home(device, slot, plan, err);
}

/* ---- the end of a flight ---- */

/* Every stream is quiet; whatever went wrong there is no news. Under the lock. */
static void wait_all(struct md__device *device)
{
    const struct md_device_driver *driver = device->driver;
    driver->stream_wait(device->ahead, NULL);
    driver->stream_wait(device->stream, NULL);
    for (int i = 0; i < MD__FLIGHTS; i++)
        if (device->flights->slots[i].home)
            driver->stream_wait(device->flights->slots[i].home, NULL);
}

static void set_still(struct md__device *device)
{
    if (md__accelerator_flying(device->accelerator) == device)
        md__accelerator_set_flying(device->accelerator, NULL);
}

static void forget(struct md__device *device, struct slot *slot)
{
    md_tensors_unref(slot->inputs, device->graph->input_count);
    slot->plan = NULL;
}

void md__device_land(struct md__device *device)
{
    struct md__flights *flights = device ? device->flights : NULL;
    if (!flights || flights->count == 0)
        return;
    md__accelerator_lock(device->accelerator);
    wait_all(device);
    set_still(device);
    md__accelerator_unlock(device->accelerator);
    for (; flights->count > 0; flights->count--) {
        forget(device, &flights->slots[flights->first]);
        flights->first = (flights->first + 1) % MD__FLIGHTS;
    }
    flights->suspect = false;
}

void md__device_quiet(struct md__device *device)
{
    struct md__device *other = md__accelerator_flying(device->accelerator);
    if (!other || other == device)
        return;
    other->driver->stream_wait(other->stream, NULL); /* it asks for itself when it lands */
    other->flights->suspect |= md__device_notices(other) != 0;
    md__accelerator_set_flying(device->accelerator, NULL);
}

bool md__device_flights_yield(struct md__device *device)
{
    struct md__flights *flights = device->flights;
    size_t held = 0;
    if (!flights || flights->count > 0)
        return false;
    for (int i = 0; i < MD__FLIGHTS; i++) {
        held += flights->slots[i].bytes;
        slot_fini(device, &flights->slots[i]);
    }
    flights->off = true;
    return held > 0;
}

void md__device_flights_delete(struct md__device *device)
{
    for (int i = 0; device->flights && i < MD__FLIGHTS; i++)
        slot_fini(device, &device->flights->slots[i]);
    free(device->flights);
    device->flights = NULL;
}

/* ---- for runs ---- */

static bool is_ready(const struct md_executable *executable)
{
    const struct md__device *device = executable->device;
    return device && !device->off && device->captures && !executable->guards &&
           !executable->profiling && executable->options.handover_count == 0 &&
           md_accelerator_usable(device->accelerator) && !md__device_tries(executable);
}

/* Memory that nobody changes, because it is shared. */
static bool are_owned(const struct md_tensor *inputs, int count)
{
    for (int i = 0; i < count; i++)
        if (!inputs[i].owner || !inputs[i].data)
            return false;
    return true;
}

static void give_up(struct md__device *device, const struct md_error *err)
{
    device->flights->off = true;
    md__accelerator_failed(device->accelerator, err);
}

static bool take_off(struct md__device *device, int at, struct md_plan *plan,
                     const struct md_tensor *inputs)
{
    struct slot *slot = &device->flights->slots[at];
    struct md_error err = {0};
    bool holds = true;
    md__accelerator_lock(device->accelerator);
    md__device_quiet(device);
    enum md_status status = md__device_open_ahead(device, &err);
    if (!status)
        status = make_room(device, slot, plan->device->staging_bytes, &err);
    bool room = !status;
    if (room && plan->device->slot_generations[at] != slot->generation) {
        md__device_drop_slot(plan->device, at);
        plan->device->slot_generations[at] = slot->generation;
    }
    for (int i = 0; room && i < device->graph->input_count; i++)
        slot->inputs[i] = md_tensor_ref(&inputs[i]);
    if (room)
        status = depart(device, at, plan, &holds, &err);
    if (room && (status || !holds)) {
        wait_all(device);
        forget(device, slot);
    }
    bool flies = room && !status && holds;
    if (flies)
        md__accelerator_set_flying(device->accelerator, device);
    md__accelerator_unlock(device->accelerator);
    if (status)
        give_up(device, &err);
    slot->plan = flies ? plan : NULL;
    return flies;
}

bool md_executable_ahead(struct md_executable *executable, const struct md_tensor *inputs,
                         int input_count)
{
    struct md__device *device = executable->device;
    if (input_count != executable->graph->input_count || !is_ready(executable) ||
        !are_owned(inputs, input_count) || md__executable_check(executable, inputs, NULL))
        return false;
    executable->device_on = true;
    struct md_plan *plan = md__plans_find(executable, NULL, executable->facts, input_count);
    if (!plan || !can_fly(device, plan))
        return false;
    if (!device->flights)
        device->flights = calloc(1, sizeof *device->flights);
    struct md__flights *flights = device->flights;
    if (!flights || flights->off || flights->count == MD__FLIGHTS ||
        !take_off(device, (flights->first + flights->count) % MD__FLIGHTS, plan, inputs))
        return false;
    flights->count++;
    return true;
}

int md_executable_ahead_count(const struct md_executable *executable)
{
    const struct md__device *device = executable->device;
    return device && device->flights ? device->flights->count : 0;
}

static bool are_same(const struct md_tensor *these, const struct md_tensor *those, int count)
{
    for (int i = 0; i < count; i++)
        if (these[i].data != those[i].data || these[i].owner != those[i].owner ||
            these[i].dtype != those[i].dtype || !md_shape_equal(&these[i].shape, &those[i].shape))
            return false;
    return true;
}

/* Out of staging, as tensors. */
static enum md_status take_results(const struct slot *slot, struct md_tensor *outputs)
{
    const struct md_plan *plan = slot->plan;
    enum md_status status = MD_OK;
    for (int i = 0; !status && i < plan->result_count; i++) {
        const struct md_result *result = &plan->results[i];
        status = md_tensor_new_unset(result->tensor.dtype, &result->tensor.shape,
                                     &outputs[result->output], NULL);
    }
    for (int s = 0; !status && s < plan->step_count; s++) {
        if (plan->steps[s].side != MD_STEP_TO_HOST)
            continue;
        const struct md__border *border = border_of(plan, s);
        struct md_tensor *output = &outputs[plan->groups[border->host_group].index];
        if (border->count)
            memcpy(output->data, slot->staging + border->offset,
                   border->count * md_dtype_bytes(border->dtype));
    }
    return status;
}

/* Waits for the oldest; whether it went well. */
static bool arrives(struct md__device *device, const struct slot *slot)
{
    struct md__flights *flights = device->flights;
    struct md_error err = {0};
    md__accelerator_lock(device->accelerator);
    enum md_status status = device->driver->stream_wait(slot->home, &err);
    flights->suspect |= md__device_notices(device) != 0; /* its own, or the next one's */
    bool well = !status && !flights->suspect;
    if (flights->count == 1)
        set_still(device);
    md__accelerator_unlock(device->accelerator);
    if (status)
        give_up(device, &err);
    return well;
}

bool md__device_arrive(struct md_executable *executable, const struct md_tensor *inputs,
                       int input_count, struct md_tensor *outputs, int output_count)
{
    struct md__device *device = executable->device;
    struct md__flights *flights = device ? device->flights : NULL;
    const struct md_graph *graph = executable->graph;
    if (!flights || flights->count == 0)
        return false;
    struct slot *slot = &flights->slots[flights->first];
    memset(outputs, 0, (size_t)output_count * sizeof *outputs);
    if (input_count != graph->input_count || output_count != graph->output_count ||
        !are_same(slot->inputs, inputs, input_count) || !arrives(device, slot) ||
        take_results(slot, outputs) || md__device_wants_float32(executable, outputs)) {
        md_tensors_unref(outputs, output_count);
        md__device_land(device);
        return false;
    }
    forget(device, slot);
    flights->first = (flights->first + 1) % MD__FLIGHTS;
    flights->count--;
    executable->device_on = true;
    device->failures = 0;
    const struct md_accelerator_counts one = {.runs = 1, .launches = 1, .ahead_runs = 1};
    md__accelerator_count(device->accelerator, &one);
    return true;
}
