/*
 * What happens on a connection: heads and bodies are read, requests answered, answers written, each
 * as far as it goes without waiting for the client. Whatever the client owes is waited for by the
 * event loop, so a slow client costs memory under a cap, never a thread.
 *
 * Input is read into the worker's buffer; what cannot be used yet when the client makes us wait is
 * kept on the heap, and an idle connection keeps nothing.
 */
#include "http/connection.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http/parse.h"
#include "http/tls.h"

#define SECOND           ((int64_t)1000000000)
#define HEAD_NS_MAX      (10 * SECOND) /* from the first byte of a head to its last */
#define IDLE_NS_MAX      (60 * SECOND) /* between requests */
#define LINGER_NS_MAX    (2 * SECOND)
#define LINGER_BYTES_MAX ((size_t)64 << 20)
#define BODY_PIECE_BYTES 262144

enum step { STEP_NEXT, STEP_WAIT, STEP_END };

struct input {
    char *data;
    size_t at, length;
};

static int64_t now_ns(const struct md__connection *connection)
{
    return md_monotonic_ns(connection->http->options.clock);
}

/* ---- memory ---- */

static bool hold(struct md__connection *connection, size_t bytes)
{
    if (!md__bytes_take(connection->http, bytes, true)) {
        return false;
    }
    connection->bytes_held += bytes;
    return true;
}

static void drop_kept(struct md__connection *connection)
{
    free(connection->kept);
    connection->kept = NULL;
    connection->kept_length = 0;
    atomic_fetch_sub(&connection->http->bytes, connection->bytes_held);
    connection->bytes_held = 0;
}

/* Keeps what is left of the input until there is more. */
static bool keep(struct md__connection *connection, const struct input *input)
{
    size_t length = input->length - input->at;

    if (length == 0) {
        return true;
    }
    if (!hold(connection, length) || (connection->kept = malloc(length)) == NULL) {
        return false;
    }
    memcpy(connection->kept, input->data + input->at, length);
    connection->kept_length = length;
    return true;
}

static void recall(struct md__connection *connection, struct input *input)
{
    if (connection->kept != NULL) {
        memcpy(input->data, connection->kept, connection->kept_length);
        input->length = connection->kept_length;
        drop_kept(connection);
    }
}

/* ---- reading ---- */

/* What a read of `got` of `size` bytes tells about the socket. */
static enum step after_read(struct md__connection *connection, ssize_t got, size_t size)
{
    if (got > 0) {
        connection->drained = connection->tls == NULL && (size_t)got < size && !connection->ended;
        return STEP_NEXT;
    }
    if (got == MD__AGAIN) {
        connection->drained = true;
        connection->ended = false;
        return STEP_WAIT;
    }
    return STEP_END;
}

/* More bytes behind those that the input has. */
static enum step read_more(struct md__connection *connection, struct input *input)
{
    enum step step;
    size_t room;
    ssize_t got;

    if (connection->drained) {
        return STEP_WAIT;
    }
    if (input->at > 0) {
        input->length -= input->at;
        memmove(input->data, input->data + input->at, input->length);
        input->at = 0;
    }
    room = MD__INPUT_BYTES - input->length;
    got = md__transport_read(connection, input->data + input->length, room);
    step = after_read(connection, got, room);
    input->length += got > 0 ? (size_t)got : 0;
    return step;
}

/* ---- heads ---- */

static struct md__exchange *exchange_new(struct md__worker *worker,
                                         struct md__connection *connection)
{
    struct md__exchange *exchange = worker->spare;

    worker->spare = NULL;
    if (exchange == NULL && (exchange = malloc(sizeof *exchange)) == NULL) {
        return NULL;
    }
    md__exchange_init(exchange, connection->http);
    exchange->connection = connection;
    exchange->worker = worker;
    exchange->loopback = connection->loopback;
    exchange->request.remote = connection->remote;
    connection->exchange = exchange;
    return exchange;
}

static void exchange_end(struct md__worker *worker, struct md__connection *connection)
{
    struct md__exchange *exchange = connection->exchange;

    if (exchange == NULL) {
        return;
    }
    connection->exchange = NULL;
    exchange->worker = worker; /* it may have begun on another thread */
    md__answer_end(exchange);
    if (worker->spare == NULL) {
        worker->spare = exchange;
    } else {
        free(exchange);
    }
}

/* No more keep-alive: what follows the head cannot be trusted. */
static enum step refuse(struct md__worker *worker, struct md__connection *connection, int status,
                        const struct md_error *err)
{
    struct md__exchange *exchange =
        connection->exchange != NULL ? connection->exchange : exchange_new(worker, connection);

    if (exchange == NULL) {
        return STEP_END;
    }
    exchange->worker = worker;
    md__exchange_close(exchange);
    md__respond_error(exchange, err, status, NULL, NULL);
    connection->phase = MD__PHASE_ANSWER;
    return STEP_NEXT;
}

static enum step refuse_bytes(struct md__worker *worker, struct md__connection *connection,
                              bool too_large)
{
    struct md_error err;

    if (too_large) {
        md_fail(&err, MD_ERR_TOO_LARGE, "the request's head is larger than %d bytes",
                MD__HEAD_BYTES_MAX);
    } else {
        md_fail(&err, MD_ERR_INVALID, "this is no HTTP request");
    }
    return refuse(worker, connection, too_large ? 431 : 400, &err);
}

static enum step run(struct md__worker *worker, struct md__connection *connection)
{
    connection->exchange->worker = worker;
    connection->deadline_ns = 0;
    md__answer_run(connection->exchange);
    connection->phase = MD__PHASE_ANSWER;
    return STEP_NEXT;
}

/* The head of `length` bytes is complete. */
static enum step begin(struct md__worker *worker, struct md__connection *connection,
                       struct input *input, size_t length)
{
    struct md__exchange *exchange = exchange_new(worker, connection);
    char *text = input->data + input->at;
    struct md_error err;
    int status, span;

    if (exchange == NULL) {
        return STEP_END;
    }
    connection->idle = false;
    connection->scanned = 0;
    input->at += length;
    span = md_span_begin("parse");
    status = md__head_parse(text, length, &exchange->head, &err);
    md_span_end(span);
    if (status != 0) {
        return refuse(worker, connection, status, &err);
    }
    md__exchange_take_head(exchange);
    if (!md__answer_begin(exchange)) {
        connection->phase = MD__PHASE_ANSWER;
        return STEP_NEXT;
    }
    if (exchange->body_read) {
        return run(worker, connection);
    }
    connection->phase = MD__PHASE_BODY;
    connection->deadline_ns =
        exchange->begin_ns + (int64_t)connection->http->options.request_ms_max * 1000000;
    if (input->at == input->length && !md__exchange_continue(exchange)) {
        return STEP_END;
    }
    return md__exchange_own_head(exchange, text, length) ? STEP_NEXT : STEP_END;
}

static void skip_blank_lines(struct md__connection *connection, struct input *input)
{
    while (input->length - input->at >= 2 && input->data[input->at] == '\r' &&
           input->data[input->at + 1] == '\n') {
        input->at += 2;
        connection->scanned = 0;
    }
}

static enum step read_head(struct md__worker *worker, struct md__connection *connection,
                           struct input *input)
{
    enum step step;

    do {
        skip_blank_lines(connection, input);
        const char *text = input->data + input->at;
        size_t length = input->length - input->at;
        long end = 0;
        if (length > 0) {
            bool strange = !md__is_token_byte(text[0]) && (text[0] != '\r' || length > 1);
            end = strange ? -1 : md__head_end(text, length, &connection->scanned);
        }
        if (end > MD__HEAD_BYTES_MAX || (end == 0 && length > MD__HEAD_BYTES_MAX)) {
            return refuse_bytes(worker, connection, true);
        }
        if (end != 0) {
            return end > 0 ? begin(worker, connection, input, (size_t)end)
                           : refuse_bytes(worker, connection, false);
        }
        step = read_more(connection, input);
    } while (step == STEP_NEXT);
    return step;
}

/* ---- bodies ---- */

static enum step cut_body(struct md__worker *worker, struct md__connection *connection)
{
    struct md_error err;

    md_fail(&err, MD_ERR_INVALID, "the body ends after %zu bytes, before its end",
            connection->exchange->body.length);
    return refuse(worker, connection, 0, &err);
}

/* Straight into the body, whose length is known. */
static enum step read_sized(struct md__worker *worker, struct md__connection *connection,
                            struct input *input)
{
    struct md__exchange *exchange = connection->exchange;
    struct md_buffer *body = &exchange->body;
    size_t left = (size_t)exchange->content_length - body->length;
    size_t have = input->length - input->at < left ? input->length - input->at : left;
    enum step step = STEP_NEXT;
    struct md_error err;
    ssize_t got;

    md_buffer_append(body, input->data + input->at, have);
    input->at += have;
    left -= have;
    while (left > 0 && step == STEP_NEXT && !connection->drained) {
        size_t piece = left < BODY_PIECE_BYTES ? left : BODY_PIECE_BYTES;
        if (!md_buffer_reserve(body, piece)) {
            md_buffer_check(body, &err);
            return refuse(worker, connection, 0, &err);
        }
        got = md__transport_read(connection, body->data + body->length, piece);
        step = after_read(connection, got, piece);
        body->length += got > 0 ? (size_t)got : 0;
        left -= got > 0 ? (size_t)got : 0;
    }
    if (left == 0) {
        return run(worker, connection);
    }
    return step == STEP_END ? cut_body(worker, connection) : STEP_WAIT;
}

static enum step read_chunked(struct md__worker *worker, struct md__connection *connection,
                              struct input *input)
{
    struct md__exchange *exchange = connection->exchange;
    struct md_error err;
    enum step step;

    for (;;) {
        size_t length = input->length - input->at, used = 0;
        enum md_status status = md__exchange_hold(exchange, length, true, &err);
        if (status == MD_OK) {
            status = md__chunks_feed(&exchange->chunks, input->data + input->at, length, &used,
                                     &exchange->body, exchange->body_bytes_max, &err);
        }
        if (status != MD_OK) {
            return refuse(worker, connection, 0, &err);
        }
        input->at += used;
        if (exchange->chunks.done) {
            return run(worker, connection);
        }
        step = read_more(connection, input);
        if (step != STEP_NEXT) {
            return step == STEP_END ? cut_body(worker, connection) : step;
        }
    }
}

/* ---- answers ---- */

/* The answer has been sent. */
static enum step finish(struct md__worker *worker, struct md__connection *connection,
                        const struct input *input)
{
    const struct md__exchange *exchange = connection->exchange;
    bool close = !exchange->keep_alive;
    bool quiet = !exchange->head.keep_alive && exchange->body_read && input->at == input->length;

    md__output_clear(connection);
    exchange_end(worker, connection);
    connection->deadline_ns = 0;
    connection->phase = MD__PHASE_HEAD;
    if (!close) {
        return STEP_NEXT;
    }
    md__transport_shut_write(connection);
    if (quiet) { /* the client asked for this end: nothing more will come */
        return STEP_END;
    }
    connection->phase = MD__PHASE_LINGER;
    connection->deadline_ns = now_ns(connection) + LINGER_NS_MAX;
    connection->lingered = 0;
    return STEP_NEXT;
}

static enum step write_answer(struct md__worker *worker, struct md__connection *connection,
                              const struct input *input)
{
    size_t left;

    if (connection->exchange->broken || !md__output_flush(connection, &left)) {
        return STEP_END;
    }
    if (left > 0) {
        return md__output_wait(connection, left) ? STEP_WAIT : STEP_END;
    }
    return finish(worker, connection, input);
}

static enum step linger(struct md__connection *connection, struct input *input)
{
    enum step step;

    do {
        connection->lingered += input->length - input->at;
        input->at = input->length = 0;
        if (connection->lingered > LINGER_BYTES_MAX) {
            return STEP_END;
        }
        step = read_more(connection, input);
    } while (step == STEP_NEXT);
    return step;
}

/* ---- the life of a connection ---- */

/* Until the client owes us something (STEP_WAIT) or it is over (STEP_END). */
static enum step advance(struct md__worker *worker, struct md__connection *connection,
                         struct input *input)
{
    enum step step = STEP_NEXT;

    while (step == STEP_NEXT) {
        switch (connection->phase) {
        case MD__PHASE_HEAD:
            step = read_head(worker, connection, input);
            break;
        case MD__PHASE_BODY:
            step = connection->exchange->chunked ? read_chunked(worker, connection, input)
                                                 : read_sized(worker, connection, input);
            break;
        case MD__PHASE_ANSWER:
            step = write_answer(worker, connection, input);
            break;
        case MD__PHASE_LINGER:
            step = linger(connection, input);
            break;
        }
    }
    return step;
}

/* A head has its own time, which begins with its first byte and is not prolonged by others. */
static void set_head_deadline(struct md__connection *connection, bool some, int64_t served_ns)
{
    bool was_idle = connection->idle;

    if (some && (was_idle || connection->deadline_ns == 0)) {
        connection->idle = false;
        connection->deadline_ns = now_ns(connection) + HEAD_NS_MAX;
    } else if (!some) {
        connection->deadline_ns = (served_ns != 0 ? served_ns : now_ns(connection)) + IDLE_NS_MAX;
        connection->idle = true;
    }
}

void md__connection_advance(struct md__worker *worker, struct md__connection *connection)
{
    struct input input = {.data = worker->input};

    for (;;) {
        enum step step;
        connection->drained = false;
        worker->served_ns = 0;
        input.at = input.length = 0;
        recall(connection, &input);
        step = advance(worker, connection, &input);
        if (step == STEP_END || !keep(connection, &input)) {
            md__connection_close(worker, connection);
            return;
        }
        if (connection->phase == MD__PHASE_HEAD) {
            set_head_deadline(connection, connection->kept != NULL, worker->served_ns);
        }
        if (md__table_release(connection)) {
            return;
        }
        connection->ended = true; /* for all we know */
    }
}

void md__connection_expire(struct md__worker *worker, struct md__connection *connection)
{
    struct md_error err;
    bool cut = connection->phase != MD__PHASE_LINGER && !connection->idle;

    if (cut) {
        md_metric_add(connection->http->cut_slow, 1);
    }
    if (cut && connection->phase != MD__PHASE_ANSWER) {
        md_fail(&err, MD_ERR_TIMEOUT, "the request did not arrive in time");
        refuse(worker, connection, 408, &err);
    }
    md__connection_close(worker, connection);
}

void md__connection_close(struct md__worker *worker, struct md__connection *connection)
{
    int fd = connection->fd;

    exchange_end(worker, connection);
    md__output_clear(connection);
    drop_kept(connection);
    md__tls_delete(connection->tls);
    connection->tls = NULL;
    connection->fd = -1;
    connection->idle = false;
    connection->deadline_ns = 0;
    connection->http->connections--;
    close(fd);
    md__table_give(connection->http->table, connection);
}
