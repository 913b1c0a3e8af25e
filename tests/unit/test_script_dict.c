/* md.dict: copies, caps, time to live, and one computation for many callers. */
#include <pthread.h>
#include <stdlib.h>
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

static void expect(const char *target, const char *body)
{
    assert_int_equal(scripted_call(&s, "GET", target, NULL), 200);
    assert_string_equal(s.body, body);
}

static void test_values_are_copies(void **state)
{
    scripted_routes(&s,
                    "local d = md.dict 'x'\n"
                    "return { md.get('/set', function()\n"
                    "    local t = { a = { 1, 2 }, s = 'text', b = md.json.blob { 3 } }\n"
                    "    d:set('k', t) t.a[1] = 9\n"
                    "    local got = d:get 'k' got.a[2] = 9\n"
                    "    return { d:get('k').a[1], d:get('k').a[2], d:get('k').s, d:get('k').b }\n"
                    "  end),\n"
                    "  md.get('/get', function() return { d:get('k').a[1], d:get 'none' == nil }\n"
                    "  end),\n"
                    "  md.get('/other', function() return { md.dict('y'):get 'k' == nil } end) }",
                    NULL);
    expect("/set", "[1,2,\"text\",[3]]");
    expect("/get", "[1,true]"); /* whichever state answers */
    expect("/get", "[1,true]");
    expect("/other", "[true]");
}

/* Larger than what is copied in one go, and with many objects, which come back whole. */
static void test_large_values_are_copies(void **state)
{
    scripted_routes(
        &s,
        "local d = md.dict 'x'\n"
        "local function tree(depth, name)\n"
        "  local t = { name = name, empty = '', list = {}, b = md.json.blob { name } }\n"
        "  for i = 1, depth > 0 and 5 or 0 do t.list[i] = tree(depth - 1, name .. i) end\n"
        "  return t end\n"
        "return { md.get('/set', function()\n"
        "    local t = tree(4, 'n') d:set('k', t) return { t } end),\n"
        "  md.get('/get', function() return { d:get 'k' } end),\n"
        "  md.get('/bad', function()\n"
        "    local t = tree(4, 'n') t.list[5].list[5].bad = print d:set('k', t) end) }",
        NULL);
    assert_int_equal(scripted_call(&s, "GET", "/set", NULL), 200);
    char *before = strdup(s.body);
    expect("/get", before);
    md_log_set_level(MD_LOG_OFF);
    assert_int_equal(scripted_call(&s, "GET", "/bad", NULL), 500);
    expect("/get", before); /* as it was */
    free(before);
}

static void test_operations(void **state)
{
    scripted_routes(
        &s,
        "local d = md.dict 'x'\n"
        "return { md.get('/all', function()\n"
        "  local out = { d:add('a', 1), d:add('a', 2), d:get 'a', d:incr('n'), d:incr('n', 2.5),\n"
        "    d:delete 'a', d:delete 'a', #d:keys(), d:keys()[1] }\n"
        "  local nothing, why = d:incr(d:set('t', 'text') and 't')\n"
        "  out[#out + 1] = why.code\n"
        "  return out end),\n"
        "  md.get('/bad', function() d:set('f', print) end),\n"
        "  md.get('/cycle', function() local t = {} t.t = t d:set('f', t) end) }",
        NULL);
    expect("/all", "[true,false,1,1,3.5,true,false,1,\"n\",\"INVALID_ARGUMENT\"]");
    md_log_set_level(MD_LOG_OFF);
    assert_int_equal(scripted_call(&s, "GET", "/bad", NULL), 500);
    assert_int_equal(scripted_call(&s, "GET", "/cycle", NULL), 500);
}

static void test_time_to_live(void **state)
{
    scripted_begin(&s);
    s.clock = &s.manual.base;
    scripted_write(&s, "app.lua",
                   "local md = require 'moondial'\n"
                   "local d = md.dict 'x'\n"
                   "return md.app { name = 't', routes = {\n"
                   "  md.get('/set', function() d:set('k', 1, 10) return { 1 } end),\n"
                   "  md.get('/get', function() return { d:get 'k' or 'gone' } end) } }");
    scripted_open(&s, NULL);
    expect("/set", "[1]");
    md_clock_manual_set(&s.manual, 1767225600000 + 9999);
    expect("/get", "[1]");
    md_clock_manual_set(&s.manual, 1767225600000 + 10000);
    expect("/get", "[\"gone\"]");
}

static void test_byte_cap_evicts_oldest(void **state)
{
    static const char *const flags[] = {"--dict-bytes-max", "100000", NULL};
    scripted_routes(&s,
                    "local d = md.dict 'x'\n"
                    "return { md.get('/fill', function()\n"
                    "    for i = 1, 100 do d:set(i, ('x'):rep(5000)) end\n"
                    "    local kept = #d:keys()\n"
                    "    return { kept > 5 and kept < 21, d:get(100) ~= nil } end),\n"
                    "  md.get('/big', function()\n"
                    "    local ok, err = d:set('big', ('x'):rep(200000))\n"
                    "    return { ok == nil, err.code } end),\n"
                    "  md.get('/add', function()\n"
                    "    local ok, err = d:add('huge', ('x'):rep(200000))\n"
                    "    return { ok == nil, err.code } end),\n"
                    "  md.get('/count', function()\n"
                    "    for i = 1, 2000 do d:incr('n' .. i) end\n"
                    "    return { #d:keys() < 400, d:get 'n2000' } end) }",
                    flags);
    expect("/fill", "[true,true]");
    expect("/big", "[true,\"TOO_LARGE\"]");
    expect("/add", "[true,\"TOO_LARGE\"]");
    expect("/count", "[true,1]");
}

/* What others may be reading is written through no view of it. */
static void test_shared_tensors_are_frozen_with_their_views(void **state)
{
    md_log_set_level(MD_LOG_OFF);
    scripted_routes(
        &s,
        "local function shared(view)\n"
        "    local t = md.tensor.zeros { 2, 2 }\n"
        "    local row = t:row(1)\n"
        "    md.dict('x'):set('t', view and row or t)\n"
        "    return t, row\n"
        "end\n"
        "return { md.get('/row', function() local _, row = shared() row:set(1, 7) end),\n"
        "  md.get('/whole', function() shared(true):set(1, 1, 7) end),\n"
        "  md.get('/own', function() md.tensor.zeros({ 2, 2 }):row(1):set(1, 7) end) }",
        NULL);
    assert_int_equal(scripted_call(&s, "GET", "/row", NULL), 500);
    assert_int_equal(scripted_call(&s, "GET", "/whole", NULL), 500);
    assert_int_equal(scripted_call(&s, "GET", "/own", NULL), 204);
}

/* A metatable could answer twice with different texts: buffers are made for the first. */
static void test_option_fields_are_read_raw(void **state)
{
    md_log_set_level(MD_LOG_OFF);
    scripted_routes(
        &s,
        "return { md.get('/put', function()\n"
        "    local asked = 0\n"
        "    local options = { target = 't', made_at_ms = 0, start_ms = 0, step_s = 1,\n"
        "      keys = {}, quantiles = {}, values = md.tensor.zeros { 0, 0, 0 } }\n"
        "    setmetatable(options, { __index = function(_, field)\n"
        "      if field ~= 'model' then return nil end\n"
        "      asked = asked + 1\n"
        "      return ('m'):rep(asked == 1 and 1 or 100000) end })\n"
        "    return { md.forecasts.put(options) } end) }",
        NULL);
    assert_int_equal(scripted_call(&s, "GET", "/put", NULL), 500);
}

/* ---- single flight --------------------------------------------------------------------------- */

enum { CALLERS = 8 };

static const char *const fetch_routes =
    "local d = md.dict 'x'\n"
    "local function slow(value)\n"
    "  return function() d:incr 'runs' md.sleep(0.05) return value end\n"
    "end\n"
    "return { md.get('/fetch/{version}', function(r)\n"
    "    return d:fetch('k', r.path.version, slow { v = r.path.version }) end),\n"
    "  md.get('/runs', function() return { d:get 'runs' or 0 } end),\n"
    "  md.get('/raise', function() return d:fetch('r', 1, function()\n"
    "    d:incr 'runs' md.sleep(0.05) error('no') end) end),\n"
    "  md.get('/fail', function() return d:fetch('f', 1, function()\n"
    "    d:incr 'runs' md.sleep(0.05)\n"
    "    return nil, { code = 'UNAVAILABLE', status = 503, detail = 'later' } end) end) }";

struct caller {
    pthread_t thread;
    const char *target;
    int status;
    char body[128];
};

static void *call(void *context)
{
    struct caller *caller = context;
    struct md_response response;
    md_response_init(&response, 0);
    caller->status = scripted_call_into(&s, "GET", caller->target, NULL, &response);
    strncpy(caller->body, response.body.data != NULL ? response.body.data : "",
            sizeof caller->body - 1);
    md_response_fini(&response);
    return NULL;
}

static void call_together(struct caller *callers, const char *target)
{
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.target = target};
        pthread_create(&callers[i].thread, NULL, call, &callers[i]);
    }
    for (int i = 0; i < CALLERS; i++)
        pthread_join(callers[i].thread, NULL);
}

static void test_fetch_runs_once(void **state)
{
    struct caller callers[CALLERS];
    scripted_routes(&s, fetch_routes, NULL);
    call_together(callers, "/fetch/1");
    for (int i = 0; i < CALLERS; i++) {
        assert_int_equal(callers[i].status, 200);
        assert_string_equal(callers[i].body, "{\"v\":\"1\"}");
    }
    expect("/runs", "[1]");
    expect("/fetch/1", "{\"v\":\"1\"}");
    expect("/runs", "[1]");
    expect("/fetch/2", "{\"v\":\"2\"}");
    expect("/runs", "[2]");
}

/* Versions are made of many counters, which grow for as long as a service lives. */
static void test_fetch_takes_long_versions(void **state)
{
    scripted_routes(&s,
                    "local d = md.dict 'x'\n"
                    "local text = ('v'):rep(200)\n"
                    "return { md.get('/one', function()\n"
                    "    return { d:fetch('k', text .. '1', function() return 1 end) } end),\n"
                    "  md.get('/other', function()\n"
                    "    return { d:fetch('k', text .. '2', function() return 2 end) } end),\n"
                    "  md.get('/over', function()\n"
                    "    return { pcall(d.fetch, d, 'k', text .. text, function() end) } end) }",
                    NULL);
    expect("/one", "[1]");
    expect("/other", "[2]");
    assert_int_equal(scripted_call(&s, "GET", "/over", NULL), 200);
    assert_non_null(strstr(s.body, "at most 255 bytes"));
}

static void test_fetch_shares_failure(void **state)
{
    struct caller callers[CALLERS];
    scripted_routes(&s, fetch_routes, NULL);
    md_log_set_level(MD_LOG_OFF);
    call_together(callers, "/fail");
    for (int i = 0; i < CALLERS; i++) {
        assert_int_equal(callers[i].status, 503);
        assert_non_null(strstr(callers[i].body, "later"));
    }
    call_together(callers, "/raise");
    for (int i = 0; i < CALLERS; i++)
        assert_int_equal(callers[i].status, 500);
    /* A late caller may have started a second flight, but eight runs would mean no sharing. */
    assert_int_equal(scripted_call(&s, "GET", "/runs", NULL), 200);
    assert_true(strcmp(s.body, "[16]") != 0);
}

static void test_flights_do_not_hang(void **state)
{
    scripted_routes(&s,
                    "local d = md.dict 'x'\n"
                    "return { md.get('/abandon', function()\n"
                    "    return d:fetch('k', 1, function() coroutine.yield() end) end),\n"
                    "  md.get('/own', function() return d:fetch('k', 1, function()\n"
                    "    return { d:fetch('k', 1, function() return 1 end) } end) end),\n"
                    "  md.get('/after', function()\n"
                    "    return d:fetch('k', 1, function() return { 1 } end) end) }",
                    NULL);
    md_log_set_level(MD_LOG_OFF);
    assert_int_equal(scripted_call(&s, "GET", "/abandon", NULL), 500);
    assert_int_equal(scripted_call(&s, "GET", "/own", NULL), 500);
    expect("/after", "[1]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_values_are_copies, end),
        cmocka_unit_test_teardown(test_large_values_are_copies, end),
        cmocka_unit_test_teardown(test_operations, end),
        cmocka_unit_test_teardown(test_time_to_live, end),
        cmocka_unit_test_teardown(test_byte_cap_evicts_oldest, end),
        cmocka_unit_test_teardown(test_shared_tensors_are_frozen_with_their_views, end),
        cmocka_unit_test_teardown(test_option_fields_are_read_raw, end),
        cmocka_unit_test_teardown(test_fetch_runs_once, end),
        cmocka_unit_test_teardown(test_fetch_takes_long_versions, end),
        cmocka_unit_test_teardown(test_fetch_shares_failure, end),
        cmocka_unit_test_teardown(test_flights_do_not_hang, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
