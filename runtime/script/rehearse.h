/*
 * Rehearsals of a folder's alert rules, for commands and routes: rules are loaded into scratch
 * states that serve nothing, frames come from a connection of its own to the store, and nothing
 * that happens is seen by the daemon that serves. What a rehearsal is: alert/rehearse.h.
 *
 * A request is a JSON object, whose members are all optional:
 *
 *     since     how far to go back, "90m", "24h", "7d" (default "24h"), or a time
 *     until     a time (default: now; without a daemon, where the history ends)
 *     path      a folder of scripts (default: the daemon's own, as it is on disk now)
 *     scripts   {file: text}: what files of that folder shall be instead; new ones, too
 *     rule      only the rule of this name
 *     against   "live": the rules that serve (default), "recorded": what happened
 *     bins      pieces of the timelines (default 100)
 *     plots     true: with the values around alerts that differ
 *     same      true: list what is the same, too
 *     budget_s  stop after so long, with what is known until then (default 30, at most 600; 60 when
 *               `anywhere` is false)
 *
 * The report is the JSON object of alert/rehearse_report.c, and besides: path, against, generation
 * (of the live rules), timezone, history_begins_ms, history_ends_ms (null: it is empty), damaged
 * (frames that could not be read), ms (that it took).
 */
#ifndef MD_SCRIPT_REHEARSE_H
#define MD_SCRIPT_REHEARSE_H

#include "script/script.h"

struct md_rehearse_call {
    const char *request; /* JSON; NULL or "": all defaults */
    size_t length;
    bool anywhere;                 /* path may be any folder; otherwise one below the script's */
    const _Atomic bool *cancelled; /* NULL: nobody can */
};

/* Blocks for as long as it takes. MD_ERR_UNAVAILABLE: another one is running; MD_ERR_SCRIPT: the
 * folder does not load, the text says where; MD_ERR_NOT_FOUND: there is nothing to rehearse. */
enum md_status md_script_rehearse(struct md_script *script, const struct md_rehearse_call *call,
                                  struct md_buffer *report, struct md_error *err);

/* Without a daemon: options name the folder, its configuration names the state folder; against what
 * was recorded. */
enum md_status md_rehearse_stored(const struct md_script_options *options,
                                  const struct md_rehearse_call *call, struct md_buffer *report,
                                  struct md_error *err);

#endif
