/*
 * The daemon's side of the control socket: accepting connections, a slot and a thread each, and
 * ending them all; see control.h. What a connection does is in control_connection.c.
 */
#include "cli/control.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/control_internal.h"
#include "cli/control_listen.h"

enum { SILENT_MS_MIN = 10000 }; /* before a connection may be ended for another */

struct md_control {
    struct md_control_context context;
    struct md__listener listener;
    pthread_t thread;
    int wake; /* an eventfd: a connection has ended, or `stopping` */
    _Atomic bool stopping;
    pthread_mutex_t lock; /* guards `taken` of the connections */
    struct md__connection connections[MD__CONTROL_CONNECTIONS_MAX];
};

/* ---- connections ---- */

/* With the lock held, after the thread's end. */
static void release(struct md__connection *connection)
{
    pthread_join(connection->thread, NULL);
    close(connection->socket);
    close(connection->done);
    pthread_mutex_destroy(&connection->lock);
    connection->taken = false;
}

static void release_ended(struct md_control *control)
{
    for (int i = 0; i < MD__CONTROL_CONNECTIONS_MAX; i++) {
        if (control->connections[i].taken && control->connections[i].ended) {
            release(&control->connections[i]);
        }
    }
}

static struct md__connection *free_slot(struct md_control *control)
{
    release_ended(control);
    for (int i = 0; i < MD__CONTROL_CONNECTIONS_MAX; i++) {
        if (!control->connections[i].taken) {
            return &control->connections[i];
        }
    }
    return NULL;
}

/* Ends the connection that has been idle and silent longest; its slot becomes free soon. */
static bool evict(struct md_control *control)
{
    int64_t oldest_ns = md_monotonic_ns(md_clock_system()) - SILENT_MS_MIN * INT64_C(1000000);
    struct md__connection *oldest = NULL;

    for (int i = 0; i < MD__CONTROL_CONNECTIONS_MAX; i++) {
        struct md__connection *connection = &control->connections[i];
        if (!connection->running && connection->heard_ns < oldest_ns) {
            oldest = connection;
            oldest_ns = connection->heard_ns;
        }
    }
    if (oldest != NULL) {
        shutdown(oldest->socket, SHUT_RDWR);
        release(oldest);
    }
    return oldest != NULL;
}

static bool begin(struct md_control *control, struct md__connection *connection, int socket)
{
    *connection = (struct md__connection){.wake = control->wake, .socket = socket};
    connection->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    connection->queue = json_array();
    connection->heard_ns = md_monotonic_ns(md_clock_system());
    connection->call = (struct md_control_call){
        .context = &control->context, .session = &connection->session, .connection = connection};
    pthread_mutex_init(&connection->lock, NULL);
    if (connection->done >= 0 && connection->queue != NULL &&
        pthread_create(&connection->thread, NULL, md__connection_serve, connection) == 0) {
        connection->taken = true;
        return true;
    }
    if (connection->done >= 0) {
        close(connection->done);
    }
    json_decref(connection->queue);
    pthread_mutex_destroy(&connection->lock);
    return false;
}

/* The socket's answer fits its buffer: nobody waits for a peer here. */
static void refuse(int socket)
{
    static const char answer[] =
        "{\"ok\":false,\"code\":\"UNAVAILABLE\",\"detail\":\"all connections of the control "
        "socket are busy\"}\n";
    ssize_t sent = send(socket, answer, sizeof answer - 1, MSG_NOSIGNAL | MSG_DONTWAIT);

    (void)sent;
    close(socket);
}

static void take_connection(struct md_control *control, int socket)
{
    struct md__connection *slot;

    pthread_mutex_lock(&control->lock);
    slot = free_slot(control);
    if (slot == NULL && evict(control)) {
        slot = free_slot(control);
    }
    if (slot == NULL || !begin(control, slot, socket)) {
        refuse(socket);
    }
    pthread_mutex_unlock(&control->lock);
}

static void *accept_all(void *argument)
{
    struct md_control *control = argument;

    while (!control->stopping) {
        struct pollfd waits[] = {{.fd = control->listener.socket, .events = POLLIN},
                                 {.fd = control->wake, .events = POLLIN}};
        uint64_t count;
        poll(waits, 2, -1);
        if (waits[1].revents != 0 && read(control->wake, &count, sizeof count) > 0) {
            pthread_mutex_lock(&control->lock);
            release_ended(control);
            pthread_mutex_unlock(&control->lock);
        }
        if (waits[0].revents != 0) {
            int socket = md__listener_accept(&control->listener);
            if (socket >= 0) {
                take_connection(control, socket);
            }
        }
    }
    return NULL;
}

/* ---- life ---- */

enum md_status md__control_new(const char *path, const struct md_control_context *context,
                               struct md_control **result, struct md_error *err)
{
    struct md_control *control = calloc(1, sizeof *control);
    enum md_status status;

    if (control == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "no memory for the control socket");
    }
    control->context = *context;
    control->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    status = md__listener_open(&control->listener, path, err);
    if (status == MD_OK) {
        pthread_mutex_init(&control->lock, NULL);
        if (pthread_create(&control->thread, NULL, accept_all, control) == 0) {
            *result = control;
            return MD_OK;
        }
        status = md_fail(err, MD_ERR_UNAVAILABLE, "cannot make a thread for the control socket");
        pthread_mutex_destroy(&control->lock);
        md__listener_close(&control->listener);
    }
    close(control->wake);
    free(control);
    return status;
}

void md__control_delete(struct md_control *control)
{
    if (control == NULL) {
        return;
    }
    control->stopping = true;
    md__event_notify(control->wake);
    pthread_join(control->thread, NULL);
    md__listener_close(&control->listener);
    for (int i = 0; i < MD__CONTROL_CONNECTIONS_MAX; i++) {
        if (control->connections[i].taken) {
            shutdown(control->connections[i].socket, SHUT_RDWR);
        }
    }
    for (int i = 0; i < MD__CONTROL_CONNECTIONS_MAX; i++) {
        if (control->connections[i].taken) {
            release(&control->connections[i]);
        }
    }
    pthread_mutex_destroy(&control->lock);
    close(control->wake);
    free(control);
}
