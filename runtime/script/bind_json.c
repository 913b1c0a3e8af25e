/*
 * md.json: encode, decode, null, array, blob. A blob is JSON text built once and sent many times:
 * it can be kept in md.dict and returned as a response's body by any state.
 */
#include "base/f64text.h"
#include "base/span.h"
#include "script/internal.h"

static const size_t text_bytes_max = (size_t)64 << 20;

struct blob {
    struct md_blob *blob;
    size_t charged;
};

/* ---- blobs ----------------------------------------------------------------------------------- */

static void *share_blob(lua_State *L, int index)
{
    struct blob *object = lua_touserdata(L, index);
    return object->blob != NULL ? md_blob_ref(object->blob) : NULL;
}

static void release_blob(void *object)
{
    md_blob_unref(object);
}

static size_t blob_bytes(const void *object)
{
    return ((const struct md_blob *)object)->length + sizeof(struct md_blob);
}

static void push_blob(lua_State *L, void *shared)
{
    struct md_blob *blob = shared;
    struct blob *object = md__object_new(L, &md__blob_class, sizeof *object);
    md__charge(L, blob_bytes(blob));
    object->charged = blob_bytes(blob);
    object->blob = md_blob_ref(blob);
}

static int collect_blob(lua_State *L)
{
    struct blob *object = lua_touserdata(L, 1);
    md_blob_unref(object->blob);
    md__uncharge(L, object->charged);
    *object = (struct blob){NULL, 0};
    return 0;
}

static int blob_length(lua_State *L)
{
    struct blob *object = md__object_check(L, 1, &md__blob_class);
    lua_pushnumber(L, object->blob != NULL ? (double)object->blob->length : 0);
    return 1;
}

static int blob_text(lua_State *L)
{
    struct blob *object = md__object_check(L, 1, &md__blob_class);
    lua_pushlstring(L, object->blob->data, object->blob->length);
    return 1;
}

static enum md_status encode_blob(lua_State *L, int index, int decimals, struct md_buffer *out,
                                  struct md_error *err)
{
    (void)decimals;
    (void)err;
    struct blob *object = lua_touserdata(L, index);
    md_buffer_append(out, object->blob->data, object->blob->length);
    return MD_OK;
}

static const luaL_Reg blob_methods[] = {{"__gc", collect_blob},
                                        {"__len", blob_length},
                                        {"__tostring", blob_text},
                                        {"text", blob_text},
                                        {NULL, NULL}};

const struct md__class md__blob_class = {
    .name = "blob",
    .methods = blob_methods,
    .share = share_blob,
    .push = push_blob,
    .release = release_blob,
    .bytes = blob_bytes,
    .encode = encode_blob,
};

/* ---- functions ------------------------------------------------------------------------------- */

/* The options of encode and blob: how many decimals at most. */
static int check_decimals(lua_State *L, int index)
{
    if (lua_isnoneornil(L, index))
        return -1;
    luaL_checktype(L, index, LUA_TTABLE);
    return (int)md__field_int(L, index, "decimals", -1, -1, MD_DECIMALS_MAX);
}

/* Pushes a scratch buffer with the text of value 1. */
static struct md_buffer *encode_first(lua_State *L)
{
    struct md_error err;
    luaL_checkany(L, 1);
    int decimals = check_decimals(L, 2);
    struct md_buffer *text = md__scratch(L, text_bytes_max);
    int span = md_span_begin("encode");
    enum md_status status = md__json_write(L, 1, decimals, text, &err);
    md_span_end(span);
    if (status != MD_OK)
        luaL_error(L, "md.json: %s", err.text);
    return text;
}

static int json_encode(lua_State *L)
{
    struct md_buffer *text = encode_first(L);
    lua_pushlstring(L, text->data, text->length);
    md_buffer_fini(text);
    return 1;
}

static int json_blob(lua_State *L)
{
    struct md_buffer *text = encode_first(L);
    struct blob *object = md__object_new(L, &md__blob_class, sizeof *object);
    md__charge(L, text->length + sizeof(struct md_blob));
    object->charged = text->length + sizeof(struct md_blob);
    object->blob = md_blob_from_buffer(text);
    if (object->blob == NULL)
        return luaL_error(L, "md.json.blob: not enough memory");
    return 1;
}

static int json_decode(lua_State *L)
{
    size_t length;
    struct md_error err;
    const char *text = luaL_checklstring(L, 1, &length);
    if (md__json_read(L, text, length, &err) != MD_OK)
        return md__return_error(L, &err);
    return 1;
}

/* Marks a table as an array, which matters when it is empty. Other metatables stay: some protect.
 */
static int json_array(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    luaL_getmetatable(L, md__json_array_class);
    if (lua_getmetatable(L, 1) && !lua_rawequal(L, -1, -2))
        luaL_argerror(L, 1, "has a metatable");
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

static const luaL_Reg functions[] = {{"encode", json_encode},
                                     {"decode", json_decode},
                                     {"array", json_array},
                                     {"blob", json_blob},
                                     {NULL, NULL}};

static void bind(lua_State *L, struct md_script *script)
{
    (void)script;
    md__class_new(L, &md__blob_class);
    luaL_newmetatable(L, md__json_array_class);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    md__bind_table(L, "json", functions);
    lua_getfield(L, -1, "json");
    md__json_push_null(L);
    lua_setfield(L, -2, "null");
    lua_pop(L, 1);
}

const struct md__binding md__binding_json = {.name = "json", .bind = bind};
