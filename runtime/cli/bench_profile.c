/*
 * moondial bench --profile: where the time of the last batch size went.
 */
#include <stdio.h>
#include <stdlib.h>

#include "cli/bench.h"

#define STEPS_MAX 4096

static int by_time(const void *a, const void *b)
{
    int64_t left = ((const struct md_step_time *)a)->total_ns;
    int64_t right = ((const struct md_step_time *)b)->total_ns;

    return left < right ? 1 : left > right ? -1 : 0;
}

/* Where the time of the last batch size went, longest first. */
json_t *md__bench_profile(const struct md_executable *executable)
{
    struct md_step_time *rows = calloc(STEPS_MAX, sizeof *rows);
    int count = rows == NULL ? 0 : md_executable_profile(executable, rows, STEPS_MAX);
    json_t *list = json_array();
    double total = 0;

    count = count < STEPS_MAX ? count : STEPS_MAX;
    for (int i = 0; i < count; i++) {
        total += (double)rows[i].total_ns;
    }
    if (count > 0) {
        qsort(rows, (size_t)count, sizeof *rows, by_time);
    }
    for (int i = 0; i < count && i < 40; i++) {
        double mean_ns = (double)rows[i].total_ns / (double)(rows[i].runs > 0 ? rows[i].runs : 1);
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:f, s:f}", "op", md_op_info(rows[i].op)->name,
                                        "name", rows[i].name, "mean_ms", mean_ns / 1e6, "share",
                                        (double)rows[i].total_ns / (total > 0 ? total : 1)));
    }
    free(rows);
    return list;
}

void md__bench_print_profile(const json_t *rows)
{
    size_t index;
    json_t *row;

    printf("\n%10s %7s  %s\n", "mean ms", "share", "operator");
    json_array_foreach(rows, index, row)
    {
        printf("%10.4f %6.1f%%  %s %s\n", json_real_value(json_object_get(row, "mean_ms")),
               100 * json_real_value(json_object_get(row, "share")),
               json_string_value(json_object_get(row, "op")),
               json_string_value(json_object_get(row, "name")));
    }
}
