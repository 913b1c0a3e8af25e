/*
 * What operators may ask and do over HTTP: rows of the table in builtin.c, reached from this
 * machine with a key only (pipeline.c). Arguments come in the query, and a body is ignored, but for
 * rows that say otherwise.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/percent.h"
#include "base/profile.h"
#include "http/internal.h"
#include "script/rehearse.h"

enum { PROFILE_SECONDS = 5 };

bool md__query_value(const struct md_request *request, const char *name, char *text, size_t size)
{
    const char *query = request->query != NULL ? request->query : "";
    size_t name_length = strlen(name);

    while (*query != '\0') {
        size_t length = strcspn(query, "&");
        if (length > name_length && query[name_length] == '=' &&
            strncmp(query, name, name_length) == 0) {
            return md_percent_decode(query + name_length + 1, length - name_length - 1, true, text,
                                     size) >= 0;
        }
        query += length + (query[length] == '&');
    }
    return false;
}

enum md_status md__admin_log_level(struct md__exchange *exchange, struct md_response *response,
                                   struct md_error *err)
{
    (void)exchange;
    md_buffer_printf(&response->body, "{\"level\":\"%s\"}", md_log_level_name(md_log_get_level()));
    return md_buffer_check(&response->body, err);
}

enum md_status md__admin_set_log_level(struct md__exchange *exchange, struct md_response *response,
                                       struct md_error *err)
{
    char name[32];
    enum md_log_level level;
    enum md_status status;

    if (!md__query_value(&exchange->request, "level", name, sizeof name)) {
        return md_fail(err, MD_ERR_INVALID, "?level= is missing");
    }
    status = md_log_level_parse(name, &level, err);
    if (status == MD_OK) {
        md_log_set_level(level);
        md_log(MD_LOG_INFO, "http", "log level is now %s", name);
        status = md__admin_log_level(exchange, response, err);
    }
    return status;
}

/* ---- scripts ---- */

static enum md_status find_script(const struct md__exchange *exchange, struct md_script **script,
                                  struct md_error *err)
{
    *script = exchange->http->options.script;
    return *script != NULL ? MD_OK : md_fail(err, MD_ERR_NOT_FOUND, "no scripts are served");
}

enum md_status md__admin_scripts(struct md__exchange *exchange, struct md_response *response,
                                 struct md_error *err)
{
    struct md_script *script;
    enum md_status status = find_script(exchange, &script, err);

    if (status == MD_OK) {
        md_script_state(script, &response->body);
        status = md_buffer_check(&response->body, err);
    }
    return status;
}

enum md_status md__admin_scripts_reload(struct md__exchange *exchange, struct md_response *response,
                                        struct md_error *err)
{
    struct md_script *script;
    enum md_status status = find_script(exchange, &script, err);

    return status == MD_OK ? md_script_reload(script, "admin", &response->body, err) : status;
}

enum md_status md__admin_scripts_rollback(struct md__exchange *exchange,
                                          struct md_response *response, struct md_error *err)
{
    struct md_script *script;
    enum md_status status = find_script(exchange, &script, err);

    return status == MD_OK ? md_script_rollback(script, "admin", &response->body, err) : status;
}

enum md_status md__admin_reload_model(struct md__exchange *exchange, struct md_response *response,
                                      struct md_error *err)
{
    struct md_script *script;
    char name[128], path[1024];
    const struct md_request *request = &exchange->request;
    bool has_name = md__query_value(request, "name", name, sizeof name);
    bool has_path = md__query_value(request, "path", path, sizeof path);
    enum md_status status = find_script(exchange, &script, err);

    return status == MD_OK ? md_script_model_reload(script, has_name ? name : NULL,
                                                    has_path ? path : NULL, &response->body, err)
                           : status;
}

enum md_status md__admin_rehearse(struct md__exchange *exchange, struct md_response *response,
                                  struct md_error *err)
{
    struct md_script *script;
    struct md_rehearse_call call = {.request = exchange->request.body,
                                    .length = exchange->request.body_length,
                                    .cancelled = &exchange->http->draining};
    enum md_status status = find_script(exchange, &script, err);

    return status == MD_OK ? md_script_rehearse(script, &call, &response->body, err) : status;
}

/* ---- profile ---- */

enum md_status md__admin_profile(struct md__exchange *exchange, struct md_response *response,
                                 struct md_error *err)
{
    char seconds[16], form[16];
    bool has_seconds = md__query_value(&exchange->request, "seconds", seconds, sizeof seconds);
    bool has_form = md__query_value(&exchange->request, "format", form, sizeof form);
    bool folded = has_form && strcmp(form, "folded") == 0;

    if (has_form && !folded && strcmp(form, "svg") != 0) {
        return md_fail(err, MD_ERR_INVALID, "?format= is svg or folded");
    }
    if (has_seconds && strspn(seconds, "0123456789") != strlen(seconds)) {
        return md_fail(err, MD_ERR_INVALID, "?seconds= is a whole number");
    }
    response->content_type = folded ? "text/plain; charset=utf-8" : "image/svg+xml";
    return md_profile_run(has_seconds ? atoi(seconds) : PROFILE_SECONDS,
                          folded ? MD_PROFILE_FOLDED : MD_PROFILE_SVG, &exchange->http->draining,
                          &response->body, err);
}
