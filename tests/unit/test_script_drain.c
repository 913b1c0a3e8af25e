/* What is in progress while generations change: requests, sleepers, timers. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "script/generation.h"
#include "scripted.h"
#include "unit.h"

static const int64_t begin_ms = 1767225600000; /* 2026-01-01T00:00:00Z */

static struct scripted s;
static struct md_error err;

static int begin(void **state)
{
    md_log_set_level(MD_LOG_OFF);
    return 0;
}

static int end(void **state)
{
    scripted_end(&s);
    return 0;
}

static void expect(const char *target, const char *body)
{
    assert_int_equal(scripted_call(&s, "GET", target, NULL), 200);
    assert_string_equal(s.body, body);
}

static enum md_status reload(void)
{
    return md_script_reload(s.script, "test", NULL, &err);
}

static void *call_slow(void *context)
{
    struct md_response *response = context;
    scripted_call_into(&s, "GET", "/slow", NULL, response);
    return NULL;
}

/* Its slow route answers when /go has been asked for, or after that many seconds. */
static void write_slow(const char *version, double seconds)
{
    char text[1024];
    snprintf(text, sizeof text,
             "local md = require 'moondial'\n"
             "return md.app { name = 't', routes = { md.get('/slow', function()\n"
             "  md.dict('d'):set('in', '%s')\n"
             "  local ok, left_s = true, %g\n"
             "  while ok and left_s > 0 and not md.dict('d'):get 'go' do\n"
             "    ok, left_s = md.sleep(math.min(left_s, 0.01)), left_s - 0.01 end\n"
             "  return { '%s', ok or false } end),\n"
             "  md.get('/go', function() md.dict('d'):set('go', true) end),\n"
             "  md.get('/in', function() return { md.dict('d'):get 'in' or '' } end) } }\n",
             version, seconds, version);
    scripted_write(&s, "app.lua", text);
}

static void wait_for(const char *target, const char *body)
{
    for (int i = 0; i < 500; i++) {
        assert_int_equal(scripted_call(&s, "GET", target, NULL), 200);
        if (strcmp(s.body, body) == 0)
            return;
        usleep(20000);
    }
    fail_msg("%s answers %s, not %s", target, s.body, body);
}

/* Until no generation but the current one is left, and no job of another one. */
static void wait_alone(void)
{
    for (int i = 0; i < 30000 && s.script->generations_live > 1; i++)
        usleep(1000);
    assert_int_equal(s.script->generations_live, 1);
}

/* A little later, so that somebody has begun to wait for what it ends. */
static void *release_slow(void *context)
{
    struct md_response response;
    md_response_init(&response, 0);
    usleep(100000);
    scripted_call_into(&s, "GET", "/go", NULL, &response);
    md_response_fini(&response);
    return NULL;
}

static void test_requests_end_where_they_began(void **state)
{
    pthread_t thread, releaser;
    struct md_response slow;
    scripted_begin(&s);
    write_slow("old", 1000);
    scripted_open(&s, NULL);
    md_response_init(&slow, 0);
    pthread_create(&thread, NULL, call_slow, &slow);
    wait_for("/in", "[\"old\"]");
    write_slow("new", 0);
    assert_ok(reload());
    expect("/slow", "[\"new\",true]");
    assert_int_equal(s.script->generations_live, 2);
    pthread_create(&releaser, NULL, release_slow, NULL);
    assert_ok(reload()); /* waits for the slow one */
    pthread_join(releaser, NULL);
    pthread_join(thread, NULL);
    wait_alone();
    assert_int_equal(slow.status, 200);
    assert_string_equal(slow.body.data, "[\"old\",true]");
    md_response_fini(&slow);
}

static void test_sleepers_do_not_linger(void **state)
{
    static const char *const flags[] = {"--drain-ms-max", "300", NULL};
    pthread_t thread;
    struct md_response slow;
    scripted_begin(&s);
    write_slow("old", 1000);
    scripted_open(&s, flags);
    md_response_init(&slow, 0);
    pthread_create(&thread, NULL, call_slow, &slow);
    wait_for("/in", "[\"old\"]");
    write_slow("new", 0);
    assert_ok(reload());
    pthread_join(thread, NULL);
    assert_string_equal(slow.body.data, "[\"old\",false]");
    md_response_fini(&slow);
}

static void write_timers(const char *version, int every_s, bool other)
{
    char text[2048];
    snprintf(text, sizeof text,
             "local md = require 'moondial'\n"
             "local d = md.dict 'd'\n"
             "return md.app { name = 't',\n"
             "  on_start = function(run) d:set('began', '%s ' .. run.reason) end,\n"
             "  timers = { { name = 'poll', every_s = %d, run = function(run)\n"
             "      d:set('runs', (d:get 'runs' or '') .. '%s' .. run.now_ms / 1000 %% 60 .. ' ')\n"
             "    end }%s },\n"
             "  routes = { md.get('/runs', function() return { d:get 'runs' or '' } end),\n"
             "    md.get('/began', function() return { d:get 'began' or '' } end),\n"
             "    md.get('/other', function() return { d:get 'other' or 0 } end) } }",
             version, every_s, version,
             other ? ", { name = 'other', every_s = 1, run = function() d:incr 'other' end }" : "");
    scripted_write(&s, "app.lua", text);
}

/* The scheduler looks at a manual clock four times a second. */
static void set_clock(int seconds)
{
    md_clock_manual_set(&s.manual, begin_ms + seconds * 1000);
    usleep(350000);
}

static void test_timers_keep_their_schedule(void **state)
{
    scripted_begin(&s);
    s.clock = &s.manual.base;
    write_timers("a", 5, true);
    scripted_open(&s, NULL);
    assert_ok(md_script_start(s.script, &err));
    wait_for("/began", "[\"a start\"]");
    while (!md_script_ready(s.script))
        usleep(1000);
    set_clock(5);
    wait_for("/runs", "[\"a5 \"]");
    wait_for("/other", "[1]");
    set_clock(7);
    wait_for("/other", "[2]");
    write_timers("b", 5, false);
    assert_ok(reload());
    wait_for("/began", "[\"b test\"]");
    wait_alone();
    set_clock(9);
    expect("/runs", "[\"a5 \"]");
    expect("/other", "[2]"); /* the old one's ended with it */
    set_clock(10);
    wait_for("/runs", "[\"a5 b10 \"]");
    write_timers("c", 4, false); /* another interval: a schedule of its own */
    assert_ok(reload());
    wait_for("/began", "[\"c test\"]");
    wait_alone();
    set_clock(12);
    wait_for("/runs", "[\"a5 b10 c12 \"]");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_requests_end_where_they_began),
        TEST(test_sleepers_do_not_linger),
        TEST(test_timers_keep_their_schedule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
