/*
 * Connections and the threads that serve them: what server.c, table.c, connection.c, transport.c
 * and tls.c share. The rest of http/ sees exchanges (internal.h).
 *
 * Every connection is watched by the epoll set of one slot, edge-triggered. Whoever takes an event
 * of a connection *owns* it until nothing more can be done without waiting for the client; owning
 * is a bit in `state`, and an event that comes meanwhile sets another bit, which makes the owner
 * look again. No thread ever waits for a client, except that of an event stream.
 */
#ifndef MD_HTTP_CONNECTION_H
#define MD_HTTP_CONNECTION_H

#include <sys/types.h>

#include "http/internal.h"

enum md__phase {
    MD__PHASE_HEAD,   /* reading a head, or waiting for one */
    MD__PHASE_BODY,   /* reading the body of `exchange` */
    MD__PHASE_ANSWER, /* writing its answer */
    MD__PHASE_LINGER  /* answered for the last time: reading what still comes, so that the client
                         gets to read the answer; closing with unread bytes would reset it */
};

struct md__connection {
    /* Times used << 2 | "look again" << 1 | owned. The count makes late events of an earlier
     * connection in the same place harmless. */
    _Atomic uint64_t state;
    struct md_http *http;
    uint32_t index;      /* in the table */
    _Atomic int fd;      /* -1: the place is free */
    struct md__tls *tls; /* NULL: plain */
    char remote[48];
    int remote_port;
    _Atomic uint32_t address; /* IPv4, network order */
    bool loopback;
    enum md__phase phase;
    /* Monotonic time by which the phase must have ended; 0: no limit. Checked while nobody owns the
     * connection. */
    _Atomic int64_t deadline_ns;
    _Atomic bool idle; /* nothing of a request has come: may be closed to make room */
    bool drained;      /* the last read emptied the socket: wait for the next event */
    bool ended;        /* the client may have said its last byte: read to the end */
    bool polls_out;    /* the epoll set reports writability as well */
    char *kept;        /* input that waits for more */
    size_t kept_length, scanned;
    struct md__exchange *exchange; /* NULL between requests */
    /* What is left of the answer: out from out_at on, then blob from blob_at on. */
    struct md_buffer out;
    struct md_blob *blob;
    size_t out_at, blob_at, left; /* left: when it last took some */
    int64_t answer_until_ns;
    size_t lingered;   /* bytes read for nobody */
    size_t bytes_held; /* share of http->bytes */
    bool pending;      /* counted in http->answers_pending */
    struct md__connection *next_free;
};

/* ---- server.c: threads ------------------------------------------------------------------------
 */

#define MD__INPUT_BYTES 65536

/* ---- accept.c ----------------------------------------------------------------------------------
 */

/* Takes all clients that wait. False: some have to wait for a descriptor; try again later. */
bool md__accept_all(struct md_http *http, int listen_fd, struct md__worker *worker);

/* ---- connection.c -----------------------------------------------------------------------------
 */

/* Serves a connection that the caller owns, and gives it up. */
void md__connection_advance(struct md__worker *worker, struct md__connection *connection);
/* Its time is over; likewise. */
void md__connection_expire(struct md__worker *worker, struct md__connection *connection);
/* Frees what it has and gives its place back. */
void md__connection_close(struct md__worker *worker, struct md__connection *connection);
/* The epoll set watches it (EPOLL_CTL_ADD, EPOLL_CTL_MOD). */
bool md__connection_watch(struct md__connection *connection, int operation);
/* Gives up owning without serving: the event loop will tell what there is to do. */
void md__connection_return(struct md__connection *connection);

/* ---- output.c: what is left of an answer (md__exchange_answer begins it) -----------------------
 */

/* Writes what goes now; *left: bytes that have to wait. False: the connection is broken. */
bool md__output_flush(struct md__connection *connection, size_t *left);
/* The client makes us wait: the event loop tells when it reads, and cuts it when it takes too long.
 */
bool md__output_wait(struct md__connection *connection, size_t left);
void md__output_clear(struct md__connection *connection);

/* ---- table.c: the places for connections -------------------------------------------------------
 */

struct md__table;
struct md__table *md__table_new(struct md_http *http, int count);
void md__table_delete(struct md__table *table); /* all connections are closed */
/*
 * A place for a new client, owned by the caller. Makes room by closing the connection that has been
 * idle for longest when all are taken. NULL: there is no room, or this address has more than its
 * share.
 */
struct md__connection *md__table_take(struct md__table *table, struct md__worker *worker,
                                      uint32_t address);
void md__table_give(struct md__table *table, struct md__connection *connection);
/* What the epoll set remembers of a connection, and the way back, owned; NULL: somebody else has
 * been told to look, or it is gone. */
uint64_t md__table_token(const struct md__connection *connection);
struct md__connection *md__table_own(struct md__table *table, uint64_t token);
/* Gives up owning; false: there is more to look at, and it is still owned. */
bool md__table_release(struct md__connection *connection);
/* Ends what is past its time. */
void md__table_expire(struct md__table *table, struct md__worker *worker, int64_t now_ns);
/* Closes every connection; all threads have ended. */
void md__table_close_all(struct md__table *table, struct md__worker *worker);

/* ---- transport.c: bytes of a socket, plain or through TLS --------------------------------------
 */

#define MD__AGAIN  (-1) /* nothing now: the event loop will tell */
#define MD__BROKEN (-2)
/* > 0: as many bytes; 0: the client has ended. */
ssize_t md__transport_read(struct md__connection *connection, void *data, size_t size);
/* more: the next write follows at once. */
ssize_t md__transport_write(struct md__connection *connection, const void *data, size_t length,
                            bool more);
void md__transport_shut_write(struct md__connection *connection);
/* Blocks until all is written or the time is over. */
bool md__transport_write_all(struct md__connection *connection, const void *data, size_t length,
                             int64_t until_ns);

#endif
