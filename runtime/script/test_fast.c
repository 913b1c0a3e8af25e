/*
 * The folder's tests that are tagged `fast`, before a generation serves: in a state of it that is
 * used for nothing else, tests_budget_ns of them in all. What does not fit is not run, and the log
 * says so. The budget counts the thread's own work: how busy the machine is must decide neither
 * whether an edit goes live nor whether it is tested.
 */
#include "script/sources.h"
#include "script/test_internal.h"

/* One that is still running after tests_stop_ns, by the clock, is stopped. */
static const int64_t tests_budget_ns = MD_TEST_FAST_MS_MAX * INT64_C(1000000),
                     tests_stop_ns = 2 * INT64_C(1000000000);

static bool is_any(void *context, const char *relative)
{
    (void)context;
    (void)relative;
    return false;
}

static int run_fast_tests(lua_State *L)
{
    md__state(L)->loading = true;
    md__require(L, "moondial.test");
    lua_getfield(L, -1, "fast");
    md__state(L)->loading = false;
    lua_pushnumber(L, (double)tests_budget_ns / 1e6);
    lua_call(L, 1, 2);
    if (lua_isstring(L, -1)) /* what there was no time for */
        md__script_log(md__state(L)->script, MD_LOG_WARN, lua_tostring(L, -1));
    lua_pop(L, 1);
    if (lua_isstring(L, -1)) /* "tests/risk.lua:12: test \"calm\" failed: ..." */
        lua_error(L);
    return 0;
}

/* Which one it was that had to be stopped, and where. */
static int name_stopped(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, md__test_note_key);
    const char *note = lua_tostring(L, -1);
    md_fail(lua_touserdata(L, 1), MD_ERR_SCRIPT, "%.120s: %s: %s of %d ms",
            note != NULL ? note : "tests", md__state(L)->stopped_at, md__spent_text,
            (int)(tests_stop_ns / 1000000));
    return 0;
}

enum md_status md__test_fast(struct md_generation *generation, struct md_error *err)
{
    const char *dir = generation->script->dir;
    struct md__state *state;
    if (md__test_files(dir, is_any, NULL) == 0)
        return MD_OK;
    md__test_read(generation->sources, dir);
    enum md_status status = md__generation_state(generation, MD__STATE_CHECK, &state, err);
    if (status != MD_OK)
        return status;
    md__budget_begin(state, tests_stop_ns);
    status = md__protect(state, run_fast_tests, NULL, err);
    if (md__budget_end(state))
        md__protect_ours(state, name_stopped, err);
    md__state_delete(state);
    return status;
}
