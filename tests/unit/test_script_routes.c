/* Requests through the engine: matching, what a handler sees, what becomes of what it returns. */
#include "scripted.h"

#include <string.h>

#include "base/log.h"
#include "unit.h"

static struct scripted s;

static int end(void **state)
{
    scripted_end(&s);
    return 0;
}

static void test_handler_sees_request(void **state)
{
    scripted_routes(&s,
                    "return { md.post('/echo/{name}/{part}', function(request)\n"
                    "  return { m = request.method, n = request.path.name,\n"
                    "    p = request.path.part, q = request.query.x,\n"
                    "    a = request.headers['user-agent'], b = request.body, r = request.remote,\n"
                    "    id = request.id }\n"
                    "end) }",
                    NULL);
    assert_int_equal(scripted_call(&s, "POST", "/echo/a%20b/c?x=1+2%26&y", "hi"), 200);
    assert_string_equal(s.response.content_type, "application/json");
    static const char *const parts[] = {"\"m\":\"POST\"",      "\"n\":\"a b\"",  "\"p\":\"c\"",
                                        "\"q\":\"1 2&\"",      "\"a\":\"test\"", "\"b\":\"hi\"",
                                        "\"r\":\"127.0.0.1\"", "\"id\":7"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (strstr(s.body, parts[i]) == NULL)
            fail_msg("%s lacks %s", s.body, parts[i]);
    }
}

/* Fields are made when they are read, and who wants all of them gets all. */
static void test_request_lasts_as_long_as_its_handler(void **state)
{
    static const char *const flags[] = {"--states", "1", NULL};
    scripted_routes(
        &s,
        "local kept\n"
        "return { md.get('/keep', function(request)\n"
        "    kept = request return kept.url end),\n"
        "  md.get('/seen', function() return kept.url end),\n"
        "  md.get('/late', function() return kept.remote end),\n"
        "  md.get('/later', function() local ok, why = pcall(function()\n"
        "    return kept.headers end) return tostring(ok) .. why:match 'request.*' end),\n"
        "  md.get('/mine', function(request) kept = nil request.extra = 'own'\n"
        "    md.sleep(0) return request.extra .. request.method end),\n"
        "  md.get('/headers', function(request) local list = {}\n"
        "    for name, value in pairs(request.headers) do\n"
        "      list[#list + 1] = name .. '=' .. value end return list end),\n"
        "  md.get('/unknown', function(request) return tostring(request.none) end),\n"
        "  md.post('/all/{x}', function(request) return request end),\n"
        "  md.post('/dict', function(request) local d = md.dict 'd'\n"
        "    d:set('r', request) return d:get 'r' end) }",
        flags);
    md_log_set_level(MD_LOG_OFF);
    assert_int_equal(scripted_call(&s, "GET", "/keep", NULL), 200);
    assert_int_equal(scripted_call(&s, "GET", "/seen", NULL), 200);
    assert_string_equal(s.body, "/keep");
    assert_int_equal(scripted_call(&s, "GET", "/late", NULL), 500);
    assert_int_equal(scripted_call(&s, "GET", "/later", NULL), 200);
    assert_string_equal(s.body, "falserequest.headers: read after the request");
    assert_int_equal(scripted_call(&s, "GET", "/mine", NULL), 200);
    assert_string_equal(s.body, "ownGET");
    assert_int_equal(scripted_call(&s, "GET", "/headers", NULL), 200);
    assert_string_equal(s.body, "[\"user-agent=test\"]");
    assert_int_equal(scripted_call(&s, "GET", "/unknown", NULL), 200);
    assert_string_equal(s.body, "nil");
    assert_int_equal(scripted_call(&s, "POST", "/all/1?a=b", "hi"), 200);
    assert_string_equal(s.body,
                        "{\"body\":\"hi\",\"headers\":{\"user-agent\":\"test\"},\"id\":7,"
                        "\"method\":\"POST\",\"path\":{\"x\":\"1\"},\"query\":{\"a\":\"b\"},"
                        "\"remote\":\"127.0.0.1\",\"url\":\"/all/1\"}");
    assert_int_equal(scripted_call(&s, "POST", "/dict", "hi"), 200);
    assert_non_null(strstr(s.body, "\"headers\":{\"user-agent\":\"test\"}"));
}

static void test_results(void **state)
{
    scripted_routes(
        &s,
        "return { md.get('/text', function() return 'hello' end),\n"
        "md.get('/nothing', function() end),\n"
        "md.get('/status', function() return 201, { ok = true }, { ['X-A'] = 'b' } end),\n"
        "md.get('/fail', function() return md.fail { code = 'NOT_FOUND', status = 404,\n"
        "  detail = 'gone' } end),\n"
        "md.get('/nilerr', function() return md.json.decode('nope') end),\n"
        "md.get('/blob', function() return md.json.blob { 1, 2.5 } end),\n"
        "md.get('/split', function() return 200, 'x', { ['X-A'] = 'b\\r\\nEvil: 1' } end),\n"
        "md.get('/four', function() return 1, 2, 3, 4 end) }",
        NULL);
    assert_int_equal(scripted_call(&s, "GET", "/text", NULL), 200);
    assert_string_equal(s.body, "hello");
    assert_string_equal(s.response.content_type, "text/plain; charset=utf-8");
    assert_int_equal(scripted_call(&s, "GET", "/nothing", NULL), 204);
    assert_string_equal(s.body, "");
    assert_int_equal(scripted_call(&s, "GET", "/status", NULL), 201);
    assert_string_equal(s.body, "{\"ok\":true}");
    assert_int_equal(s.response.header_count, 1);
    assert_string_equal(s.response.headers[0].value, "b");
    assert_int_equal(scripted_call(&s, "GET", "/fail", NULL), 404);
    assert_non_null(strstr(s.body, "\"detail\":\"gone\""));
    assert_int_equal(scripted_call(&s, "GET", "/nilerr", NULL), 400);
    assert_non_null(strstr(s.body, "\"code\":\"INVALID_ARGUMENT\""));
    assert_int_equal(scripted_call(&s, "GET", "/blob", NULL), 200);
    assert_string_equal(s.body, "[1,2.5]");
    assert_int_equal(scripted_call(&s, "GET", "/split", NULL), 500);
    assert_int_equal(s.response.header_count, 0);
    assert_int_equal(scripted_call(&s, "GET", "/four", NULL), 500);
}

static void test_matching(void **state)
{
    scripted_routes(&s,
                    "local function say(text) return function() return text end end\n"
                    "return { md.get('/a/{x}', say 'param'), md.get('/a/b', say 'literal'),\n"
                    "  md.post('/a/b', say 'post'), md.get('/', say 'root') }",
                    NULL);
    assert_int_equal(scripted_call(&s, "GET", "/a/b", NULL), 200);
    assert_string_equal(s.body, "literal");
    assert_int_equal(scripted_call(&s, "GET", "/a/c", NULL), 200);
    assert_string_equal(s.body, "param");
    assert_int_equal(scripted_call(&s, "POST", "/a/b", NULL), 200);
    assert_string_equal(s.body, "post");
    assert_int_equal(scripted_call(&s, "HEAD", "/", NULL), 200);
    assert_int_equal(scripted_call(&s, "GET", "/a", NULL), 404);
    assert_int_equal(scripted_call(&s, "GET", "/a/", NULL), 404);
    assert_int_equal(scripted_call(&s, "GET", "/a/b/c", NULL), 404);
    assert_int_equal(scripted_call(&s, "PUT", "/a/b", NULL), 405);
    assert_int_equal(scripted_call(&s, "GET", "/a/%zz", NULL), 400);
    assert_int_equal(scripted_call(&s, "GET", "/a/%00", NULL), 400);
    assert_int_equal(scripted_call(&s, "GET", "/a/%2", NULL), 400);
}

static void test_method_not_allowed_names_methods(void **state)
{
    scripted_routes(&s, "return { md.get('/x', function() end), md.put('/x', function() end) }",
                    NULL);
    struct md_match match;
    struct md_error err;
    assert_fails(MD_ERR_METHOD, md_script_match(s.script, "POST", "/x", &match, &err));
    assert_string_equal(match.allow, "GET, PUT");
}

static void test_script_error_is_hidden_from_client(void **state)
{
    scripted_routes(&s,
                    "return { md.get('/bad/{x}', function(r) return r.nothing.x end),\n"
                    "  md.get('/good', function() return 'ok' end) }",
                    NULL);
    md_log_set_level(MD_LOG_OFF);
    assert_int_equal(scripted_call(&s, "GET", "/bad/1", NULL), 500);
    assert_string_equal(s.body,
                        "{\"detail\":\"script error in GET /bad/{x}\",\"code\":\"SCRIPT_ERROR\"}");
    assert_int_equal(scripted_call(&s, "GET", "/good", NULL), 200);
}

static void test_memory_cap(void **state)
{
    static const char *const flags[] = {"--request-bytes-max", "4000000", "--states", "1", NULL};
    scripted_routes(&s,
                    "return { md.get('/eat', function()\n"
                    "    local t = {} for i = 1, 1e7 do t[i] = { i } end return #t end),\n"
                    "  md.get('/rep', function() return #('x'):rep(1e9) end),\n"
                    "  md.get('/good', function() return 'ok' end) }",
                    flags);
    md_log_set_level(MD_LOG_OFF);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(scripted_call(&s, "GET", "/eat", NULL), 500);
        assert_non_null(strstr(s.body, "OUT_OF_MEMORY"));
        assert_int_equal(scripted_call(&s, "GET", "/rep", NULL), 500);
        assert_int_equal(scripted_call(&s, "GET", "/good", NULL), 200);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_handler_sees_request, end),
        cmocka_unit_test_teardown(test_request_lasts_as_long_as_its_handler, end),
        cmocka_unit_test_teardown(test_results, end),
        cmocka_unit_test_teardown(test_matching, end),
        cmocka_unit_test_teardown(test_method_not_allowed_names_methods, end),
        cmocka_unit_test_teardown(test_script_error_is_hidden_from_client, end),
        cmocka_unit_test_teardown(test_memory_cap, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
