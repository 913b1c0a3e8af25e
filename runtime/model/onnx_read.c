/*
 * The whole file: open, decode, check the versions, make the inputs, build the graph. Everything
 * but the graph is gone at the end; tensors keep the mapped files that they lie in.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/onnx.h"
#include "model/onnx_build.h"
#include "tensor/mapping.h"

/* Of everything decoded and noted while reading; weights are not in it. */
#define READER_BYTES_MAX ((size_t)1 << 30)
/* Copies of tensors: what numbers written in one byte each can become, twice; and sparse ones. */
#define COPIED_BYTES_MAX(length) (16 * (length) + ((size_t)1 << 29))
#define FUNCTIONS_MAX            4096
#define OPSETS_MAX               256

/* ---- versions ---- */

static enum md_status check_versions(struct md__onnx_model *model, struct md_error *err)
{
    static const struct md__onnx_opset first = {"", 1}; /* what files before IR version 3 mean */
    if (model->ir_version < 1)
        return md_fail(err, MD_ERR_CORRUPT, "no IR version: this is not an ONNX model");
    if (model->ir_version > MD__ONNX_IR_MAX)
        return md_fail(err, MD_ERR_UNSUPPORTED,
                       "IR version %" PRId64 " is not supported, the newest known is %d",
                       model->ir_version, MD__ONNX_IR_MAX);
    if (!model->graph)
        return md_fail(err, MD_ERR_CORRUPT, "the model has no graph");
    if (model->function_count > FUNCTIONS_MAX)
        return md_fail(err, MD_ERR_TOO_LARGE, "the model has %zu functions", model->function_count);
    if (model->opset_count == 0 && model->ir_version < 3) {
        model->opsets = &first;
        model->opset_count = 1;
    }
    if (model->opset_count == 0)
        return md_fail(err, MD_ERR_CORRUPT, "the model imports no opset");
    return MD_OK;
}

/* Of the model and of each function: one version a domain, none from the future. */
static enum md_status check_opsets(const struct md__onnx_opset *opsets, size_t count,
                                   struct md_error *err)
{
    if (count > OPSETS_MAX)
        return md_fail(err, MD_ERR_TOO_LARGE, "%zu opsets are imported", count);
    for (size_t i = 0; i < count; i++) {
        int64_t version = opsets[i].version;
        if (!opsets[i].domain[0] && version > MD__ONNX_OPSET_MAX)
            return md_fail(err, MD_ERR_UNSUPPORTED,
                           "opset %" PRId64 " is not supported, the newest known is %d", version,
                           MD__ONNX_OPSET_MAX);
        if (version < 1)
            return md_fail(err, MD_ERR_CORRUPT, "the version of an imported opset is %" PRId64,
                           version);
        for (size_t k = 0; k < i; k++)
            if (strcmp(opsets[k].domain, opsets[i].domain) == 0 && opsets[k].version != version)
                return md_fail(err, MD_ERR_CORRUPT, "the domain \"%.60s\" is imported twice",
                               opsets[i].domain);
    }
    return MD_OK;
}

/* ---- inputs ---- */

/* Some exporters (Paddle's, Keras') write these for every size that they do not know: such sizes
 * need not agree. */
static bool names_nothing(const char *symbol)
{
    static const char *const placeholders[] = {"", "?", "-1", "None"};
    for (size_t i = 0; i < sizeof placeholders / sizeof *placeholders; i++)
        if (strcmp(symbol, placeholders[i]) == 0)
            return true;
    return false;
}

static enum md_status make_dim(struct md_graph *graph, const char *input, int axis,
                               const struct md__onnx_dim *dim, int64_t *size, struct md_error *err)
{
    char name[160];
    if (dim->has_size && dim->size >= 0) {
        *size = dim->size;
        return MD_OK;
    }
    if (!dim->has_size && !names_nothing(dim->symbol))
        return md_graph_symbol(graph, dim->symbol, 0, size, err);
    snprintf(name, sizeof name, "%.120s_dim%d", input, axis);
    return md_graph_symbol(graph, name, 0, size, err);
}

static enum md_status make_shape(struct md_graph *graph, const char *input,
                                 const struct md__onnx_shape *source, struct md_shape *shape,
                                 struct md_error *err)
{
    enum md_status status = MD_OK;
    shape->rank = MD_RANK_UNKNOWN;
    if (!source)
        return MD_OK;
    if (source->dim_count > MD_RANK_MAX)
        return md_fail(err, MD_ERR_UNSUPPORTED, "has %zu dimensions; %d are supported",
                       source->dim_count, MD_RANK_MAX);
    shape->rank = (int)source->dim_count;
    for (int i = 0; !status && i < shape->rank; i++)
        status = make_dim(graph, input, i, &source->dims[i], &shape->dim[i], err);
    return status;
}

static const char *kind_of(const struct md__onnx_type *type)
{
    return type->is_sequence   ? "a sequence"
           : type->is_map      ? "a map"
           : type->is_optional ? "an optional"
           : type->is_sparse   ? "a sparse tensor"
           : type->is_opaque   ? "an opaque type"
                               : NULL;
}

static enum md_status add_input(struct md__onnx_scope *scope, const struct md__onnx_value *source,
                                struct md_error *err)
{
    const struct md__onnx_type *type = &source->type;
    struct md_shape shape = {0};
    enum md_dtype dtype = 0;
    int value = MD_NONE;
    enum md_status status = MD_OK;
    if (!type->tensor && kind_of(type))
        status = md_fail(err, MD_ERR_UNSUPPORTED, "is %s, which is not supported", kind_of(type));
    else if (!type->tensor)
        status = md_fail(err, MD_ERR_CORRUPT, "has no type");
    if (!status)
        status = md__onnx_dtype(type->tensor->elem_type, &dtype, err);
    if (!status)
        status = make_shape(scope->body->graph, source->name, type->tensor->shape, &shape, err);
    if (status)
        return md_error_context(err, "input \"%.80s\"", source->name);
    status = md_graph_input(scope->body->graph, source->name, dtype, &shape, &value, err);
    if (!status)
        status = md__onnx_note_dtype(scope->reader, scope->body, value, dtype, err);
    return status ? status : md__onnx_bind(scope, source->name, value, err);
}

/* Initialisers are constants even where the file lists them among the inputs (IR version 3). */
static enum md_status add_inputs(struct md__onnx_scope *scope, const struct md__onnx_graph *source,
                                 struct md_error *err)
{
    struct md__onnx_scope given = {.reader = scope->reader};
    enum md_status status = MD_OK;
    for (size_t i = 0; !status && i < source->initializer_count; i++)
        status = md__onnx_bind(&given, source->initializers[i].name, 0, err);
    for (size_t i = 0; !status && i < source->sparse_count; i++)
        status = md__onnx_bind(&given, source->sparse[i].values.name, 0, err);
    for (size_t i = 0; !status && i < source->input_count; i++)
        if (!md__onnx_bound(&given, source->inputs[i].name))
            status = add_input(scope, &source->inputs[i], err);
    return status;
}

/* ---- the model ---- */

static enum md_status build(struct md__onnx_reader *reader, const char *path,
                            struct md_graph **graph, struct md_error *err)
{
    struct md__onnx_body body = {0};
    struct md__onnx_scope scope = {.reader = reader, .body = &body};
    enum md_status status = check_versions(&reader->model, err);
    scope.opsets = reader->model.opsets;
    scope.opset_count = reader->model.opset_count;
    if (!status)
        status = check_opsets(scope.opsets, scope.opset_count, err);
    for (size_t i = 0; !status && i < reader->model.function_count; i++)
        status = check_opsets(reader->model.functions[i].opsets,
                              reader->model.functions[i].opset_count, err);
    if (!status)
        status = md__onnx_index_functions(reader, err);
    if (!status)
        status = md_graph_new(path, &body.graph, err);
    if (!status)
        status = add_inputs(&scope, reader->model.graph, err);
    if (!status)
        status = md__onnx_build_graph(&scope, reader->model.graph, err);
    if (!status && body.graph->output_count == 0)
        status = md_fail(err, MD_ERR_CORRUPT, "the model has no outputs");
    if (status)
        md_graph_delete(body.graph);
    else
        *graph = body.graph;
    return status;
}

static enum md_status read_bytes(const void *bytes, size_t length, struct md_owner *owner,
                                 const char *path, const char *folder, struct md_graph **graph,
                                 struct md_error *err)
{
    struct md__onnx_reader reader = {
        .files = {.model = owner, .folder = folder, .copied_max = COPIED_BYTES_MAX(length)}};
    *graph = NULL;
    md_arena_init(&reader.arena, READER_BYTES_MAX);
    enum md_status status = md__onnx_decode(bytes, length, &reader.arena, &reader.model, err);
    if (status == MD_ERR_CORRUPT)
        md_error_context(err, "no ONNX model, or a damaged one");
    if (!status)
        status = build(&reader, path, graph, err);
    md__onnx_files_fini(&reader.files);
    md_arena_fini(&reader.arena);
    return status;
}

enum md_status md_onnx_parse(const void *bytes, size_t length, struct md_graph **graph,
                             struct md_error *err)
{
    return read_bytes(bytes, length, NULL, "", NULL, graph, err);
}

static enum md_status folder_of(const char *path, char **folder, struct md_error *err)
{
    const char *slash = strrchr(path, '/');
    *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    return *folder ? MD_OK : md_fail(err, MD_ERR_MEMORY, "out of memory");
}

enum md_status md_onnx_read(const char *path, struct md_graph **graph, struct md_error *err)
{
    struct md_owner *owner = NULL;
    char *folder = NULL;
    *graph = NULL;
    enum md_status status = md_mapping_open(path, &owner, err);
    if (status)
        return status;
    status = folder_of(path, &folder, err);
    if (!status) {
        status = read_bytes(owner->memory, owner->bytes, owner, path, folder, graph, err);
        if (status)
            md_error_context(err, "%s", path);
    }
    free(folder);
    md_owner_unref(owner);
    return status;
}
