/* The sandbox, loading, and what `moondial check` reports. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "scripted.h"
#include "unit.h"

static struct scripted s;

static int end(void **state)
{
    scripted_end(&s);
    return 0;
}

/* Opening the folder with this app.lua fails with a text that holds `part`. */
static void expect_load_error(const char *app, const char *part)
{
    scripted_begin(&s);
    scripted_write(&s, "app.lua", app);
    assert_true(scripted_try(&s, NULL) != MD_OK);
    if (strstr(s.err.text, part) == NULL)
        fail_msg("\"%s\" lacks \"%s\"", s.err.text, part);
    scripted_end(&s);
}

#define APP "local md = require 'moondial'\n"

static void test_load_errors_name_file_and_line(void **state)
{
    expect_load_error("local x = = 1", "app.lua:1: unexpected symbol");
    expect_load_error(APP "counter = 1", "app.lua:2: assignment to undeclared variable 'counter'");
    expect_load_error(APP "return prnt", "app.lua:2: undeclared variable 'prnt'");
    expect_load_error(APP "local x = nil + 1", "app.lua:2: ");
    expect_load_error(APP "return {}", "must return md.app");
    expect_load_error(APP "require 'nothing.here'", "module 'nothing.here' not found");
    expect_load_error(APP "require '../x'", "not a module name");
    expect_load_error(APP "require 'app'", "in a circle");
    expect_load_error(APP "return md.app { nme = 'x' }",
                      "unknown key 'nme' (did you mean 'name'?)");
    expect_load_error(APP "return md.app { name = 'x', routes = { md.get('x', print) } }",
                      "app.lua:2: ");
    expect_load_error(APP "local g = md.get\nreturn md.app { name = 'x',\n"
                          "  routes = { g('/a', print), g('/a', print) } }",
                      "route GET /a: declared twice");
    expect_load_error(APP "return md.app { nme = 'x', rotes = {} }",
                      "did you mean 'name'?); app.lua:2: app: unknown key 'rotes'");
    expect_load_error(APP "local r = md.get('/a', { rate_per_min = -1 }, print)",
                      "app.lua:2: route GET /a: rate_per_min must be a whole number");
    expect_load_error(APP "return md.config.prot",
                      "app.lua:2: md.config has no 'prot' (did you mean 'port'?)");
    expect_load_error(APP "return md.config.xyzzyxyzzy", "(declare it in config.lua)");
    expect_load_error("\x1bLJ\x02", "app.lua");
}

static void test_loading_has_no_effects(void **state)
{
    expect_load_error(APP "md.dict('x'):set('a', 1)", "app.lua:2: md.dict.set: not while loading");
    expect_load_error(APP "md.sleep(1)", "md.sleep: not while loading");
    expect_load_error(APP "md.file.read '/etc/passwd'", "md.file.read: not while loading");
    expect_load_error(APP "md.http.get 'http://127.0.0.1:1/'", "md.http: not while loading");
}

static void test_dangerous_names_are_absent(void **state)
{
    static const char *const names[] = {
        "io",         "debug",  "jit",      "ffi",     "package", "load",
        "loadstring", "dofile", "loadfile", "getfenv", "setfenv", "collectgarbage",
        "rawset",     "module", "newproxy", "_G",      "gcinfo"};
    char app[256];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(app, sizeof app, "local x = %s return x", names[i]);
        char part[64];
        snprintf(part, sizeof part, "undeclared variable '%s'", names[i]);
        expect_load_error(app, part);
    }
    expect_load_error("return string.dump(print)", "app.lua:1: ");
    expect_load_error("return os.execute('true')", "app.lua:1: ");
    expect_load_error("getmetatable('').__index.x = 1", "app.lua:1: ");
    expect_load_error("string.format = nil", "this table is read-only");
    expect_load_error("local md = require 'moondial' md.get = nil", "this table is read-only");
    expect_load_error("require 'ffi'", "module 'ffi' not found");
    expect_load_error("require 'moondial.native'", "for Moondial's own library only");
    expect_load_error("assert(pcall(require, 'moondial.native'))",
                      "for Moondial's own library only");
    expect_load_error("coroutine.wrap(require)('moondial.native')",
                      "for Moondial's own library only");
    expect_load_error("pcall(require, 'x') require('moondial.native_dict')",
                      "for Moondial's own library only");
}

static void test_requests_are_isolated(void **state)
{
    scripted_routes(&s,
                    "return { md.get('/set', function() leak = 1 end),\n"
                    "  md.get('/get', function() return { tostring(leak) } end),\n"
                    "  md.get('/ok', function() return { os.time() > 0, os.date('!%Y') > '2000' }\n"
                    "  end) }",
                    NULL);
    md_log_set_level(MD_LOG_OFF);
    assert_int_equal(scripted_call(&s, "GET", "/set", NULL), 500);
    assert_int_equal(scripted_call(&s, "GET", "/get", NULL), 500);
    assert_int_equal(scripted_call(&s, "GET", "/ok", NULL), 200);
    assert_string_equal(s.body, "[true,true]");
}

/* What a request could keep of itself, another one must not be able to resume. */
static void test_own_coroutine_is_out_of_reach(void **state)
{
    scripted_routes(&s,
                    "local kept\n"
                    "return { md.get('/keep', function() kept = coroutine.running()\n"
                    "    local inner = coroutine.wrap(function()\n"
                    "      return type(coroutine.running()) end)()\n"
                    "    return { tostring(kept), inner } end) }",
                    NULL);
    assert_int_equal(scripted_call(&s, "GET", "/keep", NULL), 200);
    assert_string_equal(s.body, "[\"nil\",\"thread\"]");
}

static void test_time_is_the_given_clock(void **state)
{
    scripted_begin(&s);
    s.clock = &s.manual.base;
    scripted_write(&s, "app.lua",
                   APP "return md.app { name = 't', routes = { md.get('/t', function()\n"
                       "  local d = os.date('*t')\n"
                       "  return { os.time(), os.date('%Y-%m-%d %H:%M'), d.yday, d.wday,\n"
                       "    os.time { year = 1970, month = 1, day = 2, hour = 0 },\n"
                       "    md.now_ms(), md.time.iso(0), md.time.parse '1970-01-01T00:00:01Z',\n"
                       "    md.time.civil(0).day_of_week } end) } }");
    scripted_open(&s, NULL);
    assert_int_equal(scripted_call(&s, "GET", "/t", NULL), 200);
    assert_string_equal(s.body, "[1767225600,\"2026-01-01 00:00\",1,5,86400,1767225600000,"
                                "\"1970-01-01T00:00:00Z\",1000,3]");
}

static void test_waiting_where_it_cannot_be_left(void **state)
{
    scripted_routes(
        &s,
        "return { md.get('/sort', function()\n"
        "    table.sort({ 2, 1 }, function(a, b) md.sleep(0) return a < b end) end),\n"
        "  md.get('/co', function()\n"
        "    return { coroutine.wrap(function() return pcall(md.sleep, 0) end)() } end),\n"
        "  md.get('/gsub', function() local ok, why\n"
        "    (''):gsub('', function() ok, why = pcall(md.sleep, 0) end)\n"
        "    return { ok, why } end),\n"
        "  md.get('/yield', function() coroutine.yield() end),\n"
        "  md.get('/pcall', function()\n"
        "    return { pcall(function() return md.sleep(0) end) } end) }",
        NULL);
    md_log_set_level(MD_LOG_OFF);
    assert_int_equal(scripted_call(&s, "GET", "/sort", NULL), 204);
    assert_int_equal(scripted_call(&s, "GET", "/co", NULL), 200);
    assert_non_null(strstr(s.body, "inside a coroutine"));
    assert_int_equal(scripted_call(&s, "GET", "/gsub", NULL), 200);
    assert_non_null(strstr(s.body, "cannot wait inside"));
    assert_int_equal(scripted_call(&s, "GET", "/yield", NULL), 500);
    assert_int_equal(scripted_call(&s, "GET", "/pcall", NULL), 200);
    assert_string_equal(s.body, "[true,true]");
}

static void test_file_read_is_confined(void **state)
{
    static const char *const flags[] = {"--read-paths", "[\"/proc/self\"]", NULL};
    scripted_routes(&s,
                    "return { md.get('/{path}', function(r)\n"
                    "    local text, err = md.file.read(r.path.path)\n"
                    "    return { text and #text > 0 or err.code } end) }",
                    flags);
    assert_int_equal(scripted_call(&s, "GET", "/%2Fproc%2Fself%2Fstatus", NULL), 200);
    assert_string_equal(s.body, "[true]");
    scripted_call(&s, "GET", "/%2Fetc%2Fpasswd", NULL);
    assert_string_equal(s.body, "[\"FORBIDDEN\"]");
    scripted_call(&s, "GET", "/%2Fproc%2Fself%2F..%2F..%2Fetc%2Fpasswd", NULL);
    assert_string_equal(s.body, "[\"FORBIDDEN\"]");
    scripted_call(&s, "GET", "/%2Fproc%2Fself%2Fnone", NULL);
    assert_string_equal(s.body, "[\"NOT_FOUND\"]");
}

static void test_pool_size_is_checked(void **state)
{
    static const char *const sizes[] = {"0", "257", "1e18"};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const char *const flags[] = {"--states", sizes[i], NULL};
        scripted_begin(&s);
        scripted_write(&s, "app.lua", APP "return md.app { name = 't' }");
        assert_int_equal(scripted_try(&s, flags), MD_ERR_INVALID);
        scripted_end(&s);
    }
}

/* ---- check ----------------------------------------------------------------------------------- */

static char reported[4096];

static void report(void *context, const char *line)
{
    strncat(reported, line, sizeof reported - strlen(reported) - 2);
    strcat(reported, "\n");
}

static enum md_status check(struct md_error *err)
{
    struct md_config_options config = {.dir = s.dir};
    reported[0] = '\0';
    assert_int_equal(md_config_load(&config, &s.config, err), MD_OK);
    struct md_script_options options = {
        .dir = s.dir, .lib_dir = MD_SOURCE_DIR "/lua", .clock = s.clock, .config = s.config};
    return md_script_check(&options, report, NULL, err);
}

static void test_check_reports_every_mistake(void **state)
{
    struct md_error err;
    scripted_begin(&s);
    scripted_write(&s, "app.lua", "local x = = 1");
    scripted_write(&s, "other.lua", "return\nlocal y");
    assert_fails(MD_ERR_SCRIPT, check(&err));
    assert_non_null(strstr(reported, "app.lua:1: "));
    assert_non_null(strstr(reported, "other.lua:2: "));
    scripted_end(&s);

    scripted_begin(&s);
    scripted_write(&s, "app.lua", APP "return md.app { nme = 't', routs = {}, timers = 5 }");
    assert_fails(MD_ERR_SCRIPT, check(&err));
    assert_non_null(strstr(reported, "app.lua: app: 'name' is missing\n"));
    assert_non_null(strstr(reported, "did you mean 'routes'?"));
    assert_non_null(strstr(reported, "'timers' must be a list, not a number"));
    scripted_end(&s);

    scripted_begin(&s);
    scripted_write(&s, "app.lua",
                   APP "return md.app { name = 't', models = { m = { path = 'models/m' } } }");
    assert_fails(MD_ERR_NOT_FOUND, check(&err));
    assert_non_null(strstr(reported, "models.m: there is no models/m"));
    scripted_end(&s);

    scripted_begin(&s);
    scripted_write(&s, "config.lua", "return {\n  qeue_max = 3,\n  mine = 1 }");
    scripted_write(&s, "app.lua",
                   APP "return md.app { name = 't', timers = {\n"
                       "  { name = 'a', every_sec = 5,\n run = function() md.fial() end } } }");
    assert_fails(MD_ERR_SCRIPT, check(&err));
    assert_non_null(strstr(reported, "app.lua:3: timers[1]: unknown key 'every_sec' "
                                     "(did you mean 'every_s'?)\n"));
    assert_non_null(strstr(reported, "app.lua:4: md has no 'fial' (did you mean 'fail'?)\n"));
    assert_non_null(
        strstr(reported, "config.lua:2: unknown key 'qeue_max' (did you mean 'queue_max'?)\n"));
    assert_null(strstr(reported, "mine"));
}

/* The folders that ship load, with the checkpoints that the loader writes into them. */
static void test_check_accepts_what_ships(void **state)
{
    static const char *const folders[] = {"scripts/fleet", "examples/hello",
                                          "examples/fleet/collector", "examples/fleet/simulator"};
    struct md_error err;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        struct md_config *config;
        struct md_config_options options = {.dir = folders[i]};
        assert_ok(md_config_load(&options, &config, &err));
        struct md_script_options engine = {.dir = folders[i],
                                           .lib_dir = MD_SOURCE_DIR "/lua",
                                           .clock = md_clock_system(),
                                           .config = config};
        reported[0] = '\0';
        if (md_script_check(&engine, report, NULL, &err) != MD_OK)
            fail_msg("%s: %s", folders[i], reported);
        md_config_unref(config);
    }
}

static void test_check_accepts(void **state)
{
    struct md_error err;
    scripted_begin(&s);
    scripted_write(&s, "app.lua",
                   APP "return md.app { name = 't', routes = { md.get('/', function() end) } }");
    assert_ok(check(&err));
    assert_string_equal(reported, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load_errors_name_file_and_line),
        cmocka_unit_test(test_loading_has_no_effects),
        cmocka_unit_test(test_dangerous_names_are_absent),
        cmocka_unit_test_teardown(test_requests_are_isolated, end),
        cmocka_unit_test_teardown(test_own_coroutine_is_out_of_reach, end),
        cmocka_unit_test_teardown(test_time_is_the_given_clock, end),
        cmocka_unit_test_teardown(test_waiting_where_it_cannot_be_left, end),
        cmocka_unit_test_teardown(test_file_read_is_confined, end),
        cmocka_unit_test(test_pool_size_is_checked),
        cmocka_unit_test_teardown(test_check_reports_every_mistake, end),
        cmocka_unit_test(test_check_accepts_what_ships),
        cmocka_unit_test_teardown(test_check_accepts, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
