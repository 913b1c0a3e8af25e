/*
 * Planning: trace the graph, group values that share memory, choose kernels, place groups. Nothing
 * here runs a scheduled kernel, and memory in the size of tensors is only computed, never taken, so
 * that shapes of any size end in MD_ERR_TOO_LARGE.
 */
#include "graph/plan.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "graph/graph_internal.h"

#define PLAN_ARRAYS_MAX ((size_t)1 << 30)
#define GUARD_BYTES     ((size_t)64)

/* State of one planning. The arrays have one place per value. */
struct planner {
    const struct md_plan_context *context;
    const struct md_graph *graph;
    struct md_plan *plan;
    int *last;   /* last node that reads the value or a view of it; node_count: an output */
    int *groups; /* of each value; MD_NONE while it has none */
    size_t *bytes;
    struct md_node_room room;
    struct md_error *err;
};

static enum md_status out_of_memory(struct md_error *err)
{
    return md_fail(err, MD_ERR_MEMORY, "out of memory while planning");
}

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

/* Output 0 is input 0 under another shape. */
static bool is_view(const struct md_trace *trace, const struct md_node *node)
{
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

static bool makes_nothing(const struct planner *planner, const struct md_node *node)
{
    for (int i = 0; i < node->out_count; i++)
        if (planner->bytes[node->out[i]] > 0)
            return false;
    return true;
}

/* Backwards: consumers before producers, so that a view's readers count as readers of what it
 * views. */
static void find_last_uses(struct planner *planner)
{
    const struct md_graph *graph = planner->graph;
    for (int v = 0; v < graph->value_count; v++)
        planner->last[v] = -1;
    for (int i = 0; i < graph->output_count; i++)
        planner->last[graph->outputs[i].value] = graph->node_count;
    for (int n = graph->node_count - 1; n >= 0; n--) {
        const struct md_node *node = &graph->nodes[n];
        bool view = is_view(&planner->plan->trace, node);
        int until = view ? planner->last[node->out[0]] : n;
        for (int i = 0; i < node->in_count; i++)
            if (node->in[i] != MD_NONE && planner->last[node->in[i]] < until)
                planner->last[node->in[i]] = until;
    }
}

static int add_group(struct planner *planner, int value, enum md_place place, int index,
                     const void *data, int begin)
{
    struct md_plan *plan = planner->plan;
    int end = planner->last[value] > begin ? planner->last[value] : begin;
    plan->groups[plan->group_count] = (struct md_group){.place = place,
                                                        .index = index,
                                                        .data = data,
                                                        .begin = begin,
                                                        .end = end,
                                                        .bytes = planner->bytes[value]};
    return planner->groups[value] = plan->group_count++;
}

/* Inputs, constants and contents computed by the trace have their places before any step. */
static void place_given_values(struct planner *planner)
{
    const struct md_graph *graph = planner->graph;
    for (int v = 0; v < graph->value_count; v++) {
        planner->groups[v] = MD_NONE;
        if (planner->plan->trace.values[v].known)
            add_group(planner, v, MD_PLACE_CONSTANT, 0, planner->plan->trace.values[v].known, -1);
    }
    for (int i = 0; i < graph->input_count; i++)
        add_group(planner, graph->inputs[i].value, MD_PLACE_INPUT, i, NULL, -1);
}

/* Whether step n may write its output 0 over its input 0: nobody else reads those bytes any more.
 */
static bool may_overwrite(const struct planner *planner, const struct md_kernel *kernel,
                          const struct md_node *node, int n)
{
    if (!kernel->in_place || node->in[0] == MD_NONE ||
        planner->bytes[node->in[0]] != planner->bytes[node->out[0]])
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

static void place_outputs(struct planner *planner, const struct md_kernel *kernel,
                          const struct md_node *node, int n)
{
    int i = 0;
    if (may_overwrite(planner, kernel, node, n)) {
        int group = planner->groups[node->in[0]], value = node->out[0];
        planner->groups[value] = group;
        if (planner->last[value] > n)
            planner->plan->groups[group].end = planner->last[value];
        i = 1;
    }
    for (; i < node->out_count; i++)
        add_group(planner, node->out[i], MD_PLACE_ARENA, 0, NULL, n);
}

/* The node's packed weights under this kernel, made at first need. */
static enum md_status find_prepared(struct planner *planner, int n, const struct md_kernel *kernel,
                                    const void **data)
{
    const struct md_node *node = &planner->graph->nodes[n];
    struct md_prepared **list = &planner->context->prepared[n];
    *data = NULL;
    if (!kernel->prepare)
        return MD_OK;
    struct md_prepared *found = *list;
    while (found && found->kernel != kernel)
        found = found->next;
    if (!found) {
        if (!(found = calloc(1, sizeof *found)))
            return out_of_memory(planner->err);
        found->kernel = kernel;
        enum md_status status = kernel->prepare(node, planner->room.in, node->in_count,
                                                &found->data, &found->bytes, planner->err);
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

static void add_tensor(struct planner *planner, int value)
{
    struct md_plan *plan = planner->plan;
    int at = plan->tensor_count++;
    plan->tensor_groups[at] = value == MD_NONE ? MD_NONE : planner->groups[value];
    if (value == MD_NONE)
        return;
    plan->tensors[at].dtype = plan->trace.values[value].dtype;
    plan->tensors[at].shape = plan->trace.values[value].shape;
}

static enum md_status add_step(struct planner *planner, int n)
{
    struct md_plan *plan = planner->plan;
    const struct md_node *node = &planner->graph->nodes[n];
    const struct md_executable_options *options = planner->context->options;
    md__trace_inputs(&plan->trace, planner->graph, node, false, planner->room.in);
    const struct md_kernel *kernel = md__kernel_find(options->backend, node, planner->room.in);
    if (!kernel)
        kernel = md__kernel_find(options->reference, node, planner->room.in);
    if (!kernel)
        return md_fail(planner->err, MD_ERR_UNSUPPORTED, "no kernel for these inputs (first is %s)",
                       md_dtype_name(planner->room.in[0].dtype));
    struct md_step *step = &plan->steps[plan->step_count++];
    *step = (struct md_step){.node = node, .kernel = kernel, .first = plan->tensor_count};
    enum md_status status = find_prepared(planner, n, kernel, &step->prepared);
    if (status)
        return status;
    size_t scratch = kernel->scratch_bytes
                         ? kernel->scratch_bytes(node, planner->room.in, node->in_count,
                                                 md_pool_threads(options->pool))
                         : 0;
    if (scratch > plan->scratch_bytes)
        plan->scratch_bytes = scratch;
    place_outputs(planner, kernel, node, n);
    for (int i = 0; i < node->in_count; i++)
        add_tensor(planner, node->in[i]);
    for (int i = 0; i < node->out_count; i++)
        add_tensor(planner, node->out[i]);
    md__trace_infos(&plan->trace, node->in, node->in_count, planner->room.in_info);
    md__trace_infos(&plan->trace, node->out, node->out_count, planner->room.out_info);
    md__node_cost(node, planner->room.in_info, planner->room.out_info, &plan->report);
    plan->report.steps++;
    plan->report.fused_steps += md_op_info(node->op)->body != NULL;
    return MD_OK;
}

static enum md_status add_node(struct planner *planner, int n)
{
    const struct md_node *node = &planner->graph->nodes[n];
    if (md__trace_knows(&planner->plan->trace, node))
        return MD_OK;
    if (is_view(&planner->plan->trace, node)) {
        planner->groups[node->out[0]] = planner->groups[node->in[0]];
        return MD_OK;
    }
    if (makes_nothing(planner, node)) {
        for (int i = 0; i < node->out_count; i++)
            add_group(planner, node->out[i], MD_PLACE_ARENA, 0, NULL, n);
        return MD_OK;
    }
    enum md_status status = add_step(planner, n);
    char text[160];
    return status ? md_error_context(planner->err, "%s", md__node_text(node, text, sizeof text))
                  : MD_OK;
}

/* An output's group moves into the returned tensor when it is ours and not taken; else it is
 * copied. */
static void place_results(struct planner *planner)
{
    struct md_plan *plan = planner->plan;
    for (int i = 0; i < planner->graph->output_count; i++) {
        int value = planner->graph->outputs[i].value;
        struct md_group *group = &plan->groups[planner->groups[value]];
        plan->outputs[i].dtype = plan->trace.values[value].dtype;
        plan->outputs[i].shape = plan->trace.values[value].shape;
        if (group->place == MD_PLACE_ARENA) {
            group->place = MD_PLACE_OUTPUT;
            group->index = i;
        } else if (group->bytes > 0) {
            plan->copies[plan->copy_count++] = (struct md_output_copy){i, planner->groups[value]};
        }
    }
}

static enum md_status allocate_arrays(struct planner *planner)
{
    const struct md_graph *graph = planner->graph;
    struct md_plan *plan = planner->plan;
    struct md_arena *memory = &plan->memory;
    size_t values = (size_t)graph->value_count + 1, tensors = 1;
    for (int n = 0; n < graph->node_count; n++)
        tensors += (size_t)graph->nodes[n].in_count + (size_t)graph->nodes[n].out_count;
    plan->steps = md_arena_array(memory, (size_t)graph->node_count + 1, sizeof *plan->steps);
    plan->tensors = md_arena_array(memory, tensors, sizeof *plan->tensors);
    plan->tensor_groups = md_arena_array(memory, tensors, sizeof *plan->tensor_groups);
    plan->groups = md_arena_array(memory, values, sizeof *plan->groups);
    plan->group_data = md_arena_array(memory, values, sizeof *plan->group_data);
    plan->outputs = md_arena_array(memory, (size_t)graph->output_count + 1, sizeof *plan->outputs);
    plan->copies = md_arena_array(memory, (size_t)graph->output_count + 1, sizeof *plan->copies);
    planner->last = calloc(values, sizeof *planner->last);
    planner->groups = calloc(values, sizeof *planner->groups);
    planner->bytes = calloc(values, sizeof *planner->bytes);
    plan->output_count = graph->output_count;
    if (!plan->steps || !plan->tensors || !plan->tensor_groups || !plan->groups ||
        !plan->group_data || !plan->outputs || !plan->copies || !planner->last ||
        !planner->groups || !planner->bytes)
        return out_of_memory(planner->err);
    return MD_OK;
}

static enum md_status lay_out(struct planner *planner)
{
    struct md_plan *plan = planner->plan;
    const struct md_graph *graph = planner->graph;
    size_t most = planner->context->options->plan_bytes_max;
    for (int v = 0; v < graph->value_count; v++) {
        const struct md_value_info *info = &plan->trace.values[v];
        size_t count = 0;
        /* The trace has checked each; values whose maker was removed have no dtype and count 0. */
        if (info->dtype)
            md_shape_count(&info->shape, md_dtype_bytes(info->dtype), &count, NULL);
        planner->bytes[v] = count * md_dtype_bytes(info->dtype);
    }
    find_last_uses(planner);
    place_given_values(planner);
    enum md_status status = MD_OK;
    for (int n = 0; !status && n < graph->node_count; n++)
        status = add_node(planner, n);
    if (status)
        return status;
    place_results(planner);
    size_t results = plan->trace.known_bytes, guard = planner->context->guards ? GUARD_BYTES : 0;
    for (int i = 0; i < graph->output_count; i++)
        if (__builtin_add_overflow(results, planner->bytes[graph->outputs[i].value], &results))
            results = SIZE_MAX;
    if (__builtin_add_overflow(results, plan->scratch_bytes, &results) || results > most)
        return md_fail(planner->err, MD_ERR_TOO_LARGE,
                       "outputs and scratch memory take more than %zu bytes", most);
    return md__plan_memory(plan->groups, plan->group_count, guard, most - results,
                           &plan->arena_bytes, planner->err);
}

static void fill_report(struct md_plan *plan, const struct md_graph *graph)
{
    plan->report.arena_bytes = plan->arena_bytes;
    plan->report.scratch_bytes = plan->scratch_bytes;
    plan->report.constant_bytes = plan->trace.known_bytes;
    for (int v = 0; v < graph->value_count; v++)
        plan->report.constant_bytes += md_tensor_bytes(&graph->values[v].constant);
}

enum md_status md__plan_new(const struct md_plan_context *context, const struct md_shape *shapes,
                            struct md_plan **plan, struct md_error *err)
{
    const struct md_graph *graph = context->graph;
    size_t inputs = (size_t)graph->input_count;
    struct md_error own = {0};
    struct planner planner = {.context = context, .graph = graph, .err = err ? err : &own};
    *plan = NULL;
    if (!(planner.plan = calloc(1, sizeof *planner.plan)))
        return out_of_memory(err);
    md_arena_init(&planner.plan->memory, PLAN_ARRAYS_MAX);
    int64_t *sizes = calloc((size_t)graph->symbol_count + 1, sizeof *sizes);
    planner.plan->shapes =
        md_arena_array(&planner.plan->memory, inputs + 1, sizeof *planner.plan->shapes);
    enum md_status status = sizes && planner.plan->shapes ? MD_OK : out_of_memory(planner.err);
    if (!status)
        status = md__symbols_bind(graph, shapes, sizes, planner.err);
    if (!status)
        status = md__trace_init(&planner.plan->trace, graph, shapes, context->options->reference,
                                context->options->pool, planner.err);
    if (!status)
        status = md__node_room_init(&planner.room, graph, planner.err);
    if (!status)
        status = allocate_arrays(&planner);
    if (!status)
        status = lay_out(&planner);
    if (!status) {
        memcpy(planner.plan->shapes, shapes, inputs * sizeof *shapes);
        fill_report(planner.plan, graph);
        *plan = planner.plan;
    } else {
        md__plan_delete(planner.plan);
    }
    free(sizes);
    free(planner.last);
    free(planner.groups);
    free(planner.bytes);
    md__node_room_fini(&planner.room);
    return status;
}

void md__plan_delete(struct md_plan *plan)
{
    if (!plan)
        return;
    md__trace_fini(&plan->trace);
    md_arena_fini(&plan->memory);
    free(plan);
}
