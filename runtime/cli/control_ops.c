/*
 * What the control socket can be asked. An op is a row of the table at the end; larger ones have a
 * file of their own.
 *
 *     ping        -> version, pid, uptime_s
 *     log-level   level (optional: sets it) -> level
 *     reload, rollback (reload.c) -> what md_script_reload reports
 *     scripts     -> what /admin/scripts shows
 *     clock       now_ms (optional: sets a clock of clock_speed 0, and waits for the timers,
 *                 ticks and decisions about notifications that are due then) -> now_ms
 *     config      -> config: [{key, value, origin, restart, help}]
 *     rehearse    (rehearse.c) what script/rehearse.h says -> the report
 *     repl.*      (control_repl.c) a session that lasts as long as the connection
 */
#include <jansson.h>
#include <unistd.h>

#include "base/json_in.h"
#include "base/log.h"
#include "cli/control.h"
#include "script/config.h"
#include "script/script.h"

static const int64_t catch_up_ns_max = 60000000000;

static enum md_status ping(struct md_control_call *call, json_t *request, struct md_error *err)
{
    double seconds = (double)(md_monotonic_ns(md_clock_system()) - call->context->started_ns) / 1e9;

    (void)request;
    (void)err;
    json_object_set_new(call->result, "version", json_string(MD_VERSION));
    json_object_set_new(call->result, "pid", json_integer(getpid()));
    json_object_set_new(call->result, "uptime_s", json_real(seconds));
    return MD_OK;
}

static enum md_status log_level(struct md_control_call *call, json_t *request, struct md_error *err)
{
    json_t *wanted = json_object_get(request, "level");
    enum md_log_level level;

    if (wanted != NULL) {
        const char *name = json_string_value(wanted);
        enum md_status status = md_log_level_parse(name != NULL ? name : "", &level, err);
        if (status != MD_OK) {
            return status;
        }
        md_log_set_level(level);
        md_log(MD_LOG_INFO, "serve", "log level is now %s", md_log_level_name(level));
    }
    json_object_set_new(call->result, "level", json_string(md_log_level_name(md_log_get_level())));
    return MD_OK;
}

static enum md_status config(struct md_control_call *call, json_t *request, struct md_error *err)
{
    struct md_buffer text;
    json_t *keys = NULL;
    enum md_status status;

    (void)request;
    md_buffer_init(&text, 0);
    status = md_config_describe(call->context->config, &text, err);
    if (status == MD_OK) {
        status = md_json_parse(text.data, text.length, &keys, err);
    }
    if (status == MD_OK) {
        json_object_set_new(call->result, "config", keys);
    }
    md_buffer_fini(&text);
    return status;
}

static enum md_status set_clock(const struct md_control_context *context, json_t *wanted,
                                struct md_error *err)
{
    int64_t now_ms = json_integer_value(wanted);

    if (context->standing == NULL) {
        return md_fail(err, MD_ERR_CONFLICT, "the clock goes by itself: clock_speed is not 0");
    }
    if (!json_is_integer(wanted) || now_ms < md_now_ms(context->clock)) {
        return md_fail(err, MD_ERR_INVALID, "now_ms: a whole number, not before the present");
    }
    return md_script_advance(context->script, context->standing, now_ms, catch_up_ns_max, err);
}

static enum md_status standing_clock(struct md_control_call *call, json_t *request,
                                     struct md_error *err)
{
    json_t *wanted = json_object_get(request, "now_ms");
    enum md_status status = wanted != NULL ? set_clock(call->context, wanted, err) : MD_OK;

    json_object_set_new(call->result, "now_ms", json_integer(md_now_ms(call->context->clock)));
    return status;
}

const struct md_control_op md__control_ops[] = {
    {"ping", ping},
    {"clock", standing_clock},
    {"log-level", log_level},
    {"config", config},
    {"reload", md__control_reload},
    {"rollback", md__control_rollback},
    {"scripts", md__control_scripts},
    {"rehearse", md__control_rehearse},
    {"repl.eval", md__control_repl},
    {"repl.complete", md__control_repl},
    {"repl.replace", md__control_repl},
    {"repl.write", md__control_repl},
    {NULL, NULL},
};
