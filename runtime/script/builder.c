/*
 * Running a model family. The folder's weights are opened here, so that the family sees tensors by
 * name only, and that every tensor which it did not ask for can be named at the end: a folder with
 * extra tensors is not the model that its config.json says.
 */
#include "script/builder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"
#include "script/bind_graph.h"
#include "script/internal.h"
#include "script/sources.h"

/* One build: everything that the protected function needs. */
struct build {
    const char *model_type, *config_json;
    struct md_graph *graph;
    struct md_safetensors *weights;
    bool *used;
};

/* Protected: loads the family and calls it. */
static int run_family(lua_State *L)
{
    const struct build *build = lua_touserdata(L, 1);
    struct md_error err;
    char module[128];
    snprintf(module, sizeof module, "moondial.models.%s", build->model_type);
    md__require(L, module);
    if (!lua_isfunction(L, -1))
        return luaL_error(L, "%s must return a function", module);
    md__require(L, "moondial.graph");
    md__graph_push(L, build->graph);
    lua_call(L, 1, 1);
    if (md__json_read(L, build->config_json, strlen(build->config_json), &err) != MD_OK)
        return luaL_error(L, "config.json: %s", err.text);
    md__weights_push(L, build->weights, build->used);
    lua_call(L, 3, 0);
    return 0;
}

/* Names up to three tensors that the family left over. */
static enum md_status check_extra(const struct build *build, struct md_error *err)
{
    char names[160] = "";
    int extra = 0;
    for (size_t i = 0; i < md_safetensors_count(build->weights); i++) {
        if (build->used[i])
            continue;
        size_t used = strlen(names);
        if (extra++ < 3)
            snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "",
                     md_safetensors_name(build->weights, i));
    }
    if (extra == 0)
        return MD_OK;
    return md_fail(err, MD_ERR_CORRUPT, "%d extra tensor%s: %s%s", extra, extra > 1 ? "s" : "",
                   names, extra > 3 ? ", ..." : "");
}

static enum md_status run_build(struct md_script *script, struct build *build, struct md_error *err)
{
    struct md__state *state;
    enum md_status status = md__state_new(script, NULL, MD__STATE_BUILDER, &state, err);
    if (status != MD_OK)
        return status;
    status = md__protect(state, run_family, build, err);
    md__state_delete(state);
    /* What a family stumbles over is what the folder says, most of the time. */
    if (status == MD_ERR_SCRIPT) {
        status = MD_ERR_CORRUPT;
        if (err)
            err->code = status;
    }
    return status == MD_OK ? check_extra(build, err) : status;
}

static enum md_status check_family_exists(const struct md_script *script, const char *model_type,
                                          struct md_error *err)
{
    char path[512];
    snprintf(path, sizeof path, "%s/moondial/models/%s.lua", script->lib_dir, model_type);
    FILE *file = fopen(path, "r");
    if (!file)
        return md_fail(err, MD_ERR_UNSUPPORTED, "no model family '%s' (%s)", model_type, path);
    fclose(file);
    return MD_OK;
}

static enum md_status build_model(void *context, const char *folder, const char *model_type,
                                  const char *config_json, struct md_graph *graph,
                                  struct md_error *err)
{
    struct build build = {.model_type = model_type, .config_json = config_json, .graph = graph};
    char path[512];
    enum md_status status = check_family_exists(context, model_type, err);
    if (status != MD_OK)
        return status;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    status = md_safetensors_open(path, &build.weights, err);
    if (status != MD_OK)
        return status;
    build.used = calloc(md_safetensors_count(build.weights) + 1, sizeof *build.used);
    if (!build.used)
        status = md_fail(err, MD_ERR_MEMORY, "no memory to build %s", folder);
    else
        status = run_build(context, &build, err);
    free(build.used);
    md_safetensors_close(build.weights);
    return status;
}

enum md_status md_script_builder_new(const char *lib_dir, struct md_clock *clock,
                                     struct md_model_builder *builder, struct md_error *err)
{
    /* What a state needs to know: the library folder and the clock. */
    struct md_script *script = calloc(1, sizeof *script);
    memset(builder, 0, sizeof *builder);
    if (script)
        script->lib_dir = strdup(lib_dir);
    if (!script || !script->lib_dir || !(script->library = md__sources_new(lib_dir, false))) {
        if (script)
            free(script->lib_dir);
        free(script);
        return md_fail(err, MD_ERR_MEMORY, "no memory for model families");
    }
    script->clock = clock;
    *builder = (struct md_model_builder){.build = build_model, .context = script};
    return MD_OK;
}

void md_script_builder_delete(struct md_model_builder *builder)
{
    struct md_script *script = builder->context;
    if (script) {
        md__sources_unref(script->library);
        free(script->lib_dir);
    }
    free(script);
    memset(builder, 0, sizeof *builder);
}
