/*
 * Warming: a new version runs on zeros at its symbols' sample sizes, or larger ones, before anyone
 * sees it. That proves it runs, and shows its outputs' shapes: each symbol in turn grows, and the
 * output dimensions that grow with it are that symbol. Results can be split among calls only if
 * every output's first axis follows "batch" and no other axis does.
 *
 * Zeros of a guessed size are not what every model can take (an image smaller than its strides, a
 * shape given as an input). Where there was something to guess, a run that fails for its inputs is
 * no reason against the model: what it gives is then taken from its shape rules, as far as they
 * know. Nor is one that takes too long: a loop until an end of text may find none in zeros.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "serve/internal.h"

#define RUN_NS_MAX INT64_C(3000000000) /* of one run whose length depends on data */

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
    const struct md_run_limits limits = {.deadline_ns = md_monotonic_ns(model->clock) + RUN_NS_MAX};
    struct md_tensor *inputs = calloc((size_t)model->input_count + 1, sizeof *inputs);
    enum md_status status = MD_OK;

    if (inputs == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "out of memory while warming");
    }
    for (int i = 0; i < model->input_count && status == MD_OK; i++) {
        struct md_shape shape = sized(&model->inputs[i].shape, sizes);
        status = shape.rank < 0 ? md_fail(err, MD_ERR_INVALID, "an input's rank is unknown")
                                : md_tensor_new(model->inputs[i].dtype, &shape, &inputs[i], err);
    }
    if (status == MD_OK) {
        status = md_executable_run_within(model->executable, inputs, model->input_count, outputs,
                                          model->output_count, &limits, err);
    }
    md_tensors_unref(inputs, model->input_count);
    free(inputs);
    return status;
}

/* Marks the dimensions of outputs that grew by as much as symbol `dim` did. */
static void note_growth(struct md_model *model, const struct md_tensor *before,
                        const struct md_tensor *after, int64_t dim, int64_t growth)
{
    for (int i = 0; i < model->output_count; i++) {
        if (after[i].shape.rank != before[i].shape.rank || model->outputs[i].shape.rank < 0) {
            continue;
        }
        for (int axis = 0; axis < before[i].shape.rank; axis++) {
            if (model->outputs[i].shape.dim[axis] != -1 &&
                after[i].shape.dim[axis] == before[i].shape.dim[axis] + growth) {
                model->outputs[i].shape.dim[axis] = dim;
            }
        }
    }
}

static void check_outputs_split(struct md_model *model)
{
    for (int i = 0; i < model->output_count; i++) {
        const struct md_shape *shape = &model->outputs[i].shape;
        if (shape->rank <= 0 || shape->dim[0] != model->batch_symbol) {
            model->batches = false;
        }
        for (int axis = 1; axis < shape->rank; axis++) {
            if (shape->dim[axis] == model->batch_symbol) {
                model->batches = false;
            }
        }
    }
}

/* By one, or, where that is not what the model can take (strides, halves), to twice the size. */
static void try_growing(struct md_model *model, int symbol, int64_t *sizes,
                        const struct md_tensor *before, struct md_tensor *after)
{
    int64_t size = sizes[symbol];

    for (int attempt = 0; attempt < 2; attempt++) {
        struct md_error err = {0};
        sizes[symbol] = attempt == 0 ? size + 1 : 2 * size;
        enum md_status status = run_at(model, sizes, after, &err);
        if (status == MD_OK) {
            note_growth(model, before, after, -(symbol + 2), sizes[symbol] - size);
        } else {
            /* A model may tie a symbol to a constant; that output dimension stays a number. */
            md_log(MD_LOG_DEBUG, "serve", "model %s: symbol %s does not grow: %s", model->name,
                   md_executable_graph(model->executable)->symbols[symbol], err.text);
        }
        md_tensors_unref(after, model->output_count);
        if (status == MD_OK) {
            break;
        }
    }
    sizes[symbol] = size;
}

/* What shape rules say of the outputs: all of it, or only what depends on data. */
static enum md_status infer_outputs(struct md_model *model, const int64_t *sizes, bool all,
                                    struct md_error *err)
{
    struct md_tensor *inputs = calloc((size_t)model->input_count + 1, sizeof *inputs);
    struct md_tensor *outputs = calloc((size_t)model->output_count + 1, sizeof *outputs);
    enum md_status status = inputs != NULL && outputs != NULL
                                ? MD_OK
                                : md_fail(err, MD_ERR_MEMORY, "out of memory while warming");

    for (int i = 0; status == MD_OK && i < model->input_count; i++) {
        inputs[i].dtype = model->inputs[i].dtype;
        inputs[i].shape = sized(&model->inputs[i].shape, sizes);
    }
    if (status == MD_OK) {
        status = md_executable_infer(model->executable, inputs, model->input_count, outputs,
                                     model->output_count, err);
    }
    for (int i = 0; status == MD_OK && i < model->output_count; i++) {
        struct md_model_port *port = &model->outputs[i];
        const struct md_shape *shape = &outputs[i].shape;
        if (all || shape->rank < 0) {
            port->dtype = outputs[i].dtype != 0 ? outputs[i].dtype : port->dtype;
            port->shape = *shape;
        }
        for (int axis = 0; axis < shape->rank; axis++) {
            if (shape->dim[axis] < 0) {
                port->shape.dim[axis] = -1;
            }
        }
    }
    free(inputs);
    free(outputs);
    return status;
}

/* Sizes other than "batch", or contents that shapes may follow, were made up. */
static bool has_guesses(const struct md_model *model)
{
    for (int i = 0; i < model->input_count; i++) {
        const struct md_model_port *port = &model->inputs[i];
        if (port->dtype == MD_I64 || port->dtype == MD_I32 || port->shape.rank < 0) {
            return true;
        }
        for (int axis = 0; axis < port->shape.rank; axis++) {
            if (port->shape.dim[axis] < 0 && port->shape.dim[axis] != model->batch_symbol) {
                return true;
            }
        }
    }
    return false;
}

static bool about_inputs(enum md_status status)
{
    return status == MD_ERR_INVALID || status == MD_ERR_UNPROCESSABLE;
}

/* Sizes that the model runs at: the samples, else one row of what pictures may need. */
static enum md_status find_sizes(struct md_model *model, int64_t *sizes, struct md_tensor *outputs,
                                 struct md_error *err)
{
    static const int64_t attempts[] = {0, 32, 64, 224};
    const struct md_graph *graph = md_executable_graph(model->executable);
    struct md_error first = {0};
    enum md_status status = MD_OK;

    for (int attempt = 0; attempt < 4; attempt++) {
        struct md_error cause = {0};
        for (int i = 0; i < graph->symbol_count; i++) {
            bool batch = -(i + 2) == model->batch_symbol;
            sizes[i] = attempts[attempt] == 0 ? graph->symbol_samples[i]
                       : batch                ? 1
                                              : attempts[attempt];
        }
        status = run_at(model, sizes, outputs, &cause);
        if (status == MD_OK) {
            return MD_OK;
        }
        first = attempt == 0 ? cause : first;
        if (!about_inputs(status) || graph->symbol_count <= (model->batch_symbol != 0)) {
            break;
        }
    }
    for (int i = 0; i < graph->symbol_count; i++) {
        sizes[i] = graph->symbol_samples[i];
    }
    return md_fail(err, first.code, "%s", first.text);
}

/* The run at every guess failed: the model may still be good. */
static enum md_status go_without(struct md_model *model, const int64_t *sizes,
                                 enum md_status status, struct md_error *err)
{
    struct md_error cause = {0};

    model->batches = false;
    if (status != MD_ERR_TIMEOUT && !(about_inputs(status) && has_guesses(model))) {
        return status;
    }
    md_log(MD_LOG_INFO, "serve", "model %s is not warmed, it does not run on zeros: %s",
           model->name, err != NULL ? err->text : "");
    for (int i = 0; i < model->output_count; i++) {
        model->outputs[i].shape.rank = MD_RANK_UNKNOWN;
    }
    status = infer_outputs(model, sizes, true, &cause);
    return status == MD_ERR_MEMORY ? md_fail(err, status, "%s", cause.text) : MD_OK;
}

static enum md_status learn_outputs(struct md_model *model, const int64_t *sizes,
                                    const struct md_tensor *seen, struct md_error *err)
{
    for (int i = 0; i < model->output_count; i++) {
        model->outputs[i].dtype = seen[i].dtype;
        model->outputs[i].shape = seen[i].shape;
    }
    return infer_outputs(model, sizes, false, err);
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
    status = find_sizes(model, sizes, before, err);
    if (status != MD_OK) {
        md_error_context(err, "warming");
        status = go_without(model, sizes, status, err);
        goto out;
    }
    status = learn_outputs(model, sizes, before, err);
    for (int i = 0; i < graph->symbol_count && status == MD_OK; i++) {
        try_growing(model, i, sizes, before, after);
    }
    check_outputs_split(model);
out:
    md_tensors_unref(before, model->output_count);
    free(before);
    return status;
}
