/*
 * The HTTP server: HTTP/1.1 and HTTPS, event streams, limits, built-in routes.
 *
 * One request goes: hygiene (request.c) -> built-in route or the script's -> API key -> rate
 * limit -> a place among the requests in flight -> body under its cap -> the handler -> one
 * write. Built in are GET /health (liveness, with what is degraded), /ready (503 while starting
 * or draining), /metrics and /openapi.json; they need no key and keep places of their own, so
 * that an overloaded service can still be asked how it is.
 *
 * Errors are {"detail", "code"} with the status of the code. HEAD is answered as GET without the
 * body, OPTIONS from the route table.
 *
 * Connections are cheap: one that is idle or slow holds a place in a table, no thread and no
 * buffer. Handlers run on the server's own threads, one each while they run or wait.
 *
 * Threads: new, drain and delete belong to one owner.
 */
#ifndef MD_HTTP_HTTP_H
#define MD_HTTP_HTTP_H

#include <stdbool.h>

#include "base/clock.h"
#include "script/script.h"
#include "serve/serve.h"
#include "store/store.h"

struct md_http;

#define MD_HTTP_KEYS_MAX 16

struct md_http_key {
    const char *name; /* shown to scripts as request.key_name; "default" for the only one */
    const char *secret;
};

/* Zero means the default in parentheses. Strings are copied. */
struct md_http_options {
    struct md_clock *clock;
    struct md_script *script; /* may be NULL: built-in routes only */
    struct md_store *store;   /* may be NULL; its trouble shows in /health */
    struct md_serve *serve;   /* may be NULL; likewise its device */
    const char *address;      /* IPv4, or localhost ("127.0.0.1") */
    int port;                 /* 0: any free one, see md_http_port */
    bool insecure;            /* lets an address other than loopback do without an API key */
    struct md_http_key keys[MD_HTTP_KEYS_MAX];
    int key_count;
    const char *tls_certificate; /* PEM files; NULL: plain HTTP */
    const char *tls_key;
    int threads;               /* handlers and streams at a time, less 8 (64) */
    int connections_max;       /* open at a time (10,000, or what the limit of files allows) */
    int requests_max;          /* script requests in flight (threads - 8) */
    size_t body_bytes_max;     /* of a request, where the route says nothing (8 MiB) */
    size_t response_bytes_max; /* of an answer that a script builds (64 MiB) */
    size_t bytes_max;          /* request and response bytes in memory, all requests (512 MiB) */
    int request_ms_max;        /* handler deadline, and time to read or write one body (30,000) */
    const char *cors_origins;  /* comma list, or "*"; (none) */
    bool rate_limit_loopback;  /* limit clients on this machine as well */
    int gzip_level;            /* 1 .. 9 (1); negative: never compress */
};

/* Binds and answers at once; /ready says 503 until the script is ready. */
enum md_status md_http_new(const struct md_http_options *options, struct md_http **http,
                           struct md_error *err);
int md_http_port(const struct md_http *http);
/*
 * From now on new requests are refused with 503 and their connections closed. Waits up to
 * timeout_ms for those in flight; false when some are left. Health keeps answering.
 */
bool md_http_drain(struct md_http *http, int timeout_ms);
/* Stops listening and joins every thread. NULL is fine. */
void md_http_delete(struct md_http *http);

#endif
