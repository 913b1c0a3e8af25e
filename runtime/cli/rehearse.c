/*
 * moondial rehearse: what a folder's alert rules would have done, beside the rules that serve or
 * what was recorded; and its side in the daemon.
 *
 * With a daemon that answers at its control socket, the daemon compares with the rules that it
 * serves. Without one, this process reads the daemon's store itself and compares with what was
 * recorded: the rules that served then are not kept, what they did is.
 */
#include "cli/rehearse.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/json_in.h"
#include "cli/cli.h"
#include "cli/control.h"
#include "script/rehearse.h"

#define USAGE                                                                                      \
    "rehearse SCRIPTS_DIR [--since 24h] [--until TIME] [--against live|recorded] [--rule NAME] "   \
    "[--html FILE] [--json] [--state DIR | --control SOCKET]"

enum { BINS = 600, BUDGET_S = 600, WIDTH = 100, WIDTH_MIN = 60, WIDTH_MAX = 200 };

/* ---- the daemon's side ----------------------------------------------------------------------- */

static void cancel(void *data)
{
    atomic_store((_Atomic bool *)data, true);
}

enum md_status md__control_rehearse(struct md_control_call *call, json_t *request,
                                    struct md_error *err)
{
    _Atomic bool cancelled = false;
    struct md_rehearse_call rehearsal = {.anywhere = true, .cancelled = &cancelled};
    struct md_buffer report;
    json_t *answer = NULL;
    char *text;
    enum md_status status;

    json_object_del(request, "op");
    text = json_dumps(request, JSON_COMPACT);
    if (text == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "no memory for a rehearsal");
    }
    rehearsal.request = text;
    rehearsal.length = strlen(text);
    md_buffer_init(&report, 0);
    md__control_on_cancel(call, cancel, &cancelled);
    status = md_script_rehearse(call->context->script, &rehearsal, &report, err);
    md__control_on_cancel(call, NULL, NULL);
    if (status == MD_OK) {
        status = md_json_parse(report.data, report.length, &answer, err);
    }
    if (status == MD_OK) {
        json_object_update(call->result, answer);
        json_decref(answer);
    }
    md_buffer_fini(&report);
    free(text);
    return status;
}

/* ---- the command's side ---------------------------------------------------------------------- */

struct command {
    const char *dir, *since, *until, *against, *rule, *html, *state, *control;
    bool as_json;
    struct md_config *config;
    json_t *report;
};

static json_t *make_request(const struct command *command)
{
    json_t *request = json_pack("{s:i, s:i, s:b}", "bins", BINS, "budget_s", BUDGET_S, "plots",
                                command->html != NULL || command->as_json);
    const struct {
        const char *name, *value;
    } texts[] = {{"since", command->since}, {"until", command->until}, {"rule", command->rule}};

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (texts[i].value != NULL) {
            json_object_set_new(request, texts[i].name, json_string(texts[i].value));
        }
    }
    if (command->as_json) {
        json_object_set_new(request, "same", json_true());
    }
    return request;
}

/* MD_ERR_NOT_FOUND: nobody answers there. */
static enum md_status ask_daemon(struct command *command, const char *path, struct md_error *err)
{
    struct md__control_client *client;
    char folder[PATH_MAX];
    json_t *request;
    enum md_status status = md__control_connect(path, &client, err);

    if (status != MD_OK) {
        return status;
    }
    request = make_request(command);
    json_object_set_new(request, "op", json_string("rehearse"));
    json_object_set_new(
        request, "path",
        json_string(realpath(command->dir, folder) != NULL ? folder : command->dir));
    if (command->against != NULL) {
        json_object_set_new(request, "against", json_string(command->against));
    }
    status = md__control_ask(client, request, NULL, NULL, &command->report, err);
    md__control_close(client);
    if (status == MD_ERR_NOT_FOUND) {
        err->code = status = MD_ERR_INVALID; /* somebody did answer */
    }
    return status;
}

static enum md_status read_store(struct command *command, struct md_error *err)
{
    struct md_script_options options = {.dir = command->dir,
                                        .lib_dir = md__cli_lib_dir(),
                                        .clock = md_clock_system(),
                                        .config = command->config};
    json_t *request = make_request(command);
    char *text = json_dumps(request, JSON_COMPACT);
    struct md_rehearse_call call = {.request = text, .anywhere = true};
    struct md_buffer report;
    enum md_status status;

    json_decref(request);
    if (text == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "no memory for a rehearsal");
    }
    call.length = strlen(text);
    md_buffer_init(&report, 0);
    status = md_rehearse_stored(&options, &call, &report, err);
    if (status == MD_OK) {
        status = md_json_parse(report.data, report.length, &command->report, err);
    }
    md_buffer_fini(&report);
    free(text);
    return status;
}

/* --state counts as the setting of that name. */
static enum md_status load_config(struct command *command, struct md_error *err)
{
    extern char **environ;
    const char *const flags[] = {"--state", command->state};
    struct md_config_options options = {.dir = command->dir,
                                        .argc = command->state != NULL ? 2 : 0,
                                        .argv = flags,
                                        .env = (const char *const *)environ};

    return md_config_load(&options, &command->config, err);
}

static bool find_socket(const struct command *command, char *path, size_t size,
                        struct md_error *err)
{
    const char *control = command->control, *state = command->state;

    if (control == NULL && state == NULL) {
        control = md_config_string(command->config, "control");
        state = md_config_string(command->config, "state");
    }
    return md__control_find(control, state, path, size, err) == MD_OK;
}

static enum md_status rehearse(struct command *command, struct md_error *err)
{
    bool wants_live = command->against != NULL && strcmp(command->against, "live") == 0;
    char socket[PATH_MAX];
    enum md_status status = MD_ERR_NOT_FOUND;

    if (command->against != NULL && !wants_live && strcmp(command->against, "recorded") != 0) {
        return md_fail(err, MD_ERR_INVALID, "--against is live or recorded");
    }
    if (find_socket(command, socket, sizeof socket, err)) {
        status = ask_daemon(command, socket, err);
    }
    if (status == MD_ERR_NOT_FOUND && wants_live) {
        return md_fail(err, MD_ERR_NOT_FOUND,
                       "no daemon answers, so there are no live rules: try --against recorded");
    }
    if (status == MD_ERR_NOT_FOUND && command->control == NULL) {
        status = read_store(command, err);
    }
    return status;
}

/* ---- what is shown --------------------------------------------------------------------------- */

static int text_width(void)
{
    struct winsize size;

    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 ||
        size.ws_col == 0) {
        return WIDTH;
    }
    return size.ws_col < WIDTH_MIN ? WIDTH_MIN : size.ws_col > WIDTH_MAX ? WIDTH_MAX : size.ws_col;
}

static enum md_status write_html(const struct command *command,
                                 const struct md__rehearse_view *shared, struct md_error *err)
{
    struct md__rehearse_view view = *shared;

    view.out = fopen(command->html, "w");
    if (view.out == NULL) {
        return md_fail(err, MD_ERR_IO, "%s: %s", command->html, strerror(errno));
    }
    md__rehearse_draw(&view);
    if (ferror(view.out) != 0 || fclose(view.out) != 0) {
        return md_fail(err, MD_ERR_IO, "%s: %s", command->html, strerror(errno));
    }
    return MD_OK;
}

static enum md_status show(const struct command *command, struct md_error *err)
{
    struct md_timezone *zone = NULL;
    struct md__rehearse_view view = {.report = command->report,
                                     .zone_name = md__rehearse_string(command->report, "timezone"),
                                     .width = text_width(),
                                     .out = stdout};
    enum md_status status = md_timezone_new(view.zone_name, &zone, err);

    view.zone = zone;
    if (status == MD_OK && command->html != NULL) {
        status = write_html(command, &view, err);
    }
    if (status == MD_OK && command->as_json) {
        json_dumpf(command->report, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (status == MD_OK) {
        md__rehearse_print(&view);
    }
    md_timezone_delete(zone);
    return status;
}

int md__cli_rehearse(int argc, char **argv)
{
    struct command command = {.dir = NULL};
    const struct md__flag flags[] = {
        {"--since", MD__FLAG_TEXT, &command.since, "SPAN", "how far back, for example 24h"},
        {"--until", MD__FLAG_TEXT, &command.until, "TIME", "where to end; now if not given"},
        {"--against", MD__FLAG_TEXT, &command.against, "live|recorded",
         "what it is held against: the rules that serve, or what they did"},
        {"--rule", MD__FLAG_TEXT, &command.rule, "NAME", "one rule alone"},
        {"--html", MD__FLAG_TEXT, &command.html, "FILE", "the report as a page"},
        MD__FLAG_JSON(command.as_json),
        MD__FLAGS_DAEMON(command.control, command.state)};
    struct md_error err = {0};
    enum md_status status = md__args_parse(argc, argv, flags, sizeof flags / sizeof flags[0], USAGE,
                                           &command.dir, &err);

    if (status == MD_OK && access(command.dir, R_OK | X_OK) != 0) {
        status = md_fail(&err, MD_ERR_NOT_FOUND, "the scripts folder \"%s\" cannot be read",
                         command.dir);
    }
    if (status == MD_OK) {
        status = load_config(&command, &err);
    }
    if (status == MD_OK) {
        status = rehearse(&command, &err);
    }
    if (status == MD_OK) {
        status = show(&command, &err);
    }
    md_config_unref(command.config);
    json_decref(command.report);
    if (status == MD_ERR_SCRIPT) {
        err.code = MD_ERR_INVALID; /* to this command, a broken script is bad input */
    }
    return status == MD_OK ? 0 : md__cli_fail(&err);
}
