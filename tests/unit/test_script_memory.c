/*
 * Memory runs out everywhere: the same request under every cap from nothing to enough, the same
 * folder in states of every size. What may come out is an answer or a clean error, and the state
 * goes on working; the sanitizers watch for what is lost on the way.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "script/internal.h"
#include "script/sources.h"
#include "scripted.h"
#include "unit.h"

static struct scripted s;

/* A bit of everything that allocates on either side of the border. */
static const char *const busy_routes =
    "local d = md.dict 'x'\n"
    "local hits = md.metrics.counter('moondial_test_hits_total', 'Hits', { 'who' })\n"
    "return { md.get('/busy/{name}', function(r)\n"
    "    local t = { name = r.path.name, list = { 1, 2, 3 }, q = r.query.x }\n"
    "    d:set('t', t) d:set('b', md.json.blob(t)) d:incr 'n' hits:add(1, 'me')\n"
    "    local back = md.json.decode(md.json.encode(d:get 't'))\n"
    "    md.sleep(0)\n"
    "    local x = md.tensor.zeros { 10, 10 }\n"
    "    d:set('x', x)\n"
    "    local made = d:fetch('f', 1, function() md.sleep(0) return { v = { back.name } } end)\n"
    "    local nothing, why = md.json.decode '{'\n"
    "    local big = {} for i = 1, 200 do big[i] = 'item ' .. i end\n"
    "    return { made.v[1], why.code, #d:keys(), #big, d:get('x'):dim(1),\n"
    "      md.time.iso(0), os.date('!%Y', 0), tostring(why) }\n"
    "  end),\n"
    "  md.get('/small', function() return 'ok' end) }";

static void test_every_request_cap(void **state)
{
    bool failed = false, passed = false;
    for (int bytes = 250; bytes <= 100000; bytes += bytes < 20000 ? 250 : 5000) {
        char text[16];
        const char *const flags[] = {"--request-bytes-max", text, "--states", "1", NULL};
        snprintf(text, sizeof text, "%d", bytes);
        scripted_routes(&s, busy_routes, flags);
        for (int again = 0; again < 2; again++) {
            int status = scripted_call(&s, "GET", "/busy/you?x=1", NULL);
            failed = failed || status == 500;
            passed = passed || status == 200;
            if (status != 200 && strstr(s.body, "OUT_OF_MEMORY") == NULL)
                fail_msg("with %d bytes: %d %s", bytes, status, s.body);
        }
        if (bytes >= 4000)
            assert_int_equal(scripted_call(&s, "GET", "/small", NULL), 200);
        scripted_end(&s);
    }
    assert_true(failed);
    assert_true(passed);
}

/* Blocks of every size grow and shrink, most of them made of what was freed before. */
static void resize_blocks(struct md__state *lua)
{
    enum { BLOCKS = 700, STEP = 7919, SIZES = 1400 };
    char *blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = md__allocate(lua, NULL, 0, i + 1);
        assert_non_null(blocks[i]);
        memset(blocks[i], (int)(i % 251), i + 1);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = i * STEP % SIZES + 1, kept = size < i + 1 ? size : i + 1;
        blocks[i] = md__allocate(lua, blocks[i], i + 1, size);
        for (size_t k = 0; k < kept; k++)
            assert_int_equal(blocks[i][k], (char)(i % 251));
        memset(blocks[i], 7, size);
    }
    for (size_t i = 0; i < BLOCKS; i++)
        assert_null(md__allocate(lua, blocks[i], i * STEP % SIZES + 1, 0));
}

static void test_blocks_keep_what_is_in_them(void **state)
{
    struct md_script script = {.clock = md_clock_system()};
    struct md__state *lua;
    struct md_error err;
    script.library = md__sources_new(MD_SOURCE_DIR "/lua", false);
    assert_ok(md__state_new(&script, NULL, MD__STATE_BUILDER, &lua, &err));
    size_t used = lua->bytes_used;
    for (int round = 0; round < 3; round++) {
        resize_blocks(lua);
        assert_int_equal(lua->bytes_used, used);
    }
    md__state_delete(lua);
    md__sources_unref(script.library);
}

static void test_every_state_cap(void **state)
{
    bool failed = false, passed = false;
    for (int bytes = 10000; bytes <= 2000000; bytes += bytes < 400000 ? 10000 : 200000) {
        char text[16];
        const char *const flags[] = {"--state-bytes-max", text, "--states", "1", NULL};
        snprintf(text, sizeof text, "%d", bytes);
        scripted_begin(&s);
        scripted_write(&s, "app.lua",
                       "local md = require 'moondial'\n"
                       "return md.app { name = 't', routes = {\n"
                       "  md.get('/', function() return 'ok' end) } }\n");
        enum md_status status = scripted_try(&s, flags);
        failed = failed || status != MD_OK;
        passed = passed || status == MD_OK;
        if (status != MD_OK && status != MD_ERR_MEMORY)
            fail_msg("with %d bytes: %s", bytes, s.err.text);
        scripted_end(&s);
    }
    assert_true(failed);
    assert_true(passed);
}

/* What requests leave behind is collected: memory does not grow with their number. */
static void test_garbage_goes(void **state)
{
    static const char *const flags[] = {"--state-bytes-max", "8000000", "--states", "1", NULL};
    scripted_routes(&s,
                    "return { md.get('/', function()\n"
                    "  local t = {} for i = 1, 2000 do t[i] = { i } end\n"
                    "  local x = md.tensor.zeros { 1000, 100 }\n"
                    "  return { #t, x:dim(1) } end) }",
                    flags);
    for (int i = 0; i < 500; i++) {
        if (scripted_call(&s, "GET", "/", NULL) != 200)
            fail_msg("call %d: %s", i, s.body);
    }
    scripted_end(&s);
}

int main(void)
{
    md_log_set_level(MD_LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_keep_what_is_in_them),
        cmocka_unit_test(test_every_request_cap),
        cmocka_unit_test(test_every_state_cap),
        cmocka_unit_test(test_garbage_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
