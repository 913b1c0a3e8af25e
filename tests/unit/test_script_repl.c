/* Sessions of the REPL in the engine: answers, budgets, interrupts, private files and dicts. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "script/repl.h"
#include "scripted.h"
#include "unit.h"

static struct scripted s;
static struct md_repl *repl;

static const char routes[] = "local d = md.dict 'x'\n"
                             "local part = require 'part'\n"
                             "return { md.get('/n', function() return { d:incr 'n' } end),\n"
                             "    md.get('/of', function() return { part.of(2) } end) }";

static int begin(void **state)
{
    static const char *const flags[] = {"--repl-budget-ms", "500", "--repl-bytes-max", "30000000",
                                        NULL};
    struct md_error err;
    scripted_begin(&s);
    scripted_write(&s, "part.lua",
                   "local part = {}\n"
                   "local by = 10\n"
                   "function part.of(value)\n"
                   "    return value * by\n"
                   "end\n"
                   "return part\n");
    char app[1024];
    snprintf(app, sizeof app,
             "local md = require 'moondial'\n"
             "return md.app { name = 'test', routes = (function() %s end)() }",
             routes);
    scripted_write(&s, "app.lua", app);
    scripted_open(&s, flags);
    assert_ok(md_repl_open(s.script, &repl, &err));
    return 0;
}

static int end(void **state)
{
    md_repl_close(repl);
    repl = NULL;
    scripted_end(&s);
    return 0;
}

static enum md_status ask(const char *code, json_t **result, struct md_error *err)
{
    json_t *request = json_pack("{s:s, s:s, s:b}", "op", "repl.eval", "code", code, "whole", 1);
    *result = json_object();
    enum md_status status = md_repl_ask(repl, request, NULL, *result, err);
    json_decref(request);
    return status;
}

static void assert_shows(const char *code, const char *want)
{
    json_t *result;
    struct md_error err = {0};
    enum md_status status = ask(code, &result, &err);
    if (status != MD_OK)
        fail_msg("%s: %s", code, err.text);
    const char *text = json_string_value(json_object_get(result, "text"));
    if (text == NULL || strstr(text, want) == NULL)
        fail_msg("%s: \"%s\" has no \"%s\"", code, text, want);
    json_decref(result);
}

static void assert_refuses(const char *code, enum md_status want, const char *says)
{
    json_t *result;
    struct md_error err = {0};
    assert_int_equal(ask(code, &result, &err), want);
    if (strstr(err.text, says) == NULL)
        fail_msg("%s: \"%s\" has no \"%s\"", code, err.text, says);
    json_decref(result);
}

static void answers_come_and_errors_have_codes(void **state)
{
    assert_shows("1 + 1", "2");
    assert_shows("x = 20", "");
    assert_shows("x * 2", "40");
    assert_refuses("x = = 1", MD_ERR_INVALID, "repl:1");
    assert_refuses("error 'boo'", MD_ERR_SCRIPT, "repl:1: boo");
    assert_refuses("part.of 'x'", MD_ERR_SCRIPT, "part.lua:4");
    assert_shows("x", "20");
}

static void budgets_of_its_own_end_it(void **state)
{
    assert_refuses("while true do end", MD_ERR_SCRIPT, "time budget of 500 ms");
    assert_refuses("while true do pcall(function() while true do end end) end", MD_ERR_SCRIPT,
                   "time budget");
    assert_refuses("t = ('x'):rep(20000000) .. ('y'):rep(20000000)", MD_ERR_MEMORY, "memory");
    assert_shows("1 + 1", "2");
    assert_int_equal(scripted_call(&s, "GET", "/n", NULL), 200);
}

struct interrupter {
    pthread_t thread;
    _Atomic bool ended;
};

static void *interrupt(void *context)
{
    struct interrupter *interrupter = context;
    while (!interrupter->ended)
        md_repl_interrupt(repl, true);
    return NULL;
}

static void interrupts_end_loops_and_waits(void **state)
{
    static const char *const codes[] = {"while true do end", "md.sleep(600) while true do end",
                                        "while true do md.sleep(0.001) end"};
    for (int i = 0; i < 3; i++) {
        struct interrupter interrupter = {.ended = false};
        assert_int_equal(pthread_create(&interrupter.thread, NULL, interrupt, &interrupter), 0);
        assert_refuses(codes[i], MD_ERR_CANCELLED, "interrupted");
        interrupter.ended = true;
        pthread_join(interrupter.thread, NULL);
        md_repl_interrupt(repl, false);
        assert_shows("1 + 1", "2");
    }
}

static void a_new_function_is_the_session_s_alone(void **state)
{
    assert_shows("part.of(2)", "20");
    assert_shows("x = { 1, 'a' }", "");
    assert_shows("function part.of(value)\n    return value + by\nend", "part.of is another one");
    assert_shows("part.of(2)", "12");
    assert_shows("get '/of'", "{ 12 }");
    assert_shows("#x", "2");
    assert_int_equal(scripted_call(&s, "GET", "/of", NULL), 200);
    assert_string_equal(s.body, "[20]");
    assert_shows(":diff", "+    return value + by");
    assert_shows(":compare part.of(2)", "-20\n+12");
    assert_shows(":revert", "part.lua");
    assert_shows("part.of(2)", "20");
}

static void what_was_fetched_is_made_anew_of_other_files(void **state)
{
    const char *fetch = "md.dict('x'):fetch('of', 1, function() return part.of(2) end)";
    assert_shows(fetch, "20");
    assert_shows("function part.of(value)\n    return value + by\nend", "part.of is another one");
    assert_shows(fetch, "12");
    assert_shows("md.dict('x'):fetch('of', 1, function() return 'again' end)", "12");
    assert_shows(":revert", "part.lua");
    assert_shows(fetch, "20");
}

static json_t *replace(const char *file, const char *text, enum md_status *status,
                       struct md_error *err)
{
    json_t *result = json_object();
    json_t *request =
        json_pack("{s:s, s:s, s:s}", "op", "repl.replace", "file", file, "text", text);
    *status = md_repl_ask(repl, request, NULL, result, err);
    json_decref(request);
    return result;
}

static void texts_that_do_not_load_leave_the_session_as_it_was(void **state)
{
    static const char *const texts[] = {"return {", "error('no way')", "return nosuch",
                                        "while true do end", "local md__x = 1 return {}"};
    struct md_error err;
    enum md_status status;
    assert_shows("function part.of(value)\n    return 7\nend", "another one");
    for (int i = 0; i < 5; i++) {
        json_decref(replace("part.lua", texts[i], &status, &err));
        assert_int_not_equal(status, MD_OK);
        assert_shows("part.of(2)", "7");
    }
    json_decref(replace("nosuch.lua", "return {}", &status, &err));
    assert_int_not_equal(status, MD_OK);
    json_decref(replace("../app.lua", "return {}", &status, &err));
    assert_int_not_equal(status, MD_OK);
    assert_shows(":files", "* part.lua");
}

static void dicts_are_copies_until_it_is_live(void **state)
{
    assert_int_equal(scripted_call(&s, "GET", "/n", NULL), 200);
    assert_string_equal(s.body, "[1]");
    assert_shows("md.dict('x'):get 'n'", "1");
    assert_shows("md.dict('x'):incr('n', 100)", "101");
    assert_shows("md.dict('x'):add('n', 5)", "false");
    assert_shows("md.dict('x'):set('mine', true)", "true");
    assert_shows("md.dict('x'):fetch('made', 1, function() return 5 end)", "5");
    assert_shows("#md.dict('x'):keys()", "3");
    assert_int_equal(scripted_call(&s, "GET", "/n", NULL), 200);
    assert_string_equal(s.body, "[2]");
    assert_shows(":live on", "change live data");
    assert_shows("md.dict('x'):incr('n', 100)", "102");
    assert_int_equal(scripted_call(&s, "GET", "/n", NULL), 200);
    assert_string_equal(s.body, "[103]");
}

static void odd_requests_are_errors(void **state)
{
    static const char *const requests[] = {"{}",
                                           "{\"op\":\"repl.nosuch\"}",
                                           "{\"op\":\"repl.eval\"}",
                                           "{\"op\":\"repl.eval\",\"code\":7}",
                                           "{\"op\":\"repl.replace\"}",
                                           "{\"op\":\"repl.write\",\"files\":[\"part.lua\"]}",
                                           "{\"op\":\"repl.complete\"}"};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        struct md_error err = {0};
        json_t *result = json_object(), *request = json_loads(requests[i], 0, NULL);
        assert_int_not_equal(md_repl_ask(repl, request, NULL, result, &err), MD_OK);
        assert_true(err.text[0] != '\0');
        json_decref(request);
        json_decref(result);
    }
    assert_shows("1 + 1", "2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_come_and_errors_have_codes, begin, end),
        cmocka_unit_test_setup_teardown(budgets_of_its_own_end_it, begin, end),
        cmocka_unit_test_setup_teardown(interrupts_end_loops_and_waits, begin, end),
        cmocka_unit_test_setup_teardown(a_new_function_is_the_session_s_alone, begin, end),
        cmocka_unit_test_setup_teardown(what_was_fetched_is_made_anew_of_other_files, begin, end),
        cmocka_unit_test_setup_teardown(texts_that_do_not_load_leave_the_session_as_it_was, begin,
                                        end),
        cmocka_unit_test_setup_teardown(dicts_are_copies_until_it_is_live, begin, end),
        cmocka_unit_test_setup_teardown(odd_requests_are_errors, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
