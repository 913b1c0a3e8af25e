/*
 * What a C program on a threaded web library can do at best: civetweb, answering one fixed JSON
 * body with one write. tests/bench/http/run compares a Lua route with it.
 *
 *     ceiling PORT THREADS BODY
 */
#include <civetweb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char answer[4096];
static size_t answer_length;

static int answer_all(struct mg_connection *connection)
{
    mg_write(connection, answer, answer_length);
    return 200;
}

int main(int argc, char **argv)
{
    static const struct mg_callbacks callbacks = {.begin_request = answer_all};
    char port[64];

    if (argc != 4) {
        fprintf(stderr, "usage: ceiling PORT THREADS BODY\n");
        return 2;
    }
    snprintf(port, sizeof port, "127.0.0.1:%s", argv[1]);
    const char *options[] = {"listening_ports", port,           "num_threads",           argv[2],
                             "tcp_nodelay",     "1",            "enable_keep_alive",     "yes",
                             "request_timeout_ms", "30000",     "keep_alive_timeout_ms", "30000",
                             NULL};
    answer_length =
        (size_t)snprintf(answer, sizeof answer,
                         "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                         "Content-Length: %zu\r\nConnection: keep-alive\r\n\r\n%s",
                         strlen(argv[3]), argv[3]);
    if (mg_start(&callbacks, NULL, options) == NULL) {
        fprintf(stderr, "ceiling: cannot listen on %s\n", port);
        return 1;
    }
    for (;;) {
        pause();
    }
}
