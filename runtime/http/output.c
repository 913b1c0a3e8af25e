/*
 * Writing answers. Head and small body leave in one write, because two would meet Nagle's algorithm
 * and the client's delayed acknowledgement. What the client does not take at once is left with the
 * connection: a shared blob by reference, a body by taking it over, so that nothing large is
 * copied.
 */
#include <sys/epoll.h>

#include "http/connection.h"

#define ONE_WRITE_BYTES 16384  /* head and body are copied together up to this */
#define BYTES_PER_S_MIN 131072 /* a client that takes a large answer must take this much */

/* Writes until it is done or would wait; false: the connection is broken. */
static bool write_some(struct md__connection *connection, const char *data, size_t length,
                       size_t *at)
{
    while (*at < length) {
        ssize_t done = md__transport_write(connection, data + *at, length - *at, false);
        if (done == MD__AGAIN) {
            return true;
        }
        if (done < 0) {
            return false;
        }
        *at += (size_t)done;
    }
    return true;
}

/* What could not be sent at once: a blob is held, a body taken over. */
static void leave_body(struct md__connection *connection, struct md_response *response,
                       const char *data, size_t length, size_t at)
{
    if (response->blob != NULL) {
        connection->blob = md_blob_ref(response->blob);
        connection->blob_at = at;
    } else if (connection->out.length == 0) {
        md_buffer_fini(&connection->out);
        connection->out = response->body;
        connection->out_at = at;
        md_buffer_init(&response->body, 0);
    } else {
        md_buffer_append(&connection->out, data + at, length - at);
    }
}

void md__exchange_answer(struct md__exchange *exchange, struct md_buffer *head,
                         struct md_response *response, const char *data, size_t length)
{
    struct md__connection *connection = exchange->connection;
    size_t head_at = 0, at = 0;
    ssize_t done;

    if (head->length + length <= ONE_WRITE_BYTES) {
        md_buffer_append(head, data, length);
        length = 0;
    }
    done = md__transport_write(connection, head->data, head->length, length > 0);
    head_at = done > 0 ? (size_t)done : 0;
    exchange->broken = done == MD__BROKEN || head->failed != MD_OK;
    if (head_at < head->length) {
        md_buffer_append(&connection->out, head->data + head_at, head->length - head_at);
    } else if (!write_some(connection, data, length, &at)) {
        exchange->broken = true;
    }
    if (at < length && !exchange->broken) {
        leave_body(connection, response, data, length, at);
    }
    exchange->broken = exchange->broken || connection->out.failed != MD_OK;
}

bool md__output_flush(struct md__connection *connection, size_t *left)
{
    const struct md_blob *blob = connection->blob;
    size_t blob_length = blob != NULL ? blob->length : 0;

    if (!write_some(connection, connection->out.data, connection->out.length,
                    &connection->out_at) ||
        (connection->out_at == connection->out.length && blob != NULL &&
         !write_some(connection, blob->data, blob_length, &connection->blob_at))) {
        return false;
    }
    *left = connection->out.length - connection->out_at;
    *left += blob != NULL ? blob_length - connection->blob_at : 0;
    return true;
}

void md__output_clear(struct md__connection *connection)
{
    if (connection->out.data != NULL) {
        md_buffer_fini(&connection->out);
    }
    connection->out_at = 0;
    if (connection->blob != NULL) {
        md_blob_unref(connection->blob);
        connection->blob = NULL;
    }
    if (connection->pending) {
        connection->pending = false;
        connection->http->answers_pending--;
    }
}

/*
 * The client makes us wait: from now on the event loop tells when it reads. It is cut when it takes
 * nothing for the time of a request, and when all in all it is slower than BYTES_PER_S_MIN.
 */
bool md__output_wait(struct md__connection *connection, size_t left)
{
    struct md_http *http = connection->http;

    int64_t patience_ns = (int64_t)http->options.request_ms_max * 1000000;
    int64_t now_ns = md_monotonic_ns(http->options.clock);

    connection->exchange->sent_ns = 0;
    if (!connection->pending) {
        connection->pending = true;
        http->answers_pending++;
        connection->left = SIZE_MAX;
        connection->answer_until_ns =
            now_ns + patience_ns + (int64_t)(left / BYTES_PER_S_MIN) * 1000000000;
    }
    if (left < connection->left) {
        int64_t until_ns = now_ns + patience_ns;
        connection->left = left;
        connection->deadline_ns =
            until_ns < connection->answer_until_ns ? until_ns : connection->answer_until_ns;
    }
    if (!connection->polls_out) {
        connection->polls_out = true;
        return md__connection_watch(connection, EPOLL_CTL_MOD);
    }
    return true;
}
