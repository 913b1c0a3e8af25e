/*
 * What the files of http/ share. A request and its answer are an *exchange*; how its bytes come and
 * go is in connection.h.
 */
#ifndef MD_HTTP_INTERNAL_H
#define MD_HTTP_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/metrics.h"
#include "base/span.h"
#include "http/http.h"
#include "http/parse.h"

#define MD__URL_BYTES_MAX 4096
/* Threads kept: half for the event loop, hence health and metrics; a quarter each for admin routes
 * of the script and built-in ones. */
#define MD__RESERVED       8
#define MD__GZIP_BYTES_MIN 1024
#define MD__CACHE_LINE     64

/* ---- pieces with state of their own --------------------------------------------------------- */

/* API keys, hashed by nothing: compared in constant time. */
struct md__auth {
    struct {
        char *name, *secret;
    } keys[MD_HTTP_KEYS_MAX];
    int count;
};
enum md_status md__auth_init(struct md__auth *auth, const struct md_http_key *keys, int count,
                             struct md_error *err);
void md__auth_fini(struct md__auth *auth);
/* The name of the key that the request carries; NULL: none that is known. */
const char *md__auth_check(const struct md__auth *auth, const struct md_request *request);

/* Token buckets by client and route, in a table of fixed size. */
struct md__ratelimit;
struct md__ratelimit *md__ratelimit_new(void);
void md__ratelimit_delete(struct md__ratelimit *limits);
/* True when one more request may pass now; otherwise *retry_s is when to come back. */
bool md__ratelimit_pass(struct md__ratelimit *limits, const char *client, const char *route,
                        int per_min, int64_t now_ns, int *retry_s);

/* Compressed copies of the blobs that were sent lately. */
struct md__gzip;
struct md__gzip *md__gzip_new(int level);
void md__gzip_delete(struct md__gzip *gzip);
/* A new reference to the compressed body; NULL: send it as it is (no memory, or no gain). */
struct md_blob *md__gzip_blob(struct md__gzip *gzip, struct md_blob *blob);
struct md_blob *md__gzip_bytes(struct md__gzip *gzip, const void *data, size_t length);

/* ---- the server ----------------------------------------------------------------------------- */

struct md__events;

struct md_http {
    struct md_http_options options; /* strings are our copies */
    struct md__auth auth;
    struct md__ratelimit *limits;
    struct md__gzip *gzip;
    struct md__table *table;     /* of connections */
    struct md__server *server;   /* threads and the event loop */
    struct md__tls_context *tls; /* NULL: plain HTTP */
    int port;
    int64_t started_ms;
    uint64_t drawn; /* at random, for etag.c */
    _Atomic bool draining;
    struct md_family *requests, *seconds;
    struct md_metric *streams_gauge, *bytes_in, *bytes_out;
    struct md_metric *cut_idle, *cut_slow, *refused;
    pthread_mutex_t streams_lock;
    struct md__events *streams; /* open ones */
    int stream_count;
    /* Every request changes these, so they have their cache lines for themselves. */
    char before[MD__CACHE_LINE];
    _Atomic int in_flight; /* script requests */
    atomic_size_t bytes;   /* of bodies in memory */
    _Atomic uint64_t ids;
    _Atomic int connections;
    _Atomic int admins;          /* built-in admin requests */
    _Atomic int answers_pending; /* that wait for their clients to read */
    char after[MD__CACHE_LINE];
};

struct md__connection;

/* The metrics of one kind of answer, so that they need not be looked up for each. */
struct md__counters {
    char route[128];
    const char *method;
    int status;
    struct md_metric *requests, *seconds;
};

#define MD__COUNTERS 16

/* What a thread needs to serve; kept from one request to the next. */
struct md__worker {
    char *input;                /* MD__INPUT_BYTES + 1 */
    struct md_buffer head;      /* of answers */
    struct md__exchange *spare; /* NULL, or one that is not in use */
    int64_t served_ns;          /* when an answer ended, since it last took a connection; 0: none */
    int64_t date_s;
    char date[40]; /* of that second */
    struct md__counters counters[MD__COUNTERS];
};

/* One request and its answer. */
struct md__exchange {
    struct md_http *http;
    struct md__connection *connection;
    struct md_request request;
    struct md__chunks chunks;
    int64_t content_length; /* -1: not given */
    bool chunked;
    bool is_head;    /* the method was HEAD: request.method says GET */
    bool loopback;   /* the client is on this machine */
    bool keep_alive; /* the connection may be used again */
    bool body_read;  /* to its end, or there is none */
    bool broken;     /* nothing more reaches the client */
    bool matched;    /* match is to be finished */
    const struct md__builtin *builtin; /* waits for its body; NULL: none does */
    char *head_text; /* our copy of the head, or NULL: it is in the worker's buffer */
    struct md_buffer body;
    size_t body_bytes_max;
    size_t bytes_held; /* our share of http->bytes */
    int64_t begin_ns;
    const char *route;         /* for metrics: the pattern, or "other" */
    int status;                /* sent */
    struct md__worker *worker; /* of the thread that serves it now */
    int64_t admitted_ns;       /* when its checks had ended */
    int64_t sent_ns;           /* when all of its answer had been sent, if that was at once */
    struct md_trace trace;     /* this and the rest is not cleared between requests; id 0: none */
    struct md_match match;
    struct md__head head;
};

/* server.c: the threads. The listening socket is the server's from here on. */
enum md_status md__server_start(struct md_http *http, int listen_fd, struct md_error *err);
void md__server_stop(struct md_http *http);

/* exchange.c */
void md__exchange_init(struct md__exchange *exchange, struct md_http *http);
/* Makes the request of what stands in exchange->head. */
void md__exchange_take_head(struct md__exchange *exchange);
/* A body that is still to come outlives the buffer that its head is in: copies the head. */
bool md__exchange_own_head(struct md__exchange *exchange, const char *text, size_t length);
/* Tells a client that waits for it to send its body; false: the connection is broken. */
bool md__exchange_continue(struct md__exchange *exchange);
/* For streams: writes all, blocking until the client has taken it or the time is over. */
bool md__exchange_write(struct md__exchange *exchange, const void *data, size_t length,
                        int64_t until_ns);
/* For streams: waits until wake_fd can be read or the time is over; false: the client has gone. */
bool md__exchange_wait(struct md__exchange *exchange, int wake_fd, int64_t ns);
void md__exchange_close(struct md__exchange *exchange); /* no keep-alive after this answer */
/* connection.c: sends what goes now and leaves the rest, of response, to the event loop. data and
 * length are the body's, or nothing. */
void md__exchange_answer(struct md__exchange *exchange, struct md_buffer *head,
                         struct md_response *response, const char *data, size_t length);

/* request.c */
const char *md__header(const struct md_request *request, const char *name);
/*
 * Refuses what must not reach a handler: contradicting lengths, odd encodings, long URLs. Returns
 * 0, or the HTTP status of the refusal.
 */
int md__request_check(struct md__exchange *exchange, struct md_error *err);
/* Takes a share of the bytes that all exchanges may hold together, until this one ends. */
enum md_status md__exchange_hold(struct md__exchange *exchange, size_t bytes, bool input,
                                 struct md_error *err);
/* A share of http->bytes, to be given back; false: it would be over the cap, which for what clients
 * send is three quarters of that for all. */
bool md__bytes_take(struct md_http *http, size_t bytes, bool input);
/*
 * pipeline.c. begin: true when a handler wants the request, as soon as its body is there; otherwise
 * it has been answered. run: calls the handler and answers. end: counts it and frees what it has.
 */
bool md__answer_begin(struct md__exchange *exchange);
void md__answer_run(struct md__exchange *exchange);
void md__answer_end(struct md__exchange *exchange);

/* respond.c */
void md__respond(struct md__exchange *exchange, struct md_response *response);
/* status 0: the one that belongs to err's code. header_name NULL: none. */
void md__respond_error(struct md__exchange *exchange, const struct md_error *err, int status,
                       const char *header_name, const char *header_value);
bool md__response_header(struct md_response *response, const char *name, const char *value);
void md__response_json(struct md_response *response, int status);

#define MD__LENGTH_STREAM SIZE_MAX
/* Appends the head of an answer whose body has this many bytes, or is a stream of chunks. */
void md__response_head(struct md__exchange *exchange, const struct md_response *response,
                       size_t length, struct md_buffer *head);

/* stream.c: the event stream that an exchange may become. */
#define MD__STREAM_NS_MAX 10000000000 /* for a client to read what it was sent */
struct md__events {
    struct md__exchange *exchange;
    int wake_fd;                  /* tells its thread to look */
    _Atomic(const char *) closed; /* why, or NULL */
    bool lost;                    /* nothing more reaches the client */
    int64_t sent_ns, keep_alive_ns;
    struct md__events *next, **previous; /* http->streams */
};
void md__events_init(struct md__events *events, struct md__exchange *exchange);
void md__events_close_all(struct md_http *http, const char *why);
extern const struct md_stream_writer md__stream_writer; /* its context is a struct md__events */

/* cors.c: adds what the request's Origin is entitled to. */
void md__cors_headers(const struct md__exchange *exchange, struct md_response *response);
void md__cors_preflight(const struct md__exchange *exchange, const char *allow,
                        struct md_response *response);

/* builtin.c: what the server answers itself. */
#define MD__ALLOW_BYTES 64
struct md__builtin {
    const char *method, *path, *summary;
    bool admin; /* needs the key, and this machine */
    /* Fills the response (200 and JSON unless it says otherwise); a failure is answered as one. */
    enum md_status (*answer)(struct md__exchange *exchange, struct md_response *response,
                             struct md_error *err);
    size_t body_bytes_max; /* of the request's body; 0: it is not looked at */
};
/* The rows in order; NULL after the last. */
const struct md__builtin *md__builtin_at(int index);
/* The row for this request; NULL: none, and allow lists the methods that the path has, or "". */
const struct md__builtin *md__builtin_find(const struct md_request *request, bool admin,
                                           char allow[MD__ALLOW_BYTES]);
void md__builtin_answer(struct md__exchange *exchange, const struct md__builtin *row);

/* admin.c */
/* The decoded value of a field of the query; false: absent, malformed or too long. */
bool md__query_value(const struct md_request *request, const char *name, char *text, size_t size);
enum md_status md__admin_log_level(struct md__exchange *exchange, struct md_response *response,
                                   struct md_error *err);
enum md_status md__admin_set_log_level(struct md__exchange *exchange, struct md_response *response,
                                       struct md_error *err);
enum md_status md__admin_scripts(struct md__exchange *exchange, struct md_response *response,
                                 struct md_error *err);
enum md_status md__admin_scripts_reload(struct md__exchange *exchange, struct md_response *response,
                                        struct md_error *err);
enum md_status md__admin_scripts_rollback(struct md__exchange *exchange,
                                          struct md_response *response, struct md_error *err);
enum md_status md__admin_reload_model(struct md__exchange *exchange, struct md_response *response,
                                      struct md_error *err);
enum md_status md__admin_rehearse(struct md__exchange *exchange, struct md_response *response,
                                  struct md_error *err);
enum md_status md__admin_profile(struct md__exchange *exchange, struct md_response *response,
                                 struct md_error *err);

/* etag.c: a number for this process; the tag of an answer that is a script's blob, and 304 when the
 * client has it. */
uint64_t md__etag_draw(int64_t now_ms);
void md__etag_answer(const struct md__exchange *exchange, struct md_response *response);

/* process.c: brings the process_* metrics up to date. */
void md__process_metrics(struct md_http *http);
/* openapi.c */
enum md_status md__openapi_write(struct md_http *http, struct md_buffer *json,
                                 struct md_error *err);

#endif
