/*
 * Values outside of any Lua state: immutable, reference-counted copies of what a script puts into
 * md.dict. Booleans, numbers, strings, tables of these (copied deeply), and shareable userdata
 * (tensors, blobs: by reference). Any thread may read and drop them.
 */
#ifndef MD_SCRIPT_VALUE_H
#define MD_SCRIPT_VALUE_H

#include "script/internal.h"

struct md__value;

/* A copy of the Lua value at index. Never raises. MD_ERR_INVALID: functions, threads, cycles;
 * MD_ERR_TOO_LARGE: more than bytes_max, found before about twice that is allocated; MD_ERR_SCRIPT:
 * out of time. */
enum md_status md__value_new(lua_State *L, int index, size_t bytes_max, struct md__value **value,
                             struct md_error *err);
struct md__value *md__value_number(double number); /* NULL: out of memory */
struct md__value *md__value_ref(struct md__value *value);
void md__value_unref(struct md__value *value);                    /* NULL is fine */
void md__value_push(lua_State *L, const struct md__value *value); /* may raise for memory */
size_t md__value_bytes(const struct md__value *value);
/* False when it is no number. */
bool md__value_is_number(const struct md__value *value, double *number);

#endif
