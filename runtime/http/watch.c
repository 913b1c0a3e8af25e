/*
 * Cutting slow clients. civetweb's timeouts start anew with every byte, so a client that sends
 * or takes one byte now and then would keep its thread for hours. Every body read and every
 * answer is therefore registered here with the time by which it must have ended; past it, the
 * connection's socket is shut down, which makes the blocked call return an error.
 *
 * civetweb hides its sockets, so the one to shut is found by its two addresses among the
 * process's descriptors. That is slow, and rare. The thread that owns the connection cannot
 * close it meanwhile: it unregisters first, under the same lock.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/wait.h"
#include "http/internal.h"

struct md__watch {
    struct md_clock *clock;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool ending;
    struct md__watch_entry *entries;
};

static bool is_connection(int fd, const void *context)
{
    const struct md__watch_entry *entry = context;
    struct sockaddr_in peer, local;
    socklen_t peer_size = sizeof peer, local_size = sizeof local;
    char text[INET_ADDRSTRLEN];

    return getpeername(fd, (struct sockaddr *)&peer, &peer_size) == 0 &&
           getsockname(fd, (struct sockaddr *)&local, &local_size) == 0 &&
           peer.sin_family == AF_INET && ntohs(peer.sin_port) == entry->remote_port &&
           ntohs(local.sin_port) == entry->local_port &&
           inet_ntop(AF_INET, &peer.sin_addr, text, sizeof text) != NULL &&
           strcmp(text, entry->remote) == 0;
}

/* Shuts down every socket of this process that `chosen` picks. */
static void shut_sockets(bool (*chosen)(int fd, const void *context), const void *context)
{
    DIR *folder = opendir("/proc/self/fd");
    struct dirent *item;

    while (folder != NULL && (item = readdir(folder)) != NULL) {
        int fd = atoi(item->d_name);
        if (item->d_name[0] != '.' && chosen(fd, context)) {
            shutdown(fd, SHUT_RDWR);
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
}

static bool is_on_port(int fd, const void *port)
{
    struct sockaddr_in local;
    socklen_t size = sizeof local;

    return getsockname(fd, (struct sockaddr *)&local, &size) == 0 && local.sin_family == AF_INET &&
           ntohs(local.sin_port) == *(const int *)port;
}

void md__watch_shut_port(int port)
{
    shut_sockets(is_on_port, &port);
}

/* Cuts what is past its time; returns how long until the next one is, at most a second. */
static int64_t cut_expired(struct md__watch *watch)
{
    int64_t now_ns = md_monotonic_ns(watch->clock), wait_ns = 1000000000;

    for (struct md__watch_entry *entry = watch->entries; entry != NULL; entry = entry->next) {
        int64_t left_ns = entry->until_ns - now_ns;
        if (left_ns <= 0) {
            shut_sockets(is_connection, entry);
            md_log(MD_LOG_DEBUG, "http", "%s:%d is too slow: connection cut", entry->remote,
                   entry->remote_port);
            entry->until_ns = INT64_MAX; /* once */
        } else if (left_ns < wait_ns) {
            wait_ns = left_ns;
        }
    }
    return wait_ns;
}

static void *watch_run(void *context)
{
    struct md__watch *watch = context;

    pthread_mutex_lock(&watch->lock);
    while (!watch->ending) {
        md_cond_wait_ns(&watch->changed, &watch->lock, cut_expired(watch));
    }
    pthread_mutex_unlock(&watch->lock);
    return NULL;
}

struct md__watch *md__watch_new(struct md_clock *clock)
{
    struct md__watch *watch = calloc(1, sizeof *watch);

    if (watch == NULL) {
        return NULL;
    }
    watch->clock = clock;
    pthread_mutex_init(&watch->lock, NULL);
    md_cond_init(&watch->changed);
    if (pthread_create(&watch->thread, NULL, watch_run, watch) != 0) {
        pthread_cond_destroy(&watch->changed);
        pthread_mutex_destroy(&watch->lock);
        free(watch);
        return NULL;
    }
    return watch;
}

void md__watch_delete(struct md__watch *watch)
{
    if (watch == NULL) {
        return;
    }
    pthread_mutex_lock(&watch->lock);
    watch->ending = true;
    pthread_cond_signal(&watch->changed);
    pthread_mutex_unlock(&watch->lock);
    pthread_join(watch->thread, NULL);
    pthread_cond_destroy(&watch->changed);
    pthread_mutex_destroy(&watch->lock);
    free(watch);
}

/* The thread looks at least once a second, which is precise enough: no need to wake it. */
void md__watch_begin(struct md__watch *watch, struct md__watch_entry *entry, int64_t until_ns)
{
    pthread_mutex_lock(&watch->lock);
    entry->until_ns = until_ns;
    entry->next = watch->entries;
    entry->previous = &watch->entries;
    if (entry->next != NULL) {
        entry->next->previous = &entry->next;
    }
    watch->entries = entry;
    pthread_mutex_unlock(&watch->lock);
}

void md__watch_end(struct md__watch *watch, struct md__watch_entry *entry)
{
    pthread_mutex_lock(&watch->lock);
    *entry->previous = entry->next;
    if (entry->next != NULL) {
        entry->next->previous = entry->previous;
    }
    pthread_mutex_unlock(&watch->lock);
}
