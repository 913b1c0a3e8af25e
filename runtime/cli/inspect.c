/*
 * moondial inspect: what a model takes and gives, what it is made of, and what one run at batch
 * 1 costs. Everything is first gathered as JSON; the text is a view of it.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/inspect.h"
#include "cli/sample.h"
#include "kernels/cpu/cpu.h"

/* ---- gathering ---- */

static json_t *shape_json(const struct md_graph *graph, const struct md_shape *shape)
{
    json_t *list = json_array();

    if (shape->rank == MD_RANK_UNKNOWN) {
        json_decref(list);
        return json_null();
    }
    for (int axis = 0; axis < shape->rank; axis++) {
        int64_t dim = shape->dim[axis];
        json_array_append_new(list, dim == -1 ? json_string("?")
                                    : dim < 0 ? json_string(graph->symbols[-dim - 2])
                                              : json_integer((json_int_t)dim));
    }
    return list;
}

static json_t *inputs_json(const struct md_graph *graph)
{
    json_t *list = json_array();

    for (int i = 0; i < graph->input_count; i++) {
        const struct md_value *value = &graph->values[graph->inputs[i].value];
        json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name", graph->inputs[i].name,
                                              "dtype", md_dtype_name(value->dtype), "shape",
                                              shape_json(graph, &value->shape)));
    }
    return list;
}

/* What is unknown before a run is null: a dtype, a whole shape; or "?": one dimension. */
static json_t *outputs_json(const struct md_graph *graph, const struct md_tensor *outputs)
{
    json_t *list = json_array();

    for (int i = 0; i < graph->output_count; i++) {
        const struct md_tensor *output = &outputs[i];
        json_array_append_new(
            list,
            json_pack("{s:s, s:o, s:o}", "name", graph->outputs[i].name, "dtype",
                      output->dtype != 0 ? json_string(md_dtype_name(output->dtype)) : json_null(),
                      "shape", shape_json(graph, &output->shape)));
    }
    return list;
}

/* Takes out of outputs[] what depends on data; all of it where nothing was run (dtype 0). */
static void forget_data(const struct md__opened *model, const struct md__sample *sample,
                        struct md_tensor *outputs)
{
    const struct md_graph *graph = sample->graph;
    struct md_tensor inputs[MD__SAMPLE_PORTS_MAX] = {0}, known[MD__SAMPLE_PORTS_MAX] = {0};

    for (int i = 0; i < graph->input_count; i++) {
        inputs[i].dtype = sample->inputs[i].dtype;
        inputs[i].shape = sample->inputs[i].shape;
        inputs[i].shape.rank = sample->inputs[i].data != NULL ? inputs[i].shape.rank : -1;
    }
    if (md_executable_infer(model->executable, inputs, graph->input_count, known,
                            graph->output_count, NULL) != MD_OK) {
        return;
    }
    for (int i = 0; i < graph->output_count; i++) {
        enum md_dtype seen = outputs[i].dtype;
        outputs[i].dtype = known[i].dtype != 0 ? known[i].dtype : seen;
        outputs[i].shape = known[i].shape;
    }
}

static void count_operators(const struct md_graph *graph, int *counts)
{
    for (int i = 0; i < graph->node_count; i++) {
        counts[graph->nodes[i].op]++;
    }
    for (int i = 0; i < graph->body_count; i++) {
        count_operators(graph->bodies[i], counts);
    }
}

static json_t *operators_json(const struct md_graph *graph)
{
    int counts[MD_OP_COUNT] = {0};
    json_t *operators = json_object();

    count_operators(graph, counts);
    for (int op = 0; op < MD_OP_COUNT; op++) {
        if (counts[op] > 0) {
            json_object_set_new(operators, md_op_info((enum md_op)op)->name,
                                json_integer(counts[op]));
        }
    }
    return operators;
}

/* Fused operators that the model asked for, by name: how many in all. */
static json_t *regions_json(const struct md__opened *model, const struct md_plan_report *report)
{
    json_t *asked = json_object();

    for (int op = 0; op < MD_OP_COUNT; op++) {
        if (model->regions[op] > 0) {
            json_object_set_new(asked, md_op_info((enum md_op)op)->name,
                                json_integer(model->regions[op]));
        }
    }
    return json_pack("{s:i, s:i, s:i, s:i, s:o}", "fused", report->regions_lowered, "kept",
                     report->regions_kept, "disagreed", report->regions_disagreed, "composed",
                     report->networks_composed, "asked", asked);
}

/* What --passes-off may name. */
static json_t *passes_json(void)
{
    json_t *names = json_array();
    const char *name;

    for (int i = 0; (name = md_executable_pass_name(i)) != NULL; i++) {
        json_array_append_new(names, json_string(name));
    }
    return names;
}

static json_t *plan_json(const struct md_plan_report *report)
{
    return json_pack(
        "{s:i, s:i, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:I, s:I}", "steps", report->steps,
        "fused_steps", report->fused_steps, "arena_bytes", (json_int_t)report->arena_bytes,
        "scratch_bytes", (json_int_t)report->scratch_bytes, "constant_bytes",
        (json_int_t)report->constant_bytes, "prepared_bytes", (json_int_t)report->prepared_bytes,
        "flops", report->flops, "bytes", report->bytes, "transcendentals", report->transcendentals,
        "device_bytes", (json_int_t)report->device_bytes, "pinned_bytes",
        (json_int_t)report->pinned_bytes);
}

const char *const md__place_names[MD__PLACES] = {"kernels", "reference", "control", "device",
                                                 "copies"};

static enum md__place place_of(const struct md_step_time *step)
{
    if (step->side != MD_STEP_HOST) {
        return step->side == MD_STEP_DEVICE ? MD__PLACE_DEVICE : MD__PLACE_COPIES;
    }
    if (step->kernel == NULL) {
        return MD__PLACE_CONTROL;
    }
    return step->kernel == md_cpu_reference()->kernels[step->node->op] ? MD__PLACE_REFERENCE
                                                                       : MD__PLACE_KERNELS;
}

/* By operator, too; a copy counts for the one that it is made for. */
static json_t *places_json(const struct md__opened *model, struct md_error *err)
{
    int count = md_executable_profile(model->executable, NULL, 0), counts[MD__PLACES] = {0};
    struct md_step_time *rows = calloc((size_t)count + 1, sizeof *rows);
    json_t *by_operator = json_object(), *places;

    if (rows == NULL) {
        md_fail(err, MD_ERR_MEMORY, "out of memory");
        json_decref(by_operator);
        return NULL;
    }
    md_executable_profile(model->executable, rows, count);
    for (int i = 0; i < count; i++) {
        enum md__place place = place_of(&rows[i]);
        const char *op = md_op_info(rows[i].node->op)->name;
        json_t *own = json_object_get(by_operator, op);
        if (own == NULL) {
            own = json_object();
            json_object_set_new(by_operator, op, own);
        }
        json_int_t so_far = json_integer_value(json_object_get(own, md__place_names[place]));
        json_object_set_new(own, md__place_names[place], json_integer(so_far + 1));
        counts[place]++;
    }
    free(rows);
    places = json_object();
    for (int i = 0; i < MD__PLACES; i++) {
        json_object_set_new(places, md__place_names[i], json_integer(counts[i]));
    }
    json_object_set_new(places, "by_operator", by_operator);
    return places;
}

/* As long as a loop may keep one waiting: it ends, if at all, by data that is not here. */
#define RUN_NS_MAX INT64_C(5000000000)

/* Where models run, and why not on an accelerator. */
static json_t *device_json(const struct md__opened *model, const char *precision)
{
    struct md_accelerator_report report;

    if (model->device.accelerator == NULL) {
        return json_pack("{s:s, s:s}", "runs", "cpu", "why", model->device.why);
    }
    md_accelerator_report(model->device.accelerator, &report);
    return json_pack("{s:s, s:s, s:s, s:s*, s:I, s:s*}", "runs", report.driver, "name",
                     report.info.name, "version", report.info.version, "precision", precision,
                     "weight_bytes", (json_int_t)report.weight_bytes, "failure",
                     report.failure[0] != '\0' ? report.failure : NULL);
}

static const char *what_is_kept(const struct md_graph *graph)
{
    for (int i = 0; i < graph->node_count; i++) {
        if (md_node_int(&graph->nodes[i], "rolling", 0) == 2) {
            return "rows of the selection among a history's variables";
        }
    }
    return "encodings of a history's variables; rows differ each time by their place in the window";
}

/* Whether runs of the same windows may keep what does not change (graph/kept.h), or why not. */
static json_t *rolling_json(const struct md__opened *model)
{
    const struct md_graph *graph = md_executable_graph(model->executable);
    size_t bytes = md_executable_window_bytes(model->executable);
    const char *why = model->regions[MD_OP_VARIABLE_SELECTION] == 0
                          ? "it selects among no variables of a history"
                          : "its selection among a history's variables is not fused";

    if (bytes > 0) {
        return json_pack("{s:b, s:s, s:I}", "rolls", true, "keeps", what_is_kept(graph),
                         "window_bytes", (json_int_t)bytes);
    }
    for (int i = 0; i < graph->node_count; i++) {
        if (graph->nodes[i].op == MD_OP_VARIABLE_SELECTION) {
            why = "it selects among several variables of the future only, or of too many";
        }
    }
    return json_pack("{s:b, s:s}", "rolls", false, "why", why);
}

/* What one run at the sample sizes shows: outputs, plan, places. */
static enum md_status gather_run(const struct md__opened *model, struct md__sample *sample,
                                 json_t *report, struct md_error *err)
{
    const struct md_graph *graph = sample->graph;
    struct md_tensor outputs[MD__SAMPLE_PORTS_MAX] = {0};
    struct md_plan_report plan;
    json_t *places = NULL;
    enum md_status status = md__sample_resize(sample, 1, err);

    if (status == MD_OK) {
        const struct md_run_limits limits = {.deadline_ns =
                                                 md_monotonic_ns(md_clock_system()) + RUN_NS_MAX};
        md__sample_fill(sample);
        status = md_executable_run_within(model->executable, sample->inputs, graph->input_count,
                                          outputs, graph->output_count, &limits, err);
    }
    if (status == MD_OK) {
        status = md_executable_report(model->executable, &plan, err);
    }
    if (status == MD_OK) {
        places = places_json(model, err);
        status = places != NULL ? MD_OK : err->code;
    }
    if (status == MD_OK) {
        struct md_tensor shown[MD__SAMPLE_PORTS_MAX];
        memcpy(shown, outputs, sizeof shown);
        forget_data(model, sample, shown);
        json_object_set_new(report, "outputs", outputs_json(graph, shown));
        json_object_set_new(report, "regions", regions_json(model, &plan));
        json_object_set_new(report, "plan", plan_json(&plan));
        json_object_set_new(places, "left", json_integer(plan.left_steps));
        json_object_set_new(report, "places", places);
        json_object_set_new(report, "rolling", rolling_json(model));
        json_object_set_new(report, "device", device_json(model, plan.precision));
    }
    md_tensors_unref(outputs, graph->output_count);
    return status;
}

/* Without a run: what shape rules say. */
static json_t *bare_outputs_json(const struct md__opened *model, const struct md__sample *sample)
{
    struct md_tensor outputs[MD__SAMPLE_PORTS_MAX] = {0};

    for (int k = 0; k < sample->graph->output_count; k++) {
        outputs[k].shape.rank = MD_RANK_UNKNOWN;
    }
    forget_data(model, sample, outputs);
    return outputs_json(sample->graph, outputs);
}

/*
 * Random inputs may be none that the model can run on (indices out of range, an image of 3 x 3).
 * Then the report says why, and what needs no run is still there.
 */
static json_t *gather(const char *path, const struct md__opened *model, struct md__sample *sample)
{
    const struct md_graph *graph = sample->graph;
    struct md_error err = {0};
    json_t *report =
        json_pack("{s:s, s:s, s:I, s:i, s:o, s:n, s:o, s:n, s:n, s:o}", "model", path, "backend",
                  model->backend->name, "parameters", (json_int_t)model->parameters, "nodes_built",
                  model->nodes_built, "inputs", inputs_json(graph), "symbols", "operators",
                  operators_json(graph), "plan", "places", "passes", passes_json());

    if (gather_run(model, sample, report, &err) != MD_OK) {
        json_object_set_new(report, "outputs", bare_outputs_json(model, sample));
        json_object_set_new(report, "no_plan", json_string(err.text));
    }
    json_object_set_new(report, "symbols",
                        md__sample_sizes_json(sample)); /* sizes of the run, batch 1 */
    return report;
}

int md__cli_inspect(int argc, char **argv)
{
    struct md__open_options options = {0};
    const char *symbols = NULL;
    bool as_json = false;
    const struct md__flag flags[] = {
        MD__FLAG_SYMBOL(symbols),
        MD__FLAG_JSON(as_json),
        MD__FLAGS_OPEN(options),
    };
    struct md__opened model = {0};
    struct md__sample sample = {0};
    struct md_error err = {0};
    json_t *report = NULL;
    enum md_status status =
        md__args_parse(argc, argv, flags, (int)(sizeof flags / sizeof flags[0]),
                       "inspect MODEL [FLAG ...]; --help lists them", &options.path, &err);

    if (status == MD_OK) {
        status = md__open(&options, &model, &err);
    }
    if (status == MD_OK) {
        status = md__sample_init(&sample, md_executable_graph(model.executable), model.config,
                                 symbols, &err);
    }
    if (status == MD_OK) {
        report = gather(options.path, &model, &sample);
    }
    if (status == MD_OK && as_json) {
        json_dumpf(report, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (status == MD_OK) {
        md__inspect_print(report);
    }
    json_decref(report);
    md__sample_fini(&sample);
    md__opened_close(&model);
    return status == MD_OK ? 0 : md__cli_fail(&err);
}
