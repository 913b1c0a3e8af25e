/* ONNX files: what the reader makes of them, and every way that a file can be wrong. */
#include <stdlib.h>
#include <string.h>

#include "model/onnx.h"
#include "proto.h"
#include "unit.h"

static struct md_error err;

/* y = Relu(x), x float32 [batch, 2]. */
static struct proto relu_graph(void)
{
    struct proto graph = {.length = 0}, node = onnx_node("Relu", "x", "y");
    struct proto x = onnx_value("x", 1, "batch 2"), y = onnx_value("y", 1, "batch 2");
    proto_sub(&graph, 1, &node);
    proto_sub(&graph, 11, &x);
    proto_sub(&graph, 12, &y);
    return graph;
}

static enum md_status parse(const struct proto *model, struct md_graph **graph)
{
    return md_onnx_parse(model->data, model->length, graph, &err);
}

static void a_small_model_is_read(void **state)
{
    struct proto source = relu_graph(), model = onnx_model(&source, 17);
    struct md_graph *graph;
    assert_ok(parse(&model, &graph));
    assert_int_equal(graph->input_count, 1);
    assert_string_equal(graph->inputs[0].name, "x");
    assert_int_equal(graph->values[graph->inputs[0].value].dtype, MD_F32);
    assert_string_equal(graph->symbols[0], "batch");
    assert_int_equal(graph->node_count, 1);
    assert_int_equal(graph->nodes[0].op, MD_OP_RELU);
    assert_string_equal(graph->outputs[0].name, "y");
    md_graph_delete(graph);
}

static void every_truncation_is_an_error(void **state)
{
    struct proto source = relu_graph(), model = onnx_model(&source, 17);
    for (size_t length = 0; length < model.length; length++) {
        uint8_t *exact = malloc(length + 1); /* so that reading on is seen by ASan */
        struct md_graph *graph = NULL;
        memcpy(exact, model.data, length);
        enum md_status status = md_onnx_parse(exact, length, &graph, &err);
        free(exact);
        assert_null(graph);
        assert_int_equal(status, MD_ERR_CORRUPT);
        assert_true(err.text[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_model_is_read),
        cmocka_unit_test(every_truncation_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
