/*
 * Threads and the event loop.
 *
 * A few *slots* (one a core, at most four) each have an epoll set with their share of the
 * connections, wait for its events and serve them, on a thread that is lent for it. A short handler
 * runs right there: no switch of threads between an event and its answer, and a connection stays
 * with one core. A handler that waits says so (base/blocking.h), and one that runs for longer than
 * a tick is noticed by the watch; either way its slot, with its set and the events it had still to
 * look at, goes on on another thread, and the first one rests when its handler is done. So there
 * are as many handlers at a time as there are threads, as few running threads as there are cores,
 * and no connection waits behind another's handler for longer than two ticks.
 *
 * One set for all slots would spare connections that wait, too, but switches threads twice as often
 * and hands every connection from core to core.
 *
 * A slot's `turn` is even while it waits and odd while it serves. Whoever moves it on from an odd
 * value owns what comes next: the thread when it is done, or the one that takes the slot away.
 *
 * The watch ticks only while there is something to watch, and looks once a second at timeouts and
 * certificates.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/blocking.h"
#include "base/log.h"
#include "base/stack.h"
#include "base/wait.h"
#include "http/connection.h"
#include "http/tls.h"

enum { SLOTS_MAX = MD__RESERVED / 2, EVENTS = 16, QUIET_TICKS = 30 };

#define TICK_NS   ((int64_t)2000000)
#define SECOND_NS ((int64_t)1000000000)
#define LISTENER  UINT64_MAX /* what the epoll set calls the two that are no connection */
#define STOPPER   (UINT64_MAX - 1)

struct slot {
    int epoll_fd;
    _Atomic uint64_t turn;
    uint64_t seen; /* by the watch */
    struct epoll_event events[EVENTS];
    int at, count;
    struct slot *next;          /* without a thread */
    char after[MD__CACHE_LINE]; /* the next one is another core's */
};

struct thread {
    pthread_t id;
    struct md__server *server;
    struct md__worker worker;
    struct slot *slot; /* NULL: resting */
    uint64_t turn;     /* of the slot, while serving */
    pthread_cond_t wake;
    struct thread *next; /* resting */
};

struct md__server {
    struct md_http *http;
    int listen_fd, stop_fd;
    struct slot slots[SLOTS_MAX];
    int slot_count;
    pthread_mutex_t lock; /* of what follows */
    struct thread *threads;
    int thread_count, thread_max;
    struct thread *resting;
    struct slot *unserved;
    bool stopping;
    pthread_t watch;
    bool watching;
    pthread_cond_t tick;
    struct md__worker watch_worker;
    _Atomic bool dozing;       /* the watch waits for something to do */
    _Atomic bool accept_later; /* there was no descriptor or no room */
};

/* ---- workers ---- */

static bool worker_init(struct md__worker *worker)
{
    memset(worker, 0, sizeof *worker);
    worker->input = malloc(MD__INPUT_BYTES + 1);
    return worker->input != NULL && md_buffer_reserve(&worker->head, 1024);
}

static void worker_fini(struct md__worker *worker)
{
    free(worker->input);
    md_buffer_fini(&worker->head);
    free(worker->spare);
}

/* ---- connections in the epoll set ---- */

bool md__connection_watch(struct md__connection *connection, int operation)
{
    struct md__server *server = connection->http->server;
    const struct slot *slot = &server->slots[connection->index % (uint32_t)server->slot_count];
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET,
                                .data.u64 = md__table_token(connection)};

    event.events |= connection->polls_out ? EPOLLOUT : 0;
    return epoll_ctl(slot->epoll_fd, operation, connection->fd, &event) == 0;
}

/* An event that came meanwhile has been used up, so it is asked for again. */
void md__connection_return(struct md__connection *connection)
{
    while (!md__table_release(connection)) {
        md__connection_watch(connection, EPOLL_CTL_MOD);
    }
}

static void accept_all(struct md__server *server, struct md__worker *worker)
{
    server->accept_later = !md__accept_all(server->http, server->listen_fd, worker);
}

/* ---- slots ---- */

static void *thread_main(void *argument);

/* With the lock held; NULL: there can be no more. */
static struct thread *thread_new(struct md__server *server, struct slot *slot)
{
    struct thread *thread = &server->threads[server->thread_count];
    pthread_attr_t attributes;
    int problem;

    if (server->thread_count == server->thread_max || !worker_init(&thread->worker)) {
        return NULL;
    }
    thread->server = server;
    thread->slot = slot;
    md_cond_init(&thread->wake);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, MD_STACK_BYTES);
    problem = pthread_create(&thread->id, &attributes, thread_main, thread);
    pthread_attr_destroy(&attributes);
    if (problem != 0) {
        pthread_cond_destroy(&thread->wake);
        worker_fini(&thread->worker);
        return NULL;
    }
    server->thread_count++;
    return thread;
}

/* Gives a slot that was taken away to a thread that rests, or a new one. */
static void hand_over(struct md__server *server, struct slot *slot)
{
    pthread_mutex_lock(&server->lock);
    if (server->resting != NULL) {
        struct thread *thread = server->resting;
        server->resting = thread->next;
        thread->slot = slot;
        pthread_cond_signal(&thread->wake);
    } else if (server->stopping || thread_new(server, slot) == NULL) {
        slot->next = server->unserved; /* whoever is done first takes it */
        server->unserved = slot;
    }
    pthread_mutex_unlock(&server->lock);
}

static bool take_away(struct slot *slot, uint64_t turn)
{
    return atomic_compare_exchange_strong(&slot->turn, &turn, turn + 1);
}

/* This thread's handler is going to wait. */
static void lend_slot(void *context)
{
    struct thread *thread = context;

    if (thread->slot != NULL && take_away(thread->slot, thread->turn)) {
        struct slot *slot = thread->slot;
        thread->slot = NULL;
        hand_over(thread->server, slot);
    }
}

/* A slot for this thread, as soon as there is one; NULL: the end. */
static struct slot *await_slot(struct md__server *server, struct thread *thread)
{
    struct slot *slot;

    pthread_mutex_lock(&server->lock);
    if (thread->slot == NULL && server->unserved != NULL) {
        thread->slot = server->unserved;
        server->unserved = thread->slot->next;
    } else if (thread->slot == NULL && !server->stopping) {
        thread->next = server->resting;
        server->resting = thread;
    }
    while (thread->slot == NULL && !server->stopping) {
        pthread_cond_wait(&thread->wake, &server->lock);
    }
    slot = server->stopping ? NULL : thread->slot;
    pthread_mutex_unlock(&server->lock);
    return slot;
}

static void serve_event(struct md__server *server, struct md__worker *worker,
                        const struct epoll_event *event)
{
    struct md__connection *connection;

    if (event->data.u64 == LISTENER) {
        accept_all(server, worker);
        return;
    }
    connection = md__table_own(server->http->table, event->data.u64);
    if (connection != NULL) {
        connection->ended =
            connection->ended || (event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
        md__connection_advance(worker, connection);
    }
}

static void wake_watch(struct md__server *server)
{
    if (server->dozing) {
        pthread_mutex_lock(&server->lock);
        pthread_cond_signal(&server->tick);
        pthread_mutex_unlock(&server->lock);
    }
}

/* Serves until the slot has been taken away, or the server stops (false). */
static bool run_slot(struct md__server *server, struct thread *thread, struct slot *slot)
{
    for (;;) {
        struct epoll_event event;
        uint64_t turn;
        if (slot->at >= slot->count) {
            slot->count = epoll_wait(slot->epoll_fd, slot->events, EVENTS, -1);
            slot->at = 0;
            continue;
        }
        event = slot->events[slot->at++];
        if (event.data.u64 == STOPPER) {
            return false;
        }
        turn = slot->turn + 1;
        thread->turn = turn;
        slot->turn = turn;
        wake_watch(server);
        serve_event(server, &thread->worker, &event);
        if (!take_away(slot, turn)) {
            return true;
        }
    }
}

static void *thread_main(void *argument)
{
    struct thread *thread = argument;
    struct md__server *server = thread->server;
    struct slot *slot;

    md_stack_declare();
    md_blocking_set(lend_slot, thread);
    while ((slot = await_slot(server, thread)) != NULL && run_slot(server, thread, slot)) {
        thread->slot = NULL;
    }
    return NULL;
}

/* ---- the watch ---- */

/* Moves slots on whose handlers take long; true when any is being served. */
static bool watch_slots(struct md__server *server)
{
    bool busy = false;

    for (int i = 0; i < server->slot_count; i++) {
        struct slot *slot = &server->slots[i];
        uint64_t turn = slot->turn;
        busy = busy || (turn & 1) != 0 || turn != slot->seen;
        if ((turn & 1) != 0 && turn == slot->seen && take_away(slot, turn)) {
            hand_over(server, slot);
        }
        slot->seen = turn;
    }
    return busy;
}

static void refresh_certificate(struct md_http *http)
{
    struct md_error err;
    bool changed = false;
    enum md_status status =
        md__tls_context_refresh(http->tls, md_now_ms(http->options.clock), &changed, &err);

    if (status != MD_OK) {
        md_log(MD_LOG_ERROR, "http", "the old certificate stays in use: %s", err.text);
    } else if (changed) {
        md_log(MD_LOG_INFO, "http", "the certificate has been replaced");
    }
}

static void every_second(struct md__server *server)
{
    struct md_http *http = server->http;

    md__table_expire(http->table, &server->watch_worker, md_monotonic_ns(http->options.clock));
    if (server->accept_later) {
        accept_all(server, &server->watch_worker);
    }
    if (http->tls != NULL) {
        refresh_certificate(http);
    }
}

static bool has_moved(const struct md__server *server)
{
    for (int i = 0; i < server->slot_count; i++) {
        if (server->slots[i].turn != server->slots[i].seen || (server->slots[i].turn & 1) != 0) {
            return true;
        }
    }
    return false;
}

/* One tick, or without anything to do until somebody serves or a second has passed. */
static bool pause_watch(struct md__server *server, bool doze)
{
    bool stopping;

    pthread_mutex_lock(&server->lock);
    server->dozing = doze;
    if (!server->stopping && !(doze && has_moved(server))) {
        md_cond_wait_ns(&server->tick, &server->lock, doze ? SECOND_NS : TICK_NS);
    }
    server->dozing = false;
    stopping = server->stopping;
    pthread_mutex_unlock(&server->lock);
    return !stopping;
}

static void *watch_main(void *argument)
{
    struct md__server *server = argument;
    struct md_clock *clock = server->http->options.clock;
    int64_t second_ns = md_monotonic_ns(clock);
    int quiet = 0;

    while (pause_watch(server, quiet >= QUIET_TICKS)) {
        quiet = watch_slots(server) ? 0 : quiet + 1;
        if (md_monotonic_ns(clock) - second_ns >= SECOND_NS) {
            second_ns = md_monotonic_ns(clock);
            every_second(server);
        }
    }
    return NULL;
}

/* ---- life ---- */

static bool add_to_epoll(const struct slot *slot, int fd, uint64_t token, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = token};

    return epoll_ctl(slot->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* Whichever slot has nothing to do is told of a new client. */
static bool open_slot(struct md__server *server, struct slot *slot)
{
    slot->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return slot->epoll_fd >= 0 &&
           add_to_epoll(slot, server->listen_fd, LISTENER, EPOLLIN | EPOLLET | EPOLLEXCLUSIVE) &&
           add_to_epoll(slot, server->stop_fd, STOPPER, EPOLLIN);
}

static bool open_slots(struct md__server *server)
{
    bool open = server->stop_fd >= 0;

    for (int i = 0; i < server->slot_count; i++) {
        open = open && open_slot(server, &server->slots[i]);
    }
    return open;
}

static int core_count(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

static enum md_status start_threads(struct md__server *server, struct md_error *err)
{
    server->watching = pthread_create(&server->watch, NULL, watch_main, server) == 0;
    for (int i = 0; i < server->slot_count; i++) {
        hand_over(server, &server->slots[i]);
    }
    if (!server->watching || server->thread_count == 0) {
        return md_fail(err, MD_ERR_UNAVAILABLE, "cannot make threads for HTTP");
    }
    return MD_OK;
}

enum md_status md__server_start(struct md_http *http, int listen_fd, struct md_error *err)
{
    struct md__server *server = calloc(1, sizeof *server);
    int cores = core_count();

    if (server == NULL) {
        close(listen_fd);
        return md_fail(err, MD_ERR_MEMORY, "out of memory for the HTTP server");
    }
    http->server = server;
    server->http = http;
    server->listen_fd = listen_fd;
    server->slot_count = cores < SLOTS_MAX ? cores : SLOTS_MAX;
    for (int i = 0; i < SLOTS_MAX; i++) {
        server->slots[i].epoll_fd = -1;
    }
    server->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    server->thread_max = http->options.threads;
    server->threads = calloc((size_t)server->thread_max, sizeof *server->threads);
    pthread_mutex_init(&server->lock, NULL);
    md_cond_init(&server->tick);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    if (server->threads == NULL || !worker_init(&server->watch_worker)) {
        return md_fail(err, MD_ERR_MEMORY, "out of memory for the HTTP server");
    }
    if (!open_slots(server)) {
        return md_fail(err, MD_ERR_IO, "cannot watch sockets: %s", strerror(errno));
    }
    return start_threads(server, err);
}

static void stop_threads(struct md__server *server)
{
    uint64_t one = 1;

    pthread_mutex_lock(&server->lock);
    server->stopping = true;
    pthread_cond_broadcast(&server->tick);
    for (struct thread *thread = server->resting; thread != NULL; thread = thread->next) {
        pthread_cond_signal(&thread->wake);
    }
    pthread_mutex_unlock(&server->lock);
    while (write(server->stop_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
    if (server->watching) {
        pthread_join(server->watch, NULL);
    }
    for (int i = 0; i < server->thread_count; i++) { /* stopping: there come no more */
        pthread_join(server->threads[i].id, NULL);
        pthread_cond_destroy(&server->threads[i].wake);
    }
}

static void close_fd(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

void md__server_stop(struct md_http *http)
{
    struct md__server *server = http->server;

    if (server == NULL) {
        return;
    }
    stop_threads(server);
    if (server->watch_worker.input != NULL) {
        md__table_close_all(http->table, &server->watch_worker);
    }
    for (int i = 0; i < server->thread_count; i++) {
        worker_fini(&server->threads[i].worker);
    }
    worker_fini(&server->watch_worker);
    close_fd(server->listen_fd);
    for (int i = 0; i < SLOTS_MAX; i++) {
        close_fd(server->slots[i].epoll_fd);
    }
    close_fd(server->stop_fd);
    pthread_cond_destroy(&server->tick);
    pthread_mutex_destroy(&server->lock);
    free(server->threads);
    free(server);
    http->server = NULL;
}
