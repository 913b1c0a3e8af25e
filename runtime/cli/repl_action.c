/*
 * What the daemon asks of the REPL's client: to let the person edit a text, to read a file of this
 * machine, to ask before something is written, to reload afterwards.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/cli.h"
#include "cli/repl.h"

static const size_t file_bytes_max = MD__CONTROL_LINE_MAX;

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text != NULL ? text : "";
}

static enum md_status replace(struct md__repl *repl, const char *file, const struct md_buffer *text,
                              struct md_error *err)
{
    json_t *request = json_pack("{s:s, s:s, s:s%}", "op", "repl.replace", "file", file, "text",
                                text->data != NULL ? text->data : "", text->length);

    return md__repl_ask(repl, request, NULL, err);
}

static enum md_status load(struct md__repl *repl, const json_t *wish, struct md_error *err)
{
    struct md_buffer text;
    enum md_status status;

    md_buffer_init(&text, file_bytes_max);
    status = md_file_read(text_of(wish, "path"), file_bytes_max, &text, err);
    if (status == MD_OK) {
        status = replace(repl, text_of(wish, "file"), &text, err);
    }
    md_buffer_fini(&text);
    return status;
}

/* ---- editing ---- */

/* Runs the person's editor on the file; false when that was not possible. */
static bool run_editor(const char *path)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "exec ${VISUAL:-${EDITOR:-vi}} \"$1\"", "sh", path,
              (char *)NULL);
        _exit(127);
    }
    while (child > 0 && waitpid(child, &status, 0) < 0) {
    } /* Ctrl-C belongs to the editor */
    return child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* The edited text; MD_ERR_CANCELLED when the editor said so. */
static enum md_status edit_file(const char *path, struct md_buffer *text, struct md_error *err)
{
    if (!run_editor(path)) {
        return md_fail(err, MD_ERR_CANCELLED, "the editor failed: nothing is changed");
    }
    md_buffer_clear(text);
    return md_file_read(path, file_bytes_max, text, err);
}

/* Again and again, until the text is good or the person gives up. */
static enum md_status edit_until_good(struct md__repl *repl, const json_t *wish, const char *path,
                                      struct md_error *err)
{
    struct md_buffer text;
    enum md_status status;

    md_buffer_init(&text, file_bytes_max);
    do {
        status = edit_file(path, &text, err);
        if (status != MD_OK) {
            break;
        }
        if (text.data == NULL || strcmp(text.data, text_of(wish, "text")) == 0) {
            puts("unchanged");
            break;
        }
        status = replace(repl, text_of(wish, "file"), &text, err);
    } while (status != MD_OK && md__repl_confirm(repl, "edit it again?"));
    md_buffer_fini(&text);
    return status;
}

static enum md_status edit(struct md__repl *repl, const json_t *wish, struct md_error *err)
{
    const json_t *text = json_object_get(wish, "text");
    char path[] = "/tmp/moondial-XXXXXX.lua";
    int fd;
    bool written;
    enum md_status status;

    if (!repl->interactive) {
        return md_fail(err, MD_ERR_INVALID, ":edit needs a terminal (:load PATH FILE does not)");
    }
    fd = mkstemps(path, 4);
    if (fd < 0) {
        return md_fail(err, MD_ERR_IO, "cannot make a file to edit in /tmp");
    }
    written = write(fd, json_string_value(text), json_string_length(text)) ==
              (ssize_t)json_string_length(text);
    close(fd);
    status = written ? edit_until_good(repl, wish, path, err)
                     : md_fail(err, MD_ERR_IO, "%s: cannot be written", path);
    unlink(path);
    return status;
}

/* ---- writing ---- */

static enum md_status confirm(struct md__repl *repl, const json_t *wish, struct md_error *err)
{
    bool sure = repl->yes || json_is_true(json_object_get(wish, "yes"));

    if (!sure && !repl->interactive) {
        return md_fail(err, MD_ERR_INVALID, "%s say so with --yes", text_of(wish, "question"));
    }
    if (!sure && !md__repl_confirm(repl, text_of(wish, "question"))) {
        puts("nothing is written");
        return MD_OK;
    }
    return md__repl_ask(repl, json_incref(json_object_get(wish, "next")), NULL, err);
}

/* The folder is watched too: whichever comes first takes the files over, the other finds nothing
 * to do. */
static enum md_status reload(struct md__repl *repl, struct md_error *err)
{
    json_t *answer = NULL;
    enum md_status status =
        md__control_ask(repl->client, json_pack("{s:s}", "op", "reload"), NULL, NULL, &answer, err);

    if (status == MD_OK) {
        printf("generation %lld serves\n",
               json_integer_value(json_object_get(answer, "generation")));
    }
    json_decref(answer);
    return status;
}

enum md_status md__repl_act(struct md__repl *repl, const json_t *answer, struct md_error *err)
{
    const json_t *live = json_object_get(answer, "live"), *wish;

    if (json_is_boolean(live)) {
        repl->live = json_is_true(live);
    }
    if (json_is_true(json_object_get(answer, "quit"))) {
        repl->quit = true;
    }
    if ((wish = json_object_get(answer, "edit")) != NULL) {
        return edit(repl, wish, err);
    }
    if ((wish = json_object_get(answer, "load")) != NULL) {
        return load(repl, wish, err);
    }
    if ((wish = json_object_get(answer, "confirm")) != NULL) {
        return confirm(repl, wish, err);
    }
    if (json_is_true(json_object_get(answer, "reload"))) {
        return reload(repl, err);
    }
    return MD_OK;
}
