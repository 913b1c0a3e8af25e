/* Our string.find, match, gmatch and gsub beside the library's, and where they must part. */
#include <string.h>

#include "script/internal.h"
#include "script/sources.h"
#include "unit.h"

extern int luaopen_string(lua_State *L);

enum { CASES = 30000 };

static struct md_script script;
static struct md__state *lua;

static int set_up(void **state)
{
    struct md_error err;
    script.library = md__sources_new(MD_SOURCE_DIR "/lua", false);
    script.clock = md_clock_system();
    assert_ok(md__state_new(&script, NULL, MD__STATE_BUILDER, &lua, &err));
    return 0;
}

static int tear_down(void **state)
{
    md__state_delete(lua);
    md__sources_unref(script.library);
    return 0;
}

/* Ours first: opening the library again puts its own functions into the table `string`. */
static int compare(lua_State *L)
{
    if (luaL_loadfile(L, MD_SOURCE_DIR "/tests/unit/lua_patterns.lua") != 0)
        return lua_error(L);
    lua_newtable(L);
    md__strings_open(L);
    lua_pushcfunction(L, luaopen_string);
    lua_call(L, 0, 0);
    lua_getglobal(L, "string");
    lua_pushinteger(L, CASES);
    lua_call(L, 3, 1);
    assert_true(lua_tointeger(L, -1) > CASES / 10); /* or they have compared nothing */
    return 0;
}

static void test_agrees_with_the_library(void **state)
{
    struct md_error err;
    if (md__protect(lua, compare, NULL, &err) != MD_OK)
        fail_msg("%s", err.text);
}

static int run_text(lua_State *L)
{
    if (luaL_loadstring(L, lua_touserdata(L, 1)) != 0)
        return lua_error(L);
    lua_call(L, 0, 0);
    return 0;
}

static void test_bombs_are_stopped(void **state)
{
    static const char *const bombs[] = {
        "return (('a'):rep(40)):find(('a?'):rep(40) .. ('a'):rep(41))",
        "return (('a'):rep(500)):match('(.-)(.-)(.-)(.-)(.-)(.-)(.-)(.-)b')",
        "return (('a'):rep(50000)):gsub('.-.-.-.-b', '')",
        "for x in (('a'):rep(50000)):gmatch('a*a*a*a*b') do end",
        "return (('('):rep(200000)):find('%b()')",
        "return (('x'):rep(9999)):find('(x*)(x*)(x*)%1%2%3y')",
    };
    struct md_error err;
    for (size_t i = 0; i < sizeof bombs / sizeof *bombs; i++) {
        md__budget_begin(lua, 20000000);
        assert_fails(MD_ERR_SCRIPT, md__protect(lua, run_text, (void *)bombs[i], &err));
        assert_true(md__budget_end(lua));
        assert_non_null(strstr(err.text, md__spent_text));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_agrees_with_the_library, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bombs_are_stopped, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
