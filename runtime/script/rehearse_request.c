/* What a rehearsal is asked for; see rehearse.h. */
#include <jansson.h>
#include <string.h>

#include "base/json_in.h"
#include "base/timestamp.h"
#include "script/rehearse_internal.h"

enum { BINS = 100, BUDGET_S = 30, BUDGET_S_MAX = 600, BUDGET_S_REMOTE_MAX = 60 };

struct field {
    const char *name;
    json_type type; /* JSON_TRUE stands for both booleans, JSON_INTEGER for all numbers */
    void *value;
};

static enum md_status take(const struct field *field, json_t *value, struct md_error *err)
{
    switch (field->type) {
    case JSON_STRING:
        if (json_is_string(value)) {
            *(const char **)field->value = json_string_value(value);
            return MD_OK;
        }
        return md_fail(err, MD_ERR_INVALID, "\"%s\" must be a string", field->name);
    case JSON_TRUE:
        if (json_is_boolean(value)) {
            *(bool *)field->value = json_is_true(value);
            return MD_OK;
        }
        return md_fail(err, MD_ERR_INVALID, "\"%s\" must be true or false", field->name);
    case JSON_OBJECT:
        if (json_is_object(value)) {
            *(json_t **)field->value = value;
            return MD_OK;
        }
        return md_fail(err, MD_ERR_INVALID, "\"%s\" must be an object", field->name);
    default:
        if (json_is_number(value)) {
            *(double *)field->value = json_number_value(value);
            return MD_OK;
        }
        return md_fail(err, MD_ERR_INVALID, "\"%s\" must be a number", field->name);
    }
}

static enum md_status take_all(json_t *root, const struct field *fields, size_t count,
                               struct md_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(root, name, value)
    {
        size_t i = 0;
        while (i < count && strcmp(fields[i].name, name) != 0)
            i++;
        if (i == count)
            return md_fail(err, MD_ERR_INVALID, "a rehearsal has no \"%.40s\"", name);
        enum md_status status = take(&fields[i], value, err);
        if (status != MD_OK)
            return status;
    }
    return MD_OK;
}

static enum md_status check(struct md__rehearse_request *request, const char *against, double bins,
                            double budget_s, int budget_s_max, struct md_error *err)
{
    const char *name;
    json_t *text;
    if (strcmp(against, "live") != 0 && strcmp(against, "recorded") != 0)
        return md_fail(err, MD_ERR_INVALID, "\"against\" is \"live\" or \"recorded\"");
    if (!(bins >= 1 && bins <= MD_ALERT_REHEARSE_BINS_MAX))
        return md_fail(err, MD_ERR_INVALID, "\"bins\" is 1 to %d", MD_ALERT_REHEARSE_BINS_MAX);
    if (!(budget_s > 0 && budget_s <= budget_s_max))
        return md_fail(err, MD_ERR_INVALID, "\"budget_s\" is more than 0, at most %d",
                       budget_s_max);
    json_object_foreach(request->scripts, name, text)
    {
        if (!json_is_string(text))
            return md_fail(err, MD_ERR_INVALID, "scripts.%.40s must be a text", name);
    }
    request->is_recorded = strcmp(against, "recorded") == 0;
    request->bins = (int)bins;
    request->budget_ns = (int64_t)(budget_s * 1e9);
    return MD_OK;
}

enum md_status md__rehearse_request_read(const struct md_rehearse_call *call,
                                         struct md__rehearse_request *request, struct md_error *err)
{
    *request = (struct md__rehearse_request){.since = "24h"};
    const char *against = "live";
    double bins = BINS, budget_s = BUDGET_S;
    const struct field fields[] = {{"since", JSON_STRING, &request->since},
                                   {"until", JSON_STRING, &request->until},
                                   {"path", JSON_STRING, &request->path},
                                   {"rule", JSON_STRING, &request->rule},
                                   {"scripts", JSON_OBJECT, &request->scripts},
                                   {"against", JSON_STRING, &against},
                                   {"bins", JSON_INTEGER, &bins},
                                   {"budget_s", JSON_INTEGER, &budget_s},
                                   {"plots", JSON_TRUE, &request->plots},
                                   {"same", JSON_TRUE, &request->same}};
    bool given = call->request != NULL && strspn(call->request, " \t\r\n") < call->length;
    enum md_status status =
        given ? md_json_parse(call->request, call->length, &request->root, err) : MD_OK;
    if (status == MD_OK && given && !json_is_object(request->root))
        status = md_fail(err, MD_ERR_INVALID, "a rehearsal is asked for with a JSON object");
    if (status == MD_OK && given)
        status = take_all(request->root, fields, sizeof fields / sizeof fields[0], err);
    if (status == MD_OK)
        status = check(request, against, bins, budget_s,
                       call->anywhere ? BUDGET_S_MAX : BUDGET_S_REMOTE_MAX, err);
    if (status != MD_OK)
        md__rehearse_request_fini(request);
    return status;
}

void md__rehearse_request_fini(struct md__rehearse_request *request)
{
    json_decref(request->root);
    *request = (struct md__rehearse_request){0};
}

/* ---- times ----------------------------------------------------------------------------------- */

/* "90m": a whole number and a unit; false: it is none. */
static bool read_duration(const char *text, int64_t *ms)
{
    static const struct {
        char unit;
        int64_t ms;
    } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}, {'w', 604800000}};
    size_t digits = strspn(text, "0123456789");
    int64_t number = 0;
    if (digits == 0 || digits > 9 || text[digits] == '\0' || text[digits + 1] != '\0')
        return false;
    for (size_t i = 0; i < digits; i++)
        number = number * 10 + (text[i] - '0');
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (units[i].unit == text[digits]) {
            *ms = number * units[i].ms;
            return true;
        }
    }
    return false;
}

static enum md_status read_time(const char *name, const char *text, int64_t base_ms,
                                const struct md_timezone *zone, int64_t *ms, struct md_error *err)
{
    int64_t back_ms;
    if (read_duration(text, &back_ms)) {
        *ms = base_ms - back_ms;
        return MD_OK;
    }
    if (md_timestamp_parse(text, zone, ms, NULL) != MD_OK)
        return md_fail(
            err, MD_ERR_INVALID,
            "%s: \"%.40s\" is neither a time nor how long ago (\"90m\", \"24h\", \"7d\")", name,
            text);
    return MD_OK;
}

enum md_status md__rehearse_period(const struct md__rehearse_request *request, int64_t now_ms,
                                   const struct md_timezone *zone, int64_t *since_ms,
                                   int64_t *until_ms, struct md_error *err)
{
    enum md_status status = MD_OK;
    *until_ms = now_ms + 1;
    if (request->until != NULL)
        status = read_time("until", request->until, now_ms, zone, until_ms, err);
    if (status == MD_OK)
        status = read_time("since", request->since, *until_ms, zone, since_ms, err);
    if (status == MD_OK && *since_ms >= *until_ms)
        status = md_fail(err, MD_ERR_INVALID, "a rehearsal must begin before it ends");
    return status;
}
