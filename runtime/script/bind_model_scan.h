/* For bind_model.c. */
#ifndef MD_SCRIPT_BIND_MODEL_SCAN_H
#define MD_SCRIPT_BIND_MODEL_SCAN_H

#include <lua.h>

/* (folder) -> array of { path, name, modified_ms, size_bytes, config } */
int md__models_scan(lua_State *L);

#endif
