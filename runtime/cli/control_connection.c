/*
 * One connection of the control socket: reads lines, runs requests, writes answers; see control.h.
 *
 * The connection's thread reads; the request in progress runs on a second one, which tells its end
 * through an eventfd, so that reading and waiting are one poll(). Requests that come meanwhile wait
 * in a short queue.
 *
 * Nothing here may depend on the good will of a peer. The socket does not block; writing has a
 * deadline, after which the connection is shut down, and everything else follows from that.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json_in.h"
#include "cli/control_internal.h"

enum {
    QUEUE_MAX = 4,       /* requests that wait */
    SEND_MS_MAX = 10000, /* to take one line */
    LINE_MS_MAX = 10000, /* to send the rest of a line that has begun */
    PIECE_BYTES = 65536,
};

void md__event_notify(int event)
{
    uint64_t one = 1;
    ssize_t written = write(event, &one, sizeof one);

    (void)written; /* fails only when the counter is full: it has been read then */
}

/* ---- writing ---- */

static bool send_all(int socket, const char *data, size_t length, int64_t end_ns)
{
    while (length > 0) {
        struct pollfd wait = {.fd = socket, .events = POLLOUT};
        int64_t left_ms = (end_ns - md_monotonic_ns(md_clock_system())) / 1000000;
        ssize_t sent = send(socket, data, length, MSG_NOSIGNAL);

        if (sent >= 0) {
            data += sent;
            length -= (size_t)sent;
        } else if (errno == EAGAIN) {
            if (left_ms <= 0 || (poll(&wait, 1, (int)left_ms) < 0 && errno != EINTR)) {
                return false;
            }
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

/* Takes over the reference. */
static void send_line(struct md__connection *connection, json_t *object)
{
    char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    int64_t end_ns = md_monotonic_ns(md_clock_system()) + SEND_MS_MAX * INT64_C(1000000);
    size_t length = text != NULL ? strlen(text) : 0;

    pthread_mutex_lock(&connection->lock);
    if (text != NULL) {
        text[length] = '\n'; /* instead of the NUL */
    }
    if (text == NULL || !send_all(connection->socket, text, length + 1, end_ns)) {
        shutdown(connection->socket, SHUT_RDWR);
    }
    pthread_mutex_unlock(&connection->lock);
    free(text);
    json_decref(object);
}

static void tell_failure(json_t *answer, const struct md_error *err)
{
    json_object_set_new(answer, "code", json_string(md_status_name(err->code)));
    json_object_set_new(answer, "detail", json_string(err->text));
}

static void send_failure(struct md__connection *connection, const struct md_error *err)
{
    json_t *answer = json_pack("{s:b}", "ok", 0);

    tell_failure(answer, err);
    send_line(connection, answer);
}

/* ---- the request in progress ---- */

void md__control_event(struct md_control_call *call, json_t *event)
{
    send_line(call->connection, event);
}

void md__control_on_cancel(struct md_control_call *call, void (*cancel)(void *data), void *data)
{
    struct md__connection *connection = call->connection;

    pthread_mutex_lock(&connection->lock);
    connection->cancel = cancel;
    connection->cancel_data = data;
    if (cancel != NULL && connection->cancelled) {
        cancel(data);
    }
    pthread_mutex_unlock(&connection->lock);
}

static void cancel_call(struct md__connection *connection)
{
    pthread_mutex_lock(&connection->lock);
    if (connection->running && !connection->cancelled) {
        connection->cancelled = true;
        if (connection->cancel != NULL) {
            connection->cancel(connection->cancel_data);
        }
    }
    pthread_mutex_unlock(&connection->lock);
}

static enum md_status find_op(const json_t *request, const struct md_control_op **op,
                              struct md_error *err)
{
    const char *name = json_string_value(json_object_get(request, "op"));

    if (name == NULL) {
        return md_fail(err, MD_ERR_INVALID, "a request is an object with an \"op\"");
    }
    for (*op = md__control_ops; (*op)->name != NULL; (*op)++) {
        if (strcmp((*op)->name, name) == 0) {
            return MD_OK;
        }
    }
    return md_fail(err, MD_ERR_NOT_FOUND, "this daemon has no op \"%.64s\"", name);
}

static void *run_call(void *argument)
{
    struct md__connection *connection = argument;
    const struct md_control_op *op = NULL;
    struct md_error err = {0};
    enum md_status status = find_op(connection->request, &op, &err);

    connection->call.result = json_object();
    if (status == MD_OK) {
        status = op->run(&connection->call, connection->request, &err);
    }
    json_object_set_new(connection->call.result, "ok", json_boolean(status == MD_OK));
    if (status != MD_OK) {
        tell_failure(connection->call.result, &err);
    }
    send_line(connection, connection->call.result);
    md__event_notify(connection->done);
    return NULL;
}

static void start_next(struct md__connection *connection)
{
    struct md_error err;

    if (connection->running || json_array_size(connection->queue) == 0) {
        return;
    }
    connection->request = json_incref(json_array_get(connection->queue, 0));
    json_array_remove(connection->queue, 0);
    pthread_mutex_lock(&connection->lock);
    connection->cancelled = false;
    connection->running = true;
    pthread_mutex_unlock(&connection->lock);
    if (pthread_create(&connection->runner, NULL, run_call, connection) != 0) {
        connection->running = false;
        md_fail(&err, MD_ERR_UNAVAILABLE, "cannot make a thread");
        send_failure(connection, &err);
        json_decref(connection->request);
    }
}

static void end_call(struct md__connection *connection)
{
    uint64_t count;
    ssize_t got = read(connection->done, &count, sizeof count);

    (void)got;
    pthread_join(connection->runner, NULL);
    pthread_mutex_lock(&connection->lock);
    connection->running = false;
    connection->cancel = NULL;
    pthread_mutex_unlock(&connection->lock);
    json_decref(connection->request);
}

/* ---- reading ---- */

/* Takes over the reference. False: this peer has been served enough. */
static bool take_request(struct md__connection *connection, json_t *request)
{
    const char *name = json_string_value(json_object_get(request, "op"));
    struct md_error err;

    if (name != NULL && strcmp(name, "interrupt") == 0) {
        cancel_call(connection);
        json_decref(request);
        return true;
    }
    if (json_array_size(connection->queue) == QUEUE_MAX) {
        json_decref(request);
        md_fail(&err, MD_ERR_TOO_LARGE, "more than %d requests are waiting", QUEUE_MAX);
        send_failure(connection, &err);
        return false;
    }
    return json_array_append_new(connection->queue, request) == 0;
}

static bool take_line(struct md__connection *connection, const char *line, size_t length)
{
    json_t *request;
    struct md_error err;

    if (length == 0 || (length == 1 && line[0] == '\r')) {
        return true;
    }
    if (md_json_parse(line, length, &request, &err) != MD_OK) {
        send_failure(connection, &err);
        return true;
    }
    return take_request(connection, request);
}

/* Cuts what has come into lines. False: give the connection up. */
static bool take_lines(struct md__connection *connection, size_t scanned)
{
    char *begin = connection->text, *end;
    char *limit = connection->text + connection->length;
    bool good = true;
    struct md_error err;

    while (good && (end = memchr(begin + scanned, '\n', (size_t)(limit - begin) - scanned))) {
        good = take_line(connection, begin, (size_t)(end - begin));
        begin = end + 1;
        scanned = 0;
    }
    connection->length = (size_t)(limit - begin);
    memmove(connection->text, begin, connection->length);
    if (good && connection->length > MD__CONTROL_LINE_MAX) {
        md_fail(&err, MD_ERR_TOO_LARGE, "a line may have %zu bytes", MD__CONTROL_LINE_MAX);
        send_failure(connection, &err);
        return false;
    }
    return good;
}

static bool make_room(struct md__connection *connection)
{
    size_t capacity = connection->capacity * 2 + PIECE_BYTES;
    char *text;

    if (connection->capacity - connection->length >= PIECE_BYTES) {
        return true;
    }
    text = realloc(connection->text, capacity);
    if (text != NULL) {
        connection->text = text;
        connection->capacity = capacity;
    }
    return text != NULL;
}

/* False: give the connection up. */
static bool receive(struct md__connection *connection)
{
    size_t before = connection->length;
    ssize_t got;

    if (!make_room(connection)) {
        return false;
    }
    got = recv(connection->socket, connection->text + before, PIECE_BYTES, 0);
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    if (got == 0) {
        connection->eof = true;
        return true;
    }
    connection->heard_ns = md_monotonic_ns(md_clock_system());
    if (before == 0) {
        connection->line_ns = connection->heard_ns;
    }
    connection->length += (size_t)got;
    if (!take_lines(connection, before)) {
        return false;
    }
    if (connection->length < before + (size_t)got) { /* what is left was begun just now */
        connection->line_ns = connection->heard_ns;
    }
    return true;
}

/* How long poll may wait for the rest of a line; -1: nothing was begun. */
static int line_ms_left(const struct md__connection *connection)
{
    int64_t age_ms = (md_monotonic_ns(md_clock_system()) - connection->line_ns) / 1000000;

    if (connection->length == 0 || connection->eof) {
        return -1;
    }
    return age_ms < LINE_MS_MAX ? (int)(LINE_MS_MAX - age_ms) : 0;
}

/* One turn; false: the connection is over. */
static bool serve_turn(struct md__connection *connection)
{
    struct pollfd waits[] = {
        {.fd = connection->socket, .events = connection->eof ? 0 : POLLIN},
        {.fd = connection->done, .events = POLLIN},
    };
    int left_ms = line_ms_left(connection);

    start_next(connection);
    if (connection->eof && !connection->running) {
        return false;
    }
    if (poll(waits, 2, left_ms) < 0) {
        return errno == EINTR;
    }
    if (waits[1].revents != 0) {
        end_call(connection);
    }
    if ((waits[0].revents & POLLIN) != 0 && !receive(connection)) {
        return false;
    }
    /* The line in progress is too slow, or nobody will ever read an answer. */
    return line_ms_left(connection) != 0 && (waits[0].revents & (POLLHUP | POLLERR)) == 0;
}

void *md__connection_serve(void *argument)
{
    struct md__connection *connection = argument;

    while (serve_turn(connection)) {
    }
    cancel_call(connection);
    if (connection->running) {
        end_call(connection);
    }
    if (connection->session.end != NULL) {
        connection->session.end(connection->session.data);
    }
    json_decref(connection->queue);
    free(connection->text);
    shutdown(connection->socket, SHUT_RDWR);
    connection->ended = true;
    md__event_notify(connection->wake);
    return NULL;
}
