/*
 * md.json.rows: JSON objects made of rows of columns.
 *
 *     local rows = md.json.rows { p10 = low, p50 = middle, current = now }
 *     rows:at(3, 5)    stands for { current = now[3][5], p10 = low[3][5], p50 = middle[3][5] }
 *     rows:inner(5)    for the rows whose second index is 5, as a column of other rows
 *
 * An answer has thousands of such objects. As tables of views each would cost a dozen allocations
 * and as much for the collector; this way one or none, and their text is written straight from the
 * tensors, of whole answers on several threads (columns.c). The environment of every object here
 * keeps alive what it points to.
 */
#include <stdlib.h>
#include <string.h>

#include "base/f64text.h"
#include "base/json_out.h"
#include "script/columns.h"
#include "script/tensor_object.h"
#include "script/writers.h"

enum { DEPTH_MAX = 16 };
static const size_t texts_bytes_max = (size_t)64 << 20;

static const struct md__class rows_class, row_class, inner_class, choice_class, named_class;

/* Pushes the environment of a new object on top of the stack, and gives it that. */
static void new_environment(lua_State *L)
{
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setfenv(L, -3);
}

/* Adds the value on top of the stack, which it pops, to the environment at index. */
static void keep(lua_State *L, int environment)
{
    lua_rawseti(L, environment, (int)lua_objlen(L, environment) + 1);
}

/* ---- texts ----------------------------------------------------------------------------------- */

/*
 * The values at index, each as JSON: the elements of a list, or one that is none. What holds the
 * text goes to the environment.
 */
static struct md__texts texts_of(lua_State *L, int index, bool is_list, int environment)
{
    struct md_error err;
    size_t count = is_list ? lua_objlen(L, index) : 1;
    luaL_checkstack(L, 8, "texts");
    struct md_buffer *text = md__scratch(L, texts_bytes_max);
    keep(L, environment);
    size_t *ends = lua_newuserdata(L, (count > 0 ? count : 1) * sizeof *ends);
    keep(L, environment);
    for (size_t i = 0; i < count; i++) {
        if (is_list)
            lua_rawgeti(L, index, (int)i + 1);
        else
            lua_pushvalue(L, index);
        if (md__json_write(L, -1, -1, text, &err) != MD_OK)
            luaL_error(L, "md.json.rows: %s", err.text);
        lua_pop(L, 1);
        ends[i] = text->length;
    }
    return (struct md__texts){text->data, ends, count};
}

struct choice {
    const struct md_tensor *tensor;
    struct md__texts texts;
};

/* md.json.choice(tensor, list) */
static int json_choice(lua_State *L)
{
    const struct md_tensor *tensor = md__tensor_check(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    struct choice *choice = md__object_new(L, &choice_class, sizeof *choice);
    new_environment(L);
    lua_pushvalue(L, 1);
    keep(L, 4);
    *choice = (struct choice){tensor, texts_of(L, 2, true, 4)};
    lua_settop(L, 3);
    return 1;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* How many rows there are along the first `axes` axes; raises when there are fewer. */
static size_t rows_along(lua_State *L, const char *name, const struct md_shape *shape, int axes)
{
    size_t count = 1;
    if (shape->rank < axes)
        luaL_error(L, "rows: %s does not begin with %d axes", name, axes);
    for (int i = 0; i < axes; i++)
        count *= (size_t)shape->dim[i];
    return count;
}

/* Raises unless the tensor's first axes are those of the first one, too. */
static void check_axes(lua_State *L, const struct md__column *column,
                       const struct md__column *first, int axes)
{
    size_t bytes = (size_t)axes * sizeof first->shape->dim[0];
    if (column->shape->rank < axes || memcmp(column->shape->dim, first->shape->dim, bytes) != 0)
        luaL_error(L, "rows: %s and %s do not begin with the same %d axes", first->name,
                   column->name, axes);
}

static size_t row_count(lua_State *L, const struct md__columns *columns, int axes);

static size_t column_rows(lua_State *L, const struct md__column *column, int axes)
{
    switch (column->kind) {
    case MD__COLUMN_TENSOR:
    case MD__COLUMN_LAZY:
    case MD__COLUMN_CHOICE:
        return rows_along(L, column->name, column->shape, axes);
    case MD__COLUMN_TEXTS:
        return column->texts.count == 1 ? SIZE_MAX : column->texts.count;
    case MD__COLUMN_OBJECT:
        break;
    }
    size_t rows = row_count(L, column->object.columns, axes - 1 + column->object.axes);
    return rows == SIZE_MAX ? rows : rows / column->object.span;
}

/* Rows when the first `axes` axes count them; SIZE_MAX: any number. Raises when columns differ. */
static size_t row_count(lua_State *L, const struct md__columns *columns, int axes)
{
    const struct md__column *first = NULL;
    size_t count = SIZE_MAX;
    for (int i = 0; i < columns->count; i++) {
        const struct md__column *column = &columns->column[i];
        size_t rows = column_rows(L, column, axes);
        if (column->shape != NULL && first != NULL)
            check_axes(L, column, first, axes);
        if (column->shape != NULL && first == NULL)
            first = column;
        if (rows != SIZE_MAX && count != SIZE_MAX && rows != count)
            luaL_error(L, "rows: %s has %d rows, not %d", column->name, (int)rows, (int)count);
        count = rows != SIZE_MAX ? rows : count;
    }
    if (columns->present == NULL)
        return count;
    size_t rows = rows_along(L, "present", &columns->present->shape, axes);
    if (count != SIZE_MAX && rows != count)
        luaL_error(L, "rows: present has another number of rows");
    return rows;
}

static int depth_check(lua_State *L, const struct md__columns *inner)
{
    return inner->depth < DEPTH_MAX ? inner->depth + 1
                                    : luaL_error(L, "rows: nested deeper than %d", DEPTH_MAX);
}

/* The column that the value at `value` describes. */
static struct md__column column_of(lua_State *L, int value, int environment,
                                   struct md__columns *columns)
{
    struct md__column column = {.decimals = MD__DECIMALS_OF_CALLER};
    struct md__columns *rows = md__object_test(L, value, &rows_class);
    struct md__place *inner = md__object_test(L, value, &inner_class);
    struct choice *choice = md__object_test(L, value, &choice_class);
    if ((column.tensor = md__tensor_test(L, value)) != NULL) {
        column.shape = &column.tensor->shape;
    } else if ((column.lazy = md__lazy_test(L, value)) != NULL) {
        column.kind = MD__COLUMN_LAZY;
        column.shape = md__lazy_shape(column.lazy);
    } else if (choice != NULL) {
        column.kind = MD__COLUMN_CHOICE;
        column.tensor = choice->tensor;
        column.shape = &choice->tensor->shape;
        column.texts = choice->texts;
    } else if (rows != NULL || inner != NULL) {
        column.kind = MD__COLUMN_OBJECT;
        column.object = inner != NULL ? *inner : (struct md__place){rows, 1, 1, 0};
        int depth = depth_check(L, column.object.columns);
        columns->depth = depth > columns->depth ? depth : columns->depth;
    } else {
        column.kind = MD__COLUMN_TEXTS;
        column.texts = texts_of(L, value, lua_istable(L, value), environment);
    }
    return column;
}

static void insert(struct md__columns *columns, struct md__column *column)
{
    int at = columns->count++;
    for (; at > 0 && strcmp(columns->column[at - 1].name, column->name) > 0; at--)
        columns->column[at] = columns->column[at - 1];
    columns->column[at] = *column;
}

/* The decimals that options.decimals, at index, has for a column; whole: for all. */
static int decimals_of(lua_State *L, int index, const char *name)
{
    if (lua_istable(L, index))
        lua_getfield(L, index, name);
    else
        lua_pushvalue(L, index);
    bool is_given = !lua_isnil(L, -1);
    lua_Number number = lua_tonumber(L, -1);
    if (is_given && (lua_type(L, -1) != LUA_TNUMBER ||
                     !(number >= -1 && number <= MD_DECIMALS_MAX) || number != (int)number))
        luaL_error(L, "rows: decimals are -1 (the shortest text) to %d", MD_DECIMALS_MAX);
    lua_pop(L, 1);
    return is_given ? (int)number : MD__DECIMALS_OF_CALLER;
}

enum { FIELDS = 1, OPTIONS, ROWS, ENVIRONMENT, DECIMALS };

/* Fields and options stay as they are now: what they name is kept in the environment. */
static void read_fields(lua_State *L, struct md__columns *columns)
{
    struct md_buffer *keys = md__scratch(L, texts_bytes_max);
    keep(L, ENVIRONMENT);
    for (lua_pushnil(L); lua_next(L, FIELDS) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_argerror(L, FIELDS, "must map names to columns");
        int value = lua_gettop(L);
        struct md__column column = column_of(L, value, ENVIRONMENT, columns);
        column.name = lua_tolstring(L, -2, &column.key_length);
        column.decimals = decimals_of(L, DECIMALS, column.name);
        column.key_at = keys->length;
        md_json_string(keys, column.name, column.key_length);
        md_buffer_append(keys, ":", 1);
        column.key_length = keys->length - column.key_at;
        insert(columns, &column);
        lua_pushvalue(L, -2);
        keep(L, ENVIRONMENT);
        lua_pushvalue(L, -1);
        keep(L, ENVIRONMENT);
    }
    if (keys->failed != MD_OK)
        luaL_error(L, "not enough memory");
    columns->keys = keys->data;
}

static size_t field_count(lua_State *L)
{
    size_t count = 0;
    for (lua_pushnil(L); lua_next(L, FIELDS) != 0; lua_pop(L, 1))
        count++;
    return count;
}

/* md.json.rows(fields [, { decimals =, present = }]) */
static int json_rows(lua_State *L)
{
    luaL_checktype(L, FIELDS, LUA_TTABLE);
    lua_settop(L, OPTIONS);
    if (lua_isnil(L, OPTIONS)) {
        lua_newtable(L);
        lua_replace(L, OPTIONS);
    }
    luaL_checktype(L, OPTIONS, LUA_TTABLE);
    size_t fields = field_count(L);
    luaL_argcheck(L, fields > 0, FIELDS, "has no fields");
    struct md__columns *columns =
        md__object_new(L, &rows_class, sizeof *columns + fields * sizeof *columns->column);
    new_environment(L);
    lua_getfield(L, OPTIONS, "decimals");
    read_fields(L, columns);
    lua_getfield(L, OPTIONS, "present");
    if (!lua_isnil(L, -1)) {
        columns->present = md__tensor_check(L, lua_gettop(L));
        keep(L, ENVIRONMENT);
    }
    lua_settop(L, ROWS);
    return 1;
}

/* ---- parts of rows --------------------------------------------------------------------------- */

/* An object that points to the rows at index 1, which its environment keeps. */
static void *new_part(lua_State *L, const struct md__class *class, size_t size)
{
    void *part = md__object_new(L, class, size);
    new_environment(L);
    lua_pushvalue(L, 1);
    keep(L, lua_gettop(L) - 1);
    lua_pop(L, 1);
    return part;
}

/* The shape whose first axes count the rows: of the first tensor, else of `count` rows. */
static struct md_shape leading_shape(const struct md__columns *columns, size_t count)
{
    for (int i = 0; i < columns->count; i++)
        if (columns->column[i].shape != NULL)
            return *columns->column[i].shape;
    if (columns->present != NULL)
        return columns->present->shape;
    return (struct md_shape){.rank = 1, .dim = {count < SIZE_MAX ? (int64_t)count : INT64_MAX}};
}

/* Arguments from 2 on as one index into axes `first` and later ones; *span: of how many. */
static size_t index_check(lua_State *L, const struct md_shape *shape, int first, size_t *span)
{
    size_t index = 0;
    int count = lua_gettop(L) - 1;
    *span = 1;
    luaL_argcheck(L, count >= 1 && first + count <= MD_RANK_MAX, 2,
                  "an index for each first axis expected");
    for (int i = 0; i < count; i++) {
        int64_t dim = first + i < shape->rank ? shape->dim[first + i] : 0;
        lua_Number at = luaL_checknumber(L, i + 2);
        luaL_argcheck(L, at >= 1 && at <= (lua_Number)dim, i + 2, "outside the tensors");
        index = index * (size_t)dim + (size_t)at - 1;
        *span *= (size_t)dim;
    }
    return index;
}

struct row {
    struct md__place place;
    size_t index;
};

/* rows:at(i, ...) */
static int rows_at(lua_State *L)
{
    const struct md__columns *columns = md__object_check(L, 1, &rows_class);
    int axes = lua_gettop(L) - 1;
    size_t span;
    luaL_argcheck(L, axes >= 1 && axes <= MD_RANK_MAX, 2, "an index for each first axis expected");
    struct md_shape shape = leading_shape(columns, row_count(L, columns, axes));
    size_t index = index_check(L, &shape, 0, &span);
    struct row *row = new_part(L, &row_class, sizeof *row);
    *row = (struct row){{columns, axes, 1, 0}, index};
    return 1;
}

/* rows:inner(j, ...) */
static int rows_inner(lua_State *L)
{
    const struct md__columns *columns = md__object_check(L, 1, &rows_class);
    int axes = lua_gettop(L) - 1;
    struct md__place place = {.columns = columns, .axes = 1 + axes};
    luaL_argcheck(L, place.axes <= MD_RANK_MAX, 2, "too many indices");
    struct md_shape shape = leading_shape(columns, row_count(L, columns, place.axes));
    place.offset = index_check(L, &shape, 1, &place.span);
    *(struct md__place *)new_part(L, &inner_class, sizeof place) = place;
    return 1;
}

static enum md_status encode_row(lua_State *L, int index, int decimals, struct md_buffer *out,
                                 struct md_error *err)
{
    const struct row *row = lua_touserdata(L, index);
    (void)err;
    md__columns_write(&row->place, row->index, decimals, out);
    return MD_OK; /* the writer checks the buffer */
}

/* ---- objects of many rows -------------------------------------------------------------------- */

struct named {
    size_t count;
    struct md__member members[];
};

/* The group at index: { names = list, rows = rows }; leaves both on the stack. */
static size_t group_check(lua_State *L, int group, const struct md__columns **columns)
{
    if (!lua_istable(L, group))
        luaL_error(L, "named: { names = list, rows = rows } expected in the list");
    lua_getfield(L, group, "names");
    lua_getfield(L, group, "rows");
    *columns = md__object_test(L, -1, &rows_class);
    if (!lua_istable(L, -2) || *columns == NULL)
        luaL_error(L, "named: { names = list, rows = rows } expected in the list");
    size_t count = lua_objlen(L, -2), rows = row_count(L, *columns, 1);
    if (rows != SIZE_MAX && rows != count)
        luaL_error(L, "named: %d names for %d rows", (int)count, (int)rows);
    return count;
}

static void add_group(lua_State *L, int names, const struct md__columns *columns,
                      struct md_buffer *keys, struct named *named)
{
    size_t count = lua_objlen(L, names), length;
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, names, (int)i + 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "named: names must be strings");
        const char *name = lua_tolstring(L, -1, &length);
        size_t start = keys->length;
        md_json_string(keys, name, length);
        md_buffer_append(keys, ":", 1);
        named->members[named->count++] = (struct md__member){
            .place = {columns, 1, 1, 0}, .row = i, .key_length = keys->length - start};
        lua_pop(L, 1);
    }
}

/* Keys are where the text is only when it does not move any more. */
static void settle_members(lua_State *L, struct named *named, const struct md_buffer *keys)
{
    const char *key = keys->data;
    if (keys->failed != MD_OK)
        luaL_error(L, "named: not enough memory for the names");
    for (size_t i = 0; i < named->count; key += named->members[i++].key_length)
        named->members[i].key = key;
    const struct md__member *twice = md__members_sort(named->members, named->count);
    if (twice != NULL)
        luaL_error(L, "named: a name stands twice: %s", twice->key);
}

/* md.json.named { { names = list, rows = rows }, ... } */
static int json_named(lua_State *L)
{
    const struct md__columns *columns;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    size_t total = 0;
    int groups = (int)lua_objlen(L, 1);
    for (int i = 1; i <= groups; i++) {
        lua_rawgeti(L, 1, i);
        total += group_check(L, 2, &columns);
        lua_settop(L, 1);
    }
    struct named *named = new_part(L, &named_class, sizeof *named + total * sizeof *named->members);
    lua_getfenv(L, 2); /* what the list held then is kept, whatever becomes of the list */
    struct md_buffer *keys = md__scratch(L, texts_bytes_max);
    keep(L, 3);
    for (int i = 1; i <= groups; i++) {
        lua_rawgeti(L, 1, i);
        group_check(L, 4, &columns);
        add_group(L, 5, columns, keys, named);
        keep(L, 3); /* the rows */
        lua_settop(L, 3);
    }
    settle_members(L, named, keys);
    lua_settop(L, 2);
    return 1;
}

static enum md_status encode_named(lua_State *L, int index, int decimals, struct md_buffer *out,
                                   struct md_error *err)
{
    const struct named *named = lua_touserdata(L, index);
    struct md__writers *writers = md__state(L)->script->writers;
    struct md_pool *pool = md__writers_take(writers);
    (void)err;
    md__columns_write_all(named->members, named->count, decimals, pool, out);
    md__writers_give(writers, pool);
    return MD_OK; /* the writer checks the buffer */
}

/* ---- the classes ----------------------------------------------------------------------------- */

static const luaL_Reg rows_methods[] = {{"at", rows_at}, {"inner", rows_inner}, {NULL, NULL}};
static const struct md__class rows_class = {.name = "rows", .methods = rows_methods};
static const struct md__class row_class = {.name = "row", .encode = encode_row};
static const struct md__class inner_class = {.name = "inner rows"};
static const struct md__class choice_class = {.name = "choice"};
static const struct md__class named_class = {.name = "named rows", .encode = encode_named};

static const luaL_Reg functions[] = {
    {"rows", json_rows}, {"choice", json_choice}, {"named", json_named}, {NULL, NULL}};

static void bind(lua_State *L, struct md_script *script)
{
    (void)script;
    md__class_new(L, &rows_class);
    md__class_new(L, &row_class);
    md__class_new(L, &inner_class);
    md__class_new(L, &choice_class);
    md__class_new(L, &named_class);
    md__bind_table(L, "json", functions);
}

static enum md_status start(struct md_script *script, struct md_error *err)
{
    script->writers = md__writers_new(script->threads);
    return script->writers != NULL ? MD_OK : md_fail(err, MD_ERR_MEMORY, "no memory for writers");
}

static void fini(struct md_script *script)
{
    md__writers_delete(script->writers);
}

const struct md__binding md__binding_rows = {
    .name = "rows", .bind = bind, .start = start, .fini = fini};
