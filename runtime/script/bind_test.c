/*
 * What lua/moondial/test.lua can do that no other script can: list and load the files of tests,
 * and, in a state that has a service of its own (test.h), move that service's clock and call its
 * handlers. require "moondial.native_test"; only states of tests and checks have it.
 */
#include <stdlib.h>
#include <string.h>

#include "script/bind_test_engine.h"
#include "script/test_internal.h"

/* ---- the folder ------------------------------------------------------------------------------ */

/* app() -> the app description */
static int app(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, md__app_key);
    return 1;
}

struct names {
    char (*list)[MD__MODULE_FILE_MAX];
    int count, max;
};

/* Raising here would leave the folder open. */
static bool note_name(void *context, const char *relative)
{
    struct names *names = context;
    if (names->count < names->max && strlen(relative) < sizeof names->list[0])
        strcpy(names->list[names->count++], relative);
    return names->count < names->max;
}

enum { FILES_MAX = 1000 };

/* files() -> { "tests/rules.lua", ... } */
static int files(lua_State *L)
{
    struct names names = {.max = FILES_MAX};
    names.list = lua_newuserdata(L, FILES_MAX * sizeof names.list[0]);
    md__test_files(md__state(L)->script->dir, note_name, &names);
    lua_newtable(L);
    for (int i = 0; i < names.count; i++) {
        lua_pushstring(L, names.list[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static int load_file(lua_State *L)
{
    return md__load_file(L, md__state(L)->sources, lua_tostring(L, 1));
}

/* load(file) -> what it returns; as all files, it is loaded without effects */
static int load(lua_State *L)
{
    struct md__state *state = md__state(L);
    bool before = state->loading;
    luaL_checkstring(L, 1);
    lua_pushcfunction(L, load_file);
    lua_pushvalue(L, 1);
    state->loading = true;
    int status = lua_pcall(L, 1, 1, 0);
    state->loading = before;
    if (status != 0)
        return lua_error(L);
    return 1;
}

/* note(text): names the case that runs, should it have to be stopped */
static int note(lua_State *L)
{
    luaL_checkstring(L, 1);
    lua_settop(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, md__test_note_key);
    return 0;
}

/* worked_ms() -> what this thread has computed, from any origin */
static int worked_ms(lua_State *L)
{
    lua_pushnumber(L, (double)md__thread_cpu_ns() / 1e6);
    return 1;
}

/* ---- the service ----------------------------------------------------------------------------- */

static struct md__test *service(lua_State *L)
{
    struct md__test *test = md__state(L)->test;
    if (test == NULL)
        luaL_error(L, "a fast case has no service of its own");
    return test;
}

struct moving {
    struct md_wait wait;
    struct md__test *test;
    int64_t to_ms;
    bool injects;
    enum md_status (*move)(const struct moving *moving, struct md_error *err);
};

static enum md_status move_block(struct md_wait *wait, struct md_script *script,
                                 int64_t deadline_ns, struct md_error *err)
{
    const struct moving *moving = (struct moving *)wait;
    (void)script;
    (void)deadline_ns;
    return moving->move(moving, err);
}

static int move(lua_State *L,
                enum md_status (*how)(const struct moving *moving, struct md_error *err))
{
    struct md__test *test = service(L);
    double to_ms = luaL_checknumber(L, 1);
    luaL_argcheck(L, to_ms >= 0 && to_ms <= MD__MS_MAX, 1, "not a time");
    struct moving *moving = calloc(1, sizeof *moving);
    if (moving == NULL)
        return luaL_error(L, "not enough memory");
    moving->wait = (struct md_wait){
        .block = move_block, .finish = md__wait_true, .drop = md__wait_free, .once = true};
    moving->test = test;
    moving->to_ms = (int64_t)to_ms;
    moving->injects = lua_toboolean(L, 2);
    moving->move = how;
    return md__yield(L, &moving->wait);
}

static enum md_status begin_service(const struct moving *moving, struct md_error *err)
{
    return md__test_begin(moving->test, moving->to_ms, moving->injects, err);
}

static enum md_status advance_service(const struct moving *moving, struct md_error *err)
{
    return md__test_advance(moving->test, moving->to_ms, err);
}

/* begin(time_ms, injects) -> true, or nil and an error */
static int begin(lua_State *L)
{
    return move(L, begin_service);
}

/* advance(time_ms) -> true, or nil and an error */
static int advance(lua_State *L)
{
    return move(L, advance_service);
}

/* ---- handlers -------------------------------------------------------------------------------- */

struct calling {
    struct md_wait wait;
    char *method, *path, *query, *body; /* one allocation, behind this */
    size_t body_length;
    bool answered;
    struct md_response response;
};

static enum md_status call_block(struct md_wait *wait, struct md_script *script,
                                 int64_t deadline_ns, struct md_error *err)
{
    static const struct md_header headers[] = {{"content-type", "application/json"}};
    struct calling *calling = (struct calling *)wait;
    struct md_match match;
    struct md_request request = {.method = calling->method,
                                 .path = calling->path,
                                 .query = calling->query,
                                 .remote = "127.0.0.1",
                                 .headers = headers,
                                 .header_count = 1,
                                 .body = calling->body,
                                 .body_length = calling->body_length,
                                 .deadline_ns = deadline_ns};
    enum md_status status = md_script_match(script, calling->method, calling->path, &match, err);
    if (status != MD_OK) {
        md_response_error(&calling->response, err);
        return MD_OK;
    }
    md_script_call(script, &match, &request, &calling->response, err);
    md_match_fini(&match);
    return MD_OK; /* the response says it all */
}

static int call_finish(lua_State *L, struct md_wait *wait)
{
    struct calling *calling = (struct calling *)wait;
    const struct md_response *response = &calling->response;
    const char *data = response->blob != NULL ? response->blob->data : response->body.data;
    size_t length = response->blob != NULL ? response->blob->length : response->body.length;
    struct md_error err;
    data = data != NULL ? data : "";
    bool is_json = response->content_type != NULL &&
                   strncmp(response->content_type, "application/json", 16) == 0;
    if (!is_json || md__json_read(L, data, length, &err) != MD_OK)
        lua_pushlstring(L, data, length);
    lua_pushinteger(L, response->status);
    return 2;
}

static void call_drop(struct md_wait *wait)
{
    struct calling *calling = (struct calling *)wait;
    md_response_fini(&calling->response);
    free(calling);
}

static char *copy(char **at, const char *text, size_t length)
{
    char *begin = *at;
    memcpy(begin, text, length);
    begin[length] = '\0';
    *at = begin + length + 1;
    return begin;
}

/* call(method, path [, body]) -> body (decoded when it is JSON), status */
static int call(lua_State *L)
{
    size_t method_length, target_length, body_length;
    struct md__test *test = service(L);
    const char *method = luaL_checklstring(L, 1, &method_length);
    const char *target = luaL_checklstring(L, 2, &target_length);
    const char *body = luaL_optlstring(L, 3, "", &body_length);
    size_t path_length = strcspn(target, "?");
    size_t query_length = target_length - path_length - (target[path_length] == '?');
    if (test->scheduler == NULL)
        return luaL_error(L, "the service has not begun");
    struct calling *calling =
        calloc(1, sizeof *calling + method_length + target_length + body_length + 4);
    if (calling == NULL)
        return luaL_error(L, "not enough memory");
    char *at = (char *)(calling + 1);
    calling->wait = (struct md_wait){
        .block = call_block, .finish = call_finish, .drop = call_drop, .once = true};
    calling->method = copy(&at, method, method_length);
    calling->path = copy(&at, target, path_length);
    calling->query = copy(&at, target + target_length - query_length, query_length);
    calling->body = copy(&at, body, body_length);
    calling->body_length = body_length;
    md_response_init(&calling->response,
                     (size_t)md_config_int(test->script->config, "response_bytes_max"));
    return md__yield(L, &calling->wait);
}

/* ---- the binding ----------------------------------------------------------------------------- */

static const luaL_Reg functions[] = {{"app", app},
                                     {"files", files},
                                     {"load", load},
                                     {"note", note},
                                     {"worked_ms", worked_ms},
                                     {"begin", begin},
                                     {"advance", advance},
                                     {"call", call},
                                     {NULL, NULL}};

static void bind(lua_State *L, struct md_script *script)
{
    enum md__state_kind kind = md__state(L)->kind;
    (void)script;
    if (kind != MD__STATE_TEST && kind != MD__STATE_CHECK)
        return;
    md__test_engine_open(L);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    md__test_engine_bind(L);
    md__loaded_set(L, "moondial.native_test");
}

const struct md__binding md__binding_test = {.name = "test", .bind = bind};
