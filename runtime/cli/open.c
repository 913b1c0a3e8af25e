/*
 * Opens a model for one command: the graph from its folder, an executable with a pool of its own.
 */
#include <stdlib.h>

#include "cli/cli.h"
#include "kernels/cpu/cpu.h"
#include "script/builder.h"

static void count_built(const struct md_graph *graph, struct md__opened *model)
{
    model->nodes_built = graph->node_count;
    for (int i = 0; i < graph->region_count; i++) {
        model->regions[graph->regions[i].op]++;
    }
    for (int i = 0; i < graph->value_count; i++) {
        if (graph->values[i].constant.data != NULL && graph->values[i].dtype == MD_F32) {
            model->parameters += (int64_t)md_tensor_count(&graph->values[i].constant);
        }
    }
}

enum md_status md__open(const struct md__open_options *options, struct md__opened *model,
                        struct md_error *err)
{
    struct md_executable_options how = {.reference = md_cpu_reference(),
                                        .passes_off = options->passes_off};
    struct md_graph *graph = NULL;
    enum md_status status;

    *model = (struct md__opened){.threads = md__cli_threads(options->threads)};
    status = md__cli_backend(options->device ? options->device : "auto",
                             options->isa ? options->isa : "auto", &model->backend, err);
    if (status == MD_OK) {
        status = md_script_builder_new(md__cli_lib_dir(), md_clock_system(), &model->builder, err);
    }
    if (status == MD_OK) {
        status = md_serve_read(&model->builder, options->path, &graph, &model->config, err);
    }
    if (status == MD_OK) {
        count_built(graph, model);
        status = md_pool_new(model->threads, 50, &model->pool, err);
        if (status != MD_OK) {
            md_graph_delete(graph);
        }
    }
    if (status == MD_OK) {
        how.backend = model->backend;
        how.pool = model->pool;
        status = md_executable_new(graph, &how, &model->executable, err);
    }
    if (status != MD_OK) {
        md__opened_close(model);
        return status;
    }
    md_executable_set_clock(model->executable, md_clock_system());
    return MD_OK;
}

void md__opened_close(struct md__opened *model)
{
    if (model->executable != NULL) {
        md_executable_delete(model->executable);
    }
    if (model->pool != NULL) {
        md_pool_delete(model->pool);
    }
    md_script_builder_delete(&model->builder);
    free(model->config);
    *model = (struct md__opened){0};
}
