/*
 * Routes that the server answers itself, without a Lua state: they must work while the script
 * starts, is overloaded or broken. Another one is a row of the table and a function; those for
 * operators are in admin.c.
 */
#include <stdio.h>
#include <string.h>

#include "base/json_out.h"
#include "http/internal.h"

#define BODY_BYTES_MAX     ((size_t)64 << 20)
#define REHEARSE_BYTES_MAX ((size_t)1 << 20)

/* ---- /health and /ready ---- */

static void write_degraded(struct md_http *http, struct md_buffer *json)
{
    char trouble[256], text[300];
    size_t before = json->length;

    if (http->options.script != NULL) {
        md_script_degraded(http->options.script, json);
    }
    if (http->options.store != NULL &&
        md_store_trouble(http->options.store, trouble, sizeof trouble)) {
        snprintf(text, sizeof text, "store: %s", trouble);
        md_buffer_text(json, json->length > before ? "," : "");
        md_json_string(json, text, strlen(text));
    }
    if (http->options.serve != NULL &&
        md_serve_device_trouble(http->options.serve, text, sizeof text)) {
        md_buffer_text(json, json->length > before ? "," : "");
        md_json_string(json, text, strlen(text));
    }
}

/*
 * Liveness: always 200 and "healthy" while the process answers; what is impaired stands in
 * degraded.
 */
static enum md_status health(struct md__exchange *exchange, struct md_response *response,
                             struct md_error *err)
{
    struct md_http *http = exchange->http;
    struct md_buffer *json = &response->body;
    size_t before;

    md_buffer_text(json, "{\"status\":\"healthy\"");
    before = json->length;
    md_buffer_text(json, ",");
    if (http->options.script != NULL) {
        md_script_health(http->options.script, json);
    }
    if (json->length == before + 1) {
        json->length = before; /* the app adds nothing */
    }
    if (http->options.serve != NULL) {
        md_buffer_text(json, ",\"device\":");
        md_serve_device_json(http->options.serve, json);
    }
    md_buffer_text(json, ",\"runtime\":\"moondial " MD_VERSION "\",\"degraded\":[");
    write_degraded(http, json);
    md_buffer_text(json, "]}");
    return md_buffer_check(json, err);
}

static enum md_status ready(struct md__exchange *exchange, struct md_response *response,
                            struct md_error *err)
{
    struct md_http *http = exchange->http;
    bool started = http->options.script == NULL || md_script_ready(http->options.script);

    if (started && !http->draining) {
        md_buffer_text(&response->body, "{\"ready\":true}");
    } else {
        md_buffer_printf(&response->body, "{\"ready\":false,\"reason\":\"%s\"}",
                         http->draining ? "draining" : "starting");
        md__response_json(response, 503);
        md__response_header(response, "Retry-After", "1");
    }
    return md_buffer_check(&response->body, err);
}

/* ---- /metrics and /openapi.json ---- */

static enum md_status metrics(struct md__exchange *exchange, struct md_response *response,
                              struct md_error *err)
{
    const char *accept = md__header(&exchange->request, "accept");

    md__process_metrics(exchange->http);
    if (exchange->http->options.serve != NULL) {
        md_serve_device_metrics(exchange->http->options.serve);
    }
    if (accept != NULL && strstr(accept, "application/json") != NULL) {
        md_metrics_render_json(md_metrics_global(), &response->body);
    } else {
        response->content_type = "text/plain; version=0.0.4; charset=utf-8";
        md_metrics_render_prometheus(md_metrics_global(), &response->body);
    }
    return md_buffer_check(&response->body, err);
}

static enum md_status openapi(struct md__exchange *exchange, struct md_response *response,
                              struct md_error *err)
{
    return md__openapi_write(exchange->http, &response->body, err);
}

/* ---- the table ---- */

/* Open ones come first and hide a script's route of the same path; a script's hides an admin one.
 */
static const struct md__builtin builtins[] = {
    {"GET", "/health", "Is the process alive, and what is impaired", false, health, 0},
    {"GET", "/ready", "Does it take requests: 503 while starting or draining", false, ready, 0},
    {"GET", "/metrics", "Prometheus text, or JSON on Accept: application/json", false, metrics, 0},
    {"GET", "/openapi.json", "This description", false, openapi, 0},
    {"GET", "/admin/log-level", "The least important level that is logged", true,
     md__admin_log_level, 0},
    {"POST", "/admin/log-level", "Log from ?level= on: debug, info, warn, error, off", true,
     md__admin_set_log_level, 0},
    {"GET", "/admin/scripts",
     "Which scripts serve, how their hooks fare, how the last reload ended", true,
     md__admin_scripts, 0},
    {"POST", "/admin/scripts/reload", "Load the scripts as they are on disk now", true,
     md__admin_scripts_reload, 0},
    {"POST", "/admin/scripts/rollback", "Back to the scripts that served before", true,
     md__admin_scripts_rollback, 0},
    {"POST", "/admin/rehearse",
     "What the alert rules of the folder, or those of the body, would have done over the past",
     true, md__admin_rehearse, REHEARSE_BYTES_MAX},
    {"GET", "/admin/profile",
     "What the process does for ?seconds=5: a flame graph, or ?format=folded stacks", true,
     md__admin_profile, 0},
    {"POST", "/admin/reload-model", "Load a model anew: ?name= or ?path=models/NAME", true,
     md__admin_reload_model, 0},
};

#define BUILTIN_COUNT ((int)(sizeof builtins / sizeof builtins[0]))

const struct md__builtin *md__builtin_at(int index)
{
    return index < BUILTIN_COUNT ? &builtins[index] : NULL;
}

const struct md__builtin *md__builtin_find(const struct md_request *request, bool admin,
                                           char allow[MD__ALLOW_BYTES])
{
    const struct md__builtin *row = NULL;
    struct md_buffer text;

    md_buffer_init_fixed(&text, allow, MD__ALLOW_BYTES);
    for (int i = 0; i < BUILTIN_COUNT; i++) {
        if (builtins[i].admin != admin || strcmp(builtins[i].path, request->path) != 0) {
            continue;
        }
        if (strcmp(builtins[i].method, request->method) == 0) {
            row = &builtins[i];
        }
        md_buffer_printf(&text, "%s%s", text.length > 0 ? ", " : "", builtins[i].method);
        md_buffer_text(&text, strcmp(builtins[i].method, "GET") == 0 ? ", HEAD" : "");
    }
    return row;
}

void md__builtin_answer(struct md__exchange *exchange, const struct md__builtin *row)
{
    struct md_response response;
    struct md_error err;

    exchange->route = row->path;
    md_response_init(&response, BODY_BYTES_MAX);
    md__response_json(&response, 200);
    if (row->answer(exchange, &response, &err) != MD_OK) {
        md_response_error(&response, &err);
    }
    if (row->admin) { /* before the client can know, who may ask again at once */
        exchange->http->admins--;
    }
    md__respond(exchange, &response);
    md_response_fini(&response);
}
