/*
 * A request as a Lua table, and what a handler returns as a response.
 *
 * The table is empty at first: a field is made when it is read, since few handlers read many and
 * making them all takes longer than many a handler. So a request can be read while it lasts, by its
 * handler and the stream that this may return; and who walks the table himself, rather than reading
 * fields, has it completed first (md__http_complete).
 *
 * A handler returns `body`, or `status, body [, headers]`, or `nil, err`. A table body is JSON, a
 * string is text, a blob is sent as it is, md.stream is an event stream; an error table decides the
 * status itself.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/percent.h"
#include "base/span.h"
#include "script/generation.h"

enum { QUERY_FIELDS_MAX = 100, QUERY_TEXT_MAX = 8192, STATUS_DEFAULT = 200 };
/* Of a request, as many as most handlers read. */
enum { FIELDS_USED = 3 };

static const char request_class[] = "moondial.request";

/* ---- the request ----------------------------------------------------------------------------- */

/* request:json() parses the body. */
static int request_json(lua_State *L)
{
    size_t length;
    struct md_error err;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "body");
    const char *body = luaL_checklstring(L, -1, &length);
    if (md__json_read(L, body, length, &err) != MD_OK)
        return md__return_error(L, &err);
    return 1;
}

static void push_path(lua_State *L, const struct md__http_call *call)
{
    const struct md_match *match = call->match;
    lua_createtable(L, 0, match->param_count);
    for (int i = 0; i < match->param_count; i++)
        md__set_text(L, match->params[i].name, match->params[i].value);
}

/* One name=value of the query; a malformed escape drops the field. */
static void set_query_field(lua_State *L, const char *text, size_t length)
{
    char name[256], value[QUERY_TEXT_MAX];
    const char *equal = memchr(text, '=', length);
    size_t name_length = equal != NULL ? (size_t)(equal - text) : length;
    const char *rest = equal != NULL ? equal + 1 : text + length;
    if (name_length == 0 || md_percent_decode(text, name_length, true, name, sizeof name) < 0 ||
        md_percent_decode(rest, (size_t)(text + length - rest), true, value, sizeof value) < 0)
        return;
    md__set_text(L, name, value);
}

static void push_query(lua_State *L, const struct md__http_call *call)
{
    const char *query = call->request->query;
    lua_newtable(L);
    for (int i = 0; query != NULL && *query != '\0' && i < QUERY_FIELDS_MAX; i++) {
        size_t length = strcspn(query, "&");
        set_query_field(L, query, length);
        query += length + (query[length] == '&');
    }
}

static void push_headers(lua_State *L, const struct md__http_call *call)
{
    const struct md_request *request = call->request;
    lua_createtable(L, 0, request->header_count);
    for (int i = 0; i < request->header_count; i++)
        md__set_text(L, request->headers[i].name, request->headers[i].value);
}

static void push_method(lua_State *L, const struct md__http_call *call)
{
    lua_pushstring(L, call->request->method);
}

static void push_url(lua_State *L, const struct md__http_call *call)
{
    lua_pushstring(L, call->request->path);
}

static void push_remote(lua_State *L, const struct md__http_call *call)
{
    lua_pushstring(L, call->request->remote);
}

static void push_key_name(lua_State *L, const struct md__http_call *call)
{
    lua_pushstring(L, call->request->key_name);
}

static void push_id(lua_State *L, const struct md__http_call *call)
{
    lua_pushnumber(L, (double)call->request->id);
}

static void push_body(lua_State *L, const struct md__http_call *call)
{
    const char *body = call->request->body;
    lua_pushlstring(L, body != NULL ? body : "", call->request->body_length);
}

static const struct field {
    const char *name;
    void (*push)(lua_State *L, const struct md__http_call *call);
} fields[] = {{"path", push_path},         {"query", push_query},
              {"headers", push_headers},   {"body", push_body},
              {"method", push_method},     {"url", push_url},
              {"remote", push_remote},     {"id", push_id},
              {"key_name", push_key_name}, {NULL, NULL}};

static const struct field *find_field(lua_State *L, int name)
{
    const char *text = lua_type(L, name) == LUA_TSTRING ? lua_tostring(L, name) : "";
    for (const struct field *field = fields; field->name != NULL; field++) {
        if (strcmp(field->name, text) == 0)
            return field;
    }
    return NULL;
}

/* The running task's request, if the table at index stands for that one. */
static const struct md__http_call *call_of(lua_State *L, int index)
{
    const struct md__task *task = md__state(L)->task;
    const struct md__http_call *call = task != NULL ? task->call : NULL;
    return call != NULL && call->table == lua_topointer(L, index) ? call : NULL;
}

/* __index: a field that is read for the first time. Upvalue: the methods. */
static int request_index(lua_State *L)
{
    const struct field *field = find_field(L, 2);
    if (field == NULL) {
        lua_rawget(L, lua_upvalueindex(1));
        return 1;
    }
    const struct md__http_call *call = call_of(L, 1);
    if (call == NULL)
        return luaL_error(L, "request.%s: read after the request", field->name);
    field->push(L, call);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, 1);
    return 1;
}

static int complete(lua_State *L)
{
    for (const struct field *field = fields; field->name != NULL; field++) {
        lua_getfield(L, 1, field->name);
        lua_pop(L, 1);
    }
    return 0;
}

void md__http_open(lua_State *L)
{
    luaL_newmetatable(L, request_class);
    lua_newtable(L);
    lua_pushcfunction(L, request_json);
    lua_setfield(L, -2, "json");
    lua_pushcclosure(L, request_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    md__state(L)->request_class = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushcfunction(L, complete);
    md__state(L)->request_completer = luaL_ref(L, LUA_REGISTRYINDEX);
}

bool md__http_complete(lua_State *L, int index)
{
    if (call_of(L, index) == NULL)
        return true;
    lua_rawgeti(L, LUA_REGISTRYINDEX, md__state(L)->request_completer);
    lua_pushvalue(L, index);
    bool complete = lua_pcall(L, 1, 0, 0) == 0;
    if (!complete)
        lua_pop(L, 1);
    return complete;
}

int md__http_prepare(lua_State *L)
{
    struct md__http_call *call = lua_touserdata(L, 1);
    md__app_push_handler(L, call->match->route->index + 1);
    lua_createtable(L, 0, FIELDS_USED);
    lua_rawgeti(L, LUA_REGISTRYINDEX, md__state(L)->request_class);
    lua_setmetatable(L, -2);
    call->table = lua_topointer(L, -1);
    call->task->call = call;
    return 2;
}

/* ---- the response ---------------------------------------------------------------------------- */

static const char *keep(lua_State *L, struct md_response *response, const char *text)
{
    const char *copy = md_arena_strdup(&response->arena, text);
    if (copy == NULL)
        luaL_error(L, "the headers of the response are too large");
    return copy;
}

static bool is_token(const char *text)
{
    static const char legal[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "!#$%&'*+-.^_`|~";
    return *text != '\0' && strspn(text, legal) == strlen(text);
}

static bool is_field_text(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte == 0x7F || (byte < 0x20 && byte != '\t'))
            return false;
    }
    return true;
}

/* The framing of the response is not the script's. */
static bool is_ours(const char *name)
{
    return strcasecmp(name, "content-length") == 0 || strcasecmp(name, "connection") == 0 ||
           strcasecmp(name, "transfer-encoding") == 0;
}

static void set_header(lua_State *L, struct md_response *response)
{
    size_t length;
    if (lua_type(L, -2) != LUA_TSTRING || !lua_isstring(L, -1))
        luaL_error(L, "response headers: names and values must be strings");
    const char *name = lua_tostring(L, -2), *value = lua_tolstring(L, -1, &length);
    if (!is_token(name) || !is_field_text(value, length) || is_ours(name))
        luaL_error(L, "response header \"%s\": not allowed, or with illegal characters", name);
    if (strcasecmp(name, "content-type") == 0) {
        response->content_type = keep(L, response, value);
        return;
    }
    if (response->header_count == MD_RESPONSE_HEADERS_MAX)
        luaL_error(L, "more than %d response headers", MD_RESPONSE_HEADERS_MAX);
    struct md_header *header = &response->headers[response->header_count++];
    header->name = keep(L, response, name);
    header->value = keep(L, response, value);
}

static void set_headers(lua_State *L, struct md_response *response, int index)
{
    if (lua_isnil(L, index))
        return;
    if (!lua_istable(L, index))
        luaL_error(L, "response headers: table expected, got %s", luaL_typename(L, index));
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1))
        set_header(L, response);
}

static void set_json(lua_State *L, struct md_response *response, int index)
{
    struct md_error err;
    response->content_type = "application/json";
    int span = md_span_begin("encode");
    enum md_status status = md__json_write(L, index, -1, &response->body, &err);
    md_span_end(span);
    if (status == MD_OK)
        return;
    luaL_error(L, "the response cannot be encoded: %s", err.text); /* the script's mistake */
}

static void set_body(lua_State *L, struct md__http_call *call, int index)
{
    struct md_response *response = call->response;
    size_t length;
    const char *text;
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        response->content_type = NULL;
        break;
    case LUA_TSTRING:
        text = lua_tolstring(L, index, &length);
        response->content_type = "text/plain; charset=utf-8";
        md_buffer_append(&response->body, text, length);
        if (md_buffer_check(&response->body, NULL) != MD_OK)
            luaL_error(L, "the response is too large");
        break;
    case LUA_TUSERDATA:
        if (md__object_class(L, index) == &md__blob_class) {
            response->content_type = "application/json";
            response->blob = md__blob_class.share(L, index);
            break;
        }
        /* fall through */
    default:
        if (!md__stream_take(L, index, call))
            set_json(L, response, index);
    }
}

static int check_status(lua_State *L, int index)
{
    lua_Number status = lua_tonumber(L, index);
    if (!(status >= 200 && status <= 599) || status != floor(status))
        luaL_error(L, "response status %f is none (200 to 599)", status);
    return (int)status;
}

/* `nil, err`: as if it had been raised. */
static void raise_error_result(lua_State *L)
{
    lua_getfield(L, 3, "detail");
    if (lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "a handler returned nil and a table that is no error");
    lua_pushvalue(L, 3);
    lua_error(L);
}

int md__http_finish(lua_State *L)
{
    struct md__http_call *call = lua_touserdata(L, 1);
    struct md_response *response = call->response;
    lua_State *co = call->task->co;
    int count = lua_gettop(co);
    if (count > 3)
        return luaL_error(L, "a handler returns at most 3 values, got %d", count);
    lua_xmove(co, L, count);
    lua_settop(L, 4);
    if (lua_isnil(L, 2) && lua_istable(L, 3))
        raise_error_result(L);
    bool has_status = lua_type(L, 2) == LUA_TNUMBER;
    response->status = has_status ? check_status(L, 2) : STATUS_DEFAULT;
    set_body(L, call, has_status ? 3 : 2);
    if (!has_status && lua_isnil(L, 2))
        response->status = 204;
    set_headers(L, response, has_status ? 4 : 3);
    return 0;
}
