/*
 * The executable: passes at birth, then plans found or made for input shapes, and runs.
 *
 * A run allocates the tensors it returns, those in the tail, and nothing else: it binds data
 * pointers into the plan's prebuilt tensors and calls one kernel after another, and goes on with
 * the plan for what it found out where a plan had to end early. The arena is grown when a plan is
 * made, and shared by all plans, so two runs of one executable must not overlap (the caller's
 * rule).
 */
#include "graph/executable.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "graph/control.h"
#include "graph/device_internal.h"
#include "graph/executable_internal.h"
#include "graph/graph_internal.h"
#include "tensor/mapping.h"

#define PLAN_BYTES_DEFAULT ((size_t)4 << 30)
#define PLANS_DEFAULT      16
#define HUGE_PAGE          ((size_t)2 << 20)
#define HUGE_MIN           (4 * HUGE_PAGE) /* an arena from here on would like huge pages */
#define SPLITS_MAX         4096            /* in one run */
#define ITERATIONS_DEFAULT ((int64_t)1 << 24)

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
        if (!md_op_is_control(op) && !executable->options.backend->kernels[op] &&
            !executable->options.reference->kernels[op])
            return md_fail(err, MD_ERR_UNSUPPORTED, "%s: %s has no kernel for this operator",
                           md__node_text(&graph->nodes[n], text, sizeof text),
                           executable->options.backend->name);
    }
    return MD_OK;
}

/* The mapped files that constants lie in, each once. */
static enum md_status find_files(struct md_executable *executable, struct md_error *err)
{
    const struct md_graph *graph = executable->graph;
    executable->files = calloc((size_t)graph->value_count + 1, sizeof(struct md_owner *));
    if (!executable->files)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    for (int v = 0; v < graph->value_count; v++) {
        struct md_owner *owner = graph->values[v].constant.owner;
        int known = 0;
        while (known < executable->file_count && executable->files[known] != owner)
            known++;
        if (known == executable->file_count && md_mapping_is_file(owner))
            executable->files[executable->file_count++] = md_owner_ref(owner);
    }
    return MD_OK;
}

static enum md_status build(struct md_executable *executable, struct md_error *err)
{
    struct md_executable_options *options = &executable->options;
    options->plan_bytes_max =
        options->plan_bytes_max ? options->plan_bytes_max : PLAN_BYTES_DEFAULT;
    options->tail_bytes_max =
        options->tail_bytes_max ? options->tail_bytes_max : options->plan_bytes_max;
    if (options->iterations_max <= 0)
        options->iterations_max = ITERATIONS_DEFAULT;
    options->plans_max = options->plans_max > 0 ? options->plans_max : PLANS_DEFAULT;
    enum md_status status = md__executable_open_packs(executable, err);
    if (!status)
        status = md__passes_run(executable->graph, options, &executable->passes, err);
    const char *passes_off = options->passes_off;
    options->passes_off = NULL; /* the caller's string; not kept */
    if (!status)
        status = md__executable_bound_packs(executable, err);
    if (!status)
        status = check_operators(executable, err);
    if (!status)
        status = md__controls_new(executable, passes_off, err);
    if (status)
        return status;
    const struct md_graph *graph = executable->graph;
    size_t nodes = (size_t)graph->node_count, facts = (size_t)graph->input_count + 1;
    for (int n = 0; n < graph->node_count; n++) {
        size_t most = (size_t)(graph->nodes[n].in_count + graph->nodes[n].out_count);
        facts = most > facts ? most : facts;
    }
    executable->prepared = calloc(nodes + 1, sizeof *executable->prepared);
    executable->facts = calloc(facts, sizeof *executable->facts);
    if (!executable->prepared || !executable->facts)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    const struct md_plan_context context = {.graph = graph, .options = options};
    status = find_files(executable, err);
    if (!status)
        status = md__planner_new(&context, &executable->planner, err);
    return status ? status : md__device_new(executable, passes_off, err);
}

enum md_status md__executable_new_body(struct md_graph *graph,
                                       const struct md_executable_options *options,
                                       struct md_executable **executable, struct md_error *err)
{
    *executable = NULL;
    struct md_executable *made = calloc(1, sizeof *made);
    if (!made)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    made->graph = graph;
    made->options = *options;
    made->options.handovers = NULL;
    made->options.handover_count = 0;
    made->is_body = true;
    enum md_status status = check_graph(graph, options, err);
    if (!status)
        status = build(made, err);
    if (status)
        md_executable_delete(made);
    else
        *executable = made;
    return status;
}

enum md_status md_executable_new(struct md_graph *graph,
                                 const struct md_executable_options *options,
                                 struct md_executable **executable, struct md_error *err)
{
    enum md_status status = md__executable_new_body(graph, options, executable, err);
    if (status) {
        md_graph_delete(graph);
        return status;
    }
    (*executable)->is_body = false;
    status = md__session_check(*executable, options, err);
    if (status) {
        md_executable_delete(*executable);
        *executable = NULL;
    }
    return status;
}

static void delete_prepared(struct md_executable *executable)
{
    for (int n = 0; executable->prepared && n < executable->graph->node_count; n++) {
        struct md_prepared *next;
        for (struct md_prepared *item = executable->prepared[n]; item; item = next) {
            next = item->next;
            if (!item->mapped)
                md_kernel_unprepare(item->kernel, item->data, item->bytes);
            free(item);
        }
    }
    free(executable->prepared);
}

void md_executable_delete(struct md_executable *executable)
{
    if (!executable)
        return;
    md__device_land(executable->device);
    md__plans_delete(executable);
    md__planner_delete(executable->planner);
    md__device_delete(executable->device);
    delete_prepared(executable);
    md__executable_close_packs(executable);
    md__controls_delete(executable);
    md__kept_delete(executable->kept);
    if (!executable->is_body)
        md_graph_delete(executable->graph);
    for (int i = 0; i < executable->file_count; i++)
        md_owner_unref(executable->files[i]);
    free(executable->files);
    free(executable->facts);
    free(executable->handovers);
    free(executable->tails);
    free(executable->memory);
    free(executable);
}

const struct md_graph *md_executable_graph(const struct md_executable *executable)
{
    return executable->graph;
}

/* ---- plans ---- */

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

/*
 * Grows the shared memory to what this plan needs; plans hold offsets, so it may move. What its
 * parent left moves with it.
 */
static enum md_status reserve(struct md_executable *executable, const struct md_plan *plan,
                              struct md_error *err)
{
    size_t bytes = memory_for(plan), kept = plan->parent ? plan->parent->arena_bytes : 0;
    char *before = executable->memory;
    void *memory;
    if (bytes <= executable->memory_bytes)
        return MD_OK;
    if (kept == 0) { /* first, so that the peak is the larger of the two, not their sum */
        free_memory(executable);
        before = NULL;
    }
    if (posix_memalign(&memory, bytes < HUGE_MIN ? MD_PLAN_ALIGN : HUGE_PAGE, bytes))
        return md_fail(err, MD_ERR_MEMORY, "no memory for a plan of %zu bytes", bytes);
    if (bytes >= HUGE_MIN)
        madvise(memory, bytes, MADV_HUGEPAGE);
    if (kept)
        memcpy(memory, before, kept);
    free(before);
    executable->memory = memory;
    executable->memory_bytes = bytes;
    return MD_OK;
}

/* Gives the memory back when no plan that is left needs even half of it: one huge batch must not
 * stay for ever. Between runs only. */
static void release_memory(struct md_executable *executable)
{
    size_t most = 0;
    for (struct md_plan *plan = executable->roots; plan; plan = md__plans_next(plan))
        if (memory_for(plan) > most)
            most = memory_for(plan);
    if (most < executable->memory_bytes / 2)
        free_memory(executable);
}

enum md_status md__executable_find(struct md_executable *executable, struct md_plan *parent,
                                   int fact_count, struct md_plan **plan, struct md_error *err)
{
    *plan = md__plans_find(executable, parent, executable->facts, fact_count);
    if (!*plan) {
        if (parent && parent->depth + 1 >= SPLITS_MAX)
            return md_fail(err, MD_ERR_TOO_LARGE, "shapes depend on data at more than %d places",
                           SPLITS_MAX);
        const struct md_plan_context context = {
            executable->graph,    &executable->options,
            executable->prepared, executable->packs,
            executable->guards,   executable->device_on ? executable->device : NULL};
        enum md_status status = md__plan_new(executable->planner, &context, parent,
                                             executable->facts, fact_count, plan, err);
        if (status)
            return status;
        md__plans_keep(executable, *plan);
        if (!parent)
            release_memory(executable);
    }
    executable->last = *plan;
    (*plan)->last_used = ++executable->uses;
    return reserve(executable, *plan, err);
}

struct md_fact md__input_fact(const struct md_graph *graph, int i, const struct md_shape *shape)
{
    int value = graph->inputs[i].value;
    return (struct md_fact){value, {.dtype = graph->values[value].dtype, .shape = *shape}};
}

enum md_status md_executable_plan(struct md_executable *executable, const struct md_shape *shapes,
                                  int input_count, struct md_error *err)
{
    struct md_plan *plan;
    enum md_status status = MD_OK;
    if (input_count != executable->graph->input_count)
        status = md_fail(err, MD_ERR_INVALID, "%d shapes given, the model has %d inputs",
                         input_count, executable->graph->input_count);
    for (int i = 0; !status && i < input_count; i++)
        executable->facts[i] = md__input_fact(executable->graph, i, &shapes[i]);
    md__device_land(executable->device);
    executable->device_on = md__device_begin(executable);
    return status ? status : md__executable_find(executable, NULL, input_count, &plan, err);
}

/* ---- reports ---- */

enum md_status md_executable_infer(const struct md_executable *executable,
                                   const struct md_tensor *inputs, int input_count,
                                   struct md_tensor *outputs, int output_count,
                                   struct md_error *err)
{
    const struct md_graph *graph = executable->graph;
    struct md_contents contents = {0};
    struct md_trace trace;
    if (input_count != graph->input_count || output_count != graph->output_count)
        return md_fail(err, MD_ERR_INVALID, "the model has %d inputs and %d outputs",
                       graph->input_count, graph->output_count);
    enum md_status status =
        md__trace_init(&trace, graph, executable->options.reference, executable->options.pool, err);
    if (status)
        return status;
    status = md__trace_all(&trace, inputs, &contents, err);
    for (int i = 0; !status && i < output_count; i++) {
        const struct md_value_info *info = &trace.values[graph->outputs[i].value];
        outputs[i] = (struct md_tensor){.dtype = info->dtype, .shape = info->shape};
        if (!info->dtype)
            outputs[i].shape.rank = MD_RANK_UNKNOWN;
    }
    md__trace_fini(&trace);
    md__contents_fini(&contents);
    return status;
}

/* Adds what one plan of the last run cost. */
static void add_report(struct md_plan_report *total, const struct md_plan_report *own)
{
    if (own->arena_bytes > total->arena_bytes)
        total->arena_bytes = own->arena_bytes;
    if (own->scratch_bytes > total->scratch_bytes)
        total->scratch_bytes = own->scratch_bytes;
    total->constant_bytes += own->constant_bytes;
    total->flops += own->flops;
    total->bytes += own->bytes;
    total->transcendentals += own->transcendentals;
    total->steps += own->steps;
    total->fused_steps += own->fused_steps;
    total->device_steps += own->device_steps;
    total->left_steps += own->left_steps;
    total->copies += own->copies;
    if (own->device_bytes > total->device_bytes)
        total->device_bytes = own->device_bytes;
    if (own->pinned_bytes > total->pinned_bytes)
        total->pinned_bytes = own->pinned_bytes;
}

enum md_status md_executable_report(struct md_executable *executable, struct md_plan_report *report,
                                    struct md_error *err)
{
    const struct md_graph *graph = executable->graph;
    if (!executable->last)
        return md_fail(err, MD_ERR_NOT_FOUND, "nothing has been planned yet");
    *report = (struct md_plan_report){.splits = -1};
    for (const struct md_plan *plan = executable->last; plan; plan = plan->parent) {
        add_report(report, &plan->report);
        report->splits++;
    }
    for (int v = 0; v < graph->value_count; v++)
        report->constant_bytes += md_tensor_bytes(&graph->values[v].constant);
    for (int n = 0; n < graph->node_count; n++)
        for (const struct md_prepared *item = executable->prepared[n]; item; item = item->next) {
            report->prepared_bytes += item->bytes;
            report->kept_bytes += item->kept ? item->bytes : 0;
        }
    report->precision = md__device_precision(executable->device);
    report->networks_composed = executable->passes.networks_composed;
    report->regions_lowered = executable->passes.regions_lowered;
    report->regions_kept = executable->passes.regions_kept;
    report->regions_disagreed = executable->passes.regions_disagreed;
    return MD_OK;
}

void md_executable_kept(const struct md_executable *executable, struct md_kept_report *report)
{
    *report = (struct md_kept_report){.bytes_max = executable->options.kept_bytes_max};
    if (executable->kept)
        md__kept_report(executable->kept, report);
}

size_t md_executable_window_bytes(const struct md_executable *executable)
{
    size_t bytes = 0;
    for (const struct md_plan *plan = executable->last; plan; plan = plan->parent)
        for (int s = 0; s < plan->step_count; s++)
            bytes += md__step_kept_bytes(plan, &plan->steps[s]);
    return bytes;
}

void md_executable_set_clock(struct md_executable *executable, struct md_clock *clock)
{
    executable->clock = clock;
}

void md_executable_set_profiling(struct md_executable *executable, bool on)
{
    executable->profiling = on;
    for (struct md_plan *plan = on ? executable->roots : NULL; plan; plan = md__plans_next(plan))
        for (int s = 0; s < plan->step_count; s++)
            plan->steps[s].total_ns = plan->steps[s].helped_ns = plan->steps[s].runs = 0;
}

int md_executable_profile(const struct md_executable *executable, struct md_step_time *rows,
                          int max)
{
    int count = 0;
    for (const struct md_plan *plan = executable->last; plan; plan = plan->parent)
        count += plan->step_count;
    int end = count; /* the last plan's steps are the last rows */
    for (const struct md_plan *plan = executable->last; plan; plan = plan->parent) {
        end -= plan->step_count;
        for (int s = 0; s < plan->step_count && end + s < max; s++)
            rows[end + s] = (struct md_step_time){
                plan->steps[s].node,     plan->steps[s].side,       plan->steps[s].kernel,
                plan->steps[s].total_ns, plan->steps[s].fastest_ns, plan->steps[s].helped_ns,
                plan->steps[s].runs,     plan->steps[s].cost};
    }
    return count;
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
