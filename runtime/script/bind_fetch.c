/*
 * md.http: requests to other services. The fetch blocks the thread of the request or job that asks,
 * never a Lua state.
 */
#include <stdlib.h>
#include <string.h>

#include "base/fetch.h"
#include "script/internal.h"

enum { HEADERS_MAX = 32, TIMEOUT_MS = 10000, TIMEOUT_MS_MAX = 600000 };

static const size_t response_bytes_max = (size_t)64 << 20;

/* Everything that the request needs is copied: the script may be elsewhere meanwhile. */
struct fetching {
    struct md_wait wait;
    struct md_buffer text; /* method, URL, headers, each with its NUL; then the body */
    size_t offsets[HEADERS_MAX + 2];
    int header_count;
    size_t body_offset, body_length;
    int timeout_ms;
    int status;
    struct md_buffer response;
};

static enum md_status fetch_block(struct md_wait *wait, struct md_script *script,
                                  int64_t deadline_ns, struct md_error *err)
{
    struct fetching *fetching = (struct fetching *)wait;
    const char *text = fetching->text.data;
    const char *headers[HEADERS_MAX + 1] = {NULL};
    for (int i = 0; i < fetching->header_count; i++)
        headers[i] = text + fetching->offsets[2 + i];
    int64_t timeout_ms = fetching->timeout_ms;
    if (deadline_ns != 0) {
        int64_t left_ms = (deadline_ns - md_monotonic_ns(script->clock)) / 1000000;
        timeout_ms = left_ms < timeout_ms ? left_ms : timeout_ms;
    }
    struct md_fetch_request request = {
        .method = text + fetching->offsets[0],
        .url = text + fetching->offsets[1],
        .headers = headers,
        .body = text + fetching->body_offset,
        .body_length = fetching->body_length,
        .timeout_ms = timeout_ms > 1 ? (int)timeout_ms : 1,
        .response_bytes_max = response_bytes_max,
        .stop = &script->stopping,
    };
    return md_fetch(&request, &fetching->status, &fetching->response, err);
}

/* { status, body } */
static int fetch_finish(lua_State *L, struct md_wait *wait)
{
    const struct fetching *fetching = (struct fetching *)wait;
    lua_createtable(L, 0, 2);
    md__set_number(L, "status", fetching->status);
    const char *body = fetching->response.data != NULL ? fetching->response.data : "";
    lua_pushlstring(L, body, fetching->response.length);
    lua_setfield(L, -2, "body");
    return 1;
}

static void fetch_drop(struct md_wait *wait)
{
    struct fetching *fetching = (struct fetching *)wait;
    md_buffer_fini(&fetching->text);
    md_buffer_fini(&fetching->response);
    free(fetching);
}

/* ---- the request ----------------------------------------------------------------------------- */

/* Raises for what is no list of headers; afterwards the table at index is known to be good. */
static int check_headers(lua_State *L, int index)
{
    int count = 0;
    if (lua_isnil(L, index))
        return 0;
    luaL_checktype(L, index, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1), count++) {
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "headers: names and values must be strings");
    }
    if (count > HEADERS_MAX)
        luaL_error(L, "more than %d headers", HEADERS_MAX);
    return count;
}

static void add_text(struct fetching *fetching, size_t *offset, const char *text)
{
    *offset = fetching->text.length;
    md_buffer_append(&fetching->text, text, strlen(text) + 1);
}

static void add_headers(lua_State *L, int index, struct fetching *fetching)
{
    if (lua_isnil(L, index))
        return;
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        fetching->offsets[2 + fetching->header_count++] = fetching->text.length;
        md_buffer_printf(&fetching->text, "%s: %s", lua_tostring(L, -2), lua_tostring(L, -1));
        md_buffer_append(&fetching->text, "", 1);
    }
}

/* md.http.request { method, url, headers, body, timeout_ms } -> { status, body } | nil, err */
static int request(lua_State *L)
{
    struct md_error err;
    size_t body_length;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    md__check_acting(L, "md.http");
    const char *method = md__field_string(L, 1, "method", "GET");
    if (strcmp(method, "GET") != 0)
        md__check_changing(L, "md.http");
    const char *url = md__field_string(L, 1, "url", NULL);
    int timeout_ms = (int)md__field_int(L, 1, "timeout_ms", TIMEOUT_MS, 1, TIMEOUT_MS_MAX);
    lua_getfield(L, 1, "headers");
    check_headers(L, 2);
    lua_getfield(L, 1, "body");
    const char *body = luaL_optlstring(L, 3, "", &body_length);
    struct fetching *fetching = calloc(1, sizeof *fetching);
    if (fetching == NULL)
        return luaL_error(L, "not enough memory");
    fetching->wait = (struct md_wait){
        .block = fetch_block, .finish = fetch_finish, .drop = fetch_drop, .once = true};
    fetching->timeout_ms = timeout_ms;
    md_buffer_init(&fetching->text, 0);
    md_buffer_init(&fetching->response, response_bytes_max);
    add_text(fetching, &fetching->offsets[0], method);
    add_text(fetching, &fetching->offsets[1], url);
    add_headers(L, 2, fetching);
    fetching->body_offset = fetching->text.length;
    fetching->body_length = body_length;
    md_buffer_append(&fetching->text, body, body_length);
    if (md_buffer_check(&fetching->text, &err) == MD_OK)
        return md__yield(L, &fetching->wait);
    fetch_drop(&fetching->wait);
    return md__return_error(L, &err);
}

static void bind(lua_State *L, struct md_script *script)
{
    static const luaL_Reg functions[] = {{"request", request}, {NULL, NULL}};
    (void)script;
    md__bind_table(L, "http", functions);
}

const struct md__binding md__binding_fetch = {.name = "fetch", .bind = bind};
