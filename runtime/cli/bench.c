/*
 * moondial bench: times one model at several batch sizes, each iteration on new random rows that
 * are made outside the timed part, and compares with the machine's floor (floor.h). All outputs
 * are computed, nothing is cached between calls. --shared-known gives the rows of a batch the same
 * known future, as servers have it; otherwise all their numbers differ. --in gives the inputs
 * instead. With --rolling an iteration is one tick: each row of the batch is a series of its own
 * whose window moves on by a step, the rest of it as it was.
 * --passes is another report (bench_passes.c), --profile a part of this one (bench_profile.c).
 *
 * --paced lets another program set the pace, so that it can time this model and others in turn: one
 * JSON line when the model has answered once, then one for each line on standard input, which says
 * for how many seconds to run.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/floor.h"

#define USAGE           "bench MODEL [FLAG ...]; --help lists them"
#define DEFAULT_BATCHES "1,20,100"
#define BATCHES_MAX     32
#define WARM_UP         3
#define ITERATIONS_MIN  10
#define ITERATIONS_MAX  1000 /* unless more are asked for */
#define ASKED_MAX       100000
#define BATCH_NS        3000000000 /* time spent on one batch size */

struct bench {
    struct md__open_options options;
    const char *batches, *profile_out;
    int iterations; /* 0: by time */
    bool profile, passes, rolling, as_json, paced;
    struct md__bench_inputs inputs;
    struct md__opened model;
    struct md__sample sample;
    struct md__floor floor;
    size_t port_bytes; /* inputs and outputs of the last run */
    double load_s;     /* from nothing to the first answer */
    size_t peak_bytes; /* of the process, by then */
};

struct result {
    int64_t batch;
    int iterations;
    double median_s, p95_s, min_s, floor_s;
    struct md_plan_report report;
};

static int by_value(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return left < right ? -1 : left > right;
}

void md__bench_sort(int64_t *times, int count)
{
    qsort(times, (size_t)count, sizeof *times, by_value);
}

static bool enough(const struct bench *bench, int done, int least, int64_t spent_ns, int64_t ns)
{
    if (bench->iterations > 0) {
        return done >= bench->iterations;
    }
    return done >= ITERATIONS_MAX || (done >= least && spent_ns > ns);
}

/* Runs for about `ns`, at least `least` times. */
static enum md_status time_runs(struct bench *bench, int64_t ns, int least, struct result *result,
                                struct md_error *err)
{
    static int64_t times[ASKED_MAX];
    int64_t spent_ns = 0;
    int done = 0;
    enum md_status status = MD_OK;

    while (status == MD_OK && !enough(bench, done, least, spent_ns, ns)) {
        status = md__sample_run(&bench->sample, bench->model.executable, &times[done],
                                &bench->port_bytes, err);
        spent_ns += times[done++];
    }
    if (status != MD_OK) {
        return status;
    }
    md__bench_sort(times, done);
    *result = (struct result){
        .batch = md__sample_batch(&bench->sample),
        .iterations = done,
        .median_s = (double)times[done / 2] / 1e9,
        .p95_s = (double)times[(done * 95 - 1) / 100] / 1e9,
        .min_s = (double)times[0] / 1e9,
    };
    status = md_executable_report(bench->model.executable, &result->report, err);
    result->floor_s = md__floor_seconds(&bench->floor, &result->report, bench->port_bytes);
    return status;
}

static enum md_status time_batch(struct bench *bench, int64_t batch, struct result *result,
                                 struct md_error *err)
{
    enum md_status status = md__sample_resize(&bench->sample, batch, err);
    int64_t ns = 0;

    /* What takes long needs no warm-up: it was run once when it was loaded. */
    for (int i = 0; i < WARM_UP && ns < BATCH_NS / ITERATIONS_MIN && status == MD_OK; i++) {
        status = md__sample_run(&bench->sample, bench->model.executable, &ns, NULL, err);
    }
    if (status == MD_OK) {
        status = time_runs(bench, BATCH_NS, ITERATIONS_MIN, result, err);
    }
    return status;
}

/* ---- reports ---- */

static json_t *result_json(const struct bench *bench, const struct result *result)
{
    return json_pack(
        "{s:I, s:i, s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:f}", "batch", (json_int_t)result->batch,
        "threads", bench->model.threads, "mode", bench->rolling ? "rolling" : "full", "iterations",
        result->iterations, "median_ms", result->median_s * 1e3, "p95_ms", result->p95_s * 1e3,
        "min_ms", result->min_s * 1e3, "gflops", result->report.flops / result->median_s / 1e9,
        "floor_ms", result->floor_s * 1e3, "floor_share", result->floor_s / result->median_s);
}

/* The sizes that --batch does not give: what a row costs depends on them. */
static void print_sizes(const struct md__sample *sample)
{
    int batch = md__sample_batch_symbol(sample->graph);
    const char *before =
        sample->given ? "sizes of the inputs: " : "sizes, unless --symbol gives others: ";

    for (int i = 0; i < sample->graph->symbol_count; i++) {
        if (i != batch) {
            printf("%s%s=%lld", before, sample->graph->symbols[i], (long long)sample->sizes[i]);
            before = ",";
        }
    }
    if (*before == ',') {
        putchar('\n');
    }
}

static void print_header(const struct bench *bench)
{
    printf("%s on %s, %d threads; this machine: %.1f GFLOP/s, %.1f GB/s, %.2f ns a "
           "transcendental\n",
           bench->options.path, bench->model.backend->name, bench->model.threads,
           bench->floor.flops_per_s / 1e9, bench->floor.bytes_per_s / 1e9,
           bench->floor.transcendental_s * 1e9);
    print_sizes(&bench->sample);
    printf("%8s %10s %10s %10s %9s %10s %7s\n", "batch", "median ms", "p95 ms", "min ms", "GFLOP/s",
           "floor ms", "share");
}

static void print_result(const struct result *result, bool batched)
{
    char batch[24] = "-";

    if (batched) {
        snprintf(batch, sizeof batch, "%lld", (long long)result->batch);
    }
    printf("%8s %10.3f %10.3f %10.3f %9.1f %10.3f %6.1f%%\n", batch, result->median_s * 1e3,
           result->p95_s * 1e3, result->min_s * 1e3, result->report.flops / result->median_s / 1e9,
           result->floor_s * 1e3, 100 * result->floor_s / result->median_s);
    fflush(stdout);
}

static void print_json(const struct bench *bench, json_t *results, json_t *profile)
{
    json_t *report = json_pack(
        "{s:s, s:s, s:i, s:f, s:f, s:o, s:{s:f, s:f, s:f}, s:o}", "model", bench->options.path,
        "backend", bench->model.backend->name, "threads", bench->model.threads, "load_ms",
        bench->load_s * 1e3, "peak_mb", (double)bench->peak_bytes / 1e6, "symbols",
        md__sample_sizes_json(&bench->sample), "machine", "fma_gflops",
        bench->floor.flops_per_s / 1e9, "read_gb_per_s", bench->floor.bytes_per_s / 1e9,
        "transcendental_ns", bench->floor.transcendental_s * 1e9, "results", results);

    if (profile != NULL) {
        json_object_update(report, profile);
    }
    json_dumpf(report, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(report);
}

/* ---- the command ---- */

static enum md_status time_all(struct bench *bench, const int64_t *batches, int count,
                               json_t *results, struct md_error *err)
{
    for (int i = 0; i < count; i++) {
        struct result result;
        enum md_status status = time_batch(bench, batches[i], &result, err);
        if (status != MD_OK) {
            return status;
        }
        if (bench->as_json) {
            json_array_append_new(results, result_json(bench, &result));
        } else {
            print_result(&result, md__sample_batch_symbol(bench->sample.graph) >= 0);
        }
    }
    return MD_OK;
}

static enum md_status measure_floor(struct bench *bench, struct md_error *err)
{
    return md__floor_measure(bench->model.backend, bench->model.pool, md_clock_system(),
                             &bench->floor, err);
}

static enum md_status run_paced(struct bench *bench, struct md_error *err)
{
    struct result result = {0};
    enum md_status status = MD_OK;
    char line[64];

    printf("{\"ready\": true, \"load_ms\": %.3f, \"peak_mb\": %.3f}\n", bench->load_s * 1e3,
           (double)bench->peak_bytes / 1e6);
    fflush(stdout);
    while (status == MD_OK && fgets(line, sizeof line, stdin) != NULL) {
        if (result.iterations == 0) { /* now it is our turn, so the machine is quiet */
            status = measure_floor(bench, err);
        }
        if (status == MD_OK) {
            status = time_runs(bench, (int64_t)(strtod(line, NULL) * 1e9), 1, &result, err);
        }
        if (status == MD_OK) {
            json_t *row = result_json(bench, &result);
            json_dumpf(row, stdout, JSON_REAL_PRECISION(6));
            putchar('\n');
            fflush(stdout);
            json_decref(row);
        }
    }
    return status;
}

static enum md_status print_timed(struct bench *bench, const int64_t *batches, int count,
                                  struct md_error *err)
{
    json_t *results = json_array(), *profile = NULL;
    bool profiling = bench->profile || bench->profile_out != NULL;
    enum md_status status;

    if (!bench->as_json) {
        print_header(bench);
    }
    md_executable_set_profiling(bench->model.executable, profiling);
    status = time_all(bench, batches, count, results, err);
    if (status == MD_OK && profiling) {
        status = md__bench_profile(bench->model.executable, &bench->floor, bench->model.threads - 1,
                                   bench->options.path, bench->profile_out, &profile, err);
    }
    if (status == MD_OK && bench->as_json) {
        print_json(bench, json_incref(results), profile);
    } else if (profile != NULL) {
        md__bench_print_profile(profile);
    }
    json_decref(profile);
    json_decref(results);
    return status;
}

/* Of this program alone: getrusage would count what its parent was when it forked. 0: unknown. */
static size_t peak_bytes(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    unsigned long long kilobytes = 0;
    char line[128];

    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "VmHWM: %llu", &kilobytes) == 1) {
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return (size_t)kilobytes * 1024;
}

enum md_status md__bench_sample(const struct md__bench_inputs *inputs,
                                const struct md__opened *model, struct md__sample *sample,
                                struct md_error *err)
{
    const struct md_graph *graph = md_executable_graph(model->executable);
    enum md_status status = md__sample_init(sample, graph, model->config, inputs->symbols, err);

    if (status == MD_OK && inputs->shared_known) {
        status = md__sample_share_known(sample, model->config, err);
    }
    if (status == MD_OK && inputs->given.count > 0) {
        status = md__cli_read_inputs(graph, &inputs->given, sample->inputs, err);
        if (status == MD_OK) {
            md__sample_give(sample);
        }
    }
    return status;
}

/* The first answer, and what it took to get there since `begin`. */
static enum md_status answer_once(struct bench *bench, int64_t batch, int64_t begin,
                                  struct md_error *err)
{
    int64_t ns;
    enum md_status status = md__sample_resize(&bench->sample, batch, err);

    if (status == MD_OK) {
        status =
            md__sample_run(&bench->sample, bench->model.executable, &ns, &bench->port_bytes, err);
    }
    bench->load_s = (double)(md_monotonic_ns(md_clock_system()) - begin) / 1e9;
    bench->peak_bytes = peak_bytes();
    if (status == MD_OK) {
        md__opened_keep_packs(&bench->model);
    }
    return status;
}

static enum md_status measure(struct bench *bench, int64_t *batches, int count, int64_t begin,
                              struct md_error *err)
{
    enum md_status status;

    begin -= md_monotonic_ns(md_clock_system()); /* reading inputs from files is no loading */
    status = md__bench_sample(&bench->inputs, &bench->model, &bench->sample, err);
    begin += md_monotonic_ns(md_clock_system());
    if (status == MD_OK && bench->rolling) {
        md__sample_roll(&bench->sample, bench->model.config);
    }
    if (status == MD_OK && md__sample_batch_symbol(bench->sample.graph) < 0) {
        count = 1;
        if (strcmp(bench->batches, DEFAULT_BATCHES) != 0 && strcmp(bench->batches, "1") != 0) {
            status = md_fail(err, MD_ERR_INVALID,
                             "the model has no symbol \"batch\" or \"batch_size\", so "
                             "--batch has no meaning; --symbol NAME=SIZE gives other sizes");
        }
    }
    if (bench->sample.given) {
        count = 1;
    }
    if (status == MD_OK) {
        status = answer_once(bench, batches[0], begin, err);
    }
    if (status == MD_OK && bench->rolling &&
        md_executable_window_bytes(bench->model.executable) == 0) {
        status = md_fail(err, MD_ERR_INVALID,
                         "the model keeps nothing of windows that roll; inspect says why");
    }
    if (status == MD_OK && !bench->paced) {
        status = measure_floor(bench, err);
    }
    if (status != MD_OK) {
        return status;
    }
    return bench->paced ? run_paced(bench, err) : print_timed(bench, batches, count, err);
}

static enum md_status report(struct bench *bench, struct md_error *err)
{
    int64_t batches[BATCHES_MAX];
    int count = md__args_ints(bench->batches, batches, BATCHES_MAX);
    int64_t begin = md_monotonic_ns(md_clock_system());
    enum md_status status;

    if (count < 1) {
        return md_fail(err, MD_ERR_INVALID, "--batch takes sizes like 1,20,100, not \"%.64s\"",
                       bench->batches);
    }
    bool given = bench->inputs.given.count > 0;
    if (bench->rolling && (bench->passes || given)) {
        return md_fail(err, MD_ERR_INVALID, "--rolling goes with neither --passes nor --in");
    }
    if (given && (bench->inputs.symbols != NULL || strcmp(bench->batches, DEFAULT_BATCHES) != 0)) {
        return md_fail(err, MD_ERR_INVALID,
                       "sizes are those of --in, which goes with neither --batch nor --symbol");
    }
    if (bench->passes) {
        return md__bench_passes(&bench->options, &bench->inputs, batches, count, bench->as_json,
                                err);
    }
    status = md__open(&bench->options, &bench->model, err);
    if (status == MD_OK) {
        status = measure(bench, batches, count, begin, err);
        md__sample_fini(&bench->sample);
        md__opened_close(&bench->model);
    }
    return status;
}

int md__cli_bench(int argc, char **argv)
{
    struct bench bench = {.batches = DEFAULT_BATCHES};
    const struct md__flag flags[] = {
        {"--batch", MD__FLAG_TEXT, &bench.batches, "SIZES",
         "rows of a run, for example 1,20,100, which is what is taken if not given"},
        MD__FLAG_SYMBOL(bench.inputs.symbols),
        {"--iterations", MD__FLAG_INT, &bench.iterations, "N", "runs of each size, not by time"},
        {"--in", MD__FLAG_LIST, &bench.inputs.given, "NAME=FILE.npy",
         "an input, instead of random ones"},
        {"--shared-known", MD__FLAG_BOOL, &bench.inputs.shared_known, NULL,
         "all rows have the same known future, as servers do"},
        {"--rolling", MD__FLAG_BOOL, &bench.rolling, NULL,
         "a run is one step on of every row's window"},
        {"--profile", MD__FLAG_BOOL, &bench.profile, NULL, "time by step and by operator"},
        {"--profile-out", MD__FLAG_TEXT, &bench.profile_out, "FILE",
         "the same as stacks for flame graphs; NAME.svg: as a picture"},
        {"--passes", MD__FLAG_BOOL, &bench.passes, NULL,
         "what each pass and fused operator gains, instead"},
        {"--paced", MD__FLAG_BOOL, &bench.paced, NULL,
         "run for as many seconds as each line of standard input says"},
        MD__FLAG_JSON(bench.as_json),
        MD__FLAGS_OPEN(bench.options),
        MD__FLAGS_PACKS(bench.options),
        {"--captures-off", MD__FLAG_BOOL, &bench.options.captures_off, NULL,
         "start a GPU's kernels one by one"},
    };
    struct md_error err = {0};
    enum md_status status = md__args_parse(argc, argv, flags, (int)(sizeof flags / sizeof flags[0]),
                                           USAGE, &bench.options.path, &err);

    if (status == MD_OK && bench.iterations > ASKED_MAX) {
        status = md_fail(&err, MD_ERR_INVALID, "--iterations is at most %d", ASKED_MAX);
    }
    if (status == MD_OK) {
        status = report(&bench, &err);
    }
    return status == MD_OK ? 0 : md__cli_fail(&err);
}
