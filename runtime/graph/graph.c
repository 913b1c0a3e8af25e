/*
 * The graph builder. Everything it is told is copied into the graph's arena and checked on the way
 * in, so that passes and planner can trust ids and counts. Arrays grow by doubling; the outgrown
 * copy stays in the arena until the graph dies, which at most doubles a few kilobytes of
 * bookkeeping.
 *
 * A failed call leaves the graph as it was: a fused operator whose body fails halfway is rolled
 * back.
 */
#include "graph/graph_internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORTS_MAX      4096    /* inputs or outputs of one node or of the graph */
#define ATTRS_MAX      256     /* of one node */
#define VALUES_MAX     1000000 /* of one graph */
#define EMPTY_ROWS_MAX ((size_t)1 << 31)

static enum md_status out_of_memory(struct md_error *err)
{
    return md_fail(err, MD_ERR_MEMORY, "out of memory, or the graph is over its size limit");
}

/* Makes room for one more element of `size` bytes in an array inside the arena. */
static enum md_status grow(struct md_graph *graph, void *array, int count, int *capacity,
                           size_t size, struct md_error *err)
{
    void **slot = array;
    if (count < *capacity)
        return MD_OK;
    if (count >= INT_MAX / 2)
        return out_of_memory(err);
    int larger = count < 8 ? 16 : count * 2;
    void *copy = md_arena_array(&graph->arena, (size_t)larger, size);
    if (!copy)
        return out_of_memory(err);
    if (count)
        memcpy(copy, *slot, (size_t)count * size);
    *slot = copy;
    *capacity = larger;
    return MD_OK;
}

enum md_status md_graph_new(const char *name, struct md_graph **graph, struct md_error *err)
{
    struct md_graph *made = calloc(1, sizeof *made);
    *graph = NULL;
    if (!made)
        return out_of_memory(err);
    md_arena_init(&made->arena, MD_GRAPH_BYTES_MAX);
    made->region_open = MD_NONE;
    made->name = md_arena_strdup(&made->arena, name ? name : "");
    if (!made->name) {
        md_graph_delete(made);
        return out_of_memory(err);
    }
    *graph = made;
    return MD_OK;
}

/* Forgets the values from `count` on, with the references of those that are constants. */
static void drop_values(struct md_graph *graph, int count)
{
    for (int i = count; i < graph->value_count; i++)
        md_tensor_unref(&graph->values[i].constant);
    graph->value_count = count;
}

void md_graph_delete(struct md_graph *graph)
{
    if (!graph)
        return;
    drop_values(graph, 0);
    for (int i = 0; i < graph->body_count; i++)
        md_graph_delete(graph->bodies[i]);
    md_arena_fini(&graph->arena);
    free(graph);
}

enum md_status md_graph_symbol(struct md_graph *graph, const char *name, int64_t sample,
                               int64_t *dim, struct md_error *err)
{
    if (!name || !name[0] || sample < 0)
        return md_fail(err, MD_ERR_INVALID, "a symbol needs a name and a sample size of 0 or more");
    int k = 0;
    while (k < graph->symbol_count && strcmp(graph->symbols[k], name) != 0)
        k++;
    if (k == graph->symbol_count) {
        int capacity = graph->symbol_capacity;
        enum md_status status =
            grow(graph, &graph->symbols, k, &graph->symbol_capacity, sizeof *graph->symbols, err);
        if (!status)
            status = grow(graph, &graph->symbol_samples, k, &capacity,
                          sizeof *graph->symbol_samples, err);
        if (status)
            return status;
        if (!(graph->symbols[k] = md_arena_strdup(&graph->arena, name)))
            return out_of_memory(err);
        graph->symbol_samples[k] = MD_GRAPH_SYMBOL_SAMPLE;
        graph->symbol_count++;
    }
    if (sample)
        graph->symbol_samples[k] = sample;
    *dim = MD_SYMBOL_DIM(k);
    return MD_OK;
}

enum md_status md__graph_value(struct md_graph *graph, const char *name, int *value,
                               struct md_error *err)
{
    if (graph->value_count >= VALUES_MAX)
        return md_fail(err, MD_ERR_TOO_LARGE, "graph has more than %d values", VALUES_MAX);
    enum md_status status = grow(graph, &graph->values, graph->value_count, &graph->value_capacity,
                                 sizeof *graph->values, err);
    if (status)
        return status;
    const char *copy = md_arena_strdup(&graph->arena, name ? name : "");
    if (!copy)
        return out_of_memory(err);
    *value = graph->value_count++;
    graph->values[*value] = (struct md_value){.name = copy, .producer = MD_NONE};
    return MD_OK;
}

static enum md_status check_port_name(const struct md_port *ports, int count, const char *what,
                                      const char *name, struct md_error *err)
{
    if (!name || !name[0])
        return md_fail(err, MD_ERR_INVALID, "a graph %s needs a name", what);
    if (count >= PORTS_MAX)
        return md_fail(err, MD_ERR_TOO_LARGE, "graph has more than %d %ss", PORTS_MAX, what);
    for (int i = 0; i < count; i++)
        if (strcmp(ports[i].name, name) == 0)
            return md_fail(err, MD_ERR_INVALID, "graph has two %ss named \"%.80s\"", what, name);
    return MD_OK;
}

/* Dimensions may be sizes or known symbols; -1 ("anything") must be given a symbol instead. */
static enum md_status check_input_shape(const struct md_graph *graph, const char *name,
                                        const struct md_shape *shape, struct md_error *err)
{
    if (shape->rank == MD_RANK_UNKNOWN)
        return MD_OK;
    if (shape->rank < 0 || shape->rank > MD_RANK_MAX)
        return md_fail(err, MD_ERR_INVALID, "input \"%.80s\" has rank %d, allowed are 0 to %d",
                       name, shape->rank, MD_RANK_MAX);
    for (int i = 0; i < shape->rank; i++) {
        int64_t dim = shape->dim[i];
        if (dim < 0 && (dim == -1 || dim < MD_SYMBOL_DIM(graph->symbol_count - 1)))
            return md_fail(err, MD_ERR_INVALID,
                           "input \"%.80s\": dimension %d is neither a size nor a symbol", name, i);
    }
    return MD_OK;
}

enum md_status md_graph_input(struct md_graph *graph, const char *name, enum md_dtype dtype,
                              const struct md_shape *shape, int *value, struct md_error *err)
{
    enum md_status status = check_port_name(graph->inputs, graph->input_count, "input", name, err);
    if (!status && !md_dtype_bytes(dtype))
        status = md_fail(err, MD_ERR_INVALID, "input \"%.80s\" has no known dtype", name);
    if (!status)
        status = check_input_shape(graph, name, shape, err);
    if (!status)
        status = grow(graph, &graph->inputs, graph->input_count, &graph->input_capacity,
                      sizeof *graph->inputs, err);
    if (!status)
        status = md__graph_value(graph, name, value, err);
    if (status)
        return status;
    struct md_value *made = &graph->values[*value];
    made->dtype = dtype;
    made->shape = *shape;
    graph->inputs[graph->input_count++] = (struct md_port){made->name, *value};
    return MD_OK;
}

enum md_status md_graph_constant(struct md_graph *graph, const char *name,
                                 const struct md_tensor *tensor, int *value, struct md_error *err)
{
    struct md_tensor kept = {0};
    size_t bytes = 0;
    if (!md_dtype_bytes(tensor->dtype) || !tensor->data)
        return md_fail(err, MD_ERR_INVALID, "constant \"%.80s\" has no known dtype or no data",
                       name ? name : "");
    enum md_status status = md__shape_bytes(&tensor->shape, tensor->dtype, &bytes, err);
    if (status)
        return status;
    if (tensor->owner) {
        kept = md_tensor_ref(tensor);
    } else {
        if ((status = md_tensor_new(tensor->dtype, &tensor->shape, &kept, err)))
            return status;
        if (bytes)
            memcpy(kept.data, tensor->data, bytes);
    }
    if ((status = md__graph_value(graph, name, value, err))) {
        md_tensor_unref(&kept);
        return status;
    }
    struct md_value *made = &graph->values[*value];
    made->dtype = kept.dtype;
    made->shape = kept.shape;
    made->constant = kept;
    return MD_OK;
}

static enum md_status check_counts(const struct md_op_info *info, int in_count, int out_count,
                                   int attr_count, struct md_error *err)
{
    int in_max = info->in_max < 0 ? PORTS_MAX : info->in_max;
    int out_max = info->out_max < 0 ? PORTS_MAX : info->out_max;
    if (in_count < info->in_min || in_count > in_max)
        return md_fail(err, MD_ERR_INVALID, "has %d inputs, allowed are %d to %d", in_count,
                       info->in_min, in_max);
    if (out_count < info->out_min || out_count > out_max)
        return md_fail(err, MD_ERR_INVALID, "has %d outputs, allowed are %d to %d", out_count,
                       info->out_min, out_max);
    if (attr_count < 0 || attr_count > ATTRS_MAX)
        return md_fail(err, MD_ERR_INVALID, "has %d attributes, allowed are 0 to %d", attr_count,
                       ATTRS_MAX);
    return MD_OK;
}

/*
 * Only fixed positions past in_min may be absent: an absent member of a variable list has no
 * meaning. Loop's first two are fixed positions before its list; a gated residual network may do
 * without fc2 (fused.md).
 */
static bool is_optional(enum md_op op, int i)
{
    const struct md_op_info *info = md_op_info(op);
    return (i >= info->in_min && info->in_max >= 0) || (op == MD_OP_LOOP && i < 2) ||
           ((op == MD_OP_GATED_RESIDUAL || op == MD_OP_VARIABLE_SELECTION) && (i == 3 || i == 4));
}

static enum md_status check_inputs(const struct md_graph *graph, enum md_op op, const int *inputs,
                                   int in_count, struct md_error *err)
{
    for (int i = 0; i < in_count; i++) {
        if (inputs[i] == MD_NONE && is_optional(op, i))
            continue;
        if (inputs[i] == MD_NONE)
            return md_fail(err, MD_ERR_INVALID, "input %d is missing", i);
        if (inputs[i] < 0 || inputs[i] >= graph->value_count)
            return md_fail(err, MD_ERR_INVALID, "input %d is value %d, the graph has 0 to %d", i,
                           inputs[i], graph->value_count - 1);
    }
    return MD_OK;
}

static enum md_status copy_attrs(struct md_graph *graph, const struct md_attr *attrs, int count,
                                 struct md_node *node, struct md_error *err)
{
    struct md_attr *copies = md_arena_array(&graph->arena, (size_t)count + 1, sizeof *copies);
    if (!copies)
        return out_of_memory(err);
    node->attrs = copies;
    for (int i = 0; i < count; i++) {
        enum md_status status = md__attr_copy(&graph->arena, &attrs[i], &copies[i], err);
        if (status)
            return status;
        if (md_node_attr(node, copies[i].name))
            return md_fail(err, MD_ERR_INVALID, "attribute \"%.60s\" is given twice",
                           copies[i].name);
        node->attr_count++;
    }
    return MD_OK;
}

enum md_status md__graph_node_copy(struct md_graph *graph, const char *name, const int *inputs,
                                   int in_count, const struct md_attr *attrs, int attr_count,
                                   struct md_node *node, struct md_error *err)
{
    int *ids = md_arena_array(&graph->arena, (size_t)in_count + 1, sizeof *ids);
    node->name = md_arena_strdup(&graph->arena, name ? name : "");
    if (!ids || !node->name)
        return out_of_memory(err);
    if (in_count)
        memcpy(ids, inputs, (size_t)in_count * sizeof *ids);
    node->in = ids;
    node->in_count = in_count;
    node->region = graph->region_open;
    return copy_attrs(graph, attrs, attr_count, node, err);
}

enum md_status md__graph_append(struct md_graph *graph, const struct md_node *node,
                                struct md_error *err)
{
    if (graph->node_count >= MD_GRAPH_NODES_MAX)
        return md_fail(err, MD_ERR_TOO_LARGE, "graph has more than %d nodes", MD_GRAPH_NODES_MAX);
    enum md_status status = grow(graph, &graph->nodes, graph->node_count, &graph->node_capacity,
                                 sizeof *graph->nodes, err);
    if (status)
        return status;
    for (int i = 0; i < node->out_count; i++)
        graph->values[node->out[i]].producer = graph->node_count;
    graph->nodes[graph->node_count++] = *node;
    return MD_OK;
}

static enum md_status add_primitive(struct md_graph *graph, struct md_node *node, int *outputs,
                                    int out_count, struct md_error *err)
{
    enum md_status status = MD_OK;
    int *ids = md_arena_array(&graph->arena, (size_t)out_count, sizeof *ids);
    if (!ids)
        status = out_of_memory(err);
    for (int i = 0; !status && i < out_count; i++)
        status = md__graph_value(graph, "", &ids[i], err);
    if (status)
        return status;
    memcpy(outputs, ids, (size_t)out_count * sizeof *ids);
    node->out = ids;
    node->out_count = out_count;
    return md__graph_append(graph, node, err);
}

/* Opens a region, lets the body write its primitives, and closes it. */
static enum md_status add_fused(struct md_graph *graph, struct md_node *node, int *outputs,
                                int out_count, struct md_error *err)
{
    enum md_status status = grow(graph, &graph->regions, graph->region_count,
                                 &graph->region_capacity, sizeof *graph->regions, err);
    int *ids = md_arena_array(&graph->arena, (size_t)out_count, sizeof *ids);
    if (status || !ids)
        return status ? status : out_of_memory(err);
    int index = graph->region_count++;
    graph->regions[index] = (struct md_region){
        .op = node->op, .node_begin = graph->node_count, .parent = graph->region_open};
    graph->region_open = index;
    status = md_op_info(node->op)->body(graph, node, outputs, err);
    struct md_region *region = &graph->regions[index];
    graph->region_open = region->parent;
    if (status)
        return status;
    memcpy(ids, outputs, (size_t)out_count * sizeof *ids);
    node->out = ids;
    node->out_count = out_count;
    region->fused = *node;
    region->node_end = graph->node_count;
    return MD_OK;
}

/* Room for the bodies among attrs[], and a look at how deep they go. */
static enum md_status check_bodies(struct md_graph *graph, const struct md_attr *attrs, int count,
                                   struct md_error *err)
{
    for (int i = 0; i < count; i++) {
        const struct md_graph *body = attrs[i].type == MD_ATTR_GRAPH ? attrs[i].graph : NULL;
        if (!body)
            continue;
        if (body->depth + 1 > MD_GRAPH_DEPTH_MAX)
            return md_fail(err, MD_ERR_TOO_LARGE, "graphs are nested more than %d deep",
                           MD_GRAPH_DEPTH_MAX);
        bool owned = body == graph;
        for (int k = 0; k < graph->body_count; k++)
            owned |= graph->bodies[k] == body;
        for (int k = 0; k < i; k++)
            owned |= attrs[k].type == MD_ATTR_GRAPH && attrs[k].graph == body;
        if (owned)
            return md_fail(err, MD_ERR_INVALID, "attribute \"%.60s\" is a graph in use already",
                           attrs[i].name ? attrs[i].name : "");
    }
    for (int i = 0; i < count; i++) { /* one place more each time: none is taken until the end */
        enum md_status status = grow(graph, &graph->bodies, graph->body_count + i,
                                     &graph->body_capacity, sizeof(struct md_graph *), err);
        if (status)
            return status;
    }
    return MD_OK;
}

static void take_bodies(struct md_graph *graph, const struct md_attr *attrs, int count)
{
    for (int i = 0; i < count; i++) {
        if (attrs[i].type != MD_ATTR_GRAPH)
            continue;
        graph->bodies[graph->body_count++] = attrs[i].graph;
        if (graph->depth <= attrs[i].graph->depth)
            graph->depth = attrs[i].graph->depth + 1;
    }
}

static enum md_status add_node(struct md_graph *graph, enum md_op op, const char *name,
                               const int *inputs, int in_count, const struct md_attr *attrs,
                               int attr_count, int *outputs, int out_count, struct md_error *err)
{
    const struct md_op_info *info = md_op_info(op);
    struct md_node node = {.op = op};
    enum md_status status = check_counts(info, in_count, out_count, attr_count, err);
    if (!status)
        status = check_inputs(graph, op, inputs, in_count, err);
    if (!status)
        status = md__graph_node_copy(graph, name, inputs, in_count, attrs, attr_count, &node, err);
    if (!status)
        status = check_bodies(graph, attrs, attr_count, err);
    if (!status)
        status = info->body ? add_fused(graph, &node, outputs, out_count, err)
                            : add_primitive(graph, &node, outputs, out_count, err);
    return status;
}

enum md_status md_graph_node(struct md_graph *graph, const char *op_name, const char *name,
                             const int *inputs, int input_count, const struct md_attr *attrs,
                             int attr_count, int *outputs, int output_count, struct md_error *err)
{
    enum md_op op;
    enum md_status status = md_op_find(op_name ? op_name : "", &op, err);
    if (status)
        return status;
    int nodes = graph->node_count, values = graph->value_count, regions = graph->region_count;
    status = add_node(graph, op, name, inputs, input_count, attrs, attr_count, outputs,
                      output_count, err);
    if (!status) {
        take_bodies(graph, attrs, attr_count);
        return MD_OK;
    }
    graph->node_count = nodes;
    graph->region_count = regions;
    drop_values(graph, values);
    return md_error_context(err, "%s \"%.60s\"", op_name, name ? name : "");
}

enum md_status md_graph_output(struct md_graph *graph, const char *name, int value,
                               struct md_error *err)
{
    enum md_status status =
        check_port_name(graph->outputs, graph->output_count, "output", name, err);
    if (!status && (value < 0 || value >= graph->value_count))
        status = md_fail(err, MD_ERR_INVALID, "output \"%.80s\" is value %d, the graph has 0 to %d",
                         name, value, graph->value_count - 1);
    if (!status)
        status = grow(graph, &graph->outputs, graph->output_count, &graph->output_capacity,
                      sizeof *graph->outputs, err);
    if (status)
        return status;
    const char *copy = md_arena_strdup(&graph->arena, name);
    if (!copy)
        return out_of_memory(err);
    graph->outputs[graph->output_count++] = (struct md_port){copy, value};
    return MD_OK;
}

enum md_status md__shape_bytes(const struct md_shape *shape, enum md_dtype dtype, size_t *bytes,
                               struct md_error *err)
{
    struct md_shape filled = *shape;
    size_t count = 0, others = 0;
    for (int i = 0; i < shape->rank && i < MD_RANK_MAX; i++)
        filled.dim[i] += shape->dim[i] == 0;
    enum md_status status = md_shape_count(&filled, md_dtype_bytes(dtype), &others, err);
    if (!status)
        status = md_shape_count(shape, md_dtype_bytes(dtype), &count, err);
    if (!status && count == 0 && others > EMPTY_ROWS_MAX)
        status = md_fail(err, MD_ERR_TOO_LARGE, "an empty tensor has %zu empty rows", others);
    *bytes = count * md_dtype_bytes(dtype);
    return status;
}

const char *md__node_text(const struct md_node *node, char *text, size_t size)
{
    const char *op = md_op_info(node->op)->name;
    if (node->name && node->name[0])
        snprintf(text, size, "%s \"%.60s\"", op, node->name);
    else
        snprintf(text, size, "%s", op);
    return text;
}
