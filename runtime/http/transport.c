/* Bytes of a socket that never blocks, plain or through TLS. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "http/connection.h"
#include "http/tls.h"

static ssize_t result(ssize_t done)
{
    if (done >= 0) {
        return done;
    }
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? MD__AGAIN : MD__BROKEN;
}

ssize_t md__transport_read(struct md__connection *connection, void *data, size_t size)
{
    if (connection->tls != NULL) {
        return md__tls_read(connection->tls, data, size);
    }
    return result(recv(connection->fd, data, size, 0));
}

ssize_t md__transport_write(struct md__connection *connection, const void *data, size_t length,
                            bool more)
{
    if (connection->tls != NULL) {
        return md__tls_write(connection->tls, data, length);
    }
    return result(send(connection->fd, data, length, MSG_NOSIGNAL | (more ? MSG_MORE : 0)));
}

void md__transport_shut_write(struct md__connection *connection)
{
    if (connection->tls != NULL) {
        md__tls_shut(connection->tls);
    }
    shutdown(connection->fd, SHUT_WR);
}

/* True when the socket became writable (or readable: TLS may need that) in time. */
static bool wait_writable(struct md__connection *connection, int64_t until_ns)
{
    int64_t left_ns = until_ns - md_monotonic_ns(connection->http->options.clock);
    short events =
        (short)(POLLOUT |
                (connection->tls != NULL && md__tls_wants_read(connection->tls) ? POLLIN : 0));
    struct pollfd item = {.fd = connection->fd, .events = events};

    return left_ns > 0 && poll(&item, 1, (int)(left_ns / 1000000) + 1) != 0;
}

bool md__transport_write_all(struct md__connection *connection, const void *data, size_t length,
                             int64_t until_ns)
{
    const char *at = data;

    while (length > 0) {
        ssize_t done = md__transport_write(connection, at, length, false);
        if (done == MD__BROKEN || (done == MD__AGAIN && !wait_writable(connection, until_ns))) {
            return false;
        }
        if (done > 0) {
            at += done;
            length -= (size_t)done;
        }
    }
    return true;
}
