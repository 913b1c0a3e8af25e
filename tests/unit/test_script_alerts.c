/* Alert rules of scripts under a manual clock: when they are evaluated, and what gauges say. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/metrics.h"
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

/* Values go in by a route: what is asked for has the host and its value. */
static const char head[] =
    "local md = require 'moondial'\n"
    "local function series() return md.series 'hosts' end\n"
    "local function feed(request)\n"
    "  local record = { host = request.path.host, cpu = tonumber(request.path.value),\n"
    "    t = md.time.iso(md.now_ms()) }\n"
    "  return { series():feed(md.json.encode { records = { record } }).accepted }\n"
    "end\n"
    "local function active()\n"
    "  local list = md.json.array {}\n"
    "  for index, alert in ipairs(md.alerts.active { state = 'all' }) do\n"
    "    list[index] = ('%s %s %s %s'):format(alert.rule, alert.host, alert.state,\n"
    "      alert.value and ('%.1f'):format(alert.value) or '-')\n"
    "  end\n"
    "  return list\n"
    "end\n"
    "local app = { name = 't', routes = { md.get('/feed/{host}/{value}', feed),\n"
    "    md.get('/active', active), md.get('/ms', function()\n"
    "      return { md.alerts.evaluated_ms() % 3600000 } end) },\n"
    "  series = { hosts = { key = 'host', time = 't', step_s = 60, steps = 60, grace_s = 0,\n"
    "    columns = { { name = 'cpu' } } } } }\n";

static void open_app(const char *alerts)
{
    char app[4096];
    struct md_error err;
    scripted_begin(&s);
    s.clock = &s.manual.base;
    md_clock_manual_set(&s.manual, begin_ms);
    snprintf(app, sizeof app, "%s%s\nreturn md.app(app)\n", head, alerts);
    scripted_write(&s, "app.lua", app);
    scripted_open(&s, NULL);
    assert_ok(md_script_start(s.script, &err));
    while (!md_script_ready(s.script))
        usleep(1000);
}

static void feed(const char *host, int value)
{
    char target[64];
    snprintf(target, sizeof target, "/feed/%s/%d", host, value);
    assert_int_equal(scripted_call(&s, "GET", target, NULL), 200);
    assert_string_equal(s.body, "[1]");
}

/* Moves the clock to the minute and waits until its step has been evaluated. */
static void go_to(int minute)
{
    char wanted[32];
    snprintf(wanted, sizeof wanted, "[%d]", minute * 60000);
    md_clock_manual_set(&s.manual, begin_ms + minute * 60000);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(scripted_call(&s, "GET", "/ms", NULL), 200);
        if (strcmp(s.body, wanted) == 0)
            return;
        usleep(10000);
    }
    fail_msg("minute %d was never evaluated: %s", minute, s.body);
}

static void assert_active(const char *wanted)
{
    assert_int_equal(scripted_call(&s, "GET", "/active", NULL), 200);
    assert_string_equal(s.body, wanted);
}

static void test_alerts_need_no_tick(void **state)
{
    open_app("app.alerts = { series = 'hosts', entity = 'host', rules = { { name = 'hot',\n"
             "  watch = md.current { 'cpu' }, above = 90, for_min = 1 } } }");
    feed("a", 97);
    feed("b", 20);
    go_to(1);
    assert_active("[\"hot a pending 97.0\"]");
    feed("a", 98);
    go_to(2);
    assert_active("[\"hot a firing 98.0\"]");
    feed("a", 5);
    go_to(3);
    assert_active("[\"hot a resolved 98.0\"]");
}

static void test_a_tick_that_fails_does_not_keep_them(void **state)
{
    open_app("app.alerts = { series = 'hosts', entity = 'host', rules = { { name = 'hot',\n"
             "  watch = md.current { 'cpu' }, above = 90 } } }\n"
             "app.on_tick = { series = 'hosts', run = function() error 'no' end }");
    feed("a", 97);
    go_to(1);
    assert_active("[\"hot a firing 97.0\"]");
}

/* What was not evaluated in time is left out; the next step counts. */
static void test_late_steps_are_skipped(void **state)
{
    open_app("app.alerts = { series = 'hosts', entity = 'host', rules = { { name = 'hot',\n"
             "  watch = md.current { 'cpu' }, above = 90 } } }");
    go_to(1);
    feed("a", 97);
    go_to(4);
    assert_active("[]");
    feed("a", 97);
    go_to(5);
    assert_active("[\"hot a firing 97.0\"]");
}

static void test_profiles_of_a_function(void **state)
{
    open_app("app.alerts = { series = 'hosts', entity = 'host', rules = { { name = 'hot',\n"
             "  watch = md.current { 'cpu' }, above = { big = 90, default = 50 } } },\n"
             "  profile = function(name) return name == 'a' and 'big' or nil end }");
    feed("a", 60);
    feed("b", 60);
    go_to(1);
    assert_active("[\"hot b firing 60.0\"]");
}

static void test_gauges(void **state)
{
    static const char *const labels[] = {"kind", NULL};
    static const char *const kind = "x";
    static const double bounds[] = {1, 2, 4};
    struct md_metrics *metrics = md_metrics_global();
    struct md_metric *depth = md_metric_get(
        md_family_new(metrics, MD_GAUGE, "alerts_test_depth", "", labels, NULL, 0), &kind);
    struct md_metric *calls = md_metric_get(
        md_family_new(metrics, MD_COUNTER, "alerts_test_calls_total", "", NULL, NULL, 0), NULL);
    struct md_metric *seconds = md_metric_get(
        md_family_new(metrics, MD_HISTOGRAM, "alerts_test_seconds", "", NULL, bounds, 3), NULL);
    open_app("local function rule(name, watch)\n"
             "  return { name = name, watch = watch, above = 0 } end\n"
             "app.alerts = { series = 'hosts', entity = 'host', rules = {\n"
             "  rule('calls', md.gauge { 'alerts_test_calls_total' }),\n"
             "  rule('depth', md.gauge { 'alerts_test_depth', labels = { kind = 'x' } }),\n"
             "  rule('median', md.gauge { 'alerts_test_seconds', quantile = 0.5 }),\n"
             "  rule('none', md.gauge { 'alerts_test_nothing' }),\n"
             "  rule('other', md.gauge { 'alerts_test_depth', labels = { kind = 'y' } }) } }");
    md_metric_set(depth, 7);
    md_metric_add(calls, 1000);
    md_metric_observe(seconds, 100);
    go_to(1);
    assert_active("[\"depth  firing 7.0\"]");
    md_metric_add(calls, 120);
    for (int i = 0; i < 4; i++)
        md_metric_observe(seconds, 1.5);
    go_to(2);
    assert_active("[\"calls  firing 2.0\",\"depth  firing 7.0\",\"median  firing 1.5\"]");
    md_metric_observe(seconds, 100);
    go_to(3);
    assert_active("[\"calls  firing 0.0\",\"depth  firing 7.0\",\"median  firing 4.0\"]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_alerts_need_no_tick, end),
        cmocka_unit_test_teardown(test_a_tick_that_fails_does_not_keep_them, end),
        cmocka_unit_test_teardown(test_late_steps_are_skipped, end),
        cmocka_unit_test_teardown(test_profiles_of_a_function, end),
        cmocka_unit_test_teardown(test_gauges, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
