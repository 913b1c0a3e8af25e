/*
 * Tensors as Lua objects, for the bindings that make and take them.
 *
 * A tensor object holds a reference to C memory; scripts never see a pointer. Elements go through
 * bounds-checked accessors that canonicalise NaN, because LuaJIT would read other NaN payloads as
 * forged values. Tensors are immutable to scripts unless `writable`, those that the same script
 * made, and only until their memory is shared, by whichever view of it.
 */
#ifndef MD_SCRIPT_TENSOR_OBJECT_H
#define MD_SCRIPT_TENSOR_OBJECT_H

#include "script/internal.h"
#include "script/lazy.h"
#include "tensor/tensor.h"

struct md__tensor_object {
    struct md_tensor tensor;
    size_t charged; /* bytes this object answers for; views keep the object that does */
    bool writable;
};

extern const struct md__class md__tensor_class;
extern const luaL_Reg md__tensor_methods[]; /* bind_tensor.c, which adds the others: */
extern const luaL_Reg md__tensor_grade_methods[], md__tensor_scan_methods[];
extern const luaL_Reg md__tensor_move_methods[], md__tensor_move_functions[];
int md__tensor_gc(lua_State *L);

/* Lazy tensors (lazy.h) as Lua objects: bind_lazy.c. They have these methods of tensors, too. */
extern const struct md__class md__lazy_class;
extern const luaL_Reg md__tensor_math_methods[], md__tensor_reduce_methods[];
/* The lazy tensor at index, NULL when it is something else. */
struct md__lazy *md__lazy_test(lua_State *L, int index);
/* Pushes `op` of the values at indices 1 to `count` as a lazy tensor; raises. */
int md__lazy_push(lua_State *L, enum md_vector_op op, int count);
/* Pushes the reduction of the lazy tensor at index 1 along the axis at index 2; raises. */
int md__lazy_push_reduced(lua_State *L, const struct md_reduction *what);
/* The value at index as an operand: a lazy tensor, a tensor (one of another dtype as a float32 copy
 * that is left on the stack) or a number; raises. */
struct md__operand md__operand_check(lua_State *L, int index);

/* Pushes an object without a tensor yet: fill its `tensor` with a reference of its own at once.
 * Made first, so that nothing is lost when it raises. */
struct md__tensor_object *md__tensor_object_new(lua_State *L);
/* Raises err's text when status is a failure: misuse, in bindings. */
void md__tensor_check_status(lua_State *L, enum md_status status, const struct md_error *err);
/* Other threads are about to read the tensor: no object writes its memory from now on. */
void md__tensor_freeze(struct md_tensor *tensor);
/* The tensor at index, borrowed; raises when it is something else. */
struct md_tensor *md__tensor_check(lua_State *L, int index);
/* Likewise, NULL when it is something else. */
struct md_tensor *md__tensor_test(lua_State *L, int index);
/* A new zeroed tensor, pushed and writable; raises. */
struct md_tensor *md__tensor_make(lua_State *L, enum md_dtype dtype, const struct md_shape *shape);
/* Likewise, for who writes every element at once. */
struct md_tensor *md__tensor_make_unset(lua_State *L, enum md_dtype dtype,
                                        const struct md_shape *shape);
/* A shape from an array of integers at index; raises. */
struct md_shape md__shape_check(lua_State *L, int index);
/* The dtype named at index ("float32" when none); raises. */
enum md_dtype md__dtype_check(lua_State *L, int index);
/* The 1-based axis at index, as a 0-based one; raises. */
int md__axis_check(lua_State *L, const struct md_tensor *tensor, int index);
/* One element as a number, NaN canonical; float types, integers and bool. */
double md__element_get(const struct md_tensor *tensor, size_t at);
void md__element_set(struct md_tensor *tensor, size_t at, double value);

/* Appends as JSON what lies at `index` of all that the first `axes` axes have: a number or nested
 * arrays. */
void md__tensor_encode(const struct md_tensor *tensor, int axes, size_t index, int decimals,
                       struct md_buffer *out);

#endif
