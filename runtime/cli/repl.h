/* What the files of `moondial repl` share: the client's side of one session. */
#ifndef MD_CLI_REPL_H
#define MD_CLI_REPL_H

#include <jansson.h>
#include <stdbool.h>

#include "cli/control.h"

struct md__repl {
    struct md__control_client *client;
    bool json;        /* results as JSON */
    bool yes;         /* do not ask before writing */
    bool color;       /* on a terminal */
    bool interactive; /* somebody types and may be asked */
    bool quit;
    bool told; /* what went wrong with the last request was shown already */
    bool live; /* calls change live data: shown in the prompt */
};

/*
 * Evaluates code (or runs a command that begins with ":") and shows what comes of it. *incomplete
 * (NULL: no more lines can come) tells that more lines are needed; nothing was done then.
 */
enum md_status md__repl_run(struct md__repl *repl, const char *code, bool *incomplete,
                            struct md_error *err);
/* Says what went wrong, for somebody who goes on. */
void md__repl_complain(const struct md__repl *repl, const struct md_error *err);
/* What could stand at the end of line: an array of texts for its last *length bytes. NULL: nothing.
 */
json_t *md__repl_complete(struct md__repl *repl, const char *line, size_t line_length,
                          size_t *length);
/* True when the answer is yes; false also when there is nobody to ask. */
bool md__repl_confirm(const struct md__repl *repl, const char *question);

/* Has Ctrl-C been typed since this was asked? */
bool md__repl_interrupted(void);

/* repl_line.c: reads lines with editing, history and completion until the end. */
void md__repl_loop(struct md__repl *repl);
/* repl_action.c: what an answer asks the client to do. */
enum md_status md__repl_act(struct md__repl *repl, const json_t *answer, struct md_error *err);
/* Sends a request, shows the answer and does what it asks for. Takes over the reference. */
enum md_status md__repl_ask(struct md__repl *repl, json_t *request, bool *incomplete,
                            struct md_error *err);

#endif
