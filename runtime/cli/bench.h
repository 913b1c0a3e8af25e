/* What the reports of `moondial bench` share. */
#ifndef MD_CLI_BENCH_H
#define MD_CLI_BENCH_H

#include "cli/cli.h"
#include "cli/sample.h"

/* Times the model without each pass and each fused operator, and prints what each gains. */
enum md_status md__bench_passes(const struct md__open_options *options, const char *symbols,
                                bool shared_known, const int64_t *batches, int batch_count,
                                bool as_json, struct md_error *err);

/* Steps of the last runs while profiling was on, longest first; the caller's. */
json_t *md__bench_profile(const struct md_executable *executable);
void md__bench_print_profile(const json_t *rows);

#endif
