/* The host's side of sessions; what lies in device memory is device_session.c's. */
#include "graph/session_internal.h"

#include <stdlib.h>
#include <string.h>

#include "graph/device_internal.h"
#include "graph/graph_internal.h"

int md__session_input(const struct md_executable_options *options, int input)
{
    for (int k = 0; k < options->handover_count; k++)
        if (options->handovers[k].input == input)
            return k;
    return MD_NONE;
}

int md__session_output(const struct md_executable_options *options, int output)
{
    for (int k = 0; k < options->handover_count; k++)
        if (options->handovers[k].output == output)
            return k;
    return MD_NONE;
}

static enum md_status check_one(const struct md_executable *executable, int k, struct md_error *err)
{
    const struct md_graph *graph = executable->graph;
    const struct md_executable_options *options = &executable->options;
    int in = options->handovers[k].input, out = options->handovers[k].output;
    if (in < 0 || in >= graph->input_count || out < 0 || out >= graph->output_count)
        return md_fail(err, MD_ERR_INVALID, "handover %d: there is no output %d or no input %d", k,
                       out, in);
    if (md__session_input(options, in) != k || md__session_output(options, out) != k)
        return md_fail(err, MD_ERR_INVALID, "handover %d: output %d or input %d is another's", k,
                       out, in);
    return MD_OK;
}

enum md_status md__session_check(struct md_executable *executable,
                                 const struct md_executable_options *given, struct md_error *err)
{
    struct md_executable_options *options = &executable->options;
    int count = given->handover_count;
    if (count == 0)
        return MD_OK;
    if (count < 0 || count > MD_HANDOVERS_MAX)
        return md_fail(err, MD_ERR_INVALID, "%d handovers, at most %d", count, MD_HANDOVERS_MAX);
    executable->handovers = malloc((size_t)count * sizeof *executable->handovers);
    if (!executable->handovers)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    memcpy(executable->handovers, given->handovers, (size_t)count * sizeof *executable->handovers);
    options->handovers = executable->handovers;
    options->handover_count = count;
    enum md_status status = MD_OK;
    for (int k = 0; !status && k < count; k++)
        status = check_one(executable, k, err);
    if (!status && executable->device)
        status = md__device_find_unrounded(executable->device, options, err);
    return status;
}

enum md_status md_session_new(struct md_executable *executable, struct md_session **session,
                              struct md_error *err)
{
    int count = executable->options.handover_count;
    *session = NULL;
    struct md_session *made = calloc(1, sizeof *made + (size_t)count * sizeof made->held[0]);
    if (made)
        made->inputs = calloc((size_t)executable->graph->input_count + 1, sizeof *made->inputs);
    if (!made || !made->inputs) {
        free(made);
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    }
    made->executable = executable;
    made->count = count;
    *session = made;
    return MD_OK;
}

void md_session_delete(struct md_session *session)
{
    if (!session)
        return;
    md__device_session_fini(session);
    for (int k = 0; k < session->count; k++)
        md_tensor_unref(&session->held[k].tensor);
    free(session->inputs);
    free(session);
}

void md_session_report(const struct md_session *session, struct md_session_report *report)
{
    *report = (struct md_session_report){0};
    for (int k = 0; k < session->count; k++) {
        const struct md__held *held = &session->held[k];
        report->host_bytes += held->tensor.data ? md_tensor_bytes(&held->tensor) : 0;
        report->device_bytes += held->now.bytes + held->next.bytes;
    }
}

/* ---- a run ---- */

static bool is_left_out(const struct md_tensor *tensor)
{
    return tensor->dtype == 0 && !tensor->data;
}

enum md_status md__session_begin(struct md_session *session, struct md_executable *executable,
                                 const struct md_tensor *inputs, int input_count,
                                 struct md_error *err)
{
    const struct md_graph *graph = executable->graph;
    if (session->executable != executable)
        return md_fail(err, MD_ERR_INVALID, "the session is another model's");
    if (input_count != graph->input_count)
        return md_fail(err, MD_ERR_INVALID, "%d inputs given, the model has %d", input_count,
                       graph->input_count);
    memcpy(session->inputs, inputs, (size_t)input_count * sizeof *inputs);
    for (int k = 0; k < session->count; k++) {
        struct md__held *held = &session->held[k];
        int in = executable->options.handovers[k].input;
        held->lent = is_left_out(&inputs[in]);
        if (held->lent && held->tensor.dtype == 0)
            return md_fail(err, MD_ERR_INVALID,
                           "input \"%.60s\" is left out, and the session has none",
                           graph->inputs[in].name);
        if (held->lent)
            session->inputs[in] = held->tensor;
    }
    return MD_OK;
}

void md__session_retry(struct md_session *session, bool stays)
{
    struct md__device *device = session->executable->device;
    for (int k = 0; k < session->count; k++)
        session->held[k].taken = false;
    if (device)
        device->session = stays ? session : NULL;
}

bool md__session_lends(const struct md_session *session, int input)
{
    int k = session ? md__session_input(&session->executable->options, input) : MD_NONE;
    return k != MD_NONE && session->held[k].lent && session->held[k].there;
}

bool md__session_takes(const struct md_session *session, int output)
{
    int k = session ? md__session_output(&session->executable->options, output) : MD_NONE;
    return k != MD_NONE && session->held[k].taken;
}

/* Whether anything of the plan but copies to the device looks at the input. */
static bool host_reads(const struct md_plan *plan, int group)
{
    for (int s = 0; s < plan->step_count; s++) {
        const struct md_step *step = &plan->steps[s];
        for (int i = 0; step->side == MD_STEP_HOST && i < step->node->in_count; i++)
            if (plan->tensor_groups[step->first + i] == group)
                return true;
    }
    for (int i = 0; i < plan->result_count; i++)
        if (plan->results[i].copied == group)
            return true;
    for (int i = 0; plan->stop == MD_STOP_CONTENTS && i < plan->want_count; i++)
        if (plan->wants[i].at == group)
            return true;
    return false;
}

static bool is_wanted(const struct md_plan *plan, int input)
{
    for (int g = 0; g < plan->group_count; g++)
        if (plan->groups[g].place == MD_PLACE_INPUT && plan->groups[g].index == input &&
            (!plan->device || host_reads(plan, g)))
            return true;
    return false;
}

static enum md_dtype stored_as(const struct md_executable *executable, int in, enum md_dtype dtype)
{
    return md__device_storage(executable->device, executable->graph->inputs[in].value, dtype);
}

enum md_status md__session_settle(struct md_session *session, const struct md_plan *plan,
                                  struct md_error *err)
{
    const struct md_executable *executable = session->executable;
    bool stays = plan->device && executable->device->session == session;
    enum md_status status = MD_OK;
    for (int k = 0; !status && k < session->count; k++) {
        struct md__held *held = &session->held[k];
        int in = executable->options.handovers[k].input;
        bool narrows = stays && held->storage != stored_as(executable, in, held->tensor.dtype);
        if (held->lent && held->there && (!stays || narrows || is_wanted(plan, in))) {
            status = md__device_session_fetch(session, k, err);
            session->inputs[in] = held->tensor;
        }
    }
    if (!status && stays)
        md__device_session_reserve(session, plan);
    return status;
}

void md__session_end(struct md_session *session, enum md_status status, struct md_tensor *outputs)
{
    const struct md_executable *executable = session->executable;
    int stayed = 0;
    for (int k = 0; k < session->count; k++) {
        struct md__held *held = &session->held[k];
        stayed += held->taken;
        struct md_tensor *output = &outputs[executable->options.handovers[k].output];
        if (!status) {
            struct md_tensor plain = {.dtype = output->dtype, .shape = output->shape};
            md_tensor_unref(&held->tensor);
            held->there = held->taken;
            held->tensor = held->taken ? plain : *output;
            *output = plain;
        }
        if (!status && held->taken) {
            struct md__session_block before = held->now;
            held->now = held->next;
            held->next = before;
            held->storage =
                stored_as(executable, executable->options.handovers[k].input, held->tensor.dtype);
        }
        held->lent = held->taken = false;
    }
    if (executable->device)
        executable->device->session = NULL; /* the next run may be nobody's, and this one gone */
    if (executable->device && !status)
        md__device_session_count(executable->device, stayed, session->count - stayed);
}
