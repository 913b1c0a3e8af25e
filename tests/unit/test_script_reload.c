/* Generations: reloading, refusing, rolling back; what crosses and what does not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "scratch.h"
#include "script/generation.h"
#include "scripted.h"
#include "unit.h"

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

/* An app with one route, /x, that answers `value` (Lua). */
static void write_app(const char *value)
{
    char text[1024];
    snprintf(text, sizeof text,
             "local md = require 'moondial'\n"
             "return md.app { name = 't', routes = { md.get('/x', function()\n"
             "  return { %s } end) } }\n",
             value);
    scripted_write(&s, "app.lua", text);
}

static void open_app(const char *value)
{
    scripted_begin(&s);
    write_app(value);
    scripted_open(&s, NULL);
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

/* The reasons of /health; to be freed. */
static char *degraded(void)
{
    struct md_buffer text;
    md_buffer_init(&text, 0);
    md_script_degraded(s.script, &text);
    char *copy = strdup(text.data != NULL ? text.data : "");
    md_buffer_fini(&text);
    return copy;
}

static void expect_degraded(const char *part)
{
    char *reasons = degraded();
    if (part == NULL)
        assert_string_equal(reasons, "");
    else if (strstr(reasons, part) == NULL)
        fail_msg("%s is not in %s", part, reasons);
    free(reasons);
}

static void test_new_code_serves(void **state)
{
    struct md_buffer report;
    md_buffer_init(&report, 0);
    open_app("1");
    expect("/x", "[1]");
    write_app("2");
    expect("/x", "[1]"); /* nobody asked yet */
    assert_ok(md_script_reload(s.script, "test", &report, &err));
    expect("/x", "[2]");
    assert_non_null(strstr(report.data, "\"generation\":2,\"before\":1"));
    assert_non_null(strstr(report.data, "\"changed\":[\"app.lua\"]"));
    assert_int_equal(s.script->generations_live, 1);
    md_buffer_fini(&report);
}

static void test_mistakes_keep_the_old(void **state)
{
    static const struct {
        const char *app, *error;
    } cases[] = {
        {"return md.app {", "app.lua:1: "},
        {"error('no')", "app.lua:1: no"},
        {"return 1", "app.lua: must return md.app"},
        {"return require('moondial').app { name = 't', rutes = {} }", "did you mean 'routes'"},
        {"require('moondial').dict('x'):set('a', 1)", "app.lua:1: "},
        {"return require 'elsewhere'", "module 'elsewhere' not found"},
    };
    open_app("1");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        scripted_write(&s, "app.lua", cases[i].app);
        assert_int_equal(reload(), MD_ERR_SCRIPT);
        if (strstr(err.text, cases[i].error) == NULL)
            fail_msg("%s is not in %s", cases[i].error, err.text);
        assert_null(strchr(err.text, '\n'));
        expect("/x", "[1]");
        expect_degraded("generation 1 goes on");
        assert_int_equal(s.script->generations_live, 1);
    }
    assert_int_equal(s.script->last.failures, 6);
    write_app("2");
    assert_ok(reload());
    expect("/x", "[2]");
    expect_degraded(NULL);
}

static void test_rollback_needs_no_disk(void **state)
{
    open_app("1");
    assert_int_equal(md_script_rollback(s.script, "test", NULL, &err), MD_ERR_CONFLICT);
    write_app("2");
    assert_ok(reload());
    write_app("3");
    assert_ok(reload());
    scripted_write(&s, "app.lua", "broken");
    assert_ok(md_script_rollback(s.script, "test", NULL, &err));
    expect("/x", "[2]");
    expect_degraded("rolled back to those of generation 2");
    expect_degraded("files on disk are those of generation 3");
    assert_ok(md_script_rollback(s.script, "test", NULL, &err));
    expect("/x", "[1]");
    assert_int_equal(md_script_rollback(s.script, "test", NULL, &err), MD_ERR_CONFLICT);
    write_app("4");
    assert_ok(reload());
    expect("/x", "[4]");
    expect_degraded(NULL);
}

static void test_a_watch_takes_up_changes_only(void **state)
{
    struct md_buffer report;
    md_buffer_init(&report, 0);
    open_app("1");
    assert_ok(md_script_reload(s.script, "watch", &report, &err));
    assert_non_null(strstr(report.data, "unchanged"));
    write_app("2");
    assert_ok(md_script_reload(s.script, "watch", NULL, &err));
    expect("/x", "[2]");
    assert_ok(md_script_rollback(s.script, "test", NULL, &err));
    assert_ok(md_script_reload(s.script, "watch", NULL, &err)); /* what was taken back */
    expect("/x", "[1]");
    expect_degraded("rolled back");
    write_app("3");
    assert_ok(md_script_reload(s.script, "watch", NULL, &err));
    expect("/x", "[3]");
    md_buffer_fini(&report);
}

static void test_a_file_that_was_missing_is_a_change(void **state)
{
    open_app("pcall(require, 'site')");
    scripted_write(&s, "app.lua",
                   "local md = require 'moondial'\n"
                   "local _, site = pcall(require, 'site')\n"
                   "return md.app { name = 't', routes = { md.get('/x', function()\n"
                   "  return { type(site) == 'table' and site.name or 'none' } end) } }\n");
    assert_ok(reload());
    expect("/x", "[\"none\"]");
    scripted_write(&s, "site.lua", "return { name = 'here' }");
    assert_ok(md_script_reload(s.script, "watch", NULL, &err));
    expect("/x", "[\"here\"]");
}

static void test_settings(void **state)
{
    struct md_buffer report;
    md_buffer_init(&report, 0);
    scripted_begin(&s);
    scripted_write(&s, "config.lua", "return { limit = 3, port = 8000 }");
    write_app("require('moondial').config.limit, require('moondial').config.port");
    scripted_open(&s, NULL);
    expect("/x", "[3,8000]");
    scripted_write(&s, "config.lua", "return { limit = 4, port = 9000, handler_budget_ms = 5 }");
    assert_ok(md_script_reload(s.script, "test", &report, &err));
    expect("/x", "[4,8000]"); /* a port needs a restart, and scripts see what is so */
    assert_non_null(strstr(report.data, "\"needs_restart\":\"port\""));
    expect_degraded("settings that wait for a restart: port");
    write_app("(function() local n = 0 while true do n = n + 1 end end)()");
    assert_ok(reload());
    assert_int_equal(scripted_call(&s, "GET", "/x", NULL), 500); /* after 5 ms, not 5 s */
    scripted_write(&s, "config.lua", "return { limit = 'four' ");
    assert_int_equal(reload(), MD_ERR_SCRIPT);
    assert_non_null(strstr(err.text, "config.lua:1:"));
    assert_ok(md_script_rollback(s.script, "test", NULL, &err));
    expect("/x", "[4,8000]");
    md_buffer_fini(&report);
}

static const char series_app[] =
    "local md = require 'moondial'\n"
    "return md.app { name = 't', series = {\n"
    "  cpu = { key = 'k', time = 't', step_s = %d, steps = 10, columns = { { name = '%s' } } },\n"
    "  %s },\n"
    "  routes = { md.post('/feed', function(r) return md.series 'cpu':feed(r.body) end),\n"
    "    md.get('/new', function() return { md.series 'new':count() } end),\n"
    "    md.get('/count', function() md.dict('d'):incr 'n'\n"
    "      return { md.series 'cpu':count(), md.dict('d'):get 'n' } end) } }";

static void write_series(int step_s, const char *column, const char *more)
{
    char text[2048];
    snprintf(text, sizeof text, series_app, step_s, column, more);
    scripted_write(&s, "app.lua", text);
}

static void test_data_crosses(void **state)
{
    scripted_begin(&s);
    s.clock = &s.manual.base;
    write_series(60, "a", "");
    scripted_open(&s, NULL);
    assert_int_equal(scripted_call(&s, "POST", "/feed",
                                   "{\"records\":[{\"k\":\"x\",\"t\":\"2026-01-01T00:00:00Z\","
                                   "\"a\":1}]}"),
                     200);
    expect("/count", "[1,1]");
    write_series(60, "a", "");
    assert_ok(reload());
    expect("/count", "[1,2]");
    write_series(30, "a",
                 "new = { key = 'k', time = 't', step_s = 60, steps = 9,"
                 "  columns = { { name = 'b' } } }");
    assert_int_equal(reload(), MD_ERR_SCRIPT);
    assert_non_null(strstr(err.text, "series.cpu: step_s cannot change while the daemon runs"));
    write_series(60, "b", "");
    assert_int_equal(reload(), MD_ERR_SCRIPT);
    assert_non_null(strstr(err.text, "series.cpu: a cannot change"));
    expect("/count", "[1,3]");
    write_series(60, "a",
                 "new = { key = 'k', time = 't', step_s = 60, steps = 9,"
                 "  columns = { { name = 'b' } } }");
    assert_ok(reload());
    expect("/new", "[0]");
    expect("/count", "[1,4]");
}

static int feed(double value)
{
    char body[128];
    snprintf(body, sizeof body,
             "{\"records\":[{\"k\":\"x\",\"t\":\"2026-01-01T00:00:00Z\",\"a\":%g}]}", value);
    return scripted_call(&s, "POST", "/feed", body);
}

static void test_limits_of_a_series_change(void **state)
{
    scripted_begin(&s);
    s.clock = &s.manual.base;
    write_series(60, "a', max = 5, kind = 'mean", "");
    scripted_open(&s, NULL);
    assert_int_equal(feed(5), 200);
    assert_int_equal(feed(7), 422);
    write_series(60, "a', max = 9, kind = 'mean", "");
    assert_ok(reload());
    assert_int_equal(feed(7), 200);
    write_series(60, "a', max = 3, kind = 'mean", "x = {}");
    assert_int_equal(reload(), MD_ERR_SCRIPT);
    assert_int_equal(feed(7), 200); /* a generation that was refused changes nothing */
}

/* The watch has taken up what `moondial reload` loads again: one step back is the one before. */
static void test_a_repeated_reload_is_no_step_back(void **state)
{
    open_app("1");
    write_app("2");
    assert_ok(md_script_reload(s.script, "watch", NULL, &err));
    for (int i = 0; i < 6; i++)
        assert_ok(reload());
    assert_int_equal(s.script->numbers, 8);
    assert_ok(md_script_rollback(s.script, "test", NULL, &err));
    expect("/x", "[1]");
    assert_int_equal(md_script_rollback(s.script, "test", NULL, &err), MD_ERR_CONFLICT);
}

static void test_a_mistake_undone_is_forgotten(void **state)
{
    open_app("1");
    scripted_write(&s, "app.lua", "broken");
    assert_int_equal(md_script_reload(s.script, "watch", NULL, &err), MD_ERR_SCRIPT);
    assert_true(s.script->last.failed);
    write_app("1");
    assert_ok(md_script_reload(s.script, "watch", NULL, &err));
    assert_false(s.script->last.failed);
    expect_degraded(NULL);
    write_app("2");
    assert_ok(md_script_reload(s.script, "watch", NULL, &err));
    assert_ok(md_script_rollback(s.script, "test", NULL, &err));
    expect_degraded("rolled back");
    write_app("1"); /* the files follow by hand */
    assert_ok(md_script_reload(s.script, "watch", NULL, &err));
    expect_degraded(NULL);
    assert_int_equal(s.script->numbers, 3);
}

/* ---- by itself ------------------------------------------------------------------------------- */

static void test_errors_roll_back(void **state)
{
    scripted_begin(&s);
    scripted_write(&s, "config.lua", "return { rollback_error_pct = 50, rollback_calls_min = 6 }");
    write_app("1");
    scripted_open(&s, NULL);
    assert_ok(md_script_start(s.script, &err));
    write_app("nil + 1");
    assert_ok(reload());
    for (int i = 0; i < 6; i++)
        assert_int_equal(scripted_call(&s, "GET", "/x", NULL), 500);
    char *reasons = degraded();
    for (int i = 0; i < 500 && strstr(reasons, "(errors)") == NULL; i++) {
        usleep(10000);
        free(reasons);
        reasons = degraded();
    }
    free(reasons);
    expect("/x", "[1]");
    expect_degraded("rolled back to those of generation 1 (errors)");
}

static void test_errors_before_are_no_reason(void **state)
{
    scripted_begin(&s);
    scripted_write(&s, "config.lua", "return { rollback_error_pct = 50, rollback_calls_min = 4 }");
    write_app("nil + 1");
    scripted_open(&s, NULL);
    assert_ok(md_script_start(s.script, &err));
    for (int i = 0; i < 5; i++)
        assert_int_equal(scripted_call(&s, "GET", "/x", NULL), 500);
    write_app("nil + 2");
    assert_ok(reload());
    for (int i = 0; i < 6; i++)
        assert_int_equal(scripted_call(&s, "GET", "/x", NULL), 500);
    usleep(100000);
    assert_false(s.script->rollback_due);
    assert_int_equal(s.script->numbers, 2);
}

static void test_a_repeated_reload_keeps_the_rate_before(void **state)
{
    open_app("1");
    expect("/x", "[1]");
    write_app("nil + 1");
    assert_ok(reload());
    assert_int_equal(scripted_call(&s, "GET", "/x", NULL), 500);
    assert_ok(reload());
    assert_true(s.script->current->error_rate_before == 0);
}

/* ---- tests of the folder, before the swap ---------------------------------------------------- */

static void write_test(const char *wanted)
{
    char text[512];
    snprintf(text, sizeof text,
             "local test = require 'moondial.test'\n"
             "return { test.case { 'the app', fast = true, run = function(t)\n"
             "    t.equal(require('app').name, '%s')\n"
             "end } }",
             wanted);
    scripted_write(&s, "tests/app.lua", text);
}

static void test_fast_tests_decide(void **state)
{
    open_app("1");
    char *folder = scratch_path(s.dir, "tests");
    assert_int_equal(mkdir(folder, 0700), 0);
    free(folder);
    write_test("another");
    write_app("2");
    assert_int_equal(reload(), MD_ERR_SCRIPT);
    assert_non_null(strstr(err.text, "tests/app.lua:3: test \"the app\" failed: expected "
                                     "\"another\", got "));
    expect("/x", "[1]");
    write_test(s.script->current->name);
    assert_ok(reload());
    expect("/x", "[2]");
}

static void test_state_tells(void **state)
{
    struct md_buffer json;
    md_buffer_init(&json, 0);
    open_app("1");
    expect("/x", "[1]");
    md_script_state(s.script, &json);
    assert_non_null(strstr(json.data, "{\"generation\":1,\"app\":\"t\""));
    assert_non_null(strstr(json.data, "\"last_reload\":null"));
    assert_non_null(strstr(json.data, "{\"path\":\"app.lua\",\"bytes\":"));
    assert_non_null(strstr(json.data, "{\"name\":\"GET /x\",\"calls\":1,\"errors\":0"));
    scripted_write(&s, "app.lua", "broken");
    reload();
    md_buffer_clear(&json);
    md_script_state(s.script, &json);
    assert_non_null(strstr(json.data, "\"last_reload\":{\"ok\":false,\"reason\":\"test\""));
    assert_non_null(strstr(json.data, "\"error\":\"app.lua:1: "));
    md_buffer_fini(&json);
}

/* Many of them leave nothing behind: what is charged to the states stays what it was. */
static void test_reloads_do_not_leak(void **state)
{
    const char *full = getenv("MOONDIAL_FULL");
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    int many = 500;
#else
    int many = 10000;
#endif
    int rounds = full != NULL && strcmp(full, "1") == 0 ? many : 100;
    open_app("1");
    for (int i = 0; i < rounds; i++) {
        write_app(i % 2 ? "1" : "2");
        assert_ok(reload());
        if (i % 10 == 0) {
            scripted_write(&s, "app.lua", "broken");
            assert_int_equal(reload(), MD_ERR_SCRIPT);
        }
    }
    assert_int_equal(s.script->generations_live, 1);
    assert_int_equal(s.script->past_count, MD__PAST_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_new_code_serves),
        TEST(test_mistakes_keep_the_old),
        TEST(test_rollback_needs_no_disk),
        TEST(test_a_repeated_reload_is_no_step_back),
        TEST(test_a_mistake_undone_is_forgotten),
        TEST(test_a_watch_takes_up_changes_only),
        TEST(test_a_file_that_was_missing_is_a_change),
        TEST(test_settings),
        TEST(test_data_crosses),
        TEST(test_limits_of_a_series_change),
        TEST(test_errors_roll_back),
        TEST(test_errors_before_are_no_reason),
        TEST(test_a_repeated_reload_keeps_the_rate_before),
        TEST(test_fast_tests_decide),
        TEST(test_state_tells),
        TEST(test_reloads_do_not_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
