/*
 * /openapi.json: OpenAPI 3.0 from the route tables, so that it can never disagree with what is
 * served.
 */
#include <jansson.h>
#include <string.h>
#include <strings.h>

#include "http/internal.h"

/* {"200": ..., "default": the error object} */
static json_t *responses(void)
{
    return json_pack("{s:{s:s}, s:{s:s, s:{s:{s:{s:s}}}}}", "200", "description", "OK", "default",
                     "description", "Error", "content", "application/json", "schema", "$ref",
                     "#/components/schemas/Error");
}

/* The {names} of a pattern as required path parameters. */
static json_t *parameters(const char *pattern)
{
    json_t *list = json_array();

    for (const char *open = strchr(pattern, '{'); open != NULL; open = strchr(open + 1, '{')) {
        const char *close = strchr(open, '}');
        if (close == NULL) {
            break;
        }
        json_array_append_new(list, json_pack("{s:s%, s:s, s:b, s:{s:s}}", "name", open + 1,
                                              (size_t)(close - open - 1), "in", "path", "required",
                                              1, "schema", "type", "string"));
    }
    return list;
}

static void add_operation(json_t *paths, const char *method, const char *pattern,
                          const char *summary, bool needs_key)
{
    json_t *path = json_object_get(paths, pattern);
    json_t *operation = json_pack("{s:s, s:o, s:o}", "summary", summary, "parameters",
                                  parameters(pattern), "responses", responses());
    char lower[16];
    size_t i;

    for (i = 0; method[i] != '\0' && i + 1 < sizeof lower; i++) {
        lower[i] = (char)(method[i] | 0x20);
    }
    lower[i] = '\0';
    if (needs_key) {
        json_object_set_new(operation, "security", json_pack("[{s:[]}]", "ApiKey"));
    }
    if (strcmp(lower, "post") == 0 || strcmp(lower, "put") == 0) {
        json_object_set_new(operation, "requestBody",
                            json_pack("{s:{s:{}}}", "content", "application/json"));
    }
    if (path == NULL) {
        path = json_object();
        json_object_set_new(paths, pattern, path);
    }
    json_object_set_new(path, lower, operation);
}

struct visit {
    json_t *paths;
    bool keys;
};

static void visit_route(void *context, const struct md_route_info *info)
{
    struct visit *visit = context;

    add_operation(visit->paths, info->method, info->pattern, info->summary,
                  visit->keys && (info->needs_key || info->admin));
}

static json_t *components(void)
{
    return json_pack("{s:{s:{s:s, s:s, s:s}}, s:{s:{s:s, s:[s,s], s:{s:{s:s}, s:{s:s}, s:{s:s}}}}}",
                     "securitySchemes", "ApiKey", "type", "apiKey", "in", "header", "name",
                     "X-API-Key", "schemas", "Error", "type", "object", "required", "detail",
                     "code", "properties", "detail", "type", "string", "code", "type", "string",
                     "field", "type", "string");
}

static int append(const char *text, size_t length, void *buffer)
{
    md_buffer_append(buffer, text, length);
    return 0;
}

enum md_status md__openapi_write(struct md_http *http, struct md_buffer *json, struct md_error *err)
{
    struct visit visit = {.paths = json_object(), .keys = http->auth.count > 0};
    const struct md__builtin *row;
    json_t *root;

    for (int i = 0; (row = md__builtin_at(i)) != NULL; i++) {
        add_operation(visit.paths, row->method, row->path, row->summary, visit.keys && row->admin);
    }
    if (http->options.script != NULL) {
        md_script_visit_routes(http->options.script, visit_route, &visit);
    }
    root =
        json_pack("{s:s, s:{s:s, s:s}, s:o, s:o}", "openapi", "3.0.3", "info", "title", "Moondial",
                  "version", MD_VERSION, "paths", visit.paths, "components", components());
    if (root == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "out of memory for the API description");
    }
    json_dump_callback(root, append, json, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(root);
    return md_buffer_check(json, err);
}
