/*
 * A model's inputs from .npy files: --in NAME=FILE.npy of run and bench. Nothing is cast: the files
 * must have the model's dtypes and ranks.
 */
#include <string.h>

#include "cli/cli.h"
#include "tensor/npy.h"

static int find_input(const struct md_graph *graph, const char *name, size_t length)
{
    for (int i = 0; i < graph->input_count; i++) {
        if (strlen(graph->inputs[i].name) == length &&
            strncmp(graph->inputs[i].name, name, length) == 0) {
            return i;
        }
    }
    return -1;
}

static enum md_status check_input(const struct md_graph *graph, int index,
                                  const struct md_tensor *tensor, struct md_error *err)
{
    const struct md_value *value = &graph->values[graph->inputs[index].value];

    if (tensor->dtype != value->dtype) {
        return md_fail(err, MD_ERR_INVALID, "input \"%s\" is %s, the model takes %s",
                       graph->inputs[index].name, md_dtype_name(tensor->dtype),
                       md_dtype_name(value->dtype));
    }
    if (value->shape.rank != MD_RANK_UNKNOWN && tensor->shape.rank != value->shape.rank) {
        return md_fail(err, MD_ERR_INVALID, "input \"%s\" has %d dimensions, the model takes %d",
                       graph->inputs[index].name, tensor->shape.rank, value->shape.rank);
    }
    return MD_OK;
}

/* NAME=FILE, split at the last '=' because names may hold one. */
static enum md_status read_input(const struct md_graph *graph, const char *text,
                                 struct md_tensor *inputs, struct md_error *err)
{
    const char *split = strrchr(text, '=');
    enum md_status status;
    int index;

    if (split == NULL || split == text || split[1] == '\0') {
        return md_fail(err, MD_ERR_INVALID, "--in takes NAME=FILE.npy, not \"%.100s\"", text);
    }
    index = find_input(graph, text, (size_t)(split - text));
    if (index < 0) {
        return md_fail(err, MD_ERR_INVALID, "the model has no input \"%.*s\"",
                       (int)(split - text > 100 ? 100 : split - text), text);
    }
    if (inputs[index].data != NULL) {
        return md_fail(err, MD_ERR_INVALID, "input \"%s\" is given twice",
                       graph->inputs[index].name);
    }
    status = md_npy_read_as(split + 1, graph->values[graph->inputs[index].value].dtype,
                            &inputs[index], err);
    return status == MD_OK ? check_input(graph, index, &inputs[index], err) : status;
}

enum md_status md__cli_read_inputs(const struct md_graph *graph, const struct md__flag_list *given,
                                   struct md_tensor *inputs, struct md_error *err)
{
    for (int i = 0; i < given->count; i++) {
        enum md_status status = read_input(graph, given->items[i], inputs, err);
        if (status != MD_OK) {
            return status;
        }
    }
    for (int i = 0; i < graph->input_count; i++) {
        if (inputs[i].data == NULL) {
            return md_fail(err, MD_ERR_INVALID, "input \"%s\" is missing: --in %s=FILE.npy",
                           graph->inputs[i].name, graph->inputs[i].name);
        }
    }
    return MD_OK;
}
