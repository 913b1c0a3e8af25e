/*
 * Rolling windows against full runs: a fleet of series goes through random ticks, with gaps, late
 * rows, other scalings, new and vanished servers, skipped ticks and batches of some servers only,
 * and every forecast is made twice, with what earlier runs kept and without. They must agree to
 * 1e-5 of the range of all outputs.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_in.h"
#include "graph/executable.h"
#include "kernels/cpu/cpu.h"
#include "script/builder.h"
#include "serve/serve.h"
#include "unit.h"

#define FIXTURES MD_SOURCE_DIR "/tests/reference/tft/"

#define ROOMY ((size_t)64 << 20)

enum {
    SERVERS = 7,
    STEPS = 1700, /* all that is ever fed */
    COLUMNS_MAX = 16,
    PORTS_MAX = 8
};

enum role { METRIC, KNOWN, STATIC, POSITION };

struct fleet {
    enum role roles[COLUMNS_MAX];
    int width, codes; /* columns of x_reals, of x_categoricals */
    float metric[SERVERS][STEPS][COLUMNS_MAX];
    uint64_t key[SERVERS];
    float constant[SERVERS]; /* what its static columns show */
    int born[SERVERS];
    int newest; /* step */
};

struct rolling {
    struct md_model_builder builder;
    struct md_pool *pool;
    struct md_executable *executable;
    struct fleet *fleet;
    int window, future;
    uint64_t random;
    double largest, lowest, highest; /* difference and range of all outputs */
};

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

static void read_roles(struct fleet *fleet, const char *config_json)
{
    json_t *config, *name;
    size_t c;
    assert_ok(md_json_parse(config_json, strlen(config_json), &config, &err));
    fleet->codes = (int)json_array_size(json_object_get(config, "x_categoricals"));
    json_array_foreach(json_object_get(config, "x_reals"), c, name)
    {
        const char *text = json_string_value(name);
        assert_true(c < COLUMNS_MAX);
        fleet->width++;
        if (strcmp(text, "relative_time_idx") == 0)
            fleet->roles[c] = POSITION;
        else if (strncmp(text, "known", 5) == 0)
            fleet->roles[c] = KNOWN;
        else if (strcmp(text, "encoder_length") == 0 || strstr(text, "_center") ||
                 strstr(text, "_scale"))
            fleet->roles[c] = STATIC;
    }
    json_decref(config);
}

/*
 * As if nothing told the place in the window: rows are kept whole, and what was the position is the
 * calendar's.
 */
static void keep_whole_rows(struct md_graph *graph, struct fleet *fleet)
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
        if (fleet->roles[c] == POSITION)
            fleet->roles[c] = KNOWN;
}

enum kind { AS_BUILT, WHOLE_ROWS };

static void begin(struct rolling *rolling, const char *fixture, enum kind kind, enum md_cpu_isa isa,
                  int window, size_t kept_bytes_max)
{
    struct md_graph *graph;
    char *config, path[256];
    *rolling = (struct rolling){.window = window, .future = 6, .random = 7};
    rolling->lowest = INFINITY;
    rolling->highest = -INFINITY;
    rolling->fleet = calloc(1, sizeof *rolling->fleet);
    assert_non_null(rolling->fleet);
    snprintf(path, sizeof path, FIXTURES "%s/model", fixture);
    assert_ok(
        md_script_builder_new(MD_SOURCE_DIR "/lua", md_clock_system(), &rolling->builder, &err));
    assert_ok(md_serve_read(&rolling->builder, path, &graph, &config, &err));
    read_roles(rolling->fleet, config);
    if (kind == WHOLE_ROWS)
        keep_whole_rows(graph, rolling->fleet);
    assert_ok(md_pool_new(2, 0, &rolling->pool, &err));
    const struct md_executable_options options = {.backend = md_cpu_backend(isa),
                                                  .reference = md_cpu_reference(),
                                                  .pool = rolling->pool,
                                                  .kept_bytes_max = kept_bytes_max};
    assert_ok(md_executable_new(graph, &options, &rolling->executable, &err));
    free(config);
}

static void end(struct rolling *rolling)
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
    struct fleet *fleet = rolling->fleet;
    int step = ++fleet->newest;
    assert_true(step < STEPS);
    for (int s = 0; s < SERVERS; s++) {
        bool gap = step > fleet->born[s] && draw(rolling) < 0.1;
        for (int c = 0; c < fleet->width; c++)
            fleet->metric[s][step][c] =
                gap ? fleet->metric[s][step - 1][c] : (float)(4 * draw(rolling) - 2);
    }
}

/* A row of the past changes, and what a gap repeated after it. */
static void feed_late(struct rolling *rolling)
{
    struct fleet *fleet = rolling->fleet;
    int s = pick(rolling, SERVERS), from = fleet->newest - pick(rolling, rolling->window);
    int until = from + pick(rolling, 3);
    for (int step = from < 0 ? 0 : from; step <= until && step <= fleet->newest; step++)
        fleet->metric[s][step][pick(rolling, fleet->width)] += (float)draw(rolling);
}

/* The whole history of a metric is scaled otherwise. */
static void rescale(struct rolling *rolling)
{
    struct fleet *fleet = rolling->fleet;
    int s = pick(rolling, SERVERS), c = pick(rolling, fleet->width);
    float factor = (float)(0.5 + draw(rolling));
    for (int step = 0; step <= fleet->newest; step++)
        fleet->metric[s][step][c] *= factor;
    fleet->constant[s] += factor;
}

static void replace_server(struct rolling *rolling)
{
    struct fleet *fleet = rolling->fleet;
    int s = pick(rolling, SERVERS);
    fleet->key[s] = 1000 + (uint64_t)fleet->newest;
    fleet->born[s] = fleet->newest;
}

static void tick(struct rolling *rolling)
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

struct batch {
    int servers[SERVERS], count;
    struct md_window windows[SERVERS];
    struct md_tensor inputs[PORTS_MAX];
};

static float value_of(const struct rolling *rolling, int s, int step, int c, int first)
{
    const struct fleet *fleet = rolling->fleet;
    switch (fleet->roles[c]) {
    case KNOWN:
        return (float)((step + c) % 24) / 12 - 1;
    case STATIC:
        return (float)fleet->key[s] / 1000 - (float)c + fleet->constant[s];
    case POSITION:
        return (float)(step - first - rolling->window) / (float)rolling->window;
    default:
        return step <= fleet->newest ? fleet->metric[s][step][c] : 0;
    }
}

/* Rows of one side for batch row b, from step `first` on; what is past `length` is padding. */
static void fill_side(const struct rolling *rolling, const struct batch *batch, int b,
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

static void fill_input(struct rolling *rolling, struct batch *batch, const char *name,
                       struct md_tensor *tensor)
{
    const struct fleet *fleet = rolling->fleet;
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

/* All servers most of the time, else some of them in another order. */
static void choose(struct rolling *rolling, struct batch *batch)
{
    int first = draw(rolling) < 0.8 ? 0 : pick(rolling, SERVERS);
    batch->count = first ? 1 + pick(rolling, SERVERS) : SERVERS;
    for (int b = 0; b < batch->count; b++)
        batch->servers[b] = (b + first) % SERVERS;
}

static void make_inputs(struct rolling *rolling, struct batch *batch)
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

static struct md_tensor run(struct rolling *rolling, const struct batch *batch,
                            const struct md_windows *windows)
{
    const struct md_run_limits limits = {.windows = windows};
    struct md_tensor output;
    assert_ok(md_executable_run_within(rolling->executable, batch->inputs,
                                       md_executable_graph(rolling->executable)->input_count,
                                       &output, 1, &limits, &err));
    return output;
}

static void compare(struct rolling *rolling, const struct md_tensor *full,
                    const struct md_tensor *rolled)
{
    const float *a = full->data, *b = rolled->data;
    assert_int_equal(md_tensor_count(full), md_tensor_count(rolled));
    for (size_t i = 0; i < md_tensor_count(full); i++) {
        assert_true(isfinite(a[i]) && isfinite(b[i]));
        rolling->largest = fmax(rolling->largest, fabs((double)a[i] - (double)b[i]));
        rolling->lowest = fmin(rolling->lowest, (double)a[i]);
        rolling->highest = fmax(rolling->highest, (double)a[i]);
    }
}

static void forecast(struct rolling *rolling)
{
    struct batch batch = {0};
    choose(rolling, &batch);
    make_inputs(rolling, &batch);
    const struct md_windows windows = {batch.windows, batch.count, rolling->fleet->newest};
    struct md_tensor full = run(rolling, &batch, NULL), rolled = run(rolling, &batch, &windows);
    compare(rolling, &full, &rolled);
    md_tensor_unref(&full);
    md_tensor_unref(&rolled);
    for (int i = 0; i < PORTS_MAX; i++)
        md_tensor_unref(&batch.inputs[i]);
}

static struct md_kept_report play(struct rolling *rolling, int ticks)
{
    struct md_kept_report report;
    for (int i = 0; i < ticks; i++) {
        tick(rolling);
        forecast(rolling);
    }
    md_executable_kept(rolling->executable, &report);
    printf("%d ticks: largest difference %.2g of the range; kept %.1f %%, %zu bytes\n", ticks,
           rolling->largest / (rolling->highest - rolling->lowest),
           100.0 * (double)report.rows_kept / (double)(report.rows_kept + report.rows_computed),
           report.bytes);
    assert_true(rolling->highest > rolling->lowest);
    assert_true(rolling->largest <= 1e-5 * (rolling->highest - rolling->lowest));
    return report;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_thousand_ticks_agree_with_full_runs(void **state)
{
    (void)state;
    struct rolling rolling;
    begin(&rolling, "fleet_small", AS_BUILT, MD_ISA_BEST, 110, ROOMY);
    struct md_kept_report report = play(&rolling, 1000);
    /* relative_time_idx moves where windows are of different lengths; all else mostly stays */
    assert_true(report.rows_kept > 5 * report.rows_computed);
    assert_int_equal(report.runs_kept, 1000);
    assert_int_equal(report.runs_full, 0);
    assert_true(report.windows >= SERVERS && report.windows < 3 * SERVERS);
    assert_true(report.bytes > 0 && report.bytes <= report.bytes_max);
    end(&rolling);
}

static void test_every_instruction_set_agrees(void **state)
{
    (void)state;
    static const struct {
        const char *fixture;
        enum kind kind;
    } cases[] = {{"fleet_small", AS_BUILT}, {"fleet_small", WHOLE_ROWS}, {"bare", AS_BUILT}};
    for (enum md_cpu_isa isa = MD_ISA_PORTABLE; isa < MD_ISA_BEST; isa++)
        for (int c = 0; c < 3 && md_cpu_backend(isa); c++) {
            struct rolling rolling;
            begin(&rolling, cases[c].fixture, cases[c].kind, isa, 13 + 20 * c, ROOMY);
            struct md_kept_report report = play(&rolling, 60);
            assert_true(report.rows_kept > report.rows_computed);
            end(&rolling);
        }
}

static void test_whole_rows_agree_over_a_thousand_ticks(void **state)
{
    (void)state;
    struct rolling rolling;
    begin(&rolling, "fleet_small", WHOLE_ROWS, MD_ISA_BEST, 50, ROOMY);
    struct md_kept_report report = play(&rolling, 1000);
    assert_true(report.rows_kept > 5 * report.rows_computed);
    end(&rolling);
}

static void test_memory_ends_at_its_cap(void **state)
{
    (void)state;
    struct rolling rolling;
    begin(&rolling, "fleet_small", AS_BUILT, MD_ISA_BEST, 13, 60000);
    struct md_kept_report report = play(&rolling, 60);
    assert_true(report.bytes <= 60000);
    assert_true(report.runs_full > 0);
    end(&rolling);
}

/* Two rows of one key are two series as far as anybody can tell: nothing of them is kept. */
static void test_a_key_that_comes_twice_keeps_nothing(void **state)
{
    struct rolling rolling;
    struct md_kept_report report;
    begin(&rolling, "fleet_small", AS_BUILT, MD_ISA_BEST, 13, ROOMY);
    for (int i = 0; i < 3; i++) {
        struct batch batch = {.servers = {0, 1}, .count = 2};
        tick(&rolling);
        make_inputs(&rolling, &batch);
        batch.windows[1].key = batch.windows[0].key;
        const struct md_windows windows = {batch.windows, 2, rolling.fleet->newest};
        struct md_tensor full = run(&rolling, &batch, NULL),
                         twice = run(&rolling, &batch, &windows);
        assert_memory_equal(full.data, twice.data, md_tensor_bytes(&full));
        md_tensor_unref(&full);
        md_tensor_unref(&twice);
        for (int k = 0; k < PORTS_MAX; k++)
            md_tensor_unref(&batch.inputs[k]);
    }
    md_executable_kept(rolling.executable, &report);
    assert_int_equal(report.runs_full, 3);
    assert_int_equal(report.runs_kept, 0);
    assert_int_equal(report.bytes, 0);
    assert_int_equal(report.windows, 0);
    end(&rolling);
}

/* A run whose windows do not fit takes nothing from the room of those that do. */
static void test_a_run_that_does_not_fit_keeps_nothing(void **state)
{
    struct rolling rolling;
    struct md_kept_report report;
    begin(&rolling, "fleet_small", AS_BUILT, MD_ISA_BEST, 13, ROOMY);
    size_t each = md_executable_window_bytes(rolling.executable);
    end(&rolling);
    begin(&rolling, "fleet_small", AS_BUILT, MD_ISA_BEST, 13, 2 * (each + 16384));
    for (int i = 0; i < 4; i++) {
        struct batch batch = {.servers = {0, 1, 2, 3, 4}, .count = i < 2 ? 5 : 1};
        tick(&rolling);
        make_inputs(&rolling, &batch);
        const struct md_windows windows = {batch.windows, batch.count, rolling.fleet->newest};
        struct md_tensor output = run(&rolling, &batch, &windows);
        md_executable_kept(rolling.executable, &report);
        assert_int_equal(report.runs_full, i < 2 ? i + 1 : 2);
        assert_int_equal(report.windows, i < 2 ? 0 : 1);
        md_tensor_unref(&output);
        for (int k = 0; k < PORTS_MAX; k++)
            md_tensor_unref(&batch.inputs[k]);
    }
    end(&rolling);
}

/* A series that is forecast no more gives its memory back. */
static void idle_windows_go(int64_t ahead)
{
    struct rolling rolling;
    struct md_kept_report report;
    begin(&rolling, "fleet_small", AS_BUILT, MD_ISA_BEST, 13, ROOMY);
    for (int i = 0; i < 40; i++) {
        struct batch batch = {.servers = {0, 1, 2}, .count = i < 10 ? 3 : 1};
        tick(&rolling);
        make_inputs(&rolling, &batch);
        batch.windows[0].key = 5;
        int64_t now = rolling.fleet->newest + (i == 9 ? ahead : 0);
        const struct md_windows windows = {batch.windows, batch.count, now};
        struct md_tensor output = run(&rolling, &batch, &windows);
        md_tensor_unref(&output);
        for (int k = 0; k < PORTS_MAX; k++)
            md_tensor_unref(&batch.inputs[k]);
    }
    md_executable_kept(rolling.executable, &report);
    assert_int_equal(report.windows, 1);
    assert_true(report.bytes >= md_executable_window_bytes(rolling.executable));
    assert_true(report.bytes < 2 * md_executable_window_bytes(rolling.executable));
    end(&rolling);
}

/* Also after one tick that claims to be far ahead, or long ago. */
static void test_idle_windows_go(void **state)
{
    for (int ahead = -100000; ahead <= 100000; ahead += 100000)
        idle_windows_go(ahead);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thousand_ticks_agree_with_full_runs),
        cmocka_unit_test(test_whole_rows_agree_over_a_thousand_ticks),
        cmocka_unit_test(test_every_instruction_set_agrees),
        cmocka_unit_test(test_memory_ends_at_its_cap),
        cmocka_unit_test(test_a_key_that_comes_twice_keeps_nothing),
        cmocka_unit_test(test_idle_windows_go),
        cmocka_unit_test(test_a_run_that_does_not_fit_keeps_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
