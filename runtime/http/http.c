/*
 * Life of the server: options with their defaults, the rule about open addresses, draining.
 */
#include "http/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http/connection.h"
#include "http/tls.h"

#define THREADS_MAX     4096
#define CONNECTIONS_MAX 1000000
#define FILES_SPARE     128
#define BACKLOG         1024

static int or_int(int value, int otherwise)
{
    return value != 0 ? value : otherwise;
}

static void set_defaults(struct md_http_options *options)
{
    options->threads = or_int(options->threads, 64);
    options->threads = options->threads < 2 * MD__RESERVED ? 2 * MD__RESERVED : options->threads;
    options->connections_max = or_int(options->connections_max, 10000);
    options->requests_max = or_int(options->requests_max, options->threads - MD__RESERVED);
    options->request_ms_max = or_int(options->request_ms_max, 30000);
    options->gzip_level = or_int(options->gzip_level, 1);
    options->body_bytes_max = options->body_bytes_max ? options->body_bytes_max : (size_t)8 << 20;
    options->response_bytes_max =
        options->response_bytes_max ? options->response_bytes_max : (size_t)64 << 20;
    options->bytes_max = options->bytes_max ? options->bytes_max : (size_t)512 << 20;
}

static const char *numeric_address(const char *address)
{
    return address == NULL || strcmp(address, "localhost") == 0 ? "127.0.0.1" : address;
}

/* Other addresses than this machine's own need a key, or somebody who says that they do not. */
static enum md_status check_open(const struct md_http_options *options,
                                 const struct sockaddr_in *address, struct md_error *err)
{
    if ((ntohl(address->sin_addr.s_addr) >> 24) == 127 || options->key_count > 0 ||
        options->insecure) {
        return MD_OK;
    }
    return md_fail(err, MD_ERR_INVALID,
                   "listening on %s needs an API key, or --insecure to do without",
                   options->address);
}

static enum md_status listen_on(struct md_http *http, int *listen_fd, struct md_error *err)
{
    const struct md_http_options *options = &http->options;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)options->port)};
    socklen_t size = sizeof address;
    int yes = 1, fd;

    if (options->port < 0 || options->port > 65535 ||
        inet_pton(AF_INET, options->address, &address.sin_addr) != 1) {
        return md_fail(err, MD_ERR_INVALID, "\"%s:%d\" is not an IPv4 address and port",
                       options->address, options->port);
    }
    if (check_open(options, &address, err) != MD_OK) {
        return err->code;
    }
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return md_fail(err, MD_ERR_IO, "cannot make a socket: %s", strerror(errno));
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        int problem = errno;
        close(fd);
        return md_fail(err, MD_ERR_IO, "cannot listen on %s:%d: %s", options->address,
                       options->port, strerror(problem));
    }
    http->port = ntohs(address.sin_port);
    *listen_fd = fd;
    return MD_OK;
}

/* Connections need descriptors: as many as the system lets us have, less some for files. */
static int connection_places(int wanted)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return wanted;
    }
    if (limit.rlim_cur < (rlim_t)wanted + FILES_SPARE && limit.rlim_cur < limit.rlim_max) {
        rlim_t enough = (rlim_t)wanted + FILES_SPARE;
        limit.rlim_cur = enough < limit.rlim_max ? enough : limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur > (rlim_t)wanted + FILES_SPARE) {
        return wanted;
    }
    return limit.rlim_cur > 2 * FILES_SPARE ? (int)limit.rlim_cur - FILES_SPARE : FILES_SPARE;
}

static struct md_metric *cut_metric(const char *reason)
{
    static const char *const by_reason[] = {"reason", NULL};
    const char *const labels[] = {reason};

    return md_metric_get(md_family_new(md_metrics_global(), MD_COUNTER,
                                       "moondial_http_connections_cut_total",
                                       "Connections closed for want of room (idle: the oldest one; "
                                       "refused: the new one) or time (slow)",
                                       by_reason, NULL, 0),
                         labels);
}

static void declare_metrics(struct md_http *http)
{
    static const char *const by_code[] = {"route", "method", "code", NULL};
    static const char *const by_route[] = {"route", NULL};
    struct md_metrics *metrics = md_metrics_global();

    http->requests = md_family_new(metrics, MD_COUNTER, "moondial_http_requests_total",
                                   "Requests answered", by_code, NULL, 0);
    http->seconds = md_family_new(metrics, MD_HISTOGRAM, "moondial_http_request_seconds",
                                  "From the request's header to the last byte of the answer",
                                  by_route, NULL, 0);
    http->streams_gauge = md_metric_get(md_family_new(metrics, MD_GAUGE, "moondial_http_streams",
                                                      "Open event streams", NULL, NULL, 0),
                                        NULL);
    http->cut_idle = cut_metric("idle");
    http->cut_slow = cut_metric("slow");
    http->refused = cut_metric("refused");
    http->bytes_in =
        md_metric_get(md_family_new(metrics, MD_COUNTER, "moondial_http_received_bytes_total",
                                    "Request bodies", NULL, NULL, 0),
                      NULL);
    http->bytes_out =
        md_metric_get(md_family_new(metrics, MD_COUNTER, "moondial_http_sent_bytes_total",
                                    "Answer bodies as sent", NULL, NULL, 0),
                      NULL);
}

static enum md_status start(struct md_http *http, struct md_error *err)
{
    const struct md_http_options *options = &http->options;
    enum md_status status = MD_OK;
    int listen_fd = -1;

    if (options->threads > THREADS_MAX) {
        return md_fail(err, MD_ERR_INVALID, "%d threads for HTTP are more than %d",
                       options->threads, THREADS_MAX);
    }
    if ((options->tls_certificate != NULL) != (options->tls_key != NULL)) {
        return md_fail(err, MD_ERR_INVALID, "HTTPS needs both a certificate and its key");
    }
    if (options->tls_certificate != NULL) {
        status = md__tls_context_new(options->tls_certificate, options->tls_key,
                                     md_now_ms(options->clock), &http->tls, err);
    }
    if (status == MD_OK) {
        status = listen_on(http, &listen_fd, err);
    }
    return status == MD_OK ? md__server_start(http, listen_fd, err) : status;
}

enum md_status md_http_new(const struct md_http_options *options, struct md_http **made,
                           struct md_error *err)
{
    struct md_http *http = calloc(1, sizeof *http);
    enum md_status status;

    if (http == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "out of memory for the HTTP server");
    }
    http->options = *options;
    set_defaults(&http->options);
    http->options.address = strdup(numeric_address(options->address));
    http->options.cors_origins = strdup(options->cors_origins ? options->cors_origins : "");
    http->started_ms = md_now_ms(options->clock);
    http->drawn = md__etag_draw(http->started_ms);
    pthread_mutex_init(&http->streams_lock, NULL);
    http->limits = md__ratelimit_new();
    http->gzip = md__gzip_new(http->options.gzip_level);
    declare_metrics(http);
    http->table = md__table_new(http, connection_places(http->options.connections_max));
    status = md__auth_init(&http->auth, options->keys, options->key_count, err);
    if (status == MD_OK && (http->options.address == NULL || http->options.cors_origins == NULL ||
                            http->limits == NULL || http->gzip == NULL || http->table == NULL)) {
        status = md_fail(err, MD_ERR_MEMORY, "out of memory for the HTTP server");
    }
    if (status == MD_OK) {
        status = start(http, err);
    }
    if (status != MD_OK) {
        md_http_delete(http);
        return status;
    }
    *made = http;
    return MD_OK;
}

int md_http_port(const struct md_http *http)
{
    return http->port;
}

static bool is_busy(const struct md_http *http)
{
    return http->in_flight > 0 || http->answers_pending > 0;
}

bool md_http_drain(struct md_http *http, int timeout_ms)
{
    const struct timespec pause = {.tv_nsec = 10 * 1000000};

    http->draining = true;
    md__events_close_all(http, "the service is shutting down");
    for (int waited_ms = 0; is_busy(http) && waited_ms < timeout_ms; waited_ms += 10) {
        nanosleep(&pause, NULL);
    }
    return !is_busy(http);
}

void md_http_delete(struct md_http *http)
{
    if (http == NULL) {
        return;
    }
    md__events_close_all(http, "the service ends");
    md__server_stop(http);
    md__table_delete(http->table);
    md__tls_context_delete(http->tls);
    md__gzip_delete(http->gzip);
    md__ratelimit_delete(http->limits);
    md__auth_fini(&http->auth);
    pthread_mutex_destroy(&http->streams_lock);
    free((void *)(uintptr_t)http->options.address);
    free((void *)(uintptr_t)http->options.cors_origins);
    free(http);
}
