/*
 * Answers: status line, headers, compression. How the bytes get to the client is connection.c's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/internal.h"

static const char *reason_phrase(int status)
{
    static const struct {
        int status;
        const char *phrase;
    } phrases[] = {{200, "OK"},
                   {201, "Created"},
                   {202, "Accepted"},
                   {204, "No Content"},
                   {301, "Moved Permanently"},
                   {302, "Found"},
                   {304, "Not Modified"},
                   {400, "Bad Request"},
                   {401, "Unauthorized"},
                   {403, "Forbidden"},
                   {404, "Not Found"},
                   {405, "Method Not Allowed"},
                   {408, "Request Timeout"},
                   {409, "Conflict"},
                   {413, "Content Too Large"},
                   {414, "URI Too Long"},
                   {415, "Unsupported Media Type"},
                   {417, "Expectation Failed"},
                   {422, "Unprocessable Content"},
                   {429, "Too Many Requests"},
                   {431, "Request Header Fields Too Large"},
                   {499, "Client Closed Request"},
                   {500, "Internal Server Error"},
                   {501, "Not Implemented"},
                   {503, "Service Unavailable"},
                   {504, "Gateway Timeout"},
                   {505, "HTTP Version Not Supported"}};

    for (size_t i = 0; i < sizeof phrases / sizeof phrases[0]; i++) {
        if (phrases[i].status == status) {
            return phrases[i].phrase;
        }
    }
    return "Status";
}

bool md__response_header(struct md_response *response, const char *name, const char *value)
{
    struct md_header *header;

    if (response->header_count == MD_RESPONSE_HEADERS_MAX) {
        return false;
    }
    header = &response->headers[response->header_count];
    header->name = md_arena_strdup(&response->arena, name);
    header->value = md_arena_strdup(&response->arena, value);
    if (header->name == NULL || header->value == NULL) {
        return false;
    }
    response->header_count++;
    return true;
}

void md__response_json(struct md_response *response, int status)
{
    response->status = status;
    response->content_type = "application/json";
}

/* ---- compression ---- */

/* Does Accept-Encoding name gzip without q=0? */
static bool accepts_gzip(const struct md_request *request)
{
    const char *accept = md__header(request, "accept-encoding");

    while (accept != NULL && *accept != '\0') {
        size_t item = strcspn(accept, ",");
        if (strncasecmp(accept, "gzip", 4) == 0 && strchr("; \t,", accept[4]) != NULL) {
            char text[64];
            const char *quality;
            snprintf(text, sizeof text, "%.*s", (int)item, accept);
            quality = strstr(text, "q=");
            return quality == NULL || strtod(quality + 2, NULL) > 0;
        }
        accept += item;
        accept += strspn(accept, ", \t");
    }
    return false;
}

static bool is_text(const char *type)
{
    return type != NULL &&
           (strncmp(type, "text/", 5) == 0 || strncmp(type, "application/json", 16) == 0 ||
            strncmp(type, "application/javascript", 22) == 0);
}

/* Replaces the body by a compressed one when the client takes it and it pays. */
static void compress(const struct md__exchange *exchange, struct md_response *response)
{
    struct md__gzip *gzip = exchange->http->gzip;
    size_t length = response->blob ? response->blob->length : response->body.length;
    struct md_blob *packed;

    if (length < MD__GZIP_BYTES_MIN || !is_text(response->content_type) ||
        response->header_count + 2 > MD_RESPONSE_HEADERS_MAX) {
        return;
    }
    md__response_header(response, "Vary", "Accept-Encoding");
    if (!accepts_gzip(&exchange->request)) {
        return;
    }
    packed = response->blob ? md__gzip_blob(gzip, response->blob)
                            : md__gzip_bytes(gzip, response->body.data, length);
    if (packed != NULL && md__response_header(response, "Content-Encoding", "gzip")) {
        if (response->blob != NULL) {
            md_blob_unref(response->blob);
        }
        response->blob = packed;
    } else if (packed != NULL) {
        md_blob_unref(packed);
    }
}

/* ---- sending ---- */

/* "Sat, 21 Nov 2026 11:35:01 GMT" (RFC 9110, section 5.6.7), made once a second. */
static const char *date(struct md__worker *worker, int64_t now_ms)
{
    static const char days[][4] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct md_civil civil;

    if (worker->date[0] == '\0' || worker->date_s != now_ms / 1000) {
        md_civil_from_ms(now_ms, &civil);
        snprintf(worker->date, sizeof worker->date, "%s, %02d %s %04d %02d:%02d:%02d GMT",
                 days[civil.weekday], civil.day, months[civil.month - 1], civil.year, civil.hour,
                 civil.minute, civil.second);
        worker->date_s = now_ms / 1000;
    }
    return worker->date;
}

static void add_number(struct md_buffer *head, uint64_t number, unsigned base, int digits)
{
    char text[24];
    int at = sizeof text;

    do {
        text[--at] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number > 0 || (int)sizeof text - at < digits);
    md_buffer_append(head, text + at, sizeof text - (size_t)at);
}

static void add_header(struct md_buffer *head, const char *name, const char *value)
{
    md_buffer_text(head, name);
    md_buffer_append(head, ": ", 2);
    md_buffer_text(head, value);
    md_buffer_append(head, "\r\n", 2);
}

/* Without printf, which would cost as much as the rest of a short request's answer. */
void md__response_head(struct md__exchange *exchange, const struct md_response *response,
                       size_t length, struct md_buffer *head)
{
    const char *type = response->content_type ? response->content_type : "application/json";
    int64_t now_ms = md_now_ms(exchange->http->options.clock);
    bool bodyless = response->status == 204 || response->status == 304;

    md_buffer_text(head, "HTTP/1.1 ");
    add_number(head, (uint64_t)response->status, 10, 3);
    md_buffer_append(head, " ", 1);
    md_buffer_text(head, reason_phrase(response->status));
    md_buffer_append(head, "\r\n", 2);
    add_header(head, "Date", date(exchange->worker, now_ms));
    if (!bodyless) {
        add_header(head, "Content-Type", type);
    }
    if (!bodyless && length != MD__LENGTH_STREAM) {
        md_buffer_text(head, "Content-Length: ");
        add_number(head, length, 10, 1);
        md_buffer_append(head, "\r\n", 2);
    } else if (!bodyless && exchange->head.minor == 1) {
        add_header(head, "Transfer-Encoding", "chunked");
    }
    for (int i = 0; i < response->header_count; i++) {
        add_header(head, response->headers[i].name, response->headers[i].value);
    }
    md_buffer_text(head, "X-Request-Id: ");
    add_number(head, exchange->request.id, 16, 16);
    md_buffer_text(head, exchange->keep_alive ? "\r\nConnection: keep-alive\r\n\r\n"
                                              : "\r\nConnection: close\r\n\r\n");
}

void md__respond(struct md__exchange *exchange, struct md_response *response)
{
    struct md_buffer *head = &exchange->worker->head;
    const char *data;
    size_t length;
    bool is_kept = response->blob != NULL; /* a blob that a script may send again */
    int span = md_span_begin("write");

    if (!exchange->body_read) {
        md__exchange_close(exchange); /* what follows on this connection is the rest of the body */
    }
    md__cors_headers(exchange, response);
    compress(exchange, response);
    if (is_kept) {
        md__etag_answer(exchange, response);
    }
    data = response->blob ? response->blob->data : response->body.data;
    length = response->blob ? response->blob->length : response->body.length;
    exchange->status = response->status;
    md_buffer_clear(head);
    md__response_head(exchange, response, length, head);
    if (exchange->is_head || response->status == 204 || response->status == 304) {
        length = 0;
    }
    md_metric_add(exchange->http->bytes_out, (double)length);
    md__exchange_answer(exchange, head, response, data, length);
    exchange->sent_ns = md_span_end(span);
}

void md__respond_error(struct md__exchange *exchange, const struct md_error *err, int status,
                       const char *header_name, const char *header_value)
{
    struct md_response response;

    md_response_init(&response, 4096);
    md_response_error(&response, err);
    if (status != 0) {
        response.status = status;
    }
    if (header_name != NULL) {
        md__response_header(&response, header_name, header_value);
    }
    md__respond(exchange, &response);
    md_response_fini(&response);
}
