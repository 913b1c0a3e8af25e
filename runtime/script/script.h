/*
 * The script engine: loads a folder of Lua (config.lua, app.lua and what they require) and runs its
 * routes, timers and ticks. This is the face towards http/ and cli/; how Lua states work is in
 * internal.h.
 *
 * A *generation* is one loaded version of the folder: its route table and a fixed pool of Lua
 * states, each of which has loaded every file once. A route match holds a reference to its
 * generation, so a request ends in the generation that it began in.
 *
 * Threads: every function may be called from any thread, except new, start, stop and delete, which
 * belong to one owner. md_script_call blocks the calling thread until the handler has finished, but
 * holds a Lua state only while Lua runs: waiting for a model, a fetch or a sleep gives the state to
 * other requests.
 */
#ifndef MD_SCRIPT_SCRIPT_H
#define MD_SCRIPT_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/status.h"
#include "script/config.h"

struct md_serve;
struct md_store;
struct md_script;
struct md_generation;

struct md_response;

/*
 * Where the events of a handler that returned md.stream go. Whoever serves requests registers one
 * with each request that it can answer in this way (http/). begin, send, wait and end come from the
 * thread of md_script_call, in this order; check and close from any thread in between.
 */
struct md_stream_writer {
    /* Takes a place among the streams and sends the head: status, headers, content_type,
     * keep_alive_ms of the response. After a failure nothing else is called. */
    enum md_status (*begin)(void *context, struct md_response *response, struct md_error *err);
    /* Sends bytes; blocks while the client does not read, up to a limit that closes the stream. */
    enum md_status (*send)(void *context, const char *data, size_t length, struct md_error *err);
    /* Lets time pass, and keeps the connection alive; fails as soon as the stream is closed. */
    enum md_status (*wait)(void *context, int64_t ns, struct md_error *err);
    enum md_status (*check)(void *context, struct md_error *err); /* MD_OK: it is open */
    void (*close)(void *context, const char *why);                /* why: a constant text */
    void (*end)(void *context);
};

struct md_header {
    const char *name; /* of a request: lower-case */
    const char *value;
};

/* Everything is borrowed for the time of the call. */
struct md_request {
    const char *method; /* "GET" */
    const char *path;   /* as sent, percent-encoded, without the query */
    const char *query;  /* as sent, without the question mark; NULL or "": none */
    const char *remote; /* the client's address */
    const struct md_header *headers;
    int header_count;
    const char *body;
    size_t body_length;
    uint64_t id;
    const char *key_name;                  /* whose API key it was, or NULL */
    const struct md_stream_writer *stream; /* NULL: event streams are refused */
    void *stream_context;
    int64_t
        deadline_ns; /* md_monotonic_ns of the script's clock; 0: none but the script's own limit */
};

#define MD_RESPONSE_HEADERS_MAX 16

/* Filled by md_script_call. Either `blob` or `body` holds the bytes. */
struct md_response {
    int status;
    const char *content_type;
    struct md_header headers[MD_RESPONSE_HEADERS_MAX]; /* names as the script wrote them, checked
                                                          for illegal bytes */
    int header_count;
    struct md_buffer body;
    struct md_blob *blob;  /* a shared body, held by this response; NULL: see body */
    struct md_arena arena; /* the text of headers and content_type */
    int keep_alive_ms; /* of an event stream: comments when nothing was sent for so long; 0: none */
};
void md_response_init(struct md_response *response, size_t body_bytes_max);
void md_response_fini(struct md_response *response);
/* Makes it {"detail": ..., "code": ...} with the status that belongs to err's code. */
void md_response_error(struct md_response *response, const struct md_error *err);

struct md_route_info {
    const char *method;
    const char *pattern; /* "/explain/{server}" */
    const char *summary; /* "" when the script gives none */
    bool needs_key; /* default: true when any API key is configured and the route says nothing */
    bool admin;
    int rate_per_min;      /* 0: no limit */
    size_t body_bytes_max; /* of the request; 0: the server's */
    int index;             /* in the generation's table, 0 .. */
};

#define MD_ROUTE_PARAMS_MAX 8
#define MD_ROUTE_PATH_MAX   2048

struct md_match {
    struct md_generation *generation; /* held until md_match_fini */
    const struct md_route_info *route;
    int param_count;
    struct {
        const char *name;
        const char *value; /* percent-decoded, in text; may hold any byte but NUL */
    } params[MD_ROUTE_PARAMS_MAX];
    char allow[64]; /* after MD_ERR_METHOD: "GET, POST" for the Allow header */
    char text[MD_ROUTE_PATH_MAX];
};

struct md_script_options {
    const char *dir;     /* the scripts folder */
    const char *lib_dir; /* the folder that holds moondial/init.lua */
    struct md_clock *clock;
    struct md_config *config; /* a reference is taken */
    struct md_serve *serve;   /* may be NULL: models are unavailable */
    struct md_store *store;   /* may be NULL: nothing outlives the process */
    int threads;              /* that write one long answer; 0: the one that made it */
};

/*
 * Loads the folder and makes its pool. On failure err holds the first mistake with file and line.
 * Runs no timers and loads no models yet: see md_script_start.
 */
enum md_status md_script_new(const struct md_script_options *options, struct md_script **script,
                             struct md_error *err);
/* Starts the scheduler: loads the declared models, runs on_start, then timers and ticks. */
enum md_status md_script_start(struct md_script *script, struct md_error *err);
/*
 * Sets the engine's clock, which stands otherwise, and waits until all that is due by then has been
 * done: timers and ticks, then what the notifier decides (sending goes on by itself). So nothing
 * that a slower clock would have seen is passed over, however busy the machine is. MD_ERR_TIMEOUT,
 * also when the engine ends. One caller at a time.
 */
enum md_status md_script_advance(struct md_script *script, struct md_clock_standing *clock,
                                 int64_t now_ms, int64_t timeout_ns, struct md_error *err);
/* Ends the scheduler after the jobs in progress; requests still work. Idempotent. */
void md_script_stop(struct md_script *script);
/* Stops; no request may be in progress. */
void md_script_delete(struct md_script *script);

/* Finds the route. MD_ERR_NOT_FOUND, MD_ERR_METHOD (match->allow is set), MD_ERR_TOO_LARGE,
 * MD_ERR_INVALID (bad escape). */
enum md_status md_script_match(struct md_script *script, const char *method, const char *path,
                               struct md_match *match, struct md_error *err);
void md_match_fini(struct md_match *match); /* needed after MD_OK; harmless otherwise */

/*
 * Runs the handler. MD_OK: response is complete, whatever its HTTP status; a script's error is a
 * complete response (500) and has been logged with file and line. A handler that answers with an
 * event stream sends it through request->stream, and the call lasts as long as the stream; response
 * is of use only when the writer's begin failed. Otherwise (no free state in time,
 * out of memory, deadline) response holds the same error as err, ready to send.
 */
enum md_status md_script_call(struct md_script *script, const struct md_match *match,
                              const struct md_request *request, struct md_response *response,
                              struct md_error *err);
/*
 * Closes the event streams that began in this generation (NULL: in any); their functions are told
 * by their next call. Returns how many there were; does not wait for their end.
 */
int md_script_streams_close(struct md_script *script, const struct md_generation *generation,
                            const char *why);

/* For /health, /ready, /openapi.json. */
/* Started, and every model that is not optional is there (it may come later: md.models.load). */
bool md_script_ready(struct md_script *script);
/* Appends the app's static health fields as members: `"service":"x","running":true`, or nothing. */
void md_script_health(struct md_script *script, struct md_buffer *json);
/* Appends why service is impaired, as JSON strings separated by commas, or nothing. */
void md_script_degraded(struct md_script *script, struct md_buffer *json);
void md_script_visit_routes(struct md_script *script,
                            void (*visit)(void *context, const struct md_route_info *route),
                            void *context);

/* ---- changing scripts while they run ---- */

/*
 * Loads the folder and the configuration as they are now into a new generation, on the calling
 * thread, and lets it serve: requests that have begun end in the generation they began in. Any
 * failure leaves the old one serving; err is one line ("routes.lua:12: ..."), and /health says it
 * until a reload succeeds. MD_ERR_UNAVAILABLE: requests from before the last change are still
 * running after drain_ms_max. reason is a short constant word for log and state: "admin", "signal";
 * with "watch" nothing happens when no file and no setting has changed. report_json (may be NULL)
 * gets {"ok", "generation", "before", "reason", "ms", "changed": [files], "needs_restart"} on
 * success.
 */
enum md_status md_script_reload(struct md_script *script, const char *reason,
                                struct md_buffer *report_json, struct md_error *err);
/*
 * The same with the files and settings of the generation before, which are kept in memory (four of
 * them): scripts go back, data does not. MD_ERR_CONFLICT: there is none.
 */
enum md_status md_script_rollback(struct md_script *script, const char *reason,
                                  struct md_buffer *report_json, struct md_error *err);
/*
 * Loads a model anew, beside the version that serves, and replaces that when the new one is good.
 * By name: from where it came; by path (below the folder's models/): as the model that came from
 * there, or as the only one. Both: that name from that path. report_json: {"ok", "name", "path",
 * "version"}.
 */
enum md_status md_script_model_reload(struct md_script *script, const char *name, const char *path,
                                      struct md_buffer *report_json, struct md_error *err);
/* Reloads by itself from now on, whenever scripts or models change on disk. Call it before
 * md_script_start; md_script_stop ends it. */
enum md_status md_script_watch(struct md_script *script, struct md_error *err);
/* Appends what /admin/scripts shows: generation, files with hashes, the last change, hooks. */
void md_script_state(struct md_script *script, struct md_buffer *json);

/*
 * `moondial check`: loads everything in a scratch state, without effects, and reports every mistake
 * found, one line each ("routes.lua:12: ..."). MD_OK when there is none; otherwise the code of the
 * first.
 */
enum md_status md_script_check(const struct md_script_options *options,
                               void (*report)(void *context, const char *line), void *context,
                               struct md_error *err);

#endif
