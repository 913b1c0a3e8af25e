/*
 * HTTP client (libcurl), blocking: call it only from threads that may block (feed and notification
 * workers). Only http and https, over IPv4 or IPv6; certificates are verified, redirects are not
 * followed, bodies are capped, no signal is used. Safe from any number of threads.
 *
 * Error texts name scheme, host and port but neither path nor query, which may hold secrets.
 */
#ifndef MD_BASE_FETCH_H
#define MD_BASE_FETCH_H

#include "base/buffer.h"
#include "base/status.h"

struct md_fetch_request {
    const char *method; /* "GET", "POST", ...: upper-case letters */
    const char *url;
    const char *const *headers; /* "Name: value", NULL-terminated; may be NULL */
    const void *body;
    size_t body_length;
    int timeout_ms; /* for all of it: name, connection, request, answer; at least 1 */
    size_t response_bytes_max;
    const _Atomic bool *stop; /* optional: once true, the call ends within about a second */
    int64_t *retry_after_s;   /* optional: receives the answer's Retry-After, 0 without one */
};

/*
 * Appends the answer's body to `response`. An HTTP error status is a success with *http_status set.
 * Failures: MD_ERR_INVALID (method, URL, header), MD_ERR_TIMEOUT, MD_ERR_TOO_LARGE
 * (*http_status is set),
 * MD_ERR_CANCELLED, MD_ERR_MEMORY, and MD_ERR_IO for anything else on the way; `response` may then
 * hold a part.
 */
enum md_status md_fetch(const struct md_fetch_request *request, int *http_status,
                        struct md_buffer *response, struct md_error *err);

#endif
