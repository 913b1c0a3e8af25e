/*
 * moondial reload and moondial rollback, and their side in the daemon. The work is script/'s; a
 * report comes back as JSON and is told in one line.
 */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>

#include "base/json_in.h"
#include "cli/cli.h"
#include "cli/control.h"
#include "script/script.h"

/* ---- the daemon's side ---- */

/* The members of a report become those of the answer. */
static enum md_status give(struct md_control_call *call, enum md_status status,
                           struct md_buffer *report, struct md_error *err)
{
    json_t *object = NULL;

    if (status == MD_OK) {
        status = md_buffer_check(report, err);
    }
    if (status == MD_OK) {
        status = md_json_parse(report->data, report->length, &object, err);
    }
    if (status == MD_OK) {
        json_object_update(call->result, object);
        json_decref(object);
    }
    md_buffer_fini(report);
    return status;
}

enum md_status md__control_reload(struct md_control_call *call, json_t *request,
                                  struct md_error *err)
{
    struct md_buffer report;

    (void)request;
    md_buffer_init(&report, 0);
    return give(call, md_script_reload(call->context->script, "command", &report, err), &report,
                err);
}

enum md_status md__control_rollback(struct md_control_call *call, json_t *request,
                                    struct md_error *err)
{
    struct md_buffer report;

    (void)request;
    md_buffer_init(&report, 0);
    return give(call, md_script_rollback(call->context->script, "command", &report, err), &report,
                err);
}

enum md_status md__control_scripts(struct md_control_call *call, json_t *request,
                                   struct md_error *err)
{
    struct md_buffer state;

    (void)request;
    md_buffer_init(&state, 0);
    md_script_state(call->context->script, &state);
    return give(call, MD_OK, &state, err);
}

/* ---- the commands ---- */

static void print_report(const json_t *report)
{
    const json_t *changed = json_object_get(report, "changed"), *file;
    const char *held = json_string_value(json_object_get(report, "needs_restart"));
    size_t i;

    printf("generation %lld serves", json_integer_value(json_object_get(report, "generation")));
    json_array_foreach(changed, i, file)
    {
        printf("%s%s", i == 0 ? ": " : ", ", json_string_value(file));
    }
    printf(" (%.0f ms)\n", json_number_value(json_object_get(report, "ms")));
    if (held != NULL && held[0] != '\0') {
        printf("waiting for a restart: %s\n", held);
    }
}

static int ask(int argc, char **argv, const char *op, const char *usage)
{
    const char *control = NULL, *state = NULL;
    bool as_json = false;
    const struct md__flag flags[] = {MD__FLAGS_DAEMON(control, state), MD__FLAG_JSON(as_json)};
    char path[PATH_MAX];
    json_t *report = NULL;
    struct md_error err = {0};
    enum md_status status = md__args_parse(argc, argv, flags, 3, usage, NULL, &err);

    if (status == MD_OK) {
        status = md__control_find(control, state, path, sizeof path, &err);
    }
    if (status == MD_OK) {
        status = md__control_call(path, json_pack("{s:s}", "op", op), NULL, NULL, &report, &err);
    }
    if (status == MD_ERR_SCRIPT) {
        err.code = MD_ERR_INVALID; /* to this command, a broken script is bad input */
    }
    if (status != MD_OK) {
        return md__cli_fail(&err);
    }
    if (as_json) {
        json_dumpf(report, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        print_report(report);
    }
    json_decref(report);
    return 0;
}

int md__cli_reload(int argc, char **argv)
{
    return ask(argc, argv, "reload", "reload [--control SOCKET] [--state DIR] [--json]");
}

int md__cli_rollback(int argc, char **argv)
{
    return ask(argc, argv, "rollback", "rollback [--control SOCKET] [--state DIR] [--json]");
}
