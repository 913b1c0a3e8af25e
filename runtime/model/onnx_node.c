/*
 * One node of the file: its inputs found, its attributes made ours, then on to whoever knows it: a
 * function of the model, a constant, a subgraph, or an operator of the table, modernised first.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model/onnx_build.h"

enum { VISITS_MAX = 2 * MD_GRAPH_NODES_MAX, PORTS_MAX = 4096 };

/* ---- attributes ---- */

static enum md_status attr_tensor(struct md__onnx_reader *reader, const struct md__onnx_attr *from,
                                  struct md_attr *to, struct md_error *err)
{
    to->type = MD_ATTR_TENSOR;
    if (!from->tensor)
        return md_fail(err, MD_ERR_CORRUPT, "attribute \"%.60s\" has no tensor", from->name);
    return md__onnx_tensor_read(&reader->files, from->tensor, &to->tensor, err);
}

/* The type where the file says it, else (IR version 1) what is there. */
static int attr_type(const struct md__onnx_attr *attr)
{
    if (attr->type)
        return attr->type;
    if (attr->tensor)
        return MD__ONNX_ATTR_TENSOR;
    if (attr->graph)
        return MD__ONNX_ATTR_GRAPH;
    if (attr->int_count)
        return MD__ONNX_ATTR_INTS;
    if (attr->float_count)
        return MD__ONNX_ATTR_FLOATS;
    if (attr->string_count)
        return MD__ONNX_ATTR_STRINGS;
    if (attr->has_f)
        return MD__ONNX_ATTR_FLOAT;
    return attr->has_i ? MD__ONNX_ATTR_INT : MD__ONNX_ATTR_STRING;
}

/*
 * A standard operator knows its attributes. An unknown one, or one of another type, would be passed
 * over in silence further down, and the numbers be wrong. An integer may stand for a float.
 */
static enum md_status check_attr(const char *op, const struct md__onnx_attr *attr,
                                 struct md_error *err)
{
    static const char letters[] = "?fistgFIS??p????";
    const char *known = md__onnx_attrs_of(op);
    size_t length = strlen(attr->name);
    int type = attr_type(attr);
    if (length == 0)
        return md_fail(err, MD_ERR_CORRUPT, "an attribute has no name");
    char letter = type > 0 && type < (int)sizeof letters - 1 ? letters[type] : '?';
    for (const char *at = known; at && (at = strstr(at, attr->name)); at++) {
        if ((at != known && at[-1] != ' ') || at[length] != ':')
            continue;
        const char *types = at + length + 1;
        size_t count = strcspn(types, " ");
        if (memchr(types, letter, count) || (letter == 'i' && memchr(types, 'f', count)))
            return MD_OK;
        return md_fail(err, MD_ERR_CORRUPT,
                       "attribute \"%.60s\" has type %d, which %.60s does not "
                       "take",
                       attr->name, type, op);
    }
    return known ? md_fail(err, MD_ERR_CORRUPT, "%.60s has no attribute \"%.60s\"", op, attr->name)
                 : MD_OK;
}

static enum md_status check_attrs(const struct md__onnx_call *call,
                                  const struct md__onnx_attr *attrs, size_t count,
                                  struct md_error *err)
{
    enum md_status status = MD_OK;
    for (size_t i = 0; !status && !call->node->domain[0] && i < count; i++)
        status = check_attr(call->op, &attrs[i], err);
    return status;
}

static enum md_status make_attr(struct md__onnx_reader *reader, const struct md__onnx_attr *from,
                                struct md_attr *to, struct md_error *err)
{
    size_t count = from->int_count | from->float_count | from->string_count;
    *to = (struct md_attr){.name = from->name};
    if (count > INT32_MAX)
        return md_fail(err, MD_ERR_TOO_LARGE, "attribute \"%.60s\" is too long", from->name);
    switch (attr_type(from)) {
    case MD__ONNX_ATTR_FLOAT:
        to->type = MD_ATTR_FLOAT;
        to->f = from->f;
        return MD_OK;
    case MD__ONNX_ATTR_INT:
        to->type = MD_ATTR_INT;
        to->i = from->i;
        return MD_OK;
    case MD__ONNX_ATTR_STRING:
        to->type = MD_ATTR_STRING;
        to->s = from->s;
        return MD_OK;
    case MD__ONNX_ATTR_TENSOR:
        return attr_tensor(reader, from, to, err);
    case MD__ONNX_ATTR_FLOATS:
        to->type = MD_ATTR_FLOATS;
        to->floats = from->floats;
        to->count = (int)from->float_count;
        return MD_OK;
    case MD__ONNX_ATTR_INTS:
        to->type = MD_ATTR_INTS;
        to->ints = from->ints;
        to->count = (int)from->int_count;
        return MD_OK;
    case MD__ONNX_ATTR_STRINGS:
        to->type = MD_ATTR_STRINGS;
        to->strings = from->strings;
        to->count = (int)from->string_count;
        return MD_OK;
    default:
        return md_fail(err, MD_ERR_UNSUPPORTED, "attribute \"%.60s\" has type %d", from->name,
                       (int)from->type);
    }
}

static enum md_status make_attrs(struct md__onnx_call *call, const struct md__onnx_attr *attrs,
                                 size_t count, struct md_error *err)
{
    struct md__onnx_reader *reader = call->scope->reader;
    call->attrs = md_arena_array(&reader->arena, count + MD__ONNX_ROOM, sizeof *call->attrs);
    if (!call->attrs)
        return md__onnx_no_memory(err);
    enum md_status status = MD_OK;
    for (size_t i = 0; !status && i < count; i++) {
        status = make_attr(reader, &attrs[i], &call->attrs[call->attr_count], err);
        call->attr_count += !status;
    }
    return status;
}

/* Only tensors hold something: the rest lies in the arena. */
static void drop_attrs(struct md__onnx_call *call)
{
    for (int i = 0; i < call->attr_count; i++)
        if (call->attrs[i].type == MD_ATTR_TENSOR)
            md_tensor_unref(&call->attrs[i].tensor);
}

/* ---- inputs and outputs ---- */

/* Absent ones at the end are left out, because operators tell by the count what they were given. */
static size_t trimmed(const char *const *names, size_t count)
{
    while (count && !names[count - 1][0])
        count--;
    return count;
}

static enum md_status find_inputs(struct md__onnx_call *call, struct md_error *err)
{
    const struct md__onnx_node *node = call->node;
    size_t in_count = trimmed(node->inputs, node->input_count);
    size_t out_count = trimmed(node->outputs, node->output_count);
    struct md_arena *arena = &call->scope->reader->arena;
    if (in_count > PORTS_MAX || out_count > PORTS_MAX)
        return md_fail(err, MD_ERR_TOO_LARGE, "has more than %d inputs or outputs", PORTS_MAX);
    call->in = md_arena_array(arena, in_count + MD__ONNX_ROOM, sizeof *call->in);
    call->out = md_arena_array(arena, out_count + MD__ONNX_ROOM, sizeof *call->out);
    if (!call->in || !call->out)
        return md__onnx_no_memory(err);
    call->in_count = (int)in_count;
    call->out_count = (int)out_count;
    enum md_status status = MD_OK;
    for (size_t i = 0; !status && i < in_count; i++)
        status = md__onnx_find(call->scope, node->inputs[i], &call->in[i], err);
    return status;
}

static enum md_status bind_outputs(struct md__onnx_call *call, struct md_error *err)
{
    enum md_status status = MD_OK;
    for (int i = 0; !status && i < call->out_count; i++)
        if (call->node->outputs[i][0])
            status = md__onnx_bind(call->scope, call->node->outputs[i], call->out[i], err);
    return status;
}

/* ---- Constant ---- */

static enum md_status list_tensor(enum md_dtype dtype, int rank, size_t count,
                                  struct md_tensor *tensor, struct md_error *err)
{
    struct md_shape shape = {.rank = rank, .dim = {(int64_t)count}};
    return md_tensor_new(dtype, &shape, tensor, err);
}

static enum md_status constant_tensor(struct md__onnx_reader *reader,
                                      const struct md__onnx_attr *attr, struct md_tensor *tensor,
                                      struct md_error *err)
{
    enum md_status status;
    switch (attr_type(attr)) {
    case MD__ONNX_ATTR_TENSOR:
        return attr->tensor ? md__onnx_tensor_read(&reader->files, attr->tensor, tensor, err)
                            : md_fail(err, MD_ERR_CORRUPT, "has no tensor");
    case MD__ONNX_ATTR_SPARSE:
        return attr->sparse ? md__onnx_sparse_read(&reader->files, attr->sparse, tensor, err)
                            : md_fail(err, MD_ERR_CORRUPT, "has no tensor");
    case MD__ONNX_ATTR_INT:
        status = list_tensor(MD_I64, 0, 0, tensor, err);
        if (!status)
            *(int64_t *)tensor->data = attr->i;
        return status;
    case MD__ONNX_ATTR_FLOAT:
        status = list_tensor(MD_F32, 0, 0, tensor, err);
        if (!status)
            *(float *)tensor->data = attr->f;
        return status;
    case MD__ONNX_ATTR_INTS:
        status = list_tensor(MD_I64, 1, attr->int_count, tensor, err);
        for (size_t i = 0; !status && i < attr->int_count; i++)
            ((int64_t *)tensor->data)[i] = attr->ints[i];
        return status;
    case MD__ONNX_ATTR_FLOATS:
        status = list_tensor(MD_F32, 1, attr->float_count, tensor, err);
        for (size_t i = 0; !status && i < attr->float_count; i++)
            ((float *)tensor->data)[i] = (float)attr->floats[i];
        return status;
    default:
        return md_fail(err, MD_ERR_UNSUPPORTED, "attribute \"%.60s\" is not supported", attr->name);
    }
}

static enum md_status add_constant_node(struct md__onnx_call *call,
                                        const struct md__onnx_attr *attrs, size_t count,
                                        struct md_error *err)
{
    struct md_tensor tensor = {0};
    if (count != 1 || call->in_count != 0 || call->out_count != 1)
        return md_fail(err, MD_ERR_CORRUPT, "has %zu values, %d inputs, %d outputs", count,
                       call->in_count, call->out_count);
    enum md_status status = constant_tensor(call->scope->reader, attrs, &tensor, err);
    if (status)
        return status;
    status = md__onnx_add_constant(call->scope, call->node->outputs[0], &tensor, call->out, err);
    md_tensor_unref(&tensor);
    return status;
}

/* ---- operators ---- */

enum md_status md__onnx_emit(struct md__onnx_call *call, const char *op, const int *in,
                             int in_count, const struct md_attr *attrs, int attr_count, int *out,
                             int out_count, struct md_error *err)
{
    enum md_op known;
    if (md_op_find(op, &known, NULL))
        return md_fail(err, MD_ERR_UNSUPPORTED,
                       "operator %.80s (opset %" PRId64 ") at node \"%.60s\" is not supported", op,
                       call->opset, call->name);
    enum md_status status = md_graph_node(call->scope->body->graph, op, call->name, in, in_count,
                                          attrs, attr_count, out, out_count, err);
    return status ? status
                  : md__onnx_note_outputs(call, op, in, in_count, attrs, attr_count, out, out_count,
                                          err);
}

static enum md_status add_operator(struct md__onnx_call *call, struct md_error *err)
{
    enum md_status status = md__onnx_modernise(call, err);
    if (!status && !call->done)
        status = md__onnx_emit(call, call->op, call->in, call->in_count, call->attrs,
                               call->attr_count, call->out, call->out_count, err);
    return status;
}

static enum md_status name_operator(struct md__onnx_call *call, struct md_error *err)
{
    const struct md__onnx_node *node = call->node;
    enum md_status status = md__onnx_version(call->scope, node->domain, &call->opset, err);
    call->op = node->op_type;
    if (status || !node->domain[0])
        return status;
    size_t size = strlen(node->domain) + strlen(node->op_type) + 2;
    char *text = md_arena_alloc(&call->scope->reader->arena, size);
    if (!text)
        return md__onnx_no_memory(err);
    snprintf(text, size, "%s.%s", node->domain, node->op_type);
    call->op = text;
    return MD_OK;
}

static enum md_status build_call(struct md__onnx_call *call, struct md_error *err)
{
    const struct md__onnx_attr *attrs = NULL;
    size_t count = 0;
    enum md_status status = name_operator(call, err);
    if (!status)
        status = find_inputs(call, err);
    if (!status)
        status = md__onnx_resolve_attrs(call->scope, call->node, &attrs, &count, err);
    if (!status)
        status = check_attrs(call, attrs, count, err);
    if (status)
        return status;
    if (strcmp(call->op, "Constant") == 0) {
        status = add_constant_node(call, attrs, count, err);
    } else if (strcmp(call->op, "Scan") == 0 && call->opset < 9 && !call->node->newest) {
        return md__onnx_scan_8(call, attrs, count, err);
    } else if (md__onnx_is_control(call)) {
        status = md__onnx_control(call, attrs, count, err);
    } else if (md__onnx_is_flex_attention(call)) {
        status = md__onnx_flex_attention(call, attrs, count, err);
    } else {
        status = make_attrs(call, attrs, count, err);
        if (!status)
            status = add_operator(call, err);
        drop_attrs(call);
    }
    return status ? status : bind_outputs(call, err);
}

/* What graph/ calls a wrong argument is, in a file, a broken file. */
static enum md_status blame_file(enum md_status status, struct md_error *err)
{
    if (status != MD_ERR_INVALID && status != MD_ERR_UNPROCESSABLE)
        return status;
    if (err)
        err->code = MD_ERR_CORRUPT;
    return MD_ERR_CORRUPT;
}

/* Names the node, unless the text does so already, or is long with the nodes within it. */
static void add_context(const struct md__onnx_call *call, struct md_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "\"%.60s", call->name);
    if (err && !strstr(err->text, name) && strlen(err->text) < sizeof err->text / 2)
        md_error_context(err, "%.60s \"%.60s\"", call->op, call->name);
}

enum md_status md__onnx_build_node(struct md__onnx_scope *scope, const struct md__onnx_node *node,
                                   struct md_error *err)
{
    const char *first = node->output_count ? node->outputs[0] : "";
    struct md__onnx_call call = {.scope = scope,
                                 .node = node,
                                 .op = node->op_type,
                                 .name = node->name[0] ? node->name : first};
    const struct md__onnx_function *function = md__onnx_function(scope->reader, node);
    if (++scope->reader->visits > VISITS_MAX)
        return md_fail(err, MD_ERR_TOO_LARGE, "more than %d nodes, functions expanded", VISITS_MAX);
    enum md_status status =
        function ? md__onnx_expand(scope, node, function, err) : build_call(&call, err);
    if (!status)
        return MD_OK;
    add_context(&call, err);
    return blame_file(status, err);
}
