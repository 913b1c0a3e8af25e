/*
 * The executable: passes at birth, then plans found or made for input shapes, and runs.
 *
 * A run allocates the tensors it returns and nothing else: it binds data pointers into the plan's
 * prebuilt tensors and calls one kernel after another. The arena is grown when a plan is made, and
 * shared by all plans, so two runs of one executable must not overlap (the caller's rule).
 */
#include "graph/executable.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "graph/executable_internal.h"
#include "graph/graph_internal.h"

#define PLAN_BYTES_DEFAULT ((size_t)4 << 30)
#define PLANS_DEFAULT      16

static enum md_status check_graph(const struct md_graph *graph,
                                  const struct md_executable_options *options, struct md_error *err)
{
    if (!options->backend || !options->reference || !options->pool)
        return md_fail(err, MD_ERR_INVALID, "an executable needs backend, reference and pool");
    if (graph->output_count == 0)
        return md_fail(err, MD_ERR_INVALID, "graph \"%.80s\" has no outputs", graph->name);
    return MD_OK;
}

/* Operators that no backend has at all are named at load, whatever the shapes will be. */
static enum md_status check_operators(const struct md_executable *executable, struct md_error *err)
{
    const struct md_graph *graph = executable->graph;
    for (int n = 0; n < graph->node_count; n++) {
        enum md_op op = graph->nodes[n].op;
        char text[160];
        if (!executable->options.backend->kernels[op] &&
            !executable->options.reference->kernels[op])
            return md_fail(err, MD_ERR_UNSUPPORTED, "%s: %s has no kernel for this operator",
                           md__node_text(&graph->nodes[n], text, sizeof text),
                           executable->options.backend->name);
    }
    return MD_OK;
}

static enum md_status build(struct md_executable *executable, struct md_error *err)
{
    struct md_executable_options *options = &executable->options;
    options->plan_bytes_max =
        options->plan_bytes_max ? options->plan_bytes_max : PLAN_BYTES_DEFAULT;
    options->plans_max = options->plans_max > 0 ? options->plans_max : PLANS_DEFAULT;
    enum md_status status = md__passes_run(executable->graph, options, &executable->passes, err);
    options->passes_off = NULL; /* the caller's string; not kept */
    if (!status)
        status = check_operators(executable, err);
    if (status)
        return status;
    size_t nodes = (size_t)executable->graph->node_count;
    executable->prepared = calloc(nodes + 1, sizeof *executable->prepared);
    executable->plans = calloc((size_t)options->plans_max, sizeof(struct md_plan *));
    executable->shapes =
        calloc((size_t)executable->graph->input_count + 1, sizeof *executable->shapes);
    if (!executable->prepared || !executable->plans || !executable->shapes)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    return MD_OK;
}

enum md_status md_executable_new(struct md_graph *graph,
                                 const struct md_executable_options *options,
                                 struct md_executable **executable, struct md_error *err)
{
    *executable = NULL;
    struct md_executable *made = calloc(1, sizeof *made);
    if (!made) {
        md_graph_delete(graph);
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    }
    made->graph = graph;
    made->options = *options;
    enum md_status status = check_graph(graph, options, err);
    if (!status)
        status = build(made, err);
    if (status)
        md_executable_delete(made);
    else
        *executable = made;
    return status;
}

static void delete_prepared(struct md_executable *executable)
{
    for (int n = 0; executable->prepared && n < executable->graph->node_count; n++) {
        struct md_prepared *next;
        for (struct md_prepared *item = executable->prepared[n]; item; item = next) {
            next = item->next;
            if (item->data && item->kernel->prepared_free)
                item->kernel->prepared_free(item->data);
            free(item);
        }
    }
    free(executable->prepared);
}

void md_executable_delete(struct md_executable *executable)
{
    if (!executable)
        return;
    for (int i = 0; i < executable->plan_count; i++)
        md__plan_delete(executable->plans[i]);
    delete_prepared(executable);
    md_graph_delete(executable->graph);
    free(executable->plans);
    free(executable->shapes);
    free(executable->memory);
    free(executable);
}

const struct md_graph *md_executable_graph(const struct md_executable *executable)
{
    return executable->graph;
}

/* ---- plans ---- */

static bool plan_fits(const struct md_plan *plan, const struct md_shape *shapes, int count)
{
    for (int i = 0; i < count; i++)
        if (!md_shape_equal(&plan->shapes[i], &shapes[i]))
            return false;
    return true;
}

static size_t memory_for(const struct md_plan *plan)
{
    return plan->arena_bytes + plan->scratch_bytes + MD_PLAN_ALIGN;
}

static void free_memory(struct md_executable *executable)
{
    free(executable->memory);
    executable->memory = NULL;
    executable->memory_bytes = 0;
}

/* Grows the shared memory to what this plan needs; plans hold offsets, so it may move. */
static enum md_status reserve(struct md_executable *executable, const struct md_plan *plan,
                              struct md_error *err)
{
    size_t bytes = memory_for(plan);
    if (bytes <= executable->memory_bytes)
        return MD_OK;
    void *memory;
    free_memory(executable); /* first, so that the peak is the larger of the two, not their sum */
    if (posix_memalign(&memory, MD_PLAN_ALIGN, bytes))
        return md_fail(err, MD_ERR_MEMORY, "no memory for a plan of %zu bytes", bytes);
    executable->memory = memory;
    executable->memory_bytes = bytes;
    return MD_OK;
}

/* Gives the memory back when no plan that is left needs even half of it: one huge batch must not
 * stay for ever. */
static void release_memory(struct md_executable *executable)
{
    size_t most = 0;
    for (int i = 0; i < executable->plan_count; i++)
        if (memory_for(executable->plans[i]) > most)
            most = memory_for(executable->plans[i]);
    if (most < executable->memory_bytes / 2)
        free_memory(executable);
}

/* Puts a new plan into the list, in the place of the least recently used one when the list is full.
 */
static void keep_plan(struct md_executable *executable, struct md_plan *plan)
{
    int at = executable->plan_count;
    if (at == executable->options.plans_max) {
        at = 0;
        for (int i = 1; i < executable->plan_count; i++)
            if (executable->plans[i]->last_used < executable->plans[at]->last_used)
                at = i;
        md__plan_delete(executable->plans[at]);
    } else {
        executable->plan_count++;
    }
    executable->plans[at] = plan;
    release_memory(executable);
}

static enum md_status find_plan(struct md_executable *executable, const struct md_shape *shapes,
                                struct md_plan **plan, struct md_error *err)
{
    enum md_status status = MD_OK;
    *plan = NULL;
    for (int i = 0; i < executable->plan_count && !*plan; i++)
        if (plan_fits(executable->plans[i], shapes, executable->graph->input_count))
            *plan = executable->plans[i];
    if (!*plan) {
        const struct md_plan_context context = {executable->graph, &executable->options,
                                                executable->prepared, executable->guards};
        status = md__plan_new(&context, shapes, plan, err);
        if (status)
            return status;
        executable->last = NULL; /* it may be the one that goes */
        keep_plan(executable, *plan);
    }
    executable->last = *plan;
    (*plan)->last_used = ++executable->uses;
    return reserve(executable, *plan, err);
}

static enum md_status check_input_count(const struct md_executable *executable, int count,
                                        struct md_error *err)
{
    if (count == executable->graph->input_count)
        return MD_OK;
    return md_fail(err, MD_ERR_INVALID, "%d inputs given, the model has %d", count,
                   executable->graph->input_count);
}

enum md_status md_executable_plan(struct md_executable *executable, const struct md_shape *shapes,
                                  int input_count, struct md_error *err)
{
    struct md_plan *plan;
    enum md_status status = check_input_count(executable, input_count, err);
    return status ? status : find_plan(executable, shapes, &plan, err);
}

/* ---- runs ---- */

static enum md_status check_inputs(const struct md_executable *executable,
                                   const struct md_tensor *inputs, struct md_error *err)
{
    const struct md_graph *graph = executable->graph;
    for (int i = 0; i < graph->input_count; i++) {
        const struct md_value *declared = &graph->values[graph->inputs[i].value];
        if (inputs[i].dtype != declared->dtype)
            return md_fail(err, MD_ERR_INVALID, "input \"%.60s\" is %s, wanted %s",
                           graph->inputs[i].name, md_dtype_name(inputs[i].dtype),
                           md_dtype_name(declared->dtype));
        size_t count = 0;
        if (!inputs[i].data && (md_shape_count(&inputs[i].shape, 1, &count, NULL) || count > 0))
            return md_fail(err, MD_ERR_INVALID, "input \"%.60s\" has no data",
                           graph->inputs[i].name);
        executable->shapes[i] = inputs[i].shape;
    }
    return MD_OK;
}

enum md_status md_executable_run(struct md_executable *executable, const struct md_tensor *inputs,
                                 int input_count, struct md_tensor *outputs, int output_count,
                                 struct md_error *err)
{
    struct md_plan *plan = NULL;
    struct md_error own = {0};
    struct md_error *cause = err ? err : &own;
    memset(outputs, 0, (size_t)output_count * sizeof *outputs);
    enum md_status status = check_input_count(executable, input_count, cause);
    if (!status && output_count != executable->graph->output_count)
        status = md_fail(cause, MD_ERR_INVALID, "%d outputs asked for, the model has %d",
                         output_count, executable->graph->output_count);
    if (!status)
        status = check_inputs(executable, inputs, cause);
    if (!status)
        status = find_plan(executable, executable->shapes, &plan, cause);
    for (int i = 0; !status && i < output_count; i++)
        status = md_tensor_new(plan->outputs[i].dtype, &plan->outputs[i].shape, &outputs[i], cause);
    if (!status) {
        md__plan_bind(plan, executable->memory, inputs, outputs);
        status = md__executable_run_steps(executable, plan, cause);
    }
    for (int i = 0; !status && i < plan->copy_count; i++) {
        const struct md_output_copy *copy = &plan->copies[i];
        memcpy(outputs[copy->output].data, plan->group_data[copy->group],
               plan->groups[copy->group].bytes);
    }
    for (int i = 0; status && i < output_count; i++)
        md_tensor_unref(&outputs[i]);
    return status;
}

/* ---- reports ---- */

enum md_status md_executable_report(struct md_executable *executable, struct md_plan_report *report,
                                    struct md_error *err)
{
    if (!executable->last)
        return md_fail(err, MD_ERR_NOT_FOUND, "nothing has been planned yet");
    *report = executable->last->report;
    for (int n = 0; n < executable->graph->node_count; n++)
        for (const struct md_prepared *item = executable->prepared[n]; item; item = item->next)
            report->prepared_bytes += item->bytes;
    report->regions_lowered = executable->passes.regions_lowered;
    report->regions_kept = executable->passes.regions_kept;
    report->regions_disagreed = executable->passes.regions_disagreed;
    return MD_OK;
}

void md_executable_set_clock(struct md_executable *executable, struct md_clock *clock)
{
    executable->clock = clock;
}

void md_executable_set_profiling(struct md_executable *executable, bool on)
{
    executable->profiling = on;
    for (int i = 0; on && i < executable->plan_count; i++)
        for (int s = 0; s < executable->plans[i]->step_count; s++)
            executable->plans[i]->steps[s].total_ns = executable->plans[i]->steps[s].runs = 0;
}

int md_executable_profile(const struct md_executable *executable, struct md_step_time *rows,
                          int max)
{
    const struct md_plan *plan = executable->last;
    for (int s = 0; plan && s < plan->step_count && s < max; s++)
        rows[s] = (struct md_step_time){plan->steps[s].node->op, plan->steps[s].node->name,
                                        plan->steps[s].total_ns, plan->steps[s].runs};
    return plan ? plan->step_count : 0;
}

void md__executable_set_guards(struct md_executable *executable, bool on)
{
    executable->guards = on;
}

const struct md_plan *md__executable_last_plan(const struct md_executable *executable)
{
    return executable->last;
}

size_t md__executable_memory(const struct md_executable *executable)
{
    return executable->memory_bytes;
}

int md__executable_plan_count(const struct md_executable *executable)
{
    return executable->plan_count;
}
