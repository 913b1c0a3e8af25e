/* What bind_series.c and series_declare.c share. */
#ifndef MD_SCRIPT_SERIES_DECLARE_H
#define MD_SCRIPT_SERIES_DECLARE_H

#include "script/internal.h"

/* Strings of a Lua array, borrowed from it: an array in a userdata left on the stack. Raises. */
const char **md__texts_check(lua_State *L, int table, int *count);
/* See struct md__binding. */
void md__series_declare(lua_State *L, struct md_script *script);
enum md_status md__series_settle(struct md_script *script, bool accepted, struct md_error *err);

#endif
