/*
 * Warming: a new version runs on zeros at its symbols' sample sizes before anyone sees it. That
 * proves it runs, and shows its outputs' shapes: each symbol in turn grows by one, and the
 * output dimensions that grow with it are that symbol. Results can be split among calls only if
 * every output's first axis follows "batch" and no other axis does.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "serve/internal.h"

static struct md_shape sized(const struct md_shape *shape, const int64_t *sizes)
{
    struct md_shape concrete = *shape;

    for (int axis = 0; axis < shape->rank; axis++) {
        if (shape->dim[axis] < 0) {
            concrete.dim[axis] = sizes[-shape->dim[axis] - 2];
        }
    }
    return concrete;
}

static enum md_status run_at(struct md_model *model, const int64_t *sizes,
                             struct md_tensor *outputs, struct md_error *err)
{
    struct md_tensor *inputs = calloc((size_t)model->input_count + 1, sizeof *inputs);
    enum md_status status = MD_OK;

    if (inputs == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "out of memory while warming");
    }
    for (int i = 0; i < model->input_count && status == MD_OK; i++) {
        struct md_shape shape = sized(&model->inputs[i].shape, sizes);
        status = md_tensor_new(model->inputs[i].dtype, &shape, &inputs[i], err);
    }
    if (status == MD_OK) {
        status = md_executable_run(model->executable, inputs, model->input_count, outputs,
                                   model->output_count, err);
    }
    for (int i = 0; i < model->input_count; i++) {
        md_tensor_unref(&inputs[i]);
    }
    free(inputs);
    return status;
}

/* Marks the dimensions of outputs that grew by one when symbol `dim` did. */
static void note_growth(struct md_model *model, const struct md_tensor *before,
                        const struct md_tensor *after, int64_t dim)
{
    for (int i = 0; i < model->output_count; i++) {
        if (after[i].shape.rank != before[i].shape.rank) {
            continue;
        }
        for (int axis = 0; axis < before[i].shape.rank; axis++) {
            if (after[i].shape.dim[axis] == before[i].shape.dim[axis] + 1) {
                model->outputs[i].shape.dim[axis] = dim;
            }
        }
    }
}

static void check_outputs_split(struct md_model *model)
{
    for (int i = 0; i < model->output_count; i++) {
        const struct md_shape *shape = &model->outputs[i].shape;
        if (shape->rank == 0 || shape->dim[0] != model->batch_symbol) {
            model->batches = false;
        }
        for (int axis = 1; axis < shape->rank; axis++) {
            if (shape->dim[axis] == model->batch_symbol) {
                model->batches = false;
            }
        }
    }
}

static void clear(struct md_tensor *tensors, int count)
{
    for (int i = 0; i < count; i++) {
        md_tensor_unref(&tensors[i]);
    }
}

static void try_growing(struct md_model *model, int symbol, int64_t *sizes,
                        const struct md_tensor *before, struct md_tensor *after)
{
    struct md_error err = {0};

    sizes[symbol]++;
    if (run_at(model, sizes, after, &err) == MD_OK) {
        note_growth(model, before, after, -(symbol + 2));
    } else {
        /* A model may tie a symbol to a constant; that output dimension then stays a number. */
        md_log(MD_LOG_DEBUG, "serve", "model %s: symbol %s does not grow: %s", model->name,
               md_executable_graph(model->executable)->symbols[symbol], err.text);
    }
    clear(after, model->output_count);
    sizes[symbol]--;
}

enum md_status md__model_warm(struct md_model *model, struct md_error *err)
{
    const struct md_graph *graph = md_executable_graph(model->executable);
    int64_t sizes[MD__SYMBOLS_MAX];
    struct md_tensor *before = calloc(2 * (size_t)model->output_count + 1, sizeof *before);
    struct md_tensor *after = before == NULL ? NULL : before + model->output_count;
    enum md_status status;

    if (before == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "out of memory while warming");
    }
    for (int i = 0; i < graph->symbol_count; i++) {
        sizes[i] = graph->symbol_samples[i];
    }
    status = run_at(model, sizes, before, err);
    if (status != MD_OK) {
        md_error_context(err, "warming");
        goto out;
    }
    for (int i = 0; i < model->output_count; i++) {
        model->outputs[i].dtype = before[i].dtype;
        model->outputs[i].shape = before[i].shape;
    }
    for (int i = 0; i < graph->symbol_count; i++) {
        try_growing(model, i, sizes, before, after);
    }
    check_outputs_split(model);
out:
    clear(before, model->output_count);
    free(before);
    return status;
}
