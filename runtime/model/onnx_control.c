/*
 * If, Loop and Scan: their bodies become graphs of their own in MD_ATTR_GRAPH attributes. What a
 * body uses from around it becomes an input of the node and of the body, after those of the
 * standard; the attribute "moondial.captured" counts them. Both branches of an If take the same
 * list.
 *
 * What the file declares of a body's inputs is a hint that files get wrong (a carried value may
 * grow), so their shapes are left to the run, and their types follow from what comes in.
 */
#include <string.h>

#include "model/onnx_build.h"

struct branch {
    const char *attr;
    struct md__onnx_body body;
    struct md__onnx_scope scope;
};

bool md__onnx_is_control(const struct md__onnx_call *call)
{
    return strcmp(call->op, "If") == 0 || strcmp(call->op, "Loop") == 0 ||
           strcmp(call->op, "Scan") == 0;
}

static enum md_status branch_input(struct md__onnx_call *call, struct branch *branch, size_t i,
                                   const struct md__onnx_value *declared, struct md_error *err)
{
    struct md_shape any = {.rank = MD_RANK_UNKNOWN};
    enum md_dtype dtype = 0;
    int value = MD_NONE;
    enum md_status status = MD_OK;
    if (strcmp(call->op, "Loop") == 0 && i < 2)
        dtype = i == 0 ? MD_I64 : MD_BOOL;
    else if (i < (size_t)call->in_count)
        dtype = md__onnx_dtype_of(call->scope->body, call->in[i]);
    if (!dtype && declared->type.tensor)
        status = md__onnx_dtype(declared->type.tensor->elem_type, &dtype, err);
    if (!status && !dtype)
        status = md_fail(err, MD_ERR_UNSUPPORTED, "is no tensor, or has no type");
    if (status)
        return md_error_context(err, "input \"%.60s\" of the body", declared->name);
    status = md_graph_input(branch->body.graph, declared->name, dtype, &any, &value, err);
    if (!status)
        status = md__onnx_note_dtype(call->scope->reader, &branch->body, value, dtype, err);
    return status ? status : md__onnx_bind(&branch->scope, declared->name, value, err);
}

static enum md_status build_branch(struct md__onnx_call *call, struct branch *branch,
                                   const struct md__onnx_graph *source, size_t in_count,
                                   struct md_error *err)
{
    struct md__onnx_scope *outer = call->scope;
    branch->scope = (struct md__onnx_scope){.reader = outer->reader,
                                            .body = &branch->body,
                                            .outer = outer,
                                            .frame = outer->frame,
                                            .opsets = outer->opsets,
                                            .opset_count = outer->opset_count};
    if (source->input_count != in_count)
        return md_fail(err, MD_ERR_CORRUPT, "its body takes %zu inputs, the node gives it %zu",
                       source->input_count, in_count);
    enum md_status status = md__onnx_enter(outer->reader, err);
    if (status)
        return status;
    status = md_graph_new(source->name, &branch->body.graph, err);
    for (size_t i = 0; !status && i < in_count; i++)
        status = branch_input(call, branch, i, &source->inputs[i], err);
    if (!status)
        status = md__onnx_build_graph(&branch->scope, source, err);
    md__onnx_leave(outer->reader);
    return status;
}

/* ---- captures ---- */

static int port_named(const struct md_graph *graph, int from, const char *name)
{
    for (int i = from; i < graph->input_count; i++)
        if (strcmp(graph->inputs[i].name, name) == 0)
            return i;
    return MD_NONE;
}

/* Gives `to` the captures of `from` that it lacks, then puts those of `from` first, in order. */
static enum md_status share_captures(struct branch *from, struct branch *to, struct md_error *err)
{
    struct md_graph *graph = to->body.graph;
    enum md_status status = MD_OK;
    for (int i = 0; !status && i < from->scope.capture_count; i++) {
        const char *name = from->body.graph->inputs[i].name;
        struct md__onnx_scope bare = to->scope; /* the name may be one of the branch's own */
        if (port_named(graph, 0, name) == MD_NONE) {
            bare.names = NULL;
            bare.name_count = bare.name_capacity = 0;
            status = md__onnx_capture(&bare, name, from->scope.captures[i], err);
            to->scope.captures = bare.captures;
            to->scope.capture_count = bare.capture_count;
            to->scope.capture_capacity = bare.capture_capacity;
        }
        int at = status ? i : port_named(graph, i, name);
        struct md_port port = graph->inputs[at];
        int value = status ? MD_NONE : to->scope.captures[at];
        for (; !status && at > i; at--) {
            graph->inputs[at] = graph->inputs[at - 1];
            to->scope.captures[at] = to->scope.captures[at - 1];
        }
        if (!status) {
            graph->inputs[i] = port;
            to->scope.captures[i] = value;
        }
    }
    return status;
}

static enum md_status append_captures(struct md__onnx_call *call, const struct branch *branch,
                                      struct md_error *err)
{
    int count = branch->scope.capture_count;
    int *in = md_arena_array(&call->scope->reader->arena,
                             (size_t)call->in_count + (size_t)count + 1, sizeof *in);
    if (!in)
        return md__onnx_no_memory(err);
    if (call->in_count)
        memcpy(in, call->in, (size_t)call->in_count * sizeof *in);
    if (count)
        memcpy(in + call->in_count, branch->scope.captures, (size_t)count * sizeof *in);
    call->in = in;
    call->in_count += count;
    return MD_OK;
}

/* ---- the node ---- */

/* How many inputs the node gives its body, and how many leading outputs of the body are none of the
 * node. */
static enum md_status check_form(struct md__onnx_call *call, size_t *in_count, int *hidden,
                                 struct md_error *err)
{
    bool is_if = strcmp(call->op, "If") == 0;
    if (is_if && call->in_count != 1)
        return md_fail(err, MD_ERR_CORRUPT, "has %d inputs, not 1", call->in_count);
    *hidden = strcmp(call->op, "Loop") == 0;
    while (*hidden && call->in_count < 2)
        call->in[call->in_count++] = MD_NONE;
    *in_count = is_if ? 0 : (size_t)call->in_count;
    return MD_OK;
}

/* All results of the body are outputs of the node, whether the file names them or not. */
static enum md_status make_outputs(struct md__onnx_call *call, const struct branch *branches,
                                   int branch_count, int hidden, int *count, struct md_error *err)
{
    *count = branches[0].body.graph->output_count - hidden;
    if (*count < call->out_count || *count < 1)
        return md_fail(err, MD_ERR_CORRUPT, "has %d outputs, its body makes %d", call->out_count,
                       *count);
    if (branches[branch_count - 1].body.graph->output_count != *count + hidden)
        return md_fail(err, MD_ERR_CORRUPT, "its branches make %d and %d outputs", *count,
                       branches[1].body.graph->output_count);
    call->out = md_arena_array(&call->scope->reader->arena, (size_t)*count, sizeof *call->out);
    return call->out ? MD_OK : md__onnx_no_memory(err);
}

/* Branches agree; one of them may know what the other does not. */
static enum md_dtype result_dtype(const struct branch *branches, int branch_count, int output)
{
    enum md_dtype dtype = 0;
    for (int i = 0; !dtype && i < branch_count; i++)
        dtype = md__onnx_dtype_of(&branches[i].body, branches[i].body.graph->outputs[output].value);
    return dtype;
}

static enum md_status add_node(struct md__onnx_call *call, struct branch *branches,
                               int branch_count, int hidden, bool *taken, struct md_error *err)
{
    int count = 0;
    struct branch *first = &branches[0];
    struct md_graph *graph = call->scope->body->graph;
    enum md_status status = make_outputs(call, branches, branch_count, hidden, &count, err);
    if (!status)
        status = append_captures(call, first, err);
    if (status)
        return status;
    for (int i = 0; i < branch_count; i++)
        call->attrs[call->attr_count++] = (struct md_attr){
            .name = branches[i].attr, .type = MD_ATTR_GRAPH, .graph = branches[i].body.graph};
    call->attrs[call->attr_count++] = (struct md_attr){
        .name = "moondial.captured", .type = MD_ATTR_INT, .i = first->scope.capture_count};
    status = md_graph_node(graph, call->op, call->name, call->in, call->in_count, call->attrs,
                           call->attr_count, call->out, count, err);
    *taken = !status;
    for (int i = 0; !status && i < count; i++)
        status = md__onnx_note_dtype(call->scope->reader, call->scope->body, call->out[i],
                                     result_dtype(branches, branch_count, i + hidden), err);
    return status;
}

static const struct md__onnx_graph *graph_attr(const struct md__onnx_attr *attrs, size_t count,
                                               const char *name)
{
    const struct md__onnx_attr *attr = md__onnx_attr_named(attrs, count, name);
    return attr ? attr->graph : NULL;
}

/* The attributes that hold no graph; control operators have numbers only. */
static enum md_status plain_attrs(struct md__onnx_call *call, const struct md__onnx_attr *attrs,
                                  size_t count, struct md_error *err)
{
    call->attrs = md_arena_array(&call->scope->reader->arena, count + 3, sizeof *call->attrs);
    if (!call->attrs)
        return md__onnx_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        struct md_attr *to = &call->attrs[call->attr_count];
        *to = (struct md_attr){.name = attrs[i].name};
        if (attrs[i].int_count) {
            to->type = MD_ATTR_INTS;
            to->ints = attrs[i].ints;
            to->count = (int)attrs[i].int_count;
            call->attr_count++;
        } else if (attrs[i].has_i) {
            to->type = MD_ATTR_INT;
            to->i = attrs[i].i;
            call->attr_count++;
        }
    }
    return MD_OK;
}

enum md_status md__onnx_control(struct md__onnx_call *call, const struct md__onnx_attr *attrs,
                                size_t attr_count, struct md_error *err)
{
    struct branch branches[2] = {{.attr = "body"}, {.attr = "else_branch"}};
    int branch_count = strcmp(call->op, "If") == 0 ? 2 : 1, hidden = 0;
    size_t in_count = 0;
    bool taken = false; /* the bodies belong to the node */
    if (branch_count == 2)
        branches[0].attr = "then_branch";
    enum md_status status = check_form(call, &in_count, &hidden, err);
    if (!status)
        status = plain_attrs(call, attrs, attr_count, err);
    for (int i = 0; !status && i < branch_count; i++) {
        const struct md__onnx_graph *source = graph_attr(attrs, attr_count, branches[i].attr);
        status = source ? build_branch(call, &branches[i], source, in_count, err)
                        : md_fail(err, MD_ERR_CORRUPT, "has no %s", branches[i].attr);
    }
    if (!status && branch_count == 2)
        status = share_captures(&branches[0], &branches[1], err);
    if (!status && branch_count == 2)
        status = share_captures(&branches[1], &branches[0], err);
    if (!status)
        status = add_node(call, branches, branch_count, hidden, &taken, err);
    for (int i = 0; !taken && i < branch_count; i++)
        md_graph_delete(branches[i].body.graph);
    return status;
}
