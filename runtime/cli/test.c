/*
 * moondial test: runs the policy tests of a scripts folder and says what failed, with both values
 * and the line of the assertion.
 */
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"
#include "kernels/cpu/cpu.h"
#include "script/builder.h"
#include "script/test.h"

struct testing {
    const char *dir, *only;
    bool as_json;
    json_t *cases;
    int passed, failed;
    double fast_ms;
    struct md_config *config;
    struct md_model_builder builder;
    struct md_serve *serve;
};

/* ---- telling --------------------------------------------------------------------------------- */

static void print_result(const struct testing *testing, const struct md_test_result *result)
{
    printf("%s  %s: %s  (%.1f ms)\n", result->passed ? "ok    " : "FAILED", result->file,
           result->name, result->ms);
    if (result->passed)
        return;
    printf("        %s/%s:%d%s%s\n", testing->dir, result->failed_file, result->failed_line,
           result->text[0] != '\0' ? ": " : "", result->text);
    if (result->expected[0] != '\0')
        printf("        expected  %s\n        actual    %s\n", result->expected, result->actual);
}

static void add_result(const struct testing *testing, const struct md_test_result *result)
{
    json_t *entry = json_pack("{s:s, s:s, s:i, s:b, s:b, s:f}", "file", result->file, "name",
                              result->name, "line", result->line, "fast", result->fast, "passed",
                              result->passed, "ms", result->ms);
    if (!result->passed)
        json_object_set_new(entry, "failure",
                            json_pack("{s:s, s:i, s:s, s:s, s:s}", "file", result->failed_file,
                                      "line", result->failed_line, "text", result->text, "expected",
                                      result->expected, "actual", result->actual));
    json_array_append_new(testing->cases, entry);
}

static void report(void *context, const struct md_test_result *result)
{
    struct testing *testing = context;
    testing->passed += result->passed;
    testing->failed += !result->passed;
    testing->fast_ms += result->fast ? result->ms : 0;
    if (testing->as_json)
        add_result(testing, result);
    else
        print_result(testing, result);
}

static void conclude(struct testing *testing)
{
    if (!testing->as_json) {
        if (testing->fast_ms > MD_TEST_FAST_MS_MAX)
            printf("the fast ones took %.0f ms; a reload runs them for no longer than %d ms\n",
                   testing->fast_ms, MD_TEST_FAST_MS_MAX);
        printf("%d passed, %d failed\n", testing->passed, testing->failed);
        return;
    }
    json_t *whole = json_pack("{s:i, s:i, s:O}", "passed", testing->passed, "failed",
                              testing->failed, "cases", testing->cases);
    json_dumpf(whole, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(whole);
}

/* ---- running --------------------------------------------------------------------------------- */

/* One state for requests: a case makes one after the other. */
static enum md_status load_settings(struct testing *testing, struct md_error *err)
{
    static const char *const flags[] = {"--states=1"};
    struct md_config_options options = {.dir = testing->dir, .argc = 1, .argv = flags};
    return md_config_load(&options, &testing->config, err);
}

static enum md_status start_executor(struct testing *testing, struct md_error *err)
{
    struct md_serve_options options = {
        .clock = md_clock_system(),
        .reference = md_cpu_reference(),
        .threads = md__cli_threads((int)md_config_int(testing->config, "threads")),
        .queue_max = (int)md_config_int(testing->config, "queue_max"),
        .batch_max = (int)md_config_int(testing->config, "batch_max"),
        .kept_bytes_max = (size_t)md_config_int(testing->config, "rolling_bytes_max"),
    };
    enum md_status status = md__cli_backend("auto", &options.backend, err);
    if (status == MD_OK)
        status = md_serve_new(&options, &testing->serve, err);
    if (status == MD_OK)
        status =
            md_script_builder_new(md__cli_lib_dir(), md_clock_system(), &testing->builder, err);
    if (status == MD_OK)
        md_serve_set_builder(testing->serve, &testing->builder);
    return status;
}

static enum md_status run(struct testing *testing, struct md_error *err)
{
    struct md_script_options options = {
        .dir = testing->dir, .lib_dir = md__cli_lib_dir(), .clock = md_clock_system()};
    enum md_status status = load_settings(testing, err);
    if (status == MD_OK)
        status = start_executor(testing, err);
    options.config = testing->config;
    options.serve = testing->serve;
    if (status == MD_OK)
        status = md_script_test(&options, testing->only, report, testing, err);
    md_serve_delete(testing->serve);
    md_script_builder_delete(&testing->builder);
    md_config_unref(testing->config);
    return status;
}

/* What scripts log is of use when something fails; that steps go well is not. */
static void quieten(void)
{
    md_log_setup(MD_LOG_ERROR, false, md_clock_system());
}

int md__cli_test(int argc, char **argv)
{
    struct testing testing = {0};
    struct md_error err = {0};
    const struct md__flag flags[] = {
        {"--only", MD__FLAG_TEXT, &testing.only, "TEXT", "tests whose name holds the text"},
        MD__FLAG_JSON(testing.as_json)};
    enum md_status status = md__args_parse(
        argc, argv, flags, 2, "test SCRIPTS_DIR [--only TEXT] [--json]", &testing.dir, &err);
    if (status != MD_OK)
        return md__cli_fail(&err);
    if (access(testing.dir, R_OK | X_OK) != 0) {
        md_fail(&err, MD_ERR_NOT_FOUND, "the scripts folder \"%s\" cannot be read", testing.dir);
        return md__cli_fail(&err);
    }
    quieten();
    testing.cases = json_array();
    status = run(&testing, &err);
    if (status == MD_OK)
        conclude(&testing);
    json_decref(testing.cases);
    if (status == MD_OK)
        return testing.failed > 0 ? 1 : 0;
    md__cli_fail(&err);
    return status == MD_ERR_SCRIPT ? 2 : md_status_exit(status); /* bad input, as for check */
}
