/* ONNX files: what is read is whole, and every failure says why. */
#include "base/pool.h"
#include "fuzz.h"
#include "model/onnx.h"

static volatile uint8_t sum;

static void read_all(const struct md_graph *graph)
{
    for (int i = 0; i < graph->value_count; i++) {
        const struct md_tensor *tensor = &graph->values[i].constant;
        const uint8_t *bytes = tensor->data;
        for (size_t k = 0; bytes && k < md_tensor_bytes(tensor); k++)
            sum = (uint8_t)(sum + bytes[k]);
    }
    for (int i = 0; i < graph->node_count; i++)
        for (int k = 0; k < graph->nodes[i].in_count; k++)
            assert(graph->nodes[i].in[k] < graph->value_count);
    for (int i = 0; i < graph->body_count; i++)
        read_all(graph->bodies[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct md_graph *graph = NULL;
    struct md_error err = {0};
    if (md_onnx_parse(data, size, &graph, &err) != MD_OK) {
        assert(!graph && err.code != MD_OK && err.code != MD_ERR_INTERNAL && err.text[0]);
        return 0;
    }
    read_all(graph);
    md_graph_delete(graph);
    return 0;
}
