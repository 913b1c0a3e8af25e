/*
 * Tensors in Lua: runs tests/unit/lua_tensors.lua and lua_lazy.lua in a bare state with the sandbox
 * and the bindings. The checks are in Lua, where the API is read; each failing one raises with its
 * line.
 */
#include "script/internal.h"
#include "script/sources.h"
#include "unit.h"

static int run_checks(lua_State *L)
{
    md__load_file(L, lua_touserdata(L, 1), "lua_tensors.lua");
    md__load_file(L, lua_touserdata(L, 1), "lua_lazy.lua");
    return 0;
}

static void the_lua_checks_hold(void **state)
{
    struct md_script script = {.lib_dir = (char *)MD_SOURCE_DIR "/lua", .clock = md_clock_system()};
    struct md__sources *checks = md__sources_new(MD_SOURCE_DIR "/tests/unit", true);
    struct md__sources *helpers = md__sources_new(MD_SOURCE_DIR "/tests/lib", true);
    struct md__state *lua;
    struct md_error err;
    script.library = md__sources_new(script.lib_dir, false);
    assert_ok(md__state_new(&script, NULL, MD__STATE_BUILDER, &lua, &err));
    lua->sources = helpers; /* what they require */
    assert_ok(md__protect(lua, run_checks, checks, &err));
    assert_true(lua->bytes_charged > 0);
    lua_gc(lua->L, LUA_GCCOLLECT, 0);
    lua_gc(lua->L, LUA_GCCOLLECT, 0);
    assert_int_equal(lua->bytes_charged, 0); /* every tensor was uncharged when it was collected */
    md__state_delete(lua);
    md__sources_unref(helpers);
    md__sources_unref(checks);
    md__sources_unref(script.library);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_lua_checks_hold)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
