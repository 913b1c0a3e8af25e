/* What /admin/scripts shows: which generation serves, of what files, and how its hooks fare. */
#include <inttypes.h>
#include <string.h>

#include "base/json_out.h"
#include "base/timestamp.h"
#include "script/generation.h"
#include "script/watch.h"

static void add_text(struct md_buffer *json, const char *name, const char *text)
{
    md_buffer_printf(json, "\"%s\":", name);
    md_json_string(json, text, strlen(text));
}

static void add_time(struct md_buffer *json, const char *name, int64_t ms)
{
    char text[MD_TIMESTAMP_BYTES];
    md_timestamp_format(ms, text);
    add_text(json, name, text);
}

static void add_file(void *context, const struct md__source *source)
{
    struct md_buffer *json = context;
    md_buffer_text(json, json->data[json->length - 1] == '[' ? "{" : ",{");
    add_text(json, "path", source->name);
    md_buffer_printf(json, ",\"bytes\":%zu,\"hash\":\"%016" PRIx64 "\"}", source->length,
                     source->hash);
}

static void add_hook(struct md_buffer *json, const char *method, const char *name,
                     const struct md__hook_stat *stat)
{
    md_buffer_text(json, json->data[json->length - 1] == '[' ? "{\"name\":" : ",{\"name\":");
    struct md_buffer label;
    char memory[256];
    md_buffer_init_fixed(&label, memory, sizeof memory);
    md_buffer_printf(&label, "%s%s%s", method, method[0] != '\0' ? " " : "", name);
    md_json_string(json, memory, label.length);
    md_buffer_printf(json, ",\"calls\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"kills\":%" PRIu64,
                     atomic_load(&stat->calls), atomic_load(&stat->errors),
                     atomic_load(&stat->kills));
    md_buffer_printf(json, ",\"lua_ms_total\":%.3f,\"lua_ms_max\":%.3f,\"bytes_peak\":%" PRId64 "}",
                     (double)atomic_load(&stat->lua_ns_total) / 1e6,
                     (double)atomic_load(&stat->lua_ns_max) / 1e6, atomic_load(&stat->bytes_peak));
}

static void add_hooks(struct md_buffer *json, const struct md_generation *generation)
{
    md_buffer_text(json, ",\"hooks\":[");
    for (int i = 0; i < generation->route_count; i++) {
        const struct md__route *route = &generation->routes[i];
        add_hook(json, route->info.method, route->info.pattern, &route->stat);
    }
    for (int i = 0; i < generation->job_count; i++)
        add_hook(json, "", generation->jobs[i].name, &generation->jobs[i].stat);
    md_buffer_text(json, "]");
}

/* With the lock held. */
static void add_last(struct md_buffer *json, const struct md_script *script)
{
    const struct md__reload_result *last = &script->last;
    md_buffer_text(json, ",\"last_reload\":");
    if (last->attempts == 0) {
        md_buffer_text(json, "null");
        return;
    }
    md_buffer_printf(json, "{\"ok\":%s,", last->failed ? "false" : "true");
    add_text(json, "reason", last->reason);
    md_buffer_text(json, ",");
    add_time(json, "at", last->at_ms);
    md_buffer_printf(json, ",\"ms\":%.1f,", last->seconds * 1e3);
    add_text(json, "error", last->text);
    md_buffer_text(json, "}");
}

static void add_rollback(struct md_buffer *json, const struct md_script *script)
{
    md_buffer_printf(json, ",\"reloads\":%d,\"failures\":%d,\"generations_live\":%d",
                     script->last.attempts, script->last.failures, script->generations_live);
    if (script->past_count > 0)
        md_buffer_printf(json, ",\"rollback_to\":%d", script->past[script->past_count - 1].number);
    else
        md_buffer_text(json, ",\"rollback_to\":null");
}

void md_script_state(struct md_script *script, struct md_buffer *json)
{
    struct md_generation *generation = md__generation_current(script);
    md_buffer_printf(json, "{\"generation\":%d,", generation->number);
    add_text(json, "app", generation->name);
    md_buffer_text(json, ",");
    add_text(json, "version", generation->version);
    md_buffer_text(json, ",");
    add_text(json, "reason", generation->reason);
    md_buffer_text(json, ",");
    add_time(json, "loaded_at", generation->made_ms);
    md_buffer_text(json, ",");
    add_text(json, "watch", md__watcher_mode(script->watcher));
    md_buffer_printf(json, ",\"calls\":%" PRId64 ",\"errors\":%" PRId64,
                     atomic_load(&generation->calls), atomic_load(&generation->errors));
    pthread_mutex_lock(&script->lock);
    add_rollback(json, script);
    add_last(json, script);
    pthread_mutex_unlock(&script->lock);
    md_buffer_text(json, ",");
    md__rehearse_state(script, json);
    md_buffer_text(json, ",\"files\":[");
    md__sources_visit(generation->sources, add_file, json);
    md_buffer_text(json, "]");
    add_hooks(json, generation);
    md_buffer_text(json, "}");
    md__generation_unref(generation);
}
