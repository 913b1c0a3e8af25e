/* Timers, ticks and on_start, under a manual clock. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "script/internal.h"
#include "scripted.h"
#include "unit.h"

static const int64_t begin_ms = 1767225600000; /* 2026-01-01T00:00:00Z */

static struct scripted s;

static int end(void **state)
{
    scripted_end(&s);
    return 0;
}

static void open_app(const char *app)
{
    struct md_error err;
    scripted_begin(&s);
    s.clock = &s.manual.base;
    scripted_write(&s, "app.lua", app);
    scripted_open(&s, NULL);
    assert_ok(md_script_start(s.script, &err));
}

/* Asks until the answer is as wanted: the scheduler looks at its clock four times a second. */
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

static void test_timer_is_aligned_and_skips(void **state)
{
    open_app("local md = require 'moondial'\n"
             "local d = md.dict 'x'\n"
             "local runs = {}\n"
             "return md.app { name = 't',\n"
             "  on_start = function() d:set('started', true) end,\n"
             "  timers = { { name = 'poll', every_s = 5, run = function(tick)\n"
             "    runs[#runs + 1] = tick.now_ms % 60000\n"
             "    d:set('runs', { runs = md.json.array(runs), skipped = tick.skipped }) end } },\n"
             "  routes = { md.get('/runs', function()\n"
             "      return (d:get 'runs' or { runs = {} }).runs end),\n"
             "    md.get('/skipped', function() return { d:get('runs').skipped } end),\n"
             "    md.get('/started', function() return { d:get 'started' or false } end) } }");
    wait_for("/started", "[true]");
    while (!md_script_ready(s.script))
        usleep(1000);
    md_clock_manual_set(&s.manual, begin_ms + 4999);
    usleep(300000); /* long enough to be looked at */
    wait_for("/runs", "{}");
    md_clock_manual_set(&s.manual, begin_ms + 5000);
    wait_for("/runs", "[5000]");
    md_clock_manual_set(&s.manual, begin_ms + 27000); /* 10, 15 and 20 are lost, 25 runs late */
    wait_for("/runs", "[5000,27000]");
    wait_for("/skipped", "[3]");
    md_clock_manual_set(&s.manual, begin_ms + 30000);
    wait_for("/runs", "[5000,27000,30000]");
}

static void test_failing_timer_degrades_and_recovers(void **state)
{
    struct md_buffer reasons;
    md_log_set_level(MD_LOG_OFF);
    open_app("local md = require 'moondial'\n"
             "local d = md.dict 'x'\n"
             "return md.app { name = 't', timers = { { name = 'bad', every_s = 1,\n"
             "  run = function() d:incr 'runs' if not d:get 'ok' then error 'broken' end\n"
             "    d:incr 'good' end } },\n"
             "  routes = { md.get('/fix', function() d:set('ok', true) return { 1 } end),\n"
             "    md.get('/runs', function() return { d:get 'runs' or 0 } end),\n"
             "    md.get('/good', function() return { d:get 'good' or 0 } end) } }");
    while (!md_script_ready(s.script))
        usleep(1000);
    md_clock_manual_set(&s.manual, begin_ms + 1000);
    wait_for("/runs", "[1]");
    md_buffer_init(&reasons, 0);
    while (reasons.length == 0)
        md_script_degraded(s.script, &reasons);
    assert_non_null(strstr(reasons.data, "timer bad failed: app.lua:4: broken"));
    wait_for("/fix", "[1]");
    md_clock_manual_set(&s.manual, begin_ms + 2000);
    wait_for("/good", "[1]");
    for (int i = 0; i < 500 && reasons.length > 0; i++) {
        usleep(1000);
        md_buffer_clear(&reasons);
        md_script_degraded(s.script, &reasons);
    }
    assert_int_equal(reasons.length, 0);
    md_buffer_fini(&reasons);
}

static void test_tick_follows_series_step_and_grace(void **state)
{
    open_app(
        "local md = require 'moondial'\n"
        "local d = md.dict 'x'\n"
        "return md.app { name = 't',\n"
        "  series = { cpu = { key = 'k', time = 't', step_s = 60, steps = 10, grace_s = 10,\n"
        "    columns = { { name = 'a' } } } },\n"
        "  on_tick = { series = 'cpu', run = function(tick)\n"
        "    d:set('tick', { tick.closed_ms % 3600000, tick.step_ms, tick.now_ms % 3600000 })\n"
        "  end },\n"
        "  routes = { md.get('/tick', function() return d:get 'tick' or {} end) } }");
    while (!md_script_ready(s.script))
        usleep(1000);
    md_clock_manual_set(&s.manual, begin_ms + 9999);
    usleep(300000); /* long enough to be looked at */
    wait_for("/tick", "{}");
    md_clock_manual_set(&s.manual, begin_ms + 10000);
    wait_for("/tick", "[0,60000,10000]");
    md_clock_manual_set(&s.manual, begin_ms + 70000);
    wait_for("/tick", "[60000,60000,70000]");
}

static void test_silent_entities_are_forgotten_without_a_store(void **state)
{
    open_app("local md = require 'moondial'\n"
             "local function s() return md.series 'cpu' end\n"
             "return md.app { name = 't',\n"
             "  series = { cpu = { key = 'k', time = 't', step_s = 60, steps = 10,\n"
             "    evict_after_min = 30, columns = { { name = 'a' } } } },\n"
             "  routes = { md.get('/count', function() return { s():count() } end),\n"
             "    md.get('/feed', function()\n"
             "      return { s():feed(md.json.encode { records = {\n"
             "        { k = 'x', t = md.time.iso(md.now_ms()), a = 1 } } }).accepted } end) } }");
    wait_for("/feed", "[1]");
    wait_for("/count", "[1]");
    md_clock_manual_set(&s.manual, begin_ms + 31 * 60000);
    wait_for("/count", "[0]");
}

/* Without a required model the service is alive but not ready, and says why. */
static void test_missing_model_keeps_from_ready(void **state)
{
    static const char *const cases[] = {"false", "true"};
    for (int optional = 0; optional < 2; optional++) {
        char app[512];
        struct md_buffer reasons;
        snprintf(app, sizeof app,
                 "local md = require 'moondial'\n"
                 "local d = md.dict 'x'\n"
                 "return md.app { name = 't', on_start = function() d:set('on', true) end,\n"
                 "  models = { m = { path = 'models/m', optional = %s } },\n"
                 "  routes = { md.get('/', function() return { d:get 'on' or false } end) } }",
                 cases[optional]);
        md_log_set_level(MD_LOG_OFF);
        open_app(app);
        wait_for("/", "[true]");
        while (!atomic_load(&s.script->begun))
            usleep(1000);
        assert_int_equal(md_script_ready(s.script), optional);
        md_buffer_init(&reasons, 0);
        md_script_degraded(s.script, &reasons);
        assert_non_null(strstr(reasons.data, "model m is not loaded"));
        md_buffer_fini(&reasons);
        scripted_end(&s);
    }
}

/* Neither a job that is deaf to the end of its sleeps nor one that never waits holds up the end. */
static void test_endless_jobs_end_with_the_engine(void **state)
{
    struct md_error err;
    static const char *const flags[] = {"--drain-ms-max", "100", NULL};
    static const char *const bodies[] = {"while true do md.sleep(60) end",
                                         "while true do pcall(md.sleep, 60) end",
                                         "while true do end"};
    for (int i = 0; i < 3; i++) {
        char app[512];
        snprintf(app, sizeof app,
                 "local md = require 'moondial'\n"
                 "local d = md.dict 'x'\n"
                 "return md.app { name = 't',\n"
                 "  timers = { { name = 'deaf', every_s = 1, run = function()\n"
                 "    d:set('on', true) %s end } },\n"
                 "  routes = { md.get('/', function() return { d:get 'on' or false } end) } }",
                 bodies[i]);
        md_log_set_level(MD_LOG_OFF);
        scripted_begin(&s);
        scripted_write(&s, "app.lua", app);
        scripted_open(&s, flags);
        assert_ok(md_script_start(s.script, &err));
        wait_for("/", "[true]");
        md_script_stop(s.script);
        scripted_end(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_timer_is_aligned_and_skips, end),
        cmocka_unit_test_teardown(test_failing_timer_degrades_and_recovers, end),
        cmocka_unit_test(test_missing_model_keeps_from_ready),
        cmocka_unit_test(test_endless_jobs_end_with_the_engine),
        cmocka_unit_test_teardown(test_tick_follows_series_step_and_grace, end),
        cmocka_unit_test_teardown(test_silent_entities_are_forgotten_without_a_store, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
