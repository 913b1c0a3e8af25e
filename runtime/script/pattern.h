/*
 * Lua 5.1's patterns, matched under the script's time budget: matching counts as work (md__spend)
 * and raises when the budget is spent, as it does for a malformed pattern. Nothing is allocated.
 */
#ifndef MD_SCRIPT_PATTERN_H
#define MD_SCRIPT_PATTERN_H

#include "script/internal.h"

#define MD__CAPTURES_MAX 32

enum { MD__CAPTURE_OPEN = -1, MD__CAPTURE_PLACE = -2 /* (): a position */ };

struct md__capture {
    const char *begin;
    ptrdiff_t length; /* or MD__CAPTURE_OPEN, MD__CAPTURE_PLACE */
};

struct md__matcher {
    lua_State *L;
    const char *text, *text_end, *pattern_end; /* all anchored by the caller */
    int steps, depth;                          /* begin as zeroes */
    int count;                                 /* captures of the last match */
    struct md__capture captures[MD__CAPTURES_MAX];
};

/* Where a match of the pattern (without an anchor) that begins at this place ends, or NULL. */
const char *md__pattern_match(struct md__matcher *matcher, const char *at, const char *pattern);

#endif
