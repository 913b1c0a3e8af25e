/* Helpers for tests of graphs, executables and operators. */
#include <stdlib.h>
#include <string.h>

#include "graph/evaluate.h"
#include "graphs.h"
#include "kernels/cpu/cpu.h"
#include "unit.h"

struct md_graph *graphs_new(const char *name)
{
    struct md_error err;
    struct md_graph *graph;
    assert_ok(md_graph_new(name, &graph, &err));
    return graph;
}

int graphs_any(struct md_graph *graph, const char *name, enum md_dtype dtype)
{
    struct md_error err;
    int value = MD_NONE;
    const struct md_shape shape = {.rank = MD_RANK_UNKNOWN};
    assert_ok(md_graph_input(graph, name, dtype, &shape, &value, &err));
    return value;
}

int graphs_int(struct md_graph *graph, int64_t value)
{
    struct md_error err;
    int id = MD_NONE;
    const struct md_tensor tensor = {.dtype = MD_I64, .data = &value};
    assert_ok(md_graph_constant(graph, "", &tensor, &id, &err));
    return id;
}

int graphs_input(struct md_graph *graph, const char *name, enum md_dtype dtype, int rank,
                 const int64_t *dim)
{
    struct md_error err;
    int value = MD_NONE;
    struct md_shape shape = md_shape_of(rank, dim);
    assert_ok(md_graph_input(graph, name, dtype, &shape, &value, &err));
    return value;
}

static int constant(struct md_graph *graph, enum md_dtype dtype, int rank, const int64_t *dim,
                    const void *data)
{
    struct md_error err;
    int value = MD_NONE;
    struct md_tensor tensor = {dtype, md_shape_of(rank, dim), (void *)(uintptr_t)data, NULL};
    assert_ok(md_graph_constant(graph, "", &tensor, &value, &err));
    return value;
}

int graphs_floats(struct md_graph *graph, int rank, const int64_t *dim, const float *data)
{
    return constant(graph, MD_F32, rank, dim, data);
}

int graphs_ints(struct md_graph *graph, int count, const int64_t *data)
{
    return constant(graph, MD_I64, 1, &(int64_t){count}, data);
}

int64_t graphs_symbol(struct md_graph *graph, const char *name, int64_t sample)
{
    struct md_error err;
    int64_t dim = 0;
    assert_ok(md_graph_symbol(graph, name, sample, &dim, &err));
    return dim;
}

void graphs_output(struct md_graph *graph, const char *name, int value)
{
    struct md_error err;
    assert_ok(md_graph_output(graph, name, value, &err));
}

int graphs_node_with(struct md_graph *graph, const char *op, const int *in, int in_count,
                     const struct md_attr *attrs, int attr_count)
{
    struct md_error err;
    int out = MD_NONE;
    assert_ok(md_graph_node(graph, op, "", in, in_count, attrs, attr_count, &out, 1, &err));
    return out;
}

struct md_attr graphs_attr_int(const char *name, int64_t value)
{
    return (struct md_attr){.name = name, .type = MD_ATTR_INT, .i = value};
}

struct md_attr graphs_attr_graph(const char *name, struct md_graph *body)
{
    return (struct md_attr){.name = name, .type = MD_ATTR_GRAPH, .graph = body};
}

void graphs_control(struct md_graph *graph, const char *op, const int *in, int in_count,
                    const struct md_attr *attrs, int attr_count, int captured, int *out,
                    int out_count)
{
    struct md_error err;
    struct md_attr all[8];
    assert_true(attr_count < 8);
    memcpy(all, attrs, (size_t)attr_count * sizeof *attrs);
    all[attr_count] = graphs_attr_int("moondial.captured", captured);
    assert_ok(
        md_graph_node(graph, op, "", in, in_count, all, attr_count + 1, out, out_count, &err));
}

struct md_attr graphs_attr_ints(const char *name, int count, const int64_t *values)
{
    return (struct md_attr){.name = name, .type = MD_ATTR_INTS, .ints = values, .count = count};
}

uint64_t graphs_next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

struct md_tensor graphs_random(uint64_t *state, int rank, const int64_t *dim)
{
    struct md_error err;
    struct md_tensor tensor;
    struct md_shape shape = md_shape_of(rank, dim);
    assert_ok(md_tensor_new(MD_F32, &shape, &tensor, &err));
    for (size_t i = 0; i < md_tensor_count(&tensor); i++)
        ((float *)tensor.data)[i] = (float)((double)graphs_next(state) / 1073741824.0 - 1.0);
    return tensor;
}

void graphs_drop(struct md_tensor *tensors, int count)
{
    md_tensors_unref(tensors, count);
}

/* Reference kernels compute what follows from constants and shapes, as they do while planning. */
static const struct md_backend *backend_for(const struct md_node *node, const bool *known,
                                            const struct md_tensor *shown,
                                            const struct md_backend *backend)
{
    bool all_known = true;
    for (int i = 0; i < node->in_count && node->op != MD_OP_SHAPE; i++)
        all_known = all_known && (node->in[i] == MD_NONE || known[node->in[i]]);
    return all_known || !md__kernel_find(backend, node, shown) ? md_cpu_reference() : backend;
}

static enum md_status run_node(const struct md_graph *graph, const struct md_node *node,
                               const struct md_backend *backend, struct md_pool *pool,
                               struct md_node_room *room, struct md_tensor *values, bool *known,
                               struct md_error *err)
{
    for (int i = 0; i < node->in_count; i++) {
        int v = node->in[i];
        room->in[i] = v == MD_NONE ? (struct md_tensor){0} : values[v];
        room->shown[i] = room->in[i];
        if (v != MD_NONE && !graph->values[v].constant.data)
            room->shown[i].data = NULL;
    }
    backend = backend_for(node, known, room->shown, backend);
    enum md_status status =
        md__evaluate_node(backend, pool, node, room->in, room->shown, room->out, SIZE_MAX, err);
    for (int i = 0; !status && i < node->out_count; i++) {
        values[node->out[i]] = room->out[i];
        known[node->out[i]] = !md_op_is_random(node->op);
        for (int k = 0; k < node->in_count && node->op != MD_OP_SHAPE; k++)
            known[node->out[i]] &= node->in[k] == MD_NONE || known[node->in[k]];
    }
    return status;
}

enum md_status graphs_run_slowly(const struct md_graph *graph, const struct md_backend *backend,
                                 struct md_pool *pool, const struct md_tensor *inputs,
                                 struct md_tensor *outputs, struct md_error *err)
{
    struct md_node_room room;
    struct md_tensor *values = calloc((size_t)graph->value_count + 1, sizeof *values);
    bool *known = calloc((size_t)graph->value_count + 1, sizeof *known);
    enum md_status status = md__node_room_init(&room, graph, err);
    assert_true(values && known);
    for (int v = 0; v < graph->value_count; v++) {
        if (graph->values[v].constant.data)
            values[v] = md_tensor_ref(&graph->values[v].constant);
        known[v] = graph->values[v].constant.data != NULL;
    }
    for (int i = 0; i < graph->input_count; i++)
        values[graph->inputs[i].value] = md_tensor_ref(&inputs[i]);
    for (int n = 0; !status && n < graph->node_count; n++)
        status = run_node(graph, &graph->nodes[n], backend, pool, &room, values, known, err);
    for (int i = 0; !status && i < graph->output_count; i++)
        outputs[i] = md_tensor_ref(&values[graph->outputs[i].value]);
    for (int v = 0; v < graph->value_count; v++)
        md_tensor_unref(&values[v]);
    free(values);
    free(known);
    md__node_room_fini(&room);
    return status;
}
