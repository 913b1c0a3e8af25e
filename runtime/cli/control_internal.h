/* What control.c and control_connection.c share. */
#ifndef MD_CLI_CONTROL_INTERNAL_H
#define MD_CLI_CONTROL_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "cli/control.h"

struct md__connection {
    int wake; /* the control's eventfd, told when the thread ends */
    pthread_t thread;
    bool taken;         /* under the control's lock: this slot has a thread */
    _Atomic bool ended; /* the thread is about to return */
    int socket;         /* does not block */
    int done;           /* an eventfd, readable when the call has ended */
    _Atomic int64_t heard_ns;
    /* Of the connection's thread: */
    char *text; /* received, not yet a line */
    size_t length, capacity;
    int64_t line_ns; /* when the line in text was begun */
    json_t *queue;   /* requests that wait */
    bool eof;
    /* The request in progress: */
    _Atomic bool running;
    pthread_t runner;
    json_t *request;
    struct md_control_call call;
    struct md__control_session session;
    pthread_mutex_t lock; /* writing, cancelling */
    bool cancelled;
    void (*cancel)(void *data);
    void *cancel_data;
};

/* The connection's thread: serves until its peer is gone or has been served enough. */
void *md__connection_serve(void *connection);
void md__event_notify(int event); /* makes an eventfd readable */

#endif
