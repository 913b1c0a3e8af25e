/*
 * ai.onnx.preview.FlexAttention (https://onnx.ai/onnx/operators/, domain ai.onnx.preview):
 * attention with graphs that change the scores and the probabilities. Those run once, on whole
 * tensors, so they need no control flow: everything becomes plain operators where the node stood.
 *
 *     scores = score_mod(cast(Q sqrt(s) (K sqrt(s))^T)),  Y = prob_mod(softmax(scores)) V
 *
 * Groups of query heads share a head of K and V, which is repeated for them.
 */
#include <math.h>
#include <string.h>

#include "model/onnx_rewrite.h"

bool md__onnx_is_flex_attention(const struct md__onnx_call *call)
{
    return strcmp(call->op, "ai.onnx.preview.FlexAttention") == 0;
}

/* Dimension `axis` of a value, as a list of one. */
static enum md_status size_of(struct md__onnx_call *call, int value, int64_t axis, int *size,
                              struct md_error *err)
{
    const struct md_attr ends[] = {{.name = "start", .type = MD_ATTR_INT, .i = axis},
                                   {.name = "end", .type = MD_ATTR_INT, .i = axis + 1}};
    return md__onnx_emit(call, "Shape", &value, 1, ends, 2, size, 1, err);
}

/* [batch, kv heads, length, size] to [batch, heads, length, size] */
static enum md_status repeat_heads(struct md__onnx_call *call, int batch, int heads, int *value,
                                   struct md_error *err)
{
    int kv = MD_NONE, repeat = MD_NONE, length = MD_NONE, size = MD_NONE, axis = MD_NONE;
    int wide = MD_NONE, shape = MD_NONE;
    enum md_status status = size_of(call, *value, 1, &kv, err);
    if (!status)
        status = size_of(call, *value, 2, &length, err);
    if (!status)
        status = size_of(call, *value, 3, &size, err);
    if (!status)
        status = md__onnx_op(call, "Div", (int[]){heads, kv}, 2, &repeat, err);
    if (!status)
        status = md__onnx_ints(call, (int64_t[]){2}, 1, &axis, err);
    if (!status)
        status = md__onnx_op(call, "Unsqueeze", (int[]){*value, axis}, 2, &wide, err);
    if (!status)
        status = md__onnx_op_int(call, "Concat", (int[]){batch, kv, repeat, length, size}, 5,
                                 "axis", 0, &shape, err);
    if (!status)
        status = md__onnx_op(call, "Expand", (int[]){wide, shape}, 2, &wide, err);
    if (!status)
        status = md__onnx_op_int(call, "Concat", (int[]){batch, heads, length, size}, 4, "axis", 0,
                                 &shape, err);
    return status ? status : md__onnx_op(call, "Reshape", (int[]){wide, shape}, 2, value, err);
}

/* The square root of the scale, which Q and K get each, in their type. */
static enum md_status root_of_scale(struct md__onnx_call *call, int query, int *root,
                                    struct md_error *err)
{
    const struct md_attr *scale = md__onnx_attr(call, "scale");
    if (scale)
        return md__onnx_scalar(call, sqrt(md__onnx_attr_float(call, "scale", 1)), query, root, err);
    enum md_status status = size_of(call, query, 3, root, err);
    if (!status)
        status = md__onnx_op_int(call, "Cast", root, 1, "to", MD_F32, root, err);
    if (!status)
        status = md__onnx_op(call, "Sqrt", root, 1, root, err);
    if (!status)
        status = md__onnx_op(call, "Reciprocal", root, 1, root, err);
    if (!status)
        status = md__onnx_op(call, "Sqrt", root, 1, root, err);
    return status ? status : md__onnx_op(call, "CastLike", (int[]){*root, query}, 2, root, err);
}

static enum md_status scores_of(struct md__onnx_call *call, int query, int key, int *scores,
                                struct md_error *err)
{
    const int64_t order[] = {0, 1, 3, 2};
    const struct md_attr perm = {.name = "perm", .type = MD_ATTR_INTS, .ints = order, .count = 4};
    int root = MD_NONE;
    enum md_status status = root_of_scale(call, query, &root, err);
    if (!status)
        status = md__onnx_op(call, "Mul", (int[]){query, root}, 2, &query, err);
    if (!status)
        status = md__onnx_op(call, "Mul", (int[]){key, root}, 2, &key, err);
    if (!status)
        status = md__onnx_emit(call, "Transpose", &key, 1, &perm, 1, &key, 1, err);
    return status ? status : md__onnx_op(call, "MatMul", (int[]){query, key}, 2, scores, err);
}

/* The nodes of a graph with one input and one output, where the node stands; NULL: no change. */
static enum md_status modify(struct md__onnx_call *call, const struct md__onnx_attr *attr,
                             int *value, struct md_error *err)
{
    struct md__onnx_scope inside = *call->scope;
    const struct md__onnx_graph *graph = attr ? attr->graph : NULL;
    if (!attr)
        return MD_OK;
    if (!graph || graph->input_count != 1 || graph->output_count != 1)
        return md_fail(err, MD_ERR_CORRUPT, "\"%.40s\" is no graph of one input and one output",
                       attr->name);
    inside.names = NULL;
    inside.name_count = inside.name_capacity = 0;
    inside.outer = call->scope;
    enum md_status status = md__onnx_enter(inside.reader, err);
    if (status)
        return status;
    status = md__onnx_bind(&inside, graph->inputs[0].name, *value, err);
    if (!status)
        status = md__onnx_build_contents(&inside, graph, err);
    if (!status)
        status = md__onnx_find(&inside, graph->outputs[0].name, value, err);
    md__onnx_leave(inside.reader);
    return status;
}

/* The attributes that hold numbers, for the tools of rewrites. */
static enum md_status take_numbers(struct md__onnx_call *call, const struct md__onnx_attr *attrs,
                                   size_t count, struct md_error *err)
{
    call->attrs = md_arena_array(&call->scope->reader->arena, count, sizeof *call->attrs);
    if (!call->attrs)
        return md__onnx_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        struct md_attr *to = &call->attrs[call->attr_count];
        if (strcmp(attrs[i].name, "scale") == 0)
            *to = (struct md_attr){.name = "scale", .type = MD_ATTR_FLOAT, .f = attrs[i].f};
        else if (strcmp(attrs[i].name, "softmax_precision") == 0)
            *to =
                (struct md_attr){.name = "softmax_precision", .type = MD_ATTR_INT, .i = attrs[i].i};
        else if (attrs[i].graph)
            continue;
        else
            return md_fail(err, MD_ERR_UNSUPPORTED, "attribute \"%.60s\" is not known",
                           attrs[i].name);
        call->attr_count++;
    }
    return MD_OK;
}

enum md_status md__onnx_flex_attention(struct md__onnx_call *call,
                                       const struct md__onnx_attr *attrs, size_t attr_count,
                                       struct md_error *err)
{
    int batch = MD_NONE, heads = MD_NONE, at = MD_NONE;
    if (call->in_count != 3 || call->out_count != 1)
        return md_fail(err, MD_ERR_CORRUPT, "has %d inputs and %d outputs", call->in_count,
                       call->out_count);
    int query = call->in[0], key = call->in[1], value = call->in[2];
    enum md_status status = take_numbers(call, attrs, attr_count, err);
    bool is_double = md__onnx_dtype_of(call->scope->body, query) == MD_F64;
    int64_t precision = md__onnx_attr_int(call, "softmax_precision", is_double ? MD_F64 : MD_F32);
    if (!status)
        status = size_of(call, query, 0, &batch, err);
    if (!status)
        status = size_of(call, query, 1, &heads, err);
    if (!status)
        status = repeat_heads(call, batch, heads, &key, err);
    if (!status)
        status = repeat_heads(call, batch, heads, &value, err);
    if (!status)
        status = scores_of(call, query, key, &at, err);
    if (!status)
        status = md__onnx_op_int(call, "Cast", &at, 1, "to", precision, &at, err);
    if (!status)
        status = modify(call, md__onnx_attr_named(attrs, attr_count, "score_mod"), &at, err);
    if (!status)
        status = md__onnx_op_int(call, "Softmax", &at, 1, "axis", -1, &at, err);
    if (!status)
        status = modify(call, md__onnx_attr_named(attrs, attr_count, "prob_mod"), &at, err);
    if (!status)
        status = md__onnx_op_int(call, "Cast", &value, 1, "to", precision, &value, err);
    if (!status)
        status = md__onnx_op(call, "MatMul", (int[]){at, value}, 2, &at, err);
    return status ? status
                  : md__onnx_op(call, "CastLike", (int[]){at, query}, 2, &call->out[0], err);
}
