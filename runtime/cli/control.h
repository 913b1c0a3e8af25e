/*
 * The control socket: how commands on this machine talk to a running daemon.
 *
 * A stream socket in the file system, mode 0600, so that only the daemon's own user (and root) can
 * connect; there is no other key. Both sides send one JSON object a line; a request has at most
 * MD__CONTROL_LINE_MAX bytes:
 *
 *     > {"op":"log-level","level":"debug"}
 *     < {"event":"...", ...}                         any number of these, while the op runs
 *     < {"ok":true,"level":"debug"}                  or {"ok":false,"code":"...","detail":"..."}
 *
 * Requests of one connection run one after the other, each on a thread of its own, while the
 * connection goes on listening: {"op":"interrupt"}, which gets no answer, cancels the one in
 * progress, and so does hanging up. (Closing only the sending direction is not hanging up.)
 *
 * Peers may be slow or hostile: connections, queued requests and bytes are bounded, a line that was
 * begun must end in time, an answer must be taken in time. When all connections are taken, the one
 * that has been silent longest makes room.
 */
#ifndef MD_CLI_CONTROL_H
#define MD_CLI_CONTROL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/status.h"

#define MD__CONTROL_LINE_MAX        ((size_t)1 << 20)
#define MD__CONTROL_CONNECTIONS_MAX 8
#define MD__CONTROL_NAME            "control.sock" /* in the state folder */

struct md_http;
struct md_config;
struct md_script;
struct md_serve;

/* What ops work on. Everything outlives the socket. */
struct md_control_context {
    struct md_script *script;
    struct md_serve *serve;
    struct md_http *http;
    struct md_config *config;
    struct md_clock *clock; /* the service's; see clock_speed */
    struct md_clock_standing *standing; /* the same when its speed is 0, or NULL */
    int64_t started_ns;     /* of the system's clock */
};

/* One request in progress. */
struct md_control_call {
    const struct md_control_context *context;
    json_t *result; /* an object; its members become those of the answer beside "ok" */
    /* What an op keeps for later ones of the same connection; end runs when that closes. */
    struct md__control_session {
        void *data;
        void (*end)(void *data);
    } * session;
    struct md__connection *connection;
};

/*
 * Runs on a thread of its own, with the whole default stack. A failure becomes the answer, beside
 * whatever the op has put into result.
 */
struct md_control_op {
    const char *name;
    enum md_status (*run)(struct md_control_call *call, json_t *request, struct md_error *err);
};
/* reload.c */
enum md_status md__control_reload(struct md_control_call *call, json_t *request,
                                  struct md_error *err);
enum md_status md__control_rollback(struct md_control_call *call, json_t *request,
                                    struct md_error *err);
enum md_status md__control_scripts(struct md_control_call *call, json_t *request,
                                   struct md_error *err);
/* rehearse.c */
enum md_status md__control_rehearse(struct md_control_call *call, json_t *request,
                                    struct md_error *err);
/* control_repl.c: see lua/moondial/repl.lua for what a request may say */
enum md_status md__control_repl(struct md_control_call *call, json_t *request,
                                struct md_error *err);
extern const struct md_control_op md__control_ops[]; /* control_ops.c; ends with a NULL name */

/* Sends a line before the answer; takes over the reference. A peer that is gone loses it. */
void md__control_event(struct md_control_call *call, json_t *event);
/*
 * cancel(data) will run, on another thread, when the call is cancelled (at once when it is
 * already). NULL takes it back: afterwards it does not run any more. An op must take it back
 * before it returns.
 */
void md__control_on_cancel(struct md_control_call *call, void (*cancel)(void *data), void *data);

/* ---- the daemon's side ---- */

struct md_control;

/*
 * Listens at path. MD_ERR_CONFLICT: somebody answers there; MD_ERR_INVALID: the path is too long
 * for a socket, or is a file of another kind. A socket that nobody listens to is replaced.
 */
enum md_status md__control_new(const char *path, const struct md_control_context *context,
                               struct md_control **control, struct md_error *err);
/* Cancels what runs, waits for it, and removes the socket. NULL is fine. */
void md__control_delete(struct md_control *control);

/* ---- the commands' side (control_client.c) ---- */

struct md__control_client;

/* Which socket: `control` when given, else that of the daemon with this state folder, else the
 * same from MOONDIAL_CONTROL and MOONDIAL_STATE. */
enum md_status md__control_find(const char *control, const char *state, char *path, size_t size,
                                struct md_error *err);
enum md_status md__control_connect(const char *path, struct md__control_client **client,
                                   struct md_error *err);
/*
 * Sends a request (taking over the reference) and waits for its answer, which is the caller's.
 * Events go to on_event, which may be NULL. An answer with "ok":false is a failure with its code
 * and text; whatever else it says is in *answer, when that is not NULL afterwards. A signal whose
 * handler calls md__control_interrupt cancels the request.
 */
enum md_status md__control_ask(struct md__control_client *client, json_t *request,
                               void (*on_event)(void *context, json_t *event), void *context,
                               json_t **answer, struct md_error *err);
void md__control_interrupt(struct md__control_client *client); /* async-signal-safe */
void md__control_close(struct md__control_client *client);     /* NULL is fine */

/* One request on a connection of its own. answer may be NULL. */
enum md_status md__control_call(const char *path, json_t *request,
                                void (*on_event)(void *context, json_t *event), void *context,
                                json_t **answer, struct md_error *err);

/* ---- both sides ---- */

struct sockaddr_un;
enum md_status md__control_address(const char *path, struct sockaddr_un *address,
                                   struct md_error *err);

#endif
