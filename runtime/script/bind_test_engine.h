/* The rules of a folder on frames of a test's own; for bind_test.c. */
#ifndef MD_SCRIPT_BIND_TEST_ENGINE_H
#define MD_SCRIPT_BIND_TEST_ENGINE_H

#include <lua.h>

void md__test_engine_open(lua_State *L); /* once per state */
void md__test_engine_bind(lua_State *L); /* adds its functions to the table on top of the stack */

#endif
