/*
 * The way of a request through the server, in the order in which a check is cheapest and tells
 * the least: hygiene, built-in routes, routing, API key, rate limit, a place in flight, body,
 * handler. Every way out has answered exactly once.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "http/internal.h"

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

/* Answers what the server answers itself; false when that is not its path. */
static bool builtin(struct md__exchange *exchange, bool admin)
{
    char allow[MD__ALLOW_BYTES];
    const struct md__builtin *row = md__builtin_find(&exchange->request, admin, allow);

    if (row != NULL && authorize(exchange, false, admin)) {
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
    int limit = http->options.requests_max + (info->admin ? MD__RESERVED / 2 : 0);
    int now = ++http->in_flight;

    md_metric_set(http->in_flight_gauge, now);
    if (now <= limit && !http->draining) {
        return true;
    }
    md_fail(&err, MD_ERR_UNAVAILABLE, "%s",
            http->draining ? "the service is shutting down" : "too many requests are in flight");
    md__exchange_close(exchange);
    md__respond_error(exchange, &err, 0, "Retry-After", "1");
    md_metric_set(http->in_flight_gauge, --http->in_flight);
    return false;
}

static void leave(struct md_http *http)
{
    md_metric_set(http->in_flight_gauge, --http->in_flight);
}

/* ---- handling ---- */

static void send_response(struct md__exchange *exchange, struct md_response *response)
{
    struct md_error err;

    if (md__exchange_hold(exchange, response->body.capacity, &err) != MD_OK) {
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
    if (md_script_call(http->options.script, match, &exchange->request, &response, &err) != MD_OK) {
        md_log(MD_LOG_WARN, "http", "%s %s: %s", exchange->request.method, exchange->request.path,
               err.text);
    }
    if (exchange->status == 0) { /* otherwise it was a stream */
        send_response(exchange, &response);
    }
    md_response_fini(&response);
    md__events_fini(&events);
}

static void answer_route(struct md__exchange *exchange, const struct md_match *match)
{
    struct md_http *http = exchange->http;
    size_t body_max = match->route->body_bytes_max;
    struct md_error err = {0};
    int span = md_span_begin("auth");
    bool admitted = authorize(exchange, match->route->needs_key, match->route->admin) &&
                    pass_rate_limit(exchange, match->route) && enter(exchange, match->route);

    if (!admitted) {
        return; /* the stage ends with the request */
    }
    md_span_next(span, "read");
    body_max = body_max > 0 ? body_max : http->options.body_bytes_max;
    if (md__request_read_body(exchange, body_max, &err) == MD_OK) {
        md_span_next(span, "handle");
        run_handler(exchange, match);
    } else {
        md__respond_error(exchange, &err, 0, NULL, NULL);
    }
    md_span_end(span);
    leave(http);
}

static void count_request(const struct md__exchange *exchange)
{
    struct md_http *http = exchange->http;
    int64_t now_ns = md_monotonic_ns(http->options.clock);
    char code[8];
    const char *by_code[] = {exchange->route, exchange->request.method, code};
    const char *by_route[] = {exchange->route};

    snprintf(code, sizeof code, "%d", exchange->status);
    md_metric_add(md_metric_get(http->requests, by_code), 1);
    md_metric_observe(md_metric_get(http->seconds, by_route),
                      (double)(now_ns - exchange->begin_ns) / 1e9);
    md_log(MD_LOG_DEBUG, "http", "%s %s %s -> %d in %.1f ms", exchange->request.remote,
           exchange->request.method, exchange->request.path, exchange->status,
           (double)(now_ns - exchange->begin_ns) / 1e6);
}

static void answer_checked(struct md__exchange *exchange, int span)
{
    struct md_match match = {0};

    if (!route(exchange, &match)) {
        return;
    }
    md_span_end(span);
    answer_route(exchange, &match);
    md_match_fini(&match);
}

void md__answer(struct md__exchange *exchange)
{
    struct md_error err = {0};
    enum md_status status;
    int span;

    md_trace_begin(&exchange->trace, exchange->request.id, exchange->http->options.clock,
                   exchange->begin_ns);
    span = md_span_begin("check");
    status = md__request_check(exchange, &err);

    if (exchange->http->draining) {
        md__exchange_close(exchange);
    }
    if (status != MD_OK) {
        md__exchange_close(exchange);
        md__respond_error(exchange, &err, status == MD_ERR_TOO_LARGE ? 414 : 0, NULL, NULL);
    } else {
        md_span_next(span, "route");
        answer_checked(exchange, span);
    }
    if (!exchange->body_read) {
        md__request_discard_body(exchange);
    }
    count_request(exchange);
    md_trace_end(&exchange->trace, exchange->request.method, exchange->request.path,
                 exchange->status);
    atomic_fetch_sub(&exchange->http->bytes, exchange->bytes_held);
    md_buffer_fini(&exchange->body);
}
