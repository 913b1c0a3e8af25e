/*
 * What a request must satisfy before anything looks at its meaning. A front proxy and we must
 * agree on where a request ends, so anything that two parsers could read differently is refused
 * and the connection closed (RFC 9112, section 6.3): both Content-Length and Transfer-Encoding,
 * repeated lengths, lengths that are not plain digits, encodings other than chunked.
 */
#include <string.h>
#include <strings.h>

#include "http/internal.h"

const char *md__header(const struct md_request *request, const char *name)
{
    for (int i = 0; i < request->header_count; i++) {
        const char *other = request->headers[i].name;
        if (other[0] == name[0] && strcmp(other, name) == 0) { /* most differ at once */
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

static int refuse(int status, struct md_error *err, const char *what, const char *value)
{
    md_fail(err, MD_ERR_INVALID, "%s \"%.32s\" is not supported", what, value);
    return status;
}

int md__request_check(struct md__exchange *exchange, struct md_error *err)
{
    const struct md_request *request = &exchange->request;
    const char *coding = md__header(request, "content-encoding");
    const char *expect = md__header(request, "expect");
    size_t length = strlen(request->path) + (request->query ? strlen(request->query) : 0);

    if (check_length(request, err) != MD_OK) {
        return 400;
    }
    if (count_headers(request, "host") > 1 ||
        (exchange->head.minor == 1 && md__header(request, "host") == NULL)) {
        md_fail(err, MD_ERR_INVALID, "there must be one Host header");
        return 400;
    }
    if (exchange->head.minor == 0 && exchange->chunked) {
        md_fail(err, MD_ERR_INVALID, "HTTP/1.0 has no Transfer-Encoding");
        return 400;
    }
    if (length > MD__URL_BYTES_MAX) {
        md_fail(err, MD_ERR_TOO_LARGE, "the URL has %zu bytes, the limit is %d", length,
                MD__URL_BYTES_MAX);
        return 414;
    }
    if (coding != NULL && strcasecmp(coding, "identity") != 0) {
        return refuse(415, err, "Content-Encoding", coding);
    }
    if (expect != NULL && strcasecmp(expect, "100-continue") != 0) {
        return refuse(417, err, "Expect", expect);
    }
    return 0;
}

/* ---- bodies ---- */

bool md__bytes_take(struct md_http *http, size_t bytes, bool input)
{
    size_t bytes_max = http->options.bytes_max;

    bytes_max -= input ? bytes_max / 4 : 0; /* what clients send leaves room for answers */
    if (atomic_fetch_add(&http->bytes, bytes) + bytes > bytes_max) {
        atomic_fetch_sub(&http->bytes, bytes);
        return false;
    }
    return true;
}

enum md_status md__exchange_hold(struct md__exchange *exchange, size_t bytes, bool input,
                                 struct md_error *err)
{
    if (!md__bytes_take(exchange->http, bytes, input)) {
        return md_fail(err, MD_ERR_UNAVAILABLE, "too many bytes are in flight");
    }
    exchange->bytes_held += bytes;
    return MD_OK;
}
