/* A request and its answer: from a parsed head to what handlers see, and small ways to write. */
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/connection.h"

void md__exchange_init(struct md__exchange *exchange, struct md_http *http)
{
    memset(exchange, 0, offsetof(struct md__exchange, trace));
    exchange->trace.id = 0;
    exchange->match.generation = NULL;
    exchange->head.header_count = 0; /* a refusal may come before the head has been parsed */
    exchange->head.minor = 1;
    exchange->head.keep_alive = true;
    exchange->http = http;
    exchange->request.method = exchange->request.path = "";
    exchange->request.body = "";
    exchange->request.id = ++http->ids;
    exchange->content_length = -1;
    exchange->keep_alive = true;
    exchange->route = "other";
    exchange->begin_ns = md_monotonic_ns(http->options.clock);
}

void md__exchange_take_head(struct md__exchange *exchange)
{
    struct md_request *request = &exchange->request;
    const struct md__head *head = &exchange->head;
    const char *encoding, *length;

    exchange->is_head = strcmp(head->method, "HEAD") == 0;
    request->method = exchange->is_head ? "GET" : head->method;
    request->path = head->path;
    request->query = head->query;
    request->headers = head->headers;
    request->header_count = head->header_count;
    exchange->keep_alive = head->keep_alive;
    encoding = md__header(request, "transfer-encoding");
    length = md__header(request, "content-length");
    exchange->chunked = encoding != NULL;
    if (length != NULL) { /* md__request_check sees to it that it is a number */
        exchange->content_length = strtoll(length, NULL, 10);
    }
    exchange->body_read = !exchange->chunked && exchange->content_length <= 0;
}

/* Everything that points into [from, from + length) points to the same place in `to` from now on.
 */
static void move_head(struct md__exchange *exchange, const char *from, size_t length, char *to)
{
    struct md_request *request = &exchange->request;
    const char **texts[] = {&request->method, &request->path, &request->query};

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (*texts[i] >= from && *texts[i] < from + length) {
            *texts[i] = to + (*texts[i] - from);
        }
    }
    for (int i = 0; i < exchange->head.header_count; i++) {
        struct md_header *header = &exchange->head.headers[i];
        header->name = to + (header->name - from);
        header->value = to + (header->value - from);
    }
}

bool md__exchange_own_head(struct md__exchange *exchange, const char *text, size_t length)
{
    exchange->head_text = malloc(length);
    if (exchange->head_text == NULL) {
        return false;
    }
    memcpy(exchange->head_text, text, length);
    move_head(exchange, text, length, exchange->head_text);
    return true;
}

bool md__exchange_continue(struct md__exchange *exchange)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const char *expect = md__header(&exchange->request, "expect");

    return expect == NULL || exchange->head.minor == 0 ||
           md__transport_write(exchange->connection, go_on, sizeof go_on - 1, false) ==
               (ssize_t)(sizeof go_on - 1);
}

bool md__exchange_write(struct md__exchange *exchange, const void *data, size_t length,
                        int64_t until_ns)
{
    exchange->broken =
        exchange->broken || !md__transport_write_all(exchange->connection, data, length, until_ns);
    return !exchange->broken;
}

bool md__exchange_wait(struct md__exchange *exchange, int wake_fd, int64_t ns)
{
    struct pollfd items[] = {{.fd = exchange->connection->fd, .events = POLLRDHUP},
                             {.fd = wake_fd, .events = POLLIN}};
    int64_t ms = ns / 1000000 + 1;

    poll(items, 2, ms > 60000 ? 60000 : (int)ms);
    return (items[0].revents & (POLLRDHUP | POLLHUP | POLLERR)) == 0;
}

void md__exchange_close(struct md__exchange *exchange)
{
    exchange->keep_alive = false;
}
