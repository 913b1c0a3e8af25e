/*
 * Routes that the server answers itself, without a Lua state: they must work while the script
 * starts, is overloaded or broken.
 */
#include <stdio.h>
#include <string.h>

#include "base/json_out.h"
#include "http/internal.h"

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
}

/*
 * Liveness: always 200 and "healthy" while the process answers; what is impaired stands in
 * degraded.
 */
static void health(struct md__exchange *exchange, struct md_response *response)
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
    md_buffer_text(json, ",\"runtime\":\"moondial " MD_VERSION "\",\"degraded\":[");
    write_degraded(http, json);
    md_buffer_text(json, "]}");
    md__response_json(response, 200);
}

static void ready(struct md__exchange *exchange, struct md_response *response)
{
    struct md_http *http = exchange->http;
    bool started = http->options.script == NULL || md_script_ready(http->options.script);

    if (started && !http->draining) {
        md_buffer_text(&response->body, "{\"ready\":true}");
        md__response_json(response, 200);
    } else {
        md_buffer_printf(&response->body, "{\"ready\":false,\"reason\":\"%s\"}",
                         http->draining ? "draining" : "starting");
        md__response_json(response, 503);
        md__response_header(response, "Retry-After", "1");
    }
}

/* ---- /metrics and /openapi.json ---- */

static void metrics(struct md__exchange *exchange, struct md_response *response)
{
    const char *accept = md__header(&exchange->request, "accept");

    md__process_metrics(exchange->http);
    response->status = 200;
    if (accept != NULL && strstr(accept, "application/json") != NULL) {
        response->content_type = "application/json";
        md_metrics_render_json(md_metrics_global(), &response->body);
    } else {
        response->content_type = "text/plain; version=0.0.4; charset=utf-8";
        md_metrics_render_prometheus(md_metrics_global(), &response->body);
    }
}

static void openapi(struct md__exchange *exchange, struct md_response *response)
{
    struct md_error err = {0};

    md__response_json(response, 200);
    if (md__openapi_write(exchange->http, &response->body, &err) != MD_OK) {
        md_response_error(response, &err);
    }
}

/* ---- the table ---- */

struct builtin {
    const char *path;
    const char *summary;
    void (*answer)(struct md__exchange *exchange, struct md_response *response);
};

static const struct builtin builtins[] = {
    {"/health", "Is the process alive, and what is impaired", health},
    {"/ready", "Does it take requests: 503 while starting or draining", ready},
    {"/metrics", "Prometheus text, or JSON on Accept: application/json", metrics},
    {"/openapi.json", "This description", openapi},
};

#define BUILTIN_COUNT ((int)(sizeof builtins / sizeof builtins[0]))

const char *md__builtin_path(int index, const char **summary)
{
    if (index >= BUILTIN_COUNT) {
        return NULL;
    }
    *summary = builtins[index].summary;
    return builtins[index].path;
}

static void refuse_method(const struct md__exchange *exchange, struct md_response *response)
{
    struct md_error err;

    if (strcmp(exchange->request.method, "OPTIONS") == 0) {
        response->status = 204;
        md__cors_preflight(exchange, "GET, HEAD, OPTIONS", response);
    } else {
        md_fail(&err, MD_ERR_METHOD, "%s takes GET", exchange->request.path);
        md_response_error(response, &err);
    }
    md__response_header(response, "Allow", "GET, HEAD, OPTIONS");
}

bool md__builtin(struct md__exchange *exchange)
{
    struct md_response response;
    int i = 0;

    while (i < BUILTIN_COUNT && strcmp(builtins[i].path, exchange->request.path) != 0) {
        i++;
    }
    if (i == BUILTIN_COUNT) {
        return false;
    }
    exchange->route = builtins[i].path;
    md_response_init(&response, (size_t)64 << 20);
    if (strcmp(exchange->request.method, "GET") == 0) {
        builtins[i].answer(exchange, &response);
    } else {
        refuse_method(exchange, &response);
    }
    md__respond(exchange, &response);
    md_response_fini(&response);
    return true;
}
