/*
 * JSON and Lua values. Out: a streaming writer of our own, straight into a byte buffer, because a
 * response of a few megabytes is the daemon's daily bread. In: a strict parse (base/json_in.h),
 * then one walk.
 *
 * A table with elements 1..n is an array and may have no other keys; any other table is an object
 * whose keys are strings or numbers. An empty table is {}, unless md.json.array has marked it. NaN
 * and infinities become null. Depth is capped, which also ends cycles; tables that are met again
 * and again (they double with each level) end when the text is full or the time is up.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/f64text.h"
#include "base/json_in.h"
#include "base/json_out.h"
#include "script/generation.h"

/* TREE_BYTES_PER_BYTE: what jansson's tree of ordinary JSON weighs; of the worst, ten times more.
 */
enum { UNITS_PER_VALUE = 4 };
enum { DEPTH_MAX = 64, NAMES_LOCAL = 32, KEY_SHOWN_MAX = 40, TREE_BYTES_PER_BYTE = 8 };

const char md__json_array_class[] = "moondial.array";

struct writer {
    lua_State *L;
    struct md_buffer *out;
    struct md_error *err;
    int decimals;
    int depth;
};

static enum md_status write_value(struct writer *writer, int index);

/* ---- scalars --------------------------------------------------------------------------------- */

void md__json_write_number(struct md_buffer *out, double number, int decimals)
{
    char text[MD_NUMBER_TEXT_MAX];
    size_t length =
        decimals < 0 ? md_f64_text(number, text) : md_f64_text_rounded(number, decimals, text);
    md_buffer_append(out, text, length);
}

/* ---- tables ---------------------------------------------------------------------------------- */

static bool is_marked_array(lua_State *L, int index)
{
    if (!lua_getmetatable(L, index))
        return false;
    luaL_getmetatable(L, md__json_array_class);
    bool marked = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return marked;
}

/* Fails on keys beside 1..count. Starts behind the last element: what a sequence has there is rare.
 */
static enum md_status check_no_other_keys(struct writer *writer, int index, int count)
{
    lua_State *L = writer->L;
    for (lua_pushinteger(L, count); lua_next(L, index) != 0; lua_pop(L, 1)) {
        lua_Number key = lua_type(L, -2) == LUA_TNUMBER ? lua_tonumber(L, -2) : 0;
        if (key >= 1 && key <= count && key == floor(key))
            continue;
        bool named = lua_type(L, -2) == LUA_TSTRING;
        md_fail(writer->err, MD_ERR_INVALID, "a table has both elements and the key %.*s",
                KEY_SHOWN_MAX, named ? lua_tostring(L, -2) : luaL_typename(L, -2));
        lua_pop(L, 2);
        return MD_ERR_INVALID;
    }
    return MD_OK;
}

static enum md_status write_array(struct writer *writer, int index, int count)
{
    enum md_status status = MD_OK;
    int element = lua_gettop(writer->L) + 1;
    md_buffer_append(writer->out, "[", 1);
    for (int i = 1; i <= count && status == MD_OK; i++) {
        if (i > 1)
            md_buffer_append(writer->out, ",", 1);
        lua_rawgeti(writer->L, index, i);
        status = write_value(writer, element);
        lua_pop(writer->L, 1);
        if (status != MD_OK)
            md_error_context(writer->err, "[%d]", i);
    }
    md_buffer_append(writer->out, "]", 1);
    return status == MD_OK && count > 0 ? check_no_other_keys(writer, index, count) : status;
}

static enum md_status write_key(struct writer *writer, int index)
{
    lua_State *L = writer->L;
    if (lua_type(L, index) == LUA_TSTRING) {
        size_t length;
        const char *text = lua_tolstring(L, index, &length);
        md_json_string(writer->out, text, length);
        return MD_OK;
    }
    if (lua_type(L, index) != LUA_TNUMBER)
        return md_fail(writer->err, MD_ERR_INVALID, "a %s cannot be a key",
                       luaL_typename(L, index));
    char text[40];
    int length = snprintf(text, sizeof text, "%.14g", lua_tonumber(L, index));
    md_json_string(writer->out, text, (size_t)length);
    return MD_OK;
}

static enum md_status write_member(struct writer *writer, int key)
{
    enum md_status status = write_key(writer, key);
    if (status != MD_OK)
        return status;
    md_buffer_append(writer->out, ":", 1);
    status = write_value(writer, key + 1);
    if (status != MD_OK && lua_type(writer->L, key) == LUA_TSTRING)
        md_error_context(writer->err, "%.*s", KEY_SHOWN_MAX, lua_tostring(writer->L, key));
    return status;
}

/* Members in the order of the table: when keys are not all strings. */
static enum md_status write_unsorted(struct writer *writer, int index)
{
    lua_State *L = writer->L;
    bool first = true;
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        if (!first)
            md_buffer_append(writer->out, ",", 1);
        first = false;
        enum md_status status = write_member(writer, lua_gettop(L) - 1);
        if (status != MD_OK) {
            lua_pop(L, 2);
            return status;
        }
    }
    return MD_OK;
}

struct name {
    const char *text; /* stays where it is: the table keeps it alive */
    size_t length;
};

static int compare_names(const void *left, const void *right)
{
    const struct name *a = left, *b = right;
    int order = memcmp(a->text, b->text, a->length < b->length ? a->length : b->length);
    if (order != 0)
        return order;
    return a->length < b->length ? -1 : a->length > b->length;
}

/* How many keys there are, with the first `room` of them in names; -1: one is not a string. */
static int list_names(lua_State *L, int index, struct name *names, int room)
{
    int count = 0;
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1), count++) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            lua_pop(L, 2);
            return -1;
        }
        if (count < room)
            names[count].text = lua_tolstring(L, -2, &names[count].length);
    }
    return count;
}

static enum md_status write_sorted(struct writer *writer, int index, struct name *names, int count)
{
    lua_State *L = writer->L;
    enum md_status status = MD_OK;
    qsort(names, (size_t)count, sizeof *names, compare_names);
    for (int i = 0; i < count && status == MD_OK; i++) {
        if (i > 0)
            md_buffer_append(writer->out, ",", 1);
        lua_pushlstring(L, names[i].text, names[i].length);
        lua_pushvalue(L, -1);
        lua_rawget(L, index);
        status = write_member(writer, lua_gettop(L) - 1);
        lua_pop(L, 2);
    }
    return status;
}

/* The members in the order of their names: equal tables give equal bytes. */
static enum md_status write_members(struct writer *writer, int index)
{
    struct name local[NAMES_LOCAL], *names = local;
    int count = list_names(writer->L, index, names, NAMES_LOCAL);
    if (count > NAMES_LOCAL && (names = malloc((size_t)count * sizeof *names)) != NULL)
        list_names(writer->L, index, names, count);
    enum md_status status = count < 0 || names == NULL ? write_unsorted(writer, index)
                                                       : write_sorted(writer, index, names, count);
    if (names != local)
        free(names);
    return status;
}

static enum md_status write_object(struct writer *writer, int index)
{
    md_buffer_append(writer->out, "{", 1);
    enum md_status status = write_members(writer, index);
    md_buffer_append(writer->out, "}", 1);
    return status;
}

static enum md_status write_table(struct writer *writer, int index)
{
    lua_State *L = writer->L;
    if (writer->depth == DEPTH_MAX || !lua_checkstack(L, 8))
        return md_fail(writer->err, MD_ERR_INVALID, "nested deeper than %d (a cycle?)", DEPTH_MAX);
    int count = (int)lua_objlen(L, index);
    bool is_array = count > 0 || is_marked_array(L, index);
    if (!is_array && !md__http_complete(L, index))
        return md_fail(writer->err, MD_ERR_MEMORY, "not enough memory");
    writer->depth++;
    enum md_status status =
        is_array ? write_array(writer, index, count) : write_object(writer, index);
    writer->depth--;
    return status;
}

/* ---- any value ------------------------------------------------------------------------------- */

static enum md_status write_object_of_ours(struct writer *writer, int index)
{
    const struct md__class *class = md__object_class(writer->L, index);
    if (class == NULL || class->encode == NULL)
        return md_fail(writer->err, MD_ERR_INVALID, "cannot encode a %s",
                       class != NULL ? class->name : luaL_typename(writer->L, index));
    return class->encode(writer->L, index, writer->decimals, writer->out, writer->err);
}

static enum md_status write_value(struct writer *writer, int index)
{
    lua_State *L = writer->L;
    struct md_buffer *out = writer->out;
    size_t length;
    const char *text;
    if (out->failed != MD_OK)
        return md_buffer_check(out, writer->err);
    if (md__is_spent(md__state(L), UNITS_PER_VALUE))
        return md_fail(writer->err, MD_ERR_SCRIPT, "%s", md__spent_text);
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        md_buffer_text(out, "null");
        return MD_OK;
    case LUA_TBOOLEAN:
        md_buffer_text(out, lua_toboolean(L, index) ? "true" : "false");
        return MD_OK;
    case LUA_TNUMBER:
        md__json_write_number(out, lua_tonumber(L, index), writer->decimals);
        return MD_OK;
    case LUA_TSTRING:
        text = lua_tolstring(L, index, &length);
        md_json_string(out, text, length);
        return MD_OK;
    case LUA_TTABLE:
        return write_table(writer, index);
    case LUA_TLIGHTUSERDATA:
        md_buffer_text(out, "null");
        return MD_OK;
    default:
        return write_object_of_ours(writer, index);
    }
}

enum md_status md__json_write(lua_State *L, int index, int decimals, struct md_buffer *out,
                              struct md_error *err)
{
    struct writer writer = {.L = L, .out = out, .err = err, .decimals = decimals};
    if (index < 0 && index > LUA_REGISTRYINDEX)
        index = lua_gettop(L) + index + 1;
    enum md_status status = write_value(&writer, index);
    return status == MD_OK ? md_buffer_check(out, err) : status;
}

/* ---- in -------------------------------------------------------------------------------------- */

void md__json_push_null(lua_State *L)
{
    lua_pushlightuserdata(L, NULL);
}

static void push_json(lua_State *L, json_t *value);

static void push_object(lua_State *L, json_t *object)
{
    const char *key;
    json_t *value;
    lua_createtable(L, 0, (int)json_object_size(object));
    json_object_foreach(object, key, value)
    {
        push_json(L, value);
        lua_setfield(L, -2, key);
    }
}

static void push_array(lua_State *L, json_t *array)
{
    size_t count = json_array_size(array);
    lua_createtable(L, (int)count, 0);
    luaL_getmetatable(L, md__json_array_class);
    lua_setmetatable(L, -2);
    for (size_t i = 0; i < count; i++) {
        push_json(L, json_array_get(array, i));
        lua_rawseti(L, -2, (int)i + 1);
    }
}

static void push_json(lua_State *L, json_t *value)
{
    luaL_checkstack(L, 4, "JSON");
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        push_object(L, value);
        break;
    case JSON_ARRAY:
        push_array(L, value);
        break;
    case JSON_STRING:
        lua_pushlstring(L, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
    case JSON_REAL:
        lua_pushnumber(L, json_number_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        lua_pushboolean(L, json_is_true(value));
        break;
    case JSON_NULL:
        md__json_push_null(L);
    }
}

static int push_root(lua_State *L)
{
    push_json(L, lua_touserdata(L, 1));
    return 1;
}

void md__json_push(lua_State *L, json_t *value)
{
    push_json(L, value);
}

/* The function is pushed first and called protected: the tree must be freed when memory runs out.
 */
enum md_status md__json_read(lua_State *L, const char *text, size_t length, struct md_error *err)
{
    json_t *root;
    size_t tree_bytes = length * TREE_BYTES_PER_BYTE;
    lua_pushcfunction(L, push_root);
    md__charge(L, tree_bytes); /* for as long as the tree lives */
    enum md_status status = md_json_parse(text, length, &root, err);
    if (status != MD_OK) {
        md__uncharge(L, tree_bytes);
        lua_pop(L, 1);
        return status;
    }
    lua_pushlightuserdata(L, root);
    int lua_status = lua_pcall(L, 1, 1, 0);
    json_decref(root);
    md__uncharge(L, tree_bytes);
    if (lua_status != 0)
        lua_error(L);
    return MD_OK;
}
