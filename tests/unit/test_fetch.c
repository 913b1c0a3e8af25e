/*
 * The HTTP client against a server of one answer, on a thread of the test: what is sent, what comes
 * back, and everything that can go wrong on the way.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fetch.h"
#include "unit.h"

static struct md_error err;
static struct md_buffer response;
static int http_status;

/* Takes one connection, reads the request to its end, writes `answer` and closes. */
struct server {
    int listener;
    int port;
    const char *answer; /* NULL: never answers */
    pthread_t thread;
    char request[1 << 17];
    size_t request_length;
};

static struct server server;

static size_t request_size(const char *text)
{
    const char *end = strstr(text, "\r\n\r\n");
    const char *length = strstr(text, "Content-Length: ");
    return !end ? SIZE_MAX : (size_t)(end - text) + 4 + (length ? (size_t)atol(length + 16) : 0);
}

static void *serve_one(void *argument)
{
    int client = accept(server.listener, NULL, NULL);
    if (client < 0)
        return argument;
    while (request_size(server.request) > server.request_length) {
        ssize_t got = read(client, server.request + server.request_length,
                           sizeof server.request - 1 - server.request_length);
        if (got <= 0)
            break;
        server.request_length += (size_t)got;
    }
    if (server.answer)
        (void)!write(client, server.answer, strlen(server.answer));
    else
        (void)!read(client, server.request, 1); /* until the client hangs up */
    close(client);
    return argument;
}

static bool listen_on(int family)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr *address = family == AF_INET6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
    socklen_t size = family == AF_INET6 ? sizeof v6 : sizeof v4;
    server.listener = socket(family, SOCK_STREAM, 0);
    if (server.listener < 0 || bind(server.listener, address, size) != 0 ||
        listen(server.listener, 1) != 0 || getsockname(server.listener, address, &size) != 0)
        return false;
    server.port = ntohs(family == AF_INET6 ? v6.sin6_port : v4.sin_port);
    return true;
}

static void start_server(const char *answer)
{
    memset(&server, 0, sizeof server);
    server.answer = answer;
    assert_true(listen_on(AF_INET));
    assert_int_equal(pthread_create(&server.thread, NULL, serve_one, NULL), 0);
}

static void stop_server(void)
{
    shutdown(server.listener, SHUT_RDWR);
    pthread_join(server.thread, NULL);
    close(server.listener);
}

static const char *url_of(const char *path)
{
    static char url[200];
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", server.port, path);
    return url;
}

static struct md_fetch_request get(const char *url)
{
    return (struct md_fetch_request){
        .method = "GET", .url = url, .timeout_ms = 5000, .response_bytes_max = 1000};
}

static enum md_status fetch(const struct md_fetch_request *request)
{
    md_buffer_clear(&response);
    http_status = -1;
    return md_fetch(request, &http_status, &response, &err);
}

static int set_up(void **state)
{
    md_buffer_init(&response, 0);
    return unsetenv("http_proxy");
}

static int tear_down(void **state)
{
    md_buffer_fini(&response);
    return 0;
}

static void a_get_brings_the_body(void **state)
{
    start_server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    struct md_fetch_request request = get(url_of("/metrics?x=1"));
    assert_ok(fetch(&request));
    stop_server();
    assert_int_equal(http_status, 200);
    assert_string_equal(response.data, "hello");
    assert_memory_equal(server.request, "GET /metrics?x=1 HTTP/1.1\r\n", 27);
    assert_non_null(strstr(server.request, "\r\nUser-Agent: moondial/"));
}

static void a_post_sends_body_and_headers(void **state)
{
    static char body[100000];
    memset(body, 'b', sizeof body);
    start_server("HTTP/1.1 204 No Content\r\n\r\n");
    struct md_fetch_request request = get(url_of("/feed"));
    request.method = "POST";
    request.headers = (const char *[]){"Content-Type: application/json", "X-Key: k", NULL};
    request.body = body;
    request.body_length = sizeof body;
    assert_ok(fetch(&request));
    stop_server();
    assert_int_equal(http_status, 204);
    assert_int_equal(response.length, 0);
    assert_memory_equal(server.request, "POST /feed ", 11);
    assert_non_null(strstr(server.request, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(server.request, "\r\nX-Key: k\r\n"));
    assert_null(strstr(server.request, "Expect"));
    assert_memory_equal(server.request + server.request_length - sizeof body, body, sizeof body);
}

static void other_methods_are_sent_as_named(void **state)
{
    static const char *const methods[] = {"HEAD", "POST", "DELETE"};
    for (size_t i = 0; i < 3; i++) {
        start_server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        struct md_fetch_request request = get(url_of("/"));
        request.method = methods[i];
        assert_ok(fetch(&request));
        stop_server();
        assert_memory_equal(server.request, methods[i], strlen(methods[i]));
    }
}

static void an_error_status_is_an_answer(void **state)
{
    start_server("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy");
    struct md_fetch_request request = get(url_of("/"));
    assert_ok(fetch(&request));
    stop_server();
    assert_int_equal(http_status, 503);
    assert_string_equal(response.data, "busy");
}

static void an_answer_may_say_when_to_come_back(void **state)
{
    int64_t seconds = -1;
    start_server("HTTP/1.1 429 Later\r\nRetry-After: 17\r\nContent-Length: 0\r\n\r\n");
    struct md_fetch_request request = get(url_of("/"));
    request.retry_after_s = &seconds;
    assert_ok(fetch(&request));
    stop_server();
    assert_int_equal(seconds, 17);
    start_server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    request.url = url_of("/");
    assert_ok(fetch(&request));
    stop_server();
    assert_int_equal(seconds, 0);
}

static void a_redirect_is_not_followed(void **state)
{
    start_server("HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n");
    struct md_fetch_request request = get(url_of("/"));
    assert_ok(fetch(&request));
    stop_server();
    assert_int_equal(http_status, 302);
}

static void bodies_are_capped(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    };
    for (int i = 0; i < 2; i++) {
        for (size_t bytes_max = 4; bytes_max <= 5; bytes_max++) {
            start_server(answers[i]);
            struct md_fetch_request request = get(url_of("/"));
            request.response_bytes_max = bytes_max;
            if (bytes_max == 4)
                assert_fails(MD_ERR_TOO_LARGE, fetch(&request));
            else
                assert_ok(fetch(&request));
            stop_server();
        }
    }
}

static void a_buffer_with_a_smaller_cap_counts_too(void **state)
{
    start_server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    struct md_fetch_request request = get(url_of("/"));
    struct md_buffer small;
    md_buffer_init(&small, 2);
    assert_fails(MD_ERR_TOO_LARGE, md_fetch(&request, &http_status, &small, &err));
    stop_server();
    md_buffer_fini(&small);
}

static void broken_answers_are_errors(void **state)
{
    static const char *const answers[] = {
        "",
        "SSH-2.0-nonsense\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        start_server(answers[i]);
        struct md_fetch_request request = get(url_of("/?token=secret"));
        assert_fails(MD_ERR_IO, fetch(&request));
        stop_server();
        assert_says("GET http://127.0.0.1:");
        assert_null(strstr(err.text, "secret"));
    }
}

static void silence_times_out(void **state)
{
    start_server(NULL);
    struct md_fetch_request request = get(url_of("/"));
    request.timeout_ms = 50;
    assert_fails(MD_ERR_TIMEOUT, fetch(&request));
    stop_server();
}

static void a_stop_ends_the_call(void **state)
{
    start_server(NULL);
    _Atomic bool stop = true;
    struct md_fetch_request request = get(url_of("/"));
    request.timeout_ms = 60000;
    request.stop = &stop;
    assert_fails(MD_ERR_CANCELLED, fetch(&request));
    stop_server();
}

static void nobody_there_is_an_error(void **state)
{
    start_server("");
    char url[200];
    strcpy(url, url_of("/"));
    stop_server();
    struct md_fetch_request request = get(url);
    assert_fails(MD_ERR_IO, fetch(&request));
}

static void what_may_not_go_in_is_refused(void **state)
{
    static const char *const urls[] = {
        "",
        "nonsense://x",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://",
        "http://a b/",
        "/path/only",
        "http://h/\r\nX-Evil: 1",
        "gopher://127.0.0.1:1",
        "http://127.0.0.1:99999/",
    };
    struct md_fetch_request request;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        request = get(urls[i]);
        assert_fails(MD_ERR_INVALID, fetch(&request));
    }
    static const char *const methods[] = {"", "get", "GET /x HTTP/1.1\r\n", "G T", NULL};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        request = get("http://127.0.0.1:1/");
        request.method = methods[i];
        assert_fails(MD_ERR_INVALID, fetch(&request));
    }
    static const char *const headers[] = {"", "NoColon", ": x", "A: b\r\nC: d", "A b: c"};
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        request = get("http://127.0.0.1:1/");
        request.headers = (const char *[]){"Good: yes", headers[i], NULL};
        assert_fails(MD_ERR_INVALID, fetch(&request));
    }
    request = get("http://127.0.0.1:1/");
    request.timeout_ms = 0;
    assert_fails(MD_ERR_INVALID, fetch(&request));
}

static void ipv6_works_where_there_is_one(void **state)
{
    memset(&server, 0, sizeof server);
    server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nv6";
    if (!listen_on(AF_INET6))
        skip();
    assert_int_equal(pthread_create(&server.thread, NULL, serve_one, NULL), 0);
    char url[64];
    snprintf(url, sizeof url, "http://[::1]:%d/", server.port);
    struct md_fetch_request request = get(url);
    assert_ok(fetch(&request));
    stop_server();
    assert_string_equal(response.data, "v6");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_get_brings_the_body),
        cmocka_unit_test(a_post_sends_body_and_headers),
        cmocka_unit_test(other_methods_are_sent_as_named),
        cmocka_unit_test(an_error_status_is_an_answer),
        cmocka_unit_test(an_answer_may_say_when_to_come_back),
        cmocka_unit_test(a_redirect_is_not_followed),
        cmocka_unit_test(bodies_are_capped),
        cmocka_unit_test(a_buffer_with_a_smaller_cap_counts_too),
        cmocka_unit_test(broken_answers_are_errors),
        cmocka_unit_test(silence_times_out),
        cmocka_unit_test(a_stop_ends_the_call),
        cmocka_unit_test(nobody_there_is_an_error),
        cmocka_unit_test(what_may_not_go_in_is_refused),
        cmocka_unit_test(ipv6_works_where_there_is_one),
    };
    return cmocka_run_group_tests_name("fetch", tests, set_up, tear_down);
}
