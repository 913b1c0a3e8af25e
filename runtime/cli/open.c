/*
 * Opens a model for one command: the graph from its folder or file, an executable with a pool
 * of its own.
 */
#include <stdlib.h>

#include "base/log.h"
#include "cli/cli.h"
#include "kernels/cpu/cpu.h"
#include "script/builder.h"

#define KEPT_BYTES_MAX ((size_t)8 << 30) /* of the windows that bench rolls */

/* Weights: constants that are no indices, sizes or masks, those of subgraphs included. */
static int64_t count_parameters(const struct md_graph *graph)
{
    int64_t count = 0;

    for (int i = 0; i < graph->value_count; i++) {
        enum md_dtype dtype = graph->values[i].dtype;
        bool is_weight = dtype != MD_I64 && dtype != MD_I32 && dtype != MD_BOOL;
        if (graph->values[i].constant.data != NULL && is_weight) {
            count += (int64_t)md_tensor_count(&graph->values[i].constant);
        }
    }
    for (int i = 0; i < graph->body_count; i++) {
        count += count_parameters(graph->bodies[i]);
    }
    return count;
}

static void count_built(const struct md_graph *graph, struct md__opened *model)
{
    model->nodes_built = graph->node_count;
    for (int i = 0; i < graph->region_count; i++) {
        model->regions[graph->regions[i].op]++;
    }
    model->parameters = count_parameters(graph);
}

enum md_status md__open(const struct md__open_options *options, struct md__opened *model,
                        struct md_error *err)
{
    struct md_executable_options how = {.reference = md_cpu_reference(),
                                        .kept_bytes_max = KEPT_BYTES_MAX,
                                        .passes_off = options->passes_off,
                                        .packs_folder = md__cli_packs_folder(options->pack_cache),
                                        .low_memory = options->low_memory,
                                        .captures_off = options->captures_off};
    struct md_graph *graph = NULL;
    enum md_status status;

    *model = (struct md__opened){.threads = md__cli_threads(options->threads)};
    status = md__cli_backend(options->isa ? options->isa : "auto", &model->backend, err);
    if (status == MD_OK) {
        status = md_precision_parse(options->precision ? options->precision : "auto",
                                    &how.precision, err);
    }
    if (status == MD_OK) {
        status = md__cli_device(options->device ? options->device : "auto", &model->device, err);
    }
    if (status == MD_OK) {
        md__cli_check_precision(&model->device, how.precision);
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
        how.accelerator = model->device.accelerator;
        status = md_executable_new(graph, &how, &model->executable, err);
    }
    if (status != MD_OK) {
        md__opened_close(model);
        return status;
    }
    md_executable_set_clock(model->executable, md_clock_system());
    return MD_OK;
}

void md__opened_keep_packs(struct md__opened *model)
{
    struct md_error err = {0};

    if (md_executable_keep_packs(model->executable, &err) != MD_OK) {
        md_log(MD_LOG_WARN, "cli", "packed weights are not kept: %s", err.text);
    }
}

void md__opened_close(struct md__opened *model)
{
    if (model->executable != NULL) {
        md_executable_delete(model->executable);
    }
    md_accelerator_delete(model->device.accelerator);
    if (model->pool != NULL) {
        md_pool_delete(model->pool);
    }
    md_script_builder_delete(&model->builder);
    free(model->config);
    *model = (struct md__opened){0};
}
