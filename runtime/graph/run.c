/*
 * Running a plan: bind data pointers, then one kernel after another. With guards on, every value is
 * surrounded by a pattern and starts as NaN, so that overruns and reads of memory that nobody wrote
 * show in tests.
 */
#include <string.h>

#include "base/clock.h"
#include "base/stage.h"
#include "graph/control.h"
#include "graph/device_internal.h"
#include "graph/graph_internal.h"

#define GUARD_PATTERN  0xa5
#define POISON_PATTERN 0xff /* NaN in every float format */

/* Address for tensors without elements: data == NULL would mean an absent input. */
static char no_elements[MD_PLAN_ALIGN] __attribute__((aligned(MD_PLAN_ALIGN)));

static const void *group_address(const struct md_group *group, const char *memory,
                                 const struct md_tensor *inputs, const struct md_tensor *outputs,
                                 const struct md_tensor *tails)
{
    if (group->bytes == 0 && group->place != MD_PLACE_CONSTANT)
        return no_elements;
    switch (group->place) {
    case MD_PLACE_INPUT:
        return inputs[group->index].data;
    case MD_PLACE_OUTPUT:
        return outputs[group->index].data;
    case MD_PLACE_CONSTANT:
        return group->data;
    case MD_PLACE_TAIL:
        return tails[group->index].data;
    default:
        return memory + group->offset;
    }
}

void md__plan_bind(struct md_plan *plan, const char *memory, const struct md_tensor *inputs,
                   const struct md_tensor *outputs, const struct md_tensor *tails)
{
    for (int g = 0; g < plan->group_count; g++)
        plan->group_data[g] = group_address(&plan->groups[g], memory, inputs, outputs, tails);
    for (int t = 0; t < plan->tensor_count; t++)
        if (plan->tensor_groups[t] != MD_NONE)
            plan->tensors[t].data = (char *)(uintptr_t)plan->group_data[plan->tensor_groups[t]] +
                                    plan->tensor_offsets[t];
}

/* A child's arena holds what its ancestors left. */
static void fill_guards(struct md_executable *executable, const struct md_plan *plan)
{
    if (!plan->parent)
        memset(executable->memory, GUARD_PATTERN, plan->arena_bytes);
    memset(executable->memory + plan->arena_bytes, POISON_PATTERN, plan->scratch_bytes);
    memset(executable->memory + plan->arena_bytes + plan->scratch_bytes, GUARD_PATTERN,
           MD_PLAN_ALIGN);
}

/* Bytes of the arena that no group alive at `step`'s node owns must still hold the pattern. */
static enum md_status check_guards(const struct md_executable *executable,
                                   const struct md_plan *plan, const struct md_step *step,
                                   struct md_error *err)
{
    const char *end = executable->memory + plan->arena_bytes + plan->scratch_bytes;
    int at = (int)(step->node - executable->graph->nodes);
    bool intact = true;
    for (int i = 0; i < MD_PLAN_ALIGN; i++)
        intact &= (unsigned char)end[i] == GUARD_PATTERN;
    for (int g = 0; g < plan->group_count; g++) {
        const struct md_group *group = &plan->groups[g];
        if (group->place != MD_PLACE_ARENA || group->bytes == 0 || group->begin > at ||
            group->end < at)
            continue;
        const char *guard = executable->memory + group->offset + group->bytes;
        for (int i = 0; i < MD_PLAN_ALIGN; i++)
            intact &= (unsigned char)guard[i] == GUARD_PATTERN;
    }
    char text[160];
    return intact ? MD_OK
                  : md_fail(err, MD_ERR_INTERNAL, "%s wrote past the end of a value",
                            md__node_text(step->node, text, sizeof text));
}

/* Before a step, values it makes become NaN and their guards are set anew: the memory had other
 * owners before. */
static void poison_outputs(const struct md_executable *executable, const struct md_plan *plan,
                           const struct md_step *step)
{
    int at = (int)(step->node - executable->graph->nodes);
    for (int g = 0; g < plan->group_count; g++) {
        const struct md_group *group = &plan->groups[g];
        if (group->place != MD_PLACE_ARENA || group->bytes == 0 || group->begin != at)
            continue;
        memset(executable->memory + group->offset, POISON_PATTERN, group->bytes);
        memset(executable->memory + group->offset + group->bytes, GUARD_PATTERN, MD_PLAN_ALIGN);
    }
}

static enum md_status run_control(const struct md_executable *executable,
                                  const struct md_step *step, const struct md_kernel_call *call,
                                  struct md__run *run, struct md_error *err)
{
    const struct md__control_call control = {
        .node = step->node,
        .control = executable->controls[step->node - executable->graph->nodes],
        .in = call->in,
        .out = call->out,
        .guards = executable->guards,
        .run = run};
    return md__control_run(&control, err);
}

size_t md__step_kept_bytes(const struct md_plan *plan, const struct md_step *step)
{
    return step->kernel && step->kernel->kept_bytes
               ? step->kernel->kept_bytes(step->node, &plan->tensors[step->first],
                                          step->node->in_count)
               : 0;
}

/* Memory of the windows for this step, NULL when it is to keep nothing. */
static struct md_kept_windows *take_windows(struct md_executable *executable,
                                            const struct md_plan *plan, const struct md_step *step,
                                            const struct md__run *run)
{
    const struct md_windows *windows = run->limits ? run->limits->windows : NULL;
    size_t bytes =
        windows && executable->options.kept_bytes_max ? md__step_kept_bytes(plan, step) : 0;
    const struct md_shape *x = &plan->tensors[step->first].shape;
    if (bytes == 0 || x->rank == 0 || x->dim[0] != windows->count)
        return NULL;
    if (!executable->kept)
        executable->kept = md__kept_new(executable->options.kept_bytes_max);
    return executable->kept
               ? md__kept_take(executable->kept, (int)(step->node - executable->graph->nodes),
                               windows, bytes)
               : NULL;
}

static enum md_status run_step(struct md_executable *executable, struct md_plan *plan,
                               struct md_step *step, struct md__run *run, struct md_error *err)
{
    struct md_tensor *in = &plan->tensors[step->first];
    struct md_kernel_call call = {.node = step->node,
                                  .in = in,
                                  .out = in + step->node->in_count,
                                  .in_count = step->node->in_count,
                                  .out_count = step->node->out_count,
                                  .scratch = executable->memory + plan->arena_bytes,
                                  .prepared = step->prepared,
                                  .pool = executable->options.pool,
                                  .tail = &run->tail,
                                  .kept = take_windows(executable, plan, step, run)};
    if (step->kernel && step->kernel->pitched)
        call.pitch = &plan->tensor_pitches[step->first];
    if (executable->guards)
        poison_outputs(executable, plan, step);
    int span = md_stage_begin(md_op_info(step->node->op)->name);
    enum md_status status = step->kernel ? step->kernel->run(&call, err)
                                         : run_control(executable, step, &call, run, err);
    md_stage_end(span);
    if (call.kept)
        md__kept_done(executable->kept);
    if (!status && executable->guards)
        return check_guards(executable, plan, step, err);
    char text[160];
    return status ? md_error_context(err, "%s", md__node_text(step->node, text, sizeof text))
                  : MD_OK;
}

static void count_time(struct md_step *step, int64_t ns)
{
    step->fastest_ns = step->runs++ == 0 || ns < step->fastest_ns ? ns : step->fastest_ns;
    step->total_ns += ns;
}

enum md_status md__executable_run_steps(struct md_executable *executable, struct md_plan *plan,
                                        struct md__run *run, struct md_error *err)
{
    bool timed = executable->profiling && executable->clock;
    const struct md_pool *pool = executable->options.pool;
    int64_t before = timed ? md_monotonic_ns(executable->clock) : 0;
    int64_t helped_before = timed ? md_pool_busy_ns(pool) : 0;
    if (executable->guards)
        fill_guards(executable, plan);
    for (int s = 0, next; s < plan->step_count; s = next) {
        next = s + 1;
        enum md_status status = plan->steps[s].side == MD_STEP_HOST
                                    ? run_step(executable, plan, &plan->steps[s], run, err)
                                    : md__device_run(executable, plan, s, timed, &next, err);
        if (status)
            return status;
        if (timed) {
            int64_t now = md_monotonic_ns(executable->clock), helped = md_pool_busy_ns(pool);
            count_time(&plan->steps[s], now - before);
            plan->steps[s].helped_ns += helped - helped_before;
            before = now;
            helped_before = helped;
        }
    }
    return MD_OK;
}
