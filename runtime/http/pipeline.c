/*
 * The way of a request through the server, in the order in which a check is cheapest and tells
 * the least: hygiene, built-in routes, routing, API key, rate limit, the body's length; then, when
 * the body has come, a place in flight and the handler. Every way out has answered exactly once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "http/internal.h"

#define BODY_BYTES_MIN 500 /* room for an answer to begin with */

/* ---- routing ---- */

static void answer_options(struct md__exchange *exchange, const char *allow)
{
    struct md_response response;
    char methods[128];

    snprintf(methods, sizeof methods, "%s, OPTIONS", allow);
    md_response_init(&response, 0);
    response.status = 204;
    md__response_header(&response, "Allow", methods);
    md__cors_preflight(exchange, methods, &response);
    md__respond(exchange, &response);
    md_response_fini(&response);
}

/* The path is known, the method is not one of allow. */
static void refuse_method(struct md__exchange *exchange, const char *allow)
{
    struct md_error err;

    if (strcmp(exchange->request.method, "OPTIONS") == 0) {
        answer_options(exchange, allow);
        return;
    }
    md_fail(&err, MD_ERR_METHOD, "%s takes %s", exchange->request.path, allow);
    md__respond_error(exchange, &err, 0, "Allow", allow);
}

static bool authorize(struct md__exchange *exchange, bool needs_key, bool admin)
{
    struct md_http *http = exchange->http;
    struct md_error err = {0};

    exchange->request.key_name = md__auth_check(&http->auth, &exchange->request);
    if (admin && !exchange->loopback) {
        md_fail(&err, MD_ERR_UNAUTHORIZED, "Admin routes answer on the service's own machine only");
    } else if (http->auth.count > 0 && (needs_key || admin) && exchange->request.key_name == NULL) {
        md_fail(&err, MD_ERR_UNAUTHORIZED, "Invalid or missing API key.");
    } else {
        return true;
    }
    md__respond_error(exchange, &err, 0, NULL, NULL);
    return false;
}

/* Some admin routes take seconds; were there many at a time, nobody would be left for /health. */
static void answer_admin(struct md__exchange *exchange, const struct md__builtin *row)
{
    struct md_http *http = exchange->http;
    struct md_error err;

    if (++http->admins > MD__RESERVED / 4) {
        md_fail(&err, MD_ERR_UNAVAILABLE, "too many admin requests at a time");
        http->admins--;
        md__respond_error(exchange, &err, 0, "Retry-After", "1");
    } else {
        md__builtin_answer(exchange, row); /* gives the place back before it is sent */
    }
}

/* Some want a body, which is still to come: they are answered when it is there. */
static void begin_admin(struct md__exchange *exchange, const struct md__builtin *row)
{
    size_t length = exchange->content_length > 0 ? (size_t)exchange->content_length : 0;
    struct md_error err;

    if (row->body_bytes_max == 0 || exchange->body_read) {
        answer_admin(exchange, row);
        return;
    }
    exchange->body_bytes_max = row->body_bytes_max;
    if (length > row->body_bytes_max) {
        md_fail(&err, MD_ERR_TOO_LARGE, "the body is larger than the limit of %zu bytes",
                row->body_bytes_max);
    } else if (length == 0 || md__exchange_hold(exchange, length, true, &err) == MD_OK) {
        exchange->builtin = row;
        return;
    }
    md__exchange_close(exchange);
    md__respond_error(exchange, &err, 0, NULL, NULL);
}

/* Answers what the server answers itself; false when that is not its path. */
static bool builtin(struct md__exchange *exchange, bool admin)
{
    char allow[MD__ALLOW_BYTES];
    const struct md__builtin *row = md__builtin_find(&exchange->request, admin, allow);

    if (row != NULL && admin && authorize(exchange, false, true)) {
        begin_admin(exchange, row);
    } else if (row != NULL && !admin) {
        md__builtin_answer(exchange, row);
    } else if (row == NULL && allow[0] != '\0') {
        refuse_method(exchange, allow);
    }
    return row != NULL || allow[0] != '\0';
}

/* True when there is a handler to run; otherwise the request has been answered. */
static bool route(struct md__exchange *exchange, struct md_match *match)
{
    struct md_script *script = exchange->http->options.script;
    struct md_error err = {0};
    enum md_status status;

    if (builtin(exchange, false)) {
        return false;
    }
    if (script == NULL) {
        status = md_fail(&err, MD_ERR_NOT_FOUND, "no such route");
    } else {
        status =
            md_script_match(script, exchange->request.method, exchange->request.path, match, &err);
    }
    if (status == MD_OK) {
        exchange->route = match->route->pattern;
        return true;
    }
    if (builtin(exchange, true)) {
        return false;
    }
    if (status == MD_ERR_METHOD) {
        refuse_method(exchange, match->allow);
    } else {
        md__respond_error(exchange, &err, status == MD_ERR_TOO_LARGE ? 414 : 0, NULL, NULL);
    }
    return false;
}

/* ---- admission ---- */

static bool pass_rate_limit(struct md__exchange *exchange, const struct md_route_info *info)
{
    struct md_http *http = exchange->http;
    struct md_error err = {0};
    char seconds[16], route_key[256];
    int retry_s = 1;

    if (info->rate_per_min <= 0 || (exchange->loopback && !http->options.rate_limit_loopback)) {
        return true;
    }
    snprintf(route_key, sizeof route_key, "%s %s", info->method, info->pattern);
    if (md__ratelimit_pass(http->limits, exchange->request.remote, route_key, info->rate_per_min,
                           exchange->begin_ns, &retry_s)) {
        return true;
    }
    md_fail(&err, MD_ERR_RATE_LIMITED, "Rate limit exceeded: %d per 1 minute", info->rate_per_min);
    snprintf(seconds, sizeof seconds, "%d", retry_s);
    md__respond_error(exchange, &err, 0, "Retry-After", seconds);
    return false;
}

/* A place among the requests in flight; admin routes may use some that others may not. */
static bool enter(struct md__exchange *exchange, const struct md_route_info *info)
{
    struct md_http *http = exchange->http;
    struct md_error err = {0};
    int limit = http->options.requests_max + (info->admin ? MD__RESERVED / 4 : 0);
    int now = ++http->in_flight;

    if (now <= limit && !http->draining) {
        return true;
    }
    md_fail(&err, MD_ERR_UNAVAILABLE, "%s",
            http->draining ? "the service is shutting down" : "too many requests are in flight");
    md__exchange_close(exchange);
    md__respond_error(exchange, &err, 0, "Retry-After", "1");
    http->in_flight--;
    return false;
}

/* ---- handling ---- */

static void send_response(struct md__exchange *exchange, struct md_response *response)
{
    struct md_error err;

    if (md__exchange_hold(exchange, response->body.capacity, false, &err) != MD_OK) {
        md_response_error(response, &err); /* shared blobs do not count: they are there anyway */
    }
    if (response->status == 503 && response->header_count < MD_RESPONSE_HEADERS_MAX) {
        md__response_header(response, "Retry-After", "1");
    }
    md__respond(exchange, response);
}

static void run_handler(struct md__exchange *exchange, const struct md_match *match)
{
    struct md_http *http = exchange->http;
    struct md_response response;
    struct md__events events;
    struct md_error err = {0};

    md__events_init(&events, exchange);
    exchange->request.stream = &md__stream_writer;
    exchange->request.stream_context = &events;
    exchange->request.deadline_ns =
        exchange->begin_ns + (int64_t)http->options.request_ms_max * 1000000;
    md_response_init(&response, http->options.response_bytes_max);
    md_buffer_reserve(&response.body, BODY_BYTES_MIN);
    if (md_script_call(http->options.script, match, &exchange->request, &response, &err) != MD_OK) {
        md_log(MD_LOG_WARN, "http", "%s %s: %s", exchange->request.method, exchange->request.path,
               err.text);
    }
    if (exchange->status == 0) { /* otherwise it was a stream */
        send_response(exchange, &response);
    }
    md_response_fini(&response);
}

/* ---- the three parts ---- */

static void refuse(struct md__exchange *exchange, const struct md_error *err, int status)
{
    md__exchange_close(exchange);
    md__respond_error(exchange, err, status, NULL, NULL);
}

/* Before its body is read: is it allowed, and how long may the body be? */
static bool admit(struct md__exchange *exchange)
{
    struct md_http *http = exchange->http;
    const struct md_route_info *info = exchange->match.route;
    size_t length = exchange->content_length > 0 ? (size_t)exchange->content_length : 0;
    struct md_error err;

    if (!authorize(exchange, info->needs_key, info->admin) || !pass_rate_limit(exchange, info)) {
        return false;
    }
    exchange->body_bytes_max =
        info->body_bytes_max > 0 ? info->body_bytes_max : http->options.body_bytes_max;
    if (length > exchange->body_bytes_max) {
        md_fail(&err, MD_ERR_TOO_LARGE, "the body is larger than the limit of %zu bytes",
                exchange->body_bytes_max);
    } else if (length == 0 || md__exchange_hold(exchange, length, true, &err) == MD_OK) {
        return true;
    }
    refuse(exchange, &err, 0);
    return false;
}

bool md__answer_begin(struct md__exchange *exchange)
{
    struct md_error err = {0};
    bool wanted = false;
    int status, span;

    md_trace_begin(&exchange->trace, exchange->request.id, exchange->http->options.clock,
                   exchange->begin_ns);
    span = md_span_begin("check");
    status = md__request_check(exchange, &err);
    if (exchange->http->draining) {
        md__exchange_close(exchange);
    }
    if (status != 0) {
        refuse(exchange, &err, status);
    } else {
        md_span_next(span, "route");
        exchange->matched = route(exchange, &exchange->match);
        md_span_next(span, "auth");
        wanted = (exchange->matched && admit(exchange)) || exchange->builtin != NULL;
    }
    exchange->admitted_ns = md_span_end(span);
    md_trace_leave();
    return wanted;
}

void md__answer_run(struct md__exchange *exchange)
{
    struct md_http *http = exchange->http;
    struct md_request *request = &exchange->request;
    int64_t begin_ns = exchange->admitted_ns;
    int span;

    md_trace_enter(&exchange->trace);
    if (!exchange->body_read) {
        begin_ns = md_monotonic_ns(http->options.clock);
        md_span_mark("read", exchange->admitted_ns, begin_ns);
    }
    span = md_span_begin_at("handle", begin_ns);
    exchange->body_read = true;
    if (exchange->body.length > 0) {
        exchange->body.data[exchange->body.length] = '\0';
        request->body = exchange->body.data;
        request->body_length = exchange->body.length;
        md_metric_add(http->bytes_in, (double)request->body_length);
    }
    if (exchange->builtin != NULL) {
        answer_admin(exchange, exchange->builtin);
    } else if (enter(exchange, exchange->match.route)) {
        run_handler(exchange, &exchange->match);
        http->in_flight--;
    }
    if (exchange->body.data != NULL) {
        md_buffer_fini(&exchange->body); /* the answer may take its time */
    }
    if (exchange->sent_ns == 0) { /* a stream */
        exchange->sent_ns = md_monotonic_ns(http->options.clock);
    }
    md_span_end_at(span, exchange->sent_ns);
    md_trace_leave();
}

/* Labels are few, whatever clients say. */
static const char *method_label(const struct md__exchange *exchange)
{
    static const char *const known[] = {"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i], exchange->request.method) == 0) {
            return known[i];
        }
    }
    return "other";
}

static struct md__counters *counters_of(const struct md__exchange *exchange)
{
    struct md_http *http = exchange->http;
    const char *route = exchange->route, *method = method_label(exchange);
    int status = exchange->status > 0 ? exchange->status : 499;
    unsigned slot = (unsigned)((uintptr_t)route / 8 + (unsigned)status) % MD__COUNTERS;
    struct md__counters *counters = &exchange->worker->counters[slot];
    char code[16];
    const char *by_code[] = {route, method, code}, *by_route[] = {route};

    if (counters->status != status || counters->method != method ||
        strcmp(counters->route, route) != 0) {
        snprintf(code, sizeof code, "%d", status);
        snprintf(counters->route, sizeof counters->route, "%s", route);
        counters->method = method;
        counters->status = status;
        counters->requests = md_metric_get(http->requests, by_code);
        counters->seconds = md_metric_get(http->seconds, by_route);
    }
    return counters;
}

static void count_request(const struct md__exchange *exchange, int64_t now_ns)
{
    const struct md__counters *counters = counters_of(exchange);

    exchange->worker->served_ns = now_ns;
    md_metric_add(counters->requests, 1);
    md_metric_observe(counters->seconds, (double)(now_ns - exchange->begin_ns) / 1e9);
    md_log(MD_LOG_DEBUG, "http", "%s %s %s -> %d in %.1f ms", exchange->request.remote,
           exchange->request.method, exchange->request.path, exchange->status,
           (double)(now_ns - exchange->begin_ns) / 1e6);
}

void md__answer_end(struct md__exchange *exchange)
{
    int64_t now_ns = exchange->sent_ns;

    if (now_ns == 0) {
        now_ns = md_monotonic_ns(exchange->http->options.clock);
    }
    count_request(exchange, now_ns);
    if (exchange->trace.id != 0) {
        md_trace_enter(&exchange->trace);
        md_trace_end(&exchange->trace, now_ns, exchange->request.method, exchange->request.path,
                     exchange->status);
    }
    if (exchange->matched) {
        md_match_fini(&exchange->match);
    }
    if (exchange->bytes_held > 0) {
        atomic_fetch_sub(&exchange->http->bytes, exchange->bytes_held);
    }
    if (exchange->body.data != NULL) {
        md_buffer_fini(&exchange->body);
    }
    free(exchange->head_text);
}
