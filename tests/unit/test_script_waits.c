/* Waiting: a state is free meanwhile, deadlines and the end of the engine reach the script. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "scripted.h"
#include "unit.h"

static struct scripted s;

static int end(void **state)
{
    scripted_end(&s);
    return 0;
}

struct caller {
    pthread_t thread;
    const char *target;
    int status;
    char body[256];
};

static void *call(void *context)
{
    struct caller *caller = context;
    struct md_response response;
    md_response_init(&response, 0);
    caller->status = scripted_call_into(&s, "GET", caller->target, NULL, &response);
    snprintf(caller->body, sizeof caller->body, "%s",
             response.body.data != NULL ? response.body.data : "");
    md_response_fini(&response);
    return NULL;
}

static void start(struct caller *caller, const char *target)
{
    *caller = (struct caller){.target = target};
    assert_int_equal(pthread_create(&caller->thread, NULL, call, caller), 0);
}

static void test_waiting_frees_the_state(void **state)
{
    static const char *const flags[] = {"--states", "1", NULL};
    struct caller caller;
    scripted_routes(&s,
                    "local d = md.dict 'x'\n"
                    "return { md.get('/wait', function()\n"
                    "    d:set('waiting', true)\n"
                    "    while not d:get 'go' do md.sleep(0.002) end return 'went' end),\n"
                    "  md.get('/waiting', function() return { d:get 'waiting' or false } end),\n"
                    "  md.get('/go', function() d:set('go', true) end) }",
                    flags);
    start(&caller, "/wait");
    do
        assert_int_equal(scripted_call(&s, "GET", "/waiting", NULL), 200);
    while (strcmp(s.body, "[true]") != 0);
    assert_int_equal(scripted_call(&s, "GET", "/go", NULL), 204);
    pthread_join(caller.thread, NULL);
    assert_int_equal(caller.status, 200);
    assert_string_equal(caller.body, "went");
}

/* Calls until there is a state for it. */
static void *call_until_taken(void *context)
{
    struct caller *caller = context;
    do
        call(caller);
    while (caller->status == 503);
    return NULL;
}

static void test_no_free_state_is_503(void **state)
{
    static const char *const flags[] = {
        "--states", "1", "--state-tasks-max", "1", "--state-wait-ms", "20", NULL};
    struct caller caller = {.target = "/wait"};
    scripted_routes(&s,
                    "return { md.get('/wait', function() md.sleep(60) return 'done' end),\n"
                    "  md.get('/quick', function() return 'ok' end) }",
                    flags);
    pthread_create(&caller.thread, NULL, call_until_taken, &caller);
    while (scripted_call(&s, "GET", "/quick", NULL) == 200)
        usleep(1000);
    assert_int_equal(s.response.status, 503);
    assert_non_null(strstr(s.body, "\"code\":\"UNAVAILABLE\""));
    md_script_stop(s.script);
    pthread_join(caller.thread, NULL);
    assert_int_equal(scripted_call(&s, "GET", "/quick", NULL), 200);
}

static void test_deadline_reaches_script(void **state)
{
    struct md_match match;
    struct md_error err;
    scripted_routes(&s,
                    "return { md.get('/', function()\n"
                    "  local ok, why = md.sleep(60) return { ok or why.code } end) }",
                    NULL);
    struct md_request request = {
        .method = "GET", .path = "/", .deadline_ns = md_monotonic_ns(s.clock) + 20000000};
    assert_ok(md_script_match(s.script, "GET", "/", &match, &err));
    assert_ok(md_script_call(s.script, &match, &request, &s.response, &err));
    md_match_fini(&match);
    assert_string_equal(s.response.body.data, "[\"DEADLINE_EXCEEDED\"]");
}

static void test_stop_ends_sleep(void **state)
{
    struct caller caller;
    scripted_routes(&s,
                    "local d = md.dict 'x'\n"
                    "return { md.get('/sleep', function() d:set('s', true)\n"
                    "    local ok, why = md.sleep(60) return { ok or why.code } end),\n"
                    "  md.get('/sleeping', function() return { d:get 's' or false } end) }",
                    NULL);
    start(&caller, "/sleep");
    do
        scripted_call(&s, "GET", "/sleeping", NULL);
    while (strcmp(s.body, "[true]") != 0);
    md_script_stop(s.script);
    pthread_join(caller.thread, NULL);
    assert_string_equal(caller.body, "[\"UNAVAILABLE\"]");
}

static void test_models_are_unavailable_without_serve(void **state)
{
    scripted_routes(&s,
                    "local m = md.model 'm'\n"
                    "return { md.get('/', function()\n"
                    "  local info, why = m:info()\n"
                    "  local out, reason = m:predict { x = md.tensor.zeros { 1 } }\n"
                    "  return { m:loaded(), why.code, reason.code, #md.models.list() } end) }",
                    NULL);
    assert_int_equal(scripted_call(&s, "GET", "/", NULL), 200);
    assert_string_equal(s.body, "[false,\"UNAVAILABLE\",\"UNAVAILABLE\",0]");
}

/* ---- md.http against a server of one connection ---------------------------------------------- */

struct peer {
    pthread_t thread;
    int listener, port;
    char received[1024];
};

static void *serve_once(void *context)
{
    static const char answer[] = "HTTP/1.1 201 Created\r\nContent-Length: 5\r\n"
                                 "Connection: close\r\n\r\nhello";
    struct peer *peer = context;
    int fd = accept(peer->listener, NULL, NULL);
    size_t length = 0;
    while (fd >= 0 && strstr(peer->received, "body!") == NULL) {
        ssize_t got = read(fd, peer->received + length, sizeof peer->received - 1 - length);
        if (got <= 0)
            break;
        length += (size_t)got;
    }
    if (fd >= 0 && write(fd, answer, sizeof answer - 1) > 0)
        close(fd);
    return NULL;
}

static void peer_start(struct peer *peer)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    memset(peer, 0, sizeof *peer);
    peer->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(peer->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(peer->listener, 1), 0);
    getsockname(peer->listener, (struct sockaddr *)&address, &size);
    peer->port = ntohs(address.sin_port);
    pthread_create(&peer->thread, NULL, serve_once, peer);
}

static void test_http(void **state)
{
    struct peer peer;
    char target[64];
    scripted_routes(
        &s,
        "return { md.get('/post/{port}', function(r)\n"
        "    local answer, why = md.http.post('http://127.0.0.1:' .. r.path.port .. '/x', "
        "'body!',\n"
        "      { headers = { ['X-Test'] = 'yes' }, timeout_ms = 5000 })\n"
        "    return answer or why end),\n"
        "  md.get('/refused', function()\n"
        "    local answer, why = md.http.get('http://127.0.0.1:1/', { timeout_ms = 1000 })\n"
        "    return { answer == nil, why.code } end),\n"
        "  md.get('/scheme', function()\n"
        "    local answer, why = md.http.get('file:///etc/passwd')\n"
        "    return { answer == nil, why.code } end) }",
        NULL);
    peer_start(&peer);
    snprintf(target, sizeof target, "/post/%d", peer.port);
    assert_int_equal(scripted_call(&s, "GET", target, NULL), 200);
    assert_non_null(strstr(s.body, "\"status\":201"));
    assert_non_null(strstr(s.body, "\"body\":\"hello\""));
    pthread_join(peer.thread, NULL);
    close(peer.listener);
    assert_non_null(strstr(peer.received, "POST /x HTTP/1.1\r\n"));
    assert_non_null(strstr(peer.received, "X-Test: yes\r\n"));
    scripted_call(&s, "GET", "/refused", NULL);
    assert_string_equal(s.body, "[true,\"IO_ERROR\"]");
    scripted_call(&s, "GET", "/scheme", NULL);
    assert_string_equal(s.body, "[true,\"INVALID_ARGUMENT\"]");
}

int main(void)
{
    md_log_set_level(MD_LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_waiting_frees_the_state, end),
        cmocka_unit_test_teardown(test_no_free_state_is_503, end),
        cmocka_unit_test_teardown(test_deadline_reaches_script, end),
        cmocka_unit_test_teardown(test_stop_ends_sleep, end),
        cmocka_unit_test_teardown(test_models_are_unavailable_without_serve, end),
        cmocka_unit_test_teardown(test_http, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
