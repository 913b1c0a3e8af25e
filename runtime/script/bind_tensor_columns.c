/*
 * md.tensor.columns: what a model reads, put together in one pass over its memory.
 *
 *     md.tensor.columns({
 *         { from = windows, column = 3, forward = true, sub = 41.2, div = 7.5, absent = 0 },
 *         { from = scales, column = 2 },
 *         { from = 0 },
 *     }, { rows = 20, steps = 288 })                    -> tensor [20, 288, 3]
 *
 * Which value feeds which input, and scaled how, stays a table of Lua; what takes the time, a dozen
 * walks over megabytes that would each leave a tensor behind, is one:
 *
 *   shared   what is the same in all rows is made once, as a row that each begins as a copy of
 *   groups   columns that lie side by side in `from` as they do in the result go step by step, side
 *            by side in vectors
 *   alone    any other goes through a short buffer, some hundred steps at a time
 *
 * Long results are made by several threads: rows do not depend on each other.
 */
#include <math.h>
#include <string.h>

#include "base/vectors.h"
#include "script/tensor_object.h"
#include "script/writers.h"

enum {
    COLUMNS_MAX = 4096,
    MAP_MAX = 4096,
    STEPS_AT_A_TIME = 256,
    GROUP_MAX = 32, /* columns that go side by side */
};

/* Fewer elements are not worth waking a thread for. */
static const size_t elements_min = 40000;

/* A number, or one for each row. */
struct amount {
    float number;
    const float *of_row; /* NULL: the number */
    bool given;
};

struct column {
    const float *data;              /* of `from`: [rows or 1, steps or 1, columns] */
    size_t row_stride, step_stride; /* in elements; 0 where one stands for all */
    struct amount sub, div;
    const float *map;
    size_t map_count;
    float number; /* where there is no data */
    float absent;
    bool forward;
};

/* Columns first .. first + count - 1. */
struct group {
    size_t first, count;
};

struct filling {
    const struct column *columns;
    size_t column_count;
    int64_t steps;
    const int *lengths; /* of each row; NULL: all steps */
    struct md_tensor *out;
    struct group *groups; /* of what is not shared */
    size_t group_count;
    struct md_tensor shared; /* [steps, columns]; no data: nothing is */
};

/* ---- one column of one row ------------------------------------------------------------------- */

static float amount_of(const struct amount *amount, size_t row)
{
    return amount->of_row != NULL ? amount->of_row[row] : amount->number;
}

/* What is missing takes the value before it, *last at first, which becomes that of the end. Most
 * lines miss nothing, which is quickly seen. */
static void fill_line(int64_t count, float *line, float *last)
{
    int missing = 0;
    for (int64_t i = 0; i < count; i++)
        missing |= isnan(line[i]);
    for (int64_t i = 0; missing && i < count; i++)
        line[i] = isnan(line[i]) ? (i > 0 ? line[i - 1] : *last) : line[i];
    *last = line[count - 1];
}

/* The code that a value stands for: the map begins with that of 0. */
static void map_line(const struct column *column, int64_t count, float *line)
{
    float limit = (float)column->map_count;
    for (int64_t i = 0; i < count; i++) {
        float value = line[i];
        if (isnan(value))
            continue;
        int place = value >= 0 && value < limit ? (int)value : -1;
        line[i] = place >= 0 && (float)place == value ? column->map[place] : 0;
    }
}

static void scale_line(const struct column *column, size_t row, int64_t count, float *line)
{
    float sub = amount_of(&column->sub, row), div = amount_of(&column->div, row);
    if (column->map != NULL)
        map_line(column, count, line);
    if (column->sub.given)
        for (int64_t i = 0; i < count; i++)
            line[i] -= sub;
    if (column->div.given)
        for (int64_t i = 0; i < count; i++)
            line[i] /= div;
    for (int64_t i = 0; i < count; i++)
        line[i] = isnan(line[i]) ? column->absent : line[i];
}

/* Towards zero, saturated; a missing value is 0. */
static void write_integers(const float *line, size_t step, int64_t count, size_t stride,
                           int64_t *out)
{
    for (int64_t i = 0; i < count; i++) {
        float value = line[(size_t)i * step];
        bool fits = fabsf(value) < 0x1p63F;
        int64_t beyond = isnan(value) ? 0 : value < 0 ? INT64_MIN : INT64_MAX;
        out[(size_t)i * stride] = fits ? (int64_t)value : beyond;
    }
}

/* `step` 0: one value over and over. */
static void write_line(struct md_tensor *out, const float *line, size_t step, int64_t count,
                       size_t at, size_t stride)
{
    if (out->dtype == MD_I64)
        write_integers(line, step, count, stride, (int64_t *)out->data + at);
    for (int64_t i = 0; out->dtype == MD_F32 && i < count; i++)
        ((float *)out->data)[at + (size_t)i * stride] = line[(size_t)i * step];
}

/* The first value of a row's column that is none missing. */
static float first_value(const struct column *column, const float *data, int64_t steps)
{
    for (int64_t i = 0; i < steps; i++)
        if (!isnan(data[(size_t)i * column->step_stride]))
            return data[(size_t)i * column->step_stride];
    return NAN;
}

/* The newest `known` steps of column `index`, to the beginning of a row of `out`. */
static void fill_column(const struct filling *filling, size_t index, size_t row, int64_t known,
                        struct md_tensor *out, size_t at)
{
    const struct column *column = &filling->columns[index];
    size_t width = filling->column_count;
    const float *data =
        column->data != NULL ? column->data + row * column->row_stride : &column->number;
    int64_t begin = filling->steps - known;
    if (column->step_stride == 0) {
        float value = data[0];
        scale_line(column, row, 1, &value);
        write_line(out, &value, 0, known, at + index, width);
        return;
    }
    float line[STEPS_AT_A_TIME],
        last = column->forward ? first_value(column, data, filling->steps) : NAN;
    for (int64_t i = 0; column->forward && i < begin; i++) {
        float value = data[(size_t)i * column->step_stride];
        last = isnan(value) ? last : value;
    }
    for (int64_t done = 0; done < known; done += STEPS_AT_A_TIME) {
        int64_t count = known - done < STEPS_AT_A_TIME ? known - done : STEPS_AT_A_TIME;
        const float *from = data + (size_t)(begin + done) * column->step_stride;
        for (int64_t i = 0; i < count; i++)
            line[i] = from[(size_t)i * column->step_stride];
        if (column->forward)
            fill_line(count, line, &last);
        scale_line(column, row, count, line);
        write_line(out, line, 1, count, at + index + (size_t)done * width, width);
    }
}

/* ---- columns side by side -------------------------------------------------------------------- */

/* What a group's columns need at every step. */
struct side {
    float last[GROUP_MAX], sub[GROUP_MAX], div[GROUP_MAX], absent[GROUP_MAX];
};

static void begin_side(const struct filling *filling, const struct group *group, size_t row,
                       struct side *side)
{
    for (size_t i = 0; i < group->count; i++) {
        const struct column *column = &filling->columns[group->first + i];
        const float *data = column->data + row * column->row_stride;
        side->last[i] = column->forward ? first_value(column, data, filling->steps) : NAN;
        side->sub[i] = column->sub.given ? amount_of(&column->sub, row) : 0;
        side->div[i] = column->div.given ? amount_of(&column->div, row) : 1;
        side->absent[i] = column->absent;
    }
}

static void fill_group(const struct filling *filling, const struct group *group, size_t row,
                       int64_t known, size_t at)
{
    const struct column *column = &filling->columns[group->first];
    struct side side;
    begin_side(filling, group, row, &side);
    struct md_beside beside = {
        .from = column->data + row * column->row_stride,
        .step_stride = (ptrdiff_t)column->step_stride,
        .out_stride = (ptrdiff_t)filling->column_count,
        .steps = filling->steps,
        .skip = filling->steps - known,
        .count = (int)group->count,
        .forward = column->forward,
        .last = side.last,
        .sub = side.sub,
        .div = side.div,
        .absent = side.absent,
    };
    md_beside(&beside, (float *)filling->out->data + at + group->first);
}

/* The same in all rows. */
static bool is_shared(const struct column *column)
{
    return column->row_stride == 0 && column->sub.of_row == NULL && column->div.of_row == NULL;
}

static bool goes_beside(const struct column *column, const struct column *next, enum md_dtype dtype)
{
    return dtype == MD_F32 && column->data != NULL && next->data == column->data + 1 &&
           next->row_stride == column->row_stride && next->step_stride == column->step_stride &&
           next->forward == column->forward && column->map == NULL && next->map == NULL;
}

static void find_groups(struct filling *filling)
{
    const struct column *columns = filling->columns;
    for (size_t i = 0; i < filling->column_count; i++) {
        struct group *group = &filling->groups[filling->group_count];
        if (is_shared(&columns[i]))
            continue;
        if (filling->group_count > 0 && group[-1].first + group[-1].count == i &&
            group[-1].count < GROUP_MAX &&
            goes_beside(&columns[i - 1], &columns[i], filling->out->dtype)) {
            group[-1].count++;
        } else {
            *group = (struct group){i, 1};
            filling->group_count++;
        }
    }
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void fill_rows(void *context, size_t begin, size_t end, int thread)
{
    const struct filling *filling = context;
    size_t step_bytes = filling->column_count * md_dtype_bytes(filling->out->dtype);
    size_t steps = (size_t)filling->steps;
    (void)thread;
    for (size_t row = begin; row < end; row++) {
        size_t known = filling->lengths != NULL ? (size_t)filling->lengths[row] : steps;
        size_t at = row * steps * filling->column_count;
        char *to = (char *)filling->out->data + row * steps * step_bytes;
        if (filling->shared.data != NULL)
            memcpy(to, (char *)filling->shared.data + (steps - known) * step_bytes,
                   known * step_bytes);
        for (size_t i = 0; i < filling->group_count; i++) {
            const struct group *group = &filling->groups[i];
            if (group->count > 1)
                fill_group(filling, group, row, (int64_t)known, at);
            else
                fill_column(filling, group->first, row, (int64_t)known, filling->out, at);
        }
        memset(to + known * step_bytes, 0, (steps - known) * step_bytes);
    }
}

/* ---- arguments ------------------------------------------------------------------------------- */

enum { LIST = 1, OPTIONS };

struct sizes {
    int64_t rows, steps;
};

/* The column's field on top of the stack as float32 values; raises. */
static const struct md_tensor *floats_check(lua_State *L, int column, const char *name)
{
    const struct md_tensor *tensor = md__tensor_test(L, -1);
    if (tensor == NULL || tensor->dtype != MD_F32)
        luaL_error(L, "columns: %s of column %d is neither a number nor a float32 tensor", name,
                   column);
    return tensor;
}

/* Memory that lives as long as the call: one of the stack's userdata. */
static void *scratch(lua_State *L, size_t count, size_t size)
{
    luaL_checkstack(L, 8, "columns");
    return lua_newuserdata(L, (count > 0 ? count : 1) * size);
}

/* Field `name` of the table on top of the stack: a number, or a tensor with one for each row. */
static struct amount amount_check(lua_State *L, int column, const char *name, int64_t rows)
{
    struct amount amount = {0};
    lua_pushstring(L, name);
    lua_rawget(L, -2);
    amount.given = !lua_isnil(L, -1);
    if (lua_type(L, -1) == LUA_TNUMBER) {
        amount.number = (float)lua_tonumber(L, -1);
    } else if (amount.given) {
        const struct md_tensor *tensor = floats_check(L, column, name);
        if ((int64_t)md_tensor_count(tensor) != rows)
            luaL_error(L, "columns: %s of column %d does not have a number for each row", name,
                       column);
        amount.of_row = tensor->data;
    }
    lua_pop(L, 1); /* the table keeps it */
    return amount;
}

/* A list of numbers; the copy stays on the stack below the table on top. */
static void map_check(lua_State *L, int number, struct column *column)
{
    if (!md__field_table(L, -1, "map"))
        return;
    column->map_count = lua_objlen(L, -1);
    if (column->map_count > MAP_MAX)
        luaL_error(L, "columns: map of column %d is longer than %d", number, MAP_MAX);
    float *map = scratch(L, column->map_count, sizeof *map);
    for (size_t i = 0; i < column->map_count; i++) {
        lua_rawgeti(L, -2, (int)i + 1);
        if (lua_type(L, -1) != LUA_TNUMBER)
            luaL_error(L, "columns: map of column %d is a list of numbers", number);
        map[i] = (float)lua_tonumber(L, -1);
        lua_pop(L, 1);
    }
    column->map = map;
    lua_remove(L, -2);
    lua_insert(L, -2);
}

/* Where `from`, a tensor of three axes, is read. */
static void place_check(lua_State *L, int number, const struct sizes *sizes, struct column *column)
{
    const struct md_tensor *from = floats_check(L, number, "from");
    lua_pop(L, 1); /* the table keeps it */
    if (from->shape.rank != 3)
        luaL_error(L, "columns: from of column %d is not [rows, steps, columns]", number);
    const int64_t *dim = from->shape.dim;
    int64_t index = md__field_int(L, -1, "column", 1, 1, dim[2] > 0 ? dim[2] : 1) - 1;
    int64_t first = md__field_int(L, -1, "first", 1, 1, dim[1] > 0 ? dim[1] : 1) - 1;
    bool fits = (dim[0] == 1 || dim[0] == sizes->rows) && dim[2] > 0 &&
                (dim[1] == 1 || dim[1] - first >= sizes->steps);
    if (!fits)
        luaL_error(L, "columns: from of column %d does not have %d rows of %d steps", number,
                   (int)sizes->rows, (int)sizes->steps);
    column->row_stride = dim[0] == 1 ? 0 : (size_t)(dim[1] * dim[2]);
    column->step_stride = dim[1] == 1 ? 0 : (size_t)dim[2];
    column->data = (const float *)from->data + (size_t)(first * dim[2] + index);
}

/* The column that the table on top of the stack describes, which it pops. */
static void column_check(lua_State *L, int number, const struct sizes *sizes, struct column *column)
{
    if (!lua_istable(L, -1))
        luaL_error(L, "columns: column %d is no table", number);
    *column = (struct column){0};
    column->sub = amount_check(L, number, "sub", sizes->rows);
    column->div = amount_check(L, number, "div", sizes->rows);
    column->forward = md__field_bool(L, -1, "forward", false);
    struct amount absent = amount_check(L, number, "absent", sizes->rows);
    if (absent.of_row != NULL)
        luaL_error(L, "columns: absent of column %d is no number", number);
    column->absent = absent.given ? absent.number : NAN;
    map_check(L, number, column);
    lua_pushstring(L, "from");
    lua_rawget(L, -2);
    if (lua_type(L, -1) == LUA_TNUMBER) {
        column->number = (float)lua_tonumber(L, -1);
        lua_pop(L, 1);
    } else {
        place_check(L, number, sizes, column);
    }
    lua_pop(L, 1);
}

/* Field lengths of the options; NULL: none, or all rows have all steps. */
static const int *lengths_check(lua_State *L, const struct sizes *sizes)
{
    bool any = false;
    if (!md__field_table(L, OPTIONS, "lengths"))
        return NULL;
    if ((int64_t)lua_objlen(L, -1) != sizes->rows)
        luaL_error(L, "columns: lengths are not one for each row");
    int *lengths = scratch(L, (size_t)sizes->rows, sizeof *lengths);
    for (int64_t i = 0; i < sizes->rows; i++) {
        lua_rawgeti(L, -2, (int)i + 1);
        double length = lua_tonumber(L, -1);
        if (lua_type(L, -1) != LUA_TNUMBER || !(length >= 0 && length <= (double)sizes->steps) ||
            length != floor(length))
            luaL_error(L, "columns: a length is a whole number from 0 to %d", (int)sizes->steps);
        lengths[i] = (int)length;
        any |= lengths[i] < sizes->steps;
        lua_pop(L, 1);
    }
    return any ? lengths : NULL;
}

static enum md_dtype dtype_of(lua_State *L)
{
    const char *name = md__field_string(L, OPTIONS, "dtype", "float32");
    if (strcmp(name, "float32") != 0 && strcmp(name, "int64") != 0)
        luaL_error(L, "columns: dtype is float32 or int64");
    return strcmp(name, "int64") == 0 ? MD_I64 : MD_F32;
}

/* What all rows begin with, if there are some. */
static void make_shared(lua_State *L, struct filling *filling, size_t rows)
{
    size_t shared = 0, count = (size_t)filling->steps * filling->column_count;
    for (size_t i = 0; i < filling->column_count; i++)
        shared += is_shared(&filling->columns[i]);
    if (shared == 0 || rows == 0 || count == 0)
        return;
    enum md_dtype dtype = filling->out->dtype;
    filling->shared.dtype = dtype;
    filling->shared.data = scratch(L, count, md_dtype_bytes(dtype));
    for (size_t i = 0; i < filling->column_count; i++)
        if (is_shared(&filling->columns[i]))
            fill_column(filling, i, 0, filling->steps, &filling->shared, 0);
}

static void fill(lua_State *L, struct filling *filling, size_t rows)
{
    struct md_script *script = md__state(L)->script;
    size_t elements = md_tensor_count(filling->out);
    struct md_pool *pool = elements >= elements_min ? md__writers_take(script->writers) : NULL;
    if (elements > 0 && pool != NULL)
        md_pool_run(pool, rows, 1, fill_rows, filling);
    else if (elements > 0)
        fill_rows(filling, 0, rows, 0);
    md__writers_give(script->writers, pool);
}

/* md.tensor.columns(list, { rows =, steps =, dtype =, lengths = }) */
static int tensor_columns(lua_State *L)
{
    luaL_checktype(L, LIST, LUA_TTABLE);
    luaL_checktype(L, OPTIONS, LUA_TTABLE);
    lua_settop(L, OPTIONS);
    size_t count = lua_objlen(L, LIST);
    luaL_argcheck(L, count > 0 && count <= COLUMNS_MAX, LIST, "1 to 4096 columns");
    struct sizes sizes = {md__field_int(L, OPTIONS, "rows", INT64_MIN, 0, INT32_MAX),
                          md__field_int(L, OPTIONS, "steps", INT64_MIN, 0, INT32_MAX)};
    enum md_dtype dtype = dtype_of(L);
    struct column *columns = scratch(L, count, sizeof *columns);
    for (size_t i = 0; i < count; i++) {
        luaL_checkstack(L, 8, "columns"); /* maps stay there */
        lua_rawgeti(L, LIST, (int)i + 1);
        column_check(L, (int)i + 1, &sizes, &columns[i]);
    }
    struct filling filling = {.columns = columns, .column_count = count, .steps = sizes.steps};
    filling.lengths = lengths_check(L, &sizes);
    filling.groups = scratch(L, count, sizeof *filling.groups);
    struct md_shape shape = {3, {sizes.rows, sizes.steps, (int64_t)count}};
    filling.out = md__tensor_make_unset(L, dtype, &shape);
    int result = lua_gettop(L);
    find_groups(&filling);
    make_shared(L, &filling, (size_t)sizes.rows);
    fill(L, &filling, (size_t)sizes.rows);
    lua_settop(L, result);
    return 1;
}

static const luaL_Reg functions[] = {{"columns", tensor_columns}, {NULL, NULL}};

static void bind(lua_State *L, struct md_script *script)
{
    (void)script;
    md__bind_table(L, "tensor", functions);
}

const struct md__binding md__binding_columns = {.name = "columns", .bind = bind};
