/*
 * One loaded version of a model: its ports, and the checks that a call's tensors must pass
 * before they may wait in the queue. A tensor that gets past md__model_bind can be refused by
 * the planner only for sizes that the model itself cannot combine.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "model/config.h"
#include "serve/internal.h"

#define BATCH_MAX 32 /* where nobody says more */

struct md_model *md_model_ref(struct md_model *model)
{
    model->refs++;
    return model;
}

void md_model_unref(struct md_model *model)
{
    if (model == NULL || --model->refs > 0) {
        return;
    }
    md_executable_delete(model->executable);
    free(model->inputs);
    free(model->recent);
    free(model->outputs);
    free(model->name);
    free(model->path);
    free(model->config);
    free(model);
}

const char *md_model_name(const struct md_model *model)
{
    return model->name;
}

const char *md_model_path(const struct md_model *model)
{
    return model->path;
}

int64_t md_model_generation(const struct md_model *model)
{
    return model->generation;
}

int64_t md_model_loaded_at_ms(const struct md_model *model)
{
    return model->loaded_at_ms;
}

int64_t md_model_parameters(const struct md_model *model)
{
    return model->parameters;
}

const char *md_model_config(const struct md_model *model)
{
    return model->config;
}

const char *md_model_backend(const struct md_model *model)
{
    return model->backend;
}

bool md_model_batches(const struct md_model *model)
{
    return model->batches;
}

int md_model_batch_max(struct md_serve *serve, const struct md_model *model)
{
    const struct md_accelerator *accelerator = serve->options.accelerator;
    const struct md_model_profile *profile = &model->profile;

    if (profile->batch_max > 0) {
        return profile->batch_max;
    }
    if (serve->options.batch_max > 0) {
        return serve->options.batch_max;
    }
    return accelerator != NULL && profile->accelerator_batch_max > 0 &&
                   md_accelerator_usable(accelerator)
               ? profile->accelerator_batch_max
               : BATCH_MAX;
}

int md_model_input_count(const struct md_model *model)
{
    return model->input_count;
}

int md_model_output_count(const struct md_model *model)
{
    return model->output_count;
}

const struct md_model_port *md_model_input(const struct md_model *model, int index)
{
    return index >= 0 && index < model->input_count ? &model->inputs[index] : NULL;
}

const struct md_model_port *md_model_output(const struct md_model *model, int index)
{
    return index >= 0 && index < model->output_count ? &model->outputs[index] : NULL;
}

const char *md_model_symbol(const struct md_model *model, int64_t dim)
{
    const struct md_graph *graph = md_executable_graph(model->executable);
    int64_t symbol = -dim - 2;

    return symbol >= 0 && symbol < graph->symbol_count ? graph->symbols[symbol] : "?";
}

/* ---- making one ---- */

static void read_ports(struct md_model *model, const struct md_graph *graph)
{
    for (int i = 0; i < graph->input_count; i++) {
        const struct md_value *value = &graph->values[graph->inputs[i].value];
        model->inputs[i] = (struct md_model_port){
            .name = graph->inputs[i].name, .dtype = value->dtype, .shape = value->shape};
    }
    for (int i = 0; i < graph->output_count; i++) {
        model->outputs[i].name = graph->outputs[i].name;
    }
    model->input_count = graph->input_count;
    model->output_count = graph->output_count;
}

/* Rows can be concatenated when "batch" is somebody's first axis and nobody's other axis. */
static void find_batch_symbol(struct md_model *model, const struct md_graph *graph)
{
    for (int i = 0; i < graph->symbol_count; i++) {
        if (strcasecmp(graph->symbols[i], "batch") == 0 ||
            strcasecmp(graph->symbols[i], "batch_size") == 0) {
            model->batch_symbol = -(i + 2);
        }
    }
    for (int i = 0; i < model->input_count && model->batch_symbol != 0; i++) {
        const struct md_shape *shape = &model->inputs[i].shape;
        if (shape->rank > 0 && shape->dim[0] == model->batch_symbol) {
            model->batches = true;
        }
    }
    for (int i = 0; i < model->input_count; i++) {
        for (int axis = 1; axis < model->inputs[i].shape.rank; axis++) {
            if (model->batches && model->inputs[i].shape.dim[axis] == model->batch_symbol) {
                model->batches = false;
            }
        }
    }
}

bool md__model_has_rows(const struct md_model *model, int input)
{
    const struct md_shape *shape = &model->inputs[input].shape;

    return shape->rank > 0 && shape->dim[0] == model->batch_symbol;
}

static void find_metrics(struct md_serve *serve, struct md_model *model)
{
    const char *ok[] = {model->name, "ok"}, *failed[] = {model->name, "error"};
    const char *kept[] = {model->name, "kept"}, *computed[] = {model->name, "computed"};
    const char *full[] = {model->name, "full"};

    model->metrics = (struct md__model_metrics){
        .requests = md_metric_get(serve->requests, ok),
        .failures = md_metric_get(serve->requests, failed),
        .batch_rows = md_metric_get(serve->batch_rows, ok),
        .compute_seconds = md_metric_get(serve->compute_seconds, ok),
        .queue_seconds = md_metric_get(serve->queue_seconds, ok),
        .kept_bytes = md_metric_get(serve->kept_bytes, ok),
        .rows_kept = md_metric_get(serve->kept_rows, kept),
        .rows_computed = md_metric_get(serve->kept_rows, computed),
        .runs_kept = md_metric_get(serve->rolling_runs, kept),
        .runs_full = md_metric_get(serve->rolling_runs, full),
    };
}

enum md_status md__model_new(struct md_serve *serve, const char *name, const char *path,
                             const char *config, struct md_executable *executable,
                             struct md_model **made, struct md_error *err)
{
    const struct md_graph *graph = md_executable_graph(executable);
    struct md_model *model = calloc(1, sizeof *model);

    if (model == NULL) {
        md_executable_delete(executable);
        return md_fail(err, MD_ERR_MEMORY, "out of memory for model \"%s\"", name);
    }
    model->refs = 1;
    model->executable = executable;
    model->backend = serve->options.backend->name;
    model->clock = serve->options.clock;
    model->name = strdup(name);
    model->path = strdup(path);
    model->config = strdup(config);
    model->inputs = calloc((size_t)graph->input_count + 1, sizeof *model->inputs);
    model->recent = calloc(MD__RECENT_MAX * (size_t)graph->input_count + 1, sizeof *model->recent);
    model->outputs = calloc((size_t)graph->output_count + 1, sizeof *model->outputs);
    if (model->name == NULL || model->path == NULL || model->config == NULL ||
        model->inputs == NULL || model->outputs == NULL || model->recent == NULL) {
        md_model_unref(model);
        return md_fail(err, MD_ERR_MEMORY, "out of memory for model \"%s\"", name);
    }
    model->finite = md_model_config_flag(config, "finite_inputs", true);
    read_ports(model, graph);
    find_batch_symbol(model, graph);
    find_metrics(serve, model);
    *made = model;
    return MD_OK;
}

/* ---- checking a call ---- */

static int find_input(const struct md_model *model, const char *name)
{
    for (int i = 0; i < model->input_count; i++) {
        if (strcmp(model->inputs[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

/* sizes[k] is what symbol k stands for in this call; -1 until an input has bound it. */
static enum md_status bind_dims(const struct md_model *model, const struct md_model_port *port,
                                const struct md_shape *shape, int64_t *sizes, struct md_error *err)
{
    for (int axis = 0; axis < port->shape.rank; axis++) {
        int64_t want = port->shape.dim[axis], have = shape->dim[axis];
        if (have < 1 && want == model->batch_symbol && want != 0) {
            return md_fail(err, MD_ERR_INVALID, "input \"%s\": dimension %d is empty", port->name,
                           axis);
        }
        if (want < 0) {
            int64_t *size = &sizes[-want - 2];
            *size = *size < 0 ? have : *size;
            if (*size != have) {
                return md_fail(err, MD_ERR_INVALID,
                               "input \"%s\": dimension %d (%s) is %lld, another input has %lld",
                               port->name, axis, md_model_symbol(model, want), (long long)have,
                               (long long)*size);
            }
        } else if (want != have) {
            return md_fail(err, MD_ERR_INVALID,
                           "input \"%s\": dimension %d is %lld, the model takes %lld", port->name,
                           axis, (long long)have, (long long)want);
        }
    }
    return MD_OK;
}

bool md__model_takes(const struct md_model *model, const struct md_shape *shapes)
{
    int64_t sizes[MD__SYMBOLS_MAX];

    memset(sizes, -1, sizeof sizes);
    for (int i = 0; i < model->input_count; i++) {
        const struct md_model_port *port = &model->inputs[i];
        if (port->shape.rank != MD_RANK_UNKNOWN && port->shape.rank != shapes[i].rank) {
            return false;
        }
        if (bind_dims(model, port, &shapes[i], sizes, NULL) != MD_OK) {
            return false;
        }
    }
    return true;
}

/* The first element of `count` that is not finite, or count. */
static size_t find_odd(const struct md_tensor *tensor, size_t count)
{
    const uint16_t *half = tensor->data;
    size_t i = 0;

    switch (tensor->dtype) {
    case MD_F32:
        for (; i < count && isfinite(((const float *)tensor->data)[i]); i++) {
        }
        break;
    case MD_F64:
        for (; i < count && isfinite(((const double *)tensor->data)[i]); i++) {
        }
        break;
    case MD_F16:
        for (; i < count && (half[i] & 0x7c00) != 0x7c00; i++) {
        }
        break;
    default: /* bfloat16 */
        for (; i < count && (half[i] & 0x7f80) != 0x7f80; i++) {
        }
    }
    return i;
}

static bool is_nan(const struct md_tensor *tensor, size_t i)
{
    switch (tensor->dtype) {
    case MD_F32:
        return isnan(((const float *)tensor->data)[i]);
    case MD_F64:
        return isnan(((const double *)tensor->data)[i]);
    case MD_F16:
        return (((const uint16_t *)tensor->data)[i] & 0x3ff) != 0;
    default:
        return (((const uint16_t *)tensor->data)[i] & 0x7f) != 0;
    }
}

static enum md_status check_finite(const char *name, const struct md_tensor *tensor,
                                   struct md_error *err)
{
    size_t count = md_tensor_count(tensor), odd;

    if (tensor->dtype != MD_F64 && md_tensor_is_finite(tensor)) {
        return MD_OK;
    }
    odd = find_odd(tensor, count);
    if (odd == count) {
        return MD_OK;
    }
    return md_fail(err, MD_ERR_UNPROCESSABLE, "input \"%s\" is %s at element %zu", name,
                   is_nan(tensor, odd) ? "NaN" : "infinite", odd);
}

static bool is_float(enum md_dtype dtype)
{
    return dtype == MD_F32 || dtype == MD_F64 || dtype == MD_F16 || dtype == MD_BF16;
}

static enum md_status check_input(const struct md_model *model, int index,
                                  const struct md_tensor *tensor, int64_t *sizes,
                                  struct md_error *err)
{
    const struct md_model_port *port = &model->inputs[index];
    enum md_status status;

    if (tensor->data == NULL || tensor->owner == NULL) {
        return md_fail(err, MD_ERR_INVALID, "input \"%s\" is missing", port->name);
    }
    if (tensor->dtype != port->dtype) {
        return md_fail(err, MD_ERR_INVALID, "input \"%s\" is %s, the model takes %s", port->name,
                       md_dtype_name(tensor->dtype), md_dtype_name(port->dtype));
    }
    if (port->shape.rank != MD_RANK_UNKNOWN && tensor->shape.rank != port->shape.rank) {
        return md_fail(err, MD_ERR_INVALID, "input \"%s\" has %d dimensions, the model takes %d",
                       port->name, tensor->shape.rank, port->shape.rank);
    }
    status = bind_dims(model, port, &tensor->shape, sizes, err);
    if (status == MD_OK && model->finite && is_float(port->dtype)) {
        status = check_finite(port->name, tensor, err);
    }
    return status;
}

enum md_status md__model_bind(const struct md_model *model, const struct md_port_tensor *given,
                              int count, struct md_tensor *inputs, int64_t *rows,
                              struct md_error *err)
{
    int64_t sizes[MD__SYMBOLS_MAX];

    for (int k = 0; k < MD__SYMBOLS_MAX; k++) {
        sizes[k] = -1;
    }
    if (count > model->input_count) {
        return md_fail(err, MD_ERR_INVALID, "model \"%s\" takes %d inputs, %d were given",
                       model->name, model->input_count, count);
    }
    for (int i = 0; i < count; i++) {
        int port = given[i].name != NULL ? find_input(model, given[i].name) : i;
        if (port < 0) {
            return md_fail(err, MD_ERR_INVALID, "model \"%s\" has no input \"%.64s\"", model->name,
                           given[i].name);
        }
        if (inputs[port].data != NULL) {
            return md_fail(err, MD_ERR_INVALID, "input \"%s\" is given twice",
                           model->inputs[port].name);
        }
        inputs[port] = given[i].tensor; /* borrowed here: the caller refs once all is well */
    }
    for (int i = 0; i < model->input_count; i++) {
        enum md_status status = check_input(model, i, &inputs[i], sizes, err);
        if (status != MD_OK) {
            return status;
        }
    }
    *rows = model->batch_symbol != 0 ? sizes[-model->batch_symbol - 2] : 1;
    *rows = *rows > 0 ? *rows : 1;
    return MD_OK;
}
