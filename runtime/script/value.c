/*
 * See value.h. A table is a list of pairs; only its root is counted.
 *
 * All of a value lies in one block, whose parts are told by where they are in it: what is made in
 * one request and given back in another costs one allocation, and what is read lies close together.
 */
#include "script/value.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "script/generation.h"

enum { DEPTH_MAX = 32, UNITS_PER_VALUE = 8, SCRATCH_BYTES = 8192 };

enum kind { BOOLEAN, NUMBER, STRING, TABLE, OBJECT, NULL_VALUE };

static const size_t none = SIZE_MAX; /* no place */

struct node {
    enum kind kind;
    union {
        bool truth;
        double number;
        struct {
            size_t at, length;
        } string;
        struct {
            size_t at;       /* of nodes: key, value, key, value ... */
            size_t count;    /* of pairs */
            size_t elements; /* that are a sequence, for pushing */
        } table;
        struct {
            const struct md__class *class;
            void *object;
            size_t next; /* node that is an object, or none */
        } object;
    };
};

struct md__value {
    _Atomic int refs;
    size_t bytes;
    size_t objects; /* the first of those to be released, or none */
    struct node root;
};

/* A value in the making. Its block moves as it grows, and is not on the heap as long as it is
 * small. */
struct copying {
    lua_State *L;
    size_t bytes, bytes_max;
    struct md_error *err;
    struct md__value *value;
    size_t used, room;
    bool on_heap;
};

static enum md_status copy(struct copying *copying, int index, int depth, size_t at);

static enum md_status charge(struct copying *copying, size_t bytes)
{
    if (bytes > copying->bytes_max || copying->bytes > copying->bytes_max - bytes)
        return md_fail(copying->err, MD_ERR_TOO_LARGE, "the value has more than %zu bytes",
                       copying->bytes_max);
    copying->bytes += bytes;
    return MD_OK;
}

static void *part_at(const struct md__value *value, size_t at)
{
    return (char *)value + at;
}

static void release_objects(const struct md__value *value)
{
    const struct node *node;
    for (size_t at = value->objects; at != none; at = node->object.next) {
        node = part_at(value, at);
        node->object.class->release(node->object.object);
    }
}

static bool grow(struct copying *copying, size_t size)
{
    size_t room = 2 * copying->room, needed = copying->used + size;
    room = room > needed ? room : needed;
    struct md__value *value = realloc(copying->on_heap ? copying->value : NULL, room);
    if (value == NULL)
        return false;
    if (!copying->on_heap)
        memcpy(value, copying->value, copying->used);
    copying->value = value;
    copying->room = room;
    copying->on_heap = true;
    return true;
}

/* Room for `size` bytes, aligned for nodes. */
static enum md_status place(struct copying *copying, size_t size, size_t *at)
{
    size_t unit = _Alignof(struct node);
    size = (size + unit - 1) / unit * unit;
    if (size > copying->room - copying->used && !grow(copying, size))
        return md_fail(copying->err, MD_ERR_MEMORY, "not enough memory");
    *at = copying->used;
    copying->used += size;
    return MD_OK;
}

/* ---- from Lua -------------------------------------------------------------------------------- */

static enum md_status copy_string(struct copying *copying, int index, size_t at)
{
    size_t length, text_at;
    const char *text = lua_tolstring(copying->L, index, &length);
    enum md_status status = charge(copying, length);
    if (status == MD_OK)
        status = place(copying, length, &text_at);
    if (status != MD_OK)
        return status;
    memcpy(part_at(copying->value, text_at), text, length);
    *(struct node *)part_at(copying->value, at) =
        (struct node){.kind = STRING, .string = {text_at, length}};
    return MD_OK;
}

static enum md_status copy_object(struct copying *copying, int index, size_t at)
{
    const struct md__class *class = md__object_class(copying->L, index);
    void *object = class != NULL && class->share != NULL ? class->share(copying->L, index) : NULL;
    if (object == NULL)
        return md_fail(copying->err, MD_ERR_INVALID, "cannot share a %s",
                       class != NULL ? class->name : luaL_typename(copying->L, index));
    *(struct node *)part_at(copying->value, at) =
        (struct node){.kind = OBJECT, .object = {class, object, copying->value->objects}};
    copying->value->objects = at;
    return charge(copying, class->bytes(object));
}

static size_t count_pairs(lua_State *L, int index)
{
    size_t count = 0;
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1))
        count++;
    return count;
}

static enum md_status copy_pairs(struct copying *copying, int index, int depth, size_t pairs,
                                 size_t *count)
{
    lua_State *L = copying->L;
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        size_t pair = pairs + 2 * *count * sizeof(struct node);
        int key = lua_gettop(L) - 1;
        enum md_status status = copy(copying, key, depth + 1, pair);
        if (status == MD_OK)
            status = copy(copying, key + 1, depth + 1, pair + sizeof(struct node));
        if (status != MD_OK) {
            lua_pop(L, 2);
            return status;
        }
        (*count)++;
    }
    return MD_OK;
}

static enum md_status copy_table(struct copying *copying, int index, int depth, size_t at)
{
    lua_State *L = copying->L;
    if (depth == DEPTH_MAX || !lua_checkstack(L, 8))
        return md_fail(copying->err, MD_ERR_INVALID, "nested deeper than %d (a cycle?)", DEPTH_MAX);
    if (!md__http_complete(L, index))
        return md_fail(copying->err, MD_ERR_MEMORY, "not enough memory");
    size_t bytes = 2 * count_pairs(L, index) * sizeof(struct node), pairs, count = 0;
    enum md_status status = charge(copying, bytes);
    if (status == MD_OK)
        status = place(copying, bytes, &pairs);
    if (status == MD_OK)
        status = copy_pairs(copying, index, depth, pairs, &count);
    if (status == MD_OK)
        *(struct node *)part_at(copying->value, at) =
            (struct node){.kind = TABLE, .table = {pairs, count, lua_objlen(L, index)}};
    return status;
}

static enum md_status copy(struct copying *copying, int index, int depth, size_t at)
{
    lua_State *L = copying->L;
    struct node *node = part_at(copying->value, at);
    node->kind = NULL_VALUE;
    if (md__is_spent(md__state(L), UNITS_PER_VALUE))
        return md_fail(copying->err, MD_ERR_SCRIPT, "%s", md__spent_text);
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        *node = (struct node){.kind = BOOLEAN, .truth = lua_toboolean(L, index)};
        return MD_OK;
    case LUA_TNUMBER:
        *node = (struct node){.kind = NUMBER, .number = lua_tonumber(L, index)};
        return MD_OK;
    case LUA_TSTRING:
        return copy_string(copying, index, at);
    case LUA_TTABLE:
        return copy_table(copying, index, depth, at);
    case LUA_TUSERDATA:
        return copy_object(copying, index, at);
    case LUA_TLIGHTUSERDATA:
        return MD_OK;
    default:
        return md_fail(copying->err, MD_ERR_INVALID, "cannot share a %s", luaL_typename(L, index));
    }
}

/* The value that has been made, in a block of its own that has its size. */
static struct md__value *settle(const struct copying *copying)
{
    if (copying->on_heap) {
        struct md__value *trimmed = realloc(copying->value, copying->used);
        return trimmed != NULL ? trimmed : copying->value;
    }
    struct md__value *value = malloc(copying->used);
    return value != NULL ? memcpy(value, copying->value, copying->used) : NULL;
}

enum md_status md__value_new(lua_State *L, int index, size_t bytes_max, struct md__value **result,
                             struct md_error *err)
{
    union {
        struct md__value value;
        char room[SCRATCH_BYTES];
    } scratch;
    scratch.value = (struct md__value){.refs = 1, .objects = none};
    struct copying copying = {L,
                              sizeof scratch.value,
                              bytes_max,
                              err,
                              &scratch.value,
                              sizeof scratch.value,
                              sizeof scratch,
                              false};
    enum md_status status = copy(&copying, index, 0, offsetof(struct md__value, root));
    copying.value->bytes = copying.bytes;
    struct md__value *value = status == MD_OK ? settle(&copying) : NULL;
    if (value != NULL) {
        *result = value;
        return MD_OK;
    }
    release_objects(copying.value);
    if (copying.on_heap)
        free(copying.value);
    return status != MD_OK ? status : md_fail(err, MD_ERR_MEMORY, "not enough memory");
}

struct md__value *md__value_number(double number)
{
    struct md__value *value = malloc(sizeof *value);
    if (value == NULL)
        return NULL;
    *value = (struct md__value){.refs = 1,
                                .bytes = sizeof *value,
                                .objects = none,
                                .root = {.kind = NUMBER, .number = number}};
    return value;
}

struct md__value *md__value_ref(struct md__value *value)
{
    atomic_fetch_add(&value->refs, 1);
    return value;
}

void md__value_unref(struct md__value *value)
{
    if (value == NULL || atomic_fetch_sub(&value->refs, 1) != 1)
        return;
    release_objects(value);
    free(value);
}

size_t md__value_bytes(const struct md__value *value)
{
    return value->bytes;
}

bool md__value_is_number(const struct md__value *value, double *number)
{
    *number = value->root.kind == NUMBER ? value->root.number : 0;
    return value->root.kind == NUMBER;
}

/* ---- to Lua ---------------------------------------------------------------------------------- */

static void push(lua_State *L, const struct md__value *value, const struct node *node);

static void push_table(lua_State *L, const struct md__value *value, const struct node *node)
{
    const struct node *pairs = part_at(value, node->table.at);
    size_t elements = node->table.elements, count = node->table.count;
    lua_createtable(L, (int)elements, elements < count ? (int)(count - elements) : 0);
    for (size_t i = 0; i < count; i++) {
        push(L, value, &pairs[2 * i]);
        push(L, value, &pairs[2 * i + 1]);
        lua_rawset(L, -3);
    }
}

static void push(lua_State *L, const struct md__value *value, const struct node *node)
{
    luaL_checkstack(L, 4, "md.dict");
    switch (node->kind) {
    case BOOLEAN:
        lua_pushboolean(L, node->truth);
        break;
    case NUMBER:
        lua_pushnumber(L, node->number);
        break;
    case STRING:
        lua_pushlstring(L, part_at(value, node->string.at), node->string.length);
        break;
    case OBJECT:
        node->object.class->push(L, node->object.object);
        break;
    case NULL_VALUE:
        md__json_push_null(L);
        break;
    case TABLE:
        push_table(L, value, node);
    }
}

void md__value_push(lua_State *L, const struct md__value *value)
{
    push(L, value, &value->root);
}
