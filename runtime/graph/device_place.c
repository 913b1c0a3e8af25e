/*
 * Placing on a device: what lies there, and what is copied where, once device_choose.c has chosen
 * the nodes. The planner asks node by node, in the order of execution; copies are steps of the
 * plan, put in before the first step that lacks a value on its side. Everything is decided for
 * concrete shapes, so a node may run on the device for one batch and on the CPU for another.
 *
 * The device's groups follow the same rules as the host's (plan.h) in an arena of their own: a
 * value, its views and what is computed in place over it. What outlives a plan is on the host at
 * its end, so that children know of one side only.
 */
#include <string.h>

#include "graph/device_internal.h"

#define ALIGN ((size_t)256)

static size_t rounded(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

enum md_status md__device_plan_init(struct md_planner *planner, size_t tensors, size_t groups)
{
    struct md_plan *plan = planner->plan;
    struct md_arena *memory = &plan->memory;
    struct md__device_plan *made = md_arena_array(memory, 1, sizeof *made);
    size_t nodes = (size_t)(plan->node_end - plan->node_begin) + 1, steps = nodes + 2 * groups;
    if (!made)
        return md_fail(planner->err, MD_ERR_MEMORY, "out of memory while planning");
    made->device = planner->context->device;
    made->chosen = md_arena_array(memory, nodes, sizeof *made->chosen);
    made->values = md_arena_array(memory, tensors, sizeof *made->values);
    made->value_groups = md_arena_array(memory, tensors, sizeof *made->value_groups);
    made->groups = md_arena_array(memory, groups, sizeof *made->groups);
    made->works = md_arena_array(memory, nodes, sizeof *made->works);
    made->borders = md_arena_array(memory, 2 * groups, sizeof *made->borders);
    made->segments = md_arena_array(memory, steps, sizeof *made->segments);
    plan->device = made;
    return made->chosen && made->values && made->value_groups && made->groups && made->works &&
                   made->borders && made->segments
               ? MD_OK
               : md_fail(planner->err, MD_ERR_MEMORY, "out of memory while planning");
}

static size_t stored_bytes(const struct md_planner *planner, int value)
{
    const struct md__device *device = planner->context->device;
    enum md_dtype dtype = planner->trace.values[value].dtype;
    size_t bytes = md__plan_value_bytes(planner, value), each = md_dtype_bytes(dtype);
    return each ? bytes / each * md_dtype_bytes(md__device_storage(device, value, dtype)) : 0;
}

static int add_group(struct md_planner *planner, int value, struct md_group group)
{
    struct md__device_plan *own = planner->plan->device;
    group.bytes = rounded(stored_bytes(planner, value));
    group.end = planner->last[value] > group.begin ? planner->last[value] : group.begin;
    own->groups[own->group_count] = group;
    return planner->device_groups[value] = own->group_count++;
}

int md__device_lent_by(const struct md_planner *planner, int value)
{
    const struct md_graph *graph = planner->graph;
    bool any = planner->context->options->handover_count > 0;
    for (int i = 0; any && i < graph->input_count; i++)
        if (graph->inputs[i].value == value)
            return md__session_input(planner->context->options, i);
    return MD_NONE;
}

int md__device_taken_by(const struct md_planner *planner, int value)
{
    const struct md_graph *graph = planner->graph;
    bool any = planner->context->options->handover_count > 0;
    int found = MD_NONE, times = 0;
    for (int i = 0; any && i < graph->output_count; i++)
        if (graph->outputs[i].value == value) {
            found = md__session_output(planner->context->options, i);
            times++;
        }
    return times == 1 && planner->last_read[value] < planner->plan->node_end ? found : MD_NONE;
}

/* A step that copies between the sides, in staging of its own. */
static void add_border(struct md_planner *planner, int value, int n, enum md_step_side side,
                       int handover)
{
    struct md_plan *plan = planner->plan;
    struct md__device_plan *own = plan->device;
    const struct md__device *device = planner->context->device;
    enum md_dtype dtype = planner->trace.values[value].dtype;
    size_t bytes = md__plan_value_bytes(planner, value);
    struct md__border *border = &own->borders[own->border_count];
    *border = (struct md__border){.host_group = planner->groups[value],
                                  .device_group = planner->device_groups[value],
                                  .dtype = dtype,
                                  .storage = md__device_storage(device, value, dtype),
                                  .count = bytes / md_dtype_bytes(dtype),
                                  .offset = own->staging_bytes,
                                  .handover = handover,
                                  .lands = handover != MD_NONE && side == MD_STEP_TO_DEVICE,
                                  .late = handover != MD_NONE && side == MD_STEP_TO_HOST};
    own->staging_bytes += rounded(bytes);
    if (border->lands) {
        border->landing = own->landing_bytes;
        own->groups[border->device_group].offset = border->landing;
        own->landing_bytes += own->groups[border->device_group].bytes;
    }
    if (side == MD_STEP_TO_DEVICE && !border->lands && md__device_goes_ahead(bytes)) {
        border->ahead = true;
        border->landing = own->landing_bytes;
        own->landing_bytes += rounded(bytes);
    } else if (border->dtype != border->storage && bytes > own->scratch_bytes)
        own->scratch_bytes = bytes; /* what arrives is converted from there */
    int node = n < plan->node_end ? n : plan->node_end - 1;
    plan->steps[plan->step_count++] = (struct md_step){.node = &planner->graph->nodes[node],
                                                       .side = side,
                                                       .part = own->border_count++,
                                                       .cost = {.bytes = (double)bytes}};
    plan->report.copies++;
}

/* The value lies on the device from now on. */
static void bring_out(struct md_planner *planner, int value, int n)
{
    if (planner->device_groups[value] != MD_NONE)
        return;
    if (planner->graph->values[value].constant.data) {
        add_group(planner, value,
                  (struct md_group){.place = MD_PLACE_CONSTANT, .index = value, .begin = -1});
        return;
    }
    md__plan_group(planner, value); /* contents that are known get theirs now */
    int handover = md__device_lent_by(planner, value);
    add_group(planner, value,
              (struct md_group){.place = handover == MD_NONE ? MD_PLACE_ARENA : MD_PLACE_INPUT,
                                .begin = n});
    add_border(planner, value, n, MD_STEP_TO_DEVICE, handover);
}

/* Before node n, so in its predecessor's place: what begins at n is written by n itself. */
static void bring_home(struct md_planner *planner, int value, int n, int handover)
{
    if (value == MD_NONE || planner->groups[value] != MD_NONE ||
        planner->device_groups[value] == MD_NONE || planner->trace.values[value].known)
        return;
    md__plan_add_group(planner, value, (struct md_group){.begin = n - 1});
    add_border(planner, value, n, MD_STEP_TO_HOST, handover);
}

static void bring_all_home(struct md_planner *planner, int n)
{
    const struct md_plan *plan = planner->plan;
    for (int k = plan->node_begin; k < n; k++) {
        const struct md_node *node = &planner->graph->nodes[k];
        for (int i = 0; i < node->out_count; i++)
            if (node->out[i] != MD_NONE && (planner->is_output[node->out[i]] ||
                                            planner->last_read[node->out[i]] >= plan->node_end))
                bring_home(planner, node->out[i], n, md__device_taken_by(planner, node->out[i]));
    }
}

void md__device_add_view(struct md_planner *planner, const struct md_node *node)
{
    int in = node->in[0], out = node->out[0];
    planner->device_groups[out] = planner->device_groups[in];
    planner->groups[out] =
        planner->device_groups[in] == MD_NONE ? md__plan_group(planner, in) : planner->groups[in];
}

/* ---- nodes ---- */

static struct md_device_value describe(const struct md_planner *planner, int value)
{
    if (value == MD_NONE)
        return (struct md_device_value){0};
    const struct md_value_info *info = &planner->trace.values[value];
    return (struct md_device_value){
        .dtype = info->dtype,
        .storage = md__device_storage(planner->context->device, value, info->dtype),
        .shape = info->shape,
        .known = info->known};
}

/* Its values are described behind the others. */
const struct md_device_kernel *md__device_kernel(struct md_planner *planner,
                                                 const struct md_node *node)
{
    struct md__device_plan *own = planner->plan->device;
    const struct md_device_kernel *kernel = own->device->driver->kernels[node->op];
    struct md_device_value *in = &own->values[own->value_count], *out = in + node->in_count;
    if (!kernel || md_op_is_control(node->op) || md__plan_node_is_open(planner, node))
        return NULL;
    for (int i = 0; i < node->in_count; i++) {
        in[i] = describe(planner, node->in[i]);
        if (i < 32 && kernel->host_inputs >> i & 1 && node->in[i] != MD_NONE && !in[i].known)
            return NULL;
    }
    for (int i = 0; i < node->out_count; i++)
        out[i] = describe(planner, node->out[i]);
    return !kernel->supports || kernel->supports(node, in, node->in_count, out, node->out_count)
               ? kernel
               : NULL;
}

static bool may_overwrite(const struct md_planner *planner, const struct md_device_kernel *kernel,
                          const struct md_node *node, int n)
{
    if (!kernel->in_place || node->in_count == 0 || node->in[0] == MD_NONE ||
        stored_bytes(planner, node->in[0]) != stored_bytes(planner, node->out[0]))
        return false;
    int group = planner->device_groups[node->in[0]];
    if (group == MD_NONE)
        return false;
    const struct md_group *over = &planner->plan->device->groups[group];
    if (over->place != MD_PLACE_ARENA || over->end != n)
        return false;
    for (int i = 1; i < node->in_count; i++)
        if (node->in[i] != MD_NONE && planner->device_groups[node->in[i]] == group)
            return false;
    return true;
}

static void place_outputs(struct md_planner *planner, const struct md_device_kernel *kernel,
                          const struct md_node *node, int n)
{
    int i = 0;
    if (may_overwrite(planner, kernel, node, n)) {
        int group = planner->device_groups[node->in[0]], value = node->out[0];
        planner->device_groups[value] = group;
        if (planner->last[value] > n)
            planner->plan->device->groups[group].end = planner->last[value];
        i = 1;
    }
    for (; i < node->out_count; i++)
        add_group(planner, node->out[i], (struct md_group){.begin = n});
}

static void add_step(struct md_planner *planner, const struct md_device_kernel *kernel, int n)
{
    const struct md_node *node = &planner->graph->nodes[n];
    struct md_plan *plan = planner->plan;
    struct md__device_plan *own = plan->device;
    int first = own->value_count, *groups = &own->value_groups[first];
    const struct md_device_value *in = &own->values[first];
    own->value_count += node->in_count + node->out_count;
    size_t scratch =
        kernel->scratch_bytes
            ? kernel->scratch_bytes(node, in, node->in_count, in + node->in_count, node->out_count)
            : 0;
    if (scratch > own->scratch_bytes)
        own->scratch_bytes = scratch;
    for (int i = 0; i < node->in_count; i++) {
        bool absent = node->in[i] == MD_NONE || (i < 32 && kernel->host_inputs >> i & 1);
        if (!absent)
            bring_out(planner, node->in[i], n);
        groups[i] = absent ? MD_NONE : planner->device_groups[node->in[i]];
    }
    place_outputs(planner, kernel, node, n);
    for (int i = 0; i < node->out_count; i++)
        groups[node->in_count + i] = planner->device_groups[node->out[i]];
    own->works[own->work_count] = (struct md__device_work){kernel, first};
    struct md_step *step = &plan->steps[plan->step_count++];
    *step = (struct md_step){.node = node, .side = MD_STEP_DEVICE, .part = own->work_count++};
    md__plan_count_cost(planner, step);
    plan->report.device_steps++;
}

bool md__device_add_node(struct md_planner *planner, int n)
{
    const struct md_node *node = &planner->graph->nodes[n];
    const struct md_plan *plan = planner->plan;
    const struct md_device_kernel *kernel =
        plan->device->chosen[n - plan->node_begin] ? md__device_kernel(planner, node) : NULL;
    if (kernel) {
        add_step(planner, kernel, n);
        return true;
    }
    if (md__plan_node_is_open(planner, node)) /* it ends the plan, and is its last step */
        bring_all_home(planner, n);
    for (int i = 0; i < node->in_count; i++)
        bring_home(planner, node->in[i], n, MD_NONE);
    return false;
}

/* ---- the whole ---- */

static void cut_segments(struct md_plan *plan)
{
    struct md__device_plan *own = plan->device;
    for (int s = 0; s < plan->step_count; s++) {
        if (plan->steps[s].side == MD_STEP_HOST)
            continue;
        struct md__segment *last =
            own->segment_count ? &own->segments[own->segment_count - 1] : NULL;
        if (last && last->end == s)
            last->end++;
        else
            own->segments[own->segment_count++] = (struct md__segment){.begin = s, .end = s + 1};
    }
}

enum md_status md__device_plan_end(struct md_planner *planner)
{
    struct md_plan *plan = planner->plan;
    struct md__device_plan *own = plan->device;
    size_t most = md__accelerator_info(own->device->accelerator)->memory_bytes;
    bring_all_home(planner, plan->node_end);
    cut_segments(plan);
    own->scratch_bytes = rounded(own->scratch_bytes);
    enum md_status status = MD_OK;
    size_t beside = own->scratch_bytes + own->landing_bytes;
    if (most <= beside)
        status = md_fail(planner->err, MD_ERR_MEMORY, "the device has %zu bytes", most);
    else
        status = md__plan_memory(own->groups, own->group_count, 0, most - beside, &own->arena_bytes,
                                 planner->err);
    if (status == MD_ERR_TOO_LARGE) /* for the device; the host may have room */
        status = md_fail(planner->err, MD_ERR_MEMORY,
                         "the device's %zu bytes of memory do not hold the plan", most);
    own->device->failed = status;
    plan->report.device_bytes = own->arena_bytes + beside;
    plan->report.pinned_bytes = own->staging_bytes;
    return status;
}
