/*
 * A session of the REPL: one Lua state of its own that no request uses, with the files of the
 * scripts folder loaded as a *private generation*. Files may be replaced in it by other texts; the
 * daemon that serves never sees them until they are written to the folder.
 *
 * What a session evaluates reads everything that is live. What would change it is private: writes
 * to md.dict go to a copy that only this session sees, metrics are left alone, and other calls that
 * change live data (a feed, a model load) raise, until the session is told to be live.
 *
 * The state has the sandbox of all scripts and budgets of its own (repl_budget_ms, repl_bytes_max).
 * Most of the REPL is Lua: lua/moondial/repl.lua and the folder beside it.
 */
#ifndef MD_SCRIPT_REPL_H
#define MD_SCRIPT_REPL_H

#include <jansson.h>

#include "script/script.h"

struct md_repl;

enum md_status md_repl_open(struct md_script *script, struct md_repl **repl, struct md_error *err);
void md_repl_close(struct md_repl *repl); /* NULL is fine */

/* Where print() goes; called during md_repl_ask, on its thread. */
struct md_repl_output {
    void (*print)(void *context, const char *text, size_t length);
    void *context;
};

/*
 * Hands a request to lua/moondial/repl.lua and puts the members of its answer into result. One at a
 * time; blocks, also while Lua waits. MD_ERR_INVALID: the code does not compile; MD_ERR_SCRIPT: it
 * has raised; MD_ERR_CANCELLED: it was interrupted.
 */
enum md_status md_repl_ask(struct md_repl *repl, json_t *request,
                           const struct md_repl_output *output, json_t *result,
                           struct md_error *err);
/* Ends what is evaluated now, from any thread; false makes ready for the next request. */
void md_repl_interrupt(struct md_repl *repl, bool interrupt);

#endif
