/*
 * moondial bench --passes: what each pass and each fused operator gains. The model stays open with
 * everything on; one after the other it is opened once more without each of them, and the two run
 * in turns, so that a neighbour's load falls on both alike and no third one takes memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"

#define ROUNDS        7
#define ROUND_NS      100000000 /* of one variant */
#define TIMES_MAX     512
#define EVERYTHING_ON "(none)"

struct variant {
    const char *without;
    struct md__opened model;
    struct md__sample sample;
    int64_t times[TIMES_MAX];
    int count;
};

/* Operators that the model does not ask for are of no interest. */
static bool concerns(const struct md__opened *model, const char *name)
{
    for (int op = 0; op < MD_OP_COUNT; op++) {
        const char *domain_end = strchr(md_op_info((enum md_op)op)->name, '.');
        if (domain_end != NULL && strcmp(domain_end + 1, name) == 0 &&
            md_op_info((enum md_op)op)->body != NULL) {
            return model->regions[op] > 0;
        }
    }
    return true;
}

static enum md_status open_variant(const struct md__open_options *options,
                                   const struct md__bench_inputs *inputs, struct variant *variant,
                                   struct md_error *err)
{
    struct md__open_options own = *options;
    enum md_status status;

    own.passes_off = variant->without;
    status = md__open(&own, &variant->model, err);
    return status == MD_OK ? md__bench_sample(inputs, &variant->model, &variant->sample, err)
                           : status;
}

/* The first run of all plans and packs, and is not counted. */
static enum md_status run_round(struct variant *variant, bool counted, struct md_error *err)
{
    enum md_status status = MD_OK;
    int64_t spent = 0;

    do {
        int64_t ns = 0;
        status = md__sample_run(&variant->sample, variant->model.executable, &ns, NULL, err);
        spent += ns;
        if (counted && variant->count < TIMES_MAX) {
            variant->times[variant->count++] = ns;
        }
    } while (counted && status == MD_OK && spent < ROUND_NS && variant->count < TIMES_MAX);
    return status;
}

/* Both in turns; `other` may be NULL. */
static enum md_status time_batch(struct variant *base, struct variant *other, int64_t batch,
                                 struct md_error *err)
{
    struct variant *variants[] = {base, other};
    enum md_status status = MD_OK;

    for (int v = 0; v < 2 && variants[v] != NULL && status == MD_OK; v++) {
        variants[v]->count = 0;
        status = md__sample_resize(&variants[v]->sample, batch, err);
    }
    for (int round = 0; round <= ROUNDS; round++) {
        for (int v = 0; v < 2 && variants[v] != NULL && status == MD_OK; v++) {
            status = run_round(variants[v], round > 0, err);
        }
    }
    for (int v = 0; v < 2 && variants[v] != NULL; v++) {
        md__bench_sort(variants[v]->times, variants[v]->count);
    }
    return status;
}

static json_t *row_json(const struct variant *base, const struct variant *variant)
{
    double median = (double)variant->times[variant->count / 2];

    return json_pack("{s:I, s:s, s:f, s:f, s:f}", "batch",
                     (json_int_t)md__sample_batch(&variant->sample), "without",
                     variant->without != NULL ? variant->without : EVERYTHING_ON, "median_ms",
                     median / 1e6, "min_ms", (double)variant->times[0] / 1e6, "gain",
                     (double)variant->times[0] / (double)base->times[0]);
}

static void print_row(const json_t *row)
{
    printf("%8lld  %-26s %10.3f %10.3f %8.2f\n",
           (long long)json_integer_value(json_object_get(row, "batch")),
           json_string_value(json_object_get(row, "without")),
           json_real_value(json_object_get(row, "median_ms")),
           json_real_value(json_object_get(row, "min_ms")),
           json_real_value(json_object_get(row, "gain")));
    fflush(stdout);
}

/* What is asked for, and what came of it. */
struct report {
    const int64_t *batches;
    int batch_count;
    bool as_json;
    json_t *rows;
};

/* A row for each batch: of `other` beside the model with everything on, or of that alone. */
static enum md_status report_variant(const struct report *report, struct variant *base,
                                     struct variant *other, struct md_error *err)
{
    enum md_status status = MD_OK;

    for (int b = 0; b < report->batch_count && status == MD_OK; b++) {
        if (b > 0 && (base->sample.given || md__sample_batch_symbol(base->sample.graph) < 0)) {
            break; /* the sizes stay what they are */
        }
        status = time_batch(base, other, report->batches[b], err);
        if (status == MD_OK) {
            json_t *row = row_json(base, other != NULL ? other : base);
            if (!report->as_json) {
                print_row(row);
            }
            json_array_append_new(report->rows, row);
        }
    }
    return status;
}

static void close_variant(struct variant *variant)
{
    md__sample_fini(&variant->sample);
    md__opened_close(&variant->model);
}

static enum md_status report_without(const struct report *report, const char *name,
                                     const struct md__open_options *options,
                                     const struct md__bench_inputs *inputs, struct variant *base,
                                     struct md_error *err)
{
    struct variant *other = calloc(1, sizeof *other);

    if (other == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    }
    other->without = name;
    enum md_status status = open_variant(options, inputs, other, err);
    if (status == MD_OK) {
        status = report_variant(report, base, other, err);
    }
    close_variant(other);
    free(other);
    return status;
}

static void print_json(const struct md__open_options *options, const struct variant *base,
                       json_t *rows)
{
    json_t *report =
        json_pack("{s:s, s:s, s:i, s:O}", "model", options->path, "backend",
                  base->model.backend->name, "threads", base->model.threads, "passes", rows);

    json_dumpf(report, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(report);
}

enum md_status md__bench_passes(const struct md__open_options *options,
                                const struct md__bench_inputs *inputs, const int64_t *batches,
                                int batch_count, bool as_json, struct md_error *err)
{
    struct variant *base = calloc(1, sizeof *base);
    const struct report report = {batches, batch_count, as_json, json_array()};
    enum md_status status = base != NULL ? open_variant(options, inputs, base, err)
                                         : md_fail(err, MD_ERR_MEMORY, "out of memory");
    const char *name;

    if (status == MD_OK && !as_json) {
        printf(
            "%s on %s, %d threads: without one pass or fused operator at a time;\n"
            "gain: the fastest run over the fastest with everything on\n%8s  %-26s %10s %10s %8s\n",
            options->path, base->model.backend->name, base->model.threads, "batch", "without",
            "median ms", "min ms", "gain");
    }
    if (status == MD_OK) {
        status = report_variant(&report, base, NULL, err);
    }
    for (int i = 0; status == MD_OK && (name = md_executable_pass_name(i)) != NULL; i++) {
        if (concerns(&base->model, name)) {
            status = report_without(&report, name, options, inputs, base, err);
        }
    }
    if (status == MD_OK && as_json) {
        print_json(options, base, report.rows);
    }
    json_decref(report.rows);
    if (base != NULL) {
        close_variant(base);
    }
    free(base);
    return status;
}
