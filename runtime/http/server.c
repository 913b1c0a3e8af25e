/*
 * The only file that talks to civetweb. It serves sockets, threads and the parsing of request
 * lines and headers; every request is taken in the begin_request callback, before any of
 * civetweb's own handling (files, CORS, CGI, authentication) can begin. No document root is ever
 * set.
 *
 * One thread serves one connection for as long as it is kept alive. When threads run short,
 * answers close their connections, so that idle clients make room.
 */
#include <civetweb.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/log.h"
#include "http/internal.h"

#define IDLE_MS_MAX      "5000"  /* keep-alive without a request */
#define HEADER_MS_MAX    "5000"  /* a header in all; a body or an answer that does not move */
#define HEADER_BYTES_MAX "32768"

/* ---- exchanges ---- */

int md__exchange_read(struct md__exchange *exchange, void *data, size_t size)
{
    return mg_read(exchange->connection, data, size);
}

bool md__exchange_write(struct md__exchange *exchange, const void *data, size_t length)
{
    return length == 0 || mg_write(exchange->connection, data, length) == (int)length;
}

void md__exchange_close(struct md__exchange *exchange)
{
    if (exchange->keep_alive) {
        exchange->keep_alive = false;
        mg_disable_connection_keep_alive(exchange->connection);
    }
}

/* Mirrors what civetweb will decide, because our header has to say it. */
static bool wants_keep_alive(const struct mg_connection *connection,
                             const struct mg_request_info *info)
{
    const char *header = mg_get_header(connection, "Connection");

    if (header != NULL) {
        return strcasestr(header, "keep-alive") != NULL;
    }
    return strcmp(info->http_version, "1.1") == 0;
}

/* False when there are too many: civetweb leaves out what does not fit, and that may be the body's
 * length. */
static bool copy_headers(struct md__exchange *exchange, const struct mg_request_info *info)
{
    size_t used = 0;

    if (info->num_headers >= MD__HEADERS_MAX) {
        return false;
    }
    for (int i = 0; i < info->num_headers; i++) {
        size_t length = strlen(info->http_headers[i].name);
        char *name = exchange->header_text + used;
        if (used + length + 1 > sizeof exchange->header_text) {
            return false;
        }
        for (size_t k = 0; k <= length; k++) {
            name[k] = (char)tolower((unsigned char)info->http_headers[i].name[k]);
        }
        used += length + 1;
        exchange->headers[i] =
            (struct md_header){.name = name, .value = info->http_headers[i].value};
    }
    exchange->request.header_count = info->num_headers;
    return true;
}

static void exchange_init(struct md__exchange *exchange, struct md_http *http,
                          struct mg_connection *connection, const struct mg_request_info *info)
{
    memset(exchange, 0, offsetof(struct md__exchange, headers));
    exchange->http = http;
    exchange->connection = connection;
    exchange->request = (struct md_request){
        .method = info->request_method,
        .path = info->local_uri_raw,
        .query = info->query_string,
        .remote = info->remote_addr,
        .headers = exchange->headers,
        .body = "",
        .id = ++http->ids,
    };
    exchange->chunked = false;
    exchange->content_length = -1;
    exchange->head = strcmp(info->request_method, "HEAD") == 0;
    if (exchange->head) {
        exchange->request.method = "GET";
    }
    exchange->loopback =
        strncmp(info->remote_addr, "127.", 4) == 0 || strcmp(info->remote_addr, "::1") == 0;
    exchange->keep_alive = wants_keep_alive(connection, info);
    exchange->http_1_0 = strcmp(info->http_version, "1.0") == 0;
    exchange->bytes_held = 0;
    exchange->route = "other";
    exchange->status = 0;
    exchange->begin_ns = md_monotonic_ns(http->options.clock);
    snprintf(exchange->slow.remote, sizeof exchange->slow.remote, "%s", info->remote_addr);
    exchange->slow.remote_port = info->remote_port;
    exchange->slow.local_port = info->server_port;
    md_buffer_init(&exchange->body, 0);
}

static int begin_request(struct mg_connection *connection)
{
    struct md_http *http = mg_get_user_data(mg_get_context(connection));
    const struct mg_request_info *info = mg_get_request_info(connection);
    struct md__exchange exchange;
    const char *encoding;

    exchange_init(&exchange, http, connection, info);
    if (http->connections > http->options.threads - MD__RESERVED) {
        md__exchange_close(&exchange);
    }
    exchange.body_read = true;
    if (!copy_headers(&exchange, info)) {
        struct md_error err;
        md_fail(&err, MD_ERR_TOO_LARGE,
                "more than %d header fields, or their names are longer than %d bytes",
                MD__HEADERS_MAX - 1, MD__HEADER_TEXT);
        md__exchange_close(&exchange);
        md__respond_error(&exchange, &err, 431, NULL, NULL);
        return 431;
    }
    encoding = md__header(&exchange.request, "transfer-encoding");
    exchange.chunked = encoding != NULL && strcasecmp(encoding, "chunked") == 0;
    if (!exchange.chunked && md__header(&exchange.request, "content-length") != NULL) {
        exchange.content_length = info->content_length;
    }
    exchange.body_read = !exchange.chunked && exchange.content_length <= 0;
    md__answer(&exchange);
    return exchange.status > 0 ? exchange.status : 500;
}

/* ---- what civetweb refuses by itself ---- */

/*
 * Requests that civetweb could not parse never become exchanges; they are told so in our form. A
 * method it does not know is one of them.
 */
static int http_error(struct mg_connection *connection, int status, const char *message)
{
    const struct mg_request_info *info = mg_get_request_info(connection);
    bool method = status == 400 && info != NULL && info->request_method != NULL &&
                  info->http_version != NULL && strcmp(message, "Bad request") == 0 &&
                  strncmp(info->http_version, "1.", 2) == 0 && info->num_headers == 0;
    char body[256], answer[512];
    const char *detail = message, *code = "INVALID_ARGUMENT", *phrase = "Bad Request";

    if (method) {
        status = 405;
        detail = "this method is not known";
        code = "METHOD_NOT_ALLOWED";
        phrase = "Method Not Allowed";
    } else if (strcmp(message, "Malformed message") == 0) {
        detail = "the request's header is malformed, cut, too slow or larger than " HEADER_BYTES_MAX
                 " bytes";
    }
    snprintf(body, sizeof body, "{\"detail\":\"%.120s\",\"code\":\"%s\"}",
             strpbrk(detail, "\"\\") == NULL ? detail : "malformed request", code);
    snprintf(answer, sizeof answer,
             "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
             "Connection: close\r\n\r\n%s",
             status, phrase, strlen(body), body);
    mg_write(connection, answer, strlen(answer));
    return 0;
}

static int log_message(const struct mg_connection *connection, const char *message)
{
    (void)connection;
    md_log(MD_LOG_DEBUG, "http", "%s", message);
    return 1;
}

static int init_connection(const struct mg_connection *connection, void **data)
{
    struct md_http *http = mg_get_user_data(mg_get_context(connection));

    *data = NULL;
    http->connections++;
    return 0;
}

static void connection_closed(const struct mg_connection *connection)
{
    struct md_http *http = mg_get_user_data(mg_get_context(connection));

    http->connections--;
}

/* ---- life ---- */

static void start_civetweb(struct md_http *http)
{
    static const struct mg_callbacks callbacks = {
        .begin_request = begin_request,
        .http_error = http_error,
        .log_message = log_message,
        .init_connection = init_connection,
        .connection_closed = connection_closed,
    };
    char ports[64], threads[16];
    /* clang-format off */
    const char *options[] = {
        "listening_ports", ports,
        "num_threads", threads,
        "enable_keep_alive", "yes",
        "keep_alive_timeout_ms", IDLE_MS_MAX,
        "request_timeout_ms", HEADER_MS_MAX,
        "max_request_size", HEADER_BYTES_MAX,
        "tcp_nodelay", "1",
        "connection_queue", "128",
        "listen_backlog", "512",
        "decode_url", "no",
        "enable_auth_domain_check", "no",
        "enable_directory_listing", "no",
        NULL,
    };
    /* clang-format on */

    snprintf(ports, sizeof ports, "%s:%d", http->options.address, http->options.port);
    snprintf(threads, sizeof threads, "%d", http->options.threads);
    http->context = mg_start(&callbacks, http, options);
}

enum md_status md__server_start(struct md_http *http, struct md_error *err)
{
    struct mg_server_port bound[4];

    mg_init_library(0);
    start_civetweb(http);
    if (http->context == NULL) {
        mg_exit_library();
        return md_fail(err, MD_ERR_IO, "cannot serve on %s:%d", http->options.address,
                       http->options.port);
    }
    if (mg_get_server_ports(http->context, 4, bound) > 0) {
        http->port = bound[0].port;
    }
    return MD_OK;
}

void md__server_stop(struct md_http *http)
{
    if (http->context != NULL) {
        md__watch_shut_port(http->port); /* civetweb's threads sleep up to 2 s otherwise */
        mg_stop(http->context);
        mg_exit_library();
        http->context = NULL;
    }
}
