/* What the reports of `moondial bench` share. */
#ifndef MD_CLI_BENCH_H
#define MD_CLI_BENCH_H

#include "cli/cli.h"
#include "cli/floor.h"
#include "cli/sample.h"

/* What a model is run with, as the flags say. */
struct md__bench_inputs {
    const char *symbols;
    bool shared_known;
    struct md__flag_list given;
};
/* Wants md__sample_fini after a failure, too. */
enum md_status md__bench_sample(const struct md__bench_inputs *inputs,
                                const struct md__opened *model, struct md__sample *sample,
                                struct md_error *err);

void md__bench_sort(int64_t *times, int count); /* ascending */

/* Times the model without each pass and each fused operator, and prints what each gains. */
enum md_status md__bench_passes(const struct md__open_options *options,
                                const struct md__bench_inputs *inputs, const int64_t *batches,
                                int batch_count, bool as_json, struct md_error *err);

/*
 * Where the time of the last runs went while profiling was on, the caller's: "profile", its steps,
 * longest first, and "operators", sums by operator. `others`: threads but the first. Writes stacks
 * to the file `out` unless NULL: a flame graph when its name ends in .svg, else lines for flame
 * graph tools.
 */
enum md_status md__bench_profile(const struct md_executable *executable,
                                 const struct md__floor *floor, int others, const char *model,
                                 const char *out, json_t **profile, struct md_error *err);
void md__bench_print_profile(const json_t *profile);

#endif
