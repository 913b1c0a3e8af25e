/*
 * A graph of the file into a graph of ours: initialisers first, because every node may use them,
 * then the nodes, then the outputs.
 */
#include "model/onnx_build.h"

enum md_status md__onnx_add_constant(struct md__onnx_scope *scope, const char *name,
                                     const struct md_tensor *tensor, int *value,
                                     struct md_error *err)
{
    enum md_status status = md_graph_constant(scope->body->graph, name, tensor, value, err);
    return status ? status
                  : md__onnx_note_dtype(scope->reader, scope->body, *value, tensor->dtype, err);
}

/* ---- initialisers ---- */

static enum md_status bind_constant(struct md__onnx_scope *scope, const char *name,
                                    struct md_tensor *tensor, struct md_error *err)
{
    int value = MD_NONE;
    enum md_status status = MD_OK;
    if (!name[0])
        status = md_fail(err, MD_ERR_CORRUPT, "an initialiser has no name");
    if (!status)
        status = md__onnx_add_constant(scope, name, tensor, &value, err);
    md_tensor_unref(tensor);
    return status ? status : md__onnx_bind(scope, name, value, err);
}

static enum md_status add_initializers(struct md__onnx_scope *scope,
                                       const struct md__onnx_graph *source, struct md_error *err)
{
    struct md__onnx_files *files = &scope->reader->files;
    struct md_tensor tensor;
    enum md_status status = MD_OK;
    for (size_t i = 0; !status && i < source->initializer_count; i++) {
        status = md__onnx_tensor_read(files, &source->initializers[i], &tensor, err);
        if (!status)
            status = bind_constant(scope, source->initializers[i].name, &tensor, err);
    }
    for (size_t i = 0; !status && i < source->sparse_count; i++) {
        status = md__onnx_sparse_read(files, &source->sparse[i], &tensor, err);
        if (!status)
            status = bind_constant(scope, source->sparse[i].values.name, &tensor, err);
    }
    return status;
}

/* ---- nodes and outputs ---- */

enum md_status md__onnx_build_nodes(struct md__onnx_scope *scope, const struct md__onnx_node *nodes,
                                    size_t count, struct md_error *err)
{
    const int *order = NULL;
    enum md_status status = md__onnx_sort(scope->reader, nodes, count, &order, err);
    for (size_t i = 0; !status && i < count; i++)
        status = md__onnx_build_node(scope, &nodes[order ? (size_t)order[i] : i], err);
    return status;
}

enum md_status md__onnx_build_contents(struct md__onnx_scope *scope,
                                       const struct md__onnx_graph *source, struct md_error *err)
{
    enum md_status status = add_initializers(scope, source, err);
    return status ? status : md__onnx_build_nodes(scope, source->nodes, source->node_count, err);
}

enum md_status md__onnx_build_graph(struct md__onnx_scope *scope,
                                    const struct md__onnx_graph *source, struct md_error *err)
{
    int value = MD_NONE;
    enum md_status status = md__onnx_build_contents(scope, source, err);
    for (size_t i = 0; !status && i < source->output_count; i++) {
        const char *name = source->outputs[i].name;
        status = md__onnx_find(scope, name, &value, err);
        if (!status && value == MD_NONE)
            status = md_fail(err, MD_ERR_CORRUPT, "output %zu has no name or no value", i);
        if (!status)
            status = md_graph_output(scope->body->graph, name, value, err);
    }
    return status;
}
