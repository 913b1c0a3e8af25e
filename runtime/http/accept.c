/* New clients: a place in the table, a name for logs and limits, and the event loop's attention. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/connection.h"
#include "http/tls.h"

#define IDLE_NS_MAX ((int64_t)30000000000) /* a new connection that says nothing */

static bool open_connection(struct md__connection *connection, int fd,
                            const struct sockaddr_in *peer)
{
    struct md_http *http = connection->http;
    int yes = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    inet_ntop(AF_INET, &peer->sin_addr, connection->remote, sizeof connection->remote);
    connection->loopback = (ntohl(peer->sin_addr.s_addr) >> 24) == 127;
    connection->phase = MD__PHASE_HEAD;
    connection->scanned = 0;
    connection->ended = false;
    connection->polls_out = http->tls != NULL; /* handshakes write in their reads */
    connection->fd = fd;
    http->connections++;
    connection->deadline_ns = md_monotonic_ns(http->options.clock) + IDLE_NS_MAX;
    connection->idle = true;
    if (http->tls != NULL && (connection->tls = md__tls_new(http->tls, fd)) == NULL) {
        return false;
    }
    return md__connection_watch(connection, EPOLL_CTL_ADD);
}

bool md__accept_all(struct md_http *http, int listen_fd, struct md__worker *worker)
{
    for (;;) {
        struct sockaddr_in peer;
        socklen_t size = sizeof peer;
        struct md__connection *connection;
        int fd = accept4(listen_fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) {
            continue;
        }
        if (fd < 0) {
            return errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS;
        }
        connection = md__table_take(http->table, worker, peer.sin_addr.s_addr);
        if (connection == NULL) {
            md_metric_add(http->refused, 1);
            close(fd);
        } else if (open_connection(connection, fd, &peer)) {
            md__connection_return(connection);
        } else {
            md__connection_close(worker, connection);
        }
    }
}
