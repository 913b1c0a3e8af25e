/* Runaway scripts cost their own request; checkpoints change nothing else. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "script/internal.h"
#include "scripted.h"
#include "unit.h"

static struct scripted s;

static int end(void **state)
{
    scripted_end(&s);
    return 0;
}

static void test_runaways_are_stopped(void **state)
{
    static const char *const flags[] = {"--handler-budget-ms", "50", "--states", "1", NULL};
    static const char *const targets[] = {"/while", "/repeat", "/for",    "/goto",
                                          "/pcall", "/co",     "/recurse"};
    scripted_routes(
        &s,
        "local function nothing() end\n"
        "local function forever() while true do nothing() end end\n"
        "return { md.get('/while', function() local x = 0 while true do x = x + 1 end end),\n"
        "  md.get('/repeat', function() local x = 0 repeat x = x + 1 until false end),\n"
        "  md.get('/for', function() for i = 1, 1e15 do end end),\n"
        "  md.get('/goto', function() ::top:: goto top end),\n"
        "  md.get('/pcall', function() while true do pcall(forever) end end),\n"
        "  md.get('/co', function() coroutine.wrap(forever)() end),\n"
        "  md.get('/recurse', function()\n"
        "    local function f(n) return f(n + 1) end return f(1) end),\n"
        "  md.get('/good', function() return 'ok' end) }\n",
        flags);
    md_log_set_level(MD_LOG_OFF);
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        if (scripted_call(&s, "GET", targets[i], NULL) != 500)
            fail_msg("%s: %s", targets[i], s.body);
        assert_int_equal(scripted_call(&s, "GET", "/good", NULL), 200);
    }
}

/* No handler outlives its budget, or passes as good, by catching the error or by stealth. */
static void test_stopping_cannot_be_evaded(void **state)
{
    static const char *const flags[] = {"--handler-budget-ms", "50", "--states", "1", NULL};
    static const char *const targets[] = {"/swallow", "/xpcall",  "/wrap",   "/wait",  "/err",
                                          "/ok",      "/nested",  "/growth", "/handler"};
    scripted_routes(
        &s,
        "local function forever() while true do end end\n"
        "local trap = setmetatable({}, { __index = forever })\n"
        "return { md.get('/swallow', function() pcall(forever) return 'ok' end),\n"
        "  md.get('/xpcall', function() xpcall(forever, print) return 'ok' end),\n"
        "  md.get('/wrap', function()\n"
        "    coroutine.resume(coroutine.create(forever)) return 'ok' end),\n"
        "  md.get('/wait', function()\n"
        "    pcall(forever) pcall(md.sleep, 0) return 'ok' end),\n"
        "  md.get('/err', function() return nil, trap end),\n"
        "  md.get('/ok', function() pcall(forever) error({ detail = 'no' }) end),\n"
        "  md.get('/nested', function()\n"
        "    local function f() pcall(f) f() end f() end),\n"
        "  md.get('/growth', function() local s = ('x'):rep(1e6)\n"
        "    local t = {} pcall(forever) for i = 1, 100 do t[i] = s .. i end return 'ok' end),\n"
        "  md.get('/handler', function()\n"
        "    return xpcall(forever, forever) and 'ok' or 'no' end),\n"
        "  md.get('/good', function() return 'ok' end) }\n",
        flags);
    md_log_set_level(MD_LOG_OFF);
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        if (scripted_call(&s, "GET", targets[i], NULL) != 500 ||
            strstr(s.body, "it runs longer than its time budget") == NULL)
            fail_msg("%s: %s", targets[i], s.body);
        assert_int_equal(scripted_call(&s, "GET", "/good", NULL), 200);
    }
}

static void test_waiting_is_not_counted(void **state)
{
    static const char *const flags[] = {"--handler-budget-ms", "50", NULL};
    scripted_routes(&s,
                    "return { md.get('/', function()\n"
                    "  for _ = 1, 3 do md.sleep(0.04) end return 'ok' end) }",
                    flags);
    assert_int_equal(scripted_call(&s, "GET", "/", NULL), 200);
}

static void test_loading_is_bounded(void **state)
{
    /* A budget of 10 s is too long for a test: what counts is that top-level loops are guarded. */
    struct md_buffer out;
    const char text[] = "while true do end";
    md_buffer_init(&out, 0);
    md__checkpoint_insert(text, sizeof text - 1, &out);
    assert_non_null(strstr(out.data, "while true do if md__ck"));
    md_buffer_fini(&out);
}

static int insertions(const char *text)
{
    struct md_buffer out;
    int count = 0;
    md_buffer_init(&out, 0);
    md__checkpoint_insert(text, strlen(text), &out);
    for (const char *at = out.data; (at = strstr(at, "md__script_checkpoint")) != NULL; at++)
        count++;
    md_buffer_fini(&out);
    return count;
}

static void test_only_code_is_touched(void **state)
{
    assert_int_equal(insertions("-- do function () end\nreturn 'do repeat' .. \"function()\""), 0);
    assert_int_equal(insertions("--[==[ do ]] ]=] function() ]==] local s = [[ do ]]"), 0);
    assert_int_equal(insertions("local s = 'it\\'s do' local t = [=[ ]] do ]=]"), 0);
    assert_int_equal(insertions("local done, redo, dot = 1 t.goto_ = 2"), 0);
    assert_int_equal(insertions("function a.b:c(d, ...) end local f = function() end"), 2);
    assert_int_equal(insertions("for i = 1, 2 do repeat until x end"), 2);
    assert_int_equal(insertions("goto done ::done::"), 1);
    assert_int_equal(insertions("x = t.goto y = 1"), 0);
    assert_int_equal(insertions("local goto = 1 local x = goto\ny = 2"), 0);
    assert_int_equal(insertions("local t = { goto, goto, n = goto } t:goto()"), 0);
    assert_int_equal(insertions("x = 'a' goto--[[ over ]]\n b ::b:: goto c ::c::"), 2);
    assert_int_equal(insertions("x = ... goto a ::a:: f() goto b ::b::"), 2);
    assert_int_equal(insertions("if goto then end x = -goto y = {} goto z ::z::"), 1);
    assert_int_equal(insertions("--[[ open"), 0);
    assert_int_equal(insertions("'open"), 0);
    assert_int_equal(insertions(""), 0);
}

static void test_goto_may_be_a_name(void **state)
{
    scripted_routes(&s,
                    "local goto = 1\n"
                    "local t = { goto = goto, f = function(goto) return goto end }\n"
                    "return { md.get('/', function()\n"
                    "  local x = goto\n"
                    "  local y = x + t.goto goto = x\n"
                    "  for i = 1, 3 do if i < 2 then goto next end x = x + i ::next:: end\n"
                    "  return { x, y, t.f(goto) } end) }",
                    NULL);
    assert_int_equal(scripted_call(&s, "GET", "/", NULL), 200);
    assert_string_equal(s.body, "[6,2,1]");
}

static void test_lines_stay(void **state)
{
    scripted_routes(&s,
                    "return { md.get('/', function()\n"
                    "  for i = 1, 2 do\n"
                    "    local ok, why = pcall(function()\n"
                    "      error 'here' end)\n"
                    "    if not ok then return why end\n"
                    "    (print)(1) end end) }",
                    NULL);
    assert_int_equal(scripted_call(&s, "GET", "/", NULL), 200);
    assert_string_equal(s.body, "routes.lua:5: here");
}

/* With the checkpoint's own names a script could lift its budget, or hold a C pointer. */
static void test_names_of_checkpoints_are_taken(void **state)
{
    static const char *const bad[] = {"local md__ck = {}", "md__stop = print",
                                      "local pointer = md__ck.md__script_checkpoint"};
    md_log_set_level(MD_LOG_OFF);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char app[160];
        snprintf(app, sizeof app, "%s\nreturn require('moondial').app { name = 't' }", bad[i]);
        scripted_begin(&s);
        scripted_write(&s, "app.lua", app);
        assert_int_equal(scripted_try(&s, NULL), MD_ERR_SCRIPT);
        scripted_end(&s);
    }
    struct md_buffer out;
    md_buffer_init(&out, 0);
    assert_true(md__checkpoint_insert("x = 'md__ck' -- md__ck", 22, &out));
    md_buffer_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_runaways_are_stopped, end),
        cmocka_unit_test_teardown(test_stopping_cannot_be_evaded, end),
        cmocka_unit_test_teardown(test_goto_may_be_a_name, end),
        cmocka_unit_test_teardown(test_waiting_is_not_counted, end),
        cmocka_unit_test(test_loading_is_bounded),
        cmocka_unit_test(test_only_code_is_touched),
        cmocka_unit_test_teardown(test_lines_stay, end),
        cmocka_unit_test(test_names_of_checkpoints_are_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
