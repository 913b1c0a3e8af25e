/*
 * Functions of the model: each call becomes the function's nodes, in a scope of their own. What the
 * call's attributes say reaches the nodes by reference (ref_attr_name); the function's own values
 * stand in for attributes that the call leaves out.
 *
 * A function may call others, never itself. The number of nodes that a file can unfold to is
 * capped where nodes are built.
 */
#include <string.h>

#include "model/onnx_build.h"

enum { ATTRS_MAX = 256 }; /* of one node, or with defaults of one function */

enum md_status md__onnx_index_functions(struct md__onnx_reader *reader, struct md_error *err)
{
    const struct md__onnx_model *model = &reader->model;
    enum md_status status = MD_OK;
    reader->functions.reader = reader;
    reader->function_next =
        md_arena_array(&reader->arena, model->function_count, sizeof *reader->function_next);
    if (!reader->function_next)
        return md__onnx_no_memory(err);
    for (size_t i = 0; !status && i < model->function_count; i++) {
        const char *name = model->functions[i].name;
        int first = MD_NONE;
        reader->function_next[i] = MD_NONE;
        if (!md__onnx_bound(&reader->functions, name)) {
            status = md__onnx_bind(&reader->functions, name, (int)i, err);
        } else if (name[0]) {
            status = md__onnx_find(&reader->functions, name, &first, err);
            reader->function_next[i] = reader->function_next[first];
            reader->function_next[first] = (int)i;
        }
    }
    return status;
}

const struct md__onnx_function *md__onnx_function(struct md__onnx_reader *reader,
                                                  const struct md__onnx_node *node)
{
    int i = MD_NONE;
    if (node->op_type[0] && md__onnx_bound(&reader->functions, node->op_type))
        md__onnx_find(&reader->functions, node->op_type, &i, NULL);
    for (; i != MD_NONE; i = reader->function_next[i]) {
        const struct md__onnx_function *function = &reader->model.functions[i];
        if (strcmp(function->domain, node->domain) == 0 &&
            strcmp(function->overload, node->overload) == 0)
            return function;
    }
    return NULL;
}

/* ---- attributes ---- */

static enum md_status resolve(const struct md__onnx_frame *frame, const struct md__onnx_attr *attr,
                              const struct md__onnx_attr **found, struct md_error *err)
{
    *found = attr;
    if (!attr->ref[0])
        return MD_OK;
    if (!frame)
        return md_fail(err, MD_ERR_CORRUPT, "attribute \"%.60s\" refers to one outside a function",
                       attr->name);
    *found = md__onnx_attr_named(frame->attrs, frame->attr_count, attr->ref);
    if (!*found)
        *found = md__onnx_attr_named(frame->function->defaults, frame->function->default_count,
                                     attr->ref);
    if (*found && ((*found)->graph || (*found)->ref[0]))
        return md_fail(err, MD_ERR_UNSUPPORTED, "attribute \"%.60s\" hands on a %s", attr->ref,
                       (*found)->graph ? "graph" : "reference");
    return MD_OK;
}

enum md_status md__onnx_resolve_attrs(struct md__onnx_scope *scope,
                                      const struct md__onnx_node *node,
                                      const struct md__onnx_attr **attrs, size_t *count,
                                      struct md_error *err)
{
    enum md_status status = MD_OK;
    struct md__onnx_attr *copies =
        md_arena_array(&scope->reader->arena, node->attr_count, sizeof *copies);
    *attrs = copies;
    *count = 0;
    if (!copies)
        return md__onnx_no_memory(err);
    if (node->attr_count > ATTRS_MAX)
        return md_fail(err, MD_ERR_TOO_LARGE, "has %zu attributes", node->attr_count);
    for (size_t i = 0; !status && i < node->attr_count; i++) {
        const struct md__onnx_attr *found;
        status = resolve(scope->frame, &node->attrs[i], &found, err);
        if (status || !found)
            continue;
        copies[*count] = *found;
        copies[(*count)++].name = node->attrs[i].name;
    }
    return status;
}

/* ---- the call ---- */

static enum md_status check_call(const struct md__onnx_scope *scope,
                                 const struct md__onnx_node *node,
                                 const struct md__onnx_function *function, struct md_error *err)
{
    if (node->input_count > function->input_count || node->output_count > function->output_count)
        return md_fail(err, MD_ERR_CORRUPT, "the function has %zu inputs and %zu outputs",
                       function->input_count, function->output_count);
    if (function->default_count > ATTRS_MAX)
        return md_fail(err, MD_ERR_TOO_LARGE, "the function has %zu attributes",
                       function->default_count);
    for (const struct md__onnx_frame *at = scope->frame; at; at = at->caller)
        if (at->function == function)
            return md_fail(err, MD_ERR_CORRUPT, "function %.80s calls itself", function->name);
    return MD_OK;
}

/* Inputs that the call leaves out are absent inside, too. */
static enum md_status bind_inputs(struct md__onnx_scope *inside, struct md__onnx_scope *outside,
                                  const struct md__onnx_node *node,
                                  const struct md__onnx_function *function, struct md_error *err)
{
    enum md_status status = MD_OK;
    for (size_t i = 0; !status && i < function->input_count; i++) {
        int value = MD_NONE;
        if (i < node->input_count)
            status = md__onnx_find(outside, node->inputs[i], &value, err);
        if (!status)
            status = md__onnx_bind(inside, function->inputs[i], value, err);
    }
    return status;
}

static enum md_status bind_outputs(struct md__onnx_scope *inside, struct md__onnx_scope *outside,
                                   const struct md__onnx_node *node,
                                   const struct md__onnx_function *function, struct md_error *err)
{
    enum md_status status = MD_OK;
    for (size_t i = 0; !status && i < node->output_count; i++) {
        int value = MD_NONE;
        if (!node->outputs[i][0])
            continue;
        status = md__onnx_find(inside, function->outputs[i], &value, err);
        if (!status)
            status = md__onnx_bind(outside, node->outputs[i], value, err);
    }
    return status;
}

enum md_status md__onnx_expand(struct md__onnx_scope *scope, const struct md__onnx_node *node,
                               const struct md__onnx_function *function, struct md_error *err)
{
    struct md__onnx_reader *reader = scope->reader;
    struct md__onnx_frame frame = {.function = function, .caller = scope->frame};
    struct md__onnx_scope inside = {.reader = reader,
                                    .body = scope->body,
                                    .frame = &frame,
                                    .opsets = function->opsets,
                                    .opset_count = function->opset_count};
    enum md_status status = check_call(scope, node, function, err);
    if (!status)
        status = md__onnx_enter(reader, err);
    if (status)
        return status;
    status = md__onnx_resolve_attrs(scope, node, &frame.attrs, &frame.attr_count, err);
    if (!status)
        status = bind_inputs(&inside, scope, node, function, err);
    if (!status)
        status = md__onnx_build_nodes(&inside, function->nodes, function->node_count, err);
    if (!status)
        status = bind_outputs(&inside, scope, node, function, err);
    md__onnx_leave(reader);
    return status;
}
