/* Loading models for whoever asks: the app's declaration, a change on disk, an operator. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_out.h"
#include "base/log.h"
#include "script/generation.h"
#include "serve/serve.h"

static const char models_folder[] = "models";

enum md_status md__model_resolve(const struct md_script *script, const char *path, char *resolved,
                                 struct md_error *err)
{
    char folder[PATH_MAX], joined[PATH_MAX], root[PATH_MAX];
    snprintf(folder, sizeof folder, "%s/%s", script->dir, models_folder);
    size_t length = strlen(script->dir);
    bool joined_already = strncmp(path, script->dir, length) == 0 && path[length] == '/';
    int size = snprintf(joined, sizeof joined, "%s%s%s", joined_already ? "" : script->dir,
                        joined_already ? "" : "/", path);
    if (size >= (int)sizeof joined)
        return md_fail(err, MD_ERR_INVALID, "the path is too long");
    if (realpath(folder, root) == NULL || realpath(joined, resolved) == NULL)
        return md_fail(err, MD_ERR_NOT_FOUND, "%.150s: %s", path, strerror(errno));
    length = strlen(root);
    if (strncmp(resolved, root, length) != 0 ||
        (resolved[length] != '/' && resolved[length] != '\0'))
        return md_fail(err, MD_ERR_INVALID, "%.150s is not below %s/", path, models_folder);
    return MD_OK;
}

const struct md__model_entry *md__model_declared(const struct md_generation *generation,
                                                 const char *name)
{
    for (int i = 0; i < generation->model_count; i++) {
        if (strcmp(generation->models[i].name, name) == 0)
            return &generation->models[i];
    }
    return NULL;
}

void md__models_leave(const struct md_generation *generation)
{
    char subject[96];
    struct md_script *script = generation->script;
    struct md_generation *current = md__generation_current(script);
    for (int i = 0; i < generation->model_count; i++) {
        const char *name = generation->models[i].name;
        if (md__model_declared(current, name) != NULL)
            continue;
        snprintf(subject, sizeof subject, "model %.64s", name);
        md__degraded_set(script, subject, NULL);
        if (script->serve != NULL)
            md_serve_unload(script->serve, name, NULL);
    }
    md__generation_unref(current);
}

/* How bad it is that a model could not be loaded: its old version may go on. */
static const char *consequence(struct md_script *script, const char *name)
{
    struct md_model *model = NULL;
    if (script->serve == NULL || md_serve_model(script->serve, name, &model, NULL) != MD_OK)
        return "is not loaded";
    md_model_unref(model);
    return "cannot be loaded anew, the old version goes on";
}

struct md_model_profile md__model_profile(struct md_script *script, const char *name)
{
    struct md_generation *generation = md__generation_current(script);
    const struct md__model_entry *entry = md__model_declared(generation, name);
    const struct md_model_profile profile =
        entry != NULL ? entry->profile : (struct md_model_profile){0};
    md__generation_unref(generation);
    return profile;
}

enum md_status md__model_stage(struct md_script *script, const struct md__model_entry *entry,
                               struct md_model **model, struct md_error *err)
{
    char subject[96], reason[320];
    struct md_error cause = {0};
    snprintf(subject, sizeof subject, "model %.64s", entry->name);
    enum md_status status = script->serve != NULL
                                ? md_serve_stage(script->serve, entry->name, entry->path,
                                                 &entry->profile, model, &cause)
                                : md_fail(&cause, MD_ERR_UNAVAILABLE, "models are not served");
    snprintf(reason, sizeof reason, "%s %s: %.160s", subject, consequence(script, entry->name),
             cause.text);
    md__degraded_set(script, subject, status != MD_OK ? reason : NULL);
    if (status != MD_OK)
        md_log(entry->optional ? MD_LOG_WARN : MD_LOG_ERROR, "script", "%s", reason);
    return status == MD_OK ? MD_OK : md_fail(err, status, "%s", reason);
}

enum md_status md__model_commit(struct md_script *script, struct md_model *model,
                                struct md_error *err)
{
    char name[MD_SERVE_NAME_MAX], path[PATH_MAX];
    snprintf(name, sizeof name, "%s", md_model_name(model));
    snprintf(path, sizeof path, "%s", md_model_path(model));
    enum md_status status = md_serve_commit(script->serve, model, err);
    if (status == MD_OK)
        md_log(MD_LOG_INFO, "script", "model %s loaded from %s", name, path);
    return status;
}

enum md_status md__model_load(struct md_script *script, const struct md__model_entry *entry,
                              struct md_error *err)
{
    struct md_model *model = NULL;
    enum md_status status = md__model_stage(script, entry, &model, err);
    return status == MD_OK ? md__model_commit(script, model, err) : status;
}

/* ---- by name or path ------------------------------------------------------------------------- */

/* The folder that `name` was loaded from, or is declared with. */
static enum md_status find_path(struct md_script *script, const char *name, char path[PATH_MAX],
                                struct md_error *err)
{
    struct md_model *model = NULL;
    if (md_serve_model(script->serve, name, &model, NULL) == MD_OK) {
        snprintf(path, PATH_MAX, "%s", md_model_path(model));
        md_model_unref(model);
        return MD_OK;
    }
    struct md_generation *generation = md__generation_current(script);
    const struct md__model_entry *declared = md__model_declared(generation, name);
    if (declared != NULL)
        snprintf(path, PATH_MAX, "%s", declared->path);
    md__generation_unref(generation);
    return declared != NULL ? MD_OK
                            : md_fail(err, MD_ERR_NOT_FOUND, "no model is named \"%.64s\"", name);
}

/* The name that a folder goes by: of the model that was loaded from it, of the only model there is,
 * or its own. */
static void find_name(struct md_script *script, const char *path, char name[MD_SERVE_NAME_MAX])
{
    struct md_model *models[MD_SERVE_MODELS_MAX];
    char real[PATH_MAX];
    int count = md_serve_models(script->serve, models, MD_SERVE_MODELS_MAX);
    const char *slash = strrchr(path, '/');
    snprintf(name, MD_SERVE_NAME_MAX, "%.63s", slash != NULL ? slash + 1 : path);
    for (int i = 0; i < count; i++) {
        bool same = realpath(md_model_path(models[i]), real) != NULL && strcmp(real, path) == 0;
        if (same || count == 1)
            snprintf(name, MD_SERVE_NAME_MAX, "%s", md_model_name(models[i]));
        md_model_unref(models[i]);
    }
}

static void write_report(struct md_script *script, const char *name, struct md_buffer *json)
{
    struct md_model *model = NULL;
    if (json == NULL || md_serve_model(script->serve, name, &model, NULL) != MD_OK)
        return;
    md_buffer_text(json, "{\"ok\":true,\"name\":");
    md_json_string(json, name, strlen(name));
    md_buffer_text(json, ",\"path\":");
    md_json_string(json, md_model_path(model), strlen(md_model_path(model)));
    md_buffer_printf(json, ",\"version\":%lld}", (long long)md_model_generation(model));
    md_model_unref(model);
}

enum md_status md_script_model_reload(struct md_script *script, const char *name, const char *path,
                                      struct md_buffer *report_json, struct md_error *err)
{
    char resolved[PATH_MAX], own_name[MD_SERVE_NAME_MAX];
    enum md_status status;
    if (script->serve == NULL)
        return md_fail(err, MD_ERR_UNAVAILABLE, "this process serves no models");
    if (name == NULL && path == NULL)
        return md_fail(err, MD_ERR_INVALID, "which model? ?name=NAME or ?path=models/NAME");
    status = path != NULL ? md__model_resolve(script, path, resolved, err)
                          : find_path(script, name, resolved, err);
    if (status != MD_OK)
        return status;
    if (name == NULL) {
        find_name(script, resolved, own_name);
        name = own_name;
    }
    const struct md_model_profile profile = md__model_profile(script, name);
    status = md_serve_load(script->serve, name, resolved, &profile, err);
    if (status == MD_OK) {
        char subject[sizeof own_name + 8];
        snprintf(subject, sizeof subject, "model %.63s", name);
        md__degraded_set(script, subject, NULL);
        write_report(script, name, report_json);
    }
    return status;
}
