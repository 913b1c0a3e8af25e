/* What the engine tells about itself, as JSON: for /admin and for tools. */
#include <string.h>

#include "base/json_out.h"
#include "script/generation.h"

static void member(struct md_buffer *json, const char *name, const char *text)
{
    md_buffer_printf(json, "\"%s\":", name);
    md_json_string(json, text, strlen(text));
    md_buffer_text(json, ",");
}

static void route(struct md_buffer *json, const struct md_route_info *info)
{
    md_buffer_text(json, "{");
    member(json, "method", info->method);
    member(json, "pattern", info->pattern);
    member(json, "summary", info->summary);
    md_buffer_printf(json, "\"key\":%s,\"admin\":%s,\"rate_per_min\":%d,\"body_bytes_max\":%zu}",
                     info->needs_key ? "true" : "false", info->admin ? "true" : "false",
                     info->rate_per_min, info->body_bytes_max);
}

static void job(struct md_buffer *json, const struct md__job *what)
{
    md_buffer_text(json, "{");
    member(json, "name", what->name);
    md_buffer_printf(json, "\"every_ms\":%lld,\"grace_ms\":%lld}", (long long)what->every_ms,
                     (long long)what->grace_ms);
}

static void model(struct md_buffer *json, const struct md__model_entry *entry)
{
    md_buffer_text(json, "{");
    member(json, "name", entry->name);
    member(json, "path", entry->path);
    md_buffer_printf(json, "\"optional\":%s}", entry->optional ? "true" : "false");
}

static void comma(struct md_buffer *json, int index)
{
    if (index > 0)
        md_buffer_text(json, ",");
}

static void lists(struct md_buffer *json, const struct md_generation *generation)
{
    md_buffer_text(json, "\"routes\":[");
    for (int i = 0; i < generation->route_count; i++) {
        comma(json, i);
        route(json, &generation->routes[i].info);
    }
    md_buffer_text(json, "],\"jobs\":[");
    for (int i = 0; i < generation->job_count; i++) {
        comma(json, i);
        job(json, &generation->jobs[i]);
    }
    md_buffer_text(json, "],\"models\":[");
    for (int i = 0; i < generation->model_count; i++) {
        comma(json, i);
        model(json, &generation->models[i]);
    }
    md_buffer_text(json, "]");
}

enum md_status md_script_info(struct md_script *script, struct md_buffer *json,
                              struct md_error *err)
{
    struct md_generation *generation = md__generation_current(script);
    md_buffer_text(json, "{");
    member(json, "name", generation->name);
    member(json, "version", generation->version);
    md_buffer_printf(json, "\"generation\":%d,\"states\":%d,\"ready\":%s,", generation->number,
                     md__pool_size(generation->pool), md_script_ready(script) ? "true" : "false");
    lists(json, generation);
    md_buffer_text(json, ",\"series\":[");
    for (int i = 0; i < script->series_count; i++) {
        comma(json, i);
        md_json_string(json, script->series[i].name, strlen(script->series[i].name));
    }
    md_buffer_text(json, "]}");
    md__generation_unref(generation);
    return md_buffer_check(json, err);
}
