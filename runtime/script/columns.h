/*
 * JSON objects made of columns: what md.json.rows describes, written without Lua, and so by several
 * threads at once. Nothing here owns memory: tensors, names and texts are kept alive by the Lua
 * object that a `struct md__columns` lies in, and are not changed meanwhile.
 */
#ifndef MD_SCRIPT_COLUMNS_H
#define MD_SCRIPT_COLUMNS_H

#include "base/buffer.h"
#include "base/pool.h"
#include "script/lazy.h"
#include "tensor/tensor.h"

enum { MD__DECIMALS_OF_CALLER = -2 };

/* Pieces of JSON one after the other. */
struct md__texts {
    const char *data;
    const size_t *ends; /* count of them */
    size_t count;
};

enum md__column_kind {
    MD__COLUMN_TENSOR, /* numbers, or nested arrays of them */
    MD__COLUMN_LAZY,   /* likewise, worked out where they are written */
    MD__COLUMN_TEXTS,  /* one for each row; a single one stands in all */
    MD__COLUMN_CHOICE, /* texts[tensor[row]], from 1; null where there is none */
    MD__COLUMN_OBJECT  /* of other columns */
};

struct md__columns;

/* Row r of these is row r * span + offset of all that `axes` axes have. */
struct md__place {
    const struct md__columns *columns;
    int axes;
    size_t span, offset;
};

struct md__column {
    enum md__column_kind kind;
    struct md__texts texts;
    size_t key_at, key_length; /* "name": in the keys of its columns */
    const char *name;
    const struct md_shape *shape; /* of the numbers; NULL: there are none */
    const struct md_tensor *tensor;
    const struct md__lazy *lazy;
    int decimals; /* MD__DECIMALS_OF_CALLER, -1: shortest */
    struct md__place object;
};

struct md__columns {
    int count, depth;                /* depth: of objects in objects */
    const struct md_tensor *present; /* rows where it is 0 or NaN are left out; NULL: none */
    const char *keys;
    struct md__column column[]; /* in the order of their names, as in any object */
};

bool md__columns_present(const struct md__place *place, size_t row);
void md__columns_write(const struct md__place *place, size_t row, int decimals,
                       struct md_buffer *out);

/* One member of an object of many rows. */
struct md__member {
    struct md__place place;
    size_t row;
    const char *key; /* "name": */
    size_t key_length;
};

/* Puts the members in the order of their names; one whose name stands twice, or NULL. */
const struct md__member *md__members_sort(struct md__member *members, size_t count);
/*
 * {"name":{...},...} of those members that are present, on the threads of `pool` (NULL: on this
 * one). The caller checks `out`.
 */
void md__columns_write_all(const struct md__member *members, size_t count, int decimals,
                           struct md_pool *pool, struct md_buffer *out);

#endif
