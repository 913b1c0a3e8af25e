/*
 * Event streams: the writer that script/ sends its events through (script.h: md_stream_writer).
 *
 * A stream holds its thread, so at most half of them may be streams. Events leave in chunks; while
 * its function sleeps, a comment now and then keeps proxies from closing the connection and finds
 * out that a client has gone, which its socket may also tell. A client that does not read for ten
 * seconds is cut. Draining closes all streams.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "http/internal.h"

void md__events_init(struct md__events *events, struct md__exchange *exchange)
{
    memset(events, 0, sizeof *events);
    events->exchange = exchange;
    events->wake_fd = -1;
}

static void close_for(void *context, const char *why)
{
    struct md__events *events = context;
    const char *open = NULL;
    uint64_t one = 1;

    atomic_compare_exchange_strong(&events->closed, &open, why);
    while (write(events->wake_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

void md__events_close_all(struct md_http *http, const char *why)
{
    pthread_mutex_lock(&http->streams_lock);
    for (struct md__events *events = http->streams; events != NULL; events = events->next) {
        close_for(events, why);
    }
    pthread_mutex_unlock(&http->streams_lock);
}

static enum md_status refuse(struct md_http *http, struct md_error *err)
{
    if (http->draining) {
        return md_fail(err, MD_ERR_UNAVAILABLE, "the service is shutting down");
    }
    return md_fail(err, MD_ERR_UNAVAILABLE, "all %d places for event streams are taken",
                   http->options.threads / 2);
}

/* With http->streams_lock held. */
static bool take_place(struct md__events *events)
{
    struct md_http *http = events->exchange->http;

    if (http->draining || http->stream_count >= http->options.threads / 2) {
        return false;
    }
    http->stream_count++;
    md_metric_set(http->streams_gauge, http->stream_count);
    events->next = http->streams;
    events->previous = &http->streams;
    if (events->next != NULL) {
        events->next->previous = &events->next;
    }
    http->streams = events;
    return true;
}

static enum md_status gone(const struct md__events *events, struct md_error *err)
{
    return md_fail(err, MD_ERR_CANCELLED, "the stream is closed: %s", events->closed);
}

/* One write of bytes that are framed already, under the time that a slow reader gets. */
static bool write_framed(struct md__events *events, const char *data, size_t length)
{
    struct md__exchange *exchange = events->exchange;
    struct md_http *http = exchange->http;
    int64_t now_ns = md_monotonic_ns(http->options.clock);
    bool sent = md__exchange_write(exchange, data, length, now_ns + MD__STREAM_NS_MAX);

    events->sent_ns = md_monotonic_ns(http->options.clock);
    md_metric_add(http->bytes_out, (double)length);
    return sent;
}

static void lose(struct md__events *events)
{
    events->lost = true;
    if (events->wake_fd >= 0) {
        close_for(events, "the client has gone or does not read");
    }
}

static enum md_status write_chunk(struct md__events *events, const char *data, size_t length,
                                  struct md_error *err)
{
    struct md_buffer chunk;
    bool sent;

    md_buffer_init(&chunk, 0);
    if (events->exchange->head.minor == 0) {
        md_buffer_append(&chunk, data, length);
    } else {
        md_buffer_printf(&chunk, "%zx\r\n", length);
        md_buffer_append(&chunk, data, length);
        md_buffer_text(&chunk, "\r\n");
    }
    sent = md_buffer_check(&chunk, NULL) == MD_OK && write_framed(events, chunk.data, chunk.length);
    md_buffer_fini(&chunk);
    if (!sent) {
        lose(events);
    }
    return sent ? MD_OK : gone(events, err);
}

/* ---- the writer ---- */

static void send_head(struct md__events *events, struct md_response *response)
{
    struct md__exchange *exchange = events->exchange;
    struct md_buffer *head = &exchange->worker->head;

    md__exchange_close(exchange);
    md__response_header(response, "Cache-Control", "no-cache");
    md__response_header(response, "X-Accel-Buffering", "no");
    md__cors_headers(exchange, response);
    events->keep_alive_ns = (int64_t)response->keep_alive_ms * 1000000;
    md_buffer_clear(head);
    md__response_head(exchange, response, MD__LENGTH_STREAM, head);
    exchange->status = response->status;
    if (!write_framed(events, head->data, head->length)) {
        lose(events);
    }
}

static enum md_status begin(void *context, struct md_response *response, struct md_error *err)
{
    struct md__events *events = context;
    struct md_http *http = events->exchange->http;
    bool taken;

    if (events->exchange->is_head) {
        send_head(events, response);
        return md_fail(err, MD_ERR_CANCELLED, "HEAD has no body");
    }
    events->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (events->wake_fd < 0) {
        return md_fail(err, MD_ERR_UNAVAILABLE, "too many files are open");
    }
    pthread_mutex_lock(&http->streams_lock);
    taken = take_place(events);
    pthread_mutex_unlock(&http->streams_lock);
    if (!taken) {
        close(events->wake_fd);
        return refuse(http, err);
    }
    send_head(events, response);
    return MD_OK;
}

static enum md_status check(void *context, struct md_error *err)
{
    const struct md__events *events = context;

    return events->closed == NULL ? MD_OK : gone(events, err);
}

static enum md_status send(void *context, const char *data, size_t length, struct md_error *err)
{
    struct md__events *events = context;
    enum md_status status = check(events, err);

    return status == MD_OK ? write_chunk(events, data, length, err) : status;
}

/* How long to sleep now: until the end, or until the next comment is due. */
static int64_t slice_ns(const struct md__events *events, int64_t now_ns, int64_t end_ns)
{
    int64_t left_ns = end_ns - now_ns, due_ns;

    if (events->keep_alive_ns <= 0) {
        return left_ns;
    }
    due_ns = events->sent_ns + events->keep_alive_ns - now_ns;
    due_ns = due_ns > 0 ? due_ns : 0;
    return left_ns < due_ns ? left_ns : due_ns;
}

static enum md_status wait(void *context, int64_t ns, struct md_error *err)
{
    static const char comment[] = ":\n\n";
    struct md__events *events = context;
    struct md_clock *clock = events->exchange->http->options.clock;
    int64_t now_ns = md_monotonic_ns(clock), end_ns = now_ns + ns;
    enum md_status status = check(events, err);

    while (status == MD_OK && now_ns < end_ns) {
        int64_t slice = slice_ns(events, now_ns, end_ns);
        if (slice > 0) {
            if (!md__exchange_wait(events->exchange, events->wake_fd, slice)) {
                lose(events);
            }
            status = check(events, err);
        } else {
            status = write_chunk(events, comment, sizeof comment - 1, err);
        }
        now_ns = md_monotonic_ns(clock);
    }
    return status;
}

static void end(void *context)
{
    static const char last[] = "0\r\n\r\n";
    struct md__events *events = context;
    struct md_http *http = events->exchange->http;

    pthread_mutex_lock(&http->streams_lock);
    *events->previous = events->next;
    if (events->next != NULL) {
        events->next->previous = events->previous;
    }
    md_metric_set(http->streams_gauge, --http->stream_count);
    pthread_mutex_unlock(&http->streams_lock);
    close(events->wake_fd);
    if (!events->lost && events->exchange->head.minor == 1) {
        write_framed(events, last, sizeof last - 1);
    }
}

const struct md_stream_writer md__stream_writer = {
    .begin = begin, .send = send, .wait = wait, .check = check, .close = close_for, .end = end};
