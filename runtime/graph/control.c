/*
 * The bodies of control operators: made, checked, run; and If.
 *
 * A captured value that is a constant of the outer graph becomes a constant of the body, so that
 * folding and packed weights work there as anywhere. A body takes inputs of any shape, whatever it
 * declares: what iterations hand on may change its shape, and exporters write down the first one.
 */
#include "graph/control.h"

#include <stdlib.h>
#include <string.h>

#include "graph/graph_internal.h"

static enum md_status out_of_memory(struct md_error *err)
{
    return md_fail(err, MD_ERR_MEMORY, "out of memory");
}

/* ---- making ---- */

static enum md_status find_bodies(const struct md_node *node, struct md_graph **bodies,
                                  struct md_error *err)
{
    static const char *const of_if[] = {"then_branch", "else_branch"};
    static const char *const of_others[] = {"body", NULL};
    const char *const *names = node->op == MD_OP_IF ? of_if : of_others;
    for (int i = 0; i < MD_BODIES_MAX; i++) {
        bodies[i] = NULL;
        if (!names[i])
            continue;
        const struct md_attr *attr = md_node_attr(node, names[i]);
        if (!attr || attr->type != MD_ATTR_GRAPH)
            return md_fail(err, MD_ERR_INVALID, "has no graph \"%s\"", names[i]);
        bodies[i] = attr->graph;
    }
    return MD_OK;
}

static enum md_status wrong_count(const char *what, int have, int want, struct md_error *err)
{
    return md_fail(err, MD_ERR_INVALID, "its body has %d %s, wanted %d", have, what, want);
}

/* The inputs of the node that its body gets: If keeps its condition. */
static int first_given(const struct md_node *node)
{
    return node->op == MD_OP_IF ? 1 : 0;
}

/* Reads how many inputs and outputs are what, and that bodies agree. */
static enum md_status read_counts(const struct md_node *node, struct md_graph *const *bodies,
                                  struct md__control *control, struct md_error *err)
{
    int64_t captured = md_node_int(node, "moondial.captured", 0), scanned = 0;
    int given = node->in_count - first_given(node);
    if (node->op == MD_OP_SCAN)
        scanned = md_node_int(node, "num_scan_inputs", 0);
    if (captured < 0 || captured > given || scanned < 0 || scanned > given - captured ||
        (node->op == MD_OP_SCAN && scanned == 0))
        return md_fail(err, MD_ERR_INVALID, "has %d inputs, %lld captured and %lld scanned",
                       node->in_count, (long long)captured, (long long)scanned);
    control->captured = (int)captured;
    control->scanned = (int)scanned;
    if (node->op == MD_OP_IF && given != captured)
        return md_fail(err, MD_ERR_INVALID, "has inputs that are not captured");
    if (node->op == MD_OP_LOOP && given - captured < 2)
        return md_fail(err, MD_ERR_INVALID, "captures its condition");
    int fixed = node->op == MD_OP_LOOP ? 2 : (int)scanned;
    control->carried = node->op == MD_OP_IF ? 0 : given - (int)captured - fixed;
    for (int i = 0; i < MD_BODIES_MAX && bodies[i]; i++) {
        int own = control->carried + (node->op == MD_OP_LOOP);
        control->collected = bodies[i]->output_count - own;
        if (bodies[i]->input_count != given)
            return wrong_count("inputs", bodies[i]->input_count, given, err);
        if (control->collected < 0)
            return wrong_count("outputs", bodies[i]->output_count, own, err);
        if (node->out_count > control->carried + control->collected)
            return wrong_count("outputs", bodies[i]->output_count,
                               node->out_count + (node->op == MD_OP_LOOP), err);
    }
    return MD_OK;
}

static int declared_rank(const struct md_graph *body, int input)
{
    return body->values[body->inputs[input].value].shape.rank == 1;
}

/* Captured constants move into the body. `given` is the input's position there. */
static void make_constant(struct md_graph *body, int given, const struct md_tensor *constant)
{
    struct md_value *value = &body->values[body->inputs[given].value];
    value->constant = md_tensor_ref(constant);
    value->dtype = constant->dtype;
    value->shape = constant->shape;
    body->input_count--;
    memmove(&body->inputs[given], &body->inputs[given + 1],
            (size_t)(body->input_count - given) * sizeof *body->inputs);
}

/* Takes captured constants out of the node's inputs and gives them to the bodies. */
static enum md_status share_constants(struct md_graph *graph, struct md_node *node,
                                      struct md_graph *const *bodies, struct md__control *control,
                                      struct md_error *err)
{
    int *ids = md_arena_array(&graph->arena, (size_t)node->in_count + 1, sizeof *ids), kept = 0;
    if (!ids)
        return out_of_memory(err);
    int first_captured = node->in_count - control->captured;
    for (int i = 0; i < node->in_count; i++) {
        const struct md_tensor *constant =
            i >= first_captured ? &graph->values[node->in[i]].constant : NULL;
        if (!constant || !constant->data) {
            ids[kept++] = node->in[i];
            continue;
        }
        for (int b = 0; b < MD_BODIES_MAX && bodies[b]; b++) {
            int given = kept - first_given(node);
            if (bodies[b]->values[bodies[b]->inputs[given].value].dtype != constant->dtype)
                return md_fail(err, MD_ERR_INVALID, "captures \"%.60s\" as another type",
                               bodies[b]->inputs[given].name);
            make_constant(bodies[b], given, constant);
        }
        control->captured--;
    }
    node->in = ids;
    node->in_count = kept;
    return MD_OK;
}

static void forget_shapes(struct md_graph *body)
{
    for (int i = 0; i < body->input_count; i++)
        body->values[body->inputs[i].value].shape = (struct md_shape){.rank = MD_RANK_UNKNOWN};
}

static enum md_status make_control(struct md_executable *executable, struct md_node *node,
                                   const char *passes_off, struct md__control *control,
                                   struct md_error *err)
{
    struct md_graph *bodies[MD_BODIES_MAX];
    struct md_executable_options options = executable->options;
    options.passes_off = passes_off;
    options.accelerator = NULL; /* loops and branches run on the host, bodies included */
    enum md_status status = find_bodies(node, bodies, err);
    if (!status)
        status = read_counts(node, bodies, control, err);
    if (status)
        return status;
    if (node->op == MD_OP_LOOP) {
        control->iteration_rank = declared_rank(bodies[0], 0);
        control->condition_rank = declared_rank(bodies[0], 1);
    }
    status = share_constants(executable->graph, node, bodies, control, err);
    for (int i = 0; !status && i < MD_BODIES_MAX && bodies[i]; i++) {
        forget_shapes(bodies[i]);
        status = md__executable_new_body(bodies[i], &options, &control->bodies[i], err);
    }
    return status;
}

enum md_status md__controls_new(struct md_executable *executable, const char *passes_off,
                                struct md_error *err)
{
    struct md_graph *graph = executable->graph;
    for (int n = 0; n < graph->node_count; n++) {
        char text[160];
        if (!md_op_is_control(graph->nodes[n].op))
            continue;
        if (!executable->controls)
            executable->controls = calloc((size_t)graph->node_count, sizeof(struct md__control *));
        if (!executable->controls ||
            !(executable->controls[n] = calloc(1, sizeof(struct md__control))))
            return out_of_memory(err);
        enum md_status status =
            make_control(executable, &graph->nodes[n], passes_off, executable->controls[n], err);
        if (status)
            return md_error_context(err, "%s", md__node_text(&graph->nodes[n], text, sizeof text));
    }
    return MD_OK;
}

void md__controls_delete(struct md_executable *executable)
{
    for (int n = 0; executable->controls && n < executable->graph->node_count; n++) {
        for (int i = 0; executable->controls[n] && i < MD_BODIES_MAX; i++)
            md_executable_delete(executable->controls[n]->bodies[i]);
        free(executable->controls[n]);
    }
    free(executable->controls);
}

/* ---- running ---- */

enum md_status md__tail_take(struct md__run *run, size_t bytes, struct md_error *err)
{
    struct md_tail *tail = &run->tail;
    if (bytes > tail->bytes_max || tail->bytes > tail->bytes_max - bytes)
        return md_fail(err, MD_ERR_TOO_LARGE, "what depends on data takes more than %zu bytes",
                       tail->bytes_max);
    tail->bytes += bytes;
    return MD_OK;
}

void md__tail_drop(struct md__run *run, struct md_tensor *tensor)
{
    run->tail.bytes -= md_tensor_bytes(tensor);
    md_tensor_unref(tensor);
}

enum md_status md__control_scalar(const struct md_tensor *tensor, enum md_dtype dtype,
                                  const char *what, void *value, struct md_error *err)
{
    if (tensor->dtype != dtype || md_tensor_count(tensor) != 1)
        return md_fail(err, MD_ERR_INVALID, "its %s is %zu of %s, wanted 1 of %s", what,
                       md_tensor_count(tensor), md_dtype_name(tensor->dtype), md_dtype_name(dtype));
    memcpy(value, tensor->data, md_dtype_bytes(dtype));
    return MD_OK;
}

enum md_status md__body_run(const struct md__control_call *call, int body,
                            const struct md_tensor *in, int in_count, struct md_tensor *out,
                            struct md_error *err)
{
    struct md_executable *executable = call->control->bodies[body];
    int out_count = executable->graph->output_count, counted = 0;
    executable->guards = call->guards;
    enum md_status status =
        md__executable_run(executable, in, in_count, out, out_count, call->run, err);
    for (; !status && counted < out_count; counted++)
        status = md__tail_take(call->run, md_tensor_bytes(&out[counted]), err);
    if (!status)
        return MD_OK;
    counted -= counted > 0; /* the one that failed to count */
    for (int i = 0; i < out_count; i++) {
        if (i < counted)
            md__tail_drop(call->run, &out[i]);
        else
            md_tensor_unref(&out[i]);
    }
    return status;
}

static enum md_status if_run(const struct md__control_call *call, struct md_error *err)
{
    const struct md_node *node = call->node;
    uint8_t condition = 0;
    enum md_status status = md__control_scalar(&call->in[0], MD_BOOL, "condition", &condition, err);
    if (status)
        return status;
    int body = condition ? 0 : 1;
    int made_count = call->control->bodies[body]->graph->output_count;
    struct md_tensor *made = calloc((size_t)made_count + 1, sizeof *made);
    if (!made)
        return out_of_memory(err);
    status = md__body_run(call, body, call->in + 1, node->in_count - 1, made, err);
    if (status)
        md_error_context(err, body ? "else_branch" : "then_branch");
    for (int i = 0; !status && i < made_count; i++) {
        if (i < node->out_count)
            call->out[i] = made[i];
        else
            md__tail_drop(call->run, &made[i]);
    }
    free(made);
    return status;
}

enum md_status md__control_run(const struct md__control_call *call, struct md_error *err)
{
    enum md_status status = md__run_check(call->run, err);
    if (status)
        return status;
    if (call->node->op == MD_OP_IF)
        return if_run(call, err);
    return call->node->op == MD_OP_LOOP ? md__loop_run(call, err) : md__scan_run(call, err);
}
