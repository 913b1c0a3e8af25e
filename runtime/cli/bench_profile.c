/*
 * moondial bench --profile: where the time of the last batch size went, by operator and by step. A
 * step is one operator of the file, or a group of them that a pass fused; its name says what went
 * in. Shares of the floor are of each step's own (floor.h); bytes that the previous step left in a
 * near cache may put one above 100 %. "Others": of the time that the threads but the first have
 * during a step, the share that they work on it; low where a step is not split, where they wake
 * late, or wait for the last part.
 *
 * --profile-out writes the steps as stacks, one frame for each part of a node's name (exporters
 * write paths like /layer1/conv1/Conv), widths in microseconds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/flame.h"
#include "cli/bench.h"

#define ROWS_SHOWN 40
#define HEADER     "%10s %10s %7s %6s %9s %8s %8s %7s  %s\n"

static int by_time(const void *a, const void *b)
{
    int64_t left = ((const struct md_step_time *)a)->total_ns;
    int64_t right = ((const struct md_step_time *)b)->total_ns;

    return left < right ? 1 : left > right ? -1 : 0;
}

static double mean_ns(const struct md_step_time *row)
{
    return (double)row->total_ns / (double)(row->runs > 0 ? row->runs : 1);
}

/* "ConvLast + Add + Relu": a fused operator with what it does after its sums. */
static void label_of(const struct md_node *node, char *text, size_t size)
{
    const char *name = md_op_info(node->op)->name, *dot = strrchr(name, '.');
    const char *activation = md_node_string(node, "activation", "");
    bool is_conv = node->op == MD_OP_CONV_LAST || node->op == MD_OP_FUSED_CONV;
    bool adds = is_conv && node->in_count > 3 && node->in[3] != MD_NONE;

    snprintf(text, size, "%s%s%s%s", dot != NULL ? dot + 1 : name, adds ? " + Add" : "",
             activation[0] != '\0' ? " + " : "", activation);
}

/* ---- tables ---- */

/* What is kept of a step, or of all steps of an operator. */
struct sum {
    char label[96];
    const char *name;
    double ms, fastest_ms, helped_ms, floor_ms, flops, bytes;
    int steps;
};

static void add_row(struct sum *sum, const struct md__floor *floor, const struct md_step_time *row)
{
    sum->ms += mean_ns(row) / 1e6;
    sum->fastest_ms += (double)row->fastest_ns / 1e6;
    sum->helped_ms += (double)row->helped_ns / (double)(row->runs > 0 ? row->runs : 1) / 1e6;
    sum->floor_ms += md__floor_step_seconds(floor, &row->cost) * 1e3;
    sum->flops += row->cost.flops;
    sum->bytes += row->cost.bytes;
    sum->steps++;
}

/* Of a profile with so many threads besides the first. */
static json_t *sum_json(const struct sum *sum, double total_ms, int others)
{
    double ms = sum->ms > 0 ? sum->ms : 1e-9;

    return json_pack("{s:s, s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "op", sum->label, "name",
                     sum->name, "steps", sum->steps, "mean_ms", sum->ms, "fastest_ms",
                     sum->fastest_ms, "share", sum->ms / (total_ms > 0 ? total_ms : 1), "gflops",
                     sum->flops / ms / 1e6, "gb_per_s", sum->bytes / ms / 1e6, "floor_share",
                     sum->floor_ms / ms, "others_busy",
                     others > 0 ? sum->helped_ms / ms / others : 0.0);
}

static int by_sum(const void *a, const void *b)
{
    double left = ((const struct sum *)a)->ms, right = ((const struct sum *)b)->ms;

    return left < right ? 1 : left > right ? -1 : 0;
}

static json_t *operators_json(const struct md_step_time *rows, int count, double total_ms,
                              const struct md__floor *floor, int others)
{
    struct sum *sums = calloc((size_t)count + 1, sizeof *sums);
    json_t *list = json_array();
    int found = 0;

    for (int i = 0; i < count && sums != NULL; i++) {
        struct sum *sum = sums;
        char label[sizeof sums->label];
        label_of(rows[i].node, label, sizeof label);
        while (sum < sums + found && strcmp(sum->label, label) != 0) {
            sum++;
        }
        if (sum == sums + found) {
            found++;
            memcpy(sum->label, label, sizeof label);
            sum->name = "";
        }
        add_row(sum, floor, &rows[i]);
    }
    if (found > 0) {
        qsort(sums, (size_t)found, sizeof *sums, by_sum);
    }
    for (int i = 0; i < found; i++) {
        json_array_append_new(list, sum_json(&sums[i], total_ms, others));
    }
    free(sums);
    return list;
}

static json_t *steps_json(const struct md_step_time *rows, int count, double total_ms,
                          const struct md__floor *floor, int others)
{
    json_t *list = json_array();

    for (int i = 0; i < count; i++) {
        struct sum sum = {.name = rows[i].node->name};
        label_of(rows[i].node, sum.label, sizeof sum.label);
        add_row(&sum, floor, &rows[i]);
        json_array_append_new(list, sum_json(&sum, total_ms, others));
    }
    return list;
}

/* ---- stacks ---- */

/* "resnet50;layer1;conv1;Conv": names come from files, so what would cut a frame is replaced. */
static void write_stack(struct md_buffer *text, const char *model, const struct md_node *node)
{
    const char *slash = strrchr(model, '/'), *at = node->name;
    char label[96];

    md_buffer_text(text, slash != NULL ? slash + 1 : model);
    while (*at != '\0') {
        size_t length = strcspn(at, "/");
        if (length > 0) {
            md_buffer_text(text, ";");
        }
        for (size_t i = 0; i < length; i++) {
            unsigned char byte = (unsigned char)at[i];
            md_buffer_append(text,
                             byte == ';'                   ? ":"
                             : byte < 0x20 || byte == 0x7f ? "?"
                                                           : at + i,
                             1);
        }
        at += length;
        at += *at == '/';
    }
    label_of(node, label, sizeof label);
    md_buffer_printf(text, ";%s", label);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(((const struct md_flame_stack *)a)->text,
                  ((const struct md_flame_stack *)b)->text);
}

/* One stack a step, in the order of their texts; the texts lie in `memory`. */
static enum md_status make_stacks(const struct md_step_time *rows, int count, const char *model,
                                  struct md_flame_stack *stacks, struct md_buffer *memory,
                                  struct md_error *err)
{
    const char *at;
    enum md_status status;

    for (int i = 0; i < count; i++) {
        write_stack(memory, model, rows[i].node);
        md_buffer_append(memory, "", 1);
    }
    status = md_buffer_check(memory, err);
    at = memory->data;
    for (int i = 0; i < count && status == MD_OK; i++) {
        stacks[i] = (struct md_flame_stack){at, (uint64_t)(mean_ns(&rows[i]) / 1e3 + 0.5)};
        at += strlen(at) + 1;
    }
    if (count > 0 && status == MD_OK) {
        qsort(stacks, (size_t)count, sizeof *stacks, by_text);
    }
    return status;
}

static enum md_status write_stacks(const struct md_step_time *rows, int count, const char *model,
                                   const char *path, struct md_error *err)
{
    struct md_flame_stack *stacks = calloc((size_t)count + 1, sizeof *stacks);
    const char *dot = strrchr(path, '.');
    struct md_buffer memory, text;
    enum md_status status;

    md_buffer_init(&memory, 0);
    md_buffer_init(&text, 0);
    status = stacks != NULL ? make_stacks(rows, count, model, stacks, &memory, err)
                            : md_fail(err, MD_ERR_MEMORY, "out of memory");
    if (status == MD_OK && dot != NULL && strcmp(dot, ".svg") == 0) {
        md_flame_svg(stacks, count, 1e-3, &text);
    } else if (status == MD_OK) {
        for (int i = 0; i < count; i++) {
            md_buffer_printf(&text, "%s %llu\n", stacks[i].text,
                             (unsigned long long)stacks[i].count);
        }
    }
    if (status == MD_OK) {
        status = md_buffer_check(&text, err);
    }
    if (status == MD_OK) {
        const struct md_file_part part = {text.data, text.length};
        status = md_file_replace(path, &part, 1, err);
    }
    md_buffer_fini(&memory);
    md_buffer_fini(&text);
    free(stacks);
    return status;
}

/* ---- the report ---- */

enum md_status md__bench_profile(const struct md_executable *executable,
                                 const struct md__floor *floor, int others, const char *model,
                                 const char *out, json_t **profile, struct md_error *err)
{
    int count = md_executable_profile(executable, NULL, 0);
    struct md_step_time *rows = calloc((size_t)count + 1, sizeof *rows);
    enum md_status status = MD_OK;
    double total_ms = 0;

    *profile = NULL;
    if (rows == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "out of memory for the profile");
    }
    md_executable_profile(executable, rows, count);
    if (count > 0) {
        qsort(rows, (size_t)count, sizeof *rows, by_time);
    }
    for (int i = 0; i < count; i++) {
        total_ms += mean_ns(&rows[i]) / 1e6;
    }
    if (out != NULL) {
        status = write_stacks(rows, count, model, out, err);
    }
    if (status == MD_OK) {
        *profile = json_pack("{s:o, s:o}", "operators",
                             operators_json(rows, count, total_ms, floor, others), "profile",
                             steps_json(rows, count, total_ms, floor, others));
    }
    free(rows);
    return status;
}

static void print_row(const json_t *row, const char *what)
{
    printf("%10.4f %10.4f %6.1f%% %6lld %9.1f %8.1f %7.1f%% %6.1f%%  %s%s%s\n",
           json_real_value(json_object_get(row, "mean_ms")),
           json_real_value(json_object_get(row, "fastest_ms")),
           100 * json_real_value(json_object_get(row, "share")),
           (long long)json_integer_value(json_object_get(row, "steps")),
           json_real_value(json_object_get(row, "gflops")),
           json_real_value(json_object_get(row, "gb_per_s")),
           100 * json_real_value(json_object_get(row, "floor_share")),
           100 * json_real_value(json_object_get(row, "others_busy")),
           json_string_value(json_object_get(row, "op")), what[0] != '\0' ? "  " : "", what);
}

void md__bench_print_profile(const json_t *profile)
{
    size_t index;
    json_t *row;

    putchar('\n');
    printf(HEADER, "ms a run", "fastest", "share", "steps", "GFLOP/s", "GB/s", "of floor", "others",
           "operator");
    json_array_foreach(json_object_get(profile, "operators"), index, row)
    {
        print_row(row, "");
    }
    putchar('\n');
    printf(HEADER, "ms a run", "fastest", "share", "", "GFLOP/s", "GB/s", "of floor", "others",
           "step");
    json_array_foreach(json_object_get(profile, "profile"), index, row)
    {
        if (index < ROWS_SHOWN) {
            print_row(row, json_string_value(json_object_get(row, "name")));
        }
    }
}
