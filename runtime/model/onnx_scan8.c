/*
 * Scan of opset 8, which had a batch in front of everything, as two of the newest: the outer one
 * walks over the batch, the inner one over the sequence. Written as messages, so that the rest of
 * the reader takes them like the file's own.
 *
 *     Scan8(, states [batch, ...], sequences [batch, length, ...]; body)
 *   = Scan(states, sequences; Scan(states, sequences; body))
 */
#include <stdio.h>
#include <string.h>

#include "model/onnx_build.h"

/* `count` names, none of which a file has. */
static enum md_status make_names(struct md_arena *arena, const char *what, size_t count,
                                 const char *const **names, struct md_error *err)
{
    const char **list = md_arena_array(arena, count, sizeof *list);
    for (size_t i = 0; list && i < count; i++) {
        char text[48];
        snprintf(text, sizeof text, "moondial.scan\n%s%zu", what, i);
        if (!(list[i] = md_arena_strdup(arena, text)))
            list = NULL;
    }
    *names = list;
    return list ? MD_OK : md__onnx_no_memory(err);
}

static const struct md__onnx_value *values_named(struct md_arena *arena, const char *const *names,
                                                 size_t count)
{
    struct md__onnx_value *values = md_arena_array(arena, count, sizeof *values);
    for (size_t i = 0; values && i < count; i++)
        values[i].name = names[i];
    return values;
}

static struct md__onnx_attr int_attr(const char *name, int64_t number)
{
    return (struct md__onnx_attr){
        .name = name, .ref = "", .s = "", .type = MD__ONNX_ATTR_INT, .i = number, .has_i = true};
}

static struct md__onnx_attr graph_attr(const struct md__onnx_graph *graph)
{
    return (struct md__onnx_attr){
        .name = "body", .ref = "", .s = "", .type = MD__ONNX_ATTR_GRAPH, .graph = graph};
}

/* The graph around the inner Scan: its inputs and outputs are those of the node in it. */
static enum md_status make_inner(struct md_arena *arena, const struct md__onnx_node *node,
                                 const struct md__onnx_attr *attrs, size_t attr_count,
                                 struct md__onnx_graph *graph, struct md_error *err)
{
    const struct md__onnx_attr *body = md__onnx_attr_named(attrs, attr_count, "body");
    const struct md__onnx_attr *sequences =
        md__onnx_attr_named(attrs, attr_count, "num_scan_inputs");
    const struct md__onnx_attr *directions = md__onnx_attr_named(attrs, attr_count, "directions");
    struct md__onnx_node *inner = md_arena_alloc(arena, sizeof *inner);
    struct md__onnx_attr *own = md_arena_array(arena, 3, sizeof *own);
    if (!inner || !own)
        return md__onnx_no_memory(err);
    if (!body || !body->graph || !sequences)
        return md_fail(err, MD_ERR_CORRUPT, "has no body, or no \"num_scan_inputs\"");
    *inner = (struct md__onnx_node){.name = node->name,
                                    .op_type = "Scan",
                                    .domain = "",
                                    .overload = "",
                                    .newest = true,
                                    .attrs = own};
    inner->input_count = node->input_count - 1;
    inner->output_count = body->graph->output_count;
    own[inner->attr_count++] = graph_attr(body->graph);
    own[inner->attr_count++] = *sequences;
    if (directions) {
        own[inner->attr_count] = *directions;
        own[inner->attr_count++].name = "scan_input_directions";
    }
    enum md_status status = make_names(arena, "in", inner->input_count, &inner->inputs, err);
    if (!status)
        status = make_names(arena, "out", inner->output_count, &inner->outputs, err);
    if (status)
        return status;
    *graph = (struct md__onnx_graph){.name = "batch", .nodes = inner, .node_count = 1};
    graph->inputs = values_named(arena, inner->inputs, inner->input_count);
    graph->input_count = inner->input_count;
    graph->outputs = values_named(arena, inner->outputs, inner->output_count);
    graph->output_count = inner->output_count;
    return graph->inputs && graph->outputs ? MD_OK : md__onnx_no_memory(err);
}

enum md_status md__onnx_scan_8(struct md__onnx_call *call, const struct md__onnx_attr *attrs,
                               size_t attr_count, struct md_error *err)
{
    const struct md__onnx_node *node = call->node;
    struct md_arena *arena = &call->scope->reader->arena;
    struct md__onnx_graph *graph = md_arena_alloc(arena, sizeof *graph);
    struct md__onnx_node *outer = md_arena_alloc(arena, sizeof *outer);
    struct md__onnx_attr *own = md_arena_array(arena, 2, sizeof *own);
    if (!graph || !outer || !own)
        return md__onnx_no_memory(err);
    if (node->input_count < 2)
        return md_fail(err, MD_ERR_CORRUPT, "has %zu inputs", node->input_count);
    if (node->inputs[0][0])
        return md_fail(err, MD_ERR_UNSUPPORTED, "Scan of opset 8 with lengths of its sequences");
    enum md_status status = make_inner(arena, node, attrs, attr_count, graph, err);
    if (status)
        return status;
    own[0] = graph_attr(graph);
    own[1] = int_attr("num_scan_inputs", (int64_t)node->input_count - 1);
    *outer = *node;
    outer->inputs++;
    outer->input_count--;
    outer->attrs = own;
    outer->attr_count = 2;
    outer->newest = true;
    return md__onnx_build_node(call->scope, outer, err);
}
