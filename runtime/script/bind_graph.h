/* The objects that builder.c hands to a model family: a graph being built, a weights file. */
#ifndef MD_SCRIPT_BIND_GRAPH_H
#define MD_SCRIPT_BIND_GRAPH_H

#include "graph/graph.h"
#include "script/internal.h"

struct md_safetensors;

/* Both push an object that borrows; the state is thrown away after the build. */
void md__graph_push(lua_State *L, struct md_graph *graph);
void md__weights_push(lua_State *L, struct md_safetensors *file, bool *used);

#endif
