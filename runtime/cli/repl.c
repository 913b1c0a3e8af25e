/*
 * moondial repl: a prompt inside a running daemon. Everything is evaluated there (script/repl.h);
 * this side edits lines, shows what comes back, and does the few things that need the person or
 * this machine's files: confirming, editing, loading (repl_action.c).
 *
 * With a terminal it is interactive (repl_line.c); otherwise it reads statements from standard
 * input, or takes them from --eval, and ends at the first that fails.
 */
#include "cli/repl.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/buffer.h"
#include "cli/cli.h"

#define USAGE "repl [--eval CODE ...] [--json] [--yes] [--control SOCKET] [--state DIR]"

enum { WIDTH_DEFAULT = 100, WIDTH_MIN = 40 };

/* ---- Ctrl-C ---- */

/* Whom Ctrl-C interrupts: the request in progress. */
static struct md__control_client *volatile asked;
static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
    if (asked != NULL) {
        md__control_interrupt(asked);
    }
}

bool md__repl_interrupted(void)
{
    bool was = interrupted;

    interrupted = 0;
    return was;
}

static void take_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};

    sigaction(SIGINT, &action, NULL);
}

/* ---- asking and showing ---- */

static void show_event(void *context, json_t *event)
{
    const json_t *text = json_object_get(event, "text");

    (void)context;
    if (json_is_string(text)) {
        fwrite(json_string_value(text), 1, json_string_length(text), stdout);
        fflush(stdout);
    }
}

static void show_text(const json_t *answer)
{
    const json_t *text = json_object_get(answer, "text");

    if (json_is_string(text) && json_string_length(text) > 0) {
        fwrite(json_string_value(text), 1, json_string_length(text), stdout);
        putchar('\n');
    }
}

static void show_value(const json_t *answer)
{
    json_dumpf(json_object_get(answer, "value"), stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    putchar('\n');
}

void md__repl_complain(const struct md__repl *repl, const struct md_error *err)
{
    if (!repl->told) {
        fprintf(stderr, repl->color ? "\033[31m%s\033[0m\n" : "%s\n", err->text);
    }
}

/* Lines of a stack that say where the scripts were: not the REPL itself, not what is in C. */
static bool is_of_scripts(const char *line, size_t length)
{
    return memmem(line, length, "moondial/repl", 13) == NULL &&
           memmem(line, length, "\trepl:", 6) == NULL && memmem(line, length, "[C]", 3) == NULL &&
           line[0] == '\t';
}

/* The stack below an error, innermost first, for who can make use of it. */
static void show_trace(const struct md__repl *repl, const json_t *answer)
{
    const char *trace = json_string_value(json_object_get(answer, "trace"));

    while (trace != NULL && *trace != '\0') {
        size_t length = strcspn(trace, "\n");
        if (is_of_scripts(trace, length)) {
            fprintf(stderr, repl->color ? "\033[2m  %.*s\033[0m\n" : "  %.*s\n", (int)length - 1,
                    trace + 1);
        }
        trace += length + (trace[length] == '\n');
    }
}

enum md_status md__repl_ask(struct md__repl *repl, json_t *request, bool *incomplete,
                            struct md_error *err)
{
    json_t *answer = NULL;
    enum md_status status;

    repl->told = false;
    asked = repl->client;
    status = md__control_ask(repl->client, request, show_event, NULL, &answer, err);
    asked = NULL;
    if (status != MD_OK && repl->interactive) {
        md__repl_complain(repl, err);
        repl->told = true;
        show_trace(repl, answer);
    } else if (status != MD_OK) {
        fflush(stdout);
    } else if (incomplete != NULL && json_is_true(json_object_get(answer, "incomplete"))) {
        *incomplete = true;
    } else {
        if (repl->json && json_object_get(answer, "value") != NULL) {
            show_value(answer);
        } else {
            show_text(answer);
        }
        status = md__repl_act(repl, answer, err);
    }
    json_decref(answer);
    fflush(stdout);
    return status;
}

static int screen_width(void)
{
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= WIDTH_MIN) {
        return size.ws_col;
    }
    return WIDTH_DEFAULT;
}

enum md_status md__repl_run(struct md__repl *repl, const char *code, bool *incomplete,
                            struct md_error *err)
{
    json_t *request = json_pack("{s:s, s:s, s:i, s:b, s:b, s:b}", "op", "repl.eval", "code", code,
                                "width", screen_width(), "color", repl->color, "json", repl->json,
                                "whole", incomplete == NULL);

    if (incomplete != NULL) {
        *incomplete = false;
    }
    return md__repl_ask(repl, request, incomplete, err);
}

json_t *md__repl_complete(struct md__repl *repl, const char *line, size_t line_length,
                          size_t *length)
{
    json_t *request =
        json_pack("{s:s, s:s%}", "op", "repl.complete", "line", line, (size_t)line_length);
    json_t *answer = NULL, *candidates = NULL;

    if (request != NULL &&
        md__control_ask(repl->client, request, NULL, NULL, &answer, NULL) == MD_OK) {
        candidates = json_incref(json_object_get(answer, "candidates"));
        *length = (size_t)json_integer_value(json_object_get(answer, "length"));
    }
    json_decref(answer);
    return candidates;
}

bool md__repl_confirm(const struct md__repl *repl, const char *question)
{
    char answer[16] = "";

    if (!repl->interactive) {
        return false;
    }
    printf("%s [y/N] ", question);
    fflush(stdout);
    return fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

/* ---- without a terminal ---- */

static enum md_status run_all(struct md__repl *repl, const struct md__flag_list *codes,
                              struct md_error *err)
{
    enum md_status status = MD_OK;

    for (int i = 0; i < codes->count && status == MD_OK && !repl->quit; i++) {
        status = md__repl_run(repl, codes->items[i], NULL, err);
    }
    return status;
}

/* Lines of standard input, as many at a time as make a statement. */
static enum md_status run_input(struct md__repl *repl, struct md_error *err)
{
    struct md_buffer code;
    char *line = NULL;
    size_t size = 0;
    ssize_t length;
    bool incomplete = false;
    enum md_status status = MD_OK;

    md_buffer_init(&code, MD__CONTROL_LINE_MAX);
    while (status == MD_OK && !repl->quit && (length = getline(&line, &size, stdin)) > 0) {
        md_buffer_append(&code, line, (size_t)length);
        status = md_buffer_check(&code, err);
        if (status == MD_OK) {
            status = md__repl_run(repl, code.data, &incomplete, err);
        }
        if (!incomplete) {
            md_buffer_clear(&code);
        }
    }
    if (status == MD_OK && incomplete) {
        status = md__repl_run(repl, code.data, NULL, err); /* which says what is missing */
    }
    free(line);
    md_buffer_fini(&code);
    return status;
}

/* ---- the command ---- */

static bool wants_color(void)
{
    const char *terminal = getenv("TERM");

    return isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL && terminal != NULL &&
           strcmp(terminal, "dumb") != 0;
}

static enum md_status run(struct md__repl *repl, const struct md__flag_list *codes,
                          struct md_error *err)
{
    take_interrupts();
    if (codes->count > 0) {
        return run_all(repl, codes, err);
    }
    if (!isatty(STDIN_FILENO)) {
        return run_input(repl, err);
    }
    repl->interactive = true;
    repl->color = wants_color();
    md__repl_loop(repl);
    return MD_OK;
}

int md__cli_repl(int argc, char **argv)
{
    const char *control = NULL, *state = NULL;
    struct md__flag_list codes = {.count = 0};
    struct md__repl repl = {0};
    const struct md__flag flags[] = {
        {"--eval", MD__FLAG_LIST, &codes, "CODE", "run it, print its values, and end"},
        {"--yes", MD__FLAG_BOOL, &repl.yes, NULL, "ask nothing"},
        MD__FLAG_JSON(repl.json),
        MD__FLAGS_DAEMON(control, state)};
    char path[PATH_MAX];
    struct md_error err = {0};
    enum md_status status =
        md__args_parse(argc, argv, flags, (int)(sizeof flags / sizeof flags[0]), USAGE, NULL, &err);

    if (status == MD_OK) {
        status = md__control_find(control, state, path, sizeof path, &err);
    }
    if (status == MD_OK) {
        status = md__control_connect(path, &repl.client, &err);
    }
    if (status == MD_OK) {
        status = run(&repl, &codes, &err);
    }
    md__control_close(repl.client);
    return status == MD_OK ? 0 : md__cli_fail(&err);
}
