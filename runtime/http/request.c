/*
 * What a request must satisfy before anything looks at its meaning. A front proxy and we must
 * agree on where a request ends, so anything that two parsers could read differently is refused
 * and the connection closed (RFC 9112, section 6.3): both Content-Length and Transfer-Encoding,
 * repeated lengths, lengths that are not plain digits, encodings other than chunked.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/internal.h"

#define PIECE_BYTES       65536
#define DISCARD_BYTES_MAX ((size_t)64 << 20)
#define DISCARD_NS_MAX    2000000000

const char *md__header(const struct md_request *request, const char *name)
{
    for (int i = 0; i < request->header_count; i++) {
        if (strcmp(request->headers[i].name, name) == 0) {
            return request->headers[i].value;
        }
    }
    return NULL;
}

static int count_headers(const struct md_request *request, const char *name)
{
    int count = 0;

    for (int i = 0; i < request->header_count; i++) {
        count += strcmp(request->headers[i].name, name) == 0;
    }
    return count;
}

static enum md_status check_length(const struct md_request *request, struct md_error *err)
{
    const char *length = md__header(request, "content-length");
    const char *encoding = md__header(request, "transfer-encoding");

    if (length != NULL && encoding != NULL) {
        return md_fail(err, MD_ERR_INVALID, "both Content-Length and Transfer-Encoding are given");
    }
    if (count_headers(request, "content-length") > 1 ||
        count_headers(request, "transfer-encoding") > 1) {
        return md_fail(err, MD_ERR_INVALID, "the body's length is given more than once");
    }
    if (length != NULL && (length[0] == '\0' || strlen(length) > 18 ||
                           strspn(length, "0123456789") != strlen(length))) {
        return md_fail(err, MD_ERR_INVALID, "Content-Length is not a number of bytes");
    }
    if (encoding != NULL && strcasecmp(encoding, "chunked") != 0) {
        return md_fail(err, MD_ERR_INVALID, "Transfer-Encoding is not \"chunked\"");
    }
    return MD_OK;
}

enum md_status md__request_check(struct md__exchange *exchange, struct md_error *err)
{
    const struct md_request *request = &exchange->request;
    const char *coding = md__header(request, "content-encoding");
    size_t length = strlen(request->path) + (request->query ? strlen(request->query) : 0);
    enum md_status status = check_length(request, err);

    if (status != MD_OK) {
        return status;
    }
    if (!exchange->http_1_0 && count_headers(request, "host") != 1) {
        return md_fail(err, MD_ERR_INVALID, "there must be one Host header");
    }
    if (length > MD__URL_BYTES_MAX) {
        return md_fail(err, MD_ERR_TOO_LARGE, "the URL has %zu bytes, the limit is %d", length,
                       MD__URL_BYTES_MAX);
    }
    if (coding != NULL && strcasecmp(coding, "identity") != 0) {
        return md_fail(err, MD_ERR_INVALID, "Content-Encoding \"%.32s\" is not supported", coding);
    }
    return MD_OK;
}

/* ---- bodies ---- */

enum md_status md__exchange_hold(struct md__exchange *exchange, size_t bytes, struct md_error *err)
{
    struct md_http *http = exchange->http;

    if (atomic_fetch_add(&http->bytes, bytes) + bytes > http->options.bytes_max) {
        atomic_fetch_sub(&http->bytes, bytes);
        return md_fail(err, MD_ERR_UNAVAILABLE, "too many bytes are in flight");
    }
    exchange->bytes_held += bytes;
    return MD_OK;
}

static enum md_status refuse_size(size_t bytes_max, struct md_error *err)
{
    return md_fail(err, MD_ERR_TOO_LARGE, "the body is larger than the limit of %zu bytes",
                   bytes_max);
}

static enum md_status read_pieces(struct md__exchange *exchange, size_t bytes_max,
                                  struct md_error *err)
{
    struct md_buffer *body = &exchange->body;
    size_t left = exchange->chunked ? bytes_max + 1 : (size_t)exchange->content_length;
    int got = 1;

    while (left > 0) {
        size_t piece = left < PIECE_BYTES ? left : PIECE_BYTES;
        if (exchange->chunked) {
            enum md_status status = md__exchange_hold(exchange, piece, err);
            if (status != MD_OK) {
                return status;
            }
        }
        if (!md_buffer_reserve(body, piece)) {
            return md_buffer_check(body, err);
        }
        got = md__exchange_read(exchange, body->data + body->length, piece);
        if (got <= 0) {
            break;
        }
        body->length += (size_t)got;
        body->data[body->length] = '\0';
        left -= (size_t)got;
    }
    if (exchange->chunked ? got < 0 : left > 0) {
        return md_fail(err, MD_ERR_INVALID, "the body ends after %zu bytes, before its end",
                       body->length);
    }
    return body->length > bytes_max ? refuse_size(bytes_max, err) : MD_OK;
}

enum md_status md__request_read_body(struct md__exchange *exchange, size_t bytes_max,
                                     struct md_error *err)
{
    struct md_http *http = exchange->http;
    const char *expect = md__header(&exchange->request, "expect");
    enum md_status status = MD_OK;

    if (exchange->body_read) {
        return MD_OK;
    }
    if (exchange->content_length > (int64_t)bytes_max) {
        return refuse_size(bytes_max, err);
    }
    if (!exchange->chunked) {
        status = md__exchange_hold(exchange, (size_t)exchange->content_length, err);
    }
    if (status != MD_OK) {
        return status;
    }
    md__watch_begin(http->watch, &exchange->slow,
                    exchange->begin_ns + (int64_t)http->options.request_ms_max * 1000000);
    if (expect != NULL && strcasecmp(expect, "100-continue") == 0) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        md__exchange_write(exchange, go_on, sizeof go_on - 1);
    }
    status = read_pieces(exchange, bytes_max, err);
    exchange->body_read = status == MD_OK;
    md__watch_end(http->watch, &exchange->slow);
    exchange->request.body = exchange->body.length > 0 ? exchange->body.data : "";
    exchange->request.body_length = exchange->body.length;
    md_metric_add(http->bytes_in, (double)exchange->body.length);
    return status;
}

/*
 * Closing a connection with unread bytes resets it, and the reset can overtake the answer.
 * Clients that asked first (Expect: 100-continue) send nothing more.
 */
void md__request_discard_body(struct md__exchange *exchange)
{
    struct md_http *http = exchange->http;
    char piece[4096];
    size_t left = DISCARD_BYTES_MAX;

    if (md__header(&exchange->request, "expect") != NULL) {
        return;
    }
    md__watch_begin(http->watch, &exchange->slow,
                    md_monotonic_ns(http->options.clock) + DISCARD_NS_MAX);
    while (left > 0) {
        int got = md__exchange_read(exchange, piece, sizeof piece);
        if (got <= 0) {
            break;
        }
        left -= (size_t)got < left ? (size_t)got : left;
    }
    md__watch_end(http->watch, &exchange->slow);
}
