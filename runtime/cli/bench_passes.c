/*
 * moondial bench --passes: what each pass and each fused operator gains. The model is opened once
 * with everything on and once more without each of them, all at the same time; every round runs
 * each of these a few times, so that a neighbour's load falls on all alike.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"

#define VARIANTS_MAX  32
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

static int by_value(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return left < right ? -1 : left > right;
}

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

static enum md_status open_variant(const struct md__open_options *options, const char *symbols,
                                   bool shared_known, struct variant *variant, struct md_error *err)
{
    struct md__open_options own = *options;
    enum md_status status;

    own.passes_off = variant->without;
    status = md__open(&own, &variant->model, err);
    if (status == MD_OK) {
        status = md__sample_init(&variant->sample, md_executable_graph(variant->model.executable),
                                 variant->model.config, symbols, err);
    }
    if (status == MD_OK && shared_known) {
        status = md__sample_share_known(&variant->sample, variant->model.config, err);
    }
    return status;
}

static enum md_status open_all(const struct md__open_options *options, const char *symbols,
                               bool shared_known, struct variant *variants, int *count,
                               struct md_error *err)
{
    enum md_status status = open_variant(options, symbols, shared_known, &variants[0], err);
    const char *name;

    *count = 1;
    for (int i = 0; status == MD_OK && (name = md_executable_pass_name(i)) != NULL; i++) {
        if (*count < VARIANTS_MAX && concerns(&variants[0].model, name)) {
            variants[*count].without = name;
            status = open_variant(options, symbols, shared_known, &variants[(*count)++], err);
        }
    }
    return status;
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

static enum md_status time_batch(struct variant *variants, int count, int64_t batch,
                                 struct md_error *err)
{
    enum md_status status = MD_OK;

    for (int v = 0; v < count && status == MD_OK; v++) {
        variants[v].count = 0;
        status = md__sample_resize(&variants[v].sample, batch, err);
    }
    for (int round = 0; round <= ROUNDS; round++) {
        for (int v = 0; v < count && status == MD_OK; v++) {
            status = run_round(&variants[v], round > 0, err);
        }
    }
    for (int v = 0; v < count; v++) {
        qsort(variants[v].times, (size_t)variants[v].count, sizeof(int64_t), by_value);
    }
    return status;
}

static json_t *rows_json(const struct variant *variants, int count, int64_t batch)
{
    json_t *rows = json_array();

    for (int v = 0; v < count; v++) {
        const struct variant *variant = &variants[v];
        double median = (double)variant->times[variant->count / 2];
        json_array_append_new(
            rows, json_pack("{s:I, s:s, s:f, s:f, s:f}", "batch", (json_int_t)batch, "without",
                            variant->without != NULL ? variant->without : EVERYTHING_ON,
                            "median_ms", median / 1e6, "min_ms", (double)variant->times[0] / 1e6,
                            "gain", (double)variant->times[0] / (double)variants[0].times[0]));
    }
    return rows;
}

static void print_rows(const json_t *rows)
{
    size_t index;
    json_t *row;

    json_array_foreach(rows, index, row)
    {
        printf("%8lld  %-26s %10.3f %10.3f %8.2f\n",
               (long long)json_integer_value(json_object_get(row, "batch")),
               json_string_value(json_object_get(row, "without")),
               json_real_value(json_object_get(row, "median_ms")),
               json_real_value(json_object_get(row, "min_ms")),
               json_real_value(json_object_get(row, "gain")));
    }
    fflush(stdout);
}

enum md_status md__bench_passes(const struct md__open_options *options, const char *symbols,
                                bool shared_known, const int64_t *batches, int batch_count,
                                bool as_json, struct md_error *err)
{
    struct variant *variants = calloc(VARIANTS_MAX, sizeof *variants);
    json_t *all = json_array();
    int count = 0;
    enum md_status status = variants != NULL
                                ? open_all(options, symbols, shared_known, variants, &count, err)
                                : md_fail(err, MD_ERR_MEMORY, "out of memory");

    if (status == MD_OK && !as_json) {
        printf(
            "%s on %s, %d threads: without one pass or fused operator at a time;\n"
            "gain: the fastest run over the fastest with everything on\n%8s  %-26s %10s %10s %8s\n",
            options->path, variants[0].model.backend->name, variants[0].model.threads, "batch",
            "without", "median ms", "min ms", "gain");
    }
    for (int b = 0; b < batch_count && status == MD_OK; b++) {
        status = time_batch(variants, count, batches[b], err);
        if (status == MD_OK) {
            json_t *rows = rows_json(variants, count, batches[b]);
            if (!as_json) {
                print_rows(rows);
            }
            json_array_extend(all, rows);
            json_decref(rows);
        }
    }
    if (status == MD_OK && as_json) {
        json_t *report = json_pack("{s:s, s:s, s:i, s:O}", "model", options->path, "backend",
                                   variants[0].model.backend->name, "threads",
                                   variants[0].model.threads, "passes", all);
        json_dumpf(report, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putchar('\n');
        json_decref(report);
    }
    json_decref(all);
    for (int v = 0; v < count; v++) {
        md__sample_fini(&variants[v].sample);
        md__opened_close(&variants[v].model);
    }
    free(variants);
    return status;
}
