/*
 * Runs of an executable: the plan for the inputs, then, where a plan had to end early, the plan for
 * what it found out, and so on to the end of the graph.
 *
 * Between two plans live the values that lie in the arena where the first left them, and the tail:
 * tensors made by kernels and control operators, counted against tail_bytes_max and dropped after
 * their last reader's plan.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "graph/device_internal.h"
#include "graph/graph_internal.h"
#include "graph/session_internal.h"
#include "tensor/mapping.h"

enum md_status md__executable_check(const struct md_executable *executable,
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
        if (!inputs[i].data && !md__session_lends(executable->session, i) &&
            (md_shape_count(&inputs[i].shape, 1, &count, NULL) || count > 0))
            return md_fail(err, MD_ERR_INVALID, "input \"%.60s\" has no data",
                           graph->inputs[i].name);
        executable->facts[i] = md__input_fact(graph, i, &inputs[i].shape);
    }
    return MD_OK;
}

enum md_status md__run_check(const struct md__run *run, struct md_error *err)
{
    const struct md_run_limits *limits = run->limits;
    if (limits && limits->cancelled && *limits->cancelled)
        return md_fail(err, MD_ERR_CANCELLED, "the run was cancelled");
    if (limits && limits->deadline_ns && run->clock &&
        md_monotonic_ns(run->clock) > limits->deadline_ns)
        return md_fail(err, MD_ERR_TIMEOUT, "the run went past its deadline");
    return MD_OK;
}

/* Makes the outputs that this plan writes, but those that stay on the device. */
static enum md_status make_outputs(const struct md_executable *executable,
                                   const struct md_plan *plan, struct md_tensor *outputs,
                                   struct md_error *err)
{
    enum md_status status = MD_OK;
    for (int i = 0; !status && i < plan->result_count; i++) {
        const struct md_result *result = &plan->results[i];
        bool shared =
            result->copied != MD_NONE && plan->groups[result->copied].place == MD_PLACE_TAIL;
        if (md__session_takes(executable->session, result->output))
            outputs[result->output] = result->tensor;
        else if (!shared)
            status = md_tensor_new(result->tensor.dtype, &result->tensor.shape,
                                   &outputs[result->output], err);
    }
    return status;
}

/* Outputs that no step writes in place: tensors of the tail are ours to give, others are copied. */
static void copy_outputs(const struct md_executable *executable, const struct md_plan *plan,
                         struct md_tensor *outputs)
{
    for (int i = 0; i < plan->result_count; i++) {
        const struct md_result *result = &plan->results[i];
        struct md_tensor *output = &outputs[result->output];
        if (result->copied == MD_NONE || md__session_takes(executable->session, result->output))
            continue;
        const struct md_group *group = &plan->groups[result->copied];
        if (group->place == MD_PLACE_TAIL) {
            *output = md_tensor_ref(&executable->tails[group->index]);
            output->shape = result->tensor.shape;
        } else if (group->bytes) {
            memcpy(output->data, plan->group_data[result->copied], group->bytes);
        }
    }
}

static void drop_tail(struct md_executable *executable, int at, struct md__run *run)
{
    run->tail.bytes -= md_tensor_bytes(&executable->tails[at]);
    md_tensor_unref(&executable->tails[at]);
}

static enum md_status reserve_tails(struct md_executable *executable, const struct md_plan *plan,
                                    struct md_error *err)
{
    if (plan->tail_count <= executable->tail_capacity)
        return MD_OK;
    int capacity = plan->tail_count * 2;
    struct md_tensor *larger =
        realloc(executable->tails, (size_t)capacity * sizeof *executable->tails);
    if (!larger)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    memset(larger + executable->tail_capacity, 0,
           (size_t)(capacity - executable->tail_capacity) * sizeof *larger);
    executable->tails = larger;
    executable->tail_capacity = capacity;
    return MD_OK;
}

/* Takes what the last step made into the tail. */
static enum md_status take_tails(struct md_executable *executable, struct md_plan *plan,
                                 enum md_status status, struct md_error *err)
{
    int first = plan->tail_count - plan->want_count;
    for (int i = 0; i < plan->want_count; i++) {
        struct md_tensor *made = &plan->tensors[plan->wants[i].at];
        if (!status && !made->data)
            status = md_fail(err, MD_ERR_INTERNAL, "%s did not make one of its outputs",
                             md_op_info(plan->steps[plan->step_count - 1].node->op)->name);
        executable->tails[first + i] = made->data ? *made : (struct md_tensor){0};
        *made = (struct md_tensor){.dtype = plan->wants[i].dtype};
    }
    return status;
}

/* One plan of a run. */
static enum md_status run_plan(struct md_executable *executable, struct md_plan *plan,
                               const struct md_tensor *inputs, struct md_tensor *outputs,
                               struct md__run *run, struct md_error *err)
{
    enum md_status status =
        executable->session ? md__session_settle(executable->session, plan, err) : MD_OK;
    if (!status)
        status = make_outputs(executable, plan, outputs, err);
    if (!status)
        status = reserve_tails(executable, plan, err);
    if (status)
        return status;
    md__plan_bind(plan, executable->memory, inputs, outputs, executable->tails);
    status = md__executable_run_steps(executable, plan, run, err);
    if (plan->stop == MD_STOP_OUTPUT)
        status = take_tails(executable, plan, status, err);
    if (status)
        return status;
    copy_outputs(executable, plan, outputs);
    for (int i = 0; i < plan->done_tail_count; i++)
        drop_tail(executable, plan->done_tails[i], run);
    return MD_OK;
}

/* What the run has found out, as facts for the next plan; returns how many. */
static int find_facts(struct md_executable *executable, const struct md_plan *plan)
{
    int first = plan->tail_count - plan->want_count;
    for (int i = 0; i < plan->want_count; i++) {
        const struct md_want *want = &plan->wants[i];
        struct md_fact *fact = &executable->facts[i];
        fact->value = want->value;
        if (plan->stop == MD_STOP_OUTPUT) {
            fact->tensor = executable->tails[first + i];
            fact->tensor.owner = NULL;
            fact->tensor.data = NULL;
            continue;
        }
        int live = 0; /* it is read by the next node, so it is among them */
        while (plan->lives[live].value != want->value)
            live++;
        fact->tensor = (struct md_tensor){.dtype = plan->lives[live].info.dtype,
                                          .shape = plan->lives[live].info.shape,
                                          .data = (void *)(uintptr_t)plan->group_data[want->at]};
    }
    return plan->want_count;
}

/* From plan to plan until nothing is left. */
static enum md_status run_all(struct md_executable *executable, const struct md_tensor *inputs,
                              struct md_tensor *outputs, struct md__run *run, struct md_error *err)
{
    struct md_plan *plan = NULL;
    if (executable->session)
        md__session_retry(executable->session,
                          executable->device_on && !md__device_tries(executable));
    enum md_status status =
        md__executable_find(executable, NULL, executable->graph->input_count, &plan, err);
    while (!status) {
        status = run_plan(executable, plan, inputs, outputs, run, err);
        if (status || plan->stop == MD_STOP_END)
            break;
        int count = find_facts(executable, plan);
        status = md__run_check(run, err);
        if (!status)
            status = md__executable_find(executable, plan, count, &plan, err);
    }
    for (int i = 0; i < executable->tail_capacity; i++)
        drop_tail(executable, i, run);
    return status;
}

/* Whether what the run has read was there all the time. */
static enum md_status check_files(const struct md_executable *executable,
                                  const struct md_tensor *inputs, struct md_error *err)
{
    enum md_status status = MD_OK;
    for (int i = 0; i < executable->file_count && !status; i++)
        status = md_mapping_check(executable->files[i], err);
    for (int i = 0; i < executable->graph->input_count && !status; i++)
        status = md_mapping_check(inputs[i].owner, err);
    return status;
}

/* On the CPU, then on the device in one storage after the other until they agree; with none, the
 * CPU's are the outputs. */
static enum md_status run_to_compare(struct md_executable *executable,
                                     const struct md_tensor *inputs, struct md_tensor *outputs,
                                     struct md__run *run, struct md_error *err)
{
    int count = executable->graph->output_count;
    int64_t iterations_left = run->iterations_left;
    struct md_tensor *tried = calloc((size_t)count + 1, sizeof *tried);
    executable->device_on = false;
    enum md_status status = tried ? run_all(executable, inputs, outputs, run, err)
                                  : md_fail(err, MD_ERR_MEMORY, "out of memory");
    bool more = !status, agrees = false;
    while (more && !agrees && md__device_begin(executable)) {
        struct md_error own = {0};
        executable->device_on = true;
        run->iterations_left = iterations_left;
        enum md_status here = md__executable_check(executable, inputs, &own); /* as below */
        here = here ? here : run_all(executable, inputs, tried, run, &own);
        agrees = !md__device_wants_cpu(executable, here, run->limits, tried, &own) && !here &&
                 md__device_agrees(executable, outputs, tried);
        md_tensors_unref(agrees ? outputs : tried, count);
        if (agrees)
            memcpy(outputs, tried, (size_t)count * sizeof *tried);
        else
            more = md__device_widen(executable);
        memset(tried, 0, (size_t)count * sizeof *tried);
    }
    executable->device_on = agrees;
    free(tried);
    return status;
}

enum md_status md__executable_run(struct md_executable *executable, const struct md_tensor *inputs,
                                  int input_count, struct md_tensor *outputs, int output_count,
                                  struct md__run *run, struct md_error *err)
{
    memset(outputs, 0, (size_t)output_count * sizeof *outputs);
    enum md_status status = MD_OK;
    if (input_count != executable->graph->input_count)
        status = md_fail(err, MD_ERR_INVALID, "%d inputs given, the model has %d", input_count,
                         executable->graph->input_count);
    if (!status && output_count != executable->graph->output_count)
        status = md_fail(err, MD_ERR_INVALID, "%d outputs asked for, the model has %d",
                         output_count, executable->graph->output_count);
    if (!status)
        status = md__executable_check(executable, inputs, err);
    executable->device_on = md__device_begin(executable);
    bool compares = !status && executable->device_on && md__device_tries(executable);
    if (!status)
        status = (compares ? run_to_compare : run_all)(executable, inputs, outputs, run, err);
    if (executable->device_on && !compares &&
        md__device_wants_cpu(executable, status, run->limits, outputs, err)) {
        md_tensors_unref(outputs, output_count);
        executable->device_on = false;
        md__device_widen(executable);
        status = md__executable_check(executable, inputs, err); /* its facts made room for others */
        if (!status)
            status = run_all(executable, inputs, outputs, run, err);
    }
    if (!status)
        status = check_files(executable, inputs, err);
    if (status)
        md_tensors_unref(outputs, output_count);
    return status;
}

/* Workers are awake for the first step that wants them, if there was one last time. */
static enum md_status run_in_a_row(struct md_executable *executable, const struct md_tensor *inputs,
                                   int input_count, struct md_tensor *outputs, int output_count,
                                   struct md__run *run, struct md_error *err)
{
    struct md_pool *pool = executable->options.pool;
    uint64_t runs = md_pool_runs(pool);
    md_pool_hold(pool);
    if (executable->wants_workers)
        md_pool_wake(pool);
    enum md_status status =
        md__executable_run(executable, inputs, input_count, outputs, output_count, run, err);
    md_pool_release(pool);
    executable->wants_workers = md_pool_runs(pool) != runs;
    return status;
}

enum md_status md_executable_run_within(struct md_executable *executable,
                                        const struct md_tensor *inputs, int input_count,
                                        struct md_tensor *outputs, int output_count,
                                        const struct md_run_limits *limits, struct md_error *err)
{
    struct md_error own = {0};
    struct md__run run = {.limits = limits,
                          .clock = executable->clock,
                          .tail = {.bytes_max = executable->options.tail_bytes_max},
                          .iterations_left = executable->options.iterations_max};
    struct md_session *session = limits ? limits->session : NULL;
    enum md_status status = MD_OK;
    err = err ? err : &own;
    if (md__device_arrive(executable, inputs, input_count, outputs, output_count)) {
        status = check_files(executable, inputs, err);
        if (status)
            md_tensors_unref(outputs, output_count);
        return status;
    }
    if (session) {
        status = md__session_begin(session, executable, inputs, input_count, err);
        if (status)
            return status;
        executable->session = session;
        inputs = session->inputs;
    }
    bool in_a_row = !executable->device_on; /* or the pool would spin while the device works */
    if (in_a_row)
        status = run_in_a_row(executable, inputs, input_count, outputs, output_count, &run, err);
    else
        status =
            md__executable_run(executable, inputs, input_count, outputs, output_count, &run, err);
    if (session)
        md__session_end(session, status, outputs);
    executable->session = NULL;
    return status;
}

enum md_status md_executable_run(struct md_executable *executable, const struct md_tensor *inputs,
                                 int input_count, struct md_tensor *outputs, int output_count,
                                 struct md_error *err)
{
    return md_executable_run_within(executable, inputs, input_count, outputs, output_count, NULL,
                                    err);
}
