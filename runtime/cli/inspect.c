/*
 * moondial inspect: what a model takes and gives, what it is made of, and what one run at batch
 * 1 costs. Everything is first gathered as JSON; the text is a view of it.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
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
        "{s:i, s:i, s:I, s:I, s:I, s:I, s:f, s:f, s:f}", "steps", report->steps, "fused_steps",
        report->fused_steps, "arena_bytes", (json_int_t)report->arena_bytes, "scratch_bytes",
        (json_int_t)report->scratch_bytes, "constant_bytes", (json_int_t)report->constant_bytes,
        "prepared_bytes", (json_int_t)report->prepared_bytes, "flops", report->flops, "bytes",
        report->bytes, "transcendentals", report->transcendentals);
}

/* Steps by operator and by what runs them; "kernels" are the backend's own, "reference" the plain
 * ones that it falls back on, "control" the executable itself. */
static json_t *places_json(const struct md__opened *model, struct md_error *err)
{
    static const char *const names[] = {"kernels", "reference", "control"};
    int count = md_executable_profile(model->executable, NULL, 0), counts[3] = {0};
    struct md_step_time *rows = calloc((size_t)count + 1, sizeof *rows);
    json_t *by_operator = json_object(), *places;

    if (rows == NULL) {
        md_fail(err, MD_ERR_MEMORY, "out of memory");
        json_decref(by_operator);
        return NULL;
    }
    md_executable_profile(model->executable, rows, count);
    for (int i = 0; i < count; i++) {
        const struct md_kernel *plain = md_cpu_reference()->kernels[rows[i].node->op];
        int place = rows[i].kernel == NULL ? 2 : rows[i].kernel == plain ? 1 : 0;
        const char *op = md_op_info(rows[i].node->op)->name;
        json_t *own = json_object_get(by_operator, op);
        if (own == NULL) {
            own = json_object();
            json_object_set_new(by_operator, op, own);
        }
        json_int_t so_far = json_integer_value(json_object_get(own, names[place]));
        json_object_set_new(own, names[place], json_integer(so_far + 1));
        counts[place]++;
    }
    free(rows);
    places = json_object();
    for (int i = 0; i < 3; i++) {
        json_object_set_new(places, names[i], json_integer(counts[i]));
    }
    json_object_set_new(places, "by_operator", by_operator);
    return places;
}

/* As long as a loop may keep one waiting: it ends, if at all, by data that is not here. */
#define RUN_NS_MAX INT64_C(5000000000)

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
        json_object_set_new(report, "places", places);
        json_object_set_new(report, "rolling", rolling_json(model));
    }
    for (int i = 0; i < graph->output_count; i++) {
        md_tensor_unref(&outputs[i]);
    }
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

/* ---- printing ---- */

/* Names come out of a file: the terminal is not to obey them. */
static void print_name(const char *name, int width)
{
    int columns = 0;

    for (; name[columns] != '\0'; columns++) {
        unsigned char c = (unsigned char)name[columns];
        putchar(c < 0x20 || c == 0x7f ? '?' : c);
    }
    printf("%*s", columns < width ? width - columns : 0, "");
}

static void print_counts(const char *title, const json_t *object)
{
    const char *name;
    json_t *value;

    printf("%s\n", title);
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        printf("  ");
        print_name(name, 44);
        printf(" %lld\n", (long long)json_number_value(value));
    }
}

static void print_ports(const char *title, const json_t *ports)
{
    size_t index;
    json_t *port;

    printf("%s\n", title);
    json_array_foreach(ports, index, port)
    {
        const json_t *known = json_object_get(port, "shape");
        char *shape = json_is_null(known) ? NULL : json_dumps(known, JSON_ENCODE_ANY);
        printf("  ");
        print_name(json_string_value(json_object_get(port, "name")), 24);
        printf(" %-8s %s\n",
               json_is_null(json_object_get(port, "dtype"))
                   ? "?"
                   : json_string_value(json_object_get(port, "dtype")),
               shape != NULL ? shape : "?");
        free(shape);
    }
}

static void print_regions(const json_t *regions)
{
    print_counts("fused operators that were asked for", json_object_get(regions, "asked"));
    printf("  fused %lld, kept as primitives %lld, refused for wrong numbers %lld\n",
           (long long)json_integer_value(json_object_get(regions, "fused")),
           (long long)json_integer_value(json_object_get(regions, "kept")),
           (long long)json_integer_value(json_object_get(regions, "disagreed")));
}

static void print_places(const char *backend, const json_t *places)
{
    const char *name;
    json_t *own;

    printf("what runs where: %lld steps on kernels of %s, %lld on reference kernels, "
           "%lld of control flow\n",
           (long long)json_integer_value(json_object_get(places, "kernels")), backend,
           (long long)json_integer_value(json_object_get(places, "reference")),
           (long long)json_integer_value(json_object_get(places, "control")));
    json_object_foreach(json_object_get(places, "by_operator"), name, own)
    {
        long long plain = json_integer_value(json_object_get(own, "reference"));
        if (plain > 0) {
            printf("  %-44s %lld on reference kernels\n", name, plain);
        }
    }
}

static void print_rolling(const json_t *rolling)
{
    if (json_is_true(json_object_get(rolling, "rolls"))) {
        printf("rolling: keeps %s; %lld bytes a window\n",
               json_string_value(json_object_get(rolling, "keeps")),
               (long long)json_integer_value(json_object_get(rolling, "window_bytes")));
    } else {
        printf("rolling: no, %s\n", json_string_value(json_object_get(rolling, "why")));
    }
}

static void print_text(const json_t *report)
{
    const char *backend = json_string_value(json_object_get(report, "backend"));

    printf("%s: %lld parameters, on %s\n", json_string_value(json_object_get(report, "model")),
           (long long)json_integer_value(json_object_get(report, "parameters")), backend);
    print_ports("inputs", json_object_get(report, "inputs"));
    print_ports("outputs (at the sizes below)", json_object_get(report, "outputs"));
    print_counts("symbols, and their sizes here (--symbol NAME=SIZE)",
                 json_object_get(report, "symbols"));
    print_counts("operators, after passes", json_object_get(report, "operators"));
    if (json_is_null(json_object_get(report, "plan"))) {
        printf("no plan at these sizes: %s\n",
               json_string_value(json_object_get(report, "no_plan")));
        return;
    }
    print_regions(json_object_get(report, "regions"));
    print_counts("plan", json_object_get(report, "plan"));
    print_places(backend, json_object_get(report, "places"));
    print_rolling(json_object_get(report, "rolling"));
}

int md__cli_inspect(int argc, char **argv)
{
    struct md__open_options options = {0};
    const char *symbols = NULL;
    bool as_json = false;
    const struct md__flag flags[] = {
        {"--json", MD__FLAG_BOOL, &as_json},
        {"--symbol", MD__FLAG_TEXT, &symbols},
        {"--device", MD__FLAG_TEXT, &options.device},
        {"--isa", MD__FLAG_TEXT, &options.isa},
        {"--threads", MD__FLAG_INT, &options.threads},
        {"--passes-off", MD__FLAG_TEXT, &options.passes_off},
    };
    struct md__opened model = {0};
    struct md__sample sample = {0};
    struct md_error err = {0};
    json_t *report = NULL;
    enum md_status status =
        md__args_parse(argc, argv, flags, (int)(sizeof flags / sizeof flags[0]),
                       "inspect MODEL [--symbol NAME=SIZE,...] [--json]", &options.path, &err);

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
        print_text(report);
    }
    json_decref(report);
    md__sample_fini(&sample);
    md__opened_close(&model);
    return status == MD_OK ? 0 : md__cli_fail(&err);
}
