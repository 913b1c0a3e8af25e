/* Runs the body of a fused operator, node by node, on the reference kernels. */
#include <string.h>

#include "unit.h"

#include "graph/evaluate.h"
#include "graph/graph.h"
#include "kernels/cpu/cpu.h"
#include "op_body.h"

/* The fused operator in a graph of its own, whose values hold the case's inputs as constants. */
static struct md_graph *graph_of(const struct op_run *run, int *output)
{
    struct md_error err;
    struct md_graph *graph = NULL;
    int inputs[OP_INPUTS_MAX];
    assert_ok(md_graph_new("body", &graph, &err));
    for (int i = 0; i < run->in_count; i++) {
        inputs[i] = MD_NONE;
        if (run->in[i].dtype)
            assert_ok(md_graph_constant(graph, "", &run->in[i], &inputs[i], &err));
    }
    assert_ok(md_graph_node(graph, md_op_info(run->node.op)->name, run->node.name, inputs,
                            run->in_count, run->node.attrs, run->node.attr_count, output, 1, &err));
    return graph;
}

/* Runs the nodes in order on the reference kernels; values[] gets a tensor for every value. */
static void run_graph(const struct md_graph *graph, struct md_tensor *values)
{
    struct md_error err;
    struct md_pool *pool = NULL;
    assert_ok(md_pool_new(1, 0, &pool, &err));
    struct md_tensor in[OP_INPUTS_MAX], out[8];
    for (int v = 0; v < graph->value_count; v++)
        if (graph->values[v].constant.data)
            values[v] = md_tensor_ref(&graph->values[v].constant);
    for (int n = 0; n < graph->node_count; n++) {
        const struct md_node *node = &graph->nodes[n];
        memset(in, 0, sizeof in);
        for (int i = 0; i < node->in_count; i++)
            if (node->in[i] != MD_NONE)
                in[i] = values[node->in[i]];
        assert_ok(
            md__evaluate_node(md_cpu_reference(), pool, node, in, in, out, (size_t)1 << 28, &err));
        for (int o = 0; o < node->out_count; o++)
            values[node->out[o]] = out[o];
    }
    md_pool_delete(pool);
}

void op_run_body(struct op_run *run)
{
    int output = MD_NONE;
    struct md_graph *graph = graph_of(run, &output);
    struct md_tensor values[256] = {{0}};
    assert_in_range(graph->value_count, 1, 256);
    run_graph(graph, values);
    assert_true(md_shape_equal(&values[output].shape, &run->out[0].shape));
    memcpy(run->out[0].data, values[output].data, md_tensor_bytes(&run->out[0]));
    for (int v = 0; v < graph->value_count; v++)
        md_tensor_unref(&values[v]);
    md_graph_delete(graph);
}
