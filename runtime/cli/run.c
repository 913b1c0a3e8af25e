/*
 * moondial run: one inference, .npy files in and out, as the parity tests use it. Nothing is
 * cast: the files must have the model's dtypes and ranks. All names are checked before any file
 * is written.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "tensor/npy.h"

#define USAGE "run MODEL --in NAME=FILE.npy ... --out DIR [FLAG ...]; --help lists them"

/* DIR/NAME.npy, with characters that could mean something in a path replaced. */
static enum md_status output_path(const char *folder, const char *name, char path[PATH_MAX],
                                  struct md_error *err)
{
    size_t used = (size_t)snprintf(path, PATH_MAX, "%s/", folder);

    if (used >= PATH_MAX || !md_npy_file_name(name, path + used, PATH_MAX - used)) {
        return md_fail(err, MD_ERR_INVALID, "the path of output \"%.64s\" is too long", name);
    }
    return MD_OK;
}

static enum md_status make_paths(const struct md_graph *graph, const char *folder,
                                 char (*paths)[PATH_MAX], struct md_error *err)
{
    for (int i = 0; i < graph->output_count; i++) {
        enum md_status status = output_path(folder, graph->outputs[i].name, paths[i], err);
        if (status != MD_OK) {
            return status;
        }
        for (int k = 0; k < i; k++) {
            if (strcmp(paths[i], paths[k]) == 0) {
                return md_fail(err, MD_ERR_INVALID,
                               "outputs \"%.64s\" and \"%.64s\" would both be written to %.100s",
                               graph->outputs[k].name, graph->outputs[i].name, paths[i]);
            }
        }
    }
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
        return md_fail(err, MD_ERR_IO, "cannot make the folder %s: %s", folder, strerror(errno));
    }
    return MD_OK;
}

static enum md_status infer(struct md__opened *model, const struct md__flag_list *given,
                            const char *folder, struct md_error *err)
{
    const struct md_graph *graph = md_executable_graph(model->executable);
    struct md_tensor *inputs = calloc((size_t)graph->input_count + 1, sizeof *inputs);
    struct md_tensor *outputs = calloc((size_t)graph->output_count + 1, sizeof *outputs);
    char(*paths)[PATH_MAX] = calloc((size_t)graph->output_count + 1, sizeof *paths);
    enum md_status status;

    if (inputs == NULL || outputs == NULL || paths == NULL) {
        status = md_fail(err, MD_ERR_MEMORY, "out of memory");
        goto out;
    }
    status = md__cli_read_inputs(graph, given, inputs, err);
    if (status == MD_OK) {
        status = make_paths(graph, folder, paths, err);
    }
    if (status == MD_OK) {
        status = md_executable_run(model->executable, inputs, graph->input_count, outputs,
                                   graph->output_count, err);
    }
    if (status == MD_OK) {
        md__opened_keep_packs(model);
    }
    for (int i = 0; i < graph->output_count && status == MD_OK; i++) {
        status = md_npy_write(paths[i], &outputs[i], err);
    }
    md_tensors_unref(inputs, graph->input_count);
    md_tensors_unref(outputs, graph->output_count);
out:
    free(inputs);
    free(outputs);
    free(paths);
    return status;
}

int md__cli_run(int argc, char **argv)
{
    struct md__open_options options = {0};
    struct md__flag_list given = {0};
    const char *folder = NULL;
    const struct md__flag flags[] = {
        {"--in", MD__FLAG_LIST, &given, "NAME=FILE.npy", "an input of the model"},
        {"--out", MD__FLAG_TEXT, &folder, "DIR", "where each output becomes NAME.npy"},
        MD__FLAGS_OPEN(options),
        MD__FLAGS_PACKS(options),
    };
    struct md__opened model = {0};
    struct md_error err = {0};
    enum md_status status;

    status = md__args_parse(argc, argv, flags, (int)(sizeof flags / sizeof flags[0]), USAGE,
                            &options.path, &err);
    if (status == MD_OK && folder == NULL) {
        status = md_fail(&err, MD_ERR_INVALID, "--out is missing (usage: moondial " USAGE ")");
    }
    if (status == MD_OK) {
        status = md__open(&options, &model, &err);
    }
    if (status == MD_OK) {
        status = infer(&model, &given, folder, &err);
        md__opened_close(&model);
    }
    return status == MD_OK ? 0 : md__cli_fail(&err);
}
