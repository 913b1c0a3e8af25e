/* See value.h. A table is a list of pairs; only its root is counted. */
#include "script/value.h"

#include <stdlib.h>
#include <string.h>

#include "script/generation.h"

enum { DEPTH_MAX = 32, UNITS_PER_VALUE = 8 };

enum kind { BOOLEAN, NUMBER, STRING, TABLE, OBJECT, NULL_VALUE };

struct node {
    enum kind kind;
    union {
        bool truth;
        double number;
        struct {
            char *text;
            size_t length;
        } string;
        struct {
            struct node *pairs; /* key, value, key, value ... */
            size_t count;       /* of pairs */
            size_t elements;    /* that are a sequence, for pushing */
        } table;
        struct {
            const struct md__class *class;
            void *object;
        } object;
    };
};

struct md__value {
    _Atomic int refs;
    size_t bytes;
    struct node root;
};

struct copying {
    lua_State *L;
    size_t bytes, bytes_max;
    struct md_error *err;
};

static enum md_status copy(struct copying *copying, int index, int depth, struct node *node);

static enum md_status charge(struct copying *copying, size_t bytes)
{
    if (bytes > copying->bytes_max || copying->bytes > copying->bytes_max - bytes)
        return md_fail(copying->err, MD_ERR_TOO_LARGE, "the value has more than %zu bytes",
                       copying->bytes_max);
    copying->bytes += bytes;
    return MD_OK;
}

static void drop(struct node *node)
{
    if (node->kind == STRING) {
        free(node->string.text);
    } else if (node->kind == OBJECT) {
        node->object.class->release(node->object.object);
    } else if (node->kind == TABLE) {
        for (size_t i = 0; i < 2 * node->table.count; i++)
            drop(&node->table.pairs[i]);
        free(node->table.pairs);
    }
}

/* ---- from Lua -------------------------------------------------------------------------------- */

static enum md_status copy_string(struct copying *copying, int index, struct node *node)
{
    size_t length;
    const char *text = lua_tolstring(copying->L, index, &length);
    enum md_status status = charge(copying, length);
    if (status != MD_OK)
        return status;
    char *memory = malloc(length + 1);
    if (memory == NULL)
        return md_fail(copying->err, MD_ERR_MEMORY, "not enough memory");
    memcpy(memory, text, length);
    memory[length] = '\0';
    node->kind = STRING;
    node->string.text = memory;
    node->string.length = length;
    return MD_OK;
}

static enum md_status copy_object(struct copying *copying, int index, struct node *node)
{
    const struct md__class *class = md__object_class(copying->L, index);
    void *object = class != NULL && class->share != NULL ? class->share(copying->L, index) : NULL;
    if (object == NULL)
        return md_fail(copying->err, MD_ERR_INVALID, "cannot share a %s",
                       class != NULL ? class->name : luaL_typename(copying->L, index));
    node->kind = OBJECT;
    node->object.class = class;
    node->object.object = object;
    return charge(copying, class->bytes(object));
}

static size_t count_pairs(lua_State *L, int index)
{
    size_t count = 0;
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1))
        count++;
    return count;
}

static enum md_status copy_table(struct copying *copying, int index, int depth, struct node *node)
{
    lua_State *L = copying->L;
    enum md_status status = MD_OK;
    if (depth == DEPTH_MAX || !lua_checkstack(L, 8))
        return md_fail(copying->err, MD_ERR_INVALID, "nested deeper than %d (a cycle?)", DEPTH_MAX);
    if (!md__http_complete(L, index))
        return md_fail(copying->err, MD_ERR_MEMORY, "not enough memory");
    size_t room = count_pairs(L, index);
    status = charge(copying, 2 * room * sizeof(struct node));
    if (status != MD_OK)
        return status;
    node->table.pairs = calloc(room > 0 ? 2 * room : 1, sizeof(struct node));
    if (node->table.pairs == NULL)
        return md_fail(copying->err, MD_ERR_MEMORY, "not enough memory");
    node->kind = TABLE;
    node->table.count = 0;
    node->table.elements = lua_objlen(L, index);
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        struct node *pair = &node->table.pairs[2 * node->table.count];
        int key = lua_gettop(L) - 1;
        status = copy(copying, key, depth + 1, &pair[0]);
        if (status == MD_OK)
            status = copy(copying, key + 1, depth + 1, &pair[1]);
        if (status != MD_OK) {
            drop(&pair[0]);
            drop(&pair[1]);
            lua_pop(L, 2);
            return status;
        }
        node->table.count++;
    }
    return MD_OK;
}

/* On failure node is what can be dropped. */
static enum md_status copy(struct copying *copying, int index, int depth, struct node *node)
{
    lua_State *L = copying->L;
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
        return copy_string(copying, index, node);
    case LUA_TTABLE:
        return copy_table(copying, index, depth, node);
    case LUA_TUSERDATA:
        return copy_object(copying, index, node);
    case LUA_TLIGHTUSERDATA:
        return MD_OK;
    default:
        return md_fail(copying->err, MD_ERR_INVALID, "cannot share a %s", luaL_typename(L, index));
    }
}

enum md_status md__value_new(lua_State *L, int index, size_t bytes_max, struct md__value **result,
                             struct md_error *err)
{
    struct copying copying = {L, sizeof(struct md__value), bytes_max, err};
    struct md__value *value = calloc(1, sizeof *value);
    if (value == NULL)
        return md_fail(err, MD_ERR_MEMORY, "not enough memory");
    enum md_status status = copy(&copying, index, 0, &value->root);
    if (status != MD_OK) {
        drop(&value->root);
        free(value);
        return status;
    }
    atomic_init(&value->refs, 1);
    value->bytes = copying.bytes;
    *result = value;
    return MD_OK;
}

struct md__value *md__value_number(double number)
{
    struct md__value *value = calloc(1, sizeof *value);
    if (value == NULL)
        return NULL;
    atomic_init(&value->refs, 1);
    value->bytes = sizeof *value;
    value->root = (struct node){.kind = NUMBER, .number = number};
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
    drop(&value->root);
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

static void push(lua_State *L, const struct node *node);

static void push_table(lua_State *L, const struct node *node)
{
    size_t elements = node->table.elements, count = node->table.count;
    lua_createtable(L, (int)elements, elements < count ? (int)(count - elements) : 0);
    for (size_t i = 0; i < count; i++) {
        push(L, &node->table.pairs[2 * i]);
        push(L, &node->table.pairs[2 * i + 1]);
        lua_rawset(L, -3);
    }
}

static void push(lua_State *L, const struct node *node)
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
        lua_pushlstring(L, node->string.text, node->string.length);
        break;
    case OBJECT:
        node->object.class->push(L, node->object.object);
        break;
    case NULL_VALUE:
        md__json_push_null(L);
        break;
    case TABLE:
        push_table(L, node);
    }
}

void md__value_push(lua_State *L, const struct md__value *value)
{
    push(L, &value->root);
}
