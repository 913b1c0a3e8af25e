/*
 * The interactive prompt, on libedit: history (in ~/.moondial_history, or where MOONDIAL_HISTORY
 * says), completion with Tab, statements of several lines. Ctrl-C drops the line, Ctrl-D leaves.
 */
#include <fcntl.h>
#include <histedit.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include "base/buffer.h"
#include "cli/repl.h"

enum { HISTORY_MAX = 2000, COLUMNS_DEFAULT = 80 };

struct prompt {
    struct md__repl *repl;
    EditLine *edit;
    History *history;
    char history_path[PATH_MAX];
    struct md_buffer code; /* the lines of a statement that is not finished */
};

static struct prompt *prompt_of(EditLine *edit)
{
    void *prompt = NULL;

    el_get(edit, EL_CLIENTDATA, &prompt);
    return prompt;
}

static char *prompt_text(EditLine *edit)
{
    static char first[] = "moondial> ", more[] = "      ... ", live[] = "moondial live> ";
    const struct prompt *prompt = prompt_of(edit);

    if (prompt->code.length > 0) {
        return more;
    }
    return prompt->repl->live ? live : first;
}

/* ---- completion ---- */

static size_t common_length(const json_t *candidates)
{
    const char *first = json_string_value(json_array_get(candidates, 0));
    size_t length = strlen(first), i;
    const json_t *candidate;

    json_array_foreach(candidates, i, candidate)
    {
        const char *text = json_string_value(candidate);
        size_t same = 0;
        while (same < length && text[same] == first[same]) {
            same++;
        }
        length = same;
    }
    return length;
}

static void list(const json_t *candidates)
{
    size_t widest = 0, at = 0, i;
    const json_t *candidate;

    json_array_foreach(candidates, i, candidate)
    {
        size_t length = json_string_length(candidate);
        widest = length > widest ? length : widest;
    }
    putchar('\n');
    json_array_foreach(candidates, i, candidate)
    {
        if (at > 0 && at + widest + 2 > COLUMNS_DEFAULT) {
            putchar('\n');
            at = 0;
        }
        printf("%-*s  ", (int)widest, json_string_value(candidate));
        at += widest + 2;
    }
    putchar('\n');
}

/* Adds what all candidates share beyond the `length` bytes that are there. */
static unsigned char take_candidates(EditLine *edit, const json_t *candidates, size_t length)
{
    char added[256];
    size_t common;

    if (json_array_size(candidates) == 0) {
        return CC_REFRESH_BEEP;
    }
    common = common_length(candidates);
    if (common > length) {
        const char *text = json_string_value(json_array_get(candidates, 0));
        snprintf(added, sizeof added, "%.*s", (int)(common - length), text + length);
        el_insertstr(edit, added);
        return CC_REFRESH;
    }
    if (json_array_size(candidates) > 1) {
        list(candidates);
        return CC_REDISPLAY;
    }
    return CC_REFRESH;
}

static unsigned char complete(EditLine *edit, wint_t key)
{
    const LineInfo *line = el_line(edit);
    size_t before = (size_t)(line->cursor - line->buffer), length = 0;
    json_t *candidates;
    unsigned char result;

    (void)key;
    if (strspn(line->buffer, " ") >= before) { /* nothing to complete: an indent */
        el_insertstr(edit, "    ");
        return CC_REFRESH;
    }
    candidates = md__repl_complete(prompt_of(edit)->repl, line->buffer, before, &length);
    result = take_candidates(edit, candidates, length);
    json_decref(candidates);
    return result;
}

/* ---- history ---- */

static void open_history(struct prompt *prompt)
{
    const char *path = getenv("MOONDIAL_HISTORY"), *home = getenv("HOME");
    HistEvent event;

    prompt->history = history_init();
    history(prompt->history, &event, H_SETSIZE, HISTORY_MAX);
    history(prompt->history, &event, H_SETUNIQUE, 1);
    if (path != NULL) {
        snprintf(prompt->history_path, sizeof prompt->history_path, "%s", path);
    } else if (home != NULL) {
        snprintf(prompt->history_path, sizeof prompt->history_path, "%s/.moondial_history", home);
    }
    if (prompt->history_path[0] != '\0') {
        history(prompt->history, &event, H_LOAD, prompt->history_path);
    }
}

static void save_history(struct prompt *prompt)
{
    HistEvent event;
    int fd;

    if (prompt->history_path[0] == '\0') {
        return;
    }
    /* What was typed may be nobody else's business. */
    fd = open(prompt->history_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) {
        close(fd);
        history(prompt->history, &event, H_SAVE, prompt->history_path);
    }
}

/* As one line, where that means the same. */
static void remember(struct prompt *prompt)
{
    HistEvent event;
    char *text = strdup(prompt->code.data);

    if (text == NULL) {
        return;
    }
    text[strcspn(text, "\n") == strlen(text) ? strlen(text) : strlen(text) - 1] = '\0';
    if (strstr(text, "--") == NULL && strstr(text, "[[") == NULL) {
        for (char *at = text; (at = strchr(at, '\n')) != NULL;) {
            *at = ' ';
        }
    }
    if (strchr(text, '\n') == NULL && strspn(text, " ") < strlen(text)) {
        history(prompt->history, &event, H_ENTER, text);
        save_history(prompt);
    }
    free(text);
}

/* ---- the loop ---- */

static void open_prompt(struct prompt *prompt)
{
    setlocale(LC_CTYPE, "");
    prompt->edit = el_init("moondial", stdin, stdout, stderr);
    open_history(prompt);
    el_set(prompt->edit, EL_CLIENTDATA, prompt);
    el_set(prompt->edit, EL_PROMPT, prompt_text);
    el_set(prompt->edit, EL_EDITOR, "emacs");
    el_set(prompt->edit, EL_HIST, history, prompt->history);
    /* The wide form, because the other one makes copies that it never frees. */
    el_wset(prompt->edit, EL_ADDFN, L"md-complete", L"Complete a name", complete);
    el_set(prompt->edit, EL_BIND, "^I", "md-complete", NULL);
    el_set(prompt->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(prompt->edit, NULL); /* ~/.editrc */
    md_buffer_init(&prompt->code, MD__CONTROL_LINE_MAX);
}

static void close_prompt(struct prompt *prompt)
{
    history_end(prompt->history);
    el_end(prompt->edit);
    md_buffer_fini(&prompt->code);
}

/* A line more; runs the statement when it is whole. */
static enum md_status take_line(struct prompt *prompt, const char *line, size_t length,
                                struct md_error *err)
{
    bool incomplete = false;
    enum md_status status;

    md_buffer_append(&prompt->code, line, length);
    status = md_buffer_check(&prompt->code, err);
    if (status == MD_OK) {
        status = md__repl_run(prompt->repl, prompt->code.data, &incomplete, err);
    }
    if (!incomplete) {
        remember(prompt);
        md_buffer_clear(&prompt->code);
    }
    return status;
}

void md__repl_loop(struct md__repl *repl)
{
    struct prompt prompt = {.repl = repl};
    struct md_error err = {0};

    open_prompt(&prompt);
    puts("moondial " MD_VERSION ": help() and :help say what there is, :quit leaves");
    while (!repl->quit) {
        const char *line;
        int length = 0;
        md__repl_interrupted();
        line = el_gets(prompt.edit, &length);
        if (line == NULL && md__repl_interrupted()) {
            md_buffer_clear(&prompt.code);
            puts("^C");
            continue;
        }
        if (line == NULL || length <= 0) {
            putchar('\n');
            break;
        }
        if (take_line(&prompt, line, (size_t)length, &err) != MD_OK) {
            md__repl_complain(repl, &err);
            if (err.code == MD_ERR_UNAVAILABLE) { /* the daemon has gone */
                break;
            }
        }
    }
    close_prompt(&prompt);
}
