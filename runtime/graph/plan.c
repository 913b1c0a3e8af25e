/*
 * Planning: trace nodes as far as shapes are known, then place what they make (plan_place.c).
 * Nothing here runs a scheduled kernel, and memory in the size of tensors is only computed, never
 * taken, so that shapes of any size end in MD_ERR_TOO_LARGE.
 *
 * The planner's arrays have one place per value of the graph but are touched only where the nodes
 * of the plan reach, and put to rest again after it: a graph that splits into many plans costs no
 * more to plan than one that does not.
 */
#include "graph/plan.h"

#include <stdlib.h>
#include <string.h>

#include "graph/device_internal.h"

#define PLAN_ARRAYS_MAX ((size_t)1 << 30)

static enum md_status out_of_memory(struct md_error *err)
{
    return md_fail(err, MD_ERR_MEMORY, "out of memory while planning");
}

static void read_graph(struct md_planner *planner)
{
    const struct md_graph *graph = planner->graph;
    for (int v = 0; v < graph->value_count; v++)
        planner->last_read[v] = planner->groups[v] = planner->device_groups[v] =
            planner->slices[v].root = MD_NONE;
    for (int n = 0; n < graph->node_count; n++)
        for (int i = 0; i < graph->nodes[n].in_count; i++)
            if (graph->nodes[n].in[i] != MD_NONE)
                planner->last_read[graph->nodes[n].in[i]] = n;
    for (int i = 0; i < graph->output_count; i++)
        planner->is_output[graph->outputs[i].value] = true;
}

enum md_status md__planner_new(const struct md_plan_context *context, struct md_planner **made,
                               struct md_error *err)
{
    size_t values = (size_t)context->graph->value_count + 1;
    struct md_planner *planner = calloc(1, sizeof *planner);
    *made = NULL;
    if (!planner)
        return out_of_memory(err);
    planner->graph = context->graph;
    planner->last_read = calloc(values, sizeof *planner->last_read);
    planner->is_output = calloc(values, sizeof *planner->is_output);
    planner->last = calloc(values, sizeof *planner->last);
    planner->groups = calloc(values, sizeof *planner->groups);
    planner->device_groups = calloc(values, sizeof *planner->device_groups);
    planner->slices = calloc(values, sizeof *planner->slices);
    enum md_status status =
        planner->last_read && planner->is_output && planner->last && planner->groups &&
                planner->device_groups && planner->slices
            ? md__trace_init(&planner->trace, context->graph, context->options->reference,
                             context->options->pool, err)
            : out_of_memory(err);
    if (status) {
        md__planner_delete(planner);
        return status;
    }
    read_graph(planner);
    *made = planner;
    return MD_OK;
}

void md__planner_delete(struct md_planner *planner)
{
    if (!planner)
        return;
    md__trace_fini(&planner->trace);
    free(planner->last_read);
    free(planner->is_output);
    free(planner->last);
    free(planner->groups);
    free(planner->device_groups);
    free(planner->slices);
    free(planner);
}

/* ---- what is known before ---- */

/* Symbols that disagree are found here; sizes that fit no memory too. */
static enum md_status check_inputs(struct md_planner *planner)
{
    const struct md_graph *graph = planner->graph;
    const struct md_fact *facts = planner->plan->facts;
    int64_t *sizes = calloc((size_t)graph->symbol_count + 1, sizeof *sizes);
    struct md_shape *shapes = calloc((size_t)graph->input_count + 1, sizeof *shapes);
    enum md_status status = sizes && shapes ? MD_OK : out_of_memory(planner->err);
    for (int i = 0; !status && i < graph->input_count; i++)
        shapes[i] = facts[i].tensor.shape;
    if (!status)
        status = md__symbols_bind(graph, shapes, sizes, planner->err);
    for (int i = 0; !status && i < graph->input_count; i++) {
        size_t bytes;
        status = md__shape_bytes(&shapes[i], facts[i].tensor.dtype, &bytes, planner->err);
        if (status)
            md_error_context(planner->err, "input \"%.60s\"", graph->inputs[i].name);
    }
    free(shapes);
    free(sizes);
    return status;
}

static enum md_status copy_facts(struct md_planner *planner, const struct md_fact *facts, int count)
{
    struct md_plan *plan = planner->plan;
    plan->facts = md_arena_array(&plan->memory, (size_t)count + 1, sizeof *facts);
    if (!plan->facts)
        return out_of_memory(planner->err);
    for (int i = 0; i < count; i++) {
        struct md_fact *kept = &plan->facts[i];
        *kept = facts[i];
        kept->tensor.owner = NULL;
        kept->tensor.data = NULL;
        plan->fact_count++;
        if (!facts[i].tensor.data)
            continue;
        size_t bytes = md_tensor_bytes(&facts[i].tensor);
        if (!(kept->tensor.data = md_arena_alloc(&plan->memory, bytes + 1)))
            return out_of_memory(planner->err);
        memcpy(kept->tensor.data, facts[i].tensor.data, bytes);
    }
    return MD_OK;
}

static void learn(struct md_planner *planner)
{
    const struct md_plan *plan = planner->plan, *parent = plan->parent;
    for (int i = 0; parent && i < parent->live_count; i++)
        planner->trace.values[parent->lives[i].value] = parent->lives[i].info;
    for (int i = 0; i < plan->fact_count; i++) {
        const struct md_tensor *tensor = &plan->facts[i].tensor;
        planner->trace.values[plan->facts[i].value] = (struct md_value_info){
            .dtype = tensor->dtype, .shape = tensor->shape, .known = tensor->data};
    }
}

static void forget(struct md_planner *planner, int value)
{
    if (value == MD_NONE)
        return;
    planner->groups[value] = planner->device_groups[value] = planner->slices[value].root = MD_NONE;
    md__trace_forget(&planner->trace, value);
}

/* Puts the planner to rest: `end` is behind the last node looked at. */
static void rest(struct md_planner *planner, int end)
{
    const struct md_plan *plan = planner->plan, *parent = plan->parent;
    for (int i = 0; parent && i < parent->live_count; i++)
        forget(planner, parent->lives[i].value);
    for (int i = 0; i < plan->fact_count; i++)
        forget(planner, plan->facts[i].value);
    for (int i = 0; i < planner->graph->output_count; i++)
        forget(planner, planner->graph->outputs[i].value);
    for (int n = plan->node_begin; n < end; n++) {
        const struct md_node *node = &planner->graph->nodes[n];
        for (int i = 0; i < node->in_count; i++)
            forget(planner, node->in[i]);
        for (int i = 0; i < node->out_count; i++)
            forget(planner, node->out[i]);
    }
}

/* ---- how far it goes ---- */

bool md__plan_node_is_open(const struct md_planner *planner, const struct md_node *node)
{
    for (int i = 0; i < node->out_count; i++)
        if (!md__trace_sure(&planner->trace, node->out[i]))
            return true;
    return false;
}

/* The node at which the plan ends asks for contents: they are what the child is to be told. */
static enum md_status note_asked(struct md_planner *planner, const struct md_node *node)
{
    struct md_plan *plan = planner->plan;
    const bool *asked = planner->trace.room.asked;
    plan->stop = MD_STOP_CONTENTS;
    plan->wants = md_arena_array(&plan->memory, (size_t)node->in_count + 1, sizeof *plan->wants);
    if (!plan->wants)
        return out_of_memory(planner->err);
    for (int i = 0; i < node->in_count; i++) {
        bool noted = !asked[i] || planner->trace.values[node->in[i]].known;
        for (int k = 0; k < plan->want_count; k++)
            noted |= plan->wants[k].value == node->in[i];
        if (!noted)
            plan->wants[plan->want_count++] = (struct md_want){.value = node->in[i]};
    }
    return plan->want_count ? MD_OK
                            : md_fail(planner->err, MD_ERR_INTERNAL,
                                      "%s asks for contents but not for any that are unknown",
                                      md_op_info(node->op)->name);
}

static enum md_status trace_nodes(struct md_planner *planner)
{
    const struct md_graph *graph = planner->graph;
    struct md_plan *plan = planner->plan;
    plan->stop = MD_STOP_END;
    for (plan->node_end = plan->node_begin;
         plan->node_end < graph->node_count && plan->stop == MD_STOP_END;) {
        const struct md_node *node = &graph->nodes[plan->node_end];
        enum md_status status =
            md__trace_node(&planner->trace, node, &plan->contents, planner->err);
        if (status == MD_ERR_PENDING && !md_op_is_control(node->op))
            return note_asked(planner, node);
        if (status && status != MD_ERR_PENDING)
            return status;
        plan->node_end++;
        if (md__plan_node_is_open(planner, node))
            plan->stop = MD_STOP_OUTPUT;
    }
    return MD_OK;
}

/* ---- arrays, and what goes on after it ---- */

static enum md_status allocate_arrays(struct md_planner *planner)
{
    struct md_plan *plan = planner->plan;
    struct md_arena *memory = &plan->memory;
    const struct md_plan *parent = plan->parent;
    size_t nodes = (size_t)(plan->node_end - plan->node_begin) + 1, tensors = 1;
    size_t before = (size_t)plan->fact_count + (parent ? (size_t)parent->live_count : 0);
    size_t outputs = (size_t)planner->graph->output_count + 1;
    for (int n = plan->node_begin; n < plan->node_end; n++)
        tensors +=
            (size_t)planner->graph->nodes[n].in_count + (size_t)planner->graph->nodes[n].out_count;
    size_t groups = before + tensors + outputs; /* at most one for each mention of a value */
    size_t copies = planner->context->device ? groups : 0;
    if (planner->context->device) {
        enum md_status status = md__device_plan_init(planner, tensors, groups);
        if (status)
            return status;
    }
    plan->steps = md_arena_array(memory, nodes + copies, sizeof *plan->steps);
    plan->tensors = md_arena_array(memory, tensors, sizeof *plan->tensors);
    plan->tensor_groups = md_arena_array(memory, tensors, sizeof *plan->tensor_groups);
    plan->tensor_offsets = md_arena_array(memory, tensors, sizeof *plan->tensor_offsets);
    plan->tensor_pitches = md_arena_array(memory, tensors, sizeof *plan->tensor_pitches);
    plan->groups = md_arena_array(memory, groups, sizeof *plan->groups);
    plan->group_data = md_arena_array(memory, groups, sizeof *plan->group_data);
    plan->results = md_arena_array(memory, outputs, sizeof *plan->results);
    return plan->steps && plan->tensors && plan->tensor_groups && plan->tensor_offsets &&
                   plan->tensor_pitches && plan->groups && plan->group_data && plan->results
               ? MD_OK
               : out_of_memory(planner->err);
}

static bool outlives(const struct md_planner *planner, int value)
{
    return planner->last_read[value] >= planner->plan->node_end &&
           !planner->graph->values[value].constant.data && md__trace_sure(&planner->trace, value);
}

/* kept[g]: where group g is among the kept ones, or MD_NONE. */
static void add_live(struct md_planner *planner, int value, int *kept)
{
    struct md_plan *plan = planner->plan;
    if (!outlives(planner, value))
        return;
    int group = md__plan_group(planner, value);
    if (kept[group] == MD_NONE) {
        kept[group] = plan->kept_count++;
        plan->kept[kept[group]] = plan->groups[group];
    }
    plan->lives[plan->live_count++] =
        (struct md_live){value, kept[group], planner->trace.values[value]};
}

/* Tail tensors that nobody reads after this plan. */
static void note_done_tails(struct md_plan *plan, const int *kept)
{
    for (int g = 0; g < plan->group_count; g++)
        if (plan->groups[g].place == MD_PLACE_TAIL && kept[g] == MD_NONE)
            plan->done_tails[plan->done_tail_count++] = plan->groups[g].index;
}

static enum md_status hand_on(struct md_planner *planner)
{
    struct md_plan *plan = planner->plan;
    const struct md_plan *parent = plan->parent;
    size_t most = (size_t)plan->fact_count + (parent ? (size_t)parent->live_count : 0) + 1;
    if (plan->stop == MD_STOP_END)
        return MD_OK;
    for (int n = plan->node_begin; n < plan->node_end; n++)
        most += (size_t)planner->graph->nodes[n].out_count;
    /* Lives without a group (known contents) get one now: never more than there are lives. */
    int *kept = calloc((size_t)plan->group_count + most, sizeof *kept);
    plan->lives = md_arena_array(&plan->memory, most, sizeof *plan->lives);
    plan->kept = md_arena_array(&plan->memory, most, sizeof *plan->kept);
    plan->done_tails =
        md_arena_array(&plan->memory, (size_t)plan->group_count + 1, sizeof *plan->done_tails);
    if (!kept || !plan->lives || !plan->kept || !plan->done_tails) {
        free(kept);
        return out_of_memory(planner->err);
    }
    for (size_t g = 0; g < (size_t)plan->group_count + most; g++)
        kept[g] = MD_NONE;
    for (int i = 0; parent && i < parent->live_count; i++)
        add_live(planner, parent->lives[i].value, kept);
    /* Facts about contents are about values that were alive already. */
    for (int i = 0; i < plan->fact_count && (!parent || parent->stop == MD_STOP_OUTPUT); i++)
        add_live(planner, plan->facts[i].value, kept);
    for (int n = plan->node_begin; n < plan->node_end; n++)
        for (int i = 0; i < planner->graph->nodes[n].out_count; i++)
            add_live(planner, planner->graph->nodes[n].out[i], kept);
    note_done_tails(plan, kept);
    free(kept);
    return MD_OK;
}

static enum md_status make(struct md_planner *planner, const struct md_fact *facts, int fact_count)
{
    struct md_plan *plan = planner->plan;
    enum md_status status = copy_facts(planner, facts, fact_count);
    if (!status && !plan->parent)
        status = check_inputs(planner);
    if (status)
        return status;
    learn(planner);
    status = trace_nodes(planner);
    if (!status)
        status = allocate_arrays(planner);
    if (!status)
        status = md__plan_place(planner);
    if (!status)
        status = hand_on(planner);
    plan->report.arena_bytes = plan->arena_bytes;
    plan->report.scratch_bytes = plan->scratch_bytes;
    plan->report.constant_bytes = plan->contents.bytes;
    return status;
}

enum md_status md__plan_new(struct md_planner *planner, const struct md_plan_context *context,
                            struct md_plan *parent, const struct md_fact *facts, int fact_count,
                            struct md_plan **plan, struct md_error *err)
{
    struct md_error own = {0};
    struct md_plan *made = calloc(1, sizeof *made);
    *plan = NULL;
    if (!made)
        return out_of_memory(err);
    md_arena_init(&made->memory, PLAN_ARRAYS_MAX);
    made->parent = parent;
    made->depth = parent ? parent->depth + 1 : 0;
    made->node_begin = made->node_end = parent ? parent->node_end : 0;
    made->tail_count = parent ? parent->tail_count : 0;
    planner->context = context;
    planner->plan = made;
    planner->err = err ? err : &own;
    enum md_status status = make(planner, facts, fact_count);
    int looked_at = made->node_end + (made->node_end < planner->graph->node_count);
    rest(planner, looked_at);
    planner->plan = NULL;
    if (status)
        md__plan_delete(made);
    else
        *plan = made;
    return status;
}

void md__plan_delete(struct md_plan *plan)
{
    if (!plan)
        return;
    md__device_plan_fini(plan->device);
    md__contents_fini(&plan->contents);
    md_arena_fini(&plan->memory);
    free(plan);
}

size_t md__plan_bytes(const struct md_plan *plan)
{
    return sizeof *plan + plan->memory.used + plan->contents.bytes;
}
