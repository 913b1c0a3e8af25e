/*
 * The commands' side of the control socket, and `moondial control`, which sends one request as it
 * is. See control.h for the protocol.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/json_in.h"
#include "cli/cli.h"
#include "cli/control.h"

enum { PIECE_BYTES = 65536 };

static const size_t answer_bytes_max = (size_t)64 << 20;

struct md__control_client {
    int socket;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    struct md_buffer text; /* received, from the beginning of a line */
};

/* ---- which socket ---- */

enum md_status md__control_find(const char *control, const char *state, char *path, size_t size,
                                struct md_error *err)
{
    int length;

    if (control == NULL && state == NULL) {
        control = getenv("MOONDIAL_CONTROL");
        state = getenv("MOONDIAL_STATE");
    }
    if (control != NULL && control[0] != '\0') {
        length = snprintf(path, size, "%s", control);
    } else if (state != NULL && state[0] != '\0') {
        length = snprintf(path, size, "%s/" MD__CONTROL_NAME, state);
    } else {
        return md_fail(err, MD_ERR_INVALID,
                       "which daemon? name its --control SOCKET or its --state DIR");
    }
    if (length < 0 || (size_t)length >= size) {
        return md_fail(err, MD_ERR_INVALID, "control socket: the path is too long");
    }
    return MD_OK;
}

enum md_status md__control_connect(const char *path, struct md__control_client **result,
                                   struct md_error *err)
{
    struct md__control_client *client;
    struct sockaddr_un address;
    enum md_status status = md__control_address(path, &address, err);

    if (status != MD_OK) {
        return status;
    }
    client = calloc(1, sizeof *client);
    if (client == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "no memory for a connection");
    }
    md_buffer_init(&client->text, answer_bytes_max);
    memcpy(client->path, address.sun_path, sizeof client->path);
    client->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->socket >= 0 &&
        connect(client->socket, (struct sockaddr *)&address, sizeof address) == 0) {
        *result = client;
        return MD_OK;
    }
    if (errno == ENOENT || errno == ECONNREFUSED) {
        status = md_fail(err, MD_ERR_NOT_FOUND, "no daemon listens at %s", path);
    } else {
        status = md_fail(err, MD_ERR_IO, "%s: %s", path, strerror(errno));
    }
    md__control_close(client);
    return status;
}

void md__control_close(struct md__control_client *client)
{
    if (client == NULL) {
        return;
    }
    if (client->socket >= 0) {
        close(client->socket);
    }
    md_buffer_fini(&client->text);
    free(client);
}

/* ---- asking ---- */

void md__control_interrupt(struct md__control_client *client)
{
    static const char line[] = "{\"op\":\"interrupt\"}\n";
    ssize_t sent = send(client->socket, line, sizeof line - 1, MSG_NOSIGNAL | MSG_DONTWAIT);

    (void)sent; /* the next Ctrl-C tries again */
}

static enum md_status fail_gone(const struct md__control_client *client, struct md_error *err)
{
    return md_fail(err, MD_ERR_UNAVAILABLE, "the daemon at %s has hung up", client->path);
}

static enum md_status send_request(struct md__control_client *client, json_t *request,
                                   struct md_error *err)
{
    char *text = request != NULL ? json_dumps(request, JSON_COMPACT) : NULL;
    size_t length = text != NULL ? strlen(text) : 0, at = 0;
    enum md_status status = MD_OK;

    json_decref(request);
    if (text == NULL) {
        return md_fail(err, MD_ERR_INVALID, "the request is no JSON (bytes that are not UTF-8?)");
    }
    text[length++] = '\n';
    if (length > MD__CONTROL_LINE_MAX) {
        status = md_fail(err, MD_ERR_TOO_LARGE, "a request may have %zu bytes, not %zu",
                         MD__CONTROL_LINE_MAX, length);
    }
    while (at < length && status == MD_OK) {
        ssize_t sent = send(client->socket, text + at, length - at, MSG_NOSIGNAL);
        if (sent > 0) {
            at += (size_t)sent;
        } else if (errno != EINTR) {
            status = fail_gone(client, err);
        }
    }
    free(text);
    return status;
}

/* Reads on until text begins with a whole line; its length without the end. */
static enum md_status receive_line(struct md__control_client *client, size_t *length,
                                   struct md_error *err)
{
    struct md_buffer *text = &client->text;
    size_t scanned = 0;

    for (;;) {
        const char *end = text->length > scanned
                              ? memchr(text->data + scanned, '\n', text->length - scanned)
                              : NULL;
        ssize_t got;
        if (end != NULL) {
            *length = (size_t)(end - text->data);
            return MD_OK;
        }
        scanned = text->length;
        if (!md_buffer_reserve(text, PIECE_BYTES)) {
            return md_buffer_check(text, err);
        }
        got = recv(client->socket, text->data + text->length, PIECE_BYTES, 0);
        if (got > 0) {
            text->length += (size_t)got;
        } else if (got == 0 || errno != EINTR) {
            return fail_gone(client, err);
        }
    }
}

static enum md_status receive(struct md__control_client *client, json_t **object,
                              struct md_error *err)
{
    struct md_buffer *text = &client->text;
    size_t length = 0;
    enum md_status status = receive_line(client, &length, err);

    if (status == MD_OK) {
        status = md_json_parse(text->data, length, object, err);
        text->length -= length + 1;
        memmove(text->data, text->data + length + 1, text->length);
    }
    return status;
}

/* The answer's own failure, which the daemon has told. */
static enum md_status fail_told(const json_t *answer, struct md_error *err)
{
    const char *code = json_string_value(json_object_get(answer, "code"));
    const char *detail = json_string_value(json_object_get(answer, "detail"));

    return md_fail(err, md_status_of_name(code != NULL ? code : ""), "%s",
                   detail != NULL ? detail : "the daemon refuses without a reason");
}

enum md_status md__control_ask(struct md__control_client *client, json_t *request,
                               void (*on_event)(void *context, json_t *event), void *context,
                               json_t **answer, struct md_error *err)
{
    enum md_status status = send_request(client, request, err);
    json_t *object = NULL;

    while (status == MD_OK) {
        status = receive(client, &object, err);
        if (status == MD_OK && json_object_get(object, "event") == NULL) {
            break;
        }
        if (status == MD_OK && on_event != NULL) {
            on_event(context, object);
        }
        json_decref(object);
        object = NULL;
    }
    if (status == MD_OK && !json_is_true(json_object_get(object, "ok"))) {
        status = fail_told(object, err);
    }
    if (answer != NULL) {
        *answer = object;
    } else {
        json_decref(object);
    }
    return status;
}

enum md_status md__control_call(const char *path, json_t *request,
                                void (*on_event)(void *context, json_t *event), void *context,
                                json_t **answer, struct md_error *err)
{
    struct md__control_client *client = NULL;
    enum md_status status = md__control_connect(path, &client, err);

    if (status != MD_OK) {
        json_decref(request);
        return status;
    }
    status = md__control_ask(client, request, on_event, context, answer, err);
    md__control_close(client);
    if (status != MD_OK && answer != NULL) {
        json_decref(*answer);
        *answer = NULL;
    }
    return status;
}

/* ---- moondial control ---- */

static void print_json(void *context, json_t *object)
{
    (void)context;
    json_dumpf(object, stdout, JSON_INDENT(2));
    putchar('\n');
}

static enum md_status parse_request(const char *text, json_t **request, struct md_error *err)
{
    if (text[0] != '{') {
        *request = json_pack("{s:s}", "op", text);
        return *request != NULL ? MD_OK : md_fail(err, MD_ERR_INVALID, "this op is not UTF-8");
    }
    return md_json_parse(text, strlen(text), request, err);
}

int md__cli_control(int argc, char **argv)
{
    const char *text, *control = NULL, *state = NULL;
    const struct md__flag flags[] = {MD__FLAGS_DAEMON(control, state)};
    char path[PATH_MAX];
    json_t *request = NULL, *answer = NULL;
    struct md_error err = {0};
    enum md_status status = md__args_parse(
        argc, argv, flags, 2, "control OP|JSON [--control SOCKET] [--state DIR]", &text, &err);

    if (status == MD_OK) {
        status = md__control_find(control, state, path, sizeof path, &err);
    }
    if (status == MD_OK) {
        status = parse_request(text, &request, &err);
    }
    if (status == MD_OK) {
        status = md__control_call(path, request, print_json, NULL, &answer, &err);
    }
    if (status != MD_OK) {
        return md__cli_fail(&err);
    }
    print_json(NULL, answer);
    json_decref(answer);
    return 0;
}
