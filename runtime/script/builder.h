/*
 * The builder of model families: runs lua/moondial/models/<model_type>.lua, on Lua states that no
 * request uses, for serve/ (md_serve_set_builder) and for commands that read a model without a
 * scripts folder (run, bench, inspect).
 */
#ifndef MD_SCRIPT_BUILDER_H
#define MD_SCRIPT_BUILDER_H

#include "base/clock.h"
#include "serve/serve.h"

/* lib_dir: the folder that holds moondial/init.lua. build may be called from any thread. */
enum md_status md_script_builder_new(const char *lib_dir, struct md_clock *clock,
                                     struct md_model_builder *builder, struct md_error *err);
void md_script_builder_delete(struct md_model_builder *builder); /* a zeroed one is fine */

#endif
