/* JSON out of and into Lua: numbers, arrays, text, limits. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "scripted.h"
#include "unit.h"

static struct scripted s;

/* One route that evaluates Lua: its body is JSON of the expression. */
static void open_with(const char *expression)
{
    char routes[1024];
    snprintf(routes, sizeof routes, "return { md.get('/', function() return { %s } end) }",
             expression);
    scripted_routes(&s, routes, NULL);
}

static void expect(const char *expression, const char *json)
{
    open_with(expression);
    assert_int_equal(scripted_call(&s, "GET", "/", NULL), 200);
    if (strcmp(s.body, json) != 0)
        fail_msg("%s gives %s, not %s", expression, s.body, json);
    scripted_end(&s);
}

static void expect_error(const char *expression)
{
    open_with(expression);
    if (scripted_call(&s, "GET", "/", NULL) != 500)
        fail_msg("%s gives %s", expression, s.body);
    scripted_end(&s);
}

static void test_numbers(void **state)
{
    expect("1, -0.5, 0.1, 1e15, 2^53, 1e300, 123456789012", "[1,-0.5,0.1,1000000000000000,"
                                                            "9007199254740992,1e300,123456789012]");
    expect("0/0, 1/0, -1/0", "[null,null,null]");
    expect("md.json.encode({ 1.005, 2.5004, 3 }, { decimals = 2 })", "[\"[1,2.5,3]\"]");
}

static void test_text(void **state)
{
    expect("'a\"b\\\\c\\n\\t\\1'", "[\"a\\\"b\\\\c\\n\\t\\u0001\"]");
    expect("'\\xc3\\xa9', '\\xff', '\\xed\\xa0\\x80'", /* good, bad byte, surrogate */
           "[\"\xc3\xa9\",\"\xef\xbf\xbd\",\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"]");
    expect("'a\\0b'", "[\"a\\u0000b\"]");
}

static void test_shapes(void **state)
{
    expect("{}, md.json.array {}, { 1, { 2 } }, { a = {} }, true, md.json.null",
           "[{},[],[1,[2]],{\"a\":{}},true,null]");
    expect("{ [5] = 1 }", "[{\"5\":1}]");
    expect("{ b = 1, a = 2, ab = 3, c = { z = 1, y = 2 } }",
           "[{\"a\":2,\"ab\":3,\"b\":1,\"c\":{\"y\":2,\"z\":1}}]");
    expect("(function() local t = {} for i = 1, 100 do t['k' .. i] = 0 end\n"
           "local s = md.json.encode(t) return #s, s:sub(1, 24), s:sub(-10) end)()",
           "[793,\"{\\\"k1\\\":0,\\\"k10\\\":0,\\\"k100\\\":0\",\"0,\\\"k99\\\":0}\"]");
    expect_error("{ 1, x = 2 }");
    expect_error("print");
    expect_error("coroutine.create(print)");
    expect_error("(function() local t = {} t[1] = t return t end)()");
    expect_error("{ [true] = 1 }");
    expect_error("md.json.array(math)"); /* or it would lose what protects it */
}

static void test_round_trip(void **state)
{
    expect("md.json.decode '{\"a\":[1,2.5,null,[],{}]}'", "[{\"a\":[1,2.5,null,[],{}]}]");
    expect("md.json.decode '[9007199254740993]' ~= nil", "[true]");
}

static void test_decode_is_strict(void **state)
{
    static const char *const bad[] = {"",         "nope",  "NaN",       "[1,]",     "[1e400]",
                                      "{\"a\":1", "[1] x", "\"\\xff\"", "Infinity", "{a:1}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char expression[128];
        snprintf(expression, sizeof expression,
                 "(function() local v, e = md.json.decode [==[%s]==]\n"
                 "return v == nil and e.code end)()",
                 bad[i]);
        expect(expression, "[\"INVALID_ARGUMENT\"]");
    }
    expect("(function() local v, e = md.json.decode(('['):rep(33) .. (']'):rep(33))\n"
           "return v == nil and e.status end)()",
           "[400]");
    expect("md.json.decode(('['):rep(30) .. (']'):rep(30)) ~= nil", "[true]");
}

int main(void)
{
    md_log_set_level(MD_LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),          cmocka_unit_test(test_text),
        cmocka_unit_test(test_shapes),           cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_decode_is_strict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
