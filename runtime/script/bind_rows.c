/*
 * md.json.rows: JSON objects made of rows of tensors.
 *
 *     local rows = md.json.rows { p10 = low, p50 = middle, current = now }
 *     rows:at(3, 5)    stands for { current = now[3][5], p10 = low[3][5], p50 = middle[3][5] }
 *
 * An answer has thousands of such objects. As tables of views each would cost a dozen allocations
 * and as much for the collector; this way one, and its text is written straight from the tensors.
 * Neither kind of object owns memory: the environment of `rows`, which its rows share, keeps the
 * tensors, the names and `rows` itself alive.
 */
#include <string.h>

#include "base/json_out.h"
#include "script/tensor_object.h"

enum { FIELDS_MAX = 32 };

struct field {
    const char *name;
    const struct md_tensor *tensor;
};

struct rows {
    int count;
    struct field fields[FIELDS_MAX]; /* in the order of their names, as in any object */
};

struct row {
    const struct rows *rows;
    int axes;     /* this many first axes are behind us */
    size_t index; /* of the row among all that these axes have */
};

/* ---- rows ------------------------------------------------------------------------------------ */

static const struct md__class rows_class;

static void insert(struct rows *rows, const char *name, const struct md_tensor *tensor)
{
    int at = rows->count++;
    for (; at > 0 && strcmp(rows->fields[at - 1].name, name) > 0; at--)
        rows->fields[at] = rows->fields[at - 1];
    rows->fields[at] = (struct field){name, tensor};
}

static int json_rows(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct rows *rows = md__object_new(L, &rows_class, sizeof *rows);
    lua_newtable(L); /* the environment: the fields as they are now */
    for (lua_pushnil(L); lua_next(L, 1) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || md__tensor_test(L, -1) == NULL)
            return luaL_argerror(L, 1, "must map names to tensors");
        if (rows->count == FIELDS_MAX)
            return luaL_argerror(L, 1, "has more than 32 fields");
        insert(rows, lua_tostring(L, -2), md__tensor_test(L, -1));
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, 3);
    }
    luaL_argcheck(L, rows->count > 0, 1, "has no fields");
    lua_pushvalue(L, 2);
    lua_rawseti(L, 3, 1);
    lua_setfenv(L, 2);
    return 1;
}

/* ---- one row --------------------------------------------------------------------------------- */

static const struct md__class row_class;

/* Raises unless the field's first axes are those of the first field, too. */
static void check_axes(lua_State *L, const struct field *field, const struct field *first, int axes)
{
    size_t bytes = (size_t)axes * sizeof first->tensor->shape.dim[0];
    if (field->tensor->shape.rank < axes ||
        memcmp(field->tensor->shape.dim, first->tensor->shape.dim, bytes) != 0)
        luaL_error(L, "rows: %s and %s do not begin with the same %d axes", first->name,
                   field->name, axes);
}

/* rows:at(i, ...) */
static int rows_at(lua_State *L)
{
    const struct rows *rows = md__object_check(L, 1, &rows_class);
    int axes = lua_gettop(L) - 1;
    size_t index = 0;
    luaL_argcheck(L, axes >= 1 && axes <= MD_RANK_MAX, 2, "an index for each first axis expected");
    for (int i = 0; i < rows->count; i++)
        check_axes(L, &rows->fields[i], &rows->fields[0], axes);
    for (int axis = 0; axis < axes; axis++) {
        int64_t dim = rows->fields[0].tensor->shape.dim[axis];
        lua_Number at = luaL_checknumber(L, axis + 2);
        luaL_argcheck(L, at >= 1 && at <= (lua_Number)dim, axis + 2, "outside the tensors");
        index = index * (size_t)dim + (size_t)at - 1;
    }
    struct row *row = md__object_new(L, &row_class, sizeof *row);
    *row = (struct row){rows, axes, index};
    lua_getfenv(L, 1);
    lua_setfenv(L, -2);
    return 1;
}

static enum md_status encode_row(lua_State *L, int index, int decimals, struct md_buffer *out,
                                 struct md_error *err)
{
    const struct row *row = lua_touserdata(L, index);
    (void)err;
    md_buffer_append(out, "{", 1);
    for (int i = 0; i < row->rows->count; i++) {
        const struct field *field = &row->rows->fields[i];
        if (i > 0)
            md_buffer_append(out, ",", 1);
        md_json_string(out, field->name, strlen(field->name));
        md_buffer_append(out, ":", 1);
        md__tensor_encode(field->tensor, row->axes, row->index, decimals, out);
    }
    md_buffer_append(out, "}", 1);
    return MD_OK; /* the writer checks the buffer */
}

/* ---- the classes ----------------------------------------------------------------------------- */

static const luaL_Reg rows_methods[] = {{"at", rows_at}, {NULL, NULL}};
static const struct md__class rows_class = {.name = "rows", .methods = rows_methods};
static const struct md__class row_class = {.name = "row", .encode = encode_row};

static const luaL_Reg functions[] = {{"rows", json_rows}, {NULL, NULL}};

static void bind(lua_State *L, struct md_script *script)
{
    (void)script;
    md__class_new(L, &rows_class);
    md__class_new(L, &row_class);
    md__bind_table(L, "json", functions);
}

const struct md__binding md__binding_rows = {.name = "rows", .bind = bind};
