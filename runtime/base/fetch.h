/*
 * HTTP client (libcurl), blocking: call it only from threads that may block (feed and notification
 * workers). Bodies are capped; only http and https; redirects are not followed.
 */
#ifndef MD_BASE_FETCH_H
#define MD_BASE_FETCH_H

#include "base/buffer.h"
#include "base/status.h"

struct md_fetch_request {
    const char *method; /* "GET", "POST", ... */
    const char *url;
    const char *const *headers; /* "Name: value", NULL-terminated; may be NULL */
    const void *body;
    size_t body_length;
    int timeout_ms;
    size_t response_bytes_max;
};

/* A transport failure is a status; an HTTP error status is a success with *http_status set. */
enum md_status md_fetch(const struct md_fetch_request *request, int *http_status,
                        struct md_buffer *response, struct md_error *err);

#endif
