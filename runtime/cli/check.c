/*
 * moondial check: loads a scripts folder without effects and reports every mistake that it finds.
 */
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"
#include "script/script.h"

static void print_line(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

static void collect_line(void *context, const char *line)
{
    json_array_append_new(context, json_string(line));
}

static enum md_status check(const char *dir, json_t *errors, struct md_error *err)
{
    struct md_script_options options = {
        .dir = dir, .lib_dir = md__cli_lib_dir(), .clock = md_clock_system()};
    struct md_config_options settings = {.dir = dir};
    enum md_status status = md_config_load(&settings, &options.config, err);

    if (status == MD_OK) {
        status = md_script_check(&options, errors ? collect_line : print_line, errors, err);
        md_config_unref(options.config);
    } else if (errors != NULL) {
        collect_line(errors, err->text);
    } else {
        print_line(NULL, err->text);
    }
    return status;
}

int md__cli_check(int argc, char **argv)
{
    const char *dir;
    bool as_json = false;
    const struct md__flag flags[] = {MD__FLAG_JSON(as_json)};
    struct md_error err = {0};
    json_t *errors = NULL, *report;
    enum md_status status =
        md__args_parse(argc, argv, flags, 1, "check SCRIPTS_DIR [--json]", &dir, &err);

    if (status != MD_OK) {
        return md__cli_fail(&err);
    }
    if (access(dir, R_OK | X_OK) != 0) {
        md_fail(&err, MD_ERR_NOT_FOUND, "the scripts folder \"%s\" cannot be read", dir);
        return md__cli_fail(&err);
    }
    errors = as_json ? json_array() : NULL;
    status = check(dir, errors, &err);
    if (as_json) {
        report = json_pack("{s:b, s:o}", "ok", status == MD_OK, "errors", errors);
        json_dumpf(report, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(report);
    } else if (status == MD_OK) {
        printf("%s: ok\n", dir);
    }
    /* To this command, a broken script is bad input. */
    return status == MD_ERR_SCRIPT ? 2 : md_status_exit(status);
}
