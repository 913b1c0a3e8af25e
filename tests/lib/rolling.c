#include "rolling.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_in.h"
#include "serve/serve.h"
#include "unit.h"

#define FIXTURES MD_SOURCE_DIR "/tests/reference/tft/"

static struct md_error err;

static double draw(struct rolling *rolling)
{
    rolling->random = rolling->random * 6364136223846793005u + 1442695040888963407u;
    return (double)(rolling->random >> 33) / 2147483648.0;
}

static int pick(struct rolling *rolling, int count)
{
    return (int)(draw(rolling) * count);
}

/* ---- the model ------------------------------------------------------------------------------- */

static void read_roles(struct rolling_fleet *fleet, const char *config_json)
{
    json_t *config, *name;
    size_t c;
    assert_ok(md_json_parse(config_json, strlen(config_json), &config, &err));
    fleet->codes = (int)json_array_size(json_object_get(config, "x_categoricals"));
    json_array_foreach(json_object_get(config, "x_reals"), c, name)
    {
        const char *text = json_string_value(name);
        assert_true(c < ROLLING_COLUMNS_MAX);
        fleet->width++;
        if (strcmp(text, "relative_time_idx") == 0)
            fleet->roles[c] = ROLLING_POSITION;
        else if (strncmp(text, "known", 5) == 0)
            fleet->roles[c] = ROLLING_KNOWN;
        else if (strcmp(text, "encoder_length") == 0 || strstr(text, "_center") ||
                 strstr(text, "_scale"))
            fleet->roles[c] = ROLLING_STATIC;
    }
    json_decref(config);
}

static void keep_whole_rows(struct md_graph *graph, struct rolling_fleet *fleet)
{
    int found = 0;
    for (int r = 0; r < graph->region_count; r++)
        for (int a = 0; a < graph->regions[r].fused.attr_count; a++) {
            struct md_attr *attr = (void *)(uintptr_t)&graph->regions[r].fused.attrs[a];
            if (strcmp(attr->name, "rolling") == 0 && attr->i == 1) {
                attr->i = 2;
                found++;
            }
        }
    assert_int_equal(found, 1);
    for (int c = 0; c < fleet->width; c++)
        if (fleet->roles[c] == ROLLING_POSITION)
            fleet->roles[c] = ROLLING_KNOWN;
}

void rolling_begin(struct rolling *rolling, const char *fixture, enum rolling_kind kind,
                   enum md_cpu_isa isa, int window, size_t kept_bytes_max)
{
    struct md_graph *graph;
    char *config, path[256];
    *rolling = (struct rolling){.window = window, .future = 6, .random = 7};
    rolling->fleet = calloc(1, sizeof *rolling->fleet);
    assert_non_null(rolling->fleet);
    snprintf(path, sizeof path, FIXTURES "%s/model", fixture);
    assert_ok(
        md_script_builder_new(MD_SOURCE_DIR "/lua", md_clock_system(), &rolling->builder, &err));
    assert_ok(md_serve_read(&rolling->builder, path, &graph, &config, &err));
    read_roles(rolling->fleet, config);
    if (kind == ROLLING_WHOLE_ROWS)
        keep_whole_rows(graph, rolling->fleet);
    assert_ok(md_pool_new(2, 0, &rolling->pool, &err));
    const struct md_executable_options options = {.backend = md_cpu_backend(isa),
                                                  .reference = md_cpu_reference(),
                                                  .pool = rolling->pool,
                                                  .kept_bytes_max = kept_bytes_max};
    assert_ok(md_executable_new(graph, &options, &rolling->executable, &err));
    free(config);
}

void rolling_end(struct rolling *rolling)
{
    md_executable_delete(rolling->executable);
    md_pool_delete(rolling->pool);
    md_script_builder_delete(&rolling->builder);
    free(rolling->fleet);
}

/* ---- a fleet through time -------------------------------------------------------------------- */

/* A step of every server; a gap repeats the last known row. */
static void feed_step(struct rolling *rolling)
{
    struct rolling_fleet *fleet = rolling->fleet;
    int step = ++fleet->newest;
    assert_true(step < ROLLING_STEPS);
    for (int s = 0; s < ROLLING_SERVERS; s++) {
        bool gap = step > fleet->born[s] && draw(rolling) < 0.1;
        for (int c = 0; c < fleet->width; c++)
            fleet->metric[s][step][c] =
                gap ? fleet->metric[s][step - 1][c] : (float)(4 * draw(rolling) - 2);
    }
}

/* A row of the past changes, and what a gap repeated after it. */
static void feed_late(struct rolling *rolling)
{
    struct rolling_fleet *fleet = rolling->fleet;
    int s = pick(rolling, ROLLING_SERVERS), from = fleet->newest - pick(rolling, rolling->window);
    int until = from + pick(rolling, 3);
    for (int step = from < 0 ? 0 : from; step <= until && step <= fleet->newest; step++)
        fleet->metric[s][step][pick(rolling, fleet->width)] += (float)draw(rolling);
}

/* The whole history of a metric is scaled otherwise. */
static void rescale(struct rolling *rolling)
{
    struct rolling_fleet *fleet = rolling->fleet;
    int s = pick(rolling, ROLLING_SERVERS), c = pick(rolling, fleet->width);
    float factor = (float)(0.5 + draw(rolling));
    for (int step = 0; step <= fleet->newest; step++)
        fleet->metric[s][step][c] *= factor;
    fleet->constant[s] += factor;
}

static void replace_server(struct rolling *rolling)
{
    struct rolling_fleet *fleet = rolling->fleet;
    int s = pick(rolling, ROLLING_SERVERS);
    fleet->key[s] = 1000 + (uint64_t)fleet->newest;
    fleet->born[s] = fleet->newest;
}

void rolling_tick(struct rolling *rolling)
{
    feed_step(rolling);
    if (draw(rolling) < 0.3)
        feed_late(rolling);
    if (draw(rolling) < 0.02)
        rescale(rolling);
    if (draw(rolling) < 0.03)
        replace_server(rolling);
    while (draw(rolling) < 0.1) /* ticks that nobody forecast */
        feed_step(rolling);
}

/* ---- forecasts ------------------------------------------------------------------------------- */

static float value_of(const struct rolling *rolling, int s, int step, int c, int first)
{
    const struct rolling_fleet *fleet = rolling->fleet;
    switch (fleet->roles[c]) {
    case ROLLING_KNOWN:
        return (float)((step + c) % 24) / 12 - 1;
    case ROLLING_STATIC:
        return (float)fleet->key[s] / 1000 - (float)c + fleet->constant[s];
    case ROLLING_POSITION:
        return (float)(step - first - rolling->window) / (float)rolling->window;
    default:
        return step <= fleet->newest ? fleet->metric[s][step][c] : 0;
    }
}

/* Rows of one side for batch row b, from step `first` on; what is past `length` is padding. */
static void fill_side(const struct rolling *rolling, const struct rolling_batch *batch, int b,
                      const char *name, int first, int length, struct md_tensor *tensor)
{
    size_t steps = (size_t)tensor->shape.dim[1], width = (size_t)tensor->shape.dim[2];
    bool reals = strstr(name, "_cont") != NULL;
    int s = batch->servers[b];
    for (int t = 0; t < length; t++)
        for (size_t c = 0; c < width; c++) {
            size_t at = ((size_t)b * steps + (size_t)t) * width + c;
            if (reals)
                ((float *)tensor->data)[at] = value_of(rolling, s, first + t, (int)c, first);
            else
                ((int64_t *)tensor->data)[at] = c == 0 ? s % 2 : (first + t + s) / 5 % 2;
        }
}

static void fill_input(struct rolling *rolling, struct rolling_batch *batch, const char *name,
                       struct md_tensor *tensor)
{
    const struct rolling_fleet *fleet = rolling->fleet;
    for (int b = 0; b < batch->count; b++) {
        int s = batch->servers[b], known = fleet->newest - fleet->born[s] + 1;
        int length = known < rolling->window ? known : rolling->window;
        int first = fleet->newest - length + 1;
        if (strcmp(name, "encoder_lengths") == 0)
            ((int64_t *)tensor->data)[b] = length;
        else if (strcmp(name, "decoder_lengths") == 0)
            ((int64_t *)tensor->data)[b] = rolling->future;
        else if (strncmp(name, "encoder", 7) == 0)
            fill_side(rolling, batch, b, name, first, length, tensor);
        else if (strncmp(name, "decoder", 7) == 0)
            fill_side(rolling, batch, b, name, fleet->newest + 1, rolling->future, tensor);
        else
            for (int i = 0; i < 2; i++)
                ((float *)tensor->data)[2 * b + i] = (float)(1 + i + s);
        batch->windows[b] = (struct md_window){fleet->key[s] + (uint64_t)s, first};
    }
}

void rolling_choose(struct rolling *rolling, struct rolling_batch *batch)
{
    int first = draw(rolling) < 0.8 ? 0 : pick(rolling, ROLLING_SERVERS);
    batch->count = first ? 1 + pick(rolling, ROLLING_SERVERS) : ROLLING_SERVERS;
    for (int b = 0; b < batch->count; b++)
        batch->servers[b] = (b + first) % ROLLING_SERVERS;
}

void rolling_inputs(struct rolling *rolling, struct rolling_batch *batch)
{
    const struct md_graph *graph = md_executable_graph(rolling->executable);
    for (int i = 0; i < graph->input_count; i++) {
        const struct md_value *value = &graph->values[graph->inputs[i].value];
        struct md_shape shape = value->shape;
        bool encoder = strncmp(graph->inputs[i].name, "encoder", 7) == 0;
        shape.dim[0] = batch->count;
        for (int axis = 1; axis < shape.rank; axis++)
            if (shape.dim[axis] < 0)
                shape.dim[axis] = encoder ? rolling->window : rolling->future;
        assert_ok(md_tensor_new(value->dtype, &shape, &batch->inputs[i], &err));
        memset(batch->inputs[i].data, 0, md_tensor_bytes(&batch->inputs[i]));
        fill_input(rolling, batch, graph->inputs[i].name, &batch->inputs[i]);
    }
}

struct md_tensor rolling_run(struct rolling *rolling, const struct rolling_batch *batch,
                             const struct md_windows *windows)
{
    const struct md_run_limits limits = {.windows = windows};
    struct md_tensor output;
    assert_ok(md_executable_run_within(rolling->executable, batch->inputs,
                                       md_executable_graph(rolling->executable)->input_count,
                                       &output, 1, &limits, &err));
    return output;
}

void rolling_drop(struct rolling_batch *batch)
{
    for (int i = 0; i < ROLLING_PORTS_MAX; i++)
        md_tensor_unref(&batch->inputs[i]);
}
