/* See scripted.h. */
#include "scripted.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scratch.h"
#include "unit.h"

void scripted_begin(struct scripted *scripted)
{
    memset(scripted, 0, sizeof *scripted);
    scripted->dir = scratch_new();
    scripted->clock = md_clock_system();
    scripted->body = "";
    md_clock_manual_init(&scripted->manual, 1767225600000); /* 2026-01-01T00:00:00Z */
    md_response_init(&scripted->response, 0);
}

void scripted_write(struct scripted *scripted, const char *name, const char *text)
{
    char *path = scratch_path(scripted->dir, name);
    scratch_write(path, text, strlen(text));
    free(path);
}

enum md_status scripted_try(struct scripted *scripted, const char *const *flags)
{
    struct md_config_options options = {.dir = scripted->dir, .argv = flags};
    while (flags != NULL && flags[options.argc] != NULL)
        options.argc++;
    enum md_status status = md_config_load(&options, &scripted->config, &scripted->err);
    if (status != MD_OK)
        return status;
    struct md_script_options engine = {
        .dir = scripted->dir,
        .lib_dir = scripted->lib_dir != NULL ? scripted->lib_dir : MD_SOURCE_DIR "/lua",
        .clock = scripted->clock,
        .config = scripted->config,
        .serve = scripted->serve,
        .store = scripted->store,
    };
    return md_script_new(&engine, &scripted->script, &scripted->err);
}

void scripted_open(struct scripted *scripted, const char *const *flags)
{
    if (scripted_try(scripted, flags) != MD_OK)
        fail_msg("%s", scripted->err.text);
}

void scripted_routes(struct scripted *scripted, const char *routes, const char *const *flags)
{
    scripted_begin(scripted);
    scripted_write(scripted, "app.lua",
                   "local md = require 'moondial'\n"
                   "return md.app { name = 'test', routes = require 'routes' }\n");
    char text[8192];
    snprintf(text, sizeof text, "local md = require 'moondial'\n%s\n", routes);
    scripted_write(scripted, "routes.lua", text);
    scripted_open(scripted, flags);
}

int scripted_call_into(struct scripted *scripted, const char *method, const char *target,
                       const char *body, struct md_response *response)
{
    static const struct md_header headers[] = {{"user-agent", "test"}};
    char path[MD_ROUTE_PATH_MAX];
    struct md_match match;
    struct md_error err;
    snprintf(path, sizeof path, "%.*s", (int)strcspn(target, "?"), target);
    const char *query = strchr(target, '?');
    struct md_request request = {
        .method = method,
        .path = path,
        .query = query != NULL ? query + 1 : NULL,
        .remote = "127.0.0.1",
        .headers = headers,
        .header_count = 1,
        .body = body,
        .body_length = body != NULL ? strlen(body) : 0,
        .id = 7,
    };
    enum md_status status = md_script_match(scripted->script, method, path, &match, &err);
    if (status != MD_OK) {
        md_response_error(response, &err);
        return response->status;
    }
    md_script_call(scripted->script, &match, &request, response, &err);
    md_match_fini(&match);
    return response->status;
}

int scripted_call(struct scripted *scripted, const char *method, const char *target,
                  const char *body)
{
    struct md_response *response = &scripted->response;
    md_response_fini(response);
    md_response_init(response, 0);
    int status = scripted_call_into(scripted, method, target, body, response);
    if (response->blob != NULL)
        scripted->body = response->blob->data;
    else
        scripted->body = response->body.data != NULL ? response->body.data : "";
    return status;
}

void scripted_end(struct scripted *scripted)
{
    md_response_fini(&scripted->response);
    md_script_delete(scripted->script);
    md_config_unref(scripted->config);
    scratch_delete(scripted->dir);
}
