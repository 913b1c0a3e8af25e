/*
 * Lazy tensors: `tensor:lazy()` and what arithmetic makes of it.
 *
 *     local line = slope:lazy():mul(ahead):add(level):max(0)   -- nothing is worked out yet
 *     local peak = line:amax(3)                                -- row by row, in a core's cache
 *     md.json.rows({ line = line })                            -- likewise, where it is written
 *
 * For what is large, read once or twice, and made of little: nothing of it lies in memory. What is
 * read more often is worked out once with :tensor(). The environment of each object keeps the
 * tensors that it is made of, which answer for their memory.
 */
#include "script/tensor_object.h"
#include "script/writers.h"

struct lazy_object {
    struct md__lazy *lazy;
};

enum { BYTES_PER_UNIT = 64 }; /* worked out while one unit of work is done */

struct md__lazy *md__lazy_test(lua_State *L, int index)
{
    struct lazy_object *object = md__object_test(L, index, &md__lazy_class);
    return object != NULL ? object->lazy : NULL;
}

static struct md__lazy *lazy_check(lua_State *L, int index)
{
    struct lazy_object *object = md__object_check(L, index, &md__lazy_class);
    return object->lazy;
}

/* Pushes an object that keeps the values at 1 to `count`, without a formula yet: made first, so
 * that nothing is lost when it raises. */
static struct lazy_object *push_object(lua_State *L, int count)
{
    struct lazy_object *object = md__object_new(L, &md__lazy_class, sizeof *object);
    lua_createtable(L, count, 0);
    for (int i = 1; i <= count; i++) {
        lua_pushvalue(L, i);
        lua_rawseti(L, -2, i);
    }
    lua_setfenv(L, -2);
    return object;
}

/* ---- making ---------------------------------------------------------------------------------- */

int md__lazy_push(lua_State *L, enum md_vector_op op, int count)
{
    struct md__operand operands[MD_VECTOR_OPERANDS_MAX];
    struct md_error err;
    for (int i = 0; i < count; i++) {
        operands[i] = md__operand_check(L, i + 1);
        if (operands[i].tensor != NULL) /* nobody changes it under the formula */
            md__tensor_freeze((struct md_tensor *)operands[i].tensor);
    }
    struct lazy_object *object = push_object(L, lua_gettop(L)); /* with what was converted */
    md__tensor_check_status(L, md__lazy_new(op, operands, &object->lazy, &err), &err);
    return 1;
}

/* tensor:lazy() */
static int tensor_lazy(lua_State *L)
{
    struct md_error err;
    md__tensor_check(L, 1);
    lua_settop(L, 1);
    struct md_tensor *tensor = (struct md_tensor *)md__operand_check(L, 1).tensor;
    md__tensor_freeze(tensor);
    struct lazy_object *object = push_object(L, lua_gettop(L)); /* with what was converted */
    md__tensor_check_status(L, md__lazy_of(tensor, &object->lazy, &err), &err);
    return 1;
}

/* ---- looking --------------------------------------------------------------------------------- */

static int lazy_shape(lua_State *L)
{
    const struct md_shape *shape = md__lazy_shape(lazy_check(L, 1));
    lua_createtable(L, shape->rank, 0);
    for (int i = 0; i < shape->rank; i++) {
        lua_pushnumber(L, (lua_Number)shape->dim[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* The axis at index, as a 0-based one. */
static int axis_check(lua_State *L, const struct md_shape *shape, int index)
{
    int axis = luaL_checkint(L, index);
    luaL_argcheck(L, axis >= 1 && axis <= shape->rank, index, "no such dimension");
    return axis - 1;
}

static int lazy_dim(lua_State *L)
{
    const struct md_shape *shape = md__lazy_shape(lazy_check(L, 1));
    lua_pushnumber(L, (lua_Number)shape->dim[axis_check(L, shape, 2)]);
    return 1;
}

static int lazy_rank(lua_State *L)
{
    lua_pushinteger(L, md__lazy_shape(lazy_check(L, 1))->rank);
    return 1;
}

static int lazy_tostring(lua_State *L)
{
    char shape[160];
    lua_pushfstring(L, "lazy tensor %s",
                    md_shape_text(md__lazy_shape(lazy_check(L, 1)), shape, sizeof shape));
    return 1;
}

/* ---- parts ----------------------------------------------------------------------------------- */

/* lazy:slice(axis, first, last): 1-based, last included; last = first - 1 is empty. */
static int lazy_slice(lua_State *L)
{
    const struct md__lazy *lazy = lazy_check(L, 1);
    const struct md_shape *shape = md__lazy_shape(lazy);
    int axis = axis_check(L, shape, 2);
    lua_Number first = luaL_checknumber(L, 3), last = luaL_checknumber(L, 4);
    struct md_error err;
    luaL_argcheck(L, first >= 1 && first <= last + 1 && last <= (lua_Number)shape->dim[axis], 3,
                  "outside the dimension");
    int64_t begin = (int64_t)first - 1, count = (int64_t)last - begin;
    struct lazy_object *object = push_object(L, 1);
    md__tensor_check_status(
        L, md__lazy_slice(lazy, axis, begin, count > 0 ? count : 0, &object->lazy, &err), &err);
    return 1;
}

/* lazy:select(axis, { indices }) */
static int lazy_select(lua_State *L)
{
    const struct md__lazy *lazy = lazy_check(L, 1);
    int axis = axis_check(L, md__lazy_shape(lazy), 2);
    struct md_error err;
    luaL_checktype(L, 3, LUA_TTABLE);
    int64_t dim = md__lazy_shape(lazy)->dim[axis], count = (int64_t)lua_objlen(L, 3);
    int64_t *indices = lua_newuserdata(L, (size_t)(count > 0 ? count : 1) * sizeof *indices);
    for (int64_t i = 0; i < count; i++) {
        lua_rawgeti(L, 3, (int)i + 1);
        lua_Number at = lua_tonumber(L, -1);
        lua_pop(L, 1);
        luaL_argcheck(L, at >= 1 && at <= (lua_Number)dim, 3, "an index is outside the dimension");
        indices[i] = (int64_t)at - 1;
    }
    struct lazy_object *object = push_object(L, 1);
    md__tensor_check_status(L, md__lazy_select(lazy, axis, indices, count, &object->lazy, &err),
                            &err);
    return 1;
}

/* ---- reading --------------------------------------------------------------------------------- */

static struct md_pool *begin_work(lua_State *L, const struct md__lazy *lazy)
{
    md__spend(L, md__lazy_work(lazy) * sizeof(float) / BYTES_PER_UNIT);
    return md__writers_take(md__state(L)->script->writers);
}

/* lazy:tensor() */
static int lazy_tensor(lua_State *L)
{
    const struct md__lazy *lazy = lazy_check(L, 1);
    struct md_error err;
    struct md_tensor *result = md__tensor_make_unset(L, MD_F32, md__lazy_shape(lazy));
    struct md_pool *pool = begin_work(L, lazy);
    enum md_status status = md__lazy_compute(lazy, pool, result->data, &err);
    md__writers_give(md__state(L)->script->writers, pool);
    md__tensor_check_status(L, status, &err);
    return 1;
}

int md__lazy_push_reduced(lua_State *L, const struct md_reduction *what)
{
    const struct md__lazy *lazy = lazy_check(L, 1);
    struct md_shape shape = *md__lazy_shape(lazy);
    struct md_error err;
    luaL_argcheck(L, !lua_isnoneornil(L, 2) && axis_check(L, &shape, 2) == shape.rank - 1, 2,
                  "a lazy tensor is reduced along its last dimension: use :tensor()");
    shape.rank--;
    struct md_tensor *result = md__tensor_make_unset(L, MD_F32, &shape);
    struct md_pool *pool = begin_work(L, lazy);
    enum md_status status = md__lazy_reduce(lazy, pool, what, result->data, &err);
    md__writers_give(md__state(L)->script->writers, pool);
    md__tensor_check_status(L, status, &err);
    return 1;
}

static enum md_status encode_lazy(lua_State *L, int index, int decimals, struct md_buffer *out,
                                  struct md_error *err)
{
    (void)err;
    md__lazy_encode(md__lazy_test(L, index), 0, 0, decimals, out);
    return MD_OK; /* the writer checks the buffer */
}

/* ---- sharing --------------------------------------------------------------------------------- */

static void *share_lazy(lua_State *L, int index)
{
    return md__lazy_ref(lazy_check(L, index));
}

static void push_shared(lua_State *L, void *shared)
{
    push_object(L, 0)->lazy = md__lazy_ref(shared);
}

static void release_lazy(void *shared)
{
    md__lazy_unref(shared);
}

static size_t shared_bytes(const void *shared)
{
    return md__lazy_bytes(shared);
}

static int collect_lazy(lua_State *L)
{
    struct lazy_object *object = md__object_check(L, 1, &md__lazy_class);
    md__lazy_unref(object->lazy);
    object->lazy = NULL;
    return 0;
}

/* ---- the class ------------------------------------------------------------------------------- */

static const luaL_Reg lazy_methods[] = {
    {"shape", lazy_shape},         {"dim", lazy_dim},       {"rank", lazy_rank},
    {"slice", lazy_slice},         {"select", lazy_select}, {"tensor", lazy_tensor},
    {"__tostring", lazy_tostring}, {"__gc", collect_lazy},  {NULL, NULL},
};
static const luaL_Reg tensor_methods[] = {{"lazy", tensor_lazy}, {NULL, NULL}};

const struct md__class md__lazy_class = {
    .name = "lazy tensor",
    .methods = lazy_methods,
    .share = share_lazy,
    .push = push_shared,
    .release = release_lazy,
    .bytes = shared_bytes,
    .encode = encode_lazy,
};

static void bind(lua_State *L, struct md_script *script)
{
    (void)script;
    md__class_new(L, &md__lazy_class);
    md__class_extend(L, &md__lazy_class, md__tensor_math_methods);
    md__class_extend(L, &md__lazy_class, md__tensor_reduce_methods);
    md__class_extend(L, &md__tensor_class, tensor_methods);
}

const struct md__binding md__binding_lazy = {.name = "lazy", .bind = bind};
