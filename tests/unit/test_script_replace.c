/* States that fail are given up: who is answered how, and who serves afterwards. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/metrics.h"
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

static void wait_for(const char *target, const char *body)
{
    do
        assert_int_equal(scripted_call(&s, "GET", target, NULL), 200);
    while (strcmp(s.body, body) != 0);
}

static double metric(const char *line_start)
{
    struct md_buffer text;
    md_buffer_init(&text, 0);
    md_metrics_render_prometheus(md_metrics_global(), &text);
    const char *line = strstr(text.data, line_start);
    double value = 0;
    if (line != NULL)
        sscanf(strchr(line, '}') + 1, "%lf", &value);
    md_buffer_fini(&text);
    return value;
}

static const char *const small_state[] = {
    "--states", "1", "--state-bytes-max", "24000000", "--request-bytes-max", "22000000", NULL};

/* A file whose locals keep what requests make fills its state; the next request has a new one. */
static void test_a_full_state_is_replaced(void **state)
{
    static const char replaced[] = "moondial_lua_states_replaced_total{reason=\"its scripts";
    struct caller waiting;
    scripted_routes(&s,
                    "local d, kept = md.dict 'd', {}\n"
                    "return { md.get('/keep', function()\n"
                    "    while true do kept[#kept + 1] = ('x'):rep(1e5) .. #kept end end),\n"
                    "  md.get('/wait', function() d:set('waits', true)\n"
                    "    while not d:get 'go' do md.sleep(0.005) end return 'ok' end),\n"
                    "  md.get('/waits', function() return { d:get 'waits' or false } end),\n"
                    "  md.get('/kept', function() return { #kept } end) }",
                    small_state);
    md_log_set_level(MD_LOG_OFF);
    double before = metric(replaced);
    start(&waiting, "/wait");
    wait_for("/waits", "[true]");
    assert_int_equal(scripted_call(&s, "GET", "/keep", NULL), 500);
    assert_non_null(strstr(s.body, "GET /keep: not enough memory"));
    pthread_join(waiting.thread, NULL);
    if (waiting.status != 503)
        fail_msg("%d %s", waiting.status, waiting.body);
    assert_non_null(strstr(waiting.body, "UNAVAILABLE"));
    assert_int_equal(scripted_call(&s, "GET", "/kept", NULL), 200);
    assert_string_equal(s.body, "[0]");
    assert_true(metric(replaced) == before + 1);
}

/* One that has used too much and lets go of it keeps its state, and its locals. */
static void test_a_state_that_recovers_stays(void **state)
{
    scripted_routes(&s,
                    "local count = 0\n"
                    "return { md.get('/big', function() count = count + 1\n"
                    "    local t = {} while true do t[#t + 1] = ('x'):rep(1e5) .. #t end end),\n"
                    "  md.get('/count', function() return { count } end) }",
                    small_state);
    md_log_set_level(MD_LOG_OFF);
    for (int i = 0; i < 5; i++)
        assert_int_equal(scripted_call(&s, "GET", "/big", NULL), 500);
    assert_int_equal(scripted_call(&s, "GET", "/count", NULL), 200);
    assert_string_equal(s.body, "[5]");
}

/* Hogs that hold all they can get while they wait leave every other task its reserve. */
static void test_hogs_leave_a_reserve(void **state)
{
    struct caller hogs[3];
    scripted_routes(&s,
                    "local d = md.dict 'd'\n"
                    "local function fill(t)\n"
                    "  while true do t[#t + 1] = ('x'):rep(1e5) .. #t end end\n"
                    "return { md.get('/hog', function()\n"
                    "    local t = {} pcall(fill, t)\n"
                    "    for i = 1, 3 do t[#t] = nil end\n"
                    "    d:incr 'hogs' while not d:get 'go' do md.sleep(0.005) end\n"
                    "    return { #t } end),\n"
                    "  md.get('/hogs', function() return { d:get 'hogs' or 0 } end),\n"
                    "  md.get('/modest', function() local t = {}\n"
                    "    for i = 1, 1000 do t[i] = { i } end return { #t } end),\n"
                    "  md.get('/go', function() d:set('go', true) end) }",
                    small_state);
    for (int i = 0; i < 3; i++) {
        char body[16];
        start(&hogs[i], "/hog");
        snprintf(body, sizeof body, "[%d]", i + 1);
        wait_for("/hogs", body);
        assert_int_equal(scripted_call(&s, "GET", "/modest", NULL), 200);
        assert_string_equal(s.body, "[1000]");
    }
    assert_int_equal(scripted_call(&s, "GET", "/go", NULL), 204);
    for (int i = 0; i < 3; i++) {
        pthread_join(hogs[i].thread, NULL);
        /* Hogs may fail by a few bytes, and lose their state to each other. */
        assert_true(hogs[i].status == 200 || hogs[i].status == 500 || hogs[i].status == 503);
    }
}

/* Much garbage under a cap that three times the live data would break. */
static void test_garbage_goes_before_memory_fails(void **state)
{
    scripted_routes(&s,
                    "return { md.get('/', function()\n"
                    "    local live = {} for i = 1, 120 do live[i] = ('x'):rep(1e5) .. i end\n"
                    "    for i = 1, 2000 do local s = ('y'):rep(5e4) .. i end\n"
                    "    return { #live } end) }",
                    small_state);
    assert_int_equal(scripted_call(&s, "GET", "/", NULL), 200);
    assert_string_equal(s.body, "[120]");
}

/* Tables that hold each other twice are 2^32 values when written out. */
static void test_doubling_tables_are_bounded(void **state)
{
    static const char *const flags[] = {"--handler-budget-ms", "200", NULL};
    scripted_routes(&s,
                    "local function bomb(levels)\n"
                    "  local t = {} for _ = 1, levels do t = { t, t } end return t end\n"
                    "return { md.get('/json', function() return bomb(50) end),\n"
                    "  md.get('/dict', function()\n"
                    "    local ok, why = md.dict('d'):set('k', bomb(30))\n"
                    "    return { ok, why.code } end) }",
                    flags);
    md_log_set_level(MD_LOG_OFF);
    assert_int_equal(scripted_call(&s, "GET", "/json", NULL), 500);
    scripted_call(&s, "GET", "/dict", NULL);
    assert_true(s.response.status == 500 || strstr(s.body, "TOO_LARGE") != NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_a_full_state_is_replaced, end),
        cmocka_unit_test_teardown(test_a_state_that_recovers_stays, end),
        cmocka_unit_test_teardown(test_hogs_leave_a_reserve, end),
        cmocka_unit_test_teardown(test_garbage_goes_before_memory_fails, end),
        cmocka_unit_test_teardown(test_doubling_tables_are_bounded, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
