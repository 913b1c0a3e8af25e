/*
 * Symbols bound to sizes, then walks over the nodes in order. Contents are computed only as long as
 * they are small and cheap, so that planning stays planning.
 */
#include "graph/trace.h"

#include <stdlib.h>
#include <string.h>

#include "graph/graph_internal.h"

/* The name of the first input before (i, d) that has this dimension: for the message of a conflict.
 */
static const char *first_user(const struct md_graph *graph, int64_t dim)
{
    for (int i = 0; i < graph->input_count; i++) {
        const struct md_shape *shape = &graph->values[graph->inputs[i].value].shape;
        for (int d = 0; d < shape->rank; d++)
            if (shape->dim[d] == dim)
                return graph->inputs[i].name;
    }
    return "?";
}

static enum md_status bind_input(const struct md_graph *graph, int i, const struct md_shape *shape,
                                 int64_t *sizes, struct md_error *err)
{
    const char *name = graph->inputs[i].name;
    const struct md_shape *declared = &graph->values[graph->inputs[i].value].shape;
    if (shape->rank < 0 || shape->rank > MD_RANK_MAX)
        return md_fail(err, MD_ERR_INVALID, "input \"%.60s\" has rank %d, allowed are 0 to %d",
                       name, shape->rank, MD_RANK_MAX);
    bool any = declared->rank == MD_RANK_UNKNOWN;
    if (!any && shape->rank != declared->rank)
        return md_fail(err, MD_ERR_INVALID, "input \"%.60s\" has rank %d, wanted %d", name,
                       shape->rank, declared->rank);
    for (int d = 0; d < shape->rank; d++) {
        int64_t want = any ? shape->dim[d] : declared->dim[d], have = shape->dim[d];
        if (have < 0)
            return md_fail(err, MD_ERR_INVALID, "input \"%.60s\" has dimension %lld", name,
                           (long long)have);
        if (want >= 0 && want != have)
            return md_fail(err, MD_ERR_INVALID,
                           "input \"%.60s\": dimension %d is %lld, wanted %lld", name, d,
                           (long long)have, (long long)want);
        if (want >= 0)
            continue;
        int64_t *size = &sizes[MD_SYMBOL_INDEX(want)];
        if (*size < 0)
            *size = have;
        if (*size != have)
            return md_fail(err, MD_ERR_INVALID,
                           "input \"%.60s\" has %s = %lld, but input \"%.60s\" has %lld", name,
                           graph->symbols[MD_SYMBOL_INDEX(want)], (long long)have,
                           first_user(graph, want), (long long)*size);
    }
    return MD_OK;
}

enum md_status md__symbols_bind(const struct md_graph *graph, const struct md_shape *shapes,
                                int64_t *sizes, struct md_error *err)
{
    enum md_status status = MD_OK;
    for (int k = 0; k < graph->symbol_count; k++)
        sizes[k] = -1;
    for (int i = 0; !status && i < graph->input_count; i++)
        status = bind_input(graph, i, &shapes[i], sizes, err);
    return status;
}

void md__sample_shapes(const struct md_graph *graph, bool larger, struct md_tensor *inputs)
{
    for (int i = 0; i < graph->input_count; i++) {
        struct md_shape *shape = &inputs[i].shape;
        *shape = graph->values[graph->inputs[i].value].shape;
        for (int d = 0; d < shape->rank; d++) {
            if (shape->dim[d] >= 0)
                continue;
            int64_t sample = graph->symbol_samples[MD_SYMBOL_INDEX(shape->dim[d])];
            shape->dim[d] = larger ? 2 * sample + 1 : sample;
        }
    }
}

void md__contents_fini(struct md_contents *contents)
{
    md_tensors_unref(contents->tensors, contents->count);
    free(contents->tensors);
    *contents = (struct md_contents){0};
}

/* Room for `more` tensors. */
static enum md_status reserve(struct md_contents *contents, int more, struct md_error *err)
{
    if (contents->count + more <= contents->capacity)
        return MD_OK;
    int capacity = 2 * contents->capacity + more;
    void *larger = realloc(contents->tensors, (size_t)capacity * sizeof *contents->tensors);
    if (!larger)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    contents->tensors = larger;
    contents->capacity = capacity;
    return MD_OK;
}

void md__trace_inputs(const struct md_trace *trace, const struct md_node *node, bool contents,
                      struct md_tensor *in)
{
    for (int i = 0; i < node->in_count; i++) {
        int value = node->in[i];
        in[i] = (struct md_tensor){0};
        if (value == MD_NONE)
            continue;
        in[i].dtype = trace->values[value].dtype;
        in[i].shape = trace->values[value].shape;
        in[i].data = contents ? (void *)(uintptr_t)trace->values[value].known
                              : trace->graph->values[value].constant.data;
    }
}

void md__trace_infos(const struct md_trace *trace, const int *values, int count,
                     struct md_value_info *infos)
{
    for (int i = 0; i < count; i++)
        infos[i] = values[i] == MD_NONE ? (struct md_value_info){0} : trace->values[values[i]];
}

bool md__trace_knows(const struct md_trace *trace, const struct md_node *node)
{
    for (int i = 0; i < node->out_count; i++)
        if (!trace->values[node->out[i]].known)
            return false;
    return true;
}

bool md__trace_sure(const struct md_trace *trace, int value)
{
    const struct md_value_info *info = &trace->values[value];
    return info->dtype && md__shape_is_planned(&info->shape);
}

/* Shape reads no contents, so its input may be unknown; its kernel only looks at the shape. */
static bool inputs_known(const struct md_trace *trace, const struct md_node *node)
{
    if (md_op_is_random(node->op))
        return false;
    for (int i = 0; i < node->in_count && node->op != MD_OP_SHAPE; i++)
        if (node->in[i] != MD_NONE && !trace->values[node->in[i]].known)
            return false;
    return true;
}

/* Contents are computed while planning only as long as they are small and cheap. */
static bool within_limits(const struct md_contents *contents, const struct md_node *node,
                          const struct md_node_room *room)
{
    size_t bytes = contents->bytes;
    struct md_plan_report cost = contents->spent;
    for (int i = 0; i < node->out_count; i++) {
        size_t own = 0;
        if (!md__shape_is_planned(&room->out_info[i].shape))
            continue; /* the kernel's own check keeps it small */
        if (md__shape_bytes(&room->out_info[i].shape, room->out_info[i].dtype, &own, NULL) ||
            own > MD_KNOWN_VALUE_BYTES)
            return false;
        bytes += own;
    }
    md__node_cost(node, room->in_info, room->out_info, &cost);
    return bytes <= MD_KNOWN_TOTAL_BYTES && cost.flops <= MD_KNOWN_FLOPS &&
           md__node_is_cheap(node, room->in_info, room->out_info);
}

static enum md_status compute(struct md_trace *trace, const struct md_node *node,
                              struct md_contents *contents, struct md_error *err)
{
    static const char shape_only[1]; /* stands for the contents that Shape does not read */
    struct md_node_room *room = &trace->room;
    md__trace_inputs(trace, node, true, room->in);
    if (node->op == MD_OP_SHAPE && !room->in[0].data)
        room->in[0].data = (void *)(uintptr_t)shape_only;
    /* A reference without this kernel leaves the node to be scheduled. */
    if (!md__kernel_find(trace->reference, node, room->in))
        return MD_OK;
    enum md_status status = reserve(contents, node->out_count, err);
    if (!status)
        status = md__evaluate_node(trace->reference, trace->pool, node, room->in, room->in,
                                   room->out, MD_KNOWN_TOTAL_BYTES, err);
    /* A size that only the kernel learned, and too large to keep here: scheduled. */
    if (status == MD_ERR_TOO_LARGE)
        return MD_OK;
    for (int i = 0; !status && i < node->out_count; i++) {
        trace->values[node->out[i]] = (struct md_value_info){
            .dtype = room->out[i].dtype, .shape = room->out[i].shape, .known = room->out[i].data};
        contents->tensors[contents->count++] = room->out[i];
        contents->bytes += md_tensor_bytes(&room->out[i]);
    }
    return status;
}

enum md_status md__trace_node(struct md_trace *trace, const struct md_node *node,
                              struct md_contents *contents, struct md_error *err)
{
    struct md_node_room *room = &trace->room;
    md__trace_infos(trace, node->in, node->in_count, room->in_info);
    memset(room->asked, 0, (size_t)node->in_count * sizeof *room->asked);
    for (int i = 0; i < node->in_count; i++)
        room->in_info[i].asked = &room->asked[i];
    enum md_status status = md__infer_node(node, room->in_info, room->out_info, err);
    if (status)
        return status;
    for (int i = 0; i < node->out_count; i++) {
        room->out_info[i].known = NULL;
        room->out_info[i].asked = NULL;
        trace->values[node->out[i]] = room->out_info[i];
    }
    if (!inputs_known(trace, node) || !within_limits(contents, node, room))
        return MD_OK;
    md__node_cost(node, room->in_info, room->out_info, &contents->spent);
    return compute(trace, node, contents, err);
}

enum md_status md__trace_init(struct md_trace *trace, const struct md_graph *graph,
                              const struct md_backend *reference, struct md_pool *pool,
                              struct md_error *err)
{
    *trace = (struct md_trace){.graph = graph, .reference = reference, .pool = pool};
    trace->values = calloc((size_t)graph->value_count + 1, sizeof *trace->values);
    enum md_status status = trace->values ? md__node_room_init(&trace->room, graph, err)
                                          : md_fail(err, MD_ERR_MEMORY, "out of memory");
    for (int v = 0; !status && v < graph->value_count; v++)
        md__trace_forget(trace, v);
    if (status)
        md__trace_fini(trace);
    return status;
}

void md__trace_forget(struct md_trace *trace, int value)
{
    const struct md_value *known = &trace->graph->values[value];
    trace->values[value] = (struct md_value_info){0};
    if (known->constant.data)
        trace->values[value] = (struct md_value_info){
            .dtype = known->dtype, .shape = known->shape, .known = known->constant.data};
}

void md__trace_fini(struct md_trace *trace)
{
    free(trace->values);
    md__node_room_fini(&trace->room);
    *trace = (struct md_trace){0};
}

/* Every input that is there is sure. */
static bool can_follow(const struct md_trace *trace, const struct md_node *node)
{
    for (int i = 0; i < node->in_count; i++)
        if (node->in[i] != MD_NONE && !md__trace_sure(trace, node->in[i]))
            return false;
    return true;
}

enum md_status md__trace_all(struct md_trace *trace, const struct md_tensor *inputs,
                             struct md_contents *contents, struct md_error *err)
{
    const struct md_graph *graph = trace->graph;
    struct md_error own = {0};
    struct md_error *cause = err ? err : &own;
    enum md_status status = MD_OK;
    for (int i = 0; !status && i < graph->input_count; i++) {
        size_t bytes;
        int value = graph->inputs[i].value;
        if (inputs[i].shape.rank < 0 || !md__shape_is_planned(&inputs[i].shape))
            continue;
        status = md__shape_bytes(&inputs[i].shape, graph->values[value].dtype, &bytes, cause);
        if (status)
            return md_error_context(cause, "input \"%.60s\"", graph->inputs[i].name);
        trace->values[value] = (struct md_value_info){
            .dtype = graph->values[value].dtype, .shape = inputs[i].shape, .known = inputs[i].data};
    }
    for (int n = 0; n < graph->node_count; n++) {
        if (md_op_is_control(graph->nodes[n].op))
            status = md__trace_control(trace, &graph->nodes[n], cause);
        else if (can_follow(trace, &graph->nodes[n]))
            status = md__trace_node(trace, &graph->nodes[n], contents, cause);
        if (status && status != MD_ERR_PENDING)
            return status;
    }
    return MD_OK;
}
