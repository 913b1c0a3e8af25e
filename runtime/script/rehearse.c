/*
 * Whose rules a rehearsal compares, and with which history; see rehearse.h. Rules that serve are
 * loaded again from the texts that their generation was made of: no generation is held meanwhile,
 * which a reload would have to wait for.
 */
#include "script/rehearse.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json_out.h"
#include "base/stack.h"
#include "base/timezone.h"
#include "script/rehearse_internal.h"
#include "script/sources.h"

/* One call on its way. */
struct calling {
    const struct md_rehearse_call *call;
    const struct md_script *owner;
    struct md__rehearse_request request;
    const char *dir;              /* of the fresh rules */
    struct md_config *config;     /* theirs */
    struct md_config *old_config; /* of the rules that serve; NULL: none do */
    struct md__sources *old_sources;
    int generation;
    struct md__rehearse_set fresh, old;
    int64_t now_ms;
    struct md_buffer *report;
    enum md_status status;
    struct md_error *err;
};

/* ---- the fresh rules ------------------------------------------------------------------------- */

static enum md_status put_scripts(const struct calling *calling, struct md__sources *sources)
{
    const char *name;
    json_t *text;
    enum md_status status = MD_OK;
    json_object_foreach(calling->request.scripts, name, text)
    {
        if (status == MD_OK)
            status = md__sources_put(sources, name, json_string_value(text),
                                     json_string_length(text), calling->err);
    }
    return status;
}

struct looking {
    const struct calling *calling;
    char stray[64];
};

static void look_for_stray(void *context, const struct md__source *source)
{
    struct looking *looking = context;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", looking->calling->dir, source->name);
    bool is_sent = json_object_get(looking->calling->request.scripts, source->name) != NULL;
    bool is_there = strstr(source->name, "..") == NULL && access(path, F_OK) == 0;
    if (is_sent && atomic_load(&source->code) == NULL && !is_there)
        snprintf(looking->stray, sizeof looking->stray, "%s", source->name);
}

/* A text that nothing has loaded, for a file that there is not: its name is misspelt, and the
 * rehearsal would say that it changes nothing. */
static enum md_status check_strays(const struct calling *calling, struct md__sources *sources)
{
    struct looking looking = {.calling = calling};
    md__sources_visit(sources, look_for_stray, &looking);
    return looking.stray[0] == '\0'
               ? MD_OK
               : md_fail(calling->err, MD_ERR_INVALID, "scripts: nothing loads a file \"%s\"",
                         looking.stray);
}

static enum md_status load_fresh(struct calling *calling)
{
    struct md__sources *sources = md__sources_new(calling->dir, true);
    struct md_script owner = {.dir = (char *)calling->dir,
                              .lib_dir = calling->owner->lib_dir,
                              .library = calling->owner->library,
                              .clock = calling->owner->clock,
                              .timezone = calling->owner->timezone};
    if (sources == NULL)
        return md_fail(calling->err, MD_ERR_MEMORY, "no memory to read the scripts");
    enum md_status status = put_scripts(calling, sources);
    if (status == MD_OK)
        status = md__rehearse_set_load(&calling->fresh, &owner, calling->config, sources,
                                       calling->request.rule, calling->err);
    if (status == MD_OK)
        status = check_strays(calling, sources);
    md__sources_unref(sources);
    return status;
}

static enum md_status load_old(struct calling *calling)
{
    if (calling->old_sources == NULL)
        return MD_OK;
    return md__rehearse_set_load(&calling->old, calling->owner, calling->old_config,
                                 calling->old_sources, calling->request.rule, calling->err);
}

static enum md_status check_rules(const struct calling *calling)
{
    if (calling->fresh.rules != NULL || calling->old.rules != NULL)
        return MD_OK;
    if (calling->request.rule != NULL)
        return md_fail(calling->err, MD_ERR_NOT_FOUND, "there is no rule \"%.80s\"",
                       calling->request.rule);
    return md_fail(calling->err, MD_ERR_NOT_FOUND, "%.150s declares no alerts", calling->dir);
}

/* ---- the call -------------------------------------------------------------------------------- */

static void write_head(const struct calling *calling)
{
    struct md_buffer *report = calling->report;
    const char *zone = md_config_string(calling->owner->config, "timezone");
    md_buffer_text(report, "{\"path\":");
    md_json_string(report, calling->dir, strlen(calling->dir));
    md_buffer_text(report, ",\"timezone\":");
    md_json_string(report, zone, strlen(zone));
    if (calling->generation > 0)
        md_buffer_printf(report, ",\"generation\":%d,", calling->generation);
    else
        md_buffer_text(report, ",\"generation\":null,");
}

static void run(void *context)
{
    struct calling *calling = context;
    struct md__rehearse_run run = {.request = &calling->request,
                                   .fresh = &calling->fresh,
                                   .old = calling->old_sources != NULL ? &calling->old : NULL,
                                   .clock = calling->owner->clock,
                                   .zone = calling->owner->timezone,
                                   .state = md_config_string(calling->owner->config, "state"),
                                   .now_ms = calling->now_ms,
                                   .cancelled = calling->call->cancelled};
    calling->status = load_fresh(calling);
    if (calling->status == MD_OK)
        calling->status = load_old(calling);
    if (calling->status == MD_OK)
        calling->status = check_rules(calling);
    if (calling->status == MD_OK) {
        write_head(calling);
        calling->status = md__rehearse_run(&run, calling->report, NULL, calling->err);
        md_buffer_text(calling->report, "}");
    }
    if (calling->status == MD_OK)
        calling->status = md_buffer_check(calling->report, calling->err);
    md__rehearse_set_fini(&calling->fresh);
    md__rehearse_set_fini(&calling->old);
}

static enum md_status call_it(struct calling *calling)
{
    enum md_status status = md_stack_call(run, calling, calling->err);
    status = status == MD_OK ? calling->status : status;
    if (status != MD_OK)
        md_buffer_clear(calling->report);
    return status;
}

/* The folder that the request names, as a real path; the script's own when it names none. */
static enum md_status resolve(struct calling *calling, char path[PATH_MAX])
{
    const char *given = calling->request.path, *root = calling->owner->dir;
    char joined[PATH_MAX], real_root[PATH_MAX];
    calling->dir = root;
    if (given == NULL)
        return MD_OK;
    if (calling->call->anywhere)
        snprintf(joined, sizeof joined, "%s", given);
    else
        snprintf(joined, sizeof joined, "%s/%s", root, given);
    if (realpath(joined, path) == NULL || realpath(root, real_root) == NULL)
        return md_fail(calling->err, MD_ERR_NOT_FOUND,
                       "the scripts folder \"%.150s\" cannot be read", given);
    size_t length = strlen(real_root);
    if (!calling->call->anywhere &&
        (strncmp(path, real_root, length) != 0 || (path[length] != '/' && path[length] != '\0')))
        return md_fail(calling->err, MD_ERR_INVALID, "\"%.150s\" is outside of the scripts folder",
                       given);
    if (strcmp(path, real_root) != 0)
        calling->dir = path;
    return MD_OK;
}

static enum md_status load_config(struct calling *calling, const struct md_config *own)
{
    struct md_config_options options = {.dir = calling->dir};
    return calling->dir == calling->owner->dir
               ? md_config_reload(own, &calling->config, NULL, calling->err)
               : md_config_load(&options, &calling->config, calling->err);
}

/* ---- with a daemon --------------------------------------------------------------------------- */

/* What serves, to be loaded once more. */
static void look_at_live(struct md_script *script, struct calling *calling)
{
    struct md_generation *generation = md__generation_current(script);
    calling->generation = generation->number;
    calling->old_config = md_config_ref(generation->config);
    calling->old_sources = md__sources_ref(generation->sources);
    md__generation_unref(generation);
}

enum md_status md_script_rehearse(struct md_script *script, const struct md_rehearse_call *call,
                                  struct md_buffer *report, struct md_error *err)
{
    char path[PATH_MAX];
    struct calling calling = {.call = call,
                              .owner = script,
                              .now_ms = md_now_ms(script->clock),
                              .report = report,
                              .err = err};
    enum md_status status = md__rehearse_request_read(call, &calling.request, err);
    if (status != MD_OK)
        return status;
    status = md__rehearse_begin(script, err);
    if (status == MD_OK) {
        look_at_live(script, &calling);
        status = resolve(&calling, path);
        if (status == MD_OK)
            status = load_config(&calling, calling.old_config);
        if (status == MD_OK)
            status = call_it(&calling);
        md__rehearse_end(script);
    }
    md_config_unref(calling.config);
    md_config_unref(calling.old_config);
    md__sources_unref(calling.old_sources);
    md__rehearse_request_fini(&calling.request);
    return status;
}

/* ---- without a daemon ------------------------------------------------------------------------ */

enum md_status md_rehearse_stored(const struct md_script_options *options,
                                  const struct md_rehearse_call *call, struct md_buffer *report,
                                  struct md_error *err)
{
    struct md_script owner = {.dir = (char *)options->dir,
                              .lib_dir = (char *)options->lib_dir,
                              .library = md__sources_new(options->lib_dir, false),
                              .clock = options->clock,
                              .config = options->config};
    struct calling calling = {.call = call,
                              .owner = &owner,
                              .dir = options->dir,
                              .config = options->config,
                              .report = report,
                              .err = err};
    if (owner.library == NULL)
        return md_fail(err, MD_ERR_MEMORY, "no memory to read the library");
    enum md_status status = md__rehearse_request_read(call, &calling.request, err);
    if (status == MD_OK)
        status =
            md_timezone_new(md_config_string(options->config, "timezone"), &owner.timezone, err);
    if (status == MD_OK) {
        calling.request.is_recorded = true;
        status = call_it(&calling);
    }
    md_timezone_delete(owner.timezone);
    md__rehearse_request_fini(&calling.request);
    md__sources_unref(owner.library);
    return status;
}
