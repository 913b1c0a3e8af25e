/*
 * The registry of models and the life of the executor. Loading is slow and happens on the
 * caller's thread; only publishing (a pointer swap) takes the lock that submitters take.
 */
#include "serve/serve.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "model/config.h"
#include "model/onnx.h"
#include "serve/internal.h"

/* Steps of one plan follow each other closely: workers stay awake between them. */
#define SPIN_US 50

/* ---- life ---- */

static void declare_metrics(struct md_serve *serve)
{
    static const char *const by_code[] = {"model", "code", NULL};
    static const char *const by_model[] = {"model", NULL};
    static const char *const by_reason[] = {"reason", NULL};
    static const char *const by_result[] = {"model", "result", NULL};
    static const double rows[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
    struct md_metrics *metrics = md_metrics_global();

    serve->requests = md_family_new(metrics, MD_COUNTER, "moondial_inferences_total",
                                    "Calls that a model has ended, by result", by_code, NULL, 0);
    serve->batch_rows = md_family_new(metrics, MD_HISTOGRAM, "moondial_batch_rows",
                                      "Rows of one run of a model", by_model, rows, 10);
    serve->compute_seconds = md_family_new(metrics, MD_HISTOGRAM, "moondial_compute_seconds",
                                           "Time of one run of a model", by_model, NULL, 0);
    serve->queue_seconds = md_family_new(metrics, MD_HISTOGRAM, "moondial_queue_wait_seconds",
                                         "Time of a call in the queue", by_model, NULL, 0);
    serve->kept_bytes = md_family_new(metrics, MD_GAUGE, "moondial_kept_bytes",
                                      "Memory that rolling windows keep", by_model, NULL, 0);
    serve->kept_rows = md_family_new(metrics, MD_COUNTER, "moondial_kept_rows_total",
                                     "Encodings of rolling windows, by result: kept or computed",
                                     by_result, NULL, 0);
    serve->rolling_runs = md_family_new(
        metrics, MD_COUNTER, "moondial_rolling_runs_total",
        "Runs over rolling windows, by result: kept, or full for want of room", by_result, NULL, 0);
    serve->rejected = md_family_new(metrics, MD_COUNTER, "moondial_rejected_total",
                                    "Calls not queued, by reason", by_reason, NULL, 0);
    serve->queue_depth =
        md_metric_get(md_family_new(metrics, MD_GAUGE, "moondial_queue_depth",
                                    "Calls waiting for the executor", NULL, NULL, 0),
                      NULL);
}

enum md_status md_serve_new(const struct md_serve_options *options, struct md_serve **made,
                            struct md_error *err)
{
    struct md_serve *serve = calloc(1, sizeof *serve);
    enum md_status status;

    if (serve == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "out of memory for the executor");
    }
    serve->options = *options;
    serve->options.queue_max = options->queue_max > 0 ? options->queue_max : 256;
    status = md_pool_new(options->threads, SPIN_US, &serve->pool, err);
    if (status != MD_OK) {
        free(serve);
        return status;
    }
    declare_metrics(serve);
    pthread_mutex_init(&serve->lock, NULL);
    pthread_mutex_init(&serve->device, NULL);
    pthread_cond_init(&serve->work, NULL);
    if (pthread_create(&serve->thread, NULL, md__executor, serve) != 0) {
        md_pool_delete(serve->pool);
        free(serve);
        return md_fail(err, MD_ERR_MEMORY, "cannot start the executor's thread");
    }
    *made = serve;
    return MD_OK;
}

void md_serve_delete(struct md_serve *serve)
{
    if (serve == NULL) {
        return;
    }
    pthread_mutex_lock(&serve->lock);
    serve->ending = true;
    pthread_cond_signal(&serve->work);
    pthread_mutex_unlock(&serve->lock);
    pthread_join(serve->thread, NULL);
    for (int i = 0; i < serve->model_count; i++) {
        md_model_unref(serve->models[i]);
    }
    md_pool_delete(serve->pool);
    pthread_cond_destroy(&serve->work);
    pthread_mutex_destroy(&serve->device);
    pthread_mutex_destroy(&serve->lock);
    free(serve);
}

void md_serve_set_builder(struct md_serve *serve, const struct md_model_builder *builder)
{
    serve->builder = *builder;
}

/* ---- loading ---- */

static enum md_status read_file(const char *path, struct md_graph **graph, char **config_json,
                                struct md_error *err)
{
    size_t length = strlen(path);

    if (length <= 5 || strcmp(path + length - 5, ".onnx") != 0) {
        return md_fail(err, MD_ERR_INVALID, "\"%s\" is neither a model folder nor an .onnx file",
                       path);
    }
    enum md_status status = md_model_config_beside(path, config_json, err);
    if (status == MD_OK) {
        status = md_onnx_read(path, graph, err);
    }
    if (status != MD_OK) {
        free(*config_json);
        *config_json = NULL;
    }
    return status;
}

enum md_status md_serve_read(const struct md_model_builder *builder, const char *path,
                             struct md_graph **graph, char **config_json, struct md_error *err)
{
    struct md_model_config config;
    struct stat info;
    enum md_status status;

    if (stat(path, &info) != 0) {
        return md_fail(err, MD_ERR_NOT_FOUND, "model \"%s\" does not exist", path);
    }
    if (!S_ISDIR(info.st_mode)) {
        return read_file(path, graph, config_json, err);
    }
    if (builder == NULL || builder->build == NULL) {
        return md_fail(err, MD_ERR_UNSUPPORTED, "%s: no builder for model families", path);
    }
    status = md_model_config_read(path, &config, err);
    if (status != MD_OK) {
        return status;
    }
    status = md_graph_new(path, graph, err);
    if (status == MD_OK) {
        status = builder->build(builder->context, path, config.model_type, config.json.data, *graph,
                                err);
        if (status != MD_OK) {
            md_graph_delete(*graph);
            md_error_context(err, "%s", path);
        }
    }
    if (status == MD_OK) {
        *config_json = config.json.data; /* the buffer's memory changes hands */
        md_buffer_init(&config.json, 0);
    }
    md_model_config_fini(&config);
    return status;
}

/* Floats, and bytes of more than one axis: those are quantised weights. */
static bool is_weight(const struct md_tensor *constant)
{
    switch (constant->dtype) {
    case MD_F32:
    case MD_F64:
    case MD_F16:
    case MD_BF16:
        return true;
    default:
        return md_dtype_bytes(constant->dtype) == 1 && constant->shape.rank > 1;
    }
}

static int64_t count_parameters(const struct md_graph *graph)
{
    int64_t total = 0;

    for (int i = 0; i < graph->value_count; i++) {
        const struct md_tensor *constant = &graph->values[i].constant;
        if (constant->data != NULL && is_weight(constant)) {
            total += (int64_t)md_tensor_count(constant);
        }
    }
    for (int i = 0; i < graph->body_count; i++) {
        total += count_parameters(graph->bodies[i]);
    }
    return total;
}

/* Makes the graph executable, wraps it and warms it, beside whatever the executor runs. */
static enum md_status make_model(struct md_serve *serve, const char *name, const char *path,
                                 struct md_graph *graph, const char *config,
                                 const struct md_model_profile *profile, struct md_model **model,
                                 struct md_error *err)
{
    struct md_executable_options options = {
        .backend = serve->options.backend,
        .reference = serve->options.reference,
        .pool = serve->pool,
        .plan_bytes_max = serve->options.plan_bytes_max,
        .kept_bytes_max = serve->options.kept_bytes_max,
        .passes_off = serve->options.passes_off,
        .packs_folder = serve->options.packs_folder,
        .packs_bytes_max = serve->options.packs_bytes_max,
        .low_memory = serve->options.low_memory,
        .accelerator = serve->options.accelerator,
        .precision = profile->has_precision ? profile->precision : serve->options.precision,
    };
    struct md_executable *executable = NULL;
    struct md_model *before = NULL;
    struct md_error cause = {0};
    int64_t parameters = count_parameters(graph);
    enum md_status status;
    bool alone;

    if (graph->symbol_count > MD__SYMBOLS_MAX || graph->input_count > MD__PORTS_MAX ||
        graph->output_count > MD__PORTS_MAX) {
        md_graph_delete(graph);
        return md_fail(err, MD_ERR_UNSUPPORTED, "a model has at most %d symbols and %d ports",
                       MD__SYMBOLS_MAX, MD__PORTS_MAX);
    }
    alone = md_pool_set_alone(true);
    status = md_executable_new(graph, &options, &executable, err);
    if (status == MD_OK) {
        md_executable_set_clock(executable, serve->options.clock);
        status = md__model_new(serve, name, path, config, executable, model, err);
    }
    if (status == MD_OK) {
        (*model)->parameters = parameters;
        (*model)->profile = *profile;
        status = md__model_warm(*model, err);
        if (status == MD_OK && md_executable_keep_packs(executable, &cause) != MD_OK) {
            md_log(MD_LOG_WARN, "serve", "model \"%s\": packed weights are not kept: %s", name,
                   cause.text);
        }
        if (status != MD_OK) {
            md_model_unref(*model);
        } else if (md_serve_model(serve, name, &before, NULL) == MD_OK) {
            md__model_plan_recent(serve, *model, before);
            md_model_unref(before);
        }
    }
    md_pool_set_alone(alone);
    return status;
}

/* Index of `name` among the sorted models, or where it would be inserted. */
static int find(const struct md_serve *serve, const char *name, bool *found)
{
    int i = 0;

    while (i < serve->model_count && strcmp(serve->models[i]->name, name) < 0) {
        i++;
    }
    *found = i < serve->model_count && strcmp(serve->models[i]->name, name) == 0;
    return i;
}

/* Hands the model to the registry; `old` receives what it replaces. */
static enum md_status put(struct md_serve *serve, struct md_model *model, struct md_model **old,
                          struct md_error *err)
{
    enum md_status status = MD_OK;
    bool found;
    int at;

    pthread_mutex_lock(&serve->lock);
    at = find(serve, model->name, &found);
    if (!found && serve->model_count == MD_SERVE_MODELS_MAX) {
        status = md_fail(err, MD_ERR_CONFLICT, "%d models are loaded already", MD_SERVE_MODELS_MAX);
    } else {
        *old = found ? serve->models[at] : NULL;
        if (!found) {
            memmove(&serve->models[at + 1], &serve->models[at],
                    (size_t)(serve->model_count - at) * sizeof serve->models[0]);
            serve->model_count++;
        }
        serve->models[at] = model;
        model->generation = ++serve->generation;
        model->loaded_at_ms = md_now_ms(serve->options.clock);
    }
    pthread_mutex_unlock(&serve->lock);
    return status;
}

static enum md_status check_name(const char *name, struct md_error *err)
{
    static const char legal[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";

    if (name[0] == '\0' || strlen(name) >= MD_SERVE_NAME_MAX ||
        strspn(name, legal) != strlen(name)) {
        return md_fail(err, MD_ERR_INVALID,
                       "model name \"%.80s\" is not of [A-Za-z0-9_.-] below %d characters", name,
                       MD_SERVE_NAME_MAX);
    }
    return MD_OK;
}

enum md_status md_serve_commit(struct md_serve *serve, struct md_model *model, struct md_error *err)
{
    struct md_model *old = NULL;
    enum md_status status = put(serve, model, &old, err);

    md_model_unref(status == MD_OK ? old : model);
    return status;
}

enum md_status md_serve_publish(struct md_serve *serve, const char *name, const char *path,
                                struct md_graph *graph, const char *config_json,
                                struct md_error *err)
{
    const struct md_model_profile profile = {0};
    struct md_model *model = NULL;
    enum md_status status = check_name(name, err);

    if (status != MD_OK) {
        md_graph_delete(graph);
        return status;
    }
    status = make_model(serve, name, path, graph, config_json, &profile, &model, err);
    if (status == MD_OK) {
        status = md_serve_commit(serve, model, err);
    }
    return status == MD_OK ? MD_OK : md_error_context(err, "model \"%s\"", name);
}

/*
 * A load on its own thread: whoever asks may have little stack. It has the priority of all others:
 * at a lower one it was measured to hold malloc's locks while it did not run, and everybody with
 * it.
 */
struct load {
    struct md_serve *serve;
    const char *name, *path;
    struct md_model_profile profile;
    struct md_model *model;
    struct md_error *err;
    enum md_status status;
};

static void *load(void *context)
{
    struct load *load = context;
    struct md_graph *graph;
    char *config = NULL;

    load->status = md_serve_read(&load->serve->builder, load->path, &graph, &config, load->err);
    if (load->status == MD_OK) {
        load->status = make_model(load->serve, load->name, load->path, graph, config,
                                  &load->profile, &load->model, load->err);
        if (load->status != MD_OK) {
            md_error_context(load->err, "model \"%s\"", load->name);
        }
        free(config);
    }
    return NULL;
}

enum md_status md_serve_stage(struct md_serve *serve, const char *name, const char *path,
                              const struct md_model_profile *profile, struct md_model **model,
                              struct md_error *err)
{
    struct load job = {.serve = serve, .name = name, .path = path, .err = err};
    pthread_t thread;
    enum md_status status = check_name(name, err);

    if (status != MD_OK) {
        return status;
    }
    job.profile = profile != NULL ? *profile : (struct md_model_profile){0};
    if (pthread_create(&thread, NULL, load, &job) != 0) {
        return md_fail(err, MD_ERR_MEMORY, "cannot start a thread to load \"%s\"", name);
    }
    pthread_join(thread, NULL);
    *model = job.model;
    return job.status;
}

enum md_status md_serve_load(struct md_serve *serve, const char *name, const char *path,
                             const struct md_model_profile *profile, struct md_error *err)
{
    struct md_model *model = NULL;
    enum md_status status = md_serve_stage(serve, name, path, profile, &model, err);

    if (status == MD_OK) {
        status = md_serve_commit(serve, model, err);
    }
    if (status == MD_OK) {
        md_log(MD_LOG_INFO, "serve", "model %s loaded from %s", name, path);
    }
    return status;
}

enum md_status md_serve_unload(struct md_serve *serve, const char *name, struct md_error *err)
{
    struct md_model *model = NULL;
    bool found;

    pthread_mutex_lock(&serve->lock);
    int at = find(serve, name, &found);
    if (found) {
        model = serve->models[at];
        serve->model_count--;
        memmove(&serve->models[at], &serve->models[at + 1],
                (size_t)(serve->model_count - at) * sizeof serve->models[0]);
    }
    pthread_mutex_unlock(&serve->lock);
    md_model_unref(model);
    return found ? MD_OK : md_fail(err, MD_ERR_NOT_FOUND, "no model is named \"%s\"", name);
}

/* ---- looking up ---- */

enum md_status md_serve_model(struct md_serve *serve, const char *name, struct md_model **model,
                              struct md_error *err)
{
    bool found;

    pthread_mutex_lock(&serve->lock);
    int at = find(serve, name, &found);
    if (found) {
        *model = md_model_ref(serve->models[at]);
    }
    pthread_mutex_unlock(&serve->lock);
    return found ? MD_OK : md_fail(err, MD_ERR_NOT_FOUND, "no model is named \"%s\"", name);
}

int md_serve_models(struct md_serve *serve, struct md_model **models, int max)
{
    int count;

    pthread_mutex_lock(&serve->lock);
    count = serve->model_count;
    for (int i = 0; i < count && i < max; i++) {
        models[i] = md_model_ref(serve->models[i]);
    }
    pthread_mutex_unlock(&serve->lock);
    return count;
}

int md_serve_queue_depth(struct md_serve *serve)
{
    int depth;

    pthread_mutex_lock(&serve->lock);
    depth = serve->depth;
    pthread_mutex_unlock(&serve->lock);
    return depth;
}
