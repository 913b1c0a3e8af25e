/*
 * Runs many ONNX cases, each in an executable and a process of its own, so that the suites of the
 * onnx package take seconds and a crash costs one case:
 *
 *     onnx_cases [--isa reference|portable|avx2|avx512|amx|best] [--threads N] [--seconds N]
 *                [--no-fork]
 *
 * reads lines `MODEL<TAB>OUT_DIR<TAB>NAME=FILE.npy...` and prints one line of JSON for each:
 * {"model", "status", "exit", "text", "seconds"}. Status and exit are those of `moondial run`, or
 * "CRASHED" and the signal, or "STUCK" after --seconds. Outputs become OUT_DIR/<name>.npy.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json_out.h"
#include "graph/executable.h"
#include "kernels/cpu/cpu.h"
#include "model/onnx.h"
#include "tensor/npy.h"

enum { PORTS_MAX = 256, LINE_MAX_BYTES = 1 << 16 };

struct options {
    const struct md_backend *backend;
    int threads, seconds;
    bool no_fork;
};

struct job {
    char *model, *out;
    char *inputs[PORTS_MAX];
    int input_count;
};

static bool parse_line(char *line, struct job *job)
{
    char *save = NULL;
    *job = (struct job){0};
    line[strcspn(line, "\n")] = '\0';
    job->model = strtok_r(line, "\t", &save);
    job->out = strtok_r(NULL, "\t", &save);
    for (char *text; (text = strtok_r(NULL, "\t", &save)) && job->input_count < PORTS_MAX;)
        job->inputs[job->input_count++] = text;
    return job->model && job->out;
}

static enum md_status read_inputs(const struct md_graph *graph, const struct job *job,
                                  struct md_tensor *inputs, struct md_error *err)
{
    if (graph->input_count > PORTS_MAX || graph->output_count > PORTS_MAX)
        return md_fail(err, MD_ERR_UNSUPPORTED, "more than %d inputs or outputs", PORTS_MAX);
    for (int i = 0; i < graph->input_count; i++) {
        const char *name = graph->inputs[i].name, *path = NULL;
        for (int k = 0; k < job->input_count; k++) {
            char *split = strrchr(job->inputs[k], '=');
            if (split && (size_t)(split - job->inputs[k]) == strlen(name) &&
                strncmp(job->inputs[k], name, strlen(name)) == 0)
                path = split + 1;
        }
        if (!path)
            return md_fail(err, MD_ERR_INVALID, "input \"%s\" is missing", name);
        enum md_status status =
            md_npy_read_as(path, graph->values[graph->inputs[i].value].dtype, &inputs[i], err);
        if (status)
            return status;
    }
    return MD_OK;
}

static enum md_status write_outputs(const struct md_graph *graph, const char *folder,
                                    const struct md_tensor *outputs, struct md_error *err)
{
    enum md_status status = MD_OK;
    for (int i = 0; !status && i < graph->output_count; i++) {
        char path[4096];
        size_t used = (size_t)snprintf(path, sizeof path, "%s/", folder);
        if (used >= sizeof path ||
            !md_npy_file_name(graph->outputs[i].name, path + used, sizeof path - used))
            return md_fail(err, MD_ERR_INVALID, "the path of an output is too long");
        status = md_npy_write(path, &outputs[i], err);
    }
    return status;
}

static enum md_status run_graph(const struct job *job, struct md_graph *graph,
                                const struct options *options, struct md_error *err)
{
    struct md_tensor inputs[PORTS_MAX] = {0}, outputs[PORTS_MAX] = {0};
    struct md_executable_options how = {.backend = options->backend,
                                        .reference = md_cpu_reference()};
    struct md_executable *executable = NULL;
    enum md_status status = md_pool_new(options->threads, 50, &how.pool, err);
    if (status) {
        md_graph_delete(graph);
        return status;
    }
    status = md_executable_new(graph, &how, &executable, err);
    if (status)
        goto out;
    const struct md_graph *made = md_executable_graph(executable);
    status = read_inputs(made, job, inputs, err);
    if (!status)
        status = md_executable_run(executable, inputs, made->input_count, outputs,
                                   made->output_count, err);
    if (!status)
        status = write_outputs(made, job->out, outputs, err);
    for (int i = 0; i < PORTS_MAX; i++) {
        md_tensor_unref(&inputs[i]);
        md_tensor_unref(&outputs[i]);
    }
    md_executable_delete(executable);
out:
    md_pool_delete(how.pool);
    return status;
}

static void report(const char *model, const char *status, int code, const char *text,
                   double seconds)
{
    struct md_buffer line;
    md_buffer_init(&line, 0);
    md_buffer_text(&line, "{\"model\": ");
    md_json_string(&line, model, strlen(model));
    md_buffer_printf(&line, ", \"status\": \"%s\", \"exit\": %d, \"text\": ", status, code);
    md_json_string(&line, text, strlen(text));
    md_buffer_printf(&line, ", \"seconds\": %.6f}\n", seconds);
    fwrite(line.data, 1, line.length, stdout);
    fflush(stdout);
    md_buffer_fini(&line);
}

static double seconds_now(void)
{
    struct md_clock *clock = md_clock_system();
    return (double)clock->monotonic_ns(clock) / 1e9;
}

static void run_case(const struct job *job, const struct options *options)
{
    struct md_error err = {0};
    struct md_graph *graph = NULL;
    double start = seconds_now();
    enum md_status status = md_onnx_read(job->model, &graph, &err);
    if (!status)
        status = run_graph(job, graph, options, &err);
    report(job->model, md_status_name(status), md_status_exit(status), err.text,
           seconds_now() - start);
}

/* The child says how it went; only its death is left for us to say. */
static void run_forked(const struct job *job, const struct options *options)
{
    double start = seconds_now();
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm((unsigned)options->seconds);
        run_case(job, options);
        _exit(0);
    }
    int state = 0;
    if (child < 0 || waitpid(child, &state, 0) < 0) {
        report(job->model, "INTERNAL", 1, "cannot fork", 0);
        return;
    }
    if (WIFSIGNALED(state)) {
        bool stuck = WTERMSIG(state) == SIGALRM;
        report(job->model, stuck ? "STUCK" : "CRASHED", 128 + WTERMSIG(state),
               strsignal(WTERMSIG(state)), seconds_now() - start);
    } else if (WEXITSTATUS(state) != 0) { /* a sanitizer ended it */
        report(job->model, "CRASHED", WEXITSTATUS(state), "ended early", seconds_now() - start);
    }
}

static const struct md_backend *find_backend(const char *isa)
{
    static const char *const names[] = {"portable", "avx2", "avx512", "amx", "best"};
    if (strcmp(isa, "reference") == 0)
        return md_cpu_reference();
    for (int i = 0; i <= MD_ISA_BEST; i++)
        if (strcmp(isa, names[i]) == 0)
            return md_cpu_backend((enum md_cpu_isa)i);
    return NULL;
}

int main(int argc, char **argv)
{
    struct options options = {md_cpu_backend(MD_ISA_BEST), 1, 60, false};
    static char line[LINE_MAX_BYTES];
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--no-fork") == 0)
            options.no_fork = true;
        else if (strcmp(argv[i], "--isa") == 0 && ++i)
            options.backend = find_backend(value);
        else if (strcmp(argv[i], "--threads") == 0 && ++i)
            options.threads = atoi(value);
        else if (strcmp(argv[i], "--seconds") == 0 && ++i)
            options.seconds = atoi(value);
        else
            options.backend = NULL;
    }
    if (!options.backend || options.threads < 1 || options.seconds < 1) {
        fprintf(stderr, "onnx_cases: see the top of tests/reference/onnx_cases.c\n");
        return 2;
    }
    while (fgets(line, sizeof line, stdin)) {
        struct job job;
        if (!parse_line(line, &job))
            continue;
        if (options.no_fork)
            run_case(&job, &options);
        else
            run_forked(&job, &options);
    }
    return 0;
}
