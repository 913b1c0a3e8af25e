/*
 * Placing: group values that share memory, choose kernels, give groups their places. Works on the
 * nodes of one plan, after they are traced.
 */
#include <stdlib.h>
#include <string.h>

#include "graph/device_internal.h"
#include "tensor/mapping.h"

#define GUARD_BYTES ((size_t)64)

static bool shape_moves_nothing(const struct md_shape *from, const struct md_shape *to,
                                const struct md_node *node)
{
    const struct md_attr *perm = md_node_attr(node, "perm");
    int64_t before = -1;
    for (int i = 0; i < to->rank; i++) {
        int64_t axis = perm ? perm->ints[i] : from->rank - 1 - i;
        if (from->dim[axis] == 1)
            continue;
        if (axis < before)
            return false;
        before = axis;
    }
    return true;
}

bool md__plan_is_view(const struct md_trace *trace, const struct md_node *node)
{
    if (node->in_count == 0 || node->in[0] == MD_NONE)
        return false;
    const struct md_value_info *in = &trace->values[node->in[0]];
    const struct md_value_info *out = &trace->values[node->out[0]];
    switch (node->op) {
    case MD_OP_IDENTITY:
    case MD_OP_RESHAPE:
    case MD_OP_FLATTEN:
    case MD_OP_SQUEEZE:
    case MD_OP_UNSQUEEZE:
        return true;
    case MD_OP_DROPOUT:
        return node->out_count == 1;
    case MD_OP_CAST:
        return in->dtype == out->dtype;
    case MD_OP_EXPAND:
        return md_shape_equal(&in->shape, &out->shape);
    case MD_OP_TRANSPOSE:
        return shape_moves_nothing(&in->shape, &out->shape, node);
    default:
        return false;
    }
}

size_t md__plan_value_bytes(const struct md_planner *planner, int value)
{
    const struct md_value_info *info = &planner->trace.values[value];
    size_t count = 0;
    /* The trace has checked that it fits; values that nobody made have no dtype and count 0. */
    if (md__trace_sure(&planner->trace, value))
        md_shape_count(&info->shape, md_dtype_bytes(info->dtype), &count, NULL);
    return count * md_dtype_bytes(info->dtype);
}

static bool makes_nothing(const struct md_planner *planner, const struct md_node *node)
{
    for (int i = 0; i < node->out_count; i++)
        if (md__plan_value_bytes(planner, node->out[i]) > 0)
            return false;
    return !md__plan_node_is_open(planner, node);
}

static void start_use(struct md_planner *planner, int value)
{
    if (value != MD_NONE)
        planner->last[value] =
            planner->is_output[value] || planner->last_read[value] >= planner->plan->node_end
                ? planner->graph->node_count
                : -1;
}

/* Backwards: consumers before producers, so that a view's readers count as readers of what it
 * views. */
static void find_last_uses(struct md_planner *planner)
{
    const struct md_plan *plan = planner->plan;
    for (int i = 0; plan->parent && i < plan->parent->live_count; i++)
        start_use(planner, plan->parent->lives[i].value);
    for (int i = 0; i < plan->fact_count; i++)
        start_use(planner, plan->facts[i].value);
    for (int n = plan->node_begin; n < plan->node_end; n++) {
        const struct md_node *node = &planner->graph->nodes[n];
        for (int i = 0; i < node->in_count; i++)
            start_use(planner, node->in[i]);
        for (int i = 0; i < node->out_count; i++)
            start_use(planner, node->out[i]);
    }
    for (int n = plan->node_end - 1; n >= plan->node_begin; n--) {
        const struct md_node *node = &planner->graph->nodes[n];
        bool view = md__plan_is_view(&planner->trace, node);
        int until = view ? planner->last[node->out[0]] : n;
        for (int i = 0; i < node->in_count; i++)
            if (node->in[i] != MD_NONE && planner->last[node->in[i]] < until)
                planner->last[node->in[i]] = until;
    }
}

int md__plan_add_group(struct md_planner *planner, int value, struct md_group group)
{
    struct md_plan *plan = planner->plan;
    group.bytes = md__plan_value_bytes(planner, value);
    group.end = planner->last[value] > group.begin ? planner->last[value] : group.begin;
    plan->groups[plan->group_count] = group;
    return planner->groups[value] = plan->group_count++;
}

int md__plan_group(struct md_planner *planner, int value)
{
    const void *known = planner->trace.values[value].known;
    if (planner->groups[value] == MD_NONE && known)
        md__plan_add_group(
            planner, value,
            (struct md_group){.place = MD_PLACE_CONSTANT, .data = known, .begin = -1});
    return planner->groups[value];
}

/* What the ancestors left stays where it is, in groups of the same numbers as there. */
static void place_kept(struct md_planner *planner)
{
    struct md_plan *plan = planner->plan;
    const struct md_plan *parent = plan->parent;
    for (int g = 0; g < parent->kept_count; g++) {
        plan->groups[plan->group_count] = parent->kept[g];
        plan->groups[plan->group_count].begin = plan->groups[plan->group_count].end = -1;
        plan->group_count++;
    }
    for (int i = 0; i < parent->live_count; i++) {
        const struct md_live *live = &parent->lives[i];
        struct md_group *group = &plan->groups[live->kept];
        planner->groups[live->value] = live->kept;
        if (group->end < planner->last[live->value])
            group->end = planner->last[live->value];
    }
}

/* Inputs of the graph, or what the parent's last step has made; contents get their group at need.
 */
static void place_facts(struct md_planner *planner)
{
    struct md_plan *plan = planner->plan;
    int tail = plan->parent ? plan->parent->tail_count - plan->parent->want_count : 0;
    for (int i = 0; i < plan->fact_count; i++) {
        int value = plan->facts[i].value;
        if (!plan->parent)
            md__plan_add_group(planner, value,
                               (struct md_group){.place = MD_PLACE_INPUT, .index = i, .begin = -1});
        else if (plan->parent->stop == MD_STOP_OUTPUT)
            md__plan_add_group(
                planner, value,
                (struct md_group){.place = MD_PLACE_TAIL, .index = tail + i, .begin = -1});
        else
            planner->groups[value] = MD_NONE;
    }
}

/* Whether step n may write its output 0 over its input 0: nobody else reads those bytes any more.
 */
static bool may_overwrite(const struct md_planner *planner, const struct md_kernel *kernel,
                          const struct md_node *node, int n)
{
    if (!kernel->in_place || node->in[0] == MD_NONE ||
        planner->slices[node->in[0]].root != MD_NONE ||
        planner->slices[node->out[0]].root != MD_NONE ||
        !md__trace_sure(&planner->trace, node->out[0]) ||
        md__plan_value_bytes(planner, node->in[0]) != md__plan_value_bytes(planner, node->out[0]))
        return false;
    int group = planner->groups[node->in[0]];
    const struct md_group *over = &planner->plan->groups[group];
    if (over->place != MD_PLACE_ARENA || over->end != n)
        return false;
    for (int i = 1; i < node->in_count; i++)
        if (node->in[i] != MD_NONE && planner->groups[node->in[i]] == group)
            return false;
    return true;
}

static void place_outputs(struct md_planner *planner, const struct md_kernel *kernel,
                          const struct md_node *node, int n)
{
    int i = 0;
    if (kernel && may_overwrite(planner, kernel, node, n)) {
        int group = planner->groups[node->in[0]], value = node->out[0];
        planner->groups[value] = group;
        if (planner->last[value] > n)
            planner->plan->groups[group].end = planner->last[value];
        i = 1;
    }
    for (; i < node->out_count; i++)
        if (md__trace_sure(&planner->trace, node->out[i]))
            md__plan_place_output(planner, node->out[i], n);
}

/* Within the packs of one key: the node, its kernel, and the shapes that prepare would see. */
static struct md_digest pack_key(const struct md_planner *planner, int n,
                                 const struct md_kernel *kernel)
{
    const struct md_node *node = &planner->graph->nodes[n];
    const struct md_tensor *in = planner->trace.room.in;
    struct md_hash hash;
    md_hash_init(&hash);
    md_hash_number(&hash, n);
    md_hash_text(&hash, md_op_info(node->op)->name);
    md_hash_number(&hash, kernel == planner->context->options->reference->kernels[node->op]);
    for (int i = 0; i < node->in_count; i++) {
        md_hash_number(&hash, in[i].dtype);
        md_hash_number(&hash, in[i].shape.rank);
        for (int d = 0; d < in[i].shape.rank; d++)
            md_hash_number(&hash, in[i].shape.dim[d]);
    }
    return md_hash_end(&hash);
}

/*
 * What an earlier load packed: a copy, because memory has huge pages and files do not, or the file
 * itself where memory counts.
 */
static void take_kept(const struct md_planner *planner, struct md_prepared *to)
{
    const void *kept = md__packs_find(planner->context->packs, to->key, &to->bytes);
    to->mapped = kept && planner->context->options->low_memory;
    to->data = to->mapped || !kept ? (void *)(uintptr_t)kept : md_prepared_new(to->bytes);
    to->kept = to->data != NULL;
    if (to->data && !to->mapped) {
        memcpy(to->data, kept, to->bytes);
        md__packs_forget(kept, to->bytes);
    }
}

/* From the file of an earlier load, or made now; then nobody reads the weights soon. */
static enum md_status pack(struct md_planner *planner, int n, struct md_prepared *to)
{
    const struct md_node *node = &planner->graph->nodes[n];
    const struct md_tensor *in = planner->trace.room.in;
    enum md_status status = MD_OK;
    if (!to->kernel->prepared_free) {
        to->key = pack_key(planner, n, to->kernel);
        take_kept(planner, to);
    }
    if (!to->kept)
        status = to->kernel->prepare(node, in, node->in_count, &to->data, &to->bytes, planner->err);
    for (int i = 0; to->data && i < node->in_count; i++)
        if (in[i].data)
            md_tensor_forget(&planner->graph->values[node->in[i]].constant);
    return status;
}

/* The node's packed weights under this kernel, made at first need. */
static enum md_status find_prepared(struct md_planner *planner, int n,
                                    const struct md_kernel *kernel, const void **data)
{
    struct md_prepared **list = &planner->context->prepared[n];
    *data = NULL;
    if (!kernel->prepare)
        return MD_OK;
    struct md_prepared *found = *list;
    while (found && found->kernel != kernel)
        found = found->next;
    if (!found) {
        if (!(found = calloc(1, sizeof *found)))
            return md_fail(planner->err, MD_ERR_MEMORY, "out of memory while planning");
        found->kernel = kernel;
        enum md_status status = pack(planner, n, found);
        if (status) {
            free(found);
            return status;
        }
        found->next = *list;
        *list = found;
    }
    *data = found->data;
    return MD_OK;
}

static void add_tensor(struct md_planner *planner, int value)
{
    struct md_plan *plan = planner->plan;
    int at = plan->tensor_count++;
    plan->tensor_groups[at] = value == MD_NONE ? MD_NONE : md__plan_group(planner, value);
    if (value == MD_NONE)
        return;
    plan->tensors[at].dtype = planner->trace.values[value].dtype;
    plan->tensors[at].shape = planner->trace.values[value].shape;
    if (planner->slices[value].root != MD_NONE) {
        plan->tensor_offsets[at] = planner->slices[value].offset;
        plan->tensor_pitches[at] = planner->slices[value].pitch;
    }
}

/*
 * What scratch_bytes is shown: shapes and contents that rules ask for, but of weights only those
 * that prepare saw. Weights put together from constants are known here as well, when nothing folded
 * them; a run packs those into scratch.
 */
static void show_scratch(const struct md_planner *planner, const struct md_node *node)
{
    struct md_tensor *in = planner->trace.room.in;
    md__trace_inputs(&planner->trace, node, true, in);
    for (int i = 0; i < node->in_count; i++)
        if (in[i].dtype == MD_F32 && in[i].shape.rank > 1)
            in[i].data = planner->graph->values[node->in[i]].constant.data;
}

static enum md_status choose_kernel(struct md_planner *planner, int n, struct md_step *step)
{
    struct md_plan *plan = planner->plan;
    const struct md_node *node = step->node;
    const struct md_executable_options *options = planner->context->options;
    struct md_tensor *in = planner->trace.room.in;
    md__trace_inputs(&planner->trace, node, false, in);
    step->kernel = md__kernel_find(options->backend, node, in);
    if (!step->kernel)
        step->kernel = md__kernel_find(options->reference, node, in);
    if (!step->kernel)
        return md_fail(planner->err, MD_ERR_UNSUPPORTED, "no kernel for these inputs (first is %s)",
                       node->in_count ? md_dtype_name(in[0].dtype) : "absent");
    enum md_status status = find_prepared(planner, n, step->kernel, &step->prepared);
    if (status || !step->kernel->scratch_bytes)
        return status;
    show_scratch(planner, node);
    size_t scratch =
        step->kernel->scratch_bytes(node, in, node->in_count, md_pool_threads(options->pool));
    if (scratch > plan->scratch_bytes)
        plan->scratch_bytes = scratch;
    return MD_OK;
}

void md__plan_count_cost(struct md_planner *planner, struct md_step *step)
{
    const struct md_node *node = step->node;
    struct md_node_room *room = &planner->trace.room;
    struct md_plan_report *report = &planner->plan->report, own = {0};
    md__trace_infos(&planner->trace, node->in, node->in_count, room->in_info);
    md__trace_infos(&planner->trace, node->out, node->out_count, room->out_info);
    report->steps++;
    report->fused_steps += md_op_info(node->op)->body != NULL;
    if (!md__plan_node_is_open(planner, node)) /* without sizes there is nothing to count */
        md__node_cost(node, room->in_info, room->out_info, &own);
    step->cost = (struct md_step_cost){own.flops, own.bytes, own.transcendentals};
    report->flops += own.flops;
    report->bytes += own.bytes;
    report->transcendentals += own.transcendentals;
}

static enum md_status add_step(struct md_planner *planner, int n)
{
    struct md_plan *plan = planner->plan;
    const struct md_node *node = &planner->graph->nodes[n];
    enum md_status status = MD_OK;
    if (plan->device && md__device_add_node(planner, n))
        return MD_OK;
    struct md_step *step = &plan->steps[plan->step_count++];
    *step = (struct md_step){.node = node, .first = plan->tensor_count};
    status = md_op_is_control(node->op) ? MD_OK : choose_kernel(planner, n, step);
    if (status)
        return status;
    for (int i = 0; i < node->in_count; i++)
        add_tensor(planner, node->in[i]);
    place_outputs(planner, step->kernel, node, n);
    for (int i = 0; i < node->out_count; i++)
        add_tensor(planner, node->out[i]);
    md__plan_count_cost(planner, step);
    return MD_OK;
}

enum md_status md__plan_add_node(struct md_planner *planner, int n)
{
    const struct md_node *node = &planner->graph->nodes[n];
    if (md__trace_knows(&planner->trace, node))
        return MD_OK;
    if (md__plan_is_view(&planner->trace, node)) {
        if (planner->plan->device)
            md__device_add_view(planner, node);
        else
            planner->groups[node->out[0]] = md__plan_group(planner, node->in[0]);
        return MD_OK;
    }
    if (makes_nothing(planner, node)) {
        for (int i = 0; i < node->out_count; i++)
            md__plan_add_group(planner, node->out[i], (struct md_group){.begin = n});
        return MD_OK;
    }
    if (md__plan_is_joined(planner, n))
        return MD_OK;
    enum md_status status = add_step(planner, n);
    char text[160];
    return status ? md_error_context(planner->err, "%s", md__node_text(node, text, sizeof text))
                  : MD_OK;
}

/* ---- what the run gives and what the child needs ---- */

/* The value is known from this plan on: its maker is here, or this plan's facts are about it. */
static bool is_new(const struct md_planner *planner, int value)
{
    const struct md_plan *plan = planner->plan;
    int producer = planner->graph->values[value].producer;
    if (!md__trace_sure(&planner->trace, value))
        return false;
    if (!plan->parent && producer == MD_NONE)
        return true;
    bool fact = false;
    for (int i = 0; plan->parent && plan->parent->stop == MD_STOP_OUTPUT && i < plan->fact_count;
         i++)
        fact |= plan->facts[i].value == value;
    return fact || (producer >= plan->node_begin && producer < plan->node_end);
}

/* An output's group moves into the returned tensor when it is ours and not taken; else it is
 * copied. */
static void place_results(struct md_planner *planner)
{
    struct md_plan *plan = planner->plan;
    for (int i = 0; i < planner->graph->output_count; i++) {
        int value = planner->graph->outputs[i].value;
        if (!is_new(planner, value))
            continue;
        const struct md_value_info *info = &planner->trace.values[value];
        int at = md__plan_group(planner, value);
        struct md_group *group = &plan->groups[at];
        struct md_result *result = &plan->results[plan->result_count++];
        *result = (struct md_result){
            .output = i, .tensor = {.dtype = info->dtype, .shape = info->shape}, .copied = at};
        if (group->place == MD_PLACE_ARENA && group->begin >= 0) {
            group->place = MD_PLACE_OUTPUT;
            group->index = i;
            result->copied = MD_NONE;
        }
    }
}

static enum md_status note_wants(struct md_planner *planner)
{
    struct md_plan *plan = planner->plan;
    if (plan->stop == MD_STOP_CONTENTS)
        for (int i = 0; i < plan->want_count; i++)
            plan->wants[i].at = md__plan_group(planner, plan->wants[i].value);
    if (plan->stop != MD_STOP_OUTPUT)
        return MD_OK;
    const struct md_step *step = &plan->steps[plan->step_count - 1];
    const struct md_node *node = step->node;
    plan->wants = md_arena_array(&plan->memory, (size_t)node->out_count, sizeof *plan->wants);
    if (!plan->wants)
        return md_fail(planner->err, MD_ERR_MEMORY, "out of memory while planning");
    for (int i = 0; i < node->out_count; i++)
        if (!md__trace_sure(&planner->trace, node->out[i]))
            plan->wants[plan->want_count++] =
                (struct md_want){node->out[i], step->first + node->in_count + i,
                                 planner->trace.values[node->out[i]].dtype};
    plan->tail_count += plan->want_count;
    return MD_OK;
}

enum md_status md__plan_place(struct md_planner *planner)
{
    struct md_plan *plan = planner->plan;
    size_t most = planner->context->options->plan_bytes_max;
    find_last_uses(planner);
    md__plan_slices(planner);
    if (plan->parent)
        place_kept(planner);
    place_facts(planner);
    enum md_status status = plan->device ? md__device_choose(planner) : MD_OK;
    for (int n = plan->node_begin; !status && n < plan->node_end; n++)
        status = md__plan_add_node(planner, n);
    if (!status && plan->device)
        status = md__device_plan_end(planner);
    if (!status)
        status = note_wants(planner);
    if (status)
        return status;
    place_results(planner);
    size_t results = plan->contents.bytes, guard = planner->context->guards ? GUARD_BYTES : 0;
    for (int i = 0; i < plan->result_count; i++) {
        const struct md_tensor *made = &plan->results[i].tensor; /* no memory yet */
        size_t own;
        if (md__shape_bytes(&made->shape, made->dtype, &own, NULL) ||
            __builtin_add_overflow(results, own, &results))
            results = SIZE_MAX;
    }
    if (__builtin_add_overflow(results, plan->scratch_bytes, &results) || results > most)
        return md_fail(planner->err, MD_ERR_TOO_LARGE,
                       "outputs and scratch memory take more than %zu bytes", most);
    return md__plan_memory(plan->groups, plan->group_count, guard, most - results,
                           &plan->arena_bytes, planner->err);
}
