/*
 * Event streams: what a handler that returns md.stream(function(stream) ... end) sets going.
 *
 * The handler's own task ends first; the function then runs as a second task on the same state and
 * thread, with no deadline but with the handler's budget of Lua between two waits. Every event
 * leaves through the writer that came with the request (script.h) while the state serves others,
 * and so does md.sleep, which a closing stream cuts short.
 *
 * A closed stream (client gone, too slow, draining, generation replaced) makes its calls fail with
 * `nil, err`. A function that goes on regardless is stopped by an error after some more waits, so
 * that nothing lives on unseen.
 */
#include <stdlib.h>
#include <string.h>

#include "script/generation.h"

enum { WAITS_MAX_CLOSED = 8, RETRY_MS_MAX = 3600000, KEEP_ALIVE_S_MAX = 3600 };

static const size_t event_bytes_max = (size_t)16 << 20;
static const double keep_alive_s_default = 15;

/* ---- md.stream(function [, { keep_alive_s }]) -------------------------------------------------
 */

/* What the handler returns; its environment table holds the function at 1. */
struct answer {
    int keep_alive_ms;
};

static const struct md__class answer_class = {.name = "event stream"};

static int stream_new(lua_State *L)
{
    double keep_alive_s = keep_alive_s_default;
    luaL_checktype(L, 1, LUA_TFUNCTION);
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        keep_alive_s = md__field_number(L, 2, "keep_alive_s", keep_alive_s);
        luaL_argcheck(L, keep_alive_s >= 0 && keep_alive_s <= KEEP_ALIVE_S_MAX, 2,
                      "keep_alive_s: 0 to 3600 seconds");
    }
    struct answer *answer = md__object_new(L, &answer_class, sizeof *answer);
    answer->keep_alive_ms = (int)(keep_alive_s * 1000);
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    lua_setfenv(L, -2);
    return 1;
}

bool md__stream_take(lua_State *L, int index, struct md__http_call *call)
{
    const struct answer *answer = md__object_test(L, index, &answer_class);
    if (answer == NULL)
        return false;
    if (call->request->stream == NULL)
        luaL_error(L, "event streams cannot be sent here");
    call->streams = true;
    call->response->keep_alive_ms = answer->keep_alive_ms;
    call->response->content_type = "text/event-stream";
    lua_pushlightuserdata(L, call);
    lua_getfenv(L, index);
    lua_rawgeti(L, -1, 1);
    lua_replace(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return true;
}

/* ---- the object that the function gets --------------------------------------------------------
 */

struct object {
    struct md__hold hold;
    struct md__stream *stream; /* NULL once the function has ended */
};

/* A stream ends with its task, and is its task's alone: another request of the same state, which
 * has found the object in a local of the file, would write beside it and after its end. */
static enum md_status check_open(lua_State *L, const struct md__stream *stream,
                                 struct md_error *err)
{
    const struct md__task *task = md__state(L)->task;
    if (stream == NULL)
        return md_fail(err, MD_ERR_CANCELLED, "the stream has ended");
    if (task == NULL || task->stream != stream)
        return md_fail(err, MD_ERR_UNAUTHORIZED, "the stream is another request's");
    return stream->writer->check(stream->context, err);
}

struct sending {
    struct md_wait wait;
    struct md__stream *stream;
    struct md_buffer text;
};

static enum md_status send_block(struct md_wait *wait, struct md_script *script,
                                 int64_t deadline_ns, struct md_error *err)
{
    struct sending *sending = (struct sending *)wait;
    const struct md__stream *stream = sending->stream;
    (void)script;
    (void)deadline_ns;
    return stream->writer->send(stream->context, sending->text.data, sending->text.length, err);
}

static void send_drop(struct md_wait *wait)
{
    struct sending *sending = (struct sending *)wait;
    md_buffer_fini(&sending->text);
    free(sending);
}

/* One "data:" line a line of text; CR, LF and CRLF all end one. */
static void add_data(struct md_buffer *text, const char *data, size_t length)
{
    const char *end = data + length;
    for (;;) {
        size_t line = 0;
        while (data + line < end && data[line] != '\n' && data[line] != '\r')
            line++;
        md_buffer_text(text, "data: ");
        md_buffer_append(text, data, line);
        md_buffer_text(text, "\n");
        data += line;
        if (data == end)
            return;
        data += data + 1 < end && data[0] == '\r' && data[1] == '\n' ? 2 : 1;
    }
}

static void add_field(struct md_buffer *text, const char *name, const char *value)
{
    if (value != NULL)
        md_buffer_printf(text, "%s: %s\n", name, value);
}

static enum md_status add_json(lua_State *L, int index, struct md_buffer *text,
                               struct md_error *err)
{
    struct md_buffer json;
    md_buffer_init(&json, event_bytes_max);
    enum md_status status = md__json_write(L, index, -1, &json, err);
    if (status == MD_OK)
        add_data(text, json.data, json.length);
    md_buffer_fini(&json);
    return status;
}

/* A field of one line, or NULL; its string stays on the stack. */
static const char *line_field(lua_State *L, const char *name)
{
    size_t length;
    lua_getfield(L, 2, name);
    if (lua_isnil(L, -1))
        return NULL;
    if (!lua_isstring(L, -1))
        luaL_error(L, "stream:send: %s must be a string", name);
    const char *text = lua_tolstring(L, -1, &length);
    if (strcspn(text, "\r\n") != length)
        luaL_error(L, "stream:send: %s must be one line", name);
    return text;
}

/* The table (or string) at 2 as the text of an event. Whatever can raise comes before the buffer
 * holds memory. */
static enum md_status format_event(lua_State *L, struct md_buffer *text, struct md_error *err)
{
    const char *event = NULL, *id = NULL;
    int64_t retry_ms = -1;
    if (lua_istable(L, 2)) {
        event = line_field(L, "event");
        id = line_field(L, "id");
        retry_ms = md__field_int(L, 2, "retry_ms", -1, -1, RETRY_MS_MAX);
        lua_getfield(L, 2, "data");
    } else {
        luaL_checktype(L, 2, LUA_TSTRING);
        lua_pushvalue(L, 2);
    }
    int data = lua_gettop(L);
    enum md_status status = MD_OK;
    md_buffer_init(text, event_bytes_max);
    add_field(text, "event", event);
    add_field(text, "id", id);
    if (retry_ms >= 0)
        md_buffer_printf(text, "retry: %d\n", (int)retry_ms);
    if (lua_type(L, data) == LUA_TSTRING) {
        size_t length;
        const char *string = lua_tolstring(L, data, &length);
        add_data(text, string, length);
    } else if (!lua_isnil(L, data)) {
        status = add_json(L, data, text, err);
    }
    md_buffer_text(text, "\n");
    return status == MD_OK ? md_buffer_check(text, err) : status;
}

/* stream:send { event, data, id, retry_ms } or stream:send(text) -> true | nil, err */
static int stream_send(lua_State *L)
{
    const struct object *object = md__object_check(L, 1, &md__stream_class);
    struct md_buffer text;
    struct md_error err;
    lua_settop(L, 2);
    enum md_status status = format_event(L, &text, &err);
    struct sending *sending = status == MD_OK ? calloc(1, sizeof *sending) : NULL;
    if (status == MD_OK)
        status = sending != NULL ? check_open(L, object->stream, &err)
                                 : md_fail(&err, MD_ERR_MEMORY, "no memory for an event");
    if (status != MD_OK) {
        free(sending);
        md_buffer_fini(&text);
        return md__return_error(L, &err);
    }
    *sending = (struct sending){
        {.block = send_block, .finish = md__wait_true, .drop = send_drop}, object->stream, text};
    return md__yield(L, &sending->wait);
}

static int stream_closed(lua_State *L)
{
    const struct object *object = md__object_check(L, 1, &md__stream_class);
    lua_pushboolean(L, check_open(L, object->stream, NULL) != MD_OK);
    return 1;
}

static void release(struct md__hold *hold)
{
    ((struct object *)hold)->stream = NULL;
}

static int collect(lua_State *L)
{
    struct object *object = lua_touserdata(L, 1);
    md__unhold(&object->hold);
    return 0;
}

static const luaL_Reg methods[] = {
    {"send", stream_send}, {"closed", stream_closed}, {"__gc", collect}, {NULL, NULL}};
const struct md__class md__stream_class = {.name = "stream", .methods = methods};

/* ---- running ----------------------------------------------------------------------------------
 */

static void list_add(struct md_script *script, struct md__stream *stream)
{
    pthread_mutex_lock(&script->lock);
    stream->next = script->streams;
    stream->previous = &script->streams;
    if (stream->next != NULL)
        stream->next->previous = &stream->next;
    script->streams = stream;
    pthread_mutex_unlock(&script->lock);
}

static void list_remove(struct md_script *script, struct md__stream *stream)
{
    pthread_mutex_lock(&script->lock);
    *stream->previous = stream->next;
    if (stream->next != NULL)
        stream->next->previous = stream->previous;
    pthread_mutex_unlock(&script->lock);
}

int md_script_streams_close(struct md_script *script, const struct md_generation *generation,
                            const char *why)
{
    int count = 0;
    pthread_mutex_lock(&script->lock);
    for (struct md__stream *stream = script->streams; stream != NULL; stream = stream->next) {
        if (generation == NULL || stream->generation == generation) {
            stream->writer->close(stream->context, why);
            count++;
        }
    }
    pthread_mutex_unlock(&script->lock);
    return count;
}

struct starting {
    struct md__http_call *call;
    struct md__stream *stream;
};

static int prepare(lua_State *L)
{
    const struct starting *starting = lua_touserdata(L, 1);
    lua_pushlightuserdata(L, starting->call);
    lua_rawget(L, LUA_REGISTRYINDEX);
    struct object *object = md__object_new(L, &md__stream_class, sizeof *object);
    object->stream = starting->stream;
    object->hold.release = release;
    md__hold(L, &object->hold);
    return 2;
}

static int forget(lua_State *L)
{
    lua_pushnil(L);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return 0;
}

/* A mistake in the function ends the stream with an event that says so, like a 500 would. */
static void tell_failure(struct md__stream *stream, struct md__task *task,
                         const struct md_error *cause)
{
    static const char event[] = "event: error\ndata: {\"detail\":\"script error in the stream\","
                                "\"code\":\"SCRIPT_ERROR\"}\n\n";
    if (stream->writer->check(stream->context, NULL) == MD_OK)
        stream->writer->send(stream->context, event, sizeof event - 1, NULL);
    md__task_log(task, cause);
}

void md__stream_run(struct md__http_call *call)
{
    struct md__state *state = call->task->state;
    struct md__stream stream = {.generation = call->match->generation,
                                .writer = call->request->stream,
                                .context = call->request->stream_context};
    struct md__task task = {.state = state,
                            .what = call->task->what,
                            .budget_ns = call->task->budget_ns,
                            .stream = &stream,
                            .call = call};
    struct starting starting = {call, &stream};
    struct md_error cause;
    enum md_status status = stream.writer->begin(stream.context, call->response, &cause);
    if (status != MD_OK) {
        md_response_error(call->response, &cause);
    } else {
        list_add(state->script, &stream);
        status = md__task_run(&task, prepare, &starting, &cause);
        if (status != MD_OK)
            tell_failure(&stream, &task, &cause);
        list_remove(state->script, &stream);
        md__task_end(&task);
        stream.writer->end(stream.context);
    }
    md__protect(state, forget, call, NULL);
}

/* ---- waiting ----------------------------------------------------------------------------------
 */

enum md_status md__stream_sleep(struct md__stream *stream, int64_t ns, struct md_error *err)
{
    return stream->writer->wait(stream->context, ns, err);
}

bool md__stream_may_wait(struct md__stream *stream)
{
    if (stream == NULL || stream->writer->check(stream->context, NULL) == MD_OK)
        return true;
    return ++stream->waits_closed <= WAITS_MAX_CLOSED;
}

static void bind(lua_State *L, struct md_script *script)
{
    static const luaL_Reg functions[] = {{"stream", stream_new}, {NULL, NULL}};
    (void)script;
    luaL_register(L, NULL, functions);
    md__class_new(L, &answer_class);
    md__class_new(L, &md__stream_class);
}

const struct md__binding md__binding_stream = {.name = "stream", .bind = bind};
